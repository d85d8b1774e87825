/*
 * test_rules_names.c -- const, let, macro, and libraries of them: what they stand for, what they may
 * cost, and where their errors are said to be.
 */
#include "test_rules_support.h"

#include <math.h>

/* ---- names ----------------------------------------------------------------------------------- */

static void
names_stand_for_what_is_above(void **state)
{
	EXPECT_SCORE(12, "const A = 5\nconst B = -A\nlet c = A + x\nterm t c - B", {"x", NUMBER(2)});
	EXPECT_SCORE(604800, "const WEEK = 7d\nterm t WEEK", NOTHING);
	EXPECT_SCORE(0.5, "const WEEK = 7d\nterm t exp_decay(x, WEEK)", {"x", NUMBER(604800)});
	EXPECT_SCORE(10, "let a = x * 2\nlet b = a + a\nmacro m(y) = y + 2\nterm t m(b)", {"x", NUMBER(2)});
	/* what a name stands for is one operand */
	EXPECT_SCORE(9, "let s = 1 + 2\nterm t s * 3", NOTHING);
	EXPECT_SCORE(9, "macro times(a, b) = a * b\nterm t times(1 + 2, 2 + 1)", NOTHING);
	EXPECT_SCORE(-3, "let s = 1 + 2\nterm t -s", NOTHING);
	EXPECT_SCORE(6, "let s = 1 + 2\nterm t 9 - s", NOTHING);
	EXPECT_SCORE(1, "let ok = x > 1 and x < 3\nterm t 1 when ok and not (ok and false)", {"x", NUMBER(2)});
	EXPECT_OUTSIDE("let ok = x > 1\nwhere not ok\nterm t 1", {"x", NUMBER(2)});
	/* the same text may be used often, and differently */
	EXPECT_SCORE(13, "macro s(x, d) = steps(x, [(5, 1)], below = d)\nterm t s(1, 4) + s(1, 8) + s(6, 2)",
				 NOTHING);
	EXPECT_SCORE(7,
				 "macro or_else(a, d) = flag(exists(a), a, else = d)\nterm t or_else(x, 5) + or_else(y, 3)",
				 {"x", NUMBER(4)});
	/* arguments of a macro may be what the function inside wants: attributes, conditions, lists */
	EXPECT_SCORE(60, "macro fresh(a) = age(a)\nterm t fresh(w)", {"w", TIME(-60000000)});
	EXPECT_SCORE(2, "macro count_if(c) = flag(c, 2)\nterm t count_if(x > 1)", {"x", NUMBER(2)});
	EXPECT_SCORE(3, "macro twice(a) = a + a\nmacro more(a) = twice(a) + 1\nterm t more(more(0))", NOTHING);
}

static void
quotes_and_points_mean_attributes(void **state)
{
	EXPECT_SCORE(7, "let price = 5\nterm t \"price\"", {"price", NUMBER(7)});
	EXPECT_SCORE(5, "let price = 5\nterm t price", {"price", NUMBER(7)});
	EXPECT_SCORE(7, "let price = 5\nterm t price.price", {"price", NUMBER(7)});
	EXPECT_SCORE(12, "macro m(price) = price + \"price\"\nterm t m(5)", {"price", NUMBER(7)});
	/* below their statement only */
	EXPECT_SCORE(7, "term t price\nlet price = 5", {"price", NUMBER(7)});
}

static void
constants_stand_wherever_a_number_is_written(void **state)
{
	EXPECT_SCORE(6, "const W = 2\nterm t weight W 3", NOTHING);
	EXPECT_SCORE(6, "const W = 2\nterm t 3 weight +W", NOTHING);
	EXPECT_SCORE(2, "const W = 2\nterm t 3\nclamp 0 .. W", NOTHING);
	EXPECT_SCORE(4, "const W = 2\nterm t 3\nround W", NOTHING);
	EXPECT_SCORE(2, "const W = 2\nterm t steps(x, [(-W, 1), (W, W)], below = W)", {"x", NUMBER(2)});
	EXPECT_SCORE(5, "const W = 2\nterm t enum(x, {W: 5, 3: W}, else = W)", {"x", NUMBER(2)});
	EXPECT_SCORE(1, "const W = 2\nterm t 1 when x in (W, 3) and x between W and W", {"x", NUMBER(2)});
	EXPECT_SCORE(2, "const W = 2\nterm t x missing W", NOTHING);
	EXPECT_SCORE(2, "const W = 2\nterm t 1 / 0 on_error default W", NOTHING);
	assert_int_equal(EVALUATE("const W = 2\nterm t 1\ntier -W", NOTHING).tier, -2);
	assert_true(rules_min_change(compile("const W = 2\nterm t 1\nmin_change W")) == 2);
}

static void
unused_names_cost_nothing_but_must_be_right(void **state)
{
	RuleError error = compile_error("let a = log1p('x')\nterm t 1");
	const RuleAttribute *attributes;

	assert_int_equal(rules_attributes(compile("let a = x\nmacro m(y) = y + z\nterm t 1"), &attributes), 0);
	assert_int_equal(error.line, 1);
	assert_int_equal(error.column, 15);
	assert_string_equal(error.message, "expected a number, this is text");
	error = compile_error("term t 1\nmacro m(a) = a + exists(a)");
	assert_int_equal(error.line, 2);
	assert_int_equal(error.column, 18);
}

/* Line and column of the use; the message ends in the place inside what was used. */
static void
errors_name_the_use_and_the_definition(void **state)
{
	RuleError error = compile_error("let ok = x > 1\nterm t 1 + ok");

	assert_int_equal(error.line, 2);
	assert_int_equal(error.column, 12);
	assert_string_equal(error.message,
						"expected a number, this is a condition (in \"ok\", line 1, column 12)");
	assert_non_null(strstr(error.hint, "flag("));

	/* an argument is to blame: it is where it is written */
	error = compile_error("macro m(a) = log1p(a)\nterm t m('x')");
	assert_int_equal(error.line, 2);
	assert_int_equal(error.column, 10);
	assert_string_equal(error.message, "expected a number, this is text");

	error = compile_error("macro m(a) = age(a)\nlet n = m(x + 1)\nterm t n");
	assert_int_equal(error.line, 3);
	assert_int_equal(error.column, 8);
	assert_string_equal(error.message, "age() takes the name of an attribute (in \"n\", line 2, column 13)");
	error = compile_error("macro s(a) = gauss(x, a)\nmacro r(b) = s(b)\nterm t r(0)");
	assert_int_equal(error.line, 3);
	assert_int_equal(error.column, 10);
	assert_string_equal(error.message, "argument \"scale\" of gauss() must be greater than 0");

	/* the outermost use, the innermost place */
	error = compile_error("macro m(a) = 1 + a\nmacro n(a) = m(a)\nlet k = x = 2\nterm t n(k)");
	assert_int_equal(error.line, 4);
	assert_int_equal(error.column, 10);
	assert_string_equal(error.message,
						"expected a number, this is a condition (in \"k\", line 3, column 11)");
}

typedef struct Refused
{
	const char *text;
	int line;
	int column;
	const char *message;
	const char *hint;
} Refused;

static void
expect_refused(const Refused *c, RuleError error)
{
	if (error.line != c->line || error.column != c->column || strstr(error.message, c->message) == NULL ||
		(c->hint != NULL && strstr(error.hint, c->hint) == NULL))
		fail_msg("%s\n  got      %d:%d %s | %s\n  expected %d:%d %s | %s", c->text, error.line, error.column,
				 error.message, error.hint, c->line, c->column, c->message, c->hint ? c->hint : "");
}

static void
names_are_refused_where_they_would_confuse(void **state)
{
	static const Refused cases[] = {
		{"const 5 = 5\nterm t 1", 1, 7, "expected the name of the constant", NULL},
		{"const \"a\" = 5\nterm t 1", 1, 7, "expected the name of the constant", "always an attribute's"},
		{"const a 5\nterm t 1", 1, 9, "expected \"=\" and a number", NULL},
		{"const a = x\nterm t 1", 1, 11, "expected a number", NULL},
		{"const a = 1 + 1\nterm t 1", 1, 13, "expected the end of the line", NULL},
		{"const a = 1\nconst a = 2\nterm t 1", 2, 7, "\"a\" has a meaning already, from line 1", NULL},
		{"let a = 1\nmacro a(b) = 2\nterm t 1", 2, 7, "\"a\" has a meaning already, from line 1", NULL},
		{"let age = 1\nterm t 1", 1, 5, "\"age\" is a function", NULL},
		{"let when = 1\nterm t 1", 1, 5, "expected the name of the expression", NULL},
		{"const skip = 1\nterm t 1", 1, 7, "expected the name of the constant", NULL},
		{"let a(b) = 1\nterm t 1", 1, 6, "expected \"=\"", "it is a macro"},
		{"macro a = 1\nterm t 1", 1, 9, "expected \"(\"", "it is: let"},
		{"macro a() = 1\nterm t 1", 1, 9, "expected the name of a parameter", NULL},
		{"macro a(b c) = 1\nterm t 1", 1, 11, "expected \",\" or \")\"", NULL},
		{"macro a(b, b) = 1\nterm t 1", 1, 12, "another parameter \"b\"", NULL},
		{"let b = 1\nmacro a(b) = 1\nterm t 1", 2, 9, "\"b\" has a meaning already", NULL},
		{"macro a(a1, a2, a3, a4, a5, a6, a7, a8, a9) = 1\nterm t 1", 1, 41, "more than 8 parameters", NULL},
		{"macro m(a, b) = a + b\nterm t m(1)", 2, 8, "macro m() takes 2 arguments, not 1", "m(a, b)"},
		{"macro m(a) = a\nterm t m(1, 2)", 2, 8, "macro m() takes 1 argument, not 2", "m(a)"},
		{"macro m(a) = a\nterm t m", 2, 9, "expected \"(\" and the arguments", "m(a)"},
		{"macro m(a) = a\nterm t m(a = 1)", 2, 12, "expected a number, this is a condition", NULL},
		{"let a = 1\nterm t a(1)", 2, 8, "\"a\" stands for an expression and takes no arguments", NULL},
		{"const a = 1\nterm t a(1)", 2, 8, "\"a\" stands for a number and takes no arguments", NULL},
		{"macro newness(a) = a\nterm t newnes(1)", 2, 8, "unknown function \"newnes\"", "macro \"newness\""},
		/* nothing is known above its statement, nor to itself */
		{"macro m(a) = m(a)\nterm t 1", 1, 14, "unknown function", NULL},
		{"macro m(a) = n(a)\nmacro n(a) = m(a)\nterm t 1", 1, 14, "unknown function", NULL},
		{"term t m(1)\nmacro m(a) = a", 1, 8, "unknown function", NULL},
		{"let k = 5\nterm t gauss(x, 1, decay = k)", 2, 20, "between 0 and 1", NULL},
		{"let k = x\nterm t steps(x, [(0, 1)], below = k)", 2, 27, "written out", NULL},
		{"let k = 5\nterm t weight k 1", 2, 15, "expected a number", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_refused(&cases[i], compile_error(cases[i].text));
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* A definition of n lines, each `format` with the numbers of the line and of the one above. */
static char *
ladder(const char *first, const char *format, int n, const char *last)
{
	char *text = malloc((size_t) n * (strlen(format) + 30) + strlen(first) + strlen(last) + 1);
	char *at = stpcpy(text, first);

	for (int i = 1; i <= n; i++)
		at += sprintf(at, format, i, i - 1, i - 1);
	strcpy(at, last);
	return text;
}

static void
what_multiplies_is_counted_where_it_is_used(void **state)
{
	RuleError error;
	char *text = ladder("let a0 = x\n", "let a%d = a%d + a%d\n", 60, "term t a60");

	error = compile_error(text);
	assert_non_null(strstr(error.message, "more than 8192 operations"));
	free(text);
	text = ladder("macro a0(x) = x + 1\n", "macro a%d(x) = a%d(a%d(x))\n", 60, "term t a60(1)");
	error = compile_error(text);
	assert_true(strstr(error.message, "more than 8192 operations") != NULL ||
				strstr(error.message, "nested deeper than 32") != NULL);
	free(text);
	text = ladder("let a0 = 1\n", "let a%d = a%d + a%d\n", 10, "term t a10\nround 1");
	expect_score("1024 ones", EVALUATE(text, NOTHING), 1024);
	free(text);
}

static void
depth_is_limited_across_names(void **state)
{
	char *text = ladder("let a0 = x\n", "let a%d = abs(a%d)\n", 40, "term t a40");

	assert_non_null(strstr(compile_error(text).message, "nested deeper than 32"));
	free(text);
	text = ladder("let a0 = x\n", "let a%d = abs(a%d)\n", 12, "term t a12");
	expect_score("12 deep", EVALUATE(text, {"x", NUMBER(-3)}), 3);
	free(text);
	/* a chain of other names for one thing is not deep */
	text = ladder("let a0 = x\n", "let a%d = a%d\n", 200, "term t a200");
	expect_score("200 names", EVALUATE(text, {"x", NUMBER(-3)}), -3);
	free(text);
	text = ladder("", "const a%d = %d\n", RULES_NAMES_MAX, "term t 1");
	assert_non_null(strstr(compile_error(text).message, "more than 256 statements"));
	free(text);
}

/* ---- libraries ------------------------------------------------------------------------------- */

static const struct
{
	const char *name;
	const char *text;
} shelf[] = {
	{"shop",
	 "# what a shop knows\nconst VAT = 0.19\nmacro gross(net) = net * (1 + VAT)\nlet cheap = price < 10\n"},
	{"more", "const TEN = 10\nlet near = distance(price, TEN)\n"},
	{"broken", "const A = 1\nmacro m(a) = a + 'x'\n"},
	{"torn", "const A = 1\nconst B =\n"},
	{"scored", "term t 1\n"},
	{"nested", "use shop\nconst Z = 1\n"},
	{"clash", "const VAT = 0.2\n"},
	{"bytes", "const A = 1 # \xff\n"},
	{"b-1_x", "const B1 = 4\n"},
	{"empty", ""},
};

static bool
shelf_find(void *context, Slice name, Slice *text)
{
	static char copy[200]; /* gone with the next one: texts are copied */

	++*(int *) context;
	for (size_t i = 0; i < sizeof(shelf) / sizeof(shelf[0]); i++)
		if (slice_equal(name, slice_string(shelf[i].name)))
		{
			*text = slice_string(strcpy(copy, shelf[i].text));
			return true;
		}
	return false;
}

static RuleProgram *
compile_with(const char *text, RuleError *error)
{
	int calls = 0;
	RuleLibrary library = {shelf_find, &calls};

	return rules_compile_with(text, strlen(text), &library, &memory, error);
}

static double
library_score(const char *text, double price)
{
	RuleError error;
	RuleProgram *program = compile_with(text, &error);
	RuleValue value = NUMBER(price);
	RuleResult result;

	if (program == NULL)
		fail_msg("%s: %d:%d %s | %s", text, error.line, error.column, error.message, error.hint);
	rules_evaluate(program, &(RuleInput){.values = &value}, &result);
	assert_int_equal(result.outcome, RULE_SCORE);
	return result.score;
}

static void
libraries_lend_their_names(void **state)
{
	assert_true(library_score("use shop\nterm t gross(100)", 0) == 119);
	assert_true(library_score("# first\n\nuse shop\nuse more\nterm t flag(cheap, near, else = VAT)", 7) == 3);
	assert_true(library_score("use 'shop'\nuse \"b-1_x\"\nuse empty\nterm t B1", 7) == 4);
	assert_true(library_score("use shop\nlet both = gross(price)\nterm t both", 100) == 119);
}

static void
program_lists_the_libraries_it_used(void **state)
{
	RuleError error;
	RuleProgram *program = compile_with("use shop\nuse more\nterm t 1", &error);
	Slice name;

	assert_true(rules_uses(program, 0, &name) && slice_equal(name, slice_string("shop")));
	assert_true(rules_uses(program, 1, &name) && slice_equal(name, slice_string("more")));
	assert_false(rules_uses(program, 2, &name));
	assert_false(rules_uses(program, -1, &name));
	assert_false(rules_uses(compile("term t 1"), 0, &name));
}

static void
errors_of_libraries_say_so(void **state)
{
	static const Refused cases[] = {
		{"use nothing\nterm t 1", 1, 5, "there is no library \"nothing\"", NULL},
		{"use Shop\nterm t 1", 1, 5, "\"Shop\" is no name of a library", "a-z"},
		{"use 5\nterm t 1", 1, 5, "expected the name of a library", NULL},
		{"use shop\nuse shop\nterm t 1", 2, 5, "library \"shop\" is used already", NULL},
		{"term t 1\nuse shop", 2, 1, "\"use\" stands before all other statements", NULL},
		{"use shop term t 1", 1, 10, "expected the end of the line", NULL},
		{"\n use broken\nterm t 1", 2, 6,
		 "expected a number, this is text (in library \"broken\", line 2, column 18)", NULL},
		{"use torn\nterm t 1", 1, 5, "but the line ends here (in library \"torn\", line 2, column 10)", NULL},
		{"use scored\nterm t 1", 1, 5,
		 "expected const, let or macro, not \"term\" (in library \"scored\", line 1, column 1)", NULL},
		{"use nested\nterm t 1", 1, 5, "not \"use\" (in library \"nested\", line 1, column 1)", NULL},
		{"use bytes\nterm t 1", 1, 5, "0xff is not UTF-8 text (in library \"bytes\", line 1, column 15)",
		 NULL},
		{"use shop\nuse clash\nterm t 1", 2, 5,
		 "\"VAT\" has a meaning already, from library \"shop\" (in library \"clash\", line 1, column 7)",
		 NULL},
		{"use shop\nconst VAT = 1\nterm t 1", 2, 7, "\"VAT\" has a meaning already, from library \"shop\"",
		 NULL},
		{"use shop\nterm t 1 + cheap", 2, 12,
		 "a condition (in \"cheap\" of library \"shop\", line 4, column 19)", NULL},
		{"use shop\nterm t gross('a')", 2, 14, "expected a number, this is text", NULL},
	};
	RuleError error;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		assert_null(compile_with(cases[i].text, &error));
		expect_refused(&cases[i], error);
	}
	error = compile_error("use shop\nterm t 1");
	assert_string_equal(error.message, "library \"shop\" cannot be looked up here");
}

static void
long_names_leave_room_for_the_place(void **state)
{
	char text[1000];
	RuleError error;
	char name[200] = {0};

	memset(name, 'n', sizeof(name) - 1);
	snprintf(text, sizeof(text), "let %s = 1 > 2\nterm t log1p(%s)", name, name);
	error = compile_error(text);
	assert_true(error.message[strlen(error.message) - 1] == ')');
	assert_non_null(strstr(error.message, "\", line 1, column "));
}

static void
libraries_are_limited(void **state)
{
	static char text[RULES_TEXT_BYTES_MAX + 2];
	RuleError error;
	RuleLibrary library;

	memset(text, ' ', RULES_TEXT_BYTES_MAX);
	assert_true(rules_check_library(text, RULES_TEXT_BYTES_MAX, &memory, &error));
	assert_false(rules_check_library(text, RULES_TEXT_BYTES_MAX + 1, &memory, &error));
	assert_non_null(strstr(error.message, "the library is longer than 65536 bytes"));
	(void) library;
	strcpy(text, "");
	for (int i = 0; i <= RULES_NAMES_MAX; i++)
		sprintf(text + strlen(text), "const a%d = 1\n", i);
	assert_false(rules_check_library(text, strlen(text), &memory, &error));
	assert_non_null(strstr(error.message, "the library has more than 256 statements"));
}

static void
a_library_is_checked_by_itself(void **state)
{
	static const struct
	{
		const char *text;
		int line;
		int column;
		const char *message; /* NULL: it is right */
	} cases[] = {{"", 0, 0, NULL},
				 {"# nothing\n\n", 0, 0, NULL},
				 {"const A = 1\nlet b = x + A\nmacro c(d) = age(d) + b", 0, 0, NULL},
				 {"macro m(a, l) = flag(contains(l, a), 1) + steps(a, [(0, 1)], below = a)", 0, 0, NULL},
				 {"term t 1", 1, 1, "expected const, let or macro, not \"term\""},
				 {"use shop", 1, 1, "expected const, let or macro"},
				 {"lte a = 1", 1, 1, "expected const, let or macro"},
				 {"let a = log1p(b, 1, 2)", 1, 21, "more arguments"},
				 {"let a = 1\nlet b = exists(a)", 2, 16, "takes the name of an attribute"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		RuleError error;
		bool ok = rules_check_library(cases[i].text, strlen(cases[i].text), &memory, &error);

		if (ok != (cases[i].message == NULL) ||
			(!ok && (error.line != cases[i].line || error.column != cases[i].column ||
					 strstr(error.message, cases[i].message) == NULL)))
			fail_msg("%s: %d:%d %s", cases[i].text, error.line, error.column,
					 ok ? "accepted" : error.message);
	}
}

static void
a_library_lists_what_it_lends(void **state)
{
	static const char text[] = "const A = 1\nlet b = A\nmacro c(x) = x + b";
	int n;
	const Slice *names = rules_library_names(text, strlen(text), &memory, &n);

	assert_int_equal(n, 3);
	assert_true(slice_equal(names[0], slice_string("A")) && slice_equal(names[1], slice_string("b")) &&
				slice_equal(names[2], slice_string("c")));
	assert_non_null(rules_library_names("", 0, &memory, &n));
	assert_int_equal(n, 0);
	assert_null(rules_library_names("term t 1", 8, &memory, &n));
}

static void
names_of_libraries_are_those_of_rankings(void **state)
{
	char name[RULES_LIBRARY_NAME_MAX + 2];

	memset(name, 'a', sizeof(name));
	assert_true(rules_library_name(slice_make(name, RULES_LIBRARY_NAME_MAX)));
	assert_false(rules_library_name(slice_make(name, RULES_LIBRARY_NAME_MAX + 1)));
	assert_true(rules_library_name(slice_string("a-b_9")));
	assert_false(rules_library_name(slice_string("")));
	assert_false(rules_library_name(slice_string("A")));
	assert_false(rules_library_name(slice_string("a b")));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, arena_reset)
	const struct CMUnitTest tests[] = {
		TEST(names_stand_for_what_is_above),
		TEST(quotes_and_points_mean_attributes),
		TEST(constants_stand_wherever_a_number_is_written),
		TEST(unused_names_cost_nothing_but_must_be_right),
		TEST(errors_name_the_use_and_the_definition),
		TEST(names_are_refused_where_they_would_confuse),
		TEST(what_multiplies_is_counted_where_it_is_used),
		TEST(depth_is_limited_across_names),
		TEST(libraries_lend_their_names),
		TEST(program_lists_the_libraries_it_used),
		TEST(errors_of_libraries_say_so),
		TEST(long_names_leave_room_for_the_place),
		TEST(libraries_are_limited),
		TEST(a_library_is_checked_by_itself),
		TEST(a_library_lists_what_it_lends),
		TEST(names_of_libraries_are_those_of_rankings),
	};

	return cmocka_run_group_tests_name("rules: names", tests, NULL, NULL);
}
