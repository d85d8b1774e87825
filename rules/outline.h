/*
 * outline.h -- what a program is made of, for those who list it.
 */
#ifndef WALRANK_RULES_OUTLINE_H
#define WALRANK_RULES_OUTLINE_H

#include "rules.h"

typedef struct RuleOutline
{
	int terms, boosts, factors;
	bool where;
} RuleOutline;

extern void rules_outline(const RuleProgram *program, RuleOutline *outline);
/* Name and weight of its i-th term, from 0, in the order of the text; NULL after the last. */
extern const char *rules_term(const RuleProgram *program, int i, double *weight);

#endif /* WALRANK_RULES_OUTLINE_H */
