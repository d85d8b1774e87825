/*
 * walrankd.c -- the daemon's command line.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/config.h"
#include "daemon/create.h"
#include "daemon/daemon.h"

#define OVERRIDES_MAX 256

typedef struct Arguments
{
	const char *file;
	const char *overrides[OVERRIDES_MAX];
	int noverrides;
	bool create;
	bool adopt;
	bool check;
	Lsn skip_to;
} Arguments;

enum
{
	ARG_CREATE = 256,
	ARG_ADOPT,
	ARG_SKIP_TO,
	ARG_CHECK,
};

static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
											 {"option", required_argument, NULL, 'o'},
											 {"create", no_argument, NULL, ARG_CREATE},
											 {"adopt", no_argument, NULL, ARG_ADOPT},
											 {"skip-to", required_argument, NULL, ARG_SKIP_TO},
											 {"check-config", no_argument, NULL, ARG_CHECK},
											 {"version", no_argument, NULL, 'V'},
											 {"help", no_argument, NULL, '?'},
											 {NULL, 0, NULL, 0}};

static int
help(void)
{
	Buffer keys = {0};

	printf(
		"walrankd follows a PostgreSQL server's changes and keeps rankings up to date.\n\n"
		"Usage:\n  walrankd -c FILE [OPTION]...\n\n"
		"Options:\n"
		"  -c, --config FILE               configuration file\n"
		"  -o, --option SECTION.KEY=VALUE  sets one key, whatever the file says; may be repeated\n"
		"      --create                    first make slot and state directory; may be repeated after a "
		"crash\n"
		"      --adopt                     the same on a slot that was made by hand\n"
		"      --skip-to LSN               go on at that position; what was committed before is missing and "
		"every table\n"
		"                                  is read again\n"
		"      --check-config              say whether the configuration is valid, then exit\n"
		"  -V, --version                   show the version, then exit\n"
		"  -?, --help                      show this help, then exit\n\n"
		"Exit status: 0 stopped by TERM or INT, 1 fatal error, 2 usage or configuration, 4 cannot reach "
		"the source\n"
		"(while creating), 75 restart me.\n\n"
		"Configuration:\n");
	config_help(&keys);
	fwrite(keys.data, 1, keys.len, stdout);
	buffer_free(&keys);
	return 0;
}

static int
usage(const char *what, const char *which)
{
	fprintf(stderr, "walrankd: %s%s\nTry \"walrankd --help\" for more information.\n", what, which);
	return 2;
}

/* -1: go on; else the exit code. */
static int
parse(int argc, char **argv, Arguments *arguments)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "c:o:V?", long_options, NULL)) != -1)
	{
		switch (c)
		{
			case 'c':
				arguments->file = optarg;
				break;
			case 'o':
				if (arguments->noverrides >= OVERRIDES_MAX)
					return usage("too many options -o", "");
				arguments->overrides[arguments->noverrides++] = optarg;
				break;
			case ARG_CREATE:
				arguments->create = true;
				break;
			case ARG_ADOPT:
				arguments->adopt = true;
				break;
			case ARG_SKIP_TO:
				if (!lsn_parse(optarg, &arguments->skip_to) || arguments->skip_to == 0)
					return usage("--skip-to takes a WAL position like 0/16B3748, not ", optarg);
				break;
			case ARG_CHECK:
				arguments->check = true;
				break;
			case 'V':
				printf("walrankd (walrank) " WALRANK_VERSION "\n");
				return 0;
			default:
				/* getopt says '?' both for the option and for what it does not know */
				if (optopt == 0 || optopt == '?')
					return argv[optind - 1][0] == '-' &&
								   (argv[optind - 1][1] == '?' || argv[optind - 1][2] == 'h')
							   ? help()
							   : usage("unknown option ", argv[optind - 1]);
				return usage("unknown option, or one without its argument: ", argv[optind - 1]);
		}
	}
	if (arguments->create && arguments->adopt)
		return usage("--create and --adopt exclude each other", "");
	if (optind < argc)
		return usage("too many arguments, the first is ", argv[optind]);
	return -1;
}

int
main(int argc, char **argv)
{
	static Arguments arguments;
	ConfigRequest request;
	Config *config;
	Error err;
	int code = parse(argc, argv, &arguments);

	if (code >= 0)
		return code;
	umask(077);
	if (arguments.file == NULL)
		arguments.file = getenv("WALRANK_CONFIG");
	request = (ConfigRequest){arguments.file, arguments.overrides, arguments.noverrides, arguments.skip_to};
	if (!config_read(request.file, request.overrides, request.noverrides, &config, &err))
	{
		log_error(LOG_FATAL, &err, NULL);
		return daemon_exit_code(&err);
	}
	log_init((LogLevel) config->log.level, config->log.format == 1);
	if (arguments.check)
	{
		printf("configuration is valid\n");
		return 0;
	}
	if ((arguments.create || arguments.adopt) &&
		!create_stream(config, arguments.adopt ? CREATE_ADOPT : CREATE_SLOT, &err))
	{
		log_error(LOG_FATAL, &err, NULL);
		return daemon_exit_code(&err);
	}
	return daemon_run(config, &request);
}
