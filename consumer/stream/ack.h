/*
 * ack.h -- what may be acknowledged to the server, and when: a state machine without I/O.
 *
 * The server forgets a transaction once a position beyond its commit is acknowledged, and believes
 * whatever it is told.  So the position given out, A, obeys three rules, asserted on every status in
 * every build: it never decreases on a connection, it never passes H (what the journal holds
 * durably), and it never passes the largest LSN the server itself has named.  It is never W+1 of
 * anything: A is H, or under `confirm = sinks` the smaller of H and what every sink has checkpointed.
 * A sink that falls back, or is added, holds A where it is.
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
#define ACK_PROBE_US INT64_C(1000000)	 /* without space, a PROGRESS is tried at most this often */

typedef enum
{
	ACK_JOURNAL, /* the journal's word is enough */
	ACK_SINKS,	 /* every sink has to have it as well: the slot, and its WAL, wait for them */
} AckConfirm;

#define ACK_NO_SINK UINT64_MAX /* nobody to wait for */

typedef struct Ack
{
	AckConfirm confirm;
	Lsn durable;		 /* H */
	Lsn sinks;			 /* the lowest end_lsn in the sinks' checkpoints */
	Lsn appended;		 /* end_lsn of the last unit appended, durable or not */
	Lsn named;			 /* the largest LSN the server has named on this connection */
	Lsn sent;			 /* the last A given out; at first what the slot has confirmed */
	Lsn awaited;		 /* a requested reply waits until H reaches this; 0 = none */
	Lsn deferred;		 /* a requested PROGRESS waits for its turn; 0 = none */
	bool partial;		 /* a transaction is partly received */
	bool no_space;		 /* the journal cannot take anything */
	int64_t interval_us; /* unasked status */
	int64_t status_us;	 /* when the last one was sent */
	int64_t asked_us;	 /* when a requested PROGRESS was last made */
	int64_t progress_us; /* when any PROGRESS was last made */
	int64_t no_space_since_us;
	int64_t probed_us;		  /* when a PROGRESS last tried whether there is space again */
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

/*
 * A connection begins. durable: H, with everything appended synced. confirmed: what the slot has confirmed, at most H;
 * A never goes below it. flushed: the server's position of rule C3.
 */
extern void ack_begin(Ack *ack, AckConfirm confirm, Lsn durable, Lsn confirmed, Lsn flushed,
					  int64_t interval_us, int64_t now_us);
/* min(10 s, wal_sender_timeout / 3); 10 s when the server has no timeout. */
extern int64_t ack_interval_us(int64_t wal_sender_timeout_ms, int64_t wanted_ms);

/*
 * The server named an LSN in a data message; `partial`: its transaction is not complete with it, or not all of it could
 * be appended yet.
 */
extern void ack_data(Ack *ack, Lsn named, bool partial);
/* A unit was appended, by whichever thread. */
extern void ack_appended(Ack *ack, Lsn end_lsn);
/* True: the journal could not take something. False: what it could not take is in. */
extern void ack_space(Ack *ack, bool no_space, int64_t now_us);

extern AckActions ack_keepalive(Ack *ack, Lsn wal_end, bool reply, int64_t now_us);
extern AckActions ack_durable(Ack *ack, Lsn durable, int64_t now_us);
/* The lowest end_lsn in the sinks' checkpoints, 0 when some sink's is not known; it may go back. ACK_NO_SINK: none. */
extern AckActions ack_sinks(Ack *ack, Lsn lowest, int64_t now_us);
extern AckActions ack_timer(Ack *ack, int64_t now_us);
/* The last word before the connection ends. */
extern AckActions ack_end(Ack *ack, int64_t now_us);
/* When ack_timer() has something to do next. */
extern int64_t ack_next_us(const Ack *ack);

#endif /* WALRANK_ACK_H */
