/*
 * sink.c -- `walrank sink list|add|pause|resume|fill|verify`, and pause and resume of all of them.
 *
 * While the daemon runs it does what is asked, through its socket; while it is stopped, what makes sense
 * without it is done here, under its lock.
 */
#include "cli/ask.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/stopped.h"
#include "daemon/sinkset.h"

static const char *const states[] = {"starting", "streaming", "retrying", "stopped", "paused"};

/* ---- what all of them need ------------------------------------------------------------------------- */

typedef int (*SinkVerb)(const Cli *cli, const Config *config, const SinkConfig *sink,
						const char *const *values);

/* The configuration, and the sink that is the first operand; then the verb. */
static int
with_sink(const Cli *cli, const char *what, const char *const *values, const char *const *operands,
		  SinkVerb verb)
{
	const SinkConfig *sink;
	Config *config;
	Error err;
	int rc;

	if (operands[0] == NULL || operands[1] != NULL)
		return cli_usage("sink %s needs the name of one sink", what);
	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	sink = cli_find_sink(config, operands[0], &err);
	rc = sink != NULL ? verb(cli, config, sink, values) : cli_fail(&err);
	config_free(config);
	return rc;
}

/* Asks the daemon and says what came of it. */
static int
ask_and_say(const Config *config, const char *command, const char *name, const char *done)
{
	json_t *answer;
	Error err;

	if (!cli_ask(config, command, &answer, &err))
		return cli_fail(&err);
	cli_print("sink \"%s\" %s\n", name, done);
	json_decref(answer);
	return EXIT_DONE;
}

static int
ask_sink(const Config *config, const char *verb, const char *name, const char *done)
{
	char command[128];

	snprintf(command, sizeof(command), "%s %s", verb, name);
	return ask_and_say(config, command, name, done);
}

/* ---- list -------------------------------------------------------------------------------------------- */

static void
print_list(const json_t *sinks)
{
	size_t i;
	json_t *sink;

	cli_print("%-16s %-10s %-10s %12s %-14s %12s  %s\n", "SINK", "TYPE", "STATE", "UNIT", "LSN", "APPLIED",
			  "NOTE");
	json_array_foreach(sinks, i, sink)
	{
		const char *note = json_string_value(json_object_get(sink, "note"));
		const char *phase = json_string_value(json_object_get(sink, "phase"));
		const char *state = json_string_value(json_object_get(sink, "state"));

		/* streaming into a target that readers do not see yet */
		if (phase != NULL && strcmp(phase, "whole") != 0 && strcmp(state, "streaming") == 0)
			state = phase;

		cli_print("%-16s %-10s %-10s %12lld %-14s %12lld  %s\n",
				  json_string_value(json_object_get(sink, "name")),
				  json_string_value(json_object_get(sink, "type")), state,
				  (long long) json_integer_value(json_object_get(sink, "seq")),
				  json_string_value(json_object_get(sink, "end_lsn")),
				  (long long) json_integer_value(json_object_get(sink, "applied")), note != NULL ? note : "");
	}
}

/* Without a daemon: what the sinks themselves say, each asked for its checkpoint. */
static json_t *
describe(const StoppedState *stopped, const Config *config, const SinkConfig *sink)
{
	SinkPosition position = {0};
	char end_lsn[LSN_TEXT_BYTES];
	Error err = {0};
	bool found = false;
	bool paused = false;
	bool ok = sink_read(sink, &stopped->history, config->state.directory, &position, &found, &err) &&
			  sinkset_is_paused(stopped->state.dirfd, sink->name, &paused, &err);

	snprintf(end_lsn, sizeof(end_lsn), LSN_FORMAT, LSN_ARGS(position.end_lsn));
	return json_pack("{s:s, s:s, s:s, s:b, s:I, s:i, s:s, s:I, s:I, s:I, s:I, s:s}", "name", sink->name,
					 "type", sink->type->name, "state", paused ? states[SINK_PAUSED] : "daemon down",
					 "checkpoint", found, "seq", (json_int_t) position.seq, "part", (int) position.part,
					 "end_lsn", end_lsn, "applied", (json_int_t) position.applied, "filtered",
					 (json_int_t) position.filtered, "parked", (json_int_t) position.parked, "quarantined",
					 (json_int_t) position.quarantined, "note", ok ? "" : err.message);
}

static bool
list_stopped(const Config *config, json_t **answer, Error *err)
{
	StoppedState stopped;
	json_t *sinks;

	if (!stopped_look(config, &stopped, err))
		return false;
	sinks = json_array();
	for (int i = 0; i < config->nsinks; i++)
		json_array_append_new(sinks, describe(&stopped, config, &config->sinks[i]));
	*answer = json_pack("{s:o}", "sinks", sinks);
	stopped_close(&stopped);
	return true;
}

static int
run_list(const Cli *cli, const char *const *values, const char *const *operands)
{
	Config *config;
	json_t *answer;
	Error err;
	bool ok;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	ok = cli_ask(config, "sink list", &answer, &err) ||
		 (err.class == ERR_RETRY && list_stopped(config, &answer, &err));
	config_free(config);
	if (!ok)
		return cli_fail(&err);
	if (cli->json)
		cli_print_json(answer);
	else
		print_list(json_object_get(answer, "sinks"));
	json_decref(answer);
	return EXIT_DONE;
}

static const CliOption no_options[] = {{0}};

const CliCommand cli_sink_list = {
	.name = "sink list",
	.summary = "the sinks and where they stand, also while the daemon is stopped",
	.options = no_options,
	.run = run_list,
};

/* ---- pause, resume --------------------------------------------------------------------------------------- */

static bool
set_paused_stopped(const Config *config, const SinkConfig *sink, bool pause, Error *err)
{
	SinkPosition position = {0};
	StoppedState stopped;
	Error ignored;
	bool found;
	bool paused;
	bool ok;

	if (!stopped_open(config, &stopped, err))
		return false;
	ok = sinkset_is_paused(stopped.state.dirfd, sink->name, &paused, err);
	if (ok && paused == pause)
		ok = error_set(err, ERR_CONFIG, "sink \"%s\" is %s", sink->name,
					   pause ? "paused already" : "not paused");
	/* one that cannot be asked holds the feed back as a whole: safe */
	if (ok && pause)
		sink_read(sink, &stopped.history, config->state.directory, &position, &found, &ignored);
	ok = ok && sinkset_set_paused(stopped.state.dirfd, sink->name, pause ? &position : NULL, err);
	stopped_close(&stopped);
	return ok;
}

static int
pause_or_resume(const Cli *cli, const Config *config, const SinkConfig *sink, bool pause)
{
	const char *done = pause ? "is paused: it holds the feed back until it is resumed" : "goes on";
	Error err;

	if (cli->dry_run)
	{
		cli_print("sink \"%s\" would be %s\n", sink->name, pause ? "paused" : "resumed");
		return EXIT_DONE;
	}
	if (cli_is_running(config))
		return ask_sink(config, pause ? "sink pause" : "sink resume", sink->name, done);
	if (!set_paused_stopped(config, sink, pause, &err))
		return cli_fail(&err);
	cli_print("sink \"%s\" %s when the daemon is started\n", sink->name, pause ? "stays paused" : "goes on");
	return EXIT_DONE;
}

static int
pause_one(const Cli *cli, const Config *config, const SinkConfig *sink, const char *const *values)
{
	return pause_or_resume(cli, config, sink, true);
}

static int
resume_one(const Cli *cli, const Config *config, const SinkConfig *sink, const char *const *values)
{
	return pause_or_resume(cli, config, sink, false);
}

static int
run_pause(const Cli *cli, const char *const *values, const char *const *operands)
{
	return with_sink(cli, "pause", values, operands, pause_one);
}

static int
run_resume(const Cli *cli, const char *const *values, const char *const *operands)
{
	return with_sink(cli, "resume", values, operands, resume_one);
}

/* Every sink of the configuration; the worst exit code. */
static int
all(const Cli *cli, bool pause)
{
	Config *config;
	Error err;
	int rc = EXIT_DONE;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	for (int i = 0; i < config->nsinks; i++)
	{
		int one = pause_or_resume(cli, config, &config->sinks[i], pause);

		rc = one > rc ? one : rc;
	}
	config_free(config);
	return rc;
}

static int
run_pause_all(const Cli *cli, const char *const *values, const char *const *operands)
{
	return all(cli, true);
}

static int
run_resume_all(const Cli *cli, const char *const *values, const char *const *operands)
{
	return all(cli, false);
}

const CliCommand cli_sink_pause = {
	.name = "sink pause",
	.summary = "stop one sink until it is resumed; its checkpoint stays and holds the feed back",
	.options = no_options,
	.operands = "NAME",
	.run = run_pause,
};

const CliCommand cli_sink_resume = {
	.name = "sink resume",
	.summary = "let a paused sink go on, or start one again that has stopped in error",
	.options = no_options,
	.operands = "NAME",
	.run = run_resume,
};

const CliCommand cli_pause = {
	.name = "pause",
	.summary = "sink pause, for all sinks: capture and scoring go on",
	.options = no_options,
	.run = run_pause_all,
};

const CliCommand cli_resume = {
	.name = "resume",
	.summary = "sink resume, for all sinks",
	.options = no_options,
	.run = run_resume_all,
};

/* ---- add ------------------------------------------------------------------------------------------------- */

enum
{
	ADD_START
};

static const CliOption add_options[] = {
	{"--start", "WHERE",
	 "oldest (of the feed), current (all there is, by a fill) or now; default: its section's"},
	{0},
};

static bool
parse_start(const char *text, int *start, Error *err)
{
	for (int i = 0; sink_from_names[i] != NULL; i++)
		if (strcmp(sink_from_names[i], text) == 0)
		{
			*start = i;
			return true;
		}
	return error_set(err, ERR_CONFIG, "--start is oldest, current or now, not \"%.40s\"", text);
}

static int
add_stopped(const Config *config, const SinkConfig *sink, int start)
{
	StoppedState stopped;
	Error err;
	bool ok;

	if (start == SINK_FROM_CURRENT)
	{
		error_set(&err, ERR_RETRY, "walrankd is not running: only it can fill a sink with what there is");
		error_hint(&err, "Start it: it adds the sink by itself, as its section says.");
		return cli_fail(&err);
	}
	if (!stopped_open(config, &stopped, &err))
		return cli_fail(&err);
	ok = sink_add(sink, &stopped.history, config->state.directory, stopped_source(&stopped), NULL,
				  (SinkFrom) start, &err);
	stopped_close(&stopped);
	if (!ok)
		return cli_fail(&err);
	cli_print("sink \"%s\" begins at the feed's %s\n", sink->name,
			  start == SINK_FROM_NOW ? "end" : "beginning");
	return EXIT_DONE;
}

static int
add_one(const Cli *cli, const Config *config, const SinkConfig *sink, const char *const *values)
{
	int start = sink->start;
	char command[128];
	Error err;

	if (values[ADD_START] != NULL && !parse_start(values[ADD_START], &start, &err))
		return cli_fail(&err);
	if (cli->dry_run)
	{
		cli_print("sink \"%s\" would begin: %s\n", sink->name, sink_from_names[start]);
		return EXIT_DONE;
	}
	if (!cli_is_running(config))
		return add_stopped(config, sink, start);
	snprintf(command, sizeof(command), "sink add %s %s", sink->name, sink_from_names[start]);
	return ask_and_say(config, command, sink->name, "is added");
}

static int
run_add(const Cli *cli, const char *const *values, const char *const *operands)
{
	return with_sink(cli, "add", values, operands, add_one);
}

const CliCommand cli_sink_add = {
	.name = "sink add",
	.summary = "begin a sink whose section was added to the configuration (the daemon reloads it)",
	.options = add_options,
	.operands = "NAME",
	.run = run_add,
};

/* ---- fill -------------------------------------------------------------------------------------------------- */

static int
fill_one(const Cli *cli, const Config *config, const SinkConfig *sink, const char *const *values)
{
	if (cli->dry_run)
	{
		cli_print("sink \"%s\" would be given everything there is, beside what it holds\n", sink->name);
		return EXIT_DONE;
	}
	return ask_sink(config, "sink fill", sink->name,
					"is filled: what it holds stays until all is there anew");
}

static int
run_fill(const Cli *cli, const char *const *values, const char *const *operands)
{
	return with_sink(cli, "fill", values, operands, fill_one);
}

const CliCommand cli_sink_fill = {
	.name = "sink fill",
	.summary = "bring a sink to the current state anew, whatever it holds (the daemon runs)",
	.options = no_options,
	.operands = "NAME",
	.run = run_fill,
};

/* ---- verify ------------------------------------------------------------------------------------------------- */

static void
say_verified(const Cli *cli, const SinkConfig *sink, const SinkVerify *report)
{
	json_t *document;

	if (cli->json)
	{
		document = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:s}", "sink", sink->name, "ok",
							 report->different == 0 && report->from_seq <= report->to_seq, "from_seq",
							 (json_int_t) report->from_seq, "to_seq", (json_int_t) report->to_seq, "compared",
							 (json_int_t) report->compared, "different", (json_int_t) report->different,
							 "first", report->first);
		cli_print_json(document);
		json_decref(document);
		return;
	}
	if (report->from_seq > report->to_seq)
		cli_print("sink \"%s\" cannot be compared: %s\n", sink->name,
				  report->first[0] != '\0' ? report->first
										   : "the feed does not reach back to where it began");
	else
		cli_print("sink \"%s\": %" PRIu64 " compared with units %" PRIu64 " to %" PRIu64 ", %" PRIu64
				  " different%s%s\n",
				  sink->name, report->compared, report->from_seq, report->to_seq, report->different,
				  report->different > 0 ? ": " : "", report->first);
}

static int
verify_one(const Cli *cli, const Config *config, const SinkConfig *sink, const char *const *values)
{
	SinkVerify report = {0};
	StoppedState stopped;
	Error err;
	bool ok;

	/* it reads up to the sink's checkpoint only, which is durable: a running daemon may go on */
	if (!stopped_look(config, &stopped, &err))
		return cli_fail(&err);
	ok =
		sink_verify(sink, &stopped.history, config->state.directory, stopped_source(&stopped), &report, &err);
	stopped_close(&stopped);
	if (!ok)
		return cli_fail(&err);
	say_verified(cli, sink, &report);
	return report.different == 0 && report.from_seq <= report.to_seq ? EXIT_DONE : EXIT_CONDITION;
}

static int
run_verify(const Cli *cli, const char *const *values, const char *const *operands)
{
	return with_sink(cli, "verify", values, operands, verify_one);
}

const CliCommand cli_sink_verify = {
	.name = "sink verify",
	.summary = "compare what a sink holds with the feed (exit 3: they differ)",
	.options = no_options,
	.operands = "NAME",
	.run = run_verify,
};

/* ---- reload -------------------------------------------------------------------------------------------------- */

static void
print_strings(const json_t *list, const char *format)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
	{
		cli_print(format, json_string_value(item));
	}
}

static int
run_reload(const Cli *cli, const char *const *values, const char *const *operands)
{
	Config *config;
	json_t *answer;
	Error err;
	bool ok;

	if (!cli_config(cli, &config, &err)) /* a broken file is said here, before the daemon is bothered */
		return cli_fail(&err);
	ok = cli->dry_run || cli_ask(config, "reload", &answer, &err);
	config_free(config);
	if (!ok)
		return cli_fail(&err);
	if (cli->dry_run)
		cli_print("the configuration is valid\n");
	else
	{
		cli_print("configuration reloaded\n");
		print_strings(json_object_get(answer, "changed"), "%s\n");
		print_strings(json_object_get(answer, "after_restart"), "%s takes effect after a restart\n");
		json_decref(answer);
	}
	return EXIT_DONE;
}

const CliCommand cli_reload = {
	.name = "reload",
	.summary = "have the daemon read its configuration again: all of it or nothing",
	.options = no_options,
	.run = run_reload,
};
