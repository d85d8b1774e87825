/*
 * expression.c -- see expression.h.
 *
 *   expression := conjunction { "or" conjunction }
 *   conjunction := negation { "and" negation }
 *   negation   := "not" negation | comparison
 *   comparison := sum [ ("=" | "!=" | "<" | "<=" | ">" | ">=") sum | ["not"] "in" set ]
 *   set        := "(" literal, ... ")" | "[" literal, ... "]" | attribute
 *   sum        := product { ("+" | "-") product }
 *   product    := unary { ("*" | "/") unary }
 *   unary      := ("-" | "+") unary | primary
 *   primary    := literal | attribute | function "(" arguments ")" | "(" expression ")"
 */
#include "expression.h"

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

/* Operators people know from SQL, and what says the same here. */
static const struct
{
	const char *word;
	const char *hint;
} foreign_operators[] = {
	{"between", "Write x >= a and x <= b."},
	{"like", "Compare whole values: x = 'a' or x in ('a', 'b')."},
	{"ilike", "Compare whole values: x = 'a' or x in ('a', 'b')."},
	{"prefix", "Compare whole values: x = 'a' or x in ('a', 'b')."},
	{"contains", "Write 'value' in attribute."},
	{"overlap", "Write 'a' in attribute or 'b' in attribute."},
	{"is", "Write exists(x) or not exists(x)."},
	{"null", "Write exists(x) or not exists(x)."},
};

bool
rule_parser_expected(RuleParser *parser, const char *what)
{
	const RuleToken *token = &parser->token;

	for (size_t i = 0; i < LENGTH(foreign_operators); i++)
		if (rule_parser_at_word(parser, foreign_operators[i].word))
		{
			rule_problem(parser->error, token->at, "\"%s\" is not supported by this version, expected %s",
						 foreign_operators[i].word, what);
			return rule_hint(parser->error, "%s", foreign_operators[i].hint);
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

	if (++parser->nodes > RULES_PROGRAM_MAX)
	{
		rule_problem(parser->error, at, "the definition has more than %d operations", RULES_PROGRAM_MAX);
		return NULL;
	}
	node = parser->memory->alloc(parser->memory->context, sizeof(*node));
	memset(node, 0, sizeof(*node));
	node->kind = kind;
	node->at = at;
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

bool
rule_parse_constant(RuleParser *parser, double *number)
{
	bool negative = rule_parser_at_symbol(parser, SYMBOL_MINUS);

	if ((negative || rule_parser_at_symbol(parser, SYMBOL_PLUS)) && !rule_parser_advance(parser))
		return false;
	if (parser->token.kind != TOKEN_NUMBER)
		return rule_parser_expected(parser, "a number");
	*number = negative ? -parser->token.number : parser->token.number;
	return rule_parser_advance(parser);
}

/* A literal of a set or a map; all of one kind, because a value has one kind. */
static bool
parse_key(RuleParser *parser, RuleEntry *entry, RuleKind *kind)
{
	RuleLiteral *literal = &entry->key;
	const RuleToken token = parser->token;

	memset(entry, 0, sizeof(*entry));
	entry->at = token.at;
	if (token.kind == TOKEN_TEXT)
		literal_text(literal, token.text);
	else if (rule_parser_at_word(parser, "true") || rule_parser_at_word(parser, "false"))
	{
		literal->kind = RULE_BOOL;
		literal->boolean = rule_parser_at_word(parser, "true");
	}
	else if (token.kind == TOKEN_NAME || token.kind == TOKEN_QUOTED_NAME)
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
	table = parser->memory->alloc(parser->memory->context, sizeof(*table) + (size_t) n * sizeof(entries[0]));
	memset(table, 0, sizeof(*table));
	table->kind = kind;
	table->n = n;
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

/* ---- names and calls ----------------------------------------------------------------------- */

/* Words that may follow an expression, so a bare one cannot be an attribute. */
static const char *const reserved[] = {"and",	 "or",	  "not",	 "in",		 "true", "false",
									   "weight", "when",  "missing", "on_error", "null", "between",
									   "like",	 "ilike", "is",		 "prefix"};

static bool
is_reserved(const RuleToken *token)
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
		node = parse_table_node(parser, NODE_STEPS, parse_pair, SYMBOL_CLOSE_LIST);
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

/* The present token is the bracket after the function's name. */
static RuleNode *
parse_call(RuleParser *parser, const RuleToken *name)
{
	const RuleFunction *function = rule_function_find(name->text);
	RulePosition opened = parser->token.at;
	RuleNode *node;
	RuleNode **last;

	if (function == NULL)
	{
		rule_function_unknown(parser->error, name->at, name->text);
		return NULL;
	}
	node = node_make(parser, NODE_CALL, name->at);
	if (node == NULL || !rule_parser_advance(parser))
		return NULL;
	node->function = function;
	last = &node->first;
	while (!rule_parser_at_symbol(parser, SYMBOL_CLOSE))
	{
		if (node->count > 0)
		{
			if (!rule_parser_at_symbol(parser, SYMBOL_COMMA))
			{
				expected_close(parser, "\",\" or \")\"", opened);
				return NULL;
			}
			if (!rule_parser_advance(parser))
				return NULL;
		}
		*last = parse_argument(parser, function);
		if (*last == NULL)
			return NULL;
		last = &(*last)->next;
		node->count++;
	}
	return rule_parser_advance(parser) ? node : NULL;
}

static bool
followed_by_bracket(const RuleParser *parser)
{
	RuleLexer ahead = parser->lexer;
	RuleError ignored;
	RuleToken token;

	ahead.error = &ignored;
	return rule_lexer_next(&ahead, &token) && token.kind == TOKEN_SYMBOL && token.symbol == SYMBOL_OPEN;
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
	if (is_reserved(&token))
	{
		rule_parser_expected(parser, "an attribute, a function or a number");
		if (parser->error->hint[0] == '\0')
			rule_hint(
				parser->error,
				"\"%.*s\" is a word of the language; an attribute of that name is written in double quotes.",
				RULE_NAME(token.text));
		return NULL;
	}
	if (token.kind == TOKEN_NAME && followed_by_bracket(parser))
		return rule_parser_advance(parser) ? parse_call(parser, &token) : NULL;
	if (is_name(&token))
		return parse_attribute(parser);
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
	if (!is_name(&parser->token) || is_reserved(&parser->token))
	{
		rule_parser_expected(parser, "a list ('a', 'b') or the name of a list attribute after \"in\"");
		return NULL;
	}
	node = node_above(parser, NODE_IN_LIST, at, value);
	if (node == NULL)
		return NULL;
	value->next = parse_attribute(parser);
	node->count = 2;
	return value->next != NULL ? node : NULL;
}

static RuleNode *
parse_comparison(RuleParser *parser)
{
	RuleNode *node = parse_sum(parser);
	RuleToken sign = parser->token;
	bool negated = node != NULL && rule_parser_at_word(parser, "not");

	if (node == NULL)
		return NULL;
	if (negated && !rule_parser_advance(parser))
		return NULL;
	if (rule_parser_at_word(parser, "in"))
	{
		if (!rule_parser_advance(parser))
			return NULL;
		node = parse_membership(parser, node, sign.at);
		return negated ? node_above(parser, NODE_NOT, sign.at, node) : node;
	}
	if (negated)
	{
		rule_parser_expected(parser, "\"in\" after \"not\"");
		return NULL;
	}
	if (!at_comparison(parser))
		return node;
	node = node_above(parser, NODE_COMPARE, sign.at, node);
	if (node == NULL || !rule_parser_advance(parser) || (node->first->next = parse_sum(parser)) == NULL)
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
