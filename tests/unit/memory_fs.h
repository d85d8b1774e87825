/*
 * memory_fs.h -- one directory in memory behind the table of file operations, for tests that open and close logs tens of
 * thousands of times a second: fuzzing, and every call that fails once.
 *
 * Any directory descriptor means the same directory.  Files are never freed, only emptied.
 */
#ifndef WALRANK_MEMORY_FS_H
#define WALRANK_MEMORY_FS_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/fs.h"

#define MEMORY_FILES 32
#define MEMORY_FDS 128
#define MEMORY_FD_FIRST 100000
#define MEMORY_DIR 99999
#define MEMORY_BYTES_MAX (64 << 20)

typedef struct MemoryFile
{
	char name[64]; /* "" = no name: free when no descriptor is left */
	Buffer bytes;
} MemoryFile;

static MemoryFile memory_files[MEMORY_FILES];
static MemoryFile *memory_fds[MEMORY_FDS];

static inline MemoryFile *
memory_find(const char *name)
{
	for (int i = 0; i < MEMORY_FILES; i++)
		if (strcmp(memory_files[i].name, name) == 0 && name[0] != '\0')
			return &memory_files[i];
	return NULL;
}

static inline bool
memory_is_open(const MemoryFile *file)
{
	for (int i = 0; i < MEMORY_FDS; i++)
		if (memory_fds[i] == file)
			return true;
	return false;
}

static inline MemoryFile *
memory_make(const char *name)
{
	for (int i = 0; i < MEMORY_FILES; i++)
		if (memory_files[i].name[0] == '\0' && !memory_is_open(&memory_files[i]))
		{
			snprintf(memory_files[i].name, sizeof(memory_files[i].name), "%s", name);
			memory_files[i].bytes.len = 0;
			return &memory_files[i];
		}
	abort(); /* a target that leaks files */
}

static inline MemoryFile *
memory_file(int fd)
{
	if (fd < MEMORY_FD_FIRST || fd >= MEMORY_FD_FIRST + MEMORY_FDS ||
		memory_fds[fd - MEMORY_FD_FIRST] == NULL)
		abort(); /* a descriptor used after it was closed */
	return memory_fds[fd - MEMORY_FD_FIRST];
}

static int
memory_open(int dirfd, const char *name, int flags, mode_t mode)
{
	MemoryFile *file = memory_find(name);

	if (file == NULL && !(flags & O_CREAT))
	{
		errno = ENOENT;
		return -1;
	}
	if (file == NULL)
		file = memory_make(name);
	if (flags & O_TRUNC)
		file->bytes.len = 0;
	for (int i = 0; i < MEMORY_FDS; i++)
		if (memory_fds[i] == NULL)
		{
			memory_fds[i] = file;
			return MEMORY_FD_FIRST + i;
		}
	abort(); /* descriptors leak */
}

static ssize_t
memory_pread(int fd, void *data, size_t len, off_t offset)
{
	const Buffer *bytes = &memory_file(fd)->bytes;

	if ((size_t) offset >= bytes->len)
		return 0;
	len = len < bytes->len - (size_t) offset ? len : bytes->len - (size_t) offset;
	memcpy(data, bytes->data + offset, len);
	return (ssize_t) len;
}

static int
memory_ftruncate(int fd, off_t len)
{
	Buffer *bytes = &memory_file(fd)->bytes;

	if (len > MEMORY_BYTES_MAX)
		abort();
	if ((size_t) len > bytes->len)
	{
		buffer_reserve(bytes, (size_t) len - bytes->len);
		memset(bytes->data + bytes->len, 0, (size_t) len - bytes->len);
	}
	bytes->len = (size_t) len;
	return 0;
}

static ssize_t
memory_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	Buffer *bytes = &memory_file(fd)->bytes;

	if ((size_t) offset + len > bytes->len)
		memory_ftruncate(fd, offset + (off_t) len);
	memcpy(bytes->data + offset, data, len);
	return (ssize_t) len;
}

static int
memory_unlinkat(int dirfd, const char *name)
{
	MemoryFile *file = memory_find(name);

	if (file == NULL)
	{
		errno = ENOENT;
		return -1;
	}
	file->name[0] = '\0';
	return 0;
}

static int
memory_renameat(int dirfd, const char *from, const char *to)
{
	MemoryFile *file = memory_find(from);

	if (file == NULL)
	{
		errno = ENOENT;
		return -1;
	}
	memory_unlinkat(dirfd, to);
	snprintf(file->name, sizeof(file->name), "%s", to);
	return 0;
}

static int
memory_close(int fd)
{
	if (fd == MEMORY_DIR)
		return 0;
	memory_file(fd);
	memory_fds[fd - MEMORY_FD_FIRST] = NULL;
	return 0;
}

static int
memory_dup(int fd)
{
	return MEMORY_DIR; /* nobody duplicates anything else */
}

static off_t
memory_size(int fd)
{
	return (off_t) memory_file(fd)->bytes.len;
}

static int
memory_nothing(int fd)
{
	return 0;
}

static int
memory_fallocate(int fd, off_t len)
{
	return 0;
}

static int
memory_list(int dirfd, void (*seen)(void *context, const char *name), void *context)
{
	for (int i = 0; i < MEMORY_FILES; i++)
		if (memory_files[i].name[0] != '\0')
			seen(context, memory_files[i].name);
	return 0;
}

static const FsOps memory_fs = {
	.open = memory_open,
	.pread = memory_pread,
	.pwrite = memory_pwrite,
	.fdatasync = memory_nothing,
	.fsync = memory_nothing,
	.ftruncate = memory_ftruncate,
	.renameat = memory_renameat,
	.unlinkat = memory_unlinkat,
	.fallocate = memory_fallocate,
	.close = memory_close,
	.dup = memory_dup,
	.size = memory_size,
	.forget = memory_nothing,
	.lock = memory_nothing,
	.list = memory_list,
};

/* ---- for the targets ------------------------------------------------------------------------ */

static inline void
memory_put(const char *name, Slice bytes)
{
	MemoryFile *file = memory_find(name);

	if (file == NULL)
		file = memory_make(name);
	file->bytes.len = 0;
	buffer_append_slice(&file->bytes, bytes);
}

static inline void
memory_get(const char *name, Buffer *out)
{
	const MemoryFile *file = memory_find(name);

	if (file == NULL)
		abort();
	buffer_append_slice(out, buffer_slice(&file->bytes));
}

/* Nothing may be open any more: what an input leaves behind is a leak. */
static inline void
memory_clear(void)
{
	for (int i = 0; i < MEMORY_FDS; i++)
		if (memory_fds[i] != NULL)
			abort();
	for (int i = 0; i < MEMORY_FILES; i++)
		memory_files[i].name[0] = '\0';
}

#endif /* WALRANK_MEMORY_FS_H */
