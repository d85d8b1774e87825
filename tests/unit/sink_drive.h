/*
 * sink_drive.h -- drives a sink's verbs from a real feed without the runner's thread.
 */
#ifndef WALRANK_SINK_DRIVE_H
#define WALRANK_SINK_DRIVE_H

#include "feed_fixture.h"
#include "sinks/sink.h"

typedef struct Drive
{
	const SinkType *type;
	Sink *sink;
	SinkHistory history; /* of the feed's stream */
	SinkStand stand;
	SinkPosition position;
	bool found;
	Error err;
} Drive;

static inline void
drive_create(Drive *d, const SinkType *type, const char *name, const void *options, const FeedFixture *f)
{
	memset(d, 0, sizeof(*d));
	d->type = type;
	d->history.stream_id = f->stream;
	MUST(type->create(name, options, &d->history, f->dir, &d->sink, &fixture_error));
}

static inline bool
drive_open(Drive *d)
{
	const SinkOffer offer = {.first_seq = 1, .durable_seq = UINT64_MAX - 1};

	memset(&d->position, 0, sizeof(d->position));
	memset(&d->stand, 0, sizeof(d->stand));
	if (!d->type->open(d->sink, &d->stand, &d->err))
		return false;
	d->found = d->stand.found;
	switch (position_judge("lines", &d->history, &d->stand, &offer, &d->position, &d->err))
	{
		case POSITION_GO_ON:
			return true;
		case POSITION_BEGIN:
			return d->type->begin(d->sink, &d->position, &d->err);
		case POSITION_REFUSE:
			break;
	}
	d->type->close(d->sink);
	return false;
}

static inline void
drive_destroy(Drive *d)
{
	d->type->close(d->sink);
	d->type->destroy(d->sink);
}

/* Everything after the position goes to apply; no commit. */
static inline bool
drive_apply(Drive *d, const FeedFixture *f)
{
	FeedReader *reader;
	RecordReader record;
	RecordEntry entry;
	bool ok = true;

	MUST(feed_reader_open(f->feed, d->position.seq + 1, &reader, &fixture_error));
	while (ok && feed_reader_next(reader, &record, &fixture_error) == FEED_RECORD)
	{
		for (bool done = false; ok && !done;)
		{
			SinkFate fate;

			MUST(record_next(&record, &entry, &done, &fixture_error));
			if (done || !record_is_output(entry.kind))
				continue;
			ok = d->type->apply(d->sink, reader, &record.header, &entry, &fate, &d->err);
			position_count(&d->position, fate);
		}
		d->position.seq = record.header.seq;
		d->position.end_lsn = record.header.end_lsn;
		d->position.commit_time_us = record.header.commit_time_us;
	}
	feed_reader_close(reader);
	return ok;
}

static inline bool
drive_commit(Drive *d)
{
	return d->type->commit(d->sink, &d->position, &d->err);
}

static inline bool
drive_all(Drive *d, const FeedFixture *f)
{
	return drive_apply(d, f) && drive_commit(d);
}

#endif /* WALRANK_SINK_DRIVE_H */
