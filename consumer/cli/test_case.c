/*
 * test_case.c -- see test_case.h.
 */
#include "cli/test_case.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "json_list.h"

#define TOLERANCE_DEFAULT 1e-9 /* what a score is rounded to if its definition says nothing */

/* ---- reading a line --------------------------------------------------------------------------- */

static bool
wrong(Error *err, const char *message, const char *hint)
{
	error_set(err, ERR_CONFIG, "%s", message);
	return error_hint(err, "%s", hint);
}

static bool
check_members(json_t *root, Error *err)
{
	static const char *const known[] = {"name",	   "ranking",	  "at",		   "item", "score",
										"outside", "quarantined", "tolerance", NULL};
	const char *name;
	json_t *value;

	json_object_foreach(root, name, value)
	{
		int i = 0;

		while (known[i] != NULL && strcmp(known[i], name) != 0)
			i++;
		if (known[i] != NULL)
			continue;
		error_set(err, ERR_CONFIG, "a test case has no member \"%.60s\"", name);
		return error_hint(err, "There are name, ranking, at, item, score, outside, quarantined, tolerance.");
	}
	return true;
}

static bool
take_text(json_t *root, const char *name, const char **text, Error *err)
{
	json_t *value = json_object_get(root, name);

	if (value == NULL)
		return true;
	*text = json_string_value(value);
	return *text != NULL || error_set(err, ERR_CONFIG, "\"%s\" has to be a string", name);
}

static bool
take_time(json_t *root, TestCase *test, Error *err)
{
	const char *text = NULL;

	if (!take_text(root, "at", &text, err) || text == NULL)
		return err->class == ERR_NONE;
	test->has_at = true;
	return rules_parse_time(slice_string(text), &test->at_us) ||
		   wrong(err, "\"at\" is no time", "Write it as 2026-11-20T14:46:29Z.");
}

/* Exactly one of score, outside and quarantined. */
static bool
take_expectation(json_t *root, TestCase *test, Error *err)
{
	json_t *score = json_object_get(root, "score");
	json_t *outside = json_object_get(root, "outside");
	json_t *quarantined = json_object_get(root, "quarantined");
	json_t *tolerance = json_object_get(root, "tolerance");

	if ((score != NULL) + (outside != NULL) + (quarantined != NULL) != 1)
		return wrong(err, "a test case expects one thing",
					 "Give \"score\":0.5, \"outside\":true or \"quarantined\":true.");
	if (score != NULL	  ? !json_is_number(score)
		: outside != NULL ? !json_is_true(outside)
						  : !json_is_true(quarantined) && !json_is_string(quarantined))
		return wrong(err, "what is expected has the wrong type",
					 "Give \"score\":0.5, \"outside\":true or \"quarantined\":true.");
	if (tolerance != NULL && (!json_is_number(tolerance) || json_number_value(tolerance) < 0))
		return wrong(err, "\"tolerance\" has to be a number from 0 up", "By default it is 1e-9.");
	test->outcome = score != NULL ? RULE_SCORE : outside != NULL ? RULE_OUTSIDE : RULE_QUARANTINE;
	test->score = json_number_value(score);
	test->reason = json_string_value(quarantined);
	test->tolerance = tolerance != NULL ? json_number_value(tolerance) : TOLERANCE_DEFAULT;
	return true;
}

bool
test_case_parse(Slice line, Arena *arena, TestCase *test, Error *err)
{
	json_error_t where;
	/* every number as the double the rules would have of it */
	json_t *root = json_loadb((const char *) line.data, line.len,
							  JSON_DECODE_INT_AS_REAL | JSON_REJECT_DUPLICATES, &where);

	error_clear(err);
	*test = (TestCase){.name = "", .document = root};
	if (root == NULL)
		return error_set(err, ERR_CONFIG, "not a line of JSON: %s (column %d)", where.text, where.column);
	if (!json_is_object(root) || !json_is_object(json_object_get(root, "item")))
	{
		test_case_free(test);
		return wrong(err, "a test case is an object with an \"item\"",
					 "Write {\"item\":{\"price\":12},\"score\":0.5}.");
	}
	if (check_members(root, err) && take_text(root, "name", &test->name, err) &&
		take_text(root, "ranking", &test->ranking, err) && take_time(root, test, err) &&
		take_expectation(root, test, err))
		return true;
	test_case_free(test);
	return false;
}

void
test_case_free(TestCase *test)
{
	json_decref(test->document);
	test->document = NULL;
}

/* ---- an item's values ------------------------------------------------------------------------- */

/* Where the item is a row as to_jsonb() shows it, the map is an object in it. */
static const json_t *
find_in_map(const json_t *item, const char *name)
{
	const char *column;
	json_t *object;

	json_object_foreach((json_t *) (uintptr_t) item, column, object)
	{
		json_t *value = json_object_get(object, name);

		if (value != NULL)
			return value;
	}
	return NULL;
}

/* NULL: missing. */
static const json_t *
find_value(const json_t *item, const RuleAttribute *attribute, Arena *arena)
{
	const char *column = arena_string(arena, attribute->column);
	const char *name = arena_string(arena, attribute->name);
	const json_t *value;
	Buffer qualified = {0};

	if (attribute->column.len == 0)
	{
		value = json_object_get(item, name);
		return value != NULL ? value : find_in_map(item, name);
	}
	value = json_object_get(json_object_get(item, column), name);
	if (value == NULL)
	{
		buffer_printf(&qualified, "%s.%s", column, name);
		buffer_append_byte(&qualified, 0);
		value = json_object_get(item, (const char *) qualified.data);
		buffer_free(&qualified);
	}
	return value;
}

static void
convert_list(const json_t *array, Arena *arena, RuleValue *value)
{
	char *text = json_dumps(array, JSON_COMPACT | JSON_ENCODE_ANY);
	Slice elements;

	value->kind = RULE_OTHER;
	if (text != NULL && rule_json_list(slice_string(text), &elements))
	{
		value->kind = RULE_LIST;
		value->bytes = arena_copy(arena, elements);
		value->list_is_json = true;
	}
	free(text);
}

/* {"timestamp":"2026-11-01"} */
static void
convert_object(const json_t *object, RuleValue *value)
{
	const char *text = json_string_value(json_object_get(object, "timestamp"));

	value->kind = RULE_OTHER;
	if (text != NULL && json_object_size(object) == 1 &&
		rules_parse_time(slice_string(text), &value->time_us))
		value->kind = RULE_TIME;
}

static void
convert(const json_t *json, Arena *arena, RuleValue *value)
{
	switch (json_typeof(json))
	{
		case JSON_NULL:
			value->kind = RULE_MISSING;
			break;
		case JSON_TRUE:
		case JSON_FALSE:
			value->kind = RULE_BOOL;
			value->boolean = json_is_true(json);
			break;
		case JSON_INTEGER:
		case JSON_REAL:
			value->kind = RULE_NUMBER;
			value->number = json_number_value(json);
			break;
		case JSON_STRING:
			value->kind = RULE_TEXT;
			value->bytes = slice_make(json_string_value(json), json_string_length(json));
			break;
		case JSON_ARRAY:
			convert_list(json, arena, value);
			break;
		case JSON_OBJECT:
			convert_object(json, value);
			break;
	}
}

/* [value, "time"] */
static const json_t *
take_own_time(const json_t *json, RuleValue *value)
{
	const char *time = json_string_value(json_array_get(json, 1));

	if (json_array_size(json) != 2 || time == NULL ||
		!rules_parse_time(slice_string(time), &value->own_time_us))
		return json;
	value->has_own_time = true;
	return json_array_get(json, 0);
}

bool
test_case_fill(const TestCase *test, const RuleProgram *program, Arena *arena, RuleValue *values, Error *err)
{
	const json_t *item = json_object_get(test->document, "item");
	const RuleAttribute *attributes;
	int n = rules_attributes(program, &attributes);

	for (int i = 0; i < n; i++)
	{
		const json_t *json = find_value(item, &attributes[i], arena);

		values[i] = (RuleValue){.kind = RULE_MISSING};
		if (json != NULL)
			convert(take_own_time(json, &values[i]), arena, &values[i]);
	}
	if (rules_use_clock(program) && !test->has_at)
		return wrong(err, "the score moves with time, and the case does not say when it is",
					 "Add \"at\":\"2026-11-20T14:46:29Z\".");
	return true;
}

/* ---- what came of it -------------------------------------------------------------------------- */

bool
test_case_holds(const TestCase *test, const RuleResult *result)
{
	if (result->outcome != test->outcome)
		return false;
	switch (result->outcome)
	{
		case RULE_SCORE:
			/* of large scores the last digits of their text */
			return fabs(result->score - test->score) <= fmax(test->tolerance, fabs(test->score) * 1e-15);
		case RULE_QUARANTINE:
			return test->reason == NULL || strcmp(test->reason, result->reason) == 0;
		default:
			return true;
	}
}
