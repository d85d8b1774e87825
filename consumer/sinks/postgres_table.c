/*
 * postgres_table.c -- the score tables of sink "postgres", and the statements that fill them.
 *
 * Table walrank_out.owner says which sink has which table for which relation, so several sinks share a schema:
 * the second comer for a relation has a table with a hash in its name.
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

void
pg_compare_name(const Sink *sink, const PgTarget *target, char name[PG_NAME_BYTES])
{
	int i = 0;

	while (sink->batch.targets[i] != target)
		i++;
	snprintf(name, PG_NAME_BYTES, "verify_%d", i);
}

/* Where the rows go. */
static void
put_table(Sink *sink, Buffer *sql, const PgTarget *target)
{
	char name[PG_NAME_BYTES];

	snprintf(name, sizeof(name), "%s", target->table);
	if (sink->compare)
		pg_compare_name(sink, target, name);
	else if (sink->beside)
		pg_beside_name(target->table, name);
	if (sink->compare)
		buffer_printf(sql, "pg_temp.");
	pg_put_identifier(sink, sql, name);
}

static void
put_comment(Buffer *text, const PgTarget *target)
{
	buffer_reset(text);
	buffer_printf(text, "walrank: scores of %s", target->qualified);
	buffer_append_byte(text, '\0');
}

typedef enum
{
	TABLE_NONE,
	TABLE_OURS,
	TABLE_UNCLAIMED, /* for this relation, and no sink's yet */
	TABLE_OTHERS,
} TableKind;

/* A table of the target's present name. */
static bool
find_table(Sink *sink, const PgTarget *target, TableKind *kind, Error *err)
{
	Buffer comment = {0};
	PGresult *result;

	put_comment(&comment, target);
	{
		const char *const values[] = {target->table, sink->schema, sink->sink_name, target->qualified,
									  (const char *) comment.data};

		result =
			pg_query(sink,
					 "SELECT c.oid IS NOT NULL, o.sink_id = $3 AND o.relation = $4, o.sink_id IS NULL AND"
					 " coalesce(obj_description(c.oid, 'pg_class'), $5) = $5"
					 " FROM (VALUES ($1)) AS n(name)"
					 " LEFT JOIN pg_class AS c ON c.relname = n.name AND c.relnamespace ="
					 " (SELECT oid FROM pg_namespace WHERE nspname = $2)"
					 " LEFT JOIN owner AS o ON o.table_name = n.name",
					 5, values, "could not look for a score table", err);
	}
	buffer_free(&comment);
	if (result == NULL)
		return false;
	if (PQgetvalue(result, 0, 1)[0] == 't')
		*kind = PQgetvalue(result, 0, 0)[0] == 't' ? TABLE_OURS : TABLE_NONE;
	else if (PQgetvalue(result, 0, 2)[0] == 't')
		*kind = PQgetvalue(result, 0, 0)[0] == 't' ? TABLE_UNCLAIMED : TABLE_NONE;
	else
		*kind = TABLE_OTHERS;
	PQclear(result);
	return true;
}

/* The statement that makes the target's table this sink's. */
static void
put_claim(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, "INSERT INTO owner (table_name, sink_id, relation) VALUES (");
	pg_put_literal(sink, sql, target->table);
	buffer_printf(sql, ", ");
	pg_put_literal(sink, sql, sink->sink_name);
	buffer_printf(sql, ", ");
	pg_put_literal(sink, sql, target->qualified);
	buffer_printf(sql, ") ON CONFLICT (sink_id, relation) DO UPDATE SET table_name = excluded.table_name;");
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

/* The columns, in parentheses. */
static void
put_columns(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, " (");
	put_definition(sink, sql, target);
	buffer_printf(sql,
				  "ranking text, tier int NOT NULL, pin int, score float8 NOT NULL, blocked bool NOT NULL,"
				  " version int NOT NULL, seq bigint NOT NULL, commit_lsn pg_lsn,"
				  " evaluated_at timestamptz NOT NULL, PRIMARY KEY (");
	put_key_list(sink, sql, target);
	buffer_printf(sql, "ranking))");
}

/* What readers see. */
static bool
create_table(Sink *sink, const PgTarget *target, Error *err)
{
	Buffer sql = {0};
	Buffer comment = {0};
	Buffer name = {0};
	bool ok;

	put_comment(&comment, target);
	pg_put_identifier(sink, &name, target->table);
	put_claim(sink, &sql, target);
	buffer_printf(&sql, "CREATE TABLE %s", (const char *) name.data);
	put_columns(sink, &sql, target);
	buffer_printf(&sql, " WITH (fillfactor = 70); CREATE INDEX ON %s (seq); COMMENT ON TABLE %s IS ",
				  (const char *) name.data, (const char *) name.data);
	pg_put_literal(sink, &sql, (const char *) comment.data);
	ok = pg_create_objects(sink, (const char *) sql.data, "could not create a score table", err);
	buffer_free(&sql);
	buffer_free(&comment);
	buffer_free(&name);
	return ok || error_wrap(err, "table %s.%s", sink->schema, target->table);
}

/*
 * Beside a shown table: its columns, key and checks as they are now, so that what is written here can take
 * their place, or be compared with them.
 */
static bool
create_other(Sink *sink, const PgTarget *target, Error *err)
{
	Buffer sql = {0};
	bool ok;

	buffer_printf(&sql, "CREATE TABLE IF NOT EXISTS ");
	put_table(sink, &sql, target);
	if (target->table[0] == '\0')
		put_columns(sink, &sql, target);
	else
	{
		buffer_printf(&sql, " (LIKE ");
		pg_put_identifier(sink, &sql, target->table);
		buffer_printf(&sql, " INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED, PRIMARY KEY (");
		put_key_list(sink, &sql, target);
		buffer_printf(&sql, "ranking))");
	}
	ok = pg_create_objects(sink, (const char *) sql.data, "could not create a table to fill", err);
	buffer_free(&sql);
	return ok || error_wrap(err, "beside table %s.%s", sink->schema, target->table);
}

static bool
claim(Sink *sink, const PgTarget *target, Error *err)
{
	Buffer sql = {0};
	bool ok;

	put_claim(sink, &sql, target);
	ok = pg_create_objects(sink, (const char *) sql.data, "could not claim a score table", err);
	buffer_free(&sql);
	return ok;
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

	buffer_printf(&sql, "SELECT count(*) FROM (VALUES ");
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
				  " to_regclass(quote_ident(");
	pg_put_literal(sink, &sql, target->table);
	buffer_printf(&sql, "))");
	result = pg_query(sink, (const char *) sql.data, 0, NULL, "could not check a score table", err);
	ok = result != NULL;
	if (ok && strtoull(PQgetvalue(result, 0, 0), NULL, 10) != (uint64_t) target->nkeys)
	{
		put_definition(sink, &wanted, target);
		ok = error_set(err, ERR_CONFIG, "table %s.%s has another key than %s has now", sink->schema,
					   target->table, target->qualified);
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

/* public.a_b and a.b would share a name, and so would two sinks: who comes later has a hash, of more each time. */
static bool
settle_table(Sink *sink, PgTarget *target, Error *err)
{
	for (int attempt = 0; attempt <= 2; attempt++)
	{
		TableKind kind;

		pgbatch_table_name(target, attempt == 0 ? NULL : attempt == 1 ? "" : sink->sink_name, target->table);
		if (!find_table(sink, target, &kind, err))
			return false;
		if (kind == TABLE_NONE)
			return create_table(sink, target, err);
		if (kind == TABLE_UNCLAIMED && !claim(sink, target, err))
			return false;
		if (kind != TABLE_OTHERS)
			return check_columns(sink, target, err);
	}
	error_set(err, ERR_CONFIG, "table %s.%s is not the score table of %s", sink->schema, target->table,
			  target->qualified);
	return error_hint(err, "Rename or drop it.");
}

/* The name of the table that is shown; empty when there is none. */
static bool
name_table(Sink *sink, PgTarget *target, Error *err)
{
	const char *const values[] = {sink->sink_name, target->qualified};
	PGresult *result = pg_query(sink,
								"SELECT table_name FROM owner WHERE sink_id = $1 AND relation = $2"
								" AND to_regclass(quote_ident(table_name)) IS NOT NULL",
								2, values, "could not look for a score table", err);

	if (result == NULL)
		return false;
	snprintf(target->table, sizeof(target->table), "%s",
			 PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	return true;
}

static bool
settle(Sink *sink, PgTarget *target, Error *err)
{
	if (sink->compare)
		return name_table(sink, target, err) && create_other(sink, target, err);
	return settle_table(sink, target, err) && (!sink->beside || create_other(sink, target, err));
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
	if (!check_types(sink, target, err) || !settle(sink, target, err))
		return false;
	if (!prepare(sink, target, "upsert", upsert_sql, target->nkeys + PG_SCORE_COLUMNS, types, err) ||
		!prepare(sink, target, "delete", delete_sql, target->nkeys + 1, types, err) ||
		!prepare(sink, target, "clear", clear_sql, 1, clear_types, err))
		return error_wrap(err, "table %s.%s", sink->schema, target->table);
	target->ready = target->prepared = true;
	return true;
}
