/*
 * parser.c -- statements: see parser.h, and expression.c for what is inside them.
 */
#include "expression.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static bool
at_line_end(const RuleParser *parser)
{
	return parser->token.kind == TOKEN_LINE_END || parser->token.kind == TOKEN_END;
}

/* ---- clauses: what may follow an expression ------------------------------------------------- */

enum
{
	CLAUSE_WEIGHT = 1,
	CLAUSE_WHEN = 2,
	CLAUSE_MISSING = 4,
	CLAUSE_ON_ERROR = 8,
};

static bool
parse_weight(RuleParser *parser, RuleStatement *statement)
{
	return rule_parse_constant(parser, &statement->weight);
}

static bool
parse_when(RuleParser *parser, RuleStatement *statement)
{
	statement->when = rule_parse_expression(parser);
	return statement->when != NULL;
}

/* Ways to deal with a missing value that section c of the language knows and we do not, yet. */
static bool
refuse_policy(RuleParser *parser, const char *expected)
{
	static const char *const later[] = {"last", "reject"};

	for (size_t i = 0; i < LENGTH(later); i++)
		if (rule_parser_at_word(parser, later[i]))
		{
			rule_problem(parser->error, parser->token.at,
						 "\"missing %s\" is not supported by this version, expected %s",
						 i == 0 ? "last known" : "reject item", expected);
			return rule_hint(parser->error, "Use missing skip, or missing and a number.");
		}
	rule_parser_expected(parser, expected);
	if (rule_parser_at_word(parser, "default"))
		rule_hint(parser->error, "The number stands alone: missing 0.");
	return false;
}

static bool
parse_policy(RuleParser *parser, RulePolicy *policy, bool may_quarantine)
{
	bool skip = rule_parser_at_word(parser, "skip");

	if (skip || (may_quarantine && rule_parser_at_word(parser, "quarantine")))
	{
		policy->action = skip ? POLICY_SKIP : POLICY_QUARANTINE;
		return rule_parser_advance(parser);
	}
	if (parser->token.kind == TOKEN_NUMBER || rule_parser_at_symbol(parser, SYMBOL_MINUS) ||
		rule_parser_at_symbol(parser, SYMBOL_PLUS))
	{
		policy->action = POLICY_VALUE;
		return rule_parse_constant(parser, &policy->value);
	}
	return refuse_policy(parser, may_quarantine ? "a number, skip or quarantine" : "a number or skip");
}

static bool
parse_missing(RuleParser *parser, RuleStatement *statement)
{
	return parse_policy(parser, &statement->missing, false);
}

static bool
parse_on_error(RuleParser *parser, RuleStatement *statement)
{
	return parse_policy(parser, &statement->on_error, true);
}

static const struct
{
	const char *word;
	int bit;
	bool (*parse)(RuleParser *parser, RuleStatement *statement);
} clauses[] = {
	{"weight", CLAUSE_WEIGHT, parse_weight},
	{"when", CLAUSE_WHEN, parse_when},
	{"missing", CLAUSE_MISSING, parse_missing},
	{"on_error", CLAUSE_ON_ERROR, parse_on_error},
};

/* One clause, if the present token begins one; *found says so. */
static bool
parse_clause(RuleParser *parser, RuleStatement *statement, int allowed, int *seen, bool *found)
{
	*found = false;
	for (size_t i = 0; i < LENGTH(clauses); i++)
	{
		if (!rule_parser_at_word(parser, clauses[i].word))
			continue;
		if ((allowed & clauses[i].bit) == 0)
			return rule_problem(parser->error, parser->token.at,
								"\"%s\" does not belong here, expected the end of the line", clauses[i].word);
		if (*seen & clauses[i].bit)
			return rule_problem(parser->error, parser->token.at, "\"%s\" is given twice", clauses[i].word);
		*seen |= clauses[i].bit;
		*found = true;
		return rule_parser_advance(parser) && clauses[i].parse(parser, statement);
	}
	return true;
}

static bool
unknown_clause(RuleParser *parser, int allowed)
{
	RuleNearest nearest;

	rule_parser_expected(parser, allowed & CLAUSE_WEIGHT
									 ? "weight, when, missing, on_error, an operator or the end of the line"
								 : allowed & CLAUSE_WHEN
									 ? "when, missing, on_error, an operator or the end of the line"
									 : "on_error, an operator or the end of the line");
	if (parser->token.kind != TOKEN_NAME || parser->error->hint[0] != '\0')
		return false;
	rule_nearest_begin(&nearest, parser->token.text);
	for (size_t i = 0; i < LENGTH(clauses); i++)
		if (allowed & clauses[i].bit)
			rule_nearest_offer(&nearest, slice_string(clauses[i].word));
	rule_nearest_offer(&nearest, slice_string("and"));
	rule_nearest_offer(&nearest, slice_string("in"));
	if (rule_nearest_found(&nearest))
		rule_hint(parser->error, "Did you mean \"%.*s\"?", RULE_NAME(nearest.best));
	return false;
}

static bool
parse_clauses(RuleParser *parser, RuleStatement *statement, int allowed, int seen)
{
	bool found;

	do
		if (!parse_clause(parser, statement, allowed, &seen, &found))
			return false;
	while (found);
	return at_line_end(parser) || unknown_clause(parser, allowed);
}

/* ---- statements that are evaluated ---------------------------------------------------------- */

static RuleStatement *
statement_add(RuleParser *parser, RuleDefinition *definition, RuleStatementKind kind, Slice name,
			  RulePosition at)
{
	RuleStatement *statement = parser->memory->alloc(parser->memory->context, sizeof(*statement));
	RuleStatement **last = &definition->first;

	memset(statement, 0, sizeof(*statement));
	statement->kind = kind;
	statement->at = at;
	statement->name = name;
	statement->weight = 1;
	while (*last != NULL)
		last = &(*last)->next;
	*last = statement;
	definition->nstatements++;
	return statement;
}

static bool
parse_where(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RuleStatement *statement = statement_add(parser, definition, STATEMENT_WHERE, slice_string("where"), at);

	statement->value = rule_parse_expression(parser);
	return statement->value != NULL && parse_clauses(parser, statement, CLAUSE_ON_ERROR, 0);
}

static bool
check_name(RuleParser *parser, const RuleDefinition *definition)
{
	const RuleToken *token = &parser->token;

	if (token->kind != TOKEN_NAME && token->kind != TOKEN_QUOTED_NAME)
		return rule_parser_expected(parser, "the name of the term");
	for (const RuleStatement *other = definition->first; other != NULL; other = other->next)
		if (other->kind == STATEMENT_TERM && slice_equal(other->name, token->text))
			return rule_problem(parser->error, token->at, "there is another term \"%.*s\" in line %d",
								RULE_NAME(token->text), other->at.line);
	return true;
}

/* term NAME [weight W] EXPRESSION [clauses] */
static bool
parse_term(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RuleStatement *statement;
	int seen = 0;
	bool found;

	if (!check_name(parser, definition))
		return false;
	statement = statement_add(parser, definition, STATEMENT_TERM, parser->token.text, at);
	if (!rule_parser_advance(parser))
		return false;
	if (rule_parser_at_word(parser, "weight") &&
		!parse_clause(parser, statement, CLAUSE_WEIGHT, &seen, &found))
		return false;
	statement->value = rule_parse_expression(parser);
	return statement->value != NULL &&
		   parse_clauses(parser, statement, CLAUSE_WEIGHT | CLAUSE_WHEN | CLAUSE_MISSING | CLAUSE_ON_ERROR,
						 seen);
}

static bool
parse_adjustment(RuleParser *parser, RuleDefinition *definition, RuleStatementKind kind, const char *word,
				 RulePosition at)
{
	RuleStatement *statement = statement_add(parser, definition, kind, slice_string(word), at);

	statement->value = rule_parse_expression(parser);
	return statement->value != NULL &&
		   parse_clauses(parser, statement, CLAUSE_WHEN | CLAUSE_MISSING | CLAUSE_ON_ERROR, 0);
}

static bool
parse_boost(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	return parse_adjustment(parser, definition, STATEMENT_BOOST, "boost", at);
}

static bool
parse_factor(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	return parse_adjustment(parser, definition, STATEMENT_FACTOR, "factor", at);
}

/* ---- settings of the definition ------------------------------------------------------------- */

static bool
parse_combine(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	static const char *const later[] = {"mult", "multiply", "avg", "max", "min", "first"};

	if (rule_parser_at_word(parser, "sum"))
		return rule_parser_advance(parser);
	for (size_t i = 0; i < LENGTH(later); i++)
		if (rule_parser_at_word(parser, later[i]))
		{
			rule_problem(parser->error, parser->token.at,
						 "\"combine %s\" is not supported by this version, expected sum", later[i]);
			return rule_hint(parser->error, "Terms are added up: combine sum. A factor multiplies the sum.");
		}
	return rule_parser_expected(parser, "sum");
}

static bool
parse_clamp(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RulePosition low = parser->token.at;

	definition->has_clamp = true;
	if (!rule_parse_constant(parser, &definition->clamp_low))
		return false;
	if (!rule_parser_at_symbol(parser, SYMBOL_RANGE))
		return rule_parser_expected(parser, "\"..\" and the upper bound");
	if (!rule_parser_advance(parser) || !rule_parse_constant(parser, &definition->clamp_high))
		return false;
	if (definition->clamp_low > definition->clamp_high)
		return rule_problem(parser->error, low, "the lower bound of clamp is above the upper one");
	return true;
}

static bool
parse_round(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RulePosition number = parser->token.at;

	if (!rule_parse_constant(parser, &definition->round))
		return false;
	if (definition->round <= 0)
		return rule_problem(parser->error, number, "round must be greater than 0");
	return true;
}

static bool
parse_default_on_error(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	return parse_policy(parser, &definition->on_error, true);
}

/* ---- the definition -------------------------------------------------------------------------- */

static const struct
{
	const char *word;
	bool once;
	bool (*parse)(RuleParser *parser, RuleDefinition *definition, RulePosition at);
} statements[] = {
	{"where", true, parse_where},	  {"term", false, parse_term},
	{"boost", false, parse_boost},	  {"factor", false, parse_factor},
	{"combine", true, parse_combine}, {"clamp", true, parse_clamp},
	{"round", true, parse_round},	  {"on_error", true, parse_default_on_error},
};

#define STATEMENT_WORDS "where, term, boost, factor, combine, clamp, round or on_error"

static bool
unknown_statement(RuleParser *parser)
{
	static const char *const later[] = {"scene", "min_change", "bury", "pin", "tier", "block", "missing"};
	RuleNearest nearest;

	for (size_t i = 0; i < LENGTH(later); i++)
		if (rule_parser_at_word(parser, later[i]))
			return rule_problem(
				parser->error, parser->token.at,
				"a statement \"%s\" is not supported by this version, expected " STATEMENT_WORDS, later[i]);
	rule_parser_expected(parser, STATEMENT_WORDS);
	if (parser->token.kind != TOKEN_NAME)
		return false;
	rule_nearest_begin(&nearest, parser->token.text);
	for (size_t i = 0; i < LENGTH(statements); i++)
		rule_nearest_offer(&nearest, slice_string(statements[i].word));
	if (rule_nearest_found(&nearest))
		return rule_hint(parser->error, "Did you mean \"%.*s\"?", RULE_NAME(nearest.best));
	return false;
}

static bool
parse_statement(RuleParser *parser, RuleDefinition *definition, int *seen_line)
{
	RulePosition at = parser->token.at;

	for (size_t i = 0; i < LENGTH(statements); i++)
	{
		if (!rule_parser_at_word(parser, statements[i].word))
			continue;
		if (statements[i].once && seen_line[i] != 0)
		{
			rule_problem(parser->error, at, "there is another \"%s\" in line %d", statements[i].word,
						 seen_line[i]);
			return i == 0 ? rule_hint(parser->error, "Join conditions by \"and\" in one line.") : false;
		}
		seen_line[i] = at.line;
		if (!rule_parser_advance(parser) || !statements[i].parse(parser, definition, at))
			return false;
		return at_line_end(parser) || rule_parser_expected(parser, "the end of the line");
	}
	return unknown_statement(parser);
}

bool
rule_parse(RuleDefinition *definition, Slice text, const RuleMemory *memory, RuleError *error)
{
	RuleParser parser = {.memory = memory, .error = error};
	int seen_line[LENGTH(statements)] = {0};
	int count = 0;

	memset(definition, 0, sizeof(*definition));
	definition->round = RULES_ROUND_DEFAULT;
	if (!rule_lexer_begin(&parser.lexer, text, memory, error) || !rule_parser_advance(&parser))
		return false;
	while (parser.token.kind != TOKEN_END)
	{
		if (parser.token.kind != TOKEN_LINE_END)
		{
			if (++count > RULES_STATEMENTS_MAX)
				return rule_problem(error, parser.token.at, "the definition has more than %d statements",
									RULES_STATEMENTS_MAX);
			if (!parse_statement(&parser, definition, seen_line))
				return false;
		}
		if (parser.token.kind == TOKEN_LINE_END && !rule_parser_advance(&parser))
			return false;
	}
	return true;
}
