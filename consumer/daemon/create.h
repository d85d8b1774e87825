/*
 * create.h -- walrankd --create and --adopt: a new stream, on a slot of its own or on one made by hand.
 *
 * Steps (1) to (4) of the protocol, each durable before the next; a crash between any two is taken
 * up again by the next call, whichever of the two it is: the identity file says how it was begun.  A
 * slot is dropped only when it is ours and provably never streamed, or when the stream it belonged to
 * is replaced; an adopted one never.  The first backfill (5) is the running daemon's.
 */
#ifndef WALRANK_CREATE_H
#define WALRANK_CREATE_H

#include "daemon/config.h"

typedef enum
{
	CREATE_SLOT,
	CREATE_ADOPT, /* start point: what the slot has confirmed */
	CREATE_GO_ON, /* as the identity says: there must be one */
} CreateHow;

extern bool create_stream(const Config *config, CreateHow how, Error *err);
/* What is to be called `identity` of a new stream at that server; the stream_id is random. */
extern bool create_name(const Config *config, const SourceIdentity *server, bool adopted,
						JournalIdentity *identity, Error *err);
/* Whether the slot of that name may be taken over (adopted), or made (and dropped before, where it is a replaced
 * stream's). */
extern bool create_check_slot(PGconn *sql, const SourceIdentity *server, const JournalIdentity *identity,
							  Error *err);
/* A publication the historic catalog does not know would leave the slot without its tables: it must be there first. */
extern bool create_check_publications(PGconn *sql, const Config *config, Error *err);

#endif /* WALRANK_CREATE_H */
