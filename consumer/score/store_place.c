/*
 * store_place.c -- where a store may be: on a local file system, and open once in this process.
 */
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "score/store_internal.h"

typedef struct FileSystem
{
	unsigned magic;
	const char *name;
	bool refused; /* memory maps and locks cannot be relied on */
} FileSystem;

static const FileSystem file_systems[] = {
	{0x00006969, "NFS", true},	  {0xff534d42, "CIFS", true},	{0xfe534d42, "SMB", true},
	{0x0000517b, "SMB", true},	  {0x65735546, "FUSE", true},	{0x01021997, "9P", true},
	{0x00c36400, "Ceph", true},	  {0x5346414f, "AFS", true},	{0x0bd00bd0, "Lustre", true},
	{0x01021994, "tmpfs", false}, {0x858458f6, "ramfs", false}, {0x794c7630, "overlay", false},
};

bool
store_place_check(int dirfd, Error *err)
{
	struct statfs at;

	if (fstatfs(dirfd, &at) != 0)
		return error_errno(err, "could not determine the file system of the store");
	for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++)
	{
		const FileSystem *kind = &file_systems[i];

		if ((unsigned) at.f_type != kind->magic)
			continue;
		if (!kind->refused)
		{
			log_line(LOG_WARNING, "store is on %s and may not outlive this machine or container", kind->name);
			return true;
		}
		error_set(err, ERR_REFUSE, "the store cannot be on a file system of type %s", kind->name);
		return error_hint(err, "Memory maps and locks need a local file system, such as ext4 or XFS.");
	}
	return true;
}

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static Store *open_stores;

/* LMDB's file locks vanish when a second handle of the same process closes. */
bool
store_place_take(Store *store, Error *err)
{
	struct stat st;
	bool taken = false;

	if (fstat(store->dirfd, &st) != 0)
		return error_errno(err, "could not stat the store's directory");
	store->device = st.st_dev;
	store->inode = st.st_ino;
	pthread_mutex_lock(&open_lock);
	for (Store *other = open_stores; other != NULL; other = other->next_open)
		taken = taken || (other->device == store->device && other->inode == store->inode);
	if (!taken)
	{
		store->next_open = open_stores;
		open_stores = store;
	}
	pthread_mutex_unlock(&open_lock);
	return !taken || error_set(err, ERR_REFUSE, "the store is already open in this process");
}

void
store_place_release(Store *store)
{
	pthread_mutex_lock(&open_lock);
	for (Store **at = &open_stores; *at != NULL; at = &(*at)->next_open)
		if (*at == store)
		{
			*at = store->next_open;
			break;
		}
	pthread_mutex_unlock(&open_lock);
}
