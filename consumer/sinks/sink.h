/*
 * sink.h -- a sink is a table of verbs; the runner drives it from the feed.
 *
 * Rules K1..K9 of exactly-once.md: a sink's effect and its checkpoint move in one atomic step, it
 * asks the far side where it stands (after fencing earlier writers) and never trusts memory after an
 * error.  A sink only writes what the feed says, and judges nothing: position.h does.
 */
#ifndef WALRANK_SINK_H
#define WALRANK_SINK_H

#include "base/option.h"
#include "feed/feed.h"
#include "journal/journal.h"
#include "sinks/position.h"

typedef struct Sink Sink; /* private to the type */

/* What `verify` found. */
typedef struct SinkVerify
{
	uint64_t from_seq, to_seq; /* units compared; from > to: none, the feed does not reach back */
	uint64_t compared;		   /* lines, or rows */
	uint64_t different;
	char first[512]; /* the first difference, in words; empty when there is none */
} SinkVerify;

/* Where a sink shows an item; for the length of a call. */
typedef struct SinkPlace
{
	Slice ranking;
	Slice key; /* {"id": 17} */
	double score;
	int32_t tier;
	int32_t pin; /* 0: none */
	Slice at;	 /* as of when: a time as JSON has it, without quotes */
} SinkPlace;

typedef bool (*SinkPlaceVisit)(void *context, const SinkPlace *place, Error *err);

typedef struct SinkType
{
	const char *name; /* "file" */
	const OptionDef *options;
	size_t options_bytes;
	/* Borrow options (filled in from the configuration section) and history for the sink's life. */
	bool (*create)(const char *sink_name, const void *options, const SinkHistory *history,
				   const char *state_dir, Sink **sink, Error *err);
	/* Before open: this sink writes to another target of the same kind, under the same name (replay --into). ERR_CONFIG
	 * when `target` names none. NULL: the type cannot. */
	bool (*retarget)(Sink *sink, const char *target, Error *err);
	/* K1: connect, fence, then read the checkpoint.  A checkpoint of another stream, replaced or foreign, is only told:
	 * nothing is touched then.  False is for errors, not for what stand can say. */
	bool (*open)(Sink *sink, SinkStand *stand, Error *err);
	/*
	 * After open, or after a commit with nothing gathered since: a target that holds nothing, and position its
	 * checkpoint, in one atomic step.  In place while there is nothing there; else beside what is there, which stays
	 * as it is and readable (K9).  A target begun beside earlier is dropped.
	 */
	bool (*begin)(Sink *sink, SinkPosition *position, Error *err);
	/* One output record of a batch; may only be gathered in memory. */
	bool (*apply)(Sink *sink, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
				  SinkFate *fate, Error *err);
	/*
	 * Effect and checkpoint, atomically. position: to be written; owner_epoch as opened.  Records that can never be
	 * applied are written to the sink's quarantine in the same step and move from applied to quarantined in it.  When
	 * position->phase is SINK_WHOLE, a target that was begun beside takes the old one's place in the same step.
	 */
	bool (*commit)(Sink *sink, SinkPosition *position, Error *err);
	/* Replay: after open, with nothing gathered, lowers the checkpoint to position. */
	bool (*rewind)(Sink *sink, const SinkPosition *position, Error *err);
	/* Reads the checkpoint, of whatever stream, and fences nobody: for tools, while another process writes. Needs no open. */
	bool (*peek)(Sink *sink, SinkPosition *position, bool *found, Error *err);
	/* Compares what the sink shows with the feed up to its checkpoint; reader stands where the feed begins, total is that
	 * before it. Fences nobody, needs no open. NULL: the type cannot. */
	bool (*verify)(Sink *sink, FeedReader *reader, SinkVerify *report, Error *err);
	/* Every place it shows, each once, in any order, and the checkpoint they belong to. Fences nobody, needs no open. ERR_CONFIG
	 * while it is being filled. NULL: the type cannot. */
	bool (*places)(Sink *sink, SinkPlaceVisit visit, void *context, SinkPosition *position, Error *err);
	/* From another thread: makes a blocking call of this sink fail soon. NULL: its calls do not block for long. */
	void (*interrupt)(Sink *sink);
	void (*close)(Sink *sink);	 /* drops the connection and what is gathered; open may follow */
	void (*destroy)(Sink *sink); /* after close */
} SinkType;

/* What the journal's identity says of streams; borrows it. */
static inline SinkHistory
sink_history(const JournalIdentity *identity)
{
	return (SinkHistory){identity->stream_id, identity->replaced, (int) identity->nreplaced};
}

extern const SinkType sink_file;
extern const SinkType sink_postgres;
extern const SinkType *const sink_types[]; /* NULL-ended */

/* ---- runner: one thread per sink, straight blocking code ------------------------------------- */

typedef struct SinkRunner SinkRunner;

typedef struct SinkConfig
{
	char *name;
	const SinkType *type;
	void *options;
	int64_t flush_interval_ms; /* default 100 */
	int64_t flush_rows;		   /* default 10000 */
	int start;				   /* SinkFrom: where it begins when it is new; default oldest */
} SinkConfig;

typedef enum
{
	SINK_STARTING,
	SINK_STREAMING,
	SINK_RETRYING,
	SINK_STOPPED,  /* refused or in error: needs the operator; after a refusal a fill (R13) starts it again */
	SINK_PAUSED,   /* the operator said so: no runner, the checkpoint stays */
	SINK_GIVEN_UP, /* the feed's quota said so: nothing is kept for it, it needs a fill */
} SinkState;

typedef struct SinkStatus
{
	SinkState state;
	SinkPosition position;
	uint64_t batches, retries, errors;
	ErrorClass
		reason; /* of the last error. SINK_STOPPED by ERR_DISK: the daemon must stop; by ERR_RESTART: exit 75 */
	char note[512]; /* its message and hint; empty while all is well */
} SinkStatus;

/* history is copied. */
extern bool sink_runner_start(const SinkConfig *config, Feed *feed, const SinkHistory *history,
							  const char *state_dir, SinkRunner **runner, Error *err);
extern void sink_runner_status(SinkRunner *runner, SinkStatus *status);
/* Applies what is there up to the feed's durable end, commits, then ends; at most timeout. */
extern void sink_runner_drain(SinkRunner *runner, int64_t timeout_us);
/* Ends the thread without committing what is gathered (which is what a crash does as well), interrupting the sink. */
extern void sink_runner_destroy(SinkRunner *runner);

/* ---- tools ------------------------------------------------------------------------------------- */

/* The feed, of this daemon or (feed NULL) in its directory. */
typedef struct SinkSource
{
	Feed *feed;
	int dirfd;
	uint64_t first_seq,
		last_seq; /* of a directory beside a running daemon: what it says may be read (R5); else 0 */
} SinkSource;

/* The checkpoint as it is, without fencing the writer. ERR_REFUSE when it is a foreign stream's. */
extern bool sink_read(const SinkConfig *config, const SinkHistory *history, const char *state_dir,
					  SinkPosition *position, bool *found, Error *err);
/* R13: asks the scorer to repeat for this sink what was last emitted; durable when it returns, and the feed knows that. The
 * sink may run, be refused, or be started after this: its runner begins anew at this unit. Any thread of the daemon. */
extern bool sink_fill_append(Journal *journal, Feed *feed, const char *name, Error *err);

typedef enum
{
	SINK_FROM_OLDEST,  /* the oldest unit the feed holds: no items that did not change since */
	SINK_FROM_NOW,	   /* what comes from now on */
	SINK_FROM_CURRENT, /* everything there is: a fill */
} SinkFrom;

extern const char *const sink_from_names[]; /* "oldest", .. in this order, NULL-ended */

/* K1: the first checkpoint of a sink that is new and empty, before its runner starts. oldest and now write it; current
 * appends a fill, where the runner will begin. ERR_CONFIG when there is a checkpoint already, ERR_REFUSE when it is not empty. */
extern bool sink_add(const SinkConfig *config, const SinkHistory *history, const char *state_dir,
					 SinkSource source, Journal *journal, SinkFrom from, Error *err);
/* Lowers the checkpoint to just before unit from_seq, begins its counters there and takes a new owner_epoch.  The feed must
 * still hold the unit. ERR_CONFIG when the sink is not that far, or the feed does not reach back. */
extern bool sink_replay(const SinkConfig *config, const SinkHistory *history, const char *state_dir,
						SinkSource source, uint64_t from_seq, Error *err);
/* The same records to another, empty target of the sink's type, as far as the feed may be read; the sink itself is not touched. */
extern bool sink_replay_into(const SinkConfig *config, const SinkHistory *history, const char *state_dir,
							 SinkSource source, uint64_t from_seq, const char *target, SinkPosition *reached,
							 Error *err);
extern bool sink_verify(const SinkConfig *config, const SinkHistory *history, const char *state_dir,
						SinkSource source, SinkVerify *report, Error *err);
/* What the sink shows, item by item, and where it stands. */
extern bool sink_places(const SinkConfig *config, const SinkHistory *history, const char *state_dir,
						SinkPlaceVisit visit, void *context, SinkPosition *position, Error *err);

#endif /* WALRANK_SINK_H */
