/*
 * feed.c -- see feed.h.  A segmented log with one group per record; its type tells whether the unit is complete.
 */
#include "feed/feed.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "feed/dictionary.h"

#define FEED_MAGIC UINT32_C(0x44465257) /* "WRFD" */
#define FEED_WHAT "feed"

enum
{
	FEED_PIECE = 1, /* more pieces of this unit follow */
	FEED_LAST = 2,	/* the unit, or its last piece */
};

struct Feed
{
	SegLog *log;
	_Atomic uint64_t durable; /* of the journal */
	/* while opening */
	uint8_t last_type; /* of the last record kept, 0 = not seen */
	uint64_t store_seq;
	uint32_t store_part;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	_Atomic uint64_t events; /* flushes, moves of the mark, wakes */
};

struct FeedReader
{
	Feed *feed; /* NULL: of a directory */
	SegReader *segments;
	Dictionary *dictionary;
	uint64_t from;
	uint64_t events; /* as of the last next */
	bool held;		 /* `record` is read but its unit is not durable yet */
	SegRecord record;
};

/* ---- life ------------------------------------------------------------------------------------- */

static Feed *
feed_alloc(void)
{
	Feed *feed = xcalloc(1, sizeof(*feed));
	pthread_condattr_t attr;

	pthread_mutex_init(&feed->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&feed->moved, &attr);
	pthread_condattr_destroy(&attr);
	return feed;
}

void
feed_close(Feed *feed)
{
	if (feed == NULL)
		return;
	seglog_close(feed->log);
	pthread_cond_destroy(&feed->moved);
	pthread_mutex_destroy(&feed->lock);
	free(feed);
}

static SegSettings
log_settings(const FeedSettings *settings)
{
	return (SegSettings){.what = FEED_WHAT,
						 .magic = FEED_MAGIC,
						 .segment_bytes = settings->segment_bytes,
						 .stream_id = settings->stream_id,
						 .preamble = settings->dictionary,
						 .context = settings->context,
						 .derived = true};
}

bool
feed_create(int dirfd, const FeedSettings *settings, Feed **result, Error *err)
{
	SegSettings log = log_settings(settings);
	Feed *feed = feed_alloc();

	*result = NULL;
	if (!seglog_create(dirfd, &log, &feed->log, err))
	{
		feed_close(feed);
		return false;
	}
	*result = feed;
	return true;
}

/* ---- R7: back to the store's position --------------------------------------------------------- */

static void
dictionary_seen(void *context, Slice payload)
{
}

static void
record_seen(void *context, SegPosition at, uint8_t type, bool first, bool last, Slice payload)
{
	((Feed *) context)->last_type = type;
}

/* Both must have cut the last unit alike: into as many pieces, or not at all. */
static bool
accept(void *context, Error *err)
{
	const Feed *feed = context;
	bool in_unit = feed->store_part > 0;

	if (feed->last_type != (in_unit ? FEED_LAST : FEED_PIECE))
		return true;
	return error_set(err, ERR_REFUSE,
					 "the feed's record of unit %llu is not of as many pieces as the store's",
					 (unsigned long long) feed->store_seq + in_unit);
}

static bool
refuse_hint(Error *err)
{
	if (err->class == ERR_REFUSE)
		error_hint(
			err, "Feed and store are not of one history: was one of them restored, copied or deleted? To "
				 "start over: \"walrank rebuild\" makes a new stream and fills it from the tables; sinks go "
				 "along.");
	return false;
}

/* Whole units up to store_seq, however many pieces the last one has; or some pieces of the next. */
static void
cut_range(uint64_t store_seq, uint32_t store_part, SegPosition *least, SegPosition *most)
{
	*least = (SegPosition){store_seq, 0};
	*most = (SegPosition){store_seq, UINT32_MAX};
	if (store_part > 0)
		*least = *most = (SegPosition){store_seq + 1, store_part - 1};
}

static SegScan
cut_scan(Feed *feed, uint64_t store_seq, uint32_t store_part)
{
	feed->last_type = 0;
	feed->store_seq = store_seq;
	feed->store_part = store_part;
	return (SegScan){
		.preamble_seen = dictionary_seen, .record_seen = record_seen, .accept = accept, .context = feed};
}

bool
feed_reaches(int dirfd, const FeedSettings *settings, uint64_t store_seq, uint32_t store_part, Error *err)
{
	SegSettings log = log_settings(settings);
	Feed seen;
	SegScan scan = cut_scan(&seen, store_seq, store_part);
	SegPosition least;
	SegPosition most;

	cut_range(store_seq, store_part, &least, &most);
	return seglog_reaches(dirfd, &log, &scan, least, most, err);
}

bool
feed_open(int dirfd, const FeedSettings *settings, uint64_t store_seq, uint32_t store_part, Feed **result,
		  Error *err)
{
	SegSettings log = log_settings(settings);
	Feed *feed = feed_alloc();
	SegScan scan = cut_scan(feed, store_seq, store_part);
	SegPosition least;
	SegPosition most;

	*result = NULL;
	cut_range(store_seq, store_part, &least, &most);
	if (!seglog_open_cut(dirfd, &log, &scan, least, most, &feed->log, err))
	{
		feed_close(feed);
		return refuse_hint(err);
	}
	*result = feed;
	return true;
}

/* ---- writer ----------------------------------------------------------------------------------- */

bool
feed_append(Feed *feed, const RecordHeader *header, Slice record, Error *err)
{
	Error ignored;

	if (!seglog_begin(feed->log, (SegPosition){header->seq, header->part}, err))
		return false;
	if (seglog_append(feed->log, header->last ? FEED_LAST : FEED_PIECE, true, &record, 1, err))
		return true;
	seglog_abandon(feed->log, &ignored); /* if that fails the log is poisoned and says so next time */
	return false;
}

static void
happened(Feed *feed)
{
	pthread_mutex_lock(&feed->lock);
	atomic_fetch_add(&feed->events, 1);
	pthread_cond_broadcast(&feed->moved);
	pthread_mutex_unlock(&feed->lock);
}

bool
feed_flush(Feed *feed, Error *err)
{
	if (!seglog_flush(feed->log, err))
		return false;
	happened(feed);
	return true;
}

bool
feed_sync(Feed *feed, Error *err)
{
	return seglog_sync(feed->log, err);
}

uint64_t
feed_first_seq(Feed *feed)
{
	return seglog_first(feed->log).seq;
}

bool
feed_trim(Feed *feed, uint64_t below_seq, Error *err)
{
	return seglog_trim(feed->log, (SegPosition){below_seq, 0}, err);
}

uint64_t
feed_bytes(Feed *feed)
{
	return seglog_bytes(feed->log);
}

SegLog *
feed_log(Feed *feed)
{
	return feed->log;
}

void
feed_set_durable(Feed *feed, uint64_t seq)
{
	uint64_t known = atomic_load(&feed->durable);

	while (known < seq)
		if (atomic_compare_exchange_weak(&feed->durable, &known, seq))
		{
			happened(feed);
			return;
		}
}

uint64_t
feed_durable(Feed *feed)
{
	return atomic_load(&feed->durable);
}

void
feed_wake(Feed *feed)
{
	happened(feed);
}

/* ---- reader ----------------------------------------------------------------------------------- */

static FeedReader *
reader_make(Feed *feed, SegReader *segments, uint64_t seq)
{
	FeedReader *reader = xcalloc(1, sizeof(*reader));

	segreader_show_all(segments); /* what the skipped records define is needed */
	reader->feed = feed;
	reader->segments = segments;
	reader->dictionary = dictionary_create();
	reader->from = seq;
	return reader;
}

bool
feed_reader_open(Feed *feed, uint64_t seq, FeedReader **reader, Error *err)
{
	SegReader *segments;

	*reader = NULL;
	if (!segreader_open(feed->log, (SegPosition){seq, 0}, &segments, err))
		return false;
	*reader = reader_make(feed, segments, seq);
	return true;
}

bool
feed_reader_open_dir(int dirfd, uint64_t seq, FeedReader **reader, Error *err)
{
	SegReader *segments;

	*reader = NULL;
	if (!segreader_open_dir(dirfd, FEED_MAGIC, FEED_WHAT, (SegPosition){seq, 0}, &segments, err))
		return false;
	*reader = reader_make(NULL, segments, seq);
	return true;
}

void
feed_reader_close(FeedReader *reader)
{
	if (reader == NULL)
		return;
	segreader_close(reader->segments);
	dictionary_destroy(reader->dictionary);
	free(reader);
}

/* The definitions are taken in before the caller sees the record; *wanted: it is at or after the position asked for. */
static bool
take(FeedReader *reader, RecordReader *record, bool *wanted, Error *err)
{
	const SegRecord *from = &reader->record;

	*wanted = from->at.seq >= reader->from;
	if (!dictionary_take_record(reader->dictionary, from->payload, err) ||
		!record_open(from->payload, record, err))
		return error_wrap(err, "feed, unit %llu", (unsigned long long) from->at.seq);
	if (record->header.seq != from->at.seq || record->header.part != from->at.part ||
		record->header.last != (from->type == FEED_LAST))
		return error_set(err, ERR_DATA, "feed, unit %llu: the record is that of unit %llu",
						 (unsigned long long) from->at.seq, (unsigned long long) record->header.seq);
	return true;
}

FeedEvent
feed_reader_next(FeedReader *reader, RecordReader *record, Error *err)
{
	bool wanted;

	if (reader->feed != NULL)
		reader->events = atomic_load(&reader->feed->events);
	for (;;) /* each round moves on by a record or returns */
	{
		SegResult result = reader->held ? SEG_RECORD : segreader_next(reader->segments, &reader->record, err);

		if (result == SEG_ERROR)
			return FEED_ERROR;
		if (result == SEG_END)
			return FEED_NOTHING;
		if (result == SEG_PREAMBLE)
		{
			if (reader->record.payload.len > 0 &&
				!dictionary_take_record(reader->dictionary, reader->record.payload, err))
				return FEED_ERROR;
			continue;
		}
		/* R5: the journal may still lose this unit */
		reader->held = reader->feed != NULL && reader->record.at.seq > feed_durable(reader->feed);
		if (reader->held)
			return FEED_NOTHING;
		if (!take(reader, record, &wanted, err))
			return FEED_ERROR;
		if (wanted)
			return FEED_RECORD;
	}
}

bool
feed_reader_wait(FeedReader *reader, int64_t timeout_us)
{
	Feed *feed = reader->feed;
	int64_t deadline = clock_monotonic_us() + timeout_us;
	struct timespec until = {.tv_sec = deadline / 1000000, .tv_nsec = deadline % 1000000 * 1000};
	bool moved;

	if (feed == NULL)
		return false;
	pthread_mutex_lock(&feed->lock);
	while (reader->events == atomic_load(&feed->events) &&
		   pthread_cond_timedwait(&feed->moved, &feed->lock, &until) != ETIMEDOUT)
		;
	moved = reader->events != atomic_load(&feed->events);
	pthread_mutex_unlock(&feed->lock);
	return moved;
}

const FeedRelation *
feed_relation(const FeedReader *reader, uint32_t number)
{
	return dictionary_relation(reader->dictionary, number, 0);
}

const FeedRelation *
feed_relation_version(const FeedReader *reader, uint32_t number, uint64_t fingerprint)
{
	return fingerprint != 0 ? dictionary_relation(reader->dictionary, number, fingerprint) : NULL;
}

const FeedRanking *
feed_ranking(const FeedReader *reader, uint32_t number)
{
	return dictionary_ranking(reader->dictionary, number);
}

uint64_t
feed_fill(const FeedReader *reader, const char *sink)
{
	return dictionary_fill(reader->dictionary, slice_string(sink));
}

/* ---- verify ----------------------------------------------------------------------------------- */

typedef struct Verify
{
	Dictionary *dictionary;
	bool broken;
	Error why;
} Verify;

static void
verify_dictionary(void *context, Slice payload)
{
	Verify *verify = context;

	if (!verify->broken && payload.len > 0)
		verify->broken = !dictionary_take_record(verify->dictionary, payload, &verify->why);
}

static void
verify_record(void *context, SegPosition at, uint8_t type, bool first, bool last, Slice payload)
{
	Verify *verify = context;
	RecordReader reader;

	if (verify->broken)
		return;
	verify->broken = !dictionary_take_record(verify->dictionary, payload, &verify->why) ||
					 !record_open(payload, &reader, &verify->why);
	if (!verify->broken && (reader.header.seq != at.seq || reader.header.part != at.part))
		verify->broken = !error_set(&verify->why, ERR_DATA, "the record is that of another unit");
	if (verify->broken)
		error_wrap(&verify->why, "feed, unit %llu", (unsigned long long) at.seq);
}

bool
feed_verify(int dirfd, SegVerify *report, Error *err)
{
	Verify verify = {.dictionary = dictionary_create()};
	SegScan scan = {.preamble_seen = verify_dictionary, .record_seen = verify_record, .context = &verify};
	bool ok = seglog_verify(dirfd, FEED_WHAT, FEED_MAGIC, &scan, report, err);

	dictionary_destroy(verify.dictionary);
	if (ok && verify.broken)
		*err = verify.why;
	return ok && !verify.broken;
}
