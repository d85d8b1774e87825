/*
 * item_key.c -- see item_key.h.
 *
 * The server turns the key into a row of the table in which everything else is NULL (jsonb_populate_record), looks
 * for the item that has that key, and the stream's encoder turns the one or the other into bytes.
 */
#include "export.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "encode.h"
#include "item_key.h"
#include "options.h"
#include "value.h"

EXPORT_FUNCTION(walrank_item_key);

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

/* ---- questions to the server ------------------------------------------------------------------ */

static void
explain_error(void *arg)
{
	const KeyColumns *columns = arg;

	errcontext("key of an item of %s", columns->relation);
	errhint("%s", key_shape(columns));
}

/*
 * The one value of a query about a row ($1) and, unless it is NULL, a key ($2), under settings that are the same for
 * everybody.  False: no row.
 */
static bool
ask(const KeyColumns *columns, const char *query, Datum row, Jsonb *key, Datum *answer)
{
	Oid types[] = {get_rel_type_id(columns->relid), JSONBOID};
	Datum values[] = {row, JsonbPGetDatum(key)};
	int level = value_settings_pin();
	bool isnull;
	bool found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, key != NULL ? 2 : 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not ask for an item's key");
	found = SPI_processed > 0;
	if (found)
	{
		*answer = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		if (isnull)
			elog(ERROR, "a row of %s is NULL", columns->relation);
		*answer = SPI_datumTransfer(*answer, false, -1);
	}
	SPI_finish();
	value_settings_unpin(level);
	return found;
}

/* A row of the table in which the key is set, and nothing else. */
static HeapTupleHeader
make_row(const KeyColumns *columns, Jsonb *key)
{
	ErrorContextCallback context = {error_context_stack, explain_error, unconstify(KeyColumns *, columns)};
	const char *object = "$2";
	Datum row;

	if (columns->n > 1)
		check_object(columns, key);
	if (!is_wrapped(columns, key))
		object = psprintf("pg_catalog.jsonb_build_object(%s, $2)", quote_literal_cstr(columns->names[0]));
	error_context_stack = &context;
	(void) ask(columns, psprintf("SELECT pg_catalog.jsonb_populate_record($1, %s)", object),
			   empty_row(get_rel_type_id(columns->relid)), key, &row);
	error_context_stack = context.previous;
	check_nulls(columns, DatumGetHeapTupleHeader(row));
	return DatumGetHeapTupleHeader(row);
}

/* t."Id" OPERATOR(pg_catalog.=) ($1)."Id" AND ..: equal as the primary key understands it. */
static const char *
match_of(const KeyColumns *columns)
{
	static const char query[] =
		"SELECT pg_catalog.string_agg(pg_catalog.format('t.%1$I OPERATOR(%2$I.%3$s) ($1).%1$I', a.attname, "
		"n.nspname,"
		" o.oprname), ' AND ') FROM pg_catalog.pg_index i,"
		" ROWS FROM (pg_catalog.unnest(i.indkey::int2[]), pg_catalog.unnest(i.indclass::oid[])) AS k "
		"(attnum, opclass),"
		" pg_catalog.pg_attribute a, pg_catalog.pg_opclass c, pg_catalog.pg_amop m, pg_catalog.pg_operator o,"
		" pg_catalog.pg_namespace n WHERE i.indrelid = ($2 ->> 0)::oid AND i.indisprimary"
		" AND a.attrelid = i.indrelid AND a.attnum = k.attnum AND c.oid = k.opclass AND m.amopfamily = "
		"c.opcfamily"
		" AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype AND m.amopstrategy = 3"
		" AND o.oid = m.amopopr AND n.oid = o.oprnamespace";
	Datum answer;
	Jsonb *relid =
		DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("[%u]", columns->relid))));

	(void) ask(columns, query, empty_row(get_rel_type_id(columns->relid)), relid, &answer);
	return TextDatumGetCString(answer);
}

/* The row of the table that has the key of this one; NULL: none.  A table may have a column t: then that is what t says. */
static HeapTupleHeader
find_row(const KeyColumns *columns, HeapTupleHeader key)
{
	char *table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(columns->relid)),
											 get_rel_name(columns->relid));
	char *query = psprintf("SELECT (t.*)::%s FROM ONLY %s t WHERE %s", table, table, match_of(columns));
	Datum row;

	return ask(columns, query, HeapTupleHeaderGetDatum(key), NULL, &row) ? DatumGetHeapTupleHeader(row)
																		 : NULL;
}

static bool
may_read(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		   DatumGetBool(DirectFunctionCall2(has_schema_privilege_id,
											ObjectIdGetDatum(get_rel_namespace(relid)),
											CStringGetTextDatum("USAGE")));
}

/* The key of a row, as the server writes it. */
static Jsonb *
key_json(const KeyColumns *columns, HeapTupleHeader row)
{
	StringInfoData query;
	Datum key;

	initStringInfo(&query);
	if (columns->n == 1)
		appendStringInfo(&query, "SELECT pg_catalog.to_jsonb(($1).%s)", quote_identifier(columns->names[0]));
	for (int i = 0; i < columns->n && columns->n > 1; i++)
		appendStringInfo(&query, "%s%s, ($1).%s", i == 0 ? "SELECT pg_catalog.jsonb_build_object(" : ", ",
						 quote_literal_cstr(columns->names[i]), quote_identifier(columns->names[i]));
	if (columns->n > 1)
		appendStringInfoChar(&query, ')');
	(void) ask(columns, query.data, HeapTupleHeaderGetDatum(row), NULL, &key);
	return DatumGetJsonbP(key);
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
	HeapTupleHeader row = make_row(&columns, key);
	HeapTupleHeader item = may_read(relid) ? find_row(&columns, row) : NULL;

	if (item != NULL)
		row = item;
	return (ItemKey){.bytes = encode_key(&columns, row), .canonical = key_json(&columns, row)};
}

HeapTupleHeader
item_row(Oid relid, const char *relation, Jsonb *key)
{
	KeyColumns columns = key_columns(relid, relation);

	return find_row(&columns, make_row(&columns, key));
}

/* walrank.item_key(relation text, key jsonb) returns bytea */
Datum
walrank_item_key(PG_FUNCTION_ARGS)
{
	const char *relation = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid relid = item_relation(relation);

	if (!OidIsValid(relid))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE), errmsg("there is no table %s", relation),
				errhint("Write the name as in walrank.watched."));
	PG_RETURN_BYTEA_P(item_key(relid, relation, PG_GETARG_JSONB_P(1)).bytes);
}
