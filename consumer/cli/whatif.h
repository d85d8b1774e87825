/*
 * whatif.h -- what a definition would make of the items the daemon has, beside the one in force.
 *
 * Items and interventions come from a snapshot of the store and time from its last unit (or from who asks),
 * never from the table or a clock: the same snapshot and the same text give the same answer.
 */
#ifndef WALRANK_WHATIF_H
#define WALRANK_WHATIF_H

#include "cli/comparison.h"
#include "cli/definition.h"
#include "score/trial.h"

/* The statement that moves an item most. */
typedef struct Responsible
{
	char name
		[80]; /* "where" and "tier", which move by other means than the score, first; "" = none can be told */
	double by; /* so much its contribution to the score differs; 0 for those two */
} Responsible;

typedef struct WhatIf
{
	Trial *trial;
	TrialInfo info;
	/* after whatif_run() */
	int64_t at_us;				/* since 1970 */
	uint64_t items, incomplete; /* incomplete: an attribute is still unknown, so it is in no ranking */
	uint64_t quarantined[TRIAL_SIDES];
	Comparison comparison;
} WhatIf;

/* name: of the ranking in force. The store is borrowed. */
extern bool whatif_open(WhatIf *whatif, Store *store, const Definition *definition, const char *name,
						Error *err);
extern void whatif_close(WhatIf *whatif);
/* Evaluates every item under both at that time. */
extern bool whatif_run(WhatIf *whatif, int64_t at_us, Error *err);
/* Of one that moves; after whatif_run(). */
extern bool whatif_responsible(WhatIf *whatif, const ComparedItem *item, Responsible *responsible,
							   Error *err);

#endif /* WALRANK_WHATIF_H */
