/*
 * init.c -- `walrank init`: what a database administrator does once.
 *
 * Extension, publications (before any slot: hazard of a publication missing in the historic catalog),
 * the daemon's role with its rights, and the union of that role's effective output_plugin_libraries
 * with ours where the server knows the setting.  Idempotent.
 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream/source.h"

typedef struct Init
{
	PGconn *conn;
	const char *role;
	bool execute;
	Error err;
} Init;

/* One statement: shown, executed, or both. */
static bool statement(Init *init, const char *format, ...) ERROR_PRINTF(2, 3);

static bool
statement(Init *init, const char *format, ...)
{
	char sql[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	cli_print("%s;\n", sql);
	return !init->execute || source_execute(init->conn, &init->err, sql, sql, 0, NULL);
}

/* A single text value; NULL in *value when there is no row or it is null. Caller frees. */
static bool
ask(Init *init, char **value, const char *sql, const char *parameter)
{
	const char *params[] = {parameter};
	PGresult *res = source_query(init->conn, 1, &init->err, sql, sql, parameter != NULL ? 1 : 0, params);

	*value = NULL;
	if (res == NULL)
		return false;
	if (PQntuples(res) > 0 && !PQgetisnull(res, 0, 0))
		*value = xstrdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	return true;
}

static bool
check_server(Init *init)
{
	char *level = NULL;
	bool ok = true;

	if (PQserverVersion(init->conn) < 150000)
	{
		error_set(&init->err, ERR_CONFIG, "the server is too old: version %d",
				  PQserverVersion(init->conn) / 10000);
		return error_hint(&init->err, "walrank needs PostgreSQL 15 or later.");
	}
	if (!ask(init, &level, "SELECT pg_catalog.current_setting('wal_level')", NULL))
		return false;
	if (level == NULL || strcmp(level, "logical") != 0)
	{
		error_set(&init->err, ERR_CONFIG, "wal_level is \"%s\", and must be logical",
				  level != NULL ? level : "");
		error_hint(&init->err, "ALTER SYSTEM SET wal_level = logical; then restart the server.");
		ok = false;
	}
	free(level);
	return ok;
}

/*
 * What a stopped daemon may hold back: refused when unbounded, else said in hours.  The rate is the
 * server's own average since its statistics began.
 */
static bool
check_retained_wal(Init *init, bool accept_unbounded)
{
	char *text = NULL;

	if (!ask(
			init, &text,
			"SELECT CASE WHEN s.setting::int8 < 0 THEN NULL ELSE pg_catalog.format('-- "
			"max_slot_wal_keep_size is %s MB: at "
			"the average rate since %s a stopped daemon has about %s hours before its slot is lost', "
			"s.setting, "
			"pg_catalog.to_char(w.stats_reset, 'YYYY-MM-DD'), pg_catalog.round(s.setting::numeric * 1048576 "
			"/ "
			"(w.wal_bytes + 1) * extract(epoch FROM pg_catalog.now() - w.stats_reset)::numeric / 3600, 1)) "
			"END "
			"FROM pg_catalog.pg_settings s, pg_catalog.pg_stat_wal w WHERE s.name = 'max_slot_wal_keep_size'",
			NULL))
		return false;
	if (text != NULL)
		cli_print("%s\n", text);
	else if (!accept_unbounded)
	{
		error_set(&init->err, ERR_CONFIG,
				  "max_slot_wal_keep_size is -1: a daemon that stays stopped would fill the server's disk");
		return error_hint(&init->err,
						  "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); "
						  "or run init again with --accept-unbounded-wal.");
	}
	free(text);
	return true;
}

/*
 * The role's effective list and ours, each element quoted the way the server's list settings want it:
 * never as one string.  What this session starts with is another role's business where that role or
 * the database has a value of its own: then the configuration file's value counts.
 */
#define LIST_UNION                                                                                           \
	"SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(l), ', ') FROM (SELECT pg_catalog.btrim("  \
	"x, ' \"') AS l FROM pg_catalog.unnest(pg_catalog.string_to_array(coalesce((SELECT pg_catalog.substr("   \
	"c, pg_catalog.strpos(c, '=') + 1) FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig)" \
	" c WHERE c LIKE 'output\\_plugin\\_libraries=%' AND s.setrole IN (0, coalesce((SELECT oid FROM "        \
	"pg_catalog.pg_roles WHERE rolname = $1), 0)) AND s.setdatabase IN (0, (SELECT oid FROM "                \
	"pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) ORDER BY (s.setrole <> "         \
	"0)::int4 * 2 + (s.setdatabase <> 0)::int4 DESC LIMIT 1), CASE WHEN g.source IN ('global', 'database', " \
	"'user', 'database user', 'client', 'session') THEN coalesce((SELECT f.setting FROM "                    \
	"pg_catalog.pg_file_settings f WHERE f.name = g.name AND f.applied ORDER BY f.seqno DESC LIMIT 1), "     \
	"g.boot_val) ELSE g.reset_val END), ',')) x UNION SELECT 'walrank') u WHERE l <> ''"

/* A value for the role in this database alone hides the role's own: then that one is set. */
#define IN_DATABASE                                                                                          \
	"SELECT ' IN DATABASE ' || pg_catalog.quote_ident(d.datname) FROM pg_catalog.pg_db_role_setting s, "     \
	"pg_catalog.unnest(s.setconfig) c, pg_catalog.pg_roles r, pg_catalog.pg_database d WHERE c LIKE "        \
	"'output\\_plugin\\_libraries=%' AND r.rolname = $1 AND s.setrole = r.oid AND d.datname = "              \
	"pg_catalog.current_database() AND s.setdatabase = d.oid"

static bool
allow_plugin(Init *init)
{
	char *list = NULL;
	char *scope = NULL;
	char *role = PQescapeIdentifier(init->conn, init->role, strlen(init->role));
	bool ok =
		ask(init, &list,
			"SELECT (" LIST_UNION ") FROM pg_catalog.pg_settings g WHERE g.name = 'output_plugin_libraries'",
			init->role) &&
		ask(init, &scope, IN_DATABASE, init->role);

	if (ok && list != NULL)
		ok = statement(init, "ALTER ROLE %s%s SET output_plugin_libraries = %s", role,
					   scope != NULL ? scope : "", list);
	free(list);
	free(scope);
	PQfreemem(role);
	return ok;
}

static bool
make_role(Init *init)
{
	char *oid = NULL;
	char *role = PQescapeIdentifier(init->conn, init->role, strlen(init->role));
	bool ok = ask(init, &oid, "SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1", init->role);

	if (ok)
		ok = oid == NULL ? statement(init, "CREATE ROLE %s LOGIN REPLICATION", role)
						 : statement(init, "ALTER ROLE %s LOGIN REPLICATION", role);
	free(oid);
	PQfreemem(role);
	return ok;
}

static bool
set_up(Init *init)
{
	char *literal = PQescapeLiteral(init->conn, init->role, strlen(init->role));
	bool ok;

	cli_print("-- part 1: as a superuser, in this database\n");
	ok = statement(init, "CREATE EXTENSION IF NOT EXISTS walrank") && make_role(init) && allow_plugin(init) &&
		 statement(init, "SELECT walrank.setup(%s)", literal);
	if (ok)
		cli_print("-- part 2: as the owner of each table, who is a member of walrank_admin\n"
				  "--   GRANT walrank_admin TO owner;    (by the superuser)\n"
				  "--   SELECT walrank.watch('schema.table', map => 'jsonb_column');\n"
				  "-- then, where the daemon runs: walrankd -c FILE --create\n");
	PQfreemem(literal);
	return ok;
}

enum
{
	INIT_ROLE,
	INIT_PRINT_SQL,
	INIT_UNBOUNDED
};

static const CliOption options[] = {
	{"--role", "NAME", "the daemon's login role (default: walrank_daemon)"},
	{"--print-sql", NULL, "print the SQL instead of running it: a superuser's part and the owners' part"},
	{"--accept-unbounded-wal", NULL, "go on although max_slot_wal_keep_size is -1"},
	{0},
};

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Init init = {.role = values[INIT_ROLE] != NULL ? values[INIT_ROLE] : "walrank_daemon"};
	Buffer conninfo = {0};
	bool ok;

	init.execute = values[INIT_PRINT_SQL] == NULL && !cli->dry_run;
	ok = cli_conninfo(cli, &conninfo, &init.err) &&
		 source_connect((char *) conninfo.data, SOURCE_SQL, &init.conn, &init.err);
	if (ok)
	{
		ok =
			check_server(&init) && check_retained_wal(&init, values[INIT_UNBOUNDED] != NULL) && set_up(&init);
		PQfinish(init.conn);
	}
	buffer_free(&conninfo);
	return ok ? EXIT_DONE : cli_fail(&init.err);
}

const CliCommand cli_init = {
	.name = "init",
	.summary = "extension, publications, the daemon's role and rights (a superuser, once)",
	.options = options,
	.run = run,
};
