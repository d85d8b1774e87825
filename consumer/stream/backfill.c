/*
 * backfill.c -- see backfill.h.
 */
#include "stream/backfill.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "stream/backfill_private.h"
#include "stream/cancel.h"
#include "stream/guard.h"
#include "stream/publications.h"

#define SLOT_WAIT_US INT64_C(60000000)	 /* slot creation waits for every writing transaction.. */
#define SLOT_SILENT_US INT64_C(10000000) /* ..and from here on their owners are named */
#define GUARD_WAIT_US INT64_C(60000000)
#define DESCRIBE_WAIT_US INT64_C(60000000) /* while somebody has the table to himself */
#define REACH_WAIT_US INT64_C(60000000)
#define BEAT_EVERY_US INT64_C(1000000)
#define REWRITES_MAX 5 /* in a row, before the table is left for a while */

void
backfill_report(Backfill *backfill, const char *phase)
{
	snprintf(backfill->progress.phase, sizeof(backfill->progress.phase), "%s", phase);
	backfill->progress.point = backfill->point;
	backfill->progress.chunk = backfill->chunk;
	if (backfill->context->progress != NULL)
		backfill->context->progress(backfill->context->context, &backfill->progress);
}

bool
backfill_stopped(const Backfill *backfill, Error *err)
{
	if (!atomic_load(backfill->context->stop))
		return false;
	error_set(err, ERR_RETRY, "stopped");
	return true;
}

/* Waits for one result without losing the ability to stop. */
static bool
wait_result(Backfill *backfill, PGconn *conn, int64_t timeout_us, Error *err)
{
	int64_t deadline = clock_monotonic_us() + timeout_us;

	for (;;)
	{
		struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

		if (backfill_stopped(backfill, err))
			return false;
		if (!PQconsumeInput(conn))
			return source_error(conn, NULL, err, "the connection was lost");
		if (!PQisBusy(conn))
			return true;
		if (clock_monotonic_us() >= deadline)
			return error_set(err, ERR_RETRY, "no answer within %d s", (int) (timeout_us / 1000000));
		poll(&fd, 1, 200);
	}
}

/* ---- B1: what the table is, and the snapshot ------------------------------------------------ */

static bool
look_up(Backfill *backfill, Error *err)
{
	PGresult *res = source_query(
		backfill->observer, 4, err, "could not look up the table",
		"SELECT c.oid, pg_catalog.pg_relation_filenode(c.oid), c.relkind, GREATEST(c.reltuples, 0)::int8"
		" FROM pg_catalog.pg_class c"
		" WHERE c.oid = pg_catalog.to_regclass($1)",
		1, &backfill->relation);
	bool ok;

	if (res == NULL)
		return false;
	ok = PQntuples(res) == 1 || error_set(err, ERR_DATA, "there is no table %s", backfill->relation);
	ok = ok && (PQgetvalue(res, 0, 2)[0] == 'r' ||
				error_set(err, ERR_DATA, "%s is no ordinary table", backfill->relation));
	if (ok)
	{
		backfill->oid = (uint32_t) strtoul(PQgetvalue(res, 0, 0), NULL, 10);
		snprintf(backfill->filenode, sizeof(backfill->filenode), "%s", PQgetvalue(res, 0, 1));
		backfill->progress.estimated = strtoull(PQgetvalue(res, 0, 3), NULL, 10);
	}
	PQclear(res);
	return ok;
}

static bool
send_describe(Backfill *backfill, PGconn *conn, Error *err)
{
	Buffer command = {0};
	bool ok;

	buffer_printf(&command, "SELECT walrank.describe($1::pg_catalog.text::pg_catalog.regclass, ");
	ok = publications_array(conn, backfill->context->settings->publications, backfill->relation, &command,
							err);
	buffer_append(&command, ")", 2); /* and the end of the string */
	ok = ok &&
		 (PQsendQueryParams(conn, (const char *) command.data, 1, NULL, &backfill->relation, NULL, NULL, 1) ||
		  source_error(conn, NULL, err, "could not describe the table"));
	buffer_free(&command);
	return ok;
}

/* Takes the table's lock for a moment: conn waits as long as somebody has it, or stands in line for it, alone. */
static PGresult *
ask_description(Backfill *backfill, PGconn *conn, Error *err)
{
	PGresult *res = NULL;

	if (!send_describe(backfill, conn, err))
		return NULL;
	if (!wait_result(backfill, conn, DESCRIBE_WAIT_US, err))
	{
		cancel_statement(conn);
		error_wrap(err, "could not describe the table");
	}
	else if (PQresultStatus(res = PQgetResult(conn)) == PGRES_TUPLES_OK)
	{
		PQclear(PQgetResult(conn)); /* NULL: it is over */
		return res;
	}
	else
		source_error(conn, res, err, "could not describe the table");
	PQclear(res);
	return NULL;
}

static bool
describe(Backfill *backfill, PGconn *conn, Buffer *out, uint64_t *fingerprint, Error *err)
{
	PGresult *res = ask_description(backfill, conn, err);
	WireEntry entry;
	WireRelation relation;
	bool ok = false;

	if (res == NULL)
		return false;
	if (PQntuples(res) != 1 || PQgetisnull(res, 0, 0))
		error_set(err, ERR_DATA, "walrank.describe() knows nothing of %s", backfill->relation);
	else
	{
		Slice bytes = slice_make(PQgetvalue(res, 0, 0), (size_t) PQgetlength(res, 0, 0));

		ok =
			wire_entry(bytes, &entry) && entry.kind == ENTRY_RELATION && wire_relation(entry.body, &relation);
		if (ok)
		{
			buffer_reset(out);
			buffer_append_slice(out, bytes);
			*fingerprint = relation.fingerprint;
		}
		else
			error_set(err, ERR_CONFIG, "walrank.describe() gave what this version does not understand");
	}
	PQclear(res);
	return ok;
}

void
backfill_unit(const Backfill *backfill, Unit *unit, BackfillStep step)
{
	*unit = (Unit){.kind = UNIT_BACKFILL,
				   .step = step,
				   .id = backfill->id,
				   .chunk = backfill->chunk,
				   .oid = backfill->oid,
				   .point = backfill->point};
}

/* Keys of another version of the table, or in another order, are no place to go on from. */
static bool
same_keys(const Backfill *backfill)
{
	const uint8_t *at = backfill->last.data;

	return backfill->last.len >= BACKFILL_DETAIL_BYTES && memcmp(at, &backfill->fingerprint, 8) == 0 &&
		   memcmp(at + 8, &backfill->key.order, 4) == 0;
}

void
backfill_set_key(Backfill *backfill, Slice key)
{
	buffer_reset(&backfill->last);
	buffer_append_u64(&backfill->last, backfill->fingerprint);
	buffer_append_u32(&backfill->last, backfill->key.order);
	buffer_append_slice(&backfill->last, key);
}

Slice
backfill_last_key(const Backfill *backfill)
{
	return slice_make(backfill->last.data + BACKFILL_DETAIL_BYTES,
					  backfill->last.len - BACKFILL_DETAIL_BYTES);
}

/* From the first key on, under a new id: one that no earlier unit can have, the number of a unit not yet written. */
static void
begin_anew(Backfill *backfill)
{
	JournalHead head;

	journal_appended(backfill->context->journal, &head);
	backfill->id = head.seq + 1;
	backfill->chunk = 0;
	backfill->round = false;
	backfill_set_key(backfill, slice_make(NULL, 0));
}

/* Several parts are one unit; a failure leaves nothing of it. */
static bool
append_begin(Backfill *backfill, uint64_t *seq, Error *err)
{
	Journal *journal = backfill->context->journal;
	Error second;
	Unit unit;

	backfill_unit(backfill, &unit, BACKFILL_BEGIN);
	unit.point = 0;
	journal_keep_relation(journal, backfill->fingerprint, buffer_slice(&backfill->describe));
	if (!journal_begin(journal, &unit, err))
		return false;
	if (!journal_part(journal, PART_RELATION, buffer_slice(&backfill->describe), err) ||
		!journal_part(journal, PART_DETAIL, buffer_slice(&backfill->last), err) || !journal_end(journal, err))
	{
		journal_abandon(journal, &second);
		return false;
	}
	*seq = unit.seq;
	backfill->begun = true;
	return journal_flush(journal, err);
}

static void
say_blockers(Backfill *backfill)
{
	Error err;
	PGresult *res = source_query(
		backfill->observer, 1, &err, "could not list blockers",
		"SELECT pg_catalog.string_agg(pg_catalog.format('pid %s (%s, %s)', pid, usename, state), ', ')"
		" FROM (SELECT * FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL"
		" ORDER BY xact_start LIMIT 5) a",
		0, NULL);

	if (res != NULL && PQntuples(res) == 1 && !PQgetisnull(res, 0, 0))
		log_line(LOG_WARNING, "backfill of %s: the snapshot waits for writing transactions of %s",
				 backfill->relation, PQgetvalue(res, 0, 0));
	PQclear(res);
}

static bool
export_snapshot(Backfill *backfill, Error *err)
{
	char command[160];
	PGresult *res;
	bool ok;

	snprintf(command, sizeof(command),
			 "CREATE_REPLICATION_SLOT \"walrank_backfill_%d_%" PRIu64
			 "\" TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT",
			 (int) getpid(), (uint64_t) clock_monotonic_us());
	if (!PQsendQuery(backfill->exporter, command))
		return source_error(backfill->exporter, NULL, err, "could not create the snapshot's slot");
	ok = wait_result(backfill, backfill->exporter, SLOT_SILENT_US, err);
	if (!ok && !atomic_load(backfill->context->stop))
	{
		say_blockers(backfill);
		ok = wait_result(backfill, backfill->exporter, SLOT_WAIT_US - SLOT_SILENT_US, err);
	}
	if (!ok)
	{
		cancel_statement(backfill->exporter);
		return error_wrap(err, "could not create the snapshot's slot");
	}
	res = PQgetResult(backfill->exporter);
	ok = PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1 && PQnfields(res) >= 3;
	if (!ok)
		source_error(backfill->exporter, res, err, "could not create the snapshot's slot");
	else if (!lsn_parse(PQgetvalue(res, 0, 1), &backfill->point))
		ok = error_set(err, ERR_RETRY, "slot creation gave no consistent point");
	else
		snprintf(backfill->snapshot, sizeof(backfill->snapshot), "%s", PQgetvalue(res, 0, 2));
	PQclear(res);
	backfill->exported_us = clock_monotonic_us();
	while ((res = PQgetResult(backfill->exporter)) != NULL) /* no command is sent: the snapshot stays */
		PQclear(res);
	return ok;
}

/* ---- B2, B3: the reader's snapshot, and the guard ------------------------------------------- */

static bool
import_snapshot(Backfill *backfill, Error *err)
{
	char command[128];
	char *literal = PQescapeLiteral(backfill->reader, backfill->snapshot, strlen(backfill->snapshot));
	bool ok;

	if (literal == NULL)
		return source_error(backfill->reader, NULL, err, "could not quote the snapshot's name");
	snprintf(command, sizeof(command), "SET TRANSACTION SNAPSHOT %s", literal);
	PQfreemem(literal);
	ok =
		source_execute(backfill->reader, err, "could not begin reading", "SET row_security = off", 0, NULL) &&
		/* the index gives the order; to sort the table for each of its ranges would be the longer way */
		source_execute(backfill->reader, err, "could not begin reading", "SET enable_sort = off", 0, NULL) &&
		/* of 17 on; before, even its name is an error */
		(PQserverVersion(backfill->reader) < 170000 ||
		 source_execute(backfill->reader, err, "could not begin reading", "SET transaction_timeout = 0", 0,
						NULL)) &&
		source_execute(backfill->reader, err, "could not begin reading",
					   "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 0, NULL) &&
		source_execute(backfill->reader, err, "could not import the snapshot", command, 0, NULL);
	if (!ok)
		err->class = err->class == ERR_REFUSE ? ERR_RETRY : err->class;
	return ok;
}

static bool
take_snapshot(PGconn *conn, GuardSnapshot *snapshot, Error *err)
{
	PGresult *res = source_query(conn, 1, err, "could not read a snapshot",
								 "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text", 0, NULL);
	bool ok;

	*snapshot = (GuardSnapshot){0};
	if (res == NULL)
		return false;
	ok = (PQntuples(res) == 1 && guard_parse(PQgetvalue(res, 0, 0), snapshot)) ||
		 error_set(err, ERR_RETRY, "the server's snapshot cannot be read");
	PQclear(res);
	return ok;
}

static bool
guard(Backfill *backfill, Error *err)
{
	int64_t deadline = clock_monotonic_us() + GUARD_WAIT_US;
	GuardSnapshot ours;
	bool done = false;
	bool ok = take_snapshot(backfill->reader, &ours, err);

	while (ok && !done)
	{
		GuardSnapshot ordinary;

		ok = !backfill_stopped(backfill, err) && take_snapshot(backfill->observer, &ordinary, err);
		if (!ok)
			break;
		done = guard_agrees(&ours, &ordinary);
		guard_free(&ordinary);
		if (!done && clock_monotonic_us() >= deadline)
			ok = error_set(err, ERR_RETRY, "transactions of the snapshot do not finish");
		else if (!done)
			usleep(BACKFILL_STEP_US);
	}
	guard_free(&ours);
	return ok;
}

/* ---- B4, B5: lock, reach C ------------------------------------------------------------------ */

/*
 * Nobody can rewrite, truncate or alter the table any more; whether somebody did is asked of what is not
 * bound to the snapshot: an older one reads a rewritten table as empty, without any error.  The description is not
 * either, and needs the lock that the reader has: another session would wait behind whoever waits for the reader.
 */
static bool
lock_table(Backfill *backfill, Error *err)
{
	Buffer command = {0};
	Buffer now = {0};
	TableKey key = {0};
	uint64_t fingerprint = 0;
	char filenode[sizeof(backfill->filenode)];
	uint32_t oid = backfill->oid;
	bool ok;

	buffer_printf(&command, "LOCK TABLE ONLY %s IN ACCESS SHARE MODE", backfill->relation);
	buffer_append_byte(&command, '\0');
	memcpy(filenode, backfill->filenode, sizeof(filenode));
	ok = source_execute(backfill->reader, err, "could not lock the table", (const char *) command.data, 0,
						NULL) &&
		 look_up(backfill, err) && describe(backfill, backfill->reader, &now, &fingerprint, err) &&
		 table_key_read(&key, backfill->observer, backfill->oid, err);
	if (ok && (strcmp(filenode, backfill->filenode) != 0 || oid != backfill->oid ||
			   fingerprint != backfill->fingerprint || key.order != backfill->key.order))
	{
		backfill->rewritten = true;
		ok = error_set(err, ERR_RETRY, "rule B4: %s was rewritten, truncated or altered meanwhile",
					   backfill->relation);
	}
	backfill->oid = oid;
	table_key_free(&key);
	buffer_free(&command);
	buffer_free(&now);
	return ok;
}

/* Live changes up to C are then in the journal before the first row. */
static bool
reach_point(Backfill *backfill, Error *err)
{
	Journal *journal = backfill->context->journal;
	int64_t now = clock_monotonic_us();
	int64_t deadline = now + REACH_WAIT_US;
	int64_t beat = now;
	uint64_t seq;
	Lsn h;

	for (;; now = clock_monotonic_us())
	{
		journal_durable(journal, &seq, &h);
		if (h >= backfill->point)
			return true;
		if (backfill_stopped(backfill, err))
			return false;
		if (now >= deadline)
			return error_set(err, ERR_RETRY, "the stream did not reach " LSN_FORMAT " within %d s",
							 LSN_ARGS(backfill->point), (int) (REACH_WAIT_US / 1000000));
		if (now >= beat && !source_beat(backfill->observer, &journal_identity(journal)->stream_id, err))
			return false;
		if (now >= beat)
			beat = now + BEAT_EVERY_US;
		usleep(BACKFILL_STEP_US);
	}
}

/* ---- B6, and the whole ---------------------------------------------------------------------- */

static bool
append_end(Backfill *backfill, Error *err)
{
	Unit unit;

	backfill_unit(backfill, &unit, BACKFILL_END);
	unit.last_chunk = !backfill->cut;
	if (!journal_append(backfill->context->journal, &unit, PART_DETAIL, buffer_slice(&backfill->last), true,
						err))
		return false;
	backfill->begun = false;
	return true;
}

static bool
connect_all(Backfill *backfill, Error *err)
{
	const char *conninfo = backfill->context->settings->conninfo;
	const atomic_bool *stop = backfill->context->stop;

	return source_connect_until(conninfo, SOURCE_SQL, stop, &backfill->reader, err) &&
		   source_connect_until(conninfo, SOURCE_SQL, stop, &backfill->observer, err) &&
		   source_connect_until(conninfo, SOURCE_REPLICATION, stop, &backfill->exporter, err) &&
		   /* who looks into pg_stat_activity sees which is which */
		   source_execute(backfill->reader, err, "could not begin",
						  "SET application_name = 'walrank backfill reader'", 0, NULL) &&
		   source_execute(backfill->observer, err, "could not begin",
						  "SET application_name = 'walrank backfill observer'", 0, NULL);
}

static void
disconnect_all(Backfill *backfill)
{
	PQfinish(backfill->exporter);
	PQfinish(backfill->reader);
	PQfinish(backfill->observer);
	backfill->exporter = backfill->reader = backfill->observer = NULL;
}

static bool
append_abort(Backfill *backfill, uint64_t id, uint32_t chunk, uint32_t oid, Error *err)
{
	Unit unit = {.kind = UNIT_BACKFILL, .step = BACKFILL_ABORT, .id = id, .chunk = chunk, .oid = oid};

	return journal_append(backfill->context->journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, err);
}

/* What is to be read, and from where on. */
static bool
prepare(Backfill *backfill, Error *err)
{
	table_key_free(&backfill->key);
	/* what is read while a publication is broken is soon out of date, and nothing would tell */
	if (!publications_check(backfill->observer, backfill->context->settings, err) ||
		!look_up(backfill, err) ||
		!describe(backfill, backfill->observer, &backfill->describe, &backfill->fingerprint, err) ||
		!table_key_read(&backfill->key, backfill->observer, backfill->oid, err))
		return false;
	if (backfill->id == 0 || !same_keys(backfill))
		begin_anew(backfill);
	buffer_reset(&backfill->first);
	buffer_append_slice(&backfill->first, backfill_last_key(backfill));
	backfill->point = 0;
	backfill->cut = false;
	backfill->chunk_rows = backfill->left_out = 0;
	backfill->limit = (uint64_t) atomic_load(&backfill->context->limits->chunk_rows);
	backfill->nrows = 0;
	buffer_reset(&backfill->rows);
	return true;
}

static bool
read_chunk(Backfill *backfill, Error *err)
{
	Buffer keys = {0};
	uint64_t seq;
	bool ok;

	if (!prepare(backfill, err) || !append_begin(backfill, &seq, err))
		return false;
	/* the list as of BEGIN or later, and before C: what END takes off it has been read */
	ok = !backfill->round ||
		 backfill->context->keys(backfill->context->context, backfill->oid, seq, &keys, err);
	backfill_report(backfill, "exporting snapshot");
	ok = ok && export_snapshot(backfill, err) && import_snapshot(backfill, err) && guard(backfill, err);
	if (ok)
	{
		PQfinish(backfill->exporter); /* the reader keeps the snapshot */
		backfill->exporter = NULL;
		backfill_report(backfill, "locking");
		ok = lock_table(backfill, err);
	}
	if (ok)
	{
		backfill_report(backfill, "waiting for the stream");
		ok = reach_point(backfill, err);
	}
	if (ok)
	{
		backfill_report(backfill, "reading");
		ok = (backfill->round && keys.len == 0) || backfill_read_rows(backfill, &keys, err);
	}
	buffer_free(&keys);
	return ok && append_end(backfill, err);
}

/* The same chunk with a new snapshot, at once: nothing of it was read. */
static bool
begin_again(Backfill *backfill, Error *err)
{
	log_error(LOG_INFO, err, "chunk begins again");
	backfill->rewritten = false;
	if (!append_abort(backfill, backfill->id, backfill->chunk, backfill->oid, err))
		return false;
	backfill->begun = false;
	return true;
}

/* Each chunk has connections of its own: one that was cut is of no further use. */
static bool
read_chunks(Backfill *backfill, Error *err)
{
	for (int rewrites = 0;;)
	{
		bool ok;

		backfill_report(backfill, "connecting");
		ok = connect_all(backfill, err) && read_chunk(backfill, err);
		disconnect_all(backfill);
		if (ok && !backfill->cut)
			return true;
		if (ok)
		{
			backfill->chunk++;
			rewrites = 0;
		}
		else if (!backfill->rewritten || ++rewrites > REWRITES_MAX || !begin_again(backfill, err))
			return false;
	}
}

bool
backfill_table(const BackfillContext *context, const BackfillPlan *plan, Error *err)
{
	Backfill backfill = {.context = context,
						 .relation = plan->relation,
						 .id = plan->id,
						 .chunk = plan->chunk,
						 .round = plan->keys,
						 .progress = {.begun_us = clock_monotonic_us()}};
	bool ok;

	buffer_append_slice(&backfill.last, plan->resume);
	ok = (!plan->open || append_abort(&backfill, plan->open_id, plan->open_chunk, plan->open_oid, err)) &&
		 read_chunks(&backfill, err);
	if (!ok && backfill.begun)
	{
		Error second;

		/* a disk that fails now fails for the receiver as well; the open backfill is aborted at the next start */
		if (!append_abort(&backfill, backfill.id, backfill.chunk, backfill.oid, &second))
			log_error(LOG_WARNING, &second, "could not record the end of a failed backfill");
	}
	table_key_free(&backfill.key);
	buffer_free(&backfill.first);
	buffer_free(&backfill.last);
	buffer_free(&backfill.describe);
	buffer_free(&backfill.rows);
	return ok || error_wrap(err, "backfill of %s", plan->relation);
}
