/*
 * fast.c -- see fast.h.
 *
 * The stack holds doubles; true is 1, false 0, and what is missing or unknown is NaN.  What kind a cell is of is known when the steps are
 * made, for every operation has one; an attribute is a number unless what follows it wants a text.
 */
#include "fast.h"

#include <math.h>

#define STACK_MAX 64		/* deeper blocks are left to the machine */
#define SCAN_MAX 16			/* tables up to here are looked through from the start */
#define STEPS_BLOCK_MAX 512 /* of one block */

/* What a step does; attributes are number `index`. */
#define FAST_OPS(X)                                                                                          \
	X(FAST_NUMBER)	   /* push a */                                                                          \
	X(FAST_LOAD)	   /* push attribute `index` */                                                          \
	X(FAST_LOAD_LOG1P) /* and what follows, at once */                                                       \
	X(FAST_LOAD_SATURATION)                                                                                  \
	X(FAST_LOAD_STEPS)                                                                                       \
	X(FAST_LOAD_LESS) /* than a */                                                                           \
	X(FAST_LOAD_LESS_EQUAL)                                                                                  \
	X(FAST_LOAD_GREATER)                                                                                     \
	X(FAST_LOAD_GREATER_EQUAL)                                                                               \
	X(FAST_AGE)		  /* push its age */                                                                     \
	X(FAST_AGE_DECAY) /* and exp_decay() of it */                                                            \
	X(FAST_EXISTS)	  /* push whether it is there */                                                         \
	X(FAST_TEXT_IS)	  /* push whether attribute `index` is the literal's text */                             \
	X(FAST_TEXT_IN)	  /* push whether it is in the table */                                                  \
	X(FAST_TEXT_ENUM) /* push the table's value for it */                                                    \
	X(FAST_LIST_HAS)  /* push whether list `index` has the literal's text */                                 \
	X(FAST_ADD)                                                                                              \
	X(FAST_SUBTRACT)                                                                                         \
	X(FAST_MULTIPLY)                                                                                         \
	X(FAST_DIVIDE)                                                                                           \
	X(FAST_LEAST)                                                                                            \
	X(FAST_GREATEST)                                                                                         \
	X(FAST_LESS)                                                                                             \
	X(FAST_LESS_EQUAL)                                                                                       \
	X(FAST_GREATER)                                                                                          \
	X(FAST_GREATER_EQUAL)                                                                                    \
	X(FAST_EQUAL)                                                                                            \
	X(FAST_NOT_EQUAL)                                                                                        \
	X(FAST_ADD_CONSTANT) /* the twelve above with a as their second operand */                               \
	X(FAST_SUBTRACT_CONSTANT)                                                                                \
	X(FAST_MULTIPLY_CONSTANT)                                                                                \
	X(FAST_DIVIDE_CONSTANT)                                                                                  \
	X(FAST_LEAST_CONSTANT)                                                                                   \
	X(FAST_GREATEST_CONSTANT)                                                                                \
	X(FAST_LESS_CONSTANT)                                                                                    \
	X(FAST_LESS_EQUAL_CONSTANT)                                                                              \
	X(FAST_GREATER_CONSTANT)                                                                                 \
	X(FAST_GREATER_EQUAL_CONSTANT)                                                                           \
	X(FAST_EQUAL_CONSTANT)                                                                                   \
	X(FAST_NOT_EQUAL_CONSTANT)                                                                               \
	X(FAST_AND)                                                                                              \
	X(FAST_OR)                                                                                               \
	X(FAST_NOT)                                                                                              \
	X(FAST_NEGATE)                                                                                           \
	X(FAST_UNLESS_FALSE)                                                                                     \
	X(FAST_UNLESS_TRUE)                                                                                      \
	X(FAST_BRANCH)                                                                                           \
	X(FAST_JUMP)                                                                                             \
	X(FAST_CHOOSE) /* a if true, else b */                                                                   \
	X(FAST_STEPS)                                                                                            \
	X(FAST_INTERP)                                                                                           \
	X(FAST_CALL)	   /* `index` arguments on the stack */                                                  \
	X(FAST_CALL_FIRST) /* the first argument on the stack, the others in `constants` */                      \
	X(FAST_LOG1P)	   /* alike, without a call; a: f */                                                     \
	X(FAST_SATURATION) /* a: p */                                                                            \
	X(FAST_EXP_DECAY)  /* a: ln(decay), b: scale, c: floor */                                                \
	X(FAST_WHEN)	   /* go on at target unless true */                                                     \
	X(FAST_WHERE_IS)   /* outside unless true */                                                             \
	X(FAST_TERM)	   /* a: weight */                                                                       \
	X(FAST_BOOST)                                                                                            \
	X(FAST_FACTOR)                                                                                           \
	X(FAST_ASK) /* the machine */                                                                            \
	X(FAST_STOP)                                                                                             \
	X(FAST_LOAD_LOG1P_TERM) /* with the FAST_TERM behind it */                                               \
	X(FAST_LOAD_SATURATION_TERM)                                                                             \
	X(FAST_LOAD_STEPS_TERM)                                                                                  \
	X(FAST_AGE_DECAY_TERM)                                                                                   \
	X(FAST_TEXT_ENUM_TERM)                                                                                   \
	X(FAST_CHOOSE_TERM)

typedef enum
{
#define NAME(op) op,
	FAST_OPS(NAME)
} FastOp;

typedef struct FastTable
{
	int n;
	double values[]; /* below or else, then of each entry; behind them the n bounds */
} FastTable;

typedef struct FastStep
{
	uint16_t op;
	uint16_t index;
	uint16_t block;	 /* which asks for help */
	uint16_t target; /* step to jump to; FAST_LOAD and the like: the block's last step, if a missing value
					  * makes the block's missing, else 0 */
	double a;
	double b;
	union
	{
		double c;
		const RuleLiteral *literal;
		const RuleTable *table;
		const FastTable *steps;
		const RuleFunction *function;
	};
	const double *constants;
} FastStep;

struct FastProgram
{
	const RuleBlock *blocks;
	const uint16_t *starts; /* of where, then of block i at i + 1, then the end */
	const FastStep *steps;
};

/* ---- making the steps ------------------------------------------------------------------------- */

typedef enum
{
	CELL_NUMBER,
	CELL_BOOL,
} CellType;

typedef struct Maker
{
	const RuleProgram *program;
	const RuleMemory *memory;
	FastStep *steps;
	int n;
	CellType cells[STACK_MAX]; /* of the block being made */
	int depth;
	int block;
	uint16_t where[STEPS_BLOCK_MAX]; /* step of the block's instruction i */
} Maker;

static FastStep *
add(Maker *maker, FastOp op, int index)
{
	FastStep *step = &maker->steps[maker->n++];

	memset(step, 0, sizeof(*step));
	step->op = (uint16_t) op;
	step->index = (uint16_t) index;
	step->block = (uint16_t) maker->block;
	return step;
}

static bool
push(Maker *maker, CellType type)
{
	if (maker->depth == STACK_MAX)
		return false;
	maker->cells[maker->depth++] = type;
	return true;
}

/* The n uppermost cells are of that type, and one of another replaces them. */
static bool
replace(Maker *maker, int n, CellType from, CellType to)
{
	if (maker->depth < n)
		return false;
	for (int i = 1; i <= n; i++)
		if (maker->cells[maker->depth - i] != from)
			return false;
	maker->depth -= n;
	return push(maker, to);
}

static const FastTable *
make_steps_table(Maker *maker, const RuleTable *table)
{
	size_t n = (size_t) table->n;
	FastTable *copy =
		maker->memory->alloc(maker->memory->context, sizeof(*copy) + (2 * n + 1) * sizeof(double));

	copy->n = table->n;
	copy->values[0] = table->has_other ? table->other : (double) NAN;
	for (size_t i = 0; i < n; i++)
	{
		copy->values[1 + i] = table->entries[i].value;
		copy->values[1 + n + i] = table->entries[i].key.number;
	}
	return copy;
}

static bool
name_is(const RuleFunction *function, const char *name)
{
	return strcmp(function->name, name) == 0;
}

/* The functions that rankings are full of: the operations of functions.c, in their order. */
static void
specialize(FastStep *step, const RuleFunction *function, const double *a)
{
	RuleDomain domain = function->arguments[0].domain;

	if (name_is(function, "log1p") && domain == DOMAIN_NOT_NEGATIVE)
		step->op = FAST_LOG1P;
	else if (name_is(function, "saturation") && domain == DOMAIN_NOT_NEGATIVE)
		step->op = FAST_SATURATION;
	else if (name_is(function, "exp_decay") && domain == DOMAIN_ANY)
	{
		step->op = FAST_EXP_DECAY;
		step->a = log(a[2]);
		step->b = a[1];
		step->c = a[3];
		return;
	}
	step->a = a[1];
}

/* Whether some way comes by a jump to one of the n instructions up to `at`, the first of them aside. */
static bool
jumped_into(const Maker *maker, int at, int n)
{
	for (int i = maker->n - 1; i >= 0 && maker->steps[i].block == (uint16_t) maker->block; i--)
		if (maker->steps[i].op >= FAST_UNLESS_FALSE && maker->steps[i].op <= FAST_JUMP &&
			maker->steps[i].index > at - n + 1 && maker->steps[i].index <= at)
			return true;
	return false;
}

static const FastOp with_load[][3] = {
	{FAST_AGE, FAST_EXP_DECAY, FAST_AGE_DECAY},
	{FAST_LOAD, FAST_LOG1P, FAST_LOAD_LOG1P},
	{FAST_LOAD, FAST_SATURATION, FAST_LOAD_SATURATION},
	{FAST_LOAD, FAST_STEPS, FAST_LOAD_STEPS},
	{FAST_LOAD, FAST_LESS_CONSTANT, FAST_LOAD_LESS},
	{FAST_LOAD, FAST_LESS_EQUAL_CONSTANT, FAST_LOAD_LESS_EQUAL},
	{FAST_LOAD, FAST_GREATER_CONSTANT, FAST_LOAD_GREATER},
	{FAST_LOAD, FAST_GREATER_EQUAL_CONSTANT, FAST_LOAD_GREATER_EQUAL},
};

/* The last step, which became of instructions `first` to `at`, and the load before it become one. */
static void
join_load(Maker *maker, int first, int at)
{
	FastStep *load = &maker->steps[maker->n - 2];
	FastStep *step = &maker->steps[maker->n - 1];

	if (maker->n < 2 || load->block != step->block || jumped_into(maker, at, at - first + 2))
		return;
	for (size_t i = 0; i < sizeof(with_load) / sizeof(with_load[0]); i++)
		if (load->op == with_load[i][0] && step->op == with_load[i][1])
		{
			uint16_t attribute = load->index;

			*load = *step;
			load->op = (uint16_t) with_load[i][2];
			load->index = attribute;
			maker->n--;
			return;
		}
}

/* All arguments but the first are the literals just pushed, and inside their domains. */
static bool
constant_arguments(const Maker *maker, const RuleInstruction *call, double *constants)
{
	const RuleFunction *function = call->function;
	int n = function->narguments - 1;

	if (n == 0 || jumped_into(maker, (int) (call - maker->program->instructions), n + 1))
		return false;
	for (int i = 1; i <= n; i++)
	{
		const FastStep *literal = &maker->steps[maker->n - n - 1 + i];

		if (literal->op != FAST_NUMBER || !rule_domain_has(function->arguments[i].domain, literal->a))
			return false;
		constants[i] = literal->a;
	}
	return true;
}

static bool
make_call(Maker *maker, const RuleInstruction *i)
{
	const RuleFunction *function = i->function;
	double constants[RULES_ARGUMENTS_MAX] = {0};
	double *copy;
	FastStep *step;

	if (!replace(maker, function->narguments, CELL_NUMBER, CELL_NUMBER))
		return false;
	if (!constant_arguments(maker, i, constants))
	{
		add(maker, FAST_CALL, function->narguments)->function = function;
		return true;
	}
	maker->n -= function->narguments - 1;
	copy = maker->memory->alloc(maker->memory->context, sizeof(constants));
	memcpy(copy, constants, sizeof(constants));
	step = add(maker, FAST_CALL_FIRST, function->narguments);
	step->function = function;
	step->constants = copy;
	specialize(step, function, constants);
	join_load(maker, (int) (i - maker->program->instructions) - function->narguments + 1,
			  (int) (i - maker->program->instructions));
	return true;
}

static FastOp
compare_op(RuleSymbol symbol)
{
	switch (symbol)
	{
		case SYMBOL_EQUAL:
			return FAST_EQUAL;
		case SYMBOL_NOT_EQUAL:
			return FAST_NOT_EQUAL;
		case SYMBOL_LESS:
			return FAST_LESS;
		case SYMBOL_LESS_EQUAL:
			return FAST_LESS_EQUAL;
		case SYMBOL_GREATER:
			return FAST_GREATER;
		default:
			return FAST_GREATER_EQUAL;
	}
}

static bool
make_steps(Maker *maker, const RuleInstruction *i)
{
	const RuleTable *table = i->table;
	int at = (int) (i - maker->program->instructions);

	if (!replace(maker, 1, CELL_NUMBER, CELL_NUMBER) || table->n > SCAN_MAX)
		return false;
	add(maker, FAST_STEPS, 0)->steps = make_steps_table(maker, table);
	join_load(maker, at, at);
	return true;
}

/* An attribute that is wanted as text; *used: instructions that became of it. */
static bool
make_text(Maker *maker, const RuleInstruction *i, int left, int *used)
{
	if (left > 1 && (i[1].op == OP_IN_TABLE || i[1].op == OP_ENUM) && i[1].table->kind == RULE_TEXT &&
		i[1].table->n <= SCAN_MAX)
	{
		*used = 2;
		add(maker, i[1].op == OP_ENUM ? FAST_TEXT_ENUM : FAST_TEXT_IN, i->index)->table = i[1].table;
		return push(maker, i[1].op == OP_ENUM ? CELL_NUMBER : CELL_BOOL);
	}
	if (left > 2 && i[1].op == OP_LITERAL && i[1].literal->kind == RULE_TEXT && i[2].op == OP_COMPARE &&
		(i[2].index == SYMBOL_EQUAL || i[2].index == SYMBOL_NOT_EQUAL))
	{
		*used = 3;
		add(maker, FAST_TEXT_IS, i->index)->literal = i[1].literal;
		if (i[2].index == SYMBOL_NOT_EQUAL)
			add(maker, FAST_NOT, 0);
		return push(maker, CELL_BOOL);
	}
	return false;
}

static bool
make_literal(Maker *maker, const RuleInstruction *i, int left, int *used)
{
	if (i->literal->kind == RULE_NUMBER)
	{
		add(maker, FAST_NUMBER, 0)->a = i->literal->number;
		return push(maker, CELL_NUMBER);
	}
	if (i->literal->kind == RULE_TEXT && left > 1 && i[1].op == OP_IN_LIST && i[1].index <= OPERAND_ATTRIBUTE)
	{
		*used = 2;
		add(maker, FAST_LIST_HAS, i[1].index)->literal = i->literal;
		return push(maker, CELL_BOOL);
	}
	return false;
}

/* A literal that has just been pushed is carried by the step itself. */
static bool
make_binary(Maker *maker, FastOp op, const RuleInstruction *i, CellType from, CellType to)
{
	int at = (int) (i - maker->program->instructions);

	if (op <= FAST_NOT_EQUAL && maker->steps[maker->n - 1].op == FAST_NUMBER && !jumped_into(maker, at, 2))
	{
		FastStep *step = &maker->steps[maker->n - 1];

		step->op = (uint16_t) (op - FAST_ADD + FAST_ADD_CONSTANT);
		join_load(maker, at - 1, at);
	}
	else
		add(maker, op, 0);
	return replace(maker, 2, from, to);
}

/* A jump's target is an instruction of the block until all of them are known. */
static bool
make_jump(Maker *maker, FastOp op, const RuleInstruction *i)
{
	add(maker, op, i->index);
	if (maker->depth == 0)
		return false;
	if (op == FAST_BRANCH || op == FAST_JUMP)
		maker->depth--;
	return op == FAST_JUMP || maker->cells[maker->depth - (op != FAST_BRANCH)] == CELL_BOOL;
}

/* flag(condition, NUMBER, NUMBER): no jumps. */
static bool
make_branch(Maker *maker, const RuleInstruction *i, int left, int *used)
{
	int at = (int) (i - maker->program->instructions);
	FastStep *step;

	if (left < 4 || i[1].op != OP_LITERAL || i[2].op != OP_JUMP || i[3].op != OP_LITERAL ||
		i->index != at + 3 || i[2].index != at + 4)
		return make_jump(maker, FAST_BRANCH, i);
	*used = 4;
	step = add(maker, FAST_CHOOSE, 0);
	step->a = i[1].literal->number;
	step->b = i[3].literal->number;
	return i[1].literal->kind == RULE_NUMBER && i[3].literal->kind == RULE_NUMBER &&
		   replace(maker, 1, CELL_BOOL, CELL_NUMBER);
}

static bool
make_step(Maker *maker, const RuleInstruction *i, int left, int *used)
{
	*used = 1;
	switch ((RuleOp) i->op)
	{
		case OP_LITERAL:
			return make_literal(maker, i, left, used);
		case OP_LOAD:
			if (make_text(maker, i, left, used))
				return true;
			add(maker, FAST_LOAD, i->index);
			return push(maker, CELL_NUMBER);
		case OP_AGE:
			add(maker, FAST_AGE, i->index);
			return i->index <= OPERAND_ATTRIBUTE && push(maker, CELL_NUMBER);
		case OP_EXISTS:
			add(maker, FAST_EXISTS, i->index);
			return i->index <= OPERAND_ATTRIBUTE && push(maker, CELL_BOOL);
		case OP_ADD:
			return make_binary(maker, FAST_ADD, i, CELL_NUMBER, CELL_NUMBER);
		case OP_SUBTRACT:
			return make_binary(maker, FAST_SUBTRACT, i, CELL_NUMBER, CELL_NUMBER);
		case OP_MULTIPLY:
			return make_binary(maker, FAST_MULTIPLY, i, CELL_NUMBER, CELL_NUMBER);
		case OP_DIVIDE:
			return make_binary(maker, FAST_DIVIDE, i, CELL_NUMBER, CELL_NUMBER);
		case OP_LEAST:
			return make_binary(maker, FAST_LEAST, i, CELL_NUMBER, CELL_NUMBER);
		case OP_GREATEST:
			return make_binary(maker, FAST_GREATEST, i, CELL_NUMBER, CELL_NUMBER);
		case OP_COMPARE:
			return make_binary(maker, compare_op((RuleSymbol) i->index), i, CELL_NUMBER, CELL_BOOL);
		case OP_AND:
			return make_binary(maker, FAST_AND, i, CELL_BOOL, CELL_BOOL);
		case OP_OR:
			return make_binary(maker, FAST_OR, i, CELL_BOOL, CELL_BOOL);
		case OP_NEGATE:
			add(maker, FAST_NEGATE, 0);
			return replace(maker, 1, CELL_NUMBER, CELL_NUMBER);
		case OP_NOT:
			add(maker, FAST_NOT, 0);
			return replace(maker, 1, CELL_BOOL, CELL_BOOL);
		case OP_UNLESS_FALSE:
			return make_jump(maker, FAST_UNLESS_FALSE, i);
		case OP_UNLESS_TRUE:
			return make_jump(maker, FAST_UNLESS_TRUE, i);
		case OP_BRANCH:
			return make_branch(maker, i, left, used);
		case OP_JUMP:
			return make_jump(maker, FAST_JUMP, i);
		case OP_CALL:
			return make_call(maker, i);
		case OP_STEPS:
			return make_steps(maker, i);
		case OP_INTERP:
			add(maker, FAST_INTERP, 0)->table = i->table;
			return replace(maker, 1, CELL_NUMBER, CELL_NUMBER);
		default:
			return false;
	}
}

/* Instructions [from, to) as steps that leave one cell of a type. */
static bool
make_range(Maker *maker, int from, int to, CellType type)
{
	int first = maker->n;
	int used;

	if (to - from >= STEPS_BLOCK_MAX)
		return false;
	maker->depth = 0;
	for (int at = from; at < to; at += used)
	{
		int begins = maker->n;

		if (!make_step(maker, &maker->program->instructions[at], to - at, &used))
			return false;
		for (int i = 0; i < used; i++) /* nothing jumps into what became one step */
			maker->where[at + i - from] = (uint16_t) begins;
	}
	maker->where[to - from] = (uint16_t) maker->n;
	for (int i = first; i < maker->n; i++)
		if (maker->steps[i].op >= FAST_UNLESS_FALSE && maker->steps[i].op <= FAST_JUMP)
			maker->steps[i].target = maker->where[maker->steps[i].index - from];
	return maker->depth == 1 && maker->cells[0] == type;
}

static bool
takes_two(const FastStep *step)
{
	return (step->op >= FAST_ADD && step->op <= FAST_NOT_EQUAL) || step->op == FAST_AND ||
		   step->op == FAST_OR;
}

/* How many cells a step takes and leaves one for; -1: it jumps, or asks whether something is there. */
static int
operands_of(const FastStep *step)
{
	if (step->op <= FAST_LIST_HAS)
		return step->op == FAST_EXISTS ? -1 : 0;
	if (step->op >= FAST_UNLESS_FALSE && step->op <= FAST_CHOOSE)
		return -1;
	if (step->op == FAST_CALL)
		return step->index;
	return takes_two(step) ? 2 : 1;
}

/*
 * Where one attribute is all that a value is made of, a missing one makes the value missing.  The
 * rest are literals, and every operation has the attribute among what it works on: nothing else can
 * fail before.
 */
static void
mark_missing(Maker *maker, int first, int last)
{
	bool made_of_it[STACK_MAX] = {false};
	FastStep *only = NULL;
	int depth = 0;

	for (int i = first; i < last; i++)
	{
		FastStep *step = &maker->steps[i];
		int operands = operands_of(step);
		bool made = false;

		if (operands < 0 || (operands == 0 && step->op != FAST_NUMBER && only != NULL))
			return;
		for (int operand = 1; operand <= operands; operand++)
			made |= made_of_it[depth - operand];
		if (operands > 0 && !made)
			return;
		depth -= operands;
		made_of_it[depth++] = made || (operands == 0 && step->op != FAST_NUMBER);
		if (operands == 0 && step->op != FAST_NUMBER)
			only = step;
	}
	if (only != NULL && maker->program->blocks[maker->block].missing.action != POLICY_REJECT)
		only->target = (uint16_t) last;
}

static const FastOp with_term[][2] = {
	{FAST_LOAD_LOG1P, FAST_LOAD_LOG1P_TERM}, {FAST_LOAD_SATURATION, FAST_LOAD_SATURATION_TERM},
	{FAST_LOAD_STEPS, FAST_LOAD_STEPS_TERM}, {FAST_AGE_DECAY, FAST_AGE_DECAY_TERM},
	{FAST_TEXT_ENUM, FAST_TEXT_ENUM_TERM},	 {FAST_CHOOSE, FAST_CHOOSE_TERM},
};

/* The last step but one does the last one's work as well; that stays, for those who jump there. */
static void
join_term(Maker *maker)
{
	FastStep *step = &maker->steps[maker->n - 2];

	for (size_t i = 0; i < sizeof(with_term) / sizeof(with_term[0]); i++)
		if (step->op == with_term[i][0])
		{
			step->op = (uint16_t) with_term[i][1];
			return;
		}
}

static bool
make_block(Maker *maker, const RuleBlock *block)
{
	static const FastOp ends[] = {
		[STATEMENT_TERM] = FAST_TERM, [STATEMENT_BOOST] = FAST_BOOST, [STATEMENT_FACTOR] = FAST_FACTOR};
	int when = -1;
	int first;

	if (block->kind == STATEMENT_TIER)
		return false;
	if (block->when < block->value)
	{
		if (!make_range(maker, block->when, block->value, CELL_BOOL))
			return false;
		when = maker->n;
		add(maker, FAST_WHEN, 0);
	}
	first = maker->n;
	if (!make_range(maker, block->value, block->end, CELL_NUMBER))
		return false;
	mark_missing(maker, first, maker->n);
	add(maker, ends[block->kind], 0)->a = block->weight;
	if (block->kind == STATEMENT_TERM)
		join_term(maker);
	if (when >= 0)
		maker->steps[when].target = (uint16_t) maker->n;
	return true;
}

static void
make_or_ask(Maker *maker, int block)
{
	const RuleBlock *where = maker->program->where;
	int first = maker->n;

	maker->block = block;
	if (block == FAST_WHERE ? make_range(maker, where->value, where->end, CELL_BOOL)
							: make_block(maker, &maker->program->blocks[block]))
	{
		if (block == FAST_WHERE)
			add(maker, FAST_WHERE_IS, 0);
		return;
	}
	maker->n = first;
	add(maker, FAST_ASK, 0);
}

const FastProgram *
rule_fast_make(const RuleProgram *program, const RuleMemory *memory)
{
	/* no more steps than instructions, and of each block's own: when, what it is, or to ask */
	size_t most = (size_t) program->ninstructions + 3 * (size_t) program->nblocks + 4;
	Maker maker = {.program = program, .memory = memory};
	uint16_t *starts;
	FastProgram *fast;

	if (program->combine != COMBINE_SUM)
		return NULL;
	maker.steps = memory->alloc(memory->context, most * sizeof(*maker.steps));
	starts = memory->alloc(memory->context, ((size_t) program->nblocks + 2) * sizeof(*starts));
	fast = memory->alloc(memory->context, sizeof(*fast));
	starts[0] = 0;
	if (program->where != NULL)
		make_or_ask(&maker, FAST_WHERE);
	for (int i = 0; i < program->nblocks; i++)
	{
		starts[i + 1] = (uint16_t) maker.n;
		make_or_ask(&maker, i);
	}
	starts[program->nblocks + 1] = (uint16_t) maker.n;
	maker.block = program->nblocks;
	add(&maker, FAST_STOP, 0);
	*fast = (FastProgram){.blocks = program->blocks, .starts = starts, .steps = maker.steps};
	return fast;
}

/* ---- running them ----------------------------------------------------------------------------- */

static inline bool
age_of(const RuleValue *value, int64_t now_us, double *age)
{
	int64_t time_us;

	if (value->kind == RULE_TIME)
		time_us = value->time_us;
	else if (value->has_own_time && value->kind != RULE_TEXT)
		time_us = value->own_time_us;
	else
		return false;
	*age = time_us >= now_us ? 0 : (double) ((uint64_t) now_us - (uint64_t) time_us) / 1e6;
	return time_us != INT64_MIN;
}

static inline bool
text_equal(Slice a, Slice b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static inline const RuleEntry *
table_text(const RuleTable *table, Slice text)
{
	for (int i = 0; i < table->n; i++)
		if (text_equal(table->entries[i].key.text, text))
			return &table->entries[i];
	return NULL;
}

/* From where its elements are written in another way than usual: each on its own. */
static bool
list_has_slowly(WireCursor cursor, Slice text)
{
	WireValue element;
	Slice body;

	while (wire_value_next(&cursor, &body))
		if (wire_value(body, &element) && element.kind == VALUE_TEXT && text_equal(element.bytes, text))
			return true;
	return false;
}

/* An element of a list of texts is usually tag, length, tag, length, text, each length in one byte. */
static bool
list_has(Slice list, Slice text)
{
	const uint8_t *at = list.data;
	const uint8_t *end = list.data + list.len;

	while (at < end)
	{
		const uint8_t *element = at + 4;

		if (end - at < 4 || at[0] != WIRE_TAG(LIST_VALUES, WIRE_BYTES) || at[1] >= 0x80 ||
			at[2] != WIRE_TAG(VALUE_TEXT, WIRE_BYTES) || at[1] != at[3] + 2 || end - element < at[3])
			return list_has_slowly((WireCursor){at, end}, text);
		if (at[3] == text.len && memcmp(element, text.data, text.len) == 0)
			return true;
		at = element + at[3];
	}
	return false;
}

/* Without a branch to be mispredicted: how many bounds are reached. */
static inline double
steps_value(const FastTable *table, double x)
{
	const double *bounds = table->values + 1 + table->n;
	int reached = 0;

	for (int i = 0; i < table->n; i++)
		reached += x >= bounds[i];
	return table->values[reached];
}

static inline bool
call_function(const RuleFunction *function, const double *a, double *value)
{
	for (int i = 0; i < function->narguments; i++)
		if (isnan(a[i]) || !rule_domain_has(function->arguments[i].domain, a[i]))
			return false;
	*value = function->compute(a);
	return true;
}

static inline bool
call_first(const FastStep *step, double *cell)
{
	double a[RULES_ARGUMENTS_MAX];

	memcpy(a, step->constants, sizeof(a));
	a[0] = *cell;
	if (isnan(a[0]) || !rule_domain_has(step->function->arguments[0].domain, a[0]))
		return false;
	*cell = step->function->compute(a);
	return true;
}

/* Unknown if either is. */
static inline double
truth(bool holds, double a, double b)
{
	return __builtin_expect(isunordered(a, b), false) ? (double) NAN : holds;
}

static inline double
both(double a, double b)
{
	return a == 0 || b == 0 ? 0 : a + b == 2 ? 1 : (double) NAN;
}

static inline double
either(double a, double b)
{
	return a == 1 || b == 1 ? 1 : a + b == 0 ? 0 : (double) NAN;
}

/* The step's number, unless that is for the machine to judge: an error, or missing. */
#define NUMBER(cell, value)                                                                                  \
	do                                                                                                       \
	{                                                                                                        \
		double number_ = (value);                                                                            \
		if (__builtin_expect(!isfinite(number_), false))                                                     \
			goto help;                                                                                       \
		(cell) = number_;                                                                                    \
	} while (0)

/* A cell as a block's value: finite, or missing, which is for the machine. */
#define WANTED(cell, value)                                                                                  \
	do                                                                                                       \
	{                                                                                                        \
		(cell) = (value);                                                                                    \
		if (__builtin_expect(isnan(cell), false))                                                            \
			goto help;                                                                                       \
	} while (0)

/* Every operation jumps to the next by itself: processors learn which follows which. */
#define LABEL(op) &&label_##op,
/* The weighted value, in place of the step behind, which holds the weight. */
#define TERM(value) (terms += next++->a * (value))
#define OP(op) label_##op:
#define NEXT                                                                                                 \
	do                                                                                                       \
	{                                                                                                        \
		step = next++;                                                                                       \
		goto *labels[step->op];                                                                              \
	} while (0)

/* An operation on the two uppermost cells, and the same with a constant for the second. */
#define BINARY(op, expression)                                                                               \
	OP(op)                                                                                                   \
	top--;                                                                                                   \
	a = top[-1];                                                                                             \
	b = top[0];                                                                                              \
	NUMBER(top[-1], expression);                                                                             \
	NEXT;                                                                                                    \
	OP(op##_CONSTANT)                                                                                        \
	a = top[-1];                                                                                             \
	b = step->a;                                                                                             \
	NUMBER(top[-1], expression);                                                                             \
	NEXT

#define COMPARE(op, operator)                                                                                \
	OP(op)                                                                                                   \
	top--;                                                                                                   \
	top[-1] = truth(top[-1] operator top[0], top[-1], top[0]);                                               \
	NEXT;                                                                                                    \
	OP(op##_CONSTANT)                                                                                        \
	top[-1] = truth(top[-1] operator step->a, top[-1], step->a);                                             \
	NEXT

#define LOAD(wanted)                                                                                         \
	value = &values[step->index];                                                                            \
	if (__builtin_expect(value->kind != (wanted), false))                                                    \
	goto unusual

#define LOAD_COMPARE(op, operator)                                                                           \
	OP(op)                                                                                                   \
	LOAD(RULE_NUMBER);                                                                                       \
	NUMBER(a, value->number);                                                                                \
	*top++ = a operator step->a;                                                                             \
	NEXT

/* Without this gcc puts the jumps of all operations back together. */
#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("no-crossjumping", "no-gcse")))
#endif
FastOutcome
rule_fast_run(const FastProgram *fast, const RuleValue *values, int64_t now_us, int *block, FastSums *sums)
{
	double stack[STACK_MAX];
	double *top = stack;
	const FastStep *next = &fast->steps[fast->starts[*block + 1]];
	const FastStep *step;
	const RuleValue *value;
	const RuleEntry *entry;
	double terms = sums->terms;
	double a;
	double b;

	// cppcheck-suppress syntaxError
	static const void *const labels[] = {FAST_OPS(LABEL)};

	NEXT;
	OP(FAST_NUMBER)
	*top++ = step->a;
	NEXT;
	OP(FAST_LOAD)
	LOAD(RULE_NUMBER);
	NUMBER(*top, value->number);
	top++;
	NEXT;
	OP(FAST_LOAD_LOG1P)
	LOAD(RULE_NUMBER);
	if (!(value->number >= 0))
		goto help;
	NUMBER(*top, log1p(step->a * value->number));
	top++;
	NEXT;
	OP(FAST_LOAD_SATURATION)
	LOAD(RULE_NUMBER);
	if (!(value->number >= 0))
		goto help;
	NUMBER(*top, value->number / (value->number + step->a));
	top++;
	NEXT;
	OP(FAST_LOAD_STEPS)
	LOAD(RULE_NUMBER);
	NUMBER(a, value->number);
	NUMBER(*top, steps_value(step->steps, a));
	top++;
	NEXT;
	LOAD_COMPARE(FAST_LOAD_LESS, <);
	LOAD_COMPARE(FAST_LOAD_LESS_EQUAL, <=);
	LOAD_COMPARE(FAST_LOAD_GREATER, >);
	LOAD_COMPARE(FAST_LOAD_GREATER_EQUAL, >=);
	OP(FAST_AGE)
	value = &values[step->index];
	if (!age_of(value, now_us, top))
		goto unusual;
	top++;
	NEXT;
	OP(FAST_AGE_DECAY)
	value = &values[step->index];
	if (!age_of(value, now_us, &a))
		goto unusual;
	NUMBER(*top, step->c + (1 - step->c) * exp(a * step->a / step->b));
	top++;
	NEXT;
	OP(FAST_AGE_DECAY_TERM)
	value = &values[step->index];
	if (!age_of(value, now_us, &a))
		goto unusual;
	NUMBER(a, step->c + (1 - step->c) * exp(a * step->a / step->b));
	TERM(a);
	NEXT;
	OP(FAST_LOAD_LOG1P_TERM)
	LOAD(RULE_NUMBER);
	if (!(value->number >= 0))
		goto help;
	NUMBER(a, log1p(step->a * value->number));
	TERM(a);
	NEXT;
	OP(FAST_LOAD_SATURATION_TERM)
	LOAD(RULE_NUMBER);
	if (!(value->number >= 0))
		goto help;
	NUMBER(a, value->number / (value->number + step->a));
	TERM(a);
	NEXT;
	OP(FAST_LOAD_STEPS_TERM)
	LOAD(RULE_NUMBER);
	NUMBER(a, value->number);
	NUMBER(a, steps_value(step->steps, a));
	TERM(a);
	NEXT;
	OP(FAST_TEXT_ENUM_TERM)
	LOAD(RULE_TEXT);
	entry = table_text(step->table, value->bytes);
	if (entry == NULL && !step->table->has_other)
		goto help;
	TERM(entry != NULL ? entry->value : step->table->other);
	NEXT;
	OP(FAST_CHOOSE_TERM)
	TERM(*--top == 1 ? step->a : step->b);
	NEXT;
	OP(FAST_EXISTS)
	*top++ = values[step->index].kind != RULE_MISSING;
	NEXT;
	OP(FAST_TEXT_IS)
	LOAD(RULE_TEXT);
	*top++ = text_equal(value->bytes, step->literal->text);
	NEXT;
	OP(FAST_TEXT_IN)
	LOAD(RULE_TEXT);
	*top++ = table_text(step->table, value->bytes) != NULL;
	NEXT;
	OP(FAST_TEXT_ENUM)
	LOAD(RULE_TEXT);
	entry = table_text(step->table, value->bytes);
	if (entry == NULL && !step->table->has_other)
		goto help;
	*top++ = entry != NULL ? entry->value : step->table->other;
	NEXT;
	OP(FAST_LIST_HAS)
	LOAD(RULE_LIST);
	if (value->list_is_json)
		goto help;
	*top++ = list_has(value->bytes, step->literal->text);
	NEXT;
	BINARY(FAST_ADD, a + b);
	BINARY(FAST_SUBTRACT, a - b);
	BINARY(FAST_MULTIPLY, a * b);
	BINARY(FAST_DIVIDE, a / b); /* by 0 it is not finite */
	BINARY(FAST_LEAST, isunordered(a, b) ? (double) NAN : b < a ? b : a);
	BINARY(FAST_GREATEST, isunordered(a, b) ? (double) NAN : b > a ? b : a);
	COMPARE(FAST_LESS, <);
	COMPARE(FAST_LESS_EQUAL, <=);
	COMPARE(FAST_GREATER, >);
	COMPARE(FAST_GREATER_EQUAL, >=);
	COMPARE(FAST_EQUAL, ==);
	COMPARE(FAST_NOT_EQUAL, !=);
	OP(FAST_AND)
	top--;
	top[-1] = both(top[-1], top[0]);
	NEXT;
	OP(FAST_OR)
	top--;
	top[-1] = either(top[-1], top[0]);
	NEXT;
	OP(FAST_NOT)
	top[-1] = 1 - top[-1];
	NEXT;
	OP(FAST_NEGATE)
	top[-1] = -top[-1];
	NEXT;
	OP(FAST_UNLESS_FALSE)
	if (top[-1] == 0)
		next = &fast->steps[step->target];
	NEXT;
	OP(FAST_UNLESS_TRUE)
	if (top[-1] == 1)
		next = &fast->steps[step->target];
	NEXT;
	OP(FAST_BRANCH)
	if (*--top != 1)
		next = &fast->steps[step->target];
	NEXT;
	OP(FAST_JUMP)
	next = &fast->steps[step->target];
	NEXT;
	OP(FAST_CHOOSE)
	top[-1] = top[-1] == 1 ? step->a : step->b;
	NEXT;
	OP(FAST_STEPS)
	if (isnan(top[-1]))
		goto help;
	NUMBER(top[-1], steps_value(step->steps, top[-1])); /* NaN: below the first bound */
	NEXT;
	OP(FAST_INTERP)
	if (isnan(top[-1]))
		goto help;
	NUMBER(top[-1], rule_interpolate(step->table, top[-1]));
	NEXT;
	OP(FAST_CALL)
	top -= step->index - 1;
	if (!call_function(step->function, top - 1, &a))
		goto help;
	NUMBER(top[-1], a);
	NEXT;
	OP(FAST_CALL_FIRST)
	if (!call_first(step, &top[-1]))
		goto help;
	NUMBER(top[-1], top[-1]);
	NEXT;
	OP(FAST_LOG1P)
	if (!(top[-1] >= 0))
		goto help;
	NUMBER(top[-1], log1p(step->a * top[-1]));
	NEXT;
	OP(FAST_SATURATION)
	if (!(top[-1] >= 0))
		goto help;
	NUMBER(top[-1], top[-1] / (top[-1] + step->a));
	NEXT;
	OP(FAST_EXP_DECAY)
	NUMBER(top[-1], step->c + (1 - step->c) * exp(top[-1] * step->a / step->b));
	NEXT;
	OP(FAST_WHEN)
	if (*--top != 1)
		next = &fast->steps[step->target];
	NEXT;
	OP(FAST_WHERE_IS)
	if (*--top != 1)
		return FAST_OUTSIDE;
	NEXT;
	OP(FAST_TERM)
	WANTED(a, *--top);
	terms += step->a * a;
	NEXT;
	OP(FAST_BOOST)
	WANTED(a, *--top);
	sums->boosts += a;
	NEXT;
	OP(FAST_FACTOR)
	WANTED(a, *--top);
	sums->factors *= a;
	NEXT;
	OP(FAST_STOP)
	sums->terms = terms;
	return FAST_END;
	OP(FAST_ASK)
	goto help;
unusual:
	if (value->kind != RULE_MISSING || value->has_own_time)
		goto help;
	if (step->target == 0)
	{
		*top++ = (double) NAN;
		NEXT;
	}
	/* the block's value is missing */
	top = stack;
	next = &fast->steps[step->target];
	if (fast->blocks[step->block].missing.action == POLICY_VALUE)
		*top++ = fast->blocks[step->block].missing.value;
	else
		next++;
	NEXT;
help:
	sums->terms = terms;
	*block = step->block == (uint16_t) FAST_WHERE ? FAST_WHERE : step->block;
	return FAST_HELP;
}
