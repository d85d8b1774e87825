/*
 * postgres_pipeline.c -- a batch of sink "postgres" as statements sent in one go.
 *
 * Rows travel as columns: one binary array per column, one statement per table and kind.
 */
#include "sinks/postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

/* ---- arrays in binary ----------------------------------------------------------------------------------- */

static void
put_be32(Buffer *out, uint32_t v)
{
	v = __builtin_bswap32(v);
	buffer_append(out, &v, sizeof(v));
}

static void
put_be64(Buffer *out, uint64_t v)
{
	v = __builtin_bswap64(v);
	buffer_append(out, &v, sizeof(v));
}

/* dimensions, has nulls, element type, length, lower bound */
static void
array_begin(Buffer *out, Oid element, bool nulls)
{
	buffer_reset(out);
	put_be32(out, 1);
	put_be32(out, nulls);
	put_be32(out, element);
	put_be32(out, 0);
	put_be32(out, 1);
}

static void
array_end(Buffer *out, uint32_t n)
{
	n = __builtin_bswap32(n);
	memcpy(out->data + 12, &n, sizeof(n));
}

static void
put_element32(Buffer *out, uint32_t v)
{
	put_be32(out, sizeof(v));
	put_be32(out, v);
}

static void
put_element64(Buffer *out, uint64_t v)
{
	put_be32(out, sizeof(v));
	put_be64(out, v);
}

static bool
put_key(Buffer *out, const PgRow *row, int i)
{
	const size_t start = out->len;
	uint32_t len;

	put_be32(out, 0);
	if (!pgbatch_key_text(out, row, i))
		return false;
	len = __builtin_bswap32((uint32_t) (out->len - start - 4));
	memcpy(out->data + start, &len, sizeof(len));
	return true;
}

static void
put_scores(Buffer *arrays, const PgRow *row)
{
	uint64_t score;

	memcpy(&score, &row->score, sizeof(score));
	put_element32(&arrays[1], (uint32_t) row->tier);
	if (row->pin != 0)
		put_element32(&arrays[2], (uint32_t) row->pin);
	else
		put_be32(&arrays[2], UINT32_MAX);
	put_element64(&arrays[3], score);
	put_be32(&arrays[4], 1);
	buffer_append_byte(&arrays[4], row->blocked);
	put_element32(&arrays[5], row->version);
	put_element64(&arrays[6], row->seq);
	if (row->commit_lsn != 0)
		put_element64(&arrays[7], row->commit_lsn);
	else
		put_be32(&arrays[7], UINT32_MAX);
	put_element64(&arrays[8], (uint64_t) (row->now_us - PG_EPOCH_US));
}

static void
begin_arrays(Sink *sink, const PgTarget *target)
{
	static const Oid elements[] = {OID_TEXT, OID_INT4, OID_INT4, OID_FLOAT8,	 OID_BOOL,
								   OID_INT4, OID_INT8, OID_LSN,	 OID_TIMESTAMPTZ};

	for (int i = 0; i < target->nkeys; i++)
		array_begin(&sink->arrays[i], OID_TEXT, false);
	for (int i = 0; i < PG_SCORE_COLUMNS; i++)
		array_begin(&sink->arrays[target->nkeys + i], elements[i], i == 2 || i == 7);
}

/* The rows [from, to) of one target and kind as columns; *count = 0 when there is none. */
static bool
fill_arrays(Sink *sink, const PgTarget *target, bool remove, uint32_t from, uint32_t to, uint32_t *count,
			Error *err)
{
	Buffer *ranking = &sink->arrays[target->nkeys];

	*count = 0;
	begin_arrays(sink, target);
	for (uint32_t n = from; n < to; n++)
	{
		const PgRow *row = &sink->batch.rows[n];

		if (row->superseded || row->target != target || row->remove != remove)
			continue;
		for (int i = 0; i < target->nkeys; i++)
			if (!put_key(&sink->arrays[i], row, i))
				return error_set(err, ERR_DATA, "malformed key of an item of %s", target->qualified);
		put_be32(ranking, (uint32_t) row->ranking_name.len);
		buffer_append_slice(ranking, row->ranking_name);
		if (!remove)
			put_scores(ranking, row);
		(*count)++;
	}
	for (int i = 0; i < target->nkeys + PG_SCORE_COLUMNS; i++)
		array_end(&sink->arrays[i], *count);
	return true;
}

/* ---- the pipeline ------------------------------------------------------------------------------------------ */

static bool
send_rows(Sink *sink, const PgTarget *target, bool remove, uint32_t from, uint32_t to, int *sent, Error *err)
{
	const int n = target->nkeys + (remove ? 1 : PG_SCORE_COLUMNS);
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX];
	int formats[PARAMS_MAX];
	char name[48];
	uint32_t count;

	if (!fill_arrays(sink, target, remove, from, to, &count, err))
		return false;
	if (count == 0)
		return true;
	for (int i = 0; i < n; i++)
	{
		values[i] = (const char *) sink->arrays[i].data;
		lengths[i] = (int) sink->arrays[i].len;
		formats[i] = 1;
	}
	pg_statement_name(sink, target, remove ? "delete" : "upsert", name);
	(*sent)++;
	return PQsendQueryPrepared(sink->conn, name, n, values, lengths, formats, 0) ||
		   pg_connection_error(sink, "could not send a batch", err);
}

/* Removals go first: two keys that differ as bytes may be one key to the server (1.0 and 1.00), and then only the
 * one that is written is there in the end. */
static bool
send_range(Sink *sink, uint32_t from, uint32_t to, int *sent, Error *err)
{
	for (int remove = 1; remove >= 0; remove--)
		for (int i = 0; i < sink->batch.ntargets; i++)
			if (!send_rows(sink, sink->batch.targets[i], remove == 1, from, to, sent, err))
				return false;
	return true;
}

static bool
send_clearings(Sink *sink, int *sent, Error *err)
{
	for (uint32_t i = 0; i < sink->batch.nclearings; i++)
	{
		const PgClearing *clearing = &sink->batch.clearings[i];
		const char *value = clearing->ranking == 0 ? NULL : (const char *) clearing->ranking_name.data;
		const int len = (int) clearing->ranking_name.len;
		const int format = 1; /* with its length: the name has no end */
		char name[48];

		pg_statement_name(sink, clearing->target, "clear", name);
		(*sent)++;
		if (!PQsendQueryPrepared(sink->conn, name, 1, &value, &len, &format, 0))
			return pg_connection_error(sink, "could not send a batch", err);
	}
	return true;
}

typedef struct CheckpointText
{
	char number[11][24];
	char lsn[LSN_TEXT_BYTES];
	const char *values[15];
} CheckpointText;

/*
 * $1 sink, $2 stream, $3 epoch, $4 seq, $5 part, $6 end_lsn, $7..$10 counters, $11 total_start, $12 commit time in us;
 * $13, $14: where the row has to stand; $15 phase.
 */
static void
checkpoint_text(const Sink *sink, const SinkPosition *p, CheckpointText *text)
{
	const uint64_t numbers[11] = {
		p->owner_epoch, p->seq,			p->part,		p->applied,		 p->filtered,		 p->parked,
		p->quarantined, p->total_start, sink->last.seq, sink->last.part, (uint64_t) p->phase};
	static const int places[11] = {2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14};

	text->values[0] = sink->sink_name;
	text->values[1] = sink->stream_id;
	for (int i = 0; i < 11; i++)
	{
		snprintf(text->number[i], sizeof(text->number[i]), "%" PRIu64, numbers[i]);
		text->values[places[i]] = text->number[i];
	}
	snprintf(text->lsn, sizeof(text->lsn), LSN_FORMAT, LSN_ARGS(p->end_lsn));
	text->values[5] = text->lsn;
}

/* Set back below where the target's content begins (replay), it begins there. */
static const char move_checkpoint[] =
	"UPDATE checkpoint SET seq = $4::bigint, part = $5::int, end_lsn = $6::pg_lsn, applied = $7::bigint,"
	" filtered = $8::bigint, parked = $9::bigint, quarantined = $10::bigint, total_start = $11::bigint,"
	" phase = $15::int, beside = beside AND $15::int <> 0, base = least(base, $4::bigint), commit_time ="
	" CASE $12::bigint WHEN 0 THEN NULL ELSE 'epoch'::timestamptz + $12::bigint * interval '1 microsecond' "
	"END"
	" WHERE sink_id = $1 AND stream_id = $2::uuid AND owner_epoch = $3::bigint AND seq = $13::bigint"
	" AND part = $14::int";

static bool
send_checkpoint(Sink *sink, const SinkPosition *position, int *sent, Error *err)
{
	CheckpointText text;
	char time[24];

	checkpoint_text(sink, position, &text);
	snprintf(time, sizeof(time), "%" PRId64, position->commit_time_us);
	text.values[11] = time;
	(*sent)++;
	return PQsendQueryParams(sink->conn, move_checkpoint, 15, NULL, text.values, NULL, NULL, 0) ||
		   pg_connection_error(sink, "could not send a batch", err);
}

static bool
send_text(Sink *sink, const char *sql, int *sent, Error *err)
{
	(*sent)++;
	return PQsendQueryParams(sink->conn, sql, 0, NULL, NULL, NULL, NULL, 0) ||
		   pg_connection_error(sink, "could not send a batch", err);
}

/*
 * Read what `sent` statements gave, up to the sync.  The first error is the one that counts.
 * *moved: rows touched by statement number `checkpoint`, or -1.
 */
static bool
receive(Sink *sink, int sent, int checkpoint, int *moved, Error *err)
{
	bool ok = true;

	*moved = -1;
	for (int i = 0; i < sent; i++)
	{
		PGresult *result = PQgetResult(sink->conn);
		const ExecStatusType status = PQresultStatus(result);

		if (status == PGRES_PIPELINE_ABORTED)
			;
		else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		{
			if (ok)
				pg_result_error(sink, result,
								i == checkpoint ? "could not move the checkpoint" : "could not write a batch",
								err);
			/* another writer's first row, not what ours says */
			if (ok && i == checkpoint && err->class == ERR_DATA)
				err->class = ERR_RETRY;
			ok = false;
		}
		else if (i == checkpoint)
			*moved = atoi(PQcmdTuples(result));
		if (result == NULL)
			return ok ? pg_connection_error(sink, "could not write a batch", err) : false;
		PQclear(result);
		PQclear(PQgetResult(sink->conn)); /* NULL: end of this statement */
	}
	PQclear(PQgetResult(sink->conn)); /* the sync */
	return ok;
}

/* Sends what `send` sends between entering and leaving the mode. */
typedef bool (*PipelineBody)(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent,
							 Error *err);

static bool
pipeline(Sink *sink, PipelineBody body, const SinkPosition *position, uint32_t from, uint32_t to,
		 int checkpoint, int *moved, Error *err)
{
	Error sending = {0};
	int sent = 0;
	bool ok;

	if (!PQenterPipelineMode(sink->conn))
		return pg_connection_error(sink, "could not send a batch", err);
	ok = body(sink, position, from, to, &sent, &sending);
	if (!ok && sending.class != ERR_DATA)
	{
		*err = sending;
		return false; /* the connection is gone: open again */
	}
	if (!PQpipelineSync(sink->conn))
		return pg_connection_error(sink, "could not send a batch", err);
	if (!receive(sink, sent, checkpoint, moved, err))
		ok = false;
	else if (!ok)
		*err = sending;
	if (!PQexitPipelineMode(sink->conn))
		return pg_connection_error(sink, "could not end a batch", err);
	return ok;
}

static bool
body_batch(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent, Error *err)
{
	return send_text(sink, "BEGIN", sent, err) && send_checkpoint(sink, position, sent, err) &&
		   send_clearings(sink, sent, err) && send_range(sink, from, to, sent, err);
}

static bool
body_claim(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent, Error *err)
{
	return send_text(sink, "BEGIN", sent, err) && send_checkpoint(sink, position, sent, err) &&
		   send_clearings(sink, sent, err);
}

static bool
body_savepoint_range(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent,
					 Error *err)
{
	return send_text(sink, "SAVEPOINT walrank", sent, err) && send_range(sink, from, to, sent, err) &&
		   send_text(sink, "RELEASE SAVEPOINT walrank", sent, err);
}

static bool
body_clearings(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent, Error *err)
{
	return send_clearings(sink, sent, err);
}

bool
pg_send_clearings(Sink *sink, Error *err)
{
	int moved;

	return pipeline(sink, body_clearings, NULL, 0, 0, -1, &moved, err);
}

bool
pg_send_batch(Sink *sink, const SinkPosition *position, int *moved, Error *err)
{
	return pipeline(sink, body_batch, position, 0, sink->batch.nrows, 1, moved, err);
}

bool
pg_send_claim(Sink *sink, const SinkPosition *position, int *moved, Error *err)
{
	return pipeline(sink, body_claim, position, 0, 0, 1, moved, err);
}

bool
pg_send_range(Sink *sink, uint32_t from, uint32_t to, Error *err)
{
	int moved;

	return pipeline(sink, body_savepoint_range, NULL, from, to, -1, &moved, err);
}
