/*
 * intake.c -- see intake.h.
 */
#include "stream/intake.h"

#include <endian.h>
#include <stdlib.h>

#include "base/log.h"
#include "stream/txn.h"

#define DATA_HEADER_BYTES 25
#define KEEPALIVE_BYTES 18
#define FUTURE_US INT64_C(60000000) /* a commit time is believed up to a minute ahead of receipt */

struct Intake
{
	Journal *journal;
	IntakeOutput output;
	Assembler *assembler;
	Ack ack;
	bool unit_open;
	Lsn failed; /* the transaction that ended the last connection by bad bytes */
	/* no space: a transaction's first frame that waits */
	bool held;
	TxnStep held_step;
	Slice held_frame;
	int64_t held_receipt_us;
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
	free(intake);
}

void
intake_begin(Intake *intake, AckConfirm confirm, Lsn start, Lsn confirmed, Lsn flushed, int64_t interval_us,
			 int64_t now_us)
{
	ack_begin(&intake->ack, confirm, start, confirmed, flushed > start ? flushed : start, interval_us,
			  now_us);
	assembler_begin(intake->assembler, start);
	intake->held = false;
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

static bool
append_progress(Intake *intake, Lsn lsn, Error *err)
{
	Unit unit = {.kind = UNIT_PROGRESS, .end_lsn = lsn};

	if (!journal_append(intake->journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, err))
		return false;
	assembler_progress(intake->assembler, lsn);
	ack_appended(&intake->ack, lsn);
	return true;
}

static bool
carry_out(Intake *intake, const AckActions *actions, int64_t now_us, Error *err)
{
	if (actions->progress && !append_progress(intake, actions->progress_lsn, err))
	{
		if (err->class != ERR_SPACE)
			return false;
		ack_space(&intake->ack, true, now_us);
	}
	if (actions->status && !intake->output.status(intake->output.context, actions->status_lsn, err))
		return false;
	return !actions->close ||
		   error_set(err, ERR_SPACE, "no space for the journal: the stream is closed until there is");
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

int64_t
intake_next_us(const Intake *intake)
{
	return ack_next_us(&intake->ack);
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

void
intake_abandon(Intake *intake)
{
	Error err;

	if (intake->unit_open && !journal_abandon(intake->journal, &err))
		log_error(LOG_ERROR, &err, "could not cut an incomplete transaction");
	intake->unit_open = false;
	intake->held = false;
}

/*
 * No space, and nothing of this transaction in the journal yet: the frame waits in memory, the
 * connection is kept alive with an unchanged status, and ack_timer() gives it up after a while.
 */
static bool
hold_frame(Intake *intake, const TxnStep *step, Slice frame, int64_t now_us, int64_t receipt_us)
{
	log_line(LOG_ERROR, "no space for the journal: the stream waits");
	ack_space(&intake->ack, true, now_us);
	intake->held = true;
	intake->held_step = *step;
	intake->held_frame = frame;
	intake->held_receipt_us = receipt_us;
	return false;
}

bool
intake_held(const Intake *intake)
{
	return intake->held;
}

bool
intake_retry(Intake *intake, int64_t now_us, Error *err)
{
	if (append_frame(intake, &intake->held_step, intake->held_frame, intake->held_receipt_us, err))
	{
		log_line(LOG_INFO, "there is space for the journal again");
		ack_space(&intake->ack, false, now_us);
		intake->held = false;
		return true;
	}
	intake_abandon(intake);
	intake->held = err->class == ERR_SPACE;
	return false;
}

/* ---- one message ---------------------------------------------------------------------------- */

static uint64_t
get_u64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return be64toh(v);
}

static bool
take_data(Intake *intake, Slice message, int64_t now_us, int64_t receipt_us, Error *err)
{
	Slice frame = slice_make(message.data + DATA_HEADER_BYTES, message.len - DATA_HEADER_BYTES);
	Lsn named = get_u64(message.data + 9);
	TxnStep step;

	if (!assembler_frame(intake->assembler, frame, &step, err))
		return false;
	ack_data(&intake->ack, named > step.head.end_lsn ? named : step.head.end_lsn, !step.last);
	intake->figures.frames++;
	if (step.last)
		intake->figures.received = step.head.end_lsn;
	note_beat(intake, now_us);
	if (step.drop || append_frame(intake, &step, frame, receipt_us, err))
		return true;
	if (err->class != ERR_SPACE || !step.first)
		return false;
	intake_abandon(intake);
	return hold_frame(intake, &step, frame, now_us, receipt_us);
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
