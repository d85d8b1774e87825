/*
 * test_rules_explain.c -- what is said of a score is what made it.
 */
#include "test_rules_support.h"

#include <math.h>

#include "functions.h"
#include "rules_random.h"

#define LINES_MAX 64

typedef struct Heard
{
	RuleLine lines[LINES_MAX];
	uint16_t attributes[LINES_MAX][RULES_ATTRIBUTES_MAX];
	int n;
	RuleTotals totals;
	RuleResult result;
	bool ended;
} Heard;

static void
hear_line(void *context, const RuleLine *line)
{
	Heard *heard = context;

	assert_true(heard->n < LINES_MAX && !heard->ended);
	heard->lines[heard->n] = *line;
	if (line->nattributes > 0)
		memcpy(heard->attributes[heard->n], line->attributes, (size_t) line->nattributes * sizeof(uint16_t));
	heard->lines[heard->n].attributes = NULL; /* was lent */
	heard->n++;
}

static void
hear_totals(void *context, const RuleTotals *totals, const RuleResult *result)
{
	Heard *heard = context;

	assert_false(heard->ended);
	heard->totals = *totals;
	heard->result = *result;
	heard->ended = true;
}

static Heard
explain(const RuleProgram *program, const RuleValue *values, int64_t now_us)
{
	Heard heard = {.n = 0};

	rules_explain(program, &(RuleInput){.values = values, .now_us = now_us},
				  &(RuleExplainer){hear_line, hear_totals, &heard});
	assert_true(heard.ended);
	return heard;
}

static Heard
explain_text(const char *text, const Given *given, int n)
{
	RuleProgram *program = compile(text);
	RuleValue values[RULES_ATTRIBUTES_MAX];
	const RuleAttribute *attributes;
	int nattributes = rules_attributes(program, &attributes);

	memset(values, 0, sizeof(values));
	for (int i = 0; i < nattributes; i++)
		for (int j = 0; j < n; j++)
			if (slice_equal(attributes[i].name, slice_string(given[j].name)))
				values[i] = given[j].value;
	return explain(program, values, 0);
}

static void
expect_text(const RuleLine *line, int number, const char *text)
{
	if (!slice_equal(line->text, slice_string(text)) || line->line != number)
		fail_msg("line %d: \"%.*s\", expected line %d: \"%s\"", line->line, (int) line->text.len,
				 (const char *) line->text.data, number, text);
}

static const char shop[] = "# a shop\n"
						   "term views weight 0.5 log1p(views)   # ln\n"
						   "where status = 'on'\n"
						   "\n"
						   "  term price steps(price, [\n  (0, 3), # low\n  (10, 1)])  missing 2\t\n"
						   "boost 0.25 when 'x' = tag\n"
						   "boost 1 / views on_error 0.125\n"
						   "factor 3 when views > 0 and price > 5\n"
						   "factor 2 / views\n"
						   "round 0.5 # half\n"
						   "clamp 0 .. 2\r\n";

static void
every_statement_is_told_as_written(void **state)
{
	Given item[] = {{"status", TEXT("on")}, {"views", NUMBER(0)}, {"tag", TEXT("x")}};
	Heard heard = explain_text(shop, item, 3);

	assert_int_equal(heard.n, 9);
	expect_text(&heard.lines[0], 3, "where status = 'on'");
	expect_text(&heard.lines[1], 2, "term views weight 0.5 log1p(views)");
	expect_text(&heard.lines[2], 5, "term price steps(price, [\n  (0, 3), # low\n  (10, 1)])  missing 2");
	expect_text(&heard.lines[3], 8, "boost 0.25 when 'x' = tag");
	expect_text(&heard.lines[4], 9, "boost 1 / views on_error 0.125");
	expect_text(&heard.lines[5], 10, "factor 3 when views > 0 and price > 5");
	expect_text(&heard.lines[6], 11, "factor 2 / views");
	expect_text(&heard.lines[7], 13, "clamp 0 .. 2");
	expect_text(&heard.lines[8], 12, "round 0.5");
	assert_string_equal(heard.lines[2].name, "price");
	assert_string_equal(heard.lines[3].name, "boost");
	assert_int_equal(heard.lines[0].kind, RULE_LINE_WHERE);
	assert_int_equal(heard.lines[1].kind, RULE_LINE_TERM);
	assert_int_equal(heard.lines[4].kind, RULE_LINE_BOOST);
	assert_int_equal(heard.lines[6].kind, RULE_LINE_FACTOR);
	assert_int_equal(heard.lines[7].kind, RULE_LINE_CLAMP);
	assert_int_equal(heard.lines[8].kind, RULE_LINE_ROUND);
}

static void
why_a_statement_counts_or_not_is_told(void **state)
{
	Given item[] = {{"status", TEXT("on")}, {"views", NUMBER(0)}, {"tag", TEXT("x")}};
	Heard heard = explain_text(shop, item, 3);

	assert_int_equal(heard.lines[0].why, RULE_COUNTS);
	assert_false(heard.lines[0].has_value);
	assert_int_equal(heard.lines[1].why, RULE_COUNTS);
	assert_int_equal(heard.lines[2].why, RULE_COUNTS_MISSING);
	assert_true(heard.lines[2].contribution == 2);
	assert_null(heard.lines[2].reason);
	assert_true(heard.lines[3].counts && heard.lines[3].value == 0.25);
	assert_int_equal(heard.lines[4].why, RULE_COUNTS_ERROR);
	assert_string_equal(heard.lines[4].reason, "division by zero");
	assert_true(heard.lines[4].value == 0.125);
	assert_int_equal(heard.lines[5].why, RULE_OUT_FALSE);
	assert_int_equal(heard.lines[6].why, RULE_OUT_ERROR);
	assert_string_equal(heard.lines[6].reason, "division by zero");
	assert_false(heard.lines[6].counts || heard.lines[6].has_value);
	assert_true(heard.totals.terms == 2 && heard.totals.boosts == 0.375 && heard.totals.factors == 1);
	assert_true(heard.totals.before_clamp == 2.375 && heard.totals.after_clamp == 2 &&
				heard.totals.rounded == 2);
	assert_true(heard.lines[7].contribution == -0.375 && heard.lines[7].value == 2);
	assert_true(heard.lines[8].contribution == 0);

	item[1].value = NUMBER(9); /* and the price unknown */
	heard = explain_text(shop, item, 3);
	assert_int_equal(heard.lines[5].why, RULE_OUT_UNKNOWN);
	heard = explain_text(
		"term a x missing skip\nterm b 1 when x > 'a' on_error quarantine\nterm c 1\nclamp 0 .. 1",
		&(Given){"x", NUMBER(1)}, 1);
	assert_int_equal(heard.result.outcome, RULE_QUARANTINE);
	assert_int_equal(heard.lines[0].why, RULE_COUNTS);
	assert_int_equal(heard.lines[1].why, RULE_OUT_QUARANTINE);
	assert_non_null(heard.lines[1].reason);
	assert_int_equal(heard.lines[2].why, RULE_OUT_NOT_COMPUTED);
	assert_int_equal(heard.lines[3].why, RULE_OUT_NOT_COMPUTED);
	assert_true(heard.totals.terms == 0 && heard.totals.factors == 0);
	heard = explain_text("term a x missing skip", NULL, 0);
	assert_int_equal(heard.lines[0].why, RULE_OUT_MISSING);
	heard = explain_text(shop, item + 1, 2);
	assert_int_equal(heard.lines[0].why, RULE_OUT_UNKNOWN);
	assert_int_equal(heard.lines[1].why, RULE_OUT_NOT_COMPUTED);
	heard = explain_text("where x < 'a'\nterm a 1", &(Given){"x", NUMBER(1)}, 1);
	assert_int_equal(heard.lines[0].why, RULE_OUT_ERROR);
	assert_non_null(heard.lines[0].reason);
}

static void
attributes_a_statement_reads_are_told(void **state)
{
	Given none = {"", {.kind = RULE_MISSING}};
	Heard heard = explain_text("term a x + y * x when exists(z) and 'b' in l\n"
							   "boost age(t) when x > 1\n"
							   "factor 2",
							   &none, 1);
	static const uint16_t first[] = {0, 1, 2, 3};
	static const uint16_t second[] = {0, 4};
	const RuleAttribute *attributes;
	RuleProgram *program = compile("term a x + y * x when exists(z) and 'b' in l\nboost age(t) when x > 1");

	rules_attributes(program, &attributes);
	assert_true(slice_equal(attributes[4].name, slice_string("t")));
	assert_int_equal(heard.lines[0].nattributes, 4);
	assert_memory_equal(heard.attributes[0], first, sizeof(first));
	assert_int_equal(heard.lines[1].nattributes, 2);
	assert_memory_equal(heard.attributes[1], second, sizeof(second));
	assert_int_equal(heard.lines[2].nattributes, 0);
}

/* The score from what was told, and the settings that the definition was written with. */
static double
recombine(const Random *r, const Heard *heard, int *tier)
{
	char combine = strcmp(r->combine, "max") == 0	? '>'
				   : strcmp(r->combine, "min") == 0 ? '<'
													: r->combine[0];
	double weights = 0;
	bool any = false;
	bool overflow = false;
	bool has_tier = false;
	double terms = 0;
	double boosts = 0;
	double factors = 1;
	double score;

	for (int i = 0; i < heard->n; i++)
	{
		const RuleLine *line = &heard->lines[i];

		if (!line->counts)
			continue;
		if (line->kind == RULE_LINE_TERM)
		{
			const double c = line->contribution;

			if (combine == 's' || combine == 'a' || !any)
				terms = combine == 's' || any ? terms + c : c;
			else if (combine == 'm')
				terms *= c;
			else if (combine == '>' ? c > terms : combine == '<' && c < terms)
				terms = c;
			overflow |= combine != 's' && !isfinite(c);
			weights += line->weight;
			any = true;
		}
		else if (line->kind == RULE_LINE_TIER && (!has_tier || (int) line->value > *tier))
		{
			*tier = (int) line->value;
			has_tier = true;
		}
		else if (line->kind == RULE_LINE_BOOST)
			boosts += line->contribution;
		else if (line->kind == RULE_LINE_FACTOR)
			factors *= line->contribution;
	}
	if (combine == 'a' && any)
		terms /= weights;
	assert_string_equal(heard->totals.combine, r->combine);
	score = overflow ? (double) INFINITY : (terms + boosts) * factors;
	if (!isfinite(score))
		score = 0.4; /* the only on_error of random definitions that gives a score then */
	assert_memory_equal(&score, &heard->totals.before_clamp, sizeof(score));
	if (r->has_clamp)
		score = score < r->clamp_low ? r->clamp_low : score > r->clamp_high ? r->clamp_high : score;
	assert_memory_equal(&score, &heard->totals.after_clamp, sizeof(score));
	score = rule_round(score, r->round);
	return score == 0 ? 0 : score;
}

static void
what_is_told_makes_the_emitted_score(void **state)
{
	static Random r;
	static const double units[] = {1, 3600, 86400};
	int scores = 0;

	for (uint64_t seed = 0; seed < 4000; seed++)
	{
		RuleError error;
		RuleValue values[RULES_ATTRIBUTES_MAX];
		RuleProgram *program;

		random_definition(&r, seed, units[seed % 3]);
		program = rules_compile(r.text, r.len, &memory, &error);
		if (program == NULL)
			continue;
		for (int i = 0; i < 3; i++)
		{
			RuleResult result;
			Heard heard;
			double again;
			int tier = 0;

			random_item(&r, program, 0, values);
			rules_evaluate(program, &(RuleInput){.values = values, .now_us = 0}, &result);
			heard = explain(program, values, 0);
			assert_int_equal(heard.result.outcome, result.outcome);
			assert_memory_equal(&heard.result.score, &result.score, sizeof(double));
			if (result.outcome != RULE_SCORE)
				continue;
			again = recombine(&r, &heard, &tier);
			assert_int_equal(tier, result.tier);
			assert_memory_equal(&again, &result.score, sizeof(double));
			scores++;
		}
		arena_reset(NULL);
	}
	print_message("%d scores recombined\n", scores);
	assert_true(scores > 6000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_statement_is_told_as_written, arena_reset),
		cmocka_unit_test_teardown(why_a_statement_counts_or_not_is_told, arena_reset),
		cmocka_unit_test_teardown(attributes_a_statement_reads_are_told, arena_reset),
		cmocka_unit_test_teardown(what_is_told_makes_the_emitted_score, arena_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
