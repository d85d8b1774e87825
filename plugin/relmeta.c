/*
 * relmeta.c -- see relmeta.h.
 */
#include "relmeta.h"

#include "access/htup_details.h"
#include "access/relation.h"
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
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "filter.h"
#include "text.h"

/* Entries marked stale after which their memory is given back: a dropped table never asks for it again. */
#define TRIM_MARKED 64

/* Entries beyond which stale ones are forgotten altogether. */
#define TRIM_ENTRIES 4096

struct RelCache
{
	HTAB *entries;
	MemoryContext context;
	Publications *publications;
	const Patterns *attributes;
	RelMeta *last; /* asked for last: most changes are of the same table as the one before */
	int marked;	   /* stale since the last trim, at most */
	RelCache *next;
	MemoryContextCallback reset;
};

/* Callbacks cannot be unregistered, so they walk the caches that exist. */
static RelCache *caches;

/* ---- invalidation: entries are only marked, their memory may be in use --------------------- */

static void
mark_stale(RelCache *cache, RelMeta *meta)
{
	cache->marked += meta->built && !meta->stale;
	meta->stale = true;
}

static void
mark_all_stale(void)
{
	for (RelCache *cache = caches; cache != NULL; cache = cache->next)
	{
		HASH_SEQ_STATUS scan;
		RelMeta *meta;

		hash_seq_init(&scan, cache->entries);
		while ((meta = hash_seq_search(&scan)) != NULL)
			mark_stale(cache, meta);
	}
}

static void
mark_partitions_stale(RelCache *cache, Oid ancestor)
{
	HASH_SEQ_STATUS scan;
	RelMeta *meta;

	hash_seq_init(&scan, cache->entries);
	while ((meta = hash_seq_search(&scan)) != NULL)
		if (list_member_oid(meta->ancestors, ancestor))
			mark_stale(cache, meta);
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

		if (meta == NULL)
			continue;
		mark_stale(cache, meta);
		if (meta->partitions > 0)
			mark_partitions_stale(cache, relid);
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
relmeta_cache(MemoryContext context, Publications *publications, const Patterns *attributes)
{
	RelCache *cache = MemoryContextAllocZero(context, sizeof(RelCache));
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(RelMeta), .hcxt = context};

	cache->context = context;
	cache->publications = publications;
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

/* The columns of an index of the table, as attribute numbers: the primary key, or that of the identity. */
static Bitmapset *
find_key(Relation relation, bool primary)
{
	List *indexes = RelationGetIndexList(relation);
	Oid replica_index = relation->rd_replidindex; /* set by the line above */
	Bitmapset *columns = NULL;
	ListCell *cell;

	foreach(cell, indexes)
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (primary ? index->indisprimary : index->indexrelid == replica_index)
			columns = index_columns(index);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return columns;
}

/* relation is the one whose rows these are: its identity is what is logged. */
static RelIdentity
identity_of(const RelMeta *meta, Relation relation)
{
	Bitmapset *logged;

	if (relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return IDENTITY_FULL;
	logged = find_key(relation, false);
	for (int i = 0; i < meta->ncolumns; i++)
		if (meta->columns[i].key && !bms_is_member(meta->columns[i].index + 1, logged))
			return IDENTITY_NONE;
	return meta->nkeys > 0 ? IDENTITY_KEY : IDENTITY_NONE;
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

/* Whether an attribute of the table that rows are sent as is sent; source: its index in the rows. */
static bool
is_sent(const PublishedTable *published, Form_pg_attribute attribute, int source)
{
	return source >= 0 && is_stored(attribute) && published_column(published, attribute);
}

/* What the publications leave out, as a number; 0: nothing. */
static uint64
selection_of(const PublishedTable *published, TupleDesc descriptor, const int *source)
{
	StringInfoData text;
	bool selects = false;
	ListCell *cell;

	initStringInfo(&text);
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		if (is_sent(published, attribute, source[i]))
			appendStringInfo(&text, " %d", attribute->attnum);
		else if (is_stored(attribute))
			selects = true;
	}
	if (!selects)
		resetStringInfo(&text);
	for (int kind = 0; kind < PUBLISHED_KINDS; kind++)
		foreach(cell, published->filters[kind])
		{
			selects = true;
			appendStringInfo(&text, " %d %s", kind, (char *) lfirst(cell));
		}
	return selects ? wire_fingerprint(slice_make(text.data, (size_t) text.len)) : 0;
}

/* Of the table that this is sent as. */
static void
build_bytes(RelMeta *meta, Relation as, const PublishedTable *published, const int *source)
{
	StringInfoData out;
	char *schema = get_namespace_name(RelationGetNamespace(as));
	TupleDesc descriptor = RelationGetDescr(as);
	const RelColumn *column = meta->columns;
	uint64 selection;

	initStringInfo(&out);
	encode_fixed64_field(&out, RELATION_FINGERPRINT, 0);
	put_slice(&out, RELATION_SCHEMA, text_identifier(schema != NULL ? schema : "?"));
	put_slice(&out, RELATION_TABLE, text_identifier(RelationGetRelationName(as)));
	encode_varint_field(&out, RELATION_OID, RelationGetRelid(as));
	for (int i = 0; i < descriptor->natts; i++)
		if (is_sent(published, TupleDescAttr(descriptor, i), source[i]))
			put_column(&out, TupleDescAttr(descriptor, i), (column++)->key);
	selection = selection_of(published, descriptor, source);
	if (selection != 0)
		encode_fixed64_field(&out, RELATION_SELECTION, selection);

	meta->fingerprint = wire_fingerprint(slice_make(out.data + 9, (size_t) out.len - 9));
	for (int i = 0; i < 8; i++)
		out.data[1 + i] = (char) (meta->fingerprint >> (8 * i));
	meta->bytes = out.data;
	meta->nbytes = out.len;
}

/* For each attribute of a table the index of the one of that name in a partition's rows, or -1. */
static int *
map_attributes(TupleDesc table, TupleDesc rows)
{
	int *source = palloc(sizeof(int) * Max(table->natts, 1));
	int at = 0;

	for (int i = 0; i < table->natts; i++)
	{
		Form_pg_attribute wanted = TupleDescAttr(table, i);

		source[i] = -1;
		/* the order is nearly always the same: go on after the last one found */
		for (int n = 0; !wanted->attisdropped && source[i] < 0 && n < rows->natts; n++, at++)
		{
			Form_pg_attribute found = TupleDescAttr(rows, at % rows->natts);

			if (!found->attisdropped && strcmp(NameStr(found->attname), NameStr(wanted->attname)) == 0)
				source[i] = at % rows->natts;
		}
	}
	return source;
}

static void
build_columns(RelMeta *meta, Relation as, const PublishedTable *published, const int *source,
			  const Patterns *attributes)
{
	TupleDesc descriptor = RelationGetDescr(as);
	Bitmapset *primary = find_key(as, true);

	meta->columns = palloc0(sizeof(RelColumn) * Max(descriptor->natts, 1));
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
		RelColumn *column = &meta->columns[meta->ncolumns];

		if (!is_sent(published, attribute, source[i]))
			continue;
		column->index = source[i];
		column->key = bms_is_member(attribute->attnum, primary);
		meta->nkeys += column->key;
		value_type(&column->type, attribute->atttypid);
		column->choice = choose(attributes, NameStr(attribute->attname), column->type.form);
		meta->reads_settings |= value_type_reads_settings(&column->type);
		meta->ncolumns++;
	}
	/* what is left of a key is none */
	if (meta->nkeys < bms_num_members(primary))
	{
		for (int i = 0; i < meta->ncolumns; i++)
			meta->columns[i].key = false;
		meta->nkeys = 0;
	}
}

static RelRow
make_row(int natts)
{
	return (RelRow){palloc0(sizeof(Datum) * Max(natts, 1)), palloc0(sizeof(bool) * Max(natts, 1))};
}

static void
build_sent(RelMeta *meta, Relation relation, Relation as, const PublishedTable *published,
		   const Patterns *attributes)
{
	int *source = map_attributes(RelationGetDescr(as), RelationGetDescr(relation));

	meta->descriptor = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	build_columns(meta, as, published, source, attributes);
	meta->identity = identity_of(meta, relation);
	meta->new_row = make_row(meta->descriptor->natts);
	meta->old_row = make_row(meta->descriptor->natts);
	build_bytes(meta, as, published, source);
	for (int kind = 0; kind < PUBLISHED_KINDS; kind++)
		if (published->filters[kind] != NIL && meta->filter == NULL)
			meta->filter = filter_make(published->filters, RelationGetDescr(as), source);
}

/* The table that rows of a partition are sent as: open, or NULL when it is gone. */
static Relation
open_ancestor(Oid relid)
{
	return HistoricSnapshotActive() ? RelationIdGetRelation(relid)
									: try_relation_open(relid, AccessShareLock);
}

/* An entry for what others depend on, to be found when it changes. */
static RelMeta *
placeholder(RelCache *cache, Oid relid)
{
	bool found;
	RelMeta *meta = hash_search(cache->entries, &relid, HASH_ENTER, &found);

	if (!found)
		*meta = (RelMeta){.relid = relid, .as = meta};
	return meta;
}

/* First every entry, which may fail, then the counts. */
static void
depend_on(RelCache *cache, RelMeta *meta, List *ancestors)
{
	ListCell *cell;

	foreach(cell, ancestors)(void) placeholder(cache, lfirst_oid(cell));
	foreach(cell, ancestors) placeholder(cache, lfirst_oid(cell))->partitions++;
	meta->ancestors = ancestors;
}

static void
build(RelCache *cache, RelMeta *meta, Relation relation)
{
	MemoryContext caller = MemoryContextSwitchTo(meta->context);
	PublishedTable published;
	Relation as = relation;

	publications_table(cache->publications, relation, &published);
	depend_on(cache, meta, published.ancestors);
	if (published.operations != 0 && published.relid != meta->relid)
		as = open_ancestor(published.relid);
	if (published.operations != 0 && as != NULL)
	{
		build_sent(meta, relation, as, &published, cache->attributes);
		meta->as = placeholder(cache, RelationGetRelid(as));
		meta->operations = published.operations;
	}
	if (as != relation && as != NULL)
		RelationClose(as); /* the lock, where there is one, is kept */
	MemoryContextSwitchTo(caller);
}

/* Empty the entry; what the connection knows of the table stays. */
static void
clear(RelCache *cache, RelMeta *meta)
{
	RelMeta kept = *meta;
	ListCell *cell;

	foreach(cell, meta->ancestors)
	{
		RelMeta *ancestor = hash_search(cache->entries, &lfirst_oid(cell), HASH_FIND, NULL);

		ancestor->partitions--;
	}
	meta->ancestors = NIL;
	if (meta->context != NULL)
		MemoryContextDelete(meta->context);
	*meta = (RelMeta){.relid = kept.relid,
					  .as = meta,
					  .partitions = kept.partitions,
					  .announced = kept.announced,
					  .announced_fingerprint = kept.announced_fingerprint};
}

static uint32
generation(RelCache *cache)
{
	return cache->publications != NULL ? publications_refresh(cache->publications) : 0;
}

static bool
is_current(const RelMeta *meta, uint32 now)
{
	return meta->built && !meta->stale && meta->publication_generation == now;
}

RelMeta *
relmeta_peek(RelCache *cache, Oid relid)
{
	RelMeta *meta = hash_search(cache->entries, &relid, HASH_FIND, NULL);

	return meta != NULL && is_current(meta, generation(cache)) ? meta : NULL;
}

RelMeta *
relmeta_get(RelCache *cache, Relation relation)
{
	Oid relid = RelationGetRelid(relation);
	RelMeta *meta = cache->last;
	uint32 now = generation(cache);

	if (likely(meta != NULL && meta->relid == relid && is_current(meta, now)))
		return meta;
	meta = cache->last = placeholder(cache, relid);
	if (is_current(meta, now))
		return meta;
	clear(cache, meta);
	meta->context = AllocSetContextCreate(cache->context, "walrank table", ALLOCSET_SMALL_SIZES);
	/* an invalidation that arrives while catalogs are read leaves the entry stale for next time */
	meta->publication_generation = now;
	build(cache, meta, relation);
	meta->built = true;
	return meta;
}

void
relmeta_trim(RelCache *cache)
{
	bool forget = hash_get_num_entries(cache->entries) > TRIM_ENTRIES;
	HASH_SEQ_STATUS scan;
	RelMeta *meta;

	if (cache->marked <= TRIM_MARKED)
		return;
	cache->marked = 0;
	cache->last = NULL;
	hash_seq_init(&scan, cache->entries);
	while ((meta = hash_seq_search(&scan)) != NULL)
		if (meta->stale || !meta->built)
			clear(cache, meta);
	if (!forget)
		return;
	/* what nothing depends on any more, and what the connection need not know */
	hash_seq_init(&scan, cache->entries);
	while ((meta = hash_seq_search(&scan)) != NULL)
		if (!meta->built && meta->partitions == 0)
			(void) hash_search(cache->entries, &meta->relid, HASH_REMOVE, NULL);
}
