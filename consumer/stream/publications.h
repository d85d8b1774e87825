/*
 * publications.h -- what the source has to publish, and what a change of the list means (rules C1 and C7).
 */
#ifndef WALRANK_PUBLICATIONS_H
#define WALRANK_PUBLICATIONS_H

#include "stream/source.h"

/*
 * Rule C7: every publication exists, unless missing_ok, none publishes via the partition root, and none selects rows
 * or columns of our own tables.  ERR_RETRY: somebody may repair it.
 */
extern bool publications_check(PGconn *sql, const SourceSettings *settings, Error *err);

/*
 * Append, as an SQL expression of type text[], those of the list that have the relation.  Its value is NULL when none
 * has: then there is no selection of it, and who watches it is shown all.
 */
extern bool publications_array(PGconn *sql, const char *list, const char *relation, Buffer *out, Error *err);

/*
 * Another list than before: what it no longer brings is said in the log; tables that it newly brings lack
 * what was written until now.  *gap: the text of a GAP unit that puts those in doubt, so that they are read
 * again; left empty when there is none.
 */
extern bool publications_compare(PGconn *sql, const char *before, const char *now, Buffer *gap, Error *err);

#endif /* WALRANK_PUBLICATIONS_H */
