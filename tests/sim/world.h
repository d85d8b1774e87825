/*
 * world.h -- everything there is in one seed: a server, a machine with a daemon, two sinks, time, and what must
 * hold.
 *
 *	server.c  commits, walsender		daemon.c  the product's parts, put together as the daemon does
 *	disk*.c	  the machine's disk		turns.c	  one turn of one of its threads
 *	store.c	  the scorer's store		sink.c	  far sides, and the runner on sinks/position.h
 *	model.c	  the scorer				oracle.c  J, R and K rules
 *	queue.c	  the network				wrong.c	  histories that do not fit
 *	world.c	  time, faults, who is next
 */
#ifndef WALRANK_SIM_WORLD_H
#define WALRANK_SIM_WORLD_H

#include "disk.h"
#include "feed/feed.h"
#include "report.h"
#include "server.h"
#include "sinks/position.h"
#include "store.h"
#include "stream/intake.h"

#define SINKS 2

/* Rules that can be broken on purpose, to see them caught: walrank-sim --break NAME. */
typedef enum
{
	BREAK_NOTHING,
	BREAK_ACK_PLUS_ONE,
	BREAK_ACK_BEFORE_FSYNC,
	BREAK_NO_DIRECTORY_FSYNC,
	BREAK_STORE_BEFORE_FEED,
	BREAK_SNAPSHOT_BEFORE_SYNC,
	BREAK_FEED_PAST_DURABLE,
	BREAK_SEQ_GAP,
	BREAK_APPLIED_AGAIN,
	BREAK_CHECKPOINT_APART,
	BREAK_NO_FENCE,
	BREAK_BOOT_NOT_COMPARED,
	BREAK_STORE_EMPTY,
	BREAK_START_PAST_H,
	BREAK_HISTORY_UNCHECKED,
	BREAK_CLEAN_BEFORE_SYNC,
	BREAK_TRIM_PAST_SNAPSHOT,
	BREAK_COUNT
} Break;

extern const char *const break_names[BREAK_COUNT];

/* ---- sinks ------------------------------------------------------------------------------------ */

/* What a far side holds: its checkpoint and the hash of all that was applied, which move in one step. */
typedef struct FarState
{
	bool found;
	SinkPosition position;
	uint64_t chain;
} FarState;

#define BATCH_MAX 12

/* Records, and where they lead from there. */
typedef struct Batch
{
	uint64_t from_seq;
	uint32_t from_part;
	SinkPosition to;
	uint64_t records[BATCH_MAX];
	int n;
} Batch;

typedef struct Far
{
	char name[8];
	FarState now;
	FarState *past; /* it may fail over to one of these */
	int npast;
	bool late; /* a batch of an earlier writer is still on its way */
	Batch late_batch;
} Far;

typedef struct Runner
{
	Far *far;
	bool open;
	FeedReader *reader;
	SinkPosition position; /* with what is gathered */
	Batch batch;
	int64_t retry_us;
} Runner;

/* ---- daemon ----------------------------------------------------------------------------------- */

typedef struct Message
{
	int64_t ready_us;
	Buffer bytes;
} Message;

typedef struct Queue
{
	Message *at;
	int n;
	int capacity;
} Queue;

typedef struct Daemon
{
	bool running;
	int lock_fd;
	Journal *journal;
	Feed *feed;
	ModelStore store;
	Intake *intake;
	JournalReader *reader; /* the scorer's */
	ModelRelations known;
	bool uncommitted;
	bool unflushed;
	ModelUnit unit; /* being scored, while in_unit */
	bool in_unit;
	bool append_wanted; /* its last record found no space */
	RecordHeader header;
	Buffer record;
	bool connected;
	int64_t retry_us;
	uint64_t asked_seq;
	bool config_wanted;
	Runner runners[SINKS];
	Error fatal; /* class != ERR_NONE: the process ends */
} Daemon;

/* ---- oracle ----------------------------------------------------------------------------------- */

typedef struct Reference
{
	uint64_t seq;
	uint32_t part;
	bool last;
	uint64_t hash;
	uint64_t chain;
	uint64_t total;
} Reference;

/* What the units that were once durable amount to. */
typedef struct Oracle
{
	ModelState state;
	ModelRelations known;
	JournalReader *reader;
	uint64_t seq;
	uint64_t *units; /* hash of each, by seq */
	size_t units_capacity;
	Reference *records;
	size_t n;
	size_t capacity;
	int next; /* the server's transaction that has to come next */
	Lsn end_lsn;
	int64_t unit_now_us;
} Oracle;

/* ---- all -------------------------------------------------------------------------------------- */

typedef struct World
{
	Random random;
	int64_t now_us;
	int64_t wall_base_us;
	Break broken;
	StreamId stream_id;
	uint64_t boot;
	uint64_t engine; /* of the version that is installed */
	uint64_t journal_segment_bytes;
	uint64_t feed_segment_bytes;
	Server *server;
	Server *backup;
	DiskImage *yesterday;
	Queue to_daemon;
	Queue to_server;
	Daemon daemon;
	Far fars[SINKS];
	Oracle oracle;
	bool faults;
	int64_t space_until_us;
	int64_t start_us; /* not before: there was no space */
	AckConfirm confirm;
	Lsn sinks_reached;	   /* what every sink had at some time */
	uint64_t appended_seq; /* the journal's, when the process died */
	/* A sync of the feed failed and the process died before it could mark the store: what the feed lacks shows when it is
	 * read, and then a person removes the mark. */
	bool unmarked;
	bool mark_in_doubt; /* it has shown */
} World;

extern World world;

static inline int64_t
wall_now(void)
{
	return world.wall_base_us + world.now_us;
}

/* daemon.c */
extern void daemon_create_state(void);
extern bool daemon_start(Error *err);
extern void daemon_drop(void); /* memory is gone; the disk is the caller's matter */
extern void daemon_fatal(const Error *err);
extern bool daemon_settle_journal(Error *err); /* the sync thread's work, for those who wait for it */
extern bool daemon_append_config(uint32_t engine, Error *err);
extern bool daemon_sync_feed(Error *err);

/* turns.c */
extern bool daemon_connect(Error *err);
extern void daemon_receive(void);
extern void daemon_sync(void);
extern void daemon_score(void);
extern void daemon_commit(void);
extern void daemon_snapshot(void);
extern void daemon_append(void);
extern void daemon_trim(void);
extern void daemon_pack(void);
extern bool daemon_stop_clean(Error *err);

/* queue.c */
extern void queue_clear(Queue *queue);
extern void queue_put(Queue *queue, const Buffer *bytes, int64_t ready_us);
extern bool queue_take(Queue *queue, int64_t now_us, Buffer *bytes);

/* sink.c */
extern void far_create(Far *far, const char *name);
extern void far_destroy(Far *far);
extern void far_fall_back(Far *far);
extern void far_late(Far *far);
extern bool runner_open(Runner *runner, Error *err);
extern void runner_close(Runner *runner);
extern void runner_step(Runner *runner);

/* oracle.c */
extern void oracle_attach(void); /* a daemon has just opened its journal */
extern void oracle_detach(void);
extern void oracle_look(void);
extern void oracle_status(Lsn lsn);
extern void oracle_sink(const Far *far);
extern void oracle_read_by_sink(const RecordReader *record);
extern void oracle_walk_journal(void);
/* False: a sync that failed took something from the middle. */
extern bool oracle_walk_feed(void);
extern void oracle_destroy(void);

/* wrong.c */
extern void wrong_history(void);

/* world.c */
extern void world_run(uint64_t seed, Break rule, int steps);

#endif /* WALRANK_SIM_WORLD_H */
