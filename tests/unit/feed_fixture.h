/*
 * feed_fixture.h -- a real feed in a directory of its own, filled record by record, for tests.
 */
#ifndef WALRANK_FEED_FIXTURE_H
#define WALRANK_FEED_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "feed/feed.h"
#include "wire_put.h"

typedef struct FeedFixture
{
	char dir[64]; /* the test's files go here as well */
	char feed_dir[80];
	int dirfd;
	StreamId stream;
	Feed *feed;
	Buffer record;
	Buffer definitions; /* what a new segment begins with */
	RecordHeader header;
	uint64_t fingerprints[16]; /* newest, by relation number */
} FeedFixture;

#define MUST(condition)                                                                                      \
	do                                                                                                       \
	{                                                                                                        \
		if (!(condition))                                                                                    \
		{                                                                                                    \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, fixture_error.message);       \
			abort();                                                                                         \
		}                                                                                                    \
	} while (0)

static Error fixture_error;
static uint64_t fixture_segment_bytes = 64 << 20;

static inline void
fixture_dictionary(void *context, Buffer *out)
{
	FeedFixture *f = context;

	record_begin(out);
	buffer_append(out, f->definitions.data, f->definitions.len);
	record_finish(out, 0, &(RecordHeader){.kind = UNIT_NONE, .last = true});
}

static inline void
fixture_open(FeedFixture *f)
{
	FeedSettings settings = {
		.segment_bytes = fixture_segment_bytes, .dictionary = fixture_dictionary, .context = f};

	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/walrank-test-XXXXXX");
	MUST(mkdtemp(f->dir) != NULL);
	snprintf(f->feed_dir, sizeof(f->feed_dir), "%s/feed", f->dir);
	MUST(fs_open_dir(f->feed_dir, true, &f->dirfd, &fixture_error));
	memset(f->stream.bytes, 0x5a, sizeof(f->stream.bytes));
	settings.stream_id = f->stream;
	MUST(feed_create(f->dirfd, &settings, &f->feed, &fixture_error));
}

static inline void
fixture_close(FeedFixture *f)
{
	char command[128];

	feed_close(f->feed);
	close(f->dirfd);
	buffer_free(&f->record);
	buffer_free(&f->definitions);
	snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
	MUST(system(command) == 0);
}

/* The next unit, or the next piece of it. */
static inline void
fixture_begin(FeedFixture *f, UnitKind kind)
{
	buffer_reset(&f->record);
	record_begin(&f->record);
	if (f->header.seq == 0 || f->header.last)
	{
		f->header.seq++;
		f->header.part = 0;
	}
	else
		f->header.part++;
	f->header.kind = kind;
	f->header.commit_lsn = kind == UNIT_TXN ? 0x1000000 + f->header.seq * 0x100 : 0;
	f->header.end_lsn = 0x1000000 + f->header.seq * 0x100 + 0x80;
	f->header.commit_time_us = kind == UNIT_TXN ? INT64_C(1795185989174215) + (int64_t) f->header.seq : 0;
	f->header.now_us = INT64_C(1795185990000000) + (int64_t) f->header.seq;
	f->header.xid = kind == UNIT_TXN ? 770 + f->header.seq : 0;
	f->header.outputs = 0;
}

static inline void
fixture_entry(FeedFixture *f, const RecordEntry *entry)
{
	record_entry(&f->record, entry);
	if (record_is_output(entry->kind))
	{
		f->header.outputs++;
		f->header.total++;
	}
	if (entry->kind == RECORD_RELATION || entry->kind == RECORD_RANKING || entry->kind == RECORD_FILL)
		record_entry(&f->definitions, entry);
}

/* The piece ends; with last, the unit. Readers see it. */
static inline void
fixture_end(FeedFixture *f, bool last)
{
	f->header.last = last;
	record_finish(&f->record, 0, &f->header);
	MUST(feed_append(f->feed, &f->header, buffer_slice(&f->record), &fixture_error));
	MUST(feed_flush(f->feed, &fixture_error));
	if (last)
		feed_set_durable(f->feed, f->header.seq);
}

typedef struct FixtureColumn
{
	const char *name;
	const char *type;
	bool key;
} FixtureColumn;

static inline void
fixture_relation(FeedFixture *f, uint32_t number, const char *schema, const char *table, const char *map,
				 const FixtureColumn *columns)
{
	Buffer body = {0};
	Buffer whole = {0};
	Buffer column = {0};
	RecordEntry entry = {.kind = RECORD_RELATION, .relation = number};

	put_text(&body, RELATION_SCHEMA, schema);
	put_text(&body, RELATION_TABLE, table);
	put_number(&body, RELATION_OID, 16384 + number);
	for (; columns->name != NULL; columns++)
	{
		buffer_reset(&column);
		put_text(&column, COLUMN_NAME, columns->name);
		put_number(&column, COLUMN_TYPE_OID, 25);
		put_text(&column, COLUMN_TYPE_NAME, columns->type);
		put_number(&column, COLUMN_TYPMOD, wire_zigzag(-1));
		put_number(&column, COLUMN_KEY, columns->key);
		put_bytes(&body, RELATION_COLUMNS, buffer_slice(&column));
	}
	f->fingerprints[number] = wire_fingerprint(buffer_slice(&body));
	put_varint(&whole, WIRE_TAG(RELATION_FINGERPRINT, WIRE_FIXED64));
	buffer_append_u64(&whole, f->fingerprints[number]);
	buffer_append_slice(&whole, buffer_slice(&body));
	entry.relation_def.number = number;
	entry.relation_def.descriptor = buffer_slice(&whole);
	entry.relation_def.map = slice_string(map);
	fixture_entry(f, &entry);
	buffer_free(&body);
	buffer_free(&whole);
	buffer_free(&column);
}

static inline void
fixture_ranking(FeedFixture *f, uint32_t number, uint32_t relation, const char *name)
{
	fixture_entry(f, &(RecordEntry){.kind = RECORD_RANKING,
									.relation = relation,
									.ranking_def = {number, relation, 4, slice_string(name)}});
}

/* Key columns' Value fields. */
static inline void
key_add(Buffer *key, Slice value)
{
	put_bytes(key, CHANGE_KEY, value);
}

static inline void
fixture_score(FeedFixture *f, uint32_t change, uint32_t relation, uint32_t ranking, Slice key, double score)
{
	fixture_entry(f, &(RecordEntry){.kind = RECORD_SCORE,
									.change = change,
									.out = ranking,
									.relation = relation,
									.key = key,
									.score = {.score = score, .version = 4}});
}

static inline void
fixture_remove(FeedFixture *f, uint32_t change, uint32_t relation, uint32_t ranking, Slice key)
{
	fixture_entry(
		f, &(RecordEntry){
			   .kind = RECORD_REMOVE, .change = change, .out = ranking, .relation = relation, .key = key});
}

static inline void
fixture_truncate(FeedFixture *f, uint32_t change, uint32_t relation)
{
	fixture_entry(f, &(RecordEntry){.kind = RECORD_TRUNCATE, .change = change, .relation = relation});
}

/* kind: RECORD_FILL, before all else of a record, or RECORD_FILLED, behind it. */
static inline void
fixture_fill(FeedFixture *f, RecordKind kind, const char *sink, uint64_t from)
{
	fixture_entry(f, &(RecordEntry){.kind = kind, .fill = {slice_string(sink), from}});
}

/* An attribute of an image: key NULL for a plain column. */
static inline void
image_add(Buffer *image, uint32_t column, const char *key, WireState state, Slice value)
{
	Buffer body = {0};

	put_number(&body, ATTRIBUTE_COLUMN, column);
	if (key != NULL)
		put_text(&body, ATTRIBUTE_KEY, key);
	if (state != STATE_SET)
		put_number(&body, ATTRIBUTE_STATE, state);
	else
		put_bytes(&body, ATTRIBUTE_VALUE, value);
	put_bytes(image, CHANGE_ATTRIBUTES, buffer_slice(&body));
	buffer_free(&body);
}

static inline void
fixture_change(FeedFixture *f, uint32_t change, uint32_t relation, WireOp op, Slice key, Slice image)
{
	fixture_entry(f, &(RecordEntry){.kind = RECORD_CHANGE,
									.change = change,
									.relation = relation,
									.key = key,
									.row = {.op = op,
											.fingerprint = f->fingerprints[relation],
											.changed_known = true,
											.image = image}});
}

/* {"id": v} of a one-column key; valid until the next call. */
static inline Slice
key_int(int64_t v)
{
	static Buffer key;
	static Buffer value;

	buffer_reset(&key);
	key_add(&key, value_int(&value, v));
	return buffer_slice(&key);
}

static inline Slice
key_text(const char *v)
{
	static Buffer key;
	static Buffer value;

	buffer_reset(&key);
	key_add(&key, value_text(&value, v));
	return buffer_slice(&key);
}

#endif /* WALRANK_FEED_FIXTURE_H */
