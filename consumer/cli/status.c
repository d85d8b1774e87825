/*
 * status.c -- `walrank status`: the daemon's own account of itself, from its Unix socket.
 */

#include "cli/ask.h"

static const char *
text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value != NULL ? value : "-";
}

static long long
number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static void
print_sinks(const json_t *sinks)
{
	size_t i;
	json_t *sink;

	cli_print("\n%-12s %-10s %-10s %-14s %10s %12s %8s  %s\n", "SINK", "TYPE", "STATE", "CHECKPOINT",
			  "LAG units", "APPLIED", "ERRORS", "NOTE");
	json_array_foreach(sinks, i, sink)
	{
		cli_print("%-12s %-10s %-10s %-14s %10lld %12lld %8lld  %s\n", text(sink, "name"), text(sink, "type"),
				  text(sink, "state"), text(sink, "end_lsn"), number(sink, "lag_units"),
				  number(sink, "applied"), number(sink, "errors"), text(sink, "note"));
	}
}

static void
print_tables(const json_t *tables)
{
	size_t i;
	json_t *table;

	cli_print("\n%-32s %-10s %12s\n", "TABLE", "BACKFILL", "ITEMS");
	json_array_foreach(tables, i, table)
	{
		cli_print("%-32s %-10s %12lld\n", text(table, "relation"), text(table, "backfill"),
				  number(table, "items"));
	}
}

/* "public.item: 1200 of 5000 items evaluated anew (24 %)" */
static void
print_share(const char *relation, long long done, long long all, const char *what)
{
	cli_print("%s: %lld of %lld %s", relation, done, all, what);
	if (all > 0)
		cli_print(" (%lld %%)", done >= all ? 100 : done * 100 / all);
	cli_print("\n");
}

static void
print_jobs(const json_t *scorer, const json_t *backfill)
{
	if (text(scorer, "rescoring")[0] != '\0' && number(scorer, "rescoring_job") != 0)
	{
		cli_print("rescore  ");
		print_share(text(scorer, "rescoring"), number(scorer, "rescoring_items"),
					number(scorer, "rescoring_items_all"), "items evaluated anew");
	}
	if (json_is_true(json_object_get(backfill, "running")))
	{
		cli_print("backfill ");
		print_share(text(backfill, "relation"), number(backfill, "rows"), number(backfill, "rows_estimated"),
					"rows read, by estimate");
	}
}

static void
print_human(const json_t *document)
{
	const json_t *source = json_object_get(document, "source");
	const json_t *scorer = json_object_get(document, "scorer");
	const json_t *red = json_object_get(document, "red");
	size_t i;
	json_t *reason;

	cli_print("walrankd %s  up %lld s  pid %lld  stream %s  status %s\n", text(document, "version"),
			  number(document, "uptime_s"), number(document, "pid"), text(document, "stream_id"),
			  text(document, "status"));
	json_array_foreach(red, i, reason)
	{
		cli_print("  RED: %s\n", json_string_value(reason));
	}
	cli_print("source   %s, slot %s, received %s, acknowledged %s, last commit %s\n", text(source, "state"),
			  text(source, "slot"), text(source, "received"), text(source, "acknowledged"),
			  text(source, "last_commit"));
	cli_print("items    %lld, changes %lld, scores %lld, removals %lld, quarantined %lld\n",
			  number(json_object_get(document, "store"), "items"), number(scorer, "changes"),
			  number(scorer, "scores"), number(scorer, "removals"), number(scorer, "quarantined"));
	print_jobs(scorer, json_object_get(document, "backfill"));
	print_tables(json_object_get(document, "tables"));
	print_sinks(json_object_get(document, "sinks"));
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Config *config;
	json_t *document;
	Error err = {0};
	bool ok;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	ok = cli_ask(config, "status", &document, &err);
	config_free(config);
	if (!ok)
		return cli_fail(&err);
	if (cli->json)
		cli_print_json(document);
	else
		print_human(document);
	json_decref(document);
	return EXIT_DONE;
}

static const CliOption options[] = {{0}};

const CliCommand cli_status = {
	.name = "status",
	.summary = "what the daemon is doing (exit 4 if it is not running)",
	.options = options,
	.run = run,
};
