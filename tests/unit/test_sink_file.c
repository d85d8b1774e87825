/*
 * test_sink_file.c -- the file holds each line once, whatever happened between data and checkpoint.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/stat.h>

#include "sink_drive.h"
#include "sinks/file.h"

static const FixtureColumn columns[] = {{"id", "bigint", true}, {NULL, NULL, false}};

static FeedFixture f;
static char path[128];
static FileOptions options;
static FsOps ops;

static void
units(int n)
{
	for (int i = 0; i < n; i++)
	{
		fixture_begin(&f, UNIT_TXN);
		if (f.header.seq == 1)
		{
			fixture_relation(&f, 1, "public", "item", "", columns);
			fixture_ranking(&f, 1, 1, "home");
		}
		fixture_score(&f, 1, 1, 1, key_int((int64_t) f.header.seq), 0.5);
		fixture_score(&f, 2, 1, 1, key_int((int64_t) f.header.seq + 1000), 0.25);
		fixture_end(&f, true);
	}
}

static int
setup(void **state)
{
	fixture_open(&f);
	snprintf(path, sizeof(path), "%s/out.ndjson", f.dir);
	options = (FileOptions){.path = path};
	units(3);
	return 0;
}

static int
teardown(void **state)
{
	fs = &fs_system;
	fixture_close(&f);
	return 0;
}

static Buffer
slurp(const char *name)
{
	Buffer content = {0};
	FILE *file = fopen(name, "r");
	int c;

	MUST(file != NULL);
	while ((c = fgetc(file)) != EOF)
		buffer_append_byte(&content, (uint8_t) c);
	fclose(file);
	buffer_append_byte(&content, '\0');
	return content;
}

static void
scribble(const char *name, long offset, const char *text)
{
	FILE *file = fopen(name, offset < 0 ? "a" : "r+");

	MUST(file != NULL);
	if (offset >= 0)
		MUST(fseek(file, offset, SEEK_SET) == 0);
	MUST(fputs(text, file) >= 0 && fclose(file) == 0);
}

static int
count_lines(void)
{
	Buffer content = slurp(path);
	int n = 0;

	for (size_t i = 0; i < content.len; i++)
		n += content.data[i] == '\n';
	buffer_free(&content);
	return n;
}

static void
open_again(Drive *d)
{
	drive_create(d, &sink_file, "lines", &options, &f);
	if (!drive_open(d))
		fail_msg("%s", d->err.message);
}

static void
a_new_file_has_no_checkpoint_and_then_one(void **state)
{
	Drive d;
	char name[160];
	Buffer text;

	open_again(&d);
	assert_false(d.found);
	assert_int_equal(d.position.owner_epoch, 1);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	assert_int_equal(count_lines(), 6);
	snprintf(name, sizeof(name), "%s.ckpt", path);
	text = slurp(name);
	assert_non_null(
		strstr((char *) text.data, "sink=lines\nstream_id=5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a\n"));
	assert_non_null(strstr((char *) text.data, "seq=3\npart=0\nend_lsn=0/1000380\napplied=6\nfiltered=0\n"));
	assert_non_null(strstr((char *) text.data, "commit_time_us=1795185989174218\nfile=out.ndjson\noffset="));
	buffer_free(&text);
	open_again(&d);
	assert_true(d.found);
	assert_int_equal(d.position.owner_epoch, 2);
	assert_int_equal(d.position.seq, 3);
	assert_int_equal(d.position.applied, 6);
	assert_int_equal(d.position.end_lsn, 0x1000380);
	assert_int_equal(d.position.commit_time_us, INT64_C(1795185989174218));
	drive_destroy(&d);
}

/* The process dies after each of its steps in turn: what a step left is cut, and comes again the same. */
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
dying_renameat(int dirfd, const char *from, const char *to)
{
	return dying() ? -1 : fs_system.renameat(dirfd, from, to);
}

static void
killed_at_any_step_the_file_is_the_same_in_the_end(void **state)
{
	char checkpoint[160];
	Buffer want;
	Drive d;
	int failures = 0;

	open_again(&d);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	units(2);
	open_again(&d);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	want = slurp(path);

	ops = fs_system;
	ops.pwrite = dying_pwrite;
	ops.fdatasync = dying_fdatasync;
	ops.fsync = dying_fsync;
	ops.renameat = dying_renameat;
	for (int n = 0; n < 20; n++)
	{
		bool ok;
		Buffer got;

		snprintf(checkpoint, sizeof(checkpoint), "%s.ckpt", path);
		unlink(path);
		unlink(checkpoint);
		open_again(&d);
		assert_true(drive_all(&d, &f));
		/* back to unit 3, as if 4 and 5 had not been applied */
		drive_destroy(&d);
		{
			SinkConfig config = {.name = (char[]){"lines"}, .type = &sink_file, .options = &options};

			if (!sink_replay(&config, &(SinkHistory){.stream_id = f.stream}, f.dir,
							 (SinkSource){.feed = f.feed, .dirfd = -1}, 4, &d.err))
				fail_msg("%s", d.err.message);
		}
		open_again(&d);
		assert_int_equal(d.position.seq, 3);
		calls_left = n;
		fs = &ops;
		ok = drive_all(&d, &f);
		fs = &fs_system;
		drive_destroy(&d);
		failures += !ok;
		if (!ok)
			assert_int_equal(d.err.class, ERR_DISK);
		open_again(&d);
		assert_true(d.position.seq == 3 || d.position.seq == 5);
		assert_true(drive_all(&d, &f));
		drive_destroy(&d);
		got = slurp(path);
		assert_string_equal((char *) got.data, (char *) want.data);
		buffer_free(&got);
		if (ok)
			break;
	}
	assert_in_range(failures, 4, 19); /* write, sync, checkpoint, its sync, rename, .. */
	buffer_free(&want);
}

/* In which order things became durable: lines, then the checkpoint, then its name. */
static char order[8];

static int
noting_fdatasync(int fd)
{
	strncat(order, "d", sizeof(order) - strlen(order) - 1);
	return fs_system.fdatasync(fd);
}

static int
noting_fsync(int fd)
{
	strncat(order, "s", sizeof(order) - strlen(order) - 1);
	return fs_system.fsync(fd);
}

static int
noting_renameat(int dirfd, const char *from, const char *to)
{
	strncat(order, "r", sizeof(order) - strlen(order) - 1);
	return fs_system.renameat(dirfd, from, to);
}

static void
lines_are_durable_before_the_checkpoint_and_that_before_its_name(void **state)
{
	Drive d;

	ops = fs_system;
	ops.fdatasync = noting_fdatasync;
	ops.fsync = noting_fsync;
	ops.renameat = noting_renameat;
	order[0] = '\0';
	fs = &ops;
	open_again(&d);
	/* the name of the file as well, before a batch relies on it */
	assert_string_equal(order, "srss");
	order[0] = '\0';
	assert_true(drive_all(&d, &f));
	fs = &fs_system;
	assert_string_equal(order, "dsrs");
	drive_destroy(&d);
}

static void
bytes_behind_the_checkpoint_are_cut(void **state)
{
	Drive d;
	Buffer before;
	Buffer after;

	open_again(&d);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	before = slurp(path);
	scribble(path, -1, "{\"pos\":\"4.1.1\", half a li");
	open_again(&d);
	drive_destroy(&d);
	after = slurp(path);
	assert_string_equal((char *) before.data, (char *) after.data);
	buffer_free(&before);
	buffer_free(&after);
}

static void
refused(const char *words)
{
	Drive d;
	struct stat before;
	struct stat after;

	drive_create(&d, &sink_file, "lines", &options, &f);
	assert_int_equal(stat(path, &before), 0);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_REFUSE);
	if (strstr(d.err.message, words) == NULL)
		fail_msg("%s", d.err.message);
	assert_true(strlen(d.err.hint) > 20);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	drive_destroy(&d);
}

static void
a_file_that_was_changed_cut_or_never_ours_is_refused_untouched(void **state)
{
	Drive d;
	char checkpoint[160];

	scribble(path, -1, "somebody's\n");
	refused("is not empty, but has no checkpoint");
	assert_int_equal(unlink(path), 0);
	open_again(&d);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	scribble(path, 100, "X");
	refused("was changed before byte");
	assert_int_equal(truncate(path, 50), 0);
	refused("but its checkpoint says");
	snprintf(checkpoint, sizeof(checkpoint), "%s.ckpt", path);
	scribble(checkpoint, 0, "garbage");
	refused("is not readable");
}

static void
another_stream_or_sink_is_refused_untouched(void **state)
{
	Drive d;
	FeedFixture other = f;

	open_again(&d);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	scribble(path, -1, "tail"); /* would be cut by an open that goes on */
	other.stream.bytes[0] ^= 1;
	drive_create(&d, &sink_file, "lines", &options, &other);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_REFUSE);
	assert_non_null(strstr(d.err.message, "K9"));
	drive_destroy(&d);
	drive_create(&d, &sink_file, "other", &options, &f);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_REFUSE);
	drive_destroy(&d);
	assert_int_equal(count_lines(), 6);
	{
		Buffer content = slurp(path);

		assert_string_equal((char *) content.data + content.len - 5, "tail");
		buffer_free(&content);
	}
}

static void
a_second_writer_is_locked_out(void **state)
{
	Drive first;
	Drive second;

	open_again(&first);
	drive_create(&second, &sink_file, "lines", &options, &f);
	assert_false(drive_open(&second));
	assert_int_equal(second.err.class, ERR_REFUSE);
	drive_destroy(&second);
	assert_true(drive_all(&first, &f));
	drive_destroy(&first);
	assert_int_equal(count_lines(), 6);
}

static void
replay_cuts_at_the_unit_and_gives_the_same_bytes_again(void **state)
{
	SinkConfig config = {.name = (char[]){"lines"}, .type = &sink_file, .options = &options};
	SinkPosition position;
	bool found;
	Buffer want;
	Drive d;

	units(200);
	open_again(&d);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	want = slurp(path);
	for (uint64_t from = 1; from <= 204; from += from < 5 || from > 198 ? 1 : 13)
	{
		Buffer got;

		if (!sink_replay(&config, &(SinkHistory){.stream_id = f.stream}, f.dir,
						 (SinkSource){.feed = f.feed, .dirfd = -1}, from, &d.err))
			fail_msg("%s", d.err.message);
		assert_int_equal(count_lines(), 2 * (from - 1));
		assert_true(
			sink_read(&config, &(SinkHistory){.stream_id = f.stream}, f.dir, &position, &found, &d.err));
		assert_true(found);
		assert_int_equal(position.seq, from - 1);
		assert_int_equal(position.applied, 0);
		assert_int_equal(position.total_start, 2 * (from - 1));
		assert_int_equal(position.end_lsn, from == 1 ? 0 : 0x1000080 + (from - 1) * 0x100);
		open_again(&d);
		assert_int_equal(d.position.owner_epoch, position.owner_epoch + 1);
		assert_true(drive_all(&d, &f));
		drive_destroy(&d);
		got = slurp(path);
		assert_string_equal((char *) got.data, (char *) want.data);
		buffer_free(&got);
		if (from == 203)
			break;
	}
	assert_false(sink_replay(&config, &(SinkHistory){.stream_id = f.stream}, f.dir,
							 (SinkSource){.feed = f.feed, .dirfd = -1}, 300, &d.err));
	assert_int_equal(d.err.class, ERR_CONFIG);
	assert_false(sink_replay(&config, &(SinkHistory){.stream_id = f.stream}, f.dir,
							 (SinkSource){.feed = f.feed, .dirfd = -1}, 0, &d.err));
	buffer_free(&want);
}

static void
a_batch_larger_than_memory_likes_is_still_one_step(void **state)
{
	Drive d;
	struct stat st;

	fixture_begin(&f, UNIT_TXN);
	for (uint32_t i = 1; i <= 10000; i++)
		fixture_score(&f, i, 1, 1, key_int(i), i / 8.0);
	fixture_end(&f, true);
	open_again(&d);
	assert_true(drive_apply(&d, &f));
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_size, 1 << 20, 1 << 30); /* it went to the file already */
	drive_destroy(&d);							   /* and the process died */
	open_again(&d);
	assert_int_equal(d.position.seq, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_true(drive_all(&d, &f));
	drive_destroy(&d);
	assert_int_equal(count_lines(), 10006);
}

static void
paths_that_cannot_be_are_said_so(void **state)
{
	static const FileOptions bad[] = {{.path = "/tmp/"}, {.path = "/tmp/.."}, {.path = "."}};
	Sink *sink;
	Error err;
	Drive d;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		assert_false(
			sink_file.create("lines", &bad[i], &(SinkHistory){.stream_id = f.stream}, f.dir, &sink, &err));
		assert_int_equal(err.class, ERR_CONFIG);
	}
	snprintf(path, sizeof(path), "%s/nowhere/out.ndjson", f.dir);
	drive_create(&d, &sink_file, "lines", &options, &f);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_CONFIG);
	assert_non_null(strstr(d.err.hint, "Create the directory"));
	drive_destroy(&d);
	snprintf(path, sizeof(path), "%s/feed", f.dir);
	drive_create(&d, &sink_file, "lines", &options, &f);
	assert_false(drive_open(&d));
	drive_destroy(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_new_file_has_no_checkpoint_and_then_one, setup, teardown),
		cmocka_unit_test_setup_teardown(killed_at_any_step_the_file_is_the_same_in_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(lines_are_durable_before_the_checkpoint_and_that_before_its_name,
										setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_behind_the_checkpoint_are_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_was_changed_cut_or_never_ours_is_refused_untouched, setup,
										teardown),
		cmocka_unit_test_setup_teardown(another_stream_or_sink_is_refused_untouched, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_writer_is_locked_out, setup, teardown),
		cmocka_unit_test_setup_teardown(replay_cuts_at_the_unit_and_gives_the_same_bytes_again, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_batch_larger_than_memory_likes_is_still_one_step, setup, teardown),
		cmocka_unit_test_setup_teardown(paths_that_cannot_be_are_said_so, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
