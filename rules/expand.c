/*
 * expand.c -- see expand.h.
 */
#include "expand.h"

/* How a tree is copied. */
typedef struct Copy
{
	RuleExpander *expander;
	const RuleUse *use;		  /* of all places in the copy; NULL: they stay what they are */
	const RuleNode *argument; /* the first one: in place of parameter 0; NULL: parameters stay */
	int argument_depth;		  /* of the brackets the arguments are in */
	int deeper;				  /* by so much */
} Copy;

static RuleNode *copy_tree(const Copy *copy, const RuleNode *node);

static RuleNode *
copy_node(const Copy *copy, const RuleNode *node)
{
	RuleExpander *expander = copy->expander;
	RulePosition at = node->at;
	RuleNode *made;

	if (copy->use != NULL)
		at.use = copy->use;
	if (++expander->nodes > RULES_PROGRAM_MAX)
	{
		rule_problem(expander->error, at, "the definition has more than %d operations", RULES_PROGRAM_MAX);
		return NULL;
	}
	if (node->depth + copy->deeper > RULES_DEPTH_MAX)
	{
		rule_problem(expander->error, at, "expressions are nested deeper than %d", RULES_DEPTH_MAX);
		return NULL;
	}
	made = expander->memory->alloc(expander->memory->context, sizeof(*made));
	*made = *node;
	made->at = at;
	made->depth += copy->deeper;
	made->first = NULL;
	made->next = NULL;
	if (node->table != NULL)
	{
		made->table = expander->memory->alloc(expander->memory->context, sizeof(*made->table));
		*made->table = *node->table;
	}
	return made;
}

/* What the argument says, where the parameter is: as the operand or argument the parameter was. */
static RuleNode *
copy_argument(const Copy *copy, const RuleNode *parameter)
{
	const RuleNode *argument = copy->argument;
	Copy of_argument = {.expander = copy->expander,
						.deeper = parameter->depth + copy->deeper - copy->argument_depth};
	RuleNode *made;

	for (int i = 0; i < parameter->parameter; i++)
		argument = argument->next;
	made = copy_tree(&of_argument, argument);
	if (made == NULL)
		return NULL;
	made->argument = parameter->argument;
	if (parameter->symbol != SYMBOL_NONE)
		made->symbol = parameter->symbol;
	return made;
}

static RuleNode *
copy_tree(const Copy *copy, const RuleNode *node)
{
	RuleNode *made;
	RuleNode **last;

	if (node->kind == NODE_PARAMETER && copy->argument != NULL)
		return copy_argument(copy, node);
	made = copy_node(copy, node);
	if (made == NULL)
		return NULL;
	last = &made->first;
	for (const RuleNode *child = node->first; child != NULL; child = child->next)
	{
		*last = copy_tree(copy, child);
		if (*last == NULL)
			return NULL;
		last = &(*last)->next;
	}
	return made;
}

static RuleNode *
copy_used(RuleExpander *expander, const RuleNode *node)
{
	RuleUse *use = expander->memory->alloc(expander->memory->context, sizeof(*use));
	Copy copy = {.expander = expander,
				 .use = use,
				 .argument = node->first,
				 .argument_depth = node->depth,
				 .deeper = node->depth - 1}; /* bodies begin at depth 1 */
	RuleNode *made;

	*use = (RuleUse){.at = node->at, .name = node->name->name, .library = node->name->library};
	made = copy_tree(&copy, node->name->body);
	if (made == NULL)
		return NULL;
	made->next = node->next;
	made->argument = node->argument;
	if (node->symbol != SYMBOL_NONE)
		made->symbol = node->symbol;
	return made;
}

bool
rule_expand(RuleExpander *expander, RuleNode **node)
{
	while ((*node)->kind == NODE_USE)
	{
		*node = copy_used(expander, *node);
		if (*node == NULL)
			return false;
	}
	for (RuleNode **child = &(*node)->first; *child != NULL; child = &(*child)->next)
		if (!rule_expand(expander, child))
			return false;
	return true;
}

RuleNode *
rule_copy_body(RuleExpander *expander, const RuleName *name)
{
	Copy copy = {.expander = expander};

	return copy_tree(&copy, name->body);
}
