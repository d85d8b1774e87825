/*
 * test_sink_runner.c -- a sink's thread applies every record once and in order, or stops and says why.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "feed_fixture.h"
#include "pg_temp.h"
#include "sinks/file.h"

static const FixtureColumn columns[] = {{"id", "bigint", true}, {NULL, NULL, false}};

static FeedFixture f;
static char path[128];
static char sink_name[] = "out";
static FileOptions options; /* as for both types: one string first */
static FsOps ops;
static SinkRunner *runner;
static SinkStatus status;

static void
unit_of(uint32_t records)
{
	fixture_begin(&f, UNIT_TXN);
	if (f.header.seq == 1 && f.header.part == 0)
	{
		fixture_relation(&f, 1, "public", "item", "", columns);
		fixture_ranking(&f, 1, 1, "home");
	}
	for (uint32_t i = 1; i <= records; i++)
		fixture_score(&f, i, 1, 1, key_int((int64_t) f.header.seq), i);
	fixture_end(&f, true);
}

static int
setup(void **state)
{
	fixture_open(&f);
	snprintf(path, sizeof(path), "%s/out.ndjson", f.dir);
	options = (FileOptions){.path = path};
	runner = NULL;
	return 0;
}

static int
teardown(void **state)
{
	if (runner != NULL)
		sink_runner_destroy(runner);
	fs = &fs_system;
	fixture_close(&f);
	fixture_segment_bytes = 64 << 20;
	return 0;
}

static SinkConfig
config_of(const SinkType *type, int64_t flush_interval_ms, int64_t flush_rows)
{
	return (SinkConfig){.name = sink_name,
						.type = type,
						.options = &options,
						.flush_interval_ms = flush_interval_ms,
						.flush_rows = flush_rows};
}

static void
start(const SinkType *type, int64_t flush_interval_ms, int64_t flush_rows)
{
	SinkConfig config = config_of(type, flush_interval_ms, flush_rows);

	MUST(sink_runner_start(&config, f.feed, &(SinkHistory){.stream_id = f.stream}, f.dir, &runner,
						   &fixture_error));
}

static void
end(void)
{
	sink_runner_destroy(runner);
	runner = NULL;
}

/* At most 20 s. */
static bool
reaches(uint64_t seq)
{
	for (int i = 0; i < 20000; i++)
	{
		sink_runner_status(runner, &status);
		if (status.position.seq >= seq)
			return true;
		if (status.state == SINK_STOPPED)
			break;
		usleep(1000);
	}
	fprintf(stderr, "at unit %llu: %s\n", (unsigned long long) status.position.seq, status.note);
	return false;
}

static bool
stops(void)
{
	for (int i = 0; i < 5000; i++)
	{
		sink_runner_status(runner, &status);
		if (status.state == SINK_STOPPED)
			return true;
		usleep(1000);
	}
	return false;
}

/* The positions in the file, each on a line: "1.1.1 1.2.1 " */
static Buffer
positions(void)
{
	Buffer text = {0};
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t bytes = 0;

	while (file != NULL && getline(&line, &bytes, file) > 0)
		buffer_printf(&text, "%.*s ", (int) strcspn(line + 8, "\""), line + 8);
	if (file != NULL)
		fclose(file);
	free(line);
	buffer_append_byte(&text, '\0');
	return text;
}

static void
expect_positions(const char *want)
{
	Buffer got = positions();

	assert_string_equal((char *) got.data, want);
	buffer_free(&got);
}

static void
a_record_arrives_within_the_flush_interval(void **state)
{
	int64_t total = 0;

	unit_of(1);
	start(&sink_file, 1, 10000);
	assert_true(reaches(1));
	for (uint64_t i = 2; i <= 51; i++)
	{
		int64_t began = clock_monotonic_us();

		unit_of(1);
		assert_true(reaches(i));
		total += clock_monotonic_us() - began;
		usleep(2000);
	}
	print_message("%.2f ms from the feed to the checkpoint\n", (double) total / 50000);
	assert_in_range(total / 50, 0, 900000); /* a busy machine has its say; a second would be a timer's */
	assert_int_equal(status.position.applied, 51);
	assert_int_equal(status.batches, 51);
}

static void
batches_fill_up_to_flush_rows(void **state)
{
	for (int i = 0; i < 100; i++)
		unit_of(5);
	start(&sink_file, 60000, 100);
	assert_true(reaches(100));
	assert_int_equal(status.batches, 5);
	assert_int_equal(status.position.applied, 500);
	assert_int_equal(status.state, SINK_STREAMING);
}

static void
a_batch_waits_for_its_interval_and_no_longer(void **state)
{
	unit_of(1);
	start(&sink_file, 2000, 10000);
	usleep(100000);
	unit_of(1);
	sink_runner_status(runner, &status);
	assert_int_equal(status.position.seq, 0);
	assert_true(reaches(2));
	assert_int_equal(status.batches, 1);
}

static void
records_without_output_move_the_checkpoint_once_a_second(void **state)
{
	struct stat st;
	int64_t began;

	for (int i = 0; i < 10; i++)
		unit_of(0);
	began = clock_monotonic_us();
	start(&sink_file, 1, 10);
	usleep(300000);
	sink_runner_status(runner, &status);
	if (clock_monotonic_us() - began < 1000000) /* else the second was over before we looked */
		assert_int_equal(status.position.seq, 0);
	assert_true(reaches(10));
	assert_int_equal(status.batches, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void
what_the_journal_has_not_synced_is_not_applied(void **state)
{
	unit_of(1);
	fixture_begin(&f, UNIT_TXN);
	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	f.header.last = true;
	record_finish(&f.record, 0, &f.header);
	MUST(feed_append(f.feed, &f.header, buffer_slice(&f.record), &fixture_error));
	MUST(feed_flush(f.feed, &fixture_error));
	start(&sink_file, 1, 1);
	assert_true(reaches(1));
	usleep(200000);
	sink_runner_status(runner, &status);
	assert_int_equal(status.position.seq, 1);
	expect_positions("1.1.1 ");
	feed_set_durable(f.feed, 2);
	assert_true(reaches(2));
}

static void
a_drain_applies_what_is_there_and_ends(void **state)
{
	int64_t began;

	start(&sink_file, 60000, 1000000);
	for (int i = 0; i < 300; i++)
		unit_of(2);
	sink_runner_drain(runner, 10000000);
	sink_runner_status(runner, &status);
	assert_int_equal(status.position.seq, 300);
	assert_int_equal(status.position.applied, 600);
	began = clock_monotonic_us();
	end();
	assert_in_range(clock_monotonic_us() - began, 0, 30000000);
}

static void
stopping_without_a_drain_loses_and_doubles_nothing(void **state)
{
	Buffer got;
	char *at;
	uint64_t seq = 0;

	for (int round = 0; round < 30; round++)
	{
		for (int i = 0; i < 20; i++)
			unit_of(1);
		start(&sink_file, round % 3, 7);
		usleep((useconds_t) (round * 137 % 5000));
		end();
	}
	start(&sink_file, 1, 1000);
	assert_true(reaches(600));
	assert_int_equal(status.position.applied, 600);
	end();
	got = positions();
	for (at = (char *) got.data; *at != '\0'; at = strchr(at, ' ') + 1)
		assert_int_equal(strtoull(at, NULL, 10), ++seq);
	assert_int_equal(seq, 600);
	buffer_free(&got);
}

/* Every fourth write finds no space. */
static int writes;

static ssize_t
scarce_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	if (len > 4 && ++writes % 4 == 0)
	{
		(void) fs_system.pwrite(fd, data, len / 2, offset);
		errno = ENOSPC;
		return -1;
	}
	return fs_system.pwrite(fd, data, len, offset);
}

static void
without_space_it_waits_and_goes_on_inside_a_large_unit(void **state)
{
	unit_of(1);
	for (int piece = 0; piece < 3; piece++)
	{
		fixture_begin(&f, UNIT_TXN);
		fixture_score(&f, 2 * (uint32_t) piece + 1, 1, 1, key_int(1), 1);
		fixture_score(&f, 2 * (uint32_t) piece + 2, 1, 1, key_int(2), 1);
		fixture_end(&f, piece == 2);
	}
	unit_of(1);
	ops = fs_system;
	ops.pwrite = scarce_pwrite;
	fs = &ops;
	start(&sink_file, 0, 1);
	assert_true(reaches(3));
	assert_true(status.retries > 0);
	assert_int_equal(status.position.applied, 8);
	assert_string_equal(status.note, "");
	end();
	fs = &fs_system;
	expect_positions("1.1.1 2.1.1 2.2.1 2.3.1 2.4.1 2.5.1 2.6.1 3.1.1 ");
}

/* The disk has no space until it is told that it has. */
static volatile bool full;
static volatile bool asked;

static ssize_t
full_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	/* lines do not fit, the checkpoint does */
	if (full && len > 0 && *(const char *) data == '{')
	{
		asked = true;
		errno = ENOSPC;
		return -1;
	}
	return fs_system.pwrite(fd, data, len, offset);
}

static void
wait_until_asked(void)
{
	for (int i = 0; !asked && i < 20000; i++)
		usleep(1000);
	assert_true(asked);
}

static void
a_batch_that_does_not_fit_is_gathered_again(void **state)
{
	unit_of(15000);
	ops = fs_system;
	ops.pwrite = full_pwrite;
	full = true;
	asked = false;
	fs = &ops;
	start(&sink_file, 60000, 15000);
	wait_until_asked();
	full = false;
	assert_true(reaches(1));
	assert_int_equal(status.position.applied, 15000);
	end();
	fs = &fs_system;
}

/* It begins with the oldest unit, though there is a fill. */
static void
add(void)
{
	SinkConfig config = config_of(&sink_file, 1, 1);

	MUST(sink_add(&config, &(SinkHistory){.stream_id = f.stream}, f.dir, (SinkSource){.feed = f.feed}, NULL,
				  SINK_FROM_OLDEST, &fixture_error));
}

static void
what_came_before_a_fill_is_in_before_the_fill_begins(void **state)
{
	unit_of(2);
	add();
	start(&sink_file, 60000, 1000);
	fixture_begin(&f, UNIT_RESCORE);
	fixture_fill(&f, RECORD_FILL, sink_name, f.header.seq);
	fixture_end(&f, true);
	assert_true(reaches(1));
	expect_positions("1.1.1 1.2.1 "); /* long before the interval is over */
	end();
	/* and if that fails, all of it is done again */
	snprintf(path, sizeof(path), "%s/full.ndjson", f.dir);
	add();
	ops = fs_system;
	ops.pwrite = full_pwrite;
	full = true;
	asked = false;
	fs = &ops;
	start(&sink_file, 60000, 1000);
	wait_until_asked();
	full = false;
	assert_true(reaches(1));
	expect_positions("1.1.1 1.2.1 ");
	end();
	fs = &fs_system;
}

static void
a_drain_ends_though_the_sink_cannot(void **state)
{
	int64_t began;

	unit_of(1);
	ops = fs_system;
	ops.pwrite = full_pwrite;
	full = true;
	asked = false;
	fs = &ops;
	start(&sink_file, 1, 1);
	wait_until_asked();
	began = clock_monotonic_us();
	sink_runner_drain(runner, 30000000);
	assert_in_range(clock_monotonic_us() - began, 0, 20000000); /* not all of its time */
	sink_runner_status(runner, &status);
	assert_int_equal(status.position.seq, 0);
	end();
	fs = &fs_system;
}

static int
broken_fdatasync(int fd)
{
	errno = EIO;
	return -1;
}

static void
a_failed_sync_stops_the_sink_for_the_daemon_to_see(void **state)
{
	unit_of(1);
	ops = fs_system;
	ops.fdatasync = broken_fdatasync;
	fs = &ops;
	start(&sink_file, 1, 1);
	assert_true(stops());
	assert_int_equal(status.reason, ERR_DISK);
	assert_int_equal(status.position.seq, 0);
	end();
	fs = &fs_system;
}

static void
stopped_by(const char *rule)
{
	assert_true(stops());
	assert_int_equal(status.reason, ERR_REFUSE);
	if (strstr(status.note, rule) == NULL)
		fail_msg("%s", status.note);
	end();
}

static void
a_sink_beyond_the_journal_is_refused(void **state)
{
	FeedFixture later;

	unit_of(1);
	unit_of(1);
	start(&sink_file, 1, 1);
	assert_true(reaches(2));
	end();
	/* the same stream, but an older state directory */
	later = f;
	fixture_open(&f);
	unit_of(1);
	start(&sink_file, 1, 1);
	stopped_by("rule K2");
	expect_positions("1.1.1 2.1.1 ");
	fixture_close(&f);
	f = later;
}

static void
a_sink_behind_the_feed_is_refused(void **state)
{
	fixture_close(&f);
	fixture_segment_bytes = 4096;
	setup(state);
	unit_of(1);
	start(&sink_file, 1, 1);
	assert_true(reaches(1));
	end();
	for (int i = 0; i < 400; i++)
		unit_of(2);
	MUST(feed_sync(f.feed, &fixture_error)); /* only what is synced is given up */
	MUST(feed_trim(f.feed, 300, &fixture_error));
	assert_true(feed_first_seq(f.feed) > 2);
	start(&sink_file, 1, 1);
	stopped_by("rule K2");
	expect_positions("1.1.1 ");
	unlink(path);
	snprintf(path, sizeof(path), "%s/new.ndjson", f.dir);
	start(&sink_file, 1, 1);
	stopped_by("rule K1");
}

static void
totals_that_do_not_meet_stop_the_sink(void **state)
{
	unit_of(1);
	f.header.total += 5;
	unit_of(1);
	start(&sink_file, 1, 1);
	stopped_by("rule K8");
	expect_positions("1.1.1 ");
}

static void
a_sink_that_cannot_be_made_fails_at_start(void **state)
{
	SinkConfig config = config_of(&sink_postgres, 1, 1);
	SinkRunner *none;
	Error err;

	strcpy(path, "hots=x");
	assert_false(
		sink_runner_start(&config, f.feed, &(SinkHistory){.stream_id = f.stream}, f.dir, &none, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	assert_non_null(strstr(err.hint, "as for psql"));
}

static bool
server(const char *action)
{
	char command[512];

	snprintf(command, sizeof(command),
			 PG_BINDIR "/pg_ctl -w -m immediate -D '%s/data' -l '%s/log' -o \"-c listen_addresses='' -c "
					   "unix_socket_directories='%s'\" %s",
			 pg_dir, pg_dir, pg_dir, action);
	return pg_run(command);
}

static void
the_sinks_database_goes_away_and_comes_back(void **state)
{
	uint64_t seq = 0;

	assert_true(pg_start(""));
	options = (FileOptions){.path = pg_conninfo};
	start(&sink_postgres, 1, 50);
	for (int round = 0; round < 3; round++)
	{
		for (int i = 0; i < 200; i++)
			unit_of(1);
		usleep(20000);
		assert_true(server("stop"));
		for (int i = 0; i < 100; i++)
			unit_of(1);
		for (int i = 0; i < 20000 && status.state != SINK_RETRYING; i++)
		{
			usleep(1000);
			sink_runner_status(runner, &status);
		}
		assert_int_equal(status.state, SINK_RETRYING);
		assert_true(status.note[0] != '\0');
		assert_true(server("start"));
		seq += 300;
		assert_true(reaches(seq));
	}
	assert_true(status.retries >= 3);
	assert_int_equal(status.position.applied, 900);
	PQreset(pg_conn);
	assert_string_equal(pg_sql("SELECT count(*), min(seq), max(seq) FROM walrank_out.score_item"),
						"900|1|900");
	assert_string_equal(pg_sql("SELECT seq, applied FROM walrank_out.checkpoint"), "900|900");
	/* a stop does not wait for a server that does not answer */
	assert_true(server("stop"));
	unit_of(1);
	usleep(150000);
	{
		int64_t began = clock_monotonic_us();

		end();
		assert_in_range(clock_monotonic_us() - began, 0, 9000000); /* connecting may take ten */
	}
	assert_true(server("start"));
	pg_stop();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_record_arrives_within_the_flush_interval, setup, teardown),
		cmocka_unit_test_setup_teardown(batches_fill_up_to_flush_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(a_batch_waits_for_its_interval_and_no_longer, setup, teardown),
		cmocka_unit_test_setup_teardown(records_without_output_move_the_checkpoint_once_a_second, setup,
										teardown),
		cmocka_unit_test_setup_teardown(what_the_journal_has_not_synced_is_not_applied, setup, teardown),
		cmocka_unit_test_setup_teardown(a_drain_applies_what_is_there_and_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(stopping_without_a_drain_loses_and_doubles_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(without_space_it_waits_and_goes_on_inside_a_large_unit, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_batch_that_does_not_fit_is_gathered_again, setup, teardown),
		cmocka_unit_test_setup_teardown(what_came_before_a_fill_is_in_before_the_fill_begins, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_drain_ends_though_the_sink_cannot, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_sync_stops_the_sink_for_the_daemon_to_see, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sink_beyond_the_journal_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sink_behind_the_feed_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(totals_that_do_not_meet_stop_the_sink, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sink_that_cannot_be_made_fails_at_start, setup, teardown),
		cmocka_unit_test_setup_teardown(the_sinks_database_goes_away_and_comes_back, setup, teardown),
	};

	log_init(LOG_FATAL, false); /* what is said is tested through the status */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
