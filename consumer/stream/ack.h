/*
 * ack.h -- what may be acknowledged to the server, and when: a state machine without I/O.
 *
 * The server forgets a transaction once a position beyond its commit is acknowledged, and believes
 * whatever it is told.  So the position given out, A, obeys three rules, asserted on every status in
 * every build: it never decreases on a connection, it never passes H (what the journal holds
 * durably), and it never passes the largest LSN the server itself has named.  It is never W+1 of
 * anything: A is always H.
 *
 * Events go in, actions come out; the receiver carries them out.  Times are monotonic microseconds.
 */
#ifndef WALRANK_ACK_H
#define WALRANK_ACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lsn.h"

#define ACK_PROGRESS_ASKED_US INT64_C(100000)		 /* PROGRESS for requested replies: at most this often */
#define ACK_PROGRESS_IDLE_US INT64_C(10000000)		 /* PROGRESS for keepalives that ask nothing */
#define ACK_PROGRESS_IDLE_BYTES (UINT64_C(16) << 20) /* .. or after this much WAL */
#define ACK_SHUTDOWN_US INT64_C(5000000) /* asked again after every answer for so long: the server stops */
#define ACK_SPACE_US INT64_C(30000000)	 /* without space for so long: close the connection */

typedef struct Ack
{
	Lsn durable;		 /* H */
	Lsn appended;		 /* end_lsn of the last unit appended, durable or not */
	Lsn named;			 /* the largest LSN the server has named on this connection */
	Lsn sent;			 /* the last A given out; 0 = none yet */
	Lsn awaited;		 /* a requested reply waits until H reaches this; 0 = none */
	Lsn deferred;		 /* a requested PROGRESS waits for its turn; 0 = none */
	bool partial;		 /* a transaction is partly received */
	bool no_space;		 /* the journal cannot take anything */
	int64_t interval_us; /* unasked status */
	int64_t status_us;	 /* when the last one was sent */
	int64_t asked_us;	 /* when a requested PROGRESS was last made */
	int64_t progress_us; /* when any PROGRESS was last made */
	int64_t no_space_since_us;
	int64_t pressed_since_us; /* first request of an unbroken run that A could not satisfy */
	int64_t pressed_us;		  /* last one; 0 = no run */
} Ack;

/* What to do, in this order. */
typedef struct AckActions
{
	bool progress; /* append PROGRESS(progress_lsn) and flush it; then ack_appended() */
	Lsn progress_lsn;
	bool status; /* send write = flush = apply = status_lsn */
	Lsn status_lsn;
	bool close; /* give the connection up: the server wants to stop, or there is no space */
} AckActions;

/* A connection begins. durable: H, with everything appended synced. flushed: the server's position of rule C3. */
extern void ack_begin(Ack *ack, Lsn durable, Lsn flushed, int64_t interval_us, int64_t now_us);
/* min(10 s, wal_sender_timeout / 3); 10 s when the server has no timeout. */
extern int64_t ack_interval_us(int64_t wal_sender_timeout_ms, int64_t wanted_ms);

/* The server named an LSN in a data message; `partial`: its transaction is not complete with it. */
extern void ack_data(Ack *ack, Lsn named, bool partial);
/* A unit was appended, by whichever thread. */
extern void ack_appended(Ack *ack, Lsn end_lsn);
extern void ack_space(Ack *ack, bool no_space, int64_t now_us);

extern AckActions ack_keepalive(Ack *ack, Lsn wal_end, bool reply, int64_t now_us);
extern AckActions ack_durable(Ack *ack, Lsn durable, int64_t now_us);
extern AckActions ack_timer(Ack *ack, int64_t now_us);
/* The last word before the connection ends. */
extern AckActions ack_end(Ack *ack, int64_t now_us);
/* When ack_timer() has something to do next. */
extern int64_t ack_next_us(const Ack *ack);

#endif /* WALRANK_ACK_H */
