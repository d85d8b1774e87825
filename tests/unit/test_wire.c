/*
 * test_wire.c -- the bounded reader: what it yields, and what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "wire.h"

/* ---- a writer, independent of the plugin's ------------------------------------------------- */

typedef struct Bytes
{
	uint8_t data[8192];
	size_t len;
} Bytes;

static void
put_varint(Bytes *b, uint64_t v)
{
	b->len = (size_t) (wire_put_varint(b->data + b->len, v) - b->data);
}

static void
put_number(Bytes *b, uint32_t field, uint64_t v)
{
	put_varint(b, WIRE_TAG(field, WIRE_VARINT));
	put_varint(b, v);
}

static void
put_fixed(Bytes *b, uint32_t field, unsigned bytes, uint64_t v)
{
	put_varint(b, WIRE_TAG(field, bytes == 8 ? WIRE_FIXED64 : WIRE_FIXED32));
	for (unsigned i = 0; i < bytes; i++)
		b->data[b->len++] = (uint8_t) (v >> (8 * i));
}

static void
put_bytes(Bytes *b, uint32_t field, const void *data, size_t len)
{
	put_varint(b, WIRE_TAG(field, WIRE_BYTES));
	put_varint(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

static void
put_message(Bytes *b, uint32_t field, const Bytes *message)
{
	put_bytes(b, field, message->data, message->len);
}

static Slice
slice(const Bytes *b)
{
	return slice_make(b->data, b->len);
}

static void
put_head(Bytes *frame)
{
	Bytes head = {.len = 0};

	put_fixed(&head, HEAD_COMMIT_LSN, 8, 0x1122334455667788);
	put_fixed(&head, HEAD_END_LSN, 8, 0x1122334455667799);
	put_fixed(&head, HEAD_COMMIT_TIME, 8, (uint64_t) -5);
	put_fixed(&head, HEAD_XID, 8, 0x100000001);
	put_fixed(&head, HEAD_PART, 4, 3);
	assert_int_equal(head.len, 41);
	put_message(frame, FRAME_HEAD, &head);
}

static void
put_tail(Bytes *frame)
{
	Bytes tail = {.len = 0};

	put_fixed(&tail, TAIL_FRAMES, 4, 4);
	put_fixed(&tail, TAIL_CHANGES, 4, 9);
	put_fixed(&tail, TAIL_CRC32C, 4, 0xdeadbeef);
	assert_int_equal(tail.len, 15);
	put_message(frame, FRAME_TAIL, &tail);
}

static void
put_entry(Bytes *frame, uint32_t kind, const Bytes *body)
{
	Bytes entry = {.len = 0};

	put_message(&entry, kind, body);
	put_message(frame, FRAME_ENTRIES, &entry);
}

/* ---- cursors ------------------------------------------------------------------------------- */

static void
varints_read_back_at_every_length(void **state)
{
	for (unsigned bit = 0; bit < 64; bit++)
	{
		uint64_t values[] = {UINT64_C(1) << bit, (UINT64_C(1) << bit) - 1, ~(UINT64_C(1) << bit)};

		for (size_t i = 0; i < 3; i++)
		{
			Bytes b = {.len = 0};
			WireCursor cursor;
			uint64_t v;

			put_varint(&b, values[i]);
			assert_int_equal(b.len, wire_varint_size(values[i]));
			cursor = wire_cursor(slice(&b));
			assert_true(wire_varint(&cursor, &v));
			assert_int_equal(v, values[i]);
			assert_true(wire_done(&cursor));
			assert_int_equal(wire_zigzag(wire_unzigzag(v)), v);
			/* one byte short */
			cursor = wire_cursor(slice_make(b.data, b.len - 1));
			assert_false(wire_varint(&cursor, &v));
			assert_ptr_equal(cursor.at, b.data);
		}
	}
}

static void
overlong_varints_are_refused(void **state)
{
	static const uint8_t too_large[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
	static const uint8_t endless[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01};
	WireCursor cursor = wire_cursor(slice_make(too_large, sizeof(too_large)));
	uint64_t v;

	assert_false(wire_varint(&cursor, &v));
	cursor = wire_cursor(slice_make(endless, sizeof(endless)));
	assert_false(wire_varint(&cursor, &v));
}

static void
fields_stay_inside_their_bytes(void **state)
{
	static const uint8_t cases[][12] = {
		{1, 0x00},						/* field number 0 */
		{1, 0x0b},						/* group */
		{1, 0x0e},						/* unknown wire type */
		{2, 0x0a, 0x01},				/* one byte promised, none there */
		{3, 0x0a, 0x02, 0x00},			/* two promised, one there */
		{4, 0x0d, 0x00, 0x00, 0x00},	/* short fixed32 */
		{8, 0x09, 0, 0, 0, 0, 0, 0, 0}, /* short fixed64 */
		{11, 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, /* 2^64 - 1 bytes */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		WireCursor cursor = wire_cursor(slice_make(cases[i] + 1, cases[i][0]));
		WireField f;

		assert_false(wire_field(&cursor, &f));
	}
}

/* ---- frames -------------------------------------------------------------------------------- */

static void
frame_yields_head_entries_and_tail(void **state)
{
	Bytes b = {.len = 0};
	Bytes lost = {.len = 0};
	WireFrame frame;
	WireEntry entry;
	size_t tail_at;

	put_head(&b);
	memcpy(lost.data, "pub", lost.len = 3);
	put_entry(&b, ENTRY_PUBLICATION_LOST, &lost);
	put_entry(&b, 77 / 7, &lost); /* a kind of the future */
	tail_at = b.len;
	put_tail(&b);

	assert_true(wire_frame_begin(&frame, slice(&b)));
	assert_int_equal(frame.head.commit_lsn, 0x1122334455667788);
	assert_int_equal(frame.head.end_lsn, 0x1122334455667799);
	assert_int_equal(frame.head.commit_time_us, -5);
	assert_int_equal(frame.head.xid, 0x100000001);
	assert_int_equal(frame.head.part, 3);
	assert_true(wire_frame_next(&frame, &entry));
	assert_int_equal(entry.kind, ENTRY_PUBLICATION_LOST);
	assert_true(slice_equal(entry.body, slice_string("pub")));
	assert_true(wire_frame_next(&frame, &entry));
	assert_int_equal(entry.kind, 0);
	assert_false(wire_frame_next(&frame, &entry));
	assert_false(frame.error);
	assert_true(frame.has_tail);
	assert_int_equal(frame.tail.frames, 4);
	assert_int_equal(frame.tail.changes, 9);
	assert_int_equal(frame.tail.crc32c, 0xdeadbeef);
	assert_int_equal(frame.tail_offset, tail_at);
}

static bool
whole_frame_reads(Slice bytes)
{
	WireFrame frame;
	WireEntry entry;

	if (!wire_frame_begin(&frame, bytes))
		return false;
	while (wire_frame_next(&frame, &entry))
		;
	return !frame.error && frame.has_tail;
}

static void
frame_cut_anywhere_is_refused_or_has_no_tail(void **state)
{
	Bytes b = {.len = 0};
	Bytes body = {.len = 20};

	put_head(&b);
	put_entry(&b, ENTRY_MESSAGE, &body);
	put_tail(&b);
	assert_true(whole_frame_reads(slice(&b)));
	for (size_t len = 0; len < b.len; len++)
		assert_false(whole_frame_reads(slice_make(b.data, len)));
}

static void
frame_needs_its_head_first_and_its_tail_last(void **state)
{
	Bytes b = {.len = 0};
	Bytes none = {.len = 0};
	WireFrame frame;

	put_tail(&b);
	put_head(&b);
	assert_false(wire_frame_begin(&frame, slice(&b)));
	b.len = 0;
	put_head(&b);
	put_tail(&b);
	put_entry(&b, ENTRY_MESSAGE, &none);
	assert_false(whole_frame_reads(slice(&b)));
	b.len = 0;
	put_head(&b);
	put_head(&b);
	put_tail(&b);
	assert_false(whole_frame_reads(slice(&b)));
	assert_false(wire_frame_begin(&frame, slice_make(b.data, 0)));
}

static void
head_with_a_field_missing_is_refused(void **state)
{
	Bytes head = {.len = 0};
	Bytes b = {.len = 0};
	WireFrame frame;

	put_fixed(&head, HEAD_COMMIT_LSN, 8, 1);
	put_fixed(&head, HEAD_END_LSN, 8, 2);
	put_fixed(&head, HEAD_XID, 8, 3);
	put_fixed(&head, HEAD_PART, 4, 0);
	put_message(&b, FRAME_HEAD, &head);
	assert_false(wire_frame_begin(&frame, slice(&b)));
}

/* ---- relations ------------------------------------------------------------------------------ */

static void
put_column(Bytes *b, const char *name, bool key)
{
	Bytes column = {.len = 0};

	put_bytes(&column, COLUMN_NAME, name, strlen(name));
	put_number(&column, COLUMN_TYPE_OID, 23);
	put_bytes(&column, COLUMN_TYPE_NAME, "int4", 4);
	put_number(&column, COLUMN_TYPMOD, wire_zigzag(-1));
	if (key)
		put_number(&column, COLUMN_KEY, 1);
	put_message(b, RELATION_COLUMNS, &column);
}

static void
build_relation(Bytes *b)
{
	uint64_t fingerprint;

	b->len = 0;
	put_fixed(b, RELATION_FINGERPRINT, 8, 0);
	put_bytes(b, RELATION_SCHEMA, "public", 6);
	put_bytes(b, RELATION_TABLE, "item", 4);
	put_number(b, RELATION_OID, 4000000000u);
	put_column(b, "id", true);
	put_column(b, "att", false);
	fingerprint = wire_fingerprint(slice_make(b->data + 9, b->len - 9));
	for (unsigned i = 0; i < 8; i++)
		b->data[1 + i] = (uint8_t) (fingerprint >> (8 * i));
}

static void
relation_reads_back_with_its_columns(void **state)
{
	Bytes b;
	WireRelation relation;
	WireColumn column;

	build_relation(&b);
	assert_true(wire_relation(slice(&b), &relation));
	assert_true(slice_equal(relation.schema, slice_string("public")));
	assert_true(slice_equal(relation.table, slice_string("item")));
	assert_int_equal(relation.oid, 4000000000u);
	assert_int_equal(relation.ncolumns, 2);
	assert_int_equal(relation.nkeys, 1);
	assert_true(wire_column_next(&relation.columns, &column));
	assert_true(slice_equal(column.name, slice_string("id")));
	assert_int_equal(column.type_oid, 23);
	assert_int_equal(column.typmod, -1);
	assert_true(column.key);
	assert_true(wire_column_next(&relation.columns, &column));
	assert_true(slice_equal(column.name, slice_string("att")));
	assert_false(column.key);
	assert_false(wire_column_next(&relation.columns, &column));
}

static void
relation_with_any_bit_flipped_is_refused(void **state)
{
	Bytes b;
	WireRelation relation;

	build_relation(&b);
	for (size_t bit = 0; bit < b.len * 8; bit++)
	{
		b.data[bit / 8] ^= (uint8_t) (1 << (bit % 8));
		assert_false(wire_relation(slice(&b), &relation));
		b.data[bit / 8] ^= (uint8_t) (1 << (bit % 8));
	}
	assert_true(wire_relation(slice(&b), &relation));
}

/* ---- changes -------------------------------------------------------------------------------- */

static Bytes
int_value(int64_t v)
{
	Bytes b = {.len = 0};

	put_number(&b, VALUE_INT, wire_zigzag(v));
	return b;
}

static void
change_reads_back_with_keys_and_attributes(void **state)
{
	Bytes b = {.len = 0};
	Bytes attribute = {.len = 0};
	Bytes value = int_value(-17);
	WireChange change;
	WireAttribute a;
	WireCursor cursor;
	WireValue v;
	Slice one;

	put_fixed(&b, CHANGE_RELATION, 8, 42);
	put_number(&b, CHANGE_OP, OP_UPDATE);
	put_message(&b, CHANGE_KEY, &value);
	put_message(&b, CHANGE_KEY, &value);
	put_message(&b, CHANGE_OLD_KEY, &value);
	put_number(&attribute, ATTRIBUTE_COLUMN, 3);
	put_bytes(&attribute, ATTRIBUTE_KEY, "", 0);
	put_number(&attribute, ATTRIBUTE_CHANGED, CHANGED_NO);
	put_message(&attribute, ATTRIBUTE_VALUE, &value);
	put_message(&b, CHANGE_ATTRIBUTES, &attribute);
	attribute.len = 0;
	put_number(&attribute, ATTRIBUTE_STATE, STATE_OVERSIZED);
	put_number(&attribute, ATTRIBUTE_SIZE, 1234567);
	put_message(&b, CHANGE_ATTRIBUTES, &attribute);
	put_number(&b, CHANGE_FLAGS, FLAG_TEXT_INVALID);
	put_number(&b, 15, 1); /* a field of the future */

	assert_true(wire_change(slice(&b), &change));
	assert_int_equal(change.relation, 42);
	assert_int_equal(change.op, OP_UPDATE);
	assert_int_equal(change.flags, FLAG_TEXT_INVALID);
	assert_int_equal(change.nkey, 2);
	assert_int_equal(change.nold_key, 1);
	cursor = wire_cursor(change.key);
	for (int i = 0; i < 2; i++)
	{
		assert_true(wire_value_next(&cursor, &one));
		assert_true(wire_value(one, &v));
		assert_int_equal(v.kind, VALUE_INT);
		assert_int_equal(v.integer, -17);
	}
	assert_true(wire_done(&cursor));

	cursor = wire_cursor(change.attributes);
	assert_true(wire_attribute_next(&cursor, &a));
	assert_int_equal(a.column, 3);
	assert_true(a.has_key);
	assert_int_equal(a.key.len, 0);
	assert_int_equal(a.changed, CHANGED_NO);
	assert_int_equal(a.state, STATE_SET);
	assert_true(wire_value(a.value, &v));
	assert_true(wire_attribute_next(&cursor, &a));
	assert_false(a.has_key);
	assert_false(a.has_value);
	assert_int_equal(a.state, STATE_OVERSIZED);
	assert_int_equal(a.size, 1234567);
	assert_false(wire_attribute_next(&cursor, &a));
}

static void
change_without_an_operation_or_with_too_many_keys_is_refused(void **state)
{
	Bytes b = {.len = 0};
	Bytes value = int_value(1);
	WireChange change;

	assert_false(wire_change(slice(&b), &change));
	put_number(&b, CHANGE_OP, 4);
	assert_false(wire_change(slice(&b), &change));
	b.len = 0;
	put_number(&b, CHANGE_OP, OP_DELETE);
	for (int i = 0; i < WIRE_KEY_COLUMNS_MAX; i++)
		put_message(&b, CHANGE_KEY, &value);
	assert_true(wire_change(slice(&b), &change));
	put_message(&b, CHANGE_KEY, &value);
	assert_false(wire_change(slice(&b), &change));
}

static void
attribute_that_is_set_needs_a_value(void **state)
{
	Bytes b = {.len = 0};
	Bytes attribute = {.len = 0};
	WireAttribute a;
	WireCursor cursor;

	put_number(&attribute, ATTRIBUTE_COLUMN, 1);
	put_message(&b, CHANGE_ATTRIBUTES, &attribute);
	cursor = wire_cursor(slice(&b));
	assert_false(wire_attribute_next(&cursor, &a));
	attribute.len = b.len = 0;
	put_number(&attribute, ATTRIBUTE_COLUMN, WIRE_COLUMNS_MAX);
	put_number(&attribute, ATTRIBUTE_STATE, STATE_REMOVED);
	put_message(&b, CHANGE_ATTRIBUTES, &attribute);
	cursor = wire_cursor(slice(&b));
	assert_false(wire_attribute_next(&cursor, &a));
}

/* ---- values --------------------------------------------------------------------------------- */

static void
values_of_every_kind_read_back(void **state)
{
	Bytes b = {.len = 0};
	double d = -0.1;
	float f = 0.1f;
	uint64_t bits64;
	uint32_t bits32;
	WireValue v;

	memcpy(&bits64, &d, 8);
	memcpy(&bits32, &f, 4);
	put_fixed(&b, VALUE_DOUBLE, 8, bits64);
	assert_true(wire_value(slice(&b), &v));
	assert_true(v.kind == VALUE_DOUBLE && v.number == -0.1);
	b.len = 0;
	put_fixed(&b, VALUE_FLOAT, 4, bits32);
	assert_true(wire_value(slice(&b), &v));
	assert_true(v.kind == VALUE_FLOAT && v.number == (double) 0.1f);
	b.len = 0;
	put_number(&b, VALUE_DATE, wire_zigzag(INT32_MIN));
	assert_true(wire_value(slice(&b), &v));
	assert_true(v.kind == VALUE_DATE && v.integer == INT32_MIN);
	b.len = 0;
	put_number(&b, VALUE_TIMESTAMPTZ, wire_zigzag(INT64_MAX));
	assert_true(wire_value(slice(&b), &v));
	assert_true(v.kind == VALUE_TIMESTAMPTZ && v.integer == INT64_MAX);
	b.len = 0;
	put_bytes(&b, VALUE_TEXT, "x", 1);
	assert_true(wire_value(slice(&b), &v));
	assert_true(v.kind == VALUE_TEXT && slice_equal(v.bytes, slice_string("x")));
	b.len = 0;
	put_number(&b, VALUE_NULL, 1);
	assert_true(wire_value(slice(&b), &v));
	assert_int_equal(v.kind, VALUE_NULL);
}

static void
value_must_hold_exactly_one_known_kind(void **state)
{
	Bytes b = {.len = 0};
	WireValue v;

	assert_false(wire_value(slice(&b), &v));
	put_number(&b, VALUE_INT, 2);
	put_number(&b, VALUE_INT, 2);
	assert_false(wire_value(slice(&b), &v));
	b.len = 0;
	put_number(&b, 14, 2);
	assert_false(wire_value(slice(&b), &v));
	b.len = 0;
	put_number(&b, VALUE_TEXT, 2); /* text as a varint */
	assert_false(wire_value(slice(&b), &v));
}

static void
lists_hold_scalars_only(void **state)
{
	Bytes list = {.len = 0};
	Bytes outer = {.len = 0};
	Bytes b = {.len = 0};
	Bytes one = int_value(7);
	WireValue v;
	WireCursor cursor;
	Slice item;

	put_message(&list, LIST_VALUES, &one);
	put_message(&list, LIST_VALUES, &one);
	put_message(&b, VALUE_LIST, &list);
	assert_true(wire_value(slice(&b), &v));
	assert_int_equal(v.kind, VALUE_LIST);
	cursor = wire_cursor(v.bytes);
	assert_true(wire_value_next(&cursor, &item));
	assert_true(wire_value_next(&cursor, &item));
	assert_false(wire_value_next(&cursor, &item));

	put_message(&outer, LIST_VALUES, &b);
	b.len = 0;
	put_message(&b, VALUE_LIST, &outer);
	assert_false(wire_value(slice(&b), &v));
}

static WireValue
decimal(const char *digits, int32_t exponent, bool negative, uint32_t special, Bytes *b)
{
	Bytes d = {.len = 0};
	WireValue v = {.kind = VALUE_NONE};

	put_bytes(&d, DECIMAL_DIGITS, digits, strlen(digits));
	put_number(&d, DECIMAL_EXPONENT, wire_zigzag(exponent));
	put_number(&d, DECIMAL_NEGATIVE, negative);
	put_number(&d, DECIMAL_SPECIAL, special);
	b->len = 0;
	put_message(b, VALUE_DECIMAL, &d);
	if (!wire_value(slice(b), &v))
		v.kind = VALUE_NONE;
	return v;
}

static void
decimals_become_the_nearest_double(void **state)
{
	static const struct
	{
		const char *digits;
		int32_t exponent;
		double number;
	} cases[] = {
		{"150", -2, 1.5},
		{"0", 0, 0},
		{"9007199254740993", 0, 9007199254740992.0},
		{"9007199254740993000000000000000000000000000000000000001", -39, 9007199254740994.0},
		{"17976931348623157", 292, DBL_MAX},
		{"1", 131000, HUGE_VAL},
		{"1", -131000, 0},
		{"5", -324, 4.9406564584124654e-324},
		{"1", INT32_MAX, HUGE_VAL},
		{"1", INT32_MIN, 0},
	};
	static Bytes b;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int negative = 0; negative < 2; negative++)
		{
			WireValue v = decimal(cases[i].digits, cases[i].exponent, negative, DECIMAL_FINITE, &b);
			double number;

			assert_int_equal(v.kind, VALUE_DECIMAL);
			assert_true(wire_number(&v, &number));
			assert_true(number == (negative ? -cases[i].number : cases[i].number));
		}
}

/* Halfway between two doubles, and a hair above it far behind the digits that are kept. */
static void
long_decimals_round_by_their_last_digit(void **state)
{
	static Bytes b;
	static char digits[2000];
	double number;
	WireValue v;

	memset(digits, '0', sizeof(digits) - 1);
	memcpy(digits, "9007199254740993", 16);
	v = decimal(digits, -(int32_t) (sizeof(digits) - 1 - 16), false, DECIMAL_FINITE, &b);
	assert_true(wire_number(&v, &number) && number == 9007199254740992.0);
	digits[sizeof(digits) - 2] = '1';
	v = decimal(digits, -(int32_t) (sizeof(digits) - 1 - 16), false, DECIMAL_FINITE, &b);
	assert_true(wire_number(&v, &number) && number == 9007199254740994.0);
}

static void
decimals_that_are_no_numbers(void **state)
{
	static Bytes b;
	double number;
	WireValue v;

	assert_int_equal(decimal("", 0, false, DECIMAL_FINITE, &b).kind, VALUE_NONE);
	assert_int_equal(decimal("1x", 0, false, DECIMAL_FINITE, &b).kind, VALUE_NONE);
	assert_int_equal(decimal("-1", 0, false, DECIMAL_FINITE, &b).kind, VALUE_NONE);
	assert_int_equal(decimal("1", 0, false, 4, &b).kind, VALUE_NONE);
	v = decimal("", 0, false, DECIMAL_NAN, &b);
	assert_true(wire_number(&v, &number) && isnan(number));
	v = decimal("", 0, false, DECIMAL_NEGATIVE_INFINITY, &b);
	assert_true(wire_number(&v, &number) && number == -HUGE_VAL);
}

/* ---- truncates ------------------------------------------------------------------------------ */

static void
truncate_lists_whole_fingerprints(void **state)
{
	Bytes b = {.len = 0};
	uint8_t packed[16] = {1, 0, 0, 0, 0, 0, 0, 0x80, 2};
	WireTruncate truncate;

	put_bytes(&b, TRUNCATE_RELATIONS, packed, 16);
	put_number(&b, TRUNCATE_CASCADE, 1);
	assert_true(wire_truncate(slice(&b), &truncate));
	assert_int_equal(truncate.nrelations, 2);
	assert_true(wire_truncate_relation(&truncate, 0) == UINT64_C(0x8000000000000001));
	assert_true(wire_truncate_relation(&truncate, 1) == 2);
	assert_true(truncate.cascade);
	assert_false(truncate.restart_identity);
	b.len = 0;
	put_bytes(&b, TRUNCATE_RELATIONS, packed, 15);
	assert_false(wire_truncate(slice(&b), &truncate));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(varints_read_back_at_every_length),
		cmocka_unit_test(overlong_varints_are_refused),
		cmocka_unit_test(fields_stay_inside_their_bytes),
		cmocka_unit_test(frame_yields_head_entries_and_tail),
		cmocka_unit_test(frame_cut_anywhere_is_refused_or_has_no_tail),
		cmocka_unit_test(frame_needs_its_head_first_and_its_tail_last),
		cmocka_unit_test(head_with_a_field_missing_is_refused),
		cmocka_unit_test(relation_reads_back_with_its_columns),
		cmocka_unit_test(relation_with_any_bit_flipped_is_refused),
		cmocka_unit_test(change_reads_back_with_keys_and_attributes),
		cmocka_unit_test(change_without_an_operation_or_with_too_many_keys_is_refused),
		cmocka_unit_test(attribute_that_is_set_needs_a_value),
		cmocka_unit_test(values_of_every_kind_read_back),
		cmocka_unit_test(value_must_hold_exactly_one_known_kind),
		cmocka_unit_test(lists_hold_scalars_only),
		cmocka_unit_test(decimals_become_the_nearest_double),
		cmocka_unit_test(long_decimals_round_by_their_last_digit),
		cmocka_unit_test(decimals_that_are_no_numbers),
		cmocka_unit_test(truncate_lists_whole_fingerprints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
