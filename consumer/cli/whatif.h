/*
 * whatif.h -- a definition tried on the items the daemon has, beside the one in force.
 *
 * Items come from a snapshot of the store and time from its last unit (or from who asks), never from the
 * table or a clock: the same snapshot and the same text give the same answer.  Nothing is written.
 */
#ifndef WALRANK_WHATIF_H
#define WALRANK_WHATIF_H

#include "cli/comparison.h"
#include "cli/definition.h"
#include "score/ranking.h"

/* One of the two. */
typedef struct WhatIfSide
{
	const RuleProgram *program; /* NULL: nothing is in the ranking on this side */
	const RuleBinding *binding;
	RuleValue *values;
	uint64_t quarantined; /* items that have no score for an error */
} WhatIfSide;

typedef struct WhatIf
{
	Store *store;
	Relations relations;
	Rankings rankings;
	const Ranking *live; /* as the store has it; NULL: there is none of that name yet */
	Relation *relation;
	WhatIfSide before, after;
	Arena *memory; /* of what is new */
	Buffer remapped;
	Buffer spare;
	/* after whatif_run() */
	int64_t at_us;				/* since 1970 */
	uint64_t items, incomplete; /* incomplete: an attribute is still unknown, so it is in no ranking */
	Comparison comparison;
} WhatIf;

/* name: of the ranking; its relation is that of the definition's header, or of the one in force. The store is borrowed. */
extern bool whatif_open(WhatIf *whatif, Store *store, const Definition *definition, const char *name,
						Error *err);
extern void whatif_close(WhatIf *whatif);
/* Evaluates every item under both at that time. */
extern bool whatif_run(WhatIf *whatif, int64_t at_us, Error *err);

/* One item, as it is stored. *known is false when it is in no ranking, for want of an attribute. */
extern bool whatif_image(WhatIf *whatif, Slice value, Slice *image, bool *known, Error *err);
/* Under one side, at that time. */
extern RuleResult whatif_evaluate(const WhatIfSide *side, Slice key, Slice image, int64_t at_us);
/* The image of an item by its key. *found is false when it is not there or not whole. */
extern bool whatif_find(WhatIf *whatif, Slice key, Slice *image, bool *found, Error *err);

#endif /* WALRANK_WHATIF_H */
