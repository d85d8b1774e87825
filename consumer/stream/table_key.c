/*
 * table_key.c -- see table_key.h.
 */
#include "stream/table_key.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/json.h"

#define BYTEA_OID 17
#define JSONB_OID 3802
#define KEY_COLUMNS_MAX 32 /* INDEX_MAX_KEYS, of pg_config_manual.h */

/* ---- what the catalog says ------------------------------------------------------------------ */

enum
{
	FIELD_NAME,
	FIELD_TYPE,
	FIELD_EQUAL,
	FIELD_AT_LEAST,
	FIELD_GREATER,
	FIELD_BASE,
	FIELD_PLACE,
	FIELD_COLLATION,
	FIELD_USABLE,
	FIELDS
};

static char *
field(PGresult *res, int row, int column)
{
	return xstrdup(PQgetvalue(res, row, column));
}

static void
take_column(TableKey *key, PGresult *res, int row)
{
	KeyColumn *column = &key->columns[row];

	*column = (KeyColumn){.name = field(res, row, FIELD_NAME),
						  .type = field(res, row, FIELD_TYPE),
						  .equal = field(res, row, FIELD_EQUAL),
						  .at_least = field(res, row, FIELD_AT_LEAST),
						  .greater = field(res, row, FIELD_GREATER),
						  .base_oid = (uint32_t) strtoul(PQgetvalue(res, row, FIELD_BASE), NULL, 10),
						  .place = atoi(PQgetvalue(res, row, FIELD_PLACE))};
	if (row > 0 && strcmp(column->greater, key->columns[0].greater) != 0)
		key->same_greater = false;
	if (PQgetvalue(res, row, FIELD_USABLE)[0] != 't')
		key->usable = false;
	for (int i = 0; i < FIELD_USABLE; i++)
		key->order = crc32c(key->order, PQgetvalue(res, row, i), strlen(PQgetvalue(res, row, i)) + 1);
}

bool
table_key_read(TableKey *key, PGconn *conn, uint32_t oid, Error *err)
{
	char text[16];
	const char *parameter = text;
	PGresult *res;

	*key = (TableKey){.same_greater = true, .usable = true};
	snprintf(text, sizeof(text), "%u", oid);
	res = source_query(
		conn, FIELDS, err, "could not look up the primary key",
		"WITH RECURSIVE base (oid, base) AS (SELECT t.oid, t.oid FROM pg_type t WHERE typbasetype = 0"
		"  UNION ALL SELECT t.oid, b.base FROM base b JOIN pg_type t ON t.typbasetype = b.oid)"
		" SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),"
		" o.names[1], o.names[2], o.names[3], b.base, rank() OVER (ORDER BY k.attnum) - 1,"
		" concat(k.coll, ' ', l.collversion),"
		" o.usable AND has_schema_privilege(t.typnamespace, 'USAGE')"
		" FROM pg_index i CROSS JOIN LATERAL"
		"  unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) WITH ORDINALITY"
		"  k(attnum, class, coll, n)"
		" JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
		" JOIN pg_opclass c ON c.oid = k.class JOIN base b ON b.oid = a.atttypid JOIN pg_type t ON t.oid = "
		"b.oid"
		" LEFT JOIN pg_collation l ON l.oid = k.coll"
		" CROSS JOIN LATERAL (SELECT array_agg(format('OPERATOR(%I.%s)', s.nspname, p.oprname)"
		"   ORDER BY w.amopstrategy), bool_and(has_schema_privilege(s.oid, 'USAGE')) FROM pg_amop w JOIN "
		"pg_operator p ON p.oid = w.amopopr"
		"   JOIN pg_namespace s ON s.oid = p.oprnamespace WHERE w.amopfamily = c.opcfamily"
		"   AND w.amoplefttype = c.opcintype AND w.amoprighttype = c.opcintype"
		"   AND w.amopstrategy IN (3, 4, 5)) o(names, usable)"
		" WHERE i.indrelid = $1::oid AND i.indisprimary AND k.n <= i.indnkeyatts ORDER BY k.n",
		1, &parameter);
	if (res == NULL)
		return false;
	key->ncolumns = PQntuples(res) <= KEY_COLUMNS_MAX ? PQntuples(res) : 0;
	key->columns = xcalloc((size_t) key->ncolumns + 1, sizeof(KeyColumn));
	for (int i = 0; i < key->ncolumns; i++)
		take_column(key, res, i);
	PQclear(res);
	return true;
}

void
table_key_free(TableKey *key)
{
	for (int i = 0; i < key->ncolumns; i++)
	{
		free(key->columns[i].name);
		free(key->columns[i].type);
		free(key->columns[i].equal);
		free(key->columns[i].at_least);
		free(key->columns[i].greater);
	}
	free(key->columns);
	*key = (TableKey){0};
}

/* ---- a value as an expression ---------------------------------------------------------------- */

static bool
put_literal(Buffer *sql, PGconn *conn, Slice text)
{
	char *literal = PQescapeLiteral(conn, (const char *) text.data, text.len);

	if (literal == NULL)
		return false; /* not of the client's encoding */
	buffer_append(sql, literal, strlen(literal));
	PQfreemem(literal);
	return true;
}

static void
put_hex(Buffer *text, Slice bytes)
{
	buffer_append(text, "\\x", 2);
	for (size_t i = 0; i < bytes.len; i++)
		buffer_printf(text, "%02x", bytes.data[i]);
}

/* Numbers as json_value() writes them; only NaN and the infinities come in quotes. */
static bool
put_number(Buffer *text, Slice body)
{
	if (!json_value(text, body))
		return false;
	if (text->len >= 2 && text->data[0] == '"')
	{
		text->len -= 2;
		memmove(text->data, text->data + 1, text->len);
	}
	return true;
}

/* Counted from the server's own epoch: no calendar of ours can differ from the server's. */
static bool
put_moment(Buffer *sql, const WireValue *value)
{
	bool date = value->kind == VALUE_DATE;
	int64_t least = date ? INT32_MIN : INT64_MIN;
	int64_t most = date ? INT32_MAX : INT64_MAX;

	if (value->integer == least || value->integer == most)
		buffer_printf(sql, "'%sinfinity'", value->integer == least ? "-" : "");
	else if (date)
		buffer_printf(sql,
					  "'2000-01-01'::pg_catalog.date OPERATOR(pg_catalog.+) '%" PRId64 "'::pg_catalog.int4",
					  value->integer);
	else
		buffer_printf(sql,
					  "'2000-01-01 00:00:00+00'::pg_catalog.%s OPERATOR(pg_catalog.+) '%" PRId64
					  " microseconds'::pg_catalog.interval",
					  value->kind == VALUE_TIMESTAMP ? "timestamp" : "timestamptz", value->integer);
	return true;
}

/* Text that the type's input function reads as the value. */
static bool
input_text(Buffer *text, const KeyColumn *column, Slice body, const WireValue *value)
{
	if (column->base_oid == JSONB_OID)
		return json_value(text, body);
	switch (value->kind)
	{
		case VALUE_TEXT:
			buffer_append_slice(text, value->bytes);
			return true;
		case VALUE_BOOL:
			buffer_append_byte(text, value->boolean ? 't' : 'f');
			return true;
		case VALUE_BYTES:
			/* else it is text that is none: the server itself could not send it */
			if (column->base_oid == BYTEA_OID)
				put_hex(text, value->bytes);
			return column->base_oid == BYTEA_OID;
		case VALUE_INT:
		case VALUE_DOUBLE:
		case VALUE_FLOAT:
		case VALUE_DECIMAL:
			return put_number(text, body);
		default:
			return false;
	}
}

static bool
put_value(Buffer *sql, PGconn *conn, const KeyColumn *column, Slice body)
{
	WireValue value;
	bool ok;

	if (!wire_value(body, &value))
		return false;
	buffer_printf(sql, "CAST(");
	if (value.kind == VALUE_DATE || value.kind == VALUE_TIMESTAMP || value.kind == VALUE_TIMESTAMPTZ)
		ok = put_moment(sql, &value);
	else
	{
		Buffer text = {0};

		ok = input_text(&text, column, body, &value) && put_literal(sql, conn, buffer_slice(&text));
		buffer_free(&text);
	}
	buffer_printf(sql, " AS %s)", column->type);
	return ok;
}

/* The value of a column among those of a key. */
static bool
put_column(const TableKey *key, int i, PGconn *conn, Slice values, Buffer *sql)
{
	WireCursor cursor = wire_cursor(values);
	Slice body = {0};

	for (int at = 0; at <= key->columns[i].place; at++)
		if (wire_done(&cursor) || !wire_value_next(&cursor, &body))
			return false;
	return put_value(sql, conn, &key->columns[i], body);
}

/* All of them, in the index's order. */
static bool
put_values(const TableKey *key, PGconn *conn, Slice values, Buffer *sql)
{
	for (int i = 0; i < key->ncolumns; i++)
	{
		if (i > 0)
			buffer_append(sql, ", ", 2);
		if (!put_column(key, i, conn, values, sql))
			return false;
	}
	return key->ncolumns > 0;
}

/* ---- conditions ----------------------------------------------------------------------------- */

void
table_key_order_by(const TableKey *key, Buffer *sql)
{
	for (int i = 0; i < key->ncolumns; i++)
		buffer_printf(sql, "%s t.%s", i == 0 ? " ORDER BY" : ",", key->columns[i].name);
}

/* "ROW(t.a, t.b) > ROW(..)": an index scan can begin right there. */
static bool
row_after(const TableKey *key, PGconn *conn, Slice values, Buffer *sql)
{
	buffer_printf(sql, "ROW(");
	for (int i = 0; i < key->ncolumns; i++)
		buffer_printf(sql, "%st.%s", i > 0 ? ", " : "", key->columns[i].name);
	buffer_printf(sql, ") %s ROW(", key->columns[0].greater);
	if (!put_values(key, conn, values, sql))
		return false;
	buffer_printf(sql, ")");
	return true;
}

static bool
put_compared(const TableKey *key, int i, const char *operator, PGconn * conn, Slice values, Buffer *sql)
{
	buffer_printf(sql, "t.%s %s ", key->columns[i].name, operator);
	return put_column(key, i, conn, values, sql);
}

/*
 * The same where the columns' operators differ: "a >= x AND (a > x OR (b > y))".  The first part is for
 * the index.
 */
static bool
nested_after(const TableKey *key, int i, PGconn *conn, Slice values, Buffer *sql)
{
	const KeyColumn *column = &key->columns[i];

	if (i == key->ncolumns - 1)
		return put_compared(key, i, column->greater, conn, values, sql);
	if (!put_compared(key, i, column->at_least, conn, values, sql))
		return false;
	buffer_printf(sql, " AND (");
	if (!put_compared(key, i, column->greater, conn, values, sql))
		return false;
	buffer_printf(sql, " OR (");
	if (!nested_after(key, i + 1, conn, values, sql))
		return false;
	buffer_printf(sql, "))");
	return true;
}

bool
table_key_after(const TableKey *key, PGconn *conn, Slice values, Buffer *sql)
{
	if (key->ncolumns == 0 || !key->usable)
		return false;
	return key->same_greater ? row_after(key, conn, values, sql) : nested_after(key, 0, conn, values, sql);
}

static void
put_aliases(const TableKey *key, Buffer *sql)
{
	buffer_printf(sql, "v(");
	for (int i = 0; i < key->ncolumns; i++)
		buffer_printf(sql, "%sv%d", i > 0 ? ", " : "", i);
	buffer_printf(sql, ")");
}

bool
table_key_among(const TableKey *key, PGconn *conn, Slice list, Buffer *sql)
{
	WireCursor cursor = wire_cursor(list);

	buffer_printf(sql, " JOIN (VALUES ");
	for (bool first = true; !wire_done(&cursor); first = false)
	{
		uint64_t len;

		if (!wire_varint(&cursor, &len) || len > (size_t) (cursor.end - cursor.at))
			return false;
		buffer_printf(sql, "%s(", first ? "" : ", ");
		if (!put_values(key, conn, slice_make(cursor.at, len), sql))
			return false;
		buffer_printf(sql, ")");
		cursor.at += len;
	}
	buffer_printf(sql, ") ");
	put_aliases(key, sql);
	for (int i = 0; i < key->ncolumns; i++)
		buffer_printf(sql, " %s t.%s %s v.v%d", i == 0 ? "ON" : "AND", key->columns[i].name,
					  key->columns[i].equal, i);
	return list.len > 0 && key->usable;
}
