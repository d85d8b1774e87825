/*
 * rules_values.h -- what the fuzz targets of the scoring language share: memory in blocks of their
 * own, and values from bytes.
 */
#ifndef WALRANK_FUZZ_RULES_VALUES_H
#define WALRANK_FUZZ_RULES_VALUES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

#define REQUIRE(condition)                                                                                   \
	do                                                                                                       \
	{                                                                                                        \
		if (!(condition))                                                                                    \
		{                                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
			abort();                                                                                         \
		}                                                                                                    \
	} while (0)

/* Blocks of their own, so that the sanitizer sees every edge. */
typedef struct Arena
{
	struct Block
	{
		struct Block *next;
	} * blocks;
} Arena;

static inline void *
arena_alloc(void *context, size_t bytes)
{
	Arena *arena = context;
	struct Block *block = malloc(sizeof(*block) + 8 + bytes);

	REQUIRE(block != NULL);
	block->next = arena->blocks;
	arena->blocks = block;
	return memset((uint8_t *) block + 16, 0xa5, bytes);
}

static inline void
arena_free(Arena *arena)
{
	while (arena->blocks != NULL)
	{
		struct Block *next = arena->blocks->next;

		free(arena->blocks);
		arena->blocks = next;
	}
}

/* Values straight from bytes: every kind, and the numbers that hurt. */
static inline void
values_make(RuleValue *values, int n, Slice tail)
{
	static const double numbers[] = {0,		1,		-1,		0.5,  2,		100,	   1e15, -1e15,
									 1e308, -1e308, 5e-324, -0.0, INFINITY, -INFINITY, NAN,	 86400};
	static const int64_t times[] = {0, 1, -1, INT64_MIN, INT64_MAX, INT64_MIN + 1, 86400000000, -86400000000};

	for (int i = 0; i < n; i++)
	{
		uint8_t kind = tail.len > 0 ? tail.data[(2 * (size_t) i) % tail.len] : 0;
		uint8_t which = tail.len > 0 ? tail.data[(2 * (size_t) i + 1) % tail.len] : 0;

		memset(&values[i], 0, sizeof(values[i]));
		values[i].kind = (RuleKind) (kind % 7);
		values[i].has_own_time = (kind & 0x80) != 0;
		values[i].own_time_us = times[which % 8];
		values[i].list_is_json = (kind & 0x40) != 0;
		if (values[i].kind == RULE_BOOL)
			values[i].boolean = which & 1;
		else if (values[i].kind == RULE_NUMBER)
			values[i].number = numbers[which % 16];
		else if (values[i].kind == RULE_TIME)
			values[i].time_us = times[which % 8];
		else
			values[i].bytes = slice_make(tail.data, tail.len > 0 ? which % tail.len : 0);
	}
}

#endif /* WALRANK_FUZZ_RULES_VALUES_H */
