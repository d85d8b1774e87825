/*
 * source.c -- see source.h.
 */
#include "source.h"

/* Read one statement's tokens; false: there are no more. */
static bool
next_source(RuleLexer *lexer, RuleSource *source)
{
	RuleToken token;

	do
		if (!rule_lexer_next(lexer, &token) || token.kind == TOKEN_END)
			return false;
	while (token.kind == TOKEN_LINE_END);
	*source = (RuleSource){.word = token.text, .text = token.source, .line = token.at.line};
	while (token.kind != TOKEN_LINE_END && token.kind != TOKEN_END)
	{
		source->text.len = (size_t) (token.source.data + token.source.len - source->text.data);
		if (!rule_lexer_next(lexer, &token))
			return false;
	}
	return true;
}

const RuleSource *
rule_sources(Slice text, const RuleMemory *memory, int *n)
{
	RuleSource room[RULES_STATEMENTS_MAX];
	RuleSource *sources;
	RuleError error;
	RuleLexer lexer;

	*n = 0;
	if (rule_lexer_begin(&lexer, text, NULL, memory, &error))
		while (*n < RULES_STATEMENTS_MAX && next_source(&lexer, &room[*n]))
			++*n;
	sources = memory->alloc(memory->context, ((size_t) *n + 1) * sizeof(*sources));
	for (int i = 0; i < *n; i++)
		sources[i] = room[i];
	return sources;
}
