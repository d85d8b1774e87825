/*
 * scorer_look.c -- see scorer_look.h.
 */
#include "score/scorer_look.h"

#include "score/step.h"

bool
scorer_look_ranking(const Scorer *scorer, const char *name, ScorerRanking *ranking)
{
	const Ranking *found = rankings_by_name(&scorer->rankings, slice_string(name));

	if (found == NULL)
		return false;
	*ranking = (ScorerRanking){.number = found->number,
							   .revision = found->revision,
							   .version = found->version,
							   .live = found->relation != NULL,
							   .definition = found->definition};
	return true;
}
