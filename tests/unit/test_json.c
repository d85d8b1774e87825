/*
 * test_json.c -- what is written reads back as the same thing, digit by digit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "wire_put.h"

static Buffer out;
static Buffer scratch;

static const char *
text(void)
{
	buffer_append_byte(&out, '\0');
	return (const char *) out.data;
}

static const char *
of_double(double v)
{
	buffer_reset(&out);
	json_double(&out, v);
	return text();
}

static const char *
of_float(float v)
{
	buffer_reset(&out);
	json_float(&out, v);
	return text();
}

static const char *
of_string(const char *bytes, size_t len)
{
	buffer_reset(&out);
	json_string(&out, slice_make(bytes, len));
	return text();
}

static const char *
of_value(Slice value)
{
	buffer_reset(&out);
	assert_true(json_value(&out, value));
	return text();
}

static const char *
of_time(int64_t us)
{
	buffer_reset(&out);
	json_time(&out, us);
	return text();
}

static void
doubles_have_their_shortest_text(void **state)
{
	assert_string_equal(of_double(0), "0");
	assert_string_equal(of_double(-0.0), "-0");
	assert_string_equal(of_double(1), "1");
	assert_string_equal(of_double(0.73125), "0.73125");
	assert_string_equal(of_double(-0.1), "-0.1");
	assert_string_equal(of_double(0.1 + 0.2), "0.30000000000000004");
	assert_string_equal(of_double(123456789012345.0), "123456789012345");
	assert_string_equal(of_double(1e21), "1e21");
	assert_string_equal(of_double(1e22), "1e22");
	assert_string_equal(of_double(1e-7), "1e-7");
	assert_string_equal(of_double(1.5e300), "1.5e300");
	assert_string_equal(of_double(5e-324), "5e-324");
	assert_string_equal(of_double(DBL_MAX), "1.7976931348623157e308");
	assert_string_equal(of_double(9007199254740993.0), "9007199254740992");
	assert_string_equal(of_double(NAN), "\"NaN\"");
	assert_string_equal(of_double(INFINITY), "\"Infinity\"");
	assert_string_equal(of_double(-INFINITY), "\"-Infinity\"");
	assert_string_equal(of_float(0.1f), "0.1");
	assert_string_equal(of_float(16777216.0f), "16777216");
	assert_string_equal(of_float(3.4028235e38f), "3.4028235e38");
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void
doubles_read_back_and_no_shorter_text_would_do(void **state)
{
	uint64_t seed = 88172645463325252;

	for (int i = 0; i < 200000; i++)
	{
		uint64_t bits = next_random(&seed);
		double number;
		char shorter[40];

		memcpy(&number, &bits, sizeof(number));
		if (i % 2 == 0) /* decimals people write */
			number = (double) (int64_t) (bits >> 34) / pow(10, (double) (bits & 15));
		if (!isfinite(number))
			continue;
		if (strtod(of_double(number), NULL) != number)
			fail_msg("%.17g was written as %s", number, (char *) out.data);
		/* digits of ours against the fewest that printf needs */
		for (int digits = 1; digits < 17; digits++)
		{
			size_t ours = 0;

			snprintf(shorter, sizeof(shorter), "%.*e", digits - 1, number);
			if (strtod(shorter, NULL) != number)
				continue;
			for (const uint8_t *at = out.data; *at != '\0' && *at != 'e'; at++)
				if (*at >= '0' && *at <= '9' && (ours > 0 || *at != '0'))
					ours++;
			/* trailing zeros of an integer are not digits of it; printf fills up to 15 */
			if (ours > 15 && (int) ours > digits && fabs(number) < 1e15)
				fail_msg("%s has %zu digits, %d would do", (char *) out.data, ours, digits);
			break;
		}
	}
}

static void
floats_read_back(void **state)
{
	uint64_t seed = 1234567;

	for (int i = 0; i < 200000; i++)
	{
		uint32_t bits = (uint32_t) next_random(&seed);
		float number;

		memcpy(&number, &bits, sizeof(number));
		if (i % 2 == 0)
			number = (float) (bits >> 12) / 1000.0f;
		if (isfinite(number) && strtof(of_float(number), NULL) != number)
			fail_msg("%.9g was written as %s", (double) number, (char *) out.data);
	}
}

static void
strings_are_escaped(void **state)
{
	assert_string_equal(of_string("", 0), "\"\"");
	assert_string_equal(of_string("plain text, long enough for words", 33),
						"\"plain text, long enough for words\"");
	assert_string_equal(of_string("a\"b\\c/\b\f\n\r\t\x01\x1f\x7f", 14),
						"\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
	assert_string_equal(of_string("\0", 1), "\"\\u0000\"");
	assert_string_equal(of_string("gr\xc3\xbc\xc3\x9f \xe5\x9c\x88\xe4\xba\xba \xf0\x9f\x98\x80", 18),
						"\"gr\xc3\xbc\xc3\x9f \xe5\x9c\x88\xe4\xba\xba \xf0\x9f\x98\x80\"");
	for (int at = 0; at < 24; at++) /* each place of a word, and of its tail */
		for (int c = 0; c < 128; c++)
		{
			char plain[25];
			size_t want =
				c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t' ? 27
				: c < 0x20																			   ? 31
																									   : 26;

			memset(plain, 'x', sizeof(plain));
			plain[at] = (char) c;
			assert_int_equal(strlen(of_string(plain, 24)), want);
		}
}

static void
bytes_that_are_no_utf8_are_replaced(void **state)
{
	assert_string_equal(of_string("\xff", 1), "\"\xef\xbf\xbd\"");
	assert_string_equal(of_string("\xc0\x80", 2), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
	assert_string_equal(of_string("\xed\xa0\x80", 3), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	assert_string_equal(of_string("a\xe5\x9c", 3), "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
	assert_string_equal(of_string("\xf4\x90\x80\x80", 4),
						"\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void
times_are_iso_8601_in_every_year(void **state)
{
	assert_string_equal(of_time(0), "\"1970-01-01T00:00:00.000000Z\"");
	assert_string_equal(of_time(-1), "\"1969-12-31T23:59:59.999999Z\"");
	assert_string_equal(of_time(INT64_C(1795185989174215)), "\"2026-11-20T14:46:29.174215Z\"");
	assert_string_equal(of_time(INT64_C(951782400000000)), "\"2000-02-29T00:00:00.000000Z\"");
	assert_string_equal(of_value(value_number(&scratch, VALUE_TIMESTAMPTZ, wire_zigzag(0))),
						"\"2000-01-01T00:00:00.000000Z\"");
	assert_string_equal(of_value(value_number(&scratch, VALUE_TIMESTAMP, wire_zigzag(1))),
						"\"2000-01-01T00:00:00.000001\"");
	/* the server's last and first: 294276-12-31 23:59:59.999999, 4714-11-24 BC */
	assert_string_equal(
		of_value(value_number(&scratch, VALUE_TIMESTAMP, wire_zigzag(INT64_C(9223371331199999999)))),
		"\"+294276-12-31T23:59:59.999999\"");
	assert_string_equal(of_value(value_number(&scratch, VALUE_DATE, wire_zigzag(-2451545))),
						"\"-004713-11-24\"");
	assert_string_equal(of_value(value_number(&scratch, VALUE_DATE, wire_zigzag(-730120))), "\"0000-12-31\"");
	assert_string_equal(of_value(value_number(&scratch, VALUE_DATE, wire_zigzag(INT32_MAX))), "\"infinity\"");
	assert_string_equal(of_value(value_number(&scratch, VALUE_TIMESTAMPTZ, wire_zigzag(INT64_MIN))),
						"\"-infinity\"");
}

static void
dates_agree_with_the_c_library_for_8000_years(void **state)
{
	for (int64_t day = -719162; day < 2932896; day += 37) /* 0001-01-01 to 9999-12-31 */
	{
		time_t seconds = day * 86400;
		struct tm tm;
		char want[64];

		gmtime_r(&seconds, &tm);
		snprintf(want, sizeof(want), "\"%04d-%02d-%02dT00:00:00.000000Z\"", tm.tm_year + 1900, tm.tm_mon + 1,
				 tm.tm_mday);
		assert_string_equal(of_time(day * INT64_C(86400000000)), want);
	}
}

static void
decimals_keep_every_digit(void **state)
{
	assert_string_equal(of_value(value_decimal(&scratch, "150", -2, false)), "1.50");
	assert_string_equal(of_value(value_decimal(&scratch, "150", -2, true)), "-1.50");
	assert_string_equal(of_value(value_decimal(&scratch, "5", -3, false)), "0.005");
	assert_string_equal(of_value(value_decimal(&scratch, "0", -2, false)), "0.00");
	assert_string_equal(of_value(value_decimal(&scratch, "123", -3, false)), "0.123");
	assert_string_equal(of_value(value_decimal(&scratch, "12", 3, false)), "12000");
	assert_string_equal(of_value(value_decimal(&scratch, "1", 131000, false)), "1e131000");
	assert_string_equal(of_value(value_decimal(&scratch, "1", -16383, false)), "1e-16383");
	assert_string_equal(of_value(value_decimal(&scratch, "98765432109876543210987654321", -9, false)),
						"98765432109876543210.987654321");
}

static void
values_of_every_kind(void **state)
{
	Buffer list = {0};
	Buffer element = {0};

	assert_string_equal(of_value(value_number(&scratch, VALUE_NULL, 1)), "null");
	assert_string_equal(of_value(value_number(&scratch, VALUE_BOOL, 1)), "true");
	assert_string_equal(of_value(value_number(&scratch, VALUE_BOOL, 0)), "false");
	assert_string_equal(of_value(value_int(&scratch, INT64_MIN)), "-9223372036854775808");
	assert_string_equal(of_value(value_int(&scratch, INT64_MAX)), "9223372036854775807");
	assert_string_equal(of_value(value_double(&scratch, 0.25)), "0.25");
	assert_string_equal(of_value(value_text(&scratch, "x\"y")), "\"x\\\"y\"");
	assert_string_equal(of_value(value_bytes(&scratch, VALUE_BYTES, slice_make("\x00\xff", 2))),
						"\"\\\\x00ff\"");
	assert_string_equal(of_value(value_bytes(&scratch, VALUE_JSON, slice_string("{\"a\":\n [1e131000]}"))),
						"{\"a\":  [1e131000]}");
	list_add(&list, value_int(&element, 1));
	list_add(&list, value_text(&element, "b"));
	list_add(&list, value_number(&element, VALUE_NULL, 1));
	assert_string_equal(of_value(value_bytes(&scratch, VALUE_LIST, buffer_slice(&list))), "[1,\"b\",null]");
	buffer_reset(&list);
	assert_string_equal(of_value(value_bytes(&scratch, VALUE_LIST, buffer_slice(&list))), "[]");
	buffer_free(&list);
	buffer_free(&element);
}

static void
malformed_values_are_refused(void **state)
{
	static const char *const cases[] = {"", "\x08", "\x3a\x05zz", "\x42\x03\x0a\x01x", "\x7a\x00"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_false(json_value(&out, slice_string(cases[i])));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(doubles_have_their_shortest_text),
		cmocka_unit_test(doubles_read_back_and_no_shorter_text_would_do),
		cmocka_unit_test(floats_read_back),
		cmocka_unit_test(strings_are_escaped),
		cmocka_unit_test(bytes_that_are_no_utf8_are_replaced),
		cmocka_unit_test(times_are_iso_8601_in_every_year),
		cmocka_unit_test(dates_agree_with_the_c_library_for_8000_years),
		cmocka_unit_test(decimals_keep_every_digit),
		cmocka_unit_test(values_of_every_kind),
		cmocka_unit_test(malformed_values_are_refused),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	buffer_free(&out);
	buffer_free(&scratch);
	return failed;
}
