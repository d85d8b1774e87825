/*
 * housekeeping.c -- see housekeeping.h.
 */
#include "daemon/housekeeping.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/rescoring.h"
#include "daemon/space.h"
#include "daemon/timers.h"

#define STEP_US INT64_C(200000)
#define APPEND_WAIT_US INT64_C(100000)

struct Housekeeping
{
	HousekeepingParts parts;
	pthread_t thread;
	atomic_bool stop;
	PGconn *beat;
	bool beat_failing;
	bool progress_failing;
	bool progress_told; /* rows of ours may be in walrank.progress */
	int64_t beat_us;	/* next one */
	Space *space;
	uint64_t asked_seq; /* the last unit appended because the scorer asked, or before us */
	Rescoring *rescoring;
	ScorerView view;
};

/* ---- progress ------------------------------------------------------------------------------- */

#define JOBS_MAX 2

static int
running_jobs(const ScorerRescore *rescore, const BackfillsStatus *backfill, SourceJob jobs[JOBS_MAX])
{
	int n = 0;

	if (rescore->job != 0 && rescore->relation[0] != '\0')
		jobs[n++] = (SourceJob){rescore->relation, "rescore", rescore->items, rescore->items_all};
	if (backfill->running && backfill->relation[0] != '\0')
		jobs[n++] = (SourceJob){backfill->relation, "backfill", backfill->progress.rows,
								backfill->progress.estimated};
	return n;
}

/* For people alone: that it cannot be told is no reason to be without the beat. */
static void
tell_progress(Housekeeping *housekeeping, const StreamId *stream_id)
{
	SourceJob jobs[JOBS_MAX];
	BackfillsStatus backfill;
	Error err;
	int n;

	backfills_status(housekeeping->parts.backfills, &backfill);
	n = running_jobs(&housekeeping->view.wants.rescore, &backfill, jobs);
	if (n == 0 && !housekeeping->progress_told)
		return;
	if (source_progress(housekeeping->beat, stream_id, jobs, n, &err))
	{
		housekeeping->progress_told = n > 0;
		housekeeping->progress_failing = false;
		return;
	}
	if (!housekeeping->progress_failing)
		log_error(LOG_WARNING, &err, "progress");
	housekeeping->progress_failing = true;
}

/* ---- the beat ------------------------------------------------------------------------------- */

static void
beat(Housekeeping *housekeeping)
{
	const JournalIdentity *ours = journal_identity(housekeeping->parts.state->journal);
	ReceiverStatus status;
	Error err;

	receiver_status(housekeeping->parts.receiver, &status);
	if (status.state != RECEIVER_STREAMING)
		return; /* the receiver says what is wrong */
	if (housekeeping->beat == NULL &&
		!source_connect_until(housekeeping->parts.settings->conninfo, SOURCE_SQL, &housekeeping->stop,
							  &housekeeping->beat, &err))
		goto failed;
	if (source_beat(housekeeping->beat, &ours->stream_id, &err))
	{
		housekeeping->beat_failing = false;
		tell_progress(housekeeping, &ours->stream_id);
		return;
	}
	PQfinish(housekeeping->beat);
	housekeeping->beat = NULL;
failed:
	if (!housekeeping->beat_failing)
		log_error(LOG_WARNING, &err, "beat");
	housekeeping->beat_failing = true;
}

/* ---- what the scorer asks for ---------------------------------------------------------------- */

/*
 * One at a time, also across a restart: the scorer's word is about what follows the last one.  A large transaction keeps
 * others from appending for as long as it takes; space has to be made, and the sinks' word passed on, all the same.
 */
static bool
append_asked(Housekeeping *housekeeping, Unit *unit, Slice detail, Error *err)
{
	if (housekeeping->view.position.seq < housekeeping->asked_seq)
		return true;
	if (journal_try_append(housekeeping->parts.state->journal, unit, PART_DETAIL, detail, APPEND_WAIT_US,
						   err))
		housekeeping->asked_seq = unit->seq;
	else if (err->class != ERR_SPACE && err->class != ERR_RETRY)
		return false;
	return true;
}

static bool
append_timer(Housekeeping *housekeeping, Error *err)
{
	const uint32_t limit = (uint32_t) housekeeping->parts.config->source.part_changes;
	Unit unit;

	return !timers_unit(&housekeeping->view.wants, clock_wall_us(), limit, &unit) ||
		   append_asked(housekeeping, &unit, slice_make(NULL, 0), err);
}

/* Every sink learns that something was not delivered. */
static bool
append_gap(Housekeeping *housekeeping, Error *err)
{
	const ScorerGap *gap = &housekeeping->view.wants.gap;
	Unit unit = {.kind = UNIT_GAP, .id = gap->seq, .point = gap->point};
	Buffer text = {0};
	bool ok;

	if (gap->seq == 0)
		return true;
	buffer_printf(&text, "publications lost: %s", gap->text);
	ok = append_asked(housekeeping, &unit, buffer_slice(&text), err);
	buffer_free(&text);
	return ok;
}

/* ---- the thread ----------------------------------------------------------------------------- */

static bool
check_sinks(Housekeeping *housekeeping, Error *err)
{
	SinkView sink;

	for (int i = 0; sinkset_view(housekeeping->parts.sinks, i, &sink); i++)
		if (sink.status.state == SINK_STOPPED &&
			(sink.status.reason == ERR_DISK || sink.status.reason == ERR_RESTART))
			return error_set(err, sink.status.reason, "sink \"%s\": %s", sink.name, sink.status.note);
	return true;
}

static bool
step(Housekeeping *housekeeping, Error *err)
{
	int64_t now = clock_monotonic_us();

	backfills_consider(housekeeping->parts.backfills, &housekeeping->view);
	if (!append_gap(housekeeping, err) || !append_timer(housekeeping, err) ||
		!rescoring_step(housekeeping->rescoring, &housekeeping->view, err) || !check_sinks(housekeeping, err))
		return false;
	if (now >= housekeeping->beat_us)
	{
		beat(housekeeping);
		housekeeping->beat_us = now + housekeeping->parts.config->daemon.beat_interval_ms * 1000;
	}
	/* for confirm = sinks: one that is paused or stopped holds the position as any other */
	receiver_set_sinks(housekeeping->parts.receiver, sinkset_lowest(housekeeping->parts.sinks));
	return space_step(housekeeping->space, &housekeeping->view, now, err) ||
		   (err->class != ERR_DISK && err->class != ERR_RESTART);
}

static void *
housekeeping_main(void *arg)
{
	Housekeeping *housekeeping = arg;
	Error err;

	pthread_setname_np(pthread_self(), "housekeeping");
	while (!atomic_load(&housekeeping->stop))
	{
		uint64_t version = scorer_thread_view(housekeeping->parts.scorer, &housekeeping->view);

		if (!step(housekeeping, &err))
		{
			housekeeping->parts.failed(housekeeping->parts.context, &err);
			break;
		}
		scorer_thread_wait(housekeeping->parts.scorer, version,
						   timers_wait_us(&housekeeping->view.wants, clock_wall_us(),
										  rescoring_wait_us(housekeeping->rescoring, STEP_US)));
	}
	PQfinish(housekeeping->beat);
	return NULL;
}

Housekeeping *
housekeeping_start(const HousekeepingParts *parts)
{
	Housekeeping *housekeeping = xcalloc(1, sizeof(*housekeeping));
	JournalHead head;

	housekeeping->parts = *parts;
	journal_appended(parts->state->journal, &head);
	housekeeping->space =
		space_create(parts->state, parts->config, parts->scorer, parts->sinks, parts->failed, parts->context);
	housekeeping->rescoring = rescoring_create(parts->state, parts->config, parts->sinks);
	housekeeping->progress_told = true; /* by an earlier run, for all we know */
	housekeeping->asked_seq = head.seq; /* what the last run appended for it, the scorer has yet to read */
	pthread_create(&housekeeping->thread, NULL, housekeeping_main, housekeeping);
	return housekeeping;
}

void
housekeeping_stop(Housekeeping *housekeeping)
{
	if (housekeeping == NULL)
		return;
	atomic_store(&housekeeping->stop, true);
	pthread_join(housekeeping->thread, NULL);
	space_destroy(housekeeping->space);
	rescoring_destroy(housekeeping->rescoring);
	free(housekeeping);
}
