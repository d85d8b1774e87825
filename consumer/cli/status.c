/*
 * status.c -- `walrank status`: the daemon's own account of itself, from its Unix socket.
 */
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"
#include "daemon/status.h"

#define DOCUMENT_BYTES_MAX (4 * 1024 * 1024)
#define ANSWER_TIMEOUT_S 10

static bool
read_document(const char *directory, Buffer *document, Error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {ANSWER_TIMEOUT_S, 0};
	int dirfd;
	int fd;
	ssize_t got = 0;

	if (!fs_open_dir(directory, false, &dirfd, err))
	{
		err->class = ERR_RETRY;
		return error_wrap(err, "walrankd is not running");
	}
	/* through the descriptor: a socket's path may not be longer than 107 bytes */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" STATUS_SOCKET, dirfd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
	{
		error_set(err, ERR_RETRY, "could not reach walrankd at \"%s/" STATUS_SOCKET "\": %s", directory,
				  strerror(errno));
		error_hint(err, "Is it running, and is this its configuration?");
	}
	else
	{
		while (document->len < DOCUMENT_BYTES_MAX &&
			   (got = read(fd, buffer_reserve(document, 65536), 65536)) > 0)
			document->len += (size_t) got;
		if (got != 0 || document->len == 0)
			error_set(err, ERR_RETRY, "walrankd did not answer in full");
		else
			err->class = ERR_NONE;
	}
	if (fd >= 0)
		close(fd);
	close(dirfd);
	return err->class == ERR_NONE;
}

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
	print_tables(json_object_get(document, "tables"));
	print_sinks(json_object_get(document, "sinks"));
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Config *config;
	Buffer document = {0};
	Error err = {0};
	int rc = EXIT_DONE;
	bool ok;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	ok = read_document(config->state.directory, &document, &err);
	config_free(config);
	if (!ok)
		rc = cli_fail(&err);
	else if (cli->json)
		cli_print("%.*s", (int) document.len, (char *) document.data);
	else
	{
		json_error_t where;
		json_t *root = json_loadb((char *) document.data, document.len, 0, &where);

		if (root != NULL)
			print_human(root);
		else
		{
			error_set(&err, ERR_DATA, "walrankd answered something unreadable: %s", where.text);
			rc = cli_fail(&err);
		}
		json_decref(root);
	}
	buffer_free(&document);
	return rc;
}

static const CliOption options[] = {{0}};

const CliCommand cli_status = {
	.name = "status",
	.summary = "what the daemon is doing (exit 4 if it is not running)",
	.options = options,
	.run = run,
};
