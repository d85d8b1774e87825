/*
 * rules.c -- `walrank rules check FILE`: is this a definition, and if not, where and why.
 *
 * A library it uses is a file beside it: NAME.rules.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/json.h"
#include "rules.h"

static void *
alloc(void *context, size_t bytes)
{
	return arena_alloc(context, bytes);
}

static bool
read_text(const char *path, Buffer *text, Error *err)
{
	const bool standard = strcmp(path, "-") == 0;
	FILE *file = standard ? stdin : fopen(path, "r");
	size_t got;
	bool ok;

	if (file == NULL)
	{
		error_set(err, ERR_CONFIG, "could not open \"%s\": %s", path, strerror(errno));
		return false;
	}
	/* one byte above the limit is enough for the compiler to refuse it */
	while (text->len <= RULES_TEXT_BYTES_MAX && (got = fread(buffer_reserve(text, 4096), 1, 4096, file)) > 0)
		text->len += got;
	ok = !ferror(file) || error_set(err, ERR_CONFIG, "could not read \"%s\": %s", path, strerror(errno));
	if (!standard)
		fclose(file);
	return ok;
}

/* Where the libraries of a definition are looked for. */
typedef struct Shelf
{
	Slice directory; /* with its "/", or empty */
	Arena *arena;
} Shelf;

static Shelf
shelf_beside(const char *path, Arena *arena)
{
	const char *slash = strrchr(path, '/');

	return (Shelf){slice_make(path, slash != NULL ? (size_t) (slash + 1 - path) : 0), arena};
}

static bool
find_library(void *context, Slice name, Slice *text)
{
	const Shelf *shelf = context;
	Buffer path = {0};
	Buffer content = {0};
	Error ignored;
	bool found;

	buffer_printf(&path, "%.*s%.*s.rules", (int) shelf->directory.len, (const char *) shelf->directory.data,
				  (int) name.len, (const char *) name.data);
	found = read_text(arena_string(shelf->arena, buffer_slice(&path)), &content, &ignored);
	if (found)
		*text = arena_copy(shelf->arena, buffer_slice(&content));
	buffer_free(&path);
	buffer_free(&content);
	return found;
}

static void
print_attributes(const RuleProgram *program, bool json)
{
	const RuleAttribute *attributes;
	int n = rules_attributes(program, &attributes);
	Buffer out = {0};

	for (int i = 0; i < n; i++)
	{
		Buffer name = {0};

		if (attributes[i].column.len > 0)
		{
			buffer_append_slice(&name, attributes[i].column);
			buffer_append_byte(&name, '.');
		}
		buffer_append_slice(&name, attributes[i].name);
		if (i > 0)
			buffer_printf(&out, json ? "," : ", ");
		if (json)
			json_string(&out, buffer_slice(&name));
		else
			buffer_append_slice(&out, buffer_slice(&name));
		buffer_free(&name);
	}
	cli_print(json ? "\"attributes\":[%.*s],\"clock\":%s}\n" : "reads %.*s%s\n", (int) out.len,
			  (char *) out.data,
			  json ? (rules_use_clock(program) ? "true" : "false")
				   : (rules_use_clock(program) ? "; moves with time" : ""));
	buffer_free(&out);
}

static void
print_error(const char *path, const RuleError *error, bool json)
{
	Buffer out = {0};

	if (json)
	{
		buffer_printf(&out, "{\"file\":");
		json_string(&out, slice_string(path));
		buffer_printf(&out, ",\"ok\":false,\"line\":%d,\"column\":%d,\"message\":", error->line,
					  error->column);
		json_string(&out, slice_string(error->message));
		buffer_printf(&out, ",\"hint\":");
		json_string(&out, slice_string(error->hint));
		buffer_printf(&out, "}");
	}
	else
	{
		buffer_printf(&out, "%s:%d:%d: %s", path, error->line, error->column, error->message);
		if (error->hint[0] != '\0')
			buffer_printf(&out, "\nHINT:  %s", error->hint);
	}
	cli_print("%.*s\n", (int) out.len, (char *) out.data);
	buffer_free(&out);
}

static void
print_ok(const char *path, const RuleProgram *program, bool json)
{
	Buffer name = {0};

	json_string(&name, slice_string(path));
	if (json)
		cli_print("{\"file\":%.*s,\"ok\":true%s", (int) name.len, (char *) name.data,
				  program != NULL ? "," : "}\n");
	else
		cli_print("%s: ok%s", path, program != NULL ? ", " : "\n");
	buffer_free(&name);
	if (program != NULL)
		print_attributes(program, json);
}

static bool
check_text(const char *path, Slice text, bool is_library, Arena *arena, bool json)
{
	RuleMemory memory = {alloc, arena};
	Shelf shelf = shelf_beside(path, arena);
	RuleLibrary library = {find_library, &shelf};
	RuleProgram *program = NULL;
	RuleError error;
	bool ok;

	if (is_library)
		ok = rules_check_library((const char *) text.data, text.len, &memory, &error);
	else
	{
		program = rules_compile_with((const char *) text.data, text.len, &library, &memory, &error);
		ok = program != NULL;
	}
	if (ok)
		print_ok(path, program, json);
	else
		print_error(path, &error, json);
	return ok;
}

static int
check_file(const Cli *cli, const char *path, bool is_library)
{
	Arena *arena = arena_create(64 * 1024);
	Buffer text = {0};
	Error err;
	int rc;

	if (!read_text(path, &text, &err))
		rc = cli_fail(&err);
	else
		rc = check_text(path, buffer_slice(&text), is_library, arena, cli->json) ? EXIT_DONE : EXIT_USAGE;
	buffer_free(&text);
	arena_destroy(arena);
	return rc;
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	int worst = EXIT_DONE;

	if (operands[0] == NULL)
		return cli_usage("rules check needs a file (\"-\" for standard input)");
	for (int i = 0; operands[i] != NULL; i++)
	{
		int rc = check_file(cli, operands[i], values[0] != NULL);

		worst = rc != EXIT_DONE ? rc : worst;
	}
	return worst;
}

static const CliOption options[] = {
	{"--library", NULL, "the files are libraries of rules"},
	{0},
};

const CliCommand cli_rules_check = {
	.name = "rules check",
	.summary = "compile a ranking's definition: what is wrong, or what it reads",
	.options = options,
	.operands = "FILE...",
	.run = run,
};
