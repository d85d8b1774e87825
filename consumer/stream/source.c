/*
 * source.c -- see source.h.
 */
#include "stream/source.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-events.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define STOP_LOOK_MS 50 /* who waits for the server looks this often whether to stop */
/* synchronous_commit: a commit of ours must never wait for a standby, who may be ourselves. */
#define OPTIONS_OURS                                                                                         \
	"-c search_path= -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 "     \
	"-c idle_session_timeout=0 -c synchronous_commit=local -c DateStyle=ISO -c IntervalStyle=postgres -c "   \
	"extra_float_digits=1"

/* What the user asked for in `options` stays in force where ours do not speak. */
static bool
session_options(const char *conninfo, Buffer *out, Error *err)
{
	char *message = NULL;
	PQconninfoOption *all = PQconninfoParse(conninfo, &message);

	if (all == NULL)
	{
		error_set(err, ERR_CONFIG, "source.conninfo cannot be read: %s",
				  message != NULL ? message : "out of memory");
		if (strchr(err->message, '\n') != NULL)
			*strchr(err->message, '\n') = '\0';
		PQfreemem(message);
		return false;
	}
	for (PQconninfoOption *o = all; o->keyword != NULL; o++)
		if (strcmp(o->keyword, "options") == 0 && o->val != NULL)
			buffer_printf(out, "%s ", o->val);
	PQconninfoFree(all);
	buffer_printf(out, "%s", OPTIONS_OURS);
	buffer_append_byte(out, '\0');
	return true;
}

/* The first line of a libpq message, without its end. */
static void
first_line(const char *text, char *out, size_t len)
{
	const char *at = text;

	if (strncmp(at, "ERROR:  ", 8) == 0 || strncmp(at, "FATAL:  ", 8) == 0)
		at += 8;
	snprintf(out, len, "%.*s", (int) strcspn(at, "\n"), at);
}

static void
ignore_notice(void *arg, const PGresult *res)
{
}

/* ---- connecting ---------------------------------------------------------------------------- */

static PGconn *
connect_now(const char *conninfo, SourceKind kind, const char *options)
{
	const char *keywords[] = {"connect_timeout",
							  "keepalives_idle",
							  "keepalives_interval",
							  "keepalives_count",
							  "tcp_user_timeout",
							  "dbname",
							  "application_name",
							  "client_encoding",
							  "options",
							  kind == SOURCE_REPLICATION ? "replication" : NULL,
							  NULL};
	const char *values[] = {
		"10",	  "10",		 "5",	 "4",	  "60000",
		conninfo, "walrank", "UTF8", options, kind == SOURCE_REPLICATION ? "database" : NULL,
		NULL};

	return PQconnectdbParams(keywords, values, 1);
}

/*
 * Names are resolved, hosts tried one after the other, each with its timeout: libpq can do all that
 * only while it blocks.  So it blocks a thread of its own, which whoever has to stop leaves behind.
 */
typedef struct Connecting
{
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool finished;
	bool left_behind;
	char *conninfo;
	char *options;
	SourceKind kind;
	PGconn *conn;
} Connecting;

static void
connecting_free(Connecting *connecting)
{
	pthread_mutex_destroy(&connecting->lock);
	pthread_cond_destroy(&connecting->moved);
	free(connecting->conninfo);
	free(connecting->options);
	free(connecting);
}

static void *
connecting_main(void *arg)
{
	Connecting *connecting = arg;
	PGconn *conn;
	bool left_behind;

	pthread_setname_np(pthread_self(), "connect");
	conn = connect_now(connecting->conninfo, connecting->kind, connecting->options);
	pthread_mutex_lock(&connecting->lock);
	connecting->conn = conn;
	connecting->finished = true;
	left_behind = connecting->left_behind;
	pthread_cond_signal(&connecting->moved);
	pthread_mutex_unlock(&connecting->lock);
	if (left_behind)
	{
		PQfinish(conn);
		connecting_free(connecting);
	}
	return NULL;
}

static bool
wait_connected(Connecting *connecting, const atomic_bool *stop)
{
	bool finished;

	pthread_mutex_lock(&connecting->lock);
	while (!connecting->finished && !atomic_load(stop))
	{
		int64_t until_us = clock_wall_us() + STOP_LOOK_MS * 1000;
		struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

		pthread_cond_timedwait(&connecting->moved, &connecting->lock, &until);
	}
	finished = connecting->finished;
	connecting->left_behind = !finished;
	pthread_mutex_unlock(&connecting->lock);
	return finished;
}

static bool
connect_until(const char *conninfo, SourceKind kind, const char *options, const atomic_bool *stop,
			  PGconn **conn, Error *err)
{
	Connecting *connecting = xcalloc(1, sizeof(*connecting));
	pthread_t thread;

	pthread_mutex_init(&connecting->lock, NULL);
	pthread_cond_init(&connecting->moved, NULL);
	connecting->conninfo = xstrdup(conninfo);
	connecting->options = xstrdup(options);
	connecting->kind = kind;
	if (pthread_create(&thread, NULL, connecting_main, connecting) != 0)
	{
		connecting_free(connecting);
		return error_set(err, ERR_RETRY, "could not connect to the source: no thread for it");
	}
	pthread_detach(thread);
	if (!wait_connected(connecting, stop))
		return error_set(err, ERR_RETRY, "stopped while connecting to the source");
	*conn = connecting->conn;
	connecting_free(connecting);
	return true;
}

/* Carries the stop flag with the connection (PQinstanceData). */
static int
stop_flag(PGEventId event, void *info, void *arg)
{
	return 1;
}

bool
source_connect_until(const char *conninfo, SourceKind kind, const atomic_bool *stop, PGconn **conn,
					 Error *err)
{
	Buffer options = {0};
	char line[512];
	bool ok;

	*conn = NULL;
	ok = session_options(conninfo, &options, err);
	if (ok && stop != NULL)
		ok = connect_until(conninfo, kind, (const char *) options.data, stop, conn, err);
	else if (ok)
		*conn = connect_now(conninfo, kind, (const char *) options.data);
	buffer_free(&options);
	if (!ok)
		return false;
	if (*conn == NULL)
		return error_set(err, ERR_RETRY, "could not connect to the source: out of memory");
	if (PQstatus(*conn) != CONNECTION_OK)
	{
		first_line(PQerrorMessage(*conn), line, sizeof(line));
		error_set(err, ERR_RETRY, "could not connect to the source: %s", line);
		PQfinish(*conn);
		*conn = NULL;
		return false;
	}
	PQsetNoticeReceiver(*conn, ignore_notice, NULL);
	if (stop != NULL && PQregisterEventProc(*conn, stop_flag, "stop", NULL))
		PQsetInstanceData(*conn, stop_flag, (void *) (uintptr_t) stop);
	return true;
}

bool
source_connect(const char *conninfo, SourceKind kind, PGconn **conn, Error *err)
{
	return source_connect_until(conninfo, kind, NULL, conn, err);
}

/* ---- errors and statements ------------------------------------------------------------------ */

typedef struct StateClass
{
	const char *prefix;
	ErrorClass class;
} StateClass;

/* The first prefix that fits decides. */
static const StateClass state_classes[] = {
	{"55006", ERR_RETRY},  /* slot still active for a connection that is going away */
	{"55P03", ERR_RETRY},  /* lock not available */
	{"55000", ERR_REFUSE}, /* slot invalidated, wal_level too low */
	{"0A000", ERR_CONFIG}, /* publication we cannot honour */
	{"22023", ERR_CONFIG}, /* invalid plugin option, plugin not on the allow-list */
	{"42501", ERR_CONFIG}, /* no privilege */
	{"58P01", ERR_CONFIG}, /* library not installed */
	{"3F000", ERR_CONFIG}, /* no schema walrank */
	{"42P01", ERR_CONFIG}, /* no table: extension missing */
	{"42883", ERR_CONFIG}, /* no function: extension missing or old */
	{"42704", ERR_REFUSE}, /* slot or publication does not exist */
	{"42710", ERR_REFUSE}, /* slot exists already */
	{"", ERR_RETRY},
};

bool
source_error(PGconn *conn, const PGresult *res, Error *err, const char *what)
{
	const char *state = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *hint = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
	const char *primary = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const StateClass *class = state_classes;
	char line[512];

	first_line(primary != NULL ? primary : PQerrorMessage(conn), line, sizeof(line));
	while (strncmp(class->prefix, state != NULL ? state : "", strlen(class->prefix)) != 0)
		class ++;
	if (state == NULL || PQstatus(conn) != CONNECTION_OK)
		error_set(err, ERR_RETRY, "%s: %s", what, line[0] != '\0' ? line : "connection lost");
	else
		error_set(err, class->class, "%s: %s", what, line);
	if (hint != NULL)
		error_hint(err, "%s", hint);
	else if (state != NULL &&
			 (strcmp(state, "42P01") == 0 || strcmp(state, "42883") == 0 || strcmp(state, "3F000") == 0))
		error_hint(err,
				   "Run \"walrank init\" in this database: it creates the extension and its publications.");
	return false;
}

/* Until a result is there; false when the connection's owner has to stop. */
static bool
wait_result(PGconn *conn, const atomic_bool *stop)
{
	while (PQisBusy(conn))
	{
		struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

		if (atomic_load(stop))
			return false;
		poll(&fd, 1, STOP_LOOK_MS);
		if (!PQconsumeInput(conn))
			return true; /* PQgetResult says what happened */
	}
	return true;
}

/* As PQexec and PQexecParams, but a server that does not answer holds nobody who has to stop. NULL: see conn. */
static PGresult *
run_statement(PGconn *conn, const char *sql, int nparams, const char *const *params)
{
	const atomic_bool *stop = PQinstanceData(conn, stop_flag);
	PGresult *last = NULL;
	PGresult *res;
	bool copying = false;

	if (stop == NULL)
		return nparams == 0 ? PQexec(conn, sql)
							: PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0);
	if (!(nparams == 0 ? PQsendQuery(conn, sql)
					   : PQsendQueryParams(conn, sql, nparams, NULL, params, NULL, NULL, 0)))
		return NULL;
	while (!copying && wait_result(conn, stop) && (res = PQgetResult(conn)) != NULL)
	{
		PQclear(last);
		last = res;
		copying = PQresultStatus(res) == PGRES_COPY_BOTH || PQresultStatus(res) == PGRES_COPY_OUT;
		if (PQstatus(conn) != CONNECTION_OK)
			break;
	}
	return last;
}

static bool
source_state_is(const PGresult *res, const char *one, const char *other)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

	return state != NULL && (strcmp(state, one) == 0 || strcmp(state, other) == 0);
}

PGresult *
source_query(PGconn *conn, int columns, Error *err, const char *what, const char *sql, int nparams,
			 const char *const *params)
{
	PGresult *res = run_statement(conn, sql, nparams, params);

	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		source_error(conn, res, err, what);
	else if (PQnfields(res) < columns)
		error_set(err, ERR_RETRY, "%s: the server answered with %d columns instead of %d", what,
				  PQnfields(res), columns);
	else
		return res;
	PQclear(res);
	return NULL;
}

bool
source_execute(PGconn *conn, Error *err, const char *what, const char *sql, int nparams,
			   const char *const *params)
{
	PGresult *res = run_statement(conn, sql, nparams, params);
	ExecStatusType status = PQresultStatus(res);
	bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

	if (!ok)
		source_error(conn, res, err, what);
	PQclear(res);
	return ok;
}

/* ---- reading answers --------------------------------------------------------------------- */

static void
get_text(const PGresult *res, int column, char *out, size_t len)
{
	snprintf(out, len, "%s", PQgetvalue(res, 0, column));
}

static bool
get_u64(const PGresult *res, int column, uint64_t *value, Error *err)
{
	const char *text = PQgetvalue(res, 0, column);
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
		return error_set(err, ERR_RETRY, "the server sent \"%.40s\" where a number belongs", text);
	return true;
}

static bool
get_lsn(const PGresult *res, int column, Lsn *lsn, Error *err)
{
	*lsn = 0;
	if (PQgetisnull(res, 0, column))
		return true;
	if (!lsn_parse(PQgetvalue(res, 0, column), lsn))
		return error_set(err, ERR_RETRY, "the server sent \"%.40s\" where a WAL position belongs",
						 PQgetvalue(res, 0, column));
	return true;
}

static bool
identify_database(PGconn *sql, SourceIdentity *identity, Error *err)
{
	static const char query[] =
		"SELECT d.oid, s.setting, coalesce(nullif(pg_catalog.current_setting('synchronous_standby_names'), "
		"'')"
		" ~* '(\\*|walrank)', false)"
		" FROM pg_catalog.pg_database d, pg_catalog.pg_settings s"
		" WHERE d.datname = pg_catalog.current_database() AND s.name = 'wal_sender_timeout'";
	PGresult *res = source_query(sql, 3, err, "could not read the server's settings", query, 0, NULL);
	uint64_t oid = 0;
	uint64_t timeout = 0;
	bool ok;

	if (res == NULL)
		return false;
	ok = PQntuples(res) == 1 || error_set(err, ERR_RETRY, "the server does not know its own database");
	ok = ok && get_u64(res, 0, &oid, err) && get_u64(res, 1, &timeout, err);
	if (ok)
	{
		identity->database_oid = (uint32_t) oid;
		identity->wal_sender_timeout_ms = (int64_t) timeout;
		identity->synchronous = PQgetvalue(res, 0, 2)[0] == 't';
		identity->server_version = PQserverVersion(sql);
	}
	PQclear(res);
	return ok;
}

bool
source_identify(PGconn *replication, PGconn *sql, SourceIdentity *identity, Error *err)
{
	PGresult *res =
		source_query(replication, 4, err, "could not identify the server", "IDENTIFY_SYSTEM", 0, NULL);
	uint64_t timeline = 0;
	bool ok;

	memset(identity, 0, sizeof(*identity));
	if (res == NULL)
		return false;
	ok = PQntuples(res) == 1 || error_set(err, ERR_RETRY, "IDENTIFY_SYSTEM gave no row");
	ok = ok && get_u64(res, 0, &identity->system_identifier, err) && get_u64(res, 1, &timeline, err) &&
		 get_lsn(res, 2, &identity->flushed, err);
	if (ok)
	{
		identity->timeline = (uint32_t) timeline;
		get_text(res, 3, identity->database, sizeof(identity->database));
	}
	PQclear(res);
	return ok && identify_database(sql, identity, err);
}

bool
source_slot(PGconn *sql, const char *slot, SourceSlot *row, Error *err)
{
	/* to_jsonb: invalidation_reason exists only from 17 on, and must not be an error before */
	static const char query[] =
		"SELECT s.slot_type, s.plugin, s.database, s.active, s.confirmed_flush_lsn, s.restart_lsn, "
		"s.wal_status,"
		" pg_catalog.to_jsonb(s) OPERATOR(pg_catalog.->>) 'invalidation_reason',"
		" coalesce(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN "
		"pg_catalog.pg_last_wal_replay_lsn()"
		"  ELSE pg_catalog.pg_current_wal_flush_lsn() END, s.restart_lsn), 0)::bigint"
		" FROM pg_catalog.pg_replication_slots s WHERE s.slot_name OPERATOR(pg_catalog.=) $1";
	PGresult *res = source_query(sql, 9, err, "could not read the replication slot", query, 1, &slot);
	bool ok;

	memset(row, 0, sizeof(*row));
	if (res == NULL)
		return false;
	ok = true;
	if (PQntuples(res) == 1)
	{
		row->found = true;
		row->logical = strcmp(PQgetvalue(res, 0, 0), "logical") == 0;
		get_text(res, 1, row->plugin, sizeof(row->plugin));
		get_text(res, 2, row->database, sizeof(row->database));
		row->active = PQgetvalue(res, 0, 3)[0] == 't';
		ok = get_lsn(res, 4, &row->confirmed_flush, err) && get_lsn(res, 5, &row->restart_lsn, err);
		get_text(res, 6, row->wal_status, sizeof(row->wal_status));
		get_text(res, 7, row->invalidation, sizeof(row->invalidation));
		row->retained_bytes = strtoll(PQgetvalue(res, 0, 8), NULL, 10);
	}
	PQclear(res);
	return ok;
}

bool
source_control(PGconn *sql, const StreamId *stream_id, SourceControl *row, Error *err)
{
	char id[STREAM_ID_TEXT_BYTES];
	const char *params[] = {id};
	PGresult *res;
	bool ok = true;

	memset(row, 0, sizeof(*row));
	stream_id_text(stream_id, id);
	res = source_query(sql, 4, err, "could not read walrank.control",
					   "SELECT slot, state, owner_epoch, beat FROM walrank.control WHERE stream_id "
					   "OPERATOR(pg_catalog.=) $1::pg_catalog.uuid",
					   1, params);
	if (res == NULL)
		return false;
	if (PQntuples(res) == 1)
	{
		row->found = true;
		get_text(res, 0, row->slot, sizeof(row->slot));
		get_text(res, 1, row->state, sizeof(row->state));
		ok = get_u64(res, 2, &row->owner_epoch, err) && get_u64(res, 3, &row->beat, err);
	}
	PQclear(res);
	return ok;
}

bool
source_slot_owned(PGconn *sql, const char *slot, const StreamId *stream_id, bool *owned, Error *err)
{
	char id[STREAM_ID_TEXT_BYTES];
	const char *params[] = {slot, id};
	PGresult *res;

	stream_id_text(stream_id, id);
	res = source_query(sql, 1, err, "could not read walrank.control",
					   "SELECT 1 FROM walrank.control WHERE slot::pg_catalog.text OPERATOR(pg_catalog.=) $1 "
					   "AND stream_id OPERATOR(pg_catalog.<>) $2::pg_catalog.uuid",
					   2, params);
	if (res == NULL)
		return false;
	*owned = PQntuples(res) > 0;
	PQclear(res);
	return true;
}

/* ---- rules C1 to C3 ----------------------------------------------------------------------- */

static const char rebuild_hint[] =
	"To start over: \"walrank teardown\", move the state directory away, empty the sinks, \"walrank init\", "
	"\"walrankd --create\".";

bool
source_check_identity(const JournalIdentity *ours, const SourceIdentity *identity, Error *err)
{
	if (identity->system_identifier != ours->system_identifier)
		error_set(err, ERR_REFUSE,
				  "rule C1: the server's system identifier is %" PRIu64 ", the journal belongs to %" PRIu64,
				  identity->system_identifier, ours->system_identifier);
	else if (identity->database_oid != ours->database_oid)
		error_set(err, ERR_REFUSE,
				  "rule C1: database \"%s\" has OID %u, the journal belongs to OID %u (\"%s\")",
				  identity->database, identity->database_oid, ours->database_oid, ours->database);
	else
		return true;
	return error_hint(err,
					  "Check source.conninfo: this state directory follows another server or database. %s",
					  rebuild_hint);
}

static bool
check_control(const JournalIdentity *ours, const SourceControl *control, Error *err)
{
	char id[STREAM_ID_TEXT_BYTES];

	stream_id_text(&ours->stream_id, id);
	if (!control->found)
		error_set(err, ERR_REFUSE, "rule C1: walrank.control has no row for stream %s", id);
	else if (strcmp(control->slot, ours->slot) != 0)
		error_set(err, ERR_REFUSE,
				  "rule C1: walrank.control names slot \"%s\" for our stream, the journal belongs to \"%s\"",
				  control->slot, ours->slot);
	else if (strcmp(control->state, "ready") != 0)
	{
		error_set(err, ERR_REFUSE, "rule C1: the control row of stream %s is in state \"%s\"", id,
				  control->state);
		return error_hint(err, "Run \"walrankd --create\" again: it goes on where it stopped.");
	}
	else
		return true;
	return error_hint(err, "The extension was recreated or the row deleted. %s", rebuild_hint);
}

static bool
check_slot(const JournalIdentity *ours, const SourceSlot *slot, Error *err)
{
	if (!slot->found)
	{
		error_set(err, ERR_REFUSE, "rule C2: replication slot \"%s\" does not exist", ours->slot);
		return error_hint(err, "A new slot would lack what was written meanwhile. %s", rebuild_hint);
	}
	if (!slot->logical || strcmp(slot->plugin, ours->plugin) != 0)
		error_set(err, ERR_REFUSE, "rule C1: slot \"%s\" uses plugin \"%s\", not \"%s\"", ours->slot,
				  slot->logical ? slot->plugin : "(physical)", ours->plugin);
	else if (strcmp(slot->database, ours->database) != 0)
		error_set(err, ERR_REFUSE, "rule C1: slot \"%s\" belongs to database \"%s\", not \"%s\"", ours->slot,
				  slot->database, ours->database);
	else if (strcmp(slot->wal_status, "lost") == 0 || slot->invalidation[0] != '\0' || slot->restart_lsn == 0)
		error_set(err, ERR_REFUSE, "rule C2: slot \"%s\" is lost: the server removed WAL it needed%s%s",
				  ours->slot, slot->invalidation[0] != '\0' ? ", reason " : "", slot->invalidation);
	else
		return true;
	return error_hint(err, "%s", rebuild_hint);
}

bool
source_check(const JournalIdentity *ours, Lsn h, const SourceIdentity *identity, const SourceSlot *slot,
			 const SourceControl *control, Error *err)
{
	if (!source_check_identity(ours, identity, err) || !check_slot(ours, slot, err) ||
		!check_control(ours, control, err))
		return false;
	if (slot->confirmed_flush > h)
	{
		error_set(err, ERR_REFUSE,
				  "rule C3: slot \"%s\" is confirmed up to " LSN_FORMAT ", the journal ends at " LSN_FORMAT,
				  ours->slot, LSN_ARGS(slot->confirmed_flush), LSN_ARGS(h));
		return error_hint(err,
						  "The slot was recreated or advanced by somebody else, or journal data was lost. %s",
						  rebuild_hint);
	}
	if (h > identity->flushed)
	{
		error_set(err, ERR_REFUSE,
				  "rule C3: the journal ends at " LSN_FORMAT ", the server's WAL at " LSN_FORMAT, LSN_ARGS(h),
				  LSN_ARGS(identity->flushed));
		return error_hint(err, "The server lost history, as after restoring a backup. %s", rebuild_hint);
	}
	return true;
}

/* ---- rule C7 ------------------------------------------------------------------------------- */

bool
source_check_publications(PGconn *sql, const char *publications, Error *err)
{
	/* names as SplitIdentifierString() reads them; the conditions are those of the plugin */
	static const char query[] =
		"SELECT n.name, CASE WHEN p.oid IS NULL THEN 'does not exist'"
		" WHEN p.pubviaroot THEN 'publishes partitions under their root table'"
		" WHEN EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prqual IS "
		"NOT NULL)"
		"  THEN 'has a row filter'"
		" WHEN EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prattrs IS "
		"NOT NULL)"
		"  THEN 'has a column list' END AS why"
		" FROM (SELECT CASE WHEN t ~ '^\".*\"$' THEN replace(substr(t, 2, length(t) - 2), '\"\"', '\"')"
		"  ELSE lower(t) END AS name FROM (SELECT btrim(u) AS t FROM unnest(string_to_array($1, ',')) u) l) n"
		" LEFT JOIN pg_catalog.pg_publication p ON p.pubname::text = n.name ORDER BY why LIMIT 1";
	PGresult *res = source_query(sql, 2, err, "could not look up the publications", query, 1, &publications);
	bool ok;

	if (res == NULL)
		return false;
	ok = PQntuples(res) == 0 || PQgetisnull(res, 0, 1);
	if (!ok)
	{
		error_set(err, ERR_RETRY, "rule C7: publication \"%s\" %s", PQgetvalue(res, 0, 0),
				  PQgetvalue(res, 0, 1));
		error_hint(err, strcmp(PQgetvalue(res, 0, 1), "does not exist") == 0
							? "Create it again with its tables. The tables are then read again."
							: "Use ALTER PUBLICATION to set its tables without WHERE and column lists, and "
							  "publish_via_partition_root = false.");
	}
	PQclear(res);
	return ok;
}

/* ---- the control row ---------------------------------------------------------------------- */

bool
source_control_insert(PGconn *sql, const StreamId *stream_id, const char *slot, Error *err)
{
	char id[STREAM_ID_TEXT_BYTES];
	const char *params[] = {id, slot};

	stream_id_text(stream_id, id);
	return source_execute(sql, err, "could not write walrank.control",
						  "INSERT INTO walrank.control (stream_id, slot, state, owner_epoch, beat, beat_at) "
						  "VALUES ($1::pg_catalog.uuid, $2, "
						  "'creating', 0, 0, pg_catalog.now())",
						  2, params);
}

static bool
update_control(PGconn *sql, const StreamId *stream_id, const char *statement, Error *err)
{
	char id[STREAM_ID_TEXT_BYTES];
	const char *params[] = {id};

	stream_id_text(stream_id, id);
	return source_execute(sql, err, "could not write walrank.control", statement, 1, params);
}

bool
source_control_ready(PGconn *sql, const StreamId *stream_id, Error *err)
{
	return update_control(sql, stream_id,
						  "UPDATE walrank.control SET state = 'ready' WHERE stream_id OPERATOR(pg_catalog.=) "
						  "$1::pg_catalog.uuid",
						  err);
}

bool
source_take_epoch(PGconn *sql, const StreamId *stream_id, uint64_t at_least, uint64_t *epoch, Error *err)
{
	char id[STREAM_ID_TEXT_BYTES];
	char floor[24];
	const char *params[] = {id, floor};
	PGresult *res;
	bool ok;

	stream_id_text(stream_id, id);
	snprintf(floor, sizeof(floor), "%" PRIu64, at_least);
	res = source_query(sql, 1, err, "could not take the owner epoch in walrank.control",
					   "UPDATE walrank.control SET owner_epoch = GREATEST(owner_epoch, $2::pg_catalog.int8) "
					   "OPERATOR(pg_catalog.+) 1 "
					   "WHERE stream_id OPERATOR(pg_catalog.=) $1::pg_catalog.uuid RETURNING owner_epoch",
					   2, params);
	if (res == NULL)
		return false;
	ok = (PQntuples(res) == 1 || error_set(err, ERR_REFUSE, "rule C1: our row of walrank.control is gone")) &&
		 get_u64(res, 0, epoch, err);
	PQclear(res);
	return ok;
}

bool
source_beat(PGconn *sql, const StreamId *stream_id, Error *err)
{
	return source_execute(sql, err, "could not prepare the beat",
						  "SET synchronous_commit = off; SET statement_timeout = '5s'", 0, NULL) &&
		   update_control(
			   sql, stream_id,
			   "UPDATE walrank.control SET beat = beat OPERATOR(pg_catalog.+) 1, beat_at = pg_catalog.now() "
			   "WHERE stream_id OPERATOR(pg_catalog.=) $1::pg_catalog.uuid",
			   err);
}

/* ---- the slot and the stream --------------------------------------------------------------- */

static void
append_identifier(Buffer *out, const char *name)
{
	buffer_append_byte(out, '"');
	for (; *name != '\0'; name++)
	{
		if (*name == '"')
			buffer_append_byte(out, '"');
		buffer_append_byte(out, (uint8_t) *name);
	}
	buffer_append_byte(out, '"');
}

static void
append_literal(Buffer *out, const char *text)
{
	buffer_append_byte(out, '\'');
	for (; *text != '\0'; text++)
	{
		if (*text == '\'')
			buffer_append_byte(out, '\'');
		buffer_append_byte(out, (uint8_t) *text);
	}
	buffer_append_byte(out, '\'');
}

bool
source_create_slot(PGconn *replication, const char *slot, Lsn *consistent, Error *err)
{
	Buffer command = {0};
	PGresult *res;
	bool ok;

	buffer_printf(&command, "CREATE_REPLICATION_SLOT ");
	append_identifier(&command, slot);
	buffer_printf(&command, " LOGICAL %s NOEXPORT_SNAPSHOT", SOURCE_PLUGIN);
	buffer_append_byte(&command, '\0');
	res = source_query(replication, 4, err, "could not create the replication slot",
					   (const char *) command.data, 0, NULL);
	buffer_free(&command);
	if (res == NULL)
		return false;
	ok = (PQntuples(res) == 1 || error_set(err, ERR_RETRY, "slot creation gave no row")) &&
		 get_lsn(res, 1, consistent, err) &&
		 (*consistent != 0 || error_set(err, ERR_RETRY, "slot creation gave no consistent point"));
	PQclear(res);
	return ok;
}

bool
source_drop_slot(PGconn *sql, const char *slot, Error *err)
{
	return source_execute(sql, err, "could not drop the unused replication slot",
						  "SELECT pg_catalog.pg_drop_replication_slot($1)", 1, &slot);
}

static void
append_option(Buffer *out, const char *name, const char *value)
{
	buffer_printf(out, "%s", out->data[out->len - 1] == '(' ? "" : ", ");
	append_identifier(out, name);
	buffer_append_byte(out, ' ');
	append_literal(out, value);
}

bool
source_start(PGconn *replication, const SourceSettings *settings, Lsn start, Error *err)
{
	Buffer command = {0};
	char number[32];
	PGresult *res;
	bool ok;

	buffer_printf(&command, "START_REPLICATION SLOT ");
	append_identifier(&command, settings->slot);
	buffer_printf(&command, " LOGICAL " LSN_FORMAT " (", LSN_ARGS(start));
	append_option(&command, "publication_names", settings->publications);
	snprintf(number, sizeof(number), "%" PRId64, settings->frame_bytes);
	append_option(&command, "frame_bytes", number);
	snprintf(number, sizeof(number), "%" PRId64, settings->max_value_bytes);
	append_option(&command, "max_value_bytes", number);
	append_option(&command, "format", "protobuf");
	buffer_append(&command, ")", 2);
	res = run_statement(replication, (const char *) command.data, 0, NULL);
	ok = PQresultStatus(res) == PGRES_COPY_BOTH;
	if (!ok)
	{
		source_error(replication, res, err, "could not start replication");
		/* C7, broken since it was checked: somebody will repair the publication */
		if (res != NULL && source_state_is(res, "0A000", "42704"))
			err->class = ERR_RETRY;
		error_wrap(err, "%s", (const char *) command.data);
	}
	PQclear(res);
	buffer_free(&command);
	return ok;
}

void
source_config_engine(uint32_t engine, uint64_t libm, Buffer *out)
{
	buffer_printf(out, "engine=%u\nlibm=0x%016" PRIx64 "\n", engine, libm);
}

void
source_config_text(const SourceSettings *settings, uint32_t engine, uint64_t libm, Buffer *out)
{
	buffer_printf(out,
				  "plugin=%s\npublication_names=%s\nframe_bytes=%" PRId64 "\nmax_value_bytes=%" PRId64
				  "\nformat=protobuf\n",
				  SOURCE_PLUGIN, settings->publications, settings->frame_bytes, settings->max_value_bytes);
	source_config_engine(engine, libm, out);
	buffer_printf(out, "part_changes=%" PRId64 "\n", settings->part_changes);
}
