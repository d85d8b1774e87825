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
	put_text(out, "name", buffer_slice(&name));
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
static const char *const line_whys[] = {
	[RULE_COUNTS] = "counts",
	[RULE_COUNTS_MISSING] = "missing, a number is taken",
	[RULE_COUNTS_ERROR] = "error, a number is taken",
	[RULE_OUT_FALSE] = "condition is false",
	[RULE_OUT_UNKNOWN] = "condition is unknown",
	[RULE_OUT_MISSING] = "missing, left out",
	[RULE_OUT_REJECTED] = "missing, item rejected",
	[RULE_OUT_ERROR] = "error, left out",
	[RULE_OUT_QUARANTINE] = "error, no score",
	[RULE_OUT_NOT_COMPUTED] = "not computed",
};

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
		put_text(out, "reason", slice_string(line->reason));
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
		json_string(out, telling->attributes[line->attributes[i]].name);
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
put_totals(Buffer *out, const RuleTotals *totals)
{
	member(out, "totals");
	buffer_append_byte(out, '{');
	put_double(out, "terms", totals->terms);
	put_double(out, "boosts", totals->boosts);
	put_double(out, "factors", totals->factors);
	put_double(out, "before_clamp", totals->before_clamp);
	put_double(out, "after_clamp", totals->after_clamp);
	put_double(out, "rounded", totals->rounded);
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
		if (one->row.condition.len > 0)
			put_text(out, "condition", one->row.condition);
		put_effect(out, &one->row.rule);
		put_int(out, "priority", one->row.rule.priority);
		put_time(out, "from", one->row.from_us);
		if (one->row.until_us != INTERVENTION_NEVER)
			put_time(out, "until", one->row.until_us);
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

static void
put_computed(const RuleStanding *standing, bool ok, const char *reason, Buffer *out)
{
	member(out, "computed");
	buffer_append_byte(out, '{');
	put_bool(out, "shown", standing->shown && ok);
	put_bool(out, "blocked", standing->blocked);
	put_bool(out, "frozen", standing->frozen);
	if (ok && standing->shown)
	{
		put_double(out, "score", standing->score);
		put_int(out, "tier", standing->tier);
		put_int(out, "pin", standing->pin);
	}
	if (!ok)
		put_text(out, "reason", slice_string(reason));
	buffer_append_byte(out, '}');
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
	bool ok;

	/* the clock of a unit is what a score goes by: that of the unit that made it */
	if (stood != NULL && stood->evaluated_us != 0)
		scorer->unit.now_us = stood->evaluated_us;
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
	put_totals(out, &telling.totals);
	put_interventions(scorer, ranking, out);
	ok = rules_intervene(ranking->program, scorer->steering.active, scorer->steering.nactive, &telling.result,
						 &standing, &reason);
	if (telling.result.outcome == RULE_QUARANTINE && ok && !standing.shown && !standing.blocked)
	{
		ok = false;
		reason = telling.result.reason;
	}
	put_computed(&standing, ok, reason, out);
	buffer_append_byte(out, '}');
	return true;
}

/* ---- the item -------------------------------------------------------------------------------------- */

static bool
explain_rankings(Scorer *scorer, Relation *relation, Slice key, const char *only, Buffer *out, Error *err)
{
	const int64_t now_us = scorer->unit.now_us;
	bool any = false;

	for (int i = 0; i < relation->nrankings; i++)
	{
		const Ranking *ranking = relation->rankings[i];
		Slice image;

		if (ranking->binding == NULL || (only[0] != '\0' && strcmp(ranking->name, only) != 0))
			continue;
		any = true;
		scorer->unit.now_us = now_us;
		/* what is loaded lasts until the next read */
		if (!show_load(scorer, relation, key, &image, err))
			return false;
		if (!explain_ranking(scorer, relation, ranking, key, image, out))
			return error_set(err, ERR_REFUSE, "the item cannot be read");
	}
	scorer->unit.now_us = now_us;
	return any || only[0] == '\0' ||
		   error_set(err, ERR_CONFIG, "there is no ranking \"%s\" on this table", only);
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
scorer_explain(Scorer *scorer, const char *relation_name, Slice key, const char *ranking, Buffer *json,
			   Error *err)
{
	Relation *relation = find_relation(scorer, relation_name);
	Slice image;

	if (relation == NULL)
		return error_set(err, ERR_CONFIG, "\"%s\" is no watched table", relation_name);
	if (!show_load(scorer, relation, key, &image, err))
		return false;
	buffer_append_byte(json, '{');
	put_text(json, "relation", slice_string(relation_name));
	put_int(json, "seq", (int64_t) store_position(scorer->store).seq);
	put_bool(json, "found", scorer->had);
	put_bool(json, "whole", scorer->had_whole);
	member(json, "rankings");
	buffer_append_byte(json, '[');
	if (scorer->had_whole && !explain_rankings(scorer, relation, key, ranking, json, err))
		return false;
	buffer_printf(json, "]}");
	return true;
}
