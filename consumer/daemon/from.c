/*
 * from.c -- see from.h.
 */
#include "daemon/from.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static bool
open_first(SinkSource source, FeedReader **reader, Error *err)
{
	SegVerify report;

	if (source.feed != NULL)
		return feed_reader_open(source.feed, feed_first_seq(source.feed), reader, err);
	if (source.last_seq != 0)
		return feed_reader_open_dir(source.dirfd, source.first_seq, reader, err);
	/* where the feed begins; a damaged one is no base for a replay anyway */
	return feed_verify(source.dirfd, &report, err) &&
		   feed_reader_open_dir(source.dirfd, report.first.seq + 1, reader, err);
}

static bool
not_held(const char *text, const RecordHeader *first, Error *err)
{
	error_set(err, ERR_REFUSE,
			  "the feed does not hold what comes after %s any more: it begins at unit %" PRIu64
			  ", which ends at LSN " LSN_FORMAT,
			  text, first->seq, LSN_ARGS(first->end_lsn));
	return error_hint(err, "The first available position is --from %" PRIu64 ".", first->seq);
}

/*
 * Whether no unit before the feed's first one can end after lsn.  Commit records follow each other, so what
 * came before a transaction ended where its commit record begins, or earlier; of other units we know nothing.
 */
static bool
reaches_back(const RecordHeader *first, Lsn lsn)
{
	return first->seq <= 1 || first->end_lsn <= lsn || (first->commit_lsn != 0 && first->commit_lsn <= lsn);
}

static bool
unit_of_lsn(SinkSource source, const char *text, Lsn lsn, uint64_t *seq, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event;
	bool first = true;
	bool held = true;

	if (!open_first(source, &reader, err))
		return false;
	while ((event = feed_reader_next(reader, &record, err)) == FEED_RECORD)
	{
		if (first)
			held = reaches_back(&record.header, lsn) || not_held(text, &record.header, err);
		first = false;
		*seq = record.header.seq;
		if (!held || record.header.end_lsn > lsn)
			break;
	}
	feed_reader_close(reader);
	if (event == FEED_NOTHING)
		return error_set(err, ERR_CONFIG, "the feed ends before LSN " LSN_FORMAT, LSN_ARGS(lsn));
	return event == FEED_RECORD && held;
}

static bool
check_held(SinkSource source, const char *text, uint64_t seq, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event;
	bool ok;

	if (!open_first(source, &reader, err))
		return false;
	event = feed_reader_next(reader, &record, err);
	ok = event == FEED_NOTHING ||
		 (event == FEED_RECORD && (seq >= record.header.seq || not_held(text, &record.header, err)));
	feed_reader_close(reader);
	return ok;
}

bool
from_unit(SinkSource source, const char *text, uint64_t *seq, Error *err)
{
	Lsn lsn;
	char *end;

	if (lsn_parse(text, &lsn))
		return unit_of_lsn(source, text, lsn, seq, err);
	errno = 0;
	*seq = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *seq == 0 || text[0] < '0' || text[0] > '9')
	{
		error_set(err, ERR_CONFIG, "\"%.60s\" is neither an LSN nor a unit number", text);
		return error_hint(err,
						  "Give an LSN such as 0/3A4F1D8, or the number before the first dot of a position.");
	}
	return check_held(source, text, *seq, err);
}
