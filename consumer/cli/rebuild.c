/*
 * rebuild.c -- `walrank rebuild`: a new stream where the old one cannot go on.
 */
#include "daemon/rebuild.h"

#include <stdio.h>

#include "cli/cli.h"

enum
{
	REBUILD_NEW_SLOT,
};

static const CliOption options[] = {
	{"--new-slot", NULL, "make a new slot in the place of one that is lost, moved or gone"},
	{0},
};

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	RebuildRequest request = {.new_slot = values[REBUILD_NEW_SLOT] != NULL, .dry_run = cli->dry_run};
	Config *config = NULL;
	Buffer said = {0};
	Error err;
	bool ok = cli_config(cli, &config, &err) && rebuild_stream(config, &request, &said, &err);

	cli_print("%.*s", (int) said.len, said.len > 0 ? (const char *) said.data : "");
	buffer_free(&said);
	config_free(config);
	return ok ? EXIT_DONE : cli_fail(&err);
}

const CliCommand cli_rebuild = {
	.name = "rebuild",
	.summary = "replace a stream that cannot go on by a new one, filled from the tables; --dry-run first",
	.options = options,
	.run = run,
};
