/*
 * fuzz_rules_clock.c -- no score moves before rules_next_change() says so, and a program without a
 * clock never does.  share: 1/8
 *
 * Input: a definition, optionally a NUL and bytes from which values are made.
 */
#include "rules_values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
probe(const RuleProgram *program, const RuleInput *input, const RuleResult *stands, uint64_t after_us)
{
	RuleInput then = *input;
	RuleResult result;

	then.now_us = (int64_t) ((uint64_t) input->now_us + after_us);
	rules_evaluate(program, &then, &result);
	REQUIRE(!rules_differ(stands, &result, 0));
}

static void
check_clock(const RuleProgram *program, const RuleInput *input, const RuleResult *stands)
{
	RuleInput at = *input;
	RuleResult now = *stands;

	(void) rules_drifts(program);
	for (int i = 0; i < 4; i++)
	{
		int64_t next_us = rules_next_change(program, &at, &now, 0);
		uint64_t quiet_us;

		REQUIRE(next_us > at.now_us || at.now_us == RULES_NEVER);
		if (at.now_us >= RULES_NEVER - 1)
			return;
		quiet_us = (uint64_t) next_us - (uint64_t) at.now_us;
		if (!rules_use_clock(program))
			REQUIRE(next_us == RULES_NEVER);
		for (uint64_t step = 1; step < quiet_us && step != 0; step *= 4)
		{
			probe(program, &at, &now, step);
			probe(program, &at, &now, quiet_us - step);
		}
		if (next_us == RULES_NEVER)
			return;
		at.now_us = next_us;
		rules_evaluate(program, &at, &now);
	}
}

/* Times near now_us, so that ages are small: what rules_values.h has is mostly far away. */
static void
times_near(RuleValue *values, int n, Slice tail)
{
	for (int i = 0; i < n; i++)
		if (values[i].kind == RULE_TIME && tail.len > 0 && (tail.data[(size_t) i % tail.len] & 1))
			values[i].time_us = (int64_t) (tail.data[(7 * (size_t) i) % tail.len]) * 100000 - 20000000;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
	size_t len = nul != NULL ? (size_t) (nul - data) : size;
	Slice tail = nul != NULL ? slice_make(nul + 1, size - len - 1) : slice_make(data, size);
	static RuleValue values[RULES_ATTRIBUTES_MAX];
	Arena arena = {NULL};
	RuleMemory memory = {arena_alloc, &arena};
	const RuleAttribute *attributes;
	RuleError error;
	RuleProgram *program = rules_compile((const char *) data, len, &memory, &error);

	if (program != NULL)
	{
		int n = rules_attributes(program, &attributes);
		RuleInput input = {.values = values,
						   .now_us = tail.len % 3 == 0 ? (int64_t) tail.len * 86400000000 : 0};
		RuleResult stands;

		values_make(values, n, tail);
		times_near(values, n, tail);
		rules_evaluate(program, &input, &stands);
		check_clock(program, &input, &stands);
	}
	arena_free(&arena);
	return 0;
}
