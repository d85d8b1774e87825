/*
 * journal_reader.c -- the journal as a sequence of events; see journal.h.
 *
 * Reading starts at the head of the segment that holds the unit asked for: what relations the skipped units brought is
 * told, the units themselves are not.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/lsn.h"
#include "journal/journal_private.h"

struct JournalReader
{
	SegReader *segments;
	uint64_t from;
	uint32_t relations; /* of a SNAPSHOT, still to be told */
	Slice rest;
	bool in_unit;
	bool part_pending;
	bool end_pending;
	PartType part_type;
	Slice part_bytes;
};

static JournalReader *
reader_make(SegReader *segments, uint64_t seq)
{
	JournalReader *reader = xcalloc(1, sizeof(*reader));

	segreader_show_all(segments);
	reader->segments = segments;
	reader->from = seq;
	return reader;
}

bool
journal_reader_open(Journal *journal, uint64_t seq, JournalReader **reader, Error *err)
{
	SegReader *segments;
	uint64_t last = seglog_last(journal_log(journal)).seq;

	*reader = NULL;
	if (seq > last + 1)
		return error_set(err, ERR_REFUSE, "the journal ends at unit %llu, before unit %llu",
						 (unsigned long long) last, (unsigned long long) seq);
	if (!segreader_open(journal_log(journal), (SegPosition){seq, 0}, &segments, err))
		return false;
	*reader = reader_make(segments, seq);
	return true;
}

bool
journal_reader_open_dir(int dirfd, uint64_t seq, JournalReader **reader, Error *err)
{
	SegReader *segments;

	*reader = NULL;
	if (!segreader_open_dir(dirfd, JOURNAL_MAGIC, JOURNAL_WHAT, (SegPosition){seq, 0}, &segments, err))
		return false;
	*reader = reader_make(segments, seq);
	return true;
}

void
journal_reader_close(JournalReader *reader)
{
	if (reader == NULL)
		return;
	segreader_close(reader->segments);
	free(reader);
}

void
journal_reader_wait(JournalReader *reader, int64_t timeout_us)
{
	if (reader->relations == 0 && !reader->part_pending && !reader->end_pending)
		segreader_wait(reader->segments, timeout_us);
}

static JournalEvent
malformed(Error *err, SegPosition at, const char *why)
{
	error_set(err, ERR_DATA, "journal, unit %llu: %s", (unsigned long long) at.seq, why);
	return JOURNAL_ERROR;
}

static JournalEvent
tell_relation(JournalReader *reader, Slice *bytes, Error *err)
{
	if (!snapshot_relation(&reader->rest, bytes, err))
		return JOURNAL_ERROR;
	reader->relations--;
	return JOURNAL_RELATION;
}

static JournalEvent
tell_part(JournalReader *reader, PartType *type, Slice *bytes)
{
	reader->part_pending = false;
	*type = reader->part_type;
	*bytes = reader->part_bytes;
	return JOURNAL_PART;
}

/* A record of the unit asked for or a later one. */
static JournalEvent
take_record(JournalReader *reader, const SegRecord *record, Unit *unit, PartType *type, Slice *bytes,
			Error *err)
{
	bool header = (record->type & JOURNAL_HEADER) != 0;
	uint8_t part = record->type & JOURNAL_PART_MASK;

	if (header == reader->in_unit || part > PART_DETAIL ||
		(record->type & ~(JOURNAL_HEADER | JOURNAL_PART_MASK)) != 0 || (!header && part == 0))
		return malformed(err, record->at, "records do not form a unit");
	reader->in_unit = true;
	reader->end_pending = record->last;
	reader->part_type = (PartType) part;
	reader->part_bytes = record->payload;
	if (!header)
		return tell_part(reader, type, bytes);
	if (!unit_decode(record->payload, unit, err))
		return malformed(err, record->at, "bad header");
	if (unit->seq != record->at.seq)
		return malformed(err, record->at, "its header has another number");
	reader->part_bytes = slice_make(record->payload.data + UNIT_BYTES, record->payload.len - UNIT_BYTES);
	reader->part_pending = part != 0;
	return JOURNAL_UNIT;
}

JournalEvent
journal_reader_next(JournalReader *reader, Unit *unit, PartType *type, Slice *bytes, Error *err)
{
	JournalHead head;
	SegRecord record;

	if (reader->part_pending)
		return tell_part(reader, type, bytes);
	if (reader->end_pending)
	{
		reader->end_pending = reader->in_unit = false;
		return JOURNAL_UNIT_END;
	}
	for (;;)
	{
		if (reader->relations > 0)
			return tell_relation(reader, bytes, err);
		switch (segreader_next(reader->segments, &record, err))
		{
			case SEG_END:
				return JOURNAL_NOTHING;
			case SEG_ERROR:
				return JOURNAL_ERROR;
			case SEG_PREAMBLE:
				if (!snapshot_get(record.payload, &head, &reader->relations, &reader->rest, err))
					return malformed(err, record.at, "bad SNAPSHOT after it");
				break;
			case SEG_RECORD:
				if (record.type == JOURNAL_KEPT && (reader->in_unit || record.last))
					return malformed(err, record.at, "records do not form a unit");
				if (record.type == JOURNAL_KEPT)
				{
					*bytes = record.payload;
					return JOURNAL_RELATION;
				}
				if (record.at.seq >= reader->from)
					return take_record(reader, &record, unit, type, bytes, err);
				break;
		}
	}
}

/* ---- verify ----------------------------------------------------------------------------------- */

typedef struct Verify
{
	JournalVerify *report;
	Unit unit;
	bool broken;
	Error why;
} Verify;

static void
verify_snapshot(void *context, Slice payload)
{
	Verify *verify = context;
	JournalHead head;
	uint32_t relations;
	Slice rest;
	Slice entry;

	if (verify->broken)
		return;
	verify->broken = !snapshot_get(payload, &head, &relations, &rest, &verify->why);
	for (uint32_t i = 0; !verify->broken && i < relations; i++)
		verify->broken = !snapshot_relation(&rest, &entry, &verify->why);
	if (verify->broken)
		return;
	if (verify->report->last_seq != 0 && head.seq != verify->report->last_seq)
		verify->broken =
			!error_set(&verify->why, ERR_DATA, "the SNAPSHOT after unit %llu says %llu",
					   (unsigned long long) verify->report->last_seq, (unsigned long long) head.seq);
}

static void
verify_record(void *context, SegPosition at, uint8_t type, bool first, bool last, Slice payload)
{
	Verify *verify = context;
	JournalVerify *report = verify->report;

	if (verify->broken)
		return;
	if (first)
		verify->unit = (Unit){.seq = 0};
	if ((type & JOURNAL_HEADER) != 0 && !unit_decode(payload, &verify->unit, &verify->why))
	{
		verify->broken = true;
		return;
	}
	if (!last)
		return;
	if (verify->unit.seq != at.seq || verify->unit.end_lsn < report->end_lsn)
	{
		verify->broken = !error_set(&verify->why, ERR_DATA, "unit %llu does not follow the one before it",
									(unsigned long long) at.seq);
		return;
	}
	report->units++;
	report->end_lsn = verify->unit.end_lsn;
	report->last_seq = at.seq;
	if (report->first_seq == 0)
		report->first_seq = at.seq;
}

bool
journal_verify(int dirfd, JournalVerify *report, Error *err)
{
	Verify verify = {.report = report};
	SegScan scan = {.preamble_seen = verify_snapshot, .record_seen = verify_record, .context = &verify};
	SegVerify log;
	bool ok;

	*report = (JournalVerify){.units = 0};
	ok = seglog_verify(dirfd, JOURNAL_WHAT, JOURNAL_MAGIC, &scan, &log, err);
	report->segments = log.segments;
	report->bytes = log.bytes;
	report->records = log.records;
	report->torn_tail = log.torn_tail;
	report->bad_segment = log.bad_segment;
	report->bad_offset = log.bad_offset;
	report->stream_id = log.stream_id;
	if (ok && verify.broken)
		*err = verify.why;
	return ok && !verify.broken;
}
