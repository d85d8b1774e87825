/*
 * journal.c -- `walrank journal verify`: every record of the journal read and checked.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "journal/journal.h"

static void
print_report(const JournalVerify *report, const Error *err, bool ok, bool json)
{
	char stream[STREAM_ID_TEXT_BYTES];
	Buffer reason = {0};

	stream_id_text(&report->stream_id, stream);
	if (!json)
	{
		cli_print("stream %s, %" PRIu64 " segments, %" PRIu64 " bytes, units %" PRIu64 " to %" PRIu64
				  ", end_lsn " LSN_FORMAT "%s\n",
				  stream, report->segments, report->bytes, report->first_seq, report->last_seq,
				  LSN_ARGS(report->end_lsn),
				  report->torn_tail ? ", an unfinished tail that the next start cuts" : "");
		if (!ok)
			cli_print("DAMAGED: %s\n", err->message);
		return;
	}
	json_string(&reason, slice_string(ok ? "" : err->message));
	cli_print("{\"ok\":%s,\"stream_id\":\"%s\",\"segments\":%" PRIu64 ",\"bytes\":%" PRIu64
			  ",\"first_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"end_lsn\":\"" LSN_FORMAT
			  "\",\"torn_tail\":%s,\"reason\":%.*s}\n",
			  ok ? "true" : "false", stream, report->segments, report->bytes, report->first_seq,
			  report->last_seq, LSN_ARGS(report->end_lsn), report->torn_tail ? "true" : "false",
			  (int) reason.len, (char *) reason.data);
	buffer_free(&reason);
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	JournalVerify report = {0};
	Config *config;
	Buffer path = {0};
	int dirfd = -1;
	Error err;
	bool ok;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	buffer_printf(&path, "%s/journal", config->state.directory);
	config_free(config);
	ok = fs_open_dir((char *) path.data, false, &dirfd, &err);
	buffer_free(&path);
	if (!ok)
		return cli_fail(&err);
	ok = journal_verify(dirfd, &report, &err);
	close(dirfd);
	print_report(&report, &err, ok, cli->json);
	return ok ? EXIT_DONE : EXIT_CONDITION;
}

static const CliOption options[] = {{0}};

const CliCommand cli_journal_verify = {
	.name = "journal verify",
	.summary =
		"read and check every record of the journal (exit 3 if one is bad); best with the daemon stopped",
	.options = options,
	.run = run,
};
