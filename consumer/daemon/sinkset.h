/*
 * sinkset.h -- the sinks of a running daemon: added, removed, paused and resumed while all else goes on.
 *
 * Every change is checked as a whole before anything of it is done.  A paused sink has no thread; it
 * keeps its checkpoint and holds the feed back like any slow one (K6), across restarts: a small file in
 * the state directory says so, made durable before the sink is stopped.
 *
 * Those who change wait for each other, and for a sink that has to end; those who look never wait.
 */
#ifndef WALRANK_SINKSET_H
#define WALRANK_SINKSET_H

#include "daemon/config.h"

typedef struct SinkSet SinkSet;

typedef struct SinkView
{
	char name[64];
	const char *type;
	int64_t flush_interval_ms;
	SinkStatus status; /* of a paused one: where it stood */
} SinkView;

/* What the set stands on; all of it outlives the set. */
typedef struct SinkSetParts
{
	Feed *feed;
	Journal *journal; /* where a fill is asked for */
	SinkHistory history;
	const char *state_dir;
	int state_dirfd;
} SinkSetParts;

extern bool sinkset_create(const SinkSetParts *parts, SinkSet **set, Error *err);
/* Whether every sink of config could be made; touches nothing. */
extern bool sinkset_check(const SinkSet *set, const Config *config, Error *err);
/*
 * The same; and those that were not here before, in this daemon's life or
 * an earlier one, get their first checkpoint where `start` says (K1), unless they bring one.  A false answer
 * means that nothing runs otherwise than before.
 */
extern bool sinkset_admit(SinkSet *set, const Config *config, Error *err);
/*
 * Brings the set to what config says: removes, changes and adds.  Takes config's sinks over.  said: a line for
 * each sink that is another now.  One that cannot be admitted or started is STOPPED and says why; the first
 * such error is returned, the others are as config says.
 */
extern bool sinkset_apply(SinkSet *set, Config *config, Buffer *said, Error *err);

/* For anyone, at any time: the i-th sink in the order of the configuration; false: there are no more. */
extern bool sinkset_view(SinkSet *set, int i, SinkView *view);
/*
 * All of them, as of one moment: who decides about what they need must not miss one because another was removed
 * meanwhile.  Returns how many there are.
 */
extern int sinkset_views(SinkSet *set, SinkView views[CONFIG_SINKS_MAX]);
/* The lowest end_lsn in their checkpoints; UINT64_MAX: none counts.  A sink that is given up does not; one whose
 * checkpoint is not known yet may stand anywhere: 0. */
extern Lsn sinkset_lowest(SinkSet *set);

/* ERR_CONFIG: there is no such sink, or it is so already.  Resume also starts one again that has stopped in error. */
extern bool sinkset_pause(SinkSet *set, const char *name, Error *err);
extern bool sinkset_resume(SinkSet *set, const char *name, Error *err);
/* The feed needs the room: the sink stops, and nothing is kept for it any more, until it is resumed or the daemon restarts. */
extern bool sinkset_give_up(SinkSet *set, const char *name, Error *err);
/* Stops the sink, lets `work` do what it has to with its configuration, and starts it again (unless it is paused). */
typedef bool (*SinkSetWork)(void *context, const SinkConfig *config, Error *err);
extern bool sinkset_hold(SinkSet *set, const char *name, SinkSetWork work, void *context, Error *err);

/* Each applies what there is up to the feed's durable end, all together until `deadline_us` (monotonic), and ends. */
extern void sinkset_stop(SinkSet *set, int64_t deadline_us);

/* Whether the file that says "paused" is there: for tools, while no daemon runs. */
extern bool sinkset_is_paused(int state_dirfd, const char *name, bool *paused, Error *err);
extern bool sinkset_set_paused(int state_dirfd, const char *name, const SinkPosition *position_or_null,
							   Error *err);

#endif /* WALRANK_SINKSET_H */
