/*
 * test_fill.c -- a table read range by range while it changes: in the end readers hold what the table does.
 *
 * A model of the table goes along: deeds change it and are streamed, points copy it, ranges read the copy.
 * Every deed is tried at every step, then pairs and whole histories at random.
 */
#include "score_world.h"

#define IDS 10
#define HALF 5 /* the first range: 0 .. 4 */
#define STEPS 14
#define FIRST_RULE "term p weight 1 price missing 0\nterm o weight 1000 att.old missing 0"
#define OTHER_RULE "term p weight 2 price missing 0\nterm v weight 100000 att.views missing 0"

typedef struct Row
{
	bool there;
	int price;
	int title;
	int views;
	bool old;
} Row;

typedef enum
{
	DEED_INSERT,
	DEED_UPDATE,
	DEED_UPDATE_PRICE, /* title and map stay in their TOAST */
	DEED_UPDATE_MAP,   /* a key of it goes */
	DEED_DELETE,
	DEED_REBORN,
	DEED_MOVE, /* to the other range, TOAST untouched */
	DEED_MOVE_WHOLE,
	DEED_SWAP, /* with the item opposite, keys checked at the end */
	DEED_TRUNCATE,
	DEED_RULE,
	DEEDS
} DeedKind;

typedef struct Deed
{
	DeedKind kind;
	int id;
	int step;
} Deed;

typedef struct Test
{
	World *world;
	Row table[IDS];
	Row copy[IDS];
	Lsn point;
	uint32_t chunk;
	int number; /* makes values differ */
	int version;
	const Deed *deeds;
	int ndeeds;
	int step;
} Test;

/* ---- the table -------------------------------------------------------------------------------- */

static void
row_text(char *text, size_t len, int id, const Row *row, bool toast, bool map)
{
	int at = snprintf(text, len, "id=%d price=%d ", id, row->price);

	at += toast ? snprintf(text + at, len - (size_t) at, "title=~ ")
				: snprintf(text + at, len - (size_t) at, "title='t%d' ", row->title);
	if (!map)
		snprintf(text + at, len - (size_t) at, "att=~");
	else
		snprintf(text + at, len - (size_t) at, "%satt.views=%d", row->old ? "att.old=1 " : "", row->views);
}

static void
fresh_row(Test *test, Row *row)
{
	int n = ++test->number;

	*row = (Row){.there = true, .price = n, .title = n, .views = n, .old = n % 2 == 0};
}

static void
move(Test *test, int from, int to, bool whole)
{
	char text[128];
	char old[16];

	test->table[to] = test->table[from];
	test->table[from].there = false;
	test->table[to].price = ++test->number;
	snprintf(old, sizeof(old), "id=%d", from);
	row_text(text, sizeof(text), to, &test->table[to], !whole, whole);
	t_key_change(test->world, old, text);
}

static void
swap(Test *test, int a, int b)
{
	Row kept = test->table[b];
	char text[128];
	char old[16];

	move(test, a, b, false);
	test->table[a] = kept;
	test->table[a].price = ++test->number;
	snprintf(old, sizeof(old), "id=%d", b);
	row_text(text, sizeof(text), a, &test->table[a], true, false);
	t_key_change(test->world, old, text);
}

static void
insert(Test *test, int id)
{
	char text[128];

	fresh_row(test, &test->table[id]);
	row_text(text, sizeof(text), id, &test->table[id], false, true);
	t_insert(test->world, text);
}

static void delete (Test *test, int id)
{
	char text[16];

	test->table[id].there = false;
	snprintf(text, sizeof(text), "id=%d", id);
	t_delete(test->world, text);
}

static void
update(Test *test, int id, DeedKind kind)
{
	Row *row = &test->table[id];
	char text[128];

	row->price = ++test->number;
	if (kind == DEED_UPDATE)
		fresh_row(test, row);
	else if (kind == DEED_UPDATE_MAP)
	{
		row->views = test->number;
		row->old = false;
	}
	row_text(text, sizeof(text), id, row, kind != DEED_UPDATE, kind != DEED_UPDATE_PRICE);
	t_update(test->world, text);
}

/* Does a deed as far as the table allows it, as one transaction. */
static void
act(Test *test, const Deed *deed)
{
	int other = (deed->id + HALF) % IDS;
	bool there = test->table[deed->id].there;
	bool free_there = !test->table[other].there;

	if (deed->kind == DEED_INSERT && !there)
		insert(test, deed->id);
	else if ((deed->kind == DEED_UPDATE || deed->kind == DEED_UPDATE_PRICE ||
			  deed->kind == DEED_UPDATE_MAP) &&
			 there)
		update(test, deed->id, deed->kind);
	else if ((deed->kind == DEED_DELETE || deed->kind == DEED_REBORN) && there)
		delete (test, deed->id);
	else if ((deed->kind == DEED_MOVE || deed->kind == DEED_MOVE_WHOLE) && there && free_there)
		move(test, deed->id, other, deed->kind == DEED_MOVE_WHOLE);
	else if (deed->kind == DEED_SWAP && there && !free_there)
		swap(test, deed->id, other);
	else if (deed->kind == DEED_TRUNCATE)
	{
		memset(test->table, 0, sizeof(test->table));
		t_truncate(test->world, &test->world->item);
		insert(test, deed->id);
	}
	else if (deed->kind == DEED_RULE)
	{
		test->version++;
		t_ranking(test->world, OP_UPDATE, "home", "public.item",
				  test->version % 2 == 0 ? OTHER_RULE : FIRST_RULE, true, test->version);
	}
	else
		return;
	if (deed->kind == DEED_REBORN)
		insert(test, deed->id);
	t_commit(test->world);
}

/* ---- the reading ------------------------------------------------------------------------------ */

static void
step(Test *test)
{
	for (int i = 0; i < test->ndeeds; i++)
		if (test->deeds[i].step == test->step)
			act(test, &test->deeds[i]);
	test->step++;
}

static void
take_point(Test *test)
{
	memcpy(test->copy, test->table, sizeof(test->copy));
	test->point = test->world->lsn + 1;
}

static void
read_row(Test *test, int id)
{
	char text[128];

	if (!test->copy[id].there)
		return;
	row_text(text, sizeof(text), id, &test->copy[id], false, true);
	u_row(test->world, test->point, text);
}

static void
read_range(Test *test, int from, int to, bool last)
{
	World *world = test->world;

	u_chunk(world, &world->item, BACKFILL_BEGIN, test->chunk, false, 0, "from");
	step(test);
	take_point(test);
	step(test);
	for (int id = from; id < (from + to) / 2; id++)
		read_row(test, id);
	step(test);
	for (int id = (from + to) / 2; id < to; id++)
		read_row(test, id);
	step(test);
	u_chunk(world, &world->item, BACKFILL_END, test->chunk++, last, 0, "to");
	step(test);
}

static int
listed_id(Slice key)
{
	WireCursor cursor = wire_cursor(key);
	WireValue value;
	Slice body;

	assert_true(wire_value_next(&cursor, &body) && wire_value(body, &value));
	return (int) value.integer;
}

/* False: nothing is listed. */
static bool
read_round(Test *test)
{
	World *world = test->world;
	ScorerFill fill = {0};
	Error err = {0};
	WireCursor cursor;
	Slice key;

	must(scorer_fill(world->scorer, world->item.oid, 100, &fill, &err), &err);
	if (fill.id == 0)
	{
		scorer_fill_free(&fill);
		return false;
	}
	assert_true(fill.scanned && fill.listed > 0 && !fill.open);
	assert_int_equal(fill.chunk, test->chunk);
	u_chunk(world, &world->item, BACKFILL_BEGIN, test->chunk, false, 0, "to");
	step(test);
	must(scorer_fill(world->scorer, world->item.oid, 100, &fill, &err), &err);
	take_point(test);
	step(test);
	for (cursor = wire_cursor(buffer_slice(&fill.keys)); !wire_done(&cursor);)
	{
		assert_true(unpack_bytes(&cursor, &key));
		read_row(test, listed_id(key));
	}
	step(test);
	u_chunk(world, &world->item, BACKFILL_END, test->chunk++, true, 0, "to");
	scorer_fill_free(&fill);
	return true;
}

/* ---- what readers hold ------------------------------------------------------------------------ */

typedef struct Held
{
	char image[96]; /* empty: no such item */
	char score[32];
} Held;

static void
hold_entry(const RecordEntry *entry, Held *held)
{
	Held *one = &held[entry->key.len > 0 ? listed_id(entry->key) : 0];
	WireCursor cursor = wire_cursor(entry->row.image);
	Buffer text = {0};
	WireAttribute a;

	if (entry->kind == RECORD_TRUNCATE)
		for (int id = 0; id < IDS; id++)
			held[id].image[0] = '\0';
	else if (entry->kind == RECORD_REMOVE && entry->key.len == 0)
		for (int id = 0; id < IDS; id++)
			held[id].score[0] = '\0';
	else if (entry->kind == RECORD_REMOVE)
		one->score[0] = '\0';
	else if (entry->kind == RECORD_SCORE)
		snprintf(one->score, sizeof(one->score), "%.0f", entry->score.score);
	else if (entry->kind == RECORD_CHANGE && entry->relation == 3)
	{
		while (entry->row.op != OP_DELETE && !wire_done(&cursor) && wire_attribute_next(&cursor, &a))
		{
			buffer_printf(&text, "%u.%.*s=", a.column, (int) a.key.len, a.key.data);
			show_value(&text, a.value);
		}
		snprintf(one->image, sizeof(one->image), "%.*s", (int) text.len, (char *) text.data);
	}
	buffer_free(&text);
}

static void
hold_all(World *world, Held *held)
{
	Error err = {0};

	memset(held, 0, IDS * sizeof(Held));
	for (size_t at = 0; at < world->feed.len;)
	{
		RecordReader reader;
		RecordEntry entry;
		uint64_t len;
		bool done;

		memcpy(&len, world->feed.data + at, 8);
		must(record_open(slice_make(world->feed.data + at + 8, len), &reader, &err), &err);
		at += 8 + len;
		for (;;)
		{
			must(record_next(&reader, &entry, &done, &err), &err);
			if (done)
				break;
			if (!is_dictionary(&entry))
				hold_entry(&entry, held);
		}
	}
}

static void
expect(const Test *test, int id, Held *expected)
{
	const Row *row = &test->table[id];
	int score =
		test->version % 2 == 0 ? 2 * row->price + 100000 * row->views : row->price + (row->old ? 1000 : 0);

	memset(expected, 0, sizeof(*expected));
	if (!row->there)
		return;
	snprintf(expected->image, sizeof(expected->image), "1.=%d2.='t%d'%s3.views=%d", row->price, row->title,
			 row->old ? "3.old=1" : "", row->views);
	snprintf(expected->score, sizeof(expected->score), "%d", score);
}

static const char *
describe(const Test *test, bool again)
{
	static char text[512];
	int at = snprintf(text, sizeof(text), "%s:", again ? "read again" : "first reading");

	for (int i = 0; i < test->ndeeds && at < 480; i++)
		at += snprintf(text + at, sizeof(text) - (size_t) at, " deed %d of %d at %d", test->deeds[i].kind,
					   test->deeds[i].id, test->deeds[i].step);
	return text;
}

/* ---- the tests -------------------------------------------------------------------------------- */

static void
watch_table(Test *test)
{
	test->world = world_create(10000);
	test->version = 1;
	t_watch(test->world, OP_INSERT, "public.item", "att");
	t_ranking(test->world, OP_INSERT, "home", "public.item", FIRST_RULE, true, 1);
	t_commit(test->world);
	for (int id = 0; id < IDS; id += id % 3 == 1 ? 2 : 1) /* 2, 5, 8 are free */
		fresh_row(test, &test->table[id]);
}

/* What a gap does: one item goes, one comes, one changes, and nobody is told. */
static void
change_unseen(Test *test)
{
	test->table[3].there = false;
	fresh_row(test, &test->table[8]);
	fresh_row(test, &test->table[1]);
	fresh_row(test, &test->table[6]);
}

static bool
is_filled(Test *test)
{
	ScorerTable tables[8];

	scorer_tables(test->world->scorer, tables, 8);
	return tables[SCORER_CONFIG_TABLES].state == 2;
}

static void
run(const Deed *deeds, int ndeeds, bool again)
{
	Test test = {.deeds = deeds, .ndeeds = ndeeds, .step = 100};
	Held held[IDS];
	Held expected;
	int rounds = 0;

	watch_table(&test);
	if (again)
	{
		read_range(&test, 0, IDS, true);
		test.chunk = 0;
		change_unseen(&test);
	}
	test.step = 0;
	read_range(&test, 0, HALF, false);
	read_range(&test, HALF, IDS, true);
	while (!is_filled(&test))
	{
		if (!read_round(&test))
		{
			test.chunk = 0;
			read_range(&test, 0, IDS, true);
		}
		assert_in_range(++rounds, 1, 20);
	}
	u_rescore_all(test.world, 100);
	hold_all(test.world, held);
	for (int id = 0; id < IDS; id++)
	{
		expect(&test, id, &expected);
		if (strcmp(held[id].image, expected.image) != 0 || strcmp(held[id].score, expected.score) != 0)
			fail_msg("%s: item %d is \"%s\" %s instead of \"%s\" %s", describe(&test, again), id,
					 held[id].image, held[id].score, expected.image, expected.score);
	}
	world_free(test.world);
}

static bool
is_check(void)
{
	const char *tier = getenv("WALRANK_TIER");

	return tier == NULL || strcmp(tier, "check") == 0;
}

static void
every_deed_at_every_step_of_a_reading(void **state)
{
	static const int ids[] = {1, 2, 3, 6, 8};
	bool check = is_check();

	for (int kind = 0; kind < DEEDS; kind++)
		for (int i = check ? 2 : 0; i < (check ? 4 : 5); i++)
			for (int at = 0; at < STEPS; at++)
				for (int again = 0; again < 2; again++)
				{
					Deed deed = {(DeedKind) kind, ids[i], at};

					run(&deed, 1, again);
				}
}

/* Two deeds on one item, or on its opposite. */
static void
every_pair_of_deeds_at_random_steps(void **state)
{
	unsigned seed = 7;

	for (int first = 0; first < DEEDS; first++)
		for (int second = 0; second < DEEDS; second++)
			for (int turn = 0; turn < (is_check() ? 2 : 20); turn++)
			{
				Deed deeds[2];
				int id = (int) (rand_r(&seed) % IDS);

				deeds[0] = (Deed){(DeedKind) first, id, (int) (rand_r(&seed) % STEPS)};
				deeds[1] = (Deed){(DeedKind) second, rand_r(&seed) % 2 ? id : (id + HALF) % IDS,
								  (int) (rand_r(&seed) % STEPS)};
				run(deeds, 2, turn % 2);
			}
}

static void
histories_at_random(void **state)
{
	const char *given = getenv("WALRANK_SEED");
	unsigned seed = given != NULL ? (unsigned) strtoul(given, NULL, 10) : 20260101;

	print_message("WALRANK_SEED=%u\n", seed);
	for (int i = 0; i < (is_check() ? 200 : 3000); i++)
	{
		Deed deeds[24];
		int n = 2 + (int) (rand_r(&seed) % 22);

		for (int j = 0; j < n; j++)
			deeds[j] = (Deed){(DeedKind) (rand_r(&seed) % (rand_r(&seed) % 4 == 0 ? DEEDS : DEED_TRUNCATE)),
							  (int) (rand_r(&seed) % IDS), (int) (rand_r(&seed) % STEPS)};
		run(deeds, n, i % 2);
	}
}

/* ---- going on where it was -------------------------------------------------------------------- */

static void
a_reading_goes_on_after_the_last_range_that_ended(void **state)
{
	World *world = world_create(1000);
	ScorerFill fill = {0};
	Error err = {0};

	t_watch(world, OP_INSERT, "public.item", "att");
	t_commit(world);
	u_chunk(world, &world->item, BACKFILL_BEGIN, 0, false, 0, NULL);
	u_row(world, world->lsn + 1, "id=1 price=1 title='a' att={}");
	world_commit(world);
	world_reopen(world);
	/* killed in the first one: from the beginning */
	must(scorer_fill(world->scorer, world->item.oid, 9, &fill, &err), &err);
	assert_true(fill.open && fill.id == 0 && fill.open_id == 1 && fill.open_chunk == 0);
	u_chunk(world, &world->item, BACKFILL_ABORT, 0, false, 0, NULL);
	u_chunk(world, &world->item, BACKFILL_BEGIN, 0, false, 0, NULL);
	u_row(world, world->lsn + 1, "id=1 price=1 title='a' att={}");
	u_chunk(world, &world->item, BACKFILL_END, 0, false, 0, "after 1");
	u_chunk(world, &world->item, BACKFILL_BEGIN, 1, false, 0, "after 1");
	u_row(world, world->lsn + 1, "id=2 price=1 title='a' att={}");
	world_commit(world);
	world_reopen(world);
	/* killed in the second one: that one again */
	must(scorer_fill(world->scorer, world->item.oid, 9, &fill, &err), &err);
	assert_true(fill.open && fill.id == 1 && fill.chunk == 1 && fill.open_chunk == 1 && !fill.scanned);
	assert_true(slice_equal(buffer_slice(&fill.resume), slice_string("after 1")));
	u_chunk(world, &world->item, BACKFILL_ABORT, 1, false, 0, NULL);
	must(scorer_fill(world->scorer, world->item.oid, 9, &fill, &err), &err);
	assert_true(!fill.open && fill.id == 1 && fill.chunk == 1);
	/* unwatched meanwhile: what still comes of it is nobody's, and opens nothing */
	t_change_full(world, &world->watched, OP_DELETE, "relation='public.item'", NULL, 0);
	t_watch(world, OP_INSERT, "public.item", "att");
	t_commit(world);
	world_hide(world);
	must(scorer_fill(world->scorer, world->item.oid, 9, &fill, &err), &err);
	assert_true(fill.id == 0);
	u_chunk(world, &world->item, BACKFILL_BEGIN, 1, false, 0, "after 1");
	u_row(world, world->lsn + 1, "id=2 price=1 title='a' att={}");
	u_chunk(world, &world->item, BACKFILL_END, 1, true, 0, "after 2");
	assert_shown(world, "");
	must(scorer_fill(world->scorer, world->item.oid, 9, &fill, &err), &err);
	assert_true(fill.id == 0 && !fill.open);
	scorer_fill_free(&fill);
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_deed_at_every_step_of_a_reading),
		cmocka_unit_test(every_pair_of_deeds_at_random_steps),
		cmocka_unit_test(histories_at_random),
		cmocka_unit_test(a_reading_goes_on_after_the_last_range_that_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
