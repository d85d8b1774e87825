/*
 * postgres_session.c -- connection, errors and single statements of sink "postgres".
 *
 * Nobody waits for ever: not for the connection, not for a lock, not for a dead network.
 */
#include "sinks/postgres.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"

#define CONNECT_US_MAX INT64_C(15000000)
#define POLL_MS 100

/* ---- errors ------------------------------------------------------------------------------------- */

/* First match wins.  ERR_DATA: what the row says is refused, so another row may pass. */
static const struct
{
	const char *prefix;
	ErrorClass class;
} sqlstates[] = {
	{"08", ERR_RETRY},	   {"40", ERR_RETRY},	  {"53", ERR_RETRY},	 {"55", ERR_RETRY},
	{"57", ERR_RETRY},	   {"58", ERR_RETRY},	  {"25", ERR_RETRY},	 {"XX", ERR_RETRY},
	{"42501", ERR_CONFIG}, {"42P01", ERR_CONFIG}, {"42P10", ERR_CONFIG}, {"28", ERR_CONFIG},
	{"3D", ERR_CONFIG},	   {"3F", ERR_CONFIG},	  {"42", ERR_CONFIG},	 {"0A", ERR_CONFIG},
	{"21", ERR_DATA},	   {"22", ERR_DATA},	  {"23", ERR_DATA},		 {"44", ERR_DATA},
	{"54", ERR_DATA},	   {"P0", ERR_DATA},	  {NULL, ERR_RETRY},
};

static ErrorClass
classify(const char *sqlstate)
{
	int i = 0;

	if (sqlstate == NULL)
		return ERR_RETRY;
	while (sqlstates[i].prefix != NULL &&
		   strncmp(sqlstate, sqlstates[i].prefix, strlen(sqlstates[i].prefix)) != 0)
		i++;
	return sqlstates[i].class;
}

/* libpq's messages end with a newline and may have several lines. */
void
pg_one_line(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
	for (; *text != '\0'; text++)
		if (*text == '\n' || *text == '\t')
			*text = ' ';
}

bool
pg_connection_error(Sink *sink, const char *what, Error *err)
{
	error_set(err, ERR_RETRY, "%s: %s", what, PQerrorMessage(sink->conn));
	pg_one_line(err->message);
	return false;
}

bool
pg_result_error(Sink *sink, const PGresult *result, const char *what, Error *err)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	if (message == NULL)
		return pg_connection_error(sink, what, err);
	error_set(err, classify(sqlstate), "%s: %s (SQLSTATE %s)", what, message,
			  sqlstate != NULL ? sqlstate : "none");
	pg_one_line(err->message);
	if (err->class != ERR_CONFIG)
		return false;
	if (sqlstate != NULL && strcmp(sqlstate, "42501") == 0)
		return error_hint(
			err, "The sink's role needs CREATE on its database, or else an existing schema " PG_SCHEMA
				 " with its tables to own.");
	if (hint != NULL)
		return error_hint(err, "%s", hint);
	return error_hint(err, "Somebody altered what the sink keeps in its schema: put it back, then restart.");
}

/* ---- statements, one at a time -------------------------------------------------------------------- */

PGresult *
pg_expect(Sink *sink, PGresult *result, const char *what, Error *err)
{
	const ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return result;
	pg_result_error(sink, result, what, err);
	PQclear(result);
	return NULL;
}

bool
pg_execute(Sink *sink, const char *sql, const char *what, Error *err)
{
	PGresult *result = pg_expect(sink, PQexec(sink->conn, sql), what, err);

	PQclear(result);
	return result != NULL;
}

PGresult *
pg_query(Sink *sink, const char *sql, int n, const char *const *values, const char *what, Error *err)
{
	return pg_expect(sink, PQexecParams(sink->conn, sql, n, NULL, values, NULL, NULL, 0), what, err);
}

void
pg_put_identifier(Sink *sink, Buffer *out, const char *name)
{
	char *quoted = PQescapeIdentifier(sink->conn, name, strlen(name));

	/* NULL: not UTF-8, or no memory; an empty identifier fails where it is used */
	buffer_printf(out, "%s", quoted != NULL ? quoted : "\"\"");
	PQfreemem(quoted);
}

void
pg_put_literal(Sink *sink, Buffer *out, const char *text)
{
	char *quoted = PQescapeLiteral(sink->conn, text, strlen(text));

	buffer_printf(out, "%s", quoted != NULL ? quoted : "NULL");
	PQfreemem(quoted);
}

/* IF NOT EXISTS does not keep two creators apart: the later one fails on a unique index, and tries again. */
bool
pg_create_objects(Sink *sink, const char *sql, const char *what, Error *err)
{
	if (pg_execute(sink, sql, what, err))
		return true;
	if (err->class == ERR_DATA)
		err->class = ERR_RETRY;
	return false;
}

/* ---- connection ------------------------------------------------------------------------------------ */

static void
no_notice(void *context, const PGresult *result)
{
}

static bool
set_socket(Sink *sink, int socket)
{
	bool interrupted;

	pthread_mutex_lock(&sink->lock);
	sink->socket = socket;
	interrupted = sink->interrupted;
	pthread_mutex_unlock(&sink->lock);
	return !interrupted;
}

static bool
was_interrupted(Sink *sink)
{
	bool interrupted;

	pthread_mutex_lock(&sink->lock);
	interrupted = sink->interrupted;
	pthread_mutex_unlock(&sink->lock);
	return interrupted;
}

/* Any thread; the socket cannot be closed meanwhile, for that takes the lock as well. */
void
pg_interrupt(Sink *sink)
{
	pthread_mutex_lock(&sink->lock);
	sink->interrupted = true;
	if (sink->socket >= 0)
		shutdown(sink->socket, SHUT_RDWR);
	pthread_mutex_unlock(&sink->lock);
}

void
pg_disconnect(Sink *sink)
{
	set_socket(sink, -1);
	if (sink->conn != NULL)
		PQfinish(sink->conn);
	sink->conn = NULL;
	for (int i = 0; i < sink->batch.ntargets; i++)
		sink->batch.targets[i]->ready = sink->batch.targets[i]->prepared = false;
}

static bool
connect_start(Sink *sink, Error *err)
{
	/* what stands before dbname the conninfo may override, what stands after it may not */
	static const char *const names[] = {
		"keepalives_idle", "keepalives_interval", "keepalives_count",		   "tcp_user_timeout",
		"dbname",		   "client_encoding",	  "fallback_application_name", NULL};
	const char *values[] = {"10", "5", "3", "30000", sink->conninfo, "UTF8", "walrankd", NULL};

	sink->conn = PQconnectStartParams(names, values, 1);
	if (sink->conn == NULL)
		return error_set(err, ERR_RETRY, "no memory for a connection");
	if (PQstatus(sink->conn) == CONNECTION_BAD)
		return pg_connection_error(sink, "could not connect", err);
	PQsetNoticeReceiver(sink->conn, no_notice, NULL);
	return true;
}

static bool
connect_finish(Sink *sink, Error *err)
{
	const int64_t deadline = clock_monotonic_us() + CONNECT_US_MAX;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK)
	{
		struct pollfd pfd = {.fd = PQsocket(sink->conn),
							 .events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT};

		if (was_interrupted(sink))
			return error_set(err, ERR_RETRY, "interrupted while connecting");
		if (clock_monotonic_us() > deadline)
			return error_set(err, ERR_RETRY, "could not connect: no answer for %d s",
							 (int) (CONNECT_US_MAX / 1000000));
		if (poll(&pfd, 1, POLL_MS) <= 0)
			continue;
		status = PQconnectPoll(sink->conn);
		if (status == PGRES_POLLING_FAILED)
			return pg_connection_error(sink, "could not connect", err);
	}
	if (!set_socket(sink, PQsocket(sink->conn)))
		return error_set(err, ERR_RETRY, "interrupted while connecting");
	return true;
}

/*
 * What a role or database may have set must change neither meaning nor text of what is sent.  The sink's tables
 * are named without their schema: it is the only one, behind pg_catalog, that names are looked up in.
 */
bool
pg_connect(Sink *sink, Error *err)
{
	Buffer sql = {0};
	bool ok = connect_start(sink, err) && connect_finish(sink, err);

	if (!ok)
		return false;
	buffer_printf(&sql, "SET search_path = ");
	pg_put_identifier(sink, &sql, sink->schema);
	buffer_printf(&sql, ", pg_temp; SET datestyle = 'ISO, YMD'; SET timezone = 'UTC';"
						"SET intervalstyle = 'postgres'; SET standard_conforming_strings = on;"
						"SET default_transaction_isolation = 'read committed'; SET row_security = off;"
						"SET lock_timeout = '10s'; SET statement_timeout = 0;"
						"SET idle_in_transaction_session_timeout = '60s'");
	ok = pg_execute(sink, (const char *) sql.data, "could not prepare the session", err);
	buffer_free(&sql);
	return ok;
}
