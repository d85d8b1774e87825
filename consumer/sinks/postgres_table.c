/*
 * postgres_table.c -- the score tables of sink "postgres", and the statements that fill them.
 */
#include "sinks/postgres.h"

#include <stdio.h>
#include <stdlib.h>

/* Statement names of the i-th target. */
void
pg_statement_name(const Sink *sink, const PgTarget *target, const char *verb, char name[48])
{
	int i = 0;

	while (sink->batch.targets[i] != target)
		i++;
	snprintf(name, 48, "walrank_%s_%d", verb, i);
}

static void
put_key_list(Sink *sink, Buffer *sql, const PgTarget *target)
{
	for (int i = 0; i < target->nkeys; i++)
	{
		pg_put_identifier(sink, sql, target->keys[i].column);
		buffer_printf(sql, ", ");
	}
}

static void
put_table(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, "walrank_out.");
	pg_put_identifier(sink, sql, target->table);
}

static void
put_comment(Buffer *text, const PgTarget *target)
{
	buffer_reset(text);
	buffer_printf(text, "walrank: scores of %s", target->qualified);
	buffer_append_byte(text, '\0');
}

/* Whether a table of that name exists, and is ours for this relation. */
static bool
find_table(Sink *sink, const PgTarget *target, bool *exists, bool *ours, Error *err)
{
	const char *const values[] = {target->table};
	Buffer comment = {0};
	PGresult *result =
		pg_query(sink,
				 "SELECT pg_catalog.obj_description(oid, 'pg_class') FROM pg_catalog.pg_class"
				 " WHERE relnamespace = pg_catalog.to_regnamespace('walrank_out') AND relname = $1",
				 1, values, "could not look for a score table", err);

	if (result == NULL)
		return false;
	put_comment(&comment, target);
	*exists = PQntuples(result) > 0;
	*ours = *exists &&
			(PQgetisnull(result, 0, 0) || strcmp(PQgetvalue(result, 0, 0), (const char *) comment.data) == 0);
	buffer_free(&comment);
	PQclear(result);
	return true;
}

static void
put_definition(Sink *sink, Buffer *sql, const PgTarget *target)
{
	for (int i = 0; i < target->nkeys; i++)
	{
		pg_put_identifier(sink, sql, target->keys[i].column);
		buffer_printf(sql, " %s, ", target->keys[i].type);
	}
}

static bool
create_table(Sink *sink, const PgTarget *target, Error *err)
{
	Buffer sql = {0};
	Buffer comment = {0};
	bool ok;

	put_comment(&comment, target);
	buffer_printf(&sql, "CREATE TABLE ");
	put_table(sink, &sql, target);
	buffer_printf(&sql, " (");
	put_definition(sink, &sql, target);
	buffer_printf(&sql,
				  "ranking text, tier int NOT NULL, pin int, score float8 NOT NULL, blocked bool NOT NULL,"
				  " version int NOT NULL, seq bigint NOT NULL, commit_lsn pg_lsn,"
				  " evaluated_at timestamptz NOT NULL, PRIMARY KEY (");
	put_key_list(sink, &sql, target);
	buffer_printf(&sql, "ranking)) WITH (fillfactor = 70); CREATE INDEX ON ");
	put_table(sink, &sql, target);
	buffer_printf(&sql, " (seq); COMMENT ON TABLE ");
	put_table(sink, &sql, target);
	buffer_printf(&sql, " IS ");
	pg_put_literal(sink, &sql, (const char *) comment.data);
	ok = pg_create_objects(sink, (const char *) sql.data, "could not create a score table", err);
	buffer_free(&sql);
	buffer_free(&comment);
	return ok || error_wrap(err, "table walrank_out.%s", target->table);
}

/*
 * A key column of the right type, or of a wider one: when the source's key has been widened, rows from
 * before may still be under way after the table was altered.
 */
#define WIDER_TYPES                                                                                          \
	"('smallint', 'integer'), ('smallint', 'bigint'), ('integer', 'bigint'), ('character varying', 'text')," \
	" ('character', 'text')"

static bool
check_columns(Sink *sink, const PgTarget *target, Error *err)
{
	Buffer sql = {0};
	Buffer wanted = {0};
	PGresult *result;
	bool ok;

	buffer_printf(&sql, "SELECT pg_catalog.count(*) FROM (VALUES ");
	for (int i = 0; i < target->nkeys; i++)
	{
		buffer_printf(&sql, "%s(", i == 0 ? "" : ", ");
		pg_put_literal(sink, &sql, target->keys[i].column);
		buffer_printf(&sql, ", '%s')", target->keys[i].type);
	}
	buffer_printf(&sql,
				  ") AS k(name, type) JOIN pg_catalog.pg_attribute AS a ON a.attname = k.name"
				  " AND (a.atttypid = pg_catalog.to_regtype(k.type) OR (pg_catalog.to_regtype(k.type)::text,"
				  " a.atttypid::pg_catalog.regtype::text) IN (" WIDER_TYPES
				  ")) WHERE a.attnum > 0 AND a.attrelid ="
				  " (SELECT oid FROM pg_catalog.pg_class WHERE relname = ");
	pg_put_literal(sink, &sql, target->table);
	buffer_printf(&sql, " AND relnamespace = pg_catalog.to_regnamespace('walrank_out'))");
	result = pg_query(sink, (const char *) sql.data, 0, NULL, "could not check a score table", err);
	ok = result != NULL;
	if (ok && strtoull(PQgetvalue(result, 0, 0), NULL, 10) != (uint64_t) target->nkeys)
	{
		put_definition(sink, &wanted, target);
		ok = error_set(err, ERR_CONFIG, "table walrank_out.%s has another key than %s has now", target->table,
					   target->qualified);
		error_hint(err, "Alter its key columns to %.*s and restart.", (int) wanted.len - 2,
				   (const char *) wanted.data);
	}
	PQclear(result);
	buffer_free(&sql);
	buffer_free(&wanted);
	return ok;
}

/* A type another server may lack is kept as text. */
static bool
check_types(Sink *sink, PgTarget *target, Error *err)
{
	for (int i = 0; i < target->nkeys; i++)
	{
		const char *const values[] = {target->keys[i].type};
		PGresult *result =
			pg_query(sink,
					 "SELECT 1 FROM pg_catalog.pg_type WHERE oid = pg_catalog.to_regtype($1)"
					 " AND typtype = 'b' AND typnamespace = 'pg_catalog'::pg_catalog.regnamespace",
					 1, values, "could not look for a type", err);

		if (result == NULL)
			return false;
		if (PQntuples(result) == 0)
			snprintf(target->keys[i].type, sizeof(target->keys[i].type), "text");
		PQclear(result);
	}
	return true;
}

/* public.a_b and a.b would share a name: the second comer's has a hash. */
static bool
settle_table(Sink *sink, PgTarget *target, Error *err)
{
	bool exists = false;
	bool ours = false;

	for (int hashed = 0; hashed <= 1; hashed++)
	{
		pgbatch_table_name(target, hashed == 1, target->table);
		if (!find_table(sink, target, &exists, &ours, err))
			return false;
		if (!exists)
			return create_table(sink, target, err);
		if (ours)
			return check_columns(sink, target, err);
	}
	error_set(err, ERR_CONFIG, "table walrank_out.%s is not the score table of %s", target->table,
			  target->qualified);
	return error_hint(err, "Rename or drop it.");
}

/* The arrays $1, $2, .. side by side as rows u(k0, .., ranking ..). */
static void
put_unnest(Buffer *sql, const PgTarget *target, const char *const *more)
{
	int n = target->nkeys;

	for (int i = 0; more[i] != NULL; i++)
		n++;
	buffer_printf(sql, "ROWS FROM (");
	for (int i = 0; i < n; i++)
		buffer_printf(sql, "%spg_catalog.unnest($%d)", i == 0 ? "" : ", ", i + 1);
	buffer_printf(sql, ") AS u(");
	for (int i = 0; i < target->nkeys; i++)
		buffer_printf(sql, "k%d, ", i);
	for (int i = 0; more[i] != NULL; i++)
		buffer_printf(sql, "%s%s", i == 0 ? "" : ", ", more[i]);
	buffer_printf(sql, ")");
}

static const char *const score_columns[] = {"ranking", "tier", "pin",		 "score",		 "blocked",
											"version", "seq",  "commit_lsn", "evaluated_at", NULL};
static const Oid score_types[PG_SCORE_COLUMNS] = {OID_TEXTS, OID_INT4S, OID_INT4S, OID_FLOAT8S,		OID_BOOLS,
												  OID_INT4S, OID_INT8S, OID_LSNS,  OID_TIMESTAMPTZS};
static const char *const remove_columns[] = {"ranking", NULL};

static void
upsert_sql(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, "INSERT INTO ");
	put_table(sink, sql, target);
	buffer_printf(sql, " (");
	put_key_list(sink, sql, target);
	for (int i = 0; i < PG_SCORE_COLUMNS; i++)
		buffer_printf(sql, "%s%s", i == 0 ? "" : ", ", score_columns[i]);
	buffer_printf(sql, ") SELECT ");
	for (int i = 0; i < target->nkeys; i++)
		buffer_printf(sql, "u.k%d::%s, ", i, target->keys[i].type);
	for (int i = 0; i < PG_SCORE_COLUMNS; i++)
		buffer_printf(sql, "%su.%s", i == 0 ? "" : ", ", score_columns[i]);
	buffer_printf(sql, " FROM ");
	put_unnest(sql, target, score_columns);
	buffer_printf(sql, " ON CONFLICT (");
	put_key_list(sink, sql, target);
	buffer_printf(sql, "ranking) DO UPDATE SET ");
	for (int i = 1; i < PG_SCORE_COLUMNS; i++)
		buffer_printf(sql, "%s%s = excluded.%s", i == 1 ? "" : ", ", score_columns[i], score_columns[i]);
}

static void
delete_sql(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, "DELETE FROM ");
	put_table(sink, sql, target);
	buffer_printf(sql, " AS t USING ");
	put_unnest(sql, target, remove_columns);
	buffer_printf(sql, " WHERE ");
	for (int i = 0; i < target->nkeys; i++)
	{
		buffer_printf(sql, "t.");
		pg_put_identifier(sink, sql, target->keys[i].column);
		buffer_printf(sql, " = u.k%d::%s AND ", i, target->keys[i].type);
	}
	buffer_printf(sql, "t.ranking = u.ranking");
}

static void
clear_sql(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, "DELETE FROM ");
	put_table(sink, sql, target);
	buffer_printf(sql, " WHERE $1 IS NULL OR ranking = $1");
}

static bool
prepare(Sink *sink, const PgTarget *target, const char *verb,
		void (*write)(Sink *, Buffer *, const PgTarget *), int n, const Oid *types, Error *err)
{
	char name[48];
	Buffer sql = {0};
	PGresult *result;

	pg_statement_name(sink, target, verb, name);
	if (target->prepared)
	{
		buffer_printf(&sql, "DEALLOCATE %s", name);
		result = pg_query(sink, (const char *) sql.data, 0, NULL, "could not forget a statement", err);
		buffer_reset(&sql);
		PQclear(result);
		if (result == NULL)
			return false;
	}
	write(sink, &sql, target);
	result = pg_expect(sink, PQprepare(sink->conn, name, (const char *) sql.data, n, types),
					   "could not prepare", err);
	buffer_free(&sql);
	PQclear(result);
	return result != NULL;
}

bool
pg_ensure_target(Sink *sink, PgTarget *target, Error *err)
{
	static const Oid clear_types[] = {OID_TEXT};
	Oid types[PARAMS_MAX];

	if (target->ready)
		return true;
	for (int i = 0; i < target->nkeys; i++)
		types[i] = OID_TEXTS;
	memcpy(types + target->nkeys, score_types, sizeof(score_types));
	if (!check_types(sink, target, err) || !settle_table(sink, target, err))
		return false;
	if (!prepare(sink, target, "upsert", upsert_sql, target->nkeys + PG_SCORE_COLUMNS, types, err) ||
		!prepare(sink, target, "delete", delete_sql, target->nkeys + 1, types, err) ||
		!prepare(sink, target, "clear", clear_sql, 1, clear_types, err))
		return error_wrap(err, "table walrank_out.%s", target->table);
	target->ready = target->prepared = true;
	return true;
}
