/*
 * file.c -- sink "file": the feed's output records as lines of JSON in one growing file.
 *
 * The checkpoint beside it (NAME.ckpt) says up to which byte the file is final; readers stop there.
 * A batch is appended, synced, and only then does the checkpoint move, by a rename: what a crash
 * left behind the offset is cut at the next open and written again, the same bytes.  The hash of
 * the last 4 KiB tells a file that was replaced or edited from one that was merely extended.
 *
 * There is no rotation: move nothing away while the daemon runs.
 */
#include "sinks/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/fs.h"
#include "feed/ndjson.h"

#define TAIL_BYTES 4096
#define CHECKPOINT_BYTES_MAX 8192
/* A batch larger than this goes to the file before its end; the offset says it is not final yet. */
#define SPILL_BYTES (1 << 20)
#define SCAN_BYTES (1 << 20)

typedef struct FileOptions
{
	char *path;
} FileOptions;

static const OptionDef file_options[] = {
	{"path", OPT_STRING, offsetof(FileOptions, path), NULL, 0, 0, NULL, false,
	 "file that receives one JSON object per line; its directory must exist"},
	{NULL, OPT_STRING, 0, NULL, 0, 0, NULL, false, NULL},
};

struct Sink
{
	char *sink_name;
	char *path;
	char *directory;
	char *name; /* in the directory */
	StreamId stream_id;
	int dirfd;
	int lockfd;
	int fd;
	uint64_t offset; /* final: below it, checkpoint and file agree */
	uint64_t end;	 /* written, maybe not final */
	uint64_t owner_epoch;
	Buffer gathered;
	NdjsonWriter *writer;
};

/* What NAME.ckpt holds. */
typedef struct Checkpoint
{
	SinkPosition position;
	uint64_t offset;
	uint64_t tail_hash;
} Checkpoint;

/* ---- the checkpoint's text: one key=value a line ---------------------------------------------- */

static void
checkpoint_print(const Sink *sink, const Checkpoint *checkpoint, Buffer *out)
{
	const SinkPosition *p = &checkpoint->position;
	char stream[STREAM_ID_TEXT_BYTES];

	stream_id_text(&p->stream_id, stream);
	buffer_printf(out, "format=1\nsink=%s\nstream_id=%s\nowner_epoch=%" PRIu64 "\n", sink->sink_name, stream,
				  p->owner_epoch);
	buffer_printf(out, "seq=%" PRIu64 "\npart=%" PRIu32 "\nend_lsn=" LSN_FORMAT "\n", p->seq, p->part,
				  LSN_ARGS(p->end_lsn));
	buffer_printf(out,
				  "applied=%" PRIu64 "\nfiltered=%" PRIu64 "\nparked=%" PRIu64 "\nquarantined=%" PRIu64
				  "\ntotal_start=%" PRIu64 "\n",
				  p->applied, p->filtered, p->parked, p->quarantined, p->total_start);
	buffer_printf(out, "commit_time_us=%" PRId64 "\nfile=%s\noffset=%" PRIu64 "\ntail_xxh3=%016" PRIx64 "\n",
				  p->commit_time_us, sink->name, checkpoint->offset, checkpoint->tail_hash);
}

/* The text after "key=" on a line of its own. */
static bool
find(const char *text, const char *key, char *value, size_t value_bytes)
{
	const size_t key_len = strlen(key);

	for (const char *line = text; *line != '\0';)
	{
		const char *end = strchrnul(line, '\n');

		if (strncmp(line, key, key_len) == 0 && line[key_len] == '=')
		{
			const size_t len = (size_t) (end - line) - key_len - 1;

			if (len >= value_bytes)
				return false;
			memcpy(value, line + key_len + 1, len);
			value[len] = '\0';
			return true;
		}
		line = *end == '\0' ? end : end + 1;
	}
	return false;
}

static bool
find_number(const char *text, const char *key, int base, uint64_t *number)
{
	char value[32];
	char *end;

	if (!find(text, key, value, sizeof(value)) || value[0] == '\0')
		return false;
	errno = 0;
	*number = strtoull(value, &end, base);
	return errno == 0 && *end == '\0';
}

static bool
checkpoint_parse(const char *text, Checkpoint *checkpoint)
{
	SinkPosition *p = &checkpoint->position;
	char value[64];
	uint64_t format;
	uint64_t part;
	uint64_t commit_time;
	bool ok = find_number(text, "format", 10, &format) && format == 1;

	memset(checkpoint, 0, sizeof(*checkpoint));
	ok = ok && find(text, "stream_id", value, sizeof(value)) && stream_id_parse(value, &p->stream_id);
	ok = ok && find(text, "end_lsn", value, sizeof(value)) && lsn_parse(value, &p->end_lsn);
	ok = ok && find_number(text, "owner_epoch", 10, &p->owner_epoch) && find_number(text, "seq", 10, &p->seq);
	ok = ok && find_number(text, "part", 10, &part) && part <= UINT32_MAX;
	ok = ok && find_number(text, "applied", 10, &p->applied) &&
		 find_number(text, "filtered", 10, &p->filtered);
	ok = ok && find_number(text, "parked", 10, &p->parked);
	ok = ok && find_number(text, "quarantined", 10, &p->quarantined);
	ok = ok && find_number(text, "total_start", 10, &p->total_start);
	ok = ok && find_number(text, "commit_time_us", 10, &commit_time);
	ok = ok && find_number(text, "offset", 10, &checkpoint->offset);
	ok = ok && find_number(text, "tail_xxh3", 16, &checkpoint->tail_hash);
	if (ok)
	{
		p->part = (uint32_t) part;
		p->commit_time_us = (int64_t) commit_time;
	}
	return ok;
}

static void
sibling(const Sink *sink, const char *suffix, char name[NAME_MAX + 1])
{
	snprintf(name, NAME_MAX + 1, "%s%s", sink->name, suffix);
}

static bool
damaged(Sink *sink, Error *err)
{
	return error_hint(
		err,
		"Put the file and its checkpoint back as they were.  Or, if the feed still begins at unit 1, "
		"move \"%s\" and \"%s.ckpt\" away: the sink then begins again.",
		sink->path, sink->path);
}

static bool
checkpoint_read(Sink *sink, int dirfd, Checkpoint *checkpoint, bool *found, Error *err)
{
	char name[NAME_MAX + 1];
	char text[CHECKPOINT_BYTES_MAX + 1];
	char value[256];
	size_t len = 0;

	sibling(sink, ".ckpt", name);
	if (!fs_read_file(dirfd, name, CHECKPOINT_BYTES_MAX, text, &len, found, err))
		return false;
	if (!*found)
		return true;
	text[len] = '\0';
	if (!checkpoint_parse(text, checkpoint))
	{
		error_set(err, ERR_REFUSE, "checkpoint \"%s.ckpt\" is not readable", sink->path);
		return damaged(sink, err);
	}
	if (!find(text, "sink", value, sizeof(value)) || strcmp(value, sink->sink_name) != 0 ||
		!find(text, "file", value, sizeof(value)) || strcmp(value, sink->name) != 0)
	{
		error_set(err, ERR_REFUSE, "checkpoint \"%s.ckpt\" belongs to another sink or file", sink->path);
		return error_hint(err, "Give this sink a path of its own, or its former name back.");
	}
	return sink_same_stream(&checkpoint->position.stream_id, &sink->stream_id, sink->path, err);
}

/* Of the bytes before an offset. */
static bool
tail_hash(Sink *sink, uint64_t offset, uint64_t *hash, Error *err)
{
	uint8_t tail[TAIL_BYTES];
	const size_t len = offset < TAIL_BYTES ? (size_t) offset : TAIL_BYTES;
	size_t got;

	if (!fs_pread(sink->fd, tail, len, offset - len, &got, err))
		return false;
	if (got != len)
		return error_set(err, ERR_REFUSE, "file \"%s\" is shorter than what was written to it", sink->path);
	*hash = XXH3_64bits(tail, len);
	return true;
}

static bool
checkpoint_write(Sink *sink, const SinkPosition *position, uint64_t offset, Error *err)
{
	Checkpoint checkpoint = {*position, offset, 0};
	char name[NAME_MAX + 1];
	Buffer text = {0};
	bool ok;

	if (!tail_hash(sink, offset, &checkpoint.tail_hash, err))
		return false;
	sibling(sink, ".ckpt", name);
	checkpoint_print(sink, &checkpoint, &text);
	ok = fs_replace(sink->dirfd, name, buffer_slice(&text), err);
	buffer_free(&text);
	return ok;
}

/* ---- life -------------------------------------------------------------------------------------- */

static bool
file_create(const char *sink_name, const void *options, const StreamId *stream_id, const char *state_dir,
			Sink **created, Error *err)
{
	const FileOptions *given = options;
	const char *slash = strrchr(given->path, '/');
	const char *name = slash != NULL ? slash + 1 : given->path;
	Sink *sink;

	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
	{
		error_set(err, ERR_CONFIG, "path \"%s\" does not name a file", given->path);
		return error_hint(err, "Write the whole name, such as /var/lib/walrank/out.ndjson.");
	}
	if (strlen(name) + strlen(".ckpt.tmp") > NAME_MAX || strpbrk(name, "\n") != NULL)
		return error_set(err, ERR_CONFIG, "path \"%s\" has a file name that is too long or not on one line",
						 given->path);
	sink = xcalloc(1, sizeof(*sink));
	sink->sink_name = xstrdup(sink_name);
	sink->path = xstrdup(given->path);
	sink->name = xstrdup(name);
	if (slash == NULL)
		sink->directory = xstrdup(".");
	else if (slash == given->path)
		sink->directory = xstrdup("/");
	else
	{
		sink->directory = xstrdup(given->path);
		sink->directory[slash - given->path] = '\0';
	}
	sink->stream_id = *stream_id;
	sink->dirfd = sink->lockfd = sink->fd = -1;
	sink->writer = ndjson_create();
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
}

static void
file_destroy(Sink *sink)
{
	ndjson_destroy(sink->writer);
	buffer_free(&sink->gathered);
	free(sink->sink_name);
	free(sink->path);
	free(sink->directory);
	free(sink->name);
	free(sink);
}

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

/* The file itself; a name made here is durable before anything relies on it. */
static bool
open_file(Sink *sink, uint64_t *size, Error *err)
{
	struct stat st;

	if (!fs_open(sink->dirfd, sink->name, O_RDWR | O_CREAT, &sink->fd, err))
		return error_wrap(err, "\"%s\"", sink->path);
	if (fstat(sink->fd, &st) != 0)
		return error_errno(err, "could not stat \"%s\"", sink->path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERR_CONFIG, "\"%s\" is not a regular file", sink->path);
	*size = (uint64_t) st.st_size;
	return fs_sync_dir(sink->dirfd, err);
}

/* The file must be what the checkpoint says, or that and more: the rest was never final. */
static bool
cut(Sink *sink, const Checkpoint *checkpoint, uint64_t size, Error *err)
{
	uint64_t hash;

	if (size < checkpoint->offset)
	{
		error_set(err, ERR_REFUSE, "file \"%s\" has %" PRIu64 " bytes, but its checkpoint says %" PRIu64,
				  sink->path, size, checkpoint->offset);
		return damaged(sink, err);
	}
	if (!tail_hash(sink, checkpoint->offset, &hash, err))
		return false;
	if (hash != checkpoint->tail_hash)
	{
		error_set(err, ERR_REFUSE, "file \"%s\" was changed before byte %" PRIu64 ", where its checkpoint is",
				  sink->path, checkpoint->offset);
		return damaged(sink, err);
	}
	return fs_truncate(sink->fd, checkpoint->offset, err) && fs_sync(sink->fd, err);
}

static bool
file_open_locked(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	Checkpoint checkpoint;
	uint64_t size = 0;

	if (!checkpoint_read(sink, sink->dirfd, &checkpoint, found, err) || !open_file(sink, &size, err))
		return false;
	if (!*found)
	{
		if (size > 0)
		{
			error_set(err, ERR_REFUSE, "file \"%s\" is not empty, but has no checkpoint", sink->path);
			return damaged(sink, err);
		}
		memset(position, 0, sizeof(*position));
		position->stream_id = sink->stream_id;
		position->owner_epoch = 1;
		sink->offset = sink->end = 0;
		sink->owner_epoch = position->owner_epoch;
		/* from now on bytes in the file are ours: those of a first batch cut short can be told from others */
		return checkpoint_write(sink, position, 0, err);
	}
	if (!cut(sink, &checkpoint, size, err))
		return false;
	*position = checkpoint.position;
	position->owner_epoch++;
	sink->offset = sink->end = checkpoint.offset;
	sink->owner_epoch = position->owner_epoch;
	return checkpoint_write(sink, position, sink->offset, err);
}

static bool
file_open(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	char name[NAME_MAX + 1];
	bool ok = false;

	if (!open_directory(sink, &sink->dirfd, err))
		return false;
	sibling(sink, ".lock", name);
	if (!fs_lock(sink->dirfd, name, &sink->lockfd, err))
	{
		sink->lockfd = -1;
		error_wrap(err, "\"%s\"", sink->path);
	}
	else
		ok = file_open_locked(sink, position, found, err);
	if (!ok)
		file_close(sink);
	return ok;
}

static bool
file_peek(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	Checkpoint checkpoint;
	int dirfd;
	bool ok;

	if (!open_directory(sink, &dirfd, err))
		return false;
	ok = checkpoint_read(sink, dirfd, &checkpoint, found, err);
	if (ok && *found)
		*position = checkpoint.position;
	close(dirfd);
	return ok;
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

static bool
file_apply(Sink *sink, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
		   SinkFate *fate, Error *err)
{
	*fate = SINK_APPLIED;
	if (!ndjson_write(sink->writer, &sink->gathered, reader, header, entry, err))
		return false;
	return sink->gathered.len < SPILL_BYTES || spill(sink, err);
}

static bool
file_commit(Sink *sink, SinkPosition *position, Error *err)
{
	if (!spill(sink, err))
		return false;
	/* the lines are safe before the checkpoint says so */
	if (sink->end > sink->offset && !fs_datasync(sink->fd, err))
		return error_wrap(err, "\"%s\"", sink->path);
	if (!checkpoint_write(sink, position, sink->end, err))
		return error_wrap(err, "checkpoint of \"%s\"", sink->path);
	sink->offset = sink->end;
	return true;
}

/* ---- replay ------------------------------------------------------------------------------------ */

/* SEQ of a line that begins with {"pos":"SEQ. */
static bool
line_seq(const char *line, size_t len, uint64_t *seq)
{
	static const char head[] = "{\"pos\":\"";
	size_t at = sizeof(head) - 1;

	if (len < sizeof(head) || memcmp(line, head, at) != 0)
		return false;
	*seq = 0;
	for (; at < len && line[at] >= '0' && line[at] <= '9'; at++)
		*seq = *seq * 10 + (uint64_t) (line[at] - '0');
	return at < len && line[at] == '.';
}

/* Enough of a line to hold its seq. */
#define LINE_HEAD_BYTES 40

/* The next line's start at or after `from`, which is a line's start or inside one; end when there is none. */
static bool
next_line(Sink *sink, uint64_t from, uint64_t end, uint8_t *chunk, uint64_t *start, Error *err)
{
	if (from == 0)
	{
		*start = 0;
		return true;
	}
	/* a line begins after the newline at from-1 or later */
	for (uint64_t at = from - 1; at < end;)
	{
		const size_t want = end - at < SCAN_BYTES ? (size_t) (end - at) : SCAN_BYTES;
		const uint8_t *newline;
		size_t got;

		if (!fs_pread(sink->fd, chunk, want, at, &got, err))
			return false;
		newline = memchr(chunk, '\n', got);
		if (newline != NULL)
		{
			*start = at + (uint64_t) (newline - chunk) + 1;
			return true;
		}
		if (got == 0)
			break;
		at += got;
	}
	*start = end;
	return true;
}

static bool
seq_at(Sink *sink, uint64_t start, uint64_t end, uint64_t *seq, Error *err)
{
	char head[LINE_HEAD_BYTES];
	size_t want = end - start < sizeof(head) ? (size_t) (end - start) : sizeof(head);
	size_t got;

	if (!fs_pread(sink->fd, head, want, start, &got, err))
		return false;
	if (line_seq(head, got, seq))
		return true;
	return error_set(err, ERR_REFUSE, "file \"%s\" has a line without a position at byte %" PRIu64,
					 sink->path, start);
}

/*
 * Where the first line of a unit >= seq begins.  Positions only rise in the file, so halving finds
 * it.  low is a line's start and all lines before it are below seq; high is one that is not below,
 * or the end; no line begins between edge and high.
 */
static bool
find_unit(Sink *sink, uint64_t seq, uint64_t *offset, Error *err)
{
	uint8_t *chunk = xmalloc(SCAN_BYTES);
	uint64_t low = 0;
	uint64_t high = sink->offset;
	uint64_t edge = high;
	bool ok = true;

	while (ok && low < high)
	{
		const uint64_t middle = low + (edge - low) / 2;
		uint64_t start = 0;
		uint64_t seen = 0;

		ok = next_line(sink, middle, high, chunk, &start, err);
		if (ok && start >= high)
		{
			edge = middle;
			continue;
		}
		ok = ok && seq_at(sink, start, high, &seen, err);
		if (ok && seen >= seq)
			high = edge = start;
		else
			ok = ok && next_line(sink, start + 1, high, chunk, &low, err);
	}
	free(chunk);
	*offset = low;
	return ok;
}

/* The checkpoint goes first: a file that is longer is cut at the next open, a shorter one is refused. */
static bool
file_rewind(Sink *sink, const SinkPosition *position, Error *err)
{
	uint64_t offset;

	if (!find_unit(sink, position->seq + 1, &offset, err) || !checkpoint_write(sink, position, offset, err))
		return false;
	sink->offset = sink->end = offset;
	return fs_truncate(sink->fd, offset, err) && fs_sync(sink->fd, err);
}

const SinkType sink_file = {
	.name = "file",
	.options = file_options,
	.options_bytes = sizeof(FileOptions),
	.create = file_create,
	.open = file_open,
	.apply = file_apply,
	.commit = file_commit,
	.rewind = file_rewind,
	.peek = file_peek,
	.interrupt = NULL,
	.close = file_close,
	.destroy = file_destroy,
};
