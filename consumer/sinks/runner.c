/*
 * runner.c -- one thread per sink: open, compare, apply, commit, and after any error open again.
 *
 *   STARTING --open, K2--> STREAMING --error of class RETRY, SPACE--> RETRYING --pause, open--> ..
 *       a rule refuses: STOPPED, until a fill of this sink is in the feed (R13)
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
	SinkHistory history;
	StreamId *replaced; /* of history */
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
	bool refused;		 /* by a rule, in this round: a later fill cures it */
	bool spoilt;		 /* refused while streaming: the checkpoint is no place to go on from */
	Error refusal;		 /* then */
	uint64_t fill_known; /* newest fill when the sink was refused */
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

/* ---- K1, K2, K9: where the sink stands ----------------------------------------------------------- */

/* Where in the feed the sink's newest fill begins. The last segment tells: its dictionary has all that came before. */
static bool
look_for_fill(SinkRunner *runner, SinkOffer *offer, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event;

	if (!feed_reader_open(runner->feed, offer->durable_seq + 1, &reader, err))
		return false;
	event = feed_reader_next(reader, &record, err);
	runner->fill_known = offer->fill_seq = feed_fill(reader, runner->config.name);
	feed_reader_close(reader);
	if (event == FEED_ERROR)
		return false;
	if (offer->fill_seq < offer->first_seq)
	{
		offer->fill_seq = 0; /* none, or no longer held */
		return true;
	}
	if (!feed_reader_open(runner->feed, offer->fill_seq, &reader, err))
		return false;
	event = feed_reader_next(reader, &record, err);
	if (event == FEED_RECORD)
		offer->fill_total = record.header.total - record.header.outputs;
	else
		offer->fill_seq = 0;
	feed_reader_close(reader);
	return event != FEED_ERROR;
}

/*
 * Until all that is durable now is in the feed, or the feed is full: then the scorer itself may be waiting for this
 * sink.  False when the thread has to end first.
 */
static bool
await_scorer(SinkRunner *runner, Error *err)
{
	const uint64_t seq = feed_durable(runner->feed);
	FeedReader *reader;
	RecordReader record;
	FeedEvent event;
	bool ending = false;

	if (seq == 0)
		return true;
	if (!feed_reader_open(runner->feed, seq, &reader, err))
		return false;
	while ((event = feed_reader_next(reader, &record, err)) == FEED_NOTHING &&
		   !seglog_full(feed_log(runner->feed)))
	{
		ending = is_stopping(runner) || is_draining(runner);
		if (ending)
			break;
		feed_reader_wait(reader, WAIT_US_MAX);
	}
	feed_reader_close(reader);
	if (ending)
		return error_set(err, ERR_RETRY, "the scorer has not reached unit %llu yet",
						 (unsigned long long) seq);
	return event != FEED_ERROR;
}

/*
 * K6: a lower checkpoint than remembered is legal, so nothing remembered is compared.  K1: a new sink begins at its
 * fill, if there is one, and that may be durable before the scorer has come to it.
 */
static bool
judge(SinkRunner *runner, SinkStand *stand, Error *err)
{
	SinkOffer offer = {.first_seq = feed_first_seq(runner->feed), .durable_seq = feed_durable(runner->feed)};
	PositionChoice choice;

	if (runner->spoilt)
	{
		stand->damaged = true;
		stand->why = runner->refusal;
	}
	choice = position_judge(runner->config.name, &runner->history, stand, &offer, &runner->position, err);
	if (choice == POSITION_GO_ON)
		return true;
	if (choice == POSITION_BEGIN && !await_scorer(runner, err))
		return false;
	/* only now, as a whole segment may have to be read for it */
	if (!look_for_fill(runner, &offer, err))
		return false;
	choice = position_judge(runner->config.name, &runner->history, stand, &offer, &runner->position, err);
	runner->refused = choice == POSITION_REFUSE;
	if (choice == POSITION_BEGIN && !runner->config.type->begin(runner->sink, &runner->position, err))
		return false;
	return choice != POSITION_REFUSE;
}

static bool
sink_open(SinkRunner *runner, Error *err)
{
	SinkStand stand = {0};

	memset(&runner->position, 0, sizeof(runner->position));
	runner->rows = 0;
	runner->pending = false;
	runner->refused = false;
	if (!runner->config.type->open(runner->sink, &stand, err))
		return false;
	if (!judge(runner, &stand, err) ||
		!feed_reader_open(runner->feed, runner->position.seq + 1, &runner->reader, err))
	{
		runner->config.type->close(runner->sink);
		return false;
	}
	runner->spoilt = false;
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

/* ---- records in order ---------------------------------------------------------------------------- */

static bool commit(SinkRunner *runner, Error *err);

/* A rule says no: what the sink holds can only be filled anew. */
static bool
refuse(SinkRunner *runner, const Error *err)
{
	runner->refused = runner->spoilt = true;
	runner->refusal = *err;
	return false;
}

/* *outputs: all of the record's; those of another sink's fill are not for this one. */
static bool
apply_entries(SinkRunner *runner, RecordReader *record, bool ours, uint32_t *outputs, Error *err)
{
	RecordEntry entry;
	bool done = false;

	for (*outputs = 0;;)
	{
		SinkFate fate = SINK_FILTERED;

		if (!record_next(record, &entry, &done, err))
			return false;
		if (done)
			return true;
		if (entry.kind == RECORD_FILLED)
			position_filled(&runner->position, runner->config.name, entry.fill.sink);
		if (!record_is_output(entry.kind))
			continue;
		if (ours &&
			!runner->config.type->apply(runner->sink, runner->reader, &record->header, &entry, &fate, err))
			return false;
		(*outputs)++;
		position_count(&runner->position, fate);
	}
}

/* A fill of this sink starts with this record: what came before is in, then comes a target of its own. */
static bool
begin_fill(SinkRunner *runner, const RecordHeader *header, Error *err)
{
	if (runner->pending && !commit(runner, err))
		return false;
	position_begin(&runner->position, header, SINK_FILLING);
	if (!runner->config.type->begin(runner->sink, &runner->position, err))
		return false;
	log_line(LOG_INFO, "sink \"%s\" is filled anew from unit %llu on", runner->config.name,
			 (unsigned long long) header->seq);
	return true;
}

static bool
apply_record(SinkRunner *runner, RecordReader *record, Error *err)
{
	const RecordHeader header = record->header;
	RecordEntry fill;
	bool is_fill;
	bool ours;
	uint32_t outputs;

	switch (position_order(&runner->position, &header, err))
	{
		case ORDER_APPLIED:
			return true;
		case ORDER_GAP:
			return refuse(runner, err);
		case ORDER_NEXT:
			break;
	}
	if (!record_fill(record, &is_fill, &fill, err))
		return false;
	ours = !is_fill || slice_equal(fill.fill.sink, slice_string(runner->config.name));
	if (is_fill && ours && fill.fill.from == header.seq && !position_begun(&runner->position, &header) &&
		!begin_fill(runner, &header, err))
		return false;
	if (!apply_entries(runner, record, ours, &outputs, err))
		return false;
	if (!position_advance(&runner->position, &header, outputs, err))
		return refuse(runner, err);
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

/* Units the feed has dropped under the reader: the sink was given up, whatever the reader says of it. */
static void
check_given_up(SinkRunner *runner, Error *err)
{
	const uint64_t first = feed_first_seq(runner->feed);
	SinkStand stand = {.found = true, .position = runner->position};
	SinkOffer offer = {.first_seq = first, .durable_seq = UINT64_MAX - 1};

	if (runner->reader == NULL || runner->refused || runner->position.seq + 1 >= first)
		return;
	position_judge(runner->config.name, &runner->history, &stand, &offer, &stand.position, err);
	runner->refused = true;
}

/* Refused: only a newer fill makes a difference. False when the sink has to end. */
static bool
await_fill(SinkRunner *runner)
{
	FeedReader *reader = NULL;
	RecordReader record;
	Error err = {0};
	bool come = false;

	if (!feed_reader_open(runner->feed, feed_durable(runner->feed) + 1, &reader, &err))
		return false;
	while (!come && !is_stopping(runner) && !is_draining(runner))
	{
		const FeedEvent event = feed_reader_next(reader, &record, &err);

		come = feed_fill(reader, runner->config.name) > runner->fill_known;
		if (event == FEED_ERROR)
			break;
		if (event == FEED_NOTHING && !come)
			feed_reader_wait(reader, WAIT_US_MAX);
	}
	feed_reader_close(reader);
	return come;
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
			if (!ok)
				check_given_up(runner, &err);
			sink_shut(runner);
		}
		if (ok || is_stopping(runner))
			break;
		note_error(runner, &err);
		if (is_draining(runner))
			break;
		if (runner->refused)
		{
			if (!await_fill(runner))
				break;
			continue;
		}
		if (!worth_retrying(err.class))
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
	free(runner->replaced);
	free(runner);
}

bool
sink_runner_start(const SinkConfig *config, Feed *feed, const SinkHistory *history, const char *state_dir,
				  SinkRunner **started, Error *err)
{
	SinkRunner *runner = xcalloc(1, sizeof(*runner));
	pthread_condattr_t attributes;

	assert(config->flush_rows > 0 && config->flush_interval_ms >= 0);
	runner->config = *config;
	runner->config.name = xstrdup(config->name);
	runner->feed = feed;
	runner->history = *history;
	runner->replaced = xcalloc((size_t) history->nreplaced + 1, sizeof(StreamId));
	if (history->nreplaced > 0)
		memcpy(runner->replaced, history->replaced, (size_t) history->nreplaced * sizeof(StreamId));
	runner->history.replaced = runner->replaced;
	runner->jitter = (unsigned) clock_monotonic_us();
	pthread_mutex_init(&runner->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&runner->moved, &attributes);
	pthread_condattr_destroy(&attributes);
	set_state(runner, SINK_STARTING);
	if (!config->type->create(config->name, config->options, &runner->history, state_dir, &runner->sink, err))
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
