/*
 * functions.h -- the functions of the language, one table.
 *
 * The table knows each function's arguments, their names, defaults and domains; the parser, the
 * checker, the evaluator and every error message read it, so they cannot disagree.
 */
#ifndef WALRANK_RULES_FUNCTIONS_H
#define WALRANK_RULES_FUNCTIONS_H

#include "problem.h"

#define RULES_ARGUMENTS_MAX 4

/* How a function becomes instructions. */
typedef enum
{
	FUNCTION_NUMERIC, /* all arguments are numbers: compute() does it */
	FUNCTION_LEAST,	  /* min, max: two arguments or more */
	FUNCTION_GREATEST,
	FUNCTION_EXISTS,
	FUNCTION_AGE,
	FUNCTION_STEPS,
	FUNCTION_INTERP,
	FUNCTION_ENUM,
	FUNCTION_FLAG,
	FUNCTION_CONTAINS,
	FUNCTION_OVERLAP,
	FUNCTION_LENGTH,
	FUNCTION_OLD, /* what an attribute was */
	FUNCTION_CHANGED,
	FUNCTION_DELTA,
	FUNCTION_RATE,
} RuleFunctionKind;

typedef enum
{
	ARGUMENT_NUMBER,
	ARGUMENT_CONDITION,
	ARGUMENT_ATTRIBUTE,
	ARGUMENT_OPERAND,  /* an attribute, or old(attribute) */
	ARGUMENT_SCALAR,   /* number, text or bool */
	ARGUMENT_STEPS,	   /* [(bound, value), ...] */
	ARGUMENT_SET,	   /* ['a', 'b', ...] */
	ARGUMENT_ENUM,	   /* {key: value, ...} */
	ARGUMENT_CONSTANT, /* a number, written out */
} RuleArgumentKind;

typedef enum
{
	DOMAIN_ANY,
	DOMAIN_NOT_NEGATIVE,
	DOMAIN_POSITIVE,
	DOMAIN_FRACTION,	  /* 0 < x < 1 */
	DOMAIN_FRACTION_WIDE, /* 0 <= x <= 1 */
} RuleDomain;

typedef struct RuleArgument
{
	const char *name; /* NULL: no more arguments */
	RuleArgumentKind kind;
	RuleDomain domain;
	bool optional;
	double fallback; /* of an optional number */
} RuleArgument;

typedef struct RuleFunction
{
	const char *name;
	const char *usage; /* as people write it */
	RuleFunctionKind kind;
	int narguments;
	RuleArgument arguments[RULES_ARGUMENTS_MAX];
	double (*compute)(const double *arguments);
} RuleFunction;

/* NULL: no such function. */
extern const RuleFunction *rule_function_find(Slice name);

/* All of them, from 0; NULL after the last. */
extern const RuleFunction *rule_function_at(int i);

extern int rule_function_count(void);

/* Error for a name that is no function: written otherwise here, or unknown.  Returns false. */
extern bool rule_function_unknown(RuleError *error, RulePosition at, Slice name);

/* NULL when the number is inside the domain, else what it must be: "must be greater than 0". */
extern const char *rule_domain_violation(RuleDomain domain, double number);

/* The same as yes or no. */
static inline bool
rule_domain_has(RuleDomain domain, double number)
{
	switch (domain)
	{
		case DOMAIN_ANY:
			return true;
		case DOMAIN_NOT_NEGATIVE:
			return number >= 0;
		case DOMAIN_POSITIVE:
			return number > 0;
		case DOMAIN_FRACTION:
			return number > 0 && number < 1;
		case DOMAIN_FRACTION_WIDE:
			return number >= 0 && number <= 1;
	}
	return true;
}

/* round of scoring.md: to a multiple of q > 0, half to even; unchanged where a double has no finer
 * neighbours anyway. */
extern double rule_round(double v, double q);

/* The same in two parts: what of it depends on q alone, and the rest. */
extern double rule_round_units(double q);
extern double rule_round_by(double v, double q, double units);

#endif /* WALRANK_RULES_FUNCTIONS_H */
