/*
 * store_mark.c -- the few lines beside data.mdb that say whether it may be trusted.
 *
 * Without syncs the file is whole as long as the kernel that took the writes is alive: the mark names
 * the boot and the file it was opened on.  Lines of text, the last one the CRC of those before it:
 *
 *	walrank store mark 1
 *	boot 0a3c5f3e-...
 *	device 65024
 *	inode 131073
 *	state open
 *	crc 1c291ca3
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/fs.h"
#include "score/store_internal.h"

#define MARK_BYTES_MAX 512
#define MARK_FORMAT "walrank store mark 1\nboot %s\ndevice %" PRIu64 "\ninode %" PRIu64 "\nstate %s\n"

static const char *const state_names[] = {
	[MARK_OPEN] = "open",
	[MARK_CLEAN] = "clean",
	[MARK_TORN] = "torn",
};

bool
store_mark_write(int dirfd, const Mark *mark, Error *err)
{
	char text[MARK_BYTES_MAX];
	int len = snprintf(text, sizeof(text), MARK_FORMAT, mark->boot_id, mark->device, mark->inode,
					   state_names[mark->state]);

	len += snprintf(text + len, sizeof(text) - (size_t) len, "crc %08x\n", crc32c(0, text, (size_t) len));
	return fs_replace(dirfd, "mark", slice_make(text, (size_t) len), err) ||
		   error_wrap(err, "could not write the store's mark");
}

/* Read by writing again what was understood: anything else in the file shows. */
static bool
mark_parse(const char *text, Mark *mark)
{
	char state[8];
	char again[MARK_BYTES_MAX];
	int len;

	if (sscanf(text, "walrank store mark 1 boot %39s device %" SCNu64 " inode %" SCNu64 " state %7s",
			   mark->boot_id, &mark->device, &mark->inode, state) != 4)
		return false;
	for (int i = 0; i <= MARK_TORN; i++)
		if (strcmp(state, state_names[i]) == 0)
		{
			mark->state = (MarkState) i;
			len =
				snprintf(again, sizeof(again), MARK_FORMAT, mark->boot_id, mark->device, mark->inode, state);
			snprintf(again + len, sizeof(again) - (size_t) len, "crc %08x\n", crc32c(0, again, (size_t) len));
			return strcmp(again, text) == 0;
		}
	return false;
}

bool
store_mark_read(int dirfd, Mark *mark, bool *found, Error *err)
{
	char text[MARK_BYTES_MAX + 1];
	size_t len = 0;

	memset(mark, 0, sizeof(*mark));
	if (!fs_read_file(dirfd, "mark", MARK_BYTES_MAX, text, &len, found, err))
		return error_wrap(err, "could not read the store's mark");
	if (!*found)
		return true;
	text[len] = '\0';
	*found = mark_parse(text, mark);
	return true;
}

static bool
boot_id_read(char boot_id[40], Error *err)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, boot_id, 39) : -1;

	if (len < 0)
		error_errno(err, "could not read the boot id");
	if (fd >= 0)
		close(fd);
	if (len < 0)
		return false;
	boot_id[len] = '\0';
	boot_id[strcspn(boot_id, "\n")] = '\0';
	return boot_id[0] != '\0' || error_set(err, ERR_DISK, "the boot id is empty");
}

bool
store_mark_now(int dirfd, MarkState state, Mark *mark, Error *err)
{
	struct stat st;

	memset(mark, 0, sizeof(*mark));
	if (!boot_id_read(mark->boot_id, err))
		return false;
	if (fstatat(dirfd, "data.mdb", &st, 0) != 0)
		return error_errno(err, "could not stat the store's file");
	mark->device = st.st_dev;
	mark->inode = st.st_ino;
	mark->state = state;
	return true;
}

bool
store_mark_look(int dirfd, RecoveryMark *seen, Error *err)
{
	struct stat st;
	char boot_id[40];
	Mark mark;

	*seen = (RecoveryMark){.file = fstatat(dirfd, "data.mdb", &st, 0) == 0};
	if (!seen->file && errno != ENOENT)
		return error_errno(err, "could not stat the store's file");
	if (!boot_id_read(boot_id, err) || !store_mark_read(dirfd, &mark, &seen->marked, err))
		return false;
	seen->state = mark.state;
	seen->same_boot = strcmp(boot_id, mark.boot_id) == 0;
	seen->same_file = seen->file && mark.device == st.st_dev && mark.inode == st.st_ino;
	return true;
}
