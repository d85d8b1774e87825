/*
 * test_rules_clock.c -- when a score moves with time alone, and never later than that.
 */
#include "test_rules_support.h"

#include <math.h>

#include "functions.h"
#include "rules_random.h"
#include "traits.h"

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)

typedef struct World
{
	RuleProgram *program;
	RuleValue values[RULES_ATTRIBUTES_MAX];
} World;

static World
world(const char *text, const Given *given, int n)
{
	World w = {.program = compile(text)};
	const RuleAttribute *attributes;
	int nattributes = rules_attributes(w.program, &attributes);

	for (int i = 0; i < nattributes; i++)
		for (int j = 0; j < n; j++)
			if (slice_equal(attributes[i].name, slice_string(given[j].name)))
				w.values[i] = given[j].value;
	return w;
}

static RuleResult
at(const World *w, int64_t now_us)
{
	RuleResult result;

	rules_evaluate(w->program, &(RuleInput){.values = w->values, .now_us = now_us}, &result);
	return result;
}

static int64_t
next(const World *w, int64_t now_us, const RuleResult *stands, double min_change)
{
	return rules_next_change(w->program, &(RuleInput){.values = w->values, .now_us = now_us}, stands,
							 min_change);
}

/* Asks until something differs, as the scorer would. */
static int64_t
next_visible(const World *w, int64_t now_us, double min_change, int *asked)
{
	RuleResult stands = at(w, now_us);

	for (*asked = 1; *asked < 1000; ++*asked)
	{
		RuleResult result;
		int64_t then = next(w, now_us, &stands, min_change);

		if (then == RULES_NEVER)
			return then;
		assert_true(then > now_us);
		result = at(w, then);
		if (rules_differ(&stands, &result, min_change))
			return then;
		now_us = then;
	}
	fail_msg("asked %d times and saw nothing", *asked);
	return 0;
}

static void
expect_next(const char *text, Given given, int64_t now_us, int64_t expected)
{
	World w = world(text, &given, 1);
	int asked;
	int64_t then = next_visible(&w, now_us, 0, &asked);

	if (then != expected || asked > 2)
		fail_msg("%s at %lld: %lld, expected %lld (asked %d times)", text, (long long) now_us,
				 (long long) then, (long long) expected, asked);
}

/* ---- jumps ------------------------------------------------------------------------------------ */

static void
jumps_are_met_to_the_microsecond(void **state)
{
	Given t0 = {"t", TIME(0)};

	expect_next("term a flag(age(t) > 7d, 1)", t0, 5, 7 * DAY + 1);
	expect_next("term a flag(age(t) >= 7d, 1)", t0, 5, 7 * DAY);
	expect_next("term a flag(age(t) <= 7d, 1)", t0, 7 * DAY, 7 * DAY + 1);
	expect_next("term a flag(age(t) < 7d, 1)", t0, 0, 7 * DAY);
	expect_next("term a flag(age(t) = 90s, 1)", t0, 3, 90 * SECOND);
	expect_next("term a flag(age(t) = 90s, 1)", t0, 90 * SECOND, 90 * SECOND + 1);
	expect_next("term a flag(age(t) in (90, 95), 1)", t0, 91 * SECOND, 95 * SECOND);
	expect_next("term a steps(age(t), [(0, 3), (1h, 2), (1d, 1), (30d, 0)])", t0, 0, 3600 * SECOND);
	expect_next("term a steps(age(t), [(0, 3), (1h, 2), (1d, 1), (30d, 0)])", t0, 3600 * SECOND, DAY);
	expect_next("term a steps(age(t), [(0, 3), (1h, 2), (1d, 1), (30d, 0)])", t0, 29 * DAY, 30 * DAY);
	expect_next("term a steps(age(t), [(0, 3), (1h, 2), (1d, 1), (30d, 0)])", t0, 30 * DAY, RULES_NEVER);
	expect_next("term a steps(age(t), [(1h, 2)]) missing 5", t0, 0, 3600 * SECOND);
	expect_next("term a enum(age(t), {60: 2}, else = 1)", t0, 1, 60 * SECOND);
	expect_next("where age(t) < 30d\nterm a 1", t0, 5, 30 * DAY);
	expect_next("where not (age(t) < 30d)\nterm a 1", t0, 5, 30 * DAY);
	expect_next("term a 1\nboost 2 when age(t) > 1h and exists(t)", t0, 5, 3600 * SECOND + 1);
	expect_next("term a 1\nfactor 2 when not exists(t) or age(t) >= 1h", t0, 5, 3600 * SECOND);
	expect_next("term a 0 / (age(t) - 60)  on_error quarantine", t0, 3, 60 * SECOND);
	expect_next("term a round(age(t), 60)", t0, 0, 30 * SECOND + 1);
	expect_next("term a clamp(age(t), 10, 20)\nround 1", t0, 0, 10500000 + 1);
	expect_next("term a clamp(age(t), 10, 20)\nround 1", t0, 20 * SECOND, RULES_NEVER);
	expect_next("term a max(age(t), 10)\nclamp 0 .. 10", t0, 0, RULES_NEVER);
	expect_next("term a flag(age(t) > 1h, 1)\nclamp 3 .. 10", t0, 0, RULES_NEVER);
	expect_next("term a flag(age(t) > 1h, age(u), 1)", t0, 0, 3600 * SECOND + 1);
	expect_next("term a flag(age(t) between 1min and 1h, 1)", t0, 0, 60 * SECOND);
	expect_next("term a flag(age(t) between 1min and 1h, 1)", t0, 60 * SECOND, 3600 * SECOND + 1);
	expect_next("term a flag(age(t) not between 1min and u, 1)", t0, 9, 60 * SECOND);
	expect_next("term a flag(age(t) is null, 1)", t0, 9, RULES_NEVER);
	expect_next("term a 1\ntier 3 when age(t) < 1h\ntier 2 when age(t) < 2h", t0, 9, 3600 * SECOND);
	expect_next("term a 1\ntier 3 when age(t) < 1h\ntier 2 when age(t) < 2h", t0, 3600 * SECOND,
				7200 * SECOND);
	expect_next("term a 1\ntier -1 when age(t) >= 1h", t0, 0, 3600 * SECOND);
	expect_next("term a interp(age(t), [(60, 0), (120, 60)])\nround 10", t0, 0, 65 * SECOND + 1);
	expect_next("term a interp(age(t), [(60, 0), (120, 60)])\nround 10", t0, 120 * SECOND, RULES_NEVER);
	expect_next("term a distance(age(t), 60, 10)\nround 10", t0, 0, 5 * SECOND);
	expect_next("term a distance(age(t), 60, 10)\nround 10", t0, 5 * SECOND, 15 * SECOND + 1);
	expect_next("term a distance(age(t), 60, 10)\nround 10", t0, 46 * SECOND, 75 * SECOND + 1);
	expect_next("term a 5\nterm b age(t)\ncombine max\nround 1", t0, 0, 5500000);
	expect_next("term a 5\nterm b age(t)\ncombine min\nround 1", t0, 5 * SECOND, RULES_NEVER);
	expect_next("term a weight 3 5\nterm b age(t)\ncombine avg\nround 1", t0, 5 * SECOND, 7 * SECOND);
	expect_next("term a 5\nterm b 2 + age(t)\ncombine mult\nround 10", t0, 0, SECOND);
	expect_next("term a 5 when age(t) < 1h\nterm b 2\ncombine first", t0, 0, 3600 * SECOND);
	expect_next("term a 5\nterm b steps(age(t), [(1h, 1)]) missing reject item", t0, 0, 3600 * SECOND);
}

static void
nothing_moves_without_a_time(void **state)
{
	expect_next("term a x", (Given){"x", NUMBER(1)}, 0, RULES_NEVER);
	expect_next("term a exp_decay(age(t), 7d)", (Given){"u", TIME(0)}, 0, RULES_NEVER);
	expect_next("term a exp_decay(age(t), 7d)", (Given){"t", TEXT("soon")}, 0, RULES_NEVER);
	expect_next("term a exp_decay(age(t), 7d) on_error 3", (Given){"t", TIME(INT64_MIN)}, 0, RULES_NEVER);
	expect_next("term a exp_decay(age(t), 7d)", (Given){"t", TIME(INT64_MAX)}, 0, RULES_NEVER);
	expect_next("term a x + 1 / 0 when age(t) < 0", (Given){"t", TIME(0)}, 0, RULES_NEVER);
}

static void
a_time_in_the_future_begins_to_count_when_it_is_past(void **state)
{
	Given ahead = {"t", TIME(5 * DAY)};
	Given text = {"t", TEXT("2000-01-06 00:00:00")};
	Given own = {"t", {.kind = RULE_NUMBER, .number = 1, .has_own_time = true, .own_time_us = 5 * DAY}};

	expect_next("term a flag(age(t) > 0, 1)", ahead, 7, 5 * DAY + 1);
	expect_next("term a flag(age(t) > 0, 1)", text, 7, 5 * DAY + 1);
	expect_next("term a flag(age(t) > 0, 1)", own, 7, 5 * DAY + 1);
	expect_next("term a flag(age(t) > 0, 1)", ahead, -4000 * DAY, 5 * DAY + 1);
}

static void
what_is_further_than_the_horizon_is_asked_again_or_proven_never(void **state)
{
	Given t0 = {"t", TIME(0)};
	World w = world("term a flag(age(t) > 9000d, 1)", &t0, 1);
	RuleResult stands = at(&w, 0);
	int asked;

	assert_int_equal(next(&w, 0, &stands, 0), RULES_HORIZON_US);
	assert_int_equal(next_visible(&w, 0, 0, &asked), 9000 * DAY + 1);
	assert_int_equal(asked, 3);
	expect_next("term a flag(age(t) > 1d and age(t) < 2d, 0, 0)", t0, 0, RULES_NEVER);
	expect_next("term a exp_decay(age(t), 1d)", t0, 40 * DAY, RULES_NEVER);
	stands = at(&w, RULES_NEVER - 1);
	assert_int_equal(next(&w, RULES_NEVER - 1, &stands, 0), RULES_NEVER);
	assert_int_equal(next(&w, RULES_NEVER - 2, &stands, 0), RULES_NEVER);
	assert_int_equal(next(&w, INT64_MIN, &stands, 0), INT64_MIN + 1); /* the other side of the flag */
}

/* ---- drifts ------------------------------------------------------------------------------------ */

static void
decay_is_met_where_its_rounded_value_turns_over(void **state)
{
	Given t0 = {"t", TIME(0)};
	World w = world("term a exp_decay(age(t), 7d)\nround 0.0001", &t0, 1);
	int64_t now_us = 0;
	int total = 0;

	for (int i = 0; i < 300; i++)
	{
		double edge = (1 - 0.00005 - 0.0001 * i);
		int64_t expected_us = (int64_t) (log(edge) / log(0.5) * 7 * 86400e6);
		int asked;

		now_us = next_visible(&w, now_us, 0, &asked);
		total += asked;
		if (llabs(now_us - expected_us) > 2)
			fail_msg("turn %d: %lld, expected about %lld", i, (long long) now_us, (long long) expected_us);
		assert_true(at(&w, now_us - 1).score != at(&w, now_us).score);
	}
	print_message("exp_decay: 300 changes, asked %d times\n", total);
	assert_true(total <= 310);
}

static void
smaller_changes_than_min_change_are_passed_over(void **state)
{
	Given t0 = {"t", TIME(0)};
	World w = world("term a linear_decay(age(t), 50d)\nround 0.001", &t0, 1); /* 0.01 a day */
	World v = world("term a flag(age(t) > 1d, 0.1) + flag(age(t) > 2d, 0.5)", &t0, 1);
	int asked;

	assert_int_equal(next_visible(&w, 0, 0, &asked), DAY / 20 + 1);
	assert_in_range(next_visible(&w, 0, 0.1, &asked), DAY * 995 / 100 - 2, DAY * 995 / 100 + 2);
	assert_int_equal(next_visible(&w, 0, 2, &asked), RULES_NEVER);
	assert_int_equal(next_visible(&v, 0, 0.2, &asked), 2 * DAY + 1);
	assert_int_equal(next_visible(&v, 0, 0.1, &asked), DAY + 1);
}

static void
another_score_than_the_present_one_may_stand(void **state)
{
	Given t0 = {"t", TIME(0)};
	World w = world("term a flag(age(t) > 1d, 1)", &t0, 1);
	RuleResult outside = {.outcome = RULE_OUTSIDE};
	RuleResult one = {.outcome = RULE_SCORE, .score = 1};

	assert_int_equal(next(&w, 10, &outside, 0), 11);
	assert_int_equal(next(&w, 10, &one, 0), 11);
	assert_int_equal(next(&w, 2 * DAY, &one, 0), RULES_NEVER);
}

static void
drift_is_what_reaches_the_score_without_a_step(void **state)
{
	static const struct
	{
		const char *text;
		bool drifts;
	} cases[] = {
		{"term a x", false},
		{"term a age(t)", true},
		{"term a exp_decay(age(t), 7d)", true},
		{"term a flag(age(t) > 7d, 1)", false},
		{"term a flag(age(t) > 7d, age(t))", true},
		{"term a flag(age(t) > 7d, age(t), 1)", true},
		{"term a flag(x > 0, flag(y > 0, age(t), 1), 2) + 1", true},
		{"term a 1 + flag(x > 0, flag(y > 0, 3, 1), 2)\nboost 0.5 when age(t) < 1h", false},
		{"term a steps(age(t), [(0, 1), (5, 2)]) * 3", false},
		{"term a steps(gauss(age(t), 7d), [(0, 1), (5, 2)]) * 3", false},
		{"term a round(age(t), 60)", false},
		{"term a round(60, age(t))", true},
		{"term a round(age(t), 60) + age(t)", true},
		{"term a enum(age(t), {1: 2})", false},
		{"term a min(age(t), 60)", true},
		{"term a 1 when age(t) in x", false},
		{"where age(t) < 30d\nterm a 1", false},
		{"term a -age(t)", true},
		{"term a 1\nfactor 1 + age(t)", true},
		{"term a flag(exists(t) and age(t) > 5 or x = 1, 1, 2)", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (rules_drifts(compile(cases[i].text)) != cases[i].drifts)
			fail_msg("%s: %d", cases[i].text, !cases[i].drifts);
}

/* ---- random definitions ------------------------------------------------------------------------ */

static bool
alike(const RuleResult *a, const RuleResult *b)
{
	return a->outcome == b->outcome &&
		   (a->outcome != RULE_SCORE || (a->score == b->score && a->tier == b->tier));
}

static void
probe(const World *w, const Random *r, const RuleResult *stands, int64_t now_us, int64_t then,
	  int64_t probe_us)
{
	RuleResult result;

	if (probe_us <= now_us || probe_us >= then)
		return;
	result = at(w, probe_us);
	if (!alike(&result, stands))
		fail_msg(
			"%s\nat %lld: next change said to be at %lld, but at %lld it is (%d) %.17g instead of (%d) %.17g",
			r->text, (long long) now_us, (long long) then, (long long) probe_us, result.outcome, result.score,
			stands->outcome, stands->score);
}

/* Where ages meet what is written in the definition, around both ends, and anywhere. */
static void
probe_all(const World *w, Random *r, int nvalues, const RuleResult *stands, int64_t now_us, int64_t then)
{
	int64_t end = then == RULES_NEVER ? now_us + 20 * 365 * DAY : then;

	for (int64_t step = 1; step < end - now_us && step > 0; step *= 2)
	{
		probe(w, r, stands, now_us, then, now_us + step);
		probe(w, r, stands, now_us, then, end - step);
		probe(w, r, stands, now_us, then, now_us + (int64_t) (random_next(r) % (uint64_t) (end - now_us)));
	}
	for (int i = 0; i < nvalues; i++)
		for (int j = 0; j < r->nbounds && w->values[i].kind == RULE_TIME; j++)
			for (int d = -1; d <= 1; d++)
				probe(w, r, stands, now_us, then,
					  w->values[i].time_us + (int64_t) rint(r->bounds[j] * 1e6) + d);
}

static void
no_probe_before_the_next_change_differs(void **state)
{
	static Random r;
	static const double units[] = {1e-5, 1e-3, 1, 3600, 86400, 30 * 86400};
	int compiled = 0;
	int asked = 0;
	int seen = 0;
	int never = 0;

	for (uint64_t seed = 0; seed < 1000; seed++)
	{
		World w;
		RuleError error;
		const RuleAttribute *attributes;
		int64_t now_us = (int64_t) (seed * 1234567890123);
		RuleResult stands;
		int n;

		random_definition(&r, seed, units[seed % 6]);
		w.program = rules_compile(r.text, r.len, &memory, &error);
		if (w.program == NULL)
			continue; /* a constant outside a domain */
		compiled++;
		n = rules_attributes(w.program, &attributes);
		random_item(&r, w.program, now_us, w.values);
		stands = at(&w, now_us);
		for (int i = 0; i < 12; i++)
		{
			int64_t then = next(&w, now_us, &stands, 0);
			RuleResult result;

			asked++;
			probe_all(&w, &r, n, &stands, now_us, then);
			never += then == RULES_NEVER;
			if (then == RULES_NEVER)
				break;
			assert_true(then > now_us);
			result = at(&w, then);
			seen += !alike(&result, &stands);
			stands = result;
			now_us = then;
		}
		arena_reset(NULL);
	}
	print_message("%d definitions: asked %d times, %d changes, %d times proven never\n", compiled, asked,
				  seen, never);
	assert_true(compiled > 900);
	assert_true(seen + never > asked * 8 / 10);
}

/* Ages of some microseconds: every one is looked at. */
static void
every_microsecond_agrees(void **state)
{
	static Random r;
	int compiled = 0;
	int exact = 0;
	int early = 0;

	for (uint64_t seed = 100000; seed < 100500; seed++)
	{
		World w;
		RuleError error;
		RuleResult stands;
		int64_t said = 0;

		random_definition(&r, seed, 2e-5);
		w.program = rules_compile(r.text, r.len, &memory, &error);
		if (w.program == NULL)
			continue;
		compiled++;
		random_item(&r, w.program, 0, w.values);
		stands = at(&w, 0);
		for (int64_t now_us = 0; now_us < 1000; now_us++)
		{
			RuleResult result = at(&w, now_us);

			if (now_us == 0 || now_us == said)
			{
				exact += now_us > 0 && !alike(&result, &stands);
				early += now_us > 0 && alike(&result, &stands);
				said = next(&w, now_us, &result, 0);
				stands = result;
				assert_true(said > now_us);
			}
			else if (!alike(&result, &stands))
				fail_msg("%s\nsaid %lld, moved at %lld", r.text, (long long) said, (long long) now_us);
		}
		arena_reset(NULL);
	}
	print_message("%d definitions over 1,000 us each: %d changes met, %d times asked too early\n", compiled,
				  exact, early);
	assert_true(compiled > 400 && exact > 5000);
	assert_true(early < exact / 10);
}

static void
every_numeric_function_has_its_traits(void **state)
{
	static const char *const names[] = {"abs",		  "clamp",	  "exp_decay",	  "gauss", "half_life",
										"inverse",	  "linear",	  "linear_decay", "ln2p",  "log10p",
										"log1p",	  "logistic", "pow",		  "recip", "round",
										"saturation", "sigmoid",  "sqrt",		  "square"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_non_null(rule_function_traits(rule_function_find(slice_string(names[i]))));
	for (int i = 0; rule_function_at(i) != NULL; i++)
		if (rule_function_at(i)->kind == FUNCTION_NUMERIC &&
			rule_function_traits(rule_function_at(i)) == NULL)
			fail_msg("%s() has no row in rules/traits.c", rule_function_at(i)->name);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(jumps_are_met_to_the_microsecond, arena_reset),
		cmocka_unit_test_teardown(nothing_moves_without_a_time, arena_reset),
		cmocka_unit_test_teardown(a_time_in_the_future_begins_to_count_when_it_is_past, arena_reset),
		cmocka_unit_test_teardown(what_is_further_than_the_horizon_is_asked_again_or_proven_never,
								  arena_reset),
		cmocka_unit_test_teardown(decay_is_met_where_its_rounded_value_turns_over, arena_reset),
		cmocka_unit_test_teardown(smaller_changes_than_min_change_are_passed_over, arena_reset),
		cmocka_unit_test_teardown(another_score_than_the_present_one_may_stand, arena_reset),
		cmocka_unit_test_teardown(drift_is_what_reaches_the_score_without_a_step, arena_reset),
		cmocka_unit_test_teardown(no_probe_before_the_next_change_differs, arena_reset),
		cmocka_unit_test_teardown(every_microsecond_agrees, arena_reset),
		cmocka_unit_test_teardown(every_numeric_function_has_its_traits, arena_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
