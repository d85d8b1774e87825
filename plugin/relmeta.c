/*
 * relmeta.c -- see relmeta.h.
 */
#include "relmeta.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "text.h"

/* Entries beyond which stale ones are dropped. */
#define TRIM_ENTRIES 4096

struct RelCache
{
	HTAB *entries;
	MemoryContext context;
	const Patterns *attributes;
	RelMeta *last; /* asked for last: most changes are of the same table as the one before */
	RelCache *next;
	MemoryContextCallback reset;
};

/* Callbacks cannot be unregistered, so they walk the caches that exist. */
static RelCache *caches;

/* ---- invalidation: entries are only marked, their memory may be in use --------------------- */

static void
mark_all_stale(void)
{
	for (RelCache *cache = caches; cache != NULL; cache = cache->next)
	{
		HASH_SEQ_STATUS scan;
		RelMeta *meta;

		hash_seq_init(&scan, cache->entries);
		while ((meta = hash_seq_search(&scan)) != NULL)
			meta->stale = true;
	}
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid))
	{
		mark_all_stale();
		return;
	}
	for (RelCache *cache = caches; cache != NULL; cache = cache->next)
	{
		RelMeta *meta = hash_search(cache->entries, &relid, HASH_FIND, NULL);

		if (meta != NULL)
			meta->stale = true;
	}
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	mark_all_stale();
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	registered = true;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
}

static void
forget_cache(void *arg)
{
	for (RelCache **link = &caches; *link != NULL; link = &(*link)->next)
		if (*link == arg)
		{
			*link = (*link)->next;
			return;
		}
}

RelCache *
relmeta_cache(MemoryContext context, const Patterns *attributes)
{
	RelCache *cache = MemoryContextAllocZero(context, sizeof(RelCache));
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(RelMeta), .hcxt = context};

	cache->context = context;
	cache->attributes = attributes;
	cache->entries = hash_create("walrank tables", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cache->reset.func = forget_cache;
	cache->reset.arg = cache;
	MemoryContextRegisterResetCallback(context, &cache->reset);
	register_callbacks();
	cache->next = caches;
	caches = cache;
	return cache;
}

/* ---- building ---------------------------------------------------------------------------- */

static Bitmapset *
index_columns(const FormData_pg_index *index)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < index->indnkeyatts; i++)
		columns = bms_add_member(columns, index->indkey.values[i]);
	return columns;
}

/* Columns of the primary key and of the identity index, as attribute numbers. */
static void
find_keys(Relation relation, Bitmapset **primary, Bitmapset **identity)
{
	List *indexes = RelationGetIndexList(relation);
	Oid replica_index = relation->rd_replidindex;
	ListCell *cell;

	foreach(cell, indexes)
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisprimary)
			*primary = index_columns(index);
		if (index->indexrelid == replica_index)
			*identity = index_columns(index);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
}

static RelIdentity
identity_of(Relation relation, const Bitmapset *primary, const Bitmapset *identity)
{
	if (relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return IDENTITY_FULL;
	if (primary != NULL && bms_is_subset(primary, identity))
		return IDENTITY_KEY;
	return IDENTITY_NONE;
}

/* The type's name, qualified unless in pg_catalog; unquoted, since quoting depends on version and settings. */
static Slice
type_name(Oid typid)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	Form_pg_type type;
	StringInfoData name;

	if (!HeapTupleIsValid(tuple))
		return slice_string("?");
	type = (Form_pg_type) GETSTRUCT(tuple);
	initStringInfo(&name);
	if (IsTrueArrayType(type))
	{
		Slice element = type_name(type->typelem);

		appendBinaryStringInfo(&name, (const char *) element.data, (int) element.len);
		appendStringInfoString(&name, "[]");
	}
	else
	{
		char *schema =
			type->typnamespace == PG_CATALOG_NAMESPACE ? NULL : get_namespace_name(type->typnamespace);
		char *full =
			schema == NULL ? NameStr(type->typname) : psprintf("%s.%s", schema, NameStr(type->typname));
		Slice text = text_identifier(full);

		appendBinaryStringInfo(&name, (const char *) text.data, (int) text.len);
	}
	ReleaseSysCache(tuple);
	return slice_make(name.data, (size_t) name.len);
}

static void
put_slice(StringInfo out, uint32 field, Slice slice)
{
	encode_bytes_field(out, field, slice.data, slice.len);
}

static void
put_column(StringInfo out, Form_pg_attribute attribute, bool key)
{
	EncodeMark mark = encode_open(out, RELATION_COLUMNS, 100);

	put_slice(out, COLUMN_NAME, text_identifier(NameStr(attribute->attname)));
	encode_varint_field(out, COLUMN_TYPE_OID, attribute->atttypid);
	put_slice(out, COLUMN_TYPE_NAME, type_name(attribute->atttypid));
	encode_varint_field(out, COLUMN_TYPMOD, wire_zigzag(attribute->atttypmod));
	if (key)
		encode_varint_field(out, COLUMN_KEY, 1);
	if (attribute->attgenerated != '\0')
		encode_varint_field(out, COLUMN_GENERATED, 1);
	encode_close(out, mark);
}

static void
build_bytes(RelMeta *meta, Relation relation)
{
	StringInfoData out;
	char *schema = get_namespace_name(RelationGetNamespace(relation));

	initStringInfo(&out);
	encode_fixed64_field(&out, RELATION_FINGERPRINT, 0);
	put_slice(&out, RELATION_SCHEMA, text_identifier(schema != NULL ? schema : "?"));
	put_slice(&out, RELATION_TABLE, text_identifier(RelationGetRelationName(relation)));
	encode_varint_field(&out, RELATION_OID, meta->relid);
	for (int i = 0; i < meta->ncolumns; i++)
		put_column(&out, TupleDescAttr(meta->descriptor, meta->columns[i].index), meta->columns[i].key);

	meta->fingerprint = wire_fingerprint(slice_make(out.data + 9, (size_t) out.len - 9));
	for (int i = 0; i < 8; i++)
		out.data[1 + i] = (char) (meta->fingerprint >> (8 * i));
	meta->bytes = out.data;
	meta->nbytes = out.len;
}

/* A virtual generated column is not in the tuple: it does not exist for us. */
static bool
is_stored(Form_pg_attribute attribute)
{
	return !attribute->attisdropped &&
		   (attribute->attgenerated == '\0' || attribute->attgenerated == ATTRIBUTE_GENERATED_STORED);
}

static ColumnChoice
choose(const Patterns *attributes, const char *name, ValueForm form)
{
	char prefix[NAMEDATALEN + 1];

	if (attributes == NULL || patterns_match(attributes, slice_string(name)))
		return CHOICE_ALL;
	snprintf(prefix, sizeof(prefix), "%s.", name);
	return form == FORM_JSONB && patterns_may_begin(attributes, slice_string(prefix)) ? CHOICE_KEYS
																					  : CHOICE_NONE;
}

static void
build_columns(RelMeta *meta, const Bitmapset *primary, const Patterns *attributes)
{
	int natts = meta->descriptor->natts;

	meta->columns = palloc0(sizeof(RelColumn) * Max(natts, 1));
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(meta->descriptor, i);
		RelColumn *column = &meta->columns[meta->ncolumns];

		if (!is_stored(attribute))
			continue;
		column->index = i;
		column->key = bms_is_member(attribute->attnum, primary);
		meta->nkeys += column->key;
		value_type(&column->type, attribute->atttypid);
		column->choice = choose(attributes, NameStr(attribute->attname), column->type.form);
		meta->reads_settings |= value_type_reads_settings(&column->type);
		meta->ncolumns++;
	}
}

static RelRow
make_row(int natts)
{
	return (RelRow){palloc0(sizeof(Datum) * Max(natts, 1)), palloc0(sizeof(bool) * Max(natts, 1))};
}

static void
build(RelMeta *meta, Relation relation, const Patterns *attributes)
{
	MemoryContext caller = MemoryContextSwitchTo(meta->context);
	Bitmapset *primary = NULL;
	Bitmapset *identity = NULL;

	find_keys(relation, &primary, &identity);
	meta->descriptor = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	meta->identity = identity_of(relation, primary, identity);
	build_columns(meta, primary, attributes);
	meta->new_row = make_row(meta->descriptor->natts);
	meta->old_row = make_row(meta->descriptor->natts);
	build_bytes(meta, relation);
	MemoryContextSwitchTo(caller);
}

/* Empty the entry; what the connection knows of the table stays. */
static void
clear(RelMeta *meta)
{
	RelMeta kept = *meta;

	if (meta->context != NULL)
		MemoryContextDelete(meta->context);
	*meta = (RelMeta){.relid = kept.relid,
					  .announced = kept.announced,
					  .announced_fingerprint = kept.announced_fingerprint};
}

RelMeta *
relmeta_peek(RelCache *cache, Oid relid)
{
	RelMeta *meta = hash_search(cache->entries, &relid, HASH_FIND, NULL);

	return meta != NULL && meta->built && !meta->stale ? meta : NULL;
}

RelMeta *
relmeta_get(RelCache *cache, Relation relation)
{
	Oid relid = RelationGetRelid(relation);
	RelMeta *meta = cache->last;
	bool found;

	if (likely(meta != NULL && meta->relid == relid && meta->built && !meta->stale))
		return meta;
	meta = cache->last = hash_search(cache->entries, &relid, HASH_ENTER, &found);
	if (!found)
		*meta = (RelMeta){.relid = relid};
	if (likely(meta->built && !meta->stale))
		return meta;
	clear(meta);
	meta->context = AllocSetContextCreate(cache->context, "walrank table", ALLOCSET_SMALL_SIZES);
	/* an invalidation that arrives while catalogs are read leaves the entry stale for next time */
	build(meta, relation, cache->attributes);
	meta->built = true;
	return meta;
}

void
relmeta_trim(RelCache *cache)
{
	HASH_SEQ_STATUS scan;
	RelMeta *meta;

	if (hash_get_num_entries(cache->entries) <= TRIM_ENTRIES)
		return;
	cache->last = NULL;
	hash_seq_init(&scan, cache->entries);
	while ((meta = hash_seq_search(&scan)) != NULL)
		if (meta->stale)
		{
			clear(meta);
			(void) hash_search(cache->entries, &meta->relid, HASH_REMOVE, NULL);
		}
}
