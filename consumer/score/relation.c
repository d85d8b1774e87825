/*
 * relation.c -- see relation.h.
 */
#include "score/relation.h"

#include <stdlib.h>

#include "score/pack.h"

#define RELATION_ROW_FORMAT 2

/* ---- versions ----------------------------------------------------------------------------- */

static void
version_free(Version *version)
{
	if (version == NULL)
		return;
	free((void *) version->body.data);
	free(version->columns);
	free(version->columns_from);
	free(version);
}

/* NULL when the bytes are no sound descriptor. */
static Version *
version_make(Slice body)
{
	Version *version = xcalloc(1, sizeof(*version));
	uint8_t *copy = xmalloc(body.len + 1);
	WireCursor cursor;

	if (body.len > 0)
		memcpy(copy, body.data, body.len);
	version->body = slice_make(copy, body.len);
	if (!wire_relation(version->body, &version->head))
	{
		version_free(version);
		return NULL;
	}
	version->fingerprint = version->head.fingerprint;
	version->columns = xcalloc(version->head.ncolumns + 1, sizeof(WireColumn));
	cursor = version->head.columns;
	for (uint32_t i = 0; i < version->head.ncolumns; i++)
		if (!wire_column_next(&cursor, &version->columns[i]))
		{
			version_free(version);
			return NULL;
		}
	return version;
}

int
version_column(const Version *version, Slice name)
{
	for (uint32_t i = 0; i < version->head.ncolumns; i++)
		if (slice_equal(version->columns[i].name, name))
			return (int) i;
	return -1;
}

const int16_t *
version_columns(Version *to, const Version *from)
{
	if (to->from == from)
		return to->columns_from;
	free(to->columns_from);
	to->columns_from = xcalloc(to->head.ncolumns + 1, sizeof(int16_t));
	for (uint32_t i = 0; i < to->head.ncolumns; i++)
		to->columns_from[i] = (int16_t) version_column(from, to->columns[i].name);
	to->from = from;
	return to->columns_from;
}

bool
relations_learn(Relations *relations, Slice body, bool *ok, Error *err)
{
	Version *version;
	Version *known;
	Slice key;

	*ok = body.len >= 9 && (version = version_make(body)) != NULL;
	if (!*ok)
		return true;
	HASH_FIND(hh, relations->versions, &version->fingerprint, sizeof(uint64_t), known);
	if (known != NULL)
	{
		version_free(version);
		return true;
	}
	key = slice_make(&version->fingerprint, sizeof(uint64_t));
	if (!store_put(relations->store, STORE_DESCRIPTOR, key, version->body, err))
	{
		version_free(version);
		return error_wrap(err, "descriptor of a relation");
	}
	HASH_ADD(hh, relations->versions, fingerprint, sizeof(uint64_t), version);
	return true;
}

bool
relations_version(Relations *relations, uint64_t fingerprint, Version **version, Error *err)
{
	Slice body;
	bool found;

	*version = relations->last;
	if (*version != NULL && (*version)->fingerprint == fingerprint)
		return true;
	HASH_FIND(hh, relations->versions, &fingerprint, sizeof(uint64_t), *version);
	if (*version == NULL)
	{
		if (!store_get(relations->store, STORE_DESCRIPTOR, slice_make(&fingerprint, sizeof(fingerprint)),
					   &body, &found, err))
			return error_wrap(err, "descriptor of a relation");
		if (!found || (*version = version_make(body)) == NULL)
			return true;
		HASH_ADD(hh, relations->versions, fingerprint, sizeof(uint64_t), *version);
	}
	relations->last = *version;
	return true;
}

/* ---- relations ---------------------------------------------------------------------------- */

Relation *
relations_by_number(const Relations *relations, uint32_t number)
{
	return number >= 1 && number <= relations->count ? relations->list[number - 1] : NULL;
}

Relation *
relations_by_oid(const Relations *relations, uint32_t oid)
{
	for (uint32_t i = 0; i < relations->count; i++)
		if (relations->list[i]->oid == oid)
			return relations->list[i];
	return NULL;
}

Relation *
relations_by_name(const Relations *relations, Slice schema, Slice table)
{
	Relation *best = NULL;

	for (uint32_t i = 0; i < relations->count; i++)
	{
		Relation *relation = relations->list[i];

		if (relation->current == NULL || !slice_equal(relation->current->head.schema, schema) ||
			!slice_equal(relation->current->head.table, table))
			continue;
		/* a table dropped and made again has a new oid: the later one is meant */
		if (best == NULL || relation->current_lsn >= best->current_lsn)
			best = relation;
	}
	return best;
}

Relation *
relations_by_role(const Relations *relations, RelationRole role)
{
	Relation *best = NULL;

	for (uint32_t i = 0; i < relations->count; i++)
		if (relations->list[i]->role == role &&
			(best == NULL || relations->list[i]->current_lsn >= best->current_lsn))
			best = relations->list[i];
	return best;
}

static Relation *
relations_append(Relations *relations)
{
	Relation *relation = xcalloc(1, sizeof(*relation));

	if ((relations->count & (relations->count - 1)) == 0)
		relations->list = xrealloc(relations->list, (relations->count + 1) * 2 * sizeof(Relation *));
	relations->list[relations->count++] = relation;
	relation->number = relations->count;
	relation->map = xstrdup("");
	relation->announced_map = xstrdup("");
	return relation;
}

Relation *
relations_use(Relations *relations, Version *version)
{
	if (version->relation == NULL)
		version->relation = relations_by_oid(relations, version->head.oid);
	if (version->relation == NULL)
	{
		Relation *relation = relations_append(relations);

		relation->oid = version->head.oid;
		relation->dirty = true;
		version->relation = relation;
	}
	return version->relation;
}

static RelationRole
role_of(const Version *version)
{
	if (!slice_equal(version->head.schema, slice_string("walrank")))
		return ROLE_ITEMS;
	if (slice_equal(version->head.table, slice_string("watched")))
		return ROLE_WATCHED;
	if (slice_equal(version->head.table, slice_string("ranking")))
		return ROLE_RANKINGS;
	if (slice_equal(version->head.table, slice_string("intervention")))
		return ROLE_INTERVENTIONS;
	if (slice_equal(version->head.table, slice_string("rule_library")))
		return ROLE_LIBRARIES;
	return ROLE_ITEMS;
}

void
relation_set_current(Relation *relation, Version *version, Lsn lsn)
{
	relation->current = version;
	relation->current_lsn = lsn;
	relation->role = role_of(version);
	relation->dirty = true;
}

void
relation_set_map(Relation *relation, const char *map)
{
	char *copy = xstrdup(map);

	free(relation->map);
	relation->map = copy;
	relation->dirty = true;
}

/* ---- rows --------------------------------------------------------------------------------- */

enum
{
	ROW_WATCHED = 1,
	ROW_TOUCHING = 2,
	ROW_SCANNED = 4,
	ROW_LOST = 8,
	ROW_MENDING = 16,
	ROW_NAMING = 32,
	ROW_CURSOR = 64,
	ROW_REDO = 128,
	ROW_WHOLE = 256,
	ROW_STOPPED = 512,
	ROW_ALL = 1023,
};

static void
relation_pack(const Relation *relation, Buffer *row)
{
	uint64_t flags = (relation->watched ? ROW_WATCHED : 0) | (relation->touching ? ROW_TOUCHING : 0) |
					 (relation->scanned ? ROW_SCANNED : 0) | (relation->lost ? ROW_LOST : 0) |
					 (relation->mending ? ROW_MENDING : 0) | (relation->naming ? ROW_NAMING : 0) |
					 (relation->clearing.cursor.started ? ROW_CURSOR : 0) | (relation->redo ? ROW_REDO : 0) |
					 (relation->whole ? ROW_WHOLE : 0) | (relation->stopped ? ROW_STOPPED : 0);

	pack_number(row, RELATION_ROW_FORMAT);
	pack_number(row, relation->oid);
	pack_number(row, relation->fill);
	pack_number(row, relation->backfill);
	pack_number(row, flags);
	buffer_append_u64(row, relation->current != NULL ? relation->current->fingerprint : 0);
	buffer_append_u64(row, relation->current_lsn);
	buffer_append_u64(row, relation->truncate_lsn);
	buffer_append_u64(row, relation->items);
	pack_number(row, relation->displaced);
	pack_bytes(row, slice_string(relation->map));
	buffer_append_u64(row, relation->announced != NULL ? relation->announced->fingerprint : 0);
	pack_bytes(row, slice_string(relation->announced_map));
	pack_number(row, relation->chunk);
	pack_number(row, relation->begun);
	pack_number(row, relation->listed);
	pack_bytes(row, buffer_slice(&relation->resume));
	pack_number(row, relation->clearing.job);
	pack_number(row, relation->clearing.chunk);
	pack_bytes(row, slice_make(relation->clearing.cursor.bytes, sizeof(relation->clearing.cursor.bytes)));
}

static char *
slice_strdup(Slice slice)
{
	char *string = xmalloc(slice.len + 1);

	memcpy(string, slice.data, slice.len);
	string[slice.len] = '\0';
	return string;
}

typedef struct RelationRow
{
	uint32_t format, oid, fill, flags, displaced, chunk, clearing_chunk;
	uint64_t backfill, current, current_lsn, truncate_lsn, items, announced, begun, listed, clearing_job;
	Slice map, announced_map, resume, cursor;
} RelationRow;

static bool
relation_unpack(Slice value, RelationRow *row)
{
	WireCursor cursor = wire_cursor(value);

	return unpack_small(&cursor, RELATION_ROW_FORMAT, &row->format) &&
		   unpack_small(&cursor, UINT32_MAX, &row->oid) && unpack_small(&cursor, FILL_DONE, &row->fill) &&
		   unpack_number(&cursor, &row->backfill) && unpack_small(&cursor, ROW_ALL, &row->flags) &&
		   unpack_u64(&cursor, &row->current) && unpack_u64(&cursor, &row->current_lsn) &&
		   unpack_u64(&cursor, &row->truncate_lsn) && unpack_u64(&cursor, &row->items) &&
		   unpack_small(&cursor, UINT32_MAX, &row->displaced) && unpack_bytes(&cursor, &row->map) &&
		   unpack_u64(&cursor, &row->announced) && unpack_bytes(&cursor, &row->announced_map) &&
		   unpack_small(&cursor, UINT32_MAX, &row->chunk) && unpack_number(&cursor, &row->begun) &&
		   unpack_number(&cursor, &row->listed) && unpack_bytes(&cursor, &row->resume) &&
		   unpack_number(&cursor, &row->clearing_job) &&
		   unpack_small(&cursor, UINT32_MAX, &row->clearing_chunk) && unpack_bytes(&cursor, &row->cursor) &&
		   row->cursor.len == sizeof(((StoreCursor *) 0)->bytes);
}

static bool
relation_restore(Relations *relations, const RelationRow *row, Error *err)
{
	Relation *relation = relations_append(relations);
	Version *version;

	relation->oid = row->oid;
	relation->fill = (RelationFill) row->fill;
	relation->backfill = row->backfill;
	relation->watched = row->flags & ROW_WATCHED;
	relation->touching = row->flags & ROW_TOUCHING;
	relation->scanned = row->flags & ROW_SCANNED;
	relation->naming = row->flags & ROW_NAMING;
	relation->redo = row->flags & ROW_REDO;
	relation->whole = row->flags & ROW_WHOLE;
	relation->stopped = row->flags & ROW_STOPPED;
	relation->chunk = row->chunk;
	relation->begun = row->begun;
	relation->listed = row->listed;
	buffer_append_slice(&relation->resume, row->resume);
	relation->clearing.job = row->clearing_job;
	relation->clearing.chunk = row->clearing_chunk;
	relation->clearing.cursor.started = row->flags & ROW_CURSOR;
	memcpy(relation->clearing.cursor.bytes, row->cursor.data, row->cursor.len);
	relation->lost = row->flags & ROW_LOST;
	relation->mending = row->flags & ROW_MENDING;
	relation->truncate_lsn = row->truncate_lsn;
	relation->items = row->items;
	relation->displaced = row->displaced;
	free(relation->map);
	relation->map = slice_strdup(row->map);
	free(relation->announced_map);
	relation->announced_map = slice_strdup(row->announced_map);
	if (row->current != 0)
	{
		if (!relations_version(relations, row->current, &version, err))
			return false;
		if (version == NULL)
			return error_set(err, ERR_REFUSE, "the store lacks the descriptor of relation %u",
							 relation->number);
		relation_set_current(relation, version, row->current_lsn);
		version->relation = relation;
	}
	if (row->announced != 0)
	{
		if (!relations_version(relations, row->announced, &version, err))
			return false;
		relation->announced = version;
	}
	relation->dirty = false;
	return true;
}

/* Big-endian, so that the store's order is that of the numbers. */
static Slice
number_key(uint32_t number, uint8_t bytes[4])
{
	for (int i = 0; i < 4; i++)
		bytes[i] = (uint8_t) (number >> (24 - 8 * i));
	return slice_make(bytes, 4);
}

bool
relations_load(Relations *relations, Store *store, Error *err)
{
	memset(relations, 0, sizeof(*relations));
	relations->store = store;
	for (uint32_t number = 1; number < UINT32_MAX; number++)
	{
		uint8_t key[4];
		Slice value;
		Buffer copy = {0};
		RelationRow row;
		bool found;
		bool ok;

		if (!store_get(store, STORE_RELATION, number_key(number, key), &value, &found, err))
			return error_wrap(err, "relation %u", number);
		if (!found)
			break;
		/* a row is small, and restoring it reads the store again */
		buffer_append_slice(&copy, value);
		ok = relation_unpack(buffer_slice(&copy), &row)
				 ? relation_restore(relations, &row, err)
				 : error_set(err, ERR_REFUSE, "unreadable store row of relation %u", number);
		buffer_free(&copy);
		if (!ok)
			return false;
	}
	return true;
}

bool
relations_save(Relations *relations, Error *err)
{
	Buffer row = {0};
	bool ok = true;

	for (uint32_t i = 0; ok && i < relations->count; i++)
	{
		Relation *relation = relations->list[i];
		uint8_t key[4];

		if (!relation->dirty)
			continue;
		buffer_reset(&row);
		relation_pack(relation, &row);
		ok = store_put(relations->store, STORE_RELATION, number_key(relation->number, key),
					   buffer_slice(&row), err);
		relation->dirty = false;
	}
	buffer_free(&row);
	return ok || error_wrap(err, "state of a relation");
}

void
relations_free(Relations *relations)
{
	Version *version;
	Version *next;

	HASH_ITER (hh, relations->versions, version, next)
	{
		HASH_DEL(relations->versions, version);
		version_free(version);
	}
	for (uint32_t i = 0; i < relations->count; i++)
	{
		free(relations->list[i]->map);
		free(relations->list[i]->announced_map);
		free(relations->list[i]->rankings);
		free(relations->list[i]->conditions.list);
		free(relations->list[i]->pins.list);
		buffer_free(&relations->list[i]->resume);
		free(relations->list[i]);
	}
	free(relations->list);
}
