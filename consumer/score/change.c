/*
 * change.c -- a live change becomes an item's new image.
 */
#include "score/pack.h"
#include "score/step.h"

/* ---- whose change it is ------------------------------------------------------------------- */

bool
change_relation(Scorer *scorer, uint64_t fingerprint, Lsn lsn, Version **version, Relation **relation,
				Error *err)
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

static bool
apply_delete(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Slice stored;

	return show_load(scorer, relation, key, &stored, err) && show_delete(scorer, relation, key, err) &&
		   (!relation->touching || touch_key(scorer, relation, key, err));
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

/*
 * Two changes: the old key goes, and the new one comes with all it has; what the change does not carry
 * is completed from the old key's image.
 */
static bool
apply_key_change(Scorer *scorer, Relation *relation, const WireChange *change, Error *err)
{
	Slice old_key = same_field(&scorer->key, change->old_key);
	Slice stored;

	if (!show_load(scorer, relation, old_key, &stored, err))
		return false;
	if (!image_make(&scorer->image, relation->current, scorer->had ? &stored : NULL, change->attributes,
					IMAGE_COMPARED) ||
		!image_mark_all(&scorer->image))
		return malformed(scorer);
	if (!show_delete(scorer, relation, old_key, err) ||
		(relation->touching && !touch_key(scorer, relation, old_key, err)))
		return false;
	emit_endings(scorer, 0);
	scorer->change++;
	if (!show_load(scorer, relation, change->key, &stored, err) ||
		!show_item(scorer, relation, change->key, OP_INSERT, err))
		return false;
	if (!relation->touching)
		return true;
	/* the row under the new key is another's, or older: only a later reading can complete it */
	if (scorer->image.unknown >= 0)
		relation->again = relation->dirty = true;
	return touch_key(scorer, relation, change->key, err);
}

bool
change_apply(Scorer *scorer, Slice body, Error *err)
{
	WireChange change;
	Version *version;
	Relation *relation;

	if (!wire_change(body, &change))
		return malformed(scorer);
	if (!change_relation(scorer, change.relation, scorer->unit.commit_lsn, &version, &relation, err))
		return false;
	if (relation == NULL)
		return true;
	scorer->counters.changes++;
	if ((change.flags & FLAG_KEY_UNKNOWN) || version->head.nkeys == 0 || change.nkey == 0)
	{
		emit_quarantine(scorer, relation, slice_make(NULL, 0), slice_make(NULL, 0), slice_string("no key"),
						body);
		return true;
	}
	if (!change_key_sound(version, change.key, change.nkey) ||
		(change.nold_key > 0 && !change_key_sound(version, change.old_key, change.nold_key)))
		return malformed(scorer);
	if (change.flags & FLAG_FILTER_ERROR)
	{
		emit_quarantine(scorer, relation, change.key, slice_make(NULL, 0), slice_string("filter error"),
						body);
		return true;
	}
	if (change.op == OP_DELETE)
		return apply_delete(scorer, relation, change.key, err);
	if (change.op == OP_UPDATE && change.nold_key > 0)
		return apply_key_change(scorer, relation, &change, err);
	return apply_upsert(scorer, relation, &change, err);
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
	return rescore_drop(scorer, relation, err) &&
		   store_items_clear(scorer->store, relation->number, &count, err);
}

bool
change_truncate(Scorer *scorer, uint64_t fingerprint, Error *err)
{
	Version *version;
	Relation *relation;
	bool ok;

	if (!change_relation(scorer, fingerprint, scorer->unit.commit_lsn, &version, &relation, err))
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
