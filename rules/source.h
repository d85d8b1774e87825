/*
 * source.h -- a definition's statements as they are written.
 *
 * In their order, each with its text from its word to its last token: comments, blanks around it and
 * the line's end are left out, what is between its tokens is kept.
 */
#ifndef WALRANK_RULES_SOURCE_H
#define WALRANK_RULES_SOURCE_H

#include "lexer.h"

typedef struct RuleSource
{
	Slice word; /* the first token: where, term, .. */
	Slice text; /* borrowed from the definition */
	int line;
} RuleSource;

/* The statements of a text that has been parsed already; *n: how many. */
extern const RuleSource *rule_sources(Slice text, const RuleMemory *memory, int *n);

#endif /* WALRANK_RULES_SOURCE_H */
