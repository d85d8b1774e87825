/*
 * verify.c -- `walrank verify`: what a sink shows, against what SQL says of the source's rows.
 *
 * Both have to be looked at in the same state.  So: wait until nothing is under way; take a snapshot of the source; wait
 * until the daemon and the sink have come past it.  If no output was made in between, the sink shows that snapshot.  What
 * is written meanwhile makes it begin again; a difference has to show twice.
 */
#include "cli/ask.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cli/stopped.h"
#include "cli/verify_source.h"
#include "stream/source.h"

#define BATCH_PLACES 1000
#define SET_KEYS 2000000 /* of one pass over what is missing: 16 MB */
#define POLL_NS 50000000
#define LIMIT_DEFAULT 10
#define TIMEOUT_DEFAULT_S 60

typedef struct Batch
{
	VerifyPlace *places;
	int n;
	Arena *arena; /* of their keys and times */
} Batch;

typedef struct Quiet
{
	uint64_t total; /* outputs of the stream so far */
	uint64_t
		changes; /* rows of the source, and items evaluated anew: what time alone moves is not among them */
	uint64_t items;
	char broken[256];
} Quiet;

typedef struct Verify
{
	const Config *config;
	const SinkConfig *sink;
	SinkHistory history;
	StreamId stream_id;
	Buffer conninfo;
	int64_t deadline_us;
	uint64_t limit;
	VerifySource source;
	Quiet before;		   /* the snapshot was taken */
	bool moved;			   /* what the sink shows is later than the snapshot */
	bool judged;		   /* whether it has */
	bool again;			   /* there were differences before: now they are told by name */
	Batch *batches;		   /* one for each ranking */
	SinkPosition position; /* of the sink */
	VerifyRanking strays;  /* of rankings that are not in force */
	json_t *differences;   /* the first ones */
	/* the pass over what is missing in one ranking */
	const VerifyRanking *listed;
	uint64_t *keys;
	uint64_t nkeys;
	uint64_t part, parts;
} Verify;

/* ---- a quiet position ---------------------------------------------------------------------------------- */

static const char *
text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

static uint64_t
number_of(const json_t *object, const char *name)
{
	return (uint64_t) json_integer_value(json_object_get(object, name));
}

static const json_t *
sink_of(const json_t *document, const char *name)
{
	const json_t *sinks = json_object_get(document, "sinks");
	size_t i;
	json_t *sink;

	json_array_foreach(sinks, i, sink)
	{
		if (strcmp(text_of(sink, "name"), name) == 0)
			return sink;
	}
	return NULL;
}

static const char *
unfilled(const json_t *document)
{
	const json_t *tables = json_object_get(document, "tables");
	size_t i;
	json_t *table;

	json_array_foreach(tables, i, table)
	{
		if (strcmp(text_of(table, "backfill"), "filled") != 0)
			return text_of(table, "relation");
	}
	return json_is_true(json_object_get(json_object_get(document, "backfill"), "running")) ? "a table" : NULL;
}

/* What is under way, in words; NULL: nothing is, all up to lsn is scored, and so is what time alone has moved until at_us. */
static const char *
under_way(const json_t *document, Lsn lsn, int64_t at_us, char why[160])
{
	const json_t *scorer = json_object_get(document, "scorer");
	const char *rescoring = text_of(scorer, "rescoring");
	Lsn reached = 0;

	lsn_parse(text_of(scorer, "end_lsn"), &reached);
	if (strcmp(text_of(json_object_get(document, "source"), "state"), "streaming") != 0)
		return "the source is not connected";
	if (unfilled(document) != NULL)
		snprintf(why, 160, "%.100s is being read", unfilled(document));
	else if (number_of(scorer, "rescoring_job") != 0)
		snprintf(why, 160, "%.100s is being evaluated anew",
				 rescoring[0] != '\0' ? rescoring : "a sink is filled: all");
	else if (reached < lsn)
		return "the scorer is not at the end of the stream";
	else if ((int64_t) number_of(scorer, "next_timer_us") <= at_us)
		return "scores are due that move with time";
	else
		return NULL;
	return why;
}

/* The same of the sink, which has to come to that unit. */
static const char *
sink_lags(const Verify *verify, const json_t *document, uint64_t seq, char why[160])
{
	const json_t *sink = sink_of(document, verify->sink->name);

	if (sink == NULL)
		return "the daemon does not know the sink: walrank reload";
	if (strcmp(text_of(sink, "state"), "streaming") != 0 || strcmp(text_of(sink, "phase"), "whole") != 0)
		snprintf(why, 160, "sink \"%.40s\" is %s, %s", verify->sink->name, text_of(sink, "state"),
				 text_of(sink, "phase"));
	else if (number_of(sink, "seq") < seq)
		snprintf(why, 160, "sink \"%.40s\" lags", verify->sink->name);
	else
		return NULL;
	return why;
}

static bool
give_up(const Verify *verify, const char *why, Error *err)
{
	error_set(err, ERR_RETRY, "there was no moment at which nothing was under way: %s", why);
	return error_hint(err, "Wait longer with --timeout, or verify when less is written to %s.",
					  verify->config->source.slot);
}

static void
read_counters(const json_t *document, Quiet *quiet)
{
	const json_t *scorer = json_object_get(document, "scorer");

	quiet->total = number_of(scorer, "total");
	quiet->changes = number_of(scorer, "changes") + number_of(scorer, "rescored");
	quiet->items = number_of(scorer, "items");
	snprintf(quiet->broken, sizeof(quiet->broken), "%s", text_of(scorer, "broken"));
}

/* *passed: the unit at which nothing was under way; 0: none yet.  The sink has to come to it, and both may go on. */
static bool
look(const Verify *verify, Lsn lsn, int64_t at_us, uint64_t *passed, Quiet *quiet, char said[160], Error *err)
{
	const char *why;
	char text[160];
	json_t *document;

	if (!cli_ask(verify->config, "status", &document, err))
		return false;
	why = under_way(document, lsn, at_us, text);
	if (why != NULL)
		*passed = 0;
	else if (*passed == 0)
		*passed = number_of(json_object_get(document, "scorer"), "seq");
	if (why == NULL)
		why = sink_lags(verify, document, *passed, text);
	read_counters(document, quiet);
	snprintf(said, 160, "%s", why != NULL ? why : "");
	json_decref(document);
	return true;
}

static bool
wait_quiet(const Verify *verify, Lsn lsn, int64_t at_us, Quiet *quiet, Error *err)
{
	const struct timespec pause = {0, POLL_NS};
	uint64_t passed = 0;
	char why[160];

	while (look(verify, lsn, at_us, &passed, quiet, why, err))
	{
		if (why[0] == '\0')
			return true;
		if (clock_monotonic_us() >= verify->deadline_us)
			return give_up(verify, why, err);
		nanosleep(&pause, NULL);
	}
	return false;
}

/* Something has to come behind the snapshot, or nobody could tell that all before it has come. The daemon's beat does, later. */
static void
move_along(const Verify *verify)
{
	PGconn *conn = NULL;
	Error ignored;

	if (source_connect((const char *) verify->conninfo.data, SOURCE_SQL, &conn, &ignored))
		source_beat(conn, &verify->stream_id, &ignored);
	PQfinish(conn);
}

static bool
has_changed(const Quiet *before, const Quiet *now)
{
	return now->changes != before->changes || now->items != before->items;
}

/* verify->moved: something was written meanwhile. */
static bool
take_snapshot(Verify *verify, Error *err)
{
	Quiet after;
	int64_t now_us = clock_wall_us();

	if (!wait_quiet(verify, 0, now_us, &verify->before, err) ||
		!verify_source_open((const char *) verify->conninfo.data, &verify->source, err))
		return false;
	now_us = clock_wall_us();
	verify_source_at(&verify->source, now_us > verify->source.at_us ? now_us : verify->source.at_us);
	move_along(verify);
	if (!wait_quiet(verify, verify->source.lsn, verify->source.at_us, &after, err))
		return false;
	verify->moved = has_changed(&verify->before, &after);
	return verify->moved ||
		   verify_source_rankings(&verify->source, verify->config->source.publications, after.broken, err);
}

/*
 * Whether the sink, at the position it has just been opened at, shows more than the snapshot.  Where nothing drifts no output
 * may have come since; scores that drift with age are told all the time, and it is the changes that count.
 */
static bool
judge_position(Verify *verify, Error *err)
{
	const SinkPosition *position = &verify->position;
	json_t *document;
	Quiet now;

	verify->judged = true;
	verify->moved = position->total_start + position_counted(position) != verify->before.total;
	if (!verify->moved || !verify->source.drifts)
		return true;
	if (!cli_ask(verify->config, "status", &document, err))
		return false;
	read_counters(document, &now);
	json_decref(document);
	verify->moved = has_changed(&verify->before, &now);
	return true;
}

/* ---- differences --------------------------------------------------------------------------------------- */

static json_t *
place_json(double score, int32_t tier, int32_t pin)
{
	return json_pack("{s:f, s:i, s:o}", "score", score, "tier", (int) tier, "pin",
					 pin > 0 ? json_integer(pin) : json_null());
}

/* kind: "different", "superfluous" or "missing"; a side without a place is null. Takes both over. */
static void
note_difference(Verify *verify, const char *kind, Slice ranking, Slice key, json_t *sink, json_t *sql)
{
	json_t *key_json = json_loadb((const char *) key.data, key.len, JSON_DECODE_ANY, NULL);

	if (json_array_size(verify->differences) < verify->limit)
		json_array_append_new(verify->differences,
							  json_pack("{s:s, s:s%, s:O?, s:O?, s:O?}", "kind", kind, "ranking",
										(const char *) ranking.data, ranking.len, "key", key_json, "sink",
										sink, "sql", sql));
	json_decref(key_json);
	json_decref(sink);
	json_decref(sql);
}

static void
judge_place(Verify *verify, VerifyRanking *ranking, const VerifyPlace *place)
{
	ranking->compared++;
	if (verify_place_agrees(ranking, place))
		return;
	if (place->shown)
		ranking->different++;
	else
		ranking->superfluous++;
	note_difference(verify, place->shown ? "different" : "superfluous", slice_string(ranking->name),
					place->key, place_json(place->score, place->tier, place->pin),
					place->shown ? place_json(place->expected, place->expected_tier, place->expected_pin)
								 : NULL);
}

/* ---- the sink's places ----------------------------------------------------------------------------------- */

static void
keep_key(Verify *verify, const VerifyPlace *place)
{
	if (place->shown && place->key_hash % verify->parts == verify->part && verify->nkeys < SET_KEYS)
		verify->keys[verify->nkeys++] = place->key_hash;
}

static bool
flush(Verify *verify, VerifyRanking *ranking, Batch *batch, Error *err)
{
	bool ok = batch->n == 0 || verify_source_ask(&verify->source, ranking, batch->places, batch->n, err);

	for (int i = 0; ok && i < batch->n; i++)
		if (verify->listed != NULL)
			keep_key(verify, &batch->places[i]);
		else
			judge_place(verify, ranking, &batch->places[i]);
	batch->n = 0;
	if (batch->arena != NULL)
		arena_reset(batch->arena);
	return ok;
}

static bool
gather(void *context, const SinkPlace *place, Error *err)
{
	Verify *verify = context;
	VerifyRanking *ranking = verify_source_ranking(&verify->source, place->ranking);
	Batch *batch;

	if (!verify->judged && !judge_position(verify, err))
		return false;
	if (verify->moved || (verify->listed != NULL && ranking != verify->listed))
		return true;
	if (ranking == NULL)
	{
		verify->strays.superfluous++;
		note_difference(verify, "superfluous", place->ranking, place->key,
						place_json(place->score, place->tier, place->pin), NULL);
		return true;
	}
	if (ranking->why[0] != '\0')
		return true;
	batch = &verify->batches[ranking - verify->source.rankings];
	if (batch->places == NULL)
		*batch =
			(Batch){.places = xcalloc(BATCH_PLACES, sizeof(VerifyPlace)), .arena = arena_create(256 * 1024)};
	batch->places[batch->n++] = (VerifyPlace){.key = arena_copy(batch->arena, place->key),
											  .at = arena_copy(batch->arena, place->at),
											  .score = place->score,
											  .tier = place->tier,
											  .pin = place->pin};
	return batch->n < BATCH_PLACES || flush(verify, ranking, batch, err);
}

static bool
visit_sink(Verify *verify, Error *err)
{
	verify->judged = false;
	if (!sink_places(verify->sink, &verify->history, verify->config->state.directory, gather, verify,
					 &verify->position, err) ||
		(!verify->judged && !judge_position(verify, err)))
		return false;
	for (int i = 0; i < verify->source.nrankings; i++)
		if (!flush(verify, &verify->source.rankings[i], &verify->batches[i], err))
			return false;
	return true;
}

/* ---- what the sink lacks ----------------------------------------------------------------------------------- */

static int
compare_hashes(const void *a, const void *b)
{
	const uint64_t left = *(const uint64_t *) a;
	const uint64_t right = *(const uint64_t *) b;

	return left < right ? -1 : left > right;
}

static bool
note_missing(void *context, VerifyRanking *ranking, Slice key, uint64_t hash, Error *err)
{
	Verify *verify = context;

	if (hash % verify->parts == verify->part &&
		bsearch(&hash, verify->keys, verify->nkeys, sizeof(uint64_t), compare_hashes) == NULL)
		note_difference(verify, "missing", slice_string(ranking->name), key, NULL, NULL);
	return true;
}

/*
 * By name, as long as there is room for names: once more through the sink, with the keys of a part of the items in memory.
 * When the sink has gone on they stay without names; how many there are is known.
 */
static bool
list_missing(Verify *verify, VerifyRanking *ranking, Error *err)
{
	bool ok = true;

	verify->listed = ranking;
	verify->parts = 1 + ranking->compared / (SET_KEYS / 2);
	verify->keys = xmalloc(SET_KEYS * sizeof(uint64_t));
	for (verify->part = 0;
		 ok && verify->part < verify->parts && json_array_size(verify->differences) < verify->limit;
		 verify->part++)
	{
		verify->nkeys = 0;
		ok = visit_sink(verify, err);
		if (!ok || verify->moved)
			break;
		qsort(verify->keys, verify->nkeys, sizeof(uint64_t), compare_hashes);
		ok = verify_source_keys(&verify->source, ranking, note_missing, verify, err);
	}
	free(verify->keys);
	verify->keys = NULL;
	verify->listed = NULL;
	verify->moved = false;
	return ok;
}

static bool
look_for_missing(Verify *verify, Error *err)
{
	for (int i = 0; i < verify->source.nrankings; i++)
	{
		VerifyRanking *ranking = &verify->source.rankings[i];
		uint64_t there;

		if (ranking->why[0] != '\0')
			continue;
		if (!verify_source_count(&verify->source, ranking, err))
			return false;
		there = ranking->compared - ranking->superfluous;
		ranking->missing = ranking->shown > there ? ranking->shown - there : 0;
		if (verify->again && ranking->missing > 0 && json_array_size(verify->differences) < verify->limit &&
			!list_missing(verify, ranking, err))
			return false;
	}
	return true;
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static uint64_t
differences(const Verify *verify)
{
	uint64_t n = verify->strays.superfluous;

	for (int i = 0; i < verify->source.nrankings; i++)
		n += verify->source.rankings[i].different + verify->source.rankings[i].superfluous +
			 verify->source.rankings[i].missing;
	return n;
}

static void
forget(Verify *verify)
{
	for (int i = 0; verify->batches != NULL && i < verify->source.nrankings; i++)
	{
		free(verify->batches[i].places);
		if (verify->batches[i].arena != NULL)
			arena_destroy(verify->batches[i].arena);
	}
	free(verify->batches);
	verify->batches = NULL;
	if (verify->source.arena != NULL)
		verify_source_close(&verify->source);
	verify->strays = (VerifyRanking){0};
	json_decref(verify->differences);
	verify->differences = NULL;
}

static bool
attempt(Verify *verify, Error *err)
{
	forget(verify);
	verify->moved = false;
	verify->differences = json_array();
	if (!take_snapshot(verify, err) || verify->moved)
		return verify->moved;
	verify->batches = xcalloc((size_t) verify->source.nrankings + 1, sizeof(Batch));
	return visit_sink(verify, err) && (verify->moved || look_for_missing(verify, err));
}

/*
 * A transaction may be in the stream a moment before it is visible to a snapshot, and something may be due between snapshot
 * and sink: a difference is looked at twice.
 */
static bool
compare(Verify *verify, Error *err)
{
	for (;;)
	{
		if (!attempt(verify, err))
			return false;
		if (!verify->moved && (differences(verify) == 0 || verify->again))
			return true;
		verify->again |= !verify->moved;
		if (verify->moved && clock_monotonic_us() >= verify->deadline_us)
			return give_up(verify, "something was written each time", err);
	}
}

/* ---- what is said ------------------------------------------------------------------------------------------ */

static json_t *
ranking_json(const VerifyRanking *ranking)
{
	if (ranking->why[0] != '\0')
		return json_pack("{s:s, s:s}", "ranking", ranking->name, "not_compared", ranking->why);
	return json_pack("{s:s, s:I, s:I, s:I, s:I}", "ranking", ranking->name, "compared",
					 (json_int_t) ranking->compared, "different", (json_int_t) ranking->different, "missing",
					 (json_int_t) ranking->missing, "superfluous", (json_int_t) ranking->superfluous);
}

static void
say_json(const Verify *verify)
{
	json_t *rankings = json_array();
	char lsn[LSN_TEXT_BYTES];
	json_t *document;

	snprintf(lsn, sizeof(lsn), LSN_FORMAT, LSN_ARGS(verify->source.lsn));
	for (int i = 0; i < verify->source.nrankings; i++)
		json_array_append_new(rankings, ranking_json(&verify->source.rankings[i]));
	document = json_pack("{s:s, s:b, s:I, s:s, s:s, s:o, s:I, s:O}", "sink", verify->sink->name, "ok",
						 differences(verify) == 0, "seq", (json_int_t) verify->position.seq, "lsn", lsn, "at",
						 verify->source.at, "rankings", rankings, "of_other_rankings",
						 (json_int_t) verify->strays.superfluous, "differences", verify->differences);
	cli_print_json(document);
	json_decref(document);
}

static void
say_place(const char *who, const json_t *place)
{
	const json_t *pin = json_object_get(place, "pin");

	if (!json_is_object(place))
		return;
	cli_print("%s %.17g", who, json_real_value(json_object_get(place, "score")));
	if (json_integer_value(json_object_get(place, "tier")) != 0)
		cli_print(" in tier %lld", (long long) json_integer_value(json_object_get(place, "tier")));
	if (json_is_integer(pin))
		cli_print(" pinned to %lld", (long long) json_integer_value(pin));
}

static void
say_difference(const json_t *difference)
{
	char *key = json_dumps(json_object_get(difference, "key"), JSON_COMPACT | JSON_ENCODE_ANY);

	cli_print("%-12s %s %s", text_of(difference, "kind"), text_of(difference, "ranking"),
			  key != NULL ? key : "");
	say_place(": the sink has", json_object_get(difference, "sink"));
	say_place(", SQL", json_object_get(difference, "sql"));
	cli_print("\n");
	free(key);
}

static void
say_text(const Verify *verify)
{
	size_t i;
	json_t *difference;

	cli_print("sink \"%s\" at unit %" PRIu64 " against the source at " LSN_FORMAT ", as of %s\n\n",
			  verify->sink->name, verify->position.seq, LSN_ARGS(verify->source.lsn), verify->source.at);
	cli_print("%-24s %12s %12s %12s %12s\n", "RANKING", "COMPARED", "DIFFERENT", "MISSING", "SUPERFLUOUS");
	for (int n = 0; n < verify->source.nrankings; n++)
	{
		const VerifyRanking *ranking = &verify->source.rankings[n];

		if (ranking->why[0] != '\0')
			cli_print("%-24s not compared: %s\n", ranking->name, ranking->why);
		else
			cli_print("%-24s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", ranking->name,
					  ranking->compared, ranking->different, ranking->missing, ranking->superfluous);
	}
	if (verify->strays.superfluous > 0)
		cli_print("of rankings that are not in force: %" PRIu64 " superfluous\n", verify->strays.superfluous);
	if (json_array_size(verify->differences) > 0)
		cli_print("\n");
	json_array_foreach(verify->differences, i, difference)
	{
		say_difference(difference);
	}
}

/* ---- the command ------------------------------------------------------------------------------------------- */

enum
{
	OPTION_SINK,
	OPTION_LIMIT,
	OPTION_TIMEOUT,
};

static const CliOption options[] = {
	{"--sink", "NAME", "the sink to look at; may be left out when there is only one"},
	{"--limit", "N", "differences to list by name (default 10)"},
	{"--timeout", "SECONDS", "how long to wait for a moment at which nothing is under way (default 60)"},
	{0},
};

static bool
read_number(const char *option, const char *text, uint64_t fallback, uint64_t *number, Error *err)
{
	char *end;

	*number = fallback;
	if (text == NULL)
		return true;
	*number = strtoull(text, &end, 10);
	return (text[0] >= '0' && text[0] <= '9' && *end == '\0' && *number <= 1000000) ||
		   error_set(err, ERR_CONFIG, "%s is a number from 0 to 1000000, not \"%.40s\"", option, text);
}

static const SinkConfig *
chosen_sink(const Config *config, const char *name, Error *err)
{
	if (name == NULL && config->nsinks == 1)
		return &config->sinks[0];
	return cli_find_sink(config, name != NULL ? name : "", err);
}

static bool
run_verify(const Cli *cli, Verify *verify, Error *err)
{
	StoppedState stopped;
	bool ok;

	if (!cli_conninfo(cli, &verify->conninfo, err) || !stopped_look(verify->config, &stopped, err))
		return false;
	verify->history = stopped.history;
	verify->stream_id = stopped.identity.stream_id;
	ok = compare(verify, err);
	stopped_close(&stopped);
	return ok;
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Verify verify = {0};
	Config *config;
	uint64_t timeout_s;
	int rc = EXIT_DONE;
	Error err;
	bool ok;

	if (!cli_config(cli, &config, &err))
		return cli_fail(&err);
	verify.config = config;
	verify.sink = chosen_sink(config, values[OPTION_SINK], &err);
	ok = verify.sink != NULL &&
		 read_number("--limit", values[OPTION_LIMIT], LIMIT_DEFAULT, &verify.limit, &err) &&
		 read_number("--timeout", values[OPTION_TIMEOUT], TIMEOUT_DEFAULT_S, &timeout_s, &err);
	if (ok)
	{
		verify.deadline_us = clock_monotonic_us() + (int64_t) timeout_s * 1000000;
		ok = run_verify(cli, &verify, &err);
	}
	if (!ok)
		rc = cli_fail(&err);
	else
	{
		(cli->json ? say_json : say_text)(&verify);
		rc = differences(&verify) == 0 ? EXIT_DONE : EXIT_CONDITION;
	}
	forget(&verify);
	buffer_free(&verify.conninfo);
	config_free(config);
	return rc;
}

const CliCommand cli_verify = {
	.name = "verify",
	.summary = "compare what a sink shows with what SQL says of the source's rows (exit 3: they differ)",
	.options = options,
	.run = run,
};
