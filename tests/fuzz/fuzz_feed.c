/*
 * fuzz_feed.c -- arbitrary bytes as feed segments: verify, open, read and show as lines; answers, and never a crash.
 *
 * The first byte chooses: raw bytes as the only segment; a sound one with bytes changed, cut or appended; or entries
 * under record headers and CRCs that fit, so that the dictionary and the lines are reached.  share: 1/2
 */
#include <stdlib.h>

#include "base/log.h"
#include "feed/feed.h"
#include "feed/ndjson.h"
#include "segments.h"

#define FEED_MAGIC 0x44465257 /* WRFD */
#define PIECE 1
#define LAST 2

static const StreamId stream = {{1}};
static Buffer good[2];

static void
no_dictionary(void *context, Buffer *out)
{
}

static const FeedSettings settings = {.segment_bytes = 2048, .stream_id = {{1}}, .dictionary = no_dictionary};

static void
score(Buffer *out, uint64_t seq)
{
	static const uint8_t key[] = {0x08, 0x02};
	RecordEntry entry = {
		.kind = RECORD_SCORE, .change = 1, .out = 1, .relation = 1, .key = {key, sizeof(key)}};
	RecordEntry ranking = {.kind = RECORD_RANKING, .ranking_def = {1, 1, 1, slice_string("home")}};

	entry.score.score = (double) seq;
	if (seq == 1)
		record_entry(out, &ranking);
	record_entry(out, &entry);
}

extern int LLVMFuzzerInitialize(int *argc, char ***argv);
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	RecordHeader header = {.kind = UNIT_TXN, .last = true, .outputs = 1};
	Buffer record = {0};
	Error err;
	Feed *feed;

	log_init(LOG_FATAL, false);
	fs = &memory_fs;
	if (!feed_create(MEMORY_DIR, &settings, &feed, &err))
		abort();
	for (header.seq = 1; header.seq <= 30; header.seq++)
	{
		header.total = header.seq;
		buffer_reset(&record);
		record_begin(&record);
		score(&record, header.seq);
		record_finish(&record, 0, &header);
		if (!feed_append(feed, &header, buffer_slice(&record), &err) || !feed_flush(feed, &err))
			abort();
	}
	feed_close(feed);
	memory_get("0000000001.seg", &good[0]);
	memory_get("0000000002.seg", &good[1]);
	buffer_free(&record);
	return 0;
}

/* Three bytes of plan (flags, and the length of the entries that follow), then raw entries. */
static void
forge(const uint8_t *data, size_t size, Buffer *out)
{
	SegmentHeader header = {.stream_id = stream, .number = 1};
	uint32_t seed = segment_seed(&stream, FEED_MAGIC, 1);
	RecordHeader head = {.kind = UNIT_TXN, .seq = 0};
	Buffer record = {0};
	bool preamble = true;

	segment_header_put(out, FEED_MAGIC, &header, slice_make(NULL, 0));
	for (; size >= 3 || preamble; preamble = false)
	{
		size_t len = size >= 3 ? ((size_t) data[1] | (size_t) (data[2] & 3) << 8) : 0;
		uint8_t plan = size >= 3 ? data[0] : 0;
		size_t used = size >= 3 ? 3 : size;

		len = len < size - used ? len : size - used;
		head.part = head.last || head.seq == 0 ? 0 : head.part + 1;
		head.seq += !preamble && (head.last || head.seq == 0);
		head.last = preamble || (plan & 1) != 0;
		head.kind = preamble ? UNIT_NONE : (UnitKind) (UNIT_TXN + plan / 32);
		head.step = head.kind == UNIT_BACKFILL ? (BackfillStep) (1 + plan % 4) : BACKFILL_NONE;
		buffer_reset(&record);
		record_begin(&record);
		buffer_append(&record, data + used, len);
		record_finish(&record, 0, &head);
		segments_record(out, FEED_MAGIC, seed,
						preamble	? SEGMENT_PREAMBLE
						: head.last ? LAST
									: PIECE,
						SEGMENT_FIRST | SEGMENT_LAST, (SegPosition){head.seq, preamble ? 0 : head.part}, 0,
						buffer_slice(&record));
		data += used + len;
		size -= used + len;
	}
	buffer_free(&record);
}

static void
read_all(FeedReader *reader)
{
	NdjsonWriter *writer = ndjson_create();
	RecordReader record;
	Buffer line = {0};
	Error err;

	for (int i = 0; i < 10000 && feed_reader_next(reader, &record, &err) == FEED_RECORD; i++)
	{
		RecordEntry entry;
		bool done = false;

		while (record_next(&record, &entry, &done, &err) && !done)
		{
			size_t before = line.len;

			if (!ndjson_write(writer, &line, reader, &record.header, &entry, &err) && line.len != before)
				abort(); /* half a line */
			if (line.len > before && line.data[line.len - 1] != '\n')
				abort();
		}
		buffer_reset(&line);
	}
	buffer_free(&line);
	ndjson_destroy(writer);
	feed_reader_close(reader);
}

/* What opens takes another record, and reads. */
static void
go_on(Feed *feed, uint64_t seq, uint32_t part)
{
	RecordHeader header = {.kind = UNIT_TXN, .seq = seq + 1, .part = part, .last = true, .outputs = 1};
	Buffer record = {0};
	FeedReader *reader;
	Error err;

	record_begin(&record);
	score(&record, 2);
	record_finish(&record, 0, &header);
	if (!feed_append(feed, &header, buffer_slice(&record), &err) || !feed_flush(feed, &err))
		abort();
	buffer_free(&record);
	feed_set_durable(feed, seq + 1);
	if (feed_reader_open(feed, feed_first_seq(feed), &reader, &err))
		read_all(reader);
	feed_close(feed);
}

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool two = size > 0 && data[0] % 3 == 1;
	SegVerify report;
	FeedReader *reader;
	Feed *feed;
	Buffer bytes = {0};
	Error err;
	uint64_t seq;
	uint32_t part;

	if (size < 2)
		return 0;
	seq = data[1] & 63;
	part = data[1] >> 6;
	if (data[0] % 3 == 0)
		buffer_append(&bytes, data + 2, size - 2);
	else if (two)
		segments_damage(data + 2, size - 2, buffer_slice(&good[1]), &bytes);
	else
		forge(data + 2, size - 2, &bytes);
	segments_clear(4);
	if (two)
		memory_put("0000000001.seg", buffer_slice(&good[0]));
	memory_put(two ? "0000000002.seg" : "0000000001.seg", buffer_slice(&bytes));
	buffer_free(&bytes);

	feed_verify(MEMORY_DIR, &report, &err);
	if (feed_reader_open_dir(MEMORY_DIR, seq, &reader, &err))
		read_all(reader);
	if (feed_open(MEMORY_DIR, &settings, seq, part, &feed, &err))
		go_on(feed, seq, part);
	return 0;
}
