/*
 * store_table.c -- the small tables: what waits in memory laid over what LMDB holds.
 */
#include "score/store_internal.h"

#define TABLE_KEY_BYTES_MAX 500 /* LMDB's own limit is 511 */
#define VALUE_BYTES_MAX (1U << 30)

const char *
store_table_name(int table)
{
	static const char *const names[STORE_DBIS] = {
		[STORE_META] = "meta",
		[STORE_RELATION] = "relation",
		[STORE_DESCRIPTOR] = "descriptor",
		[STORE_RANKING] = "ranking",
		[STORE_JOB] = "job",
		[STORE_TIMER] = "timer",
		[STORE_HEAD] = "head",
		[STORE_INTERVENTION] = "intervention",
	};

	return names[table];
}

static MDB_val
key_val(Slice key)
{
	return (MDB_val){key.len, (void *) (uintptr_t) key.data};
}

static bool
key_check(StoreTable table, Slice key, Error *err)
{
	if (key.len >= 1 && key.len <= TABLE_KEY_BYTES_MAX)
		return true;
	return error_set(err, ERR_DATA, "a key of table \"%s\" has %zu bytes, allowed are 1 to %d",
					 store_table_name(table), key.len, TABLE_KEY_BYTES_MAX);
}

/* What LMDB holds at the first key >= from (after: > from). */
static bool
stored_seek(Store *store, int table, Slice from, bool after, Slice *key, Slice *value, bool *found,
			Error *err)
{
	MDB_val k = key_val(from);
	MDB_val v;
	Slice inner;
	int rc;

	*found = false;
	if (!store_reader(store, err))
		return false;
	rc = mdb_cursor_get(store->table_cursor[table], &k, &v, from.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
	if (rc == 0 && after && slice_equal(slice_make(k.mv_data, k.mv_size), from))
		rc = mdb_cursor_get(store->table_cursor[table], &k, &v, MDB_NEXT);
	if (rc == MDB_NOTFOUND)
		return true;
	if (rc == 0)
		rc = store_record_open(v, &inner, value);
	if (rc != 0)
		return store_mdb_error(store, rc, "could not read from the store", err);
	*key = slice_make(k.mv_data, k.mv_size);
	*found = true;
	return true;
}

bool
store_get(Store *store, StoreTable table, Slice key, Slice *value, bool *found, Error *err)
{
	const TableEntry *entry;
	Slice at;

	*found = false;
	if (!key_check(table, key, err))
		return false;
	entry = delta_table_find(&store->delta.tables[table], key);
	if (entry != NULL)
	{
		*found = !entry->deleted;
		*value = delta_table_value(entry);
		return true;
	}
	if (!stored_seek(store, (int) table, key, false, &at, value, found, err))
		return false;
	*found = *found && slice_equal(at, key);
	return true;
}

bool
store_put(Store *store, StoreTable table, Slice key, Slice value, Error *err)
{
	if (!key_check(table, key, err))
		return false;
	if (value.len > VALUE_BYTES_MAX)
		return error_set(err, ERR_DATA, "a value of table \"%s\" has %zu bytes", store_table_name(table),
						 value.len);
	delta_table_put(&store->delta, (int) table, key, value);
	return true;
}

bool
store_delete(Store *store, StoreTable table, Slice key, bool *found, Error *err)
{
	Slice value;

	if (!store_get(store, table, key, &value, found, err))
		return false;
	if (*found)
		delta_table_delete(&store->delta, (int) table, key);
	return true;
}

bool
store_seek(Store *store, StoreTable table, Slice from, bool after, Slice *key, Slice *value, bool *found,
		   Error *err)
{
	const TableDelta *delta = &store->delta.tables[table];
	size_t at = delta_table_seek(delta, from, after);

	/* Ends: every round that goes on has moved `at`. */
	for (;;)
	{
		const TableEntry *entry = at < delta->count ? delta->entries[at] : NULL;
		Slice pending = entry != NULL ? entry->key : slice_make(NULL, 0);
		size_t shorter;
		int order = 1;

		if (!stored_seek(store, (int) table, from, after, key, value, found, err))
			return false;
		if (entry == NULL)
			return true;
		if (*found)
		{
			shorter = pending.len < key->len ? pending.len : key->len;
			order = memcmp(key->data, pending.data, shorter);
			if (order == 0)
				order = (key->len > pending.len) - (key->len < pending.len);
		}
		if (order < 0)
			return true; /* the stored one comes first */
		if (!entry->deleted)
		{
			*key = pending;
			*value = delta_table_value(entry);
			*found = true;
			return true;
		}
		from = pending;
		after = true;
		at++;
	}
}

int
store_tables_flush(Store *store, MDB_txn *txn)
{
	for (int table = 0; table < STORE_DBIS; table++)
	{
		const TableDelta *delta = &store->delta.tables[table];

		for (size_t i = 0; i < delta->count; i++)
		{
			TableEntry *entry = delta->entries[i];
			MDB_val key = key_val(entry->key);
			MDB_val value = {RECORD_HEADER_BYTES + entry->value_len, entry->record};
			int rc;

			if (entry->deleted)
				rc = mdb_del(txn, store->table_dbi[table], &key, NULL);
			else
			{
				store_record_seal(entry->record, 0, entry->value_len);
				rc = mdb_put(txn, store->table_dbi[table], &key, &value, 0);
			}
			if (rc != 0 && !(entry->deleted && rc == MDB_NOTFOUND))
				return rc;
		}
	}
	return 0;
}
