/*
 * backfill.h -- one table, range by range in the order of its primary key, into the journal.
 *
 * Rules B1 to B6, for each chunk anew: a temporary slot exports a snapshot that holds exactly the
 * transactions committed before C; the guard waits until the server itself agrees; a lock and the
 * filenode prove that the snapshot still reads this table; rows are read once the journal has
 * reached C.  A chunk ends after so many rows, or before its snapshot is so old, and the next one
 * begins after its last key.  What was begun is always ended, or aborted and to be begun again.
 */
#ifndef WALRANK_BACKFILL_H
#define WALRANK_BACKFILL_H

#include <stdatomic.h>

#include "stream/source.h"

/* May change while a table is read. */
typedef struct BackfillLimits
{
	_Atomic int64_t chunk_rows;
	_Atomic int64_t chunk_ms; /* age of a snapshot */
	_Atomic int64_t rate;	  /* rows per second, 0 = no limit */
	_Atomic int64_t keys_max; /* more to be read again: the table is */
} BackfillLimits;

typedef struct BackfillProgress
{
	uint64_t rows; /* of the chunks of this run */
	uint64_t bytes;
	uint64_t estimated; /* rows of the table, by the server's statistics; 0: it has none */
	uint32_t chunk;
	Lsn point; /* C of the chunk; 0 until known */
	int64_t begun_us;
	char phase[32];
} BackfillProgress;

/* Where to begin. */
typedef struct BackfillPlan
{
	const char *relation; /* quote_ident'ed "schema.table" */
	uint64_t id;		  /* of the backfill to go on with; 0: a new one */
	uint32_t chunk;		  /* of that: the next one.. */
	Slice resume;		  /* ..and the detail of its last END */
	bool keys;			  /* all ranges are read: a round of what is listed */
	bool open;			  /* an earlier run left a chunk open: it is aborted first */
	uint64_t open_id;
	uint32_t open_chunk;
	uint32_t open_oid;
} BackfillPlan;

typedef struct BackfillContext
{
	const SourceSettings *settings;
	Journal *journal;
	const BackfillLimits *limits;
	const atomic_bool *stop;
	/* The thread that reads may tell others how far it is. */
	void (*progress)(void *context, const BackfillProgress *progress);
	/* The keys listed for the table once unit seq is scored: length and key, each. */
	bool (*keys)(void *context, uint32_t oid, uint64_t seq, Buffer *keys, Error *err);
	void *context;
} BackfillContext;

/*
 * True: the END unit of the last chunk is appended and durable.  False: an ABORT unit stands behind a BEGIN without
 * END.  ERR_RETRY: again, later.  ERR_DATA: there is no such table (any more), or it is none that can be read.
 */
extern bool backfill_table(const BackfillContext *context, const BackfillPlan *plan, Error *err);

#endif /* WALRANK_BACKFILL_H */
