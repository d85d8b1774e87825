/*
 * teardown.c -- `walrank teardown`: removes what init and --create made in the source.
 *
 * The slot first (it holds WAL back), then publications, extension and role.  The sinks and the
 * daemon's state directory are not touched.
 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "stream/source.h"

typedef struct Teardown
{
	PGconn *conn;
	bool execute;
	Error err;
} Teardown;

static bool statement(Teardown *down, const char *format, ...) ERROR_PRINTF(2, 3);

static bool
statement(Teardown *down, const char *format, ...)
{
	char sql[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	cli_print("%s;\n", sql);
	return !down->execute || source_execute(down->conn, &down->err, sql, sql, 0, NULL);
}

/* For every row of a query of one column: statement(format, value). */
static bool
for_each(Teardown *down, const char *query, const char *parameter, const char *format)
{
	const char *params[] = {parameter};
	PGresult *res = source_query(down->conn, 1, &down->err, query, query, parameter != NULL ? 1 : 0, params);
	bool ok = res != NULL;

	for (int i = 0; ok && i < PQntuples(res); i++)
	{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		ok = statement(down, format, PQgetvalue(res, i, 0));
#pragma GCC diagnostic pop
	}
	PQclear(res);
	return ok;
}

static bool
slot_is_free(Teardown *down, const char *slot)
{
	SourceSlot row;

	if (!source_slot(down->conn, slot, &row, &down->err))
		return false;
	if (row.found && row.active)
	{
		error_set(&down->err, ERR_CONFIG, "slot \"%s\" is active", slot);
		return error_hint(&down->err, "Stop walrankd first.");
	}
	if (row.found && strcmp(row.plugin, SOURCE_PLUGIN) != 0)
	{
		error_set(&down->err, ERR_CONFIG, "slot \"%s\" is not ours: its plugin is \"%s\"", slot, row.plugin);
		return error_hint(&down->err, "Name the right one with --slot or in the configuration.");
	}
	return true;
}

static bool
may_remove(Teardown *down)
{
	PGresult *res =
		source_query(down->conn, 1, &down->err, "rights",
					 "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolsuper", 0, NULL);
	bool super = res != NULL && PQntuples(res) > 0;

	if (res != NULL && !super)
	{
		error_set(&down->err, ERR_CONFIG, "only a superuser may remove walrank; connected as \"%s\"",
				  PQuser(down->conn));
		error_hint(&down->err, "Name one with -U; the configuration names the daemon's own role.");
	}
	PQclear(res);
	return super;
}

/*
 * Our roles that own nothing but publications of ours: DROP OWNED takes rights away, and must never
 * take somebody's table with them.
 */
#define OUR_ROLES                                                                                            \
	"SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles r WHERE rolname IN ($1, "               \
	"'walrank_admin', 'walrank_ingest', 'walrank_reader') AND NOT EXISTS (SELECT FROM "                      \
	"pg_catalog.pg_shdepend d WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND "         \
	"d.refobjid = r.oid AND (d.deptype = 'o' AND d.classid <> "                                              \
	"'pg_catalog.pg_publication'::pg_catalog.regclass"

static bool
remove_all(Teardown *down, const char *slot, const char *role)
{
	return may_remove(down) && slot_is_free(down, slot) &&
		   for_each(down,
					"SELECT pg_catalog.quote_literal(slot_name) FROM pg_catalog.pg_replication_slots WHERE "
					"slot_name = $1",
					slot, "SELECT pg_catalog.pg_drop_replication_slot(%s)") &&
		   for_each(down,
					"SELECT pg_catalog.quote_ident(pubname) FROM pg_catalog.pg_publication WHERE pubname IN "
					"('walrank', 'walrank_config')",
					NULL, "DROP PUBLICATION %s") &&
		   for_each(down,
					"SELECT pg_catalog.quote_ident(extname) FROM pg_catalog.pg_extension WHERE extname = "
					"'walrank'",
					NULL, "DROP EXTENSION %s CASCADE") &&
		   for_each(down, OUR_ROLES "))", role, "DROP OWNED BY %s") &&
		   /* a role that another database of the cluster still needs stays */
		   for_each(down,
					OUR_ROLES
					" OR d.dbid <> 0 AND d.dbid <> (SELECT oid FROM pg_catalog.pg_database WHERE datname = "
					"pg_catalog.current_database())))",
					role, "DROP ROLE %s");
}

enum
{
	TEARDOWN_SLOT,
	TEARDOWN_ROLE
};

static const CliOption options[] = {
	{"--slot", "NAME", "the slot (default: that of the configuration, else walrank)"},
	{"--role", "NAME", "the daemon's login role (default: walrank_daemon)"},
	{0},
};

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Teardown down = {.execute = !cli->dry_run};
	Buffer conninfo = {0};
	Config *config = NULL;
	const char *slot = values[TEARDOWN_SLOT];
	const char *role = values[TEARDOWN_ROLE] != NULL ? values[TEARDOWN_ROLE] : "walrank_daemon";
	bool ok = true;

	if (cli->config_file != NULL)
		ok = cli_config(cli, &config, &down.err);
	if (slot == NULL)
		slot = config != NULL ? config->source.slot : "walrank";
	ok = ok && cli_conninfo(cli, &conninfo, &down.err) &&
		 source_connect((char *) conninfo.data, SOURCE_SQL, &down.conn, &down.err);
	if (ok)
	{
		ok = remove_all(&down, slot, role);
		if (ok)
			cli_print("-- left alone: the daemon's state directory%s%s, and what the sinks hold (schema "
					  "walrank_out, files)\n",
					  config != NULL ? " " : "", config != NULL ? config->state.directory : "");
	}
	PQfinish(down.conn);
	config_free(config);
	buffer_free(&conninfo);
	return ok ? EXIT_DONE : cli_fail(&down.err);
}

const CliCommand cli_teardown = {
	.name = "teardown",
	.summary = "remove slot, publications, extension and roles from the source; --dry-run first",
	.options = options,
	.run = run,
};
