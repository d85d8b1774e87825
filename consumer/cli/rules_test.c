/*
 * rules_test.c -- `walrank rules test FILE.test...`: do definitions make of items what they have to?
 *
 * Offline: the definition of ranking NAME is NAME.rules beside the test file, and the items stand in it.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/library_source.h"
#include "cli/test_case.h"

#define ARENA_BYTES (64 * 1024)
#define LINE_BYTES_MAX (16U << 20)

enum
{
	TEST_RULES
};

static const CliOption options[] = {
	{"--rules", "DIR", "where the definitions are, NAME.rules (default: beside the test file)"},
	{0},
};

typedef struct Loaded
{
	char *name;
	Arena *memory;
	RuleProgram *program;
	struct Loaded *next;
} Loaded;

typedef struct Run
{
	bool json;
	const char *rules; /* of --rules; NULL: beside the test file */
	/* the file at hand */
	const char *path;
	char name[DEFINITION_NAME_BYTES]; /* of the ranking its lines are about */
	int line;
	Loaded *loaded;
	int passed, failed; /* of all files */
	Buffer failures;	/* elements of a JSON array */
	Error err;
} Run;

/* ---- definitions ------------------------------------------------------------------------------ */

static void
definition_path(const Run *run, const char *name, Buffer *path)
{
	const char *slash = strrchr(run->path, '/');

	if (run->rules != NULL)
		buffer_printf(path, "%s/", run->rules);
	else if (slash != NULL)
		buffer_printf(path, "%.*s", (int) (slash - run->path) + 1, run->path);
	buffer_printf(path, "%s" DEFINITION_SUFFIX, name);
	buffer_append_byte(path, 0);
}

static bool
load(Run *run, const char *name, Loaded *loaded)
{
	Definition definition;
	LibrarySource source;
	RuleLibrary library;
	Buffer path = {0};
	RuleError error;
	bool ok;

	definition_path(run, name, &path);
	ok = definition_open((const char *) path.data, &definition, &run->err);
	buffer_free(&path);
	if (!ok)
		return false;
	loaded->name = xstrdup(name);
	loaded->memory = arena_create(ARENA_BYTES);
	source = (LibrarySource){.beside = definition.path, .arena = loaded->memory};
	library = library_source(&source);
	loaded->program = definition_compile(buffer_slice(&definition.text), &library, loaded->memory, &error);
	if (loaded->program == NULL)
		definition_error(&run->err, definition.path, &error);
	definition_free(&definition);
	return loaded->program != NULL;
}

static void
unload(Run *run)
{
	while (run->loaded != NULL)
	{
		Loaded *loaded = run->loaded;

		run->loaded = loaded->next;
		if (loaded->memory != NULL)
			arena_destroy(loaded->memory);
		free(loaded->name);
		free(loaded);
	}
}

static const RuleProgram *
program_of(Run *run, const char *name)
{
	Loaded *loaded;

	for (loaded = run->loaded; loaded != NULL; loaded = loaded->next)
		if (strcmp(loaded->name, name) == 0)
			return loaded->program;
	loaded = xcalloc(1, sizeof(*loaded));
	if (load(run, name, loaded))
	{
		loaded->next = run->loaded;
		run->loaded = loaded;
		return loaded->program;
	}
	if (loaded->memory != NULL)
		arena_destroy(loaded->memory);
	free(loaded->name);
	free(loaded);
	return NULL;
}

/* ---- one case --------------------------------------------------------------------------------- */

static void
put_quarantine(Buffer *out, const char *statement, const char *reason)
{
	buffer_printf(out, "quarantined%s%s%s%s", statement != NULL || reason != NULL ? ": " : "",
				  statement != NULL ? statement : "", statement != NULL && reason != NULL ? ", " : "",
				  reason != NULL ? reason : "");
}

static void
put_expected(const TestCase *test, Buffer *out)
{
	if (test->outcome == RULE_SCORE)
		json_double(out, test->score);
	else if (test->outcome == RULE_OUTSIDE)
		buffer_printf(out, "outside");
	else
		put_quarantine(out, NULL, test->reason);
}

static void
put_found(const RuleResult *result, Buffer *out)
{
	if (result->outcome == RULE_SCORE)
		json_double(out, result->score);
	else if (result->outcome == RULE_OUTSIDE)
		buffer_printf(out, "outside");
	else
		put_quarantine(out, result->statement, result->reason);
}

/* How the score came about: a line each, or elements of an array. */
typedef struct Statements
{
	bool json;
	Buffer *out;
	bool any;
} Statements;

static void
put_statement(void *context, const RuleLine *line)
{
	Statements *statements = context;
	Buffer *out = statements->out;

	if (statements->json)
	{
		buffer_printf(out, "%s{\"line\":%d,\"name\":", statements->any ? "," : "", line->line);
		json_string(out, slice_string(line->name));
		buffer_printf(out, ",\"counts\":%s,\"contribution\":", line->counts ? "true" : "false");
		json_double(out, line->contribution);
		buffer_append_byte(out, '}');
	}
	else
	{
		buffer_printf(out, "    %-20s ", line->name);
		if (line->kind == RULE_LINE_WHERE)
			buffer_printf(out, line->counts ? "holds" : "does not hold");
		else if (line->counts)
			json_double(out, line->contribution);
		else
			buffer_printf(out, "does not count");
		buffer_printf(out, "%s%s\n", line->reason != NULL ? ": " : "",
					  line->reason != NULL ? line->reason : "");
	}
	statements->any = true;
}

static void
ignore_totals(void *context, const RuleTotals *totals, const RuleResult *result)
{
}

static void
put_statements(const RuleProgram *program, const RuleInput *input, bool json, Buffer *out)
{
	Statements statements = {.json = json, .out = out};

	rules_explain(program, input, &(RuleExplainer){put_statement, ignore_totals, &statements});
}

static void
tell_failure(Run *run, const TestCase *test, const char *ranking, const RuleProgram *program,
			 const RuleInput *input, const RuleResult *result)
{
	Buffer expected = {0};
	Buffer found = {0};
	Buffer statements = {0};

	put_expected(test, &expected);
	put_found(result, &found);
	if (run->json)
	{
		Buffer *out = &run->failures;

		buffer_printf(out, "%s{\"file\":", out->len > 0 ? "," : "");
		json_string(out, slice_string(run->path));
		buffer_printf(out, ",\"line\":%d,\"name\":", run->line);
		json_string(out, slice_string(test->name));
		buffer_printf(out, ",\"ranking\":");
		json_string(out, slice_string(ranking));
		buffer_printf(out, ",\"expected\":");
		json_string(out, buffer_slice(&expected));
		buffer_printf(out, ",\"found\":");
		json_string(out, buffer_slice(&found));
		buffer_printf(out, ",\"statements\":[");
		put_statements(program, input, true, out);
		buffer_printf(out, "]}");
	}
	else
	{
		put_statements(program, input, false, &statements);
		cli_print("%s:%d: %s%sranking \"%s\": expected %.*s, found %.*s\n%.*s", run->path, run->line,
				  test->name, test->name[0] != '\0' ? ": " : "", ranking, (int) expected.len,
				  (char *) expected.data, (int) found.len, (char *) found.data, (int) statements.len,
				  statements.len > 0 ? (char *) statements.data : "");
		buffer_free(&statements);
	}
	buffer_free(&expected);
	buffer_free(&found);
}

static bool
try_case(Run *run, const TestCase *test, Arena *arena)
{
	const char *ranking = test->ranking != NULL ? test->ranking : run->name;
	const RuleProgram *program = program_of(run, ranking);
	const RuleAttribute *attributes;
	RuleValue *values;
	RuleInput input;
	RuleResult result;

	if (program == NULL)
		return false;
	values = arena_alloc(arena, ((size_t) rules_attributes(program, &attributes) + 1) * sizeof(*values));
	if (!test_case_fill(test, program, arena, values, &run->err))
		return error_wrap(&run->err, "%s:%d", run->path, run->line);
	input = (RuleInput){.values = values, .now_us = test->at_us};
	rules_evaluate(program, &input, &result);
	if (test_case_holds(test, &result))
		run->passed++;
	else
	{
		run->failed++;
		tell_failure(run, test, ranking, program, &input, &result);
	}
	return true;
}

static bool
try_line(Run *run, Slice line)
{
	Arena *arena;
	TestCase test;
	bool ok;

	while (line.len > 0 && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r' ||
							line.data[line.len - 1] == ' '))
		line.len--;
	if (line.len == 0 || line.data[0] == '#')
		return true;
	arena = arena_create(ARENA_BYTES);
	ok = test_case_parse(line, arena, &test, &run->err) ||
		 error_wrap(&run->err, "%s:%d", run->path, run->line);
	if (ok)
	{
		ok = try_case(run, &test, arena);
		test_case_free(&test);
	}
	arena_destroy(arena);
	return ok;
}

/* ---- files ------------------------------------------------------------------------------------ */

static void
name_ranking(Run *run)
{
	const char *slash = strrchr(run->path, '/');
	const char *base = slash != NULL ? slash + 1 : run->path;
	const char *dot = strchr(base, '.');

	snprintf(run->name, sizeof(run->name), "%.*s",
			 (int) (dot != NULL ? dot - base : (ptrdiff_t) strlen(base)), base);
}

static bool
try_file(Run *run, const char *path)
{
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t capacity = 0;
	ssize_t len;
	const int before = run->passed + run->failed;
	bool ok = true;

	if (file == NULL)
		return error_set(&run->err, ERR_CONFIG, "could not open \"%s\": %s", path, strerror(errno));
	run->path = path;
	run->line = 0;
	name_ranking(run);
	while (ok && (len = getline(&line, &capacity, file)) > 0)
	{
		run->line++;
		ok = len <= (ssize_t) LINE_BYTES_MAX
				 ? try_line(run, slice_make(line, (size_t) len))
				 : error_set(&run->err, ERR_CONFIG, "%s:%d: a line of more than %u bytes", path, run->line,
							 LINE_BYTES_MAX);
	}
	if (ok && run->passed + run->failed == before)
		ok = error_set(&run->err, ERR_CONFIG, "\"%s\" holds no test case", path);
	if (ok && ferror(file))
		ok = error_set(&run->err, ERR_CONFIG, "could not read \"%s\": %s", path, strerror(errno));
	free(line);
	fclose(file);
	unload(run); /* beside another file another definition may have the name */
	return ok;
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Run all = {.json = cli->json, .rules = values[TEST_RULES]};
	bool ok = true;

	if (operands[0] == NULL)
		return cli_usage("rules test needs a file of test cases");
	for (int i = 0; ok && operands[i] != NULL; i++)
		ok = try_file(&all, operands[i]);
	if (ok && all.json)
		cli_print("{\"passed\":%d,\"failed\":%d,\"failures\":[%.*s]}\n", all.passed, all.failed,
				  (int) all.failures.len, all.failures.len > 0 ? (char *) all.failures.data : "");
	else if (ok)
		cli_print("%d passed, %d failed\n", all.passed, all.failed);
	buffer_free(&all.failures);
	if (!ok)
		return cli_fail(&all.err);
	return all.failed > 0 ? EXIT_CONDITION : EXIT_DONE;
}

const CliCommand cli_rules_test = {
	.name = "rules test",
	.summary = "evaluate test cases against definitions, offline (exit 3 if one fails)",
	.options = options,
	.operands = "FILE.test...",
	.run = run,
};
