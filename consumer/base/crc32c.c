/*
 * crc32c.c -- see crc32c.h.  Intel's storage library has it for every processor, three times as fast
 * on our records of a kilobyte as a loop over the processor's instruction.
 */
#include "base/crc32c.h"

#include <isa-l/crc.h>

/* The library takes an int: longer data goes in pieces. */
#define PIECE_BYTES ((size_t) 1 << 30)

uint32_t
crc32c(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *at = data;

	crc = ~crc;
	while (len > 0)
	{
		size_t piece = len < PIECE_BYTES ? len : PIECE_BYTES;

		/* not const in its declaration, but only read */
		crc = crc32_iscsi((unsigned char *) (uintptr_t) at, (int) piece, crc);
		at += piece;
		len -= piece;
	}
	return ~crc;
}
