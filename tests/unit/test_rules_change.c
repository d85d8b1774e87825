/*
 * test_rules_change.c -- what an attribute was: old, changed, delta, rate, missing last known.
 */
#include "test_rules_support.h"

#include <math.h>

#define MINUTE INT64_C(60000000)

/* The attribute x: what it is and was. */
typedef struct Past
{
	RuleValue now;
	RuleValue then;
	RuleChange change;
} Past;

#define GONE ((RuleValue){.kind = RULE_MISSING})
#define AT(n, us) ((RuleValue){.kind = RULE_NUMBER, .number = (n), .has_own_time = true, .own_time_us = (us)})

static RuleResult
evaluate_past(const char *text, Past past)
{
	RuleProgram *program = compile(text);
	const RuleAttribute *attributes;
	RuleResult result;

	assert_int_equal(rules_attributes(program, &attributes), 1);
	rules_evaluate(
		program,
		&(RuleInput){
			.values = &past.now, .previous = &past.then, .changes = &past.change, .now_us = 10 * MINUTE},
		&result);
	return result;
}

#define PAST(now, then) ((Past){(now), (then), RULE_CHANGED})
#define EXPECT_PAST(score, text, now, then)                                                                  \
	expect_score((text), evaluate_past((text), PAST(now, then)), (score))

static bool
past_holds(const char *condition, Past past)
{
	char text[200];

	snprintf(text, sizeof(text), "where %s on_error quarantine\nterm t 1", condition);
	return evaluate_past(text, past).outcome == RULE_SCORE;
}

static void
old_is_what_the_value_was(void **state)
{
	uint8_t room[100];
	RuleValue list = text_list(room, (const char *const[]){"new", "verified", NULL});

	EXPECT_PAST(3, "term t old(x)", NUMBER(7), NUMBER(3));
	EXPECT_PAST(55, "term t old(x) missing 55", NUMBER(7), GONE);
	EXPECT_PAST(10, "term t x + old(x)", NUMBER(7), NUMBER(3));
	assert_true(past_holds("old(x) = 'a' and x = 'b'", PAST(TEXT("b"), TEXT("a"))));
	assert_true(
		past_holds("old(x) like 'a%' and old(x) in ('ab') and old(x) prefix 'ab'", PAST(GONE, TEXT("ab"))));
	assert_true(past_holds("contains(old(x), 'new') and 'new' in old(x)", PAST(GONE, list)));
	assert_true(past_holds("overlap(old(x), ['new']) and len(old(x)) = 2", PAST(GONE, list)));
	assert_true(past_holds("exists(old(x)) and not exists(x)", PAST(GONE, NUMBER(1))));
	assert_true(past_holds("old(x) is null and x is not null", PAST(NUMBER(1), GONE)));
	EXPECT_PAST(600, "term t age(old(x))", NUMBER(1), AT(1, 0));
	EXPECT_PAST(1, "term t old(x)\nterm b 1", NUMBER(7), AT(INFINITY, 0)); /* an error: left out */
}

static void
changed_is_unknown_where_nothing_is_remembered(void **state)
{
	assert_true(past_holds("changed(x)", (Past){NUMBER(1), NUMBER(2), RULE_CHANGED}));
	assert_false(past_holds("changed(x)", (Past){NUMBER(1), NUMBER(2), RULE_UNCHANGED}));
	assert_true(past_holds("not changed(x)", (Past){NUMBER(1), NUMBER(2), RULE_UNCHANGED}));
	assert_false(past_holds("changed(x)", (Past){NUMBER(1), NUMBER(2), RULE_CHANGE_UNKNOWN}));
	assert_false(past_holds("not changed(x)", (Past){NUMBER(1), NUMBER(2), RULE_CHANGE_UNKNOWN}));
	assert_true(past_holds("changed(x) is null", (Past){NUMBER(1), NUMBER(2), RULE_CHANGE_UNKNOWN}));
}

static void
delta_is_present_minus_previous(void **state)
{
	EXPECT_PAST(4, "term t delta(x)", NUMBER(7), NUMBER(3));
	EXPECT_PAST(-4, "term t delta(x)", NUMBER(3), NUMBER(7));
	EXPECT_PAST(55, "term t delta(x) missing 55", NUMBER(7), GONE);
	EXPECT_PAST(55, "term t delta(x) missing 55", GONE, NUMBER(7));
	EXPECT_PAST(66, "term t delta(x) missing 55 on_error 66", NUMBER(7), TEXT("a"));
	EXPECT_PAST(66, "term t delta(x) missing 55 on_error 66", TEXT("a"), GONE);
	EXPECT_PAST(66, "term t delta(x) missing 55 on_error 66", NUMBER(1.7e308), NUMBER(-1.7e308));
}

static void
rate_is_per_window_of_own_time(void **state)
{
	static const char text[] = "term t rate(x, 1h) missing 55 on_error 66";

	EXPECT_PAST(120, text, AT(7, 3 * MINUTE), AT(3, MINUTE)); /* 4 in 2 minutes */
	EXPECT_PAST(-120, text, AT(3, 3 * MINUTE), AT(7, MINUTE));
	EXPECT_PAST(-120, text, AT(7, MINUTE), AT(3, 3 * MINUTE)); /* time went back */
	EXPECT_PAST(0, text, AT(7, MINUTE), AT(7, 3 * MINUTE));
	EXPECT_PAST(55, text, NUMBER(7), AT(3, MINUTE));
	EXPECT_PAST(55, text, AT(7, MINUTE), NUMBER(3));
	EXPECT_PAST(55, text, AT(7, MINUTE), GONE);
	EXPECT_PAST(66, text, AT(7, MINUTE), AT(3, MINUTE));
	EXPECT_PAST(66, text, AT(7, MINUTE), TEXT("a"));
	EXPECT_PAST(66, "term t rate(x, x) on_error 66", AT(0, MINUTE), AT(3, 2 * MINUTE));
	assert_string_equal(
		evaluate_past("term t rate(x, x) on_error quarantine", PAST(AT(0, 1), AT(3, 2))).reason,
		"an argument is not greater than 0");
	assert_string_equal(
		evaluate_past("term t rate(x, 1) on_error quarantine", PAST(AT(1, 2), AT(3, 2))).reason,
		"the value and the one before it are of the same time");
	/* the whole range of int64 */
	EXPECT_PAST(1, "term t rate(x, 18446744073709.551615)", AT(1, INT64_MAX), AT(0, INT64_MIN));
}

static void
last_known_stands_in_for_what_is_missing_now(void **state)
{
	EXPECT_PAST(3, "term t x missing last known", GONE, NUMBER(3));
	EXPECT_PAST(7, "term t x missing last known", NUMBER(7), NUMBER(3));
	EXPECT_PAST(1, "term t x missing last known\nterm b 1", GONE, GONE);
	EXPECT_PAST(3, "missing last known\nterm t x", GONE, NUMBER(3));
	EXPECT_PAST(6, "term b 2\nfactor x missing last known", GONE, NUMBER(3));
	EXPECT_PAST(5, "missing last known\nterm b 2\nboost x", GONE, NUMBER(3));
	EXPECT_PAST(9, "term t flag(x > 2, 9, else = 4) missing last known", GONE, NUMBER(3));
	EXPECT_PAST(4, "term t flag(x > 2, 9, else = 4) missing 0", GONE, NUMBER(3));
	EXPECT_PAST(600, "term t age(x) missing last known", GONE, AT(3, 0));
	EXPECT_PAST(2, "term t len(x) missing last known", GONE, TEXT("ab"));
	/* exists, changed and delta tell what is; the condition of the statement as well */
	EXPECT_PAST(4, "term t flag(exists(x), 9, else = 4) missing last known", GONE, NUMBER(3));
	EXPECT_PAST(4, "term t flag(x is null, 4, else = 9) missing last known", GONE, NUMBER(3));
	EXPECT_PAST(1, "term t delta(x) missing last known\nterm b 1", GONE, NUMBER(3));
	EXPECT_PAST(1, "term t x when x > 2 missing last known\nterm b 1", GONE, NUMBER(3));
	/* an error of what was is an error */
	EXPECT_PAST(66, "term t x missing last known on_error 66", GONE, TEXT("a"));
}

static void
without_memory_all_of_it_is_missing(void **state)
{
	EXPECT_SCORE(55, "term t old(x) missing 55", {"x", NUMBER(1)});
	EXPECT_SCORE(55, "term t delta(x) missing 55", {"x", NUMBER(1)});
	EXPECT_SCORE(55, "term t rate(x, 1d) missing 55", {"x", AT(1, 1)});
	EXPECT_SCORE(1, "term t x missing last known\nterm b 1", NOTHING);
	EXPECT_OUTSIDE("where changed(x)\nterm t 1", {"x", NUMBER(1)});
	EXPECT_OUTSIDE("where not changed(x)\nterm t 1", {"x", NUMBER(1)});
	EXPECT_OUTSIDE("where contains(old(x), 'a') or exists(old(x))\nterm t 1", NOTHING);
}

static void
program_says_of_which_attributes_it_asks_the_past(void **state)
{
	static const struct
	{
		const char *text;
		bool a;
		bool b;
	} cases[] = {{"term t a + b", false, false},
				 {"term t old(a) + b", true, false},
				 {"term t a + delta(b)", false, true},
				 {"term t rate(a, 1d) when changed(b)", true, true},
				 {"where changed(a) and exists(old(b))\nterm t 1", true, true},
				 {"term t a\nterm s b missing last known", false, true},
				 {"missing last known\nterm t a\nterm s b missing 0", true, false},
				 {"term t 1 when a > 1 missing last known\nterm s b", false, false},
				 {"term t 1\nterm s b\ntier 1 when changed(b)", false, true},
				 {"macro was(x) = old(x)\nterm t was(a) + b", true, false},
				 {"let unused = old(a)\nterm t a + b", false, false}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		RuleProgram *program = compile(cases[i].text);
		const RuleAttribute *attributes;
		int n = rules_attributes(program, &attributes);
		int found[2] = {-1, -1};

		for (int j = 0; j < n; j++)
			found[slice_equal(attributes[j].name, slice_string("b"))] = j;
		if (rules_reads_previous(program, found[0]) != cases[i].a ||
			rules_reads_previous(program, found[1]) != cases[i].b ||
			rules_use_previous(program) != (cases[i].a || cases[i].b))
			fail_msg("%s", cases[i].text);
		assert_false(rules_reads_previous(program, -1));
		assert_false(rules_reads_previous(program, n));
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, arena_reset)
	const struct CMUnitTest tests[] = {
		TEST(old_is_what_the_value_was),
		TEST(changed_is_unknown_where_nothing_is_remembered),
		TEST(delta_is_present_minus_previous),
		TEST(rate_is_per_window_of_own_time),
		TEST(last_known_stands_in_for_what_is_missing_now),
		TEST(without_memory_all_of_it_is_missing),
		TEST(program_says_of_which_attributes_it_asks_the_past),
	};

	return cmocka_run_group_tests_name("rules: change", tests, NULL, NULL);
}
