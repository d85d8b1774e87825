/*
 * rules_rescore.c -- `walrank rules rescore TABLE`, `walrank rules cancel TABLE`: all items of a table evaluated anew, or no
 * more of that.
 *
 * An edit of a ranking does the first by itself; the daemon does both, as units of its journal.
 */
#include "cli/ask.h"

#include <stdio.h>

#define TABLE_BYTES_MAX 512

static int
run(const Cli *cli, const char *verb, const char *const *operands, const char *done)
{
	char command[TABLE_BYTES_MAX + 64];
	Config *config;
	json_t *answer;
	Error err = {0};
	bool ok;

	if (operands[0] == NULL || operands[1] != NULL || strlen(operands[0]) > TABLE_BYTES_MAX)
		return cli_usage("rules %s needs the name of one watched table, as status lists it",
						 strcmp(verb, "start") == 0 ? "rescore" : verb);
	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	snprintf(command, sizeof(command), "rescore %s%s %s", cli->dry_run ? "try " : "", verb, operands[0]);
	ok = cli_ask(config, command, &answer, &err);
	config_free(config);
	if (!ok)
		return cli_fail(&err);
	if (cli->json)
		cli_print_json(answer);
	else
		cli_print("%s %s\n", operands[0], cli->dry_run ? "is meant" : done);
	json_decref(answer);
	return EXIT_DONE;
}

static int
run_rescore(const Cli *cli, const char *const *values, const char *const *operands)
{
	return run(cli, "start", operands, "is evaluated anew");
}

static int
run_cancel(const Cli *cli, const char *const *values, const char *const *operands)
{
	return run(cli, "cancel", operands,
			   "is not evaluated any further: items that were not met keep what they have");
}

static const CliOption none[] = {{0}};

const CliCommand cli_rules_rescore = {
	.name = "rules rescore",
	.summary = "evaluate all items of a table anew",
	.options = none,
	.operands = "TABLE",
	.run = run_rescore,
};

const CliCommand cli_rules_cancel = {
	.name = "rules cancel",
	.summary = "give up evaluating the items of a table after an edit",
	.options = none,
	.operands = "TABLE",
	.run = run_cancel,
};
