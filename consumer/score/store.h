/*
 * store.h -- the scorer's memory: LMDB, one transaction for the position and all it stands for.
 *
 * Fast and rebuildable, not power-safe (R4): NOSYNC, a mark beside it, snapshots.  One handle per
 * process, one thread that reads and writes; others call only what says so.  Writes wait in memory
 * until store_commit() makes all of them, with the position, one LMDB transaction: it succeeds or
 * leaves the file as it was and the writes waiting, so a commit that failed with ERR_SPACE is simply
 * called again.  Every stored value carries a CRC which is checked when the value is read; a bad one
 * marks the store torn and fails with ERR_RESTART.  ERR_DISK: a sync or write failed, stop.
 */
#ifndef WALRANK_STORE_H
#define WALRANK_STORE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/lsn.h"

typedef struct Store Store;

#define STORE_FORMAT 3 /* of what stands in the file; a store of another format is refused */

typedef struct StoreSettings
{
	uint64_t map_bytes_initial; /* the map also grows by this much */
	uint64_t map_bytes_max;
	int snapshots;				   /* kept: 2; at least 1 */
	uint64_t snapshot_bytes_per_s; /* snapshot_rate; 0 = no limit */
	uint64_t hash_mask;			   /* tests: forces collisions; ~0 normally */
	/* store_open: does the feed reach the position (R7)? ERR_REFUSE: no, and why. NULL: not asked. */
	bool (*reaches)(void *arg, uint64_t seq, uint32_t part, Error *err);
	void *reaches_arg;
} StoreSettings;

/* What else the header holds; compared or reported at open. */
typedef struct StoreHeader
{
	StreamId stream_id;
	uint32_t format;
	uint32_t engine; /* version of the scoring engine */
	uint64_t libm;	 /* rules_libm_fingerprint() */
} StoreHeader;

extern bool store_create(int dirfd, const StoreSettings *settings, const StoreHeader *header, Store **store,
						 Error *err);
/*
 * R6: uses the live store when the mark allows it and its seq is not beyond journal_last_seq; else the newest
 * snapshot whose seq <= durable_seq takes its place (said in the log); else ERR_REFUSE.  Writes the open mark, synced.
 */
extern bool store_open(int dirfd, const StoreSettings *settings, const StreamId *stream_id,
					   uint64_t journal_last_seq, uint64_t durable_seq, Store **store, Error *err);
/* Clean stop: mdb_env_sync, then the clean mark (journal and feed must have been synced by the caller). */
extern bool store_close_clean(Store *store, Error *err);
extern void store_abort(Store *store); /* no mark: as after a kill */
extern const StoreHeader *store_header(const Store *store);
extern bool store_set_header(Store *store, const StoreHeader *header,
							 Error *err); /* part of the transaction */

/* Position the store reflects (unit, and piece of it: part 0 = whole unit). */
typedef struct StorePosition
{
	uint64_t seq;
	uint32_t part;	/* pieces of unit seq+1 already in */
	uint64_t total; /* output records so far */
} StorePosition;

extern StorePosition store_position(const Store *store); /* including uncommitted steps */
extern void store_set_position(Store *store, StorePosition position);

/*
 * Returned slices are valid until the next write or commit.
 *
 * store_reserve: called between two steps with a bound of what the next one writes (keys and values).  Commits
 * when that would make too much wait in memory; so whatever has to be written before a commit (journal, feed: R3)
 * must be, as before store_commit().
 */
extern bool store_reserve(Store *store, uint64_t bytes, Error *err);
extern bool store_commit(Store *store, Error *err);
extern uint64_t store_pending(const Store *store); /* bytes that wait for the commit */

/* ---- items: fixed-size hash keys, full key in the value, collisions chained ------------------- */
/* key: Value fields as on the wire (canonical). */
extern bool store_item_get(Store *store, uint32_t relation, Slice key, Slice *value, bool *found, Error *err);
extern bool store_item_put(Store *store, uint32_t relation, Slice key, Slice value, Error *err);
extern bool store_item_delete(Store *store, uint32_t relation, Slice key, bool *found, Error *err);
/* In hash order (deterministic). cursor: opaque, starts zeroed; *done at the end. Writes to the item just returned are allowed. */
typedef struct StoreCursor
{
	uint8_t bytes[16];
	bool started;
} StoreCursor;
extern bool store_item_next(Store *store, uint32_t relation, StoreCursor *cursor, Slice *key, Slice *value,
							bool *done, Error *err);
extern bool store_items_clear(Store *store, uint32_t relation, uint64_t *count, Error *err);

/* ---- small tables: ordered by key (<= 500 bytes) ---------------------------------------------- */
typedef enum
{
	STORE_META,			/* counters, settings */
	STORE_RELATION,		/* number -> descriptor, map, state */
	STORE_DESCRIPTOR,	/* fingerprint -> Relation message */
	STORE_RANKING,		/* number -> ranking */
	STORE_JOB,			/* pending rescoring */
	STORE_TIMER,		/* when an item has to be evaluated again */
	STORE_INTERVENTION, /* id -> intervention */
	STORE_TABLES
} StoreTable;

extern bool store_get(Store *store, StoreTable table, Slice key, Slice *value, bool *found, Error *err);
extern bool store_put(Store *store, StoreTable table, Slice key, Slice value, Error *err);
extern bool store_delete(Store *store, StoreTable table, Slice key, bool *found, Error *err);
/* The first pair with key >= from (or > from when after); *found false at the end. */
extern bool store_seek(Store *store, StoreTable table, Slice from, bool after, Slice *key, Slice *value,
					   bool *found, Error *err);

/* ---- snapshots (R3, R4): called from their own thread, while the writer goes on ---------------- */
/*
 * A consistent copy of the last commit through a pipe at the rate, begun again when the map has to grow; read
 * back and checked whole; then the barrier, sync of the live store, fsync, rename, directory fsync.  Keeps
 * `snapshots` of them.  *seq is the one committed in the copied state.  Fails with ERR_RETRY when cancelled.
 */
extern bool store_snapshot(Store *store, uint64_t *seq, Error *err);
/* Called in the snapshot's thread before a snapshot counts: syncs journal and feed through unit seq (R3). */
typedef bool (*StoreBarrier)(void *arg, uint64_t seq, Error *err);
extern void store_set_barrier(Store *store, StoreBarrier barrier, void *arg);
/* Lets all but the newest go, for want of room in journal or feed. In the thread that makes them. */
extern bool store_newest_snapshot_only(Store *store, Error *err);
/* From any thread: a running store_snapshot() gives up soon, and so do later ones.  Join its thread, then close. */
extern void store_snapshot_cancel(Store *store);

/* From any thread, as of the last commit. */
extern uint64_t store_oldest_snapshot(Store *store); /* seq; 0 when there is none */
extern uint64_t store_newest_snapshot(Store *store);
extern uint64_t store_bytes(Store *store); /* of the file, what lies free in it included */
extern uint64_t store_items(Store *store);
/* Marks the store torn, synced (CRC failure, MDB_CORRUPTED, MDB_PAGE_NOTFOUND). */
extern void store_mark_torn(Store *store);

#endif /* WALRANK_STORE_H */
