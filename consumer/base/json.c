/*
 * json.c -- see json.h.  Nothing here knows a locale, and only doubles that have no short decimal
 * form reach the C library.
 */
#include "base/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_US INT64_C(86400000000)
/* 1970-01-01 to 2000-01-01 */
#define PG_EPOCH_DAYS 10957
/* Decimals with more zeros than this beside their digits are written with an exponent. */
#define DECIMAL_ZEROS_MAX 20

static void
put(Buffer *out, const char *text)
{
	buffer_append(out, text, strlen(text));
}

/* ---- text ------------------------------------------------------------------------------------ */

/* What stands after the backslash; 'u' = \u00XX, 0 = nothing to escape, 1 = not ASCII. */
static const uint8_t escapes[256] = {
	[0 ... 7] = 'u', ['\b'] = 'b',		['\t'] = 't', ['\n'] = 'n',	 [11] = 'u',		['\f'] = 'f',
	['\r'] = 'r',	 [14 ... 31] = 'u', ['"'] = '"',  ['\\'] = '\\', [128 ... 255] = 1,
};

/* Bytes of the UTF-8 character at the start, 0 when there is none (overlong, surrogate, cut off ..). */
static size_t
utf8_bytes(const uint8_t *at, size_t left)
{
	uint8_t low = 0x80;
	uint8_t high = 0xbf;
	size_t len;

	if (at[0] >= 0xc2 && at[0] <= 0xdf)
		len = 2;
	else if (at[0] >= 0xe0 && at[0] <= 0xef)
		len = 3;
	else if (at[0] >= 0xf0 && at[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (at[0] == 0xe0)
		low = 0xa0;
	else if (at[0] == 0xed)
		high = 0x9f;
	else if (at[0] == 0xf0)
		low = 0x90;
	else if (at[0] == 0xf4)
		high = 0x8f;
	if (left < len || at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (at[i] < 0x80 || at[i] > 0xbf)
			return 0;
	return len;
}

/* True when one of eight bytes is a control, a quote, a backslash or no ASCII. */
static inline bool
word_special(const uint8_t *at)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t tops = UINT64_C(0x8080808080808080);
	uint64_t word;
	uint64_t quote;
	uint64_t slash;

	memcpy(&word, at, sizeof(word));
	quote = word ^ ones * '"';
	slash = word ^ ones * '\\';
	return ((word | (word - ones * 0x20) | (quote - ones) | (slash - ones)) & tops) != 0;
}

/* The first byte at or after `at` that cannot be copied as it is. */
static const uint8_t *
plain_run(const uint8_t *at, const uint8_t *end)
{
	while (end - at >= 8 && !word_special(at))
		at += 8;
	while (at < end && escapes[*at] == 0)
		at++;
	return at;
}

static void
put_escape(Buffer *out, uint8_t byte)
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t kind = escapes[byte];

	if (kind == 'u')
	{
		const char text[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};

		buffer_append(out, text, sizeof(text));
		return;
	}
	buffer_append_byte(out, '\\');
	buffer_append_byte(out, kind);
}

/* One character that is not ASCII, or U+FFFD for one byte that begins none. */
static const uint8_t *
put_wide(Buffer *out, const uint8_t *at, const uint8_t *end)
{
	size_t len = utf8_bytes(at, (size_t) (end - at));

	if (len > 0)
		buffer_append(out, at, len);
	else
		buffer_append(out, "\xef\xbf\xbd", 3);
	return at + (len > 0 ? len : 1);
}

static void
put_escaped(Buffer *out, Slice text)
{
	const uint8_t *at = text.data;
	const uint8_t *end = at + text.len;

	while (at < end)
	{
		const uint8_t *stop = plain_run(at, end);

		buffer_append(out, at, (size_t) (stop - at));
		at = stop;
		if (at == end)
			break;
		if (*at >= 0x80)
			at = put_wide(out, at, end);
		else
			put_escape(out, *at++);
	}
}

void
json_string(Buffer *out, Slice text)
{
	buffer_reserve(out, text.len + 2);
	buffer_append_byte(out, '"');
	put_escaped(out, text);
	buffer_append_byte(out, '"');
}

/*
 * Only what would break a line is touched: type json keeps the line ends its writer put between
 * tokens; inside strings they cannot stand.
 */
void
json_text(Buffer *out, Slice text)
{
	const uint8_t *at = text.data;
	const uint8_t *end = at + text.len;

	while (at < end)
	{
		const uint8_t *stop = at;

		while (stop < end && *stop >= 0x20 && *stop < 0x80)
			stop++;
		buffer_append(out, at, (size_t) (stop - at));
		at = stop;
		if (at == end)
			break;
		if (*at >= 0x80)
			at = put_wide(out, at, end);
		else
		{
			buffer_append_byte(out, ' ');
			at++;
		}
	}
}

static void
put_hex(Buffer *out, Slice bytes)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t *at = buffer_reserve(out, 2 * bytes.len + 5);

	memcpy(at, "\"\\\\x", 4);
	at += 4;
	for (size_t i = 0; i < bytes.len; i++)
	{
		*at++ = (uint8_t) hex[bytes.data[i] >> 4];
		*at++ = (uint8_t) hex[bytes.data[i] & 15];
	}
	*at = '"';
	out->len += 2 * bytes.len + 5;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static const double powers[] = {1e0, 1e1, 1e2,	1e3,  1e4,	1e5,  1e6,	1e7,
								1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* Decimal digits of v, at least `width`, most significant first. */
static void
put_digits(Buffer *out, uint64_t v, int width)
{
	uint8_t text[24];
	int at = sizeof(text);

	do
	{
		text[--at] = (uint8_t) ('0' + v % 10);
		v /= 10;
		width--;
	} while (v > 0 || width > 0);
	buffer_append(out, text + at, sizeof(text) - (size_t) at);
}

void
json_int(Buffer *out, int64_t number)
{
	uint64_t size = (uint64_t) number;

	if (number < 0)
	{
		buffer_append_byte(out, '-');
		size = -size;
	}
	put_digits(out, size, 1);
}

/* scaled / 10^places, as 12.5 */
static void
put_places(Buffer *out, bool negative, uint64_t scaled, int places)
{
	const uint64_t unit = (uint64_t) powers[places];

	if (negative)
		buffer_append_byte(out, '-');
	put_digits(out, scaled / unit, 1);
	if (places == 0)
		return;
	buffer_append_byte(out, '.');
	put_digits(out, scaled % unit, places);
}

/* NaN and the infinities are no JSON numbers. */
static bool
put_special(Buffer *out, double number)
{
	if (isfinite(number))
		return false;
	put(out, isnan(number) ? "\"NaN\"" : number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
	return true;
}

/*
 * The least number of decimals that gives the number back, if it has at most `digits` digits in all.
 * Integers below 2^53 and powers up to 10^22 are exact, so the quotient is what strtod() makes of
 * that text; and 15 (float: 6) digits are never shared by two numbers, so no shorter text exists.
 */
static bool
put_short(Buffer *out, double number, bool single, int digits, int places_max)
{
	const double size = fabs(number);

	if (number != 0 && size < 1e-5)
		return false;
	for (int places = 0; places <= places_max; places++)
	{
		const double scaled = rint(size * powers[places]);
		const double back = scaled / powers[places];

		if (scaled >= powers[digits])
			return false;
		if (single ? (float) back == (float) size : back == size)
		{
			put_places(out, signbit(number) != 0, (uint64_t) scaled, places);
			return true;
		}
	}
	return false;
}

/* "1e-07" > "1e-7", "1e+21" > "1e21" */
static void
put_general(Buffer *out, const char *text)
{
	const char *e = strchr(text, 'e');

	if (e == NULL)
	{
		put(out, text);
		return;
	}
	buffer_append(out, text, (size_t) (e - text) + 1);
	e++;
	if (*e == '-')
		buffer_append_byte(out, '-');
	while (*e == '-' || *e == '+' || *e == '0')
		e++;
	put(out, e);
}

void
json_double(Buffer *out, double number)
{
	char text[40];

	if (put_special(out, number) || put_short(out, number, false, 15, 15))
		return;
	/* up to 15 digits survive in a normal number, so fewer appear as zeros cut off; others have fewer bits */
	for (int digits = fabs(number) < DBL_MIN ? 1 : 15; digits <= 17; digits++)
	{
		snprintf(text, sizeof(text), "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	put_general(out, text);
}

void
json_float(Buffer *out, float number)
{
	char text[40];

	if (put_special(out, (double) number) || put_short(out, (double) number, true, 6, 8))
		return;
	for (int digits = fabsf(number) < FLT_MIN ? 1 : 6; digits <= 9; digits++)
	{
		snprintf(text, sizeof(text), "%.*g", digits, (double) number);
		if (strtof(text, NULL) == number)
			break;
	}
	put_general(out, text);
}

static void
put_zeros(Buffer *out, int64_t count)
{
	for (int64_t i = 0; i < count; i++)
		buffer_append_byte(out, '0');
}

/* Every digit is kept, trailing zeros as well: their number is the scale the writer chose. */
static void
put_decimal(Buffer *out, const WireDecimal *decimal)
{
	const int64_t len = (int64_t) decimal->digits.len;
	const int64_t point = len + decimal->exponent; /* digits before the point */

	if (decimal->special != DECIMAL_FINITE)
	{
		put(out, decimal->special == DECIMAL_NAN		? "\"NaN\""
				 : decimal->special == DECIMAL_INFINITY ? "\"Infinity\""
														: "\"-Infinity\"");
		return;
	}
	if (decimal->negative)
		buffer_append_byte(out, '-');
	if (point > 0 && decimal->exponent <= DECIMAL_ZEROS_MAX)
	{
		const size_t whole = decimal->exponent < 0 ? (size_t) point : (size_t) len;

		buffer_append(out, decimal->digits.data, whole);
		put_zeros(out, decimal->exponent);
		if (decimal->exponent < 0)
		{
			buffer_append_byte(out, '.');
			buffer_append(out, decimal->digits.data + whole, (size_t) len - whole);
		}
	}
	else if (point <= 0 && point >= -DECIMAL_ZEROS_MAX)
	{
		put(out, "0.");
		put_zeros(out, -point);
		buffer_append_slice(out, decimal->digits);
	}
	else
	{
		buffer_append_slice(out, decimal->digits);
		buffer_append_byte(out, 'e');
		json_int(out, decimal->exponent);
	}
}

/* ---- times ----------------------------------------------------------------------------------- */

/*
 * Days since 1970-01-01 in the proleptic Gregorian calendar, in eras of 400 years that begin on
 * March 1, so that the leap day is an era's last.  Years outside 0000 to 9999 get a sign and at
 * least six digits (ISO 8601 expanded, as JavaScript reads them); year 0 is 1 BC.
 */
static void
put_date(Buffer *out, int64_t days)
{
	const int64_t shifted = days + 719468;
	const int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	const int64_t of_era = shifted - era * 146097;
	const int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	const int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	const int64_t march = (5 * of_year + 2) / 153;
	const int64_t day = of_year - (153 * march + 2) / 5 + 1;
	const int64_t month = march < 10 ? march + 3 : march - 9;
	const int64_t year = year_of_era + era * 400 + (month <= 2);

	if (year < 0 || year > 9999)
	{
		buffer_append_byte(out, year < 0 ? '-' : '+');
		put_digits(out, (uint64_t) (year < 0 ? -year : year), 6);
	}
	else
		put_digits(out, (uint64_t) year, 4);
	buffer_append_byte(out, '-');
	put_digits(out, (uint64_t) month, 2);
	buffer_append_byte(out, '-');
	put_digits(out, (uint64_t) day, 2);
}

static void
two(uint8_t *at, int64_t v)
{
	at[0] = (uint8_t) ('0' + v / 10);
	at[1] = (uint8_t) ('0' + v % 10);
}

/* "THH:MM:SS.ffffff" */
static void
put_time_of_day(Buffer *out, int64_t us)
{
	uint8_t *at = buffer_reserve(out, 16);
	const int64_t seconds = us / 1000000;
	const int64_t fraction = us % 1000000;

	memcpy(at, "T00:00:00.", 10);
	two(at + 1, seconds / 3600);
	two(at + 4, seconds / 60 % 60);
	two(at + 7, seconds % 60);
	two(at + 10, fraction / 10000);
	two(at + 12, fraction / 100 % 100);
	two(at + 14, fraction % 100);
	out->len += 16;
}

/* Days are split off first: the last timestamps of PostgreSQL do not fit when counted from 1970. */
static void
put_timestamp(Buffer *out, int64_t us, int64_t epoch_days, bool zone)
{
	int64_t days = us / DAY_US;
	int64_t rest = us % DAY_US;

	if (rest < 0)
	{
		rest += DAY_US;
		days--;
	}
	buffer_append_byte(out, '"');
	put_date(out, days + epoch_days);
	put_time_of_day(out, rest);
	if (zone)
		buffer_append_byte(out, 'Z');
	buffer_append_byte(out, '"');
}

void
json_time(Buffer *out, int64_t unix_us)
{
	put_timestamp(out, unix_us, 0, true);
}

/* The two extreme values of the type are the infinities. */
static bool
put_infinity(Buffer *out, int64_t value, int64_t min, int64_t max)
{
	if (value == max)
		put(out, "\"infinity\"");
	else if (value == min)
		put(out, "\"-infinity\"");
	return value == max || value == min;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool
put_list(Buffer *out, Slice fields)
{
	WireCursor cursor = wire_cursor(fields);
	Slice element;

	buffer_append_byte(out, '[');
	for (bool first = true; !wire_done(&cursor); first = false)
	{
		if (!first)
			buffer_append_byte(out, ',');
		/* one level: wire_value() has refused lists inside lists */
		if (!wire_value_next(&cursor, &element) || !json_value(out, element))
			return false;
	}
	buffer_append_byte(out, ']');
	return true;
}

bool
json_value(Buffer *out, Slice body)
{
	WireValue value;

	if (!wire_value(body, &value))
		return false;
	switch (value.kind)
	{
		case VALUE_NULL:
			put(out, "null");
			return true;
		case VALUE_BOOL:
			put(out, value.boolean ? "true" : "false");
			return true;
		case VALUE_INT:
			json_int(out, value.integer);
			return true;
		case VALUE_DOUBLE:
			json_double(out, value.number);
			return true;
		case VALUE_FLOAT:
			json_float(out, (float) value.number);
			return true;
		case VALUE_TEXT:
			json_string(out, value.bytes);
			return true;
		case VALUE_BYTES:
			put_hex(out, value.bytes);
			return true;
		case VALUE_DECIMAL:
			put_decimal(out, &value.decimal);
			return true;
		case VALUE_TIMESTAMP:
		case VALUE_TIMESTAMPTZ:
			if (!put_infinity(out, value.integer, INT64_MIN, INT64_MAX))
				put_timestamp(out, value.integer, PG_EPOCH_DAYS, value.kind == VALUE_TIMESTAMPTZ);
			return true;
		case VALUE_DATE:
			if (!put_infinity(out, value.integer, INT32_MIN, INT32_MAX))
			{
				buffer_append_byte(out, '"');
				put_date(out, value.integer + PG_EPOCH_DAYS);
				buffer_append_byte(out, '"');
			}
			return true;
		case VALUE_LIST:
			return put_list(out, value.bytes);
		case VALUE_JSON:
			json_text(out, value.bytes);
			return true;
		case VALUE_NONE:
			break;
	}
	return false;
}
