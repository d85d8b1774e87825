/*
 * drain.c -- read all that a walsender has to say up to a position, and what that took.
 *
 *   drain CONNINFO BASE_SLOT PLUGIN OPTIONS TARGET_LSN SECONDS_MAX
 *
 * The slot is a temporary copy of BASE_SLOT with another plugin, so every consumer reads the same log.
 * Nothing is confirmed.  The end is a keepalive at or beyond TARGET_LSN: the walsender sends one as soon
 * as it has caught up, because nothing was confirmed.  Prints one line:
 *
 *   elapsed us, CPU us of the walsender, messages, bytes, CPU us of this process, CPU us of everything else,
 *   the walsender's process id
 *
 * Bytes are those of CopyData messages with their headers; keepalives are not counted.  NAP_US sleeps so long
 * after each drain of the socket; PIN=1 binds the walsender to processor 0 and this process to 1.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* type byte and length of a CopyData message */
#define COPY_HEADER_BYTES 5

typedef struct Drain
{
	PGconn *conn;
	uint64_t target;
	uint64_t messages;
	uint64_t bytes;
	bool done;
} Drain;

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "drain: %s: %s\n", what, why);
	exit(1);
}

static void
command(PGconn *conn, const char *text, ExecStatusType wanted)
{
	PGresult *res = PQexec(conn, text);

	if (PQresultStatus(res) != wanted)
		fail(text, PQerrorMessage(conn));
	PQclear(res);
}

/* ---- processor time ---------------------------------------------------------------------- */

static int64_t
cpu_us(int pid)
{
	char path[64];
	uint64_t ns;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%" SCNu64, &ns) != 1)
		fail(path, "cannot be read");
	fclose(file);
	return (int64_t) (ns / 1000);
}

/* Of the whole machine, but for idle time and waiting for disks. */
static int64_t
machine_us(void)
{
	uint64_t user, nice, system, idle, iowait, irq, softirq, steal;
	FILE *file = fopen("/proc/stat", "r");

	if (file == NULL || fscanf(file,
							   "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
							   " %" SCNu64 " %" SCNu64,
							   &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal) != 8)
		fail("/proc/stat", "cannot be read");
	fclose(file);
	return (int64_t) ((user + nice + system + irq + softirq + steal) * 1000000 /
					  (uint64_t) sysconf(_SC_CLK_TCK));
}

static void
pin(int pid, int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	if (sched_setaffinity(pid, sizeof(set), &set) != 0)
		fail("PIN", "the process cannot be bound");
}

/* ---- the stream -------------------------------------------------------------------------- */

/* A status update that confirms nothing. */
static void
answer(Drain *drain)
{
	char reply[1 + 4 * 8 + 1] = "r";

	if (PQputCopyData(drain->conn, reply, sizeof(reply)) != 1 || PQflush(drain->conn) != 0)
		fail("status update", PQerrorMessage(drain->conn));
}

static void
take(Drain *drain, const char *data, int len)
{
	uint64_t end;

	if (data[0] == 'w')
	{
		drain->messages++;
		drain->bytes += (uint64_t) len + COPY_HEADER_BYTES;
		return;
	}
	if (data[0] != 'k' || len < 18)
		fail("stream", "unknown message");
	memcpy(&end, data + 1, sizeof(end));
	if (be64toh(end) >= drain->target)
		drain->done = true;
	if (data[17])
		answer(drain);
}

static void
drain_socket(Drain *drain)
{
	char *data;
	int len;

	if (!PQconsumeInput(drain->conn))
		fail("stream", PQerrorMessage(drain->conn));
	while ((len = PQgetCopyData(drain->conn, &data, 1)) > 0)
	{
		take(drain, data, len);
		PQfreemem(data);
	}
	if (len < 0)
		fail("stream ended", PQerrorMessage(drain->conn));
}

static void
drain_until_target(Drain *drain, int64_t deadline_us, useconds_t nap_us)
{
	struct pollfd socket = {.fd = PQsocket(drain->conn), .events = POLLIN};

	while (!drain->done)
	{
		if (now_us() > deadline_us)
			fail("stream", "the target was not reached in time");
		drain_socket(drain);
		if (drain->done)
			break;
		if (nap_us > 0)
			usleep(nap_us);
		poll(&socket, 1, 1000);
	}
}

/* decoderbufs tells of its start */
static void
ignore_notice(void *arg, const char *message)
{
}

static PGconn *
connect_with_slot(const char *conninfo, const char *base, const char *plugin)
{
	PGconn *conn = PQconnectdb(conninfo);
	char text[512];

	if (PQstatus(conn) != CONNECTION_OK)
		fail("connection", PQerrorMessage(conn));
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	/* the walsender of the run before may not have ended yet: a name of our own */
	snprintf(text, sizeof(text), "SELECT pg_copy_logical_replication_slot('%s', 'drain_%d', true, '%s')",
			 base, (int) getpid(), plugin);
	command(conn, text, PGRES_TUPLES_OK);
	return conn;
}

int
main(int argc, char **argv)
{
	Drain drain = {0};
	char text[2048];
	unsigned int high, low;
	int64_t start, cpu, machine;
	struct rusage usage;
	int64_t own;

	if (argc != 7 || sscanf(argv[5], "%X/%X", &high, &low) != 2)
		fail("usage", "drain CONNINFO BASE_SLOT PLUGIN OPTIONS TARGET_LSN SECONDS_MAX");
	drain.target = (uint64_t) high << 32 | low;
	drain.conn = connect_with_slot(argv[1], argv[2], argv[3]);
	if (getenv("PIN") != NULL && atoi(getenv("PIN")) == 1)
	{
		pin(PQbackendPID(drain.conn), 0);
		pin(0, 1);
	}

	snprintf(text, sizeof(text), "START_REPLICATION SLOT drain_%d LOGICAL 0/0 %s", (int) getpid(), argv[4]);
	cpu = cpu_us(PQbackendPID(drain.conn));
	machine = machine_us();
	start = now_us();
	command(drain.conn, text, PGRES_COPY_BOTH);
	drain_until_target(&drain, start + atoi(argv[6]) * INT64_C(1000000),
					   getenv("NAP_US") != NULL ? (useconds_t) atoi(getenv("NAP_US")) : 0);
	start = now_us() - start;
	cpu = cpu_us(PQbackendPID(drain.conn)) - cpu;
	getrusage(RUSAGE_SELF, &usage);
	own = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) + usage.ru_utime.tv_usec +
		  usage.ru_stime.tv_usec;
	machine = machine_us() - machine - cpu - own;
	printf("%" PRId64 " %" PRId64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %d\n", start, cpu,
		   drain.messages, drain.bytes, own, machine > 0 ? machine : 0, PQbackendPID(drain.conn));
	PQfinish(drain.conn);
	return 0;
}
