/*
 * source.h -- what the daemon asks and tells the source database over SQL, outside the stream.
 *
 * Every connection runs with an empty search_path and without timeouts of its own, and every answer
 * is checked for its shape.  "Cannot reach", "shutting down", "slot still active" are ERR_RETRY;
 * what only an operator can change is ERR_CONFIG; histories that do not fit are ERR_REFUSE.
 */
#ifndef WALRANK_SOURCE_H
#define WALRANK_SOURCE_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "journal/journal.h"
#include "stream/ack.h"

#define SOURCE_PLUGIN "walrank"

typedef struct SourceSettings
{
	const char *conninfo;
	const char *slot;
	const char *publications; /* "walrank,walrank_config" */
	int64_t status_interval_ms;
	int64_t frame_bytes;
	int64_t max_value_bytes;
	int64_t part_changes;
	AckConfirm confirm;
} SourceSettings;

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

typedef struct SourceIdentity
{
	uint64_t system_identifier;
	uint32_t timeline;
	Lsn flushed; /* the server's flushed WAL position */
	char database[64];
	uint32_t database_oid;
	int server_version; /* 150020 */
	int64_t wal_sender_timeout_ms;
	bool synchronous; /* synchronous_standby_names may name us: commits would wait for our fsync */
} SourceIdentity;

typedef struct SourceSlot
{
	bool found;
	bool logical;
	bool active;
	char plugin[64];
	char database[64];
	Lsn confirmed_flush;
	Lsn restart_lsn;
	char wal_status[16];
	char invalidation[64]; /* empty where the server has no such column */
	int64_t retained_bytes;
} SourceSlot;

typedef struct SourceControl
{
	bool found;
	char slot[64];
	char state[16];
	uint64_t owner_epoch;
	uint64_t beat;
} SourceControl;

/* replication: a SOURCE_REPLICATION connection, sql: a SOURCE_SQL one to the same conninfo. */
extern bool source_identify(PGconn *replication, PGconn *sql, SourceIdentity *identity, Error *err);
extern bool source_slot(PGconn *sql, const char *slot, SourceSlot *row, Error *err);
extern bool source_control(PGconn *sql, const StreamId *stream_id, SourceControl *row, Error *err);
/* Is there a control row of another stream for this slot name? */
extern bool source_slot_owned(PGconn *sql, const char *slot, const StreamId *stream_id, bool *owned,
							  Error *err);

/* The part of C1 that needs no table of ours: in another database there may be none. */
extern bool source_check_identity(const JournalIdentity *ours, const SourceIdentity *identity, Error *err);
/* Rules C1, C2, C3 on what was read: pure. h: durable head. */
extern bool source_check(const JournalIdentity *ours, Lsn h, const SourceIdentity *identity,
						 const SourceSlot *slot, const SourceControl *control, Error *err);

/* Rule C7: every publication exists, and none has what the plugin refuses. ERR_RETRY: somebody may repair it. */
extern bool source_check_publications(PGconn *sql, const char *publications, Error *err);

extern bool source_control_insert(PGconn *sql, const StreamId *stream_id, const char *slot, Error *err);
extern bool source_control_ready(PGconn *sql, const StreamId *stream_id, Error *err);
/* owner_epoch = max(its own, at_least) + 1 */
extern bool source_take_epoch(PGconn *sql, const StreamId *stream_id, uint64_t at_least, uint64_t *epoch,
							  Error *err);
/* beat + 1, with synchronous_commit = off: it must never wait for a standby that may be ourselves. */
extern bool source_beat(PGconn *sql, const StreamId *stream_id, Error *err);

/* CREATE_REPLICATION_SLOT over the protocol; the consistent point. */
extern bool source_create_slot(PGconn *replication, const char *slot, Lsn *consistent, Error *err);
extern bool source_drop_slot(PGconn *sql, const char *slot, Error *err);
/* START_REPLICATION at `start`; the connection is then in COPY BOTH mode. */
extern bool source_start(PGconn *replication, const SourceSettings *settings, Lsn start, Error *err);
/* The part of CONFIG's text that names the scoring engine: whole lines, as they stand in it. */
extern void source_config_engine(uint32_t engine, uint64_t libm, Buffer *out);
/* CONFIG's text: all that decides the meaning of the stream, as key=value lines. */
extern void source_config_text(const SourceSettings *settings, uint32_t engine, uint64_t libm, Buffer *out);

#endif /* WALRANK_SOURCE_H */
