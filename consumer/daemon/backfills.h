/*
 * backfills.h -- which table is read next, and the thread that reads it.
 *
 * One at a time: the tables of walrank_config first, for they say what else there is, then the
 * watched ones by name.  A table that cannot be read, for whatever reason, is set aside for a while
 * and holds up no other.
 */
#ifndef WALRANK_BACKFILLS_H
#define WALRANK_BACKFILLS_H

#include "daemon/scorer_thread.h"
#include "stream/backfill.h"

typedef struct Backfills Backfills;

typedef struct BackfillsStatus
{
	bool running;
	char relation[160];
	BackfillProgress progress;
	uint64_t done;
	uint64_t failed;
	char error[1024]; /* of the last failed one, until one succeeds */
} BackfillsStatus;

#define BACKFILL_FAILURES_MAX 64

/* A table whose last backfill failed, until one succeeds or nobody asks for it any more. */
typedef struct BackfillFailure
{
	char relation[160];
	char error[1024];
} BackfillFailure;

extern Backfills *backfills_start(const SourceSettings *settings, Journal *journal, ThreadFailed failed,
								  void *context);
/* Called every now and then with the scorer's newest copy: begins what has to be begun. */
extern void backfills_consider(Backfills *backfills, const ScorerView *view);
extern void backfills_status(Backfills *backfills, BackfillsStatus *status);
/* The i-th of the tables that could not be read; false: there are no more. */
extern bool backfills_failure(Backfills *backfills, int i, BackfillFailure *failure);
extern void backfills_stop(Backfills *backfills);
extern void backfills_destroy(Backfills *backfills);

#endif /* WALRANK_BACKFILLS_H */
