/*
 * txn.h -- frames in, whole transactions out: the receiver's judgement, without I/O.
 *
 * A transaction is complete iff its last frame came and frame count, change count and running CRC
 * agree with its Tail, and every relation it names was sent on this connection (rules J2, J3, J5).
 * Values stay opaque, but for one table: changes of our own row of walrank.control tell the beat
 * and the owner_epoch that travel in the stream.
 */
#ifndef WALRANK_TXN_H
#define WALRANK_TXN_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/lsn.h"

typedef struct Assembler Assembler;

typedef struct AssemblerEvents
{
	/* Every Relation met, also in frames that are dropped: `entry` is the whole Entry message. */
	void (*relation)(void *context, uint64_t fingerprint, Slice entry);
	void *context;
} AssemblerEvents;

/* What one frame means. */
typedef struct TxnStep
{
	WireHead head;
	bool drop;		  /* of a transaction the journal holds already: do not append */
	bool first;		  /* begin a unit before appending this frame */
	bool last;		  /* the unit is complete with it */
	uint32_t changes; /* of the transaction so far */
	Slice
		lost; /* with last: publications that can no longer be honoured, one per line; valid until the next call */
} TxnStep;

extern Assembler *assembler_create(const StreamId *stream_id, const AssemblerEvents *events);
extern void assembler_destroy(Assembler *assembler);
/* A connection begins: no relation is known, no transaction open. end_lsn: of the last unit appended. */
extern void assembler_begin(Assembler *assembler, Lsn end_lsn);
/* Another unit moved the last end_lsn (PROGRESS). */
extern void assembler_progress(Assembler *assembler, Lsn end_lsn);
/*
 * One CopyData payload. ERR_DATA: not what the plugin sends (cut, doubled, garbled, unknown relation): the
 * connection has to end, and the transaction, whose commit_lsn is then assembler_failed(), be fetched again.
 */
extern bool assembler_frame(Assembler *assembler, Slice frame, TxnStep *step, Error *err);
extern bool assembler_open(const Assembler *assembler); /* a transaction is partly in */
extern Lsn assembler_failed(const Assembler *assembler);
extern uint64_t assembler_dropped(const Assembler *assembler); /* transactions; must stay 0 */
/* Last seen in the stream; 0 = not yet. */
extern uint64_t assembler_beat(const Assembler *assembler);
extern uint64_t assembler_owner_epoch(const Assembler *assembler);

#endif /* WALRANK_TXN_H */
