/*
 * publication.c -- see publication.h.
 */
#include "publication.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_namespace.h"
#include "catalog/pg_publication_rel.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"

/* Written by our own sinks when they share the source's database: decoding it would never end. */
#define SINK_SCHEMA "walrank_out"

typedef struct Publication1
{
	const char *name;
	Oid oid; /* InvalidOid: there is none of that name */
	bool all_tables;
	bool via_root;
	bool generated; /* stored generated columns of tables without a column list are published */
	uint32 operations;
	bool reported; /* as lost */
} Publication1;

struct Publications
{
	int count;
	Publication1 *items;
	uint32 generation;
	uint32 seen_invalidations;
};

/* Counts invalidations of the publication catalogs; callbacks cannot be unregistered. */
static uint32 invalidations = 1;

static void
publication_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidations++;
}

Publications *
publications_open(List *names)
{
	static bool registered = false;
	Publications *publications = palloc0(sizeof(Publications));
	ListCell *cell;

	publications->items = palloc0(sizeof(Publication1) * Max(list_length(names), 1));
	foreach(cell, names) publications->items[publications->count++].name = pstrdup(lfirst(cell));
	if (!registered)
	{
		registered = true;
		CacheRegisterSyscacheCallback(PUBLICATIONOID, publication_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONRELMAP, publication_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(PUBLICATIONNAMESPACEMAP, publication_changed, (Datum) 0);
		/* renaming a schema moves tables into and out of the one that is never decoded */
		CacheRegisterSyscacheCallback(NAMESPACEOID, publication_changed, (Datum) 0);
	}
	return publications;
}

/* ---- reading the catalogs ---------------------------------------------------------------- */

static void
load(Publication1 *publication)
{
	HeapTuple tuple;
	Form_pg_publication form;

	publication->oid = get_publication_oid(publication->name, true);
	if (!OidIsValid(publication->oid))
		return;
	tuple = SearchSysCache1(PUBLICATIONOID, ObjectIdGetDatum(publication->oid));
	if (!HeapTupleIsValid(tuple))
	{
		publication->oid = InvalidOid;
		return;
	}
	form = (Form_pg_publication) GETSTRUCT(tuple);
	publication->all_tables = form->puballtables;
	publication->via_root = form->pubviaroot;
	publication->generated = compat_publication_generated(form);
	publication->operations =
		(form->pubinsert ? PUBLISH_INSERT : 0) | (form->pubupdate ? PUBLISH_UPDATE : 0) |
		(form->pubdelete ? PUBLISH_DELETE : 0) | (form->pubtruncate ? PUBLISH_TRUNCATE : 0);
	ReleaseSysCache(tuple);
}

uint32
publications_refresh(Publications *publications)
{
	if (likely(publications->seen_invalidations == invalidations))
		return publications->generation;
	/* taken first: what changes while we read is read again */
	publications->seen_invalidations = invalidations;
	publications->generation++;
	for (int i = 0; i < publications->count; i++)
	{
		load(&publications->items[i]);
		if (OidIsValid(publications->items[i].oid))
			publications->items[i].reported = false;
	}
	return publications->generation;
}

const char *
publications_lost(Publications *publications)
{
	for (int i = 0; i < publications->count; i++)
	{
		Publication1 *publication = &publications->items[i];

		if (!OidIsValid(publication->oid) && !publication->reported)
		{
			publication->reported = true;
			return publication->name;
		}
	}
	return NULL;
}

/* ---- at the start of a stream ------------------------------------------------------------ */

static void
check_one(Publication1 *item, bool missing_ok)
{
	if (OidIsValid(get_publication_oid(item->name, true)))
		return;
	item->reported = missing_ok;
	if (!missing_ok)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("publication \"%s\" does not exist", item->name),
				errhint("Create it before the slot, or start with the option missing_ok."));
}

void
publications_check(Publications *publications, bool missing_ok)
{
	MemoryContext context = CurrentMemoryContext;
	bool own_transaction = !IsTransactionState();

	if (own_transaction)
		StartTransactionCommand();
	for (int i = 0; i < publications->count; i++)
		check_one(&publications->items[i], missing_ok);
	if (own_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* ---- membership -------------------------------------------------------------------------- */

static bool
lists_schema(const Publication1 *publication, Oid relid)
{
	return SearchSysCacheExists2(PUBLICATIONNAMESPACEMAP, ObjectIdGetDatum(get_rel_namespace(relid)),
								 ObjectIdGetDatum(publication->oid));
}

static HeapTuple
find_table(const Publication1 *publication, Oid relid)
{
	return SearchSysCache2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid), ObjectIdGetDatum(publication->oid));
}

/*
 * The topmost of a table and its ancestors, as an index into line, that the publication has: by name, by
 * schema or because it has all tables; -1 when it has none of them.
 */
static int
topmost(const Publication1 *publication, List *line)
{
	int top = publication->all_tables ? list_length(line) - 1 : -1;
	ListCell *cell;

	foreach(cell, line)
	{
		HeapTuple tuple = find_table(publication, lfirst_oid(cell));

		if (HeapTupleIsValid(tuple))
		{
			bool excepted = compat_publication_excepts((Form_pg_publication_rel) GETSTRUCT(tuple));

			ReleaseSysCache(tuple);
			if (excepted)
				return -1;
			top = Max(top, foreach_current_index(cell));
		}
		else if (lists_schema(publication, lfirst_oid(cell)))
			top = Max(top, foreach_current_index(cell));
	}
	return top;
}

/* The level of line under which a publication sends the table; -1: not at all. */
static int
level_of(const Publication1 *publication, Relation relation, List *line)
{
	int top = OidIsValid(publication->oid) ? topmost(publication, line) : -1;

	/* a partitioned table holds no rows: those of its partitions are sent as theirs */
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && !publication->via_root)
		return -1;
	return publication->via_root ? top : Min(top, 0);
}

static bool
is_sink_schema(Oid schema)
{
	char *name = get_namespace_name(schema);
	bool is_sink = name != NULL && strcmp(name, SINK_SCHEMA) == 0;

	if (name != NULL)
		pfree(name);
	return is_sink;
}

static bool
may_be_sent(Relation relation)
{
	return is_publishable_relation(relation) && !is_sink_schema(RelationGetNamespace(relation));
}

/* ---- columns and rows --------------------------------------------------------------------- */

static Datum
table_attribute(HeapTuple tuple, AttrNumber number, bool *missing)
{
	*missing = true;
	return HeapTupleIsValid(tuple) ? SysCacheGetAttr(PUBLICATIONRELMAP, tuple, number, missing) : (Datum) 0;
}

/* Column lists of several publications add up. */
static void
add_columns(PublishedTable *published, const Publication1 *publication, HeapTuple tuple)
{
	bool whole;
	Datum list = table_attribute(tuple, Anum_pg_publication_rel_prattrs, &whole);

	if (publication->all_tables || whole)
	{
		published->all_columns = true;
		published->generated_columns |= publication->generated;
	}
	else
	{
		ArrayType *array = DatumGetArrayTypeP(list);
		int16 *numbers = (int16 *) ARR_DATA_PTR(array);

		for (int i = 0; i < ARR_DIMS(array)[0]; i++)
			published->listed = bms_add_member(published->listed, numbers[i]);
	}
}

/*
 * Row filters of several publications are ORed, per operation; one without a filter lets all rows of its operations
 * through: returns those, as bits of PublishedRows.
 */
static uint32
add_filter(PublishedTable *published, const Publication1 *publication, HeapTuple tuple)
{
	uint32 kinds = (publication->operations & PUBLISH_ROWS) | 1 << PUBLISHED_COPY;
	bool unfiltered;
	Datum condition = table_attribute(tuple, Anum_pg_publication_rel_prqual, &unfiltered);
	char *expression;

	if (publication->all_tables || unfiltered || lists_schema(publication, published->relid))
		return kinds;
	expression = TextDatumGetCString(condition);
	for (int kind = 0; kind < PUBLISHED_KINDS; kind++)
		if (kinds & 1 << kind)
			published->filters[kind] = lappend(published->filters[kind], expression);
	return 0;
}

/* What the publications that send the table as published->relid say of its columns and rows. */
static void
add_details(PublishedTable *published, const Publications *publications, const int *levels, int level)
{
	uint32 unfiltered = 0;

	for (int i = 0; i < publications->count; i++)
	{
		HeapTuple tuple;

		if (levels[i] != level)
			continue;
		tuple = find_table(&publications->items[i], published->relid);
		add_columns(published, &publications->items[i], tuple);
		unfiltered |= add_filter(published, &publications->items[i], tuple);
		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
	}
	for (int kind = 0; kind < PUBLISHED_KINDS; kind++)
		if (unfiltered & 1 << kind)
			published->filters[kind] = NIL;
}

void
publications_table(const Publications *publications, Relation relation, PublishedTable *published)
{
	bool partitioned = relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	List *line = list_make1_oid(RelationGetRelid(relation));
	int *levels;
	int highest = 0;

	*published = (PublishedTable){.relid = RelationGetRelid(relation)};
	if (publications == NULL || publications->count == 0)
	{
		published->all_columns = published->generated_columns = true;
		if (publications == NULL || (!partitioned && may_be_sent(relation)))
			published->operations = PUBLISH_ALL;
		return;
	}
	if (!may_be_sent(relation))
		return;
	if (relation->rd_rel->relispartition)
		published->ancestors = get_partition_ancestors(RelationGetRelid(relation));
	line = list_concat(line, published->ancestors);
	levels = palloc(sizeof(int) * publications->count);
	for (int i = 0; i < publications->count; i++)
	{
		levels[i] = level_of(&publications->items[i], relation, line);
		if (levels[i] >= 0)
			published->operations |= publications->items[i].operations;
		highest = Max(highest, levels[i]);
	}
	published->relid = list_nth_oid(line, highest);
	if (highest > 0 && is_sink_schema(get_rel_namespace(published->relid)))
		published->operations = 0;
	if (published->operations != 0)
		add_details(published, publications, levels, highest);
}

bool
published_column(const PublishedTable *published, Form_pg_attribute attribute)
{
	if (bms_is_member(attribute->attnum, published->listed))
		return true;
	return published->all_columns && (attribute->attgenerated == '\0' || published->generated_columns);
}
