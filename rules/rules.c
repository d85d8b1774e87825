/*
 * rules.c -- the door to the language: see rules.h.
 */
#include "compiler.h"

#include <math.h>

RuleProgram *
rules_compile(const char *text, size_t len, const RuleMemory *memory, RuleError *error)
{
	RuleDefinition definition;
	RuleChecked checked = {.nattributes = 0};
	char *copy;

	memset(error, 0, sizeof(*error));
	if (len > RULES_TEXT_BYTES_MAX)
	{
		rule_problem(error, (RulePosition){1, 1}, "the definition is longer than %d bytes",
					 RULES_TEXT_BYTES_MAX);
		return NULL;
	}
	copy = memory->alloc(memory->context, len + 1); /* names and texts of the program point into it */
	if (len > 0)
		memcpy(copy, text, len);
	if (!rule_parse(&definition, slice_make(copy, len), memory, error) ||
		!rule_check(&definition, &checked, error))
		return NULL;
	return rule_compile(&definition, &checked, memory, error);
}

int
rules_attributes(const RuleProgram *program, const RuleAttribute **attributes)
{
	*attributes = program->attributes;
	return program->nattributes;
}

bool
rules_use_clock(const RuleProgram *program)
{
	return program->use_clock;
}

static double
square_root_of_sum(double x, double y)
{
	return sqrt(x * x + y);
}

static double
logarithm(double x, double y)
{
	return log(x + y);
}

static double
logarithm_10(double x, double y)
{
	return log10(x + y);
}

static double
logarithm_1(double x, double y)
{
	return log1p(x * y);
}

static double
exponential(double x, double y)
{
	return exp(-x / (1 + y));
}

static double
exponential_2(double x, double y)
{
	return exp2(-x / (1 + y));
}

static double
power(double x, double y)
{
	return pow(x, y / 16);
}

uint64_t
rules_libm_fingerprint(void)
{
	static double (*const functions[])(double, double) = {
		square_root_of_sum, logarithm, logarithm_10, logarithm_1, exponential, exponential_2, power};
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	uint64_t state = 1;

	for (int i = 0; i < 1000; i++)
	{
		double xy[2];
		double value;
		uint64_t bits;

		for (int j = 0; j < 2; j++)
		{
			state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			xy[j] = (double) (state >> 11) * 0x1p-47; /* 0 .. 64, all bits in use */
		}
		value = functions[i % 7](xy[0], xy[1]);
		memcpy(&bits, &value, sizeof(bits));
		for (int j = 0; j < 64; j += 8) /* by value, not by byte order in memory */
			hash = (hash ^ (bits >> j & 0xff)) * UINT64_C(0x100000001b3);
	}
	return hash;
}
