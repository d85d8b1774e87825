/*
 * publications.c -- see publications.h.
 */
#include "stream/publications.h"

#include <stdio.h>

#include "base/log.h"

#define NAMED_MAX 20	/* tables in a line of the log */
#define TABLES_MAX 1000 /* in a GAP; of more, all tables are in doubt */

/* A list of names as SplitIdentifierString() reads them: rows n(name). */
#define NAMES(list)                                                                                          \
	"(SELECT CASE WHEN t ~ '^\".*\"$' THEN replace(substr(t, 2, length(t) - 2), '\"\"', '\"')"               \
	"  ELSE lower(t) END AS name FROM (SELECT btrim(u) AS t FROM unnest(string_to_array(" list               \
	", ',')) u) l) n"

bool
publications_check(PGconn *sql, const SourceSettings *settings, Error *err)
{
	/* partitioned tables are not watched; what configures us has to arrive whole */
	static const char query[] =
		"SELECT n.name, CASE WHEN p.oid IS NULL AND NOT $2::boolean THEN 'does not exist'"
		" WHEN p.pubviaroot THEN 'publishes partitions under their root table'"
		" WHEN EXISTS (SELECT FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_class c ON c.oid = "
		"r.prrelid JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace WHERE r.prpubid = p.oid"
		"  AND s.nspname = 'walrank' AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL))"
		"  THEN 'has a row filter or a column list for a table of schema walrank' END AS why"
		" FROM " NAMES(
			"$1") " LEFT JOIN pg_catalog.pg_publication p ON p.pubname::text = n.name ORDER BY why "
				  "LIMIT 1";
	const char *params[] = {settings->publications, settings->missing_ok ? "on" : "off"};
	PGresult *res = source_query(sql, 2, err, "could not look up the publications", query, 2, params);
	bool ok;

	if (res == NULL)
		return false;
	ok = PQntuples(res) == 0 || PQgetisnull(res, 0, 1);
	if (!ok)
	{
		error_set(err, ERR_RETRY, "rule C7: publication \"%s\" %s", PQgetvalue(res, 0, 0),
				  PQgetvalue(res, 0, 1));
		error_hint(err,
				   strcmp(PQgetvalue(res, 0, 1), "does not exist") == 0
					   ? "Create it again with its tables. The tables are then read again. Or set "
						 "source.missing_ok."
					   : "Use ALTER PUBLICATION to set walrank's tables without WHERE and column lists, and "
						 "publish_via_partition_root = false.");
	}
	PQclear(res);
	return ok;
}

bool
publications_array(PGconn *sql, const char *list, const char *relation, Buffer *out, Error *err)
{
	char *literal = PQescapeLiteral(sql, list, strlen(list));
	char *table = PQescapeLiteral(sql, relation, strlen(relation));
	bool ok = literal != NULL && table != NULL;

	if (ok)
		buffer_printf(
			out,
			"(SELECT array_agg(n.name) FROM " NAMES(
				"%s") " WHERE EXISTS (SELECT FROM "
					  "pg_catalog.pg_publication_tables AS p, pg_catalog.pg_class AS c, "
					  "pg_catalog.pg_namespace AS s "
					  "WHERE p.pubname = n.name AND p.tablename = c.relname AND p.schemaname = s.nspname AND "
					  "s.oid = c.relnamespace AND c.oid = %s::pg_catalog.regclass))",
			literal, table);
	else
		error_set(err, ERR_RETRY, "could not write the publications in SQL: %s", PQerrorMessage(sql));
	PQfreemem(literal);
	PQfreemem(table);
	return ok;
}

static void
say_tables(const PGresult *res, const char *added, const char *what)
{
	Buffer names = {0};
	int n = 0;

	for (int i = 0; i < PQntuples(res); i++)
	{
		if (strcmp(PQgetvalue(res, i, 2), added) != 0)
			continue;
		if (n++ < NAMED_MAX)
			buffer_printf(&names, "%s%s", n > 1 ? ", " : "", PQgetvalue(res, i, 1));
	}
	if (n > NAMED_MAX)
		buffer_printf(&names, " and %d more", n - NAMED_MAX);
	if (n > 0)
		log_line(LOG_WARNING, "%s: %.*s", what, (int) names.len, (const char *) names.data);
	buffer_free(&names);
}

static void
put_gap(const PGresult *res, const char *now, Buffer *gap)
{
	int n = 0;

	for (int i = 0; i < PQntuples(res); i++)
		n += PQgetvalue(res, i, 2)[0] == 't';
	if (n == 0)
		return;
	buffer_printf(gap, "tables newly published by %s", now);
	for (int i = 0; n <= TABLES_MAX && i < PQntuples(res); i++)
		if (PQgetvalue(res, i, 2)[0] == 't')
			buffer_printf(gap, "\ntable %s %s", PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
}

#define TABLES(list)                                                                                         \
	"(SELECT DISTINCT c.oid, format('%I.%I', t.schemaname, t.tablename) AS name FROM " NAMES(                \
		list) " JOIN pg_catalog.pg_publication_tables t ON t.pubname::text = n.name"                         \
			  " JOIN pg_catalog.pg_namespace s ON s.nspname = t.schemaname"                                  \
			  " JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = t.tablename)"

bool
publications_compare(PGconn *sql, const char *before, const char *now, Buffer *gap, Error *err)
{
	static const char query[] =
		"SELECT coalesce(b.oid, a.oid), coalesce(b.name, a.name), a.oid IS NULL FROM " TABLES(
			"$1") " a FULL JOIN " TABLES("$2") " b ON a.oid = b.oid WHERE a.oid IS NULL OR b.oid IS NULL "
											   "ORDER BY 2";
	const char *params[] = {before, now};
	PGresult *res;

	if (strcmp(before, now) == 0)
		return true;
	res = source_query(sql, 3, err, "could not compare the publications", query, 2, params);
	if (res == NULL)
		return false;
	say_tables(res, "f",
			   "no publication followed brings these tables any more, their items stay as they are");
	say_tables(res, "t", "newly published, read again where they are watched");
	put_gap(res, now, gap);
	PQclear(res);
	return true;
}
