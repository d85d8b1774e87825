/*
 * test_seglog.c -- the segmented log: what survives, what is cut, what is refused.
 */
#include "test_disk_support.h"

#include "base/crc32c.h"
#include "journal/seglog.h"
#include "journal/segment.h"

#define MAGIC 0x54534554

static StreamId stream = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static uint64_t told; /* what the preamble says: the last group committed */

static void
put_preamble(void *context, Buffer *out)
{
	buffer_printf(out, "preamble after %llu", (unsigned long long) told);
}

static SegSettings
settings(uint64_t segment_bytes, bool derived)
{
	return (SegSettings){.what = "test log",
						 .magic = MAGIC,
						 .segment_bytes = segment_bytes,
						 .stream_id = stream,
						 .header = slice_string("owner"),
						 .preamble = put_preamble,
						 .derived = derived};
}

/* ---- groups whose content follows from their number ------------------------------------------- */

static size_t
record_bytes(uint64_t seq, uint32_t index)
{
	return (size_t) ((seq * 7 + index * 13) % 60);
}

static void
record_fill(uint8_t *data, uint64_t seq, uint32_t index, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t) (seq * 31 + index * 17 + i);
}

static uint32_t
group_records(uint64_t seq)
{
	return seq % 3 == 0 ? 3 : 1;
}

static bool
append(SegLog *log, uint64_t seq, Error *err)
{
	uint8_t data[64];
	uint32_t n = group_records(seq);

	if (!seglog_begin(log, (SegPosition){seq, 0}, err))
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		size_t len = record_bytes(seq, i);
		Slice slices[2];

		record_fill(data, seq, i, len);
		slices[0] = slice_make(data, len / 2);
		slices[1] = slice_make(data + len / 2, len - len / 2);
		told = seq;
		if (!seglog_append(log, (uint8_t) (1 + i), i == n - 1, slices, 2, err))
		{
			seglog_abandon(log, err);
			return false;
		}
	}
	return true;
}

static void
append_range(SegLog *log, uint64_t from, uint64_t to)
{
	Error err;

	for (uint64_t seq = from; seq <= to; seq++)
		assert_true(append(log, seq, &err));
	assert_true(seglog_flush(log, &err));
}

static void
check_record(const SegRecord *record, uint64_t seq, uint32_t index)
{
	uint8_t data[64];
	size_t len = record_bytes(seq, index);

	record_fill(data, seq, index, len);
	assert_int_equal(record->at.seq, seq);
	assert_int_equal(record->type, 1 + index);
	assert_int_equal(record->first, index == 0);
	assert_int_equal(record->last, index == group_records(seq) - 1);
	assert_true(slice_equal(record->payload, slice_make(data, len)));
}

/* Reads groups from..to and then nothing. Returns the number of preambles met. */
static int
check_range(SegReader *reader, uint64_t from, uint64_t to)
{
	SegRecord record;
	SegResult result;
	uint32_t index = 0;
	int preambles = 0;
	Error err;

	while ((result = segreader_next(reader, &record, &err)) == SEG_RECORD || result == SEG_PREAMBLE)
	{
		if (result == SEG_PREAMBLE)
		{
			char text[64];

			snprintf(text, sizeof(text), "preamble after %llu", (unsigned long long) record.at.seq);
			assert_true(slice_equal(record.payload, slice_string(text)));
			preambles++;
			continue;
		}
		check_record(&record, from, index);
		index = record.last ? 0 : index + 1;
		from += record.last;
	}
	if (result == SEG_ERROR)
		print_error("%s\n", err.message);
	assert_int_equal(result, SEG_END);
	assert_int_equal(from, to + 1);
	return preambles;
}

static void
check_log(SegLog *log, uint64_t from, uint64_t to)
{
	SegReader *reader;
	Error err;

	assert_int_equal(seglog_last(log).seq, to);
	assert_true(segreader_open(log, (SegPosition){from, 0}, &reader, &err));
	check_range(reader, from, to);
	segreader_close(reader);
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
create(uint64_t segment_bytes, bool derived)
{
	SegSettings with = settings(segment_bytes, derived);
	SegLog *log;
	Error err;

	told = 0;
	assert_true(seglog_create(disk_dir, &with, &log, &err));
	return log;
}

static bool
reopen(uint64_t segment_bytes, SegLog **log, Error *err)
{
	SegSettings with = settings(segment_bytes, false);

	return seglog_open(disk_dir, &with, &scan, log, err);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void
groups_come_back_after_reopen_and_appending_goes_on(void **state)
{
	SegLog *log = create(400, false);
	SegReader *reader;
	Error err;

	append_range(log, 1, 40);
	check_log(log, 1, 40);
	seglog_close(log);
	for (uint64_t last = 40; last < 60; last += 5)
	{
		assert_true(reopen(400, &log, &err));
		assert_int_equal(seglog_durable(log).seq, last);
		check_log(log, 1, last);
		append_range(log, last + 1, last + 5);
		check_log(log, 17, last + 5);
		seglog_close(log);
	}
	assert_true(segreader_open_dir(disk_dir, MAGIC, "test log", (SegPosition){1, 0}, &reader, &err));
	assert_true(check_range(reader, 1, 60) > 3);
	segreader_close(reader);
}

static void
unflushed_groups_are_not_read_and_unfinished_ones_never(void **state)
{
	SegLog *log = create(1 << 20, false);
	SegReader *reader;
	Slice big;
	Error err;

	append_range(log, 1, 3);
	assert_true(segreader_open(log, (SegPosition){1, 0}, &reader, &err));
	assert_true(append(log, 4, &err));
	check_range(reader, 1, 3);
	assert_true(seglog_flush(log, &err));
	check_range(reader, 4, 4);

	/* a group of several megabytes reaches the file before it is complete */
	big = slice_make(xcalloc(1, 1 << 20), 1 << 20);
	assert_true(seglog_begin(log, (SegPosition){5, 0}, &err));
	for (int i = 0; i < 4; i++)
		assert_true(seglog_append(log, 1, false, &big, 1, &err));
	assert_true(seglog_flush(log, &err));
	check_range(reader, 5, 4);
	assert_true(seglog_abandon(log, &err));
	append_range(log, 5, 6);
	check_range(reader, 5, 6);
	check_log(log, 1, 6);
	free((void *) big.data);
	segreader_close(reader);
	seglog_close(log);
}

static void
unfinished_group_is_cut_when_the_log_is_opened(void **state)
{
	SegLog *log = create(UINT64_MAX, false);
	Slice big = slice_make(xcalloc(1, 1 << 20), 1 << 20);
	struct stat before;
	struct stat after;
	Error err;

	append_range(log, 1, 3);
	fstatat(disk_dir, "0000000001.seg", &before, 0);
	assert_true(seglog_begin(log, (SegPosition){4, 0}, &err));
	for (int i = 0; i < 4; i++)
		assert_true(seglog_append(log, 1, false, &big, 1, &err));
	seglog_close(log);
	fstatat(disk_dir, "0000000001.seg", &after, 0);
	assert_true(after.st_size > before.st_size + (2 << 20));
	assert_true(reopen(UINT64_MAX, &log, &err));
	fstatat(disk_dir, "0000000001.seg", &after, 0);
	assert_int_equal(after.st_size, before.st_size);
	append_range(log, 4, 5);
	check_log(log, 1, 5);
	seglog_close(log);
	free((void *) big.data);
}

/* Groups 1..6 in one segment; the last has three records. */
static void
small_log(DiskImage *image, size_t *end5)
{
	SegLog *log = create(UINT64_MAX, false);
	struct stat st;
	Error err;

	append_range(log, 1, 5);
	assert_true(seglog_sync(log, &err));
	fstatat(disk_dir, "0000000001.seg", &st, 0);
	*end5 = (size_t) st.st_size;
	append_range(log, 6, 6);
	seglog_close(log);
	disk_save(image);
}

static void
tail_torn_at_any_byte_is_cut_and_appending_resumes(void **state)
{
	DiskImage image;
	size_t end5;
	SegLog *log;
	Error err;

	small_log(&image, &end5);
	for (size_t len = end5; len < image.files[0].bytes.len; len++)
	{
		disk_clear();
		disk_write(image.files[0].name, image.files[0].bytes.data, len);
		assert_true(reopen(UINT64_MAX, &log, &err));
		check_log(log, 1, 5);
		append_range(log, 6, 6);
		check_log(log, 1, 6);
		seglog_close(log);
	}
	disk_image_free(&image);
}

static void
tail_of_zeros_or_garbage_is_cut(void **state)
{
	static const size_t tails[] = {1, 31, 32, 33, 4096, 300000};
	DiskImage image;
	size_t end5;
	SegLog *log;
	Error err;

	small_log(&image, &end5);
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
		for (int fill = 0; fill < 256; fill += 255)
		{
			Buffer bytes = {0};

			buffer_append_slice(&bytes, buffer_slice(&image.files[0].bytes));
			memset(buffer_reserve(&bytes, tails[i]), fill, tails[i]);
			bytes.len += tails[i];
			disk_write(image.files[0].name, bytes.data, bytes.len);
			assert_true(reopen(UINT64_MAX, &log, &err));
			check_log(log, 1, 6);
			append_range(log, 7, 9);
			seglog_close(log);
			assert_true(reopen(UINT64_MAX, &log, &err));
			check_log(log, 1, 9);
			seglog_close(log);
			buffer_free(&bytes);
		}
	disk_image_free(&image);
}

static void
flipped_bit_is_refused_unless_only_the_tail_may_be_torn(void **state)
{
	DiskImage image;
	size_t end5;
	SegLog *log;
	Error err;
	int refused = 0;
	int cut = 0;

	small_log(&image, &end5);
	for (size_t i = 0; i < image.files[0].bytes.len; i++)
		for (int bit = 0; bit < 8; bit++)
		{
			image.files[0].bytes.data[i] ^= (uint8_t) (1 << bit);
			disk_restore(&image);
			image.files[0].bytes.data[i] ^= (uint8_t) (1 << bit);
			if (reopen(UINT64_MAX, &log, &err))
			{
				/* nothing before the last group may go silently */
				assert_true(i >= end5);
				check_log(log, 1, 5);
				seglog_close(log);
				cut++;
				continue;
			}
			assert_int_equal(err.class, ERR_REFUSE);
			assert_non_null(strstr(err.message, "0000000001"));
			assert_non_null(strstr(err.message, "offset"));
			refused++;
		}
	assert_true(refused > 3000 && cut > 100);
	disk_image_free(&image);
}

static void
flipped_byte_in_any_segment_is_found_by_verify_and_by_readers(void **state)
{
	SegLog *log = create(300, false);
	SegVerify report;
	SegReader *reader;
	SegRecord record;
	SegResult result;
	DiskImage image;
	Error err;

	append_range(log, 1, 20);
	seglog_close(log);
	disk_save(&image);
	assert_true(image.n > 3);
	assert_true(seglog_verify(disk_dir, "test log", MAGIC, NULL, &report, &err));
	assert_int_equal(report.groups, 20);
	assert_int_equal(report.segments, image.n);
	for (int f = 0; f < image.n - 1; f++)
		for (size_t i = 0; i < image.files[f].bytes.len; i++)
		{
			uint32_t number = 0;

			image.files[f].bytes.data[i] ^= 0x10;
			disk_write(image.files[f].name, image.files[f].bytes.data, image.files[f].bytes.len);
			image.files[f].bytes.data[i] ^= 0x10;
			assert_true(segment_number(image.files[f].name, &number));
			assert_false(seglog_verify(disk_dir, "test log", MAGIC, NULL, &report, &err));
			assert_int_equal(report.bad_segment, number);
			result = SEG_ERROR;
			if (segreader_open_dir(disk_dir, MAGIC, "test log", (SegPosition){1, 0}, &reader, &err))
			{
				while ((result = segreader_next(reader, &record, &err)) == SEG_RECORD ||
					   result == SEG_PREAMBLE)
					;
				segreader_close(reader);
			}
			assert_int_equal(result, SEG_ERROR);
			assert_non_null(strstr(err.message, "segment 00000000"));
			disk_write(image.files[f].name, image.files[f].bytes.data, image.files[f].bytes.len);
		}
	disk_image_free(&image);
}

/* Segments 1 and 2 full, 3 just begun; synced_first says whether 1 and 2 were durable before groups went into 3. */
static void
two_and_a_bit(bool synced_first, uint64_t *last2)
{
	SegLog *log = create(500, false);
	uint64_t seq = 0;
	Error err;

	while (seglog_segments(log) < 3)
	{
		append_range(log, seq + 1, seq + 1);
		seq++;
	}
	*last2 = seq;
	if (synced_first)
		assert_true(seglog_sync(log, &err));
	append_range(log, seq + 1, seq + 2);
	seglog_close(log);
}

static void
full_segment_that_lost_its_unsynced_end_takes_its_successors_along(void **state)
{
	DiskImage image;
	SegLog *log;
	uint64_t last2;
	Error err;

	two_and_a_bit(false, &last2);
	disk_save(&image);
	for (size_t cut = 1; cut < 400; cut++)
	{
		disk_restore(&image);
		disk_write(image.files[1].name, image.files[1].bytes.data, image.files[1].bytes.len - cut);
		assert_true(reopen(500, &log, &err));
		assert_true(seglog_last(log).seq < last2 && seglog_segments(log) == 2);
		told = seglog_last(log).seq;
		append_range(log, told + 1, last2 + 5);
		check_log(log, 1, last2 + 5);
		seglog_close(log);
		assert_true(reopen(500, &log, &err));
		check_log(log, 1, last2 + 5);
		seglog_close(log);
	}
	disk_image_free(&image);
}

static void
full_segment_that_was_synced_must_be_whole(void **state)
{
	DiskImage image;
	SegLog *log;
	uint64_t last2;
	Error err;

	two_and_a_bit(true, &last2);
	disk_save(&image);
	for (size_t cut = 1; cut < 400; cut += 3)
	{
		SegReader *reader;
		SegRecord record;
		SegResult result;

		disk_restore(&image);
		disk_write(image.files[1].name, image.files[1].bytes.data, image.files[1].bytes.len - cut);
		/* opening vouches for what it reads; what lies before is found when it is read */
		if (!reopen(500, &log, &err))
			continue;
		assert_int_equal(seglog_last(log).seq, last2 + 2);
		assert_true(segreader_open(log, (SegPosition){1, 0}, &reader, &err));
		while ((result = segreader_next(reader, &record, &err)) == SEG_RECORD || result == SEG_PREAMBLE)
			;
		assert_int_equal(result, SEG_ERROR);
		segreader_close(reader);
		seglog_close(log);
	}
	disk_image_free(&image);
}

static void
swapped_copied_missing_foreign_and_newer_segments_are_refused(void **state)
{
	DiskImage image;
	DiskImage foreign;
	SegLog *log = create(300, false);
	Error err;
	Buffer *first;

	append_range(log, 1, 20);
	seglog_close(log);
	disk_save(&image);
	disk_clear();
	stream.bytes[0] ^= 1;
	log = create(300, false);
	append_range(log, 1, 20);
	seglog_close(log);
	stream.bytes[0] ^= 1;
	disk_save(&foreign);
	assert_false(reopen(300, &log, &err)); /* all foreign */
	assert_int_equal(err.class, ERR_REFUSE);
	assert_int_equal(image.n, foreign.n);
	for (int i = 0; i < image.n; i++)
		for (int j = 0; j < image.n; j++)
		{
			if (i != j)
			{
				/* the file of j under the name of i */
				disk_restore(&image);
				disk_write(image.files[i].name, image.files[j].bytes.data, image.files[j].bytes.len);
				assert_false(reopen(300, &log, &err));
				assert_int_equal(err.class, ERR_REFUSE);
			}
		}
	for (int i = 0; i < image.n; i++)
	{
		disk_restore(&image);
		disk_write(foreign.files[i].name, foreign.files[i].bytes.data, foreign.files[i].bytes.len);
		assert_false(reopen(300, &log, &err));
		assert_int_equal(err.class, ERR_REFUSE);
	}
	for (int i = 1; i < image.n - 1; i++)
	{
		disk_restore(&image);
		unlinkat(disk_dir, image.files[i].name, 0);
		assert_false(reopen(300, &log, &err));
		assert_non_null(strstr(err.message, "missing"));
	}
	/* foreign records behind a header of ours */
	disk_restore(&image);
	first = &image.files[image.n - 1].bytes;
	memcpy(first->data + 69, foreign.files[image.n - 1].bytes.data + 69, first->len - 69);
	disk_restore(&image);
	if (reopen(300, &log, &err))
	{
		/* nothing valid in it: as a segment whose making was cut short */
		assert_true(seglog_segments(log) == image.n - 1);
		seglog_close(log);
	}
	disk_image_free(&image);
	disk_image_free(&foreign);
}

/* A frame may hold anything, a piece of this very file included. */
static void
record_inside_a_torn_payload_is_not_taken_for_one(void **state)
{
	SegLog *log = create(UINT64_MAX, false);
	Slice payload;
	Buffer bytes;
	Error err;

	append_range(log, 1, 5);
	bytes = disk_read("0000000001.seg");
	payload = buffer_slice(&bytes);
	assert_true(seglog_begin(log, (SegPosition){6, 0}, &err));
	assert_true(seglog_append(log, 1, true, &payload, 1, &err));
	assert_true(seglog_flush(log, &err));
	seglog_close(log);
	buffer_free(&bytes);
	bytes = disk_read("0000000001.seg");
	disk_write("0000000001.seg", bytes.data, bytes.len - 1);
	if (!reopen(UINT64_MAX, &log, &err))
		fail_msg("%s", err.message);
	check_log(log, 1, 5);
	seglog_close(log);
	buffer_free(&bytes);
}

static void
forge(Buffer *out, uint64_t seq, uint32_t index, uint8_t flags)
{
	size_t start = out->len;

	segment_record_begin(buffer_reserve(out, SEGMENT_RECORD_BYTES), MAGIC, 1, (SegPosition){seq, 0}, index);
	out->len += SEGMENT_RECORD_BYTES;
	segment_record_claim(out->data + start, start, start);
	segment_record_seal(out->data + start, 0, flags, segment_seed(&stream, MAGIC, 1), start);
}

static void
sound_records_in_a_wrong_order_are_refused(void **state)
{
	enum
	{
		F = SEGMENT_FIRST,
		L = SEGMENT_LAST
	};
	static const struct
	{
		uint64_t seq;
		uint32_t index;
		uint8_t flags;
	} orders[][4] = {
		{{1, 0, F | L}, {3, 0, F | L}, {4, 0, F | L}},		  /* a group is missing */
		{{1, 0, F | L}, {1, 0, F | L}, {2, 0, F | L}},		  /* ... or there twice */
		{{1, 0, F | L}, {2, 0, F}, {2, 2, L}, {3, 0, F | L}}, /* a record is missing */
		{{1, 0, F | L}, {2, 0, F}, {2, 0, L}, {3, 0, F | L}},
		{{1, 0, F}, {2, 1, L}, {3, 0, F | L}},	   /* two halves of two groups */
		{{1, 0, F}, {2, 0, F | L}, {3, 0, F | L}}, /* no end */
		{{1, 1, L}, {2, 0, F | L}, {3, 0, F | L}}, /* no begin */
	};
	SegLog *log = create(UINT64_MAX, false);
	Buffer head = disk_read("0000000001.seg");
	size_t start = head.len;
	Error err;

	seglog_close(log);
	for (uint64_t seq = 1; seq <= 3; seq++)
		forge(&head, seq, 0, F | L);
	disk_write("0000000001.seg", head.data, head.len);
	assert_true(reopen(UINT64_MAX, &log, &err)); /* in order they are taken */
	assert_int_equal(seglog_last(log).seq, 3);
	seglog_close(log);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
	{
		head.len = start;
		for (int j = 0; j < 4 && orders[i][j].seq > 0; j++)
			forge(&head, orders[i][j].seq, orders[i][j].index, orders[i][j].flags);
		disk_write("0000000001.seg", head.data, head.len);
		assert_false(reopen(UINT64_MAX, &log, &err));
		assert_int_equal(err.class, ERR_REFUSE);
	}
	buffer_free(&head);
}

/* Groups 1 to 3 are synced, 4 to 6 are not: any byte of those may be missing while what follows is there. */
static void
what_was_not_synced_may_be_missing_in_any_order(void **state)
{
	SegLog *log = create(UINT64_MAX, false);
	DiskImage image;
	struct stat st;
	size_t end3;
	Error err;

	append_range(log, 1, 3);
	assert_true(seglog_sync(log, &err));
	fstatat(disk_dir, "0000000001.seg", &st, 0);
	end3 = (size_t) st.st_size;
	append_range(log, 4, 6);
	seglog_close(log);
	disk_save(&image);
	for (size_t i = 0; i < image.files[0].bytes.len; i++)
	{
		bool opened;

		image.files[0].bytes.data[i] ^= 0x40;
		disk_restore(&image);
		image.files[0].bytes.data[i] ^= 0x40;
		opened = reopen(UINT64_MAX, &log, &err);
		assert_int_equal(opened, i >= end3);
		if (!opened)
			continue;
		assert_true(seglog_last(log).seq >= 3 && seglog_last(log).seq < 6);
		check_log(log, 1, seglog_last(log).seq);
		seglog_close(log);
	}
	disk_image_free(&image);
}

static void
newer_format_is_refused(void **state)
{
	SegLog *log = create(300, false);
	Buffer bytes = {0};
	SegmentHeader header = {.stream_id = stream, .number = 1};
	uint32_t crc;
	Error err;

	seglog_close(log);
	segment_header_put(&bytes, MAGIC, &header, slice_string("owner"));
	bytes.data[8] = SEGMENT_VERSION + 1;
	/* with a CRC that fits, as a newer version would write it */
	crc = crc32c(0, bytes.data + 4, bytes.len - 4);
	crc = (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
	memcpy(bytes.data, &crc, 4);
	disk_write("0000000001.seg", bytes.data, bytes.len);
	assert_false(reopen(300, &log, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	assert_non_null(strstr(err.message, "newer version"));
	buffer_free(&bytes);
}

static void
new_segment_is_durable_only_with_its_directory_entry(void **state)
{
	SegLog *log;
	Error err;
	char *trace;
	char *data2;
	char *dir;

	disk_faulty(0, 0, 0, 0);
	log = create(300, false);
	buffer_append_byte(&disk.trace, 0);
	assert_string_equal(
		(char *) disk.trace.data,
		"create 0000000001.seg\npwrite 0000000001.seg\nfsync 0000000001.seg\nfsync directory\n");
	buffer_reset(&disk.trace);
	for (uint64_t seq = 1; seglog_segments(log) < 2; seq++)
		append_range(log, seq, seq);
	append_range(log, seglog_last(log).seq + 1, seglog_last(log).seq + 1);
	assert_int_equal(seglog_durable(log).seq, 0);
	assert_true(seglog_sync(log, &err));
	assert_int_equal(seglog_durable(log).seq, seglog_last(log).seq);
	buffer_append_byte(&disk.trace, 0);
	trace = (char *) disk.trace.data;
	data2 = strstr(trace, "fdatasync 0000000002.seg");
	dir = strstr(trace, "fsync directory");
	assert_non_null(strstr(trace, "fdatasync 0000000001.seg"));
	assert_non_null(data2);
	assert_non_null(dir);
	/* nothing is written after the syncs: the mark moved behind all three */
	assert_true(strstr(trace, "fdatasync 0000000001.seg") < data2 && data2 < dir);
	assert_null(strstr(dir, "pwrite"));
	seglog_close(log);
}

static void
failed_sync_poisons_and_is_never_tried_again(void **state)
{
	SegLog *log;
	Error err;

	for (int n = 1; n <= 3; n++)
	{
		disk_heal();
		disk_clear();
		log = create(300, false);
		append_range(log, 1, 1);
		assert_true(seglog_sync(log, &err));
		for (uint64_t seq = 2; seglog_segments(log) < 2; seq++)
			append_range(log, seq, seq);
		disk_faulty(DISK_FDATASYNC | DISK_FSYNC, n, EIO, 1); /* file 1, file 2, directory */
		assert_false(seglog_sync(log, &err));
		assert_int_equal(err.class, ERR_DISK);
		assert_int_equal(disk.calls, n);
		assert_int_equal(seglog_durable(log).seq, 1);
		assert_false(seglog_sync(log, &err));
		assert_int_equal(disk.calls, n);
		assert_false(append(log, seglog_last(log).seq + 1, &err));
		assert_false(seglog_flush(log, &err));
		assert_int_equal(err.class, ERR_DISK);
		assert_false(seglog_wait_durable(log, seglog_last(log), 1000));
		seglog_close(log);
	}
}

static void
full_disk_loses_nothing_and_writing_resumes_whichever_call_meets_it(void **state)
{
	unsigned calls = DISK_PWRITE | DISK_OPEN;

	for (int n = 1; n < 60; n++)
	{
		SegLog *log;
		Error err;

		disk_heal();
		disk_clear();
		log = create(300, false);
		disk_faulty(calls, n, ENOSPC, 3);
		disk.short_write = true;
		for (uint64_t seq = 1; seq <= 20; seq++)
		{
			for (int tries = 0; !append(log, seq, &err); tries++)
				assert_true(err.class == ERR_SPACE && tries < 10);
			for (int tries = 0; !seglog_flush(log, &err); tries++)
			{
				DiskImage image;
				SegReader *reader;
				uint64_t bytes = 0;

				assert_true(err.class == ERR_SPACE && tries < 10);
				/* what is on disk now ends with whole records */
				disk_save(&image);
				for (int i = 0; i < image.n; i++)
					bytes += image.files[i].bytes.len;
				disk_image_free(&image);
				assert_int_equal(bytes, seglog_bytes(log));
				assert_true(
					segreader_open_dir(disk_dir, MAGIC, "test log", (SegPosition){1, 0}, &reader, &err));
				check_range(reader, 1, seglog_flushed(log).seq);
				segreader_close(reader);
			}
			assert_true(seq % 4 != 0 || seglog_sync(log, &err));
		}
		check_log(log, 1, 20);
		seglog_close(log);
		assert_true(reopen(300, &log, &err));
		check_log(log, 1, 20);
		seglog_close(log);
	}
}

static void
the_quota_counts_what_waits_in_memory_and_is_refused_whole(void **state)
{
	SegSettings with = settings(500, true);
	SegLog *log;
	SegInfo *list;
	uint64_t seq = 1;
	uint64_t before = 0;
	Error err;
	int n;

	assert_true(seglog_create(disk_dir, &with, &log, &err));
	seglog_set_quota(log, 3000);
	while (append(log, seq, &err))
		seq++;
	assert_int_equal(err.class, ERR_SPACE);
	assert_non_null(strstr(err.message, "the test log's quota of 3000 bytes is used up"));
	assert_true(seglog_full(log));
	assert_true(seglog_flush(log, &err));
	assert_in_range(seglog_bytes(log), 2800, 3000);
	n = seglog_list(log, &list);
	assert_int_equal(n, seglog_segments(log));
	for (int i = 0; i < n; i++)
	{
		assert_true(i == 0 ? list[i].before.seq == 0 : list[i].before.seq > before);
		before = list[i].before.seq;
	}
	free(list);

	/* room made by a cut, or by another quota, is used, and not a group is missing */
	assert_true(seglog_sync(log, &err));
	assert_true(seglog_trim(log, (SegPosition){seq / 2, 0}, &err));
	append_range(log, seq, seq + 3);
	assert_false(seglog_full(log));
	seglog_set_quota(log, 0);
	append_range(log, seq + 4, seq + 200);
	check_log(log, seglog_first(log).seq, seq + 200);
	seglog_close(log);
}

static void
revoked_group_leaves_no_trace(void **state)
{
	SegLog *log = create(300, true);
	DiskImage without;
	DiskImage with;
	Error err;

	append_range(log, 1, 12);
	seglog_close(log);
	disk_save(&without);
	disk_clear();
	log = create(300, true);
	for (uint64_t seq = 1; seq <= 12; seq++)
	{
		assert_true(append(log, seq, &err));
		assert_true(seglog_revoke(log));
		assert_false(seglog_revoke(log));
		assert_int_equal(seglog_last(log).seq, seq - 1);
		append_range(log, seq, seq);
		assert_false(seglog_revoke(log)); /* it has left memory */
	}
	seglog_close(log);
	disk_save(&with);
	assert_true(disk_image_equal(&without, &with));
	disk_image_free(&with);
	disk_image_free(&without);
}

static void
cut_and_appended_again_gives_the_same_bytes(void **state)
{
	SegSettings with = settings(300, true);
	SegLog *log = create(300, true);
	DiskImage whole;
	DiskImage again;
	Error err;

	append_range(log, 1, 25);
	seglog_close(log);
	disk_save(&whole);
	for (uint64_t cut = 0; cut <= 25; cut++)
	{
		SegPosition at = {cut, 0};

		disk_restore(&whole);
		assert_true(seglog_open_cut(disk_dir, &with, &scan, at, at, &log, &err));
		assert_int_equal(seglog_last(log).seq, cut);
		told = cut;
		append_range(log, cut + 1, 25);
		check_log(log, 1, 25);
		seglog_close(log);
		disk_save(&again);
		assert_true(disk_image_equal(&whole, &again));
		disk_image_free(&again);
	}
	disk_image_free(&whole);
}

static void
garbage_behind_the_cut_does_not_matter_and_damage_before_it_does(void **state)
{
	SegSettings with = settings(300, true);
	SegPosition at = {8, 0};
	SegLog *log = create(300, true);
	DiskImage whole;
	DiskImage after;
	Error err;
	size_t end8 = 0;
	int file8 = 0;

	/* where group 8 ends */
	append_range(log, 1, 8);
	file8 = seglog_segments(log) - 1;
	disk_save(&whole);
	end8 = whole.files[file8].bytes.len;
	disk_image_free(&whole);
	append_range(log, 9, 20);
	seglog_close(log);
	disk_save(&whole);
	for (int f = 0; f < whole.n; f++)
		for (size_t i = 0; i < whole.files[f].bytes.len; i += 5)
		{
			bool opened;

			whole.files[f].bytes.data[i] ^= 0x40;
			disk_restore(&whole);
			whole.files[f].bytes.data[i] ^= 0x40;
			opened = seglog_open_cut(disk_dir, &with, &scan, at, at, &log, &err);
			if (f > file8 || (f == file8 && i >= end8))
				assert_true(opened);
			else if (f == file8)
				assert_false(opened);
			if (opened)
			{
				assert_int_equal(seglog_last(log).seq, 8);
				seglog_close(log);
			}
			else
			{
				/* refused means nothing was touched */
				assert_int_equal(err.class, ERR_REFUSE);
				whole.files[f].bytes.data[i] ^= 0x40;
				disk_save(&after);
				assert_true(disk_image_equal(&whole, &after));
				whole.files[f].bytes.data[i] ^= 0x40;
				disk_image_free(&after);
			}
		}
	disk_restore(&whole);
	assert_false(
		seglog_open_cut(disk_dir, &with, &scan, (SegPosition){21, 0}, (SegPosition){21, 0}, &log, &err));
	assert_non_null(strstr(err.message, "does not reach"));
	disk_image_free(&whole);
}

static void
trimmed_log_is_read_from_its_first_whole_group(void **state)
{
	SegLog *log = create(300, false);
	SegReader *slow;
	SegReader *reader;
	SegPosition first;
	Error err;
	int before;

	append_range(log, 1, 30);
	assert_true(segreader_open(log, (SegPosition){1, 0}, &slow, &err));
	before = seglog_segments(log);
	assert_true(seglog_trim(log, (SegPosition){20, 0}, &err));
	assert_int_equal(seglog_segments(log), before); /* not durable yet */
	assert_true(seglog_sync(log, &err));
	assert_true(seglog_trim(log, (SegPosition){20, 0}, &err));
	assert_true(seglog_segments(log) < before);
	first = seglog_first(log);
	assert_true(first.seq > 10 && first.seq <= 20);
	check_log(log, first.seq, 30);
	assert_false(segreader_open(log, (SegPosition){first.seq - 1, 0}, &reader, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	/* the reader that was in a removed segment is told, not skipped ahead */
	{
		SegRecord record;
		SegResult result;

		while ((result = segreader_next(slow, &record, &err)) == SEG_RECORD || result == SEG_PREAMBLE)
			assert_true(record.at.seq < first.seq);
		assert_int_equal(result, SEG_ERROR);
		segreader_close(slow);
	}
	seglog_close(log);
	assert_true(reopen(300, &log, &err));
	assert_int_equal(seglog_first(log).seq, first.seq);
	check_log(log, first.seq, 30);
	assert_true(seglog_trim(log, (SegPosition){1000, 0}, &err));
	assert_int_equal(seglog_segments(log), 1);
	append_range(log, 31, 40);
	check_log(log, seglog_first(log).seq, 40);
	seglog_close(log);
}

static void
creation_may_be_repeated_until_there_is_a_group(void **state)
{
	SegSettings with = settings(300, false);
	SegLog *log = create(300, false);
	Buffer bytes = disk_read("0000000001.seg");
	Error err;

	seglog_close(log);
	for (size_t len = 0; len <= bytes.len; len += 3)
	{
		disk_write("0000000001.seg", bytes.data, len);
		assert_true(seglog_create(disk_dir, &with, &log, &err));
		seglog_close(log);
	}
	assert_true(reopen(300, &log, &err));
	append_range(log, 1, 1);
	seglog_close(log);
	assert_false(seglog_create(disk_dir, &with, &log, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	buffer_free(&bytes);
}

/* ---- threads ---------------------------------------------------------------------------------- */

#define TAIL_GROUPS 30000

static void *
sync_thread(void *context)
{
	SegLog *log = context;
	uint64_t wakes = 0;
	Error err;

	while (seglog_durable(log).seq < TAIL_GROUPS)
	{
		if (seglog_wait_unsynced(log, &wakes, 1000000))
			assert_true(seglog_sync(log, &err));
	}
	return NULL;
}

static void *
tail_thread(void *context)
{
	SegReader *reader;
	SegRecord record;
	uint64_t seq = 1;
	uint32_t index = 0;
	Error err;

	assert_true(segreader_open(context, (SegPosition){1, 0}, &reader, &err));
	while (seq <= TAIL_GROUPS)
	{
		SegResult result = segreader_next(reader, &record, &err);

		assert_int_not_equal(result, SEG_ERROR);
		if (result == SEG_END)
			segreader_wait(reader, 1000000);
		if (result != SEG_RECORD)
			continue;
		check_record(&record, seq, index);
		index = record.last ? 0 : index + 1;
		seq += record.last;
	}
	segreader_close(reader);
	return NULL;
}

static void
readers_follow_a_writer_across_segments(void **state)
{
	SegLog *log = create(20000, false);
	pthread_t threads[3];
	Error err;

	pthread_create(&threads[0], NULL, sync_thread, log);
	pthread_create(&threads[1], NULL, tail_thread, log);
	pthread_create(&threads[2], NULL, tail_thread, log);
	for (uint64_t seq = 1; seq <= TAIL_GROUPS; seq++)
	{
		assert_true(append(log, seq, &err));
		if (seq % 37 == 0)
			assert_true(seglog_flush(log, &err));
		if (seq % 1000 == 0 && seq > 20000) /* readers may lag: only what all are past */
			assert_true(seglog_trim(log, (SegPosition){1, 0}, &err));
	}
	assert_true(seglog_flush(log, &err));
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(seglog_segments(log) > 50);
	assert_int_equal(seglog_durable(log).seq, TAIL_GROUPS);
	seglog_close(log);
}

static int
setup(void **state)
{
	disk_open();
	return 0;
}

static int
teardown(void **state)
{
	disk_heal();
	disk_close();
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(groups_come_back_after_reopen_and_appending_goes_on),
		TEST(unflushed_groups_are_not_read_and_unfinished_ones_never),
		TEST(unfinished_group_is_cut_when_the_log_is_opened),
		TEST(tail_torn_at_any_byte_is_cut_and_appending_resumes),
		TEST(tail_of_zeros_or_garbage_is_cut),
		TEST(flipped_bit_is_refused_unless_only_the_tail_may_be_torn),
		TEST(flipped_byte_in_any_segment_is_found_by_verify_and_by_readers),
		TEST(full_segment_that_lost_its_unsynced_end_takes_its_successors_along),
		TEST(full_segment_that_was_synced_must_be_whole),
		TEST(swapped_copied_missing_foreign_and_newer_segments_are_refused),
		TEST(record_inside_a_torn_payload_is_not_taken_for_one),
		TEST(sound_records_in_a_wrong_order_are_refused),
		TEST(what_was_not_synced_may_be_missing_in_any_order),
		TEST(newer_format_is_refused),
		TEST(new_segment_is_durable_only_with_its_directory_entry),
		TEST(failed_sync_poisons_and_is_never_tried_again),
		TEST(full_disk_loses_nothing_and_writing_resumes_whichever_call_meets_it),
		TEST(the_quota_counts_what_waits_in_memory_and_is_refused_whole),
		TEST(revoked_group_leaves_no_trace),
		TEST(cut_and_appended_again_gives_the_same_bytes),
		TEST(garbage_behind_the_cut_does_not_matter_and_damage_before_it_does),
		TEST(trimmed_log_is_read_from_its_first_whole_group),
		TEST(creation_may_be_repeated_until_there_is_a_group),
		TEST(readers_follow_a_writer_across_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
