/*
 * tools.c -- what people do to a sink's checkpoint: begin it, set it back, write it elsewhere, verify.
 */
#include "sinks/sink.h"

#include "base/clock.h"

/* How long a running scorer may take to reach what is durable. */
#define CATCH_UP_US INT64_C(30000000)
#define INTO_ROWS 10000 /* of a batch to another target */

typedef unsigned long long ull;

const char *const sink_from_names[] = {"oldest", "now", "current", NULL};

/* ---- the feed --------------------------------------------------------------------------------- */

static bool
open_reader(SinkSource source, uint64_t seq, FeedReader **reader, Error *err)
{
	if (source.feed != NULL)
		return feed_reader_open(source.feed, seq, reader, err);
	return feed_reader_open_dir(source.dirfd, seq, reader, err);
}

/* First unit held, and the last that may be read. */
static bool
extent(SinkSource source, uint64_t *first, uint64_t *last, Error *err)
{
	SegVerify report;

	if (source.feed != NULL)
	{
		*first = feed_first_seq(source.feed);
		*last = feed_durable(source.feed);
		return true;
	}
	*first = source.first_seq;
	*last = source.last_seq;
	if (source.last_seq != 0)
		return true;
	if (!feed_verify(source.dirfd, &report, err))
		return false;
	*first = report.first.seq + 1;
	*last = report.last.seq;
	return true;
}

/* The next record, which a running scorer may still have to make. */
static FeedEvent
next_record(SinkSource source, FeedReader *reader, RecordReader *record, Error *err)
{
	const int64_t deadline_us = clock_monotonic_us() + CATCH_UP_US;
	FeedEvent event = feed_reader_next(reader, record, err);

	while (event == FEED_NOTHING && source.feed != NULL && clock_monotonic_us() < deadline_us)
	{
		feed_reader_wait(reader, INT64_C(100000));
		event = feed_reader_next(reader, record, err);
	}
	return event;
}

/*
 * The position just before unit seq, counters at zero.  The total comes from the unit itself; its
 * predecessor, if the feed still has it, gives end_lsn and time, which only people look at.
 */
static bool
position_before(SinkSource source, uint64_t seq, SinkPosition *position, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event = FEED_NOTHING;
	Error ignored = {0};
	bool found = false;

	if (seq > 1 && open_reader(source, seq - 1, &reader, &ignored))
	{
		while ((event = feed_reader_next(reader, &record, &ignored)) == FEED_RECORD &&
			   record.header.seq < seq)
		{
			position->end_lsn = record.header.end_lsn;
			position->commit_time_us = record.header.commit_time_us;
		}
		feed_reader_close(reader);
	}
	if (!open_reader(source, seq, &reader, err))
		return false;
	event = feed_reader_next(reader, &record, err);
	if (event == FEED_RECORD && record.header.seq == seq && record.header.part == 0)
	{
		position_begin(position, &record.header, SINK_WHOLE);
		found = true;
	}
	else if (event != FEED_ERROR)
		error_set(err, ERR_CONFIG, "the feed does not hold unit %llu", (ull) seq);
	feed_reader_close(reader);
	return found;
}

/* The position just after unit seq. */
static bool
position_after(SinkSource source, uint64_t seq, SinkPosition *position, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event = FEED_RECORD;
	bool found = false;

	if (!open_reader(source, seq, &reader, err))
		return false;
	while (!found && (event = next_record(source, reader, &record, err)) == FEED_RECORD)
	{
		position->seq = record.header.seq;
		position->end_lsn = record.header.end_lsn;
		position->total_start = record.header.total;
		position->commit_time_us = record.header.commit_time_us;
		found = record.header.last;
	}
	feed_reader_close(reader);
	if (event == FEED_NOTHING)
		error_set(err, ERR_RETRY, "the scorer has not reached unit %llu yet", (ull) seq);
	return found;
}

/* ---- a sink for the length of a call ------------------------------------------------------------ */

static bool
make(const SinkConfig *config, const SinkHistory *history, const char *state_dir, const char *target,
	 Sink **sink, Error *err)
{
	if (!config->type->create(config->name, config->options, history, state_dir, sink, err))
		return false;
	if (target == NULL)
		return true;
	if (config->type->retarget == NULL)
		error_set(err, ERR_CONFIG, "sinks of type %s write to one target only", config->type->name);
	else if (config->type->retarget(*sink, target, err))
		return true;
	config->type->destroy(*sink);
	return false;
}

/* Opens a sink that has to be new and empty, and makes *position its first checkpoint. */
static bool
begin_new(const SinkConfig *config, const SinkHistory *history, Sink *sink, SinkPosition *position,
		  Error *err)
{
	SinkStand stand = {0};

	if (!config->type->open(sink, &stand, err))
		return false;
	if (stand.found)
		error_set(err, ERR_CONFIG, "it has a checkpoint already, at unit %llu", (ull) stand.position.seq);
	else if (!stand.empty)
		*err = stand.why;
	else
	{
		position->stream_id = history->stream_id;
		position->owner_epoch = stand.position.owner_epoch;
		if (config->type->begin(sink, position, err))
			return true;
	}
	config->type->close(sink);
	return false;
}

/* ---- add (K1) ------------------------------------------------------------------------------------ */

/* oldest: before the first unit held, or from the very beginning; now: after the last one. */
static bool
first_position(SinkSource source, SinkFrom from, SinkPosition *position, Error *err)
{
	uint64_t first;
	uint64_t last;

	if (!extent(source, &first, &last, err))
		return false;
	if (last < first)
		return true; /* nothing yet: both are the beginning */
	return from == SINK_FROM_OLDEST ? position_before(source, first, position, err)
									: position_after(source, last, position, err);
}

bool
sink_add(const SinkConfig *config, const SinkHistory *history, const char *state_dir, SinkSource source,
		 Journal *journal, SinkFrom from, Error *err)
{
	SinkPosition position = {0};
	Sink *sink;
	bool found;
	bool ok;

	if (from == SINK_FROM_CURRENT)
	{
		if (!sink_read(config, history, state_dir, &position, &found, err))
			return false;
		if (!found)
			return sink_fill_append(journal, source.feed, config->name, err);
		error_set(err, ERR_CONFIG, "sink \"%s\" has a checkpoint already, at unit %llu", config->name,
				  (ull) position.seq);
		return error_hint(err, "\"walrank sink fill %s\" fills it anew.", config->name);
	}
	if (!first_position(source, from, &position, err) || !make(config, history, state_dir, NULL, &sink, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = begin_new(config, history, sink, &position, err);
	config->type->close(sink);
	config->type->destroy(sink);
	return ok || error_wrap(err, "sink \"%s\"", config->name);
}

/* ---- replay -------------------------------------------------------------------------------------- */

/* What a rule refuses cannot be set back either. */
static bool
rewindable(const SinkConfig *config, const SinkHistory *history, const SinkStand *stand, uint64_t from_seq,
		   Error *err)
{
	const SinkOffer all = {.first_seq = 1, .durable_seq = UINT64_MAX - 1};
	SinkPosition start;

	if (!stand->found)
		return error_set(err, ERR_CONFIG, "there is nothing to replay: it has no checkpoint yet");
	if (position_judge(config->name, history, stand, &all, &start, err) == POSITION_REFUSE)
		return false;
	if (!stream_id_equal(&stand->position.stream_id, &history->stream_id))
		return error_set(err, ERR_CONFIG,
						 "there is nothing to replay: it was written by a stream that is replaced");
	if (from_seq <= stand->position.seq + 1)
		return true;
	error_set(err, ERR_CONFIG, "cannot replay from unit %llu: it has only reached unit %llu", (ull) from_seq,
			  (ull) stand->position.seq);
	return error_hint(err, "A replay goes back; forward nothing may be skipped.");
}

static bool
rewind_open(const SinkConfig *config, const SinkHistory *history, Sink *sink, SinkPosition *lowered,
			uint64_t from_seq, Error *err)
{
	SinkStand stand = {0};
	bool ok;

	if (!config->type->open(sink, &stand, err))
		return false;
	ok = rewindable(config, history, &stand, from_seq, err);
	if (ok)
	{
		lowered->stream_id = stand.position.stream_id;
		lowered->owner_epoch = stand.position.owner_epoch;
		lowered->phase = stand.position.phase;
		ok = config->type->rewind(sink, lowered, err);
	}
	config->type->close(sink);
	return ok;
}

static bool
before_unit(SinkSource source, uint64_t from_seq, SinkPosition *position, Error *err)
{
	if (from_seq == 0)
		return error_set(err, ERR_CONFIG, "units are numbered from 1");
	return position_before(source, from_seq, position, err);
}

bool
sink_replay(const SinkConfig *config, const SinkHistory *history, const char *state_dir, SinkSource source,
			uint64_t from_seq, Error *err)
{
	SinkPosition lowered = {0};
	Sink *sink;
	bool ok;

	if (!before_unit(source, from_seq, &lowered, err) || !make(config, history, state_dir, NULL, &sink, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = rewind_open(config, history, sink, &lowered, from_seq, err);
	config->type->destroy(sink);
	return ok || error_wrap(err, "sink \"%s\"", config->name);
}

/* ---- replay --into ------------------------------------------------------------------------------- */

/* Of fills only those of this sink are for it; they repeat, so they need no target of their own. */
static bool
into_record(const SinkConfig *config, Sink *sink, FeedReader *reader, RecordReader *record,
			SinkPosition *position, uint64_t *rows, Error *err)
{
	RecordEntry entry;
	uint32_t outputs = 0;
	bool fill;
	bool ours;
	bool done = false;

	if (!record_fill(record, &fill, &entry, err))
		return false;
	ours = !fill || slice_equal(entry.fill.sink, slice_string(config->name));
	while (record_next(record, &entry, &done, err) && !done)
	{
		SinkFate fate = SINK_FILTERED;

		if (!record_is_output(entry.kind))
			continue;
		if (ours && !config->type->apply(sink, reader, &record->header, &entry, &fate, err))
			return false;
		position_count(position, fate);
		outputs++;
	}
	*rows += outputs;
	return done && position_advance(position, &record->header, outputs, err);
}

/* Up to unit last, which may be read (R5). */
static bool
into_open(const SinkConfig *config, Sink *sink, SinkSource source, uint64_t last, SinkPosition *position,
		  Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event = FEED_RECORD;
	uint64_t rows = 0;
	bool ok = true;

	if (!open_reader(source, position->seq + 1, &reader, err))
		return false;
	while (ok && (event = feed_reader_next(reader, &record, err)) == FEED_RECORD && record.header.seq <= last)
	{
		ok = into_record(config, sink, reader, &record, position, &rows, err);
		if (ok && rows >= INTO_ROWS)
		{
			ok = config->type->commit(sink, position, err);
			rows = 0;
		}
	}
	feed_reader_close(reader);
	return ok && event != FEED_ERROR && config->type->commit(sink, position, err);
}

bool
sink_replay_into(const SinkConfig *config, const SinkHistory *history, const char *state_dir,
				 SinkSource source, uint64_t from_seq, const char *target, SinkPosition *reached, Error *err)
{
	uint64_t first;
	uint64_t last;
	Sink *sink;
	bool ok;

	memset(reached, 0, sizeof(*reached));
	if (!extent(source, &first, &last, err) || !before_unit(source, from_seq, reached, err) ||
		!make(config, history, state_dir, target, &sink, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = begin_new(config, history, sink, reached, err);
	if (ok)
	{
		ok = into_open(config, sink, source, last, reached, err);
		config->type->close(sink);
	}
	config->type->destroy(sink);
	return ok || error_wrap(err, "\"%s\"", target);
}

/* ---- verify -------------------------------------------------------------------------------------- */

bool
sink_verify(const SinkConfig *config, const SinkHistory *history, const char *state_dir, SinkSource source,
			SinkVerify *report, Error *err)
{
	FeedReader *reader;
	Sink *sink;
	uint64_t last;
	bool ok;

	memset(report, 0, sizeof(*report));
	if (config->type->verify == NULL)
		return error_set(err, ERR_CONFIG, "sink \"%s\": sinks of type %s cannot be verified", config->name,
						 config->type->name);
	if (!extent(source, &report->from_seq, &last, err) ||
		!open_reader(source, report->from_seq, &reader, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = make(config, history, state_dir, NULL, &sink, err);
	if (ok)
	{
		ok = config->type->verify(sink, reader, report, err);
		config->type->destroy(sink);
	}
	feed_reader_close(reader);
	return ok || error_wrap(err, "sink \"%s\"", config->name);
}

bool
sink_places(const SinkConfig *config, const SinkHistory *history, const char *state_dir, SinkPlaceVisit visit,
			void *context, SinkPosition *position, Error *err)
{
	Sink *sink;
	bool ok;

	if (config->type->places == NULL)
		return error_set(err, ERR_CONFIG, "sink \"%s\": sinks of type %s do not tell what they hold",
						 config->name, config->type->name);
	if (!make(config, history, state_dir, NULL, &sink, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = config->type->places(sink, visit, context, position, err);
	config->type->destroy(sink);
	return ok || error_wrap(err, "sink \"%s\"", config->name);
}
