/*
 * record.c -- see record.h.
 *
 *   offset  bytes
 *        0      8  seq
 *        8      8  commit_lsn
 *       16      8  end_lsn
 *       24      8  commit_time_us
 *       32      8  now_us
 *       40      8  xid
 *       48      8  total
 *       56      4  part
 *       60      4  outputs
 *       64      4  quarantined
 *       68      1  kind
 *       69      1  step
 *       70      1  1 = last piece of the unit
 *       71      1  RECORD_FORMAT
 *       72         entries: kind (1 byte), change, out, relation, key, then what the kind adds
 */
#include "score/record.h"

#include "score/pack.h"

#define RECORD_FORMAT 1
#define RECORD_HEADER_BYTES 72

/* ---- header ------------------------------------------------------------------------------ */

static void
put_u64(uint8_t *at, uint64_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void
put_u32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, sizeof(v));
}

static uint64_t
get_u64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static uint32_t
get_u32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

void
record_begin(Buffer *out)
{
	memset(buffer_reserve(out, RECORD_HEADER_BYTES), 0, RECORD_HEADER_BYTES);
	out->len += RECORD_HEADER_BYTES;
}

void
record_finish(Buffer *out, size_t start, const RecordHeader *header)
{
	uint8_t *at = out->data + start;

	put_u64(at + 0, header->seq);
	put_u64(at + 8, header->commit_lsn);
	put_u64(at + 16, header->end_lsn);
	put_u64(at + 24, (uint64_t) header->commit_time_us);
	put_u64(at + 32, (uint64_t) header->now_us);
	put_u64(at + 40, header->xid);
	put_u64(at + 48, header->total);
	put_u32(at + 56, header->part);
	put_u32(at + 60, header->outputs);
	put_u32(at + 64, header->quarantined);
	at[68] = (uint8_t) header->kind;
	at[69] = (uint8_t) header->step;
	at[70] = header->last;
	at[71] = RECORD_FORMAT;
}

bool
record_open(Slice bytes, RecordReader *reader, Error *err)
{
	const uint8_t *at = bytes.data;
	RecordHeader *header = &reader->header;

	if (bytes.len < RECORD_HEADER_BYTES)
		return error_set(err, ERR_DATA, "feed record has %zu bytes, its header alone needs %d", bytes.len,
						 RECORD_HEADER_BYTES);
	if (at[71] != RECORD_FORMAT)
		return error_set(err, ERR_DATA, "feed record has format %u, this version reads %d", at[71],
						 RECORD_FORMAT);
	if (at[68] > UNIT_CONFIG || at[69] > BACKFILL_ABORT || at[70] > 1)
		return error_set(err, ERR_DATA, "feed record header is malformed");
	header->seq = get_u64(at + 0);
	header->commit_lsn = get_u64(at + 8);
	header->end_lsn = get_u64(at + 16);
	header->commit_time_us = (int64_t) get_u64(at + 24);
	header->now_us = (int64_t) get_u64(at + 32);
	header->xid = get_u64(at + 40);
	header->total = get_u64(at + 48);
	header->part = get_u32(at + 56);
	header->outputs = get_u32(at + 60);
	header->quarantined = get_u32(at + 64);
	header->kind = (UnitKind) at[68];
	header->step = (BackfillStep) at[69];
	header->last = at[70];
	reader->cursor = (WireCursor){at + RECORD_HEADER_BYTES, at + bytes.len};
	return true;
}

/* ---- entries, written --------------------------------------------------------------------- */

static void
pack_row(Buffer *out, const RecordEntry *entry)
{
	buffer_append_byte(out, (uint8_t) entry->row.op);
	buffer_append_byte(out, entry->row.changed_known);
	buffer_append_u64(out, entry->row.fingerprint);
	pack_bytes(out, entry->row.image);
	pack_bytes(out, entry->row.changed);
	pack_bytes(out, entry->row.removed);
}

static void
pack_score(Buffer *out, const RecordEntry *entry)
{
	buffer_append(out, &entry->score.score, sizeof(double));
	pack_number(out, wire_zigzag(entry->score.tier));
	pack_number(out, wire_zigzag(entry->score.pin));
	buffer_append_byte(out, entry->score.blocked);
	pack_number(out, entry->score.version);
}

void
record_entry(Buffer *out, const RecordEntry *entry)
{
	buffer_append_byte(out, (uint8_t) entry->kind);
	pack_number(out, entry->change);
	pack_number(out, entry->out);
	pack_number(out, entry->relation);
	pack_bytes(out, entry->key);
	switch (entry->kind)
	{
		case RECORD_RELATION:
			pack_number(out, entry->relation_def.number);
			pack_bytes(out, entry->relation_def.descriptor);
			pack_bytes(out, entry->relation_def.map);
			break;
		case RECORD_RANKING:
			pack_number(out, entry->ranking_def.number);
			pack_number(out, entry->ranking_def.relation);
			pack_number(out, entry->ranking_def.version);
			pack_bytes(out, entry->ranking_def.name);
			break;
		case RECORD_CHANGE:
			pack_row(out, entry);
			break;
		case RECORD_SCORE:
			pack_score(out, entry);
			break;
		case RECORD_REMOVE:
		case RECORD_TRUNCATE:
			break;
		case RECORD_GAP:
			buffer_append_u64(out, entry->gap.from);
			pack_bytes(out, entry->gap.reason);
			break;
		case RECORD_QUARANTINE:
			pack_bytes(out, entry->quarantine.attribute);
			pack_bytes(out, entry->quarantine.reason);
			buffer_append_u64(out, entry->quarantine.digest);
			break;
		case RECORD_FILL:
		case RECORD_FILLED:
			buffer_append_u64(out, entry->fill.from);
			pack_bytes(out, entry->fill.sink);
			break;
	}
}

/* ---- entries, read ------------------------------------------------------------------------ */

static bool
unpack_byte(WireCursor *cursor, uint8_t max, uint8_t *byte)
{
	if (cursor->at >= cursor->end || *cursor->at > max)
		return false;
	*byte = *cursor->at++;
	return true;
}

static bool
unpack_row(WireCursor *cursor, RecordEntry *entry)
{
	uint8_t op;
	uint8_t known;

	if (!unpack_byte(cursor, OP_DELETE, &op) || op == OP_NONE || !unpack_byte(cursor, 1, &known))
		return false;
	entry->row.op = (WireOp) op;
	entry->row.changed_known = known;
	return unpack_u64(cursor, &entry->row.fingerprint) && unpack_bytes(cursor, &entry->row.image) &&
		   unpack_bytes(cursor, &entry->row.changed) && unpack_bytes(cursor, &entry->row.removed);
}

static bool
unpack_signed(WireCursor *cursor, int32_t *number)
{
	uint32_t zigzag;

	if (!unpack_small(cursor, UINT32_MAX, &zigzag))
		return false;
	*number = (int32_t) wire_unzigzag(zigzag);
	return true;
}

static bool
unpack_score(WireCursor *cursor, RecordEntry *entry)
{
	uint64_t bits;
	uint8_t blocked;

	if (!unpack_u64(cursor, &bits) || !unpack_signed(cursor, &entry->score.tier) ||
		!unpack_signed(cursor, &entry->score.pin) || !unpack_byte(cursor, 1, &blocked))
		return false;
	memcpy(&entry->score.score, &bits, sizeof(bits));
	entry->score.blocked = blocked;
	return unpack_small(cursor, UINT32_MAX, &entry->score.version);
}

static bool
unpack_body(WireCursor *cursor, RecordEntry *entry)
{
	switch (entry->kind)
	{
		case RECORD_RELATION:
			return unpack_small(cursor, UINT32_MAX, &entry->relation_def.number) &&
				   unpack_bytes(cursor, &entry->relation_def.descriptor) &&
				   unpack_bytes(cursor, &entry->relation_def.map);
		case RECORD_RANKING:
			return unpack_small(cursor, UINT32_MAX, &entry->ranking_def.number) &&
				   unpack_small(cursor, UINT32_MAX, &entry->ranking_def.relation) &&
				   unpack_small(cursor, UINT32_MAX, &entry->ranking_def.version) &&
				   unpack_bytes(cursor, &entry->ranking_def.name);
		case RECORD_CHANGE:
			return unpack_row(cursor, entry);
		case RECORD_SCORE:
			return unpack_score(cursor, entry);
		case RECORD_REMOVE:
		case RECORD_TRUNCATE:
			return true;
		case RECORD_GAP:
			return unpack_u64(cursor, &entry->gap.from) && unpack_bytes(cursor, &entry->gap.reason);
		case RECORD_QUARANTINE:
			return unpack_bytes(cursor, &entry->quarantine.attribute) &&
				   unpack_bytes(cursor, &entry->quarantine.reason) &&
				   unpack_u64(cursor, &entry->quarantine.digest);
		case RECORD_FILL:
		case RECORD_FILLED:
			return unpack_u64(cursor, &entry->fill.from) && unpack_bytes(cursor, &entry->fill.sink) &&
				   entry->fill.sink.len <= RECORD_SINK_BYTES_MAX;
	}
	return false;
}

bool
record_next(RecordReader *reader, RecordEntry *entry, bool *done, Error *err)
{
	WireCursor *cursor = &reader->cursor;
	uint8_t kind;

	*done = wire_done(cursor);
	if (*done)
		return true;
	memset(entry, 0, sizeof(*entry));
	if (unpack_byte(cursor, RECORD_FILLED, &kind) && kind >= RECORD_RELATION &&
		unpack_small(cursor, UINT32_MAX, &entry->change) && unpack_small(cursor, UINT32_MAX, &entry->out) &&
		unpack_small(cursor, UINT32_MAX, &entry->relation) && unpack_bytes(cursor, &entry->key))
	{
		entry->kind = (RecordKind) kind;
		if (unpack_body(cursor, entry))
			return true;
	}
	return error_set(err, ERR_DATA, "feed record of unit %llu is malformed",
					 (unsigned long long) reader->header.seq);
}

bool
record_fill(const RecordReader *reader, bool *fill, RecordEntry *entry, Error *err)
{
	RecordReader ahead = *reader;
	bool done;

	if (!record_next(&ahead, entry, &done, err))
		return false;
	*fill = !done && entry->kind == RECORD_FILL;
	return true;
}
