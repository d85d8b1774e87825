/*
 * test_state.c -- the state directory: its lock after a kill, and a scoring engine that takes over (rule R6).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fs.h"
#include "daemon/state.h"
#include "rules.h"
#include "stream/session.h"

typedef struct Fixture
{
	char path[64];
	Config *config;
	State state;
} Fixture;

static void
must(bool ok, const Error *err)
{
	if (!ok)
		fail_msg("%s", err->message);
}

static void
open_state(Fixture *f)
{
	Error err = {0};

	must(state_lock(f->config->state.directory, false, &f->state, &err), &err);
	must(state_open(&f->state, f->config, &err), &err);
}

static Fixture *
fixture(void)
{
	Fixture *f = xcalloc(1, sizeof(*f));
	JournalIdentity identity = {.system_identifier = 7,
								.database_oid = 5,
								.database = "postgres",
								.slot = "walrank",
								.plugin = "walrank",
								.server_lsn = 0x1000,
								.start_lsn = 0x2000,
								.complete = true};
	char text[256];
	Error err = {0};

	snprintf(f->path, sizeof(f->path), "/tmp/walrank_state_XXXXXX");
	assert_non_null(mkdtemp(f->path));
	snprintf(text, sizeof(text), "[state]\ndirectory = %s/state\n[source]\nconninfo = host=/nowhere\n",
			 f->path);
	must(config_parse("test", slice_string(text), NULL, 0, &f->config, &err), &err);
	assert_true(stream_id_random(&identity.stream_id));
	must(state_lock(f->config->state.directory, true, &f->state, &err), &err);
	must(state_make(&f->state, f->config, &identity, &err), &err);
	state_abandon(&f->state);
	return f;
}

static void
fixture_free(Fixture *f)
{
	char command[128];

	state_abandon(&f->state);
	config_free(f->config);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->path);
	assert_int_equal(system(command), 0);
	free(f);
}

static uint64_t
last_seq(Fixture *f)
{
	JournalHead head;

	journal_appended(f->state.journal, &head);
	return head.seq;
}

static void
append(Fixture *f, UnitKind kind)
{
	Unit unit = {.kind = kind};
	Error err = {0};

	must(journal_append(f->state.journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, &err), &err);
}

/* The scorer's part, as its thread does it: unit `seq` is scored, written and committed. */
static void
score(Fixture *f, uint64_t seq)
{
	JournalReader *reader;
	JournalEvent event;
	Unit unit;
	PartType type;
	Slice bytes;
	RecordHeader header;
	Slice record;
	Error err = {0};
	bool ready;
	bool consumed;

	must(journal_flush(f->state.journal, &err), &err);
	must(journal_reader_open(f->state.journal, seq, &reader, &err), &err);
	do
	{
		event = journal_reader_next(reader, &unit, &type, &bytes, &err);
		assert_true(event != JOURNAL_ERROR && event != JOURNAL_NOTHING);
		if (event == JOURNAL_UNIT)
			must(scorer_begin(f->state.scorer, &unit, &err), &err);
		else if (event == JOURNAL_PART)
			must(scorer_part(f->state.scorer, type, bytes, &ready, &consumed, &err), &err);
	} while (event != JOURNAL_UNIT_END);
	journal_reader_close(reader);
	must(scorer_end(f->state.scorer, &err), &err);
	record = scorer_record(f->state.scorer, &header);
	must(feed_append(f->state.feed, &header, record, &err) && feed_flush(f->state.feed, &err) &&
			 store_commit(f->state.store, &err),
		 &err);
}

/* As a version with another engine would have left it. */
static void
pretend_other_engine(Fixture *f)
{
	StoreHeader header = *store_header(f->state.store);
	Error err = {0};

	header.engine = SCORER_ENGINE + 1;
	must(store_set_header(f->state.store, &header, &err) && store_commit(f->state.store, &err), &err);
}

/* ---- R6 ----------------------------------------------------------------------------------------- */

static void
another_engine_takes_over_at_a_config_unit_and_not_before(void **state)
{
	Fixture *f = fixture();
	Error err = {0};
	bool found;
	char text[4096];
	size_t len;

	open_state(f);
	append(f, UNIT_CONNECT);
	score(f, 1);
	pretend_other_engine(f);
	must(state_close_clean(&f->state, &err), &err);
	state_abandon(&f->state);

	open_state(f);
	assert_int_equal(last_seq(f), 2);
	/* the unit is durable, and a copy of the store before it is there: a torn store goes back to that at most */
	assert_int_equal(feed_durable(f->state.feed), 2);
	assert_int_equal(faccessat(f->state.store_dirfd, "snapshot-1.mdb", F_OK, 0), 0);
	/* scores are still those of the other engine, and the header says so */
	assert_int_equal(store_header(f->state.store)->engine, SCORER_ENGINE + 1);
	must(fs_read_file(f->state.dirfd, SESSION_CONFIG_FILE, sizeof(text), text, &len, &found, &err), &err);
	assert_true(found && memmem(text, len, "engine=", 7) != NULL);

	/* killed before it was scored: accepted again, and not announced twice */
	append(f, UNIT_CONNECT);
	must(journal_flush(f->state.journal, &err), &err);
	state_abandon(&f->state);
	open_state(f);
	assert_int_equal(last_seq(f), 3);
	score(f, 2);
	assert_int_equal(store_header(f->state.store)->engine, SCORER_ENGINE);
	score(f, 3);
	state_abandon(&f->state);
	open_state(f);
	assert_int_equal(last_seq(f), 3);
	fixture_free(f);
}

static void
another_engine_is_refused_while_units_wait(void **state)
{
	Fixture *f = fixture();
	Error err = {0};

	open_state(f);
	append(f, UNIT_CONNECT);
	append(f, UNIT_CONNECT);
	score(f, 1);
	pretend_other_engine(f);
	state_abandon(&f->state);
	must(state_lock(f->config->state.directory, false, &f->state, &err), &err);
	assert_false(state_open(&f->state, f->config, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	assert_non_null(strstr(err.message, "rule R6"));
	assert_non_null(strstr(err.hint, "previous version"));
	fixture_free(f);
}

static void
the_same_engine_appends_nothing(void **state)
{
	Fixture *f = fixture();

	open_state(f);
	assert_int_equal(last_seq(f), 0);
	fixture_free(f);
}

/* ---- the lock -------------------------------------------------------------------------------------- */

/* A process that holds the lock for so long. */
static pid_t
holder(const Fixture *f, int ms)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0)
	{
		State state;
		Error err;

		if (!state_lock(f->config->state.directory, false, &state, &err) || write(ready[1], &byte, 1) != 1)
			_exit(1);
		usleep((useconds_t) ms * 1000);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void
a_lock_that_goes_away_is_waited_for(void **state)
{
	Fixture *f = fixture();
	pid_t pid = holder(f, 500);

	open_state(f);
	waitpid(pid, NULL, 0);
	fixture_free(f);
}

static void
a_lock_that_stays_is_refused_after_a_while(void **state)
{
	Fixture *f = fixture();
	pid_t pid = holder(f, 60000);
	int64_t begun = clock_monotonic_us();
	Error err = {0};

	assert_false(state_lock(f->config->state.directory, false, &f->state, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	assert_in_range(clock_monotonic_us() - begun, 2000000, 50000000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fixture_free(f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_engine_takes_over_at_a_config_unit_and_not_before),
		cmocka_unit_test(another_engine_is_refused_while_units_wait),
		cmocka_unit_test(the_same_engine_appends_nothing),
		cmocka_unit_test(a_lock_that_goes_away_is_waited_for),
		cmocka_unit_test(a_lock_that_stays_is_refused_after_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
