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

/* What the statements so far come to: the machine's Totals, each with a least and a greatest value. */
typedef struct Sums
{
	double terms[2];
	double boosts[2];
	double factors[2];
	double weights;
	bool any;
	bool overflow;
	bool has_tier;
	int tier;
} Sums;

typedef struct Clock
{
	const RuleProgram *program;
	const RuleInput *input;
	const RuleResult *stands;
	double min_change;
	SpanMachine span;
	bool fixed[RULES_STATEMENTS_MAX]; /* block i reads no clock: */
	Part parts[RULES_STATEMENTS_MAX]; /* what it comes to */
	Sums sums;
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
	if (result->tier != stands->tier)
		return true;
	if (result->score == stands->score)
		return false;
	return !(min_change > 0) || fabs(result->score - stands->score) >= least_change(stands, min_change);
}

/* Of scores between two that are alike all are alike. */
static bool
score_alike(const Clock *clock, double score)
{
	RuleResult result = {.outcome = RULE_SCORE, .score = score, .tier = clock->sums.tier};

	return !rules_differ(clock->stands, &result, clock->min_change);
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

static bool
number_part(Part *part, double number)
{
	part->outcome = BLOCK_VALUE;
	part->bound[0] = part->bound[1] = number;
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
	if (outcome == SPAN_READY && block->kind == STATEMENT_TIER)
		return number_part(part, block->tier);
	if (outcome == SPAN_READY)
		outcome = rule_span_run(span, block->value, block->end);
	if (outcome == SPAN_UNSURE)
		return false;
	if (outcome == SPAN_ERROR && block->kind == STATEMENT_TIER && block->on_error.action != POLICY_QUARANTINE)
	{
		part->outcome = BLOCK_LEFT_OUT;
		return true;
	}
	if (outcome == SPAN_ERROR)
		return policy_part(part, &block->on_error);
	part->outcome = BLOCK_VALUE;
	part->bound[0] = span->spans[0].moves ? span->spans[0].low : span->cells[0].number;
	part->bound[1] = span->spans[0].moves ? span->spans[0].high : span->cells[0].number;
	if (span->spans[0].moves || span->cells[0].kind == RULE_NUMBER)
		return true;
	return policy_part(part, span->cells[0].kind == RULE_MISSING ? &block->missing : &block->on_error);
}

/* Smaller and larger of what may be; the machine never asks the order of what is no number. */
static void
combine_term(RuleCombine combine, Sums *sums, const double *weighted)
{
	for (int i = 0; i < 2; i++)
	{
		double *term = &sums->terms[i];

		if (combine == COMBINE_SUM || (combine == COMBINE_AVERAGE && sums->any))
			*term += weighted[i];
		else if (!sums->any)
			*term = weighted[i];
		else if (combine == COMBINE_GREATEST ? weighted[i] > *term
											 : combine == COMBINE_LEAST && weighted[i] < *term)
			*term = weighted[i];
	}
}

static bool
product(double *factors, const double *by)
{
	double low;
	double high;

	if (!rule_span_product(factors, by, &low, &high))
		return false;
	factors[0] = low;
	factors[1] = high;
	return true;
}

static bool
add_term(const RuleProgram *program, Sums *sums, double weight, const double *value)
{
	double weighted[2] = {weight, weight};
	bool finite;

	if (!product(weighted, value))
		return false;
	finite = isfinite(weighted[0]) && isfinite(weighted[1]);
	if (!finite && weighted[0] != weighted[1])
		return false;
	sums->overflow |= !finite && program->combine != COMBINE_SUM;
	if (program->combine == COMBINE_MULTIPLY && sums->any)
		return product(sums->terms, weighted);
	combine_term(program->combine, sums, weighted);
	sums->weights += weight;
	sums->any = true;
	return true;
}

/* As the machine's add_block(). */
static bool
add_part(const RuleProgram *program, Sums *sums, const RuleBlock *block, const Part *part)
{
	switch (block->kind)
	{
		case STATEMENT_TERM:
			return add_term(program, sums, block->weight, part->bound);
		case STATEMENT_BOOST:
			sums->boosts[0] += part->bound[0];
			sums->boosts[1] += part->bound[1];
			return true;
		case STATEMENT_FACTOR:
			return product(sums->factors, part->bound);
		case STATEMENT_TIER:
			if (!sums->has_tier || block->tier > sums->tier)
				sums->tier = block->tier;
			sums->has_tier = true;
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

/* Of the sums, when all parts are in. */
static bool
sums_quiet(Clock *clock)
{
	const RuleProgram *program = clock->program;
	Sums *sums = &clock->sums;
	double score[2];

	if (program->combine == COMBINE_AVERAGE && sums->any)
	{
		double quotient[2] = {sums->terms[0] / sums->weights, sums->terms[1] / sums->weights};
		bool rises = sums->weights > 0;

		sums->terms[0] = quotient[rises ? 0 : 1];
		sums->terms[1] = quotient[rises ? 1 : 0];
	}
	if (sums->overflow || (program->combine != COMBINE_SUM && !isfinite(sums->weights)))
		sums->terms[0] = sums->terms[1] = (double) INFINITY;
	score[0] = sums->terms[0] + sums->boosts[0];
	score[1] = sums->terms[1] + sums->boosts[1];
	return product(score, sums->factors) && score_quiet(clock, score[0], score[1]);
}

/* SPAN_READY: the item is inside; *quiet is set otherwise. */
static SpanOutcome
where_quiet(Clock *clock, bool *quiet)
{
	const RuleBlock *where = clock->program->where;
	RuleOutcome stands = clock->stands->outcome;
	bool holds = true;
	SpanOutcome outcome = SPAN_READY;

	if (where != NULL && !clock->input->allowed)
		outcome = condition(&clock->span, where->value, where->end, &holds);
	*quiet = outcome != SPAN_UNSURE &&
			 stands == (outcome == SPAN_ERROR && where->on_error.action == POLICY_QUARANTINE ? RULE_QUARANTINE
																							 : RULE_OUTSIDE);
	return outcome == SPAN_READY && !holds ? SPAN_ERROR : outcome;
}

/* True: at no microsecond of the span is there anything to emit. */
static bool
span_quiet(Clock *clock, int64_t from_us, int64_t to_us)
{
	const RuleProgram *program = clock->program;
	bool quiet;

	clock->span.from_us = from_us;
	clock->span.to_us = to_us;
	clock->sums = (Sums){.factors = {1, 1}};
	if (where_quiet(clock, &quiet) != SPAN_READY)
		return quiet;
	for (int i = 0; i < program->nblocks; i++)
	{
		Part *part = &clock->parts[i];

		if (!clock->fixed[i] && !block_part(&clock->span, &program->blocks[i], part))
			return false;
		if (part->outcome == BLOCK_QUARANTINE)
			return clock->stands->outcome == RULE_QUARANTINE;
		if (part->outcome == BLOCK_REJECTED)
			return clock->stands->outcome == RULE_OUTSIDE;
		if (part->outcome == BLOCK_VALUE && !add_part(program, &clock->sums, &program->blocks[i], part))
			return false;
	}
	return sums_quiet(clock);
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
