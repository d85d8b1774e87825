/*
 * session.c -- see session.h.
 */
#include "stream/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "stream/publications.h"

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

/* The value of a key in a CONFIG's text, "" when it has none. */
static void
config_value(Slice text, const char *key, char *value, size_t size)
{
	size_t len = strlen(key);

	value[0] = '\0';
	while (text.len > 0)
	{
		const uint8_t *end = memchr(text.data, '\n', text.len);
		size_t line = end != NULL ? (size_t) (end - text.data) : text.len;
		size_t skip = end != NULL ? line + 1 : line;

		if (line > len && memcmp(text.data, key, len) == 0 && text.data[len] == '=')
			snprintf(value, size, "%.*s", (int) (line - len - 1), (const char *) text.data + len + 1);
		text = slice_make(text.data + skip, text.len - skip);
	}
}

/* C1: options may change. What they newly bring is put in doubt, before they count. */
static bool
compare_options(const SessionContext *context, PGconn *sql, Slice last, Error *err)
{
	Unit unit = {.kind = UNIT_GAP};
	JournalHead head;
	char value[CONFIG_BYTES_MAX];
	Buffer gap = {0};
	bool ok;

	config_value(last, "max_value_bytes", value, sizeof(value));
	if (value[0] != '\0' && strtoll(value, NULL, 10) < context->settings->max_value_bytes)
		log_line(LOG_WARNING,
				 "max_value_bytes was raised: values that were too large until now come with the "
				 "next change of their row");
	config_value(last, "publication_names", value, sizeof(value));
	if (value[0] == '\0')
		return true;
	journal_appended(context->journal, &head);
	unit.point = head.end_lsn;
	ok = publications_compare(sql, value, context->settings->publications, &gap, err) &&
		 (gap.len == 0 || append_durable(context->journal, &unit, buffer_slice(&gap), err));
	buffer_free(&gap);
	return ok;
}

static bool
append_config(const SessionContext *context, PGconn *sql, Error *err)
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
		/* the units first: a crash before the file is written only repeats equal ones */
		ok = (!found || compare_options(context, sql, slice_make(last, len), err)) &&
			 append_durable(context->journal, &unit, buffer_slice(&text), err) &&
			 fs_replace(context->state_dirfd, SESSION_CONFIG_FILE, buffer_slice(&text), err);
	buffer_free(&text);
	return ok || error_wrap(err, "could not record the configuration");
}

/* A start position given by hand: every sink learns what it lacks, and every table is read again. */
static bool
append_skip(const SessionContext *context, const Session *session, Lsn h, Error *err)
{
	Unit unit = {.kind = UNIT_GAP, .point = h, .end_lsn = context->skip_to};
	char text[128];

	if (context->skip_to == 0 || context->skip_to == h) /* skipped by an attempt that failed later */
		return true;
	snprintf(text, sizeof(text), "skipped by hand: " LSN_FORMAT " to " LSN_FORMAT, LSN_ARGS(h),
			 LSN_ARGS(context->skip_to));
	if (!history_check_skip(h, context->skip_to, &session->identity, err) ||
		!append_durable(context->journal, &unit, slice_string(text), err))
		return false;
	log_line(LOG_WARNING, "%s: what was committed there is missing, every table is read again", text);
	return true;
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
	if (!source_xid(sql, head->xid, &history.xid, err))
		return false;
	session->undecided = true;
	if (!check_history(&history, sql, control, err))
		return false;
	session->undecided = false;
	return publications_check(sql, context->settings, err);
}

/* Somebody may have moved the slot between the check and the start. */
static bool
check_again(const SessionContext *context, Session *session, PGconn *sql, Error *err)
{
	return source_slot(sql, context->settings->slot, &session->slot, err) &&
		   history_check_started(journal_identity(context->journal), &session->slot, session->start, err);
}

/* The server may ask us to vouch for its commits: they then wait for our disk. */
static bool
warn_synchronous(const Session *session, PGconn *sql, Error *err)
{
	char state[16];

	if (!source_sync_state(sql, session->conn, state, err))
		return false;
	if (session->identity.synchronous || (state[0] != '\0' && strcmp(state, "async") != 0))
		log_line(LOG_WARNING,
				 "the source takes us for a synchronous standby (%s%s): its commits wait for our disk; name "
				 "the standbys in synchronous_standby_names one by one, and not \"walrank\"",
				 state[0] != '\0' ? "sync_state " : "synchronous_standby_names names us", state);
	return true;
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
	if (!append_skip(context, session, head.end_lsn, err) || !append_config(context, sql, err) ||
		!source_take_epoch(sql, &ours->stream_id, control.owner_epoch, &epoch, err) ||
		!append_connect(context, session, epoch, err) ||
		(context->settle != NULL && !context->settle(context->settle_context, context->stop, err)) ||
		!settle_journal(context->journal, &head, err))
		return false;
	session->start = head.end_lsn;
	return source_start(session->conn, context->settings, session->start, err) &&
		   check_again(context, session, sql, err) && warn_synchronous(session, sql, err);
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
	return ok;
}

void
session_close(Session *session)
{
	PQfinish(session->conn);
	session->conn = NULL;
}
