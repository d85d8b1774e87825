/*
 * publication.c -- see publication.h.
 */
#include "publication.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_namespace.h"
#include "catalog/pg_publication_rel.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"

/* Written by our own sinks when they share the source's database: decoding it would never end. */
#define SINK_SCHEMA "walrank_out"

/* Why a publication cannot be used; the texts complete "publication ... ". */
typedef enum PublicationState
{
	PUBLICATION_USABLE = 0,
	PUBLICATION_MISSING,
	PUBLICATION_VIA_ROOT,
	PUBLICATION_ROW_FILTER,
	PUBLICATION_COLUMN_LIST,
} PublicationState;

typedef struct Publication1
{
	const char *name;
	Oid oid;
	PublicationState state;
	bool all_tables;
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

/* Whether any table of the publication has a row filter or a column list. */
static PublicationState
scan_tables(Oid publication)
{
	Relation catalog = table_open(PublicationRelRelationId, AccessShareLock);
	PublicationState state = PUBLICATION_USABLE;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_publication_rel_prpubid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(publication));
	scan = systable_beginscan(catalog, PublicationRelPrpubidIndexId, true, NULL, 1, &key);
	while (state == PUBLICATION_USABLE && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (!heap_attisnull(tuple, Anum_pg_publication_rel_prqual, RelationGetDescr(catalog)))
			state = PUBLICATION_ROW_FILTER;
		else if (!heap_attisnull(tuple, Anum_pg_publication_rel_prattrs, RelationGetDescr(catalog)))
			state = PUBLICATION_COLUMN_LIST;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return state;
}

static void
load(Publication1 *publication)
{
	HeapTuple tuple;
	Form_pg_publication form;

	publication->state = PUBLICATION_MISSING;
	publication->oid = get_publication_oid(publication->name, true);
	if (!OidIsValid(publication->oid))
		return;
	tuple = SearchSysCache1(PUBLICATIONOID, ObjectIdGetDatum(publication->oid));
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_publication) GETSTRUCT(tuple);
	publication->all_tables = form->puballtables;
	publication->operations =
		(form->pubinsert ? PUBLISH_INSERT : 0) | (form->pubupdate ? PUBLISH_UPDATE : 0) |
		(form->pubdelete ? PUBLISH_DELETE : 0) | (form->pubtruncate ? PUBLISH_TRUNCATE : 0);
	publication->state = form->pubviaroot ? PUBLICATION_VIA_ROOT : PUBLICATION_USABLE;
	ReleaseSysCache(tuple);
	if (publication->state == PUBLICATION_USABLE)
		publication->state = scan_tables(publication->oid);
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
		if (publications->items[i].state == PUBLICATION_USABLE)
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

		if (publication->state != PUBLICATION_USABLE && !publication->reported)
		{
			publication->reported = true;
			return publication->name;
		}
	}
	return NULL;
}

/* ---- at the start of a stream ------------------------------------------------------------ */

static void
refuse(const Publication1 *publication)
{
	static const char *const reasons[] = {
		[PUBLICATION_VIA_ROOT] = "publishes partitions under their root table",
		[PUBLICATION_ROW_FILTER] = "has a row filter",
		[PUBLICATION_COLUMN_LIST] = "has a column list",
	};
	static const char *const hints[] = {
		[PUBLICATION_VIA_ROOT] = "Use ALTER PUBLICATION ... SET (publish_via_partition_root = false).",
		[PUBLICATION_ROW_FILTER] = "Use ALTER PUBLICATION ... SET TABLE without WHERE.",
		[PUBLICATION_COLUMN_LIST] = "Use ALTER PUBLICATION ... SET TABLE without a list of columns.",
	};

	ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("publication \"%s\" %s, which walrank does not support", publication->name,
				   reasons[publication->state]),
			errhint("%s", hints[publication->state]));
}

static void
check_one(Publication1 *item, bool missing_ok)
{
	const char *name = item->name;
	Publication1 publication = {.name = name};

	load(&publication);
	if (publication.state == PUBLICATION_MISSING)
	{
		item->reported = missing_ok;
		if (missing_ok)
			return;
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("publication \"%s\" does not exist", name),
				errhint("Create it before the slot, or start with the option missing_ok."));
	}
	if (publication.state != PUBLICATION_USABLE)
		refuse(&publication);
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

/* Whether the publication lists one of the tables (a partition and its ancestors) or its schema. */
static bool
lists(const Publication1 *publication, List *relids)
{
	ListCell *cell;
	bool listed = publication->all_tables;

	foreach(cell, relids)
	{
		Oid relid = lfirst_oid(cell);
		HeapTuple tuple =
			SearchSysCache2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid), ObjectIdGetDatum(publication->oid));

		if (HeapTupleIsValid(tuple))
		{
			bool excepted = compat_publication_excepts((Form_pg_publication_rel) GETSTRUCT(tuple));

			ReleaseSysCache(tuple);
			if (excepted)
				return false;
			listed = true;
		}
		if (SearchSysCacheExists2(PUBLICATIONNAMESPACEMAP, ObjectIdGetDatum(get_rel_namespace(relid)),
								  ObjectIdGetDatum(publication->oid)))
			listed = true;
	}
	return listed;
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

uint32
publications_operations(const Publications *publications, Relation relation)
{
	uint32 operations = 0;
	List *relids;

	if (!is_publishable_relation(relation) || is_sink_schema(RelationGetNamespace(relation)))
		return 0;
	if (publications->count == 0)
		return PUBLISH_ALL;
	relids = relation->rd_rel->relispartition ? get_partition_ancestors(RelationGetRelid(relation)) : NIL;
	relids = lcons_oid(RelationGetRelid(relation), relids);
	for (int i = 0; i < publications->count; i++)
	{
		const Publication1 *publication = &publications->items[i];

		if (publication->state == PUBLICATION_USABLE &&
			(operations & publication->operations) != publication->operations && lists(publication, relids))
			operations |= publication->operations;
	}
	list_free(relids);
	return operations;
}
