/*
 * compiler.c -- see compiler.h.
 *
 * and, or and flag jump over what need not be computed, so `exists(x) and 1 / x > 2` guards what
 * follows.  Everything else computes all operands, from left to right.
 */
#include "compiler.h"

#include "names.h"

typedef struct Compiler
{
	const RuleMemory *memory;
	RuleError *error;
	RuleInstruction code[RULES_PROGRAM_MAX];
	int n;
	int depth;		 /* cells on the stack after the instructions so far */
	int deepest;	 /* that it ever got */
	bool last_known; /* in this expression what is missing is what it was */
	bool reads_previous[RULES_ATTRIBUTES_MAX];
} Compiler;

static bool emit_node(Compiler *compiler, const RuleNode *node);

/* effect: by how many cells the stack grows. */
static RuleInstruction *
emit(Compiler *compiler, const RuleNode *node, RuleOp op, int index, int effect)
{
	RuleInstruction *instruction;

	if (compiler->n == RULES_PROGRAM_MAX)
	{
		rule_problem(compiler->error, node->at, "the definition has more than %d operations",
					 RULES_PROGRAM_MAX);
		return NULL;
	}
	compiler->depth += effect;
	if (compiler->depth > RULES_STACK_MAX)
	{
		rule_problem(compiler->error, node->at, "the expression needs more than %d operands at once",
					 RULES_STACK_MAX);
		return NULL;
	}
	if (compiler->depth > compiler->deepest)
		compiler->deepest = compiler->depth;
	instruction = &compiler->code[compiler->n++];
	instruction->op = (uint16_t) op;
	instruction->index = (uint16_t) index;
	instruction->literal = NULL;
	return instruction;
}

static bool
emit_literal(Compiler *compiler, const RuleNode *node, const RuleLiteral *literal)
{
	RuleInstruction *instruction = emit(compiler, node, OP_LITERAL, 0, 1);

	if (instruction != NULL)
		instruction->literal = literal;
	return instruction != NULL;
}

static bool
emit_number(Compiler *compiler, const RuleNode *node, double number)
{
	RuleLiteral *literal = compiler->memory->alloc(compiler->memory->context, sizeof(*literal));

	memset(literal, 0, sizeof(*literal));
	literal->kind = RULE_NUMBER;
	literal->number = number;
	return emit_literal(compiler, node, literal);
}

static void
note_previous(Compiler *compiler, int attribute)
{
	compiler->reads_previous[attribute] = true;
}

static bool
is_old(const RuleNode *node)
{
	return node->kind == NODE_CALL;
}

/* An attribute, or old(attribute), as an operand; that it exists is a fact of the present. */
static int
operand_index(Compiler *compiler, const RuleNode *node, bool may_be_last_known)
{
	int attribute = is_old(node) ? node->bound[0]->attribute_index : node->attribute_index;

	if (!is_old(node) && !(may_be_last_known && compiler->last_known))
		return attribute;
	note_previous(compiler, attribute);
	return attribute | (is_old(node) ? OPERAND_OLD : OPERAND_LAST_KNOWN);
}

static bool
emit_operand(Compiler *compiler, const RuleNode *node)
{
	int index = operand_index(compiler, node, true);

	return emit(compiler, node, index <= OPERAND_ATTRIBUTE ? OP_LOAD : OP_RECALL, index, 1) != NULL;
}

static bool
emit_fact(Compiler *compiler, const RuleNode *node, RuleOp op)
{
	note_previous(compiler, node->bound[0]->attribute_index);
	return emit(compiler, node, op, node->bound[0]->attribute_index, 1) != NULL;
}

/* window RATE */
static bool
emit_rate(Compiler *compiler, const RuleNode *node)
{
	note_previous(compiler, node->bound[0]->attribute_index);
	return emit_node(compiler, node->bound[1]) &&
		   emit(compiler, node, OP_RATE, node->bound[0]->attribute_index, 0) != NULL;
}

static bool
emit_overlap(Compiler *compiler, const RuleNode *node)
{
	RuleInstruction *instruction =
		emit(compiler, node, OP_OVERLAP, operand_index(compiler, node->bound[0], true), 1);

	if (instruction != NULL)
		instruction->table = node->bound[1]->table;
	return instruction != NULL;
}

/* value IN_LIST */
static bool
emit_search(Compiler *compiler, const RuleNode *node, const RuleNode *value, const RuleNode *list)
{
	return emit_node(compiler, value) &&
		   emit(compiler, node, OP_IN_LIST, operand_index(compiler, list, true), 0) != NULL;
}

static bool
emit_match(Compiler *compiler, const RuleNode *node, RuleOp op)
{
	RuleInstruction *instruction;

	if (!emit_node(compiler, node->first))
		return false;
	instruction = emit(compiler, node, op, 0, 0);
	if (instruction != NULL)
		instruction->literal = &node->literal;
	return instruction != NULL;
}

/* Of an attribute it is a fact, of anything else it is computed. */
static bool
emit_is_null(Compiler *compiler, const RuleNode *node)
{
	const RuleNode *value = node->first;

	if (value->kind == NODE_ATTRIBUTE || (is_old(value) && value->function->kind == FUNCTION_OLD))
		return emit(compiler, node, OP_EXISTS, operand_index(compiler, value, false), 1) != NULL &&
			   emit(compiler, node, OP_NOT, 0, 0) != NULL;
	return emit_node(compiler, value) && emit(compiler, node, OP_IS_NULL, 0, 0) != NULL;
}

static RuleOp
chain_op(RuleSymbol symbol)
{
	switch (symbol)
	{
		case SYMBOL_PLUS:
			return OP_ADD;
		case SYMBOL_MINUS:
			return OP_SUBTRACT;
		case SYMBOL_TIMES:
			return OP_MULTIPLY;
		default:
			return OP_DIVIDE;
	}
}

/* a b op c op ..: the first alone, each further one with its operator. */
static bool
emit_chain(Compiler *compiler, const RuleNode *node)
{
	for (const RuleNode *operand = node->first; operand != NULL; operand = operand->next)
	{
		if (!emit_node(compiler, operand))
			return false;
		if (operand != node->first && !emit(compiler, operand, chain_op(operand->symbol), 0, -1))
			return false;
	}
	return true;
}

static bool
emit_extreme(Compiler *compiler, const RuleNode *node, RuleOp op)
{
	for (const RuleNode *operand = node->first; operand != NULL; operand = operand->next)
	{
		if (!emit_node(compiler, operand))
			return false;
		if (operand != node->first && !emit(compiler, operand, op, 0, -1))
			return false;
	}
	return true;
}

/*
 * a UNLESS_x end, b AND, UNLESS_x end, c AND, .. end: decided early, the rest is jumped over.
 * Every jump of a chain goes to its end; they are patched once that is known.
 */
static bool
emit_joined(Compiler *compiler, const RuleNode *node, RuleOp decide, RuleOp join)
{
	int start = compiler->n;

	for (const RuleNode *operand = node->first; operand != NULL; operand = operand->next)
	{
		if (!emit_node(compiler, operand))
			return false;
		if (operand != node->first && !emit(compiler, operand, join, 0, -1))
			return false;
		/* 0 is no target of any jump: it marks the ones to patch below */
		if (operand->next != NULL && !emit(compiler, operand, decide, 0, 0))
			return false;
	}
	for (int i = start; i < compiler->n; i++)
		if (compiler->code[i].op == decide && compiler->code[i].index == 0)
			compiler->code[i].index = (uint16_t) compiler->n;
	return true;
}

/* cond BRANCH else, v JUMP end, else: other, end: */
static bool
emit_flag(Compiler *compiler, const RuleNode *node)
{
	int branch;
	int jump;

	if (!emit_node(compiler, node->bound[0]))
		return false;
	branch = compiler->n;
	if (!emit(compiler, node, OP_BRANCH, 0, -1) || !emit_node(compiler, node->bound[1]))
		return false;
	jump = compiler->n;
	if (!emit(compiler, node, OP_JUMP, 0, -1))
		return false;
	compiler->code[branch].index = (uint16_t) compiler->n;
	if (node->bound[2] != NULL ? !emit_node(compiler, node->bound[2])
							   : !emit_number(compiler, node, node->function->arguments[2].fallback))
		return false;
	compiler->code[jump].index = (uint16_t) compiler->n;
	return true;
}

static bool
emit_table(Compiler *compiler, const RuleNode *node, const RuleNode *value, RuleOp op, const RuleTable *table)
{
	RuleInstruction *instruction;

	if (!emit_node(compiler, value))
		return false;
	instruction = emit(compiler, node, op, 0, 0);
	if (instruction != NULL)
		instruction->table = table;
	return instruction != NULL;
}

static bool
emit_numeric(Compiler *compiler, const RuleNode *node)
{
	const RuleFunction *function = node->function;
	RuleInstruction *instruction;

	for (int i = 0; i < function->narguments; i++)
		if (node->bound[i] != NULL ? !emit_node(compiler, node->bound[i])
								   : !emit_number(compiler, node, function->arguments[i].fallback))
			return false;
	instruction = emit(compiler, node, OP_CALL, function->narguments, 1 - function->narguments);
	if (instruction != NULL)
		instruction->function = function;
	return instruction != NULL;
}

static bool
emit_call(Compiler *compiler, const RuleNode *node)
{
	switch (node->function->kind)
	{
		case FUNCTION_NUMERIC:
			return emit_numeric(compiler, node);
		case FUNCTION_LEAST:
			return emit_extreme(compiler, node, OP_LEAST);
		case FUNCTION_GREATEST:
			return emit_extreme(compiler, node, OP_GREATEST);
		case FUNCTION_EXISTS:
			return emit(compiler, node, OP_EXISTS, operand_index(compiler, node->bound[0], false), 1) != NULL;
		case FUNCTION_AGE:
			return emit(compiler, node, OP_AGE, operand_index(compiler, node->bound[0], true), 1) != NULL;
		case FUNCTION_LENGTH:
			return emit(compiler, node, OP_LENGTH, operand_index(compiler, node->bound[0], true), 1) != NULL;
		case FUNCTION_OLD:
			return emit_operand(compiler, node);
		case FUNCTION_CONTAINS:
			return emit_search(compiler, node, node->bound[1], node->bound[0]);
		case FUNCTION_OVERLAP:
			return emit_overlap(compiler, node);
		case FUNCTION_CHANGED:
			return emit_fact(compiler, node, OP_CHANGED);
		case FUNCTION_DELTA:
			return emit_fact(compiler, node, OP_DELTA);
		case FUNCTION_RATE:
			return emit_rate(compiler, node);
		case FUNCTION_INTERP:
			return emit_table(compiler, node, node->bound[0], OP_INTERP, node->bound[1]->table);
		case FUNCTION_STEPS:
			return emit_table(compiler, node, node->bound[0], OP_STEPS, node->bound[1]->table);
		case FUNCTION_ENUM:
			return emit_table(compiler, node, node->bound[0], OP_ENUM, node->bound[1]->table);
		case FUNCTION_FLAG:
			return emit_flag(compiler, node);
	}
	return false;
}

/* Operands, then the instruction that joins them. */
static bool
emit_after(Compiler *compiler, const RuleNode *node, RuleOp op, int index, int effect)
{
	for (const RuleNode *operand = node->first; operand != NULL; operand = operand->next)
		if (!emit_node(compiler, operand))
			return false;
	return emit(compiler, node, op, index, effect) != NULL;
}

static bool
emit_node(Compiler *compiler, const RuleNode *node)
{
	switch (node->kind)
	{
		case NODE_LITERAL:
			return emit_literal(compiler, node, &node->literal);
		case NODE_ATTRIBUTE:
			return emit_operand(compiler, node);
		case NODE_CALL:
			return emit_call(compiler, node);
		case NODE_CHAIN:
			return emit_chain(compiler, node);
		case NODE_NEGATE:
			return emit_after(compiler, node, OP_NEGATE, 0, 0);
		case NODE_NOT:
			return emit_after(compiler, node, OP_NOT, 0, 0);
		case NODE_COMPARE:
			return emit_after(compiler, node, OP_COMPARE, (int) node->symbol, -1);
		case NODE_IN_TABLE:
			return emit_table(compiler, node, node->first, OP_IN_TABLE, node->table);
		case NODE_IN_LIST:
			return emit_search(compiler, node, node->first, node->first->next);
		case NODE_BETWEEN:
			return emit_after(compiler, node, OP_BETWEEN, 0, -2);
		case NODE_LIKE:
			return emit_match(compiler, node, OP_LIKE);
		case NODE_PREFIX:
			return emit_match(compiler, node, OP_PREFIX);
		case NODE_IS_NULL:
			return emit_is_null(compiler, node);
		case NODE_AND:
			return emit_joined(compiler, node, OP_UNLESS_FALSE, OP_AND);
		case NODE_OR:
			return emit_joined(compiler, node, OP_UNLESS_TRUE, OP_OR);
		case NODE_STEPS:
		case NODE_ENUM:
		case NODE_SET: /* arguments of a call, reached only through it */
		case NODE_USE:
		case NODE_PARAMETER: /* there is none any more */
			break;
	}
	return false;
}

/* ---- statements ---------------------------------------------------------------------------- */

/*
 * Without a clause of its own a term follows the definition's missing and on_error.  A number there
 * is a term's value: as a boost or factor it would mean something else, so those are left out.
 */
static RulePolicy
effective(RulePolicy own, RulePolicy of_all, RuleStatementKind kind)
{
	RulePolicy policy = own;

	if (policy.action == POLICY_UNSET)
	{
		policy = of_all;
		if (policy.action == POLICY_VALUE && kind != STATEMENT_TERM)
			policy.action = POLICY_SKIP;
	}
	if (policy.action == POLICY_UNSET)
		policy.action = POLICY_SKIP;
	return policy;
}

static const char *
copy_name(const RuleMemory *memory, Slice name)
{
	char *copy = memory->alloc(memory->context, name.len + 1);

	memcpy(copy, name.data, name.len);
	copy[name.len] = '\0';
	return copy;
}

static bool
emit_statement(Compiler *compiler, const RuleDefinition *definition, const RuleStatement *statement,
			   RuleBlock *block)
{
	memset(block, 0, sizeof(*block));
	block->kind = statement->kind;
	block->name = copy_name(compiler->memory, statement->name);
	block->weight = statement->weight;
	block->tier = statement->tier;
	block->missing = effective(statement->missing, definition->missing, statement->kind);
	block->on_error = effective(statement->on_error, definition->on_error, statement->kind);

	block->when = (uint16_t) compiler->n;
	compiler->depth = 0;
	if (statement->when != NULL && !emit_node(compiler, statement->when))
		return false;
	block->value = (uint16_t) compiler->n;
	compiler->depth = 0;
	compiler->last_known = block->missing.action == POLICY_LAST_KNOWN && statement->kind != STATEMENT_WHERE;
	if (statement->value != NULL && !emit_node(compiler, statement->value))
		return false;
	compiler->last_known = false;
	block->end = (uint16_t) compiler->n;
	return true;
}

static void *
copy_array(const RuleMemory *memory, const void *array, size_t bytes)
{
	void *copy = memory->alloc(memory->context, bytes > 0 ? bytes : 1);

	if (bytes > 0)
		memcpy(copy, array, bytes);
	return copy;
}

static const Slice *
copy_names(const RuleMemory *memory, const RuleDefinition *definition)
{
	Slice *names = memory->alloc(memory->context, ((size_t) definition->nnames + 1) * sizeof(*names));

	for (int i = 0; i < definition->nnames; i++)
		names[i] = definition->names[i]->name;
	return names;
}

static RuleProgram *
finish(const Compiler *compiler, const RuleDefinition *definition, const RuleChecked *checked)
{
	const RuleMemory *memory = compiler->memory;
	RuleProgram *program = memory->alloc(memory->context, sizeof(*program));

	memset(program, 0, sizeof(*program));
	program->instructions =
		copy_array(memory, compiler->code, (size_t) compiler->n * sizeof(compiler->code[0]));
	program->ninstructions = compiler->n;
	program->stack_cells = compiler->deepest;
	program->attributes = copy_array(memory, checked->attributes,
									 (size_t) checked->nattributes * sizeof(checked->attributes[0]));
	program->nattributes = checked->nattributes;
	program->use_clock = checked->use_clock;
	program->reads_previous = copy_array(memory, compiler->reads_previous,
										 (size_t) checked->nattributes * sizeof(compiler->reads_previous[0]));
	for (int i = 0; i < checked->nattributes; i++)
		program->use_previous |= program->reads_previous[i];
	program->names = copy_names(memory, definition);
	program->nnames = definition->nnames;
	program->libraries = copy_array(memory, definition->libraries,
									(size_t) definition->nlibraries * sizeof(definition->libraries[0]));
	program->nlibraries = definition->nlibraries;
	program->min_change = definition->min_change;
	program->refresh_us = (int64_t) (definition->refresh_seconds * 1e6);
	program->scene = definition->scene;
	program->combine = definition->combine;
	program->on_error = definition->on_error;
	program->has_clamp = definition->has_clamp;
	program->clamp_low = definition->clamp_low;
	program->clamp_high = definition->clamp_high;
	program->round = definition->round;
	return program;
}

RuleProgram *
rule_compile(const RuleDefinition *definition, const RuleChecked *checked, const RuleMemory *memory,
			 RuleError *error)
{
	Compiler room; /* 128 kB of stack, rather than of a memory that is never freed */
	Compiler *compiler = &room;
	RuleBlock *blocks =
		memory->alloc(memory->context, ((size_t) definition->nstatements + 1) * sizeof(*blocks));
	RuleBlock *where = NULL;
	RuleProgram *program;
	int n = 0;

	compiler->memory = memory;
	compiler->error = error;
	compiler->n = 0;
	compiler->depth = compiler->deepest = 0;
	compiler->last_known = false;
	memset(compiler->reads_previous, 0, sizeof(compiler->reads_previous));
	for (const RuleStatement *s = definition->first; s != NULL; s = s->next)
	{
		RuleBlock *block = &blocks[n];

		if (s->kind == STATEMENT_WHERE)
			block = where = memory->alloc(memory->context, sizeof(*where));
		else
			n++;
		if (!emit_statement(compiler, definition, s, block))
			return NULL;
	}
	program = finish(compiler, definition, checked);
	program->where = where;
	program->blocks = blocks;
	program->nblocks = n;
	return program;
}
