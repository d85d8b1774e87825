/*
 * disk_private.h -- files, directories and faults of the model disk, for its own files.
 *
 *	disk_file.c	 contents and entries: what the kernel shows, what is durable
 *	disk.c		 the table of file operations, and calls that fail
 *	disk_cut.c	 power cuts, and looking at it from outside
 */
#ifndef WALRANK_SIM_DISK_PRIVATE_H
#define WALRANK_SIM_DISK_PRIVATE_H

#include "disk.h"

#define FD_FIRST 1000000 /* far above any real one */
#define FD_DIRS 2000000
#define NAME_BYTES 64

typedef enum
{
	SECTOR_CLEAN,
	SECTOR_DIRTY,
	SECTOR_WRITING, /* taken by the sync that runs */
} SectorState;

typedef struct File
{
	uint64_t inode;
	Buffer live;
	Buffer durable;
	uint8_t *sectors; /* SectorState of each */
	size_t nsectors;
	bool locked;
	int lock_fd;
} File;

typedef struct Entry
{
	char name[NAME_BYTES];
	File *file;
} Entry;

typedef struct Entries
{
	Entry *at;
	int n;
	int capacity;
} Entries;

/* A change of a directory that is not durable yet: `name` is now `file`, or nothing. */
typedef struct Change
{
	char name[NAME_BYTES];
	File *file;
	bool more; /* the next one is part of the same step: a rename */
} Change;

typedef struct Dir
{
	Entries live;
	Entries durable;
	Change *changes;
	int nchanges;
	int capacity;
} Dir;

struct DiskImage
{
	struct
	{
		char name[NAME_BYTES];
		DiskDir dir;
		Buffer bytes;
	} * files;
	int n;
};

typedef struct Machine
{
	Random random;
	size_t sector;
	Dir dirs[DIR_COUNT];
	File **files;
	int nfiles;
	File **open; /* by descriptor */
	int nopen;
	void (*during)(void *context);
	void *context;
	bool syncing;
	int die_at;
	DiskDeath die_how;
	DiskDeath dead;
	int eio_at;
	uint64_t space;
	uint64_t changes;
	uint64_t inodes;
	bool whole;
	int lost;
	bool ignore_dirs;
	bool ignore_files;
} Machine;

extern Machine machine;

extern Entry *entry_find(Entries *entries, const char *name);
extern void entry_set(Entries *entries, const char *name, File *file);
extern void dir_change(Dir *dir, const char *name, File *file, bool more);
extern void dir_settle(Dir *dir, int n);
extern File *file_make(void);
extern void file_free(File *file);
extern void bytes_resize(Buffer *bytes, size_t len);
extern void file_write(File *file, size_t offset, const void *data, size_t len);
extern void file_resize(File *file, size_t len);
extern void sector_settle(File *file, size_t i);
extern size_t file_begin_sync(File *file);
extern void file_end_sync(File *file, size_t len);
extern void file_fail_sync(File *file);

#endif /* WALRANK_SIM_DISK_PRIVATE_H */
