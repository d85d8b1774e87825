/*
 * store_bench.c -- read-modify-write of random items, as the scorer does it.
 *
 *	store_bench DIR ITEMS uniform|hot SECONDS [snapshot RATE]
 *
 * Fills a new store below DIR with ITEMS items of 250 bytes, then changes random ones for SECONDS:
 * uniform, or 90 % of the changes on 1 % of the items; a commit every 10,000 items or 1 s.  With
 * `snapshot` one is made meanwhile at RATE bytes/s (0: no limit).  Prints one line of figures.
 */
#include <fcntl.h>
#include <inttypes.h>
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

static uint64_t
fill(uint64_t items)
{
	uint64_t seq = 0;

	for (uint64_t i = 0; i < items; i++)
	{
		item_write(i, 0);
		if (i % 100000 == 99999)
			commit(++seq);
	}
	commit(++seq);
	return seq;
}

typedef struct Snapshot
{
	bool wanted;
	atomic_bool running;
	int64_t us;
} Snapshot;

static void *
snapshot_run(void *arg)
{
	Snapshot *snapshot = arg;
	int64_t start = clock_monotonic_us();
	uint64_t seq;
	Error err;

	if (!store_snapshot(store, &seq, &err))
		die(&err);
	snapshot->us = clock_monotonic_us() - start;
	snapshot->running = false;
	return NULL;
}

int
main(int argc, char **argv)
{
	StoreSettings settings = {UINT64_C(1) << 30, UINT64_C(64) << 30, 1, 0, ~UINT64_C(0)};
	StoreHeader header = {.format = STORE_FORMAT};
	Snapshot snapshot = {0};
	pthread_t thread;
	uint64_t items;
	uint64_t changes = 0;
	uint64_t seq;
	uint64_t bytes;
	uint64_t file_bytes;
	int64_t start;
	int64_t last;
	int64_t end;
	int64_t pause = 0;
	int64_t changing;
	struct stat st;
	bool hot;
	Error err;
	int dirfd;

	if (argc < 5)
		return 2;
	log_init(LOG_WARNING, false);
	items = strtoull(argv[2], NULL, 10);
	hot = argv[3][0] == 'h';
	snapshot.wanted = argc > 6;
	if (snapshot.wanted)
		settings.snapshot_bytes_per_s = strtoull(argv[6], NULL, 10);
	if (!fs_open_dir(argv[1], true, &dirfd, &err) || !store_create(dirfd, &settings, &header, &store, &err))
		die(&err);
	fstat(dirfd, &st);
	device = st.st_dev;
	seq = fill(items);
	syncfs(dirfd);
	file_bytes = store_bytes(store);
	bytes = device_bytes();

	if (snapshot.wanted)
	{
		snapshot.running = true;
		pthread_create(&thread, NULL, snapshot_run, &snapshot);
	}
	start = last = clock_monotonic_us();
	end = start + strtoll(argv[4], NULL, 10) * 1000000;
	for (;;)
	{
		int64_t before = clock_monotonic_us();

		for (int i = 0; i < COMMIT_ITEMS; i++, changes++)
		{
			uint64_t among = hot && random_next() % 10 != 0 ? items / 100 : items;

			item_change(random_next() % among);
			if (i % 256 == 255 && clock_monotonic_us() - before > COMMIT_US)
				break;
		}
		commit(++seq);
		last = clock_monotonic_us();
		if (last - before > pause)
			pause = last - before;
		if (snapshot.wanted ? !snapshot.running : last >= end)
			break;
	}
	changing = last - start;
	if (snapshot.wanted)
		pthread_join(thread, NULL);
	syncfs(dirfd);
	printf("%9" PRIu64 " %-8s %9.0f items/s  %7.2f kB written/item  RssAnon %4" PRIu64 " MB  file %5" PRIu64
		   " MB  longest 10,000 with commit %4" PRId64 " ms",
		   items, argv[3], (double) changes * 1e6 / (double) changing,
		   (double) (device_bytes() - bytes) / 1024 / (double) changes, rss_anon_kb() >> 10,
		   store_bytes(store) >> 20, pause / 1000);
	if (snapshot.wanted)
		printf("  snapshot %5" PRId64 " ms, file grew %" PRIu64 " MB", snapshot.us / 1000,
			   (store_bytes(store) - file_bytes) >> 20);
	printf("\n");
	if (!store_close_clean(store, &err))
		die(&err);
	return 0;
}
