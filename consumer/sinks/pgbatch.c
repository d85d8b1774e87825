/*
 * pgbatch.c -- see pgbatch.h.
 */
#include "sinks/pgbatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/json.h"

#define ARENA_BLOCK_BYTES (256 * 1024)
#define DESCRIPTION_BYTES_MAX (64 * 1024)
#define HASH_SUFFIX_BYTES 9 /* "_" and 8 digits */

/* ---- targets ------------------------------------------------------------------------------------- */

/* Columns of every score table. */
static const char *const own_columns[] = {"ranking", "tier", "pin",		   "score",		   "blocked",
										  "version", "seq",	 "commit_lsn", "evaluated_at", NULL};

/* Spellings that mean something else, or something narrower, when a table is created with them. */
static const struct
{
	const char *type;
	const char *column;
} type_columns[] = {{"character", "bpchar"}, {"char", "text"}, {"bit", "varbit"},
					{"json", "text"},		 {"xml", "text"},  {NULL, NULL}};

/* What can be written unquoted into CREATE TABLE and is in pg_catalog: no dot, no quote, no capital. */
static bool
is_plain_type(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= PG_NAME_BYTES)
		return false;
	for (; *name != '\0'; name++)
		if (!(*name >= 'a' && *name <= 'z') && !(*name >= '0' && *name <= '9') &&
			strchr("_ []", *name) == NULL)
			return false;
	return true;
}

static void
key_column_fill(PgKeyColumn *key, const FeedColumn *column)
{
	const char *type = is_plain_type(column->type_name) ? column->type_name : "text";
	bool clash = false;

	for (int i = 0; type_columns[i].type != NULL; i++)
	{
		const size_t len = strlen(type_columns[i].type);

		if (strncmp(type_columns[i].type, type, len) != 0)
			continue;
		if (type[len] == '\0')
			type = type_columns[i].column;
		else if (type[len] == '[')
			type = "text";
	}
	for (int i = 0; own_columns[i] != NULL; i++)
		clash = clash || strcmp(own_columns[i], column->name) == 0;
	key->source = xstrdup(column->name);
	snprintf(key->column, sizeof(key->column), "%s%.63s", clash ? "key_" : "", column->name);
	snprintf(key->type, sizeof(key->type), "%s", type);
	snprintf(key->source_type, sizeof(key->source_type), "%s", type);
}

static void
target_free(PgTarget *target)
{
	for (int i = 0; i < target->nkeys; i++)
		free(target->keys[i].source);
	free(target->keys);
	free(target->qualified);
	free(target->schema);
	free(target->relname);
	free(target);
}

static PgTarget *
target_create(const FeedRelation *relation)
{
	PgTarget *target = xcalloc(1, sizeof(*target));

	target->relation = relation->number;
	target->fingerprint = relation->fingerprint;
	target->qualified = xstrdup(relation->qualified);
	target->schema = xstrdup(relation->schema);
	target->relname = xstrdup(relation->table);
	target->keys = xcalloc((size_t) relation->ncolumns, sizeof(PgKeyColumn));
	for (int i = 0; i < relation->ncolumns; i++)
		if (relation->columns[i].key)
			key_column_fill(&target->keys[target->nkeys++], &relation->columns[i]);
	return target;
}

/* Whether it is the same table: its key columns' types are the table's business. */
static bool
target_same_table(const PgTarget *a, const PgTarget *b)
{
	if (a->nkeys != b->nkeys || strcmp(a->schema, b->schema) != 0 || strcmp(a->relname, b->relname) != 0)
		return false;
	for (int i = 0; i < a->nkeys; i++)
		if (strcmp(a->keys[i].source, b->keys[i].source) != 0)
			return false;
	return true;
}

/* One target per table, or two rows of an item would not replace each other: types are the latest ones. */
static void
target_renew(PgTarget *target, const PgTarget *fresh)
{
	target->fingerprint = fresh->fingerprint;
	for (int i = 0; i < target->nkeys; i++)
	{
		if (strcmp(target->keys[i].source_type, fresh->keys[i].source_type) == 0)
			continue;
		snprintf(target->keys[i].source_type, PG_NAME_BYTES, "%s", fresh->keys[i].source_type);
		snprintf(target->keys[i].type, PG_NAME_BYTES, "%s", fresh->keys[i].type);
		target->ready = false;
	}
}

/* A version of a relation that leaves name and key alone keeps its target. */
static PgTarget *
target_get(PgBatch *batch, const FeedRelation *relation)
{
	PgTarget *fresh;

	for (int i = batch->ntargets - 1; i >= 0; i--)
		if (batch->targets[i]->relation == relation->number &&
			batch->targets[i]->fingerprint == relation->fingerprint)
			return batch->targets[i];
	fresh = target_create(relation);
	for (int i = 0; i < batch->ntargets; i++)
		if (batch->targets[i]->relation == relation->number && target_same_table(batch->targets[i], fresh))
		{
			target_renew(batch->targets[i], fresh);
			target_free(fresh);
			return batch->targets[i];
		}
	batch->targets = xrealloc(batch->targets, (size_t) (batch->ntargets + 1) * sizeof(PgTarget *));
	batch->targets[batch->ntargets++] = fresh;
	return fresh;
}

void
pgbatch_table_name(const PgTarget *target, const char *salt, char name[PG_NAME_BYTES])
{
	char whole[2 * PG_NAME_BYTES * 4];
	const bool public = strcmp(target->schema, "public") == 0;
	XXH64_hash_t hash;
	size_t len;

	len = (size_t) snprintf(whole, sizeof(whole), "score_%s%s%s", public ? "" : target->schema,
							public ? "" : "_", target->relname);
	if (len < PG_NAME_BYTES && salt == NULL)
	{
		memcpy(name, whole, len + 1);
		return;
	}
	hash = XXH3_64bits_withSeed(target->relname, strlen(target->relname),
								XXH3_64bits(target->schema, strlen(target->schema)));
	if (salt != NULL && salt[0] != '\0')
		hash = XXH3_64bits_withSeed(salt, strlen(salt), hash);
	if (len > PG_NAME_BYTES - 1 - HASH_SUFFIX_BYTES)
		len = PG_NAME_BYTES - 1 - HASH_SUFFIX_BYTES;
	while (len > 0 && ((uint8_t) whole[len] & 0xc0) == 0x80) /* not inside a character */
		len--;
	memcpy(name, whole, len);
	snprintf(name + len, PG_NAME_BYTES - len, "_%08x", (unsigned) hash);
}

/* ---- gathering ----------------------------------------------------------------------------------- */

void
pgbatch_init(PgBatch *batch)
{
	*batch = (PgBatch){.arena = arena_create(ARENA_BLOCK_BYTES)};
}

void
pgbatch_free(PgBatch *batch)
{
	for (int i = 0; i < batch->ntargets; i++)
		target_free(batch->targets[i]);
	free(batch->targets);
	free(batch->rows);
	free(batch->clearings);
	free(batch->slots);
	arena_destroy(batch->arena);
	*batch = (PgBatch){0};
}

void
pgbatch_reset(PgBatch *batch)
{
	if (batch->nrows > 0)
		memset(batch->slots, 0, batch->nslots * sizeof(uint32_t));
	batch->nrows = 0;
	batch->nclearings = 0;
	arena_reset(batch->arena);
}

static uint32_t
slot_of(const PgBatch *batch, const PgRow *row)
{
	const uint64_t seed = (uint64_t) (uintptr_t) row->target ^ (uint64_t) row->ranking << 48;

	return (uint32_t) XXH3_64bits_withSeed(row->key.data, row->key.len, seed) & (batch->nslots - 1);
}

/* The slot that holds the same item and ranking, or the free one where it belongs. */
static uint32_t *
slot_find(PgBatch *batch, const PgRow *row)
{
	uint32_t at = slot_of(batch, row);

	for (; batch->slots[at] != 0; at = (at + 1) & (batch->nslots - 1))
	{
		const PgRow *other = &batch->rows[batch->slots[at] - 1];

		if (other->target == row->target && other->ranking == row->ranking &&
			slice_equal(other->key, row->key))
			break;
	}
	return &batch->slots[at];
}

/* At most half full. */
static void
slots_grow(PgBatch *batch)
{
	if (batch->nrows * 2 < batch->nslots)
		return;
	batch->nslots = batch->nslots == 0 ? 1024 : batch->nslots * 2;
	free(batch->slots);
	batch->slots = xcalloc(batch->nslots, sizeof(uint32_t));
	for (uint32_t i = 0; i < batch->nrows; i++)
		if (!batch->rows[i].superseded)
			*slot_find(batch, &batch->rows[i]) = i + 1;
}

static void
add_row(PgBatch *batch, const PgRow *row)
{
	uint32_t *slot;
	PgRow *kept;

	slots_grow(batch);
	if (batch->nrows == batch->rows_capacity)
	{
		batch->rows_capacity = batch->rows_capacity == 0 ? 1024 : batch->rows_capacity * 2;
		batch->rows = xrealloc(batch->rows, batch->rows_capacity * sizeof(PgRow));
	}
	kept = &batch->rows[batch->nrows];
	*kept = *row;
	slot = slot_find(batch, row);
	if (*slot != 0)
	{
		kept->key = batch->rows[*slot - 1].key; /* already ours */
		batch->rows[*slot - 1].superseded = true;
	}
	else
		kept->key = arena_copy(batch->arena, row->key);
	kept->ranking_name = arena_copy(batch->arena, row->ranking_name);
	*slot = ++batch->nrows;
}

/* What was gathered of it is superseded; the slots keep it, so that they find what comes later. */
static void
add_clearing(PgBatch *batch, PgTarget *target, uint32_t ranking, Slice ranking_name)
{
	for (uint32_t i = 0; i < batch->nrows; i++)
		if (batch->rows[i].target->relation == target->relation &&
			(ranking == 0 || batch->rows[i].ranking == ranking))
			batch->rows[i].superseded = true;
	for (uint32_t i = 0; i < batch->nclearings; i++)
		if (batch->clearings[i].target == target &&
			(batch->clearings[i].ranking == 0 || batch->clearings[i].ranking == ranking))
			return;
	if (batch->nclearings == batch->clearings_capacity)
	{
		batch->clearings_capacity = batch->clearings_capacity == 0 ? 16 : batch->clearings_capacity * 2;
		batch->clearings = xrealloc(batch->clearings, batch->clearings_capacity * sizeof(PgClearing));
	}
	batch->clearings[batch->nclearings++] =
		(PgClearing){target, ranking, arena_copy(batch->arena, ranking_name)};
}

void
pgbatch_change(PgBatch *batch, const RecordHeader *header, const RecordEntry *entry)
{
	batch->row_seq = header->seq;
	batch->row_part = header->part;
	batch->row_change = entry->change;
	batch->row_relation = entry->relation;
	batch->row_fingerprint = entry->row.fingerprint;
}

/* A table altered inside a transaction has rows of two versions in one record. */
static const FeedRelation *
relation_of(const PgBatch *batch, const FeedReader *reader, const RecordHeader *header,
			const RecordEntry *entry)
{
	if (batch->row_seq == header->seq && batch->row_part == header->part &&
		batch->row_change == entry->change && batch->row_relation == entry->relation)
		return feed_relation_version(reader, entry->relation, batch->row_fingerprint);
	return feed_relation(reader, entry->relation);
}

bool
pgbatch_add(PgBatch *batch, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
			Error *err)
{
	const FeedRelation *relation = relation_of(batch, reader, header, entry);
	const FeedRanking *ranking = NULL;
	PgRow row = {0};

	if (relation == NULL)
		return error_set(err, ERR_DATA, "relation %u is not in the feed's dictionary", entry->relation);
	if (entry->kind != RECORD_TRUNCATE)
	{
		ranking = feed_ranking(reader, entry->out);
		if (ranking == NULL)
			return error_set(err, ERR_DATA, "ranking %u is not in the feed's dictionary", entry->out);
		row.ranking_name = slice_string(ranking->name);
		row.ranking = entry->out;
	}
	row.target = target_get(batch, relation);
	if (entry->kind == RECORD_TRUNCATE || entry->key.len == 0)
	{
		add_clearing(batch, row.target, row.ranking, row.ranking_name);
		return true;
	}
	row.key = entry->key;
	row.change = entry->change;
	row.seq = header->seq;
	row.commit_lsn = header->commit_lsn;
	row.now_us = header->now_us;
	row.remove = entry->kind == RECORD_REMOVE;
	if (!row.remove)
	{
		row.score = entry->score.score;
		row.tier = entry->score.tier;
		row.pin = entry->score.pin;
		row.version = entry->score.version;
		row.blocked = entry->score.blocked;
	}
	add_row(batch, &row);
	return true;
}

/* ---- text of values ------------------------------------------------------------------------------ */

/* json.h's text without the quotes it put around what is no JSON number. */
static bool
put_unquoted(Buffer *out, Slice value)
{
	const size_t start = out->len;

	if (!json_value(out, value))
		return false;
	if (out->data[start] == '"')
	{
		memmove(out->data + start, out->data + start + 1, out->len - start - 2);
		out->len -= 2;
	}
	return true;
}

/* Years before 1 and after 9999 are written another way: 0044-.. BC, 294276-.. */
static bool
put_date(Buffer *out, Slice value)
{
	Buffer text = {0};
	char *rest;
	long long year;
	bool ok = put_unquoted(&text, value);

	buffer_append_byte(&text, '\0');
	if (ok && (text.data[0] == '+' || text.data[0] == '-' || memcmp(text.data, "0000-", 5) == 0) &&
		text.data[1] != 'i')
	{
		year = strtoll((const char *) text.data, &rest, 10);
		buffer_printf(out, "%04lld%s%s", year <= 0 ? 1 - year : year, rest, year <= 0 ? " BC" : "");
	}
	else if (ok)
		buffer_append(out, text.data, text.len - 1);
	buffer_free(&text);
	return ok;
}

static bool put_value(Buffer *out, Slice value);

/* {"a","b",NULL} */
static bool
put_array(Buffer *out, Slice fields)
{
	WireCursor cursor = wire_cursor(fields);
	Buffer element = {0};
	Slice value;
	bool ok = true;

	buffer_append_byte(out, '{');
	for (bool first = true; ok && !wire_done(&cursor); first = false)
	{
		WireValue decoded;

		if (!first)
			buffer_append_byte(out, ',');
		buffer_reset(&element);
		ok = wire_value_next(&cursor, &value) && wire_value(value, &decoded) && put_value(&element, value);
		if (ok && decoded.kind == VALUE_NULL)
		{
			buffer_append(out, "NULL", 4);
			continue;
		}
		buffer_append_byte(out, '"');
		for (size_t i = 0; i < element.len; i++)
		{
			if (element.data[i] == '"' || element.data[i] == '\\')
				buffer_append_byte(out, '\\');
			buffer_append_byte(out, element.data[i]);
		}
		buffer_append_byte(out, '"');
	}
	buffer_append_byte(out, '}');
	buffer_free(&element);
	return ok;
}

static bool
put_value(Buffer *out, Slice body)
{
	WireValue value;

	if (!wire_value(body, &value))
		return false;
	switch (value.kind)
	{
		case VALUE_TEXT:
		case VALUE_JSON:
			buffer_append_slice(out, value.bytes);
			return true;
		case VALUE_BYTES:
			buffer_append(out, "\\x", 2);
			for (size_t i = 0; i < value.bytes.len; i++)
				buffer_printf(out, "%02x", value.bytes.data[i]);
			return true;
		case VALUE_LIST:
			return put_array(out, value.bytes);
		case VALUE_TIMESTAMP:
		case VALUE_TIMESTAMPTZ:
		case VALUE_DATE:
			return put_date(out, body);
		default:
			return put_unquoted(out, body);
	}
}

bool
pgbatch_key_text(Buffer *out, const PgRow *row, int i)
{
	WireCursor cursor = wire_cursor(row->key);
	Slice value;

	for (int skip = 0; skip <= i; skip++)
		if (!wire_value_next(&cursor, &value))
			return false;
	if (strcmp(row->target->keys[i].type, "jsonb") == 0)
		return json_value(out, value);
	return put_value(out, value);
}

/* ---- descriptions -------------------------------------------------------------------------------- */

/* The text is what json.c made: valid UTF-8. */
static uint32_t
decode_utf8(const uint8_t *at, size_t *len)
{
	if (at[0] < 0xe0)
	{
		*len = 2;
		return (uint32_t) (at[0] & 0x1f) << 6 | (at[1] & 0x3f);
	}
	if (at[0] < 0xf0)
	{
		*len = 3;
		return (uint32_t) (at[0] & 0x0f) << 12 | (uint32_t) (at[1] & 0x3f) << 6 | (at[2] & 0x3f);
	}
	*len = 4;
	return (uint32_t) (at[0] & 0x07) << 18 | (uint32_t) (at[1] & 0x3f) << 12 |
		   (uint32_t) (at[2] & 0x3f) << 6 | (at[3] & 0x3f);
}

/* Pieces of valid UTF-8, as json_text() leaves it, and nothing below 0x20. */
void
pgbatch_ascii(Buffer *out, Slice text)
{
	Buffer clean = {0};

	json_text(&clean, text);
	for (size_t i = 0, len = 1; i < clean.len; i += len)
	{
		uint32_t c;

		len = 1;
		if (clean.data[i] < 0x80)
		{
			buffer_append_byte(out, clean.data[i]);
			continue;
		}
		c = decode_utf8(clean.data + i, &len);
		if (c < 0x10000)
			buffer_printf(out, "\\u%04x", c);
		else
			buffer_printf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
						  0xdc00 + ((c - 0x10000) & 0x3ff));
	}
	buffer_free(&clean);
}

void
pgbatch_describe(Buffer *out, const PgRow *row)
{
	const size_t start = out->len;
	WireCursor cursor = wire_cursor(row->key);
	Buffer text = {0};
	Slice value;

	buffer_printf(&text, "{\"kind\":\"%s\",\"relation\":", row->remove ? "remove" : "score");
	json_string(&text, slice_string(row->target->qualified));
	buffer_printf(&text, ",\"ranking\":");
	json_string(&text, row->ranking_name);
	buffer_printf(&text, ",\"key\":{");
	for (int i = 0; i < row->target->nkeys && wire_value_next(&cursor, &value); i++)
	{
		buffer_printf(&text, "%s", i == 0 ? "" : ",");
		json_string(&text, slice_string(row->target->keys[i].source));
		buffer_append_byte(&text, ':');
		if (!json_value(&text, value))
			buffer_append(&text, "null", 4);
	}
	buffer_append_byte(&text, '}');
	if (!row->remove)
	{
		buffer_printf(&text, ",\"score\":");
		json_double(&text, row->score);
		buffer_printf(&text, ",\"tier\":%d,\"pin\":%d,\"blocked\":%s,\"version\":%u", row->tier, row->pin,
					  row->blocked ? "true" : "false", row->version);
	}
	buffer_append_byte(&text, '}');
	pgbatch_ascii(out, buffer_slice(&text));
	if (out->len - start > DESCRIPTION_BYTES_MAX)
		out->len = start + DESCRIPTION_BYTES_MAX;
	buffer_free(&text);
}
