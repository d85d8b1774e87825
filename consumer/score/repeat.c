/*
 * repeat.c -- the fill of one sink (R13): all that was last emitted, once more, for that sink alone.
 *
 *   RESCORE unit 0, "fill sink=NAME"   repeat_begin    the job is in the store; an earlier one of that sink goes
 *   RESCORE unit of the job            repeat_chunk    some items: their image, then the scores that stand
 *
 * Every record begins with RECORD_FILL, by which all other sinks pass it over; the last one ends with
 * RECORD_FILLED.  Live units go in between.  What they emit the sink has from them; a chunk that comes
 * later repeats it, one that came before is older: so the sink ends where all others are.  A key that
 * moves to a place the walk has passed comes with its live change, whole.
 */
#include "score/step.h"

#include <stdlib.h>

#define FILL_META "fill "
#define FILLED_META "filled"

/* ---- what the store keeps ------------------------------------------------------------------- */

static bool
fill_save(Scorer *scorer, const SinkFill *fill, Error *err)
{
	Buffer key = {0};
	bool ok;

	buffer_printf(&key, FILL_META "%s", fill->sink);
	ok = store_put(scorer->store, STORE_META, buffer_slice(&key), slice_make(&fill->from, 8), err);
	buffer_free(&key);
	return ok || error_wrap(err, "fill of a sink");
}

/* By name, as the store has them: the dictionary is the same bytes before and after a restart (R1). */
static SinkFill *
fill_add(Scorer *scorer, Slice sink)
{
	SinkFill *fill;
	char name[RECORD_SINK_BYTES_MAX + 1] = {0};
	int at = 0;

	memcpy(name, sink.data, sink.len);
	while (at < scorer->nfills && strcmp(scorer->fills[at].sink, name) < 0)
		at++;
	if (at < scorer->nfills && strcmp(scorer->fills[at].sink, name) == 0)
		return &scorer->fills[at];
	scorer->fills = xrealloc(scorer->fills, (size_t) (scorer->nfills + 1) * sizeof(SinkFill));
	fill = &scorer->fills[at];
	memmove(fill + 1, fill, (size_t) (scorer->nfills++ - at) * sizeof(SinkFill));
	memset(fill, 0, sizeof(*fill));
	memcpy(fill->sink, name, sizeof(name));
	return fill;
}

/* Sinks come and go, and nobody tells us which are gone: the one whose fill began first has no use for it any more. */
static bool
forget_oldest(Scorer *scorer, Error *err)
{
	Buffer key = {0};
	int oldest = 0;
	bool found;
	bool ok;

	if (scorer->nfills <= RECORD_FILLS_MAX)
		return true;
	for (int i = 1; i < scorer->nfills; i++)
		if (scorer->fills[i].from < scorer->fills[oldest].from)
			oldest = i;
	buffer_printf(&key, FILL_META "%s", scorer->fills[oldest].sink);
	ok = store_delete(scorer->store, STORE_META, buffer_slice(&key), &found, err);
	buffer_free(&key);
	scorer->nfills--;
	memmove(scorer->fills + oldest, scorer->fills + oldest + 1,
			(size_t) (scorer->nfills - oldest) * sizeof(SinkFill));
	return ok || error_wrap(err, "fill of a sink");
}

static bool
load_fills(Scorer *scorer, Error *err)
{
	const size_t prefix = strlen(FILL_META);
	Buffer from = {0};
	bool ok;

	buffer_append(&from, FILL_META, prefix);
	for (;;)
	{
		Slice key;
		Slice value;
		bool found;

		ok = store_seek(scorer->store, STORE_META, buffer_slice(&from), true, &key, &value, &found, err);
		if (!ok || !found || key.len <= prefix || memcmp(key.data, FILL_META, prefix) != 0)
			break;
		if (key.len > prefix + RECORD_SINK_BYTES_MAX || value.len != 8)
		{
			ok = error_set(err, ERR_REFUSE, "unreadable store row of a sink's fill");
			break;
		}
		buffer_reset(&from);
		buffer_append_slice(&from, key);
		memcpy(&fill_add(scorer, slice_make(key.data + prefix, key.len - prefix))->from, value.data, 8);
	}
	buffer_free(&from);
	return ok;
}

bool
repeat_load(Scorer *scorer, Error *err)
{
	Slice value;

	return store_get(scorer->store, STORE_META, slice_string(FILLED_META), &value, &scorer->filled, err) &&
		   load_fills(scorer, err);
}

/* ---- begin ---------------------------------------------------------------------------------- */

/* "fill sink=NAME" with a name as the configuration allows. */
static bool
parse_detail(Slice detail, Slice *sink)
{
	static const char head[] = "fill sink=";
	const size_t head_len = sizeof(head) - 1;

	if (detail.len <= head_len || detail.len > head_len + RECORD_SINK_BYTES_MAX ||
		memcmp(detail.data, head, head_len) != 0)
		return false;
	*sink = slice_make(detail.data + head_len, detail.len - head_len);
	for (size_t i = 0; i < sink->len; i++)
	{
		const uint8_t c = sink->data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
			return false;
	}
	return true;
}

bool
repeat_begin(Scorer *scorer, Error *err)
{
	Slice name;
	SinkFill *fill;

	if (!parse_detail(buffer_slice(&scorer->detail), &name))
		return true; /* asks for nothing we know */
	fill = fill_add(scorer, name);
	fill->from = scorer->unit.seq;
	emit_fill(scorer, RECORD_FILL, fill->sink, fill->from);
	return fill_save(scorer, fill, err) && rescore_want_fill(scorer, fill, err) && forget_oldest(scorer, err);
}

/* ---- chunks --------------------------------------------------------------------------------- */

/* Of an item under an older version of its table, what is known: no more was ever emitted. */
static Slice
known_part(Scorer *scorer, Slice image)
{
	WireCursor cursor = wire_cursor(image);
	WireAttribute a;
	const uint8_t *from = image.data;

	buffer_reset(&scorer->spliced);
	for (; !wire_done(&cursor) && image_next(&cursor, &a); from = cursor.at)
		if (a.state != STATE_UNCHANGED_TOAST)
			buffer_append(&scorer->spliced, from, (size_t) (cursor.at - from));
	return buffer_slice(&scorer->spliced);
}

static bool
repeat_item(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Slice image;

	scorer->change++;
	if (!show_load(scorer, relation, key, &image, err))
		return false;
	scorer->counters.rescored++;
	if (!scorer->had || !scorer->had_whole)
		return true; /* it waits for its row: nothing of it stands */
	show_repeat(scorer, relation, key, scorer->same_version ? image : known_part(scorer, image));
	return true;
}

/* Up to `limit` items, of one relation after the other. *done: no item is left. */
static bool
repeat_items(Scorer *scorer, Job *job, uint32_t limit, bool *done, Error *err)
{
	*done = false;
	for (uint32_t i = 0; i < limit;)
	{
		Relation *relation = relations_by_number(&scorer->relations, job->relation);
		Slice key;
		Slice value;
		bool end = true;

		if (relation != NULL && relation->role == ROLE_ITEMS && relation_stored(relation) &&
			relation->current != NULL &&
			!store_item_next(scorer->store, relation->number, &job->cursor, &key, &value, &end, err))
			return error_wrap(err, "fill of sink \"%s\"", job->sink);
		if (end)
		{
			*done = job->relation >= scorer->relations.count;
			if (*done)
				return true;
			job->relation++;
			job->cursor = (StoreCursor){0};
			continue;
		}
		buffer_reset(&scorer->key);
		buffer_append_slice(&scorer->key, key);
		if (!repeat_item(scorer, relation, buffer_slice(&scorer->key), err))
			return false;
		i++;
	}
	return true;
}

bool
repeat_chunk(Scorer *scorer, Job *job, uint32_t limit, bool *done, Error *err)
{
	emit_fill(scorer, RECORD_FILL, job->sink, job->from);
	if (!repeat_items(scorer, job, limit, done, err))
		return false;
	if (*done)
		emit_fill(scorer, RECORD_FILLED, job->sink, job->from);
	return true;
}

/* ---- the first backfill of all tables ---------------------------------------------------------- */

static bool
is_filled(const Relation *relation)
{
	return relation != NULL && relation->fill == FILL_DONE;
}

/* Told once: from here on a sink that has all records has everything (K9). */
bool
repeat_first_filled(Scorer *scorer, Error *err)
{
	if (scorer->filled || !is_filled(relations_by_role(&scorer->relations, ROLE_WATCHED)) ||
		!is_filled(relations_by_role(&scorer->relations, ROLE_RANKINGS)))
		return true;
	for (int i = 0; i < scorer->watches.count; i++)
		if (!is_filled(scorer->watches.list[i]->relation))
			return true;
	scorer->filled = true;
	emit_fill(scorer, RECORD_FILLED, "", 0);
	return store_put(scorer->store, STORE_META, slice_string(FILLED_META), slice_make("1", 1), err) ||
		   error_wrap(err, "end of the first backfill");
}
