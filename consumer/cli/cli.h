/*
 * cli.h -- what every command of `walrank` shares: where the source is, where the daemon's files
 * are, how to answer.
 *
 * Flags and environment are psql's: -h is the host, -? asks for help.  Exit codes: 0 done, 1 error,
 * 2 wrong usage or configuration, 3 condition not met, 4 cannot reach.
 */
#ifndef WALRANK_CLI_H
#define WALRANK_CLI_H

#include "daemon/config.h"

enum
{
	EXIT_DONE = 0,
	EXIT_ERROR = 1,
	EXIT_USAGE = 2,
	EXIT_CONDITION = 3,
	EXIT_REACH = 4,
};

typedef struct Cli
{
	const char *host, *port, *user, *dbname; /* NULL: libpq's defaults */
	const char *config_file;				 /* --config or WALRANK_CONFIG; NULL: none */
	const char *const *overrides;			 /* -o section.key=value */
	int noverrides;
	bool json;
	bool dry_run;
} Cli;

typedef struct CliOption
{
	const char *name;	  /* "--slot" */
	const char *argument; /* "NAME", or NULL for a flag */
	const char *help;
} CliOption;

typedef struct CliCommand
{
	const char *name; /* "journal verify" */
	const char *summary;
	const CliOption *options; /* NULL-ended */
	const char *operands;	  /* "FILE", or NULL for none */
	int (*run)(const Cli *cli, const char *const *values, const char *const *operands);
} CliCommand;

extern const CliCommand cli_init;
extern const CliCommand cli_doctor;
extern const CliCommand cli_stream;
extern const CliCommand cli_status;
extern const CliCommand cli_replay;
extern const CliCommand cli_backfill_start;
extern const CliCommand cli_backfill_cancel;
extern const CliCommand cli_backfill_list;
extern const CliCommand cli_rules_check, cli_rules_test, cli_rules_list, cli_rules_diff, cli_rules_apply,
	cli_rules_export;
extern const CliCommand cli_history;
extern const CliCommand cli_journal_verify;
extern const CliCommand cli_rebuild;
extern const CliCommand cli_teardown;
extern const CliCommand cli_sink_list, cli_sink_add, cli_sink_pause, cli_sink_resume, cli_sink_fill,
	cli_sink_verify;
extern const CliCommand cli_pause, cli_resume, cli_reload;
extern const CliCommand cli_boost, cli_bury, cli_pin, cli_promote, cli_tier, cli_top, cli_bottom, cli_block,
	cli_hide, cli_allow, cli_freeze;
extern const CliCommand cli_interventions, cli_end, cli_explain;
extern const CliCommand cli_verify;

/* argv as main() has it. */
extern int cli_main(int argc, char **argv);

/* Prints "walrank: ERROR:  .." and the hint; the exit code its class asks for. */
extern int cli_fail(const Error *err);
extern int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The conninfo of the connection options; with none given, that of [source] in the configuration. */
extern bool cli_conninfo(const Cli *cli, Buffer *conninfo, Error *err);
extern bool cli_config(const Cli *cli, Config **config, Error *err); /* ERR_CONFIG when there is no file */
/* A line of human output; %s and friends. */
extern void cli_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif /* WALRANK_CLI_H */
