/*
 * interventions.c -- `walrank interventions` lists them, `walrank end ID` ends one.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/steering.h"

/* ---- list ------------------------------------------------------------------------------------------ */

enum
{
	LIST_ALL,
	LIST_RANKING,
	LIST_TABLE,
};

static const CliOption list_options[] = {
	{"--all", NULL, "also those that have ended"},
	{"--ranking", "NAME", "those that count in this ranking"},
	{"--table", "TABLE", "those of this table"},
	{0},
};

/* Those in force in order of precedence, then those to come, then those that ended, the last first. */
static const char list_query[] =
	"SELECT s.state, i.id, i.relation, coalesce(i.ranking, '*'), coalesce(i.key::text, 'where ' || "
	"i.condition),"
	" i.action || coalesce(' ' || i.position, '') || coalesce(' ' || i.tier, '') || coalesce(' *' || "
	"i.factor, '')"
	" || coalesce(CASE WHEN i.addend < 0 THEN ' ' ELSE ' +' END || i.addend, '') || coalesce(' ' || i.score, "
	"''),"
	" to_char(i.valid_from, 'YYYY-MM-DD HH24:MI'), coalesce(to_char(nullif(i.valid_until, 'infinity'),"
	" 'YYYY-MM-DD HH24:MI'), '-'), i.priority, i.author, translate(i.reason, E'\\n\\r\\t', '   '),"
	" (jsonb_build_object('state', s.state) || to_jsonb(i) - 'item_key')::text"
	" FROM walrank.intervention i, LATERAL (SELECT CASE WHEN i.valid_from > now() THEN 'upcoming'"
	" WHEN i.valid_until <= now() THEN 'ended' ELSE 'in force' END AS state) s"
	" WHERE ($1::text IS NOT NULL OR s.state <> 'ended')"
	" AND ($2::text IS NULL OR i.ranking = $2 OR (i.ranking IS NULL"
	" AND i.relation = (SELECT r.relation FROM walrank.ranking r WHERE r.name = $2)))"
	" AND ($3::text IS NULL OR i.relation = $3)"
	" ORDER BY array_position(ARRAY['in force', 'upcoming', 'ended'], s.state), i.relation,"
	" CASE WHEN s.state = 'in force' THEN -i.priority END, CASE WHEN s.state = 'upcoming' THEN i.valid_from "
	"END,"
	" CASE WHEN s.state = 'ended' THEN i.valid_until END DESC, i.id DESC";

static const char *const titles[] = {"STATE", "ID",	   "TABLE",	   "RANKING", "ITEMS", "ACTION",
									 "FROM",  "UNTIL", "PRIORITY", "AUTHOR",  "REASON"};
#define TITLES (sizeof(titles) / sizeof(titles[0]))
#define WIDTH_MAX 60

/* In characters: a byte that continues one has no width. */
static int
width_of(const char *text)
{
	int width = 0;

	for (; *text != '\0'; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static void
print_cell(const char *text, int width, bool last)
{
	cli_print("%s%*s", text, last ? 0 : width - width_of(text) + 2 > 0 ? width - width_of(text) + 2 : 2, "");
}

static void
print_list(const PGresult *list)
{
	int widths[TITLES];

	for (size_t column = 0; column < TITLES; column++)
	{
		widths[column] = width_of(titles[column]);
		for (int i = 0; i < PQntuples(list); i++)
		{
			int width = width_of(PQgetvalue(list, i, (int) column));

			if (width > widths[column])
				widths[column] = width < WIDTH_MAX ? width : WIDTH_MAX;
		}
		print_cell(titles[column], widths[column], column == TITLES - 1);
	}
	cli_print("\n");
	for (int i = 0; i < PQntuples(list); i++)
	{
		for (size_t column = 0; column < TITLES; column++)
			print_cell(PQgetvalue(list, i, (int) column), widths[column], column == TITLES - 1);
		cli_print("\n");
	}
}

static void
print_list_json(const PGresult *list)
{
	cli_print("{\"interventions\":[");
	for (int i = 0; i < PQntuples(list); i++)
		cli_print("%s%s", i > 0 ? "," : "", PQgetvalue(list, i, TITLES));
	cli_print("]}\n");
}

static int
run_list(const Cli *cli, const char *const *values, const char *const *operands)
{
	PGconn *conn = NULL;
	PGresult *list = NULL;
	char *relation = NULL;
	Error err;
	bool ok = steering_connect(cli, &conn, &err) &&
			  (values[LIST_TABLE] == NULL || steering_relation(conn, values[LIST_TABLE], &relation, &err));
	const char *params[] = {values[LIST_ALL], values[LIST_RANKING], relation};

	ok = ok && (list = steering_query(conn, &err, list_query, 3, params)) != NULL;
	if (ok)
		(cli->json ? print_list_json : print_list)(list);
	PQclear(list);
	PQfinish(conn);
	free(relation);
	return ok ? EXIT_DONE : cli_fail(&err);
}

/* ---- end --------------------------------------------------------------------------------------------- */

static const CliOption end_options[] = {
	{"--reason", "TEXT", "why; has to be given, and takes the place of the reason it began for"},
	{0},
};

/* One that has not begun has no end behind its beginning: it goes, and the log keeps it with the reason. */
static const char end_query[] =
	"WITH chosen AS MATERIALIZED (SELECT i.id, i.valid_from > now() AS upcoming, i.valid_until <= now() AS "
	"ended,"
	" i.valid_until FROM walrank.intervention i WHERE i.id = $1::int8 FOR UPDATE), over AS (UPDATE "
	"walrank.intervention i"
	" SET valid_until = CASE WHEN c.upcoming THEN i.valid_until ELSE now() END, reason = $2 FROM chosen c"
	" WHERE i.id = c.id AND c.ended IS NOT TRUE RETURNING i.id)"
	" SELECT CASE WHEN c.ended THEN 'ended' WHEN c.upcoming THEN 'upcoming' ELSE 'in force' END, "
	"c.valid_until"
	" FROM chosen c LEFT JOIN over o ON o.id = c.id";

static bool
is_number(const char *word)
{
	size_t digits = strspn(word, "0123456789");

	return digits > 0 && digits < 19 && word[digits] == '\0';
}

static bool
end_one(const Cli *cli, PGconn *conn, const char *const *params, const char **state, PGresult **chosen,
		Error *err)
{
	if (!steering_execute(conn, err, "BEGIN"))
		return false;
	*chosen = steering_query(conn, err, end_query, 2, params);
	if (*chosen == NULL)
		return false;
	*state = PQntuples(*chosen) > 0 ? PQgetvalue(*chosen, 0, 0) : "missing";
	if (strcmp(*state, "upcoming") == 0)
	{
		PGresult *gone = steering_query(
			conn, err, "DELETE FROM walrank.intervention WHERE id = $1::int8 RETURNING id", 1, params);

		PQclear(gone);
		if (gone == NULL)
			return false;
	}
	return steering_execute(conn, err, cli->dry_run ? "ROLLBACK" : "COMMIT");
}

static int
report_end(const Cli *cli, const char *id, const char *state, const PGresult *chosen)
{
	bool upcoming = strcmp(state, "upcoming") == 0;
	const char *would = cli->dry_run ? "would be " : "";
	Error err;

	if (strcmp(state, "missing") == 0)
	{
		error_set(&err, ERR_CONFIG, "there is no intervention %s", id);
		error_hint(&err, "walrank interventions --all lists them.");
		return cli_fail(&err);
	}
	if (strcmp(state, "ended") == 0)
	{
		cli_print(cli->json ? "{\"id\":%s,\"done\":\"nothing\"}\n" : "intervention %s had ended", id);
		if (!cli->json)
			cli_print(" at %s\n", PQgetvalue(chosen, 0, 1));
		return EXIT_CONDITION;
	}
	if (cli->json)
		cli_print("{\"id\":%s,\"done\":\"%s\"}\n", id, upcoming ? "removed" : "ended");
	else
		cli_print("intervention %s %s%s\n", id, would, upcoming ? "removed: it has not begun" : "ended");
	return EXIT_DONE;
}

static int
run_end(const Cli *cli, const char *const *values, const char *const *operands)
{
	const char *params[] = {operands[0], values[0]};
	PGconn *conn = NULL;
	PGresult *chosen = NULL;
	const char *state = "";
	Error err;
	bool ok;
	int rc;

	if (operands[0] == NULL || operands[1] != NULL || !is_number(operands[0]))
		return cli_usage("end needs the number of one intervention");
	if (values[0] == NULL)
		return cli_usage("end needs --reason");
	ok = steering_connect(cli, &conn, &err) && end_one(cli, conn, params, &state, &chosen, &err);
	rc = ok ? report_end(cli, operands[0], state, chosen) : cli_fail(&err);
	PQclear(chosen);
	PQfinish(conn);
	return rc;
}

const CliCommand cli_interventions = {
	.name = "interventions",
	.summary = "what people decided: in force, to come, ended",
	.options = list_options,
	.run = run_list,
};

const CliCommand cli_end = {
	.name = "end",
	.summary = "end an intervention",
	.options = end_options,
	.operands = "ID",
	.run = run_end,
};
