/*
 * expression.h -- the expressions inside a statement, as trees.
 *
 * Recursive descent, never deeper than RULES_DEPTH_MAX brackets or signs; never more nodes than a
 * program has instructions.
 */
#ifndef WALRANK_RULES_EXPRESSION_H
#define WALRANK_RULES_EXPRESSION_H

#include "parser.h"

#define RULES_STATEMENT_KINDS_MAX 24

typedef struct RuleParser
{
	RuleLexer lexer;
	RuleToken token; /* the one to be read */
	const RuleMemory *memory;
	RuleError *error;
	const RuleLibrary *libraries; /* or NULL */
	RuleDefinition *definition;
	const RuleName *macro; /* whose body is being read, or NULL */
	bool in_library;
	bool begun;								  /* there was a statement other than use */
	int seen_line[RULES_STATEMENT_KINDS_MAX]; /* of statements there may be one of */
	int depth;
	RuleEntry entries[RULES_TABLE_MAX]; /* of the table being read; here, because parsers recurse */
} RuleParser;

extern bool rule_parser_advance(RuleParser *parser);
extern bool rule_parser_at_word(const RuleParser *parser, const char *word);
extern bool rule_parser_at_symbol(const RuleParser *parser, RuleSymbol symbol);

/* 'expected ..., not "xyz"' at the present token; returns false. */
extern bool rule_parser_expected(RuleParser *parser, const char *what);

extern bool rule_is_reserved(const RuleToken *token);

/* A number written out, with its sign, or the name of a constant. */
extern bool rule_parse_constant(RuleParser *parser, double *number);

/* NULL on error. */
extern RuleNode *rule_parse_expression(RuleParser *parser);

#endif /* WALRANK_RULES_EXPRESSION_H */
