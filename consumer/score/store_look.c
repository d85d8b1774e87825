/*
 * store_look.c -- see store_look.h.
 */
#include "score/store_look.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "score/store_internal.h"

#define COPY_BYTES (1U << 20)
#define ATTEMPTS_MAX 10 /* the daemon may remove the one just chosen: it has made a newer one then */

/* ---- which one -------------------------------------------------------------------------------- */

static bool
choose(int dirfd, uint64_t seq_max, uint64_t *seq, Error *err)
{
	uint64_t seqs[SNAPSHOTS_MAX];
	int count;

	if (!store_snapshot_list(dirfd, seqs, &count, err))
		return false;
	for (int i = count - 1; i >= 0; i--)
		if (seqs[i] <= seq_max)
		{
			*seq = seqs[i];
			return true;
		}
	if (count == 0)
		return error_set(err, ERR_REFUSE, "the store has no snapshot");
	error_set(err, ERR_REFUSE, "the store has no snapshot up to unit %" PRIu64, seq_max);
	return error_hint(err, "The oldest one is of unit %" PRIu64 ".", seqs[0]);
}

bool
store_look_newest(int dirfd, uint64_t *seq, Error *err)
{
	uint64_t seqs[SNAPSHOTS_MAX];
	int count;

	if (!store_snapshot_list(dirfd, seqs, &count, err))
		return false;
	*seq = count > 0 ? seqs[count - 1] : 0;
	return true;
}

/* ---- in its place ----------------------------------------------------------------------------- */

/* A copy was read back whole when it was made: what does not hold now is the disk's doing. */
static void
assertion_failed(MDB_env *env, const char *message)
{
	fprintf(stderr, "walrank: ERROR:  a snapshot of the store is damaged: %s\n", message);
	_exit(1);
}

static int
dbis_open(Store *store)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);

	if (rc != 0)
		return rc;
	rc = mdb_dbi_open(txn, "items", 0, &store->items_dbi);
	for (int i = 0; rc == 0 && i < STORE_DBIS; i++)
		rc = mdb_dbi_open(txn, store_table_name(i), 0, &store->table_dbi[i]);
	if (rc == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
}

static int
env_open(Store *store, const char *name)
{
	char path[96];
	int rc = mdb_env_create(&store->env);

	if (rc != 0)
		return rc;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", store->dirfd, name);
	rc = mdb_env_set_maxdbs(store->env, STORE_DBIS + 1);
	if (rc == 0)
		rc = mdb_env_set_assert(store->env, assertion_failed);
	if (rc == 0)
		rc = mdb_env_open(store->env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
	return rc == 0 ? dbis_open(store) : rc;
}

static bool
head_load(Store *store, const StreamId *stream_id, Error *err)
{
	Slice value;
	bool found;

	if (!store_get(store, (StoreTable) STORE_HEAD, STORE_KEY_HEADER, &value, &found, err))
		return false;
	if (!found || !store_header_decode(value, &store->header))
		return error_set(err, ERR_REFUSE, "the snapshot has no header that can be read");
	if (store->header.format != STORE_FORMAT)
		return error_set(err, ERR_REFUSE, "the snapshot is of format %u, this is for format %d",
						 store->header.format, STORE_FORMAT);
	if (!stream_id_equal(&store->header.stream_id, stream_id))
		return error_set(err, ERR_REFUSE, "the snapshot is of another stream than the journal");
	if (!store_get(store, (StoreTable) STORE_HEAD, STORE_KEY_POSITION, &value, &found, err))
		return false;
	if (!found || !store_position_decode(value, &store->position))
		return error_set(err, ERR_REFUSE, "the snapshot has no position that can be read");
	store->committed = store->position;
	return true;
}

static Store *
handle(int dirfd)
{
	Store *store = xcalloc(1, sizeof(*store));

	store->pid = getpid();
	pthread_mutex_init(&store->gate, NULL);
	pthread_cond_init(&store->gate_moved, NULL);
	delta_init(&store->delta);
	store->settings.hash_mask = ~UINT64_C(0);
	store->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	/* nothing is ever committed, and the mark beside it is the live store's: not ours to set */
	atomic_store(&store->failed, true);
	return store;
}

bool
store_look(int dirfd, const StreamId *stream_id, uint64_t seq_max, Store **result, Error *err)
{
	int rc = ENOENT;

	for (int i = 0; rc == ENOENT && i < ATTEMPTS_MAX; i++)
	{
		Store *store;
		uint64_t seq;
		char name[48];

		if (!choose(dirfd, seq_max, &seq, err))
			return false;
		store_snapshot_name(seq, name);
		store = handle(dirfd);
		rc = env_open(store, name);
		if (rc == 0 && head_load(store, stream_id, err))
		{
			*result = store;
			return true;
		}
		store_abort(store);
		if (rc == 0)
			return error_wrap(err, "snapshot of unit %" PRIu64, seq);
	}
	return error_set(err, ERR_DISK, "could not open a snapshot of the store: %s", mdb_strerror(rc));
}

/* ---- copied ----------------------------------------------------------------------------------- */

static bool
file_copy(int from, int to, Error *err)
{
	uint8_t *bytes = xmalloc(COPY_BYTES);
	uint64_t offset = 0;
	size_t got = 0;
	bool ok;

	do
	{
		ok = fs_pread(from, bytes, COPY_BYTES, offset, &got, err) && fs_pwrite(to, bytes, got, offset, err);
		offset += got;
	} while (ok && got > 0);
	free(bytes);
	return ok;
}

/* With a clean mark beside it: a store that may be opened. */
static bool
copy_file(int dirfd, const char *name, int to_dirfd, bool *gone, Error *err)
{
	Mark mark;
	int from = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	int to = -1;
	bool ok;

	*gone = from < 0 && errno == ENOENT;
	if (from < 0)
		return error_errno(err, "could not open \"%s\"", name);
	ok = fs_open(to_dirfd, "data.mdb", O_RDWR | O_CREAT | O_TRUNC, &to, err) && file_copy(from, to, err) &&
		 store_mark_now(to_dirfd, MARK_CLEAN, &mark, err) && store_mark_write(to_dirfd, &mark, err);
	close(from);
	if (to >= 0)
		close(to);
	return ok || error_wrap(err, "could not copy a snapshot of the store");
}

bool
store_look_copy(int dirfd, const StreamId *stream_id, uint64_t seq_max, int to_dirfd,
				const StoreSettings *settings, Store **store, Error *err)
{
	bool gone = true;
	bool ok = false;

	for (int i = 0; gone && i < ATTEMPTS_MAX; i++)
	{
		uint64_t seq;
		char name[48];

		if (!choose(dirfd, seq_max, &seq, err))
			return false;
		store_snapshot_name(seq, name);
		ok = copy_file(dirfd, name, to_dirfd, &gone, err);
	}
	return ok && store_open(to_dirfd, settings, stream_id, UINT64_MAX, UINT64_MAX, store, err);
}

bool
store_look_duplicate(int dirfd, int to_dirfd, Error *err)
{
	bool gone;

	return copy_file(dirfd, "data.mdb", to_dirfd, &gone, err);
}
