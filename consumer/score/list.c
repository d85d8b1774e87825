/*
 * list.c -- keys that have to be read again (rule B5).
 *
 * While its table is read, an item may move to another key before all of it is known.  The row under the
 * new key, as of the points so far, is another's or none: only a later reading can complete the item.  So
 * the key goes on a list, an item of the relation's number with LISTED_BIT whose value is the unit that
 * put it there.  A round reads the keys listed before its BEGIN, with a point of its own; what is listed
 * meanwhile waits for the next one.
 *
 * Where the table is read again because changes may be missing, an image that moves may be complete and
 * out of date all the same: then its key stays on the list (DOUBT_BIT) until a round has read it.
 */
#include "score/pack.h"
#include "score/step.h"

#define DOUBT_BIT (UINT64_C(1) << 63)

static bool
carried_all(const Scorer *scorer, const Relation *relation)
{
	const Version *version = relation->current;

	for (uint32_t i = 0; i < version->head.ncolumns; i++)
		if (!version->columns[i].key && !scorer->image.carried[i])
			return false;
	return true;
}

bool
list_moved(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	bool doubt = relation->naming && !carried_all(scorer, relation);
	uint64_t seq = scorer->unit.seq | (doubt ? DOUBT_BIT : 0);
	Slice value;
	bool found;

	if (scorer->image.unknown < 0 && !doubt)
		return true;

	if (!store_item_get(scorer->store, relation->number | LISTED_BIT, key, &value, &found, err) ||
		!store_item_put(scorer->store, relation->number | LISTED_BIT, key, slice_make(&seq, sizeof(seq)),
						err))
		return error_wrap(err, "list of relation %u", relation->number);
	relation->listed += !found;
	relation->dirty = true;
	return true;
}

/* Whether a key's item still waits for a row; in doubt it does as long as it is there. */
static bool
waits(Scorer *scorer, const Relation *relation, Slice key, bool doubt, bool *still, Error *err)
{
	Slice value;
	Item item;

	if (!store_item_get(scorer->store, relation->number, key, &value, still, err))
		return error_wrap(err, "item of relation %u", relation->number);
	if (*still && !item_open(value, &item))
		return error_set(err, ERR_REFUSE, "unreadable item of relation %u", relation->number);
	*still = *still && (doubt || !item.whole);
	return true;
}

/* All keys; or those that need no (further) round: not waiting, or listed before unit `before`. */
static bool
gather(Scorer *scorer, const Relation *relation, bool all, uint64_t before, Buffer *keys, Error *err)
{
	StoreCursor cursor = {0};
	bool done = false;

	while (relation->listed > 0)
	{
		bool still = false;
		uint64_t seq;
		bool doubt;
		Slice key;
		Slice value;

		if (!store_item_next(scorer->store, relation->number | LISTED_BIT, &cursor, &key, &value, &done, err))
			return error_wrap(err, "list of relation %u", relation->number);
		if (done)
			break;
		memcpy(&seq, value.data, sizeof(seq));
		doubt = seq & DOUBT_BIT;
		seq &= ~DOUBT_BIT;
		if (!all && seq >= before && !waits(scorer, relation, key, doubt, &still, err))
			return false;
		if (!still)
			pack_bytes(keys, key);
	}
	return true;
}

bool
list_settle(Scorer *scorer, Relation *relation, bool round, Error *err)
{
	Buffer keys = {0};
	bool ok = gather(scorer, relation, false, round ? relation->begun : 0, &keys, err);
	WireCursor cursor = wire_cursor(buffer_slice(&keys));
	Slice key;
	bool found;

	while (ok && !wire_done(&cursor) && unpack_bytes(&cursor, &key))
	{
		ok = store_item_delete(scorer->store, relation->number | LISTED_BIT, key, &found, err);
		relation->listed--;
	}
	buffer_free(&keys);
	return ok;
}

bool
list_clear(Scorer *scorer, Relation *relation, Error *err)
{
	uint64_t count;

	if (relation->listed == 0)
		return true;
	relation->listed = 0;
	relation->dirty = true;
	return store_items_clear(scorer->store, relation->number | LISTED_BIT, &count, err);
}

bool
list_keys(Scorer *scorer, const Relation *relation, Buffer *keys, Error *err)
{
	return gather(scorer, relation, true, 0, keys, err);
}
