/*
 * encode.c -- see encode.h.
 */
#include "encode.h"

void
encode_shift(StringInfo out, EncodeMark *mark, int width)
{
	int len = out->len - mark->body;
	int body = mark->body - mark->width + width;

	if (width > mark->width)
		encode_reserve(out, width - mark->width);
	memmove(out->data + body, out->data + mark->body, (size_t) len);
	out->len = body + len;
	mark->body = body;
	mark->width = width;
}

static void
write_head(uint8_t *at, const WireHead *head)
{
	*at++ = WIRE_TAG(FRAME_HEAD, WIRE_BYTES);
	*at++ = ENCODE_HEAD_BYTES - 2;
	at = encode_put_fixed64(at, HEAD_COMMIT_LSN, head->commit_lsn);
	at = encode_put_fixed64(at, HEAD_END_LSN, head->end_lsn);
	at = encode_put_fixed64(at, HEAD_COMMIT_TIME, (uint64) head->commit_time_us);
	at = encode_put_fixed64(at, HEAD_XID, head->xid);
	encode_put_fixed32(at, HEAD_PART, head->part);
}

void
frames_begin(Frames *frames, StringInfo bytes, const WireHead *head)
{
	resetStringInfo(bytes);
	frames->bytes = bytes;
	frames->head = *head;
	frames->open = true;
	frames->changes = 0;
	frames->last_entry = 0;
	INIT_CRC32C(frames->crc);
	encode_reserve(bytes, ENCODE_HEAD_BYTES);
	write_head((uint8_t *) bytes->data, head);
	bytes->len = ENCODE_HEAD_BYTES;
}

EntryMark
frames_entry(Frames *frames, uint32 kind, size_t guess)
{
	EntryMark mark;

	frames->last_entry = frames->bytes->len;
	mark.entry = encode_open(frames->bytes, FRAME_ENTRIES, guess);
	mark.message = encode_open(frames->bytes, kind, guess);
	return mark;
}

void
frames_entry_end(Frames *frames, EntryMark mark)
{
	encode_close(frames->bytes, mark.message);
	encode_close(frames->bytes, mark.entry);
}

void
frames_entry_cancel(Frames *frames, EntryMark mark)
{
	encode_cancel(frames->bytes, mark.entry);
	frames->last_entry = frames->bytes->len;
}

/*
 * A frame is sent when it is full.  An entry that does not fit is kept for the next frame, so a
 * frame exceeds frame_bytes only by being a single entry.
 */
int
frames_due(const Frames *frames, int frame_bytes)
{
	if (frames->bytes->len < frame_bytes || frames->last_entry <= ENCODE_HEAD_BYTES)
		return 0;
	return frames->last_entry;
}

void
frames_cut(Frames *frames, int sent)
{
	StringInfo bytes = frames->bytes;
	int kept = bytes->len - sent;

	COMP_CRC32C(frames->crc, bytes->data, sent);
	frames->head.part++;
	memmove(bytes->data + ENCODE_HEAD_BYTES, bytes->data + sent, (size_t) kept);
	write_head((uint8_t *) bytes->data, &frames->head);
	bytes->len = ENCODE_HEAD_BYTES + kept;
	frames->last_entry = ENCODE_HEAD_BYTES;
}

void
frames_tail(Frames *frames)
{
	StringInfo bytes = frames->bytes;
	pg_crc32c crc = frames->crc;
	uint8_t *at;

	COMP_CRC32C(crc, bytes->data, bytes->len);
	FIN_CRC32C(crc);
	encode_reserve(bytes, ENCODE_TAIL_BYTES);
	at = (uint8_t *) bytes->data + bytes->len;
	*at++ = WIRE_TAG(FRAME_TAIL, WIRE_BYTES);
	*at++ = ENCODE_TAIL_BYTES - 2;
	at = encode_put_fixed32(at, TAIL_FRAMES, frames->head.part + 1);
	at = encode_put_fixed32(at, TAIL_CHANGES, frames->changes);
	encode_put_fixed32(at, TAIL_CRC32C, crc);
	bytes->len += ENCODE_TAIL_BYTES;
}
