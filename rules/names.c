/*
 * names.c -- see names.h.
 */
#include "names.h"

const RuleName *
rule_name_find(const RuleDefinition *definition, Slice name)
{
	for (int i = definition->nnames - 1; i >= 0; i--)
		if (slice_equal(definition->names[i]->name, name))
			return definition->names[i];
	return NULL;
}

static bool
known_already(RuleParser *parser, const RuleName *other)
{
	const RuleToken *token = &parser->token;

	if (other->library.len > 0)
		return rule_problem(parser->error, token->at, "\"%.*s\" has a meaning already, from library \"%.*s\"",
							RULE_NAME(token->text), RULE_NAME(other->library));
	return rule_problem(parser->error, token->at, "\"%.*s\" has a meaning already, from line %d",
						RULE_NAME(token->text), other->at.line);
}

/* After missing and on_error a word may stand where a constant may: it keeps its meaning. */
static bool
is_policy_word(Slice word)
{
	static const char *const words[] = {"default", "last", "quarantine", "reject", "skip"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (slice_equal(word, slice_string(words[i])))
			return true;
	return false;
}

/* A word that is free: bare, for quotes always mean an attribute. */
static bool
need_free_name(RuleParser *parser, const RuleDefinition *definition, const char *what)
{
	const RuleToken *token = &parser->token;
	const RuleName *other;

	if (token->kind != TOKEN_NAME || rule_is_reserved(token) || is_policy_word(token->text))
	{
		rule_parser_expected(parser, what);
		if (token->kind == TOKEN_QUOTED_NAME)
			rule_hint(parser->error, "A name in double quotes is always an attribute's.");
		return false;
	}
	if (rule_function_find(token->text) != NULL)
		return rule_problem(parser->error, token->at, "\"%.*s\" is a function, expected another name",
							RULE_NAME(token->text));
	other = rule_name_find(definition, token->text);
	return other == NULL || known_already(parser, other);
}

static RuleName *
name_begin(RuleParser *parser, const RuleDefinition *definition, RuleNameKind kind, RulePosition at)
{
	static const char *const what[] = {"the name of the constant", "the name of the expression",
									   "the name of the macro"};
	RuleName *name;

	if (!need_free_name(parser, definition, what[kind]))
		return NULL;
	if (definition->nnames == RULES_NAMES_MAX)
	{
		rule_problem(parser->error, parser->token.at, "there are more than %d names of const, let and macro",
					 RULES_NAMES_MAX);
		return NULL;
	}
	name = parser->memory->alloc(parser->memory->context, sizeof(*name));
	memset(name, 0, sizeof(*name));
	name->kind = kind;
	name->at = at;
	name->name = parser->token.text;
	if (at.use != NULL)
		name->library = at.use->library;
	return rule_parser_advance(parser) ? name : NULL;
}

static bool
parse_equal(RuleParser *parser, const char *expected)
{
	return rule_parser_at_symbol(parser, SYMBOL_EQUAL) ? rule_parser_advance(parser)
													   : rule_parser_expected(parser, expected);
}

static bool
name_end(RuleDefinition *definition, RuleName *name)
{
	definition->names[definition->nnames++] = name;
	return true;
}

/* const NAME = NUMBER */
bool
rule_parse_const(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RuleName *name = name_begin(parser, definition, NAME_CONST, at);

	return name != NULL && parse_equal(parser, "\"=\" and a number") &&
		   rule_parse_constant(parser, &name->number) && name_end(definition, name);
}

/* let NAME = EXPRESSION */
bool
rule_parse_let(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RuleName *name = name_begin(parser, definition, NAME_LET, at);

	if (name == NULL)
		return false;
	if (rule_parser_at_symbol(parser, SYMBOL_OPEN))
	{
		rule_parser_expected(parser, "\"=\" and an expression");
		return rule_hint(parser->error, "With parameters it is a macro: macro name(a, b) = expression");
	}
	if (!parse_equal(parser, "\"=\" and an expression"))
		return false;
	name->body = rule_parse_expression(parser);
	return name->body != NULL && name_end(definition, name);
}

static bool
parse_parameter(RuleParser *parser, const RuleDefinition *definition, RuleName *name)
{
	if (!need_free_name(parser, definition, "the name of a parameter"))
		return false;
	for (int i = 0; i < name->nparameters; i++)
		if (slice_equal(name->parameters[i], parser->token.text))
			return rule_problem(parser->error, parser->token.at, "there is another parameter \"%.*s\"",
								RULE_NAME(parser->token.text));
	if (name->nparameters == RULES_PARAMETERS_MAX)
		return rule_problem(parser->error, parser->token.at, "a macro has more than %d parameters",
							RULES_PARAMETERS_MAX);
	name->parameters[name->nparameters++] = parser->token.text;
	return rule_parser_advance(parser);
}

/* (a, b) */
static bool
parse_parameters(RuleParser *parser, const RuleDefinition *definition, RuleName *name)
{
	if (!rule_parser_at_symbol(parser, SYMBOL_OPEN))
	{
		rule_parser_expected(parser, "\"(\" and the macro's parameters");
		return rule_hint(parser->error, "Without parameters it is: let name = expression");
	}
	do
		if (!rule_parser_advance(parser) || !parse_parameter(parser, definition, name))
			return false;
	while (rule_parser_at_symbol(parser, SYMBOL_COMMA));
	if (!rule_parser_at_symbol(parser, SYMBOL_CLOSE))
		return rule_parser_expected(parser, "\",\" or \")\"");
	return rule_parser_advance(parser);
}

/* macro NAME(a, b) = EXPRESSION */
bool
rule_parse_macro(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RuleName *name = name_begin(parser, definition, NAME_MACRO, at);

	if (name == NULL || !parse_parameters(parser, definition, name) ||
		!parse_equal(parser, "\"=\" and an expression"))
		return false;
	parser->macro = name;
	name->body = rule_parse_expression(parser);
	parser->macro = NULL;
	return name->body != NULL && name_end(definition, name);
}
