/*
 * housekeeping.h -- what has to happen by the clock or because the scorer asks for it.
 *
 * The beat, the next RESCORE unit when the one before is scored, backfills, and giving back disk
 * space that nobody can need any more (R8, K6).  One thread; nothing else waits for it.
 */
#ifndef WALRANK_HOUSEKEEPING_H
#define WALRANK_HOUSEKEEPING_H

#include "daemon/backfills.h"
#include "daemon/scorer_thread.h"
#include "daemon/sinkset.h"
#include "stream/receiver.h"

typedef struct HousekeepingParts
{
	State *state;
	const Config *config;
	const SourceSettings *settings;
	ScorerThread *scorer;
	Receiver *receiver;
	Backfills *backfills;
	SinkSet *sinks;
	ThreadFailed failed;
	void *context;
} HousekeepingParts;

typedef struct Housekeeping Housekeeping;

extern Housekeeping *housekeeping_start(const HousekeepingParts *parts);
extern void housekeeping_stop(Housekeeping *housekeeping);

#endif /* WALRANK_HOUSEKEEPING_H */
