/*
 * timers.c -- see timers.h.
 */
#include "daemon/timers.h"

#include <stdlib.h>

#include "base/clock.h"

#define CATCH_UP_US INT64_C(600000000)
#define STEP_US INT64_C(100000)

bool
timers_unit(const ScorerWants *wants, int64_t now_us, uint32_t limit, Unit *unit)
{
	*unit = (Unit){.kind = UNIT_TIMER, .limit = limit};
	if (wants->timer_boundary_us <= now_us)
		unit->id = (uint64_t) wants->timer_boundary_us;
	else if (wants->timer_clock_us <= now_us)
		unit->id = (uint64_t) now_us;
	else if (!wants->timers_at_once)
		return false;
	unit->now_us = (int64_t) unit->id;
	return true;
}

int64_t
timers_wait_us(const ScorerWants *wants, int64_t now_us, int64_t most_us)
{
	const int64_t due_us =
		wants->timer_boundary_us < wants->timer_clock_us ? wants->timer_boundary_us : wants->timer_clock_us;

	return due_us <= now_us ? 0 : due_us - now_us < most_us ? due_us - now_us : most_us;
}

/* *done: the scorer has read the journal as far as *seq, and no boundary of the past is left. */
static bool
catch_up_step(const Timers *timers, ScorerView *view, uint64_t *seq, bool *done, Error *err)
{
	const uint64_t version = scorer_thread_view(timers->scorer, view);
	const int64_t now_us = clock_wall_us();
	Unit unit;

	*done = false;
	if (view->position.seq < *seq)
	{
		scorer_thread_wait(timers->scorer, version, STEP_US);
		return true;
	}
	*done = view->wants.timer_boundary_us > now_us;
	if (*done || !timers_unit(&view->wants, now_us, timers->limit, &unit))
		return true;
	if (!journal_append(timers->journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, err))
		return false;
	*seq = unit.seq;
	return true;
}

bool
timers_catch_up(void *context, const atomic_bool *stop, Error *err)
{
	const Timers *timers = context;
	const int64_t deadline_us = clock_monotonic_us() + CATCH_UP_US;
	ScorerView *view = xmalloc(sizeof(*view));
	JournalHead head;
	uint64_t seq;
	bool done = false;
	bool ok = true;

	/* as it stands now: a rescoring goes on appending, and is not what is waited for */
	journal_appended(timers->journal, &head);
	seq = head.seq;
	while (ok && !done && !(stop != NULL && atomic_load(stop)) && clock_monotonic_us() < deadline_us)
		ok = catch_up_step(timers, view, &seq, &done, err);
	free(view);
	return !ok || done ? ok : error_set(err, ERR_RETRY, "the scorer has not come to the end of the journal");
}
