/*
 * postgres.h -- what the files of sink "postgres" share; nobody else includes it.
 */
#ifndef WALRANK_POSTGRES_H
#define WALRANK_POSTGRES_H

#include <libpq-fe.h>
#include <pthread.h>

#include "sinks/pgbatch.h"
#include "sinks/sink.h"

/* Keys, then the columns of a score. */
#define PG_SCORE_COLUMNS 9
#define PARAMS_MAX (WIRE_KEY_COLUMNS_MAX + PG_SCORE_COLUMNS)

struct Sink
{
	char *sink_name;
	char *conninfo;
	char stream_id[STREAM_ID_TEXT_BYTES];
	StreamId stream;
	PGconn *conn;
	bool fresh;		   /* no checkpoint row yet: the first batch makes it */
	SinkPosition last; /* as the checkpoint row has it */
	PgBatch batch;
	Buffer arrays[PARAMS_MAX];

	pthread_mutex_t lock; /* guards the two below */
	int socket;			  /* -1 = none */
	bool interrupted;
};

/* Types of parameters. */
enum
{
	OID_BOOLS = 1000,
	OID_INT4S = 1007,
	OID_TEXTS = 1009,
	OID_INT8S = 1016,
	OID_FLOAT8S = 1022,
	OID_TIMESTAMPTZS = 1185,
	OID_LSNS = 3221,
	OID_BOOL = 16,
	OID_INT8 = 20,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_FLOAT8 = 701,
	OID_TIMESTAMPTZ = 1184,
	OID_LSN = 3220,
};

/* ---- postgres_session.c: connection, errors, single statements -------------------------------------- */

/* Fences nobody. Settings of role and database that would change what statements mean are overruled. */
extern bool pg_connect(Sink *sink, Error *err);
extern void pg_disconnect(Sink *sink);
extern void pg_interrupt(Sink *sink); /* from any thread; stays */
/* ERR_DATA: what a row says is refused, another row may pass. */
extern bool pg_connection_error(Sink *sink, const char *what, Error *err);
extern bool pg_result_error(Sink *sink, const PGresult *result, const char *what, Error *err);
extern void pg_one_line(char *text);
/* Takes the result over; returns it when it is what was wanted, else NULL with *err. */
extern PGresult *pg_expect(Sink *sink, PGresult *result, const char *what, Error *err);
extern bool pg_execute(Sink *sink, const char *sql, const char *what, Error *err);
extern PGresult *pg_query(Sink *sink, const char *sql, int n, const char *const *values, const char *what,
						  Error *err);
/* DDL: losing a race against another creator is worth a retry. */
extern bool pg_create_objects(Sink *sink, const char *sql, const char *what, Error *err);
extern void pg_put_identifier(Sink *sink, Buffer *out, const char *name);
extern void pg_put_literal(Sink *sink, Buffer *out, const char *text);

/* ---- postgres_table.c: score tables ------------------------------------------------------------------- */

/* The table exists, has this key, and its statements are prepared on this connection. */
extern bool pg_ensure_target(Sink *sink, PgTarget *target, Error *err);
/* verb: "upsert", "delete", "clear" */
extern void pg_statement_name(const Sink *sink, const PgTarget *target, const char *verb, char name[48]);

/* ---- postgres_pipeline.c: one round trip ----------------------------------------------------------------- */

/* BEGIN, the checkpoint (*moved: its rows, which must be 1), clearings, all rows. After an error the transaction is still to be ended. */
extern bool pg_send_batch(Sink *sink, const SinkPosition *position, int *moved, Error *err);
/* The same without rows. */
extern bool pg_send_claim(Sink *sink, const SinkPosition *position, int *moved, Error *err);
/* Rows [from, to) between SAVEPOINT walrank and its release. */
extern bool pg_send_range(Sink *sink, uint32_t from, uint32_t to, Error *err);

#endif /* WALRANK_POSTGRES_H */
