/*
 * oracle_main.c -- rules/ against the oracle.
 *
 *   oracle check DEFINITIONS ITEMS SEED   every definition on as many items: outcome, bits of the score, tier;
 *                                         prints a hash of all that rules/ computed
 *   oracle sql DEFINITIONS ITEMS SEED     the same as SQL that asks walrank.score(), with a row to end with:
 *                                         scores asked for, scores that are not NULL, scores that differ
 *   oracle show SEED                      the definition of a seed
 *
 * Exits with 1 after the first difference, which it prints with the seed that makes it again.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"
#include "rules.h"

#define TEXT_BYTES_MAX 65536
#define LIMITS_PERCENT 5 /* of definitions may be larger than the compiler takes */

/* ---- memory of rules/ ------------------------------------------------------------------------ */

typedef struct Arena
{
	char *bytes;
	size_t used;
	size_t size;
} Arena;

static void *
arena_alloc(void *context, size_t bytes)
{
	Arena *arena = context;
	void *made = arena->bytes + arena->used;

	arena->used += (bytes + 15) / 16 * 16;
	if (arena->used > arena->size)
		abort();
	return made;
}

static Arena arena;

static RuleMemory
arena_begin(void)
{
	if (arena.bytes == NULL)
	{
		arena.size = 64 * 1024 * 1024;
		arena.bytes = malloc(arena.size);
		if (arena.bytes == NULL)
			abort();
	}
	arena.used = 0;
	return (RuleMemory){arena_alloc, &arena};
}

/* ---- the oracle's values as those of rules/ ---------------------------------------------------- */

static uint8_t *
put_element(uint8_t *at, const Value *v)
{
	uint8_t body[80];
	uint8_t *end = body;
	size_t len;

	if (v->kind == V_TEXT)
	{
		len = strlen(v->text);
		end = wire_put_varint(end, WIRE_TAG(VALUE_TEXT, WIRE_BYTES));
		end = wire_put_varint(end, len);
		memcpy(end, v->text, len);
		end += len;
	}
	else if (v->kind == V_NUMBER)
	{
		end = wire_put_varint(end, WIRE_TAG(VALUE_DOUBLE, WIRE_FIXED64));
		memcpy(end, &v->number, 8);
		end += 8;
	}
	else
	{
		end = wire_put_varint(end, WIRE_TAG(v->kind == V_BOOL ? VALUE_BOOL : VALUE_NULL, WIRE_VARINT));
		*end++ = v->kind == V_BOOL ? v->boolean : 1;
	}
	at = wire_put_varint(at, WIRE_TAG(LIST_VALUES, WIRE_BYTES));
	at = wire_put_varint(at, (uint64_t) (end - body));
	memcpy(at, body, (size_t) (end - body));
	return at + (end - body);
}

static void
write_json_scalar(FILE *to, const Value *v)
{
	if (v->kind == V_TEXT)
		fprintf(to, "\"%s\"", v->text);
	else if (v->kind == V_NUMBER)
		fprintf(to, "%.17g", v->number);
	else
		fputs(v->kind == V_BOOL ? (v->boolean ? "true" : "false") : "null", to);
}

static void
write_json_elements(FILE *to, const Value *v)
{
	for (int i = 0; i < v->n; i++)
	{
		fputs(i > 0 ? ", " : "", to);
		write_json_scalar(to, &v->elements[i]);
	}
}

static RuleValue
rule_value(const Value *v, bool in_map, uint8_t *room)
{
	static const RuleKind kinds[] = {RULE_MISSING, RULE_BOOL, RULE_NUMBER, RULE_TEXT,
									 RULE_TIME,	   RULE_LIST, RULE_OTHER};
	RuleValue made = {.kind = kinds[v->kind], .has_own_time = v->has_own_time, .own_time_us = v->own_time_us};
	uint8_t *end = room;
	FILE *json;

	switch (v->kind)
	{
		case V_BOOL:
			made.boolean = v->boolean;
			break;
		case V_NUMBER:
			made.number = v->number;
			break;
		case V_TEXT:
			made.bytes = slice_string(v->text);
			break;
		case V_TIME:
			made.time_us = v->time_us;
			break;
		case V_LIST:
			made.list_is_json = in_map;
			if (in_map)
			{
				json = fmemopen(room, 256, "w");
				write_json_elements(json, v);
				fputc('\0', json);
				fclose(json);
				made.bytes = slice_string((const char *) room);
				break;
			}
			for (int i = 0; i < v->n; i++)
				end = put_element(end, &v->elements[i]);
			made.bytes = slice_make(room, (size_t) (end - room));
			break;
		default:
			break;
	}
	return made;
}

/* ---- check ----------------------------------------------------------------------------------- */

static uint64_t hash = UINT64_C(0xcbf29ce484222325);

static void
hash_add(uint64_t bits)
{
	for (int i = 0; i < 64; i += 8)
		hash = (hash ^ (bits >> i & 0xff)) * UINT64_C(0x100000001b3);
}

static uint64_t
bits_of(double d)
{
	uint64_t bits;

	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

static int
attribute_index(Slice name)
{
	for (int i = 0; i < ATTRIBUTES; i++)
		if (slice_equal(name, slice_string(attributes[i].name)))
			return i;
	abort();
}

static RuleResult
evaluate(const RuleProgram *program, const Item *item)
{
	static uint8_t room[2 * ATTRIBUTES][256];
	RuleValue now[ATTRIBUTES];
	RuleValue was[ATTRIBUTES];
	RuleChange changes[ATTRIBUTES];
	RuleInput input = {.values = now, .now_us = item->now_us};
	const RuleAttribute *names;
	RuleResult result;
	int n = rules_attributes(program, &names);

	for (int i = 0; i < n; i++)
	{
		int a = attribute_index(names[i].name);

		now[i] = rule_value(&item->now[a], attributes[a].in_map, room[2 * i]);
		was[i] = rule_value(&item->was[a], attributes[a].in_map, room[2 * i + 1]);
		changes[i] = (RuleChange) item->changes[a];
	}
	if (item->remembers)
	{
		input.previous = was;
		input.changes = changes;
	}
	rules_evaluate(program, &input, &result);
	return result;
}

static bool
agree(const RuleResult *result, const Outcome *expected)
{
	static const RuleOutcome outcomes[] = {RULE_SCORE, RULE_OUTSIDE, RULE_QUARANTINE};

	return result->outcome == outcomes[expected->kind] &&
		   bits_of(result->score) == bits_of(expected->score) && result->tier == expected->tier;
}

static void
show_value(const char *what, const char *name, const Value *v)
{
	printf("  %s %s: kind %d number %.17g text %s bool %d time %lld own %d %lld list", what, name, v->kind,
		   v->number, v->text ? v->text : "-", v->boolean, (long long) v->time_us, v->has_own_time,
		   (long long) v->own_time_us);
	if (v->kind == V_LIST)
		write_json_elements(stdout, v);
	printf("\n");
}

static void
show_difference(uint64_t seed, const char *text, const RuleProgram *program, const Item *item,
				const RuleResult *result, const Outcome *expected)
{
	const RuleAttribute *names;
	int n = rules_attributes(program, &names);

	printf("seed %llu\n%s\nnow %lld, remembers %d\n", (unsigned long long) seed, text,
		   (long long) item->now_us, item->remembers);
	for (int i = 0; i < n; i++)
	{
		int a = attribute_index(names[i].name);

		show_value("now", attributes[a].name, &item->now[a]);
		show_value("was", attributes[a].name, &item->was[a]);
		printf("  change %d\n", item->changes[a]);
	}
	printf("rules:  outcome %d score %.17g tier %d (%s: %s)\noracle: outcome %d score %.17g tier %d\n",
		   result->outcome, result->score, result->tier, result->statement ? result->statement : "",
		   result->reason ? result->reason : "", expected->kind, expected->score, expected->tier);
}

static const char *
text_of(const Definition *definition)
{
	static char text[TEXT_BYTES_MAX + 1];
	FILE *to = fmemopen(text, sizeof(text), "w");

	memset(text, 0, sizeof(text));
	definition_write(to, definition);
	fclose(to);
	return text;
}

/* NULL: it is larger than the compiler takes. */
static RuleProgram *
compile(const char *text)
{
	RuleMemory memory = arena_begin();
	RuleError error;
	RuleProgram *program = rules_compile(text, strlen(text), &memory, &error);

	if (program != NULL || strstr(error.message, "nested deeper") != NULL ||
		strstr(error.message, "operations") != NULL)
		return program;
	printf("%s\nline %d, column %d: %s | %s\n", text, error.line, error.column, error.message, error.hint);
	exit(1);
}

typedef struct Counts
{
	long scores;
	long outside;
	long quarantined;
	long tiers;
	long too_large;
} Counts;

static bool
check_definition(uint64_t seed, int items, Counts *counts)
{
	Random random = {seed};
	const Definition *definition = generate_definition(&random);
	const char *text = text_of(definition);
	RuleProgram *program = compile(text);

	counts->too_large += program == NULL;
	for (int i = 0; program != NULL && i < items; i++)
	{
		const Item *item = generate_item(&random, true);
		Outcome expected = oracle(definition, item);
		RuleResult result = evaluate(program, item);

		if (!agree(&result, &expected))
		{
			show_difference(seed, text, program, item, &result, &expected);
			return false;
		}
		counts->scores += result.outcome == RULE_SCORE;
		counts->outside += result.outcome == RULE_OUTSIDE;
		counts->quarantined += result.outcome == RULE_QUARANTINE;
		counts->tiers += result.tier != 0;
		hash_add((uint64_t) result.outcome << 32 ^ (uint64_t) result.tier);
		hash_add(bits_of(result.score));
	}
	generate_free();
	return true;
}

/* Each kind of outcome is there often enough to have been tested. */
static bool
balanced(const Counts *counts, int definitions, int items)
{
	long all = (long) definitions * items;

	return counts->scores > all / 4 && counts->outside > all / 100 && counts->quarantined > all / 100 &&
		   counts->tiers > all / 20 && counts->too_large * 100 <= (long) definitions * LIMITS_PERCENT;
}

static int
check(int definitions, int items, uint64_t seed)
{
	Counts counts = {0};

	for (int i = 0; i < definitions; i++)
		if (!check_definition(seed + (uint64_t) i, items, &counts))
			return 1;
	printf("%d definitions, %ld scores, %ld outside, %ld quarantined, %ld with a tier, %ld too large, hash "
		   "%016llx\n",
		   definitions, counts.scores, counts.outside, counts.quarantined, counts.tiers, counts.too_large,
		   (unsigned long long) hash);
	return balanced(&counts, definitions, items) ? 0 : 1;
}

/* ---- sql ------------------------------------------------------------------------------------- */

static void
write_time(int64_t us)
{
	printf("timestamptz '2000-01-01 00:00:00+00' + interval '%lld microseconds'", (long long) us);
}

static void
write_json_time(int64_t us)
{
	time_t seconds = (time_t) (us / 1000000 - (us % 1000000 < 0)) + 946684800;
	struct tm tm;
	char text[40];

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	printf("\"%s.%06dZ\"", text, (int) ((us % 1000000 + 1000000) % 1000000));
}

static void
write_quoted(const char *text)
{
	putchar('\'');
	for (; *text != '\0'; text++)
		printf(*text == '\'' ? "''" : "%c", *text);
	putchar('\'');
}

static void
write_column(const Value *v)
{
	switch (v->kind)
	{
		case V_BOOL:
			fputs(v->boolean ? "true" : "false", stdout);
			break;
		case V_NUMBER:
			printf("float8 '%.17g'", v->number);
			break;
		case V_TEXT:
			write_quoted(v->text);
			break;
		case V_TIME:
			write_time(v->time_us);
			break;
		case V_LIST:
			fputs("array[", stdout);
			for (int i = 0; i < v->n; i++)
			{
				fputs(i > 0 ? ", " : "", stdout);
				write_quoted(v->elements[i].text);
			}
			fputs("]::text[]", stdout);
			break;
		default:
			fputs("NULL", stdout);
	}
}

/* {"key": [value, "time"], "key": value}; missing without a time is not there. */
static void
write_map(const Value *values)
{
	const char *comma = "";

	fputs("$j${", stdout);
	for (int i = 0; i < ATTRIBUTES; i++)
	{
		const Value *v = &values[i];

		if (!attributes[i].in_map || (v->kind == V_MISSING && !v->has_own_time))
			continue;
		printf("%s\"%s\": %s", comma, attributes[i].name, v->has_own_time ? "[" : "");
		comma = ", ";
		fputs(v->kind == V_LIST ? "[" : "", stdout);
		if (v->kind == V_LIST)
			write_json_elements(stdout, v);
		else
			write_json_scalar(stdout, v);
		fputs(v->kind == V_LIST ? "]" : "", stdout);
		if (v->has_own_time)
		{
			fputs(", ", stdout);
			write_json_time(v->own_time_us);
			putchar(']');
		}
	}
	fputs("}$j$::jsonb", stdout);
}

static void
write_row(long id, const Value *values)
{
	printf("(%ld", id);
	for (int i = 0; i < ATTRIBUTES; i++)
		if (!attributes[i].in_map)
		{
			fputs(", ", stdout);
			write_column(&values[i]);
		}
	fputs(", ", stdout);
	write_map(values);
	putchar(')');
}

static bool
same_scalar(const Value *a, const Value *b)
{
	return a->kind == b->kind && (a->kind != V_BOOL || a->boolean == b->boolean) &&
		   (a->kind != V_NUMBER || a->number == b->number) &&
		   (a->kind != V_TEXT || strcmp(a->text, b->text) == 0) &&
		   (a->kind != V_TIME || a->time_us == b->time_us);
}

static bool
same_value(const Value *a, const Value *b)
{
	if (!same_scalar(a, b) || a->has_own_time != b->has_own_time ||
		(a->has_own_time && a->own_time_us != b->own_time_us) || (a->kind == V_LIST && a->n != b->n))
		return false;
	for (int i = 0; a->kind == V_LIST && i < a->n; i++)
		if (!same_scalar(&a->elements[i], &b->elements[i]))
			return false;
	return true;
}

/* What walrank.score() is told by the row before: what differs has changed, of the rest nothing is known. */
static Item
item_for_sql(const Item *made, Item *row_before)
{
	Item item = *made;

	for (int i = 0; i < ATTRIBUTES; i++)
	{
		/* a bare list of two in the map would be read as a value and its time */
		item.now[i].has_own_time |= attributes[i].kind == V_LIST && attributes[i].in_map;
		item.was[i].has_own_time |= attributes[i].kind == V_LIST && attributes[i].in_map;
		if (item.changes[i] == CHANGE_NO)
			item.was[i] = item.now[i];
	}
	*row_before = item;
	for (int i = 0; i < ATTRIBUTES; i++)
	{
		item.changes[i] = same_value(&item.now[i], &item.was[i]) ? CHANGE_NO : CHANGE_YES;
		if (item.changes[i] == CHANGE_NO)
			item.was[i] = (Value){.kind = V_MISSING};
	}
	return item;
}

static void
write_expected(uint64_t seed, long id, const Item *item, const Outcome *outcome)
{
	printf("INSERT INTO oracle.expected VALUES ('r%llu', %ld, ", (unsigned long long) seed, id);
	write_time(item->now_us);
	if (outcome->kind == O_SCORE)
		printf(", '%.17g', %s);\n", outcome->score, item->remembers ? "true" : "false");
	else
		printf(", NULL, %s);\n", item->remembers ? "true" : "false");
}

static void
write_tables(void)
{
	static const char *const types[] = {[V_NUMBER] = "float8",
										[V_TEXT] = "text",
										[V_BOOL] = "bool",
										[V_TIME] = "timestamptz",
										[V_LIST] = "text[]"};

	printf("SET client_min_messages = error;\nCREATE SCHEMA oracle;\nCREATE TABLE oracle.item (id bigint "
		   "PRIMARY KEY");
	for (int i = 0; i < ATTRIBUTES; i++)
		if (!attributes[i].in_map)
			printf(", %s %s", attributes[i].name, types[attributes[i].kind]);
	printf(
		", att jsonb);\nCREATE TABLE oracle.expected (ranking text, id bigint, at timestamptz, score float8, "
		"remembers bool);\nSELECT walrank.watch('oracle.item', 'att');\nBEGIN;\n");
}

/* The row of an item has an even number, the one before it the odd one after. */
static void
write_definition(uint64_t seed, int items, long *id)
{
	Random random = {seed};
	const Definition *definition = generate_definition(&random);
	const char *text = text_of(definition);

	if (compile(text) == NULL)
		return;
	printf("INSERT INTO walrank.ranking (name, relation, definition) VALUES ('r%llu', 'oracle.item', "
		   "$d$%s$d$);\n",
		   (unsigned long long) seed, text);
	for (int i = 0; i < items; i++)
	{
		Item before;
		Item item = item_for_sql(generate_item(&random, false), &before);
		Outcome outcome = oracle(definition, &item);

		*id += 2;
		printf("INSERT INTO oracle.item VALUES ");
		write_row(*id, item.now);
		printf(", ");
		write_row(*id + 1, before.was);
		printf(";\n");
		write_expected(seed, *id, &item, &outcome);
	}
	generate_free();
}

static int
sql(int definitions, int items, uint64_t seed)
{
	long id = 0;

	write_tables();
	for (int i = 0; i < definitions; i++)
		write_definition(seed + (uint64_t) i, items, &id);
	printf("COMMIT;\n"
		   "SELECT count(*), count(score), count(*) FILTER (WHERE mine IS DISTINCT FROM score) FROM (\n"
		   "SELECT e.score, walrank.score(e.ranking, i, e.at, w) AS mine FROM oracle.expected e\n"
		   "JOIN oracle.item i USING (id) LEFT JOIN oracle.item w ON e.remembers AND w.id = e.id + 1 ORDER "
		   "BY e.ranking) x;\n");
	return 0;
}

int
main(int argc, char **argv)
{
	uint64_t seed = argc > 2 ? strtoull(argv[argc - 1], NULL, 10) : 0;

	if (argc == 5 && strcmp(argv[1], "check") == 0)
		return check(atoi(argv[2]), atoi(argv[3]), seed);
	if (argc == 5 && strcmp(argv[1], "sql") == 0)
		return sql(atoi(argv[2]), atoi(argv[3]), seed);
	if (argc == 3 && strcmp(argv[1], "show") == 0)
	{
		Random random = {seed};

		fputs(text_of(generate_definition(&random)), stdout);
		return 0;
	}
	fprintf(stderr, "usage: oracle check|sql DEFINITIONS ITEMS SEED, or oracle show SEED\n");
	return 2;
}
