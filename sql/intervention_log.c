/*
 * intervention_log.c -- who changed walrank.intervention, and how: a trigger after each row.
 *
 * The log belongs to the extension's owner, and nobody else may write it.  As the server does for
 * foreign keys, the trigger takes the rights of the log's owner for its one insert and names the
 * session's user there.
 */
#include "export.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "value.h"

EXPORT_FUNCTION(walrank_intervention_write_log);

static Oid
our_table(const char *name)
{
	return get_relname_relid(name, get_namespace_oid("walrank", false));
}

static Oid
log_owner(void)
{
	Oid relid = our_table("intervention_log");
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "table walrank.intervention_log is missing");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
write_entry(const char *op, Datum id, Oid row_type, HeapTuple before, HeapTuple after, TupleDesc desc)
{
	static const char query[] = "INSERT INTO walrank.intervention_log (op, intervention, before, after)"
								" VALUES ($1, $2, pg_catalog.to_jsonb($3), pg_catalog.to_jsonb($4))";
	Oid types[] = {TEXTOID, INT8OID, row_type, row_type};
	Datum values[] = {CStringGetTextDatum(op), id,
					  before != NULL ? heap_copy_tuple_as_datum(before, desc) : (Datum) 0,
					  after != NULL ? heap_copy_tuple_as_datum(after, desc) : (Datum) 0};
	char nulls[] = {' ', ' ', before != NULL ? ' ' : 'n', after != NULL ? ' ' : 'n'};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 4, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write walrank.intervention_log");
	SPI_finish();
}

/* An error in between is undone, user and settings alike, by the transaction's abort. */
static void
write_as(Oid owner, const char *op, Datum id, const TriggerData *trigger, HeapTuple before, HeapTuple after)
{
	Oid user;
	int security;
	int level;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE);
	level = value_settings_pin(); /* also the search path, along which nothing of the caller's may be found */
	write_entry(op, id, trigger->tg_relation->rd_rel->reltype, before, after,
				RelationGetDescr(trigger->tg_relation));
	value_settings_unpin(level);
	SetUserIdAndSecContext(user, security);
}

Datum
walrank_intervention_write_log(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple before = NULL, after = NULL;
	const char *op;
	TupleDesc desc;
	Datum id;
	bool isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		RelationGetRelid(trigger->tg_relation) != our_table("intervention"))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("walrank.intervention_write_log() is the trigger of walrank.intervention, and of "
					   "nothing else"));
	if (!check_function_bodies && superuser())
		return PointerGetDatum(NULL); /* a dump is restored, which brings the log as well */

	op = TRIGGER_FIRED_BY_INSERT(trigger->tg_event)	  ? "insert"
		 : TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "update"
													  : "delete";
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		after = trigger->tg_newtuple;
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		after = trigger->tg_trigtuple;
	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		before = trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	id = heap_getattr(after != NULL ? after : before, SPI_fnumber(desc, "id"), desc, &isnull);
	write_as(log_owner(), op, id, trigger, before, after);
	return PointerGetDatum(NULL);
}
