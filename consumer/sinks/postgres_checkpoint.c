/*
 * postgres_checkpoint.c -- the row that says where sink "postgres" stands, and what a sink finds when it opens.
 *
 * The row names its writer (owner_epoch); every later move is made under the condition that it still stands
 * where this writer left it.  A row of another stream is looked at and not touched until begin() replaces it.
 */
#include "sinks/postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- schema ------------------------------------------------------------------------------------------ */

/* What stands behind ADD COLUMN came later; base: see postgres.h. */
static const char tables_sql[] =
	"CREATE TABLE IF NOT EXISTS checkpoint ("
	" sink_id text PRIMARY KEY, stream_id uuid NOT NULL, owner_epoch bigint NOT NULL,"
	" seq bigint NOT NULL, part int NOT NULL, end_lsn pg_lsn NOT NULL,"
	" applied bigint NOT NULL, filtered bigint NOT NULL, parked bigint NOT NULL, quarantined bigint NOT NULL,"
	" total_start bigint NOT NULL, commit_time timestamptz) WITH (fillfactor = 50);"
	"ALTER TABLE checkpoint ADD COLUMN IF NOT EXISTS phase int NOT NULL DEFAULT 0,"
	" ADD COLUMN IF NOT EXISTS beside bool NOT NULL DEFAULT false,"
	" ADD COLUMN IF NOT EXISTS base bigint NOT NULL DEFAULT 0;"
	"CREATE TABLE IF NOT EXISTS quarantine ("
	" sink_id text, stream_id uuid, seq bigint, change bigint, out int,"
	" reason text NOT NULL, record text NOT NULL, at timestamptz NOT NULL DEFAULT now(),"
	" PRIMARY KEY (sink_id, stream_id, seq, change, out));"
	"CREATE TABLE IF NOT EXISTS owner ("
	" table_name text PRIMARY KEY, sink_id text NOT NULL, relation text NOT NULL, UNIQUE (sink_id, "
	"relation));";

static bool
has_namespace(Sink *sink, bool *has, Error *err)
{
	const char *const values[] = {sink->schema};
	PGresult *result = pg_query(sink, "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL", 1, values,
								"could not look for the sink's schema", err);

	*has = result != NULL && PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return result != NULL;
}

/* In a schema that somebody made for us, the right to create tables is enough. */
static bool
create_schema(Sink *sink, Error *err)
{
	Buffer sql = {0};
	Buffer name = {0};
	bool has;
	bool ok;

	if (!has_namespace(sink, &has, err))
		return false;
	pg_put_identifier(sink, &name, sink->schema);
	if (!has)
		buffer_printf(&sql,
					  "CREATE SCHEMA IF NOT EXISTS %.*s; COMMENT ON SCHEMA %.*s IS"
					  " 'walrank: scores and where their sinks stand';",
					  (int) name.len, (const char *) name.data, (int) name.len, (const char *) name.data);
	buffer_printf(&sql, "%s", tables_sql);
	ok = pg_create_objects(sink, (const char *) sql.data, "could not create the sink's schema", err);
	buffer_free(&sql);
	buffer_free(&name);
	return ok;
}

bool
pg_has_schema(Sink *sink, bool *has, Error *err)
{
	const char *const values[] = {sink->schema};
	PGresult *result =
		pg_query(sink,
				 "SELECT count(*) = 3 FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
				 " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1"
				 " AND (c.relname, a.attname) IN"
				 " (('checkpoint', 'base'), ('quarantine', 'record'), ('owner', 'relation'))",
				 1, values, "could not look for the sink's schema", err);

	if (result == NULL)
		return false;
	*has = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return true;
}

/* ---- the row ----------------------------------------------------------------------------------------- */

#define CHECKPOINT_PLACE                                                                                     \
	"stream_id, owner_epoch, seq, part, end_lsn, applied, filtered, parked, quarantined, total_start,"       \
	" (EXTRACT(epoch FROM commit_time) * 1000000)::bigint"
#define CHECKPOINT_COLUMNS CHECKPOINT_PLACE ", phase, beside, base"

static uint64_t
number_at(const PGresult *result, int column)
{
	return strtoull(PQgetvalue(result, 0, column), NULL, 10);
}

static void
read_row(Sink *sink, const PGresult *result, SinkPosition *position)
{
	memset(position, 0, sizeof(*position));
	stream_id_parse(PQgetvalue(result, 0, 0), &position->stream_id);
	position->owner_epoch = number_at(result, 1);
	position->seq = number_at(result, 2);
	position->part = (uint32_t) number_at(result, 3);
	lsn_parse(PQgetvalue(result, 0, 4), &position->end_lsn);
	position->applied = number_at(result, 5);
	position->filtered = number_at(result, 6);
	position->parked = number_at(result, 7);
	position->quarantined = number_at(result, 8);
	position->total_start = number_at(result, 9);
	position->commit_time_us = strtoll(PQgetvalue(result, 0, 10), NULL, 10);
	position->phase = (SinkPhase) number_at(result, 11);
	sink->beside = PQgetvalue(result, 0, 12)[0] == 't';
	sink->base = number_at(result, 13);
}

bool
pg_look(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	const char *const values[] = {sink->sink_name};
	/* an earlier version's table has fewer columns, and who only looks does not alter it */
	PGresult *result =
		pg_query(sink,
				 "SELECT " CHECKPOINT_PLACE ", coalesce((to_jsonb(c) ->> 'phase')::int, 0),"
				 " coalesce((to_jsonb(c) ->> 'beside')::bool, false),"
				 " coalesce((to_jsonb(c) ->> 'base')::bigint, 0) FROM checkpoint AS c WHERE sink_id = $1",
				 1, values, "could not read the checkpoint", err);

	if (result == NULL)
		return false;
	*found = PQntuples(result) == 1;
	if (*found)
		read_row(sink, result, position);
	PQclear(result);
	return true;
}

/* Waits for whoever holds the row; the version it leaves behind is the one that is returned. */
static bool
fence(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	const char *const values[] = {sink->sink_name, sink->stream_id};
	PGresult *result = pg_query(sink,
								"UPDATE checkpoint SET owner_epoch = owner_epoch + 1"
								" WHERE sink_id = $1 AND stream_id = $2::uuid RETURNING " CHECKPOINT_COLUMNS,
								2, values, "could not take over the checkpoint", err);

	if (result == NULL)
		return false;
	*found = PQntuples(result) == 1;
	if (*found)
		read_row(sink, result, position);
	PQclear(result);
	return true;
}

static bool
has_checkpoints(Sink *sink, bool *has, Error *err)
{
	const char *const values[] = {sink->schema};
	PGresult *result = pg_query(sink, "SELECT to_regclass(quote_ident($1) || '.checkpoint') IS NOT NULL", 1,
								values, "could not look for the checkpoint", err);

	*has = result != NULL && PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return result != NULL;
}

bool
pg_peek(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	bool has = false;
	bool ok = pg_connect(sink, err) && has_checkpoints(sink, &has, err);

	*found = false;
	if (ok && has)
		ok = pg_look(sink, position, found, err);
	pg_disconnect(sink);
	return ok;
}

/* ---- what the tables hold ------------------------------------------------------------------------------ */

static bool
has_rows(Sink *sink, const char *table, bool *rows, Error *err)
{
	Buffer sql = {0};
	PGresult *result;

	buffer_printf(&sql, "SELECT 1 FROM ");
	pg_put_identifier(sink, &sql, table);
	buffer_printf(&sql, " LIMIT 1");
	result = pg_query(sink, (const char *) sql.data, 0, NULL, "could not look into a score table", err);
	*rows = result != NULL && PQntuples(result) > 0;
	buffer_free(&sql);
	PQclear(result);
	return result != NULL;
}

/* Whether every score table that is no other sink's is empty; if not, *why tells of one that is not. */
static bool
look_into_tables(Sink *sink, bool *empty, Error *why, Error *err)
{
	const char *const values[] = {sink->schema, sink->sink_name};
	PGresult *tables =
		pg_query(sink,
				 "SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
				 " LEFT JOIN owner AS o ON o.table_name = c.relname"
				 " WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname LIKE 'score\\_%'"
				 " AND coalesce(o.sink_id, $2) = $2 ORDER BY 1",
				 2, values, "could not list the score tables", err);
	bool ok = tables != NULL;

	*empty = true;
	for (int i = 0; ok && *empty && i < PQntuples(tables); i++)
	{
		const char *table = PQgetvalue(tables, i, 0);
		bool rows;

		ok = has_rows(sink, table, &rows, err);
		if (!ok || !rows)
			continue;
		*empty = false;
		error_set(why, ERR_REFUSE, "table %s.%s has rows, but sink \"%s\" has no checkpoint (rule K1)",
				  sink->schema, table, sink->sink_name);
		error_hint(why,
				   "\"walrank sink fill %s\" fills it anew.  Or drop the score tables, or give the sink the "
				   "name that "
				   "stands in %s.checkpoint.",
				   sink->sink_name, sink->schema);
	}
	PQclear(tables);
	return ok;
}

/* A table that was made for this sink and is gone: what it held is missing. */
static bool
look_for_missing(Sink *sink, SinkStand *stand, Error *err)
{
	const char *const values[] = {sink->sink_name};
	PGresult *result = pg_query(sink,
								"SELECT table_name FROM owner WHERE sink_id = $1"
								" AND to_regclass(quote_ident(table_name)) IS NULL ORDER BY 1 LIMIT 1",
								1, values, "could not look for the score tables", err);

	if (result == NULL)
		return false;
	stand->damaged = PQntuples(result) > 0;
	if (stand->damaged)
	{
		error_set(&stand->why, ERR_REFUSE, "table %s.%s is gone, with what sink \"%s\" wrote to it (rule K1)",
				  sink->schema, PQgetvalue(result, 0, 0), sink->sink_name);
		error_hint(&stand->why, "\"walrank sink fill %s\" fills it anew.", sink->sink_name);
	}
	PQclear(result);
	return true;
}

/* ---- open ------------------------------------------------------------------------------------------------ */

static bool
take_over(Sink *sink, SinkStand *stand, Error *err)
{
	bool has = false;

	sink->beside = false;
	sink->base = 0;
	if (!pg_has_schema(sink, &has, err) || (!has && !create_schema(sink, err)) ||
		!fence(sink, &stand->position, &stand->found, err))
		return false;
	if (stand->found)
	{
		sink->last = stand->position;
		return look_for_missing(sink, stand, err);
	}
	if (!pg_look(sink, &stand->position, &stand->found, err))
		return false;
	sink->last = stand->position;
	stand->position.owner_epoch++; /* as begin() would write it */
	return stand->found || look_into_tables(sink, &stand->empty, &stand->why, err);
}

bool
pg_open(Sink *sink, SinkStand *stand, Error *err)
{
	memset(stand, 0, sizeof(*stand));
	pg_disconnect(sink);
	pgbatch_reset(&sink->batch);
	if (pg_connect(sink, err) && take_over(sink, stand, err))
	{
		sink->found = stand->found;
		return true;
	}
	pg_disconnect(sink);
	return false;
}

/* ---- begin ----------------------------------------------------------------------------------------------- */

/*
 * $1 sink, $2 stream, $3 epoch, $4 seq, $5 part, $6 end_lsn, $7 total_start, $8 phase, $9 beside; $10, $11: the
 * row as it has to stand.
 */
static const char first_row[] =
	"INSERT INTO checkpoint (sink_id, stream_id, owner_epoch, seq, part, end_lsn, applied,"
	" filtered, parked, quarantined, total_start, phase, beside, base) SELECT $1, $2::uuid,"
	" $3::bigint, $4::bigint, $5::int, $6::pg_lsn, 0, 0, 0, 0, $7::bigint, $8::int, $9::bool,"
	" $4::bigint WHERE $10::text IS NULL AND $11::bigint = 0";
static const char next_row[] =
	"UPDATE checkpoint SET stream_id = $2::uuid, owner_epoch = $3::bigint, seq = $4::bigint,"
	" part = $5::int, end_lsn = $6::pg_lsn, applied = 0, filtered = 0, parked = 0,"
	" quarantined = 0, total_start = $7::bigint, commit_time = NULL, phase = $8::int,"
	" beside = $9::bool, base = $4::bigint"
	" WHERE sink_id = $1 AND stream_id = $10::uuid AND owner_epoch = $11::bigint";

static bool
place(Sink *sink, const SinkPosition *position, bool beside, Error *err)
{
	const uint64_t numbers[] = {position->owner_epoch,
								position->seq,
								position->part,
								position->total_start,
								(uint64_t) position->phase,
								sink->found ? sink->last.owner_epoch : 0};
	static const int places[] = {2, 3, 4, 6, 7, 10};
	char texts[6][24];
	char lsn[LSN_TEXT_BYTES];
	char stream[STREAM_ID_TEXT_BYTES];
	const char *values[11] = {sink->sink_name, sink->stream_id};
	PGresult *result;
	bool moved;

	for (int i = 0; i < 6; i++)
	{
		snprintf(texts[i], sizeof(texts[i]), "%" PRIu64, numbers[i]);
		values[places[i]] = texts[i];
	}
	snprintf(lsn, sizeof(lsn), LSN_FORMAT, LSN_ARGS(position->end_lsn));
	stream_id_text(&sink->last.stream_id, stream);
	values[5] = lsn;
	values[8] = beside ? "true" : "false";
	values[9] = sink->found ? stream : NULL;
	result = pg_query(sink, sink->found ? next_row : first_row, 11, values, "could not begin a target", err);
	if (result == NULL)
	{
		/* another writer's first row, not what ours says */
		err->class = err->class == ERR_DATA ? ERR_RETRY : err->class;
		return false;
	}
	moved = strcmp(PQcmdTuples(result), "1") == 0;
	PQclear(result);
	return moved || error_set(err, ERR_RETRY,
							  "the checkpoint is not where it was found: another writer opened the sink");
}

void
pg_settled(Sink *sink, const SinkPosition *position, bool beside)
{
	if (beside != sink->beside)
		for (int i = 0; i < sink->batch.ntargets; i++)
			sink->batch.targets[i]->ready = false;
	sink->beside = beside;
	sink->base = position->seq < sink->base ? position->seq : sink->base;
	sink->found = true;
	sink->last = *position;
}

/* What a table held that is gone comes anew. */
static bool
forget_missing(Sink *sink, Error *err)
{
	const char *const values[] = {sink->sink_name};
	PGresult *result = pg_query(
		sink, "DELETE FROM owner WHERE sink_id = $1 AND to_regclass(quote_ident(table_name)) IS NULL", 1,
		values, "could not forget a table that is gone", err);

	PQclear(result);
	return result != NULL;
}

bool
pg_begin(Sink *sink, SinkPosition *position, Error *err)
{
	Error why = {0};
	bool empty;
	bool beside;

	if (!look_into_tables(sink, &empty, &why, err))
		return false;
	beside = !empty && position->phase != SINK_WHOLE;
	if (!pg_execute(sink, "BEGIN", "could not begin", err) || !place(sink, position, beside, err) ||
		!pg_drop_beside(sink, err) || !forget_missing(sink, err) ||
		!pg_execute(sink, "COMMIT", "could not begin a target", err))
		return false; /* the transaction goes with the connection: open follows */
	for (int i = 0; i < sink->batch.ntargets; i++)
		sink->batch.targets[i]->ready = false; /* of an earlier fill: dropped */
	sink->base = position->seq;
	pg_settled(sink, position, beside);
	return true;
}
