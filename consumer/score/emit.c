/*
 * emit.c -- the record under construction, and what its readers have been told about names.
 *
 * Every entry that uses a number makes sure first that readers know what it means.  Removals of whole
 * rankings wait until their turn, so that the outputs of one change come in the order of their
 * numbers.
 */
#include "score/step.h"

#include <stdlib.h>

static void
count_output(Scorer *scorer)
{
	scorer->header.outputs++;
}

/* ---- dictionary --------------------------------------------------------------------------- */

static void
entry_relation(Buffer *out, const Relation *relation)
{
	RecordEntry entry = {.kind = RECORD_RELATION, .relation = relation->number};

	entry.relation_def.number = relation->number;
	entry.relation_def.descriptor = relation->announced->body;
	entry.relation_def.map = slice_string(relation->announced_map);
	record_entry(out, &entry);
}

static void
entry_ranking(Buffer *out, const Ranking *ranking)
{
	RecordEntry entry = {
		.kind = RECORD_RANKING, .relation = ranking->announced_relation, .out = ranking->number};

	entry.ranking_def.number = ranking->number;
	entry.ranking_def.relation = ranking->announced_relation;
	entry.ranking_def.version = ranking->announced_version;
	entry.ranking_def.name = slice_string(ranking->name);
	record_entry(out, &entry);
}

/*
 * What readers of the records so far know.  A feed takes it at the end of the record that fills a segment:
 * what that record announced is in the segment before, and the next one has to be read alone.
 */
void
emit_dictionary(const Scorer *scorer, Buffer *out)
{
	RecordHeader header = {.kind = UNIT_NONE, .last = true};
	size_t start = out->len;

	record_begin(out);
	for (uint32_t i = 0; i < scorer->relations.count; i++)
		if (scorer->relations.list[i]->announced != NULL)
			entry_relation(out, scorer->relations.list[i]);
	for (uint32_t i = 0; i < scorer->rankings.count; i++)
		if (scorer->rankings.list[i]->announced)
			entry_ranking(out, scorer->rankings.list[i]);
	for (int i = 0; i < scorer->nfills; i++)
	{
		RecordEntry entry = {.kind = RECORD_FILL};

		entry.fill.sink = slice_string(scorer->fills[i].sink);
		entry.fill.from = scorer->fills[i].from;
		record_entry(out, &entry);
	}
	record_finish(out, start, &header);
}

static void
announce_relation(Scorer *scorer, Relation *relation)
{
	if (relation->announced == relation->current && strcmp(relation->announced_map, relation->map) == 0)
		return;
	free(relation->announced_map);
	relation->announced_map = xstrdup(relation->map);
	relation->announced = relation->current;
	relation->dirty = true;
	entry_relation(&scorer->record, relation);
}

static void
announce_ranking(Scorer *scorer, Ranking *ranking)
{
	announce_relation(scorer, ranking->relation);
	if (ranking->announced && ranking->announced_version == ranking->version &&
		ranking->announced_relation == ranking->relation->number)
		return;
	ranking->announced = true;
	ranking->announced_version = ranking->version;
	ranking->announced_relation = ranking->relation->number;
	ranking->dirty = true;
	entry_ranking(&scorer->record, ranking);
}

/* ---- outputs ------------------------------------------------------------------------------ */

void
emit_change(Scorer *scorer, Relation *relation, Slice key, WireOp op)
{
	RecordEntry entry = {
		.kind = RECORD_CHANGE, .change = scorer->change, .relation = relation->number, .key = key};

	announce_relation(scorer, relation);
	entry.row.op = op;
	entry.row.fingerprint = relation->current->fingerprint;
	entry.row.changed_known = true;
	if (op != OP_DELETE)
	{
		entry.row.image = buffer_slice(&scorer->image.bytes);
		entry.row.changed_known = scorer->image.bits_known;
		if (scorer->image.bits_known)
			entry.row.changed = buffer_slice(&scorer->image.bits);
		entry.row.removed = buffer_slice(&scorer->image.removed);
	}
	record_entry(&scorer->record, &entry);
	count_output(scorer);
}

static uint32_t
count_attributes(Slice image)
{
	WireCursor cursor = wire_cursor(image);
	WireAttribute a;
	uint32_t n = 0;

	while (!wire_done(&cursor) && image_next(&cursor, &a))
		n++;
	return n;
}

/* As an insert tells it: all of it is news to who is filled. */
void
emit_repeat(Scorer *scorer, Relation *relation, Slice key, Slice image)
{
	const uint32_t n = count_attributes(image);
	RecordEntry entry = {
		.kind = RECORD_CHANGE, .change = scorer->change, .relation = relation->number, .key = key};

	announce_relation(scorer, relation);
	buffer_reset(&scorer->bits);
	for (uint32_t i = 0; i < n; i += 8)
		buffer_append_byte(&scorer->bits, n - i >= 8 ? 0xff : (uint8_t) ((1u << (n - i)) - 1));
	entry.row.op = OP_INSERT;
	entry.row.fingerprint = relation->current->fingerprint;
	entry.row.changed_known = true;
	entry.row.image = image;
	entry.row.changed = buffer_slice(&scorer->bits);
	record_entry(&scorer->record, &entry);
	count_output(scorer);
}

void
emit_fill(Scorer *scorer, RecordKind kind, const char *sink, uint64_t from)
{
	RecordEntry entry = {.kind = kind, .change = scorer->change};

	entry.fill.sink = slice_string(sink);
	entry.fill.from = from;
	record_entry(&scorer->record, &entry);
}

void
emit_score(Scorer *scorer, Ranking *ranking, Slice key, const Emitted *score)
{
	RecordEntry entry = {.kind = RECORD_SCORE, .change = scorer->change, .out = ranking->number, .key = key};

	announce_ranking(scorer, ranking);
	entry.relation = ranking->relation->number;
	entry.score.score = score->score;
	entry.score.tier = score->tier;
	entry.score.pin = score->pin;
	entry.score.version = ranking->version;
	record_entry(&scorer->record, &entry);
	count_output(scorer);
	scorer->counters.scores++;
}

void
emit_remove(Scorer *scorer, Ranking *ranking, Slice key)
{
	RecordEntry entry = {.kind = RECORD_REMOVE, .change = scorer->change, .out = ranking->number, .key = key};

	announce_ranking(scorer, ranking);
	entry.relation = ranking->relation->number;
	record_entry(&scorer->record, &entry);
	count_output(scorer);
	scorer->counters.removals++;
}

void
emit_truncate(Scorer *scorer, Relation *relation)
{
	RecordEntry entry = {.kind = RECORD_TRUNCATE, .change = scorer->change, .relation = relation->number};

	announce_relation(scorer, relation);
	record_entry(&scorer->record, &entry);
	count_output(scorer);
}

void
emit_gap(Scorer *scorer, Lsn from, Slice reason)
{
	RecordEntry entry = {.kind = RECORD_GAP, .change = scorer->change};

	entry.gap.from = from;
	entry.gap.reason = reason;
	record_entry(&scorer->record, &entry);
	count_output(scorer);
}

void
emit_quarantine(Scorer *scorer, Relation *relation, Slice key, Slice attribute, Slice reason, Slice offending)
{
	RecordEntry entry = {.kind = RECORD_QUARANTINE, .change = scorer->change, .key = key};

	if (relation != NULL && relation->current != NULL)
	{
		announce_relation(scorer, relation);
		entry.relation = relation->number;
	}
	entry.quarantine.attribute = attribute;
	entry.quarantine.reason = reason;
	entry.quarantine.digest = wire_fingerprint(offending);
	record_entry(&scorer->record, &entry);
	scorer->header.quarantined++;
	scorer->counters.quarantined++;
}

/* ---- the end of a ranking ------------------------------------------------------------------ */

void
emit_end(Scorer *scorer, Ranking *ranking)
{
	announce_ranking(scorer, ranking);
	ranking->announced = false;
	ranking->ending = true;
	ranking->ended_relation = ranking->relation->number;
	ranking->void_before = ++ranking->revision;
	ranking->dirty = true;
	scorer->rankings.ending++;
}

void
emit_endings(Scorer *scorer, uint32_t below)
{
	for (uint32_t i = 0; i < scorer->rankings.count && scorer->rankings.ending > 0; i++)
	{
		Ranking *ranking = scorer->rankings.list[i];
		RecordEntry entry = {.kind = RECORD_REMOVE, .change = scorer->change, .out = ranking->number};

		if (below != 0 && ranking->number >= below)
			return;
		if (!ranking->ending)
			continue;
		entry.relation = ranking->ended_relation;
		record_entry(&scorer->record, &entry);
		count_output(scorer);
		scorer->counters.removals++;
		ranking->ending = false;
		scorer->rankings.ending--;
	}
}

/* ---- the record --------------------------------------------------------------------------- */

void
emit_begin(Scorer *scorer)
{
	const Unit *unit = &scorer->unit;

	buffer_reset(&scorer->record);
	record_begin(&scorer->record);
	scorer->header = (RecordHeader){
		.seq = unit->seq,
		.part = scorer->part,
		.kind = unit->kind,
		.step = unit->kind == UNIT_BACKFILL ? unit->step : BACKFILL_NONE,
		.commit_lsn = unit->commit_lsn,
		.end_lsn = unit->end_lsn,
		.commit_time_us = unit->kind == UNIT_TXN ? unit->commit_time_us : 0,
		.now_us = unit->now_us,
		.xid = unit->xid,
	};
}

/* The store moves with the record: state, position and total change in one transaction. */
bool
emit_finish(Scorer *scorer, bool last, Error *err)
{
	StorePosition position = store_position(scorer->store);

	emit_endings(scorer, 0);
	if (!relations_save(&scorer->relations, err) || !rankings_save(&scorer->rankings, err))
		return false;
	position.total += scorer->header.outputs;
	position.seq = last ? scorer->unit.seq : scorer->unit.seq - 1;
	position.part = last ? 0 : scorer->part + 1;
	store_set_position(scorer->store, position);
	scorer->header.last = last;
	scorer->header.total = position.total;
	record_finish(&scorer->record, 0, &scorer->header);
	scorer->ready = true;
	return true;
}
