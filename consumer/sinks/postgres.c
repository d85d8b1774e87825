/*
 * postgres.c -- sink "postgres": score tables and their checkpoint move in one transaction.
 *
 * Every batch first moves the checkpoint row, under the condition that it still stands where this
 * writer left it: that takes the row's lock, so a half-dead backend of an earlier writer has then
 * committed or is gone, and it fences every other writer.  After any error whose outcome is not
 * known the connection is dropped, and open() asks the table.
 *
 * A small batch costs two round trips: one pipeline, one COMMIT.  When a row is refused for what it
 * says, the batch is tried again in halves inside one transaction, and the row itself goes to
 * walrank_out.quarantine in that same transaction.
 */
#include "sinks/sink.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "sinks/pgbatch.h"

#define CONNECT_US_MAX INT64_C(15000000)
#define POLL_MS 100
#define PARAMS_MAX (WIRE_KEY_COLUMNS_MAX + 9)

typedef struct PgOptions
{
	char *conninfo;
} PgOptions;

static const OptionDef pg_options[] = {
	{"conninfo", OPT_STRING, offsetof(PgOptions, conninfo), NULL, 0, 0, NULL, false,
	 "database that receives the scores, as any libpq string; passwords belong in ~/.pgpass"},
	{NULL, OPT_STRING, 0, NULL, 0, 0, NULL, false, NULL},
};

struct Sink
{
	char *sink_name;
	char *conninfo;
	char stream_id[STREAM_ID_TEXT_BYTES];
	StreamId stream;
	PGconn *conn;
	bool fresh;		   /* no checkpoint row yet: the first batch makes it */
	SinkPosition last; /* as the checkpoint row has it */
	PgBatch batch;
	Buffer arrays[PARAMS_MAX];

	pthread_mutex_t lock; /* guards the two below */
	int socket;			  /* -1 = none */
	bool interrupted;
};

/* Types of parameters. */
enum
{
	OID_BOOLS = 1000,
	OID_INT4S = 1007,
	OID_TEXTS = 1009,
	OID_INT8S = 1016,
	OID_FLOAT8S = 1022,
	OID_TIMESTAMPTZS = 1185,
	OID_LSNS = 3221,
	OID_BOOL = 16,
	OID_INT8 = 20,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_FLOAT8 = 701,
	OID_TIMESTAMPTZ = 1184,
	OID_LSN = 3220,
};

/* ---- errors ------------------------------------------------------------------------------------- */

/* First match wins.  ERR_DATA: what the row says is refused, so another row may pass. */
static const struct
{
	const char *prefix;
	ErrorClass class;
} sqlstates[] = {
	{"08", ERR_RETRY},	   {"40", ERR_RETRY},	  {"53", ERR_RETRY},	 {"55", ERR_RETRY},
	{"57", ERR_RETRY},	   {"58", ERR_RETRY},	  {"25", ERR_RETRY},	 {"XX", ERR_RETRY},
	{"42501", ERR_CONFIG}, {"42P01", ERR_CONFIG}, {"42P10", ERR_CONFIG}, {"28", ERR_CONFIG},
	{"3D", ERR_CONFIG},	   {"3F", ERR_CONFIG},	  {"42", ERR_CONFIG},	 {"0A", ERR_CONFIG},
	{"21", ERR_DATA},	   {"22", ERR_DATA},	  {"23", ERR_DATA},		 {"44", ERR_DATA},
	{"54", ERR_DATA},	   {"P0", ERR_DATA},	  {NULL, ERR_RETRY},
};

static ErrorClass
classify(const char *sqlstate)
{
	int i = 0;

	if (sqlstate == NULL)
		return ERR_RETRY;
	while (sqlstates[i].prefix != NULL &&
		   strncmp(sqlstate, sqlstates[i].prefix, strlen(sqlstates[i].prefix)) != 0)
		i++;
	return sqlstates[i].class;
}

/* libpq's messages end with a newline and may have several lines. */
static void
one_line(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
	for (; *text != '\0'; text++)
		if (*text == '\n' || *text == '\t')
			*text = ' ';
}

static bool
connection_error(Sink *sink, const char *what, Error *err)
{
	error_set(err, ERR_RETRY, "%s: %s", what, PQerrorMessage(sink->conn));
	one_line(err->message);
	return false;
}

static bool
result_error(Sink *sink, const PGresult *result, const char *what, Error *err)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);

	if (message == NULL)
		return connection_error(sink, what, err);
	error_set(err, classify(sqlstate), "%s: %s (SQLSTATE %s)", what, message,
			  sqlstate != NULL ? sqlstate : "none");
	one_line(err->message);
	if (err->class != ERR_CONFIG)
		return false;
	if (sqlstate != NULL && strcmp(sqlstate, "42501") == 0)
		return error_hint(
			err, "The sink's role needs CREATE on its database, or else an existing schema walrank_out "
				 "with its tables to own.");
	if (hint != NULL)
		return error_hint(err, "%s", hint);
	return error_hint(
		err, "Somebody altered what the sink keeps in schema walrank_out: put it back, then restart.");
}

/* ---- statements, one at a time -------------------------------------------------------------------- */

/* Takes the result over; returns it when it is what was wanted, else NULL with *err. */
static PGresult *
expect(Sink *sink, PGresult *result, const char *what, Error *err)
{
	const ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return result;
	result_error(sink, result, what, err);
	PQclear(result);
	return NULL;
}

static bool
execute(Sink *sink, const char *sql, const char *what, Error *err)
{
	PGresult *result = expect(sink, PQexec(sink->conn, sql), what, err);

	PQclear(result);
	return result != NULL;
}

static PGresult *
query(Sink *sink, const char *sql, int n, const char *const *values, const char *what, Error *err)
{
	return expect(sink, PQexecParams(sink->conn, sql, n, NULL, values, NULL, NULL, 0), what, err);
}

static void
put_identifier(Sink *sink, Buffer *out, const char *name)
{
	char *quoted = PQescapeIdentifier(sink->conn, name, strlen(name));

	/* NULL: not UTF-8, or no memory; an empty identifier fails where it is used */
	buffer_printf(out, "%s", quoted != NULL ? quoted : "\"\"");
	PQfreemem(quoted);
}

static void
put_literal(Sink *sink, Buffer *out, const char *text)
{
	char *quoted = PQescapeLiteral(sink->conn, text, strlen(text));

	buffer_printf(out, "%s", quoted != NULL ? quoted : "NULL");
	PQfreemem(quoted);
}

/* ---- connection ------------------------------------------------------------------------------------ */

static void
no_notice(void *context, const PGresult *result)
{
}

static bool
set_socket(Sink *sink, int socket)
{
	bool interrupted;

	pthread_mutex_lock(&sink->lock);
	sink->socket = socket;
	interrupted = sink->interrupted;
	pthread_mutex_unlock(&sink->lock);
	return !interrupted;
}

static bool
was_interrupted(Sink *sink)
{
	bool interrupted;

	pthread_mutex_lock(&sink->lock);
	interrupted = sink->interrupted;
	pthread_mutex_unlock(&sink->lock);
	return interrupted;
}

/* Any thread; the socket cannot be closed meanwhile, for that takes the lock as well. */
static void
pg_interrupt(Sink *sink)
{
	pthread_mutex_lock(&sink->lock);
	sink->interrupted = true;
	if (sink->socket >= 0)
		shutdown(sink->socket, SHUT_RDWR);
	pthread_mutex_unlock(&sink->lock);
}

static void
disconnect(Sink *sink)
{
	set_socket(sink, -1);
	if (sink->conn != NULL)
		PQfinish(sink->conn);
	sink->conn = NULL;
	for (int i = 0; i < sink->batch.ntargets; i++)
		sink->batch.targets[i]->ready = false;
}

/* Nobody waits for ever: not for the connection, not for a lock, not for a dead network. */
static bool
connect_start(Sink *sink, Error *err)
{
	/* what stands before dbname the conninfo may override, what stands after it may not */
	static const char *const names[] = {
		"keepalives_idle", "keepalives_interval", "keepalives_count",		   "tcp_user_timeout",
		"dbname",		   "client_encoding",	  "fallback_application_name", NULL};
	const char *values[] = {"10", "5", "3", "30000", sink->conninfo, "UTF8", "walrankd", NULL};

	sink->conn = PQconnectStartParams(names, values, 1);
	if (sink->conn == NULL)
		return error_set(err, ERR_RETRY, "no memory for a connection");
	if (PQstatus(sink->conn) == CONNECTION_BAD)
		return connection_error(sink, "could not connect", err);
	PQsetNoticeReceiver(sink->conn, no_notice, NULL);
	return true;
}

static bool
connect_finish(Sink *sink, Error *err)
{
	const int64_t deadline = clock_monotonic_us() + CONNECT_US_MAX;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK)
	{
		struct pollfd pfd = {.fd = PQsocket(sink->conn),
							 .events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT};

		if (was_interrupted(sink))
			return error_set(err, ERR_RETRY, "interrupted while connecting");
		if (clock_monotonic_us() > deadline)
			return error_set(err, ERR_RETRY, "could not connect: no answer for %d s",
							 (int) (CONNECT_US_MAX / 1000000));
		if (poll(&pfd, 1, POLL_MS) <= 0)
			continue;
		status = PQconnectPoll(sink->conn);
		if (status == PGRES_POLLING_FAILED)
			return connection_error(sink, "could not connect", err);
	}
	if (!set_socket(sink, PQsocket(sink->conn)))
		return error_set(err, ERR_RETRY, "interrupted while connecting");
	return true;
}

static bool
connect_sink(Sink *sink, Error *err)
{
	if (!connect_start(sink, err) || !connect_finish(sink, err))
		return false;
	/* what a role or database may have set must change neither meaning nor text of what is sent */
	return execute(sink,
				   "SET search_path = ''; SET datestyle = 'ISO, YMD'; SET timezone = 'UTC';"
				   "SET intervalstyle = 'postgres'; SET standard_conforming_strings = on;"
				   "SET default_transaction_isolation = 'read committed'; SET row_security = off;"
				   "SET lock_timeout = '10s'; SET statement_timeout = 0;"
				   "SET idle_in_transaction_session_timeout = '60s'",
				   "could not prepare the session", err);
}

/* ---- schema ------------------------------------------------------------------------------------------ */

static const char schema_sql[] =
	"CREATE SCHEMA IF NOT EXISTS walrank_out;"
	"CREATE TABLE IF NOT EXISTS walrank_out.checkpoint ("
	" sink_id text PRIMARY KEY, stream_id uuid NOT NULL, owner_epoch bigint NOT NULL,"
	" seq bigint NOT NULL, part int NOT NULL, end_lsn pg_lsn NOT NULL,"
	" applied bigint NOT NULL, filtered bigint NOT NULL, parked bigint NOT NULL, quarantined bigint NOT NULL,"
	" total_start bigint NOT NULL, commit_time timestamptz) WITH (fillfactor = 50);"
	"CREATE TABLE IF NOT EXISTS walrank_out.quarantine ("
	" sink_id text, stream_id uuid, seq bigint, change bigint, out int,"
	" reason text NOT NULL, record text NOT NULL, at timestamptz NOT NULL DEFAULT now(),"
	" PRIMARY KEY (sink_id, stream_id, seq, change, out));"
	"COMMENT ON SCHEMA walrank_out IS 'walrank: scores and where their sinks stand'";

static bool
has_schema(Sink *sink, bool *has, Error *err)
{
	PGresult *result = query(sink,
							 "SELECT pg_catalog.to_regclass('walrank_out.checkpoint') IS NOT NULL"
							 " AND pg_catalog.to_regclass('walrank_out.quarantine') IS NOT NULL",
							 0, NULL, "could not look for schema walrank_out", err);

	if (result == NULL)
		return false;
	*has = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	return true;
}

/* IF NOT EXISTS does not keep two creators apart: the later one fails on a unique index, and tries again. */
static bool
create(Sink *sink, const char *sql, const char *what, Error *err)
{
	if (execute(sink, sql, what, err))
		return true;
	if (err->class == ERR_DATA)
		err->class = ERR_RETRY;
	return false;
}

/* ---- checkpoint -------------------------------------------------------------------------------------- */

#define CHECKPOINT_COLUMNS                                                                                   \
	"stream_id, owner_epoch, seq, part, end_lsn, applied, filtered, parked, quarantined, total_start,"       \
	" (EXTRACT(epoch FROM commit_time) * 1000000)::bigint"

static uint64_t
number_at(const PGresult *result, int column)
{
	return strtoull(PQgetvalue(result, 0, column), NULL, 10);
}

static void
read_position(const PGresult *result, SinkPosition *position)
{
	memset(position, 0, sizeof(*position));
	stream_id_parse(PQgetvalue(result, 0, 0), &position->stream_id);
	position->owner_epoch = number_at(result, 1);
	position->seq = number_at(result, 2);
	position->part = (uint32_t) number_at(result, 3);
	lsn_parse(PQgetvalue(result, 0, 4), &position->end_lsn);
	position->applied = number_at(result, 5);
	position->filtered = number_at(result, 6);
	position->parked = number_at(result, 7);
	position->quarantined = number_at(result, 8);
	position->total_start = number_at(result, 9);
	position->commit_time_us = strtoll(PQgetvalue(result, 0, 10), NULL, 10);
}

static bool
look(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	const char *const values[] = {sink->sink_name};
	PGresult *result =
		query(sink, "SELECT " CHECKPOINT_COLUMNS " FROM walrank_out.checkpoint WHERE sink_id = $1", 1, values,
			  "could not read the checkpoint", err);

	if (result == NULL)
		return false;
	*found = PQntuples(result) == 1;
	if (*found)
		read_position(result, position);
	PQclear(result);
	return true;
}

/* Waits for whoever holds the row; the version it leaves behind is the one that is returned. */
static bool
fence(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	const char *const values[] = {sink->sink_name, sink->stream_id};
	PGresult *result = query(sink,
							 "UPDATE walrank_out.checkpoint SET owner_epoch = owner_epoch + 1"
							 " WHERE sink_id = $1 AND stream_id = $2::uuid RETURNING " CHECKPOINT_COLUMNS,
							 2, values, "could not take over the checkpoint", err);

	if (result == NULL)
		return false;
	*found = PQntuples(result) == 1;
	if (*found)
		read_position(result, position);
	PQclear(result);
	return true;
}

/* K1: without a checkpoint, every score table must be empty. */
static bool
check_empty(Sink *sink, Error *err)
{
	PGresult *tables = query(sink,
							 "SELECT relname FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p')"
							 " AND relnamespace = pg_catalog.to_regnamespace('walrank_out')"
							 " AND relname LIKE 'score\\_%' ORDER BY relname",
							 0, NULL, "could not list the score tables", err);
	bool ok = tables != NULL;

	for (int i = 0; ok && i < PQntuples(tables); i++)
	{
		Buffer sql = {0};
		PGresult *row;

		buffer_printf(&sql, "SELECT 1 FROM walrank_out.");
		put_identifier(sink, &sql, PQgetvalue(tables, i, 0));
		buffer_printf(&sql, " LIMIT 1");
		row = query(sink, (const char *) sql.data, 0, NULL, "could not look into a score table", err);
		ok = row != NULL;
		if (ok && PQntuples(row) > 0)
		{
			ok = error_set(err, ERR_REFUSE,
						   "table walrank_out.%s has rows, but sink \"%s\" has no checkpoint (rule K1)",
						   PQgetvalue(tables, i, 0), sink->sink_name);
			error_hint(
				err,
				"Drop the score tables, or give the sink the name that stands in walrank_out.checkpoint, "
				"or let it write to another database.");
		}
		PQclear(row);
		buffer_free(&sql);
	}
	PQclear(tables);
	return ok;
}

static bool
take_over(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	SinkPosition other;
	bool has = false;

	if (!has_schema(sink, &has, err))
		return false;
	if (!has && !create(sink, schema_sql, "could not create schema walrank_out", err))
		return false;
	if (!fence(sink, position, found, err))
		return false;
	sink->fresh = !*found;
	if (*found)
		return true;
	if (!look(sink, &other, &has, err))
		return false;
	if (has)
		return sink_same_stream(&other.stream_id, &sink->stream, "walrank_out.checkpoint", err) ||
			   error_wrap(err, "the checkpoint's row");
	memset(position, 0, sizeof(*position));
	position->stream_id = sink->stream;
	position->owner_epoch = 1;
	return check_empty(sink, err);
}

static bool
pg_open(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	disconnect(sink);
	pgbatch_reset(&sink->batch);
	if (!connect_sink(sink, err) || !take_over(sink, position, found, err))
	{
		disconnect(sink);
		return false;
	}
	sink->last = *position;
	return true;
}

static bool
pg_peek(Sink *sink, SinkPosition *position, bool *found, Error *err)
{
	bool has = false;
	bool ok = connect_sink(sink, err) && has_schema(sink, &has, err);

	*found = false;
	if (ok && has)
		ok = look(sink, position, found, err);
	disconnect(sink);
	return ok;
}

/* ---- score tables -------------------------------------------------------------------------------------- */

/* Statement names of the i-th target. */
static void
statement_name(const Sink *sink, const PgTarget *target, const char *verb, char name[48])
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
		put_identifier(sink, sql, target->keys[i].column);
		buffer_printf(sql, ", ");
	}
}

static void
put_table(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, "walrank_out.");
	put_identifier(sink, sql, target->table);
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
		query(sink,
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
		put_identifier(sink, sql, target->keys[i].column);
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
	put_literal(sink, &sql, (const char *) comment.data);
	ok = create(sink, (const char *) sql.data, "could not create a score table", err);
	buffer_free(&sql);
	buffer_free(&comment);
	return ok || error_wrap(err, "table walrank_out.%s", target->table);
}

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
		put_literal(sink, &sql, target->keys[i].column);
		buffer_printf(&sql, ", '%s')", target->keys[i].type);
	}
	buffer_printf(&sql, ") AS k(name, type) JOIN pg_catalog.pg_attribute AS a ON a.attname = k.name"
						" AND a.atttypid = pg_catalog.to_regtype(k.type) WHERE a.attnum > 0 AND a.attrelid ="
						" (SELECT oid FROM pg_catalog.pg_class WHERE relname = ");
	put_literal(sink, &sql, target->table);
	buffer_printf(&sql, " AND relnamespace = pg_catalog.to_regnamespace('walrank_out'))");
	result = query(sink, (const char *) sql.data, 0, NULL, "could not check a score table", err);
	ok = result != NULL;
	if (ok && number_at(result, 0) != (uint64_t) target->nkeys)
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
			query(sink,
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
static const Oid score_types[] = {OID_TEXTS, OID_INT4S, OID_INT4S, OID_FLOAT8S,		OID_BOOLS,
								  OID_INT4S, OID_INT8S, OID_LSNS,  OID_TIMESTAMPTZS};
static const char *const remove_columns[] = {"ranking", NULL};
#define SCORE_COLUMNS ((int) (sizeof(score_types) / sizeof(score_types[0])))

static void
upsert_sql(Sink *sink, Buffer *sql, const PgTarget *target)
{
	buffer_printf(sql, "INSERT INTO ");
	put_table(sink, sql, target);
	buffer_printf(sql, " (");
	put_key_list(sink, sql, target);
	for (int i = 0; i < SCORE_COLUMNS; i++)
		buffer_printf(sql, "%s%s", i == 0 ? "" : ", ", score_columns[i]);
	buffer_printf(sql, ") SELECT ");
	for (int i = 0; i < target->nkeys; i++)
		buffer_printf(sql, "u.k%d::%s, ", i, target->keys[i].type);
	for (int i = 0; i < SCORE_COLUMNS; i++)
		buffer_printf(sql, "%su.%s", i == 0 ? "" : ", ", score_columns[i]);
	buffer_printf(sql, " FROM ");
	put_unnest(sql, target, score_columns);
	buffer_printf(sql, " ON CONFLICT (");
	put_key_list(sink, sql, target);
	buffer_printf(sql, "ranking) DO UPDATE SET ");
	for (int i = 1; i < SCORE_COLUMNS; i++)
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
		put_identifier(sink, sql, target->keys[i].column);
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

	statement_name(sink, target, verb, name);
	write(sink, &sql, target);
	result = expect(sink, PQprepare(sink->conn, name, (const char *) sql.data, n, types), "could not prepare",
					err);
	buffer_free(&sql);
	PQclear(result);
	return result != NULL;
}

static bool
ensure_target(Sink *sink, PgTarget *target, Error *err)
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
	if (!prepare(sink, target, "upsert", upsert_sql, target->nkeys + SCORE_COLUMNS, types, err) ||
		!prepare(sink, target, "delete", delete_sql, target->nkeys + 1, types, err) ||
		!prepare(sink, target, "clear", clear_sql, 1, clear_types, err))
		return error_wrap(err, "table walrank_out.%s", target->table);
	target->ready = true;
	return true;
}

/* ---- arrays in binary ----------------------------------------------------------------------------------- */

static void
put_be32(Buffer *out, uint32_t v)
{
	v = __builtin_bswap32(v);
	buffer_append(out, &v, sizeof(v));
}

static void
put_be64(Buffer *out, uint64_t v)
{
	v = __builtin_bswap64(v);
	buffer_append(out, &v, sizeof(v));
}

/* dimensions, has nulls, element type, length, lower bound */
static void
array_begin(Buffer *out, Oid element, bool nulls)
{
	buffer_reset(out);
	put_be32(out, 1);
	put_be32(out, nulls);
	put_be32(out, element);
	put_be32(out, 0);
	put_be32(out, 1);
}

static void
array_end(Buffer *out, uint32_t n)
{
	n = __builtin_bswap32(n);
	memcpy(out->data + 12, &n, sizeof(n));
}

static void
put_element32(Buffer *out, uint32_t v)
{
	put_be32(out, sizeof(v));
	put_be32(out, v);
}

static void
put_element64(Buffer *out, uint64_t v)
{
	put_be32(out, sizeof(v));
	put_be64(out, v);
}

static bool
put_key(Buffer *out, const PgRow *row, int i)
{
	const size_t start = out->len;
	uint32_t len;

	put_be32(out, 0);
	if (!pgbatch_key_text(out, row, i))
		return false;
	len = __builtin_bswap32((uint32_t) (out->len - start - 4));
	memcpy(out->data + start, &len, sizeof(len));
	return true;
}

static void
put_scores(Buffer *arrays, const PgRow *row)
{
	uint64_t score;

	memcpy(&score, &row->score, sizeof(score));
	put_element32(&arrays[1], (uint32_t) row->tier);
	if (row->pin != 0)
		put_element32(&arrays[2], (uint32_t) row->pin);
	else
		put_be32(&arrays[2], UINT32_MAX);
	put_element64(&arrays[3], score);
	put_be32(&arrays[4], 1);
	buffer_append_byte(&arrays[4], row->blocked);
	put_element32(&arrays[5], row->version);
	put_element64(&arrays[6], row->seq);
	if (row->commit_lsn != 0)
		put_element64(&arrays[7], row->commit_lsn);
	else
		put_be32(&arrays[7], UINT32_MAX);
	put_element64(&arrays[8], (uint64_t) (row->now_us - PG_EPOCH_US));
}

static void
begin_arrays(Sink *sink, const PgTarget *target)
{
	static const Oid elements[] = {OID_TEXT, OID_INT4, OID_INT4, OID_FLOAT8,	 OID_BOOL,
								   OID_INT4, OID_INT8, OID_LSN,	 OID_TIMESTAMPTZ};

	for (int i = 0; i < target->nkeys; i++)
		array_begin(&sink->arrays[i], OID_TEXT, false);
	for (int i = 0; i < SCORE_COLUMNS; i++)
		array_begin(&sink->arrays[target->nkeys + i], elements[i], i == 2 || i == 7);
}

/* The rows [from, to) of one target and kind as columns; *count = 0 when there is none. */
static bool
fill_arrays(Sink *sink, const PgTarget *target, bool remove, uint32_t from, uint32_t to, uint32_t *count,
			Error *err)
{
	Buffer *ranking = &sink->arrays[target->nkeys];

	*count = 0;
	begin_arrays(sink, target);
	for (uint32_t n = from; n < to; n++)
	{
		const PgRow *row = &sink->batch.rows[n];

		if (row->superseded || row->target != target || row->remove != remove)
			continue;
		for (int i = 0; i < target->nkeys; i++)
			if (!put_key(&sink->arrays[i], row, i))
				return error_set(err, ERR_DATA, "malformed key of an item of %s", target->qualified);
		put_be32(ranking, (uint32_t) row->ranking_name.len);
		buffer_append_slice(ranking, row->ranking_name);
		if (!remove)
			put_scores(ranking, row);
		(*count)++;
	}
	for (int i = 0; i < target->nkeys + SCORE_COLUMNS; i++)
		array_end(&sink->arrays[i], *count);
	return true;
}

/* ---- the pipeline ------------------------------------------------------------------------------------------ */

static bool
send_rows(Sink *sink, const PgTarget *target, bool remove, uint32_t from, uint32_t to, int *sent, Error *err)
{
	const int n = target->nkeys + (remove ? 1 : SCORE_COLUMNS);
	const char *values[PARAMS_MAX];
	int lengths[PARAMS_MAX];
	int formats[PARAMS_MAX];
	char name[48];
	uint32_t count;

	if (!fill_arrays(sink, target, remove, from, to, &count, err))
		return false;
	if (count == 0)
		return true;
	for (int i = 0; i < n; i++)
	{
		values[i] = (const char *) sink->arrays[i].data;
		lengths[i] = (int) sink->arrays[i].len;
		formats[i] = 1;
	}
	statement_name(sink, target, remove ? "delete" : "upsert", name);
	(*sent)++;
	return PQsendQueryPrepared(sink->conn, name, n, values, lengths, formats, 0) ||
		   connection_error(sink, "could not send a batch", err);
}

/* Removals go first: two keys that differ as bytes may be one key to the server (1.0 and 1.00), and then only the
 * one that is written is there in the end. */
static bool
send_range(Sink *sink, uint32_t from, uint32_t to, int *sent, Error *err)
{
	for (int remove = 1; remove >= 0; remove--)
		for (int i = 0; i < sink->batch.ntargets; i++)
			if (!send_rows(sink, sink->batch.targets[i], remove == 1, from, to, sent, err))
				return false;
	return true;
}

static bool
send_clearings(Sink *sink, int *sent, Error *err)
{
	for (uint32_t i = 0; i < sink->batch.nclearings; i++)
	{
		const PgClearing *clearing = &sink->batch.clearings[i];
		const char *value = clearing->ranking == 0 ? NULL : (const char *) clearing->ranking_name.data;
		const int len = (int) clearing->ranking_name.len;
		const int format = 1; /* with its length: the name has no end */
		char name[48];

		statement_name(sink, clearing->target, "clear", name);
		(*sent)++;
		if (!PQsendQueryPrepared(sink->conn, name, 1, &value, &len, &format, 0))
			return connection_error(sink, "could not send a batch", err);
	}
	return true;
}

typedef struct CheckpointText
{
	char number[10][24];
	char lsn[LSN_TEXT_BYTES];
	const char *values[15];
} CheckpointText;

/*
 * $1 sink, $2 stream, $3 epoch, $4 seq, $5 part, $6 end_lsn, $7..$10 counters, $11 total_start, $12 commit time in us;
 * $13, $14: where the row has to stand.
 */
static void
checkpoint_text(const Sink *sink, const SinkPosition *p, CheckpointText *text)
{
	const uint64_t numbers[10] = {p->owner_epoch, p->seq,		  p->part,		  p->applied,
								  p->filtered,	  p->parked,	  p->quarantined, p->total_start,
								  sink->last.seq, sink->last.part};
	static const int places[10] = {2, 3, 4, 6, 7, 8, 9, 10, 12, 13};

	text->values[0] = sink->sink_name;
	text->values[1] = sink->stream_id;
	for (int i = 0; i < 10; i++)
	{
		snprintf(text->number[i], sizeof(text->number[i]), "%" PRIu64, numbers[i]);
		text->values[places[i]] = text->number[i];
	}
	snprintf(text->lsn, sizeof(text->lsn), LSN_FORMAT, LSN_ARGS(p->end_lsn));
	text->values[5] = text->lsn;
}

static const char insert_checkpoint[] = "INSERT INTO walrank_out.checkpoint (sink_id, stream_id, "
										"owner_epoch, seq, part, end_lsn, applied, filtered, parked,"
										" quarantined, total_start, commit_time) SELECT $1, $2::uuid, "
										"$3::bigint, $4::bigint, $5::int, $6::pg_lsn,"
										" $7::bigint, $8::bigint, $9::bigint, $10::bigint, $11::bigint,"
										" CASE $12::bigint WHEN 0 THEN NULL ELSE 'epoch'::timestamptz + "
										"$12::bigint * interval '1 microsecond' END"
										" WHERE $13::bigint = 0 AND $14::int = 0";

static const char move_checkpoint[] =
	"UPDATE walrank_out.checkpoint SET seq = $4::bigint, part = $5::int, end_lsn = $6::pg_lsn, applied = "
	"$7::bigint,"
	" filtered = $8::bigint, parked = $9::bigint, quarantined = $10::bigint, total_start = $11::bigint, "
	"commit_time ="
	" CASE $12::bigint WHEN 0 THEN NULL ELSE 'epoch'::timestamptz + $12::bigint * interval '1 microsecond' "
	"END"
	" WHERE sink_id = $1 AND stream_id = $2::uuid AND owner_epoch = $3::bigint AND seq = $13::bigint"
	" AND part = $14::int";

static bool
send_checkpoint(Sink *sink, const SinkPosition *position, int *sent, Error *err)
{
	CheckpointText text;
	char time[24];

	checkpoint_text(sink, position, &text);
	snprintf(time, sizeof(time), "%" PRId64, position->commit_time_us);
	text.values[11] = time;
	(*sent)++;
	return PQsendQueryParams(sink->conn, sink->fresh ? insert_checkpoint : move_checkpoint, 14, NULL,
							 text.values, NULL, NULL, 0) ||
		   connection_error(sink, "could not send a batch", err);
}

static bool
send_text(Sink *sink, const char *sql, int *sent, Error *err)
{
	(*sent)++;
	return PQsendQueryParams(sink->conn, sql, 0, NULL, NULL, NULL, NULL, 0) ||
		   connection_error(sink, "could not send a batch", err);
}

/*
 * Read what `sent` statements gave, up to the sync.  The first error is the one that counts.
 * *moved: rows touched by statement number `checkpoint`, or -1.
 */
static bool
receive(Sink *sink, int sent, int checkpoint, int *moved, Error *err)
{
	bool ok = true;

	*moved = -1;
	for (int i = 0; i < sent; i++)
	{
		PGresult *result = PQgetResult(sink->conn);
		const ExecStatusType status = PQresultStatus(result);

		if (status == PGRES_PIPELINE_ABORTED)
			;
		else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		{
			if (ok)
				result_error(sink, result,
							 i == checkpoint ? "could not move the checkpoint" : "could not write a batch",
							 err);
			/* another writer's first row, not what ours says */
			if (ok && i == checkpoint && err->class == ERR_DATA)
				err->class = ERR_RETRY;
			ok = false;
		}
		else if (i == checkpoint)
			*moved = atoi(PQcmdTuples(result));
		if (result == NULL)
			return ok ? connection_error(sink, "could not write a batch", err) : false;
		PQclear(result);
		PQclear(PQgetResult(sink->conn)); /* NULL: end of this statement */
	}
	PQclear(PQgetResult(sink->conn)); /* the sync */
	return ok;
}

/* Sends what `send` sends between entering and leaving the mode. */
typedef bool (*PipelineBody)(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent,
							 Error *err);

static bool
pipeline(Sink *sink, PipelineBody body, const SinkPosition *position, uint32_t from, uint32_t to,
		 int checkpoint, int *moved, Error *err)
{
	Error sending = {0};
	int sent = 0;
	bool ok;

	if (!PQenterPipelineMode(sink->conn))
		return connection_error(sink, "could not send a batch", err);
	ok = body(sink, position, from, to, &sent, &sending);
	if (!ok && sending.class != ERR_DATA)
	{
		*err = sending;
		return false; /* the connection is gone: open again */
	}
	if (!PQpipelineSync(sink->conn))
		return connection_error(sink, "could not send a batch", err);
	if (!receive(sink, sent, checkpoint, moved, err))
		ok = false;
	else if (!ok)
		*err = sending;
	if (!PQexitPipelineMode(sink->conn))
		return connection_error(sink, "could not end a batch", err);
	return ok;
}

static bool
send_batch(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent, Error *err)
{
	return send_text(sink, "BEGIN", sent, err) && send_checkpoint(sink, position, sent, err) &&
		   send_clearings(sink, sent, err) && send_range(sink, from, to, sent, err);
}

static bool
send_claim(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent, Error *err)
{
	return send_text(sink, "BEGIN", sent, err) && send_checkpoint(sink, position, sent, err) &&
		   send_clearings(sink, sent, err);
}

static bool
send_savepoint_range(Sink *sink, const SinkPosition *position, uint32_t from, uint32_t to, int *sent,
					 Error *err)
{
	return send_text(sink, "SAVEPOINT walrank", sent, err) && send_range(sink, from, to, sent, err) &&
		   send_text(sink, "RELEASE SAVEPOINT walrank", sent, err);
}

/* ---- batches -------------------------------------------------------------------------------------------------- */

/* The checkpoint did not stand where we left it: somebody else's doing, or an older copy of the database. */
static bool
explain_fence(Sink *sink, Error *err)
{
	SinkPosition now;
	bool found = false;

	if (!execute(sink, "ROLLBACK", "could not roll back", err) || !look(sink, &now, &found, err))
		return false;
	if (found && now.owner_epoch > sink->last.owner_epoch && stream_id_equal(&now.stream_id, &sink->stream))
	{
		error_set(err, ERR_REFUSE,
				  "another writer has opened the sink (owner epoch %" PRIu64 ", ours is %" PRIu64 ")",
				  now.owner_epoch, sink->last.owner_epoch);
		return error_hint(err, "Stop the other one, then restart this one.");
	}
	return error_set(err, ERR_RETRY, "the checkpoint is not where it was left, at unit %" PRIu64,
					 sink->last.seq);
}

/* Nothing but "COMMIT" says it is in: a failed transaction answers ROLLBACK. */
static bool
end_batch(Sink *sink, Error *err)
{
	PGresult *result = expect(sink, PQexec(sink->conn, "COMMIT"), "could not commit a batch", err);
	bool ok = result != NULL && strcmp(PQcmdStatus(result), "COMMIT") == 0;

	if (result != NULL && !ok)
		error_set(err, ERR_RETRY, "the server rolled a batch back");
	if (!ok)
		err->class = err->class == ERR_CONFIG ? ERR_CONFIG : ERR_RETRY;
	PQclear(result);
	return ok;
}

static bool
quarantine(Sink *sink, const PgRow *row, const Error *why, Error *err)
{
	char seq[24];
	char change[24];
	char ranking[24];
	Buffer reason = {0};
	Buffer record = {0};
	const char *values[7] = {sink->sink_name, sink->stream_id, seq, change, ranking, NULL, NULL};
	PGresult *result;

	snprintf(seq, sizeof(seq), "%" PRIu64, row->seq);
	snprintf(change, sizeof(change), "%u", row->change);
	snprintf(ranking, sizeof(ranking), "%u", row->ranking);
	pgbatch_ascii(&reason, slice_string(why->message));
	pgbatch_describe(&record, row);
	buffer_append_byte(&reason, '\0');
	buffer_append_byte(&record, '\0');
	values[5] = (const char *) reason.data;
	values[6] = (const char *) record.data;
	result = query(sink,
				   "INSERT INTO walrank_out.quarantine (sink_id, stream_id, seq, change, out, reason, record)"
				   " VALUES ($1, $2::uuid, $3::bigint, $4::bigint, $5::int, $6, $7)"
				   " ON CONFLICT (sink_id, stream_id, seq, change, out)"
				   " DO UPDATE SET reason = excluded.reason, record = excluded.record, at = excluded.at",
				   7, values, "could not write to the quarantine", err);
	buffer_free(&reason);
	buffer_free(&record);
	PQclear(result);
	return result != NULL;
}

/* Rows [from, to) in halves, until those that are refused stand alone.  Depth: the logarithm of a batch. */
static bool
apply_halves(Sink *sink, SinkPosition *position, uint32_t from, uint32_t to, Error *err)
{
	const uint32_t middle = from + (to - from) / 2;
	Error why = {0};
	int moved;

	if (from >= to || pipeline(sink, send_savepoint_range, position, from, to, -1, &moved, &why))
		return true;
	if (why.class != ERR_DATA)
	{
		*err = why;
		return false;
	}
	if (!execute(sink, "ROLLBACK TO SAVEPOINT walrank", "could not roll back", err))
		return false;
	if (to - from > 1)
		return apply_halves(sink, position, from, middle, err) &&
			   apply_halves(sink, position, middle, to, err);
	position->applied--;
	position->quarantined++;
	return quarantine(sink, &sink->batch.rows[from], &why, err);
}

static bool
correct_counters(Sink *sink, const SinkPosition *position, Error *err)
{
	char applied[24];
	char quarantined[24];
	const char *const values[] = {sink->sink_name, applied, quarantined};
	PGresult *result;

	snprintf(applied, sizeof(applied), "%" PRIu64, position->applied);
	snprintf(quarantined, sizeof(quarantined), "%" PRIu64, position->quarantined);
	result = query(sink,
				   "UPDATE walrank_out.checkpoint SET applied = $2::bigint, quarantined = $3::bigint"
				   " WHERE sink_id = $1",
				   3, values, "could not count what went to the quarantine", err);
	PQclear(result);
	return result != NULL;
}

/* The same batch again, row by row where it must be; the checkpoint row is ours from its first statement on. */
static bool
commit_around_poison(Sink *sink, SinkPosition *position, Error *err)
{
	SinkPosition corrected = *position;
	int moved;

	if (!execute(sink, "ROLLBACK", "could not roll back", err) ||
		!pipeline(sink, send_claim, position, 0, 0, 1, &moved, err))
		return false;
	if (moved != 1)
		return explain_fence(sink, err);
	if (!apply_halves(sink, &corrected, 0, sink->batch.nrows, err) ||
		!correct_counters(sink, &corrected, err) || !end_batch(sink, err))
		return false;
	*position = corrected;
	return true;
}

static bool
commit_batch(Sink *sink, SinkPosition *position, Error *err)
{
	int moved;

	if (!pipeline(sink, send_batch, position, 0, sink->batch.nrows, 1, &moved, err))
		return err->class == ERR_DATA && sink->batch.nrows > 0 && commit_around_poison(sink, position, err);
	if (moved != 1)
		return explain_fence(sink, err);
	return end_batch(sink, err);
}

static bool
pg_commit(Sink *sink, SinkPosition *position, Error *err)
{
	for (int i = 0; i < sink->batch.ntargets; i++)
		if (!ensure_target(sink, sink->batch.targets[i], err))
			return false;
	if (!commit_batch(sink, position, err))
		return false;
	sink->last = *position;
	sink->fresh = false;
	pgbatch_reset(&sink->batch);
	return true;
}

static bool
pg_apply(Sink *sink, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
		 SinkFate *fate, Error *err)
{
	if (entry->kind == RECORD_CHANGE || entry->kind == RECORD_GAP)
	{
		*fate = SINK_FILTERED;
		return true;
	}
	*fate = SINK_APPLIED;
	return pgbatch_add(&sink->batch, reader, header, entry, err);
}

/* The same statement as a batch without rows: it moves back as well as forth. */
static bool
pg_rewind(Sink *sink, const SinkPosition *position, Error *err)
{
	SinkPosition lowered = *position;

	return pg_commit(sink, &lowered, err);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static bool
pg_create(const char *sink_name, const void *options, const StreamId *stream_id, const char *state_dir,
		  Sink **created, Error *err)
{
	const PgOptions *given = options;
	char *message = NULL;
	PQconninfoOption *parsed = PQconninfoParse(given->conninfo, &message);
	Sink *sink;

	if (parsed == NULL)
	{
		error_set(err, ERR_CONFIG, "conninfo is not a connection string: %s",
				  message != NULL ? message : "no memory");
		one_line(err->message);
		PQfreemem(message);
		return error_hint(
			err, "Write it as for psql: host=db dbname=search user=walrank, or as a postgresql:// URI.");
	}
	PQconninfoFree(parsed);
	sink = xcalloc(1, sizeof(*sink));
	sink->sink_name = xstrdup(sink_name);
	sink->conninfo = xstrdup(given->conninfo);
	sink->stream = *stream_id;
	stream_id_text(stream_id, sink->stream_id);
	sink->socket = -1;
	pthread_mutex_init(&sink->lock, NULL);
	pgbatch_init(&sink->batch);
	*created = sink;
	return true;
}

static void
pg_close(Sink *sink)
{
	disconnect(sink);
	pgbatch_reset(&sink->batch);
}

static void
pg_destroy(Sink *sink)
{
	disconnect(sink);
	pgbatch_free(&sink->batch);
	for (int i = 0; i < PARAMS_MAX; i++)
		buffer_free(&sink->arrays[i]);
	pthread_mutex_destroy(&sink->lock);
	free(sink->sink_name);
	free(sink->conninfo);
	free(sink);
}

const SinkType sink_postgres = {
	.name = "postgres",
	.options = pg_options,
	.options_bytes = sizeof(PgOptions),
	.create = pg_create,
	.open = pg_open,
	.apply = pg_apply,
	.commit = pg_commit,
	.rewind = pg_rewind,
	.peek = pg_peek,
	.interrupt = pg_interrupt,
	.close = pg_close,
	.destroy = pg_destroy,
};
