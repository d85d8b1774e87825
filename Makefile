# walrank: one Makefile for the server library, the daemon, the tool and the tests.
# `make help` lists the targets.  Everything is built below build/.

PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config
CC        ?= gcc
CLANG     ?= clang-14
B         := build
S         := $(B)/san

VERSION   := 0.1.0
OPT       ?= -O2 -g
WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter
STRICT    := -ffp-contract=off -fno-strict-aliasing -fwrapv
SAN       :=

# V=1 shows every command
Q         := $(if $(V),,@)

.PHONY: all help
all: $(B)/walrank.so $(B)/walrankd $(B)/walrank $(B)/walrank--$(VERSION).sql

# ---- the server's library: plugin, extension functions, rules ----------------------------------

SO_SRC   := $(wildcard plugin/*.c sql/*.c rules/*.c proto/*.c)
SO_OBJ   := $(SO_SRC:%.c=$(B)/so/%.o)
# the server headers are not written for -Wshadow and friends: they come in as system headers
SO_FLAGS := -std=gnu11 $(OPT) -Wall -Wextra -Wmissing-prototypes -Wno-unused-parameter \
            -Wno-missing-field-initializers -Wno-sign-compare -fPIC -fvisibility=hidden $(STRICT) \
            -Iproto -Irules -Iplugin -isystem $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)

$(B)/so/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC (server)  $<'
	$(Q)$(CC) $(SO_FLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/walrank.so: $(SO_OBJ)
	@echo '  LINK         $@'
	$(Q)$(CC) -shared -Wl,-Bsymbolic -Wl,-z,relro,-z,now $(SO_FLAGS) -o $@ $^ -lm

$(B)/walrank--$(VERSION).sql: $(sort $(wildcard sql/parts/*.sql))
	@mkdir -p $(@D)
	@echo '  CAT          $@'
	$(Q)cat $^ > $@

# ---- the daemon and the tool ------------------------------------------------------------------

LIB_SRC  := $(wildcard proto/*.c rules/*.c consumer/base/*.c consumer/stream/*.c consumer/journal/*.c \
              consumer/score/*.c consumer/feed/*.c consumer/sinks/*.c consumer/daemon/*.c consumer/cli/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o)
INCLUDES := -Iproto -Irules -Iconsumer -I$(shell $(PG_CONFIG) --includedir 2>/dev/null)
C_FLAGS  := -std=gnu11 -D_GNU_SOURCE -DWALRANK_VERSION='"$(VERSION)"' $(OPT) $(WARN) $(STRICT) $(INCLUDES) -pthread $(SAN)
LIBS     := -lpq -llmdb -lzstd -lxxhash -lisal -lsystemd -linih -ljansson -lm

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC           $<'
	$(Q)$(CC) $(C_FLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/libwalrank.a: $(LIB_OBJ)
	@rm -f $@
	@echo '  AR           $@'
	$(Q)ar qcs $@ $^

$(B)/walrankd: $(B)/obj/consumer/walrankd.o $(B)/libwalrank.a
	@echo '  LINK         $@'
	$(Q)$(CC) $(C_FLAGS) -o $@ $^ $(LIBS)

$(B)/walrank: $(B)/obj/consumer/walrank.o $(B)/libwalrank.a
	@echo '  LINK         $@'
	$(Q)$(CC) $(C_FLAGS) -o $@ $^ $(LIBS)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- unit tests: tests/unit/NAME.c is one cmocka program ---------------------------------------

UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))

$(B)/unit/%: tests/unit/%.c $(B)/libwalrank.a
	@mkdir -p $(@D)
	@echo '  CC (unit)    $<'
	$(Q)$(CC) $(C_FLAGS) -MMD -MP -o $@ $< $(B)/libwalrank.a $(LIBS) -lcmocka

.PHONY: unit
unit: $(UNIT:%=$(B)/unit/%)

# ---- the rules beside an oracle of their own: tests/rules; as they are, and as other compilers' options make them --

ORACLE_SRC := $(wildcard tests/rules/*.c)
ORACLE_HDR := $(wildcard tests/rules/*.h rules/*.h proto/*.h)
ORACLE     := $(B)/rules/oracle $(B)/rules/oracle-O0 $(B)/rules/oracle-O3

$(B)/rules/oracle: $(ORACLE_SRC) $(ORACLE_HDR) $(B)/libwalrank.a
	@mkdir -p $(@D)
	@echo '  CC (oracle)  $@'
	$(Q)$(CC) $(C_FLAGS) -Itests/rules -o $@ $(ORACLE_SRC) $(B)/libwalrank.a -lm

$(B)/rules/oracle-%: $(ORACLE_SRC) $(ORACLE_HDR) $(wildcard rules/*.c proto/*.c)
	@mkdir -p $(@D)
	@echo '  CC (oracle)  $@'
	$(Q)$(CC) $(filter-out $(OPT),$(C_FLAGS)) -$* -Itests/rules -o $@ $(ORACLE_SRC) $(wildcard rules/*.c proto/*.c) -lm

.PHONY: oracle
oracle: $(ORACLE)

# ---- the simulator: tests/sim, the product's parts in a world that fails -------------------------

SIM_SRC  := $(wildcard tests/sim/*.c)
SIM_HDR  := $(wildcard tests/sim/*.h) tests/unit/wire_put.h
SIM_INC  := -Itests/sim -Itests/unit

$(B)/sim/walrank-sim: $(SIM_SRC) $(SIM_HDR) $(B)/libwalrank.a
	@mkdir -p $(@D)
	@echo '  CC (sim)     $@'
	$(Q)$(CC) $(C_FLAGS) $(SIM_INC) -o $@ $(SIM_SRC) $(B)/libwalrank.a $(LIBS)

$(B)/sim/walrank-sim-san: $(SIM_SRC) $(SIM_HDR) $(S)/libwalrank.a
	@mkdir -p $(@D)
	@echo '  CC (san)     $@'
	$(Q)$(SAN_CC) $(SAN_FLAGS) $(SIM_INC) -fsanitize=fuzzer-no-link -o $@ $(SIM_SRC) $(S)/libwalrank.a $(LIBS)

.PHONY: sim sim-san
sim: $(B)/sim/walrank-sim
sim-san: $(B)/sim/walrank-sim-san

# ---- sanitized build, fuzzing -------------------------------------------------------------------

SAN_LIB  := $(LIB_SRC:%.c=$(S)/%.o)
SAN_CC   := $(CLANG) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SAN_FLAGS = $(filter-out $(OPT),$(C_FLAGS)) -Wno-unknown-warning-option -DSEGMENT_READ_BYTES=1024

$(S)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC (san)     $<'
	$(Q)$(SAN_CC) -fsanitize=fuzzer-no-link $(SAN_FLAGS) -MMD -MP -c $< -o $@

$(S)/libwalrank.a: $(SAN_LIB)
	@rm -f $@
	@echo '  AR           $@'
	$(Q)ar qcs $@ $^

# The server's library for a server that has libasan preloaded: tests/tap/t/036.
SAN_SO_FLAGS = $(filter-out $(OPT),$(SO_FLAGS)) -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined

$(S)/so/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC (san)     $<'
	$(Q)gcc $(SAN_SO_FLAGS) -MMD -MP -c $< -o $@

$(B)/asan/walrank.so: $(SO_SRC:%.c=$(S)/so/%.o) $(S)/so/tests/san/exact.o
	@mkdir -p $(@D)
	@echo '  LINK (san)   $@'
	$(Q)gcc -shared -Wl,-Bsymbolic -Wl,--wrap=unpack_value -Wl,--wrap=pfree $(SAN_SO_FLAGS) -o $@ $^ -lm

$(B)/asan/first.so: tests/san/first.c
	@mkdir -p $(@D)
	@echo '  LINK (san)   $@'
	$(Q)gcc -shared -fPIC -Wl,-z,initfirst -o $@ $<

.PHONY: so-san
so-san: $(B)/asan/walrank.so $(B)/asan/first.so

FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

$(B)/fuzz/%: tests/fuzz/%.c $(S)/libwalrank.a
	@mkdir -p $(@D)
	@echo '  CC (fuzz)    $<'
	$(Q)$(SAN_CC) -fsanitize=fuzzer $(SAN_FLAGS) -MMD -MP -o $@ $< $(S)/libwalrank.a $(LIBS)

# the plugin's own source, outside a server
PLUGIN_FUZZ := fuzz_patterns fuzz_pglz
$(PLUGIN_FUZZ:%=$(B)/fuzz/%): $(B)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c plugin/%.c plugin/%.h
	@mkdir -p $(@D)
	@echo '  CC (fuzz)    $<'
	$(Q)$(SAN_CC) -fsanitize=fuzzer $(filter-out -Wshadow,$(SAN_FLAGS)) -Iplugin -isystem $(shell $(PG_CONFIG) --includedir-server) -o $@ $< \
	    -L$(shell $(PG_CONFIG) --pkglibdir) -lpgcommon -lpgport

.PHONY: fuzz-build fuzz
fuzz-build: $(FUZZ:%=$(B)/fuzz/%)

# FUZZ_SECONDS in all, shared by the targets; the corpus is replayed by every `make check`.
FUZZ_SECONDS ?= 30
fuzz: fuzz-build
	@scripts/fuzz $(FUZZ_SECONDS) $(FUZZ)

# FUZZ_RUNS executions in all: what has to pass without a finding before a release.
FUZZ_RUNS ?= 10000000
.PHONY: fuzz-full
fuzz-full: fuzz-build
	@scripts/fuzz RUNS=$(FUZZ_RUNS) $(FUZZ)

# The unit tests once more under ASan and UBSan.
$(B)/unit-san/%: tests/unit/%.c $(S)/libwalrank.a
	@mkdir -p $(@D)
	@echo '  CC (san)     $<'
	$(Q)$(SAN_CC) $(SAN_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -o $@ $< $(S)/libwalrank.a $(LIBS) -lcmocka

.PHONY: unit-san
unit-san: $(UNIT:%=$(B)/unit-san/%)

# ---- fault machinery: tests/fault/NAME.c is a program; walrankd there has a file system that fails ---

FAULT := $(filter-out fs_fault,$(patsubst tests/fault/%.c,%,$(wildcard tests/fault/*.c)))

$(B)/fault/%: tests/fault/%.c
	@mkdir -p $(@D)
	@echo '  CC (fault)   $<'
	$(Q)$(CC) $(C_FLAGS) -MMD -MP -o $@ $< -lpq

$(B)/fault/walrankd: tests/fault/fs_fault.c $(B)/obj/consumer/walrankd.o $(B)/libwalrank.a
	@mkdir -p $(@D)
	@echo '  CC (fault)   $<'
	$(Q)$(CC) $(C_FLAGS) -rdynamic -o $@ $^ $(LIBS)

.PHONY: fault
fault: $(FAULT:%=$(B)/fault/%) $(if $(wildcard tests/fault/fs_fault.c),$(B)/fault/walrankd)

# ---- tests ---------------------------------------------------------------------------------------

.PHONY: check check-full check-torture check-deps stage-files
check-deps:
	@scripts/deps build test

stage-files: check-deps
	@$(MAKE) --no-print-directory -j$(shell nproc) all unit fuzz-build fault sim so-san oracle

check: stage-files
	@scripts/unroot tests/run check $(TESTS)
	@[ -n "$(TESTS)" ] || $(MAKE) --no-print-directory fuzz

# Each part can be run alone; .ci/run runs as many of them as its time allows.
FULL := full-tests full-power full-mutants full-fuzz full-valgrind full-callgrind full-coverage full-corpus full-majors
.PHONY: $(FULL) full-units
full-units: stage-files
	@$(MAKE) --no-print-directory -j$(shell nproc) unit-san
	@scripts/unroot tests/run full units

full-tests: stage-files
	@$(MAKE) --no-print-directory -j$(shell nproc) $(if $(TESTS),,unit-san) sim-san
	@scripts/unroot tests/run full $(TESTS)

full-power: stage-files
	@tests/fault/power_cut full

full-mutants: stage-files
	@$(MAKE) --no-print-directory mutants

full-fuzz: stage-files
	@$(MAKE) --no-print-directory fuzz-full

full-valgrind: stage-files
	@scripts/deps lint
	@tests/valgrind/run

full-callgrind: stage-files
	@scripts/deps lint
	@tests/callgrind/run

full-coverage: stage-files
	@$(MAKE) --no-print-directory coverage

full-majors: stage-files
	@scripts/matrix check

# The SQL that PostgreSQL, test_decoding and wal2json are tested with, streamed by us.  CORPUS names some of tests/corpus.
CORPUS_DIR ?= $(or $(TMPDIR),/tmp)/walrank-corpus
CORPUS     ?= tests/corpus/workloads.pl tests/corpus/regression.pl
full-corpus: stage-files
	@tests/corpus/fetch $(CORPUS_DIR)
	@CORPUS_DIR=$(CORPUS_DIR) scripts/unroot tests/run full $(CORPUS)

check-full:
	@for part in $(if $(TESTS),full-tests,$(FULL)); do $(MAKE) --no-print-directory $$part || exit 1; done

# The other majors, and 15 without its last security updates, in roots that are made where they are missing (root, 2.5 GB).
.PHONY: check-matrix
check-matrix:
	@scripts/deps matrix
	@scripts/matrix create && scripts/matrix check

# As long as you like: the same tests with their largest figures.
check-torture: stage-files
	@$(MAKE) --no-print-directory -j$(shell nproc) sim-san
	@scripts/unroot tests/run torture $(TESTS)
	@[ -n "$(TESTS)" ] || tests/fault/power_cut torture

# Every rule broken on purpose, one at a time: the tests have to notice.  MUTANTS names some of tests/mutants; "units":
# those that tests without servers have to catch.
.PHONY: mutants
mutants: check-deps
	@scripts/unroot tests/mutants/run $(MUTANTS)

# Lines and branches that the unit tests reach in the code that keeps the promises.
.PHONY: coverage
coverage: check-deps
	@scripts/unroot scripts/coverage

# ---- everything else -----------------------------------------------------------------------------

.PHONY: demo install bench bench-decode format layers lint clean
demo:
	@scripts/deps build test
	@$(MAKE) --no-print-directory -j$(shell nproc) all
	@scripts/unroot demo/run

prefix ?= /usr/local
install: all
	install -d $(DESTDIR)$(shell $(PG_CONFIG) --pkglibdir) $(DESTDIR)$(shell $(PG_CONFIG) --sharedir)/extension $(DESTDIR)$(prefix)/bin
	install -m 755 $(B)/walrank.so $(DESTDIR)$(shell $(PG_CONFIG) --pkglibdir)
	install -m 644 sql/walrank.control $(B)/walrank--$(VERSION).sql $(DESTDIR)$(shell $(PG_CONFIG) --sharedir)/extension
	install -m 755 $(B)/walrankd $(B)/walrank $(DESTDIR)$(prefix)/bin

bench: all
	@scripts/deps build test peers
	@for b in bench/*/run; do echo "== $$b"; $$b || exit 1; done

# The plugin beside the others on the same log: half an hour; QUICK=1 two minutes.
bench-decode: all
	@scripts/deps build test peers
	@bench/decode/run

# A score beside the same formula in C, Lua and SQL.
.PHONY: bench-rules
bench-rules: all
	@scripts/deps build test peers
	@bench/rules/run

format:
	clang-format-14 -i $$(git ls-files '*.c' '*.h')

layers:
	@scripts/layers

lint:
	@scripts/lint

clean:
	rm -rf $(B)

help:
	@echo 'all         the server library, the daemon and the tool, below build/'
	@echo 'demo        watch 63,000 real items being rescored (half a minute)'
	@echo 'check       all quick tests, as any user: units, SQL, servers, 30 s of fuzzing'
	@echo 'check-full  longer runs, sanitizers, valgrind, instructions; other majors where scripts/matrix made roots'
	@echo 'check-matrix  library and main tests on 15.18, 17, 18 and 19rc, in roots made from the archive (root)'
	@echo 'check-torture  the fault runs with their largest figures: hours'
	@echo 'install     into the server of PG_CONFIG and $$(prefix)/bin; DESTDIR is honoured'
	@echo 'bench       every benchmark of bench/, peers beside us'
	@echo 'bench-decode  the plugin beside pgoutput, wal2json, decoderbufs, test_decoding (half an hour; QUICK=1)'
	@echo 'bench-rules  a score beside the same formula in C, Lua and SQL'
	@echo 'format      clang-format over the sources'
	@echo 'mutants     break every rule on purpose and see the tests notice (some minutes)'
	@echo 'coverage    lines and branches reached in journal, acknowledging, recovery, positions'
	@echo 'layers      includes point one way'
	@echo 'lint        layers, format, cppcheck, gcc -fanalyzer'
	@echo 'fuzz        FUZZ_SECONDS=30 of libFuzzer under ASan and UBSan'
	@echo 'fuzz-full   ten million executions of it, two targets at a time (minutes)'
