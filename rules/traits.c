/*
 * traits.c -- see traits.h.
 */
#include "traits.h"

#include <math.h>

/* ---- operations ------------------------------------------------------------------------------ */

#define PURE                                                                                                 \
	{                                                                                                        \
		.known = true                                                                                        \
	}
#define JUMPS                                                                                                \
	{                                                                                                        \
		.known = true, .jumps_only = true                                                                    \
	}
#define READS                                                                                                \
	{                                                                                                        \
		.known = true, .reads_attribute = true                                                               \
	}

/* clang-format off: one operation a line */
static const RuleOpTraits ops[] = {
	[OP_LITERAL] = PURE,
	[OP_LOAD] = READS,
	[OP_RECALL] = READS,
	[OP_ADD] = PURE,
	[OP_SUBTRACT] = PURE,
	[OP_MULTIPLY] = PURE,
	[OP_DIVIDE] = PURE,
	[OP_LEAST] = PURE,
	[OP_GREATEST] = PURE,
	[OP_NEGATE] = PURE,
	[OP_COMPARE] = JUMPS,
	[OP_IN_TABLE] = JUMPS,
	/* a list is looked through by the machine alone: what moves in front of it counts as drifting */
	[OP_IN_LIST] = READS,
	[OP_OVERLAP] = READS,
	[OP_BETWEEN] = JUMPS,
	[OP_LIKE] = JUMPS,
	[OP_PREFIX] = JUMPS,
	[OP_IS_NULL] = JUMPS,
	[OP_NOT] = JUMPS,
	[OP_AND] = JUMPS,
	[OP_OR] = JUMPS,
	[OP_UNLESS_FALSE] = PURE,
	[OP_UNLESS_TRUE] = PURE,
	[OP_BRANCH] = PURE,
	[OP_JUMP] = PURE,
	[OP_CALL] = PURE,
	[OP_EXISTS] = READS,
	[OP_AGE] = {.known = true, .reads_attribute = true, .reads_clock = true},
	[OP_LENGTH] = READS,
	[OP_STEPS] = JUMPS,
	[OP_INTERP] = PURE,
	[OP_ENUM] = JUMPS,
	[OP_CHANGED] = READS,
	[OP_DELTA] = READS,
	[OP_RATE] = READS,
};
/* clang-format on */

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

const RuleOpTraits *
rule_op_traits(RuleOp op)
{
	static const RuleOpTraits unknown = {.known = false};

	return (size_t) op < LENGTH(ops) ? &ops[op] : &unknown;
}

int
rule_op_operands(const RuleInstruction *instruction)
{
	switch ((RuleOp) instruction->op)
	{
		case OP_LITERAL:
		case OP_LOAD:
		case OP_RECALL:
		case OP_OVERLAP:
		case OP_EXISTS:
		case OP_AGE:
		case OP_LENGTH:
		case OP_CHANGED:
		case OP_DELTA:
		case OP_JUMP:
			return 0;
		case OP_NEGATE:
		case OP_NOT:
		case OP_IN_TABLE:
		case OP_IN_LIST:
		case OP_LIKE:
		case OP_PREFIX:
		case OP_IS_NULL:
		case OP_STEPS:
		case OP_INTERP:
		case OP_ENUM:
		case OP_RATE:
		case OP_UNLESS_FALSE:
		case OP_UNLESS_TRUE:
		case OP_BRANCH:
			return 1;
		case OP_CALL:
			return instruction->index;
		case OP_BETWEEN:
			return 3;
		default:
			return 2;
	}
}

/* ---- functions ------------------------------------------------------------------------------- */

/* pow() of what may be negative goes up and down with every whole exponent. */
static bool
smooth_pow(const double *low, const double *high)
{
	return low[0] >= 0;
}

/* The denominator m * x + b, computed as compute_recip() does, keeps its sign. */
static bool
smooth_recip(const double *low, const double *high)
{
	bool positive = true;
	bool negative = true;

	for (int corner = 0; corner < 8; corner++)
	{
		double x = corner & 1 ? high[0] : low[0];
		double m = corner & 2 ? high[1] : low[1];
		double b = corner & 4 ? high[3] : low[3];
		double denominator = m * x + b;

		positive &= denominator > 0;
		negative &= denominator < 0;
	}
	return positive || negative;
}

/* x stays on one side of the origin. */
static bool
smooth_distance(const double *low, const double *high)
{
	return high[0] <= low[1] || low[0] >= high[1];
}

/* lo <= hi everywhere, or nowhere. */
static bool
smooth_clamp(const double *low, const double *high)
{
	return high[1] <= low[2] || low[1] > high[2];
}

bool
rule_round_monotone(double low, double high, double q)
{
	double n = rint(1 / q);
	bool inverse = n * q == 1;
	double low_units = inverse ? low * n : low / q;
	double high_units = inverse ? high * n : high / q;

	if (!isfinite(low_units) && !isfinite(high_units))
		return (low > 0) == (high > 0);
	return isfinite(low_units * 4) && isfinite(high_units * 4) && isfinite(low * 4) && isfinite(high * 4);
}

static bool
smooth_round(const double *low, const double *high)
{
	return rule_round_monotone(low[0], high[0], low[1]);
}

#define ALL 0xf
#define A(i) (1 << (i))

/* clang-format off: one function a line */
static const RuleFunctionTraits functions[] = {
	/* name          monotone    turns  floor  wobble  jumps  smooth */
	{"abs", A(0), A(0), -1, 0, false, NULL},
	{"clamp", ALL, 0, -1, 0, false, smooth_clamp},
	{"distance", ALL, 0, -1, 0, false, smooth_distance},
	/* not in decay: what log() is off by grows with the exponent */
	{"exp_decay", ALL - A(2), 0, 3, 4, false, NULL},
	{"gauss", ALL - A(2), A(0), 3, 4, false, NULL},
	{"half_life", ALL, 0, 2, 4, false, NULL},
	{"inverse", ALL, 0, -1, 4, false, NULL},
	{"linear", ALL, 0, -1, 0, false, NULL},
	{"linear_decay", ALL, 0, 3, 4, false, NULL},
	{"ln2p", ALL, 0, -1, 4, false, NULL},
	{"log10p", ALL, 0, -1, 4, false, NULL},
	{"log1p", ALL, 0, -1, 4, false, NULL},
	{"logistic", ALL, 0, -1, 4, false, NULL},
	{"pow", ALL, 0, -1, 4, false, smooth_pow},
	{"recip", ALL, 0, -1, 0, false, smooth_recip},
	{"round", A(0), 0, -1, 0, true, smooth_round},
	{"saturation", ALL, 0, -1, 4, false, NULL},
	{"sigmoid", ALL, 0, -1, 8, false, NULL},
	{"sqrt", A(0), 0, -1, 0, false, NULL},
	{"square", A(0), A(0), -1, 0, false, NULL},
};
/* clang-format on */

const RuleFunctionTraits *
rule_function_traits(const RuleFunction *function)
{
	for (size_t i = 0; i < LENGTH(functions); i++)
		if (functions[i].name[0] == function->name[0] && strcmp(functions[i].name, function->name) == 0)
			return &functions[i];
	return NULL;
}
