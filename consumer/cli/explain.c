/*
 * explain.c -- `walrank explain RELATION KEY`: why an item stands where it does, in each of its rankings.
 *
 * Two can tell.  The daemon says what readers hold and how that came about, to the bit; the feed adds which unit brought
 * each attribute, SQL who intervened and why.  Where there is no daemon to ask, and for another time, it is SQL alone:
 * walrank.explain(), of the row as it is now.
 */
#include "cli/cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/explain_complete.h"
#include "cli/explain_print.h"
#include "cli/item_origin.h"
#include "cli/steering.h"
#include "rules.h"

/* What the scorer has is durable soon. */
#define DURABLE_TRIES_MAX 200
#define DURABLE_WAIT_NS 10000000

enum
{
	EXPLAIN_RANKING,
	EXPLAIN_AT
};

static const CliOption options[] = {
	{"--ranking", "NAME", "in this ranking alone (default: in all of the table)"},
	{"--at", "TIME", "as of that time, as SQL computes it (UTC without zone; default: now)"},
	{0},
};

typedef struct Explain
{
	const Cli *cli;
	const char *word;	 /* the table as given .. */
	const char *key;	 /* .. and the key */
	const char *ranking; /* NULL: all */
	const char *at;
	char *key_json;
	char *table; /* its whole name; NULL: only SQL would know */
	PGconn *conn;
	Error no_conn;	  /* why there is none */
	const char *note; /* why the daemon was not asked */
	json_t *why;	  /* the daemon's document */
	ItemOrigins *origins;
	bool found;
	Error err;
} Explain;

/* ---- SQL alone ------------------------------------------------------------------------------------ */

static bool
no_such_ranking(Explain *explain)
{
	const char *params[] = {explain->table};
	PGresult *res = steering_query(explain->conn, &explain->err,
								   "SELECT coalesce(string_agg(name, ', ' ORDER BY name), 'none') FROM "
								   "walrank.ranking WHERE relation = $1",
								   1, params);

	if (res == NULL)
		return false;
	if (explain->ranking != NULL)
		error_set(&explain->err, ERR_CONFIG, "%s has no ranking \"%.80s\"", explain->table, explain->ranking);
	else
		error_set(&explain->err, ERR_CONFIG, "%s has no ranking", explain->table);
	error_hint(&explain->err, "There is: %.200s.", PQgetvalue(res, 0, 0));
	PQclear(res);
	return false;
}

static void
print_sql_head(const Explain *explain)
{
	json_t *relation = json_stringn(explain->table, strlen(explain->table));
	char *text = json_dumps(relation, JSON_ENCODE_ANY);

	cli_print("{\"source\":\"sql\",\"note\":\"%s\",\"relation\":%s,\"key\":%s,\"rankings\":[", explain->note,
			  text, explain->key_json);
	free(text);
	json_decref(relation);
}

/* A document as it is: jansson cannot hold every number. */
static void
print_sql_ranking(Explain *explain, const char *document, bool first)
{
	json_t *why = json_loads(document, 0, NULL);

	explain->found |= why == NULL || json_is_true(json_object_get(why, "found"));
	if (explain->cli->json)
		cli_print("%s%s", first ? "" : ",", document);
	else if (why == NULL)
		cli_print("%s\n", document);
	else
		explain_print_sql(why);
	json_decref(why);
}

static bool
ask_sql(Explain *explain)
{
	static const char sql[] =
		"SELECT walrank.explain(r.name, $2::jsonb, coalesce($3::timestamptz, now())) FROM walrank.ranking r"
		" WHERE r.relation = $1 AND ($4::text IS NULL OR r.name = $4) ORDER BY r.name";
	const char *params[] = {explain->table, explain->key_json, explain->at, explain->ranking};
	PGresult *res = steering_query(explain->conn, &explain->err, sql, 4, params);

	if (res == NULL)
		return false;
	if (PQntuples(res) == 0)
	{
		PQclear(res);
		return no_such_ranking(explain);
	}
	if (explain->cli->json)
		print_sql_head(explain);
	for (int i = 0; i < PQntuples(res); i++)
		print_sql_ranking(explain, PQgetvalue(res, i, 0), i == 0);
	if (explain->cli->json)
		cli_print("]}\n");
	else
		cli_print("SQL says so, of the row as it is now: %s\n", explain->note);
	PQclear(res);
	return true;
}

/* ---- the daemon's document ------------------------------------------------------------------------ */

/* What the feed tells of the item up to a unit, once that is durable; 0: all there is. */
static bool
read_origins(Explain *explain, const Config *config, ItemName *name, uint64_t seq)
{
	StoppedState stopped;
	bool ok;

	item_origins_free(explain->origins);
	explain->origins = NULL;
	for (int tries = 0;; tries++)
	{
		if (!stopped_look(config, &stopped, &explain->err))
			return false;
		if (stopped.last_seq >= seq || tries >= DURABLE_TRIES_MAX)
			break;
		stopped_close(&stopped);
		nanosleep(&(struct timespec){0, DURABLE_WAIT_NS}, NULL);
	}
	ok = item_origins_read(name, &stopped, seq, &explain->origins, &explain->err);
	stopped_close(&stopped);
	return ok;
}

/* Without the source: as the feed has it. */
static bool
key_of_feed(Explain *explain, const Config *config, ItemName *name, Buffer *hex)
{
	Slice key;

	if (!read_origins(explain, config, name, 0))
		return false;
	if (!name->known)
	{
		error_set(&explain->err, ERR_CONFIG, "the feed knows no table \"%s\"", explain->word);
		return error_hint(&explain->err, "Is it watched? walrank status lists the tables that are.");
	}
	key = item_origins_key(explain->origins);
	if (key.len == 0)
	{
		explain->err = explain->no_conn;
		return error_wrap(&explain->err,
						  "the feed does not tell of this item, and its key cannot be asked for");
	}
	for (size_t i = 0; i < key.len; i++)
		buffer_printf(hex, "%02x", key.data[i]);
	explain->table = xstrdup(item_origins_table(explain->origins));
	return true;
}

static bool
key_of_sql(Explain *explain, Buffer *hex)
{
	const char *params[] = {explain->table, explain->key_json};
	PGresult *res = steering_query(explain->conn, &explain->err,
								   "SELECT encode(walrank.item_key($1, $2::jsonb), 'hex')", 2, params);

	if (res == NULL)
		return false;
	buffer_printf(hex, "%s", PQgetvalue(res, 0, 0));
	PQclear(res);
	return true;
}

/* The verb takes the item's key as the stream writes it. */
static bool
ask_daemon(Explain *explain, const Config *config, ItemName *name)
{
	Buffer line = {0};
	Buffer hex = {0};
	bool ok = explain->conn != NULL ? key_of_sql(explain, &hex) : key_of_feed(explain, config, name, &hex);

	if (ok)
	{
		buffer_printf(&line, "explain %.*s %s %s", (int) hex.len, (char *) hex.data,
					  explain->ranking != NULL ? explain->ranking : "-", explain->table);
		buffer_append_byte(&line, '\0');
		ok = cli_ask(config, (const char *) line.data, &explain->why, &explain->err);
	}
	buffer_free(&hex);
	buffer_free(&line);
	/* what the answer is of, and nothing later */
	return ok && read_origins(explain, config, name,
							  (uint64_t) json_integer_value(json_object_get(explain->why, "seq")));
}

/* ---- the answer ------------------------------------------------------------------------------------- */

static void
print_daemon(Explain *explain)
{
	const json_t *ranking;
	size_t i;
	char *item = xcalloc(strlen(explain->key_json) + 600, 1);

	explain->found = json_is_true(json_object_get(explain->why, "found"));
	sprintf(item, "%s %s", json_string_value(json_object_get(explain->why, "relation")), explain->key_json);
	if (explain->cli->json)
		cli_print_json(explain->why);
	else if (!explain->found)
		cli_print("%s: no item has that key\n", item);
	else if (!json_is_true(json_object_get(explain->why, "whole")))
		cli_print("%s: not all of it is known yet, and it is in no ranking\n", item);
	else if (json_array_size(json_object_get(explain->why, "rankings")) == 0)
		cli_print("%s: the table has no ranking in force\n", item);
	json_array_foreach(json_object_get(explain->why, "rankings"), i, ranking)
	{
		if (!explain->cli->json)
			explain_print_daemon(item, ranking);
	}
	free(item);
}

/* ---- the command -------------------------------------------------------------------------------------- */

/* The daemon's answer with all that is known besides. *asked is false where none runs. */
static bool
try_daemon(Explain *explain, const Config *config, bool *asked)
{
	const char *table = explain->table != NULL ? explain->table : explain->word;
	ItemName name;
	bool ok;

	*asked = cli_is_running(config);
	if (!*asked)
		return true;
	ok = item_name_parse(&name, table, explain->key) ||
		 error_set(&explain->err, ERR_CONFIG, "\"%.200s\" is no name of a table", table);
	ok = ok && ask_daemon(explain, config, &name);
	item_name_free(&name);
	if (!ok)
		return false;
	explain_complete(explain->why, explain->origins, explain->conn, explain->key_json);
	print_daemon(explain);
	return true;
}

static bool
connect_source(Explain *explain)
{
	if (steering_connect(explain->cli, &explain->conn, &explain->no_conn))
		return steering_relation(explain->conn, explain->word, &explain->table, &explain->err);
	PQfinish(explain->conn);
	explain->conn = NULL;
	return true;
}

static bool
explain_item(Explain *explain)
{
	Config *config;
	bool asked = false;
	bool ok = true;

	if (!connect_source(explain))
		return false;
	explain->note = "that time is asked for";
	if (explain->at == NULL)
		explain->note = "walrankd is not asked without --config";
	if (explain->at == NULL && explain->cli->config_file != NULL)
	{
		if (!cli_config(explain->cli, &config, &explain->err))
			return false;
		ok = try_daemon(explain, config, &asked);
		config_free(config);
		explain->note = "walrankd is not running";
	}
	if (!ok || asked)
		return ok;
	if (explain->conn != NULL)
		return ask_sql(explain);
	explain->err = explain->no_conn;
	return false;
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Explain explain = {.cli = cli, .ranking = values[EXPLAIN_RANKING], .at = values[EXPLAIN_AT]};
	bool ok;

	if (operands[0] == NULL || operands[1] == NULL || operands[2] != NULL)
		return cli_usage("explain needs a table and the key of an item: walrank explain public.item 17");
	if (explain.ranking != NULL && !rules_library_name(slice_string(explain.ranking)))
		return cli_usage("\"%.80s\" is no name of a ranking", explain.ranking);
	explain.word = operands[0];
	explain.key = operands[1];
	explain.key_json = steering_key(operands[1]);
	if (explain.key_json == NULL)
		return cli_usage("the key is not UTF-8");
	ok = explain_item(&explain);
	PQfinish(explain.conn);
	json_decref(explain.why);
	item_origins_free(explain.origins);
	free(explain.table);
	free(explain.key_json);
	if (!ok)
		return cli_fail(&explain.err);
	return explain.found ? EXIT_DONE : EXIT_CONDITION;
}

const CliCommand cli_explain = {
	.name = "explain",
	.summary = "why an item stands where it does: statements, attributes, interventions (exit 3 if there is "
			   "no such item)",
	.options = options,
	.operands = "TABLE KEY",
	.run = run,
};
