/*
 * dictionary.c -- see dictionary.h.
 */
#include "feed/dictionary.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/quote.h"

typedef struct Version
{
	FeedRelation relation;
	Arena *arena;	 /* holds this struct as well */
	uint64_t record; /* that brought it */
	struct Version *older;
} Version;

typedef struct Fill
{
	char sink[RECORD_SINK_BYTES_MAX + 1];
	uint64_t from;
} Fill;

struct Dictionary
{
	Fill *fills;
	uint32_t nfills;
	Version **relations; /* by number */
	FeedRanking **rankings;
	uint32_t nrelations;
	uint32_t nrankings;
	uint64_t record; /* counts those taken */
};

Dictionary *
dictionary_create(void)
{
	return xcalloc(1, sizeof(Dictionary));
}

static void
versions_free(Version *version)
{
	while (version != NULL)
	{
		Version *older = version->older;

		arena_destroy(version->arena);
		version = older;
	}
}

static void
ranking_free(FeedRanking *ranking)
{
	if (ranking != NULL)
		free(ranking->name);
	free(ranking);
}

void
dictionary_destroy(Dictionary *dictionary)
{
	if (dictionary == NULL)
		return;
	for (uint32_t i = 0; i < dictionary->nrelations; i++)
		versions_free(dictionary->relations[i]);
	for (uint32_t i = 0; i < dictionary->nrankings; i++)
		ranking_free(dictionary->rankings[i]);
	free(dictionary->fills);
	free(dictionary->relations);
	free(dictionary->rankings);
	free(dictionary);
}

/* A table of pointers that holds `number`; new places are NULL. */
static void *
table_reach(void *table, uint32_t *n, uint32_t number)
{
	void **places = table;
	uint32_t reach = *n < 16 ? 16 : *n;

	if (number < *n)
		return table;
	while (reach <= number)
		reach *= 2;
	places = xrealloc(places, reach * sizeof(void *));
	for (uint32_t i = *n; i < reach; i++)
		places[i] = NULL;
	*n = reach;
	return places;
}

/* ---- relations -------------------------------------------------------------------------------- */

static int
map_index(const FeedRelation *relation, Slice map)
{
	for (int i = 0; map.len > 0 && i < relation->ncolumns; i++)
		if (slice_equal(slice_string(relation->columns[i].name), map))
			return i;
	return -1;
}

static bool
fill_columns(Version *version, WireRelation *wire)
{
	FeedRelation *relation = &version->relation;

	relation->columns = arena_alloc(version->arena, (wire->ncolumns + 1) * sizeof(FeedColumn));
	while (relation->ncolumns < (int) wire->ncolumns)
	{
		FeedColumn *column = &relation->columns[relation->ncolumns];
		WireColumn from;

		if (!wire_column_next(&wire->columns, &from))
			return false;
		column->name = arena_string(version->arena, from.name);
		column->type_name = arena_string(version->arena, from.type_name);
		column->typmod = from.typmod;
		column->key = from.key;
		relation->ncolumns++;
	}
	return true;
}

static Version *
version_make(const RecordRelation *from, WireRelation *wire)
{
	Arena *arena = arena_create(2048);
	Version *version = arena_alloc(arena, sizeof(*version));
	FeedRelation *relation = &version->relation;
	Buffer qualified = {0};

	*version = (Version){.arena = arena};
	relation->number = from->number;
	relation->oid = wire->oid;
	relation->fingerprint = wire->fingerprint;
	relation->schema = arena_string(arena, wire->schema);
	relation->table = arena_string(arena, wire->table);
	quote_identifier(&qualified, relation->schema);
	buffer_append_byte(&qualified, '.');
	quote_identifier(&qualified, relation->table);
	relation->qualified = arena_string(arena, buffer_slice(&qualified));
	buffer_free(&qualified);
	if (!fill_columns(version, wire))
	{
		versions_free(version);
		return NULL;
	}
	relation->map = map_index(relation, from->map);
	return version;
}

/*
 * The newest stands first; the oldest beyond the limit goes.  What the record at hand brought stays, and
 * the one before: all of them may have rows in it.
 */
static void
version_push(Version **head, Version *version)
{
	Version **at = head;
	uint64_t newer = version->record;

	version->older = *head;
	*head = version;
	for (int i = 0; *at != NULL && (i < DICTIONARY_VERSIONS_MAX || newer == version->record); i++)
	{
		newer = (*at)->record;
		at = &(*at)->older;
	}
	versions_free(*at);
	*at = NULL;
}

static bool
take_relation(Dictionary *dictionary, const RecordRelation *from, Error *err)
{
	Version *version;
	WireRelation wire;

	if (from->number == 0 || from->number > DICTIONARY_NUMBER_MAX || !wire_relation(from->descriptor, &wire))
		return error_set(err, ERR_DATA, "definition of relation %u is malformed", from->number);
	dictionary->relations = table_reach(dictionary->relations, &dictionary->nrelations, from->number);
	version = dictionary->relations[from->number];
	/* every segment repeats what is known: pointers into it stay */
	if (version != NULL && version->relation.fingerprint == wire.fingerprint &&
		version->relation.map == map_index(&version->relation, from->map))
		return true;
	version = version_make(from, &wire);
	if (version == NULL)
		return error_set(err, ERR_DATA, "columns of relation %u are malformed", from->number);
	version->record = dictionary->record;
	version_push(&dictionary->relations[from->number], version);
	return true;
}

const FeedRelation *
dictionary_relation(const Dictionary *dictionary, uint32_t number, uint64_t fingerprint)
{
	const Version *version = number < dictionary->nrelations ? dictionary->relations[number] : NULL;

	while (version != NULL && fingerprint != 0 && version->relation.fingerprint != fingerprint)
		version = version->older;
	return version != NULL ? &version->relation : NULL;
}

/* ---- rankings --------------------------------------------------------------------------------- */

static bool
take_ranking(Dictionary *dictionary, const RecordRanking *from, Error *err)
{
	FeedRanking *ranking;

	if (from->number == 0 || from->number > DICTIONARY_NUMBER_MAX || from->name.len > 65536 ||
		memchr(from->name.data, '\0', from->name.len) != NULL)
		return error_set(err, ERR_DATA, "definition of ranking %u is malformed", from->number);
	dictionary->rankings = table_reach(dictionary->rankings, &dictionary->nrankings, from->number);
	ranking = dictionary->rankings[from->number];
	if (ranking != NULL && ranking->version == from->version && ranking->relation == from->relation &&
		slice_equal(slice_string(ranking->name), from->name))
		return true;
	ranking_free(ranking);
	ranking = xcalloc(1, sizeof(*ranking));
	ranking->number = from->number;
	ranking->relation = from->relation;
	ranking->version = from->version;
	ranking->name = xcalloc(1, from->name.len + 1);
	memcpy(ranking->name, from->name.data, from->name.len);
	dictionary->rankings[from->number] = ranking;
	return true;
}

const FeedRanking *
dictionary_ranking(const Dictionary *dictionary, uint32_t number)
{
	return number < dictionary->nrankings ? dictionary->rankings[number] : NULL;
}

/* ---- fills ------------------------------------------------------------------------------------ */

static Fill *
find_fill(const Dictionary *dictionary, Slice sink)
{
	for (uint32_t i = 0; i < dictionary->nfills; i++)
		if (slice_equal(slice_string(dictionary->fills[i].sink), sink))
			return &dictionary->fills[i];
	return NULL;
}

/* As the scorer does: beyond the limit the one that began first is forgotten. */
static Fill *
add_fill(Dictionary *dictionary, Slice sink)
{
	Fill *fill = NULL;

	if (dictionary->nfills < RECORD_FILLS_MAX)
	{
		dictionary->fills = xrealloc(dictionary->fills, (dictionary->nfills + 1) * sizeof(Fill));
		fill = &dictionary->fills[dictionary->nfills++];
	}
	else
		for (uint32_t i = 0; i < dictionary->nfills; i++)
			if (fill == NULL || dictionary->fills[i].from < fill->from)
				fill = &dictionary->fills[i];
	memset(fill, 0, sizeof(*fill));
	memcpy(fill->sink, sink.data, sink.len);
	return fill;
}

static bool
take_fill(Dictionary *dictionary, const RecordEntry *entry, Error *err)
{
	const Slice sink = entry->fill.sink;
	Fill *fill = find_fill(dictionary, sink);

	if (fill == NULL)
	{
		if (sink.len == 0 || memchr(sink.data, '\0', sink.len) != NULL)
			return error_set(err, ERR_DATA, "malformed fill of a sink");
		fill = add_fill(dictionary, sink);
	}
	fill->from = entry->fill.from;
	return true;
}

uint64_t
dictionary_fill(const Dictionary *dictionary, Slice sink)
{
	const Fill *fill = find_fill(dictionary, sink);

	return fill != NULL ? fill->from : 0;
}

/* ---- all ------------------------------------------------------------------------------------ */

bool
dictionary_take(Dictionary *dictionary, const RecordEntry *entry, Error *err)
{
	if (entry->kind == RECORD_RELATION)
		return take_relation(dictionary, &entry->relation_def, err);
	if (entry->kind == RECORD_RANKING)
		return take_ranking(dictionary, &entry->ranking_def, err);
	if (entry->kind == RECORD_FILL)
		return take_fill(dictionary, entry, err);
	return true;
}

bool
dictionary_take_record(Dictionary *dictionary, Slice record, Error *err)
{
	RecordReader reader;
	RecordEntry entry;
	bool done;

	if (!record_open(record, &reader, err))
		return false;
	dictionary->record++;
	while (record_next(&reader, &entry, &done, err))
	{
		if (done)
			return true;
		if (!dictionary_take(dictionary, &entry, err))
			return false;
	}
	return false;
}
