/*
 * expression.c -- see expression.h.
 *
 *   expression := conjunction { "or" conjunction }
 *   conjunction := negation { "and" negation }
 *   negation   := "not" negation | comparison
 *   comparison := sum [ ("=" | "!=" | "<" | "<=" | ">" | ">=") sum
 *                     | "is" ["not"] "null"
 *                     | ["not"] ( "in" set | "between" sum "and" sum | "like" text | "prefix" text ) ]
 *   set        := "(" literal, ... ")" | "[" literal, ... "]" | attribute
 *   sum        := product { ("+" | "-") product }
 *   product    := unary { ("*" | "/") unary }
 *   unary      := ("-" | "+") unary | primary
 *   primary    := literal | attribute | name | function "(" arguments ")" | "(" expression ")"
 *
 * A literal number may be the name of a constant.
 */
#include "names.h"

#include "pattern.h"

#include <stdio.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

bool
rule_parser_advance(RuleParser *parser)
{
	return rule_lexer_next(&parser->lexer, &parser->token);
}

bool
rule_parser_at_word(const RuleParser *parser, const char *word)
{
	return parser->token.kind == TOKEN_NAME && slice_equal(parser->token.text, slice_string(word));
}

bool
rule_parser_at_symbol(const RuleParser *parser, RuleSymbol symbol)
{
	return parser->token.kind == TOKEN_SYMBOL && parser->token.symbol == symbol;
}

/* ---- errors -------------------------------------------------------------------------------- */

/* Words people know from elsewhere, and what says the same here. */
static const struct
{
	const char *word;
	const char *hint;
} foreign_words[] = {
	{"ilike", "like tells upper and lower case apart; write x like 'abc%'."},
	{"contains", "Write contains(attribute, 'value')."},
	{"overlap", "Write overlap(attribute, ['a', 'b'])."},
	{"null", "Write x is null or x is not null."},
};

bool
rule_parser_expected(RuleParser *parser, const char *what)
{
	const RuleToken *token = &parser->token;

	for (size_t i = 0; i < LENGTH(foreign_words); i++)
		if (rule_parser_at_word(parser, foreign_words[i].word))
		{
			rule_problem(parser->error, token->at, "expected %s, not \"%s\"", what, foreign_words[i].word);
			return rule_hint(parser->error, "%s", foreign_words[i].hint);
		}
	if (token->kind == TOKEN_END)
		return rule_problem(parser->error, token->at, "expected %s, but the definition ends here", what);
	if (token->kind == TOKEN_LINE_END)
		return rule_problem(parser->error, token->at, "expected %s, but the line ends here", what);
	if (token->kind == TOKEN_TEXT)
		return rule_problem(parser->error, token->at, "expected %s, not %.*s", what,
							RULE_NAME(token->source));
	return rule_problem(parser->error, token->at, "expected %s, not \"%.*s\"", what,
						RULE_NAME(token->source));
}

/* Where a bracket should close: inside brackets a line's end says nothing, so say where it opened. */
static bool
expected_close(RuleParser *parser, const char *what, RulePosition opened)
{
	rule_parser_expected(parser, what);
	if (parser->error->hint[0] == '\0')
		rule_hint(parser->error, "The bracket was opened in line %d, column %d.", opened.line, opened.column);
	return false;
}

/* ---- nodes --------------------------------------------------------------------------------- */

static RuleNode *
node_make(RuleParser *parser, RuleNodeKind kind, RulePosition at)
{
	RuleNode *node;

	if (++parser->definition->nnodes > RULES_PROGRAM_MAX)
	{
		rule_problem(parser->error, at, "the definition has more than %d operations", RULES_PROGRAM_MAX);
		return NULL;
	}
	node = parser->memory->alloc(parser->memory->context, sizeof(*node));
	memset(node, 0, sizeof(*node));
	node->kind = kind;
	node->at = at;
	node->depth = parser->depth;
	return node;
}

/* The parent of a first operand; NULL passes through, so that errors need one check. */
static RuleNode *
node_above(RuleParser *parser, RuleNodeKind kind, RulePosition at, RuleNode *operand)
{
	RuleNode *node = operand != NULL ? node_make(parser, kind, at) : NULL;

	if (node != NULL)
	{
		node->first = operand;
		node->count = 1;
	}
	return node;
}

/* ---- literals and tables ------------------------------------------------------------------- */

static void
literal_text(RuleLiteral *literal, Slice text)
{
	literal->kind = RULE_TEXT;
	literal->text = text;
	literal->has_time = rules_parse_time(text, &literal->time_us);
}

/* The number the present token is, or is the name of. */
static bool
constant_value(const RuleParser *parser, double *number)
{
	const RuleName *name =
		parser->token.kind == TOKEN_NAME ? rule_name_find(parser->definition, parser->token.text) : NULL;

	if (parser->token.kind == TOKEN_NUMBER)
		*number = parser->token.number;
	else if (name != NULL && name->kind == NAME_CONST)
		*number = name->number;
	else
		return false;
	return true;
}

bool
rule_parse_constant(RuleParser *parser, double *number)
{
	bool negative = rule_parser_at_symbol(parser, SYMBOL_MINUS);

	if ((negative || rule_parser_at_symbol(parser, SYMBOL_PLUS)) && !rule_parser_advance(parser))
		return false;
	if (!constant_value(parser, number))
		return rule_parser_expected(parser, "a number");
	*number = negative ? -*number : *number;
	return rule_parser_advance(parser);
}

/* A literal of a set or a map; all of one kind, because a value has one kind. */
static bool
parse_key(RuleParser *parser, RuleEntry *entry, RuleKind *kind)
{
	RuleLiteral *literal = &entry->key;
	const RuleToken token = parser->token;
	double ignored;

	memset(entry, 0, sizeof(*entry));
	entry->at = token.at;
	if (token.kind == TOKEN_TEXT)
		literal_text(literal, token.text);
	else if (rule_parser_at_word(parser, "true") || rule_parser_at_word(parser, "false"))
	{
		literal->kind = RULE_BOOL;
		literal->boolean = rule_parser_at_word(parser, "true");
	}
	else if ((token.kind == TOKEN_NAME && !constant_value(parser, &ignored)) ||
			 token.kind == TOKEN_QUOTED_NAME)
	{
		rule_parser_expected(parser, "a text, a number, true or false");
		return rule_hint(parser->error, "Text is written in single quotes: '%.*s'.", RULE_NAME(token.text));
	}
	if (*kind != RULE_MISSING && literal->kind != RULE_MISSING && literal->kind != *kind)
		return rule_problem(parser->error, token.at, "expected a value of the same kind as the first one");
	if (literal->kind == RULE_MISSING)
	{
		literal->kind = RULE_NUMBER;
		if (*kind != RULE_MISSING && *kind != RULE_NUMBER)
			return rule_problem(parser->error, token.at,
								"expected a value of the same kind as the first one");
		*kind = RULE_NUMBER;
		return rule_parse_constant(parser, &literal->number);
	}
	*kind = literal->kind;
	return rule_parser_advance(parser);
}

/* 'a'  (of a set) */
static bool
parse_member(RuleParser *parser, RuleEntry *entry, RuleKind *kind)
{
	return parse_key(parser, entry, kind);
}

/* (bound, value)  (of steps) */
static bool
parse_pair(RuleParser *parser, RuleEntry *entry, RuleKind *kind)
{
	RulePosition opened = parser->token.at;

	memset(entry, 0, sizeof(*entry));
	if (!rule_parser_at_symbol(parser, SYMBOL_OPEN))
		return rule_parser_expected(parser, "a pair (bound, value)");
	if (!rule_parser_advance(parser))
		return false;
	entry->at = parser->token.at;
	entry->key.kind = *kind = RULE_NUMBER;
	if (!rule_parse_constant(parser, &entry->key.number))
		return false;
	if (!rule_parser_at_symbol(parser, SYMBOL_COMMA))
		return expected_close(parser, "\",\" and the step's value", opened);
	if (!rule_parser_advance(parser) || !rule_parse_constant(parser, &entry->value))
		return false;
	if (!rule_parser_at_symbol(parser, SYMBOL_CLOSE))
		return expected_close(parser, "\")\" after the step's value", opened);
	return rule_parser_advance(parser);
}

/* 'a': 1  (of enum) */
static bool
parse_mapping(RuleParser *parser, RuleEntry *entry, RuleKind *kind)
{
	if (!parse_key(parser, entry, kind))
		return false;
	if (!rule_parser_at_symbol(parser, SYMBOL_COLON))
		return rule_parser_expected(parser, "\":\" and the key's value");
	return rule_parser_advance(parser) && rule_parse_constant(parser, &entry->value);
}

typedef bool (*ParseEntry)(RuleParser *parser, RuleEntry *entry, RuleKind *kind);

/* The present token is the opening bracket. */
static RuleTable *
parse_table(RuleParser *parser, ParseEntry parse_entry, RuleSymbol close)
{
	RuleEntry *entries = parser->entries;
	RulePosition opened = parser->token.at;
	RuleKind kind = RULE_MISSING;
	char what[] = "\",\" or \"?\"";
	RuleTable *table;
	int n = 0;

	what[8] = (char) close;
	do
	{
		if (!rule_parser_advance(parser))
			return NULL;
		if (n > 0 && rule_parser_at_symbol(parser, close)) /* a comma after the last one is fine */
			break;
		if (n == RULES_TABLE_MAX)
		{
			rule_problem(parser->error, parser->token.at, "a table has more than %d entries",
						 RULES_TABLE_MAX);
			return NULL;
		}
		if (!parse_entry(parser, &entries[n], &kind))
			return NULL;
		n++;
	} while (rule_parser_at_symbol(parser, SYMBOL_COMMA));
	if (!rule_parser_at_symbol(parser, close))
	{
		expected_close(parser, what, opened);
		return NULL;
	}
	table = parser->memory->alloc(parser->memory->context, sizeof(*table));
	memset(table, 0, sizeof(*table));
	table->kind = kind;
	table->n = n;
	table->entries = parser->memory->alloc(parser->memory->context, (size_t) n * sizeof(entries[0]));
	memcpy(table->entries, entries, (size_t) n * sizeof(entries[0]));
	return rule_parser_advance(parser) ? table : NULL;
}

static RuleNode *
parse_table_node(RuleParser *parser, RuleNodeKind kind, ParseEntry parse_entry, RuleSymbol close)
{
	RuleNode *node = node_make(parser, kind, parser->token.at);

	if (node == NULL)
		return NULL;
	node->table = parse_table(parser, parse_entry, close);
	return node->table != NULL ? node : NULL;
}

static bool
followed_by(const RuleParser *parser, RuleSymbol symbol)
{
	RuleLexer ahead = parser->lexer;
	RuleError ignored;
	RuleToken token;

	ahead.error = &ignored;
	return rule_lexer_next(&ahead, &token) && token.kind == TOKEN_SYMBOL && token.symbol == symbol;
}

/* ---- names and calls ----------------------------------------------------------------------- */

/* Words that may follow an expression, so a bare one cannot be an attribute. */
static const char *const reserved[] = {"and",	 "or",	  "not",	 "in",		 "true", "false",
									   "weight", "when",  "missing", "on_error", "null", "between",
									   "like",	 "ilike", "is",		 "prefix"};

bool
rule_is_reserved(const RuleToken *token)
{
	for (size_t i = 0; i < LENGTH(reserved); i++)
		if (token->kind == TOKEN_NAME && slice_equal(token->text, slice_string(reserved[i])))
			return true;
	return false;
}

static bool
is_name(const RuleToken *token)
{
	return token->kind == TOKEN_NAME || token->kind == TOKEN_QUOTED_NAME;
}

/* price | att.price | "odd name".x */
static RuleNode *
parse_attribute(RuleParser *parser)
{
	RuleNode *node = node_make(parser, NODE_ATTRIBUTE, parser->token.at);

	if (node == NULL)
		return NULL;
	node->attribute.name = parser->token.text;
	if (!rule_parser_advance(parser))
		return NULL;
	if (!rule_parser_at_symbol(parser, SYMBOL_DOT))
		return node;
	node->attribute.column = node->attribute.name;
	if (!rule_parser_advance(parser))
		return NULL;
	if (!is_name(&parser->token))
	{
		rule_parser_expected(parser, "the name of a key after \".\"");
		return NULL;
	}
	node->attribute.name = parser->token.text;
	if (!rule_parser_advance(parser))
		return NULL;
	if (rule_parser_at_symbol(parser, SYMBOL_DOT))
	{
		rule_problem(parser->error, parser->token.at,
					 "an attribute is a column or a key of a column, not deeper");
		return NULL;
	}
	return node;
}

/*
 * name = value.  A condition may begin in the same way (flag(status = 'x', 1)), so where a function
 * takes one only its optional arguments are called by name.
 */
static bool
at_named_argument(const RuleParser *parser, const RuleFunction *function)
{
	RuleLexer ahead = parser->lexer;
	RuleError ignored;
	RuleToken token;
	bool takes_condition = function->kind == FUNCTION_FLAG;

	ahead.error = &ignored;
	if (parser->token.kind != TOKEN_NAME || !rule_lexer_next(&ahead, &token) || token.kind != TOKEN_SYMBOL ||
		token.symbol != SYMBOL_EQUAL)
		return false;
	for (int i = 0; i < function->narguments; i++)
		if ((function->arguments[i].optional || !takes_condition) &&
			slice_equal(parser->token.text, slice_string(function->arguments[i].name)))
			return true;
	return !takes_condition;
}

/* In brackets [] a function has either pairs or values. */
static bool
takes_set(const RuleFunction *function)
{
	for (int i = 0; i < function->narguments; i++)
		if (function->arguments[i].kind == ARGUMENT_SET)
			return true;
	return false;
}

static RuleNode *
parse_argument(RuleParser *parser, const RuleFunction *function)
{
	Slice name = {0};
	RulePosition at = parser->token.at;
	RuleNode *node;

	if (at_named_argument(parser, function))
	{
		name = parser->token.text;
		if (!rule_parser_advance(parser) || !rule_parser_advance(parser))
			return NULL;
	}
	if (rule_parser_at_symbol(parser, SYMBOL_OPEN_LIST))
		node = takes_set(function) ? parse_table_node(parser, NODE_SET, parse_member, SYMBOL_CLOSE_LIST)
								   : parse_table_node(parser, NODE_STEPS, parse_pair, SYMBOL_CLOSE_LIST);
	else if (rule_parser_at_symbol(parser, SYMBOL_OPEN_MAP))
		node = parse_table_node(parser, NODE_ENUM, parse_mapping, SYMBOL_CLOSE_MAP);
	else
		node = rule_parse_expression(parser);
	if (node != NULL)
	{
		node->argument = name;
		node->at = name.len > 0 ? at : node->at;
	}
	return node;
}

static RuleNode *parse_primary(RuleParser *parser);

/* A macro of nearly that name is nearer than any function; a name without parameters is none. */
static bool
unknown_function(RuleParser *parser, const RuleToken *token)
{
	const RuleName *name = rule_name_find(parser->definition, token->text);
	RuleNearest nearest;

	if (name != NULL)
		return rule_problem(parser->error, token->at, "\"%.*s\" stands for %s and takes no arguments",
							RULE_NAME(token->text), name->kind == NAME_CONST ? "a number" : "an expression");
	rule_function_unknown(parser->error, token->at, token->text);
	rule_nearest_begin(&nearest, token->text);
	for (int i = 0; i < parser->definition->nnames; i++)
		if (parser->definition->names[i]->kind == NAME_MACRO)
			rule_nearest_offer(&nearest, parser->definition->names[i]->name);
	return rule_nearest_found(&nearest)
			   ? rule_hint(parser->error, "Did you mean the macro \"%.*s\"?", RULE_NAME(nearest.best))
			   : false;
}

/* The arguments of a function, or of a macro (function: NULL), up to the closing bracket. */
static bool
parse_arguments(RuleParser *parser, const RuleFunction *function, RuleNode *node)
{
	RulePosition opened = parser->token.at;
	RuleNode **last = &node->first;

	if (!rule_parser_advance(parser))
		return false;
	while (!rule_parser_at_symbol(parser, SYMBOL_CLOSE))
	{
		if (node->count > 0)
		{
			if (!rule_parser_at_symbol(parser, SYMBOL_COMMA))
				return expected_close(parser, "\",\" or \")\"", opened);
			if (!rule_parser_advance(parser))
				return false;
		}
		*last = function != NULL ? parse_argument(parser, function) : rule_parse_expression(parser);
		if (*last == NULL)
			return false;
		last = &(*last)->next;
		node->count++;
	}
	return rule_parser_advance(parser);
}

/* The present token is the bracket after the function's name. */
static RuleNode *
parse_call(RuleParser *parser, const RuleToken *name)
{
	const RuleFunction *function = rule_function_find(name->text);
	RuleNode *node;

	if (function == NULL)
	{
		unknown_function(parser, name);
		return NULL;
	}
	node = node_make(parser, NODE_CALL, name->at);
	if (node == NULL)
		return NULL;
	node->function = function;
	return parse_arguments(parser, function, node) ? node : NULL;
}

/* ---- names that stand for something ---------------------------------------------------------- */

static bool
how_it_is_written(RuleParser *parser, const RuleName *name)
{
	char list[sizeof(parser->error->hint) / 2];
	size_t n = 0;

	list[0] = '\0';
	for (int i = 0; i < name->nparameters && n < sizeof(list); i++)
		n += (size_t) snprintf(list + n, sizeof(list) - n, "%s%.*s", i > 0 ? ", " : "",
							   RULE_NAME(name->parameters[i]));
	return rule_hint(parser->error, "It is written %.*s(%s).", RULE_NAME(name->name), list);
}

/* The present token is the one after the name. */
static RuleNode *
parse_use(RuleParser *parser, const RuleName *name, const RuleToken *token)
{
	RuleNode *node = node_make(parser, name->kind == NAME_CONST ? NODE_LITERAL : NODE_USE, token->at);

	if (node == NULL)
		return NULL;
	node->name = name;
	if (name->kind == NAME_CONST)
	{
		node->literal.kind = RULE_NUMBER;
		node->literal.number = name->number;
	}
	if (name->kind != NAME_MACRO)
		return node;
	if (!rule_parser_at_symbol(parser, SYMBOL_OPEN))
	{
		rule_parser_expected(parser, "\"(\" and the arguments of the macro");
		how_it_is_written(parser, name);
		return NULL;
	}
	if (!parse_arguments(parser, NULL, node))
		return NULL;
	if (node->count != name->nparameters)
	{
		rule_problem(parser->error, token->at, "macro %.*s() takes %d argument%s, not %d",
					 RULE_NAME(name->name), name->nparameters, name->nparameters == 1 ? "" : "s",
					 node->count);
		how_it_is_written(parser, name);
		return NULL;
	}
	return node;
}

static int
find_parameter(const RuleParser *parser, Slice name)
{
	for (int i = 0; parser->macro != NULL && i < parser->macro->nparameters; i++)
		if (slice_equal(parser->macro->parameters[i], name))
			return i;
	return -1;
}

static bool
is_macro(const RuleParser *parser, Slice text)
{
	const RuleName *name = rule_name_find(parser->definition, text);

	return name != NULL && name->kind == NAME_MACRO;
}

/* a | att.a | name: the present token is a name and no bracket follows, unless it is a macro's. */
static RuleNode *
parse_name(RuleParser *parser)
{
	RuleToken token = parser->token;
	int parameter = find_parameter(parser, token.text);
	const RuleName *name = rule_name_find(parser->definition, token.text);
	RuleNode *node;

	/* quotes always mean an attribute, and so does a point */
	if (token.kind == TOKEN_QUOTED_NAME || (parameter < 0 && name == NULL) || followed_by(parser, SYMBOL_DOT))
		return parse_attribute(parser);
	if (!rule_parser_advance(parser))
		return NULL;
	if (parameter < 0)
		return parse_use(parser, name, &token);
	node = node_make(parser, NODE_PARAMETER, token.at);
	if (node != NULL)
		node->parameter = parameter;
	return node;
}

/* ---- precedence ---------------------------------------------------------------------------- */

static RuleNode *
parse_literal(RuleParser *parser)
{
	RuleNode *node = node_make(parser, NODE_LITERAL, parser->token.at);

	if (node == NULL)
		return NULL;
	if (parser->token.kind == TOKEN_TEXT)
		literal_text(&node->literal, parser->token.text);
	else if (parser->token.kind == TOKEN_NUMBER)
	{
		node->literal.kind = RULE_NUMBER;
		node->literal.number = parser->token.number;
	}
	else
	{
		node->literal.kind = RULE_BOOL;
		node->literal.boolean = rule_parser_at_word(parser, "true");
	}
	return rule_parser_advance(parser) ? node : NULL;
}

static RuleNode *
parse_primary(RuleParser *parser)
{
	RuleToken token = parser->token;
	RuleNode *node;

	if (token.kind == TOKEN_TEXT || token.kind == TOKEN_NUMBER || rule_parser_at_word(parser, "true") ||
		rule_parser_at_word(parser, "false"))
		return parse_literal(parser);
	if (rule_parser_at_symbol(parser, SYMBOL_OPEN))
	{
		if (!rule_parser_advance(parser) || (node = rule_parse_expression(parser)) == NULL)
			return NULL;
		if (!rule_parser_at_symbol(parser, SYMBOL_CLOSE))
		{
			expected_close(parser, "\")\"", token.at);
			return NULL;
		}
		return rule_parser_advance(parser) ? node : NULL;
	}
	if (rule_is_reserved(&token))
	{
		rule_parser_expected(parser, "an attribute, a function or a number");
		if (parser->error->hint[0] == '\0')
			rule_hint(
				parser->error,
				"\"%.*s\" is a word of the language; an attribute of that name is written in double quotes.",
				RULE_NAME(token.text));
		return NULL;
	}
	if (token.kind == TOKEN_NAME && followed_by(parser, SYMBOL_OPEN) && !is_macro(parser, token.text))
		return rule_parser_advance(parser) ? parse_call(parser, &token) : NULL;
	if (is_name(&token))
		return parse_name(parser);
	rule_parser_expected(parser, "an attribute, a function or a number");
	return NULL;
}

static bool
go_deeper(RuleParser *parser)
{
	if (++parser->depth <= RULES_DEPTH_MAX)
		return true;
	return rule_problem(parser->error, parser->token.at, "expressions are nested deeper than %d",
						RULES_DEPTH_MAX);
}

static RuleNode *
parse_unary(RuleParser *parser)
{
	bool minus = rule_parser_at_symbol(parser, SYMBOL_MINUS);
	RulePosition at = parser->token.at;
	RuleNode *node;

	if (!minus && !rule_parser_at_symbol(parser, SYMBOL_PLUS))
		return parse_primary(parser);
	if (!go_deeper(parser) || !rule_parser_advance(parser))
		return NULL;
	node = parse_unary(parser);
	parser->depth--;
	if (node == NULL || !minus)
		return node;
	if (node->kind != NODE_LITERAL || node->literal.kind != RULE_NUMBER)
		return node_above(parser, NODE_NEGATE, at, node);
	node->literal.number = -node->literal.number; /* a negative number is a constant, not a program */
	node->at = at;
	return node;
}

/* Operands joined by one of two operators of the same rank. */
static RuleNode *
parse_chain(RuleParser *parser, RuleNode *(*parse_operand)(RuleParser *), RuleSymbol one, RuleSymbol other)
{
	RuleNode *node = parse_operand(parser);
	RuleNode *last = node;
	RuleNode *chain = NULL;

	while (last != NULL && (rule_parser_at_symbol(parser, one) || rule_parser_at_symbol(parser, other)))
	{
		RuleToken sign = parser->token;

		if (chain == NULL)
			chain = node = node_above(parser, NODE_CHAIN, sign.at, node);
		if (chain == NULL || !rule_parser_advance(parser))
			return NULL;
		last->next = parse_operand(parser);
		last = last->next;
		if (last == NULL)
			return NULL;
		last->symbol = sign.symbol;
		chain->count++;
	}
	return node;
}

static RuleNode *
parse_product(RuleParser *parser)
{
	return parse_chain(parser, parse_unary, SYMBOL_TIMES, SYMBOL_OVER);
}

static RuleNode *
parse_sum(RuleParser *parser)
{
	return parse_chain(parser, parse_product, SYMBOL_PLUS, SYMBOL_MINUS);
}

static bool
at_comparison(const RuleParser *parser)
{
	static const RuleSymbol symbols[] = {SYMBOL_EQUAL,		SYMBOL_NOT_EQUAL, SYMBOL_LESS,
										 SYMBOL_LESS_EQUAL, SYMBOL_GREATER,	  SYMBOL_GREATER_EQUAL};

	for (size_t i = 0; i < LENGTH(symbols); i++)
		if (rule_parser_at_symbol(parser, symbols[i]))
			return true;
	return false;
}

/* The present token is the one after "in". */
static RuleNode *
parse_membership(RuleParser *parser, RuleNode *value, RulePosition at)
{
	RuleNode *node;

	if (rule_parser_at_symbol(parser, SYMBOL_OPEN) || rule_parser_at_symbol(parser, SYMBOL_OPEN_LIST))
	{
		node = node_above(parser, NODE_IN_TABLE, at, value);
		if (node == NULL)
			return NULL;
		node->table =
			parse_table(parser, parse_member,
						rule_parser_at_symbol(parser, SYMBOL_OPEN) ? SYMBOL_CLOSE : SYMBOL_CLOSE_LIST);
		return node->table != NULL ? node : NULL;
	}
	if (!is_name(&parser->token) || rule_is_reserved(&parser->token))
	{
		rule_parser_expected(parser, "a list ('a', 'b') or the name of a list attribute after \"in\"");
		return NULL;
	}
	node = node_above(parser, NODE_IN_LIST, at, value);
	if (node == NULL)
		return NULL;
	value->next = parse_primary(parser);
	node->count = 2;
	return value->next != NULL ? node : NULL;
}

/* x between a and b: the present token is the one after "between". */
static RuleNode *
parse_between(RuleParser *parser, RuleNode *value, RulePosition at)
{
	RuleNode *node = node_above(parser, NODE_BETWEEN, at, value);

	if (node == NULL || (value->next = parse_sum(parser)) == NULL)
		return NULL;
	if (!rule_parser_at_word(parser, "and"))
	{
		rule_parser_expected(parser, "\"and\" and the upper bound");
		return NULL;
	}
	if (!rule_parser_advance(parser))
		return NULL;
	value->next->next = parse_sum(parser);
	node->count = 3;
	return value->next->next != NULL ? node : NULL;
}

/* x like 'a%', x prefix 'a': the present token is the one after the word. */
static RuleNode *
parse_match(RuleParser *parser, RuleNodeKind kind, RuleNode *value, RulePosition at)
{
	RuleNode *node = node_above(parser, kind, at, value);

	if (node == NULL)
		return NULL;
	if (parser->token.kind != TOKEN_TEXT)
	{
		rule_parser_expected(parser,
							 kind == NODE_LIKE ? "a pattern in single quotes" : "a text in single quotes");
		return NULL;
	}
	if (parser->token.text.len > RULES_PATTERN_BYTES_MAX)
	{
		rule_problem(parser->error, parser->token.at, "a pattern has more than %d bytes",
					 RULES_PATTERN_BYTES_MAX);
		return NULL;
	}
	if (kind == NODE_LIKE && !rule_pattern_valid(parser->token.text))
	{
		rule_problem(parser->error, parser->token.at,
					 "the pattern ends in \"\\\", expected a character after it");
		rule_hint(parser->error, "A backslash itself is written twice.");
		return NULL;
	}
	literal_text(&node->literal, parser->token.text);
	return rule_parser_advance(parser) ? node : NULL;
}

/* x is [not] null: the present token is "is". */
static RuleNode *
parse_is_null(RuleParser *parser, RuleNode *value)
{
	RulePosition at = parser->token.at;
	RuleNode *node = node_above(parser, NODE_IS_NULL, at, value);
	bool negated;

	if (node == NULL || !rule_parser_advance(parser))
		return NULL;
	negated = rule_parser_at_word(parser, "not");
	if (negated && !rule_parser_advance(parser))
		return NULL;
	if (!rule_parser_at_word(parser, "null"))
	{
		rule_parser_expected(parser, negated ? "\"null\"" : "\"null\" or \"not null\"");
		return NULL;
	}
	if (!rule_parser_advance(parser))
		return NULL;
	return negated ? node_above(parser, NODE_NOT, at, node) : node;
}

/* The test that begins at the present token, after a possible "not"; *found: there is one. */
static RuleNode *
parse_test(RuleParser *parser, RuleNode *value, RulePosition at, bool *found)
{
	static const char *const words[] = {"in", "between", "like", "prefix"};
	size_t which = 0;

	while (which < LENGTH(words) && !rule_parser_at_word(parser, words[which]))
		which++;
	*found = which < LENGTH(words);
	if (!*found || !rule_parser_advance(parser))
		return NULL;
	switch (which)
	{
		case 0:
			return parse_membership(parser, value, at);
		case 1:
			return parse_between(parser, value, at);
		case 2:
			return parse_match(parser, NODE_LIKE, value, at);
		default:
			return parse_match(parser, NODE_PREFIX, value, at);
	}
}

static RuleNode *
parse_relation(RuleParser *parser, RuleNode *left)
{
	RuleToken sign = parser->token;
	RuleNode *node = node_above(parser, NODE_COMPARE, sign.at, left);

	if (node == NULL || !rule_parser_advance(parser) || (left->next = parse_sum(parser)) == NULL)
		return NULL;
	node->symbol = sign.symbol;
	node->count = 2;
	if (at_comparison(parser))
	{
		rule_problem(parser->error, parser->token.at,
					 "a comparison has two sides, expected \"and\" or the end");
		rule_hint(parser->error, "Write a < b and b < c.");
		return NULL;
	}
	return node;
}

static RuleNode *
parse_comparison(RuleParser *parser)
{
	RuleNode *node = parse_sum(parser);
	RulePosition at = parser->token.at;
	bool negated = node != NULL && rule_parser_at_word(parser, "not");
	bool found;
	RuleNode *test;

	if (node == NULL || (negated && !rule_parser_advance(parser)))
		return NULL;
	test = parse_test(parser, node, at, &found);
	if (found)
		return negated ? node_above(parser, NODE_NOT, at, test) : test;
	if (negated)
	{
		rule_parser_expected(parser, "in, between, like or prefix after \"not\"");
		return NULL;
	}
	if (rule_parser_at_word(parser, "is"))
		return parse_is_null(parser, node);
	return at_comparison(parser) ? parse_relation(parser, node) : node;
}

static RuleNode *
parse_negation(RuleParser *parser)
{
	RulePosition at = parser->token.at;
	RuleNode *node;

	if (!rule_parser_at_word(parser, "not"))
		return parse_comparison(parser);
	if (!go_deeper(parser) || !rule_parser_advance(parser))
		return NULL;
	node = parse_negation(parser);
	parser->depth--;
	return node_above(parser, NODE_NOT, at, node);
}

/* Operands joined by a word; one operand alone stays itself. */
static RuleNode *
parse_joined(RuleParser *parser, RuleNode *(*parse_operand)(RuleParser *), const char *word,
			 RuleNodeKind kind)
{
	RuleNode *node = parse_operand(parser);
	RuleNode *last = node;
	RuleNode *joined = NULL;

	while (last != NULL && rule_parser_at_word(parser, word))
	{
		if (joined == NULL)
			joined = node = node_above(parser, kind, parser->token.at, node);
		if (joined == NULL || !rule_parser_advance(parser))
			return NULL;
		last->next = parse_operand(parser);
		last = last->next;
		joined->count++;
	}
	return last != NULL ? node : NULL;
}

static RuleNode *
parse_conjunction(RuleParser *parser)
{
	return parse_joined(parser, parse_negation, "and", NODE_AND);
}

RuleNode *
rule_parse_expression(RuleParser *parser)
{
	RuleNode *node;

	if (!go_deeper(parser))
		return NULL;
	node = parse_joined(parser, parse_conjunction, "or", NODE_OR);
	parser->depth--;
	return node;
}
