/*
 * postgres_swap.c -- a target that was filled beside takes the place of what readers see.
 *
 * Not by another name: whatever refers to a table (grants, views, indexes, foreign keys, prepared statements)
 * refers to it, not to its name.  So its rows are made those of the new one, by a delete and an upsert in the
 * transaction that moves the checkpoint: readers see all of the old content or all of the new, and wait for
 * nobody.
 */
#include "sinks/postgres.h"

#include <stdio.h>

PGresult *
pg_tables(Sink *sink, Error *err)
{
	const char *const values[] = {sink->sink_name};

	return pg_query(sink,
					"SELECT table_name, relation FROM owner WHERE sink_id = $1"
					" AND to_regclass(quote_ident(table_name)) IS NOT NULL ORDER BY 1",
					1, values, "could not list the score tables", err);
}

void
pg_beside_name(const char *table, char name[PG_NAME_BYTES])
{
	/* score_ is the longer one: it always fits */
	snprintf(name, PG_NAME_BYTES, "fill_%s", table + strlen("score_"));
}

/* ---- columns -------------------------------------------------------------------------------------------- */

/* Ours alone: what somebody added to a table is neither written nor compared. */
static const char columns_sql[] =
	"SELECT string_agg(n, ', ' ORDER BY attnum), string_agg(n, ', ' ORDER BY attnum) FILTER (WHERE k),"
	" string_agg(n || ' = excluded.' || n, ', ' ORDER BY attnum) FILTER (WHERE NOT k),"
	" string_agg('f.' || n || ' = t.' || n, ' AND ' ORDER BY attnum) FILTER (WHERE k)"
	" FROM (SELECT quote_ident(a.attname) AS n, a.attnum, a.attnum = ANY (i.indkey) AS k"
	" FROM pg_attribute AS a JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary"
	" WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped"
	" AND (a.attnum = ANY (i.indkey) OR a.attname IN ('tier', 'pin', 'score', 'blocked', 'version', 'seq',"
	" 'commit_lsn', 'evaluated_at'))) AS c";

bool
pg_columns(Sink *sink, const char *table, PgColumns *columns, Error *err)
{
	Buffer *const parts[] = {&columns->all, &columns->keys, &columns->sets, &columns->same};
	const char *const values[] = {table};
	PGresult *result = pg_query(sink, columns_sql, 1, values, "could not look at a table's columns", err);

	if (result == NULL)
		return false;
	columns->found = !PQgetisnull(result, 0, 1);
	for (int i = 0; i < 4; i++)
	{
		buffer_reset(parts[i]);
		buffer_printf(parts[i], "%s", PQgetvalue(result, 0, i));
	}
	PQclear(result);
	return true;
}

void
pg_columns_free(PgColumns *columns)
{
	buffer_free(&columns->all);
	buffer_free(&columns->keys);
	buffer_free(&columns->sets);
	buffer_free(&columns->same);
}

/* ---- the step ----------------------------------------------------------------------------------------------- */

static void
replace_sql(const PgColumns *columns, const char *shown, const char *beside, Buffer *sql)
{
	buffer_printf(sql, "DELETE FROM %s AS t WHERE NOT EXISTS (SELECT FROM %s AS f WHERE %s);", shown, beside,
				  (const char *) columns->same.data);
	buffer_printf(sql, "INSERT INTO %s (%s) SELECT %s FROM %s", shown, (const char *) columns->all.data,
				  (const char *) columns->all.data, beside);
	buffer_printf(sql, " ON CONFLICT (%s) DO UPDATE SET %s;", (const char *) columns->keys.data,
				  (const char *) columns->sets.data);
	buffer_printf(sql, "DROP TABLE %s", beside);
}

/* No rows beside a table of ours: then it has none any more. */
static bool
swap_one(Sink *sink, const char *table, Error *err)
{
	PgColumns columns = {0};
	char name[PG_NAME_BYTES];
	Buffer shown = {0};
	Buffer beside = {0};
	Buffer sql = {0};
	bool ok;

	pg_beside_name(table, name);
	pg_put_identifier(sink, &shown, table);
	pg_put_identifier(sink, &beside, name);
	ok = pg_columns(sink, (const char *) beside.data, &columns, err);
	if (ok && columns.found)
		replace_sql(&columns, (const char *) shown.data, (const char *) beside.data, &sql);
	else
		buffer_printf(&sql, "DELETE FROM %s", (const char *) shown.data);
	ok = ok && pg_execute(sink, (const char *) sql.data, "could not put what was filled in its place", err);
	if (!ok && err->class == ERR_DATA)
	{
		/* a row that went into the target beside: what refuses it was put on the shown table by somebody */
		err->class = ERR_CONFIG;
		error_hint(err, "Take the constraint or trigger off the table, then restart.");
	}
	pg_columns_free(&columns);
	buffer_free(&shown);
	buffer_free(&beside);
	buffer_free(&sql);
	return ok || error_wrap(err, "table %s.%s", sink->schema, table);
}

bool
pg_swap(Sink *sink, Error *err)
{
	PGresult *tables = pg_tables(sink, err);
	bool ok = tables != NULL;

	for (int i = 0; ok && i < PQntuples(tables); i++)
		ok = swap_one(sink, PQgetvalue(tables, i, 0), err);
	PQclear(tables);
	return ok;
}

bool
pg_drop_beside(Sink *sink, Error *err)
{
	PGresult *tables = pg_tables(sink, err);
	bool ok = tables != NULL;

	for (int i = 0; ok && i < PQntuples(tables); i++)
	{
		char name[PG_NAME_BYTES];
		Buffer sql = {0};

		pg_beside_name(PQgetvalue(tables, i, 0), name);
		buffer_printf(&sql, "DROP TABLE IF EXISTS ");
		pg_put_identifier(sink, &sql, name);
		ok = pg_execute(sink, (const char *) sql.data, "could not drop an unfinished fill", err);
		buffer_free(&sql);
	}
	PQclear(tables);
	return ok;
}
