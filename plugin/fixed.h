/*
 * fixed.h -- values of a fixed size, written where there is room for certain.
 *
 * Most columns of most tables are numbers and times.  Their Value is a few bytes whose length needs
 * one byte, so nothing has to be guessed, reserved or moved.
 */
#ifndef WALRANK_FIXED_H
#define WALRANK_FIXED_H

#include "postgres.h"

#include <endian.h>

#include "utils/date.h"
#include "utils/timestamp.h"

#include "value.h"

/* The most that the body of such a Value takes. */
#define FIXED_BYTES_MAX (1 + ENCODE_VARINT_BYTES_MAX)

static inline bool
fixed_form(ValueForm form)
{
	const uint32 forms = 1u << FORM_BOOL | 1u << FORM_INT2 | 1u << FORM_INT4 | 1u << FORM_INT8 |
						 1u << FORM_FLOAT8 | 1u << FORM_DATE | 1u << FORM_TIMESTAMP | 1u << FORM_TIMESTAMPTZ;

	return form < 32 && (forms >> form & 1) != 0;
}

static inline uint8 *
fixed_number(uint8 *at, uint32 field, int64 number)
{
	*at++ = WIRE_TAG(field, WIRE_VARINT);
	return wire_put_varint(at, wire_zigzag(number));
}

/* Write the body of the Value of a datum whose form is fixed; where it ends. */
static inline uint8 *
fixed_put(uint8 *at, ValueForm form, Datum datum)
{
	float8 number;
	uint64 bits;

	switch (form)
	{
		case FORM_BOOL:
			*at++ = WIRE_TAG(VALUE_BOOL, WIRE_VARINT);
			*at++ = DatumGetBool(datum);
			return at;
		case FORM_INT2:
			return fixed_number(at, VALUE_INT, DatumGetInt16(datum));
		case FORM_INT4:
			return fixed_number(at, VALUE_INT, DatumGetInt32(datum));
		case FORM_INT8:
			return fixed_number(at, VALUE_INT, DatumGetInt64(datum));
		case FORM_DATE:
			return fixed_number(at, VALUE_DATE, DatumGetDateADT(datum));
		case FORM_TIMESTAMP:
			return fixed_number(at, VALUE_TIMESTAMP, DatumGetTimestamp(datum));
		case FORM_TIMESTAMPTZ:
			return fixed_number(at, VALUE_TIMESTAMPTZ, DatumGetTimestampTz(datum));
		default:
			number = DatumGetFloat8(datum);
			memcpy(&bits, &number, sizeof(bits));
			bits = htole64(bits);
			*at++ = WIRE_TAG(VALUE_DOUBLE, WIRE_FIXED64);
			memcpy(at, &bits, sizeof(bits));
			return at + sizeof(bits);
	}
}

/* A Value field. */
static inline void
fixed_put_field(StringInfo out, uint32 field, ValueForm form, Datum datum)
{
	uint8 *start;
	uint8 *end;

	encode_reserve(out, 2 + FIXED_BYTES_MAX);
	start = (uint8 *) out->data + out->len;
	end = fixed_put(start + 2, form, datum);
	start[0] = WIRE_TAG(field, WIRE_BYTES);
	start[1] = (uint8) (end - start - 2);
	out->len += (int) (end - start);
}

#endif /* WALRANK_FIXED_H */
