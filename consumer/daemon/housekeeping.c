/*
 * housekeeping.c -- see housekeeping.h.
 */
#include "daemon/housekeeping.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define STEP_US INT64_C(200000)
#define TRIM_US INT64_C(10000000)
#define SAMPLES 256 /* of (time, seq), for the feed's minimum time */

typedef struct Sample
{
	int64_t at_us;
	uint64_t seq;
} Sample;

struct Housekeeping
{
	HousekeepingParts parts;
	pthread_t thread;
	atomic_bool stop;
	PGconn *beat;
	bool beat_failing;
	int64_t beat_us; /* next one */
	int64_t trim_us;
	uint64_t asked_seq; /* the last unit appended because the scorer asked, or before us */
	Sample samples[SAMPLES];
	int nsamples;
	ScorerView view;
};

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

/* One at a time, also across a restart: the scorer's word is about what follows the last one. */
static bool
append_asked(Housekeeping *housekeeping, Unit *unit, Slice detail, Error *err)
{
	if (housekeeping->view.position.seq < housekeeping->asked_seq)
		return true;
	if (journal_append(housekeeping->parts.state->journal, unit, PART_DETAIL, detail, false, err))
		housekeeping->asked_seq = unit->seq;
	else if (err->class != ERR_SPACE)
		return false;
	return true;
}

static bool
append_rescore(Housekeeping *housekeeping, Error *err)
{
	const ScorerWants *wants = &housekeeping->view.wants;
	Unit unit = {.kind = UNIT_RESCORE,
				 .id = wants->rescore_job,
				 .chunk = wants->rescore_chunk,
				 .limit = (uint32_t) housekeeping->parts.config->source.part_changes};

	return wants->rescore_job == 0 || append_asked(housekeeping, &unit, slice_make(NULL, 0), err);
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

/* ---- disk space ------------------------------------------------------------------------------ */

static uint64_t
slowest_sink(Housekeeping *housekeeping)
{
	uint64_t seq = UINT64_MAX;
	SinkView sink;

	for (int i = 0; sinkset_view(housekeeping->parts.sinks, i, &sink); i++)
		seq = sink.status.position.seq < seq ? sink.status.position.seq : seq;
	return seq;
}

static void
take_sample(Housekeeping *housekeeping, int64_t now, int64_t retain_us)
{
	Sample *samples = housekeeping->samples;
	int n = housekeeping->nsamples;

	if (n > 0 && now - samples[n - 1].at_us < retain_us / (SAMPLES / 2))
		return;
	if (n == SAMPLES)
		memmove(samples, samples + 1, (size_t) --n * sizeof(Sample));
	samples[n] = (Sample){now, feed_durable(housekeeping->parts.state->feed)};
	housekeeping->nsamples = n + 1;
}

/* The newest unit that is known to be older than the feed's minimum time; 0 while none is. */
static uint64_t
retained_since(Housekeeping *housekeeping, int64_t now)
{
	int64_t retain_us = housekeeping->parts.config->feed.retain_ms * 1000;
	uint64_t old = 0;

	take_sample(housekeeping, now, retain_us);
	for (int i = 0; i < housekeeping->nsamples && now - housekeeping->samples[i].at_us >= retain_us; i++)
		old = housekeeping->samples[i].seq;
	return old;
}

static bool
trim(Housekeeping *housekeeping, int64_t now, Error *err)
{
	State *state = housekeeping->parts.state;
	uint64_t snapshot = store_oldest_snapshot(state->store);
	uint64_t feed = retained_since(housekeeping, now);
	uint64_t sink = slowest_sink(housekeeping);

	feed = sink < feed ? sink : feed;
	feed = snapshot < feed ? snapshot : feed;
	if (feed > 0 && !feed_trim(state->feed, feed + 1, err))
		return false;
	return snapshot == 0 || journal_trim(state->journal, snapshot + 1, err);
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
	if (!append_gap(housekeeping, err) || !append_rescore(housekeeping, err) ||
		!check_sinks(housekeeping, err))
		return false;
	if (now >= housekeeping->beat_us)
	{
		beat(housekeeping);
		housekeeping->beat_us = now + housekeeping->parts.config->daemon.beat_interval_ms * 1000;
	}
	if (now >= housekeeping->trim_us)
	{
		housekeeping->trim_us = now + TRIM_US;
		if (!trim(housekeeping, now, err))
			return err->class != ERR_DISK && err->class != ERR_RESTART;
	}
	return true;
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
		scorer_thread_wait(housekeeping->parts.scorer, version, STEP_US);
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
	free(housekeeping);
}
