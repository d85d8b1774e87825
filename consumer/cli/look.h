/*
 * look.h -- the daemon's newest snapshot and what belongs to it, for a tool beside it.
 *
 * The daemon may run; it notices nothing, and what it writes meanwhile is not seen.
 */
#ifndef WALRANK_LOOK_H
#define WALRANK_LOOK_H

#include "cli/stopped.h"
#include "score/store.h"

typedef struct Look
{
	StoppedState stopped;
	int store_dirfd;
	Store *store;
	StorePosition position; /* of the snapshot */
} Look;

extern bool look_open(const Config *config, Look *look, Error *err);
extern void look_close(Look *look);
/* Has the running daemon make a snapshot of all that is durable now, and waits for it. ERR_RETRY: none in time. */
extern bool look_refresh(const Config *config, Error *err);
/* The clock of a unit (Unit.now_us), or of the one after it where the unit itself is gone already. */
extern bool look_time(const Look *look, uint64_t seq, int64_t *now_us, Error *err);

#endif /* WALRANK_LOOK_H */
