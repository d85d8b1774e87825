/*
 * encode.h -- protobuf wire format, written once and in place.
 *
 * Everything is appended to a StringInfo.  A nested message is opened with a guess of its size and
 * closed when its size is known: the bytes move only when the guess was wrong about how long the
 * length itself is, so a value is copied once from the tuple into the frame.
 */
#ifndef WALRANK_ENCODE_H
#define WALRANK_ENCODE_H

#include "postgres.h"

#include <endian.h>

#include "access/htup.h"
#include "lib/stringinfo.h"
#include "port/pg_crc32c.h"
#include "utils/array.h"

#include "wire.h"

#define ENCODE_VARINT_BYTES_MAX 10

static inline void
encode_reserve(StringInfo out, int bytes)
{
	if (unlikely(out->maxlen - out->len <= bytes))
		enlargeStringInfo(out, bytes);
}

static inline void
encode_varint(StringInfo out, uint64 v)
{
	uint8_t *at;

	encode_reserve(out, ENCODE_VARINT_BYTES_MAX);
	at = (uint8_t *) out->data + out->len;
	if (likely(v < 0x80))
	{
		*at = (uint8_t) v;
		out->len++;
		return;
	}
	at = wire_put_varint(at, v);
	out->len = (int) ((char *) at - out->data);
}

/* A field of type varint; fields numbered below 16 have tags of one byte. */
static inline void
encode_varint_field(StringInfo out, uint32 number, uint64 v)
{
	encode_reserve(out, ENCODE_VARINT_BYTES_MAX + 1);
	out->data[out->len++] = (char) WIRE_TAG(number, WIRE_VARINT);
	encode_varint(out, v);
}

/* The same for values below 128: enums, flags, small indexes. */
static inline void
encode_small_field(StringInfo out, uint32 number, uint32 v)
{
	Assert(v < 0x80);
	encode_reserve(out, 2);
	out->data[out->len] = (char) WIRE_TAG(number, WIRE_VARINT);
	out->data[out->len + 1] = (char) v;
	out->len += 2;
}

/* Fields of 9 and of 5 bytes, where there is room; the end. */
static inline uint8_t *
encode_put_fixed64(uint8_t *at, uint32 number, uint64 v)
{
	uint64 little = htole64(v);

	*at++ = WIRE_TAG(number, WIRE_FIXED64);
	memcpy(at, &little, sizeof(little));
	return at + sizeof(little);
}

static inline uint8_t *
encode_put_fixed32(uint8_t *at, uint32 number, uint32 v)
{
	uint32 little = htole32(v);

	*at++ = WIRE_TAG(number, WIRE_FIXED32);
	memcpy(at, &little, sizeof(little));
	return at + sizeof(little);
}

static inline void
encode_fixed64_field(StringInfo out, uint32 number, uint64 v)
{
	encode_reserve(out, 9);
	encode_put_fixed64((uint8_t *) out->data + out->len, number, v);
	out->len += 9;
}

static inline void
encode_fixed32_field(StringInfo out, uint32 number, uint32 v)
{
	encode_reserve(out, 5);
	encode_put_fixed32((uint8_t *) out->data + out->len, number, v);
	out->len += 5;
}

static inline void
encode_bytes_field(StringInfo out, uint32 number, const void *data, size_t len)
{
	uint8_t *at;

	encode_reserve(out, (int) len + 1 + ENCODE_VARINT_BYTES_MAX);
	at = (uint8_t *) out->data + out->len;
	*at++ = WIRE_TAG(number, WIRE_BYTES);
	at = wire_put_varint(at, len);
	memcpy(at, data, len);
	out->len = (int) ((char *) at - out->data) + (int) len;
}

/* A nested message that is being written: where its body begins, and the room left for its length. */
typedef struct EncodeMark
{
	int body;
	int width;
} EncodeMark;

static inline EncodeMark
encode_open(StringInfo out, uint32 number, size_t guess)
{
	int width = guess < 0x80 ? 1 : (int) wire_varint_size(guess);

	encode_reserve(out, 1 + width);
	out->data[out->len] = (char) WIRE_TAG(number, WIRE_BYTES);
	out->len += 1 + width;
	return (EncodeMark){out->len, width};
}

/* Make room for a length of another width than guessed. */
extern void encode_shift(StringInfo out, EncodeMark *mark, int width);

static inline void
encode_close(StringInfo out, EncodeMark mark)
{
	int len = out->len - mark.body;
	int width;

	if (likely(mark.width == 1 && len < 0x80))
	{
		out->data[mark.body - 1] = (char) len;
		return;
	}
	width = (int) wire_varint_size((uint64_t) len);
	if (unlikely(width != mark.width))
		encode_shift(out, &mark, width);
	wire_put_varint((uint8_t *) out->data + mark.body - width, (uint64_t) len);
}

/* Forget what was written since open, its tag included. */
static inline void
encode_cancel(StringInfo out, EncodeMark mark)
{
	out->len = mark.body - mark.width - 1;
}

/* ---- frames ------------------------------------------------------------------------------- */

/* Tag, length and body. */
#define ENCODE_HEAD_BYTES (2 + 4 * 9 + 5)
#define ENCODE_TAIL_BYTES (2 + 3 * 5)

/*
 * The frames of one transaction.  bytes holds the frame being written; head.part is its number and
 * crc covers the frames before it.
 */
typedef struct Frames
{
	StringInfo bytes;
	WireHead head;
	bool open; /* a Head has been written: the transaction is not empty */
	pg_crc32c crc;
	uint32 changes;
	int last_entry; /* offset of the entry written last */
} Frames;

extern void frames_begin(Frames *frames, StringInfo bytes, const WireHead *head);

/* An Entry holding a message of the given kind; close with frames_entry_end. */
typedef struct EntryMark
{
	EncodeMark entry;
	EncodeMark message;
} EntryMark;

extern EntryMark frames_entry(Frames *frames, uint32 kind, size_t guess);
extern void frames_entry_end(Frames *frames, EntryMark mark);
extern void frames_entry_cancel(Frames *frames, EntryMark mark);

/*
 * What to send now so that the frame stays near frame_bytes: the length of the prefix that is a
 * complete frame, 0 if none is due.  After sending that prefix call frames_cut.
 */
extern int frames_due(const Frames *frames, int frame_bytes);
extern void frames_cut(Frames *frames, int sent);

/* Close the transaction's last frame with its Tail. */
extern void frames_tail(Frames *frames);

/* ---- rows outside the stream ------------------------------------------------------------- */

/*
 * Append the body of a Change (op insert, every attribute changed) for a record of a table's row
 * type and, unless relation_out is NULL, the body of the table's Relation: the bytes a stream with
 * that max_value_bytes and those publications would carry for the same row.  Needs an ordinary snapshot, since
 * out-of-line values are fetched.
 *   publications  array of text; NULL: rows and columns are all published
 * False, with nothing appended, when a row filter leaves the row out.
 * Errors when the record is not of a table's row type, or of one that none of the publications has.
 */
extern bool encode_record(HeapTupleHeader record, int value_bytes_max, const ArrayType *publications,
						  StringInfo change_out, StringInfo relation_out);

/* Append the body of the Relation that describes a table in a stream with those publications. */
extern void encode_relation(Oid relid, const ArrayType *publications, StringInfo relation_out);

#endif /* WALRANK_ENCODE_H */
