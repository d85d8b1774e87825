/*
 * status.c -- see status.h.
 */
#include "daemon/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

#define BEAT_RED_US INT64_C(60000000)

static const char *const receiver_states[] = {"starting", "streaming", "waiting", "stopped"};
static const char *const sink_states[] = {"starting", "streaming", "retrying",
										  "stopped",  "paused",	   "given up"};
static const char *const sink_phases[] = {"whole", "filling", "rebuilding"};
static const char *const table_states[] = {"pending", "open", "filled"};

/* ---- writing members ------------------------------------------------------------------------ */

static void
key(Buffer *out, const char *name)
{
	uint8_t last = out->len > 0 ? out->data[out->len - 1] : '{';

	if (last != '{' && last != '[')
		buffer_append_byte(out, ',');
	json_string(out, slice_string(name));
	buffer_append_byte(out, ':');
}

static void
element(Buffer *out)
{
	if (out->data[out->len - 1] != '[')
		buffer_append_byte(out, ',');
}

static void
text(Buffer *out, const char *name, const char *value)
{
	key(out, name);
	json_string(out, slice_string(value));
}

static void
number(Buffer *out, const char *name, uint64_t value)
{
	key(out, name);
	buffer_printf(out, "%" PRIu64, value);
}

static void
lsn(Buffer *out, const char *name, Lsn value)
{
	key(out, name);
	buffer_printf(out, "\"" LSN_FORMAT "\"", LSN_ARGS(value));
}

static void
moment(Buffer *out, const char *name, int64_t unix_us)
{
	key(out, name);
	if (unix_us == 0)
		buffer_printf(out, "null");
	else
		json_time(out, unix_us);
}

/* ---- the parts ------------------------------------------------------------------------------ */

static void
source(const StatusInput *input, const ReceiverStatus *status, Buffer *out)
{
	uint64_t seq;
	Lsn durable;

	journal_durable(input->parts->state->journal, &seq, &durable);
	key(out, "source");
	buffer_printf(out, "{");
	text(out, "state", receiver_states[status->state]);
	text(out, "slot", input->parts->settings->slot);
	text(out, "database", status->identity.database);
	number(out, "system_identifier", status->identity.system_identifier);
	number(out, "server_version", (uint64_t) status->identity.server_version);
	number(out, "timeline", status->identity.timeline);
	lsn(out, "received", status->received);
	lsn(out, "durable", durable);
	lsn(out, "acknowledged", status->acknowledged);
	number(out, "lag_bytes", status->received > durable ? status->received - durable : 0);
	moment(out, "last_commit", status->commit_time_us);
	moment(out, "last_message", status->message_us);
	number(out, "beat", status->beat);
	number(out, "transactions", status->transactions);
	number(out, "changes", status->changes);
	number(out, "frames", status->frames);
	number(out, "bytes", status->bytes);
	number(out, "dropped", status->dropped);
	number(out, "connects", status->connects);
	text(out, "error", status->error);
	buffer_printf(out, "}");
}

static void
journal(const StatusInput *input, Buffer *out)
{
	Journal *log = input->parts->state->journal;
	JournalHead head;
	uint64_t durable;
	Lsn h;

	journal_appended(log, &head);
	journal_durable(log, &durable, &h);
	key(out, "journal");
	buffer_printf(out, "{");
	number(out, "first_seq", journal_first_seq(log));
	number(out, "appended_seq", head.seq);
	number(out, "durable_seq", durable);
	lsn(out, "end_lsn", head.end_lsn);
	number(out, "bytes", journal_bytes(log));
	number(out, "quota", (uint64_t) input->parts->config->journal.quota_bytes);
	buffer_printf(out, "}");
}

/* When an item's place moves next with time alone. */
static void
next_timer(const ScorerWants *wants, Buffer *out)
{
	int64_t next_us =
		wants->timer_boundary_us < wants->timer_clock_us ? wants->timer_boundary_us : wants->timer_clock_us;

	if (wants->timers_at_once)
		next_us = clock_wall_us();
	moment(out, "next_timer", next_us == INT64_MAX ? 0 : next_us);
	number(out, "next_timer_us", (uint64_t) (next_us < 0 ? 0 : next_us));
}

static void
scorer(const StatusInput *input, const ScorerView *view, Buffer *out)
{
	const ScorerCounters *counters = &view->counters;

	key(out, "scorer");
	buffer_printf(out, "{");
	number(out, "seq", view->position.seq);
	number(out, "part", view->position.part);
	number(out, "total", view->position.total);
	lsn(out, "end_lsn", view->end_lsn);
	moment(out, "last_commit", view->commit_time_us);
	number(out, "units", counters->units);
	number(out, "changes", counters->changes);
	number(out, "rescored", counters->rescored);
	number(out, "scores", counters->scores);
	number(out, "removals", counters->removals);
	number(out, "quarantined", counters->quarantined);
	number(out, "incomplete", counters->incomplete);
	number(out, "items", counters->items);
	number(out, "fired", counters->fired);
	number(out, "rescoring_job", view->wants.rescore.job);
	text(out, "rescoring", view->wants.rescore.relation);
	number(out, "rescoring_items", view->wants.rescore.items);
	number(out, "rescoring_items_all", view->wants.rescore.items_all);
	next_timer(&view->wants, out);
	text(out, "broken", view->wants.broken);
	text(out, "note", view->note);
	buffer_printf(out, "}");
	key(out, "store");
	buffer_printf(out, "{");
	number(out, "bytes", store_bytes(input->parts->state->store));
	number(out, "items", store_items(input->parts->state->store));
	number(out, "oldest_snapshot_seq", store_oldest_snapshot(input->parts->state->store));
	buffer_printf(out, "}");
	key(out, "feed");
	buffer_printf(out, "{");
	number(out, "first_seq", feed_first_seq(input->parts->state->feed));
	number(out, "bytes", feed_bytes(input->parts->state->feed));
	number(out, "quota", (uint64_t) input->parts->config->feed.quota_bytes);
	buffer_printf(out, "}");
}

/* What a reading has not found is still there while it is cleared: the table is not filled yet. */
static const char *
table_state(const ScorerTable *table)
{
	if (table->state < 0 || table->state > 2)
		return "unknown";
	return table_states[table->clearing && table->state == 2 ? 1 : table->state];
}

static void
table_note(const StatusInput *input, const ScorerTable *table, Buffer *out)
{
	BackfillFailure failure;

	for (int i = 0; backfills_failure(input->parts->backfills, i, &failure); i++)
		if (strcmp(failure.relation, table->relation) == 0)
		{
			text(out, "note", failure.error);
			return;
		}
	text(out, "note", table->lost ? "changes may be missing" : table->clearing ? "clearing" : "");
}

static void
tables(const StatusInput *input, const ScorerView *view, Buffer *out)
{
	static const char *const wishes[] = {"", "start", "cancel"};

	key(out, "tables");
	buffer_printf(out, "[");
	for (int i = 0; i < view->ntables; i++)
	{
		const ScorerTable *table = &view->tables[i];

		element(out);
		buffer_printf(out, "{");
		text(out, "relation", table->relation);
		text(out, "backfill", table_state(table));
		text(out, "asked", wishes[backfills_wish(input->parts->backfills, table->relation)]);
		number(out, "items", table->items);
		key(out, "lost");
		buffer_printf(out, "%s", table->lost ? "true" : "false");
		table_note(input, table, out);
		buffer_printf(out, "}");
	}
	buffer_printf(out, "]");
}

static void
backfill(const BackfillsStatus *status, Buffer *out)
{
	const BackfillProgress *progress = &status->progress;
	int64_t us = clock_monotonic_us() - progress->begun_us;

	key(out, "backfill");
	buffer_printf(out, "{");
	key(out, "running");
	buffer_printf(out, "%s", status->running ? "true" : "false");
	text(out, "relation", status->relation);
	text(out, "phase", progress->phase);
	number(out, "chunk", progress->chunk);
	number(out, "rows", progress->rows);
	number(out, "rows_estimated", progress->estimated);
	number(out, "rows_per_s", us > 0 ? (uint64_t) ((double) progress->rows * 1e6 / (double) us) : 0);
	number(out, "bytes", progress->bytes);
	lsn(out, "point", progress->point);
	number(out, "done", status->done);
	number(out, "failed", status->failed);
	text(out, "error", status->error);
	buffer_printf(out, "}");
}

void
status_backfills(const StatusInput *input, Buffer *out)
{
	ScorerView *view = xcalloc(1, sizeof(*view));
	BackfillsStatus filling;

	scorer_thread_view(input->parts->scorer, view);
	backfills_status(input->parts->backfills, &filling);
	buffer_printf(out, "{");
	tables(input, view, out);
	backfill(&filling, out);
	buffer_printf(out, "}\n");
	free(view);
}

static void
sink(const SinkView *view, uint64_t durable, Buffer *out)
{
	const SinkStatus *status = &view->status;
	const SinkPosition *at = &status->position;

	element(out);
	buffer_printf(out, "{");
	text(out, "name", view->name);
	text(out, "type", view->type);
	text(out, "state", sink_states[status->state]);
	text(out, "phase", sink_phases[at->phase]);
	number(out, "seq", at->seq);
	number(out, "part", at->part);
	lsn(out, "end_lsn", at->end_lsn);
	number(out, "lag_units", durable > at->seq ? durable - at->seq : 0);
	moment(out, "last_commit", at->commit_time_us);
	number(out, "applied", at->applied);
	number(out, "filtered", at->filtered);
	number(out, "parked", at->parked);
	number(out, "quarantined", at->quarantined);
	number(out, "batches", status->batches);
	number(out, "retries", status->retries);
	number(out, "errors", status->errors);
	text(out, "note", status->note);
	buffer_printf(out, "}");
}

static void
sinks(const StatusInput *input, Buffer *out)
{
	uint64_t durable = feed_durable(input->parts->state->feed);
	SinkView view;

	key(out, "sinks");
	buffer_printf(out, "[");
	for (int i = 0; sinkset_view(input->parts->sinks, i, &view); i++)
		sink(&view, durable, out);
	buffer_printf(out, "]");
}

void
status_sinks(const StatusInput *input, Buffer *out)
{
	buffer_printf(out, "{");
	sinks(input, out);
	buffer_printf(out, "}\n");
}

/* ---- red or green ---------------------------------------------------------------------------- */

static void
reason(Buffer *out, const char *what, const char *detail)
{
	Buffer line = {0};

	element(out);
	buffer_printf(&line, "%s%s%s", what, detail[0] != '\0' ? ": " : "", detail);
	json_string(out, buffer_slice(&line));
	buffer_free(&line);
}

static void
unread(const StatusInput *input, Buffer *out)
{
	BackfillFailure failure;

	for (int i = 0; i < BACKFILL_FAILURES_MAX && backfills_failure(input->parts->backfills, i, &failure); i++)
	{
		char what[sizeof(failure.relation) + 32];

		snprintf(what, sizeof(what), "table %s cannot be read", failure.relation);
		reason(out, what, failure.error);
	}
}

static void
reasons(const StatusInput *input, const ReceiverStatus *status, const ScorerView *view, Buffer *out)
{
	SinkView one;

	key(out, "red");
	buffer_printf(out, "[");
	if (status->state != RECEIVER_STREAMING)
		reason(out, "the source is not connected", status->error);
	else if (clock_monotonic_us() - status->beat_us > BEAT_RED_US)
		reason(out, "no beat came through the stream for 60 s", "");
	if (view->wants.broken[0] != '\0')
		reason(out, "the newest definition cannot be used, the one before is in force, of rankings",
			   view->wants.broken);
	if (view->wants.gap.seq != 0)
		reason(out, "publications were lost", view->wants.gap.text);
	for (int i = 0; i < view->ntables; i++)
		if (view->tables[i].lost)
			reason(out,
				   "a publication was lost or publishes other rows; until it is read again, changes may be "
				   "missing of",
				   view->tables[i].relation);
	for (int i = 0; i < view->ntables; i++)
		if (view->tables[i].stopped)
			reason(out, "a rescoring was cancelled: items keep scores of older rules until they change, of",
				   view->tables[i].relation);
	unread(input, out);
	if (status->no_space[0] != '\0')
		reason(out, "the journal takes nothing, the stream waits for space", status->no_space);
	if (view->waiting)
		reason(out, "scoring waits for space", view->note);
	for (int i = 0; sinkset_view(input->parts->sinks, i, &one); i++)
	{
		char what[128];

		snprintf(what, sizeof(what), "sink %s is %s", one.name, sink_states[one.status.state]);
		if (one.status.state == SINK_RETRYING || one.status.state == SINK_STOPPED ||
			one.status.state == SINK_GIVEN_UP)
			reason(out, what, one.status.note);
	}
	buffer_printf(out, "]");
}

void
status_document(const StatusInput *input, Buffer *out)
{
	ReceiverStatus receiver;
	BackfillsStatus filling;
	ScorerView *view = xcalloc(1, sizeof(*view));
	char id[STREAM_ID_TEXT_BYTES];
	size_t red;

	receiver_status(input->parts->receiver, &receiver);
	scorer_thread_view(input->parts->scorer, view);
	backfills_status(input->parts->backfills, &filling);
	stream_id_text(&journal_identity(input->parts->state->journal)->stream_id, id);
	buffer_printf(out, "{");
	text(out, "version", WALRANK_VERSION);
	number(out, "pid", (uint64_t) getpid());
	moment(out, "started", input->started_us);
	number(out, "uptime_s", (uint64_t) ((clock_wall_us() - input->started_us) / 1000000));
	text(out, "stream_id", id);
	source(input, &receiver, out);
	journal(input, out);
	scorer(input, view, out);
	tables(input, view, out);
	backfill(&filling, out);
	sinks(input, out);
	red = out->len;
	reasons(input, &receiver, view, out);
	text(out, "status", out->len - red == strlen(",\"red\":[]") ? "green" : "red");
	text(out, "last_error", receiver.error[0] != '\0' ? receiver.error : filling.error);
	buffer_printf(out, "}\n");
	free(view);
}
