/*
 * source.h -- what the daemon asks and tells the source database over SQL, outside the stream.
 *
 * Every answer is checked for its shape; what it means for us is for history.h to say.
 */
#ifndef WALRANK_SOURCE_H
#define WALRANK_SOURCE_H

#include "stream/ack.h"
#include "stream/connect.h"
#include "stream/history.h"

typedef struct SourceSettings
{
	const char *conninfo;
	const char *slot;
	const char *publications; /* "walrank,walrank_config" */
	int64_t status_interval_ms;
	int64_t frame_bytes;
	int64_t max_value_bytes;
	int64_t part_changes;
	bool missing_ok; /* a publication that does not exist is passed over (C7) */
	AckConfirm confirm;
} SourceSettings;

/* replication: a SOURCE_REPLICATION connection, sql: a SOURCE_SQL one to the same conninfo. */
extern bool source_identify(PGconn *replication, PGconn *sql, SourceIdentity *identity, Error *err);
extern bool source_slot(PGconn *sql, const char *slot, SourceSlot *row, Error *err);
extern bool source_control(PGconn *sql, const StreamId *stream_id, SourceControl *row, Error *err);
/* sync_state of the walsender at the other end; empty where our role may not see it. */
extern bool source_sync_state(PGconn *sql, PGconn *replication, char state[16], Error *err);
/* Is there a control row of a stream that `ours` neither is nor replaces for this slot name? */
extern bool source_slot_owned(PGconn *sql, const char *slot, const JournalIdentity *ours, bool *owned,
							  Error *err);
/* All streams that ever had a control row for the slot go into identity->replaced. */
extern bool source_replace_all(PGconn *sql, JournalIdentity *identity, Error *err);
/* Where the server's history left `timeline`; not found: it never was on it. */
extern bool source_timeline(PGconn *replication, const SourceIdentity *server, uint32_t timeline,
							SourceTimeline *out, Error *err);
/* What the server knows of a transaction; xid 0: there is none. */
extern bool source_xid(PGconn *sql, uint64_t xid, SourceXid *out, Error *err);

/* Our row, 'creating'; in the same step the rows of streams we replace become 'replaced'. */
extern bool source_control_insert(PGconn *sql, const JournalIdentity *ours, Error *err);
extern bool source_control_ready(PGconn *sql, const StreamId *stream_id, Error *err);
/* owner_epoch + 1, if it still is what was checked: of two daemons that came so far one goes on. */
extern bool source_take_epoch(PGconn *sql, const StreamId *stream_id, uint64_t checked, uint64_t *epoch,
							  Error *err);
/* beat + 1, with synchronous_commit = off: it must never wait for a standby that may be ourselves. */
extern bool source_beat(PGconn *sql, const StreamId *stream_id, Error *err);

/* Something that takes long, for people to see. */
typedef struct SourceJob
{
	const char *relation;
	const char *kind; /* "rescore", "backfill" */
	uint64_t items;
	uint64_t items_all;
} SourceJob;
/* What walrank.progress says of our stream: these, and no others. After source_beat() on the same connection. */
extern bool source_progress(PGconn *sql, const StreamId *stream_id, const SourceJob *jobs, int n, Error *err);

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
