/*
 * sink.c -- see sink.h.  The types there are, and what tools do to a checkpoint.
 */
#include "sinks/sink.h"

#include <stdlib.h>

const SinkType *const sink_types[] = {&sink_file, &sink_postgres, NULL};

bool
sink_same_stream(const StreamId *theirs, const StreamId *ours, const char *where, Error *err)
{
	char their_text[STREAM_ID_TEXT_BYTES];
	char our_text[STREAM_ID_TEXT_BYTES];

	if (stream_id_equal(theirs, ours))
		return true;
	stream_id_text(theirs, their_text);
	stream_id_text(ours, our_text);
	error_set(err, ERR_REFUSE, "%s was written by stream %s, not by this one, %s (rule K2)", where,
			  their_text, our_text);
	return error_hint(
		err, "Give this sink a target of its own, or remove what the other stream wrote: the file and "
			 "its .ckpt, or the score tables of schema walrank_out and the sink's row in "
			 "walrank_out.checkpoint.");
}

bool
sink_read(const SinkConfig *config, const StreamId *stream_id, const char *state_dir, SinkPosition *position,
		  bool *found, Error *err)
{
	Sink *sink;
	bool ok;

	*found = false;
	if (!config->type->create(config->name, config->options, stream_id, state_dir, &sink, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = config->type->peek(sink, position, found, err);
	config->type->destroy(sink);
	return ok || error_wrap(err, "sink \"%s\"", config->name);
}

/* ---- replay ------------------------------------------------------------------------------------ */

static bool
open_reader(Feed *feed, int feed_dirfd, uint64_t seq, FeedReader **reader, Error *err)
{
	if (feed != NULL)
		return feed_reader_open(feed, seq, reader, err);
	return feed_reader_open_dir(feed_dirfd, seq, reader, err);
}

/*
 * The position just before unit seq, counters at zero.  The total comes from the unit itself; its
 * predecessor, if the feed still has it, gives end_lsn and time, which only people look at.
 */
static bool
position_before(Feed *feed, int feed_dirfd, uint64_t seq, SinkPosition *position, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event = FEED_NOTHING;
	Error ignored = {0};
	bool found = false;

	if (seq > 1 && open_reader(feed, feed_dirfd, seq - 1, &reader, &ignored))
	{
		while ((event = feed_reader_next(reader, &record, &ignored)) == FEED_RECORD &&
			   record.header.seq < seq)
		{
			position->end_lsn = record.header.end_lsn;
			position->commit_time_us = record.header.commit_time_us;
		}
		feed_reader_close(reader);
	}
	if (!open_reader(feed, feed_dirfd, seq, &reader, err))
		return false;
	event = feed_reader_next(reader, &record, err);
	if (event == FEED_RECORD && record.header.seq == seq && record.header.part == 0)
	{
		position->seq = seq - 1;
		position->total_start = record.header.total - record.header.outputs;
		found = true;
	}
	else if (event != FEED_ERROR)
		error_set(err, ERR_CONFIG, "the feed does not hold unit %llu", (unsigned long long) seq);
	feed_reader_close(reader);
	return found;
}

static bool
rewind_open(const SinkConfig *config, Sink *sink, SinkPosition *lowered, uint64_t from_seq, Error *err)
{
	SinkPosition now = {0};
	bool found = false;
	bool ok;

	if (!config->type->open(sink, &now, &found, err))
		return false;
	if (!found)
		ok = error_set(err, ERR_CONFIG, "there is nothing to replay: it has no checkpoint yet");
	else if (from_seq > now.seq + 1)
	{
		error_set(err, ERR_CONFIG, "cannot replay from unit %llu: it has only reached unit %llu",
				  (unsigned long long) from_seq, (unsigned long long) now.seq);
		ok = error_hint(err, "A replay goes back; forward nothing may be skipped.");
	}
	else
	{
		lowered->stream_id = now.stream_id;
		lowered->owner_epoch = now.owner_epoch;
		ok = config->type->rewind(sink, lowered, err);
	}
	config->type->close(sink);
	return ok;
}

bool
sink_replay(const SinkConfig *config, const StreamId *stream_id, const char *state_dir, Feed *feed_or_null,
			int feed_dirfd, uint64_t from_seq, Error *err)
{
	SinkPosition lowered = {0};
	Sink *sink;
	bool ok;

	if (from_seq == 0)
		return error_set(err, ERR_CONFIG, "units are numbered from 1");
	if (!position_before(feed_or_null, feed_dirfd, from_seq, &lowered, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	if (!config->type->create(config->name, config->options, stream_id, state_dir, &sink, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = rewind_open(config, sink, &lowered, from_seq, err);
	config->type->destroy(sink);
	return ok || error_wrap(err, "sink \"%s\"", config->name);
}
