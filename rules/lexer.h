/*
 * lexer.h -- a definition's text as tokens.
 *
 * A line's end is a token, because a statement is a line, but not while a bracket is open.  Numbers
 * are read exactly and alike in every locale; a duration is a number of seconds.
 */
#ifndef WALRANK_RULES_LEXER_H
#define WALRANK_RULES_LEXER_H

#include "problem.h"

typedef enum
{
	TOKEN_END, /* of the text */
	TOKEN_LINE_END,
	TOKEN_NAME,
	TOKEN_QUOTED_NAME,
	TOKEN_TEXT,
	TOKEN_NUMBER,
	TOKEN_SYMBOL,
} RuleTokenKind;

typedef enum
{
	SYMBOL_NONE = 0,
	SYMBOL_OPEN = '(',
	SYMBOL_CLOSE = ')',
	SYMBOL_OPEN_LIST = '[',
	SYMBOL_CLOSE_LIST = ']',
	SYMBOL_OPEN_MAP = '{',
	SYMBOL_CLOSE_MAP = '}',
	SYMBOL_COMMA = ',',
	SYMBOL_COLON = ':',
	SYMBOL_DOT = '.',
	SYMBOL_PLUS = '+',
	SYMBOL_MINUS = '-',
	SYMBOL_TIMES = '*',
	SYMBOL_OVER = '/',
	SYMBOL_EQUAL = '=',
	SYMBOL_LESS = '<',
	SYMBOL_GREATER = '>',
	SYMBOL_NOT_EQUAL = 256,
	SYMBOL_LESS_EQUAL,
	SYMBOL_GREATER_EQUAL,
	SYMBOL_RANGE, /* .. */
} RuleSymbol;

typedef struct RuleToken
{
	RuleTokenKind kind;
	RulePosition at;
	Slice source; /* as written */
	Slice text;	  /* TOKEN_NAME, TOKEN_QUOTED_NAME, TOKEN_TEXT: without quotes */
	double number;
	RuleSymbol symbol;
} RuleToken;

/* A copy of a lexer is a second reader of the same text: that is how one looks ahead. */
typedef struct RuleLexer
{
	const uint8_t *at;
	const uint8_t *end;
	RulePosition position;
	int open; /* brackets */
	const RuleMemory *memory;
	RuleError *error;
} RuleLexer;

/* text is borrowed by the tokens; use: what brought it, or NULL.  False: it is not UTF-8. */
extern bool rule_lexer_begin(RuleLexer *lexer, Slice text, const RuleUse *use, const RuleMemory *memory,
							 RuleError *error);
extern bool rule_lexer_next(RuleLexer *lexer, RuleToken *token);

#endif /* WALRANK_RULES_LEXER_H */
