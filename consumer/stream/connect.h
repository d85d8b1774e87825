/*
 * connect.h -- connections to the source, and statements on them.
 *
 * Every connection runs with an empty search_path and without timeouts of its own.  "Cannot reach",
 * "shutting down", "slot still active" are ERR_RETRY; what only an operator can change is ERR_CONFIG;
 * histories that do not fit are ERR_REFUSE.
 */
#ifndef WALRANK_CONNECT_H
#define WALRANK_CONNECT_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "base/error.h"

typedef enum
{
	SOURCE_SQL,			/* ordinary session */
	SOURCE_REPLICATION, /* walsender of the same database */
} SourceKind;

extern bool source_connect(const char *conninfo, SourceKind kind, PGconn **conn, Error *err);
/*
 * The same for a thread that may have to stop: once *stop is true the attempt, and each statement on the connection
 * below, fails with ERR_RETRY within a moment. The flag outlives the connection.
 */
extern bool source_connect_until(const char *conninfo, SourceKind kind, const atomic_bool *stop,
								 PGconn **conn, Error *err);
/* Wraps the connection's or result's error; the class follows its SQLSTATE. Returns false. */
extern bool source_error(PGconn *conn, const PGresult *res, Error *err, const char *what);
/* One statement giving rows of `columns` columns; parameters are text. NULL on error. */
extern PGresult *source_query(PGconn *conn, int columns, Error *err, const char *what, const char *sql,
							  int nparams, const char *const *params);
extern bool source_execute(PGconn *conn, Error *err, const char *what, const char *sql, int nparams,
						   const char *const *params);
/* As PQexec and PQexecParams, but a server that does not answer holds nobody who has to stop. NULL: see conn. */
extern PGresult *source_run(PGconn *conn, const char *sql, int nparams, const char *const *params);
/* Whether a statement failed with that SQLSTATE. */
extern bool source_state_is(const PGresult *res, const char *state);

#endif /* WALRANK_CONNECT_H */
