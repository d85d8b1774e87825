/*
 * lsn.c -- see lsn.h.
 */
#include "base/lsn.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static bool
parse_hex(const char **text, char stop, uint32_t *value)
{
	uint64_t v = 0;
	const char *at = *text;
	int digits = 0;

	for (; *at != stop; at++, digits++)
	{
		if (*at >= '0' && *at <= '9')
			v = v << 4 | (uint64_t) (*at - '0');
		else if (*at >= 'A' && *at <= 'F')
			v = v << 4 | (uint64_t) (*at - 'A' + 10);
		else if (*at >= 'a' && *at <= 'f')
			v = v << 4 | (uint64_t) (*at - 'a' + 10);
		else
			return false;
		if (digits >= 8)
			return false;
	}
	*text = at;
	*value = (uint32_t) v;
	return digits > 0;
}

bool
lsn_parse(const char *text, Lsn *lsn)
{
	uint32_t high;
	uint32_t low;

	if (!parse_hex(&text, '/', &high))
		return false;
	text++;
	if (!parse_hex(&text, '\0', &low))
		return false;
	*lsn = (Lsn) high << 32 | low;
	return true;
}

void
stream_id_text(const StreamId *id, char text[STREAM_ID_TEXT_BYTES])
{
	char *at = text;

	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += sprintf(at, "%02x", id->bytes[i]);
	}
}

bool
stream_id_parse(const char *text, StreamId *id)
{
	int n = 0;

	while (*text != '\0' && n < 32)
	{
		int digit;

		if (*text == '-')
		{
			text++;
			continue;
		}
		if (*text >= '0' && *text <= '9')
			digit = *text - '0';
		else if (*text >= 'a' && *text <= 'f')
			digit = *text - 'a' + 10;
		else
			return false;
		id->bytes[n / 2] = (uint8_t) (n % 2 == 0 ? digit << 4 : id->bytes[n / 2] | digit);
		n++;
		text++;
	}
	return n == 32 && *text == '\0';
}

bool
stream_id_equal(const StreamId *a, const StreamId *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool
stream_id_random(StreamId *id)
{
	return getrandom(id->bytes, sizeof(id->bytes), 0) == (ssize_t) sizeof(id->bytes);
}
