/*
 * test_steer.c -- interventions in the stream: what they make of items, when they begin and end, and that every
 * boundary is told once.
 */
#include "score_world.h"

#define BY_PRICE "term p weight 1 price missing skip"
#define CHEAP "where price < 100\nterm p weight 1 price missing skip"

/* Items 1 to 3 with prices 10, 20, 30 in ranking "home". */
static World *
steered_world(const char *definition)
{
	World *world = world_create(10000);

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", definition, true, 1);
	t_commit(world);
	t_insert(world, "id=1 price=10 title='a' att={}");
	t_insert(world, "id=2 price=20 title='b' att={}");
	t_insert(world, "id=3 price=30 title='c' att={}");
	t_commit(world);
	world_hide(world);
	return world;
}

static void
intervene(World *world, int id, const char *what)
{
	t_intervention(world, OP_INSERT, id, what);
	t_commit(world);
}

static void
withdraw(World *world, int id)
{
	t_intervention(world, OP_DELETE, id, "");
	t_commit(world);
}

/* ---- by key --------------------------------------------------------------------------------- */

static void
an_item_follows_its_intervention_from_its_row_to_its_end(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(1) action='boost' factor=2.0 addend=1.0");
	assert_shown(world, "");
	assert_int_equal(u_time(world, 0), 1);
	assert_shown(world, "1.1 score 3 (1) 21 v1\n");
	t_update(world, "id=1 price=11 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=11* 2='a' 3={}\n1.1 score 3 (1) 23 v1\n");
	t_intervention(world, OP_UPDATE, 1, "item_key=(1) action='boost' factor=3.0");
	t_commit(world);
	assert_int_equal(u_time(world, 0), 1);
	assert_shown(world, "1.1 score 3 (1) 33 v1\n");
	withdraw(world, 1);
	assert_int_equal(u_time(world, 0), 1);
	assert_shown(world, "1.1 score 3 (1) 11 v1\n");
	assert_int_equal(u_time(world, 1000000), 0);
	world_free(world);
}

/* One that is moved to another item leaves the first. */
static void
a_row_that_names_another_item_frees_the_first(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(1) action='boost' factor=2.0");
	u_time(world, 0);
	world_hide(world);
	t_intervention(world, OP_UPDATE, 1, "item_key=(2) action='boost' factor=2.0");
	t_commit(world);
	assert_int_equal(u_time(world, 0), 1);
	assert_shown(world, "1.1 score 3 (1) 10 v1\n2.1 score 3 (2) 40 v1\n");
	world_free(world);
}

static const struct
{
	const char *what;
	const char *shown;
} actions[] = {
	{"action='boost' addend=5.0", "1.1 score 3 (1) 15 v1\n"},
	{"action='bury' factor=0.5", "1.1 score 3 (1) 5 v1\n"},
	{"action='bury'", "1.1 score 3 (1) 10 v1 tier -1\n"},
	{"action='bury' tier=-7", "1.1 score 3 (1) 10 v1 tier -7\n"},
	{"action='tier' tier=4", "1.1 score 3 (1) 10 v1 tier 4\n"},
	{"action='top'", "1.1 score 3 (1) 10 v1 tier 4095\n"},
	{"action='bottom'", "1.1 score 3 (1) 10 v1 tier -4095\n"},
	{"action='pin' position=3", "1.1 score 3 (1) 10 v1 pin 3\n"},
	{"action='freeze' score=7.5", "1.1 score 3 (1) 7.5 v1\n"},
	{"action='block'", "1.1 remove 3 (1)\n"},
	{"action='allow'", ""},
};

static void
every_action_is_told_and_taken_back(void **state)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
	{
		World *world = steered_world(BY_PRICE);
		char what[128];

		snprintf(what, sizeof(what), "item_key=(1) %s valid_until=@10", actions[i].what);
		intervene(world, 1, what);
		u_time(world, 0);
		assert_shown(world, actions[i].shown);
		/* at its end, to the microsecond, and once */
		assert_int_equal(u_time(world, 9), 0);
		assert_int_equal(u_time(world, 10), 1);
		assert_int_equal(world->units[world->nunits - 1].unit.now_us, WORLD_BEGIN_US + 10000000);
		assert_shown(world, actions[i].shown[0] != '\0' ? "1.1 score 3 (1) 10 v1\n" : "");
		assert_int_equal(u_time(world, 1000000), 0);
		world_free(world);
	}
}

static void
allow_lets_an_item_in_that_where_leaves_out(void **state)
{
	World *world = steered_world(CHEAP);

	t_update(world, "id=1 price=500 title=~ att=~");
	t_commit(world);
	world_hide(world);
	intervene(world, 1, "item_key=(1) action='allow'");
	u_time(world, 0);
	assert_shown(world, "1.1 score 3 (1) 500 v1\n");
	intervene(world, 2, "item_key=(1) action='block'");
	u_time(world, 0);
	assert_shown(world, "1.1 remove 3 (1)\n");
	world_free(world);
}

static void
one_ranking_or_all_of_them(void **state)
{
	World *world = steered_world(BY_PRICE);

	t_ranking(world, OP_INSERT, "twice", "public.item", "term p weight 2 price missing skip", true, 1);
	t_commit(world);
	u_rescore_all(world, 100);
	world_hide(world);
	intervene(world, 1, "ranking='twice' item_key=(1) action='boost' factor=10.0");
	u_time(world, 0);
	assert_shown(world, "1.2 score 3 (1) 200 v1\n");
	intervene(world, 2, "item_key=(1) action='tier' tier=1");
	u_time(world, 0);
	assert_shown(world, "1.1 score 3 (1) 10 v1 tier 1\n1.2 score 3 (1) 200 v1 tier 1\n");
	world_free(world);
}

static void
priority_and_then_the_later_one_decides(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 9, "item_key=(1) action='tier' tier=1");
	intervene(world, 3, "item_key=(1) action='tier' tier=2");
	u_time(world, 0);
	assert_shown(world, "1.1 score 3 (1) 10 v1 tier 2\n");
	intervene(world, 4, "item_key=(1) action='tier' tier=3 priority=-1");
	assert_int_equal(u_time(world, 0), 1);
	assert_shown(world, "");
	/* an update makes it the later one */
	t_intervention(world, OP_UPDATE, 9, "item_key=(1) action='tier' tier=5");
	t_commit(world);
	u_time(world, 0);
	assert_shown(world, "1.1 score 3 (1) 10 v1 tier 5\n");
	/* the factor of the one with priority comes first: (10 * 2 + 1), not (10 + 1) * 2 */
	intervene(world, 5, "item_key=(1) action='boost' addend=1.0");
	intervene(world, 6, "item_key=(1) action='boost' factor=2.0 priority=1");
	u_time(world, 0);
	assert_shown(world, "1.1 score 3 (1) 21 v1 tier 5\n");
	world_free(world);
}

/* ---- pins ----------------------------------------------------------------------------------- */

static void
pins_give_way_and_move_up_again(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(1) action='pin' position=1 valid_until=@10");
	intervene(world, 2, "item_key=(2) action='pin' position=1 priority=-1");
	intervene(world, 3, "item_key=(3) action='pin' position=2 priority=-2");
	assert_int_equal(u_time(world, 0), 1);
	assert_shown(world,
				 "1.1 score 3 (1) 10 v1 pin 1\n2.1 score 3 (2) 20 v1 pin 2\n3.1 score 3 (3) 30 v1 pin 3\n");
	assert_int_equal(u_time(world, 10), 1);
	assert_shown(world, "1.1 score 3 (1) 10 v1\n2.1 score 3 (2) 20 v1 pin 1\n3.1 score 3 (3) 30 v1 pin 2\n");
	withdraw(world, 2);
	assert_int_equal(u_time(world, 11), 1);
	/* the third wanted no better than 2 */
	assert_shown(world, "2.1 score 3 (2) 20 v1\n");
	world_free(world);
}

/* ---- when ----------------------------------------------------------------------------------- */

static void
begin_and_end_are_one_emission_each_across_restarts(void **state)
{
	for (int restart = 0; restart < 8; restart++)
	{
		World *world = steered_world(BY_PRICE);

		intervene(world, 1, "item_key=(1) action='boost' factor=2.0 valid_from=@10 valid_until=@20");
		u_time(world, 0);
		assert_shown(world, "");
		world_commit(world);
		if (restart & 1)
			world_reopen(world);
		assert_int_equal(u_time(world, 10), 1);
		assert_int_equal(world->units[world->nunits - 1].unit.id, WORLD_BEGIN_US + 10000000);
		assert_shown(world, "1.1 score 3 (1) 20 v1\n");
		world_commit(world);
		if (restart & 2)
			world_reopen(world);
		/* nobody was there for long: the time told is the one that was set */
		assert_int_equal(u_time(world, 5000), 1);
		assert_int_equal(world->units[world->nunits - 1].unit.id, WORLD_BEGIN_US + 20000000);
		assert_shown(world, "1.1 score 3 (1) 10 v1\n");
		world_commit(world);
		if (restart & 4)
			world_reopen(world);
		assert_int_equal(u_time(world, 1000000), 0);
		world_free(world);
	}
}

/* Down for the whole of it: both are told, each with its own time. */
static void
what_began_and_ended_while_nobody_was_there_is_told(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(1) action='boost' factor=2.0 valid_from=@10 valid_until=@20");
	intervene(world, 2, "item_key=(2) action='block' valid_from=@15 valid_until=@16");
	u_time(world, 0);
	world_commit(world);
	world_reopen(world);
	assert_int_equal(u_time(world, 100), 4);
	assert_shown(world,
				 "1.1 score 3 (1) 20 v1\n1.1 remove 3 (2)\n1.1 score 3 (2) 20 v1\n1.1 score 3 (1) 10 v1\n");
	world_free(world);
}

static void
many_that_begin_at_once_take_as_many_units_as_the_limit_says(void **state)
{
	World *world = steered_world(BY_PRICE);

	for (int id = 1; id <= 3; id++)
	{
		char what[80];

		snprintf(what, sizeof(what), "item_key=(%d) action='tier' tier=1 valid_from=@10", id);
		t_intervention(world, OP_INSERT, id, what);
	}
	t_commit(world);
	u_time(world, 0);
	u_timer(world, WORLD_BEGIN_US + 10000000, 2);
	assert_shown(world, "1.1 score 3 (1) 10 v1 tier 1\n2.1 score 3 (2) 20 v1 tier 1\n");
	assert_int_equal(u_time(world, 10), 1);
	assert_shown(world, "1.1 score 3 (3) 30 v1 tier 1\n");
	world_free(world);
}

static void
one_that_is_withdrawn_before_it_begins_never_does(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(1) action='boost' factor=2.0 valid_from=@10 valid_until=@20");
	u_time(world, 0);
	withdraw(world, 1);
	u_time(world, 5);
	assert_int_equal(u_time(world, 100), 0);
	assert_shown(world, "");
	world_free(world);
}

/* ---- items come and go ------------------------------------------------------------------------ */

static void
an_item_that_comes_later_meets_it(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(7) action='boost' factor=2.0 valid_until=@20");
	assert_int_equal(u_time(world, 0), 1);
	t_insert(world, "id=7 price=7 title='x' att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (7) insert 1=7* 2='x'* 3={}*\n1.1 score 3 (7) 14 v1\n");
	t_delete(world, "id=7");
	t_commit(world);
	world_hide(world);
	/* its timer went with it */
	assert_int_equal(u_time(world, 100), 0);
	world->now_us += 30000000;
	t_insert(world, "id=7 price=7 title='x' att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (7) insert 1=7* 2='x'* 3={}*\n1.1 score 3 (7) 7 v1\n");
	world_free(world);
}

static void
a_table_that_is_emptied_takes_its_timers_along(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(1) action='boost' factor=2.0 valid_until=@20");
	u_time(world, 0);
	t_truncate(world, &world->item);
	t_commit(world);
	world_hide(world);
	assert_int_equal(u_time(world, 100), 0);
	world_free(world);
}

static void
a_table_that_is_watched_again_is_steered_again(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "item_key=(1) action='boost' factor=2.0");
	u_time(world, 0);
	t_watch(world, OP_DELETE, "public.item", NULL);
	t_commit(world);
	assert_int_equal(u_time(world, 100), 0);
	t_watch(world, OP_INSERT, "public.item", "att");
	t_commit(world);
	world_hide(world);
	t_insert(world, "id=1 price=10 title='a' att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) insert 1=10* 2='a'* 3={}*\n1.1 score 3 (1) 20 v1\n");
	world_free(world);
}

/* ---- by condition ------------------------------------------------------------------------------ */

static void
a_condition_meets_items_that_are_there_and_those_that_come_into_it(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "condition='price > 15' action='block' valid_until=@50");
	u_rescore_all(world, 2);
	assert_shown(world, "1.1 remove 3 (2)\n1.1 remove 3 (3)\n");
	t_update(world, "id=1 price=16 title=~ att=~");
	t_update(world, "id=2 price=5 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=16* 2='a' 3={}\n1.1 remove 3 (1)\n"
						"2.0 change 3 (2) update 1=5* 2='b' 3={}\n2.1 score 3 (2) 5 v1\n");
	/* its end is each item's own timer: no walk over all */
	assert_int_equal(u_time(world, 50), 1);
	assert_shown(world, "1.1 score 3 (1) 16 v1\n2.1 score 3 (3) 30 v1\n");
	world_free(world);
}

/* What no ranking reads may still be what people decide by. */
static void
a_condition_reads_what_no_ranking_does(void **state)
{
	World *world = steered_world(BY_PRICE);

	intervene(world, 1, "condition='views > 5' action='block'");
	u_rescore_all(world, 10);
	assert_shown(world, "");
	t_update(world, "id=1 price=10 title=~ att.views=6");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "1.1 remove 3 (1)"));
	t_update(world, "id=1 price=10 title=~ att.views=5");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "1.1 score 3 (1) 10 v1"));
	world_free(world);
}

static void
a_condition_that_does_not_bind_is_told_and_about_nothing(void **state)
{
	World *world = steered_world(BY_PRICE);

	t_watch(world, OP_UPDATE, "public.item", NULL);
	t_commit(world);
	u_rescore_all(world, 10);
	world_hide(world);
	intervene(world, 1, "condition='colour > 15' action='block'");
	assert_non_null(strstr(world_text(world), "quarantine () condition: the definition reads \"colour\""));
	u_rescore_all(world, 10);
	assert_shown(world, "");
	intervene(world, 2, "condition='price >' action='block'");
	assert_non_null(strstr(world_text(world), "condition: expected"));
	world_free(world);
}

static void
rows_that_make_no_sense_are_told(void **state)
{
	static const char *const rows[] = {
		"action='boost' factor=2.0",						 /* about nothing */
		"item_key=(1) condition='price > 1' action='block'", /* about two things */
		"item_key=(1) action='praise'",
		"item_key=(1) action='pin'",
		"condition='price > 1' action='pin' position=1",
		"item_key=(1) action='boost' factor=-1.0",
		"item_key=(1) action='tier' tier=99999",
		"item_key=(1) action='pin' position=0",
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		World *world = steered_world(BY_PRICE);

		intervene(world, 1, rows[i]);
		assert_non_null(strstr(world_text(world), "not a row of walrank.intervention"));
		assert_int_equal(u_time(world, 100), 0);
		world_free(world);
	}
}

/* ---- a month ---------------------------------------------------------------------------------- */
/*
 * Thousands of interventions in virtual time, while the daemon is killed again and again, often for hours.  What was told
 * is compared with what a walk over all boundaries says, which knows nothing of timers.
 */
#define MONTH_S (30 * 86400)
#define MONTH_ITEMS 400
#define MONTH_RESTARTS 50

typedef struct Planned
{
	int id;
	int item;
	int64_t row_s; /* when its row is written */
	int64_t from_s;
	int64_t until_s;
	char action; /* t(ier), b(oost), x (block) */
	int amount;
	int priority;
} Planned;

typedef struct Told
{
	bool shown;
	int tier;
	double score;
} Told;

static unsigned month_seed;

static int
dice(int sides)
{
	month_seed = month_seed * 1103515245 + 12345;
	return (int) (month_seed >> 8) % sides;
}

static int
by_row(const void *a, const void *b)
{
	const Planned *left = a;
	const Planned *right = b;

	return left->row_s != right->row_s ? (left->row_s < right->row_s ? -1 : 1) : left->id - right->id;
}

static Planned *
plan_month(int count)
{
	Planned *plan = xcalloc((size_t) count, sizeof(*plan));

	for (int i = 0; i < count; i++)
	{
		Planned *one = &plan[i];

		one->item = 1 + dice(MONTH_ITEMS);
		one->from_s = 10 + dice(MONTH_S - 20);
		one->until_s = dice(8) == 0 ? INT64_MAX : one->from_s + 1 + dice(dice(2) == 0 ? 60 : 5 * 86400);
		/* some rows come when they are in force already */
		one->row_s = dice(10) == 0 ? one->from_s : one->from_s - 1 - dice((int) one->from_s - 1);
		one->action = "ttbbx"[dice(5)];
		one->amount = 2 + dice(5);
		one->priority = dice(3);
	}
	qsort(plan, (size_t) count, sizeof(*plan), by_row);
	for (int i = 0; i < count; i++)
		plan[i].id = i + 1; /* in the order of their commits, so that the later one has the greater id */
	return plan;
}

/* Where an item of price 1 stands at a time. */
static Told
stands_at(const Planned *const *mine, int n, int64_t second)
{
	Told told = {true, 0, 1};
	const Planned *tier = NULL;

	for (int i = 0; i < n; i++)
	{
		const Planned *one = mine[i];

		if (second < one->from_s || second >= one->until_s)
			continue;
		if (one->action == 'x')
			return (Told){false, 0, 0};
		if (one->action == 'b')
			told.score *= one->amount;
		else if (tier == NULL || one->priority > tier->priority ||
				 (one->priority == tier->priority && one->id > tier->id))
			tier = one;
	}
	told.tier = tier != NULL ? tier->amount : 0;
	return told;
}

static int
by_time(const void *a, const void *b)
{
	const int64_t left = *(const int64_t *) a;
	const int64_t right = *(const int64_t *) b;

	return left < right ? -1 : left > right;
}

/* "second shown tier score", a line each time something has to be told of the item. */
static void
expect_item(Buffer *out, const Planned *plan, int count, int item)
{
	const Planned **mine = xmalloc((size_t) count * sizeof(*mine));
	int64_t *times = xmalloc((size_t) (2 * count) * sizeof(*times));
	Told stood = {true, 0, 1};
	int n = 0;
	int ntimes = 0;

	for (int i = 0; i < count; i++)
		if (plan[i].item == item)
		{
			mine[n++] = &plan[i];
			times[ntimes++] = plan[i].from_s;
			times[ntimes++] = plan[i].until_s;
		}
	qsort(times, (size_t) ntimes, sizeof(*times), by_time);
	for (int i = 0; i < ntimes && times[i] <= MONTH_S + 10 * 86400; i++)
	{
		Told told = stands_at(mine, n, times[i]);

		if (told.shown == stood.shown && told.tier == stood.tier && told.score == stood.score)
			continue;
		buffer_printf(out, "%lld %d %d %.17g\n", (long long) times[i], told.shown, told.tier, told.score);
		stood = told;
	}
	free(mine);
	free(times);
}

/* The same of what was told. */
static void
collect_items(World *world, Buffer items[MONTH_ITEMS + 1])
{
	RecordReader reader;
	RecordEntry entry;
	Error err = {0};
	bool done;

	for (size_t at = world->shown; at < world->feed.len;)
	{
		uint64_t len;

		memcpy(&len, world->feed.data + at, 8);
		must(record_open(slice_make(world->feed.data + at + 8, len), &reader, &err), &err);
		at += 8 + len;
		for (;;)
		{
			WireCursor key;
			WireValue value;
			Slice body;

			must(record_next(&reader, &entry, &done, &err), &err);
			if (done)
				break;
			if (entry.kind != RECORD_SCORE && entry.kind != RECORD_REMOVE)
				continue;
			key = wire_cursor(entry.key);
			assert_true(wire_value_next(&key, &body) && wire_value(body, &value));
			assert_in_range(value.integer, 1, MONTH_ITEMS);
			assert_int_equal((reader.header.now_us - WORLD_BEGIN_US) % 1000000, 0);
			buffer_printf(&items[value.integer], "%lld %d %d %.17g\n",
						  (long long) (reader.header.now_us - WORLD_BEGIN_US) / 1000000,
						  entry.kind == RECORD_SCORE, entry.kind == RECORD_SCORE ? entry.score.tier : 0,
						  entry.kind == RECORD_SCORE ? entry.score.score : 0);
		}
	}
}

/* As after a kill: the store falls back to its last commit, the feed is cut to it, units come again. */
static void
month_kill(World *world, size_t committed_feed)
{
	world->feed.len = committed_feed;
	world_reopen(world);
	for (int i = (int) store_position(world->store).seq; i < world->nunits; i++)
		world_play(world, &world->units[i]);
}

static World *
month_world(void)
{
	World *world = world_create(10000);

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", BY_PRICE, true, 1);
	t_commit(world);
	for (int id = 1; id <= MONTH_ITEMS; id++)
	{
		char text[80];

		snprintf(text, sizeof(text), "id=%d price=1 title='a' att={}", id);
		t_insert(world, text);
	}
	t_commit(world);
	world_hide(world);
	return world;
}

static void
write_row(World *world, const Planned *one)
{
	char what[160];
	char until[32] = "null";

	if (one->until_s != INT64_MAX)
		snprintf(until, sizeof(until), "@%lld", (long long) one->until_s);
	snprintf(what, sizeof(what),
			 "item_key=(%d) action='%s' %s=%d%s valid_from=@%lld valid_until=%s priority=%d", one->item,
			 one->action == 't'	  ? "tier"
			 : one->action == 'b' ? "boost"
								  : "block",
			 one->action == 'b'	  ? "factor"
			 : one->action == 't' ? "tier"
								  : "x",
			 one->amount, one->action == 'b' ? ".0" : "", (long long) one->from_s, until, one->priority);
	world->now_us = WORLD_BEGIN_US + one->row_s * 1000000;
	t_intervention(world, OP_INSERT, one->id, what);
	t_commit(world);
}

static void
every_boundary_of_a_month_is_told_once_at_its_time(void **state)
{
	const char *given = getenv("WALRANK_SEED");
	const int count = 10000;
	Planned *plan;
	World *world;
	Buffer *told = xcalloc(MONTH_ITEMS + 1, sizeof(*told));
	size_t committed_feed;
	int restarts = 0;
	int lines = 0;
	int units;

	month_seed = given != NULL ? (unsigned) strtoul(given, NULL, 10) : 20261201;
	print_message("WALRANK_SEED=%u\n", month_seed);
	plan = plan_month(count);
	world = month_world();
	world_commit(world);
	committed_feed = world->feed.len;
	for (int i = 0; i < count; i++)
	{
		/* whoever writes is there, and so are we: what fell due before has been told */
		u_time(world, plan[i].row_s);
		write_row(world, &plan[i]);
		u_time(world, plan[i].row_s);
		if (dice(50) == 0)
		{
			world_commit(world);
			committed_feed = world->feed.len;
		}
		if (restarts < MONTH_RESTARTS && dice(count / MONTH_RESTARTS) == 0)
		{
			month_kill(world, committed_feed);
			restarts++;
		}
	}
	month_kill(world, committed_feed);
	u_time(world, MONTH_S + 10 * 86400);
	collect_items(world, told);
	for (int item = 1; item <= MONTH_ITEMS; item++)
	{
		Buffer expected = {0};

		expect_item(&expected, plan, count, item);
		for (size_t i = 0; i < expected.len; i++)
			lines += expected.data[i] == '\n';
		buffer_append_byte(&expected, '\0');
		buffer_append_byte(&told[item], '\0');
		assert_string_equal((const char *) told[item].data, (const char *) expected.data);
		buffer_free(&expected);
		buffer_free(&told[item]);
	}
	units = u_time(world, MONTH_S + 11 * 86400);
	print_message("%d interventions, %d restarts, %d emissions, %d units\n", count, restarts, lines,
				  world->nunits);
	assert_true(restarts > 20 && lines > count);
	assert_true(units >= 0);
	free(told);
	free(plan);
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_item_follows_its_intervention_from_its_row_to_its_end),
		cmocka_unit_test(a_row_that_names_another_item_frees_the_first),
		cmocka_unit_test(every_action_is_told_and_taken_back),
		cmocka_unit_test(allow_lets_an_item_in_that_where_leaves_out),
		cmocka_unit_test(one_ranking_or_all_of_them),
		cmocka_unit_test(priority_and_then_the_later_one_decides),
		cmocka_unit_test(pins_give_way_and_move_up_again),
		cmocka_unit_test(begin_and_end_are_one_emission_each_across_restarts),
		cmocka_unit_test(what_began_and_ended_while_nobody_was_there_is_told),
		cmocka_unit_test(many_that_begin_at_once_take_as_many_units_as_the_limit_says),
		cmocka_unit_test(one_that_is_withdrawn_before_it_begins_never_does),
		cmocka_unit_test(an_item_that_comes_later_meets_it),
		cmocka_unit_test(a_table_that_is_emptied_takes_its_timers_along),
		cmocka_unit_test(a_table_that_is_watched_again_is_steered_again),
		cmocka_unit_test(a_condition_meets_items_that_are_there_and_those_that_come_into_it),
		cmocka_unit_test(a_condition_reads_what_no_ranking_does),
		cmocka_unit_test(a_condition_that_does_not_bind_is_told_and_about_nothing),
		cmocka_unit_test(rows_that_make_no_sense_are_told),
		cmocka_unit_test(every_boundary_of_a_month_is_told_once_at_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
