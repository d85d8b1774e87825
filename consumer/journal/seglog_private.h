/*
 * seglog_private.h -- what writer, recovery and readers of a log share (private to this directory).
 *
 * Two kinds of state: the writer's own, touched by the one thread that appends; and the marks, under `lock`.
 *
 *	committed: whole groups, perhaps only in the writer's buffer		last
 *	flushed:   in the kernel; readers go up to here						flushed, segments[n-1].bytes
 *	durable:   file and directory entry synced							durable
 */
#ifndef WALRANK_SEGLOG_PRIVATE_H
#define WALRANK_SEGLOG_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "journal/segment.h"

typedef struct Segment
{
	uint32_t number;
	SegPosition prev; /* last group before it */
	uint64_t bytes;	  /* whole groups in the kernel */
	int fd;			  /* -1 once synced and no longer written */
	uint64_t packed;  /* bytes of the compressed file; 0: the plain one stands */
	bool busy;		  /* being compressed: not to be trimmed */
} Segment;

struct SegLog
{
	SegSettings settings;
	Buffer owner; /* settings.header */
	int dirfd;

	/* the writer's own */
	Buffer buffer;		 /* starts at file_bytes of the active segment */
	uint64_t file_bytes; /* handed to the kernel, whole groups or not */
	size_t committed;	 /* bytes of buffer that belong to whole groups */
	size_t record;		 /* start of the last record, whose flags are not known yet ... */
	bool record_open;	 /* ... when this is set */
	uint32_t seed;		 /* of the active segment */
	int fd;				 /* of the active segment */
	uint32_t number;	 /* of the active segment */
	bool sealed;		 /* earlier segments are durable: records say so */
	uint64_t claim;		 /* .. and that this one is up to here; 0: they do not say */
	bool group_open;
	SegPosition group;
	uint32_t index;		  /* of the next record in the group */
	uint64_t group_start; /* file offset */
	SegPosition before;	  /* last group before the last commit, for revoke */
	bool revocable;
	bool rotate; /* the active segment is full; its successor's preamble is ready */
	Buffer preamble;

	_Atomic uint64_t quota;		  /* 0: none */
	_Atomic uint64_t older_bytes; /* of all segments but the active one */
	atomic_bool full;

	pthread_mutex_t lock;
	pthread_cond_t moved;
	/* under lock */
	Segment *segments;
	int n;
	int capacity;
	SegPosition last;
	SegPosition flushed;
	SegPosition durable;
	uint64_t tag; /* the owner's, of these three and of `before` */
	uint64_t flushed_tag;
	uint64_t durable_tag;
	uint64_t tag_before;
	uint64_t durable_bytes;	 /* of the segment named next */
	uint32_t durable_number; /* newest segment whose name is durable; all before it are durable whole */
	uint64_t wakes;
	bool poisoned;
	Error poison;
};

extern SegLog *seglog_alloc(int dirfd, const SegSettings *settings, Error *err);
extern void seglog_add_segment(SegLog *log, Segment segment); /* caller holds the lock or is alone */
extern bool seglog_poison(SegLog *log, const Error *err);	  /* returns false */
/* False on timeout. Caller holds the lock. deadline_us on the monotonic clock. */
extern bool seglog_wait(SegLog *log, int64_t deadline_us);
/* Write the file of a segment: header, preamble. Not synced. */
extern bool seglog_make_segment(SegLog *log, uint32_t number, SegPosition prev, Slice preamble,
								Segment *segment, Error *err);
/* The writer goes on at the end of segments[n-1], which holds groups up to `last`. */
extern void seglog_resume(SegLog *log, SegPosition last);

#endif /* WALRANK_SEGLOG_PRIVATE_H */
