/*
 * store_head.c -- header and position as they stand in the table "head".
 *
 * header:    0  u32  format (stays first in every format)     position:  0  u64  seq
 *            4  16   stream_id                                           8  u64  total
 *           20  u32  engine                                             16  u32  part
 *           24  u64  libm
 */
#include "score/store_internal.h"

Slice
store_header_encode(const StoreHeader *header, uint8_t bytes[64])
{
	memcpy(bytes, &header->format, 4);
	memcpy(bytes + 4, header->stream_id.bytes, 16);
	memcpy(bytes + 20, &header->engine, 4);
	memcpy(bytes + 24, &header->libm, 8);
	return slice_make(bytes, 32);
}

bool
store_header_decode(Slice bytes, StoreHeader *header)
{
	memset(header, 0, sizeof(*header));
	if (bytes.len < 4)
		return false;
	memcpy(&header->format, bytes.data, 4);
	if (bytes.len < 32)
		return header->format != STORE_FORMAT;
	memcpy(header->stream_id.bytes, bytes.data + 4, 16);
	memcpy(&header->engine, bytes.data + 20, 4);
	memcpy(&header->libm, bytes.data + 24, 8);
	return true;
}

Slice
store_position_encode(StorePosition position, uint8_t bytes[64])
{
	memcpy(bytes, &position.seq, 8);
	memcpy(bytes + 8, &position.total, 8);
	memcpy(bytes + 16, &position.part, 4);
	return slice_make(bytes, 20);
}

bool
store_position_decode(Slice bytes, StorePosition *position)
{
	memset(position, 0, sizeof(*position));
	if (bytes.len != 20)
		return false;
	memcpy(&position->seq, bytes.data, 8);
	memcpy(&position->total, bytes.data + 8, 8);
	memcpy(&position->part, bytes.data + 16, 4);
	return true;
}
