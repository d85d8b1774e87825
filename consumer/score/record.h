/*
 * record.h -- one feed record: what the scorer made of one unit (or of one piece of a large one).
 *
 * Header, then entries.  Everything downstream is a cursor on these records: no sink completes,
 * scores or merges anything.  Integers are little-endian, lengths varints; the bytes depend on unit
 * and store alone, so a record derived again is the same record.
 */
#ifndef WALRANK_RECORD_H
#define WALRANK_RECORD_H

#include "base/buffer.h"
#include "base/error.h"
#include "journal/unit.h"

typedef struct RecordHeader
{
	uint64_t seq;
	uint32_t part; /* piece of a large transaction: 0, 1, ..; 0 for all other units */
	bool last;	   /* no further piece of this unit follows */
	UnitKind kind;
	BackfillStep step;
	Lsn commit_lsn;
	Lsn end_lsn;
	int64_t commit_time_us; /* since 1970-01-01 UTC; 0 when not a TXN: show now_us */
	int64_t now_us;
	uint64_t xid;
	uint64_t total;	  /* output records of the stream up to and with this record */
	uint32_t outputs; /* of them in this record */
	uint32_t quarantined;
} RecordHeader;

typedef enum
{
	/* Dictionary: before the first entry that uses the number, or a new version of it. */
	RECORD_RELATION = 1,
	RECORD_RANKING = 2,
	/* Output records, in (change, out) order. */
	RECORD_CHANGE = 3,
	RECORD_SCORE = 4,
	RECORD_REMOVE = 5,
	RECORD_TRUNCATE = 6, /* all items of a relation: out 0, key null */
	RECORD_GAP = 7,		 /* something was not delivered; change 1, out 0 */
	/* No output. */
	RECORD_QUARANTINE = 8,
	/* First in each record of a fill (R13): its outputs repeat what was last emitted, for this sink alone. Also in a
	 * dictionary: the newest fill of each sink. */
	RECORD_FILL = 9,
	/* Last in the record that completes a fill; with an empty name: the first backfill of all tables has ended. */
	RECORD_FILLED = 10,
} RecordKind;

#define RECORD_SINK_BYTES_MAX 64 /* of a sink's name */
#define RECORD_FILLS_MAX 1024	 /* sinks whose newest fill is remembered; then the oldest is forgotten */

/* A relation as the records name it. The descriptor is the Relation message (wire_relation reads it). */
typedef struct RecordRelation
{
	uint32_t number; /* permanent */
	Slice descriptor;
	Slice map; /* name of the map column, or empty */
} RecordRelation;

typedef struct RecordRanking
{
	uint32_t number; /* permanent, >= 1: OUT of a position */
	uint32_t relation;
	uint32_t version;
	Slice name;
} RecordRanking;

typedef struct RecordEntry
{
	RecordKind kind;
	uint32_t change; /* ordinal in the unit, from 1 */
	uint32_t out;	 /* 0 = the change itself, else the ranking's number */
	uint32_t relation;
	Slice key; /* Value fields (wire_value_next); empty = all items */
	union
	{
		RecordRelation relation_def; /* RECORD_RELATION */
		RecordRanking ranking_def;	 /* RECORD_RANKING */
		struct						 /* RECORD_CHANGE */
		{
			WireOp op;
			uint64_t fingerprint; /* version of the relation the image is written under */
			bool changed_known;
			Slice
				image; /* Attribute fields, complete, in order; state SET or OVERSIZED; no changed, no old value */
			Slice changed; /* one bit per attribute of the image, low bit first; empty when unknown */
			Slice removed; /* Attribute fields (column, key, state REMOVED) */
		} row;
		struct /* RECORD_SCORE */
		{
			double score;
			int32_t tier;
			int32_t pin; /* 0 = none */
			bool blocked;
			uint32_t version;
		} score;
		struct /* RECORD_GAP */
		{
			Lsn from;
			Slice reason;
		} gap;
		struct /* RECORD_QUARANTINE */
		{
			Slice attribute; /* name, may be empty */
			Slice reason;	 /* "incomplete", "division by zero", ... */
			uint64_t digest; /* of the offending bytes */
		} quarantine;
		struct /* RECORD_FILL, RECORD_FILLED */
		{
			Slice sink;
			uint64_t from; /* the unit that began the fill; 0 when the name is empty */
		} fill;
	};
} RecordEntry;

/* Writing: begin, entries, finish (which fills in the header). */
extern void record_begin(Buffer *out);
extern void record_entry(Buffer *out, const RecordEntry *entry);
extern void record_finish(Buffer *out, size_t start, const RecordHeader *header);

/* Reading, bounded: false with ERR_DATA on malformed bytes. */
typedef struct RecordReader
{
	RecordHeader header;
	WireCursor cursor;
} RecordReader;

/* The reader and its entries point into bytes. */
extern bool record_open(Slice bytes, RecordReader *reader, Error *err);
/* *done is set after the last entry. */
extern bool record_next(RecordReader *reader, RecordEntry *entry, bool *done, Error *err);

/* Counted by total and outputs of the header; what sinks and subscribers are given. */
static inline bool
record_is_output(RecordKind kind)
{
	return kind >= RECORD_CHANGE && kind <= RECORD_GAP;
}

/* The sink whose fill this record belongs to: *fill is true, and all others take nothing from it. */
extern bool record_fill(const RecordReader *reader, bool *fill, RecordEntry *entry, Error *err);

/* Whether attribute i of the image of a RECORD_CHANGE changed; only when changed_known. */
static inline bool
record_changed(const RecordEntry *entry, uint32_t i)
{
	return i / 8 < entry->row.changed.len && (entry->row.changed.data[i / 8] >> i % 8 & 1);
}

/* A segment's dictionary: entries RECORD_RELATION, RECORD_RANKING and RECORD_FILL, nothing else; same encoding, a header of kind UNIT_NONE. */

#endif /* WALRANK_RECORD_H */
