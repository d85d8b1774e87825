/*
 * position.h -- where a sink stands and what it does next: rules K1, K2, K3, K8, K9 without any I/O.
 *
 * The runner asks before it writes anything; the simulator runs the same code.  A refusal names its
 * rule and says what to do.
 *
 *   open:    position_judge()    go on at the checkpoint, begin a target, or refuse
 *   record:  position_order()    next, applied already, or a gap
 *            position_begin()    a fill of this sink starts here: a target begun anew
 *            position_count()    each output once
 *            position_advance()  the record is in; the totals must meet
 */
#ifndef WALRANK_POSITION_H
#define WALRANK_POSITION_H

#include "base/error.h"
#include "base/lsn.h"
#include "score/record.h"

/* What the target that the position speaks of still lacks. */
typedef enum
{
	SINK_WHOLE = 0,
	SINK_FILLING = 1,	 /* until the fill of this sink has ended */
	SINK_REBUILDING = 2, /* until the first backfill has ended: it takes the place of a replaced stream's */
} SinkPhase;

/* Where a sink stands: all units up to seq are in, and `part` pieces of the next. */
typedef struct SinkPosition
{
	StreamId stream_id;
	uint64_t owner_epoch;
	uint64_t seq;
	uint32_t part;
	SinkPhase phase;
	Lsn end_lsn;
	uint64_t applied, filtered, parked, quarantined;
	uint64_t total_start;	/* the stream's total where the sink began */
	int64_t commit_time_us; /* newest commit applied; since 1970, for lag */
} SinkPosition;

/* What became of an output record in a sink; each is counted once. */
typedef enum
{
	SINK_APPLIED,
	SINK_FILTERED, /* of a kind this sink does not take, or of another sink's fill */
	SINK_PARKED,
	SINK_QUARANTINED,
} SinkFate;

/* Streams that ours has taken the place of (rebuild, --adopt). */
typedef struct SinkHistory
{
	StreamId stream_id; /* ours */
	const StreamId *replaced;
	int nreplaced;
} SinkHistory;

typedef enum
{
	STREAM_OURS,
	STREAM_REPLACED,
	STREAM_FOREIGN,
} StreamKind;

extern StreamKind position_stream(const SinkHistory *history, const StreamId *stream_id);

/* What a sink was found to be when it was opened. */
typedef struct SinkStand
{
	bool found;			   /* a checkpoint: position is it */
	SinkPosition position; /* owner_epoch as it is to be written */
	bool empty;			   /* nothing but perhaps a checkpoint */
	bool damaged;		   /* what it holds is not what the checkpoint says: */
	Error why;			   /* class ERR_REFUSE; it may still be filled anew */
} SinkStand;

/* What the feed can give this sink. */
typedef struct SinkOffer
{
	uint64_t first_seq;	  /* first unit held */
	uint64_t durable_seq; /* last unit that may be read */
	uint64_t fill_seq;	  /* the unit that began this sink's newest fill; 0 = none */
	uint64_t fill_total;  /* outputs before that unit; only if it is still held */
} SinkOffer;

typedef enum
{
	POSITION_GO_ON, /* *start is the checkpoint */
	POSITION_BEGIN, /* *start is to become the checkpoint of a target that holds nothing */
	POSITION_REFUSE,
} PositionChoice;

/* K1, K2, K9. name: the sink's, for people. */
extern PositionChoice position_judge(const char *name, const SinkHistory *history, const SinkStand *stand,
									 const SinkOffer *offer, SinkPosition *start, Error *err);

typedef enum
{
	ORDER_NEXT,
	ORDER_APPLIED, /* already: skip it */
	ORDER_GAP,	   /* err is set: rule K3 */
} PositionOrder;

extern PositionOrder position_order(const SinkPosition *position, const RecordHeader *header, Error *err);

/* The position just before the unit of this record, which is its first: a new target, in the phase given. */
extern void position_begin(SinkPosition *position, const RecordHeader *header, SinkPhase phase);
/* Whether that has been done already, and nothing since: the checkpoint was made for this fill. */
extern bool position_begun(const SinkPosition *position, const RecordHeader *header);
extern void position_count(SinkPosition *position, SinkFate fate);
/* The target lacks nothing any more: *filled is the RECORD_FILLED entry's, name the sink's. */
extern void position_filled(SinkPosition *position, const char *name, Slice filled);
/* outputs: as counted. K8: false when they, or the totals, do not meet; the position has not moved then. */
extern bool position_advance(SinkPosition *position, const RecordHeader *header, uint32_t outputs,
							 Error *err);
/* Outputs accounted for, since total_start. */
extern uint64_t position_counted(const SinkPosition *position);

#endif /* WALRANK_POSITION_H */
