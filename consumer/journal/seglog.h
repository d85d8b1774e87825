/*
 * seglog.h -- a log of CRC'd records in numbered segment files: what journal and feed have in common.
 *
 * One writer, many readers.  Records are grouped: a group is visible to readers, and survives
 * recovery, only as a whole.  A group has a dense number (seq, part), carried in each record header.
 * Every segment begins with a preamble written by the owner (SNAPSHOT in the journal, dictionary in
 * the feed), so that it can be read alone.  A segment is rotated only between groups, by size alone,
 * so the same groups always give the same files.
 *
 * Record: 32-byte header { masked crc32c over the rest of the header and the payload and (generation,
 * segment number, offset); length; type; flags FIRST|LAST; magic; seq; part }, payload, no padding.
 * An all-zero header is never valid.  Each record says how far the log was durable when it was made: a bad
 * record below that is corruption, ERR_REFUSE naming segment and offset; beyond that it is a torn tail: cut,
 * with what stands behind it, as what was not synced may have reached the disk in any order.
 */
#ifndef WALRANK_SEGLOG_H
#define WALRANK_SEGLOG_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/lsn.h"

typedef struct SegLog SegLog;
typedef struct SegReader SegReader;

typedef struct SegSettings
{
	const char *what;		/* "journal" or "feed", for messages */
	uint32_t magic;			/* differs between the two */
	uint64_t segment_bytes; /* a new segment is due after the group that reaches this */
	StreamId stream_id;		/* in every segment header */
	Slice header;			/* owner's fixed bytes, kept in every segment header (identity) */
	/* Called when a segment is begun: append the preamble's payload. */
	void (*preamble)(void *context, Buffer *out);
	void *context;
	/* Same groups, same bytes: no marks that tell when it was synced. Such a log is recovered by seglog_open_cut(). */
	bool derived;
} SegSettings;

typedef struct SegPosition
{
	uint64_t seq;
	uint32_t part;
} SegPosition;

/* Makes the first segment, durable with its directory entry. The directory must hold none. */
extern bool seglog_create(int dirfd, const SegSettings *settings, SegLog **log, Error *err);

/*
 * Opens and recovers: drops cached pages of the last segments, verifies, cuts a torn tail and an
 * incomplete group, fsyncs.  Refuses another magic, stream or newer format.  While scanning the last
 * segment(s) calls preamble_seen and record_seen, so that the owner rebuilds its state.  With
 * header_out the owner's header bytes are returned.
 */
typedef struct SegScan
{
	void (*preamble_seen)(void *context, Slice payload);
	void (*record_seen)(void *context, SegPosition at, uint8_t type, bool first, bool last, Slice payload);
	/* seglog_open_cut only, may be NULL: a last word before anything is touched */
	bool (*accept)(void *context, Error *err);
	void *context;
} SegScan;

extern bool seglog_open(int dirfd, const SegSettings *settings, const SegScan *scan, SegLog **log,
						Error *err);
/*
 * For a derived log: keeps the groups up to `most` and cuts the rest unexamined, as what lies behind may be anything
 * after a power cut.  ERR_REFUSE, and nothing is touched, when the groups up to `least` are not all there.
 */
/* What it would refuse, with nothing touched. */
extern bool seglog_reaches(int dirfd, const SegSettings *settings, const SegScan *scan, SegPosition least,
						   SegPosition most, Error *err);
extern bool seglog_open_cut(int dirfd, const SegSettings *settings, const SegScan *scan, SegPosition least,
							SegPosition most, SegLog **log, Error *err);
extern void seglog_close(SegLog *log);

/* Writer. On ERR_SPACE nothing was begun, appended or lost: call again when there is room (what is committed waits in
 * memory, the files end at the last good offset). begin/append/commit one group; abandon cuts what was appended of an uncommitted one. Bytes gather in
 * memory and reach the kernel by flush or when the buffer is full. */
extern bool seglog_begin(SegLog *log, SegPosition at, Error *err);
/* The payload is the concatenation of n slices. */
extern bool seglog_append(SegLog *log, uint8_t type, bool last, const Slice *slices, int n, Error *err);
/* The record appended before was the last of its group. Does not fail, needs no disk. `tag` is a number of the owner's
 * that goes with the group: seglog_durable_tag() gives that of the last durable one. */
extern void seglog_commit(SegLog *log, uint64_t tag);
extern bool seglog_abandon(SegLog *log, Error *err);
/* Takes the last committed group back if it has not left memory; false: it has, and stays. */
extern bool seglog_revoke(SegLog *log);
/* Everything committed is handed to the kernel; readers are woken and see it. */
extern bool seglog_flush(SegLog *log, Error *err);
/* fdatasync of all flushed groups (and of directory entries); then durable is moved. Called from the one
 * thread that syncs; concurrent with append. ERR_DISK poisons the log. */
extern bool seglog_sync(SegLog *log, Error *err);
extern SegPosition seglog_first(SegLog *log); /* first unit that is there whole, or will be the first */
extern SegPosition seglog_last(SegLog *log);  /* last committed group; seq 0 when none */
extern SegPosition seglog_flushed(SegLog *log);
extern SegPosition seglog_durable(SegLog *log);
extern SegPosition seglog_durable_tag(SegLog *log, uint64_t *tag);
extern void seglog_set_tag(SegLog *log, uint64_t tag); /* of the last group found by open */
/* Delete whole segments that end below `at`. */
extern bool seglog_trim(SegLog *log, SegPosition at, Error *err);
/*
 * Compresses the oldest plain segment that holds only groups before `below` and is durable; *packed: there was one.
 * Readers notice nothing.  Takes its time, in a thread of its own.  ERR_RETRY, ERR_SPACE: it stays as it was.
 */
extern bool seglog_pack(SegLog *log, SegPosition below, const atomic_bool *stop, bool *packed, Error *err);
extern uint64_t seglog_bytes(SegLog *log); /* on disk */
extern int seglog_segments(SegLog *log);
/* What stands where, oldest first; the last one is being written. A malloc'ed array. */
typedef struct SegInfo
{
	uint32_t number;
	SegPosition before; /* last group before it */
	uint64_t bytes;		/* on disk */
} SegInfo;
extern int seglog_list(SegLog *log, SegInfo **segments);
/* Bytes the log may take, what waits in memory included; 0: no limit. An append beyond it fails with ERR_SPACE. */
extern void seglog_set_quota(SegLog *log, uint64_t bytes);
/* The last append was refused for the quota. */
extern bool seglog_full(SegLog *log);
/* Waiting on the log. A wake that came between two waits of the same waiter is not lost: *wakes remembers. */
extern bool seglog_wait_durable(SegLog *log, SegPosition at, int64_t timeout_us); /* false: timeout, poison */
extern bool seglog_wait_unsynced(SegLog *log, uint64_t *wakes, int64_t timeout_us);
/* False when poisoned, with the error that did it. */
extern bool seglog_healthy(SegLog *log, Error *err);

/* Reads everything there is, for tools. False on the first bad record (ERR_DATA or ERR_REFUSE naming segment and
 * offset); a torn tail is no error but is reported. */
typedef struct SegVerify
{
	uint64_t segments;
	uint64_t bytes;
	uint64_t groups;
	uint64_t records;
	SegPosition first; /* last group before the oldest segment */
	SegPosition last;
	bool torn_tail;
	uint32_t bad_segment; /* 0: none */
	uint64_t bad_offset;
	StreamId stream_id;
} SegVerify;
extern bool seglog_verify(int dirfd, const char *what, uint32_t magic, const SegScan *scan, SegVerify *report,
						  Error *err);

/* Reader: positioned so that next yields the first record of group `at` (or later groups when that
 * one is not there yet). Reads what is flushed, never beyond. Fails with ERR_REFUSE when `at` is before the first segment. */
extern bool segreader_open(SegLog *log, SegPosition at, SegReader **reader, Error *err);
/* For tools: over a directory no writer has open. */
extern bool segreader_open_dir(int dirfd, uint32_t magic, const char *what, SegPosition at,
							   SegReader **reader, Error *err);

typedef struct SegRecord
{
	SegPosition at;
	uint8_t type;
	bool first;
	bool last;
	Slice payload; /* valid until the next call on this reader */
} SegRecord;

typedef enum
{
	SEG_RECORD,
	SEG_PREAMBLE, /* a new segment begins: payload is its preamble (also the one of the segment opened first) */
	SEG_END,	  /* nothing more flushed now */
	SEG_ERROR,
} SegResult;

/* Yield also the records before `at` in its segment: the caller wants what they define. Before the first next. */
extern void segreader_show_all(SegReader *reader);
extern SegResult segreader_next(SegReader *reader, SegRecord *record, Error *err);
/* Blocks until something beyond the reader's position is flushed, or timeout, or seglog_wake. */
extern void segreader_wait(SegReader *reader, int64_t timeout_us);
extern void seglog_wake(SegLog *log);
extern void segreader_close(SegReader *reader);

#endif /* WALRANK_SEGLOG_H */
