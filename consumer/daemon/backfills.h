/*
 * backfills.h -- which table is read next, and the thread that reads it.
 *
 * One at a time: the tables of walrank_config first, for they say what else there is, then the
 * watched ones by name.  A table that cannot be read, for whatever reason, is set aside for a while
 * and holds up no other.  Tables may be asked for, to be read again, and given up: one that was given up
 * waits until it is asked for.  Both outlive the process (file "backfills" of the state directory).
 */
#ifndef WALRANK_BACKFILLS_H
#define WALRANK_BACKFILLS_H

#include "daemon/scorer_thread.h"
#include "stream/backfill.h"

typedef struct Backfills Backfills;

typedef struct BackfillsStatus
{
	bool running;
	char relation[264];
	BackfillProgress progress;
	uint64_t done;
	uint64_t failed;
	char error[1024]; /* of the last failed one, until one succeeds */
} BackfillsStatus;

#define BACKFILL_FAILURES_MAX 64

/* A table whose last backfill failed, until one succeeds or nobody asks for it any more. */
typedef struct BackfillFailure
{
	char relation[264];
	char error[1024];
} BackfillFailure;

/* limits may change under way. */
extern bool backfills_start(int state_dirfd, const SourceSettings *settings, const BackfillLimits *limits,
							Journal *journal, ScorerThread *scorer, ThreadFailed failed, void *context,
							Backfills **started, Error *err);
/* Called every now and then with the scorer's newest copy: begins what has to be begun. */
extern void backfills_consider(Backfills *backfills, const ScorerView *view);
extern void backfills_status(Backfills *backfills, BackfillsStatus *status);
/* The i-th of the tables that could not be read; false: there are no more. */
extern bool backfills_failure(Backfills *backfills, int i, BackfillFailure *failure);
typedef enum
{
	BACKFILL_IDLE,
	BACKFILL_ASKED, /* read soon, whether it needs it or not */
	BACKFILL_HELD,	/* given up, not read until asked for */
} BackfillWish;
extern BackfillWish backfills_wish(Backfills *backfills, const char *relation);
/*
 * A table, by its name as in status or the part after the dot; NULL: all.  names: those it is about, one per line.
 * dry_run changes nothing.  ERR_CONFIG: there is no such table, or not one alone, among those that are read.
 */
extern bool backfills_wish_for(Backfills *backfills, const ScorerView *view, const char *relation,
							   BackfillWish wish, bool dry_run, Buffer *names, Error *err);
extern void backfills_stop(Backfills *backfills);
extern void backfills_destroy(Backfills *backfills);

#endif /* WALRANK_BACKFILLS_H */
