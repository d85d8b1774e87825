# walrank: one Makefile for the server library, the daemon, the tool and the tests.
# `make help` lists the targets.  Everything is built below build/.

PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config
CC        ?= gcc
CLANG     ?= clang-14
B         := build

VERSION   := 0.1.0
OPT       ?= -O2 -g
WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter
STRICT    := -ffp-contract=off -fno-strict-aliasing -fwrapv
SAN       :=

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
	$(CC) $(SO_FLAGS) $(CFLAGS) -MMD -c $< -o $@

$(B)/walrank.so: $(SO_OBJ)
	$(CC) -shared -Wl,-Bsymbolic -Wl,-z,relro,-z,now $(SO_FLAGS) -o $@ $^ -lm

$(B)/walrank--$(VERSION).sql: $(sort $(wildcard sql/parts/*.sql))
	@mkdir -p $(@D)
	cat $^ > $@

# ---- the daemon and the tool ------------------------------------------------------------------

LIB_SRC  := $(wildcard proto/*.c rules/*.c consumer/base/*.c consumer/stream/*.c consumer/journal/*.c \
              consumer/score/*.c consumer/feed/*.c consumer/sinks/*.c consumer/daemon/*.c consumer/cli/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/obj/%.o)
INCLUDES := -Iproto -Irules -Iconsumer -I$(shell $(PG_CONFIG) --includedir 2>/dev/null)
C_FLAGS  := -std=gnu11 -D_GNU_SOURCE -DWALRANK_VERSION='"$(VERSION)"' $(OPT) $(WARN) $(STRICT) $(INCLUDES) -pthread $(SAN)
LIBS     := -lpq -llmdb -lxxhash -lsystemd -linih -lm

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $(CFLAGS) -MMD -c $< -o $@

$(B)/libwalrank.a: $(LIB_OBJ)
	rm -f $@
	ar rcs $@ $^

$(B)/walrankd: $(B)/obj/consumer/walrankd.o $(B)/libwalrank.a
	$(CC) $(C_FLAGS) -o $@ $^ $(LIBS)

$(B)/walrank: $(B)/obj/consumer/walrank.o $(B)/libwalrank.a
	$(CC) $(C_FLAGS) -o $@ $^ $(LIBS)

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- unit tests: tests/unit/NAME.c is one cmocka program ---------------------------------------

UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))

$(B)/unit/%: tests/unit/%.c $(B)/libwalrank.a
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -o $@ $< $(B)/libwalrank.a $(LIBS) -lcmocka

.PHONY: unit
unit: $(UNIT:%=$(B)/unit/%)

help:
	@echo 'all demo check check-full install bench format layers lint fuzz help'
