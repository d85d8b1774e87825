/*
 * rules.c -- the door to the language: see rules.h.
 */
#include "compiler.h"
#include "fast.h"
#include "names.h"

#include <math.h>

/* Names and texts of what is made point into the copy.  NULL: it is too long. */
static const char *
copy_text(const char *text, size_t len, const char *what, const RuleMemory *memory, RuleError *error)
{
	char *copy;

	memset(error, 0, sizeof(*error));
	if (len > RULES_TEXT_BYTES_MAX)
	{
		rule_problem(error, (RulePosition){1, 1, NULL}, "the %s is longer than %d bytes", what,
					 RULES_TEXT_BYTES_MAX);
		return NULL;
	}
	copy = memory->alloc(memory->context, len + 1);
	if (len > 0)
		memcpy(copy, text, len);
	return copy;
}

RuleProgram *
rules_compile_with(const char *text, size_t len, const RuleLibrary *library, const RuleMemory *memory,
				   RuleError *error)
{
	RuleDefinition definition;
	RuleChecked checked = {.nattributes = 0};
	RuleProgram *program;
	const char *copy = copy_text(text, len, "definition", memory, error);

	if (copy == NULL || !rule_parse(&definition, slice_make(copy, len), library, memory, error) ||
		!rule_check(&definition, &checked, memory, error))
		return NULL;
	program = rule_compile(&definition, &checked, memory, error);
	if (program == NULL)
		return NULL;
	program->sources = rule_sources(slice_make(copy, len), memory, &program->nsources);
	program->round_units = rule_round_units(program->round);
	program->fast = rule_fast_make(program, memory);
	return program;
}

RuleProgram *
rules_compile(const char *text, size_t len, const RuleMemory *memory, RuleError *error)
{
	return rules_compile_with(text, len, NULL, memory, error);
}

static bool
read_library(RuleDefinition *definition, const char *text, size_t len, const RuleMemory *memory,
			 RuleError *error)
{
	const char *copy = copy_text(text, len, "library", memory, error);

	return copy != NULL && rule_parse_library(definition, slice_make(copy, len), memory, error) &&
		   rule_check_names(definition, memory, error);
}

bool
rules_check_library(const char *text, size_t len, const RuleMemory *memory, RuleError *error)
{
	RuleDefinition definition;

	return read_library(&definition, text, len, memory, error);
}

const Slice *
rules_library_names(const char *text, size_t len, const RuleMemory *memory, int *n)
{
	RuleDefinition definition;
	RuleError ignored;
	Slice *names;

	*n = 0;
	if (!read_library(&definition, text, len, memory, &ignored))
		return NULL;
	names = memory->alloc(memory->context, ((size_t) definition.nnames + 1) * sizeof(*names));
	for (; *n < definition.nnames; ++*n)
		names[*n] = definition.names[*n]->name;
	return names;
}

bool
rules_uses(const RuleProgram *program, int i, Slice *library)
{
	if (i < 0 || i >= program->nlibraries)
		return false;
	*library = program->libraries[i];
	return true;
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

bool
rules_use_previous(const RuleProgram *program)
{
	return program->use_previous;
}

bool
rules_reads_previous(const RuleProgram *program, int attribute)
{
	return attribute >= 0 && attribute < program->nattributes && program->reads_previous[attribute];
}

double
rules_min_change(const RuleProgram *program)
{
	return program->min_change;
}

int64_t
rules_refresh_us(const RuleProgram *program)
{
	return program->refresh_us;
}

Slice
rules_scene(const RuleProgram *program)
{
	return program->scene;
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
