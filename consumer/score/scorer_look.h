/*
 * scorer_look.h -- what a scorer has of one ranking, for tools that run one of their own.
 */
#ifndef WALRANK_SCORER_LOOK_H
#define WALRANK_SCORER_LOOK_H

#include "score/scorer.h"

typedef struct ScorerRanking
{
	uint32_t number;
	uint32_t revision;
	uint32_t version;
	bool live;				/* enabled, compiled and bound to a watched table */
	const char *definition; /* valid until the next unit */
} ScorerRanking;

/* False: there is none of that name. */
extern bool scorer_look_ranking(const Scorer *scorer, const char *name, ScorerRanking *ranking);

#endif /* WALRANK_SCORER_LOOK_H */
