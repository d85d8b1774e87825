/*
 * intervene.c -- see intervene.h.
 */
#include "intervene.h"

#include <math.h>

#include "program.h"

const char *const rules_actions[INTERVENE_ACTIONS] = {
	[INTERVENE_PIN] = "pin",	   [INTERVENE_TIER] = "tier",	[INTERVENE_TOP] = "top",
	[INTERVENE_BOTTOM] = "bottom", [INTERVENE_BOOST] = "boost", [INTERVENE_BURY] = "bury",
	[INTERVENE_BLOCK] = "block",   [INTERVENE_ALLOW] = "allow", [INTERVENE_FREEZE] = "freeze",
};

bool
rules_action(Slice name, RuleAction *action)
{
	for (int i = 0; i < INTERVENE_ACTIONS; i++)
		if (slice_equal(name, slice_string(rules_actions[i])))
		{
			*action = (RuleAction) i;
			return true;
		}
	return false;
}

int
rules_intervention_order(const RuleIntervention *a, const RuleIntervention *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	return a->order > b->order ? -1 : a->order < b->order;
}

/* The first of that action; NULL: none. */
static const RuleIntervention *
first_of(const RuleIntervention *const *active, int n, RuleAction action)
{
	for (int i = 0; i < n; i++)
		if (active[i]->action == action)
			return active[i];
	return NULL;
}

bool
rules_allowed(const RuleIntervention *const *active, int n)
{
	return first_of(active, n, INTERVENE_ALLOW) != NULL;
}

/* The first that says a tier says it; otherwise the ranking does. */
static int32_t
decide_tier(const RuleIntervention *const *active, int n, int32_t organic)
{
	for (int i = 0; i < n; i++)
		switch (active[i]->action)
		{
			case INTERVENE_TIER:
				return active[i]->tier;
			case INTERVENE_TOP:
				return RULES_TIER_EXTREME;
			case INTERVENE_BOTTOM:
				return -RULES_TIER_EXTREME;
			case INTERVENE_BURY:
				if (active[i]->has_tier)
					return active[i]->tier;
				break;
			default:
				break;
		}
	return organic;
}

static double
adjust(const RuleIntervention *const *active, int n, double score)
{
	for (int i = 0; i < n; i++)
	{
		const RuleIntervention *one = active[i];

		if (one->action == INTERVENE_BOOST || (one->action == INTERVENE_BURY && !one->has_tier))
			score = score * one->factor + one->addend;
	}
	return score;
}

static bool
set_score(const RuleProgram *program, double score, RuleStanding *standing, const char **reason)
{
	if (!isfinite(score))
	{
		*reason = "overflow";
		return false;
	}
	score = rule_round(score, program->round);
	standing->score = score == 0 ? 0 : score; /* -0 and 0 are one score */
	return true;
}

bool
rules_intervene(const RuleProgram *program, const RuleIntervention *const *active, int n,
				const RuleResult *organic, RuleStanding *standing, const char **reason)
{
	const RuleIntervention *one;

	*standing = (RuleStanding){0};
	standing->blocked = first_of(active, n, INTERVENE_BLOCK) != NULL;
	if (standing->blocked)
		return true;
	one = first_of(active, n, INTERVENE_FREEZE);
	standing->frozen = one != NULL;
	standing->shown = standing->frozen || organic->outcome == RULE_SCORE;
	if (!standing->shown)
		return true;
	if (standing->frozen)
		return set_score(program, one->score, standing, reason);
	one = first_of(active, n, INTERVENE_PIN);
	standing->pin = one != NULL ? one->pin : 0;
	standing->tier = decide_tier(active, n, organic->tier);
	if (n == 0)
	{
		standing->score = organic->score;
		return true;
	}
	return set_score(program, adjust(active, n, organic->score), standing, reason);
}
