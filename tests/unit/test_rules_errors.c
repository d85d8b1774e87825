/*
 * test_rules_errors.c -- what the compiler refuses, where it says so, and what it suggests; the
 * limits that keep a definition's cost known.
 */
#include "test_rules_support.h"

typedef struct Refused
{
	const char *text;
	int line;
	int column;
	const char *message; /* a part of it */
	const char *hint;	 /* a part of it; NULL: whatever */
} Refused;

static void
expect_refused(const Refused *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		const Refused *c = &cases[i];
		RuleError error = compile_error(c->text);

		if (error.line != c->line || error.column != c->column || strstr(error.message, c->message) == NULL ||
			(c->hint != NULL && strstr(error.hint, c->hint) == NULL))
			fail_msg("%s\n  got      %d:%d %s | %s\n  expected %d:%d %s | %s", c->text, error.line,
					 error.column, error.message, error.hint, c->line, c->column, c->message,
					 c->hint ? c->hint : "");
	}
}

#define EXPECT_REFUSED(cases) expect_refused((cases), sizeof(cases) / sizeof((cases)[0]))

static void
errors_name_line_column_and_what_was_expected(void **state)
{
	static const Refused cases[] = {
		{"", 1, 1, "no term", "A term is a line"},
		{"# nothing\n", 1, 1, "no term", NULL},
		{"where true", 1, 1, "no term", NULL},
		{"term", 1, 5, "expected the name of the term, but the definition ends here", NULL},
		{"term a\n", 1, 7, "expected an attribute, a function or a number, but the line ends here", NULL},
		{"term a 1 +\n", 1, 11, "expected an attribute, a function or a number", NULL},
		{"term a 1\n\n  term b weight x 1", 3, 17, "expected a number, not \"x\"", NULL},
		{"term a 0.6 log1p(x)", 1, 12, "expected weight, when, missing, on_error", NULL},
		{"term a (1 + 2\nterm b 1", 2, 1, "expected \")\", not \"term\"", "opened in line 1, column 8"},
		{"term a log1p(x\nterm b 1", 2, 1, "expected \",\" or \")\"", "opened in line 1, column 13"},
		{"term a 1)", 1, 9, "not \")\"", NULL},
		{"term \xc3\xa9t\xc3\xa9 weight 1 x ? 1", 1, 21, "unexpected character \"?\"",
		 NULL}, /* characters, not bytes */
		{"term a 'x", 1, 8, "not closed", NULL},
		{"term a \"x\n\"", 1, 8, "not closed", NULL},
		{"term a \"\"", 1, 8, "empty", NULL},
		{"term a x\x01", 1, 9, "0x01", NULL},
		{"term a 'x\x02'", 1, 10, "0x02", NULL},
		{"term a 1.x", 1, 9, "expected a digit", NULL},
		{"term a .5", 1, 8, "expected an attribute, a function or a number", NULL},
		{"term a 1e999", 1, 8, "outside the range", NULL},
		{"term a 1e-999", 1, 8, "outside the range", NULL},
		{"term a 7w", 1, 9, "not a unit of time", "30s, 5min, 12h, 7d"},
		{"term a 1 ; term b 2", 1, 10, "expected the end of the line", "one line"},
		{"term a x == 1", 1, 10, "\"==\"", "one \"=\""},
		{"term a x ^ 2", 1, 10, "unexpected character \"^\"", "pow(x, p)"},
		{"where a && b", 1, 9, "unexpected character \"&\"", "and, or, not"},
		{"where a < b < c\nterm t 1", 1, 13, "two sides", "a < b and b < c"},
		{"where a not b\nterm t 1", 1, 13, "expected in, between, like or prefix", NULL},
		{"term a x.y.z", 1, 11, "not deeper", NULL},
		{"term a x.1", 1, 10, "expected the name of a key", NULL},
		{"term a x. 1", 1, 11, "expected the name of a key", NULL},
		{"term a weight", 1, 14, "expected a number", NULL},
		{"term a when + 1", 1, 8, "not \"when\"", "double quotes"},
		{"where x in y + 1\nterm t 1", 1, 14, "not \"+\"", NULL},
		{"where x in ()\nterm t 1", 1, 13, "expected a number", NULL},
		{"where x in ('a', 1)\nterm t 1", 1, 18, "same kind as the first", NULL},
		{"where x in (1, 'a')\nterm t 1", 1, 16, "same kind as the first", NULL},
		{"where x in (a)\nterm t 1", 1, 13, "expected a text", "'a'"},
		{"where x in ('a'\n'b')\nterm t 1", 2, 1, "\",\" or \")\"", NULL},
		{"clamp 1\nterm t 1", 1, 8, "expected \"..\"", NULL},
		{"clamp 2 .. 1\nterm t 1", 1, 7, "above the upper one", NULL},
		{"round 0\nterm t 1", 1, 7, "greater than 0", NULL},
		{"round -1\nterm t 1", 1, 7, "greater than 0", NULL},
		{"round 1 2\nterm t 1", 1, 9, "expected the end of the line", NULL},
	};

	EXPECT_REFUSED(cases);
}

static void
misspelt_words_meet_the_nearest_known_one(void **state)
{
	static const Refused cases[] = {
		{"trem a 1", 1, 1, "expected where, term, boost", "\"term\""},
		{"TERM a 1", 1, 1, "expected where, term", "\"term\""},
		{"wehre a = 1\nterm a 1", 1, 1, "expected where", "\"where\""},
		{"onerror skip", 1, 1, "expected where", "\"on_error\""},
		{"blah 1", 1, 1, "expected where", ""},
		{"term a 1 wieght 2", 1, 10, "expected weight", "\"weight\""},
		{"term a x mising 0", 1, 10, "missing", "\"missing\""},
		{"boost 1 wen x", 1, 9, "expected when", "\"when\""},
		{"term a log1(x)", 1, 8, "unknown function \"log1\"", "log1p(x, f = 1)"},
		{"term a staurate(x, 1)", 1, 8, "unknown function", NULL},
		{"term a saturatoin(x, 1)", 1, 8, "unknown function", "saturation(x, p)"},
		{"term a halflife(x, 1)", 1, 8, "unknown function", "half_life(d, h, floor = 0)"},
		{"term a zzz(x)", 1, 8, "unknown function", "Functions are abs"},
		{"term a exp_decay(x, 7d, dcay = 0.3)", 1, 25, "no argument \"dcay\"", "\"decay\""},
		{"term a steps(x, [(0, 1)], above = 0)", 1, 27, "no argument \"above\"", "below"},
	};

	EXPECT_REFUSED(cases);
}

static void
words_of_other_languages_meet_ours(void **state)
{
	static const Refused cases[] = {
		{"combine total\nterm t 1", 1, 9, "expected sum, mult, avg, max, min or first", NULL},
		{"combine multiple\nterm t 1", 1, 9, "expected sum, mult", "\"multiply\""},
		{"combine 5\nterm t 1", 1, 9, "expected sum, mult", NULL},
		{"term t x missing quarantine", 1, 18, "expected a number, skip, last known or reject item", NULL},
		{"term t x missing last", 1, 22, "expected \"known\"", NULL},
		{"term t x missing reject it", 1, 25, "expected \"item\"", NULL},
		{"term t x missing rejct item", 1, 18, "expected a number, skip", "\"reject\""},
		{"term t x missing default skip", 1, 26, "expected a number", NULL},
		{"missing quarantine\nterm t 1", 1, 9, "expected a number, skip, last known or reject item", NULL},
		{"term t x on_error ignore", 1, 19, "expected a number, skip or quarantine", NULL},
		{"term t x on_error last known", 1, 19, "expected a number, skip or quarantine", NULL},
		{"term t x on_error quarntine", 1, 19, "expected a number, skip", "\"quarantine\""},
		{"term t count(x)", 1, 8, "there is no function count()", "kept in an attribute"},
		{"term t topk(x, 5)", 1, 8, "there is no function topk()", "kept in an attribute"},
		{"term t if(x > 1, 2, 3)", 1, 8, "no function if()", "flag("},
		{"term t now() - x", 1, 8, "no function now()", "age("},
		{"where x ilike 'a%'\nterm t 1", 1, 9, "not \"ilike\"", "like"},
		{"where x contains 'a'\nterm t 1", 1, 9, "not \"contains\"", "contains(attribute, 'value')"},
		{"where x = null\nterm t 1", 1, 11, "not \"null\"", "x is null"},
		{"where x is 5\nterm t 1", 1, 12, "expected \"null\" or \"not null\"", NULL},
		{"where x is not 5\nterm t 1", 1, 16, "expected \"null\"", NULL},
		{"where x between 1\nterm t 1", 1, 18, "expected \"and\" and the upper bound", NULL},
		{"where x between 1 or 2\nterm t 1", 1, 19, "expected \"and\"", NULL},
		{"where x betwen 1 and 2\nterm t 1", 1, 9, "expected on_error", "\"between\""},
		{"where x like y\nterm t 1", 1, 14, "expected a pattern in single quotes", NULL},
		{"where x prefix 5\nterm t 1", 1, 16, "expected a text in single quotes", NULL},
		{"where x like 'a\\'\nterm t 1", 1, 14, "ends in \"\\\"", "twice"},
		{"pin 1\nterm t 1", 1, 1, "expected where, term", "intervention"},
		{"bury 0.5\nterm t 1", 1, 1, "expected where, term", "intervention"},
		{"min_change -1\nterm t 1", 1, 12, "must not be negative", NULL},
		{"refresh -1\nterm t 1", 1, 9, "refresh must be a time from 0s to 365d", "30s"},
		{"refresh 366d\nterm t 1", 1, 9, "refresh must be a time from 0s to 365d", NULL},
		{"scene home\nterm t 1", 1, 7, "expected the scene's name in single quotes", "scene 'home'"},
		{"scene ''\nterm t 1", 1, 7, "expected the scene's name", NULL},
		{"scene 'a'\nscene 'b'\nterm t 1", 2, 1, "another \"scene\" in line 1", NULL},
		{"tier 1.5\nterm t 1", 1, 6, "a whole number from -4000 to 4000", NULL},
		{"tier 4001\nterm t 1", 1, 6, "a whole number from -4000 to 4000", NULL},
		{"tier 1e300\nterm t 1", 1, 6, "a whole number", NULL},
		{"tier x\nterm t 1", 1, 6, "expected a number", NULL},
		{"tier 1 missing 0\nterm t 1", 1, 8, "does not belong here", NULL},
		{"tier 1 wen x\nterm t 1", 1, 8, "expected when, on_error", "\"when\""},
		{"tier 1 when 5\nterm t 1", 1, 13, "expected a condition", NULL},
		{"tier 1", 1, 1, "no term", NULL},
	};

	EXPECT_REFUSED(cases);
}

static void
wrong_types_and_arguments_are_found_without_an_item(void **state)
{
	static const Refused cases[] = {
		{"term t x > 1", 1, 10, "expected a number, this is a condition", "flag("},
		{"term t 'x'", 1, 8, "expected a number, this is text", NULL},
		{"term t true", 1, 8, "expected a number, this is a condition", NULL},
		{"where x + 1\nterm t 1", 1, 9, "expected a condition, this is a number", "Compare it"},
		{"where 'x'\nterm t 1", 1, 7, "expected a condition, this is text", NULL},
		{"where x > 1 and 2\nterm t 1", 1, 17, "expected a condition", NULL},
		{"where not 2\nterm t 1", 1, 11, "expected a condition", NULL},
		{"where 1 = 'a'\nterm t 1", 1, 11, "a number cannot be compared with text", NULL},
		{"where x + 1 = 'a'\nterm t 1", 1, 15, "a number cannot be compared with text", NULL},
		{"where x > true\nterm t 1", 1, 9, "no order", NULL},
		{"where 1 in ('a')\nterm t 1", 1, 7, "never in this list", NULL},
		{"term t 1 + exists(x)", 1, 12, "this is a condition", NULL},
		{"term t 1 when x * 2", 1, 17, "expected a condition", NULL},
		{"term t log1p()", 1, 8, "lacks its argument \"x\"", "log1p(x, f = 1)"},
		{"term t log1p(1, 2, 3)", 1, 20, "more arguments", NULL},
		{"term t log1p(1, x = 2)", 1, 17, "this argument twice", NULL},
		{"term t log1p(f = 1, 2)", 1, 21, "expects a name", NULL},
		{"term t log1p(x, f = 0)", 1, 17, "\"f\" of log1p() must be greater than 0", NULL},
		{"term t gauss(x, 0)", 1, 17, "\"scale\" of gauss() must be greater than 0", NULL},
		{"term t exp_decay(x, 1, 1)", 1, 24, "between 0 and 1, both excluded", NULL},
		{"term t exp_decay(x, 1, floor = 2)", 1, 24, "between 0 and 1", NULL},
		{"term t saturation(x, -1)", 1, 22, "greater than 0", NULL},
		{"term t max(x)", 1, 8, "at least two", "max(x, y, ...)"},
		{"term t age(x + 1)", 1, 14, "takes the name of an attribute", NULL},
		{"term t flag(exists(1), 1)", 1, 20, "takes the name of an attribute", NULL},
		{"term t steps(x, 1)", 1, 17, "expects a list of steps", "steps(x, [("},
		{"term t steps(x, [(0, 1), (0, 2)])", 1, 27, "must rise", NULL},
		{"term t steps(x, [0, 1])", 1, 18, "expected a pair", NULL},
		{"term t steps(x, [(0 1)])", 1, 21, "expected \",\"", NULL},
		{"term t steps(x, [(0, 1)], below = y)", 1, 27, "written out", NULL},
		{"term t enum(x, {'a': 1, 'b': 2, 'a': 3})", 1, 33, "there twice", NULL},
		{"term t enum(x, {a: 1})", 1, 17, "expected a text", "'a'"},
		{"term t enum(x, {'a' 1})", 1, 21, "expected \":\"", NULL},
		{"term t linear([(0, 1)], 2)", 1, 15, "does not take a table", NULL},
		{"where x between 1 and 'a'\nterm t 1", 1, 23, "a number cannot be compared with text", NULL},
		{"where x between true and false\nterm t 1", 1, 17, "no order", NULL},
		{"where 5 like 'a'\nterm t 1", 1, 7, "only text can be matched, this is a number", NULL},
		{"where x in abs(y)\nterm t 1", 1, 12, "expected a list ('a', 'b')", NULL},
		{"where x in 'a'\nterm t 1", 1, 12, "expected a list", NULL},
		{"term t interp(x, 1)", 1, 18, "expects a list of points", "interp(x, [("},
		{"term t interp(x, [(0, 1), (0, 2)])", 1, 28, "the bounds of interp must rise", "straight"},
		{"term t interp(x, [(-1e308, 1), (1e308, 2)])", 1, 33, "too far apart", NULL},
		{"term t interp(x, [(0, -1e308), (1, 1e308)])", 1, 33, "too far apart", NULL},
		{"term t interp(x, [(0, 1)], below = 0)", 1, 28, "no argument \"below\"", NULL},
		{"term t distance(x, 1, -1)", 1, 23, "\"offset\" of distance() must not be negative", NULL},
		{"term t rate(x, 0)", 1, 16, "\"window\" of rate() must be greater than 0", NULL},
		{"term t delta(x + 1)", 1, 16, "takes the name of an attribute", "delta(attribute)"},
		{"term t delta(old(x))", 1, 14, "takes the name of an attribute", NULL},
		{"term t old(old(x))", 1, 12, "takes the name of an attribute", NULL},
		{"term t 1 when changed(x) + 1 > 0", 1, 15, "expected a number, this is a condition", NULL},
		{"term t len('a')", 1, 12, "takes the name of an attribute", NULL},
		{"term t 1 when contains(x)", 1, 15, "lacks its argument \"v\"", "contains(attribute, 'value')"},
		{"term t 1 when overlap(x, 'a')", 1, 26, "expects a list of values",
		 "overlap(attribute, ['a', 'b'])"},
		{"term t 1 when overlap(x, [('a', 1)])", 1, 27, "expected a number", NULL},
		{"term t overlap(x, ['a'])", 1, 8, "expected a number, this is a condition", NULL},
		{"term t 1\nterm t 2", 2, 6, "another term \"t\" in line 1", NULL},
		{"where a\nwhere b\nterm t 1", 2, 1, "another \"where\" in line 1", "\"and\""},
		{"round 1\nround 2\nterm t 1", 2, 1, "another \"round\"", NULL},
		{"term t 1 missing 0 missing 1", 1, 20, "given twice", NULL},
		{"term t weight 1 x weight 2", 1, 19, "given twice", NULL},
		{"boost 1 weight 2", 1, 9, "does not belong here", NULL},
		{"where a missing 0\nterm t 1", 1, 9, "does not belong here", NULL},
	};

	EXPECT_REFUSED(cases);
}

static void
text_that_is_not_utf8_is_refused_where_it_is(void **state)
{
	static const char *const bad[] = {"\x80",		  "\xc0\xaf",		  "\xc3", "\xe0\x80\x80",
									  "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char text[60];
		RuleError error;

		snprintf(text, sizeof(text), "term t 1\n# \xc3\xa9 %s", bad[i]);
		error = compile_error(text);
		assert_int_equal(error.line, 2);
		assert_int_equal(error.column, 5);
		assert_non_null(strstr(error.message, "not UTF-8"));
	}
	compile("term \"\xf0\x9f\x98\x80\" 1 # \xe2\x82\xac");
	{
		RuleError error;

		assert_null(rules_compile("term t 1\0", 9, &memory, &error));
		assert_int_equal(error.column, 9);
	}
}

static void
long_names_are_cut_between_characters(void **state)
{
	char text[3000] = "term a ";
	RuleError error;

	for (int shift = 0; shift < 4; shift++)
	{
		strcpy(text, "term a ");
		for (int i = 0; i < shift; i++)
			strcat(text, "x");
		for (int i = 0; i < 300; i++)
			strcat(text, "\xe2\x82\xac");
		strcat(text, "(1)");
		error = compile_error(text);
		/* what was cut is still UTF-8: the compiler itself takes it as a comment */
		snprintf(text, sizeof(text), "# %s\n# %s\nterm a 1", error.message, error.hint);
		compile(text);
	}
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* text = begin, n times middle, end */
static char *
repeated(const char *begin, const char *middle, int n, const char *end)
{
	char *text = malloc(strlen(begin) + (size_t) n * strlen(middle) + strlen(end) + 1);
	char *at = stpcpy(text, begin);

	for (int i = 0; i < n; i++)
		at = stpcpy(at, middle);
	strcpy(at, end);
	return text;
}

static void
expect_limit(char *text, const char *message)
{
	RuleError error = compile_error(text);

	if (strstr(error.message, message) == NULL)
		fail_msg("%d:%d %s, expected %s", error.line, error.column, error.message, message);
	free(text);
}

static void
expect_accepted(char *text)
{
	compile(text);
	free(text);
}

static void
nesting_is_limited(void **state)
{
	expect_limit(repeated("term t ", "(", 60000, "1"), "nested deeper than 32");
	expect_limit(repeated("term t ", "-", 60000, "1"), "nested deeper than 32");
	expect_limit(repeated("where ", "not ", 15000, "a"), "nested deeper than 32");
	expect_limit(repeated("term t ", "abs(", 15000, "1"), "nested deeper than 32");
	expect_limit(repeated("term t ", "flag(a or b and not (", 3000, "1"), "nested deeper than 32");
	expect_accepted(repeated("term t (((((((((((((((((((((((((((((((1", ")", 31, ""));
	expect_accepted(repeated("term t ((((((((((((((((1 + -(((((((((2)", ")", 24, ""));
}

static void
size_is_limited(void **state)
{
	RuleError error;
	char *text = repeated("term t 1", " ", RULES_TEXT_BYTES_MAX - 8, "");

	assert_int_equal(strlen(text), RULES_TEXT_BYTES_MAX);
	assert_non_null(rules_compile(text, strlen(text), &memory, &error));
	free(text);
	text = repeated("term t 1", " ", RULES_TEXT_BYTES_MAX - 7, "");
	assert_null(rules_compile(text, strlen(text), &memory, &error));
	assert_non_null(strstr(error.message, "longer than 65536 bytes"));
	free(text);
	/* a hundred thousand statements are refused before they are read */
	text = repeated("", "boost 1\n", 100000, "");
	assert_null(rules_compile(text, strlen(text), &memory, &error));
	assert_non_null(strstr(error.message, "longer than 65536 bytes"));
	free(text);

	expect_accepted(repeated("", "boost 1\n", RULES_STATEMENTS_MAX, ""));
	expect_limit(repeated("", "boost 1\n", RULES_STATEMENTS_MAX + 1, ""), "more than 256 statements");
	expect_accepted(repeated("where x in (1", ", 1", RULES_TABLE_MAX - 1, ")\nterm t 1"));
	expect_limit(repeated("where x in (1", ", 1", RULES_TABLE_MAX, ")\nterm t 1"), "more than 256 entries");
	expect_limit(repeated("term t 1", "+x", RULES_PROGRAM_MAX, ""), "more than 8192 operations");
}

static void
long_chains_are_flat(void **state)
{
	char *text = repeated("term t 1", "+1", 3999, "\nround 1");
	RuleResult result;

	result = evaluate_at(text, NULL, 0, 0);
	expect_score("a sum of 4,000 ones", result, 4000);
	free(text);
	text = repeated("where true", " and x", 2000, "\nterm t 1");
	assert_int_equal(evaluate_at(text, (Given[]){{"x", BOOL(true)}}, 1, 0).outcome, RULE_SCORE);
	free(text);
}

static void
attributes_are_limited(void **state)
{
	char text[4000] = "term t 0";

	for (int i = 0; i < RULES_ATTRIBUTES_MAX; i++)
		snprintf(text + strlen(text), 20, " + a%d", i);
	compile(text);
	strcat(text, " + one_more");
	assert_non_null(strstr(compile_error(text).message, "more than 128 attributes"));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, arena_reset)
	const struct CMUnitTest tests[] = {
		TEST(errors_name_line_column_and_what_was_expected),
		TEST(misspelt_words_meet_the_nearest_known_one),
		TEST(words_of_other_languages_meet_ours),
		TEST(wrong_types_and_arguments_are_found_without_an_item),
		TEST(text_that_is_not_utf8_is_refused_where_it_is),
		TEST(long_names_are_cut_between_characters),
		TEST(nesting_is_limited),
		TEST(size_is_limited),
		TEST(long_chains_are_flat),
		TEST(attributes_are_limited),
	};

	return cmocka_run_group_tests_name("rules: errors", tests, NULL, NULL);
}
