/*
 * drift.c -- does age() reach the score through something continuous: see rules_drifts() in rules.h.
 *
 * A walk over a block's instructions that keeps, instead of values, how each cell moves.  Jumps go
 * forward only, so one pass does; where two ways meet, the cell moves as on either.
 */
#include "traits.h"

typedef enum
{
	STANDS,
	JUMPS,
	DRIFTS,
} Motion;

typedef struct Walk
{
	Motion cells[RULES_STACK_MAX];
	int n;
	struct
	{
		int target;
		Motion motion; /* of the cell that the jump carries along */
	} pending[RULES_STACK_MAX];
	int npending;
} Walk;

static Motion
more(Motion a, Motion b)
{
	return a > b ? a : b;
}

/* A jumping function stops a drift only in the arguments whose jumps are understood. */
static Motion
call_motion(const Walk *walk, const RuleInstruction *i, int first)
{
	const RuleFunctionTraits *traits = rule_function_traits(i->function);
	Motion motion = STANDS;

	for (int argument = 0; argument < i->index; argument++)
	{
		Motion moves = walk->cells[first + argument];

		if (moves != STANDS && (traits == NULL || (traits->monotone >> argument & 1) == 0))
			return DRIFTS;
		motion = more(motion, moves);
	}
	return motion == DRIFTS && traits->jumps_only ? JUMPS : motion;
}

static Motion
result_motion(const Walk *walk, const RuleInstruction *i, int first, int operands)
{
	const RuleOpTraits *traits = rule_op_traits((RuleOp) i->op);
	Motion motion = traits->reads_clock ? DRIFTS : STANDS;

	if (i->op == OP_CALL)
		return call_motion(walk, i, first);
	for (int operand = 0; operand < operands; operand++)
		motion = more(motion, walk->cells[first + operand]);
	return motion == DRIFTS && traits->jumps_only ? JUMPS : motion;
}

/* Cells that jumps to here have carried along join the one on top. */
static void
meet(Walk *walk, int at)
{
	for (int i = 0; i < walk->npending; i++)
		if (walk->pending[i].target == at && walk->n > 0)
			walk->cells[walk->n - 1] = more(walk->cells[walk->n - 1], walk->pending[i].motion);
}

/* False: not to be told. */
static bool
step(Walk *walk, const RuleInstruction *i)
{
	int operands = rule_op_operands(i);
	int first = walk->n - operands;
	Motion motion;

	if (!rule_op_traits((RuleOp) i->op)->known)
		return false;
	switch ((RuleOp) i->op)
	{
		case OP_BRANCH: /* which way is taken jumps, if anything; what comes of it follows */
			walk->n--;
			return true;
		case OP_JUMP: /* the other way begins without this cell */
			if (walk->npending == RULES_STACK_MAX)
				return false;
			walk->pending[walk->npending].target = i->index;
			walk->pending[walk->npending++].motion = walk->cells[--walk->n];
			return true;
		case OP_UNLESS_FALSE:
		case OP_UNLESS_TRUE:
			return true;
		default:
			motion = result_motion(walk, i, first, operands);
			walk->cells[first] = motion;
			walk->n = first + 1;
			return true;
	}
}

static bool
block_drifts(const RuleProgram *program, const RuleBlock *block)
{
	Walk walk = {.n = 0};

	for (int at = block->value; at < block->end; at++)
	{
		meet(&walk, at);
		if (!step(&walk, &program->instructions[at]))
			return program->use_clock;
	}
	meet(&walk, block->end);
	return walk.cells[0] == DRIFTS;
}

bool
rules_drifts(const RuleProgram *program)
{
	for (int i = 0; i < program->nblocks; i++)
		if (block_drifts(program, &program->blocks[i]))
			return true;
	return false;
}
