/*
 * rules_check.c -- `walrank rules check FILE...`: is this a definition, and if not, where and why.
 *
 * Without a connection the text is compiled and nothing more; with --relation or -d the names it reads are
 * looked up in the table as well, as the server does when the row is written.
 */
#include "cli/cli.h"

#include "base/json.h"
#include "cli/library_source.h"
#include "cli/ranking_rows.h"

#define ARENA_BYTES (64 * 1024)

enum
{
	CHECK_RELATION
};

static const CliOption options[] = {
	{"--relation", "TABLE", "look its names up in this watched table (default with -d: that of the header)"},
	{0},
};

/* Where its names are looked up. conn NULL: nowhere. */
typedef struct Check
{
	bool json;
	PGconn *conn;
	const char *relation; /* of --relation; NULL: the header's */
	const char *bound;	  /* of the file at hand; NULL: nowhere */
	RankingRows rows;	  /* with a connection: libraries that have no file beside */
	Error err;
} Check;

static void
print_program(const Check *check, const char *path, const RuleProgram *program)
{
	Buffer out = {0};

	if (check->json)
	{
		buffer_printf(&out, "{\"file\":");
		json_string(&out, slice_string(path));
		buffer_printf(&out, ",\"ok\":true,\"relation\":");
		if (check->bound != NULL)
			json_string(&out, slice_string(check->bound));
		else
			buffer_printf(&out, "null");
		buffer_printf(&out, ",\"attributes\":[");
		definition_attributes(&out, program, true);
		buffer_printf(&out, "],\"clock\":%s}\n", rules_use_clock(program) ? "true" : "false");
	}
	else
	{
		buffer_printf(&out, "%s: ok, reads ", path);
		definition_attributes(&out, program, false);
		if (check->bound != NULL)
			buffer_printf(&out, " of %s", check->bound);
		buffer_printf(&out, "%s\n", rules_use_clock(program) ? "; moves with time" : "");
	}
	cli_print("%.*s", (int) out.len, (char *) out.data);
	buffer_free(&out);
}

/* In the table; true when there is none to look into. *ok is false when a name means nothing there. */
static bool
bind(Check *check, const Definition *definition, const RuleProgram *program, Arena *arena, bool *ok,
	 RuleError *error)
{
	const char *relation = check->relation != NULL ? check->relation : definition->relation;
	RankedTable table;

	*ok = true;
	check->bound = NULL;
	if (check->conn == NULL)
		return true;
	if (relation == NULL)
	{
		error_set(&check->err, ERR_CONFIG, "%s: its first line does not say which table it ranks",
				  definition->path);
		return error_hint(&check->err,
						  "Begin it with: # ranking \"%s\" over schema.table, or give --relation.",
						  definition->name);
	}
	if (!ranked_table_read(check->conn, relation, &table, &check->err))
		return false;
	*ok = definition_bind(buffer_slice(&definition->text), program, &table.relation, slice_string(table.map),
						  arena, error) != NULL;
	check->bound = arena_string(arena, slice_string(table.name));
	ranked_table_free(&table);
	return true;
}

static int
check_definition(Check *check, const Definition *definition, Arena *arena)
{
	LibrarySource source = {.beside = definition->path, .rows = &check->rows, .arena = arena};
	RuleLibrary library = library_source(&source);
	RuleError error = definition->header;
	RuleProgram *program = NULL;
	bool ok;

	if (error.line == 0)
		program = definition_compile(buffer_slice(&definition->text), &library, arena, &error);
	ok = program != NULL;
	if (program != NULL && !bind(check, definition, program, arena, &ok, &error))
		return cli_fail(&check->err);
	if (ok)
		print_program(check, definition->path, program);
	else
	{
		Buffer out = {0};

		definition_error_print(&out, definition->path, &error, check->json);
		cli_print("%.*s", (int) out.len, (char *) out.data);
		buffer_free(&out);
	}
	return ok ? EXIT_DONE : EXIT_USAGE;
}

static int
check_library(const Check *check, const Definition *definition, Arena *arena)
{
	Buffer out = {0};
	RuleError error;
	bool ok = definition_check_library(buffer_slice(&definition->text), arena, &error);

	if (!ok)
		definition_error_print(&out, definition->path, &error, check->json);
	else if (check->json)
	{
		buffer_printf(&out, "{\"file\":");
		json_string(&out, slice_string(definition->path));
		buffer_printf(&out, ",\"ok\":true,\"library\":true}\n");
	}
	else
		buffer_printf(&out, "%s: ok, a library\n", definition->path);
	cli_print("%.*s", (int) out.len, (char *) out.data);
	buffer_free(&out);
	return ok ? EXIT_DONE : EXIT_USAGE;
}

static int
check_file(Check *check, const char *path)
{
	Definition definition;
	Arena *arena;
	int rc;

	if (!definition_read(path, &definition, &check->err))
		return cli_fail(&check->err);
	arena = arena_create(ARENA_BYTES);
	rc = definition_is_library(path) ? check_library(check, &definition, arena)
									 : check_definition(check, &definition, arena);
	arena_destroy(arena);
	definition_free(&definition);
	return rc;
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Check check = {.json = cli->json, .relation = values[CHECK_RELATION]};
	int worst = EXIT_DONE;

	if (operands[0] == NULL)
		return cli_usage("rules check needs a file (\"-\" for standard input)");
	if ((check.relation != NULL || cli->dbname != NULL) &&
		(!ranking_rows_connect(cli, &check.conn, &check.err) ||
		 !ranking_rows_read(check.conn, false, &check.rows, &check.err)))
		return cli_fail(&check.err);
	for (int i = 0; operands[i] != NULL; i++)
	{
		int rc = check_file(&check, operands[i]);

		worst = rc != EXIT_DONE ? rc : worst;
	}
	ranking_rows_free(&check.rows);
	PQfinish(check.conn);
	return worst;
}

const CliCommand cli_rules_check = {
	.name = "rules check",
	.summary = "compile definitions of rankings: what is wrong (exit 2), or what they read",
	.options = options,
	.operands = "FILE...",
	.run = run,
};
