/*
 * steer.c -- what the rows of walrank.intervention cause, and which of them are about an item.
 *
 *   row by key comes, changes, goes     its item is evaluated at once (timer.c)
 *   a pin among them                    so are the items of all pins of the table: positions may shift
 *   row by condition                    the rankings get a new revision: a job meets every item (rescore.c)
 *   it begins or ends                   each item that it is about has a timer of its own
 *
 * An item that does not exist meets its interventions when it comes.
 */
#include "score/row.h"

#include <math.h>
#include <stdlib.h>

/* ---- reading a row ------------------------------------------------------------------------- */

/* SQL NULL leaves *number as it is. */
static bool
row_number(const Row *row, const char *name, double *number)
{
	WireValue value;

	if (!row_value(row, name, &value))
		return false;
	return value.kind == VALUE_NULL || (wire_number(&value, number) && isfinite(*number));
}

static bool
row_integer(const Row *row, const char *name, int64_t least, int64_t most, bool *given, int32_t *number)
{
	WireValue value;

	if (!row_value(row, name, &value))
		return false;
	*given = value.kind != VALUE_NULL;
	if (!*given)
		return true;
	*number = (int32_t) value.integer;
	return value.kind == VALUE_INT && value.integer >= least && value.integer <= most;
}

/* us since 1970; infinity and NULL are `none`. */
static bool
row_time(const Row *row, const char *name, int64_t none, int64_t *time_us)
{
	WireValue value;

	if (!row_value(row, name, &value))
		return false;
	*time_us = none;
	if (value.kind == VALUE_NULL)
		return true;
	if (value.kind != VALUE_TIMESTAMPTZ)
		return false;
	if (value.integer == INT64_MIN)
		*time_us = 0;
	else if (value.integer < EMITTED_NEVER - PG_EPOCH_US)
		*time_us = value.integer + PG_EPOCH_US;
	return true;
}

static bool
row_id(const Row *row, int64_t *id)
{
	WireValue value;

	if (!row_value(row, "id", &value) || value.kind != VALUE_INT)
		return false;
	*id = value.integer;
	return true;
}

static bool
row_item_key(const Row *row, Slice *key)
{
	WireValue value;

	if (!row_value(row, "item_key", &value) || (value.kind != VALUE_BYTES && value.kind != VALUE_NULL))
		return false;
	*key = value.kind == VALUE_BYTES ? value.bytes : slice_make(NULL, 0);
	return key->len <= INTERVENTION_KEY_BYTES_MAX;
}

static bool
row_rule(const Row *row, RuleIntervention *rule)
{
	bool given;
	Slice action;

	*rule = (RuleIntervention){.factor = 1, .tier = RULES_TIER_BURIED};
	if (!row_text(row, "action", &action) || !rules_action(action, &rule->action) ||
		!row_number(row, "factor", &rule->factor) || rule->factor <= 0 ||
		!row_number(row, "addend", &rule->addend) || !row_number(row, "score", &rule->score) ||
		!row_integer(row, "tier", -RULES_TIER_MAX, RULES_TIER_MAX, &rule->has_tier, &rule->tier) ||
		!row_integer(row, "position", 1, INTERVENTION_POSITION_MAX, &given, &rule->pin) ||
		!row_integer(row, "priority", INT32_MIN, INT32_MAX, &given, &rule->priority))
		return false;
	/* buried without saying how: below all that is not */
	rule->has_tier |= rule->action == INTERVENE_BURY && rule->factor == 1;
	return rule->action != INTERVENE_PIN || rule->pin > 0;
}

static bool
steer_parse(const Row *row, InterventionRow *parsed, char schema[IDENTIFIER_BYTES],
			char table[IDENTIFIER_BYTES])
{
	Slice relation;

	*parsed = (InterventionRow){0};
	if (!row_id(row, &parsed->id) || !row_text(row, "relation", &relation) ||
		!watch_parse(relation, schema, table) || !row_text(row, "ranking", &parsed->ranking) ||
		!row_text(row, "condition", &parsed->condition) || !row_item_key(row, &parsed->key) ||
		!row_rule(row, &parsed->rule) || !row_time(row, "valid_from", 0, &parsed->from_us) ||
		!row_time(row, "valid_until", INTERVENTION_NEVER, &parsed->until_us))
		return false;
	parsed->schema = slice_string(schema);
	parsed->table = slice_string(table);
	return (parsed->key.len > 0) != (parsed->condition.len > 0) &&
		   (parsed->key.len > 0 || parsed->rule.action != INTERVENE_PIN);
}

/* ---- what a row causes --------------------------------------------------------------------- */

static bool
wake_pins(Scorer *scorer, const Relation *relation, Error *err)
{
	for (int i = 0; i < relation->pins.count; i++)
		if (!timer_at_once(scorer, relation, relation->pins.list[i]->row.key, err))
			return false;
	return true;
}

/* Every item of the rankings that a condition is about has to be asked. */
static bool
renew_rankings(Scorer *scorer, const Intervention *one, Relation *relation, Error *err)
{
	bool any = false;

	for (int i = 0; i < relation->nrankings; i++)
	{
		Ranking *ranking = relation->rankings[i];

		if (!intervention_concerns(one, ranking))
			continue;
		ranking->revision++;
		ranking->dirty = true;
		any = true;
	}
	return !any || rescore_want(scorer, relation, err);
}

/* The items an intervention is about are to be evaluated. */
static bool
wake(Scorer *scorer, const Intervention *one, Error *err)
{
	Relation *relation = one->relation;

	if (relation == NULL)
		return true;
	if (one->row.key.len == 0)
		return renew_rankings(scorer, one, relation, err);
	return timer_at_once(scorer, relation, one->row.key, err) &&
		   (one->row.rule.action != INTERVENE_PIN || wake_pins(scorer, relation, err));
}

static Relation *
steered(const Scorer *scorer, const Intervention *one)
{
	const Watch *watch = watches_by_name(&scorer->watches, one->row.schema, one->row.table);

	return watch != NULL && watch->relation != NULL && watch->relation->current != NULL ? watch->relation
																						: NULL;
}

/* A condition that does not bind is told once; the row stays, and is about nothing. */
static void
link_one(Scorer *scorer, Intervention *one)
{
	Relation *relation = relations_by_role(&scorer->relations, ROLE_INTERVENTIONS);
	RuleError error;

	if (!intervention_link(&scorer->interventions, one, steered(scorer, one), &error) && scorer->in_unit)
		emit_quarantine(scorer, relation, slice_make(NULL, 0), slice_string("condition"),
						slice_string(error.message), one->row.condition);
}

bool
steer_row(Scorer *scorer, Relation *relation, const Row *row, Error *err)
{
	char schema[IDENTIFIER_BYTES];
	char table[IDENTIFIER_BYTES];
	InterventionRow parsed;
	Intervention *one;
	RuleError error;

	if (!steer_parse(row, &parsed, schema, table))
	{
		row_quarantine(scorer, relation, row, "", "not a row of walrank.intervention");
		return true;
	}
	/* units are dense, and a unit of more than 2^20 changes has few interventions among them */
	parsed.rule.order =
		scorer->unit.seq << 20 | (scorer->change < (1u << 20) ? scorer->change : (1u << 20) - 1);
	one = interventions_find(&scorer->interventions, parsed.id);
	if (one != NULL && !wake(scorer, one, err))
		return false;
	one = interventions_set(&scorer->interventions, &parsed, &error);
	if (one == NULL)
	{
		row_quarantine(scorer, relation, row, "condition", error.message);
		return true;
	}
	link_one(scorer, one);
	return intervention_save(&scorer->interventions, one, err) && wake(scorer, one, err);
}

bool
steer_row_gone(Scorer *scorer, const Row *row, Error *err)
{
	Intervention *one;
	int64_t id;

	if (!row_id(row, &id) || (one = interventions_find(&scorer->interventions, id)) == NULL)
		return true;
	return wake(scorer, one, err) && interventions_remove(&scorer->interventions, one, err);
}

/* ---- relations come and go ------------------------------------------------------------------- */

void
steer_load(Scorer *scorer)
{
	for (int i = 0; i < scorer->interventions.count; i++)
		link_one(scorer, scorer->interventions.list[i]);
}

/* Those whose relation is another now, or has another version: nothing else looks at them anew. */
bool
steer_relink(Scorer *scorer, Error *err)
{
	for (int i = 0; i < scorer->interventions.count; i++)
	{
		Intervention *one = scorer->interventions.list[i];
		const Relation *before = one->relation;

		if (before == steered(scorer, one) && one->row.key.len > 0)
			continue;
		link_one(scorer, one);
		if (one->relation != before && one->relation != NULL && !wake(scorer, one, err))
			return false;
	}
	return true;
}

/* ---- the item at hand ----------------------------------------------------------------------- */

static void
steering_add(ItemSteering *steering, const Intervention *one)
{
	if (steering->count == steering->capacity)
	{
		steering->capacity = steering->capacity * 2 + 8;
		steering->list = xrealloc(steering->list, (size_t) steering->capacity * sizeof(const Intervention *));
		steering->rules = xrealloc(steering->rules, (size_t) steering->capacity * sizeof(RuleIntervention));
		steering->active =
			xrealloc(steering->active, (size_t) steering->capacity * sizeof(const RuleIntervention *));
	}
	steering->list[steering->count++] = one;
}

void
steer_free(ItemSteering *steering)
{
	free(steering->list);
	free(steering->rules);
	free(steering->active);
}

/* False: the image cannot be read. */
static bool
condition_holds(Scorer *scorer, const Intervention *one, Slice key, Slice image, bool *holds)
{
	RuleInput input = {.values = scorer->values, .now_us = scorer->unit.now_us - PG_EPOCH_US};
	RuleResult result;
	int64_t next_us;

	*holds = false;
	if (one->binding.binding == NULL)
		return true;
	if (!rules_fill(one->binding.binding, key, image, scorer->values))
		return false;
	rules_evaluate(one->program.program, &input, &result);
	*holds = result.outcome == RULE_SCORE;
	if (!rules_use_clock(one->program.program))
		return true;
	next_us = rules_next_change(one->program.program, &input, &result, 0);
	if (next_us < EMITTED_NEVER - PG_EPOCH_US && next_us + PG_EPOCH_US < scorer->steering.clock_us)
		scorer->steering.clock_us = next_us + PG_EPOCH_US;
	return true;
}

/* Two lists in order of precedence become one. */
bool
steer_collect(Scorer *scorer, const Relation *relation, Slice key, Slice image)
{
	ItemSteering *steering = &scorer->steering;
	const Intervention *mine;

	steering->count = 0;
	steering->nactive = 0;
	steering->clock_us = EMITTED_NEVER;
	if (relation->nsteered == 0)
		return true;
	mine = interventions_of_key(&scorer->interventions, relation, key);
	for (int i = 0; i < relation->conditions.count; i++)
	{
		const Intervention *one = relation->conditions.list[i];
		bool holds;

		if (one->row.until_us <= scorer->unit.now_us)
			continue;
		if (!condition_holds(scorer, one, key, image, &holds))
			return false;
		if (!holds)
			continue;
		for (; mine != NULL && rules_intervention_order(&mine->row.rule, &one->row.rule) < 0;
			 mine = mine->next_of_key)
			steering_add(steering, mine);
		steering_add(steering, one);
	}
	for (; mine != NULL; mine = mine->next_of_key)
		steering_add(steering, mine);
	return true;
}

/* A pin's item may be moved by whatever becomes of the other pins. */
static int64_t
pins_boundary(const Relation *relation, const Ranking *ranking, int64_t now_us)
{
	int64_t boundary_us = INTERVENTION_NEVER;

	for (int i = 0; i < relation->pins.count; i++)
	{
		const Intervention *one = relation->pins.list[i];
		int64_t own_us = intervention_boundary(one, now_us);

		if (intervention_concerns(one, ranking) && own_us < boundary_us)
			boundary_us = own_us;
	}
	return boundary_us;
}

void
steer_apply(Scorer *scorer, const Ranking *ranking, int64_t *boundary_us)
{
	ItemSteering *steering = &scorer->steering;
	const int64_t now_us = scorer->unit.now_us;
	bool pinned = false;

	*boundary_us = EMITTED_NEVER;
	steering->nactive = 0;
	for (int i = 0; i < steering->count; i++)
	{
		const Intervention *one = steering->list[i];
		RuleIntervention *rule = &steering->rules[steering->nactive];
		int64_t own_us;

		if (!intervention_concerns(one, ranking))
			continue;
		own_us = intervention_boundary(one, now_us);
		*boundary_us = own_us < *boundary_us ? own_us : *boundary_us;
		pinned |= one->row.rule.action == INTERVENE_PIN;
		if (!intervention_in_force(one, now_us))
			continue;
		*rule = one->row.rule;
		if (rule->action == INTERVENE_PIN)
			rule->pin = intervention_position(&scorer->interventions, one, ranking, now_us);
		steering->active[steering->nactive++] = rule;
	}
	if (pinned)
	{
		int64_t own_us = pins_boundary(ranking->relation, ranking, now_us);

		*boundary_us = own_us < *boundary_us ? own_us : *boundary_us;
	}
}
