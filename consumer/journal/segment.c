/*
 * segment.c -- see segment.h.
 */
#include "journal/segment.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/fs.h"

/* A stored CRC must not be a CRC of bytes that hold CRCs, nor 0 for zeros. */
static uint32_t
masked(uint32_t crc)
{
	return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

static uint32_t
get32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static uint64_t
get64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static void
put32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void
put64(uint8_t *at, uint64_t v)
{
	memcpy(at, &v, sizeof(v));
}

int
seg_compare(SegPosition a, SegPosition b)
{
	if (a.seq != b.seq)
		return a.seq < b.seq ? -1 : 1;
	return a.part < b.part ? -1 : a.part > b.part;
}

bool
seg_follows(SegPosition a, SegPosition b)
{
	return (b.seq == a.seq + 1 && b.part == 0) || (b.seq == a.seq && a.seq > 0 && b.part == a.part + 1);
}

/* ---- names ------------------------------------------------------------------------------------ */

static int
compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *) a;
	uint32_t y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

static void
name_seen(void *context, const char *name)
{
	uint32_t number;

	if (segment_number(name, &number))
		buffer_append_u32(context, number);
}

/* A plain and a compressed file of one segment count once. */
static int
drop_doubles(uint32_t *numbers, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (kept == 0 || numbers[i] != numbers[kept - 1])
			numbers[kept++] = numbers[i];
	return kept;
}

bool
segment_list(int dirfd, uint32_t **numbers, int *n, Error *err)
{
	Buffer found = {0};

	if (!fs_list(dirfd, name_seen, &found, err))
	{
		buffer_free(&found);
		return false;
	}
	*numbers = (uint32_t *) (void *) found.data;
	*n = (int) (found.len / sizeof(uint32_t));
	if (*n > 0)
		qsort(*numbers, (size_t) *n, sizeof(uint32_t), compare_numbers);
	*n = drop_doubles(*numbers, *n);
	return true;
}

/* ---- file header ------------------------------------------------------------------------------ */

void
segment_header_put(Buffer *out, uint32_t magic, const SegmentHeader *header, Slice owner)
{
	size_t len = SEGMENT_HEADER_BYTES + owner.len;
	uint8_t *at = buffer_reserve(out, len);

	memset(at, 0, SEGMENT_HEADER_BYTES);
	put32(at + 4, magic);
	put32(at + 8, SEGMENT_VERSION);
	put32(at + 12, (uint32_t) len);
	memcpy(at + 16, header->stream_id.bytes, 16);
	put64(at + 32, header->prev.seq);
	put32(at + 40, header->prev.part);
	put32(at + 44, header->number);
	if (owner.len > 0)
		memcpy(at + SEGMENT_HEADER_BYTES, owner.data, owner.len);
	put32(at, masked(crc32c(0, at + 4, len - 4)));
	out->len += len;
}

static bool
header_refuse(Error *err, const char *what, uint32_t number, const char *why)
{
	return error_set(err, ERR_REFUSE, "%s segment %010u, offset 0: %s", what, number, why);
}

bool
segment_header_read(SegFile *file, const char *what, uint32_t magic, uint32_t number, SegmentHeader *header,
					Buffer *owner, bool *valid, Error *err)
{
	uint8_t bytes[SEGMENT_HEADER_BYTES + SEGMENT_OWNER_BYTES_MAX];
	size_t got;

	*valid = false;
	if (!segfile_read(file, bytes, sizeof(bytes), 0, &got, err))
		return error_wrap(err, "%s segment %010u", what, number);
	if (got < SEGMENT_HEADER_BYTES)
		return true;
	header->bytes = get32(bytes + 12);
	if (header->bytes < SEGMENT_HEADER_BYTES || header->bytes > got ||
		get32(bytes) != masked(crc32c(0, bytes + 4, header->bytes - 4)))
		return true;
	if (get32(bytes + 4) != magic)
		return header_refuse(err, what, number, "it belongs to another kind of log");
	if (get32(bytes + 8) > SEGMENT_VERSION)
		return header_refuse(err, what, number, "it was written by a newer version of walrank");
	if (get32(bytes + 44) != number)
		return header_refuse(err, what, number, "the file has been renamed or copied");
	memcpy(header->stream_id.bytes, bytes + 16, 16);
	header->prev = (SegPosition){get64(bytes + 32), get32(bytes + 40)};
	header->number = number;
	if (owner != NULL)
		buffer_append(owner, bytes + SEGMENT_HEADER_BYTES, header->bytes - SEGMENT_HEADER_BYTES);
	*valid = true;
	return true;
}

/* ---- records ---------------------------------------------------------------------------------- */

uint32_t
segment_seed(const StreamId *stream_id, uint32_t magic, uint32_t number)
{
	uint8_t bytes[24];

	memcpy(bytes, stream_id->bytes, 16);
	put32(bytes + 16, magic);
	put32(bytes + 20, number);
	return crc32c(0, bytes, sizeof(bytes));
}

static uint32_t
offset_seed(uint32_t seed, uint64_t offset)
{
	return crc32c(seed, &offset, sizeof(offset));
}

void
segment_record_begin(uint8_t *record, uint32_t magic, uint8_t type, SegPosition at, uint32_t index)
{
	memset(record, 0, SEGMENT_RECORD_BYTES);
	record[8] = type;
	put32(record + 12, magic);
	put64(record + 16, at.seq);
	put32(record + 24, at.part);
	put32(record + 28, index);
}

void
segment_record_seal(uint8_t *record, size_t payload, uint8_t flags, uint32_t seed, uint64_t offset)
{
	put32(record + 4, (uint32_t) payload);
	record[9] = flags;
	put32(record, masked(crc32c(offset_seed(seed, offset), record + 4, SEGMENT_RECORD_BYTES - 4 + payload)));
}

#define CLAIM_BYTES 64
#define CLAIM_MAX UINT64_C(0xffff)

void
segment_record_claim(uint8_t *record, uint64_t offset, uint64_t durable)
{
	uint64_t units = (offset - durable + CLAIM_BYTES - 1) / CLAIM_BYTES + 1;
	uint16_t claim = units <= CLAIM_MAX ? (uint16_t) units : 0;

	memcpy(record + 10, &claim, sizeof(claim));
}

/* Up to where a record says that the file was durable; 0: nowhere. */
static uint64_t
record_claim(const uint8_t *record, uint64_t offset)
{
	uint16_t claim;
	uint64_t back;

	memcpy(&claim, record + 10, sizeof(claim));
	back = (uint64_t) (claim - 1) * CLAIM_BYTES;
	return claim != 0 && back < offset ? offset - back : 0;
}

/* Could this be a header, with `room` bytes from its start to the end? */
static bool
record_plausible(const uint8_t *record, uint32_t magic, uint64_t room)
{
	return get32(record + 12) == magic && record[8] != 0 && get32(record + 4) <= SEGMENT_PAYLOAD_BYTES_MAX &&
		   get32(record + 4) + UINT64_C(32) <= room;
}

void
segment_cursor_init(SegmentCursor *cursor, SegFile *file, uint32_t magic, const SegmentHeader *header,
					uint64_t limit)
{
	Buffer window = cursor->window;

	buffer_reset(&window);
	*cursor = (SegmentCursor){.file = file, .magic = magic, .window = window, .limit = limit};
	cursor->start = cursor->offset = header->bytes;
	cursor->seed = segment_seed(&header->stream_id, magic, header->number);
	cursor->last = header->prev;
}

void
segment_cursor_free(SegmentCursor *cursor)
{
	buffer_free(&cursor->window);
}

/* Brings [offset, offset + need) into the window; the caller has checked that against the limit. */
static bool
window_fill(SegmentCursor *cursor, size_t need, uint8_t **at, Error *err)
{
	Buffer *window = &cursor->window;
	uint64_t end = cursor->window_offset + window->len;
	size_t want;
	size_t got;

	if (window->len == 0 || cursor->offset < cursor->window_offset || cursor->offset > end)
	{
		buffer_reset(window);
		cursor->window_offset = end = cursor->offset;
	}
	if (cursor->offset + need > end)
	{
		size_t skip = (size_t) (cursor->offset - cursor->window_offset);

		if (skip > 0)
			memmove(window->data, window->data + skip, window->len - skip);
		window->len -= skip;
		cursor->window_offset = cursor->offset;
		want = need > SEGMENT_READ_BYTES ? need : SEGMENT_READ_BYTES;
		if (want > cursor->limit - cursor->offset)
			want = (size_t) (cursor->limit - cursor->offset);
		buffer_reserve(window, want - window->len);
		if (!segfile_read(cursor->file, window->data + window->len, want - window->len, end, &got, err))
			return false;
		window->len += got;
		if (window->len < need)
			return error_set(err, ERR_DATA, "the file is shorter than it was");
	}
	*at = window->data + (cursor->offset - cursor->window_offset);
	return true;
}

/* The groups come in order, their records as well, and nothing stands between them. */
static bool
order_accept(SegmentCursor *cursor, const SegmentRecord *record, uint32_t index)
{
	if (record->offset == cursor->start)
		return record->type == SEGMENT_PREAMBLE && seg_compare(record->at, cursor->last) == 0;
	if (record->type == SEGMENT_PREAMBLE)
		return false;
	if (index != cursor->index || ((record->flags & SEGMENT_FIRST) != 0) != (index == 0))
		return false;
	if (index == 0 ? !seg_follows(cursor->last, record->at) : seg_compare(record->at, cursor->current) != 0)
		return false;
	cursor->current = record->at;
	cursor->index++;
	if (record->flags & SEGMENT_LAST)
	{
		cursor->last = record->at;
		cursor->index = 0;
	}
	return true;
}

SegmentResult
segment_next(SegmentCursor *cursor, SegmentRecord *record, Error *err)
{
	uint64_t room = cursor->limit - cursor->offset;
	uint8_t *at;
	uint32_t len;

	if (room == 0)
		return SEGMENT_LIMIT;
	if (room < SEGMENT_RECORD_BYTES)
		return SEGMENT_BAD;
	if (!window_fill(cursor, SEGMENT_RECORD_BYTES, &at, err))
		return SEGMENT_FAILED;
	if (!record_plausible(at, cursor->magic, room))
		return SEGMENT_BAD;
	len = get32(at + 4);
	if (!window_fill(cursor, SEGMENT_RECORD_BYTES + (size_t) len, &at, err))
		return SEGMENT_FAILED;
	if (get32(at) != masked(crc32c(offset_seed(cursor->seed, cursor->offset), at + 4,
								   SEGMENT_RECORD_BYTES - 4 + (size_t) len)))
		return SEGMENT_BAD;
	record->at = (SegPosition){get64(at + 16), get32(at + 24)};
	record->offset = cursor->offset;
	record->type = at[8];
	record->flags = at[9];
	record->payload = slice_make(at + SEGMENT_RECORD_BYTES, len);
	if (!order_accept(cursor, record, get32(at + 28)))
		return SEGMENT_BAD;
	cursor->offset += SEGMENT_RECORD_BYTES + (uint64_t) len;
	return SEGMENT_RECORD;
}

/* ---- damage or torn tail ---------------------------------------------------------------------- */

/* CRC of a record that may be larger than any window. */
static bool
record_intact(SegFile *file, uint32_t seed, uint64_t offset, const uint8_t *header, bool *intact, Error *err)
{
	uint32_t crc = crc32c(offset_seed(seed, offset), header + 4, SEGMENT_RECORD_BYTES - 4);
	uint64_t at = offset + SEGMENT_RECORD_BYTES;
	uint64_t end = at + get32(header + 4);
	uint8_t chunk[16384];

	while (at < end)
	{
		size_t want = end - at < sizeof(chunk) ? (size_t) (end - at) : sizeof(chunk);
		size_t got;

		if (!segfile_read(file, chunk, want, at, &got, err))
			return false;
		if (got < want)
			break;
		crc = crc32c(crc, chunk, want);
		at += want;
	}
	*intact = at == end && get32(header) == masked(crc);
	return true;
}

/*
 * Every offset is tried, as lengths before it cannot be believed.  Bytes made to look like headers could make this
 * quadratic: after `budget` bytes of payload it gives up and says found, which is the side that stops and asks.
 */
static bool
find_record(SegFile *file, uint32_t magic, uint32_t seed, uint64_t from, uint64_t bytes,
			const uint64_t *beyond, bool *found, Error *err)
{
	uint64_t budget = 8 * bytes + (UINT64_C(64) << 20);
	Buffer window = {0};
	size_t got = 0;
	bool ok = true;

	*found = segfile_packed(file);
	if (*found)
		return true;
	buffer_reserve(&window, SEGMENT_READ_BYTES);
	while (ok && !*found && from + SEGMENT_RECORD_BYTES <= bytes)
	{
		ok = segfile_read(file, window.data, SEGMENT_READ_BYTES, from, &got, err);
		if (!ok || got < SEGMENT_RECORD_BYTES)
			break;
		for (size_t i = 0; ok && !*found && i + SEGMENT_RECORD_BYTES <= got; i++)
		{
			const uint8_t *header = window.data + i;

			if (from + i + SEGMENT_RECORD_BYTES > bytes ||
				!record_plausible(header, magic, bytes - (from + i)) ||
				(beyond != NULL && record_claim(header, from + i) <= *beyond))
				continue;
			ok = record_intact(file, seed, from + i, header, found, err);
			if (budget < get32(header + 4))
				*found = true;
			else
				budget -= get32(header + 4);
		}
		from += got - SEGMENT_RECORD_BYTES + 1;
	}
	buffer_free(&window);
	return ok;
}

bool
segment_find_valid(SegFile *file, uint32_t magic, uint32_t seed, uint64_t from, uint64_t bytes, bool *found,
				   Error *err)
{
	return find_record(file, magic, seed, from, bytes, NULL, found, err);
}

bool
segment_find_claim(SegFile *file, uint32_t magic, uint32_t seed, uint64_t bad, uint64_t bytes, bool *found,
				   Error *err)
{
	return find_record(file, magic, seed, bad + 1, bytes, &bad, found, err);
}
