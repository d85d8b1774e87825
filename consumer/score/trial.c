/*
 * trial.c -- see trial.h.
 *
 * A scorer is made over the store and used for what it has loaded: relations, rankings, interventions.  It is
 * never given a unit.
 */
#include "score/trial.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/quote.h"
#include "score/step.h"

struct Trial
{
	Scorer *scorer;
	Relation *relation;
	const Ranking *live; /* NULL: there is none of that name */
	Ranking after;		 /* of the same name and relation; its program and binding are our own */
	RankingProgram program;
	RankingBinding binding;
	StoreCursor cursor;
	Buffer key;
};

/* ---- ranking and table ------------------------------------------------------------------------ */

static bool
no_table(const Scorer *scorer, const char *ranking, Error *err)
{
	Buffer known = {0};

	for (uint32_t i = 0; i < scorer->rankings.count; i++)
		buffer_printf(&known, "%s%s", known.len > 0 ? ", " : "", scorer->rankings.list[i]->name);
	error_set(err, ERR_CONFIG,
			  "there is no ranking \"%.63s\", and the definition does not say which table it is over",
			  ranking);
	error_hint(err, "There %s %.*s. A definition begins with: # ranking \"%.63s\" over schema.table",
			   known.len > 0 ? "are" : "is", known.len > 0 ? (int) known.len : 4,
			   known.len > 0 ? (char *) known.data : "none", ranking);
	buffer_free(&known);
	return false;
}

/* The names of its table: those given, or the ranking's. */
static bool
table_names(const Ranking *live, const char *ranking, const char *table, const Scorer *scorer,
			char schema[IDENTIFIER_BYTES], char name[IDENTIFIER_BYTES], Error *err)
{
	if (table == NULL && live == NULL)
		return no_table(scorer, ranking, err);
	if (table == NULL)
	{
		snprintf(schema, IDENTIFIER_BYTES, "%s", live->schema);
		snprintf(name, IDENTIFIER_BYTES, "%s", live->table);
		return true;
	}
	if (!watch_parse(slice_string(table), schema, name))
	{
		error_set(err, ERR_CONFIG, "\"%.200s\" is no name of a table", table);
		return error_hint(err, "Write it as schema.table.");
	}
	if (live == NULL || (strcmp(schema, live->schema) == 0 && strcmp(name, live->table) == 0))
		return true;
	error_set(err, ERR_CONFIG, "ranking \"%s\" is over %s.%s, and the definition is over %.200s", live->name,
			  live->schema, live->table, table);
	return error_hint(err, "Rankings of different tables have nothing in common to compare.");
}

static bool
find_table(Trial *trial, const char *ranking, const char *table, Error *err)
{
	char schema[IDENTIFIER_BYTES];
	char name[IDENTIFIER_BYTES];

	if (!table_names(trial->live, ranking, table, trial->scorer, schema, name, err))
		return false;
	trial->relation = relations_by_name(&trial->scorer->relations, slice_string(schema), slice_string(name));
	if (trial->relation != NULL && trial->relation->watched && trial->relation->current != NULL)
		return true;
	error_set(err, ERR_CONFIG, "the store has no items of %s.%s", schema, name);
	return error_hint(err, "Is the table watched, and was the snapshot made since?");
}

bool
trial_create(Store *store, const char *ranking, const char *table, Trial **result, Error *err)
{
	Trial *trial = xcalloc(1, sizeof(*trial));

	if (scorer_create(store, SCORER_PART_CHANGES_MAX, &trial->scorer, err))
	{
		trial->live = rankings_by_name(&trial->scorer->rankings, slice_string(ranking));
		if (trial->live != NULL && trial->live->schema[0] == '\0')
			trial->live = NULL; /* it never worked */
		if (find_table(trial, ranking, table, err))
		{
			trial->after.name = xstrdup(ranking);
			*result = trial;
			return true;
		}
	}
	trial_destroy(trial);
	return false;
}

void
trial_destroy(Trial *trial)
{
	if (trial == NULL)
		return;
	scorer_destroy(trial->scorer);
	if (trial->program.memory != NULL)
		arena_destroy(trial->program.memory);
	if (trial->binding.memory != NULL)
		arena_destroy(trial->binding.memory);
	free(trial->after.name);
	buffer_free(&trial->key);
	free(trial);
}

void
trial_info(const Trial *trial, TrialInfo *info)
{
	const Version *current = trial->relation->current;

	*info = (TrialInfo){.exists = trial->live != NULL,
						.in_force = trial->live != NULL && trial->live->binding != NULL,
						.version = trial->live != NULL ? trial->live->version : 0,
						.number = trial->relation->number,
						.relation = &current->head,
						.columns = current->columns,
						.map = trial->relation->map};
	quote_table(info->table, sizeof(info->table), current->head.schema, current->head.table);
}

bool
trial_define(Trial *trial, Slice text, const RuleProgram **program, RuleError *error)
{
	*program = NULL;
	if (!ranking_compile(text, &trial->scorer->rankings.libraries, &trial->program, error))
		return false;
	*program = trial->program.program;
	if (!ranking_bind(trial->program.program, trial->relation, &trial->binding, error))
		return false;
	trial->after.relation = trial->relation;
	trial->after.program = trial->program.program;
	trial->after.binding = trial->binding.binding;
	trial->after.remembers = rules_use_previous(trial->program.program);
	return true;
}

/* ---- one item --------------------------------------------------------------------------------- */

static const Ranking *
ranking_of(const Trial *trial, TrialSide side)
{
	const Ranking *ranking = side == TRIAL_AFTER ? &trial->after : trial->live;

	return ranking != NULL && ranking->binding != NULL ? ranking : NULL;
}

/* The item at hand (loaded, its interventions collected) as the rules of a ranking see it. False: undecodable. */
static bool
fill(Scorer *scorer, const Ranking *ranking, Slice key, Slice image, RuleInput *input)
{
	int64_t boundary_us;

	steer_apply(scorer, ranking, &boundary_us);
	if (!rules_fill(ranking->binding, key, image, scorer->values))
		return false;
	show_input(scorer, ranking, input);
	return true;
}

static void
judge(Scorer *scorer, const Ranking *ranking, Slice key, Slice image, TrialStanding *standing)
{
	const ItemSteering *steering = &scorer->steering;
	RuleResult organic = {.outcome = RULE_QUARANTINE, .statement = "", .reason = "undecodable"};
	RuleStanding stands;
	RuleInput input;
	const char *reason;

	*standing = (TrialStanding){0};
	if (ranking == NULL)
		return;
	if (fill(scorer, ranking, key, image, &input))
		rules_evaluate(ranking->program, &input, &organic);
	if (!rules_intervene(ranking->program, steering->active, steering->nactive, &organic, &stands, &reason))
		standing->quarantined = true;
	else
		*standing = (TrialStanding){.shown = stands.shown,
									.quarantined = organic.outcome == RULE_QUARANTINE && !stands.shown &&
												   !stands.blocked,
									.score = stands.score,
									.tier = stands.tier,
									.pin = stands.pin};
}

/* Into the scorer, under the present version. *known is false when an attribute is missing to it. */
static bool
load(Trial *trial, Slice key, Slice *image, bool *known, Error *err)
{
	Scorer *scorer = trial->scorer;

	if (!show_load(scorer, trial->relation, key, image, err))
		return false;
	*known = scorer->had && scorer->had_whole && (scorer->same_version || image_unknown(*image) < 0);
	if (!*known || steer_collect(scorer, trial->relation, key, *image))
		return true;
	return error_set(err, ERR_REFUSE, "unreadable item of relation %u", trial->relation->number);
}

void
trial_begin(Trial *trial, int64_t at_us)
{
	trial->scorer->unit.now_us = at_us;
	trial->cursor = (StoreCursor){0};
}

bool
trial_next(Trial *trial, TrialItem *item, bool *done, Error *err)
{
	Scorer *scorer = trial->scorer;
	Slice key;
	Slice value;
	Slice image;

	if (!store_item_next(scorer->store, trial->relation->number, &trial->cursor, &key, &value, done, err) ||
		*done)
		return *done;
	buffer_reset(&trial->key);
	buffer_append_slice(&trial->key, key);
	*item = (TrialItem){.key = buffer_slice(&trial->key)};
	if (!load(trial, item->key, &image, &item->known, err))
		return false;
	for (TrialSide side = TRIAL_BEFORE; item->known && side < TRIAL_SIDES; side++)
		judge(scorer, ranking_of(trial, side), item->key, image, &item->standing[side]);
	return true;
}

bool
trial_explain(Trial *trial, TrialSide side, Slice key, const RuleExplainer *explainer, bool *found,
			  Error *err)
{
	const Ranking *ranking = ranking_of(trial, side);
	RuleInput input;
	Slice image;

	*found = ranking != NULL;
	if (ranking == NULL)
		return true;
	if (!load(trial, key, &image, found, err))
		return false;
	*found = *found && fill(trial->scorer, ranking, key, image, &input);
	if (*found)
		rules_explain(ranking->program, &input, explainer);
	return true;
}

/* ---- in a store of one's own ------------------------------------------------------------------- */

static void
take_out(Rankings *rankings, const Ranking *keep)
{
	for (uint32_t i = 0; i < rankings->count; i++)
	{
		Ranking *ranking = rankings->list[i];

		if (ranking == keep)
			continue;
		ranking_unbind(ranking);
		ranking->enabled = false;
		ranking->dirty = true;
	}
}

static bool
put_in(Ranking *ranking, const Libraries *libraries, Relation *relation, Slice text, RuleError *error)
{
	const WireRelation *head = &relation->current->head;
	RankingProgram program;
	RankingBinding binding;

	if (!ranking_compile(text, libraries, &program, error))
		return false;
	if (!ranking_bind(program.program, relation, &binding, error))
	{
		arena_destroy(program.memory);
		return false;
	}
	ranking_set_definition(ranking, head->schema, head->table, text);
	ranking_set_program(ranking, program);
	ranking_set_binding(ranking, relation, binding);
	ranking->enabled = true;
	ranking->revision++;
	return true;
}

bool
trial_install(Store *store, const char *name, const char *table, Slice text, RuleError *error, Error *err)
{
	Trial *trial;
	Scorer *scorer;
	Ranking *ranking;
	bool ok = true;

	memset(error, 0, sizeof(*error));
	if (!trial_create(store, name, table, &trial, err))
		return false;
	scorer = trial->scorer;
	ranking = rankings_by_name(&scorer->rankings, slice_string(name));
	if (text.len > 0)
	{
		if (ranking == NULL)
			ranking = rankings_add(&scorer->rankings, slice_string(name));
		ok = put_in(ranking, &scorer->rankings.libraries, trial->relation, text, error);
	}
	if (ok)
		take_out(&scorer->rankings, ranking);
	ok = ok && rankings_save(&scorer->rankings, err);
	trial_destroy(trial);
	return ok;
}

bool
trial_ranking(const Scorer *scorer, const char *name, TrialRanking *ranking)
{
	const Ranking *found = rankings_by_name(&scorer->rankings, slice_string(name));

	if (found == NULL)
		return false;
	*ranking = (TrialRanking){.number = found->number,
							  .revision = found->revision,
							  .version = found->version,
							  .live = found->relation != NULL};
	return true;
}
