/*
 * test_repeat.c -- a sink that is filled ends where all others are, whatever happens meanwhile (R13).
 */
#include "score_world.h"

#define BY_PRICE "term p weight 1 price missing skip"
#define CHEAP "where price < 60\nterm p weight 1 price missing skip"
#define ALL 1000000

static const char *const watched_rows[] = {"relation='public.item' map='att' since=1", NULL};
static const char *const ranking_rows[] = {
	"name='home' relation='public.item' definition='" BY_PRICE "' enabled=true version=1",
	"name='cheap' relation='public.item' definition='" CHEAP "' enabled=true version=1", NULL};
static const char *const no_rows[] = {NULL};

static void
u_table(World *world, const Table *table, const char *const *rows)
{
	u_backfill(world, table, BACKFILL_BEGIN, 0);
	u_rows(world, table, 5, rows);
	u_backfill(world, table, BACKFILL_END, 0);
}

/* Two rankings on a table whose first backfill has ended. */
static World *
filled_world(void)
{
	World *world = world_create(10000);

	u_table(world, &world->watched, watched_rows);
	u_table(world, &world->ranking, ranking_rows);
	u_table(world, &world->item, no_rows);
	world_hide(world);
	return world;
}

static void
a_fill_repeats_all_that_stands_and_nothing_else(void **state)
{
	World *world = filled_world();

	t_insert(world, "id=1 price=5 title='a' att.k=1");
	t_insert(world, "id=2 price=70 title='b' att={}");
	t_insert(world, "id=3 price=9 title='gone' att={}");
	t_delete(world, "id=3");
	t_update(world, "id=4 price=9 title=~ att=~"); /* never whole: nothing of it stands */
	t_commit(world);
	world_hide(world);
	u_text(world, UNIT_RESCORE, "fill sink=lines");
	assert_shown(world, "0.0 fill lines from 11\n");
	assert_int_equal(u_rescore_all(world, 100), 1);
	{
		const char *text = world_text(world);

		/* 1 is in both rankings, 2 in one: 3 scores, 2 images, all of them news */
		assert_memory_equal(text, "0.0 fill lines from 11\n", 23);
		assert_non_null(strstr(text, " change 3 (1) insert 1=5* 2='a'* 3.k=1*\n"));
		assert_non_null(strstr(text, ".1 score 3 (1) 5 v1\n"));
		assert_non_null(strstr(text, ".2 score 3 (1) 5 v1\n"));
		assert_non_null(strstr(text, " change 3 (2) insert 1=70* 2='b'* 3={}*\n"));
		assert_non_null(strstr(text, ".1 score 3 (2) 70 v1\n"));
		assert_null(strstr(text, ".2 score 3 (2)"));
		assert_null(strstr(text, "(3)"));
		assert_null(strstr(text, "(4)"));
		assert_non_null(strstr(text, "filled lines from 11\n"));
	}
	world_free(world);
}

static void
what_asks_for_no_sink_we_could_have_is_passed_over(void **state)
{
	static const char *const wrong[] = {
		"fill sink=", "fill sink=../x", "fill sink=A", "fill lines", "fill sink=a\nb", "", NULL};
	World *world = filled_world();
	char longest[128] = "fill sink=";

	memset(longest + 10, 'x', 65);
	for (int i = 0; wrong[i] != NULL; i++)
		u_text(world, UNIT_RESCORE, wrong[i]);
	u_text(world, UNIT_RESCORE, longest);
	assert_shown(world, "");
	assert_int_equal(u_rescore_all(world, 10), 0);
	longest[10 + 64] = '\0';
	u_text(world, UNIT_RESCORE, longest);
	assert_int_equal(u_rescore_all(world, 10), 1);
	world_free(world);
}

static void
no_fill_ends_before_the_first_backfill(void **state)
{
	World *world = world_create(10000);
	ScorerWants wants;

	u_text(world, UNIT_RESCORE, "fill sink=lines");
	u_table(world, &world->watched, watched_rows);
	u_table(world, &world->ranking, ranking_rows);
	scorer_wants(world->scorer, &wants);
	assert_int_equal(wants.rescore.job, 0);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_rows(world, &world->item, 5, no_rows);
	world_hide(world);
	u_backfill(world, &world->item, BACKFILL_END, 0);
	assert_shown(world, "0.0 filled  from 0\n");
	world_commit(world);
	world_reopen(world);
	assert_int_equal(u_rescore_all(world, 10), 1);
	assert_shown(world, "0.0 fill lines from 1\n0.0 filled lines from 1\n");
	/* told once */
	u_table(world, &world->item, no_rows);
	assert_shown(world, "");
	world_free(world);
}

static void
items_of(World *world, int n)
{
	char text[128];

	for (int i = 0; i < n; i++)
	{
		snprintf(text, sizeof(text), "id=%d price=%d title='t%d' att.k=%d", i, i, i, i);
		t_insert(world, text);
	}
	t_commit(world);
	world_hide(world);
}

static void
a_fill_asked_for_again_begins_anew_and_each_sink_has_its_own(void **state)
{
	World *world = filled_world();
	ScorerWants first;
	ScorerWants wants;
	const char *text;

	items_of(world, 30);
	u_text(world, UNIT_RESCORE, "fill sink=a");
	scorer_wants(world->scorer, &first);
	u_rescore(world, first.rescore.job, 0, 10);
	u_text(world, UNIT_RESCORE, "fill sink=b");
	u_text(world, UNIT_RESCORE, "fill sink=a");
	world_hide(world);
	u_rescore(world, first.rescore.job, 1, 10); /* of the job that is gone */
	assert_shown(world, "");
	scorer_wants(world->scorer, &wants);
	assert_int_not_equal(wants.rescore.job, first.rescore.job);
	assert_int_equal(u_rescore_all(world, 10), 8); /* 30 items and the end, twice */
	text = world_text(world);
	for (int times = 0; times < 2; times++)
	{
		text = strstr(text, "change 3 (7) insert");
		assert_non_null(text);
		text++;
	}
	assert_null(strstr(text, "change 3 (7) insert"));
	world_free(world);
}

/* ---- what two sinks hold --------------------------------------------------------------------- */

typedef struct Thing
{
	uint32_t relation, ranking; /* 0 = the item itself */
	Buffer key;
	Buffer value;
} Thing;

typedef struct Replica
{
	const char *sink;
	bool begun;
	bool done;
	Thing things[2000];
	int n;
} Replica;

static Thing *
thing(Replica *replica, uint32_t relation, uint32_t ranking, Slice key)
{
	Thing *at;

	for (int i = 0; i < replica->n; i++)
		if (replica->things[i].relation == relation && replica->things[i].ranking == ranking &&
			slice_equal(buffer_slice(&replica->things[i].key), key))
			return &replica->things[i];
	assert_true(replica->n < 2000);
	at = &replica->things[replica->n++];
	memset(at, 0, sizeof(*at));
	at->relation = relation;
	at->ranking = ranking;
	buffer_append_slice(&at->key, key);
	return at;
}

/* All of a relation or ranking, or one key. */
static void
forget(Replica *replica, uint32_t relation, uint32_t ranking, Slice key)
{
	for (int i = 0; i < replica->n; i++)
		if (replica->things[i].relation == relation && replica->things[i].ranking == ranking &&
			(key.len == 0 || slice_equal(buffer_slice(&replica->things[i].key), key)))
			buffer_reset(&replica->things[i].value);
}

static void
take_entry(Replica *replica, const RecordEntry *entry)
{
	Thing *at;

	switch (entry->kind)
	{
		case RECORD_CHANGE:
			at = thing(replica, entry->relation, 0, entry->key);
			buffer_reset(&at->value);
			if (entry->row.op != OP_DELETE)
				buffer_append_slice(&at->value, entry->row.image);
			break;
		case RECORD_SCORE:
			at = thing(replica, entry->relation, entry->out, entry->key);
			buffer_reset(&at->value);
			buffer_append(&at->value, &entry->score.score, sizeof(double));
			break;
		case RECORD_REMOVE:
			forget(replica, entry->relation, entry->out, entry->key);
			break;
		case RECORD_TRUNCATE:
			forget(replica, entry->relation, 0, slice_make(NULL, 0));
			break;
		case RECORD_FILLED:
			replica->done |= slice_equal(entry->fill.sink, slice_string(replica->sink));
			break;
		default:
			break;
	}
}

static void
take_feed(Replica *replica, const World *world)
{
	const Buffer *feed = &world->feed;

	for (size_t at = 0; at < feed->len;)
	{
		uint64_t len;
		RecordReader reader;
		RecordEntry entry;
		Error err = {0};
		bool fill;
		bool ours;
		bool done = false;

		memcpy(&len, feed->data + at, 8);
		must(record_open(slice_make(feed->data + at + 8, len), &reader, &err), &err);
		at += 8 + len;
		must(record_fill(&reader, &fill, &entry, &err), &err);
		ours = !fill || slice_equal(entry.fill.sink, slice_string(replica->sink));
		/* a sink that is filled holds nothing from before */
		if (fill && ours && entry.fill.from == reader.header.seq)
		{
			for (int i = 0; i < replica->n; i++)
				buffer_reset(&replica->things[i].value);
			replica->begun = true;
		}
		while (ours && (replica->begun || replica->sink[0] == '\0'))
		{
			must(record_next(&reader, &entry, &done, &err), &err);
			if (done)
				break;
			take_entry(replica, &entry);
		}
	}
}

/* Everything a holds, b holds. */
static void
assert_holds(const Replica *a, Replica *b)
{
	for (int i = 0; i < a->n; i++)
	{
		const Thing *left = &a->things[i];
		const Thing *right = thing(b, left->relation, left->ranking, buffer_slice(&left->key));

		if (!slice_equal(buffer_slice(&left->value), buffer_slice(&right->value)))
			fail_msg("sinks \"%s\" and \"%s\" differ in relation %u, ranking %u, thing %d", a->sink, b->sink,
					 left->relation, left->ranking, i);
	}
}

static void
replica_free(Replica *replica)
{
	for (int i = 0; i < replica->n; i++)
	{
		buffer_free(&replica->things[i].key);
		buffer_free(&replica->things[i].value);
	}
}

static unsigned seed;

static int
random_below(int n)
{
	seed = seed * 1103515245 + 12345;
	return (int) ((seed >> 16) % (unsigned) n);
}

#define IDS 60
static bool present[IDS]; /* in the source: what is not there is neither updated nor moved */

static void
some_change(World *world)
{
	const int id = random_below(IDS);
	const int to = random_below(IDS);
	const int kind = random_below(12);
	char text[160];
	char old[32];

	if (!present[id] || kind > 8)
	{
		snprintf(text, sizeof(text), "id=%d price=%d title='n%d' att.k=%d", id, random_below(100),
				 random_below(9), random_below(9));
		t_insert(world, text);
		present[id] = true;
	}
	else if (kind < 2)
	{
		snprintf(text, sizeof(text), "id=%d", id);
		t_delete(world, text);
		present[id] = false;
	}
	else if (kind < 6 && !present[to])
	{
		snprintf(old, sizeof(old), "id=%d", id);
		snprintf(text, sizeof(text), "id=%d price=%d title=~ att.k=~", to, random_below(100));
		t_key_change(world, old, text);
		present[id] = false;
		present[to] = true;
	}
	else
	{
		snprintf(text, sizeof(text), "id=%d price=%d title='u%d' att.k=~", id, random_below(100),
				 random_below(9));
		t_update(world, text);
	}
}

static void
some_unit(World *world)
{
	for (int i = random_below(6); i >= 0; i--)
		some_change(world);
	if (random_below(40) == 0)
	{
		t_truncate(world, &world->item);
		memset(present, 0, sizeof(present));
	}
	if (random_below(15) == 0)
		t_ranking(world, OP_UPDATE, "home", "public.item",
				  random_below(2) == 0 ? BY_PRICE : "term p weight 0.5 sqrt(price) missing 0", true,
				  random_below(1000));
	if (random_below(25) == 0)
		t_change_full(world, &world->ranking, OP_DELETE, "name='cheap'", NULL, 0);
	if (random_below(15) == 0)
		t_ranking(world, OP_INSERT, "cheap", "public.item", CHEAP, true, 1);
	t_commit(world);
}

static void
step_jobs(World *world)
{
	ScorerWants wants;

	scorer_wants(world->scorer, &wants);
	if (wants.rescore.job != 0)
		u_rescore(world, wants.rescore.job, wants.rescore.chunk, 1 + (uint32_t) random_below(9));
	if (random_below(10) == 0)
	{
		world_commit(world);
		world_reopen(world); /* the job survives a crash */
	}
}

static void
a_filled_sink_ends_where_all_others_are(void **state)
{
	static Replica all;
	static Replica filled;
	int64_t things = 0;

	for (unsigned round = 0; round < 60; round++)
	{
		World *world = filled_world();
		const int asked = 5 + (int) (round % 20);

		seed = round;
		memset(present, 0, sizeof(present));
		for (int i = 0; i < 45; i++)
		{
			some_unit(world);
			if (i == asked || (i == asked + 4 && round % 5 == 0))
				u_text(world, UNIT_RESCORE, "fill sink=late");
			step_jobs(world);
		}
		u_rescore_all(world, 7);
		all = (Replica){.sink = ""};
		filled = (Replica){.sink = "late"};
		take_feed(&all, world);
		take_feed(&filled, world);
		assert_true(filled.done);
		things += filled.n;
		assert_holds(&all, &filled);
		assert_holds(&filled, &all);
		replica_free(&all);
		replica_free(&filled);
		world_free(world);
	}
	assert_in_range(things, 60 * 20, INT64_MAX); /* or nothing was compared */
}

/* A column more: what stands is what was told, under the newer version's numbers. */
static void
an_item_of_an_older_version_is_repeated_as_it_was_told(void **state)
{
	static const char *const columns[] = {"*id:i", "size:i", "price:i", "title:t", "att:j", NULL};
	World *world = filled_world();
	Table wider = table_make(100, "public", "item", columns);
	const char *text;

	t_insert(world, "id=1 price=5 title='a' att.k=1");
	t_commit(world);
	t_change_full(world, &wider, OP_INSERT, "id=2 size=3 price=6 title='b' att={}", NULL, 0);
	t_commit(world);
	world_hide(world);
	u_text(world, UNIT_RESCORE, "fill sink=lines");
	u_rescore_all(world, 10);
	text = world_text(world);
	assert_non_null(strstr(text, " change 3 (1) insert 2=5* 3='a'* 4.k=1*\n"));
	assert_non_null(strstr(text, " change 3 (2) insert 1=3* 2=6* 3='b'* 4={}*\n"));
	buffer_free(&wider.body);
	world_free(world);
}

/* A reader that begins later learns of the fill from its segment's dictionary. */
static void
every_dictionary_names_the_newest_fill_of_each_sink(void **state)
{
	World *world = filled_world();
	Buffer dictionary = {0};
	Buffer text = {0};

	u_text(world, UNIT_RESCORE, "fill sink=b");
	u_text(world, UNIT_RESCORE, "fill sink=a");
	u_text(world, UNIT_RESCORE, "fill sink=a");
	/* in one order, whichever came first; the record in hand included: a segment that begins behind it is read alone */
	scorer_dictionary(world->scorer, &dictionary);
	show_record(&text, buffer_slice(&dictionary), true);
	buffer_append_byte(&text, '\0');
	assert_non_null(strstr((char *) text.data, "fill a from 12\n0.0 fill b from 10\n"));
	u_rescore_all(world, 10);
	world_commit(world);
	world_reopen(world);
	buffer_reset(&dictionary);
	buffer_reset(&text);
	scorer_dictionary(world->scorer, &dictionary);
	show_record(&text, buffer_slice(&dictionary), true);
	buffer_append_byte(&text, '\0');
	assert_non_null(strstr((char *) text.data, "fill a from 12\n0.0 fill b from 10\n"));
	buffer_free(&dictionary);
	buffer_free(&text);
	world_free(world);
}

/* Names come and go: what is remembered of them has an end, for the scorer and for all who read. */
static void
of_the_fills_of_many_sinks_the_newest_are_remembered(void **state)
{
	World *world = filled_world();
	Buffer dictionary = {0};
	Buffer text = {0};
	char name[40];

	for (int i = 1; i <= RECORD_FILLS_MAX + 3; i++)
	{
		snprintf(name, sizeof(name), "fill sink=s%d", i);
		u_text(world, UNIT_RESCORE, name);
	}
	for (int round = 0; round < 2; round++)
	{
		int fills = 0;

		buffer_reset(&dictionary);
		buffer_reset(&text);
		scorer_dictionary(world->scorer, &dictionary);
		show_record(&text, buffer_slice(&dictionary), true);
		buffer_append_byte(&text, '\0');
		for (const char *at = (char *) text.data; (at = strstr(at, "fill s")) != NULL; at++)
			fills++;
		assert_int_equal(fills, RECORD_FILLS_MAX);
		assert_null(strstr((char *) text.data, "fill s3 from"));
		assert_non_null(strstr((char *) text.data, "fill s4 from"));
		world_commit(world);
		world_reopen(world);
	}
	buffer_free(&dictionary);
	buffer_free(&text);
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fill_repeats_all_that_stands_and_nothing_else),
		cmocka_unit_test(what_asks_for_no_sink_we_could_have_is_passed_over),
		cmocka_unit_test(no_fill_ends_before_the_first_backfill),
		cmocka_unit_test(a_fill_asked_for_again_begins_anew_and_each_sink_has_its_own),
		cmocka_unit_test(a_filled_sink_ends_where_all_others_are),
		cmocka_unit_test(an_item_of_an_older_version_is_repeated_as_it_was_told),
		cmocka_unit_test(every_dictionary_names_the_newest_fill_of_each_sink),
		cmocka_unit_test(of_the_fills_of_many_sinks_the_newest_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
