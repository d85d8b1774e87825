/*
 * backfill.c -- `walrank backfill start|cancel|list`: which tables are read, and how far that is.
 *
 * All of it is the running daemon's business; a daemon that is stopped reads nothing, and reads what it
 * has to when it starts.
 */
#include "cli/ask.h"

#include <stdio.h>

static const char *
text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

static long long
number(const json_t *object, const char *key)
{
	return (long long) json_integer_value(json_object_get(object, key));
}

/* ---- start, cancel ------------------------------------------------------------------------------------ */

static int
ask(const Cli *cli, const char *command, const char *done)
{
	Config *config;
	json_t *answer;
	json_t *table;
	size_t i;
	Error err = {0};
	bool ok;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	ok = cli_ask(config, command, &answer, &err);
	config_free(config);
	if (!ok)
		return cli_fail(&err);
	if (cli->json)
		cli_print_json(answer);
	else
		json_array_foreach(json_object_get(answer, "tables"), i, table)
		{
			cli_print("%s %s\n", json_string_value(table), done);
		}
	json_decref(answer);
	return EXIT_DONE;
}

/* The table named, or with --all all; with --dry-run only which these are. */
static int
steer(const Cli *cli, const char *verb, bool all, const char *const *operands, const char *done)
{
	char command[600];
	const char *table = operands[0];

	if (all ? table != NULL : table == NULL || operands[1] != NULL)
		return cli_usage("backfill %s needs the name of one table, or --all", verb);
	if (table != NULL && strlen(table) > 512)
		return cli_usage("no table has a name of %zu bytes", strlen(table));
	snprintf(command, sizeof(command), "backfill %s%s %s", cli->dry_run ? "try " : "", verb,
			 table != NULL ? table : "");
	return ask(cli, command, cli->dry_run ? "is meant" : done);
}

static int
run_start(const Cli *cli, const char *const *values, const char *const *operands)
{
	return steer(cli, "start", values[0] != NULL, operands, "will be read");
}

static int
run_cancel(const Cli *cli, const char *const *values, const char *const *operands)
{
	return steer(cli, "cancel", values[0] != NULL, operands, "is not read until you start it, or the daemon");
}

/* ---- list ------------------------------------------------------------------------------------------------ */

static void
print_running(const json_t *backfill)
{
	long long rows = number(backfill, "rows");
	long long estimated = number(backfill, "rows_estimated");

	if (!json_is_true(json_object_get(backfill, "running")))
		return;
	cli_print("\nreading %s: %s, chunk %lld as of %s, %lld", text(backfill, "relation"),
			  text(backfill, "phase"), number(backfill, "chunk"), text(backfill, "point"), rows);
	if (estimated > 0)
		cli_print(" of about %lld", estimated);
	cli_print(" rows, %lld/s\n", number(backfill, "rows_per_s"));
}

static void
print_list(const json_t *answer)
{
	const json_t *table;
	size_t i;

	cli_print("%-40s %-10s %-10s %12s  %s\n", "TABLE", "BACKFILL", "ASKED", "ITEMS", "NOTE");
	json_array_foreach(json_object_get(answer, "tables"), i, table)
	{
		cli_print("%-40s %-10s %-10s %12lld  %s\n", text(table, "relation"), text(table, "backfill"),
				  text(table, "asked"), number(table, "items"), text(table, "note"));
	}
	print_running(json_object_get(answer, "backfill"));
}

static int
run_list(const Cli *cli, const char *const *values, const char *const *operands)
{
	Config *config;
	json_t *answer;
	Error err = {0};
	bool ok;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	ok = cli_ask(config, "backfill list", &answer, &err);
	config_free(config);
	if (!ok)
		return cli_fail(&err);
	if (cli->json)
		cli_print_json(answer);
	else
		print_list(answer);
	json_decref(answer);
	return EXIT_DONE;
}

static const CliOption none[] = {{0}};
static const CliOption all[] = {{"--all", NULL, "every table that is read"}, {0}};

const CliCommand cli_backfill_start = {
	.name = "backfill start",
	.summary = "read a watched table again, from its beginning or from where it was given up",
	.options = all,
	.operands = "TABLE",
	.run = run_start,
};

const CliCommand cli_backfill_cancel = {
	.name = "backfill cancel",
	.summary = "give up reading a table, until it is started again",
	.options = all,
	.operands = "TABLE",
	.run = run_cancel,
};

const CliCommand cli_backfill_list = {
	.name = "backfill list",
	.summary = "the tables that are read, and how far that is",
	.options = none,
	.run = run_list,
};
