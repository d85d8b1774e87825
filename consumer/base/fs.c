/*
 * fs.c -- see fs.h.
 */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buffer.h"

#define RETRIES_MAX 1000 /* EINTR in a row: more than that is no accident */

static int
system_open(int dirfd, const char *name, int flags, mode_t mode)
{
	return openat(dirfd, name, flags, mode);
}

static int
system_unlinkat(int dirfd, const char *name)
{
	return unlinkat(dirfd, name, 0);
}

static int
system_renameat(int dirfd, const char *from, const char *to)
{
	return renameat(dirfd, from, dirfd, to);
}

/* The size stays: a file that ends in zeros nobody wrote looks like a torn one. */
static int
system_fallocate(int fd, off_t len)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, len);
}

static int
system_dup(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static off_t
system_size(int fd)
{
	return lseek(fd, 0, SEEK_END);
}

static int
system_forget(int fd)
{
	return posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* An OFD lock belongs to this one open file: closing some other descriptor does not drop it. */
static int
system_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static int
system_list(int dirfd, void (*seen)(void *context, const char *name), void *context)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	int saved;

	if (dir == NULL)
	{
		saved = errno;
		if (fd >= 0)
			close(fd);
		errno = saved;
		return -1;
	}
	while (errno = 0, (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			seen(context, entry->d_name);
	saved = errno;
	closedir(dir);
	errno = saved;
	return saved == 0 ? 0 : -1;
}

const FsOps fs_system = {
	.open = system_open,
	.pread = pread,
	.pwrite = pwrite,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.ftruncate = ftruncate,
	.renameat = system_renameat,
	.unlinkat = system_unlinkat,
	.fallocate = system_fallocate,
	.close = close,
	.dup = system_dup,
	.size = system_size,
	.forget = system_forget,
	.lock = system_lock,
	.list = system_list,
};

const FsOps *fs = &fs_system;

bool
fs_open(int dirfd, const char *name, int flags, int *fd, Error *err)
{
	int saved;

	for (int tries = 0; tries < RETRIES_MAX; tries++)
	{
		*fd = fs->open(dirfd, name, flags | O_CLOEXEC, 0600);
		if (*fd >= 0)
			return true;
		if (errno != EINTR)
			break;
	}
	saved = errno;
	error_errno(err, "could not open \"%s\"", name);
	errno = saved; /* some callers ask for ENOENT */
	return false;
}

void
fs_close(int fd)
{
	fs->close(fd);
}

bool
fs_dup(int fd, int *copy, Error *err)
{
	*copy = fs->dup(fd);
	return *copy >= 0 || error_errno(err, "could not duplicate a descriptor");
}

bool
fs_size(int fd, uint64_t *bytes, Error *err)
{
	off_t size = fs->size(fd);

	*bytes = size < 0 ? 0 : (uint64_t) size;
	return size >= 0 || error_errno(err, "could not find the size of the file");
}

void
fs_forget(int fd)
{
	fs->forget(fd);
}

bool
fs_list(int dirfd, void (*seen)(void *context, const char *name), void *context, Error *err)
{
	return fs->list(dirfd, seen, context) == 0 || error_errno(err, "could not list the directory");
}

bool
fs_pread(int fd, void *data, size_t len, uint64_t offset, size_t *got, Error *err)
{
	int interrupted = 0;

	*got = 0;
	while (*got < len)
	{
		ssize_t n = fs->pread(fd, (char *) data + *got, len - *got, (off_t) (offset + *got));

		if (n == 0)
			break;
		if (n > 0)
			*got += (size_t) n;
		else if (errno != EINTR || ++interrupted >= RETRIES_MAX)
			return error_errno(err, "could not read %zu bytes at offset %llu", len,
							   (unsigned long long) offset);
	}
	return true;
}

bool
fs_pwrite(int fd, const void *data, size_t len, uint64_t offset, Error *err)
{
	int fruitless = 0;
	size_t done = 0;

	while (done < len)
	{
		ssize_t n = fs->pwrite(fd, (const char *) data + done, len - done, (off_t) (offset + done));

		if (n > 0)
		{
			done += (size_t) n;
			fruitless = 0;
			continue;
		}
		if (n == 0)
			errno = EINTR; /* nothing written, no reason given: ask again, the answer comes then */
		if (errno != EINTR || ++fruitless >= RETRIES_MAX)
			return error_errno(err, "could not write %zu bytes at offset %llu", len,
							   (unsigned long long) offset);
	}
	return true;
}

/* Not even EINTR is a reason to call a sync again: its one error report may be spent. */
bool
fs_datasync(int fd, Error *err)
{
	if (fs->fdatasync(fd) == 0)
		return true;
	error_errno(err, "could not fdatasync");
	err->class = ERR_DISK; /* ENOSPC included: the pages may be gone */
	return false;
}

bool
fs_sync(int fd, Error *err)
{
	if (fs->fsync(fd) == 0)
		return true;
	error_errno(err, "could not fsync");
	err->class = ERR_DISK;
	return false;
}

bool
fs_sync_dir(int dirfd, Error *err)
{
	return fs_sync(dirfd, err) || error_wrap(err, "directory");
}

bool
fs_truncate(int fd, uint64_t len, Error *err)
{
	for (int tries = 0; tries < RETRIES_MAX; tries++)
	{
		if (fs->ftruncate(fd, (off_t) len) == 0)
			return true;
		if (errno != EINTR)
			break;
	}
	return error_errno(err, "could not truncate to %llu bytes", (unsigned long long) len);
}

bool
fs_replace(int dirfd, const char *name, Slice content, Error *err)
{
	char temporary[256];
	bool ok = false;
	int fd;

	if ((size_t) snprintf(temporary, sizeof(temporary), "%s.tmp", name) >= sizeof(temporary))
		return error_set(err, ERR_CONFIG, "file name \"%s\" is too long", name);
	if (!fs_open(dirfd, temporary, O_CREAT | O_TRUNC | O_WRONLY, &fd, err))
		return false;
	ok = fs_pwrite(fd, content.data, content.len, 0, err) && fs_sync(fd, err);
	fs->close(fd);
	if (!ok)
	{
		fs->unlinkat(dirfd, temporary);
		return error_wrap(err, "file \"%s\"", temporary);
	}
	if (fs->renameat(dirfd, temporary, name) != 0)
		return error_errno(err, "could not rename \"%s\" to \"%s\"", temporary, name);
	return fs_sync_dir(dirfd, err); /* until then the old name may come back */
}

bool
fs_read_file(int dirfd, const char *name, size_t max_bytes, void *data, size_t *len, bool *found, Error *err)
{
	char more;
	size_t beyond = 0;
	bool ok;
	int fd;

	*len = 0;
	*found = false;
	if (!fs_open(dirfd, name, O_RDONLY, &fd, err))
	{
		if (errno != ENOENT)
			return false;
		error_clear(err);
		return true;
	}
	ok = fs_pread(fd, data, max_bytes, 0, len, err) && fs_pread(fd, &more, 1, max_bytes, &beyond, err);
	fs->close(fd);
	if (!ok)
		return error_wrap(err, "file \"%s\"", name);
	if (beyond > 0)
		return error_set(err, ERR_DATA, "file \"%s\" is larger than %zu bytes", name, max_bytes);
	*found = true;
	return true;
}

/* Neither locks nor fsync can be relied on over a network. */
static bool
check_local(int dirfd, const char *path, Error *err)
{
	static const struct
	{
		uint32_t type;
		const char *name;
	} remote[] = {
		{0x6969, "NFS"}, {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"}, {0x517b, "SMB"}, {0x01021997, "9P"}};
	struct statfs st;

	if (fstatfs(dirfd, &st) != 0)
		return error_errno(err, "could not look at the file system of \"%s\"", path);
	for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
		if ((uint32_t) st.f_type == remote[i].type)
		{
			error_set(err, ERR_CONFIG, "directory \"%s\" is on a network file system (%s)", path,
					  remote[i].name);
			return error_hint(err, "Put it on a local disk.");
		}
	return true;
}

/* A directory just made is durable once the one above it is. */
static bool
sync_parent(const char *path, Error *err)
{
	char *parent = xstrdup(path);
	size_t len = strlen(parent);
	char *slash;
	int fd;
	bool ok;

	while (len > 1 && parent[len - 1] == '/')
		parent[--len] = '\0';
	slash = strrchr(parent, '/');
	if (slash != NULL)
		slash[slash == parent ? 1 : 0] = '\0';
	ok = fs_open(AT_FDCWD, slash != NULL ? parent : ".", O_RDONLY | O_DIRECTORY, &fd, err);
	if (ok)
	{
		ok = fs_sync_dir(fd, err);
		fs->close(fd);
	}
	free(parent);
	return ok;
}

bool
fs_open_dir(const char *path, bool create, int *dirfd, Error *err)
{
	struct stat st;

	if (create && mkdir(path, 0700) == 0)
	{
		if (!sync_parent(path, err))
			return false;
	}
	else if (create && errno != EEXIST)
		return error_errno(err, "could not create directory \"%s\"", path);
	if (!fs_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, dirfd, err))
		return false;
	if (fstat(*dirfd, &st) != 0)
		error_errno(err, "could not look at directory \"%s\"", path);
	else if ((st.st_mode & 077) != 0)
	{
		error_set(err, ERR_CONFIG, "directory \"%s\" is open to others (mode %04o)", path,
				  (unsigned) st.st_mode & 07777);
		error_hint(err, "It holds copies of your rows: chmod 0700 it.");
	}
	else if (check_local(*dirfd, path, err))
		return true;
	fs->close(*dirfd);
	*dirfd = -1;
	return false;
}

bool
fs_lock(int dirfd, const char *name, int *fd, Error *err)
{
	if (!fs_open(dirfd, name, O_CREAT | O_RDWR, fd, err))
		return false;
	if (fs->lock(*fd) == 0)
		return true;
	if (errno == EAGAIN || errno == EACCES)
	{
		error_set(err, ERR_REFUSE, "\"%s\" is locked by another process", name);
		error_hint(err, "Is another walrankd running on this state directory?");
	}
	else
		error_errno(err, "could not lock \"%s\"", name);
	fs->close(*fd);
	*fd = -1;
	return false;
}
