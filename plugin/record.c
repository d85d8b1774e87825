/*
 * record.c -- rows outside the stream, see encode.h.
 *
 * The same cache, the same encoder: what SQL and the backfill see of a row is what the stream says
 * of it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "diff.h"
#include "encode.h"
#include "filter.h"
#include "relmeta.h"
#include "value.h"

/* The tables as some publications show them; NULL is a list of its own. */
typedef struct View
{
	MemoryContext context;
	RelCache *cache;
	ArrayType *names;
} View;

static bool
same_names(const ArrayType *a, const ArrayType *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* Names that are NULL are none. */
static List *
list_names(ArrayType *array)
{
	List *names = NIL;
	Datum *values;
	bool *nulls;
	int count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			names = lappend(names, TextDatumGetCString(values[i]));
	if (names == NIL)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("no publication is named"));
	return names;
}

static void
fill_view(View *view, const ArrayType *publications)
{
	Publications *opened = NULL;
	MemoryContext caller = MemoryContextSwitchTo(view->context);

	if (publications != NULL)
	{
		view->names = palloc(VARSIZE(publications));
		memcpy(view->names, publications, VARSIZE(publications));
		opened = publications_open(list_names(view->names));
	}
	view->cache = relmeta_cache(view->context, opened, NULL);
	MemoryContextSwitchTo(caller);
}

/* One view without publications and that of the list asked for last. */
static RelCache *
tables_of(const ArrayType *publications)
{
	static View views[2];
	View *view = &views[publications != NULL];

	if (view->cache != NULL && same_names(view->names, publications))
		return view->cache;
	if (view->context != NULL)
		MemoryContextDelete(view->context);
	*view = (View){NULL};
	view->context =
		AllocSetContextCreate(CacheMemoryContext, "walrank record tables", ALLOCSET_DEFAULT_SIZES);
	fill_view(view, publications);
	return view->cache;
}

static RelMeta *
table_meta(Oid relid, const ArrayType *publications)
{
	RelCache *cache = tables_of(publications);
	RelMeta *meta = relmeta_peek(cache, relid);

	if (meta == NULL)
	{
		Relation relation = table_open(relid, AccessShareLock);

		relmeta_trim(cache);
		meta = relmeta_get(cache, relation);
		table_close(relation, NoLock); /* the lock is kept, as the metadata is used */
	}
	if (meta->operations == 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("none of the publications has table \"%s\"", get_rel_name(relid)));
	return meta;
}

static bool
is_table(Oid relid)
{
	char kind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

void
encode_relation(Oid relid, const ArrayType *publications, StringInfo relation_out)
{
	char *name = get_rel_name(relid);
	RelMeta *meta;

	if (!is_table(relid))
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a table", name != NULL ? name : "?"));
	meta = table_meta(relid, publications);
	appendBinaryStringInfo(relation_out, meta->bytes, meta->nbytes);
}

static FilterFate
write_row(ValueWriter *writer, RelMeta *meta, HeapTuple tuple)
{
	static const ChangeStyle style;
	FilterFate fate = meta->filter != NULL ? filter_row(meta, tuple) : FILTER_SEND;
	int level;

	if (fate == FILTER_SKIP)
		return fate;
	level = meta->reads_settings ? value_settings_pin() : 0;
	if (fate == FILTER_SEND)
		(void) change_write(writer, meta, &style, OP_INSERT, tuple, NULL);
	else
		change_write_key(writer, meta, OP_INSERT, tuple, NULL, FLAG_FILTER_ERROR);
	value_settings_unpin(level);
	return fate;
}

bool
encode_record(HeapTupleHeader record, int value_bytes_max, const ArrayType *publications,
			  StringInfo change_out, StringInfo relation_out)
{
	ValueWriter writer = {.out = change_out, .value_bytes_max = value_bytes_max, .may_fetch = true};
	Oid relid = get_typ_typrelid(HeapTupleHeaderGetTypeId(record));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(record), .t_data = record};
	MemoryContext work;
	MemoryContext caller;
	FilterFate fate;
	RelMeta *meta;

	if (!is_table(relid))
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("the record is not a row of a table"),
				errhint("Pass the table itself, as in SELECT walrank.encode(t.*) FROM mytable AS t."));
	work = AllocSetContextCreate(CurrentMemoryContext, "walrank record", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	meta = table_meta(relid, publications);
	fate = write_row(&writer, meta, &tuple);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	if (fate != FILTER_SKIP && relation_out != NULL)
		appendBinaryStringInfo(relation_out, meta->bytes, meta->nbytes);
	return fate != FILTER_SKIP;
}
