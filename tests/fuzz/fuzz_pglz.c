/*
 * fuzz_pglz.c -- whatever the bytes are, the plugin unpacks them as the server does, or leaves them to it; what the server
 * packed it unpacks.
 *
 * The first two bytes are the length that is expected, the rest is packed; and the rest is data, packed by the server's
 * own code.
 */
#include "pglz.c"

#include <stdlib.h>

#include "postgres_fe.h"

#include "common/pg_lzcompress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory of its own size, so that a byte read or written outside is seen. */
static uint8_t *
copy(const uint8_t *data, size_t size)
{
	uint8_t *own = malloc(size + 1);

	if (size > 0)
		memcpy(own, data, size);
	return own;
}

static bool
unpack(const uint8_t *packed, size_t size, uint8_t *out, size_t len)
{
	uint8_t *own = malloc(size);
	bool whole;

	memcpy(own, packed, size);
	whole = pglz_unpack(own, size, out, len);
	free(own);
	return whole;
}

static void
forged(const uint8_t *packed, size_t size, size_t len)
{
	uint8_t *ours = malloc(len + PGLZ_SLACK_BYTES);
	/* the server's reads three bytes of a match before it looks where the end is */
	uint8_t *padded = malloc(size + 3);
	uint8_t *theirs = malloc(len + 1);
	int32 result;

	memset(padded, 0, size + 3);
	memcpy(padded, packed, size);
	result = pglz_decompress((const char *) padded, (int32) size, (char *) theirs, (int32) len, true);
	if (unpack(packed, size, ours, len) && (result != (int32) len || memcmp(ours, theirs, len) != 0))
		abort();
	free(theirs);
	free(padded);
	free(ours);
}

static void
round_trip(const uint8_t *data, size_t size)
{
	uint8_t *plain = copy(data, size);
	char *packed = malloc(PGLZ_MAX_OUTPUT(size));
	int32 len = pglz_compress((const char *) plain, (int32) size, packed, PGLZ_strategy_always);
	uint8_t *ours = malloc(size + PGLZ_SLACK_BYTES);

	if (len >= 0 && (!unpack((uint8_t *) packed, (size_t) len, ours, size) || memcmp(ours, plain, size) != 0))
		abort();
	free(ours);
	free(packed);
	free(plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	forged(data + 2, size - 2, (size_t) data[0] | (size_t) data[1] << 8);
	round_trip(data + 2, size - 2);
	return 0;
}
