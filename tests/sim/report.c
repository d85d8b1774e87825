/*
 * report.c -- see report.h.
 */
#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t tallies[TALLY_COUNT];
bool tracing;
uint64_t seed_now;
const int64_t *trace_clock;

static const char *const texts[] = {
#define X(name, text) text,
	TALLIES(X)
#undef X
};

void
trace_line(const char *format, ...)
{
	va_list args;

	printf("# %12.6f  ", trace_clock != NULL ? (double) *trace_clock / 1e6 : 0.0);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout); /* what comes next may be an assertion */
}

void
broken(const char *kind, const char *format, ...)
{
	va_list args;

	printf("seed %" PRIu64 " fails at %.6f s: %s: ", seed_now,
		   trace_clock != NULL ? (double) *trace_clock / 1e6 : 0.0, kind);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nreplay it: walrank-sim --seed %" PRIu64 " --trace\n", seed_now);
	fflush(stdout);
	exit(1);
}

bool
report_tallies(bool demand)
{
	bool all = true;

	for (int i = 0; i < TALLY_COUNT; i++)
	{
		printf("# %12" PRIu64 "  %s%s\n", tallies[i], texts[i],
			   demand && tallies[i] == 0 ? "  <-- never exercised" : "");
		all = all && tallies[i] > 0;
	}
	return all || !demand;
}
