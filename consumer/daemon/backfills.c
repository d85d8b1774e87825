/*
 * backfills.c -- see backfills.h.
 */
#include "daemon/backfills.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define RETRY_US INT64_C(3000000)
#define ABSENT_US INT64_C(60000000)
#define ABSENT_MAX 64

typedef struct Absent
{
	char relation[160];
	int64_t until_us;
} Absent;

struct Backfills
{
	SourceSettings settings;
	Journal *journal;
	ThreadFailed failed;
	void *context;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	atomic_bool stop;
	BackfillsStatus status; /* running: the thread has a table, or the answer was not seen yet */
	uint64_t settled_seq;	/* the scorer must be past it before its word about tables counts */
	int64_t retry_us;
	char said[1024];		   /* the thread's own: the error last logged */
	Absent absent[ABSENT_MAX]; /* consider's own */
	int nabsent;
	bool interrupted; /* a crash left the table's backfill open: its snapshot is gone, it begins again */
};

static const char *const config_tables[] = {"walrank.watched", "walrank.ranking", "walrank.control"};
#define CONFIG_TABLES 3
#define CONFIG_TABLES_NEEDED 2 /* control feeds no scorer state: read when it is asked for */

/* ---- the thread ----------------------------------------------------------------------------- */

static void
note_progress(void *arg, const BackfillProgress *progress)
{
	Backfills *backfills = arg;

	pthread_mutex_lock(&backfills->lock);
	backfills->status.progress = *progress;
	pthread_mutex_unlock(&backfills->lock);
}

static void
read_one(Backfills *backfills, const char *relation)
{
	BackfillContext context = {&backfills->settings, backfills->journal, &backfills->stop, note_progress,
							   backfills};
	JournalHead head;
	Error err;
	bool ok = backfill_table(&context, relation, backfills->interrupted, &err);

	if (!ok && (err.class == ERR_DISK || err.class == ERR_RESTART))
		backfills->failed(backfills->context, &err);
	else if (!ok && !atomic_load(&backfills->stop) && strcmp(backfills->said, err.message) != 0)
		log_error(LOG_WARNING, &err, "will try again"); /* a lasting state is said once */
	snprintf(backfills->said, sizeof(backfills->said), "%s", ok ? "" : err.message);
	journal_appended(backfills->journal, &head);
	pthread_mutex_lock(&backfills->lock);
	if (ok)
		log_line(LOG_INFO, "backfill of %s: %llu rows as of " LSN_FORMAT, relation,
				 (unsigned long long) backfills->status.progress.rows,
				 LSN_ARGS(backfills->status.progress.point));
	backfills->status.done += ok;
	backfills->status.failed += !ok;
	snprintf(backfills->status.error, sizeof(backfills->status.error), "%s", ok ? "" : err.message);
	backfills->retry_us = ok ? 0 : clock_monotonic_us() + (err.class == ERR_DATA ? ABSENT_US : RETRY_US);
	if (!ok && err.class == ERR_DATA && backfills->nabsent < ABSENT_MAX)
	{
		Absent *absent = &backfills->absent[backfills->nabsent++];

		snprintf(absent->relation, sizeof(absent->relation), "%s", relation);
		absent->until_us = backfills->retry_us;
		backfills->retry_us = 0;
	}
	backfills->settled_seq = head.seq;
	backfills->status.running = false;
	pthread_mutex_unlock(&backfills->lock);
}

static void *
backfills_main(void *arg)
{
	Backfills *backfills = arg;
	char relation[sizeof(backfills->status.relation)];

	pthread_setname_np(pthread_self(), "backfill");
	for (;;)
	{
		pthread_mutex_lock(&backfills->lock);
		while (!backfills->status.running && !atomic_load(&backfills->stop))
			pthread_cond_wait(&backfills->moved, &backfills->lock);
		memcpy(relation, backfills->status.relation, sizeof(relation));
		pthread_mutex_unlock(&backfills->lock);
		if (atomic_load(&backfills->stop))
			return NULL;
		read_one(backfills, relation);
	}
}

Backfills *
backfills_start(const SourceSettings *settings, Journal *journal, ThreadFailed failed, void *context)
{
	Backfills *backfills = xcalloc(1, sizeof(*backfills));
	JournalHead head;

	backfills->settings = *settings;
	backfills->journal = journal;
	backfills->failed = failed;
	backfills->context = context;
	journal_appended(journal, &head);
	backfills->settled_seq = head.seq; /* the scorer has to have read what the last run left */
	pthread_mutex_init(&backfills->lock, NULL);
	pthread_cond_init(&backfills->moved, NULL);
	pthread_create(&backfills->thread, NULL, backfills_main, backfills);
	return backfills;
}

void
backfills_stop(Backfills *backfills)
{
	pthread_mutex_lock(&backfills->lock);
	atomic_store(&backfills->stop, true);
	pthread_cond_broadcast(&backfills->moved);
	pthread_mutex_unlock(&backfills->lock);
	pthread_join(backfills->thread, NULL);
}

void
backfills_destroy(Backfills *backfills)
{
	if (backfills == NULL)
		return;
	pthread_mutex_destroy(&backfills->lock);
	pthread_cond_destroy(&backfills->moved);
	free(backfills);
}

void
backfills_status(Backfills *backfills, BackfillsStatus *status)
{
	pthread_mutex_lock(&backfills->lock);
	*status = backfills->status;
	pthread_mutex_unlock(&backfills->lock);
}

/* ---- what next ------------------------------------------------------------------------------ */

/* Called with the lock held. */
static bool
is_absent(Backfills *backfills, const char *relation)
{
	int64_t now = clock_monotonic_us();

	for (int i = 0; i < backfills->nabsent; i++)
	{
		if (strcmp(backfills->absent[i].relation, relation) != 0)
			continue;
		if (now < backfills->absent[i].until_us)
			return true;
		backfills->absent[i] = backfills->absent[--backfills->nabsent];
		return false;
	}
	return false;
}

static const ScorerTable *
find_table(const ScorerView *view, const char *relation)
{
	for (int i = 0; i < view->ntables; i++)
		if (strcmp(view->tables[i].relation, relation) == 0)
			return &view->tables[i];
	return NULL;
}

static bool
is_config(const char *relation)
{
	for (int i = 0; i < CONFIG_TABLES; i++)
		if (strcmp(config_tables[i], relation) == 0)
			return true;
	return false;
}

static bool
needs_reading(const ScorerTable *table)
{
	return table->state != 2 || table->lost;
}

static const char *
next_table(Backfills *backfills, const ScorerView *view)
{
	const char *best = NULL;

	for (int i = 0; i < CONFIG_TABLES; i++)
	{
		const ScorerTable *table = find_table(view, config_tables[i]);

		if ((table == NULL ? i < CONFIG_TABLES_NEEDED : needs_reading(table)) &&
			!is_absent(backfills, config_tables[i]))
			return config_tables[i];
	}
	for (int i = 0; i < view->ntables; i++)
	{
		const ScorerTable *table = &view->tables[i];

		if (needs_reading(table) && !is_config(table->relation) && !is_absent(backfills, table->relation) &&
			(best == NULL || strcmp(table->relation, best) < 0))
			best = table->relation;
	}
	return best;
}

void
backfills_consider(Backfills *backfills, const ScorerView *view)
{
	const char *next = NULL;
	const ScorerTable *table;

	pthread_mutex_lock(&backfills->lock);
	if (!backfills->status.running && !atomic_load(&backfills->stop) &&
		view->position.seq >= backfills->settled_seq && clock_monotonic_us() >= backfills->retry_us)
		next = next_table(backfills, view);
	if (next != NULL)
	{
		snprintf(backfills->status.relation, sizeof(backfills->status.relation), "%s", next);
		table = find_table(view, next);
		backfills->interrupted = table != NULL && table->state == 1;
		memset(&backfills->status.progress, 0, sizeof(backfills->status.progress));
		backfills->status.running = true;
		pthread_cond_broadcast(&backfills->moved);
	}
	pthread_mutex_unlock(&backfills->lock);
}
