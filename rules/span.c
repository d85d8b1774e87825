/*
 * span.c -- see span.h.
 */
#include "span.h"

#include "traits.h"

#include <float.h>
#include <math.h>

void
rule_span_begin(SpanMachine *span, const RuleProgram *program, const RuleInput *input)
{
	span->program = program;
	span->machine = (Machine){.values = input->values,
							  .previous = input->previous,
							  .changes = input->changes,
							  .now_us = input->now_us,
							  .stack = span->cells};
	memset(span->cells, 0, (size_t) program->stack_cells * sizeof(span->cells[0]));
	memset(span->spans, 0, (size_t) program->stack_cells * sizeof(span->spans[0]));
}

/* ---- cells ----------------------------------------------------------------------------------- */

static SpanOutcome
set_kind(SpanMachine *span, int at, RuleKind kind)
{
	span->spans[at].moves = false;
	span->cells[at].kind = kind;
	return SPAN_READY;
}

static SpanOutcome
set_bool(SpanMachine *span, int at, bool boolean)
{
	span->cells[at].boolean = boolean;
	return set_kind(span, at, RULE_BOOL);
}

/* A number the machine refuses is an error where it is certain. */
static SpanOutcome
set_span(SpanMachine *span, int at, double low, double high)
{
	if (!isfinite(low) || !isfinite(high))
		return low == high || (isnan(low) && isnan(high)) ? SPAN_ERROR : SPAN_UNSURE;
	span->cells[at].kind = RULE_NUMBER;
	span->cells[at].number = low;
	span->spans[at] = (Span){.moves = low != high, .low = low, .high = high};
	return SPAN_READY;
}

static void
bounds(const SpanMachine *span, int at, double *bound)
{
	const Span *s = &span->spans[at];

	bound[0] = s->moves ? s->low : span->cells[at].number;
	bound[1] = s->moves ? s->high : span->cells[at].number;
}

/* As the machine's check_numbers(): SPAN_READY and *missing, or an error. */
static SpanOutcome
check_numbers(const SpanMachine *span, int at, int n, bool *missing)
{
	*missing = false;
	for (int i = at; i < at + n; i++)
	{
		if (span->spans[i].moves || span->cells[i].kind == RULE_NUMBER)
			continue;
		if (span->cells[i].kind != RULE_MISSING)
			return SPAN_ERROR;
		*missing = true;
	}
	return SPAN_READY;
}

/* ---- operations ------------------------------------------------------------------------------ */

static SpanOutcome
age(SpanMachine *span, int *at, Cell **top)
{
	int here = (int) (*top - span->cells);
	int again = *at;
	Cell *cell = *top;
	double low;

	span->machine.now_us = span->from_us;
	if (!rule_execute(&span->machine, span->program, at, top))
		return SPAN_ERROR;
	span->spans[here].moves = false;
	if (cell->kind != RULE_NUMBER)
		return SPAN_READY;
	low = cell->number;
	*top = cell;
	span->machine.now_us = span->to_us;
	if (!rule_execute(&span->machine, span->program, &again, top))
		return SPAN_ERROR;
	return set_span(span, here, low, cell->number);
}

bool
rule_span_product(const double *a, const double *b, double *low, double *high)
{
	int failed = 0;

	*low = *high = a[0] * b[0];
	for (int i = 0; i < 4; i++)
	{
		double corner = a[i & 1] * b[i >> 1];

		failed += isnan(corner);
		*low = corner < *low ? corner : *low;
		*high = corner > *high ? corner : *high;
	}
	return failed == 0 || failed == 4;
}

static SpanOutcome
divide(SpanMachine *span, int at, const double *a, const double *b)
{
	double low = INFINITY;
	double high = -INFINITY;

	if (b[0] == 0 && b[1] == 0)
		return SPAN_ERROR;
	if (b[0] <= 0 && b[1] >= 0)
		return SPAN_UNSURE;
	for (int i = 0; i < 4; i++)
	{
		double corner = a[i & 1] / b[i >> 1];

		low = corner < low ? corner : low;
		high = corner > high ? corner : high;
	}
	return set_span(span, at, low, high);
}

static SpanOutcome
arithmetic(SpanMachine *span, int at, RuleOp op)
{
	double a[2];
	double b[2];
	double product[2];
	bool missing;

	if (check_numbers(span, at, 2, &missing) != SPAN_READY)
		return SPAN_ERROR;
	if (missing)
		return set_kind(span, at, RULE_MISSING);
	bounds(span, at, a);
	bounds(span, at + 1, b);
	switch (op)
	{
		case OP_ADD:
			return set_span(span, at, a[0] + b[0], a[1] + b[1]);
		case OP_SUBTRACT:
			return set_span(span, at, a[0] - b[1], a[1] - b[0]);
		case OP_MULTIPLY:
			if (!rule_span_product(a, b, &product[0], &product[1]))
				return SPAN_UNSURE;
			return set_span(span, at, product[0], product[1]);
		case OP_DIVIDE:
			return divide(span, at, a, b);
		case OP_LEAST:
			return set_span(span, at, b[0] < a[0] ? b[0] : a[0], b[1] < a[1] ? b[1] : a[1]);
		default:
			return set_span(span, at, b[0] > a[0] ? b[0] : a[0], b[1] > a[1] ? b[1] : a[1]);
	}
}

/* Of two numbers: 1 or 0 at every time, -1 where it depends on the time. */
static int
order(const SpanMachine *span, int first, int second, RuleSymbol symbol)
{
	double a[2];
	double b[2];
	bool swap = symbol == SYMBOL_GREATER || symbol == SYMBOL_GREATER_EQUAL;
	bool strict = symbol == SYMBOL_LESS || symbol == SYMBOL_GREATER;

	bounds(span, swap ? second : first, a); /* a > b is b < a */
	bounds(span, swap ? first : second, b);
	if (symbol == SYMBOL_EQUAL || symbol == SYMBOL_NOT_EQUAL)
	{
		if (a[1] < b[0] || b[1] < a[0])
			return symbol == SYMBOL_NOT_EQUAL;
		return a[0] == a[1] && b[0] == b[1] ? symbol == SYMBOL_EQUAL : -1;
	}
	if (strict ? a[1] < b[0] : a[1] <= b[0])
		return 1;
	return (strict ? a[0] >= b[1] : a[0] > b[1]) ? 0 : -1;
}

static SpanOutcome
compare(SpanMachine *span, int at, RuleSymbol symbol)
{
	bool missing;
	int holds;

	if (check_numbers(span, at, 2, &missing) != SPAN_READY)
		return SPAN_ERROR;
	if (missing)
		return set_kind(span, at, RULE_MISSING);
	holds = order(span, at, at + 1, symbol);
	return holds < 0 ? SPAN_UNSURE : set_bool(span, at, holds);
}

/* x, low, high: what is missing makes its half unknown, and false decides. */
static SpanOutcome
between(SpanMachine *span, int at)
{
	int halves[2] = {1, 1};
	bool unsure = false;
	bool missing;
	bool any_missing;

	if (check_numbers(span, at, 1, &missing) != SPAN_READY)
		return SPAN_ERROR;
	if (missing)
		return set_kind(span, at, RULE_MISSING);
	if (check_numbers(span, at + 1, 2, &any_missing) != SPAN_READY)
		return SPAN_ERROR;
	for (int i = 0; i < 2; i++)
	{
		check_numbers(span, at + 1 + i, 1, &missing);
		if (!missing)
			halves[i] = order(span, at, at + 1 + i, i == 0 ? SYMBOL_GREATER_EQUAL : SYMBOL_LESS_EQUAL);
		unsure |= halves[i] < 0;
	}
	if (halves[0] == 0 || halves[1] == 0)
		return set_bool(span, at, false);
	return unsure ? SPAN_UNSURE : any_missing ? set_kind(span, at, RULE_MISSING) : set_bool(span, at, true);
}

/* ---- tables: the operand moves --------------------------------------------------------------- */

static SpanOutcome
set_other(SpanMachine *span, int at, const RuleTable *table)
{
	if (!table->has_other)
		return set_kind(span, at, RULE_MISSING);
	return set_span(span, at, table->other, table->other);
}

static SpanOutcome
steps(SpanMachine *span, int at, const RuleTable *table)
{
	int first = rule_table_find(table, span->spans[at].low);
	int last = rule_table_find(table, span->spans[at].high);
	double low = INFINITY;
	double high = -INFINITY;

	if (first == -1 && (last == -1 || !table->has_other))
		return last == -1 ? set_other(span, at, table) : SPAN_UNSURE;
	for (int i = first; i <= last; i++)
	{
		double value = i == -1 ? table->other : table->entries[i].value;

		low = value < low ? value : low;
		high = value > high ? value : high;
	}
	return set_span(span, at, low, high);
}

/*
 * Between two bounds of the table it is monotone to the last bit, but need not arrive at exactly the
 * value of the next one: both count.
 */
static SpanOutcome
interpolate(SpanMachine *span, int at, const RuleTable *table)
{
	const Span *x = &span->spans[at];
	int last = rule_table_find(table, x->high);
	double ends[2] = {rule_interpolate(table, x->low), rule_interpolate(table, x->high)};
	double low = fmin(ends[0], ends[1]);
	double high = fmax(ends[0], ends[1]);

	if (!isfinite(ends[0]) || !isfinite(ends[1]))
		return SPAN_UNSURE;
	for (int i = rule_table_find(table, x->low) + 1; i <= last; i++)
	{
		double value = table->entries[i].value;
		double before = i > 0 ? table->entries[i - 1].value : value;
		double arrival = before + (value - before);

		low = fmin(low, fmin(value, arrival));
		high = fmax(high, fmax(value, arrival));
	}
	return set_span(span, at, low, high);
}

/* 0: no key in the span; 1: some key, so it depends on the time; -1: of another kind. */
static int
keys_inside(const SpanMachine *span, int at, const RuleTable *table)
{
	int last;

	if (table->kind != RULE_NUMBER)
		return -1;
	last = rule_table_find(table, span->spans[at].high);
	return last >= 0 && table->entries[last].key.number >= span->spans[at].low;
}

static SpanOutcome
in_table(SpanMachine *span, int at, const RuleTable *table)
{
	int inside = keys_inside(span, at, table);

	return inside < 0 ? SPAN_ERROR : inside > 0 ? SPAN_UNSURE : set_bool(span, at, false);
}

static SpanOutcome
enumerate(SpanMachine *span, int at, const RuleTable *table)
{
	int inside = keys_inside(span, at, table);

	return inside < 0 ? SPAN_ERROR : inside > 0 ? SPAN_UNSURE : set_other(span, at, table);
}

static SpanOutcome
in_list(SpanMachine *span, int at, const RuleValue *list)
{
	if (list->kind == RULE_MISSING)
		return set_kind(span, at, RULE_MISSING);
	return list->kind == RULE_LIST ? SPAN_UNSURE : SPAN_ERROR;
}

/* ---- functions ------------------------------------------------------------------------------- */

typedef struct Box
{
	const RuleFunction *function;
	const RuleFunctionTraits *traits;
	double low[RULES_ARGUMENTS_MAX];
	double high[RULES_ARGUMENTS_MAX];
} Box;

/* Domains have no holes: with both ends inside, all is. */
static SpanOutcome
check_domain(RuleDomain domain, double low, double high)
{
	bool low_bad = rule_domain_violation(domain, low) != NULL;
	bool high_bad = rule_domain_violation(domain, high) != NULL;

	if (!low_bad && !high_bad)
		return SPAN_READY;
	/* both outside and on one side of the domain, of which 0.5 is a part, whichever it is */
	return low_bad && high_bad && !(low < 0.5 && high > 0.5) ? SPAN_ERROR : SPAN_UNSURE;
}

/* The values of argument i that may be extreme: its ends, and 0 where it turns round. */
static int
candidates(const Box *box, int i, double *values)
{
	bool turns = (box->traits->turns >> i & 1) && box->low[i] < 0 && box->high[i] > 0;

	values[0] = box->low[i];
	values[1] = box->high[i];
	values[2] = 0;
	return box->low[i] == box->high[i] ? 1 : turns ? 3 : 2;
}

/* The least and the greatest value at the corners and where an argument turns round. */
static void
corners(const Box *box, double *low, double *high, int *failed, int *n)
{
	const RuleFunction *function = box->function;
	double values[RULES_ARGUMENTS_MAX][3];
	int counts[RULES_ARGUMENTS_MAX];
	double at[RULES_ARGUMENTS_MAX];

	*low = INFINITY;
	*high = -INFINITY;
	*failed = 0;
	*n = 1;
	for (int i = 0; i < function->narguments; i++)
		*n *= counts[i] = candidates(box, i, values[i]);
	for (int corner = 0; corner < *n; corner++)
	{
		double value;

		for (int i = 0, rest = corner; i < function->narguments; rest /= counts[i++])
			at[i] = values[i][rest % counts[i]];
		value = function->compute(at);
		*failed += !isfinite(value);
		*low = value < *low ? value : *low;
		*high = value > *high ? value : *high;
	}
}

/* Apart by so many units in the last place, and not past 0, where functions are exact. */
static void
widen(double *low, double *high, int units)
{
	double below = *low - (fabs(*low) * DBL_EPSILON + DBL_TRUE_MIN) * units;
	double above = *high + (fabs(*high) * DBL_EPSILON + DBL_TRUE_MIN) * units;

	*low = *low >= 0 && below < 0 ? 0 : below;
	*high = *high < 0 && above > 0 ? 0 : above;
}

static SpanOutcome
box_compute(SpanMachine *span, int at, Box *box)
{
	const RuleFunctionTraits *traits = box->traits;
	double floor[2] = {0, 0};
	double low;
	double high;
	int failed;
	int n;

	if (traits->floor >= 0)
	{
		floor[0] = box->low[traits->floor];
		floor[1] = box->high[traits->floor];
		box->low[traits->floor] = box->high[traits->floor] = 0;
	}
	corners(box, &low, &high, &failed, &n);
	if (failed > 0)
		return failed == n ? SPAN_ERROR : SPAN_UNSURE;
	if (traits->wobble > 0)
		widen(&low, &high, traits->wobble);
	if (traits->floor >= 0)
	{
		/* as with_floor() does it; a floor that moves is no hurry of anybody's */
		if (floor[0] != floor[1])
			return SPAN_UNSURE;
		low = floor[0] + (1 - floor[0]) * low;
		high = floor[0] + (1 - floor[0]) * high;
	}
	return set_span(span, at, low, high);
}

static SpanOutcome
call(SpanMachine *span, int at, const RuleFunction *function)
{
	Box box = {.function = function, .traits = rule_function_traits(function)};
	bool missing;

	for (int i = 0; i < function->narguments; i++)
	{
		double bound[2];
		SpanOutcome inside;

		if (check_numbers(span, at + i, 1, &missing) != SPAN_READY || missing)
		{
			if (check_numbers(span, at + i, function->narguments - i, &missing) != SPAN_READY)
				return SPAN_ERROR;
			return set_kind(span, at, RULE_MISSING);
		}
		bounds(span, at + i, bound);
		inside = check_domain(function->arguments[i].domain, bound[0], bound[1]);
		if (inside != SPAN_READY)
			return inside;
		if (bound[0] != bound[1] && (box.traits == NULL || (box.traits->monotone >> i & 1) == 0))
			return SPAN_UNSURE;
		box.low[i] = bound[0];
		box.high[i] = bound[1];
	}
	if (box.traits == NULL || (box.traits->smooth != NULL && !box.traits->smooth(box.low, box.high)))
		return SPAN_UNSURE;
	return box_compute(span, at, &box);
}

/* ---- the machine ----------------------------------------------------------------------------- */

/* An operation of which some operand moves; its first one is cell `at`. */
static SpanOutcome
operate(SpanMachine *span, const RuleInstruction *i, int at)
{
	switch ((RuleOp) i->op)
	{
		case OP_ADD:
		case OP_SUBTRACT:
		case OP_MULTIPLY:
		case OP_DIVIDE:
		case OP_LEAST:
		case OP_GREATEST:
			return arithmetic(span, at, (RuleOp) i->op);
		case OP_NEGATE:
			return set_span(span, at, -span->spans[at].high, -span->spans[at].low);
		case OP_COMPARE:
			return compare(span, at, (RuleSymbol) i->index);
		case OP_BETWEEN:
			return between(span, at);
		case OP_IS_NULL:
			return set_bool(span, at, false);
		case OP_LIKE:
		case OP_PREFIX:
			return SPAN_ERROR; /* a number is no text */
		case OP_IN_TABLE:
			return in_table(span, at, i->table);
		case OP_IN_LIST:
			return in_list(span, at, rule_operand(&span->machine, i->index));
		case OP_STEPS:
			return steps(span, at, i->table);
		case OP_INTERP:
			return interpolate(span, at, i->table);
		case OP_ENUM:
			return enumerate(span, at, i->table);
		case OP_CALL:
			return call(span, at, i->function);
		default:
			return SPAN_UNSURE;
	}
}

static bool
any_moves(const SpanMachine *span, int at, int n)
{
	for (int i = at; i < at + n; i++)
		if (span->spans[i].moves)
			return true;
	return false;
}

SpanOutcome
rule_span_run(SpanMachine *span, int from, int to)
{
	Cell *top = span->cells;

	for (int at = from; at < to;)
	{
		const RuleInstruction *i = &span->program->instructions[at];
		const RuleOpTraits *traits = rule_op_traits((RuleOp) i->op);
		int operands = rule_op_operands(i);
		int first = (int) (top - span->cells) - operands;
		SpanOutcome outcome = SPAN_READY;

		if (!traits->known)
			return SPAN_UNSURE;
		if (i->op == OP_AGE)
			outcome = age(span, &at, &top);
		else if (traits->reads_clock)
			outcome = SPAN_UNSURE;
		else if (any_moves(span, first, operands))
		{
			outcome = operate(span, i, first);
			top = span->cells + first + 1;
			at++;
		}
		else
		{
			if (!rule_execute(&span->machine, span->program, &at, &top))
				return SPAN_ERROR;
			if (i->op != OP_BRANCH && i->op != OP_JUMP) /* these leave nothing new on top */
				span->spans[top - span->cells - 1].moves = false;
		}
		if (outcome != SPAN_READY)
			return outcome;
	}
	return SPAN_READY;
}
