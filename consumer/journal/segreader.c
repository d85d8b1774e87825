/*
 * segreader.c -- reading a log in order, behind a writer or from a directory at rest.
 *
 * A reader has its own descriptor and window and takes the log's lock only where its knowledge of what is flushed
 * ends.  A segment that is trimmed while it is read stays readable to its end.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "journal/seglog_private.h"

struct SegReader
{
	SegLog *log; /* NULL: of a directory */
	int dirfd;
	const char *what;
	uint32_t magic;
	StreamId stream_id;
	SegPosition from;
	bool show_all;
	uint64_t wakes;
	uint32_t number; /* of the segment being read */
	SegmentCursor cursor;
	/* of a directory */
	uint32_t newest;
	uint64_t newest_bytes; /* of whole groups */
	bool newest_damaged;
};

static bool
reader_refuse(const SegReader *reader, Error *err, uint64_t offset, const char *why)
{
	return error_set(err, ERR_REFUSE, "%s segment %010u, offset %llu: %s", reader->what, reader->number,
					 (unsigned long long) offset, why);
}

static bool
header_check(SegReader *reader, SegFile *file, SegmentHeader *header, Error *err)
{
	bool valid;

	if (!segment_header_read(file, reader->what, reader->magic, reader->number, header, NULL, &valid, err))
		return false;
	if (!valid)
		return reader_refuse(reader, err, 0, "bad header");
	if (!stream_id_equal(&header->stream_id, &reader->stream_id))
		return reader_refuse(reader, err, 0, "it belongs to another stream");
	return true;
}

/* limit UINT64_MAX: the whole file.  The segment continues where the one read before ended, if there was one. */
static bool
segment_enter(SegReader *reader, uint32_t number, uint64_t limit, Error *err)
{
	bool continues = reader->cursor.file != NULL;
	SegPosition last = reader->cursor.last;
	SegmentHeader header;
	uint64_t bytes;
	SegFile *file;

	if (!segfile_open(reader->dirfd, number, &file, err))
		return error_wrap(err, "%s", reader->what);
	segfile_close(reader->cursor.file);
	reader->cursor.file = file; /* the cursor owns it now */
	reader->number = number;
	if (!header_check(reader, file, &header, err))
		return false;
	if (continues && (seg_compare(header.prev, last) != 0 || reader->cursor.index > 0))
		return reader_refuse(reader, err, 0, "it does not continue the segment before it");
	if (!segfile_bytes(file, &bytes, err))
		return error_wrap(err, "%s segment %010u", reader->what, number);
	if (limit > bytes)
		limit = bytes;
	if (limit < header.bytes)
		return reader_refuse(reader, err, limit, "it ends in its header");
	segment_cursor_init(&reader->cursor, file, reader->magic, &header, limit);
	return true;
}

static SegReader *
reader_alloc(int dirfd, const char *what, uint32_t magic, SegPosition at)
{
	SegReader *reader = xcalloc(1, sizeof(*reader));

	reader->dirfd = fs->dup(dirfd); /* without one the first open fails and says so */
	reader->what = what;
	reader->magic = magic;
	reader->from = at;
	return reader;
}

void
segreader_close(SegReader *reader)
{
	if (reader == NULL)
		return;
	segfile_close(reader->cursor.file);
	segment_cursor_free(&reader->cursor);
	if (reader->dirfd >= 0)
		fs_close(reader->dirfd);
	free(reader);
}

void
segreader_show_all(SegReader *reader)
{
	reader->show_all = true;
}

static bool
refuse_gone(const char *what, SegPosition at, SegPosition prev, Error *err)
{
	return error_set(err, ERR_REFUSE, "the %s no longer holds %llu: it begins at %llu", what,
					 (unsigned long long) at.seq, (unsigned long long) prev.seq + 1);
}

/* ---- behind a writer -------------------------------------------------------------------------- */

bool
segreader_open(SegLog *log, SegPosition at, SegReader **result, Error *err)
{
	SegReader *reader = reader_alloc(log->dirfd, log->settings.what, log->settings.magic, at);
	Segment segment = {.number = 0};
	SegPosition prev;

	*result = NULL;
	reader->log = log;
	reader->stream_id = log->settings.stream_id;
	pthread_mutex_lock(&log->lock);
	prev = log->segments[0].prev;
	for (int i = log->n - 1; i >= 0 && segment.number == 0; i--)
		if (seg_compare(log->segments[i].prev, at) < 0)
			segment = log->segments[i];
	reader->wakes = log->wakes;
	pthread_mutex_unlock(&log->lock);
	if (segment.number == 0 ? !refuse_gone(reader->what, at, prev, err)
							: !segment_enter(reader, segment.number, segment.bytes, err))
	{
		segreader_close(reader);
		return false;
	}
	*result = reader;
	return true;
}

typedef enum
{
	MORE_NOTHING,
	MORE_HERE,
	MORE_NEXT,
	MORE_TRIMMED, /* the segment is no longer in the log, but this reader has it open */
} More;

/* Caller holds the lock. */
static More
more(const SegReader *reader, uint64_t *limit)
{
	const SegLog *log = reader->log;
	int i;

	if (reader->number < log->segments[0].number)
		return MORE_TRIMMED;
	i = (int) (reader->number - log->segments[0].number);
	*limit = log->segments[i].bytes;
	if (*limit > reader->cursor.limit)
		return MORE_HERE;
	if (i + 1 == log->n)
		return MORE_NOTHING;
	*limit = log->segments[i + 1].bytes;
	return MORE_NEXT;
}

static SegResult
live_advance(SegReader *reader, Error *err)
{
	SegLog *log = reader->log;
	uint64_t limit = 0;
	uint64_t bytes;
	More what;

	pthread_mutex_lock(&log->lock);
	what = more(reader, &limit);
	pthread_mutex_unlock(&log->lock);
	switch (what)
	{
		case MORE_NOTHING:
			return SEG_END;
		case MORE_HERE:
			reader->cursor.limit = limit;
			return SEG_RECORD;
		case MORE_TRIMMED:
			if (!segfile_bytes(reader->cursor.file, &bytes, err))
				return SEG_ERROR;
			if (bytes > reader->cursor.limit)
			{
				reader->cursor.limit = bytes;
				return SEG_RECORD;
			}
			limit = UINT64_MAX; /* the next one may be trimmed as well, or be the active one ... */
			pthread_mutex_lock(&log->lock);
			if (log->segments[0].number == reader->number + 1)
				limit = log->segments[0].bytes; /* ... of which only this much is whole */
			pthread_mutex_unlock(&log->lock);
			break;
		case MORE_NEXT:
			break;
	}
	return segment_enter(reader, reader->number + 1, limit, err) ? SEG_RECORD : SEG_ERROR;
}

void
segreader_wait(SegReader *reader, int64_t timeout_us)
{
	SegLog *log = reader->log;
	int64_t deadline = clock_monotonic_us() + timeout_us;
	uint64_t limit;

	if (log == NULL || reader->cursor.offset < reader->cursor.limit)
		return;
	pthread_mutex_lock(&log->lock);
	while (more(reader, &limit) == MORE_NOTHING && reader->wakes == log->wakes && seglog_wait(log, deadline))
		;
	reader->wakes = log->wakes;
	pthread_mutex_unlock(&log->lock);
}

/* ---- a directory at rest ---------------------------------------------------------------------- */

/* Where the whole groups of the newest segment end: what follows is a tail the next start will cut, or damage. */
static bool
newest_measure(SegReader *reader, Error *err)
{
	SegmentRecord record;
	SegmentResult at;
	bool intact = false;
	uint64_t bytes;

	if (!segment_enter(reader, reader->newest, UINT64_MAX, err))
		return false;
	bytes = reader->cursor.limit;
	reader->newest_bytes = reader->cursor.offset;
	while ((at = segment_next(&reader->cursor, &record, err)) == SEGMENT_RECORD)
		if (record.type == SEGMENT_PREAMBLE || (record.flags & SEGMENT_LAST))
			reader->newest_bytes = reader->cursor.offset;
	if (at == SEGMENT_FAILED)
		return false;
	if (at == SEGMENT_BAD && !segment_find_claim(reader->cursor.file, reader->magic, reader->cursor.seed,
												 reader->cursor.offset, bytes, &intact, err))
		return false;
	reader->newest_damaged = intact;
	segfile_close(reader->cursor.file);
	reader->cursor.file = NULL;
	return true;
}

/* The newest segment with a whole head, and the one that holds the position asked for. */
static bool
dir_find(SegReader *reader, const uint32_t *numbers, int n, uint32_t *number, Error *err)
{
	SegPosition prev = {0, 0};
	bool any = false;

	*number = 0;
	for (int i = n - 1; i >= 0 && *number == 0; i--)
	{
		SegmentHeader header;
		SegFile *file;
		bool valid;
		bool ok;

		if (!segfile_open(reader->dirfd, numbers[i], &file, err))
			return false;
		ok = segment_header_read(file, reader->what, reader->magic, numbers[i], &header, NULL, &valid, err);
		segfile_close(file);
		if (!ok)
			return false;
		if (!valid && i == n - 1 && n > 1)
			continue; /* its making was cut short */
		reader->number = numbers[i];
		if (!valid)
			return reader_refuse(reader, err, 0, "bad header");
		if (!any)
		{
			reader->newest = numbers[i];
			reader->stream_id = header.stream_id;
		}
		any = true;
		prev = header.prev;
		if (seg_compare(prev, reader->from) < 0)
			*number = numbers[i];
	}
	return *number != 0 || (any ? refuse_gone(reader->what, reader->from, prev, err)
								: error_set(err, ERR_REFUSE, "the %s holds no segments", reader->what));
}

bool
segreader_open_dir(int dirfd, uint32_t magic, const char *what, SegPosition at, SegReader **result,
				   Error *err)
{
	SegReader *reader = reader_alloc(dirfd, what, magic, at);
	uint32_t *numbers = NULL;
	uint32_t number = 0;
	bool ok;
	int n;

	*result = NULL;
	ok = segment_list(dirfd, &numbers, &n, err) && dir_find(reader, numbers, n, &number, err) &&
		 newest_measure(reader, err) &&
		 segment_enter(reader, number, number == reader->newest ? reader->newest_bytes : UINT64_MAX, err);
	free(numbers);
	if (!ok)
	{
		segreader_close(reader);
		return false;
	}
	*result = reader;
	return true;
}

static SegResult
dir_advance(SegReader *reader, Error *err)
{
	uint32_t next = reader->number + 1;

	if (reader->number < reader->newest)
		return segment_enter(reader, next, next == reader->newest ? reader->newest_bytes : UINT64_MAX, err)
				   ? SEG_RECORD
				   : SEG_ERROR;
	if (!reader->newest_damaged)
		return SEG_END;
	reader_refuse(reader, err, reader->cursor.offset, "bad record");
	return SEG_ERROR;
}

/* ---- both ------------------------------------------------------------------------------------- */

SegResult
segreader_next(SegReader *reader, SegRecord *record, Error *err)
{
	for (;;) /* each round moves the cursor on or returns */
	{
		SegmentRecord found;
		SegResult advanced;

		switch (segment_next(&reader->cursor, &found, err))
		{
			case SEGMENT_LIMIT:
				advanced = reader->log != NULL ? live_advance(reader, err) : dir_advance(reader, err);
				if (advanced != SEG_RECORD)
					return advanced;
				continue;
			case SEGMENT_BAD:
				reader_refuse(reader, err, reader->cursor.offset, "bad record");
				return SEG_ERROR;
			case SEGMENT_FAILED:
				error_wrap(err, "%s segment %010u", reader->what, reader->number);
				return SEG_ERROR;
			case SEGMENT_RECORD:
				break;
		}
		if (found.type != SEGMENT_PREAMBLE && !reader->show_all && seg_compare(found.at, reader->from) < 0)
			continue;
		*record = (SegRecord){.at = found.at,
							  .type = found.type,
							  .first = (found.flags & SEGMENT_FIRST) != 0,
							  .last = (found.flags & SEGMENT_LAST) != 0,
							  .payload = found.payload};
		return found.type == SEGMENT_PREAMBLE ? SEG_PREAMBLE : SEG_RECORD;
	}
}
