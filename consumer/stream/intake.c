/*
 * intake.c -- see intake.h.
 */
#undef NDEBUG /* these assertions guard the promise to the server */
#include "stream/intake.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "stream/txn.h"

#define DATA_HEADER_BYTES 25
#define KEEPALIVE_BYTES 18
#define SPACE_RETRY_US INT64_C(500000)
#define FUTURE_US INT64_C(60000000) /* a commit time is believed up to a minute ahead of receipt */

/* A data message for which there was no room. */
typedef struct Held
{
	bool there;
	bool judged; /* the assembler has had it: `step` says what is to be appended */
	Buffer message;
	TxnStep step;
	int64_t receipt_us;
} Held;

struct Intake
{
	Journal *journal;
	IntakeOutput output;
	Assembler *assembler;
	Ack ack;
	bool unit_open;
	Lsn failed;			/* the transaction that ended the last connection by bad bytes */
	Held held;			/* waits for room .. */
	Held behind;		/* .. and so does the next one: no more is taken */
	bool unflushed;		/* what the journal has in memory waits as well */
	int64_t space_us;	/* when room was last looked for */
	char no_space[512]; /* why there is none */
	IntakeFigures figures;
};

static void
relation_seen(void *arg, uint64_t fingerprint, Slice entry)
{
	Intake *intake = arg;

	journal_keep_relation(intake->journal, fingerprint, entry);
}

Intake *
intake_create(Journal *journal, const IntakeOutput *output)
{
	Intake *intake = xcalloc(1, sizeof(*intake));
	AssemblerEvents events = {relation_seen, intake};

	intake->journal = journal;
	intake->output = *output;
	intake->assembler = assembler_create(&journal_identity(journal)->stream_id, &events);
	return intake;
}

void
intake_destroy(Intake *intake)
{
	if (intake == NULL)
		return;
	assembler_destroy(intake->assembler);
	buffer_free(&intake->held.message);
	buffer_free(&intake->behind.message);
	free(intake);
}

void
intake_begin(Intake *intake, AckConfirm confirm, Lsn start, Lsn confirmed, Lsn flushed, int64_t interval_us,
			 int64_t now_us)
{
	ack_begin(&intake->ack, confirm, start, confirmed, flushed > start ? flushed : start, interval_us,
			  now_us);
	assembler_begin(intake->assembler, start);
	assert(!intake->held.there && !intake->behind.there && !intake->unit_open);
	intake->no_space[0] = '\0';
	intake->figures.received = start;
	intake->figures.beat_us = now_us;
}

const IntakeFigures *
intake_figures(Intake *intake)
{
	intake->figures.acknowledged = intake->ack.sent;
	intake->figures.dropped = assembler_dropped(intake->assembler);
	return &intake->figures;
}

/* ---- answering ------------------------------------------------------------------------------ */

/* From here on no data message is taken, until the journal can; ack_timer() gives the connection up after a while. */
static void
no_space(Intake *intake, int64_t now_us, const Error *err)
{
	if (!intake->ack.no_space)
		log_error(LOG_ERROR, err, "no space for the journal, the stream waits");
	snprintf(intake->no_space, sizeof(intake->no_space), "%.500s", err->message);
	intake->space_us = now_us;
	ack_space(&intake->ack, true, now_us);
}

static void
space_is_back(Intake *intake, int64_t now_us)
{
	if (!intake->ack.no_space)
		return;
	log_line(LOG_INFO, "there is space for the journal again");
	intake->no_space[0] = '\0';
	ack_space(&intake->ack, false, now_us);
}

static bool
append_progress(Intake *intake, Lsn lsn, int64_t now_us, Error *err)
{
	Unit unit = {.kind = UNIT_PROGRESS, .end_lsn = lsn};

	assert(!intake->held.there && !assembler_open(intake->assembler)); /* it would be overtaken */
	if (!journal_append(intake->journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, err))
		return false;
	assembler_progress(intake->assembler, lsn);
	ack_appended(&intake->ack, lsn);
	space_is_back(intake, now_us);
	return true;
}

static bool
carry_out(Intake *intake, const AckActions *actions, int64_t now_us, Error *err)
{
	if (actions->progress && !append_progress(intake, actions->progress_lsn, now_us, err))
	{
		if (err->class != ERR_SPACE)
			return false;
		no_space(intake, now_us, err);
	}
	if (actions->status && !intake->output.status(intake->output.context, actions->status_lsn, err))
		return false;
	if (!actions->close)
		return true;
	if (!intake->ack.no_space)
		return error_set(err, ERR_RETRY, "the server wants to stop, and not every sink has all of it yet");
	return error_set(err, ERR_SPACE, "no space for the journal (%s): the stream is closed until there is",
					 intake->no_space);
}

bool
intake_feedback(Intake *intake, int64_t now_us, Error *err)
{
	AckActions actions;
	uint64_t seq;
	Lsn lsn;

	journal_durable(intake->journal, &seq, &lsn);
	if (lsn > intake->ack.durable)
	{
		actions = ack_durable(&intake->ack, lsn, now_us);
		if (!carry_out(intake, &actions, now_us, err))
			return false;
	}
	actions = ack_timer(&intake->ack, now_us);
	return carry_out(intake, &actions, now_us, err);
}

bool
intake_sinks(Intake *intake, Lsn lowest, int64_t now_us, Error *err)
{
	AckActions actions = ack_sinks(&intake->ack, lowest, now_us);

	return carry_out(intake, &actions, now_us, err);
}

const char *
intake_no_space(const Intake *intake)
{
	return intake->no_space;
}

static bool
waits(const Intake *intake)
{
	return intake->held.there || intake->unflushed;
}

int64_t
intake_next_us(const Intake *intake)
{
	int64_t next = ack_next_us(&intake->ack);

	return waits(intake) && intake->space_us + SPACE_RETRY_US < next ? intake->space_us + SPACE_RETRY_US
																	 : next;
}

bool
intake_goodbye(Intake *intake, int64_t now_us, Error *err)
{
	AckActions actions;
	uint64_t seq;
	Lsn lsn;

	journal_durable(intake->journal, &seq, &lsn);
	if (lsn > intake->ack.durable)
		ack_durable(&intake->ack, lsn, now_us);
	actions = ack_end(&intake->ack, now_us);
	return intake->output.status(intake->output.context, actions.status_lsn, err);
}

/* ---- units ---------------------------------------------------------------------------------- */

static void
note_beat(Intake *intake, int64_t now_us)
{
	uint64_t beat = assembler_beat(intake->assembler);

	if (beat != intake->figures.beat)
	{
		intake->figures.beat = beat;
		intake->figures.beat_us = now_us;
	}
}

static bool
begin_unit(Intake *intake, const TxnStep *step, int64_t receipt_us, Error *err)
{
	JournalHead head;
	int64_t latest = receipt_us + FUTURE_US;
	int64_t now = step->head.commit_time_us < latest ? step->head.commit_time_us : latest;
	Unit unit = {.kind = UNIT_TXN,
				 .commit_lsn = step->head.commit_lsn,
				 .end_lsn = step->head.end_lsn,
				 .commit_time_us = step->head.commit_time_us,
				 .xid = step->head.xid,
				 .beat = assembler_beat(intake->assembler),
				 .owner_epoch = assembler_owner_epoch(intake->assembler)};

	journal_appended(intake->journal, &head);
	unit.now_us = now > head.now_us ? now : head.now_us;
	unit.owner_epoch = unit.owner_epoch > head.owner_epoch ? unit.owner_epoch : head.owner_epoch;
	if (!journal_begin(intake->journal, &unit, err))
		return false;
	intake->unit_open = true;
	return true;
}

static bool
append_frame(Intake *intake, const TxnStep *step, Slice frame, int64_t receipt_us, Error *err)
{
	if (step->first && !begin_unit(intake, step, receipt_us, err))
		return false;
	if (!journal_part(intake->journal, PART_FRAME, frame, err))
		return false;
	if (!step->last)
		return true;
	if (!journal_end(intake->journal, err))
		return false;
	intake->unit_open = false;
	ack_appended(&intake->ack, step->head.end_lsn);
	intake->figures.transactions++;
	intake->figures.changes += step->changes;
	intake->figures.commit_time_us = step->head.commit_time_us;
	if (step->lost.len > 0) /* the scorer asks for the GAP unit: it remembers, whoever is killed */
		log_line(LOG_ERROR, "the source can no longer honour a publication: %.*s", (int) step->lost.len,
				 (const char *) step->lost.data);
	return true;
}

static void
abandon_unit(Intake *intake)
{
	Error err;

	if (intake->unit_open && !journal_abandon(intake->journal, &err))
		log_error(LOG_ERROR, &err, "could not cut an incomplete transaction");
	intake->unit_open = false;
}

void
intake_abandon(Intake *intake)
{
	abandon_unit(intake);
	intake->held.there = intake->behind.there = intake->unflushed = false;
}

bool
intake_open(const Intake *intake)
{
	return intake->unit_open;
}

/* ---- one message ---------------------------------------------------------------------------- */

static uint64_t
get_u64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return be64toh(v);
}

/*
 * One data message.  False with ERR_SPACE: nothing of it was appended; once it is judged, and only then, it has been
 * through the assembler, and must be tried again with the same step.
 */
static bool
try_data(Intake *intake, Slice message, bool *judged, TxnStep *step, int64_t now_us, int64_t receipt_us,
		 Error *err)
{
	Slice frame = slice_make(message.data + DATA_HEADER_BYTES, message.len - DATA_HEADER_BYTES);
	Lsn named = get_u64(message.data + 9);

	if (!*judged && !assembler_frame(intake->assembler, frame, step, err))
		return false;
	*judged = true;
	ack_data(&intake->ack, named > step->head.end_lsn ? named : step->head.end_lsn, !step->last);
	note_beat(intake, now_us);
	if (!step->drop && !append_frame(intake, step, frame, receipt_us, err))
	{
		if (step->first) /* the unit begins anew with the next trial */
			abandon_unit(intake);
		ack_data(&intake->ack, 0, true); /* until it is in, nothing may be said of what lies behind it */
		return false;
	}
	intake->figures.frames++;
	if (step->last)
		intake->figures.received = step->head.end_lsn;
	return true;
}

static void
hold(Held *held, Slice message, bool judged, const TxnStep *step, int64_t receipt_us)
{
	held->there = true;
	held->judged = judged;
	held->step = *step;
	buffer_reset(&held->message);
	buffer_append_slice(&held->message, message);
	held->receipt_us = receipt_us;
}

static bool
take_data(Intake *intake, Slice message, int64_t now_us, int64_t receipt_us, Error *err)
{
	TxnStep step = {.last = false};
	bool judged = false;

	if (intake->held.there)
	{
		assert(!intake->behind.there); /* intake_full() said so */
		hold(&intake->behind, message, false, &step, receipt_us);
		return true;
	}
	if (!intake->ack.no_space)
	{
		if (try_data(intake, message, &judged, &step, now_us, receipt_us, err))
			return true;
		if (err->class != ERR_SPACE)
			return false;
		no_space(intake, now_us, err);
	}
	ack_data(&intake->ack, 0, true);
	hold(&intake->held, message, judged, &step, receipt_us);
	return true;
}

bool
intake_full(const Intake *intake)
{
	return intake->behind.there;
}

/* False with ERR_SPACE: in vain. */
static bool
try_again(Intake *intake, int64_t now_us, Error *err)
{
	Held *held = &intake->held;
	Held next = intake->behind;

	if (!journal_flush(intake->journal, err))
		return false;
	intake->unflushed = false;
	if (held->there && !try_data(intake, buffer_slice(&held->message), &held->judged, &held->step, now_us,
								 held->receipt_us, err))
		return false;
	held->there = intake->behind.there = false;
	space_is_back(intake, now_us);
	return !next.there || take_data(intake, buffer_slice(&next.message), now_us, next.receipt_us, err);
}

bool
intake_flush(Intake *intake, int64_t now_us, Error *err)
{
	bool again = waits(intake);
	bool ok;

	/* without anything that waits a PROGRESS is the trial: see ack.c */
	if (intake->ack.no_space && (!again || now_us - intake->space_us < SPACE_RETRY_US))
		return true;
	ok = again ? try_again(intake, now_us, err) : journal_flush(intake->journal, err);
	if (ok || err->class != ERR_SPACE)
		return ok;
	intake->unflushed |= !again;
	no_space(intake, now_us, err);
	return true;
}

static bool
take_keepalive(Intake *intake, const uint8_t *data, int64_t now_us, Error *err)
{
	Lsn wal_end = get_u64(data + 1);
	AckActions actions = ack_keepalive(&intake->ack, wal_end, data[17] != 0, now_us);

	if (wal_end > intake->figures.received)
		intake->figures.received = wal_end;
	return carry_out(intake, &actions, now_us, err);
}

bool
intake_message(Intake *intake, Slice message, int64_t now_us, int64_t receipt_us, Error *err)
{
	/* our settings bound values and frames, not rows: thousands of small values make a large one */
	if (message.len > INTAKE_MESSAGE_BYTES_MAX)
		return error_set(err, ERR_DATA, "a message of %zu bytes is larger than a record of the journal",
						 message.len);
	if (message.len > DATA_HEADER_BYTES && message.data[0] == 'w')
		return take_data(intake, message, now_us, receipt_us, err);
	if (message.len == KEEPALIVE_BYTES && message.data[0] == 'k')
		return take_keepalive(intake, message.data, now_us, err);
	return error_set(err, ERR_DATA, "unexpected message of type 0x%02x and %zu bytes",
					 message.len > 0 ? message.data[0] : 0, message.len);
}

/* ---- after the end -------------------------------------------------------------------------- */

bool
intake_may_retry(Intake *intake, Error *err)
{
	Lsn failed = assembler_failed(intake->assembler);

	if (err->class == ERR_RETRY || err->class == ERR_SPACE)
		return true;
	failed = failed != 0 ? failed : 1; /* no transaction at all: a message nobody knows */
	if (err->class == ERR_DATA && failed != intake->failed)
	{
		intake->failed = failed;
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
