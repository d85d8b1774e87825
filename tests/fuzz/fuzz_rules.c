/*
 * fuzz_rules.c -- no text breaks the compiler, no item breaks the program, no score is infinite, and
 * what rules_explain() tells adds up to it.
 *
 * Input: a definition, optionally a NUL and bytes from which items are made: once as the values
 * themselves, once as an image on the wire.  These bytes are also the library "tail"; "shop" is one
 * that is right.  The definition itself is tried as a library as well.
 */
#include "rules_values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
put(uint8_t *at, uint32_t field, const void *data, size_t len)
{
	uint8_t *start = at;

	at = wire_put_varint(at, WIRE_TAG(field, WIRE_BYTES));
	at = wire_put_varint(at, len);
	memcpy(at, data, len);
	return (size_t) (at + len - start);
}

/* public.item(id key, status, price, att jsonb, badges, listed_at) */
static WireRelation
relation_make(uint8_t *room)
{
	static const struct
	{
		const char *name;
		uint32_t oid;
	} columns[] = {{"id", 20},	  {"status", 25},	{"price", 1700},
				   {"att", 3802}, {"badges", 1009}, {"listed_at", 1184}};
	uint8_t *rest = room + 9;
	size_t n = put(rest, RELATION_TABLE, "item", 4);
	WireRelation relation;
	uint64_t fingerprint;

	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
	{
		uint8_t column[64];
		size_t len = put(column, COLUMN_NAME, columns[i].name, strlen(columns[i].name));
		uint8_t *end = wire_put_varint(column + len, WIRE_TAG(COLUMN_TYPE_OID, WIRE_VARINT));

		end = wire_put_varint(end, columns[i].oid);
		*end++ = WIRE_TAG(COLUMN_KEY, WIRE_VARINT);
		*end++ = i == 0;
		n += put(rest + n, RELATION_COLUMNS, column, (size_t) (end - column));
	}
	fingerprint = wire_fingerprint(slice_make(rest, n));
	room[0] = WIRE_TAG(RELATION_FINGERPRINT, WIRE_FIXED64);
	for (int i = 0; i < 8; i++)
		room[1 + i] = (uint8_t) (fingerprint >> (8 * i));
	REQUIRE(wire_relation(slice_make(room, n + 9), &relation));
	return relation;
}

static void
check_error(const RuleError *error)
{
	REQUIRE(error->message[0] != '\0');
	REQUIRE(memchr(error->message, '\0', sizeof(error->message)) != NULL);
	REQUIRE(memchr(error->hint, '\0', sizeof(error->hint)) != NULL);
}

/* ---- explain ---------------------------------------------------------------------------------- */

typedef struct Heard
{
	double sum[3]; /* terms, boosts, factors */
	int lines;
	bool ended;
	const RuleResult *expected;
} Heard;

static void
hear_line(void *context, const RuleLine *line)
{
	Heard *heard = context;

	REQUIRE(++heard->lines <= RULES_STATEMENTS_MAX && !heard->ended);
	REQUIRE(line->text.len > 0 && line->line > 0 && line->name != NULL);
	REQUIRE(line->nattributes >= 0 && line->nattributes <= RULES_ATTRIBUTES_MAX);
	if (!line->counts)
		return;
	if (line->kind == RULE_LINE_TERM)
		heard->sum[0] += line->contribution;
	else if (line->kind == RULE_LINE_BOOST)
		heard->sum[1] += line->contribution;
	else if (line->kind == RULE_LINE_FACTOR)
		heard->sum[2] *= line->contribution;
}

static void
hear_totals(void *context, const RuleTotals *totals, const RuleResult *result)
{
	Heard *heard = context;
	double score = (heard->sum[0] + heard->sum[1]) * heard->sum[2];

	heard->ended = true;
	REQUIRE(result->outcome == heard->expected->outcome);
	REQUIRE(memcmp(&result->score, &heard->expected->score, sizeof(double)) == 0);
	REQUIRE(memcmp(&totals->rounded, &result->score, sizeof(double)) == 0);
	if (result->outcome == RULE_SCORE && isfinite(score) && strcmp(totals->combine, "sum") == 0)
		REQUIRE(memcmp(&totals->before_clamp, &score, sizeof(double)) == 0);
}

static void
check_explain(const RuleProgram *program, const RuleInput *input, const RuleResult *result)
{
	Heard heard = {.sum = {0, 0, 1}, .expected = result};

	rules_explain(program, input, &(RuleExplainer){hear_line, hear_totals, &heard});
	REQUIRE(heard.ended);
}

static void
check_evaluate(const RuleProgram *program, const RuleInput *input)
{
	RuleResult result;
	RuleResult again;

	rules_evaluate(program, input, &result);
	REQUIRE(isfinite(result.score));
	REQUIRE(result.score != 0 || !signbit(result.score));
	REQUIRE(result.tier >= -RULES_TIER_MAX && result.tier <= RULES_TIER_MAX);
	REQUIRE(result.outcome == RULE_SCORE || (result.score == 0 && result.tier == 0));
	REQUIRE((result.outcome == RULE_QUARANTINE) == (result.reason != NULL && result.statement != NULL));
	rules_evaluate(program, input, &again);
	REQUIRE(result.outcome == again.outcome && memcmp(&result.score, &again.score, sizeof(double)) == 0);
	REQUIRE(result.tier == again.tier);
	check_explain(program, input, &result);
}

/* Nothing that is remembered matters where a program says that it asks for nothing. */
static void
check_memory(const RuleProgram *program, const RuleInput *input)
{
	RuleResult with;
	RuleResult without;

	rules_evaluate(program, input, &with);
	rules_evaluate(program,
				   &(RuleInput){.values = input->values, .now_us = input->now_us, .allowed = input->allowed},
				   &without);
	if (!rules_use_previous(program))
		REQUIRE(with.outcome == without.outcome && memcmp(&with.score, &without.score, sizeof(double)) == 0);
}

static void
check_settings(const RuleProgram *program)
{
	int64_t refresh_us = rules_refresh_us(program);
	Slice name;

	REQUIRE(rules_min_change(program) >= 0 && isfinite(rules_min_change(program)));
	REQUIRE(refresh_us >= 0 && refresh_us <= RULES_REFRESH_SECONDS_MAX * INT64_C(1000000));
	REQUIRE(rules_scene(program).len <= RULES_SCENE_BYTES_MAX);
	for (int i = 0; rules_uses(program, i, &name); i++)
		REQUIRE(i < RULES_LIBRARIES_MAX && rules_library_name(name));
}

static bool
find_library(void *context, Slice name, Slice *text)
{
	static const char shop[] =
		"const VAT = 0.19\nlet cheap = price < 10\nmacro gross(net) = net * (1 + VAT)\n";

	if (slice_equal(name, slice_string("tail")))
		*text = *(const Slice *) context;
	else if (slice_equal(name, slice_string("shop")))
		*text = slice_string(shop);
	else
		return false;
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
	size_t len = nul != NULL ? (size_t) (nul - data) : size;
	Slice tail = nul != NULL ? slice_make(nul + 1, size - len - 1) : slice_make(data, size);
	static uint8_t room[512];
	static RuleValue values[RULES_ATTRIBUTES_MAX];
	static RuleValue previous[RULES_ATTRIBUTES_MAX];
	static RuleChange changes[RULES_ATTRIBUTES_MAX];
	Arena arena = {NULL};
	RuleMemory memory = {arena_alloc, &arena};
	RuleLibrary library = {find_library, &tail};
	RuleInput input = {values, previous, changes, (int64_t) (tail.len * UINT64_C(0x9e3779b97f4a7c15)),
					   tail.len % 5 == 0};
	const RuleAttribute *attributes;
	RuleError error;
	RuleProgram *program;

	if (!rules_check_library((const char *) data, len, &memory, &error))
		check_error(&error);
	program = rules_compile_with((const char *) data, len, &library, &memory, &error);
	if (program == NULL)
		check_error(&error);
	else
	{
		WireRelation relation = relation_make(room);
		int n = rules_attributes(program, &attributes);
		Slice map = slice_string(tail.len % 2 ? "att" : "");
		RuleBinding *binding = rules_bind(program, &relation, map, &memory, &error);

		REQUIRE(n <= RULES_ATTRIBUTES_MAX);
		check_settings(program);
		values_make(values, n, tail);
		values_make(previous, n, tail.len > 1 ? slice_make(tail.data + 1, tail.len - 1) : tail);
		for (int i = 0; i < n; i++)
			changes[i] = (RuleChange) ((tail.len + (size_t) i) % 3);
		check_evaluate(program, &input);
		check_memory(program, &input);
		if (binding == NULL)
			check_error(&error);
		else if (rules_fill(binding, slice_make(data, 0), tail, values))
			check_evaluate(program, &input);
	}
	arena_free(&arena);
	return 0;
}
