/*
 * test_segfile.c -- compressed segments: read like any other, whatever fails or is cut off while they are made.
 */
#include "test_disk_support.h"

#include "base/log.h"
#include "journal/seglog.h"
#include "journal/segment.h"

#define MAGIC 0x54534554
#define GROUPS 60

static const StreamId stream = {{9, 8, 7}};
static const atomic_bool never;
static const unsigned every_call = DISK_OPEN | DISK_PREAD | DISK_PWRITE | DISK_FDATASYNC | DISK_FSYNC |
								   DISK_FTRUNCATE | DISK_RENAME | DISK_UNLINK;

static void
put_preamble(void *context, Buffer *out)
{
	buffer_printf(out, "preamble");
}

static SegSettings
settings(bool derived)
{
	return (SegSettings){.what = "test log",
						 .magic = MAGIC,
						 .segment_bytes = 2000,
						 .stream_id = stream,
						 .preamble = put_preamble,
						 .derived = derived};
}

/* Text that compresses, and some that does not. */
static size_t
content(uint64_t seq, char out[400])
{
	size_t len = (size_t) snprintf(
		out, 400, "group %llu says again and again and again and again: ", (unsigned long long) seq);

	for (uint32_t seed = (uint32_t) seq * 2654435761u; len < 100 + seq % 200; len++)
		out[len] = (char) (seq % 4 == 0 ? disk_random(&seed) : 'a' + len % 3);
	return len;
}

static void
append_range(SegLog *log, uint64_t from, uint64_t to)
{
	char text[400];
	Error err;

	for (uint64_t seq = from; seq <= to; seq++)
	{
		Slice payload = slice_make(text, content(seq, text));

		assert_true(seglog_begin(log, (SegPosition){seq, 0}, &err));
		assert_true(seglog_append(log, 1, true, &payload, 1, &err));
	}
	assert_true(seglog_flush(log, &err));
}

static bool
read_range(SegReader *reader, uint64_t from, uint64_t to, Error *err)
{
	char text[400];
	SegRecord record;
	SegResult result;

	while ((result = segreader_next(reader, &record, err)) == SEG_RECORD || result == SEG_PREAMBLE)
		if (result == SEG_RECORD)
		{
			assert_int_equal(record.at.seq, from);
			assert_true(slice_equal(record.payload, slice_make(text, content(from, text))));
			from++;
		}
	if (result == SEG_ERROR)
		return false;
	assert_int_equal(from, to + 1);
	return true;
}

static void
check_log(SegLog *log, uint64_t from, uint64_t to)
{
	SegReader *reader;
	Error err;

	assert_int_equal(seglog_last(log).seq, to);
	assert_true(segreader_open(log, (SegPosition){from, 0}, &reader, &err));
	if (!read_range(reader, from, to, &err))
		fail_msg("%s", err.message);
	segreader_close(reader);
}

static bool
check_dir(uint64_t from, uint64_t to, Error *err)
{
	SegReader *reader;
	bool ok = segreader_open_dir(disk_dir, MAGIC, "test log", (SegPosition){from, 0}, &reader, err);

	if (!ok)
		return false;
	ok = read_range(reader, from, to, err);
	segreader_close(reader);
	return ok;
}

static void
nothing_seen(void *context, Slice payload)
{
}

static void
record_seen(void *context, SegPosition at, uint8_t type, bool first, bool last, Slice payload)
{
}

static const SegScan scan = {.preamble_seen = nothing_seen, .record_seen = record_seen};

static SegLog *
create(bool derived)
{
	SegSettings with = settings(derived);
	SegLog *log;
	Error err;

	assert_true(seglog_create(disk_dir, &with, &log, &err));
	append_range(log, 1, GROUPS);
	assert_true(seglog_sync(log, &err));
	return log;
}

static SegLog *
reopen(void)
{
	SegSettings with = settings(false);
	SegLog *log;
	Error err;

	if (!seglog_open(disk_dir, &with, &scan, &log, &err))
		fail_msg("%s", err.message);
	return log;
}

static int
pack_all(SegLog *log, uint64_t below)
{
	bool packed = true;
	int n = 0;
	Error err;

	while (packed)
	{
		if (!seglog_pack(log, (SegPosition){below, 0}, &never, &packed, &err))
			fail_msg("%s", err.message);
		n += packed;
	}
	return n;
}

static int
files(const char *suffix)
{
	DiskImage image;
	int n = 0;

	disk_save(&image);
	for (int i = 0; i < image.n; i++)
		n += strlen(image.files[i].name) == 10 + strlen(suffix) &&
			 strcmp(image.files[i].name + 10, suffix) == 0;
	disk_image_free(&image);
	return n;
}

static int
fresh(void **state)
{
	disk_heal();
	disk_clear();
	return 0;
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void
compressed_segments_are_read_like_any_other(void **state)
{
	SegLog *log = create(false);
	uint64_t before = seglog_bytes(log);
	int segments = seglog_segments(log);
	SegReader *follower;
	SegVerify report;
	SegRecord record;
	Error err;

	/* one that is in the middle of a segment when that is compressed */
	assert_true(segreader_open(log, (SegPosition){1, 0}, &follower, &err));
	assert_int_equal(segreader_next(follower, &record, &err), SEG_PREAMBLE);
	assert_int_equal(pack_all(log, GROUPS + 1), segments - 1);
	assert_int_equal(files(".seg.zst"), segments - 1);
	assert_int_equal(files(".seg"), 1);
	assert_true(seglog_bytes(log) < before * 2 / 3);
	assert_true(read_range(follower, 1, GROUPS, &err));
	segreader_close(follower);
	for (uint64_t from = 1; from <= GROUPS; from += 7)
		check_log(log, from, GROUPS);
	append_range(log, GROUPS + 1, GROUPS + 30);
	check_log(log, 1, GROUPS + 30);
	seglog_close(log);
	assert_true(check_dir(1, GROUPS + 30, &err));
	assert_true(seglog_verify(disk_dir, "test log", MAGIC, &scan, &report, &err));
	assert_int_equal(report.groups, GROUPS + 30);
	log = reopen();
	check_log(log, 1, GROUPS + 30);
	seglog_close(log);
}

static void
only_what_is_durable_and_behind_the_position_is_compressed(void **state)
{
	SegLog *log = create(false);
	SegInfo *list;
	Error err;
	int n;

	n = seglog_list(log, &list);
	assert_int_equal(pack_all(log, list[2].before.seq), 1); /* the second ends with that unit itself */
	assert_int_equal(pack_all(log, list[2].before.seq + 1), 1);
	free(list);
	assert_int_equal(pack_all(log, GROUPS + 1), n - 3);
	append_range(log, GROUPS + 1, GROUPS + 60);
	assert_true(seglog_segments(log) > n + 1);
	assert_int_equal(pack_all(log, GROUPS + 61), 0); /* not synced */
	assert_true(seglog_sync(log, &err));
	assert_int_equal(pack_all(log, GROUPS + 61), seglog_segments(log) - n);
	check_log(log, 1, GROUPS + 60);
	seglog_close(log);
}

/* J6, R9: each segment can be read alone, also with nothing but compressed ones around it. */
static void
without_earlier_segments_the_rest_is_read(void **state)
{
	SegLog *log = create(false);
	SegInfo *list;
	Error err;
	int n;

	n = seglog_list(log, &list);
	pack_all(log, GROUPS + 1);
	for (int i = 1; i < n; i++)
	{
		assert_true(seglog_trim(log, (SegPosition){list[i].before.seq + 1, 0}, &err));
		assert_int_equal(seglog_segments(log), n - i);
		assert_int_equal(files(".seg.zst"), n - i - 1);
		check_log(log, list[i].before.seq + 1, GROUPS);
		assert_true(check_dir(list[i].before.seq + 1, GROUPS, &err));
		assert_false(check_dir(list[i].before.seq, GROUPS, &err));
	}
	free(list);
	seglog_close(log);
	log = reopen();
	append_range(log, GROUPS + 1, GROUPS + 5);
	seglog_close(log);
}

static void
crash_at_any_call_leaves_every_group_and_no_litter(void **state)
{
	DiskImage image;
	bool failed = true;
	int n;

	seglog_close(create(false));
	disk_save(&image);
	for (n = 1; failed && n < 400; n++)
	{
		SegLog *log;
		bool packed = true;
		Error err;

		fresh(state);
		disk_restore(&image);
		log = reopen();
		disk_faulty(every_call, n, EIO, 1 << 20); /* nothing works any more: as after a kill */
		for (failed = false; packed && !failed;)
			failed = !seglog_pack(log, (SegPosition){GROUPS + 1, 0}, &never, &packed, &err);
		seglog_close(log);
		disk_heal();
		assert_true(check_dir(1, GROUPS, &err));
		log = reopen();
		check_log(log, 1, GROUPS);
		assert_int_equal(files(".seg.zst.tmp"), 0);
		assert_int_equal(files(".seg.zst") + files(".seg"), seglog_segments(log));
		pack_all(log, GROUPS + 1);
		check_log(log, 1, GROUPS);
		seglog_close(log);
	}
	assert_false(failed);
	assert_in_range(n, 50, 399);
	disk_image_free(&image);
}

static void
power_cut_at_any_call_loses_nothing(void **state)
{
	unsigned writing = DISK_OPEN | DISK_PWRITE | DISK_FSYNC | DISK_FDATASYNC | DISK_RENAME | DISK_UNLINK;
	bool failed = true;

	for (int n = 1; failed && n < 200; n++)
		for (uint32_t seed = 0; seed < 3; seed++)
		{
			SegLog *log;
			bool packed = true;
			Error err;

			fresh(state);
			fs = &disk_ops;
			disk.tracking = true;
			log = create(false);
			disk_faulty(writing, n, EIO, 1 << 20);
			for (failed = false; packed && !failed;)
				failed = !seglog_pack(log, (SegPosition){GROUPS + 1, 0}, &never, &packed, &err);
			seglog_close(log);
			disk_power_cut(seed * 77777);
			disk_heal();
			log = reopen();
			check_log(log, 1, GROUPS);
			seglog_close(log);
		}
	assert_false(failed);
}

/* A file system may make an unlink durable before the rename that came first: only a sync stands between them. */
static void
the_plain_file_goes_once_the_new_name_is_durable(void **state)
{
	SegLog *log = create(false);
	const char *renamed;
	const char *synced;
	const char *removed;
	bool packed;
	Error err;

	fs = &disk_ops;
	assert_true(seglog_pack(log, (SegPosition){GROUPS + 1, 0}, &never, &packed, &err) && packed);
	buffer_append_byte(&disk.trace, 0);
	renamed = strstr((const char *) disk.trace.data, "rename 0000000001.seg.zst\n");
	assert_non_null(renamed);
	synced = strstr(renamed, "fsync directory\n");
	removed = strstr(renamed, "unlink 0000000001.seg\n");
	assert_true(synced != NULL && removed != NULL && synced < removed);
	assert_non_null(strstr(removed, "fsync directory\n"));
	seglog_close(log);
}

static void
full_disk_leaves_it_as_it_was(void **state)
{
	SegLog *log = create(false);
	DiskImage before;
	DiskImage after;
	bool packed;
	Error err;

	disk_save(&before);
	disk_faulty(DISK_PWRITE, 1, ENOSPC, 1);
	assert_false(seglog_pack(log, (SegPosition){GROUPS + 1, 0}, &never, &packed, &err));
	assert_int_equal(err.class, ERR_SPACE);
	disk_heal();
	disk_save(&after);
	assert_true(disk_image_equal(&before, &after));
	assert_true(seglog_healthy(log, &err));
	assert_int_equal(pack_all(log, GROUPS + 1), seglog_segments(log) - 1);
	check_log(log, 1, GROUPS);
	seglog_close(log);
	disk_image_free(&before);
	disk_image_free(&after);
}

/* Every flipped bit is found and named, by readers and by verify, unless it changes nothing that comes out. */
static void
flipped_bits_are_found_with_segment_and_offset(void **state)
{
	SegLog *log = create(false);
	Buffer bytes;
	int silent = 0;

	pack_all(log, GROUPS + 1);
	seglog_close(log);
	bytes = disk_read("0000000002.seg.zst");
	for (size_t i = 0; i < bytes.len; i++)
	{
		SegVerify report;
		Error err;

		bytes.data[i] ^= (uint8_t) (1 << i % 8);
		disk_write("0000000002.seg.zst", bytes.data, bytes.len);
		if (check_dir(1, GROUPS, &err)) /* it has compared every byte */
			silent++;
		else
		{
			assert_int_equal(err.class, ERR_REFUSE);
			assert_non_null(strstr(err.message, "0000000002"));
			assert_non_null(strstr(err.message, "offset"));
			assert_false(seglog_verify(disk_dir, "test log", MAGIC, &scan, &report, &err));
			assert_int_equal(report.bad_segment, 2);
			assert_non_null(strstr(err.message, "0000000002"));
		}
		bytes.data[i] ^= (uint8_t) (1 << i % 8);
	}
	assert_in_range(silent, 0, 8); /* bits of the frame header that decide nothing */

	/* cut short, it is damaged as well, never torn */
	for (size_t len = 0; len < bytes.len; len += 13)
	{
		SegVerify report;
		Error err;

		disk_write("0000000002.seg.zst", bytes.data, len);
		assert_false(check_dir(1, GROUPS, &err));
		assert_false(seglog_verify(disk_dir, "test log", MAGIC, &scan, &report, &err));
		assert_int_equal(err.class, ERR_REFUSE);
	}
	buffer_free(&bytes);
}

/* A feed goes back to where the store is, also into a compressed segment: it is made plain and goes on, byte for byte. */
static void
cut_inside_a_compressed_segment_gives_the_same_bytes(void **state)
{
	SegSettings with = settings(true);
	SegLog *log = create(true);
	DiskImage plain;
	DiskImage packed;
	DiskImage again;
	Error err;

	disk_save(&plain);
	pack_all(log, GROUPS + 1);
	seglog_close(log);
	disk_save(&packed);
	for (uint64_t cut = 0; cut <= GROUPS; cut += 3)
		for (int n = 0; n < 12; n++) /* 0: nothing fails; else a crash at that call, and once more */
		{
			SegPosition at = {cut, 0};

			disk_restore(&packed);
			if (n > 0)
			{
				disk_faulty(DISK_OPEN | DISK_PWRITE | DISK_FSYNC | DISK_RENAME | DISK_UNLINK, n, EIO,
							1 << 20);
				if (seglog_open_cut(disk_dir, &with, &scan, at, at, &log, &err))
					seglog_close(log);
				disk_heal();
			}
			assert_true(seglog_open_cut(disk_dir, &with, &scan, at, at, &log, &err));
			assert_int_equal(seglog_last(log).seq, cut);
			append_range(log, cut + 1, GROUPS);
			check_log(log, 1, GROUPS);
			assert_int_equal(files(".seg.tmp"), 0);
			seglog_close(log);
			if (n > 0)
				continue;
			for (int i = 1; i < 100; i++) /* all plain again */
				if (!segfile_unpack(disk_dir, (uint32_t) i, &err))
					break;
			disk_save(&again);
			assert_true(disk_image_equal(&plain, &again));
			disk_image_free(&again);
		}
	disk_image_free(&plain);
	disk_image_free(&packed);
}

static void
told_to_stop_it_stops(void **state)
{
	const atomic_bool now = true;
	SegLog *log = create(false);
	bool packed;
	Error err;

	assert_false(seglog_pack(log, (SegPosition){GROUPS + 1, 0}, &now, &packed, &err));
	assert_int_equal(err.class, ERR_RETRY);
	assert_int_equal(files(".seg.zst.tmp") + files(".seg.zst"), 0);
	seglog_close(log);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(compressed_segments_are_read_like_any_other),
		TEST(only_what_is_durable_and_behind_the_position_is_compressed),
		TEST(without_earlier_segments_the_rest_is_read),
		TEST(crash_at_any_call_leaves_every_group_and_no_litter),
		TEST(power_cut_at_any_call_loses_nothing),
		TEST(the_plain_file_goes_once_the_new_name_is_durable),
		TEST(full_disk_leaves_it_as_it_was),
		TEST(flipped_bits_are_found_with_segment_and_offset),
		TEST(cut_inside_a_compressed_segment_gives_the_same_bytes),
		TEST(told_to_stop_it_stops),
	};
	int failed;

	log_init(LOG_FATAL, false);
	disk_open();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	disk_close();
	return failed;
}
