/*
 * fast.h -- the usual course of a program, straight through.
 *
 * Beside its instructions a program has steps: the same operations in the same order on bare doubles,
 * for items whose values are what the definition expects.  Whatever is unusual (another kind of
 * value, an error, an operation without a step) is not decided here: the run stops before the block
 * it happens in, and the machine computes that block.  So there is one meaning, and steps only save
 * time; a value that is missing where the block stands or falls with it is settled at once.
 */
#ifndef WALRANK_RULES_FAST_H
#define WALRANK_RULES_FAST_H

#include "machine.h"

typedef struct FastProgram FastProgram;

#define FAST_WHERE (-1) /* the number of `where` among the blocks */

typedef enum
{
	FAST_END,	  /* all blocks are in the sums */
	FAST_OUTSIDE, /* `where` is false */
	FAST_HELP,	  /* block *block has to be computed by the machine, and the run goes on behind it */
} FastOutcome;

/* What the blocks so far come to; as the machine adds them up. */
typedef struct FastSums
{
	double terms;
	double boosts;
	double factors;
} FastSums;

/* NULL: the program has no usual course (it combines its terms by other than a sum). */
extern const FastProgram *rule_fast_make(const RuleProgram *program, const RuleMemory *memory);

/* Run from the beginning of block *block on. */
extern FastOutcome rule_fast_run(const FastProgram *fast, const RuleValue *values, int64_t now_us, int *block,
								 FastSums *sums);

#endif /* WALRANK_RULES_FAST_H */
