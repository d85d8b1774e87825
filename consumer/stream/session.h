/*
 * session.h -- from a conninfo to a running stream: every check before START_REPLICATION.
 *
 * Nothing is written anywhere until server, slot, timeline, positions, control row, the last transaction
 * and the publications fit (rules C1 to C7).
 * Then, in this order, each durable before the next: a GAP over what a person skips, a GAP for tables that
 * are newly published, CONFIG when the options differ from the last ones journaled, owner_epoch + 1 in
 * the control row, CONNECT, timers that fell due meanwhile, START_REPLICATION at H, and C3 again.
 */
#ifndef WALRANK_SESSION_H
#define WALRANK_SESSION_H

#include "stream/source.h"

/* In the state directory: the text of the last CONFIG unit, so that equal ones are not repeated. */
#define SESSION_CONFIG_FILE "config"

typedef struct Session
{
	PGconn *conn; /* in COPY BOTH mode */
	SourceIdentity identity;
	SourceSlot slot;
	Lsn start;		/* H */
	bool undecided; /* the attempt failed because C1 to C6 cannot be told yet */
} Session;

typedef struct SessionContext
{
	const SourceSettings *settings;
	Journal *journal;
	int state_dirfd;		 /* remembers the last CONFIG */
	const atomic_bool *stop; /* ends an attempt; NULL = nothing does */
	Lsn skip_to;			 /* a start position given by hand; 0 = none. For the first session alone */
	uint32_t engine;
	uint64_t libm;
	/* journals what is older than anything the stream will bring; NULL = nothing does */
	bool (*settle)(void *settle_context, const atomic_bool *stop, Error *err);
	void *settle_context;
} SessionContext;

extern bool session_open(const SessionContext *context, Session *session, Error *err);
extern void session_close(Session *session);

#endif /* WALRANK_SESSION_H */
