/*
 * store_internal.h -- what the store's own files share; nobody else includes it but its tests.
 *
 * What was written since the last commit lives in memory (Delta) until store_commit() carries it
 * into one LMDB transaction.  So a transaction that does not fit can be thrown away, the map
 * enlarged or space waited for, and the same writes made again: nothing is ever half applied.
 *
 *	store.c           life of a handle, commit, growth of the map
 *	store_delta.c     pending writes
 *	store_item.c      items: fixed-size keys, chains
 *	store_table.c     small ordered tables
 *	store_head.c      header and position
 *	store_mark.c      the mark beside the file
 *	recovery.c        which of the files is used (pure, recovery.h)
 *	store_place.c     file system, one handle per process
 *	store_snapshot.c  copies, and which one replaces a lost store
 */
#ifndef WALRANK_STORE_INTERNAL_H
#define WALRANK_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/arena.h"
#include "score/recovery.h"
#include "score/store.h"

#define STORE_HEAD STORE_TABLES /* a table of our own: header and position */
#define STORE_DBIS (STORE_TABLES + 1)

/* ---- records ---------------------------------------------------------------------------------- */
/*
 * Every value stored:   0  u32  CRC-32C of all bytes that follow
 *                       4  u32  key bytes (0 in the small tables, where LMDB's key is the whole key)
 *                       8  u32  value bytes
 *                      12       key, value
 * The lengths are compared with LMDB's before the CRC is computed: garbage must not lead out of the map.
 */
#define RECORD_HEADER_BYTES 12

extern void store_record_seal(uint8_t *record, uint32_t key_len, uint32_t value_len);
/* MDB_CORRUPTED when lengths or CRC do not fit; what the item walk calls for every value it meets. */
extern int store_record_open(MDB_val record, Slice *key, Slice *value);

/* Key of an item in LMDB: relation u32, hash u64, place in the chain u16; big-endian, so in order. */
#define ITEM_KEY_BYTES 14
#define ITEM_CHAIN_MAX 65535

/* ---- pending writes --------------------------------------------------------------------------- */
typedef struct ItemEntry
{
	struct ItemEntry *next; /* in its bucket, ordered by hash, relation, key */
	uint64_t hash;
	uint32_t relation;
	uint32_t key_len;
	uint32_t value_len;
	uint32_t capacity; /* room for the value in `record` */
	bool deleted;
	uint8_t *record;
} ItemEntry;

typedef struct TableEntry
{
	Slice key;
	uint32_t value_len;
	uint32_t capacity;
	bool deleted;
	uint8_t *record;
} TableEntry;

typedef struct TableDelta
{
	TableEntry **entries; /* ordered by key */
	size_t count;
	size_t capacity;
} TableDelta;

typedef struct Delta
{
	Arena *arena;
	ItemEntry **buckets; /* by the highest bits of the hash: walking the buckets is walking in order */
	unsigned bucket_bits;
	size_t items;
	uint32_t *cleared; /* relations whose stored items are gone */
	size_t cleared_count;
	size_t cleared_capacity;
	TableDelta tables[STORE_DBIS];
	size_t bytes; /* taken from the arena since the last reset */
} Delta;

extern void delta_init(Delta *delta);
extern void delta_free(Delta *delta);
extern void delta_reset(Delta *delta);
extern bool delta_empty(const Delta *delta);

extern Slice delta_item_key(const ItemEntry *entry);
extern Slice delta_item_value(const ItemEntry *entry);
extern ItemEntry *delta_item_find(const Delta *delta, uint32_t relation, uint64_t hash, Slice key);
extern void delta_item_put(Delta *delta, uint32_t relation, uint64_t hash, Slice key, Slice value);
extern void delta_item_delete(Delta *delta, uint32_t relation, uint64_t hash, Slice key);
/* The first entry of the relation with low <= hash <= high, deleted ones too; its like follow by delta_item_like(). */
extern ItemEntry *delta_item_seek(const Delta *delta, uint32_t relation, uint64_t low, uint64_t high);
extern ItemEntry *delta_item_like(const ItemEntry *entry);
extern void delta_clear(Delta *delta, uint32_t relation);
extern bool delta_cleared(const Delta *delta, uint32_t relation);
/* All entries ordered by relation, hash, key; valid until the next reset. */
extern ItemEntry **delta_items_sorted(Delta *delta);

extern Slice delta_table_value(const TableEntry *entry);
/* Index of the first entry with key >= (after: >) the given one. */
extern size_t delta_table_seek(const TableDelta *table, Slice key, bool after);
extern TableEntry *delta_table_find(const TableDelta *table, Slice key);
extern void delta_table_put(Delta *delta, int table, Slice key, Slice value);
extern void delta_table_delete(Delta *delta, int table, Slice key);

/* ---- the handle ------------------------------------------------------------------------------- */
typedef struct ChainItem
{
	Slice key;
	Slice value;
} ChainItem;

struct Store
{
	int dirfd;
	pid_t pid; /* LMDB's locks do not survive fork */
	dev_t device;
	ino_t inode; /* of the directory: one handle per process */
	struct Store *next_open;
	StoreSettings settings;
	StoreHeader header;
	StorePosition position;
	StorePosition committed;
	bool header_changed;
	bool warned_full;

	MDB_env *env;
	MDB_dbi items_dbi;
	MDB_dbi table_dbi[STORE_DBIS];
	size_t map_bytes;
	MDB_txn *reader; /* sees the last commit */
	bool reading;
	MDB_cursor *items_cursor; /* of the reader */
	MDB_cursor *table_cursor[STORE_DBIS];

	Delta delta;
	ChainItem *chain; /* scratch of item walks */
	size_t chain_count;
	size_t chain_capacity;

	_Atomic uint64_t bytes;
	_Atomic uint64_t items;
	_Atomic uint64_t oldest_snapshot;
	_Atomic uint64_t newest_snapshot;
	atomic_bool failed; /* a sync failed or the mark says torn: nothing more is written */

	/* A copy reads the map, so the map must not move under it. */
	pthread_mutex_t gate;
	pthread_cond_t gate_moved;
	bool copying;
	bool growing;
	bool cancelled;
	StoreBarrier barrier;
	void *barrier_arg;
};

/* Turns an LMDB code into an error; corruption marks the store torn. Returns false. */
extern bool store_mdb_error(Store *store, int rc, const char *what, Error *err);
/* The read transaction on the last commit, begun if need be. */
extern bool store_reader(Store *store, Error *err);
extern bool store_live_sync(Store *store, Error *err);
/* Refuses file systems whose maps and locks cannot be relied on. */
extern bool store_place_check(int dirfd, Error *err);
extern bool store_place_take(Store *store, Error *err);
extern void store_place_release(Store *store);
extern int store_items_flush(Store *store, MDB_txn *txn);
extern int store_tables_flush(Store *store, MDB_txn *txn);
extern const char *store_table_name(int table);

extern Slice store_header_encode(const StoreHeader *header, uint8_t bytes[64]);
extern bool store_header_decode(Slice bytes, StoreHeader *header);
extern Slice store_position_encode(StorePosition position, uint8_t bytes[64]);
extern bool store_position_decode(Slice bytes, StorePosition *position);
#define STORE_KEY_HEADER slice_string("header")
#define STORE_KEY_POSITION slice_string("position")

/* ---- the mark --------------------------------------------------------------------------------- */
typedef struct Mark
{
	char boot_id[40];
	uint64_t device;
	uint64_t inode; /* of data.mdb */
	MarkState state;
} Mark;

extern bool store_mark_write(int dirfd, const Mark *mark, Error *err);
/* *found is false too when the mark cannot be read as one. */
extern bool store_mark_read(int dirfd, Mark *mark, bool *found, Error *err);
/* A mark for the store file as it is now, on this boot. */
extern bool store_mark_now(int dirfd, MarkState state, Mark *mark, Error *err);
/* data.mdb and its mark, as recovery wants to know them. */
extern bool store_mark_look(int dirfd, RecoveryMark *seen, Error *err);

/* ---- snapshots -------------------------------------------------------------------------------- */
#define SNAPSHOT_TMP "snapshot.tmp"
#define RESTORE_TMP "data.tmp"

/* Sequence numbers of the snapshots there, ascending. */
extern bool store_snapshot_list(int dirfd, uint64_t seqs[SNAPSHOTS_MAX], int *count, Error *err);
extern void store_snapshot_name(uint64_t seq, char name[48]);
/*
 * Opens the file beside the store, reads its header and position, and every value in it when `all`.
 * *sound is false, with the reason, when it is not a whole store.
 */
extern bool store_file_check(int dirfd, const char *name, bool all, StoreHeader *header,
							 StorePosition *position, bool *sound, char reason[256], Error *err);
/* Puts the snapshot recovery chooses in the place of data.mdb. False with ERR_REFUSE: there is none to choose. */
extern bool store_snapshot_restore(int dirfd, const StoreSettings *settings, Recovery *recovery, Error *err);
/* Fills in whether the feed reaches the file's position; *why holds the reason. */
extern bool store_ask_feed(const StoreSettings *settings, RecoveryFile *file, Error *why, Error *err);

#endif /* WALRANK_STORE_INTERNAL_H */
