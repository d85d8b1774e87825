/*
 * file_lines.c -- lines of sink "file": found by their position, and compared with the feed.
 */
#include "sinks/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_BYTES (1 << 20)
/* Enough of a line to hold its seq. */
#define LINE_HEAD_BYTES 40

bool
file_part_open(const Sink *sink, int dirfd, const FileRun *run, uint64_t number, FilePart *part, Error *err)
{
	char name[NAME_MAX + 1];
	struct stat st;

	*part = (FilePart){.sink = sink, .fd = -1, .number = number, .end = run->offset};
	if (number == run->file && run->offset == 0)
		return true; /* it may not have been created yet */
	file_number_name(sink, number, name);
	part->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	if (part->fd < 0 || fstat(part->fd, &st) != 0)
	{
		error_errno(err, "could not open \"%s/%s\"", sink->directory, name);
		err->class = ERR_REFUSE;
		return file_damaged(sink, err);
	}
	if (number != run->file)
		part->end = (uint64_t) st.st_size;
	return true;
}

static void
part_close(FilePart *part)
{
	if (part->fd >= 0)
		close(part->fd);
	part->fd = -1;
}

/* ---- positions ------------------------------------------------------------------------------------ */

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

/* The next line's start at or after `from`, which is a line's start or inside one; end when there is none. */
static bool
next_line(const FilePart *part, uint64_t from, uint64_t end, uint8_t *chunk, uint64_t *start, Error *err)
{
	*start = end;
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

		if (!fs_pread(part->fd, chunk, want, at, &got, err))
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
	return true;
}

static bool
seq_at(const FilePart *part, uint64_t start, uint64_t end, uint64_t *seq, Error *err)
{
	char head[LINE_HEAD_BYTES];
	char name[NAME_MAX + 1];
	size_t want = end - start < sizeof(head) ? (size_t) (end - start) : sizeof(head);
	size_t got;

	if (!fs_pread(part->fd, head, want, start, &got, err))
		return false;
	if (line_seq(head, got, seq))
		return true;
	file_number_name(part->sink, part->number, name);
	error_set(err, ERR_REFUSE, "file \"%s/%s\" has a line without a position at byte %" PRIu64,
			  part->sink->directory, name, start);
	return file_damaged(part->sink, err);
}

/*
 * Where in a file the first line of a unit >= seq begins.  Positions only rise, so halving finds it.
 * low is a line's start and all lines before it are below seq; high is one that is not below, or the
 * end; no line begins between edge and high.
 */
static bool
find_in_part(const FilePart *part, uint64_t seq, uint64_t *offset, Error *err)
{
	uint8_t *chunk = xmalloc(SCAN_BYTES);
	uint64_t low = 0;
	uint64_t high = part->end;
	uint64_t edge = high;
	bool ok = true;

	while (ok && low < high)
	{
		const uint64_t middle = low + (edge - low) / 2;
		uint64_t start = 0;
		uint64_t seen = 0;

		ok = next_line(part, middle, high, chunk, &start, err);
		if (ok && start >= high)
		{
			edge = middle;
			continue;
		}
		ok = ok && seq_at(part, start, high, &seen, err);
		if (ok && seen >= seq)
			high = edge = start;
		else
			ok = ok && next_line(part, start + 1, high, chunk, &low, err);
	}
	free(chunk);
	*offset = low;
	return ok;
}

/* From the last file backwards: the first in which a line is below seq, or the first of all. */
bool
file_locate(const Sink *sink, int dirfd, const FileRun *run, uint64_t seq, uint64_t *number, uint64_t *offset,
			Error *err)
{
	const FileRun in = *run; /* number and offset may be the run's own */

	for (uint64_t n = in.file;; n--)
	{
		FilePart part;
		bool ok;

		if (!file_part_open(sink, dirfd, &in, n, &part, err))
			return false;
		ok = find_in_part(&part, seq, offset, err);
		part_close(&part);
		*number = n;
		if (!ok || *offset > 0 || n == in.first)
			return ok;
	}
}

/* ---- verify ------------------------------------------------------------------------------------------ */

typedef struct Compare
{
	const Sink *sink;
	int dirfd;
	FileRun run;
	uint64_t first_seq; /* of its first line; UINT64_MAX: it has none */
	FilePart part;
	uint64_t at;
	Buffer line;
	Buffer held;
	NdjsonWriter *writer;
	SinkVerify *report;
} Compare;

/* The next len bytes of the run, fewer at its end. */
static bool
read_run(Compare *compare, size_t len, Error *err)
{
	Buffer *held = &compare->held;

	buffer_reset(held);
	while (held->len < len)
	{
		const uint64_t left = compare->part.end - compare->at;
		const size_t want = left < len - held->len ? (size_t) left : len - held->len;
		size_t got = 0;

		if (want == 0)
		{
			if (compare->part.number == compare->run.file)
				return true;
			part_close(&compare->part);
			compare->at = 0;
			if (!file_part_open(compare->sink, compare->dirfd, &compare->run, compare->part.number + 1,
								&compare->part, err))
				return false;
			continue;
		}
		if (!fs_pread(compare->part.fd, buffer_reserve(held, want), want, compare->at, &got, err))
			return false;
		if (got == 0)
			return true;
		held->len += got;
		compare->at += got;
	}
	return true;
}

static void
tell_difference(Compare *compare, const char *what, Slice expected)
{
	char name[NAME_MAX + 1];

	compare->report->different++;
	file_number_name(compare->sink, compare->part.number, name);
	snprintf(compare->report->first, sizeof(compare->report->first),
			 "%.100s, before byte %" PRIu64 ": %.100s%s%.150s", name, compare->at, what,
			 expected.len > 0 ? "; the feed has " : "", expected.len > 0 ? (const char *) expected.data : "");
	compare->report->first[strcspn(compare->report->first, "\n")] = '\0';
}

static bool
compare_entry(Compare *compare, const FeedReader *reader, const RecordHeader *header,
			  const RecordEntry *entry, Error *err)
{
	Error why;

	buffer_reset(&compare->line);
	if (!file_line(compare->writer, &compare->line, reader, header, entry, &why))
		return true; /* in the quarantine */
	if (!read_run(compare, compare->line.len, err))
		return false;
	compare->report->compared++;
	if (slice_equal(buffer_slice(&compare->held), buffer_slice(&compare->line)))
		return true;
	buffer_append_byte(&compare->line, '\0');
	tell_difference(compare, compare->held.len < compare->line.len - 1 ? "it ends" : "another line",
					buffer_slice(&compare->line));
	return true;
}

/* Up to the first difference: what follows it cannot be told apart. */
static bool
compare_record(Compare *compare, const FeedReader *reader, RecordReader *record, Error *err)
{
	RecordEntry entry;
	bool fill;
	bool done = false;

	if (!record_fill(record, &fill, &entry, err))
		return false;
	if (fill && !slice_equal(entry.fill.sink, slice_string(compare->sink->sink_name)))
		return true;
	while (compare->report->different == 0 && record_next(record, &entry, &done, err))
	{
		if (done)
			return true;
		if (record_is_output(entry.kind) && !compare_entry(compare, reader, &record->header, &entry, err))
			return false;
	}
	return compare->report->different > 0;
}

/* Before where the sink began, or beyond where it stands. */
static bool
is_before(const SinkPosition *p, const RecordHeader *header)
{
	return header->total - header->outputs < p->total_start;
}

static bool
is_beyond(const SinkPosition *p, const RecordHeader *header)
{
	return header->seq > p->seq + 1 || (header->seq == p->seq + 1 && header->part >= p->part);
}

static bool
look_at_first(Compare *compare, Error *err)
{
	FilePart part;
	bool ok;

	compare->first_seq = UINT64_MAX;
	if (!file_part_open(compare->sink, compare->dirfd, &compare->run, compare->run.first, &part, err))
		return false;
	ok = part.end == 0 || seq_at(&part, 0, part.end, &compare->first_seq, err);
	part_close(&part);
	return ok;
}

static bool
compare_run(Compare *compare, const SinkPosition *p, FeedReader *reader, Error *err)
{
	SinkVerify *report = compare->report;
	RecordReader record;
	FeedEvent event = FEED_RECORD;

	report->to_seq = 0;
	while (report->different == 0 && (event = feed_reader_next(reader, &record, err)) == FEED_RECORD)
	{
		if (is_beyond(p, &record.header))
			break;
		/* after a replay the counters begin later than the lines */
		if (report->to_seq == 0 && is_before(p, &record.header) && record.header.seq < compare->first_seq)
			continue;
		if (report->to_seq == 0)
		{
			uint64_t number;

			report->from_seq = record.header.seq;
			if (!file_locate(compare->sink, compare->dirfd, &compare->run, record.header.seq, &number,
							 &compare->at, err) ||
				!file_part_open(compare->sink, compare->dirfd, &compare->run, number, &compare->part, err))
				return false;
		}
		report->to_seq = record.header.seq;
		if (!compare_record(compare, reader, &record, err))
			return false;
	}
	if (event == FEED_ERROR)
		return false;
	if (report->different == 0 && report->to_seq != 0)
	{
		if (!read_run(compare, 1, err))
			return false;
		if (compare->held.len > 0)
			tell_difference(compare, "a line that the feed does not have", slice_make(NULL, 0));
	}
	return true;
}

bool
file_verify(Sink *sink, FeedReader *reader, SinkVerify *report, Error *err)
{
	Compare compare = {.sink = sink, .part = {.fd = -1}, .report = report};
	FileCheckpoint checkpoint;
	bool found = false;
	bool ok;

	compare.dirfd = open(sink->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (compare.dirfd < 0)
		return error_errno(err, "could not open directory \"%s\"", sink->directory);
	ok = file_checkpoint_read(sink, compare.dirfd, &checkpoint, &found, err);
	if (ok && found && !stream_id_equal(&checkpoint.position.stream_id, &sink->history->stream_id))
		ok = error_set(err, ERR_REFUSE, "\"%s\" was written by another stream (rule K9)", sink->path);
	report->to_seq = 0;
	/* a target that is being filled is not shown yet, and of the one that is shown the position is gone */
	if (ok && found && checkpoint.fill.file == 0)
	{
		compare.run = checkpoint.shown;
		compare.writer = ndjson_create();
		ok = look_at_first(&compare, err) && compare_run(&compare, &checkpoint.position, reader, err);
		ndjson_destroy(compare.writer);
	}
	part_close(&compare.part);
	buffer_free(&compare.line);
	buffer_free(&compare.held);
	close(compare.dirfd);
	return ok;
}
