/*
 * explain.c -- why an item stands where it stands: scorer_explain().
 *
 * Nothing is computed here that show.c does not compute in the same way: the same values, the same interventions in
 * force, the same program.  What is told of a ranking is as of the time at which readers' score was evaluated.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "score/step.h"

static void
member(Buffer *out, const char *name)
{
	const uint8_t last = out->len > 0 ? out->data[out->len - 1] : '{';

	if (last != '{' && last != '[')
		buffer_append_byte(out, ',');
	json_string(out, slice_string(name));
	buffer_append_byte(out, ':');
}

static void
put_text(Buffer *out, const char *name, Slice text)
{
	member(out, name);
	json_string(out, text);
}

static void
put_double(Buffer *out, const char *name, double number)
{
	member(out, name);
	json_double(out, number);
}

static void
put_int(Buffer *out, const char *name, int64_t number)
{
	member(out, name);
	json_int(out, number);
}

static void
put_bool(Buffer *out, const char *name, bool yes)
{
	member(out, name);
	buffer_printf(out, yes ? "true" : "false");
}

static void
put_time(Buffer *out, const char *name, int64_t unix_us)
{
	member(out, name);
	json_time(out, unix_us);
}

/* The next element of a list. */
static void
element(Buffer *out)
{
	if (out->data[out->len - 1] != '[')
		buffer_append_byte(out, ',');
}

/* ---- attributes --------------------------------------------------------------------------------- */

static void
put_value(Buffer *out, const char *name, const RuleValue *value)
{
	member(out, name);
	switch (value->kind)
	{
		case RULE_MISSING:
			buffer_printf(out, "null");
			return;
		case RULE_BOOL:
			buffer_printf(out, value->boolean ? "true" : "false");
			return;
		case RULE_NUMBER:
			json_double(out, value->number);
			return;
		case RULE_TEXT:
			json_string(out, value->bytes);
			return;
		case RULE_TIME:
			if (value->time_us > INT64_MIN && value->time_us < INT64_MAX - PG_EPOCH_US)
				json_time(out, value->time_us + PG_EPOCH_US);
			else
				buffer_printf(out, value->time_us < 0 ? "\"-infinity\"" : "\"infinity\"");
			return;
		case RULE_LIST:
			json_string(out, slice_string("(list)"));
			return;
		case RULE_OTHER:
			json_string(out, slice_string("(no value a rule can use)"));
			return;
	}
}

/* "name" or "column.name". */
static void
put_attribute_name(Buffer *out, const RuleAttribute *attribute)
{
	Buffer name = {0};

	if (attribute->column.len > 0)
	{
		buffer_append_slice(&name, attribute->column);
		buffer_append_byte(&name, '.');
	}
	buffer_append_slice(&name, attribute->name);
	json_string(out, buffer_slice(&name));
	buffer_free(&name);
}

static void
put_attributes(const Scorer *scorer, const Ranking *ranking, const RuleInput *input, Buffer *out)
{
	static const char *const changes[] = {NULL, "no", "yes"};
	const RuleAttribute *attributes;
	const int n = rules_attributes(ranking->program, &attributes);

	member(out, "attributes");
	buffer_append_byte(out, '[');
	for (int i = 0; i < n; i++)
	{
		const RuleValue *value = &scorer->values[i];

		element(out);
		buffer_append_byte(out, '{');
		member(out, "name");
		put_attribute_name(out, &attributes[i]);
		put_value(out, "value", value);
		if (value->has_own_time && value->own_time_us < INT64_MAX - PG_EPOCH_US)
			put_time(out, "time", value->own_time_us + PG_EPOCH_US);
		if (input->previous != NULL && rules_reads_previous(ranking->program, i))
		{
			put_value(out, "was", &input->previous[i]);
			if (changes[input->changes[i]] != NULL)
				put_text(out, "changed", slice_string(changes[input->changes[i]]));
		}
		buffer_append_byte(out, '}');
	}
	buffer_append_byte(out, ']');
}

/* ---- statements --------------------------------------------------------------------------------- */

static const char *const line_kinds[] = {"where", "term", "boost", "factor", "clamp", "round", "tier"};
/* In SQL's words: sql/explain.c. */
static const char *const line_whys[] = {
	[RULE_COUNTS] = "counts",
	[RULE_COUNTS_MISSING] = "counts with the number after missing",
	[RULE_COUNTS_ERROR] = "counts with the number after on_error",
	[RULE_OUT_FALSE] = "the condition is false",
	[RULE_OUT_UNKNOWN] = "the condition is unknown: something it reads is missing",
	[RULE_OUT_MISSING] = "left out: something it reads is missing",
	[RULE_OUT_REJECTED] = "rejects the item: something it reads is missing",
	[RULE_OUT_ERROR] = "left out: an error",
	[RULE_OUT_QUARANTINE] = "an error: there is no score",
	[RULE_OUT_NOT_COMPUTED] = "not computed",
};

static const char *const outcomes[] = {
	[RULE_SCORE] = "score", [RULE_OUTSIDE] = "outside", [RULE_QUARANTINE] = "quarantine"};

typedef struct Telling
{
	Buffer *out;
	const RuleAttribute *attributes;
	RuleTotals totals;
	RuleResult result;
} Telling;

static void
tell_line(void *context, const RuleLine *line)
{
	Telling *telling = context;
	Buffer *out = telling->out;

	element(out);
	buffer_append_byte(out, '{');
	put_text(out, "kind", slice_string(line_kinds[line->kind]));
	put_text(out, "name", slice_string(line->name));
	put_int(out, "line", line->line);
	put_text(out, "text", line->text);
	put_bool(out, "counts", line->counts);
	put_text(out, "why", slice_string(line_whys[line->why]));
	if (line->reason != NULL)
		put_text(out, "error", slice_string(line->reason));
	if (line->kind == RULE_LINE_TERM)
		put_double(out, "weight", line->weight);
	if (line->has_value)
	{
		put_double(out, "value", line->value);
		put_double(out, "contribution", line->contribution);
	}
	member(out, "reads");
	buffer_append_byte(out, '[');
	for (int i = 0; i < line->nattributes; i++)
	{
		element(out);
		put_attribute_name(out, &telling->attributes[line->attributes[i]]);
	}
	buffer_printf(out, "]}");
}

static void
tell_totals(void *context, const RuleTotals *totals, const RuleResult *result)
{
	Telling *telling = context;

	telling->totals = *totals;
	telling->result = *result;
}

static void
put_totals(Buffer *out, const RuleTotals *totals, const RuleResult *result)
{
	member(out, "totals");
	buffer_append_byte(out, '{');
	put_text(out, "outcome", slice_string(outcomes[result->outcome]));
	if (result->outcome == RULE_SCORE)
	{
		put_text(out, "combine", slice_string(totals->combine));
		put_double(out, "terms", totals->terms);
		put_double(out, "boosts", totals->boosts);
		put_double(out, "factors", totals->factors);
		put_double(out, "before_clamp", totals->before_clamp);
		put_double(out, "after_clamp", totals->after_clamp);
		put_double(out, "rounded", totals->rounded);
		put_int(out, "tier", result->tier);
	}
	else if (result->outcome == RULE_QUARANTINE)
	{
		put_text(out, "statement", slice_string(result->statement));
		put_text(out, "error", slice_string(result->reason));
	}
	buffer_append_byte(out, '}');
}

/* ---- interventions ------------------------------------------------------------------------------- */

static void
put_effect(Buffer *out, const RuleIntervention *rule)
{
	switch (rule->action)
	{
		case INTERVENE_PIN:
			put_int(out, "position", rule->pin);
			return;
		case INTERVENE_TIER:
			put_int(out, "tier", rule->tier);
			return;
		case INTERVENE_BURY:
			if (rule->has_tier)
				put_int(out, "tier", rule->tier);
			else
				put_double(out, "factor", rule->factor);
			return;
		case INTERVENE_BOOST:
			put_double(out, "factor", rule->factor);
			put_double(out, "addend", rule->addend);
			return;
		case INTERVENE_FREEZE:
			put_double(out, "score", rule->score);
			return;
		default:
			return;
	}
}

/* All that are about the item in the ranking, in force or to come. */
static void
put_interventions(const Scorer *scorer, const Ranking *ranking, Buffer *out)
{
	const ItemSteering *steering = &scorer->steering;

	member(out, "interventions");
	buffer_append_byte(out, '[');
	for (int i = 0; i < steering->count; i++)
	{
		const Intervention *one = steering->list[i];

		if (!intervention_concerns(one, ranking))
			continue;
		element(out);
		buffer_append_byte(out, '{');
		put_int(out, "id", one->row.id);
		put_text(out, "action", slice_string(rules_actions[one->row.rule.action]));
		put_bool(out, "in_force", intervention_in_force(one, scorer->unit.now_us));
		put_text(out, "by", slice_string(one->row.key.len > 0 ? "key" : "condition"));
		if (one->row.condition.len > 0)
			put_text(out, "condition", one->row.condition);
		put_effect(out, &one->row.rule);
		put_int(out, "priority", one->row.rule.priority);
		put_time(out, "valid_from", one->row.from_us);
		if (one->row.until_us != INTERVENTION_NEVER)
			put_time(out, "valid_until", one->row.until_us);
		buffer_append_byte(out, '}');
	}
	buffer_append_byte(out, ']');
}

/* ---- a ranking ------------------------------------------------------------------------------------ */

static const Emitted *
find_stood(const Scorer *scorer, const Ranking *ranking)
{
	for (int i = 0; i < scorer->emitted.count; i++)
		if (scorer->emitted.list[i].ranking == ranking->number)
			return &scorer->emitted.list[i];
	return NULL;
}

/* What readers hold. */
static void
put_told(const Ranking *ranking, const Emitted *stood, Buffer *out)
{
	const bool shown =
		stood != NULL && stood->status == EMITTED_SCORE && stood->revision >= ranking->void_before;

	put_bool(out, "shown", shown);
	if (shown)
	{
		put_double(out, "score", stood->score);
		put_int(out, "tier", stood->tier);
		member(out, "pin");
		if (stood->pin > 0)
			json_int(out, stood->pin);
		else
			buffer_printf(out, "null");
	}
	put_bool(out, "stale", stood == NULL || stood->revision != ranking->revision);
	if (stood != NULL && stood->clock_us != EMITTED_NEVER)
		put_time(out, "next_by_age", stood->clock_us);
	if (stood != NULL && stood->boundary_us != EMITTED_NEVER)
		put_time(out, "next_intervention", stood->boundary_us);
}

/* What readers hold stays although something else was computed: it is too little to be told. */
static bool
kept_by_min_change(const Ranking *ranking, const Emitted *stood, const RuleStanding *standing)
{
	const RuleResult now = {.outcome = RULE_SCORE, .score = standing->score};
	RuleResult before = now;

	if (stood == NULL || stood->status != EMITTED_SCORE || stood->revision < ranking->void_before)
		return false;
	before.score = stood->score;
	return stood->score != standing->score && !rules_differ(&before, &now, ranking->min_change);
}

static void
put_computed(const Ranking *ranking, const Emitted *stood, const RuleStanding *standing, const char *reason,
			 Buffer *out)
{
	const bool shown = standing->shown && reason == NULL;

	member(out, "computed");
	buffer_append_byte(out, '{');
	put_bool(out, "shown", shown);
	put_bool(out, "blocked", standing->blocked);
	put_bool(out, "frozen", standing->frozen);
	if (shown)
	{
		put_double(out, "score", standing->score);
		put_int(out, "tier", standing->tier);
		put_int(out, "pin", standing->pin);
	}
	if (shown && kept_by_min_change(ranking, stood, standing))
		put_double(out, "kept_by_min_change", ranking->min_change);
	if (reason != NULL)
		put_text(out, "error", slice_string(reason));
	buffer_append_byte(out, '}');
}

/*
 * The clock of a unit is what a score goes by: that of the unit that made it.  Where it is not known, the score is the
 * same at all times before the next one at which it is looked at again.
 */
static int64_t
time_of(const Ranking *ranking, const Emitted *stood, int64_t now_us)
{
	if (stood == NULL || stood->revision != ranking->revision)
		return now_us; /* stale: what comes is told */
	if (stood->evaluated_us != 0)
		return stood->evaluated_us;
	if (stood->boundary_us <= now_us)
		now_us = stood->boundary_us - 1;
	return stood->clock_us <= now_us ? stood->clock_us - 1 : now_us;
}

static bool
explain_ranking(Scorer *scorer, Relation *relation, const Ranking *ranking, Slice key, Slice image,
				Buffer *out)
{
	const Emitted *stood = find_stood(scorer, ranking);
	Telling telling = {.out = out};
	const RuleExplainer explainer = {tell_line, tell_totals, &telling};
	RuleStanding standing;
	RuleInput input;
	const char *reason = NULL;
	int64_t boundary_us;

	scorer->unit.now_us = time_of(ranking, stood, scorer->unit.now_us);
	if (!steer_collect(scorer, relation, key, image))
		return false;
	steer_apply(scorer, ranking, &boundary_us);
	if (!rules_fill(ranking->binding, key, image, scorer->values))
		return false;
	show_input(scorer, ranking, &input);
	rules_attributes(ranking->program, &telling.attributes);
	element(out);
	buffer_append_byte(out, '{');
	put_text(out, "ranking", slice_string(ranking->name));
	put_int(out, "version", ranking->version);
	put_told(ranking, stood, out);
	put_time(out, "at", scorer->unit.now_us);
	put_attributes(scorer, ranking, &input, out);
	member(out, "statements");
	buffer_append_byte(out, '[');
	rules_explain(ranking->program, &input, &explainer);
	buffer_append_byte(out, ']');
	put_totals(out, &telling.totals, &telling.result);
	put_interventions(scorer, ranking, out);
	if (rules_intervene(ranking->program, scorer->steering.active, scorer->steering.nactive, &telling.result,
						&standing, &reason))
		reason = telling.result.outcome == RULE_QUARANTINE && !standing.shown && !standing.blocked
					 ? telling.result.reason
					 : NULL;
	put_computed(ranking, stood, &standing, reason, out);
	buffer_append_byte(out, '}');
	return true;
}

/* ---- the item -------------------------------------------------------------------------------------- */

/* Whether there is one of that name in force; empty: any. */
static bool
check_ranking(const Relation *relation, const char *name, Error *err)
{
	Buffer known = {0};
	bool found = name[0] == '\0';

	for (int i = 0; i < relation->nrankings && !found; i++)
		if (relation->rankings[i]->binding != NULL)
		{
			found = strcmp(relation->rankings[i]->name, name) == 0;
			buffer_printf(&known, "%s%s", known.len > 0 ? ", " : "", relation->rankings[i]->name);
		}
	if (!found)
	{
		error_set(err, ERR_CONFIG, "the table has no ranking \"%.80s\" in force", name);
		error_hint(err, "In force %s %.*s.", known.len > 0 ? "are" : "is",
				   known.len > 0 ? (int) known.len : 4, known.len > 0 ? (char *) known.data : "none");
	}
	buffer_free(&known);
	return found;
}

static bool
explain_rankings(Scorer *scorer, Relation *relation, Slice key, const char *only, Buffer *out, Error *err)
{
	const int64_t now_us = scorer->unit.now_us;

	for (int i = 0; i < relation->nrankings; i++)
	{
		const Ranking *ranking = relation->rankings[i];
		Slice image;

		if (ranking->binding == NULL || (only[0] != '\0' && strcmp(ranking->name, only) != 0))
			continue;
		scorer->unit.now_us = now_us;
		/* what is loaded lasts until the next read */
		if (!show_load(scorer, relation, key, &image, err))
			return false;
		if (!explain_ranking(scorer, relation, ranking, key, image, out))
			return error_set(err, ERR_REFUSE, "the item cannot be read");
	}
	scorer->unit.now_us = now_us;
	return true;
}

static Relation *
find_relation(const Scorer *scorer, const char *text)
{
	char schema[IDENTIFIER_BYTES];
	char table[IDENTIFIER_BYTES];
	const Watch *watch;

	if (!watch_parse(slice_string(text), schema, table))
		return NULL;
	watch = watches_by_name(&scorer->watches, slice_string(schema), slice_string(table));
	return watch != NULL && watch->relation != NULL && watch->relation->current != NULL ? watch->relation
																						: NULL;
}

bool
scorer_explain(Scorer *scorer, const char *relation_name, Slice key, const char *ranking, int64_t now_us,
			   Buffer *json, Error *err)
{
	Relation *relation = find_relation(scorer, relation_name);
	const int64_t unit_us = scorer->unit.now_us;
	Slice image;
	bool ok;

	if (relation == NULL)
		return error_set(err, ERR_CONFIG, "\"%s\" is no watched table", relation_name);
	if (!check_ranking(relation, ranking, err) || !show_load(scorer, relation, key, &image, err))
		return false;
	buffer_append_byte(json, '{');
	put_text(json, "relation", slice_string(relation_name));
	put_int(json, "seq", (int64_t) store_position(scorer->store).seq);
	put_bool(json, "found", scorer->had);
	put_bool(json, "whole", scorer->had_whole);
	member(json, "rankings");
	buffer_append_byte(json, '[');
	if (now_us > unit_us)
		scorer->unit.now_us = now_us;
	ok = !scorer->had_whole || explain_rankings(scorer, relation, key, ranking, json, err);
	scorer->unit.now_us = unit_us;
	buffer_printf(json, "]}");
	return ok;
}
