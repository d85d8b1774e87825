/*
 * wire_put.h -- wire format written by hand, for tests.
 */
#ifndef WALRANK_WIRE_PUT_H
#define WALRANK_WIRE_PUT_H

#include "base/buffer.h"

static inline void
put_varint(Buffer *out, uint64_t v)
{
	out->len = (size_t) (wire_put_varint(buffer_reserve(out, 10), v) - out->data);
}

static inline void
put_number(Buffer *out, uint32_t field, uint64_t v)
{
	put_varint(out, WIRE_TAG(field, WIRE_VARINT));
	put_varint(out, v);
}

static inline void
put_bytes(Buffer *out, uint32_t field, Slice bytes)
{
	put_varint(out, WIRE_TAG(field, WIRE_BYTES));
	put_varint(out, bytes.len);
	buffer_append_slice(out, bytes);
}

static inline void
put_text(Buffer *out, uint32_t field, const char *text)
{
	put_bytes(out, field, slice_string(text));
}

/* A Value message of each kind, into a buffer that is emptied first. */
static inline Slice
value_number(Buffer *out, WireKind kind, uint64_t v)
{
	buffer_reset(out);
	put_number(out, kind, v);
	return buffer_slice(out);
}

static inline Slice
value_int(Buffer *out, int64_t v)
{
	return value_number(out, VALUE_INT, wire_zigzag(v));
}

static inline Slice
value_bytes(Buffer *out, WireKind kind, Slice bytes)
{
	buffer_reset(out);
	put_bytes(out, kind, bytes);
	return buffer_slice(out);
}

static inline Slice
value_text(Buffer *out, const char *text)
{
	return value_bytes(out, VALUE_TEXT, slice_string(text));
}

static inline Slice
value_double(Buffer *out, double v)
{
	buffer_reset(out);
	put_varint(out, WIRE_TAG(VALUE_DOUBLE, WIRE_FIXED64));
	buffer_append(out, &v, sizeof(v));
	return buffer_slice(out);
}

static inline Slice
value_decimal(Buffer *out, const char *digits, int32_t exponent, bool negative)
{
	Buffer body = {0};

	put_text(&body, DECIMAL_DIGITS, digits);
	put_number(&body, DECIMAL_EXPONENT, wire_zigzag(exponent));
	put_number(&body, DECIMAL_NEGATIVE, negative);
	value_bytes(out, VALUE_DECIMAL, buffer_slice(&body));
	buffer_free(&body);
	return buffer_slice(out);
}

/* Adds one element to a list's payload. */
static inline void
list_add(Buffer *list, Slice value)
{
	put_bytes(list, LIST_VALUES, value);
}

#endif /* WALRANK_WIRE_PUT_H */
