/*
 * store.c -- see store.h.
 */
#include "store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/fs.h"
#include "disk.h"
#include "random.h"
#include "report.h"

#define FILE_BYTES 4096
#define STRIDE 512 /* the state lies in pieces, each in a sector of its own */
#define LIBM 4242
#define KEPT 2

/* ---- bytes ------------------------------------------------------------------------------------ */

static void
encode(const StreamId *stream_id, const ModelState *state, uint8_t bytes[FILE_BYTES])
{
	const uint64_t *words = (const uint64_t *) (const void *) state;
	uint32_t crc;

	memset(bytes, 0, FILE_BYTES);
	memcpy(bytes, "MODEL", 5);
	memcpy(bytes + 8, stream_id->bytes, 16);
	for (size_t i = 0; i < sizeof(*state) / 8; i++)
		memcpy(bytes + 64 + i % 7 * STRIDE + i / 7 * 8, &words[i], 8);
	crc = crc32c(0, bytes, FILE_BYTES - 4);
	memcpy(bytes + FILE_BYTES - 4, &crc, 4);
}

static void
decode(const uint8_t bytes[FILE_BYTES], ModelState *state, RecoveryFile *file)
{
	uint64_t *words = (uint64_t *) (void *) state;

	for (size_t i = 0; i < sizeof(*state) / 8; i++)
		memcpy(&words[i], bytes + 64 + i % 7 * STRIDE + i / 7 * 8, 8);
	file->header = (StoreHeader){.format = STORE_FORMAT, .engine = (uint32_t) state->engine, .libm = LIBM};
	memcpy(file->header.stream_id.bytes, bytes + 8, 16);
	file->position = (StorePosition){state->seq, (uint32_t) state->part, state->total};
}

/* whole: its checksum is compared, as that of every value in a snapshot is. */
static bool
read_state(const char *name, bool whole, ModelState *state, RecoveryFile *file, Error *err)
{
	uint8_t bytes[FILE_BYTES];
	uint32_t crc;
	size_t len;
	bool found;

	if (!fs_read_file(disk_dirfd(DIR_STORE), name, FILE_BYTES, bytes, &len, &found, err))
		return false;
	file->name = name;
	file->sound = found && len == FILE_BYTES && memcmp(bytes, "MODEL", 5) == 0;
	if (!file->sound)
		return true;
	memcpy(&crc, bytes + FILE_BYTES - 4, 4);
	file->sound = !whole || crc == crc32c(0, bytes, FILE_BYTES - 4);
	if (file->sound)
		decode(bytes, state, file);
	return true;
}

/* ---- the mark --------------------------------------------------------------------------------- */

static bool
mark_write(const ModelStore *store, MarkState state, Error *err)
{
	char text[96];
	int len = snprintf(text, sizeof(text), "%d %" PRIu64 " %" PRIu64 "\n", (int) state, store->boot,
					   disk_inode(DIR_STORE, "data"));

	return fs_replace(disk_dirfd(DIR_STORE), "mark", slice_make(text, (size_t) len), err);
}

static bool
mark_look(uint64_t boot, RecoveryMark *mark, Error *err)
{
	char text[97];
	uint64_t their_boot = 0;
	uint64_t inode = 0;
	int state = MARK_TORN;
	size_t len;

	if (!fs_read_file(disk_dirfd(DIR_STORE), "mark", sizeof(text) - 1, text, &len, &mark->marked, err))
		return false;
	text[len] = '\0';
	mark->marked =
		mark->marked && sscanf(text, "%d %" SCNu64 " %" SCNu64 "\n", &state, &their_boot, &inode) == 3;
	mark->file = disk_inode(DIR_STORE, "data") != 0;
	mark->state = (MarkState) state;
	mark->same_boot = their_boot == boot;
	mark->same_file = mark->file && inode == disk_inode(DIR_STORE, "data");
	return true;
}

/* ---- files ------------------------------------------------------------------------------------ */

/* A commit is all or nothing for a process that dies. */
bool
store_model_commit(ModelStore *store, Error *err)
{
	uint8_t bytes[FILE_BYTES];

	encode(&store->stream_id, &store->state, bytes);
	disk_whole_write();
	if (!fs_pwrite(store->fd, bytes, FILE_BYTES, 0, err))
		return false;
	store->committed = store->state;
	return true;
}

static bool
write_file(const char *name, const StreamId *stream_id, const ModelState *state, bool sync, Error *err)
{
	uint8_t bytes[FILE_BYTES];
	bool ok;
	int fd;

	encode(stream_id, state, bytes);
	if (!fs_open(disk_dirfd(DIR_STORE), name, O_RDWR | O_CREAT | O_TRUNC, &fd, err))
		return false;
	ok = fs_pwrite(fd, bytes, FILE_BYTES, 0, err) && (!sync || fs_sync(fd, err));
	fs_close(fd);
	return ok;
}

typedef struct List
{
	uint64_t seqs[SNAPSHOTS_MAX];
	int n;
} List;

static void
name_seen(void *context, const char *name)
{
	List *list = context;
	uint64_t seq;

	if (sscanf(name, "snapshot-%" SCNu64 ".mdb", &seq) == 1 && list->n < SNAPSHOTS_MAX)
		list->seqs[list->n++] = seq;
}

static int
ascending(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *) pa;
	uint64_t b = *(const uint64_t *) pb;

	return (a > b) - (a < b);
}

static bool
list_snapshots(List *list, Error *err)
{
	list->n = 0;
	if (!fs_list(disk_dirfd(DIR_STORE), name_seen, list, err))
		return false;
	qsort(list->seqs, (size_t) list->n, sizeof(uint64_t), ascending);
	return true;
}

static void
snapshot_name(uint64_t seq, char name[48])
{
	snprintf(name, 48, "snapshot-%" PRIu64 ".mdb", seq);
}

/* ---- snapshots -------------------------------------------------------------------------------- */

static bool
expire(ModelStore *store, Error *err)
{
	char name[48];
	List list;

	if (!list_snapshots(&list, err))
		return false;
	for (int i = 0; i < list.n - KEPT; i++)
	{
		snapshot_name(list.seqs[i], name);
		if (fs->unlinkat(disk_dirfd(DIR_STORE), name) != 0)
			return error_errno(err, "could not remove \"%s\"", name);
	}
	store->oldest = list.seqs[list.n > KEPT ? list.n - KEPT : 0];
	store->newest = list.seqs[list.n - 1];
	tally(SNAPSHOT);
	return true;
}

static bool
sync_both(ModelStore *store, Error *err)
{
	Error ignored;
	bool ok;
	int fd;

	if (!fs_datasync(store->fd, err))
	{
		mark_write(store, MARK_TORN, &ignored);
		return false;
	}
	if (!fs_open(disk_dirfd(DIR_STORE), "snapshot.tmp", O_RDWR, &fd, err))
		return false;
	ok = fs_sync(fd, err);
	fs_close(fd);
	return ok;
}

bool
store_model_snapshot(ModelStore *store, Error *err)
{
	char name[48];

	switch (store->step)
	{
		case SNAPSHOT_NONE:
			store->copied = store->committed;
			if (!write_file("snapshot.tmp", &store->stream_id, &store->copied, false, err))
				return false;
			store->step = SNAPSHOT_BARRIER;
			return true;
		case SNAPSHOT_BARRIER:
			store->step = SNAPSHOT_SYNC;
			return true;
		case SNAPSHOT_SYNC:
			if (!sync_both(store, err))
				return false;
			store->step = SNAPSHOT_NAME;
			return true;
		case SNAPSHOT_NAME:
			snapshot_name(store->copied.seq, name);
			if (fs->renameat(disk_dirfd(DIR_STORE), "snapshot.tmp", name) != 0)
				return error_errno(err, "could not rename the snapshot");
			if (!fs_sync_dir(disk_dirfd(DIR_STORE), err))
				return false;
			trace("store: snapshot of unit %" PRIu64 ".%" PRIu64, store->copied.seq, store->copied.part);
			store->step = SNAPSHOT_EXPIRE;
			return true;
		case SNAPSHOT_EXPIRE:
			store->step = SNAPSHOT_NONE;
			return expire(store, err);
	}
	return true;
}

/* ---- life ------------------------------------------------------------------------------------- */

bool
store_model_create(ModelStore *store, const StreamId *stream_id, uint64_t boot, uint64_t engine, Error *err)
{
	int dirfd = disk_dirfd(DIR_STORE);
	bool ok;

	*store = (ModelStore){.fd = -1, .stream_id = *stream_id, .boot = boot, .state = {.engine = engine}};
	store->committed = store->state;
	if (!write_file("data", stream_id, &store->state, true, err) || !fs_sync_dir(dirfd, err) ||
		!fs_open(dirfd, "data", O_RDWR, &store->fd, err))
		return false;
	ok = mark_write(store, MARK_OPEN, err);
	for (int i = 0; ok && i < 5; i++)
		ok = store_model_snapshot(store, err);
	return ok;
}

static bool
restore(const StreamId *stream_id, const ModelState *state, Error *err)
{
	int dirfd = disk_dirfd(DIR_STORE);

	if (!write_file("data.tmp", stream_id, state, true, err))
		return false;
	if (fs->renameat(dirfd, "data.tmp", "data") != 0)
		return error_errno(err, "could not rename the restored store");
	return fs_sync_dir(dirfd, err);
}

/* As store_ask_feed(). */
static bool
ask_feed(const StoreSettings *settings, RecoveryFile *file, Error *why, Error *err)
{
	file->unreached = NULL;
	if (!file->sound ||
		settings->reaches(settings->reaches_arg, file->position.seq, file->position.part, why))
		return true;
	file->unreached = why->message;
	if (why->class != ERR_REFUSE)
		*err = *why;
	else
		tally(FEED_SHORT);
	return why->class == ERR_REFUSE;
}

static bool
restore_snapshot(ModelStore *store, const StoreSettings *settings, Recovery *recovery, Error *err)
{
	Error why;
	RecoveryAction action;
	RecoveryFile file;
	ModelState state;
	char name[48];
	List list;

	if (!list_snapshots(&list, err))
		return false;
	action = recovery_list(recovery, list.seqs, list.n, err);
	while (action == RECOVERY_LOOK)
	{
		snapshot_name(recovery->snapshot, name);
		if (!read_state(name, true, &state, &file, err))
			return false;
		if (!ask_feed(settings, &file, &why, err))
			return false;
		action = recovery_look(recovery, &file, err);
	}
	if (action != RECOVERY_RESTORE)
		return false;
	tally(STORE_SNAPSHOT);
	trace("store: snapshot of unit %" PRIu64 " takes its place: %s", state.seq, recovery->reason);
	store->state = state;
	return restore(&store->stream_id, &state, err);
}

bool
store_model_open(ModelStore *store, const StreamId *stream_id, uint64_t boot, uint64_t journal_last,
				 uint64_t durable, const StoreSettings *settings, Error *err)
{
	RecoveryFile live = {.name = "data"};
	RecoveryAction action;
	RecoveryMark mark;
	Recovery recovery;
	List list;
	Error why;

	*store = (ModelStore){.fd = -1, .stream_id = *stream_id, .boot = boot};
	if (!mark_look(boot, &mark, err))
		return false;
	action = recovery_begin(&recovery, stream_id, journal_last, durable, &mark);
	if (action == RECOVERY_LIVE)
	{
		if (!read_state("data", false, &store->state, &live, err) || !ask_feed(settings, &live, &why, err))
			return false;
		action = recovery_live(&recovery, &live, "it cannot be read", err);
		if (action == RECOVERY_USE)
			tally(STORE_LIVE);
	}
	if (action == RECOVERY_REFUSE ||
		(action == RECOVERY_LIST && !restore_snapshot(store, settings, &recovery, err)))
		return false;
	store->committed = store->state;
	if (!list_snapshots(&list, err) || !fs_open(disk_dirfd(DIR_STORE), "data", O_RDWR, &store->fd, err))
		return false;
	store->oldest = list.n > 0 ? list.seqs[0] : 0;
	store->newest = list.n > 0 ? list.seqs[list.n - 1] : 0;
	return mark_write(store, MARK_OPEN, err);
}

bool
store_model_close_clean(ModelStore *store, Error *err)
{
	return store_model_commit(store, err) && fs_datasync(store->fd, err) &&
		   mark_write(store, MARK_CLEAN, err);
}

void
store_model_mark_torn(ModelStore *store)
{
	Error err;
	bool written = mark_write(store, MARK_TORN, &err);

	trace("store: marked torn: %s", written ? "yes" : err.message);
}

void
store_model_abort(ModelStore *store)
{
	if (store->fd >= 0)
		fs_close(store->fd);
	store->fd = -1;
}
