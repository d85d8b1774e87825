/*
 * model.c -- see model.h.
 */
#include "model.h"

#include "random.h"
#include "report.h"
#include "wire_put.h"

/* ---- reading units ---------------------------------------------------------------------------- */

static void
tell(ModelRelations *known, Slice entry_bytes)
{
	WireEntry entry;
	WireRelation relation;

	if (!wire_entry(entry_bytes, &entry) || entry.kind != ENTRY_RELATION ||
		!wire_relation(entry.body, &relation))
		broken("J6", "the journal tells a relation that is none");
	for (int i = 0; i < known->n; i++)
		if (known->fingerprints[i] == relation.fingerprint)
			return;
	known->fingerprints[known->n++ & 3] = relation.fingerprint;
}

static void
check_known(const ModelRelations *known, uint64_t seq, Slice body)
{
	WireCursor cursor = wire_cursor(body);
	WireField field;

	if (!wire_field(&cursor, &field) || field.number != CHANGE_RELATION)
		broken("J3", "unit %llu holds a change that is none", (unsigned long long) seq);
	for (int i = 0; i < known->n && i < 4; i++)
		if (known->fingerprints[i] == field.varint)
			return;
	broken("J5", "unit %llu names a relation that its reader was never told", (unsigned long long) seq);
}

static void
take_frame(ModelUnit *out, ModelRelations *known, Slice bytes)
{
	WireFrame frame;
	WireEntry entry;

	if (!wire_frame_begin(&frame, bytes))
		broken("J3", "unit %llu holds a frame that is none", (unsigned long long) out->unit.seq);
	while (wire_frame_next(&frame, &entry))
	{
		Buffer whole = {0};

		if (entry.kind == ENTRY_RELATION)
		{
			put_bytes(&whole, ENTRY_RELATION, entry.body);
			tell(known, buffer_slice(&whole));
		}
		else if (entry.kind == ENTRY_CHANGE && out->n < MODEL_CHANGES_MAX)
		{
			check_known(known, out->unit.seq, entry.body);
			out->changes[out->n++] = wire_fingerprint(entry.body);
			out->txn_hash = mix(out->txn_hash, wire_fingerprint(entry.body));
		}
		buffer_free(&whole);
	}
}

JournalEvent
model_read(JournalReader *reader, ModelRelations *known, ModelUnit *out, Error *err)
{
	uint8_t header[UNIT_BYTES];
	JournalEvent event;
	PartType type;
	Slice bytes;

	while ((event = journal_reader_next(reader, &out->unit, &type, &bytes, err)) != JOURNAL_UNIT_END)
	{
		switch (event)
		{
			case JOURNAL_UNIT:
				unit_encode(&out->unit, header);
				out->n = 0;
				out->txn_hash = 0;
				out->hash = wire_fingerprint(slice_make(header, sizeof(header)));
				break;
			case JOURNAL_RELATION:
				tell(known, bytes);
				break;
			case JOURNAL_PART:
				out->hash = mix(out->hash, mix(wire_fingerprint(bytes), type));
				if (type == PART_FRAME)
					take_frame(out, known, bytes);
				else if (type == PART_ROWS)
					out->changes[out->n++] = wire_fingerprint(bytes);
				break;
			default:
				return event;
		}
	}
	return JOURNAL_UNIT;
}

/* ---- the scorer ------------------------------------------------------------------------------- */

int
model_pieces(const ModelUnit *unit)
{
	int pieces = (unit->n + MODEL_PART_CHANGES - 1) / MODEL_PART_CHANGES;

	return unit->unit.kind == UNIT_TXN && pieces > 1 ? pieces : 1;
}

static void
put_score(Buffer *record, ModelState *state, RecordHeader *header, uint32_t change, int item)
{
	uint64_t key = (uint64_t) item;
	RecordEntry entry = {
		.kind = RECORD_SCORE,
		.change = change,
		.out = 1,
		.relation = 1,
		.key = slice_make(&key, sizeof(key)),
		.score = {.score = (double) (state->items[item] >> 12), .version = (uint32_t) state->version}};

	record_entry(record, &entry);
	header->outputs++;
}

/* All items of a chunk, and once more when the last one is done. */
static void
rescore(ModelState *state, const Unit *unit, Buffer *record, RecordHeader *header)
{
	if (state->job == 0 || unit->id != state->job || unit->chunk != state->chunk)
		return; /* an empty record: the job has been replaced */
	for (uint32_t i = 0; i < 4; i++)
		put_score(record, state, header, i + 1, (int) ((state->chunk * 4 + i) % MODEL_ITEMS));
	if (++state->chunk == 3)
		state->job = state->chunk = 0;
}

static void
ranking_entry(const ModelState *state, RecordEntry *entry)
{
	*entry = (RecordEntry){.kind = RECORD_RANKING};
	entry->ranking_def = (RecordRanking){
		.number = 1, .relation = 1, .version = (uint32_t) state->version, .name = slice_string("home")};
}

uint64_t
model_engine(const ModelState *state, const ModelUnit *unit)
{
	return unit->unit.kind == UNIT_CONFIG && unit->unit.chunk != 0 ? unit->unit.chunk : state->engine;
}

void
model_step(ModelState *state, const ModelUnit *unit, uint64_t engine, Buffer *record, RecordHeader *header)
{
	int from = (int) state->part * MODEL_PART_CHANGES;
	int to = from + MODEL_PART_CHANGES;
	bool cut = model_pieces(unit) > 1;
	RecordEntry ranking;

	if (unit->unit.seq != state->seq + 1)
		broken("R1", "the scorer is given unit %llu after unit %llu", (unsigned long long) unit->unit.seq,
			   (unsigned long long) state->seq);
	to = cut && to < unit->n ? to : unit->n;
	*header = (RecordHeader){.seq = unit->unit.seq,
							 .part = (uint32_t) state->part,
							 .last = to == unit->n,
							 .kind = unit->unit.kind,
							 .step = unit->unit.step,
							 .commit_lsn = unit->unit.commit_lsn,
							 .end_lsn = unit->unit.end_lsn,
							 .commit_time_us = unit->unit.commit_time_us,
							 .now_us = unit->unit.now_us,
							 .xid = unit->unit.xid};
	state->hash = mix(state->hash, mix(unit->hash, state->part << 32 | engine));
	buffer_reset(record);
	record_begin(record);
	if (unit->unit.kind == UNIT_CONFIG)
	{
		state->version++;
		state->engine = model_engine(state, unit);
		state->job = unit->unit.seq;
		state->chunk = 0;
		ranking_entry(state, &ranking);
		record_entry(record, &ranking);
	}
	for (int i = from; i < to; i++)
	{
		int item = (int) (unit->changes[i] % MODEL_ITEMS);

		state->items[item] = mix(state->items[item], mix(unit->changes[i], state->hash));
		put_score(record, state, header, (uint32_t) i + 1, item);
	}
	if (unit->unit.kind == UNIT_RESCORE)
		rescore(state, &unit->unit, record, header);
	state->total += header->outputs;
	state->seq += header->last;
	state->part = header->last ? 0 : state->part + 1;
	header->total = state->total;
	record_finish(record, 0, header);
}

void
model_dictionary(const ModelState *state, Buffer *out)
{
	RecordHeader header = {.kind = UNIT_NONE};
	RecordEntry ranking;
	size_t start = out->len;

	record_begin(out);
	if (state->version > 0)
	{
		ranking_entry(state, &ranking);
		record_entry(out, &ranking);
	}
	record_finish(out, start, &header);
}

uint64_t
model_record_hash(const RecordReader *record)
{
	const RecordHeader *h = &record->header;
	uint64_t entries =
		wire_fingerprint(slice_make(record->cursor.at, (size_t) (record->cursor.end - record->cursor.at)));

	return mix(mix(mix(entries, h->seq << 8 | h->part), mix(h->total, h->end_lsn)),
			   mix((uint64_t) h->now_us, h->outputs << 1 | h->last));
}
