/*
 * test_rules.c -- the scoring language: what a definition means.
 */
#include "test_rules_support.h"

#include <locale.h>
#include <math.h>

/* ---- the whole of a definition --------------------------------------------------------------- */

static const char home[] =
	"# ranking \"home\" over public.item\n"
	"where    status = 'on_sale' and not exists(blocked_by)\n"
	"term     popularity  weight 0.6  log1p(views)                                   missing 0\n"
	"term     freshness   weight 0.3  exp_decay(age(listed_at), 7d)                  missing skip\n"
	"term     price       weight 0.1  steps(price, [(0, 1.0), (100, 0.8), (1000, 0.3)], below = 0)\n"
	"boost    +0.05  when 'verified' in badges\n"
	"factor   1.2    when seller_level >= 4\n"
	"combine  sum\n"
	"clamp    0 .. 10\n"
	"round    0.0001\n"
	"on_error skip\n";

static void
definition_of_the_manual_scores_as_written(void **state)
{
	uint8_t room[100];
	RuleValue badges = text_list(room, (const char *const[]){"new", "verified", NULL});
	Given item[] = {
		{"status", TEXT("on_sale")}, {"views", NUMBER(99)}, {"listed_at", TIME(-INT64_C(7) * 86400000000)},
		{"price", NUMBER(250)},		 {"badges", badges},	{"seller_level", NUMBER(4)}};
	long double expected = (0.6L * logl(100) + 0.3L * 0.5L + 0.1L * 0.8L + 0.05L) * 1.2L;
	RuleResult result = evaluate_at(home, item, 6, 0);

	assert_int_equal(result.outcome, RULE_SCORE);
	assert_true(fabsl(result.score - expected) <= 0.00005L);
	expect_score(home, result, rint(result.score * 10000) / 10000);
	/* without views, time, badges and level: 0.6 * 0 and 0.1 * 0.8 are left */
	expect_score(home, evaluate_at(home, (Given[]){item[0], item[3]}, 2, 0), 0.08);
	assert_int_equal(evaluate_at(home, item + 1, 5, 0).outcome, RULE_OUTSIDE);
}

static void
attributes_are_listed_once_in_order_of_appearance(void **state)
{
	static const char *const expected[] = {"status", "blocked_by", "views",		  "listed_at",
										   "price",	 "badges",	   "seller_level"};
	const RuleAttribute *attributes;
	RuleProgram *program = compile(home);

	assert_int_equal(rules_attributes(program, &attributes), 7);
	for (int i = 0; i < 7; i++)
	{
		assert_true(slice_equal(attributes[i].name, slice_string(expected[i])));
		assert_int_equal(attributes[i].column.len, 0);
	}
	assert_true(rules_use_clock(program));
	program = compile("term a price + att.price + \"odd \"\"name\".x + price when \"weight\" > 1\r\n");
	assert_int_equal(rules_attributes(program, &attributes), 4);
	assert_true(slice_equal(attributes[1].column, slice_string("att")));
	assert_true(slice_equal(attributes[1].name, slice_string("price")));
	assert_true(slice_equal(attributes[2].column, slice_string("odd \"name")));
	assert_true(slice_equal(attributes[3].name, slice_string("weight")));
	assert_false(rules_use_clock(program));
}

static void
program_does_not_depend_on_the_text_after_compiling(void **state)
{
	char text[] = "term t enum(a, {'x': 3}) + steps(b, [(0, 1)])";
	RuleError error;
	RuleProgram *program = rules_compile(text, sizeof(text) - 1, &memory, &error);
	RuleValue values[2] = {TEXT("x"), NUMBER(0)};
	RuleResult result;

	assert_non_null(program);
	memset(text, '!', sizeof(text));
	rules_evaluate(program, &(RuleInput){.values = values, .now_us = 0}, &result);
	expect_score("", result, 4);
}

static void
open_bracket_continues_the_line(void **state)
{
	EXPECT_SCORE(7, "term t (1 # one\n + 2\n * 3)\n\n\n", NOTHING);
	EXPECT_SCORE(2, "term t steps(x, [\n (0, 1),\r\n (5, 2),\n],\n below = 0)\n", {"x", NUMBER(9)});
	EXPECT_SCORE(1, "term t flag(x in (\n'a',\n'b'), 1)", {"x", TEXT("b")});
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

static void
arithmetic_follows_precedence_from_left_to_right(void **state)
{
	EXPECT_SCORE(7, "term t 1 + 2 * 3", NOTHING);
	EXPECT_SCORE(9, "term t (1 + 2) * 3", NOTHING);
	EXPECT_SCORE(-4, "term t 1 - 2 - 3", NOTHING);
	EXPECT_SCORE(1, "term t 12 / 4 / 3", NOTHING);
	EXPECT_SCORE(16, "term t 12 / 3 * 4", NOTHING);
	EXPECT_SCORE(-3, "term t -x", {"x", NUMBER(3)});
	EXPECT_SCORE(5, "term t 2 - -x", {"x", NUMBER(3)});
	EXPECT_SCORE(-6, "term t +x * -2", {"x", NUMBER(3)});
	/* left to right: (1e16 + 1) + 1 loses both, 1e16 + (1 + 1) would not */
	EXPECT_SCORE(1e16, "term t 1e16 + 1 + 1" EXACT, NOTHING);
	EXPECT_SCORE(0.1 + 0.2 + 0.3, "term t 0.1 + 0.2 + 0.3" EXACT, NOTHING);
}

static void
numbers_and_durations_are_read_exactly(void **state)
{
	static const struct
	{
		const char *text;
		double number;
	} cases[] = {{"0", 0},
				 {"12.5", 12.5},
				 {"0.1", 0.1},
				 {"1e3", 1000},
				 {"1.5E-3", 0.0015},
				 {"123456789.123456789", 123456789.123456789},
				 {"9007199254740993", 9007199254740992.0},
				 {"2.2250738585072014e-308", 2.2250738585072014e-308},
				 {"4.9e-324", 4.9e-324},
				 {"1.7976931348623157e308", 1.7976931348623157e308},
				 {"0e99999999999", 0},
				 {"30s", 30},
				 {"5min", 300},
				 {"12h", 43200},
				 {"7d", 604800},
				 {"1.5h", 5400}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[100];

		snprintf(text, sizeof(text), "term t flag(x = %s and -x = -%s, 1)", cases[i].text, cases[i].text);
		EXPECT_SCORE(1, text, {"x", NUMBER(cases[i].number)});
	}
}

/* ---- functions ------------------------------------------------------------------------------- */

static void
expect_near(const char *expression, double x, long double expected, int ulps)
{
	char text[200];
	double nearest = (double) expected;
	RuleResult result;

	snprintf(text, sizeof(text), "term t %s" EXACT, expression);
	result = EVALUATE(text, {"x", NUMBER(x)});
	if (result.outcome != RULE_SCORE)
		fail_msg("%s at %.17g: %s", expression, x, result.reason ? result.reason : "no value");
	if (fabsl(result.score - expected) >
		ulps * (long double) (nextafter(fabs(nearest), INFINITY) - fabs(nearest)))
		fail_msg("%s at %.17g: %.17g, expected %.17Lg", expression, x, result.score, expected);
}

/* Expected values in long double, by another formula where there is one: tolerance in ulps. */
static void
functions_compute_their_formulas(void **state)
{
	static const double xs[] = {0, 1e-9, 0.5, 1, 3, 42.25, 1000, 123456.789};

	for (size_t i = 0; i < sizeof(xs) / sizeof(xs[0]); i++)
	{
		double d = xs[i];
		long double x = d;

		expect_near("linear(x, 2)", d, 2 * x, 0);
		expect_near("linear(x, 0.5, 3)", d, 0.5L * x + 3, 1);
		expect_near("log1p(x)", d, log1pl(x), 1);
		expect_near("log1p(x, f = 0.25)", d, log1pl(x / 4), 1);
		expect_near("log10p(x)", d, log10l((long double) (1 + d)), 2);
		expect_near("ln2p(x)", d, logl(2 + x), 2);
		expect_near("sqrt(x)", d, sqrtl(x), 1);
		expect_near("square(x)", d, x * x, 1);
		expect_near("pow(x, 1.5)", d, x * sqrtl(x), 1);
		expect_near("abs(-x)", d, x, 0);
		expect_near("recip(x, 2, 3, 4)", d, 3 / (2 * x + 4), 2);
		expect_near("saturation(x, 10)", d, x / (x + 10), 1);
		expect_near("inverse(x, 10)", d, 10 / (x + 10), 1);
		expect_near("sigmoid(x, 5, 0.5)", d, sqrtl(x) / (sqrtl(x) + sqrtl(5)), 3);
		expect_near("logistic(x, 0.01, 30)", d, 0.5L + 0.5L * tanhl(0.005L * (x - 30)), 64);
		expect_near("gauss(x, 2000)", d, powl(0.5L, x * x / 4e6L), d > 1e5 ? 20000 : 2);
		expect_near("gauss(x, 2000, decay = 0.8)", d, powl((long double) 0.8, x * x / 4e6L),
					d > 1e5 ? 20000 : 2);
		expect_near("exp_decay(x, 900)", d, powl(2, -x / 900), 128);
		expect_near("exp_decay(x, 900, 0.25)", d, powl(2, -x / 450), 256);
		expect_near("half_life(x, 900)", d, powl(2, -x / 900), 128);
		expect_near("linear_decay(x, 500)", d, fmaxl(1 - x / 1000, 0), 2);
		expect_near("linear_decay(x, 800, decay = 0.1)", d, fmaxl(1 - x / (800 / (1 - (long double) 0.1)), 0),
					8);
		expect_near("exp_decay(x, 900, floor = 0.2)", d,
					(long double) 0.2 + (1 - (long double) 0.2) * powl(2, -x / 900), 64);
		expect_near("clamp(x, 1, 40)", d, d < 1 ? 1 : d > 40 ? 40 : x, 0);
		expect_near("min(x, 7, 3.5)", d, d < 3.5 ? x : 3.5L, 0);
		expect_near("max(0.75, x, 2)", d, d > 2 ? x : 2, 0);
		expect_near("round(x, 0.5)", d, rintl(x * 2) / 2, 0);
	}
}

static void
functions_have_the_landmarks_people_know(void **state)
{
	EXPECT_SCORE(0.5, "term t saturation(x, 10)" EXACT, {"x", NUMBER(10)});
	EXPECT_SCORE(0.5, "term t sigmoid(x, 10, 0.7)" EXACT, {"x", NUMBER(10)});
	EXPECT_SCORE(0.5, "term t gauss(x, 30)" EXACT, {"x", NUMBER(30)});
	EXPECT_SCORE(0.5, "term t exp_decay(x, 7d)" EXACT, {"x", NUMBER(604800)});
	EXPECT_SCORE(0.25, "term t half_life(x, 10)" EXACT, {"x", NUMBER(20)});
	EXPECT_SCORE(0.5, "term t linear_decay(x, 10)" EXACT, {"x", NUMBER(10)});
	EXPECT_SCORE(0, "term t linear_decay(x, 10)" EXACT, {"x", NUMBER(20)});
	EXPECT_SCORE(1, "term t gauss(x, scale = 30, decay = 0.3)" EXACT, {"x", NUMBER(0)});
}

static void
steps_have_inclusive_lower_bounds(void **state)
{
	static const char text[] = "term t steps(x, [(0, 1), (100, 0.5), (1d, 0.25)], below = -2) missing 77";

	EXPECT_SCORE(-2, text, {"x", NUMBER(-0.001)});
	EXPECT_SCORE(1, text, {"x", NUMBER(0)});
	EXPECT_SCORE(1, text, {"x", NUMBER(99.999)});
	EXPECT_SCORE(0.5, text, {"x", NUMBER(100)});
	EXPECT_SCORE(0.25, text, {"x", NUMBER(86400)});
	EXPECT_SCORE(0.25, text, {"x", NUMBER(1e300)});
	EXPECT_SCORE(77, text, NOTHING);
	EXPECT_SCORE(77, "term t steps(x, [(0, 1)]) missing 77", {"x", NUMBER(-1)});
}

static void
interp_goes_straight_from_point_to_point(void **state)
{
	static const char text[] = "term t interp(x, [(0, 10), (4, 20), (6, -10)])" EXACT;
	static const double cases[][2] = {{-1, 10}, {0, 10}, {1, 12.5}, {3, 17.5},
									  {4, 20},	{5, 5},	 {6, -10},	{1e300, -10}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EXPECT_SCORE(cases[i][1], text, {"x", NUMBER(cases[i][0])});
	EXPECT_SCORE(7, "term t interp(x, [(3, 7)])", {"x", NUMBER(99)});
	EXPECT_SCORE(55, "term t interp(x, [(3, 7)]) missing 55", NOTHING);
	/* at a bound it is the bound's value to the bit */
	EXPECT_SCORE(0.3, "term t interp(x, [(0.1, 0.7), (0.2, 0.3), (0.7, 0.1)])" EXACT, {"x", NUMBER(0.2)});
}

static void
distance_is_from_an_origin_and_beyond_an_offset(void **state)
{
	EXPECT_SCORE(3, "term t distance(x, 10)", {"x", NUMBER(7)});
	EXPECT_SCORE(3, "term t distance(x, 10)", {"x", NUMBER(13)});
	EXPECT_SCORE(1, "term t distance(x, 10, offset = 2)", {"x", NUMBER(13)});
	EXPECT_SCORE(0, "term t distance(x, 10, 5)", {"x", NUMBER(13)});
	EXPECT_SCORE(0.5, "term t gauss(distance(price, 100, 20), 50)", {"price", NUMBER(170)});
}

static void
enum_matches_text_numbers_and_bools_exactly(void **state)
{
	static const char text[] = "term t enum(x, {'new': 1, 'used': 0.5, '': 0.25}, else = 0.1)";

	EXPECT_SCORE(1, text, {"x", TEXT("new")});
	EXPECT_SCORE(0.5, text, {"x", TEXT("used")});
	EXPECT_SCORE(0.25, text, {"x", TEXT("")});
	EXPECT_SCORE(0.1, text, {"x", TEXT("New")});
	EXPECT_SCORE(0.1, text, {"x", TEXT("new ")});
	EXPECT_SCORE(8, "term t enum(x, {3: 8, -1: 9})", {"x", NUMBER(3)});
	EXPECT_SCORE(9, "term t enum(x, {3: 8, -1: 9})", {"x", NUMBER(-1)});
	EXPECT_SCORE(5, "term t enum(x, {true: 5, false: 6})", {"x", BOOL(true)});
	EXPECT_SCORE(6, "term t enum(x, {true: 5, false: 6})", {"x", BOOL(false)});
	EXPECT_SCORE(77, "term t enum(x, {3: 8}) missing 77", {"x", NUMBER(4)});
	EXPECT_SCORE(77, "term t enum(x, {3: 8}) on_error 77", {"x", TEXT("3")});
}

static void
flag_chooses_and_computes_only_its_choice(void **state)
{
	EXPECT_SCORE(2, "term t flag(x > 0, 2, else = 3)", {"x", NUMBER(1)});
	EXPECT_SCORE(3, "term t flag(x > 0, 2, else = 3)", {"x", NUMBER(0)});
	EXPECT_SCORE(3, "term t flag(x > 0, 2, 3)", NOTHING);
	EXPECT_SCORE(0, "term t flag(x > 0, 2)", NOTHING);
	EXPECT_SCORE(9, "term t flag(x != 0, 1 / x, 9) on_error quarantine", {"x", NUMBER(0)});
	EXPECT_SCORE(4, "term t flag(status = 'x', 4)", {"status", TEXT("x")});
	EXPECT_SCORE(4, "term t flag(v = 1, 4)", {"v", NUMBER(1)});
	EXPECT_SCORE(12, "term t flag(flag(b, 1) = 1, flag(b, 5, 6), 7) + 7", {"b", BOOL(true)});
	EXPECT_SCORE(1, "term t flag(b, 1)", {"b", BOOL(true)});
}

static void
age_reads_the_value_then_the_own_time(void **state)
{
	RuleValue priced = {.kind = RULE_NUMBER, .number = 3, .has_own_time = true, .own_time_us = -2500000};
	RuleValue gone = {.kind = RULE_MISSING, .has_own_time = true, .own_time_us = -1000000};
	static const char text[] = "term t age(a) missing 77 on_error 88";

	EXPECT_SCORE(1.5, text, {"a", TIME(-1500000)});
	EXPECT_SCORE(0, text, {"a", TIME(1500000)});
	EXPECT_SCORE(0, text, {"a", TIME(INT64_MAX)});
	EXPECT_SCORE(88, text, {"a", TIME(INT64_MIN)});
	EXPECT_SCORE(3600, text, {"a", TEXT("1999-12-31T23:00:00Z")});
	EXPECT_SCORE(77, text, {"a", TEXT("yesterday")});
	EXPECT_SCORE(2.5, text, {"a", priced});
	EXPECT_SCORE(1, text, {"a", gone});
	EXPECT_SCORE(77, text, {"a", NUMBER(3)});
	EXPECT_SCORE(77, text, NOTHING);
	/* the whole range of int64 */
	expect_score(text, evaluate_at("term t age(a)", (Given[]){{"a", TIME(INT64_MIN + 1)}}, 1, INT64_MAX - 1),
				 ((double) INT64_MAX * 2) / 1e6);
}

/* ---- conditions ------------------------------------------------------------------------------ */

static bool
holds(const char *condition, Given a, Given b)
{
	char text[300];
	RuleResult result;

	snprintf(text, sizeof(text), "where %s on_error quarantine\nterm t 1", condition);
	result = evaluate_at(text, (Given[]){a, b}, 2, 0);
	if (result.outcome == RULE_QUARANTINE)
		fail_msg("%s: %s", condition, result.reason);
	return result.outcome == RULE_SCORE;
}

#define GIVEN(...) ((Given){__VA_ARGS__})
#define NONE GIVEN("", {.kind = RULE_MISSING})

static void
comparisons_know_numbers_texts_bools_and_times(void **state)
{
	Given n = GIVEN("n", NUMBER(5));
	Given t = GIVEN("t", TEXT("bb"));
	Given b = GIVEN("b", BOOL(true));
	Given w = GIVEN("w", TIME(0));

	assert_true(holds("n = 5 and n != 4 and n <> 4 and n < 6 and n <= 5 and n > 4 and n >= 5", n, NONE));
	assert_false(holds("n = 4 or n != 5 or n < 5 or n <= 4 or n > 5 or n >= 6", n, NONE));
	assert_true(holds("t = 'bb' and t > 'b' and t > 'ba' and t < 'bba' and t < 'c' and t != 'BB'", t, NONE));
	assert_true(holds("t < 'bb\xc3\xa9' and t >= 'Z'", t, NONE)); /* bytes, not the order of a locale */
	assert_true(holds("b = true and b != false and b", b, NONE));
	assert_true(holds(
		"w = '2000-01-01' and w > '1999-12-31T23:59:59.999999Z' and w < '2000-01-01 00:00:00-01'", w, NONE));
	assert_true(holds("'2000-01-02' > w and w in ('1999-01-01', '2000-01-01')", w, NONE));
	assert_true(holds("w = t", w, GIVEN("t", TEXT("2000-01-01T00:00:00Z"))));
	assert_true(holds("1 + 1 = n - 3 and (n > 1) = true", n, NONE));
	assert_true(holds("t = 'it''s'", GIVEN("t", TEXT("it's")), NONE));
}

static void
in_searches_tables_and_list_attributes(void **state)
{
	uint8_t room[100];
	Given badges = GIVEN("badges", text_list(room, (const char *const[]){"new", "verified", NULL}));
	Given empty = GIVEN("badges", {.kind = RULE_LIST, .bytes = slice_make(room, 0)});
	/* [7, 2.5, true, null] */
	static const uint8_t mixed[] = {10, 2, 24, 14, 10, 9,  33, 0,  0, 0, 0, 0,
									0,	4, 64, 10, 2,  16, 1,  10, 2, 8, 1};
	Given list = GIVEN("l", {.kind = RULE_LIST, .bytes = slice_make(mixed, sizeof(mixed))});
	Given x = GIVEN("x", TEXT("b"));
	Given n = GIVEN("n", NUMBER(-2));

	assert_true(holds("x in ('c', 'b', 'a')", x, NONE));
	assert_false(holds("x in ('c', 'a')", x, NONE));
	assert_true(holds("x not in ('c', 'a') and x in ['b']", x, NONE));
	assert_true(holds("n in (3, -2, 1) and n + 1 in (-1)", n, NONE));
	assert_true(holds("b in (true)", GIVEN("b", BOOL(true)), NONE));
	assert_true(holds("'verified' in badges and 'new' in badges and not 'old' in badges", badges, NONE));
	assert_true(holds("'old' not in badges", badges, NONE));
	assert_true(holds("x in badges", badges, GIVEN("x", TEXT("new"))));
	assert_false(holds("'new' in badges", empty, NONE));
	assert_true(holds("'new' not in badges", empty, NONE));
	assert_false(holds("'new' in badges", NONE, NONE));
	assert_false(holds("'new' not in badges", NONE, NONE)); /* unknown */
	assert_true(holds("7 in l and 2.5 in l and true in l", list, NONE));
	assert_true(holds("'7' not in l and false not in l and 8 not in l", list, NONE));
}

/* Kleene's tables: u is missing. */
static void
logic_is_three_valued_and_unknown_is_false_at_the_end(void **state)
{
	static const char *const words[] = {"false", "true", "u = 1"};
	static const int values[] = {0, 2, 1};

	for (int a = 0; a < 3; a++)
	{
		char text[100];

		snprintf(text, sizeof(text), "not (%s)", words[a]);
		assert_int_equal(holds(text, NONE, NONE), values[a] == 0);
		for (int b = 0; b < 3; b++)
		{
			int both = values[a] < values[b] ? values[a] : values[b];
			int either = values[a] > values[b] ? values[a] : values[b];

			snprintf(text, sizeof(text), "%s and %s", words[a], words[b]);
			assert_int_equal(holds(text, NONE, NONE), both == 2);
			snprintf(text, sizeof(text), "not (%s and %s)", words[a], words[b]);
			assert_int_equal(holds(text, NONE, NONE), both == 0);
			snprintf(text, sizeof(text), "%s or %s", words[a], words[b]);
			assert_int_equal(holds(text, NONE, NONE), either == 2);
			snprintf(text, sizeof(text), "not (%s or %s)", words[a], words[b]);
			assert_int_equal(holds(text, NONE, NONE), either == 0);
		}
	}
	assert_true(holds("u = 1 or u = 2 or true and not false", NONE, NONE));
	assert_false(holds("exists(u)", NONE, NONE));
	assert_true(holds("not exists(u)", NONE, NONE));
	assert_true(holds("exists(u)", GIVEN("u", OTHER), NONE));
}

static void
and_or_do_not_compute_what_is_decided(void **state)
{
	assert_false(holds("n != 0 and 1 / n > 0 and 1 / n > 1", GIVEN("n", NUMBER(0)), NONE));
	assert_true(holds("n = 0 or 1 / n > 0 or 2 / n > 0", GIVEN("n", NUMBER(0)), NONE));
	assert_true(
		holds("(n != 0 and 1 / n > 0) or (n = 0 or 1 / n > 2) and n < 1", GIVEN("n", NUMBER(0)), NONE));
}

static void
between_is_two_comparisons(void **state)
{
	static const double edges[] = {0.5, 1, 1.5, 2, 2.5};

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
	{
		Given x = GIVEN("x", NUMBER(edges[i]));

		assert_int_equal(holds("x between 1 and 2", x, NONE), edges[i] >= 1 && edges[i] <= 2);
		assert_int_equal(holds("x not between 1 and 2", x, NONE), edges[i] < 1 || edges[i] > 2);
		assert_int_equal(holds("x + 1 between 2 and 1 + 2 and x != 2", x, NONE),
						 edges[i] >= 1 && edges[i] < 2);
	}
	assert_true(holds("t between 'a' and 'c'", GIVEN("t", TEXT("bb")), NONE));
	assert_true(
		holds("t between '2000-01-01' and '2000-01-02'", GIVEN("t", TIME(INT64_C(86400000000))), NONE));
	assert_false(holds("2 between 3 and 1 or 2 between u and 1", NONE, NONE));
	/* unknown where one side is missing, unless the other decides */
	assert_false(holds("x between u and 2", GIVEN("x", NUMBER(1)), NONE));
	assert_false(holds("x not between u and 2", GIVEN("x", NUMBER(1)), NONE));
	assert_true(holds("x not between u and 2", GIVEN("x", NUMBER(3)), NONE));
	assert_true(holds("x not between 2 and u", GIVEN("x", NUMBER(1)), NONE));
	assert_false(holds("u between 1 and 2", NONE, NONE));
	assert_false(holds("u not between 1 and 2", NONE, NONE));
}

static void
like_matches_whole_texts_as_sql_does(void **state)
{
	static const struct
	{
		const char *pattern;
		const char *text;
		bool matches;
	} cases[] = {{"abc", "abc", true},
				 {"abc", "abcd", false},
				 {"abc", "ab", false},
				 {"", "", true},
				 {"", "a", false},
				 {"%", "", true},
				 {"%", "anything", true},
				 {"%%", "", true},
				 {"a%", "a", true},
				 {"a%", "abc", true},
				 {"a%", "ba", false},
				 {"%c", "abc", true},
				 {"%c", "abcd", false},
				 {"%b%", "abc", true},
				 {"%bc%", "abbc", true},
				 {"_", "a", true},
				 {"_", "", false},
				 {"_", "ab", false},
				 {"_", "\xe2\x82\xac", true},
				 {"__", "\xe2\x82\xac", false},
				 {"_b",
				  "\xc3\xa9"
				  "b",
				  true},
				 {"%_", "\xf0\x9f\x98\x80", true},
				 {"a_c", "abc", true},
				 {"a_c", "ac", false},
				 {"%a%b%", "xxaxxbxx", true},
				 {"%a%b%", "xxbxxaxx", false},
				 {"%ab%ab", "abab", true},
				 {"%ab%ab", "ab", false},
				 {"%aab", "aaab", true},
				 {"%a_b%c", "axaabxc", true},
				 {"a\\%", "a%", true},
				 {"a\\%", "ab", false},
				 {"a\\_b", "a_b", true},
				 {"a\\_b", "axb", false},
				 {"\\\\", "\\", true},
				 {"\\a", "a", true},
				 {"%\\%%", "50% off", true},
				 {"%\\%%", "50 off", false},
				 {"ABC", "abc", false}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char condition[100];
		Given t = GIVEN("t", {.kind = RULE_TEXT, .bytes = slice_string(cases[i].text)});

		snprintf(condition, sizeof(condition), "t like '%s'", cases[i].pattern);
		if (holds(condition, t, NONE) != cases[i].matches)
			fail_msg("'%s' like '%s'", cases[i].text, cases[i].pattern);
		snprintf(condition, sizeof(condition), "t not like '%s'", cases[i].pattern);
		assert_int_equal(holds(condition, t, NONE), !cases[i].matches);
	}
	assert_false(holds("u like '%'", NONE, NONE));
	assert_false(holds("u not like '%'", NONE, NONE));
}

/* The worst pattern there may be, on the longest text there may be. */
static void
like_ends_soon_whatever_the_pattern(void **state)
{
	char *text = malloc(RULES_LIKE_TEXT_BYTES_MAX + 1);
	char definition[400] = "where t like '";
	Given t = {"t", {.kind = RULE_TEXT, .bytes = slice_make(text, RULES_LIKE_TEXT_BYTES_MAX)}};
	RuleResult result;

	memset(text, 'a', RULES_LIKE_TEXT_BYTES_MAX + 1);
	for (int i = 0; i < RULES_PATTERN_BYTES_MAX / 2 - 1; i++)
		strcat(definition, "%a");
	strcat(definition, "b'\non_error quarantine\nterm t 1");
	assert_int_equal(evaluate_at(definition, &t, 1, 0).outcome, RULE_OUTSIDE);
	t.value.bytes.len++;
	result = evaluate_at(definition, &t, 1, 0);
	assert_int_equal(result.outcome, RULE_QUARANTINE);
	assert_string_equal(result.reason, "the text is too long for like");
	free(text);
}

static void
prefix_is_where_a_text_begins(void **state)
{
	Given t = GIVEN("t", TEXT("abc"));

	assert_true(holds("t prefix 'abc' and t prefix 'a' and t prefix '' and not t prefix 'abcd'", t, NONE));
	assert_true(holds("t not prefix 'b' and t not prefix 'a%'", t, NONE));
	assert_false(holds("u prefix ''", NONE, NONE));
	assert_false(holds("u not prefix 'a'", NONE, NONE));
}

static void
is_null_is_never_unknown(void **state)
{
	assert_true(holds("u is null and x is not null and not u is not null", GIVEN("x", NUMBER(1)), NONE));
	assert_true(holds("o is not null", GIVEN("o", OTHER), NONE));
	assert_true(holds("x + u is null and (x + 1) is not null", GIVEN("x", NUMBER(1)), NONE));
	assert_true(holds("(u > 1) is null and (u > 1 or true) is not null", NONE, NONE));
	assert_true(holds("'a' is not null", NONE, NONE));
	/* infinity is a value, although nothing can be computed from it */
	assert_true(holds("x is not null", GIVEN("x", NUMBER(INFINITY)), NONE));
}

static void
contains_and_overlap_search_lists(void **state)
{
	uint8_t room[100];
	Given badges = GIVEN("badges", text_list(room, (const char *const[]){"new", "verified", NULL}));
	Given json = GIVEN("badges", {.kind = RULE_LIST,
								  .bytes = slice_string("\"new\", \"a\\\"b\", 7, true, null"),
								  .list_is_json = true});
	static const uint8_t mixed[] = {10, 2, 24, 14, 10, 9,  33, 0,  0, 0, 0, 0,
									0,	4, 64, 10, 2,  16, 1,  10, 2, 8, 1}; /* [7, 2.5, true, null] */
	Given list = GIVEN("l", {.kind = RULE_LIST, .bytes = slice_make(mixed, sizeof(mixed))});

	assert_true(holds("contains(badges, 'new') and not contains(badges, 'old')", badges, NONE));
	assert_true(holds("contains(badges, x)", badges, GIVEN("x", TEXT("new"))));
	assert_true(holds("overlap(badges, ['old', 'verified']) and not overlap(badges, ['old'])", badges, NONE));
	assert_true(holds("overlap(badges, ['zzz', 'new', 'aaa'])", badges, NONE));
	assert_true(
		holds("overlap(badges, ['a\"b']) and contains(badges, 'a\"b') and overlap(badges, [7])", json, NONE));
	assert_true(
		holds("overlap(badges, [true]) and not overlap(badges, [false]) and not overlap(badges, ['7'])", json,
			  NONE));
	assert_true(holds("overlap(l, [1, 2.5]) and overlap(l, [true]) and contains(l, 7)", list, NONE));
	assert_false(holds("overlap(l, ['7', 'true'])", list, NONE));
	assert_false(holds("overlap(l, [6, 8])", list, NONE));
	/* nothing is known of a list that is missing */
	assert_false(holds("contains(u, 'a') or overlap(u, ['a'])", NONE, NONE));
	assert_false(holds("not contains(u, 'a') or not overlap(u, ['a'])", NONE, NONE));
	assert_false(holds("contains(badges, u) or not contains(badges, u)", badges, NONE));
}

static void
len_counts_elements_and_characters(void **state)
{
	uint8_t room[100];

	EXPECT_SCORE(2, "term t len(l)", {"l", text_list(room, (const char *const[]){"new", "verified", NULL})});
	EXPECT_SCORE(0, "term t len(l)", {"l", {.kind = RULE_LIST, .bytes = slice_make(room, 0)}});
	EXPECT_SCORE(3, "term t len(l)",
				 {"l", {.kind = RULE_LIST, .bytes = slice_string("1, null, \"a,b\""), .list_is_json = true}});
	EXPECT_SCORE(0, "term t len(l)",
				 {"l", {.kind = RULE_LIST, .bytes = slice_string(""), .list_is_json = true}});
	EXPECT_SCORE(4, "term t len(x)", {"x", TEXT("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")});
	EXPECT_SCORE(0, "term t len(x) missing 9", {"x", TEXT("")});
	EXPECT_SCORE(9, "term t len(x) missing 9", NOTHING);
}

/* ---- missing and errors ---------------------------------------------------------------------- */

static void
missing_is_skipped_or_is_the_terms_value(void **state)
{
	EXPECT_SCORE(1, "term a weight 2 x\nterm b 1", NOTHING);
	EXPECT_SCORE(1, "term a weight 2 x missing skip\nterm b 1", NOTHING);
	EXPECT_SCORE(7, "term a weight 2 x missing 3\nterm b 1", NOTHING);
	EXPECT_SCORE(7, "term a x missing 3 weight 2\nterm b 1", NOTHING);
	EXPECT_SCORE(-1, "term a weight 2 log1p(x) + y missing -1\nterm b 1", {"y", NUMBER(1)});
	EXPECT_SCORE(1, "term b 1\nboost x\nfactor x", NOTHING);
	EXPECT_SCORE(12, "term b 1\nboost x missing 3\nfactor x missing 3", NOTHING);
	EXPECT_SCORE(5, "term t max(x, 1) missing 5", NOTHING);
	EXPECT_SCORE(5, "term t -x missing 5", NOTHING);
	EXPECT_SCORE(5, "term t exp_decay(age(x), 7d) missing 5", NOTHING);
	EXPECT_SCORE(7, "term a weight 2 x missing default 3\nterm b 1", NOTHING);
	EXPECT_SCORE(1, "term a weight 2 x missing skip term\nterm b 1", NOTHING);
	EXPECT_SCORE(7, "const THREE = 3\nterm a weight 2 x missing THREE\nterm b 1 / 0 on_error default 1",
				 NOTHING);
}

static void
missing_item_is_rejected(void **state)
{
	EXPECT_OUTSIDE("term a x missing reject item\nterm b 1", NOTHING);
	EXPECT_OUTSIDE("boost x missing reject item\nterm b 1", NOTHING);
	EXPECT_OUTSIDE("term b 1 / 0 on_error skip\nterm a log1p(x) missing reject item", NOTHING);
	EXPECT_SCORE(3, "term a x missing reject item\nterm b 1", {"x", NUMBER(2)});
	EXPECT_SCORE(1, "term a x when false missing reject item\nterm b 1", NOTHING);
	/* an error is none */
	EXPECT_SCORE(1, "term a x + 1 missing reject item\nterm b 1", {"x", TEXT("a")});
}

/* As on_error does: a number is a term's value, and of nothing else. */
static void
missing_of_the_definition_reaches_every_statement(void **state)
{
	EXPECT_SCORE(8, "missing 3\nterm a weight 2 x\nboost y\nfactor z\nterm b 2", NOTHING);
	EXPECT_SCORE(2, "missing 3\nterm a weight 2 x missing skip\nboost y\nterm b 2", NOTHING);
	EXPECT_SCORE(12, "term b 2\nfactor z missing 6\nmissing skip", NOTHING);
	EXPECT_OUTSIDE("missing reject item\nterm b 2\nfactor z", NOTHING);
	EXPECT_SCORE(2, "missing reject item\nterm b 2\nfactor z missing skip", NOTHING);
}

/* Every way to go wrong is a case for on_error, and none for missing. */
static void
errors_follow_on_error_and_name_the_statement(void **state)
{
	static const struct
	{
		const char *expression;
		const char *reason;
	} cases[] = {{"1 / zero", "division by zero"},
				 {"1e308 * 10", "overflow"},
				 {"1e308 + 1e308", "overflow"},
				 {"pow(10, 400)", "overflow"},
				 {"pow(-8, 0.5)", "the result is not a number"},
				 {"recip(zero, 1, 1, 0)", "overflow"},
				 {"sqrt(minus)", "an argument is negative"},
				 {"log1p(minus)", "an argument is negative"},
				 {"saturation(minus, 1)", "an argument is negative"},
				 {"saturation(1, zero)", "an argument is not greater than 0"},
				 {"exp_decay(1, 1, one)", "an argument is not between 0 and 1"},
				 {"clamp(1, one, zero)", "the result is not a number"},
				 {"text + 1", "wrong type: expected a number"},
				 {"text", "wrong type: expected a number"},
				 {"truth * 2", "wrong type: expected a number"},
				 {"-text", "wrong type: expected a number"},
				 {"log1p(other)", "wrong type: expected a number"},
				 {"steps(text, [(0, 1)])", "wrong type: expected a number"},
				 {"time + 1", "wrong type: expected a number"},
				 {"none + text", "wrong type: expected a number"},
				 {"log1p(none, text)", "wrong type: expected a number"},
				 {"nan", "a number is not finite, or too large for double precision"},
				 {"infinite - infinite", "a number is not finite, or too large for double precision"},
				 {"flag(text > 1, 1)", "wrong type: two values of different kinds are compared"},
				 {"flag(time > 'soon', 1)", "a time is compared with text that is no time"},
				 {"flag(other = 1, 1)", "wrong type: two values of different kinds are compared"},
				 {"flag(truth > truth, 1)", "wrong type: true and false have no order"},
				 {"flag(one, 1)", "wrong type: expected true or false"},
				 {"flag(not one, 1)", "wrong type: expected true or false"},
				 {"flag(truth and one, 1)", "wrong type: expected true or false"},
				 {"flag(one in ('a'), 1)", "wrong type: the value and the list are of different kinds"},
				 {"flag('a' in text, 1)", "wrong type: expected a list"},
				 {"interp(text, [(0, 1)])", "wrong type: expected a number"},
				 {"distance(1, 2, minus)", "an argument is negative"},
				 {"len(one)", "wrong type: expected a list or text"},
				 {"len(other)", "wrong type: expected a list or text"},
				 {"delta(text)", "wrong type: expected a number"},
				 {"rate(text, 1)", "wrong type: expected a number"},
				 {"flag(contains(text, 'a'), 1)", "wrong type: expected a list"},
				 {"flag(contains(other, 'a'), 1)", "wrong type: expected a list"},
				 {"flag(overlap(text, ['a']), 1)", "wrong type: expected a list"},
				 {"flag(one like '1', 1)", "wrong type: expected text"},
				 {"flag(time prefix '2000', 1)", "wrong type: expected text"},
				 {"flag(text between 1 and 2, 1)", "wrong type: two values of different kinds are compared"},
				 {"flag(truth between truth and truth, 1)", "wrong type: true and false have no order"},
				 {"enum(text, {1: 2})", "wrong type: the value and the keys of enum are of different kinds"}};
	Given item[] = {{"zero", NUMBER(0)}, {"one", NUMBER(1)},	{"minus", NUMBER(-1)},
					{"text", TEXT("x")}, {"truth", BOOL(true)}, {"other", OTHER},
					{"time", TIME(0)},	 {"nan", NUMBER(NAN)},	{"infinite", NUMBER(INFINITY)}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[300];
		RuleResult result;

		snprintf(text, sizeof(text), "term bad %s missing 55 on_error quarantine\nterm b 1",
				 cases[i].expression);
		result = evaluate_at(text, item, 9, 0);
		if (result.outcome != RULE_QUARANTINE)
			fail_msg("%s: outcome %d, score %g", text, result.outcome, result.score);
		assert_string_equal(result.statement, "bad");
		assert_string_equal(result.reason, cases[i].reason);
		snprintf(text, sizeof(text), "term bad weight 2 %s missing 55 on_error 4\nterm b 1",
				 cases[i].expression);
		expect_score(text, evaluate_at(text, item, 9, 0), 9);
		snprintf(text, sizeof(text), "term bad %s on_error skip\nterm b 1\non_error quarantine",
				 cases[i].expression);
		expect_score(text, evaluate_at(text, item, 9, 0), 1);
		snprintf(text, sizeof(text), "term bad %s\nterm b 1", cases[i].expression);
		expect_score(text, evaluate_at(text, item, 9, 0), 1);
	}
}

static void
on_error_of_the_definition_reaches_every_statement(void **state)
{
	static const char *const statements[] = {"where 1 / zero > 0",		   "term x 1 / zero",
											 "term x 1 when 1 / zero > 0", "boost 1 / zero",
											 "boost 1 when 1 / zero > 0",  "factor 1 / zero"};
	static const char *const names[] = {"where", "x", "x", "boost", "boost", "factor"};
	static const double with_skip[] = {NAN, 1, 1, 1, 1, 1};
	static const double with_value[] = {NAN, 4, 4, 1, 1, 1};

	for (size_t i = 0; i < 6; i++)
	{
		char text[200];
		RuleResult result;

		snprintf(text, sizeof(text), "on_error quarantine\nterm b 1\n%s", statements[i]);
		result = EVALUATE(text, {"zero", NUMBER(0)});
		assert_int_equal(result.outcome, RULE_QUARANTINE);
		assert_string_equal(result.statement, names[i]);
		assert_string_equal(result.reason, "division by zero");
		if (i == 0)
		{
			EXPECT_OUTSIDE("where 1 / zero > 0\nterm b 1\non_error skip", {"zero", NUMBER(0)});
			EXPECT_OUTSIDE("where 1 / zero > 0\nterm b 1\non_error 3", {"zero", NUMBER(0)});
			continue;
		}
		snprintf(text, sizeof(text), "on_error skip\nterm b 1\n%s", statements[i]);
		EXPECT_SCORE(with_skip[i], text, {"zero", NUMBER(0)});
		snprintf(text, sizeof(text), "on_error 3\nterm b 1\n%s", statements[i]);
		EXPECT_SCORE(with_value[i], text, {"zero", NUMBER(0)});
	}
	EXPECT_SCORE(5, "term b 1\nfactor 1 / zero on_error 5", {"zero", NUMBER(0)});
}

static void
score_is_never_infinite(void **state)
{
	RuleResult result = EVALUATE("term a 1e308\nterm b 1e308", NOTHING);

	assert_int_equal(result.outcome, RULE_QUARANTINE);
	assert_string_equal(result.statement, "score");
	assert_string_equal(result.reason, "overflow");
	EXPECT_SCORE(4, "term a 1e308\nterm b 1e308\non_error 4", NOTHING);
	result = EVALUATE("term a 1e308\nterm b 1e308\nfactor 0", NOTHING);
	assert_string_equal(result.reason, "the result is not a number");
	EXPECT_SCORE(1.7e308, "term a 1.7e308", NOTHING);
	EXPECT_SCORE(1.7e308, "term a 1.7e308\nround 0.3", NOTHING);
}

/* ---- composition ----------------------------------------------------------------------------- */

static void
score_is_terms_and_boosts_times_factors_clamped_and_rounded(void **state)
{
	EXPECT_SCORE(36, "term a weight 2 3\nfactor 2\nboost +5\nfactor 1.5\nterm b 1", NOTHING);
	EXPECT_SCORE(10, "clamp 0 .. 10\nterm a 11", NOTHING);
	EXPECT_SCORE(-1.5, "clamp -1.5..-1\nterm a -3", NOTHING);
	EXPECT_SCORE(2, "term a 1 when x > 1\nterm b 2\nboost 4 when x > 1\nfactor 8 when x > 1",
				 {"x", NUMBER(1)});
	EXPECT_SCORE(56, "term a 1 when x > 1\nterm b 2\nboost 4 when x > 1\nfactor 8 when x > 1",
				 {"x", NUMBER(2)});
	EXPECT_SCORE(-3, "boost -3", NOTHING);
	EXPECT_SCORE(-2, "term a weight -2 1", NOTHING);
}

/* As function_score of Elasticsearch: a weight multiplies the value, whatever is done with it then. */
static void
terms_are_combined_in_six_ways(void **state)
{
	static const char terms[] =
		"term a weight 2 3\nterm b weight 0.5 x\nterm c weight 4 0.5\nterm d 8 when false\n";
	static const struct
	{
		const char *combine;
		double score; /* x = 6: 6, 3, 2 */
		double without;
	} cases[] = {{"sum", 11, 8}, {"mult", 36, 12}, {"multiply", 36, 12}, {"avg", 11 / 6.5, 8 / 6.0},
				 {"max", 6, 6},	 {"min", 2, 2},	   {"first", 6, 6}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[300];

		snprintf(text, sizeof(text), "combine %s\n%s" EXACT, cases[i].combine, terms);
		EXPECT_SCORE(cases[i].score, text, {"x", NUMBER(6)});
		EXPECT_SCORE(cases[i].without, text, NOTHING); /* what is skipped drops its weight */
		snprintf(text, sizeof(text), "combine %s\n%sboost 1\nfactor 2" EXACT, cases[i].combine, terms);
		EXPECT_SCORE((cases[i].score + 1) * 2, text, {"x", NUMBER(6)});
		/* no term counts: 0, to which boosts are added */
		snprintf(text, sizeof(text), "combine %s\nterm a x\nterm b 1 when false\nboost 3", cases[i].combine);
		EXPECT_SCORE(3, text, NOTHING);
	}
	EXPECT_SCORE(-5, "combine max\nterm a x\nterm b -5\nterm c weight -2 3", NOTHING);
	EXPECT_SCORE(7, "combine first\nterm a x\nterm b 7\nterm c 9", NOTHING);
	EXPECT_SCORE(9, "combine first\nterm a x\nterm c 9\nterm b 7", NOTHING);
}

static void
what_cannot_be_combined_is_an_error_of_the_score(void **state)
{
	static const struct
	{
		const char *text;
		const char *reason;
	} cases[] = {{"combine avg\nterm a weight 0 1", "the result is not a number"},
				 {"combine avg\nterm a weight 1 1\nterm b weight -1 2", "overflow"},
				 {"combine avg\nterm a weight 1e308 0\nterm b weight 1e308 0", "overflow"},
				 {"combine min\nterm a weight 1e300 1e300\nterm b 1", "overflow"},
				 {"combine max\nterm a weight -1e300 1e300\nterm b 1", "overflow"},
				 {"combine first\nterm b 1\nterm a weight 1e300 1e300", "overflow"},
				 {"combine mult\nterm a 1e200\nterm b 1e200", "overflow"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[200];
		RuleResult result = EVALUATE(cases[i].text, NOTHING);

		if (result.outcome != RULE_QUARANTINE)
			fail_msg("%s: %d %g", cases[i].text, result.outcome, result.score);
		assert_string_equal(result.statement, "score");
		assert_string_equal(result.reason, cases[i].reason);
		snprintf(text, sizeof(text), "%s\non_error 4", cases[i].text);
		EXPECT_SCORE(4, text, NOTHING);
	}
}

static void
tier_is_the_greatest_that_holds(void **state)
{
	static const char text[] =
		"term t 1\ntier -4000\ntier 2 when x > 1\ntier 7 when x > 2\ntier 5 when x > 1";

	assert_int_equal(EVALUATE("term t 1", NOTHING).tier, 0);
	assert_int_equal(EVALUATE("term t 1\ntier 3 when false\ntier 9 when u > 1", NOTHING).tier, 0);
	assert_int_equal(EVALUATE("term t 1\ntier -3", NOTHING).tier, -3);
	assert_int_equal(EVALUATE("term t 1\ntier +4000", NOTHING).tier, 4000);
	assert_int_equal(EVALUATE(text, NOTHING).tier, -4000);
	assert_int_equal(EVALUATE(text, {"x", NUMBER(2)}).tier, 5);
	assert_int_equal(EVALUATE(text, {"x", NUMBER(3)}).tier, 7);
	assert_int_equal(EVALUATE("where false\nterm t 1\ntier 3", NOTHING).tier, 0);
	assert_int_equal(EVALUATE("term t 1\ntier 3 when 1 / x > 1", {"x", NUMBER(0)}).tier, 0);
	assert_int_equal(EVALUATE("on_error 5\nterm t 1\ntier 3 when 1 / x > 1", {"x", NUMBER(0)}).tier, 0);
	assert_string_equal(
		EVALUATE("term t 1\ntier 3 when 1 / x > 1 on_error quarantine", {"x", NUMBER(0)}).statement, "tier");
	assert_string_equal(
		EVALUATE("on_error quarantine\nterm t 1\ntier 3 when 1 / x > 1", {"x", NUMBER(0)}).reason,
		"division by zero");
}

static void
settings_have_accessors_and_defaults(void **state)
{
	RuleProgram *plain = compile("term t 1");
	RuleProgram *set = compile("const DAY = 1d\nterm t 1\nmin_change 0.25\nrefresh DAY\nscene 'home page'");

	assert_true(rules_min_change(plain) == 0);
	assert_true(rules_refresh_us(plain) == INT64_C(60000000));
	assert_int_equal(rules_scene(plain).len, 0);
	assert_true(rules_min_change(set) == 0.25);
	assert_true(rules_refresh_us(set) == INT64_C(86400000000));
	assert_true(slice_equal(rules_scene(set), slice_string("home page")));
	assert_true(rules_refresh_us(compile("term t 1\nrefresh 0s")) == 0);
	assert_true(rules_refresh_us(compile("term t 1\nrefresh 365d")) == INT64_C(31536000000000));
}

static void
rounding_is_half_to_even_on_exact_decimals(void **state)
{
	EXPECT_SCORE(0.1, "term a 0.1\nround 0.0001", NOTHING);
	EXPECT_SCORE(0.3, "term a 0.1 + 0.2", NOTHING);
	EXPECT_SCORE(2, "term a 2.5\nround 1", NOTHING);
	EXPECT_SCORE(4, "term a 3.5\nround 1", NOTHING);
	EXPECT_SCORE(-2, "term a -2.5\nround 1", NOTHING);
	EXPECT_SCORE(0.5, "term a 0.375\nround 0.25", NOTHING);
	EXPECT_SCORE(120, "term a 123\nround 20", NOTHING);
	EXPECT_SCORE(rint(1 / 0.3) * 0.3, "term a 1\nround 0.3", NOTHING);
	EXPECT_SCORE(0.123456789, "term a 0.1234567891", NOTHING);
	EXPECT_SCORE(0.0, "term a -0.0000000001", NOTHING); /* not -0 */
	EXPECT_SCORE(0.0, "term a -x", {"x", NUMBER(0)});
}

static void
scores_do_not_depend_on_the_locale(void **state)
{
	static const char *const locales[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8", "C"};
	Given item[] = {{"status", TEXT("on_sale")}, {"views", NUMBER(1234.5)}, {"price", NUMBER(99.5)}};
	double score = evaluate_at(home, item, 3, 0).score;
	int tried = 0;

	for (size_t i = 0; i < sizeof(locales) / sizeof(locales[0]); i++)
	{
		if (setlocale(LC_ALL, locales[i]) == NULL)
			continue;
		tried++;
		expect_score(home, evaluate_at(home, item, 3, 0), score);
		EXPECT_SCORE(12.25, "term a 12.25", NOTHING);
	}
	setlocale(LC_ALL, "C");
	assert_true(tried > 0);
}

static void
libm_fingerprint_is_stable(void **state)
{
	assert_true(rules_libm_fingerprint() != 0);
	assert_true(rules_libm_fingerprint() == rules_libm_fingerprint());
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, arena_reset)
	const struct CMUnitTest tests[] = {
		TEST(definition_of_the_manual_scores_as_written),
		TEST(attributes_are_listed_once_in_order_of_appearance),
		TEST(program_does_not_depend_on_the_text_after_compiling),
		TEST(open_bracket_continues_the_line),
		TEST(arithmetic_follows_precedence_from_left_to_right),
		TEST(numbers_and_durations_are_read_exactly),
		TEST(functions_compute_their_formulas),
		TEST(functions_have_the_landmarks_people_know),
		TEST(steps_have_inclusive_lower_bounds),
		TEST(interp_goes_straight_from_point_to_point),
		TEST(distance_is_from_an_origin_and_beyond_an_offset),
		TEST(enum_matches_text_numbers_and_bools_exactly),
		TEST(flag_chooses_and_computes_only_its_choice),
		TEST(age_reads_the_value_then_the_own_time),
		TEST(comparisons_know_numbers_texts_bools_and_times),
		TEST(in_searches_tables_and_list_attributes),
		TEST(logic_is_three_valued_and_unknown_is_false_at_the_end),
		TEST(and_or_do_not_compute_what_is_decided),
		TEST(between_is_two_comparisons),
		TEST(like_matches_whole_texts_as_sql_does),
		TEST(like_ends_soon_whatever_the_pattern),
		TEST(prefix_is_where_a_text_begins),
		TEST(is_null_is_never_unknown),
		TEST(contains_and_overlap_search_lists),
		TEST(len_counts_elements_and_characters),
		TEST(missing_is_skipped_or_is_the_terms_value),
		TEST(missing_item_is_rejected),
		TEST(missing_of_the_definition_reaches_every_statement),
		TEST(errors_follow_on_error_and_name_the_statement),
		TEST(on_error_of_the_definition_reaches_every_statement),
		TEST(score_is_never_infinite),
		TEST(score_is_terms_and_boosts_times_factors_clamped_and_rounded),
		TEST(terms_are_combined_in_six_ways),
		TEST(what_cannot_be_combined_is_an_error_of_the_score),
		TEST(tier_is_the_greatest_that_holds),
		TEST(settings_have_accessors_and_defaults),
		TEST(rounding_is_half_to_even_on_exact_decimals),
		TEST(scores_do_not_depend_on_the_locale),
		TEST(libm_fingerprint_is_stable),
	};

	return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
