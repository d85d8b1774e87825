/*
 * test_rules_manual.c -- walrank-rules(7) tells the truth: every example in it is run, and gives what
 * the page says; it has every function and every statement, and no function that is not there.
 *
 * Examples are lines of literal blocks with "=>" in a comment:
 *
 *   EXPRESSION  # ITEM => RESULT      the expression as a term, or as a condition
 *   # ITEM => RESULT                  the block as a definition
 *
 *   ITEM    name = VALUE [was VALUE], ...      name missing was VALUE
 *   VALUE   12 | 'text' | true | false | ['a', ...] | time 2026-11-20T12:00:00Z, each [@ own time]
 *   RESULT  number [tier N] | true | false | missing | outside | quarantine
 */
#include "test_rules_support.h"

#include "functions.h"

#include <math.h>

#define ATTRIBUTES_MAX 8

static char page[64 * 1024];

/* The tests are run in the root of the tree. */
static int
page_read(void **state)
{
	FILE *file = fopen("doc/walrank-rules.7.scd", "r");

	if (file == NULL)
		return -1;
	page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
	fclose(file);
	return 0;
}

/* ---- items ----------------------------------------------------------------------------------- */

typedef struct Item
{
	int n;
	Slice names[ATTRIBUTES_MAX];
	RuleValue now[ATTRIBUTES_MAX];
	RuleValue then[ATTRIBUTES_MAX];
	RuleChange changes[ATTRIBUTES_MAX];
	uint8_t room[2 * ATTRIBUTES_MAX][100]; /* of lists */
	int rooms;
} Item;

static void
skip_blanks(const char **at)
{
	*at += strspn(*at, " ");
}

static bool
take(const char **at, const char *word)
{
	skip_blanks(at);
	if (strncmp(*at, word, strlen(word)) != 0)
		return false;
	*at += strlen(word);
	return true;
}

static Slice
read_quoted(const char **at)
{
	const char *start = ++*at;

	*at = strchr(*at, '\'');
	assert_non_null(*at);
	return slice_make(start, (size_t) ((*at)++ - start));
}

static int64_t
read_time(const char **at)
{
	int64_t time_us;
	size_t len;

	skip_blanks(at);
	len = strcspn(*at, " ,");
	if (!rules_parse_time(slice_make(*at, len), &time_us))
		fail_msg("no time: %.*s", (int) len, *at);
	*at += len;
	return time_us;
}

static RuleValue
read_list(const char **at, uint8_t *room)
{
	char texts[5][20];
	const char *list[6] = {NULL};
	int n = 0;

	do
	{
		Slice text = (skip_blanks(at), read_quoted(at));

		assert_true(n < 5 && text.len < sizeof(texts[0]));
		list[n] = memcpy(texts[n], text.data, text.len);
		texts[n++][text.len] = '\0';
	} while (take(at, ","));
	assert_true(take(at, "]"));
	return text_list(room, list);
}

static RuleValue
read_value(const char **at, Item *item)
{
	RuleValue value = {.kind = RULE_MISSING};
	char *end;

	skip_blanks(at);
	if (**at == '\'')
		value = (RuleValue){.kind = RULE_TEXT, .bytes = read_quoted(at)};
	else if (take(at, "["))
		value = read_list(at, item->room[item->rooms++]);
	else if (take(at, "time "))
		value = TIME(read_time(at));
	else if (take(at, "true"))
		value = BOOL(true);
	else if (take(at, "false"))
		value = BOOL(false);
	else if (!take(at, "missing"))
	{
		value = NUMBER(strtod(*at, &end));
		if (end == *at)
			fail_msg("no value: %s", *at);
		*at = end;
	}
	value.has_own_time = take(at, "@ ");
	if (value.has_own_time)
		value.own_time_us = read_time(at);
	return value;
}

/* From behind the "#" to the "=>", which is taken. */
static void
read_item(const char **at, Item *item)
{
	memset(item, 0, sizeof(*item));
	while (!take(at, "=>"))
	{
		size_t len = (skip_blanks(at), strcspn(*at, " "));
		int i = item->n++;

		assert_true(i < ATTRIBUTES_MAX && len > 0);
		item->names[i] = slice_make(*at, len);
		*at += len;
		take(at, "= ");
		item->now[i] = read_value(at, item);
		if (take(at, "was "))
		{
			item->then[i] = read_value(at, item);
			item->changes[i] = RULE_CHANGED;
		}
		if (!take(at, ","))
			skip_blanks(at);
	}
}

static RuleResult
evaluate_item(const char *definition, const Item *item)
{
	RuleProgram *program = compile(definition);
	RuleValue now[ATTRIBUTES_MAX] = {0};
	RuleValue then[ATTRIBUTES_MAX] = {0};
	RuleChange changes[ATTRIBUTES_MAX] = {0};
	RuleInput input = {.values = now, .previous = then, .changes = changes};
	const RuleAttribute *attributes;
	RuleResult result;
	int n = rules_attributes(program, &attributes);
	int used = 0;

	assert_true(n <= ATTRIBUTES_MAX);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < item->n; j++)
			if (slice_equal(attributes[i].name, item->names[j]))
			{
				now[i] = item->now[j];
				then[i] = item->then[j];
				changes[i] = item->changes[j];
				used++;
			}
	if (used != item->n)
		fail_msg("the item has an attribute that is not read: %s", definition);
	assert_true(rules_parse_time(slice_string("2026-11-20T12:00:00Z"), &input.now_us));
	rules_evaluate(program, &input, &result);
	return result;
}

/* ---- results --------------------------------------------------------------------------------- */

/* As near as the digits that the page gives. */
static void
expect_number(const char *example, const char *stated, RuleResult result)
{
	char *end;
	double number = strtod(stated, &end);
	const char *point = memchr(stated, '.', (size_t) (end - stated));
	int digits = point != NULL ? (int) (end - point) - 1 : 0;
	int tier = 0;

	if (end == stated)
		fail_msg("what is %s in: %s", stated, example);
	if (strncmp(end, " tier ", 6) == 0)
		tier = (int) strtol(end + 6, &end, 10);
	assert_int_equal(*end, '\0');
	if (result.outcome != RULE_SCORE || fabs(result.score - number) > 0.51 * pow(10, -digits) ||
		result.tier != tier)
		fail_msg("outcome %d, score %.17g, tier %d (%s): %s", result.outcome, result.score, result.tier,
				 result.reason ? result.reason : "", example);
	/* what is written in full is full */
	if (digits < 9 && result.score != number)
		fail_msg("the score is %.17g: %s", result.score, example);
}

static void
expect_outcome(const char *example, RuleResult result, RuleOutcome outcome)
{
	if (result.outcome != outcome)
		fail_msg("outcome %d, score %.17g (%s): %s", result.outcome, result.score,
				 result.reason ? result.reason : "", example);
}

static void
run_definition(const char *definition, const char *example)
{
	const char *at = strchr(example, '#') + 1;
	RuleResult result;
	Item item;

	read_item(&at, &item);
	skip_blanks(&at);
	result = evaluate_item(definition, &item);
	if (strcmp(at, "outside") == 0)
		expect_outcome(example, result, RULE_OUTSIDE);
	else if (strcmp(at, "quarantine") == 0)
		expect_outcome(example, result, RULE_QUARANTINE);
	else
		expect_number(example, at, result);
}

static void
run_expression(const char *example)
{
	const char *at = strstr(example, "# ") + 1;
	int code = (int) (at - 1 - example);
	char definition[400];
	RuleResult result;
	Item item;
	bool is_condition;

	read_item(&at, &item);
	skip_blanks(&at);
	is_condition = strcmp(at, "true") == 0 || strcmp(at, "false") == 0;
	if (is_condition)
		snprintf(definition, sizeof(definition), "where %.*s on_error quarantine\nterm t 1", code, example);
	else
		snprintf(definition, sizeof(definition), "term t %.*s missing reject item on_error quarantine", code,
				 example);
	result = evaluate_item(definition, &item);
	if (is_condition)
		expect_outcome(example, result, *at == 't' ? RULE_SCORE : RULE_OUTSIDE);
	else if (strcmp(at, "missing") == 0)
		expect_outcome(example, result, RULE_OUTSIDE);
	else
		expect_number(example, at, result);
}

/* A block between two lines ```. Returns how many examples it had. */
static int
run_block(char *block)
{
	static char definition[4000];
	char *save;
	int n = 0;

	strcpy(definition, block);
	for (char *line = strtok_r(block, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save))
	{
		char *comment = strstr(line, "# ");

		if (comment == NULL || strstr(comment, "=>") == NULL)
			continue;
		n++;
		if (comment == line)
			run_definition(definition, line);
		else
			run_expression(line);
		arena_reset(NULL);
	}
	return n;
}

/* As it is printed: a backslash takes what follows as it is. */
static void
unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++)
		*to++ = *from == '\\' ? *++from : *from;
	*to = '\0';
}

/* Calls run for each literal block, which it may change. */
static int
each_block(int (*run)(char *block))
{
	static char block[4000];
	int n = 0;

	for (char *at = page; (at = strstr(at, "\n```\n")) != NULL;)
	{
		char *end = strstr(at += 5, "\n```\n");

		assert_non_null(end);
		assert_true(end - at < (int) sizeof(block));
		memcpy(block, at, (size_t) (end - at));
		block[end - at] = '\0';
		unescape(block);
		n += run(block);
		at = end + 4;
	}
	return n;
}

static void
every_example_gives_what_the_page_says(void **state)
{
	assert_true(each_block(run_block) > 100);
}

/* ---- completeness ------------------------------------------------------------------------------ */

static const char *wanted;

static int
mentions(char *block)
{
	for (const char *at = block; (at = strstr(at, wanted)) != NULL; at++)
		if (at == block || strchr(" (\n-", at[-1]) != NULL)
			return 1;
	return 0;
}

/* The functions of the hint, which the table of functions is behind. */
static void
every_function_is_explained_and_shown(void **state)
{
	RuleError error = compile_error("term t qqqqqqqq(1)");
	char *save;
	int n = 0;

	for (char *word = strtok_r(error.hint + strlen("Functions are "), " .", &save); word != NULL;
		 word = strtok_r(NULL, " .", &save))
	{
		const RuleFunction *function = rule_function_find(slice_string(word));
		char call[40];

		if (function == NULL)
			fail_msg("the hint has %s, which is no function", word);
		if (strstr(page, function->usage) == NULL)
			fail_msg("the page lacks %s", function->usage);
		snprintf(call, sizeof(call), "%s(", word);
		wanted = call;
		if (each_block(mentions) == 0)
			fail_msg("the page has no example with %s", call);
		n++;
	}
	assert_int_equal(n, rule_function_count());
}

static void
every_statement_is_explained(void **state)
{
	RuleError error = compile_error("qqqqqqqq");
	char *list = strstr(error.message, "expected ") + strlen("expected ");
	char *save;
	int n = 0;

	*strstr(list, ", not ") = '\0';
	for (char *word = strtok_r(list, ", ", &save); word != NULL; word = strtok_r(NULL, ", ", &save))
	{
		char heading[40];

		if (strcmp(word, "or") == 0)
			continue;
		snprintf(heading, sizeof(heading), "\n*%s* ", word);
		if (strstr(page, heading) == NULL)
			fail_msg("the page lacks a statement %s", word);
		n++;
	}
	assert_int_equal(n, 17);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, arena_reset)
	const struct CMUnitTest tests[] = {
		TEST(every_example_gives_what_the_page_says),
		TEST(every_function_is_explained_and_shown),
		TEST(every_statement_is_explained),
	};

	return cmocka_run_group_tests_name("rules: manual", tests, page_read, NULL);
}
