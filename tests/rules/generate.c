/*
 * generate.c -- random definitions and items, mostly sensible, sometimes not.
 *
 * Every definition is one the compiler has to accept; what goes wrong goes wrong with an item.
 */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

const AttributeDef attributes[ATTRIBUTES] = {
	{"n0", V_NUMBER, false}, {"n1", V_NUMBER, false}, {"n2", V_NUMBER, false}, {"n3", V_NUMBER, false},
	{"n4", V_NUMBER, false}, {"n5", V_NUMBER, false}, {"s0", V_TEXT, false},   {"s1", V_TEXT, false},
	{"s2", V_TEXT, false},	 {"b0", V_BOOL, false},	  {"b1", V_BOOL, false},   {"t0", V_TIME, false},
	{"t1", V_TIME, false},	 {"l0", V_LIST, false},	  {"l1", V_LIST, false},   {"m0", V_NUMBER, true},
	{"m1", V_NUMBER, true},	 {"m2", V_NUMBER, true},  {"ms", V_TEXT, true},	   {"mb", V_BOOL, true},
	{"ml", V_LIST, true},
};

const FunctionDef functions[FUNCTIONS] = {
	[F_LINEAR] = {"linear", 2, 3, {{"x", D_ANY, 0}, {"w", D_ANY, 0}, {"b", D_ANY, 0}}},
	[F_LOG1P] = {"log1p", 1, 2, {{"x", D_NOT_NEGATIVE, 0}, {"f", D_POSITIVE, 1}}},
	[F_LOG10P] = {"log10p", 1, 2, {{"x", D_NOT_NEGATIVE, 0}, {"f", D_POSITIVE, 1}}},
	[F_LN2P] = {"ln2p", 1, 2, {{"x", D_NOT_NEGATIVE, 0}, {"f", D_POSITIVE, 1}}},
	[F_SQRT] = {"sqrt", 1, 1, {{"x", D_NOT_NEGATIVE, 0}}},
	[F_SQUARE] = {"square", 1, 1, {{"x", D_ANY, 0}}},
	[F_POW] = {"pow", 2, 2, {{"x", D_ANY, 0}, {"p", D_ANY, 0}}},
	[F_ABS] = {"abs", 1, 1, {{"x", D_ANY, 0}}},
	[F_RECIP] = {"recip", 4, 4, {{"x", D_ANY, 0}, {"m", D_ANY, 0}, {"a", D_ANY, 0}, {"b", D_ANY, 0}}},
	[F_SATURATION] = {"saturation", 2, 2, {{"x", D_NOT_NEGATIVE, 0}, {"p", D_POSITIVE, 0}}},
	[F_INVERSE] = {"inverse", 2, 2, {{"x", D_NOT_NEGATIVE, 0}, {"p", D_POSITIVE, 0}}},
	[F_SIGMOID] = {"sigmoid", 3, 3, {{"x", D_NOT_NEGATIVE, 0}, {"p", D_POSITIVE, 0}, {"e", D_ANY, 0}}},
	[F_LOGISTIC] = {"logistic", 3, 3, {{"x", D_ANY, 0}, {"k", D_ANY, 0}, {"x0", D_ANY, 0}}},
	[F_GAUSS] =
		{"gauss",
		 2,
		 4,
		 {{"d", D_ANY, 0}, {"scale", D_POSITIVE, 0}, {"decay", D_INSIDE, 0.5}, {"floor", D_WITHIN, 0}}},
	[F_EXP_DECAY] =
		{"exp_decay",
		 2,
		 4,
		 {{"d", D_ANY, 0}, {"scale", D_POSITIVE, 0}, {"decay", D_INSIDE, 0.5}, {"floor", D_WITHIN, 0}}},
	[F_HALF_LIFE] = {"half_life", 2, 3, {{"d", D_ANY, 0}, {"h", D_POSITIVE, 0}, {"floor", D_WITHIN, 0}}},
	[F_LINEAR_DECAY] =
		{"linear_decay",
		 2,
		 4,
		 {{"d", D_ANY, 0}, {"scale", D_POSITIVE, 0}, {"decay", D_INSIDE, 0.5}, {"floor", D_WITHIN, 0}}},
	[F_CLAMP] = {"clamp", 3, 3, {{"v", D_ANY, 0}, {"lo", D_ANY, 0}, {"hi", D_ANY, 0}}},
	[F_ROUND] = {"round", 2, 2, {{"v", D_ANY, 0}, {"q", D_POSITIVE, 0}}},
	[F_DISTANCE] = {"distance", 2, 3, {{"x", D_ANY, 0}, {"origin", D_ANY, 0}, {"offset", D_NOT_NEGATIVE, 0}}},
};

static const char *const texts[] = {
	"a",
	"b",
	"ab",
	"abc",
	"",
	"x_y",
	"100%",
	"na\xc3\xafve",
	"it's",
	"2026-11-20",
	"2026-11-19T10:00:00Z",
	"2026-11-20 12:30:00.25+02:00",
};

bool
text_time(const char *text, int64_t *time_us)
{
	static const struct
	{
		const char *text;
		struct tm tm;
		int64_t us;
	} times[] = {
		{"2026-11-20", {.tm_year = 126, .tm_mon = 10, .tm_mday = 20}, 0},
		{"2026-11-19T10:00:00Z", {.tm_year = 126, .tm_mon = 10, .tm_mday = 19, .tm_hour = 10}, 0},
		{"2026-11-20 12:30:00.25+02:00",
		 {.tm_year = 126, .tm_mon = 10, .tm_mday = 20, .tm_hour = 10, .tm_min = 30},
		 250000},
	};

	for (int i = 0; i < LENGTH(times); i++)
		if (strcmp(times[i].text, text) == 0)
		{
			struct tm tm = times[i].tm;

			*time_us = ((int64_t) timegm(&tm) - 946684800) * 1000000 + times[i].us;
			return true;
		}
	return false;
}

/* ---- memory and luck ------------------------------------------------------------------------- */

static char *room;
static size_t used;
#define ROOM_BYTES (16 * 1024 * 1024)

static void *
make(size_t bytes)
{
	void *made;

	if (room == NULL && (room = malloc(ROOM_BYTES)) == NULL)
		abort();
	used = (used + 15) / 16 * 16;
	if (used + bytes > ROOM_BYTES)
		abort();
	made = memset(room + used, 0, bytes);
	used += bytes;
	return made;
}

void
generate_free(void)
{
	used = 0;
}

static uint64_t
luck(Random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int
below(Random *random, int n)
{
	return (int) (luck(random) % (uint64_t) n);
}

static bool
percent(Random *random, int n)
{
	return below(random, 100) < n;
}

static double
any_number(Random *random)
{
	static const double special[] = {0, 1, -1, 0.5, 2, 10, 100, 1e-9, 1e9, 0.1, 86400, 1e300, -1e300, 5e-324};

	switch (below(random, 5))
	{
		case 0:
			return special[below(random, LENGTH(special))];
		case 1:
			return below(random, 2000) / 10.0 - 50;
		case 2:
			return below(random, 200) - 20;
		case 3:
			return ldexp((double) (luck(random) >> 11), -53) * 100;
		default:
			return below(random, 12);
	}
}

static double
number_in(Random *random, Domain domain)
{
	double x = fabs(any_number(random));

	switch (domain)
	{
		case D_POSITIVE:
			return x > 0 ? x : 1;
		case D_INSIDE:
			return (1 + below(random, 98)) / 100.0;
		case D_WITHIN:
			return below(random, 101) / 100.0;
		case D_NOT_NEGATIVE:
			return x;
		default:
			return any_number(random);
	}
}

/* ---- items ----------------------------------------------------------------------------------- */

static int64_t
any_time(Random *random)
{
	int64_t us;

	if (percent(random, 20) && text_time(texts[9 + below(random, 3)], &us))
		return us;
	text_time("2026-11-20", &us);
	return us + ((int64_t) below(random, 4000) - 2000) * INT64_C(123456789);
}

static Value
element(Random *random, bool mixed)
{
	Value v = {.kind = V_TEXT, .text = texts[below(random, LENGTH(texts))]};

	if (mixed && percent(random, 50))
	{
		v.kind = (ValueKind[]){V_MISSING, V_BOOL, V_NUMBER}[below(random, 3)];
		v.number = below(random, 4) / 2.0;
		v.boolean = percent(random, 50);
	}
	return v;
}

static Value
value_of(Random *random, ValueKind kind, bool mixed)
{
	Value v = {.kind = kind};

	v.boolean = percent(random, 50);
	v.number = any_number(random);
	v.text = texts[below(random, LENGTH(texts))];
	v.time_us = any_time(random);
	if (kind == V_LIST)
	{
		v.n = below(random, ELEMENTS_MAX + 1);
		v.elements = make(sizeof(Value) * ELEMENTS_MAX);
		for (int i = 0; i < v.n; i++)
			v.elements[i] = element(random, mixed);
	}
	return v;
}

static Value
attribute_value(Random *random, const AttributeDef *def, bool wild)
{
	static const double hard[] = {INFINITY, -INFINITY, NAN, 1.7e308, -0.0};
	static const int64_t far[] = {INT64_MIN, INT64_MAX, INT64_MIN + 1};
	Value v = value_of(random, def->kind, wild || def->in_map);

	if (wild && percent(random, 4))
		v = value_of(random, (ValueKind) below(random, V_ERROR), true);
	if (wild && v.kind == V_NUMBER && percent(random, 3))
		v.number = hard[below(random, LENGTH(hard))];
	if (wild && v.kind == V_TIME && percent(random, 2))
		v.time_us = far[below(random, LENGTH(far))];
	if (percent(random, 12))
		v.kind = V_MISSING;
	v.has_own_time = def->in_map && percent(random, 85);
	v.own_time_us = any_time(random);
	return v;
}

const Item *
generate_item(Random *random, bool wild)
{
	Item *item = make(sizeof(*item));

	item->now_us = any_time(random);
	item->remembers = percent(random, 70);
	for (int i = 0; i < ATTRIBUTES; i++)
	{
		item->now[i] = attribute_value(random, &attributes[i], wild);
		item->was[i] = attribute_value(random, &attributes[i], wild);
		item->changes[i] = (Change) below(random, 3);
		if (percent(random, 10))
			item->was[i].own_time_us = item->now[i].own_time_us;
	}
	return item;
}

/* ---- expressions ----------------------------------------------------------------------------- */

typedef struct Maker
{
	Random *random;
	const Definition *definition; /* whose names may be used */
	int parameters;				  /* that may be used: in a macro */
} Maker;

static Expr *number_expr(const Maker *maker, int depth);
static Expr *condition_expr(const Maker *maker, int depth);

static Expr *
expr(ExprKind kind)
{
	Expr *e = make(sizeof(*e));

	e->kind = kind;
	return e;
}

static Expr *
literal(double n)
{
	Expr *e = expr(X_NUMBER);

	e->number = n;
	return e;
}

static int
attribute_of(const Maker *maker, ValueKind kind)
{
	int i;

	if (percent(maker->random, 3))
		return below(maker->random, ATTRIBUTES);
	do
		i = below(maker->random, ATTRIBUTES);
	while (attributes[i].kind != kind);
	return i;
}

/* An attribute, sometimes what it was. */
static Expr *
operand(const Maker *maker, ValueKind kind)
{
	Expr *e = expr(percent(maker->random, 12) ? X_OLD : X_ATTRIBUTE);

	e->id = attribute_of(maker, kind);
	return e;
}

static Expr *
text_expr(const Maker *maker)
{
	Expr *e;

	if (percent(maker->random, 70))
		return operand(maker, V_TEXT);
	e = expr(X_TEXT);
	e->text = texts[below(maker->random, LENGTH(texts))];
	return e;
}

/* Nothing that is a number written out, whatever its names stand for. */
static Expr *
computed(const Maker *maker, int depth)
{
	Expr *e;

	if (depth <= 0 || percent(maker->random, 50))
		return operand(maker, V_NUMBER);
	e = expr(X_CHAIN);
	e->n = 2;
	e->operands[0] = operand(maker, V_NUMBER);
	e->operands[1] = number_expr(maker, depth - 1);
	e->ops[1] = "+-*/"[below(maker->random, 4)];
	return e;
}

static Expr *
argument(const Maker *maker, Domain domain, int depth)
{
	if (domain == D_ANY)
		return number_expr(maker, depth);
	return percent(maker->random, 60) ? literal(number_in(maker->random, domain)) : computed(maker, depth);
}

static Expr *
call_expr(const Maker *maker, int depth)
{
	Expr *e = expr(X_CALL);
	const FunctionDef *f;

	e->id = below(maker->random, FUNCTIONS);
	f = &functions[e->id];
	e->n = f->needed + below(maker->random, f->n - f->needed + 1);
	for (int i = 0; i < e->n; i++)
	{
		bool first = i == 0 && f->arguments[0].domain == D_NOT_NEGATIVE;

		e->operands[i] =
			first ? computed(maker, depth - 1) : argument(maker, f->arguments[i].domain, depth - 1);
	}
	return e;
}

static Expr *
many(const Maker *maker, ExprKind kind, int n, Expr *(*one)(const Maker *, int), int depth)
{
	Expr *e = expr(kind);

	e->n = n;
	for (int i = 0; i < n; i++)
		e->operands[i] = one(maker, depth - 1);
	return e;
}

static Expr *
chain_expr(const Maker *maker, int depth)
{
	Expr *e = many(maker, X_CHAIN, 2 + below(maker->random, 3), number_expr, depth);
	const char *ops = percent(maker->random, 50) ? "+-" : "*/";

	for (int i = 1; i < e->n; i++)
		e->ops[i] = ops[below(maker->random, 2)];
	return e;
}

static Expr *
pairs_expr(const Maker *maker, ExprKind kind, int depth)
{
	Expr *e = expr(kind);
	double bound = any_number(maker->random);

	if (fabs(bound) > 1e15 || (bound != 0 && fabs(bound) < 1e-15))
		bound = 1;
	e->n = 1;
	e->operands[0] = number_expr(maker, depth - 1);
	e->nentries = 1 + below(maker->random, ENTRIES_MAX);
	for (int i = 0; i < e->nentries; i++)
	{
		e->entries[i].key = (Value){.kind = V_NUMBER, .number = bound};
		e->entries[i].value = below(maker->random, 100) / 8.0 - 3;
		bound += 0.5 + below(maker->random, 40);
	}
	e->has_other = kind == X_STEPS && percent(maker->random, 50);
	e->other = below(maker->random, 10);
	return e;
}

static int
key_entries(const Maker *maker, Expr *e, ValueKind kind)
{
	int start = below(maker->random, LENGTH(texts));

	e->nentries = 1 + below(maker->random, kind == V_BOOL ? 2 : 4);
	for (int i = 0; i < e->nentries; i++)
	{
		e->entries[i].key = (Value){.kind = kind,
									.number = (start + i) % 12,
									.boolean = (start + i) % 2 == 0,
									.text = texts[(start + 5 * i) % LENGTH(texts)]};
		e->entries[i].value = below(maker->random, 40) / 4.0;
	}
	return e->nentries;
}

static Expr *
enum_expr(const Maker *maker, int depth)
{
	Expr *e = expr(X_ENUM);
	ValueKind kind = (ValueKind[]){V_TEXT, V_NUMBER, V_BOOL}[below(maker->random, 3)];

	e->n = 1;
	e->operands[0] = kind == V_NUMBER ? number_expr(maker, depth - 1) : operand(maker, kind);
	key_entries(maker, e, kind);
	e->has_other = percent(maker->random, 50);
	e->other = below(maker->random, 10);
	return e;
}

static Expr *
flag_expr(const Maker *maker, int depth)
{
	Expr *e = expr(X_FLAG);

	e->n = 2 + below(maker->random, 2);
	e->operands[0] = condition_expr(maker, depth - 1);
	for (int i = 1; i < e->n; i++)
		e->operands[i] = number_expr(maker, depth - 1);
	return e;
}

static Expr *
change_expr(const Maker *maker)
{
	Expr *e = expr(percent(maker->random, 50) ? X_DELTA : X_RATE);

	e->id = 15 + below(maker->random, 3); /* numbers with own times */
	if (e->kind == X_DELTA)
		e->id = attribute_of(maker, V_NUMBER);
	else
	{
		e->n = 1;
		e->operands[0] = argument(maker, D_POSITIVE, 1);
	}
	return e;
}

static Expr *
of_attribute(const Maker *maker, ExprKind kind)
{
	static const ValueKind kinds[] = {V_TIME, V_TIME, V_TEXT, V_NUMBER};
	Expr *e = expr(kind);

	e->n = 1;
	e->operands[0] = operand(maker, kind == X_LEN	? (percent(maker->random, 50) ? V_LIST : V_TEXT)
									: kind == X_AGE ? kinds[below(maker->random, LENGTH(kinds))]
													: (ValueKind) (1 + below(maker->random, V_LIST)));
	return e;
}

static Expr *
name_expr(const Maker *maker, int depth)
{
	const Definition *d = maker->definition;
	Expr *e;

	if (maker->parameters > 0 && percent(maker->random, 50))
	{
		e = expr(X_PARAMETER);
		e->id = below(maker->random, maker->parameters);
	}
	else if (d->nmacros > 0 && percent(maker->random, 40))
	{
		e = many(maker, X_MACRO, 2, number_expr, depth);
		e->id = below(maker->random, d->nmacros);
	}
	else if (d->nlets > 0 && percent(maker->random, 60))
	{
		e = expr(X_LET);
		e->id = below(maker->random, d->nlets);
	}
	else if (d->nconsts > 0)
	{
		e = expr(X_CONST);
		e->id = below(maker->random, d->nconsts);
	}
	else
		e = operand(maker, V_NUMBER);
	return e;
}

static Expr *
leaf(const Maker *maker)
{
	switch (below(maker->random, 5))
	{
		case 0:
			return literal(any_number(maker->random));
		case 1:
			return of_attribute(maker, X_AGE);
		case 2:
			return name_expr(maker, 0);
		default:
			return operand(maker, V_NUMBER);
	}
}

/* What is random is asked for one after the other, never in two arguments of one call: their order is the compiler's. */
static Expr *
number_expr(const Maker *maker, int depth)
{
	ExprKind kind;

	if (depth <= 0)
		return leaf(maker);
	switch (below(maker->random, 16))
	{
		case 0:
			return many(maker, X_NEGATE, 1, number_expr, depth);
		case 1:
		case 2:
		case 3:
			return chain_expr(maker, depth);
		case 4:
		case 5:
		case 6:
			return call_expr(maker, depth);
		case 7:
			kind = percent(maker->random, 50) ? X_MIN : X_MAX;
			return many(maker, kind, 2 + below(maker->random, 3), number_expr, depth);
		case 8:
			return pairs_expr(maker, X_STEPS, depth);
		case 9:
			return pairs_expr(maker, X_INTERP, depth);
		case 10:
			return enum_expr(maker, depth);
		case 11:
			return flag_expr(maker, depth);
		case 12:
			return change_expr(maker);
		case 13:
			return of_attribute(maker, X_LEN);
		case 14:
			return name_expr(maker, depth);
		default:
			return leaf(maker);
	}
}

/* ---- conditions ------------------------------------------------------------------------------ */

static Expr *
time_expr(const Maker *maker)
{
	Expr *e;

	if (percent(maker->random, 60))
		return operand(maker, V_TIME);
	e = expr(X_TEXT);
	e->text = texts[9 + below(maker->random, 3)];
	return e;
}

/* n operands of one kind, that have an order. */
static void
alike(const Maker *maker, Expr *e, int n, int depth)
{
	int kind = below(maker->random, 4);

	e->n = n;
	for (int i = 0; i < n; i++)
		e->operands[i] = kind == 0	 ? text_expr(maker)
						 : kind == 1 ? time_expr(maker)
									 : number_expr(maker, depth - 1);
}

static Expr *
compare_expr(const Maker *maker, int depth)
{
	Expr *e = expr(X_COMPARE);

	e->ops[0] = "=!<>lg"[below(maker->random, 6)];
	if (percent(maker->random, 10))
	{
		e->n = 2;
		e->operands[0] = operand(maker, V_BOOL);
		e->operands[1] = expr(X_BOOL);
		e->operands[1]->boolean = percent(maker->random, 50);
		e->ops[0] = "=!"[below(maker->random, 2)];
	}
	else
		alike(maker, e, 2, depth);
	return e;
}

static Expr *
membership_expr(const Maker *maker, int depth)
{
	Expr *e = expr((ExprKind[]){X_IN_TABLE, X_IN_LIST, X_CONTAINS, X_OVERLAP}[below(maker->random, 4)]);
	ValueKind kind = (ValueKind[]){V_TEXT, V_TEXT, V_NUMBER, V_BOOL}[below(maker->random, 4)];

	if (e->kind == X_OVERLAP)
	{
		e->n = 1;
		e->operands[0] = operand(maker, V_LIST);
		key_entries(maker, e, kind);
		return e;
	}
	e->n = e->kind == X_IN_TABLE ? 1 : 2;
	e->operands[0] = kind == V_NUMBER ? number_expr(maker, depth - 1)
					 : kind == V_TEXT ? (percent(maker->random, 15) ? time_expr(maker) : text_expr(maker))
									  : operand(maker, kind);
	e->operands[1] = operand(maker, V_LIST);
	if (e->kind == X_IN_TABLE)
		key_entries(maker, e, kind);
	return e;
}

static Expr *
match_expr(const Maker *maker)
{
	static const char *const patterns[] = {"a%",	"%b",	 "%a%",	  "_",		   "__",
										   "a_c",	"",		 "%",	  "2026-11-%", "100\\%",
										   "x\\_y", "na_ve", "%_%_%", "it's",	   "%:00%"};
	Expr *e = expr(percent(maker->random, 60) ? X_LIKE : X_PREFIX);

	e->n = 1;
	e->operands[0] = text_expr(maker);
	e->text = e->kind == X_LIKE ? patterns[below(maker->random, LENGTH(patterns))]
								: texts[below(maker->random, LENGTH(texts))];
	return e;
}

static Expr *
fact_expr(const Maker *maker, int depth)
{
	Expr *e;

	switch (below(maker->random, 4))
	{
		case 0:
			return of_attribute(maker, X_EXISTS);
		case 1:
			e = expr(X_CHANGED);
			e->id = below(maker->random, ATTRIBUTES);
			return e;
		case 2:
			return operand(maker, V_BOOL);
		default:
			return many(maker, X_IS_NULL, 1, percent(maker->random, 80) ? number_expr : condition_expr,
						depth);
	}
}

static Expr *
condition_expr(const Maker *maker, int depth)
{
	ExprKind kind;
	Expr *e;

	switch (below(maker->random, depth > 0 ? 10 : 6))
	{
		case 0:
		case 1:
			return compare_expr(maker, depth);
		case 2:
			e = expr(X_BETWEEN);
			alike(maker, e, 3, depth);
			return e;
		case 3:
			return membership_expr(maker, depth);
		case 4:
			return match_expr(maker);
		case 5:
			return fact_expr(maker, depth);
		case 6:
			return many(maker, X_NOT, 1, condition_expr, depth);
		default:
			kind = percent(maker->random, 50) ? X_AND : X_OR;
			return many(maker, kind, 2 + below(maker->random, 2), condition_expr, depth);
	}
}

/* ---- definitions ----------------------------------------------------------------------------- */

static Policy
policy(Random *random, bool on_error, int given)
{
	static const PolicyKind of_error[] = {P_SKIP, P_NUMBER, P_QUARANTINE};
	static const PolicyKind of_missing[] = {P_SKIP, P_NUMBER, P_LAST_KNOWN, P_LAST_KNOWN, P_NUMBER, P_REJECT};
	Policy p = {P_UNSET, 0};

	if (!percent(random, given))
		return p;
	p.kind =
		on_error ? of_error[below(random, LENGTH(of_error))] : of_missing[below(random, LENGTH(of_missing))];
	if (p.kind == P_NUMBER)
		p.number = below(random, 40) / 8.0 - 1;
	return p;
}

static void
names_make(Maker *maker, Definition *d)
{
	Random *random = maker->random;

	d->nconsts = below(random, NAMES_MAX + 1);
	for (int i = 0; i < d->nconsts; i++)
		d->consts[i] = any_number(random);
	/* each knows those before it: lets first, then macros */
	for (int n = below(random, NAMES_MAX); d->nlets < n; d->nlets++)
		d->lets[d->nlets] = number_expr(maker, 2);
	maker->parameters = 2;
	for (int n = below(random, NAMES_MAX); d->nmacros < n; d->nmacros++)
		d->macros[d->nmacros] = number_expr(maker, 2);
	maker->parameters = 0;
}

static void
statement_make(const Maker *maker, Statement *s, StatementKind kind)
{
	Random *random = maker->random;
	int depth = 1 + below(random, 3);

	s->kind = kind;
	s->weight = 1;
	if (kind == S_TERM && percent(random, 70))
		s->weight = percent(random, 95) ? below(random, 40) / 10.0 - 0.5 : any_number(random);
	s->tier = below(random, 8001) - 4000;
	if (percent(random, kind == S_TERM ? 20 : 60))
		s->when = condition_expr(maker, 2);
	s->on_error = policy(random, true, 30);
	if (kind == S_TIER)
		return;
	s->value = kind == S_TERM || percent(random, 40) ? number_expr(maker, depth)
													 : literal(below(random, 30) / 10.0 - 0.2);
	s->missing = policy(random, false, 60);
}

static void
settings_make(Random *random, Definition *d)
{
	d->combine = percent(random, 40) ? C_SUM : (Combine) below(random, COMBINES);
	d->missing = policy(random, false, 25);
	d->on_error = policy(random, true, 40);
	d->has_clamp = percent(random, 20);
	d->low = below(random, 10) - 5;
	d->high = d->low + below(random, 1000);
	d->has_round = percent(random, 60);
	d->round = (double[]){1e-320, 1e-320, 0.0001, 0.25, 1, 3}[below(random, 6)];
}

const Definition *
generate_definition(Random *random)
{
	Definition *d = make(sizeof(*d));
	Maker maker = {random, d, 0};

	names_make(&maker, d);
	if (percent(random, 40))
	{
		d->where = condition_expr(&maker, 2);
		d->where_on_error = policy(random, true, 40);
	}
	for (int n = 1 + below(random, STATEMENTS_MAX); d->n < n; d->n++)
	{
		int kind = below(random, 10);

		statement_make(&maker, &d->statements[d->n],
					   d->n == 0 || kind < 6 ? S_TERM
					   : kind < 7			 ? S_BOOST
					   : kind < 8			 ? S_FACTOR
											 : S_TIER);
	}
	settings_make(random, d);
	return d;
}
