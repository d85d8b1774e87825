/*
 * pg_temp.h -- a private PostgreSQL cluster for one test program: own directory, own socket, no port.
 */
#ifndef WALRANK_PG_TEMP_H
#define WALRANK_PG_TEMP_H

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef PG_BINDIR
#define PG_BINDIR "/usr/lib/postgresql/15/bin"
#endif

static char pg_dir[64];
static char pg_conninfo[256];
static PGconn *pg_conn;

static inline bool
pg_run(const char *what)
{
	char command[1024];

	/* the server refuses to run as root */
	if (geteuid() == 0)
		snprintf(command, sizeof(command), "cd / && runuser -u postgres -- %s >>'%s/log' 2>&1", what, pg_dir);
	else
		snprintf(command, sizeof(command), "cd / && %s >>'%s/log' 2>&1", what, pg_dir);
	return system(command) == 0;
}

static inline bool
pg_start(const char *settings)
{
	char command[768];

	snprintf(pg_dir, sizeof(pg_dir), "/tmp/walrank-pg-XXXXXX");
	if (mkdtemp(pg_dir) == NULL)
		return false;
	snprintf(command, sizeof(command), "touch '%s/log' && { [ $(id -u) != 0 ] || chown -R postgres '%s'; }",
			 pg_dir, pg_dir);
	if (system(command) != 0)
		return false;
	snprintf(command, sizeof(command),
			 PG_BINDIR "/initdb -N -A trust -U postgres -E UTF8 --no-locale -D '%s/data'", pg_dir);
	if (!pg_run(command))
		return false;
	snprintf(command, sizeof(command),
			 PG_BINDIR "/pg_ctl -w -D '%s/data' -l '%s/log' -o \"-c listen_addresses='' -c fsync=off -c "
					   "unix_socket_directories='%s' %s\" start",
			 pg_dir, pg_dir, pg_dir, settings);
	if (!pg_run(command))
		return false;
	snprintf(pg_conninfo, sizeof(pg_conninfo), "host=%s user=postgres dbname=postgres", pg_dir);
	pg_conn = PQconnectdb(pg_conninfo);
	PQclear(PQexec(pg_conn, "SET client_min_messages = error"));
	return PQstatus(pg_conn) == CONNECTION_OK;
}

static inline void
pg_stop(void)
{
	char command[256];

	PQfinish(pg_conn);
	snprintf(command, sizeof(command), PG_BINDIR "/pg_ctl -w -m immediate -D '%s/data' stop", pg_dir);
	if (!pg_run(command))
		fprintf(stderr, "could not stop the cluster in %s\n", pg_dir);
	snprintf(command, sizeof(command), "rm -rf '%s'", pg_dir);
	if (system(command) != 0)
		fprintf(stderr, "could not remove %s\n", pg_dir);
}

/* psql -At: columns by |, rows by newline; the error's text when it fails. Valid until the next call. */
static inline const char *
pg_sql_on(PGconn *conn, const char *sql)
{
	static char text[65536];
	PGresult *result = PQexec(conn, sql);
	size_t len = 0;

	text[0] = '\0';
	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		snprintf(text, sizeof(text), "%s", PQerrorMessage(conn));
	for (int row = 0; row < PQntuples(result); row++)
		for (int column = 0; column < PQnfields(result); column++)
			len += (size_t) snprintf(text + len, sizeof(text) - len, "%s%s",
									 column > 0 ? "|"
									 : row > 0	? "\n"
												: "",
									 PQgetvalue(result, row, column));
	PQclear(result);
	return text;
}

/* The same into memory of the caller's. */
static inline void
pg_copy(char *text, size_t bytes, const char *sql)
{
	const char *result = pg_sql_on(pg_conn, sql);
	const size_t len = strlen(result) < bytes ? strlen(result) : bytes - 1;

	memcpy(text, result, len);
	text[len] = '\0';
}

static inline const char *
pg_sql(const char *sql)
{
	return pg_sql_on(pg_conn, sql);
}

#endif /* WALRANK_PG_TEMP_H */
