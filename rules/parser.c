/*
 * parser.c -- statements: see parser.h, and expression.c for what is inside them.
 */
#include "names.h"

#include <stdio.h>

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

static bool
at_number(const RuleParser *parser)
{
	const RuleName *name =
		parser->token.kind == TOKEN_NAME ? rule_name_find(parser->definition, parser->token.text) : NULL;

	return parser->token.kind == TOKEN_NUMBER || rule_parser_at_symbol(parser, SYMBOL_MINUS) ||
		   rule_parser_at_symbol(parser, SYMBOL_PLUS) || (name != NULL && name->kind == NAME_CONST);
}

/* The ways to go on, by the word that begins each; a second word is needed or may be left out. */
static const struct
{
	const char *word;
	const char *second;
	bool second_needed;
	bool on_error; /* else of missing */
	bool missing;
	int action;
} policies[] = {
	{"skip", "term", false, true, true, POLICY_SKIP},
	{"quarantine", NULL, false, true, false, POLICY_QUARANTINE},
	{"last", "known", true, false, true, POLICY_LAST_KNOWN},
	{"reject", "item", true, false, true, POLICY_REJECT},
};

#define MISSING_POLICIES "a number, skip, last known or reject item"
#define ON_ERROR_POLICIES "a number, skip or quarantine"

static bool
parse_second_word(RuleParser *parser, const char *word, bool needed)
{
	char what[40];

	if (word != NULL && rule_parser_at_word(parser, word))
		return rule_parser_advance(parser);
	if (!needed)
		return true;
	snprintf(what, sizeof(what), "\"%s\"", word);
	return rule_parser_expected(parser, what);
}

static bool
unknown_policy(RuleParser *parser, bool on_error)
{
	RuleNearest nearest;

	rule_parser_expected(parser, on_error ? ON_ERROR_POLICIES : MISSING_POLICIES);
	if (parser->token.kind != TOKEN_NAME || parser->error->hint[0] != '\0')
		return false;
	rule_nearest_begin(&nearest, parser->token.text);
	for (size_t i = 0; i < LENGTH(policies); i++)
		if (on_error ? policies[i].on_error : policies[i].missing)
			rule_nearest_offer(&nearest, slice_string(policies[i].word));
	if (rule_nearest_found(&nearest))
		rule_hint(parser->error, "Did you mean \"%.*s\"?", RULE_NAME(nearest.best));
	return false;
}

/* NUMBER | default NUMBER | one of the words */
static bool
parse_policy(RuleParser *parser, RulePolicy *policy, bool on_error)
{
	bool is_default = rule_parser_at_word(parser, "default");

	if (is_default && !rule_parser_advance(parser))
		return false;
	if (is_default || at_number(parser))
	{
		policy->action = POLICY_VALUE;
		return rule_parse_constant(parser, &policy->value);
	}
	for (size_t i = 0; i < LENGTH(policies); i++)
		if (rule_parser_at_word(parser, policies[i].word) &&
			(on_error ? policies[i].on_error : policies[i].missing))
		{
			policy->action = policies[i].action;
			return rule_parser_advance(parser) &&
				   parse_second_word(parser, policies[i].second, policies[i].second_needed);
		}
	return unknown_policy(parser, on_error);
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

	rule_parser_expected(
		parser, allowed & CLAUSE_WEIGHT
					? "weight, when, missing, on_error, an operator or the end of the line"
				: allowed & CLAUSE_MISSING ? "when, missing, on_error, an operator or the end of the line"
				: allowed & CLAUSE_WHEN	   ? "when, on_error, an operator or the end of the line"
										   : "on_error, an operator or the end of the line");
	if (parser->token.kind != TOKEN_NAME || parser->error->hint[0] != '\0')
		return false;
	rule_nearest_begin(&nearest, parser->token.text);
	for (size_t i = 0; i < LENGTH(clauses); i++)
		if (allowed & clauses[i].bit)
			rule_nearest_offer(&nearest, slice_string(clauses[i].word));
	rule_nearest_offer(&nearest, slice_string("and"));
	rule_nearest_offer(&nearest, slice_string("in"));
	rule_nearest_offer(&nearest, slice_string("between"));
	rule_nearest_offer(&nearest, slice_string("prefix"));
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

/* tier N [when CONDITION] */
static bool
parse_tier(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RuleStatement *statement = statement_add(parser, definition, STATEMENT_TIER, slice_string("tier"), at);
	RulePosition number_at = parser->token.at;
	double number;

	if (!rule_parse_constant(parser, &number))
		return false;
	if (!(number >= -RULES_TIER_MAX && number <= RULES_TIER_MAX) || number != (double) (int) number)
		return rule_problem(parser->error, number_at, "a tier is a whole number from %d to %d",
							-RULES_TIER_MAX, RULES_TIER_MAX);
	statement->tier = (int) number;
	return parse_clauses(parser, statement, CLAUSE_WHEN | CLAUSE_ON_ERROR, 0);
}

/* ---- settings of the definition ------------------------------------------------------------- */

static bool
parse_combine(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	static const struct
	{
		const char *word;
		RuleCombine combine;
	} ways[] = {{"sum", COMBINE_SUM},	  {"mult", COMBINE_MULTIPLY}, {"multiply", COMBINE_MULTIPLY},
				{"avg", COMBINE_AVERAGE}, {"max", COMBINE_GREATEST},  {"min", COMBINE_LEAST},
				{"first", COMBINE_FIRST}};
	RuleNearest nearest;

	for (size_t i = 0; i < LENGTH(ways); i++)
		if (rule_parser_at_word(parser, ways[i].word))
		{
			definition->combine = ways[i].combine;
			return rule_parser_advance(parser);
		}
	rule_parser_expected(parser, "sum, mult, avg, max, min or first");
	if (parser->token.kind != TOKEN_NAME)
		return false;
	rule_nearest_begin(&nearest, parser->token.text);
	for (size_t i = 0; i < LENGTH(ways); i++)
		rule_nearest_offer(&nearest, slice_string(ways[i].word));
	if (rule_nearest_found(&nearest))
		rule_hint(parser->error, "Did you mean \"%.*s\"?", RULE_NAME(nearest.best));
	return false;
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

static bool
parse_default_missing(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	return parse_policy(parser, &definition->missing, false);
}

static bool
parse_min_change(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RulePosition number = parser->token.at;

	if (!rule_parse_constant(parser, &definition->min_change))
		return false;
	if (definition->min_change < 0)
		return rule_problem(parser->error, number, "min_change must not be negative");
	return true;
}

static bool
parse_refresh(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	RulePosition number = parser->token.at;

	if (!rule_parse_constant(parser, &definition->refresh_seconds))
		return false;
	if (definition->refresh_seconds >= 0 && definition->refresh_seconds <= RULES_REFRESH_SECONDS_MAX)
		return true;
	rule_problem(parser->error, number, "refresh must be a time from 0s to %dd",
				 RULES_REFRESH_SECONDS_MAX / 86400);
	return rule_hint(parser->error, "Durations are written 30s, 5min, 12h, 7d.");
}

static bool
parse_scene(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	const RuleToken *token = &parser->token;

	if (token->kind != TOKEN_TEXT || token->text.len == 0)
	{
		rule_parser_expected(parser, "the scene's name in single quotes");
		if (token->kind == TOKEN_NAME || token->kind == TOKEN_QUOTED_NAME)
			rule_hint(parser->error, "Write scene '%.*s'.", RULE_NAME(token->text));
		return false;
	}
	if (token->text.len > RULES_SCENE_BYTES_MAX)
		return rule_problem(parser->error, token->at, "the name of a scene has more than %d bytes",
							RULES_SCENE_BYTES_MAX);
	definition->scene = token->text;
	return rule_parser_advance(parser);
}

/* ---- libraries ------------------------------------------------------------------------------- */

bool
rules_library_name(Slice name)
{
	for (size_t i = 0; i < name.len; i++)
	{
		uint8_t c = name.data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
			return false;
	}
	return name.len > 0 && name.len <= RULES_LIBRARY_NAME_MAX;
}

static bool parse_statements(RuleParser *parser, RuleDefinition *definition);

static bool
library_text(RuleParser *parser, const RuleLibrary *libraries, Slice name, Slice *text)
{
	RulePosition at = parser->token.at;
	uint8_t *copy;

	if (libraries == NULL)
		return rule_problem(parser->error, at, "library \"%.*s\" cannot be looked up here", RULE_NAME(name));
	if (!libraries->find(libraries->context, name, text))
	{
		rule_problem(parser->error, at, "there is no library \"%.*s\"", RULE_NAME(name));
		return rule_hint(parser->error, "Libraries are the rows of walrank.rule_library.");
	}
	if (text->len > RULES_TEXT_BYTES_MAX)
		return rule_problem(parser->error, at, "library \"%.*s\" is longer than %d bytes", RULE_NAME(name),
							RULES_TEXT_BYTES_MAX);
	copy = parser->memory->alloc(parser->memory->context, text->len + 1); /* names point into it */
	if (text->len > 0)
		memcpy(copy, text->data, text->len);
	*text = slice_make(copy, text->len);
	return true;
}

/* Read another text in between. */
static bool
parse_library(RuleParser *parser, RuleDefinition *definition, Slice name, Slice text)
{
	RuleLexer lexer = parser->lexer;
	RuleToken token = parser->token;
	RuleUse *use = parser->memory->alloc(parser->memory->context, sizeof(*use));

	*use = (RuleUse){.at = token.at, .library = name};
	if (!rule_lexer_begin(&parser->lexer, text, use, parser->memory, parser->error))
		return false;
	parser->in_library = true;
	if (!rule_parser_advance(parser) || !parse_statements(parser, definition))
		return false;
	parser->in_library = false;
	parser->lexer = lexer;
	parser->token = token;
	return true;
}

/* use NAME */
static bool
parse_use(RuleParser *parser, RuleDefinition *definition, RulePosition at)
{
	const RuleToken *token = &parser->token;
	Slice name = token->text;
	Slice text;

	if (token->kind != TOKEN_NAME && token->kind != TOKEN_QUOTED_NAME && token->kind != TOKEN_TEXT)
		return rule_parser_expected(parser, "the name of a library");
	if (!rules_library_name(name))
	{
		rule_problem(parser->error, token->at, "\"%.*s\" is no name of a library", RULE_NAME(name));
		return rule_hint(parser->error, "It has up to %d letters a-z, digits, _ and -.",
						 RULES_LIBRARY_NAME_MAX);
	}
	for (int i = 0; i < definition->nlibraries; i++)
		if (slice_equal(definition->libraries[i], name))
			return rule_problem(parser->error, token->at, "library \"%.*s\" is used already",
								RULE_NAME(name));
	if (definition->nlibraries == RULES_LIBRARIES_MAX)
		return rule_problem(parser->error, token->at, "the definition uses more than %d libraries",
							RULES_LIBRARIES_MAX);
	if (!library_text(parser, parser->libraries, name, &text))
		return false;
	definition->libraries[definition->nlibraries++] = name;
	return parse_library(parser, definition, name, text) && rule_parser_advance(parser);
}

/* ---- the definition -------------------------------------------------------------------------- */

/* Where a statement may stand. */
enum
{
	IN_DEFINITION = 1,
	IN_LIBRARY = 2,
};

static const struct
{
	const char *word;
	int where;
	bool once;
	bool (*parse)(RuleParser *parser, RuleDefinition *definition, RulePosition at);
} statements[] = {
	{"where", IN_DEFINITION, true, parse_where},
	{"term", IN_DEFINITION, false, parse_term},
	{"boost", IN_DEFINITION, false, parse_boost},
	{"factor", IN_DEFINITION, false, parse_factor},
	{"tier", IN_DEFINITION, false, parse_tier},
	{"combine", IN_DEFINITION, true, parse_combine},
	{"clamp", IN_DEFINITION, true, parse_clamp},
	{"round", IN_DEFINITION, true, parse_round},
	{"missing", IN_DEFINITION, true, parse_default_missing},
	{"on_error", IN_DEFINITION, true, parse_default_on_error},
	{"min_change", IN_DEFINITION, true, parse_min_change},
	{"refresh", IN_DEFINITION, true, parse_refresh},
	{"scene", IN_DEFINITION, true, parse_scene},
	{"use", IN_DEFINITION, false, parse_use},
	{"const", IN_DEFINITION | IN_LIBRARY, false, rule_parse_const},
	{"let", IN_DEFINITION | IN_LIBRARY, false, rule_parse_let},
	{"macro", IN_DEFINITION | IN_LIBRARY, false, rule_parse_macro},
};

#define STATEMENT_WORDS                                                                                      \
	"where, term, boost, factor, tier, combine, clamp, round, missing, on_error, min_change, refresh, "      \
	"scene, const, let, macro or use"

static int
place_of_statement(const RuleParser *parser)
{
	return parser->in_library ? IN_LIBRARY : IN_DEFINITION;
}

static bool
unknown_statement(RuleParser *parser)
{
	static const char *const interventions[] = {"bury", "pin", "block", "freeze", "top", "bottom", "allow"};
	RuleNearest nearest;

	rule_parser_expected(parser, parser->in_library ? "const, let or macro" : STATEMENT_WORDS);
	if (parser->token.kind != TOKEN_NAME)
		return false;
	for (size_t i = 0; i < LENGTH(interventions); i++)
		if (rule_parser_at_word(parser, interventions[i]))
			return rule_hint(parser->error,
							 "What is done to single items by hand is an intervention, not a rule.");
	rule_nearest_begin(&nearest, parser->token.text);
	for (size_t i = 0; i < LENGTH(statements); i++)
		if (statements[i].where & place_of_statement(parser))
			rule_nearest_offer(&nearest, slice_string(statements[i].word));
	if (rule_nearest_found(&nearest))
		return rule_hint(parser->error, "Did you mean \"%.*s\"?", RULE_NAME(nearest.best));
	if (parser->in_library)
		return rule_hint(parser->error, "A library holds names; what is scored stands in the ranking.");
	return false;
}

static bool
check_place(RuleParser *parser, size_t i, RulePosition at)
{
	if (statements[i].once && parser->seen_line[i] != 0)
	{
		rule_problem(parser->error, at, "there is another \"%s\" in line %d", statements[i].word,
					 parser->seen_line[i]);
		return i == 0 ? rule_hint(parser->error, "Join conditions by \"and\" in one line.") : false;
	}
	if (statements[i].parse == parse_use && parser->begun)
		return rule_problem(parser->error, at, "\"use\" stands before all other statements");
	parser->begun |= statements[i].parse != parse_use && !parser->in_library;
	parser->seen_line[i] = at.line;
	return true;
}

static bool
parse_statement(RuleParser *parser, RuleDefinition *definition)
{
	RulePosition at = parser->token.at;

	for (size_t i = 0; i < LENGTH(statements); i++)
	{
		if (!rule_parser_at_word(parser, statements[i].word) ||
			(statements[i].where & place_of_statement(parser)) == 0)
			continue;
		if (!check_place(parser, i, at) || !rule_parser_advance(parser) ||
			!statements[i].parse(parser, definition, at))
			return false;
		return at_line_end(parser) || rule_parser_expected(parser, "the end of the line");
	}
	return unknown_statement(parser);
}

/* To the end of the text. */
static bool
parse_statements(RuleParser *parser, RuleDefinition *definition)
{
	int count = 0;

	while (parser->token.kind != TOKEN_END)
	{
		if (parser->token.kind != TOKEN_LINE_END)
		{
			if (++count > RULES_STATEMENTS_MAX)
				return rule_problem(parser->error, parser->token.at, "the %s has more than %d statements",
									parser->in_library ? "library" : "definition", RULES_STATEMENTS_MAX);
			if (!parse_statement(parser, definition))
				return false;
		}
		if (parser->token.kind == TOKEN_LINE_END && !rule_parser_advance(parser))
			return false;
	}
	return true;
}

static bool
parse_text(RuleParser *parser, RuleDefinition *definition, Slice text)
{
	memset(definition, 0, sizeof(*definition));
	definition->round = RULES_ROUND_DEFAULT;
	definition->refresh_seconds = (double) RULES_REFRESH_DEFAULT_US / 1e6;
	parser->definition = definition;
	return rule_lexer_begin(&parser->lexer, text, NULL, parser->memory, parser->error) &&
		   rule_parser_advance(parser) && parse_statements(parser, definition);
}

bool
rule_parse(RuleDefinition *definition, Slice text, const RuleLibrary *libraries, const RuleMemory *memory,
		   RuleError *error)
{
	RuleParser parser = {.memory = memory, .error = error, .libraries = libraries};

	_Static_assert(LENGTH(statements) <= RULES_STATEMENT_KINDS_MAX, "a line for each");
	return parse_text(&parser, definition, text);
}

bool
rule_parse_library(RuleDefinition *definition, Slice text, const RuleMemory *memory, RuleError *error)
{
	RuleParser parser = {.memory = memory, .error = error, .in_library = true};

	return parse_text(&parser, definition, text);
}
