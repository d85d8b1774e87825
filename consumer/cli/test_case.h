/*
 * test_case.h -- one line of a test of rankings: an item, and what a definition has to make of it.
 *
 *	{"item":{"views":120,"listed_at":"2026-11-01"},"at":"2026-11-08","score":0.53}
 *	{"name":"sold out","item":{"status":"gone"},"outside":true}
 *
 *	item        attributes by name, else keys of an object in it: a row as to_jsonb() shows it is an item. A name that
 *	            the definition reads as column.key is looked for as
 *	            {"column":{"key":..}}, else as "column.key".  [value,"time"] is a value with a time of its own, as
 *	            the map column keeps it; {"timestamp":"2026-11-01"} is a value of a timestamp column.
 *	score       what the score has to be, within `tolerance` (1e-9)
 *	outside     true: it must not be in the ranking
 *	quarantined true, or the reason: it must not have a score
 *	ranking     whose definition; at: when; name: of the case
 */
#ifndef WALRANK_TEST_CASE_H
#define WALRANK_TEST_CASE_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "rules.h"

typedef struct TestCase
{
	const char *name;	 /* "" = none; all of it in the arena */
	const char *ranking; /* NULL: the file's */
	bool has_at;
	int64_t at_us; /* since 2000-01-01 */
	RuleOutcome outcome;
	double score;
	double tolerance;
	const char *reason; /* of a quarantine; NULL: any */
	void *document;		/* json_t */
} TestCase;

/* A line that is not empty. ERR_CONFIG says what is wrong with it. */
extern bool test_case_parse(Slice line, Arena *arena, TestCase *test, Error *err);
extern void test_case_free(TestCase *test);
/* What the program reads of the item; values[] has room for all its attributes. */
extern bool test_case_fill(const TestCase *test, const RuleProgram *program, Arena *arena, RuleValue *values,
						   Error *err);
extern bool test_case_holds(const TestCase *test, const RuleResult *result);

#endif /* WALRANK_TEST_CASE_H */
