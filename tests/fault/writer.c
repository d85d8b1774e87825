/*
 * writer.c -- writers for the fault tests: transactions whose outcome is known in the end, whatever
 * dies in between.
 *
 *	writer CONNINFO WRITERS RATE SEED REPORT
 *
 * Each writer counts its transactions in its own row of table `counter`, n = 1, 2, 3 .., so a COMMIT
 * whose reply was lost is looked up after reconnecting and never made twice.  Beside the counter a
 * transaction appends to lists that all writers share and does a few of: updates of one attribute, of
 * a map that is TOASTed, of many rows, deletes, inserts, key changes, updates that change nothing,
 * rolled back savepoints, once in a while a TRUNCATE, and now and then it is rolled back as a whole.  RATE is in transactions per
 * second, of all writers together.  Until TERM; then REPORT says per writer which n the server has
 * acknowledged.  Exit 3: the server has forgotten a transaction it had acknowledged.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRITERS_MAX 64
#define STATEMENT_BYTES 65536
#define ITEMS 1000	   /* keys of items: 1 .. ITEMS, and as many again for those that move */
#define LISTS 40	   /* lists that all writers append to */
#define LIST_BYTES 600 /* a list longer than that begins anew */
#define TRUNCATE_ONE_IN 3000
#define NOISE_BYTES 2200 /* of a map: enough to be TOASTed, and random enough to stay so */

typedef struct Writer
{
	int number;
	uint64_t random;
	long n;			   /* of the last transaction that is known to be committed */
	long acknowledged; /* the same, as far as the server said so at once */
	long aborted;	   /* rolled back, by us or by an error */
	long unknown;	   /* COMMITs without an answer */
	PGconn *conn;
	char sql[STATEMENT_BYTES];
	size_t len;
	pthread_t thread;
} Writer;

static const char *conninfo;
static int nwriters;
static double rate;
static atomic_bool stopping;
static atomic_bool forgotten;
static Writer writers[WRITERS_MAX];

/* ---- small things ---------------------------------------------------------------------------- */

static uint64_t
draw(Writer *writer, uint64_t below)
{
	writer->random ^= writer->random << 13;
	writer->random ^= writer->random >> 7;
	writer->random ^= writer->random << 17;
	return (writer->random >> 11) % below;
}

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

static void put(Writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
put(Writer *writer, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(writer->sql + writer->len, sizeof(writer->sql) - writer->len, format, args);
	va_end(args);
	if (n < 0 || (size_t) n >= sizeof(writer->sql) - writer->len)
		abort();
	writer->len += (size_t) n;
}

static void
put_map(Writer *writer, unsigned views)
{
	put(writer, "'{\"views\": [%u, \"2026-01-01T00:00:00.000000Z\"], \"note\": 1, \"noise\": [\"", views);
	for (int i = 0; i < NOISE_BYTES; i += 8)
		put(writer, "%08llx", (unsigned long long) draw(writer, UINT64_C(1) << 32));
	put(writer, "\", \"2026-01-01T00:00:00.000000Z\"]}'");
}

/* ---- what a transaction does ------------------------------------------------------------------- */

static void
put_step(Writer *writer)
{
	const char *table = draw(writer, 2) == 0 ? "item_default" : "item_full";
	unsigned a = 1 + (unsigned) draw(writer, ITEMS);
	unsigned b = 1 + (unsigned) draw(writer, ITEMS);
	unsigned moved = ITEMS + 1 + (unsigned) draw(writer, ITEMS);
	unsigned value = (unsigned) draw(writer, 100000);

	if (draw(writer, TRUNCATE_ONE_IN) == 0)
	{
		put(writer, "TRUNCATE %s;", table);
		return;
	}
	switch (draw(writer, 14))
	{
		case 0:
		case 1:
		case 2:
		case 3:
			put(writer, "UPDATE %s SET price = %u WHERE id = %u;", table, value, a);
			break;
		case 4:
			put(writer,
				"UPDATE %s SET att = jsonb_set(att, '{views}', '[%u, \"2026-02-01T00:00:00.000000Z\"]')"
				" WHERE id = %u;",
				table, value, a);
			break;
		case 5:
			put(writer,
				"UPDATE %s SET status = CASE status WHEN 'on_sale' THEN 'sold' ELSE 'on_sale' END WHERE id = "
				"%u;",
				table, a);
			break;
		case 6:
			put(writer, "DELETE FROM %s WHERE id = %u; INSERT INTO %s VALUES (%u, %u, 'on_sale', ", table, a,
				table, a, value);
			put_map(writer, value);
			put(writer, ") ON CONFLICT DO NOTHING; DELETE FROM %s WHERE id = %u;", table, b);
			break;
		case 7:
		case 8:
			put(writer, "INSERT INTO %s VALUES (%u, %u, 'on_sale', ", table, b, value);
			put_map(writer, value);
			put(writer, ") ON CONFLICT (id) DO UPDATE SET price = %u;", value);
			break;
		case 9:
			put(writer, "UPDATE %s SET id = %u WHERE id = %u AND NOT EXISTS (SELECT FROM %s WHERE id = %u);",
				table, moved, a, table, moved);
			put(writer, "UPDATE %s SET id = %u WHERE id = %u AND NOT EXISTS (SELECT FROM %s WHERE id = %u);",
				table, b, ITEMS + b, table, b);
			break;
		case 10:
			put(writer, "UPDATE %s SET price = price WHERE id = %u; SAVEPOINT s;", table, a);
			put(writer, "UPDATE %s SET price = -1 WHERE id = %u; ROLLBACK TO s;", table, b);
			put(writer, "UPDATE %s SET att = att - 'note' WHERE id = %u;", table, b);
			break;
		case 11:
			put(writer, "SAVEPOINT s; UPDATE %s SET price = %u WHERE id = %u; RELEASE s;", table, value, a);
			put(writer, "UPDATE %s SET att = NULL, price = %u WHERE id = %u;", table, value, b);
			break;
		case 12:
			put(writer, "UPDATE %s SET price = price + 1 WHERE id BETWEEN %u AND %u;", table, a, a + 9);
			break;
		default:
			put(writer,
				"UPDATE list SET items = CASE WHEN length(items) > %d THEN '' ELSE items END || '%d.%ld,'"
				" WHERE id = %u;",
				LIST_BYTES, writer->number, writer->n + 1, 1 + (unsigned) draw(writer, LISTS));
			break;
	}
}

/* True: it ends with COMMIT. */
static bool
put_transaction(Writer *writer)
{
	int steps = 1 + (int) draw(writer, 3);
	bool commits = draw(writer, 20) != 0;

	writer->len = 0;
	put(writer, "BEGIN;");
	while (steps-- > 0)
		put_step(writer);
	put(writer, "UPDATE counter SET n = %ld WHERE writer = %d;", writer->n + 1, writer->number);
	put(writer, commits ? "COMMIT" : "ROLLBACK");
	return commits;
}

/* ---- what became of it ------------------------------------------------------------------------- */

static bool
look_up(Writer *writer)
{
	char sql[80];
	PGresult *result;
	long n;

	snprintf(sql, sizeof(sql), "SELECT n FROM counter WHERE writer = %d", writer->number);
	result = PQexec(writer->conn, sql);
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		PQclear(result);
		return false;
	}
	n = atol(PQgetvalue(result, 0, 0));
	PQclear(result);
	if (n < writer->acknowledged)
	{
		fprintf(stderr, "writer %d: the server has forgotten transactions %ld to %ld\n", writer->number,
				n + 1, writer->acknowledged);
		atomic_store(&forgotten, true);
	}
	writer->n = n;
	return true;
}

/* Until the server is there, or nobody wants it any more. */
static bool
reconnect(Writer *writer)
{
	while (!atomic_load(&stopping))
	{
		PQfinish(writer->conn);
		writer->conn = PQconnectdb(conninfo);
		if (PQstatus(writer->conn) == CONNECTION_OK && look_up(writer))
			return true;
		usleep(20000);
	}
	return false;
}

static bool
transaction(Writer *writer)
{
	bool commits = put_transaction(writer);
	PGresult *result = PQexec(writer->conn, writer->sql);
	bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;

	PQclear(result);
	if (PQstatus(writer->conn) != CONNECTION_OK)
	{
		writer->unknown++;
		return reconnect(writer);
	}
	if (ok && commits)
	{
		writer->n++;
		writer->acknowledged = writer->n;
		return true;
	}
	writer->aborted++;
	if (!ok)
		PQclear(PQexec(writer->conn, "ROLLBACK"));
	return true;
}

static void *
writer_main(void *arg)
{
	Writer *writer = arg;
	double due = seconds() + (double) writer->number / rate;

	if (!reconnect(writer))
		return NULL;
	while (!atomic_load(&stopping) && transaction(writer))
	{
		double now = seconds();

		due += nwriters / rate;
		if (due < now - 1)
			due = now - 1; /* what an outage kept back comes in the second after it */
		if (due > now)
			usleep((useconds_t) (1e6 * (due - now)));
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	sigset_t set;
	FILE *report;
	int signo;

	if (argc != 6 || (nwriters = atoi(argv[2])) < 1 || nwriters > WRITERS_MAX || (rate = atof(argv[3])) <= 0)
	{
		fprintf(stderr, "usage: writer CONNINFO WRITERS RATE SEED REPORT\n");
		return 2;
	}
	conninfo = argv[1];
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < nwriters; i++)
	{
		writers[i].number = i + 1;
		writers[i].random =
			(strtoull(argv[4], NULL, 10) + 1) * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t) i * 7919 + 1;
		pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]);
	}
	sigwait(&set, &signo);
	atomic_store(&stopping, true);
	report = fopen(argv[5], "w");
	if (report == NULL)
		return 2;
	for (int i = 0; i < nwriters; i++)
	{
		pthread_join(writers[i].thread, NULL);
		PQfinish(writers[i].conn);
		fprintf(report, "%d acknowledged %ld aborted %ld unknown %ld\n", writers[i].number,
				writers[i].acknowledged, writers[i].aborted, writers[i].unknown);
	}
	if (fclose(report) != 0)
		return 2;
	return atomic_load(&forgotten) ? 3 : 0;
}
