/*
 * store_delta.c -- writes that wait for the next commit.
 *
 * Items: their hash is spread evenly, so buckets chosen by its highest bits keep them both quickly
 * found and in order.  Small tables: sorted arrays; a commit's worth is some thousand entries.  Both
 * hold records in the form LMDB stores, so that a flush only hands them over.
 */
#include <stdlib.h>

#include "score/store_internal.h"

#define ARENA_BLOCK_BYTES (8U << 20) /* a commit of 10,000 items stays in the first block */
#define BUCKET_BITS_FIRST 14
#define BUCKET_BITS_MAX 24

void
delta_init(Delta *delta)
{
	memset(delta, 0, sizeof(*delta));
	delta->arena = arena_create(ARENA_BLOCK_BYTES);
	delta->bucket_bits = BUCKET_BITS_FIRST;
	delta->buckets = xcalloc((size_t) 1 << delta->bucket_bits, sizeof(*delta->buckets));
}

void
delta_free(Delta *delta)
{
	for (int i = 0; i < STORE_DBIS; i++)
		free(delta->tables[i].entries);
	free(delta->cleared);
	free(delta->buckets);
	arena_destroy(delta->arena);
	memset(delta, 0, sizeof(*delta));
}

void
delta_reset(Delta *delta)
{
	if (delta->items > 0)
		memset(delta->buckets, 0, ((size_t) 1 << delta->bucket_bits) * sizeof(*delta->buckets));
	delta->items = 0;
	delta->cleared_count = 0;
	delta->bytes = 0;
	for (int i = 0; i < STORE_DBIS; i++)
		delta->tables[i].count = 0;
	arena_reset(delta->arena);
}

bool
delta_empty(const Delta *delta)
{
	if (delta->items > 0 || delta->cleared_count > 0)
		return false;
	for (int i = 0; i < STORE_DBIS; i++)
		if (delta->tables[i].count > 0)
			return false;
	return true;
}

static void *
take(Delta *delta, size_t bytes)
{
	delta->bytes += bytes;
	return arena_alloc(delta->arena, bytes);
}

static int
slice_compare(Slice a, Slice b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* ---- items ------------------------------------------------------------------------------------ */

Slice
delta_item_key(const ItemEntry *entry)
{
	return slice_make(entry->record + RECORD_HEADER_BYTES, entry->key_len);
}

Slice
delta_item_value(const ItemEntry *entry)
{
	return slice_make(entry->record + RECORD_HEADER_BYTES + entry->key_len, entry->value_len);
}

/* Order within a bucket: hash, relation, key. */
static int
item_compare(const ItemEntry *entry, uint32_t relation, uint64_t hash, Slice key)
{
	if (entry->hash != hash)
		return entry->hash < hash ? -1 : 1;
	if (entry->relation != relation)
		return entry->relation < relation ? -1 : 1;
	return slice_compare(delta_item_key(entry), key);
}

static ItemEntry **
item_place(const Delta *delta, uint32_t relation, uint64_t hash, Slice key, bool *equal)
{
	ItemEntry **place = &delta->buckets[hash >> (64 - delta->bucket_bits)];
	int order = 1;

	while (*place != NULL && (order = item_compare(*place, relation, hash, key)) < 0)
		place = &(*place)->next;
	*equal = *place != NULL && order == 0;
	return place;
}

ItemEntry *
delta_item_find(const Delta *delta, uint32_t relation, uint64_t hash, Slice key)
{
	bool equal;
	ItemEntry **place = item_place(delta, relation, hash, key, &equal);

	return equal ? *place : NULL;
}

/* One more bit of the hash splits each bucket in two; appending keeps the order. */
static void
items_spread(Delta *delta)
{
	size_t count = (size_t) 1 << delta->bucket_bits;
	ItemEntry **wider = xcalloc(count * 2, sizeof(*wider));

	for (size_t i = 0; i < count; i++)
	{
		ItemEntry **low = &wider[i * 2];
		ItemEntry **high = &wider[i * 2 + 1];

		for (ItemEntry *entry = delta->buckets[i], *next; entry != NULL; entry = next)
		{
			ItemEntry ***tail = entry->hash >> (63 - delta->bucket_bits) & 1 ? &high : &low;

			next = entry->next;
			entry->next = NULL;
			**tail = entry;
			*tail = &entry->next;
		}
	}
	free(delta->buckets);
	delta->buckets = wider;
	delta->bucket_bits++;
}

static ItemEntry *
item_entry(Delta *delta, uint32_t relation, uint64_t hash, Slice key, uint32_t room)
{
	bool equal;
	ItemEntry **place = item_place(delta, relation, hash, key, &equal);
	ItemEntry *entry;

	if (equal && (*place)->capacity >= room)
		return *place;
	if (equal)
		entry = *place;
	else
	{
		if (delta->items >> delta->bucket_bits > 0 && delta->bucket_bits < BUCKET_BITS_MAX)
		{
			items_spread(delta);
			place = item_place(delta, relation, hash, key, &equal);
		}
		entry = take(delta, sizeof(*entry));
		*entry =
			(ItemEntry){.next = *place, .hash = hash, .relation = relation, .key_len = (uint32_t) key.len};
		*place = entry;
		delta->items++;
	}
	entry->capacity = room;
	entry->record = take(delta, RECORD_HEADER_BYTES + key.len + room);
	memcpy(entry->record + RECORD_HEADER_BYTES, key.data, key.len);
	return entry;
}

void
delta_item_put(Delta *delta, uint32_t relation, uint64_t hash, Slice key, Slice value)
{
	ItemEntry *entry = item_entry(delta, relation, hash, key, (uint32_t) value.len);

	/* the value may be what was read from this very entry */
	if (value.len > 0)
		memmove(entry->record + RECORD_HEADER_BYTES + key.len, value.data, value.len);
	entry->value_len = (uint32_t) value.len;
	entry->deleted = false;
}

void
delta_item_delete(Delta *delta, uint32_t relation, uint64_t hash, Slice key)
{
	ItemEntry *entry = item_entry(delta, relation, hash, key, 0);

	entry->value_len = 0;
	entry->deleted = true;
}

ItemEntry *
delta_item_seek(const Delta *delta, uint32_t relation, uint64_t low, uint64_t high)
{
	size_t last = (size_t) (high >> (64 - delta->bucket_bits));

	if (delta->items == 0)
		return NULL;
	for (size_t i = (size_t) (low >> (64 - delta->bucket_bits)); i <= last; i++)
		for (ItemEntry *entry = delta->buckets[i]; entry != NULL && entry->hash <= high; entry = entry->next)
			if (entry->relation == relation && entry->hash >= low)
				return entry;
	return NULL;
}

ItemEntry *
delta_item_like(const ItemEntry *entry)
{
	ItemEntry *next = entry->next;

	return next != NULL && next->hash == entry->hash && next->relation == entry->relation ? next : NULL;
}

void
delta_clear(Delta *delta, uint32_t relation)
{
	for (size_t i = 0; i < (size_t) 1 << delta->bucket_bits; i++)
		for (ItemEntry **place = &delta->buckets[i]; *place != NULL;)
		{
			if ((*place)->relation != relation)
			{
				place = &(*place)->next;
				continue;
			}
			*place = (*place)->next;
			delta->items--;
		}
	if (delta_cleared(delta, relation))
		return;
	if (delta->cleared_count == delta->cleared_capacity)
	{
		delta->cleared_capacity = delta->cleared_capacity * 2 + 8;
		delta->cleared = xrealloc(delta->cleared, delta->cleared_capacity * sizeof(*delta->cleared));
	}
	delta->cleared[delta->cleared_count++] = relation;
}

bool
delta_cleared(const Delta *delta, uint32_t relation)
{
	for (size_t i = 0; i < delta->cleared_count; i++)
		if (delta->cleared[i] == relation)
			return true;
	return false;
}

static int
sort_compare(const void *pa, const void *pb)
{
	const ItemEntry *a = *(ItemEntry *const *) pa;
	const ItemEntry *b = *(ItemEntry *const *) pb;

	if (a->relation != b->relation)
		return a->relation < b->relation ? -1 : 1;
	return item_compare(a, b->relation, b->hash, delta_item_key(b));
}

ItemEntry **
delta_items_sorted(Delta *delta)
{
	ItemEntry **sorted = arena_alloc(delta->arena, (delta->items + 1) * sizeof(*sorted));
	size_t count = 0;
	bool mixed = false;

	for (size_t i = 0; i < (size_t) 1 << delta->bucket_bits; i++)
		for (ItemEntry *entry = delta->buckets[i]; entry != NULL; entry = entry->next)
		{
			sorted[count++] = entry;
			mixed = mixed || entry->relation != sorted[0]->relation;
		}
	sorted[count] = NULL;
	if (mixed)
		qsort(sorted, count, sizeof(*sorted), sort_compare);
	return sorted;
}

/* ---- small tables ----------------------------------------------------------------------------- */

Slice
delta_table_value(const TableEntry *entry)
{
	return slice_make(entry->record + RECORD_HEADER_BYTES, entry->value_len);
}

size_t
delta_table_seek(const TableDelta *table, Slice key, bool after)
{
	size_t low = 0;
	size_t high = table->count;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;
		int order = slice_compare(table->entries[middle]->key, key);

		if (order < 0 || (after && order == 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

TableEntry *
delta_table_find(const TableDelta *table, Slice key)
{
	size_t at = delta_table_seek(table, key, false);

	return at < table->count && slice_equal(table->entries[at]->key, key) ? table->entries[at] : NULL;
}

static TableEntry *
table_entry(Delta *delta, TableDelta *table, Slice key, uint32_t room)
{
	size_t at = delta_table_seek(table, key, false);
	TableEntry *entry;

	if (at < table->count && slice_equal(table->entries[at]->key, key))
		entry = table->entries[at];
	else
	{
		if (table->count == table->capacity)
		{
			table->capacity = table->capacity * 2 + 64;
			table->entries = xrealloc(table->entries, table->capacity * sizeof(TableEntry *));
		}
		memmove(table->entries + at + 1, table->entries + at, (table->count - at) * sizeof(TableEntry *));
		entry = take(delta, sizeof(*entry));
		*entry = (TableEntry){.key = arena_copy(delta->arena, key)};
		delta->bytes += key.len;
		table->entries[at] = entry;
		table->count++;
	}
	if (entry->record == NULL || entry->capacity < room)
	{
		entry->capacity = room;
		entry->record = take(delta, RECORD_HEADER_BYTES + room);
	}
	return entry;
}

void
delta_table_put(Delta *delta, int table, Slice key, Slice value)
{
	TableEntry *entry = table_entry(delta, &delta->tables[table], key, (uint32_t) value.len);

	if (value.len > 0)
		memmove(entry->record + RECORD_HEADER_BYTES, value.data, value.len);
	entry->value_len = (uint32_t) value.len;
	entry->deleted = false;
}

void
delta_table_delete(Delta *delta, int table, Slice key)
{
	TableEntry *entry = table_entry(delta, &delta->tables[table], key, 0);

	entry->value_len = 0;
	entry->deleted = true;
}
