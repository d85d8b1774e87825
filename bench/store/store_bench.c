/*
 * store_bench.c -- read-modify-write of random items, as the scorer does it.
 *
 *	store_bench DIR ITEMS SECONDS CELL..
 *
 * Fills a new store in DIR with ITEMS items of 250 bytes, then per cell changes random ones for
 * SECONDS, with a commit every 10,000 items or 1 s, and prints one line of figures.  Cells:
 *
 *	uniform        every item as often as any other
 *	hot            90 % of the changes on 1 % of the items
 *	snapshot=RATE  uniform, for as long as a snapshot takes that is made meanwhile at RATE MB/s (0: no limit)
 */
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "score/store.h"

#define VALUE_BYTES 250
#define COMMIT_ITEMS 10000
#define COMMIT_US 1000000
#define FILL_ITEMS 100000

static Store *store;
static dev_t device;
static uint64_t random_state = 88172645463325252U;

static void
die(const Error *err)
{
	log_error(LOG_FATAL, err, "bench");
	exit(1);
}

static uint64_t
random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Bytes the device under the directory has written so far; 0 if it has no statistics. */
static uint64_t
device_bytes(void)
{
	char path[64];
	uint64_t sectors = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(device), minor(device));
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%*u %*u %*u %*u %*u %*u %" SCNu64, &sectors) != 1)
		sectors = 0;
	fclose(f);
	return sectors * 512;
}

static uint64_t
rss_anon_kb(void)
{
	char line[256];
	uint64_t kb = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "RssAnon: %" SCNu64, &kb) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return kb;
}

static void
commit(uint64_t seq)
{
	Error err;

	store_set_position(store, (StorePosition){.seq = seq});
	if (!store_commit(store, &err))
		die(&err);
}

static void
item_write(uint64_t number, uint64_t version)
{
	uint64_t key[1] = {number};
	uint8_t value[VALUE_BYTES];
	Error err;

	memset(value, (int) number, sizeof(value));
	memcpy(value, &version, sizeof(version));
	if (!store_item_put(store, 1, slice_make(key, sizeof(key)), slice_make(value, sizeof(value)), &err))
		die(&err);
}

static void
item_change(uint64_t number)
{
	uint64_t key[1] = {number};
	uint8_t copy[VALUE_BYTES];
	uint64_t version;
	Slice value;
	bool found;
	Error err;

	if (!store_item_get(store, 1, slice_make(key, sizeof(key)), &value, &found, &err))
		die(&err);
	if (!found || value.len != VALUE_BYTES)
		abort();
	memcpy(copy, value.data, VALUE_BYTES);
	memcpy(&version, copy, sizeof(version));
	version++;
	memcpy(copy, &version, sizeof(version));
	if (!store_item_put(store, 1, slice_make(key, sizeof(key)), slice_make(copy, VALUE_BYTES), &err))
		die(&err);
}

/* In large commits, and opened again after them: their pages are no part of what is measured. */
static uint64_t
fill(int dirfd, const StoreSettings *settings, uint64_t items)
{
	StoreHeader header = {.format = STORE_FORMAT};
	uint64_t seq = 0;
	Error err;

	if (!store_create(dirfd, settings, &header, &store, &err))
		die(&err);
	for (uint64_t i = 0; i < items; i++)
	{
		item_write(i, 0);
		if (i % FILL_ITEMS == FILL_ITEMS - 1)
			commit(++seq);
	}
	commit(++seq);
	if (!store_close_clean(store, &err) ||
		!store_open(dirfd, settings, &header.stream_id, seq, seq, &store, &err))
		die(&err);
	malloc_trim(0);
	return seq;
}

static void *
snapshot_run(void *arg)
{
	atomic_bool *running = arg;
	uint64_t seq;
	Error err;

	if (!store_snapshot(store, &seq, &err))
		die(&err);
	*running = false;
	return NULL;
}

typedef struct Run
{
	uint64_t changes;
	int64_t us;
	int64_t cpu_us;	  /* of this thread, the kernel's part included */
	int64_t pause_us; /* the longest 10,000 changes with their commit */
} Run;

/* Until the time is over; while *running, if that is given. */
static Run
change(uint64_t items, bool hot, int64_t us, atomic_bool *running, uint64_t *seq)
{
	Run run = {0};
	int64_t start = clock_monotonic_us();
	int64_t before = start;
	int64_t cpu = clock_us(CLOCK_THREAD_CPUTIME_ID);

	while (running != NULL ? *running : before - start < us)
	{
		int64_t now;

		for (int i = 0; i < COMMIT_ITEMS; i++)
		{
			uint64_t among = hot && random_next() % 10 != 0 ? items / 100 : items;

			item_change(random_next() % among);
			run.changes++;
			if (i % 256 == 255 && clock_monotonic_us() - before > COMMIT_US)
				break;
		}
		commit(++*seq);
		now = clock_monotonic_us();
		run.pause_us = now - before > run.pause_us ? now - before : run.pause_us;
		before = now;
	}
	run.us = before - start;
	run.cpu_us = clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu;
	return run;
}

static void
cell(int dirfd, uint64_t items, const char *name, int64_t us, uint64_t *seq)
{
	bool snapshot = strncmp(name, "snapshot", 8) == 0;
	uint64_t file_bytes = store_bytes(store);
	atomic_bool running = true;
	uint64_t written;
	pthread_t thread;
	Run run;

	syncfs(dirfd);
	written = device_bytes();
	if (snapshot)
		pthread_create(&thread, NULL, snapshot_run, &running);
	run = change(items, strcmp(name, "hot") == 0, us, snapshot ? &running : NULL, seq);
	if (snapshot)
		pthread_join(thread, NULL);
	syncfs(dirfd);
	written = device_bytes() - written;
	printf("%9" PRIu64 " %-12s %7.0f items/s %5.2f us CPU/item %6.2f kB written/item  RssAnon %3" PRIu64
		   " MB  file %5" PRIu64 " MB (+%" PRIu64 ")  longest 10,000 %4" PRId64 " ms",
		   items, name, (double) run.changes * 1e6 / (double) run.us,
		   (double) run.cpu_us / (double) run.changes, (double) written / 1024 / (double) run.changes,
		   rss_anon_kb() >> 10, store_bytes(store) >> 20, (store_bytes(store) - file_bytes) >> 20,
		   run.pause_us / 1000);
	if (snapshot)
		printf("  snapshot %.1f s", (double) run.us / 1e6);
	printf("\n");
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	StoreSettings settings = {UINT64_C(4) << 30, UINT64_C(64) << 30, 1, 0, ~UINT64_C(0)};
	const StreamId stream_id = {0};
	uint64_t items;
	uint64_t seq;
	struct stat st;
	int dirfd;
	Error err;

	if (argc < 5)
		return 2;
	log_init(LOG_WARNING, false);
	items = strtoull(argv[2], NULL, 10);
	if (!fs_open_dir(argv[1], true, &dirfd, &err))
		die(&err);
	fstat(dirfd, &st);
	device = st.st_dev;
	seq = fill(dirfd, &settings, items);
	for (int i = 4; i < argc; i++)
	{
		const char *rate = strchr(argv[i], '=');

		/* the rate is a setting: open again */
		settings.snapshot_bytes_per_s = rate != NULL ? strtoull(rate + 1, NULL, 10) << 20 : 0;
		if (rate != NULL && (!store_close_clean(store, &err) ||
							 !store_open(dirfd, &settings, &stream_id, seq, seq, &store, &err)))
			die(&err);
		cell(dirfd, items, argv[i], strtoll(argv[3], NULL, 10) * 1000000, &seq);
	}
	if (!store_close_clean(store, &err))
		die(&err);
	return 0;
}
