/*
 * proxy.c -- a network that misbehaves, for the fault tests: TCP on loopback in front of a server.
 *
 *	proxy SOCKET SEED MEAN_MS REPORT      SOCKET: the server's Unix socket
 *
 * Prints the port it listens on. Forwards faithfully until USR2; from then on every connection meets a
 * fault every MEAN_MS on average, drawn from the seed, each direction for itself:
 *
 *	delay   bytes wait for 10 to 300 ms
 *	stall   bytes wait for 1 to 6 s
 *	split   for a while bytes go on in pieces of 1 to 7
 *	reset   both ends see the connection reset, in the middle of whatever they were saying
 *	half    what is sent is swallowed, in one direction or in both, and nobody is told for 2 to 15 s
 *
 * USR1 heals it: what is half-open is reset, the rest is forwarded.  TERM ends it; REPORT then says how
 * often each fault took place.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINKS_MAX 256
#define PIPE_BYTES 65536
#define WAIT_MS_MAX 50

typedef enum
{
	DELAY,
	STALL,
	SPLIT,
	RESET,
	HALF,
	FAULTS,
} Fault;

static const char *const fault_names[FAULTS] = {"delay", "stall", "split", "reset", "half"};
static const unsigned fault_shares[FAULTS] = {35, 15, 25, 15, 10}; /* of 100 */

/* One direction of a connection. */
typedef struct Pipe
{
	char bytes[PIPE_BYTES];
	size_t at;
	size_t len;
	bool swallow;
	bool ended; /* the sender has said all */
	double held_until;
	double split_until;
} Pipe;

typedef struct Link
{
	int fds[2];	   /* client, server; -1 = free */
	Pipe pipes[2]; /* pipes[i] carries what fds[i] sends */
	double next_fault;
	double half_until; /* then it is reset; 0 = it is not half-open */
} Link;

static Link links[LINKS_MAX];
static unsigned long counts[FAULTS];
static unsigned long connections;
static uint64_t state;
static double mean;
static bool faulty;
static double now;

/* ---- chance and time --------------------------------------------------------------------------- */

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

/* 0 <= x < 1 */
static double
chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double) (state >> 11) / 9007199254740992.0;
}

static double
between(double low, double high)
{
	return low + (high - low) * chance();
}

/* ---- connections --------------------------------------------------------------------------------- */

static void
link_close(Link *link, bool reset)
{
	struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	for (int i = 0; i < 2; i++)
	{
		if (reset)
			setsockopt(link->fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(link->fds[i]);
		link->fds[i] = -1;
	}
}

static int
server_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
link_open(int client, const char *path)
{
	int server = server_connect(path);
	int one = 1;

	for (int i = 0; i < LINKS_MAX && server >= 0; i++)
	{
		Link *link = &links[i];

		if (link->fds[0] >= 0)
			continue;
		memset(link->pipes, 0, sizeof(link->pipes));
		link->fds[0] = client;
		link->fds[1] = server;
		link->half_until = 0;
		link->next_fault = now + between(0, 2 * mean);
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		fcntl(client, F_SETFL, O_NONBLOCK);
		fcntl(server, F_SETFL, O_NONBLOCK);
		connections++;
		return;
	}
	close(client); /* the server is away: so it would refuse */
	if (server >= 0)
		close(server);
}

/* ---- faults ---------------------------------------------------------------------------------------- */

static void
inflict(Link *link)
{
	Pipe *pipe = &link->pipes[chance() < 0.5];
	double share = 100 * chance();
	Fault fault = DELAY;

	while (fault < FAULTS - 1 && share >= fault_shares[fault])
		share -= fault_shares[fault++];
	counts[fault]++;
	switch (fault)
	{
		case DELAY:
			pipe->held_until = now + between(0.01, 0.3);
			break;
		case STALL:
			pipe->held_until = now + between(1, 6);
			break;
		case SPLIT:
			pipe->split_until = now + between(0.1, 1);
			break;
		case RESET:
			link_close(link, true);
			break;
		default:
			pipe->swallow = true;
			link->pipes[0].swallow |= chance() < 0.5;
			link->half_until = now + between(2, 15);
			break;
	}
}

static void
heal(void)
{
	faulty = false;
	for (int i = 0; i < LINKS_MAX; i++)
	{
		Link *link = &links[i];

		if (link->fds[0] < 0)
			continue;
		if (link->half_until > 0)
			link_close(link, true);
		else
			for (int p = 0; p < 2; p++)
				link->pipes[p].held_until = link->pipes[p].split_until = 0;
	}
}

/* ---- bytes ------------------------------------------------------------------------------------------- */

/* False: the connection is no more. */
static bool
pipe_read(Pipe *pipe, int from)
{
	ssize_t n;

	n = read(from, pipe->bytes + pipe->len, sizeof(pipe->bytes) - pipe->len);
	if (n > 0)
		pipe->len += pipe->swallow ? 0 : (size_t) n;
	else if (n == 0)
		pipe->ended = true;
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool
pipe_write(Pipe *pipe, int to)
{
	size_t len = pipe->len - pipe->at;
	size_t most = pipe->split_until > now ? 1 + (size_t) (7 * chance()) : len;
	ssize_t n = send(to, pipe->bytes + pipe->at, len < most ? len : most, MSG_NOSIGNAL);

	if (n > 0)
		pipe->at += (size_t) n;
	if (pipe->at == pipe->len)
		pipe->at = pipe->len = 0;
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool
wants_read(const Pipe *pipe)
{
	return !pipe->ended && pipe->len < sizeof(pipe->bytes);
}

static bool
wants_write(const Pipe *pipe)
{
	return pipe->at < pipe->len && pipe->held_until <= now;
}

static void
link_step(Link *link, short client, short server)
{
	const short events[2] = {client, server};

	for (int i = 0; i < 2; i++)
	{
		Pipe *pipe = &link->pipes[i];
		bool ok = true;

		if ((events[i] & (POLLIN | POLLHUP | POLLERR)) && wants_read(pipe))
			ok = pipe_read(pipe, link->fds[i]);
		if (ok && wants_write(pipe))
			ok = pipe_write(pipe, link->fds[1 - i]);
		/* half-open: what one side does is hidden from the other until it is over */
		if ((!ok || (pipe->ended && pipe->at == pipe->len)) && link->half_until == 0)
		{
			link_close(link, false);
			return;
		}
		if (!ok)
			pipe->ended = true;
	}
	if (link->half_until > 0 && now > link->half_until)
		link_close(link, true);
	else if (faulty && now > link->next_fault)
	{
		link->next_fault = now + between(0, 2 * mean);
		if (link->half_until == 0)
			inflict(link);
	}
}

static void
serve(int listener, int signals, const char *path)
{
	static struct pollfd fds[2 + 2 * LINKS_MAX];
	struct signalfd_siginfo info;

	for (;;)
	{
		int wait = WAIT_MS_MAX;

		now = seconds();
		fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = signals, .events = POLLIN};
		for (int i = 0; i < LINKS_MAX; i++)
			for (int p = 0; p < 2; p++)
			{
				Link *link = &links[i];
				short events = (short) ((wants_read(&link->pipes[p]) ? POLLIN : 0) |
										(wants_write(&link->pipes[1 - p]) ? POLLOUT : 0));

				/* one that has ended would report that again and again */
				fds[2 + 2 * i + p] = (struct pollfd){
					.fd = link->fds[p] >= 0 && events != 0 ? link->fds[p] : -1, .events = events};
				if (link->fds[p] >= 0 && link->pipes[p].held_until > now)
					wait = 5;
			}
		poll(fds, 2 + 2 * LINKS_MAX, wait);
		now = seconds();
		for (int i = 0; i < LINKS_MAX; i++)
			if (links[i].fds[0] >= 0)
				link_step(&links[i], fds[2 + 2 * i].revents, fds[3 + 2 * i].revents);
		if (fds[0].revents != 0)
		{
			int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

			if (client >= 0)
				link_open(client, path);
		}
		if (fds[1].revents == 0 || read(signals, &info, sizeof(info)) != (ssize_t) sizeof(info))
			continue;
		if (info.ssi_signo == SIGTERM)
			return;
		if (info.ssi_signo == SIGUSR1)
			heal();
		else
			faulty = true;
	}
}

/* ---- ends --------------------------------------------------------------------------------------------- */

static int
catch_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int signals = catch_signals();
	FILE *report;

	if (argc != 5)
	{
		fprintf(stderr, "usage: proxy SOCKET SEED MEAN_MS REPORT\n");
		return 2;
	}
	state = (strtoull(argv[2], NULL, 10) + 1) * UINT64_C(0x9E3779B97F4A7C15);
	mean = atof(argv[3]) / 1000;
	for (int i = 0; i < LINKS_MAX; i++)
		links[i].fds[0] = links[i].fds[1] = -1;
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 || listen(listener, 64) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &len) != 0)
	{
		perror("proxy");
		return 1;
	}
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	serve(listener, signals, argv[1]);
	report = fopen(argv[4], "w");
	if (report == NULL)
		return 1;
	fprintf(report, "connections %lu\n", connections);
	for (int i = 0; i < FAULTS; i++)
		fprintf(report, "%s %lu\n", fault_names[i], counts[i]);
	return fclose(report) == 0 ? 0 : 1;
}
