/*
 * disk.c -- see disk.h.
 */
#include "disk_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "report.h"
/* ---- calls ------------------------------------------------------------------------------------ */

static File *
file_of(int fd)
{
	int i = fd - FD_FIRST;

	return i >= 0 && i < machine.nopen ? machine.open[i] : NULL;
}

static Dir *
dir_of(int fd)
{
	return fd >= FD_DIRS && fd < FD_DIRS + DIR_COUNT ? &machine.dirs[fd - FD_DIRS] : NULL;
}

/* False when the process dies before or after this call; then *done tells whether it took effect. */
static bool
survives(bool *done)
{
	*done = true;
	if (machine.dead == DISK_LIVES && (machine.die_at == 0 || --machine.die_at > 0))
		return true;
	*done = machine.dead == DISK_LIVES && random_chance(&machine.random, 1, 2);
	if (machine.dead == DISK_LIVES)
		machine.dead = machine.die_how;
	errno = EIO;
	return false;
}

static bool
eio(void)
{
	if (machine.eio_at == 0 || --machine.eio_at > 0)
		return false;
	errno = EIO;
	return true;
}

static uint64_t
used(void)
{
	uint64_t bytes = 0;

	for (int d = 0; d < DIR_COUNT; d++)
		for (int i = 0; i < machine.dirs[d].live.n; i++)
			bytes += machine.dirs[d].live.at[i].file->live.len;
	return bytes;
}

static bool
full(uint64_t more)
{
	if (machine.space == UINT64_MAX || more == 0 || used() + more <= machine.space)
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

	if (machine.dead != DISK_LIVES || dir == NULL)
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
	if (machine.dead != DISK_LIVES)
		return -1;
	while (i < machine.nopen && machine.open[i] != NULL)
		i++;
	if (i == machine.nopen)
		machine.open = xrealloc(machine.open, (size_t) ++machine.nopen * sizeof(File *));
	machine.open[i] = entry->file;
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
	machine.open[fd - FD_FIRST] = NULL;
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
		size_t from = i * machine.sector;
		size_t to = from + machine.sector;

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

	if (machine.dead != DISK_LIVES)
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
	if (machine.whole)
	{
		machine.whole = false;
		file_write(file, (size_t) offset, data, len);
		return (ssize_t) len;
	}
	if (eio())
	{
		tally(EIO_WRITE);
		file_write(file, (size_t) offset, data, random_below(&machine.random, len + 1));
		errno = EIO;
		return -1;
	}
	if (full(end > file->live.len ? end - file->live.len : 0))
	{
		/* the first part may still find room */
		if (random_chance(&machine.random, 1, 2) || len < 2)
			return -1;
		len /= 2;
	}
	else if (len > 1 && random_chance(&machine.random, 1, 64))
	{
		tally(SHORT_WRITE);
		len = random_between(&machine.random, 1, len - 1);
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
		machine.lost++;
		file_fail_sync(file);
		errno = EIO;
		return -1;
	}
	if (machine.ignore_files)
		return 0;
	len = file_begin_sync(file);
	if (machine.during != NULL && !machine.syncing)
	{
		machine.syncing = true;
		machine.during(machine.context);
		machine.syncing = false;
		if (machine.dead != DISK_LIVES)
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
	if (done && !machine.ignore_dirs)
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

	if (machine.dead == DISK_LIVES && entry_find(&dir->live, name) == NULL)
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

	if (machine.dead != DISK_LIVES)
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
	memset(&machine, 0, sizeof(machine));
	machine.random.state = seed;
	machine.sector = random_chance(&machine.random, 1, 3) ? 64 : 512;
	machine.space = UINT64_MAX;
	fs = &disk_ops;
}

void
disk_destroy(void)
{
	for (int i = 0; i < machine.nfiles; i++)
		file_free(machine.files[i]);
	for (int d = 0; d < DIR_COUNT; d++)
	{
		free(machine.dirs[d].live.at);
		free(machine.dirs[d].durable.at);
		free(machine.dirs[d].changes);
	}
	free(machine.files);
	free(machine.open);
	memset(&machine, 0, sizeof(machine));
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
	machine.during = during;
	machine.context = context;
}

void
disk_die_at(int calls, DiskDeath how)
{
	machine.die_at = calls;
	machine.die_how = how;
}

DiskDeath
disk_dead(void)
{
	return machine.dead;
}

void
disk_eio_at(int calls)
{
	machine.eio_at = calls;
}

void
disk_space(uint64_t free_bytes)
{
	machine.space = free_bytes == UINT64_MAX ? UINT64_MAX : used() + free_bytes;
}

void
disk_whole_write(void)
{
	machine.whole = true;
}

void
disk_ignore_syncs(bool directories, bool files)
{
	machine.ignore_dirs = directories;
	machine.ignore_files = files;
}

void
disk_kill(void)
{
	for (int i = 0; i < machine.nopen; i++)
		machine.open[i] = NULL;
	for (int i = 0; i < machine.nfiles; i++)
		machine.files[i]->locked = false;
	machine.dead = DISK_LIVES;
	machine.die_at = 0;
	machine.syncing = machine.whole = false;
}
