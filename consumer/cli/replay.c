/*
 * replay.c -- `walrank replay --sink S --from LSN|SEQ [--into TARGET]`.
 *
 * The sink goes back to just before that unit and receives the same records again: as they hold absolute
 * values it ends in the same state, and until then may show a mixture.  With --into the records go to a new
 * target, and the sink is not touched.  A running daemon sets its own sink back; while it is stopped that is
 * done here.
 */
#include "cli/ask.h"
#include "cli/stopped.h"

#include <inttypes.h>
#include <stdio.h>

#include "daemon/from.h"

enum
{
	REPLAY_SINK,
	REPLAY_FROM,
	REPLAY_INTO
};

static const CliOption options[] = {
	{"--sink", "NAME", "the sink, as in the configuration"},
	{"--from", "LSN|SEQ", "the first unit to apply again: the first that ends after LSN, or its number"},
	{"--into", "TARGET", "write to a new target instead (file: a path, postgres: a schema)"},
	{0},
};

/* What the feed holds of it, and whether it may go there: nothing is changed. */
static bool
look(const Config *config, const char *from, uint64_t *seq, Error *err)
{
	StoppedState stopped;
	bool ok;

	if (!stopped_look(config, &stopped, err))
		return false;
	ok = from_unit(stopped_source(&stopped), from, seq, err);
	stopped_close(&stopped);
	return ok;
}

static bool
into(const Config *config, const SinkConfig *sink, const char *from, const char *target, Error *err)
{
	SinkPosition reached;
	StoppedState stopped;
	uint64_t seq;
	bool ok;

	if (!stopped_look(config, &stopped, err))
		return false;
	ok = from_unit(stopped_source(&stopped), from, &seq, err) &&
		 sink_replay_into(sink, &stopped.history, config->state.directory, stopped_source(&stopped), seq,
						  target, &reached, err);
	stopped_close(&stopped);
	if (ok)
		cli_print("units %" PRIu64 " to %" PRIu64 " are in \"%s\"\n", seq, reached.seq, target);
	return ok;
}

static bool
running(const Config *config, const SinkConfig *sink, const char *from, uint64_t *seq, Error *err)
{
	char command[256];
	json_t *answer;

	snprintf(command, sizeof(command), "sink replay %s %.100s", sink->name, from);
	if (!cli_ask(config, command, &answer, err))
		return false;
	*seq = (uint64_t) json_integer_value(json_object_get(answer, "from_seq"));
	json_decref(answer);
	return true;
}

static bool
held(const Config *config, const SinkConfig *sink, const char *from, uint64_t *seq, Error *err)
{
	StoppedState stopped;
	bool ok;

	if (!stopped_open(config, &stopped, err))
		return false;
	ok = from_unit(stopped_source(&stopped), from, seq, err) &&
		 sink_replay(sink, &stopped.history, config->state.directory, stopped_source(&stopped), *seq, err);
	stopped_close(&stopped);
	return ok;
}

static bool
replay(const Cli *cli, const Config *config, const char *const *values, Error *err)
{
	const SinkConfig *sink = cli_find_sink(config, values[REPLAY_SINK], err);
	const char *from = values[REPLAY_FROM];
	uint64_t seq = 0;

	if (sink == NULL)
		return false;
	if (cli->dry_run)
	{
		if (!look(config, from, &seq, err))
			return false;
		cli_print("sink \"%s\" would stand before unit %" PRIu64 "\n", sink->name, seq);
		return true;
	}
	if (values[REPLAY_INTO] != NULL)
		return into(config, sink, from, values[REPLAY_INTO], err);
	if (!(cli_is_running(config) ? running : held)(config, sink, from, &seq, err))
		return false;
	cli_print("sink \"%s\" stands before unit %" PRIu64 "\n", sink->name, seq);
	return true;
}

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
	ok = replay(cli, config, values, &err);
	config_free(config);
	return ok ? EXIT_DONE : cli_fail(&err);
}

const CliCommand cli_replay = {
	.name = "replay",
	.summary = "have a sink receive the same records again, or write them to a new target",
	.options = options,
	.run = run,
};
