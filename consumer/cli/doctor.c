/*
 * doctor.c -- `walrank doctor`: what is wrong with server and set-up, each with the line that cures it.
 *
 * A check is a row: a query of (severity, finding, cure).  No row found means all is well.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "stream/source.h"

typedef struct Check
{
	const char *name;
	int version_min; /* of the server; 0 = any, OURS = reads tables of the extension */
	const char *sql; /* $1 = slot, $2 = the daemon's role */
} Check;

#define OURS (-1)

static const Check checks[] = {
	{"rights", 0,
	 "SELECT 'note', 'connected as ' || quote_ident(current_user) || ', which may not see every setting: the "
	 "check of output_plugin_libraries says nothing', 'walrank -U SUPERUSER doctor' WHERE NOT "
	 "pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')"},
	{"wal_level", 0,
	 "SELECT 'blocker', 'wal_level is ' || setting, 'ALTER SYSTEM SET wal_level = logical; -- then restart "
	 "the server' "
	 "FROM pg_settings WHERE name = 'wal_level' AND setting <> 'logical'"},
	{"extension", 0,
	 "SELECT 'blocker', 'extension walrank is not installed in database ' || "
	 "quote_ident(current_database()), 'walrank init' "
	 "WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'walrank')"},
	{"allow-list", 0,
	 "SELECT 'blocker', 'the server refuses our plugin for role ' || quote_ident($2) || ': "
	 "output_plugin_libraries is ' || v.list, "
	 "'ALTER ROLE ' || quote_ident($2) || v.scope || ' SET output_plugin_libraries = ' || CASE WHEN "
	 "btrim(v.list, ' \"') = '' THEN '' ELSE v.list || ', ' END || 'walrank;' "
	 "FROM (SELECT coalesce((SELECT ' IN DATABASE ' || quote_ident(current_database()) FROM "
	 "pg_db_role_setting s, unnest(s.setconfig) c WHERE c LIKE 'output\\_plugin\\_libraries=%' AND s.setrole "
	 "= (SELECT oid FROM pg_roles WHERE rolname = $2) AND s.setdatabase = (SELECT oid FROM pg_database WHERE "
	 "datname = current_database())), '') AS scope, coalesce((SELECT substr(c, strpos(c, '=') + 1) FROM "
	 "pg_db_role_setting s, "
	 "unnest(s.setconfig) c WHERE c LIKE "
	 "'output\\_plugin\\_libraries=%' AND s.setrole IN (0, coalesce((SELECT oid FROM pg_roles WHERE rolname "
	 "= $2), 0)) AND "
	 "s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY "
	 "(s.setrole <> 0)::int4 * 2 + "
	 "(s.setdatabase <> 0)::int4 DESC LIMIT 1), g.reset_val) AS list FROM pg_settings g WHERE g.name = "
	 "'output_plugin_libraries') v "
	 "WHERE NOT EXISTS (SELECT FROM unnest(string_to_array(v.list, ',')) x WHERE btrim(x, ' \"') = "
	 "'walrank')"},
	{"role", 0,
	 "SELECT 'blocker', 'role ' || quote_ident($2) || CASE WHEN r.oid IS NULL THEN ' does not exist' ELSE ' "
	 "may not log in and stream' END, "
	 "'walrank init --role ' || quote_ident($2) FROM (SELECT 1) x LEFT JOIN pg_roles r ON r.rolname = $2 "
	 "WHERE r.oid IS NULL OR NOT "
	 "(r.rolcanlogin AND (r.rolreplication OR r.rolsuper))"},
	{"reader", 0,
	 "SELECT 'blocker', 'role ' || quote_ident($2) || ' may not read the watched tables', 'GRANT "
	 "walrank_reader TO ' || quote_ident($2) || ';' "
	 "FROM pg_roles r, pg_roles g WHERE r.rolname = $2 AND g.rolname = 'walrank_reader' AND NOT "
	 "pg_has_role(r.oid, g.oid, 'USAGE')"},
	{"publications", 0,
	 "SELECT 'blocker', 'publication ' || p || ' does not exist', 'SELECT walrank.setup(' || "
	 "quote_literal($2) || ');' FROM "
	 "unnest(ARRAY['walrank', 'walrank_config']) p WHERE NOT EXISTS (SELECT FROM pg_publication WHERE "
	 "pubname = p)"},
	{"publication form", 0,
	 "SELECT 'blocker', 'publication ' || quote_ident(pubname) || ' publishes via the partition root', "
	 "'ALTER PUBLICATION ' || "
	 "quote_ident(pubname) || ' SET (publish_via_partition_root = false);' FROM pg_publication WHERE pubname "
	 "IN ('walrank', 'walrank_config') "
	 "AND pubviaroot UNION ALL SELECT 'blocker', 'publication ' || quote_ident(p.pubname) || ' has a row "
	 "filter or column list on ' || "
	 "r.prrelid::regclass, 'ALTER PUBLICATION ' || quote_ident(p.pubname) || ' SET TABLE ...; -- without "
	 "WHERE and column list' FROM "
	 "pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid "
	 "JOIN pg_namespace s ON s.oid = c.relnamespace WHERE p.pubname IN ('walrank', "
	 "'walrank_config') AND s.nspname = 'walrank' AND (r.prqual IS "
	 "NOT NULL OR r.prattrs IS NOT NULL)"},
	{"configuration tables", OURS,
	 "SELECT 'blocker', 'publication walrank_config lacks walrank.' || t, 'SELECT walrank.setup(); -- as a "
	 "superuser' FROM unnest(ARRAY['watched', 'ranking', 'intervention', 'control']) t WHERE EXISTS (SELECT "
	 "FROM "
	 "pg_publication WHERE pubname = 'walrank_config') AND NOT EXISTS (SELECT FROM pg_publication_rel r JOIN "
	 "pg_publication p ON p.oid = r.prpubid WHERE p.pubname = 'walrank_config' AND r.prrelid = "
	 "to_regclass('walrank.' "
	 "|| t))"},
	{"watched tables", 0,
	 "SELECT 'blocker', 'watched table ' || c.oid::regclass || CASE c.relreplident WHEN 'n' THEN ' has "
	 "REPLICA IDENTITY NOTHING' WHEN "
	 "'i' THEN ' has REPLICA IDENTITY USING INDEX' ELSE ' has no primary key' END, CASE WHEN c.relreplident "
	 "IN ('n', 'i') THEN "
	 "'ALTER TABLE ' || c.oid::regclass || ' REPLICA IDENTITY DEFAULT;' ELSE 'ALTER TABLE ' || "
	 "c.oid::regclass || ' ADD PRIMARY KEY (' || coalesce((SELECT quote_ident(attname) FROM pg_attribute "
	 "WHERE attrelid = c.oid AND attname = 'id' AND NOT attisdropped), '...') || ');' END "
	 "FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = "
	 "r.prrelid WHERE p.pubname = 'walrank' "
	 "AND (c.relreplident IN ('n', 'i') OR NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND "
	 "i.indisprimary))"},
	{"captured", OURS,
	 "SELECT 'blocker', 'watched table ' || w.relation || CASE WHEN to_regclass(w.relation) IS NULL THEN ' "
	 "does not exist' ELSE ' is not in publication walrank: its changes do not arrive' END, CASE WHEN "
	 "to_regclass(w.relation) IS NULL THEN 'DELETE FROM walrank.watched WHERE relation = ' || "
	 "quote_literal(w.relation) || ';' ELSE 'SELECT walrank.watch(' || quote_literal(w.relation) || "
	 "coalesce(', ' || quote_literal(w.map), '') || ');' END FROM walrank.watched w WHERE NOT EXISTS (SELECT "
	 "FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = 'walrank' AND "
	 "r.prrelid = to_regclass(w.relation))"},
	{"slot exists", OURS,
	 "SELECT 'blocker', 'slot ' || quote_ident(c.slot) || ' of stream ' || c.stream_id || ' does not exist', "
	 "'walrank rebuild --new-slot' "
	 "FROM walrank.control c WHERE c.slot = $1 AND c.state = 'ready' AND NOT EXISTS (SELECT FROM "
	 "pg_replication_slots s WHERE s.slot_name = c.slot)"},
	{"slot", 0,
	 "SELECT CASE WHEN wal_status IN ('lost', 'unreserved') THEN 'blocker' ELSE 'warning' END, 'slot ' || "
	 "quote_ident(slot_name) || ': "
	 "wal_status is ' || wal_status, CASE wal_status WHEN 'lost' THEN 'walrank rebuild "
	 "--new-slot' ELSE 'Start walrankd soon: the server is about to remove what the "
	 "slot needs.' END FROM "
	 "pg_replication_slots WHERE slot_name = $1 AND wal_status IN ('lost', 'unreserved') UNION ALL SELECT "
	 "'warning', 'slot ' || "
	 "quote_ident(slot_name) || ' holds back ' || pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), "
	 "restart_lsn)), 'Is walrankd running? "
	 "A long transaction on the source holds it back as well: see pg_stat_activity.' FROM "
	 "pg_replication_slots WHERE slot_name = $1 AND NOT "
	 "pg_is_in_recovery() AND pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > 10737418240 UNION ALL "
	 "SELECT 'blocker', 'slot ' || "
	 "quote_ident(slot_name) || ' belongs to ' || coalesce('plugin ' || plugin, 'physical replication') || "
	 "', database ' || "
	 "coalesce(database, '-'), 'Choose another [source] slot.' FROM pg_replication_slots WHERE slot_name = "
	 "$1 AND (plugin IS DISTINCT FROM "
	 "'walrank' OR database IS DISTINCT FROM current_database())"},
	{"slot age", 0,
	 "SELECT 'warning', 'slot ' || quote_ident(slot_name) || ' keeps catalog rows back for ' || "
	 "age(catalog_xmin) || ' transactions', 'Let "
	 "walrankd catch up, or drop the slot if nobody needs it.' FROM pg_replication_slots WHERE slot_name = "
	 "$1 AND age(catalog_xmin) > 100000000"},
	{"retained WAL", 0,
	 "SELECT 'warning', 'max_slot_wal_keep_size is -1: a stopped daemon would fill the disk', 'ALTER SYSTEM "
	 "SET max_slot_wal_keep_size = "
	 "''50GB''; SELECT pg_reload_conf();' FROM pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting "
	 "= '-1'"},
	{"idle timeout", 180000,
	 "SELECT 'warning', 'idle_replication_slot_timeout is ' || setting || ': a daemon stopped for longer "
	 "loses its slot', 'ALTER SYSTEM SET "
	 "idle_replication_slot_timeout = 0; SELECT pg_reload_conf();' FROM pg_settings WHERE name = "
	 "'idle_replication_slot_timeout' AND setting "
	 "<> '0'"},
	{"synchronous", 0,
	 "SELECT 'warning', 'walrankd counts as a synchronous standby: commits wait for its disk', 'ALTER SYSTEM "
	 "SET synchronous_standby_names = "
	 "...; -- without * and walrank' FROM pg_stat_replication WHERE application_name = 'walrank' AND "
	 "sync_state <> 'async'"},
	{"latency", 0,
	 "SELECT 'note', 'synchronous_commit is off: changes can be streamed only when WAL is flushed, every ' "
	 "|| (SELECT setting FROM "
	 "pg_settings WHERE name = 'wal_writer_delay') || ' ms', 'ALTER SYSTEM SET wal_writer_delay = ''10ms''; "
	 "SELECT pg_reload_conf();' FROM "
	 "pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'"},
	{"restores", 0,
	 "SELECT 'note', 'track_commit_timestamp is off: a restore that loses only seconds is harder to notice', "
	 "'ALTER SYSTEM SET "
	 "track_commit_timestamp = on; -- then restart the server' FROM pg_settings WHERE name = "
	 "'track_commit_timestamp' AND setting = 'off'"},
	{"messages", 0,
	 "SELECT 'note', 'every role may write logical messages into the stream', 'REVOKE EXECUTE ON FUNCTION "
	 "pg_logical_emit_message(boolean, "
	 "text, text), pg_logical_emit_message(boolean, text, bytea) FROM PUBLIC;' WHERE EXISTS (SELECT FROM "
	 "pg_proc p, aclexplode(coalesce("
	 "p.proacl, acldefault('f', p.proowner))) a WHERE p.proname = 'pg_logical_emit_message' AND a.grantee = "
	 "0)"},
};

typedef struct Findings
{
	int blockers, others;
	bool json;
	Buffer out;
} Findings;

static void
report(Findings *findings, const char *check, const char *severity, const char *finding, const char *cure)
{
	Buffer *out = &findings->out;

	if (strcmp(severity, "blocker") == 0)
		findings->blockers++;
	else
		findings->others++;
	if (!findings->json)
	{
		buffer_printf(out, "%-8s %s\n         cure: %s\n", severity, finding, cure);
		return;
	}
	buffer_printf(out, "%s{\"check\":", findings->blockers + findings->others > 1 ? "," : "");
	json_string(out, slice_string(check));
	buffer_printf(out, ",\"severity\":\"%s\",\"finding\":", severity);
	json_string(out, slice_string(finding));
	buffer_printf(out, ",\"cure\":");
	json_string(out, slice_string(cure));
	buffer_printf(out, "}");
}

static bool
run_check(PGconn *conn, const Check *check, bool installed, const char *slot, const char *role,
		  Findings *findings, Error *err)
{
	/* both parameters are always given a type, whether the query uses them or not */
	Buffer sql = {0};
	const char *params[] = {slot, role};
	PGresult *res;

	if (PQserverVersion(conn) < check->version_min || (check->version_min == OURS && !installed))
		return true;
	buffer_printf(&sql, "SELECT c.* FROM (SELECT $1::pg_catalog.text, $2::pg_catalog.text) p, LATERAL (%s) c",
				  check->sql);
	res = source_query(conn, 3, err, check->name, (char *) sql.data, 2, params);
	buffer_free(&sql);
	if (res == NULL)
		return false;
	for (int i = 0; i < PQntuples(res); i++)
		report(findings, check->name, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1), PQgetvalue(res, i, 2));
	PQclear(res);
	return true;
}

/* Without the extension its tables cannot be asked; that it is missing is a finding of its own. */
static bool
is_installed(PGconn *conn, bool *installed, Error *err)
{
	PGresult *res =
		source_query(conn, 1, err, "extension", "SELECT pg_catalog.to_regclass('walrank.control')", 0, NULL);

	*installed = res != NULL && !PQgetisnull(res, 0, 0);
	PQclear(res);
	return res != NULL;
}

enum
{
	DOCTOR_SLOT,
	DOCTOR_ROLE
};

static const CliOption options[] = {
	{"--slot", "NAME", "the daemon's slot (default: that of the configuration, else walrank)"},
	{"--role", "NAME", "the daemon's login role (default: walrank_daemon)"},
	{0},
};

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Findings findings = {.json = cli->json};
	Buffer conninfo = {0};
	Config *config = NULL;
	PGconn *conn = NULL;
	Error err;
	const char *role = values[DOCTOR_ROLE] != NULL ? values[DOCTOR_ROLE] : "walrank_daemon";
	const char *slot = values[DOCTOR_SLOT];
	bool installed = false;
	bool ok = cli->config_file == NULL || cli_config(cli, &config, &err);

	if (slot == NULL)
		slot = config != NULL ? config->source.slot : "walrank";
	ok = ok && cli_conninfo(cli, &conninfo, &err) &&
		 source_connect((char *) conninfo.data, SOURCE_SQL, &conn, &err);
	ok = ok && is_installed(conn, &installed, &err);
	for (size_t i = 0; ok && i < sizeof(checks) / sizeof(checks[0]); i++)
		ok = run_check(conn, &checks[i], installed, slot, role, &findings, &err);
	if (ok && cli->json)
		cli_print("{\"blockers\":%d,\"findings\":[%.*s]}\n", findings.blockers, (int) findings.out.len,
				  (char *) findings.out.data);
	else if (ok)
		cli_print("%.*s%d blockers, %d other findings in %zu checks\n", (int) findings.out.len,
				  (char *) findings.out.data, findings.blockers, findings.others,
				  sizeof(checks) / sizeof(checks[0]));
	PQfinish(conn);
	config_free(config);
	buffer_free(&conninfo);
	buffer_free(&findings.out);
	return !ok ? cli_fail(&err) : findings.blockers > 0 ? EXIT_CONDITION : EXIT_DONE;
}

const CliCommand cli_doctor = {
	.name = "doctor",
	.summary =
		"check server and set-up; every finding with the line that cures it (exit 3 if something blocks)",
	.options = options,
	.run = run,
};
