/*
 * store.c -- the life of a store: create, open, commit, grow, close.
 *
 * The LMDB environment is opened with NOSYNC (a power cut may tear it: mark and snapshots, R4), NOTLS
 * (the read transaction belongs to the handle, not to a thread) and NORDAHEAD (items are read at
 * random); never WRITEMAP or MAPASYNC, with which a full disk is a SIGBUS, nor NOMEMINIT, which gains
 * nothing (buffers are used again) and puts what the heap held, passwords perhaps, into the file.
 *
 * Every commit is one write transaction, made and ended inside store_commit(); between commits the
 * handle holds one read transaction on the last of them.  It is given back before a write transaction
 * begins, so it never keeps pages from being used again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "score/store_internal.h"

#define PENDING_BYTES_MAX (UINT64_C(256) << 20) /* store_reserve() commits rather than hold more in memory */
#define FULL_WARNING_PERCENT 80
#define MAP_GROWTH_BYTES_MIN (UINT64_C(64) << 10)
#define EXIT_RESTART 75

/* ---- errors ----------------------------------------------------------------------------------- */

bool
store_mdb_error(Store *store, int rc, const char *what, Error *err)
{
	switch (rc)
	{
		case MDB_CORRUPTED:
		case MDB_PAGE_NOTFOUND:
		case MDB_PANIC:
		case MDB_BAD_TXN:
		case MDB_INVALID:
			store_mark_torn(store);
			return error_set(err, ERR_RESTART, "%s: the store is damaged: %s", what, mdb_strerror(rc));
		case MDB_KEYEXIST:
			return error_set(err, ERR_DATA, "%s: more than %d keys share one hash", what, ITEM_CHAIN_MAX);
		case ENOSPC:
		case EDQUOT:
			return error_set(err, ERR_SPACE, "%s: %s", what, mdb_strerror(rc));
		default:
			return error_set(err, ERR_DISK, "%s: %s", what, mdb_strerror(rc));
	}
}

void
store_mark_torn(Store *store)
{
	Mark mark;
	Error err = {0};

	if (atomic_exchange(&store->failed, true))
		return;
	if (store_mark_now(store->dirfd, MARK_TORN, &mark, &err) && store_mark_write(store->dirfd, &mark, &err))
		log_line(LOG_ERROR, "store is damaged; it will be replaced by its newest snapshot at the next start");
	else
		log_error(LOG_ERROR, &err, "could not mark the store as torn");
}

/* LMDB ends the process after an assertion of its own; on a damaged page that must not be a crash for ever. */
static void
assertion_failed(MDB_env *env, const char *message)
{
	store_mark_torn(mdb_env_get_userctx(env));
	log_line(LOG_FATAL, "store is damaged: %s", message);
	_exit(EXIT_RESTART);
}

/* ---- handle ----------------------------------------------------------------------------------- */

static bool
store_alloc(int dirfd, const StoreSettings *settings, Store **result, Error *err)
{
	Store *store = xcalloc(1, sizeof(*store));

	store->settings = *settings;
	store->pid = getpid();
	pthread_mutex_init(&store->gate, NULL);
	pthread_cond_init(&store->gate_moved, NULL);
	delta_init(&store->delta);
	store->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (store->dirfd >= 0 && store_place_check(store->dirfd, err) && store_place_take(store, err))
	{
		*result = store;
		return true;
	}
	if (store->dirfd < 0)
		error_errno(err, "could not duplicate a descriptor");
	store_abort(store);
	return false;
}

static void
reader_close(Store *store)
{
	if (store->reader == NULL)
		return;
	mdb_cursor_close(store->items_cursor);
	for (int i = 0; i < STORE_DBIS; i++)
		mdb_cursor_close(store->table_cursor[i]);
	mdb_txn_abort(store->reader);
	store->reader = NULL;
	store->reading = false;
}

void
store_abort(Store *store)
{
	if (store == NULL)
		return;
	reader_close(store);
	if (store->env != NULL)
		mdb_env_close(store->env);
	store_place_release(store);
	if (store->dirfd >= 0)
		close(store->dirfd);
	delta_free(&store->delta);
	pthread_mutex_destroy(&store->gate);
	pthread_cond_destroy(&store->gate_moved);
	free(store->chain);
	free(store);
}

/* mmap works in pages; LMDB takes any size but a multiple is what it documents. */
static uint64_t
map_round(uint64_t bytes)
{
	uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

static uint64_t
map_growth(const Store *store)
{
	uint64_t bytes = store->settings.map_bytes_initial;

	return map_round(bytes > MAP_GROWTH_BYTES_MIN ? bytes : MAP_GROWTH_BYTES_MIN);
}

static uint64_t
map_limit(const Store *store)
{
	return map_round(store->settings.map_bytes_max);
}

static int
env_configure(Store *store)
{
	struct stat st;
	uint64_t bytes = map_growth(store);
	int rc;

	/* a file that is there already gets half a growth of room, so that the first commit need not move the map */
	if (fstatat(store->dirfd, "data.mdb", &st, 0) == 0 && (uint64_t) st.st_size + bytes / 2 > bytes)
		bytes = map_round((uint64_t) st.st_size + bytes / 2);
	if (bytes > map_limit(store))
		bytes = map_limit(store);
	rc = mdb_env_set_maxdbs(store->env, STORE_DBIS + 1);
	if (rc == 0)
		rc = mdb_env_set_mapsize(store->env, bytes);
	if (rc == 0)
		rc = mdb_env_set_userctx(store->env, store);
	if (rc == 0)
		rc = mdb_env_set_assert(store->env, assertion_failed);
	return rc;
}

static int
dbis_open(Store *store, bool create)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, create ? 0 : MDB_RDONLY, &txn);

	if (rc != 0)
		return rc;
	rc = mdb_dbi_open(txn, "items", create ? MDB_CREATE : 0, &store->items_dbi);
	for (int i = 0; rc == 0 && i < STORE_DBIS; i++)
		rc = mdb_dbi_open(txn, store_table_name(i), create ? MDB_CREATE : 0, &store->table_dbi[i]);
	if (rc != 0)
	{
		mdb_txn_abort(txn);
		return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
	}
	return mdb_txn_commit(txn);
}

/* What changes with a commit and other threads ask for. */
static void
figures_update(Store *store)
{
	MDB_envinfo info;
	MDB_stat stat = {0};

	mdb_env_info(store->env, &info);
	store->map_bytes = info.me_mapsize;
	mdb_env_stat(store->env, &stat);
	atomic_store(&store->bytes, (uint64_t) (info.me_last_pgno + 1) * stat.ms_psize);
}

static int
env_open(Store *store, bool create)
{
	char path[64];
	int dead;
	int rc = mdb_env_create(&store->env);

	if (rc != 0)
		return rc;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", store->dirfd);
	rc = env_configure(store);
	if (rc == 0)
		rc = mdb_env_open(store->env, path, MDB_NOSYNC | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (rc == 0)
		rc = mdb_reader_check(store->env, &dead);
	if (rc == 0)
		rc = dbis_open(store, create);
	if (rc == 0)
		figures_update(store);
	return rc;
}

static void
env_close(Store *store)
{
	reader_close(store);
	if (store->env != NULL)
		mdb_env_close(store->env);
	store->env = NULL;
}

static int
reader_begin(Store *store)
{
	MDB_stat stat;
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->reader);

	if (rc != 0)
		return rc;
	rc = mdb_cursor_open(store->reader, store->items_dbi, &store->items_cursor);
	for (int i = 0; rc == 0 && i < STORE_DBIS; i++)
		rc = mdb_cursor_open(store->reader, store->table_dbi[i], &store->table_cursor[i]);
	if (rc == 0)
		rc = mdb_stat(store->reader, store->items_dbi, &stat);
	if (rc == 0)
		atomic_store(&store->items, stat.ms_entries);
	return rc;
}

static int
reader_renew(Store *store)
{
	int rc = mdb_txn_renew(store->reader);

	if (rc == 0)
		rc = mdb_cursor_renew(store->reader, store->items_cursor);
	for (int i = 0; rc == 0 && i < STORE_DBIS; i++)
		rc = mdb_cursor_renew(store->reader, store->table_cursor[i]);
	return rc;
}

bool
store_reader(Store *store, Error *err)
{
	int rc;

	if (store->reading)
		return true;
	rc = store->reader == NULL ? reader_begin(store) : reader_renew(store);
	if (rc != 0)
		return store_mdb_error(store, rc, "could not read from the store", err);
	store->reading = true;
	return true;
}

static void
reader_release(Store *store)
{
	if (store->reading)
		mdb_txn_reset(store->reader);
	store->reading = false;
}

/* ---- growth ----------------------------------------------------------------------------------- */

/* The map may only move while nobody reads it: a copy under way gives up and begins again. */
static int
map_resize(Store *store, uint64_t bytes)
{
	int rc;

	pthread_mutex_lock(&store->gate);
	store->growing = true;
	pthread_cond_broadcast(&store->gate_moved);
	while (store->copying)
		pthread_cond_wait(&store->gate_moved, &store->gate);
	rc = mdb_env_set_mapsize(store->env, bytes);
	store->growing = false;
	pthread_cond_broadcast(&store->gate_moved);
	pthread_mutex_unlock(&store->gate);
	return rc;
}

static bool
map_grow(Store *store, Error *err)
{
	uint64_t limit = map_limit(store);
	uint64_t bytes = store->map_bytes + map_growth(store);
	int rc;

	if (store->map_bytes >= limit)
	{
		error_set(err, ERR_SPACE, "the store has reached its limit of %" PRIu64 " kB", limit >> 10);
		return error_hint(err,
						  "Raise the limit of the store's size and start again; nothing is lost, the journal "
						  "keeps what is not in the store.");
	}
	if (bytes > limit)
		bytes = limit;
	rc = map_resize(store, bytes);
	if (rc != 0)
	{
		/* the old map is gone already */
		atomic_store(&store->failed, true);
		return error_set(err, ERR_RESTART, "could not enlarge the store's map to %" PRIu64 " kB: %s",
						 bytes >> 10, mdb_strerror(rc));
	}
	log_line(LOG_DEBUG, "store's map enlarged to %" PRIu64 " kB", bytes >> 10);
	store->map_bytes = bytes;
	return true;
}

static void
full_warn(Store *store)
{
	uint64_t limit = map_limit(store);
	uint64_t bytes = atomic_load(&store->bytes);
	bool full = bytes > limit / 100 * FULL_WARNING_PERCENT;

	if (full && !store->warned_full)
		log_line(LOG_WARNING, "store takes %" PRIu64 " kB of the %" PRIu64 " kB it may", bytes >> 10,
				 limit >> 10);
	store->warned_full = full;
}

/* ---- commit ----------------------------------------------------------------------------------- */

static int
flush(Store *store)
{
	MDB_txn *txn;
	MDB_stat stat;
	int rc = mdb_txn_begin(store->env, NULL, 0, &txn);

	if (rc != 0)
		return rc;
	rc = store_items_flush(store, txn);
	if (rc == 0)
		rc = store_tables_flush(store, txn);
	if (rc == 0)
		rc = mdb_stat(txn, store->items_dbi, &stat);
	if (rc != 0)
	{
		mdb_txn_abort(txn);
		return rc;
	}
	rc = mdb_txn_commit(txn);
	if (rc == 0)
		atomic_store(&store->items, stat.ms_entries);
	return rc;
}

static bool
position_moved(const Store *store)
{
	return store->position.seq != store->committed.seq || store->position.part != store->committed.part ||
		   store->position.total != store->committed.total;
}

bool
store_commit(Store *store, Error *err)
{
	uint8_t bytes[64];
	int rc;

	if (store->pid != getpid())
		return error_set(err, ERR_REFUSE, "the store was opened before a fork");
	if (atomic_load(&store->failed))
		return error_set(err, ERR_RESTART, "the store is damaged");
	if (delta_empty(&store->delta) && !position_moved(store) && !store->header_changed)
		return true;
	delta_table_put(&store->delta, STORE_HEAD, STORE_KEY_POSITION,
					store_position_encode(store->position, bytes));
	if (store->header_changed)
		delta_table_put(&store->delta, STORE_HEAD, STORE_KEY_HEADER,
						store_header_encode(&store->header, bytes));
	reader_release(store);
	/* ends: the map grows towards its limit */
	while ((rc = flush(store)) == MDB_MAP_FULL)
		if (!map_grow(store, err))
			return false;
	if (rc != 0)
		return store_mdb_error(store, rc, "could not commit to the store", err);
	delta_reset(&store->delta);
	store->committed = store->position;
	store->header_changed = false;
	figures_update(store);
	full_warn(store);
	return true;
}

bool
store_reserve(Store *store, uint64_t bytes, Error *err)
{
	uint64_t pending = store_pending(store);

	if (pending == 0 || (pending < PENDING_BYTES_MAX && bytes < PENDING_BYTES_MAX - pending))
		return true;
	return store_commit(store, err);
}

uint64_t
store_pending(const Store *store)
{
	return store->delta.bytes;
}

/* ---- header and position ---------------------------------------------------------------------- */

const StoreHeader *
store_header(const Store *store)
{
	return &store->header;
}

bool
store_set_header(Store *store, const StoreHeader *header, Error *err)
{
	if (!stream_id_equal(&store->header.stream_id, &header->stream_id))
		return error_set(err, ERR_REFUSE, "a store keeps its stream");
	store->header = *header;
	store->header_changed = true;
	return true;
}

StorePosition
store_position(const Store *store)
{
	return store->position;
}

void
store_set_position(Store *store, StorePosition position)
{
	store->position = position;
}

/* ---- create, open, close ---------------------------------------------------------------------- */

static bool
mark_set(Store *store, MarkState state, Error *err)
{
	Mark mark;

	return store_mark_now(store->dirfd, state, &mark, err) && store_mark_write(store->dirfd, &mark, err);
}

/*
 * What mdb_env_sync() does, but by way of the table that lets a test make it fail, and without a look into the
 * map, which may be moving.  Once it failed, what is cached proves nothing.
 */
bool
store_live_sync(Store *store, Error *err)
{
	mdb_filehandle_t fd;

	mdb_env_get_fd(store->env, &fd);
	if (fs_datasync(fd, err))
		return true;
	store_mark_torn(store);
	return error_wrap(err, "could not sync the store");
}

/* The mark is written last: a file without one is the rest of a creation that was cut short. */
static bool
create_check(int dirfd, Error *err)
{
	Mark mark;
	bool marked;

	if (!store_mark_read(dirfd, &mark, &marked, err))
		return false;
	if (marked)
		return error_set(err, ERR_REFUSE, "there is a store already");
	if ((unlinkat(dirfd, "data.mdb", 0) != 0 && errno != ENOENT) ||
		(unlinkat(dirfd, "lock.mdb", 0) != 0 && errno != ENOENT))
		return error_errno(err, "could not remove the rest of an unfinished store");
	return true;
}

bool
store_create(int dirfd, const StoreSettings *settings, const StoreHeader *header, Store **result, Error *err)
{
	Store *store;
	int rc;

	if (!store_alloc(dirfd, settings, &store, err))
		return false;
	store->header = *header;
	store->header_changed = true;
	if (!create_check(dirfd, err))
		goto failed;
	rc = env_open(store, true);
	if (rc != 0)
	{
		store_mdb_error(store, rc, "could not create the store", err);
		goto failed;
	}
	if (!store_commit(store, err) || !store_live_sync(store, err) || !fs_sync_dir(dirfd, err) ||
		!mark_set(store, MARK_OPEN, err))
		goto failed;
	*result = store;
	return true;
failed:
	store_abort(store);
	return false;
}

/* Header and position of an environment that has just been opened. */
static bool
head_load(Store *store, bool *sound, const char **reason, Error *err)
{
	Slice value;
	bool found = false;

	*sound = false;
	*reason = "its header is damaged";
	if (!store_get(store, (StoreTable) STORE_HEAD, STORE_KEY_HEADER, &value, &found, err))
		return err->class == ERR_RESTART; /* not sound, but no failure of ours */
	if (!found || !store_header_decode(value, &store->header))
		return true;
	if (!store_get(store, (StoreTable) STORE_HEAD, STORE_KEY_POSITION, &value, &found, err))
		return err->class == ERR_RESTART;
	*sound = found && store_position_decode(value, &store->position);
	store->committed = store->position;
	return true;
}

bool
store_ask_feed(const StoreSettings *settings, RecoveryFile *file, Error *why, Error *err)
{
	file->unreached = NULL;
	if (!file->sound || settings->reaches == NULL ||
		settings->reaches(settings->reaches_arg, file->position.seq, file->position.part, why))
		return true;
	file->unreached = why->message;
	if (why->class != ERR_REFUSE)
		*err = *why;
	return why->class == ERR_REFUSE;
}

/* The live store, if its file can be read at all. */
static bool
live_open(Store *store, Recovery *recovery, RecoveryAction *action, Error *err)
{
	RecoveryFile live = {.name = "data.mdb"};
	const char *damage = "its file cannot be read";
	int rc = env_open(store, false);
	Error why;

	if (rc == ENOMEM || rc == EACCES || rc == EMFILE || rc == ENFILE || rc == ENOSPC)
		return store_mdb_error(store, rc, "could not open the store", err);
	if (rc == 0 && !head_load(store, &live.sound, &damage, err))
		return false;
	live.header = store->header;
	live.position = store->position;
	if (!store_ask_feed(&store->settings, &live, &why, err))
		return false;
	*action = recovery_live(recovery, &live, damage, err);
	return true;
}

static bool
snapshot_open(Store *store, Recovery *recovery, Error *err)
{
	const char *damage;
	bool found;
	int rc;

	env_close(store);
	atomic_store(&store->failed, false); /* whatever was seen was seen in the file that goes */
	if (!store_snapshot_restore(store->dirfd, &store->settings, recovery, err))
		return false;
	log_line(LOG_WARNING, "store replaced by its snapshot of unit %" PRIu64 ": %s", recovery->snapshot,
			 recovery->reason);
	rc = env_open(store, false);
	if (rc != 0)
		return store_mdb_error(store, rc, "could not open the restored store", err);
	if (!head_load(store, &found, &damage, err))
		return false;
	return found || error_set(err, ERR_DISK, "could not read the restored store back");
}

/* R6: carries out what recovery decides. */
static bool
choose_store(Store *store, const StreamId *stream_id, uint64_t journal_last_seq, uint64_t durable_seq,
			 Error *err)
{
	RecoveryAction action;
	RecoveryMark mark;
	Recovery recovery;

	if (!store_mark_look(store->dirfd, &mark, err))
		return false;
	action = recovery_begin(&recovery, stream_id, journal_last_seq, durable_seq, &mark);
	if (action == RECOVERY_LIVE && !live_open(store, &recovery, &action, err))
		return false;
	if (action == RECOVERY_LIST)
		return snapshot_open(store, &recovery, err);
	return action == RECOVERY_USE;
}

bool
store_open(int dirfd, const StoreSettings *settings, const StreamId *stream_id, uint64_t journal_last_seq,
		   uint64_t durable_seq, Store **result, Error *err)
{
	uint64_t seqs[SNAPSHOTS_MAX];
	Store *store;
	int count;

	if (!store_alloc(dirfd, settings, &store, err))
		return false;
	unlinkat(dirfd, SNAPSHOT_TMP, 0); /* the rest of what a crash interrupted takes space */
	unlinkat(dirfd, RESTORE_TMP, 0);
	if (!choose_store(store, stream_id, journal_last_seq, durable_seq, err) ||
		!store_snapshot_list(dirfd, seqs, &count, err) || !mark_set(store, MARK_OPEN, err))
	{
		store_abort(store);
		return false;
	}
	atomic_store(&store->oldest_snapshot, count > 0 ? seqs[0] : 0);
	atomic_store(&store->newest_snapshot, count > 0 ? seqs[count - 1] : 0);
	full_warn(store);
	error_clear(err); /* what was found in a file that was replaced */
	*result = store;
	return true;
}

bool
store_close_clean(Store *store, Error *err)
{
	bool ok = store_commit(store, err) && store_live_sync(store, err) && mark_set(store, MARK_CLEAN, err);

	store_abort(store);
	return ok;
}

/* ---- figures ---------------------------------------------------------------------------------- */

void
store_set_barrier(Store *store, StoreBarrier barrier, void *arg)
{
	store->barrier = barrier;
	store->barrier_arg = arg;
}

uint64_t
store_oldest_snapshot(Store *store)
{
	return atomic_load(&store->oldest_snapshot);
}

uint64_t
store_newest_snapshot(Store *store)
{
	return atomic_load(&store->newest_snapshot);
}

uint64_t
store_bytes(Store *store)
{
	return atomic_load(&store->bytes);
}

uint64_t
store_items(Store *store)
{
	return atomic_load(&store->items);
}
