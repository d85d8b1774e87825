/*
 * pglz.c -- see pglz.h.
 *
 * Packed data is groups: a control byte, then for each of its bits from the lowest on, as long as there is data, a
 * byte as it is (0) or a match (1), which repeats what was written before:
 *
 *   0  length - 3 in the low half, the distance's highest four bits in the high half
 *   1  the distance's lower eight bits: 1 to 4,095
 *   2  only where the low half of byte 0 is 15: what is added to the length of 18
 *
 * A match may reach into what it writes itself, as "ab" at distance 2 becomes "ababab".
 */
#include "pglz.h"

#include <string.h>

#define BLOCK_BYTES 16

/* A match whose length takes a byte of its own is as long or longer; the others are shorter. */
#define LONG_MATCH 18

/* The most that a group takes, and what is read behind it when literals are copied. */
#define GROUP_BYTES_MAX (1 + 8 * 3)
#define LITERALS_MAX 8

typedef struct Unpacking
{
	const uint8_t *in;
	const uint8_t *in_end;
	uint8_t *out; /* where it began */
	uint8_t *at;
	uint8_t *end;
} Unpacking;

static inline void
copy_block(uint8_t *to, const uint8_t *from)
{
	struct
	{
		uint8_t bytes[BLOCK_BYTES];
	} block; /* they may overlap */

	memcpy(&block, from, BLOCK_BYTES);
	memcpy(to, &block, BLOCK_BYTES);
}

/* Up to BLOCK_BYTES - 1 bytes behind the match are overwritten. */
static inline void
repeat(uint8_t *at, size_t distance, size_t len)
{
	const uint8_t *from = at - distance;
	const uint8_t *stop = at + len;

	/* what is written lengthens what can be repeated at once */
	for (; distance < BLOCK_BYTES && at < stop; distance += distance)
	{
		copy_block(at, from);
		at += distance;
	}
	for (; at < stop; at += BLOCK_BYTES, from += BLOCK_BYTES)
		copy_block(at, from);
}

/* At least three bytes can be read.  False when the match is none; a long one is checked to be within the end. */
static inline bool
put_match(Unpacking *u)
{
	const uint8_t first = u->in[0];
	size_t len = (first & 0x0f) + 3;
	size_t distance = (size_t) (first & 0xf0) << 4 | u->in[1];
	uint8_t *at = u->at;

	u->in += 2;
	if (distance - 1 >= (size_t) (at - u->out)) /* 0 is none, too */
		return false;
	if (len <= BLOCK_BYTES && distance >= BLOCK_BYTES)
	{
		copy_block(at, at - distance);
		u->at = at + len;
		return true;
	}
	if (len == LONG_MATCH)
	{
		len += *u->in++;
		if ((ptrdiff_t) len > u->end - at)
			return false;
	}
	repeat(at, distance, len);
	u->at = at + len;
	return true;
}

/*
 * Groups that are whole whatever is in them; bytes in front of a match are copied by one move, however many they are.
 * A group without long matches may pass the end by less than the slack.
 */
static inline bool
unpack_groups(Unpacking *u)
{
	while (u->in_end - u->in >= GROUP_BYTES_MAX + LITERALS_MAX && u->at < u->end)
	{
		unsigned control = *u->in++ | 0x100u;

		for (;;)
		{
			unsigned literals = (unsigned) __builtin_ctz(control);

			memcpy(u->at, u->in, LITERALS_MAX);
			u->at += literals;
			u->in += literals;
			control >>= literals + 1;
			if (control == 0)
				break;
			if (!put_match(u))
				return false;
		}
		if (u->at > u->end)
			return false;
	}
	return true;
}

/* The last bytes, one by one. */
static inline bool
unpack_rest(Unpacking *u)
{
	while (u->in < u->in_end && u->at < u->end)
	{
		unsigned control = *u->in++ | 0x100u;

		for (; control > 1 && u->in < u->in_end && u->at < u->end; control >>= 1)
		{
			if (!(control & 1))
				*u->at++ = *u->in++;
			else if (u->in_end - u->in < ((*u->in & 0x0f) == 0x0f ? 3 : 2) || !put_match(u))
				return false;
		}
	}
	return u->at == u->end && u->in == u->in_end; /* a match may have passed it */
}

bool
pglz_unpack(const uint8_t *packed, size_t packed_len, uint8_t *out, size_t len)
{
	Unpacking u = {.in = packed, .in_end = packed + packed_len, .out = out, .at = out, .end = out + len};

	return unpack_groups(&u) && unpack_rest(&u);
}
