/*
 * cli.c -- see cli.h.  One table of commands; parsing, --help and errors all come from it.
 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define COMMAND_OPTIONS_MAX 16
#define OPERANDS_MAX 1000 /* files that a shell has found */
#define OVERRIDES_MAX 32

static const CliCommand *const commands[] = {
	&cli_init,
	&cli_doctor,
	&cli_stream,
	&cli_status,
	&cli_history,
	&cli_rules_check,
	&cli_rules_test,
	&cli_rules_list,
	&cli_rules_diff,
	&cli_rules_apply,
	&cli_rules_export,
	&cli_journal_verify,
	&cli_sink_list,
	&cli_sink_add,
	&cli_sink_pause,
	&cli_sink_resume,
	&cli_sink_fill,
	&cli_sink_verify,
	&cli_verify,
	&cli_replay,
	&cli_pause,
	&cli_resume,
	&cli_reload,
	&cli_backfill_list,
	&cli_backfill_start,
	&cli_backfill_cancel,
	&cli_rebuild,
	&cli_teardown,
	&cli_interventions,
	&cli_boost,
	&cli_bury,
	&cli_pin,
	&cli_promote,
	&cli_tier,
	&cli_top,
	&cli_bottom,
	&cli_block,
	&cli_hide,
	&cli_allow,
	&cli_freeze,
	&cli_end,
	&cli_explain,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct
{
	const char *shorts;
	const char *name;
	const char *argument;
	const char *help;
} globals[] = {
	{"-h", "--host", "HOST", "database server host or socket directory of the source"},
	{"-p", "--port", "PORT", "database server port"},
	{"-U", "--username", "NAME", "connect as this user"},
	{"-d", "--dbname", "DBNAME", "database to connect to"},
	{"-c", "--config", "FILE", "the daemon's configuration (default: $WALRANK_CONFIG)"},
	{"-o", NULL, "SECTION.KEY=VALUE", "overrides one key of it"},
	{NULL, "--json", NULL, "answer in JSON"},
	{NULL, "--dry-run", NULL, "say what would be done, do nothing"},
	{"-V", "--version", NULL, "print the version"},
	{"-?", "--help", NULL, "print this help, or that of a command"},
};
#define GLOBALS (sizeof(globals) / sizeof(globals[0]))

static void
print_options(const CliOption *options)
{
	for (const CliOption *o = options; o != NULL && o->name != NULL; o++)
	{
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s", o->name, o->argument ? "=" : "",
				 o->argument ? o->argument : "");
		cli_print("      %-26s %s\n", left, o->help);
	}
}

static void
print_help(const CliCommand *command)
{
	if (command == NULL)
	{
		cli_print("walrank sets up, watches and repairs live rankings.\n\nUsage:\n"
				  "  walrank [OPTION]... COMMAND [OPTION]...\n\nCommands:\n");
		for (size_t i = 0; i < COMMANDS; i++)
			cli_print("  %-16s %s\n", commands[i]->name, commands[i]->summary);
	}
	else
	{
		cli_print("walrank %s: %s\n\nUsage:\n  walrank [OPTION]... %s [OPTION]... %s\n", command->name,
				  command->summary, command->name, command->operands != NULL ? command->operands : "");
		if (command->options != NULL && command->options[0].name != NULL)
			cli_print("\nOptions of the command:\n");
		print_options(command->options);
	}
	cli_print("\nOptions:\n");
	for (size_t i = 0; i < GLOBALS; i++)
	{
		char left[64];

		snprintf(left, sizeof(left), "%s%s%s%s%s", globals[i].shorts ? globals[i].shorts : "   ",
				 globals[i].shorts && globals[i].name ? ", " : " ", globals[i].name ? globals[i].name : "",
				 globals[i].argument && globals[i].name ? "=" : "",
				 globals[i].argument ? globals[i].argument : "");
		cli_print("  %-30s %s\n", left, globals[i].help);
	}
	cli_print(
		"\nExit codes: 0 done, 1 error, 2 usage or configuration, 3 condition not met, 4 cannot reach.\n");
}

/* The longest command name the words begin with ("journal verify" before "journal"). */
static const CliCommand *
find_command(char **words, int nwords, int *used)
{
	for (size_t i = 0; i < COMMANDS; i++)
	{
		const char *name = commands[i]->name;
		const char *space = strchr(name, ' ');
		size_t first = space != NULL ? (size_t) (space - name) : strlen(name);

		if (strlen(words[0]) != first || strncmp(words[0], name, first) != 0)
			continue;
		if (space != NULL && (nwords < 2 || strcmp(words[1], space + 1) != 0))
			continue;
		*used = space != NULL ? 2 : 1;
		return commands[i];
	}
	return NULL;
}

/* "rules" is the first word of a command: what may follow? */
static const char *
command_of_group(const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i < COMMANDS; i++)
		if (strncmp(commands[i]->name, word, len) == 0 && commands[i]->name[len] == ' ')
			return commands[i]->name;
	return NULL;
}

static const char *
nearest_command(const char *word)
{
	const char *best = NULL;
	int distance = 4;

	for (size_t i = 0; i < COMMANDS; i++)
	{
		int d = option_distance(word, commands[i]->name);

		if (d < distance)
		{
			distance = d;
			best = commands[i]->name;
		}
	}
	return best;
}

typedef struct Parse
{
	Cli cli;
	const CliCommand *command;
	const char *values[COMMAND_OPTIONS_MAX];
	const char *operands[OPERANDS_MAX + 1];
	int noperands;
	const char *overrides[OVERRIDES_MAX];
	bool help;
	bool version;
} Parse;

static bool
set_global(Parse *parse, size_t which, const char *value)
{
	const char **targets[] = {&parse->cli.host, &parse->cli.port, &parse->cli.user, &parse->cli.dbname,
							  &parse->cli.config_file};

	if (which < 5)
		*targets[which] = value;
	else if (which == 5)
	{
		if (parse->cli.noverrides >= OVERRIDES_MAX)
			return false;
		parse->overrides[parse->cli.noverrides++] = value;
	}
	else if (which == 6)
		parse->cli.json = true;
	else if (which == 7)
		parse->cli.dry_run = true;
	else if (which == 8)
		parse->version = true;
	else
		parse->help = true;
	return true;
}

/* One argument that begins with '-': how many words it took, 0 = unknown, -1 = its value is missing. */
static int
parse_option(Parse *parse, char **argv, int left)
{
	const char *word = argv[0];
	const char *equal = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
	size_t len = equal != NULL ? (size_t) (equal - word) : strlen(word);
	const CliOption *own = parse->command != NULL ? parse->command->options : NULL;

	for (int i = 0; own != NULL && own[i].name != NULL && i < COMMAND_OPTIONS_MAX; i++)
	{
		if (strlen(own[i].name) != len || strncmp(own[i].name, word, len) != 0)
			continue;
		if (own[i].argument == NULL)
			parse->values[i] = "";
		else if (equal == NULL && left < 2)
			return -1;
		else
			parse->values[i] = equal != NULL ? equal + 1 : argv[1];
		return own[i].argument != NULL && equal == NULL ? 2 : 1;
	}
	for (size_t i = 0; i < GLOBALS; i++)
	{
		bool is_short =
			globals[i].shorts != NULL && strncmp(word, globals[i].shorts, 2) == 0 && word[1] != '-';
		bool is_long = globals[i].name != NULL && strlen(globals[i].name) == len &&
					   strncmp(globals[i].name, word, len) == 0;
		const char *value;

		if (!is_short && !is_long)
			continue;
		if (globals[i].argument == NULL)
			return set_global(parse, i, "") ? 1 : 0;
		value = is_short && word[2] != '\0' ? word + 2 : equal != NULL ? equal + 1 : NULL;
		if (value == NULL && left < 2)
			return -1;
		set_global(parse, i, value != NULL ? value : argv[1]);
		return value != NULL ? 1 : 2;
	}
	return 0;
}

static int
parse_arguments(Parse *parse, int argc, char **argv)
{
	for (int i = 1; i < argc;)
	{
		int used;

		if (argv[i][0] == '-' && argv[i][1] != '\0')
		{
			used = parse_option(parse, argv + i, argc - i);
			if (used == 0)
				return cli_usage("unknown option \"%s\"", argv[i]);
			if (used < 0)
				return cli_usage("option \"%s\" needs a value", argv[i]);
		}
		else if (parse->command == NULL)
		{
			parse->command = find_command(argv + i, argc - i, &used);
			if (parse->command == NULL)
			{
				const char *near = command_of_group(argv[i]);

				near = near != NULL ? near : nearest_command(argv[i]);

				return near != NULL ? cli_usage("unknown command \"%s\"; did you mean \"%s\"?", argv[i], near)
									: cli_usage("unknown command \"%s\"", argv[i]);
			}
		}
		else
		{
			if (parse->command->operands == NULL || parse->noperands >= OPERANDS_MAX)
				return cli_usage("unexpected argument \"%s\"", argv[i]);
			parse->operands[parse->noperands++] = argv[i];
			used = 1;
		}
		i += used;
	}
	return EXIT_DONE;
}

int
cli_main(int argc, char **argv)
{
	Parse parse = {.cli.config_file = getenv("WALRANK_CONFIG")};
	int rc = parse_arguments(&parse, argc, argv);

	if (rc != EXIT_DONE)
		return rc;
	parse.cli.overrides = parse.overrides;
	if (parse.version)
	{
		cli_print("walrank " WALRANK_VERSION "\n");
		return EXIT_DONE;
	}
	if (parse.help)
	{
		print_help(parse.command);
		return EXIT_DONE;
	}
	if (parse.command == NULL)
		return cli_usage("a command is missing");
	return parse.command->run(&parse.cli, parse.values, parse.operands);
}

int
cli_fail(const Error *err)
{
	fprintf(stderr, "walrank: ERROR:  %s\n", err->message);
	if (err->hint[0] != '\0')
		fprintf(stderr, "HINT:  %s\n", err->hint);
	switch (err->class)
	{
		case ERR_CONFIG:
			return EXIT_USAGE;
		case ERR_RETRY:
			return EXIT_REACH;
		default:
			return EXIT_ERROR;
	}
}

int
cli_usage(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "walrank: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry \"walrank --help\" for more information.\n");
	return EXIT_USAGE;
}

void
cli_print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
}

bool
cli_config(const Cli *cli, Config **config, Error *err)
{
	if (cli->config_file == NULL)
	{
		error_set(err, ERR_CONFIG, "this command needs the daemon's configuration");
		return error_hint(err, "Name it with --config FILE or in WALRANK_CONFIG.");
	}
	return config_load(cli->config_file, cli->overrides, cli->noverrides, config, err);
}

/* keyword='value', with the quoting of a conninfo string */
static void
append_keyword(Buffer *conninfo, const char *keyword, const char *value)
{
	if (value == NULL)
		return;
	buffer_printf(conninfo, "%s%s='", conninfo->len > 0 ? " " : "", keyword);
	for (const char *at = value; *at != '\0'; at++)
	{
		if (*at == '\'' || *at == '\\')
			buffer_append_byte(conninfo, '\\');
		buffer_append_byte(conninfo, (uint8_t) *at);
	}
	buffer_append_byte(conninfo, '\'');
}

/* The same for a URI: its parameters go over what stands before them. */
static void
append_parameter(Buffer *uri, const char *keyword, const char *value)
{
	if (value == NULL)
		return;
	buffer_append_byte(uri, memchr(uri->data, '?', uri->len) == NULL ? '?' : '&');
	buffer_printf(uri, "%s=", keyword);
	for (const uint8_t *at = (const uint8_t *) value; *at != '\0'; at++)
		buffer_printf(uri, "%%%02X", *at);
}

static bool
is_uri(const Buffer *conninfo)
{
	return (conninfo->len >= 13 && memcmp(conninfo->data, "postgresql://", 13) == 0) ||
		   (conninfo->len >= 11 && memcmp(conninfo->data, "postgres://", 11) == 0);
}

/* The configuration's conninfo first, what the options say behind it: of two equal keywords libpq takes the later. */
bool
cli_conninfo(const Cli *cli, Buffer *conninfo, Error *err)
{
	const char *dbname = cli->dbname;
	void (*append)(Buffer *, const char *, const char *);
	bool whole = dbname != NULL && (strchr(dbname, '=') != NULL || strstr(dbname, "://") != NULL);

	if (whole)
	{
		buffer_printf(conninfo, "%s", dbname); /* a conninfo string or URI, as psql -d takes it */
		dbname = NULL;
	}
	else if (cli->config_file != NULL)
	{
		Config *config;

		if (!cli_config(cli, &config, err))
			return false;
		buffer_printf(conninfo, "%s", config->source.conninfo);
		config_free(config);
	}
	append = is_uri(conninfo) ? append_parameter : append_keyword;
	append(conninfo, "host", cli->host);
	append(conninfo, "port", cli->port);
	append(conninfo, "user", cli->user);
	append(conninfo, "dbname", dbname);
	buffer_append_byte(conninfo, '\0');
	return true;
}
