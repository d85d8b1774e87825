/*
 * value.c -- see value.h.
 */
#include "value.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "access/tupmacs.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/bytea.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "compat.h"
#include "decimal.h"
#include "jsonb.h"
#include "text.h"

/* Domains over domains: the server has no limit, a loop here has one. */
#define DOMAIN_DEPTH_MAX 64

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
	{FLOAT4OID, FORM_FLOAT4},
	{FLOAT8OID, FORM_FLOAT8},
	{NUMERICOID, FORM_NUMERIC},
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

static ValueForm
form_of(const FormData_pg_type *type)
{
	for (size_t i = 0; i < lengthof(forms); i++)
		if (forms[i].typid == type->oid)
			return forms[i].form;
	if (type->typtype == TYPTYPE_ENUM)
		return FORM_ENUM;
	return IsTrueArrayType(type) ? FORM_ARRAY : FORM_OUTPUT;
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
may_hold_numeric(const FormData_pg_type *row, const ValueType *type)
{
	if (type->form == FORM_ARRAY)
		return type->element->form == FORM_NUMERIC || type->element->form == FORM_JSONB;
	return row->typtype != TYPTYPE_BASE || row->oid == JSONPATHOID || row->typelem != InvalidOid;
}

static void
set_output(ValueType *type, const FormData_pg_type *row)
{
	type->output_guarded =
		row->typtype != TYPTYPE_BASE || row->typelem != InvalidOid || row->typoutput >= FirstGenbkiObjectId;
	type->output_bytes_max = may_hold_numeric(row, type) ? OUTPUT_NUMERIC_BYTES_MAX : OUTPUT_BYTES_MAX;
	type->output_function = row->typoutput;
	type->context = CurrentMemoryContext;
}

void
value_type(ValueType *type, Oid typid)
{
	FormData_pg_type row;

	memset(type, 0, sizeof(*type));
	if (!lookup(typid, &row))
		return;
	type->form = form_of(&row);
	type->typlen = row.typlen;
	type->typbyval = row.typbyval;
	type->typalign = row.typalign;
	if (type->form == FORM_ARRAY)
	{
		type->element = palloc(sizeof(ValueType));
		value_type(type->element, row.typelem);
		if (type->element->form == FORM_ARRAY || type->element->form == FORM_OUTPUT ||
			type->element->form == FORM_NONE)
			type->form = FORM_OUTPUT;
	}
	if (type->form == FORM_ARRAY || type->form == FORM_OUTPUT)
		set_output(type, &row);
}

bool
value_type_reads_settings(const ValueType *type)
{
	return type->form == FORM_OUTPUT || type->form == FORM_ARRAY;
}

/* ---- before writing ---------------------------------------------------------------------- */

void
value_begin(ValueWriter *writer)
{
	/* the Value's own tags and lengths do not count */
	writer->limit = Min(writer->out->len + writer->value_bytes_max + 64, writer->end_max);
}

ValueFate
value_resolve(const ValueWriter *writer, const ValueType *type, Datum *datum, uint64 *size)
{
	struct varlena *stored = (struct varlena *) DatumGetPointer(*datum);

	*size = 0;
	if (type->form == FORM_NONE)
		return FATE_OVERSIZED;
	if (type->typlen != -1)
		return FATE_READY;
	if (VARATT_IS_EXTERNAL_ONDISK(stored) && !writer->may_fetch)
		return FATE_UNCHANGED_TOAST;
	*size = toast_raw_datum_size(*datum) - VARHDRSZ;
	if (*size > (uint64) writer->value_bytes_max)
		return FATE_OVERSIZED;
	if (VARATT_IS_EXTERNAL(stored) || VARATT_IS_COMPRESSED(stored) ||
		(VARATT_IS_SHORT(stored) && (type->form == FORM_JSONB || type->form == FORM_ARRAY)))
		*datum = PointerGetDatum(detoast_attr(stored));
	return FATE_READY;
}

bool
value_same(const ValueType *type, Datum a, Datum b)
{
	struct varlena *va;
	struct varlena *vb;

	if (type->typbyval)
		return a == b;
	va = (struct varlena *) DatumGetPointer(a);
	vb = (struct varlena *) DatumGetPointer(b);
	if (type->typlen != -1)
		return datumIsEqual(a, b, false, type->typlen);
	if (VARATT_IS_EXTERNAL(va) || VARATT_IS_EXTERNAL(vb) ||
		VARATT_IS_COMPRESSED(va) != VARATT_IS_COMPRESSED(vb))
		return false;
	return VARSIZE_ANY_EXHDR(va) == VARSIZE_ANY_EXHDR(vb) &&
		   memcmp(VARDATA_ANY(va), VARDATA_ANY(vb), VARSIZE_ANY_EXHDR(va)) == 0;
}

/* ---- writing ----------------------------------------------------------------------------- */

static bool
write_string(ValueWriter *writer, uint32 field, Slice text)
{
	Slice utf8;

	if (!text_convert(text, &utf8))
	{
		writer->flags |= FLAG_TEXT_INVALID;
		field = VALUE_BYTES;
	}
	if (utf8.len >= (size_t) writer->limit || writer->out->len > writer->limit - (int) utf8.len)
		return false;
	encode_bytes_field(writer->out, field, utf8.data, utf8.len);
	return true;
}

bool
value_write_text(ValueWriter *writer, const char *data, size_t len)
{
	return write_string(writer, VALUE_TEXT, slice_make(data, len));
}

static bool
write_varlena(ValueWriter *writer, uint32 field, Datum datum)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(datum);
	Slice bytes = slice_make(VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));

	if (field != VALUE_BYTES)
		return write_string(writer, field, bytes);
	if (bytes.len >= (size_t) writer->limit || writer->out->len > writer->limit - (int) bytes.len)
		return false;
	encode_bytes_field(writer->out, field, bytes.data, bytes.len);
	return true;
}

/* The internal type "char": one byte, shown as recent servers show it. */
static bool
write_char(ValueWriter *writer, char c)
{
	char text[5];
	size_t len = c != '\0';

	text[0] = c;
	if (IS_HIGHBIT_SET(c))
		len = (size_t) snprintf(text, sizeof(text), "\\%03o", (unsigned char) c);
	return value_write_text(writer, text, len);
}

static void
write_uuid(ValueWriter *writer, const pg_uuid_t *uuid)
{
	static const char hex[] = "0123456789abcdef";
	char text[36];
	int n = 0;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[n++] = '-';
		text[n++] = hex[uuid->data[i] >> 4];
		text[n++] = hex[uuid->data[i] & 15];
	}
	encode_bytes_field(writer->out, VALUE_TEXT, text, (size_t) n);
}

static bool
write_enum(ValueWriter *writer, Oid label)
{
	HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(label));
	bool sent;

	if (!HeapTupleIsValid(tuple))
		return false;
	sent =
		write_string(writer, VALUE_TEXT, slice_string(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)));
	ReleaseSysCache(tuple);
	return sent;
}

/* True for what is not the value's fault: out of memory, a cancelled query, a concurrent abort. */
static bool
is_passing_error(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
		   ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		   sqlerrcode == ERRCODE_OUT_OF_MEMORY || sqlerrcode == ERRCODE_QUERY_CANCELED;
}

static char *
output(ValueType *type, Datum datum)
{
	if (!OidIsValid(type->output.fn_oid))
		fmgr_info_cxt(type->output_function, &type->output, type->context);
	return OutputFunctionCall(&type->output, datum);
}

/*
 * Run an output function that may fail.  Its error would come again at every retry and stop the
 * stream for ever; the subtransaction releases whatever the function held.
 */
static char *
output_guarded(ValueType *type, Datum datum)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char *volatile text = NULL;

	/* a parallel query may not start one; there an error is only the query's, never the stream's */
	if (IsInParallelMode())
		return output(type, datum);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		text = output(type, datum);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		if (is_passing_error(geterrcode()))
			PG_RE_THROW();
		text = NULL;
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return text;
}

static bool
write_output(ValueWriter *writer, const ValueType *type, Datum datum)
{
	ValueType *callable = unconstify(ValueType *, type);
	char *text;

	if (type->typlen == -1 && VARSIZE_ANY_EXHDR(DatumGetPointer(datum)) > type->output_bytes_max)
		return false;
	text = type->output_guarded ? output_guarded(callable, datum) : output(callable, datum);
	return text != NULL && write_string(writer, VALUE_TEXT, slice_string(text));
}

static bool
write_element(ValueWriter *writer, const ValueType *type, Datum datum)
{
	if (type->form == FORM_JSONB)
		return json_write_root(writer, (Jsonb *) DatumGetPointer(datum), true);
	return value_write(writer, type, datum);
}

/* A one-dimensional array; its lower bound is not part of the value. */
static bool
write_array(ValueWriter *writer, const ValueType *type, ArrayType *array)
{
	const ValueType *element = type->element;
	int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	const uint8 *present = (const uint8 *) ARR_NULLBITMAP(array);
	char *at = ARR_DATA_PTR(array);
	EncodeMark list = encode_open(writer->out, VALUE_LIST, VARSIZE(array));

	for (int i = 0; i < count; i++)
	{
		EncodeMark mark = encode_open(writer->out, LIST_VALUES, 8);

		if (i % 1024 == 1023)
			CHECK_FOR_INTERRUPTS();
		if (present != NULL && !(present[i / 8] & (1 << (i % 8))))
			value_write_null(writer->out);
		else
		{
			if (!write_element(writer, element, fetch_att(at, element->typbyval, element->typlen)))
				return false;
			at = att_addlength_pointer(at, element->typlen, at);
			at = (char *) att_align_nominal(at, element->typalign);
		}
		encode_close(writer->out, mark);
		if (writer->out->len > writer->limit)
			return false;
	}
	encode_close(writer->out, list);
	return true;
}

static void
write_double(StringInfo out, float8 number)
{
	uint64 bits;

	memcpy(&bits, &number, sizeof(bits));
	encode_fixed64_field(out, VALUE_DOUBLE, bits);
}

static void
write_float(StringInfo out, float4 number)
{
	uint32 bits;

	memcpy(&bits, &number, sizeof(bits));
	encode_fixed32_field(out, VALUE_FLOAT, bits);
}

/* Forms whose Value is of a small fixed size. */
static bool
write_fixed(ValueWriter *writer, ValueForm form, Datum datum)
{
	StringInfo out = writer->out;

	switch (form)
	{
		case FORM_BOOL:
			encode_varint_field(out, VALUE_BOOL, DatumGetBool(datum));
			break;
		case FORM_INT2:
			encode_varint_field(out, VALUE_INT, wire_zigzag(DatumGetInt16(datum)));
			break;
		case FORM_INT4:
			encode_varint_field(out, VALUE_INT, wire_zigzag(DatumGetInt32(datum)));
			break;
		case FORM_INT8:
			encode_varint_field(out, VALUE_INT, wire_zigzag(DatumGetInt64(datum)));
			break;
		case FORM_FLOAT4:
			write_float(out, DatumGetFloat4(datum));
			break;
		case FORM_FLOAT8:
			write_double(out, DatumGetFloat8(datum));
			break;
		case FORM_UUID:
			write_uuid(writer, DatumGetUUIDP(datum));
			break;
		case FORM_DATE:
			encode_varint_field(out, VALUE_DATE, wire_zigzag(DatumGetDateADT(datum)));
			break;
		case FORM_TIMESTAMP:
			encode_varint_field(out, VALUE_TIMESTAMP, wire_zigzag(DatumGetTimestamp(datum)));
			break;
		case FORM_TIMESTAMPTZ:
			encode_varint_field(out, VALUE_TIMESTAMPTZ, wire_zigzag(DatumGetTimestampTz(datum)));
			break;
		default:
			return false;
	}
	return out->len <= writer->limit;
}

bool
value_write(ValueWriter *writer, const ValueType *type, Datum datum)
{
	switch (type->form)
	{
		case FORM_NUMERIC:
			decimal_encode(writer->out, VARDATA_ANY(DatumGetPointer(datum)),
						   VARSIZE_ANY_EXHDR(DatumGetPointer(datum)));
			return writer->out->len <= writer->limit;
		case FORM_TEXT:
			return write_varlena(writer, VALUE_TEXT, datum);
		case FORM_JSON:
			return write_varlena(writer, VALUE_JSON, datum);
		case FORM_BYTEA:
			return write_varlena(writer, VALUE_BYTES, datum);
		case FORM_NAME:
			return value_write_text(writer, NameStr(*DatumGetName(datum)),
									strlen(NameStr(*DatumGetName(datum))));
		case FORM_CHAR:
			return write_char(writer, DatumGetChar(datum));
		case FORM_ENUM:
			return write_enum(writer, DatumGetObjectId(datum));
		case FORM_JSONB:
			return json_write_root(writer, (Jsonb *) DatumGetPointer(datum), false);
		case FORM_ARRAY:
			if (ARR_NDIM((ArrayType *) DatumGetPointer(datum)) <= 1)
				return write_array(writer, type, (ArrayType *) DatumGetPointer(datum));
			return write_output(writer, type, datum);
		case FORM_OUTPUT:
			return write_output(writer, type, datum);
		default:
			return write_fixed(writer, type->form, datum);
	}
}

/* ---- settings ---------------------------------------------------------------------------- */

static const struct
{
	const char *name;
	const char *value;
} settings[] = {
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"TimeZone", "UTC"},
	{"lc_monetary", "C"},
	{"quote_all_identifiers", "off"},
	/* names of types and functions are printed qualified unless they are found without */
	{"search_path", "pg_catalog"},
};

static void
set_all(GucAction action)
{
	for (size_t i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i].name, settings[i].value, PGC_USERSET, PGC_S_SESSION, action,
								 true, 0, false);
}

static bool
settings_hold(void)
{
	return DateStyle == USE_ISO_DATES && DateOrder == DATEORDER_YMD && IntervalStyle == INTSTYLE_POSTGRES &&
		   extra_float_digits == 1 && bytea_output == BYTEA_OUTPUT_HEX &&
		   strcmp(pg_get_timezone_name(session_timezone), "UTC") == 0 && strcmp(locale_monetary, "C") == 0 &&
		   !quote_all_identifiers && strcmp(namespace_search_path, "pg_catalog") == 0;
}

int
value_settings_pin(void)
{
	int level;

	if (settings_hold())
		return 0;
	level = NewGUCNestLevel();
	set_all(GUC_ACTION_SAVE);
	return level;
}

void
value_settings_unpin(int level)
{
	if (level != 0)
		AtEOXact_GUC(true, level);
}

void
value_settings_keep(void)
{
	set_all(GUC_ACTION_SET);
}
