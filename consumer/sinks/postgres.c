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

/* ---- batches -------------------------------------------------------------------------------------------------- */

/* The checkpoint did not stand where we left it: somebody else's doing, or an older copy of the database. */
static bool
explain_fence(Sink *sink, Error *err)
{
	SinkPosition now;
	bool found = false;

	if (!pg_execute(sink, "ROLLBACK", "could not roll back", err) || !pg_look(sink, &now, &found, err))
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

/*
 * The target filled beside takes the old one's place, if this batch completes it.  Then nothing but "COMMIT" says
 * it is in: a failed transaction answers ROLLBACK.
 */
static bool
end_batch(Sink *sink, const SinkPosition *position, Error *err)
{
	PGresult *result;
	bool ok;

	if (sink->beside && position->phase == SINK_WHOLE && !pg_swap(sink, err))
		return false;
	result = pg_expect(sink, PQexec(sink->conn, "COMMIT"), "could not commit a batch", err);
	ok = result != NULL && strcmp(PQcmdStatus(result), "COMMIT") == 0;

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
	result = pg_query(sink,
					  "INSERT INTO quarantine (sink_id, stream_id, seq, change, out, reason, record)"
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
bool
pg_apply_halves(Sink *sink, uint32_t from, uint32_t to, PgRefused refused, void *context, Error *err)
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
		return pg_apply_halves(sink, from, middle, refused, context, err) &&
			   pg_apply_halves(sink, middle, to, refused, context, err);
	return refused(sink, &sink->batch.rows[from], &why, context, err);
}

static bool
to_quarantine(Sink *sink, const PgRow *row, const Error *why, void *context, Error *err)
{
	SinkPosition *position = context;

	position->applied--;
	position->quarantined++;
	return quarantine(sink, row, why, err);
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
					  "UPDATE checkpoint SET applied = $2::bigint, quarantined = $3::bigint"
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
	if (!pg_apply_halves(sink, 0, sink->batch.nrows, to_quarantine, &corrected, err) ||
		!correct_counters(sink, &corrected, err) || !end_batch(sink, &corrected, err))
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
	return end_batch(sink, position, err);
}

static bool
pg_commit(Sink *sink, SinkPosition *position, Error *err)
{
	for (int i = 0; i < sink->batch.ntargets; i++)
		if (!pg_ensure_target(sink, sink->batch.targets[i], err))
			return false;
	if (!commit_batch(sink, position, err))
		return false;
	pg_settled(sink, position, sink->beside && position->phase != SINK_WHOLE);
	pgbatch_reset(&sink->batch);
	return true;
}

bool
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
	sink->schema = xstrdup(PG_SCHEMA);
	sink->stream = history->stream_id;
	stream_id_text(&history->stream_id, sink->stream_id);
	sink->socket = -1;
	pthread_mutex_init(&sink->lock, NULL);
	pgbatch_init(&sink->batch);
	*created = sink;
	return true;
}

/* Another schema of the same database, with all that belongs to a sink. */
static bool
pg_retarget(Sink *sink, const char *target, Error *err)
{
	const size_t len = strlen(target);

	if (len == 0 || len >= PG_NAME_BYTES || strncmp(target, "pg_", 3) == 0 ||
		strcmp(target, PG_SCHEMA) == 0 || strcmp(target, "walrank") == 0 ||
		strcmp(target, "information_schema") == 0)
	{
		error_set(err, ERR_CONFIG, "\"%.80s\" is not the name of a schema to write to", target);
		return error_hint(err, "Name a schema that does not exist yet, such as " PG_SCHEMA "_again.");
	}
	free(sink->schema);
	sink->schema = xstrdup(target);
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
	free(sink->schema);
	free(sink);
}

const SinkType sink_postgres = {
	.name = "postgres",
	.options = pg_options,
	.options_bytes = sizeof(PgOptions),
	.create = pg_create,
	.retarget = pg_retarget,
	.open = pg_open,
	.begin = pg_begin,
	.apply = pg_apply,
	.commit = pg_commit,
	.rewind = pg_rewind,
	.peek = pg_peek,
	.verify = pg_verify,
	.places = pg_places,
	.interrupt = pg_interrupt,
	.close = pg_close,
	.destroy = pg_destroy,
};
