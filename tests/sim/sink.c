/*
 * sink.c -- two far sides, and what writes to them: the runner of sinks/runner.c without its thread.
 *
 * A far side takes a batch with its checkpoint in one step, or not at all.  It may fail before or after that,
 * say nothing, fall back to what it was earlier, or get a batch of a writer that was believed dead.
 */
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "world.h"

#define PAST_MAX 16

/* ---- the far side ------------------------------------------------------------------------------ */

void
far_create(Far *far, const char *name)
{
	memset(far, 0, sizeof(*far));
	snprintf(far->name, sizeof(far->name), "%s", name);
	far->past = xcalloc(PAST_MAX, sizeof(FarState));
}

void
far_destroy(Far *far)
{
	free(far->past);
}

static void
far_remember(Far *far)
{
	if (far->npast == PAST_MAX)
		memmove(far->past, far->past + 1, (size_t) --far->npast * sizeof(FarState));
	far->past[far->npast++] = far->now;
}

/* The check and the step are one. */
static bool
far_commit(Far *far, const Batch *batch)
{
	const SinkPosition *now = &far->now.position;
	bool fenced = world.broken != BREAK_NO_FENCE;

	if (fenced && (now->owner_epoch != batch->to.owner_epoch || now->seq != batch->from_seq ||
				   now->part != batch->from_part))
		return false;
	far_remember(far);
	for (int i = 0; i < batch->n; i++)
		far->now.chain = mix(far->now.chain, batch->records[i]);
	/* broken: the effect is in, its checkpoint is not */
	if (world.broken != BREAK_CHECKPOINT_APART || !random_chance(&world.random, 1, 8))
		far->now.position = batch->to;
	oracle_sink(far);
	return true;
}

void
far_fall_back(Far *far)
{
	int i;

	if (far->npast == 0)
		return;
	i = (int) random_below(&world.random, (uint64_t) far->npast);
	/* a loss window longer than what the feed keeps is an operator's matter */
	if (world.daemon.feed == NULL || far->past[i].position.seq + 1 < feed_first_seq(world.daemon.feed))
		return;
	far->now = far->past[i];
	far->npast = i;
	far->late = false;
	tally(SINK_FALLBACK);
	trace("sink %s: falls back to unit %llu", far->name, (unsigned long long) far->now.position.seq);
}

/* What a writer sent before it died arrives. */
void
far_late(Far *far)
{
	if (!far->late)
		return;
	far->late = false;
	if (far_commit(far, &far->late_batch))
		trace("sink %s: a late batch is in, up to unit %llu", far->name,
			  (unsigned long long) far->now.position.seq);
	else
		tally(SINK_ZOMBIE);
}

/* ---- the runner -------------------------------------------------------------------------------- */

void
runner_close(Runner *runner)
{
	feed_reader_close(runner->reader);
	runner->reader = NULL;
	runner->open = false;
	runner->batch.n = 0;
}

/* The next batch goes on from where the far side stands. */
static void
batch_begin(Runner *runner)
{
	runner->batch.from_seq = runner->position.seq;
	runner->batch.from_part = runner->position.part;
	runner->batch.n = 0;
}

/* K1: fence, then read; a checkpoint of another stream is looked at before anything is written. */
static void
take_over(Runner *runner, SinkStand *stand)
{
	Far *far = runner->far;

	stand->found = far->now.found;
	stand->empty = far->now.chain == 0;
	if (!far->now.found)
	{
		error_set(&stand->why, ERR_REFUSE, "there are records but no checkpoint (rule K1)");
		return;
	}
	if (stream_id_equal(&far->now.position.stream_id, &world.stream_id))
		far->now.position.owner_epoch++;
	stand->position = far->now.position;
}

bool
runner_open(Runner *runner, Error *err)
{
	Daemon *daemon = &world.daemon;
	SinkHistory history = {.stream_id = world.stream_id};
	SinkStand stand = {.found = false};
	SinkOffer offer = {.first_seq = feed_first_seq(daemon->feed), .durable_seq = feed_durable(daemon->feed)};
	PositionChoice choice;

	take_over(runner, &stand);
	choice = position_judge(runner->far->name, &history, &stand, &offer, &runner->position, err);
	if (choice == POSITION_REFUSE)
		return false;
	if (choice == POSITION_BEGIN)
	{
		runner->position.owner_epoch = 1;
		runner->far->now = (FarState){.found = true, .position = runner->position};
	}
	if (!feed_reader_open(daemon->feed, runner->position.seq + 1, &runner->reader, err))
		return false;
	batch_begin(runner);
	runner->open = true;
	trace("sink %s: opened at unit %llu.%u, epoch %llu", runner->far->name,
		  (unsigned long long) runner->position.seq, runner->position.part,
		  (unsigned long long) runner->position.owner_epoch);
	return true;
}

static bool
apply_entries(Runner *runner, RecordReader record, uint32_t *outputs, Error *err)
{
	bool second = runner->far == &world.fars[1];
	RecordEntry entry;
	bool done = false;

	for (*outputs = 0;;)
	{
		if (!record_next(&record, &entry, &done, err))
			return false;
		if (done)
			return true;
		if (!record_is_output(entry.kind))
			continue;
		/* the second one does not take everything */
		position_count(&runner->position, second && entry.change % 5 == 0 ? SINK_FILTERED : SINK_APPLIED);
		(*outputs)++;
	}
}

/* One record; *more is false when there is none. */
static bool
apply_one(Runner *runner, bool *more, Error *err)
{
	RecordReader record;
	uint32_t outputs;
	FeedEvent event = feed_reader_next(runner->reader, &record, err);
	PositionOrder order;

	*more = event == FEED_RECORD;
	if (event != FEED_RECORD)
		return event == FEED_NOTHING;
	if (world.broken == BREAK_SEQ_GAP && random_chance(&world.random, 1, 40))
		return true; /* skipped, and nobody minds: */
	if (world.broken != BREAK_FEED_PAST_DURABLE)
		oracle_read_by_sink(&record);
	order = position_order(&runner->position, &record.header, err);
	if (order == ORDER_APPLIED && world.broken == BREAK_APPLIED_AGAIN)
		order = ORDER_NEXT;
	if (order == ORDER_GAP && world.broken == BREAK_SEQ_GAP)
	{
		runner->position.seq = record.header.seq - 1;
		runner->position.part = record.header.part;
		order = ORDER_NEXT;
	}
	if (order != ORDER_NEXT)
		return order == ORDER_APPLIED;
	if (!apply_entries(runner, record, &outputs, err))
		return false;
	if (!position_advance(&runner->position, &record.header, outputs, err) && world.broken == BREAK_NOTHING)
		return false;
	runner->batch.records[runner->batch.n++] = model_record_hash(&record);
	return true;
}

/* K5: whatever is not certain is asked of the far side again. */
static void
commit(Runner *runner)
{
	Far *far = runner->far;
	Batch *batch = &runner->batch;
	uint64_t luck = world.faults ? random_below(&world.random, 40) : 99;

	batch->to = runner->position;
	if (luck == 0) /* refused, and said so */
		tally(SINK_FAILED);
	else if (luck == 1) /* not done, and nothing said */
		tally(SINK_UNKNOWN_NOT);
	else if (luck == 2) /* done, and nothing said */
	{
		tally(SINK_UNKNOWN_DONE);
		far_commit(far, batch);
	}
	else if (luck == 3) /* still on its way when the next writer comes */
	{
		far->late = true;
		far->late_batch = *batch;
	}
	else if (far_commit(far, batch))
	{
		tally(SINK_COMMIT);
		trace("sink %s: at unit %llu.%u", far->name, (unsigned long long) batch->to.seq, batch->to.part);
		batch_begin(runner);
		return;
	}
	runner_close(runner);
	runner->retry_us = world.now_us + (int64_t) random_below(&world.random, 500000);
}

void
runner_step(Runner *runner)
{
	Error err;
	int batch = (int) random_between(&world.random, 1, BATCH_MAX);
	bool more = true;

	if (!runner->open)
	{
		if (world.now_us < runner->retry_us)
			return;
		if (!runner_open(runner, &err))
		{
			if (err.class == ERR_REFUSE && disk_dead() == DISK_LIVES)
				broken("K2", "sink %s is refused: %s", runner->far->name, err.message);
			runner->retry_us = world.now_us + 100000;
			return;
		}
	}
	/* it was taken over, or fell back: the next commit would notice */
	while (more && runner->batch.n < batch)
		if (!apply_one(runner, &more, &err))
		{
			runner_close(runner);
			if (err.class == ERR_REFUSE && disk_dead() == DISK_LIVES && world.unmarked)
			{
				world.mark_in_doubt = true;
				daemon_fatal(&err);
			}
			else if (err.class == ERR_REFUSE && disk_dead() == DISK_LIVES)
				broken("K3", "sink %s is refused: %s", runner->far->name, err.message);
			return;
		}
	if (runner->batch.n > 0)
		commit(runner);
}
