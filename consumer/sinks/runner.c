/*
 * runner.c -- one thread per sink: open, compare, apply, commit, and after any error open again.
 *
 *   STARTING --open, K2--> STREAMING --error of class RETRY, SPACE--> RETRYING --pause, open--> ..
 *       any other error: STOPPED, until the daemon starts again
 *
 * The thread holds no truth: after an error it forgets all it gathered and asks the sink where it
 * stands (K1, K5).  A batch ends flush_interval after its first record or with flush_rows records,
 * and only between feed records.
 */
#include "sinks/sink.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define RETRY_US_MIN INT64_C(100000)
#define RETRY_US_MAX INT64_C(30000000)
/* Records without output move the checkpoint at most this often. */
#define IDLE_COMMIT_US INT64_C(1000000)
#define WAIT_US_MAX INT64_C(1000000)
/* What destroy waits between two interrupts. */
#define INTERRUPT_US INT64_C(100000)

struct SinkRunner
{
	SinkConfig config;
	Feed *feed;
	Sink *sink;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows, but for the thread's own part */
	pthread_cond_t moved; /* monotonic clock */
	SinkStatus status;
	bool draining;
	bool stopping;
	bool ended;

	/* the thread's own */
	FeedReader *reader;
	SinkPosition position; /* with everything gathered */
	uint64_t rows;		   /* gathered since the last commit */
	bool pending;		   /* position moved since the last commit */
	int64_t batch_us;	   /* when the batch's first row came */
	int64_t committed_us;
	int64_t retry_us;
	unsigned jitter;
};

/* ---- what others see --------------------------------------------------------------------------- */

static void
set_state(SinkRunner *runner, SinkState state)
{
	pthread_mutex_lock(&runner->lock);
	runner->status.state = state;
	pthread_mutex_unlock(&runner->lock);
}

static void
publish(SinkRunner *runner, bool batch)
{
	pthread_mutex_lock(&runner->lock);
	runner->status.position = runner->position;
	runner->status.state = SINK_STREAMING;
	runner->status.batches += batch;
	runner->status.reason = ERR_NONE;
	runner->status.note[0] = '\0';
	pthread_mutex_unlock(&runner->lock);
}

static bool
is_stopping(SinkRunner *runner)
{
	bool stopping;

	pthread_mutex_lock(&runner->lock);
	stopping = runner->stopping;
	pthread_mutex_unlock(&runner->lock);
	return stopping;
}

static bool
is_draining(SinkRunner *runner)
{
	bool draining;

	pthread_mutex_lock(&runner->lock);
	draining = runner->draining;
	pthread_mutex_unlock(&runner->lock);
	return draining;
}

void
sink_runner_status(SinkRunner *runner, SinkStatus *status)
{
	pthread_mutex_lock(&runner->lock);
	*status = runner->status;
	pthread_mutex_unlock(&runner->lock);
}

static struct timespec
deadline_in(int64_t us)
{
	const int64_t at = clock_monotonic_us() + us;

	return (struct timespec){.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000};
}

/* Sleeps unless told to stop, or to drain: then there is no time to wait for the other side. */
static void
pause_us(SinkRunner *runner, int64_t us)
{
	const struct timespec deadline = deadline_in(us);

	pthread_mutex_lock(&runner->lock);
	while (!runner->stopping && !runner->draining)
		if (pthread_cond_timedwait(&runner->moved, &runner->lock, &deadline) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&runner->lock);
}

/* ---- K1, K2: where the sink stands --------------------------------------------------------------- */

static bool
check_position(SinkRunner *runner, bool found, Error *err)
{
	const uint64_t first = feed_first_seq(runner->feed);
	const uint64_t durable = feed_durable(runner->feed);
	const uint64_t next = runner->position.seq + 1;

	if (!found && first > 1)
	{
		error_set(err, ERR_REFUSE, "the sink is new, but the feed begins at unit %llu (rule K1)",
				  (unsigned long long) first);
		return error_hint(err,
						  "A sink is filled from unit 1. To begin anew: teardown, move the state directory "
						  "away, empty the sinks, init, walrankd --create.");
	}
	if (first > next)
	{
		error_set(err, ERR_REFUSE, "the sink stands at unit %llu, but the feed begins at unit %llu (rule K2)",
				  (unsigned long long) runner->position.seq, (unsigned long long) first);
		return error_hint(err,
						  "The units in between are gone. To begin anew: teardown, move the state directory "
						  "away, empty the sinks, init, walrankd --create.");
	}
	if (next > durable + 1)
	{
		error_set(err, ERR_REFUSE,
				  "the sink stands at unit %llu, but the journal ends at unit %llu (rule K2)",
				  (unsigned long long) runner->position.seq, (unsigned long long) durable);
		return error_hint(err, "The state directory is older than the sink: put the newer one back.");
	}
	return true;
}

static bool
sink_open(SinkRunner *runner, Error *err)
{
	bool found = false;

	memset(&runner->position, 0, sizeof(runner->position));
	runner->rows = 0;
	runner->pending = false;
	if (!runner->config.type->open(runner->sink, &runner->position, &found, err))
		return false;
	/* K6: a lower checkpoint than remembered is legal, so nothing remembered is compared */
	if (!check_position(runner, found, err) ||
		!feed_reader_open(runner->feed, runner->position.seq + 1, &runner->reader, err))
	{
		runner->config.type->close(runner->sink);
		return false;
	}
	runner->committed_us = clock_monotonic_us();
	publish(runner, false);
	return true;
}

static void
sink_shut(SinkRunner *runner)
{
	if (runner->reader != NULL)
		feed_reader_close(runner->reader);
	runner->reader = NULL;
	runner->config.type->close(runner->sink);
}

/* ---- K3: records in order ------------------------------------------------------------------------ */

typedef enum
{
	ORDER_NEXT,
	ORDER_APPLIED,
	ORDER_GAP,
} Order;

static Order
compare(const SinkPosition *position, const RecordHeader *header)
{
	if (header->seq <= position->seq)
		return ORDER_APPLIED;
	if (header->seq > position->seq + 1 || header->part > position->part)
		return ORDER_GAP;
	return header->part < position->part ? ORDER_APPLIED : ORDER_NEXT;
}

static bool
apply_entries(SinkRunner *runner, RecordReader *record, uint32_t *outputs, Error *err)
{
	RecordEntry entry;
	bool done = false;

	for (*outputs = 0;;)
	{
		SinkFate fate = SINK_APPLIED;

		if (!record_next(record, &entry, &done, err))
			return false;
		if (done)
			return true;
		if (entry.kind < RECORD_CHANGE || entry.kind > RECORD_GAP)
			continue;
		if (!runner->config.type->apply(runner->sink, runner->reader, &record->header, &entry, &fate, err))
			return false;
		(*outputs)++;
		runner->position.applied += fate == SINK_APPLIED;
		runner->position.filtered += fate == SINK_FILTERED;
		runner->position.parked += fate == SINK_PARKED;
	}
}

static void
advance(SinkPosition *position, const RecordHeader *header)
{
	if (header->last)
	{
		position->seq = header->seq;
		position->part = 0;
		position->end_lsn = header->end_lsn;
		if (header->kind == UNIT_TXN)
			position->commit_time_us = header->commit_time_us;
	}
	else
		position->part++;
}

static bool
apply_record(SinkRunner *runner, RecordReader *record, Error *err)
{
	SinkPosition *p = &runner->position;
	const RecordHeader header = record->header;
	const Order order = compare(p, &header);
	uint32_t outputs;
	uint64_t counted;

	if (order == ORDER_APPLIED)
		return true;
	if (order == ORDER_GAP)
		return error_set(err, ERR_REFUSE,
						 "after unit %llu, piece %u, the feed goes on with unit %llu, piece %u (rule K3)",
						 (unsigned long long) p->seq, p->part, (unsigned long long) header.seq, header.part);
	if (header.end_lsn < p->end_lsn)
		return error_set(err, ERR_REFUSE, "unit %llu ends before the unit it follows (rule K3)",
						 (unsigned long long) header.seq);
	if (!apply_entries(runner, record, &outputs, err))
		return false;
	advance(p, &header);
	counted = p->applied + p->filtered + p->parked + p->quarantined;
	/* K8: nothing is skipped silently */
	if (outputs != header.outputs || counted != header.total - p->total_start)
		return error_set(
			err, ERR_REFUSE,
			"the totals do not meet at unit %llu: %llu records counted, the feed says %llu (rule K8)",
			(unsigned long long) header.seq, (unsigned long long) counted,
			(unsigned long long) (header.total - p->total_start));
	if (runner->rows == 0 && outputs > 0)
		runner->batch_us = clock_monotonic_us();
	runner->rows += outputs;
	runner->pending = true;
	return true;
}

/* ---- batches --------------------------------------------------------------------------------------- */

static bool
commit(SinkRunner *runner, Error *err)
{
	const bool batch = runner->rows > 0;

	if (!runner->config.type->commit(runner->sink, &runner->position, err))
		return false;
	runner->rows = 0;
	runner->pending = false;
	runner->committed_us = clock_monotonic_us();
	runner->retry_us = 0;
	publish(runner, batch);
	return true;
}

/* How long until something has to be committed; 0 = now. */
static int64_t
commit_wait_us(const SinkRunner *runner)
{
	int64_t due;

	if (!runner->pending)
		return WAIT_US_MAX;
	if (runner->rows >= (uint64_t) runner->config.flush_rows)
		return 0;
	due = runner->rows > 0 ? runner->batch_us + runner->config.flush_interval_ms * 1000
						   : runner->committed_us + IDLE_COMMIT_US;
	due -= clock_monotonic_us();
	return due < 0 ? 0 : due > WAIT_US_MAX ? WAIT_US_MAX : due;
}

/* One record, or a wait for one. *drained: nothing is left that may be read. */
static bool
step(SinkRunner *runner, bool *drained, Error *err)
{
	const bool draining = is_draining(runner); /* before the look, so that nothing slips between */
	RecordReader record;
	int64_t wait;

	switch (feed_reader_next(runner->reader, &record, err))
	{
		case FEED_ERROR:
			return false;
		case FEED_RECORD:
			if (!apply_record(runner, &record, err))
				return false;
			return commit_wait_us(runner) > 0 || commit(runner, err);
		case FEED_NOTHING:
			break;
	}
	wait = commit_wait_us(runner);
	if (runner->pending && (wait == 0 || draining))
		return commit(runner, err);
	*drained = draining;
	if (!draining)
		feed_reader_wait(runner->reader, wait);
	return true;
}

static bool
stream(SinkRunner *runner, Error *err)
{
	bool drained = false;

	while (!drained && !is_stopping(runner))
		if (!step(runner, &drained, err))
			return false;
	return true;
}

/* ---- the thread ------------------------------------------------------------------------------------ */

static bool
worth_retrying(ErrorClass class)
{
	return class == ERR_RETRY || class == ERR_SPACE;
}

static void
note_error(SinkRunner *runner, const Error *err)
{
	const bool again = worth_retrying(err->class);
	char context[128];
	bool fresh;

	pthread_mutex_lock(&runner->lock);
	/* one line per change of state, not per attempt */
	fresh = !again || runner->status.state != SINK_RETRYING;
	runner->status.state = again ? SINK_RETRYING : SINK_STOPPED;
	runner->status.reason = err->class;
	runner->status.errors++;
	runner->status.retries += again;
	snprintf(runner->status.note, sizeof(runner->status.note), "%.300s%s%.200s", err->message,
			 err->hint[0] != '\0' ? ". " : "", err->hint);
	pthread_mutex_unlock(&runner->lock);
	snprintf(context, sizeof(context), "sink \"%.60s\" %s", runner->config.name,
			 again ? "retries" : "stopped");
	if (fresh)
		log_error(again ? LOG_WARNING : LOG_ERROR, err, context);
}

/* Doubles from 0.1 to 30 s, each pause somewhere in its upper half: sinks do not come back in step. */
static int64_t
next_pause_us(SinkRunner *runner)
{
	int64_t pause;

	runner->retry_us = runner->retry_us == 0 ? RETRY_US_MIN : 2 * runner->retry_us;
	if (runner->retry_us > RETRY_US_MAX)
		runner->retry_us = RETRY_US_MAX;
	pause = runner->retry_us / 2;
	return pause + rand_r(&runner->jitter) % (pause + 1);
}

static void *
run(void *argument)
{
	SinkRunner *runner = argument;
	char name[16]; /* as long as the kernel keeps */

	snprintf(name, sizeof(name), "sink %.10s", runner->config.name);
	pthread_setname_np(pthread_self(), name);
	/* no bound: a sink that is away for a week is waited for; the feed's quota decides otherwise */
	while (!is_stopping(runner))
	{
		Error err = {0};
		bool ok = sink_open(runner, &err);

		if (ok)
		{
			ok = stream(runner, &err);
			sink_shut(runner);
		}
		if (ok || is_stopping(runner))
			break;
		note_error(runner, &err);
		if (!worth_retrying(err.class) || is_draining(runner))
			break;
		pause_us(runner, next_pause_us(runner));
	}
	pthread_mutex_lock(&runner->lock);
	runner->ended = true;
	pthread_cond_broadcast(&runner->moved);
	pthread_mutex_unlock(&runner->lock);
	return NULL;
}

static void
runner_free(SinkRunner *runner)
{
	if (runner->sink != NULL)
		runner->config.type->destroy(runner->sink);
	pthread_cond_destroy(&runner->moved);
	pthread_mutex_destroy(&runner->lock);
	free(runner->config.name);
	free(runner);
}

bool
sink_runner_start(const SinkConfig *config, Feed *feed, const StreamId *stream_id, const char *state_dir,
				  SinkRunner **started, Error *err)
{
	SinkRunner *runner = xcalloc(1, sizeof(*runner));
	pthread_condattr_t attributes;

	assert(config->flush_rows > 0 && config->flush_interval_ms >= 0);
	runner->config = *config;
	runner->config.name = xstrdup(config->name);
	runner->feed = feed;
	runner->jitter = (unsigned) clock_monotonic_us();
	pthread_mutex_init(&runner->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&runner->moved, &attributes);
	pthread_condattr_destroy(&attributes);
	set_state(runner, SINK_STARTING);
	if (!config->type->create(config->name, config->options, stream_id, state_dir, &runner->sink, err))
	{
		runner_free(runner);
		return false;
	}
	errno = pthread_create(&runner->thread, NULL, run, runner);
	if (errno != 0)
	{
		error_errno(err, "could not start its thread");
		err->class = ERR_RETRY;
		runner_free(runner);
		return false;
	}
	*started = runner;
	return true;
}

void
sink_runner_drain(SinkRunner *runner, int64_t timeout_us)
{
	const struct timespec deadline = deadline_in(timeout_us);

	pthread_mutex_lock(&runner->lock);
	runner->draining = true;
	pthread_cond_broadcast(&runner->moved);
	pthread_mutex_unlock(&runner->lock);
	feed_wake(runner->feed);
	pthread_mutex_lock(&runner->lock);
	while (!runner->ended)
		if (pthread_cond_timedwait(&runner->moved, &runner->lock, &deadline) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&runner->lock);
}

void
sink_runner_destroy(SinkRunner *runner)
{
	pthread_mutex_lock(&runner->lock);
	runner->stopping = true;
	pthread_cond_broadcast(&runner->moved);
	while (!runner->ended)
	{
		const struct timespec deadline = deadline_in(INTERRUPT_US);

		/* a wake or an interrupt that came just before the call it was meant for is repeated */
		pthread_mutex_unlock(&runner->lock);
		feed_wake(runner->feed);
		if (runner->config.type->interrupt != NULL)
			runner->config.type->interrupt(runner->sink);
		pthread_mutex_lock(&runner->lock);
		if (!runner->ended)
			pthread_cond_timedwait(&runner->moved, &runner->lock, &deadline);
	}
	pthread_mutex_unlock(&runner->lock);
	pthread_join(runner->thread, NULL);
	runner_free(runner);
}
