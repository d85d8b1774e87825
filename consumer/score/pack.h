/*
 * pack.h -- numbers as varints and byte strings with their length, as record and store rows hold them.
 */
#ifndef WALRANK_PACK_H
#define WALRANK_PACK_H

#include "base/buffer.h"

static inline void
pack_number(Buffer *out, uint64_t number)
{
	uint8_t *at = buffer_reserve(out, 10);

	out->len += (size_t) (wire_put_varint(at, number) - at);
}

static inline void
pack_bytes(Buffer *out, Slice bytes)
{
	pack_number(out, bytes.len);
	buffer_append_slice(out, bytes);
}

static inline bool
unpack_number(WireCursor *cursor, uint64_t *number)
{
	return wire_varint(cursor, number);
}

/* A number that must not pass max. */
static inline bool
unpack_small(WireCursor *cursor, uint64_t max, uint32_t *number)
{
	uint64_t wide;

	if (!wire_varint(cursor, &wide) || wide > max)
		return false;
	*number = (uint32_t) wide;
	return true;
}

static inline bool
unpack_bytes(WireCursor *cursor, Slice *bytes)
{
	uint64_t len;

	if (!wire_varint(cursor, &len) || len > (uint64_t) (cursor->end - cursor->at))
		return false;
	*bytes = slice_make(cursor->at, len);
	cursor->at += len;
	return true;
}

static inline bool
unpack_u64(WireCursor *cursor, uint64_t *number)
{
	if (cursor->end - cursor->at < 8)
		return false;
	memcpy(number, cursor->at, 8);
	cursor->at += 8;
	return true;
}

#endif /* WALRANK_PACK_H */
