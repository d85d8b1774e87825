/*
 * test_intervene.c -- the precedence of interventions (scoring.md d): block > freeze > pin > tier > boosts and buries
 * in order > organic; all pairs of actions, written out.
 */
#include "test_rules_support.h"

#include <math.h>

#include "intervene.h"

enum
{
	PIN,
	TIER,
	TOP,
	BOTTOM,
	BOOST,
	BURY,
	BURY_TIER,
	BLOCK,
	ALLOW,
	FREEZE,
	DEEDS
};

static const char *const deeds[DEEDS] = {"pin",	 "tier",	  "top",   "bottom", "boost",
										 "bury", "bury tier", "block", "allow",	 "freeze"};

/* What comes first, and what comes second, so that each can be seen in the result. */
static const RuleIntervention firsts[DEEDS] = {
	[PIN] = {.action = INTERVENE_PIN, .pin = 3, .factor = 1},
	[TIER] = {.action = INTERVENE_TIER, .has_tier = true, .tier = 2, .factor = 1},
	[TOP] = {.action = INTERVENE_TOP, .factor = 1},
	[BOTTOM] = {.action = INTERVENE_BOTTOM, .factor = 1},
	[BOOST] = {.action = INTERVENE_BOOST, .factor = 2, .addend = 1},
	[BURY] = {.action = INTERVENE_BURY, .factor = 0.5},
	[BURY_TIER] = {.action = INTERVENE_BURY, .has_tier = true, .tier = RULES_TIER_BURIED, .factor = 1},
	[BLOCK] = {.action = INTERVENE_BLOCK, .factor = 1},
	[ALLOW] = {.action = INTERVENE_ALLOW, .factor = 1},
	[FREEZE] = {.action = INTERVENE_FREEZE, .score = 7, .factor = 1},
};
static const RuleIntervention seconds[DEEDS] = {
	[PIN] = {.action = INTERVENE_PIN, .pin = 5, .factor = 1},
	[TIER] = {.action = INTERVENE_TIER, .has_tier = true, .tier = -3, .factor = 1},
	[TOP] = {.action = INTERVENE_TOP, .factor = 1},
	[BOTTOM] = {.action = INTERVENE_BOTTOM, .factor = 1},
	[BOOST] = {.action = INTERVENE_BOOST, .factor = 3, .addend = 2},
	[BURY] = {.action = INTERVENE_BURY, .factor = 0.25},
	[BURY_TIER] = {.action = INTERVENE_BURY, .has_tier = true, .tier = -7, .factor = 1},
	[BLOCK] = {.action = INTERVENE_BLOCK, .factor = 1},
	[ALLOW] = {.action = INTERVENE_ALLOW, .factor = 1},
	[FREEZE] = {.action = INTERVENE_FREEZE, .score = 8, .factor = 1},
};

/* score/tier/pin of an item whose organic score is 10. Rows: what comes first; columns: what comes second. */
static const char *const pairs[DEEDS][DEEDS] = {
	/* pin, tier, top, bottom, boost, bury, bury tier, block, allow, freeze */
	[PIN] = {"10/0/3", "10/-3/3", "10/4095/3", "10/-4095/3", "32/0/3", "2.5/0/3", "10/-7/3", "blocked",
			 "10/0/3", "frozen 8"},
	[TIER] = {"10/2/5", "10/2/0", "10/2/0", "10/2/0", "32/2/0", "2.5/2/0", "10/2/0", "blocked", "10/2/0",
			  "frozen 8"},
	[TOP] = {"10/4095/5", "10/4095/0", "10/4095/0", "10/4095/0", "32/4095/0", "2.5/4095/0", "10/4095/0",
			 "blocked", "10/4095/0", "frozen 8"},
	[BOTTOM] = {"10/-4095/5", "10/-4095/0", "10/-4095/0", "10/-4095/0", "32/-4095/0", "2.5/-4095/0",
				"10/-4095/0", "blocked", "10/-4095/0", "frozen 8"},
	[BOOST] = {"21/0/5", "21/-3/0", "21/4095/0", "21/-4095/0", "65/0/0", "5.25/0/0", "21/-7/0", "blocked",
			   "21/0/0", "frozen 8"},
	[BURY] = {"5/0/5", "5/-3/0", "5/4095/0", "5/-4095/0", "17/0/0", "1.25/0/0", "5/-7/0", "blocked", "5/0/0",
			  "frozen 8"},
	[BURY_TIER] = {"10/-1/5", "10/-1/0", "10/-1/0", "10/-1/0", "32/-1/0", "2.5/-1/0", "10/-1/0", "blocked",
				   "10/-1/0", "frozen 8"},
	[BLOCK] = {"blocked", "blocked", "blocked", "blocked", "blocked", "blocked", "blocked", "blocked",
			   "blocked", "blocked"},
	[ALLOW] = {"10/0/5", "10/-3/0", "10/4095/0", "10/-4095/0", "32/0/0", "2.5/0/0", "10/-7/0", "blocked",
			   "10/0/0", "frozen 8"},
	[FREEZE] = {"frozen 7", "frozen 7", "frozen 7", "frozen 7", "frozen 7", "frozen 7", "frozen 7", "blocked",
				"frozen 7", "frozen 7"},
};

static const char *
render(const RuleStanding *standing)
{
	static char text[100];

	if (standing->blocked)
		snprintf(text, sizeof(text), "blocked%s", standing->shown ? ", but shown" : "");
	else if (!standing->shown)
		snprintf(text, sizeof(text), "outside");
	else if (standing->frozen && standing->tier == 0 && standing->pin == 0)
		snprintf(text, sizeof(text), "frozen %.17g", standing->score);
	else
		snprintf(text, sizeof(text), "%.17g/%d/%d", standing->score, standing->tier, standing->pin);
	return text;
}

static const char *
stand(const char *definition, RuleResult organic, const RuleIntervention *first,
	  const RuleIntervention *second)
{
	const RuleIntervention *active[] = {first, second};
	RuleStanding standing;
	const char *reason = NULL;

	if (!rules_intervene(compile(definition), active, (first != NULL) + (second != NULL), &organic, &standing,
						 &reason))
		return reason;
	return render(&standing);
}

static RuleResult
organic_score(double score)
{
	return (RuleResult){.outcome = RULE_SCORE, .score = score};
}

static void
all_pairs_of_actions_as_written_down(void **state)
{
	for (int i = 0; i < DEEDS; i++)
		for (int j = 0; j < DEEDS; j++)
		{
			const char *got = stand("term t 1", organic_score(10), &firsts[i], &seconds[j]);

			if (strcmp(got, pairs[i][j]) != 0)
				fail_msg("%s, then %s: %s, expected %s", deeds[i], deeds[j], got, pairs[i][j]);
		}
}

static void
without_interventions_the_score_is_the_organic_one(void **state)
{
	assert_string_equal(stand("term t 1", organic_score(10), NULL, NULL), "10/0/0");
	/* not even rounded again */
	assert_string_equal(stand("term t 1\nround 4", organic_score(10), NULL, NULL), "10/0/0");
}

static void
the_tier_of_the_ranking_holds_until_somebody_says_another(void **state)
{
	const RuleResult third = {.outcome = RULE_SCORE, .score = 10, .tier = 3};
	static const char *const expected[DEEDS] = {
		[PIN] = "10/3/3",	[TIER] = "10/2/0",	   [TOP] = "10/4095/0",		[BOTTOM] = "10/-4095/0",
		[BOOST] = "21/3/0", [BURY] = "5/3/0",	   [BURY_TIER] = "10/-1/0", [BLOCK] = "blocked",
		[ALLOW] = "10/3/0", [FREEZE] = "frozen 7",
	};

	assert_string_equal(stand("term t 1", third, NULL, NULL), "10/3/0");
	for (int i = 0; i < DEEDS; i++)
		assert_string_equal(stand("term t 1", third, &firsts[i], NULL), expected[i]);
}

static void
an_item_outside_comes_in_frozen_and_not_otherwise(void **state)
{
	const RuleResult outside = {.outcome = RULE_OUTSIDE};
	const RuleResult quarantine = {.outcome = RULE_QUARANTINE, .statement = "t", .reason = "overflow"};

	for (int i = 0; i < DEEDS; i++)
	{
		const char *expected = i == FREEZE ? "frozen 7" : i == BLOCK ? "blocked" : "outside";

		assert_string_equal(stand("term t 1", outside, &firsts[i], NULL), expected);
		assert_string_equal(stand("term t 1", quarantine, &firsts[i], NULL), expected);
	}
}

static void
allow_sets_aside_where_and_nothing_else(void **state)
{
	const RuleProgram *program = compile("where a > 5\nterm t 1 / b on_error quarantine");
	RuleValue values[2] = {NUMBER(1), NUMBER(4)};
	RuleInput input = {.values = values};
	const RuleIntervention *active[] = {&firsts[PIN], &firsts[ALLOW]};
	RuleResult result;

	assert_true(rules_allowed(active, 2));
	assert_false(rules_allowed(active, 1));
	assert_false(rules_allowed(active, 0));
	rules_evaluate(program, &input, &result);
	assert_int_equal(result.outcome, RULE_OUTSIDE);
	input.allowed = true;
	rules_evaluate(program, &input, &result);
	assert_int_equal(result.outcome, RULE_SCORE);
	assert_true(result.score == 0.25);
	values[1] = NUMBER(0);
	rules_evaluate(program, &input, &result);
	assert_int_equal(result.outcome, RULE_QUARANTINE);
}

static void
scores_are_rounded_once_more_and_have_no_minus_zero(void **state)
{
	const RuleIntervention third = {.action = INTERVENE_BOOST, .factor = 1.0 / 3};
	const RuleIntervention nothing = {.action = INTERVENE_BOOST, .factor = 1, .addend = -10};
	const RuleIntervention minus = {.action = INTERVENE_BURY, .factor = 0.001};
	const RuleIntervention held = {.action = INTERVENE_FREEZE, .score = 1.2345, .factor = 1};

	assert_string_equal(stand("term t 1\nround 0.5", organic_score(10), &third, NULL), "3.5/0/0");
	assert_string_equal(stand("term t 1\nround 0.5", organic_score(10), &held, NULL), "frozen 1");
	assert_string_equal(stand("term t 1", organic_score(10), &nothing, NULL), "0/0/0");
	assert_string_equal(stand("term t 1\nround 1", organic_score(-10), &minus, NULL), "0/0/0");
}

static void
no_score_is_not_finite(void **state)
{
	const RuleIntervention huge = {.action = INTERVENE_BOOST, .factor = 1e300};
	const RuleIntervention back = {.action = INTERVENE_BURY, .factor = 1e-300};

	assert_string_equal(stand("term t 1", organic_score(1e300), &huge, NULL), "overflow");
	assert_string_equal(stand("term t 1", organic_score(1e300), &huge, &back), "overflow");
	assert_string_equal(stand("term t 1", organic_score(1e300), &huge, &firsts[BLOCK]), "blocked");
	assert_string_equal(stand("term t 1", organic_score(1e300), &huge, &firsts[FREEZE]), "frozen 7");
}

static void
higher_priority_first_then_the_later(void **state)
{
	const RuleIntervention low_early = {.priority = -1, .order = 1};
	const RuleIntervention low_late = {.priority = -1, .order = UINT64_MAX};
	const RuleIntervention high = {.priority = INT32_MAX, .order = 1};
	const RuleIntervention lowest = {.priority = INT32_MIN, .order = 5};

	assert_true(rules_intervention_order(&high, &low_late) < 0);
	assert_true(rules_intervention_order(&low_late, &high) > 0);
	assert_true(rules_intervention_order(&low_late, &low_early) < 0);
	assert_true(rules_intervention_order(&low_early, &low_late) > 0);
	assert_true(rules_intervention_order(&high, &lowest) < 0);
	assert_true(rules_intervention_order(&lowest, &high) > 0);
	assert_int_equal(rules_intervention_order(&high, &high), 0);
}

static void
actions_are_found_by_their_names_alone(void **state)
{
	RuleAction action;

	for (int i = 0; i < INTERVENE_ACTIONS; i++)
	{
		assert_true(rules_action(slice_string(rules_actions[i]), &action));
		assert_int_equal(action, i);
	}
	assert_false(rules_action(slice_string("hide"), &action));
	assert_false(rules_action(slice_string("PIN"), &action));
	assert_false(rules_action(slice_string("pins"), &action));
	assert_false(rules_action(slice_string(""), &action));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(all_pairs_of_actions_as_written_down, arena_reset),
		cmocka_unit_test_teardown(without_interventions_the_score_is_the_organic_one, arena_reset),
		cmocka_unit_test_teardown(the_tier_of_the_ranking_holds_until_somebody_says_another, arena_reset),
		cmocka_unit_test_teardown(an_item_outside_comes_in_frozen_and_not_otherwise, arena_reset),
		cmocka_unit_test_teardown(allow_sets_aside_where_and_nothing_else, arena_reset),
		cmocka_unit_test_teardown(scores_are_rounded_once_more_and_have_no_minus_zero, arena_reset),
		cmocka_unit_test_teardown(no_score_is_not_finite, arena_reset),
		cmocka_unit_test(higher_priority_first_then_the_later),
		cmocka_unit_test(actions_are_found_by_their_names_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
