/*
 * patterns.c -- see patterns.h.
 */
#include "patterns.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

struct Patterns
{
	int count;
	Slice items[PATTERNS_MAX];
};

/* ---- parsing ----------------------------------------------------------------------------- */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The text after an opening quote, up to the closing one; a doubled quote stands for itself. */
static bool
parse_quoted(const char **at, StringInfo name)
{
	for (; **at != '\0'; (*at)++)
	{
		if (**at == '"' && *++(*at) != '"')
			return true;
		appendStringInfoChar(name, **at);
	}
	return false;
}

static void
parse_plain(const char **at, StringInfo name)
{
	while (**at != '\0' && **at != ',')
		appendStringInfoChar(name, *(*at)++);
	while (name->len > 0 && is_space(name->data[name->len - 1]))
		name->len--;
}

static bool
parse_one(const char **at, Slice *pattern)
{
	StringInfoData name;

	initStringInfo(&name);
	while (is_space(**at))
		(*at)++;
	if (**at != '"')
		parse_plain(at, &name);
	else
	{
		(*at)++;
		if (!parse_quoted(at, &name))
			return false;
		while (is_space(**at))
			(*at)++;
	}
	*pattern = slice_make(name.data, (size_t) name.len);
	return name.len > 0 && name.len <= PATTERN_BYTES_MAX && (**at == ',' || **at == '\0');
}

Patterns *
patterns_parse(const char *list)
{
	Patterns *patterns = palloc0(sizeof(Patterns));

	for (;; list++)
	{
		if (patterns->count == PATTERNS_MAX || !parse_one(&list, &patterns->items[patterns->count++]))
			return NULL;
		if (*list == '\0')
			return patterns;
	}
}

/* ---- matching ---------------------------------------------------------------------------- */

/* After a mismatch only the last * can take one more character: earlier ones would give the same. */
static bool
match(Slice pattern, Slice name)
{
	size_t p = 0;
	size_t n = 0;
	size_t star = SIZE_MAX; /* position after the last * met */
	size_t resume = 0;		/* where in the name its rest is tried next */

	while (n < name.len)
	{
		if (p < pattern.len && pattern.data[p] == '*')
		{
			star = ++p;
			resume = n;
		}
		else if (p < pattern.len && pattern.data[p] == name.data[n])
		{
			p++;
			n++;
		}
		else if (star != SIZE_MAX)
		{
			p = star;
			n = ++resume;
			if (resume % 1024 == 0)
				CHECK_FOR_INTERRUPTS();
		}
		else
			return false;
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}

bool
patterns_match(const Patterns *patterns, Slice name)
{
	for (int i = 0; i < patterns->count; i++)
		if (match(patterns->items[i], name))
			return true;
	return false;
}

static bool
may_begin(Slice pattern, Slice prefix)
{
	for (size_t i = 0; i < prefix.len; i++)
	{
		if (i == pattern.len || (pattern.data[i] != '*' && pattern.data[i] != prefix.data[i]))
			return false;
		if (pattern.data[i] == '*')
			return true;
	}
	return true;
}

bool
patterns_may_begin(const Patterns *patterns, Slice prefix)
{
	for (int i = 0; i < patterns->count; i++)
		if (may_begin(patterns->items[i], prefix))
			return true;
	return false;
}
