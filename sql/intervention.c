/*
 * intervention.c -- no row of walrank.intervention that the daemon could not carry out.
 *
 * Trigger before insert and update: the action has the columns it needs and no others, the table is
 * watched, the ranking is one of it, the condition compiles and binds, and item_key is the key as
 * the stream carries it.  What is refused is named, with what to write instead.
 *
 * Two rows are taken without looking at the table: those of a dump that is being restored (see
 * ranking_check.c; only a superuser restores the extension), and an update that leaves relation,
 * ranking, key and condition alone when they cannot be checked any more: an intervention has to be
 * ended even where its table is gone.
 */
#include "export.h"

#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "condition.h"
#include "encode.h"
#include "intervene.h"
#include "item_key.h"

EXPORT_FUNCTION(walrank_intervention_check);

#define POSITION_MAX 10000
#define TIER_MAX 4000		 /* top and bottom stay beyond it */
#define WORDS_BYTES_MAX 1024 /* reason, author */
#define KEY_BYTES_MAX 4096	 /* what an index takes is less */

typedef struct InterventionRow
{
	int64 id;
	const char *relation;
	const char *ranking; /* NULL: all of the relation */
	Jsonb *key;			 /* NULL: there is a condition */
	const char *condition;
	const char *action;
	bool has_position, has_tier, has_factor, has_addend, has_score;
	int32 position;
	int32 tier;
	double factor;
	double addend;
	double score;
	TimestampTz valid_from;
	bool has_until;
	TimestampTz valid_until;
	const char *author;
	const char *reason;
} InterventionRow;

/* ---- the row -------------------------------------------------------------------------------- */

typedef struct RowReader
{
	HeapTuple tuple;
	TupleDesc desc;
} RowReader;

static int
column_number(TupleDesc desc, const char *name)
{
	int number = SPI_fnumber(desc, name);

	if (number <= 0)
		elog(ERROR, "table of trigger walrank.intervention_check has no column \"%s\"", name);
	return number;
}

static bool
read_column(const RowReader *reader, const char *name, Datum *value)
{
	bool isnull;

	*value = heap_getattr(reader->tuple, column_number(reader->desc, name), reader->desc, &isnull);
	return !isnull;
}

static const char *
read_text(const RowReader *reader, const char *name)
{
	Datum value;

	return read_column(reader, name, &value) ? TextDatumGetCString(value) : NULL;
}

static bool
read_int(const RowReader *reader, const char *name, int32 *number)
{
	Datum value;
	bool has = read_column(reader, name, &value);

	*number = has ? DatumGetInt32(value) : 0;
	return has;
}

static bool
read_double(const RowReader *reader, const char *name, double *number)
{
	Datum value;
	bool has = read_column(reader, name, &value);

	*number = has ? DatumGetFloat8(value) : 0;
	return has;
}

static bool
read_time(const RowReader *reader, const char *name, TimestampTz *time)
{
	Datum value;
	bool has = read_column(reader, name, &value);

	*time = has ? DatumGetTimestampTz(value) : 0;
	return has;
}

static InterventionRow
row_read(HeapTuple tuple, TupleDesc desc)
{
	const RowReader reader = {tuple, desc};
	InterventionRow row = {0};
	Datum value;

	row.id = read_column(&reader, "id", &value) ? DatumGetInt64(value) : 0;
	row.relation = read_text(&reader, "relation");
	row.ranking = read_text(&reader, "ranking");
	row.key = read_column(&reader, "key", &value) ? DatumGetJsonbP(value) : NULL;
	row.condition = read_text(&reader, "condition");
	row.action = read_text(&reader, "action");
	row.has_position = read_int(&reader, "position", &row.position);
	row.has_tier = read_int(&reader, "tier", &row.tier);
	row.has_factor = read_double(&reader, "factor", &row.factor);
	row.has_addend = read_double(&reader, "addend", &row.addend);
	row.has_score = read_double(&reader, "score", &row.score);
	(void) read_time(&reader, "valid_from", &row.valid_from);
	row.has_until = read_time(&reader, "valid_until", &row.valid_until);
	row.author = read_text(&reader, "author");
	row.reason = read_text(&reader, "reason");
	return row;
}

/* ---- the action and its columns --------------------------------------------------------------- */

enum
{
	FIELD_POSITION = 1,
	FIELD_TIER = 2,
	FIELD_FACTOR = 4,
	FIELD_ADDEND = 8,
	FIELD_SCORE = 16,
};

static const struct
{
	int field;
	const char *name;
} fields[] = {{FIELD_POSITION, "position"},
			  {FIELD_TIER, "tier"},
			  {FIELD_FACTOR, "factor"},
			  {FIELD_ADDEND, "addend"},
			  {FIELD_SCORE, "score"}};

static const struct
{
	int allowed;
	bool needs_one; /* of those allowed */
	const char *hint;
} actions[INTERVENE_ACTIONS] = {
	[INTERVENE_PIN] = {FIELD_POSITION, true, "A pin has a position, from 1."},
	[INTERVENE_TIER] = {FIELD_TIER, true,
						"A tier has its number, from -4000 to 4000; higher ones come first."},
	[INTERVENE_TOP] = {0, false, "The action top stands alone."},
	[INTERVENE_BOTTOM] = {0, false, "The action bottom stands alone."},
	[INTERVENE_BOOST] = {FIELD_FACTOR | FIELD_ADDEND, true, "A boost has a factor, an addend, or both."},
	[INTERVENE_BURY] = {FIELD_FACTOR | FIELD_TIER, false,
						"A bury has a factor below 1, or a tier, or neither: then its tier is -1."},
	[INTERVENE_BLOCK] = {0, false, "The action block stands alone."},
	[INTERVENE_ALLOW] = {0, false, "The action allow stands alone."},
	[INTERVENE_FREEZE] = {FIELD_SCORE, true, "A freeze has the score that is held."},
};

static RuleAction
find_action(const InterventionRow *row)
{
	RuleAction action;

	if (!rules_action(slice_string(row->action), &action))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("there is no action \"%s\"", row->action),
				errhint("An action is pin, tier, top, bottom, boost, bury, block, allow or freeze."));
	return action;
}

static int
given_fields(const InterventionRow *row)
{
	return (row->has_position ? FIELD_POSITION : 0) | (row->has_tier ? FIELD_TIER : 0) |
		   (row->has_factor ? FIELD_FACTOR : 0) | (row->has_addend ? FIELD_ADDEND : 0) |
		   (row->has_score ? FIELD_SCORE : 0);
}

static void
check_fields(const InterventionRow *row, RuleAction action)
{
	int given = given_fields(row);

	for (int i = 0; i < lengthof(fields); i++)
		if ((given & fields[i].field) != 0 && (actions[action].allowed & fields[i].field) == 0)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("column \"%s\" means nothing for action %s", fields[i].name, row->action),
					errhint("%s", actions[action].hint));
	if (actions[action].needs_one && given == 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("action %s lacks a value", row->action), errhint("%s", actions[action].hint));
	if (action == INTERVENE_BURY && row->has_factor && row->has_tier)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("action bury has both factor and tier"), errhint("%s", actions[action].hint));
	if (action == INTERVENE_PIN && row->key == NULL)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a condition cannot be pinned"),
			errhint("A position is one item's: give its key, or a tier to all that the condition names."));
}

static void
check_finite(const char *name, bool given, double number)
{
	if (given && !isfinite(number))
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("%s is not finite", name),
				errhint("Give a number."));
}

static void
check_values(const InterventionRow *row, RuleAction action)
{
	check_finite("factor", row->has_factor, row->factor);
	check_finite("addend", row->has_addend, row->addend);
	check_finite("score", row->has_score, row->score);
	if (row->has_position && (row->position < 1 || row->position > POSITION_MAX))
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("position %d is outside the range", row->position),
				errhint("A position is from 1 to %d.", POSITION_MAX));
	if (row->has_tier && (row->tier < -TIER_MAX || row->tier > TIER_MAX))
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("tier %d is outside the range", row->tier),
				errhint("A tier is from %d to %d; top and bottom are beyond them.", -TIER_MAX, TIER_MAX));
	if (row->has_factor && row->factor <= 0)
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("the factor is not greater than 0"),
				errhint("To take an item out, use action block."));
	if (action == INTERVENE_BURY && row->has_factor && row->factor >= 1)
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("the factor of a bury is not less than 1"), errhint("A factor from 1 on is a boost."));
}

/* ---- the rest of the row ---------------------------------------------------------------------- */

static void
check_words(const char *name, const char *words, size_t bytes_max)
{
	if (strlen(words) > bytes_max)
		ereport(ERROR, errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("the %s is longer than %zu bytes", name, bytes_max),
				errhint("Say it in %zu bytes.", bytes_max));
	if (words[strspn(words, " \t\r\n\f\v")] == '\0')
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the %s is blank", name),
				errhint("Whoever looks at this later wants to know it."));
}

static void
check_times(const InterventionRow *row)
{
	if (TIMESTAMP_IS_NOEND(row->valid_from))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("valid_from is infinity: it would never begin"),
				errhint("Leave valid_from out to begin now."));
	if (row->has_until && row->valid_until <= row->valid_from)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("valid_until is not later than valid_from"),
				errhint("It is in force from valid_from on and until valid_until; NULL is without end."));
}

static void
check_whom(const InterventionRow *row)
{
	if ((row->key == NULL) == (row->condition == NULL))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				row->key == NULL ? errmsg("there is neither a key nor a condition")
								 : errmsg("there are both a key and a condition"),
				errhint("Give the key of one item, or a condition that all it is about meet."));
	if (row->condition != NULL)
		check_words("condition", row->condition, CONDITION_BYTES_MAX);
	if (row->key != NULL && VARSIZE(row->key) > KEY_BYTES_MAX)
		ereport(ERROR, errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("the key is longer than %d bytes", KEY_BYTES_MAX),
				errhint("No item has a key of that size."));
}

/* ---- the table, the ranking -------------------------------------------------------------------- */

typedef struct WatchedTable
{
	bool watched;
	bool has_ranking; /* or none is named */
	Oid relid;		  /* InvalidOid: gone */
	const char *map;  /* NULL: none */
} WatchedTable;

static WatchedTable
find_table(const InterventionRow *row)
{
	static const char query[] =
		"SELECT w.map, $2 IS NULL OR EXISTS (SELECT FROM walrank.ranking r"
		" WHERE r.name OPERATOR(pg_catalog.=) $2 AND r.relation OPERATOR(pg_catalog.=) $1)"
		" FROM walrank.watched w WHERE w.relation OPERATOR(pg_catalog.=) $1";
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(row->relation),
					  row->ranking != NULL ? CStringGetTextDatum(row->ranking) : (Datum) 0};
	char nulls[] = {' ', row->ranking != NULL ? ' ' : 'n'};
	WatchedTable table = {0};
	bool isnull;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 2, types, values, nulls, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.watched");
	table.watched = SPI_processed > 0;
	if (table.watched)
	{
		char *map = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		table.map = map != NULL ? MemoryContextStrdup(caller, map) : NULL;
		table.has_ranking =
			DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	if (table.watched)
		table.relid = item_relation(row->relation);
	return table;
}

static bool
can_be_checked(const WatchedTable *table)
{
	return table->watched && table->has_ranking && OidIsValid(table->relid);
}

static void
check_table(const InterventionRow *row, const WatchedTable *table)
{
	if (!table->watched)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("relation \"%s\" is not watched", row->relation),
				errhint("SELECT relation FROM walrank.watched; lists what is, as it is written here."));
	if (!OidIsValid(table->relid))
		ereport(
			ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
			errmsg("watched relation \"%s\" does not exist any more", row->relation),
			errhint("DELETE FROM walrank.watched WHERE relation = %s;", quote_literal_cstr(row->relation)));
	if (!table->has_ranking)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("relation \"%s\" has no ranking \"%s\"", row->relation, row->ranking),
				errhint("SELECT name FROM walrank.ranking WHERE relation = %s; lists them; NULL means all.",
						quote_literal_cstr(row->relation)));
}

static void
check_condition(const InterventionRow *row, const WatchedTable *table)
{
	Condition condition;
	StringInfoData relation;

	initStringInfo(&relation);
	encode_relation(table->relid, NULL, &relation);
	condition_make(&condition, row->condition, slice_make(relation.data, relation.len), table->map);
}

/* ---- the trigger ------------------------------------------------------------------------------- */

static bool
is_complete(const InterventionRow *row)
{
	return row->relation != NULL && row->action != NULL && row->author != NULL && row->reason != NULL;
}

static void
check_row(const InterventionRow *row)
{
	RuleAction action = find_action(row);

	check_whom(row);
	check_fields(row, action);
	check_values(row, action);
	check_times(row);
	check_words("reason", row->reason, WORDS_BYTES_MAX);
	check_words("author", row->author, WORDS_BYTES_MAX);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Both are about the same items of the same ranking. */
static bool
same_whom(const InterventionRow *a, const InterventionRow *b)
{
	if (!same_text(a->relation, b->relation) || !same_text(a->ranking, b->ranking) ||
		!same_text(a->condition, b->condition) || (a->key == NULL) != (b->key == NULL))
		return false;
	return a->key == NULL || compareJsonbContainers(&a->key->root, &b->key->root) == 0;
}

static void
check_update(const InterventionRow *old, const InterventionRow *new)
{
	if (old->id != new->id)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the id of an intervention does not change"),
				errhint("End this one, by its valid_until, and insert another."));
}

/* The row with key as the server writes it, and item_key; NULL is none. */
static HeapTuple
with_key(HeapTuple tuple, TupleDesc desc, const ItemKey *key)
{
	int numbers[] = {column_number(desc, "item_key"), column_number(desc, "key")};
	Datum values[] = {PointerGetDatum(key != NULL ? key->bytes : NULL),
					  PointerGetDatum(key != NULL ? key->canonical : NULL)};
	bool nulls[] = {key == NULL, key == NULL};

	return heap_modify_tuple_by_cols(tuple, desc, key != NULL ? 2 : 1, numbers, values, nulls);
}

/* Superusers restore a dump of the extension, and pg_dump switches this off. */
static bool
is_restored(void)
{
	return !check_function_bodies && superuser();
}

static HeapTuple
check_whole(HeapTuple tuple, TupleDesc desc, const InterventionRow *row, const InterventionRow *old)
{
	WatchedTable table = find_table(row);
	ItemKey key;

	if (old != NULL && same_whom(row, old) && !can_be_checked(&table))
		return tuple;
	check_table(row, &table);
	if (row->key != NULL)
	{
		key = item_key(table.relid, row->relation, row->key);
		return with_key(tuple, desc, &key);
	}
	check_condition(row, &table);
	return with_key(tuple, desc, NULL);
}

Datum
walrank_intervention_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	InterventionRow row, old;
	TupleDesc desc;
	HeapTuple tuple;
	bool update;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("walrank.intervention_check() is a trigger before insert or update of a row"));

	update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	desc = RelationGetDescr(trigger->tg_relation);
	tuple = update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	row = row_read(tuple, desc);
	if (!is_complete(&row))
		return PointerGetDatum(tuple); /* the column's own constraint has the better message */

	check_row(&row);
	if (update)
	{
		old = row_read(trigger->tg_trigtuple, desc);
		check_update(&old, &row);
	}
	if (is_restored())
		return PointerGetDatum(tuple);
	return PointerGetDatum(check_whole(tuple, desc, &row, update ? &old : NULL));
}
