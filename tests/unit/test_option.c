/*
 * test_option.c -- a wrong line of configuration says what would be right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/option.h"

typedef struct Target
{
	char *path;
	char *note;
	bool enabled;
	int64_t rows;
	int64_t segment_bytes;
	int64_t flush_interval_ms;
	int format;
} Target;

static const char *const formats[] = {"text", "json", "pb", NULL};

static const OptionDef table[] = {
	{"path", OPT_STRING, offsetof(Target, path), NULL, 0, 0, NULL, false, "where it goes"},
	{"note", OPT_STRING, offsetof(Target, note), "", 0, 0, NULL, true, "anything"},
	{"enabled", OPT_BOOL, offsetof(Target, enabled), "on", 0, 0, NULL, false, "whether"},
	{"flush_rows", OPT_INT, offsetof(Target, rows), "10000", 1, 1000000, NULL, true, "rows in a batch"},
	{"segment_size", OPT_BYTES, offsetof(Target, segment_bytes), "64MB", 4096, INT64_MAX, NULL, false,
	 "bytes in a file"},
	{"flush_interval", OPT_MS, offsetof(Target, flush_interval_ms), "100ms", 0, 60000, NULL, true,
	 "age of a batch"},
	{"format", OPT_ENUM, offsetof(Target, format), "json", 0, 0, formats, false, "of lines"},
	{NULL, OPT_STRING, 0, NULL, 0, 0, NULL, false, NULL},
};

static Target target;
static Error err;

static int
setup(void **state)
{
	assert_true(option_defaults(table, &target, &err));
	return 0;
}

static int
teardown(void **state)
{
	option_free(table, &target);
	return 0;
}

static void
refused(const char *name, const char *value, const char *message, const char *hint)
{
	assert_false(option_set(table, &target, name, value, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	assert_string_equal(err.message, message);
	assert_string_equal(err.hint, hint);
}

static void
defaults_are_parsed_like_values(void **state)
{
	assert_null(target.path);
	assert_string_equal(target.note, "");
	assert_true(target.enabled);
	assert_int_equal(target.rows, 10000);
	assert_int_equal(target.segment_bytes, INT64_C(64) << 20);
	assert_int_equal(target.flush_interval_ms, 100);
	assert_int_equal(target.format, 1);
}

static void
units_are_understood(void **state)
{
	static const struct
	{
		const char *text;
		int64_t ms;
	} times[] = {{"0", 0}, {"250", 250}, {"10s", 10000}, {"1 min", 60000}, {"1MIN", 60000}};
	static const struct
	{
		const char *text;
		int64_t bytes;
	} sizes[] = {{"4096", 4096}, {"8kB", 8192}, {"1GB", INT64_C(1) << 30}, {"2 MB", INT64_C(2) << 20}};

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
	{
		assert_true(option_set(table, &target, "flush_interval", times[i].text, &err));
		assert_int_equal(target.flush_interval_ms, times[i].ms);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		assert_true(option_set(table, &target, "segment_size", sizes[i].text, &err));
		assert_int_equal(target.segment_bytes, sizes[i].bytes);
	}
	assert_true(option_set(table, &target, "enabled", "NO", &err));
	assert_false(target.enabled);
	assert_true(option_set(table, &target, "format", "pb", &err));
	assert_int_equal(target.format, 2);
}

static void
wrong_values_say_what_is_right(void **state)
{
	refused(
		"flush_interval", "10 parsecs", "invalid value for \"flush_interval\": \"10 parsecs\"",
		"A time is a whole number followed by ms, s, min, h or d; without a unit it counts milliseconds.");
	refused("flush_interval", "2h", "\"2h\" is out of range for \"flush_interval\"",
			"It must be between 0 and 1min.");
	refused("segment_size", "1kB", "\"1kB\" is out of range for \"segment_size\"",
			"It must be at least 4kB.");
	refused("segment_size", "9999999999999GB", "invalid value for \"segment_size\": \"9999999999999GB\"",
			"A size is a whole number followed by B, kB, MB or GB; without a unit it counts bytes.");
	refused("flush_rows", "", "invalid value for \"flush_rows\": \"\"", "It must be a whole number.");
	refused("flush_rows", "1.5", "invalid value for \"flush_rows\": \"1.5\"", "It must be a whole number.");
	refused("flush_rows", "99999999999999999999",
			"invalid value for \"flush_rows\": \"99999999999999999999\"", "It must be a whole number.");
	refused("enabled", "maybe", "invalid value for \"enabled\": \"maybe\"", "It must be on or off.");
	refused("format", "xml", "invalid value for \"format\": \"xml\"", "It must be text, json or pb.");
	assert_int_equal(target.rows, 10000); /* what is refused changes nothing */
}

static void
unknown_keys_name_the_nearest(void **state)
{
	refused("flush_row", "1", "unknown key \"flush_row\"", "Did you mean \"flush_rows\"?");
	refused("fromat", "1", "unknown key \"fromat\"", "Did you mean \"format\"?");
	refused("xyzzy", "1", "unknown key \"xyzzy\"",
			"Known keys are: path, note, enabled, flush_rows, segment_size, flush_interval, format.");
}

static void
distance_counts_edits(void **state)
{
	assert_int_equal(option_distance("", ""), 0);
	assert_int_equal(option_distance("abc", ""), 3);
	assert_int_equal(option_distance("kitten", "sitting"), 3);
	assert_int_equal(option_distance("flush_rows", "flush_rows"), 0);
}

static void
required_keys_are_asked_for(void **state)
{
	assert_false(option_missing(table, &target, &err));
	assert_string_equal(err.message, "key \"path\" must be given");
	assert_true(option_set(table, &target, "path", "/a", &err));
	assert_true(option_set(table, &target, "path", "/b", &err)); /* the first is freed */
	assert_string_equal(target.path, "/b");
	assert_true(option_missing(table, &target, &err));
}

static void
help_has_one_line_per_key(void **state)
{
	Buffer out = {0};
	int lines = 0;

	option_help(table, &out);
	for (size_t i = 0; i < out.len; i++)
		lines += out.data[i] == '\n';
	assert_int_equal(lines, 7);
	buffer_append_byte(&out, '\0');
	assert_non_null(strstr((char *) out.data, "of lines: text, json or pb (default json)\n"));
	assert_non_null(strstr((char *) out.data, "where it goes (required)\n"));
	assert_non_null(strstr((char *) out.data, "age of a batch (default 100ms, reloadable)\n"));
	buffer_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(defaults_are_parsed_like_values, setup, teardown),
		cmocka_unit_test_setup_teardown(units_are_understood, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_values_say_what_is_right, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_keys_name_the_nearest, setup, teardown),
		cmocka_unit_test(distance_counts_edits),
		cmocka_unit_test_setup_teardown(required_keys_are_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(help_has_one_line_per_key, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
