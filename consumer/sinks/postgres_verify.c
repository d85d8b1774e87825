/*
 * postgres_verify.c -- what the score tables should hold, made from the feed and compared row by row.
 *
 * In one snapshot of the sink's database: the checkpoint, the tables, and beside them temporary tables that
 * the same statements fill from the feed, as far as the checkpoint says.  So a running sink may go on meanwhile.
 * The feed has to reach back to where the tables' content begins: unit 1, the sink's last fill, or where it
 * was added.
 */
#include "sinks/postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define GATHER_ROWS 10000

/* ---- what it should hold --------------------------------------------------------------------------------- */

/* It is in the quarantine, or the shown table has something on it that ours lacks: no row of what is expected. */
static bool
left_out(Sink *sink, const PgRow *row, const Error *why, void *context, Error *err)
{
	return true;
}

static bool
flush(Sink *sink, Error *err)
{
	Error why = {0};

	for (int i = 0; i < sink->batch.ntargets; i++)
		if (!pg_ensure_target(sink, sink->batch.targets[i], err))
			return false;
	if (!pg_send_clearings(sink, err) || !pg_apply_halves(sink, 0, sink->batch.nrows, left_out, &why, err))
		return false;
	pgbatch_reset(&sink->batch);
	return true;
}

static bool
gather_record(Sink *sink, FeedReader *reader, RecordReader *record, Error *err)
{
	RecordEntry entry;
	bool done = false;
	bool fill;

	if (!record_fill(record, &fill, &entry, err))
		return false;
	if (fill && !slice_equal(entry.fill.sink, slice_string(sink->sink_name)))
		return true;
	while (record_next(record, &entry, &done, err) && !done)
	{
		SinkFate fate;

		if (record_is_output(entry.kind) && !pg_apply(sink, reader, &record->header, &entry, &fate, err))
			return false;
	}
	return done && (sink->batch.nrows < GATHER_ROWS || flush(sink, err));
}

static bool
is_in(const SinkPosition *position, const RecordHeader *header)
{
	return header->seq <= position->seq ||
		   (header->seq == position->seq + 1 && header->part < position->part);
}

/* *reaches: the feed has all since the content began. */
static bool
expect(Sink *sink, FeedReader *reader, const SinkPosition *position, SinkVerify *report, bool *reaches,
	   Error *err)
{
	RecordReader record;
	FeedEvent event;

	report->from_seq = sink->base + 1;
	report->to_seq = position->seq;
	*reaches = true;
	while ((event = feed_reader_next(reader, &record, err)) == FEED_RECORD && is_in(position, &record.header))
	{
		if (record.header.seq <= sink->base)
			continue;
		if (report->compared++ == 0 && (record.header.seq != sink->base + 1 || record.header.part != 0))
		{
			*reaches = false;
			return true;
		}
		if (!gather_record(sink, reader, &record, err))
			return false;
	}
	*reaches = report->compared > 0 || sink->base >= position->seq;
	return event != FEED_ERROR && flush(sink, err);
}

/* ---- compare --------------------------------------------------------------------------------------------- */

static void
put_rows(Buffer *sql, const PgColumns *columns, const char *table, const char *alias)
{
	buffer_printf(sql, "(SELECT %s FROM %s) AS %s", (const char *) columns->all.data, table, alias);
}

static bool
count(Sink *sink, const Buffer *sql, SinkVerify *report, Error *err)
{
	PGresult *result =
		pg_query(sink, (const char *) sql->data, 0, NULL, "could not compare a score table", err);

	if (result == NULL)
		return false;
	report->compared += strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	report->different += strtoull(PQgetvalue(result, 0, 1), NULL, 10);
	PQclear(result);
	return true;
}

/* What the first difference is, in words. */
static bool
describe(Sink *sink, const Buffer *pairs, const char *table, SinkVerify *report, Error *err)
{
	Buffer sql = {0};
	PGresult *result;

	buffer_printf(
		&sql,
		"SELECT CASE WHEN t.ranking IS NULL THEN 'lacks ' || f WHEN f.ranking IS NULL THEN 'has ' || t ||"
		" ', which the feed does not' ELSE 'has ' || t || ' instead of ' || f END FROM %.*s"
		" WHERE t.* IS DISTINCT FROM f.* LIMIT 1",
		(int) pairs->len, (const char *) pairs->data);
	result = pg_query(sink, (const char *) sql.data, 0, NULL, "could not compare a score table", err);
	buffer_free(&sql);
	if (result == NULL)
		return false;
	if (PQntuples(result) == 1)
		snprintf(report->first, sizeof(report->first), "table %.80s %.400s", table, PQgetvalue(result, 0, 0));
	PQclear(result);
	return true;
}

/* One table with what it should hold; either may be missing (NULL). */
static bool
compare(Sink *sink, const char *shown, const char *expected, SinkVerify *report, Error *err)
{
	PgColumns columns = {0};
	const uint64_t before = report->different;
	Buffer pairs = {0};
	Buffer sql = {0};
	bool ok;

	ok = pg_columns(sink, expected != NULL ? expected : shown, &columns, err);
	if (shown == NULL || expected == NULL || !columns.found)
		buffer_printf(&sql, "SELECT count(*), count(*) FROM %s", shown != NULL ? shown : expected);
	else
	{
		put_rows(&pairs, &columns, shown, "t");
		buffer_printf(&pairs, " FULL JOIN ");
		put_rows(&pairs, &columns, expected, "f");
		buffer_printf(&pairs, " ON %s", (const char *) columns.same.data);
		buffer_printf(&sql, "SELECT count(*), count(*) FILTER (WHERE t.* IS DISTINCT FROM f.*) FROM %.*s",
					  (int) pairs.len, (const char *) pairs.data);
	}
	ok = ok && count(sink, &sql, report, err);
	if (ok && before == 0 && report->different > 0 && pairs.len > 0)
		ok = describe(sink, &pairs, shown, report, err);
	else if (ok && before == 0 && report->different > 0)
		snprintf(report->first, sizeof(report->first), "table %.80s has rows, %s",
				 shown != NULL ? shown : expected,
				 shown != NULL ? "and the feed none" : "and there is no such table");
	pg_columns_free(&columns);
	buffer_free(&pairs);
	buffer_free(&sql);
	return ok;
}

static const PgTarget *
target_of(const Sink *sink, const char *relation)
{
	for (int i = 0; i < sink->batch.ntargets; i++)
		if (strcmp(sink->batch.targets[i]->qualified, relation) == 0)
			return sink->batch.targets[i];
	return NULL;
}

static bool
compare_target(Sink *sink, const char *shown, const PgTarget *target, SinkVerify *report, Error *err)
{
	char name[PG_NAME_BYTES];

	if (target == NULL)
		return compare(sink, shown, NULL, report, err);
	pg_compare_name(sink, target, name); /* of pg_temp, where nothing else is called so */
	return compare(sink, shown, name, report, err);
}

static bool
is_shown(const PGresult *tables, const char *relation)
{
	for (int i = 0; i < PQntuples(tables); i++)
		if (strcmp(PQgetvalue(tables, i, 1), relation) == 0)
			return true;
	return false;
}

static bool
compare_all(Sink *sink, SinkVerify *report, Error *err)
{
	PGresult *tables = pg_tables(sink, err);
	bool ok = tables != NULL;

	for (int i = 0; ok && i < PQntuples(tables); i++)
	{
		Buffer shown = {0};

		pg_put_identifier(sink, &shown, PQgetvalue(tables, i, 0));
		ok = compare_target(sink, (const char *) shown.data, target_of(sink, PQgetvalue(tables, i, 1)),
							report, err);
		buffer_free(&shown);
	}
	for (int i = 0; ok && i < sink->batch.ntargets; i++)
		if (!is_shown(tables, sink->batch.targets[i]->qualified))
			ok = compare_target(sink, NULL, sink->batch.targets[i], report, err);
	PQclear(tables);
	return ok;
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

bool
pg_comparable(Sink *sink, SinkPosition *position, Error *err)
{
	bool has = false;
	bool found = false;

	if (!pg_has_schema(sink, &has, err) || (has && !pg_look(sink, position, &found, err)))
		return false;
	if (!found)
		return error_set(err, ERR_CONFIG, "there is nothing to verify: it has no checkpoint");
	if (!stream_id_equal(&position->stream_id, &sink->stream))
		return error_set(err, ERR_REFUSE, "it was written by another stream (rule K9)");
	if (position->phase == SINK_WHOLE)
		return true;
	error_set(err, ERR_CONFIG, "it is being filled: until that has ended it shows what it held before");
	return error_hint(err, "Wait until \"walrank sink list\" shows it at the end of the feed.");
}

static bool
verify(Sink *sink, FeedReader *reader, SinkVerify *report, Error *err)
{
	SinkPosition position;
	bool reaches;

	if (!pg_connect(sink, err) ||
		!pg_execute(sink,
					"SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ",
					"could not begin", err) ||
		!pg_comparable(sink, &position, err) || !expect(sink, reader, &position, report, &reaches, err))
		return false;
	report->compared = 0;
	if (reaches)
		return compare_all(sink, report, err);
	snprintf(report->first, sizeof(report->first),
			 "it holds what came since unit %" PRIu64 ", and the feed does not reach back so far",
			 sink->base + 1);
	report->from_seq = 1;
	report->to_seq = 0;
	return true;
}

bool
pg_verify(Sink *sink, FeedReader *reader, SinkVerify *report, Error *err)
{
	bool ok;

	sink->compare = true;
	ok = verify(sink, reader, report, err);
	pg_disconnect(sink); /* the temporary tables go with the transaction */
	pgbatch_reset(&sink->batch);
	sink->compare = false;
	return ok;
}
