/*
 * wire.c -- see wire.h.
 */
#include "wire.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool
wire_varint_slow(WireCursor *cursor, uint64_t *value)
{
	uint64_t v = 0;
	const uint8_t *at = cursor->at;

	for (unsigned shift = 0; shift < 70; shift += 7)
	{
		uint8_t byte;

		if (at >= cursor->end)
			return false;
		byte = *at++;
		if (shift == 63 && byte > 1)
			return false;
		v |= (uint64_t) (byte & 0x7f) << shift;
		if (byte < 0x80)
		{
			cursor->at = at;
			*value = v;
			return true;
		}
	}
	return false;
}

static inline uint64_t
read_le(const uint8_t *at, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t) at[i] << (8 * i);
	return v;
}

static inline bool
read_fixed(WireCursor *cursor, unsigned bytes, uint64_t *value)
{
	if ((size_t) (cursor->end - cursor->at) < bytes)
		return false;
	*value = read_le(cursor->at, bytes);
	cursor->at += bytes;
	return true;
}

/*
 * The next field.  Inlined into every reader: on the daemon's hot path nothing runs more often.
 * Tags below 128 and lengths below 128 are nearly all there are.
 */
static inline __attribute__((always_inline)) bool
field_next(WireCursor *cursor, WireField *field)
{
	uint64_t tag;
	uint64_t len;

	*field = (WireField){0}; /* what the type does not bring is zero, not what stood there before */
	if (!wire_varint(cursor, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
		return false;
	field->number = (uint32_t) (tag >> 3);
	field->type = tag & 7;
	switch (field->type)
	{
		case WIRE_BYTES:
			if (!wire_varint(cursor, &len) || len > (uint64_t) (cursor->end - cursor->at))
				return false;
			field->bytes = slice_make(cursor->at, len);
			cursor->at += len;
			return true;
		case WIRE_VARINT:
			return wire_varint(cursor, &field->varint);
		case WIRE_FIXED64:
			return read_fixed(cursor, 8, &field->varint);
		case WIRE_FIXED32:
			return read_fixed(cursor, 4, &field->varint);
		default:
			return false;
	}
}

bool
wire_field(WireCursor *cursor, WireField *field)
{
	return field_next(cursor, field);
}

static bool
read_head(Slice body, WireHead *head)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;
	unsigned seen = 0;

	memset(head, 0, sizeof(*head));
	while (!wire_done(&cursor))
	{
		if (!field_next(&cursor, &f))
			return false;
		if (f.number <= HEAD_PART && f.type != (f.number == HEAD_PART ? WIRE_FIXED32 : WIRE_FIXED64))
			return false;
		switch (f.number)
		{
			case HEAD_COMMIT_LSN:
				head->commit_lsn = f.varint;
				break;
			case HEAD_END_LSN:
				head->end_lsn = f.varint;
				break;
			case HEAD_COMMIT_TIME:
				head->commit_time_us = (int64_t) f.varint;
				break;
			case HEAD_XID:
				head->xid = f.varint;
				break;
			case HEAD_PART:
				head->part = (uint32_t) f.varint;
				break;
			default:
				continue;
		}
		seen |= 1u << f.number;
	}
	return seen == 0x3e;
}

static bool
read_tail(Slice body, WireTail *tail)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;
	unsigned seen = 0;

	memset(tail, 0, sizeof(*tail));
	while (!wire_done(&cursor))
	{
		if (!field_next(&cursor, &f))
			return false;
		if (f.number > TAIL_CRC32C)
			continue;
		if (f.type != WIRE_FIXED32)
			return false;
		if (f.number == TAIL_FRAMES)
			tail->frames = (uint32_t) f.varint;
		else if (f.number == TAIL_CHANGES)
			tail->changes = (uint32_t) f.varint;
		else
			tail->crc32c = (uint32_t) f.varint;
		seen |= 1u << f.number;
	}
	return seen == 0x0e;
}

bool
wire_frame_begin(WireFrame *frame, Slice bytes)
{
	WireField f;

	memset(frame, 0, sizeof(*frame));
	frame->cursor = wire_cursor(bytes);
	frame->start = bytes.data;
	frame->tail_offset = bytes.len;
	return !wire_done(&frame->cursor) && field_next(&frame->cursor, &f) && f.number == FRAME_HEAD &&
		   f.type == WIRE_BYTES && read_head(f.bytes, &frame->head);
}

bool
wire_frame_next(WireFrame *frame, WireEntry *entry)
{
	WireField f;

	while (!frame->error && !wire_done(&frame->cursor))
	{
		const uint8_t *tag = frame->cursor.at;

		if (frame->has_tail || !field_next(&frame->cursor, &f) || f.type != WIRE_BYTES)
			frame->error = true;
		else if (f.number == FRAME_ENTRIES)
		{
			if (wire_entry(f.bytes, entry))
				return true;
			frame->error = true;
		}
		else if (f.number == FRAME_TAIL && read_tail(f.bytes, &frame->tail))
		{
			frame->has_tail = true;
			frame->tail_offset = (size_t) (tag - frame->start);
		}
		else if (f.number <= FRAME_TAIL)
			frame->error = true;
	}
	return false;
}

bool
wire_entry(Slice bytes, WireEntry *entry)
{
	WireCursor cursor = wire_cursor(bytes);
	WireField f;

	if (wire_done(&cursor) || !field_next(&cursor, &f) || f.type != WIRE_BYTES || !wire_done(&cursor))
		return false;
	entry->kind = f.number <= ENTRY_PUBLICATION_LOST ? f.number : 0;
	entry->body = f.bytes;
	return true;
}

uint64_t
wire_fingerprint(Slice bytes)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
	return hash;
}

bool
wire_relation(Slice body, WireRelation *relation)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;

	memset(relation, 0, sizeof(*relation));
	if (wire_done(&cursor) || !field_next(&cursor, &f) || f.number != RELATION_FINGERPRINT ||
		f.type != WIRE_FIXED64)
		return false;
	relation->fingerprint = f.varint;
	if (wire_fingerprint(slice_make(cursor.at, (size_t) (cursor.end - cursor.at))) != f.varint)
		return false;
	relation->columns = cursor;
	while (!wire_done(&cursor))
	{
		WireColumn column;
		const uint8_t *at = cursor.at;

		if (!field_next(&cursor, &f))
			return false;
		if (f.number == RELATION_OID && f.type == WIRE_VARINT)
			relation->oid = (uint32_t) f.varint;
		if (f.number == RELATION_SELECTION && f.type == WIRE_FIXED64)
			relation->selection = f.varint;
		if (f.type != WIRE_BYTES)
			continue;
		if (f.number == RELATION_SCHEMA)
			relation->schema = f.bytes;
		else if (f.number == RELATION_TABLE)
			relation->table = f.bytes;
		else if (f.number == RELATION_COLUMNS)
		{
			WireCursor one = {at, cursor.at};

			if (!wire_column_next(&one, &column) || ++relation->ncolumns > WIRE_COLUMNS_MAX)
				return false;
			if (column.key && ++relation->nkeys > WIRE_KEY_COLUMNS_MAX)
				return false;
		}
	}
	return true;
}

static bool
read_column(Slice body, WireColumn *column)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;

	memset(column, 0, sizeof(*column));
	while (!wire_done(&cursor))
	{
		if (!field_next(&cursor, &f))
			return false;
		if (f.number > COLUMN_GENERATED)
			continue;
		if ((f.type == WIRE_BYTES) != (f.number == COLUMN_NAME || f.number == COLUMN_TYPE_NAME))
			return false;
		switch (f.number)
		{
			case COLUMN_NAME:
				column->name = f.bytes;
				break;
			case COLUMN_TYPE_OID:
				column->type_oid = (uint32_t) f.varint;
				break;
			case COLUMN_TYPE_NAME:
				column->type_name = f.bytes;
				break;
			case COLUMN_TYPMOD:
				column->typmod = (int32_t) wire_unzigzag(f.varint);
				break;
			case COLUMN_KEY:
				column->key = f.varint != 0;
				break;
			case COLUMN_GENERATED:
				column->generated = f.varint != 0;
				break;
		}
	}
	return true;
}

bool
wire_column_next(WireCursor *columns, WireColumn *column)
{
	WireField f;

	while (!wire_done(columns))
	{
		if (!field_next(columns, &f))
			return false;
		if (f.number == RELATION_COLUMNS && f.type == WIRE_BYTES)
			return read_column(f.bytes, column);
	}
	return false;
}

/* Grow a run of equal fields; false when it is interrupted and taken up again. */
static bool
extend_run(Slice *run, uint32_t *count, const uint8_t *from, const uint8_t *to)
{
	if (*count == 0)
		run->data = from;
	else if (run->data + run->len != from)
		return false;
	run->len = (size_t) (to - run->data);
	(*count)++;
	return true;
}

bool
wire_change(Slice body, WireChange *change)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;
	uint32_t nattributes = 0;

	memset(change, 0, sizeof(*change));
	while (!wire_done(&cursor))
	{
		const uint8_t *at = cursor.at;
		bool ok = true;

		if (!field_next(&cursor, &f))
			return false;
		if (f.number == CHANGE_RELATION && f.type == WIRE_FIXED64)
			change->relation = f.varint;
		else if (f.number == CHANGE_OP && f.type == WIRE_VARINT)
		{
			ok = f.varint >= OP_INSERT && f.varint <= OP_DELETE;
			change->op = (WireOp) f.varint;
		}
		else if (f.number == CHANGE_FLAGS && f.type == WIRE_VARINT)
			change->flags = (uint32_t) f.varint;
		else if (f.number == CHANGE_KEY && f.type == WIRE_BYTES)
			ok = extend_run(&change->key, &change->nkey, at, cursor.at);
		else if (f.number == CHANGE_OLD_KEY && f.type == WIRE_BYTES)
			ok = extend_run(&change->old_key, &change->nold_key, at, cursor.at);
		else if (f.number == CHANGE_ATTRIBUTES && f.type == WIRE_BYTES)
			ok = extend_run(&change->attributes, &nattributes, at, cursor.at);
		else
			ok = f.number > CHANGE_FLAGS;
		if (!ok)
			return false;
	}
	return change->op != OP_NONE && change->nkey <= WIRE_KEY_COLUMNS_MAX &&
		   change->nold_key <= WIRE_KEY_COLUMNS_MAX;
}

static bool
attribute_field(WireAttribute *attribute, const WireField *f)
{
	switch (WIRE_TAG(f->number, f->type))
	{
		case WIRE_TAG(ATTRIBUTE_COLUMN, WIRE_VARINT):
			attribute->column = (uint32_t) f->varint;
			return f->varint < WIRE_COLUMNS_MAX;
		case WIRE_TAG(ATTRIBUTE_KEY, WIRE_BYTES):
			attribute->has_key = true;
			attribute->key = f->bytes;
			return true;
		case WIRE_TAG(ATTRIBUTE_STATE, WIRE_VARINT):
			attribute->state = (WireState) f->varint;
			return f->varint <= STATE_OVERSIZED;
		case WIRE_TAG(ATTRIBUTE_CHANGED, WIRE_VARINT):
			attribute->changed = (WireChanged) f->varint;
			return f->varint <= CHANGED_NO;
		case WIRE_TAG(ATTRIBUTE_VALUE, WIRE_BYTES):
			attribute->has_value = true;
			attribute->value = f->bytes;
			return true;
		case WIRE_TAG(ATTRIBUTE_OLD_VALUE, WIRE_BYTES):
			attribute->has_old_value = true;
			attribute->old_value = f->bytes;
			return true;
		case WIRE_TAG(ATTRIBUTE_SIZE, WIRE_VARINT):
			attribute->size = f->varint;
			return true;
		default:
			return f->number > ATTRIBUTE_SIZE;
	}
}

bool
wire_attribute_next(WireCursor *attributes, WireAttribute *attribute)
{
	WireField f;
	WireCursor cursor;

	if (wire_done(attributes) || !field_next(attributes, &f) || f.number != CHANGE_ATTRIBUTES ||
		f.type != WIRE_BYTES)
		return false;
	memset(attribute, 0, sizeof(*attribute));
	cursor = wire_cursor(f.bytes);
	while (!wire_done(&cursor))
	{
		if (!field_next(&cursor, &f) || !attribute_field(attribute, &f))
			return false;
	}
	return attribute->state != STATE_SET || attribute->has_value;
}

bool
wire_value_next(WireCursor *values, Slice *value)
{
	WireField f;

	if (wire_done(values) || !field_next(values, &f) || f.type != WIRE_BYTES)
		return false;
	*value = f.bytes;
	return true;
}

static bool
all_digits(Slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
	return s.len > 0;
}

static bool
read_decimal(Slice body, WireDecimal *decimal)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;
	WireDecimal read = {.special = DECIMAL_FINITE};

	while (!wire_done(&cursor))
	{
		if (!field_next(&cursor, &f))
			return false;
		switch (WIRE_TAG(f.number, f.type))
		{
			case WIRE_TAG(DECIMAL_DIGITS, WIRE_BYTES):
				read.digits = f.bytes;
				break;
			case WIRE_TAG(DECIMAL_EXPONENT, WIRE_VARINT):
				read.exponent = (int32_t) wire_unzigzag(f.varint);
				break;
			case WIRE_TAG(DECIMAL_NEGATIVE, WIRE_VARINT):
				read.negative = f.varint != 0;
				break;
			case WIRE_TAG(DECIMAL_SPECIAL, WIRE_VARINT):
				if (f.varint > DECIMAL_NEGATIVE_INFINITY)
					return false;
				read.special = (uint32_t) f.varint;
				break;
			default:
				if (f.number <= DECIMAL_SPECIAL)
					return false;
		}
	}
	*decimal = read;
	return read.special != DECIMAL_FINITE || all_digits(read.digits);
}

/* Anything but a list. */
static inline __attribute__((always_inline)) bool
read_scalar(const WireField *f, WireValue *value)
{
	value->kind = (WireKind) f->number;
	switch (WIRE_TAG(f->number, f->type))
	{
		case WIRE_TAG(VALUE_NULL, WIRE_VARINT):
			return true;
		case WIRE_TAG(VALUE_BOOL, WIRE_VARINT):
			value->boolean = f->varint != 0;
			return true;
		case WIRE_TAG(VALUE_INT, WIRE_VARINT):
		case WIRE_TAG(VALUE_TIMESTAMP, WIRE_VARINT):
		case WIRE_TAG(VALUE_TIMESTAMPTZ, WIRE_VARINT):
			value->integer = wire_unzigzag(f->varint);
			return true;
		case WIRE_TAG(VALUE_DATE, WIRE_VARINT):
			value->integer = (int32_t) wire_unzigzag(f->varint);
			return true;
		case WIRE_TAG(VALUE_DOUBLE, WIRE_FIXED64):
			memcpy(&value->number, &f->varint, sizeof(double));
			return true;
		case WIRE_TAG(VALUE_FLOAT, WIRE_FIXED32):
		{
			uint32_t bits = (uint32_t) f->varint;
			float single;

			memcpy(&single, &bits, sizeof(single));
			value->number = single;
			return true;
		}
		case WIRE_TAG(VALUE_TEXT, WIRE_BYTES):
		case WIRE_TAG(VALUE_BYTES, WIRE_BYTES):
		case WIRE_TAG(VALUE_JSON, WIRE_BYTES):
			value->bytes = f->bytes;
			return true;
		case WIRE_TAG(VALUE_DECIMAL, WIRE_BYTES):
			return read_decimal(f->bytes, &value->decimal);
		default:
			value->kind = VALUE_NONE;
			return false;
	}
}

/* Every element a scalar Value: lists are one level deep by definition. */
static bool
check_list(Slice body)
{
	WireCursor cursor = wire_cursor(body);

	while (!wire_done(&cursor))
	{
		WireField f;
		WireField scalar;
		WireCursor element;
		WireValue value;

		if (!field_next(&cursor, &f) || f.number != LIST_VALUES || f.type != WIRE_BYTES)
			return false;
		element = wire_cursor(f.bytes);
		if (wire_done(&element) || !field_next(&element, &scalar) || !wire_done(&element) ||
			!read_scalar(&scalar, &value))
			return false;
	}
	return true;
}

bool
wire_value(Slice body, WireValue *value)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;

	value->kind = VALUE_NONE;
	if (wire_done(&cursor) || !field_next(&cursor, &f) || !wire_done(&cursor))
		return false;
	if (f.number != VALUE_LIST || f.type != WIRE_BYTES)
		return read_scalar(&f, value);
	value->kind = VALUE_LIST;
	value->bytes = f.bytes;
	return check_list(f.bytes);
}

bool
wire_timed(Slice body, Slice *value, Slice *time)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;

	/* most values of a map are one: no call for each of the five fields */
	if (wire_done(&cursor) || *cursor.at != WIRE_TAG(VALUE_LIST, WIRE_BYTES) || !field_next(&cursor, &f) ||
		!wire_done(&cursor))
		return false;
	cursor = wire_cursor(f.bytes);
	if (wire_done(&cursor) || !field_next(&cursor, &f) || f.type != WIRE_BYTES || f.number != LIST_VALUES)
		return false;
	*value = f.bytes;
	if (wire_done(&cursor) || !field_next(&cursor, &f) || f.type != WIRE_BYTES || f.number != LIST_VALUES ||
		!wire_done(&cursor))
		return false;
	cursor = wire_cursor(f.bytes);
	if (wire_done(&cursor) || !field_next(&cursor, &f) || f.number != VALUE_TEXT || f.type != WIRE_BYTES ||
		!wire_done(&cursor))
		return false;
	*time = f.bytes;
	return true;
}

/*
 * 768 significant digits decide the rounding of any double; a nonzero digit after the ones kept is
 * remembered as one sticky digit.
 */
#define DECIMAL_DIGITS_KEPT 800

static double
decimal_number(const WireDecimal *decimal)
{
	char text[DECIMAL_DIGITS_KEPT + 32];
	size_t kept = decimal->digits.len < DECIMAL_DIGITS_KEPT ? decimal->digits.len : DECIMAL_DIGITS_KEPT;
	int64_t exponent = (int64_t) decimal->exponent + (int64_t) (decimal->digits.len - kept);
	double number;

	memcpy(text, decimal->digits.data, kept);
	for (size_t i = kept; i < decimal->digits.len; i++)
		if (decimal->digits.data[i] != '0')
		{
			text[kept - 1] = text[kept - 1] == '0' ? '1' : text[kept - 1];
			break;
		}
	snprintf(text + kept, sizeof(text) - kept, "e%lld", (long long) exponent);
	number = strtod(text, NULL);
	return decimal->negative ? -number : number;
}

bool
wire_number(const WireValue *value, double *number)
{
	switch (value->kind)
	{
		case VALUE_INT:
			*number = (double) value->integer;
			return true;
		case VALUE_DOUBLE:
		case VALUE_FLOAT:
			*number = value->number;
			return true;
		case VALUE_DECIMAL:
			if (value->decimal.special == DECIMAL_FINITE)
				*number = decimal_number(&value->decimal);
			else if (value->decimal.special == DECIMAL_NAN)
				*number = (double) NAN;
			else
				*number = value->decimal.special == DECIMAL_INFINITY ? (double) INFINITY : -(double) INFINITY;
			return true;
		default:
			return false;
	}
}

bool
wire_truncate(Slice body, WireTruncate *truncate)
{
	WireCursor cursor = wire_cursor(body);
	WireField f;

	memset(truncate, 0, sizeof(*truncate));
	while (!wire_done(&cursor))
	{
		if (!field_next(&cursor, &f))
			return false;
		switch (WIRE_TAG(f.number, f.type))
		{
			case WIRE_TAG(TRUNCATE_RELATIONS, WIRE_BYTES):
				if (truncate->relations.data != NULL || f.bytes.len % 8 != 0)
					return false;
				truncate->relations = f.bytes;
				truncate->nrelations = (uint32_t) (f.bytes.len / 8);
				break;
			case WIRE_TAG(TRUNCATE_CASCADE, WIRE_VARINT):
				truncate->cascade = f.varint != 0;
				break;
			case WIRE_TAG(TRUNCATE_RESTART_IDENTITY, WIRE_VARINT):
				truncate->restart_identity = f.varint != 0;
				break;
			default:
				if (f.number <= TRUNCATE_RESTART_IDENTITY)
					return false;
		}
	}
	return true;
}

uint64_t
wire_truncate_relation(const WireTruncate *truncate, uint32_t i)
{
	return read_le(truncate->relations.data + 8 * (size_t) i, 8);
}
