/*
 * file.h -- what the files of sink "file" share; nobody else includes it.
 *
 * Files have numbers: 1 is NAME itself, n is NAME.n.  A target is a run of them, of which only the last
 * one grows.  NAME.ckpt names the run that readers take, and beside it the one that is being filled.
 */
#ifndef WALRANK_SINK_FILE_H
#define WALRANK_SINK_FILE_H

#include <limits.h>

#include "base/fs.h"
#include "feed/ndjson.h"
#include "sinks/sink.h"

#define FILE_TAIL_BYTES 4096

typedef struct FileOptions
{
	char *path;
	int64_t rotate_bytes; /* 0 = one file */
} FileOptions;

/* A target: files first..file; what stands in `file` is final below offset, the others are final in whole. */
typedef struct FileRun
{
	uint64_t first;
	uint64_t file; /* 0: there is no such target */
	uint64_t offset;
	uint64_t tail_hash; /* of the 4 KiB before offset */
} FileRun;

/* What NAME.ckpt holds. */
typedef struct FileCheckpoint
{
	SinkPosition position; /* of `fill` if there is one, else of `shown` */
	FileRun shown;
	FileRun fill;
	uint64_t old;				/* files from this number up to shown.first are to be removed; 0 = none */
	uint64_t quarantine_offset; /* NAME.quarantine is final below it */
} FileCheckpoint;

struct Sink
{
	char *sink_name;
	char *path;
	char *directory;
	char *name; /* in the directory */
	const SinkHistory *history;
	uint64_t rotate_bytes;
	int dirfd;
	int lockfd;
	int fd;				  /* last file of the target that is written */
	FileCheckpoint last;  /* as on disk */
	bool found;			  /* it was there at open */
	uint64_t free_number; /* open found no checkpoint: the first number no file has */
	uint64_t end;		  /* of the target: written, maybe not final */
	Buffer gathered;
	Buffer rejected; /* lines for the quarantine */
	NdjsonWriter *writer;
};

static inline FileRun *
file_active(FileCheckpoint *checkpoint)
{
	return checkpoint->fill.file != 0 ? &checkpoint->fill : &checkpoint->shown;
}

/* ---- file_checkpoint.c -------------------------------------------------------------------------- */

extern void file_sibling(const Sink *sink, const char *suffix, char name[NAME_MAX + 1]);
extern void file_number_name(const Sink *sink, uint64_t number, char name[NAME_MAX + 1]);
extern uint64_t file_name_number(const Sink *sink, const char *name); /* 0: not one of ours */
/* Of whatever stream. ERR_REFUSE when it is not readable, or another sink's. */
extern bool file_checkpoint_read(const Sink *sink, int dirfd, FileCheckpoint *checkpoint, bool *found,
								 Error *err);
/* Becomes sink->last; the hash of the active run's tail is taken from sink->fd. */
extern bool file_checkpoint_write(Sink *sink, const FileCheckpoint *checkpoint, Error *err);
extern bool file_tail_hash(const Sink *sink, int fd, uint64_t offset, uint64_t *hash, Error *err);
/* For messages of class ERR_REFUSE. */
extern bool file_damaged(const Sink *sink, Error *err);

/* ---- file_lines.c ------------------------------------------------------------------------------- */

/* Where in a run the first line of a unit >= seq begins. */
extern bool file_locate(const Sink *sink, int dirfd, const FileRun *run, uint64_t seq, uint64_t *number,
						uint64_t *offset, Error *err);
extern bool file_verify(Sink *sink, FeedReader *reader, SinkVerify *report, Error *err);

/* One file of a run, as far as it is final. */
typedef struct FilePart
{
	const Sink *sink;
	int fd; /* -1: not created yet */
	uint64_t number;
	uint64_t end;
} FilePart;

extern bool file_part_open(const Sink *sink, int dirfd, const FileRun *run, uint64_t number, FilePart *part,
						   Error *err);

/* What the sink makes of an entry: a line, or nothing when it can never be one (*why). */
extern bool file_line(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
					  const RecordEntry *entry, Error *why);

/* ---- file_places.c ------------------------------------------------------------------------------ */

extern bool file_places(Sink *sink, SinkPlaceVisit visit, void *context, SinkPosition *position, Error *err);

#endif /* WALRANK_SINK_FILE_H */
