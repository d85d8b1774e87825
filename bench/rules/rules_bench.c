/*
 * rules_bench.c -- what a score costs: a compiled ranking beside C and Lua of the same formula.
 *
 *	rules_bench items N           items as COPY text, for the SQL expression; then reads nothing
 *	rules_bench check N FILE      compare scores that SQL computed ("id<TAB>score" lines)
 *	rules_bench run N ROUNDS      ns per item, medians of ROUNDS rounds; scores compared to the bit
 *
 * N is one of the sizes that formula.pl was run for; its files are read from the directory that
 * FORMULAS names.  Values are filled before the clock runs.  Every allocation is counted.
 */
#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rules.h"

#define ITEMS 1000
#define ROUND_NS 30000000				/* what a round lasts at least */
#define NOW_US INT64_C(820540800000000) /* 2026-01-01 UTC */

/* ---- allocations ------------------------------------------------------------------------------ */

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);

static uint64_t allocations;

void *
malloc(size_t bytes)
{
	allocations++;
	return __libc_malloc(bytes);
}

void *
calloc(size_t n, size_t bytes)
{
	allocations++;
	return __libc_calloc(n, bytes);
}

void *
realloc(void *block, size_t bytes)
{
	allocations++;
	return __libc_realloc(block, bytes);
}

/* ---- the formula in C: what is generated uses these -------------------------------------------- */

static inline bool
is(Slice text, const char *other, size_t len)
{
	return text.len == len && memcmp(text.data, other, len) == 0;
}

static inline double
age(int64_t now_us, int64_t time_us)
{
	return time_us >= now_us ? 0 : (double) (now_us - time_us) / 1e6;
}

/* The items' lists as they are written: tag, length, tag, length, text, each length in one byte. */
static inline bool
list_has(Slice list, const char *text, size_t len)
{
	const uint8_t *end = list.data + list.len;

	for (const uint8_t *at = list.data; end - at >= 4 && end - at - 4 >= at[3]; at += 4 + at[3])
		if (at[3] == len && memcmp(at + 4, text, len) == 0)
			return true;
	return false;
}

/* The same as code would do it that believes no bytes: with the functions of the wire format. */
static inline bool
list_has_checked(Slice list, const char *text, size_t len)
{
	WireCursor cursor = wire_cursor(list);
	WireValue element;
	Slice body;

	while (wire_value_next(&cursor, &body))
		if (wire_value(body, &element) && element.kind == VALUE_TEXT && is(element.bytes, text, len))
			return true;
	return false;
}

#include "formulas.h"
#include "formulas_checked.h"

typedef struct Formula
{
	int n;
	const char *const *names;
	bool (*score)(const RuleValue *values, int64_t now_us, double *score);
	bool (*score_checked)(const RuleValue *values, int64_t now_us, double *score);
} Formula;

static const Formula formulas[] = {{5, names_5, score_5, score_checked_5},
								   {20, names_20, score_20, score_checked_20},
								   {100, names_100, score_100, score_checked_100}};

/* ---- items -------------------------------------------------------------------------------------- */

typedef struct World
{
	const Formula *formula;
	int nvalues;
	RuleValue *values; /* ITEMS rows of nvalues */
	RuleProgram *program;
	lua_State *lua; /* 1: the function, 2 ..: the items */
	double ours[ITEMS];
	double c[ITEMS];
	double checked[ITEMS];
	double luas[ITEMS];
} World;

static uint64_t random_state = 88172645463325252U;

static uint64_t
random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "rules_bench: %s: %s\n", what, why);
	exit(1);
}

static void *
take(void *context, size_t bytes)
{
	void *block = malloc(bytes + 1);

	if (block == NULL)
		die("memory", "exhausted");
	return block;
}

static const char *const badges[] = {"verified", "eco", "local", "fast", "new", "premium"};

/* LIST_VALUES { VALUE_TEXT } for some of the badges, none often. */
static RuleValue
badges_make(void)
{
	uint8_t *room = take(NULL, 128);
	size_t n = 0;

	for (int i = 0; i < 6; i++)
		if (random_below(4) == 0)
		{
			size_t len = strlen(badges[i]);

			room[n++] = WIRE_TAG(LIST_VALUES, WIRE_BYTES);
			room[n++] = (uint8_t) (len + 2);
			room[n++] = WIRE_TAG(VALUE_TEXT, WIRE_BYTES);
			room[n++] = (uint8_t) len;
			memcpy(room + n, badges[i], len);
			n += len;
		}
	return (RuleValue){.kind = RULE_LIST, .bytes = slice_make(room, n)};
}

static RuleValue
value_make(const char *name)
{
	static const char *const kinds[] = {"new", "used", "refurbished", "broken"};

	if (strcmp(name, "status") == 0)
		return (RuleValue){.kind = RULE_TEXT, .bytes = slice_string(random_below(20) ? "on_sale" : "sold")};
	if (random_below(20) == 0)
		return (RuleValue){.kind = RULE_MISSING};
	if (strcmp(name, "badges") == 0)
		return badges_make();
	if (strncmp(name, "kind", 4) == 0)
		return (RuleValue){.kind = RULE_TEXT, .bytes = slice_string(kinds[random_below(4)])};
	if (strncmp(name, "listed", 6) == 0)
		return (RuleValue){.kind = RULE_TIME,
						   .time_us = NOW_US - (int64_t) random_below(UINT64_C(30) * 86400000000)};
	return (RuleValue){.kind = RULE_NUMBER,
					   .number = strncmp(name, "price", 5) == 0	   ? (double) random_below(1000000) / 100
								 : strncmp(name, "rating", 6) == 0 ? (double) random_below(50) / 10
								 : strcmp(name, "level") == 0
									 ? (double) random_below(7)
									 : (double) random_below(random_below(2) ? 100 : 10000)};
}

static void
items_make(World *world)
{
	while (world->formula->names[world->nvalues] != NULL)
		world->nvalues++;
	world->values = take(NULL, sizeof(RuleValue) * ITEMS * (size_t) world->nvalues);
	for (int i = 0; i < ITEMS; i++)
		for (int j = 0; j < world->nvalues; j++)
			world->values[i * world->nvalues + j] = value_make(world->formula->names[j]);
}

/* ---- what is written by formula.pl ------------------------------------------------------------- */

static char *
formula_text(const char *language, int n, size_t *len)
{
	char path[1024];
	char *text = take(NULL, 1 << 20);
	FILE *f;

	snprintf(path, sizeof(path), "%s/%d.%s", getenv("FORMULAS") ? getenv("FORMULAS") : ".", n, language);
	f = fopen(path, "r");
	if (f == NULL)
		die(path, "cannot be read; see bench/rules/run");
	*len = fread(text, 1, 1 << 20, f);
	text[*len] = '\0';
	fclose(f);
	return text;
}

static void
program_make(World *world)
{
	size_t len;
	char *text = formula_text("rules", world->formula->n, &len);
	RuleMemory memory = {take, NULL};
	const RuleAttribute *attributes;
	RuleError error;

	world->program = rules_compile(text, len, &memory, &error);
	if (world->program == NULL)
		die("definition", error.message);
	if (rules_attributes(world->program, &attributes) != world->nvalues)
		die("definition", "other attributes than the formula's");
	for (int i = 0; i < world->nvalues; i++)
		if (!slice_equal(attributes[i].name, slice_string(world->formula->names[i])))
			die("definition", "attributes in another order than the formula's");
}

static int
lua_log1p(lua_State *lua)
{
	lua_pushnumber(lua, log1p(luaL_checknumber(lua, 1)));
	return 1;
}

static void
lua_push_value(lua_State *lua, const RuleValue *value)
{
	WireCursor cursor = wire_cursor(value->bytes);
	WireValue element;
	Slice body;

	switch (value->kind)
	{
		case RULE_NUMBER:
			lua_pushnumber(lua, value->number);
			break;
		case RULE_TIME:
			lua_pushinteger(lua, value->time_us);
			break;
		case RULE_TEXT:
			lua_pushlstring(lua, (const char *) value->bytes.data, value->bytes.len);
			break;
		case RULE_LIST:
			lua_newtable(lua);
			for (int i = 1; wire_value_next(&cursor, &body) && wire_value(body, &element); i++)
			{
				lua_pushlstring(lua, (const char *) element.bytes.data, element.bytes.len);
				lua_rawseti(lua, -2, i);
			}
			break;
		default:
			lua_pushboolean(lua, false); /* nil would make a hole of the array */
	}
}

static void
lua_make(World *world)
{
	size_t len;
	char *text = formula_text("lua", world->formula->n, &len);
	lua_State *lua = world->lua = luaL_newstate();

	luaL_openlibs(lua);
	lua_register(lua, "log1p", lua_log1p);
	if (luaL_loadbuffer(lua, text, len, "=formula") != LUA_OK || lua_pcall(lua, 0, 1, 0) != LUA_OK)
		die("lua", lua_tostring(lua, -1));
	if (!lua_checkstack(lua, ITEMS + 10))
		die("lua", "stack");
	for (int i = 0; i < ITEMS; i++)
	{
		lua_createtable(lua, world->nvalues, 0);
		for (int j = 0; j < world->nvalues; j++)
		{
			lua_push_value(lua, &world->values[i * world->nvalues + j]);
			lua_rawseti(lua, -2, j + 1);
		}
	}
	lua_gc(lua, LUA_GCCOLLECT);
}

/* ---- one pass over the items, per language ----------------------------------------------------- */

#define OUTSIDE (-1e9)

static void
pass_ours(World *world)
{
	for (int i = 0; i < ITEMS; i++)
	{
		RuleInput input = {.values = &world->values[i * world->nvalues], .now_us = NOW_US};
		RuleResult result;

		rules_evaluate(world->program, &input, &result);
		world->ours[i] = result.outcome == RULE_SCORE ? result.score : OUTSIDE;
	}
}

static void
pass_c(World *world)
{
	for (int i = 0; i < ITEMS; i++)
		if (!world->formula->score(&world->values[i * world->nvalues], NOW_US, &world->c[i]))
			world->c[i] = OUTSIDE;
}

static void
pass_checked(World *world)
{
	for (int i = 0; i < ITEMS; i++)
		if (!world->formula->score_checked(&world->values[i * world->nvalues], NOW_US, &world->checked[i]))
			world->checked[i] = OUTSIDE;
}

static void
pass_lua(World *world)
{
	lua_State *lua = world->lua;

	for (int i = 0; i < ITEMS; i++)
	{
		lua_pushvalue(lua, 1);
		lua_pushvalue(lua, 2 + i);
		lua_pushinteger(lua, NOW_US);
		if (lua_pcall(lua, 2, 1, 0) != LUA_OK)
			die("lua", lua_tostring(lua, -1));
		world->luas[i] = lua_isnil(lua, -1) ? OUTSIDE : lua_tonumber(lua, -1);
		lua_pop(lua, 1);
	}
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* what else the machine does counts less than by the clock */
	return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static double
round_ns(World *world, void (*pass)(World *))
{
	uint64_t start = now_ns();
	uint64_t ns;
	int passes = 0;

	do
	{
		pass(world);
		passes++;
		ns = now_ns() - start;
	} while (ns < ROUND_NS);
	return (double) ns / passes / ITEMS;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
median(double *values, int n)
{
	qsort(values, (size_t) n, sizeof(double), compare_doubles);
	return values[n / 2];
}

static World *
world_make(int n)
{
	World *world = calloc(1, sizeof(*world));

	for (size_t i = 0; i < sizeof(formulas) / sizeof(formulas[0]); i++)
		if (formulas[i].n == n)
			world->formula = &formulas[i];
	if (world->formula == NULL)
		die("size", "has no formula");
	items_make(world);
	program_make(world);
	return world;
}

/* ---- commands ----------------------------------------------------------------------------------- */

static void
command_run(int n, int rounds)
{
	World *world = world_make(n);
	void (*passes[])(World *) = {pass_ours, pass_c, pass_checked, pass_lua};
	double ns[4][101];
	double medians[4];
	uint64_t before;
	int inside = 0;

	lua_make(world);
	for (int i = 0; i < 4; i++)
		passes[i](world);
	for (int i = 0; i < ITEMS; i++)
	{
		inside += world->ours[i] != OUTSIDE;
		if (memcmp(&world->ours[i], &world->c[i], sizeof(double)) != 0 ||
			world->ours[i] != world->checked[i] || world->ours[i] != world->luas[i])
		{
			fprintf(stderr, "item %d: %.17g, C %.17g, Lua %.17g\n", i, world->ours[i], world->c[i],
					world->luas[i]);
			exit(1);
		}
	}
	before = allocations;
	pass_ours(world);
	before = allocations - before;
	for (int round = 0; round < rounds; round++)
		for (int i = 0; i < 4; i++)
			ns[i][round] = round_ns(world, passes[i]);
	for (int i = 0; i < 4; i++)
		medians[i] = median(ns[i], rounds);
	printf("%d %.1f %.1f %.1f %.1f %d %" PRIu64 "\n", n, medians[0], medians[1], medians[2], medians[3],
		   inside, before);
}

static void
copy_value(const RuleValue *value)
{
	WireCursor cursor = wire_cursor(value->bytes);
	WireValue element;
	Slice body;
	bool first = true;

	switch (value->kind)
	{
		case RULE_NUMBER:
			printf("\t%.17g", value->number);
			break;
		case RULE_TEXT:
			printf("\t%.*s", (int) value->bytes.len, (const char *) value->bytes.data);
			break;
		case RULE_TIME: /* microseconds; the run script makes a time of them */
			printf("\t%" PRId64, value->time_us - NOW_US);
			break;
		case RULE_LIST:
			printf("\t{");
			for (; wire_value_next(&cursor, &body) && wire_value(body, &element); first = false)
				printf("%s%.*s", first ? "" : ",", (int) element.bytes.len,
					   (const char *) element.bytes.data);
			printf("}");
			break;
		default:
			printf("\t\\N");
	}
}

static void
command_items(int n)
{
	World *world = world_make(n);

	for (int i = 0; i < ITEMS; i++)
	{
		printf("%d", i);
		for (int j = 0; j < world->nvalues; j++)
			copy_value(&world->values[i * world->nvalues + j]);
		printf("\n");
	}
}

/* ln(1 + x) is not log1p(x), and numeric constants are rounded elsewhere: within one step of round. */
static void
command_check(int n, const char *path)
{
	World *world = world_make(n);
	FILE *f = fopen(path, "r");
	char line[200];
	double worst = 0;
	int seen = 0;
	int unequal = 0;

	if (f == NULL)
		die(path, "cannot be read");
	pass_ours(world);
	while (fgets(line, sizeof(line), f) != NULL)
	{
		int i = atoi(line);
		const char *tab = strchr(line, '\t');
		double score = tab == NULL || tab[1] == '\\' ? OUTSIDE : strtod(tab + 1, NULL);

		seen++;
		unequal += score != world->ours[i];
		worst = fmax(worst, fabs(score - world->ours[i]));
	}
	fclose(f);
	if (seen != ITEMS || worst > 0.00010001)
	{
		fprintf(stderr, "%d terms: %d of %d scores by SQL, the worst is off by %g\n", n, seen, ITEMS, worst);
		exit(1);
	}
	printf("%d %g\n", unequal, worst);
}

int
main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 0;

	if (argc == 3 && strcmp(argv[1], "items") == 0)
		command_items(n);
	else if (argc == 4 && strcmp(argv[1], "check") == 0)
		command_check(n, argv[3]);
	else if (argc == 4 && strcmp(argv[1], "run") == 0 && atoi(argv[3]) > 0 && atoi(argv[3]) <= 101)
		command_run(n, atoi(argv[3]));
	else
		die("usage", "rules_bench items N | check N FILE | run N ROUNDS");
	return 0;
}
