/*
 * fs_fault.c -- a walrankd whose file system fails at one call, told by the environment.
 *
 * Linked into build/fault/walrankd: the C library's calls are replaced for the program and for LMDB
 * alike, so what goes around base/fs.h fails as well.  Only files below WALRANK_FAULT_DIR count.
 * A call is named by its kind, the file (digits in its name become one '#') and its number among
 * those of the same kind and file, so that a run names the same calls as the one before whatever its
 * threads did meanwhile:
 *
 *	WALRANK_FAULT_LOG=FILE               appends "kind file number" for each call, "fired .." for the one that failed
 *	WALRANK_FAULT=kind:file:number:mode  that call fails
 *
 *	WALRANK_FAULT_BOOT_ID=FILE           what the daemon reads as the machine's boot id: another one after a power cut
 *
 *	WALRANK_FAULT_LIE=1                  every sync says that it is done and does nothing
 *
 * Modes: EIO, ENOSPC, EINTR; short (half of it is read or written, and that is said); torn (half is
 * written, then the process is gone); before, after (gone before or after the call).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define NAMES_MAX 256
#define EXIT_GONE 99

typedef enum
{
	NO_FAULT,
	FAIL_ERRNO,
	FAIL_SHORT,
	FAIL_TORN,
	FAIL_BEFORE,
	FAIL_AFTER,
} Fault;

typedef struct Name
{
	char text[200]; /* "kind file" */
	unsigned calls;
} Name;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Name names[NAMES_MAX];
static int nnames;
static char directory[PATH_MAX];
static size_t directory_len;
static int log_fd = -1;
static const char *boot_id;
static bool lying;
static struct
{
	char name[200];
	unsigned number;
	Fault fault;
	int error;
} wanted;

#define REAL(name) ((__typeof__(&name)) real(#name))

static void *
real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (found == NULL)
		_exit(EXIT_GONE + 1);
	return found;
}

/* ---- what is asked for ------------------------------------------------------------------------- */

static void
wanted_mode(const char *mode)
{
	static const struct
	{
		const char *name;
		Fault fault;
		int error;
	} modes[] = {{"EIO", FAIL_ERRNO, EIO}, {"ENOSPC", FAIL_ERRNO, ENOSPC}, {"EINTR", FAIL_ERRNO, EINTR},
				 {"short", FAIL_SHORT, 0}, {"torn", FAIL_TORN, 0},		   {"before", FAIL_BEFORE, 0},
				 {"after", FAIL_AFTER, 0}};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(mode, modes[i].name) == 0)
		{
			wanted.fault = modes[i].fault;
			wanted.error = modes[i].error;
			return;
		}
	fprintf(stderr, "WALRANK_FAULT: unknown mode \"%s\"\n", mode);
	_exit(EXIT_GONE + 1);
}

__attribute__((constructor)) static void
read_environment(void)
{
	const char *dir = getenv("WALRANK_FAULT_DIR");
	const char *log = getenv("WALRANK_FAULT_LOG");
	const char *fault = getenv("WALRANK_FAULT");
	char kind[16];
	char file[160];
	char mode[16];

	boot_id = getenv("WALRANK_FAULT_BOOT_ID");
	lying = getenv("WALRANK_FAULT_LIE") != NULL;
	if (dir == NULL || realpath(dir, directory) == NULL)
		return;
	directory_len = strlen(directory);
	if (log != NULL)
		log_fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fault == NULL)
		return;
	if (sscanf(fault, "%15[^:]:%159[^:]:%u:%15s", kind, file, &wanted.number, mode) != 4)
		wanted_mode(fault);
	wanted_mode(mode);
	snprintf(wanted.name, sizeof(wanted.name), "%s %s", kind, file);
}

/* ---- which call this is ------------------------------------------------------------------------- */

/* Below the directory, with '#' for digits: all segments are one file here. */
static bool
file_name(const char *path, char *out, size_t bytes)
{
	size_t n = 0;

	if (directory_len == 0 || strncmp(path, directory, directory_len) != 0 || path[directory_len] != '/')
		return false;
	for (path += directory_len + 1; *path != '\0' && n + 2 < bytes; path++)
	{
		if (*path < '0' || *path > '9')
			out[n++] = *path;
		else if (n == 0 || out[n - 1] != '#')
			out[n++] = '#';
	}
	out[n] = '\0';
	return true;
}

static bool
descriptor_path(int fd, char path[PATH_MAX])
{
	char link[40];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, PATH_MAX - 1);
	if (len <= 0)
		return false;
	path[len] = '\0';
	return true;
}

static Name *
find_name(const char *text)
{
	for (int i = 0; i < nnames; i++)
		if (strcmp(names[i].text, text) == 0)
			return &names[i];
	if (nnames == NAMES_MAX)
		_exit(EXIT_GONE + 1);
	memcpy(names[nnames].text, text, strlen(text) + 1); /* both are as long */
	return &names[nnames++];
}

static void
say(const char *what, const char *name, unsigned number)
{
	char line[300];
	int len = snprintf(line, sizeof(line), "%s%s %u\n", what, name, number);

	if (log_fd >= 0 && REAL(write)(log_fd, line, (size_t) len) != len)
		_exit(EXIT_GONE + 1);
}

static Fault
judge(const char *kind, const char *path)
{
	char file[160];
	char text[200];
	Fault fault = NO_FAULT;
	Name *name;

	if (!file_name(path, file, sizeof(file)))
		return NO_FAULT;
	snprintf(text, sizeof(text), "%s %s", kind, file);
	pthread_mutex_lock(&lock);
	name = find_name(text);
	name->calls++;
	if (wanted.fault != NO_FAULT && name->calls == wanted.number && strcmp(text, wanted.name) == 0)
	{
		fault = wanted.fault;
		say("fired ", text, name->calls);
	}
	else
		say("", text, name->calls);
	pthread_mutex_unlock(&lock);
	return fault;
}

static Fault
judge_fd(const char *kind, int fd)
{
	char path[PATH_MAX];

	return directory_len > 0 && descriptor_path(fd, path) ? judge(kind, path) : NO_FAULT;
}

static Fault
judge_at(const char *kind, int dirfd, const char *name)
{
	char path[PATH_MAX];
	size_t len;

	if (directory_len == 0)
		return NO_FAULT;
	if (name[0] == '/')
		return judge(kind, name);
	if (dirfd == AT_FDCWD)
		return NO_FAULT; /* the daemon's own files are named from the root */
	if (!descriptor_path(dirfd, path))
		return NO_FAULT;
	len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "/%s", name);
	return judge(kind, path);
}

/* True: the call does not take place, errno says why. */
static bool
fails(Fault fault)
{
	if (fault == FAIL_BEFORE)
		_exit(EXIT_GONE);
	if (fault == FAIL_ERRNO)
		errno = wanted.error;
	return fault == FAIL_ERRNO;
}

static void
done(Fault fault)
{
	if (fault == FAIL_AFTER || fault == FAIL_TORN)
		_exit(EXIT_GONE);
}

static size_t
half(Fault fault, size_t len)
{
	return (fault == FAIL_SHORT || fault == FAIL_TORN) && len > 1 ? len / 2 : len;
}

/* ---- the calls ------------------------------------------------------------------------------------ */

#define CALL(type, fault, failed, call)                                                                      \
	do                                                                                                       \
	{                                                                                                        \
		Fault fault_ = (fault);                                                                              \
		type result_;                                                                                        \
                                                                                                             \
		if (fails(fault_))                                                                                   \
			return (failed);                                                                                 \
		result_ = (call);                                                                                    \
		done(fault_);                                                                                        \
		return result_;                                                                                      \
	} while (0)

int
openat(int dirfd, const char *name, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
	va_end(args);
	CALL(int, judge_at((flags & O_CREAT) ? "create" : "open", dirfd, name), -1,
		 REAL(openat)(dirfd, name, flags, mode));
}

int
open(const char *name, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = (flags & O_CREAT) ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (boot_id != NULL && strcmp(name, BOOT_ID) == 0)
		name = boot_id;
	CALL(int, judge_at((flags & O_CREAT) ? "create" : "open", AT_FDCWD, name), -1,
		 REAL(open)(name, flags, mode));
}

ssize_t
pread(int fd, void *data, size_t len, off_t offset)
{
	Fault fault = judge_fd("pread", fd);

	CALL(ssize_t, fault, -1, REAL(pread)(fd, data, half(fault, len), offset));
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t offset)
{
	Fault fault = judge_fd("pwrite", fd);

	CALL(ssize_t, fault, -1, REAL(pwrite)(fd, data, half(fault, len), offset));
}

ssize_t
write(int fd, const void *data, size_t len)
{
	Fault fault = judge_fd("write", fd);

	CALL(ssize_t, fault, -1, REAL(write)(fd, data, half(fault, len)));
}

/* LMDB's, for pages that lie beside each other; half of it is the half of its pieces. */
ssize_t
writev(int fd, const struct iovec *pieces, int npieces)
{
	Fault fault = judge_fd("writev", fd);

	CALL(ssize_t, fault, -1, REAL(writev)(fd, pieces, (int) half(fault, (size_t) npieces)));
}

int
fdatasync(int fd)
{
	CALL(int, judge_fd("fdatasync", fd), -1, lying ? 0 : REAL(fdatasync)(fd));
}

int
fsync(int fd)
{
	CALL(int, judge_fd("fsync", fd), -1, lying ? 0 : REAL(fsync)(fd));
}

int
ftruncate(int fd, off_t len)
{
	CALL(int, judge_fd("ftruncate", fd), -1, REAL(ftruncate)(fd, len));
}

int
fallocate(int fd, int mode, off_t offset, off_t len)
{
	CALL(int, judge_fd("fallocate", fd), -1, REAL(fallocate)(fd, mode, offset, len));
}

int
renameat(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
	CALL(int, judge_at("rename", to_dirfd, to), -1, REAL(renameat)(from_dirfd, from, to_dirfd, to));
}

int
unlinkat(int dirfd, const char *name, int flags)
{
	CALL(int, judge_at("unlink", dirfd, name), -1, REAL(unlinkat)(dirfd, name, flags));
}
