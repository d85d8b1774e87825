/*
 * sink.h -- a sink is a table of verbs; the runner drives it from the feed.
 *
 * Rules K1..K8 of exactly-once.md: a sink's effect and its checkpoint move in one atomic step, it
 * asks the far side where it stands (after fencing earlier writers) and never trusts memory after an
 * error.  A sink only writes what the feed says.
 */
#ifndef WALRANK_SINK_H
#define WALRANK_SINK_H

#include "base/option.h"
#include "feed/feed.h"

typedef struct Sink Sink; /* private to the type */

/* Where a sink stands: all units up to seq are in, and `part` pieces of the next. */
typedef struct SinkPosition
{
	StreamId stream_id;
	uint64_t owner_epoch;
	uint64_t seq;
	uint32_t part;
	Lsn end_lsn;
	uint64_t applied, filtered, parked, quarantined;
	uint64_t total_start;	/* the stream's total where the sink began */
	int64_t commit_time_us; /* newest commit applied; since 1970, for lag */
} SinkPosition;

/* What became of an output record in a sink; each is counted once. */
typedef enum
{
	SINK_APPLIED,
	SINK_FILTERED, /* of a kind this sink does not take */
	SINK_PARKED,
} SinkFate;

typedef struct SinkType
{
	const char *name; /* "file" */
	const OptionDef *options;
	size_t options_bytes;
	/* Borrow options (filled in from the configuration section) for the sink's life. */
	bool (*create)(const char *sink_name, const void *options, const StreamId *stream_id,
				   const char *state_dir, Sink **sink, Error *err);
	/* K1: connect, fence, then read the checkpoint. *found = false when there is none and the sink is empty.
	 * Another stream's checkpoint is ERR_REFUSE, and nothing has been touched then. */
	bool (*open)(Sink *sink, SinkPosition *position, bool *found, Error *err);
	/* One output record of a batch; may only be gathered in memory. */
	bool (*apply)(Sink *sink, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
				  SinkFate *fate, Error *err);
	/* Effect and checkpoint, atomically. position: to be written; owner_epoch as opened.  Records that can never be
	 * applied are written to the sink's quarantine in the same step and move from applied to quarantined in it. */
	bool (*commit)(Sink *sink, SinkPosition *position, Error *err);
	/* Replay: after open, with nothing gathered, lowers the checkpoint to position. */
	bool (*rewind)(Sink *sink, const SinkPosition *position, Error *err);
	/* Reads the checkpoint and fences nobody: for tools, while another process writes. Needs no open. */
	bool (*peek)(Sink *sink, SinkPosition *position, bool *found, Error *err);
	/* From another thread: makes a blocking call of this sink fail soon. NULL: its calls do not block for long. */
	void (*interrupt)(Sink *sink);
	void (*close)(Sink *sink);	 /* drops the connection and what is gathered; open may follow */
	void (*destroy)(Sink *sink); /* after close */
} SinkType;

/* K2, K9: for use inside open, before anything is touched. */
extern bool sink_same_stream(const StreamId *theirs, const StreamId *ours, const char *where, Error *err);

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
} SinkConfig;

typedef enum
{
	SINK_STARTING,
	SINK_STREAMING,
	SINK_RETRYING,
	SINK_STOPPED, /* refused or in error: needs the operator */
	SINK_PAUSED,  /* the operator said so: no runner, the checkpoint stays */
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

extern bool sink_runner_start(const SinkConfig *config, Feed *feed, const StreamId *stream_id,
							  const char *state_dir, SinkRunner **runner, Error *err);
extern void sink_runner_status(SinkRunner *runner, SinkStatus *status);
/* Applies what is there up to the feed's durable end, commits, then ends; at most timeout. */
extern void sink_runner_drain(SinkRunner *runner, int64_t timeout_us);
/* Ends the thread without committing what is gathered (which is what a crash does as well), interrupting the sink. */
extern void sink_runner_destroy(SinkRunner *runner);

/* ---- tools: the daemon is stopped, or only looked at ------------------------------------------- */

/* The checkpoint as it is, without fencing the writer. */
extern bool sink_read(const SinkConfig *config, const StreamId *stream_id, const char *state_dir,
					  SinkPosition *position, bool *found, Error *err);
/* Lowers the checkpoint to just before unit from_seq, begins its counters there and takes a new owner_epoch.  The feed must
 * still hold the unit; it is read through feed_or_null, or else in its directory while no daemon runs. ERR_CONFIG when the
 * sink is not that far, or the feed does not reach back. */
extern bool sink_replay(const SinkConfig *config, const StreamId *stream_id, const char *state_dir,
						Feed *feed_or_null, int feed_dirfd, uint64_t from_seq, Error *err);

#endif /* WALRANK_SINK_H */
