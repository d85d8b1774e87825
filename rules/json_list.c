/*
 * json_list.c -- see json_list.h.
 */
#include "json_list.h"

/* 768 digits decide the rounding of any double. */
#define DIGITS_KEPT 800

/* ---- walking over values --------------------------------------------------------------------- */

static Slice
rest_from(Slice text, size_t at)
{
	return slice_make(text.data + at, text.len - at);
}

static void
skip_space(Slice *text)
{
	while (text->len > 0 && (text->data[0] == ' ' || text->data[0] == '\n' || text->data[0] == '\t'))
		*text = rest_from(*text, 1);
}

/* text begins with a quote: bytes up to and with the closing one, 0 if there is none. */
static size_t
string_bytes(Slice text)
{
	for (size_t i = 1; i < text.len; i++)
	{
		if (text.data[i] == '"')
			return i + 1;
		i += text.data[i] == '\\';
	}
	return 0;
}

static bool
ends_scalar(uint8_t c)
{
	return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\n' || c == '\t';
}

/* Bytes of the value that text begins with, 0 if it has no end. */
static size_t
value_bytes(Slice text)
{
	size_t depth = 0;
	size_t at = 0;

	do
	{
		size_t string = text.data[at] == '"' ? string_bytes(rest_from(text, at)) : 1;

		if (string == 0)
			return 0;
		depth += text.data[at] == '[' || text.data[at] == '{';
		depth -= depth > 0 && (text.data[at] == ']' || text.data[at] == '}');
		at += string;
	} while (depth > 0 && at < text.len);
	if (depth > 0)
		return 0;
	if (text.data[0] != '"' && text.data[0] != '[' && text.data[0] != '{')
		while (at < text.len && !ends_scalar(text.data[at]))
			at++;
	return at;
}

/* The value that the text begins with, taken off it with the comma behind it. */
static bool
take_value(Slice *text, Slice *value)
{
	size_t bytes;

	skip_space(text);
	if (text->len == 0 || (bytes = value_bytes(*text)) == 0)
		return false;
	*value = slice_make(text->data, bytes);
	*text = rest_from(*text, bytes);
	skip_space(text);
	if (text->len == 0)
		return true;
	if (text->data[0] != ',')
		return false;
	*text = rest_from(*text, 1);
	return true;
}

static bool
inside_brackets(Slice text, Slice *inside)
{
	if (text.len < 2 || text.data[0] != '[' || text.data[text.len - 1] != ']')
		return false;
	*inside = slice_make(text.data + 1, text.len - 2);
	skip_space(inside);
	return true;
}

bool
rule_json_pair(Slice text, Slice *first, Slice *time)
{
	Slice inside;

	if (!inside_brackets(text, &inside) || !take_value(&inside, first) || !take_value(&inside, time) ||
		inside.len > 0 || time->len < 2 || time->data[0] != '"')
		return false;
	*time = slice_make(time->data + 1, time->len - 2);
	return true;
}

bool
rule_json_list(Slice text, Slice *elements)
{
	Slice rest;
	RuleJson element;

	if (!inside_brackets(text, elements))
		return false;
	rest = *elements;
	while (rest.len > 0)
		if (!rule_json_next(&rest, &element))
			return false;
	return true;
}

/* ---- scalars ---------------------------------------------------------------------------------- */

/* jsonb writes numbers without an exponent. */
static bool
read_number(Slice text, double *number)
{
	uint8_t digits[DIGITS_KEPT];
	WireValue value = {.kind = VALUE_DECIMAL};
	size_t n = 0;
	bool after_point = false;

	value.decimal.negative = text.len > 0 && text.data[0] == '-';
	for (size_t i = value.decimal.negative; i < text.len; i++)
	{
		uint8_t c = text.data[i];

		if (c == '.' && !after_point)
			after_point = true;
		else if (c < '0' || c > '9')
			return false;
		else if (n < DIGITS_KEPT)
		{
			digits[n++] = c;
			value.decimal.exponent -= after_point;
		}
		else
		{
			/* a digit too many counts for its place, and as one that is not 0 */
			value.decimal.exponent += !after_point;
			if (c != '0' && digits[n - 1] == '0')
				digits[n - 1] = '1';
		}
	}
	value.decimal.digits = slice_make(digits, n);
	return n > 0 && wire_number(&value, number);
}

bool
rule_json_next(Slice *elements, RuleJson *element)
{
	Slice value;

	if (!take_value(elements, &value))
		return false;
	*element = (RuleJson){.kind = RULE_MISSING};
	switch (value.data[0])
	{
		case '"':
			element->kind = RULE_TEXT;
			element->text = slice_make(value.data + 1, value.len - 2);
			return true;
		case 't':
		case 'f':
			element->kind = RULE_BOOL;
			element->boolean = value.data[0] == 't';
			return true;
		case 'n':
			return true;
		case '[':
		case '{':
			return false;
		default:
			element->kind = RULE_NUMBER;
			return read_number(value, &element->number);
	}
}

/* ---- text ------------------------------------------------------------------------------------- */

/* jsonb escapes quote, backslash and what is below a blank; \u stands for the latter alone. */
static bool
read_escape(Slice *escaped, uint8_t *byte)
{
	static const char names[] = "\"\\/bfnrt";
	static const char bytes[] = "\"\\/\b\f\n\r\t";
	uint32_t code = 0;

	for (size_t i = 0; escaped->len >= 2 && i < sizeof(names) - 1; i++)
		if (escaped->data[1] == (uint8_t) names[i])
		{
			*byte = (uint8_t) bytes[i];
			*escaped = rest_from(*escaped, 2);
			return true;
		}
	if (escaped->len < 6 || escaped->data[1] != 'u')
		return false;
	for (size_t i = 2; i < 6; i++)
	{
		uint8_t c = escaped->data[i];
		uint8_t lower = c | 0x20;

		if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'f'))
			return false;
		code = code * 16 + (uint32_t) (c <= '9' ? c - '0' : lower - 'a' + 10);
	}
	*byte = (uint8_t) code;
	*escaped = rest_from(*escaped, 6);
	return code < 0x80;
}

bool
rule_json_text_equal(Slice escaped, Slice text)
{
	while (escaped.len > 0 && text.len > 0)
	{
		uint8_t byte = escaped.data[0];

		if (byte != '\\')
			escaped = rest_from(escaped, 1);
		else if (!read_escape(&escaped, &byte))
			return false;
		if (byte != text.data[0])
			return false;
		text = rest_from(text, 1);
	}
	return escaped.len == 0 && text.len == 0;
}
