/*
 * ack.c -- see ack.h.
 */
#undef NDEBUG /* these assertions are the promise itself: they stay on in every build */

#include "stream/ack.h"

#include <assert.h>
#include <string.h>

#define MAX(a, b) ((a) > (b) ? (a) : (b))

int64_t
ack_interval_us(int64_t wal_sender_timeout_ms, int64_t wanted_ms)
{
	int64_t ms = wanted_ms > 0 && wanted_ms < 10000 ? wanted_ms : 10000;

	if (wal_sender_timeout_ms > 0 && wal_sender_timeout_ms / 3 < ms)
		ms = MAX(wal_sender_timeout_ms / 3, 1);
	return ms * 1000;
}

void
ack_begin(Ack *ack, AckConfirm confirm, Lsn durable, Lsn confirmed, Lsn flushed, int64_t interval_us,
		  int64_t now_us)
{
	assert(confirmed <= durable); /* C3, both sides */
	assert(durable <= flushed);
	assert(interval_us > 0);
	memset(ack, 0, sizeof(*ack));
	ack->confirm = confirm;
	ack->durable = durable;
	ack->appended = durable;
	ack->named = flushed;
	ack->sent = confirmed; /* some servers take a lower position for an order to go back */
	ack->interval_us = interval_us;
	ack->status_us = now_us;
	ack->asked_us = now_us - ACK_PROGRESS_ASKED_US;
	ack->progress_us = now_us;
	ack->probed_us = now_us - ACK_PROBE_US;
}

/* A: what may be forgotten by the server. */
static Lsn
position(const Ack *ack)
{
	Lsn lsn = ack->durable;

	if (ack->confirm == ACK_SINKS && ack->sinks < lsn)
		lsn = ack->sinks;
	return ack->confirm == ACK_SINKS ? MAX(lsn, ack->sent) : lsn;
}

/* The one place where a position leaves for the server. */
static void
give_status(Ack *ack, AckActions *actions, int64_t now_us)
{
	Lsn lsn = position(ack);

	assert(lsn >= ack->sent);
	assert(lsn <= ack->durable);
	assert(lsn <= ack->named);
	ack->sent = lsn;
	ack->status_us = now_us;
	if (ack->awaited != 0 && lsn >= ack->awaited)
		ack->awaited = 0;
	actions->status = true;
	actions->status_lsn = lsn;
}

static void
make_progress(Ack *ack, AckActions *actions, Lsn wal_end, int64_t now_us)
{
	assert(!ack->partial); /* its own unit would be overtaken */
	assert(wal_end > ack->appended);
	assert(wal_end <= ack->named);
	ack->progress_us = now_us;
	actions->progress = true;
	actions->progress_lsn = wal_end;
}

void
ack_data(Ack *ack, Lsn named, bool partial)
{
	ack->named = MAX(ack->named, named);
	ack->partial = partial;
	if (partial && ack->deferred != 0)
	{
		/* what it would have covered is no longer all there: the request is answered with A, now */
		ack->deferred = 0;
		ack->status_us -= ack->interval_us;
	}
}

void
ack_appended(Ack *ack, Lsn end_lsn)
{
	ack->appended = MAX(ack->appended, end_lsn);
	if (ack->deferred != 0 && ack->deferred <= ack->appended)
	{
		ack->awaited = MAX(ack->awaited, ack->deferred);
		ack->deferred = 0;
	}
}

void
ack_space(Ack *ack, bool no_space, int64_t now_us)
{
	if (no_space && !ack->no_space)
	{
		ack->no_space_since_us = now_us;
		ack->probed_us = now_us;
		if (ack->awaited > ack->durable) /* what it waits for may never be in: answered with A, now */
		{
			ack->awaited = 0;
			ack->status_us -= ack->interval_us;
		}
	}
	ack->no_space = no_space;
	if (!no_space)
		ack->pressed_us = 0;
}

/* Requests that A does not satisfy, one after every answer, mean a server that waits for us to stop. */
static bool
pressed_too_long(Ack *ack, int64_t now_us)
{
	if (ack->pressed_us == 0 || now_us - ack->pressed_us > 1000000)
		ack->pressed_since_us = now_us;
	ack->pressed_us = now_us;
	return now_us - ack->pressed_since_us >= ACK_SHUTDOWN_US;
}

/* Is W something a PROGRESS may say? Nothing of a transaction is half in, and no unit says as much already. */
static bool
may_progress(const Ack *ack, Lsn wal_end, int64_t now_us)
{
	return !ack->partial && wal_end > ack->appended &&
		   (!ack->no_space || now_us - ack->probed_us >= ACK_PROBE_US);
}

/*
 * A is given at once, as it cannot become W by an fsync alone.  Meanwhile W goes into the journal, so that the sinks can
 * reach it, or as a trial whether there is space again.
 */
static void
answer_at_once(Ack *ack, AckActions *actions, Lsn wal_end, int64_t now_us)
{
	give_status(ack, actions, now_us);
	if (wal_end <= ack->sent)
	{
		ack->pressed_us = 0;
		return;
	}
	if (ack->no_space || (ack->confirm == ACK_SINKS && !ack->partial))
		actions->close = pressed_too_long(ack, now_us);
	if (!actions->close && may_progress(ack, wal_end, now_us) &&
		now_us - ack->asked_us >= ACK_PROGRESS_ASKED_US)
	{
		ack->asked_us = ack->probed_us = now_us;
		make_progress(ack, actions, wal_end, now_us);
	}
}

static void
answer(Ack *ack, AckActions *actions, Lsn wal_end, int64_t now_us)
{
	if (wal_end <= ack->durable || ack->partial || ack->no_space || ack->confirm == ACK_SINKS)
	{
		answer_at_once(ack, actions, wal_end, now_us);
		return;
	}
	if (wal_end <= ack->appended) /* a unit reaches W already: its fsync is the answer */
	{
		ack->awaited = MAX(ack->awaited, wal_end);
		return;
	}
	if (now_us - ack->asked_us < ACK_PROGRESS_ASKED_US)
	{
		ack->deferred = MAX(ack->deferred, wal_end);
		return;
	}
	ack->asked_us = now_us;
	ack->awaited = MAX(ack->awaited, wal_end);
	make_progress(ack, actions, wal_end, now_us);
}

AckActions
ack_keepalive(Ack *ack, Lsn wal_end, bool reply, int64_t now_us)
{
	AckActions actions = {0};

	/* Positions may go backwards, and the first only repeats the slot's own: no conclusion from that. */
	ack->named = MAX(ack->named, wal_end);
	if (reply)
		answer(ack, &actions, wal_end, now_us);
	else if (may_progress(ack, wal_end, now_us) && (now_us - ack->progress_us >= ACK_PROGRESS_IDLE_US ||
													wal_end - ack->appended >= ACK_PROGRESS_IDLE_BYTES))
	{
		ack->probed_us = now_us;
		make_progress(ack, &actions, wal_end, now_us);
	}
	return actions;
}

AckActions
ack_durable(Ack *ack, Lsn durable, int64_t now_us)
{
	AckActions actions = {0};

	assert(durable >= ack->durable);
	ack->durable = durable;
	ack->appended = MAX(ack->appended, durable);
	if ((ack->awaited != 0 && durable >= ack->awaited) ||
		position(ack) - ack->sent >= ACK_PROGRESS_IDLE_BYTES)
		give_status(ack, &actions, now_us);
	return actions;
}

AckActions
ack_sinks(Ack *ack, Lsn lowest, int64_t now_us)
{
	AckActions actions = {0};

	ack->sinks = lowest;
	if (position(ack) - ack->sent >= ACK_PROGRESS_IDLE_BYTES)
		give_status(ack, &actions, now_us);
	return actions;
}

AckActions
ack_timer(Ack *ack, int64_t now_us)
{
	AckActions actions = {0};

	if (ack->deferred != 0 && now_us - ack->asked_us >= ACK_PROGRESS_ASKED_US)
	{
		Lsn wal_end = ack->deferred;

		ack->deferred = 0;
		answer(ack, &actions, wal_end, now_us);
	}
	if (!actions.status && now_us - ack->status_us >= ack->interval_us)
		give_status(ack, &actions, now_us);
	if (ack->no_space && now_us - ack->no_space_since_us >= ACK_SPACE_US)
		actions.close = true;
	return actions;
}

AckActions
ack_end(Ack *ack, int64_t now_us)
{
	AckActions actions = {0};

	give_status(ack, &actions, now_us);
	return actions;
}

int64_t
ack_next_us(const Ack *ack)
{
	int64_t next = ack->status_us + ack->interval_us;

	if (ack->deferred != 0 && ack->asked_us + ACK_PROGRESS_ASKED_US < next)
		next = ack->asked_us + ACK_PROGRESS_ASKED_US;
	if (ack->no_space && ack->no_space_since_us + ACK_SPACE_US < next)
		next = ack->no_space_since_us + ACK_SPACE_US;
	return next;
}
