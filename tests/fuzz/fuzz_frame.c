/*
 * fuzz_frame.c -- whatever bytes arrive as a frame, the reader stays inside them and ends.
 *
 * The corpus is the golden frames of tests/data.  Every reader is run on what the one above it yields, as the
 * receiver and the scorer do, and on the raw input as well.
 */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "wire.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Slice input;

/* Borrowed bytes must lie in the input; reading each of them lets ASan judge. */
static void
check_slice(Slice s)
{
	volatile uint8_t sum = 0;

	if (s.len == 0)
		return;
	assert(s.data >= input.data && s.data + s.len <= input.data + input.len);
	for (size_t i = 0; i < s.len; i++)
		sum = (uint8_t) (sum + s.data[i]);
}

static void
walk_value(Slice body, int depth)
{
	WireValue value;
	double number;

	check_slice(body);
	if (!wire_value(body, &value))
		return;
	if (wire_number(&value, &number) && value.kind == VALUE_INT)
		assert(isfinite(number));
	if (value.kind == VALUE_DECIMAL)
		check_slice(value.decimal.digits);
	if (value.kind == VALUE_TEXT || value.kind == VALUE_BYTES || value.kind == VALUE_JSON)
		check_slice(value.bytes);
	if (value.kind == VALUE_LIST)
	{
		WireCursor cursor = wire_cursor(value.bytes);
		Slice one;

		assert(depth == 0);
		while (wire_value_next(&cursor, &one))
			walk_value(one, depth + 1);
		assert(wire_done(&cursor)); /* wire_value has checked the list */
	}
}

static void
walk_values(Slice values, uint32_t count)
{
	WireCursor cursor = wire_cursor(values);
	Slice one;
	uint32_t n = 0;

	while (wire_value_next(&cursor, &one))
	{
		walk_value(one, 0);
		n++;
	}
	assert(n == count);
}

static void
walk_change(Slice body)
{
	WireChange change;
	WireAttribute attribute;
	WireCursor cursor;

	if (!wire_change(body, &change))
		return;
	assert(change.nkey <= WIRE_KEY_COLUMNS_MAX && change.nold_key <= WIRE_KEY_COLUMNS_MAX);
	walk_values(change.key, change.nkey);
	walk_values(change.old_key, change.nold_key);
	cursor = wire_cursor(change.attributes);
	while (wire_attribute_next(&cursor, &attribute))
	{
		assert(attribute.column < WIRE_COLUMNS_MAX);
		if (attribute.has_key)
			check_slice(attribute.key);
		if (attribute.has_value)
			walk_value(attribute.value, 0);
		if (attribute.has_old_value)
			walk_value(attribute.old_value, 0);
	}
}

static void
walk_columns(WireCursor columns, uint32_t count)
{
	WireColumn column;
	uint32_t n = 0;

	while (wire_column_next(&columns, &column))
	{
		check_slice(column.name);
		check_slice(column.type_name);
		n++;
	}
	assert(count == UINT32_MAX || n == count);
}

static void
walk_relation(Slice body)
{
	WireRelation relation;

	if (!wire_relation(body, &relation))
	{
		/* no fuzzer guesses a fingerprint: walk the columns all the same */
		walk_columns(wire_cursor(body), UINT32_MAX);
		return;
	}
	check_slice(relation.schema);
	check_slice(relation.table);
	walk_columns(relation.columns, relation.ncolumns);
}

static void
walk_truncate(Slice body)
{
	WireTruncate truncate;
	volatile uint64_t sum = 0;

	if (!wire_truncate(body, &truncate))
		return;
	for (uint32_t i = 0; i < truncate.nrelations; i++)
		sum += wire_truncate_relation(&truncate, i);
	(void) sum;
}

static void
walk_entry(const WireEntry *entry)
{
	check_slice(entry->body);
	if (entry->kind == ENTRY_RELATION)
		walk_relation(entry->body);
	else if (entry->kind == ENTRY_CHANGE)
		walk_change(entry->body);
	else if (entry->kind == ENTRY_TRUNCATE)
		walk_truncate(entry->body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WireFrame frame;
	WireEntry entry;

	input = slice_make(data, size);
	if (wire_frame_begin(&frame, input))
	{
		while (wire_frame_next(&frame, &entry))
			walk_entry(&entry);
		assert(frame.error || frame.tail_offset <= size);
	}
	if (wire_entry(input, &entry))
		walk_entry(&entry);
	walk_change(input);
	walk_relation(input);
	walk_truncate(input);
	walk_value(input, 0);
	return 0;
}
