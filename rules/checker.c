/*
 * checker.c -- see checker.h.
 */
#include "checker.h"

#include "expand.h"

#include <math.h>

typedef enum
{
	TYPE_ANY, /* an attribute: only the item tells */
	TYPE_NUMBER,
	TYPE_CONDITION,
	TYPE_TEXT,
} Type;

typedef struct Checker
{
	RuleChecked *checked;
	RuleError *error;
} Checker;

static bool check_node(Checker *checker, RuleNode *node, Type *type);

/* ---- tables -------------------------------------------------------------------------------- */

int
rule_text_order(Slice a, Slice b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int order = shorter > 0 ? memcmp(a.data, b.data, shorter) : 0;

	if (order != 0)
		return order;
	return a.len < b.len ? -1 : a.len > b.len;
}

int
rule_literal_order(const RuleLiteral *a, const RuleLiteral *b)
{
	if (a->kind == RULE_TEXT)
		return rule_text_order(a->text, b->text);
	if (a->kind == RULE_NUMBER)
		return a->number < b->number ? -1 : a->number > b->number;
	return (int) a->boolean - (int) b->boolean;
}

/* By insertion: tables are small, and qsort() may allocate. */
static void
sort_table(RuleTable *table)
{
	for (int i = 1; i < table->n; i++)
	{
		RuleEntry entry = table->entries[i];
		int j = i;

		for (; j > 0 && rule_literal_order(&table->entries[j - 1].key, &entry.key) > 0; j--)
			table->entries[j] = table->entries[j - 1];
		table->entries[j] = entry;
	}
}

static bool
check_enum(Checker *checker, RuleTable *table)
{
	sort_table(table);
	for (int i = 1; i < table->n; i++)
		if (rule_literal_order(&table->entries[i - 1].key, &table->entries[i].key) == 0)
			return rule_problem(checker->error, table->entries[i].at, "this key of enum is there twice");
	return true;
}

static bool
check_bounds(Checker *checker, const RuleTable *table, const RuleFunction *function)
{
	for (int i = 1; i < table->n; i++)
		if (table->entries[i].key.number <= table->entries[i - 1].key.number)
		{
			rule_problem(checker->error, table->entries[i].at, "the bounds of %s must rise", function->name);
			return rule_hint(checker->error,
							 function->kind == FUNCTION_STEPS
								 ? "A step holds from its bound up to the next one."
								 : "Between two bounds the value goes straight from one to the other.");
		}
	return true;
}

/* Between two points lies a line that can be computed. */
static bool
check_points(Checker *checker, const RuleTable *table)
{
	for (int i = 1; i < table->n; i++)
		if (!isfinite(table->entries[i].key.number - table->entries[i - 1].key.number) ||
			!isfinite(table->entries[i].value - table->entries[i - 1].value))
			return rule_problem(checker->error, table->entries[i].at,
								"two points of interp are too far apart for double precision");
	return true;
}

static bool
check_pairs(Checker *checker, const RuleTable *table, const RuleFunction *function)
{
	return check_bounds(checker, table, function) &&
		   (function->kind != FUNCTION_INTERP || check_points(checker, table));
}

/* ---- operands ------------------------------------------------------------------------------ */

static bool
need_number(Checker *checker, RuleNode *node)
{
	Type type;

	if (!check_node(checker, node, &type))
		return false;
	if (type == TYPE_CONDITION)
	{
		rule_problem(checker->error, node->at, "expected a number, this is a condition");
		return rule_hint(checker->error, "flag(condition, 1) turns a condition into a number.");
	}
	if (type == TYPE_TEXT)
		return rule_problem(checker->error, node->at, "expected a number, this is text");
	return true;
}

static bool
need_condition(Checker *checker, RuleNode *node)
{
	Type type;

	if (!check_node(checker, node, &type))
		return false;
	if (type == TYPE_NUMBER || type == TYPE_TEXT)
	{
		rule_problem(checker->error, node->at, "expected a condition, this is %s",
					 type == TYPE_NUMBER ? "a number" : "text");
		return rule_hint(checker->error, "Compare it, for example: price > 0, status = 'on_sale'.");
	}
	return true;
}

static bool
check_attribute(Checker *checker, RuleNode *node)
{
	RuleChecked *checked = checker->checked;

	for (int i = 0; i < checked->nattributes; i++)
		if (slice_equal(checked->attributes[i].name, node->attribute.name) &&
			slice_equal(checked->attributes[i].column, node->attribute.column))
		{
			node->attribute_index = i;
			return true;
		}
	if (checked->nattributes == RULES_ATTRIBUTES_MAX)
		return rule_problem(checker->error, node->at, "the definition reads more than %d attributes",
							RULES_ATTRIBUTES_MAX);
	node->attribute_index = checked->nattributes;
	checked->attributes[checked->nattributes++] = node->attribute;
	return true;
}

/* ---- calls --------------------------------------------------------------------------------- */

static bool
wrong_arguments(Checker *checker, const RuleNode *node, RulePosition at, const char *what)
{
	rule_problem(checker->error, at, "%s() %s", node->function->name, what);
	return rule_hint(checker->error, "It is written %s.", node->function->usage);
}

static bool
bind_named(Checker *checker, const RuleNode *call, const RuleNode *argument, int *index)
{
	const RuleFunction *function = call->function;
	RuleNearest nearest;

	rule_nearest_begin(&nearest, argument->argument);
	for (int i = 0; i < function->narguments; i++)
	{
		if (slice_equal(argument->argument, slice_string(function->arguments[i].name)))
		{
			*index = i;
			return true;
		}
		rule_nearest_offer(&nearest, slice_string(function->arguments[i].name));
	}
	rule_problem(checker->error, argument->at, "%s() has no argument \"%.*s\"", function->name,
				 RULE_NAME(argument->argument));
	if (rule_nearest_found(&nearest))
		return rule_hint(checker->error, "Did you mean \"%.*s\"? It is written %s.", RULE_NAME(nearest.best),
						 function->usage);
	return rule_hint(checker->error, "It is written %s.", function->usage);
}

/* In the body of a name others are not expanded: what an expression that has a name is. */
static const RuleNode *
meant(const RuleNode *node)
{
	while (node->kind == NODE_USE && node->name->kind == NAME_LET)
		node = node->name->body;
	return node;
}

/* What will stand there is not known yet. */
static bool
only_a_use_tells(const RuleNode *node)
{
	return node->kind == NODE_PARAMETER || node->kind == NODE_USE;
}

static bool
check_constant(Checker *checker, const RuleNode *node)
{
	const RuleNode *is = meant(node);

	if ((is->kind == NODE_LITERAL && is->literal.kind == RULE_NUMBER) || only_a_use_tells(is))
		return true;
	return rule_problem(checker->error, node->at, "expected a number written out");
}

static bool
check_domain(Checker *checker, const RuleFunction *function, const RuleArgument *argument,
			 const RuleNode *node)
{
	const char *violation = NULL;

	if (node->kind == NODE_LITERAL)
		violation = rule_domain_violation(argument->domain, node->literal.number);
	if (violation == NULL)
		return true;
	rule_problem(checker->error, node->at, "argument \"%s\" of %s() %s", argument->name, function->name,
				 violation);
	return rule_hint(checker->error, "It is written %s.", function->usage);
}

static bool
need_attribute(Checker *checker, const RuleNode *call, RuleNode *node)
{
	const RuleNode *is = meant(node);

	if (node->kind == NODE_ATTRIBUTE)
		return check_attribute(checker, node);
	if (is->kind == NODE_ATTRIBUTE || only_a_use_tells(is))
		return true;
	return wrong_arguments(checker, call, node->at, "takes the name of an attribute");
}

static bool
is_old(const RuleNode *node)
{
	return node->kind == NODE_CALL && node->function->kind == FUNCTION_OLD;
}

/* What an attribute is or was. */
static bool
need_operand(Checker *checker, const RuleNode *call, RuleNode *node)
{
	Type type;

	if (is_old(node))
		return check_node(checker, node, &type);
	return is_old(meant(node)) || need_attribute(checker, call, node);
}

static bool
need_scalar(Checker *checker, RuleNode *node)
{
	Type type;

	return check_node(checker, node, &type);
}

static bool
check_argument(Checker *checker, const RuleNode *call, const RuleArgument *argument, RuleNode *node)
{
	bool is_table = node->kind == NODE_STEPS || node->kind == NODE_ENUM || node->kind == NODE_SET;

	switch (argument->kind)
	{
		case ARGUMENT_STEPS:
			if (node->kind != NODE_STEPS)
				return wrong_arguments(checker, call, node->at,
									   call->function->kind == FUNCTION_STEPS
										   ? "expects a list of steps here"
										   : "expects a list of points here");
			return check_pairs(checker, node->table, call->function);
		case ARGUMENT_ENUM:
			if (node->kind != NODE_ENUM)
				return wrong_arguments(checker, call, node->at, "expects keys and values in braces here");
			return check_enum(checker, node->table);
		case ARGUMENT_SET:
			if (node->kind != NODE_SET)
				return wrong_arguments(checker, call, node->at, "expects a list of values here");
			sort_table(node->table);
			return true;
		default:
			break;
	}
	if (is_table)
		return wrong_arguments(checker, call, node->at, "does not take a table here");
	switch (argument->kind)
	{
		case ARGUMENT_ATTRIBUTE:
			return need_attribute(checker, call, node);
		case ARGUMENT_OPERAND:
			return need_operand(checker, call, node);
		case ARGUMENT_CONDITION:
			return need_condition(checker, node);
		case ARGUMENT_SCALAR:
			return need_scalar(checker, node);
		case ARGUMENT_CONSTANT:
			return check_constant(checker, node);
		default:
			return need_number(checker, node) && check_domain(checker, call->function, argument, node);
	}
}

/* min and max: any number of numbers, without names. */
static bool
check_variadic(Checker *checker, RuleNode *node)
{
	if (node->count < 2)
		return wrong_arguments(checker, node, node->at, "takes at least two arguments");
	for (RuleNode *argument = node->first; argument != NULL; argument = argument->next)
	{
		if (argument->argument.len > 0)
			return wrong_arguments(checker, node, argument->at, "takes no named arguments");
		if (!check_argument(checker, node, &node->function->arguments[0], argument))
			return false;
	}
	return true;
}

static bool
check_given(Checker *checker, const RuleNode *node)
{
	for (int i = 0; i < node->function->narguments; i++)
		if (node->bound[i] == NULL && !node->function->arguments[i].optional)
		{
			rule_problem(checker->error, node->at, "%s() lacks its argument \"%s\"", node->function->name,
						 node->function->arguments[i].name);
			return rule_hint(checker->error, "It is written %s.", node->function->usage);
		}
	return true;
}

static bool
check_call(Checker *checker, RuleNode *node)
{
	const RuleFunction *function = node->function;
	int position = 0;
	bool named = false;

	if (function->kind == FUNCTION_LEAST || function->kind == FUNCTION_GREATEST)
		return check_variadic(checker, node);
	for (RuleNode *argument = node->first; argument != NULL; argument = argument->next)
	{
		int index = position++;

		if (argument->argument.len > 0)
		{
			named = true;
			if (!bind_named(checker, node, argument, &index))
				return false;
		}
		else if (named)
			return wrong_arguments(checker, node, argument->at,
								   "expects a name before this argument as before the last");
		if (index >= function->narguments)
			return wrong_arguments(checker, node, argument->at, "has more arguments than it takes");
		if (node->bound[index] != NULL)
			return wrong_arguments(checker, node, argument->at, "has this argument twice");
		node->bound[index] = argument;
		if (!check_argument(checker, node, &function->arguments[index], argument))
			return false;
	}
	checker->checked->use_clock |= function->kind == FUNCTION_AGE;
	return check_given(checker, node);
}

/* steps and enum carry their last argument inside the table. */
static void
set_other(RuleNode *node)
{
	RuleTable *table = node->bound[1]->table;

	table->has_other = node->bound[2] != NULL;
	table->other = table->has_other ? node->bound[2]->literal.number : 0;
}

static bool
check_table_call(Checker *checker, RuleNode *node)
{
	if (!check_call(checker, node))
		return false;
	set_other(node);
	return true;
}

static Type
call_type(const RuleFunction *function)
{
	switch (function->kind)
	{
		case FUNCTION_EXISTS:
		case FUNCTION_CONTAINS:
		case FUNCTION_OVERLAP:
		case FUNCTION_CHANGED:
			return TYPE_CONDITION;
		case FUNCTION_OLD:
			return TYPE_ANY;
		default:
			return TYPE_NUMBER;
	}
}

/* ---- nodes --------------------------------------------------------------------------------- */

static const char *
type_name(Type type)
{
	return type == TYPE_NUMBER ? "a number" : type == TYPE_TEXT ? "text" : "a condition";
}

static bool
check_compare(Checker *checker, RuleNode *node)
{
	RuleNode *left = node->first;
	RuleNode *right = left->next;
	Type a;
	Type b;

	if (!check_node(checker, left, &a) || !check_node(checker, right, &b))
		return false;
	if (a != TYPE_ANY && b != TYPE_ANY && a != b)
		return rule_problem(checker->error, right->at, "%s cannot be compared with %s, expected %s",
							type_name(a), type_name(b), type_name(a));
	if ((a == TYPE_CONDITION || b == TYPE_CONDITION) && node->symbol != SYMBOL_EQUAL &&
		node->symbol != SYMBOL_NOT_EQUAL)
		return rule_problem(checker->error, node->at, "true and false have no order, expected = or !=");
	return true;
}

/* What stands after "in" where it is no list written out. */
static bool
check_list(Checker *checker, RuleNode *node)
{
	const RuleNode *is = meant(node);
	Type type;

	if (is_old(node))
		return check_node(checker, node, &type);
	if (node->kind == NODE_ATTRIBUTE)
		return check_attribute(checker, node);
	if (is->kind == NODE_ATTRIBUTE || is_old(is) || only_a_use_tells(is))
		return true;
	return rule_problem(checker->error, node->at,
						"expected a list ('a', 'b') or the name of a list attribute after \"in\"");
}

static bool
check_between(Checker *checker, RuleNode *node)
{
	Type expected = TYPE_ANY;

	for (RuleNode *operand = node->first; operand != NULL; operand = operand->next)
	{
		Type type;

		if (!check_node(checker, operand, &type))
			return false;
		if (type == TYPE_CONDITION)
			return rule_problem(checker->error, operand->at,
								"true and false have no order, expected a number or text");
		if (type != TYPE_ANY && expected != TYPE_ANY && type != expected)
			return rule_problem(checker->error, operand->at, "%s cannot be compared with %s, expected %s",
								type_name(expected), type_name(type), type_name(expected));
		expected = expected == TYPE_ANY ? type : expected;
	}
	return true;
}

static bool
check_match(Checker *checker, RuleNode *node)
{
	Type type;

	if (!check_node(checker, node->first, &type))
		return false;
	if (type == TYPE_ANY || type == TYPE_TEXT)
		return true;
	return rule_problem(checker->error, node->first->at, "only text can be matched, this is %s",
						type_name(type));
}

static bool
check_membership(Checker *checker, RuleNode *node)
{
	Type type;
	Type expected;

	if (!check_node(checker, node->first, &type))
		return false;
	if (node->kind == NODE_IN_LIST)
		return check_list(checker, node->first->next);
	sort_table(node->table);
	expected = node->table->kind == RULE_NUMBER ? TYPE_NUMBER
			   : node->table->kind == RULE_TEXT ? TYPE_TEXT
												: TYPE_CONDITION;
	if (type != TYPE_ANY && type != expected)
		return rule_problem(checker->error, node->first->at, "%s is never in this list, expected %s",
							type_name(type), type_name(expected));
	return true;
}

static bool
check_operands(Checker *checker, RuleNode *node, bool (*need)(Checker *, RuleNode *))
{
	for (RuleNode *operand = node->first; operand != NULL; operand = operand->next)
		if (!need(checker, operand))
			return false;
	return true;
}

static Type
literal_type(const RuleLiteral *literal)
{
	return literal->kind == RULE_NUMBER ? TYPE_NUMBER
		   : literal->kind == RULE_TEXT ? TYPE_TEXT
										: TYPE_CONDITION;
}

static bool
check_node(Checker *checker, RuleNode *node, Type *type)
{
	*type = TYPE_CONDITION;
	switch (node->kind)
	{
		case NODE_LITERAL:
			*type = literal_type(&node->literal);
			return true;
		case NODE_ATTRIBUTE:
			*type = TYPE_ANY;
			return check_attribute(checker, node);
		case NODE_CHAIN:
		case NODE_NEGATE:
			*type = TYPE_NUMBER;
			return check_operands(checker, node, need_number);
		case NODE_AND:
		case NODE_OR:
		case NODE_NOT:
			return check_operands(checker, node, need_condition);
		case NODE_COMPARE:
			return check_compare(checker, node);
		case NODE_IN_TABLE:
		case NODE_IN_LIST:
			return check_membership(checker, node);
		case NODE_BETWEEN:
			return check_between(checker, node);
		case NODE_LIKE:
		case NODE_PREFIX:
			return check_match(checker, node);
		case NODE_IS_NULL:
			return check_operands(checker, node, need_scalar);
		case NODE_PARAMETER:
			*type = TYPE_ANY;
			return true;
		case NODE_CALL:
			*type = call_type(node->function);
			if (node->function->kind == FUNCTION_STEPS || node->function->kind == FUNCTION_ENUM)
				return check_table_call(checker, node);
			return check_call(checker, node);
		case NODE_STEPS:
		case NODE_ENUM:
		case NODE_SET:
			return rule_problem(checker->error, node->at, "a table is not expected here");
		case NODE_USE: /* in the body of another name */
			*type = (Type) node->name->type;
			return check_operands(checker, node, need_scalar);
	}
	return false;
}

static bool
check_has_score(Checker *checker, const RuleDefinition *definition)
{
	bool has_score = false;

	for (const RuleStatement *s = definition->first; s != NULL; s = s->next)
		has_score |= s->kind == STATEMENT_TERM || s->kind == STATEMENT_BOOST;
	if (has_score)
		return true;
	rule_problem(checker->error, (RulePosition){1, 1, NULL},
				 "the definition has no term, expected at least one");
	return rule_hint(checker->error,
					 "A term is a line such as: term popularity weight 0.6 log1p(views) missing 0");
}

bool
rule_check_names(const RuleDefinition *definition, const RuleMemory *memory, RuleError *error)
{
	RuleExpander expander = {memory, error, 0};
	RuleChecked ignored; /* what is read counts where a name is used */
	Checker checker = {&ignored, error};

	for (int i = 0; i < definition->nnames; i++)
	{
		RuleName *name = definition->names[i];
		RuleNode *body;
		Type type;

		if (name->kind == NAME_CONST)
			continue;
		ignored.nattributes = 0;
		body = rule_copy_body(&expander, name);
		if (body == NULL || !check_node(&checker, body, &type))
			return false;
		name->type = (int) type;
	}
	return true;
}

static bool
check_statement(Checker *checker, RuleExpander *expander, RuleStatement *s)
{
	if (s->value != NULL)
	{
		if (!rule_expand(expander, &s->value))
			return false;
		if (s->kind == STATEMENT_WHERE ? !need_condition(checker, s->value) : !need_number(checker, s->value))
			return false;
	}
	if (s->when == NULL)
		return true;
	return rule_expand(expander, &s->when) && need_condition(checker, s->when);
}

bool
rule_check(RuleDefinition *definition, RuleChecked *checked, const RuleMemory *memory, RuleError *error)
{
	RuleExpander expander = {memory, error, definition->nnodes};
	Checker checker = {checked, error};

	checked->nattributes = 0;
	checked->use_clock = false;
	if (!rule_check_names(definition, memory, error))
		return false;
	for (RuleStatement *s = definition->first; s != NULL; s = s->next)
		if (!check_statement(&checker, &expander, s))
			return false;
	return check_has_score(&checker, definition);
}
