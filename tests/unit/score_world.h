/*
 * score_world.h -- a small world for the scorer's tests: units written by hand, played into a real store.
 *
 * Items are written as "id=1 price=5 att.color='red'": values are integers, 'text', null, true, false, {}, lists
 * [1,'x'], numbers with a point (double), @5 (five seconds after the world began), (1) (an item's key as bytes),
 * ~ (unchanged TOAST), X (removed key) and OV (oversized); a value followed by + or - is marked by the plugin as changed
 * or not.  Every unit is kept, so that a world can be played again under other conditions.
 */
#ifndef WALRANK_SCORE_WORLD_H
#define WALRANK_SCORE_WORLD_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "rules.h"
#include "score/pack.h"
#include "score/scorer.h"

/* ---- wire ---------------------------------------------------------------------------------- */

static inline void
w_varint(Buffer *out, uint32_t field, uint64_t v)
{
	pack_number(out, WIRE_TAG(field, WIRE_VARINT));
	pack_number(out, v);
}

static inline void
w_bytes(Buffer *out, uint32_t field, Slice bytes)
{
	pack_number(out, WIRE_TAG(field, WIRE_BYTES));
	pack_bytes(out, bytes);
}

static inline void
w_fixed64(Buffer *out, uint32_t field, uint64_t v)
{
	pack_number(out, WIRE_TAG(field, WIRE_FIXED64));
	buffer_append_u64(out, v);
}

static inline void
w_fixed32(Buffer *out, uint32_t field, uint32_t v)
{
	pack_number(out, WIRE_TAG(field, WIRE_FIXED32));
	buffer_append_u32(out, v);
}

/* "name:type", a leading * marks the key; types are i (int8), t (text), j (jsonb), b (bool), z (timestamptz). */
static inline void
w_relation(Buffer *out, uint32_t oid, const char *schema, const char *table, const char *const *columns)
{
	Buffer rest = {0};

	w_bytes(&rest, RELATION_SCHEMA, slice_string(schema));
	w_bytes(&rest, RELATION_TABLE, slice_string(table));
	w_varint(&rest, RELATION_OID, oid);
	for (int i = 0; columns[i] != NULL; i++)
	{
		const char *name = columns[i] + (columns[i][0] == '*');
		size_t len = strcspn(name, ":");
		char type = name[len + 1];
		Buffer column = {0};

		w_bytes(&column, COLUMN_NAME, slice_make(name, len));
		w_varint(&column, COLUMN_TYPE_OID,
				 type == 'i'   ? 20
				 : type == 't' ? 25
				 : type == 'j' ? 3802
				 : type == 'b' ? 16
				 : type == 'd' ? 701
				 : type == 'y' ? 17
							   : 1184);
		w_varint(&column, COLUMN_TYPMOD, wire_zigzag(-1));
		if (columns[i][0] == '*')
			w_varint(&column, COLUMN_KEY, 1);
		w_bytes(&rest, RELATION_COLUMNS, buffer_slice(&column));
		buffer_free(&column);
	}
	w_fixed64(out, RELATION_FINGERPRINT, wire_fingerprint(buffer_slice(&rest)));
	buffer_append_slice(out, buffer_slice(&rest));
	buffer_free(&rest);
}

typedef struct Table
{
	Buffer body; /* Relation message */
	uint64_t fingerprint;
	uint32_t oid;
	const char *const *columns;
} Table;

static inline Table
table_make(uint32_t oid, const char *schema, const char *table, const char *const *columns)
{
	Table made = {.oid = oid, .columns = columns};

	w_relation(&made.body, oid, schema, table, columns);
	memcpy(&made.fingerprint, made.body.data + 1, 8);
	return made;
}

static inline int
table_column(const Table *table, const char *name, size_t len)
{
	for (int i = 0; table->columns[i] != NULL; i++)
	{
		const char *column = table->columns[i] + (table->columns[i][0] == '*');

		if (strcspn(column, ":") == len && strncmp(column, name, len) == 0)
			return i;
	}
	fail_msg("no column %.*s", (int) len, name);
	return -1;
}

#define WORLD_BEGIN_US (PG_EPOCH_US + INT64_C(800000000) * 1000000)

/* @seconds, (integer key), or a number; returns what comes after it. */
static inline const char *
w_number(Buffer *out, const char *s)
{
	const char first = *s;
	const char *number = s + (first == '@' || first == '(');
	char *end;
	long long integer = strtoll(number, &end, 10);

	assert_true(end != number);
	if (first == '@')
		w_varint(out, VALUE_TIMESTAMPTZ, wire_zigzag(WORLD_BEGIN_US - PG_EPOCH_US + integer * 1000000));
	else if (first == '(')
	{
		Buffer value = {0};
		Buffer key = {0};

		w_varint(&value, VALUE_INT, wire_zigzag(integer));
		w_bytes(&key, CHANGE_KEY, buffer_slice(&value));
		w_bytes(out, VALUE_BYTES, buffer_slice(&key));
		buffer_free(&value);
		buffer_free(&key);
		assert_true(*end++ == ')');
	}
	else if (*end == '.')
	{
		double wide = strtod(number, &end);
		uint64_t bits;

		memcpy(&bits, &wide, sizeof(bits));
		w_fixed64(out, VALUE_DOUBLE, bits);
	}
	else
		w_varint(out, VALUE_INT, wire_zigzag(integer));
	return end;
}

/* One value at *at; 0 = a Value was written, else the character that stands for a state. */
static inline char
w_value(Buffer *out, const char **at)
{
	const char *s = *at;

	if (*s == '~' || *s == 'X' || (s[0] == 'O' && s[1] == 'V'))
	{
		*at = s + (*s == 'O' ? 2 : 1);
		return *s;
	}
	if (*s == '\'')
	{
		size_t len = strcspn(s + 1, "'");

		w_bytes(out, VALUE_TEXT, slice_make(s + 1, len));
		*at = s + len + 2;
	}
	else if (*s == '[')
	{
		Buffer list = {0};

		s++;
		while (*s != ']')
		{
			Buffer element = {0};

			w_value(&element, &s);
			w_bytes(&list, LIST_VALUES, buffer_slice(&element));
			buffer_free(&element);
			if (*s == ',')
				s++;
		}
		w_bytes(out, VALUE_LIST, buffer_slice(&list));
		buffer_free(&list);
		*at = s + 1;
	}
	else if (strncmp(s, "null", 4) == 0)
	{
		w_varint(out, VALUE_NULL, 1);
		*at = s + 4;
	}
	else if (strncmp(s, "true", 4) == 0 || strncmp(s, "false", 5) == 0)
	{
		w_varint(out, VALUE_BOOL, *s == 't');
		*at = s + (*s == 't' ? 4 : 5);
	}
	else if (*s == '{')
	{
		w_bytes(out, VALUE_JSON, slice_string("{}"));
		*at = s + 2;
	}
	else
		*at = w_number(out, s);
	return '\0';
}

/* The text of an item into its key Values and its Attributes. */
static inline void
w_item(const Table *table, const char *text, Buffer *keys, Buffer *attributes)
{
	const char *at = text;

	while (*at != '\0')
	{
		size_t name = strcspn(at, ".=");
		int column = table_column(table, at, name);
		Buffer attribute = {0};
		Buffer value = {0};
		char state;

		w_varint(&attribute, ATTRIBUTE_COLUMN, (uint64_t) column);
		if (at[name] == '.')
		{
			size_t key = strcspn(at + name + 1, "=");

			w_bytes(&attribute, ATTRIBUTE_KEY, slice_make(at + name + 1, key));
			name += key + 1;
		}
		at += name + 1;
		state = w_value(&value, &at);
		if (state != '\0')
			w_varint(&attribute, ATTRIBUTE_STATE,
					 state == '~'	? STATE_UNCHANGED_TOAST
					 : state == 'X' ? STATE_REMOVED
									: STATE_OVERSIZED);
		if (*at == '+' || *at == '-')
			w_varint(&attribute, ATTRIBUTE_CHANGED, *at++ == '+' ? CHANGED_YES : CHANGED_NO);
		if (state == '\0')
			w_bytes(&attribute, ATTRIBUTE_VALUE, buffer_slice(&value));
		if (state == 'O')
			w_varint(&attribute, ATTRIBUTE_SIZE, 17000000);
		if (table->columns[column][0] == '*')
			w_bytes(keys, CHANGE_KEY, buffer_slice(&value));
		else
			w_bytes(attributes, CHANGE_ATTRIBUTES, buffer_slice(&attribute));
		buffer_free(&attribute);
		buffer_free(&value);
		while (*at == ' ')
			at++;
	}
}

/* An Entry with a Change; old: text of the old key, or NULL. */
static inline void
w_change(Buffer *out, const Table *table, WireOp op, const char *text, const char *old, uint32_t flags)
{
	Buffer keys = {0};
	Buffer attributes = {0};
	Buffer change = {0};

	w_fixed64(&change, CHANGE_RELATION, table->fingerprint);
	w_varint(&change, CHANGE_OP, op);
	w_item(table, text, &keys, &attributes);
	buffer_append_slice(&change, buffer_slice(&keys));
	if (old != NULL)
	{
		Buffer old_keys = {0};
		Buffer none = {0};

		w_item(table, old, &old_keys, &none);
		/* the same Values under the other field number */
		for (size_t i = 0; i < old_keys.len;)
		{
			WireCursor cursor = {old_keys.data + i, old_keys.data + old_keys.len};
			Slice value;

			assert_true(wire_value_next(&cursor, &value));
			w_bytes(&change, CHANGE_OLD_KEY, value);
			i = (size_t) (cursor.at - old_keys.data);
		}
		buffer_free(&old_keys);
		buffer_free(&none);
	}
	buffer_append_slice(&change, buffer_slice(&attributes));
	if (flags != 0)
		w_varint(&change, CHANGE_FLAGS, flags);
	w_bytes(out, ENTRY_CHANGE, buffer_slice(&change));
	buffer_free(&keys);
	buffer_free(&attributes);
	buffer_free(&change);
}

/* ---- units, kept --------------------------------------------------------------------------- */

typedef struct KeptPart
{
	PartType type;
	Buffer bytes;
} KeptPart;

typedef struct KeptUnit
{
	Unit unit;
	KeptPart *parts;
	int nparts;
} KeptUnit;

typedef struct World
{
	char path[64];
	int dirfd;
	Store *store;
	Scorer *scorer;
	uint32_t part_changes;
	uint64_t hash_mask;
	KeptUnit *units;
	int nunits;
	int64_t now_us;
	Lsn lsn;
	Buffer frame; /* entries of the transaction being written */
	Buffer feed;  /* all records: u64 length, bytes */
	bool
		dictionaries; /* also keep, behind each record, the dictionary a segment that begins then would have */
	size_t shown;	  /* feed[shown..] has not been asked for yet */
	Buffer text;
	Table watched, ranking, library, intervention, item;
} World;

static const char *const watched_columns[] = {"*relation:t", "map:t", "since:z", NULL};
static const char *const ranking_columns[] = {"*name:t",   "relation:t", "definition:t",
											  "enabled:b", "version:i",	 NULL};
static const char *const library_columns[] = {"*name:t", "definition:t", NULL};
static const char *const intervention_columns[] = {
	"*id:i",		 "relation:t", "ranking:t", "key:j",	"condition:t", "action:t",
	"position:i",	 "tier:i",	   "factor:d",	"addend:d", "score:d",	   "valid_from:z",
	"valid_until:z", "priority:i", "author:t",	"reason:t", "item_key:y",  NULL};
static const char *const item_columns[] = {"*id:i", "price:i", "title:t", "att:j", NULL};

static inline void
must(bool ok, const Error *err)
{
	if (!ok)
		fail_msg("%s", err->message);
}

static inline StoreSettings
world_settings(const World *world)
{
	return (StoreSettings){.map_bytes_initial = 16 << 20,
						   .map_bytes_max = UINT64_C(1) << 34,
						   .snapshots = 2,
						   .hash_mask = world->hash_mask != 0 ? world->hash_mask : ~UINT64_C(0)};
}

static inline void
world_store(World *world)
{
	Error err = {0};
	StoreHeader header = {.format = STORE_FORMAT, .engine = SCORER_ENGINE, .libm = rules_libm_fingerprint()};
	StoreSettings settings = world_settings(world);

	log_init(LOG_ERROR, false);
	/* in memory, where there is room for it: what is tested here is no disk */
	snprintf(world->path, sizeof(world->path), "%s/walrank_scorer_XXXXXX",
			 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(world->path));
	world->dirfd = open(world->path, O_RDONLY | O_DIRECTORY);
	must(store_create(world->dirfd, &settings, &header, &world->store, &err), &err);
	must(scorer_create(world->store, world->part_changes, &world->scorer, &err), &err);
}

static inline World *
world_create(uint32_t part_changes)
{
	World *world = xcalloc(1, sizeof(*world));

	world->part_changes = part_changes;
	world->now_us = WORLD_BEGIN_US;
	world->lsn = 0x1000;
	world->watched = table_make(10, "walrank", "watched", watched_columns);
	world->ranking = table_make(11, "walrank", "ranking", ranking_columns);
	world->library = table_make(13, "walrank", "rule_library", library_columns);
	world->intervention = table_make(12, "walrank", "intervention", intervention_columns);
	world->item = table_make(100, "public", "item", item_columns);
	world_store(world);
	return world;
}

static inline void
world_remove(World *world)
{
	char command[128];

	scorer_destroy(world->scorer);
	store_abort(world->store);
	close(world->dirfd);
	snprintf(command, sizeof(command), "rm -rf '%s'", world->path);
	assert_int_equal(system(command), 0);
}

static inline void
world_free(World *world)
{
	world_remove(world);
	for (int i = 0; i < world->nunits; i++)
	{
		for (int j = 0; j < world->units[i].nparts; j++)
			buffer_free(&world->units[i].parts[j].bytes);
		free(world->units[i].parts);
	}
	free(world->units);
	buffer_free(&world->frame);
	buffer_free(&world->feed);
	buffer_free(&world->text);
	buffer_free(&world->watched.body);
	buffer_free(&world->ranking.body);
	buffer_free(&world->library.body);
	buffer_free(&world->intervention.body);
	buffer_free(&world->item.body);
	free(world);
}

/* As after a kill: what was not committed is gone, and so is the feed beyond it. */
static inline void
world_reopen(World *world)
{
	Error err = {0};
	StoreSettings settings = world_settings(world);
	StreamId none = {{0}};

	scorer_destroy(world->scorer);
	store_abort(world->store);
	must(store_open(world->dirfd, &settings, &none, UINT64_MAX, UINT64_MAX, &world->store, &err), &err);
	must(scorer_create(world->store, world->part_changes, &world->scorer, &err), &err);
}

static inline void
world_commit(World *world)
{
	Error err = {0};

	must(store_commit(world->store, &err), &err);
}

static inline void
keep_record(World *world)
{
	RecordHeader header;
	Slice record = scorer_record(world->scorer, &header);

	buffer_append_u64(&world->feed, record.len);
	buffer_append_slice(&world->feed, record);
	if (world->dictionaries)
	{
		Buffer dictionary = {0};

		scorer_dictionary(world->scorer, &dictionary);
		buffer_append_u64(&world->feed, dictionary.len);
		buffer_append_slice(&world->feed, buffer_slice(&dictionary));
		buffer_free(&dictionary);
	}
}

/* Called after each record with what the caller wants done there; false: the process was killed. */
typedef bool (*WorldHook)(World *world, void *context);

static inline bool
world_step(World *world, const KeptUnit *kept, WorldHook hook, void *context)
{
	Error err = {0};

	must(scorer_begin(world->scorer, &kept->unit, &err), &err);
	for (int i = 0; i < kept->nparts; i++)
	{
		bool consumed = false;

		while (!consumed)
		{
			bool ready;

			must(scorer_part(world->scorer, kept->parts[i].type, buffer_slice(&kept->parts[i].bytes), &ready,
							 &consumed, &err),
				 &err);
			if (ready)
				keep_record(world);
			if (ready && hook != NULL && !hook(world, context))
				return false;
		}
	}
	must(scorer_end(world->scorer, &err), &err);
	keep_record(world);
	return hook == NULL || hook(world, context);
}

static inline void
add_part(KeptUnit *kept, PartType type, Slice bytes)
{
	kept->parts = xrealloc(kept->parts, (size_t) (kept->nparts + 1) * sizeof(KeptPart));
	kept->parts[kept->nparts] = (KeptPart){.type = type};
	buffer_append_slice(&kept->parts[kept->nparts].bytes, bytes);
	kept->nparts++;
}

static inline KeptUnit *
world_unit(World *world, UnitKind kind)
{
	KeptUnit *kept;

	world->units = xrealloc(world->units, (size_t) (world->nunits + 1) * sizeof(KeptUnit));
	kept = &world->units[world->nunits++];
	memset(kept, 0, sizeof(*kept));
	kept->unit.kind = kind;
	kept->unit.seq = (uint64_t) world->nunits;
	kept->unit.now_us = world->now_us;
	return kept;
}

static inline void
world_play(World *world, KeptUnit *kept)
{
	world_step(world, kept, NULL, NULL);
}

/* ---- transactions -------------------------------------------------------------------------- */

static inline void
frame_head(Buffer *frame, Lsn lsn, uint32_t part)
{
	Buffer head = {0};

	w_fixed64(&head, HEAD_COMMIT_LSN, lsn);
	w_fixed64(&head, HEAD_END_LSN, lsn + 0x30);
	w_fixed64(&head, HEAD_COMMIT_TIME, 1);
	w_fixed64(&head, HEAD_XID, 7);
	w_fixed32(&head, HEAD_PART, part);
	w_bytes(frame, FRAME_HEAD, buffer_slice(&head));
	buffer_free(&head);
}

static inline void
t_entry(World *world, Slice entry)
{
	w_bytes(&world->frame, FRAME_ENTRIES, entry);
}

static inline void
t_relation(World *world, const Table *table)
{
	Buffer entry = {0};

	w_bytes(&entry, ENTRY_RELATION, buffer_slice(&table->body));
	t_entry(world, buffer_slice(&entry));
	buffer_free(&entry);
}

static inline void
t_change_full(World *world, const Table *table, WireOp op, const char *text, const char *old, uint32_t flags)
{
	Buffer entry = {0};

	t_relation(world, table);
	w_change(&entry, table, op, text, old, flags);
	t_entry(world, buffer_slice(&entry));
	buffer_free(&entry);
}

static inline void
t_insert(World *world, const char *text)
{
	t_change_full(world, &world->item, OP_INSERT, text, NULL, 0);
}

static inline void
t_update(World *world, const char *text)
{
	t_change_full(world, &world->item, OP_UPDATE, text, NULL, 0);
}

static inline void
t_key_change(World *world, const char *old, const char *text)
{
	t_change_full(world, &world->item, OP_UPDATE, text, old, 0);
}

static inline void
t_delete(World *world, const char *text)
{
	t_change_full(world, &world->item, OP_DELETE, text, NULL, 0);
}

static inline void
t_truncate(World *world, const Table *table)
{
	Buffer truncate = {0};
	Buffer entry = {0};

	w_bytes(&truncate, TRUNCATE_RELATIONS, slice_make(&table->fingerprint, 8));
	w_bytes(&entry, ENTRY_TRUNCATE, buffer_slice(&truncate));
	t_entry(world, buffer_slice(&entry));
	buffer_free(&truncate);
	buffer_free(&entry);
}

static inline void
t_watch(World *world, WireOp op, const char *relation, const char *map)
{
	char text[256];

	snprintf(text, sizeof(text), "relation='%s' map=%s%s%s since=1", relation, map != NULL ? "'" : "",
			 map != NULL ? map : "null", map != NULL ? "'" : "");
	t_change_full(world, &world->watched, op, text, NULL, 0);
}

static inline void
t_ranking(World *world, WireOp op, const char *name, const char *relation, const char *definition,
		  bool enabled, int version)
{
	char text[2048];

	/* definitions in tests hold no quotes of their own */
	snprintf(text, sizeof(text), "name='%s' relation='%s' definition='%s' enabled=%s version=%d", name,
			 relation, definition, enabled ? "true" : "false", version);
	t_change_full(world, &world->ranking, op, text, NULL, 0);
}

static inline void
t_library(World *world, WireOp op, const char *name, const char *definition)
{
	char text[1024];

	if (op == OP_DELETE)
		snprintf(text, sizeof(text), "name='%s'", name);
	else
		snprintf(text, sizeof(text), "name='%s' definition='%s'", name, definition);
	t_change_full(world, &world->library, op, text, NULL, 0);
}

/*
 * what: "key=(1) action='boost' factor=2.0", with as many of the columns as matter.  A row of the extension has all of
 * them, in their order.
 */
static inline void
t_intervention(World *world, WireOp op, int id, const char *what)
{
	static const char *const fallback[] = {NULL,   "'public.item'", "null", "null", "null", "null", "null",
										   "null", "null",			"null", "null", "@0",	"null", "0",
										   "'me'", "'why'",			"null"};
	Buffer text = {0};

	buffer_printf(&text, "id=%d", id);
	for (int i = 1; op != OP_DELETE && intervention_columns[i] != NULL; i++)
	{
		size_t len = strcspn(intervention_columns[i], ":");
		char name[32];
		const char *given;

		snprintf(name, sizeof(name), "%.*s=", (int) len, intervention_columns[i]);
		given = strstr(what, name);
		while (given != NULL && given > what && given[-1] != ' ')
			given = strstr(given + 1, name);
		buffer_printf(&text, " %.*s=", (int) len, intervention_columns[i]);
		if (given == NULL)
			buffer_printf(&text, "%s", fallback[i]);
		else
		{
			const char *value = given + len + 1;
			size_t value_len = *value == '\'' ? strcspn(value + 1, "'") + 2 : strcspn(value, " ");

			buffer_append(&text, value, value_len);
		}
	}
	buffer_append_byte(&text, '\0');
	t_change_full(world, &world->intervention, op, (const char *) text.data, NULL, 0);
	buffer_free(&text);
}

/* Entries gathered so far as one transaction of frames of at most `frame_entries` bytes. */
static inline KeptUnit *
t_unit(World *world)
{
	KeptUnit *kept = world_unit(world, UNIT_TXN);
	Buffer frame = {0};

	world->lsn += 0x100;
	kept->unit.commit_lsn = world->lsn;
	kept->unit.end_lsn = world->lsn + 0x30;
	kept->unit.commit_time_us = world->now_us;
	kept->unit.xid = 7;
	frame_head(&frame, world->lsn, 0);
	buffer_append_slice(&frame, buffer_slice(&world->frame));
	add_part(kept, PART_FRAME, buffer_slice(&frame));
	buffer_free(&frame);
	buffer_reset(&world->frame);
	return kept;
}

static inline void
t_commit(World *world)
{
	world_play(world, t_unit(world));
}

/* ---- other units ---------------------------------------------------------------------------- */

/* A step of one chunk; detail: what an END says, NULL = nothing. */
static inline void
u_chunk(World *world, const Table *table, BackfillStep step, uint32_t chunk, bool last, Lsn point,
		const char *detail)
{
	KeptUnit *kept = world_unit(world, UNIT_BACKFILL);
	Buffer entry = {0};

	kept->unit.step = step;
	kept->unit.id = 1;
	kept->unit.chunk = chunk;
	kept->unit.oid = table->oid;
	kept->unit.point = point;
	kept->unit.last_chunk = last;
	if (detail != NULL)
		add_part(kept, PART_DETAIL, slice_string(detail));
	if (step == BACKFILL_BEGIN)
	{
		w_bytes(&entry, ENTRY_RELATION, buffer_slice(&table->body));
		add_part(kept, PART_RELATION, buffer_slice(&entry));
	}
	buffer_free(&entry);
	world_play(world, kept);
}

/* The whole table as one chunk. */
static inline void
u_backfill(World *world, const Table *table, BackfillStep step, Lsn point)
{
	u_chunk(world, table, step, 0, step == BACKFILL_END, point, NULL);
}

static inline void
u_rows(World *world, const Table *table, Lsn point, const char *const *rows)
{
	KeptUnit *kept = world_unit(world, UNIT_BACKFILL);
	Buffer part = {0};

	kept->unit.step = BACKFILL_ROWS;
	kept->unit.id = 1;
	kept->unit.oid = table->oid;
	kept->unit.point = point;
	for (int i = 0; rows[i] != NULL; i++)
	{
		Buffer entry = {0};

		w_change(&entry, table, OP_INSERT, rows[i], NULL, 0);
		pack_bytes(&part, buffer_slice(&entry));
		buffer_free(&entry);
	}
	add_part(kept, PART_ROWS, buffer_slice(&part));
	buffer_free(&part);
	world_play(world, kept);
}

static inline void
u_row(World *world, Lsn point, const char *row)
{
	const char *const rows[] = {row, NULL};

	u_rows(world, &world->item, point, rows);
}

static inline void
u_text(World *world, UnitKind kind, const char *text)
{
	KeptUnit *kept = world_unit(world, kind);

	if (text != NULL)
		add_part(kept, PART_DETAIL, slice_string(text));
	world_play(world, kept);
}

static inline void
u_rescore(World *world, uint64_t job, uint32_t chunk, uint32_t limit)
{
	KeptUnit *kept = world_unit(world, UNIT_RESCORE);

	kept->unit.id = job;
	kept->unit.chunk = chunk;
	kept->unit.limit = limit;
	world_play(world, kept);
}

/* Chunks until the scorer wants none; how many it took. */
static inline int
u_rescore_all(World *world, uint32_t limit)
{
	ScorerWants wants;

	for (int chunks = 0; chunks < 1000; chunks++)
	{
		scorer_wants(world->scorer, &wants);
		if (wants.rescore.job == 0)
			return chunks;
		u_rescore(world, wants.rescore.job, wants.rescore.chunk, limit);
	}
	fail_msg("rescoring does not end");
	return 0;
}

/* As the journal makes its now. */
static inline void
u_timer(World *world, int64_t time_us, uint32_t limit)
{
	KeptUnit *kept;

	if (time_us > world->now_us)
		world->now_us = time_us;
	kept = world_unit(world, UNIT_TIMER);
	kept->unit.id = (uint64_t) time_us;
	kept->unit.limit = limit;
	world_play(world, kept);
}

/* What is due by that second of the world, as the daemon would have it; how many units it took. */
static inline int
u_time(World *world, int64_t second)
{
	const int64_t wall_us = WORLD_BEGIN_US + second * 1000000;

	for (int units = 0; units < 100000; units++)
	{
		ScorerWants wants;

		scorer_wants(world->scorer, &wants);
		if (wants.timer_boundary_us <= wall_us)
			u_timer(world, wants.timer_boundary_us, 0);
		else if (wants.timer_clock_us <= wall_us)
			u_timer(world, wall_us, 0);
		else if (wants.timers_at_once)
			u_timer(world, 0, 0);
		else
			return units;
	}
	fail_msg("the timers do not end");
	return 0;
}

/* ---- records as text ------------------------------------------------------------------------ */

static inline void
show_value(Buffer *out, Slice body)
{
	WireValue value;
	WireCursor elements;
	Slice element;

	assert_true(wire_value(body, &value));
	switch (value.kind)
	{
		case VALUE_NULL:
			buffer_printf(out, "null");
			break;
		case VALUE_BOOL:
			buffer_printf(out, value.boolean ? "true" : "false");
			break;
		case VALUE_INT:
			buffer_printf(out, "%lld", (long long) value.integer);
			break;
		case VALUE_TEXT:
			buffer_printf(out, "'%.*s'", (int) value.bytes.len, value.bytes.data);
			break;
		case VALUE_JSON:
			buffer_append_slice(out, value.bytes);
			break;
		case VALUE_LIST:
			elements = wire_cursor(value.bytes);
			buffer_printf(out, "[");
			for (int i = 0; !wire_done(&elements); i++)
			{
				assert_true(wire_value_next(&elements, &element));
				buffer_printf(out, i > 0 ? "," : "");
				show_value(out, element);
			}
			buffer_printf(out, "]");
			break;
		default:
			buffer_printf(out, "?");
	}
}

static inline void
show_key(Buffer *out, Slice key)
{
	WireCursor cursor = wire_cursor(key);
	Slice value;

	buffer_printf(out, " (");
	while (!wire_done(&cursor))
	{
		assert_true(wire_value_next(&cursor, &value));
		show_value(out, value);
	}
	buffer_printf(out, ")");
}

/* Columns by number; * behind what changed. */
static inline void
show_row(Buffer *out, const RecordEntry *entry)
{
	static const char *const ops[] = {"none", "insert", "update", "delete"};
	WireCursor cursor = wire_cursor(entry->row.image);
	WireAttribute a;
	uint32_t count = 0;

	buffer_printf(out, " %s", ops[entry->row.op]);
	for (; !wire_done(&cursor); count++)
	{
		assert_true(wire_attribute_next(&cursor, &a));
		assert_true(a.state == STATE_SET || a.state == STATE_OVERSIZED);
		assert_true(a.changed == CHANGED_UNKNOWN && !a.has_old_value);
		buffer_printf(out, " %u%s%.*s=", a.column, a.has_key ? "." : "", (int) a.key.len, a.key.data);
		if (a.state == STATE_OVERSIZED)
			buffer_printf(out, "OV");
		else
			show_value(out, a.value);
		if (entry->row.changed_known && record_changed(entry, count))
			buffer_printf(out, "*");
	}
	if (!entry->row.changed_known)
		buffer_printf(out, " unknown");
	else
		assert_int_equal(entry->row.changed.len, (count + 7) / 8);
	cursor = wire_cursor(entry->row.removed);
	while (!wire_done(&cursor))
	{
		assert_true(wire_attribute_next(&cursor, &a));
		assert_int_equal(a.state, STATE_REMOVED);
		buffer_printf(out, " -%u.%.*s", a.column, (int) a.key.len, a.key.data);
	}
}

static inline void
show_entry(Buffer *out, const RecordEntry *entry)
{
	buffer_printf(out, "%u.%u ", entry->change, entry->out);
	switch (entry->kind)
	{
		case RECORD_RELATION:
			buffer_printf(out, "relation %u map=%.*s", entry->relation_def.number,
						  (int) entry->relation_def.map.len, entry->relation_def.map.data);
			break;
		case RECORD_RANKING:
			buffer_printf(out, "ranking %u %.*s of %u version %u", entry->ranking_def.number,
						  (int) entry->ranking_def.name.len, entry->ranking_def.name.data,
						  entry->ranking_def.relation, entry->ranking_def.version);
			break;
		case RECORD_CHANGE:
			buffer_printf(out, "change %u", entry->relation);
			show_key(out, entry->key);
			show_row(out, entry);
			break;
		case RECORD_SCORE:
			buffer_printf(out, "score %u", entry->relation);
			show_key(out, entry->key);
			buffer_printf(out, " %.17g v%u", entry->score.score, entry->score.version);
			if (entry->score.tier != 0)
				buffer_printf(out, " tier %d", entry->score.tier);
			if (entry->score.pin != 0)
				buffer_printf(out, " pin %d", entry->score.pin);
			break;
		case RECORD_REMOVE:
			buffer_printf(out, "remove %u", entry->relation);
			show_key(out, entry->key);
			break;
		case RECORD_TRUNCATE:
			buffer_printf(out, "truncate %u", entry->relation);
			break;
		case RECORD_GAP:
			buffer_printf(out, "gap %.*s", (int) entry->gap.reason.len, entry->gap.reason.data);
			break;
		case RECORD_QUARANTINE:
			buffer_printf(out, "quarantine");
			show_key(out, entry->key);
			buffer_printf(out, " %.*s: %.*s", (int) entry->quarantine.attribute.len,
						  entry->quarantine.attribute.data, (int) entry->quarantine.reason.len,
						  entry->quarantine.reason.data);
			break;
		case RECORD_FILL:
		case RECORD_FILLED:
			buffer_printf(out, "%s %.*s from %llu", entry->kind == RECORD_FILL ? "fill" : "filled",
						  (int) entry->fill.sink.len, entry->fill.sink.data,
						  (unsigned long long) entry->fill.from);
			break;
	}
	buffer_printf(out, "\n");
}

static inline bool
is_dictionary(const RecordEntry *entry)
{
	return entry->kind == RECORD_RELATION || entry->kind == RECORD_RANKING;
}

/* A record's entries, counted and in order. */
static inline void
show_record(Buffer *out, Slice bytes, bool dictionary)
{
	RecordReader reader;
	RecordEntry entry;
	Error err = {0};
	uint32_t outputs = 0;
	uint32_t quarantined = 0;
	uint64_t last = 0;
	bool done;

	must(record_open(bytes, &reader, &err), &err);
	for (;;)
	{
		must(record_next(&reader, &entry, &done, &err), &err);
		if (done)
			break;
		if (entry.kind == RECORD_QUARANTINE)
			quarantined++;
		else if (record_is_output(entry.kind))
		{
			uint64_t place = (uint64_t) entry.change << 32 | entry.out;

			/* every position once, in order */
			assert_true(place > last);
			last = place;
			outputs++;
		}
		if (dictionary || !is_dictionary(&entry))
			show_entry(out, &entry);
	}
	assert_int_equal(outputs, reader.header.outputs);
	assert_int_equal(quarantined, reader.header.quarantined);
}

/* What came since the last call, without the dictionary. */
static inline const char *
world_text(World *world)
{
	buffer_reset(&world->text);
	while (world->shown < world->feed.len)
	{
		uint64_t len;

		memcpy(&len, world->feed.data + world->shown, 8);
		show_record(&world->text, slice_make(world->feed.data + world->shown + 8, len), false);
		world->shown += 8 + len;
	}
	buffer_append_byte(&world->text, '\0');
	return (const char *) world->text.data;
}

#define assert_shown(world, expected) assert_string_equal(world_text(world), expected)

static inline void
world_hide(World *world)
{
	world_text(world);
}

#endif /* WALRANK_SCORE_WORLD_H */
