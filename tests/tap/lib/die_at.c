/*
 * die_at.c -- preloaded into a program: it is gone right before its n-th call that another process or the disk could notice.
 *
 *	WALRANK_DIE_AT=n		exit code 99, as if killed
 *	WALRANK_DIE_COUNT=FILE	how many there were goes there when the program ends by itself
 *
 * Counted are syncs, renames, new directories, removals and what is sent to a server, of the first thread alone: what one
 * thread does comes in the same order every time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int calls;

static void
count(void)
{
	static int wanted = -1;

	if (gettid() != getpid())
		return;
	if (wanted < 0)
	{
		const char *text = getenv("WALRANK_DIE_AT");

		wanted = text != NULL ? atoi(text) : 0;
	}
	if (++calls == wanted)
		_exit(99);
}

__attribute__((destructor)) static void
tell(void)
{
	const char *path = getenv("WALRANK_DIE_COUNT");
	FILE *file = path != NULL ? fopen(path, "w") : NULL;

	if (file == NULL)
		return;
	fprintf(file, "%d\n", calls);
	fclose(file);
}

#define COUNTED(result, name, parameters, arguments)                                                         \
	result name parameters                                                                                   \
	{                                                                                                        \
		result(*real) parameters = (result(*) parameters) dlsym(RTLD_NEXT, #name);                           \
                                                                                                             \
		count();                                                                                             \
		return real arguments;                                                                               \
	}

COUNTED(int, fsync, (int fd), (fd))
COUNTED(int, fdatasync, (int fd), (fd))
COUNTED(int, rename, (const char *from, const char *to), (from, to))
COUNTED(int, renameat, (int fd, const char *from, int tofd, const char *to), (fd, from, tofd, to))
COUNTED(int, mkdir, (const char *path, mode_t mode), (path, mode))
COUNTED(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
COUNTED(ssize_t, send, (int fd, const void *data, size_t len, int flags), (fd, data, len, flags))
