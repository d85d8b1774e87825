/*
 * test_scorer_thread.c -- the order of feed, store and snapshot (rule R3), on a state directory whose disk is watched.
 */
#include <fcntl.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "daemon/scorer_thread.h"

#define PATIENCE_MS 20000

static char path[64];
static Config *config;
static State state;
static FsOps ops;

static void
must(bool ok, const Error *err)
{
	if (!ok)
		fail_msg("%s", err->message);
}

static void
open_state(void)
{
	Error err = {0};

	must(state_lock(config->state.directory, false, &state, &err), &err);
	must(state_open(&state, config, &err), &err);
}

static int
setup(void **arg)
{
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

	strcpy(path, "/tmp/walrank_thread_XXXXXX");
	assert_non_null(mkdtemp(path));
	snprintf(text, sizeof(text), "[state]\ndirectory = %s/state\n[source]\nconninfo = host=/nowhere\n", path);
	must(config_parse("test", slice_string(text), NULL, 0, &config, &err), &err);
	assert_true(stream_id_random(&identity.stream_id));
	must(state_lock(config->state.directory, true, &state, &err), &err);
	must(state_make(&state, config, &identity, &err), &err);
	state_abandon(&state);
	open_state();
	ops = fs_system;
	return 0;
}

static int
teardown(void **arg)
{
	char command[128];

	fs = &fs_system;
	state_abandon(&state);
	config_free(config);
	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	return system(command);
}

/* The last unit of a backfill: the store is committed at once and copied. */
static void
append_backfill_end(void)
{
	Unit unit = {.kind = UNIT_BACKFILL, .step = BACKFILL_END, .last_chunk = true, .oid = 1};
	Error err = {0};

	must(journal_append(state.journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, &err), &err);
}

static atomic_int failures;

static void
count_failure(void *context, const Error *err)
{
	atomic_fetch_add(&failures, 1);
}

static bool
wait_for(atomic_int *count)
{
	for (int ms = 0; ms < PATIENCE_MS && atomic_load(count) == 0; ms++)
		usleep(1000);
	return atomic_load(count) > 0;
}

static bool
in_directory(int fd, const char *name)
{
	char link[64];
	char target[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	return strstr(target, name) != NULL;
}

#define KILLED 7

/* The process dies where it would write to the feed. */
static ssize_t
dying_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	if (in_directory(fd, "/state/feed/"))
		_exit(KILLED);
	return fs_system.pwrite(fd, data, len, offset);
}

static void
score_until_killed(void)
{
	open_state();
	ops.pwrite = dying_pwrite;
	fs = &ops;
	atomic_store(&failures, 0);
	scorer_thread_start(&state, config, count_failure, NULL);
	wait_for(&failures);
	_exit(1);
}

static ino_t
store_file(void)
{
	struct stat st;

	assert_int_equal(fstatat(state.store_dirfd, "data.mdb", &st, 0), 0);
	return st.st_ino;
}

/* More than once: where the processor is busy the feed may be flushed by the clock, before the commit that is meant. */
static void
the_store_is_not_committed_before_the_feed_is_written(void **arg)
{
	ino_t file = store_file();

	append_backfill_end();
	for (int round = 0; round < 20; round++)
	{
		int status;
		pid_t pid;

		state_abandon(&state);
		pid = fork();
		if (pid == 0)
			score_until_killed();
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == KILLED);
		/* a store ahead of its feed would be refused here, or replaced by its snapshot */
		open_state();
		assert_int_equal(store_position(state.store).seq, 0);
		assert_true(store_file() == file);
	}
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static atomic_int feed_unsynced; /* files written to since they were synced */
static atomic_int snapshots;
static atomic_int too_early;

static ssize_t
noting_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	if (in_directory(fd, "/state/feed/"))
		atomic_store(&feed_unsynced, 1);
	return fs_system.pwrite(fd, data, len, offset);
}

static int
noting_fdatasync(int fd)
{
	if (in_directory(fd, "/state/feed/"))
		atomic_store(&feed_unsynced, 0);
	return fs_system.fdatasync(fd);
}

static int
noting_renameat(int dirfd, const char *from, const char *to)
{
	unsigned long long seq;
	uint64_t durable;
	Lsn lsn;

	if (sscanf(to, "snapshot-%llu.mdb", &seq) == 1)
	{
		journal_durable(state.journal, &durable, &lsn);
		if (durable < seq || atomic_load(&feed_unsynced) != 0)
			atomic_store(&too_early, 1);
		atomic_fetch_add(&snapshots, 1);
	}
	return fs_system.renameat(dirfd, from, to);
}

static void
a_snapshot_counts_when_journal_and_feed_are_synced_as_far(void **arg)
{
	ScorerThread *thread;
	ScorerView view;
	Error err;

	for (int i = 0; i < 3; i++)
		append_backfill_end();
	ops.pwrite = noting_pwrite;
	ops.fdatasync = noting_fdatasync;
	ops.renameat = noting_renameat;
	fs = &ops;
	atomic_store(&snapshots, 0);
	atomic_store(&too_early, 0);
	thread = scorer_thread_start(&state, config, count_failure, NULL);
	/* all is scored, the copy is wanted, and nobody has synced the journal: as it is while a disk is slow */
	for (int ms = 0; ms < PATIENCE_MS; ms++)
	{
		scorer_thread_view(thread, &view);
		if (view.position.seq == 3)
			break;
		usleep(1000);
	}
	assert_int_equal(view.position.seq, 3);
	usleep(300000); /* for a snapshot that would not wait */
	assert_int_equal(atomic_load(&snapshots), 0);
	must(journal_sync_step(state.journal, 0, &err), &err);
	assert_true(wait_for(&snapshots));
	assert_int_equal(atomic_load(&too_early), 0);
	scorer_thread_stop(thread, 1000000);
	scorer_thread_destroy(thread);
	assert_int_equal(atomic_load(&too_early), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_store_is_not_committed_before_the_feed_is_written, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_snapshot_counts_when_journal_and_feed_are_synced_as_far, setup,
										teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
