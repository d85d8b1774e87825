/*
 * lexer.c -- see lexer.h.
 */
#include "lexer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_BYTES_MAX 64 /* of a literal: more than any double needs to be written exactly enough */

/* ---- text ---------------------------------------------------------------------------------- */

static void
step(RuleLexer *lexer)
{
	uint8_t byte = *lexer->at++;

	if (byte == '\n')
	{
		lexer->position.line++;
		lexer->position.column = 1;
	}
	else if (lexer->at >= lexer->end || (*lexer->at & 0xc0) != 0x80)
		lexer->position.column++; /* columns are characters, not bytes */
}

static void
step_many(RuleLexer *lexer, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		step(lexer);
}

/* Bytes of the character at the cursor; 0 when it is not UTF-8. */
static size_t
character_bytes(const uint8_t *at, const uint8_t *end)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = at[0] < 0x80	  ? 1
			   : at[0] < 0xc2 ? 0
			   : at[0] < 0xe0 ? 2
			   : at[0] < 0xf0 ? 3
			   : at[0] < 0xf5 ? 4
							  : 0;
	uint32_t code;

	if (n <= 1)
		return n;
	if ((size_t) (end - at) < n)
		return 0;
	code = at[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++)
	{
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

/* Everything after this may count on whole characters. */
static bool
check_utf8(const RuleLexer *lexer)
{
	RulePosition position = lexer->position;
	size_t n;

	for (const uint8_t *at = lexer->at; at < lexer->end; at += n)
	{
		n = character_bytes(at, lexer->end);
		if (n == 0)
			return rule_problem(lexer->error, position, "byte 0x%02x is not UTF-8 text", *at);
		position.column++;
		if (*at == '\n')
			position = (RulePosition){position.line + 1, 1, position.use};
	}
	return true;
}

bool
rule_lexer_begin(RuleLexer *lexer, Slice text, const RuleUse *use, const RuleMemory *memory, RuleError *error)
{
	*lexer = (RuleLexer){text.data, text.data + text.len, {1, 1, use}, 0, memory, error};
	return check_utf8(lexer);
}

static uint8_t
look(const RuleLexer *lexer, size_t ahead)
{
	return (size_t) (lexer->end - lexer->at) > ahead ? lexer->at[ahead] : 0;
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool
is_name_start(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

/* Spaces, comments, and line ends inside brackets. */
static void
skip_space(RuleLexer *lexer)
{
	while (lexer->at < lexer->end)
	{
		uint8_t c = *lexer->at;

		if (c == '#')
			while (lexer->at < lexer->end && *lexer->at != '\n')
				step(lexer);
		else if (c == ' ' || c == '\t' || c == '\r' || (c == '\n' && lexer->open > 0))
			step(lexer);
		else
			return;
	}
}

/* ---- tokens -------------------------------------------------------------------------------- */

static bool
read_name(RuleLexer *lexer, RuleToken *token)
{
	const uint8_t *start = lexer->at;

	while (lexer->at < lexer->end && (is_name_start(*lexer->at) || is_digit(*lexer->at)))
		step(lexer);
	token->kind = TOKEN_NAME;
	token->text = slice_make(start, (size_t) (lexer->at - start));
	return true;
}

/* A doubled quote stands for one: only then is a copy needed. */
static Slice
unquote(const RuleLexer *lexer, Slice inside, uint8_t quote, bool doubled)
{
	uint8_t *copy;
	size_t n = 0;

	if (!doubled)
		return inside;
	copy = lexer->memory->alloc(lexer->memory->context, inside.len);
	for (size_t i = 0; i < inside.len; i++)
	{
		copy[n++] = inside.data[i];
		if (inside.data[i] == quote)
			i++;
	}
	return slice_make(copy, n);
}

static bool
read_quoted(RuleLexer *lexer, RuleToken *token)
{
	uint8_t quote = *lexer->at;
	const uint8_t *start = lexer->at + 1;
	bool doubled = false;

	step(lexer);
	for (;;)
	{
		uint8_t c = look(lexer, 0);

		if (lexer->at >= lexer->end || c == '\n')
			return rule_problem(lexer->error, token->at,
								"this %s is not closed, expected %c before the end of the line",
								quote == '"' ? "quoted name" : "text", quote);
		if (c < ' ' && c != '\t')
			return rule_problem(lexer->error, lexer->position, "control character 0x%02x inside quotes", c);
		if (c == quote)
		{
			if (look(lexer, 1) != quote)
				break;
			doubled = true;
			step(lexer);
		}
		step(lexer);
	}
	token->kind = quote == '"' ? TOKEN_QUOTED_NAME : TOKEN_TEXT;
	token->text = unquote(lexer, slice_make(start, (size_t) (lexer->at - start)), quote, doubled);
	step(lexer);
	if (token->kind == TOKEN_QUOTED_NAME && token->text.len == 0)
		return rule_problem(lexer->error, token->at, "a quoted name is empty");
	return true;
}

/*
 * strtod() reads the decimal point of the locale, so it is never shown one: "12.5e3" becomes
 * "125e2", which means the same number and is rounded once.
 */
static bool
read_digits(RuleLexer *lexer, RuleToken *token, double *number)
{
	char text[NUMBER_BYTES_MAX + 16];
	size_t n = 0;
	int fraction = 0;
	int exponent = 0;
	bool negative = false;
	bool nonzero = false;
	bool after_point = false;

	for (;; step(lexer))
	{
		uint8_t c = look(lexer, 0);

		if (c == '.' && !after_point && is_digit(look(lexer, 1)))
		{
			after_point = true;
			continue;
		}
		if (!is_digit(c))
			break;
		if (n == NUMBER_BYTES_MAX)
			return rule_problem(lexer->error, token->at, "a number has more than %d digits",
								NUMBER_BYTES_MAX);
		text[n++] = (char) c;
		fraction += after_point;
		nonzero |= c != '0';
	}
	if ((look(lexer, 0) | 0x20) == 'e')
	{
		size_t sign = look(lexer, 1) == '-' || look(lexer, 1) == '+';

		if (is_digit(look(lexer, 1 + sign)))
		{
			negative = look(lexer, 1) == '-';
			step_many(lexer, 1 + sign);
			for (; is_digit(look(lexer, 0)); step(lexer))
				exponent = exponent < 10000 ? exponent * 10 + (look(lexer, 0) - '0') : exponent;
		}
	}
	snprintf(text + n, sizeof(text) - n, "e%d", (negative ? -exponent : exponent) - fraction);
	*number = strtod(text, NULL);
	if (!isfinite(*number) || (*number == 0 && nonzero))
		return rule_problem(lexer->error, token->at, "a number is outside the range of double precision");
	return true;
}

static bool
read_number(RuleLexer *lexer, RuleToken *token)
{
	static const struct
	{
		const char *name;
		double seconds;
	} units[] = {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
	RuleToken unit;

	token->kind = TOKEN_NUMBER;
	if (!read_digits(lexer, token, &token->number))
		return false;
	if (look(lexer, 0) == '.' && look(lexer, 1) != '.')
		return rule_problem(lexer->error, lexer->position, "expected a digit after the decimal point");
	if (!is_name_start(look(lexer, 0)))
		return true;
	unit.at = lexer->position;
	read_name(lexer, &unit);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (slice_equal(unit.text, slice_string(units[i].name)))
		{
			token->number *= units[i].seconds;
			if (isfinite(token->number))
				return true;
			return rule_problem(lexer->error, token->at,
								"a duration is outside the range of double precision");
		}
	rule_problem(lexer->error, unit.at, "\"%.*s\" after a number is not a unit of time",
				 RULE_NAME(unit.text));
	return rule_hint(lexer->error, "Durations are written 30s, 5min, 12h, 7d.");
}

static bool
unexpected(RuleLexer *lexer)
{
	uint8_t c = *lexer->at;

	if (c == ';')
	{
		rule_problem(lexer->error, lexer->position, "unexpected \";\", expected the end of the line");
		return rule_hint(lexer->error, "A statement is one line and needs nothing at its end.");
	}
	if (c > ' ' && c < 0x7f)
		rule_problem(lexer->error, lexer->position, "unexpected character \"%c\"", c);
	else
		rule_problem(lexer->error, lexer->position, "unexpected character 0x%02x", c);
	if (c == '^' || c == '%')
		return rule_hint(lexer->error, "The operators are + - * /; a power is pow(x, p).");
	if (c == '&' || c == '|' || c == '!')
		return rule_hint(lexer->error, "Conditions are joined by and, or, not; unequal is !=.");
	return false;
}

static bool
read_symbol(RuleLexer *lexer, RuleToken *token)
{
	static const struct
	{
		char text[3];
		RuleSymbol symbol;
	} pairs[] = {{"!=", SYMBOL_NOT_EQUAL},	   {"<>", SYMBOL_NOT_EQUAL}, {"<=", SYMBOL_LESS_EQUAL},
				 {">=", SYMBOL_GREATER_EQUAL}, {"..", SYMBOL_RANGE},	 {"==", SYMBOL_NONE}};
	uint8_t c = *lexer->at;

	token->kind = TOKEN_SYMBOL;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (c == (uint8_t) pairs[i].text[0] && look(lexer, 1) == (uint8_t) pairs[i].text[1])
		{
			token->symbol = pairs[i].symbol;
			if (token->symbol == SYMBOL_NONE)
			{
				rule_problem(lexer->error, token->at, "unexpected \"==\"");
				return rule_hint(lexer->error, "Equality is written with one \"=\".");
			}
			step_many(lexer, 2);
			return true;
		}
	if (c == 0 || strchr("()[]{},:.+-*/=<>", c) == NULL)
		return unexpected(lexer);
	if (strchr("([{", c) != NULL)
		lexer->open++;
	else if (strchr(")]}", c) != NULL && lexer->open > 0)
		lexer->open--;
	token->symbol = (RuleSymbol) c;
	step(lexer);
	return true;
}

static bool
read_token(RuleLexer *lexer, RuleToken *token)
{
	uint8_t c = *lexer->at;

	if (c == '\n')
	{
		token->kind = TOKEN_LINE_END;
		step(lexer);
		return true;
	}
	if (is_name_start(c))
		return read_name(lexer, token);
	if (is_digit(c))
		return read_number(lexer, token);
	if (c == '\'' || c == '"')
		return read_quoted(lexer, token);
	return read_symbol(lexer, token);
}

bool
rule_lexer_next(RuleLexer *lexer, RuleToken *token)
{
	const uint8_t *start;

	skip_space(lexer);
	memset(token, 0, sizeof(*token));
	token->at = lexer->position;
	start = lexer->at;
	if (start >= lexer->end)
		token->kind = TOKEN_END;
	else if (!read_token(lexer, token))
		return false;
	token->source = slice_make(start, (size_t) (lexer->at - start));
	return true;
}
