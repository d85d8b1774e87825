/*
 * names.h -- const, let and macro: names that stand for something else.
 *
 * A name is known below its statement only, so nothing can stand for itself.  All share one space;
 * what is known once cannot be given another meaning.
 */
#ifndef WALRANK_RULES_NAMES_H
#define WALRANK_RULES_NAMES_H

#include "expression.h"

typedef enum
{
	NAME_CONST,
	NAME_LET,
	NAME_MACRO,
} RuleNameKind;

struct RuleName
{
	RuleNameKind kind;
	RulePosition at;
	Slice name;
	Slice library; /* empty: the definition itself */
	double number; /* NAME_CONST */
	RuleNode *body;
	int type;		 /* of the body, a Type of the checker's */
	int nparameters; /* NAME_MACRO */
	Slice parameters[RULES_PARAMETERS_MAX];
};

/* The present token is the one after the statement's word. */
extern bool rule_parse_const(RuleParser *parser, RuleDefinition *definition, RulePosition at);
extern bool rule_parse_let(RuleParser *parser, RuleDefinition *definition, RulePosition at);
extern bool rule_parse_macro(RuleParser *parser, RuleDefinition *definition, RulePosition at);

/* NULL: it stands for nothing. */
extern const RuleName *rule_name_find(const RuleDefinition *definition, Slice name);

#endif /* WALRANK_RULES_NAMES_H */
