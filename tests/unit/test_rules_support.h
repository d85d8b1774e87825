/*
 * test_rules_support.h -- what the tests of the scoring language share: an arena, compiling with or
 * without the expectation of an error, and a score from a handful of named values.
 */
#ifndef WALRANK_TEST_RULES_SUPPORT_H
#define WALRANK_TEST_RULES_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "rules.h"

typedef struct Arena
{
	void *blocks[65536];
	int n;
} Arena;

static Arena arena;

static inline void *
arena_alloc(void *context, size_t bytes)
{
	Arena *a = context;
	void *block = malloc(bytes);

	assert_non_null(block);
	memset(block, 0xa5, bytes); /* "need not zero" */
	assert_true(a->n < (int) (sizeof(a->blocks) / sizeof(a->blocks[0])));
	a->blocks[a->n++] = block;
	return block;
}

static const RuleMemory memory = {arena_alloc, &arena};

static inline int
arena_reset(void **state)
{
	for (int i = 0; i < arena.n; i++)
		free(arena.blocks[i]);
	arena.n = 0;
	return 0;
}

static inline RuleProgram *
compile(const char *text)
{
	RuleError error;
	RuleProgram *program = rules_compile(text, strlen(text), &memory, &error);

	if (program == NULL)
		fail_msg("%s\nline %d, column %d: %s\n%s", text, error.line, error.column, error.message, error.hint);
	return program;
}

/* Compile what must not compile. */
static inline RuleError
compile_error(const char *text)
{
	RuleError error;

	if (rules_compile(text, strlen(text), &memory, &error) != NULL)
		fail_msg("was accepted: %s", text);
	assert_true(error.message[0] != '\0');
	return error;
}

/* A value by name. */
typedef struct Given
{
	const char *name;
	RuleValue value;
} Given;

#define NUMBER(n) ((RuleValue){.kind = RULE_NUMBER, .number = (n)})
#define TEXT(s) ((RuleValue){.kind = RULE_TEXT, .bytes = slice_make((s), sizeof(s) - 1)})
#define BOOL(b) ((RuleValue){.kind = RULE_BOOL, .boolean = (b)})
#define TIME(t) ((RuleValue){.kind = RULE_TIME, .time_us = (t)})
#define OTHER ((RuleValue){.kind = RULE_OTHER})

#define EXACT "\nround 1e-320" /* finer than any double: shows the bits before rounding */

/* List of texts as on the wire: LIST_VALUES { VALUE_TEXT }, all shorter than 120 bytes. */
static inline RuleValue
text_list(uint8_t *room, const char *const *texts)
{
	size_t n = 0;

	for (; *texts != NULL; texts++)
	{
		size_t len = strlen(*texts);

		room[n++] = WIRE_TAG(LIST_VALUES, WIRE_BYTES);
		room[n++] = (uint8_t) (len + 2);
		room[n++] = WIRE_TAG(VALUE_TEXT, WIRE_BYTES);
		room[n++] = (uint8_t) len;
		memcpy(room + n, *texts, len);
		n += len;
	}
	return (RuleValue){.kind = RULE_LIST, .bytes = slice_make(room, n)};
}

static inline RuleResult
evaluate_at(const char *text, const Given *given, int n, int64_t now_us)
{
	RuleProgram *program = compile(text);
	RuleValue values[RULES_ATTRIBUTES_MAX];
	const RuleAttribute *attributes;
	RuleResult result;
	int nattributes = rules_attributes(program, &attributes);

	memset(values, 0, sizeof(values));
	for (int i = 0; i < nattributes; i++)
		for (int j = 0; j < n; j++)
			if (slice_equal(attributes[i].name, slice_string(given[j].name)))
				values[i] = given[j].value;
	rules_evaluate(program, &(RuleInput){.values = values, .now_us = now_us}, &result);
	return result;
}

#define EVALUATE(text, ...)                                                                                  \
	evaluate_at((text), (Given[]){__VA_ARGS__}, sizeof((Given[]){__VA_ARGS__}) / sizeof(Given), 0)

static inline void
expect_score(const char *text, RuleResult result, double score)
{
	if (result.outcome != RULE_SCORE)
		fail_msg("%s: outcome %d (%s: %s), expected %.17g", text, result.outcome,
				 result.statement ? result.statement : "-", result.reason ? result.reason : "-", score);
	if (memcmp(&result.score, &score, sizeof(score)) != 0)
		fail_msg("%s: %.17g, expected %.17g", text, result.score, score);
}

#define NOTHING                                                                                              \
	{                                                                                                        \
		"",                                                                                                  \
		{                                                                                                    \
			.kind = RULE_MISSING                                                                             \
		}                                                                                                    \
	}
#define EXPECT_SCORE(score, text, ...) expect_score((text), EVALUATE((text), __VA_ARGS__), (score))
#define EXPECT_OUTSIDE(text, ...) assert_int_equal(EVALUATE((text), __VA_ARGS__).outcome, RULE_OUTSIDE)

#endif /* WALRANK_TEST_RULES_SUPPORT_H */
