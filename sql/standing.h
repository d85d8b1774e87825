/*
 * standing.h -- where an item stands in a ranking, and why: what standing() and explain() share.
 */
#ifndef WALRANK_STANDING_H
#define WALRANK_STANDING_H

#include "postgres.h"

#include "access/htup.h"
#include "fmgr.h"

#include "interventions.h"
#include "score.h"

/* What is kept from call to call, for as long as the context lives. */
typedef struct StandingCache StandingCache;

extern StandingCache *standing_open(MemoryContext context);

typedef struct Standing
{
	RuleStanding now; /* nothing is shown in a ranking that is not enabled */
	bool has_organic;
	double organic; /* what walrank.score() says */

	/* how it came about: borrowed until the next call, and unset where the ranking is not enabled */
	ScoreItem item;
	bool allowed;		/* result is that without `where` */
	RuleResult result;	/* of the ranking, before the interventions */
	const char *reason; /* not NULL: what the interventions make of it is no score */
	int n;
	const InForce *const *active; /* in order of precedence */
} Standing;

/* Warns where there is no score because something went wrong. */
extern void standing_find(StandingCache *cache, const char *ranking, HeapTupleHeader item, TimestampTz at,
						  int64 without, Standing *standing);

/* The table a ranking is over, and its name in the current context.  Errors when there is none. */
extern Oid standing_relation(const char *ranking, char **relation);

/* The time in an argument: now by default, never infinite. */
extern TimestampTz standing_time(FunctionCallInfo fcinfo, int argument);

#endif /* WALRANK_STANDING_H */
