/*
 * rules_diff.c -- `walrank rules diff NEW.rules`: what a definition would change, before it does.
 *
 * Both definitions are evaluated over the daemon's newest snapshot, at one time; with --from the journal is
 * replayed as well, to count what either would have emitted.  Nothing is written.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/look.h"
#include "cli/whatif.h"
#include "cli/whatif_replay.h"
#include "daemon/from.h"

#define MOVERS_DEFAULT 10
#define MOVERS_MAX 10000

enum
{
	DIFF_RANKING,
	DIFF_AT,
	DIFF_FRESH,
	DIFF_FROM,
	DIFF_MOVERS
};

static const CliOption options[] = {
	{"--ranking", "NAME", "the ranking in force to compare with (default: that of the file)"},
	{"--at", "TIME", "evaluate as of this time (default: that of the snapshot's last unit)"},
	{"--fresh", NULL, "have the daemon make a snapshot of all it has first"},
	{"--from", "LSN|SEQ", "also count what either would have emitted from there on"},
	{"--movers", "N", "show so many of the items that move furthest (default: 10)"},
	{0},
};

typedef struct Diff
{
	const Cli *cli;
	Config *config;
	Definition definition;
	const char *name;
	bool has_at;
	int64_t at_us; /* since 1970 */
	long wanted;   /* movers */
	Look look;
	int64_t snapshot_us; /* clock of its last unit */
	WhatIf whatif;
	const ComparedItem **movers;
	Responsible *responsible; /* of each */
	size_t nmovers;
	bool replayed;
	WhatIfReplay replay;
	Error err;
} Diff;

/* ---- what both outputs need -------------------------------------------------------------------- */

/* {"id":17}, from the version of the table that is in force. */
static void
put_key(const Diff *diff, Buffer *out, Slice key)
{
	const TrialInfo *info = &diff->whatif.info;
	WireCursor cursor = wire_cursor(key);
	Slice value;
	char separator = '{';

	for (uint32_t i = 0; i < info->relation->ncolumns; i++)
	{
		if (!info->columns[i].key || !wire_value_next(&cursor, &value))
			continue;
		buffer_append_byte(out, (uint8_t) separator);
		json_string(out, info->columns[i].name);
		buffer_append_byte(out, ':');
		json_value(out, value);
		separator = ',';
	}
	buffer_append_byte(out, '}');
}

static void
put_time(Buffer *out, int64_t unix_us)
{
	Buffer quoted = {0};

	json_time(&quoted, unix_us);
	buffer_append(out, quoted.data + 1, quoted.len - 2);
	buffer_free(&quoted);
}

/* A difference of sums, without what doubles leave behind. */
static double
rounded(double by)
{
	return rint(by * 1e9) / 1e9;
}

/* ---- for people ------------------------------------------------------------------------------- */

static void
put_place(Buffer *out, uint32_t before, uint32_t after)
{
	char from[16] = "-";
	char to[16] = "-";
	char both[40];

	if (before > 0)
		snprintf(from, sizeof(from), "%u", before);
	if (after > 0)
		snprintf(to, sizeof(to), "%u", after);
	snprintf(both, sizeof(both), "%s -> %s", from, to);
	buffer_printf(out, "%-20s", both);
}

static void
put_scores(Buffer *out, const ComparedItem *item)
{
	Buffer both = {0};

	if (item->place_before > 0)
		json_double(&both, item->before.score);
	else
		buffer_append_byte(&both, '-');
	buffer_printf(&both, " -> ");
	if (item->place_after > 0)
		json_double(&both, item->after.score);
	else
		buffer_append_byte(&both, '-');
	buffer_printf(out, "%-28.*s", (int) both.len, (char *) both.data);
	buffer_free(&both);
}

static void
put_responsible(Buffer *out, const Responsible *responsible)
{
	Buffer both = {0};

	buffer_printf(&both, "%s", responsible->name[0] != '\0' ? responsible->name : "-");
	if (responsible->by != 0)
	{
		buffer_printf(&both, responsible->by > 0 ? " +" : " ");
		json_double(&both, rounded(responsible->by));
	}
	buffer_printf(out, "%-24.*s", (int) both.len, (char *) both.data);
	buffer_free(&both);
}

static void
movers_human(const Diff *diff, Buffer *out)
{
	if (diff->nmovers > 0)
		buffer_printf(out, "\n%-20s %-28s %-24s %s\n", "PLACE", "SCORE", "BECAUSE OF", "ITEM");
	for (size_t i = 0; i < diff->nmovers; i++)
	{
		const ComparedItem *item = diff->movers[i];

		put_place(out, item->place_before, item->place_after);
		buffer_append_byte(out, ' ');
		put_scores(out, item);
		buffer_append_byte(out, ' ');
		put_responsible(out, &diff->responsible[i]);
		buffer_append_byte(out, ' ');
		put_key(diff, out, item->key);
		buffer_append_byte(out, '\n');
	}
}

static void
replay_human(const Diff *diff, Buffer *out)
{
	const WhatIfReplay *replay = &diff->replay;
	const uint64_t units = replay->to >= replay->from ? replay->to - replay->from + 1 : 0;

	buffer_printf(out, "\nreplayed  %" PRIu64 " units from %" PRIu64, units, replay->from);
	if (units > 0)
	{
		buffer_printf(out, " to %" PRIu64 ", until ", replay->to);
		put_time(out, replay->to_us);
	}
	buffer_printf(out, ", %" PRIu64 " changes of items\n", replay->changes);
	if (replay->changed_in != 0)
		buffer_printf(out, "          unit %" PRIu64 " changed the ranking itself: counted up to there\n",
					  replay->changed_in);
	buffer_printf(out, "%-20s %12s %12s\n", "EMITTED", "in force", "new");
	buffer_printf(out, "%-20s %12" PRIu64 " %12" PRIu64 "\n", "scores", replay->before.scores,
				  replay->after.scores);
	buffer_printf(out, "%-20s %12" PRIu64 " %12" PRIu64 "\n", "removals", replay->before.removals,
				  replay->after.removals);
}

static void
summary_human(const Diff *diff, Buffer *out)
{
	const WhatIf *whatif = &diff->whatif;
	const Comparison *c = &whatif->comparison;

	buffer_printf(out, "ranking \"%s\" over %s: ", diff->name, whatif->info.table);
	if (!whatif->info.exists)
		buffer_printf(out, "there is none of that name yet\n");
	else
		buffer_printf(out, "version %u%s, and %s\n", whatif->info.version,
					  whatif->info.in_force ? "" : ", which is not in force", diff->definition.path);
	buffer_printf(out, "as of unit %" PRIu64 " (", diff->look.position.seq);
	put_time(out, diff->snapshot_us);
	buffer_printf(out, "), evaluated at ");
	put_time(out, whatif->at_us);
	buffer_printf(out, "\n\n%" PRIu64 " items", whatif->items);
	if (whatif->incomplete > 0)
		buffer_printf(out, ", %" PRIu64 " of them not complete yet", whatif->incomplete);
	buffer_printf(out, "; in the ranking %zu -> %zu", c->before, c->after);
	if (whatif->quarantined[TRIAL_BEFORE] + whatif->quarantined[TRIAL_AFTER] > 0)
		buffer_printf(out, ", quarantined %" PRIu64 " -> %" PRIu64, whatif->quarantined[TRIAL_BEFORE],
					  whatif->quarantined[TRIAL_AFTER]);
	buffer_printf(out, "\nenter %zu, leave %zu, change their score %zu, stay as they are %zu\n", c->entered,
				  c->left, c->moved, c->same);
	if (isnan(c->tau))
		buffer_printf(out,
					  "order: Kendall's tau-b is not defined, for one side has no two different scores\n");
	else
		buffer_printf(out, "order: Kendall's tau-b %.6f\n", c->tau);
	for (int i = 0; i < COMPARISON_TOPS && c->top[0] > 0; i++)
		if (i == 0 || c->top[i] > c->top[i - 1])
			buffer_printf(out, "top %zu: %zu the same\n", c->top[i], c->overlap[i]);
}

static void
print_human(const Diff *diff)
{
	Buffer out = {0};

	summary_human(diff, &out);
	movers_human(diff, &out);
	if (diff->replayed)
		replay_human(diff, &out);
	cli_print("%.*s", (int) out.len, (char *) out.data);
	buffer_free(&out);
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static void
put_side(Buffer *out, uint32_t place, const Standing *standing)
{
	if (place == 0)
	{
		buffer_printf(out, "null");
		return;
	}
	buffer_printf(out, "{\"place\":%u,\"score\":", place);
	json_double(out, standing->score);
	buffer_printf(out, ",\"tier\":%d,\"pin\":", standing->tier);
	if (standing->pin > 0)
		buffer_printf(out, "%d}", standing->pin);
	else
		buffer_printf(out, "null}");
}

static void
movers_json(const Diff *diff, Buffer *out)
{
	buffer_printf(out, ",\"movers\":[");
	for (size_t i = 0; i < diff->nmovers; i++)
	{
		const ComparedItem *item = diff->movers[i];
		const Responsible *responsible = &diff->responsible[i];

		buffer_printf(out, "%s{\"key\":", i > 0 ? "," : "");
		put_key(diff, out, item->key);
		buffer_printf(out, ",\"before\":");
		put_side(out, item->place_before, &item->before);
		buffer_printf(out, ",\"after\":");
		put_side(out, item->place_after, &item->after);
		buffer_printf(out, ",\"because\":");
		json_string(out, slice_string(responsible->name));
		buffer_printf(out, ",\"by\":");
		json_double(out, responsible->by);
		buffer_append_byte(out, '}');
	}
	buffer_append_byte(out, ']');
}

static void
replay_json(const Diff *diff, Buffer *out)
{
	const WhatIfReplay *replay = &diff->replay;

	buffer_printf(out,
				  ",\"replay\":{\"snapshot_seq\":%" PRIu64 ",\"from_seq\":%" PRIu64 ",\"to_seq\":%" PRIu64
				  ",\"from\":",
				  replay->snapshot, replay->from, replay->to);
	json_time(out, replay->from_us);
	buffer_printf(out, ",\"to\":");
	json_time(out, replay->to_us);
	buffer_printf(out,
				  ",\"changes\":%" PRIu64 ",\"before\":{\"scores\":%" PRIu64 ",\"removals\":%" PRIu64
				  "},\"after\":{\"scores\":%" PRIu64 ",\"removals\":%" PRIu64 "},\"changed_in\":",
				  replay->changes, replay->before.scores, replay->before.removals, replay->after.scores,
				  replay->after.removals);
	if (replay->changed_in != 0)
		buffer_printf(out, "%" PRIu64 "}", replay->changed_in);
	else
		buffer_printf(out, "null}");
}

static void
summary_json(const Diff *diff, Buffer *out)
{
	const WhatIf *whatif = &diff->whatif;
	const Comparison *c = &whatif->comparison;
	buffer_printf(out, "{\"ranking\":");
	json_string(out, slice_string(diff->name));
	buffer_printf(out, ",\"relation\":");
	json_string(out, slice_string(whatif->info.table));
	if (whatif->info.exists)
		buffer_printf(out, ",\"version\":%u,\"in_force\":%s", whatif->info.version,
					  whatif->info.in_force ? "true" : "false");
	else
		buffer_printf(out, ",\"version\":null,\"in_force\":false");
	buffer_printf(out, ",\"snapshot_seq\":%" PRIu64 ",\"snapshot_time\":", diff->look.position.seq);
	json_time(out, diff->snapshot_us);
	buffer_printf(out, ",\"at\":");
	json_time(out, whatif->at_us);
	buffer_printf(out,
				  ",\"items\":%" PRIu64 ",\"incomplete\":%" PRIu64
				  ",\"before\":{\"items\":%zu,\"quarantined\":%" PRIu64
				  "},\"after\":{\"items\":%zu,\"quarantined\":%" PRIu64 "}",
				  whatif->items, whatif->incomplete, c->before, whatif->quarantined[TRIAL_BEFORE], c->after,
				  whatif->quarantined[TRIAL_AFTER]);
	buffer_printf(out, ",\"entered\":%zu,\"left\":%zu,\"moved\":%zu,\"same\":%zu,\"tau_b\":", c->entered,
				  c->left, c->moved, c->same);
	if (isnan(c->tau))
		buffer_printf(out, "null");
	else
		json_double(out, c->tau);
	buffer_printf(out, ",\"overlap\":[");
	for (int i = 0; i < COMPARISON_TOPS; i++)
		buffer_printf(out, "%s{\"top\":%zu,\"of\":%zu,\"same\":%zu}", i > 0 ? "," : "", comparison_tops[i],
					  c->top[i], c->overlap[i]);
	buffer_append_byte(out, ']');
}

static void
print_json(const Diff *diff)
{
	Buffer out = {0};

	summary_json(diff, &out);
	movers_json(diff, &out);
	if (diff->replayed)
		replay_json(diff, &out);
	cli_print("%.*s}\n", (int) out.len, (char *) out.data);
	buffer_free(&out);
}

/* ---- the command ------------------------------------------------------------------------------ */

static bool
replay(Diff *diff, const char *from)
{
	uint64_t seq;

	if (from == NULL)
		return true;
	if (!from_unit(stopped_source(&diff->look.stopped), from, &seq, &diff->err))
		return false;
	diff->replayed = true;
	return whatif_replay(diff->config, &diff->look, &diff->definition, diff->name, &diff->whatif.info, seq,
						 &diff->replay, &diff->err);
}

static bool
evaluate(Diff *diff)
{
	Look *look = &diff->look;
	Error unknown = {0};
	bool timed = look_time(look, look->position.seq, &diff->snapshot_us, &unknown);

	if (!timed && !diff->has_at)
	{
		diff->err = unknown;
		return false;
	}
	if (!timed)
		diff->snapshot_us = diff->at_us;
	return whatif_open(&diff->whatif, look->store, &diff->definition, diff->name, &diff->err) &&
		   whatif_run(&diff->whatif, diff->has_at ? diff->at_us : diff->snapshot_us, &diff->err);
}

static bool
find_movers(Diff *diff)
{
	const size_t wanted = (size_t) diff->wanted;

	diff->movers = xcalloc(wanted + 1, sizeof(*diff->movers));
	diff->responsible = xcalloc(wanted + 1, sizeof(*diff->responsible));
	diff->nmovers = comparison_movers(&diff->whatif.comparison, diff->movers, wanted);
	for (size_t i = 0; i < diff->nmovers; i++)
		if (!whatif_responsible(&diff->whatif, diff->movers[i], &diff->responsible[i], &diff->err))
			return false;
	return true;
}

static bool
compare(Diff *diff, const char *const *values)
{
	bool ok;

	if (!cli_config(diff->cli, &diff->config, &diff->err) ||
		(values[DIFF_FRESH] != NULL && !look_refresh(diff->config, &diff->err)) ||
		!look_open(diff->config, &diff->look, &diff->err))
		return false;
	ok = evaluate(diff) && find_movers(diff) && replay(diff, values[DIFF_FROM]);
	if (ok && diff->cli->json)
		print_json(diff);
	else if (ok)
		print_human(diff);
	free(diff->movers);
	free(diff->responsible);
	whatif_close(&diff->whatif);
	look_close(&diff->look);
	return ok;
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Diff diff = {.cli = cli, .wanted = MOVERS_DEFAULT};
	char *end;
	bool ok;

	if (operands[0] == NULL || operands[1] != NULL)
		return cli_usage("rules diff needs one file (\"-\" for standard input)");
	if (values[DIFF_AT] != NULL)
	{
		if (!rules_parse_time(slice_string(values[DIFF_AT]), &diff.at_us))
			return cli_usage("--at needs a time such as 2026-11-20T14:46:29Z, not \"%s\"", values[DIFF_AT]);
		diff.has_at = true;
		diff.at_us += PG_EPOCH_US;
	}
	if (values[DIFF_MOVERS] != NULL)
		diff.wanted = strtol(values[DIFF_MOVERS], &end, 10);
	if (diff.wanted < 0 || diff.wanted > MOVERS_MAX || (values[DIFF_MOVERS] != NULL && *end != '\0'))
		return cli_usage("--movers needs a number from 0 to %d", MOVERS_MAX);
	if (!definition_open(operands[0], &diff.definition, &diff.err))
		return cli_fail(&diff.err);
	diff.name = values[DIFF_RANKING] != NULL ? values[DIFF_RANKING] : diff.definition.name;
	ok = compare(&diff, values);
	config_free(diff.config);
	definition_free(&diff.definition);
	return ok ? EXIT_DONE : cli_fail(&diff.err);
}

const CliCommand cli_rules_diff = {
	.name = "rules diff",
	.summary = "what a new definition would change: who enters, leaves and moves",
	.options = options,
	.operands = "FILE",
	.run = run,
};
