/*
 * lost.c -- changes that were not delivered, and what that leaves in doubt.
 *
 * A publication that the source can no longer honour is flagged inside a transaction.  From then on
 * every stored table may lack changes, until a reading of it that began later has ended; and the
 * readers of records have to be told by a GAP unit.  Both stand in the store, with the position, so
 * neither a crash nor a restart forgets them: the daemon appends the GAP because the scorer asks for
 * it, again if need be.  Where the daemon knows by itself (a range skipped by hand, publications that
 * newly bring a table) it appends the GAP at once, and that puts tables in doubt.
 *
 *   transaction names a lost publication   lost_publication   GAP wanted, tables in doubt
 *   GAP unit                               lost_told          wanted no more, if it is of the last loss
 *   GAP unit that no transaction asked for lost_told          the tables it names, or all, in doubt
 *   change of a table of which the          lost_selection     the table in doubt
 *     publications select otherwise
 *   BACKFILL begin                         fill_begin         this reading began after the loss
 *   BACKFILL row                           lost_named         the item is still there
 *   BACKFILL's last end                    lost_end           items that nobody named went unseen
 *   RESCORE unit                           lost_chunk         .. the next ones, of a large table
 *
 * Naming costs nothing where it cannot matter: in a table's first reading every item comes from a row or
 * from a live change.  Only where items were there at its first BEGIN each row leaves a touch, as live
 * changes do, and at the end what has none is removed.  Until that is done live changes go on naming
 * what they bring.
 */
#include "score/step.h"

#include "score/pack.h"

#define LOST_KEY "lost"
#define LOST_TEXT_BYTES_MAX 200

/* ---- the GAP to come ---------------------------------------------------------------------- */

static bool
lost_save(Scorer *scorer, Error *err)
{
	Buffer row = {0};
	bool found;
	bool ok;

	buffer_append_u64(&row, scorer->lost.seq);
	buffer_append_u64(&row, scorer->lost.point);
	buffer_append(&row, scorer->lost.text, strlen(scorer->lost.text));
	ok = scorer->lost.seq != 0
			 ? store_put(scorer->store, STORE_META, slice_string(LOST_KEY), buffer_slice(&row), err)
			 : store_delete(scorer->store, STORE_META, slice_string(LOST_KEY), &found, err);
	buffer_free(&row);
	return ok || error_wrap(err, "lost publications");
}

bool
lost_load(Scorer *scorer, Error *err)
{
	ScorerGap *lost = &scorer->lost;
	Slice row;
	size_t len;
	bool found;

	if (!store_get(scorer->store, STORE_META, slice_string(LOST_KEY), &row, &found, err))
		return false;
	if (!found || row.len < 16)
		return true;
	len = row.len - 16 < sizeof(lost->text) - 1 ? row.len - 16 : sizeof(lost->text) - 1;
	memcpy(&lost->seq, row.data, 8);
	memcpy(&lost->point, row.data + 8, 8);
	memcpy(lost->text, row.data + 16, len);
	lost->text[len] = '\0';
	return true;
}

static void
add_name(ScorerGap *lost, Slice name)
{
	size_t used = strlen(lost->text);

	if (used + name.len + 2 > LOST_TEXT_BYTES_MAX || memchr(name.data, '\0', name.len) != NULL)
		return;
	if (used > 0)
	{
		memcpy(lost->text + used, ", ", 2);
		used += 2;
	}
	memcpy(lost->text + used, name.data, name.len);
	lost->text[used + name.len] = '\0';
}

static void
put_in_doubt(Relation *relation)
{
	if (!relation_stored(relation))
		return;
	relation->lost = true;
	relation->mending = false; /* a reading that is under way may have begun too early */
	relation->dirty = true;
}

static void
put_all_in_doubt(Scorer *scorer)
{
	for (uint32_t i = 0; i < scorer->relations.count; i++)
		put_in_doubt(scorer->relations.list[i]);
}

/* Rows that entered or left the filters were not told one by one. */
void
lost_selection(Relation *relation)
{
	put_in_doubt(relation);
}

bool
lost_publication(Scorer *scorer, Slice name, Error *err)
{
	if (scorer->lost.seq == 0)
		scorer->lost.point = scorer->unit.commit_lsn;
	scorer->lost.seq = scorer->unit.seq;
	if (name.len > 0)
		add_name(&scorer->lost, name);
	put_all_in_doubt(scorer);
	return lost_save(scorer, err);
}

/* The lines "table OID NAME" after the reason; without any it is about all tables. */
static void
put_named_in_doubt(Scorer *scorer, Slice detail)
{
	const char *at = detail.len > 0 ? memchr(detail.data, '\n', detail.len) : NULL;
	const char *end = at != NULL ? (const char *) detail.data + detail.len : NULL;
	bool any = false;

	for (; at != NULL && at < end; at = memchr(at, '\n', (size_t) (end - at)))
	{
		Relation *relation;
		uint64_t oid = 0;

		at++;
		if (end - at < 7 || memcmp(at, "table ", 6) != 0)
			continue;
		any = true;
		for (at += 6; at < end && *at >= '0' && *at <= '9' && oid <= UINT32_MAX; at++)
			oid = oid * 10 + (uint64_t) (*at - '0');
		relation = relations_by_oid(&scorer->relations, (uint32_t) oid);
		if (relation != NULL)
			put_in_doubt(relation);
	}
	if (!any)
		put_all_in_doubt(scorer);
}

bool
lost_told(Scorer *scorer, Slice detail, Error *err)
{
	if (scorer->unit.id == 0) /* no transaction told of it: the unit itself does */
		put_named_in_doubt(scorer, detail);
	if (scorer->lost.seq == 0 || scorer->unit.id < scorer->lost.seq)
		return true; /* another gap's, or there was one more loss meanwhile */
	scorer->lost = (ScorerGap){0};
	return lost_save(scorer, err);
}

bool
lost_any(const Scorer *scorer)
{
	for (uint32_t i = 0; i < scorer->relations.count; i++)
		if (scorer->relations.list[i]->lost)
			return true;
	return false;
}

/* ---- items that went unseen --------------------------------------------------------------- */

bool
lost_named(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	if (!relation->naming || scorer->touch.found)
		return true;
	scorer->touch.key_lsn = 0;
	return touch_key_lsn(scorer, relation, key, err);
}

/* Of the next items at most `limit`: the keys that have no touch, each with its length before it. */
static bool
unnamed(Scorer *scorer, Relation *relation, uint32_t limit, Buffer *keys, bool *done, Error *err)
{
	Slice key;
	Slice value;

	*done = false;
	for (uint32_t i = 0; i < limit; i++)
	{
		bool named;

		if (!store_item_next(scorer->store, relation->number, &relation->clearing.cursor, &key, &value, done,
							 err))
			return false;
		if (*done)
			return true;
		if (!store_item_get(scorer->store, relation->number | TOUCH_BIT, key, &value, &named, err))
			return false;
		if (named)
			continue;
		buffer_append_u64(keys, key.len);
		buffer_append_slice(keys, key);
	}
	return true;
}

static bool
remove_unnamed(Scorer *scorer, Relation *relation, uint32_t limit, bool *done, Error *err)
{
	Buffer keys = {0};
	bool ok = unnamed(scorer, relation, limit, &keys, done, err);

	for (size_t at = 0; ok && at < keys.len;)
	{
		uint64_t len;
		Slice key;
		Slice stored;

		memcpy(&len, keys.data + at, sizeof(len));
		key = slice_make(keys.data + at + sizeof(len), len);
		at += sizeof(len) + len;
		scorer->change++;
		ok = show_load(scorer, relation, key, &stored, err) && show_delete(scorer, relation, key, err);
		emit_endings(scorer, 0);
	}
	buffer_free(&keys);
	return ok;
}

/* A table of a few items is done with its END; then there is no job. */
bool
lost_end(Scorer *scorer, Relation *relation, bool *done, Error *err)
{
	*done = true;
	if (!relation->mending)
		return true;
	relation->lost = relation->mending = false;
	relation->dirty = true;
	if (!relation->naming)
		return true;
	relation->clearing.job = relation->backfill | CLEARING_BIT;
	relation->clearing.chunk = 0;
	relation->clearing.cursor = (StoreCursor){0};
	return remove_unnamed(scorer, relation, scorer->part_changes, done, err);
}

void
lost_next(const Scorer *scorer, uint64_t *job, uint32_t *chunk)
{
	for (uint32_t i = 0; i < scorer->relations.count; i++)
	{
		const Relation *relation = scorer->relations.list[i];

		if (relation->clearing.job == 0)
			continue;
		*job = relation->clearing.job;
		*chunk = relation->clearing.chunk;
		return;
	}
}

/* One of a job that a new reading has replaced, or one that came already, does nothing. */
bool
lost_chunk(Scorer *scorer, Error *err)
{
	const Unit *unit = &scorer->unit;
	bool done;

	for (uint32_t i = 0; i < scorer->relations.count; i++)
	{
		Relation *relation = scorer->relations.list[i];

		if (relation->clearing.job != unit->id || relation->clearing.chunk != unit->chunk)
			continue;
		relation->clearing.chunk++;
		relation->dirty = true;
		if (!remove_unnamed(scorer, relation, unit->limit > 0 ? unit->limit : scorer->part_changes, &done,
							err))
			return false;
		return !done || fill_forget(scorer, relation, err);
	}
	return true;
}
