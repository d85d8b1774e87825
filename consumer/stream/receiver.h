/*
 * receiver.h -- the stream into the journal, and the journal's durable end back to the server.
 *
 * One thread, one loop: drain the socket, append, flush, answer.  It never fsyncs and never waits
 * for the scorer or a sink.  Without space it stops at a data message, keeps the connection alive for
 * a while and goes on when there is some; when the server, the network or space stays away it closes
 * the connection and comes back.  It stops for good only when histories do not fit, the
 * configuration cannot work, or the disk fails.
 */
#ifndef WALRANK_RECEIVER_H
#define WALRANK_RECEIVER_H

#include "stream/session.h"

typedef struct Receiver Receiver;

typedef enum
{
	RECEIVER_STARTING,
	RECEIVER_STREAMING,
	RECEIVER_WAITING, /* between two connections */
	RECEIVER_STOPPED,
} ReceiverState;

typedef struct ReceiverStatus
{
	ReceiverState state;
	bool undecided; /* waiting until the server can tell whether histories fit: nothing may be written */
	SourceIdentity identity; /* of the last connection */
	Lsn received;			 /* end of the last transaction or keepalive */
	Lsn acknowledged;
	int64_t commit_time_us; /* of the last transaction */
	int64_t message_us;		/* wall clock of the last message */
	int64_t beat_us;		/* monotonic; when the beat last moved, or streaming began */
	uint64_t beat;
	uint64_t transactions, changes, frames, bytes, dropped, connects;
	char error[1024];
	char no_space[512]; /* why the journal takes nothing; empty while it does */
} ReceiverStatus;

extern Receiver *receiver_create(const SessionContext *context);
extern void receiver_destroy(Receiver *receiver);
/* The thread's body; until receiver_stop() (true) or an error no retry can cure (false). */
extern bool receiver_run(Receiver *receiver, Error *err);
/* From any thread: what is appended is synced and acknowledged, then run returns. */
extern void receiver_stop(Receiver *receiver);
/* From any thread, for confirm = sinks: the lowest end_lsn in their checkpoints, as for ack_sinks(). */
extern void receiver_set_sinks(Receiver *receiver, Lsn lowest);
extern void receiver_status(Receiver *receiver, ReceiverStatus *status);

#endif /* WALRANK_RECEIVER_H */
