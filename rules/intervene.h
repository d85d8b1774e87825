/*
 * intervene.h -- what people decided about an item, on top of what a ranking makes of it.
 *
 * scoring.md section d.  Precedence: block > freeze > pin > tier > boosts and buries > the organic
 * score.  A block takes the item out; a frozen item has its frozen score, and neither pin nor tier;
 * of pins and tiers the first in order counts, of boosts and buries all, one after the other, on the
 * composite score, which is rounded once more.  `allow` lets an item in that `where` leaves out.
 * Pure, like all of rules/: daemon and SQL share it.
 */
#ifndef WALRANK_RULES_INTERVENE_H
#define WALRANK_RULES_INTERVENE_H

#include "rules.h"

#define RULES_TIER_EXTREME 4095 /* tier * 2^40 + score has to fit a double of one-double stores */
#define RULES_TIER_BURIED (-1)

typedef enum
{
	INTERVENE_PIN,
	INTERVENE_TIER,
	INTERVENE_TOP,
	INTERVENE_BOTTOM,
	INTERVENE_BOOST,
	INTERVENE_BURY,
	INTERVENE_BLOCK,
	INTERVENE_ALLOW,
	INTERVENE_FREEZE,
	INTERVENE_ACTIONS
} RuleAction;

typedef struct RuleIntervention
{
	RuleAction action;
	bool has_tier; /* BURY: to that tier, not by factor */
	int32_t tier;  /* TIER, BURY */
	int32_t pin;   /* PIN: the position it has come to, from 1 */
	double factor; /* BOOST, BURY: > 0; 1 where only something is added */
	double addend; /* BOOST; 0 */
	double score;  /* FREEZE */
	int32_t priority;
	uint64_t order; /* of commit; later is greater */
} RuleIntervention;

/* Where an item stands in a ranking. */
typedef struct RuleStanding
{
	bool shown;	  /* it is in the ranking */
	bool blocked; /* it is not, because somebody blocked it */
	bool frozen;
	double score;
	int32_t tier;
	int32_t pin; /* 0: none */
} RuleStanding;

extern const char *const rules_actions[INTERVENE_ACTIONS]; /* "pin", "tier", .. */
extern bool rules_action(Slice name, RuleAction *action);

/* Higher priority first, then the later one: negative when a comes before b. */
extern int rules_intervention_order(const RuleIntervention *a, const RuleIntervention *b);

/* Whether one of them lets the item in against `where`; then it is evaluated as if there were none. */
extern bool rules_allowed(const RuleIntervention *const *active, int n);

/*
 * active: all that are in force for the item, in order.  organic: what the ranking made of it.
 * False, with *reason: there is no finite score.
 */
extern bool rules_intervene(const RuleProgram *program, const RuleIntervention *const *active, int n,
							const RuleResult *organic, RuleStanding *standing, const char **reason);

#endif /* WALRANK_RULES_INTERVENE_H */
