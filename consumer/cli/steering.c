/*
 * steering.c -- see steering.h.
 */
#include "cli/steering.h"

#include <jansson.h>

bool
steering_connect(const Cli *cli, PGconn **conn, Error *err)
{
	Buffer conninfo = {0};
	bool ok =
		cli_conninfo(cli, &conninfo, err) && source_connect((char *) conninfo.data, SOURCE_SQL, conn, err);

	buffer_free(&conninfo);
	return ok && steering_execute(*conn, err, "SET TimeZone = 'UTC'");
}

static bool
refuse(PGconn *conn, const PGresult *res, Error *err)
{
	const char *primary = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *hint = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
	Error theirs;

	source_error(conn, res, &theirs, "the server");
	if (primary == NULL || PQstatus(conn) != CONNECTION_OK)
	{
		*err = theirs;
		return false;
	}
	error_set(err, ERR_CONFIG, "%s", primary);
	if (hint == NULL)
		hint = theirs.hint;
	return hint[0] != '\0' ? error_hint(err, "%s", hint) : false;
}

PGresult *
steering_query(PGconn *conn, Error *err, const char *sql, int nparams, const char *const *params)
{
	PGresult *res = source_run(conn, sql, nparams, params);

	if (PQresultStatus(res) == PGRES_TUPLES_OK)
		return res;
	refuse(conn, res, err);
	PQclear(res);
	return NULL;
}

bool
steering_execute(PGconn *conn, Error *err, const char *sql)
{
	PGresult *res = source_run(conn, sql, 0, NULL);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK || refuse(conn, res, err);

	PQclear(res);
	return ok;
}

/* One that is called so in full, else those that are without their schema. */
static const char relation_query[] =
	"SELECT w.relation FROM walrank.watched w WHERE w.relation = $1 OR (parse_ident(w.relation))[2] = $1"
	" ORDER BY (w.relation = $1) DESC, w.relation";

static bool
no_relation(PGconn *conn, const char *word, Error *err)
{
	PGresult *all = steering_query(
		conn, err, "SELECT string_agg(w.relation, ', ' ORDER BY w.relation) FROM walrank.watched w", 0, NULL);

	if (all == NULL)
		return false;
	error_set(err, ERR_CONFIG, "no watched table is called \"%s\"", word);
	if (PQgetisnull(all, 0, 0))
		error_hint(err, "No table is watched yet: SELECT walrank.watch('%s');", word);
	else
		error_hint(err, "Watched are: %.200s.", PQgetvalue(all, 0, 0));
	PQclear(all);
	return false;
}

bool
steering_relation(PGconn *conn, const char *word, char **relation, Error *err)
{
	const char *params[] = {word};
	PGresult *found = steering_query(conn, err, relation_query, 1, params);
	int n = found != NULL ? PQntuples(found) : -1;
	bool ok = n == 1 || (n > 1 && strcmp(PQgetvalue(found, 0, 0), word) == 0);

	if (ok)
		*relation = xstrdup(PQgetvalue(found, 0, 0));
	else if (n == 0)
		no_relation(conn, word, err);
	else if (n > 1)
	{
		error_set(err, ERR_CONFIG, "several watched tables are called \"%s\"", word);
		error_hint(err, "Name one with its schema: %s or %s.", PQgetvalue(found, 0, 0),
				   PQgetvalue(found, 1, 0));
	}
	PQclear(found);
	return ok;
}

char *
steering_key(const char *word)
{
	json_t *value = json_loads(word, JSON_DECODE_ANY, NULL);
	char *key = value != NULL ? xstrdup(word) : NULL; /* as written: every digit counts */

	if (value == NULL)
	{
		value = json_stringn(word, strlen(word)); /* NULL: not UTF-8 */
		key = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
	}
	json_decref(value);
	return key;
}
