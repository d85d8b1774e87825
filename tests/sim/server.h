/*
 * server.h -- a source server as its slot's consumer sees it: commits, a write-ahead log, one walsender.
 *
 * It sends a transaction on every connection while its commit_lsn >= max(confirmed_flush, start), in commit
 * order and whole, and believes every position it is told.  What it forgets it never sends again.
 */
#ifndef WALRANK_SIM_SERVER_H
#define WALRANK_SIM_SERVER_H

#include "base/buffer.h"
#include "base/lsn.h"
#include "random.h"
#include "stream/history.h"

#define SERVER_ANCESTORS_MAX 16
#define SERVER_OPEN_MAX 6

typedef struct Txn
{
	Lsn commit;
	Lsn end;
	uint64_t xid;
	int64_t commit_time_us;
	uint32_t changes;
	uint32_t per_frame;
	uint64_t seed;	/* its rows */
	uint64_t hash;	/* of its changes, in order */
	uint64_t epoch; /* of our control row, when it writes that */
	uint64_t beat;
	bool control;
} Txn;

typedef struct Sender
{
	bool streaming;
	int next;		/* transaction to send, or being sent */
	uint32_t frame; /* of it; > 0: some are out */
	uint32_t crc;
	bool announced[2];
	Lsn sent;  /* the largest position named */
	Lsn floor; /* what was confirmed when it began */
	Lsn limit; /* .. and what the session was told of the WAL before it */
	bool first;
	int64_t asked_us;
	Lsn flush; /* last status */
} Sender;

typedef struct Server
{
	Random random;
	StreamId stream_id; /* of the control row */
	uint64_t system_identifier;
	uint32_t timeline;
	SourceTimeline ancestors[SERVER_ANCESTORS_MAX]; /* by timeline */
	Lsn flushed;
	uint64_t next_xid;
	uint64_t open[SERVER_OPEN_MAX];
	int nopen;
	Txn *txns; /* in commit order */
	int ntxns;
	int capacity;
	bool slot_found;
	bool slot_lost;
	Lsn confirmed;
	Lsn confirmed_saved; /* by the last checkpoint */
	uint64_t epoch;
	uint64_t beat;
	bool timestamps; /* track_commit_timestamp */
	bool up;
	bool stopping;
	int64_t stopping_us;
	int sent; /* transactions that were sent whole, on whatever connection */
	Sender sender;
} Server;

extern Server *server_create(uint64_t seed, const StreamId *stream_id);
extern Server *server_copy(const Server *server, uint64_t seed);
extern void server_destroy(Server *server);

/* Something happens: a transaction begins, commits or aborts, WAL of others is written, a checkpoint. */
extern void server_work(Server *server, int64_t wall_us);
extern void server_commit(Server *server, uint32_t changes, int64_t wall_us);
/* epoch and beat as they are in the server. */
extern void server_commit_control(Server *server, int64_t wall_us);
extern void server_crash(Server *server);

/* The walsender. */
extern void server_start(Server *server, Lsn start);
/* The next message, if there is one; `idle` when only a keepalive could be sent. */
extern bool server_send(Server *server, int64_t now_us, Buffer *message);
extern void server_status(Server *server, Lsn flush);
extern void server_disconnect(Server *server);

/* What a session reads before it streams. */
extern void server_identity(const Server *server, SourceIdentity *identity);
extern void server_slot(const Server *server, SourceSlot *slot);
extern void server_xid(const Server *server, uint64_t xid, SourceXid *out);

#define SERVER_DATABASE "shop"
#define SERVER_DATABASE_OID 16384
#define SERVER_SLOT "walrank"
#define SERVER_START UINT64_C(0x1000000)

#endif /* WALRANK_SIM_SERVER_H */
