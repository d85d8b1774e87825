/*
 * feed.h -- the output log: one record per unit, in order; everything downstream is a cursor on it.
 *
 * A pure function of journal and store.  It is synced only for a store snapshot and at a clean stop;
 * after a crash it is cut to the store's position and derived again, byte for byte (R7).  Readers
 * never pass the journal's durable unit (R5).
 */
#ifndef WALRANK_FEED_H
#define WALRANK_FEED_H

#include "journal/seglog.h"
#include "score/record.h"

typedef struct Feed Feed;
typedef struct FeedReader FeedReader;

typedef struct FeedSettings
{
	uint64_t segment_bytes;
	StreamId stream_id;
	/* The dictionary a new segment begins with, for the state BEFORE the record that follows: called inside feed_append
	 * (and feed_create) right after the record that filled the segment before it. */
	void (*dictionary)(void *context, Buffer *out);
	void *context;
} FeedSettings;

extern bool feed_create(int dirfd, const FeedSettings *settings, Feed **feed, Error *err);
/* Opens and cuts to (seq, part); ERR_REFUSE, nothing touched, when the feed does not reach it. */
extern bool feed_open(int dirfd, const FeedSettings *settings, uint64_t store_seq, uint32_t store_part,
					  Feed **feed, Error *err);
/* What it would refuse, with nothing touched. */
extern bool feed_reaches(int dirfd, const FeedSettings *settings, uint64_t store_seq, uint32_t store_part,
						 Error *err);
extern void feed_close(Feed *feed);

/* record: from scorer_record(). Gathers in memory until flush. On ERR_SPACE nothing was appended: call again. */
extern bool feed_append(Feed *feed, const RecordHeader *header, Slice record, Error *err);
extern bool feed_flush(Feed *feed, Error *err);
/* Of what is flushed; any thread. */
extern bool feed_sync(Feed *feed, Error *err);
extern uint64_t feed_first_seq(Feed *feed);
extern bool feed_trim(Feed *feed, uint64_t below_seq, Error *err);
extern uint64_t feed_bytes(Feed *feed);
extern SegLog *feed_log(Feed *feed); /* for its segments and its quota */
/* R5: set by the daemon whenever the journal's durable mark moves; wakes readers. Never goes back; any thread. */
extern void feed_set_durable(Feed *feed, uint64_t seq);
extern uint64_t feed_durable(Feed *feed);
extern void feed_wake(Feed *feed);

/* The cursor. Records of units <= durable only. `part`: pieces of unit seq already applied are skipped by the caller (K3). */
extern bool feed_reader_open(Feed *feed, uint64_t seq, FeedReader **reader, Error *err);
extern bool feed_reader_open_dir(int dirfd, uint64_t seq, FeedReader **reader,
								 Error *err); /* daemon stopped */
typedef enum
{
	FEED_RECORD,
	FEED_NOTHING,
	FEED_ERROR,
} FeedEvent;
/* Dictionary entries met on the way (also in preambles) are kept in the reader. */
extern FeedEvent feed_reader_next(FeedReader *reader, RecordReader *record, Error *err);
/* Until something happened since the last next: a flush, a move of the durable mark, a wake. False: timeout. */
extern bool feed_reader_wait(FeedReader *reader, int64_t timeout_us);
extern void feed_reader_close(FeedReader *reader);

/* What the reader's dictionary knows; NULL when unknown. Valid while the reader is open, until a newer version replaces it. */
typedef struct FeedColumn
{
	char *name;
	char *type_name;
	int32_t typmod;
	bool key;
} FeedColumn;
typedef struct FeedRelation
{
	uint32_t number;
	uint32_t oid;
	uint64_t fingerprint;
	char *schema;
	char *table;
	char *qualified; /* quote_ident'ed "schema.table" */
	int map;		 /* index of the map column, -1 = none */
	int ncolumns;
	FeedColumn *columns;
} FeedRelation;
typedef struct FeedRanking
{
	uint32_t number;
	uint32_t relation;
	uint32_t version;
	char *name;
} FeedRanking;
extern const FeedRelation *feed_relation(const FeedReader *reader, uint32_t number);
/* The version a row's image is written under. One record may hold rows of two versions (a table altered inside a
 * transaction), of which feed_relation() knows the newest; the last few versions stay. NULL when unknown. */
extern const FeedRelation *feed_relation_version(const FeedReader *reader, uint32_t number,
												 uint64_t fingerprint);
/* The unit that began the newest fill of a sink, as far as the reader has come; 0 = none. */
extern uint64_t feed_fill(const FeedReader *reader, const char *sink);
extern const FeedRanking *feed_ranking(const FeedReader *reader, uint32_t number);

/* Reads and checks every record; the daemon must be stopped. False on the first bad one, named in err and report. */
extern bool feed_verify(int dirfd, SegVerify *report, Error *err);

#endif /* WALRANK_FEED_H */
