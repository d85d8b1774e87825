/*
 * connect.c -- see connect.h.
 */
#include "stream/connect.h"

#include <libpq-events.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
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

PGresult *
source_run(PGconn *conn, const char *sql, int nparams, const char *const *params)
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

bool
source_state_is(const PGresult *res, const char *state)
{
	const char *field = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;

	return field != NULL && strcmp(field, state) == 0;
}

PGresult *
source_query(PGconn *conn, int columns, Error *err, const char *what, const char *sql, int nparams,
			 const char *const *params)
{
	PGresult *res = source_run(conn, sql, nparams, params);

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
	PGresult *res = source_run(conn, sql, nparams, params);
	ExecStatusType status = PQresultStatus(res);
	bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

	if (!ok)
		source_error(conn, res, err, what);
	PQclear(res);
	return ok;
}
