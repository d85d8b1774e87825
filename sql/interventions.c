/*
 * interventions.c -- see interventions.h.
 *
 * All of a ranking are read at once, ordered by precedence: positions of pins depend on all pins, and a statement
 * usually asks for many items.  Those by key are found through a table of chains, those by condition are tried.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "encode.h"
#include "interventions.h"

/* What decides which rows a query sees. */
typedef struct Sight
{
	TransactionId xmin, xmax;
	CommandId command;
	SubTransactionId subtransaction;
	uint32 count;
	int32 subcount;
	TransactionId *running; /* count + subcount of them */
} Sight;

struct Interventions
{
	MemoryContext context; /* of all that follows; reset when it is read again */
	MemoryContext bound;   /* below it: bindings of the conditions */
	bool valid;
	Sight sight;
	const char *relation;
	const char *ranking;
	TimestampTz at;
	int64 without;

	int n;
	InForce *list; /* in order of precedence */
	int *chains;   /* by hash of the key: first of its chain, or -1 */
	uint32 mask;
	bool has_conditions;
	uint64 fingerprint;		/* that conditions are bound to */
	const InForce **active; /* room for n.. */
	const RuleIntervention **rules;
};

Interventions *
interventions_open(MemoryContext context)
{
	Interventions *interventions = MemoryContextAllocZero(context, sizeof(Interventions));

	interventions->context = AllocSetContextCreate(context, "walrank interventions", ALLOCSET_SMALL_SIZES);
	return interventions;
}

/* ---- whether the rows read before are those one would read now -------------------------------- */

static bool
same_xids(const TransactionId *a, const TransactionId *b, uint32 count)
{
	return count == 0 || memcmp(a, b, count * sizeof(TransactionId)) == 0;
}

static bool
same_sight(const Sight *sight)
{
	Snapshot snapshot = GetActiveSnapshot();

	return snapshot->snapshot_type == SNAPSHOT_MVCC && sight->xmin == snapshot->xmin &&
		   sight->xmax == snapshot->xmax && sight->command == snapshot->curcid &&
		   sight->subtransaction == GetCurrentSubTransactionId() && sight->count == snapshot->xcnt &&
		   sight->subcount == snapshot->subxcnt && same_xids(sight->running, snapshot->xip, sight->count) &&
		   same_xids(sight->running + sight->count, snapshot->subxip, (uint32) sight->subcount);
}

static Sight
take_sight(void)
{
	Snapshot snapshot = GetActiveSnapshot();
	Sight sight = {.xmin = snapshot->xmin,
				   .xmax = snapshot->xmax,
				   .command = snapshot->curcid,
				   .subtransaction = GetCurrentSubTransactionId(),
				   .count = snapshot->xcnt,
				   .subcount = snapshot->subxcnt};

	sight.running = palloc(sizeof(TransactionId) * (sight.count + sight.subcount + 1));
	if (sight.count > 0)
		memcpy(sight.running, snapshot->xip, sight.count * sizeof(TransactionId));
	if (sight.subcount > 0)
		memcpy(sight.running + sight.count, snapshot->subxip, sight.subcount * sizeof(TransactionId));
	return sight;
}

/* ---- reading ------------------------------------------------------------------------------------ */

static SPIPlanPtr
lookup_plan(void)
{
	static const char query[] =
		"SELECT i.id, i.item_key, i.condition, i.action, i.position, i.tier, i.factor, i.addend, i.score,"
		" i.priority, i.author, i.reason, i.valid_from, i.valid_until FROM walrank.intervention i"
		" WHERE i.relation OPERATOR(pg_catalog.=) $1"
		" AND (i.ranking IS NULL OR i.ranking OPERATOR(pg_catalog.=) $2)"
		" AND i.valid_from OPERATOR(pg_catalog.<=) $3"
		" AND (i.valid_until IS NULL OR i.valid_until OPERATOR(pg_catalog.>) $3)"
		" AND i.id OPERATOR(pg_catalog.<>) $4"
		" ORDER BY i.priority USING OPERATOR(pg_catalog.>), i.id USING OPERATOR(pg_catalog.>)";
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID};

	if (plan == NULL)
	{
		SPIPlanPtr fresh = SPI_prepare(query, 4, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the look-up of interventions");
		plan = fresh;
	}
	return plan;
}

static Datum
column(HeapTuple tuple, int number, bool *isnull)
{
	return SPI_getbinval(tuple, SPI_tuptable->tupdesc, number, isnull);
}

static int32
column_int(HeapTuple tuple, int number, bool *has)
{
	bool isnull;
	Datum value = column(tuple, number, &isnull);

	*has = !isnull;
	return isnull ? 0 : DatumGetInt32(value);
}

static double
column_double(HeapTuple tuple, int number, double missing)
{
	bool isnull;
	Datum value = column(tuple, number, &isnull);

	return isnull ? missing : DatumGetFloat8(value);
}

static TimestampTz
column_time(HeapTuple tuple, int number)
{
	bool isnull;
	Datum value = column(tuple, number, &isnull);

	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

static const char *
column_text(HeapTuple tuple, int number)
{
	bool isnull;
	Datum value = column(tuple, number, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static void
read_rule(HeapTuple tuple, InForce *one)
{
	RuleIntervention *rule = &one->rule;
	bool has;

	rule->pin = column_int(tuple, 5, &has);
	rule->tier = column_int(tuple, 6, &rule->has_tier);
	rule->factor = column_double(tuple, 7, 0);
	rule->addend = column_double(tuple, 8, 0);
	rule->score = column_double(tuple, 9, 0);
	rule->priority = column_int(tuple, 10, &has);
	rule->order = (uint64) one->id;
	if (rule->action == INTERVENE_BURY && rule->factor == 0 && !rule->has_tier)
	{
		rule->has_tier = true;
		rule->tier = RULES_TIER_BURIED;
	}
	if (rule->factor == 0)
		rule->factor = 1;
}

static void
warn(int64 id, const RuleError *error)
{
	ereport(WARNING, errcode(ERRCODE_DATA_EXCEPTION),
			errmsg("intervention " INT64_FORMAT " has no effect: %s", id, error->message),
			errhint("Give it a condition that can be used, or end it."));
}

static void
read_whom(HeapTuple tuple, InForce *one)
{
	bool isnull;
	Datum key = column(tuple, 2, &isnull);
	const char *condition = column_text(tuple, 3);
	RuleError error;

	if (!isnull)
	{
		bytea *bytes = DatumGetByteaPCopy(key);

		one->key = slice_make(VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ);
	}
	else if (condition != NULL && !condition_compile(&one->condition, condition, &error))
	{
		one->condition.program = NULL;
		warn(one->id, &error);
	}
}

/* False: an action that this version does not know. */
static bool
read_one(HeapTuple tuple, InForce *one)
{
	const char *action = column_text(tuple, 4);
	bool isnull;

	*one = (InForce){.id = DatumGetInt64(column(tuple, 1, &isnull)), .next = -1};
	if (!rules_action(slice_string(action), &one->rule.action))
		return false;
	read_rule(tuple, one);
	read_whom(tuple, one);
	one->author = column_text(tuple, 11);
	one->reason = column_text(tuple, 12);
	one->valid_from = column_time(tuple, 13);
	one->valid_until = column_time(tuple, 14);
	return true;
}

static void
read_all(Interventions *interventions)
{
	MemoryContext caller;
	Datum values[] = {CStringGetTextDatum(interventions->relation),
					  CStringGetTextDatum(interventions->ranking), TimestampTzGetDatum(interventions->at),
					  Int64GetDatum(interventions->without)};
	uint64 rows;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_plan(lookup_plan(), values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.intervention");
	rows = SPI_processed;
	caller = MemoryContextSwitchTo(interventions->context);
	interventions->list = palloc_extended(sizeof(InForce) * (rows + 1), MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < rows; i++)
		if (read_one(SPI_tuptable->vals[i], &interventions->list[interventions->n]))
			interventions->n++;
	MemoryContextSwitchTo(caller);
	SPI_finish();
}

/* ---- by key ---------------------------------------------------------------------------------------- */

static int *
chain(const Interventions *interventions, Slice key)
{
	return &interventions->chains[hash_bytes(key.data, (int) key.len) & interventions->mask];
}

/* Chains are in order: the last ones are put first. */
static void
make_chains(Interventions *interventions)
{
	uint32 size = 16;

	while (size < (uint32) interventions->n)
		size *= 2;
	interventions->mask = size - 1;
	interventions->chains = palloc(sizeof(int) * size);
	for (uint32 i = 0; i < size; i++)
		interventions->chains[i] = -1;
	for (int i = interventions->n - 1; i >= 0; i--)
	{
		InForce *one = &interventions->list[i];
		int *first;

		interventions->has_conditions |= one->condition.program != NULL;
		if (one->key.len == 0)
			continue;
		first = chain(interventions, one->key);
		one->next = *first;
		*first = i;
	}
}

/* ---- pins --------------------------------------------------------------------------------------------- */

static bool
is_outdone(const Interventions *interventions, const InForce *pin)
{
	for (int i = *chain(interventions, pin->key); i >= 0; i = interventions->list[i].next)
	{
		const InForce *one = &interventions->list[i];

		if (one == pin)
			return false;
		if (one->rule.action == INTERVENE_PIN && slice_equal(one->key, pin->key))
			return true;
	}
	return false;
}

/*
 * In order of precedence each pin takes its position, or the next one that is free.  Of an item's pins the first
 * alone takes one, whether the item is in the ranking or not: a place does not depend on other items' scores.
 */
static void
settle_pins(Interventions *interventions)
{
	int32 highest = 0;
	bool *taken;

	for (int i = 0; i < interventions->n; i++)
		if (interventions->list[i].rule.action == INTERVENE_PIN)
			highest = Max(highest, interventions->list[i].rule.pin);
	if (highest == 0)
		return;
	taken = palloc0(sizeof(bool) * ((Size) highest + interventions->n + 2));
	for (int i = 0; i < interventions->n; i++)
	{
		InForce *one = &interventions->list[i];

		if (one->rule.action != INTERVENE_PIN || one->rule.pin < 1)
			continue;
		one->outdone = is_outdone(interventions, one);
		if (one->outdone)
			continue;
		while (taken[one->rule.pin])
			one->rule.pin++;
		taken[one->rule.pin] = true;
	}
	pfree(taken);
}

void
interventions_refresh(Interventions *interventions, const char *relation, const char *ranking, TimestampTz at,
					  int64 without)
{
	MemoryContext context = interventions->context;
	MemoryContext caller;

	if (interventions->valid && interventions->at == at && interventions->without == without &&
		strcmp(interventions->ranking, ranking) == 0 && strcmp(interventions->relation, relation) == 0 &&
		same_sight(&interventions->sight))
		return;
	MemoryContextReset(context);
	*interventions = (Interventions){.context = context, .at = at, .without = without};
	caller = MemoryContextSwitchTo(context);
	interventions->bound = AllocSetContextCreate(context, "walrank conditions", ALLOCSET_SMALL_SIZES);
	interventions->relation = pstrdup(relation);
	interventions->ranking = pstrdup(ranking);
	interventions->sight = take_sight();
	read_all(interventions);
	make_chains(interventions);
	settle_pins(interventions);
	interventions->active = palloc(sizeof(InForce *) * (interventions->n + 1));
	interventions->rules = palloc(sizeof(RuleIntervention *) * (interventions->n + 1));
	MemoryContextSwitchTo(caller);
	interventions->valid = true;
}

/* ---- of an item ------------------------------------------------------------------------------------- */

/* The table's description is another one: what the conditions read is looked up again. */
static void
bind_conditions(Interventions *interventions, const InterventionItem *item)
{
	MemoryContext caller;
	StringInfoData relation;
	RuleError error;

	if (!interventions->has_conditions || interventions->fingerprint == item->fingerprint)
		return;
	MemoryContextReset(interventions->bound);
	caller = MemoryContextSwitchTo(interventions->bound);
	initStringInfo(&relation);
	encode_relation(item->relid, NULL, &relation);
	for (int i = 0; i < interventions->n; i++)
	{
		InForce *one = &interventions->list[i];

		if (one->condition.program != NULL &&
			!condition_bind(&one->condition, slice_make(relation.data, relation.len), item->map, &error))
			warn(one->id, &error);
	}
	MemoryContextSwitchTo(caller);
	interventions->fingerprint = item->fingerprint;
}

static bool
concerns(const InForce *one, const InterventionItem *item, TimestampTz at)
{
	if (one->outdone)
		return false;
	if (one->key.len > 0)
		return slice_equal(one->key, item->key);
	return one->condition.binding != NULL &&
		   condition_holds(&one->condition, item->key, item->attributes, at);
}

int
interventions_of(Interventions *interventions, const InterventionItem *item, const InForce *const **active,
				 const RuleIntervention *const **rules)
{
	int of_key = *chain(interventions, item->key);
	int n = 0;

	bind_conditions(interventions, item);
	for (int i = interventions->has_conditions ? 0 : of_key; i >= 0 && i < interventions->n;)
	{
		const InForce *one = &interventions->list[i];

		if (concerns(one, item, interventions->at))
		{
			interventions->active[n] = one;
			interventions->rules[n++] = &one->rule;
		}
		i = interventions->has_conditions ? i + 1 : one->next;
	}
	*active = interventions->active;
	*rules = interventions->rules;
	return n;
}
