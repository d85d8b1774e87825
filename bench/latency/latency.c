/*
 * latency.c -- from the client's COMMIT reply to the first poll that sees the row in the postgres sink.
 *
 *   latency SOURCE_CONNINFO SINK_CONNINFO RATE SECONDS SYNC_DIRECTORY
 *
 * A writer commits single-row updates of item.v at RATE per second, each value once; a poller asks the sink's table
 * every millisecond for rows with a greater seq.  fdatasync of 4 kB appends is timed in the same run.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ITEMS 1000

static int rate, seconds, total;
static int64_t *committed_us, *seen_us;
static atomic_int written;

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
sleep_until(int64_t at_us)
{
	struct timespec ts = {at_us / 1000000, at_us % 1000000 * 1000};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static PGresult *
must(PGconn *conn, PGresult *res)
{
	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		exit(1);
	}
	return res;
}

static void *
writer(void *arg)
{
	PGconn *conn = PQconnectdb(arg);
	int64_t start;

	PQclear(must(conn, PQexec(conn, "SET synchronous_commit = on")));
	PQclear(must(conn, PQprepare(conn, "u", "UPDATE item SET v = $2::int8 WHERE id = $1::int8", 2, NULL)));
	start = now_us() + 10000;
	for (int n = 0; n < total; n++)
	{
		char id[32], v[32];
		const char *values[] = {id, v};

		sleep_until(start + (int64_t) n * 1000000 / rate);
		snprintf(id, sizeof(id), "%d", n % ITEMS + 1);
		snprintf(v, sizeof(v), "%d", n + 1);
		PQclear(must(conn, PQexecPrepared(conn, "u", 2, values, NULL, NULL, 0)));
		committed_us[n] = now_us();
		atomic_store(&written, n + 1);
	}
	PQfinish(conn);
	return NULL;
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

static int64_t
fdatasync_p50_us(const char *dir)
{
	char path[4096], page[4096] = "x";
	int64_t took[200];
	int fd;

	snprintf(path, sizeof(path), "%s/latency-sync", dir);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	for (int i = 0; i < 200; i++)
	{
		int64_t t = now_us();

		if (write(fd, page, sizeof(page)) != sizeof(page) || fdatasync(fd) != 0)
			exit(1);
		took[i] = now_us() - t;
	}
	close(fd);
	unlink(path);
	qsort(took, 200, sizeof(*took), compare);
	return took[100];
}

int
main(int argc, char **argv)
{
	PGconn *sink;
	pthread_t thread;
	char last[32] = "0";
	const char *values[] = {last};
	int64_t sync_us, deadline;
	int64_t *lat;
	int seen = 0;

	if (argc != 6)
		return 2;
	rate = atoi(argv[3]);
	seconds = atoi(argv[4]);
	total = rate * seconds;
	committed_us = calloc((size_t) total, sizeof(*committed_us));
	seen_us = calloc((size_t) total, sizeof(*seen_us));
	lat = calloc((size_t) total, sizeof(*lat));
	sync_us = fdatasync_p50_us(argv[5]);
	sink = PQconnectdb(argv[2]);
	PQclear(must(
		sink,
		PQprepare(sink, "p",
				  "SELECT score::int8, seq FROM walrank_out.score_item WHERE seq > $1::int8 ORDER BY seq", 1,
				  NULL)));
	PQclear(must(sink, PQexec(sink, "SET enable_seqscan = off")));
	{
		PGresult *res = must(sink, PQexec(sink, "SELECT coalesce(max(seq), 0) FROM walrank_out.score_item"));

		snprintf(last, sizeof(last), "%s", PQgetvalue(res, 0, 0));
		PQclear(res);
	}
	pthread_create(&thread, NULL, writer, argv[1]);
	deadline = now_us() + (int64_t) (seconds + 20) * 1000000;
	for (int64_t at = now_us(); seen < total && at < deadline; at = now_us())
	{
		PGresult *res = must(sink, PQexecPrepared(sink, "p", 1, values, NULL, NULL, 0));
		int64_t now = now_us();

		for (int i = 0; i < PQntuples(res); i++)
		{
			int n = atoi(PQgetvalue(res, i, 0)) - 1;

			if (n >= 0 && n < total && seen_us[n] == 0)
			{
				seen_us[n] = now;
				seen++;
			}
		}
		if (PQntuples(res) > 0)
			snprintf(last, sizeof(last), "%s", PQgetvalue(res, PQntuples(res) - 1, 1));
		PQclear(res);
		sleep_until(at + 1000);
	}
	pthread_join(thread, NULL);
	seen = 0;
	for (int n = total / 10; n < total; n++) /* the first tenth warms up */
		if (seen_us[n] != 0)
			lat[seen++] = seen_us[n] > committed_us[n] ? seen_us[n] - committed_us[n] : 0;
	if (seen == 0)
		return 1;
	qsort(lat, (size_t) seen, sizeof(*lat), compare);
	printf("seen %d of %d; fdatasync p50 %.2f ms; latency p50 %.2f ms, p90 %.2f, p99 %.2f, max %.2f ms\n",
		   seen, total - total / 10, (double) sync_us / 1000, (double) lat[seen / 2] / 1000,
		   (double) lat[seen * 9 / 10] / 1000, (double) lat[seen * 99 / 100] / 1000,
		   (double) lat[seen - 1] / 1000);
	PQfinish(sink);
	return 0;
}
