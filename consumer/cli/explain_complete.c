/*
 * explain_complete.c -- see explain_complete.h.
 */
#include "cli/explain_complete.h"

#include <stdio.h>

#include "cli/steering.h"

static json_t *
words(const char *text)
{
	return json_stringn(text, strlen(text));
}

/* ---- origins ---------------------------------------------------------------------------------------- */

static const char *
source_of(UnitKind unit)
{
	switch (unit)
	{
		case UNIT_TXN:
			return "stream";
		case UNIT_BACKFILL:
			return "read from the table";
		case UNIT_RESCORE:
			return "evaluated anew";
		case UNIT_TIMER:
			return "for the time";
		default:
			return unit_kind_name(unit);
	}
}

static void
set_origin(json_t *object, const Origin *origin)
{
	char lsn[32];

	snprintf(lsn, sizeof(lsn), LSN_FORMAT, LSN_ARGS(origin->lsn));
	json_object_set_new(object, "source", words(source_of(origin->unit)));
	json_object_set_new(object, "pos", words(origin->pos));
	json_object_set_new(object, "lsn", words(lsn));
	json_object_set_new(object, "committed", words(origin->time));
	if (origin->xid != 0)
		json_object_set_new(object, "xid", json_integer((json_int_t) origin->xid));
}

/* A value that no rule can use is as the feed wrote it. */
static void
set_value(json_t *attribute, const ItemOrigins *origins, const char *name)
{
	const char *value = json_string_value(json_object_get(attribute, "value"));
	Slice written = item_origin_value(origins, name);
	json_t *parsed;

	if (value == NULL || value[0] != '(' || written.len == 0)
		return;
	parsed = json_loadb((const char *) written.data, written.len, JSON_DECODE_ANY, NULL);
	if (parsed != NULL)
		json_object_set_new(attribute, "value", parsed);
}

static void
set_origins(json_t *ranking, const ItemOrigins *origins)
{
	json_t *attribute;
	size_t i;

	json_array_foreach(json_object_get(ranking, "attributes"), i, attribute)
	{
		const char *name = json_string_value(json_object_get(attribute, "name"));
		const Origin *origin = item_origin(origins, name);

		set_value(attribute, origins, name);
		if (origin != NULL)
			set_origin(attribute, origin);
		else if (!item_origins_complete(origins))
			json_object_set_new(attribute, "source", words("before what the feed holds"));
		else
			json_object_set_new(attribute, "source", words("the item never had it"));
	}
}

/* What each statement reads, from the ranking's list. */
static void
join_attributes(json_t *ranking)
{
	const json_t *all = json_object_get(ranking, "attributes");
	json_t *line;
	size_t i;

	json_array_foreach(json_object_get(ranking, "statements"), i, line)
	{
		json_t *own = json_array();
		const json_t *name;
		json_t *attribute;
		size_t j, k;

		json_array_foreach(json_object_get(line, "reads"), j, name)
			json_array_foreach(all, k, attribute) if (json_equal(json_object_get(attribute, "name"), name))
				json_array_append(own, attribute);
		json_object_set_new(line, "attributes", own);
		json_object_del(line, "reads");
	}
}

static void
set_told(json_t *ranking, const ItemOrigins *origins)
{
	const char *name = json_string_value(json_object_get(ranking, "ranking"));
	double score;
	bool shown;
	const Origin *origin = item_origin_told(origins, name, &shown, &score);
	json_t *told;

	if (origin == NULL)
		return;
	told = json_object();
	json_object_set_new(told, "shown", json_boolean(shown));
	if (shown)
		json_object_set_new(told, "score", json_real(score));
	set_origin(told, origin);
	json_object_set_new(ranking, "told", told);
}

/* ---- what SQL adds ---------------------------------------------------------------------------------- */

/* Who intervened and why. Without the right to look, nobody. */
static void
set_author(PGconn *conn, json_t *one)
{
	char id[32];
	const char *params[] = {id};
	Error ignored;
	PGresult *res;

	snprintf(id, sizeof(id), "%lld", (long long) json_number_value(json_object_get(one, "id")));
	res = steering_query(conn, &ignored, "SELECT author, reason FROM walrank.intervention WHERE id = $1", 1,
						 params);
	if (res != NULL && PQntuples(res) == 1)
	{
		json_object_set_new(one, "author", words(PQgetvalue(res, 0, 0)));
		json_object_set_new(one, "reason", words(PQgetvalue(res, 0, 1)));
	}
	PQclear(res);
}

static void
copy_members(json_t *to, const json_t *from, const char *const *names)
{
	for (; *names != NULL; names++)
		json_object_set(to, *names, json_object_get(from, *names));
}

/* Whether SQL, of the row as it is now, says something else than readers hold. */
static bool
differs(const json_t *ranking, const json_t *sql)
{
	const bool shown = json_is_true(json_object_get(ranking, "shown"));

	if (shown != json_is_true(json_object_get(sql, "shown")))
		return true;
	return shown && (json_number_value(json_object_get(ranking, "score")) !=
						 json_number_value(json_object_get(sql, "score")) ||
					 json_number_value(json_object_get(ranking, "tier")) !=
						 json_number_value(json_object_get(sql, "tier")) ||
					 json_number_value(json_object_get(ranking, "pin")) !=
						 json_number_value(json_object_get(sql, "pin")));
}

static void
set_sql(PGconn *conn, const char *key, json_t *ranking)
{
	static const char *const names[] = {"version", "at", "shown", "blocked", "score", "tier", "pin", NULL};
	const char *params[] = {json_string_value(json_object_get(ranking, "ranking")), key};
	Error ignored;
	PGresult *res = steering_query(conn, &ignored, "SELECT walrank.explain($1, $2::jsonb)", 2, params);
	json_t *theirs = res != NULL ? json_loads(PQgetvalue(res, 0, 0), 0, NULL) : NULL;
	json_t *sql;

	PQclear(res);
	if (theirs == NULL)
		return;
	sql = json_object();
	copy_members(sql, theirs, names);
	json_object_set_new(sql, "differs", json_boolean(differs(ranking, theirs)));
	json_object_set_new(ranking, "sql", sql);
	json_decref(theirs);
}

void
explain_complete(json_t *why, const ItemOrigins *origins, PGconn *conn, const char *key)
{
	json_t *ranking;
	json_t *one;
	size_t i, j;

	json_object_set_new(why, "source", words("daemon"));
	json_object_set_new(why, "key", json_loads(key, JSON_DECODE_ANY, NULL));
	json_array_foreach(json_object_get(why, "rankings"), i, ranking)
	{
		set_origins(ranking, origins);
		join_attributes(ranking);
		set_told(ranking, origins);
		if (conn == NULL)
			continue;
		json_array_foreach(json_object_get(ranking, "interventions"), j, one) set_author(conn, one);
		set_sql(conn, key, ranking);
	}
}
