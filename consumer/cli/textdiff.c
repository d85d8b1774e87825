/*
 * textdiff.c -- see textdiff.h.
 *
 * What is equal at both ends is put aside; of the middle the longest common run of lines is found by the
 * table of all pairs, as definitions are short.
 */
#include "cli/textdiff.h"

#include <stdlib.h>

#define CONTEXT_LINES 3
#define TABLE_CELLS_MAX (4U << 20) /* 16 MB; above it the middle is replaced as a whole */

typedef struct Lines
{
	Slice *list; /* each with its end, the last one perhaps without */
	size_t count;
} Lines;

/* One line of the result: kept, taken away or added. */
typedef struct Edit
{
	char sign;
	Slice line;
} Edit;

typedef struct Script
{
	Edit *list;
	size_t count;
} Script;

static Lines
split(Slice text)
{
	size_t capacity = 64;
	Lines lines = {.list = xcalloc(capacity, sizeof(*lines.list))};
	size_t at = 0;

	while (at < text.len)
	{
		const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
		size_t next = end != NULL ? (size_t) (end - text.data) + 1 : text.len;

		if (lines.count == capacity)
		{
			capacity *= 2;
			lines.list = xrealloc(lines.list, capacity * sizeof(*lines.list));
		}
		lines.list[lines.count++] = slice_make(text.data + at, next - at);
		at = next;
	}
	return lines;
}

static void
add(Script *script, char sign, Slice line)
{
	script->list[script->count++] = (Edit){sign, line};
}

/* table[i * (nb + 1) + j]: the longest common run of a[i..] and b[j..] */
static uint32_t *
table_make(const Slice *a, size_t na, const Slice *b, size_t nb)
{
	uint32_t *table = xcalloc((na + 1) * (nb + 1), sizeof(*table));

	for (size_t i = na; i-- > 0;)
		for (size_t j = nb; j-- > 0;)
		{
			uint32_t *cell = &table[i * (nb + 1) + j];
			uint32_t down = cell[nb + 1];
			uint32_t right = cell[1];

			*cell = slice_equal(a[i], b[j]) ? cell[nb + 2] + 1 : down > right ? down : right;
		}
	return table;
}

static void
replace_middle(Script *script, const Slice *a, size_t na, const Slice *b, size_t nb)
{
	uint32_t *table = NULL;
	size_t i = 0;
	size_t j = 0;

	if ((na + 1) <= TABLE_CELLS_MAX / (nb + 1))
		table = table_make(a, na, b, nb);
	while (table != NULL && i < na && j < nb)
	{
		const uint32_t *cell = &table[i * (nb + 1) + j];

		if (slice_equal(a[i], b[j]))
		{
			add(script, ' ', a[i++]);
			j++;
		}
		else if (cell[nb + 1] >= cell[1])
			add(script, '-', a[i++]);
		else
			add(script, '+', b[j++]);
	}
	while (i < na)
		add(script, '-', a[i++]);
	while (j < nb)
		add(script, '+', b[j++]);
	free(table);
}

static Script
script_make(const Lines *a, const Lines *b)
{
	Script script = {.list = xcalloc(a->count + b->count + 1, sizeof(*script.list))};
	size_t least = a->count < b->count ? a->count : b->count;
	size_t head = 0;
	size_t tail = 0;

	while (head < least && slice_equal(a->list[head], b->list[head]))
		add(&script, ' ', a->list[head++]);
	while (tail < least - head && slice_equal(a->list[a->count - 1 - tail], b->list[b->count - 1 - tail]))
		tail++;
	replace_middle(&script, a->list + head, a->count - head - tail, b->list + head, b->count - head - tail);
	for (size_t i = a->count - tail; i < a->count; i++)
		add(&script, ' ', a->list[i]);
	return script;
}

/* ---- hunks ------------------------------------------------------------------------------------ */

static void
put_line(Buffer *out, const Edit *edit)
{
	buffer_append_byte(out, (uint8_t) edit->sign);
	buffer_append_slice(out, edit->line);
	if (edit->line.len == 0 || edit->line.data[edit->line.len - 1] != '\n')
		buffer_printf(out, "\n\\ No newline at end of file\n");
}

/* "12,3", "12" for one line, "11,0" for none: the line before it. */
static void
put_range(Buffer *out, char sign, size_t lines_before, size_t count)
{
	buffer_printf(out, "%c%zu", sign, lines_before + (count > 0 ? 1 : 0));
	if (count != 1)
		buffer_printf(out, ",%zu", count);
}

/* From the first to the last edit of it, context included. a, b: lines that come before it on either side. */
static void
put_hunk(Buffer *out, const Script *script, size_t from, size_t to, size_t a, size_t b)
{
	size_t na = 0;
	size_t nb = 0;

	for (size_t i = from; i < to; i++)
	{
		na += script->list[i].sign != '+';
		nb += script->list[i].sign != '-';
	}
	buffer_printf(out, "@@ ");
	put_range(out, '-', a, na);
	buffer_append_byte(out, ' ');
	put_range(out, '+', b, nb);
	buffer_printf(out, " @@\n");
	for (size_t i = from; i < to; i++)
		put_line(out, &script->list[i]);
}

/* The end of the hunk that begins with the edit at `at`: where more than twice the context is kept. */
static size_t
hunk_end(const Script *script, size_t at)
{
	size_t last = at;

	for (size_t i = at; i < script->count && i - last <= 2 * CONTEXT_LINES + 1; i++)
		if (script->list[i].sign != ' ')
			last = i;
	return script->count - last - 1 < CONTEXT_LINES ? script->count : last + 1 + CONTEXT_LINES;
}

static void
put_hunks(Buffer *out, const Script *script)
{
	size_t a = 0; /* lines of either side before `done` */
	size_t b = 0;
	size_t done = 0;

	for (size_t at = 0; at < script->count; at++)
	{
		size_t from;
		size_t to;

		if (script->list[at].sign == ' ')
			continue;
		from = at - done < CONTEXT_LINES ? done : at - CONTEXT_LINES;
		to = hunk_end(script, at);
		a += from - done;
		b += from - done;
		put_hunk(out, script, from, to, a, b);
		for (size_t i = from; i < to; i++)
		{
			a += script->list[i].sign != '+';
			b += script->list[i].sign != '-';
		}
		done = to;
		at = to - 1;
	}
}

void
text_diff(Buffer *out, const char *before_name, const char *after_name, Slice before, Slice after)
{
	Lines a;
	Lines b;
	Script script;

	if (slice_equal(before, after))
		return;
	a = split(before);
	b = split(after);
	script = script_make(&a, &b);
	buffer_printf(out, "--- %s\n+++ %s\n", before_name, after_name);
	put_hunks(out, &script);
	free(script.list);
	free(a.list);
	free(b.list);
}
