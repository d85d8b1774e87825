/*
 * machine.h -- the evaluator from inside: what clock.c, explain.c and fast.c share with it.
 *
 * There is one machine (eval.c).  The clock lets it execute what does not move with time and reckons
 * the rest in spans; explain listens to it; the usual course (fast.c) hands over to it whatever is
 * unusual, and is held to it bit by bit by test_rules_explain.c, fuzz_rules.c and tests/rules.
 */
#ifndef WALRANK_RULES_MACHINE_H
#define WALRANK_RULES_MACHINE_H

#include "program.h"

/* What the stack holds. kind: RULE_MISSING .. RULE_OTHER, with the meaning of a RuleValue. */
typedef struct Cell
{
	RuleKind kind;
	bool has_time; /* RULE_TEXT written in the definition that reads as a time */
	union
	{
		bool boolean;
		double number;
		int64_t time_us;
		Slice bytes;
	};
	int64_t text_time_us; /* has_time */
} Cell;

typedef struct Machine
{
	const RuleValue *values;
	const RuleValue *previous; /* or NULL */
	const RuleChange *changes; /* or NULL */
	int64_t now_us;
	bool allowed;		/* `where` is not asked */
	Cell *stack;		/* as many cells as the program needs */
	const char *reason; /* of the error */
	RuleWhy why;		/* of the last block */
} Machine;

typedef enum
{
	BLOCK_VALUE,
	BLOCK_LEFT_OUT,
	BLOCK_REJECTED,
	BLOCK_QUARANTINE,
} BlockOutcome;

/* Hears of every block in its order, and of the totals if there is a score. */
typedef struct RuleTrace
{
	void (*block)(struct RuleTrace *trace, const Machine *machine, const RuleBlock *block, bool counts,
				  double value);
	RuleTotals totals;
} RuleTrace;

/* rules_evaluate() with a listener. */
extern void rule_evaluate_traced(const RuleProgram *program, const RuleInput *input, RuleResult *result,
								 RuleTrace *trace);

/* Execute the instruction at *at. *top: the first free cell. False: machine->reason. */
extern bool rule_execute(Machine *machine, const RuleProgram *program, int *at, Cell **top);

/* What a policy makes of a block whose value is missing or failed. */
extern BlockOutcome rule_policy(const RulePolicy *policy, double *value);

/* What an instruction's `index` means where it is an operand. */
extern const RuleValue *rule_operand(const Machine *machine, int index);

extern double rule_clamp(const RuleProgram *program, double score);

/* The last entry of a sorted table that is not above the number, or -1. */
extern int rule_table_find(const RuleTable *table, double number);

/* interp(x, table): between two entries on the line from one to the other. */
extern double rule_interpolate(const RuleTable *table, double x);

#endif /* WALRANK_RULES_MACHINE_H */
