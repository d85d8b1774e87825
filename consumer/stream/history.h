/*
 * history.h -- may this journal go on with that server?  Rules C1 to C6, on what was read.
 *
 * Pure: no connection, no file, no clock.  Whoever asks has read the facts below from the source and
 * the journal; the answer is true, or false with an error whose message names the rule and whose
 * hint says what to do:
 *	ERR_REFUSE	two histories: nothing may be written, a person decides
 *	ERR_RETRY	not yet to be told: ask again
 */
#ifndef WALRANK_HISTORY_H
#define WALRANK_HISTORY_H

#include "journal/journal.h"

#define SOURCE_PLUGIN "walrank" /* the only one whose slots we follow */

/* ---- what is read from the source ------------------------------------------------------------- */

typedef struct SourceIdentity
{
	uint64_t system_identifier;
	uint32_t timeline;
	Lsn flushed; /* the server's flushed WAL position; a standby's: what it has received and replayed */
	char database[64];
	uint32_t database_oid;
	int server_version; /* 150020 */
	int64_t wal_sender_timeout_ms;
	bool synchronous; /* synchronous_standby_names may name us: commits would wait for our fsync */
	bool standby;	  /* the source is in recovery */
} SourceIdentity;

typedef struct SourceSlot
{
	bool found;
	bool logical;
	bool active;
	bool temporary;
	bool synced; /* a standby's copy of its primary's slot (17 and later) */
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
	bool updating; /* a transaction that is still open has a newer version of the row */
	char slot[64];
	char state[16];
	uint64_t owner_epoch;
	uint64_t beat;
} SourceControl;

/* Where the server's history left a timeline: from TIMELINE_HISTORY. */
typedef struct SourceTimeline
{
	bool found; /* the timeline is an ancestor of the server's */
	Lsn left;
} SourceTimeline;

typedef enum
{
	XID_NONE,		 /* the journal holds no transaction */
	XID_COMMITTED,	 /* pg_xact_status() .. */
	XID_ABORTED,	 /* .. */
	XID_IN_PROGRESS, /* .. */
	XID_FORGOTTEN,	 /* .. is null: too old */
	XID_FUTURE,		 /* .. fails with SQLSTATE 22023: never given out */
} XidStatus;

/* The last transaction of the journal, as the server sees it. */
typedef struct SourceXid
{
	XidStatus status;
	bool timed; /* committed, and track_commit_timestamp has it */
	int64_t commit_time_us;
	bool foreign; /* it was replayed from another node (a replication origin) */
} SourceXid;

/*
 * The text of TIMELINE_HISTORY for the server's timeline: where did it leave `timeline`?  ERR_DATA: no such text.
 * src/backend/access/transam/timeline.c reads the same file.
 */
extern bool history_timeline(Slice text, uint32_t server_timeline, uint32_t timeline, SourceTimeline *out,
							 Error *err);

/* ---- the rules -------------------------------------------------------------------------------- */

typedef struct History
{
	const JournalIdentity *ours;
	const JournalHead *head; /* of the last unit, all of it synced: its end_lsn is H */
	const SourceIdentity *server;
	const SourceSlot *slot;
	const SourceControl *control;
	SourceTimeline timeline; /* of the journal's, when the server's is another */
	SourceXid xid;
} History;

/* The journal's timeline; 0: it does not know one yet. */
extern uint32_t history_timeline_ours(const JournalIdentity *ours, const JournalHead *head);

/* The part of C1 that needs no table of ours: in another database there may be none. */
extern bool history_check_server(const JournalIdentity *ours, const SourceIdentity *server, Error *err);
/* C1 to C6. */
extern bool history_check(const History *history, Error *err);
/* C3 once more after START_REPLICATION at `start`. */
extern bool history_check_started(const JournalIdentity *ours, const SourceSlot *slot, Lsn start, Error *err);

/* ---- before there is a history, and where a person changes it --------------------------------- */

/* A slot found by a creation that names it: it may be dropped, for it is ours and never streamed. */
extern bool history_check_leftover(const JournalIdentity *ours, const SourceIdentity *server,
								   const SourceSlot *slot, const SourceControl *control, Error *err);
/* A slot that a new stream may take over.  owned: by a control row of a stream that is not replaced. */
extern bool history_check_adoptable(const char *name, const SourceIdentity *server, const SourceSlot *slot,
									bool owned, Error *err);
/* A start position given by hand: forward of h, and of what the server has. */
extern bool history_check_skip(Lsn h, Lsn to, const SourceIdentity *server, Error *err);

#endif /* WALRANK_HISTORY_H */
