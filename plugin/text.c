/*
 * text.c -- see text.h.
 */
#include "text.h"

#include "catalog/pg_conversion.h"
#include "catalog/pg_namespace.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

/* The built-in conversion: one that a user made the default must not run in the walsender. */
static Oid
conversion_proc(void)
{
	static Oid proc = InvalidOid;

	if (!OidIsValid(proc))
		proc = FindDefaultConversion(PG_CATALOG_NAMESPACE, GetDatabaseEncoding(), PG_UTF8);
	return proc;
}

static bool
convert_from_database(Slice input, Slice *result)
{
	Oid proc = conversion_proc();
	size_t room = input.len * MAX_CONVERSION_GROWTH + 1;
	unsigned char *buffer;
	int converted;

	if (!OidIsValid(proc) || room >= MaxAllocSize)
		return false;
	buffer = palloc(room);
	converted = pg_do_encoding_conversion_buf(proc, GetDatabaseEncoding(), PG_UTF8,
											  unconstify(unsigned char *, input.data), (int) input.len,
											  buffer, (int) room, true);
	if (converted != (int) input.len)
	{
		pfree(buffer);
		return false;
	}
	*result = slice_string((char *) buffer);
	return true;
}

bool
text_is_valid(Slice text)
{
	return pg_verify_mbstr(PG_UTF8, (const char *) text.data, (int) text.len, true);
}

/* ASCII is the same in all encodings of the server. */
static bool
is_ascii(Slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (IS_HIGHBIT_SET(text.data[i]))
			return false;
	return true;
}

bool
text_convert_other(Slice input, Slice *result)
{
	if (is_ascii(input))
		return true;
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return text_is_valid(input);
	return convert_from_database(input, result);
}

Slice
text_identifier(const char *name)
{
	Slice result;
	StringInfoData out;

	if (text_convert(slice_string(name), &result))
		return result;
	initStringInfo(&out);
	for (const char *c = name; *c != '\0'; c++)
	{
		if (IS_HIGHBIT_SET(*c))
			appendStringInfoString(&out, "\xef\xbf\xbd");
		else
			appendStringInfoChar(&out, *c);
	}
	return slice_make(out.data, (size_t) out.len);
}
