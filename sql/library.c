/*
 * library.c -- see library.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "library.h"

static SPIPlanPtr
lookup_plan(LibrariesMode mode)
{
	static const char *const queries[] = {
		[LIBRARIES_READ] =
			"SELECT l.definition FROM walrank.rule_library l WHERE l.name OPERATOR(pg_catalog.=) $1",
		[LIBRARIES_LOCKED] =
			"SELECT l.definition FROM walrank.rule_library l WHERE l.name OPERATOR(pg_catalog.=) $1"
			" FOR SHARE OF l",
	};
	static SPIPlanPtr plans[lengthof(queries)];
	Oid types[] = {TEXTOID};

	if (plans[mode] == NULL)
	{
		SPIPlanPtr fresh = SPI_prepare(queries[mode], 1, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the look-up of a library");
		plans[mode] = fresh;
	}
	return plans[mode];
}

/* The text, in the given context. */
static bool
read_library(LibrariesMode mode, MemoryContext context, Slice name, Slice *text)
{
	Datum values[] = {PointerGetDatum(cstring_to_text_with_len((const char *) name.data, (int) name.len))};
	bool found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_plan(lookup_plan(mode), values, NULL, mode == LIBRARIES_READ, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.rule_library");
	found = SPI_processed > 0;
	if (found)
	{
		char *copy = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		copy = MemoryContextStrdup(context, copy);
		*text = slice_make(copy, strlen(copy));
	}
	SPI_finish();
	return found;
}

static bool
find(void *context, Slice name, Slice *text)
{
	Libraries *libraries = context;
	bool tried = libraries->tried != NULL && slice_equal(name, slice_string(libraries->tried));
	bool found;

	libraries->asked |= tried || libraries->tried_all;
	if (tried || libraries->tried_all)
	{
		*text = libraries->tried_text;
		found = tried && text->data != NULL;
	}
	else
		found = read_library(libraries->mode, libraries->context, name, text);
	if (!found)
		libraries->lacking = true;
	else if (libraries->count < RULES_LIBRARIES_MAX)
	{
		char *copy = MemoryContextAlloc(libraries->context, name.len + 1);

		memcpy(copy, name.data, name.len);
		libraries->names[libraries->count] = slice_make(copy, name.len);
		libraries->texts[libraries->count++] = *text;
	}
	return found;
}

RuleLibrary
libraries_begin(Libraries *libraries, LibrariesMode mode)
{
	libraries->mode = mode;
	libraries->context = CurrentMemoryContext;
	libraries->count = 0;
	libraries->lacking = false;
	libraries->asked = false;
	return (RuleLibrary){find, libraries};
}

bool
libraries_stand(const Libraries *libraries)
{
	for (int i = 0; i < libraries->count; i++)
	{
		Slice text;

		if (!read_library(LIBRARIES_READ, CurrentMemoryContext, libraries->names[i], &text) ||
			!slice_equal(text, libraries->texts[i]))
			return false;
	}
	return true;
}
