/*
 * store_snapshot.c -- copies of the store that survive a power cut.
 *
 *	copy thread:  mdb_env_copyfd2(), live pages only --> pipe
 *	caller:       pipe --> snapshot.tmp, at the rate
 *	then:         read back and checked whole; barrier (journal and feed are synced through its seq);
 *	              sync of the live store, whose write-back errors nothing else reports; fsync; rename;
 *	              directory fsync; older ones removed
 *
 * The copy's read transaction keeps every page it sees from being used again, so the live file grows
 * by what is committed meanwhile: the rate is a bargain between that and the disk's other work.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "score/store_internal.h"

#define COPY_BYTES (1U << 20)
#define WRITEBACK_BYTES                                                                                      \
	(UINT64_C(8) << 20)		  /* handed to the disk at a time, so that the fsync finds little left */
#define COPY_ATTEMPTS_MAX 100 /* each one was stopped by a growing map */

/* ---- which there are -------------------------------------------------------------------------- */

void
store_snapshot_name(uint64_t seq, char name[48])
{
	snprintf(name, 48, "snapshot-%" PRIu64 ".mdb", seq);
}

static bool
name_parse(const char *name, uint64_t *seq)
{
	char again[48];

	if (sscanf(name, "snapshot-%" SCNu64 ".mdb", seq) != 1)
		return false;
	store_snapshot_name(*seq, again);
	return strcmp(name, again) == 0;
}

static int
seq_compare(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *) pa;
	uint64_t b = *(const uint64_t *) pb;

	return (a > b) - (a < b);
}

bool
store_snapshot_list(int dirfd, uint64_t seqs[SNAPSHOTS_MAX], int *count, Error *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	*count = 0;
	if (dir == NULL)
	{
		error_errno(err, "could not read the store's directory");
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (*count < SNAPSHOTS_MAX && (entry = readdir(dir)) != NULL)
		if (name_parse(entry->d_name, &seqs[*count]))
			(*count)++;
	closedir(dir);
	qsort(seqs, (size_t) *count, sizeof(*seqs), seq_compare);
	return true;
}

/* ---- is it whole? ----------------------------------------------------------------------------- */

static int
dbi_check(MDB_txn *txn, const char *name, bool items)
{
	MDB_dbi dbi;
	MDB_cursor *cursor;
	MDB_val k;
	MDB_val v;
	Slice key;
	Slice value;
	int rc = mdb_dbi_open(txn, name, 0, &dbi);

	if (rc == 0)
		rc = mdb_cursor_open(txn, dbi, &cursor);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
	while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
	{
		rc = items && k.mv_size != ITEM_KEY_BYTES ? MDB_CORRUPTED : store_record_open(v, &key, &value);
		if (rc != 0)
			break;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
head_read(MDB_txn *txn, StoreHeader *header, StorePosition *position)
{
	MDB_dbi dbi;
	Slice names[2] = {STORE_KEY_HEADER, STORE_KEY_POSITION};
	Slice values[2];
	Slice key;
	int rc = mdb_dbi_open(txn, store_table_name(STORE_HEAD), 0, &dbi);

	for (int i = 0; rc == 0 && i < 2; i++)
	{
		MDB_val k = {names[i].len, (void *) (uintptr_t) names[i].data};
		MDB_val v;

		rc = mdb_get(txn, dbi, &k, &v);
		if (rc == 0)
			rc = store_record_open(v, &key, &values[i]);
	}
	if (rc != 0)
		return rc == MDB_NOTFOUND ? MDB_CORRUPTED : rc;
	if (!store_header_decode(values[0], header))
		return MDB_CORRUPTED;
	return store_position_decode(values[1], position) ? 0 : MDB_CORRUPTED;
}

static int
env_check(MDB_env *env, bool all, StoreHeader *header, StorePosition *position)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);

	if (rc != 0)
		return rc;
	rc = head_read(txn, header, position);
	if (rc == 0 && all && header->format == STORE_FORMAT)
	{
		rc = dbi_check(txn, "items", true);
		for (int i = 0; rc == 0 && i < STORE_DBIS; i++)
			rc = dbi_check(txn, store_table_name(i), false);
	}
	mdb_txn_abort(txn);
	return rc;
}

bool
store_file_check(int dirfd, const char *name, bool all, StoreHeader *header, StorePosition *position,
				 bool *sound, char reason[256], Error *err)
{
	char path[96];
	MDB_env *env;
	int rc = mdb_env_create(&env);

	*sound = false;
	if (rc != 0)
		return error_set(err, ERR_DISK, "could not look into \"%s\": %s", name, mdb_strerror(rc));
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
	rc = mdb_env_set_maxdbs(env, STORE_DBIS + 1);
	if (rc == 0)
		rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
	if (rc == 0)
		rc = env_check(env, all, header, position);
	mdb_env_close(env);
	if (rc > 0)
		return error_set(err, ERR_DISK, "could not look into \"%s\": %s", name, mdb_strerror(rc));
	*sound = rc == 0;
	snprintf(reason, 256, "%s", rc == 0 ? "" : mdb_strerror(rc));
	return true;
}

/* ---- restore ---------------------------------------------------------------------------------- */

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

/* A copy, not a rename: the snapshot stays one of those kept. */
static bool
snapshot_take_place(int dirfd, const char *name, Error *err)
{
	int from = -1;
	int to = -1;
	bool ok = fs_open(dirfd, name, O_RDONLY, &from, err) &&
			  fs_open(dirfd, RESTORE_TMP, O_RDWR | O_CREAT | O_TRUNC, &to, err) && file_copy(from, to, err) &&
			  fs_sync(to, err);

	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	/* the lock file knows readers of the file that goes */
	if (ok && unlinkat(dirfd, "lock.mdb", 0) != 0 && errno != ENOENT)
		ok = error_errno(err, "could not remove \"lock.mdb\"");
	if (ok && fs->renameat(dirfd, RESTORE_TMP, "data.mdb") != 0)
		ok = error_errno(err, "could not rename \"%s\"", RESTORE_TMP);
	return ok && fs_sync_dir(dirfd, err);
}

bool
store_snapshot_restore(int dirfd, const StoreSettings *settings, Recovery *recovery, Error *err)
{
	uint64_t seqs[SNAPSHOTS_MAX];
	RecoveryAction action;
	char name[48];
	char reason[256];
	int count;

	if (!store_snapshot_list(dirfd, seqs, &count, err))
		return false;
	action = recovery_list(recovery, seqs, count, err);
	while (action == RECOVERY_LOOK) /* ends: each look is at an older one */
	{
		RecoveryFile file = {.name = name};
		Error why;

		store_snapshot_name(recovery->snapshot, name);
		if (!store_file_check(dirfd, name, true, &file.header, &file.position, &file.sound, reason, err))
			return false;
		if (!file.sound)
			log_line(LOG_WARNING, "store snapshot \"%s\" is damaged and not used: %s", name, reason);
		if (!store_ask_feed(settings, &file, &why, err))
			return false;
		action = recovery_look(recovery, &file, err);
	}
	return action == RECOVERY_RESTORE &&
		   (snapshot_take_place(dirfd, name, err) ||
			error_wrap(err, "could not put snapshot \"%s\" in the place of the store", name));
}

/* ---- making one ------------------------------------------------------------------------------- */

typedef struct Copy
{
	MDB_env *env;
	int pipe[2];
	int rc;
} Copy;

static void *
copy_run(void *arg)
{
	Copy *copy = arg;
	sigset_t set;

	/* giving up closes the pipe's other end; the signal goes with this thread */
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	copy->rc = mdb_env_copyfd2(copy->env, copy->pipe[1], MDB_CP_COMPACT);
	close(copy->pipe[1]);
	return NULL;
}

static bool
stopped(Store *store)
{
	return store->growing || store->cancelled;
}

/* Sleeps until `bytes` are due at the rate; false when the copy has to stop. */
static bool
pace(Store *store, int64_t start_us, uint64_t bytes)
{
	uint64_t rate = store->settings.snapshot_bytes_per_s;
	int64_t due_us = rate == 0 ? 0 : start_us + (int64_t) ((double) bytes * 1e6 / (double) rate);
	int64_t wait_us;
	bool go;

	pthread_mutex_lock(&store->gate);
	while (!stopped(store) && (wait_us = due_us - clock_monotonic_us()) > 0)
	{
		int64_t until_us = clock_wall_us() + wait_us;
		struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

		pthread_cond_timedwait(&store->gate_moved, &store->gate, &until);
	}
	go = !stopped(store);
	pthread_mutex_unlock(&store->gate);
	return go;
}

/* The pipe into the file. *whole is false when the copy had to stop. */
static bool
drain(Store *store, int from, int to, bool *whole, Error *err)
{
	uint8_t *bytes = xmalloc(COPY_BYTES);
	int64_t start_us = clock_monotonic_us();
	uint64_t offset = 0;
	uint64_t written_back = 0;
	ssize_t got;
	bool ok = true;

	*whole = true;
	while (ok && *whole && (got = read(from, bytes, COPY_BYTES)) != 0)
	{
		if (got < 0 && errno == EINTR)
			continue;
		ok = got > 0 ? fs_pwrite(to, bytes, (size_t) got, offset, err)
					 : error_errno(err, "could not read from a pipe");
		offset += ok ? (uint64_t) got : 0;
		if (offset - written_back >= WRITEBACK_BYTES)
		{
			sync_file_range(to, (off_t) written_back, (off_t) (offset - written_back), SYNC_FILE_RANGE_WRITE);
			written_back = offset;
		}
		*whole = pace(store, start_us, offset);
	}
	free(bytes);
	return ok;
}

static bool
copy_enter(Store *store, Error *err)
{
	bool ok;

	pthread_mutex_lock(&store->gate);
	while (store->growing)
		pthread_cond_wait(&store->gate_moved, &store->gate);
	ok = !store->cancelled;
	store->copying = ok;
	pthread_mutex_unlock(&store->gate);
	return ok || error_set(err, ERR_RETRY, "store snapshot cancelled");
}

static void
copy_leave(Store *store)
{
	pthread_mutex_lock(&store->gate);
	store->copying = false;
	pthread_cond_broadcast(&store->gate_moved);
	pthread_mutex_unlock(&store->gate);
}

/* One attempt, inside the gate. */
static bool
copy_attempt(Store *store, int to, bool *whole, Error *err)
{
	Copy copy = {.env = store->env};
	pthread_t thread;
	bool ok;

	if (pipe2(copy.pipe, O_CLOEXEC) != 0)
		return error_errno(err, "could not create a pipe");
	fcntl(copy.pipe[1], F_SETPIPE_SZ, (int) COPY_BYTES); /* fewer switches; refused is fine */
	if ((errno = pthread_create(&thread, NULL, copy_run, &copy)) != 0)
	{
		close(copy.pipe[0]);
		close(copy.pipe[1]);
		return error_errno(err, "could not start a thread");
	}
	ok = drain(store, copy.pipe[0], to, whole, err);
	close(copy.pipe[0]);
	pthread_join(thread, NULL);
	/* with page counts that do not add up LMDB finds the tree itself damaged */
	if (ok && *whole && copy.rc != 0)
		ok = store_mdb_error(store, copy.rc == MDB_INCOMPATIBLE ? MDB_CORRUPTED : copy.rc,
							 "could not copy the store", err);
	return ok;
}

static bool
copy_make(Store *store, int to, Error *err)
{
	bool whole = false;

	for (int attempt = 0; attempt < COPY_ATTEMPTS_MAX && !whole; attempt++)
	{
		bool ok;

		if (!fs_truncate(to, 0, err) || !copy_enter(store, err))
			return false;
		ok = copy_attempt(store, to, &whole, err);
		copy_leave(store);
		if (!ok)
			return false;
	}
	return whole || error_set(err, ERR_RETRY, "store grew too often for a snapshot");
}

/* What was copied is what a restart may have to live with: each value is read once. */
static bool
copy_check(Store *store, StorePosition *position, Error *err)
{
	StoreHeader header;
	char reason[256];
	bool sound;

	if (!store_file_check(store->dirfd, SNAPSHOT_TMP, true, &header, position, &sound, reason, err))
		return false;
	if (sound)
		return true;
	store_mark_torn(store);
	return error_set(err, ERR_RESTART, "a copy of the store is damaged, so the store is: %s", reason);
}

static bool
expire(Store *store, int keep, Error *err)
{
	uint64_t seqs[SNAPSHOTS_MAX];
	char name[48];
	int count;
	int first;

	if (!store_snapshot_list(store->dirfd, seqs, &count, err))
		return false;
	first = count > keep ? count - keep : 0;
	for (int i = 0; i < first; i++)
	{
		store_snapshot_name(seqs[i], name);
		if (fs->unlinkat(store->dirfd, name) != 0)
			return error_errno(err, "could not remove \"%s\"", name);
	}
	atomic_store(&store->oldest_snapshot, count > 0 ? seqs[first] : 0);
	atomic_store(&store->newest_snapshot, count > 0 ? seqs[count - 1] : 0);
	return true;
}

bool
store_newest_snapshot_only(Store *store, Error *err)
{
	return expire(store, 1, err);
}

static bool
snapshot_publish(Store *store, int fd, StorePosition position, Error *err)
{
	char name[48];

	store_snapshot_name(position.seq, name);
	/* a unit that is partly in has to be durable as well */
	if (store->barrier != NULL &&
		!store->barrier(store->barrier_arg, position.seq + (position.part > 0 ? 1 : 0), err))
		return false;
	if (!store_live_sync(store, err) || !fs_sync(fd, err))
		return false;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (fs->renameat(store->dirfd, SNAPSHOT_TMP, name) != 0)
		return error_errno(err, "could not rename \"%s\"", SNAPSHOT_TMP);
	return fs_sync_dir(store->dirfd, err) && expire(store, store->settings.snapshots, err);
}

bool
store_snapshot(Store *store, uint64_t *seq, Error *err)
{
	StorePosition position;
	int64_t start_us = clock_monotonic_us();
	struct stat st = {0};
	int fd;
	bool ok;

	if (atomic_load(&store->failed))
		return error_set(err, ERR_RESTART, "the store is damaged");
	if (!fs_open(store->dirfd, SNAPSHOT_TMP, O_RDWR | O_CREAT | O_TRUNC, &fd, err))
		return false;
	ok = copy_make(store, fd, err) && copy_check(store, &position, err) &&
		 snapshot_publish(store, fd, position, err);
	fstat(fd, &st);
	close(fd);
	if (!ok)
	{
		unlinkat(store->dirfd, SNAPSHOT_TMP, 0);
		return error_wrap(err, "could not make a store snapshot");
	}
	*seq = position.seq;
	log_line(LOG_INFO, "store snapshot of unit %" PRIu64 ": %" PRIu64 " kB in %" PRId64 " ms", position.seq,
			 (uint64_t) st.st_size >> 10, (clock_monotonic_us() - start_us) / 1000);
	return true;
}

void
store_snapshot_cancel(Store *store)
{
	pthread_mutex_lock(&store->gate);
	store->cancelled = true;
	pthread_cond_broadcast(&store->gate_moved);
	pthread_mutex_unlock(&store->gate);
}
