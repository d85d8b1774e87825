/*
 * fuzz_store_head.c -- arbitrary bytes as what stands in the store: a record with its CRC, the header, the position.
 * Nothing is read beyond its end, and what is understood is the same after it was written again.
 *
 * The first byte chooses; with its high bit set the record's CRC is made to fit.
 */
#include <stdlib.h>

#include "base/crc32c.h"
#include "score/store_internal.h"

static void
record(const uint8_t *data, size_t size, bool fits)
{
	Buffer bytes = {0};
	MDB_val value;
	Slice key;
	Slice content;
	volatile uint8_t sum = 0;

	buffer_append(&bytes, data, size);
	if (fits && size >= 12)
	{
		uint32_t crc = crc32c(0, bytes.data + 4, bytes.len - 4);

		memcpy(bytes.data, &crc, 4);
	}
	value = (MDB_val){bytes.len, bytes.data};
	if (store_record_open(value, &key, &content) == 0)
	{
		if (12 + key.len + content.len != size)
			abort();
		for (size_t i = 0; i < key.len; i++)
			sum = (uint8_t) (sum + key.data[i]);
		for (size_t i = 0; i < content.len; i++)
			sum = (uint8_t) (sum + content.data[i]);
	}
	buffer_free(&bytes);
}

static void
header(Slice bytes)
{
	StoreHeader seen;
	uint8_t again[64];

	if (store_header_decode(bytes, &seen) && seen.format == STORE_FORMAT)
	{
		Slice written = store_header_encode(&seen, again);

		if (bytes.len < written.len || memcmp(bytes.data, written.data, written.len) != 0)
			abort();
	}
}

static void
position(Slice bytes)
{
	StorePosition seen;
	uint8_t again[64];

	if (store_position_decode(bytes, &seen) && !slice_equal(store_position_encode(seen, again), bytes))
		abort();
}

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 3)
	{
		case 0:
			record(data + 1, size - 1, data[0] >= 128);
			break;
		case 1:
			header(slice_make(data + 1, size - 1));
			break;
		default:
			position(slice_make(data + 1, size - 1));
	}
	return 0;
}
