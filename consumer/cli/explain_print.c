/*
 * explain_print.c -- see explain_print.h.
 */
#include "cli/explain_print.h"

#include <stdlib.h>

#include "cli/cli.h"

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

static long long
integer(const json_t *object, const char *key)
{
	return (long long) number(object, key); /* a real where a document is read without integers */
}

static bool
truth(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

/* ---- what comes first: where it stands ------------------------------------------------------------ */

static void
print_sql_standing(const json_t *why)
{
	const json_t *pin = json_object_get(why, "pin");
	char *key = json_dumps(json_object_get(why, "key"), JSON_ENCODE_ANY | JSON_COMPACT);

	cli_print("%s %s in ranking %s (version %lld) as of %s: ", text(why, "relation"), key,
			  text(why, "ranking"), integer(why, "version"), text(why, "at"));
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
		if (json_is_number(pin))
			cli_print("position %lld, ", integer(why, "pin"));
		cli_print("tier %lld, score %.12g%s\n", integer(why, "tier"), number(why, "score"),
				  truth(why, "frozen") ? ", held" : "");
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
put_effect(const json_t *one)
{
	const char *action = text(one, "action");

	if (json_object_get(one, "effect") != NULL)
		cli_print("%s", text(one, "effect"));
	else if (!truth(one, "in_force"))
		cli_print("not in force then");
	else if (json_object_get(one, "position") != NULL)
		cli_print("position %lld", integer(one, "position"));
	else if (json_object_get(one, "tier") != NULL)
		cli_print("tier %lld", integer(one, "tier"));
	else if (json_object_get(one, "factor") != NULL)
		cli_print("score * %.12g %+.12g", number(one, "factor"), number(one, "addend"));
	else if (json_object_get(one, "score") != NULL)
		cli_print("score held at %.12g", number(one, "score"));
	else
		cli_print("%s", strcmp(action, "block") == 0   ? "blocked"
						: strcmp(action, "allow") == 0 ? "let in"
													   : action);
}

static void
print_interventions(const json_t *interventions)
{
	const json_t *one;
	size_t i;

	json_array_foreach(interventions, i, one)
	{
		cli_print("intervention %lld, %s by %s: ", integer(one, "id"), text(one, "action"), text(one, "by"));
		put_effect(one);
		if (json_object_get(one, "author") != NULL)
			cli_print("  -- %s: %s", text(one, "author"), text(one, "reason"));
		if (text(one, "valid_until")[0] != '\0')
			cli_print(" (until %s)", text(one, "valid_until"));
		cli_print("\n");
	}
}

void
explain_print_sql(const json_t *why)
{
	print_sql_standing(why);
	print_statements(json_object_get(why, "statements"));
	print_totals(json_object_get(why, "totals"));
	print_interventions(json_object_get(why, "interventions"));
}

/* ---- what the daemon knows besides ----------------------------------------------------------------- */

/* "position 2, tier 0, score 5", "blocked" or "not in the ranking". */
static void
print_place(const json_t *place)
{
	if (!truth(place, "shown"))
	{
		cli_print(truth(place, "blocked") ? "blocked" : "not in the ranking");
		return;
	}
	if (number(place, "pin") > 0)
		cli_print("position %lld, ", integer(place, "pin"));
	cli_print("tier %lld, score %.12g", integer(place, "tier"), number(place, "score"));
}

/* Which unit of the feed. */
static void
print_origin(const json_t *origin)
{
	cli_print("%s at %s, LSN %s, position %s", text(origin, "source"), text(origin, "committed"),
			  text(origin, "lsn"), text(origin, "pos"));
}

static void
print_held(const char *item, const json_t *why)
{
	const json_t *told = json_object_get(why, "told");
	const json_t *computed = json_object_get(why, "computed");

	cli_print("%s in ranking %s (version %lld) as of %s: readers hold ", item, text(why, "ranking"),
			  integer(why, "version"), text(why, "at"));
	if (!truth(why, "shown") && truth(computed, "blocked"))
		cli_print("nothing, it is blocked");
	else if (!truth(why, "shown"))
		cli_print("nothing");
	else
		print_place(why);
	if (truth(why, "shown") && truth(computed, "frozen"))
		cli_print(", held");
	cli_print("\n");
	if (told != NULL)
	{
		cli_print("  told: ");
		print_origin(told);
		cli_print("\n");
	}
}

/* What was computed is not what readers hold. */
static bool
is_news(const json_t *why, const json_t *computed)
{
	const bool shown = truth(why, "shown");

	return shown != truth(computed, "shown") ||
		   (shown && (number(why, "score") != number(computed, "score") ||
					  number(why, "tier") != number(computed, "tier") ||
					  number(why, "pin") != number(computed, "pin")));
}

static void
print_computed(const json_t *why)
{
	const json_t *computed = json_object_get(why, "computed");

	if (text(computed, "error")[0] != '\0')
		cli_print("  no score: %s\n", text(computed, "error"));
	if (json_object_get(computed, "kept_by_min_change") != NULL)
		cli_print("  score %.12g is not told: it differs by less than min_change %.12g\n",
				  number(computed, "score"), number(computed, "kept_by_min_change"));
	else if (truth(why, "stale") || is_news(why, computed))
	{
		cli_print("  yet to be told, for rules or interventions have changed since: ");
		print_place(computed);
		cli_print("\n");
	}
}

static void
print_origins(const json_t *attributes)
{
	const json_t *one;
	size_t i;

	json_array_foreach(attributes, i, one)
	{
		char *value = json_dumps(json_object_get(one, "value"), JSON_ENCODE_ANY | JSON_COMPACT);

		cli_print("  %s = %.120s", text(one, "name"), value);
		free(value);
		if (text(one, "time")[0] != '\0')
			cli_print(" (its own time %s)", text(one, "time"));
		cli_print(": ");
		if (json_object_get(one, "pos") != NULL)
			print_origin(one);
		else
			cli_print("%s", text(one, "source"));
		cli_print("\n");
	}
}

static void
print_next(const json_t *why)
{
	if (json_object_get(why, "next_by_age") != NULL)
		cli_print("  looked at again for its age at %s\n", text(why, "next_by_age"));
	if (json_object_get(why, "next_intervention") != NULL)
		cli_print("  an intervention begins or ends at %s\n", text(why, "next_intervention"));
}

static void
print_sql(const json_t *sql)
{
	if (sql == NULL || !truth(sql, "differs"))
		return;
	cli_print("  SQL says ");
	print_place(sql);
	cli_print(" now\n");
}

void
explain_print_daemon(const char *item, const json_t *why)
{
	print_held(item, why);
	print_statements(json_object_get(why, "statements"));
	print_totals(json_object_get(why, "totals"));
	print_computed(why);
	print_origins(json_object_get(why, "attributes"));
	print_interventions(json_object_get(why, "interventions"));
	print_next(why);
	print_sql(json_object_get(why, "sql"));
}
