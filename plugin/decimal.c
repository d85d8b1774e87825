/*
 * decimal.c -- see decimal.h.
 *
 * The stored form is private to the server's numeric.c and part of every data directory, which is
 * why it has not changed since 9.1: a header of one or two 16-bit words, then base-10000 digits.
 *
 *   0x8000 short    0x2000 negative, 0x1f80 display scale, 0x0040 weight sign, 0x003f weight
 *   0x0000 long     0x4000 negative, 0x3fff display scale; weight in the next word
 *   0xc000 special  0xc000 NaN, 0xd000 infinity, 0xf000 -infinity
 */
#include "decimal.h"

#include "encode.h"

/* Zeros a display scale may add to the stored digits: enough for money, too few to explode. */
#define PAD_DIGITS_MAX 12

/* JSON numbers are written without exponent up to this many added zeros. */
#define PLAIN_ZEROS_MAX 20

typedef struct NumericView
{
	uint32 special; /* DECIMAL_xxx */
	bool negative;
	int scale;
	int weight; /* value = sum of digit[i] * 10000^(weight - i) */
	int ndigits;
	const char *digits;
} NumericView;

static inline uint16
read_word(const char *at)
{
	uint16 word;

	memcpy(&word, at, sizeof(word));
	return word;
}

static inline NumericView
view(const char *num, size_t len)
{
	NumericView v = {.special = DECIMAL_FINITE};
	uint16 header = read_word(num);

	if ((header & 0xc000) == 0xc000)
	{
		header &= 0xf000;
		v.special = header == 0xc000   ? DECIMAL_NAN
					: header == 0xd000 ? DECIMAL_INFINITY
									   : DECIMAL_NEGATIVE_INFINITY;
	}
	else if (header & 0x8000)
	{
		v.negative = (header & 0x2000) != 0;
		v.scale = (header & 0x1f80) >> 7;
		v.weight = (header & 0x0040) ? (int) (header & 0x003f) - 64 : (int) (header & 0x003f);
		v.digits = num + 2;
		v.ndigits = (int) (len - 2) / 2;
	}
	else
	{
		v.negative = (header & 0xc000) == 0x4000;
		v.scale = header & 0x3fff;
		v.weight = (int16) read_word(num + 2);
		v.digits = num + 4;
		v.ndigits = (int) (len - 4) / 2;
	}
	return v;
}

static inline bool
as_integer(const NumericView *v, int64 *result)
{
	uint64 n = 0;

	if (v->special != DECIMAL_FINITE || v->scale != 0 || v->weight > 4)
		return false;
	for (int i = 0; i <= v->weight; i++)
	{
		uint64 digit = i < v->ndigits ? read_word(v->digits + 2 * i) : 0;

		if (i == 4 && n > (UINT64CONST(0x8000000000000000) - digit) / 10000)
			return false;
		n = n * 10000 + digit;
	}
	if (n > (uint64) PG_INT64_MAX)
	{
		*result = PG_INT64_MIN;
		return v->negative; /* the check above lets no more than 2^63 through */
	}
	*result = v->negative ? -(int64) n : (int64) n;
	return true;
}

/*
 * The significant digits as text, at most 4 * ndigits + PAD_DIGITS_MAX characters, and the exponent
 * of the last one.
 */
static int
write_digits(const NumericView *v, char *text, int *exponent)
{
	int n = 0;
	int fraction = 4 * (v->ndigits - 1 - v->weight); /* digits stored after the point, may be < 0 */

	if (v->ndigits == 0)
	{
		text[0] = '0';
		*exponent = -v->scale;
		return 1;
	}
	for (int i = 0; i < v->ndigits; i++)
	{
		unsigned group = read_word(v->digits + 2 * i);

		for (unsigned unit = 1000; unit > 0; unit /= 10)
			if (n > 0 || group >= unit || (unit == 1 && i == v->ndigits - 1))
				text[n++] = (char) ('0' + group / unit % 10);
	}
	/* zeros that fill the last group: not in the number, or better in the exponent */
	while ((fraction > v->scale || (v->scale == 0 && fraction < 0)) && n > 1 && text[n - 1] == '0')
	{
		n--;
		fraction--;
	}
	if (v->scale > 0 && v->scale > fraction && v->scale - fraction <= PAD_DIGITS_MAX)
		while (fraction < v->scale)
		{
			text[n++] = '0';
			fraction++;
		}
	*exponent = -fraction;
	return n;
}

/* A short numeric of up to two stored digits without a fraction: most are. */
static inline bool
as_small_integer(const char *num, size_t len, int64 *result)
{
	uint16 header = read_word(num);
	int64 n;

	/* short, finite, no scale, a weight of 0 or 1 */
	if ((header & ~0x2001) != 0x8000 || len < 4)
		return false;
	n = read_word(num + 2);
	if (header & 1)
		n = n * 10000 + (len >= 6 ? read_word(num + 4) : 0);
	*result = header & 0x2000 ? -n : n;
	return true;
}

uint8 *
decimal_put_integer(uint8 *at, const char *num, size_t len)
{
	NumericView v;
	int64 integer;

	if (!as_small_integer(num, len, &integer))
	{
		v = view(num, len);
		if (!as_integer(&v, &integer))
			return NULL;
	}
	*at++ = WIRE_TAG(VALUE_INT, WIRE_VARINT);
	return wire_put_varint(at, wire_zigzag(integer));
}

void
decimal_encode(StringInfo out, const char *num, size_t len)
{
	NumericView v;
	EncodeMark mark;
	EncodeMark digits;
	uint8 *end;
	int exponent;

	encode_reserve(out, DECIMAL_INTEGER_BYTES_MAX);
	end = decimal_put_integer((uint8 *) out->data + out->len, num, len);
	if (end != NULL)
	{
		out->len = (int) ((char *) end - out->data);
		return;
	}
	v = view(num, len);
	mark = encode_open(out, VALUE_DECIMAL, 4 * (size_t) v.ndigits + 8);
	if (v.special != DECIMAL_FINITE)
		encode_varint_field(out, DECIMAL_SPECIAL, v.special);
	else
	{
		digits = encode_open(out, DECIMAL_DIGITS, 4 * (size_t) v.ndigits);
		encode_reserve(out, 4 * v.ndigits + PAD_DIGITS_MAX + 1);
		out->len += write_digits(&v, out->data + out->len, &exponent);
		encode_close(out, digits);
		if (exponent != 0)
			encode_varint_field(out, DECIMAL_EXPONENT, wire_zigzag(exponent));
		if (v.negative)
			encode_varint_field(out, DECIMAL_NEGATIVE, 1);
	}
	encode_close(out, mark);
}

/* digits x 10^exponent with a point in it: the exponent is negative and small. */
static void
put_fraction(StringInfo out, const char *digits, int n, int fraction)
{
	if (n <= fraction)
	{
		appendStringInfoString(out, "0.");
		for (int i = n; i < fraction; i++)
			appendStringInfoChar(out, '0');
		appendBinaryStringInfo(out, digits, n);
		return;
	}
	appendBinaryStringInfo(out, digits, n - fraction);
	appendStringInfoChar(out, '.');
	appendBinaryStringInfo(out, digits + n - fraction, fraction);
}

void
decimal_json(StringInfo out, const char *num, size_t len)
{
	NumericView v = view(num, len);
	char small[256];
	char *digits = small;
	size_t room = 4 * (size_t) v.ndigits + PAD_DIGITS_MAX + 1;
	int exponent;
	int n;

	if (v.special != DECIMAL_FINITE)
	{
		appendStringInfoString(out, v.special == DECIMAL_NAN		? "\"NaN\""
									: v.special == DECIMAL_INFINITY ? "\"Infinity\""
																	: "\"-Infinity\"");
		return;
	}
	if (room > sizeof(small))
		digits = palloc(room);
	n = write_digits(&v, digits, &exponent);
	if (v.negative)
		appendStringInfoChar(out, '-');
	if (exponent < 0 && -exponent <= n + PLAIN_ZEROS_MAX)
		put_fraction(out, digits, n, -exponent);
	else
	{
		appendBinaryStringInfo(out, digits, n);
		if (exponent > 0 && exponent <= PLAIN_ZEROS_MAX)
			appendStringInfoString(out, "00000000000000000000" + PLAIN_ZEROS_MAX - exponent);
		else if (exponent != 0)
			appendStringInfo(out, "e%d", exponent);
	}
	if (digits != small)
		pfree(digits);
}

static uint64
magnitude(int64 n)
{
	return n < 0 ? -(uint64) n : (uint64) n;
}

void
decimal_hundredths(StringInfo out, int64 hundredths)
{
	EncodeMark mark = encode_open(out, VALUE_DECIMAL, 24);
	char digits[24];
	int n = snprintf(digits, sizeof(digits), UINT64_FORMAT, magnitude(hundredths));

	encode_bytes_field(out, DECIMAL_DIGITS, digits, (size_t) n);
	encode_varint_field(out, DECIMAL_EXPONENT, wire_zigzag(-2));
	if (hundredths < 0)
		encode_varint_field(out, DECIMAL_NEGATIVE, 1);
	encode_close(out, mark);
}

void
decimal_hundredths_json(StringInfo out, int64 hundredths)
{
	uint64 n = magnitude(hundredths);

	appendStringInfo(out, "%s" UINT64_FORMAT ".%02d", hundredths < 0 ? "-" : "", n / 100, (int) (n % 100));
}
