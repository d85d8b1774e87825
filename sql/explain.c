/*
 * explain.c -- walrank.explain(ranking, key, at): how an item's score came about, as one document.
 *
 * Every statement of the ranking in the order it is computed, from the evaluator itself (rules_explain), with the
 * attributes it reads; then the interventions in force in order of precedence, and what each of them did.  Numbers are
 * written so that they read back as the same doubles: what is printed, computed again, gives the score to the bit.
 */
#include "export.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "item_key.h"
#include "standing.h"
#include "value.h"

EXPORT_FUNCTION(walrank_explain);

static const char *const kinds[] = {
	[RULE_LINE_WHERE] = "where",   [RULE_LINE_TERM] = "term",	[RULE_LINE_BOOST] = "boost",
	[RULE_LINE_FACTOR] = "factor", [RULE_LINE_CLAMP] = "clamp", [RULE_LINE_ROUND] = "round",
	[RULE_LINE_TIER] = "tier",
};

static const char *const whys[] = {
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

/* ---- members of a JSON object ----------------------------------------------------------------- */

static void
put_name(StringInfo out, const char *name)
{
	if (out->len > 0 && strchr("{[", out->data[out->len - 1]) == NULL)
		appendStringInfoChar(out, ',');
	appendStringInfo(out, "\"%s\":", name);
}

static void
put_text(StringInfo out, const char *name, const char *text)
{
	put_name(out, name);
	if (text == NULL)
		appendStringInfoString(out, "null");
	else
		escape_json(out, text);
}

static void
put_bool(StringInfo out, const char *name, bool value)
{
	put_name(out, name);
	appendStringInfoString(out, value ? "true" : "false");
}

static void
put_int(StringInfo out, const char *name, int64 value)
{
	put_name(out, name);
	appendStringInfo(out, INT64_FORMAT, value);
}

/* The shortest text that reads back as the same double. */
static void
put_number(StringInfo out, const char *name, bool known, double value)
{
	put_name(out, name);
	appendStringInfoString(out, known ? DatumGetCString(DirectFunctionCall1(float8out, Float8GetDatum(value)))
									  : "null");
}

static void
put_time(StringInfo out, const char *name, bool known, TimestampTz time)
{
	char text[MAXDATELEN + 1];

	put_text(out, name,
			 known ? JsonEncodeDateTime(text, TimestampTzGetDatum(time), TIMESTAMPTZOID, NULL) : NULL);
}

/* Names and texts of definitions are UTF-8. */
static const char *
from_utf8(Slice text)
{
	return pg_any_to_server(pnstrdup((const char *) text.data, text.len), (int) text.len, PG_UTF8);
}

/* ---- attributes ----------------------------------------------------------------------------------- */

typedef struct Explain
{
	StringInfo out;
	const Standing *standing;
	Jsonb *row; /* the item as the server writes it */
	int lines;
	RuleTotals totals;
} Explain;

static void
put_jsonb(StringInfo out, const char *name, JsonbValue *value)
{
	put_name(out, name);
	if (value == NULL)
		appendStringInfoString(out, "null");
	else if (value->type == jbvBinary)
		(void) JsonbToCString(out, value->val.binary.data, value->val.binary.len);
	else
	{
		Jsonb *whole = JsonbValueToJsonb(value);

		(void) JsonbToCString(out, &whole->root, VARSIZE(whole));
	}
}

static JsonbValue *
member(JsonbContainer *object, const char *name)
{
	return JsonContainerIsObject(object)
			   ? getKeyJsonValueFromContainer(object, name, (int) strlen(name), NULL)
			   : NULL;
}

/* What stands under a name in a jsonb column; in the map [value, "time"] is the value. */
static JsonbValue *
key_value(Explain *explain, const char *column, const char *key)
{
	const char *map = explain->standing->item.map;
	JsonbValue *object = member(&explain->row->root, column);
	JsonbValue *value;
	JsonbValue *time;
	JsonbContainer *pair;

	if (object == NULL || object->type != jbvBinary)
		return NULL;
	value = member(object->val.binary.data, key);
	if (value == NULL || value->type != jbvBinary || map == NULL || strcmp(map, column) != 0)
		return value;
	pair = value->val.binary.data;
	if (!JsonContainerIsArray(pair) || JsonContainerSize(pair) != 2)
		return value;
	time = getIthJsonbValueFromContainer(pair, 1);
	return time->type == jbvString ? getIthJsonbValueFromContainer(pair, 0) : value;
}

/* As rules_bind() understands names: a column, else a key of the map. */
static JsonbValue *
attribute_value(Explain *explain, const RuleAttribute *attribute)
{
	const char *name = from_utf8(attribute->name);
	JsonbValue *value;

	if (attribute->column.len > 0)
		return key_value(explain, from_utf8(attribute->column), name);
	value = member(&explain->row->root, name);
	if (value == NULL && explain->standing->item.map != NULL)
		value = key_value(explain, explain->standing->item.map, name);
	return value;
}

static void
put_attribute(Explain *explain, int index)
{
	StringInfo out = explain->out;
	const RuleValue *seen = &explain->standing->item.values[index];
	const RuleAttribute *attributes;
	const RuleAttribute *attribute;
	const char *name;

	(void) rules_attributes(explain->standing->item.program, &attributes);
	attribute = &attributes[index];
	name = from_utf8(attribute->name);
	if (attribute->column.len > 0)
		name = psprintf("%s.%s", from_utf8(attribute->column), name);
	appendStringInfoString(out, out->data[out->len - 1] == '[' ? "{" : ",{");
	put_text(out, "name", name);
	put_jsonb(out, "value", attribute_value(explain, attribute));
	put_time(out, "time", seen->has_own_time, seen->own_time_us);
	appendStringInfoChar(out, '}');
}

/* ---- statements ------------------------------------------------------------------------------------- */

static void
put_line(void *context, const RuleLine *line)
{
	Explain *explain = context;
	StringInfo out = explain->out;

	appendStringInfoString(out, explain->lines++ == 0 ? "{" : ",{");
	put_text(out, "kind", kinds[line->kind]);
	put_text(out, "name", from_utf8(slice_string(line->name)));
	put_text(out, "text", from_utf8(line->text));
	put_int(out, "line", line->line);
	put_bool(out, "counts", line->counts);
	put_text(out, "why", whys[line->why]);
	put_text(out, "error", line->reason);
	if (line->kind == RULE_LINE_TERM)
		put_number(out, "weight", true, line->weight);
	if (line->kind != RULE_LINE_WHERE)
	{
		put_number(out, "value", line->has_value, line->value);
		put_number(out, "contribution", line->counts, line->contribution);
	}
	put_name(out, "attributes");
	appendStringInfoChar(out, '[');
	for (int i = 0; i < line->nattributes; i++)
		put_attribute(explain, line->attributes[i]);
	appendStringInfoString(out, "]}");
}

static void
keep_totals(void *context, const RuleTotals *totals, const RuleResult *result)
{
	((Explain *) context)->totals = *totals;
}

static void
put_statements(Explain *explain, TimestampTz at)
{
	const Standing *standing = explain->standing;
	const RuleInput input = {.values = standing->item.values,
							 .now_us = at,
							 .allowed = standing->allowed && !standing->has_organic};
	const RuleExplainer explainer = {put_line, keep_totals, explain};

	put_name(explain->out, "statements");
	appendStringInfoChar(explain->out, '[');
	rules_explain(standing->item.program, &input, &explainer);
	appendStringInfoChar(explain->out, ']');
}

static void
put_totals(Explain *explain)
{
	StringInfo out = explain->out;
	const RuleTotals *totals = &explain->totals;
	const RuleResult *result = &explain->standing->result;

	put_name(out, "totals");
	appendStringInfoChar(out, '{');
	put_text(out, "outcome", outcomes[result->outcome]);
	if (result->outcome == RULE_SCORE)
	{
		put_text(out, "combine", totals->combine);
		put_number(out, "terms", true, totals->terms);
		put_number(out, "boosts", true, totals->boosts);
		put_number(out, "factors", true, totals->factors);
		put_number(out, "before_clamp", true, totals->before_clamp);
		put_number(out, "after_clamp", true, totals->after_clamp);
		put_number(out, "rounded", true, totals->rounded);
		put_int(out, "tier", result->tier);
	}
	else if (result->outcome == RULE_QUARANTINE)
	{
		put_text(out, "statement", from_utf8(slice_string(result->statement)));
		put_text(out, "error", result->reason);
	}
	appendStringInfoChar(out, '}');
}

/* ---- interventions ---------------------------------------------------------------------------------- */

/* What has been decided by those that come first. */
typedef struct Course
{
	const Standing *standing;
	bool pinned;
	bool tiered;
	bool allowed;
	bool frozen;
	bool blocked;
	double score; /* after the boosts and buries so far */
} Course;

static const char *
number_text(double value)
{
	return DatumGetCString(DirectFunctionCall1(float8out, Float8GetDatum(value)));
}

/* "score 50 -> 76" */
static const char *
adjust(Course *course, const RuleIntervention *rule)
{
	double before = course->score;

	course->score = before * rule->factor + rule->addend;
	return psprintf("score %s -> %s", number_text(before), number_text(course->score));
}

/* "tier 3", for the first that says one. */
static const char *
tier_of(Course *course, int32 tier)
{
	if (course->tiered)
		return NULL;
	course->tiered = true;
	return psprintf("tier %d", tier);
}

static const char *
once(bool *done, const char *effect)
{
	if (*done)
		return NULL;
	*done = true;
	return effect;
}

/* What an intervention did, block and freeze aside; NULL: nothing, another came first. */
static const char *
effect_on_score(Course *course, const RuleIntervention *rule)
{
	switch (rule->action)
	{
		case INTERVENE_PIN:
			return once(&course->pinned, psprintf("position %d", rule->pin));
		case INTERVENE_TIER:
			return tier_of(course, rule->tier);
		case INTERVENE_TOP:
			return tier_of(course, RULES_TIER_EXTREME);
		case INTERVENE_BOTTOM:
			return tier_of(course, -RULES_TIER_EXTREME);
		case INTERVENE_BURY:
			return rule->has_tier ? tier_of(course, rule->tier) : adjust(course, rule);
		case INTERVENE_BOOST:
			return adjust(course, rule);
		default:
			return NULL;
	}
}

static const char *
effect_of(Course *course, const RuleIntervention *rule)
{
	const Standing *standing = course->standing;

	if (rule->action == INTERVENE_BLOCK)
		return once(&course->blocked, "blocked");
	if (standing->now.blocked)
		return NULL;
	if (rule->action == INTERVENE_FREEZE)
		return once(&course->frozen, psprintf("score held at %s", number_text(rule->score)));
	if (standing->now.frozen)
		return NULL;
	if (rule->action == INTERVENE_ALLOW)
		return standing->has_organic || standing->result.outcome == RULE_OUTSIDE
				   ? NULL
				   : once(&course->allowed, "let in");
	return standing->result.outcome == RULE_SCORE ? effect_on_score(course, rule) : NULL;
}

static void
put_intervention(StringInfo out, const InForce *one, const char *effect)
{
	appendStringInfoString(out, out->data[out->len - 1] == '[' ? "{" : ",{");
	put_int(out, "id", one->id);
	put_text(out, "action", rules_actions[one->rule.action]);
	put_bool(out, "counts", effect != NULL);
	put_text(out, "effect",
			 effect != NULL ? effect : "none: others come first, or the item is not in the ranking");
	put_text(out, "by", one->key.len > 0 ? "key" : "condition");
	put_int(out, "priority", one->rule.priority);
	put_text(out, "author", one->author);
	put_text(out, "reason", one->reason);
	put_time(out, "valid_from", true, one->valid_from);
	put_time(out, "valid_until", !TIMESTAMP_IS_NOEND(one->valid_until), one->valid_until);
	appendStringInfoChar(out, '}');
}

static void
put_interventions(StringInfo out, const Standing *standing)
{
	Course course = {.standing = standing, .score = standing->result.score};

	put_name(out, "interventions");
	appendStringInfoChar(out, '[');
	for (int i = 0; i < standing->n; i++)
		put_intervention(out, standing->active[i], effect_of(&course, &standing->active[i]->rule));
	appendStringInfoChar(out, ']');
}

/* ---- the document ------------------------------------------------------------------------------------ */

/* One row of one or two columns about the ranking or the item, in the current context. */
static Datum
ask(const char *query, Oid type, Datum value)
{
	bool isnull;
	Datum answer;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 1, &type, &value, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read what is explained");
	answer = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	answer = SPI_datumTransfer(answer, SPI_gettypeid(SPI_tuptable->tupdesc, 1) == INT4OID,
							   SPI_gettypeid(SPI_tuptable->tupdesc, 1) == INT4OID ? sizeof(int32) : -1);
	SPI_finish();
	return answer;
}

static void
put_standing(StringInfo out, const Standing *standing)
{
	const RuleStanding *now = &standing->now;

	put_bool(out, "enabled", standing->item.enabled);
	put_bool(out, "shown", now->shown);
	put_bool(out, "blocked", now->blocked);
	put_bool(out, "frozen", now->frozen);
	put_number(out, "score", now->shown, now->score);
	put_name(out, "tier");
	appendStringInfoString(out, now->shown ? psprintf("%d", now->tier) : "null");
	put_name(out, "pin");
	appendStringInfoString(out, now->shown && now->pin > 0 ? psprintf("%d", now->pin) : "null");
	put_number(out, "organic", standing->has_organic, standing->organic);
	put_text(out, "error", standing->reason);
}

static void
put_item(Explain *explain, const char *ranking, HeapTupleHeader item, TimestampTz at)
{
	Standing standing;

	put_bool(explain->out, "found", item != NULL);
	if (item == NULL)
		return;
	standing_find(standing_open(CurrentMemoryContext), ranking, item, at, 0, &standing);
	explain->standing = &standing;
	put_standing(explain->out, &standing);
	if (!standing.item.enabled)
		return;
	explain->row = DatumGetJsonbP(
		ask("SELECT pg_catalog.to_jsonb($1)", HeapTupleHeaderGetTypeId(item), HeapTupleHeaderGetDatum(item)));
	put_statements(explain, at);
	put_totals(explain);
	put_interventions(explain->out, &standing);
}

/* walrank.explain(ranking text, key jsonb, at timestamptz) */
Datum
walrank_explain(PG_FUNCTION_ARGS)
{
	TimestampTz at = standing_time(fcinfo, 2);
	Explain explain = {0};
	StringInfoData out;
	HeapTupleHeader item;
	char *ranking, *relation;
	Oid relid;
	int level;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	ranking = text_to_cstring(PG_GETARG_TEXT_PP(0));
	relid = standing_relation(ranking, &relation);
	item = item_row(relid, relation, PG_GETARG_JSONB_P(1));
	level = value_settings_pin(); /* times in UTC, numbers in full */
	initStringInfo(&out);
	explain.out = &out;
	appendStringInfoChar(&out, '{');
	put_text(&out, "ranking", ranking);
	put_int(
		&out, "version",
		DatumGetInt32(ask("SELECT r.version FROM walrank.ranking r WHERE r.name OPERATOR(pg_catalog.=) $1",
						  TEXTOID, CStringGetTextDatum(ranking))));
	put_text(&out, "relation", relation);
	put_name(&out, "key");
	(void) JsonbToCString(&out, &PG_GETARG_JSONB_P(1)->root, VARSIZE(PG_GETARG_JSONB_P(1)));
	put_time(&out, "at", true, at);
	put_item(&explain, ranking, item, at);
	appendStringInfoChar(&out, '}');
	value_settings_unpin(level);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data));
}
