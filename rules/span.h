/*
 * span.h -- a program over a span of time instead of at a time.
 *
 * What does not move is executed by the machine itself.  What moves is a number between two bounds,
 * and both are what the machine's own operations give at the corners: operations of IEEE 754 are
 * monotone to the last bit, functions of libm nearly so (traits.h).  No value at any microsecond of
 * the span is outside the bounds; what cannot be told is unsure, never guessed.
 */
#ifndef WALRANK_RULES_SPAN_H
#define WALRANK_RULES_SPAN_H

#include "machine.h"

typedef enum
{
	SPAN_READY,
	SPAN_ERROR,	 /* at every time of the span */
	SPAN_UNSURE, /* anything may happen */
} SpanOutcome;

/* A cell that moves; its kind is RULE_NUMBER. */
typedef struct Span
{
	bool moves; /* else the machine's cell holds, and low and high mean nothing */
	double low;
	double high;
} Span;

typedef struct SpanMachine
{
	Machine machine;
	const RuleProgram *program;
	int64_t from_us;
	int64_t to_us; /* included */
	Cell cells[RULES_STACK_MAX];
	Span spans[RULES_STACK_MAX]; /* of the cell of the same number */
} SpanMachine;

extern void rule_span_begin(SpanMachine *span, const RuleProgram *program, const RuleInput *input);

/* Run [from, to) over from_us .. to_us; the value is in cells[0] and spans[0]. */
extern SpanOutcome rule_span_run(SpanMachine *span, int from, int to);

/* Bounds of a product; false: of its corners some are no number and some are. */
extern bool rule_span_product(const double *a, const double *b, double *low, double *high);

#endif /* WALRANK_RULES_SPAN_H */
