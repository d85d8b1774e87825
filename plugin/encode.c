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
write_head(StringInfo out, const WireHead *head)
{
	EncodeMark mark = encode_open(out, FRAME_HEAD, ENCODE_HEAD_BYTES);

	encode_fixed64_field(out, HEAD_COMMIT_LSN, head->commit_lsn);
	encode_fixed64_field(out, HEAD_END_LSN, head->end_lsn);
	encode_fixed64_field(out, HEAD_COMMIT_TIME, (uint64) head->commit_time_us);
	encode_fixed64_field(out, HEAD_XID, head->xid);
	encode_fixed32_field(out, HEAD_PART, head->part);
	encode_close(out, mark);
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
	write_head(bytes, head);
	Assert(bytes->len == ENCODE_HEAD_BYTES);
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
	StringInfoData head;
	char room[ENCODE_HEAD_BYTES + 1 + ENCODE_VARINT_BYTES_MAX];

	COMP_CRC32C(frames->crc, bytes->data, sent);
	frames->head.part++;
	head = (StringInfoData){.data = room, .maxlen = sizeof(room)};
	write_head(&head, &frames->head);
	memmove(bytes->data + ENCODE_HEAD_BYTES, bytes->data + sent, (size_t) kept);
	memcpy(bytes->data, room, ENCODE_HEAD_BYTES);
	bytes->len = ENCODE_HEAD_BYTES + kept;
	frames->last_entry = ENCODE_HEAD_BYTES;
}

void
frames_tail(Frames *frames)
{
	StringInfo bytes = frames->bytes;
	pg_crc32c crc = frames->crc;
	EncodeMark mark;

	COMP_CRC32C(crc, bytes->data, bytes->len);
	FIN_CRC32C(crc);
	mark = encode_open(bytes, FRAME_TAIL, 15);
	encode_fixed32_field(bytes, TAIL_FRAMES, frames->head.part + 1);
	encode_fixed32_field(bytes, TAIL_CHANGES, frames->changes);
	encode_fixed32_field(bytes, TAIL_CRC32C, crc);
	encode_close(bytes, mark);
}
