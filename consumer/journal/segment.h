/*
 * segment.h -- the bytes of one segment file: header, preamble record, records (private to this directory).
 *
 * File header, little-endian, in SEGMENT_HEADER_BYTES + owner's bytes:
 *	 0	4  masked crc32c of all that follows up to the header's length
 *	 4	4  magic: which log
 *	 8	4  format version
 *	12	4  length of the header with the owner's bytes
 *	16 16  stream_id: the generation.	A segment of another history is never taken for one of ours
 *	32	8  seq  } the last group before this segment; 0 and 0 in the first
 *	40	4  part }
 *	44	4  number of the segment, as in its name
 *	48 16  zero
 * Record header, in SEGMENT_RECORD_BYTES:
 *	 0	4  masked crc32c of (stream_id, magic, segment number, file offset), bytes 4..31 and the payload
 *	 4	4  length of the payload
 *	 8	1  type, never 0; 255 = preamble, the first record of every segment
 *	 9	1  flags
 *	10	2  0, or 1 + how far before this record the file was durable when it was made, in units of 64 bytes, rounded up
 *	12	4  magic
 *	16	8  seq
 *	24	4  part
 *	28	4  index of the record in its group, from 0
 */
#ifndef WALRANK_SEGMENT_H
#define WALRANK_SEGMENT_H

#include "journal/segfile.h"
#include "journal/seglog.h"

#define SEGMENT_VERSION 1
#define SEGMENT_HEADER_BYTES 64
#define SEGMENT_OWNER_BYTES_MAX 4096
#define SEGMENT_RECORD_BYTES 32
#define SEGMENT_PAYLOAD_BYTES_MAX (UINT32_C(1) << 30)
#define SEGMENT_PREAMBLE 255
#ifndef SEGMENT_READ_BYTES /* the sanitized build reads in small windows, so that their edges are met */
#define SEGMENT_READ_BYTES (256 * 1024)
#endif

enum
{
	SEGMENT_FIRST = 1,
	SEGMENT_LAST = 2,
	/* All earlier segments were durable when this record was made: a torn one among them is corrupt. */
	SEGMENT_SEALED = 4,
};

typedef struct SegmentHeader
{
	StreamId stream_id;
	SegPosition prev;
	uint32_t number;
	uint32_t bytes; /* of the header, with the owner's */
} SegmentHeader;

/* Sorted; *numbers is malloc'ed. */
extern bool segment_list(int dirfd, uint32_t **numbers, int *n, Error *err);
extern int seg_compare(SegPosition a, SegPosition b);
/* b may directly follow a */
extern bool seg_follows(SegPosition a, SegPosition b);

extern void segment_header_put(Buffer *out, uint32_t magic, const SegmentHeader *header, Slice owner);
/*
 * *valid is false when the bytes are no header (torn).  A valid header of another log, number or a newer version fails
 * with ERR_REFUSE: nothing that was written by a program stands in the wrong place by accident.  owner may be NULL.
 */
extern bool segment_header_read(SegFile *file, const char *what, uint32_t magic, uint32_t number,
								SegmentHeader *header, Buffer *owner, bool *valid, Error *err);

/* The part of a record's CRC that does not change within a segment. */
extern uint32_t segment_seed(const StreamId *stream_id, uint32_t magic, uint32_t number);
/* Fills in length, flags and CRC of a record whose header and payload stand at `record`, at `offset` of the file. */
extern void segment_record_begin(uint8_t *record, uint32_t magic, uint8_t type, SegPosition at,
								 uint32_t index);
extern void segment_record_seal(uint8_t *record, size_t payload, uint8_t flags, uint32_t seed,
								uint64_t offset);

/* Before it is sealed: the file was durable up to `durable`. A record whose claim is too far back makes none. */
extern void segment_record_claim(uint8_t *record, uint64_t offset, uint64_t durable);

/* Walks the records of one segment through a window. */
typedef struct SegmentCursor
{
	SegFile *file;
	uint32_t magic;
	uint32_t seed;
	uint64_t start;	 /* of the preamble */
	uint64_t offset; /* of the next record */
	uint64_t limit;	 /* nothing is read beyond */
	Buffer window;
	uint64_t window_offset;
	/* order of the groups */
	SegPosition last;	 /* last whole group */
	SegPosition current; /* open group */
	uint32_t index;		 /* records of the open group; 0 = none open */
} SegmentCursor;

typedef struct SegmentRecord
{
	SegPosition at;
	uint64_t offset;
	uint8_t type;
	uint8_t flags;
	Slice payload; /* until the next call */
} SegmentRecord;

typedef enum
{
	SEGMENT_RECORD,
	SEGMENT_LIMIT, /* cursor->offset == cursor->limit */
	SEGMENT_BAD,   /* what stands at cursor->offset is no record that may stand there */
	SEGMENT_FAILED,
} SegmentResult;

extern void segment_cursor_init(SegmentCursor *cursor, SegFile *file, uint32_t magic,
								const SegmentHeader *header, uint64_t limit);
extern void segment_cursor_free(SegmentCursor *cursor);
extern SegmentResult segment_next(SegmentCursor *cursor, SegmentRecord *record, Error *err);
/*
 * What is not synced reaches the disk in any order, so an intact record alone says nothing of what stands before it.
 * *found: some record after `bad` is intact and claims that the file was durable beyond `bad`, which is damage, then.
 * A compressed segment was whole when it was compressed: nothing was ever torn off it.
 */
extern bool segment_find_claim(SegFile *file, uint32_t magic, uint32_t seed, uint64_t bad, uint64_t bytes,
							   bool *found, Error *err);
/* *found: at or after `from` some record is intact. */
extern bool segment_find_valid(SegFile *file, uint32_t magic, uint32_t seed, uint64_t from, uint64_t bytes,
							   bool *found, Error *err);

#endif /* WALRANK_SEGMENT_H */
