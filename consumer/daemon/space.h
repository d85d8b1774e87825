/*
 * space.h -- giving back disk space that nobody can need any more, and asking for what would free some.
 *
 * Carries out what retention.h decides: cuts journal and feed, gives a sink up, has a store snapshot made,
 * and tells the packer what everyone is past.
 * Called by housekeeping only.
 */
#ifndef WALRANK_SPACE_H
#define WALRANK_SPACE_H

#include "daemon/scorer_thread.h"
#include "daemon/sinkset.h"

typedef struct Space Space;

/* The quotas as configured now; before anything is appended, and whenever they may have changed. */
extern void space_set_quotas(State *state, const Config *config);

extern Space *space_create(State *state, const Config *config, ScorerThread *scorer, SinkSet *sinks,
						   ThreadFailed failed, void *context);
extern void space_destroy(Space *space);
/* Does what is due, a few times a second. */
extern bool space_step(Space *space, const ScorerView *view, int64_t now_us, Error *err);

#endif /* WALRANK_SPACE_H */
