/*
 * test_rules_time.c -- times written as text: the one reading, or none.
 */
#include "test_rules_support.h"

#include <time.h>

#define US INT64_C(1000000)
#define DAY_US (86400 * US)

static void
times_are_read_in_every_form_people_write(void **state)
{
	static const struct
	{
		const char *text;
		int64_t time_us;
	} cases[] = {
		{"2000-01-01", 0},
		{"2000-01-01T00:00:00Z", 0},
		{"2000-01-01t00:00:00z", 0},
		{"2000-01-01 00:00:00", 0},
		{"2000-01-01 00:00", 0},
		{"2000-01-01T00:00Z", 0},
		{"2000-01-01 01:00:00+01", 0},
		{"2000-01-01 05:30:00+0530", 0},
		{"2000-01-01T05:30:00+05:30", 0},
		{"1999-12-31 20:00:00-04", 0},
		{"1999-12-31T23:59:59.999999Z", -1},
		{"2000-01-01T00:00:00.1Z", 100000},
		{"2000-01-01T00:00:00.000001", 1},
		{"2000-01-01T00:00:00.0000004", 0},
		{"2000-01-01T00:00:00.0000005", 1},
		{"1999-12-31T23:59:59.9999995Z", 0},
		{"2000-01-01T00:00:00.123456789012345678901234567890Z", 123457},
		{"2026-11-20T14:46:29.174215Z", 848501189 * US + 174215},
		{"2000-02-29", 59 * DAY_US},
		{"2004-02-29", (4 * 365 + 1 + 59) * DAY_US},
		{"1970-01-01", -10957 * DAY_US},
		{"0001-01-01", -730119 * DAY_US},
		{"9999-12-31T23:59:59.999999", 2921940 * DAY_US - 1},
		{"2000-01-01T00:00:00-15:59", (15 * 60 + 59) * 60 * US},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t time_us = 42;

		if (!rules_parse_time(slice_string(cases[i].text), &time_us))
			fail_msg("%s was refused", cases[i].text);
		if (time_us != cases[i].time_us)
			fail_msg("%s: %lld, expected %lld", cases[i].text, (long long) time_us,
					 (long long) cases[i].time_us);
	}
}

static void
text_that_is_no_time_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		" ",
		"now",
		"infinity",
		"-infinity",
		"epoch",
		"2000",
		"2000-01",
		"2000-1-1",
		"20000101",
		"20000101T000000Z",
		"00-01-01",
		"10000-01-01",
		"+2000-01-01",
		"-2000-01-01",
		"0000-01-01",
		"2000-00-01",
		"2000-13-01",
		"2000-01-00",
		"2000-01-32",
		"2000-04-31",
		"2001-02-29",
		"1900-02-29",
		"2000/01/01",
		"2000-01-01T",
		"2000-01-01 ",
		" 2000-01-01",
		"2000-01-01Z",
		"2000-01-01+01",
		"2000-01-01 BC",
		"2000-01-01T00",
		"2000-01-01T0000",
		"2000-01-01T00:0",
		"2000-01-01T24:00:00",
		"2000-01-01T00:60:00",
		"2000-01-01T00:00:60",
		"2000-01-01T00:00:60Z",
		"2000-01-01T23:59:60Z",
		"2000-01-01T-1:00:00",
		"2000-01-01T00:00:00.",
		"2000-01-01T00:00:00.Z",
		"2000-01-01T00:00:00,5Z",
		"2000-01-01T00:00:00. 5",
		"2000-01-01T00:00:00.1234567890123456789012345678901",
		"2000-01-01T00:00:00 Z",
		"2000-01-01T00:00:00ZZ",
		"2000-01-01T00:00:00Z ",
		"2000-01-01T00:00:00UTC",
		"2000-01-01T00:00:00 Europe/Berlin",
		"2000-01-01T00:00:00+",
		"2000-01-01T00:00:00+1",
		"2000-01-01T00:00:00+1:00",
		"2000-01-01T00:00:00+01:",
		"2000-01-01T00:00:00+01:0",
		"2000-01-01T00:00:00+010",
		"2000-01-01T00:00:00+01:60",
		"2000-01-01T00:00:00+16",
		"2000-01-01T00:00:00+01:00:00",
		"2000-01-01  00:00:00",
		"2000-01-01T00:00:00\xe2\x88\x92"
		"01:00",
		"946684800",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t time_us;

		if (rules_parse_time(slice_string(cases[i]), &time_us))
			fail_msg("\"%s\" was accepted", cases[i]);
	}
	assert_false(rules_parse_time(slice_make("2000-01-01\0", 11), &(int64_t){0}));
}

/* Against libc's calendar, every 37 days of all years. */
static void
calendar_agrees_with_libc(void **state)
{
	for (int64_t day = -730119; day < 2921940; day += 37)
	{
		time_t unix_time = (time_t) ((day + 10957) * 86400 + 3661);
		struct tm tm;
		char text[64];
		int64_t time_us;

		gmtime_r(&unix_time, &tm);
		snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
				 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		assert_true(rules_parse_time(slice_string(text), &time_us));
		assert_true(time_us == day * DAY_US + 3661 * US);
	}
}

/* No prefix of a time is read beyond its end: each is its own block, watched by the sanitizer. */
static void
prefixes_are_read_within_their_bounds(void **state)
{
	static const char whole[] = "2026-11-20T14:46:29.174215+05:30";

	for (size_t len = 0; len < sizeof(whole); len++)
	{
		uint8_t *copy = malloc(len + 1);
		int64_t time_us;
		bool expected =
			len == 10 || len == 16 || len == 19 || (len >= 21 && len <= 26) || len == 29 || len == 32;

		memcpy(copy + 1, whole, len);
		assert_int_equal(rules_parse_time(slice_make(copy + 1, len), &time_us), expected);
		free(copy);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_read_in_every_form_people_write),
		cmocka_unit_test(text_that_is_no_time_is_refused),
		cmocka_unit_test(calendar_agrees_with_libc),
		cmocka_unit_test(prefixes_are_read_within_their_bounds),
	};

	return cmocka_run_group_tests_name("rules: time", tests, NULL, NULL);
}
