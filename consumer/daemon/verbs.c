/*
 * verbs.c -- see verbs.h.
 */
#include "daemon/verbs.h"

#include <stdio.h>

#include "base/json.h"

static bool
status(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;
	const StatusInput input = {steering->parts, steering->started_us};

	status_document(&input, answer);
	return true;
}

static bool
reload(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;

	return steering->reload(steering->context, answer, err);
}

static bool
snapshot(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;

	scorer_thread_snapshot(steering->parts->scorer);
	buffer_printf(answer, "{\"snapshot\":\"asked for\"}");
	return true;
}

/* ---- sinks ------------------------------------------------------------------------------------ */

static bool
sink_list(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;
	const StatusInput input = {steering->parts, steering->started_us};

	status_sinks(&input, answer);
	return true;
}

static void
answer_sink(Buffer *answer, const char *name, const char *state)
{
	buffer_printf(answer, "{\"sink\":");
	json_string(answer, slice_string(name));
	buffer_printf(answer, ",\"state\":\"%s\"}", state);
}

static bool
sink_pause(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;

	if (!sinkset_pause(steering->parts->sinks, arguments[0], err))
		return false;
	answer_sink(answer, arguments[0], "paused");
	return true;
}

static bool
sink_resume(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;

	if (!sinkset_resume(steering->parts->sinks, arguments[0], err))
		return false;
	answer_sink(answer, arguments[0], "starting");
	return true;
}

const ControlVerb steering_verbs[] = {
	{"status", "", "what the daemon is doing", status},
	{"reload", "", "reads the configuration again: all of it or nothing", reload},
	{"snapshot", "", "asks for a copy of the store soon", snapshot},
	{"sink list", "", "the sinks and where they stand", sink_list},
	{"sink pause", "NAME", "stops a sink; it keeps its checkpoint and holds the feed back", sink_pause},
	{"sink resume", "NAME", "starts a paused or stopped sink again", sink_resume},
	{NULL, NULL, NULL, NULL},
};
