/*
 * test_disk_support.h -- a disk that fails on request, and forgets what was not synced.
 *
 * Real files in a directory of their own; the file table counts calls, lets the n-th fail, and remembers what each
 * sync made durable, so that disk_power_cut() can leave what a power cut may leave.
 */
#ifndef WALRANK_TEST_DISK_SUPPORT_H
#define WALRANK_TEST_DISK_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/fs.h"

/* ---- directories ------------------------------------------------------------------------------ */

static char disk_path[64];
static int disk_dir = -1;

static void
disk_clear(void)
{
	int fd = openat(disk_dir, ".", O_RDONLY | O_DIRECTORY);
	DIR *dir = fdopendir(fd);
	struct dirent *entry;

	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			assert_int_equal(unlinkat(disk_dir, entry->d_name, 0), 0);
	closedir(dir);
}

static void
disk_open(void)
{
	strcpy(disk_path, access("/dev/shm", W_OK) == 0 ? "/dev/shm/walrank-XXXXXX" : "/tmp/walrank-XXXXXX");
	assert_non_null(mkdtemp(disk_path));
	disk_dir = open(disk_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(disk_dir >= 0);
}

static void
disk_close(void)
{
	disk_clear();
	close(disk_dir);
	rmdir(disk_path);
}

static Buffer
disk_read(const char *name)
{
	int fd = openat(disk_dir, name, O_RDONLY);
	Buffer bytes = {0};
	ssize_t n;

	assert_true(fd >= 0);
	while ((n = read(fd, buffer_reserve(&bytes, 65536), 65536)) > 0)
		bytes.len += (size_t) n;
	close(fd);
	return bytes;
}

static void
disk_write(const char *name, const void *data, size_t len)
{
	int fd = openat(disk_dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* All files of the directory, to be put back again and again. */
typedef struct DiskImage
{
	struct
	{
		char name[64];
		Buffer bytes;
	} files[64];
	int n;
} DiskImage;

static int
disk_image_order(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
disk_save(DiskImage *image)
{
	int fd = openat(disk_dir, ".", O_RDONLY | O_DIRECTORY);
	DIR *dir = fdopendir(fd);
	struct dirent *entry;

	image->n = 0;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
		{
			assert_true(image->n < 64);
			snprintf(image->files[image->n].name, 64, "%.63s", entry->d_name);
			image->files[image->n].bytes = disk_read(entry->d_name);
			image->n++;
		}
	closedir(dir);
	qsort(image->files, (size_t) image->n, sizeof(image->files[0]), disk_image_order);
}

static void
disk_restore(const DiskImage *image)
{
	disk_clear();
	for (int i = 0; i < image->n; i++)
		disk_write(image->files[i].name, image->files[i].bytes.data, image->files[i].bytes.len);
}

static void
disk_image_free(DiskImage *image)
{
	for (int i = 0; i < image->n; i++)
		buffer_free(&image->files[i].bytes);
	image->n = 0;
}

static bool __attribute__((unused)) disk_image_equal(const DiskImage *a, const DiskImage *b)
{
	if (a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
		if (strcmp(a->files[i].name, b->files[i].name) != 0 ||
			!slice_equal(buffer_slice(&a->files[i].bytes), buffer_slice(&b->files[i].bytes)))
			return false;
	return true;
}

/* ---- faults ----------------------------------------------------------------------------------- */

typedef enum
{
	DISK_OPEN = 1,
	DISK_PREAD = 2,
	DISK_PWRITE = 4,
	DISK_FDATASYNC = 8,
	DISK_FSYNC = 16,
	DISK_FTRUNCATE = 32,
	DISK_RENAME = 64,
	DISK_UNLINK = 128,
} DiskCall;

typedef struct DiskFile
{
	ino_t ino;
	Buffer bytes; /* as of its last sync */
} DiskFile;

typedef struct DiskName
{
	char name[64];
	ino_t ino;
} DiskName;

static struct
{
	pthread_mutex_t lock;
	unsigned fail; /* DiskCalls that count and may fail */
	int fail_at;   /* the n-th, from 1; 0 = none */
	int fail_errno;
	int fail_count;	  /* how many in a row */
	int calls;		  /* counted */
	bool short_write; /* every write moves at most 7 bytes; a failing one writes half first */
	bool tracking;
	Buffer trace; /* "pwrite 0000000001.seg\n" ... */
	DiskFile files[256];
	int nfiles;
	DiskName names[256];
	int nnames;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
disk_name(int fd, char name[64])
{
	char link[64];
	char target[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	snprintf(name, 64, "%.63s", strcmp(target, disk_path) == 0 ? "directory" : strrchr(target, '/') + 1);
}

/* True: this call has to fail, errno is set. */
static bool
disk_call(DiskCall call, const char *what, const char *name)
{
	bool fails;

	pthread_mutex_lock(&disk.lock);
	if (call != DISK_PREAD)
		buffer_printf(&disk.trace, "%s %s\n", what, name);
	if (disk.fail & call)
		disk.calls++;
	fails = (disk.fail & call) && disk.fail_at > 0 && disk.calls >= disk.fail_at &&
			disk.calls < disk.fail_at + disk.fail_count;
	pthread_mutex_unlock(&disk.lock);
	if (fails)
		errno = disk.fail_errno;
	return fails;
}

static void
disk_remember_dir(void)
{
	int fd = openat(disk_dir, ".", O_RDONLY | O_DIRECTORY);
	DIR *dir = fdopendir(fd);
	struct dirent *entry;

	disk.nnames = 0;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
		{
			assert_true(disk.nnames < 256);
			snprintf(disk.names[disk.nnames].name, 64, "%.63s", entry->d_name);
			disk.names[disk.nnames++].ino = entry->d_ino;
		}
	closedir(dir);
}

static DiskFile *
disk_file(ino_t ino)
{
	for (int i = 0; i < disk.nfiles; i++)
		if (disk.files[i].ino == ino)
			return &disk.files[i];
	return NULL;
}

/* fd may be for writing only */
static size_t
disk_content(int fd, void *data, size_t len)
{
	char link[64];
	ssize_t n;
	int again;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	again = open(link, O_RDONLY);
	n = pread(again, data, len, 0);
	close(again);
	assert_true(n >= 0);
	return (size_t) n;
}

static void
disk_remember(int fd)
{
	struct stat st;
	DiskFile *file;

	pthread_mutex_lock(&disk.lock);
	assert_int_equal(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode))
		disk_remember_dir();
	else
	{
		file = disk_file(st.st_ino);
		if (file == NULL)
		{
			assert_true(disk.nfiles < 256);
			file = &disk.files[disk.nfiles++];
			file->ino = st.st_ino;
		}
		buffer_reset(&file->bytes);
		buffer_reserve(&file->bytes, (size_t) st.st_size + 1);
		file->bytes.len = disk_content(fd, file->bytes.data, (size_t) st.st_size);
	}
	pthread_mutex_unlock(&disk.lock);
}

static int
disk_op_open(int dirfd, const char *name, int flags, mode_t mode)
{
	if ((flags & O_CREAT) && disk_call(DISK_OPEN, "create", name))
		return -1;
	return fs_system.open(dirfd, name, flags, mode);
}

static ssize_t
disk_op_pread(int fd, void *data, size_t len, off_t offset)
{
	if (disk_call(DISK_PREAD, "pread", ""))
		return -1;
	return pread(fd, data, len, offset);
}

static ssize_t
disk_op_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	char name[64];

	disk_name(fd, name);
	if (disk_call(DISK_PWRITE, "pwrite", name))
	{
		int saved = errno;

		if (disk.short_write && saved != EINTR)
			assert_int_equal(pwrite(fd, data, len / 2, offset), len / 2);
		errno = saved;
		return -1;
	}
	return pwrite(fd, data, disk.short_write && len > 7 ? len / 2 + 1 : len, offset);
}

static int
disk_op_fdatasync(int fd)
{
	char name[64];

	disk_name(fd, name);
	if (disk_call(DISK_FDATASYNC, "fdatasync", name))
		return -1;
	if (disk.tracking)
		disk_remember(fd);
	return 0;
}

static int
disk_op_fsync(int fd)
{
	char name[64];

	disk_name(fd, name);
	if (disk_call(DISK_FSYNC, "fsync", name))
		return -1;
	if (disk.tracking)
		disk_remember(fd);
	return 0;
}

static int
disk_op_ftruncate(int fd, off_t len)
{
	char name[64];

	disk_name(fd, name);
	return disk_call(DISK_FTRUNCATE, "ftruncate", name) ? -1 : ftruncate(fd, len);
}

static int
disk_op_renameat(int dirfd, const char *from, const char *to)
{
	return disk_call(DISK_RENAME, "rename", to) ? -1 : fs_system.renameat(dirfd, from, to);
}

static int
disk_op_unlinkat(int dirfd, const char *name)
{
	return disk_call(DISK_UNLINK, "unlink", name) ? -1 : fs_system.unlinkat(dirfd, name);
}

static int
disk_op_fallocate(int fd, off_t len)
{
	errno = EOPNOTSUPP;
	return -1;
}

static int
disk_op_close(int fd)
{
	return fs_system.close(fd);
}

static int
disk_op_dup(int fd)
{
	return fs_system.dup(fd);
}

static off_t
disk_op_size(int fd)
{
	return fs_system.size(fd);
}

static int
disk_op_forget(int fd)
{
	return fs_system.forget(fd);
}

static int
disk_op_lock(int fd)
{
	return fs_system.lock(fd);
}

static int
disk_op_list(int dirfd, void (*seen)(void *context, const char *name), void *context)
{
	return fs_system.list(dirfd, seen, context);
}

static const FsOps disk_ops = {
	.open = disk_op_open,
	.pread = disk_op_pread,
	.pwrite = disk_op_pwrite,
	.fdatasync = disk_op_fdatasync,
	.fsync = disk_op_fsync,
	.ftruncate = disk_op_ftruncate,
	.renameat = disk_op_renameat,
	.unlinkat = disk_op_unlinkat,
	.fallocate = disk_op_fallocate,
	.close = disk_op_close,
	.dup = disk_op_dup,
	.size = disk_op_size,
	.forget = disk_op_forget,
	.lock = disk_op_lock,
	.list = disk_op_list,
};

/* Back to a disk without faults and without memory. */
static void
disk_heal(void)
{
	for (int i = 0; i < disk.nfiles; i++)
		buffer_free(&disk.files[i].bytes);
	buffer_free(&disk.trace);
	disk.nfiles = disk.nnames = disk.calls = disk.fail_at = 0;
	disk.fail = 0;
	disk.short_write = disk.tracking = false;
	fs = &fs_system;
}

static void
disk_faulty(unsigned calls, int at, int error, int count)
{
	fs = &disk_ops;
	disk.fail = calls;
	disk.fail_at = at;
	disk.fail_errno = error;
	disk.fail_count = count;
	disk.calls = 0;
}

static uint32_t __attribute__((unused)) disk_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/*
 * What was synced stays; of the rest each file keeps some prefix, and of the new names the first few survive (a
 * journaling file system makes names durable in order).  seed 0: nothing unsynced survives.
 */
static void __attribute__((unused)) disk_power_cut(uint32_t seed)
{
	static DiskImage now;
	static DiskImage after;
	bool lost_name = false;

	disk_save(&now);
	after.n = 0;
	for (int i = 0; i < disk.nnames; i++)
	{
		DiskFile *file = disk_file(disk.names[i].ino);

		snprintf(after.files[after.n].name, 64, "%s", disk.names[i].name);
		after.files[after.n].bytes = (Buffer){0};
		if (file != NULL)
			buffer_append_slice(&after.files[after.n].bytes, buffer_slice(&file->bytes));
		after.n++;
	}
	for (int i = 0; i < now.n; i++)
	{
		int at = 0;
		struct stat st;
		DiskFile *file;
		Buffer *bytes;

		assert_int_equal(fstatat(disk_dir, now.files[i].name, &st, 0), 0);
		while (at < after.n && strcmp(after.files[at].name, now.files[i].name) != 0)
			at++;
		bytes = &after.files[at].bytes;
		file = disk_file(st.st_ino);
		if (at == after.n || disk.names[at].ino != st.st_ino)
		{
			/* a new name, or another file under an old one */
			lost_name |= seed == 0 || disk_random(&seed) % 2 == 0;
			if (lost_name)
				continue;
			if (at == after.n++)
				*bytes = (Buffer){0};
			snprintf(after.files[at].name, 64, "%s", now.files[i].name);
			buffer_reset(bytes);
			if (file != NULL)
				buffer_append_slice(bytes, buffer_slice(&file->bytes));
		}
		if (seed != 0 && now.files[i].bytes.len > bytes->len)
			buffer_append(bytes, now.files[i].bytes.data + bytes->len,
						  disk_random(&seed) % (now.files[i].bytes.len - bytes->len + 1));
	}
	disk_restore(&after);
	disk_image_free(&now);
	disk_image_free(&after);
}

#endif /* WALRANK_TEST_DISK_SUPPORT_H */
