/*
 * value.c -- see value.h.
 */
#include "value.h"

#include <math.h>

#include "access/detoast.h"
#include "access/htup_details.h"
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
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "common/shortest_dec.h"
#include "compat.h"
#include "decimal.h"
#include "fixed.h"
#include "jsonb.h"
#include "text.h"
#include "unpack.h"

/* What takes more than this is given back after its column, not after its change. */
#define LARGE_BYTES (64 * 1024)

/* ---- before writing ---------------------------------------------------------------------- */

/* Memory for large values being read: a child of the change's context. */
static MemoryContext
large_context(ValueWriter *writer)
{
	if (writer->large == NULL)
		writer->large = AllocSetContextCreate(CurrentMemoryContext, "walrank value", ALLOCSET_DEFAULT_SIZES);
	return writer->large;
}

void
value_release_large(ValueWriter *writer)
{
	MemoryContextReset(writer->large);
}

/* Forms that are read as structures, in place: behind a header of four bytes, aligned. */
static bool
is_read_aligned(const ValueType *type)
{
	return type->form == FORM_JSONB || type->form == FORM_ARRAY || type->form == FORM_ROW;
}

void
value_begin(ValueWriter *writer)
{
	/* the Value's own tags and lengths do not count */
	writer->limit = Min(writer->out->len + writer->value_bytes_max + 64, writer->end_max);
}

ValueFate
value_resolve_stored(ValueWriter *writer, const ValueType *type, Datum *datum, uint64 *size)
{
	struct varlena *stored = (struct varlena *) DatumGetPointer(*datum);
	MemoryContext caller = CurrentMemoryContext;

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
	if (!VARATT_IS_EXTERNAL(stored) && !VARATT_IS_COMPRESSED(stored) &&
		!(VARATT_IS_SHORT(stored) && is_read_aligned(type)))
		return FATE_READY;
	if (*size > LARGE_BYTES)
		MemoryContextSwitchTo(large_context(writer));
	*datum = PointerGetDatum(unpack_value(stored));
	MemoryContextSwitchTo(caller);
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

/* ---- text -------------------------------------------------------------------------------- */

bool
value_error_passes(int sqlerrcode)
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
		if (value_error_passes(geterrcode()))
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
read_output(ValueWriter *writer, const ValueType *type, Datum datum, Slice *text)
{
	ValueType *callable = unconstify(ValueType *, type);
	Size bytes = type->typlen == -1 ? VARSIZE_ANY_EXHDR(DatumGetPointer(datum)) : 0;
	MemoryContext caller = CurrentMemoryContext;
	char *result;

	if (bytes > type->output_bytes_max)
		return false;
	if (type->typlen == -1)
		MemoryContextSwitchTo(large_context(writer));
	result = type->output_guarded ? output_guarded(callable, datum) : output(callable, datum);
	MemoryContextSwitchTo(caller);
	if (result == NULL)
		return false;
	*text = slice_string(result);
	return true;
}

static Slice
read_varlena(Datum datum)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(datum);

	return slice_make(VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
}

/* The internal type "char": one byte, shown as recent servers show it. */
static Slice
read_char(char c, char *scratch)
{
	size_t len = c != '\0';

	scratch[0] = c;
	if (IS_HIGHBIT_SET(c))
		len = (size_t) snprintf(scratch, 5, "\\%03o", (unsigned char) c);
	return slice_make(scratch, len);
}

static Slice
read_uuid(const pg_uuid_t *uuid, char *scratch)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			scratch[n++] = '-';
		scratch[n++] = hex[uuid->data[i] >> 4];
		scratch[n++] = hex[uuid->data[i] & 15];
	}
	return slice_make(scratch, n);
}

static bool
read_enum(Oid label, char *scratch, Slice *text)
{
	HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(label));

	if (!HeapTupleIsValid(tuple))
		return false;
	memcpy(scratch, ((Form_pg_enum) GETSTRUCT(tuple))->enumlabel.data, NAMEDATALEN);
	ReleaseSysCache(tuple);
	*text = slice_string(scratch);
	return true;
}

/* Room for what is not text where it is stored. */
#define SCRATCH_BYTES Max(NAMEDATALEN, 40)

/* A value's text in the database's encoding; false when there is none. */
static bool
read_text(ValueWriter *writer, const ValueType *type, Datum datum, char *scratch, Slice *text)
{
	switch (type->form)
	{
		case FORM_TEXT:
			*text = read_varlena(datum);
			return true;
		case FORM_NAME:
			*text = slice_string(NameStr(*DatumGetName(datum)));
			return true;
		case FORM_CHAR:
			*text = read_char(DatumGetChar(datum), scratch);
			return true;
		case FORM_UUID:
			*text = read_uuid(DatumGetUUIDP(datum), scratch);
			return true;
		case FORM_ENUM:
			return read_enum(DatumGetObjectId(datum), scratch, text);
		case FORM_OUTPUT:
			return read_output(writer, type, datum, text);
		default:
			return false;
	}
}

/* To UTF-8; what nobody has checked is checked. */
static bool
convert(const ValueType *type, Slice text, Slice *utf8)
{
	if (!type->output_unchecked || !text_is_utf8())
		return text_convert(text, utf8);
	*utf8 = text;
	return text_is_valid(text);
}

/* ---- fields and elements ----------------------------------------------------------------- */

/*
 * Make a value inside another one readable in place; release it afterwards.  The server stores none
 * of them out of line.
 */
static bool
open_inner(const ValueType *type, Datum *datum, int64 room)
{
	struct varlena *stored = (struct varlena *) DatumGetPointer(*datum);

	if (type->typlen != -1)
		return true;
	if (VARATT_IS_EXTERNAL(stored))
		return false;
	if (VARATT_IS_COMPRESSED(stored) && (int64) toast_raw_datum_size(*datum) > room)
		return false;
	if (VARATT_IS_COMPRESSED(stored) || (VARATT_IS_SHORT(stored) && is_read_aligned(type)))
		*datum = PointerGetDatum(unpack_value(stored));
	return true;
}

static void
release_inner(Datum opened, Datum stored)
{
	if (opened != stored)
		pfree(DatumGetPointer(opened));
}

/* The elements of an array, one after the other. */
typedef struct ArrayWalk
{
	const ValueType *element;
	const uint8 *present; /* NULL: no element is null */
	char *at;
	int index;
} ArrayWalk;

static ArrayWalk
array_walk(const ValueType *type, ArrayType *array)
{
	return (ArrayWalk){type->element, (const uint8 *) ARR_NULLBITMAP(array), ARR_DATA_PTR(array), 0};
}

/* False when the element is null. */
static bool
array_next(ArrayWalk *walk, Datum *datum)
{
	const ValueType *element = walk->element;
	int i = walk->index++;

	if (i % 1024 == 1023)
		CHECK_FOR_INTERRUPTS();
	if (walk->present != NULL && !(walk->present[i / 8] & (1 << (i % 8))))
		return false;
	*datum = fetch_att(walk->at, element->typbyval, element->typlen);
	walk->at = att_addlength_pointer(walk->at, element->typlen, walk->at);
	walk->at = (char *) att_align_nominal(walk->at, element->typalign);
	return true;
}

/*
 * The fields of a composite value, one after the other.  heap_deform_tuple is not for this: recent
 * servers have it compare the value's type with the catalogs, which takes a lock and raises errors.
 * Nothing outside of the value is read, whatever its type has become.
 */
typedef struct RowWalk
{
	HeapTupleHeader header;
	uint32 len;
	uint32 offset;
	int index;
	bool broken; /* the value is shorter than its type says */
} RowWalk;

static RowWalk
row_walk(HeapTupleHeader header)
{
	return (RowWalk){header, HeapTupleHeaderGetDatumLength(header), header->t_hoff, 0, false};
}

static uint32
aligned(const RowWalk *walk, const RowField *field)
{
	const char *at = (const char *) walk->header + walk->offset;

	if (field->len == -1 && walk->offset < walk->len && VARATT_NOT_PAD_BYTE(at))
		return walk->offset;
	return (uint32) att_align_nominal(walk->offset, field->align);
}

static uint32
field_size(const RowField *field, const char *at, uint32 room)
{
	if (field->len > 0)
		return (uint32) field->len;
	if (field->len == -2)
		return (uint32) strnlen(at, room) + 1;
	if (room < VARHDRSZ && (room < VARHDRSZ_SHORT || !VARATT_IS_1B(at)))
		return room + 1;
	/* a header that leads out of the row is the one thing that is no size */
	return VARATT_IS_EXTERNAL(at) ? room + 1 : (uint32) Max(VARSIZE_ANY(at), 1);
}

/* False when the field is null, or was added after the value had been written. */
static bool
row_next(RowWalk *walk, const RowField *field, Datum *datum)
{
	int i = walk->index++;
	const char *at;
	uint32 size;

	if (i >= (int) HeapTupleHeaderGetNatts(walk->header) ||
		((walk->header->t_infomask & HEAP_HASNULL) && att_isnull(i, walk->header->t_bits)))
		return false;
	walk->offset = aligned(walk, field);
	at = (const char *) walk->header + walk->offset;
	walk->broken = walk->broken || walk->offset >= walk->len;
	size = walk->broken ? 0 : field_size(field, at, walk->len - walk->offset);
	walk->broken = walk->broken || size > walk->len - walk->offset;
	if (walk->broken)
		return false;
	walk->offset += size;
	*datum = fetch_att(at, field->byval, field->len);
	return true;
}

/* ---- as JSON text: what is inside an array of several dimensions or a composite value ---------- */

static bool put_json(JsonText *json, const ValueType *type, Datum datum);

static bool
put_json_inner(JsonText *json, const ValueType *type, Datum datum)
{
	Datum opened = datum;
	bool sent =
		open_inner(type, &opened, (int64) json->limit - json->out->len) && put_json(json, type, opened);

	if (sent)
		release_inner(opened, datum);
	return sent && json->out->len <= json->limit;
}

/* Brackets open before the first element of each dimension and close after its last one. */
static bool
put_json_array(JsonText *json, const ValueType *type, ArrayType *array)
{
	int ndim = ARR_NDIM(array);
	int count = ArrayGetNItems(ndim, ARR_DIMS(array));
	ArrayWalk walk = array_walk(type, array);

	if (count == 0)
		appendStringInfoString(json->out, "[]");
	for (int i = 0; i < count; i++)
	{
		int span = count;
		int closing = 0;
		Datum datum;

		if (i > 0)
			appendStringInfoChar(json->out, ',');
		for (int d = 0; d < ndim; d++)
		{
			if (i % span == 0)
				appendStringInfoChar(json->out, '[');
			closing += (i + 1) % span == 0;
			span /= ARR_DIMS(array)[d];
		}
		if (!array_next(&walk, &datum))
			appendStringInfoString(json->out, "null");
		else if (!put_json_inner(json, type->element, datum))
			return false;
		for (; closing > 0; closing--)
			appendStringInfoChar(json->out, ']');
		if (json->out->len > json->limit)
			return false;
	}
	return true;
}

static bool
put_json_row(JsonText *json, const ValueType *type, HeapTupleHeader header)
{
	const RowType *row = row_type(type->row);
	RowWalk walk = row_walk(header);
	bool first = true;

	if (row == NULL || HeapTupleHeaderGetTypeId(header) != row->typid)
		return false;
	appendStringInfoChar(json->out, '{');
	for (int i = 0; i < row->nfields; i++)
	{
		const RowField *field = &row->fields[i];
		Datum datum;
		bool present = row_next(&walk, field, &datum);

		if (walk.broken)
			return false;
		if (field->name.len == 0)
			continue;
		if (!first)
			appendStringInfoChar(json->out, ',');
		first = false;
		if (!json_text_string(json, field->name, true))
			return false;
		appendStringInfoChar(json->out, ':');
		if (!present)
			appendStringInfoString(json->out, "null");
		else if (!put_json_inner(json, &field->type, datum))
			return false;
	}
	appendStringInfoChar(json->out, '}');
	return json->out->len <= json->limit;
}

static void
put_json_float(StringInfo out, float8 number, bool single)
{
	char text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (single)
		float_to_shortest_decimal_buf((float4) number, text);
	else
		double_to_shortest_decimal_buf(number, text);
	appendStringInfo(out, isfinite(number) ? "%s" : "\"%s\"", text);
}

static void
put_json_time(StringInfo out, ValueForm form, Datum datum)
{
	char text[MAXDATELEN + 1];
	int utc = 0;
	Oid typid = form == FORM_DATE ? DATEOID : form == FORM_TIMESTAMP ? TIMESTAMPOID : TIMESTAMPTZOID;

	appendStringInfo(out, "\"%s\"", JsonEncodeDateTime(text, datum, typid, &utc));
}

static bool
put_json_bytes(JsonText *json, Slice bytes)
{
	StringInfo out = json->out;

	if (2 * (int64) bytes.len > (int64) json->limit - out->len)
		return false;
	appendStringInfoString(out, "\"\\\\x");
	enlargeStringInfo(out, 2 * (int) bytes.len);
	out->len += (int) hex_encode((const char *) bytes.data, bytes.len, out->data + out->len);
	appendStringInfoChar(out, '"');
	return true;
}

static bool
put_json_text(JsonText *json, const ValueType *type, Datum datum)
{
	char scratch[SCRATCH_BYTES];
	Slice text;
	Slice utf8;
	bool valid;
	bool sent;

	if (!read_text(json->writer, type, datum, scratch, &text) ||
		!text_may_fit(text, json->limit - json->out->len))
		return false;
	valid = convert(type, text, &utf8);
	sent = json_text_string(json, utf8, valid);
	text_release(text, utf8);
	return sent;
}

static bool
put_json(JsonText *json, const ValueType *type, Datum datum)
{
	StringInfo out = json->out;
	Slice number;
	bool sent;

	switch (type->form)
	{
		case FORM_BOOL:
			appendStringInfoString(out, DatumGetBool(datum) ? "true" : "false");
			return true;
		case FORM_INT2:
			appendStringInfo(out, "%d", DatumGetInt16(datum));
			return true;
		case FORM_INT4:
			appendStringInfo(out, "%d", DatumGetInt32(datum));
			return true;
		case FORM_INT8:
			appendStringInfo(out, INT64_FORMAT, DatumGetInt64(datum));
			return true;
		case FORM_OID:
			appendStringInfo(out, "%u", DatumGetObjectId(datum));
			return true;
		case FORM_FLOAT4:
			put_json_float(out, DatumGetFloat4(datum), true);
			return true;
		case FORM_FLOAT8:
			put_json_float(out, DatumGetFloat8(datum), false);
			return true;
		case FORM_NUMERIC:
			number = read_varlena(datum);
			decimal_json(out, (const char *) number.data, number.len);
			return true;
		case FORM_MONEY:
			decimal_hundredths_json(out, DatumGetInt64(datum));
			return true;
		case FORM_DATE:
		case FORM_TIMESTAMP:
		case FORM_TIMESTAMPTZ:
			put_json_time(out, type->form, datum);
			return true;
		case FORM_BYTEA:
			return put_json_bytes(json, read_varlena(datum));
		case FORM_JSON:
			return json_text_json(json, read_varlena(datum));
		case FORM_JSONB:
			return json_text_root(json, (const Jsonb *) DatumGetPointer(datum));
		case FORM_ARRAY:
		case FORM_ROW:
			if (++json->depth > JSON_DEPTH_MAX)
				return false;
			sent = type->form == FORM_ARRAY
					   ? put_json_array(json, type, (ArrayType *) DatumGetPointer(datum))
					   : put_json_row(json, type, (HeapTupleHeader) DatumGetPointer(datum));
			json->depth--;
			return sent;
		default:
			return put_json_text(json, type, datum);
	}
}

static bool
write_json(ValueWriter *writer, const ValueType *type, Datum datum)
{
	JsonText json = json_text_begin(writer, VARSIZE_ANY(DatumGetPointer(datum)));

	row_types_refresh();
	return put_json(&json, type, datum) && json_text_end(&json);
}

/* ---- as Value ---------------------------------------------------------------------------- */

static bool
write_bytes(ValueWriter *writer, uint32 field, Slice bytes)
{
	if ((int64) bytes.len > (int64) writer->limit - writer->out->len)
		return false;
	encode_bytes_field(writer->out, field, bytes.data, bytes.len);
	return true;
}

static bool
write_converted(ValueWriter *writer, uint32 field, Slice utf8, bool valid)
{
	if (!valid)
	{
		writer->flags |= FLAG_TEXT_INVALID;
		field = VALUE_BYTES;
	}
	return write_bytes(writer, field, utf8);
}

static bool
write_string(ValueWriter *writer, uint32 field, Slice text)
{
	Slice utf8;
	bool valid;
	bool sent;

	if (!text_may_fit(text, writer->limit - writer->out->len))
		return false;
	valid = text_convert(text, &utf8);
	sent = write_converted(writer, field, utf8, valid);
	text_release(text, utf8);
	return sent;
}

bool
value_write_text(ValueWriter *writer, const char *data, size_t len)
{
	return write_string(writer, VALUE_TEXT, slice_make(data, len));
}

static bool
write_text(ValueWriter *writer, const ValueType *type, Datum datum)
{
	char scratch[SCRATCH_BYTES];
	Slice text;

	if (!read_text(writer, type, datum, scratch, &text))
		return false;
	if (type->output_unchecked && text_is_utf8())
		return write_converted(writer, VALUE_TEXT, text, text_is_valid(text));
	return write_string(writer, VALUE_TEXT, text);
}

static bool
write_element(ValueWriter *writer, const ValueType *type, Datum datum)
{
	switch (type->form)
	{
		case FORM_JSONB:
			return json_write_root(writer, (const Jsonb *) DatumGetPointer(datum), true);
		case FORM_ARRAY: /* of a domain over an array */
			return write_json(writer, type, datum);
		default:
			return value_write(writer, type, datum);
	}
}

/* A one-dimensional array; its lower bound is not part of the value. */
static bool
write_list(ValueWriter *writer, const ValueType *type, ArrayType *array)
{
	int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	ArrayWalk walk = array_walk(type, array);
	EncodeMark list = encode_open(writer->out, VALUE_LIST, VARSIZE(array));

	for (int i = 0; i < count; i++)
	{
		EncodeMark mark = encode_open(writer->out, LIST_VALUES, 8);
		Datum stored;
		Datum datum;

		if (!array_next(&walk, &stored))
			value_write_null(writer->out);
		else
		{
			datum = stored;
			if (!open_inner(type->element, &datum, (int64) writer->limit - writer->out->len) ||
				!write_element(writer, type->element, datum))
				return false;
			release_inner(datum, stored);
		}
		encode_close(writer->out, mark);
		if (writer->out->len > writer->limit)
			return false;
	}
	encode_close(writer->out, list);
	return true;
}

static void
write_float(StringInfo out, float4 number)
{
	uint32 bits;

	memcpy(&bits, &number, sizeof(bits));
	encode_fixed32_field(out, VALUE_FLOAT, bits);
}

/* Forms whose Value is of a small size. */
static bool
write_number(ValueWriter *writer, ValueForm form, Datum datum)
{
	StringInfo out = writer->out;

	if (fixed_form(form))
	{
		encode_reserve(out, FIXED_BYTES_MAX);
		out->len = (int) ((char *) fixed_put((uint8 *) out->data + out->len, form, datum) - out->data);
	}
	else if (form == FORM_OID)
		encode_varint_field(out, VALUE_INT, wire_zigzag((int64) DatumGetObjectId(datum)));
	else if (form == FORM_FLOAT4)
		write_float(out, DatumGetFloat4(datum));
	else if (form == FORM_MONEY)
		decimal_hundredths(out, DatumGetInt64(datum));
	else
		return false;
	return out->len <= writer->limit;
}

bool
value_write(ValueWriter *writer, const ValueType *type, Datum datum)
{
	Slice number;

	switch (type->form)
	{
		case FORM_NUMERIC:
			number = read_varlena(datum);
			decimal_encode(writer->out, (const char *) number.data, number.len);
			return writer->out->len <= writer->limit;
		case FORM_TEXT:
		case FORM_NAME:
		case FORM_CHAR:
		case FORM_UUID:
		case FORM_ENUM:
		case FORM_OUTPUT:
			return write_text(writer, type, datum);
		case FORM_JSON:
			return write_string(writer, VALUE_JSON, read_varlena(datum));
		case FORM_BYTEA:
			return write_bytes(writer, VALUE_BYTES, read_varlena(datum));
		case FORM_JSONB:
			return json_write_root(writer, (const Jsonb *) DatumGetPointer(datum), false);
		case FORM_ARRAY:
			if (ARR_NDIM((ArrayType *) DatumGetPointer(datum)) <= 1)
				return write_list(writer, type, (ArrayType *) DatumGetPointer(datum));
			return write_json(writer, type, datum);
		case FORM_ROW:
			return write_json(writer, type, datum);
		default:
			return write_number(writer, type->form, datum);
	}
}

/* ---- settings ---------------------------------------------------------------------------- */

/* Named last, since a schema of temporary tables that is not named comes first. */
#define PINNED_SEARCH_PATH "pg_catalog, pg_temp"

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
	{"search_path", PINNED_SEARCH_PATH},
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
		   !quote_all_identifiers && strcmp(namespace_search_path, PINNED_SEARCH_PATH) == 0;
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
