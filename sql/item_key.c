/*
 * item_key.c -- see item_key.h.
 *
 * The server turns the key into a row of the table in which everything else is NULL
 * (jsonb_populate_record), and the stream's encoder turns that row into bytes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "encode.h"
#include "item_key.h"
#include "options.h"
#include "value.h"

Oid
item_relation(const char *relation)
{
	RangeVar *name = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(relation)));
	Oid schema = name->schemaname != NULL ? get_namespace_oid(name->schemaname, true) : InvalidOid;

	return OidIsValid(schema) ? get_relname_relid(name->relname, schema) : InvalidOid;
}

/* The columns of the primary key, in the table's order. */
typedef struct KeyColumns
{
	Oid relid;
	const char *relation;
	int n;
	const char **names;
} KeyColumns;

/* Names in a description are UTF-8. */
static const char *
column_name(Slice name)
{
	return pg_any_to_server(pnstrdup((const char *) name.data, name.len), (int) name.len, PG_UTF8);
}

static KeyColumns
key_columns(Oid relid, const char *relation)
{
	KeyColumns columns = {relid, relation, 0, NULL};
	StringInfoData bytes;
	WireRelation description;
	WireColumn column;

	initStringInfo(&bytes);
	encode_relation(relid, NULL, &bytes);
	if (!wire_relation(slice_make(bytes.data, bytes.len), &description))
		elog(ERROR, "the description of %s is malformed", relation);
	columns.names = palloc(sizeof(char *) * (description.nkeys + 1));
	while (wire_column_next(&description.columns, &column))
		if (column.key)
			columns.names[columns.n++] = column_name(column.name);
	if (columns.n == 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("%s has no primary key", relation),
				errhint("Only an item that has a key can be named."));
	return columns;
}

/* What a key of this table looks like: {"a": .., "b": ..}. */
static const char *
key_shape(const KeyColumns *columns)
{
	StringInfoData out;

	if (columns->n == 1)
		return psprintf("The key is the value of column \"%s\".", columns->names[0]);
	initStringInfo(&out);
	appendStringInfoString(&out, "The key is an object: ");
	for (int i = 0; i < columns->n; i++)
		appendStringInfo(&out, "%s\"%s\": ...", i == 0 ? "{" : ", ", columns->names[i]);
	appendStringInfoString(&out, "}.");
	return out.data;
}

static bool
has_column(Jsonb *key, const char *name)
{
	JsonbValue value;

	return getKeyJsonValueFromContainer(&key->root, name, (int) strlen(name), &value) != NULL;
}

/* A name in the object that is no column of the key. */
static const char *
stranger(const KeyColumns *columns, Jsonb *key)
{
	JsonbIterator *iterator = JsonbIteratorInit(&key->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		const char *name;
		int i = 0;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		while (i < columns->n && strcmp(columns->names[i], name) != 0)
			i++;
		if (i == columns->n)
			return name;
	}
	return NULL;
}

static void
check_object(const KeyColumns *columns, Jsonb *key)
{
	if (!JB_ROOT_IS_OBJECT(key))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the primary key of %s has %d columns, and the key is not an object",
					   columns->relation, columns->n),
				errhint("%s", key_shape(columns)));
	for (int i = 0; i < columns->n; i++)
		if (!has_column(key, columns->names[i]))
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("the key lacks column \"%s\" of the primary key of %s", columns->names[i],
						   columns->relation),
					errhint("%s", key_shape(columns)));
	if (JB_ROOT_COUNT(key) != (uint32) columns->n)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the key has \"%s\", which is no column of the primary key of %s",
					   stranger(columns, key), columns->relation),
				errhint("%s", key_shape(columns)));
}

/* {"id": 17} says the same as 17, where "id" is the key. */
static bool
is_wrapped(const KeyColumns *columns, Jsonb *key)
{
	return columns->n > 1 ||
		   (JB_ROOT_IS_OBJECT(key) && JB_ROOT_COUNT(key) == 1 && has_column(key, columns->names[0]));
}

/* A row of the table, all NULL; given to jsonb_populate_record it keeps domains that refuse NULL out of this. */
static Datum
empty_row(Oid row_type)
{
	TupleDesc desc = lookup_rowtype_tupdesc(row_type, -1);
	Datum *values = palloc0(sizeof(Datum) * desc->natts);
	bool *nulls = palloc(sizeof(bool) * desc->natts);
	Datum row;

	memset(nulls, true, desc->natts);
	row = heap_copy_tuple_as_datum(heap_form_tuple(desc, values, nulls), desc);
	ReleaseTupleDesc(desc);
	return row;
}

/* SELECT the row, and the key as the server writes it. */
static char *
row_query(const KeyColumns *columns, bool wrapped)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "SELECT t.r, ");
	if (columns->n == 1)
		appendStringInfo(&out, "pg_catalog.to_jsonb((t.r).%s)", quote_identifier(columns->names[0]));
	for (int i = 0; i < columns->n && columns->n > 1; i++)
		appendStringInfo(&out, "%s%s, (t.r).%s", i == 0 ? "pg_catalog.jsonb_build_object(" : ", ",
						 quote_literal_cstr(columns->names[i]), quote_identifier(columns->names[i]));
	appendStringInfo(
		&out, "%s FROM (SELECT pg_catalog.jsonb_populate_record($1, %s) AS r OFFSET 0) t",
		columns->n > 1 ? ")" : "",
		wrapped ? "$2"
				: psprintf("pg_catalog.jsonb_build_object(%s, $2)", quote_literal_cstr(columns->names[0])));
	return out.data;
}

static void
check_nulls(const KeyColumns *columns, HeapTupleHeader row)
{
	for (int i = 0; i < columns->n; i++)
	{
		bool isnull;

		(void) GetAttributeByName(row, columns->names[i], &isnull);
		if (isnull)
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("column \"%s\" of the key is null", columns->names[i]),
					errhint("%s", key_shape(columns)));
	}
}

static void
explain_error(void *arg)
{
	const KeyColumns *columns = arg;

	errcontext("key of an item of %s", columns->relation);
	errhint("%s", key_shape(columns));
}

static HeapTupleHeader
make_row(const KeyColumns *columns, Jsonb *key, Jsonb **canonical)
{
	Oid row_type = get_rel_type_id(columns->relid);
	Oid types[] = {row_type, JSONBOID};
	Datum values[] = {empty_row(row_type), JsonbPGetDatum(key)};
	ErrorContextCallback context = {error_context_stack, explain_error, unconstify(KeyColumns *, columns)};
	char *query = row_query(columns, is_wrapped(columns, key));
	HeapTupleHeader row;
	Datum datum;
	bool isnull;
	int level;

	error_context_stack = &context;
	level = value_settings_pin();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 2, types, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not make a row of the key");
	datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	row = DatumGetHeapTupleHeader(SPI_datumTransfer(datum, false, -1));
	datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	*canonical = isnull ? NULL : DatumGetJsonbP(SPI_datumTransfer(datum, false, -1));
	SPI_finish();
	value_settings_unpin(level);
	error_context_stack = context.previous;
	return row;
}

static bytea *
encode_key(const KeyColumns *columns, HeapTupleHeader row)
{
	StringInfoData bytes;
	WireChange change;
	bytea *key;

	initStringInfo(&bytes);
	(void) encode_record(row, VALUE_BYTES_DEFAULT, NULL, &bytes, NULL);
	if (!wire_change(slice_make(bytes.data, bytes.len), &change))
		elog(ERROR, "the encoding of a row of %s is malformed", columns->relation);
	key = palloc(VARHDRSZ + change.key.len);
	SET_VARSIZE(key, VARHDRSZ + change.key.len);
	memcpy(VARDATA(key), change.key.data, change.key.len);
	return key;
}

ItemKey
item_key(Oid relid, const char *relation, Jsonb *key)
{
	KeyColumns columns = key_columns(relid, relation);
	HeapTupleHeader row;
	ItemKey result;

	if (columns.n > 1)
		check_object(&columns, key);
	row = make_row(&columns, key, &result.canonical);
	check_nulls(&columns, row);
	result.bytes = encode_key(&columns, row);
	return result;
}
