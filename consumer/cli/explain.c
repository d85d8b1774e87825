/*
 * explain.c -- `walrank explain RANKING KEY`: why an item stands where it does.
 *
 * The document comes from walrank.explain(); --json prints it as it is, otherwise each statement and each
 * intervention is a line.
 */
#include "cli/cli.h"

#include <jansson.h>
#include <stdlib.h>

#include "cli/steering.h"

static const char *
text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "";
}

static double
number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static bool
truth(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

/* ---- what comes first: where it stands ------------------------------------------------------------ */

static void
print_standing(const json_t *why)
{
	const json_t *pin = json_object_get(why, "pin");
	char *key = json_dumps(json_object_get(why, "key"), JSON_ENCODE_ANY | JSON_COMPACT);

	cli_print("%s %s in ranking %s (version %lld) as of %s: ", text(why, "relation"), key,
			  text(why, "ranking"), (long long) json_integer_value(json_object_get(why, "version")),
			  text(why, "at"));
	free(key);
	if (!truth(why, "found"))
		cli_print("no item has that key\n");
	else if (!truth(why, "enabled"))
		cli_print("the ranking is not enabled\n");
	else if (truth(why, "blocked"))
		cli_print("blocked\n");
	else if (!truth(why, "shown"))
		cli_print("not in the ranking\n");
	else
	{
		if (json_is_integer(pin))
			cli_print("position %lld, ", (long long) json_integer_value(pin));
		cli_print("tier %lld, score %.12g%s\n", (long long) json_integer_value(json_object_get(why, "tier")),
				  number(why, "score"), truth(why, "frozen") ? ", held" : "");
	}
}

/* ---- statements ------------------------------------------------------------------------------------- */

static void
print_attributes(const json_t *attributes)
{
	const json_t *attribute;
	size_t i;

	json_array_foreach(attributes, i, attribute)
	{
		char *value = json_dumps(json_object_get(attribute, "value"), JSON_ENCODE_ANY | JSON_COMPACT);

		cli_print("%s%s = %s", i == 0 ? "  [" : ", ", text(attribute, "name"), value);
		if (text(attribute, "time")[0] != '\0')
			cli_print(" (%s)", text(attribute, "time"));
		free(value);
	}
	if (json_array_size(attributes) > 0)
		cli_print("]");
}

/* What the statement came to, in the width of a column. */
static void
print_amount(const json_t *line)
{
	const char *kind = text(line, "kind");
	char amount[64] = "-";

	if (strcmp(kind, "where") == 0)
		snprintf(amount, sizeof(amount), "%s", truth(line, "counts") ? "holds" : "-");
	else if (!truth(line, "counts"))
		;
	else if (strcmp(kind, "term") == 0)
		snprintf(amount, sizeof(amount), "%.6g * %.6g = %.6g", number(line, "weight"), number(line, "value"),
				 number(line, "contribution"));
	else if (strcmp(kind, "factor") == 0)
		snprintf(amount, sizeof(amount), "* %.6g", number(line, "value"));
	else if (strcmp(kind, "boost") == 0)
		snprintf(amount, sizeof(amount), "%+.6g", number(line, "value"));
	else
		snprintf(amount, sizeof(amount), "%.12g", number(line, "value"));
	cli_print("  %-30s", amount);
}

/* On one line, spaces that align it in the definition left out; those inside quotes are its own. */
static void
print_text(const char *words)
{
	char quote = '\0';
	Buffer out = {0};

	for (; *words != '\0'; words++)
	{
		bool blank = quote == '\0' && strchr(" \t\r\n", *words) != NULL;

		if (quote != '\0' ? *words == quote : *words == '\'' || *words == '"')
			quote = quote != '\0' ? '\0' : *words;
		if (!blank)
			buffer_append_byte(&out, (uint8_t) *words);
		else if (out.len > 0 && out.data[out.len - 1] != ' ')
			buffer_append_byte(&out, ' ');
	}
	cli_print("%.*s", (int) out.len, (char *) out.data);
	buffer_free(&out);
}

static void
print_statements(const json_t *statements)
{
	const json_t *line;
	size_t i;

	json_array_foreach(statements, i, line)
	{
		print_amount(line);
		cli_print(" ");
		print_text(text(line, "text"));
		print_attributes(json_object_get(line, "attributes"));
		if (strcmp(text(line, "why"), "counts") != 0)
			cli_print("  -- %s", text(line, "why"));
		if (text(line, "error")[0] != '\0')
			cli_print(": %s", text(line, "error"));
		cli_print("\n");
	}
}

static void
print_totals(const json_t *totals)
{
	const char *outcome = text(totals, "outcome");

	if (strcmp(outcome, "score") == 0)
		cli_print("  (%.10g + %.10g) * %.10g = %.17g, rounded %.12g\n", number(totals, "terms"),
				  number(totals, "boosts"), number(totals, "factors"), number(totals, "before_clamp"),
				  number(totals, "rounded"));
	else if (strcmp(outcome, "quarantine") == 0)
		cli_print("  no score: %s: %s\n", text(totals, "statement"), text(totals, "error"));
	else if (outcome[0] != '\0')
		cli_print("  outside: the ranking leaves it out\n");
}

/* ---- interventions ------------------------------------------------------------------------------------ */

static void
print_interventions(const json_t *interventions)
{
	const json_t *one;
	size_t i;

	json_array_foreach(interventions, i, one)
	{
		cli_print("intervention %lld, %s by %s: %s  -- %s: %s",
				  (long long) json_integer_value(json_object_get(one, "id")), text(one, "action"),
				  text(one, "by"), text(one, "effect"), text(one, "author"), text(one, "reason"));
		if (text(one, "valid_until")[0] != '\0')
			cli_print(" (until %s)", text(one, "valid_until"));
		cli_print("\n");
	}
}

static bool
explain(const Cli *cli, PGconn *conn, const char *ranking, const char *key, const char *at, Error *err)
{
	static const char sql[] = "SELECT walrank.explain($1, $2::jsonb, coalesce($3::timestamptz, now()))";
	const char *params[] = {ranking, key, at};
	PGresult *res = steering_query(conn, err, sql, 3, params);
	json_t *why;

	if (res == NULL)
		return false;
	why = json_loads(PQgetvalue(res, 0, 0), 0, NULL);
	if (cli->json || why == NULL) /* a number that jansson cannot hold: the document itself is still right */
		cli_print("%s\n", PQgetvalue(res, 0, 0));
	else
	{
		print_standing(why);
		print_statements(json_object_get(why, "statements"));
		print_totals(json_object_get(why, "totals"));
		print_interventions(json_object_get(why, "interventions"));
	}
	json_decref(why);
	PQclear(res);
	return true;
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	PGconn *conn = NULL;
	char *key;
	Error err;
	bool ok;

	if (operands[0] == NULL || operands[1] == NULL || operands[2] != NULL)
		return cli_usage("explain needs a ranking and the key of an item");
	key = steering_key(operands[1]);
	if (key == NULL)
		return cli_usage("the key is not UTF-8");
	ok = steering_connect(cli, &conn, &err) && explain(cli, conn, operands[0], key, values[0], &err);
	PQfinish(conn);
	free(key);
	return ok ? EXIT_DONE : cli_fail(&err);
}

static const CliOption options[] = {{"--at", "TIME", "as of that time (UTC without zone; default: now)"},
									{0}};

const CliCommand cli_explain = {
	.name = "explain",
	.summary = "why an item stands where it does: statements, attributes, interventions",
	.options = options,
	.operands = "RANKING KEY",
	.run = run,
};
