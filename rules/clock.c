/*
 * clock.c -- when a score moves with time alone: see rules.h.
 *
 * From the next microsecond on, a span of time is shown to hold no change (span.h), then one twice
 * as long behind it, and so on; a span of which it cannot be shown is halved, down to one microsecond,
 * at which the program itself is asked.  So a jump is met to the microsecond, whatever makes it, and
 * a score that drifts is met where its rounded value turns over.  Blocks without age() are computed
 * once.
 */
#include "span.h"
#include "traits.h"

#include <float.h>
#include <math.h>

/* Looks at the program, over a span or at a time; a change ten years off takes about 100. */
#define RULES_CLOCK_STEPS_MAX 4096
/* Where the first second is not shown to be quiet by then, the search goes on until so many. */
#define RULES_CLOCK_STEPS_MAX_NEAR (4 * RULES_CLOCK_STEPS_MAX)
#define SECOND_US INT64_C(1000000)

/* What a block comes to over a span. */
typedef struct Part
{
	BlockOutcome outcome;
	double bound[2]; /* BLOCK_VALUE */
} Part;

typedef struct Clock
{
	const RuleProgram *program;
	const RuleInput *input;
	const RuleResult *stands;
	double min_change;
	SpanMachine span;
	bool fixed[RULES_STATEMENTS_MAX]; /* block i reads no clock: */
	Part parts[RULES_STATEMENTS_MAX]; /* what it comes to */
	int steps;
} Clock;

/* ---- what has to be emitted ------------------------------------------------------------------ */

/* By how much a score has to move; known from what stands alone, so that it moves no more. */
static double
least_change(const RuleResult *stands, double min_change)
{
	return min_change - 4 * DBL_EPSILON * (fabs(stands->score) + min_change);
}

bool
rules_differ(const RuleResult *stands, const RuleResult *result, double min_change)
{
	if (result->outcome != RULE_SCORE || stands->outcome != RULE_SCORE)
		return result->outcome != stands->outcome;
	if (result->score == stands->score)
		return false;
	return !(min_change > 0) || fabs(result->score - stands->score) >= least_change(stands, min_change);
}

/* Of scores between two that are alike all are alike. */
static bool
score_alike(const Clock *clock, double score)
{
	return !rules_differ(clock->stands, &(RuleResult){.outcome = RULE_SCORE, .score = score},
						 clock->min_change);
}

/* ---- statements over a span ------------------------------------------------------------------ */

static bool
reads_clock(const RuleProgram *program, const RuleBlock *block)
{
	for (int i = block->when; i < block->end; i++)
	{
		const RuleOpTraits *traits = rule_op_traits((RuleOp) program->instructions[i].op);

		if (!traits->known || traits->reads_clock)
			return true;
	}
	return false;
}

/* As the machine's run_condition(). */
static SpanOutcome
condition(SpanMachine *span, int from, int to, bool *holds)
{
	const Cell *cell = &span->cells[0];
	SpanOutcome outcome = rule_span_run(span, from, to);

	if (outcome != SPAN_READY)
		return outcome;
	if (span->spans[0].moves || (cell->kind != RULE_BOOL && cell->kind != RULE_MISSING))
		return SPAN_ERROR;
	*holds = cell->kind == RULE_BOOL && cell->boolean;
	return SPAN_READY;
}

static bool
policy_part(Part *part, const RulePolicy *policy)
{
	part->outcome = rule_policy(policy, &part->bound[0]);
	part->bound[1] = part->bound[0];
	return true;
}

/* As the machine's block_evaluate().  False: it cannot be told. */
static bool
block_part(SpanMachine *span, const RuleBlock *block, Part *part)
{
	bool holds = true;
	SpanOutcome outcome = SPAN_READY;

	if (block->when < block->value)
		outcome = condition(span, block->when, block->value, &holds);
	if (outcome == SPAN_READY && !holds)
	{
		part->outcome = BLOCK_LEFT_OUT;
		return true;
	}
	if (outcome == SPAN_READY)
		outcome = rule_span_run(span, block->value, block->end);
	if (outcome == SPAN_UNSURE)
		return false;
	if (outcome == SPAN_ERROR)
		return policy_part(part, &block->on_error);
	part->outcome = BLOCK_VALUE;
	part->bound[0] = span->spans[0].moves ? span->spans[0].low : span->cells[0].number;
	part->bound[1] = span->spans[0].moves ? span->spans[0].high : span->cells[0].number;
	if (span->spans[0].moves || span->cells[0].kind == RULE_NUMBER)
		return true;
	return policy_part(part, span->cells[0].kind == RULE_MISSING ? &block->missing : &block->on_error);
}

/* The sums of rules_evaluate(), each with a least and a greatest value. */
typedef struct Sums
{
	double terms[2];
	double boosts[2];
	double factors[2];
} Sums;

static bool
add_part(Sums *sums, const RuleBlock *block, const Part *part)
{
	double weighted[2];
	double product[2];

	switch (block->kind)
	{
		case STATEMENT_TERM:
			if (!rule_span_product((double[]){block->weight, block->weight}, part->bound, &weighted[0],
								   &weighted[1]))
				return false;
			sums->terms[0] += weighted[0];
			sums->terms[1] += weighted[1];
			return true;
		case STATEMENT_BOOST:
			sums->boosts[0] += part->bound[0];
			sums->boosts[1] += part->bound[1];
			return true;
		case STATEMENT_FACTOR:
			if (!rule_span_product(sums->factors, part->bound, &product[0], &product[1]))
				return false;
			sums->factors[0] = product[0];
			sums->factors[1] = product[1];
			return true;
		default:
			return false;
	}
}

/* As the machine's finish_score(): both bounds are alike. */
static bool
score_quiet(const Clock *clock, double low, double high)
{
	const RuleProgram *program = clock->program;
	double bound[2] = {low, high};

	if (!isfinite(low) || !isfinite(high))
	{
		if (low != high && !(isnan(low) && isnan(high)))
			return false;
		if (program->on_error.action != POLICY_VALUE)
			return clock->stands->outcome == RULE_QUARANTINE;
		bound[0] = bound[1] = program->on_error.value;
	}
	for (int i = 0; i < 2; i++)
		bound[i] = rule_clamp(program, bound[i]);
	if (!rule_round_monotone(bound[0], bound[1], program->round))
		return false;
	return score_alike(clock, rule_round(bound[0], program->round)) &&
		   score_alike(clock, rule_round(bound[1], program->round));
}

/* True: at no microsecond of the span is there anything to emit. */
static bool
span_quiet(Clock *clock, int64_t from_us, int64_t to_us)
{
	const RuleProgram *program = clock->program;
	Sums sums = {{0, 0}, {0, 0}, {1, 1}};
	double sum[2];
	double score[2];

	clock->span.from_us = from_us;
	clock->span.to_us = to_us;
	if (program->where != NULL)
	{
		bool holds = false;
		SpanOutcome outcome = condition(&clock->span, program->where->value, program->where->end, &holds);

		if (outcome == SPAN_UNSURE)
			return false;
		if (outcome == SPAN_ERROR && program->where->on_error.action == POLICY_QUARANTINE)
			return clock->stands->outcome == RULE_QUARANTINE;
		if (outcome == SPAN_ERROR || !holds)
			return clock->stands->outcome == RULE_OUTSIDE;
	}
	for (int i = 0; i < program->nblocks; i++)
	{
		Part *part = &clock->parts[i];

		if (!clock->fixed[i] && !block_part(&clock->span, &program->blocks[i], part))
			return false;
		if (part->outcome == BLOCK_QUARANTINE)
			return clock->stands->outcome == RULE_QUARANTINE;
		if (part->outcome == BLOCK_VALUE && !add_part(&sums, &program->blocks[i], part))
			return false;
	}
	sum[0] = sums.terms[0] + sums.boosts[0];
	sum[1] = sums.terms[1] + sums.boosts[1];
	return rule_span_product(sum, sums.factors, &score[0], &score[1]) &&
		   score_quiet(clock, score[0], score[1]);
}

/* ---- the search ------------------------------------------------------------------------------ */

static void
begin(Clock *clock)
{
	rule_span_begin(&clock->span, clock->program, clock->input);
	clock->span.from_us = clock->span.to_us = clock->input->now_us;
	for (int i = 0; i < clock->program->nblocks; i++)
	{
		clock->fixed[i] = !reads_clock(clock->program, &clock->program->blocks[i]);
		/* what reads no clock is sure */
		if (clock->fixed[i] && !block_part(&clock->span, &clock->program->blocks[i], &clock->parts[i]))
			clock->fixed[i] = false;
	}
	clock->steps = 0;
}

static bool
quiet(Clock *clock, int64_t from_us, int64_t to_us)
{
	RuleInput input = *clock->input;
	RuleResult result;

	clock->steps++;
	if (to_us > from_us)
		return span_quiet(clock, from_us, to_us);
	input.now_us = from_us;
	rules_evaluate(clock->program, &input, &result);
	return !rules_differ(clock->stands, &result, clock->min_change);
}

static bool
tired(const Clock *clock, int64_t at_us, int64_t start_us)
{
	return clock->steps > RULES_CLOCK_STEPS_MAX &&
		   (at_us - start_us >= SECOND_US || clock->steps > RULES_CLOCK_STEPS_MAX_NEAR);
}

/* The first microsecond from start_us to end_us at which there is a change, or at which the search
 * was given up; end_us + 1: there is none. */
static int64_t
search(Clock *clock, int64_t start_us, int64_t end_us)
{
	int64_t at_us = start_us;
	int64_t loud_us = start_us; /* end of the last span that was not shown quiet */
	int64_t length = SECOND_US;

	while (at_us <= end_us && !tired(clock, at_us, start_us))
	{
		int64_t left = end_us - at_us; /* after at_us */

		if (length - 1 > left)
			length = left + 1;
		if (quiet(clock, at_us, at_us + length - 1))
		{
			at_us += length;
			/* inside a span that is not quiet as a whole, halve what is left of it */
			length = at_us <= loud_us		  ? (loud_us - at_us) / 2 + 1
					 : length > INT64_MAX / 2 ? length
											  : length * 2;
		}
		else if (length == 1)
			return at_us;
		else
		{
			loud_us = at_us + length - 1;
			length /= 2;
		}
	}
	return at_us;
}

int64_t
rules_next_change(const RuleProgram *program, const RuleInput *input, const RuleResult *stands,
				  double min_change)
{
	Clock clock;
	int64_t now_us = input->now_us;
	int64_t horizon_us =
		now_us > RULES_NEVER - 1 - RULES_HORIZON_US ? RULES_NEVER - 1 : now_us + RULES_HORIZON_US;
	int64_t at_us;

	if (now_us >= RULES_NEVER - 1)
		return RULES_NEVER;
	clock.program = program;
	clock.input = input;
	clock.stands = stands;
	clock.min_change = min_change;
	begin(&clock);
	if (quiet(&clock, now_us + 1, RULES_NEVER - 1))
		return RULES_NEVER;
	at_us = search(&clock, now_us + 1, horizon_us);
	if (at_us <= horizon_us)
		return at_us;
	return at_us == RULES_NEVER || quiet(&clock, at_us, RULES_NEVER - 1) ? RULES_NEVER : horizon_us;
}
