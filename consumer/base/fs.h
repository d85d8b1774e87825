/*
 * fs.h -- the few file operations that journal, feed, store marks and file sink stand on.
 *
 * All go through one table, so that a test can make the n-th call fail, write half, or lie.  The
 * functions loop over EINTR and short transfers; a failed fsync is never repeated.
 */
#ifndef WALRANK_FS_H
#define WALRANK_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "wire.h"

typedef struct FsOps
{
	int (*open)(int dirfd, const char *name, int flags, mode_t mode);
	ssize_t (*pread)(int fd, void *data, size_t len, off_t offset);
	ssize_t (*pwrite)(int fd, const void *data, size_t len, off_t offset);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int (*ftruncate)(int fd, off_t len);
	int (*renameat)(int dirfd, const char *from, const char *to);
	int (*unlinkat)(int dirfd, const char *name);
	int (*fallocate)(int fd, off_t len); /* room ahead; may fail with EOPNOTSUPP */
	int (*close)(int fd);
	int (*dup)(int fd);	   /* CLOEXEC */
	off_t (*size)(int fd); /* of the file */
	int (*forget)(int fd); /* drops what the kernel has cached of the file, as far as it is written */
	int (*lock)(int fd);   /* OFD write lock on the whole file, not waited for */
	int (*list)(int dirfd, void (*seen)(void *context, const char *name), void *context);
} FsOps;

extern const FsOps fs_system; /* the real calls */
extern const FsOps *fs;		  /* what everyone uses; tests set it before any thread starts */

extern bool fs_open(int dirfd, const char *name, int flags, int *fd, Error *err); /* mode 0600, CLOEXEC */
extern void fs_close(int fd);
extern bool fs_dup(int fd, int *copy, Error *err); /* CLOEXEC */
extern bool fs_size(int fd, uint64_t *bytes, Error *err);
/* After a failed write-back the cache may show what the disk does not have. */
extern void fs_forget(int fd);
/* Every name in the directory but "." and "..", in no order. */
extern bool fs_list(int dirfd, void (*seen)(void *context, const char *name), void *context, Error *err);
extern bool fs_pread(int fd, void *data, size_t len, uint64_t offset, size_t *got, Error *err);
extern bool fs_pwrite(int fd, const void *data, size_t len, uint64_t offset, Error *err);
extern bool fs_datasync(int fd, Error *err);
extern bool fs_sync(int fd, Error *err);
extern bool fs_sync_dir(int dirfd, Error *err);
extern bool fs_truncate(int fd, uint64_t len, Error *err);
/* Write NAME.tmp, fsync, rename over NAME, fsync the directory. */
extern bool fs_replace(int dirfd, const char *name, Slice content, Error *err);
/* Whole small file; fails with ERR_DISK and errno text; *found = false when it does not exist. */
extern bool fs_read_file(int dirfd, const char *name, size_t max_bytes, void *data, size_t *len, bool *found,
						 Error *err);
/* mkdir -p of one level, mode 0700; refuses one readable by others; returns its descriptor. */
extern bool fs_open_dir(const char *path, bool create, int *dirfd, Error *err);
/* OFD write lock on NAME in the directory, held until the descriptor closes. ERR_REFUSE if taken. */
extern bool fs_lock(int dirfd, const char *name, int *fd, Error *err);

#endif /* WALRANK_FS_H */
