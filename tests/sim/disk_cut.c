/*
 * disk_cut.c -- what a power cut leaves; looking at the disk from outside.
 */
#include <stdio.h>
#include <stdlib.h>

#include "disk_private.h"
#include "report.h"

/* What chance leaves of one file. */
static void
file_cut(File *file)
{
	uint64_t mode = random_below(&machine.random, 4); /* nothing, all, a beginning, anything */
	uint64_t until = random_below(&machine.random, file->nsectors + 1);
	size_t len = file->live.len;

	for (size_t i = 0; i < file->nsectors; i++)
	{
		if (file->sectors[i] == SECTOR_CLEAN)
			continue;
		if (mode == 1 || (mode == 2 && i < until) || (mode == 3 && random_chance(&machine.random, 1, 2)))
			sector_settle(file, i);
		else
			tally(SECTORS_LOST);
	}
	/* the size is a matter of its own, but a truncated file does not grow again without data */
	if (len < file->durable.len ? mode == 1 || random_chance(&machine.random, 1, 2)
								: mode != 0 && random_chance(&machine.random, 1, 2))
		bytes_resize(&file->durable, len);
	buffer_reset(&file->live);
	buffer_append(&file->live, file->durable.data, file->durable.len);
	if (file->nsectors > 0)
		memset(file->sectors, SECTOR_CLEAN, file->nsectors);
}

static void
dir_cut(Dir *dir)
{
	int n = (int) random_below(&machine.random, (uint64_t) dir->nchanges + 1);

	if (random_chance(&machine.random, 1, 3))
		n = 0;
	while (n > 0 && dir->changes[n - 1].more)
		n--;
	tallies[TALLY_NAMES_LOST] += (uint64_t) (dir->nchanges - n);
	dir_settle(dir, n);
	dir->nchanges = 0;
	dir->live.n = 0;
	for (int i = 0; i < dir->durable.n; i++)
		entry_set(&dir->live, dir->durable.at[i].name, dir->durable.at[i].file);
}

static bool
referenced(const File *file)
{
	for (int d = 0; d < DIR_COUNT; d++)
		for (int i = 0; i < machine.dirs[d].live.n; i++)
			if (machine.dirs[d].live.at[i].file == file)
				return true;
	return false;
}

void
disk_power_cut(void)
{
	int kept = 0;

	disk_kill();
	for (int d = 0; d < DIR_COUNT; d++)
		dir_cut(&machine.dirs[d]);
	for (int i = 0; i < machine.nfiles; i++)
		if (referenced(machine.files[i]))
		{
			file_cut(machine.files[i]);
			machine.files[kept++] = machine.files[i];
		}
		else
			file_free(machine.files[i]);
	machine.nfiles = kept;
	machine.changes++;
}

void
disk_writeback(void)
{
	File *file;

	if (machine.nfiles == 0)
		return;
	file = machine.files[random_below(&machine.random, (uint64_t) machine.nfiles)];
	for (size_t i = 0; i < file->nsectors; i++)
		if (file->sectors[i] == SECTOR_DIRTY && random_chance(&machine.random, 1, 2))
		{
			/* the sector stays marked: nobody was told */
			sector_settle(file, i);
			tally(WRITEBACK);
		}
	if (random_chance(&machine.random, 1, 4))
	{
		Dir *dir = &machine.dirs[random_below(&machine.random, DIR_COUNT)];

		if (dir->nchanges > 0 && !dir->changes[0].more)
			dir_settle(dir, 1);
	}
}

/* ---- from outside ----------------------------------------------------------------------------- */

uint64_t
disk_inode(DiskDir dir, const char *name)
{
	Entry *entry = entry_find(&machine.dirs[dir].live, name);

	return entry != NULL ? entry->file->inode : 0;
}

uint64_t
disk_changes(void)
{
	return machine.changes;
}

int
disk_lost(void)
{
	return machine.lost;
}

bool
disk_flip(DiskDir dir, const char *suffix)
{
	Entries *entries = &machine.dirs[dir].live;
	int start;

	if (entries->n == 0)
		return false;
	start = (int) random_below(&machine.random, (uint64_t) entries->n);
	for (int i = 0; i < entries->n; i++)
	{
		Entry *entry = &entries->at[(start + i) % entries->n];
		size_t len = strlen(entry->name);
		size_t at;

		if (len < strlen(suffix) || strcmp(entry->name + len - strlen(suffix), suffix) != 0 ||
			entry->file->live.len == 0)
			continue;
		at = random_below(&machine.random, entry->file->live.len);
		entry->file->live.data[at] ^= (uint8_t) (1 << random_below(&machine.random, 8));
		bytes_resize(&entry->file->durable, entry->file->live.len);
		entry->file->durable.data[at] = entry->file->live.data[at];
		trace("disk: a bit of \"%s\" flips at offset %zu of %zu", entry->name, at, entry->file->live.len);
		return true;
	}
	return false;
}

void
disk_remove(DiskDir dir, const char *name)
{
	if (entry_find(&machine.dirs[dir].live, name) != NULL)
		dir_change(&machine.dirs[dir], name, NULL, false);
}

DiskImage *
disk_save(void)
{
	DiskImage *image = xcalloc(1, sizeof(*image));

	for (int d = 0; d < DIR_COUNT; d++)
		for (int i = 0; i < machine.dirs[d].live.n; i++)
		{
			const Entry *entry = &machine.dirs[d].live.at[i];

			image->files = xrealloc(image->files, (size_t) (image->n + 1) * sizeof(image->files[0]));
			memcpy(image->files[image->n].name, entry->name, NAME_BYTES);
			image->files[image->n].dir = (DiskDir) d;
			image->files[image->n].bytes = (Buffer){0};
			buffer_append_slice(&image->files[image->n++].bytes, buffer_slice(&entry->file->live));
		}
	return image;
}

void
disk_restore(const DiskImage *image)
{
	for (int d = 0; d < DIR_COUNT; d++)
	{
		for (int i = machine.dirs[d].live.n - 1; i >= 0; i--)
		{
			Entry entry = machine.dirs[d].live.at[i];

			dir_change(&machine.dirs[d], entry.name, NULL, false);
		}
		dir_settle(&machine.dirs[d], machine.dirs[d].nchanges);
	}
	for (int i = 0; i < image->n; i++)
	{
		Dir *dir = &machine.dirs[image->files[i].dir];
		File *file = file_make();

		file_write(file, 0, image->files[i].bytes.data, image->files[i].bytes.len);
		file_end_sync(file, file_begin_sync(file));
		dir_change(dir, image->files[i].name, file, false);
		dir_settle(dir, dir->nchanges);
	}
}

void
disk_image_free(DiskImage *image)
{
	if (image == NULL)
		return;
	for (int i = 0; i < image->n; i++)
		buffer_free(&image->files[i].bytes);
	free(image->files);
	free(image);
}
