/*
 * postgres_places.c -- what the score tables show, row by row, with the checkpoint of the same snapshot.
 */
#include "sinks/postgres.h"

#include <stdlib.h>

#define FETCH_ROWS "1000"

/* What texts look like does not depend on the database's settings. */
static const char begin_sql[] =
	"SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
	" SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres';"
	" SET LOCAL extra_float_digits = 1";

/* {"id": 17} of the columns of the primary key, by their names in the source: key_ stands before those that clash. */
static const char key_sql[] =
	"SELECT string_agg(quote_literal(CASE WHEN a.attname ~ "
	"'^key_(ranking|tier|pin|score|blocked|version|seq|commit_lsn|"
	"evaluated_at)$' THEN substr(a.attname, 5) ELSE a.attname END) || ', t.' || quote_ident(a.attname), ', '"
	" ORDER BY a.attnum) FROM pg_attribute AS a JOIN pg_index AS i ON i.indrelid = a.attrelid AND "
	"i.indisprimary"
	" WHERE a.attrelid = to_regclass(quote_ident($1)) AND a.attnum = ANY (i.indkey) AND a.attname <> "
	"'ranking'";

static bool
open_cursor(Sink *sink, const char *table, Error *err)
{
	const char *const values[] = {table};
	PGresult *key = pg_query(sink, key_sql, 1, values, "could not look at a score table's key", err);
	Buffer sql = {0};
	bool ok;

	if (key == NULL)
		return false;
	buffer_printf(
		&sql,
		"DECLARE places NO SCROLL CURSOR FOR SELECT jsonb_build_object(%s), t.ranking, t.score, t.tier,"
		" coalesce(t.pin, 0), to_jsonb(t.evaluated_at) #>> '{}' FROM ",
		PQgetvalue(key, 0, 0));
	pg_put_identifier(sink, &sql, table);
	buffer_printf(&sql, " AS t");
	ok = pg_execute(sink, (const char *) sql.data, "could not read a score table", err);
	buffer_free(&sql);
	PQclear(key);
	return ok;
}

static Slice
text_at(const PGresult *result, int row, int column)
{
	return slice_make(PQgetvalue(result, row, column), (size_t) PQgetlength(result, row, column));
}

static bool
visit_rows(const PGresult *result, SinkPlaceVisit visit, void *context, Error *err)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		const SinkPlace place = {.key = text_at(result, row, 0),
								 .ranking = text_at(result, row, 1),
								 .score = strtod(PQgetvalue(result, row, 2), NULL),
								 .tier = (int32_t) strtol(PQgetvalue(result, row, 3), NULL, 10),
								 .pin = (int32_t) strtol(PQgetvalue(result, row, 4), NULL, 10),
								 .at = text_at(result, row, 5)};

		if (!visit(context, &place, err))
			return false;
	}
	return true;
}

static bool
visit_table(Sink *sink, const char *table, SinkPlaceVisit visit, void *context, Error *err)
{
	bool more = true;
	bool ok = open_cursor(sink, table, err);

	while (ok && more)
	{
		PGresult *result =
			pg_query(sink, "FETCH " FETCH_ROWS " FROM places", 0, NULL, "could not read a score table", err);

		ok = result != NULL && visit_rows(result, visit, context, err);
		more = ok && PQntuples(result) > 0;
		PQclear(result);
	}
	return ok && pg_execute(sink, "CLOSE places", "could not read a score table", err);
}

static bool
visit_all(Sink *sink, SinkPlaceVisit visit, void *context, Error *err)
{
	PGresult *tables = pg_tables(sink, err);
	bool ok = tables != NULL;

	for (int i = 0; ok && i < PQntuples(tables); i++)
		ok = visit_table(sink, PQgetvalue(tables, i, 0), visit, context, err) ||
			 error_wrap(err, "table %s.%s", sink->schema, PQgetvalue(tables, i, 0));
	PQclear(tables);
	return ok;
}

bool
pg_places(Sink *sink, SinkPlaceVisit visit, void *context, SinkPosition *position, Error *err)
{
	bool ok = pg_connect(sink, err) && pg_execute(sink, begin_sql, "could not begin", err) &&
			  pg_comparable(sink, position, err) && visit_all(sink, visit, context, err);

	pg_disconnect(sink);
	return ok;
}
