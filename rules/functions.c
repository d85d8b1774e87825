/*
 * functions.c -- see functions.h.
 *
 * Formulas are evaluated as scoring.md section b writes them, from left to right.  A result that is
 * not finite is the caller's to refuse.
 */
#include "functions.h"

#include <math.h>

double
rule_round_units(double q)
{
	double n = rint(1 / q);

	return n * q == 1 ? n : 0;
}

double
rule_round_by(double v, double q, double n)
{
	double rounded = n != 0 ? rint(v * n) / n : rint(v / q) * q;

	/* v * n overflows only where v is a multiple of any sensible q already */
	return isfinite(rounded) ? rounded : v;
}

double
rule_round(double v, double q)
{
	return rule_round_by(v, q, rule_round_units(q));
}

static double
compute_linear(const double *a)
{
	return a[1] * a[0] + a[2];
}

static double
compute_log1p(const double *a)
{
	return log1p(a[1] * a[0]);
}

static double
compute_log10p(const double *a)
{
	return log10(1 + a[1] * a[0]);
}

static double
compute_ln2p(const double *a)
{
	return log(2 + a[1] * a[0]);
}

static double
compute_sqrt(const double *a)
{
	return sqrt(a[0]);
}

static double
compute_square(const double *a)
{
	return a[0] * a[0];
}

static double
compute_pow(const double *a)
{
	return pow(a[0], a[1]);
}

static double
compute_abs(const double *a)
{
	return fabs(a[0]);
}

static double
compute_recip(const double *a)
{
	return a[2] / (a[1] * a[0] + a[3]);
}

static double
compute_saturation(const double *a)
{
	return a[0] / (a[0] + a[1]);
}

static double
compute_inverse(const double *a)
{
	return a[1] / (a[0] + a[1]);
}

static double
compute_sigmoid(const double *a)
{
	double x = pow(a[0], a[2]);

	return x / (x + pow(a[1], a[2]));
}

static double
compute_logistic(const double *a)
{
	return 1 / (1 + exp(-a[1] * (a[0] - a[2])));
}

static double
with_floor(double p, double decayed)
{
	return p + (1 - p) * decayed;
}

static double
compute_gauss(const double *a)
{
	return with_floor(a[3], exp(a[0] * a[0] * log(a[2]) / (a[1] * a[1])));
}

static double
compute_exp_decay(const double *a)
{
	return with_floor(a[3], exp(a[0] * log(a[2]) / a[1]));
}

static double
compute_half_life(const double *a)
{
	return with_floor(a[2], exp2(-a[0] / a[1]));
}

static double
compute_linear_decay(const double *a)
{
	double s = a[1] / (1 - a[2]);
	double left = (s - a[0]) / s;

	return with_floor(a[3], left > 0 ? left : 0);
}

static double
compute_clamp(const double *a)
{
	if (a[1] > a[2])
		return (double) NAN;
	return a[0] < a[1] ? a[1] : a[0] > a[2] ? a[2] : a[0];
}

static double
compute_distance(const double *a)
{
	double d = fabs(a[0] - a[1]) - a[2];

	return d > 0 ? d : isnan(d) ? d : 0;
}

static double
compute_round(const double *a)
{
	return rule_round(a[0], a[1]);
}

#define NUMBER(name)                                                                                         \
	{                                                                                                        \
		name, ARGUMENT_NUMBER, DOMAIN_ANY, false, 0                                                          \
	}
#define NUMBER_IN(name, domain)                                                                              \
	{                                                                                                        \
		name, ARGUMENT_NUMBER, domain, false, 0                                                              \
	}
#define OPTIONAL(name, domain, fallback)                                                                     \
	{                                                                                                        \
		name, ARGUMENT_NUMBER, domain, true, fallback                                                        \
	}
#define ARGUMENT(name, kind)                                                                                 \
	{                                                                                                        \
		name, kind, DOMAIN_ANY, false, 0                                                                     \
	}
#define DECAY OPTIONAL("decay", DOMAIN_FRACTION, 0.5)
#define FLOOR OPTIONAL("floor", DOMAIN_FRACTION_WIDE, 0)
#define X NUMBER_IN("x", DOMAIN_NOT_NEGATIVE)
#define P NUMBER_IN("p", DOMAIN_POSITIVE)
#define F OPTIONAL("f", DOMAIN_POSITIVE, 1)

/* clang-format off: one function a line, like any table */
static const RuleFunction functions[] = {
	{"abs", "abs(x)", FUNCTION_NUMERIC, 1, {NUMBER("x")}, compute_abs},
	{"age", "age(attribute)", FUNCTION_AGE, 1, {ARGUMENT("a", ARGUMENT_OPERAND)}, NULL},
	{"changed", "changed(attribute)", FUNCTION_CHANGED, 1, {ARGUMENT("a", ARGUMENT_ATTRIBUTE)}, NULL},
	{"clamp",
	 "clamp(v, lo, hi)",
	 FUNCTION_NUMERIC,
	 3,
	 {NUMBER("v"), NUMBER("lo"), NUMBER("hi")},
	 compute_clamp},
	{"contains",
	 "contains(attribute, 'value')",
	 FUNCTION_CONTAINS,
	 2,
	 {ARGUMENT("a", ARGUMENT_OPERAND), ARGUMENT("v", ARGUMENT_SCALAR)},
	 NULL},
	{"delta", "delta(attribute)", FUNCTION_DELTA, 1, {ARGUMENT("a", ARGUMENT_ATTRIBUTE)}, NULL},
	{"distance",
	 "distance(x, origin, offset = 0)",
	 FUNCTION_NUMERIC,
	 3,
	 {NUMBER("x"), NUMBER("origin"), OPTIONAL("offset", DOMAIN_NOT_NEGATIVE, 0)},
	 compute_distance},
	{"enum",
	 "enum(x, {'a': 1, 'b': 2}, else = 0)",
	 FUNCTION_ENUM,
	 3,
	 {ARGUMENT("x", ARGUMENT_SCALAR),
	  ARGUMENT("values", ARGUMENT_ENUM),
	  {"else", ARGUMENT_CONSTANT, DOMAIN_ANY, true, 0}},
	 NULL},
	{"exists", "exists(attribute)", FUNCTION_EXISTS, 1, {ARGUMENT("a", ARGUMENT_OPERAND)}, NULL},
	{"exp_decay",
	 "exp_decay(d, scale, decay = 0.5, floor = 0)",
	 FUNCTION_NUMERIC,
	 4,
	 {NUMBER("d"), NUMBER_IN("scale", DOMAIN_POSITIVE), DECAY, FLOOR},
	 compute_exp_decay},
	{"flag",
	 "flag(condition, v, else = 0)",
	 FUNCTION_FLAG,
	 3,
	 {ARGUMENT("condition", ARGUMENT_CONDITION), NUMBER("v"), OPTIONAL("else", DOMAIN_ANY, 0)},
	 NULL},
	{"gauss",
	 "gauss(d, scale, decay = 0.5, floor = 0)",
	 FUNCTION_NUMERIC,
	 4,
	 {NUMBER("d"), NUMBER_IN("scale", DOMAIN_POSITIVE), DECAY, FLOOR},
	 compute_gauss},
	{"half_life",
	 "half_life(d, h, floor = 0)",
	 FUNCTION_NUMERIC,
	 3,
	 {NUMBER("d"), NUMBER_IN("h", DOMAIN_POSITIVE), FLOOR},
	 compute_half_life},
	{"inverse", "inverse(x, p)", FUNCTION_NUMERIC, 2, {X, P}, compute_inverse},
	{"interp",
	 "interp(x, [(bound, value), ...])",
	 FUNCTION_INTERP,
	 2,
	 {NUMBER("x"), ARGUMENT("points", ARGUMENT_STEPS)},
	 NULL},
	{"len", "len(attribute)", FUNCTION_LENGTH, 1, {ARGUMENT("a", ARGUMENT_OPERAND)}, NULL},
	{"linear",
	 "linear(x, w, b = 0)",
	 FUNCTION_NUMERIC,
	 3,
	 {NUMBER("x"), NUMBER("w"), OPTIONAL("b", DOMAIN_ANY, 0)},
	 compute_linear},
	{"linear_decay",
	 "linear_decay(d, scale, decay = 0.5, floor = 0)",
	 FUNCTION_NUMERIC,
	 4,
	 {NUMBER("d"), NUMBER_IN("scale", DOMAIN_POSITIVE), DECAY, FLOOR},
	 compute_linear_decay},
	{"ln2p", "ln2p(x, f = 1)", FUNCTION_NUMERIC, 2, {X, F}, compute_ln2p},
	{"log10p", "log10p(x, f = 1)", FUNCTION_NUMERIC, 2, {X, F}, compute_log10p},
	{"log1p", "log1p(x, f = 1)", FUNCTION_NUMERIC, 2, {X, F}, compute_log1p},
	{"logistic",
	 "logistic(x, k, x0)",
	 FUNCTION_NUMERIC,
	 3,
	 {NUMBER("x"), NUMBER("k"), NUMBER("x0")},
	 compute_logistic},
	{"max", "max(x, y, ...)", FUNCTION_GREATEST, 2, {NUMBER("x"), NUMBER("y")}, NULL},
	{"min", "min(x, y, ...)", FUNCTION_LEAST, 2, {NUMBER("x"), NUMBER("y")}, NULL},
	{"old", "old(attribute)", FUNCTION_OLD, 1, {ARGUMENT("a", ARGUMENT_ATTRIBUTE)}, NULL},
	{"overlap",
	 "overlap(attribute, ['a', 'b'])",
	 FUNCTION_OVERLAP,
	 2,
	 {ARGUMENT("a", ARGUMENT_OPERAND), ARGUMENT("values", ARGUMENT_SET)},
	 NULL},
	{"pow", "pow(x, p)", FUNCTION_NUMERIC, 2, {NUMBER("x"), NUMBER("p")}, compute_pow},
	{"rate",
	 "rate(attribute, window)",
	 FUNCTION_RATE,
	 2,
	 {ARGUMENT("a", ARGUMENT_ATTRIBUTE), NUMBER_IN("window", DOMAIN_POSITIVE)},
	 NULL},
	{"recip",
	 "recip(x, m, a, b)",
	 FUNCTION_NUMERIC,
	 4,
	 {NUMBER("x"), NUMBER("m"), NUMBER("a"), NUMBER("b")},
	 compute_recip},
	{"round",
	 "round(v, q)",
	 FUNCTION_NUMERIC,
	 2,
	 {NUMBER("v"), NUMBER_IN("q", DOMAIN_POSITIVE)},
	 compute_round},
	{"saturation", "saturation(x, p)", FUNCTION_NUMERIC, 2, {X, P}, compute_saturation},
	{"sigmoid", "sigmoid(x, p, e)", FUNCTION_NUMERIC, 3, {X, P, NUMBER("e")}, compute_sigmoid},
	{"sqrt", "sqrt(x)", FUNCTION_NUMERIC, 1, {X}, compute_sqrt},
	{"square", "square(x)", FUNCTION_NUMERIC, 1, {NUMBER("x")}, compute_square},
	{"steps",
	 "steps(x, [(bound, value), ...], below = 0)",
	 FUNCTION_STEPS,
	 3,
	 {NUMBER("x"), ARGUMENT("steps", ARGUMENT_STEPS), {"below", ARGUMENT_CONSTANT, DOMAIN_ANY, true, 0}},
	 NULL},
};

#define WINDOW_HINT                                                                                          \
	"What happened within a window is kept in an attribute of the item by whoever counts it; read that one."

/* Words of other systems, and what to write here. */
static const struct
{
	const char *name;
	const char *hint;
} not_ours[] = {
	{"count", WINDOW_HINT},
	{"sum", WINDOW_HINT},
	{"avg", WINDOW_HINT},
	{"topk", WINDOW_HINT},
	{"distinct", WINDOW_HINT},
	{"if", "Use flag(condition, v, else = 0)."},
	{"case", "Use flag(condition, v, else = 0), or enum, or steps."},
	{"coalesce", "Use missing at the end of the line, or flag(exists(a), a, else = 0)."},
	{"now", "Use age(attribute): seconds between the attribute's time and the evaluation."},
	{"random", "A score is the same whenever it is computed."},
	{"exp", "Use exp_decay(d, scale), half_life(d, h) or pow(x, p)."},
	{"log", "Use log1p(x), log10p(x) or ln2p(x), which are defined at 0."},
	{"ln", "Use log1p(x), log10p(x) or ln2p(x), which are defined at 0."},
};
/* clang-format on */

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

const RuleFunction *
rule_function_find(Slice name)
{
	for (size_t i = 0; i < LENGTH(functions); i++)
		if (slice_equal(name, slice_string(functions[i].name)))
			return &functions[i];
	return NULL;
}

int
rule_function_count(void)
{
	return (int) LENGTH(functions);
}

const RuleFunction *
rule_function_at(int i)
{
	return i >= 0 && (size_t) i < LENGTH(functions) ? &functions[i] : NULL;
}

bool
rule_function_unknown(RuleError *error, RulePosition at, Slice name)
{
	const RuleFunction *meant;
	RuleNearest nearest;

	for (size_t i = 0; i < LENGTH(not_ours); i++)
		if (slice_equal(name, slice_string(not_ours[i].name)))
		{
			rule_problem(error, at, "there is no function %s()", not_ours[i].name);
			return rule_hint(error, "%s", not_ours[i].hint);
		}
	rule_nearest_begin(&nearest, name);
	for (size_t i = 0; i < LENGTH(functions); i++)
		rule_nearest_offer(&nearest, slice_string(functions[i].name));
	rule_problem(error, at, "unknown function \"%.*s\"", RULE_NAME(name));
	meant = rule_nearest_found(&nearest) ? rule_function_find(nearest.best) : NULL;
	if (meant != NULL)
		return rule_hint(error, "Did you mean %s?", meant->usage);
	return rule_hint(
		error, "Functions are abs age changed clamp contains delta distance enum exists exp_decay flag gauss "
			   "half_life interp inverse len linear linear_decay ln2p log10p log1p logistic max min old "
			   "overlap pow rate recip round saturation sigmoid sqrt square steps.");
}

const char *
rule_domain_violation(RuleDomain domain, double number)
{
	static const char *const must[] = {
		[DOMAIN_ANY] = "must be a number",
		[DOMAIN_NOT_NEGATIVE] = "must not be negative",
		[DOMAIN_POSITIVE] = "must be greater than 0",
		[DOMAIN_FRACTION] = "must be between 0 and 1, both excluded",
		[DOMAIN_FRACTION_WIDE] = "must be between 0 and 1",
	};

	return rule_domain_has(domain, number) ? NULL : must[domain];
}
