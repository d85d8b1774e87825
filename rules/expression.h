/*
 * expression.h -- the expressions inside a statement, as trees.
 *
 * Recursive descent, never deeper than RULES_DEPTH_MAX brackets or signs; never more nodes than a
 * program has instructions.
 */
#ifndef WALRANK_RULES_EXPRESSION_H
#define WALRANK_RULES_EXPRESSION_H

#include "parser.h"

typedef struct RuleParser
{
	RuleLexer lexer;
	RuleToken token; /* the one to be read */
	const RuleMemory *memory;
	RuleError *error;
	int depth;
	int nodes;
	RuleEntry entries[RULES_TABLE_MAX]; /* of the table being read; here, because parsers recurse */
} RuleParser;

extern bool rule_parser_advance(RuleParser *parser);
extern bool rule_parser_at_word(const RuleParser *parser, const char *word);
extern bool rule_parser_at_symbol(const RuleParser *parser, RuleSymbol symbol);

/* 'expected ..., not "xyz"' at the present token; returns false. */
extern bool rule_parser_expected(RuleParser *parser, const char *what);

/* A number written out, with its sign. */
extern bool rule_parse_constant(RuleParser *parser, double *number);

/* NULL on error. */
extern RuleNode *rule_parse_expression(RuleParser *parser);

#endif /* WALRANK_RULES_EXPRESSION_H */
