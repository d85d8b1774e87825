/*
 * disk.c -- see disk.h.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "report.h"

#define FD_FIRST 1000000 /* far above any real one */
#define FD_DIRS 2000000
#define NAME_BYTES 64

typedef enum
{
	SECTOR_CLEAN,
	SECTOR_DIRTY,
	SECTOR_WRITING, /* taken by the sync that runs */
} SectorState;

typedef struct File
{
	uint64_t inode;
	Buffer live;
	Buffer durable;
	uint8_t *sectors; /* SectorState of each */
	size_t nsectors;
	bool locked;
	int lock_fd;
} File;

typedef struct Entry
{
	char name[NAME_BYTES];
	File *file;
} Entry;

typedef struct Entries
{
	Entry *at;
	int n;
	int capacity;
} Entries;

/* A change of a directory that is not durable yet: `name` is now `file`, or nothing. */
typedef struct Change
{
	char name[NAME_BYTES];
	File *file;
	bool more; /* the next one is part of the same step: a rename */
} Change;

typedef struct Dir
{
	Entries live;
	Entries durable;
	Change *changes;
	int nchanges;
	int capacity;
} Dir;

struct DiskImage
{
	struct
	{
		char name[NAME_BYTES];
		DiskDir dir;
		Buffer bytes;
	} * files;
	int n;
};

static struct
{
	Random random;
	size_t sector;
	Dir dirs[DIR_COUNT];
	File **files;
	int nfiles;
	File **open; /* by descriptor */
	int nopen;
	void (*during)(void *context);
	void *context;
	bool syncing;
	int die_at;
	DiskDeath die_how;
	DiskDeath dead;
	int eio_at;
	uint64_t space;
	uint64_t changes;
	uint64_t inodes;
	bool whole;
	int lost;
	bool ignore_dirs;
	bool ignore_files;
} disk;

/* ---- entries ---------------------------------------------------------------------------------- */

static Entry *
entry_find(Entries *entries, const char *name)
{
	for (int i = 0; i < entries->n; i++)
		if (strcmp(entries->at[i].name, name) == 0)
			return &entries->at[i];
	return NULL;
}

static void
entry_set(Entries *entries, const char *name, File *file)
{
	Entry *entry = entry_find(entries, name);

	if (entry != NULL && file != NULL)
		entry->file = file;
	else if (entry != NULL)
		*entry = entries->at[--entries->n];
	else if (file != NULL)
	{
		if (entries->n == entries->capacity)
		{
			entries->capacity = entries->capacity > 0 ? 2 * entries->capacity : 16;
			entries->at = xrealloc(entries->at, (size_t) entries->capacity * sizeof(Entry));
		}
		entry = &entries->at[entries->n++];
		snprintf(entry->name, sizeof(entry->name), "%s", name);
		entry->file = file;
	}
}

static void
dir_change(Dir *dir, const char *name, File *file, bool more)
{
	Change *change;

	if (dir->nchanges == dir->capacity)
	{
		dir->capacity = dir->capacity > 0 ? 2 * dir->capacity : 16;
		dir->changes = xrealloc(dir->changes, (size_t) dir->capacity * sizeof(Change));
	}
	change = &dir->changes[dir->nchanges++];
	snprintf(change->name, sizeof(change->name), "%s", name);
	change->file = file;
	change->more = more;
	entry_set(&dir->live, name, file);
	disk.changes++;
}

/* The first n changes are on the disk. */
static void
dir_settle(Dir *dir, int n)
{
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		entry_set(&dir->durable, dir->changes[i].name, dir->changes[i].file);
	memmove(dir->changes, dir->changes + n, (size_t) (dir->nchanges - n) * sizeof(Change));
	dir->nchanges -= n;
}

/* ---- contents --------------------------------------------------------------------------------- */

static File *
file_make(void)
{
	File *file = xcalloc(1, sizeof(*file));

	file->inode = ++disk.inodes;
	disk.files = xrealloc(disk.files, (size_t) (disk.nfiles + 1) * sizeof(File *));
	disk.files[disk.nfiles++] = file;
	return file;
}

static void
file_free(File *file)
{
	buffer_free(&file->live);
	buffer_free(&file->durable);
	free(file->sectors);
	free(file);
}

static void
resize(Buffer *bytes, size_t len)
{
	if (len > bytes->len)
	{
		buffer_reserve(bytes, len - bytes->len);
		memset(bytes->data + bytes->len, 0, len - bytes->len);
	}
	bytes->len = len;
}

static void
file_dirty(File *file, size_t from, size_t to)
{
	size_t last = to == 0 ? 0 : (to - 1) / disk.sector;

	if (from >= to)
		return;
	if (last >= file->nsectors)
	{
		file->sectors = xrealloc(file->sectors, last + 1);
		memset(file->sectors + file->nsectors, SECTOR_CLEAN, last + 1 - file->nsectors);
		file->nsectors = last + 1;
	}
	for (size_t i = from / disk.sector; i <= last; i++)
		file->sectors[i] = SECTOR_DIRTY;
}

static void
file_write(File *file, size_t offset, const void *data, size_t len)
{
	if (len == 0)
		return;
	if (offset + len > file->live.len)
		resize(&file->live, offset + len);
	memcpy(file->live.data + offset, data, len);
	file_dirty(file, offset, offset + len);
	disk.changes++;
}

static void
file_resize(File *file, size_t len)
{
	size_t old = file->live.len;

	resize(&file->live, len);
	/* what is cut off and written again later must not come back from before */
	file_dirty(file, len < old ? len : old, len < old ? old : len);
	disk.changes++;
}

/* One sector reaches the disk; the size does not, unless it has to hold it. */
static void
sector_settle(File *file, size_t i)
{
	size_t from = i * disk.sector;
	size_t to = from + disk.sector < file->live.len ? from + disk.sector : file->live.len;

	if (from >= to)
		return;
	if (file->durable.len < to)
		resize(&file->durable, to);
	memcpy(file->durable.data + from, file->live.data + from, to - from);
}

static size_t
file_begin_sync(File *file)
{
	for (size_t i = 0; i < file->nsectors; i++)
		if (file->sectors[i] == SECTOR_DIRTY)
			file->sectors[i] = SECTOR_WRITING;
	return file->live.len;
}

static void
file_end_sync(File *file, size_t len)
{
	size_t durable = len < file->live.len ? len : file->live.len;

	for (size_t i = 0; i < file->nsectors; i++)
	{
		/* what was there when the sync began, even if written again since */
		if (file->sectors[i] == SECTOR_WRITING || (file->sectors[i] == SECTOR_DIRTY && i * disk.sector < len))
			sector_settle(file, i);
		if (file->sectors[i] == SECTOR_WRITING)
			file->sectors[i] = SECTOR_CLEAN;
	}
	resize(&file->durable, durable);
}

/* Some get through; all count as clean from now on. */
static void
file_fail_sync(File *file)
{
	for (size_t i = 0; i < file->nsectors; i++)
	{
		if (file->sectors[i] != SECTOR_CLEAN && random_chance(&disk.random, 1, 3))
			sector_settle(file, i);
		file->sectors[i] = SECTOR_CLEAN;
	}
}

/* ---- calls ------------------------------------------------------------------------------------ */

static File *
file_of(int fd)
{
	int i = fd - FD_FIRST;

	return i >= 0 && i < disk.nopen ? disk.open[i] : NULL;
}

static Dir *
dir_of(int fd)
{
	return fd >= FD_DIRS && fd < FD_DIRS + DIR_COUNT ? &disk.dirs[fd - FD_DIRS] : NULL;
}

/* False when the process dies before or after this call; then *done tells whether it took effect. */
static bool
survives(bool *done)
{
	*done = true;
	if (disk.dead == DISK_LIVES && (disk.die_at == 0 || --disk.die_at > 0))
		return true;
	*done = disk.dead == DISK_LIVES && random_chance(&disk.random, 1, 2);
	if (disk.dead == DISK_LIVES)
		disk.dead = disk.die_how;
	errno = EIO;
	return false;
}

static bool
eio(void)
{
	if (disk.eio_at == 0 || --disk.eio_at > 0)
		return false;
	errno = EIO;
	return true;
}

static uint64_t
used(void)
{
	uint64_t bytes = 0;

	for (int d = 0; d < DIR_COUNT; d++)
		for (int i = 0; i < disk.dirs[d].live.n; i++)
			bytes += disk.dirs[d].live.at[i].file->live.len;
	return bytes;
}

static bool
full(uint64_t more)
{
	if (disk.space == UINT64_MAX || more == 0 || used() + more <= disk.space)
		return false;
	tally(ENOSPC);
	errno = ENOSPC;
	return true;
}

static int
op_open(int dirfd, const char *name, int flags, mode_t mode)
{
	Dir *dir = dir_of(dirfd);
	Entry *entry;
	bool done;
	int i = 0;

	if (disk.dead != DISK_LIVES || dir == NULL)
	{
		errno = EIO;
		return -1;
	}
	entry = entry_find(&dir->live, name);
	if (entry == NULL && (flags & O_CREAT) == 0)
	{
		errno = ENOENT;
		return -1;
	}
	if (entry == NULL && full(1))
		return -1;
	if ((entry == NULL || (flags & O_TRUNC) != 0) && !survives(&done) && !done)
		return -1;
	if (entry == NULL)
		dir_change(dir, name, file_make(), false);
	entry = entry_find(&dir->live, name);
	if ((flags & O_TRUNC) != 0 && entry->file->live.len > 0)
		file_resize(entry->file, 0);
	if (disk.dead != DISK_LIVES)
		return -1;
	while (i < disk.nopen && disk.open[i] != NULL)
		i++;
	if (i == disk.nopen)
		disk.open = xrealloc(disk.open, (size_t) ++disk.nopen * sizeof(File *));
	disk.open[i] = entry->file;
	return FD_FIRST + i;
}

static int
op_close(int fd)
{
	File *file = file_of(fd);

	if (file == NULL)
		return 0; /* a directory */
	if (file->locked && file->lock_fd == fd)
		file->locked = false;
	disk.open[fd - FD_FIRST] = NULL;
	return 0;
}

static int
op_dup(int fd)
{
	return fd; /* of directories only, which are never closed */
}

static off_t
op_size(int fd)
{
	return (off_t) file_of(fd)->live.len;
}

static int
op_forget(int fd)
{
	File *file = file_of(fd);

	for (size_t i = 0; i < file->nsectors; i++)
	{
		size_t from = i * disk.sector;
		size_t to = from + disk.sector;

		to = to < file->live.len ? to : file->live.len;
		if (file->sectors[i] != SECTOR_CLEAN || from >= to)
			continue;
		memset(file->live.data + from, 0, to - from);
		if (from < file->durable.len)
			memcpy(file->live.data + from, file->durable.data + from,
				   (to < file->durable.len ? to : file->durable.len) - from);
	}
	return 0;
}

static ssize_t
op_pread(int fd, void *data, size_t len, off_t offset)
{
	File *file = file_of(fd);
	size_t at = (size_t) offset;

	if (disk.dead != DISK_LIVES)
	{
		errno = EIO;
		return -1;
	}
	if (at >= file->live.len)
		return 0;
	if (len > file->live.len - at)
		len = file->live.len - at;
	memcpy(data, file->live.data + at, len);
	return (ssize_t) len;
}

static ssize_t
op_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	File *file = file_of(fd);
	size_t end = (size_t) offset + len;
	bool done;

	if (!survives(&done))
	{
		if (done)
			file_write(file, (size_t) offset, data, len);
		return -1;
	}
	if (disk.whole)
	{
		disk.whole = false;
		file_write(file, (size_t) offset, data, len);
		return (ssize_t) len;
	}
	if (eio())
	{
		tally(EIO_WRITE);
		file_write(file, (size_t) offset, data, random_below(&disk.random, len + 1));
		errno = EIO;
		return -1;
	}
	if (full(end > file->live.len ? end - file->live.len : 0))
	{
		/* the first part may still find room */
		if (random_chance(&disk.random, 1, 2) || len < 2)
			return -1;
		len /= 2;
	}
	else if (len > 1 && random_chance(&disk.random, 1, 64))
	{
		tally(SHORT_WRITE);
		len = random_between(&disk.random, 1, len - 1);
	}
	file_write(file, (size_t) offset, data, len);
	return (ssize_t) len;
}

static int
sync_file(File *file)
{
	size_t len;
	bool done;

	if (!survives(&done))
	{
		if (done)
			file_end_sync(file, file_begin_sync(file));
		return -1;
	}
	if (eio())
	{
		tally(EIO_SYNC);
		trace("disk: a sync fails, file %llu", (unsigned long long) file->inode);
		disk.lost++;
		file_fail_sync(file);
		errno = EIO;
		return -1;
	}
	if (disk.ignore_files)
		return 0;
	len = file_begin_sync(file);
	if (disk.during != NULL && !disk.syncing)
	{
		disk.syncing = true;
		disk.during(disk.context);
		disk.syncing = false;
		if (disk.dead != DISK_LIVES)
		{
			errno = EIO;
			return -1;
		}
	}
	file_end_sync(file, len);
	return 0;
}

static int
op_sync(int fd)
{
	Dir *dir = dir_of(fd);
	bool done;
	bool alive;

	if (dir == NULL)
		return sync_file(file_of(fd));
	alive = survives(&done);
	if (alive && eio())
	{
		tally(EIO_SYNC);
		return -1;
	}
	if (done && !disk.ignore_dirs)
		dir_settle(dir, dir->nchanges);
	return alive ? 0 : -1;
}

static int
op_ftruncate(int fd, off_t len)
{
	bool done;
	bool alive = survives(&done);

	if (done)
		file_resize(file_of(fd), (size_t) len);
	return alive ? 0 : -1;
}

static int
op_renameat(int dirfd, const char *from, const char *to)
{
	Dir *dir = dir_of(dirfd);
	Entry *entry = entry_find(&dir->live, from);
	bool done;
	bool alive;

	if (entry == NULL)
	{
		errno = ENOENT;
		return -1;
	}
	alive = survives(&done);
	if (done)
	{
		dir_change(dir, to, entry->file, true);
		dir_change(dir, from, NULL, false);
	}
	return alive ? 0 : -1;
}

static int
op_unlinkat(int dirfd, const char *name)
{
	Dir *dir = dir_of(dirfd);
	bool done;
	bool alive;

	if (disk.dead == DISK_LIVES && entry_find(&dir->live, name) == NULL)
	{
		errno = ENOENT;
		return -1;
	}
	alive = survives(&done);
	if (done)
		dir_change(dir, name, NULL, false);
	return alive ? 0 : -1;
}

static int
op_fallocate(int fd, off_t len)
{
	errno = EOPNOTSUPP;
	return -1;
}

static int
op_lock(int fd)
{
	File *file = file_of(fd);

	if (file->locked)
	{
		errno = EAGAIN;
		return -1;
	}
	file->locked = true;
	file->lock_fd = fd;
	return 0;
}

static int
op_list(int dirfd, void (*seen)(void *context, const char *name), void *context)
{
	Dir *dir = dir_of(dirfd);

	if (disk.dead != DISK_LIVES)
	{
		errno = EIO;
		return -1;
	}
	for (int i = 0; i < dir->live.n; i++)
		seen(context, dir->live.at[i].name);
	return 0;
}

static const FsOps disk_ops = {
	.open = op_open,
	.pread = op_pread,
	.pwrite = op_pwrite,
	.fdatasync = op_sync,
	.fsync = op_sync,
	.ftruncate = op_ftruncate,
	.renameat = op_renameat,
	.unlinkat = op_unlinkat,
	.fallocate = op_fallocate,
	.close = op_close,
	.dup = op_dup,
	.size = op_size,
	.forget = op_forget,
	.lock = op_lock,
	.list = op_list,
};

/* ---- life ------------------------------------------------------------------------------------- */

void
disk_create(uint64_t seed)
{
	memset(&disk, 0, sizeof(disk));
	disk.random.state = seed;
	disk.sector = random_chance(&disk.random, 1, 3) ? 64 : 512;
	disk.space = UINT64_MAX;
	fs = &disk_ops;
}

void
disk_destroy(void)
{
	for (int i = 0; i < disk.nfiles; i++)
		file_free(disk.files[i]);
	for (int d = 0; d < DIR_COUNT; d++)
	{
		free(disk.dirs[d].live.at);
		free(disk.dirs[d].durable.at);
		free(disk.dirs[d].changes);
	}
	free(disk.files);
	free(disk.open);
	memset(&disk, 0, sizeof(disk));
	fs = &fs_system;
}

int
disk_dirfd(DiskDir dir)
{
	return FD_DIRS + (int) dir;
}

void
disk_during_sync(void (*during)(void *context), void *context)
{
	disk.during = during;
	disk.context = context;
}

void
disk_die_at(int calls, DiskDeath how)
{
	disk.die_at = calls;
	disk.die_how = how;
}

DiskDeath
disk_dead(void)
{
	return disk.dead;
}

void
disk_eio_at(int calls)
{
	disk.eio_at = calls;
}

void
disk_space(uint64_t free_bytes)
{
	disk.space = free_bytes == UINT64_MAX ? UINT64_MAX : used() + free_bytes;
}

void
disk_whole_write(void)
{
	disk.whole = true;
}

void
disk_ignore_syncs(bool directories, bool files)
{
	disk.ignore_dirs = directories;
	disk.ignore_files = files;
}

void
disk_kill(void)
{
	for (int i = 0; i < disk.nopen; i++)
		disk.open[i] = NULL;
	for (int i = 0; i < disk.nfiles; i++)
		disk.files[i]->locked = false;
	disk.dead = DISK_LIVES;
	disk.die_at = 0;
	disk.syncing = disk.whole = false;
}

/* What chance leaves of one file. */
static void
file_cut(File *file)
{
	uint64_t mode = random_below(&disk.random, 4); /* nothing, all, a beginning, anything */
	uint64_t until = random_below(&disk.random, file->nsectors + 1);
	size_t len = file->live.len;

	for (size_t i = 0; i < file->nsectors; i++)
	{
		if (file->sectors[i] == SECTOR_CLEAN)
			continue;
		if (mode == 1 || (mode == 2 && i < until) || (mode == 3 && random_chance(&disk.random, 1, 2)))
			sector_settle(file, i);
		else
			tally(SECTORS_LOST);
	}
	/* the size is a matter of its own, but a truncated file does not grow again without data */
	if (len < file->durable.len ? mode == 1 || random_chance(&disk.random, 1, 2)
								: mode != 0 && random_chance(&disk.random, 1, 2))
		resize(&file->durable, len);
	buffer_reset(&file->live);
	buffer_append(&file->live, file->durable.data, file->durable.len);
	if (file->nsectors > 0)
		memset(file->sectors, SECTOR_CLEAN, file->nsectors);
}

static void
dir_cut(Dir *dir)
{
	int n = (int) random_below(&disk.random, (uint64_t) dir->nchanges + 1);

	if (random_chance(&disk.random, 1, 3))
		n = 0;
	while (n > 0 && dir->changes[n - 1].more)
		n--;
	tallies[TALLY_NAMES_LOST] += (uint64_t) (dir->nchanges - n);
	dir_settle(dir, n);
	dir->nchanges = 0;
	dir->live.n = 0;
	for (int i = 0; i < dir->durable.n; i++)
		entry_set(&dir->live, dir->durable.at[i].name, dir->durable.at[i].file);
}

static bool
referenced(const File *file)
{
	for (int d = 0; d < DIR_COUNT; d++)
		for (int i = 0; i < disk.dirs[d].live.n; i++)
			if (disk.dirs[d].live.at[i].file == file)
				return true;
	return false;
}

void
disk_power_cut(void)
{
	int kept = 0;

	disk_kill();
	for (int d = 0; d < DIR_COUNT; d++)
		dir_cut(&disk.dirs[d]);
	for (int i = 0; i < disk.nfiles; i++)
		if (referenced(disk.files[i]))
		{
			file_cut(disk.files[i]);
			disk.files[kept++] = disk.files[i];
		}
		else
			file_free(disk.files[i]);
	disk.nfiles = kept;
	disk.changes++;
}

void
disk_writeback(void)
{
	File *file;

	if (disk.nfiles == 0)
		return;
	file = disk.files[random_below(&disk.random, (uint64_t) disk.nfiles)];
	for (size_t i = 0; i < file->nsectors; i++)
		if (file->sectors[i] == SECTOR_DIRTY && random_chance(&disk.random, 1, 2))
		{
			/* the sector stays marked: nobody was told */
			sector_settle(file, i);
			tally(WRITEBACK);
		}
	if (random_chance(&disk.random, 1, 4))
	{
		Dir *dir = &disk.dirs[random_below(&disk.random, DIR_COUNT)];

		if (dir->nchanges > 0 && !dir->changes[0].more)
			dir_settle(dir, 1);
	}
}

/* ---- from outside ----------------------------------------------------------------------------- */

uint64_t
disk_inode(DiskDir dir, const char *name)
{
	Entry *entry = entry_find(&disk.dirs[dir].live, name);

	return entry != NULL ? entry->file->inode : 0;
}

uint64_t
disk_changes(void)
{
	return disk.changes;
}

int
disk_lost(void)
{
	return disk.lost;
}

bool
disk_flip(DiskDir dir, const char *suffix)
{
	Entries *entries = &disk.dirs[dir].live;
	int start;

	if (entries->n == 0)
		return false;
	start = (int) random_below(&disk.random, (uint64_t) entries->n);
	for (int i = 0; i < entries->n; i++)
	{
		Entry *entry = &entries->at[(start + i) % entries->n];
		size_t len = strlen(entry->name);
		size_t at;

		if (len < strlen(suffix) || strcmp(entry->name + len - strlen(suffix), suffix) != 0 ||
			entry->file->live.len == 0)
			continue;
		at = random_below(&disk.random, entry->file->live.len);
		entry->file->live.data[at] ^= (uint8_t) (1 << random_below(&disk.random, 8));
		resize(&entry->file->durable, entry->file->live.len);
		entry->file->durable.data[at] = entry->file->live.data[at];
		trace("disk: a bit of \"%s\" flips at offset %zu of %zu", entry->name, at, entry->file->live.len);
		return true;
	}
	return false;
}

void
disk_remove(DiskDir dir, const char *name)
{
	if (entry_find(&disk.dirs[dir].live, name) != NULL)
		dir_change(&disk.dirs[dir], name, NULL, false);
}

DiskImage *
disk_save(void)
{
	DiskImage *image = xcalloc(1, sizeof(*image));

	for (int d = 0; d < DIR_COUNT; d++)
		for (int i = 0; i < disk.dirs[d].live.n; i++)
		{
			const Entry *entry = &disk.dirs[d].live.at[i];

			image->files = xrealloc(image->files, (size_t) (image->n + 1) * sizeof(image->files[0]));
			memcpy(image->files[image->n].name, entry->name, NAME_BYTES);
			image->files[image->n].dir = (DiskDir) d;
			image->files[image->n].bytes = (Buffer){0};
			buffer_append_slice(&image->files[image->n++].bytes, buffer_slice(&entry->file->live));
		}
	return image;
}

void
disk_restore(const DiskImage *image)
{
	for (int d = 0; d < DIR_COUNT; d++)
	{
		for (int i = disk.dirs[d].live.n - 1; i >= 0; i--)
		{
			Entry entry = disk.dirs[d].live.at[i];

			dir_change(&disk.dirs[d], entry.name, NULL, false);
		}
		dir_settle(&disk.dirs[d], disk.dirs[d].nchanges);
	}
	for (int i = 0; i < image->n; i++)
	{
		Dir *dir = &disk.dirs[image->files[i].dir];
		File *file = file_make();

		file_write(file, 0, image->files[i].bytes.data, image->files[i].bytes.len);
		file_end_sync(file, file_begin_sync(file));
		dir_change(dir, image->files[i].name, file, false);
		dir_settle(dir, dir->nchanges);
	}
}

void
disk_image_free(DiskImage *image)
{
	if (image == NULL)
		return;
	for (int i = 0; i < image->n; i++)
		buffer_free(&image->files[i].bytes);
	free(image->files);
	free(image);
}
