/*
 * timers.h -- when a TIMER unit is due, and that those of the past come before what is later.
 *
 * What an intervention begins or ends is told with the moment that was set for it, one unit each, however late we are;
 * scores that only move with their age go together, at the time it is.
 */
#ifndef WALRANK_TIMERS_H
#define WALRANK_TIMERS_H

#include "daemon/scorer_thread.h"

/* The unit that is due at now_us (since 1970), of at most `limit` items. False: none is. */
extern bool timers_unit(const ScorerWants *wants, int64_t now_us, uint32_t limit, Unit *unit);
/* Until the next one that is known of; at most `most_us`. */
extern int64_t timers_wait_us(const ScorerWants *wants, int64_t now_us, int64_t most_us);

typedef struct Timers
{
	Journal *journal;
	ScorerThread *scorer;
	uint32_t limit;
} Timers;

/*
 * Before a stream begins (SessionContext.settle): what fell due while nobody was there is journaled, so that no
 * transaction of later carries our clock past it.  Waits for the scorer.  ERR_RETRY: *stop, or it took too long.
 */
extern bool timers_catch_up(void *timers, const atomic_bool *stop, Error *err);

#endif /* WALRANK_TIMERS_H */
