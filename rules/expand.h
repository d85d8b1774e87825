/*
 * expand.h -- in place of each let and macro what it stands for.
 *
 * A copy for every use, in which parameters are the arguments of that use.  A name knows only those
 * above it, so this ends; nodes and depth stay within the limits of what is written out, whatever
 * multiplies.  Places inside a copy remember the use (RulePosition).
 */
#ifndef WALRANK_RULES_EXPAND_H
#define WALRANK_RULES_EXPAND_H

#include "names.h"

typedef struct RuleExpander
{
	const RuleMemory *memory;
	RuleError *error;
	int nodes; /* made so far */
} RuleExpander;

/* *node may become another one. */
extern bool rule_expand(RuleExpander *expander, RuleNode **node);

/* The body of a let or macro by itself: parameters and the names in it stay what they are. */
extern RuleNode *rule_copy_body(RuleExpander *expander, const RuleName *name);

#endif /* WALRANK_RULES_EXPAND_H */
