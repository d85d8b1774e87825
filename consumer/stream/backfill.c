/*
 * backfill.c -- see backfill.h.
 */
#include "stream/backfill.h"

#include <endian.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "stream/publications.h"

#define SLOT_WAIT_US INT64_C(60000000) /* slot creation waits for every writing transaction */
#define GUARD_WAIT_US INT64_C(60000000)
#define REACH_WAIT_US INT64_C(60000000)
#define BEAT_EVERY_US INT64_C(1000000)
#define STEP_US 20000
#define UNIT_ROWS 1000
#define UNIT_ROW_BYTES (256 << 10)
#define XIP_MAX 65536
#define COPY_HEADER_BYTES 19

typedef struct Backfill
{
	const BackfillContext *context;
	const char *relation;
	PGconn *reader;	  /* holds the snapshot and the lock */
	PGconn *exporter; /* walsender with the temporary slot */
	PGconn *observer; /* ordinary snapshots, beats, blockers */
	uint64_t id;
	uint32_t oid;
	char filenode[24];
	Buffer describe; /* Entry message with the Relation */
	uint64_t fingerprint;
	char snapshot[64];
	Lsn point; /* C */
	bool begun;
	bool header_seen;
	Buffer rows;
	uint32_t nrows;
	BackfillProgress progress;
} Backfill;

static void
report(Backfill *backfill, const char *phase)
{
	snprintf(backfill->progress.phase, sizeof(backfill->progress.phase), "%s", phase);
	backfill->progress.point = backfill->point;
	if (backfill->context->progress != NULL)
		backfill->context->progress(backfill->context->progress_context, &backfill->progress);
}

static bool
stopped(const Backfill *backfill, Error *err)
{
	if (!atomic_load(backfill->context->stop))
		return false;
	error_set(err, ERR_RETRY, "stopped");
	return true;
}

/* ---- B1: what the table is, and the snapshot ------------------------------------------------ */

static bool
look_up(Backfill *backfill, Error *err)
{
	PGresult *res = source_query(
		backfill->reader, 3, err, "could not look up the table",
		"SELECT c.oid, pg_catalog.pg_relation_filenode(c.oid), c.relkind FROM pg_catalog.pg_class c"
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
	}
	PQclear(res);
	return ok;
}

static bool
describe(Backfill *backfill, Buffer *out, uint64_t *fingerprint, Error *err)
{
	PGresult *res =
		PQexecParams(backfill->reader, "SELECT walrank.describe($1::pg_catalog.text::pg_catalog.regclass)", 1,
					 NULL, &backfill->relation, NULL, NULL, 1);
	WireEntry entry;
	WireRelation relation;
	bool ok = false;

	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		source_error(backfill->reader, res, err, "could not describe the table");
	else if (PQntuples(res) != 1 || PQgetisnull(res, 0, 0))
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

static void
fill_unit(const Backfill *backfill, Unit *unit, BackfillStep step)
{
	*unit = (Unit){.kind = UNIT_BACKFILL,
				   .step = step,
				   .id = backfill->id,
				   .oid = backfill->oid,
				   .point = backfill->point};
}

static bool
append_begin(Backfill *backfill, Error *err)
{
	Unit unit;
	JournalHead head;

	/* an id no earlier unit can have: the number of a unit not yet written, alone below it */
	journal_appended(backfill->context->journal, &head);
	backfill->id = head.seq + 1;
	fill_unit(backfill, &unit, BACKFILL_BEGIN);
	journal_keep_relation(backfill->context->journal, backfill->fingerprint,
						  buffer_slice(&backfill->describe));
	if (!journal_append(backfill->context->journal, &unit, PART_RELATION, buffer_slice(&backfill->describe),
						false, err))
		return false;
	backfill->begun = true;
	return true;
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

/* Waits for one result without losing the ability to stop. */
static bool
wait_result(Backfill *backfill, PGconn *conn, int64_t timeout_us, Error *err)
{
	int64_t deadline = clock_monotonic_us() + timeout_us;

	for (;;)
	{
		struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

		if (stopped(backfill, err))
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

static void
cancel_query(PGconn *conn)
{
	PGcancel *cancel = PQgetCancel(conn);
	char text[256];

	if (cancel != NULL)
		PQcancel(cancel, text, sizeof(text));
	PQfreeCancel(cancel);
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
	if (!wait_result(backfill, backfill->exporter, SLOT_WAIT_US, err))
	{
		say_blockers(backfill);
		cancel_query(backfill->exporter);
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

typedef struct Snapshot
{
	uint64_t xmin;
	uint64_t xmax;
	uint64_t *xip;
	size_t nxip;
} Snapshot;

/* "xmin:xmax:xip,xip,.." */
static bool
parse_snapshot(const char *text, Snapshot *snapshot)
{
	char *at;

	snapshot->nxip = 0;
	snapshot->xip = NULL;
	snapshot->xmin = strtoull(text, &at, 10);
	if (*at != ':')
		return false;
	snapshot->xmax = strtoull(at + 1, &at, 10);
	if (*at != ':')
		return false;
	at++;
	snapshot->xip = xcalloc(strlen(at) / 2 + 1, sizeof(uint64_t));
	while (*at >= '0' && *at <= '9' && snapshot->nxip < XIP_MAX)
	{
		snapshot->xip[snapshot->nxip++] = strtoull(at, &at, 10);
		if (*at == ',')
			at++;
	}
	return *at == '\0';
}

static bool
take_snapshot(PGconn *conn, Snapshot *snapshot, Error *err)
{
	PGresult *res = source_query(conn, 1, err, "could not read a snapshot",
								 "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text", 0, NULL);
	bool ok;

	*snapshot = (Snapshot){0};
	if (res == NULL)
		return false;
	ok = (PQntuples(res) == 1 && parse_snapshot(PQgetvalue(res, 0, 0), snapshot)) ||
		 error_set(err, ERR_RETRY, "the server's snapshot cannot be read");
	PQclear(res);
	return ok;
}

static bool
contains(const Snapshot *snapshot, uint64_t xid)
{
	for (size_t i = 0; i < snapshot->nxip; i++)
		if (snapshot->xip[i] == xid)
			return true;
	return false;
}

/* Every xid that ours counts as finished is finished for an ordinary snapshot, too. */
static bool
agrees(const Snapshot *ours, const Snapshot *ordinary)
{
	if (ordinary->xmax < ours->xmax)
		return false;
	for (size_t i = 0; i < ordinary->nxip; i++)
	{
		uint64_t xid = ordinary->xip[i];

		if (xid >= ours->xmin && xid < ours->xmax && !contains(ours, xid))
			return false;
	}
	return true;
}

/* Servers with an old defect export a commit that is not in the commit log yet: reading then would damage the source. */
static bool
guard(Backfill *backfill, Error *err)
{
	int64_t deadline = clock_monotonic_us() + GUARD_WAIT_US;
	Snapshot ours;
	bool done = false;
	bool ok = take_snapshot(backfill->reader, &ours, err);

	while (ok && !done)
	{
		Snapshot ordinary;

		ok = !stopped(backfill, err) && take_snapshot(backfill->observer, &ordinary, err);
		if (!ok)
			break;
		done = agrees(&ours, &ordinary);
		free(ordinary.xip);
		if (!done && clock_monotonic_us() >= deadline)
			ok = error_set(err, ERR_RETRY, "transactions of the snapshot do not finish");
		else if (!done)
			usleep(STEP_US);
	}
	free(ours.xip);
	return ok;
}

/* ---- B4, B5: lock, reach C, read ------------------------------------------------------------ */

static bool
lock_table(Backfill *backfill, Error *err)
{
	Buffer command = {0};
	Buffer now = {0};
	uint64_t fingerprint = 0;
	char filenode[sizeof(backfill->filenode)];
	uint32_t oid = backfill->oid;
	bool ok;

	buffer_printf(&command, "LOCK TABLE ONLY %s IN ACCESS SHARE MODE", backfill->relation);
	buffer_append_byte(&command, '\0');
	memcpy(filenode, backfill->filenode, sizeof(filenode));
	ok = source_execute(backfill->reader, err, "could not lock the table", (const char *) command.data, 0,
						NULL) &&
		 look_up(backfill, err) && describe(backfill, &now, &fingerprint, err);
	if (ok && (strcmp(filenode, backfill->filenode) != 0 || oid != backfill->oid ||
			   fingerprint != backfill->fingerprint))
		ok =
			error_set(err, ERR_RETRY, "%s was rewritten, truncated or altered meanwhile", backfill->relation);
	backfill->oid = oid;
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
		if (stopped(backfill, err))
			return false;
		if (now >= deadline)
			return error_set(err, ERR_RETRY, "the stream did not reach " LSN_FORMAT " within %d s",
							 LSN_ARGS(backfill->point), (int) (REACH_WAIT_US / 1000000));
		if (now >= beat && !source_beat(backfill->observer, &journal_identity(journal)->stream_id, err))
			return false;
		if (now >= beat)
			beat = now + BEAT_EVERY_US;
		usleep(STEP_US);
	}
}

static bool
append_rows(Backfill *backfill, Error *err)
{
	Unit unit;

	if (backfill->nrows == 0)
		return true;
	fill_unit(backfill, &unit, BACKFILL_ROWS);
	if (!journal_append(backfill->context->journal, &unit, PART_ROWS, buffer_slice(&backfill->rows), false,
						err))
		return false;
	backfill->progress.rows += backfill->nrows;
	backfill->progress.bytes += backfill->rows.len;
	buffer_reset(&backfill->rows);
	backfill->nrows = 0;
	report(backfill, "reading");
	return true;
}

static bool
take_row(Backfill *backfill, Slice row, Error *err)
{
	WireEntry entry;
	WireCursor cursor;
	WireField field;
	uint8_t len[10];

	if (!wire_entry(row, &entry) || entry.kind != ENTRY_CHANGE)
		return error_set(err, ERR_CONFIG, "walrank.encode() gave what this version does not understand");
	cursor = wire_cursor(entry.body);
	if (wire_done(&cursor) || !wire_field(&cursor, &field) || field.number != CHANGE_RELATION ||
		field.type != WIRE_FIXED64 || field.varint != backfill->fingerprint)
		return error_set(err, ERR_RETRY, "a row of %s is of another version of the table",
						 backfill->relation);
	buffer_append(&backfill->rows, len, (size_t) (wire_put_varint(len, row.len) - len));
	buffer_append_slice(&backfill->rows, row);
	backfill->nrows++;
	if (backfill->nrows >= UNIT_ROWS || backfill->rows.len >= UNIT_ROW_BYTES)
		return append_rows(backfill, err);
	return true;
}

static uint32_t
read_be(const uint8_t *at, int bytes)
{
	uint32_t v = 0;

	for (int i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

/*
 * PostgreSQL's binary COPY: a header before the first row, then per row a 16-bit field count and
 * 32-bit lengths; -1 as the count ends it.  The server sends whole rows per message.
 */
static bool
take_copy_data(Backfill *backfill, Slice data, Error *err)
{
	static const uint8_t signature[] = "PGCOPY\n\377\r\n"; /* its end is part of it */
	const uint8_t *at = data.data;
	const uint8_t *end = at + data.len;

	if (!backfill->header_seen)
	{
		if (data.len < COPY_HEADER_BYTES || memcmp(at, signature, sizeof(signature)) != 0 ||
			read_be(at + 15, 4) > data.len - COPY_HEADER_BYTES)
			return error_set(err, ERR_RETRY, "the server's binary COPY begins strangely");
		at += COPY_HEADER_BYTES + read_be(at + 15, 4);
		backfill->header_seen = true;
	}
	while (at < end)
	{
		uint32_t len;

		if (end - at >= 2 && read_be(at, 2) == 0xffff)
			return true;
		if (end - at < 6 || read_be(at, 2) != 1 || (len = read_be(at + 2, 4)) > (size_t) (end - at - 6))
			return error_set(err, ERR_RETRY, "the server's binary COPY cannot be read");
		if (!take_row(backfill, slice_make(at + 6, len), err))
			return false;
		at += 6 + len;
	}
	return true;
}

static bool
begin_copy(Backfill *backfill, Error *err)
{
	Buffer command = {0};
	PGresult *res;
	bool ok;

	/* t.* is the row also where there is a column t */
	buffer_printf(&command,
				  "COPY (SELECT walrank.encode(t.*, %" PRId64 ") FROM ONLY %s t) TO STDOUT (FORMAT binary)",
				  backfill->context->settings->max_value_bytes, backfill->relation);
	buffer_append_byte(&command, '\0');
	res = PQexec(backfill->reader, (const char *) command.data);
	buffer_free(&command);
	ok = PQresultStatus(res) == PGRES_COPY_OUT ||
		 source_error(backfill->reader, res, err, "could not read the table");
	PQclear(res);
	return ok;
}

static bool
end_copy(Backfill *backfill, Error *err)
{
	PGresult *res = PQgetResult(backfill->reader);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK ||
			  source_error(backfill->reader, res, err, "could not read the table");

	PQclear(res);
	while ((res = PQgetResult(backfill->reader)) != NULL)
		PQclear(res);
	return ok;
}

static bool
read_table(Backfill *backfill, Error *err)
{
	char *data;
	int len;

	if (!begin_copy(backfill, err))
		return false;
	for (;;)
	{
		bool ok;

		len = PQgetCopyData(backfill->reader, &data, 1);
		if (len == -1)
			return append_rows(backfill, err) && end_copy(backfill, err);
		if (len == -2)
			return source_error(backfill->reader, NULL, err, "could not read the table");
		if (len == 0)
		{
			struct pollfd fd = {.fd = PQsocket(backfill->reader), .events = POLLIN};

			if (stopped(backfill, err))
				return false;
			poll(&fd, 1, 200);
			if (!PQconsumeInput(backfill->reader))
				return source_error(backfill->reader, NULL, err, "the connection was lost");
			continue;
		}
		ok = take_copy_data(backfill, slice_make(data, (size_t) len), err);
		PQfreemem(data);
		if (!ok)
			return false;
	}
}

/* ---- B6, and the whole ---------------------------------------------------------------------- */

static bool
append_end(Backfill *backfill, Error *err)
{
	Unit unit;

	fill_unit(backfill, &unit, BACKFILL_END);
	unit.last_chunk = true;
	return journal_append(backfill->context->journal, &unit, PART_DETAIL, slice_make(NULL, 0), true, err);
}

static bool
connect_all(Backfill *backfill, Error *err)
{
	const char *conninfo = backfill->context->settings->conninfo;

	const atomic_bool *stop = backfill->context->stop;

	return source_connect_until(conninfo, SOURCE_SQL, stop, &backfill->reader, err) &&
		   source_connect_until(conninfo, SOURCE_SQL, stop, &backfill->observer, err) &&
		   source_connect_until(conninfo, SOURCE_REPLICATION, stop, &backfill->exporter, err);
}

static bool
append_abort(Backfill *backfill, Error *err)
{
	Unit unit;

	fill_unit(backfill, &unit, BACKFILL_ABORT);
	unit.point = 0;
	return journal_append(backfill->context->journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, err);
}

static bool
run_backfill(Backfill *backfill, bool interrupted, Error *err)
{
	report(backfill, "connecting");
	/* what is read while a publication is broken is soon out of date, and nothing would tell */
	if (!connect_all(backfill, err) ||
		!publications_check(backfill->observer, backfill->context->settings, err) ||
		!look_up(backfill, err) || !describe(backfill, &backfill->describe, &backfill->fingerprint, err) ||
		(interrupted && !append_abort(backfill, err)) || !append_begin(backfill, err))
		return false;
	report(backfill, "exporting snapshot");
	if (!export_snapshot(backfill, err) || !import_snapshot(backfill, err) || !guard(backfill, err))
		return false;
	PQfinish(backfill->exporter); /* the reader keeps the snapshot */
	backfill->exporter = NULL;
	report(backfill, "locking");
	if (!lock_table(backfill, err))
		return false;
	report(backfill, "waiting for the stream");
	if (!reach_point(backfill, err))
		return false;
	report(backfill, "reading");
	return read_table(backfill, err) && append_end(backfill, err);
}

bool
backfill_table(const BackfillContext *context, const char *relation, bool interrupted, Error *err)
{
	Backfill backfill = {.context = context, .relation = relation};
	bool ok = run_backfill(&backfill, interrupted, err);

	PQfinish(backfill.exporter);
	PQfinish(backfill.reader);
	PQfinish(backfill.observer);
	if (!ok && backfill.begun)
	{
		Error second;

		/* a disk that fails now fails for the receiver as well; the open backfill is aborted at the next start */
		if (!append_abort(&backfill, &second))
			log_error(LOG_WARNING, &second, "could not record the end of a failed backfill");
	}
	buffer_free(&backfill.describe);
	buffer_free(&backfill.rows);
	return ok || error_wrap(err, "backfill of %s", relation);
}
