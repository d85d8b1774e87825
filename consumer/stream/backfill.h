/*
 * backfill.h -- one table, as it was at one WAL position, into the journal.
 *
 * Rules B1 to B6, one chunk per table: a temporary slot exports a snapshot that holds exactly the
 * transactions committed before C; the guard waits until the server itself agrees; a lock and the
 * filenode prove that the snapshot still reads this table; rows are read once the journal has
 * reached C.  What was begun is always ended, or aborted and to be begun again with a new snapshot.
 */
#ifndef WALRANK_BACKFILL_H
#define WALRANK_BACKFILL_H

#include <stdatomic.h>

#include "stream/source.h"

typedef struct BackfillProgress
{
	uint64_t rows;
	uint64_t bytes;
	Lsn point; /* C; 0 until known */
	char phase[32];
} BackfillProgress;

typedef struct BackfillContext
{
	const SourceSettings *settings;
	Journal *journal;
	const atomic_bool *stop;
	/* The thread that reads may tell others how far it is. */
	void (*progress)(void *context, const BackfillProgress *progress);
	void *progress_context;
} BackfillContext;

/*
 * relation: quote_ident'ed "schema.table".  True: the END unit is appended and durable.  False: an ABORT
 * unit stands behind the BEGIN if there was one.  ERR_RETRY: again, later.  ERR_DATA: there is no
 * such table (any more), or it is none that can be read.
 * interrupted: a crash left an earlier one open: it is aborted first.
 */
extern bool backfill_table(const BackfillContext *context, const char *relation, bool interrupted,
						   Error *err);

#endif /* WALRANK_BACKFILL_H */
