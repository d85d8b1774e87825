/*
 * scorer.c -- see scorer.h: units, their pieces, their entries.
 *
 *   begin ──> parts ──────────────> end
 *               │  ^                 │
 *               v  │ same part again v
 *             a piece's record     the (last) record
 *
 * A transaction's changes are counted, whatever relation they belong to, and before the change that
 * would begin a new piece the record of the last one is completed.  So pieces depend on the unit
 * alone, and a unit taken up again in the middle (the store has some of its pieces) only counts until
 * it is there.
 */
#include "score/scorer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/quote.h"
#include "score/pack.h"
#include "score/step.h"

/* ---- life --------------------------------------------------------------------------------- */

bool
scorer_create(Store *store, uint32_t part_changes, Scorer **out, Error *err)
{
	Scorer *scorer = xcalloc(1, sizeof(*scorer));

	scorer->store = store;
	scorer->part_changes = part_changes;
	scorer->image.unknown = -1;
	if (relations_load(&scorer->relations, store, err) &&
		watches_load(&scorer->watches, store, &scorer->relations, err) &&
		rankings_load(&scorer->rankings, store, &scorer->relations, err) && rescore_load(scorer, err) &&
		config_load(scorer, err) && lost_load(scorer, err) && repeat_load(scorer, err) &&
		interventions_load(&scorer->interventions, store, err))
	{
		steer_load(scorer);
		*out = scorer;
		return true;
	}
	scorer_destroy(scorer);
	return error_wrap(err, "scorer");
}

void
scorer_destroy(Scorer *scorer)
{
	if (scorer == NULL)
		return;
	interventions_free(&scorer->interventions);
	steer_free(&scorer->steering);
	rankings_free(&scorer->rankings);
	watches_free(&scorer->watches);
	relations_free(&scorer->relations);
	image_free(&scorer->image);
	buffer_free(&scorer->detail);
	buffer_free(&scorer->record);
	buffer_free(&scorer->remapped);
	buffer_free(&scorer->remapped_row);
	buffer_free(&scorer->spliced);
	buffer_free(&scorer->bits);
	buffer_free(&scorer->remembered);
	buffer_free(&scorer->value);
	buffer_free(&scorer->key);
	free(scorer->emitted.list);
	free(scorer->next.list);
	free(scorer->jobs);
	free(scorer->fills);
	free(scorer);
}

/* ---- a unit that cannot be read ------------------------------------------------------------- */

/* What came before it stays; readers learn that something is missing. */
static void
give_up_unit(Scorer *scorer, Slice part)
{
	scorer->ended = true;
	scorer->malformed = false;
	emit_endings(scorer, 0);
	scorer->change++;
	emit_quarantine(scorer, NULL, slice_make(NULL, 0), slice_make(NULL, 0), slice_string("undecodable"),
					part);
	emit_gap(scorer, scorer->unit.commit_lsn, slice_string("a unit that could not be decoded"));
}

/* After a call that returned false: true when it was the bytes' fault and has been dealt with. */
static bool
was_malformed(Scorer *scorer, Slice part)
{
	if (!scorer->malformed)
		return false;
	give_up_unit(scorer, part);
	return true;
}

/* ---- entries of a frame -------------------------------------------------------------------- */

/* An entry, decoded once: to be counted, and then applied or not. */
typedef struct Step
{
	WireEntry entry;
	WireChange change;
	WireTruncate truncate;
	uint32_t ordinals; /* it takes; 0 when it is no change */
} Step;

static bool
step_read(Step *step)
{
	step->ordinals = 0;
	switch (step->entry.kind)
	{
		case ENTRY_CHANGE:
			if (!wire_change(step->entry.body, &step->change))
				return false;
			step->ordinals = step->change.op == OP_UPDATE && step->change.nold_key > 0 ? 2 : 1;
			return true;
		case ENTRY_TRUNCATE:
			if (!wire_truncate(step->entry.body, &step->truncate))
				return false;
			step->ordinals = step->truncate.nrelations;
			return true;
		default:
			return true;
	}
}

static bool
apply_truncate(Scorer *scorer, const WireTruncate *truncate, Error *err)
{
	for (uint32_t i = 0; i < truncate->nrelations; i++)
	{
		scorer->change++;
		if (!change_truncate(scorer, wire_truncate_relation(truncate, i), err))
			return false;
		emit_endings(scorer, 0);
	}
	return true;
}

static bool
apply_step(Scorer *scorer, const Step *step, Error *err)
{
	uint32_t before = scorer->change;
	bool ok;

	switch (step->entry.kind)
	{
		case ENTRY_RELATION:
			return relations_learn(&scorer->relations, step->entry.body, &ok, err) &&
				   (ok || malformed(scorer));
		case ENTRY_CHANGE:
			scorer->change++;
			if (!change_apply(scorer, &step->change, step->entry.body, err))
				return false;
			emit_endings(scorer, 0);
			/* of a table that is not stored a key change counts as two all the same */
			scorer->change = before + step->ordinals;
			return true;
		case ENTRY_TRUNCATE:
			return apply_truncate(scorer, &step->truncate, err);
		case ENTRY_PUBLICATION_LOST:
			return lost_publication(scorer, step->entry.body, err);
		default:
			return true; /* messages are not ours */
	}
}

/* ---- pieces ------------------------------------------------------------------------------- */

static bool
piece_full(const Scorer *scorer)
{
	return scorer->change - scorer->piece >= scorer->part_changes;
}

/*
 * *cut: the entry belongs to the next piece, and the record of this one is ready.  Of a piece that the
 * store has already the entries only count.
 */
static bool
take_step(Scorer *scorer, Step *step, bool *cut, Error *err)
{
	*cut = false;
	if (!step_read(step))
		return malformed(scorer);
	if (step->ordinals > 0 && piece_full(scorer))
	{
		scorer->piece = scorer->change;
		*cut = scorer->skip == 0;
		if (*cut)
			return emit_finish(scorer, false, err);
		scorer->skip--;
	}
	if (scorer->skip == 0)
		return apply_step(scorer, step, err);
	scorer->change += step->ordinals;
	return true;
}

/* ---- parts -------------------------------------------------------------------------------- */

static bool
take_frame(Scorer *scorer, Slice bytes, bool *ready, Error *err)
{
	WireFrame frame;
	Step step;

	if (!wire_frame_begin(&frame, bytes))
		return malformed(scorer);
	if (scorer->resume > 0)
		frame.cursor.at = bytes.data + scorer->resume;
	for (;;)
	{
		size_t at = (size_t) (frame.cursor.at - bytes.data);
		bool cut;

		if (!wire_frame_next(&frame, &step.entry))
			break;
		if (!take_step(scorer, &step, &cut, err))
			return false;
		if (cut)
		{
			scorer->resume = at;
			*ready = true;
			return true;
		}
	}
	scorer->resume = 0;
	return !frame.error || malformed(scorer);
}

static bool
take_row(Scorer *scorer, Slice bytes, Error *err)
{
	WireEntry entry;
	bool ok;

	if (!wire_entry(bytes, &entry))
		return malformed(scorer);
	if (entry.kind == ENTRY_RELATION)
		return relations_learn(&scorer->relations, entry.body, &ok, err) && (ok || malformed(scorer));
	if (entry.kind != ENTRY_CHANGE)
		return malformed(scorer);
	scorer->change++;
	if (!fill_row(scorer, entry.body, err))
		return false;
	emit_endings(scorer, 0);
	return true;
}

static bool
take_rows(Scorer *scorer, Slice bytes, Error *err)
{
	WireCursor cursor = wire_cursor(bytes);
	Slice row;

	while (!wire_done(&cursor))
	{
		if (!unpack_bytes(&cursor, &row))
			return malformed(scorer);
		if (!take_row(scorer, row, err))
			return false;
	}
	return true;
}

static bool
take_relation(Scorer *scorer, Slice bytes, Error *err)
{
	WireEntry entry;
	WireRelation relation;
	bool ok;

	if (!wire_entry(bytes, &entry) || entry.kind != ENTRY_RELATION)
		return malformed(scorer);
	if (!relations_learn(&scorer->relations, entry.body, &ok, err))
		return false;
	if (!ok || !wire_relation(entry.body, &relation))
		return malformed(scorer);
	scorer->begins = relation.fingerprint;
	return true;
}

/* Kinds take the parts that are theirs and pass over others. */
static bool
take_part(Scorer *scorer, PartType type, Slice bytes, bool *ready, Error *err)
{
	switch (type)
	{
		case PART_FRAME:
			return scorer->unit.kind != UNIT_TXN || take_frame(scorer, bytes, ready, err);
		case PART_ROWS:
			return scorer->unit.kind != UNIT_BACKFILL || scorer->unit.step != BACKFILL_ROWS ||
				   take_rows(scorer, bytes, err);
		case PART_RELATION:
			return take_relation(scorer, bytes, err);
		case PART_DETAIL:
			buffer_append_slice(&scorer->detail, bytes);
			return true;
	}
	return malformed(scorer);
}

/* ---- the step ----------------------------------------------------------------------------- */

bool
scorer_begin(Scorer *scorer, const Unit *unit, Error *err)
{
	StorePosition position = store_position(scorer->store);

	if (unit->seq != position.seq + 1)
		return error_set(err, ERR_REFUSE, "unit %llu does not follow the store's position %llu",
						 (unsigned long long) unit->seq, (unsigned long long) position.seq);
	scorer->unit = *unit;
	scorer->in_unit = true;
	scorer->ready = false;
	scorer->change = 0;
	scorer->piece = 0;
	scorer->part = position.part;
	scorer->skip = position.part;
	scorer->resume = 0;
	scorer->begins = 0;
	scorer->malformed = scorer->ended = false;
	buffer_reset(&scorer->detail);
	emit_begin(scorer);
	return true;
}

bool
scorer_part(Scorer *scorer, PartType type, Slice bytes, bool *ready, bool *consumed, Error *err)
{
	*ready = false;
	*consumed = true;
	if (scorer->ready)
	{
		scorer->ready = false;
		scorer->part++;
		emit_begin(scorer);
	}
	if (scorer->ended)
		return true;
	if (!take_part(scorer, type, bytes, ready, err))
		return was_malformed(scorer, bytes);
	*consumed = !*ready;
	return true;
}

static bool
finish_backfill(Scorer *scorer, Error *err)
{
	switch (scorer->unit.step)
	{
		case BACKFILL_BEGIN:
			return fill_begin(scorer, err);
		case BACKFILL_END:
			return fill_end(scorer, err);
		case BACKFILL_ABORT:
			return fill_abort(scorer, err);
		case BACKFILL_ROWS:
		case BACKFILL_NONE:
			return true;
	}
	return true;
}

/* Of a GAP's text: its reason. The tables it is about are the scorer's business. */
static Slice
first_line(Slice text)
{
	const uint8_t *end = text.len > 0 ? memchr(text.data, '\n', text.len) : NULL;

	return end != NULL ? slice_make(text.data, (size_t) (end - text.data)) : text;
}

static bool
finish_unit(Scorer *scorer, Error *err)
{
	switch (scorer->unit.kind)
	{
		case UNIT_BACKFILL:
			return finish_backfill(scorer, err);
		case UNIT_RESCORE:
			return scorer->unit.id & CLEARING_BIT ? lost_chunk(scorer, err) : rescore_chunk(scorer, err);
		case UNIT_CONFIG:
			/* what ends here is told as of the unit's only change */
			scorer->change = 1;
			return config_settings(scorer, buffer_slice(&scorer->detail), err);
		case UNIT_TIMER:
			return timer_chunk(scorer, err);
		case UNIT_TXN:
			return change_settle_keys(scorer, err);
		case UNIT_GAP:
			scorer->change = 1;
			emit_gap(scorer, scorer->unit.point, first_line(buffer_slice(&scorer->detail)));
			return lost_told(scorer, buffer_slice(&scorer->detail), err);
		default:
			return true;
	}
}

bool
scorer_end(Scorer *scorer, Error *err)
{
	if (scorer->ended ? !change_settle_keys(scorer, err)
					  : !finish_unit(scorer, err) && !was_malformed(scorer, slice_make(NULL, 0)))
		return false;
	emit_endings(scorer, 0);
	if (!repeat_first_filled(scorer, err) || !emit_finish(scorer, true, err))
		return false;
	scorer->in_unit = false;
	scorer->counters.units++;
	return true;
}

Slice
scorer_record(Scorer *scorer, RecordHeader *header)
{
	*header = scorer->header;
	return buffer_slice(&scorer->record);
}

/* Only learned: what is done with it has to depend on units alone. */
bool
scorer_relation(Scorer *scorer, Slice bytes, Error *err)
{
	WireEntry entry;
	bool ok;

	if (!wire_entry(bytes, &entry) || entry.kind != ENTRY_RELATION)
		return error_set(err, ERR_DATA, "what should be a relation's description is not");
	if (!relations_learn(&scorer->relations, entry.body, &ok, err))
		return false;
	return ok || error_set(err, ERR_DATA, "the description of a relation is malformed");
}

/* ---- what others ask ----------------------------------------------------------------------- */

void
scorer_dictionary(Scorer *scorer, Buffer *out)
{
	emit_dictionary(scorer, out);
}

static void
table_name(ScorerTable *table, const char *schema, const char *name)
{
	quote_table(table->relation, sizeof(table->relation), slice_string(schema), slice_string(name));
}

static void
table_state(ScorerTable *table, const Relation *relation)
{
	table->number = relation != NULL ? relation->number : 0;
	table->oid = relation != NULL ? relation->oid : 0;
	table->backfill = relation != NULL ? relation->backfill : 0;
	table->state = relation != NULL ? (int) relation->fill : FILL_PENDING;
	table->clearing = relation != NULL && relation->clearing.job != 0;
	table->items = relation != NULL ? relation->items : 0;
	table->lost = relation != NULL && relation->lost;
	table->stopped = relation != NULL && relation->stopped;
}

bool
scorer_fill(Scorer *scorer, uint32_t oid, uint64_t keys_max, ScorerFill *fill, Error *err)
{
	const Relation *relation = relations_by_oid(&scorer->relations, oid);
	bool resumes;

	fill->id = 0;
	fill->chunk = 0;
	fill->open = fill->scanned = false;
	fill->listed = 0;
	buffer_reset(&fill->resume);
	buffer_reset(&fill->keys);
	if (relation == NULL)
		return true;
	fill->open = relation->fill == FILL_OPEN;
	fill->open_id = relation->backfill;
	fill->open_chunk = relation->chunk;
	/* what has been read counts only if nothing was lost since it began */
	resumes = relation->touching && relation->clearing.job == 0 && relation->resume.len > 0 &&
			  (!relation->lost || relation->mending);
	if (!resumes)
		return true;
	fill->id = relation->backfill;
	fill->chunk = relation->chunk;
	fill->scanned = relation->scanned;
	fill->listed = relation->listed;
	buffer_append_slice(&fill->resume, buffer_slice(&relation->resume));
	return !fill->scanned || fill->listed > keys_max || list_keys(scorer, relation, &fill->keys, err);
}

void
scorer_fill_free(ScorerFill *fill)
{
	buffer_free(&fill->resume);
	buffer_free(&fill->keys);
}

/* The config tables first: what they say decides what else is needed. */
int
scorer_tables(Scorer *scorer, ScorerTable *tables, int max)
{
	static const struct
	{
		RelationRole role;
		const char *table;
	} config[SCORER_CONFIG_TABLES] = {{ROLE_WATCHED, "watched"},
									  {ROLE_LIBRARIES, "rule_library"},
									  {ROLE_RANKINGS, "ranking"},
									  {ROLE_INTERVENTIONS, "intervention"}};
	int count = 0;

	for (int i = 0; i < SCORER_CONFIG_TABLES && count < max; i++, count++)
	{
		table_name(&tables[count], "walrank", config[i].table);
		table_state(&tables[count], relations_by_role(&scorer->relations, config[i].role));
	}
	for (int i = 0; i < scorer->watches.count && count < max; i++, count++)
	{
		const Watch *watch = scorer->watches.list[i];

		table_name(&tables[count], watch->schema, watch->table);
		table_state(&tables[count], watch->relation);
	}
	return count;
}

static void
list_broken(const Scorer *scorer, ScorerWants *wants)
{
	size_t len = 0;

	wants->broken[0] = '\0';
	for (uint32_t i = 0; i < scorer->rankings.count; i++)
		if (scorer->rankings.list[i]->broken && len < sizeof(wants->broken) - 1)
			len += (size_t) snprintf(wants->broken + len, sizeof(wants->broken) - len, "%s%s",
									 len > 0 ? ", " : "", scorer->rankings.list[i]->name);
}

/* What cannot be read fails once more when a unit needs it. */
static int64_t
timer_due(Scorer *scorer, TimerKind kind)
{
	int64_t time_us;
	Error ignored;

	return timer_next(scorer, kind, &time_us, &ignored) ? time_us : EMITTED_NEVER;
}

void
scorer_wants(Scorer *scorer, ScorerWants *wants)
{
	const Relation *watched = relations_by_role(&scorer->relations, ROLE_WATCHED);
	const Relation *ranking = relations_by_role(&scorer->relations, ROLE_RANKINGS);

	rescore_next(scorer, &wants->rescore);
	if (wants->rescore.job == 0)
		lost_next(scorer, &wants->rescore.job, &wants->rescore.chunk);
	list_broken(scorer, wants);
	wants->gap = scorer->lost;
	wants->timers_at_once = timer_due(scorer, TIMER_AT_ONCE) != EMITTED_NEVER;
	wants->timer_boundary_us = timer_due(scorer, TIMER_BOUNDARY);
	wants->timer_clock_us = timer_due(scorer, TIMER_CLOCK);
	wants->backfill =
		watched == NULL || watched->fill == FILL_PENDING || ranking == NULL || ranking->fill == FILL_PENDING;
	for (int i = 0; i < scorer->watches.count; i++)
	{
		const Relation *relation = scorer->watches.list[i]->relation;

		wants->backfill |= relation == NULL || relation->fill == FILL_PENDING;
	}
}

void
scorer_counters(Scorer *scorer, ScorerCounters *counters)
{
	scorer->counters.items = 0;
	for (uint32_t i = 0; i < scorer->relations.count; i++)
		if (scorer->relations.list[i]->role == ROLE_ITEMS)
			scorer->counters.items += scorer->relations.list[i]->items;
	*counters = scorer->counters;
}
