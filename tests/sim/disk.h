/*
 * disk.h -- a machine's disk under the table of file operations: what is not synced can be lost.
 *
 * Each file has two contents: what the kernel shows, and what a power cut leaves.  Between the two stand
 * dirty sectors, which get through singly and in any order; a file's size and its directory entry are separate
 * matters again.  Entries of a directory get through in the order in which they were made, as journaling
 * file systems do it.  A failed sync marks its sectors clean: a later one says ok, and the data is gone.
 */
#ifndef WALRANK_SIM_DISK_H
#define WALRANK_SIM_DISK_H

#include "base/buffer.h"
#include "random.h"

typedef enum
{
	DISK_LIVES,
	DISK_KILL, /* the process dies, the kernel goes on */
	DISK_POWER,
} DiskDeath;

/* Directories of the machine: descriptors that are always open. */
typedef enum
{
	DIR_STATE,
	DIR_JOURNAL,
	DIR_STORE,
	DIR_FEED,
	DIR_COUNT
} DiskDir;

extern void disk_create(uint64_t seed); /* and puts itself under fs */
extern void disk_destroy(void);
extern int disk_dirfd(DiskDir dir);
/* Called inside an fsync, when others may run. NULL: nobody. */
extern void disk_during_sync(void (*during)(void *context), void *context);

/* ---- faults ----------------------------------------------------------------------------------- */

/* At the n-th call from now that changes something the process dies; every later call fails. */
extern void disk_die_at(int calls, DiskDeath how);
extern DiskDeath disk_dead(void);
/* The n-th write or sync from now fails once. 0: none. */
extern void disk_eio_at(int calls);
/* The next write is all or nothing, and neither short nor refused. */
extern void disk_whole_write(void);
extern void disk_space(uint64_t free_bytes); /* from now on; UINT64_MAX: enough */
/* Break a rule on purpose: syncs of directories, or of files, do nothing. */
extern void disk_ignore_syncs(bool directories, bool files);

/* The process is gone: its descriptors are closed, what was written stays. */
extern void disk_kill(void);
/* Also the kernel: only what is durable is left, and of the rest what chance decides. */
extern void disk_power_cut(void);
/* The kernel writes some of what is dirty. */
extern void disk_writeback(void);

/* ---- looking and meddling from outside -------------------------------------------------------- */

extern uint64_t disk_inode(DiskDir dir, const char *name); /* 0: no such file */
extern uint64_t disk_changes(void);						   /* counts what changed a content or an entry */
extern int disk_lost(void); /* syncs that failed: what they were to write may be gone */
extern bool disk_flip(DiskDir dir, const char *suffix); /* one bit of one file; false: there is none */
extern void disk_remove(DiskDir dir, const char *name);

/* All directories as the kernel shows them; putting back is durable. */
typedef struct DiskImage DiskImage;
extern DiskImage *disk_save(void);
extern void disk_restore(const DiskImage *image);
extern void disk_image_free(DiskImage *image);

#endif /* WALRANK_SIM_DISK_H */
