/*
 * publication.h -- which changes of which tables are sent.
 *
 * Membership and operations are those of the publications at the moment of the change.  A
 * publication that is gone, or that asks for what cannot be honoured, never stops the stream: it
 * counts as lost, once, and its tables are not sent.
 */
#ifndef WALRANK_PUBLICATION_H
#define WALRANK_PUBLICATION_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/relcache.h"

enum
{
	PUBLISH_INSERT = 1,
	PUBLISH_UPDATE = 2,
	PUBLISH_DELETE = 4,
	PUBLISH_TRUNCATE = 8,
	PUBLISH_ALL = 15,
};

typedef struct Publications Publications;

/* names: list of char *; NIL publishes all tables.  Allocated in the current context, for good. */
extern Publications *publications_open(List *names);

/*
 * Error unless every publication exists and can be honoured; for the start of a stream.  With
 * missing_ok those that do not exist are passed over, and are not lost until they have existed.  Runs a
 * transaction if there is none.
 */
extern void publications_check(Publications *publications, bool missing_ok);

/* Re-read the publications if they may have changed; the generation rises when they were re-read. */
extern uint32 publications_refresh(Publications *publications);

/* The next name that was lost and not yet reported, or NULL. */
extern const char *publications_lost(Publications *publications);

/* PUBLISH_xxx of what is sent of the relation; 0 for tables that never are. */
extern uint32 publications_operations(const Publications *publications, Relation relation);

#endif /* WALRANK_PUBLICATION_H */
