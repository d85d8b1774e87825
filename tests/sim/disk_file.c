/*
 * disk_file.c -- see disk_private.h.
 */
#include "disk_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "report.h"

Machine machine;

/* ---- entries ---------------------------------------------------------------------------------- */

Entry *
entry_find(Entries *entries, const char *name)
{
	for (int i = 0; i < entries->n; i++)
		if (strcmp(entries->at[i].name, name) == 0)
			return &entries->at[i];
	return NULL;
}

void
entry_set(Entries *entries, const char *name, File *file)
{
	Entry *entry = entry_find(entries, name);

	if (entry != NULL && file != NULL)
		entry->file = file;
	else if (entry != NULL)
		*entry = entries->at[--entries->n];
	else if (file != NULL)
	{
		if (entries->n == entries->capacity)
		{
			entries->capacity = entries->capacity > 0 ? 2 * entries->capacity : 16;
			entries->at = xrealloc(entries->at, (size_t) entries->capacity * sizeof(Entry));
		}
		entry = &entries->at[entries->n++];
		snprintf(entry->name, sizeof(entry->name), "%s", name);
		entry->file = file;
	}
}

void
dir_change(Dir *dir, const char *name, File *file, bool more)
{
	Change *change;

	if (dir->nchanges == dir->capacity)
	{
		dir->capacity = dir->capacity > 0 ? 2 * dir->capacity : 16;
		dir->changes = xrealloc(dir->changes, (size_t) dir->capacity * sizeof(Change));
	}
	change = &dir->changes[dir->nchanges++];
	snprintf(change->name, sizeof(change->name), "%s", name);
	change->file = file;
	change->more = more;
	entry_set(&dir->live, name, file);
	machine.changes++;
}

/* The first n changes are on the machine. */
void
dir_settle(Dir *dir, int n)
{
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		entry_set(&dir->durable, dir->changes[i].name, dir->changes[i].file);
	memmove(dir->changes, dir->changes + n, (size_t) (dir->nchanges - n) * sizeof(Change));
	dir->nchanges -= n;
}

/* ---- contents --------------------------------------------------------------------------------- */

File *
file_make(void)
{
	File *file = xcalloc(1, sizeof(*file));

	file->inode = ++machine.inodes;
	machine.files = xrealloc(machine.files, (size_t) (machine.nfiles + 1) * sizeof(File *));
	machine.files[machine.nfiles++] = file;
	return file;
}

void
file_free(File *file)
{
	buffer_free(&file->live);
	buffer_free(&file->durable);
	free(file->sectors);
	free(file);
}

void
bytes_resize(Buffer *bytes, size_t len)
{
	if (len > bytes->len)
	{
		buffer_reserve(bytes, len - bytes->len);
		memset(bytes->data + bytes->len, 0, len - bytes->len);
	}
	bytes->len = len;
}

static void
file_dirty(File *file, size_t from, size_t to)
{
	size_t last = to == 0 ? 0 : (to - 1) / machine.sector;

	if (from >= to)
		return;
	if (last >= file->nsectors)
	{
		file->sectors = xrealloc(file->sectors, last + 1);
		memset(file->sectors + file->nsectors, SECTOR_CLEAN, last + 1 - file->nsectors);
		file->nsectors = last + 1;
	}
	for (size_t i = from / machine.sector; i <= last; i++)
		file->sectors[i] = SECTOR_DIRTY;
}

void
file_write(File *file, size_t offset, const void *data, size_t len)
{
	if (len == 0)
		return;
	if (offset + len > file->live.len)
		bytes_resize(&file->live, offset + len);
	memcpy(file->live.data + offset, data, len);
	file_dirty(file, offset, offset + len);
	machine.changes++;
}

void
file_resize(File *file, size_t len)
{
	size_t old = file->live.len;

	bytes_resize(&file->live, len);
	/* what is cut off and written again later must not come back from before */
	file_dirty(file, len < old ? len : old, len < old ? old : len);
	machine.changes++;
}

/* One sector reaches the disk; the size does not, unless it has to hold it. */
void
sector_settle(File *file, size_t i)
{
	size_t from = i * machine.sector;
	size_t to = from + machine.sector < file->live.len ? from + machine.sector : file->live.len;

	if (from >= to)
		return;
	if (file->durable.len < to)
		bytes_resize(&file->durable, to);
	memcpy(file->durable.data + from, file->live.data + from, to - from);
}

size_t
file_begin_sync(File *file)
{
	for (size_t i = 0; i < file->nsectors; i++)
		if (file->sectors[i] == SECTOR_DIRTY)
			file->sectors[i] = SECTOR_WRITING;
	return file->live.len;
}

void
file_end_sync(File *file, size_t len)
{
	size_t durable = len < file->live.len ? len : file->live.len;

	for (size_t i = 0; i < file->nsectors; i++)
	{
		/* what was there when the sync began, even if written again since */
		if (file->sectors[i] == SECTOR_WRITING ||
			(file->sectors[i] == SECTOR_DIRTY && i * machine.sector < len))
			sector_settle(file, i);
		if (file->sectors[i] == SECTOR_WRITING)
			file->sectors[i] = SECTOR_CLEAN;
	}
	bytes_resize(&file->durable, durable);
}

/* Some get through; all count as clean from now on. */
void
file_fail_sync(File *file)
{
	for (size_t i = 0; i < file->nsectors; i++)
	{
		if (file->sectors[i] != SECTOR_CLEAN && random_chance(&machine.random, 1, 3))
			sector_settle(file, i);
		file->sectors[i] = SECTOR_CLEAN;
	}
}
