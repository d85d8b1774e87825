/*
 * standing.c -- where an item stands in a ranking: walrank.score() and the interventions in force.
 *
 * standing() has the row, standing_of() reads it by its key with the caller's rights and may leave one intervention
 * out, to tell what that moves.  holds() asks a condition of a row.  What the daemon makes of an item goes through the
 * same rules_intervene().
 */
#include "export.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "encode.h"
#include "item_key.h"
#include "options.h"
#include "standing.h"

EXPORT_FUNCTION(walrank_standing);
EXPORT_FUNCTION(walrank_standing_of);
EXPORT_FUNCTION(walrank_holds);
EXPORT_FUNCTION(walrank_has_item);

struct StandingCache
{
	FmgrInfo score; /* score_item() keeps what it needs in there */
	Interventions *interventions;
};

StandingCache *
standing_open(MemoryContext context)
{
	StandingCache *cache = MemoryContextAllocZero(context, sizeof(StandingCache));

	cache->score.fn_mcxt = context;
	cache->interventions = interventions_open(context);
	return cache;
}

TimestampTz
standing_time(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz at =
		PG_ARGISNULL(argument) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(argument);

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the time of a standing must be finite"));
	return at;
}

/* ---- the standing ------------------------------------------------------------------------------- */

static void
warn_no_score(const char *ranking, const char *statement, const char *reason)
{
	ereport(WARNING, errcode(ERRCODE_DATA_EXCEPTION),
			errmsg("no score in ranking \"%s\": %s: %s", ranking, statement, reason));
}

/* As if there were no interventions; the result is that under `allow`, if there is one. */
static void
evaluate(TimestampTz at, Standing *standing)
{
	RuleInput input = {.values = standing->item.values, .now_us = at};

	rules_evaluate(standing->item.program, &input, &standing->result);
	standing->has_organic = standing->result.outcome == RULE_SCORE;
	standing->organic = standing->result.score;
	if (!standing->allowed || standing->has_organic)
		return;
	input.allowed = true;
	rules_evaluate(standing->item.program, &input, &standing->result);
}

void
standing_find(StandingCache *cache, const char *ranking, HeapTupleHeader item, TimestampTz at, int64 without,
			  Standing *standing)
{
	const RuleIntervention *const *rules;
	InterventionItem steered;

	*standing = (Standing){.n = 0};
	score_item(&cache->score, ranking, item, &standing->item);
	if (!standing->item.enabled)
		return;
	interventions_refresh(cache->interventions, standing->item.relation, ranking, at, without);
	steered = (InterventionItem){.relid = get_typ_typrelid(HeapTupleHeaderGetTypeId(item)),
								 .fingerprint = standing->item.fingerprint,
								 .map = standing->item.map,
								 .key = standing->item.key,
								 .attributes = standing->item.attributes};
	standing->n = interventions_of(cache->interventions, &steered, &standing->active, &rules);
	standing->allowed = rules_allowed(rules, standing->n);
	evaluate(at, standing);
	if (!rules_intervene(standing->item.program, rules, standing->n, &standing->result, &standing->now,
						 &standing->reason))
	{
		warn_no_score(ranking, "intervention", standing->reason);
		standing->now = (RuleStanding){0};
	}
	else if (standing->result.outcome == RULE_QUARANTINE && !standing->now.shown && !standing->now.blocked)
		warn_no_score(ranking, standing->result.statement, standing->result.reason);
}

/* ---- as a row ------------------------------------------------------------------------------------- */

/* Lives as long as the calling expression. */
typedef struct CallCache
{
	StandingCache *standing;
	TupleDesc result;
	MemoryContext work; /* reset with each call */
} CallCache;

static CallCache *
cache_get(FunctionCallInfo fcinfo)
{
	FmgrInfo *function = fcinfo->flinfo;
	CallCache *cache = function->fn_extra;
	MemoryContext caller;

	if (cache != NULL)
		return cache;
	caller = MemoryContextSwitchTo(function->fn_mcxt);
	cache = palloc0(sizeof(CallCache));
	cache->standing = standing_open(function->fn_mcxt);
	cache->work = AllocSetContextCreate(function->fn_mcxt, "walrank.standing", ALLOCSET_DEFAULT_SIZES);
	if (get_call_result_type(fcinfo, NULL, &cache->result) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "walrank.standing() is declared without its columns");
	cache->result = BlessTupleDesc(cache->result);
	MemoryContextSwitchTo(caller);
	function->fn_extra = cache;
	return cache;
}

/* (shown, blocked, score, tier, pin, organic) */
static Datum
form_standing(TupleDesc desc, const Standing *standing)
{
	const RuleStanding *now = &standing->now;
	Datum values[6] = {BoolGetDatum(now->shown),   BoolGetDatum(now->blocked),
					   Float8GetDatum(now->score), Int32GetDatum(now->tier),
					   Int32GetDatum(now->pin),	   Float8GetDatum(standing->organic)};
	bool nulls[6] = {
		false, false, !now->shown, !now->shown, !now->shown || now->pin == 0, !standing->has_organic};

	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static Datum
answer(CallCache *cache, const char *ranking, HeapTupleHeader item, TimestampTz at, int64 without)
{
	MemoryContext caller = MemoryContextSwitchTo(cache->work);
	Standing standing = {.n = 0};

	if (item != NULL)
		standing_find(cache->standing, ranking, item, at, without, &standing);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(cache->work);
	return form_standing(cache->result, &standing);
}

/* walrank.standing(ranking text, item record, at timestamptz) */
Datum
walrank_standing(PG_FUNCTION_ARGS)
{
	TimestampTz at = standing_time(fcinfo, 2);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	return answer(cache_get(fcinfo), text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_HEAPTUPLEHEADER(1), at,
				  0);
}

/* ---- by key ---------------------------------------------------------------------------------------- */

static Oid
existing_relation(const char *relation)
{
	Oid relid = item_relation(relation);

	if (!OidIsValid(relid))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"%s\" does not exist", relation),
				errhint("SELECT relation FROM walrank.watched; lists the tables that are watched."));
	return relid;
}

Oid
standing_relation(const char *ranking, char **relation)
{
	static const char query[] =
		"SELECT r.relation FROM walrank.ranking r WHERE r.name OPERATOR(pg_catalog.=) $1";
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(ranking)};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.ranking");
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no ranking \"%s\"", ranking),
				errhint("SELECT name FROM walrank.ranking; lists them."));
	*relation = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return existing_relation(*relation);
}

/* walrank.standing_of(ranking text, key jsonb, at timestamptz, without bigint) */
Datum
walrank_standing_of(PG_FUNCTION_ARGS)
{
	TimestampTz at = standing_time(fcinfo, 2);
	int64 without = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	char *ranking, *relation;
	Oid relid;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	ranking = text_to_cstring(PG_GETARG_TEXT_PP(0));
	relid = standing_relation(ranking, &relation);
	return answer(cache_get(fcinfo), ranking, item_row(relid, relation, PG_GETARG_JSONB_P(1)), at, without);
}

/* walrank.has_item(relation text, key jsonb) */
Datum
walrank_has_item(PG_FUNCTION_ARGS)
{
	char *relation = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_BOOL(item_row(existing_relation(relation), relation, PG_GETARG_JSONB_P(1)) != NULL);
}

/* ---- conditions --------------------------------------------------------------------------------------- */

typedef struct ConditionCache
{
	MemoryContext context; /* of what follows */
	MemoryContext work;
	char *text;
	Oid row_type;
	uint64 fingerprint;
	Condition condition;
} ConditionCache;

/* The map column of a watched table, in the current context; NULL: none, or not watched. */
static char *
map_of(Oid relid)
{
	static const char query[] =
		"SELECT w.map FROM walrank.watched w WHERE w.relation OPERATOR(pg_catalog.=) $1";
	MemoryContext caller = CurrentMemoryContext;
	char *relation =
		quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(relation)};
	char *map = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.watched");
	if (SPI_processed > 0)
		map = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (map != NULL)
		map = MemoryContextStrdup(caller, map);
	SPI_finish();
	return map;
}

static void
prepare_condition(ConditionCache *cache, const char *text, HeapTupleHeader item, StringInfo description,
				  uint64 fingerprint)
{
	Oid row_type = HeapTupleHeaderGetTypeId(item);
	MemoryContext context = cache->context;
	MemoryContext work = cache->work;
	MemoryContext caller;
	Slice relation;

	if (cache->text != NULL && strcmp(cache->text, text) == 0 && cache->row_type == row_type &&
		cache->fingerprint == fingerprint)
		return;
	MemoryContextReset(context);
	*cache = (ConditionCache){.context = context, .work = work};
	caller = MemoryContextSwitchTo(context);
	relation = slice_make(memcpy(palloc(description->len + 1), description->data, description->len),
						  description->len);
	condition_make(&cache->condition, text, relation, map_of(get_typ_typrelid(row_type)));
	cache->row_type = row_type;
	cache->fingerprint = fingerprint;
	cache->text = pstrdup(text);
	MemoryContextSwitchTo(caller);
}

static ConditionCache *
condition_cache(FmgrInfo *function)
{
	ConditionCache *cache = function->fn_extra;

	if (cache != NULL)
		return cache;
	cache = MemoryContextAllocZero(function->fn_mcxt, sizeof(ConditionCache));
	cache->context = AllocSetContextCreate(function->fn_mcxt, "walrank.holds", ALLOCSET_SMALL_SIZES);
	cache->work = AllocSetContextCreate(function->fn_mcxt, "walrank.holds row", ALLOCSET_DEFAULT_SIZES);
	function->fn_extra = cache;
	return cache;
}

static bool
ask_condition(ConditionCache *cache, const char *text, HeapTupleHeader item, TimestampTz at)
{
	StringInfoData bytes, description;
	WireChange change;

	initStringInfo(&bytes);
	initStringInfo(&description);
	(void) encode_record(item, VALUE_BYTES_DEFAULT, NULL, &bytes, &description);
	if (!wire_change(slice_make(bytes.data, bytes.len), &change))
		elog(ERROR, "the encoding of a row is malformed");
	prepare_condition(cache, text, item, &description, change.relation);
	return condition_holds(&cache->condition, change.key, change.attributes, at);
}

/* walrank.holds(condition text, item record, at timestamptz) */
Datum
walrank_holds(PG_FUNCTION_ARGS)
{
	TimestampTz at = standing_time(fcinfo, 2);
	ConditionCache *cache;
	MemoryContext caller;
	bool holds;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	cache = condition_cache(fcinfo->flinfo);
	caller = MemoryContextSwitchTo(cache->work);
	holds = ask_condition(cache, text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_HEAPTUPLEHEADER(1), at);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(cache->work);
	PG_RETURN_BOOL(holds);
}
