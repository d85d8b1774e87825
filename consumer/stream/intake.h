/*
 * intake.h -- messages of the stream into the journal, and what is said back: the receiver without its socket.
 *
 * Frames become whole units, nothing else between their parts (J2, J3); keepalives, the journal's durable
 * mark and the clock become PROGRESS units and status updates (J1).  Nothing here syncs, sleeps or asks what
 * time it is: now_us is monotonic, receipt_us the wall clock of the drain.
 */
#ifndef WALRANK_INTAKE_H
#define WALRANK_INTAKE_H

#include "journal/journal.h"
#include "stream/ack.h"

/* A record of the journal holds at most this much, which no server exceeds: its own buffers end there. */
#define INTAKE_MESSAGE_BYTES_MAX ((1 << 30) - 4096)

typedef struct Intake Intake;

typedef struct IntakeOutput
{
	/* Sends write = flush = apply = lsn: the only way a position leaves. */
	bool (*status)(void *context, Lsn lsn, Error *err);
	void *context;
} IntakeOutput;

typedef struct IntakeFigures
{
	Lsn received;			/* end of the last transaction or keepalive */
	Lsn acknowledged;		/* the last status sent on this connection */
	int64_t commit_time_us; /* of the last transaction */
	int64_t beat_us;		/* monotonic; when the beat last moved, or the connection began */
	uint64_t beat;
	uint64_t transactions, changes, frames, dropped; /* since the start of the process */
} IntakeFigures;

extern Intake *intake_create(Journal *journal, const IntakeOutput *output);
extern void intake_destroy(Intake *intake);
/* A connection begins at H, with all that was appended synced.  confirmed, flushed: slot and server, of rule C3. */
extern void intake_begin(Intake *intake, AckConfirm confirm, Lsn start, Lsn confirmed, Lsn flushed,
						 int64_t interval_us, int64_t now_us);

/*
 * One CopyData payload, the caller's again afterwards.  After an error the connection has to end: intake_abandon().
 *
 * Without room in the journal the first data message that does not fit is kept; keepalives behind it are still
 * answered, with A unchanged, so that a server that wants to stop is heard.  Once another data message has come
 * intake_full() says that no more may be given, until intake_flush() has found room.
 */
extern bool intake_message(Intake *intake, Slice message, int64_t now_us, int64_t receipt_us, Error *err);
extern bool intake_full(const Intake *intake);
/* After messages, and by the clock: what was appended goes to the kernel, what waits for room is tried again. */
extern bool intake_flush(Intake *intake, int64_t now_us, Error *err);
/* Why the journal takes nothing; empty while it does. */
extern const char *intake_no_space(const Intake *intake);
/* What the journal's sync thread and the clock have to say to the server. */
extern bool intake_feedback(Intake *intake, int64_t now_us, Error *err);
/* The lowest end_lsn in the sinks' checkpoints moved: see ack_sinks(). */
extern bool intake_sinks(Intake *intake, Lsn lowest, int64_t now_us, Error *err);
extern int64_t intake_next_us(const Intake *intake); /* when the clock has something to say */
extern bool intake_open(const Intake *intake); /* a unit is partly in the journal: others wait to append */
/* The unit that is open is cut, what waits for room forgotten: the server sends all of it again. */
extern void intake_abandon(Intake *intake);
/* The last word before the connection ends; what is whole has been synced, or as much as there was time for. */
extern bool intake_goodbye(Intake *intake, int64_t now_us, Error *err);
/*
 * After a connection ended with err: whether another one may be tried.  Bad bytes are fetched once more; the same
 * transaction bad again is not a matter of the network, and err becomes ERR_REFUSE.
 */
extern bool intake_may_retry(Intake *intake, Error *err);
extern const IntakeFigures *intake_figures(Intake *intake);

#endif /* WALRANK_INTAKE_H */
