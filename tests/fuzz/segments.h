/*
 * segments.h -- what the targets of journal and feed do to segments: damage them, or forge records under CRCs that fit.
 */
#ifndef WALRANK_FUZZ_SEGMENTS_H
#define WALRANK_FUZZ_SEGMENTS_H

#include "journal/segment.h"
#include "../unit/memory_fs.h"

/* Three bytes a change: where, and what is flipped there; 0 cuts, at the end it appends. */
static inline void
segments_damage(const uint8_t *data, size_t size, Slice sound, Buffer *out)
{
	buffer_append_slice(out, sound);
	for (; size >= 3; data += 3, size -= 3)
	{
		size_t at = ((size_t) data[0] | (size_t) data[1] << 8) % (out->len + 1);

		if (at == out->len)
			buffer_append_byte(out, data[2]);
		else if (data[2] == 0)
			out->len = at;
		else
			out->data[at] ^= data[2];
	}
}

static inline void
segments_record(Buffer *out, uint32_t magic, uint32_t seed, uint8_t type, uint8_t flags, SegPosition at,
				uint32_t index, Slice payload)
{
	size_t start = out->len;

	segment_record_begin(buffer_reserve(out, SEGMENT_RECORD_BYTES), magic, type, at, index);
	out->len += SEGMENT_RECORD_BYTES;
	buffer_append_slice(out, payload);
	segment_record_seal(out->data + start, payload.len, flags, seed, start);
}

static inline void
segments_clear(int n)
{
	char name[SEGMENT_NAME_BYTES];

	for (int i = 1; i <= n; i++)
	{
		segment_name((uint32_t) i, name);
		if (memory_find(name) != NULL)
			memory_unlinkat(MEMORY_DIR, name);
		segment_packed_name((uint32_t) i, name);
		if (memory_find(name) != NULL)
			memory_unlinkat(MEMORY_DIR, name);
	}
}

#endif /* WALRANK_FUZZ_SEGMENTS_H */
