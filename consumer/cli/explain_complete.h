/*
 * explain_complete.h -- the daemon's answer to `explain`, with what it does not know itself.
 *
 * The feed says which unit brought each attribute, and which told the score; SQL says who intervened and why, and where
 * the row as it is now would stand.
 */
#ifndef WALRANK_EXPLAIN_COMPLETE_H
#define WALRANK_EXPLAIN_COMPLETE_H

#include <jansson.h>

#include "cli/item_origin.h"
#include "stream/connect.h"

/* conn: NULL where the source cannot be reached; what it would add is then left out. key: JSON. */
extern void explain_complete(json_t *why, const ItemOrigins *origins, PGconn *conn, const char *key);

#endif /* WALRANK_EXPLAIN_COMPLETE_H */
