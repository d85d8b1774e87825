/*
 * checker.h -- what a tree means: names, types, functions' arguments, attributes.
 *
 * After it there is no let and no macro any more, every call has its arguments in place, every table is ordered, every attribute has its
 * number, and no operand is of a kind that can be told wrong without an item.
 */
#ifndef WALRANK_RULES_CHECKER_H
#define WALRANK_RULES_CHECKER_H

#include "parser.h"

typedef struct RuleChecked
{
	RuleAttribute attributes[RULES_ATTRIBUTES_MAX]; /* in order of first appearance */
	int nattributes;
	bool use_clock;
} RuleChecked;

extern bool rule_check(RuleDefinition *definition, RuleChecked *checked, const RuleMemory *memory,
					   RuleError *error);

/* That every let and macro is right by itself, whether it is used or not; rule_check() does it as well. */
extern bool rule_check_names(const RuleDefinition *definition, const RuleMemory *memory, RuleError *error);

/* Order of table keys of one kind: numbers by value, text by bytes, false before true. */
extern int rule_literal_order(const RuleLiteral *a, const RuleLiteral *b);
extern int rule_text_order(Slice a, Slice b);

#endif /* WALRANK_RULES_CHECKER_H */
