/*
 * postgres.c -- sink "postgres": score tables and their checkpoint move in one transaction.
 *
 * Every batch first moves the checkpoint row, under the condition that it still stands where this
 * writer left it: that takes the row's lock, so a half-dead backend of an earlier writer has then
 * committed or is gone, and it fences every other writer.  After any error whose outcome is not
 * known the connection is dropped, and open() asks the table.
 *
 * A small batch costs two round trips: one pipeline, one COMMIT.  When a row is refused for what it
 * says, the batch is tried again in halves inside one transaction, and the row itself goes to
 * walrank_out.quarantine in that same transaction.
 */
#include "sinks/postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct PgOptions
{
	char *conninfo;
} PgOptions;

static const OptionDef pg_options[] = {
	{"conninfo", OPT_STRING, offsetof(PgOptions, conninfo), NULL, 0, 0, NULL, false,
	 "database that receives the scores, as any libpq string; passwords belong in ~/.pgpass"},
	{NULL, OPT_STRING, 0, NULL, 0, 0, NULL, false, NULL},
};

/* ---- schema ------------------------------------------------------------------------------------------ */

static const char schema_sql[] =
	"CREATE SCHEMA IF NOT EXISTS walrank_out;"
	"CREATE TABLE IF NOT EXISTS walrank_out.checkpoint ("
	" sink_id text PRIMARY KEY, stream_id uuid NOT NULL, owner_epoch bigint NOT NULL,"
	" seq bigint NOT NULL, part int NOT NULL, end_lsn pg_lsn NOT NULL,"
	" applied bigint NOT NULL, filtered bigint NOT NULL, parked bigint NOT NULL, quarantined bigint NOT NULL,"
	" total_start bigint NOT NULL, commit_time timestamptz, phase int NOT NULL DEFAULT 0) WITH (fillfactor = "
	"50);"
	"CREATE TABLE IF NOT EXISTS walrank_out.quarantine ("
	" sink_id text, stream_id uuid, seq bigint, change bigint, out int,"
	" reason text NOT NULL, record text NOT NULL, at timestamptz NOT NULL DEFAULT now(),"
	" PRIMARY KEY (sink_id, stream_id, seq, change, out));"
	"COMMENT ON SCHEMA walrank_out IS 'walrank: scores and where their sinks stand'";

static bool
has_schema(Sink *sink, bool *has, Error *err)
{
	PGresult *result = pg_query(sink,
								"SELECT pg_catalog.to_regclass('walrank_out.checkpoint') IS NOT NULL"
								" AND pg_catalog.to_regclass('walrank_out.quarantine') IS NOT NULL",
								0, NULL, "could not look for schema walrank_out", err);

	if (result == NULL)
		return false;
	*has = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return true;
}

/* ---- checkpoint -------------------------------------------------------------------------------------- */

#define CHECKPOINT_COLUMNS                                                                                   \
	"stream_id, owner_epoch, seq, part, end_lsn, applied, filtered, parked, quarantined, total_start,"       \
	" (EXTRACT(epoch FROM commit_time) * 1000000)::bigint, phase"

static uint64_t
number_at(const PGresult *result, int column)
{
	return strtoull(PQgetvalue(result, 0, column), NULL, 10);
}

static void
read_position(const PGresult *result, SinkPosition *position)
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
}

static bool
look(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	const char *const values[] = {sink->sink_name};
	PGresult *result =
		pg_query(sink, "SELECT " CHECKPOINT_COLUMNS " FROM walrank_out.checkpoint WHERE sink_id = $1", 1,
				 values, "could not read the checkpoint", err);

	if (result == NULL)
		return false;
	*found = PQntuples(result) == 1;
	if (*found)
		read_position(result, position);
	PQclear(result);
	return true;
}

/* Waits for whoever holds the row; the version it leaves behind is the one that is returned. */
static bool
fence(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	const char *const values[] = {sink->sink_name, sink->stream_id};
	PGresult *result = pg_query(sink,
								"UPDATE walrank_out.checkpoint SET owner_epoch = owner_epoch + 1"
								" WHERE sink_id = $1 AND stream_id = $2::uuid RETURNING " CHECKPOINT_COLUMNS,
								2, values, "could not take over the checkpoint", err);

	if (result == NULL)
		return false;
	*found = PQntuples(result) == 1;
	if (*found)
		read_position(result, position);
	PQclear(result);
	return true;
}

/* Whether every score table is empty; if not, *why tells of one that is not. */
static bool
look_into_tables(Sink *sink, bool *empty, Error *why, Error *err)
{
	PGresult *tables = pg_query(sink,
								"SELECT relname FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p')"
								" AND relnamespace = pg_catalog.to_regnamespace('walrank_out')"
								" AND relname LIKE 'score\\_%' ORDER BY relname",
								0, NULL, "could not list the score tables", err);
	bool ok = tables != NULL;

	*empty = true;
	for (int i = 0; ok && *empty && i < PQntuples(tables); i++)
	{
		Buffer sql = {0};
		PGresult *row;

		buffer_printf(&sql, "SELECT 1 FROM walrank_out.");
		pg_put_identifier(sink, &sql, PQgetvalue(tables, i, 0));
		buffer_printf(&sql, " LIMIT 1");
		row = pg_query(sink, (const char *) sql.data, 0, NULL, "could not look into a score table", err);
		ok = row != NULL;
		if (ok && PQntuples(row) > 0)
		{
			*empty = false;
			error_set(why, ERR_REFUSE,
					  "table walrank_out.%s has rows, but sink \"%s\" has no checkpoint (rule K1)",
					  PQgetvalue(tables, i, 0), sink->sink_name);
			error_hint(why, "Drop the score tables, or give the sink the name that stands in "
							"walrank_out.checkpoint, or let it write to another database.");
		}
		PQclear(row);
		buffer_free(&sql);
	}
	PQclear(tables);
	return ok;
}

/* A row of another stream is only looked at. */
static bool
take_over(Sink *sink, SinkStand *stand, Error *err)
{
	bool has = false;

	if (!has_schema(sink, &has, err))
		return false;
	if (!has && !pg_create_objects(sink, schema_sql, "could not create schema walrank_out", err))
		return false;
	if (!fence(sink, &stand->position, &stand->found, err) ||
		(!stand->found && !look(sink, &stand->position, &stand->found, err)))
		return false;
	sink->fresh = !stand->found;
	if (stand->found)
		return true;
	stand->position.owner_epoch = 1;
	return look_into_tables(sink, &stand->empty, &stand->why, err);
}

static bool
pg_open(Sink *sink, SinkStand *stand, Error *err)
{
	pg_disconnect(sink);
	pgbatch_reset(&sink->batch);
	if (!pg_connect(sink, err) || !take_over(sink, stand, err))
	{
		pg_disconnect(sink);
		return false;
	}
	sink->last = stand->position;
	return true;
}

static bool pg_commit(Sink *sink, SinkPosition *position, Error *err);

static bool
pg_begin(Sink *sink, SinkPosition *position, Error *err)
{
	Error why = {0};
	bool empty;

	if (!look_into_tables(sink, &empty, &why, err))
		return false;
	if (!empty || (!sink->fresh && !stream_id_equal(&sink->last.stream_id, &sink->stream)))
	{
		error_set(err, ERR_CONFIG,
				  "schema walrank_out has rows in its score tables: it is filled while empty");
		return error_hint(err, "Drop the score tables and the sink's row in walrank_out.checkpoint.");
	}
	return pg_commit(sink, position, err);
}

static bool
pg_peek(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	bool has = false;
	bool ok = pg_connect(sink, err) && has_schema(sink, &has, err);

	*found = false;
	if (ok && has)
		ok = look(sink, position, found, err);
	pg_disconnect(sink);
	return ok;
}

/* ---- batches -------------------------------------------------------------------------------------------------- */

/* The checkpoint did not stand where we left it: somebody else's doing, or an older copy of the database. */
static bool
explain_fence(Sink *sink, Error *err)
{
	SinkPosition now;
	bool found = false;

	if (!pg_execute(sink, "ROLLBACK", "could not roll back", err) || !look(sink, &now, &found, err))
		return false;
	if (found && now.owner_epoch > sink->last.owner_epoch && stream_id_equal(&now.stream_id, &sink->stream))
	{
		error_set(err, ERR_REFUSE,
				  "another writer has opened the sink (owner epoch %" PRIu64 ", ours is %" PRIu64 ")",
				  now.owner_epoch, sink->last.owner_epoch);
		return error_hint(err, "Stop the other one, then restart this one.");
	}
	return error_set(err, ERR_RETRY, "the checkpoint is not where it was left, at unit %" PRIu64,
					 sink->last.seq);
}

/* Nothing but "COMMIT" says it is in: a failed transaction answers ROLLBACK. */
static bool
end_batch(Sink *sink, Error *err)
{
	PGresult *result = pg_expect(sink, PQexec(sink->conn, "COMMIT"), "could not commit a batch", err);
	bool ok = result != NULL && strcmp(PQcmdStatus(result), "COMMIT") == 0;

	if (result != NULL && !ok)
		error_set(err, ERR_RETRY, "the server rolled a batch back");
	if (!ok)
		err->class = err->class == ERR_CONFIG ? ERR_CONFIG : ERR_RETRY;
	PQclear(result);
	return ok;
}

static bool
quarantine(Sink *sink, const PgRow *row, const Error *why, Error *err)
{
	char seq[24];
	char change[24];
	char ranking[24];
	Buffer reason = {0};
	Buffer record = {0};
	const char *values[7] = {sink->sink_name, sink->stream_id, seq, change, ranking, NULL, NULL};
	PGresult *result;

	snprintf(seq, sizeof(seq), "%" PRIu64, row->seq);
	snprintf(change, sizeof(change), "%u", row->change);
	snprintf(ranking, sizeof(ranking), "%u", row->ranking);
	pgbatch_ascii(&reason, slice_string(why->message));
	pgbatch_describe(&record, row);
	buffer_append_byte(&reason, '\0');
	buffer_append_byte(&record, '\0');
	values[5] = (const char *) reason.data;
	values[6] = (const char *) record.data;
	result =
		pg_query(sink,
				 "INSERT INTO walrank_out.quarantine (sink_id, stream_id, seq, change, out, reason, record)"
				 " VALUES ($1, $2::uuid, $3::bigint, $4::bigint, $5::int, $6, $7)"
				 " ON CONFLICT (sink_id, stream_id, seq, change, out)"
				 " DO UPDATE SET reason = excluded.reason, record = excluded.record, at = excluded.at",
				 7, values, "could not write to the quarantine", err);
	buffer_free(&reason);
	buffer_free(&record);
	PQclear(result);
	return result != NULL;
}

/* Rows [from, to) in halves, until those that are refused stand alone.  Depth: the logarithm of a batch. */
static bool
apply_halves(Sink *sink, SinkPosition *position, uint32_t from, uint32_t to, Error *err)
{
	const uint32_t middle = from + (to - from) / 2;
	Error why = {0};

	if (from >= to || pg_send_range(sink, from, to, &why))
		return true;
	if (why.class != ERR_DATA)
	{
		*err = why;
		return false;
	}
	if (!pg_execute(sink, "ROLLBACK TO SAVEPOINT walrank", "could not roll back", err))
		return false;
	if (to - from > 1)
		return apply_halves(sink, position, from, middle, err) &&
			   apply_halves(sink, position, middle, to, err);
	position->applied--;
	position->quarantined++;
	return quarantine(sink, &sink->batch.rows[from], &why, err);
}

static bool
correct_counters(Sink *sink, const SinkPosition *position, Error *err)
{
	char applied[24];
	char quarantined[24];
	const char *const values[] = {sink->sink_name, applied, quarantined};
	PGresult *result;

	snprintf(applied, sizeof(applied), "%" PRIu64, position->applied);
	snprintf(quarantined, sizeof(quarantined), "%" PRIu64, position->quarantined);
	result = pg_query(sink,
					  "UPDATE walrank_out.checkpoint SET applied = $2::bigint, quarantined = $3::bigint"
					  " WHERE sink_id = $1",
					  3, values, "could not count what went to the quarantine", err);
	PQclear(result);
	return result != NULL;
}

/* The same batch again, row by row where it must be; the checkpoint row is ours from its first statement on. */
static bool
commit_around_poison(Sink *sink, SinkPosition *position, Error *err)
{
	SinkPosition corrected = *position;
	int moved;

	if (!pg_execute(sink, "ROLLBACK", "could not roll back", err) ||
		!pg_send_claim(sink, position, &moved, err))
		return false;
	if (moved != 1)
		return explain_fence(sink, err);
	if (!apply_halves(sink, &corrected, 0, sink->batch.nrows, err) ||
		!correct_counters(sink, &corrected, err) || !end_batch(sink, err))
		return false;
	*position = corrected;
	return true;
}

static bool
commit_batch(Sink *sink, SinkPosition *position, Error *err)
{
	int moved;

	if (!pg_send_batch(sink, position, &moved, err))
		return err->class == ERR_DATA && sink->batch.nrows > 0 && commit_around_poison(sink, position, err);
	if (moved != 1)
		return explain_fence(sink, err);
	return end_batch(sink, err);
}

static bool
pg_commit(Sink *sink, SinkPosition *position, Error *err)
{
	for (int i = 0; i < sink->batch.ntargets; i++)
		if (!pg_ensure_target(sink, sink->batch.targets[i], err))
			return false;
	if (!commit_batch(sink, position, err))
		return false;
	sink->last = *position;
	sink->fresh = false;
	pgbatch_reset(&sink->batch);
	return true;
}

static bool
pg_apply(Sink *sink, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
		 SinkFate *fate, Error *err)
{
	if (entry->kind == RECORD_CHANGE || entry->kind == RECORD_GAP)
	{
		if (entry->kind == RECORD_CHANGE)
			pgbatch_change(&sink->batch, header, entry);
		*fate = SINK_FILTERED;
		return true;
	}
	*fate = SINK_APPLIED;
	return pgbatch_add(&sink->batch, reader, header, entry, err);
}

/* The same statement as a batch without rows: it moves back as well as forth. */
static bool
pg_rewind(Sink *sink, const SinkPosition *position, Error *err)
{
	SinkPosition lowered = *position;

	return pg_commit(sink, &lowered, err);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static bool
pg_create(const char *sink_name, const void *options, const SinkHistory *history, const char *state_dir,
		  Sink **created, Error *err)
{
	const PgOptions *given = options;
	char *message = NULL;
	PQconninfoOption *parsed = PQconninfoParse(given->conninfo, &message);
	Sink *sink;

	if (parsed == NULL)
	{
		error_set(err, ERR_CONFIG, "conninfo is not a connection string: %s",
				  message != NULL ? message : "no memory");
		pg_one_line(err->message);
		PQfreemem(message);
		return error_hint(
			err, "Write it as for psql: host=db dbname=search user=walrank, or as a postgresql:// URI.");
	}
	PQconninfoFree(parsed);
	sink = xcalloc(1, sizeof(*sink));
	sink->sink_name = xstrdup(sink_name);
	sink->conninfo = xstrdup(given->conninfo);
	sink->stream = history->stream_id;
	stream_id_text(&history->stream_id, sink->stream_id);
	sink->socket = -1;
	pthread_mutex_init(&sink->lock, NULL);
	pgbatch_init(&sink->batch);
	*created = sink;
	return true;
}

static void
pg_close(Sink *sink)
{
	pg_disconnect(sink);
	pgbatch_reset(&sink->batch);
}

static void
pg_destroy(Sink *sink)
{
	pg_disconnect(sink);
	pgbatch_free(&sink->batch);
	for (int i = 0; i < PARAMS_MAX; i++)
		buffer_free(&sink->arrays[i]);
	pthread_mutex_destroy(&sink->lock);
	free(sink->sink_name);
	free(sink->conninfo);
	free(sink);
}

const SinkType sink_postgres = {
	.name = "postgres",
	.options = pg_options,
	.options_bytes = sizeof(PgOptions),
	.create = pg_create,
	.open = pg_open,
	.begin = pg_begin,
	.apply = pg_apply,
	.commit = pg_commit,
	.rewind = pg_rewind,
	.peek = pg_peek,
	.interrupt = pg_interrupt,
	.close = pg_close,
	.destroy = pg_destroy,
};
