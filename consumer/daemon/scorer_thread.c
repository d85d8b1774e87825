/*
 * scorer_thread.c -- see scorer_thread.h.
 *
 * R3 holds without a flush of the journal here: a reader sees only what was handed to the kernel.
 */
#include "daemon/scorer_thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#define VIEW_US INT64_C(100000)
#define VIEW_IDLE_US INT64_C(10000)
#define FLUSH_US INT64_C(2000)				   /* under load: records become visible at least this often */
#define PENDING_BYTES_MAX (UINT64_C(48) << 20) /* the store would commit by itself not far above */
#define SPACE_WAIT_US 1000000
#define BARRIER_WAIT_US INT64_C(60000000)
#define ANSWER_WAIT_US INT64_C(60000000)

struct ScorerThread
{
	State *state;
	const Config *config;
	ThreadFailed failed;
	void *context;
	pthread_t thread;
	pthread_t snapshot_thread;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	ScorerView view;
	uint64_t version;
	bool snapshot_wanted;
	bool newest_only_wanted;
	bool snapshot_ended;
	atomic_bool stop;
	atomic_llong deadline_us;
	pthread_mutex_t asking;
	atomic_bool asked; /* by scorer_thread_ask(), whose question and answer the lock covers */
	struct
	{
		uint64_t seq;
		ScorerQuestion ask;
		void *question; /* the asker's, who waits; NULL: nobody does */
		bool ok;
		Error err;
	} ask;

	/* the thread's own */
	JournalReader *reader;
	ScorerView own;
	uint64_t changes;	 /* item changes since the last commit */
	uint64_t feed_bytes; /* so are these */
	uint64_t changes_seen;
	bool uncommitted;
	bool unflushed;
	bool stale;		   /* the copy for others is older than the last record */
	int64_t commit_us; /* when the oldest uncommitted record was made, or the last commit */
	int64_t flush_us;
	int64_t view_us;
};

static void
init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

static struct timespec
at_time(int64_t us)
{
	return (struct timespec){us / 1000000, us % 1000000 * 1000};
}

/* ---- the copy for others -------------------------------------------------------------------- */

static void
copy_view(ScorerView *to, const ScorerView *from)
{
	memcpy(to, from, offsetof(ScorerView, tables) + (size_t) from->ntables * sizeof(ScorerTable));
}

static void
publish(ScorerThread *thread, int64_t now)
{
	ScorerView *own = &thread->own;

	scorer_wants(thread->state->scorer, &own->wants);
	scorer_counters(thread->state->scorer, &own->counters);
	own->ntables = scorer_tables(thread->state->scorer, own->tables, SCORER_TABLES_MAX);
	own->position = store_position(thread->state->store);
	thread->view_us = now;
	thread->stale = false;
	pthread_mutex_lock(&thread->lock);
	own->snapshots = thread->view.snapshots;
	copy_view(&thread->view, own);
	thread->version++;
	pthread_cond_broadcast(&thread->moved);
	pthread_mutex_unlock(&thread->lock);
}

uint64_t
scorer_thread_view(ScorerThread *thread, ScorerView *view)
{
	uint64_t version;

	pthread_mutex_lock(&thread->lock);
	copy_view(view, &thread->view);
	version = thread->version;
	pthread_mutex_unlock(&thread->lock);
	return version;
}

void
scorer_thread_wait(ScorerThread *thread, uint64_t version, int64_t timeout_us)
{
	struct timespec until = at_time(clock_monotonic_us() + timeout_us);

	pthread_mutex_lock(&thread->lock);
	while (thread->version <= version && pthread_cond_timedwait(&thread->moved, &thread->lock, &until) == 0)
		;
	pthread_mutex_unlock(&thread->lock);
}

/* ---- questions ------------------------------------------------------------------------------ */

/* Between two units. What cannot be read fails here as it will for the scorer. */
static void
answer(ScorerThread *thread)
{
	pthread_mutex_lock(&thread->lock);
	if (thread->ask.question == NULL)
		atomic_store(&thread->asked, false);
	else if (store_position(thread->state->store).seq >= thread->ask.seq)
	{
		thread->ask.ok = thread->ask.ask(thread->state->scorer, thread->ask.question, &thread->ask.err);
		thread->ask.question = NULL;
		atomic_store(&thread->asked, false);
		pthread_cond_broadcast(&thread->moved);
	}
	pthread_mutex_unlock(&thread->lock);
}

static bool
await_answer(ScorerThread *thread, int64_t deadline_us, const atomic_bool *stop, Error *err)
{
	bool answered;

	pthread_mutex_lock(&thread->lock);
	while (thread->ask.question != NULL && !(stop != NULL && atomic_load(stop)) &&
		   clock_monotonic_us() < deadline_us)
	{
		struct timespec until = at_time(clock_monotonic_us() + VIEW_US);

		pthread_cond_timedwait(&thread->moved, &thread->lock, &until);
	}
	answered = thread->ask.question == NULL;
	thread->ask.question = NULL;
	if (answered && !thread->ask.ok)
		*err = thread->ask.err;
	pthread_mutex_unlock(&thread->lock);
	if (!answered)
		return error_set(err, ERR_RETRY, "the scorer gave no answer");
	return thread->ask.ok;
}

bool
scorer_thread_ask(ScorerThread *thread, uint64_t seq, ScorerQuestion ask, void *question, int64_t timeout_us,
				  const atomic_bool *stop, Error *err)
{
	const int64_t deadline_us = clock_monotonic_us() + timeout_us;
	bool ok;

	pthread_mutex_lock(&thread->asking); /* one question at a time */
	pthread_mutex_lock(&thread->lock);
	thread->ask.seq = seq;
	thread->ask.ask = ask;
	thread->ask.question = question;
	atomic_store(&thread->asked, true);
	pthread_mutex_unlock(&thread->lock);
	journal_wake(thread->state->journal);
	ok = await_answer(thread, deadline_us, stop, err);
	pthread_mutex_unlock(&thread->asking);
	return ok;
}

typedef struct FillQuestion
{
	uint32_t oid;
	uint64_t keys_max;
	ScorerFill *fill;
} FillQuestion;

static bool
ask_fill(Scorer *scorer, void *question, Error *err)
{
	const FillQuestion *about = question;

	return scorer_fill(scorer, about->oid, about->keys_max, about->fill, err);
}

bool
scorer_thread_fill(ScorerThread *thread, uint32_t oid, uint64_t seq, uint64_t keys_max,
				   const atomic_bool *stop, ScorerFill *fill, Error *err)
{
	FillQuestion about = {oid, keys_max, fill};

	return scorer_thread_ask(thread, seq, ask_fill, &about, ANSWER_WAIT_US, stop, err);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A full disk is waited for; *again says to make the same call once more. */
static bool
wait_for_space(ScorerThread *thread, Error *err, bool *again)
{
	*again = false;
	if (err->class != ERR_SPACE || atomic_load(&thread->stop))
		return false;
	if (!thread->own.waiting)
		log_error(LOG_ERROR, err, "scoring waits for space");
	thread->own.waiting = true;
	snprintf(thread->own.note, sizeof(thread->own.note), "%.500s", err->message);
	publish(thread, clock_monotonic_us());
	nanosleep(&(struct timespec){SPACE_WAIT_US / 1000000, 0}, NULL);
	*again = true;
	return true;
}

static void
space_is_back(ScorerThread *thread)
{
	if (thread->own.waiting)
		log_line(LOG_INFO, "there is space again, scoring goes on");
	thread->own.waiting = false;
	thread->own.note[0] = '\0';
}

static bool
flush_feed(ScorerThread *thread, int64_t now, Error *err)
{
	bool again;

	while (thread->unflushed && !feed_flush(thread->state->feed, err))
		if (!wait_for_space(thread, err, &again))
			return false;
	thread->unflushed = false;
	thread->flush_us = now;
	space_is_back(thread);
	return true;
}

static bool
commit(ScorerThread *thread, int64_t now, Error *err)
{
	bool again;

	if (!flush_feed(thread, now, err))
		return false;
	while (!store_commit(thread->state->store, err))
		if (!wait_for_space(thread, err, &again))
			return false;
	space_is_back(thread);
	thread->own.committed = store_position(thread->state->store).seq;
	thread->changes = 0;
	thread->feed_bytes = 0;
	thread->uncommitted = false;
	thread->commit_us = now;
	return true;
}

static void
count_changes(ScorerThread *thread)
{
	ScorerCounters counters;
	uint64_t seen;

	scorer_counters(thread->state->scorer, &counters);
	seen = counters.changes + counters.rescored;
	thread->changes += seen - thread->changes_seen;
	thread->changes_seen = seen;
}

static bool
take_record(ScorerThread *thread, Error *err)
{
	RecordHeader header;
	Slice record = scorer_record(thread->state->scorer, &header);
	bool again;

	while (!feed_append(thread->state->feed, &header, record, err))
		if (!wait_for_space(thread, err, &again))
			return false;
	space_is_back(thread);
	thread->own.end_lsn = header.end_lsn;
	if (header.kind == UNIT_TXN)
		thread->own.commit_time_us = header.commit_time_us;
	if (!thread->uncommitted)
		thread->commit_us = clock_monotonic_us();
	thread->feed_bytes += record.len;
	thread->uncommitted = true;
	thread->unflushed = true;
	thread->stale = true;
	count_changes(thread);
	return true;
}

/*
 * What is not committed no snapshot can release: were it as much as the feed's quota, nothing could ever move again.
 */
static bool
fills_feed(const ScorerThread *thread)
{
	uint64_t quota = (uint64_t) thread->config->feed.quota_bytes;

	return quota > 0 && thread->feed_bytes >= quota / 16;
}

/* Between two records, under load: what is due by count or by clock. */
static bool
keep_pace(ScorerThread *thread, Error *err)
{
	int64_t now = clock_monotonic_us();

	if (thread->changes >= (uint64_t) thread->config->store.commit_changes ||
		now - thread->commit_us >= thread->config->store.commit_time_ms * 1000 ||
		store_pending(thread->state->store) >= PENDING_BYTES_MAX || fills_feed(thread))
	{
		if (!commit(thread, now, err))
			return false;
	}
	else if (now - thread->flush_us >= FLUSH_US && !flush_feed(thread, now, err))
		return false;
	if (now - thread->view_us >= VIEW_US)
		publish(thread, now);
	return true;
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool
take_part(ScorerThread *thread, PartType type, Slice bytes, Error *err)
{
	bool consumed = false;
	bool ready;

	while (!consumed)
	{
		if (!scorer_part(thread->state->scorer, type, bytes, &ready, &consumed, err))
			return false;
		if (ready && (!take_record(thread, err) || !keep_pace(thread, err)))
			return false;
	}
	return true;
}

static bool
end_unit(ScorerThread *thread, const Unit *unit, Error *err)
{
	if (!scorer_end(thread->state->scorer, err) || !take_record(thread, err) || !keep_pace(thread, err))
		return false;
	if (unit->kind != UNIT_BACKFILL || unit->step != BACKFILL_END || !unit->last_chunk)
		return true;
	/* a copy is one of the last commit */
	if (!commit(thread, clock_monotonic_us(), err))
		return false;
	scorer_thread_snapshot(thread);
	return true;
}

/* The journal has nothing more: everybody may see what there is. */
static bool
idle(ScorerThread *thread, Error *err)
{
	int64_t now = clock_monotonic_us();
	int64_t wait_us = VIEW_US * 10;
	int64_t due = thread->commit_us + thread->config->store.commit_time_ms * 1000;

	if (!flush_feed(thread, now, err))
		return false;
	if (thread->uncommitted && now >= due && !commit(thread, now, err))
		return false;
	if (thread->stale && now - thread->view_us >= VIEW_IDLE_US)
		publish(thread, now);
	if (thread->stale)
		wait_us = VIEW_IDLE_US;
	if (thread->uncommitted && due - now < wait_us)
		wait_us = due - now > 1000 ? due - now : 1000;
	journal_reader_wait(thread->reader, wait_us);
	return true;
}

static bool
may_end(ScorerThread *thread, bool nothing)
{
	return atomic_load(&thread->stop) &&
		   (nothing || clock_monotonic_us() >= atomic_load(&thread->deadline_us));
}

static bool
score_journal(ScorerThread *thread, Error *err)
{
	Unit unit = {0};
	PartType type;
	Slice bytes;

	for (;;)
	{
		JournalEvent event = journal_reader_next(thread->reader, &unit, &type, &bytes, err);
		bool ok = true;

		switch (event)
		{
			case JOURNAL_UNIT:
				ok = scorer_begin(thread->state->scorer, &unit, err);
				break;
			case JOURNAL_PART:
				ok = take_part(thread, type, bytes, err);
				break;
			case JOURNAL_UNIT_END:
				ok = end_unit(thread, &unit, err);
				if (ok && atomic_load_explicit(&thread->asked, memory_order_relaxed))
					answer(thread);
				if (ok && may_end(thread, false))
					return commit(thread, clock_monotonic_us(), err);
				break;
			case JOURNAL_RELATION:
				ok = scorer_relation(thread->state->scorer, bytes, err);
				break;
			case JOURNAL_NOTHING:
				if (may_end(thread, true))
					return commit(thread, clock_monotonic_us(), err);
				if (atomic_load(&thread->asked))
					answer(thread);
				ok = idle(thread, err);
				break;
			case JOURNAL_ERROR:
				return false;
		}
		if (!ok)
			return error_wrap(err, "scoring unit %llu", (unsigned long long) unit.seq);
	}
}

static void *
scorer_main(void *arg)
{
	ScorerThread *thread = arg;
	Error err;
	StorePosition position = store_position(thread->state->store);

	pthread_setname_np(pthread_self(), "scorer");
	thread->commit_us = thread->flush_us = clock_monotonic_us();
	if (!journal_reader_open(thread->state->journal, position.seq + 1, &thread->reader, &err) ||
		!score_journal(thread, &err))
		thread->failed(thread->context, &err);
	publish(thread, clock_monotonic_us());
	if (thread->reader != NULL)
		journal_reader_close(thread->reader);
	return NULL;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

/* R3: a snapshot at seq counts only when journal and feed are synced through seq. */
static bool
snapshot_barrier(void *arg, uint64_t seq, Error *err)
{
	ScorerThread *thread = arg;

	if (!journal_wait_durable(thread->state->journal, seq, BARRIER_WAIT_US))
		return error_set(err, ERR_RETRY, "the journal was not synced in time for a snapshot");
	return state_sync_feed(thread->state, err);
}

static bool
wait_for_turn(ScorerThread *thread, bool *newest_only)
{
	int64_t begun = clock_monotonic_us();
	bool due = false;

	pthread_mutex_lock(&thread->lock);
	while (!thread->snapshot_ended && !due)
	{
		struct timespec until = at_time(clock_monotonic_us() + 1000000);

		pthread_cond_timedwait(&thread->moved, &thread->lock, &until);
		due = thread->snapshot_wanted || thread->newest_only_wanted ||
			  clock_monotonic_us() - begun >= thread->config->store.snapshot_interval_ms * 1000;
	}
	*newest_only = thread->newest_only_wanted && !thread->snapshot_wanted;
	thread->newest_only_wanted = false;
	thread->snapshot_wanted = false;
	due = !thread->snapshot_ended;
	pthread_mutex_unlock(&thread->lock);
	return due;
}

static bool
drop_older(ScorerThread *thread, Error *err)
{
	log_line(LOG_WARNING, "older store snapshots give way: without that journal and feed stay full");
	return store_newest_snapshot_only(thread->state->store, err);
}

static void *
snapshot_main(void *arg)
{
	ScorerThread *thread = arg;
	bool newest_only;
	Error err;
	uint64_t seq;

	pthread_setname_np(pthread_self(), "snapshot");
	while (wait_for_turn(thread, &newest_only))
	{
		if (newest_only ? drop_older(thread, &err) : store_snapshot(thread->state->store, &seq, &err))
		{
			pthread_mutex_lock(&thread->lock);
			thread->view.snapshots += !newest_only;
			pthread_mutex_unlock(&thread->lock);
		}
		else if (err.class == ERR_DISK || err.class == ERR_RESTART)
		{
			thread->failed(thread->context, &err);
			break;
		}
		else if (!atomic_load(&thread->stop))
			log_error(LOG_WARNING, &err, "no store snapshot this time");
	}
	return NULL;
}

void
scorer_thread_snapshot(ScorerThread *thread)
{
	pthread_mutex_lock(&thread->lock);
	thread->snapshot_wanted = true;
	pthread_cond_broadcast(&thread->moved);
	pthread_mutex_unlock(&thread->lock);
}

void
scorer_thread_newest_snapshot_only(ScorerThread *thread)
{
	pthread_mutex_lock(&thread->lock);
	thread->newest_only_wanted = true;
	pthread_cond_broadcast(&thread->moved);
	pthread_mutex_unlock(&thread->lock);
}

/* ---- life ----------------------------------------------------------------------------------- */

ScorerThread *
scorer_thread_start(State *state, const Config *config, ThreadFailed failed, void *context)
{
	ScorerThread *thread = xcalloc(1, sizeof(*thread));

	thread->state = state;
	thread->config = config;
	thread->failed = failed;
	thread->context = context;
	pthread_mutex_init(&thread->lock, NULL);
	pthread_mutex_init(&thread->asking, NULL);
	init_cond(&thread->moved);
	store_set_barrier(state->store, snapshot_barrier, thread);
	thread->own.committed = store_position(state->store).seq;
	publish(thread, clock_monotonic_us());
	pthread_create(&thread->thread, NULL, scorer_main, thread);
	pthread_create(&thread->snapshot_thread, NULL, snapshot_main, thread);
	return thread;
}

void
scorer_thread_stop(ScorerThread *thread, int64_t timeout_us)
{
	atomic_store(&thread->deadline_us, clock_monotonic_us() + timeout_us);
	atomic_store(&thread->stop, true);
	pthread_mutex_lock(&thread->lock);
	thread->snapshot_ended = true;
	pthread_cond_broadcast(&thread->moved);
	pthread_mutex_unlock(&thread->lock);
	store_snapshot_cancel(thread->state->store);
	journal_wake(thread->state->journal);
	pthread_join(thread->snapshot_thread, NULL);
	pthread_join(thread->thread, NULL);
}

void
scorer_thread_destroy(ScorerThread *thread)
{
	if (thread == NULL)
		return;
	pthread_mutex_destroy(&thread->lock);
	pthread_mutex_destroy(&thread->asking);
	pthread_cond_destroy(&thread->moved);
	free(thread);
}
