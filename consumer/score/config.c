/*
 * config.c -- what the rows of walrank.watched and walrank.ranking cause.
 *
 * A row is in force from its own change on.  What it means for many items is one removal per ranking,
 * or a job (rescore.c), never a loop over items here.
 *
 *   watched row arrives      link_watch       table found by name: watched, its backfill pending
 *   its map changes          row_watched      rankings bind anew, job
 *   watched row goes         unlink_watch     rankings end, items are cleared
 *   relation first used      config_link      a watch or rankings may have waited for it
 *   ranking row arrives      row_ranking      compiled; in force unless it is broken
 *   library row arrives      row_library      rankings that use it are compiled anew, job
 *   .. any of these          settle           live, or not: end, start, or bind anew
 *
 * A definition that does not compile or bind here is quarantined, and the old one stays.
 */
#include "score/pack.h"
#include "score/row.h"
#include "score/step.h"

#include <stdlib.h>

#define PART_CHANGES_KEY "part_changes"

/* ---- rankings: live or not ----------------------------------------------------------------- */

/* The key of its row. */
static void
ranking_key(Buffer *key, const char *name)
{
	const size_t len = strlen(name);

	buffer_append_byte(key, WIRE_TAG(CHANGE_KEY, WIRE_BYTES));
	pack_number(key, 1 + wire_varint_size(len) + len);
	buffer_append_byte(key, WIRE_TAG(VALUE_TEXT, WIRE_BYTES));
	pack_bytes(key, slice_string(name));
}

/* Of a ranking whose row is not at hand. */
static void
quarantine_ranking(Scorer *scorer, const Ranking *ranking, const char *reason)
{
	Relation *relation = relations_by_role(&scorer->relations, ROLE_RANKINGS);
	Buffer key = {0};

	ranking_key(&key, ranking->name);
	emit_quarantine(scorer, relation, buffer_slice(&key), slice_string("definition"), slice_string(reason),
					slice_string(ranking->definition));
	buffer_free(&key);
}

static void
end_ranking(Scorer *scorer, Ranking *ranking)
{
	if (ranking->relation == NULL)
		return;
	emit_end(scorer, ranking);
	ranking_unbind(ranking);
}

/* The watched relation a name stands for, when a unit has used it. */
static Relation *
find_target(const Scorer *scorer, Slice schema, Slice table)
{
	const Watch *watch = watches_by_name(&scorer->watches, schema, table);

	if (watch == NULL || watch->relation == NULL || watch->relation->current == NULL)
		return NULL;
	return watch->relation;
}

/*
 * Bring a ranking to where its definition, the watches and the relation's version put it.
 * renew: its items have to be evaluated even if it stays where it is.
 */
static bool
settle(Scorer *scorer, Ranking *ranking, bool renew, Error *err)
{
	Relation *target = NULL;
	RankingBinding binding = {0};
	RuleError error;
	bool start;

	if (ranking->enabled && ranking->program != NULL)
		target = find_target(scorer, slice_string(ranking->schema), slice_string(ranking->table));
	if (target != NULL && !ranking_bind(ranking->program, target, &binding, &error))
	{
		quarantine_ranking(scorer, ranking, error.message);
		target = NULL;
	}
	if (ranking->relation != target)
		end_ranking(scorer, ranking);
	if (target == NULL)
		return true;
	start = ranking->relation == NULL;
	ranking_set_binding(ranking, target, binding);
	if (!start && !renew)
		return true;
	ranking->revision++;
	return rescore_want(scorer, target, err);
}

/* All rankings that are on the relation, or would be. */
static bool
settle_relation(Scorer *scorer, const Relation *relation, bool renew, Error *err)
{
	const Watch *watch = watches_by_relation(&scorer->watches, relation);

	for (uint32_t i = 0; i < scorer->rankings.count; i++)
	{
		Ranking *ranking = scorer->rankings.list[i];
		bool named = watch != NULL && strcmp(ranking->schema, watch->schema) == 0 &&
					 strcmp(ranking->table, watch->table) == 0;

		if ((named || ranking->relation == relation) && !settle(scorer, ranking, renew, err))
			return false;
	}
	return true;
}

/* ---- watches ------------------------------------------------------------------------------ */

/* Nothing of the relation is kept any more; its rankings wait for it to be watched again. */
static bool
unlink_relation(Scorer *scorer, Relation *relation, Error *err)
{
	uint64_t count;

	while (relation->nrankings > 0)
		end_ranking(scorer, relation->rankings[0]);
	relation->announced = NULL;
	relation->watched = false;
	relation->fill = FILL_PENDING;
	relation->lost = relation->whole = false;
	relation->items = 0;
	relation_set_map(relation, "");
	return rescore_drop(scorer, relation, err) && fill_forget(scorer, relation, err) &&
		   timer_forget(scorer, relation, err) &&
		   store_items_clear(scorer->store, relation->number, &count, err);
}

static bool
link_watch(Scorer *scorer, Watch *watch, Relation *relation, Error *err)
{
	if (watch->relation != NULL && !unlink_relation(scorer, watch->relation, err))
		return false;
	watch->relation = relation;
	relation->watched = true;
	relation->fill = FILL_PENDING;
	relation->lost = lost_any(scorer); /* its publication is one of those in doubt */
	relation_set_map(relation, watch->map);
	return watch_save(&scorer->watches, watch, err) && settle_relation(scorer, relation, false, err) &&
		   steer_relink(scorer, err);
}

static bool
row_watched(Scorer *scorer, Relation *relation, const Row *row, Error *err)
{
	Watch *watch;
	Relation *table;
	Slice text;
	Slice map;
	bool same_map;

	if (!row_text(row, "relation", &text) || !row_text(row, "map", &map))
	{
		row_quarantine(scorer, relation, row, "relation", "not a row of walrank.watched");
		return true;
	}
	watch = watches_by_text(&scorer->watches, text);
	same_map = watch != NULL && slice_equal(slice_string(watch->map), map);
	if (same_map)
		return true;
	watch = watches_set(&scorer->watches, text, map);
	if (watch == NULL)
	{
		row_quarantine(scorer, relation, row, "relation", "not the name of a table");
		return true;
	}
	if (!watch_save(&scorer->watches, watch, err))
		return false;
	if (watch->relation != NULL)
	{
		relation_set_map(watch->relation, watch->map);
		return settle_relation(scorer, watch->relation, true, err) && steer_relink(scorer, err);
	}
	table = relations_by_name(&scorer->relations, slice_string(watch->schema), slice_string(watch->table));
	/* our own tables are never items */
	return table == NULL || table->role != ROLE_ITEMS || table->watched ||
		   link_watch(scorer, watch, table, err);
}

static bool
row_watched_gone(Scorer *scorer, const Row *row, Error *err)
{
	Watch *watch;
	Slice text;

	if (!row_text(row, "relation", &text) || (watch = watches_by_text(&scorer->watches, text)) == NULL)
		return true;
	if (watch->relation != NULL && !unlink_relation(scorer, watch->relation, err))
		return false;
	return watches_remove(&scorer->watches, watch, err) && steer_relink(scorer, err);
}

/* ---- a relation's versions ----------------------------------------------------------------- */

static bool
same_key(const Version *a, const Version *b)
{
	uint32_t i = 0;
	uint32_t j = 0;

	for (;; i++, j++)
	{
		while (i < a->head.ncolumns && !a->columns[i].key)
			i++;
		while (j < b->head.ncolumns && !b->columns[j].key)
			j++;
		if (i >= a->head.ncolumns || j >= b->head.ncolumns)
			return i >= a->head.ncolumns && j >= b->head.ncolumns;
		if (!slice_equal(a->columns[i].name, b->columns[j].name) ||
			a->columns[i].type_oid != b->columns[j].type_oid)
			return false;
	}
}

/* A rewritten or added column has values that no change told us. */
static bool
needs_reading(const Version *before, const Version *now)
{
	for (uint32_t i = 0; i < now->head.ncolumns; i++)
	{
		int column = version_column(before, now->columns[i].name);

		if (column < 0 || before->columns[column].type_oid != now->columns[i].type_oid)
			return true;
	}
	return false;
}

bool
config_link(Scorer *scorer, Relation *relation, const Version *before, Error *err)
{
	const WireRelation *head = &relation->current->head;
	Watch *watch;

	if (relation->role != ROLE_ITEMS)
		return true;
	watch = watches_by_name(&scorer->watches, head->schema, head->table);
	if (watch != NULL && watch->relation != relation && !relation->watched)
		return link_watch(scorer, watch, relation, err);
	if (!relation->watched)
		return true;
	/* keys of another shape: nothing that is stored can be found again */
	if (before != NULL && !same_key(before, relation->current))
	{
		watch = watches_by_relation(&scorer->watches, relation);
		return watch == NULL || link_watch(scorer, watch, relation, err);
	}
	if (before != NULL && relation->fill == FILL_DONE && needs_reading(before, relation->current))
	{
		relation->fill = FILL_PENDING;
		relation->dirty = true;
	}
	return settle_relation(scorer, relation, false, err) && steer_relink(scorer, err);
}

/* ---- ranking rows ------------------------------------------------------------------------- */

typedef struct RankingFields
{
	Slice name;
	Slice relation;
	Slice definition;
	bool enabled;
	uint32_t version;
	char schema[IDENTIFIER_BYTES];
	char table[IDENTIFIER_BYTES];
} RankingFields;

static bool
ranking_fields(const Row *row, RankingFields *fields)
{
	WireValue value;

	if (!row_text(row, "name", &fields->name) || !row_text(row, "relation", &fields->relation) ||
		!row_text(row, "definition", &fields->definition))
		return false;
	if (!row_value(row, "enabled", &value) || value.kind != VALUE_BOOL)
		return false;
	fields->enabled = value.boolean;
	if (!row_value(row, "version", &value) || value.kind != VALUE_INT)
		return false;
	fields->version = (uint32_t) value.integer;
	return watch_parse(fields->relation, fields->schema, fields->table);
}

/* Whether the program works where its row puts it; a table nobody has used yet is no objection. */
static bool
binds(Scorer *scorer, const RankingProgram *program, const RankingFields *fields, RuleError *error)
{
	Relation *target = find_target(scorer, slice_string(fields->schema), slice_string(fields->table));
	RankingBinding binding;

	if (target == NULL)
		return true;
	if (!ranking_bind(program->program, target, &binding, error))
		return false;
	arena_destroy(binding.memory);
	return true;
}

static bool
row_ranking(Scorer *scorer, Relation *relation, const Row *row, Error *err)
{
	RankingFields fields;
	RankingProgram program = {0};
	RuleError error;
	Ranking *ranking;
	bool edited;
	bool moved;

	if (!ranking_fields(row, &fields))
	{
		row_quarantine(scorer, relation, row, "", "not a row of walrank.ranking");
		return true;
	}
	ranking = rankings_by_name(&scorer->rankings, fields.name);
	if (ranking == NULL)
		ranking = rankings_add(&scorer->rankings, fields.name);
	edited = !slice_equal(slice_string(ranking->definition), fields.definition) || ranking->program == NULL ||
			 ranking->broken;
	moved = strcmp(ranking->schema, fields.schema) != 0 || strcmp(ranking->table, fields.table) != 0;
	if (!fields.enabled)
		end_ranking(scorer, ranking);
	if ((edited || moved) &&
		(!ranking_compile(fields.definition, &scorer->rankings.libraries, &program, &error) ||
		 !binds(scorer, &program, &fields, &error)))
	{
		row_quarantine(scorer, relation, row, "definition", error.message);
		if (program.memory != NULL)
			arena_destroy(program.memory);
		ranking->enabled = ranking->enabled && fields.enabled;
		ranking->broken = true;
		ranking->dirty = true;
		return true;
	}
	if (moved)
		end_ranking(scorer, ranking);
	if (program.memory != NULL)
	{
		/* what it was bound to belongs to the old program */
		ranking_set_definition(ranking, slice_string(fields.schema), slice_string(fields.table),
							   fields.definition);
		ranking_set_program(ranking, program);
	}
	ranking->enabled = fields.enabled;
	ranking->broken = false;
	ranking->version = fields.version;
	ranking->dirty = true;
	return settle(scorer, ranking, edited, err);
}

static bool
row_ranking_gone(Scorer *scorer, const Row *row)
{
	Ranking *ranking;
	Slice name;

	if (!row_text(row, "name", &name) || (ranking = rankings_by_name(&scorer->rankings, name)) == NULL)
		return true;
	end_ranking(scorer, ranking);
	ranking->enabled = ranking->broken = false;
	ranking->dirty = true;
	return true;
}

/* ---- library rows ------------------------------------------------------------------------- */

/* Whether every ranking that uses the library, as it is now, still compiles and binds. */
static bool
library_serves(const Scorer *scorer, Slice name, RuleError *error)
{
	for (uint32_t i = 0; i < scorer->rankings.count; i++)
	{
		const Ranking *ranking = scorer->rankings.list[i];
		RankingProgram program;
		RankingBinding binding = {0};
		bool ok = true;

		if (!ranking_uses(ranking, name))
			continue;
		if (!ranking_compile(slice_string(ranking->definition), &scorer->rankings.libraries, &program, error))
			return false;
		if (ranking->relation != NULL)
			ok = ranking_bind(program.program, ranking->relation, &binding, error);
		if (binding.memory != NULL)
			arena_destroy(binding.memory);
		arena_destroy(program.memory);
		if (!ok)
			return false;
	}
	return true;
}

/* The rankings that use it, made again; each has to compile (library_serves). */
static bool
library_apply(Scorer *scorer, Slice name, Error *err)
{
	for (uint32_t i = 0; i < scorer->rankings.count; i++)
	{
		Ranking *ranking = scorer->rankings.list[i];
		RankingProgram program;
		RuleError error;

		if (!ranking_uses(ranking, name) || !ranking_compile(slice_string(ranking->definition),
															 &scorer->rankings.libraries, &program, &error))
			continue;
		ranking_set_program(ranking, program);
		if (!settle(scorer, ranking, true, err))
			return false;
	}
	return true;
}

/* A ranking that could not be used before may have waited for this: its row is in the store. */
static bool
retry_broken(Scorer *scorer, Error *err)
{
	Relation *relation = relations_by_role(&scorer->relations, ROLE_RANKINGS);
	Buffer key = {0};
	Buffer value = {0};
	bool ok = true;

	for (uint32_t i = 0; ok && relation != NULL && i < scorer->rankings.count; i++)
	{
		Slice stored;
		Item item;
		bool found;

		if (!scorer->rankings.list[i]->broken)
			continue;
		buffer_reset(&key);
		buffer_reset(&value);
		ranking_key(&key, scorer->rankings.list[i]->name);
		ok = store_item_get(scorer->store, relation->number, buffer_slice(&key), &stored, &found, err);
		if (!ok || !found)
			continue;
		buffer_append_slice(&value, stored);
		if (item_open(buffer_slice(&value), &item) && item.fingerprint == relation->current->fingerprint)
		{
			const Row row = {relation->current, buffer_slice(&key), item.image};

			ok = row_ranking(scorer, relation, &row, err);
		}
	}
	buffer_free(&key);
	buffer_free(&value);
	return ok;
}

static void
mark_broken(Scorer *scorer, Slice library)
{
	for (uint32_t i = 0; i < scorer->rankings.count; i++)
		if (ranking_uses(scorer->rankings.list[i], library))
			scorer->rankings.list[i]->broken = scorer->rankings.list[i]->dirty = true;
}

/* Empty text: the library goes. What rankings in force could not go on with is not taken. */
static bool
change_library(Scorer *scorer, Relation *relation, const Row *row, Slice name, Slice text, Error *err)
{
	Libraries *libraries = &scorer->rankings.libraries;
	Buffer before = {0};
	RuleError error;
	Slice had;
	bool ok;

	if (libraries_find(libraries, name, &had))
		buffer_append_slice(&before, had);
	libraries_set(libraries, name, text);
	ok = library_serves(scorer, name, &error);
	if (!ok)
	{
		row_quarantine(scorer, relation, row, "definition", error.message);
		libraries_set(libraries, name, buffer_slice(&before));
		mark_broken(scorer, name);
	}
	buffer_free(&before);
	return !ok || (libraries_save(libraries, name, err) && library_apply(scorer, name, err) &&
				   retry_broken(scorer, err));
}

static bool
row_library(Scorer *scorer, Relation *relation, const Row *row, Error *err)
{
	Slice name;
	Slice text;

	if (!row_text(row, "name", &name) || !row_text(row, "definition", &text) || !rules_library_name(name))
	{
		row_quarantine(scorer, relation, row, "", "not a row of walrank.rule_library");
		return true;
	}
	return change_library(scorer, relation, row, name, text, err);
}

static bool
row_library_gone(Scorer *scorer, Relation *relation, const Row *row, Error *err)
{
	Slice name;

	return !row_text(row, "name", &name) ||
		   change_library(scorer, relation, row, name, slice_make(NULL, 0), err);
}

/* ---- rows ---------------------------------------------------------------------------------- */

bool
config_row(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Row row = {relation->current, key, buffer_slice(&scorer->image.bytes)};

	switch (relation->role)
	{
		case ROLE_WATCHED:
			return row_watched(scorer, relation, &row, err);
		case ROLE_RANKINGS:
			return row_ranking(scorer, relation, &row, err);
		case ROLE_LIBRARIES:
			return row_library(scorer, relation, &row, err);
		case ROLE_INTERVENTIONS:
			return steer_row(scorer, relation, &row, err);
		case ROLE_ITEMS:
			break;
	}
	return true;
}

bool
config_row_gone(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Row row = {relation->current, key, slice_make(NULL, 0)};

	switch (relation->role)
	{
		case ROLE_WATCHED:
			return row_watched_gone(scorer, &row, err);
		case ROLE_RANKINGS:
			return row_ranking_gone(scorer, &row);
		case ROLE_LIBRARIES:
			return row_library_gone(scorer, relation, &row, err);
		case ROLE_INTERVENTIONS:
			return steer_row_gone(scorer, &row, err);
		case ROLE_ITEMS:
			break;
	}
	return true;
}

/* ---- CONFIG units ------------------------------------------------------------------------- */

typedef struct Settings
{
	uint64_t part_changes;
	uint64_t engine;
	uint64_t libm;
	bool has_engine, has_libm;
} Settings;

static void
read_setting(Settings *settings, const char *name, const char *value)
{
	uint64_t number = strtoull(value, NULL, 0);

	if (strcmp(name, "part_changes") == 0)
		settings->part_changes = number;
	else if (strcmp(name, "engine") == 0)
	{
		settings->engine = number;
		settings->has_engine = true;
	}
	else if (strcmp(name, "libm") == 0)
	{
		settings->libm = number;
		settings->has_libm = true;
	}
}

/* Lines key=value; keys of others are passed over. */
static void
read_settings(Settings *settings, Slice text)
{
	char line[128];
	size_t len = 0;

	for (size_t i = 0; i <= text.len; i++)
	{
		char *equals;

		if (i < text.len && text.data[i] != '\n')
		{
			if (len < sizeof(line) - 1)
				line[len] = (char) text.data[i];
			len++;
			continue;
		}
		line[len < sizeof(line) ? len : sizeof(line) - 1] = '\0';
		equals = strchr(line, '=');
		if (equals != NULL && len < sizeof(line))
		{
			*equals = '\0';
			read_setting(settings, line, equals + 1);
		}
		len = 0;
	}
}

/* Scores of another engine or libm may differ in the last digit: all are made again. */
static bool
change_engine(Scorer *scorer, const Settings *settings, Error *err)
{
	StoreHeader header = *store_header(scorer->store);
	bool same = (!settings->has_engine || header.engine == settings->engine) &&
				(!settings->has_libm || header.libm == settings->libm);

	if (same)
		return true;
	if (settings->has_engine)
		header.engine = (uint32_t) settings->engine;
	if (settings->has_libm)
		header.libm = settings->libm;
	if (!store_set_header(scorer->store, &header, err))
		return false;
	for (uint32_t i = 0; i < scorer->rankings.count; i++)
		if (!settle(scorer, scorer->rankings.list[i], true, err))
			return false;
	return true;
}

bool
config_settings(Scorer *scorer, Slice text, Error *err)
{
	Settings settings = {0};

	read_settings(&settings, text);
	if (settings.part_changes >= 1 && settings.part_changes <= SCORER_PART_CHANGES_MAX)
	{
		scorer->part_changes = (uint32_t) settings.part_changes;
		if (!store_put(scorer->store, STORE_META, slice_string(PART_CHANGES_KEY),
					   slice_make(&scorer->part_changes, sizeof(uint32_t)), err))
			return false;
	}
	return change_engine(scorer, &settings, err);
}

bool
config_load(Scorer *scorer, Error *err)
{
	Slice value;
	bool found;

	if (!store_get(scorer->store, STORE_META, slice_string(PART_CHANGES_KEY), &value, &found, err))
		return false;
	if (found && value.len == sizeof(uint32_t))
		memcpy(&scorer->part_changes, value.data, sizeof(uint32_t));
	return true;
}
