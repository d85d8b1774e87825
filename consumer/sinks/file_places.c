/*
 * file_places.c -- the places that the lines of sink "file" come to in the end.
 *
 * Of each item and ranking the last line counts.  What is kept is bounded: when more items turn up than one pass may
 * keep, the lines are read several times, each time for another part of the items, chosen by the hash of their keys.
 */
#include "sinks/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#ifndef PASS_PLACES /* tests have a smaller one */
#define PASS_PLACES 500000
#endif
#define SLOTS (1 << 20) /* more than twice that */
#define READ_BYTES (1 << 20)
#define TIME_TEXT_BYTES 48

typedef struct Place
{
	char *name; /* the ranking, then the key */
	uint32_t ranking_len;
	uint32_t key_len;
	int32_t tier;
	int32_t pin;
	double score;
	char at[TIME_TEXT_BYTES];
	bool gone;
} Place;

typedef struct Pass
{
	Place *places;
	uint32_t nplaces;
	uint32_t *slots; /* number of the place + 1 */
	uint64_t part;	 /* of the keys.. */
	uint64_t parts;	 /* ..so many */
	bool full;
} Pass;

/* ---- a line ------------------------------------------------------------------------------------------ */

/* Behind the value at `at`: a string, an object or array, or a scalar. */
static const char *
skip_value(const char *at, const char *end)
{
	int depth = 0;
	bool quoted = false;

	for (; at < end; at++)
	{
		if (quoted)
		{
			if (*at == '\\')
				at++;
			else if (*at == '"')
				quoted = false;
		}
		else if (*at == '"')
			quoted = true;
		else if (*at == '{' || *at == '[')
			depth++;
		else if (depth > 0 && (*at == '}' || *at == ']'))
			depth--;
		else if (depth == 0 && (*at == ',' || *at == '}'))
			break;
	}
	return at < end ? at : end;
}

/* The value of a member of the line's object as it stands there; empty: there is none of that name. */
static Slice
member(Slice line, const char *name)
{
	const char *at = (const char *) line.data + 1;
	const char *end = (const char *) line.data + line.len;
	const size_t len = strlen(name);

	while (at < end && *at == '"')
	{
		const char *value = memchr(at + 1, '"', (size_t) (end - at - 1));
		const char *behind;

		if (value == NULL || value + 2 >= end)
			break;
		behind = skip_value(value + 2, end);
		if ((size_t) (value - at) == len + 1 && memcmp(at + 1, name, len) == 0)
			return slice_make(value + 2, (size_t) (behind - value - 2));
		at = behind + 1;
	}
	return slice_make(NULL, 0);
}

/* Without its quotes: names of rankings and times have nothing to escape. */
static Slice
bare(Slice value)
{
	return value.len >= 2 && value.data[0] == '"' ? slice_make(value.data + 1, value.len - 2) : value;
}

static double
number(Slice value)
{
	char text[64];
	const Slice digits = bare(value);

	snprintf(text, sizeof(text), "%.*s", (int) digits.len, digits.len > 0 ? (const char *) digits.data : "");
	return strtod(text, NULL);
}

/* ---- the places of a pass ----------------------------------------------------------------------------- */

static uint64_t
hash_of(Slice ranking, Slice key)
{
	return XXH3_64bits_withSeed(key.data, key.len, XXH3_64bits(ranking.data, ranking.len));
}

static bool
is_at(const Place *place, Slice ranking, Slice key)
{
	return place->ranking_len == ranking.len && place->key_len == key.len &&
		   memcmp(place->name, ranking.data, ranking.len) == 0 &&
		   memcmp(place->name + ranking.len, key.data, key.len) == 0;
}

/* NULL: of another pass, not there (unless it is to be added), or this pass is full. */
static Place *
find(Pass *pass, Slice ranking, Slice key, bool add)
{
	const uint64_t hash = hash_of(ranking, key);
	uint32_t slot = (uint32_t) (hash >> 32) % SLOTS;
	Place *place;

	if (hash % pass->parts != pass->part)
		return NULL;
	for (; pass->slots[slot] != 0; slot = (slot + 1) % SLOTS)
		if (is_at(&pass->places[pass->slots[slot] - 1], ranking, key))
			return &pass->places[pass->slots[slot] - 1];
	if (!add)
		return NULL;
	pass->full = pass->nplaces == PASS_PLACES;
	if (pass->full)
		return NULL;
	place = &pass->places[pass->nplaces];
	*place = (Place){.name = xmalloc(ranking.len + key.len),
					 .ranking_len = (uint32_t) ranking.len,
					 .key_len = (uint32_t) key.len};
	memcpy(place->name, ranking.data, ranking.len);
	memcpy(place->name + ranking.len, key.data, key.len);
	pass->slots[slot] = ++pass->nplaces;
	return place;
}

static void
take_score(Pass *pass, Slice line, Slice ranking, Slice key)
{
	const Slice at = bare(member(line, "at"));
	Place *place = find(pass, ranking, key, true);

	if (place == NULL)
		return;
	place->gone = false;
	place->score = number(member(line, "score"));
	place->tier = (int32_t) number(member(line, "tier"));
	place->pin = (int32_t) number(member(line, "pin")); /* null is 0 */
	snprintf(place->at, sizeof(place->at), "%.*s", (int) at.len, at.len > 0 ? (const char *) at.data : "");
}

static void
take_removal(Pass *pass, Slice ranking, Slice key)
{
	Place *place;

	if (!slice_equal(key, slice_string("null")))
	{
		place = find(pass, ranking, key, false);
		if (place != NULL)
			place->gone = true;
		return;
	}
	for (uint32_t i = 0; i < pass->nplaces; i++)
		if (pass->places[i].ranking_len == ranking.len &&
			memcmp(pass->places[i].name, ranking.data, ranking.len) == 0)
			pass->places[i].gone = true;
}

static void
take_line(Pass *pass, Slice line)
{
	const Slice kind = bare(member(line, "kind"));
	const bool score = slice_equal(kind, slice_string("score"));

	if (score)
		take_score(pass, line, bare(member(line, "ranking")), member(line, "key"));
	else if (slice_equal(kind, slice_string("remove")))
		take_removal(pass, bare(member(line, "ranking")), member(line, "key"));
}

/* ---- the run ------------------------------------------------------------------------------------------- */

/* Whole lines are taken from `held`; what is left of it is the beginning of the next one. */
static void
take_lines(Pass *pass, Buffer *held)
{
	size_t from = 0;
	const uint8_t *newline;

	while (!pass->full && (newline = memchr(held->data + from, '\n', held->len - from)) != NULL)
	{
		take_line(pass, slice_make(held->data + from, (size_t) (newline - held->data) - from));
		from = (size_t) (newline - held->data) + 1;
	}
	memmove(held->data, held->data + from, held->len - from);
	held->len -= from;
}

static bool
read_file(const Sink *sink, int dirfd, const FileRun *run, uint64_t number, Pass *pass, Buffer *held,
		  Error *err)
{
	FilePart part;
	uint64_t at = 0;
	size_t got = 1;
	bool ok = file_part_open(sink, dirfd, run, number, &part, err);

	while (ok && !pass->full && got > 0 && at < part.end)
	{
		const size_t want = part.end - at < READ_BYTES ? (size_t) (part.end - at) : READ_BYTES;

		ok = fs_pread(part.fd, buffer_reserve(held, want), want, at, &got, err);
		held->len += ok ? got : 0;
		at += got;
		take_lines(pass, held);
	}
	if (part.fd >= 0)
		close(part.fd);
	return ok;
}

static void
forget(Pass *pass)
{
	for (uint32_t i = 0; i < pass->nplaces; i++)
		free(pass->places[i].name);
	memset(pass->slots, 0, SLOTS * sizeof(uint32_t));
	pass->nplaces = 0;
	pass->full = false;
}

static bool
read_run(const Sink *sink, int dirfd, const FileRun *run, Pass *pass, Error *err)
{
	Buffer held = {0};
	bool ok = true;

	forget(pass);
	for (uint64_t number = run->first; ok && !pass->full && number <= run->file; number++)
		ok = read_file(sink, dirfd, run, number, pass, &held, err);
	buffer_free(&held);
	return ok;
}

static bool
visit_pass(const Pass *pass, SinkPlaceVisit visit, void *context, Error *err)
{
	for (uint32_t i = 0; i < pass->nplaces; i++)
	{
		const Place *held = &pass->places[i];
		const SinkPlace place = {.ranking = slice_make(held->name, held->ranking_len),
								 .key = slice_make(held->name + held->ranking_len, held->key_len),
								 .score = held->score,
								 .tier = held->tier,
								 .pin = held->pin,
								 .at = slice_string(held->at)};

		if (!held->gone && !visit(context, &place, err))
			return false;
	}
	return true;
}

/* So many parts that the first one fits, and with it any other: hashes are even.  It is read then. */
static bool
count_parts(const Sink *sink, int dirfd, const FileRun *run, Pass *pass, Error *err)
{
	bool ok = read_run(sink, dirfd, run, pass, err);

	while (ok && (pass->full || (pass->parts > 1 && pass->nplaces > PASS_PLACES / 2)))
	{
		pass->parts *= 2;
		ok = read_run(sink, dirfd, run, pass, err);
	}
	return ok;
}

static bool
visit_run(const Sink *sink, int dirfd, const FileRun *run, SinkPlaceVisit visit, void *context, Error *err)
{
	Pass pass = {.places = xmalloc(PASS_PLACES * sizeof(Place)),
				 .slots = xcalloc(SLOTS, sizeof(uint32_t)),
				 .parts = 1};
	bool ok = count_parts(sink, dirfd, run, &pass, err);

	for (; ok && pass.part < pass.parts; pass.part++)
	{
		ok = pass.part == 0 || read_run(sink, dirfd, run, &pass, err);
		if (ok && pass.full)
			ok = error_set(err, ERR_DATA, "the keys of \"%s\" cannot be parted evenly", sink->path);
		ok = ok && visit_pass(&pass, visit, context, err);
	}
	forget(&pass);
	free(pass.places);
	free(pass.slots);
	return ok;
}

bool
file_places(Sink *sink, SinkPlaceVisit visit, void *context, SinkPosition *position, Error *err)
{
	FileCheckpoint checkpoint;
	bool found = false;
	bool ok;
	int dirfd = open(sink->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return error_errno(err, "could not open directory \"%s\"", sink->directory);
	ok = file_checkpoint_read(sink, dirfd, &checkpoint, &found, err);
	if (ok && !found)
		ok = error_set(err, ERR_CONFIG, "there is nothing to verify: it has no checkpoint");
	else if (ok && !stream_id_equal(&checkpoint.position.stream_id, &sink->history->stream_id))
		ok = error_set(err, ERR_REFUSE, "\"%s\" was written by another stream (rule K9)", sink->path);
	else if (ok && checkpoint.fill.file != 0)
		ok = error_set(err, ERR_CONFIG,
					   "it is being filled: until that has ended it shows what it held before");
	if (ok)
	{
		*position = checkpoint.position;
		ok = visit_run(sink, dirfd, &checkpoint.shown, visit, context, err);
	}
	close(dirfd);
	return ok;
}
