/*
 * oracle.c -- what a definition means, as naively as scoring.md says it: a walk over a tree, with libm.
 */
#include "model.h"

#include <math.h>
#include <string.h>

typedef struct Scope
{
	const Definition *definition;
	const Item *item;
	bool last_known;
	Expr *const *arguments; /* of the macro being walked */
	const struct Scope *caller;
} Scope;

static Value walk(const Scope *scope, const Expr *e);

static const Value missing = {.kind = V_MISSING};
static const Value error = {.kind = V_ERROR};

static Value
boolean(bool b)
{
	return (Value){.kind = V_BOOL, .boolean = b};
}

static Value
number(double n)
{
	return isfinite(n) ? (Value){.kind = V_NUMBER, .number = n} : error;
}

/* ---- attributes ------------------------------------------------------------------------------ */

static const Value *
previous(const Scope *scope, int id)
{
	return scope->item->remembers ? &scope->item->was[id] : &missing;
}

/* An attribute, or old(attribute): what stands there. */
static const Value *
stands(const Scope *scope, const Expr *e)
{
	if (e->kind == X_OLD)
		return previous(scope, e->id);
	if (scope->last_known && scope->item->now[e->id].kind == V_MISSING)
		return previous(scope, e->id);
	return &scope->item->now[e->id];
}

/* The same where only what is a fact counts. */
static const Value *
fact(const Scope *scope, const Expr *e)
{
	return e->kind == X_OLD ? previous(scope, e->id) : &scope->item->now[e->id];
}

static Value
load(const Value *value)
{
	return value->kind == V_NUMBER && !isfinite(value->number) ? error : *value;
}

static Value
age(const Scope *scope, const Value *value)
{
	int64_t then;

	if (value->kind == V_TIME)
		then = value->time_us;
	else if (value->kind == V_TEXT && text_time(value->text, &then))
		;
	else if (value->has_own_time)
		then = value->own_time_us;
	else
		return missing;
	if (then == INT64_MIN)
		return error;
	if (then >= scope->item->now_us)
		return number(0);
	return number((double) (uint64_t) (scope->item->now_us - then) / 1e6);
}

static Value
length(const Value *value)
{
	double n = 0;

	if (value->kind == V_MISSING)
		return missing;
	if (value->kind == V_LIST)
		return number(value->n);
	if (value->kind != V_TEXT)
		return error;
	for (const char *c = value->text; *c != '\0'; c++)
		n += ((unsigned char) *c & 0xc0) != 0x80;
	return number(n);
}

static Value
delta(const Scope *scope, int id)
{
	Value now = load(&scope->item->now[id]);
	Value was = load(previous(scope, id));

	if ((now.kind != V_NUMBER && now.kind != V_MISSING) || (was.kind != V_NUMBER && was.kind != V_MISSING))
		return error;
	return now.kind == V_MISSING || was.kind == V_MISSING ? missing : number(now.number - was.number);
}

static Value
rate(const Scope *scope, int id, Value window)
{
	Value change = delta(scope, id);
	const Value *now = &scope->item->now[id];
	const Value *was = previous(scope, id);

	if ((window.kind != V_NUMBER && window.kind != V_MISSING) || change.kind == V_ERROR)
		return error;
	if (window.kind == V_MISSING || change.kind == V_MISSING || !now->has_own_time || !was->has_own_time)
		return missing;
	if (window.number <= 0 || now->own_time_us == was->own_time_us)
		return error;
	return number(change.number * window.number / ((double) (now->own_time_us - was->own_time_us) / 1e6));
}

/* ---- conditions ------------------------------------------------------------------------------ */

static bool
is_condition(Value v)
{
	return v.kind == V_BOOL || v.kind == V_MISSING;
}

static int
sign(double a, double b)
{
	return (a > b) - (a < b);
}

/* False: they have no order. */
static bool
order(Value a, Value b, int *result)
{
	int64_t us;

	if (a.kind == V_TIME && b.kind == V_TEXT && text_time(b.text, &us))
		b = (Value){.kind = V_TIME, .time_us = us};
	else if (a.kind == V_TEXT && b.kind == V_TIME && text_time(a.text, &us))
		a = (Value){.kind = V_TIME, .time_us = us};
	if (a.kind != b.kind)
		return false;
	if (a.kind == V_NUMBER)
		*result = sign(a.number, b.number);
	else if (a.kind == V_TEXT)
		*result = strcmp(a.text, b.text);
	else if (a.kind == V_BOOL)
		*result = a.boolean - b.boolean;
	else if (a.kind == V_TIME)
		*result = (a.time_us > b.time_us) - (a.time_us < b.time_us);
	else
		return false;
	return true;
}

static Value
compare(Value a, Value b, char op)
{
	int o = 0;

	if (a.kind == V_ERROR || b.kind == V_ERROR)
		return error;
	if (a.kind == V_MISSING || b.kind == V_MISSING)
		return missing;
	if (!order(a, b, &o) || (a.kind == V_BOOL && op != '=' && op != '!'))
		return error;
	switch (op)
	{
		case '=':
			return boolean(o == 0);
		case '!':
			return boolean(o != 0);
		case '<':
			return boolean(o < 0);
		case 'l':
			return boolean(o <= 0);
		case '>':
			return boolean(o > 0);
		default:
			return boolean(o >= 0);
	}
}

static Value
both(Value a, Value b)
{
	if (!is_condition(a) || !is_condition(b))
		return error;
	if ((a.kind == V_BOOL && !a.boolean) || (b.kind == V_BOOL && !b.boolean))
		return boolean(false);
	return a.kind == V_MISSING || b.kind == V_MISSING ? missing : boolean(true);
}

static Value
negation(Value a)
{
	return !is_condition(a) ? error : a.kind == V_MISSING ? missing : boolean(!a.boolean);
}

/* "a or b" is "not (not a and not b)", and neither looks further than it must. */
static Value
joined(const Scope *scope, const Expr *e)
{
	bool is_or = e->kind == X_OR;
	Value result = boolean(true);

	for (int i = 0; i < e->n; i++)
	{
		Value v;

		if (result.kind == V_BOOL && !result.boolean)
			break;
		v = walk(scope, e->operands[i]);
		result = both(result, is_or ? negation(v) : v);
		if (result.kind == V_ERROR)
			return error;
	}
	return is_or ? negation(result) : result;
}

static bool
same(const Value *a, const Value *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind == V_NUMBER ? a->number == b->number
		   : a->kind == V_TEXT ? strcmp(a->text, b->text) == 0
		   : a->kind == V_BOOL ? a->boolean == b->boolean
							   : false;
}

static Value
in_list(Value v, const Value *list)
{
	if (v.kind == V_TIME || v.kind == V_LIST || v.kind == V_OTHER || v.kind == V_ERROR ||
		(list->kind != V_LIST && list->kind != V_MISSING))
		return error;
	if (v.kind == V_MISSING || list->kind == V_MISSING)
		return missing;
	for (int i = 0; i < list->n; i++)
		if (same(&v, &list->elements[i]))
			return boolean(true);
	return boolean(false);
}

static Value
overlap(const Value *list, const Expr *e)
{
	if (list->kind == V_MISSING)
		return missing;
	if (list->kind != V_LIST)
		return error;
	for (int i = 0; i < e->nentries; i++)
		if (in_list(e->entries[i].key, list).boolean)
			return boolean(true);
	return boolean(false);
}

static Value
in_table(Value v, const Expr *e)
{
	if (v.kind == V_MISSING)
		return missing;
	for (int i = 0; i < e->nentries; i++)
	{
		const Value *key = &e->entries[i].key;
		int64_t us;

		if (v.kind == V_TIME && key->kind == V_TEXT)
		{
			if (text_time(key->text, &us) && us == v.time_us)
				return boolean(true);
		}
		else if (v.kind != key->kind)
			return error;
		else if (same(&v, key))
			return boolean(true);
	}
	return boolean(false);
}

static bool
like(const char *pattern, const char *text)
{
	size_t bytes = 1;

	while (text[0] != '\0' && ((unsigned char) text[bytes] & 0xc0) == 0x80)
		bytes++;
	switch (*pattern)
	{
		case '\0':
			return *text == '\0';
		case '%':
			return like(pattern + 1, text) || (*text != '\0' && like(pattern, text + 1));
		case '_':
			return *text != '\0' && like(pattern + 1, text + bytes);
		case '\\':
			pattern++;
			/* fall through */
		default:
			return *pattern == *text && like(pattern + 1, text + 1);
	}
}

static Value
match(Value v, const Expr *e)
{
	if (v.kind != V_TEXT)
		return v.kind == V_MISSING ? missing : error;
	return boolean(e->kind == X_LIKE ? like(e->text, v.text)
									 : strncmp(v.text, e->text, strlen(e->text)) == 0);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static Value
operate(Value a, Value b, char op)
{
	if ((a.kind != V_NUMBER && a.kind != V_MISSING) || (b.kind != V_NUMBER && b.kind != V_MISSING))
		return error;
	if (a.kind == V_MISSING || b.kind == V_MISSING)
		return missing;
	switch (op)
	{
		case '+':
			return number(a.number + b.number);
		case '-':
			return number(a.number - b.number);
		case '*':
			return number(a.number * b.number);
		case '/':
			return b.number == 0 ? error : number(a.number / b.number);
		case 'm':
			return number(b.number < a.number ? b.number : a.number);
		default:
			return number(b.number > a.number ? b.number : a.number);
	}
}

static Value
fold(const Scope *scope, const Expr *e)
{
	Value result = walk(scope, e->operands[0]);

	for (int i = 1; i < e->n && result.kind != V_ERROR; i++)
		result = operate(result, walk(scope, e->operands[i]),
						 e->kind == X_MIN	? 'm'
						 : e->kind == X_MAX ? 'M'
											: e->ops[i]);
	return result;
}

static double
round_to(double v, double q)
{
	double n = rint(1 / q);
	double r = n * q == 1 ? rint(v * n) / n : rint(v / q) * q;

	return isfinite(r) ? r : v;
}

static double
floored(double p, double decay)
{
	return p + (1 - p) * decay;
}

static double
formula(FunctionId id, double x, double a, double b, double c)
{
	switch (id)
	{
		case F_LINEAR:
			return a * x + b;
		case F_LOG1P:
			return log1p(a * x);
		case F_LOG10P:
			return log10(1 + a * x);
		case F_LN2P:
			return log(2 + a * x);
		case F_SQRT:
			return sqrt(x);
		case F_SQUARE:
			return x * x;
		case F_POW:
			return pow(x, a);
		case F_ABS:
			return fabs(x);
		case F_RECIP:
			return b / (a * x + c);
		case F_SATURATION:
			return x / (x + a);
		case F_INVERSE:
			return a / (x + a);
		case F_SIGMOID:
			return pow(x, b) / (pow(x, b) + pow(a, b));
		case F_LOGISTIC:
			return 1 / (1 + exp(-a * (x - b)));
		case F_GAUSS:
			return floored(c, exp(x * x * log(b) / (a * a)));
		case F_EXP_DECAY:
			return floored(c, exp(x * log(b) / a));
		case F_HALF_LIFE:
			return floored(b, exp2(-x / a));
		case F_LINEAR_DECAY:
		{
			double s = a / (1 - b);
			double left = (s - x) / s;

			return floored(c, left > 0 ? left : 0);
		}
		case F_CLAMP:
			return a > b ? (double) NAN : x < a ? a : x > b ? b : x;
		case F_ROUND:
			return round_to(x, a);
		case F_DISTANCE:
			return fabs(x - a) - b > 0 ? fabs(x - a) - b : 0;
		case FUNCTIONS:
			break;
	}
	return (double) NAN;
}

static bool
in_domain(Domain domain, double x)
{
	return domain == D_ANY || (domain == D_NOT_NEGATIVE && x >= 0) || (domain == D_POSITIVE && x > 0) ||
		   (domain == D_INSIDE && x > 0 && x < 1) || (domain == D_WITHIN && x >= 0 && x <= 1);
}

/* The first argument that is missing or outside its domain says which; one of a wrong type always. */
static Value
call(const Scope *scope, const Expr *e)
{
	const FunctionDef *f = &functions[e->id];
	Value values[4];
	double x[4] = {0};

	for (int i = 0; i < f->n; i++)
	{
		values[i] = i < e->n ? walk(scope, e->operands[i]) : number(f->arguments[i].fallback);
		if (values[i].kind == V_ERROR)
			return error;
	}
	for (int i = 0; i < f->n; i++)
	{
		if (values[i].kind == V_MISSING)
		{
			for (int j = i; j < f->n; j++)
				if (values[j].kind != V_NUMBER && values[j].kind != V_MISSING)
					return error;
			return missing;
		}
		if (values[i].kind != V_NUMBER || !in_domain(f->arguments[i].domain, values[i].number))
			return error;
		x[i] = values[i].number;
	}
	return number(formula((FunctionId) e->id, x[0], x[1], x[2], x[3]));
}

static Value
steps(Value x, const Expr *e)
{
	Value result = e->has_other ? number(e->other) : missing;

	if (x.kind != V_NUMBER)
		return x.kind == V_MISSING ? missing : error;
	for (int i = 0; i < e->nentries; i++)
		if (e->entries[i].key.number <= x.number)
			result = number(e->entries[i].value);
	return result;
}

static Value
interp(Value x, const Expr *e)
{
	const Entry *last = &e->entries[e->nentries - 1];

	if (x.kind != V_NUMBER)
		return x.kind == V_MISSING ? missing : error;
	if (x.number < e->entries[0].key.number)
		return number(e->entries[0].value);
	for (const Entry *a = e->entries; a < last; a++)
		if (x.number >= a[0].key.number && x.number < a[1].key.number)
			return number(a[0].value + (a[1].value - a[0].value) * ((x.number - a[0].key.number) /
																	(a[1].key.number - a[0].key.number)));
	return number(last->value);
}

static Value
enumerate(Value x, const Expr *e)
{
	if (x.kind == V_MISSING)
		return missing;
	if (x.kind != e->entries[0].key.kind)
		return error;
	for (int i = 0; i < e->nentries; i++)
		if (same(&x, &e->entries[i].key))
			return number(e->entries[i].value);
	return e->has_other ? number(e->other) : missing;
}

static Value
flag(const Scope *scope, const Expr *e)
{
	Value condition = walk(scope, e->operands[0]);

	if (!is_condition(condition))
		return error;
	if (condition.kind == V_BOOL && condition.boolean)
		return walk(scope, e->operands[1]);
	return e->n > 2 ? walk(scope, e->operands[2]) : number(0);
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* A name is what it stands for: of an attribute it is a fact that it is missing. */
static Value
is_null(const Scope *scope, const Expr *e)
{
	Scope there = {scope->definition, scope->item, scope->last_known, NULL, NULL};
	Value v;

	switch (e->kind)
	{
		case X_LET:
			return is_null(&there, scope->definition->lets[e->id]);
		case X_MACRO:
			there.arguments = e->operands;
			there.caller = scope;
			return is_null(&there, scope->definition->macros[e->id]);
		case X_PARAMETER:
			return is_null(scope->caller, scope->arguments[e->id]);
		case X_ATTRIBUTE:
		case X_OLD:
			return boolean(fact(scope, e)->kind == V_MISSING);
		default:
			v = walk(scope, e);
			return v.kind == V_ERROR ? error : boolean(v.kind == V_MISSING);
	}
}

static Value
between(const Scope *scope, const Expr *e)
{
	Value x = walk(scope, e->operands[0]);
	Value low = compare(x, walk(scope, e->operands[1]), 'g');
	Value high = compare(x, walk(scope, e->operands[2]), 'l');

	return low.kind == V_ERROR || high.kind == V_ERROR ? error : both(low, high);
}

static Value
changed(const Scope *scope, int id)
{
	Change change = scope->item->remembers ? scope->item->changes[id] : CHANGE_UNKNOWN;

	return change == CHANGE_UNKNOWN ? missing : boolean(change == CHANGE_YES);
}

static Value
walk_macro(const Scope *scope, const Expr *e)
{
	Scope inside = {scope->definition, scope->item, scope->last_known, e->operands, scope};

	return walk(&inside, scope->definition->macros[e->id]);
}

static Value
walk_name(const Scope *scope, const Expr *e)
{
	Scope outside = {scope->definition, scope->item, scope->last_known, NULL, NULL};

	switch (e->kind)
	{
		case X_CONST:
			return number(scope->definition->consts[e->id]);
		case X_LET:
			return walk(&outside, scope->definition->lets[e->id]);
		case X_MACRO:
			return walk_macro(scope, e);
		default:
			return walk(scope->caller, scope->arguments[e->id]);
	}
}

static Value
walk(const Scope *scope, const Expr *e)
{
	switch (e->kind)
	{
		case X_NUMBER:
			return number(e->number);
		case X_TEXT:
			return (Value){.kind = V_TEXT, .text = e->text};
		case X_BOOL:
			return boolean(e->boolean);
		case X_ATTRIBUTE:
		case X_OLD:
			return load(stands(scope, e));
		case X_NEGATE:
			return operate(number(-1), walk(scope, e->operands[0]), '*');
		case X_CHAIN:
		case X_MIN:
		case X_MAX:
			return fold(scope, e);
		case X_CALL:
			return call(scope, e);
		case X_STEPS:
			return steps(walk(scope, e->operands[0]), e);
		case X_INTERP:
			return interp(walk(scope, e->operands[0]), e);
		case X_ENUM:
			return enumerate(walk(scope, e->operands[0]), e);
		case X_FLAG:
			return flag(scope, e);
		case X_AGE:
			return age(scope, stands(scope, e->operands[0]));
		case X_LEN:
			return length(stands(scope, e->operands[0]));
		case X_DELTA:
			return delta(scope, e->id);
		case X_RATE:
			return rate(scope, e->id, walk(scope, e->operands[0]));
		case X_COMPARE:
			return compare(walk(scope, e->operands[0]), walk(scope, e->operands[1]), e->ops[0]);
		case X_IN_TABLE:
			return in_table(walk(scope, e->operands[0]), e);
		case X_IN_LIST:
		case X_CONTAINS:
			return in_list(walk(scope, e->operands[0]), stands(scope, e->operands[1]));
		case X_OVERLAP:
			return overlap(stands(scope, e->operands[0]), e);
		case X_BETWEEN:
			return between(scope, e);
		case X_LIKE:
		case X_PREFIX:
			return match(walk(scope, e->operands[0]), e);
		case X_IS_NULL:
			return is_null(scope, e->operands[0]);
		case X_EXISTS:
			return boolean(fact(scope, e->operands[0])->kind != V_MISSING);
		case X_CHANGED:
			return changed(scope, e->id);
		case X_AND:
		case X_OR:
			return joined(scope, e);
		case X_NOT:
			return negation(walk(scope, e->operands[0]));
		default:
			return walk_name(scope, e);
	}
}

/* ---- statements ------------------------------------------------------------------------------ */

typedef enum
{
	COUNTS,
	LEFT_OUT,
	REJECTED,
	QUARANTINED,
} Effect;

static Effect
decide(Policy own, Policy of_all, StatementKind kind, double *value)
{
	Policy policy = own.kind != P_UNSET ? own : of_all;

	if (own.kind == P_UNSET && policy.kind == P_NUMBER && kind != S_TERM)
		return LEFT_OUT;
	*value = policy.number;
	return policy.kind == P_NUMBER		 ? COUNTS
		   : policy.kind == P_QUARANTINE ? QUARANTINED
		   : policy.kind == P_REJECT	 ? REJECTED
										 : LEFT_OUT;
}

static Effect
evaluate(const Definition *d, const Item *item, const Statement *s, double *value)
{
	Policy of_missing = s->missing.kind != P_UNSET ? s->missing : d->missing;
	Scope scope = {d, item, false, NULL, NULL};
	Value v;

	if (s->when != NULL)
	{
		v = walk(&scope, s->when);
		if (!is_condition(v))
		{
			Effect effect = decide(s->on_error, d->on_error, s->kind, value);

			return s->kind == S_TIER && effect == COUNTS ? LEFT_OUT : effect; /* a number is no tier */
		}
		if (v.kind == V_MISSING || !v.boolean)
			return LEFT_OUT;
	}
	if (s->kind == S_TIER)
		return COUNTS;
	scope.last_known = of_missing.kind == P_LAST_KNOWN;
	v = walk(&scope, s->value);
	if (v.kind == V_MISSING)
		return decide(s->missing, d->missing, s->kind, value);
	if (v.kind != V_NUMBER)
		return decide(s->on_error, d->on_error, s->kind, value);
	*value = v.number;
	return COUNTS;
}

static double
combined(Combine combine, const double *weights, const double *values, int n)
{
	double result = combine == C_SUM ? 0 : n > 0 ? weights[0] * values[0] : 0;
	double all = n > 0 ? weights[0] : 0;

	if (combine == C_SUM)
	{
		for (int i = 0; i < n; i++)
			result += weights[i] * values[i];
		return result;
	}
	for (int i = 0; i < n; i++)
		if (!isfinite(weights[i] * values[i]))
			return (double) INFINITY;
	for (int i = 1; i < n; i++)
	{
		double w = weights[i] * values[i];

		all += weights[i];
		if (combine == C_MULTIPLY)
			result *= w;
		else if (combine == C_AVERAGE)
			result += w;
		else if ((combine == C_MAX && w > result) || (combine == C_MIN && w < result))
			result = w;
	}
	if (!isfinite(all))
		return (double) INFINITY;
	return combine == C_AVERAGE && n > 0 ? result / all : result;
}

static Outcome
finish(const Definition *d, double score, int tier)
{
	if (!isfinite(score))
	{
		if (d->on_error.kind != P_NUMBER)
			return (Outcome){O_QUARANTINE, 0, 0};
		score = d->on_error.number;
	}
	if (d->has_clamp)
		score = score < d->low ? d->low : score > d->high ? d->high : score;
	score = round_to(score, d->has_round ? d->round : 1e-9);
	return (Outcome){O_SCORE, score == 0 ? 0 : score, tier};
}

static bool
inside(const Definition *d, const Item *item, Outcome *outcome)
{
	Scope scope = {d, item, false, NULL, NULL};
	Policy policy = d->where_on_error.kind != P_UNSET ? d->where_on_error : d->on_error;
	Value v = d->where != NULL ? walk(&scope, d->where) : boolean(true);

	if (!is_condition(v) && policy.kind == P_QUARANTINE)
	{
		*outcome = (Outcome){O_QUARANTINE, 0, 0};
		return false;
	}
	*outcome = (Outcome){O_OUTSIDE, 0, 0};
	return v.kind == V_BOOL && v.boolean;
}

Outcome
oracle(const Definition *d, const Item *item)
{
	double weights[STATEMENTS_MAX];
	double values[STATEMENTS_MAX];
	double boosts = 0;
	double factors = 1;
	int n = 0;
	int tier = -5000;
	Outcome outcome;

	if (!inside(d, item, &outcome))
		return outcome;
	for (int i = 0; i < d->n; i++)
	{
		const Statement *s = &d->statements[i];
		double value = 0;
		Effect effect = evaluate(d, item, s, &value);

		if (effect == REJECTED)
			return (Outcome){O_OUTSIDE, 0, 0};
		if (effect == QUARANTINED)
			return (Outcome){O_QUARANTINE, 0, 0};
		if (effect == LEFT_OUT)
			continue;
		if (s->kind == S_TERM)
		{
			weights[n] = s->weight;
			values[n++] = value;
		}
		else if (s->kind == S_BOOST)
			boosts += value;
		else if (s->kind == S_FACTOR)
			factors *= value;
		else
			tier = s->tier > tier ? s->tier : tier;
	}
	return finish(d, (combined(d->combine, weights, values, n) + boosts) * factors, tier == -5000 ? 0 : tier);
}
