/*
 * unit.h -- the journal's unit: what the scorer takes one step on.
 *
 * A unit has a header, known when its first byte is written, and parts: frames as they came,
 * relations, backfill rows, or nothing.
 */
#ifndef WALRANK_UNIT_H
#define WALRANK_UNIT_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/lsn.h"

typedef enum
{
	UNIT_NONE = 0,
	UNIT_TXN = 1,
	UNIT_BACKFILL = 2,
	UNIT_TIMER = 3,
	UNIT_RESCORE = 4,
	UNIT_GAP = 5,
	UNIT_PROGRESS = 6,
	UNIT_CONNECT = 7,
	UNIT_CONFIG = 8,
} UnitKind;

typedef enum
{
	BACKFILL_NONE = 0,
	BACKFILL_BEGIN = 1, /* parts: one PART_RELATION */
	BACKFILL_ROWS = 2,	/* parts: PART_ROWS, each a run of length-prefixed Entry messages */
	BACKFILL_END = 3,
	BACKFILL_ABORT = 4,
} BackfillStep;

typedef enum
{
	PART_FRAME = 1,	   /* one Frame, as received */
	PART_RELATION = 2, /* one Entry message holding a Relation */
	PART_ROWS = 3,	   /* varint length + Entry message (a Change), repeated */
	PART_DETAIL = 4,   /* text: the reason of a GAP, the settings of a CONFIG ("key=value" lines) */
} PartType;

typedef struct Unit
{
	uint64_t seq; /* dense, from 1; given by the journal */
	UnitKind kind;
	BackfillStep step;		/* UNIT_BACKFILL */
	Lsn commit_lsn;			/* UNIT_TXN; 0 otherwise */
	Lsn end_lsn;			/* exactly-once.md section 1 */
	int64_t commit_time_us; /* UNIT_TXN: since 1970-01-01 UTC, not trusted as a clock */
	int64_t now_us;			/* since 1970-01-01 UTC, never decreasing */
	uint64_t xid;
	uint32_t timeline;	  /* last known; new in UNIT_CONNECT */
	uint64_t owner_epoch; /* last known; new in UNIT_CONNECT */
	uint64_t beat;		  /* last seen in the stream */
	/* by kind */
	uint64_t id; /* BACKFILL: its id.  RESCORE: job.  TIMER: t, us since 1970.  GAP: unit that told of it */
	uint32_t chunk;	 /* BACKFILL, RESCORE */
	uint32_t limit;	 /* RESCORE: items */
	uint32_t oid;	 /* BACKFILL: the table */
	Lsn point;		 /* BACKFILL: consistent point C.  GAP: where the gap begins */
	bool last_chunk; /* BACKFILL END: of its table */
} Unit;

/* Fixed width, little-endian; the bytes of a unit header in a journal record. */
#define UNIT_BYTES 128
extern void unit_encode(const Unit *unit, uint8_t bytes[UNIT_BYTES]);
extern bool unit_decode(Slice bytes, Unit *unit, Error *err);
extern const char *unit_kind_name(UnitKind kind);

#endif /* WALRANK_UNIT_H */
