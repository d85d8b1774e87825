/*
 * txn.c -- see txn.h.
 */
#include "stream/txn.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "base/hash.h"

#define RELATIONS_MAX 100000 /* a hostile source must not fill our memory */
#define LOST_BYTES_MAX 4096

typedef struct Known
{
	uint64_t fingerprint;
	bool control; /* walrank.control */
	uint32_t beat_column;
	uint32_t epoch_column;
	size_t len;
	UT_hash_handle hh;
	uint8_t body[]; /* to tell a collision from a repetition */
} Known;

struct Assembler
{
	StreamId stream_id;
	AssemblerEvents events;
	Known *known;
	Lsn end_lsn; /* of the last unit appended */
	bool open;
	bool dropping;
	WireHead head;
	uint32_t frames;
	uint32_t changes;
	uint32_t crc;
	Buffer lost;
	Lsn failed;
	uint64_t dropped;
	uint64_t beat;
	uint64_t owner_epoch;
};

Assembler *
assembler_create(const StreamId *stream_id, const AssemblerEvents *events)
{
	Assembler *assembler = xcalloc(1, sizeof(*assembler));

	assembler->stream_id = *stream_id;
	assembler->events = *events;
	return assembler;
}

static void
forget_relations(Assembler *assembler)
{
	Known *known;
	Known *next;

	HASH_ITER (hh, assembler->known, known, next)
	{
		HASH_DEL(assembler->known, known);
		free(known);
	}
}

void
assembler_destroy(Assembler *assembler)
{
	if (assembler == NULL)
		return;
	forget_relations(assembler);
	buffer_free(&assembler->lost);
	free(assembler);
}

void
assembler_begin(Assembler *assembler, Lsn end_lsn)
{
	forget_relations(assembler);
	assembler->end_lsn = end_lsn;
	assembler->open = false;
	assembler->failed = 0;
}

void
assembler_progress(Assembler *assembler, Lsn end_lsn)
{
	if (end_lsn > assembler->end_lsn)
		assembler->end_lsn = end_lsn;
}

static Known *
find_relation(Assembler *assembler, uint64_t fingerprint)
{
	Known *known;

	HASH_FIND(hh, assembler->known, &fingerprint, sizeof(fingerprint), known);
	return known;
}

static void
note_control_columns(Known *known, const WireRelation *relation)
{
	WireCursor columns = relation->columns;
	WireColumn column;

	known->control = slice_equal(relation->schema, slice_string("walrank")) &&
					 slice_equal(relation->table, slice_string("control"));
	known->beat_column = known->epoch_column = UINT32_MAX;
	for (uint32_t i = 0; known->control && wire_column_next(&columns, &column); i++)
	{
		if (slice_equal(column.name, slice_string("beat")))
			known->beat_column = i;
		else if (slice_equal(column.name, slice_string("owner_epoch")))
			known->epoch_column = i;
	}
}

static bool
keep_relation(Assembler *assembler, Slice entry, Slice body, Error *err)
{
	WireRelation relation;
	Known *known;

	if (!wire_relation(body, &relation))
		return error_set(err, ERR_DATA, "malformed relation entry");
	known = find_relation(assembler, relation.fingerprint);
	if (known != NULL && !slice_equal(slice_make(known->body, known->len), body))
		return error_set(err, ERR_DATA, "relation fingerprint %016llx has two contents",
						 (unsigned long long) relation.fingerprint);
	if (known == NULL)
	{
		if (HASH_COUNT(assembler->known) >= RELATIONS_MAX)
			return error_set(err, ERR_DATA, "more than %d relations on one connection", RELATIONS_MAX);
		known = xcalloc(1, sizeof(*known) + body.len);
		known->fingerprint = relation.fingerprint;
		known->len = body.len;
		memcpy(known->body, body.data, body.len);
		note_control_columns(known, &relation);
		HASH_ADD(hh, assembler->known, fingerprint, sizeof(known->fingerprint), known);
	}
	if (assembler->events.relation != NULL)
		assembler->events.relation(assembler->events.context, relation.fingerprint, entry);
	return true;
}

/* The control table has one row per stream: only our own counts. */
static bool
our_row(const Assembler *assembler, const WireChange *change)
{
	WireCursor keys = wire_cursor(change->key);
	WireValue value;
	Slice body;
	StreamId id;
	char text[STREAM_ID_TEXT_BYTES];

	if (!wire_value_next(&keys, &body) || !wire_value(body, &value))
		return false;
	if (value.kind == VALUE_BYTES && value.bytes.len == sizeof(id.bytes))
		memcpy(id.bytes, value.bytes.data, sizeof(id.bytes));
	else if (value.kind == VALUE_TEXT && value.bytes.len == STREAM_ID_TEXT_BYTES - 1)
	{
		memcpy(text, value.bytes.data, value.bytes.len);
		text[value.bytes.len] = '\0';
		if (!stream_id_parse(text, &id))
			return false;
	}
	else
		return false;
	return stream_id_equal(&id, &assembler->stream_id);
}

static void
notice_control(Assembler *assembler, const Known *known, Slice body)
{
	WireChange change;
	WireCursor attributes;
	WireAttribute attribute;
	WireValue value;

	if (!wire_change(body, &change) || change.op == OP_DELETE || !our_row(assembler, &change))
		return;
	attributes = wire_cursor(change.attributes);
	while (!wire_done(&attributes) && wire_attribute_next(&attributes, &attribute))
	{
		if (attribute.state != STATE_SET || !wire_value(attribute.value, &value) || value.kind != VALUE_INT ||
			value.integer < 0)
			continue;
		if (attribute.column == known->beat_column)
			assembler->beat = (uint64_t) value.integer;
		else if (attribute.column == known->epoch_column)
			assembler->owner_epoch = (uint64_t) value.integer;
	}
}

static bool
unknown_relation(uint64_t fingerprint, Error *err)
{
	return error_set(err, ERR_DATA, "a change names relation %016llx, which was not sent on this connection",
					 (unsigned long long) fingerprint);
}

static bool
check_change(Assembler *assembler, Slice body, Error *err)
{
	WireCursor cursor = wire_cursor(body);
	WireField field;
	Known *known;

	if (wire_done(&cursor) || !wire_field(&cursor, &field) || field.number != CHANGE_RELATION ||
		field.type != WIRE_FIXED64)
		return error_set(err, ERR_DATA, "malformed change entry");
	known = find_relation(assembler, field.varint);
	if (known == NULL)
		return unknown_relation(field.varint, err);
	assembler->changes++;
	if (known->control)
		notice_control(assembler, known, body);
	return true;
}

static bool
check_truncate(Assembler *assembler, Slice body, Error *err)
{
	WireTruncate truncate;

	if (!wire_truncate(body, &truncate))
		return error_set(err, ERR_DATA, "malformed truncate entry");
	for (uint32_t i = 0; i < truncate.nrelations; i++)
		if (find_relation(assembler, wire_truncate_relation(&truncate, i)) == NULL)
			return unknown_relation(wire_truncate_relation(&truncate, i), err);
	assembler->changes++;
	return true;
}

static void
note_lost(Assembler *assembler, Slice name)
{
	if (assembler->lost.len + name.len + 1 > LOST_BYTES_MAX)
		return;
	if (assembler->lost.len > 0)
		buffer_append_byte(&assembler->lost, '\n');
	buffer_append_slice(&assembler->lost, name);
}

static bool
walk_entries(Assembler *assembler, WireFrame *frame, Error *err)
{
	for (;;)
	{
		WireEntry entry;
		const uint8_t *at = frame->cursor.at;
		WireCursor raw;
		WireField field;
		bool ok = true;

		if (!wire_frame_next(frame, &entry))
			break;
		if (entry.kind == ENTRY_RELATION)
		{
			raw = (WireCursor){at, frame->cursor.at};
			/* unknown fields may stand before it: the entry is the last field up to the cursor */
			while (wire_field(&raw, &field) && !wire_done(&raw))
				;
			ok = keep_relation(assembler, field.bytes, entry.body, err);
		}
		else if (entry.kind == ENTRY_CHANGE)
			ok = check_change(assembler, entry.body, err);
		else if (entry.kind == ENTRY_TRUNCATE)
			ok = check_truncate(assembler, entry.body, err);
		else if (entry.kind == ENTRY_PUBLICATION_LOST)
			note_lost(assembler, entry.body);
		if (!ok)
			return false;
	}
	return !frame->error || error_set(err, ERR_DATA, "malformed frame");
}

static bool
begin_transaction(Assembler *assembler, const WireHead *head, Error *err)
{
	if (head->part != 0)
		return error_set(err, ERR_DATA, "transaction begins with frame %u", head->part);
	if (head->commit_lsn == 0 || head->end_lsn <= head->commit_lsn)
		return error_set(err, ERR_DATA, "transaction ends at " LSN_FORMAT " but was committed at " LSN_FORMAT,
						 LSN_ARGS(head->end_lsn), LSN_ARGS(head->commit_lsn));
	assembler->dropping = head->end_lsn <= assembler->end_lsn;
	if (!assembler->dropping && head->commit_lsn < assembler->end_lsn)
		return error_set(err, ERR_DATA,
						 "commit record at " LSN_FORMAT " overlaps what is journaled up to " LSN_FORMAT,
						 LSN_ARGS(head->commit_lsn), LSN_ARGS(assembler->end_lsn));
	if (assembler->dropping)
		assembler->dropped++;
	assembler->open = true;
	assembler->head = *head;
	assembler->frames = 0;
	assembler->changes = 0;
	assembler->crc = 0;
	buffer_reset(&assembler->lost);
	return true;
}

static bool
same_transaction(const Assembler *assembler, const WireHead *head)
{
	const WireHead *ours = &assembler->head;

	return head->commit_lsn == ours->commit_lsn && head->end_lsn == ours->end_lsn && head->xid == ours->xid &&
		   head->commit_time_us == ours->commit_time_us && head->part == assembler->frames;
}

static bool
check_tail(Assembler *assembler, const WireTail *tail, Error *err)
{
	if (tail->frames != assembler->frames)
		return error_set(err, ERR_DATA, "%u frames came, the last one counts %u", assembler->frames,
						 tail->frames);
	if (tail->changes != assembler->changes)
		return error_set(err, ERR_DATA, "%u changes came, the last frame counts %u", assembler->changes,
						 tail->changes);
	if (tail->crc32c != assembler->crc)
		return error_set(err, ERR_DATA, "checksum is %08x, the last frame says %08x", assembler->crc,
						 tail->crc32c);
	return true;
}

static bool
take_frame(Assembler *assembler, Slice bytes, TxnStep *step, Error *err)
{
	WireFrame frame;

	if (!wire_frame_begin(&frame, bytes))
		return error_set(err, ERR_DATA, "malformed frame");
	step->head = frame.head;
	step->first = !assembler->open;
	if (!assembler->open)
	{
		if (!begin_transaction(assembler, &frame.head, err))
			return false;
	}
	else if (!same_transaction(assembler, &frame.head))
		return error_set(err, ERR_DATA,
						 "frame %u of the transaction ending at " LSN_FORMAT
						 " comes after %u frames of the one ending at " LSN_FORMAT,
						 frame.head.part, LSN_ARGS(frame.head.end_lsn), assembler->frames,
						 LSN_ARGS(assembler->head.end_lsn));
	assembler->frames++;
	if (!walk_entries(assembler, &frame, err))
		return false;
	assembler->crc = crc32c(assembler->crc, bytes.data, frame.tail_offset);
	if (frame.has_tail && !check_tail(assembler, &frame.tail, err))
		return false;
	step->last = frame.has_tail;
	step->drop = assembler->dropping;
	step->changes = assembler->changes;
	return true;
}

bool
assembler_frame(Assembler *assembler, Slice bytes, TxnStep *step, Error *err)
{
	memset(step, 0, sizeof(*step));
	if (!take_frame(assembler, bytes, step, err))
	{
		assembler->failed = assembler->open ? assembler->head.commit_lsn : step->head.commit_lsn;
		assembler->open = false;
		return error_wrap(err, "transaction at " LSN_FORMAT, LSN_ARGS(assembler->failed));
	}
	if (step->last)
	{
		assembler->open = false;
		step->lost = buffer_slice(&assembler->lost);
		if (!step->drop)
			assembler->end_lsn = assembler->head.end_lsn;
	}
	return true;
}

bool
assembler_open(const Assembler *assembler)
{
	return assembler->open;
}

Lsn
assembler_failed(const Assembler *assembler)
{
	return assembler->failed;
}

uint64_t
assembler_dropped(const Assembler *assembler)
{
	return assembler->dropped;
}

uint64_t
assembler_beat(const Assembler *assembler)
{
	return assembler->beat;
}

uint64_t
assembler_owner_epoch(const Assembler *assembler)
{
	return assembler->owner_epoch;
}
