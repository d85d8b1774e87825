/*
 * packer.c -- see packer.h.
 */
#include "daemon/packer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define REST_US 500000			   /* between two looks when there was nothing to do */
#define AGAIN_US INT64_C(60000000) /* after there was no space */
#define LOWEST_NICE 19

struct Packer
{
	SegLog *journal; /* NULL: not to be compressed */
	SegLog *feed;
	ThreadFailed failed;
	void *context;
	pthread_t thread;
	_Atomic uint64_t journal_below;
	_Atomic uint64_t feed_below;
	atomic_bool stop;
	int64_t not_before_us;
};

/* True: go on. Want of space is no failure: compressing is what makes some. */
static bool
pack_one(Packer *packer, SegLog *log, uint64_t below, bool *packed)
{
	Error err;

	*packed = false;
	if (log == NULL || seglog_pack(log, (SegPosition){below, 0}, &packer->stop, packed, &err))
		return true;
	if (err.class == ERR_RETRY || err.class == ERR_SPACE)
	{
		if (!atomic_load(&packer->stop))
			log_error(LOG_WARNING, &err, "a segment stays as it is for now");
		packer->not_before_us = clock_monotonic_us() + AGAIN_US;
		return true;
	}
	packer->failed(packer->context, &err);
	return false;
}

static void *
packer_main(void *arg)
{
	Packer *packer = arg;
	pthread_setname_np(pthread_self(), "compress");
	setpriority(PRIO_PROCESS, (id_t) gettid(), LOWEST_NICE); /* of this thread alone */
	while (!atomic_load(&packer->stop))
	{
		bool journal = false;
		bool feed = false;

		if (clock_monotonic_us() >= packer->not_before_us &&
			(!pack_one(packer, packer->journal, atomic_load(&packer->journal_below), &journal) ||
			 !pack_one(packer, packer->feed, atomic_load(&packer->feed_below), &feed)))
			break;
		if (!journal && !feed)
			usleep(REST_US);
	}
	return NULL;
}

Packer *
packer_start(State *state, const Config *config, ThreadFailed failed, void *context)
{
	Packer *packer;

	if (config->journal.compress == 0 && config->feed.compress == 0)
		return NULL;
	packer = xcalloc(1, sizeof(*packer));
	packer->journal = config->journal.compress != 0 ? journal_log(state->journal) : NULL;
	packer->feed = config->feed.compress != 0 ? feed_log(state->feed) : NULL;
	packer->failed = failed;
	packer->context = context;
	pthread_create(&packer->thread, NULL, packer_main, packer);
	return packer;
}

void
packer_passed(Packer *packer, uint64_t journal_below, uint64_t feed_below)
{
	if (packer == NULL)
		return;
	atomic_store(&packer->journal_below, journal_below);
	atomic_store(&packer->feed_below, feed_below);
}

void
packer_stop(Packer *packer)
{
	if (packer == NULL)
		return;
	atomic_store(&packer->stop, true);
	pthread_join(packer->thread, NULL);
	free(packer);
}
