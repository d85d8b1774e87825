/*
 * history.c -- `walrank history RELATION KEY`: what happened to one item, as far back as the feed reaches.
 *
 * One pass over the feed.  Held are the item's last image, its last scores, and with --limit as many lines:
 * however long the feed is, memory is not.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "cli/history_item.h"
#include "cli/item_pass.h"
#include "rules.h"

#define LIMIT_MAX 100000
#define VALUE_SHOWN_MAX 120 /* bytes of a value on a line for people; JSON has all of it */

enum
{
	HISTORY_RANKING,
	HISTORY_SINCE,
	HISTORY_LIMIT
};

static const CliOption options[] = {
	{"--ranking", "NAME", "scores of this ranking alone"},
	{"--since", "TIME|LSN|SEQ", "nothing older: by time, or by the unit"},
	{"--limit", "N", "the last N of them"},
	{0},
};

typedef struct LastScore
{
	uint32_t ranking;
	bool present;
	double score;
} LastScore;

typedef struct Since
{
	bool by_time, by_lsn;
	int64_t us;
	Lsn lsn;
	uint64_t seq;
} Since;

typedef struct ItemHistory
{
	bool json;
	const char *ranking; /* NULL: all */
	ItemName item;
	Since since;
	uint64_t limit; /* 0: none */
	ItemPass pass;
	/* the item */
	HistoryImage images[2];
	int current; /* which of them is the last one */
	LastScore *scores;
	uint32_t nscores;
	/* what is shown */
	Buffer line;
	Buffer *kept; /* ring of `limit` */
	uint64_t shown;
	uint64_t told; /* of its key */
	Error err;
} ItemHistory;

/* ---- lines ------------------------------------------------------------------------------------ */

static bool
is_old(const ItemHistory *history)
{
	const Since *since = &history->since;

	if (since->by_time)
		return item_unit_time(history->pass.unit) < since->us;
	return since->by_lsn ? history->pass.unit->end_lsn <= since->lsn : history->pass.unit->seq < since->seq;
}

static const char *
cause(const RecordHeader *unit)
{
	switch (unit->kind)
	{
		case UNIT_TXN:
			return "";
		case UNIT_BACKFILL:
			return "read from the table: ";
		case UNIT_RESCORE:
			return "evaluated anew: ";
		case UNIT_TIMER:
			return "for the time: ";
		default:
			return "";
	}
}

static void
put_time(Buffer *out, int64_t unix_us)
{
	Buffer quoted = {0};

	json_time(&quoted, unix_us);
	buffer_append(out, quoted.data + 1, quoted.len - 2);
	buffer_free(&quoted);
}

static void
begin_line(ItemHistory *history, const RecordEntry *entry, const char *kind)
{
	const RecordHeader *unit = history->pass.unit;
	Buffer *out = &history->line;
	char pos[64];

	buffer_reset(out);
	snprintf(pos, sizeof(pos), "%" PRIu64 ".%u.%u", unit->seq, entry->change, entry->out);
	if (history->json)
	{
		buffer_printf(out, "{\"pos\":\"%s\",\"lsn\":\"" LSN_FORMAT "\",\"ts\":", pos,
					  LSN_ARGS(unit->end_lsn));
		json_time(out, item_unit_time(unit));
		if (unit->kind == UNIT_TXN)
			buffer_printf(out, ",\"xid\":%" PRIu64, unit->xid);
		else
			buffer_printf(out, ",\"xid\":null");
		buffer_printf(out, ",\"unit\":\"%s\",\"kind\":\"%s\"", unit_kind_name(unit->kind), kind);
		return;
	}
	buffer_printf(out, "%-16s ", pos);
	put_time(out, item_unit_time(unit));
	buffer_printf(out, "  " LSN_FORMAT "  ", LSN_ARGS(unit->end_lsn));
	if (unit->kind == UNIT_TXN)
		buffer_printf(out, "xid %" PRIu64 "  ", unit->xid);
	buffer_printf(out, "%s", cause(unit));
}

static void
end_line(ItemHistory *history)
{
	Buffer *out = &history->line;

	if (history->json)
		buffer_append_byte(out, '}');
	buffer_append_byte(out, '\n');
	if (is_old(history))
		return;
	if (history->limit == 0)
		fwrite(out->data, 1, out->len, stdout);
	else
	{
		Buffer *place = &history->kept[history->shown % history->limit];
		Buffer swap = *place;

		*place = *out;
		*out = swap;
	}
	history->shown++;
}

static void
flush_lines(ItemHistory *history)
{
	uint64_t n = history->shown < history->limit ? history->shown : history->limit;

	if (!history->json && history->shown > n && history->limit > 0)
		cli_print("%" PRIu64 " earlier ones are not shown\n", history->shown - n);
	for (uint64_t i = history->shown - n; history->limit > 0 && i < history->shown; i++)
	{
		const Buffer *line = &history->kept[i % history->limit];

		fwrite(line->data, 1, line->len, stdout);
	}
}

/* ---- changes ---------------------------------------------------------------------------------- */

static void
put_shown(Buffer *out, Slice json)
{
	size_t len = json.len <= VALUE_SHOWN_MAX ? json.len : VALUE_SHOWN_MAX;

	while (len < json.len && len > 0 && (json.data[len] & 0xc0) == 0x80)
		len--; /* not inside a character */
	buffer_append(out, json.data, len);
	if (len < json.len)
		buffer_printf(out, ".. (%zu bytes)", json.len);
}

static void
put_change_human(void *context, const HistoryChange *change)
{
	Buffer *out = &((ItemHistory *) context)->line;

	buffer_printf(out, "\n    ");
	buffer_append_slice(out, change->name);
	buffer_printf(out, ": ");
	if (change->before.len > 0)
		put_shown(out, change->before);
	else
		buffer_printf(out, change->before_known ? "-" : "?");
	buffer_printf(out, " -> ");
	if (change->after.len > 0)
		put_shown(out, change->after);
	else
		buffer_append_byte(out, '-');
}

static void
put_change_json(void *context, const HistoryChange *change)
{
	Buffer *out = &((ItemHistory *) context)->line;

	if (out->data[out->len - 1] != '[')
		buffer_append_byte(out, ',');
	buffer_printf(out, "{\"name\":");
	json_string(out, change->name);
	/* a member that is missing: there was none, or is none; "old_known" tells an old one apart that nobody knows */
	if (change->before.len > 0)
	{
		buffer_printf(out, ",\"old\":");
		buffer_append_slice(out, change->before);
	}
	if (change->after.len > 0)
	{
		buffer_printf(out, ",\"new\":");
		buffer_append_slice(out, change->after);
	}
	buffer_printf(out, ",\"old_known\":%s}", change->before_known ? "true" : "false");
}

static bool
tell_change(ItemHistory *history, const RecordEntry *entry, Error *err)
{
	static const char *const ops[] = {[OP_INSERT] = "insert", [OP_UPDATE] = "update", [OP_DELETE] = "delete"};
	HistoryImage *before = &history->images[history->current];
	HistoryImage *after = &history->images[1 - history->current];
	const char *op = ops[entry->row.op];

	if (entry->row.op != OP_DELETE && !history_image_make(after, history->pass.reader, entry, err))
		return false;
	begin_line(history, entry, "change");
	if (history->json)
		buffer_printf(&history->line, ",\"op\":\"%s\",\"changes\":[", op);
	else
		buffer_printf(&history->line, "%s", op);
	if (entry->row.op != OP_DELETE)
		history_image_compare(before, after, entry, history->json ? put_change_json : put_change_human,
							  history);
	if (history->json)
		buffer_append_byte(&history->line, ']');
	end_line(history);
	if (entry->row.op == OP_DELETE)
		history->images[history->current].known = false;
	else
		history->current = 1 - history->current;
	return true;
}

/* ---- scores ----------------------------------------------------------------------------------- */

static LastScore *
last_score(ItemHistory *history, uint32_t ranking)
{
	for (uint32_t i = 0; i < history->nscores; i++)
		if (history->scores[i].ranking == ranking)
			return &history->scores[i];
	history->scores = xrealloc(history->scores, (history->nscores + 1) * sizeof(*history->scores));
	history->scores[history->nscores] = (LastScore){.ranking = ranking};
	return &history->scores[history->nscores++];
}

static void
put_ranking(ItemHistory *history, const FeedRanking *ranking)
{
	if (history->json)
	{
		buffer_printf(&history->line, ",\"ranking\":");
		json_string(&history->line, slice_string(ranking->name));
	}
	else
		buffer_printf(&history->line, "%s: ", ranking->name);
}

static void
tell_score(ItemHistory *history, const RecordEntry *entry, const FeedRanking *ranking)
{
	Buffer *out = &history->line;
	LastScore *last = last_score(history, ranking->number);

	begin_line(history, entry, "score");
	put_ranking(history, ranking);
	if (history->json)
		buffer_printf(out, ",\"old\":");
	else
		buffer_printf(out, "score ");
	if (last->present)
		json_double(out, last->score);
	else
		buffer_printf(out, history->json ? "null" : "-");
	buffer_printf(out, history->json ? ",\"score\":" : " -> ");
	json_double(out, entry->score.score);
	if (history->json)
		buffer_printf(out, ",\"tier\":%d,\"pin\":%d,\"blocked\":%s,\"version\":%u", entry->score.tier,
					  entry->score.pin, entry->score.blocked ? "true" : "false", entry->score.version);
	else
		buffer_printf(out, "%s, version %u", entry->score.blocked ? ", blocked" : "", entry->score.version);
	end_line(history);
	last->present = true;
	last->score = entry->score.score;
}

static void
tell_removal(ItemHistory *history, const RecordEntry *entry, const FeedRanking *ranking)
{
	begin_line(history, entry, "remove");
	put_ranking(history, ranking);
	if (history->json)
		buffer_printf(&history->line, ",\"all\":%s", entry->key.len == 0 ? "true" : "false");
	else
		buffer_printf(&history->line, "%s",
					  entry->key.len == 0 ? "the ranking ended or was emptied" : "left the ranking");
	end_line(history);
	last_score(history, ranking->number)->present = false;
}

/* ---- the rest --------------------------------------------------------------------------------- */

static void
tell_text(ItemHistory *history, const RecordEntry *entry, const char *kind, const char *words, Slice text)
{
	begin_line(history, entry, kind);
	if (history->json)
	{
		buffer_printf(&history->line, ",\"reason\":");
		json_string(&history->line, text);
	}
	else
	{
		buffer_printf(&history->line, "%s", words);
		buffer_append_slice(&history->line, text);
	}
	end_line(history);
}

static bool
tell_of_ranking(ItemHistory *history, const RecordEntry *entry, Error *err)
{
	const FeedRanking *ranking = feed_ranking(history->pass.reader, entry->out);

	if (ranking == NULL)
		return error_set(err, ERR_DATA, "ranking %u is not in the feed's dictionary", entry->out);
	if (history->ranking != NULL && strcmp(history->ranking, ranking->name) != 0)
		return true;
	if (entry->kind == RECORD_SCORE)
		tell_score(history, entry, ranking);
	else if (entry->key.len > 0 || last_score(history, ranking->number)->present)
		tell_removal(history, entry, ranking);
	return true;
}

static void
tell_quarantine(ItemHistory *history, const RecordEntry *entry)
{
	Buffer reason = {0};

	if (entry->quarantine.attribute.len > 0)
		buffer_printf(&reason, "%.*s: ", (int) entry->quarantine.attribute.len,
					  (const char *) entry->quarantine.attribute.data);
	buffer_printf(&reason, "%.*s", (int) entry->quarantine.reason.len,
				  (const char *) entry->quarantine.reason.data);
	tell_text(history, entry, "quarantine", "quarantined, ", buffer_slice(&reason));
	buffer_free(&reason);
}

static bool
tell_item(ItemHistory *history, const RecordEntry *entry, Error *err)
{
	history->told += entry->key.len > 0;
	switch (entry->kind)
	{
		case RECORD_CHANGE:
			return tell_change(history, entry, err);
		case RECORD_SCORE:
		case RECORD_REMOVE:
			return tell_of_ranking(history, entry, err);
		case RECORD_TRUNCATE:
			if (history->images[history->current].known)
				tell_text(history, entry, "truncate", "the table was emptied", slice_make("", 0));
			history->images[history->current].known = false; /* its scores' removals follow */
			return true;
		case RECORD_QUARANTINE:
			tell_quarantine(history, entry);
			return true;
		default:
			return true;
	}
}

static bool
take_entry(ItemPass *pass, const RecordEntry *entry, const FeedRelation *relation, Error *err)
{
	ItemHistory *history = pass->context;

	if (relation != NULL)
		return tell_item(history, entry, err);
	tell_text(history, entry, "gap", "changes may be missing here: ", entry->gap.reason);
	history->images[history->current].known = false;
	return true;
}

/* Where the story begins, before anything of it. */
static bool
tell_begin(ItemPass *pass, const RecordHeader *first)
{
	const ItemHistory *history = pass->context;
	Buffer out = {0};

	if (history->json)
	{
		buffer_printf(&out, "{\"kind\":\"begin\",\"complete\":%s,\"first_seq\":%" PRIu64 ",\"ts\":",
					  first->seq <= 1 ? "true" : "false", first->seq);
		json_time(&out, item_unit_time(first));
		buffer_printf(&out, "}\n");
	}
	else if (first->seq > 1)
	{
		buffer_printf(&out, "the feed begins at unit %" PRIu64 " (", first->seq);
		put_time(&out, item_unit_time(first));
		buffer_printf(&out, "): what came before is not known\n");
	}
	cli_print("%.*s", (int) out.len, out.len > 0 ? (char *) out.data : "");
	buffer_free(&out);
	return true;
}

/* ---- the command ------------------------------------------------------------------------------ */

static bool
take_since(Since *since, const char *text)
{
	char *end;

	if (text == NULL)
		return true;
	if (lsn_parse(text, &since->lsn))
		return since->by_lsn = true;
	errno = 0;
	since->seq = strtoull(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0')
		return true;
	since->by_time = rules_parse_time(slice_string(text), &since->us);
	since->us += PG_EPOCH_US;
	return since->by_time;
}

static bool
take_limit(ItemHistory *history, const char *text)
{
	char *end;

	if (text == NULL)
		return true;
	errno = 0;
	history->limit = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0' || history->limit == 0 || history->limit > LIMIT_MAX)
		return false;
	history->kept = xcalloc(history->limit, sizeof(*history->kept));
	return true;
}

static int
tell_end(ItemHistory *history, const char *relation)
{
	if (!history->item.known)
	{
		error_set(&history->err, ERR_CONFIG, "the feed knows no table \"%s\"", relation);
		error_hint(&history->err, "Is it watched? walrank status lists the tables that are.");
		return cli_fail(&history->err);
	}
	flush_lines(history);
	if (history->told > 0)
		return EXIT_DONE;
	if (!history->json)
		cli_print("the feed tells nothing of this item\n");
	return EXIT_CONDITION;
}

static void
history_free(ItemHistory *history)
{
	item_name_free(&history->item);
	history_image_free(&history->images[0]);
	history_image_free(&history->images[1]);
	for (uint64_t i = 0; i < history->limit && history->kept != NULL; i++)
		buffer_free(&history->kept[i]);
	free(history->kept);
	free(history->scores);
	buffer_free(&history->line);
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	ItemHistory history = {.json = cli->json, .ranking = values[HISTORY_RANKING]};
	StoppedState stopped;
	Config *config;
	bool ok;
	int rc;

	if (operands[0] == NULL || operands[1] == NULL || operands[2] != NULL)
		return cli_usage("history needs a table and a key: walrank history public.item 17");
	if (!item_name_parse(&history.item, operands[0], operands[1]))
		return cli_usage("\"%s\" is no name of a table", operands[0]);
	if (!take_since(&history.since, values[HISTORY_SINCE]))
		return cli_usage("--since needs a time, an LSN or a unit's number, not \"%s\"",
						 values[HISTORY_SINCE]);
	if (!take_limit(&history, values[HISTORY_LIMIT]))
		return cli_usage("--limit needs a number from 1 to %d", LIMIT_MAX);
	if (!cli_config(cli, &config, &history.err))
		return cli_fail(&history.err);
	history.pass = (ItemPass){.context = &history, .begin = tell_begin, .entry = take_entry};
	ok = stopped_look(config, &stopped, &history.err);
	config_free(config);
	if (ok)
	{
		ok = item_pass(&history.pass, &history.item, &stopped, &history.err);
		stopped_close(&stopped);
	}
	rc = ok ? tell_end(&history, operands[0]) : cli_fail(&history.err);
	history_free(&history);
	return rc;
}

const CliCommand cli_history = {
	.name = "history",
	.summary = "what happened to one item, from the feed: changes, scores, removals (exit 3 if nothing)",
	.options = options,
	.operands = "TABLE KEY",
	.run = run,
};
