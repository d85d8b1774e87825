/*
 * score.c -- walrank.score(ranking, item, at, previous): what the daemon would compute for this row.
 *
 * The row goes through the encoder of the stream and the evaluator of the daemon, so there is one
 * definition of a score.  The ranking is read with the caller's rights and snapshot at every call,
 * and compiled again only when what was read has changed.
 */
#include "export.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "encode.h"
#include "options.h"
#include "ranking.h"

EXPORT_FUNCTION(walrank_score);

/* What the rows say about a ranking. */
typedef struct RankingText
{
	const char *relation;
	const char *definition;
	const char *map; /* NULL: none */
	bool enabled;
} RankingText;

/* Lives as long as the calling expression. */
typedef struct ScoreCache
{
	MemoryContext context; /* of all that follows; reset when the text has changed */
	bool valid;
	const char *name;
	RankingText text;
	Oid row_type; /* checked to be that of the relation */
	bool bound;
	Ranking ranking;
} ScoreCache;

static SPIPlanPtr
lookup_plan(void)
{
	static const char query[] = "SELECT r.relation, r.definition, w.map, r.enabled FROM walrank.ranking r"
								" LEFT JOIN walrank.watched w ON w.relation OPERATOR(pg_catalog.=) r.relation"
								" WHERE r.name OPERATOR(pg_catalog.=) $1";
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID};

	if (plan == NULL)
	{
		SPIPlanPtr fresh = SPI_prepare(query, 1, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the look-up of a ranking");
		plan = fresh;
	}
	return plan;
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
cache_replace(ScoreCache *cache, const char *name, const RankingText *text)
{
	MemoryContext context = cache->context;
	MemoryContext caller;

	MemoryContextReset(context);
	*cache = (ScoreCache){.context = context};
	caller = MemoryContextSwitchTo(context);
	cache->name = pstrdup(name);
	cache->text.relation = pstrdup(text->relation);
	cache->text.definition = pstrdup(text->definition);
	cache->text.map = text->map ? pstrdup(text->map) : NULL;
	cache->text.enabled = text->enabled;
	ranking_compile(&cache->ranking, name, text->definition, LIBRARIES_READ);
	MemoryContextSwitchTo(caller);
	cache->valid = true;
}

/* Bring the cache to what the tables say now. */
static void
cache_refresh(ScoreCache *cache, const char *name)
{
	Datum values[] = {CStringGetTextDatum(name)};
	RankingText text;
	HeapTuple tuple;
	TupleDesc desc;
	bool isnull;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_plan(lookup_plan(), values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.ranking");
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no ranking \"%s\"", name),
				errhint("SELECT name FROM walrank.ranking; lists them."));

	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	text.relation = SPI_getvalue(tuple, desc, 1);
	text.definition = SPI_getvalue(tuple, desc, 2);
	text.map = SPI_getvalue(tuple, desc, 3);
	text.enabled = DatumGetBool(SPI_getbinval(tuple, desc, 4, &isnull));

	if (!cache->valid || !same_text(cache->name, name) || !same_text(cache->text.relation, text.relation) ||
		!same_text(cache->text.definition, text.definition) || !same_text(cache->text.map, text.map) ||
		cache->text.enabled != text.enabled || !libraries_stand(&cache->ranking.libraries))
		cache_replace(cache, name, &text);
	SPI_finish();
}

static ScoreCache *
cache_get(FmgrInfo *flinfo)
{
	ScoreCache *cache = flinfo->fn_extra;

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(ScoreCache));
		cache->context = AllocSetContextCreate(flinfo->fn_mcxt, "walrank.score", ALLOCSET_SMALL_SIZES);
		flinfo->fn_extra = cache;
	}
	return cache;
}

static void
check_row_type(ScoreCache *cache, HeapTupleHeader item)
{
	Oid type = HeapTupleHeaderGetTypeId(item);
	Oid relid = get_typ_typrelid(type);
	char *relation;

	if (OidIsValid(cache->row_type) && cache->row_type == type)
		return;
	if (!OidIsValid(relid) || get_rel_relkind(relid) == '\0')
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("the item is not a row of a table"),
				errhint("SELECT walrank.score(%s, i) FROM %s i;", quote_literal_cstr(cache->name),
						cache->text.relation));
	relation = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
	if (strcmp(relation, cache->text.relation) != 0)
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("ranking \"%s\" is over %s, and the item is a row of %s", cache->name,
					   cache->text.relation, relation));
	cache->row_type = type;
}

static void
cache_bind(ScoreCache *cache, HeapTupleHeader item)
{
	MemoryContext caller = MemoryContextSwitchTo(cache->context);
	StringInfoData change, relation;

	initStringInfo(&change);
	initStringInfo(&relation); /* the binding may point into it */
	(void) encode_record(item, VALUE_BYTES_DEFAULT, NULL, &change, &relation);
	pfree(change.data);
	ranking_bind(&cache->ranking, cache->name, slice_make(relation.data, relation.len), cache->text.map);
	cache->bound = true;
	MemoryContextSwitchTo(caller);
}

/* A row's attributes into values, which then point into `bytes`. */
static void
fill_values(ScoreCache *cache, HeapTupleHeader item, StringInfo bytes, RuleValue *values)
{
	WireChange change;

	initStringInfo(bytes);
	(void) encode_record(item, VALUE_BYTES_DEFAULT, NULL, bytes, NULL);
	if (!wire_change(slice_make(bytes->data, bytes->len), &change))
		elog(ERROR, "the encoding of a row of %s is malformed", cache->text.relation);
	if (!cache->bound || cache->ranking.fingerprint != change.relation)
		cache_bind(cache, item);
	if (!rules_fill(cache->ranking.binding, change.key, change.attributes, values))
		elog(ERROR, "the encoding of a row of %s is malformed", cache->text.relation);
}

/* Of values no rule can look into nothing is known. */
static RuleChange
compare_values(const RuleValue *a, const RuleValue *b)
{
	bool same = a->kind == b->kind && a->has_own_time == b->has_own_time &&
				(!a->has_own_time || a->own_time_us == b->own_time_us);

	if (same)
		switch (a->kind)
		{
			case RULE_MISSING:
				break;
			case RULE_BOOL:
				same = a->boolean == b->boolean;
				break;
			case RULE_NUMBER:
				same = a->number == b->number;
				break;
			case RULE_TIME:
				same = a->time_us == b->time_us;
				break;
			case RULE_TEXT:
			case RULE_LIST:
				same = a->list_is_json == b->list_is_json && slice_equal(a->bytes, b->bytes);
				break;
			case RULE_OTHER:
				return RULE_CHANGE_UNKNOWN;
		}
	return same ? RULE_UNCHANGED : RULE_CHANGED;
}

/* An attribute that did not change last changed before: what it was then that row does not tell. */
static void
fill_changes(Ranking *ranking)
{
	const RuleAttribute *attributes;
	int count = rules_attributes(ranking->program, &attributes);

	for (int i = 0; i < count; i++)
	{
		ranking->changes[i] = compare_values(&ranking->previous[i], &ranking->values[i]);
		if (ranking->changes[i] != RULE_CHANGED)
			ranking->previous[i] = (RuleValue){.kind = RULE_MISSING};
	}
}

Datum
walrank_score(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_ARGISNULL(2) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(2);
	ScoreCache *cache;
	RuleInput input = {.now_us = at};
	HeapTupleHeader item;
	HeapTupleHeader previous = PG_ARGISNULL(3) ? NULL : PG_GETARG_HEAPTUPLEHEADER(3);
	StringInfoData bytes, previous_bytes;
	RuleResult result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the time of a score must be finite"));

	item = PG_GETARG_HEAPTUPLEHEADER(1);
	cache = cache_get(fcinfo->flinfo);
	cache_refresh(cache, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	check_row_type(cache, item);
	if (!cache->text.enabled)
		PG_RETURN_NULL();

	fill_values(cache, item, &bytes, cache->ranking.values);
	input.values = cache->ranking.values;
	if (previous != NULL)
	{
		check_row_type(cache, previous);
		fill_values(cache, previous, &previous_bytes, cache->ranking.previous);
		fill_changes(&cache->ranking);
		input.previous = cache->ranking.previous;
		input.changes = cache->ranking.changes;
	}
	rules_evaluate(cache->ranking.program, &input, &result);
	if (result.outcome == RULE_QUARANTINE)
		ereport(WARNING, errcode(ERRCODE_DATA_EXCEPTION),
				errmsg("no score in ranking \"%s\": %s: %s", cache->name, result.statement, result.reason));
	if (result.outcome != RULE_SCORE)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(result.score);
}
