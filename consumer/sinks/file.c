/*
 * file.c -- sink "file": the feed's output records as lines of JSON in growing files.
 *
 * The checkpoint beside them (NAME.ckpt) says which files there are and up to which byte the last one is
 * final; readers stop there.  A batch is appended, synced, and only then does the checkpoint move, by a
 * rename: what a crash left behind the offset is cut at the next open and written again, the same bytes.
 * The hash of the last 4 KiB tells a file that was replaced or edited from one that was merely extended.
 *
 * Every step is that one rename: a rotation names the next file before it is created, a target begun
 * beside the old one is named without being shown, and showing it is one more.  The files it replaces are
 * removed after that, and again at the next open if that was cut short.
 */
#include "sinks/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"

/* A batch larger than this goes to the file before its end; the offset says it is not final yet. */
#define SPILL_BYTES (1 << 20)
#define REJECTED_BYTES_MAX 32768 /* of a record in the quarantine */

static const OptionDef file_options[] = {
	{"path", OPT_STRING, offsetof(FileOptions, path), NULL, 0, 0, NULL, false,
	 "file that receives one JSON object per line; its directory must exist"},
	{"rotate_bytes", OPT_BYTES, offsetof(FileOptions, rotate_bytes), "0", 0, INT64_MAX, NULL, false,
	 "a file that has grown so large is followed by PATH.2, PATH.3, ..; 0 = never"},
	{NULL, OPT_STRING, 0, NULL, 0, 0, NULL, false, NULL},
};

/* ---- life -------------------------------------------------------------------------------------- */

static bool
set_path(Sink *sink, const char *path, Error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;

	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
	{
		error_set(err, ERR_CONFIG, "path \"%s\" does not name a file", path);
		return error_hint(err, "Write the whole name, such as /var/lib/walrank/out.ndjson.");
	}
	/* room for the longest of .quarantine and .18446744073709551615 */
	if (strlen(name) + 22 > NAME_MAX || strpbrk(name, "\n") != NULL)
		return error_set(err, ERR_CONFIG, "path \"%s\" has a file name that is too long or not on one line",
						 path);
	free(sink->path);
	free(sink->name);
	free(sink->directory);
	sink->path = xstrdup(path);
	sink->name = xstrdup(name);
	if (slash == NULL)
		sink->directory = xstrdup(".");
	else if (slash == path)
		sink->directory = xstrdup("/");
	else
	{
		sink->directory = xstrdup(path);
		sink->directory[slash - path] = '\0';
	}
	return true;
}

static void
file_destroy(Sink *sink)
{
	ndjson_destroy(sink->writer);
	buffer_free(&sink->gathered);
	buffer_free(&sink->rejected);
	free(sink->sink_name);
	free(sink->path);
	free(sink->directory);
	free(sink->name);
	free(sink);
}

static bool
file_create(const char *sink_name, const void *options, const SinkHistory *history, const char *state_dir,
			Sink **created, Error *err)
{
	const FileOptions *given = options;
	Sink *sink = xcalloc(1, sizeof(*sink));

	sink->sink_name = xstrdup(sink_name);
	sink->history = history;
	sink->rotate_bytes = (uint64_t) given->rotate_bytes;
	sink->dirfd = sink->lockfd = sink->fd = -1;
	sink->writer = ndjson_create();
	if (!set_path(sink, given->path, err))
	{
		file_destroy(sink);
		return false;
	}
	*created = sink;
	return true;
}

static void
shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
file_close(Sink *sink)
{
	shut(&sink->fd);
	shut(&sink->lockfd); /* the lock goes last but the directory */
	shut(&sink->dirfd);
	buffer_reset(&sink->gathered);
	buffer_reset(&sink->rejected);
}

/* ---- open ---------------------------------------------------------------------------------------- */

static bool
open_directory(Sink *sink, int *dirfd, Error *err)
{
	*dirfd = open(sink->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*dirfd >= 0)
		return true;
	error_errno(err, "could not open directory \"%s\"", sink->directory);
	err->class = ERR_CONFIG;
	return error_hint(err, "Create the directory and let the daemon's user write there.");
}

/* *size 0 and *there false when there is no such file. */
static bool
look_at(Sink *sink, const char *name, uint64_t *size, bool *there, Error *err)
{
	struct stat st;

	*size = 0;
	*there = fstatat(sink->dirfd, name, &st, 0) == 0;
	if (!*there)
		return errno == ENOENT || error_errno(err, "could not stat \"%s/%s\"", sink->directory, name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERR_CONFIG, "\"%s/%s\" is not a regular file", sink->directory, name);
	*size = (uint64_t) st.st_size;
	return true;
}

static bool
open_number(Sink *sink, uint64_t number, int flags, Error *err)
{
	char name[NAME_MAX + 1];

	shut(&sink->fd);
	file_number_name(sink, number, name);
	return fs_open(sink->dirfd, name, O_RDWR | flags, &sink->fd, err) ||
		   error_wrap(err, "\"%s/%s\"", sink->directory, name);
}

/* The file that the checkpoint names and that nothing is final in: made, or emptied of what a crash left. Its name is
 * durable before anything relies on it. */
static bool
open_fresh(Sink *sink, Error *err)
{
	sink->end = 0;
	return open_number(sink, file_active(&sink->last)->file, O_CREAT, err) && fs_truncate(sink->fd, 0, err) &&
		   fs_sync_dir(sink->dirfd, err);
}

/* Files that a target shown since has replaced. */
static bool
remove_old(Sink *sink, Error *err)
{
	for (uint64_t n = sink->last.old; n != 0 && n < sink->last.shown.first; n++)
	{
		char name[NAME_MAX + 1];

		file_number_name(sink, n, name);
		if (fs->unlinkat(sink->dirfd, name) != 0 && errno != ENOENT)
			return error_errno(err, "could not remove \"%s/%s\"", sink->directory, name);
	}
	sink->last.old = 0; /* on disk with the next checkpoint */
	return true;
}

/* The highest number of a file that holds anything, 0 = none: after a fill or a rotation it is not NAME itself. */
static bool
last_with_content(Sink *sink, uint64_t *last, Error *err)
{
	int fd = openat(sink->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	uint64_t size;
	bool there;
	bool ok = true;

	*last = 0;
	if (directory == NULL)
	{
		error_errno(err, "could not list \"%s\"", sink->directory);
		shut(&fd);
		return false;
	}
	while (ok && (errno = 0, entry = readdir(directory)) != NULL)
	{
		const uint64_t number = file_name_number(sink, entry->d_name);

		if (number <= *last)
			continue;
		ok = look_at(sink, entry->d_name, &size, &there, err);
		if (ok && size > 0)
			*last = number;
	}
	if (ok && errno != 0)
		ok = error_errno(err, "could not list \"%s\"", sink->directory);
	closedir(directory);
	return ok;
}

/* No checkpoint: what is there is not ours, and stays. */
static bool
open_new(Sink *sink, SinkStand *stand, Error *err)
{
	uint64_t last;
	char name[NAME_MAX + 1];

	if (!last_with_content(sink, &last, err))
		return false;
	stand->position.owner_epoch = 1;
	stand->empty = last == 0;
	sink->free_number = last + 1;
	if (stand->empty)
		return true;
	file_number_name(sink, last, name);
	error_set(&stand->why, ERR_REFUSE, "file \"%s/%s\" is not empty, but has no checkpoint (rule K1)",
			  sink->directory, name);
	error_hint(
		&stand->why,
		"Put the checkpoint back, or move the file away, or leave it there and let \"walrank sink fill "
		"%s\" write to another one beside it.",
		sink->sink_name);
	return true;
}

/* The files must be what the checkpoint says, or that and more: the rest was never final. */
static bool
check_files(Sink *sink, SinkStand *stand, bool *cut, Error *err)
{
	const FileRun *run = file_active(&sink->last);
	char name[NAME_MAX + 1];
	uint64_t size;
	uint64_t quarantined;
	uint64_t hash;
	bool there;

	file_sibling(sink, ".quarantine", name);
	if (!look_at(sink, name, &quarantined, &there, err))
		return false;
	file_number_name(sink, run->file, name);
	if (!look_at(sink, name, &size, &there, err) ||
		(there && size >= run->offset && !open_number(sink, run->file, 0, err)))
		return false;
	*cut = size > run->offset;
	stand->damaged = true;
	if (size < run->offset)
		error_set(&stand->why, ERR_REFUSE,
				  "file \"%s/%s\" has %" PRIu64 " bytes, but its checkpoint says %" PRIu64 " (rule K1)",
				  sink->directory, name, size, run->offset);
	else if (quarantined < sink->last.quarantine_offset)
		error_set(&stand->why, ERR_REFUSE,
				  "file \"%s.quarantine\" has %" PRIu64 " bytes, but its checkpoint says %" PRIu64,
				  sink->path, quarantined, sink->last.quarantine_offset);
	else if (!file_tail_hash(sink, sink->fd, run->offset, &hash, err))
		return false;
	else if (hash != run->tail_hash)
		error_set(&stand->why, ERR_REFUSE,
				  "file \"%s/%s\" was changed before byte %" PRIu64 ", where its checkpoint is (rule K1)",
				  sink->directory, name, run->offset);
	else
		stand->damaged = false;
	if (stand->damaged)
		file_damaged(sink, &stand->why);
	return true;
}

/* What was gathered for the quarantine goes in front of the data's checkpoint. */
static bool
write_quarantine(Sink *sink, uint64_t offset, Slice lines, Error *err)
{
	char name[NAME_MAX + 1];
	int fd;
	bool ok;

	file_sibling(sink, ".quarantine", name);
	if (!fs_open(sink->dirfd, name, O_RDWR | O_CREAT, &fd, err))
		return error_wrap(err, "\"%s.quarantine\"", sink->path);
	ok = fs_truncate(fd, offset, err) && fs_pwrite(fd, lines.data, lines.len, offset, err) &&
		 fs_datasync(fd, err) && fs_sync_dir(sink->dirfd, err);
	close(fd);
	return ok || error_wrap(err, "\"%s.quarantine\"", sink->path);
}

static bool
open_ours(Sink *sink, SinkStand *stand, Error *err)
{
	FileCheckpoint next;
	bool cut = false;

	stand->position.owner_epoch++;
	if (!check_files(sink, stand, &cut, err))
		return false;
	if (stand->damaged)
		return true;
	if (file_active(&sink->last)->offset == 0)
	{
		if (!open_fresh(sink, err))
			return false;
	}
	else if (cut &&
			 (!fs_truncate(sink->fd, file_active(&sink->last)->offset, err) || !fs_sync(sink->fd, err)))
		return false;
	if (!remove_old(sink, err))
		return false;
	sink->end = file_active(&sink->last)->offset;
	next = sink->last;
	next.position = stand->position;
	return file_checkpoint_write(sink, &next, err);
}

static bool
file_open(Sink *sink, SinkStand *stand, Error *err)
{
	char name[NAME_MAX + 1];
	bool ok = false;

	if (!open_directory(sink, &sink->dirfd, err))
		return false;
	file_sibling(sink, ".lock", name);
	if (!fs_lock(sink->dirfd, name, &sink->lockfd, err))
	{
		sink->lockfd = -1;
		error_wrap(err, "\"%s\"", sink->path);
	}
	else if (file_checkpoint_read(sink, sink->dirfd, &sink->last, &sink->found, err))
	{
		stand->found = sink->found;
		stand->position = sink->last.position;
		if (!sink->found)
			ok = open_new(sink, stand, err);
		else if (position_stream(sink->history, &stand->position.stream_id) != STREAM_OURS)
			ok = true; /* only told */
		else
			ok = open_ours(sink, stand, err);
	}
	if (!ok)
		file_close(sink);
	return ok;
}

static bool
file_peek(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	FileCheckpoint checkpoint;
	int dirfd;
	bool ok;

	if (!open_directory(sink, &dirfd, err))
		return false;
	ok = file_checkpoint_read(sink, dirfd, &checkpoint, found, err);
	if (ok && *found)
		*position = checkpoint.position;
	close(dirfd);
	return ok;
}

/* ---- a target that holds nothing --------------------------------------------------------------- */

static bool
file_begin(Sink *sink, SinkPosition *position, Error *err)
{
	FileCheckpoint next = sink->last;
	const uint64_t number = (next.fill.file != 0 ? next.fill.file : next.shown.file) +
							1; /* what a fill given up left goes with the rest */
	char name[NAME_MAX + 1];
	uint64_t quarantined;
	bool there;

	/* what may stand there is of another time, and what is missing does not come back */
	file_sibling(sink, ".quarantine", name);
	if (!look_at(sink, name, &quarantined, &there, err))
		return false;
	next.position = *position;
	if (!sink->found || quarantined < next.quarantine_offset)
		next.quarantine_offset = quarantined;
	if (sink->found)
		next.fill = (FileRun){.first = number, .file = number};
	else
		next.shown = (FileRun){.first = sink->free_number, .file = sink->free_number};
	if (!file_checkpoint_write(sink, &next, err))
		return error_wrap(err, "checkpoint of \"%s\"", sink->path);
	sink->found = true;
	return open_fresh(sink, err);
}

/* ---- batches ----------------------------------------------------------------------------------- */

static bool
spill(Sink *sink, Error *err)
{
	if (sink->gathered.len == 0)
		return true;
	if (!fs_pwrite(sink->fd, sink->gathered.data, sink->gathered.len, sink->end, err))
		return error_wrap(err, "\"%s\"", sink->path);
	sink->end += sink->gathered.len;
	buffer_reset(&sink->gathered);
	return true;
}

/* {"pos":"7.1.2","kind":4,"reason":"..","record":"hex of the entry"} */
static void
reject(Sink *sink, const RecordHeader *header, const RecordEntry *entry, const Error *why)
{
	Buffer *out = &sink->rejected;
	Buffer bytes = {0};

	record_entry(&bytes, entry);
	buffer_printf(out, "{\"pos\":\"%" PRIu64 ".%u.%u\",\"kind\":%d,\"reason\":", header->seq, entry->change,
				  entry->out, (int) entry->kind);
	json_string(out, slice_string(why->message));
	buffer_printf(out, ",\"bytes\":%zu,\"record\":\"", bytes.len);
	for (size_t i = 0; i < bytes.len && i < REJECTED_BYTES_MAX; i++)
		buffer_printf(out, "%02x", bytes.data[i]);
	buffer_printf(out, "\"}\n");
	buffer_free(&bytes);
}

bool
file_line(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
		  const RecordEntry *entry, Error *why)
{
	return ndjson_write(writer, out, reader, header, entry, why);
}

static bool
file_apply(Sink *sink, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
		   SinkFate *fate, Error *err)
{
	Error why = {0};

	*fate = SINK_APPLIED;
	if (!file_line(sink->writer, &sink->gathered, reader, header, entry, &why))
	{
		*fate = SINK_QUARANTINED;
		reject(sink, header, entry, &why);
	}
	return sink->gathered.len < SPILL_BYTES || spill(sink, err);
}

/* The checkpoint after this batch: where it ends, in which file the next one goes, and which target is shown. */
static FileCheckpoint
next_checkpoint(const Sink *sink, const SinkPosition *position)
{
	FileCheckpoint next = sink->last;
	FileRun *run = file_active(&next);

	next.position = *position;
	next.quarantine_offset += sink->rejected.len;
	run->offset = sink->end;
	if (sink->rotate_bytes > 0 && run->offset >= sink->rotate_bytes)
	{
		run->file++;
		run->offset = 0;
	}
	if (position->phase == SINK_WHOLE && next.fill.file != 0)
	{
		next.old = next.old != 0 ? next.old : next.shown.first;
		next.shown = next.fill;
		next.fill = (FileRun){0};
	}
	return next;
}

static bool
file_commit(Sink *sink, SinkPosition *position, Error *err)
{
	const uint64_t before = file_active(&sink->last)->file;
	FileCheckpoint next;

	if (!spill(sink, err))
		return false;
	/* the lines are safe before the checkpoint says so */
	if (sink->end > file_active(&sink->last)->offset && !fs_datasync(sink->fd, err))
		return error_wrap(err, "\"%s\"", sink->path);
	if (sink->rejected.len > 0 &&
		!write_quarantine(sink, sink->last.quarantine_offset, buffer_slice(&sink->rejected), err))
		return false;
	next = next_checkpoint(sink, position);
	if (!file_checkpoint_write(sink, &next, err))
		return error_wrap(err, "checkpoint of \"%s\"", sink->path);
	buffer_reset(&sink->rejected);
	return (file_active(&sink->last)->file == before || open_fresh(sink, err)) && remove_old(sink, err);
}

/* ---- replay ------------------------------------------------------------------------------------ */

static bool
file_retarget(Sink *sink, const char *target, Error *err)
{
	return set_path(sink, target, err);
}

/* The checkpoint goes first: a file that is longer is cut at the next open, a shorter one is refused. */
static bool
file_rewind(Sink *sink, const SinkPosition *position, Error *err)
{
	FileCheckpoint next = sink->last;
	FileRun *run = file_active(&next);
	const uint64_t last = run->file;

	if (!file_locate(sink, sink->dirfd, run, position->seq + 1, &run->file, &run->offset, err) ||
		!open_number(sink, run->file, 0, err))
		return false;
	next.position = *position;
	if (!file_checkpoint_write(sink, &next, err))
		return false;
	for (uint64_t n = run->file + 1; n <= last; n++)
	{
		char name[NAME_MAX + 1];

		file_number_name(sink, n, name);
		if (fs->unlinkat(sink->dirfd, name) != 0 && errno != ENOENT)
			return error_errno(err, "could not remove \"%s/%s\"", sink->directory, name);
	}
	sink->end = run->offset;
	return fs_truncate(sink->fd, run->offset, err) && fs_sync(sink->fd, err);
}

const SinkType sink_file = {
	.name = "file",
	.options = file_options,
	.options_bytes = sizeof(FileOptions),
	.create = file_create,
	.retarget = file_retarget,
	.open = file_open,
	.begin = file_begin,
	.apply = file_apply,
	.commit = file_commit,
	.rewind = file_rewind,
	.peek = file_peek,
	.verify = file_verify,
	.places = file_places,
	.interrupt = NULL,
	.close = file_close,
	.destroy = file_destroy,
};
