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
#define PG_SCHEMA "walrank_out"

/*
 * Which tables the rows go to:
 *   shown    score_ITEM, what readers see
 *   beside   fill_ITEM in the same schema: a target that will take the shown one's place (K9)
 *   compare  verify_N, temporary: what the shown one should hold
 */
struct Sink
{
	char *sink_name;
	char *conninfo;
	char *schema;
	char stream_id[STREAM_ID_TEXT_BYTES];
	StreamId stream;
	PGconn *conn;
	bool found;		   /* there is a checkpoint row: */
	SinkPosition last; /* as it stands there */
	uint64_t base;	   /* the unit before the first one whose effect the target holds; 0 if it holds all */
	bool beside;
	bool compare;
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

/* ---- postgres_checkpoint.c: the row that says where the sink stands ------------------------------------ */

extern bool pg_open(Sink *sink, SinkStand *stand, Error *err);
extern bool pg_begin(Sink *sink, SinkPosition *position, Error *err);
extern bool pg_peek(Sink *sink, SinkPosition *position, bool *found, Error *err);
/* The row, of whatever stream; sets sink->base and sink->beside. */
extern bool pg_look(Sink *sink, SinkPosition *position, bool *found, Error *err);
extern bool pg_has_schema(Sink *sink, bool *has, Error *err);
/* Remembers what has been committed; targets are looked for again when rows go elsewhere now. */
extern void pg_settled(Sink *sink, const SinkPosition *position, bool beside);

/* ---- postgres_table.c: score tables ------------------------------------------------------------------- */

/* The table exists, has this key, and its statements are prepared on this connection. */
extern bool pg_ensure_target(Sink *sink, PgTarget *target, Error *err);
/* verb: "upsert", "delete", "clear" */
extern void pg_statement_name(const Sink *sink, const PgTarget *target, const char *verb, char name[48]);
/* The table filled beside a shown one. */
extern void pg_beside_name(const char *table, char name[PG_NAME_BYTES]);
/* The name of the i-th target's table for comparing. */
extern void pg_compare_name(const Sink *sink, const PgTarget *target, char name[PG_NAME_BYTES]);

/* ---- postgres_swap.c: a target beside takes the place of the shown one ---------------------------------- */

/* The columns of a table, as pieces of SQL. */
typedef struct PgColumns
{
	Buffer all;	 /* k, ranking, tier, .. */
	Buffer keys; /* k, ranking */
	Buffer sets; /* tier = excluded.tier, .. */
	Buffer same; /* f.k = t.k AND f.ranking = t.ranking */
	bool found;	 /* there is such a table, with a primary key */
} PgColumns;

/* table: quoted where it has to be. */
extern bool pg_columns(Sink *sink, const char *table, PgColumns *columns, Error *err);
extern void pg_columns_free(PgColumns *columns);
/* Names of this sink's score tables that there are, in column 0, and the relation of each, in column 1. */
extern PGresult *pg_tables(Sink *sink, Error *err);
/* Within the batch's transaction. */
extern bool pg_swap(Sink *sink, Error *err);
/* What an earlier fill left beside; within a transaction. */
extern bool pg_drop_beside(Sink *sink, Error *err);

/* ---- postgres_verify.c ------------------------------------------------------------------------------------ */

extern bool pg_verify(Sink *sink, FeedReader *reader, SinkVerify *report, Error *err);
/* Within a transaction: the checkpoint, of our stream and of a target that lacks nothing, or why it cannot be judged. */
extern bool pg_comparable(Sink *sink, SinkPosition *position, Error *err);

/* ---- postgres_places.c ------------------------------------------------------------------------------------ */

extern bool pg_places(Sink *sink, SinkPlaceVisit visit, void *context, SinkPosition *position, Error *err);

/* ---- postgres.c: batches ---------------------------------------------------------------------------------- */

extern bool pg_apply(Sink *sink, const FeedReader *reader, const RecordHeader *header,
					 const RecordEntry *entry, SinkFate *fate, Error *err);
/* What becomes of a row that the server refuses for what it says. */
typedef bool (*PgRefused)(Sink *sink, const PgRow *row, const Error *why, void *context, Error *err);
extern bool pg_apply_halves(Sink *sink, uint32_t from, uint32_t to, PgRefused refused, void *context,
							Error *err);

/* ---- postgres_pipeline.c: one round trip ----------------------------------------------------------------- */

/* BEGIN, the checkpoint (*moved: its rows, which must be 1), clearings, all rows. After an error the transaction is still to be ended. */
extern bool pg_send_batch(Sink *sink, const SinkPosition *position, int *moved, Error *err);
/* The same without rows. */
extern bool pg_send_claim(Sink *sink, const SinkPosition *position, int *moved, Error *err);
/* The batch's clearings alone, within a transaction. */
extern bool pg_send_clearings(Sink *sink, Error *err);
/* Rows [from, to) between SAVEPOINT walrank and its release. */
extern bool pg_send_range(Sink *sink, uint32_t from, uint32_t to, Error *err);

#endif /* WALRANK_POSTGRES_H */
