/*
 * encode.c -- SQL functions that show rows and tables as the stream does.
 */
#include "export.h"

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

#include "compat.h"
#include "encode.h"
#include "options.h"

EXPORT_FUNCTION(walrank_encode);
EXPORT_FUNCTION(walrank_describe);

/* A bytea holding an Entry; its varlena header and the Entry's own tag come first. */
static EncodeMark
begin_entry(StringInfo out, uint32 kind, size_t guess)
{
	initStringInfo(out);
	appendStringInfoSpaces(out, VARHDRSZ);
	return encode_open(out, kind, guess);
}

static Datum
end_entry(StringInfo out, EncodeMark mark)
{
	encode_close(out, mark);
	SET_VARSIZE(out->data, out->len);
	return PointerGetDatum(out->data);
}

/* The publications in an argument; NULL for none. */
static const ArrayType *
publications_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_NARGS() > n && !PG_ARGISNULL(n) ? PG_GETARG_ARRAYTYPE_P(n) : NULL;
}

/*
 * walrank.encode(record, max_value_bytes, publications) returns bytea: one Entry with the Change of an insert; NULL
 * for a row that a filter leaves out.
 */
Datum
walrank_encode(PG_FUNCTION_ARGS)
{
	int value_bytes_max = PG_NARGS() > 1 && !PG_ARGISNULL(1) ? PG_GETARG_INT32(1) : VALUE_BYTES_DEFAULT;
	StringInfoData out;
	EncodeMark mark;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (value_bytes_max < VALUE_BYTES_MIN || value_bytes_max > VALUE_BYTES_MAX)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_value_bytes must be from %d to %d", VALUE_BYTES_MIN, VALUE_BYTES_MAX));
	mark = begin_entry(&out, ENTRY_CHANGE, 1000);
	if (!encode_record(PG_GETARG_HEAPTUPLEHEADER(0), value_bytes_max, publications_argument(fcinfo, 2), &out,
					   NULL))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(end_entry(&out, mark));
}

/* walrank.describe(regclass, publications) returns bytea: one Entry with the table's Relation. */
Datum
walrank_describe(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	EncodeMark mark;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	mark = begin_entry(&out, ENTRY_RELATION, 1000);
	encode_relation(PG_GETARG_OID(0), publications_argument(fcinfo, 1), &out);
	PG_RETURN_DATUM(end_entry(&out, mark));
}
