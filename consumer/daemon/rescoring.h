/*
 * rescoring.h -- when the next chunk of a rescoring goes into the journal.
 *
 * Chunks are units among others, so what is behind them waits: live changes must not wait long, and the work has to go
 * on as fast as scorer and sinks can.  So as many chunks are on their way as sinks take in about RESCORING_DELAY_US, the
 * time apart for which they gather what they write: the window grows while chunks come through sooner, and halves when
 * they do not.  A sink that is far behind anyway is not waited for.  Each chunk goes in once, in order.
 */
#ifndef WALRANK_RESCORING_H
#define WALRANK_RESCORING_H

#include "daemon/scorer_thread.h"
#include "daemon/sinkset.h"

#define RESCORING_DELAY_US INT64_C(80000)
#define RESCORING_ITEMS 1000 /* of a chunk, at most, where the size of the job is known */

typedef struct Rescoring Rescoring;

extern Rescoring *rescoring_create(State *state, const Config *config, SinkSet *sinks);
extern void rescoring_destroy(Rescoring *rescoring);
/* Appends what may go now. */
extern bool rescoring_step(Rescoring *rescoring, const ScorerView *view, Error *err);
/* How soon it wants to be called again; at most most_us. */
extern int64_t rescoring_wait_us(const Rescoring *rescoring, int64_t most_us);

#endif /* WALRANK_RESCORING_H */
