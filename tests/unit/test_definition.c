/*
 * test_definition.c -- files of rankings: headers, places of errors, differences; and cases of their tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cli/definition.h"
#include "cli/test_case.h"
#include "cli/textdiff.h"

/* ---- headers ---------------------------------------------------------------------------------- */

static void
reads(const char *text, const char *name, const char *relation, bool disabled, const char *body)
{
	DefinitionHeader header;
	RuleError error;

	assert_true(definition_header(slice_string(text), &header, &error));
	assert_true(header.found);
	assert_true(slice_equal(header.name, slice_string(name)));
	assert_true(slice_equal(header.relation, slice_string(relation)));
	assert_int_equal(header.disabled, disabled);
	assert_true(slice_equal(header.body, slice_string(body)));
}

static void
a_header_names_ranking_and_table(void **state)
{
	reads("# ranking \"home\" over public.item\nterm", "home", "public.item", false, "term");
	reads("\n \n#ranking \"h\"over  public.item  disabled \r\nterm\n", "h", "public.item", true, "term\n");
	reads("# ranking \"h\" over public.\"odd \"\" name\" disabled", "h", "public.\"odd \"\" name\"", true,
		  "");
}

static void
what_is_no_header_is_text(void **state)
{
	static const char *const texts[] = {"", "\n", "term x weight 1 x\n",
										"# about rankings\n# ranking \"x\" over y\n",
										"# rankings \"x\" over y"};
	DefinitionHeader header;
	RuleError error;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		assert_true(definition_header(slice_string(texts[i]), &header, &error));
		assert_false(header.found);
		assert_true(slice_equal(header.body, slice_string(texts[i])));
	}
}

static void
wrong(const char *text, int line, int column)
{
	DefinitionHeader header;
	RuleError error;

	assert_false(definition_header(slice_string(text), &header, &error));
	assert_int_equal(error.line, line);
	assert_int_equal(error.column, column);
	assert_true(error.message[0] != '\0' && error.hint[0] != '\0');
}

static void
a_broken_header_says_where(void **state)
{
	wrong("# ranking home over x", 1, 10);
	wrong("\n# ranking \"home\" x", 2, 17);
	wrong("# ranking \"home\" over", 1, 22);
	wrong("# ranking \"home\" over \"x", 1, 22);
	wrong("# ranking \"home\" over x enabled", 1, 25);
	wrong("# ranking \"home\" over x disabled now", 1, 34);
}

static void
headers_and_empty_ends_make_no_difference(void **state)
{
	const Slice text = slice_string("# ranking \"a\" over b.c\nterm x weight 1 x\n");

	assert_true(definition_same(text, slice_string("term x weight 1 x")));
	assert_true(
		definition_same(text, slice_string("# ranking \"z\" over q disabled\nterm x weight 1 x\n\n \n")));
	assert_false(definition_same(text, slice_string("term x weight 1 y")));
	assert_false(definition_same(text, slice_string("\nterm x weight 1 x")));
}

/* ---- places ----------------------------------------------------------------------------------- */

static void
a_name_is_found_where_it_is_read(void **state)
{
	static const char text[] = "# nosuch.x\n"
							   "where s = 'nosuch.x'\n"
							   "term nosuch weight 1 nosuch + anosuch.x\n"
							   "term \xc3\xa4 weight 1 \"nosuch\".x\n";
	const WireRelation relation = {.fingerprint = 0};
	Arena *arena = arena_create(4096);
	RuleError error = {.line = 0};
	RuleProgram *program;

	program = definition_compile(slice_string("term a weight 1 nosuch.x\n"), NULL, arena, &error);
	assert_non_null(program);
	error = (RuleError){.line = 0};
	definition_locate(slice_string(text), program, &relation, slice_string("map"), &error);
	assert_int_equal(error.line, 4);
	assert_int_equal(error.column, 18); /* in characters */
	arena_destroy(arena);
}

/* ---- differences ------------------------------------------------------------------------------ */

static void
differ(const char *before, const char *after, const char *expected)
{
	Buffer out = {0};

	text_diff(&out, "a", "b", slice_string(before), slice_string(after));
	buffer_append_byte(&out, 0);
	assert_string_equal((const char *) out.data, expected);
	buffer_free(&out);
}

static void
differences_read_as_diff_u_shows_them(void **state)
{
	differ("", "", "");
	differ("x\n", "x\n", "");
	differ("", "x\n", "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
	differ("x\ny\n", "", "--- a\n+++ b\n@@ -1,2 +0,0 @@\n-x\n-y\n");
	differ("x\n", "x", "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+x\n\\ No newline at end of file\n");
	differ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
		   "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
	/* two changes seven lines apart are two hunks, six apart are one */
	differ("a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
		   "--- a\n+++ b\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n");
	differ("a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
		   "--- a\n+++ b\n@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n");
}

/* ---- cases ------------------------------------------------------------------------------------ */

static void
refused(const char *line, const char *why)
{
	Arena *arena = arena_create(4096);
	TestCase test;
	Error err = {0};

	assert_false(test_case_parse(slice_string(line), arena, &test, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	assert_non_null(strstr(err.message, why));
	arena_destroy(arena);
}

static void
a_case_that_is_none_is_refused(void **state)
{
	refused("{", "not a line of JSON");
	refused("[]", "an object with an \"item\"");
	refused("{\"score\":1}", "an object with an \"item\"");
	refused("{\"item\":{}}", "expects one thing");
	refused("{\"item\":{},\"score\":1,\"outside\":true}", "expects one thing");
	refused("{\"item\":{},\"score\":\"1\"}", "wrong type");
	refused("{\"item\":{},\"outside\":false}", "wrong type");
	refused("{\"item\":{},\"score\":1,\"tolerance\":-1}", "\"tolerance\"");
	refused("{\"item\":{},\"score\":1,\"at\":\"soon\"}", "\"at\"");
	refused("{\"item\":{},\"score\":1,\"name\":7}", "\"name\"");
	refused("{\"item\":{},\"sore\":1}", "no member \"sore\"");
}

/* What a program of one term makes of an item. */
static RuleResult
result_of(const char *rules, const char *line, bool *holds)
{
	Arena *arena = arena_create(4096);
	RuleValue values[RULES_ATTRIBUTES_MAX];
	RuleProgram *program;
	RuleResult result;
	RuleError error;
	TestCase test;
	Error err = {0};

	program = definition_compile(slice_string(rules), NULL, arena, &error);
	assert_non_null(program);
	assert_true(test_case_parse(slice_string(line), arena, &test, &err));
	assert_true(test_case_fill(&test, program, arena, values, &err));
	rules_evaluate(program, &(RuleInput){.values = values, .now_us = test.at_us}, &result);
	*holds = test_case_holds(&test, &result);
	test_case_free(&test);
	arena_destroy(arena);
	return result;
}

static void
holds(const char *rules, const char *line)
{
	bool ok;

	result_of(rules, line, &ok);
	assert_true(ok);
}

static void
fails(const char *rules, const char *line)
{
	bool ok;

	result_of(rules, line, &ok);
	assert_false(ok);
}

static void
items_are_what_the_rules_would_have_of_them(void **state)
{
	holds("term a weight 1 x", "{\"item\":{\"x\":2.5},\"score\":2.5}");
	fails("term a weight 1 x", "{\"item\":{\"x\":2.5},\"score\":2.51}");
	holds("term a weight 1 x", "{\"item\":{\"x\":2.5},\"score\":2.51,\"tolerance\":0.02}");
	fails("term a weight 1 x", "{\"item\":{\"x\":2.5},\"outside\":true}");
	holds("term a weight 1 x missing 7", "{\"item\":{\"x\":null},\"score\":7}");
	holds("term a weight 1 x missing 7", "{\"item\":{},\"score\":7}");
	holds("term a weight 1 x", "{\"item\":{\"x\":[3,\"2026-01-01T00:00:00Z\"]},\"score\":3}");
	holds("term a weight 1 x", "{\"item\":{\"map\":{\"x\":3}},\"score\":3}");
	holds("term a weight 1 x", "{\"item\":{\"map\":{\"x\":3},\"x\":4},\"score\":4}");
	holds("term a weight 1 m.x", "{\"item\":{\"m\":{\"x\":3},\"x\":4},\"score\":3}");
	holds("term a weight 1 m.x", "{\"item\":{\"m.x\":5},\"score\":5}");
	holds("where 'b' in x\nterm a weight 1 1", "{\"item\":{\"x\":[\"a\",\"b\"]},\"score\":1}");
	holds("where 'b' in x\nterm a weight 1 1", "{\"item\":{\"x\":[\"a\"]},\"outside\":true}");
	holds("where 'b' in x\nterm a weight 1 1",
		  "{\"item\":{\"x\":[[\"a\",\"b\"],\"2026-01-01\"]},\"score\":1}");
	holds("term a weight 1 age(x)",
		  "{\"at\":\"2026-01-01T00:01:00Z\",\"item\":{\"x\":\"2026-01-01\"},\"score\":60}");
	holds("term a weight 1 age(x)",
		  "{\"at\":\"2026-01-01T00:01:00Z\",\"item\":{\"x\":{\"timestamp\":\"2026-01-01\"}},\"score\":60}");
	holds("term a weight 1 age(x)",
		  "{\"at\":\"2026-01-01T00:01:00Z\",\"item\":{\"x\":[1,\"2026-01-01\"]},\"score\":60}");
	holds("term a weight 1 1 / x\non_error quarantine", "{\"item\":{\"x\":0},\"quarantined\":true}");
	holds("term a weight 1 1 / x\non_error quarantine",
		  "{\"item\":{\"x\":0},\"quarantined\":\"division by zero\"}");
	fails("term a weight 1 1 / x\non_error quarantine", "{\"item\":{\"x\":0},\"quarantined\":\"overflow\"}");
}

static void
a_score_that_moves_with_time_needs_a_time(void **state)
{
	Arena *arena = arena_create(4096);
	RuleValue values[RULES_ATTRIBUTES_MAX];
	RuleError error;
	TestCase test;
	Error err = {0};
	RuleProgram *program = definition_compile(slice_string("term a weight 1 age(x)"), NULL, arena, &error);

	assert_true(test_case_parse(slice_string("{\"item\":{},\"score\":1}"), arena, &test, &err));
	assert_false(test_case_fill(&test, program, arena, values, &err));
	assert_non_null(strstr(err.hint, "\"at\""));
	test_case_free(&test);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_names_ranking_and_table),
		cmocka_unit_test(what_is_no_header_is_text),
		cmocka_unit_test(a_broken_header_says_where),
		cmocka_unit_test(headers_and_empty_ends_make_no_difference),
		cmocka_unit_test(a_name_is_found_where_it_is_read),
		cmocka_unit_test(differences_read_as_diff_u_shows_them),
		cmocka_unit_test(a_case_that_is_none_is_refused),
		cmocka_unit_test(items_are_what_the_rules_would_have_of_them),
		cmocka_unit_test(a_score_that_moves_with_time_needs_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
