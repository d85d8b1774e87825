/*
 * pattern.c -- see pattern.h.
 */
#include "pattern.h"

static bool
continues(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

size_t
rule_characters(Slice text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++)
		n += !continues(text.data[i]);
	return n;
}

bool
rule_pattern_valid(Slice pattern)
{
	for (size_t i = 0; i < pattern.len; i++)
		if (pattern.data[i] == '\\' && ++i == pattern.len)
			return false;
	return true;
}

static size_t
character_end(Slice text, size_t at)
{
	at++;
	while (at < text.len && continues(text.data[at]))
		at++;
	return at;
}

/* Match the pattern's next byte or _ with the text; both move on.  False: it is another one. */
static bool
match_one(Slice pattern, size_t *at, Slice text, size_t *in_text)
{
	size_t p = *at;

	if (p == pattern.len || *in_text == text.len)
		return false;
	if (pattern.data[p] == '_')
	{
		*at = p + 1;
		*in_text = character_end(text, *in_text);
		return true;
	}
	p += pattern.data[p] == '\\';
	if (pattern.data[p] != text.data[*in_text])
		return false;
	*at = p + 1;
	++*in_text;
	return true;
}

/*
 * What lies between two % is found where it first fits: if the rest does not fit behind that place,
 * it fits behind no later one either.  So only the last % is ever gone back to.
 */
bool
rule_pattern_matches(Slice pattern, Slice text)
{
	size_t p = 0;
	size_t t = 0;
	size_t after_percent = SIZE_MAX; /* in the pattern; no % yet */
	size_t tried = 0;				 /* where in the text what follows it was tried last */

	for (;;)
	{
		if (p < pattern.len && pattern.data[p] == '%')
		{
			after_percent = ++p;
			tried = t;
		}
		else if (p == pattern.len && t == text.len)
			return true;
		else if (!match_one(pattern, &p, text, &t))
		{
			if (after_percent == SIZE_MAX || tried == text.len)
				return false;
			tried = character_end(text, tried);
			p = after_percent;
			t = tried;
		}
	}
}
