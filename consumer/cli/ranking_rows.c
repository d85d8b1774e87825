/*
 * ranking_rows.c -- see ranking_rows.h.
 */
#include "cli/ranking_rows.h"

#include <stdlib.h>

bool
ranking_rows_connect(const Cli *cli, PGconn **conn, Error *err)
{
	Buffer conninfo = {0};
	bool ok = cli_conninfo(cli, &conninfo, err) &&
			  source_connect((const char *) conninfo.data, SOURCE_SQL, conn, err);

	buffer_free(&conninfo);
	return ok;
}

/* ---- rows ------------------------------------------------------------------------------------- */

static bool
read_rankings(PGconn *conn, bool lock, RankingRows *rows, Error *err)
{
	static const char plain[] = "SELECT name, relation, definition, enabled, version FROM walrank.ranking "
								"ORDER BY name COLLATE pg_catalog.\"C\"";
	static const char locked[] = "SELECT name, relation, definition, enabled, version FROM walrank.ranking "
								 "ORDER BY name COLLATE pg_catalog.\"C\" FOR UPDATE";
	PGresult *res =
		source_query(conn, 5, err, "could not read walrank.ranking", lock ? locked : plain, 0, NULL);

	rows->results[0] = res;
	if (res == NULL)
		return false;
	rows->count = PQntuples(res);
	rows->list = xcalloc((size_t) rows->count + 1, sizeof(*rows->list));
	for (int i = 0; i < rows->count; i++)
		rows->list[i] = (RankingRow){.name = PQgetvalue(res, i, 0),
									 .relation = PQgetvalue(res, i, 1),
									 .definition = PQgetvalue(res, i, 2),
									 .enabled = PQgetvalue(res, i, 3)[0] == 't',
									 .version = atoi(PQgetvalue(res, i, 4))};
	return true;
}

static bool
read_libraries(PGconn *conn, bool lock, RankingRows *rows, Error *err)
{
	static const char plain[] = "SELECT name, definition FROM walrank.rule_library ORDER BY name COLLATE "
								"pg_catalog.\"C\"";
	static const char locked[] = "SELECT name, definition FROM walrank.rule_library ORDER BY name COLLATE "
								 "pg_catalog.\"C\" FOR UPDATE";
	PGresult *res =
		source_query(conn, 1, err, "could not look for libraries of rules",
					 "SELECT 1 WHERE pg_catalog.to_regclass('walrank.rule_library') IS NOT NULL", 0, NULL);

	rows->has_libraries = res != NULL && PQntuples(res) > 0;
	PQclear(res);
	if (res == NULL)
		return false;
	if (!rows->has_libraries)
		return true;
	res = source_query(conn, 2, err, "could not read walrank.rule_library", lock ? locked : plain, 0, NULL);
	rows->results[1] = res;
	if (res == NULL)
		return false;
	rows->nlibraries = PQntuples(res);
	rows->libraries = xcalloc((size_t) rows->nlibraries + 1, sizeof(*rows->libraries));
	for (int i = 0; i < rows->nlibraries; i++)
		rows->libraries[i] = (LibraryRow){.name = PQgetvalue(res, i, 0), .definition = PQgetvalue(res, i, 1)};
	return true;
}

bool
ranking_rows_read(PGconn *conn, bool lock, RankingRows *rows, Error *err)
{
	*rows = (RankingRows){0};
	if (read_libraries(conn, lock, rows, err) && read_rankings(conn, lock, rows, err))
		return true;
	ranking_rows_free(rows);
	return false;
}

void
ranking_rows_free(RankingRows *rows)
{
	free(rows->list);
	free(rows->libraries);
	PQclear(rows->results[0]);
	PQclear(rows->results[1]);
	*rows = (RankingRows){0};
}

const RankingRow *
ranking_rows_find(const RankingRows *rows, const char *name)
{
	for (int i = 0; i < rows->count; i++)
		if (strcmp(rows->list[i].name, name) == 0)
			return &rows->list[i];
	return NULL;
}

const LibraryRow *
library_rows_find(const RankingRows *rows, const char *name)
{
	for (int i = 0; i < rows->nlibraries; i++)
		if (strcmp(rows->libraries[i].name, name) == 0)
			return &rows->libraries[i];
	return NULL;
}

/* ---- statements ------------------------------------------------------------------------------- */

/* The server's or the network's trouble, and not what was asked for. */
static bool
is_passing(const char *state)
{
	static const char *const classes[] = {"08", "40", "53", "55P03", "57", "58", "XX"};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strncmp(state, classes[i], strlen(classes[i])) == 0)
			return true;
	return false;
}

bool
ranking_rows_execute(PGconn *conn, Error *err, const char *what, const char *sql, int nparams,
					 const char *const *params)
{
	PGresult *res = source_run(conn, sql, nparams, params);
	const char *state = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK;

	if (!ok)
		source_error(conn, res, err, what);
	if (!ok && state != NULL && !is_passing(state))
		err->class = ERR_CONFIG;
	PQclear(res);
	return ok;
}

/* ---- tables ----------------------------------------------------------------------------------- */

static bool
not_watched(PGconn *conn, const char *name, Error *err)
{
	PGresult *res = source_query(conn, 1, err, "could not read walrank.watched",
								 "SELECT pg_catalog.string_agg(relation, ', ' ORDER BY relation) FROM "
								 "walrank.watched",
								 0, NULL);

	if (res == NULL)
		return false;
	error_set(err, ERR_CONFIG, "table \"%.200s\" is not watched", name);
	if (PQntuples(res) > 0 && !PQgetisnull(res, 0, 0))
		error_hint(err, "These are: %.800s.", PQgetvalue(res, 0, 0));
	else
		error_hint(err, "None is; SELECT walrank.watch('schema.table') captures one.");
	PQclear(res);
	return false;
}

static bool
take_descriptor(RankedTable *table, const char *text, Error *err)
{
	size_t len;
	unsigned char *bytes = PQunescapeBytea((const unsigned char *) text, &len);
	WireEntry entry;
	bool ok;

	if (bytes == NULL)
		return error_set(err, ERR_RETRY, "out of memory");
	table->bytes = xmalloc(len + 1);
	memcpy(table->bytes, bytes, len);
	PQfreemem(bytes);
	ok = wire_entry(slice_make(table->bytes, len), &entry) && entry.kind == ENTRY_RELATION &&
		 wire_relation(entry.body, &table->relation);
	return ok || error_set(err, ERR_CONFIG,
						   "walrank.describe() gave what this version of walrank does not understand");
}

bool
ranked_table_read(PGconn *conn, const char *name, RankedTable *table, Error *err)
{
	static const char sql[] = "SELECT w.relation, coalesce(w.map, ''), "
							  "walrank.describe(w.relation::pg_catalog.regclass) FROM walrank.watched w "
							  "WHERE w.relation = $1 OR (pg_catalog.strpos($1, '.') = 0 AND "
							  "w.relation = 'public.' || $1)";
	const char *params[] = {name};
	PGresult *res = source_query(conn, 3, err, "could not describe the table", sql, 1, params);
	bool ok;

	*table = (RankedTable){0};
	if (res == NULL)
		return false;
	if (PQntuples(res) == 0)
	{
		PQclear(res);
		return not_watched(conn, name, err);
	}
	table->name = xstrdup(PQgetvalue(res, 0, 0));
	table->map = xstrdup(PQgetvalue(res, 0, 1));
	ok = take_descriptor(table, PQgetvalue(res, 0, 2), err);
	PQclear(res);
	if (!ok)
		ranked_table_free(table);
	return ok;
}

void
ranked_table_free(RankedTable *table)
{
	free(table->name);
	free(table->map);
	free(table->bytes);
	*table = (RankedTable){0};
}
