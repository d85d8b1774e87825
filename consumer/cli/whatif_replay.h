/*
 * whatif_replay.h -- how much two definitions of a ranking would have emitted.
 *
 * The scorer itself runs through the journal twice, over private copies of a snapshot made before the point
 * asked for: once as it was, once with the ranking's definition replaced at that point.  There both begin
 * with every item evaluated anew, so what is counted is what the changes that followed caused, and nothing
 * that the edit itself would.  What falls due by the clock is told at its own time, to the second; units of the
 * journal that did that for the daemon are passed over.  The daemon's files are read and never written; the copies lie in $TMPDIR and
 * have no names while they are in use.
 */
#ifndef WALRANK_WHATIF_REPLAY_H
#define WALRANK_WHATIF_REPLAY_H

#include "cli/definition.h"
#include "cli/look.h"
#include "score/trial.h"

typedef struct ReplayCounts
{
	uint64_t scores;
	uint64_t removals;
} ReplayCounts;

typedef struct WhatIfReplay
{
	uint64_t snapshot;		/* unit of the snapshot that was copied */
	uint64_t from, to;		/* units; to < from: there were none */
	int64_t from_us, to_us; /* their clock, since 1970 */
	uint64_t changes;		/* of items of the table */
	ReplayCounts before, after;
	uint64_t changed_in; /* the unit that changed the ranking itself: counting ended before it; 0: none did */
} WhatIfReplay;

/* table: as trial_info() has it, with its number. */
extern bool whatif_replay(const Config *config, const Look *look, const Definition *definition,
						  const char *name, const TrialInfo *table, uint64_t from, WhatIfReplay *replay,
						  Error *err);

#endif /* WALRANK_WHATIF_REPLAY_H */
