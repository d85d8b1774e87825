/*
 * fuzz_journal.c -- arbitrary bytes as journal segments: open, verify and read answer, and never crash.
 *
 * The first byte chooses what is done with the rest: raw bytes as the only segment; a good segment with bytes
 * changed, cut or appended; or payloads under headers whose CRC fits, so that what stands behind the CRC is reached.  share: 1/2
 */
#include <stdlib.h>

#include "base/log.h"
#include "journal/journal.h"
#include "journal/journal_private.h"
#include "segments.h"

static const JournalIdentity identity = {.stream_id = {{1}}, .start_lsn = 0x100, .complete = true};
static const JournalSettings settings = {.segment_bytes = 4096};
static Buffer good[2]; /* a sound journal of two segments */
static Buffer packed;  /* the first of them, compressed */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const atomic_bool never = false;
	uint64_t packed_bytes;
	Journal *journal;
	Error err;

	log_init(LOG_FATAL, false);
	fs = &memory_fs;
	if (!journal_identity_write(MEMORY_DIR, &identity, &err) ||
		!journal_create(MEMORY_DIR, &settings, &identity, &journal, &err))
		abort();
	for (uint64_t seq = 1; seq <= 30; seq++)
	{
		Unit unit = {.kind = UNIT_TXN, .end_lsn = 0x100 + seq};

		if (!journal_append(journal, &unit, PART_FRAME, slice_string("a frame of some bytes"), false, &err))
			abort();
	}
	journal_close(journal);
	memory_get("0000000001.seg", &good[0]);
	memory_get("0000000002.seg", &good[1]);
	if (!segfile_pack(MEMORY_DIR, 1, &never, &packed_bytes, &err))
		abort();
	memory_get("0000000001.seg.zst", &packed);
	return 0;
}

static void
read_all(JournalReader *reader)
{
	JournalEvent event;
	PartType type;
	Slice bytes;
	Unit unit;
	Error err;
	volatile uint8_t sink = 0;

	for (int i = 0; i < 100000; i++)
	{
		event = journal_reader_next(reader, &unit, &type, &bytes, &err);
		if (event == JOURNAL_NOTHING || event == JOURNAL_ERROR)
			break;
		if ((event == JOURNAL_PART || event == JOURNAL_RELATION) && bytes.len > 0)
			sink = (uint8_t) (sink + bytes.data[0] + bytes.data[bytes.len - 1]);
	}
	journal_reader_close(reader);
}

/* Records with sound headers and the input's types, flags and payloads: 4 bytes of plan, then the payload. */
static void
forge(const uint8_t *data, size_t size, Buffer *out)
{
	SegmentHeader header = {.stream_id = identity.stream_id, .number = 1};
	uint32_t seed = segment_seed(&header.stream_id, JOURNAL_MAGIC, 1);
	SegPosition at = {0, 0};
	uint32_t index = 0;
	bool preamble = true;

	segment_header_put(out, JOURNAL_MAGIC, &header, slice_make(NULL, 0));
	while (size >= 4)
	{
		size_t len = (size_t) data[1] | (size_t) (data[2] & 3) << 8;
		bool last = data[3] & 1;
		uint8_t flags = (uint8_t) ((index == 0 ? SEGMENT_FIRST : 0) | (last ? SEGMENT_LAST : 0));

		if (len > size - 4)
			len = size - 4;
		if (index == 0 && !preamble)
			at.seq++;
		segments_record(out, JOURNAL_MAGIC, seed,
						preamble		 ? SEGMENT_PREAMBLE
						: data[0] == 255 ? 1
										 : data[0],
						preamble ? SEGMENT_FIRST | SEGMENT_LAST : flags, at, index,
						slice_make(data + 4, len));
		index = preamble || last ? 0 : index + 1;
		preamble = false;
		data += 4 + len;
		size -= 4 + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool first_packed = size > 0 && data[0] >= 240;
	bool two = size > 0 && !first_packed && data[0] % 3 == 1;
	JournalVerify report;
	JournalReader *reader;
	Journal *journal;
	Buffer bytes = {0};
	Error err;

	if (size == 0)
		return 0;
	if (first_packed)
		segments_damage(data + 1, size - 1, buffer_slice(&packed), &bytes);
	else if (data[0] % 3 == 0)
		buffer_append(&bytes, data + 1, size - 1);
	else if (two)
		segments_damage(data + 1, size - 1, buffer_slice(&good[1]), &bytes);
	else
		forge(data + 1, size - 1, &bytes);
	segments_clear(3);
	if (two)
		memory_put("0000000001.seg", buffer_slice(&good[0]));
	if (first_packed)
		memory_put("0000000002.seg", buffer_slice(&good[1]));
	memory_put(first_packed ? "0000000001.seg.zst"
			   : two		? "0000000002.seg"
							: "0000000001.seg",
			   buffer_slice(&bytes));
	buffer_free(&bytes);

	journal_verify(MEMORY_DIR, &report, &err);
	if (journal_reader_open_dir(MEMORY_DIR, 1, &reader, &err))
		read_all(reader);
	if (!journal_open(MEMORY_DIR, &settings, &journal, &err))
		return 0;
	/* what opens also reads, and takes another unit */
	{
		Unit unit = {.kind = UNIT_TIMER};

		if (!journal_append(journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, &err))
			abort();
	}
	if (journal_reader_open(journal, journal_first_seq(journal), &reader, &err))
		read_all(reader);
	journal_close(journal);
	return 0;
}
