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
#include "stream/txn.h"

#define DATA_HEADER_BYTES 25
#define KEEPALIVE_BYTES 18
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
#define FUTURE_US INT64_C(60000000) /* a commit time is believed up to a minute ahead of receipt */
#define STOP_SYNC_US INT64_C(5000000)
/*
 * A record of the journal, which no server exceeds: its own buffers end there.  Our settings bound values and
 * frames, not rows: thousands of small values make a large one, and must not stop the stream.
 */
#define MESSAGE_BYTES_MAX ((1 << 30) - 4096)

struct Receiver
{
	SessionContext context;
	const SourceSettings *settings;
	Journal *journal;
	Assembler *assembler;
	Session session;
	Ack ack;
	bool unit_open;
	uint64_t unit_changes;
	int64_t receipt_us; /* wall clock of this drain */
	Lsn failed;			/* the transaction that ended the last connection by bad bytes */
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

static void
relation_seen(void *arg, uint64_t fingerprint, Slice entry)
{
	Receiver *receiver = arg;

	journal_keep_relation(receiver->journal, fingerprint, entry);
}

Receiver *
receiver_create(const SessionContext *context)
{
	Receiver *receiver = xcalloc(1, sizeof(*receiver));
	AssemblerEvents events = {relation_seen, receiver};

	receiver->context = *context;
	receiver->context.stop = &receiver->stop;
	receiver->settings = context->settings;
	receiver->journal = context->journal;
	receiver->assembler = assembler_create(&journal_identity(context->journal)->stream_id, &events);
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
	assembler_destroy(receiver->assembler);
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
	receiver->next.acknowledged = receiver->ack.sent;
	receiver->next.dropped = assembler_dropped(receiver->assembler);
	pthread_mutex_lock(&receiver->lock);
	receiver->status = receiver->next;
	pthread_mutex_unlock(&receiver->lock);
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

static uint64_t
get_u64(const char *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return be64toh(v);
}

/* The only place that sends a status update. */
static bool
send_status(Receiver *receiver, Lsn lsn, Error *err)
{
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
append_progress(Receiver *receiver, Lsn lsn, Error *err)
{
	Unit unit = {.kind = UNIT_PROGRESS, .end_lsn = lsn};

	if (!journal_append(receiver->journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, err))
		return false;
	assembler_progress(receiver->assembler, lsn);
	ack_appended(&receiver->ack, lsn);
	return true;
}

static bool
carry_out(Receiver *receiver, const AckActions *actions, Error *err)
{
	if (actions->progress && !append_progress(receiver, actions->progress_lsn, err))
	{
		if (err->class != ERR_SPACE)
			return false;
		ack_space(&receiver->ack, true, clock_monotonic_us());
	}
	if (actions->status && !send_status(receiver, actions->status_lsn, err))
		return false;
	return !actions->close ||
		   error_set(err, ERR_SPACE, "no space for the journal: the stream is closed until there is");
}

/* What the journal's sync thread and the clock have to say to the server. */
static bool
feedback(Receiver *receiver, Error *err)
{
	AckActions actions;
	uint64_t count;
	uint64_t seq;
	Lsn lsn;

	while (read(journal_durable_fd(receiver->journal), &count, sizeof(count)) > 0)
		;
	journal_durable(receiver->journal, &seq, &lsn);
	if (lsn > receiver->ack.durable)
	{
		actions = ack_durable(&receiver->ack, lsn, clock_monotonic_us());
		if (!carry_out(receiver, &actions, err))
			return false;
	}
	actions = ack_timer(&receiver->ack, clock_monotonic_us());
	return carry_out(receiver, &actions, err);
}

/* ---- one message ---------------------------------------------------------------------------- */

static void
note_beat(Receiver *receiver)
{
	uint64_t beat = assembler_beat(receiver->assembler);

	if (beat != receiver->next.beat)
	{
		receiver->next.beat = beat;
		receiver->next.beat_us = clock_monotonic_us();
	}
}

static bool
begin_unit(Receiver *receiver, const TxnStep *step, Error *err)
{
	JournalHead head;
	int64_t latest = receiver->receipt_us + FUTURE_US;
	int64_t now = step->head.commit_time_us < latest ? step->head.commit_time_us : latest;
	Unit unit = {.kind = UNIT_TXN,
				 .commit_lsn = step->head.commit_lsn,
				 .end_lsn = step->head.end_lsn,
				 .commit_time_us = step->head.commit_time_us,
				 .xid = step->head.xid,
				 .beat = assembler_beat(receiver->assembler),
				 .owner_epoch = assembler_owner_epoch(receiver->assembler)};

	journal_appended(receiver->journal, &head);
	unit.now_us = now > head.now_us ? now : head.now_us;
	unit.owner_epoch = unit.owner_epoch > head.owner_epoch ? unit.owner_epoch : head.owner_epoch;
	if (!journal_begin(receiver->journal, &unit, err))
		return false;
	receiver->unit_open = true;
	return true;
}

static bool
append_frame(Receiver *receiver, const TxnStep *step, Slice frame, Error *err)
{
	if (step->first && !begin_unit(receiver, step, err))
		return false;
	if (!journal_part(receiver->journal, PART_FRAME, frame, err))
		return false;
	if (!step->last)
		return true;
	if (!journal_end(receiver->journal, err))
		return false;
	receiver->unit_open = false;
	ack_appended(&receiver->ack, step->head.end_lsn);
	receiver->next.transactions++;
	receiver->next.changes += step->changes;
	receiver->next.commit_time_us = step->head.commit_time_us;
	if (step->lost.len > 0) /* the scorer asks for the GAP unit: it remembers, whoever is killed */
		log_line(LOG_ERROR, "the source can no longer honour a publication: %.*s", (int) step->lost.len,
				 (const char *) step->lost.data);
	return true;
}

static void
abandon_unit(Receiver *receiver)
{
	Error err;

	if (receiver->unit_open && !journal_abandon(receiver->journal, &err))
		log_error(LOG_ERROR, &err, "could not cut an incomplete transaction");
	receiver->unit_open = false;
}

/*
 * No space, and nothing of this transaction in the journal yet: the frame waits in memory, the
 * connection is kept alive with an unchanged status, and ack_timer() gives it up after a while.
 */
static bool
hold_frame(Receiver *receiver, const TxnStep *step, Slice frame, Error *err)
{
	log_line(LOG_ERROR, "no space for the journal: the stream waits");
	ack_space(&receiver->ack, true, clock_monotonic_us());
	while (!atomic_load(&receiver->stop))
	{
		struct pollfd stop = {.fd = receiver->stop_fd, .events = POLLIN};

		poll(&stop, 1, POLL_MS_MAX);
		if (!feedback(receiver, err))
			return false;
		if (append_frame(receiver, step, frame, err))
		{
			log_line(LOG_INFO, "there is space for the journal again");
			ack_space(&receiver->ack, false, clock_monotonic_us());
			return true;
		}
		abandon_unit(receiver);
		if (err->class != ERR_SPACE)
			return false;
	}
	return error_set(err, ERR_RETRY, "stopped while waiting for space");
}

static bool
handle_data(Receiver *receiver, const char *data, size_t len, Error *err)
{
	Slice frame = slice_make(data + DATA_HEADER_BYTES, len - DATA_HEADER_BYTES);
	Lsn named = get_u64(data + 9);
	TxnStep step;

	if (!assembler_frame(receiver->assembler, frame, &step, err))
		return false;
	ack_data(&receiver->ack, named > step.head.end_lsn ? named : step.head.end_lsn, !step.last);
	receiver->next.frames++;
	if (step.last)
		receiver->next.received = step.head.end_lsn;
	note_beat(receiver);
	if (step.drop)
		return true;
	if (append_frame(receiver, &step, frame, err))
		return true;
	if (err->class != ERR_SPACE || !step.first)
		return false;
	abandon_unit(receiver);
	return hold_frame(receiver, &step, frame, err);
}

static bool
handle_keepalive(Receiver *receiver, const char *data, Error *err)
{
	Lsn wal_end = get_u64(data + 1);
	AckActions actions = ack_keepalive(&receiver->ack, wal_end, data[17] != 0, clock_monotonic_us());

	if (wal_end > receiver->next.received)
		receiver->next.received = wal_end;
	return carry_out(receiver, &actions, err);
}

static bool
handle_message(Receiver *receiver, const char *data, int len, Error *err)
{
	receiver->next.bytes += (uint64_t) len;
	receiver->window_messages++;
	if (len > MESSAGE_BYTES_MAX)
		return error_set(err, ERR_DATA, "a message of %d bytes is larger than a record of the journal", len);
	if (data[0] == 'w' && len > DATA_HEADER_BYTES)
		return handle_data(receiver, data, (size_t) len, err);
	if (data[0] == 'k' && len == KEEPALIVE_BYTES)
		return handle_keepalive(receiver, data, err);
	return error_set(err, ERR_DATA, "unexpected message of type 0x%02x and %d bytes", (unsigned char) data[0],
					 len);
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
	while (*bytes < DRAIN_BYTES && (len = PQgetCopyData(conn, &data, 1)) != 0)
	{
		bool ok;

		if (len < 0)
			return len == -1 ? stream_ended(receiver, err)
							 : source_error(conn, NULL, err, "could not read the stream");
		ok = handle_message(receiver, data, len, err);
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
	for (int round = 0; round < DRAIN_ROUNDS && some && bytes < DRAIN_BYTES; round++)
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
	struct pollfd fds[] = {{.fd = PQsocket(receiver->session.conn), .events = POLLIN},
						   {.fd = journal_durable_fd(receiver->journal), .events = POLLIN},
						   {.fd = receiver->stop_fd, .events = POLLIN}};
	int64_t us = ack_next_us(&receiver->ack) - clock_monotonic_us();

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
		if (!drain_socket(receiver, err) || !journal_flush(receiver->journal, err) ||
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
	AckActions actions;
	Error err;
	uint64_t seq;
	Lsn lsn;

	abandon_unit(receiver);
	if (!journal_flush(receiver->journal, &err))
		return;
	journal_appended(receiver->journal, &head);
	if (head.seq > 0)
		journal_wait_durable(receiver->journal, head.seq, STOP_SYNC_US);
	journal_durable(receiver->journal, &seq, &lsn);
	if (lsn > receiver->ack.durable)
		ack_durable(&receiver->ack, lsn, clock_monotonic_us());
	actions = ack_end(&receiver->ack, clock_monotonic_us());
	if (send_status(receiver, actions.status_lsn, &err) && PQputCopyEnd(receiver->session.conn, NULL) > 0)
		PQflush(receiver->session.conn);
}

static void
begin_streaming(Receiver *receiver)
{
	Session *session = &receiver->session;
	int64_t now = clock_monotonic_us();
	Lsn named = session->identity.flushed > session->start ? session->identity.flushed : session->start;

	ack_begin(
		&receiver->ack, receiver->settings->confirm, session->start, session->slot.confirmed_flush, named,
		ack_interval_us(session->identity.wal_sender_timeout_ms, receiver->settings->status_interval_ms),
		now);
	assembler_begin(receiver->assembler, session->start);
	receiver->window_us = now;
	receiver->window_messages = 0;
	receiver->fast = false;
	receiver->next.state = RECEIVER_STREAMING;
	receiver->next.identity = session->identity;
	receiver->next.received = session->start;
	receiver->next.beat_us = now;
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
	*streamed = true;
	begin_streaming(receiver);
	ok = stream(receiver, err);
	if (ok)
		say_goodbye(receiver);
	else
		abandon_unit(receiver); /* the server sends it again from its start */
	publish(receiver);
	session_close(&receiver->session);
	return ok;
}

/* Bad bytes are fetched once more; the same transaction bad again is not a matter of the network. */
static bool
may_retry(Receiver *receiver, Error *err)
{
	Lsn failed = assembler_failed(receiver->assembler);

	if (err->class == ERR_RETRY || err->class == ERR_SPACE)
		return true;
	failed = failed != 0 ? failed : 1; /* no transaction at all: a message nobody knows */
	if (err->class == ERR_DATA && failed != receiver->failed)
	{
		receiver->failed = failed;
		return true;
	}
	if (err->class == ERR_DATA)
	{
		err->class = ERR_REFUSE;
		error_wrap(err, "the same transaction came malformed twice");
		error_hint(
			err,
			"Nothing of it was acknowledged. Check that server library and daemon are of the same version.");
	}
	return false;
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
		snprintf(receiver->next.error, sizeof(receiver->next.error), "%s", err->message);
		publish(receiver);
		if (atomic_load(&receiver->stop) && err->class == ERR_RETRY)
			break;
		if (!may_retry(receiver, err))
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
