/*
 * store_item.c -- items under fixed-size keys, whatever the length of their own.
 *
 * LMDB orders items by relation, hash of the key and place in the chain of those that share a hash;
 * the value begins with the full key, which is compared.  A chain has no holes: places 0..n-1.
 * Where in a chain an item stands depends on when it was committed, so walks do not follow it: they
 * go by hash upwards and, within one hash, by key downwards, and give the same order for the same
 * items always.  Downwards because then the deletion of what a walk just returned moves nothing that
 * is still to come.
 */
#include <endian.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/crc32c.h"
#include "score/store_internal.h"

#define KEY_BYTES_MAX (1U << 20)
#define VALUE_BYTES_MAX (1U << 30)

/* ---- records ---------------------------------------------------------------------------------- */

void
store_record_seal(uint8_t *record, uint32_t key_len, uint32_t value_len)
{
	uint32_t crc;

	memcpy(record + 4, &key_len, 4);
	memcpy(record + 8, &value_len, 4);
	crc = crc32c(0, record + 4, RECORD_HEADER_BYTES - 4 + (size_t) key_len + value_len);
	memcpy(record, &crc, 4);
}

int
store_record_open(MDB_val record, Slice *key, Slice *value)
{
	const uint8_t *bytes = record.mv_data;
	uint32_t crc;
	uint32_t key_len;
	uint32_t value_len;

	if (record.mv_size < RECORD_HEADER_BYTES)
		return MDB_CORRUPTED;
	memcpy(&crc, bytes, 4);
	memcpy(&key_len, bytes + 4, 4);
	memcpy(&value_len, bytes + 8, 4);
	if (RECORD_HEADER_BYTES + (uint64_t) key_len + value_len != record.mv_size ||
		crc32c(0, bytes + 4, record.mv_size - 4) != crc)
		return MDB_CORRUPTED;
	*key = slice_make(bytes + RECORD_HEADER_BYTES, key_len);
	*value = slice_make(bytes + RECORD_HEADER_BYTES + key_len, value_len);
	return 0;
}

static void
key_write(uint8_t bytes[ITEM_KEY_BYTES], uint32_t relation, uint64_t hash, uint32_t place)
{
	uint32_t r = htobe32(relation);
	uint64_t h = htobe64(hash);
	uint16_t p = htobe16((uint16_t) place);

	memcpy(bytes, &r, 4);
	memcpy(bytes + 4, &h, 8);
	memcpy(bytes + 12, &p, 2);
}

static uint64_t
key_hash(const Store *store, Slice key)
{
	return XXH3_64bits(key.data, key.len) & store->settings.hash_mask;
}

/*
 * The stored item at a place: 0, MDB_NOTFOUND or an error.  That there is none is believed only if what
 * stands there instead is sound: on an overwritten page a search just does not find.
 */
static int
place_read(MDB_cursor *cursor, uint32_t relation, uint64_t hash, uint32_t place, Slice *key, Slice *value)
{
	uint8_t bytes[ITEM_KEY_BYTES];
	MDB_val k = {ITEM_KEY_BYTES, bytes};
	MDB_val v;
	int rc;

	key_write(bytes, relation, hash, place);
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	if (rc != 0)
		return rc;
	if (k.mv_size != ITEM_KEY_BYTES)
		return MDB_CORRUPTED;
	rc = store_record_open(v, key, value);
	if (rc != 0)
		return rc;
	return memcmp(k.mv_data, bytes, ITEM_KEY_BYTES) == 0 ? 0 : MDB_NOTFOUND;
}

/* The place of a key in its chain; when it has none, the place after the last. */
static int
chain_find(MDB_cursor *cursor, uint32_t relation, uint64_t hash, Slice key, uint32_t *place, Slice *value)
{
	Slice other;
	int rc;

	for (*place = 0; *place <= ITEM_CHAIN_MAX; (*place)++)
	{
		rc = place_read(cursor, relation, hash, *place, &other, value);
		if (rc != 0 || slice_equal(other, key))
			return rc;
	}
	return MDB_KEYEXIST; /* chain full */
}

/* ---- one item --------------------------------------------------------------------------------- */

static bool
item_get(Store *store, uint32_t relation, uint64_t hash, Slice key, Slice *value, bool *found, Error *err)
{
	const ItemEntry *entry = delta_item_find(&store->delta, relation, hash, key);
	uint32_t place;
	int rc;

	*found = false;
	if (entry != NULL)
	{
		*found = !entry->deleted;
		*value = delta_item_value(entry);
		return true;
	}
	if (delta_cleared(&store->delta, relation))
		return true;
	if (!store_reader(store, err))
		return false;
	rc = chain_find(store->items_cursor, relation, hash, key, &place, value);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return store_mdb_error(store, rc, "could not read an item from the store", err);
	*found = rc == 0;
	return true;
}

bool
store_item_get(Store *store, uint32_t relation, Slice key, Slice *value, bool *found, Error *err)
{
	return item_get(store, relation, key_hash(store, key), key, value, found, err);
}

bool
store_item_put(Store *store, uint32_t relation, Slice key, Slice value, Error *err)
{
	if (key.len == 0 || key.len > KEY_BYTES_MAX || value.len > VALUE_BYTES_MAX)
		return error_set(err, ERR_DATA, "an item has a key of %zu bytes and a value of %zu bytes", key.len,
						 value.len);
	delta_item_put(&store->delta, relation, key_hash(store, key), key, value);
	return true;
}

bool
store_item_delete(Store *store, uint32_t relation, Slice key, bool *found, Error *err)
{
	uint64_t hash = key_hash(store, key);
	Slice value;

	if (!item_get(store, relation, hash, key, &value, found, err))
		return false;
	if (*found)
		delta_item_delete(&store->delta, relation, hash, key);
	return true;
}

/* ---- walks ------------------------------------------------------------------------------------ */

static void
chain_add(Store *store, Slice key, Slice value)
{
	if (store->chain_count == store->chain_capacity)
	{
		store->chain_capacity = store->chain_capacity * 2 + 16;
		store->chain = xrealloc(store->chain, store->chain_capacity * sizeof(*store->chain));
	}
	store->chain[store->chain_count++] = (ChainItem){key, value};
}

static int
chain_compare(const void *pa, const void *pb)
{
	const ChainItem *a = pa;
	const ChainItem *b = pb;
	int order = memcmp(a->key.data, b->key.data, a->key.len < b->key.len ? a->key.len : b->key.len);

	return order != 0 ? order : (a->key.len > b->key.len) - (a->key.len < b->key.len);
}

/* All items of one hash, by key, as they are with what waits for the commit. */
static bool
chain_load(Store *store, uint32_t relation, uint64_t hash, Error *err)
{
	const ItemEntry *entry = delta_item_seek(&store->delta, relation, hash, hash);
	Slice key;
	Slice value;
	int rc = 0;

	store->chain_count = 0;
	if (!store_reader(store, err))
		return false;
	for (uint32_t place = 0; place <= ITEM_CHAIN_MAX && !delta_cleared(&store->delta, relation); place++)
	{
		rc = place_read(store->items_cursor, relation, hash, place, &key, &value);
		if (rc != 0)
			break;
		if (entry == NULL || delta_item_find(&store->delta, relation, hash, key) == NULL)
			chain_add(store, key, value);
	}
	if (rc != 0 && rc != MDB_NOTFOUND)
		return store_mdb_error(store, rc, "could not read an item from the store", err);
	for (; entry != NULL; entry = delta_item_like(entry))
		if (!entry->deleted)
			chain_add(store, delta_item_key(entry), delta_item_value(entry));
	if (store->chain_count > 1)
		qsort(store->chain, store->chain_count, sizeof(*store->chain), chain_compare);
	return true;
}

/* The lowest hash >= low under which the relation has an item, stored or pending (or pending deletion). */
static bool
hash_seek(Store *store, uint32_t relation, uint64_t low, uint64_t *hash, bool *found, Error *err)
{
	uint8_t bytes[ITEM_KEY_BYTES];
	MDB_val k = {ITEM_KEY_BYTES, bytes};
	MDB_val v;
	const ItemEntry *entry;
	int rc = MDB_NOTFOUND;

	*found = false;
	*hash = UINT64_MAX;
	if (!store_reader(store, err))
		return false;
	key_write(bytes, relation, low, 0);
	if (!delta_cleared(&store->delta, relation))
		rc = mdb_cursor_get(store->items_cursor, &k, &v, MDB_SET_RANGE);
	if (rc == 0 && k.mv_size != ITEM_KEY_BYTES)
		rc = MDB_CORRUPTED;
	if (rc != 0 && rc != MDB_NOTFOUND)
		return store_mdb_error(store, rc, "could not read an item from the store", err);
	if (rc == 0 && memcmp(k.mv_data, bytes, 4) == 0)
	{
		memcpy(hash, (uint8_t *) k.mv_data + 4, 8);
		*hash = be64toh(*hash);
		*found = true;
	}
	entry = delta_item_seek(&store->delta, relation, low, *hash);
	if (entry != NULL)
	{
		*hash = entry->hash;
		*found = true;
	}
	return true;
}

/* What a cursor holds: the hash the walk is at and how many items of its chain are still to come. */
typedef struct Walk
{
	uint64_t hash;
	uint64_t left;
} Walk;

_Static_assert(sizeof(Walk) <= sizeof(((StoreCursor *) 0)->bytes), "a walk fits its cursor");

bool
store_item_next(Store *store, uint32_t relation, StoreCursor *cursor, Slice *key, Slice *value, bool *done,
				Error *err)
{
	Walk walk = {0};
	bool found;

	*done = false;
	if (cursor->started)
		memcpy(&walk, cursor->bytes, sizeof(walk));
	if (walk.left > 0)
	{
		if (!chain_load(store, relation, walk.hash, err))
			return false;
		walk.left = walk.left < store->chain_count ? walk.left : store->chain_count;
	}
	while (walk.left == 0)
	{
		*done = cursor->started && walk.hash == UINT64_MAX;
		if (*done)
			return true;
		if (!hash_seek(store, relation, walk.hash + (cursor->started ? 1 : 0), &walk.hash, &found, err))
			return false;
		*done = !found;
		if (*done)
			return true;
		if (!chain_load(store, relation, walk.hash, err))
			return false;
		cursor->started = true;
		walk.left = store->chain_count;
	}
	walk.left--;
	*key = store->chain[walk.left].key;
	*value = store->chain[walk.left].value;
	memcpy(cursor->bytes, &walk, sizeof(walk));
	return true;
}

/* Calls for every stored item of a relation; stops at what act returns, if not 0. */
static int
stored_each(MDB_cursor *cursor, uint32_t relation, int (*act)(MDB_cursor *cursor), uint64_t *count)
{
	uint8_t bytes[ITEM_KEY_BYTES];
	MDB_val k = {ITEM_KEY_BYTES, bytes};
	MDB_val v;
	int rc;

	key_write(bytes, relation, 0, 0);
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	key_write(bytes, relation, 0, 0);
	for (*count = 0; rc == 0; (*count)++)
	{
		if (k.mv_size != ITEM_KEY_BYTES)
			return MDB_CORRUPTED;
		if (memcmp(k.mv_data, bytes, 4) != 0)
			return 0;
		rc = act != NULL ? act(cursor) : 0;
		if (rc == 0)
			rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	return rc == MDB_NOTFOUND ? 0 : rc;
}

bool
store_items_clear(Store *store, uint32_t relation, uint64_t *count, Error *err)
{
	const Delta *delta = &store->delta;
	uint64_t low = 0;
	int rc;

	*count = 0;
	if (!store_reader(store, err))
		return false;
	if (!delta_cleared(delta, relation))
	{
		rc = stored_each(store->items_cursor, relation, NULL, count);
		if (rc != 0)
			return store_mdb_error(store, rc, "could not count the items of a relation", err);
	}
	/* what waits: a deletion takes one away (it is noted only for what was there), a new item adds one */
	for (const ItemEntry *entry; (entry = delta_item_seek(delta, relation, low, UINT64_MAX)) != NULL;)
	{
		uint64_t hash = entry->hash;

		for (; entry != NULL; entry = delta_item_like(entry))
		{
			uint32_t place;
			Slice value;

			rc = MDB_NOTFOUND;
			if (!delta_cleared(delta, relation))
				rc = chain_find(store->items_cursor, relation, hash, delta_item_key(entry), &place, &value);
			if (rc != 0 && rc != MDB_NOTFOUND)
				return store_mdb_error(store, rc, "could not count the items of a relation", err);
			*count += (uint64_t) !entry->deleted - (uint64_t) (rc == 0);
		}
		if (hash == UINT64_MAX)
			break;
		low = hash + 1;
	}
	delta_clear(&store->delta, relation);
	return true;
}

/* ---- into the transaction --------------------------------------------------------------------- */

static int
flush_delete(MDB_cursor *cursor, const ItemEntry *entry)
{
	Slice key;
	Slice value;
	uint8_t bytes[ITEM_KEY_BYTES];
	MDB_val k = {ITEM_KEY_BYTES, bytes};
	uint8_t *moved;
	size_t moved_len;
	uint32_t place;
	uint32_t last;
	int rc = chain_find(cursor, entry->relation, entry->hash, delta_item_key(entry), &place, &value);

	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc; /* came and went between two commits */
	for (last = place; last < ITEM_CHAIN_MAX; last++)
	{
		rc = place_read(cursor, entry->relation, entry->hash, last + 1, &key, &value);
		if (rc == MDB_NOTFOUND)
			break;
		if (rc != 0)
			return rc;
	}
	rc = place_read(cursor, entry->relation, entry->hash, last, &key, &value);
	if (rc != 0 || last == place)
		return rc != 0 ? rc : mdb_cursor_del(cursor, 0);

	/* the last one fills the hole; its bytes are copied, as the deletion moves pages */
	moved_len = RECORD_HEADER_BYTES + key.len + value.len;
	moved = xmalloc(moved_len);
	memcpy(moved, key.data - RECORD_HEADER_BYTES, moved_len);
	rc = mdb_cursor_del(cursor, 0);
	if (rc == 0)
	{
		key_write(bytes, entry->relation, entry->hash, place);
		rc = mdb_cursor_put(cursor, &k, &(MDB_val){moved_len, moved}, 0);
	}
	free(moved);
	return rc;
}

static int
flush_put(MDB_cursor *cursor, ItemEntry *entry)
{
	uint8_t bytes[ITEM_KEY_BYTES];
	MDB_val k = {ITEM_KEY_BYTES, bytes};
	MDB_val v = {RECORD_HEADER_BYTES + (size_t) entry->key_len + entry->value_len, entry->record};
	Slice old;
	uint32_t place;
	int rc = chain_find(cursor, entry->relation, entry->hash, delta_item_key(entry), &place, &old);

	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	store_record_seal(entry->record, entry->key_len, entry->value_len);
	key_write(bytes, entry->relation, entry->hash, place);
	/* found: the cursor stands on it, no second way down the tree */
	return mdb_cursor_put(cursor, &k, &v, rc == 0 ? MDB_CURRENT : 0);
}

static int
flush_clear(MDB_cursor *cursor)
{
	return mdb_cursor_del(cursor, 0);
}

static int
flush_entries(MDB_cursor *cursor, ItemEntry **entries, size_t count)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = entries[i]->deleted ? flush_delete(cursor, entries[i]) : flush_put(cursor, entries[i]);
	return rc;
}

int
store_items_flush(Store *store, MDB_txn *txn)
{
	MDB_cursor *cursor;
	uint64_t count;
	int rc = mdb_cursor_open(txn, store->items_dbi, &cursor);

	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < store->delta.cleared_count; i++)
		rc = stored_each(cursor, store->delta.cleared[i], flush_clear, &count);
	/* in key order: each leaf is copied and written once, however many of its items changed */
	if (rc == 0 && store->delta.items > 0)
		rc = flush_entries(cursor, delta_items_sorted(&store->delta), store->delta.items);
	mdb_cursor_close(cursor);
	return rc;
}
