/*
 * replay.c -- `walrank replay --sink S --from LSN|SEQ`: the sink goes back to just before that unit.
 *
 * Needs the state directory for itself: the daemon is stopped.  As records hold absolute values the
 * sink ends in the same state when the daemon has caught up again.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/state.h"

static const SinkConfig *
find_sink(const Config *config, const char *name, Error *err)
{
	Buffer known = {0};

	for (int i = 0; i < config->nsinks; i++)
	{
		if (strcmp(config->sinks[i].name, name) == 0)
			return &config->sinks[i];
		buffer_printf(&known, "%s%s", known.len > 0 ? ", " : "", config->sinks[i].name);
	}
	error_set(err, ERR_CONFIG, "there is no sink \"%s\"", name);
	error_hint(err, "The configuration has: %.*s.", (int) known.len,
			   known.len > 0 ? (char *) known.data : "");
	buffer_free(&known);
	return NULL;
}

/* An LSN means the first unit whose end_lsn is greater. */
static bool
unit_of_lsn(int feed_dirfd, Lsn lsn, uint64_t *seq, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event;
	SegVerify report;

	/* where the feed begins; a damaged one is no base for a replay anyway */
	if (!feed_verify(feed_dirfd, &report, err) ||
		!feed_reader_open_dir(feed_dirfd, report.first.seq + 1, &reader, err))
		return false;
	*seq = 0;
	while ((event = feed_reader_next(reader, &record, err)) == FEED_RECORD)
	{
		*seq = record.header.seq;
		if (record.header.end_lsn > lsn)
			break;
	}
	feed_reader_close(reader);
	if (event == FEED_NOTHING)
		return error_set(err, ERR_CONFIG, "the feed ends before LSN " LSN_FORMAT, LSN_ARGS(lsn));
	return event == FEED_RECORD;
}

static bool
parse_from(const char *text, int feed_dirfd, uint64_t *seq, Error *err)
{
	Lsn lsn;
	char *end;

	if (lsn_parse(text, &lsn))
		return unit_of_lsn(feed_dirfd, lsn, seq, err);
	errno = 0;
	*seq = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *seq == 0 || text[0] == '-')
	{
		error_set(err, ERR_CONFIG, "\"%s\" is neither an LSN nor a unit number", text);
		return error_hint(err,
						  "Give an LSN such as 0/3A4F1D8, or the number before the first dot of a position.");
	}
	return true;
}

static bool
replay(const Cli *cli, const Config *config, const char *name, const char *from, Error *err)
{
	const SinkConfig *sink = find_sink(config, name, err);
	JournalIdentity identity;
	State state = {.dirfd = -1, .lockfd = -1, .journal_dirfd = -1, .store_dirfd = -1, .feed_dirfd = -1};
	SinkHistory history;
	bool found;
	uint64_t seq = 0;
	bool ok;

	if (sink == NULL || !state_lock(config->state.directory, false, &state, err))
		return false;
	ok = journal_identity_read(state.journal_dirfd, &identity, &found, err);
	if (ok && !found)
		ok = error_set(err, ERR_CONFIG, "\"%s\" holds no journal", config->state.directory);
	history = sink_history(&identity);
	ok = ok && parse_from(from, state.feed_dirfd, &seq, err);
	if (ok && !cli->dry_run)
		ok = sink_replay(sink, &history, config->state.directory, (SinkSource){NULL, state.feed_dirfd}, seq,
						 err);
	if (ok)
		cli_print("sink \"%s\" %s before unit %" PRIu64 "\n", name, cli->dry_run ? "would stand" : "stands",
				  seq);
	state_abandon(&state);
	return ok;
}

enum
{
	REPLAY_SINK,
	REPLAY_FROM
};

static const CliOption options[] = {
	{"--sink", "NAME", "the sink, as in the configuration"},
	{"--from", "LSN|SEQ", "the first unit to apply again: the first that ends after LSN, or its number"},
	{0},
};

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Config *config;
	Error err;
	bool ok;

	if (values[REPLAY_SINK] == NULL || values[REPLAY_FROM] == NULL)
		return cli_usage("replay needs --sink and --from");
	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	ok = replay(cli, config, values[REPLAY_SINK], values[REPLAY_FROM], &err);
	config_free(config);
	return ok ? EXIT_DONE : cli_fail(&err);
}

const CliCommand cli_replay = {
	.name = "replay",
	.summary = "set a sink back, so that it receives the same records again (daemon stopped)",
	.options = options,
	.run = run,
};
