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
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "diff.h"
#include "encode.h"
#include "relmeta.h"
#include "value.h"

static RelMeta *
table_meta(Oid relid)
{
	static RelCache *cache;
	RelMeta *meta;
	Relation relation;

	if (cache == NULL)
		cache = relmeta_cache(
			AllocSetContextCreate(CacheMemoryContext, "walrank record tables", ALLOCSET_DEFAULT_SIZES), NULL);
	meta = relmeta_peek(cache, relid);
	if (meta != NULL)
		return meta;
	relation = table_open(relid, AccessShareLock);
	relmeta_trim(cache);
	meta = relmeta_get(cache, relation);
	table_close(relation, NoLock); /* the lock is kept, as the metadata is used */
	return meta;
}

static bool
is_table(Oid relid)
{
	char kind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

void
encode_relation(Oid relid, StringInfo relation_out)
{
	char *name = get_rel_name(relid);
	RelMeta *meta;

	if (!is_table(relid))
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a table", name != NULL ? name : "?"));
	meta = table_meta(relid);
	appendBinaryStringInfo(relation_out, meta->bytes, meta->nbytes);
}

void
encode_record(HeapTupleHeader record, int value_bytes_max, StringInfo change_out, StringInfo relation_out)
{
	static const ChangeStyle style;
	ValueWriter writer = {.out = change_out, .value_bytes_max = value_bytes_max, .may_fetch = true};
	Oid relid = get_typ_typrelid(HeapTupleHeaderGetTypeId(record));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(record), .t_data = record};
	MemoryContext work;
	MemoryContext caller;
	RelMeta *meta;
	int level;

	if (!is_table(relid))
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("the record is not a row of a table"),
				errhint("Pass the table itself, as in SELECT walrank.encode(t.*) FROM mytable AS t."));
	work = AllocSetContextCreate(CurrentMemoryContext, "walrank record", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	meta = table_meta(relid);
	level = meta->reads_settings ? value_settings_pin() : 0;
	(void) change_write(&writer, meta, &style, OP_INSERT, &tuple, NULL);
	value_settings_unpin(level);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	if (relation_out != NULL)
		appendBinaryStringInfo(relation_out, meta->bytes, meta->nbytes);
}
