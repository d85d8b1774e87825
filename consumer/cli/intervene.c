/*
 * intervene.c -- `walrank boost|bury|pin|..`: a row of walrank.intervention, and what it moves.
 *
 * The table's trigger judges what is given; here only words become columns.  With --dry-run the row is written and
 * rolled back, so that what is said of its effect is what would be.
 */
#include "cli/cli.h"

#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/steering.h"

/* The options of every action come first, those of one behind them. */
enum
{
	ACT_WHERE,
	ACT_RANKING,
	ACT_FROM,
	ACT_UNTIL,
	ACT_PRIORITY,
	ACT_AUTHOR,
	ACT_REASON,
	ACT_FIRST_OWN,
};

#define ACT_OPTIONS                                                                                          \
	{"--where", "CONDITION", "instead of KEY: every item it holds for, as after \"where\" in a ranking"},    \
		{"--ranking", "NAME", "in this ranking (default: in every ranking of the table)"},                   \
		{"--from", "TIME", "begins then: a time (UTC without zone), or 2h: in two hours (default: now)"},    \
		{"--until", "TIME", "ends then, or 2h: that long after it begins (default: without end)"},           \
		{"--priority", "N", "higher ones come first, of equal ones the later (default: 0)"},                 \
		{"--author", "NAME", "who decided it (default: you)"},                                               \
	{                                                                                                        \
		"--reason", "TEXT", "why; has to be given"                                                           \
	}

static const CliOption plain_options[] = {ACT_OPTIONS, {0}};
static const CliOption pin_options[] = {
	ACT_OPTIONS, {"--position", "N", "the place it gets, from 1; has to be given"}, {0}};
static const CliOption tier_options[] = {
	ACT_OPTIONS, {"--tier", "N", "from -4000 to 4000, higher ones come first; has to be given"}, {0}};
static const CliOption boost_options[] = {ACT_OPTIONS,
										  {"--factor", "F", "multiplies the score"},
										  {"--add", "V", "is added to the score, after the factor"},
										  {0}};
static const CliOption bury_options[] = {ACT_OPTIONS,
										 {"--factor", "F", "multiplies the score, below 1"},
										 {"--tier", "N", "goes to that tier instead (default: -1)"},
										 {0}};
static const CliOption freeze_options[] = {
	ACT_OPTIONS, {"--score", "S", "the score it has meanwhile; has to be given"}, {0}};

/* ---- words -------------------------------------------------------------------------------------- */

static const char *
user_name(void)
{
	const struct passwd *user = getpwuid(geteuid());

	return user != NULL ? user->pw_name : getenv("USER");
}

/* "2h" as "2 hours"; NULL: this is no duration. */
static const char *
interval_of(const char *word, char interval[64])
{
	static const struct
	{
		const char *unit;
		const char *name;
	} units[] = {{"s", "seconds"}, {"min", "minutes"}, {"h", "hours"}, {"d", "days"}, {"w", "weeks"}};
	size_t digits = word != NULL ? strspn(word, "0123456789.") : 0;

	if (digits == 0 || digits > 20)
		return NULL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(word + digits, units[i].unit) == 0)
		{
			snprintf(interval, 64, "%.*s %s", (int) digits, word, units[i].name);
			return interval;
		}
	return NULL;
}

/* ---- the row ------------------------------------------------------------------------------------- */

typedef struct Act
{
	const char *action;
	const CliOption *options;
	const char *const *values;
	const char *relation;
	const char *key; /* JSON; NULL: by condition */
	const char *author;
	char from[64], until[64]; /* intervals */
} Act;

static const char *
own_value(const Act *act, const char *name)
{
	for (int i = ACT_FIRST_OWN; act->options[i].name != NULL; i++)
		if (strcmp(act->options[i].name, name) == 0)
			return act->values[i];
	return NULL;
}

/* The answer: id, relation, ranking, key, condition, valid_from, valid_until. */
static PGresult *
insert(PGconn *conn, Act *act, Error *err)
{
	static const char sql[] =
		"INSERT INTO walrank.intervention (relation, ranking, key, condition, action, position, tier, "
		"factor, addend,"
		" score, valid_from, valid_until, priority, author, reason) SELECT $1, $2, $3::jsonb, $4, $5, "
		"$6::int4,"
		" $7::int4, $8::float8, $9::float8, $10::float8, b.begins, coalesce($13::timestamptz, b.begins + "
		"$14::interval),"
		" coalesce($15::int4, 0), $16, $17 FROM (SELECT coalesce($11::timestamptz, now() + $12::interval, "
		"now())"
		" AS begins) b RETURNING id, relation, ranking, key, condition, valid_from, valid_until";
	const char *const *values = act->values;
	const char *from = interval_of(values[ACT_FROM], act->from);
	const char *until = interval_of(values[ACT_UNTIL], act->until);
	const char *params[] = {
		act->relation,
		values[ACT_RANKING],
		act->key,
		values[ACT_WHERE],
		act->action,
		own_value(act, "--position"),
		own_value(act, "--tier"),
		own_value(act, "--factor"),
		own_value(act, "--add"),
		own_value(act, "--score"),
		from == NULL ? values[ACT_FROM] : NULL,
		from,
		until == NULL ? values[ACT_UNTIL] : NULL,
		until,
		values[ACT_PRIORITY],
		act->author,
		values[ACT_REASON],
	};

	return steering_query(conn, err, sql, sizeof(params) / sizeof(params[0]), params);
}

/* What it moves (JSON) of its item, or how many items its condition holds for; and all of it as one document. */
static PGresult *
effect(const Cli *cli, PGconn *conn, const PGresult *row, Error *err)
{
	static const char moved[] =
		"SELECT m.m::text, m.m = '{}', (to_jsonb(i) - 'item_key' || jsonb_build_object('moved', m.m) || "
		"$2::jsonb)::text"
		" FROM walrank.intervention i, LATERAL walrank.moved(i.id, greatest(now(), i.valid_from)) AS m (m)"
		" WHERE i.id = $1::int8";
	static const char matched[] =
		"SELECT n.n, NULL, (to_jsonb(i) - 'item_key' || jsonb_build_object('items', n.n) || $2::jsonb)::text"
		" FROM walrank.intervention i, LATERAL walrank.matched(i.id) AS n (n) WHERE i.id = $1::int8";
	const char *params[] = {PQgetvalue(row, 0, 0), cli->dry_run ? "{\"id\": null}" : "{}"};

	return steering_query(conn, err, PQgetisnull(row, 0, 3) ? matched : moved, 2, params);
}

/* ---- what is said ---------------------------------------------------------------------------------- */

static void
print_place(const json_t *place)
{
	const json_t *pin = json_object_get(place, "pin");
	long long tier = (long long) json_integer_value(json_object_get(place, "tier"));

	if (json_is_true(json_object_get(place, "blocked")))
		cli_print("blocked");
	else if (!json_is_true(json_object_get(place, "shown")))
		cli_print("not in the ranking");
	else
	{
		if (json_is_integer(pin))
			cli_print("position %lld, ", (long long) json_integer_value(pin));
		if (tier != 0)
			cli_print("tier %lld, ", tier);
		cli_print("score %.10g", json_number_value(json_object_get(place, "score")));
	}
}

static void
print_moved(const char *text)
{
	json_t *rankings = json_loads(text, 0, NULL);
	const char *ranking;
	json_t *moves;

	json_object_foreach(rankings, ranking, moves)
	{
		cli_print("  %s: ", ranking);
		print_place(json_object_get(moves, "without"));
		cli_print(" -> ");
		print_place(json_object_get(moves, "with"));
		cli_print("\n");
	}
	json_decref(rankings);
}

static void
print_act(const Cli *cli, const Act *act, const PGresult *row, const PGresult *said)
{
	bool by_key = !PQgetisnull(row, 0, 3);

	if (cli->dry_run)
		cli_print("would %s %s", act->action, PQgetvalue(row, 0, 1));
	else
		cli_print("intervention %s: %s %s", PQgetvalue(row, 0, 0), act->action, PQgetvalue(row, 0, 1));
	cli_print(by_key ? " %s" : " where %s", PQgetvalue(row, 0, by_key ? 3 : 4));
	cli_print(" in %s%s, from %s", PQgetisnull(row, 0, 2) ? "every ranking" : "ranking ",
			  PQgetvalue(row, 0, 2), PQgetvalue(row, 0, 5));
	if (!PQgetisnull(row, 0, 6))
		cli_print(" until %s", PQgetvalue(row, 0, 6));
	cli_print("\n");
	if (!by_key)
		cli_print("  the condition holds for %s items now\n", PQgetvalue(said, 0, 0));
	else if (!PQgetisnull(said, 0, 0) && strcmp(PQgetvalue(said, 0, 1), "t") == 0)
		cli_print("  no item has that key now\n");
	else if (!PQgetisnull(said, 0, 0))
		print_moved(PQgetvalue(said, 0, 0));
}

/* ---- the commands ------------------------------------------------------------------------------------ */

static bool
carry_out(const Cli *cli, PGconn *conn, Act *act, Error *err)
{
	PGresult *row = NULL;
	PGresult *said = NULL;
	bool ok = steering_execute(conn, err, "BEGIN");

	ok = ok && (row = insert(conn, act, err)) != NULL;
	ok = ok && (said = effect(cli, conn, row, err)) != NULL;
	ok = ok && steering_execute(conn, err, cli->dry_run ? "ROLLBACK" : "COMMIT");
	if (ok && cli->json)
		cli_print("%s\n", PQgetvalue(said, 0, 2));
	else if (ok)
		print_act(cli, act, row, said);
	PQclear(row);
	PQclear(said);
	return ok;
}

static int
check_words(const Act *act, const char *const *operands)
{
	bool by_condition = act->values[ACT_WHERE] != NULL;

	if (operands[0] == NULL)
		return cli_usage("%s needs a table", act->action);
	if (by_condition && operands[1] != NULL)
		return cli_usage("%s takes either a key or --where", act->action);
	if (!by_condition && operands[1] == NULL)
		return cli_usage("%s needs the key of an item, or --where", act->action);
	if (operands[1] != NULL && operands[2] != NULL)
		return cli_usage("unexpected argument \"%s\"; a key of several columns is one JSON object",
						 operands[2]);
	if (act->values[ACT_REASON] == NULL)
		return cli_usage("%s needs --reason", act->action);
	return EXIT_DONE;
}

static int
run(const Cli *cli, const char *action, const CliOption *options, const char *const *values,
	const char *const *operands)
{
	Act act = {.action = action, .options = options, .values = values};
	PGconn *conn = NULL;
	char *relation = NULL;
	char *key = NULL;
	Error err;
	bool ok;
	int rc = check_words(&act, operands);

	if (rc != EXIT_DONE)
		return rc;
	if (values[ACT_WHERE] == NULL && (key = steering_key(operands[1])) == NULL)
		return cli_usage("the key is not UTF-8");
	act.key = key;
	act.author = values[ACT_AUTHOR] != NULL ? values[ACT_AUTHOR] : user_name();
	ok = steering_connect(cli, &conn, &err) && steering_relation(conn, operands[0], &relation, &err);
	act.relation = relation;
	ok = ok && carry_out(cli, conn, &act, &err);
	PQfinish(conn);
	free(relation);
	free(key);
	return ok ? EXIT_DONE : cli_fail(&err);
}

#define COMMAND(word, act, own_options, what)                                                                \
	static int run_##word(const Cli *cli, const char *const *values, const char *const *operands)            \
	{                                                                                                        \
		return run(cli, act, own_options, values, operands);                                                 \
	}                                                                                                        \
	const CliCommand cli_##word = {                                                                          \
		.name = #word,                                                                                       \
		.summary = what,                                                                                     \
		.options = own_options,                                                                              \
		.operands = "TABLE [KEY]",                                                                           \
		.run = run_##word,                                                                                   \
	}

COMMAND(boost, "boost", boost_options, "raise the score of an item, or of all that meet a condition");
COMMAND(bury, "bury", bury_options, "lower it, or put it below all others");
COMMAND(pin, "pin", pin_options, "give an item a fixed position");
COMMAND(promote, "pin", pin_options, "the same as pin");
COMMAND(tier, "tier", tier_options, "put it before or behind the items of other tiers, whatever its score");
COMMAND(top, "top", plain_options, "put it before all that are not pinned");
COMMAND(bottom, "bottom", plain_options, "put it behind all others");
COMMAND(block, "block", plain_options, "take it out");
COMMAND(hide, "block", plain_options, "the same as block");
COMMAND(allow, "allow", plain_options, "let it in although the ranking's where leaves it out");
COMMAND(freeze, "freeze", freeze_options, "hold its score");
