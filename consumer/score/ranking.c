/*
 * ranking.c -- see ranking.h.
 */
#include "score/ranking.h"

#include <stdlib.h>

#include "score/pack.h"

#define RANKING_ROW_FORMAT 1
#define ARENA_BYTES 4096

/* ---- programs ----------------------------------------------------------------------------- */

static void *
allocate(void *context, size_t bytes)
{
	return arena_alloc(context, bytes);
}

bool
ranking_compile(Slice definition, const Libraries *libraries, RankingProgram *program, RuleError *error)
{
	RuleMemory memory = {.alloc = allocate};
	RuleLibrary library = {0};
	Slice text;

	if (libraries != NULL)
		library = libraries_for_rules(libraries);

	program->memory = arena_create(ARENA_BYTES);
	memory.context = program->memory;
	text = arena_copy(program->memory, definition); /* the program may point into it */
	program->program = rules_compile_with((const char *) text.data, text.len,
										  libraries != NULL ? &library : NULL, &memory, error);
	if (program->program != NULL)
		return true;
	arena_destroy(program->memory);
	program->memory = NULL;
	return false;
}

bool
ranking_uses(const Ranking *ranking, Slice library)
{
	Slice used;

	for (int i = 0; ranking->program != NULL && rules_uses(ranking->program, i, &used); i++)
		if (slice_equal(used, library))
			return true;
	return false;
}

bool
ranking_bind(const RuleProgram *program, const Relation *relation, RankingBinding *binding, RuleError *error)
{
	RuleMemory memory = {.alloc = allocate};
	Slice map;

	binding->memory = arena_create(ARENA_BYTES);
	memory.context = binding->memory;
	map = arena_copy(binding->memory, slice_string(relation->map));
	binding->binding = rules_bind(program, &relation->current->head, map, &memory, error);
	if (binding->binding != NULL)
		return true;
	arena_destroy(binding->memory);
	binding->memory = NULL;
	return false;
}

void
ranking_set_program(Ranking *ranking, RankingProgram program)
{
	if (ranking->program_memory != NULL)
		arena_destroy(ranking->program_memory);
	ranking->program_memory = program.memory;
	ranking->program = program.program;
	if (program.program == NULL)
		return;
	ranking->clock = rules_use_clock(program.program);
	ranking->remembers = rules_use_previous(program.program);
	ranking->min_change = rules_min_change(program.program);
	ranking->refresh_us = rules_drifts(program.program) ? rules_refresh_us(program.program) : 0;
}

/* ---- the list of live rankings of a relation ----------------------------------------------- */

static void
relation_forget(Relation *relation, const Ranking *ranking)
{
	int kept = 0;

	for (int i = 0; i < relation->nrankings; i++)
		if (relation->rankings[i] != ranking)
			relation->rankings[kept++] = relation->rankings[i];
	relation->nrankings = kept;
}

static void
relation_insert(Relation *relation, Ranking *ranking)
{
	int at = relation->nrankings;

	relation->rankings = xrealloc(relation->rankings, (size_t) (relation->nrankings + 1) * sizeof(Ranking *));
	for (; at > 0 && relation->rankings[at - 1]->number > ranking->number; at--)
		relation->rankings[at] = relation->rankings[at - 1];
	relation->rankings[at] = ranking;
	relation->nrankings++;
}

void
ranking_unbind(Ranking *ranking)
{
	if (ranking->relation != NULL)
		relation_forget(ranking->relation, ranking);
	if (ranking->binding_memory != NULL)
		arena_destroy(ranking->binding_memory);
	ranking->relation = NULL;
	ranking->binding_memory = NULL;
	ranking->binding = NULL;
	ranking->dirty = true;
}

void
ranking_set_binding(Ranking *ranking, Relation *relation, RankingBinding binding)
{
	ranking_unbind(ranking);
	ranking->relation = relation;
	ranking->binding_memory = binding.memory;
	ranking->binding = binding.binding;
	relation_insert(relation, ranking);
}

/* ---- the registry ------------------------------------------------------------------------- */

static char *
slice_strdup(Slice slice)
{
	char *string = xmalloc(slice.len + 1);

	memcpy(string, slice.data, slice.len);
	string[slice.len] = '\0';
	return string;
}

static void
replace(char **string, Slice with)
{
	char *copy = slice_strdup(with);

	free(*string);
	*string = copy;
}

void
ranking_set_definition(Ranking *ranking, Slice schema, Slice table, Slice definition)
{
	replace(&ranking->schema, schema);
	replace(&ranking->table, table);
	replace(&ranking->definition, definition);
	ranking->dirty = true;
}

Ranking *
rankings_by_name(const Rankings *rankings, Slice name)
{
	for (uint32_t i = 0; i < rankings->count; i++)
		if (slice_equal(slice_string(rankings->list[i]->name), name))
			return rankings->list[i];
	return NULL;
}

Ranking *
rankings_add(Rankings *rankings, Slice name)
{
	Ranking *ranking = xcalloc(1, sizeof(*ranking));

	rankings->list = xrealloc(rankings->list, (rankings->count + 1) * sizeof(Ranking *));
	rankings->list[rankings->count++] = ranking;
	ranking->number = rankings->count;
	ranking->name = slice_strdup(name);
	ranking->schema = xstrdup("");
	ranking->table = xstrdup("");
	ranking->definition = xstrdup("");
	ranking->dirty = true;
	return ranking;
}

void
rankings_free(Rankings *rankings)
{
	for (uint32_t i = 0; i < rankings->count; i++)
	{
		Ranking *ranking = rankings->list[i];

		ranking_unbind(ranking);
		if (ranking->program_memory != NULL)
			arena_destroy(ranking->program_memory);
		free(ranking->name);
		free(ranking->schema);
		free(ranking->table);
		free(ranking->definition);
		free(ranking);
	}
	free(rankings->list);
	libraries_free(&rankings->libraries);
}

/* ---- rows --------------------------------------------------------------------------------- */

enum
{
	ROW_ENABLED = 1,
	ROW_ANNOUNCED = 2,
	ROW_BROKEN = 4,
};

static void
ranking_pack(const Ranking *ranking, Buffer *row)
{
	pack_number(row, RANKING_ROW_FORMAT);
	pack_bytes(row, slice_string(ranking->name));
	pack_bytes(row, slice_string(ranking->schema));
	pack_bytes(row, slice_string(ranking->table));
	pack_bytes(row, slice_string(ranking->definition));
	pack_number(row, (ranking->enabled ? ROW_ENABLED : 0) | (ranking->announced ? ROW_ANNOUNCED : 0) |
						 (ranking->broken ? ROW_BROKEN : 0));
	pack_number(row, ranking->version);
	pack_number(row, ranking->revision);
	pack_number(row, ranking->void_before);
	pack_number(row, ranking->relation != NULL ? ranking->relation->number : 0);
	pack_number(row, ranking->announced_version);
	pack_number(row, ranking->announced_relation);
}

typedef struct RankingRow
{
	Slice name, schema, table, definition;
	uint32_t format, flags, version, revision, void_before, relation, announced_version, announced_relation;
} RankingRow;

static bool
ranking_unpack(Slice value, RankingRow *row)
{
	WireCursor cursor = wire_cursor(value);

	return unpack_small(&cursor, RANKING_ROW_FORMAT, &row->format) && unpack_bytes(&cursor, &row->name) &&
		   unpack_bytes(&cursor, &row->schema) && unpack_bytes(&cursor, &row->table) &&
		   unpack_bytes(&cursor, &row->definition) && unpack_small(&cursor, 255, &row->flags) &&
		   unpack_small(&cursor, UINT32_MAX, &row->version) &&
		   unpack_small(&cursor, UINT32_MAX, &row->revision) &&
		   unpack_small(&cursor, UINT32_MAX, &row->void_before) &&
		   unpack_small(&cursor, UINT32_MAX, &row->relation) &&
		   unpack_small(&cursor, UINT32_MAX, &row->announced_version) &&
		   unpack_small(&cursor, UINT32_MAX, &row->announced_relation);
}

/*
 * A live ranking that no longer compiles or binds (another engine) stays live without a program: it
 * evaluates nothing until the unit that names the new engine ends it.
 */
static void
ranking_revive(Ranking *ranking, const Libraries *libraries, Relation *relation)
{
	RankingProgram program = {0};
	RankingBinding binding = {0};
	RuleError error;

	if (ranking_compile(slice_string(ranking->definition), libraries, &program, &error))
		ranking_set_program(ranking, program);
	if (relation == NULL || relation->current == NULL)
		return;
	if (ranking->program != NULL && !ranking_bind(ranking->program, relation, &binding, &error))
		binding = (RankingBinding){0};
	ranking_set_binding(ranking, relation, binding);
}

static void
ranking_restore(Rankings *rankings, Relations *relations, const RankingRow *row)
{
	Ranking *ranking = rankings_add(rankings, row->name);

	ranking_set_definition(ranking, row->schema, row->table, row->definition);
	ranking->enabled = row->flags & ROW_ENABLED;
	ranking->announced = row->flags & ROW_ANNOUNCED;
	ranking->broken = row->flags & ROW_BROKEN;
	ranking->version = row->version;
	ranking->revision = row->revision;
	ranking->void_before = row->void_before;
	ranking->announced_version = row->announced_version;
	ranking->announced_relation = row->announced_relation;
	ranking_revive(ranking, &rankings->libraries, relations_by_number(relations, row->relation));
	ranking->dirty = false;
}

static Slice
number_key(uint32_t number, uint8_t bytes[4])
{
	for (int i = 0; i < 4; i++)
		bytes[i] = (uint8_t) (number >> (24 - 8 * i));
	return slice_make(bytes, 4);
}

bool
rankings_load(Rankings *rankings, Store *store, Relations *relations, Error *err)
{
	memset(rankings, 0, sizeof(*rankings));
	rankings->store = store;
	if (!libraries_load(&rankings->libraries, store, err))
		return false;
	for (uint32_t number = 1; number < UINT32_MAX; number++)
	{
		uint8_t key[4];
		Slice value;
		RankingRow row;
		bool found;

		if (!store_get(store, STORE_RANKING, number_key(number, key), &value, &found, err))
			return error_wrap(err, "ranking %u", number);
		if (!found)
			break;
		if (!ranking_unpack(value, &row))
			return error_set(err, ERR_REFUSE, "unreadable store row of ranking %u", number);
		ranking_restore(rankings, relations, &row);
	}
	return true;
}

bool
rankings_save(Rankings *rankings, Error *err)
{
	Buffer row = {0};
	bool ok = true;

	for (uint32_t i = 0; ok && i < rankings->count; i++)
	{
		Ranking *ranking = rankings->list[i];
		uint8_t key[4];

		if (!ranking->dirty)
			continue;
		buffer_reset(&row);
		ranking_pack(ranking, &row);
		ok = store_put(rankings->store, STORE_RANKING, number_key(ranking->number, key), buffer_slice(&row),
					   err);
		ranking->dirty = false;
	}
	buffer_free(&row);
	return ok || error_wrap(err, "state of a ranking");
}
