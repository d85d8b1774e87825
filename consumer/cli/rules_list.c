/*
 * rules_list.c -- `walrank rules list`: the rankings, and what each is made of.
 */
#include "cli/cli.h"

#include "base/json.h"
#include "cli/definition.h"
#include "cli/library_source.h"
#include "cli/ranking_rows.h"
#include "outline.h"

#define ARENA_BYTES (64 * 1024)

static const CliOption options[] = {{0}};

static void
append_terms(Buffer *out, const RuleProgram *program)
{
	const char *name;
	double weight;

	for (int i = 0; (name = rules_term(program, i, &weight)) != NULL; i++)
	{
		buffer_printf(out, "%s{\"name\":", i > 0 ? "," : "");
		json_string(out, slice_string(name));
		buffer_printf(out, ",\"weight\":");
		json_double(out, weight);
		buffer_append_byte(out, '}');
	}
}

static void
append_json(Buffer *out, const RankingRow *row, const RuleProgram *program, const RuleError *error)
{
	RuleOutline outline = {.terms = 0};

	buffer_printf(out, "{\"name\":");
	json_string(out, slice_string(row->name));
	buffer_printf(out, ",\"relation\":");
	json_string(out, slice_string(row->relation));
	buffer_printf(out, ",\"version\":%d,\"enabled\":%s", row->version, row->enabled ? "true" : "false");
	if (program == NULL)
	{
		buffer_printf(out, ",\"error\":{\"line\":%d,\"column\":%d,\"message\":", error->line, error->column);
		json_string(out, slice_string(error->message));
		buffer_printf(out, "}}");
		return;
	}
	rules_outline(program, &outline);
	buffer_printf(out, ",\"where\":%s,\"terms\":[", outline.where ? "true" : "false");
	append_terms(out, program);
	buffer_printf(out, "],\"boosts\":%d,\"factors\":%d,\"clock\":%s,\"attributes\":[", outline.boosts,
				  outline.factors, rules_use_clock(program) ? "true" : "false");
	definition_attributes(out, program, true);
	buffer_printf(out, "]}");
}

static void
print_line(const RankingRow *row, const RuleProgram *program, const RuleError *error)
{
	Buffer reads = {0};
	RuleOutline outline = {.terms = 0};

	if (program != NULL)
	{
		rules_outline(program, &outline);
		definition_attributes(&reads, program, false);
	}
	else
		buffer_printf(&reads, "line %d, column %d: %s", error->line, error->column, error->message);
	cli_print("%-20s %-28s %7d %-8s %5d  %.*s%s\n", row->name, row->relation, row->version,
			  row->enabled ? "yes" : "no", outline.terms, (int) reads.len, (char *) reads.data,
			  program != NULL && rules_use_clock(program) ? "; moves with time" : "");
	buffer_free(&reads);
}

static void
print_rows(const RankingRows *rows, bool json)
{
	Buffer out = {0};

	if (!json)
		cli_print("%-20s %-28s %7s %-8s %5s  %s\n", "RANKING", "RELATION", "VERSION", "ENABLED", "TERMS",
				  "READS");
	for (int i = 0; i < rows->count; i++)
	{
		const RankingRow *row = &rows->list[i];
		Arena *arena = arena_create(ARENA_BYTES);
		RuleError error;
		LibrarySource source = {.rows = rows, .arena = arena};
		RuleLibrary library = library_source(&source);
		RuleProgram *program = definition_compile(slice_string(row->definition), &library, arena, &error);

		if (json)
		{
			buffer_printf(&out, i > 0 ? "," : "");
			append_json(&out, row, program, &error);
		}
		else
			print_line(row, program, &error);
		arena_destroy(arena);
	}
	if (json)
		cli_print("{\"rankings\":[%.*s]}\n", (int) out.len, (char *) out.data);
	buffer_free(&out);
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	RankingRows rows;
	PGconn *conn = NULL;
	Error err = {0};
	bool ok = ranking_rows_connect(cli, &conn, &err) && ranking_rows_read(conn, false, &rows, &err);

	if (ok)
	{
		print_rows(&rows, cli->json);
		ranking_rows_free(&rows);
	}
	PQfinish(conn);
	return ok ? EXIT_DONE : cli_fail(&err);
}

const CliCommand cli_rules_list = {
	.name = "rules list",
	.summary = "the rankings: their tables, versions, terms and the attributes they read",
	.options = options,
	.run = run,
};
