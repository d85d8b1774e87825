/*
 * backfills.c -- see backfills.h.
 */
#include "daemon/backfills.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#define RETRY_US INT64_C(3000000)	   /* after a failure, doubled while it lasts .. */
#define RETRY_MAX_US INT64_C(30000000) /* .. up to this */
#define ABSENT_US INT64_C(60000000)	   /* there is no such table, or it is none that can be read */

#define WISHES_MAX SCORER_TABLES_MAX
#define WISHES_NAME                                                                                          \
	"backfills" /* in the state directory: a line for each wish, "start RELATION" or "cancel RELATION" */
#define WISHES_BYTES_MAX (WISHES_MAX * 272)

/* What somebody asked for; of others there is none. */
typedef struct Wish
{
	char relation[264];
	BackfillWish wish;
} Wish;

/* A table that could not be read: the others have their turn before it is tried again. */
typedef struct Aside
{
	BackfillFailure failure;
	int64_t delay_us;
	int64_t until_us;
} Aside;

struct Backfills
{
	int dirfd; /* the state directory's */
	SourceSettings settings;
	const BackfillLimits *limits;
	Journal *journal;
	ScorerThread *scorer;
	ThreadFailed failed;
	void *context;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	atomic_bool stop;
	atomic_bool halt;		/* of the table being read: stop, or it was given up */
	BackfillsStatus status; /* running: the thread has a table, or the answer was not seen yet */
	uint64_t settled_seq;	/* the scorer must be past it before its word about tables counts */
	int64_t retry_us;
	Aside aside[BACKFILL_FAILURES_MAX];
	int naside;
	uint32_t oid;	 /* of the table being read; 0: no unit has used it yet */
	ScorerFill fill; /* of it, the thread's own */
	Wish wishes[WISHES_MAX];
	int nwishes;
};

static const char *const config_tables[] = {"walrank.watched", "walrank.rule_library", "walrank.ranking",
											"walrank.intervention", "walrank.control"};
#define CONFIG_TABLES 5
#define CONFIG_TABLES_NEEDED                                                                                 \
	SCORER_CONFIG_TABLES /* control feeds no scorer state: read when it is asked for */

static const char *const wish_words[] = {"", "start", "cancel"};

/* ---- what was asked for outlives the process ----------------------------------------------------- */

static bool
save_wishes(Backfills *backfills, Error *err)
{
	Buffer text = {0};
	bool ok;

	for (int i = 0; i < backfills->nwishes; i++)
		buffer_printf(&text, "%s %s\n", wish_words[backfills->wishes[i].wish], backfills->wishes[i].relation);
	ok = fs_replace(backfills->dirfd, WISHES_NAME, buffer_slice(&text), err);
	buffer_free(&text);
	return ok;
}

/* A line that says nothing readable asks for nothing. */
static void
parse_wish(Backfills *backfills, const char *line)
{
	Wish *wish = &backfills->wishes[backfills->nwishes];

	for (int w = BACKFILL_ASKED; w <= BACKFILL_HELD; w++)
	{
		const size_t len = strlen(wish_words[w]);

		if (strncmp(line, wish_words[w], len) != 0 || line[len] != ' ' || line[len + 1] == '\0' ||
			strlen(line + len + 1) >= sizeof(wish->relation))
			continue;
		snprintf(wish->relation, sizeof(wish->relation), "%s", line + len + 1);
		wish->wish = (BackfillWish) w;
		backfills->nwishes++;
	}
}

static bool
load_wishes(Backfills *backfills, Error *err)
{
	char *text = xmalloc(WISHES_BYTES_MAX + 1);
	size_t len = 0;
	bool found;
	char *rest;
	bool ok = fs_read_file(backfills->dirfd, WISHES_NAME, WISHES_BYTES_MAX, text, &len, &found, err);

	text[ok && found ? len : 0] = '\0';
	for (char *line = strtok_r(text, "\n", &rest); line != NULL && backfills->nwishes < WISHES_MAX;
		 line = strtok_r(NULL, "\n", &rest))
		parse_wish(backfills, line);
	free(text);
	return ok || error_wrap(err, "what was asked for of backfills");
}

/* What is not kept is asked for again, or not, after the next start: nothing is lost by that. */
static void
keep_wishes(Backfills *backfills)
{
	Error err;

	if (!save_wishes(backfills, &err))
		log_error(LOG_WARNING, &err, "what was asked for of backfills is not kept");
}

/* ---- the thread ----------------------------------------------------------------------------- */

static void
note_progress(void *arg, const BackfillProgress *progress)
{
	Backfills *backfills = arg;

	pthread_mutex_lock(&backfills->lock);
	backfills->status.progress = *progress;
	pthread_mutex_unlock(&backfills->lock);
}

/* Called with the lock held, as all below that take no lock. */
static Wish *
find_wish(Backfills *backfills, const char *relation)
{
	for (int i = 0; i < backfills->nwishes; i++)
		if (strcmp(backfills->wishes[i].relation, relation) == 0)
			return &backfills->wishes[i];
	return NULL;
}

static Aside *
find_aside(Backfills *backfills, const char *relation)
{
	for (int i = 0; i < backfills->naside; i++)
		if (strcmp(backfills->aside[i].failure.relation, relation) == 0)
			return &backfills->aside[i];
	return NULL;
}

/* With no room left the one whose time comes first gives way: it is only tried earlier. */
static Aside *
new_aside(Backfills *backfills, const char *relation)
{
	Aside *aside = &backfills->aside[0];

	if (backfills->naside < BACKFILL_FAILURES_MAX)
		aside = &backfills->aside[backfills->naside++];
	else
		for (int i = 1; i < backfills->naside; i++)
			if (backfills->aside[i].until_us < aside->until_us)
				aside = &backfills->aside[i];
	memset(aside, 0, sizeof(*aside));
	snprintf(aside->failure.relation, sizeof(aside->failure.relation), "%s", relation);
	return aside;
}

static void
drop_aside(Backfills *backfills, Aside *aside)
{
	if (aside != NULL)
		*aside = backfills->aside[--backfills->naside];
}

/* Returns whether it is news: a lasting state is said once. */
static bool
set_aside(Backfills *backfills, const char *relation, const Error *err)
{
	Aside *aside = find_aside(backfills, relation);
	int64_t now = clock_monotonic_us();
	bool news;

	if (aside == NULL)
		aside = new_aside(backfills, relation);
	news = strncmp(aside->failure.error, err->message, sizeof(aside->failure.error) - 1) != 0;
	snprintf(aside->failure.error, sizeof(aside->failure.error), "%s", err->message);
	aside->delay_us = aside->delay_us == 0 ? RETRY_US : aside->delay_us * 2;
	if (aside->delay_us > RETRY_MAX_US)
		aside->delay_us = RETRY_MAX_US;
	aside->until_us = now + (err->class == ERR_DATA ? ABSENT_US : aside->delay_us);
	if (err->class != ERR_DATA)
		backfills->retry_us = now + RETRY_US; /* perhaps it is the server: no storm of attempts */
	return news;
}

static bool
listed_keys(void *arg, uint32_t oid, uint64_t seq, Buffer *keys, Error *err)
{
	Backfills *backfills = arg;
	ScorerFill *fill = &backfills->fill;

	if (!scorer_thread_fill(backfills->scorer, oid, seq, UINT64_MAX, &backfills->halt, fill, err))
		return false;
	buffer_reset(keys);
	buffer_append_slice(keys, buffer_slice(&fill->keys));
	return true;
}

/* Goes on where the last END was, if nothing speaks against it. */
static bool
read_table(Backfills *backfills, const char *relation, Error *err)
{
	BackfillContext context = {&backfills->settings, backfills->journal, backfills->limits, &backfills->halt,
							   note_progress,		 listed_keys,		 backfills};
	BackfillPlan plan = {.relation = relation};
	ScorerFill *fill = &backfills->fill;
	uint64_t keys_max = (uint64_t) atomic_load(&backfills->limits->keys_max);
	Buffer resume = {0};
	bool failed;
	bool ok;

	if (!scorer_thread_fill(backfills->scorer, backfills->oid, backfills->settled_seq, 0, &backfills->halt,
							fill, err))
		return false;
	plan.open = fill->open;
	plan.open_id = fill->open_id;
	plan.open_chunk = fill->open_chunk;
	plan.open_oid = backfills->oid;
	/* a round that failed may have met a key that cannot be written in SQL: then all is read */
	pthread_mutex_lock(&backfills->lock);
	failed = find_aside(backfills, relation) != NULL;
	pthread_mutex_unlock(&backfills->lock);
	if (fill->id != 0 && (!fill->scanned || (fill->listed <= keys_max && !failed)))
	{
		plan.id = fill->id;
		plan.chunk = fill->chunk;
		plan.keys = fill->scanned;
		buffer_append_slice(&resume, buffer_slice(&fill->resume));
		plan.resume = buffer_slice(&resume);
	}
	ok = backfill_table(&context, &plan, err);
	buffer_free(&resume);
	return ok;
}

/* Read, or given up by somebody: what was asked for is done. */
static void
drop_request(Backfills *backfills, const char *relation)
{
	Wish *wish = find_wish(backfills, relation);

	if (wish == NULL || wish->wish != BACKFILL_ASKED)
		return;
	*wish = backfills->wishes[--backfills->nwishes];
	keep_wishes(backfills);
}

static void
read_one(Backfills *backfills, const char *relation)
{
	JournalHead head;
	Error err;
	bool ok = read_table(backfills, relation, &err);
	bool stopped = atomic_load(&backfills->halt);
	bool news = false;

	if (!ok && (err.class == ERR_DISK || err.class == ERR_RESTART))
		backfills->failed(backfills->context, &err);
	journal_appended(backfills->journal, &head);
	pthread_mutex_lock(&backfills->lock);
	if (ok)
	{
		log_line(LOG_INFO, "backfill of %s: %llu rows as of " LSN_FORMAT, relation,
				 (unsigned long long) backfills->status.progress.rows,
				 LSN_ARGS(backfills->status.progress.point));
		drop_aside(backfills, find_aside(backfills, relation));
		drop_request(backfills, relation);
		backfills->retry_us = 0;
	}
	else if (!stopped)
		news = set_aside(backfills, relation, &err);
	backfills->status.done += ok;
	backfills->status.failed += !ok && !stopped;
	snprintf(backfills->status.error, sizeof(backfills->status.error), "%s",
			 ok || stopped ? "" : err.message);
	backfills->settled_seq = head.seq;
	backfills->status.running = false;
	pthread_mutex_unlock(&backfills->lock);
	if (news)
		log_error(LOG_WARNING, &err, "table is set aside, will try again");
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

bool
backfills_start(int state_dirfd, const SourceSettings *settings, const BackfillLimits *limits,
				Journal *journal, ScorerThread *scorer, ThreadFailed failed, void *context,
				Backfills **started, Error *err)
{
	Backfills *backfills = xcalloc(1, sizeof(*backfills));
	JournalHead head;

	backfills->dirfd = state_dirfd;
	if (!load_wishes(backfills, err))
	{
		free(backfills);
		return false;
	}
	backfills->settings = *settings;
	backfills->limits = limits;
	backfills->journal = journal;
	backfills->scorer = scorer;
	backfills->failed = failed;
	backfills->context = context;
	journal_appended(journal, &head);
	backfills->settled_seq = head.seq; /* the scorer has to have read what the last run left */
	pthread_mutex_init(&backfills->lock, NULL);
	pthread_cond_init(&backfills->moved, NULL);
	pthread_create(&backfills->thread, NULL, backfills_main, backfills);
	*started = backfills;
	return true;
}

void
backfills_stop(Backfills *backfills)
{
	pthread_mutex_lock(&backfills->lock);
	atomic_store(&backfills->stop, true);
	atomic_store(&backfills->halt, true);
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
	scorer_fill_free(&backfills->fill);
	free(backfills);
}

void
backfills_status(Backfills *backfills, BackfillsStatus *status)
{
	pthread_mutex_lock(&backfills->lock);
	*status = backfills->status;
	pthread_mutex_unlock(&backfills->lock);
}

bool
backfills_failure(Backfills *backfills, int i, BackfillFailure *failure)
{
	bool found;

	pthread_mutex_lock(&backfills->lock);
	found = i < backfills->naside;
	if (found)
		*failure = backfills->aside[i].failure;
	pthread_mutex_unlock(&backfills->lock);
	return found;
}

/* ---- what next ------------------------------------------------------------------------------ */

static bool
is_aside(Backfills *backfills, const char *relation)
{
	const Aside *aside = find_aside(backfills, relation);

	return aside != NULL && clock_monotonic_us() < aside->until_us;
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

/* Asked for, or in need of it and not held. */
static bool
wants_reading(Backfills *backfills, const ScorerTable *table)
{
	const Wish *wish = find_wish(backfills, table->relation);

	return wish != NULL ? wish->wish == BACKFILL_ASKED : needs_reading(table);
}

/* What nobody asks for any more has not failed. */
static void
forget_unwanted(Backfills *backfills, const ScorerView *view)
{
	for (int i = backfills->naside - 1; i >= 0; i--)
	{
		const char *relation = backfills->aside[i].failure.relation;
		const ScorerTable *table = find_table(view, relation);

		if (table == NULL ? !is_config(relation) : !wants_reading(backfills, table))
			drop_aside(backfills, &backfills->aside[i]);
	}
}

/* A table that is watched anew later begins anew. */
static void
forget_unwatched(Backfills *backfills, const ScorerView *view)
{
	const int before = backfills->nwishes;

	for (int i = backfills->nwishes - 1; i >= 0; i--)
	{
		const char *relation = backfills->wishes[i].relation;

		if (find_table(view, relation) == NULL && !is_config(relation))
			backfills->wishes[i] = backfills->wishes[--backfills->nwishes];
	}
	if (backfills->nwishes != before)
		keep_wishes(backfills);
}

static const char *
next_table(Backfills *backfills, const ScorerView *view)
{
	const char *best = NULL;

	for (int i = 0; i < CONFIG_TABLES; i++)
	{
		const ScorerTable *table = find_table(view, config_tables[i]);

		if ((table == NULL ? i < CONFIG_TABLES_NEEDED : wants_reading(backfills, table)) &&
			!is_aside(backfills, config_tables[i]))
			return config_tables[i];
	}
	for (int i = 0; i < view->ntables; i++)
	{
		const ScorerTable *table = &view->tables[i];

		if (wants_reading(backfills, table) && !is_config(table->relation) &&
			!is_aside(backfills, table->relation) && (best == NULL || strcmp(table->relation, best) < 0))
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
	forget_unwanted(backfills, view);
	if (view->position.seq >= backfills->settled_seq)
		forget_unwatched(backfills, view);
	if (!backfills->status.running && !atomic_load(&backfills->stop) &&
		view->position.seq >= backfills->settled_seq && clock_monotonic_us() >= backfills->retry_us)
		next = next_table(backfills, view);
	if (next != NULL)
	{
		snprintf(backfills->status.relation, sizeof(backfills->status.relation), "%s", next);
		table = find_table(view, next);
		backfills->oid = table != NULL ? table->oid : 0;
		atomic_store(&backfills->halt, false);
		memset(&backfills->status.progress, 0, sizeof(backfills->status.progress));
		backfills->status.running = true;
		pthread_cond_broadcast(&backfills->moved);
	}
	pthread_mutex_unlock(&backfills->lock);
}

/* ---- what people ask for -------------------------------------------------------------------- */

BackfillWish
backfills_wish(Backfills *backfills, const char *relation)
{
	const Wish *wish;
	BackfillWish found;

	pthread_mutex_lock(&backfills->lock);
	wish = find_wish(backfills, relation);
	found = wish != NULL ? wish->wish : BACKFILL_IDLE;
	pthread_mutex_unlock(&backfills->lock);
	return found;
}

static void
set_wish(Backfills *backfills, const char *relation, BackfillWish wanted)
{
	Wish *wish = find_wish(backfills, relation);

	if (wish == NULL && backfills->nwishes == WISHES_MAX)
		return; /* as many as there can be tables */
	if (wish == NULL)
		wish = &backfills->wishes[backfills->nwishes++];
	snprintf(wish->relation, sizeof(wish->relation), "%s", relation);
	wish->wish = wanted;
}

/* The table itself, or its name without the schema. */
static bool
is_meant(const char *relation, const char *name)
{
	size_t len = strlen(relation);
	size_t tail = strlen(name);

	return strcmp(relation, name) == 0 ||
		   (len > tail && relation[len - tail - 1] == '.' && strcmp(relation + len - tail, name) == 0);
}

/* Into names, one per line; the table meant exactly wins. */
static bool
meant(const ScorerView *view, const char *name, Buffer *names, Error *err)
{
	int found = 0;

	for (int i = 0; i < view->ntables; i++)
		if (name == NULL || is_meant(view->tables[i].relation, name))
		{
			found++;
			buffer_printf(names, "%s\n", view->tables[i].relation);
		}
	if (name != NULL && found > 1 && find_table(view, name) != NULL)
	{
		buffer_reset(names);
		buffer_printf(names, "%s\n", name);
		found = 1;
	}
	if (name == NULL || found == 1)
		return true;
	buffer_reset(names);
	return found == 0 ? error_set(err, ERR_CONFIG,
								  "%s is not watched: name a table of \"walrank backfill list\", or watch it "
								  "with walrank.watch()",
								  name)
					  : error_set(err, ERR_CONFIG, "%s is more than one table: name its schema too", name);
}

static void
wish_for(Backfills *backfills, const Buffer *names, BackfillWish wanted)
{
	char relation[264];

	for (size_t at = 0; at < names->len;)
	{
		size_t len =
			(size_t) ((uint8_t *) memchr(names->data + at, '\n', names->len - at) - names->data) - at;

		snprintf(relation, sizeof(relation), "%.*s", (int) len, (const char *) names->data + at);
		at += len + 1;
		set_wish(backfills, relation, wanted);
		if (wanted == BACKFILL_ASKED)
			drop_aside(backfills, find_aside(backfills, relation));
		else if (backfills->status.running && strcmp(backfills->status.relation, relation) == 0)
			atomic_store(&backfills->halt, true);
	}
}

bool
backfills_wish_for(Backfills *backfills, const ScorerView *view, const char *relation, BackfillWish wish,
				   bool dry_run, Buffer *names, Error *err)
{
	bool ok;

	if (!meant(view, relation, names, err))
		return false;
	if (dry_run)
		return true;
	pthread_mutex_lock(&backfills->lock);
	wish_for(backfills, names, wish);
	ok = save_wishes(backfills, err);
	pthread_mutex_unlock(&backfills->lock);
	return ok || error_wrap(err, "it is done, but not kept for the next start");
}
