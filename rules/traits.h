/*
 * traits.h -- what each operation and each function promises to those who reason about programs.
 *
 * An operation or function without a row promises nothing: anything may happen.  Then the clock
 * proves less and is asked more often, but is never wrong.  One row a word makes it prove more;
 * test_rules_clock.c fails for a function that has none.
 */
#ifndef WALRANK_RULES_TRAITS_H
#define WALRANK_RULES_TRAITS_H

#include "program.h"

typedef struct RuleOpTraits
{
	bool known;			  /* the rest holds, and of the input it reads nothing but what is told here */
	bool reads_attribute; /* number index & OPERAND_ATTRIBUTE */
	bool reads_clock;
	bool jumps_only; /* its result moves in jumps, however its operands move */
} RuleOpTraits;

extern const RuleOpTraits *rule_op_traits(RuleOp op);

/* How many cells an instruction takes from the stack; those that only look at the top take it too. */
extern int rule_op_operands(const RuleInstruction *instruction);

/*
 * A numeric function over a box of arguments.  Where it is monotone in each argument alone while the
 * others stand still, its least and greatest values are at corners of the box, and what doubles
 * make of it is off by a known number of units in the last place.
 */
typedef struct RuleFunctionTraits
{
	const char *name;
	uint8_t monotone; /* bit i: in argument i; other arguments have to be points */
	uint8_t turns;	  /* bit i: it turns round where argument i is 0 and is monotone on each side */
	int8_t floor;	  /* argument that with_floor() applies last, or -1 */
	uint8_t wobble;	  /* units in the last place by which the computed value may leave its monotone path,
						   * the floor aside; 0: operations of IEEE 754 alone, which are monotone */
	bool jumps_only;  /* moves in jumps */
	/* NULL, or whether the function behaves over this whole box: no pole, no domain left */
	bool (*smooth)(const double *low, const double *high);
} RuleFunctionTraits;

/* Whether rule_round() to q is monotone from low to high: where v / q overflows it gives v itself. */
extern bool rule_round_monotone(double low, double high, double q);

/* NULL: nothing is known of it. */
extern const RuleFunctionTraits *rule_function_traits(const RuleFunction *function);

#endif /* WALRANK_RULES_TRAITS_H */
