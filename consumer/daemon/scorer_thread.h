/*
 * scorer_thread.h -- the one thread that turns units into records, and its commits.
 *
 * Units in order, each scored once; feed written before the store commits (R3); the store committed
 * every commit_time or commit_changes; snapshots by a second thread, which count only when journal
 * and feed are synced as far.  What other threads want to know is copied out, never shared.
 */
#ifndef WALRANK_SCORER_THREAD_H
#define WALRANK_SCORER_THREAD_H

#include "daemon/state.h"

#define SCORER_TABLES_MAX 1024

typedef struct ScorerView
{
	StorePosition position; /* scored, not necessarily committed */
	uint64_t committed;		/* whole units in the store's last commit: what a snapshot would hold */
	Lsn end_lsn;
	int64_t commit_time_us; /* of the last transaction scored */
	ScorerWants wants;
	ScorerCounters counters;
	bool waiting; /* for space */
	char note[512];
	uint64_t snapshots;
	int ntables; /* tables[] is copied as far as this */
	ScorerTable tables[SCORER_TABLES_MAX];
} ScorerView;

typedef struct ScorerThread ScorerThread;

/* failed is called once, from the thread, with an error that ends the daemon. */
typedef void (*ThreadFailed)(void *context, const Error *err);

extern ScorerThread *scorer_thread_start(State *state, const Config *config, ThreadFailed failed,
										 void *context);
/* Copied when the scorer has caught up, and every 100 ms; version rises with each copy. */
extern uint64_t scorer_thread_view(ScorerThread *thread, ScorerView *view);
/* Waits until a copy newer than `version` is there, or timeout. */
extern void scorer_thread_wait(ScorerThread *thread, uint64_t version, int64_t timeout_us);
extern void scorer_thread_snapshot(ScorerThread *thread); /* make one soon */
/* Let all but the newest go, soon. */
extern void scorer_thread_newest_snapshot_only(ScorerThread *thread);
/*
 * A question that the thread itself answers, between two units, once it has scored unit seq. ERR_RETRY: *stop became
 * true (NULL: it does not), or no answer came in time.
 */
typedef bool (*ScorerQuestion)(Scorer *scorer, void *question, Error *err);
extern bool scorer_thread_ask(ScorerThread *thread, uint64_t seq, ScorerQuestion ask, void *question,
							  int64_t timeout_us, const atomic_bool *stop, Error *err);
/* scorer_fill(), as such a question; within a minute. */
extern bool scorer_thread_fill(ScorerThread *thread, uint32_t oid, uint64_t seq, uint64_t keys_max,
							   const atomic_bool *stop, ScorerFill *fill, Error *err);
/* Scores what the journal holds (at most timeout), commits, ends both threads. */
extern void scorer_thread_stop(ScorerThread *thread, int64_t timeout_us);
extern void scorer_thread_destroy(ScorerThread *thread);

#endif /* WALRANK_SCORER_THREAD_H */
