/*
 * journal.h -- the daemon's promise to the server.
 *
 * A unit that journal_durable() covers survives power loss, so its end_lsn may be acknowledged and
 * the server may forget it (rules J1..J6 of the protocol).  Many threads may append: a unit is
 * begun and ended under the journal's unit lock, so nothing ever stands between the parts of one
 * unit.  Units get dense numbers from 1.
 */
#ifndef WALRANK_JOURNAL_H
#define WALRANK_JOURNAL_H

#include "journal/seglog.h"
#include "journal/unit.h"

typedef struct Journal Journal;
typedef struct JournalReader JournalReader;

#define JOURNAL_REPLACED_MAX 32 /* each a rebuild by a person */

typedef struct JournalIdentity
{
	StreamId stream_id;
	uint64_t system_identifier;
	uint32_t database_oid;
	char database[64];
	char slot[64];
	char plugin[64];
	Lsn server_lsn;	   /* server's WAL position when `creating` was written */
	Lsn start_lsn;	   /* the slot's consistent point; 0 while creating */
	bool complete;	   /* false: creating */
	bool adopted;	   /* the slot was there before the stream: nobody drops it */
	uint32_t timeline; /* the server's when start_lsn was found; 0: not noted */
	uint32_t nreplaced;
	StreamId replaced[JOURNAL_REPLACED_MAX]; /* streams this one stands in for, the newest first */
} JournalIdentity;

/* Whether a checkpoint of that stream may be carried over to ours (rule K9). */
extern bool journal_identity_replaces(const JournalIdentity *identity, const StreamId *stream_id);
/* Puts it at the head of that list, unless it is there; the oldest is forgotten when there are too many. */
extern void journal_identity_replace(JournalIdentity *identity, const StreamId *stream_id);

typedef struct JournalSettings
{
	uint64_t segment_bytes;
} JournalSettings;

/* `dir` is a directory of its own below the state directory.  A text file "identity" in it
 * (replaced atomically) holds the identity; segments repeat the stream_id. */
extern bool journal_identity_write(int dirfd, const JournalIdentity *identity, Error *err);
extern bool journal_identity_read(int dirfd, JournalIdentity *identity, bool *found, Error *err);

/* Make the first segment of a complete identity, durable. The caller writes the identity file, after it: one that says
 * complete has a log.  May be repeated as long as the log holds no unit. */
extern bool journal_create(int dirfd, const JournalSettings *settings, const JournalIdentity *identity,
						   Journal **journal, Error *err);
/* Recover (exactly-once.md, journal recovery). */
extern bool journal_open(int dirfd, const JournalSettings *settings, Journal **journal, Error *err);
extern void journal_close(Journal *journal);
extern const JournalIdentity *journal_identity(const Journal *journal);

/* State as of the last unit appended. */
typedef struct JournalHead
{
	uint64_t seq; /* 0: empty */
	Lsn end_lsn;  /* start point when empty */
	int64_t now_us;
	uint64_t xid; /* of the last TXN */
	int64_t commit_time_us;
	uint32_t timeline;
	uint64_t owner_epoch;
	uint64_t beat;
} JournalHead;

extern void journal_appended(Journal *journal, JournalHead *head);
/* durable seq and H, the end_lsn of that unit (start point when none). */
extern void journal_durable(Journal *journal, uint64_t *seq, Lsn *lsn);

/*
 * On ERR_SPACE nothing was begun or appended by that call; an open unit may be tried on or abandoned, what was ended
 * before waits in memory for journal_flush().  After any other failure the journal is poisoned (ERR_DISK): stop.
 * A failed begin holds no lock; after a failed part or end the unit is still open: abandon it.
 *
 * One unit: begin takes the unit lock and the header as known (seq, now_us when 0 for kinds whose rule says
 * "previous now", end_lsn likewise, timeline, epoch and beat when 0 are filled in); part; end.  `unit` then
 * holds the values given.  abandon cuts and releases the lock.  A large transaction holds the lock until its last frame.
 */
extern bool journal_begin(Journal *journal, Unit *unit, Error *err);
extern bool journal_part(Journal *journal, PartType type, Slice bytes, Error *err);
extern bool journal_end(Journal *journal, Error *err);
extern bool journal_abandon(Journal *journal, Error *err);
/* begin + optional one part + end + flush + (sync wanted: waits until durable when wait) */
extern bool journal_append(Journal *journal, Unit *unit, PartType type, Slice bytes, bool wait_durable,
						   Error *err);

/* The same, unless another thread has a unit open for longer than timeout_us: ERR_RETRY. */
extern bool journal_try_append(Journal *journal, Unit *unit, PartType type, Slice bytes, int64_t timeout_us,
							   Error *err);

/* A relation Entry first seen in a frame that is dropped, or to be known by later SNAPSHOTs. Keeps the newest bytes by fingerprint. */
extern void journal_keep_relation(Journal *journal, uint64_t fingerprint, Slice entry);
extern bool journal_relation_known(Journal *journal, uint64_t fingerprint);

extern bool journal_flush(Journal *journal, Error *err);
/* The sync thread's body: waits for work (at most timeout), syncs once, wakes waiters. False on error. */
extern bool journal_sync_step(Journal *journal, int64_t timeout_us, Error *err);
/* How long the last step's sync took; 0 when it had nothing to do. For the thread that calls it. */
extern int64_t journal_sync_us(const Journal *journal);
/* Until seq is durable; false on timeout or poison. */
extern bool journal_wait_durable(Journal *journal, uint64_t seq, int64_t timeout_us);
extern void journal_wake(Journal *journal);
extern int
journal_durable_fd(Journal *journal); /* eventfd, readable after durable moved: for the receiver's poll */
extern uint64_t journal_first_seq(Journal *journal);
extern bool journal_trim(Journal *journal, uint64_t below_seq, Error *err);
extern uint64_t journal_bytes(Journal *journal);
extern SegLog *journal_log(Journal *journal);

/* Reading: unit by unit, part by part. The scorer may read what is only flushed (J4, R2). */
extern bool journal_reader_open(Journal *journal, uint64_t seq, JournalReader **reader, Error *err);
extern bool journal_reader_open_dir(int dirfd, uint64_t seq, JournalReader **reader, Error *err);

typedef enum
{
	JOURNAL_UNIT,	  /* *unit is filled: parts follow */
	JOURNAL_PART,	  /* *type, *bytes: a part of the current unit */
	JOURNAL_UNIT_END, /* the current unit is complete */
	JOURNAL_RELATION, /* a relation Entry outside units: from a SNAPSHOT, or kept from a dropped frame */
	JOURNAL_NOTHING,  /* nothing more now */
	JOURNAL_ERROR,
} JournalEvent;

extern JournalEvent journal_reader_next(JournalReader *reader, Unit *unit, PartType *type, Slice *bytes,
										Error *err);
extern void journal_reader_wait(JournalReader *reader, int64_t timeout_us);
extern void journal_reader_close(JournalReader *reader);

/* Reads and checks all of it; the daemon must be stopped.  False on the first bad record, named in err and here. */
typedef struct JournalVerify
{
	uint64_t segments;
	uint64_t bytes;
	uint64_t records;
	uint64_t units;
	uint64_t first_seq;
	uint64_t last_seq;
	Lsn end_lsn;
	bool torn_tail;		  /* an unfinished tail that the next start will cut */
	uint32_t bad_segment; /* 0: none */
	uint64_t bad_offset;
	StreamId stream_id;
} JournalVerify;

extern bool journal_verify(int dirfd, JournalVerify *report, Error *err);

#endif /* WALRANK_JOURNAL_H */
