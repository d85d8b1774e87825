/*
 * rescoring.c -- see rescoring.h.
 */
#include "daemon/rescoring.h"

#include <stdlib.h>

#include "base/clock.h"

#define WINDOW_MAX 64
#define FAR_BEHIND_UNITS 256 /* a sink that has more before it than this is not waited for */
#define STEP_US INT64_C(10000)
#define APPEND_WAIT_US INT64_C(100000)

/* A chunk on its way. */
typedef struct Flight
{
	uint64_t seq;
	int64_t appended_us;
} Flight;

struct Rescoring
{
	State *state;
	const Config *config;
	SinkSet *sinks;
	uint64_t begun_seq; /* the last unit before us: what the last run appended has to be read first */
	uint64_t job;
	uint32_t chunk;				/* the next one */
	Flight flights[WINDOW_MAX]; /* oldest first */
	int nflights;
	int window;
	int64_t delay_us; /* that is meant to pass from append to sinks */
	int64_t due_us;	  /* store.rescore_rate: not before */
};

Rescoring *
rescoring_create(State *state, const Config *config, SinkSet *sinks)
{
	Rescoring *rescoring = xcalloc(1, sizeof(*rescoring));
	JournalHead head;

	journal_appended(state->journal, &head);
	rescoring->state = state;
	rescoring->config = config;
	rescoring->sinks = sinks;
	rescoring->begun_seq = head.seq;
	rescoring->window = 1;
	return rescoring;
}

void
rescoring_destroy(Rescoring *rescoring)
{
	free(rescoring);
}

/* ---- what is on its way ----------------------------------------------------------------------- */

/* Through all that is to be waited for: the unit that has arrived everywhere. */
static uint64_t
arrived(Rescoring *rescoring, const ScorerView *view)
{
	uint64_t seq = view->position.seq;
	int64_t gather_ms = 0;
	SinkView sink;

	for (int i = 0; sinkset_view(rescoring->sinks, i, &sink); i++)
	{
		const uint64_t own = sink.status.position.seq;

		if (sink.status.state != SINK_STREAMING || own + FAR_BEHIND_UNITS < seq)
			continue;
		seq = own < seq ? own : seq;
		gather_ms = sink.flush_interval_ms > gather_ms ? sink.flush_interval_ms : gather_ms;
	}
	rescoring->delay_us = RESCORING_DELAY_US + gather_ms * 1000;
	return seq;
}

static void
land(Rescoring *rescoring, uint64_t seq)
{
	const int64_t now_us = clock_monotonic_us();
	int landed = 0;

	while (landed < rescoring->nflights && rescoring->flights[landed].seq <= seq)
	{
		const int64_t took_us = now_us - rescoring->flights[landed].appended_us;

		if (took_us > rescoring->delay_us * 5 / 4)
			rescoring->window = rescoring->window > 1 ? rescoring->window / 2 : 1;
		else if (took_us < rescoring->delay_us && rescoring->window < WINDOW_MAX)
			rescoring->window++;
		landed++;
	}
	rescoring->nflights -= landed;
	memmove(rescoring->flights, rescoring->flights + landed, (size_t) rescoring->nflights * sizeof(Flight));
}

/* ---- what goes next ------------------------------------------------------------------------------ */

/* A job whose size nobody knows has one chunk on its way at a time, so that one is larger. */
static uint32_t
chunk_items(const Rescoring *rescoring, const ScorerRescore *asked)
{
	const int64_t part = rescoring->config->source.part_changes;

	return (uint32_t) (part < RESCORING_ITEMS || asked->relation[0] == '\0' ? part : RESCORING_ITEMS);
}

/* The scorer has to ask for what may be beyond the last item, and for jobs whose size nobody knows. */
static bool
may_go(const Rescoring *rescoring, const ScorerRescore *asked)
{
	if (rescoring->nflights >= rescoring->window || clock_monotonic_us() < rescoring->due_us)
		return false;
	return rescoring->chunk == asked->chunk ||
		   (uint64_t) (rescoring->chunk + 1) * chunk_items(rescoring, asked) <= asked->items_all;
}

static bool
append_chunk(Rescoring *rescoring, uint32_t limit, Error *err)
{
	const int64_t rate = rescoring->config->store.rescore_rate;
	Unit unit = {.kind = UNIT_RESCORE, .id = rescoring->job, .chunk = rescoring->chunk, .limit = limit};

	if (!journal_try_append(rescoring->state->journal, &unit, PART_DETAIL, slice_make(NULL, 0),
							APPEND_WAIT_US, err))
		return false;
	rescoring->flights[rescoring->nflights++] = (Flight){unit.seq, clock_monotonic_us()};
	rescoring->chunk++;
	if (rate > 0)
		rescoring->due_us = clock_monotonic_us() + (int64_t) limit * 1000000 / rate;
	return true;
}

bool
rescoring_step(Rescoring *rescoring, const ScorerView *view, Error *err)
{
	const ScorerRescore *asked = &view->wants.rescore;

	land(rescoring, arrived(rescoring, view));
	if (asked->job == 0 || view->position.seq < rescoring->begun_seq)
		return true;
	if (rescoring->job != asked->job || rescoring->chunk < asked->chunk)
	{
		rescoring->job = asked->job;
		rescoring->chunk = asked->chunk;
	}
	while (may_go(rescoring, asked))
		if (!append_chunk(rescoring, chunk_items(rescoring, asked), err))
			return err->class == ERR_SPACE || err->class == ERR_RETRY;
	return true;
}

int64_t
rescoring_wait_us(const Rescoring *rescoring, int64_t most_us)
{
	return rescoring->nflights > 0 && STEP_US < most_us ? STEP_US : most_us;
}
