/*
 * session.c -- see session.h.
 */
#include "stream/session.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#define DURABLE_WAIT_US INT64_C(30000000)
#define CONFIG_BYTES_MAX 8192

/* Appended and synced, or an error. */
static bool
append_durable(Journal *journal, Unit *unit, Slice detail, Error *err)
{
	uint64_t durable;
	Lsn lsn;

	if (!journal_append(journal, unit, PART_DETAIL, detail, true, err))
		return false;
	journal_durable(journal, &durable, &lsn);
	return durable >= unit->seq || error_set(err, ERR_RETRY, "the journal was not synced in time");
}

static bool
append_config(const SessionContext *context, Error *err)
{
	Unit unit = {.kind = UNIT_CONFIG};
	Buffer text = {0};
	char last[CONFIG_BYTES_MAX];
	size_t len = 0;
	bool found;
	bool ok;

	source_config_text(context->settings, context->engine, context->libm, &text);
	ok = fs_read_file(context->state_dirfd, SESSION_CONFIG_FILE, sizeof(last), last, &len, &found, err);
	if (ok && !(found && slice_equal(slice_make(last, len), buffer_slice(&text))))
		/* the unit first: a crash between the two only repeats an equal CONFIG */
		ok = append_durable(context->journal, &unit, buffer_slice(&text), err) &&
			 fs_replace(context->state_dirfd, SESSION_CONFIG_FILE, buffer_slice(&text), err);
	buffer_free(&text);
	return ok || error_wrap(err, "could not record the configuration");
}

static bool
append_connect(const SessionContext *context, const Session *session, uint64_t epoch, Error *err)
{
	Unit unit = {.kind = UNIT_CONNECT, .timeline = session->identity.timeline, .owner_epoch = epoch};

	return append_durable(context->journal, &unit, slice_make(NULL, 0), err) ||
		   error_wrap(err, "could not record the connection");
}

/*
 * All that was appended is synced, so H is the end of the journal.  Others may append meanwhile (a backfill's
 * rows, RESCORE): units that move no position.
 */
static bool
settle_journal(Journal *journal, JournalHead *head, Error *err)
{
	if (!journal_flush(journal, err))
		return false;
	journal_appended(journal, head);
	if (head->seq > 0 && !journal_wait_durable(journal, head->seq, DURABLE_WAIT_US))
		return error_set(err, ERR_RETRY, "the journal was not synced in time");
	return true;
}

#define CONTROL_READS 3

/* A row that seems to have fallen back is read again: a commit arrives a moment before it is visible (C5). */
static bool
check_history(History *history, PGconn *sql, SourceControl *control, Error *err)
{
	const StreamId *stream_id = &history->ours->stream_id;

	for (int i = 0; i < CONTROL_READS; i++)
	{
		if (!source_control(sql, stream_id, control, err))
			return false;
		if (control->owner_epoch >= history->head->owner_epoch && control->beat >= history->head->beat)
			break;
	}
	return history_check(history, err);
}

static bool
read_and_check(const SessionContext *context, Session *session, PGconn *sql, const JournalHead *head,
			   SourceControl *control, Error *err)
{
	const JournalIdentity *ours = journal_identity(context->journal);
	SourceIdentity *server = &session->identity;
	uint32_t timeline = history_timeline_ours(ours, head);
	History history = {
		.ours = ours, .head = head, .server = server, .slot = &session->slot, .control = control};

	if (!source_identify(session->conn, sql, server, err) || !history_check_server(ours, server, err) ||
		!source_slot(sql, context->settings->slot, &session->slot, err))
		return false;
	if (timeline != 0 && server->timeline > timeline &&
		!source_timeline(session->conn, server, timeline, &history.timeline, err))
		return false;
	return source_xid(sql, head->xid, &history.xid, err) && check_history(&history, sql, control, err) &&
		   source_check_publications(sql, context->settings->publications, err);
}

/* Somebody may have moved the slot between the check and the start. */
static bool
check_again(const SessionContext *context, Session *session, PGconn *sql, Error *err)
{
	return source_slot(sql, context->settings->slot, &session->slot, err) &&
		   history_check_started(journal_identity(context->journal), &session->slot, session->start, err);
}

static bool
start_stream(const SessionContext *context, Session *session, PGconn *sql, Error *err)
{
	const JournalIdentity *ours = journal_identity(context->journal);
	SourceControl control;
	JournalHead head;
	uint64_t epoch;

	if (!settle_journal(context->journal, &head, err) ||
		!read_and_check(context, session, sql, &head, &control, err))
		return false;
	if (!append_config(context, err) ||
		!source_take_epoch(sql, &ours->stream_id, control.owner_epoch, &epoch, err) ||
		!append_connect(context, session, epoch, err) || !settle_journal(context->journal, &head, err))
		return false;
	session->start = head.end_lsn;
	return source_start(session->conn, context->settings, session->start, err) &&
		   check_again(context, session, sql, err);
}

bool
session_open(const SessionContext *context, Session *session, Error *err)
{
	PGconn *sql = NULL;
	bool ok;

	memset(session, 0, sizeof(*session));
	ok = source_connect_until(context->settings->conninfo, SOURCE_SQL, context->stop, &sql, err) &&
		 source_connect_until(context->settings->conninfo, SOURCE_REPLICATION, context->stop, &session->conn,
							  err) &&
		 start_stream(context, session, sql, err);
	PQfinish(sql);
	if (!ok)
		session_close(session);
	else if (session->identity.synchronous)
		log_line(LOG_WARNING,
				 "synchronous_standby_names of the source may name us: its commits would wait for our disk");
	return ok;
}

void
session_close(Session *session)
{
	PQfinish(session->conn);
	session->conn = NULL;
}
