/*
 * verbs.c -- see verbs.h.
 */
#include "daemon/verbs.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "daemon/from.h"

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

	return steering->reload(steering->context, NULL, answer, err);
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

static bool
sink_from(const char *name, SinkFrom *from, Error *err)
{
	for (int i = 0; sink_from_names[i] != NULL; i++)
		if (strcmp(sink_from_names[i], name) == 0)
		{
			*from = (SinkFrom) i;
			return true;
		}
	return error_set(err, ERR_CONFIG, "a sink begins at oldest, current or now, not \"%.40s\"", name);
}

static bool
sink_add_verb(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;
	SteeringAdd add = {.name = arguments[0]};

	return sink_from(arguments[1], &add.from, err) && steering->reload(steering->context, &add, answer, err);
}

static bool
find_sink(SinkSet *sinks, const char *name, SinkView *view, Error *err)
{
	for (int i = 0; sinkset_view(sinks, i, view); i++)
		if (strcmp(view->name, name) == 0)
			return true;
	return error_set(err, ERR_CONFIG, "there is no sink \"%.80s\"", name);
}

/* One that has stopped, or was given up, starts again: at the fill. A paused one has it when it is resumed. */
static bool
sink_fill(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const HousekeepingParts *parts = ((const Steering *) context)->parts;
	const char *name = arguments[0];
	SinkView view;

	if (!find_sink(parts->sinks, name, &view, err) ||
		!sink_fill_append(parts->state->journal, parts->state->feed, name, err))
		return false;
	if ((view.status.state == SINK_STOPPED || view.status.state == SINK_GIVEN_UP) &&
		!sinkset_resume(parts->sinks, name, err) && err->class != ERR_CONFIG)
		return false;
	answer_sink(answer, name, view.status.state == SINK_PAUSED ? "paused" : "filling");
	return true;
}

typedef struct Replay
{
	const Steering *steering;
	uint64_t seq;
} Replay;

static bool
replay_held(void *context, const SinkConfig *config, Error *err)
{
	const Replay *replay = context;
	const State *state = replay->steering->parts->state;
	const SinkHistory history = sink_history(journal_identity(state->journal));
	const SinkSource source = {.feed = state->feed};

	return sink_replay(config, &history, replay->steering->parts->config->state.directory, source,
					   replay->seq, err);
}

static bool
sink_replay_verb(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	Replay replay = {.steering = context};
	const SinkSource source = {.feed = replay.steering->parts->state->feed};

	if (!from_unit(source, arguments[1], &replay.seq, err) ||
		!sinkset_hold(replay.steering->parts->sinks, arguments[0], replay_held, &replay, err))
		return false;
	buffer_printf(answer, "{\"sink\":");
	json_string(answer, slice_string(arguments[0]));
	buffer_printf(answer, ",\"from_seq\":%llu}", (unsigned long long) replay.seq);
	return true;
}

/* ---- rescoring ---------------------------------------------------------------------------------- */

/* What the scorer does about a table because somebody asked is a unit, like all it does. */
static bool
ask_scorer(void *context, const char *word, const char *relation, bool dry_run, Buffer *answer, Error *err)
{
	const HousekeepingParts *parts = ((const Steering *) context)->parts;
	ScorerView *view = xcalloc(1, sizeof(*view));
	Unit unit = {.kind = UNIT_RESCORE};
	Buffer detail = {0};
	bool known = false;
	bool ok;

	scorer_thread_view(parts->scorer, view);
	for (int i = SCORER_CONFIG_TABLES; i < view->ntables; i++)
		known |= strcmp(view->tables[i].relation, relation) == 0;
	free(view);
	if (!known)
	{
		error_set(err, ERR_CONFIG, "\"%.200s\" is no watched table", relation);
		return error_hint(err, "It is written as `walrank status` lists it.");
	}
	buffer_printf(&detail, "%s%s", word, relation);
	ok = dry_run ||
		 journal_append(parts->state->journal, &unit, PART_DETAIL, buffer_slice(&detail), false, err);
	buffer_free(&detail);
	buffer_printf(answer, "{\"relation\":");
	json_string(answer, slice_string(relation));
	if (!dry_run)
		buffer_printf(answer, ",\"seq\":%llu", (unsigned long long) unit.seq);
	buffer_append_byte(answer, '}');
	return ok;
}

static bool
rescore_start(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	return ask_scorer(context, RESCORE_START, arguments[0], false, answer, err);
}

static bool
rescore_cancel(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	return ask_scorer(context, RESCORE_CANCEL, arguments[0], false, answer, err);
}

static bool
rescore_try(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	return ask_scorer(context, "", arguments[0], true, answer, err);
}

/* ---- why ---------------------------------------------------------------------------------------- */

#define EXPLAIN_WAIT_US INT64_C(1500000)

typedef struct Why
{
	const char *relation;
	const char *ranking;
	Slice key;
	Buffer *answer;
} Why;

static bool
ask_why(Scorer *scorer, void *question, Error *err)
{
	const Why *why = question;

	return scorer_explain(scorer, why->relation, why->key, why->ranking, clock_wall_us(), why->answer, err);
}

static bool
read_hex(const char *text, Buffer *bytes)
{
	for (; text[0] != '\0'; text += 2)
	{
		unsigned byte;

		if (!isxdigit((unsigned char) text[0]) || !isxdigit((unsigned char) text[1]) ||
			sscanf(text, "%2x", &byte) != 1)
			return false;
		buffer_append_byte(bytes, (uint8_t) byte);
	}
	return bytes->len > 0;
}

static bool
explain(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const HousekeepingParts *parts = ((const Steering *) context)->parts;
	Buffer key = {0};
	Buffer document = {0};
	Why why = {arguments[2], strcmp(arguments[1], "-") == 0 ? "" : arguments[1], {0}, &document};
	bool ok = read_hex(arguments[0], &key);

	if (!ok)
		error_set(err, ERR_CONFIG, "a key is written in hexadecimal, as the stream encodes it");
	why.key = buffer_slice(&key);
	ok = ok && scorer_thread_ask(parts->scorer, 0, ask_why, &why, EXPLAIN_WAIT_US, NULL, err);
	if (ok)
		buffer_append_slice(answer, buffer_slice(&document));
	buffer_free(&key);
	buffer_free(&document);
	return ok;
}

/* ---- tables -------------------------------------------------------------------------------------- */

/* {"tables":[..]}: those it is about. */
static bool
about_tables(void *context, const char *relation, BackfillWish wish, bool dry_run, Buffer *answer, Error *err)
{
	const HousekeepingParts *parts = ((const Steering *) context)->parts;
	ScorerView *view = xcalloc(1, sizeof(*view));
	Buffer names = {0};
	size_t at = 0;
	bool ok;

	scorer_thread_view(parts->scorer, view);
	ok = backfills_wish_for(parts->backfills, view, relation, wish, dry_run, &names, err);
	free(view);
	buffer_printf(answer, "{\"tables\":[");
	while (ok && at < names.len)
	{
		const uint8_t *stop = memchr(names.data + at, '\n', names.len - at);
		const size_t len = stop != NULL ? (size_t) (stop - names.data) - at : names.len - at;

		if (at > 0)
			buffer_append_byte(answer, ',');
		json_string(answer, slice_make(names.data + at, len));
		at += len + 1;
	}
	buffer_printf(answer, "]}");
	buffer_free(&names);
	return ok;
}

static bool
backfill_start(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	return about_tables(context, arguments[0], BACKFILL_ASKED, false, answer, err);
}

static bool
backfill_cancel(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	return about_tables(context, arguments[0], BACKFILL_HELD, false, answer, err);
}

static bool
backfill_try_start(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	return about_tables(context, arguments[0], BACKFILL_ASKED, true, answer, err);
}

static bool
backfill_try_cancel(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	return about_tables(context, arguments[0], BACKFILL_HELD, true, answer, err);
}

static bool
backfill_list(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	const Steering *steering = context;
	const StatusInput input = {steering->parts, steering->started_us};

	status_backfills(&input, answer);
	return true;
}

const ControlVerb steering_verbs[] = {
	{"status", "", "what the daemon is doing", status},
	{"reload", "", "reads the configuration again: all of it or nothing", reload},
	{"snapshot", "", "asks for a copy of the store soon", snapshot},
	{"sink list", "", "the sinks and where they stand", sink_list},
	{"sink pause", "NAME", "stops a sink; it keeps its checkpoint and holds the feed back", sink_pause},
	{"sink resume", "NAME", "starts a paused or stopped sink again", sink_resume},
	{"sink add", "NAME START", "reads the configuration again; that sink begins at oldest, current or now",
	 sink_add_verb},
	{"sink fill", "NAME", "repeats for one sink what was last emitted, beside what it holds", sink_fill},
	{"sink replay", "NAME FROM", "sets a sink back to just before a unit, by its number or an LSN",
	 sink_replay_verb},
	{"rescore start", "TABLE", "evaluates all items of a table anew", rescore_start},
	{"rescore try start", "TABLE", "says whether that table is known", rescore_try},
	{"rescore try cancel", "TABLE", "says whether that table is known", rescore_try},
	{"rescore cancel", "TABLE", "gives up evaluating them anew; items not met keep what they have",
	 rescore_cancel},
	{"explain", "KEY RANKING TABLE", "why an item stands where it stands; RANKING - for all", explain},
	{"backfill list", "", "the tables that are read, and how far that is", backfill_list},
	{"backfill start", "[TABLE]", "reads a table again, or all of them", backfill_start},
	{"backfill cancel", "[TABLE]", "gives up reading a table, or all of them", backfill_cancel},
	{"backfill try start", "[TABLE]", "says which tables that would be", backfill_try_start},
	{"backfill try cancel", "[TABLE]", "says which tables that would be", backfill_try_cancel},
	{NULL, NULL, NULL, NULL},
};
