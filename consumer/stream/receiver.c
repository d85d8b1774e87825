/*
 * receiver.c -- see receiver.h.
 */
#include "stream/receiver.h"

#include <endian.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "stream/ack.h"
#include "stream/intake.h"

#define STATUS_BYTES 34

#define DRAIN_BYTES (4 << 20) /* then flush and look at the clock, however much there is */
#define DRAIN_ROUNDS 64
#define NAP_US 250	   /* 200 to 300: longer fills the socket buffer, shorter wakes per message */
#define NAP_RATE 20000 /* messages a second from which a nap pays */
#define WINDOW_US 10000
#define POLL_MS_MAX 1000
#define BACKOFF_MS_MIN 100
#define BACKOFF_MS_MAX 30000
#define BACKOFF_STREAMED 4 /* doublings: 1.6 s */
#define STABLE_US INT64_C(60000000)
#define STOP_SYNC_US INT64_C(5000000)
struct Receiver
{
	SessionContext context;
	const SourceSettings *settings;
	Journal *journal;
	Intake *intake;
	Session session;
	_Atomic Lsn sinks;	/* the lowest end_lsn in their checkpoints */
	int64_t receipt_us; /* wall clock of this drain */
	uint64_t window_messages;
	int64_t window_us;
	bool fast;
	unsigned seed;
	int stop_fd;
	atomic_bool stop;
	ReceiverStatus next; /* the receiver's own copy, published by publish() */
	pthread_mutex_t lock;
	ReceiverStatus status;
};

static bool send_status(void *arg, Lsn lsn, Error *err);

Receiver *
receiver_create(const SessionContext *context)
{
	Receiver *receiver = xcalloc(1, sizeof(*receiver));
	IntakeOutput output = {send_status, receiver};

	receiver->context = *context;
	receiver->context.stop = &receiver->stop;
	receiver->settings = context->settings;
	receiver->journal = context->journal;
	receiver->intake = intake_create(context->journal, &output);
	receiver->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	receiver->seed = (unsigned) clock_monotonic_us();
	pthread_mutex_init(&receiver->lock, NULL);
	return receiver;
}

void
receiver_destroy(Receiver *receiver)
{
	if (receiver == NULL)
		return;
	intake_destroy(receiver->intake);
	close(receiver->stop_fd);
	pthread_mutex_destroy(&receiver->lock);
	free(receiver);
}

void
receiver_stop(Receiver *receiver)
{
	uint64_t one = 1;
	ssize_t ignored;

	atomic_store(&receiver->stop, true);
	ignored = write(receiver->stop_fd, &one, sizeof(one));
	(void) ignored;
}

static void
publish(Receiver *receiver)
{
	const IntakeFigures *figures = intake_figures(receiver->intake);

	receiver->next.received = figures->received;
	receiver->next.acknowledged = figures->acknowledged;
	receiver->next.commit_time_us = figures->commit_time_us;
	receiver->next.beat = figures->beat;
	receiver->next.beat_us = figures->beat_us;
	receiver->next.transactions = figures->transactions;
	receiver->next.changes = figures->changes;
	receiver->next.frames = figures->frames;
	receiver->next.dropped = figures->dropped;
	snprintf(receiver->next.no_space, sizeof(receiver->next.no_space), "%s",
			 intake_no_space(receiver->intake));
	pthread_mutex_lock(&receiver->lock);
	receiver->status = receiver->next;
	pthread_mutex_unlock(&receiver->lock);
}

void
receiver_set_sinks(Receiver *receiver, Lsn lowest)
{
	atomic_store(&receiver->sinks, lowest);
}

void
receiver_status(Receiver *receiver, ReceiverStatus *status)
{
	pthread_mutex_lock(&receiver->lock);
	*status = receiver->status;
	pthread_mutex_unlock(&receiver->lock);
}

/* ---- answering ------------------------------------------------------------------------------ */

static void
put_u64(char *at, uint64_t v)
{
	v = htobe64(v);
	memcpy(at, &v, sizeof(v));
}

/* The only place that sends a status update. */
static bool
send_status(void *arg, Lsn lsn, Error *err)
{
	Receiver *receiver = arg;
	PGconn *conn = receiver->session.conn;
	char message[STATUS_BYTES];

	message[0] = 'r';
	put_u64(message + 1, lsn);	/* written */
	put_u64(message + 9, lsn);	/* flushed */
	put_u64(message + 17, lsn); /* applied */
	put_u64(message + 25, (uint64_t) (clock_wall_us() - PG_EPOCH_US));
	message[33] = 0;
	if (PQputCopyData(conn, message, sizeof(message)) <= 0 || PQflush(conn) != 0)
		return source_error(conn, NULL, err, "could not send a status update");
	return true;
}

static bool
feedback(Receiver *receiver, Error *err)
{
	uint64_t count;

	while (read(journal_durable_fd(receiver->journal), &count, sizeof(count)) > 0)
		;
	return intake_sinks(receiver->intake, atomic_load(&receiver->sinks), clock_monotonic_us(), err) &&
		   intake_feedback(receiver->intake, clock_monotonic_us(), err);
}

/* ---- one message ---------------------------------------------------------------------------- */

static bool
handle_message(Receiver *receiver, Slice message, Error *err)
{
	receiver->next.bytes += message.len;
	receiver->window_messages++;
	return intake_message(receiver->intake, message, clock_monotonic_us(), receiver->receipt_us, err);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static bool
stream_ended(Receiver *receiver, Error *err)
{
	PGconn *conn = receiver->session.conn;
	PGresult *res = PQgetResult(conn);

	if (PQresultStatus(res) == PGRES_FATAL_ERROR)
		source_error(conn, res, err, "the stream ended");
	else
		error_set(err, ERR_RETRY, "the server ended the stream");
	PQclear(res);
	return false;
}

/* Everything libpq has whole; *some when there was anything. */
static bool
take_messages(Receiver *receiver, uint64_t *bytes, bool *some, Error *err)
{
	PGconn *conn = receiver->session.conn;
	char *data;
	int len;

	*some = false;
	while (*bytes < DRAIN_BYTES && !intake_full(receiver->intake) &&
		   (len = PQgetCopyData(conn, &data, 1)) != 0)
	{
		bool ok;

		if (len < 0)
			return len == -1 ? stream_ended(receiver, err)
							 : source_error(conn, NULL, err, "could not read the stream");
		ok = handle_message(receiver, slice_make(data, (size_t) len), err);
		PQfreemem(data);
		if (!ok)
			return false;
		*some = true;
		*bytes += (uint64_t) len;
	}
	return true;
}

static bool
drain_socket(Receiver *receiver, Error *err)
{
	PGconn *conn = receiver->session.conn;
	uint64_t bytes = 0;
	bool some = true;

	receiver->receipt_us = clock_wall_us();
	for (int round = 0; round < DRAIN_ROUNDS && some && bytes < DRAIN_BYTES && !intake_full(receiver->intake);
		 round++)
	{
		if (!PQconsumeInput(conn))
		{
			/* messages read before the error still count */
			take_messages(receiver, &bytes, &some, err);
			return source_error(conn, NULL, err, "the connection was lost");
		}
		if (!take_messages(receiver, &bytes, &some, err))
			return false;
	}
	if (bytes > 0)
		receiver->next.message_us = receiver->receipt_us;
	return true;
}

static void
measure_rate(Receiver *receiver)
{
	int64_t now = clock_monotonic_us();
	int64_t elapsed = now - receiver->window_us;

	if (elapsed < WINDOW_US)
		return;
	receiver->fast = receiver->window_messages * 1000000 / (uint64_t) elapsed >= NAP_RATE;
	receiver->window_us = now;
	receiver->window_messages = 0;
}

static void
wait_for_more(Receiver *receiver)
{
	/* a server that hangs up would end every wait although nothing may be read */
	int server = intake_full(receiver->intake) ? -1 : PQsocket(receiver->session.conn);
	struct pollfd fds[] = {{.fd = server, .events = POLLIN},
						   {.fd = journal_durable_fd(receiver->journal), .events = POLLIN},
						   {.fd = receiver->stop_fd, .events = POLLIN}};
	int64_t us = intake_next_us(receiver->intake) - clock_monotonic_us();

	measure_rate(receiver);
	if (receiver->fast)
		usleep(NAP_US); /* one wake-up then takes a dozen messages */
	else if (us > 0)
		poll(fds, 3, (int) (us / 1000 + 1 < POLL_MS_MAX ? us / 1000 + 1 : POLL_MS_MAX));
}

static bool
stream(Receiver *receiver, Error *err)
{
	while (!atomic_load(&receiver->stop))
	{
		if (!drain_socket(receiver, err) || !intake_flush(receiver->intake, clock_monotonic_us(), err) ||
			!feedback(receiver, err))
			return false;
		publish(receiver);
		wait_for_more(receiver);
	}
	return true;
}

/* Asked to stop: what is whole is synced, and said so to the server. */
static void
say_goodbye(Receiver *receiver)
{
	JournalHead head;
	Error err;

	intake_abandon(receiver->intake);
	if (!journal_flush(receiver->journal, &err))
		return;
	journal_appended(receiver->journal, &head);
	if (head.seq > 0)
		journal_wait_durable(receiver->journal, head.seq, STOP_SYNC_US);
	if (intake_goodbye(receiver->intake, clock_monotonic_us(), &err) &&
		PQputCopyEnd(receiver->session.conn, NULL) > 0)
		PQflush(receiver->session.conn);
}

static void
begin_streaming(Receiver *receiver)
{
	Session *session = &receiver->session;
	int64_t now = clock_monotonic_us();

	intake_begin(
		receiver->intake, receiver->settings->confirm, session->start, session->slot.confirmed_flush,
		session->identity.flushed,
		ack_interval_us(session->identity.wal_sender_timeout_ms, receiver->settings->status_interval_ms),
		now);
	receiver->window_us = now;
	receiver->window_messages = 0;
	receiver->fast = false;
	receiver->next.state = RECEIVER_STREAMING;
	receiver->next.undecided = false;
	receiver->next.identity = session->identity;
	receiver->next.connects++;
	receiver->next.error[0] = '\0';
	publish(receiver);
	log_line(LOG_INFO, "streaming from slot \"%s\" of database \"%s\" at " LSN_FORMAT ", timeline %u",
			 receiver->settings->slot, session->identity.database, LSN_ARGS(session->start),
			 session->identity.timeline);
}

/* One connection, from the first check to its end. */
static bool
run_session(Receiver *receiver, bool *streamed, Error *err)
{
	bool ok;

	*streamed = false;
	if (!session_open(&receiver->context, &receiver->session, err))
		return false;
	receiver->context.skip_to = 0; /* done: H may be beyond it by the next session */
	*streamed = true;
	begin_streaming(receiver);
	ok = stream(receiver, err);
	if (ok)
		say_goodbye(receiver);
	else
		intake_abandon(receiver->intake); /* the server sends it again from its start */
	publish(receiver);
	session_close(&receiver->session);
	return ok;
}

/*
 * Doubles up to the cap while nothing streams.  What streamed begins again near a second, so that a
 * server that comes and goes sees one attempt a second; after a stable minute at the bottom.
 */
static void
back_off(Receiver *receiver, int *attempt, bool streamed, int64_t lasted_us)
{
	struct pollfd stop = {.fd = receiver->stop_fd, .events = POLLIN};
	int ms;

	if (streamed)
		*attempt = lasted_us >= STABLE_US ? 0 : BACKOFF_STREAMED;
	ms = *attempt < 9 ? BACKOFF_MS_MIN << *attempt : BACKOFF_MS_MAX;
	ms = ms < BACKOFF_MS_MAX ? ms : BACKOFF_MS_MAX;
	ms = ms / 2 + (int) ((unsigned) rand_r(&receiver->seed) % (unsigned) (ms / 2 + 1));
	*attempt += *attempt < 16;
	poll(&stop, 1, ms);
}

bool
receiver_run(Receiver *receiver, Error *err)
{
	int attempt = 0;
	char last[sizeof(err->message)] = "";

	while (!atomic_load(&receiver->stop))
	{
		int64_t begun = clock_monotonic_us();
		bool streamed;

		if (run_session(receiver, &streamed, err))
			break;
		receiver->next.state = RECEIVER_WAITING;
		receiver->next.undecided = !streamed && receiver->session.undecided;
		snprintf(receiver->next.error, sizeof(receiver->next.error), "%s", err->message);
		publish(receiver);
		if (atomic_load(&receiver->stop) && err->class == ERR_RETRY)
			break;
		if (!intake_may_retry(receiver->intake, err))
			return false;
		if (streamed || strcmp(last, err->message) != 0) /* say a lasting state once */
			log_error(LOG_WARNING, err, streamed ? "connection lost, will reconnect" : "will try again");
		snprintf(last, sizeof(last), "%s", err->message);
		back_off(receiver, &attempt, streamed, clock_monotonic_us() - begun);
	}
	receiver->next.state = RECEIVER_STOPPED;
	publish(receiver);
	return true;
}
