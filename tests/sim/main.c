/*
 * main.c -- walrank-sim: the daemon's parts against a server, a disk and sinks that fail, one seed after another.
 *
 *	walrank-sim --seeds 2000 [--first N]	runs seeds N .. N + 1999; prints the first that fails, and exits 1
 *	walrank-sim --seed N --trace			one seed, readable
 *	walrank-sim --break NAME --seeds 2000	with a rule broken on purpose; --breaks lists them
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "world.h"

#define DEMAND_SEEDS 2000 /* from so many on every branch has to have been met */

const char *const break_names[BREAK_COUNT] = {
	[BREAK_NOTHING] = "nothing",
	[BREAK_ACK_PLUS_ONE] = "ack-plus-one",
	[BREAK_ACK_BEFORE_FSYNC] = "ack-before-fsync",
	[BREAK_NO_DIRECTORY_FSYNC] = "no-directory-fsync",
	[BREAK_STORE_BEFORE_FEED] = "store-before-feed",
	[BREAK_SNAPSHOT_BEFORE_SYNC] = "snapshot-before-sync",
	[BREAK_FEED_PAST_DURABLE] = "feed-past-durable",
	[BREAK_SEQ_GAP] = "seq-gap",
	[BREAK_APPLIED_AGAIN] = "applied-again",
	[BREAK_CHECKPOINT_APART] = "checkpoint-apart",
	[BREAK_NO_FENCE] = "no-fence",
	[BREAK_BOOT_NOT_COMPARED] = "boot-not-compared",
	[BREAK_STORE_EMPTY] = "store-empty",
	[BREAK_START_PAST_H] = "start-past-h",
	[BREAK_HISTORY_UNCHECKED] = "history-unchecked",
	[BREAK_CLEAN_BEFORE_SYNC] = "clean-before-sync",
	[BREAK_TRIM_PAST_SNAPSHOT] = "trim-past-snapshot",
};

typedef struct Options
{
	uint64_t first;
	uint64_t seeds;
	int steps;
	Break rule;
} Options;

/* An assertion of the product. */
static void
aborted(int signal_number)
{
	broken("assertion", "see above");
}

static int
usage(void)
{
	fprintf(stderr, "usage: walrank-sim [--seeds N] [--first N] [--seed N] [--steps N] [--trace] "
					"[--break NAME] [--breaks]\n");
	return 2;
}

static bool
find_break(const char *name, Break *rule)
{
	for (int i = 0; i < BREAK_COUNT; i++)
		if (strcmp(break_names[i], name) == 0)
		{
			*rule = (Break) i;
			return true;
		}
	return false;
}

static bool
parse(int argc, char **argv, Options *options)
{
	for (int i = 1; i < argc; i++)
	{
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--trace") == 0)
		{
			tracing = true;
			continue;
		}
		if (value == NULL)
			return false;
		if (strcmp(argv[i], "--seeds") == 0)
			options->seeds = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--first") == 0)
			options->first = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--steps") == 0)
			options->steps = atoi(value);
		else if (strcmp(argv[i], "--seed") == 0)
		{
			options->first = strtoull(value, NULL, 10);
			options->seeds = 1;
		}
		else if (strcmp(argv[i], "--break") != 0 || !find_break(value, &options->rule))
			return false;
		i++;
	}
	return true;
}

int
main(int argc, char **argv)
{
	Options options = {.first = 1, .seeds = 2000, .steps = 900};
	struct timespec begun;
	struct timespec ended;
	bool all;

	if (argc == 2 && strcmp(argv[1], "--breaks") == 0)
	{
		for (int i = 1; i < BREAK_COUNT; i++)
			puts(break_names[i]);
		return 0;
	}
	if (!parse(argc, argv, &options))
		return usage();
	log_init(tracing ? LOG_INFO : (LogLevel) (LOG_FATAL + 1), false);
	signal(SIGABRT, aborted);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	for (uint64_t i = 0; i < options.seeds; i++)
		world_run(options.first + i, options.rule, options.steps);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	all = report_tallies(options.seeds >= DEMAND_SEEDS);
	printf("%" PRIu64 " seeds, lost 0, doubled 0, reordered 0; %.1f s\n", options.seeds,
		   (double) (ended.tv_sec - begun.tv_sec) + (double) (ended.tv_nsec - begun.tv_nsec) / 1e9);
	if (!all)
		puts("a branch above was never exercised: the run proves too little");
	return all ? 0 : 1;
}
