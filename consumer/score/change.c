/*
 * change.c -- a live change becomes an item's new image.
 */
#include "score/pack.h"
#include "score/step.h"

/* ---- whose change it is ------------------------------------------------------------------- */

bool
change_relation(Scorer *scorer, uint64_t fingerprint, Lsn lsn, bool live, Version **version,
				Relation **relation, Error *err)
{
	Relation *used;

	*relation = NULL;
	if (!relations_version(&scorer->relations, fingerprint, version, err))
		return false;
	if (*version == NULL)
		return malformed(scorer);
	used = relations_use(&scorer->relations, *version);
	if (used->current != *version && (used->current == NULL || lsn >= used->current_lsn))
	{
		const Version *before = used->current;

		relation_set_current(used, *version, lsn);
		if (!config_link(scorer, used, before, err))
			return false;
		if (live && before != NULL && before->head.selection != (*version)->head.selection)
			lost_selection(used);
	}
	else if (used->touching && used->current == *version && lsn > used->current_lsn)
	{
		/* rows read under an older version must not bring that version back */
		used->current_lsn = lsn;
		used->dirty = true;
	}
	*relation = relation_stored(used) ? used : NULL;
	return true;
}

bool
change_key_sound(const Version *version, Slice key, uint32_t values)
{
	WireCursor cursor = wire_cursor(key);
	WireValue value;
	Slice body;

	if (values != version->head.nkeys)
		return false;
	while (!wire_done(&cursor))
		if (!wire_value_next(&cursor, &body) || !wire_value(body, &value))
			return false;
	return true;
}

/* ---- the operations ------------------------------------------------------------------------ */

static bool
apply_upsert(Scorer *scorer, Relation *relation, const WireChange *change, Error *err)
{
	ImageMode mode = change->op == OP_INSERT ? IMAGE_WHOLE : IMAGE_COMPARED;
	Slice stored;

	if (!show_load(scorer, relation, change->key, &stored, err))
		return false;
	if (!image_make(&scorer->image, relation->current, scorer->had ? &stored : NULL, change->attributes,
					mode))
		return malformed(scorer);
	if (!show_item(scorer, relation, change->key, change->op, err))
		return false;
	if (!relation->touching)
		return true;
	return change->op == OP_INSERT ? touch_key(scorer, relation, change->key, err)
								   : touch_columns(scorer, relation, change->key, err);
}

/* ---- keys that two items hold for a moment --------------------------------------------------- */
/*
 * A primary key may be checked at the end of a statement or transaction only (DEFERRABLE): while keys
 * are swapped or shifted, an item moves to a key that another has yet to leave.  The other's image is
 * put aside, as an item of the relation's number with DISPLACED_BIT, until a change moves or deletes
 * it: the first change away from a key means the item that was there first.  Nothing of this outlives
 * the transaction.
 *
 * While the table is read, there may be such an item that we have not met: a key with nothing put aside but a
 * place.  A change away from it means one of the two, and cannot say which.  Then the table is read once more; and in a
 * first reading, or after a loss, nothing is made of either's image, while a table that was read before is trusted to
 * hold all its items: the one that entered the key has moved on.
 */

static bool
displace(Scorer *scorer, Relation *relation, Slice key, Slice image, Error *err)
{
	Buffer value = {0};
	Slice kept;
	bool found;
	bool ok;

	if (!store_item_get(scorer->store, relation->number | DISPLACED_BIT, key, &kept, &found, err))
		return false;
	if (found)
		return true;
	buffer_append_u64(&value, relation->current->fingerprint);
	buffer_append_slice(&value, image);
	ok = store_item_put(scorer->store, relation->number | DISPLACED_BIT, key, buffer_slice(&value), err);
	buffer_free(&value);
	relation->displaced++;
	relation->dirty = true;
	return ok;
}

/* *taken: the item that has to leave the key is the one put aside; its image is in scorer->spliced. *unsure: or not. */
static bool
take_displaced(Scorer *scorer, Relation *relation, Slice key, bool *taken, bool *unsure, Error *err)
{
	uint64_t fingerprint;
	Slice value;
	bool found;

	*taken = *unsure = false;
	if (relation->displaced == 0)
		return true;
	if (!store_item_get(scorer->store, relation->number | DISPLACED_BIT, key, &value, taken, err))
		return false;
	if (!*taken)
		return true;
	memcpy(&fingerprint, value.data, sizeof(fingerprint));
	buffer_reset(&scorer->spliced);
	buffer_append(&scorer->spliced, value.data + sizeof(fingerprint), value.len - sizeof(fingerprint));
	relation->displaced--;
	relation->dirty = true;
	if (scorer->spliced.len == 0 && relation->touching && relation->fill != FILL_DONE)
	{
		*taken = false;
		*unsure = relation->lost || !relation->whole;
		relation->redo = true;
		return store_item_delete(scorer->store, relation->number | DISPLACED_BIT, key, &found, err);
	}
	/* altered inside the transaction: what it carries has to do */
	if (fingerprint != relation->current->fingerprint)
		buffer_reset(&scorer->spliced);
	return store_item_delete(scorer->store, relation->number | DISPLACED_BIT, key, taken, err);
}

/* Another item holds the key by now: it is told as it is, so that nobody takes it for gone. */
static bool
tell_staying(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Slice stored;

	if (!show_load(scorer, relation, key, &stored, err))
		return false;
	if (!scorer->had_whole)
		return true;
	if (!image_make(&scorer->image, relation->current, &stored, stored, IMAGE_COMPARED))
		return malformed(scorer);
	emit_change(scorer, relation, key, OP_UPDATE);
	return true;
}

static bool
forget_displaced(Scorer *scorer, Relation *relation, Error *err)
{
	uint64_t count;

	if (relation->displaced == 0)
		return true;
	relation->displaced = 0;
	relation->dirty = true;
	return store_items_clear(scorer->store, relation->number | DISPLACED_BIT, &count, err);
}

bool
change_settle_keys(Scorer *scorer, Error *err)
{
	for (uint32_t i = 0; i < scorer->relations.count; i++)
		if (!forget_displaced(scorer, scorer->relations.list[i], err))
			return false;
	return true;
}

/* ---- delete, key change -------------------------------------------------------------------- */

static bool
delete_item(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Slice stored;

	return show_load(scorer, relation, key, &stored, err) && show_delete(scorer, relation, key, err) &&
		   (!relation->touching || touch_key(scorer, relation, key, err));
}

static bool
apply_delete(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	bool taken;
	bool unsure;

	if (!take_displaced(scorer, relation, key, &taken, &unsure, err))
		return false;
	return taken ? tell_staying(scorer, relation, key, err) : delete_item(scorer, relation, key, err);
}

/* Keys are known by their bytes: those of an old key must not differ by the field they came in. */
static Slice
same_field(Buffer *out, Slice old_key)
{
	WireCursor cursor = wire_cursor(old_key);
	Slice value;

	buffer_reset(out);
	while (!wire_done(&cursor) && wire_value_next(&cursor, &value))
	{
		pack_number(out, WIRE_TAG(CHANGE_KEY, WIRE_BYTES));
		pack_bytes(out, value);
	}
	return buffer_slice(out);
}

/* The image of the item that moves, from what the change carries and what was known of it. */
static bool
moving_image(Scorer *scorer, const Relation *relation, const WireChange *change, const Slice *stored)
{
	return image_make(&scorer->image, relation->current, stored, change->attributes, IMAGE_COMPARED) &&
		   image_mark_all(&scorer->image);
}

/* First change: the old key is left, if not by the item that now holds it, then by the one put aside. */
static bool
leave_key(Scorer *scorer, Relation *relation, const WireChange *change, Slice old_key, Error *err)
{
	Slice stored;
	bool taken;
	bool unsure;

	if (!take_displaced(scorer, relation, old_key, &taken, &unsure, err))
		return false;
	if (taken)
	{
		if (!tell_staying(scorer, relation, old_key, err))
			return false;
		stored = buffer_slice(&scorer->spliced);
		return moving_image(scorer, relation, change, stored.len > 0 ? &stored : NULL) || malformed(scorer);
	}
	if (!show_load(scorer, relation, old_key, &stored, err))
		return false;
	if (!moving_image(scorer, relation, change, scorer->had && !unsure ? &stored : NULL))
		return malformed(scorer);
	return show_delete(scorer, relation, old_key, err) &&
		   (!relation->touching || touch_key(scorer, relation, old_key, err));
}

/* Second change: the item appears under its new key. */
static bool
enter_key(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Slice stored;

	if (!show_load(scorer, relation, key, &stored, err))
		return false;
	if ((scorer->had || (relation->touching && relation->fill != FILL_DONE)) &&
		relation->role == ROLE_ITEMS && !displace(scorer, relation, key, stored, err))
		return false;
	if (!show_item(scorer, relation, key, OP_INSERT, err))
		return false;
	if (!relation->touching)
		return true;
	/* the row under the new key is another's, or older: only a later reading can complete it */
	if (relation->fill != FILL_DONE && !list_moved(scorer, relation, key, err))
		return false;
	return touch_key(scorer, relation, key, err);
}

/*
 * Two changes: the old key goes, and the new one comes with all it has; what the change does not carry
 * is completed from the old key's image.
 */
static bool
apply_key_change(Scorer *scorer, Relation *relation, const WireChange *change, Error *err)
{
	Slice old_key = same_field(&scorer->key, change->old_key);

	if (!leave_key(scorer, relation, change, old_key, err))
		return false;
	emit_endings(scorer, 0);
	scorer->change++;
	return enter_key(scorer, relation, change->key, err);
}

bool
change_apply(Scorer *scorer, const WireChange *change, Slice body, Error *err)
{
	Version *version;
	Relation *relation;

	if (!change_relation(scorer, change->relation, scorer->unit.commit_lsn, true, &version, &relation, err))
		return false;
	if (relation == NULL)
		return true;
	scorer->counters.changes++;
	if ((change->flags & FLAG_KEY_UNKNOWN) || version->head.nkeys == 0 || change->nkey == 0)
	{
		emit_quarantine(scorer, relation, slice_make(NULL, 0), slice_make(NULL, 0), slice_string("no key"),
						body);
		return true;
	}
	if (!change_key_sound(version, change->key, change->nkey) ||
		(change->nold_key > 0 && !change_key_sound(version, change->old_key, change->nold_key)))
		return malformed(scorer);
	if (change->flags & FLAG_FILTER_ERROR)
	{
		emit_quarantine(scorer, relation, change->key, slice_make(NULL, 0), slice_string("filter error"),
						body);
		return true;
	}
	if (change->op == OP_DELETE)
		return apply_delete(scorer, relation, change->key, err);
	if (change->op == OP_UPDATE && change->nold_key > 0)
		return apply_key_change(scorer, relation, change, err);
	return apply_upsert(scorer, relation, change, err);
}

/* ---- truncate ----------------------------------------------------------------------------- */

/* A config table loses its rows one by one: each has its own consequences. */
static bool
truncate_config(Scorer *scorer, Relation *relation, Error *err)
{
	StoreCursor cursor = {0};
	Buffer keys = {0};
	bool done = false;
	bool ok = true;
	Slice key;
	Slice value;

	/* all keys first: the consequences write to the store, which ends the walk */
	while (ok && !done)
	{
		ok = store_item_next(scorer->store, relation->number, &cursor, &key, &value, &done, err);
		if (ok && !done)
		{
			buffer_append_u64(&keys, key.len);
			buffer_append_slice(&keys, key);
		}
	}
	for (size_t at = 0; ok && at < keys.len;)
	{
		uint64_t len;
		Slice stored;

		memcpy(&len, keys.data + at, sizeof(len));
		key = slice_make(keys.data + at + sizeof(len), len);
		at += sizeof(len) + len;
		ok = show_load(scorer, relation, key, &stored, err) && show_delete(scorer, relation, key, err);
	}
	buffer_free(&keys);
	return ok;
}

static bool
truncate_items(Scorer *scorer, Relation *relation, Error *err)
{
	uint64_t count;

	emit_truncate(scorer, relation);
	for (int i = 0; i < relation->nrankings; i++)
	{
		emit_endings(scorer, relation->rankings[i]->number);
		emit_remove(scorer, relation->rankings[i], slice_make(NULL, 0));
	}
	return rescore_drop(scorer, relation, err) && forget_displaced(scorer, relation, err) &&
		   timer_forget(scorer, relation, err) &&
		   store_items_clear(scorer->store, relation->number, &count, err);
}

bool
change_truncate(Scorer *scorer, uint64_t fingerprint, Error *err)
{
	Version *version;
	Relation *relation;
	bool ok;

	if (!change_relation(scorer, fingerprint, scorer->unit.commit_lsn, true, &version, &relation, err))
		return false;
	if (relation == NULL)
		return true;
	ok = relation->role == ROLE_ITEMS ? truncate_items(scorer, relation, err)
									  : truncate_config(scorer, relation, err);
	if (!ok)
		return false;
	relation->items = 0;
	relation->dirty = true;
	if (!relation->touching)
		return true;
	/* covers every key's touch, earlier or of this moment */
	relation->truncate_lsn = scorer->unit.commit_lsn;
	return touch_clear(scorer, relation, err);
}
