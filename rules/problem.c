/*
 * problem.c -- see problem.h.
 */
#include "problem.h"

#include <stdarg.h>
#include <stdio.h>

#define CLIP_BYTES_MAX 60

/* Length of text without a character cut off at its end. */
static size_t
whole_characters(const uint8_t *text, size_t len)
{
	size_t start = len;
	size_t need;

	while (start > 0 && len - start < 4 && (text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0 || text[start - 1] < 0xc0)
		return len;
	start--;
	need = text[start] >= 0xf0 ? 4 : text[start] >= 0xe0 ? 3 : 2;
	return len - start < need ? start : len;
}

static void
format_whole(char *buffer, size_t size, const char *format, va_list args)
{
	int len = vsnprintf(buffer, size, format, args);

	if (len < 0)
		buffer[0] = '\0';
	else if ((size_t) len >= size)
		buffer[whole_characters((const uint8_t *) buffer, size - 1)] = '\0';
}

/* ' (in "name" of library "shop", line 3, column 7)', or nothing.  Returns its length. */
static int
place_of(RulePosition at, char *place, size_t size)
{
	const RuleUse *use = at.use;

	place[0] = '\0';
	if (use == NULL)
		return 0;
	if (use->library.len == 0)
		return snprintf(place, size, " (in \"%.*s\", line %d, column %d)", RULE_NAME(use->name), at.line,
						at.column);
	if (use->name.len == 0)
		return snprintf(place, size, " (in library \"%.*s\", line %d, column %d)", RULE_NAME(use->library),
						at.line, at.column);
	return snprintf(place, size, " (in \"%.*s\" of library \"%.*s\", line %d, column %d)",
					RULE_NAME(use->name), RULE_NAME(use->library), at.line, at.column);
}

bool
rule_problem(RuleError *error, RulePosition at, const char *format, ...)
{
	va_list args;
	char place[2 * CLIP_BYTES_MAX + 80];
	int place_bytes = place_of(at, place, sizeof(place));

	while (at.use != NULL)
		at = at.use->at;
	error->line = at.line;
	error->column = at.column;
	error->hint[0] = '\0';
	va_start(args, format);
	format_whole(error->message, sizeof(error->message) - (size_t) place_bytes, format, args);
	va_end(args);
	memcpy(error->message + strlen(error->message), place, (size_t) place_bytes + 1);
	return false;
}

bool
rule_hint(RuleError *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	format_whole(error->hint, sizeof(error->hint), format, args);
	va_end(args);
	return false;
}

int
rule_clip(Slice name)
{
	if (name.len <= CLIP_BYTES_MAX)
		return (int) name.len;
	return (int) whole_characters(name.data, CLIP_BYTES_MAX);
}

/* ---- nearest name ------------------------------------------------------------------------- */

#define NEAREST_BYTES_MAX 63 /* longer names are not compared: PostgreSQL's identifiers end here */

static int
fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static int
min_int(int a, int b)
{
	return a < b ? a : b;
}

/* Insertions, deletions, replacements and swapped neighbours that turn a into b. */
static int
edit_distance(Slice a, Slice b)
{
	int rows[3][NEAREST_BYTES_MAX + 1];
	int *before = rows[0];
	int *last = rows[1];
	int *row = rows[2];

	for (size_t j = 0; j <= b.len; j++)
		last[j] = (int) j;
	for (size_t i = 1; i <= a.len; i++)
	{
		int *spare = before;

		row[0] = (int) i;
		for (size_t j = 1; j <= b.len; j++)
		{
			int differ = fold(a.data[i - 1]) != fold(b.data[j - 1]);

			row[j] = min_int(min_int(last[j] + 1, row[j - 1] + 1), last[j - 1] + differ);
			if (i > 1 && j > 1 && fold(a.data[i - 1]) == fold(b.data[j - 2]) &&
				fold(a.data[i - 2]) == fold(b.data[j - 1]))
				row[j] = min_int(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = spare;
	}
	return last[b.len];
}

void
rule_nearest_begin(RuleNearest *nearest, Slice word)
{
	nearest->word = word;
	nearest->best = slice_make(NULL, 0);
	nearest->distance = 1 + (int) (word.len < 30 ? word.len / 3 : 10);
}

void
rule_nearest_offer(RuleNearest *nearest, Slice candidate)
{
	int distance;

	if (nearest->word.len > NEAREST_BYTES_MAX || candidate.len > NEAREST_BYTES_MAX || candidate.len == 0)
		return;
	distance = edit_distance(nearest->word, candidate);
	/* the first of equals wins, so that the answer does not depend on luck */
	if (distance < nearest->distance || (nearest->best.len == 0 && distance == nearest->distance))
	{
		if (distance < (int) candidate.len)
		{
			nearest->best = candidate;
			nearest->distance = distance;
		}
	}
}

bool
rule_nearest_found(const RuleNearest *nearest)
{
	return nearest->best.len > 0;
}
