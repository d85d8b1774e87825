/*
 * test_ndjson.c -- a line says what the record says, under the names people know.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "feed/ndjson.h"
#include "feed_fixture.h"

static const FixtureColumn item_columns[] = {{"id", "bigint", true},	  {"title", "text", false},
											 {"price", "numeric", false}, {"att", "jsonb", false},
											 {"specs", "jsonb", false},	  {NULL, NULL, false}};

static FeedFixture f;
static NdjsonWriter *writer;
static Buffer image;
static Buffer value;
static Buffer list;
static Buffer lines;

#define HEAD1 "\"lsn\":\"0/1000180\",\"ts\":\"2026-11-20T14:46:29.174216Z\",\"xid\":771"

static int
setup(void **state)
{
	fixture_open(&f);
	writer = ndjson_create();
	buffer_reset(&image);
	fixture_begin(&f, UNIT_TXN);
	fixture_relation(&f, 1, "public", "item", "att", item_columns);
	fixture_ranking(&f, 3, 1, "ho\"me");
	return 0;
}

static int
teardown(void **state)
{
	ndjson_destroy(writer);
	buffer_free(&image);
	buffer_free(&value);
	buffer_free(&list);
	buffer_free(&lines);
	fixture_close(&f);
	return 0;
}

/* Every line of the feed, as one text. */
static const char *
all_lines(void)
{
	FeedReader *reader;
	RecordReader record;
	RecordEntry entry;
	Error err = {0};

	buffer_reset(&lines);
	MUST(feed_reader_open(f.feed, 1, &reader, &fixture_error));
	while (feed_reader_next(reader, &record, &err) == FEED_RECORD)
		for (bool done = false; !done;)
		{
			assert_true(record_next(&record, &entry, &done, &err));
			if (!done && !ndjson_write(writer, &lines, reader, &record.header, &entry, &err))
				fail_msg("%s", err.message);
		}
	feed_reader_close(reader);
	buffer_append_byte(&lines, '\0');
	return (const char *) lines.data;
}

static Slice
timed(Slice inner, const char *time)
{
	Buffer text = {0};

	buffer_reset(&list);
	list_add(&list, inner);
	list_add(&list, value_text(&text, time));
	buffer_free(&text);
	return value_bytes(&value, VALUE_LIST, buffer_slice(&list));
}

static void
a_change_names_columns_map_keys_and_times(void **state)
{
	Buffer inner = {0};
	Buffer removed = {0};
	RecordEntry entry = {.kind = RECORD_CHANGE, .change = 1, .relation = 1, .key = key_int(17)};

	image_add(&image, 0, NULL, STATE_SET, value_int(&value, 17));	/* 0: in the key only */
	image_add(&image, 1, NULL, STATE_SET, value_text(&value, "x")); /* 1 */
	image_add(&image, 2, NULL, STATE_SET, value_decimal(&value, "888000", -2, false)); /* 2 */
	image_add(&image, 3, "brand", STATE_SET, timed(value_text(&inner, "b"), "2026-01-02T03:04:05.000006Z"));
	image_add(&image, 3, "price", STATE_SET, timed(value_int(&inner, 5), "2026-01-02T03:04:05+01"));
	image_add(&image, 3, "bare", STATE_SET, value_int(&value, 7));
	image_add(&image, 3, "pair", STATE_SET, timed(value_int(&inner, 5), "noon"));
	image_add(&image, 3, "deep", STATE_SET,
			  value_bytes(&value, VALUE_JSON,
						  slice_string("[{\"a\": \", \\\"\", \"b\": [1, 2]}, \"2026-01-02\"]")));
	image_add(&image, 3, "three", STATE_SET,
			  value_bytes(&value, VALUE_JSON, slice_string("[{}, [], \"2026-01-02\"]")));
	image_add(&image, 4, "a", STATE_SET, value_int(&value, 1)); /* 9 */
	image_add(&image, 4, "b", STATE_OVERSIZED, value_int(&value, 0));
	image_add(&removed, 3, "gone", STATE_REMOVED, (Slice){0});
	image_add(&removed, 3, "id", STATE_REMOVED, (Slice){0});
	image_add(&removed, 4, "c", STATE_REMOVED, (Slice){0});
	entry.row.op = OP_UPDATE;
	entry.row.fingerprint = f.fingerprints[1];
	entry.row.changed_known = true;
	entry.row.image = buffer_slice(&image);
	entry.row.changed = slice_make("\x16\x02", 2); /* 1, 2, 4, 9 */
	entry.row.removed = buffer_slice(&removed);
	fixture_entry(&f, &entry);
	fixture_end(&f, true);
	assert_string_equal(
		all_lines(),
		"{\"pos\":\"1.1.0\"," HEAD1 ",\"kind\":\"change\",\"relation\":\"public.item\",\"op\":\"update\","
		"\"key\":{\"id\":17},\"attributes\":{\"title\":\"x\",\"price\":8880.00,\"brand\":\"b\",\"att.price\":"
		"5,"
		"\"bare\":7,\"pair\":[5,\"noon\"],\"deep\":{\"a\": \", \\\"\", \"b\": [1, 2]},"
		"\"three\":[{}, [], \"2026-01-02\"],\"specs\":{\"a\":1,\"b\":null}},"
		"\"times\":{\"brand\":\"2026-01-02T03:04:05.000006Z\",\"att.price\":\"2026-01-02T03:04:05+01\","
		"\"deep\":\"2026-01-02\"},\"changed\":[\"title\",\"price\",\"att.price\",\"specs.a\"],"
		"\"removed\":[\"gone\",\"att.id\",\"specs.c\"],\"oversized\":[\"specs.b\"]}\n");
	buffer_free(&inner);
	buffer_free(&removed);
}

static void
what_changed_may_be_unknown_or_nothing(void **state)
{
	RecordEntry entry = {.kind = RECORD_CHANGE, .change = 1, .relation = 1, .key = key_int(1)};

	image_add(&image, 3, NULL, STATE_SET, value_bytes(&value, VALUE_JSON, slice_string("{}")));
	image_add(&image, 4, NULL, STATE_SET, value_bytes(&value, VALUE_JSON, slice_string("{}")));
	entry.row.op = OP_INSERT;
	entry.row.fingerprint = f.fingerprints[1];
	entry.row.image = buffer_slice(&image);
	fixture_entry(&f, &entry);
	entry.change = 2;
	entry.row.op = OP_DELETE;
	entry.row.changed_known = true;
	entry.row.image = (Slice){0};
	fixture_entry(&f, &entry);
	fixture_end(&f, true);
	assert_string_equal(
		all_lines(),
		"{\"pos\":\"1.1.0\"," HEAD1 ",\"kind\":\"change\",\"relation\":\"public.item\",\"op\":\"insert\","
		"\"key\":{\"id\":1},\"attributes\":{\"specs\":{}},\"times\":{},\"changed\":null,\"removed\":[]}\n"
		"{\"pos\":\"1.2.0\"," HEAD1 ",\"kind\":\"change\",\"relation\":\"public.item\",\"op\":\"delete\","
		"\"key\":{\"id\":1},\"attributes\":{},\"times\":{},\"changed\":[],\"removed\":[]}\n");
}

static void
maps_that_are_no_objects_stand_under_their_column(void **state)
{
	image_add(&image, 3, NULL, STATE_SET, value_number(&value, VALUE_NULL, 1));
	image_add(&image, 4, NULL, STATE_SET, value_int(&value, 3));
	fixture_change(&f, 1, 1, OP_INSERT, key_int(1), buffer_slice(&image));
	fixture_end(&f, true);
	assert_non_null(strstr(all_lines(), "\"attributes\":{\"att\":null,\"specs\":3},"));
}

static void
scores_removals_truncations_and_gaps(void **state)
{
	RecordEntry pinned = {.kind = RECORD_SCORE, .change = 2, .out = 3, .relation = 1, .key = key_int(17)};

	fixture_score(&f, 1, 1, 3, key_int(17), 0.73125);
	pinned.key = key_int(17);
	pinned.score.score = -1e-9;
	pinned.score.tier = -2;
	pinned.score.pin = 1;
	pinned.score.blocked = true;
	fixture_entry(&f, &pinned);
	fixture_remove(&f, 3, 1, 3, key_int(17));
	fixture_remove(&f, 4, 1, 3, (Slice){0});
	fixture_truncate(&f, 5, 1);
	fixture_entry(&f, &(RecordEntry){.kind = RECORD_QUARANTINE, .change = 5, .relation = 1});
	fixture_end(&f, true);
	fixture_begin(&f, UNIT_GAP);
	fixture_entry(
		&f, &(RecordEntry){.kind = RECORD_GAP, .change = 1, .gap = {0x2f000000a, slice_string("a \"b\"\n")}});
	fixture_end(&f, true);
#define AT1 "\"at\":\"2026-11-20T14:46:30.000001Z\"}\n"
#define RANKING "\"ranking\":\"ho\\\"me\""
	assert_string_equal(
		all_lines(), "{\"pos\":\"1.1.3\"," HEAD1 ",\"kind\":\"score\"," RANKING
					 ",\"key\":{\"id\":17},\"score\":0.73125,\"tier\":0,"
					 "\"pin\":null,\"blocked\":false,\"version\":4," AT1 "{\"pos\":\"1.2.3\"," HEAD1
					 ",\"kind\":\"score\"," RANKING ",\"key\":{\"id\":17},\"score\":-1e-9,\"tier\":-2,"
					 "\"pin\":1,\"blocked\":true,\"version\":0," AT1 "{\"pos\":\"1.3.3\"," HEAD1
					 ",\"kind\":\"remove\"," RANKING ",\"key\":{\"id\":17}," AT1 "{\"pos\":\"1.4.3\"," HEAD1
					 ",\"kind\":\"remove\"," RANKING ",\"key\":null," AT1 "{\"pos\":\"1.5.0\"," HEAD1
					 ",\"kind\":\"change\",\"relation\":\"public.item\",\"op\":\"truncate\",\"key\":null}\n"
					 "{\"pos\":\"2.1.0\",\"lsn\":\"0/"
					 "1000280\",\"ts\":\"2026-11-20T14:46:30.000002Z\",\"xid\":null,\"kind\":\"gap\","
					 "\"from\":\"2/F000000A\",\"reason\":\"a \\\"b\\\"\\n\"}\n");
}

static void
names_follow_the_version_an_image_is_written_under(void **state)
{
	static const FixtureColumn renamed[] = {
		{"id", "bigint", true}, {"heading", "text", false}, {NULL, NULL, false}};
	Buffer narrow = {0};

	image_add(&narrow, 1, NULL, STATE_SET, value_text(&value, "x"));
	fixture_change(&f, 1, 1, OP_INSERT, key_int(1), buffer_slice(&narrow));
	fixture_relation(&f, 1, "public", "item", "", renamed);
	fixture_change(&f, 2, 1, OP_INSERT, key_int(1), buffer_slice(&narrow));
	fixture_end(&f, true);
	assert_non_null(strstr(all_lines(), "{\"title\":\"x\"}"));
	assert_non_null(strstr((char *) lines.data, "{\"heading\":\"x\"}"));
	buffer_free(&narrow);
}

/* More versions than a reader keeps of old: all of one record are needed while it is read. */
static void
a_record_may_hold_rows_of_any_number_of_versions(void **state)
{
	char name[16];
	char wanted[64];
	Buffer narrow = {0};

	image_add(&narrow, 1, NULL, STATE_SET, value_text(&value, "x"));
	for (uint32_t i = 1; i <= 20; i++)
	{
		const FixtureColumn columns[] = {
			{i % 2 ? "id" : "number", "bigint", true}, {name, "text", false}, {NULL, NULL, false}};

		snprintf(name, sizeof(name), "title%u", i);
		fixture_relation(&f, 1, "public", "item", "", columns);
		fixture_change(&f, i, 1, OP_INSERT, key_int(i), buffer_slice(&narrow));
		fixture_score(&f, i, 1, 3, key_int(i), 1);
	}
	fixture_end(&f, true);
	all_lines();
	for (uint32_t i = 1; i <= 20; i++)
	{
		snprintf(wanted, sizeof(wanted), "{\"%s\":%u},\"attributes\":{\"title%u\":\"x\"}",
				 i % 2 ? "id" : "number", i, i);
		assert_non_null(strstr((char *) lines.data, wanted));
		/* a score's key is that of its change's version */
		snprintf(wanted, sizeof(wanted), "{\"%s\":%u},\"score\":1", i % 2 ? "id" : "number", i);
		assert_non_null(strstr((char *) lines.data, wanted));
	}
	buffer_free(&narrow);
}

static void
what_the_dictionary_lacks_is_an_error_and_writes_nothing(void **state)
{
	FeedReader *reader;
	RecordReader record;
	RecordHeader header = {.seq = 9};
	RecordEntry entry = {.kind = RECORD_SCORE, .change = 1, .out = 99, .relation = 1, .key = key_int(1)};
	Buffer out = {0};
	Error err = {0};

	fixture_end(&f, true);
	MUST(feed_reader_open(f.feed, 1, &reader, &fixture_error));
	MUST(feed_reader_next(reader, &record, &err) == FEED_RECORD);
	for (bool done = false; !done;)
	{
		RecordEntry seen;

		MUST(record_next(&record, &seen, &done, &err));
	}
	assert_false(ndjson_write(writer, &out, reader, &header, &entry, &err));
	assert_int_equal(err.class, ERR_DATA);
	entry.out = 3;
	entry.relation = 7;
	assert_false(ndjson_entry(&out, reader, &header, &entry, &err));
	entry.relation = 1;
	entry.key = slice_make("\x1a\x7f", 2);
	assert_false(ndjson_write(writer, &out, reader, &header, &entry, &err));
	entry.kind = RECORD_CHANGE;
	entry.key = key_int(1);
	entry.row.op = OP_INSERT;
	entry.row.fingerprint = f.fingerprints[1];
	entry.row.image = slice_make("\x2a\x03\x08\x63\x20", 5);
	assert_false(ndjson_write(writer, &out, reader, &header, &entry, &err));
	assert_int_equal(err.class, ERR_DATA);
	assert_int_equal(out.len, 0);
	feed_reader_close(reader);
	buffer_free(&out);
}

static void
a_composite_key_is_an_object_in_column_order(void **state)
{
	static const FixtureColumn columns[] = {
		{"shop", "integer", true}, {"note", "text", false}, {"s\"ku", "text", true}, {NULL, NULL, false}};
	Buffer key = {0};
	FeedReader *reader;
	RecordReader record;
	RecordEntry entry;
	Error err = {0};
	Buffer out = {0};

	key_add(&key, value_int(&value, 4));
	key_add(&key, value_text(&value, "a/b"));
	fixture_relation(&f, 2, "shop", "Item", "", columns);
	fixture_end(&f, true);
	MUST(feed_reader_open(f.feed, 1, &reader, &fixture_error));
	MUST(feed_reader_next(reader, &record, &err) == FEED_RECORD);
	for (bool done = false; !done;)
		MUST(record_next(&record, &entry, &done, &err));
	assert_true(ndjson_key(&out, feed_relation(reader, 2), buffer_slice(&key), &err));
	buffer_append_byte(&out, '\0');
	assert_string_equal((char *) out.data, "{\"shop\":4,\"s\\\"ku\":\"a/b\"}");
	assert_false(ndjson_key(&out, feed_relation(reader, 2), key_int(1), &err));
	feed_reader_close(reader);
	buffer_free(&out);
	buffer_free(&key);
}

/* Not a limit, but the cost is printed: a change that makes lines dearer should not go unseen. */
static void
lines_of_a_kilobyte_are_written_fast(void **state)
{
	char name[16];
	Buffer inner = {0};
	FeedReader *reader;
	RecordReader record;
	RecordEntry entry;
	Error err = {0};
	int64_t start;
	const int rounds = 20000;

	image_add(&image, 1, NULL, STATE_SET,
			  value_text(&value, "a title of ordinary length, as shops have them"));
	for (int i = 0; i < 14; i++)
	{
		snprintf(name, sizeof(name), "attribute%02d", i);
		image_add(&image, 3, name, STATE_SET,
				  timed(value_double(&inner, 12.5 * i), "2026-01-02T03:04:05.000006Z"));
	}
	fixture_change(&f, 1, 1, OP_UPDATE, key_int(1), buffer_slice(&image));
	fixture_end(&f, true);
	MUST(feed_reader_open(f.feed, 1, &reader, &fixture_error));
	MUST(feed_reader_next(reader, &record, &err) == FEED_RECORD);
	for (int i = 0; i < 3; i++) /* the two definitions, then the change */
	{
		bool done;

		MUST(record_next(&record, &entry, &done, &err) && !done);
	}
	start = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < rounds; i++)
	{
		buffer_reset(&lines);
		assert_true(ndjson_write(writer, &lines, reader, &record.header, &entry, &err));
	}
	print_message("%zu bytes a line, %.2f us of CPU each\n", lines.len,
				  (double) (clock_us(CLOCK_PROCESS_CPUTIME_ID) - start) / rounds);
	assert_in_range(lines.len, 900, 1200);
	feed_reader_close(reader);
	buffer_free(&inner);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_change_names_columns_map_keys_and_times, setup, teardown),
		cmocka_unit_test_setup_teardown(what_changed_may_be_unknown_or_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(maps_that_are_no_objects_stand_under_their_column, setup, teardown),
		cmocka_unit_test_setup_teardown(scores_removals_truncations_and_gaps, setup, teardown),
		cmocka_unit_test_setup_teardown(names_follow_the_version_an_image_is_written_under, setup, teardown),
		cmocka_unit_test_setup_teardown(a_record_may_hold_rows_of_any_number_of_versions, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_dictionary_lacks_is_an_error_and_writes_nothing, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_composite_key_is_an_object_in_column_order, setup, teardown),
		cmocka_unit_test_setup_teardown(lines_of_a_kilobyte_are_written_fast, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
