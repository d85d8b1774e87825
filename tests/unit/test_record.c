/*
 * test_record.c -- a record reads back as it was written, and nothing else reads at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "score/record.h"

static const RecordHeader header = {
	.seq = 41,
	.part = 2,
	.last = true,
	.kind = UNIT_TXN,
	.commit_lsn = 0x3A4F1D8,
	.end_lsn = 0x3A4F208,
	.commit_time_us = -5,
	.now_us = INT64_C(1795186000000000),
	.xid = UINT64_C(0x100000307),
	.total = UINT64_C(1) << 40,
	.outputs = 3,
	.quarantined = 1,
};

static RecordEntry
sample(RecordKind kind)
{
	RecordEntry entry = {
		.kind = kind, .change = 300, .out = 7, .relation = 3, .key = slice_string("\x1a\x02\x18\x22")};

	switch (kind)
	{
		case RECORD_RELATION:
			entry.relation_def = (RecordRelation){3, slice_string("descriptor"), slice_string("att")};
			break;
		case RECORD_RANKING:
			entry.ranking_def = (RecordRanking){7, 3, 4000000000, slice_string("home")};
			break;
		case RECORD_CHANGE:
			entry.row.op = OP_UPDATE;
			entry.row.fingerprint = UINT64_C(0xfedcba9876543210);
			entry.row.changed_known = true;
			entry.row.image = slice_string("image");
			entry.row.changed = slice_make("\x05\x02", 2);
			entry.row.removed = slice_string("removed");
			break;
		case RECORD_SCORE:
			entry.score.score = -0.1;
			entry.score.tier = -3;
			entry.score.pin = 5;
			entry.score.blocked = true;
			entry.score.version = 9;
			break;
		case RECORD_REMOVE:
		case RECORD_TRUNCATE:
			entry.key = slice_make(NULL, 0);
			break;
		case RECORD_GAP:
			entry.gap.from = 77;
			entry.gap.reason = slice_string("publication lost");
			break;
		case RECORD_QUARANTINE:
			entry.quarantine.attribute = slice_string("price");
			entry.quarantine.reason = slice_string("oversized");
			entry.quarantine.digest = 12345;
			break;
		case RECORD_FILL:
		case RECORD_FILLED:
			entry.fill.sink = slice_string("lines");
			entry.fill.from = UINT64_C(1) << 40;
			break;
	}
	return entry;
}

static void
write_all(Buffer *out)
{
	size_t start = out->len;

	record_begin(out);
	for (int kind = RECORD_RELATION; kind <= RECORD_FILLED; kind++)
	{
		RecordEntry entry = sample((RecordKind) kind);

		record_entry(out, &entry);
	}
	record_finish(out, start, &header);
}

static void
assert_slice(Slice got, Slice wanted)
{
	assert_true(slice_equal(got, wanted));
}

static void
assert_body(const RecordEntry *got, const RecordEntry *wanted)
{
	switch (wanted->kind)
	{
		case RECORD_RELATION:
			assert_int_equal(got->relation_def.number, wanted->relation_def.number);
			assert_slice(got->relation_def.descriptor, wanted->relation_def.descriptor);
			assert_slice(got->relation_def.map, wanted->relation_def.map);
			break;
		case RECORD_RANKING:
			assert_int_equal(got->ranking_def.number, wanted->ranking_def.number);
			assert_int_equal(got->ranking_def.relation, wanted->ranking_def.relation);
			assert_int_equal(got->ranking_def.version, wanted->ranking_def.version);
			assert_slice(got->ranking_def.name, wanted->ranking_def.name);
			break;
		case RECORD_CHANGE:
			assert_int_equal(got->row.op, wanted->row.op);
			assert_int_equal(got->row.fingerprint, wanted->row.fingerprint);
			assert_int_equal(got->row.changed_known, wanted->row.changed_known);
			assert_slice(got->row.image, wanted->row.image);
			assert_slice(got->row.changed, wanted->row.changed);
			assert_slice(got->row.removed, wanted->row.removed);
			break;
		case RECORD_SCORE:
			assert_memory_equal(&got->score.score, &wanted->score.score, sizeof(double));
			assert_int_equal(got->score.tier, wanted->score.tier);
			assert_int_equal(got->score.pin, wanted->score.pin);
			assert_int_equal(got->score.blocked, wanted->score.blocked);
			assert_int_equal(got->score.version, wanted->score.version);
			break;
		case RECORD_REMOVE:
		case RECORD_TRUNCATE:
			break;
		case RECORD_GAP:
			assert_int_equal(got->gap.from, wanted->gap.from);
			assert_slice(got->gap.reason, wanted->gap.reason);
			break;
		case RECORD_QUARANTINE:
			assert_slice(got->quarantine.attribute, wanted->quarantine.attribute);
			assert_slice(got->quarantine.reason, wanted->quarantine.reason);
			assert_int_equal(got->quarantine.digest, wanted->quarantine.digest);
			break;
		case RECORD_FILL:
		case RECORD_FILLED:
			assert_slice(got->fill.sink, wanted->fill.sink);
			assert_int_equal(got->fill.from, wanted->fill.from);
			break;
	}
}

static void
every_entry_reads_back_as_written(void **state)
{
	Buffer out = {0};
	RecordReader reader;
	RecordEntry entry;
	Error err = {0};
	bool done;

	/* a record need not stand at the buffer's beginning */
	buffer_append(&out, "prefix", 6);
	write_all(&out);
	assert_true(record_open(slice_make(out.data + 6, out.len - 6), &reader, &err));
	assert_int_equal(reader.header.seq, header.seq);
	assert_int_equal(reader.header.part, header.part);
	assert_true(reader.header.last);
	assert_int_equal(reader.header.kind, header.kind);
	assert_int_equal(reader.header.commit_lsn, header.commit_lsn);
	assert_int_equal(reader.header.end_lsn, header.end_lsn);
	assert_int_equal(reader.header.commit_time_us, header.commit_time_us);
	assert_int_equal(reader.header.now_us, header.now_us);
	assert_int_equal(reader.header.xid, header.xid);
	assert_int_equal(reader.header.total, header.total);
	assert_int_equal(reader.header.outputs, header.outputs);
	assert_int_equal(reader.header.quarantined, header.quarantined);
	for (int kind = RECORD_RELATION; kind <= RECORD_FILLED; kind++)
	{
		RecordEntry wanted = sample((RecordKind) kind);

		assert_true(record_next(&reader, &entry, &done, &err));
		assert_false(done);
		assert_int_equal(entry.kind, wanted.kind);
		assert_int_equal(entry.change, wanted.change);
		assert_int_equal(entry.out, wanted.out);
		assert_int_equal(entry.relation, wanted.relation);
		assert_slice(entry.key, wanted.key);
		assert_body(&entry, &wanted);
	}
	assert_true(record_next(&reader, &entry, &done, &err));
	assert_true(done);
	buffer_free(&out);
}

/* Entries read from these bytes, or -1. */
static int
read_all(Slice bytes)
{
	RecordReader reader;
	RecordEntry entry;
	Error err = {0};
	bool done;

	if (!record_open(bytes, &reader, &err))
	{
		assert_int_equal(err.class, ERR_DATA);
		return -1;
	}
	for (int count = 0;; count++)
	{
		if (!record_next(&reader, &entry, &done, &err))
		{
			assert_int_equal(err.class, ERR_DATA);
			return -1;
		}
		if (done)
			return count;
	}
}

static void
a_record_cut_short_is_an_error_or_whole_entries(void **state)
{
	Buffer out = {0};
	int whole = 0;

	write_all(&out);
	for (size_t len = 0; len < out.len; len++)
	{
		/* bytes of its own, so that reading on is seen by the sanitizer */
		uint8_t *copy = malloc(len + 1);

		memcpy(copy, out.data, len);
		whole += read_all(slice_make(copy, len)) >= 0;
		free(copy);
	}
	assert_int_equal(whole, RECORD_FILLED);
	assert_int_equal(read_all(buffer_slice(&out)), RECORD_FILLED);
	buffer_free(&out);
}

static void
changed_bits_are_read_low_bit_first_and_never_beyond_them(void **state)
{
	RecordEntry entry = sample(RECORD_CHANGE);
	const bool expected[] = {true, false, true, false, false, false, false, false, false, true, false};

	for (uint32_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(record_changed(&entry, i), expected[i]);
	assert_false(record_changed(&entry, 16));
	assert_false(record_changed(&entry, 1000000));
}

static void
a_header_of_another_format_or_kind_is_refused(void **state)
{
	static const struct
	{
		size_t at;
		uint8_t byte;
	} broken[] = {{68, 200}, {69, 9}, {70, 2}, {71, 2}, {71, 0}};
	Buffer out = {0};

	write_all(&out);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
	{
		uint8_t was = out.data[broken[i].at];

		out.data[broken[i].at] = broken[i].byte;
		assert_int_equal(read_all(buffer_slice(&out)), -1);
		out.data[broken[i].at] = was;
	}
	assert_int_equal(read_all(buffer_slice(&out)), RECORD_FILLED);
	buffer_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_entry_reads_back_as_written),
		cmocka_unit_test(a_record_cut_short_is_an_error_or_whole_entries),
		cmocka_unit_test(changed_bits_are_read_low_bit_first_and_never_beyond_them),
		cmocka_unit_test(a_header_of_another_format_or_kind_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
