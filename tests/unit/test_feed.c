/*
 * test_feed.c -- the feed: derived again byte for byte, read no further than the journal is durable.
 */
#include "test_disk_support.h"

#include "feed/feed.h"

#define PIECES 3 /* of every seventh unit */

static int version; /* of the relation, as of the last record appended */

/* ---- records that follow from their number ---------------------------------------------------- */

/* Descriptor of public."order" with `columns` columns c0 (key), c1, .. */
static Buffer
descriptor(int columns, uint64_t *fingerprint)
{
	Buffer body = {0};
	Buffer relation = {0};

	buffer_printf(&body, "%c%cpublic%c%corder%c%c", WIRE_TAG(RELATION_SCHEMA, WIRE_BYTES), 6,
				  WIRE_TAG(RELATION_TABLE, WIRE_BYTES), 5, WIRE_TAG(RELATION_OID, WIRE_VARINT), 99);
	for (int i = 0; i < columns; i++)
	{
		buffer_printf(&body, "%c%c%c%cc%d%c%c", WIRE_TAG(RELATION_COLUMNS, WIRE_BYTES), i == 0 ? 8 : 6,
					  WIRE_TAG(COLUMN_NAME, WIRE_BYTES), 2, i, WIRE_TAG(COLUMN_TYPE_OID, WIRE_VARINT), 23);
		if (i == 0)
			buffer_printf(&body, "%c%c", WIRE_TAG(COLUMN_KEY, WIRE_VARINT), 1);
	}
	*fingerprint = wire_fingerprint(buffer_slice(&body));
	buffer_append_byte(&relation, WIRE_TAG(RELATION_FINGERPRINT, WIRE_FIXED64));
	buffer_append_u64(&relation, *fingerprint);
	buffer_append_slice(&relation, buffer_slice(&body));
	buffer_free(&body);
	return relation;
}

static void
put_relation(Buffer *out, int columns)
{
	uint64_t fingerprint;
	Buffer relation = descriptor(columns, &fingerprint);
	RecordEntry entry = {
		.kind = RECORD_RELATION,
		.relation_def = {.number = 1, .descriptor = buffer_slice(&relation), .map = slice_string("c1")}};

	record_entry(out, &entry);
	buffer_free(&relation);
}

static void
put_ranking(Buffer *out, uint32_t of_version)
{
	RecordEntry entry = {
		.kind = RECORD_RANKING,
		.ranking_def = {.number = 2, .relation = 1, .version = of_version, .name = slice_string("hot")}};

	record_entry(out, &entry);
}

static void
put_change(Buffer *out, int columns, uint32_t change)
{
	RecordEntry entry = {.kind = RECORD_CHANGE, .change = change, .relation = 1, .key = slice_string("k")};
	Buffer relation = descriptor(columns, &entry.row.fingerprint);

	entry.row.op = OP_INSERT;
	entry.row.image = slice_string("image");
	record_entry(out, &entry);
	buffer_free(&relation);
}

/* The relation gets a column with every tenth unit, and that unit has rows of both versions. */
static int
columns_of(uint64_t seq)
{
	return 2 + (int) (seq / 10) % 5;
}

static void
dictionary(void *context, Buffer *out)
{
	RecordHeader header = {.kind = UNIT_NONE};
	size_t start = out->len;

	record_begin(out);
	if (version > 0)
	{
		put_relation(out, version);
		put_ranking(out, 1);
	}
	record_finish(out, start, &header);
}

static uint32_t
pieces_of(uint64_t seq)
{
	return seq % 7 == 0 ? PIECES : 1;
}

static Buffer
record_of(uint64_t seq, uint32_t part, RecordHeader *header)
{
	Buffer out = {0};

	*header = (RecordHeader){.seq = seq,
							 .part = part,
							 .last = part + 1 == pieces_of(seq),
							 .kind = UNIT_TXN,
							 .end_lsn = seq * 16,
							 .total = seq * 10 + part};
	record_begin(&out);
	if (seq == 1)
	{
		put_relation(&out, columns_of(1));
		put_ranking(&out, 1);
	}
	else if (seq % 10 == 0 && part == 0)
	{
		put_change(&out, columns_of(seq - 1), 1);
		put_relation(&out, columns_of(seq));
	}
	put_change(&out, columns_of(seq), 2);
	record_finish(&out, 0, header);
	return out;
}

static bool
append_piece(Feed *feed, uint64_t seq, uint32_t part, Error *err)
{
	RecordHeader header;
	Buffer record = record_of(seq, part, &header);
	bool ok;

	version = columns_of(seq); /* the scorer is past the record when it hands it over */
	ok = feed_append(feed, &header, buffer_slice(&record), err);
	buffer_free(&record);
	return ok;
}

static void
append_range(Feed *feed, uint64_t from, uint64_t to)
{
	Error err;

	for (uint64_t seq = from; seq <= to; seq++)
		for (uint32_t part = 0; part < pieces_of(seq); part++)
			assert_true(append_piece(feed, seq, part, &err));
	assert_true(feed_flush(feed, &err));
}

static const StreamId stream = {{9, 8, 7}};

static FeedSettings
settings(void)
{
	return (FeedSettings){.segment_bytes = 1500, .stream_id = stream, .dictionary = dictionary};
}

static Feed *
create(void)
{
	FeedSettings with = settings();
	Feed *feed;
	Error err;

	version = 0;
	assert_true(feed_create(disk_dir, &with, &feed, &err));
	return feed;
}

static bool
reopen(uint64_t seq, uint32_t part, Feed **feed, Error *err)
{
	FeedSettings with = settings();

	version = seq > 0 ? columns_of(seq) : 0;
	return feed_open(disk_dir, &with, seq, part, feed, err);
}

/* Pieces of units from..to, each with a dictionary that explains it. */
static void
check_reader(FeedReader *reader, uint64_t from, uint64_t to)
{
	RecordReader record;
	FeedEvent event;
	uint32_t part = 0;
	Error err;

	while ((event = feed_reader_next(reader, &record, &err)) == FEED_RECORD)
	{
		const FeedRelation *relation;
		RecordEntry entry;
		bool done;

		assert_int_equal(record.header.seq, from);
		assert_int_equal(record.header.part, part);
		while (record_next(&record, &entry, &done, &err) && !done)
		{
			if (entry.kind != RECORD_CHANGE)
				continue;
			relation = feed_relation_version(reader, 1, entry.row.fingerprint);
			assert_non_null(relation);
			assert_int_equal(relation->ncolumns, columns_of(entry.change == 1 ? from - 1 : from));
			assert_string_equal(relation->qualified, "public.\"order\"");
			assert_int_equal(relation->map, 1);
			assert_true(relation->columns[0].key && !relation->columns[1].key);
			assert_string_equal(relation->columns[1].name, "c1");
		}
		assert_true(done);
		assert_int_equal(feed_relation(reader, 1)->ncolumns, columns_of(from));
		assert_string_equal(feed_ranking(reader, 2)->name, "hot");
		assert_null(feed_relation(reader, 2));
		part = record.header.last ? 0 : part + 1;
		from += record.header.last;
	}
	if (event == FEED_ERROR)
		print_error("%s\n", err.message);
	assert_int_equal(event, FEED_NOTHING);
	assert_int_equal(from, to + 1);
}

static void
check(Feed *feed, uint64_t from, uint64_t to)
{
	FeedReader *reader;
	Error err;

	assert_true(feed_reader_open(feed, from, &reader, &err));
	check_reader(reader, from, to);
	feed_reader_close(reader);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void
nobody_reads_beyond_the_durable_unit(void **state)
{
	Feed *feed = create();
	FeedReader *reader;
	Error err;

	append_range(feed, 1, 50);
	assert_true(feed_reader_open(feed, 1, &reader, &err));
	check_reader(reader, 1, 0);
	for (uint64_t durable = 1; durable <= 60; durable += 3)
	{
		uint64_t visible = durable < 50 ? durable : 50;

		feed_set_durable(feed, durable);
		check(feed, 1, visible);
		check(feed, visible, visible);
		check(feed, visible + 1, visible);
		if (durable >= 4)
			check_reader(reader, durable - 2 < 51 ? durable - 2 : 51, visible);
		else
			check_reader(reader, 1, visible);
	}
	feed_reader_close(reader);
	feed_close(feed);
}

static void
every_start_reads_with_a_dictionary_that_explains_it(void **state)
{
	Feed *feed = create();
	SegVerify report;
	FeedReader *reader;
	Error err;

	append_range(feed, 1, 90);
	feed_set_durable(feed, 90);
	for (uint64_t seq = 1; seq <= 91; seq++)
		check(feed, seq, 90);
	assert_true(feed_sync(feed, &err));
	for (uint64_t below = 5; below < 90; below += 8)
	{
		assert_true(feed_trim(feed, below, &err));
		assert_true(feed_first_seq(feed) <= below);
		check(feed, feed_first_seq(feed), 90);
		if (feed_first_seq(feed) > 1)
		{
			assert_false(feed_reader_open(feed, feed_first_seq(feed) - 1, &reader, &err));
			assert_int_equal(err.class, ERR_REFUSE);
		}
	}
	assert_true(feed_first_seq(feed) > 50);
	feed_close(feed);
	assert_true(feed_reader_open_dir(disk_dir, 86, &reader, &err));
	check_reader(reader, 86, 90);
	feed_reader_close(reader);
	assert_true(feed_verify(disk_dir, &report, &err));
	assert_int_equal(report.last.seq, 90);
}

static void
cut_feed_is_derived_again_byte_for_byte(void **state)
{
	Feed *feed = create();
	DiskImage whole;
	DiskImage again;
	Error err;

	append_range(feed, 1, 60);
	feed_close(feed);
	disk_save(&whole);
	assert_true(whole.n > 5);
	for (uint64_t seq = 0; seq <= 60; seq++)
		for (uint32_t part = 0; part < (seq < 60 ? pieces_of(seq + 1) : 1); part++)
		{
			disk_restore(&whole);
			if (!reopen(seq, part, &feed, &err))
				fail_msg("%s", err.message);
			for (uint32_t next = part; part > 0 && next < pieces_of(seq + 1); next++)
				assert_true(append_piece(feed, seq + 1, next, &err));
			append_range(feed, part > 0 ? seq + 2 : seq + 1, 60);
			feed_set_durable(feed, 60);
			check(feed, 1, 60);
			feed_close(feed);
			disk_save(&again);
			assert_true(disk_image_equal(&whole, &again));
			disk_image_free(&again);
		}
	disk_image_free(&whole);
}

/* Kills and power cuts at any write: what the store counts on was flushed or synced before. */
static void
crash_between_feed_and_store_gives_the_same_bytes(void **state)
{
	Feed *feed = create();
	DiskImage whole;
	DiskImage again;
	Error err;

	append_range(feed, 1, 40);
	feed_close(feed);
	disk_save(&whole);
	for (uint32_t seed = 0; seed < 40; seed++)
	{
		uint32_t random = seed * 991;
		uint64_t synced = disk_random(&random) % 30;
		uint64_t flushed = synced + disk_random(&random) % 10;

		disk_heal();
		disk_clear();
		disk_faulty(0, 0, 0, 0);
		disk.tracking = true;
		feed = create();
		append_range(feed, 1, synced);
		assert_true(feed_sync(feed, &err));
		append_range(feed, synced + 1, flushed);
		if (seed % 2 == 0)
		{
			/* killed: the kernel has all that was flushed */
			for (uint64_t seq = flushed + 1; seq <= flushed + 3; seq++)
				for (uint32_t part = 0; part < pieces_of(seq); part++)
					assert_true(append_piece(feed, seq, part, &err));
			feed_close(feed);
			if (!reopen(flushed, 0, &feed, &err))
				fail_msg("%s", err.message);
			/* what the killed process left unsynced counts on the next sync as well */
			append_range(feed, flushed + 1, flushed + 1);
			assert_true(feed_sync(feed, &err));
			feed_close(feed);
			disk_power_cut(0);
			disk_faulty(0, 0, 0, 0);
			if (!reopen(flushed + 1, 0, &feed, &err))
				fail_msg("%s", err.message);
			feed_set_durable(feed, flushed + 1);
			check(feed, 1, flushed + 1);
			append_range(feed, flushed + 2, 40);
		}
		else
		{
			feed_close(feed);
			disk_power_cut(seed);
			disk_faulty(0, 0, 0, 0);
			if (!reopen(synced, 0, &feed, &err))
				fail_msg("%s", err.message);
			append_range(feed, synced + 1, 40);
		}
		feed_close(feed);
		disk_save(&again);
		assert_true(disk_image_equal(&whole, &again));
		disk_image_free(&again);
	}
	disk_image_free(&whole);
}

static void
feed_that_does_not_reach_the_store_is_refused_with_a_way_out(void **state)
{
	FeedSettings with = settings();
	Feed *feed = create();
	DiskImage before;
	DiskImage after;
	Error err;

	append_range(feed, 1, 20);
	feed_close(feed);
	disk_save(&before);
	assert_false(reopen(21, 0, &feed, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	assert_non_null(strstr(err.hint, "walrank rebuild"));
	assert_false(reopen(20, 1, &feed, &err));
	assert_false(reopen(13, 4, &feed, &err)); /* unit 14 has three pieces */
	with.stream_id.bytes[0] ^= 1;
	assert_false(feed_open(disk_dir, &with, 20, 0, &feed, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	disk_save(&after);
	assert_true(disk_image_equal(&before, &after));
	disk_image_free(&before);
	disk_image_free(&after);
}

static void
store_and_feed_must_agree_on_the_pieces_of_a_unit(void **state)
{
	Feed *feed = create();
	Error err;

	append_range(feed, 1, 6);
	assert_true(append_piece(feed, 7, 0, &err));
	assert_true(append_piece(feed, 7, 1, &err));
	assert_true(feed_flush(feed, &err));
	feed_close(feed);
	assert_false(reopen(7, 0, &feed, &err)); /* the store has all of unit 7 */
	assert_int_equal(err.class, ERR_REFUSE);
	assert_false(reopen(5, 1, &feed, &err)); /* unit 6 is of one piece */
	assert_int_equal(err.class, ERR_REFUSE);
	assert_true(reopen(6, 2, &feed, &err));
	assert_true(append_piece(feed, 7, 2, &err));
	append_range(feed, 8, 12);
	feed_set_durable(feed, 12);
	check(feed, 1, 12);
	feed_close(feed);
}

static void
bad_record_stops_its_reader_with_segment_and_offset(void **state)
{
	Feed *feed = create();
	FeedReader *reader;
	RecordReader record;
	DiskImage image;
	FeedEvent event;
	uint64_t seq = 0;
	Error err;

	append_range(feed, 1, 40);
	feed_close(feed);
	disk_save(&image);
	image.files[1].bytes.data[image.files[1].bytes.len / 2] ^= 4;
	disk_restore(&image);
	/* the store is further on: opening does not read this segment */
	assert_true(reopen(40, 0, &feed, &err));
	feed_set_durable(feed, 40);
	assert_true(feed_reader_open(feed, 1, &reader, &err));
	while ((event = feed_reader_next(reader, &record, &err)) == FEED_RECORD)
		seq = record.header.seq;
	assert_int_equal(event, FEED_ERROR);
	assert_non_null(strstr(err.message, "segment 0000000002, offset "));
	assert_true(seq > 0 && seq < 40);
	assert_int_equal(feed_reader_next(reader, &record, &err), FEED_ERROR);
	feed_reader_close(reader);
	feed_close(feed);
	disk_image_free(&image);
}

static void
full_disk_leaves_no_mark_in_the_bytes(void **state)
{
	Feed *feed = create();
	DiskImage whole;
	DiskImage again;
	Error err;

	append_range(feed, 1, 40);
	feed_close(feed);
	disk_save(&whole);
	for (int n = 1; n < 50; n++)
	{
		disk_heal();
		disk_clear();
		feed = create();
		disk_faulty(DISK_PWRITE | DISK_OPEN, n, ENOSPC, 2);
		disk.short_write = true;
		for (uint64_t seq = 1; seq <= 40; seq++)
		{
			int tries = 0;

			for (uint32_t part = 0; part < pieces_of(seq); part++)
				while (!append_piece(feed, seq, part, &err))
					assert_true(err.class == ERR_SPACE && tries++ < 5);
			while (!feed_flush(feed, &err))
				assert_true(err.class == ERR_SPACE && tries++ < 5);
		}
		feed_close(feed);
		disk_save(&again);
		assert_true(disk_image_equal(&whole, &again));
		disk_image_free(&again);
	}
	disk_image_free(&whole);
}

/* ---- threads ---------------------------------------------------------------------------------- */

#define TAIL_UNITS 5000

static void *
tail(void *context)
{
	FeedReader *reader;
	RecordReader record;
	uint64_t seq = 1;
	Error err;

	assert_true(feed_reader_open(context, 1, &reader, &err));
	while (seq <= TAIL_UNITS)
	{
		FeedEvent event = feed_reader_next(reader, &record, &err);

		assert_int_not_equal(event, FEED_ERROR);
		if (event == FEED_NOTHING)
		{
			assert_true(feed_reader_wait(reader, 20000000)); /* a lost wake-up would run into this */
			continue;
		}
		assert_int_equal(record.header.seq, seq);
		assert_true(seq <= feed_durable(context));
		seq += record.header.last;
	}
	feed_reader_close(reader);
	return NULL;
}

static void
readers_wake_for_flush_and_for_durable(void **state)
{
	Feed *feed = create();
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, tail, feed);
	for (uint64_t seq = 1; seq <= TAIL_UNITS; seq += 10)
	{
		if (seq % 20 == 1)
			feed_set_durable(feed, seq + 9); /* the journal may be ahead or behind */
		append_range(feed, seq, seq + 9);
		feed_set_durable(feed, seq + 9);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	feed_close(feed);
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
		TEST(nobody_reads_beyond_the_durable_unit),
		TEST(every_start_reads_with_a_dictionary_that_explains_it),
		TEST(cut_feed_is_derived_again_byte_for_byte),
		TEST(crash_between_feed_and_store_gives_the_same_bytes),
		TEST(feed_that_does_not_reach_the_store_is_refused_with_a_way_out),
		TEST(store_and_feed_must_agree_on_the_pieces_of_a_unit),
		TEST(bad_record_stops_its_reader_with_segment_and_offset),
		TEST(full_disk_leaves_no_mark_in_the_bytes),
		TEST(readers_wake_for_flush_and_for_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
