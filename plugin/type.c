/*
 * type.c -- see type.h.
 */
#include "type.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "text.h"

/* Domains over domains, arrays of domains over arrays: the server has no limit, we have one. */
#define DOMAIN_DEPTH_MAX 64
#define ARRAY_DEPTH_MAX 64

/*
 * Text made by an output function must stay below the server's 1 GB limit on strings, where it
 * would raise an error for ever.  Most types make at most 16 characters of a stored byte; one that
 * may contain a numeric makes 131,000 of ten.
 */
#define OUTPUT_BYTES_MAX (32 * 1024 * 1024)
#define OUTPUT_NUMERIC_BYTES_MAX (8 * 1024)

static const struct
{
	Oid typid;
	ValueForm form;
} forms[] = {
	{BOOLOID, FORM_BOOL},
	{INT2OID, FORM_INT2},
	{INT4OID, FORM_INT4},
	{INT8OID, FORM_INT8},
	{OIDOID, FORM_OID},
	{FLOAT4OID, FORM_FLOAT4},
	{FLOAT8OID, FORM_FLOAT8},
	{NUMERICOID, FORM_NUMERIC},
	{MONEYOID, FORM_MONEY},
	{TEXTOID, FORM_TEXT},
	{VARCHAROID, FORM_TEXT},
	{BPCHAROID, FORM_TEXT},
	{XMLOID, FORM_TEXT},
	{NAMEOID, FORM_NAME},
	{CHAROID, FORM_CHAR},
	{BYTEAOID, FORM_BYTEA},
	{UUIDOID, FORM_UUID},
	{DATEOID, FORM_DATE},
	{TIMESTAMPOID, FORM_TIMESTAMP},
	{TIMESTAMPTZOID, FORM_TIMESTAMPTZ},
	{JSONOID, FORM_JSON},
	{JSONBOID, FORM_JSONB},
};

static bool
is_builtin(const FormData_pg_type *row)
{
	return row->oid < FirstGenbkiObjectId;
}

static ValueForm
form_of(const FormData_pg_type *row)
{
	for (size_t i = 0; i < lengthof(forms); i++)
		if (forms[i].typid == row->oid)
			return forms[i].form;
	if (row->typtype == TYPTYPE_ENUM)
		return FORM_ENUM;
	if (row->typtype == TYPTYPE_COMPOSITE)
		return FORM_ROW;
	if (IsTrueArrayType(row))
		return FORM_ARRAY;
	/* citext and its like are text with other operators */
	if (row->typtype == TYPTYPE_BASE && row->typlen == -1 && !is_builtin(row) &&
		IsBinaryCoercible(row->oid, TEXTOID))
		return FORM_TEXT;
	return FORM_OUTPUT;
}

/* The type's row, or that of the type below its domains; false if there is none. */
static bool
lookup(Oid typid, FormData_pg_type *row)
{
	for (int depth = 0; depth < DOMAIN_DEPTH_MAX; depth++)
	{
		HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));

		if (!HeapTupleIsValid(tuple))
			return false;
		memcpy(row, GETSTRUCT(tuple), sizeof(*row));
		ReleaseSysCache(tuple);
		if (row->typtype != TYPTYPE_DOMAIN)
			return row->typisdefined && OidIsValid(row->typoutput);
		typid = row->typbasetype;
	}
	return false;
}

static bool
may_hold_numeric(const FormData_pg_type *row)
{
	Oid range = row->typtype == TYPTYPE_MULTIRANGE ? get_multirange_range(row->oid) : row->oid;

	if (row->typtype == TYPTYPE_BASE)
		return row->oid == JSONPATHOID;
	return get_typlen(get_range_subtype(range)) < 0;
}

/* Output functions of the server that go deep where a value is deep, and give up at some depth. */
static bool
is_recursive(Oid typid)
{
	return typid == TSQUERYOID || typid == JSONPATHOID;
}

static void
set_output(ValueType *type, const FormData_pg_type *row)
{
	type->output_guarded = !is_builtin(row) || is_recursive(row->oid);
	type->output_unchecked = !is_builtin(row);
	type->output_bytes_max = may_hold_numeric(row) ? OUTPUT_NUMERIC_BYTES_MAX : OUTPUT_BYTES_MAX;
	type->output_function = row->typoutput;
	type->context = CurrentMemoryContext;
}

static void
fill(ValueType *type, Oid typid, int depth)
{
	FormData_pg_type row;

	memset(type, 0, sizeof(*type));
	if (depth > ARRAY_DEPTH_MAX || !lookup(typid, &row))
		return;
	type->form = form_of(&row);
	type->typlen = row.typlen;
	type->typbyval = row.typbyval;
	type->typalign = row.typalign;
	type->row = row.typrelid;
	if (type->form == FORM_OUTPUT)
		set_output(type, &row);
	if (type->form != FORM_ARRAY)
		return;
	type->element = palloc(sizeof(ValueType));
	fill(type->element, row.typelem, depth + 1);
	if (type->element->form == FORM_NONE)
		type->form = FORM_NONE;
}

void
value_type(ValueType *type, Oid typid)
{
	fill(type, typid, 0);
}

bool
value_type_reads_settings(const ValueType *type)
{
	if (type->form == FORM_ARRAY)
		return value_type_reads_settings(type->element);
	return type->form == FORM_OUTPUT || type->form == FORM_ROW;
}

/* ---- composite types --------------------------------------------------------------------- */

/*
 * All of them are forgotten together when one of them, or any type, may have changed: they refer to
 * each other, and change seldom.
 */
static struct
{
	MemoryContext context;
	HTAB *rows;
	bool stale;
} cache;

static void
relation_changed(Datum arg, Oid relid)
{
	if (cache.rows != NULL &&
		(!OidIsValid(relid) || hash_search(cache.rows, &relid, HASH_FIND, NULL) != NULL))
		cache.stale = true;
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	cache.stale = true;
}

void
row_types_refresh(void)
{
	if (!cache.stale || cache.context == NULL)
		return;
	cache.rows = NULL;
	MemoryContextReset(cache.context);
}

static void
make_cache(void)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(RowType)};

	if (cache.context == NULL)
	{
		cache.context =
			AllocSetContextCreate(CacheMemoryContext, "walrank composite types", ALLOCSET_DEFAULT_SIZES);
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, catalog_changed, (Datum) 0);
	}
	control.hcxt = cache.context;
	cache.stale = false;
	cache.rows = hash_create("walrank composite types", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static bool
read_field(const RowType *row, int i)
{
	HeapTuple tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(row->relid), Int16GetDatum(i + 1));
	RowField *field = &row->fields[i];
	Form_pg_attribute attribute;

	if (!HeapTupleIsValid(tuple))
		return false;
	attribute = (Form_pg_attribute) GETSTRUCT(tuple);
	*field = (RowField){.len = attribute->attlen, .byval = attribute->attbyval, .align = attribute->attalign};
	if (!attribute->attisdropped)
	{
		value_type(&field->type, attribute->atttypid);
		field->name = text_identifier(pstrdup(NameStr(attribute->attname)));
	}
	ReleaseSysCache(tuple);
	return true;
}

/* False when the type is gone or half-made. */
static bool
read_row(RowType *row)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(row->relid));

	if (!HeapTupleIsValid(tuple))
		return false;
	row->typid = ((Form_pg_class) GETSTRUCT(tuple))->reltype;
	row->nfields = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);
	row->fields = palloc0(sizeof(RowField) * Max(row->nfields, 1));
	for (int i = 0; i < row->nfields; i++)
		if (!read_field(row, i))
			return false;
	return true;
}

const RowType *
row_type(Oid relid)
{
	MemoryContext caller;
	RowType *row;
	bool found;

	if (cache.rows == NULL)
		make_cache();
	row = hash_search(cache.rows, &relid, HASH_ENTER, &found);
	if (!found)
		*row = (RowType){.relid = relid};
	if (!row->complete)
	{
		caller = MemoryContextSwitchTo(cache.context);
		row->complete = read_row(row);
		MemoryContextSwitchTo(caller);
	}
	return row->complete ? row : NULL;
}
