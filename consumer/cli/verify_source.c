/*
 * verify_source.c -- see verify_source.h.
 */
#include "cli/verify_source.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/json.h"
#include "rules.h"

#define FETCH_ROWS "1000"

/* ---- the transaction ----------------------------------------------------------------------------------- */

/* Warnings say why an item has no score: thousands may have none. */
static const char begin_sql[] =
	"SET client_min_messages = error; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
	" SET enable_hashjoin = off; SET enable_mergejoin = off; SET timezone = 'UTC'; SET datestyle = 'ISO'; "
	"SET intervalstyle = 'postgres'; SET extra_float_digits = 1;"
	" BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

static const char moment_sql[] =
	"SELECT pg_current_wal_insert_lsn(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

static bool
begin(VerifySource *source, Error *err)
{
	PGresult *result = PQexec(source->conn, begin_sql);
	bool ok = PQresultStatus(result) == PGRES_COMMAND_OK ||
			  source_error(source->conn, result, err, "could not begin to read the source");

	PQclear(result);
	if (!ok)
		return false;
	result = source_query(source->conn, 2, err, "could not read the source's position", moment_sql, 0, NULL);
	if (result == NULL)
		return false;
	ok = lsn_parse(PQgetvalue(result, 0, 0), &source->lsn);
	source->at_us = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	PQclear(result);
	return ok || error_set(err, ERR_RETRY, "the server's position is not one");
}

bool
verify_source_open(const char *conninfo, VerifySource *source, Error *err)
{
	*source = (VerifySource){.arena = arena_create(64 * 1024)};
	return source_connect(conninfo, SOURCE_SQL, &source->conn, err) && begin(source, err);
}

void
verify_source_at(VerifySource *source, int64_t at_us)
{
	Buffer text = {0};

	source->at_us = at_us;
	json_time(&text, at_us);
	snprintf(source->at, sizeof(source->at), "%.*s", (int) text.len - 2, (const char *) text.data + 1);
	buffer_free(&text);
}

void
verify_source_close(VerifySource *source)
{
	PQclear(source->libraries);
	PQfinish(source->conn);
	arena_destroy(source->arena);
	free(source->rankings);
	*source = (VerifySource){0};
}

/* ---- rankings ------------------------------------------------------------------------------------------ */

/*
 * The table as SQL names it, its key in pieces of SQL, and whether the publications leave out some of it: what a stream does
 * not have is not to be seen in the row either.
 */
static const char rankings_sql[] =
	"SELECT r.name, r.definition, coalesce(c.oid::regclass::text, r.relation), c.relkind = 'p', k.object, "
	"k.same, EXISTS"
	" (SELECT FROM pg_publication_rel AS p JOIN pg_publication AS b ON b.oid = p.prpubid WHERE"
	" b.pubname = ANY (string_to_array(replace($1, ' ', ''), ',')) AND"
	" (to_jsonb(p) ->> 'prqual' IS NOT NULL OR to_jsonb(p) ->> 'prattrs' IS NOT NULL) AND"
	" (p.prrelid IN (SELECT pg_partition_ancestors(c.oid)) OR p.prrelid IN (SELECT relid FROM "
	"pg_partition_tree(c.oid))"
	" OR p.prrelid = c.oid))"
	" FROM walrank.ranking AS r JOIN walrank.watched AS w ON w.relation = r.relation"
	" LEFT JOIN pg_class AS c ON c.oid = to_regclass(r.relation)"
	" LEFT JOIN LATERAL (SELECT string_agg(quote_literal(a.attname) || ', t.' || quote_ident(a.attname), ', '"
	" ORDER BY a.attnum) AS object, string_agg('t.' || n || ' = k.' || n, ' AND ') AS same"
	" FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey),"
	" quote_ident(a.attname) AS n WHERE i.indrelid = c.oid AND i.indisprimary) AS k ON true"
	" WHERE r.enabled ORDER BY 1";

static void *
allocate(void *context, size_t bytes)
{
	return arena_alloc(context, bytes);
}

static Slice
text_at(const PGresult *result, int row, int column)
{
	return slice_make(PQgetvalue(result, row, column), (size_t) PQgetlength(result, row, column));
}

static bool
find_library(void *context, Slice name, Slice *text)
{
	const VerifySource *source = context;

	for (int row = 0; row < PQntuples(source->libraries); row++)
		if (slice_equal(text_at(source->libraries, row, 0), name))
		{
			*text = text_at(source->libraries, row, 1);
			return true;
		}
	return false;
}

static void
read_definition(VerifySource *source, VerifyRanking *ranking, Slice text)
{
	const RuleLibrary library = {find_library, source};
	Arena *arena = arena_create(64 * 1024);
	const RuleMemory memory = {allocate, arena};
	RuleError error = {0};
	const RuleProgram *program =
		rules_compile_with((const char *) text.data, text.len, &library, &memory, &error);

	if (program == NULL)
		snprintf(ranking->why, sizeof(ranking->why), "its definition does not compile here: %s",
				 error.message);
	else if (rules_use_previous(program))
		snprintf(ranking->why, sizeof(ranking->why),
				 "it asks what attributes were before, which a row does not tell");
	if (program != NULL)
	{
		ranking->min_change = rules_min_change(program);
		ranking->drifts = rules_drifts(program);
	}
	arena_destroy(arena);
}

static bool
is_listed(const char *list, const char *name)
{
	const size_t len = strlen(name);

	for (const char *at = list; at != NULL && (at = strstr(at, name)) != NULL; at += len)
		if ((at == list || at[-1] == ' ' || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
			return true;
	return false;
}

static char *
copy_text(VerifySource *source, const PGresult *result, int row, int column)
{
	return arena_string(source->arena, slice_make(PQgetvalue(result, row, column),
												  (size_t) PQgetlength(result, row, column)));
}

/* Printed, in the arena. */
static char *print(VerifySource *source, const char *format, ...) __attribute__((format(printf, 2, 3)));

static char *
print(VerifySource *source, const char *format, ...)
{
	char text[16384];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return arena_string(source->arena, slice_string(text));
}

static void
take_ranking(VerifySource *source, const PGresult *result, int row, const char *broken)
{
	VerifyRanking *ranking = &source->rankings[source->nrankings++];
	const bool partitioned = PQgetvalue(result, row, 3)[0] == 't';

	*ranking = (VerifyRanking){.name = copy_text(source, result, row, 0),
							   .relation = copy_text(source, result, row, 2)};
	ranking->from = print(source, "%s%s AS t", partitioned ? "" : "ONLY ", ranking->relation);
	ranking->key = print(source, "jsonb_build_object(%s)::text", PQgetvalue(result, row, 4));
	ranking->same_key = copy_text(source, result, row, 5);
	read_definition(source, ranking, text_at(result, row, 1));
	if (PQgetisnull(result, row, 3))
		snprintf(ranking->why, sizeof(ranking->why), "there is no table %.120s", ranking->relation);
	else if (PQgetisnull(result, row, 4))
		snprintf(ranking->why, sizeof(ranking->why), "%.120s has no primary key", ranking->relation);
	else if (PQgetvalue(result, row, 6)[0] == 't')
		snprintf(ranking->why, sizeof(ranking->why), "the publications leave out rows or columns of %.120s",
				 ranking->relation);
	else if (is_listed(broken, ranking->name))
		snprintf(ranking->why, sizeof(ranking->why), "the daemon cannot use its newest definition");
	source->drifts |= ranking->why[0] == '\0' && ranking->drifts;
}

bool
verify_source_rankings(VerifySource *source, const char *publications, const char *broken, Error *err)
{
	const char *const values[] = {publications};
	PGresult *result;

	source->libraries = source_query(source->conn, 2, err, "could not read the libraries of rules",
									 "SELECT name, definition FROM walrank.rule_library", 0, NULL);
	if (source->libraries == NULL)
		return false;
	result = source_query(source->conn, 7, err, "could not read the rankings", rankings_sql, 1, values);

	if (result == NULL)
		return false;
	source->rankings = xcalloc((size_t) PQntuples(result) + 1, sizeof(VerifyRanking));
	for (int row = 0; row < PQntuples(result); row++)
		take_ranking(source, result, row, broken);
	PQclear(result);
	return true;
}

VerifyRanking *
verify_source_ranking(const VerifySource *source, Slice name)
{
	for (int i = 0; i < source->nrankings; i++)
		if (slice_equal(slice_string(source->rankings[i].name), name))
			return &source->rankings[i];
	return NULL;
}

/* ---- places -------------------------------------------------------------------------------------------- */

/* The key comes back as the table's own types write it: two spellings of a time are one key. */
static void
put_question(const VerifyRanking *ranking, Buffer *sql)
{
	buffer_printf(sql,
				  "SELECT u.n, coalesce(s.shown, false), s.score, s.tier, coalesce(s.pin, 0), %s"
				  " FROM jsonb_to_recordset($2::jsonb) AS u(n int, key jsonb, at timestamptz)"
				  " CROSS JOIN LATERAL jsonb_populate_record(NULL::%s, u.key) AS k"
				  " LEFT JOIN %s ON %s LEFT JOIN LATERAL walrank.standing($1, t, greatest(u.at, "
				  "$3::timestamptz)) AS s ON true",
				  ranking->key, ranking->relation, ranking->from, ranking->same_key);
}

/* True: the sink's score is what SQL says, as far as the ranking tells at all. */
static bool
is_near(const VerifyRanking *ranking, const VerifyPlace *place)
{
	const RuleResult told = {.outcome = RULE_SCORE, .score = place->score};
	const RuleResult expected = {.outcome = RULE_SCORE, .score = place->expected};

	return !rules_differ(&told, &expected, ranking->min_change);
}

bool
verify_place_agrees(const VerifyRanking *ranking, const VerifyPlace *place)
{
	return place->shown && place->tier == place->expected_tier && place->pin == place->expected_pin &&
		   is_near(ranking, place);
}

static void
put_place(Buffer *out, const VerifyPlace *place, int n)
{
	buffer_printf(out, "%s{\"n\":%d,\"at\":", out->len > 1 ? "," : "", n);
	json_string(out, place->at);
	buffer_printf(out, ",\"key\":");
	buffer_append_slice(out, place->key);
	buffer_append_byte(out, '}');
}

static void
take_answer(const PGresult *result, int row, VerifyPlace *place, bool score_alone)
{
	place->expected = strtod(PQgetvalue(result, row, 2), NULL);
	if (score_alone)
		return;
	place->shown = PQgetvalue(result, row, 1)[0] == 't';
	place->expected_tier = (int32_t) strtol(PQgetvalue(result, row, 3), NULL, 10);
	place->expected_pin = (int32_t) strtol(PQgetvalue(result, row, 4), NULL, 10);
	place->key_hash = XXH3_64bits(PQgetvalue(result, row, 5), (size_t) PQgetlength(result, row, 5));
}

/* score_alone: only of places that are shown and whose score is off, each as of when the sink was told. */
static bool
ask(VerifySource *source, const VerifyRanking *ranking, VerifyPlace *places, int n, bool score_alone,
	Error *err)
{
	Buffer sql = {0};
	Buffer asked = {0};
	PGresult *result = NULL;
	bool ok = true;

	buffer_append_byte(&asked, '[');
	for (int i = 0; i < n; i++)
		if (!score_alone || (places[i].shown && !is_near(ranking, &places[i])))
			put_place(&asked, &places[i], i);
	if (asked.len > 1)
	{
		buffer_append_slice(&asked, slice_make("]", 2)); /* and its end */
		put_question(ranking, &sql);
		result = source_query(source->conn, 6, err, "could not compute places", (const char *) sql.data, 3,
							  (const char *const[]){ranking->name, (const char *) asked.data,
													score_alone ? "-infinity" : source->at});
		ok = result != NULL;
	}
	for (int row = 0; ok && row < PQntuples(result); row++)
	{
		const int i = (int) strtol(PQgetvalue(result, row, 0), NULL, 10);

		if (i >= 0 && i < n)
			take_answer(result, row, &places[i], score_alone);
	}
	PQclear(result);
	buffer_free(&asked);
	buffer_free(&sql);
	return ok || error_wrap(err, "ranking \"%s\"", ranking->name);
}

bool
verify_source_ask(VerifySource *source, const VerifyRanking *ranking, VerifyPlace *places, int n, Error *err)
{
	return ask(source, ranking, places, n, false, err) &&
		   (!ranking->drifts || ask(source, ranking, places, n, true, err));
}

/* ---- all that SQL shows ---------------------------------------------------------------------------------- */

static void
put_shown(const VerifyRanking *ranking, const char *what, Buffer *sql)
{
	buffer_printf(sql,
				  "SELECT %s FROM %s, LATERAL walrank.standing($1, t, $2::timestamptz) AS s WHERE s.shown",
				  what, ranking->from);
}

bool
verify_source_count(VerifySource *source, VerifyRanking *ranking, Error *err)
{
	const char *const values[] = {ranking->name, source->at};
	Buffer sql = {0};
	PGresult *result;

	put_shown(ranking, "count(*)", &sql);
	result = source_query(source->conn, 1, err, "could not count places", (const char *) sql.data, 2, values);
	buffer_free(&sql);
	if (result == NULL)
		return error_wrap(err, "ranking \"%s\"", ranking->name);
	ranking->shown = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
	PQclear(result);
	return true;
}

static bool
visit_keys(const PGresult *result, VerifyRanking *ranking, VerifyKey visit, void *context, Error *err)
{
	for (int row = 0; row < PQntuples(result); row++)
	{
		const Slice key = slice_make(PQgetvalue(result, row, 0), (size_t) PQgetlength(result, row, 0));

		if (!visit(context, ranking, key, XXH3_64bits(key.data, key.len), err))
			return false;
	}
	return true;
}

bool
verify_source_keys(VerifySource *source, VerifyRanking *ranking, VerifyKey visit, void *context, Error *err)
{
	const char *const values[] = {ranking->name, source->at};
	static const char fetch[] = "FETCH " FETCH_ROWS " FROM keys";
	Buffer sql = {0};
	bool more = true;
	bool ok;

	buffer_printf(&sql, "DECLARE keys NO SCROLL CURSOR FOR ");
	put_shown(ranking, ranking->key, &sql);
	ok = source_execute(source->conn, err, "could not list places", (const char *) sql.data, 2, values);
	buffer_free(&sql);
	while (ok && more)
	{
		PGresult *result = source_query(source->conn, 1, err, "could not list places", fetch, 0, NULL);

		ok = result != NULL && visit_keys(result, ranking, visit, context, err);
		more = ok && PQntuples(result) > 0;
		PQclear(result);
	}
	ok = ok && source_execute(source->conn, err, "could not list places", "CLOSE keys", 0, NULL);
	return ok || error_wrap(err, "ranking \"%s\"", ranking->name);
}
