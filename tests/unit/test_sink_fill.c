/*
 * test_sink_fill.c -- a target filled beside the old one takes its place in one step, or not at all (K1, K9, R13).
 *
 * The runner and sink "file" on a real feed; files that rotate, records that can never be written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

#include "base/log.h"
#include "feed_fixture.h"
#include "sinks/file.h"

static const FixtureColumn columns[] = {{"id", "bigint", true}, {NULL, NULL, false}};

static FeedFixture f;
static char path[128];
static char sink_name[] = "lines";
static FileOptions options;
static SinkHistory history;
static StreamId replaced;
static FsOps ops;
static SinkRunner *runner;
static SinkStatus status;

/* ---- the feed --------------------------------------------------------------------------------- */

static void
begin(UnitKind kind)
{
	fixture_begin(&f, kind);
	if (f.header.seq == 1)
	{
		fixture_relation(&f, 1, "public", "item", "", columns);
		fixture_ranking(&f, 1, 1, "home");
	}
}

static void
unit_of(uint32_t records)
{
	begin(UNIT_TXN);
	for (uint32_t i = 1; i <= records; i++)
		fixture_score(&f, i, 1, 1, key_int((int64_t) f.header.seq), i);
	fixture_end(&f, true);
}

/* A chunk of a fill; from 0: its first unit, which repeats nothing. */
static void
chunk(const char *sink, uint64_t from, uint32_t records, bool last)
{
	begin(UNIT_RESCORE);
	fixture_fill(&f, RECORD_FILL, sink, from != 0 ? from : f.header.seq);
	for (uint32_t i = 1; i <= records; i++)
		fixture_score(&f, i, 1, 1, key_int(i), i);
	if (last)
		fixture_fill(&f, RECORD_FILLED, sink, from);
	fixture_end(&f, true);
}

static void
poison(void)
{
	begin(UNIT_TXN);
	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_score(&f, 2, 1, 9, key_int(1), 1); /* nobody said what ranking 9 is */
	fixture_score(&f, 3, 1, 1, key_int(2), 1);
	fixture_end(&f, true);
}

/* Of the many small segments the first ones go. */
static void
trim(void)
{
	MUST(feed_sync(f.feed, &fixture_error));
	MUST(feed_trim(f.feed, 300, &fixture_error));
	assert_true(feed_first_seq(f.feed) > 2);
}

static void
trimmed_feed(void)
{
	for (int i = 0; i < 400; i++)
		unit_of(2);
	trim();
}

static int
setup(void **state)
{
	fixture_segment_bytes = 4096;
	fixture_open(&f);
	snprintf(path, sizeof(path), "%s/out.ndjson", f.dir);
	options = (FileOptions){.path = path};
	history = (SinkHistory){.stream_id = f.stream};
	runner = NULL;
	return 0;
}

static int
teardown(void **state)
{
	if (runner != NULL)
		sink_runner_destroy(runner);
	runner = NULL;
	fs = &fs_system;
	fixture_close(&f);
	return 0;
}

/* ---- the sink ---------------------------------------------------------------------------------- */

static SinkConfig
config(void)
{
	return (SinkConfig){
		.name = sink_name, .type = &sink_file, .options = &options, .flush_interval_ms = 0, .flush_rows = 1};
}

static void
start(void)
{
	SinkConfig now = config();

	MUST(sink_runner_start(&now, f.feed, &history, f.dir, &runner, &fixture_error));
}

/* It begins with the oldest unit, whatever fills there are. */
static void
add(void)
{
	SinkConfig now = config();
	const SinkSource source = {.feed = f.feed, .dirfd = -1};

	MUST(sink_add(&now, &history, f.dir, source, NULL, SINK_FROM_OLDEST, &fixture_error));
}

static void
end(void)
{
	sink_runner_destroy(runner);
	runner = NULL;
}

/* At most 20 s; false when its disk failed. What a rule has stopped may be cured. */
static bool
reaches(uint64_t seq)
{
	for (int i = 0; i < 20000; i++)
	{
		sink_runner_status(runner, &status);
		if (status.position.seq >= seq && status.state == SINK_STREAMING)
			return true;
		if (status.state == SINK_STOPPED && status.reason == ERR_DISK)
			return false;
		usleep(1000);
	}
	return false;
}

static void
must_reach(uint64_t seq)
{
	if (!reaches(seq))
		fail_msg("at unit %llu: %s", (unsigned long long) status.position.seq, status.note);
}

static void
stopped_by(const char *words)
{
	for (int i = 0; i < 5000; i++)
	{
		sink_runner_status(runner, &status);
		if (status.state == SINK_STOPPED)
			break;
		usleep(1000);
	}
	assert_int_equal(status.state, SINK_STOPPED);
	assert_int_equal(status.reason, ERR_REFUSE);
	if (strstr(status.note, words) == NULL)
		fail_msg("%s", status.note);
}

static Buffer
slurp(const char *name, bool must)
{
	Buffer content = {0};
	FILE *file = fopen(name, "r");
	int c;

	MUST(file != NULL || !must);
	while (file != NULL && (c = fgetc(file)) != EOF)
		buffer_append_byte(&content, (uint8_t) c);
	if (file != NULL)
		fclose(file);
	buffer_append_byte(&content, '\0');
	content.len--;
	return content;
}

static bool
exists(const char *suffix)
{
	char name[192];

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	return access(name, F_OK) == 0;
}

/* A value of the checkpoint, "" when there is none. */
static const char *
said(const char *key)
{
	static char value[256];
	char name[192];
	char line[300];
	Buffer text;
	char *at;

	snprintf(name, sizeof(name), "%s.ckpt", path);
	text = slurp(name, true);
	snprintf(line, sizeof(line), "\n%s=", key);
	at = strstr((char *) text.data, line);
	value[0] = '\0';
	if (at != NULL)
		snprintf(value, sizeof(value), "%.*s", (int) strcspn(at + strlen(line), "\n"), at + strlen(line));
	buffer_free(&text);
	return value;
}

/* What readers are given, each line's position: "1.1.1 1.2.1 "; and that no line is torn. */
static Buffer
shown(void)
{
	Buffer out = {0};
	const char *first = strrchr(said("first"), '.');
	uint64_t n = first != NULL && first[1] != 'n' ? strtoull(first + 1, NULL, 10) : 1;
	const char *file = strrchr(said("file"), '.');
	uint64_t last = file != NULL && file[1] != 'n' ? strtoull(file + 1, NULL, 10) : 1;
	uint64_t offset = strtoull(said("offset"), NULL, 10);

	for (; n <= last; n++)
	{
		char name[192];
		Buffer text;
		size_t len;

		snprintf(name, sizeof(name), n == 1 ? "%s" : "%s.%llu", path, (unsigned long long) n);
		text = slurp(name, n < last || offset > 0);
		len = n < last ? text.len : offset;
		assert_true(len <= text.len);
		assert_true(len == 0 || text.data[len - 1] == '\n');
		for (size_t at = 0; at < len;)
		{
			const char *line = (const char *) text.data + at;

			assert_memory_equal(line, "{\"pos\":\"", 8);
			buffer_printf(&out, "%.*s ", (int) strcspn(line + 8, "\""), line + 8);
			at += strcspn(line, "\n") + 1;
		}
		buffer_free(&text);
	}
	buffer_append_byte(&out, '\0');
	return out;
}

static void
expect_shown(const char *want)
{
	Buffer got = shown();

	assert_string_equal((char *) got.data, want);
	buffer_free(&got);
}

/* ---- a fill of a sink that runs ------------------------------------------------------------------ */

static void
the_old_file_stays_as_it_is_until_the_fill_has_ended(void **state)
{
	unit_of(2);
	unit_of(1);
	start();
	must_reach(2);
	chunk("lines", 0, 0, false);
	unit_of(1);
	chunk("lines", 3, 2, false);
	chunk("other", 0, 0, false);
	chunk("other", 6, 3, true);
	must_reach(7);
	assert_int_equal(status.position.phase, SINK_FILLING);
	assert_int_equal(status.position.applied, 3);
	assert_int_equal(status.position.filtered, 3); /* of the other sink's fill */
	assert_int_equal(status.position.total_start, 3);
	assert_string_equal(said("phase"), "filling");
	assert_string_equal(said("fill_file"), "out.ndjson.2");
	expect_shown("1.1.1 1.2.1 2.1.1 ");
	/* a daemon that starts in the middle goes on with it */
	end();
	start();
	must_reach(7);
	chunk("lines", 3, 1, true);
	must_reach(8);
	assert_int_equal(status.position.phase, SINK_WHOLE);
	assert_string_equal(said("phase"), "whole");
	assert_string_equal(said("fill_file"), "");
	expect_shown("4.1.1 5.1.1 5.2.1 8.1.1 ");
	unit_of(1);
	must_reach(9);
	assert_false(exists(""));
	expect_shown("4.1.1 5.1.1 5.2.1 8.1.1 9.1.1 ");
}

static void
a_fill_that_begins_anew_drops_what_the_first_one_wrote(void **state)
{
	unit_of(2);
	chunk("lines", 0, 0, false);
	chunk("lines", 2, 2, false);
	chunk("lines", 0, 0, false);
	chunk("lines", 4, 1, false);
	add();
	start();
	must_reach(5);
	expect_shown("1.1.1 1.2.1 ");
	chunk("lines", 4, 1, true);
	must_reach(6);
	expect_shown("5.1.1 6.1.1 ");
	unit_of(1);
	must_reach(7);
	assert_false(exists(""));
	assert_false(exists(".2"));
	assert_true(exists(".3"));
}

/* ---- the process dies after each of its steps in turn ----------------------------------------------- */

static int calls_left;

static bool
dying(void)
{
	if (calls_left > 0)
	{
		calls_left--;
		return false;
	}
	errno = EIO;
	return true;
}

static int
dying_open(int dirfd, const char *name, int flags, mode_t mode)
{
	if ((flags & O_CREAT) == 0 || strstr(name, "out") == NULL)
		return fs_system.open(dirfd, name, flags, mode);
	return dying() ? -1 : fs_system.open(dirfd, name, flags, mode);
}

static ssize_t
dying_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	if (calls_left == 0 && len > 10)
		(void) fs_system.pwrite(fd, data, len / 2, offset); /* half of it got there */
	return dying() ? -1 : fs_system.pwrite(fd, data, len, offset);
}

static int
dying_fdatasync(int fd)
{
	return dying() ? -1 : fs_system.fdatasync(fd);
}

static int
dying_fsync(int fd)
{
	return dying() ? -1 : fs_system.fsync(fd);
}

static int
dying_ftruncate(int fd, off_t len)
{
	return dying() ? -1 : fs_system.ftruncate(fd, len);
}

static int
dying_renameat(int dirfd, const char *from, const char *to)
{
	return dying() ? -1 : fs_system.renameat(dirfd, from, to);
}

static int
dying_unlinkat(int dirfd, const char *name)
{
	return dying() ? -1 : fs_system.unlinkat(dirfd, name);
}

/* A fill of a sink that rotates and has a quarantine; then life goes on. */
static void
eventful_feed(void)
{
	unit_of(3);
	poison();
	unit_of(2);
	chunk("lines", 0, 0, false);
	chunk("lines", 4, 3, false);
	poison();
	chunk("lines", 4, 1, true);
	unit_of(2);
	unit_of(2);
}

#define EVENTFUL_END 9
#define EVENTFUL_LINES "5.1.1 5.2.1 5.3.1 6.1.1 6.3.1 7.1.1 8.1.1 8.2.1 9.1.1 9.2.1 "

static void
no_line_of_the_old_target_after_the_new_one(const char *text)
{
	/* either what was there, or what is there now, never a mixture */
	if (text[0] == '\0' || strncmp(text, "1.1.1 ", 6) == 0)
		assert_memory_equal("1.1.1 1.2.1 1.3.1 2.1.1 2.3.1 3.1.1 3.2.1 ", text, strlen(text));
	else
	{
		assert_memory_equal(EVENTFUL_LINES, text, strlen(text));
		assert_true(strstr(text, "7.1.1") != NULL); /* the fill had ended */
	}
}

static void
killed_at_any_step_of_a_fill_it_ends_the_same(void **state)
{
	const char *tier = getenv("WALRANK_TIER");
	/* each step takes its time on a disk that syncs */
	const int stride = tier != NULL && strcmp(tier, "check") != 0 ? 1 : 4;
	int survived = -1;
	Buffer quarantine;

	eventful_feed();
	options.rotate_bytes = 300;
	ops = fs_system;
	ops.open = dying_open;
	ops.pwrite = dying_pwrite;
	ops.fdatasync = dying_fdatasync;
	ops.fsync = dying_fsync;
	ops.ftruncate = dying_ftruncate;
	ops.renameat = dying_renameat;
	ops.unlinkat = dying_unlinkat;
	for (int n = 0; n < 400 && survived < 0; n += stride)
	{
		char name[192];
		Buffer text;

		snprintf(path, sizeof(path), "%s/out%d.ndjson", f.dir, n);
		add();
		calls_left = n;
		fs = &ops;
		start();
		if (reaches(EVENTFUL_END))
			survived = n;
		else
			assert_int_equal(status.reason, ERR_DISK);
		end();
		fs = &fs_system;
		if (exists(".ckpt"))
		{
			text = shown();
			no_line_of_the_old_target_after_the_new_one((char *) text.data);
			buffer_free(&text);
		}
		start();
		must_reach(EVENTFUL_END);
		assert_int_equal(status.position.applied, 10);
		assert_int_equal(status.position.quarantined, 1);
		end();
		expect_shown(EVENTFUL_LINES);
		snprintf(name, sizeof(name), "%s.quarantine", path);
		quarantine = slurp(name, true);
		/* the fill's target began behind the first one */
		assert_memory_equal(quarantine.data, "{\"pos\":\"2.2.9\",\"kind\":4,\"reason\":", 33);
		text = quarantine;
		text.data = (uint8_t *) strchr((char *) quarantine.data, '\n') + 1;
		assert_memory_equal(text.data, "{\"pos\":\"6.2.9\"", 14);
		assert_string_equal(strchr((char *) text.data, '\n'), "\n");
		buffer_free(&quarantine);
		assert_false(exists("")); /* of the old target nothing is left */
	}
	print_message("%d steps\n", survived);
	assert_in_range(survived, 100, 399);
}

/* ---- sinks that cannot go on without a fill ------------------------------------------------------------ */

static void
a_sink_given_up_is_refused_and_cured_by_a_fill_while_the_daemon_runs(void **state)
{
	uint64_t from;

	unit_of(1);
	start();
	must_reach(1);
	end();
	trimmed_feed();
	start();
	stopped_by("rule K2");
	assert_non_null(strstr(status.note, "walrank sink fill lines"));
	chunk("other", 0, 0, false); /* not ours */
	usleep(50000);
	sink_runner_status(runner, &status);
	assert_int_equal(status.state, SINK_STOPPED);
	chunk("lines", 0, 0, false);
	from = f.header.seq;
	must_reach(from);
	expect_shown("1.1.1 ");
	chunk("lines", from, 1, true);
	must_reach(from + 1);
	assert_int_equal(status.position.applied, 1);
	assert_string_equal(status.note, "");
	/* one that is refused ends when it is told to */
	end();
}

/* A sync of lines that takes its time. */
static volatile bool slow;
static volatile bool syncing;

static int
slow_fdatasync(int fd)
{
	syncing = true;
	for (int i = 0; slow && i < 20000; i++)
		usleep(1000);
	return fs_system.fdatasync(fd);
}

static void
a_sink_that_is_given_up_while_it_streams_says_so(void **state)
{
	uint64_t from;

	for (int i = 0; i < 400; i++)
		unit_of(2);
	add();
	MUST(feed_sync(f.feed, &fixture_error));
	ops = fs_system;
	ops.fdatasync = slow_fdatasync;
	slow = true;
	syncing = false;
	fs = &ops;
	start();
	for (int i = 0; !syncing && i < 20000; i++)
		usleep(1000);
	assert_true(syncing);
	fs = &fs_system; /* for the feed, in this thread; the sink's call is under way */
	MUST(feed_trim(f.feed, 300, &fixture_error));
	slow = false;
	stopped_by("rule K2");
	assert_non_null(strstr(status.note, "walrank sink fill lines"));
	chunk("lines", 0, 0, false);
	from = f.header.seq;
	chunk("lines", from, 1, true);
	must_reach(from + 1);
	assert_int_equal(status.position.applied, 1);
}

static void
a_new_sink_waits_for_its_fill_when_the_feed_has_lost_its_beginning(void **state)
{
	uint64_t from;
	char want[64];

	trimmed_feed();
	start();
	stopped_by("rule K1");
	assert_false(exists("")); /* nothing was written */
	assert_false(exists(".ckpt"));
	chunk("lines", 0, 0, false);
	from = f.header.seq;
	chunk("lines", from, 1, true);
	must_reach(from + 1);
	assert_string_equal(said("file"), "out.ndjson"); /* in place: there was nothing to keep */
	snprintf(want, sizeof(want), "%llu.1.1 ", (unsigned long long) from + 1);
	expect_shown(want);
	end();
	/* and one that comes when the fill has ended begins there as well */
	snprintf(path, sizeof(path), "%s/late.ndjson", f.dir);
	start();
	must_reach(from + 1);
	expect_shown(want);
}

static void
still_starting(void)
{
	usleep(50000);
	sink_runner_status(runner, &status);
	assert_int_equal(status.state, SINK_STARTING);
	assert_false(exists(".ckpt"));
}

/* What sink_add(.., current) leaves: the fill is durable, but no record of it is in the feed yet. */
static void
a_new_sink_begins_at_a_fill_that_the_scorer_has_not_come_to(void **state)
{
	unit_of(2);
	feed_set_durable(f.feed, 2);
	start();
	still_starting();
	chunk("lines", 0, 0, false);
	unit_of(1);
	chunk("lines", 2, 2, true);
	must_reach(4);
	assert_string_equal(said("file"), "out.ndjson");
	assert_int_equal(status.position.applied, 3);
	expect_shown("3.1.1 4.1.1 4.2.1 ");
}

static void
a_sink_that_waits_for_the_scorer_ends_when_it_is_told_to(void **state)
{
	unit_of(1);
	feed_set_durable(f.feed, 2);
	start();
	still_starting();
	sink_runner_drain(runner, 20000000);
	end();
	start();
	still_starting();
	end();
}

/* The scorer waits for the slowest sink, then: this one has to take what there is. */
static void
a_new_sink_does_not_wait_for_the_scorer_of_a_full_feed(void **state)
{
	unit_of(2);
	feed_set_durable(f.feed, 2);
	start();
	still_starting();
	seglog_set_quota(feed_log(f.feed), 1);
	begin(UNIT_TXN);
	f.header.last = true;
	record_finish(&f.record, 0, &f.header);
	assert_false(feed_append(f.feed, &f.header, buffer_slice(&f.record), &fixture_error));
	assert_int_equal(fixture_error.class, ERR_SPACE);
	must_reach(1);
	expect_shown("1.1.1 1.2.1 ");
}

/* The n-th read of the feed fails. */
static int reads_left;

static ssize_t
failing_pread(int fd, void *data, size_t len, off_t offset)
{
	if (reads_left-- == 0)
	{
		errno = EIO;
		return -1;
	}
	return fs_system.pread(fd, data, len, offset);
}

static void
a_feed_that_cannot_be_read_loses_nothing(void **state)
{
	bool survived = false;
	int n;

	for (int i = 0; i < 40; i++)
		unit_of(2);
	chunk("lines", 0, 0, false);
	chunk("lines", 41, 1, true);
	unit_of(1);
	ops = fs_system;
	ops.pread = failing_pread;
	for (n = 0; n < 60 && !survived; n++)
	{
		snprintf(path, sizeof(path), "%s/out%d.ndjson", f.dir, n);
		reads_left = n;
		fs = &ops;
		start();
		survived = reaches(43) && reads_left >= 0;
		end();
		fs = &fs_system;
		start();
		must_reach(43);
		end();
		expect_shown("42.1.1 43.1.1 ");
	}
	print_message("%d reads\n", n - 1);
	assert_true(survived && n > 5);
}

static void
a_file_that_was_emptied_is_refused_and_filled_anew(void **state)
{
	unit_of(2);
	start();
	must_reach(1);
	end();
	assert_int_equal(truncate(path, 0), 0);
	start();
	stopped_by("but its checkpoint says");
	end();
	unlink(path);
	start();
	stopped_by("but its checkpoint says");
	assert_false(exists(""));
	chunk("lines", 0, 1, false);
	chunk("lines", 2, 1, true);
	must_reach(3);
	expect_shown("2.1.1 3.1.1 ");
}

static void
somebody_elses_file_stays_where_it_is(void **state)
{
	FILE *file = fopen(path, "w");
	Buffer text;

	MUST(file != NULL && fputs("not ours\n", file) >= 0 && fclose(file) == 0);
	unit_of(1);
	start();
	stopped_by("rule K1");
	chunk("lines", 0, 0, false);
	chunk("lines", 2, 1, true);
	unit_of(1);
	must_reach(4);
	assert_string_equal(said("file"), "out.ndjson.2");
	expect_shown("3.1.1 4.1.1 ");
	text = slurp(path, true);
	assert_string_equal((char *) text.data, "not ours\n");
	buffer_free(&text);
}

static void
totals_that_do_not_meet_are_cured_by_a_fill_alone(void **state)
{
	unit_of(1);
	f.header.total += 5;
	unit_of(1);
	start();
	stopped_by("rule K8");
	end();
	start();
	stopped_by("rule K8");
	expect_shown("1.1.1 ");
	chunk("lines", 0, 1, false);
	chunk("lines", 3, 1, true);
	must_reach(4);
	expect_shown("3.1.1 4.1.1 ");
}

/* The checkpoint says pieces of a unit that has none: whoever wrote it read another feed. */
static void
K3_pieces_that_the_feed_does_not_have_are_a_gap(void **state)
{
	char name[192];
	char command[300];

	unit_of(1);
	start();
	must_reach(1);
	end();
	unit_of(1);
	unit_of(1);
	snprintf(name, sizeof(name), "%s.ckpt", path);
	snprintf(command, sizeof(command), "sed -i s/^part=0/part=1/ '%s'", name);
	MUST(system(command) == 0);
	start();
	stopped_by("rule K3");
	expect_shown("1.1.1 ");
	chunk("lines", 0, 1, false);
	chunk("lines", 4, 1, true);
	must_reach(5);
	expect_shown("4.1.1 5.1.1 ");
}

/* ---- K9 --------------------------------------------------------------------------------------------------- */

/* Goes on with an empty feed of a new stream, which replaces the one before. */
static void
another_stream(bool replaces)
{
	static char old_path[128];
	static FeedFixture before;

	before = f;
	memcpy(old_path, path, sizeof(path));
	fixture_open(&f);
	f.stream = before.stream;
	f.stream.bytes[0] ^= 0xff;
	{
		char command[300];

		snprintf(command, sizeof(command), "mv %s/out* %s/", before.dir, f.dir);
		MUST(system(command) == 0);
	}
	snprintf(path, sizeof(path), "%s/out.ndjson", f.dir);
	replaced = before.stream;
	history = (SinkHistory){.stream_id = f.stream, .replaced = &replaced, .nreplaced = replaces};
	fixture_close(&before);
}

static void
a_replaced_streams_file_is_shown_until_the_first_backfill_has_ended(void **state)
{
	unit_of(2);
	start();
	must_reach(1);
	end();
	another_stream(true);
	unit_of(1);
	unit_of(1);
	start();
	must_reach(2);
	assert_int_equal(status.position.phase, SINK_REBUILDING);
	assert_string_equal(said("phase"), "rebuilding");
	expect_shown("1.1.1 1.2.1 ");
	chunk("other", 0, 0, false);
	chunk("other", 3, 1, true);
	must_reach(4);
	assert_int_equal(status.position.phase, SINK_REBUILDING);
	begin(UNIT_BACKFILL);
	fixture_score(&f, 1, 1, 1, key_int(7), 1);
	fixture_fill(&f, RECORD_FILLED, "", 0);
	fixture_end(&f, true);
	must_reach(5);
	assert_int_equal(status.position.phase, SINK_WHOLE);
	assert_int_equal(status.position.applied, 3);
	assert_string_equal(said("file"), "out.ndjson.2");
	expect_shown("1.1.1 2.1.1 5.1.1 ");
}

static void
a_foreign_streams_file_is_refused_untouched_and_no_fill_helps(void **state)
{
	Buffer before;
	Buffer after;
	char name[192];

	unit_of(2);
	start();
	must_reach(1);
	end();
	another_stream(false);
	snprintf(name, sizeof(name), "%s.ckpt", path);
	before = slurp(name, true);
	unit_of(1);
	start();
	stopped_by("rule K9");
	chunk("lines", 0, 0, false);
	chunk("lines", 2, 1, true);
	usleep(100000);
	stopped_by("rule K9");
	after = slurp(name, true);
	assert_string_equal((char *) before.data, (char *) after.data);
	assert_false(exists(".2"));
	buffer_free(&before);
	buffer_free(&after);
}

/* ---- tools -------------------------------------------------------------------------------------------------- */

static void
rotated_files_have_whole_lines_and_a_replay_finds_its_way_back(void **state)
{
	Buffer all;
	SinkConfig now = config();
	const SinkSource source = {.feed = f.feed, .dirfd = -1};

	options.rotate_bytes = 500;
	for (int i = 0; i < 60; i++)
		unit_of(i % 3 == 0 ? 0 : 2);
	start();
	must_reach(60);
	end();
	assert_true(exists(".10"));
	all = shown();
	for (uint64_t from = 60; from >= 1; from -= from > 7 ? 7 : 1)
	{
		Buffer again;
		Error err = {0};

		if (!sink_replay(&now, &history, f.dir, source, from, &err))
			fail_msg("%s", err.message);
		start();
		must_reach(60);
		end();
		again = shown();
		assert_string_equal((char *) again.data, (char *) all.data);
		buffer_free(&again);
	}
	buffer_free(&all);
}

/* A replay that a crash cut short, under another rotate_bytes, leaves such a file. */
static void
what_stands_where_the_next_file_goes_is_no_part_of_it(void **state)
{
	char name[192];
	FILE *file;

	options.rotate_bytes = 300;
	unit_of(1);
	start();
	must_reach(1);
	end();
	snprintf(name, sizeof(name), "%s.2", path);
	assert_false(exists(".2"));
	file = fopen(name, "w");
	MUST(file != NULL);
	for (int i = 0; i < 100; i++)
		MUST(fputs("{\"pos\":\"77.1.1\"}\n", file) >= 0);
	MUST(fclose(file) == 0);
	for (int i = 0; i < 3; i++)
		unit_of(1);
	start();
	must_reach(4);
	end();
	assert_true(exists(".2"));
	expect_shown("1.1.1 2.1.1 3.1.1 4.1.1 ");
}

static void
must_open(SinkStand *stand)
{
	Sink *sink;

	MUST(sink_file.create("lines", &options, &history, f.dir, &sink, &fixture_error));
	MUST(sink_file.open(sink, stand, &fixture_error));
	sink_file.close(sink);
	sink_file.destroy(sink);
}

/* After a fill the lines stand in NAME.2, and NAME is gone: K1 all the same. */
static void
a_lost_checkpoint_is_refused_whichever_file_has_the_lines(void **state)
{
	SinkStand stand = {0};
	char name[192];

	eventful_feed();
	add();
	start();
	must_reach(EVENTFUL_END);
	end();
	assert_false(exists(""));
	assert_true(exists(".2"));
	snprintf(name, sizeof(name), "%s.ckpt", path);
	assert_int_equal(unlink(name), 0);
	must_open(&stand);
	assert_false(stand.found);
	assert_false(stand.empty);
	assert_non_null(
		strstr(stand.why.message, "out.ndjson.2\" is not empty, but has no checkpoint (rule K1)"));
	assert_false(exists(""));
}

/* What was in the quarantine is lost for good: a fill cures it once, not again at every start. */
static void
a_lost_quarantine_asks_for_one_fill_and_no_more(void **state)
{
	char name[192];

	unit_of(3);
	poison();
	add();
	start();
	must_reach(2);
	end();
	snprintf(name, sizeof(name), "%s.quarantine", path);
	assert_int_equal(unlink(name), 0);
	start();
	stopped_by("out.ndjson.quarantine\" has 0 bytes");
	chunk("lines", 0, 0, false);
	chunk("lines", 3, 2, true);
	must_reach(4);
	end();
	expect_shown("4.1.1 4.2.1 ");
	unit_of(1);
	start();
	must_reach(5);
	end();
	assert_string_equal(said("file"), "out.ndjson.2"); /* not begun anew */
	expect_shown("4.1.1 4.2.1 5.1.1 ");
}

/* A checkpoint as the first version wrote it. */
static void
a_checkpoint_of_the_first_format_goes_on_where_it_stands(void **state)
{
	char name[192];
	Buffer text;
	Buffer old = {0};
	FILE *file;

	unit_of(3);
	add();
	start();
	must_reach(1);
	end();
	snprintf(name, sizeof(name), "%s.ckpt", path);
	text = slurp(name, true);
	for (char *line = strtok((char *) text.data, "\n"); line != NULL; line = strtok(NULL, "\n"))
		if (strncmp(line, "format=", 7) == 0)
			buffer_printf(&old, "format=1\n");
		else if (strncmp(line, "phase=", 6) != 0 && strncmp(line, "first=", 6) != 0 &&
				 strncmp(line, "old=", 4) != 0 && strncmp(line, "quarantine_offset=", 18) != 0)
			buffer_printf(&old, "%s\n", line);
	file = fopen(name, "w");
	MUST(file != NULL && fwrite(old.data, old.len, 1, file) == 1 && fclose(file) == 0);
	buffer_free(&text);
	buffer_free(&old);
	unit_of(1);
	start();
	must_reach(2);
	assert_int_equal(status.position.applied, 4);
	end();
	expect_shown("1.1.1 1.2.1 1.3.1 2.1.1 ");
	assert_string_equal(said("first"), "out.ndjson");
}

static SinkVerify report;

static void
verified(void)
{
	SinkConfig now = config();
	Error err = {0};

	if (!sink_verify(&now, &history, f.dir, (SinkSource){.feed = f.feed, .dirfd = -1}, &report, &err))
		fail_msg("%s", err.message);
}

static void
scribble(const char *suffix, long offset, const char *text)
{
	char name[192];
	FILE *file;

	snprintf(name, sizeof(name), "%s%s", path, suffix);
	file = fopen(name, "r+");
	MUST(file != NULL && fseek(file, offset, SEEK_SET) == 0 && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void
verify_finds_the_first_line_that_is_not_what_the_feed_says(void **state)
{
	char name[192];

	options.rotate_bytes = 1000;
	verified();
	assert_true(report.from_seq > report.to_seq); /* nothing to compare */
	eventful_feed();
	add();
	start();
	must_reach(EVENTFUL_END);
	end();
	verified();
	assert_int_equal(report.compared, 10);
	assert_int_equal(report.different, 0);
	assert_int_equal(report.from_seq, 4);
	assert_int_equal(report.to_seq, 9);
	assert_string_equal(report.first, "");
	snprintf(name, sizeof(name), "%.100s", said("first"));
	assert_string_equal(name, "out.ndjson.3");
	scribble(".3", 20, "9");
	verified();
	assert_int_equal(report.different, 1);
	assert_int_equal(report.compared, 1);
	assert_non_null(strstr(report.first, "out.ndjson.3"));
	assert_non_null(strstr(report.first, "\"5.1.1\""));
}

/* A replay begins the counters anew; what is compared are the lines, from the first one on. */
static void
verify_after_a_replay_compares_what_came_before_it_too(void **state)
{
	SinkConfig now = config();
	Error err = {0};

	for (int i = 0; i < 6; i++)
		unit_of(1);
	add();
	start();
	must_reach(6);
	end();
	MUST(sink_replay(&now, &history, f.dir, (SinkSource){.feed = f.feed, .dirfd = -1}, 4, &err));
	start();
	must_reach(6);
	end();
	verified();
	assert_int_equal(report.from_seq, 1);
	assert_int_equal(report.compared, 6);
	assert_int_equal(report.different, 0);
	scribble("", 20, "9");
	verified();
	assert_int_equal(report.different, 1);
}

static void
verify_compares_as_far_as_the_feed_reaches_back(void **state)
{
	start();
	for (int i = 0; i < 400; i++)
		unit_of(2);
	must_reach(400);
	end();
	trim();
	verified();
	assert_int_equal(report.from_seq, feed_first_seq(f.feed));
	assert_int_equal(report.to_seq, 400);
	assert_int_equal(report.compared, 2 * (400 - report.from_seq + 1));
	assert_int_equal(report.different, 0);
}

static void
a_replay_into_another_file_leaves_the_sink_alone(void **state)
{
	SinkConfig now = config();
	SinkPosition reached;
	SinkPosition position;
	char target[160];
	bool found;
	Error err = {0};
	const SinkSource source = {.feed = f.feed, .dirfd = -1};

	for (int i = 0; i < 5; i++)
		unit_of(1);
	start();
	must_reach(5);
	end();
	snprintf(target, sizeof(target), "%s/copy.ndjson", f.dir);
	assert_true(sink_replay_into(&now, &history, f.dir, source, 3, target, &reached, &err));
	assert_int_equal(reached.seq, 5);
	assert_int_equal(reached.applied, 3);
	assert_true(sink_read(&now, &history, f.dir, &position, &found, &err));
	assert_int_equal(position.seq, 5);
	assert_int_equal(position.applied, 5);
	expect_shown("1.1.1 2.1.1 3.1.1 4.1.1 5.1.1 ");
	/* it is a sink's file like any other, so not twice */
	assert_false(sink_replay_into(&now, &history, f.dir, source, 3, target, &reached, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	memcpy(path, target, sizeof(path));
	expect_shown("3.1.1 4.1.1 5.1.1 ");
}

static void
a_sink_is_added_where_it_is_told_to(void **state)
{
	SinkConfig now = config();
	SinkPosition position;
	bool found;
	Error err = {0};
	const SinkSource source = {.feed = f.feed, .dirfd = -1};

	trimmed_feed();
	assert_true(sink_add(&now, &history, f.dir, source, NULL, SINK_FROM_OLDEST, &err));
	assert_true(sink_read(&now, &history, f.dir, &position, &found, &err) && found);
	assert_int_equal(position.seq, feed_first_seq(f.feed) - 1);
	assert_int_equal(position.total_start, 2 * position.seq);
	assert_false(sink_add(&now, &history, f.dir, source, NULL, SINK_FROM_NOW, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	start();
	must_reach(400);
	assert_int_equal(status.position.applied, 2 * (400 - position.seq));
	end();
	snprintf(path, sizeof(path), "%s/now.ndjson", f.dir);
	assert_true(sink_add(&now, &history, f.dir, source, NULL, SINK_FROM_NOW, &err));
	start();
	must_reach(400);
	unit_of(1);
	must_reach(401);
	assert_int_equal(status.position.applied, 1);
	expect_shown("401.1.1 ");
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_old_file_stays_as_it_is_until_the_fill_has_ended),
		T(a_fill_that_begins_anew_drops_what_the_first_one_wrote),
		T(killed_at_any_step_of_a_fill_it_ends_the_same),
		T(a_sink_given_up_is_refused_and_cured_by_a_fill_while_the_daemon_runs),
		T(a_sink_that_is_given_up_while_it_streams_says_so),
		T(a_new_sink_waits_for_its_fill_when_the_feed_has_lost_its_beginning),
		T(a_new_sink_begins_at_a_fill_that_the_scorer_has_not_come_to),
		T(a_sink_that_waits_for_the_scorer_ends_when_it_is_told_to),
		T(a_new_sink_does_not_wait_for_the_scorer_of_a_full_feed),
		T(a_feed_that_cannot_be_read_loses_nothing),
		T(a_file_that_was_emptied_is_refused_and_filled_anew),
		T(somebody_elses_file_stays_where_it_is),
		T(totals_that_do_not_meet_are_cured_by_a_fill_alone),
		T(K3_pieces_that_the_feed_does_not_have_are_a_gap),
		T(a_replaced_streams_file_is_shown_until_the_first_backfill_has_ended),
		T(a_foreign_streams_file_is_refused_untouched_and_no_fill_helps),
		T(rotated_files_have_whole_lines_and_a_replay_finds_its_way_back),
		T(what_stands_where_the_next_file_goes_is_no_part_of_it),
		T(a_lost_checkpoint_is_refused_whichever_file_has_the_lines),
		T(a_lost_quarantine_asks_for_one_fill_and_no_more),
		T(a_checkpoint_of_the_first_format_goes_on_where_it_stands),
		T(verify_finds_the_first_line_that_is_not_what_the_feed_says),
		T(verify_after_a_replay_compares_what_came_before_it_too),
		T(verify_compares_as_far_as_the_feed_reaches_back),
		T(a_replay_into_another_file_leaves_the_sink_alone),
		T(a_sink_is_added_where_it_is_told_to),
	};

	log_init(LOG_FATAL, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
