/*
 * ranking_check.c -- no row of walrank.ranking that the daemon could not load.
 *
 * Trigger before insert and update: the definition compiles, and every attribute it reads exists in
 * the watched table or may exist in its map.  The version rises when the row computes something
 * else, and never falls, so (name, version) names one behaviour for as long as the row lives.
 *
 * A restored dump brings rankings before the table list and tables without their keys, perhaps before
 * the libraries they use as well.  Like the bodies of functions they are then taken for good: under
 * check_function_bodies = off, which pg_dump sets, only a text whose libraries are there is compiled.
 */
#include "export.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "encode.h"
#include "ranking.h"

EXPORT_FUNCTION(walrank_ranking_check);

typedef struct RankingRow
{
	const char *name;
	const char *relation;
	const char *definition;
	bool enabled;
	int32 version;
	int version_column;
} RankingRow;

static Datum
column(HeapTuple tuple, TupleDesc desc, const char *name, Datum missing)
{
	bool isnull;
	int number = SPI_fnumber(desc, name);
	Datum value;

	if (number <= 0)
		elog(ERROR, "table of trigger walrank.ranking_check has no column \"%s\"", name);
	value = heap_getattr(tuple, number, desc, &isnull);
	return isnull ? missing : value;
}

static const char *
column_text(HeapTuple tuple, TupleDesc desc, const char *name)
{
	Datum value = column(tuple, desc, name, (Datum) 0);

	return value == (Datum) 0 ? NULL : TextDatumGetCString(value);
}

static RankingRow
row_read(HeapTuple tuple, TupleDesc desc)
{
	return (RankingRow){
		.name = column_text(tuple, desc, "name"),
		.relation = column_text(tuple, desc, "relation"),
		.definition = column_text(tuple, desc, "definition"),
		.enabled = DatumGetBool(column(tuple, desc, "enabled", BoolGetDatum(false))),
		.version = DatumGetInt32(column(tuple, desc, "version", Int32GetDatum(0))),
		.version_column = SPI_fnumber(desc, "version"),
	};
}

/* The watched table (InvalidOid when it is gone) and its map column (NULL: none). */
typedef struct WatchedTable
{
	Oid relid;
	const char *map;
} WatchedTable;

static WatchedTable
watched_table(const RankingRow *row)
{
	static const char query[] = "SELECT pg_catalog.to_regclass(w.relation)::pg_catalog.oid, w.map"
								" FROM walrank.watched w WHERE w.relation OPERATOR(pg_catalog.=) $1";
	MemoryContext caller = CurrentMemoryContext;
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(row->relation)};
	WatchedTable table;
	bool isnull;
	char *map;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.watched");
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("relation \"%s\" is not watched", row->relation),
				errhint("SELECT walrank.watch(%s); it returns the name to write here.",
						quote_literal_cstr(row->relation)));

	table.relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (isnull)
		table.relid = InvalidOid;
	map = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	table.map = map ? MemoryContextStrdup(caller, map) : NULL;
	SPI_finish();
	return table;
}

static void
check_binding(Ranking *ranking, const RankingRow *row)
{
	WatchedTable table = watched_table(row);
	StringInfoData relation;

	if (!OidIsValid(table.relid))
		ereport(
			ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
			errmsg("watched relation \"%s\" does not exist any more", row->relation),
			errhint("DELETE FROM walrank.watched WHERE relation = %s;", quote_literal_cstr(row->relation)));
	initStringInfo(&relation);
	encode_relation(table.relid, NULL, &relation);
	ranking_bind(ranking, row->name, slice_make(relation.data, relation.len), table.map);
}

static bool
computes_the_same(const RankingRow *a, const RankingRow *b)
{
	return a->enabled == b->enabled && strcmp(a->relation, b->relation) == 0 &&
		   strcmp(a->definition, b->definition) == 0;
}

/* An UPDATE's version. A higher one may be asked for: the map of the table has changed. */
static int32
next_version(const RankingRow *old, const RankingRow *new)
{
	return Max(new->version, old->version + (computes_the_same(old, new) ? 0 : 1));
}

Datum
walrank_ranking_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	HeapTuple tuple;
	RankingRow row, old;
	Ranking ranking;
	Datum version;
	bool isnull = false;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("walrank.ranking_check() is a trigger before insert or update of a row"));

	desc = RelationGetDescr(trigger->tg_relation);
	tuple = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	row = row_read(tuple, desc);
	if (row.name == NULL || row.relation == NULL || row.definition == NULL)
		return PointerGetDatum(tuple); /* the column's own constraint has the better message */

	if (check_function_bodies)
	{
		ranking_compile(&ranking, row.name, row.definition, LIBRARIES_LOCKED);
		check_binding(&ranking, &row);
	}
	else
		(void) ranking_compile_if_whole(&ranking, row.name, row.definition);
	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return PointerGetDatum(tuple);

	old = row_read(trigger->tg_trigtuple, desc);
	version = Int32GetDatum(next_version(&old, &row));
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, 1, &row.version_column, &version, &isnull));
}
