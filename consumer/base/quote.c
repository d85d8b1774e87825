/*
 * quote.c -- see quote.h.
 */
#include "base/quote.h"

#include <stdlib.h>

/* Every keyword of PostgreSQL 15 that is not UNRESERVED_KEYWORD in its kwlist.h, sorted. */
static const char *const keywords[] = {"all",
									   "analyse",
									   "analyze",
									   "and",
									   "any",
									   "array",
									   "as",
									   "asc",
									   "asymmetric",
									   "authorization",
									   "between",
									   "bigint",
									   "binary",
									   "bit",
									   "boolean",
									   "both",
									   "case",
									   "cast",
									   "char",
									   "character",
									   "check",
									   "coalesce",
									   "collate",
									   "collation",
									   "column",
									   "concurrently",
									   "constraint",
									   "create",
									   "cross",
									   "current_catalog",
									   "current_date",
									   "current_role",
									   "current_schema",
									   "current_time",
									   "current_timestamp",
									   "current_user",
									   "dec",
									   "decimal",
									   "default",
									   "deferrable",
									   "desc",
									   "distinct",
									   "do",
									   "else",
									   "end",
									   "except",
									   "exists",
									   "extract",
									   "false",
									   "fetch",
									   "float",
									   "for",
									   "foreign",
									   "freeze",
									   "from",
									   "full",
									   "grant",
									   "greatest",
									   "group",
									   "grouping",
									   "having",
									   "ilike",
									   "in",
									   "initially",
									   "inner",
									   "inout",
									   "int",
									   "integer",
									   "intersect",
									   "interval",
									   "into",
									   "is",
									   "isnull",
									   "join",
									   "lateral",
									   "leading",
									   "least",
									   "left",
									   "like",
									   "limit",
									   "localtime",
									   "localtimestamp",
									   "national",
									   "natural",
									   "nchar",
									   "none",
									   "normalize",
									   "not",
									   "notnull",
									   "null",
									   "nullif",
									   "numeric",
									   "offset",
									   "on",
									   "only",
									   "or",
									   "order",
									   "out",
									   "outer",
									   "overlaps",
									   "overlay",
									   "placing",
									   "position",
									   "precision",
									   "primary",
									   "real",
									   "references",
									   "returning",
									   "right",
									   "row",
									   "select",
									   "session_user",
									   "setof",
									   "similar",
									   "smallint",
									   "some",
									   "substring",
									   "symmetric",
									   "table",
									   "tablesample",
									   "then",
									   "time",
									   "timestamp",
									   "to",
									   "trailing",
									   "treat",
									   "trim",
									   "true",
									   "union",
									   "unique",
									   "user",
									   "using",
									   "values",
									   "varchar",
									   "variadic",
									   "verbose",
									   "when",
									   "where",
									   "window",
									   "with",
									   "xmlattributes",
									   "xmlconcat",
									   "xmlelement",
									   "xmlexists",
									   "xmlforest",
									   "xmlnamespaces",
									   "xmlparse",
									   "xmlpi",
									   "xmlroot",
									   "xmlserialize",
									   "xmltable"};

static int
compare(const void *a, const void *b)
{
	return strcmp(a, *(const char *const *) b);
}

static bool
safe(const char *name)
{
	if (!(name[0] >= 'a' && name[0] <= 'z') && name[0] != '_')
		return false;
	for (const char *c = name; *c != '\0'; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9') && *c != '_')
			return false;
	return bsearch(name, keywords, sizeof(keywords) / sizeof(keywords[0]), sizeof(keywords[0]), compare) ==
		   NULL;
}

void
quote_identifier(Buffer *out, const char *name)
{
	if (safe(name))
	{
		buffer_append(out, name, strlen(name));
		return;
	}
	buffer_append_byte(out, '"');
	for (const char *c = name; *c != '\0'; c++)
	{
		if (*c == '"')
			buffer_append_byte(out, '"');
		buffer_append_byte(out, (uint8_t) *c);
	}
	buffer_append_byte(out, '"');
}

static void
quote_slice(Buffer *out, Slice name)
{
	char *terminated = xmalloc(name.len + 1);

	memcpy(terminated, name.data, name.len);
	terminated[name.len] = '\0';
	quote_identifier(out, terminated);
	free(terminated);
}

void
quote_table(char *out, size_t size, Slice schema, Slice table)
{
	Buffer text = {0};
	size_t len;

	quote_slice(&text, schema);
	buffer_append_byte(&text, '.');
	quote_slice(&text, table);
	len = text.len < size ? text.len : size - 1;
	memcpy(out, text.data, len);
	out[len] = '\0';
	buffer_free(&text);
}
