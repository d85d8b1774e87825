/*
 * program.h -- a compiled definition: flat, forward, of known cost.
 *
 * Instructions work on a stack of cells.  Jumps only go forward, so a run takes at most as many
 * steps as there are instructions; the deepest the stack can get is checked when it is compiled.
 */
#ifndef WALRANK_RULES_PROGRAM_H
#define WALRANK_RULES_PROGRAM_H

#include "checker.h"
#include "source.h"

#define RULES_STACK_MAX 256 /* cells: RULES_DEPTH_MAX levels of at most 8 pending operands */

typedef enum
{
	OP_LITERAL, /* push */
	OP_LOAD,	/* push attribute `index` */
	OP_RECALL,	/* push operand `index`: what the attribute was, for example */
	OP_ADD,		/* a b -> a + b; alike the next ones */
	OP_SUBTRACT,
	OP_MULTIPLY,
	OP_DIVIDE,
	OP_LEAST,
	OP_GREATEST,
	OP_NEGATE,
	OP_COMPARE,	 /* a b -> bool or missing; `index` is a RuleSymbol */
	OP_IN_TABLE, /* a -> bool or missing */
	OP_IN_LIST,	 /* a -> bool or missing; list is operand `index` */
	OP_OVERLAP,	 /* push bool or missing: operand `index` and table */
	OP_BETWEEN,	 /* a low high -> bool or missing */
	OP_LIKE,	 /* a -> bool or missing; alike the next one */
	OP_PREFIX,
	OP_IS_NULL,		 /* a -> bool */
	OP_NOT,			 /* a -> bool or missing */
	OP_AND,			 /* a b -> bool or missing */
	OP_OR,			 /* a b -> bool or missing */
	OP_UNLESS_FALSE, /* a -> a; jump to `index` if it is false: "and" is decided */
	OP_UNLESS_TRUE,	 /* a -> a; jump to `index` if it is true: "or" is decided */
	OP_BRANCH,		 /* a -> ; jump to `index` unless it is true */
	OP_JUMP,		 /* to `index` */
	OP_CALL,		 /* a b .. -> result of `function` */
	OP_EXISTS,		 /* push bool: operand `index` */
	OP_AGE,			 /* push seconds or missing: operand `index` */
	OP_LENGTH,		 /* push number or missing: operand `index` */
	OP_STEPS,		 /* a -> number or missing */
	OP_INTERP,		 /* a -> number or missing */
	OP_ENUM,		 /* a -> number or missing */
	OP_CHANGED,		 /* push bool or missing: attribute `index` */
	OP_DELTA,		 /* push number or missing: attribute `index` */
	OP_RATE,		 /* window -> number or missing: attribute `index` */
} RuleOp;

/* What an operand is: an attribute's number, and which of its values. */
enum
{
	OPERAND_ATTRIBUTE = 0x00ff,	 /* these bits; nothing else: what the attribute is now */
	OPERAND_OLD = 0x0100,		 /* what it was before it last changed */
	OPERAND_LAST_KNOWN = 0x0200, /* what it is, or was if it is missing now */
};
_Static_assert(RULES_ATTRIBUTES_MAX <= OPERAND_ATTRIBUTE + 1, "an attribute has its bits");

typedef struct RuleInstruction
{
	uint16_t op;
	uint16_t index;
	union
	{
		const RuleLiteral *literal;
		const RuleTable *table;
		const RuleFunction *function;
	};
} RuleInstruction;

/* A statement's instructions: [when, value) decide whether it counts, [value, end) compute it. */
typedef struct RuleBlock
{
	RuleStatementKind kind;
	const char *name;
	double weight;
	int tier; /* STATEMENT_TIER, which has no value: value = end */
	uint16_t when;
	uint16_t value;
	uint16_t end;
	RulePolicy missing;	 /* never POLICY_UNSET */
	RulePolicy on_error; /* alike */
} RuleBlock;

struct RuleProgram
{
	const RuleInstruction *instructions;
	int ninstructions;
	int stack_cells;		 /* the deepest it gets, at most RULES_STACK_MAX */
	const RuleBlock *where;	 /* NULL: every item */
	const RuleBlock *blocks; /* term, boost, factor, tier as written */
	int nblocks;
	const RuleAttribute *attributes;
	int nattributes;
	const bool *reads_previous;		/* per attribute */
	const struct FastProgram *fast; /* its usual course, or NULL */
	const RuleSource *sources;		/* all statements as written */
	int nsources;
	bool use_clock;
	bool use_previous;
	const Slice *names; /* of const, let and macro: for what a misspelt one may have meant */
	int nnames;
	const Slice *libraries;
	int nlibraries;
	double min_change;
	int64_t refresh_us;
	Slice scene;
	RuleCombine combine;
	RulePolicy on_error; /* of the score as a whole */
	bool has_clamp;
	double clamp_low;
	double clamp_high;
	double round;
	double round_units; /* rule_round_units() of it */
};

#endif /* WALRANK_RULES_PROGRAM_H */
