/*
 * recovery.c -- opening a log that may have been cut short by a kill, a power cut or a full disk.
 *
 * A log that was told to promise something (the journal) is read from the last segment in which some record says that
 * all segments before it were durable.  Its tail may be torn: bad bytes that no record after them in the same file
 * says were durable (what is not synced gets through in any order), or a whole file that is missing its end while no later record claims it was synced.  That tail was never
 * promised to anybody, so it is cut.  Any other bad byte is damage: nothing is touched, the place is named.
 *
 * A derived log (the feed) is cut at a position its owner names, and only what it keeps is read.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/log.h"
#include "journal/seglog_private.h"

/* One segment as found. */
typedef struct Found
{
	uint32_t number;
	SegFile *file;	 /* NULL: not open */
	uint64_t bytes;	 /* of the plain file */
	uint64_t packed; /* of the compressed one; 0: it is plain */
	bool valid;		 /* its header is */
	SegmentHeader header;
} Found;

typedef struct Recovery
{
	int dirfd;
	const char *what;
	uint32_t magic;
	Found *found;
	int n;
	uint32_t at; /* the segment opened last, for who has to name it */
} Recovery;

/* What a walk through one segment saw. */
typedef struct Walk
{
	SegPosition last;	   /* last whole group */
	uint64_t good_end;	   /* file offset after it */
	uint64_t preamble_end; /* 0: the preamble is bad */
	uint64_t bad_offset;
	bool bad;	  /* something stands at bad_offset that is no record */
	bool partial; /* the records of an unfinished group stand after good_end */
	bool sealed;  /* some record says earlier segments are durable */
	uint64_t records;
	uint64_t groups;
} Walk;

/* ---- the files -------------------------------------------------------------------------------- */

static bool
found_open(Recovery *recovery, Found *found, bool drop_cache, Error *err)
{
	recovery->at = found->number;
	if (!segfile_open(recovery->dirfd, found->number, &found->file, err))
		return error_wrap(err, "%s segment %010u", recovery->what, found->number);
	if (drop_cache)
		segfile_forget(found->file);
	found->packed = 0;
	if (!segfile_bytes(found->file, &found->bytes, err) ||
		(segfile_packed(found->file) && !segfile_disk_bytes(found->file, &found->packed, err)))
		return error_wrap(err, "%s segment %010u", recovery->what, found->number);
	return segment_header_read(found->file, recovery->what, recovery->magic, found->number, &found->header,
							   NULL, &found->valid, err);
}

static void
found_close(Found *found)
{
	segfile_close(found->file);
	found->file = NULL;
}

static void
recovery_free(Recovery *recovery)
{
	for (int i = 0; i < recovery->n; i++)
		found_close(&recovery->found[i]);
	free(recovery->found);
	recovery->found = NULL;
	recovery->n = 0;
}

/* Reads every header; keeps no descriptor open. Stream ids and numbers have to fit. */
static bool
recovery_load(Recovery *recovery, const StreamId *stream_id, Error *err)
{
	uint32_t *numbers;
	int n;

	if (!segment_list(recovery->dirfd, &numbers, &n, err))
		return false;
	recovery->found = xcalloc((size_t) n, sizeof(Found));
	for (int i = 0; i < n; i++)
		recovery->found[i] = (Found){.number = numbers[i]};
	recovery->n = n;
	free(numbers);
	if (n == 0)
		return error_set(err, ERR_REFUSE, "the %s holds no segments", recovery->what);
	for (int i = 0; i < n; i++)
	{
		Found *found = &recovery->found[i];

		if (!found_open(recovery, found, true, err))
			return false;
		found_close(found);
		if (!found->valid)
			continue;
		if (stream_id == NULL)
			stream_id = &found->header.stream_id;
		if (!stream_id_equal(&found->header.stream_id, stream_id))
			return error_set(err, ERR_REFUSE, "%s segment %010u belongs to another stream", recovery->what,
							 found->number);
	}
	return true;
}

static bool
check_dense(const Recovery *recovery, int to, Error *err)
{
	for (int i = 1; i <= to; i++)
		if (recovery->found[i].number != recovery->found[i - 1].number + 1)
			return error_set(err, ERR_REFUSE, "%s segment %010u is missing", recovery->what,
							 recovery->found[i - 1].number + 1);
	return true;
}

/* ---- walking ---------------------------------------------------------------------------------- */

static void
walk_report(const SegScan *scan, const SegmentRecord *record)
{
	if (scan == NULL)
		return;
	if (record->type == SEGMENT_PREAMBLE)
		scan->preamble_seen(scan->context, record->payload);
	else
		scan->record_seen(scan->context, record->at, record->type, (record->flags & SEGMENT_FIRST) != 0,
						  (record->flags & SEGMENT_LAST) != 0, record->payload);
}

/* Through one segment up to its end, its first bad byte, or the first group beyond `most`. */
static bool
walk(Recovery *recovery, Found *found, const SegPosition *most, const SegScan *scan, Walk *result, Error *err)
{
	SegmentCursor cursor = {.file = NULL};
	SegmentRecord record;
	SegmentResult at = SEGMENT_RECORD;

	*result = (Walk){.last = found->header.prev};
	if (found->file == NULL && !found_open(recovery, found, false, err))
		return false;
	segment_cursor_init(&cursor, found->file, recovery->magic, &found->header, found->bytes);
	while ((at = segment_next(&cursor, &record, err)) == SEGMENT_RECORD)
	{
		if (most != NULL && record.type != SEGMENT_PREAMBLE && seg_compare(record.at, *most) > 0)
			break;
		walk_report(scan, &record);
		result->records++;
		result->sealed |= (record.flags & SEGMENT_SEALED) != 0;
		if (record.type == SEGMENT_PREAMBLE)
			result->preamble_end = result->good_end = cursor.offset;
		else if (record.flags & SEGMENT_LAST)
		{
			result->groups++;
			result->last = record.at;
			result->good_end = cursor.offset;
		}
	}
	result->bad = at == SEGMENT_BAD || (at == SEGMENT_LIMIT && result->preamble_end == 0);
	result->bad_offset = cursor.offset;
	result->partial = at != SEGMENT_RECORD && cursor.index > 0;
	segment_cursor_free(&cursor);
	return at != SEGMENT_FAILED || error_wrap(err, "%s segment %010u", recovery->what, found->number);
}

static bool
refuse_at(const Recovery *recovery, Error *err, uint32_t number, uint64_t offset, const char *why)
{
	error_set(err, ERR_REFUSE, "%s segment %010u is damaged at offset %llu: %s", recovery->what, number,
			  (unsigned long long) offset, why);
	return error_hint(err,
					  "Check the disk. Keep a copy of the state directory before anything else is tried.");
}

/* Bad bytes that a record behind them knows to have been durable were not torn off. */
static bool
check_torn(Recovery *recovery, Found *found, const StreamId *stream_id, uint64_t bad_offset, Error *err)
{
	uint32_t seed = segment_seed(stream_id, recovery->magic, found->number);
	bool intact;

	if (found->file == NULL && !found_open(recovery, found, false, err))
		return false;
	if (!segment_find_claim(found->file, recovery->magic, seed, bad_offset, found->bytes, &intact, err))
		return error_wrap(err, "%s segment %010u", recovery->what, found->number);
	return !intact || refuse_at(recovery, err, found->number, bad_offset,
								"a bad record stands where all was durable once");
}

/* Segments that are not walked have at least a good header each, in order. */
static bool
check_heads(const Recovery *recovery, int to, Error *err)
{
	for (int i = 0; i <= to; i++)
	{
		const Found *found = &recovery->found[i];

		if (!found->valid)
			return refuse_at(recovery, err, found->number, 0, "bad header");
		if (i > 0 && seg_compare(found->header.prev, found[-1].header.prev) <= 0)
			return refuse_at(recovery, err, found->number, 0, "it does not continue the segment before it");
	}
	return check_dense(recovery, to, err);
}

/* ---- strict recovery -------------------------------------------------------------------------- */

/* Where to begin: the newest segment that vouches for all before it. */
static bool
find_start(Recovery *recovery, const StreamId *stream_id, int *start, Error *err)
{
	for (*start = recovery->n - 1;; (*start)--)
	{
		Found *found = &recovery->found[*start];
		Walk seen = {.bad = true};

		if (found->valid && !walk(recovery, found, NULL, NULL, &seen, err))
			return false;
		if (seen.bad && !check_torn(recovery, found, stream_id, found->valid ? seen.bad_offset : 0, err))
			return false;
		found_close(found);
		if (seen.sealed || *start == 0)
			return true;
	}
}

/*
 * Forward from `start`.  *keep is the segment the log ends in, *end what it ends with.
 * A segment after `start` may be missing, torn, or follow one that lost its end: nobody was promised any of it.
 */
static bool
walk_forward(Recovery *recovery, int start, const SegScan *scan, int *keep, Walk *end, Error *err)
{
	for (int i = start; i < recovery->n; i++)
	{
		Found *found = &recovery->found[i];
		Walk quick;
		Walk seen;

		if (i > start && found->valid && seg_compare(found->header.prev, end->last) < 0)
			return refuse_at(recovery, err, found->number, 0, "it begins before the segment before it ends");
		if (i > start && (!found->valid || seg_compare(found->header.prev, end->last) > 0))
			break;
		if (!found->valid)
			return refuse_at(recovery, err, found->number, 0, "bad header");
		/* the owner is shown whole groups of a whole segment head only */
		if (!walk(recovery, found, &found->header.prev, NULL, &quick, err))
			return false;
		if (quick.preamble_end == 0 && i > start)
			break;
		if (quick.preamble_end == 0)
			return refuse_at(recovery, err, found->number, quick.bad_offset, "bad preamble");
		if (!walk(recovery, found, NULL, scan, &seen, err))
			return false;
		*keep = i;
		*end = seen;
		found_close(found);
		if (seen.bad || seen.partial)
			break;
	}
	return true;
}

/* ---- making it so ----------------------------------------------------------------------------- */

/* Newest first, so that a crash in between leaves no hole. */
static bool
remove_after(Recovery *recovery, int keep, Error *err)
{
	char name[SEGMENT_NAME_BYTES];

	for (int i = recovery->n - 1; i > keep; i--)
	{
		(recovery->found[i].packed > 0 ? segment_packed_name : segment_name)(recovery->found[i].number, name);
		if (fs->unlinkat(recovery->dirfd, name) != 0)
			return error_errno(err, "could not remove %s segment \"%s\"", recovery->what, name);
	}
	return true;
}

static bool
sync_range(Recovery *recovery, int from, int to, Error *err)
{
	for (int i = from; i <= to; i++)
	{
		Found *found = &recovery->found[i];
		bool ok = found->file != NULL || found_open(recovery, found, false, err);

		ok = ok && segfile_sync(found->file, err);
		found_close(found);
		if (!ok)
			return error_wrap(err, "%s segment %010u", recovery->what, found->number);
	}
	return true;
}

/* Cut, sync from `synced` on, and hand the segments to the log, which goes on at the end of `keep`. */
static bool
apply(SegLog *log, Recovery *recovery, int synced, int keep, const Walk *end, Error *err)
{
	Found *tail = &recovery->found[keep];
	char name[SEGMENT_NAME_BYTES];
	int fd;

	segment_name(tail->number, name);
	if (!segfile_clean(log->dirfd, err) || !remove_after(recovery, keep, err) ||
		(tail->packed > 0 && !segfile_unpack(log->dirfd, tail->number, err)) ||
		!fs_open(log->dirfd, name, O_RDWR, &fd, err))
		return false;
	tail->packed = 0; /* it is written again */
	if (tail->bytes > end->good_end && !fs_truncate(fd, end->good_end, err))
	{
		fs_close(fd);
		return error_wrap(err, "%s segment %010u", recovery->what, tail->number);
	}
	tail->bytes = end->good_end;
	log->n = 0;
	for (int i = 0; i <= keep; i++)
		seglog_add_segment(log, (Segment){.number = recovery->found[i].number,
										  .prev = recovery->found[i].header.prev,
										  .bytes = recovery->found[i].bytes,
										  .packed = recovery->found[i].packed,
										  .fd = i == keep ? fd : -1}); /* the log owns it now */
	if (!sync_range(recovery, synced, keep, err) || !fs_sync_dir(log->dirfd, err))
		return false;
	seglog_resume(log, end->last);
	return true;
}

static void
say_cut(const Recovery *recovery, int keep, const Walk *end)
{
	const Found *tail = &recovery->found[keep];
	uint64_t bytes = tail->bytes - end->good_end;

	for (int i = keep + 1; i < recovery->n; i++)
		bytes += recovery->found[i].bytes;
	if (bytes > 0)
		log_line(LOG_INFO, "%s: cutting an unfinished tail of %llu bytes after segment %010u, offset %llu",
				 recovery->what, (unsigned long long) bytes, tail->number,
				 (unsigned long long) end->good_end);
}

bool
seglog_open(int dirfd, const SegSettings *settings, const SegScan *scan, SegLog **result, Error *err)
{
	SegLog *log = seglog_alloc(dirfd, settings, err);
	Recovery recovery = {.dirfd = dirfd, .what = settings->what, .magic = settings->magic};
	Walk end = {.good_end = 0};
	int start = 0;
	int keep = 0;
	bool ok;

	*result = NULL;
	if (log == NULL)
		return false;
	ok = recovery_load(&recovery, &settings->stream_id, err) && check_dense(&recovery, recovery.n - 1, err) &&
		 find_start(&recovery, &settings->stream_id, &start, err) && check_heads(&recovery, start, err) &&
		 walk_forward(&recovery, start, scan, &keep, &end, err);
	if (ok)
	{
		say_cut(&recovery, keep, &end);
		ok = apply(log, &recovery, start, keep, &end, err);
	}
	recovery_free(&recovery);
	if (!ok)
	{
		seglog_close(log);
		return false;
	}
	*result = log;
	return true;
}

/* ---- derived logs ----------------------------------------------------------------------------- */

static bool
refuse_short(const Recovery *recovery, SegPosition last, SegPosition least, Error *err)
{
	return error_set(err, ERR_REFUSE, "the %s ends at %llu.%u and does not reach %llu.%u", recovery->what,
					 (unsigned long long) last.seq, last.part, (unsigned long long) least.seq, least.part);
}

/* The newest segment that begins at or before `most`; garbage behind it does not matter. */
static bool
cut_find(Recovery *recovery, SegPosition least, SegPosition most, const SegScan *scan, int *keep, Walk *end,
		 Error *err)
{
	for (int i = recovery->n - 1; i >= 0; i--)
	{
		Found *found = &recovery->found[i];

		if (!found->valid || seg_compare(found->header.prev, most) > 0)
			continue;
		if (!walk(recovery, found, &found->header.prev, NULL, end, err)) /* preamble only */
			return false;
		if (end->preamble_end == 0)
			continue;
		if (!walk(recovery, found, &most, scan, end, err))
			return false;
		found_close(found);
		*keep = i;
		if (seg_compare(end->last, least) >= 0)
			return true;
		if (end->bad)
			return refuse_at(recovery, err, found->number, end->bad_offset,
							 "a record that the store has seen is bad");
		return refuse_short(recovery, end->last, least, err);
	}
	return error_set(err, ERR_REFUSE, "the %s begins after %llu.%u", recovery->what,
					 (unsigned long long) least.seq, least.part);
}

static bool
cut_look(Recovery *recovery, const StreamId *stream_id, const SegScan *scan, SegPosition least,
		 SegPosition most, int *keep, Walk *end, Error *err)
{
	return recovery_load(recovery, stream_id, err) && cut_find(recovery, least, most, scan, keep, end, err) &&
		   check_heads(recovery, *keep, err) && (scan->accept == NULL || scan->accept(scan->context, err));
}

bool
seglog_reaches(int dirfd, const SegSettings *settings, const SegScan *scan, SegPosition least,
			   SegPosition most, Error *err)
{
	Recovery recovery = {.dirfd = dirfd, .what = settings->what, .magic = settings->magic};
	Walk end;
	int keep;
	bool ok = cut_look(&recovery, &settings->stream_id, scan, least, most, &keep, &end, err);

	recovery_free(&recovery);
	return ok;
}

bool
seglog_open_cut(int dirfd, const SegSettings *settings, const SegScan *scan, SegPosition least,
				SegPosition most, SegLog **result, Error *err)
{
	SegLog *log = seglog_alloc(dirfd, settings, err);
	Recovery recovery = {.dirfd = dirfd, .what = settings->what, .magic = settings->magic};
	Walk end = {.good_end = 0};
	int keep = 0;
	bool ok;

	*result = NULL;
	if (log == NULL)
		return false;
	/* all are synced: what a killed process left in the cache must be on disk before a snapshot counts on it */
	ok = cut_look(&recovery, &settings->stream_id, scan, least, most, &keep, &end, err) &&
		 apply(log, &recovery, 0, keep, &end, err);
	recovery_free(&recovery);
	if (!ok)
	{
		seglog_close(log);
		return false;
	}
	*result = log;
	return true;
}

/* ---- for tools -------------------------------------------------------------------------------- */

/* One segment of a verification; *end is set when nothing more may follow. */
static bool
verify_segment(Recovery *recovery, int i, const SegScan *scan, SegVerify *report, bool *end, Error *err)
{
	Found *found = &recovery->found[i];
	bool newest = i == recovery->n - 1;
	Walk seen;

	if (!found->valid)
	{
		report->bad_segment = found->number;
		report->bad_offset = 0;
		if (!newest || i == 0)
			return refuse_at(recovery, err, found->number, 0, "bad header");
		report->torn_tail = *end = true;
		if (!check_torn(recovery, found, &report->stream_id, 0, err))
			return false;
		report->bad_segment = 0;
		return true;
	}
	report->bad_segment = found->number;
	if (i > 0 && seg_compare(found->header.prev, report->last) != 0)
		return refuse_at(recovery, err, found->number, 0, "it does not continue the segment before it");
	if (!walk(recovery, found, NULL, scan, &seen, err))
	{
		report->bad_offset = seen.bad_offset;
		return false;
	}
	report->records += seen.records;
	report->groups += seen.groups;
	report->bytes += found->bytes;
	report->last = seen.last;
	report->bad_offset = seen.bad ? seen.bad_offset : seen.good_end;
	if (seen.bad && !check_torn(recovery, found, &report->stream_id, seen.bad_offset, err))
		return false;
	if ((seen.bad || seen.partial) && !newest)
		return refuse_at(recovery, err, found->number, report->bad_offset, "it ends in the middle");
	report->torn_tail = seen.bad || seen.partial;
	report->bad_segment = 0;
	return true;
}

bool
seglog_verify(int dirfd, const char *what, uint32_t magic, const SegScan *scan, SegVerify *report, Error *err)
{
	Recovery recovery = {.dirfd = dirfd, .what = what, .magic = magic};
	bool end = false;
	bool loaded = recovery_load(&recovery, NULL, err);
	bool ok = loaded && check_dense(&recovery, recovery.n - 1, err);

	*report = (SegVerify){.segments = (uint64_t) recovery.n, .bad_segment = loaded ? 0 : recovery.at};
	for (int i = recovery.n - 1; ok && i >= 0; i--)
		if (recovery.found[i].valid)
			report->stream_id = recovery.found[i].header.stream_id;
	if (ok)
		report->first = report->last = recovery.found[0].header.prev;
	for (int i = 0; ok && !end && i < recovery.n; i++)
	{
		ok = verify_segment(&recovery, i, scan, report, &end, err);
		found_close(&recovery.found[i]);
	}
	recovery_free(&recovery);
	return ok;
}
