/*
 * space.c -- see space.h.
 */
#include "daemon/space.h"

#include <stdlib.h>

#include "base/log.h"
#include "daemon/packer.h"
#include "daemon/retention.h"

#define STEP_US INT64_C(200000)
#define SAMPLES 256							/* of (time, unit), for a minimum time */
#define SNAPSHOT_AGAIN_US INT64_C(30000000) /* one that was asked for and has not come is asked for again */

typedef struct Sample
{
	int64_t at_us;
	uint64_t seq;
} Sample;

/* Which units are so old that the minimum time holds them no longer. Begins anew with the process: on the safe side. */
typedef struct Ages
{
	Sample samples[SAMPLES];
	int n;
} Ages;

struct Space
{
	State *state;
	const Config *config;
	ScorerThread *scorer;
	SinkSet *sinks;
	int64_t due_us;
	Ages journal_ages;
	Ages feed_ages;
	Packer *packer;
	SinkView views[CONFIG_SINKS_MAX]; /* at the last step .. */
	RetentionSink stands[CONFIG_SINKS_MAX];
	int nsinks;
	uint64_t asked_newest; /* the newest snapshot when a newer one was asked for */
	int64_t asked_us;
};

void
space_set_quotas(State *state, const Config *config)
{
	seglog_set_quota(journal_log(state->journal), (uint64_t) config->journal.quota_bytes);
	seglog_set_quota(feed_log(state->feed), (uint64_t) config->feed.quota_bytes);
}

Space *
space_create(State *state, const Config *config, ScorerThread *scorer, SinkSet *sinks, ThreadFailed failed,
			 void *context)
{
	Space *space = xcalloc(1, sizeof(*space));

	space->state = state;
	space->config = config;
	space->scorer = scorer;
	space->sinks = sinks;
	space->asked_newest = UINT64_MAX;
	space->packer = packer_start(state, config, failed, context);
	return space;
}

void
space_destroy(Space *space)
{
	if (space == NULL)
		return;
	packer_stop(space->packer);
	free(space);
}

/* ---- what there is ---------------------------------------------------------------------------- */

static uint64_t
aged(Ages *ages, int64_t now, int64_t retain_us, uint64_t seq)
{
	Sample *samples = ages->samples;
	uint64_t old = 0;

	if (retain_us == 0)
		return UINT64_MAX;
	if (ages->n == 0 || now - samples[ages->n - 1].at_us >= retain_us / (SAMPLES / 2))
	{
		if (ages->n == SAMPLES)
			memmove(samples, samples + 1, (size_t) --ages->n * sizeof(Sample));
		samples[ages->n++] = (Sample){now, seq};
	}
	for (int i = 0; i < ages->n && now - samples[i].at_us >= retain_us; i++)
		old = samples[i].seq;
	return old;
}

/* Of one moment: a plan that misses one lets go what that one needs. */
static void
look_at_sinks(Space *space)
{
	space->nsinks = sinkset_views(space->sinks, space->views);
	for (int i = 0; i < space->nsinks; i++)
	{
		const SinkStatus *status = &space->views[i].status;
		/* before it has said where it stands, what is remembered may be wrong: a replay may have set it back */
		bool starting = status->state == SINK_STARTING;

		space->stands[i] = (RetentionSink){.seq = starting ? 0 : status->position.seq,
										   .starting = starting,
										   .given_up = status->state == SINK_GIVEN_UP};
	}
}

static RetentionPlan
decide(Space *space, const ScorerView *view, int64_t now)
{
	State *state = space->state;
	const Config *config = space->config;
	uint64_t durable = feed_durable(state->feed);
	SegLog *journal = journal_log(state->journal);
	SegLog *feed = feed_log(state->feed);
	RetentionInput input = {.store_seq = view->committed,
							.snapshot_oldest = store_oldest_snapshot(state->store),
							.snapshot_newest = store_newest_snapshot(state->store),
							.snapshots = (int) config->store.snapshots,
							.sinks = space->stands,
							.nsinks = space->nsinks,
							.give_up = config->feed.at_quota == 1};
	SegInfo *of_journal;
	SegInfo *of_feed;
	RetentionPlan plan;

	input.journal.n = seglog_list(journal, &of_journal);
	input.journal.segments = of_journal;
	input.journal.aged = aged(&space->journal_ages, now, config->journal.retain_ms * 1000, durable);
	input.journal.quota = (uint64_t) config->journal.quota_bytes;
	input.journal.full = seglog_full(journal);
	input.feed.n = seglog_list(feed, &of_feed);
	input.feed.segments = of_feed;
	input.feed.aged = aged(&space->feed_ages, now, config->feed.retain_ms * 1000, durable);
	input.feed.quota = (uint64_t) config->feed.quota_bytes;
	input.feed.full = seglog_full(feed);
	plan = retention_decide(&input);
	free(of_journal);
	free(of_feed);
	return plan;
}

/* ---- what is done about it -------------------------------------------------------------------- */

static void
ask_for_snapshot(Space *space, const RetentionPlan *plan, int64_t now)
{
	uint64_t newest = store_newest_snapshot(space->state->store);

	if (plan->newest_only)
		scorer_thread_newest_snapshot_only(space->scorer);
	if (!plan->want_snapshot || (newest == space->asked_newest && now - space->asked_us < SNAPSHOT_AGAIN_US))
		return;
	space->asked_newest = newest;
	space->asked_us = now;
	scorer_thread_snapshot(space->scorer);
}

static bool
give_up(Space *space, int which, Error *err)
{
	const char *name = which >= 0 ? space->views[which].name : NULL;

	if (name == NULL || sinkset_give_up(space->sinks, name, err) || err->class == ERR_CONFIG)
		return true; /* ERR_CONFIG: it was removed meanwhile */
	return error_wrap(err, "giving up sink \"%s\"", name);
}

/* The journal is read by the scorer alone, the feed by the sinks. */
static void
tell_packer(Space *space, const ScorerView *view)
{
	uint64_t feed = view->committed;

	for (int i = 0; i < space->nsinks; i++)
		if (!space->stands[i].given_up && space->stands[i].seq < feed)
			feed = space->stands[i].seq;
	packer_passed(space->packer, view->committed + 1, feed + 1);
}

bool
space_step(Space *space, const ScorerView *view, int64_t now_us, Error *err)
{
	RetentionPlan plan;

	if (now_us < space->due_us)
		return true;
	space->due_us = now_us + STEP_US;
	space_set_quotas(space->state, space->config); /* a reload may have changed them */
	look_at_sinks(space);
	plan = decide(space, view, now_us);
	ask_for_snapshot(space, &plan, now_us);
	tell_packer(space, view);
	return (plan.feed_below <= 1 || feed_trim(space->state->feed, plan.feed_below, err)) &&
		   (plan.journal_below <= 1 || journal_trim(space->state->journal, plan.journal_below, err)) &&
		   give_up(space, plan.give_up, err);
}
