/*
 * fuzz_walsender.c -- whatever a server sends, and whenever: what is told to it stays inside the promise.
 *
 * share: 1/4
 * The input is a script.  A model server commits transactions and sends them in order, with keepalives; the script says
 * when, in which pieces, which bytes are damaged and which positions are lies, when the disk syncs, when it has room,
 * where the sinks stand, and how the clock runs.  Behind it are the real intake, assembler, acknowledgement and journal.
 *
 * Checked at every status: never less than before on this connection, never beyond what is durable, never beyond what
 * was named; and with a server that does not lie about positions, no transaction before it is missing in the journal.
 */
#undef NDEBUG
#include <assert.h>
#include <endian.h>

#include "base/log.h"
#include "journal/journal.h"
#include "segments.h"
#include "stream/intake.h"
#include "../unit/txn_frames.h"

#define START 0x1000
#define TXNS_MAX 64
#define STEPS_MAX 400

extern int LLVMFuzzerInitialize(int *argc, char ***argv);
extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const JournalIdentity identity = {.stream_id = {{1}}, .start_lsn = START, .complete = true};
static const JournalSettings settings = {.segment_bytes = 8192};

typedef struct World
{
	const uint8_t *at, *end; /* the script */
	Journal *journal;
	Intake *intake;
	int64_t now_us;
	bool with_sinks;
	/* the server */
	Lsn wal;
	struct
	{
		Lsn commit, end;
	} txns[TXNS_MAX];
	int ntxns;
	int sent;  /* the transaction being sent */
	int frame; /* and its next frame */
	bool lied;
	/* this connection */
	bool connected;
	Lsn named;
	Lsn told; /* the last status */
	Lsn confirmed;
} World;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_init(LOG_FATAL, false);
	fs = &memory_fs;
	return 0;
}

static uint8_t
next(World *w)
{
	return w->at < w->end ? *w->at++ : 0;
}

/* ---- what is told to the server ------------------------------------------------------------------- */

static bool
told(void *context, Lsn lsn, Error *err)
{
	World *w = context;
	uint64_t seq;
	Lsn durable;

	journal_durable(w->journal, &seq, &durable);
	assert(lsn >= w->told);
	assert(lsn <= durable);
	assert(lsn <= w->named);
	w->told = lsn;
	if (lsn > w->confirmed)
		w->confirmed = lsn;
	return true;
}

/* ---- the connection -------------------------------------------------------------------------------- */

static void
sync_journal(World *w)
{
	Error err;

	if (journal_flush(w->journal, &err))
		assert(journal_sync_step(w->journal, 0, &err));
}

static void
hang_up(World *w)
{
	intake_abandon(w->intake);
	w->connected = false;
}

/* START_REPLICATION at H: the server goes on with the first transaction whose commit is not before it. */
static void
begin(World *w)
{
	uint64_t seq;
	Lsn h;

	seglog_set_quota(journal_log(w->journal), 0);
	sync_journal(w);
	journal_durable(w->journal, &seq, &h);
	if (w->wal < h)
		w->wal = h; /* a lie about a position came true: rule C3 would refuse a real server */
	w->named = w->wal;
	w->told = w->confirmed;
	for (w->sent = 0; w->sent < w->ntxns && w->txns[w->sent].commit < h; w->sent++)
		;
	w->frame = 0;
	intake_begin(w->intake, w->with_sinks ? ACK_SINKS : ACK_JOURNAL, h, w->confirmed, w->wal, 10000000,
				 w->now_us);
	w->connected = true;
}

static void
give(World *w, Slice message)
{
	Error err;

	if (!w->connected || intake_full(w->intake))
		return;
	if (message.len >= 17 && (message.data[0] == 'w' || message.data[0] == 'k'))
	{
		Lsn named;

		memcpy(&named, message.data + (message.data[0] == 'w' ? 9 : 1), sizeof(named));
		named = be64toh(named);
		w->named = named > w->named ? named : w->named;
	}
	if (!intake_message(w->intake, message, w->now_us, 1700000000000000, &err))
		hang_up(w);
}

static void
give_data(World *w, Lsn lsn, Slice frame)
{
	Buffer message = {0};
	uint64_t position = htobe64(lsn);

	buffer_append_byte(&message, 'w');
	buffer_append(&message, &position, 8);
	buffer_append(&message, &position, 8);
	buffer_append(&message, &position, 8);
	buffer_append_slice(&message, frame);
	give(w, buffer_slice(&message));
	buffer_free(&message);
}

static void
give_keepalive(World *w, Lsn lsn, bool reply)
{
	Buffer message = {0};
	uint64_t position = htobe64(lsn);

	buffer_append_byte(&message, 'k');
	buffer_append(&message, &position, 8);
	buffer_append(&message, &position, 8);
	buffer_append_byte(&message, reply);
	give(w, buffer_slice(&message));
	buffer_free(&message);
}

/* ---- steps ----------------------------------------------------------------------------------------- */

static void
commit(World *w)
{
	if (w->ntxns == TXNS_MAX)
		return;
	w->wal += next(w);
	w->txns[w->ntxns].commit = w->wal;
	w->wal += 48;
	w->txns[w->ntxns++].end = w->wal;
}

/* The next frame in order; with `damage` not quite. */
static void
send_frame(World *w, uint8_t damage)
{
	Buffer bytes = {0};
	Txn txn;

	if (w->sent >= w->ntxns || !w->connected || intake_full(w->intake))
		return;
	txn = w->sent % 2 == 0 ? three_frames(w->txns[w->sent].commit) : one_frame(w->txns[w->sent].commit);
	buffer_append_slice(&bytes, buffer_slice(&txn.frame[w->frame]));
	/* the head tells the end of the transaction as well: what it names is part of the lie */
	if (damage != 0)
	{
		size_t at = (size_t) (next(w) | next(w) << 8) % bytes.len;

		bytes.data[at] ^= damage;
		w->lied = true;
	}
	if (w->txns[w->sent].end > w->named)
		w->named = w->txns[w->sent].end; /* in the head of each frame */
	if (damage != 0)
		w->named = UINT64_MAX >> 1;
	give_data(w, w->txns[w->sent].commit, buffer_slice(&bytes));
	if (++w->frame == (int) txn.frames)
	{
		w->frame = 0;
		w->sent++;
	}
	buffer_free(&bytes);
	txn_free(&txn);
}

/* What a server that has sent everything before it may name. */
static Lsn
honest(const World *w)
{
	return w->sent < w->ntxns ? w->txns[w->sent].commit : w->wal;
}

static void
garbage(World *w)
{
	size_t len = next(w) % 64;
	Buffer bytes = {0};

	for (size_t i = 0; i < len; i++)
		buffer_append_byte(&bytes, next(w));
	w->lied = true;
	w->named = UINT64_MAX >> 1; /* heads may name anything */
	give(w, buffer_slice(&bytes));
	buffer_free(&bytes);
}

static void
lie(World *w)
{
	uint64_t lsn = 0;

	for (int i = 0; i < 8; i++)
		lsn = lsn << 8 | next(w);
	if (lsn > w->wal)
		w->lied = true;
	give_keepalive(w, lsn >> 2, next(w) & 1);
}

static void
sinks(World *w)
{
	uint8_t what = next(w);
	uint64_t seq;
	Lsn durable;
	Error err;

	journal_durable(w->journal, &seq, &durable);
	if (w->connected &&
		!intake_sinks(w->intake, what == 255 ? ACK_NO_SINK : durable * what / 254, w->now_us, &err))
		hang_up(w);
}

static void
storm(World *w)
{
	for (int i = 0; i < 20; i++)
	{
		give_keepalive(w, honest(w) - (Lsn) i, true);
		w->now_us += 1000;
	}
}

static void
step(World *w)
{
	uint8_t op = next(w);
	Error err;

	switch (op % 16)
	{
		case 0:
		case 1:
			commit(w);
			break;
		case 2:
		case 3:
		case 4:
			send_frame(w, 0);
			break;
		case 5:
			send_frame(w, next(w));
			break;
		case 6:
			give_keepalive(w, honest(w), true);
			break;
		case 7:
			w->wal += w->sent == w->ntxns ? (Lsn) next(w) << 16 : 0;
			give_keepalive(w, honest(w), false);
			break;
		case 8:
			give_keepalive(w, w->frame == 0 ? START / 2 : honest(w), op & 16);
			break;
		case 9:
			storm(w);
			break;
		case 10:
			lie(w);
			break;
		case 11:
			garbage(w);
			break;
		case 12:
			sync_journal(w);
			break;
		case 13:
			w->now_us += (int64_t) next(w) * 100000;
			break;
		case 14:
			seglog_set_quota(journal_log(w->journal), (op & 16) ? journal_bytes(w->journal) + next(w) : 0);
			break;
		default:
			sinks(w);
	}
	if (!w->connected)
		begin(w);
	if (!intake_flush(w->intake, w->now_us, &err) || !intake_feedback(w->intake, w->now_us, &err))
		hang_up(w);
}

/* Every transaction the server may forget is in the journal, once, in order. */
static void
check_journal(World *w)
{
	JournalReader *reader;
	JournalEvent event;
	PartType type;
	Slice bytes;
	Unit unit;
	Error err;
	Lsn last = 0;
	int i = 0;

	assert(journal_reader_open(w->journal, 1, &reader, &err));
	while ((event = journal_reader_next(reader, &unit, &type, &bytes, &err)) != JOURNAL_NOTHING)
	{
		assert(event != JOURNAL_ERROR);
		if (event != JOURNAL_UNIT || unit.kind != UNIT_TXN)
			continue;
		assert(unit.end_lsn > last);
		last = unit.end_lsn;
		if (w->lied)
			continue;
		assert(i < w->ntxns && unit.commit_lsn == w->txns[i].commit && unit.end_lsn == w->txns[i].end);
		i++;
	}
	journal_reader_close(reader);
	assert(w->lied || i == w->ntxns || w->txns[i].commit >= w->confirmed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	World w = {.at = data, .end = data + size, .wal = START, .confirmed = START};
	IntakeOutput output = {told, &w};
	Error err;

	segments_clear(31);
	assert(journal_create(MEMORY_DIR, &settings, &identity, &w.journal, &err));
	w.intake = intake_create(w.journal, &output);
	w.with_sinks = next(&w) & 1;
	begin(&w);
	for (int i = 0; i < STEPS_MAX && w.at < w.end; i++)
		step(&w);
	hang_up(&w);
	seglog_set_quota(journal_log(w.journal), 0);
	sync_journal(&w);
	check_journal(&w);
	intake_destroy(w.intake);
	journal_close(w.journal);
	return 0;
}
