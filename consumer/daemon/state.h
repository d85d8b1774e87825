/*
 * state.h -- everything on disk, opened together or not at all.
 *
 * Holds the lock of the state directory for life.  Opening recovers journal, store and feed in this
 * order and refuses what does not belong together (rules R6 and R7); it never starts with an empty
 * store.
 */
#ifndef WALRANK_STATE_H
#define WALRANK_STATE_H

#include "daemon/config.h"
#include "feed/feed.h"
#include "journal/journal.h"
#include "score/scorer.h"
#include "score/store.h"

typedef struct State
{
	int dirfd;
	int lockfd;
	int journal_dirfd;
	int store_dirfd;
	int feed_dirfd;
	Journal *journal;
	Store *store;
	Scorer *scorer;
	Feed *feed;
} State;

/* The directory and its lock. create: make what is missing. */
extern bool state_lock(const char *directory, bool create, State *state, Error *err);
/* Empties what an interrupted creation left and makes journal, store (with its first snapshot) and feed, all synced. */
extern bool state_make(State *state, const Config *config, const JournalIdentity *identity, Error *err);
extern bool state_open(State *state, const Config *config, Error *err);
/* Journal and feed synced, store synced and marked clean. */
extern bool state_close_clean(State *state, Error *err);
/*
 * Syncs the feed.  After a failure the feed on disk may end before the store, though the kernel still shows all of it:
 * the store is marked torn, so that the next start takes a snapshot, which the feed was synced for.
 */
extern bool state_sync_feed(State *state, Error *err);
/* Lets go of everything as a kill would. */
extern void state_abandon(State *state);

#endif /* WALRANK_STATE_H */
