/*
 * rules_random.h -- random definitions over all words of the language, and random items for them.
 *
 * The same seed gives the same definition everywhere.  Numbers written into it are remembered: as
 * ages they are where something may jump.
 */
#ifndef WALRANK_RULES_RANDOM_H
#define WALRANK_RULES_RANDOM_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "rules.h"

#define RANDOM_BOUNDS_MAX 256

typedef struct Random
{
	uint64_t state;
	double unit; /* seconds: what ages are compared with are some of these */
	char text[32768];
	size_t len;
	double bounds[RANDOM_BOUNDS_MAX]; /* numbers in the text, as they may meet an age */
	int nbounds;
	bool has_clamp;
	double clamp_low;
	double clamp_high;
	double round;
	const char *combine;
} Random;

static inline uint64_t
random_next(Random *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline int
random_below(Random *r, int n)
{
	return (int) (random_next(r) % (uint64_t) n);
}

static inline void __attribute__((format(printf, 2, 3))) random_write(Random *r, const char *format, ...)
{
	va_list arguments;
	size_t room = sizeof(r->text) - r->len;
	int n;

	va_start(arguments, format);
	n = vsnprintf(r->text + r->len, room, format, arguments);
	va_end(arguments);
	r->len = (size_t) n < room ? r->len + (size_t) n : sizeof(r->text) - 1;
}

/* A bound for ages: some units, to the microsecond or not. */
static inline double
random_age(Random *r)
{
	double number = r->unit * (1 + random_below(r, 2000)) / 100;

	if (random_below(r, 2))
		number = rint(number * 1e6) / 1e6;
	if (r->nbounds < RANDOM_BOUNDS_MAX)
		r->bounds[r->nbounds++] = number;
	return number;
}

static inline void
random_number(Random *r)
{
	static const double few[] = {0, 1, 2, 0.5, 0.25, 1.5, 10, 100, 0.001};

	if (random_below(r, 2))
		random_write(r, "%.17g", few[random_below(r, 9)]);
	else
		random_write(r, "%.17g", random_age(r));
}

static inline void random_expression(Random *r, int depth);

static inline void
random_condition(Random *r, int depth)
{
	static const char *const comparisons[] = {"<", "<=", ">", ">=", "=", "!="};

	switch (depth > 0 ? random_below(r, 13) : random_below(r, 5))
	{
		case 10:
			random_expression(r, depth - 1);
			random_write(r, " between %.17g and ", random_age(r));
			random_expression(r, depth - 1);
			break;
		case 11:
			random_write(r, "(");
			random_expression(r, depth - 1);
			random_write(r, ") is %snull", random_below(r, 2) ? "not " : "");
			break;
		case 12:
			random_write(r, "(s0 like 'a%%' or changed(n0))");
			break;
		case 0:
			random_write(r, random_below(r, 2) ? "exists(n%d)" : "'a' in l%d", random_below(r, 4));
			break;
		case 1:
			random_write(r, "s0 in ('a', 'b')");
			break;
		case 2:
			random_write(r, "age(t%d) in (%.17g, %.17g)", random_below(r, 4), random_age(r), random_age(r));
			break;
		case 3:
		case 4:
			random_write(r, "age(t%d) %s %.17g", random_below(r, 4), comparisons[random_below(r, 6)],
						 random_age(r));
			break;
		case 5:
			random_write(r, "not (");
			random_condition(r, depth - 1);
			random_write(r, ")");
			break;
		case 6:
		case 7:
			random_write(r, "(");
			random_condition(r, depth - 1);
			random_write(r, random_below(r, 2) ? ") and (" : ") or (");
			random_condition(r, depth - 1);
			random_write(r, ")");
			break;
		default:
			random_expression(r, depth - 1);
			random_write(r, " %s ", comparisons[random_below(r, 6)]);
			random_expression(r, depth - 1);
			break;
	}
}

static inline void
random_steps(Random *r, int depth)
{
	double bound = 0;
	int n = 1 + random_below(r, 5);
	bool interp = random_below(r, 2);

	random_write(r, interp ? "interp(" : "steps(");
	random_expression(r, depth - 1);
	random_write(r, ", [");
	for (int i = 0; i < n; i++)
	{
		bound += random_age(r);
		if (r->nbounds < RANDOM_BOUNDS_MAX)
			r->bounds[r->nbounds++] = bound;
		random_write(r, "%s(%.17g, ", i > 0 ? ", " : "", bound);
		random_number(r);
		random_write(r, ")");
	}
	random_write(r, !interp && random_below(r, 3) ? "], below = 0.125)" : "])");
}

/* All functions of numbers; %e: an expression, %p: a positive number, %f: a fraction. */
static const char *const random_functions[] = {
	"abs(%e)",
	"clamp(%e, %p, %e)",
	"clamp(%e, 0, 1)",
	"exp_decay(%e, %p)",
	"exp_decay(%e, %p, %f, %f)",
	"gauss(%e, %p)",
	"gauss(%e - %p, %p, %f, %f)",
	"half_life(%e, %p)",
	"half_life(%e, %p, %f)",
	"inverse(%e, %p)",
	"linear(%e, %e, %e)",
	"linear(%e, -2, 1)",
	"linear_decay(%e, %p)",
	"linear_decay(%e, %p, %f, %f)",
	"linear_decay(%e, %e, 0.5)",
	"ln2p(%e)",
	"ln2p(%e, %p)",
	"log10p(%e)",
	"log1p(%e)",
	"log1p(%e, %p)",
	"logistic(%e, 0.001, %p)",
	"logistic(%e, %e, %e)",
	"max(%e, %e)",
	"min(%e, %e, %p)",
	"pow(%e, 2)",
	"pow(%e, %e)",
	"recip(%e, 0.001, 1, 1)",
	"recip(%e, %e, %e, %e)",
	"round(%e, %p)",
	"round(%e, 0.1)",
	"saturation(%e, %p)",
	"sigmoid(%e, %p, 0.7)",
	"sigmoid(%e, %p, %e)",
	"sqrt(%e)",
	"square(%e)",
	"enum(s0, {'a': 1, 'b': 2}, else = 0.5)",
	"(%e + %e)",
	"(%e - %e)",
	"(%e * %e)",
	"(%e / %e)",
	"-(%e)",
};

static inline void
random_call(Random *r, int depth)
{
	static const double fractions[] = {0.5, 0.25, 0.1, 0.9, 0.05};
	const char *c = random_functions[random_below(r, sizeof(random_functions) / sizeof(random_functions[0]))];

	for (; *c != '\0'; c++)
	{
		if (*c != '%')
			random_write(r, "%c", *c);
		else if (*++c == 'e')
			random_expression(r, depth - 1);
		else
			random_write(r, "%.17g", *c == 'p' ? random_age(r) : fractions[random_below(r, 5)]);
	}
}

static inline void
random_expression(Random *r, int depth)
{
	int which = random_below(r, depth > 0 ? 13 : 4);

	if (which == 0)
		random_number(r);
	else if (which == 1)
		random_write(r, "n%d", random_below(r, 4));
	else if (which < 5)
		random_write(r, "age(t%d)", random_below(r, 4));
	else if (which == 5)
	{
		int literals = random_below(r, 2);

		random_write(r, "flag(");
		random_condition(r, depth - 1);
		random_write(r, ", ");
		random_expression(r, literals ? 0 : depth - 1);
		random_write(r, ", ");
		random_expression(r, literals ? 0 : depth - 1);
		random_write(r, ")");
	}
	else if (which == 6)
		random_steps(r, depth);
	else if (which == 7)
	{
		random_write(r, "(");
		random_expression(r, depth - 1);
		random_write(r, " %s ", &"+\0-\0*\0/"[2 * random_below(r, 4)]);
		random_expression(r, 0);
		random_write(r, ")");
	}
	else
		random_call(r, depth);
}

static inline void
random_clauses(Random *r)
{
	static const char *const missing[] = {"", " missing 0.75", " missing skip", " missing reject item",
										  " missing last known"};
	static const char *const on_error[] = {"", "", " on_error 0.3", " on_error skip", " on_error quarantine"};

	if (random_below(r, 3) == 0)
	{
		random_write(r, " when ");
		random_condition(r, 2);
	}
	random_write(r, "%s%s", missing[random_below(r, 8) % 5], on_error[random_below(r, 5)]);
}

static inline void
random_statement(Random *r, int i)
{
	static const double weights[] = {1, 0.6, 0.3, 0.1, -0.5, 2};
	int which = i == 0 ? 0 : random_below(r, 6);

	if (which == 5)
	{
		random_write(r, "tier %d when ", random_below(r, 7) - 3);
		random_condition(r, 2);
		random_write(r, random_below(r, 4) ? "\n" : " on_error quarantine\n");
		return;
	}
	if (which < 3)
		random_write(r, "term t%d weight %g ", i, weights[random_below(r, 6)]);
	else
		random_write(r, which == 3 ? "boost " : "factor ");
	random_expression(r, 3);
	random_clauses(r);
	random_write(r, i % 3 ? "\n" : "   # said in passing\n");
}

/* The definition of a seed, in r->text. */
static inline void
random_definition(Random *r, uint64_t seed, double unit)
{
	static const double rounds[] = {RULES_ROUND_DEFAULT, 0.1, 0.0001, 1, 0.01};
	static const char *const combines[] = {"sum", "mult", "avg", "max", "min", "first"};
	int n;

	r->state = seed;
	r->unit = unit;
	r->len = 0;
	r->nbounds = 0;
	n = 1 + random_below(r, 4);
	if (random_below(r, 5) == 0)
	{
		random_write(r, "where ");
		random_condition(r, 2);
		random_write(r, random_below(r, 2) ? "\n" : " on_error quarantine\n");
	}
	for (int i = 0; i < n; i++)
		random_statement(r, i);
	r->combine = random_below(r, 2) ? "sum" : combines[random_below(r, 6)];
	random_write(r, "combine %s\n", r->combine);
	r->has_clamp = random_below(r, 4) == 0;
	r->clamp_low = -random_below(r, 3);
	r->clamp_high = 1 + random_below(r, 10);
	r->round = rounds[random_below(r, 5)];
	if (r->has_clamp)
		random_write(r, "clamp %g .. %g\n", r->clamp_low, r->clamp_high);
	if (r->round != RULES_ROUND_DEFAULT)
		random_write(r, "round %g\n", r->round);
	if (random_below(r, 4) == 0)
		random_write(r, "on_error 0.4\n");
}

/* t0 .. t3: times around now_us, one may be missing; n0 .. n3: numbers; s0: 'a', 'b' or 'c'. */
static inline void
random_item(Random *r, const RuleProgram *program, int64_t now_us, RuleValue *values)
{
	static const double numbers[] = {0, 1, -1, 0.5, 3, 1000, 1e-3, 1e300};
	const RuleAttribute *attributes;
	int n = rules_attributes(program, &attributes);

	for (int i = 0; i < n; i++)
	{
		const char *name = (const char *) attributes[i].name.data;

		memset(&values[i], 0, sizeof(values[i]));
		if (random_below(r, 12) == 0)
			continue;
		if (name[0] == 't')
		{
			values[i].kind = RULE_TIME;
			values[i].time_us = now_us + (int64_t) (r->unit * 1e4) * (random_below(r, 400) - 300);
		}
		else if (name[0] == 'l')
		{
			/* LIST_VALUES { VALUE_TEXT 'b', VALUE_TEXT 'a' } and the beginnings of it */
			static const uint8_t list[] = {0x0a, 3, 0x32, 1, 'b', 0x0a, 3, 0x32, 1, 'a'};

			values[i].kind = RULE_LIST;
			values[i].bytes = slice_make(list, 5 * (size_t) random_below(r, 3));
		}
		else if (name[0] == 's')
		{
			values[i].kind = RULE_TEXT;
			values[i].bytes = slice_make(&"abc"[random_below(r, 3)], 1);
		}
		else
		{
			values[i].kind = RULE_NUMBER;
			values[i].number = numbers[random_below(r, 8)];
		}
	}
}

#endif /* WALRANK_RULES_RANDOM_H */
