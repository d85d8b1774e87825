/*
 * fill.c -- rows read from a table under a snapshot, merged into what live changes said.
 *
 * From a table's first BEGIN to its last END every live change leaves a touch: the commit_lsn at which
 * the key was deleted or (re)inserted, and at which each column was last set.  A row of consistent
 * point C is dropped when its key went or came at or after C; else it fills the columns that no live
 * change at or after C has set.  A touch is an item of its own, of the relation's number with
 * TOUCH_BIT: so long keys and collisions are the store's business here as well.
 *
 *   offset  bytes
 *        0      8  fingerprint of the version whose columns follow
 *        8      8  lsn of the key
 *       16    8*n  lsn of each column
 */
#include "score/step.h"

/* ---- touches ------------------------------------------------------------------------------ */

static bool
touch_read(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Touch *touch = &scorer->touch;
	uint32_t ncolumns = relation->current->head.ncolumns;
	const int16_t *columns = NULL;
	uint64_t fingerprint;
	Version *from;
	Slice value;
	Buffer copy = {0};

	touch->key_lsn = 0;
	memset(touch->columns, 0, ncolumns * sizeof(Lsn));
	if (!store_item_get(scorer->store, relation->number | TOUCH_BIT, key, &value, &touch->found, err))
		return error_wrap(err, "touch of relation %u", relation->number);
	if (!touch->found || value.len < 16)
		return true;
	buffer_append_slice(&copy, value);
	memcpy(&fingerprint, copy.data, 8);
	memcpy(&touch->key_lsn, copy.data + 8, 8);
	if (!relations_version(&scorer->relations, fingerprint, &from, err))
	{
		buffer_free(&copy);
		return false;
	}
	if (from != NULL && from != relation->current)
		columns = version_columns(relation->current, from);
	for (uint32_t i = 0; from != NULL && i < ncolumns; i++)
	{
		int column = columns != NULL ? columns[i] : (int) i;

		if (column >= 0 && 16 + 8 * ((size_t) column + 1) <= copy.len)
			memcpy(&touch->columns[i], copy.data + 16 + 8 * (size_t) column, 8);
	}
	buffer_free(&copy);
	return true;
}

static bool
touch_write(Scorer *scorer, Relation *relation, Slice key, uint32_t ncolumns, Error *err)
{
	Buffer *value = &scorer->value;

	buffer_reset(value);
	buffer_append_u64(value, relation->current->fingerprint);
	buffer_append_u64(value, scorer->touch.key_lsn);
	buffer_append(value, scorer->touch.columns, ncolumns * sizeof(Lsn));
	if (!store_item_put(scorer->store, relation->number | TOUCH_BIT, key, buffer_slice(value), err))
		return error_wrap(err, "touch of relation %u", relation->number);
	return true;
}

bool
touch_key_lsn(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	return touch_write(scorer, relation, key, 0, err);
}

bool
touch_key(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	scorer->touch.key_lsn = scorer->unit.commit_lsn;
	return touch_write(scorer, relation, key, 0, err);
}

/* The columns that the change at hand brought. */
bool
touch_columns(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	uint32_t ncolumns = relation->current->head.ncolumns;

	if (!touch_read(scorer, relation, key, err))
		return false;
	for (uint32_t i = 0; i < ncolumns; i++)
		if (scorer->image.carried[i])
			scorer->touch.columns[i] = scorer->unit.commit_lsn;
	return touch_write(scorer, relation, key, ncolumns, err);
}

bool
touch_clear(Scorer *scorer, Relation *relation, Error *err)
{
	uint64_t count;

	return store_items_clear(scorer->store, relation->number | TOUCH_BIT, &count, err);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* A row read under another version of the table than the newest we know. */
static bool
row_attributes(Scorer *scorer, const Relation *relation, const Version *version, const WireChange *row,
			   Slice *attributes)
{
	*attributes = row->attributes;
	if (version == relation->current)
		return true;
	if (!image_remap(&scorer->remapped_row, row->attributes, version, relation->current))
		return false;
	*attributes = buffer_slice(&scorer->remapped_row);
	return true;
}

/* What live changes have not settled since the row's point comes from the row. */
static bool
row_image(Scorer *scorer, const Relation *relation, const Slice *stored, Slice attributes)
{
	uint32_t ncolumns = relation->current->head.ncolumns;

	if (stored == NULL)
		return image_make(&scorer->image, relation->current, NULL, attributes, IMAGE_WHOLE);
	for (uint32_t i = 0; i < ncolumns; i++)
		scorer->settled[i] = scorer->touch.found && scorer->touch.columns[i] >= scorer->unit.point;
	return image_splice(&scorer->spliced, *stored, attributes, scorer->settled, ncolumns) &&
		   image_make(&scorer->image, relation->current, stored, buffer_slice(&scorer->spliced),
					  IMAGE_COMPARED);
}

/* Nothing the store does not have already. */
static bool
row_known(const Scorer *scorer, const Relation *relation)
{
	const Image *image = &scorer->image;

	return scorer->had_whole && image->bits_known && image->nchanged == 0 && image->removed.len == 0 &&
		   image->bytes.len == scorer->had_bytes && image->unknown < 0 && show_fresh(scorer, relation);
}

static bool
row_merge(Scorer *scorer, Relation *relation, const Version *version, const WireChange *row, Error *err)
{
	Slice attributes;
	Slice stored;

	if (!touch_read(scorer, relation, row->key, err))
		return false;
	if (scorer->touch.found && scorer->touch.key_lsn >= scorer->unit.point)
		return true;
	if (!lost_named(scorer, relation, row->key, err))
		return false;
	if (!row_attributes(scorer, relation, version, row, &attributes))
		return malformed(scorer);
	if (!show_load(scorer, relation, row->key, &stored, err))
		return false;
	if (!row_image(scorer, relation, scorer->had ? &stored : NULL, attributes))
		return malformed(scorer);
	if (row_known(scorer, relation))
		return true;
	/* what waited for this row is new to readers */
	return show_item(scorer, relation, row->key, scorer->had_told ? OP_UPDATE : OP_INSERT, err);
}

bool
fill_row(Scorer *scorer, Slice body, Error *err)
{
	WireChange row;
	Version *version;
	Relation *relation;

	if (!wire_change(body, &row))
		return malformed(scorer);
	if (!change_relation(scorer, row.relation, scorer->unit.point, false, &version, &relation, err))
		return false;
	/* rows that come without a BEGIN, or after an unwatch, are nobody's */
	if (relation == NULL || relation->fill != FILL_OPEN || relation->backfill != scorer->unit.id)
		return true;
	if (version->head.nkeys == 0 || row.nkey == 0)
	{
		emit_quarantine(scorer, relation, slice_make(NULL, 0), slice_make(NULL, 0), slice_string("no key"),
						body);
		return true;
	}
	scorer->counters.changes++;
	if (!change_key_sound(version, row.key, row.nkey))
		return malformed(scorer);
	if (relation->truncate_lsn != 0 && relation->truncate_lsn >= scorer->unit.point)
		return true;
	if (row.flags & FLAG_FILTER_ERROR)
	{
		/* whether it is published cannot be told: what is known of the item stays */
		emit_quarantine(scorer, relation, row.key, slice_make(NULL, 0), slice_string("filter error"), body);
		return touch_read(scorer, relation, row.key, err) && lost_named(scorer, relation, row.key, err);
	}
	return row_merge(scorer, relation, version, &row, err);
}

/* ---- steps -------------------------------------------------------------------------------- */

bool
fill_forget(Scorer *scorer, Relation *relation, Error *err)
{
	relation->touching = relation->mending = relation->naming = relation->scanned = relation->redo = false;
	relation->truncate_lsn = 0;
	relation->chunk = 0;
	relation->clearing.job = 0;
	relation->dirty = true;
	buffer_reset(&relation->resume);
	return touch_clear(scorer, relation, err) && list_clear(scorer, relation, err);
}

/*
 * A reading from the first key on.  What an earlier one has left means nothing to it: its touches are of
 * commits below any point to come, and every key on its list will be met.
 */
static bool
begin_whole(Scorer *scorer, Relation *relation, Error *err)
{
	if (!fill_forget(scorer, relation, err))
		return false;
	relation->touching = true;
	relation->mending = true;
	relation->naming = relation->items > 0;
	return true;
}

bool
fill_begin(Scorer *scorer, Error *err)
{
	Version *version = NULL;
	Relation *relation;

	if (scorer->begins != 0 && !relations_version(&scorer->relations, scorer->begins, &version, err))
		return false;
	relation = version != NULL ? relations_use(&scorer->relations, version)
							   : relations_by_oid(&scorer->relations, scorer->unit.oid);
	if (relation == NULL)
		return true;
	if (relation->current == NULL)
	{
		relation_set_current(relation, version, 0);
		if (!config_link(scorer, relation, NULL, err))
			return false;
	}
	if (!relation_stored(relation))
		return true;
	/* a range of a reading that an unwatch has forgotten meanwhile is no whole one */
	if (scorer->unit.chunk != 0 && (!relation->touching || relation->backfill != scorer->unit.id))
		return true;
	relation->dirty = true;
	relation->fill = FILL_OPEN;
	relation->backfill = scorer->unit.id;
	relation->begun = scorer->unit.seq;
	return scorer->unit.chunk != 0 || begin_whole(scorer, relation, err);
}

/* All of the table has been read, and nothing is left to be read again. */
static bool
end_whole(Scorer *scorer, Relation *relation, Error *err)
{
	bool done;

	relation->fill = FILL_DONE;
	relation->whole = true;
	if (!lost_end(scorer, relation, &done, err))
		return false;
	return !done || fill_forget(scorer, relation, err);
}

bool
fill_end(Scorer *scorer, Error *err)
{
	Relation *relation = relations_by_oid(&scorer->relations, scorer->unit.oid);

	if (relation == NULL || relation->fill != FILL_OPEN || relation->backfill != scorer->unit.id)
		return true;
	relation->dirty = true;
	relation->chunk = scorer->unit.chunk + 1;
	buffer_reset(&relation->resume);
	buffer_append_slice(&relation->resume, buffer_slice(&scorer->detail));
	if (!scorer->unit.last_chunk)
		return true;
	if (relation->redo)
	{
		buffer_reset(&relation->resume);
		relation->fill = FILL_PENDING;
		return true;
	}
	if (!list_settle(scorer, relation, relation->scanned, err))
		return false;
	relation->scanned = true;
	if (relation->listed == 0)
		return end_whole(scorer, relation, err);
	/* some items need a row of a later point: what live changes settle meanwhile still counts */
	relation->fill = FILL_PENDING;
	return true;
}

/* What the chunk's rows have filled stays: they were true at their point. */
bool
fill_abort(Scorer *scorer, Error *err)
{
	Relation *relation = relations_by_oid(&scorer->relations, scorer->unit.oid);

	if (relation == NULL || relation->fill != FILL_OPEN)
		return true;
	relation->fill = FILL_PENDING;
	relation->dirty = true;
	return true;
}
