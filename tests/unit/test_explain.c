/*
 * test_explain.c -- what the daemon says of a score is what made it: recombined, it is the emitted one to the last bit.
 */
#include <jansson.h>
#include <math.h>

#include "functions.h"
#include "score_world.h"

#define ITEMS 6
#define RANKINGS 2

/* What readers were last told of an item in a ranking. */
typedef struct Told
{
	bool shown;
	double score;
	int32_t tier;
	int32_t pin;
} Told;

static Told told[RANKINGS + 1][ITEMS + 1];

static int
key_number(Slice key)
{
	WireCursor cursor = wire_cursor(key);
	WireValue value;
	Slice body;

	assert_true(wire_value_next(&cursor, &body) && wire_value(body, &value));
	return (int) value.integer;
}

static void
hear_entry(const RecordEntry *entry)
{
	if (entry->kind != RECORD_SCORE && entry->kind != RECORD_REMOVE)
		return;
	assert_true(entry->out <= RANKINGS);
	for (int id = 1; id <= ITEMS; id++)
		if (entry->key.len == 0 || key_number(entry->key) == id)
			told[entry->out][id] = entry->kind == RECORD_REMOVE ? (Told){0}
																: (Told){true, entry->score.score,
																		 entry->score.tier, entry->score.pin};
}

/* Of all records since the last time. */
static void
hear(World *world)
{
	for (; world->shown < world->feed.len;)
	{
		RecordReader reader;
		RecordEntry entry;
		Error err = {0};
		uint64_t len;
		bool done;

		memcpy(&len, world->feed.data + world->shown, 8);
		must(record_open(slice_make(world->feed.data + world->shown + 8, len), &reader, &err), &err);
		for (;;)
		{
			must(record_next(&reader, &entry, &done, &err), &err);
			if (done)
				break;
			hear_entry(&entry);
		}
		world->shown += 8 + len;
	}
}

static json_t *
ask(World *world, int id, const char *ranking, int64_t second)
{
	Buffer value = {0};
	Buffer key = {0};
	Buffer json = {0};
	Error err = {0};
	json_t *why;

	w_varint(&value, VALUE_INT, wire_zigzag(id));
	w_bytes(&key, CHANGE_KEY, buffer_slice(&value));
	must(scorer_explain(world->scorer, "public.item", buffer_slice(&key), ranking,
						WORLD_BEGIN_US + second * 1000000, &json, &err),
		 &err);
	why = json_loadb((const char *) json.data, json.len, JSON_DECODE_INT_AS_REAL, NULL);
	assert_non_null(why);
	buffer_free(&value);
	buffer_free(&key);
	buffer_free(&json);
	return why;
}

static json_t *
get(const json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	if (value == NULL)
		fail_msg("no member \"%s\"", name);
	return value;
}

static double
number(const json_t *object, const char *name)
{
	assert_true(json_is_number(get(object, name)));
	return json_number_value(get(object, name));
}

static bool
truth(const json_t *object, const char *name)
{
	return json_is_true(get(object, name));
}

static const char *
word(const json_t *object, const char *name)
{
	return json_string_value(get(object, name));
}

/* ---- recombining ------------------------------------------------------------------------------ */

/* The statements' contributions in their order; combine sum. */
static double
organic_score(const json_t *ranking, double round)
{
	double terms = 0;
	double boosts = 0;
	double factors = 1;
	double score = 0;
	const json_t *line;
	size_t i;
	bool clamped = false;

	json_array_foreach(get(ranking, "statements"), i, line)
	{
		const char *kind = word(line, "kind");

		if (!truth(line, "counts"))
			continue;
		if (strcmp(kind, "term") == 0)
		{
			assert_true(number(line, "weight") * number(line, "value") == number(line, "contribution"));
			terms += number(line, "contribution");
		}
		else if (strcmp(kind, "boost") == 0)
			boosts += number(line, "contribution");
		else if (strcmp(kind, "factor") == 0)
			factors *= number(line, "contribution");
		else if (strcmp(kind, "clamp") == 0)
		{
			score = number(line, "value");
			clamped = true;
		}
	}
	if (!clamped)
		score = (terms + boosts) * factors;
	assert_true((terms + boosts) * factors == number(get(ranking, "totals"), "before_clamp"));
	return rule_round(score, round) + 0.0;
}

/* What is in force, in the order it is told. */
static Told
intervene(const json_t *ranking, double score, double round)
{
	Told result = {.shown = true};
	bool adjusted = false;
	bool tiered = false;
	const json_t *one;
	size_t i;

	json_array_foreach(get(ranking, "interventions"), i, one)
	{
		const char *action = word(one, "action");

		if (!truth(one, "in_force"))
			continue;
		adjusted = true;
		if (strcmp(action, "block") == 0)
			return (Told){0};
		if (strcmp(action, "boost") == 0)
			score = score * number(one, "factor") + number(one, "addend");
		else if (strcmp(action, "tier") == 0 && !tiered)
		{
			result.tier = (int32_t) number(one, "tier");
			tiered = true;
		}
	}
	json_array_foreach(get(ranking, "interventions"), i,
					   one) if (truth(one, "in_force") &&
								strcmp(word(one, "action"), "freeze") == 0) return (Told){
		.shown = true, .score = rule_round(number(one, "score"), round)};
	result.score = adjusted ? rule_round(score, round) : score;
	result.score = result.score == 0 ? 0 : result.score;
	return result;
}

/* ---- random worlds ---------------------------------------------------------------------------- */

static uint64_t state_of_chance;

static int
below(int n)
{
	state_of_chance = state_of_chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (int) (state_of_chance >> 33) % n;
}

/* Of sum, with the rounding and min_change that are returned. */
static void
write_definition(char *text, size_t bytes, bool clock, double *round, double *min_change)
{
	static const double rounds[] = {1e-9, 0.001, 0.1};
	static const double changes[] = {0, 0, 0.5, 3};
	size_t len;

	*round = rounds[below(3)];
	*min_change = changes[below(4)];
	len = (size_t) snprintf(text, bytes,
							"term p weight 0.%d%d price missing skip\n"
							"term l weight %d.%d log1p(price) on_error skip\n"
							"term s weight -0.3 saturation(stock, 7.3) missing 0.1\n"
							"boost 0.%d when price > %d\n"
							"factor 1.%d when stock < %d\n"
							"round %.9f\n",
							below(10), 1 + below(9), below(3), below(10), below(10), below(40), below(10),
							below(20), *round);
	if (below(3) == 0)
		len += (size_t) snprintf(text + len, bytes - len, "clamp %d .. %d\n", below(4), 5 + below(20));
	if (below(3) == 0)
		len += (size_t) snprintf(text + len, bytes - len, "where price > %d\n", below(20));
	if (clock)
		len += (size_t) snprintf(text + len, bytes - len, "term a weight 0.7 half_life(age(stock), %d)\n",
								 20 + below(200));
	if (*min_change > 0)
		snprintf(text + len, bytes - len, "min_change %g\n", *min_change);
}

static void
random_intervention(World *world, int id)
{
	static const char *const actions[] = {"boost' factor=1.7",
										  "boost' addend=0.3",
										  "boost' factor=0.3 addend=2.7",
										  "bury' tier=-3",
										  "tier' tier=5",
										  "block'",
										  "freeze' score=4.56",
										  "allow'",
										  "top'",
										  "pin' position=2"};
	char what[256];

	if (below(6) == 0)
		snprintf(what, sizeof(what), "condition='price > %d' action='boost' factor=1.%d", below(40),
				 below(10));
	else
		snprintf(what, sizeof(what), "item_key=(%d) action='%s priority=%d valid_from=@%d", 1 + below(ITEMS),
				 actions[below(10)], below(3), below(60));
	if (below(2) == 0)
		snprintf(what + strlen(what), sizeof(what) - strlen(what), " valid_until=@%d", 61 + below(100));
	t_intervention(world, OP_INSERT, id, what);
	t_commit(world);
}

static void
random_item(World *world, WireOp op, int id)
{
	char text[128];

	snprintf(text, sizeof(text), "id=%d price=%s%d title='x' att.stock=[%d,'2025-05-08T06:13:%02d.5Z']", id,
			 "", below(50), below(30), below(20));
	t_change_full(world, &world->item, op, text, NULL, 0);
	t_commit(world);
}

typedef struct Checked
{
	int scores, clock, kept, steered, frozen, blocked, pinned, outside;
} Checked;

static void
check_computed(const json_t *ranking, const Told *readers, double round, double min_change, Checked *checked)
{
	const json_t *computed = get(ranking, "computed");
	Told again = {0};
	bool kept = json_object_get(computed, "kept_by_min_change") != NULL;

	assert_int_equal(truth(ranking, "shown"), readers->shown);
	assert_int_equal(truth(computed, "shown"), readers->shown);
	checked->blocked += truth(computed, "blocked");
	checked->outside += !readers->shown && !truth(computed, "blocked");
	if (!readers->shown)
		return;
	/* what readers hold is told to the bit */
	assert_true(number(ranking, "score") == readers->score);
	assert_int_equal((int) number(ranking, "tier"), readers->tier);
	assert_int_equal(json_is_null(get(ranking, "pin")) ? 0 : (int) number(ranking, "pin"), readers->pin);
	assert_int_equal((int) number(computed, "pin"), readers->pin);
	if (truth(computed, "frozen"))
		again = intervene(ranking, 0, round);
	else
		again = intervene(ranking, organic_score(ranking, round), round);
	assert_true(again.score == number(computed, "score"));
	/* and is what was computed, or so near to it that it was not told */
	if (kept)
		assert_true(fabs(again.score - readers->score) < min_change && again.score != readers->score);
	else
		assert_true(again.score == readers->score);
	checked->kept += kept;
	checked->frozen += truth(computed, "frozen");
	checked->steered += json_array_size(get(ranking, "interventions")) > 0;
	checked->pinned += readers->pin > 0;
	checked->scores++;
}

static void
check_world(World *world, const double *rounds, const double *changes, int64_t second, Checked *checked)
{
	static const char *const names[] = {NULL, "still", "aging"};

	hear(world);
	for (int id = 1; id <= ITEMS; id++)
	{
		json_t *why = ask(world, id, "", second);
		const json_t *ranking;
		size_t i;

		assert_true(truth(why, "found") && truth(why, "whole"));
		assert_int_equal(json_array_size(get(why, "rankings")), RANKINGS);
		json_array_foreach(get(why, "rankings"), i, ranking)
		{
			assert_string_equal(word(ranking, "ranking"), names[i + 1]);
			assert_false(truth(ranking, "stale"));
			check_computed(ranking, &told[i + 1][id], rounds[i], changes[i], checked);
			checked->clock += i == 1 && truth(ranking, "shown");
		}
		json_decref(why);
	}
}

static void
play_world(uint64_t seed, Checked *checked)
{
	World *world = world_create(10000);
	double rounds[RANKINGS];
	double changes[RANKINGS];
	char text[1024];
	int64_t second = 0;

	state_of_chance = seed * UINT64_C(0x9e3779b97f4a7c15);
	memset(told, 0, sizeof(told));
	t_watch(world, OP_INSERT, "public.item", "att");
	write_definition(text, sizeof(text), false, &rounds[0], &changes[0]);
	t_ranking(world, OP_INSERT, "still", "public.item", text, true, 1);
	write_definition(text, sizeof(text), true, &rounds[1], &changes[1]);
	t_ranking(world, OP_INSERT, "aging", "public.item", text, true, 1);
	t_commit(world);
	for (int id = 1; id <= ITEMS; id++)
		random_item(world, OP_INSERT, id);
	for (int step = 1; step <= 12; step++)
	{
		if (below(2) == 0)
			random_intervention(world, step);
		else if (below(6) == 0)
		{
			write_definition(text, sizeof(text), true, &rounds[1], &changes[1]);
			t_ranking(world, OP_UPDATE, "aging", "public.item", text, true, 1 + step);
			t_commit(world);
		}
		else
			random_item(world, OP_UPDATE, 1 + below(ITEMS));
		second += below(15);
		u_rescore_all(world, 100);
		u_time(world, second);
		check_world(world, rounds, changes, second, checked);
		/* bounds that are past and not told yet are not explained either */
		check_world(world, rounds, changes, second + 500, checked);
	}
	/* a scorer that has just been made knows no time but the one it is asked at */
	world_commit(world);
	world_reopen(world);
	check_world(world, rounds, changes, second, checked);
	world_free(world);
}

static void
what_is_told_recombined_is_the_emitted_score(void **state)
{
	Checked checked = {0};

	for (uint64_t seed = 1; seed <= 60; seed++)
		play_world(seed, &checked);
	print_message("%d scores recombined: %d by age, %d kept by min_change, %d steered, %d frozen, %d pinned; "
				  "%d blocked, %d "
				  "outside\n",
				  checked.scores, checked.clock, checked.kept, checked.steered, checked.frozen,
				  checked.pinned, checked.blocked, checked.outside);
	assert_true(checked.scores > 4000 && checked.clock > 1500 && checked.kept > 100);
	assert_true(checked.steered > 500 && checked.frozen > 50 && checked.pinned > 50);
	assert_true(checked.blocked > 50 && checked.outside > 50);
}

/* ---- what else is said ------------------------------------------------------------------------- */

static void
what_is_not_there_is_said(void **state)
{
	World *world = world_create(10000);
	const Slice key = {0};
	Buffer json = {0};
	Error err = {0};
	json_t *why;

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", "term p weight 1 price missing skip", true, 1);
	t_commit(world);
	t_insert(world, "id=1 price=10 title='a' att={}");
	t_commit(world);
	assert_false(scorer_explain(world->scorer, "public.other", key, "", 0, &json, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	assert_string_equal(err.message, "\"public.other\" is no watched table");
	why = ask(world, 2, "home", 0);
	assert_false(truth(why, "found"));
	json_decref(why);
	assert_false(scorer_explain(world->scorer, "public.item", key, "none", 0, &json, &err));
	assert_string_equal(err.message, "the table has no ranking \"none\" in force");
	assert_string_equal(err.hint, "In force are home.");
	assert_int_equal(json.len, 0);
	buffer_free(&json);
	world_free(world);
}

static void
another_edition_of_the_rules_is_said_to_be_stale(void **state)
{
	World *world = world_create(10000);
	json_t *why;
	const json_t *ranking;

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", "term p weight 1 price missing skip", true, 1);
	t_commit(world);
	t_insert(world, "id=1 price=10 title='a' att={}");
	t_commit(world);
	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 2 price missing skip", true, 2);
	t_commit(world);
	why = ask(world, 1, "home", 0);
	ranking = json_array_get(get(why, "rankings"), 0);
	assert_true(truth(ranking, "stale"));
	assert_true(number(ranking, "score") == 10);
	assert_true(number(get(ranking, "computed"), "score") == 20);
	assert_true(number(ranking, "version") == 2);
	json_decref(why);
	u_rescore_all(world, 100);
	why = ask(world, 1, "home", 0);
	ranking = json_array_get(get(why, "rankings"), 0);
	assert_false(truth(ranking, "stale"));
	assert_true(number(ranking, "score") == 20);
	json_decref(why);
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_told_recombined_is_the_emitted_score),
		cmocka_unit_test(what_is_not_there_is_said),
		cmocka_unit_test(another_edition_of_the_rules_is_said_to_be_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
