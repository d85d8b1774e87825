/*
 * test_scorer.c -- what one unit makes of the store, and of the readers' picture of it.
 */
#include <locale.h>
#include <time.h>

#include "score_world.h"

#define BY_PRICE "term p weight 1 price missing skip"
#define CHEAP "where price < 100\nterm p weight 1 price missing skip"

/* A watched table with one ranking, and nothing told yet. */
static World *
ranked_world(const char *definition)
{
	World *world = world_create(10000);

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", definition, true, 1);
	t_commit(world);
	world_hide(world);
	return world;
}

/* What readers hold in the end: the item of key 1, from the records alone. */
typedef struct Held
{
	bool present;
	char image[256];
	char score[64];
} Held;

static void
hold(World *world, Held *held)
{
	RecordReader reader;
	RecordEntry entry;
	Error err = {0};
	bool done;

	memset(held, 0, sizeof(*held));
	for (size_t at = 0; at < world->feed.len;)
	{
		uint64_t len;

		memcpy(&len, world->feed.data + at, 8);
		must(record_open(slice_make(world->feed.data + at + 8, len), &reader, &err), &err);
		at += 8 + len;
		for (;;)
		{
			Buffer text = {0};

			must(record_next(&reader, &entry, &done, &err), &err);
			if (done)
				break;
			if (entry.kind == RECORD_CHANGE && entry.relation == 3)
			{
				WireCursor cursor = wire_cursor(entry.row.image);
				WireAttribute a;

				held->present = entry.row.op != OP_DELETE;
				while (!wire_done(&cursor) && wire_attribute_next(&cursor, &a))
				{
					buffer_printf(&text, "%u=", a.column);
					show_value(&text, a.value);
				}
				snprintf(held->image, sizeof(held->image), "%.*s", (int) text.len, (char *) text.data);
			}
			else if (entry.kind == RECORD_SCORE)
				snprintf(held->score, sizeof(held->score), "%g", entry.score.score);
			else if (entry.kind == RECORD_REMOVE)
				held->score[0] = '\0';
			buffer_free(&text);
		}
	}
}

/* ---- one change ----------------------------------------------------------------------------- */

static void
changes_of_a_table_nobody_watches_only_count(void **state)
{
	World *world = world_create(10000);

	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	assert_shown(world, "");
	t_insert(world, "id=2 price=5 title='a' att={}");
	t_watch(world, OP_INSERT, "public.item", NULL);
	t_insert(world, "id=3 price=6 title='a' att={}");
	t_commit(world);
	assert_shown(world, "3.0 change 1 (3) insert 1=6* 2='a'* 3={}*\n");
	world_free(world);
}

static void
insert_update_delete_tell_change_and_score(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_insert(world, "id=1 price=5 title='a' att.k=1 att.color='red'");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) insert 1=5* 2='a'* 3.k=1* 3.color='red'*\n1.1 score 3 (1) 5 v1\n");
	t_update(world, "id=1 price=7 title='a' att.k=1 att.size=4");
	t_commit(world);
	assert_shown(world,
				 "1.0 change 3 (1) update 1=7* 2='a' 3.k=1 3.size=4* -3.color\n1.1 score 3 (1) 7 v1\n");
	t_update(world, "id=1 price=7 title='b' att.k=1 att.size=4");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=7 2='b'* 3.k=1 3.size=4\n");
	t_update(world, "id=1 price=7 title='b' att.k=1 att.size=4");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=7 2='b' 3.k=1 3.size=4\n");
	t_delete(world, "id=1");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n");
	t_delete(world, "id=1");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n");
	world_free(world);
}

static void
unchanged_toast_is_completed_from_the_store(void **state)
{
	World *world = ranked_world("term p weight 1 price missing skip\nterm k weight 1 att.k missing 0");

	t_insert(world, "id=1 price=5 title='long' att.k=1 att.z=2");
	t_update(world, "id=1 price=6 title=~ att=~");
	t_update(world, "id=1 price=6 title='x' att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) insert 1=5* 2='long'* 3.k=1* 3.z=2*\n1.1 score 3 (1) 6 v1\n"
						"2.0 change 3 (1) update 1=6* 2='long' 3.k=1 3.z=2\n2.1 score 3 (1) 7 v1\n"
						"3.0 change 3 (1) update 1=6 2='x'* 3.k=1 3.z=2\n");
	world_free(world);
}

static void
without_a_stored_image_the_plugins_word_counts(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_update(world, "id=1 price=5+ title='a'- att.b=X+ att.k=1-");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=5* 2='a' 3.k=1 -3.b\n1.1 score 3 (1) 5 v1\n");
	t_update(world, "id=2 price=5 title='a' att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (2) update 1=5 2='a' 3={} unknown\n1.1 score 3 (2) 5 v1\n");
	world_free(world);
}

static void
key_change_removes_the_old_and_keeps_what_it_does_not_carry(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_insert(world, "id=1 price=5 title='one' att.k=1");
	t_insert(world, "id=2 price=6 title='two' att.k=2");
	t_commit(world);
	world_hide(world);
	/* 1 and 2 swap places through 3 */
	t_key_change(world, "id=1", "id=3 price=5 title=~ att=~");
	t_key_change(world, "id=2", "id=1 price=6 title=~ att=~");
	t_key_change(world, "id=3", "id=2 price=5 title=~ att=~");
	t_update(world, "id=2 price=8 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n"
						"2.0 change 3 (3) insert 1=5* 2='one'* 3.k=1*\n2.1 score 3 (3) 5 v1\n"
						"3.0 change 3 (2) delete\n3.1 remove 3 (2)\n"
						"4.0 change 3 (1) insert 1=6* 2='two'* 3.k=2*\n4.1 score 3 (1) 6 v1\n"
						"5.0 change 3 (3) delete\n5.1 remove 3 (3)\n"
						"6.0 change 3 (2) insert 1=5* 2='one'* 3.k=1*\n6.1 score 3 (2) 5 v1\n"
						"7.0 change 3 (2) update 1=8* 2='one' 3.k=1\n7.1 score 3 (2) 8 v1\n");
	world_free(world);
}

/* DEFERRABLE keys: an item comes to a key that the other has yet to leave. */
static void
items_that_swap_keys_directly_both_survive(void **state)
{
	World *world = ranked_world(BY_PRICE);
	Held held;

	t_insert(world, "id=1 price=5 title='one' att.k=1");
	t_insert(world, "id=2 price=6 title='two' att.k=2");
	t_commit(world);
	world_hide(world);
	t_key_change(world, "id=1", "id=2 price=5 title=~ att=~");
	t_key_change(world, "id=2", "id=1 price=6 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n"
						"2.0 change 3 (2) insert 1=5* 2='one'* 3.k=1*\n2.1 score 3 (2) 5 v1\n"
						"3.0 change 3 (2) update 1=5 2='one' 3.k=1\n"
						"4.0 change 3 (1) insert 1=6* 2='two'* 3.k=2*\n4.1 score 3 (1) 6 v1\n");
	/* one takes the other's key, which is then deleted: the one that came stays */
	t_key_change(world, "id=1", "id=2 price=6 title=~ att=~");
	t_delete(world, "id=2");
	t_commit(world);
	t_update(world, "id=2 price=9 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n"
						"2.0 change 3 (2) insert 1=6* 2='two'* 3.k=2*\n2.1 score 3 (2) 6 v1\n"
						"3.0 change 3 (2) update 1=6 2='two' 3.k=2\n"
						"1.0 change 3 (2) update 1=9* 2='two' 3.k=2\n1.1 score 3 (2) 9 v1\n");
	/* in the next transaction the key is one item's again */
	t_delete(world, "id=2");
	t_commit(world);
	hold(world, &held);
	assert_false(held.present);
	world_free(world);
}

/* One of the two still waits for its row: it is put aside like any other, and the whole one stays. */
static void
swap_with_an_item_that_waits_loses_neither(void **state)
{
	World *world = ranked_world(BY_PRICE);

	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	t_insert(world, "id=1 price=5 title='one' att.k=1");
	t_update(world, "id=2 price=6 title=~ att=~");
	t_commit(world);
	world_hide(world);
	t_key_change(world, "id=1", "id=2 price=5 title=~ att=~");
	t_key_change(world, "id=2", "id=1 price=6 title=~ att=~");
	t_update(world, "id=2 price=7 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n"
						"2.0 change 3 (2) insert 1=5* 2='one'* 3.k=1*\n2.1 score 3 (2) 5 v1\n"
						"3.0 change 3 (2) update 1=5 2='one' 3.k=1\n"
						"5.0 change 3 (2) update 1=7* 2='one' 3.k=1\n5.1 score 3 (2) 7 v1\n");
	world_free(world);
}

/* Nothing put aside before a TRUNCATE stands in for what comes after it. */
static void
truncate_ends_the_wait_for_a_key(void **state)
{
	World *world = ranked_world(BY_PRICE);
	Held held;

	t_insert(world, "id=1 price=5 title='one' att.k=1");
	t_insert(world, "id=2 price=6 title='two' att.k=2");
	t_commit(world);
	t_key_change(world, "id=1", "id=2 price=5 title=~ att=~");
	t_truncate(world, &world->item);
	t_insert(world, "id=2 price=7 title='new' att.k=3");
	t_commit(world);
	world_hide(world);
	t_insert(world, "id=1 price=5 title='one' att.k=1");
	t_commit(world);
	world_hide(world);
	t_key_change(world, "id=1", "id=2 price=5 title=~ att=~");
	t_truncate(world, &world->item);
	t_insert(world, "id=2 price=7 title='new' att.k=3");
	t_delete(world, "id=2");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n"
						"2.0 change 3 (2) insert 1=5* 2='one'* 3.k=1*\n2.1 score 3 (2) 5 v1\n"
						"3.0 truncate 3\n3.1 remove 3 ()\n"
						"4.0 change 3 (2) insert 1=7* 2='new'* 3.k=3*\n4.1 score 3 (2) 7 v1\n"
						"5.0 change 3 (2) delete\n5.1 remove 3 (2)\n");
	hold(world, &held);
	assert_false(held.present);
	world_free(world);
}

static void
truncate_removes_all_once_per_ranking(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_ranking(world, OP_INSERT, "other", "public.item", CHEAP, true, 1);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	world_hide(world);
	t_truncate(world, &world->item);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	assert_shown(world,
				 "1.0 truncate 3\n1.1 remove 3 ()\n1.2 remove 3 ()\n"
				 "2.0 change 3 (1) insert 1=5* 2='a'* 3={}*\n2.1 score 3 (1) 5 v1\n2.2 score 3 (1) 5 v1\n");
	world_free(world);
}

static void
an_incomplete_item_is_quarantined_and_completed_later(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_update(world, "id=1 price=5 title=~ att.k=1");
	t_commit(world);
	assert_shown(world, "1.0 quarantine (1) title: incomplete\n");
	t_update(world, "id=1 price=6 title='now' att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=6 2='now' 3.k=1 unknown\n1.1 score 3 (1) 6 v1\n");
	world_free(world);
}

static void
defects_are_told_once_and_lose_nothing(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_insert(world, "id=1 price=5 title=OV att.a=[1,'never'] att.b=[1,'2026-01-02'] att.c=3");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) insert 1=5* 2=OV* 3.a=[1,'never']* 3.b=[1,'2026-01-02']* 3.c=3*\n"
						"1.0 quarantine (1) title: oversized\n1.0 quarantine (1) a: time does not parse\n"
						"1.1 score 3 (1) 5 v1\n");
	t_update(world, "id=1 price=6 title=OV att.a=[1,'never'] att.b=[1,'2026-01-02'] att.c=3");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=6* 2=OV 3.a=[1,'never'] 3.b=[1,'2026-01-02'] 3.c=3\n1.1 "
						"score 3 (1) 6 v1\n");
	t_update(world, "id=1 price=6 title='x' att=7");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=6 2='x'* 3=7* -3.a -3.b -3.c\n1.0 quarantine (1) att: map "
						"is not an object\n");
	t_update(world, "id=1 price=6 title='x' att=null");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=6 2='x' 3=null*\n");
	t_change_full(world, &world->item, OP_UPDATE, "id=1 price=9 title='x' att=null", NULL, FLAG_KEY_UNKNOWN);
	t_change_full(world, &world->item, OP_UPDATE, "id=1", NULL, FLAG_FILTER_ERROR);
	t_commit(world);
	assert_shown(world, "1.0 quarantine () : no key\n2.0 quarantine (1) : filter error\n");
	world_free(world);
}

static void
a_score_that_cannot_be_computed_leaves_the_ranking(void **state)
{
	World *world = ranked_world("term p weight 1 100 / price missing skip\non_error quarantine");

	t_insert(world, "id=1 price=5 title='a' att={}");
	t_update(world, "id=1 price=0 title='a' att={}");
	t_update(world, "id=1 price=0 title='b' att={}");
	t_update(world, "id=1 price=4 title='b' att={}");
	t_commit(world);
	assert_shown(
		world,
		"1.0 change 3 (1) insert 1=5* 2='a'* 3={}*\n1.1 score 3 (1) 20 v1\n"
		"2.0 change 3 (1) update 1=0* 2='a' 3={}\n2.0 quarantine (1) p: division by zero\n2.1 remove 3 (1)\n"
		"3.0 change 3 (1) update 1=0 2='b'* 3={}\n"
		"4.0 change 3 (1) update 1=4* 2='b' 3={}\n4.1 score 3 (1) 25 v1\n");
	world_free(world);
}

static void
malformed_bytes_become_a_gap_and_what_precedes_them_stays(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_insert(world, "id=1 price=5 title='a' att={}");
	t_entry(world, slice_string("\x12\x02zz"));
	t_insert(world, "id=2 price=5 title='a' att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) insert 1=5* 2='a'* 3={}*\n1.1 score 3 (1) 5 v1\n"
						"2.0 quarantine () : undecodable\n2.0 gap a unit that could not be decoded\n");
	/* attributes out of order, a column that does not exist, a key of two values */
	t_insert(world, "id=3 title='a' price=5 att={}");
	t_commit(world);
	assert_shown(world, "2.0 quarantine () : undecodable\n2.0 gap a unit that could not be decoded\n");
	t_insert(world, "id=3 id=4 price=5 title='a' att={}");
	t_commit(world);
	assert_shown(world, "2.0 quarantine () : undecodable\n2.0 gap a unit that could not be decoded\n");
	t_insert(world, "id=4 price=6 title='a' att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (4) insert 1=6* 2='a'* 3={}*\n1.1 score 3 (4) 6 v1\n");
	world_free(world);
}

static void
empty_units_move_the_position_only(void **state)
{
	World *world = ranked_world(BY_PRICE);

	u_text(world, UNIT_PROGRESS, NULL);
	u_text(world, UNIT_CONNECT, NULL);
	u_text(world, UNIT_TIMER, NULL);
	u_rescore(world, 77, 0, 10);
	assert_shown(world, "");
	assert_int_equal(store_position(world->store).seq, 5);
	u_text(world, UNIT_GAP, "publication lost");
	assert_shown(world, "1.0 gap publication lost\n");
	assert_int_equal(store_position(world->store).total, 1);
	world_free(world);
}

/* ---- exits: an item leaves a ranking, told once, whatever the reason ------------------------- */

typedef struct Exit
{
	const char *name;
	void (*leave)(World *world);
	const char *shown;
	void (*again)(World *world); /* the same once more */
	const char *shown_again;
} Exit;

static void
exit_where(World *world)
{
	t_update(world, "id=1 price=500 title='a' att={}");
}

static void
exit_delete(World *world)
{
	t_delete(world, "id=1");
}

static void
exit_key_change(World *world)
{
	t_key_change(world, "id=1", "id=2 price=500 title='a' att={}");
}

static void
exit_truncate(World *world)
{
	t_truncate(world, &world->item);
}

static void
exit_dropped(World *world)
{
	t_change_full(world, &world->ranking, OP_DELETE, "name='home'", NULL, 0);
}

static void
exit_disabled(World *world)
{
	t_ranking(world, OP_UPDATE, "home", "public.item", CHEAP, false, 2);
}

static void
exit_moved(World *world)
{
	t_ranking(world, OP_UPDATE, "home", "public.other", CHEAP, true, 2);
}

static void
exit_unwatched(World *world)
{
	t_change_full(world, &world->watched, OP_DELETE, "relation='public.item'", NULL, 0);
}

static const Exit exits[] = {
	{"where", exit_where, "1.0 change 3 (1) update 1=500* 2='a' 3={}\n1.1 remove 3 (1)\n", exit_where,
	 "1.0 change 3 (1) update 1=500 2='a' 3={}\n"},
	{"delete", exit_delete, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n", exit_delete,
	 "1.0 change 3 (1) delete\n"},
	{"key change", exit_key_change,
	 "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n2.0 change 3 (2) insert 1=500* 2='a'* 3={}*\n", exit_delete,
	 "1.0 change 3 (1) delete\n"},
	{"truncate", exit_truncate, "1.0 truncate 3\n1.1 remove 3 ()\n", exit_delete,
	 "1.0 change 3 (1) delete\n"},
	{"dropped", exit_dropped, "1.1 remove 3 ()\n", exit_dropped, ""},
	{"disabled", exit_disabled, "1.1 remove 3 ()\n", exit_disabled, ""},
	{"moved", exit_moved, "1.1 remove 3 ()\n", exit_moved, ""},
	{"unwatched", exit_unwatched, "1.1 remove 3 ()\n", exit_unwatched, ""},
};

static void
every_exit_is_told_exactly_once_even_after_a_restart(void **state)
{
	for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++)
		for (int restart = 0; restart < 2; restart++)
		{
			World *world = ranked_world(CHEAP);

			print_message("exit: %s%s\n", exits[i].name, restart ? ", after a restart" : "");
			t_insert(world, "id=1 price=5 title='a' att={}");
			t_commit(world);
			assert_shown(world, "1.0 change 3 (1) insert 1=5* 2='a'* 3={}*\n1.1 score 3 (1) 5 v1\n");
			world_commit(world);
			if (restart)
				world_reopen(world);
			exits[i].leave(world);
			t_commit(world);
			assert_shown(world, exits[i].shown);
			world_commit(world);
			if (restart)
				world_reopen(world);
			exits[i].again(world);
			t_commit(world);
			assert_shown(world, exits[i].shown_again);
			/* nothing of a ranking that ended is told again later */
			u_rescore_all(world, 10);
			assert_shown(world, "");
			world_free(world);
		}
}

/* ---- rankings ------------------------------------------------------------------------------- */

static void
fill_items(World *world, int from, int to)
{
	char text[128];

	for (int i = from; i < to; i++)
	{
		snprintf(text, sizeof(text), "id=%d price=%d title='t' att={}", i, i);
		t_insert(world, text);
	}
	t_commit(world);
}

static int
count_lines(const char *text, const char *what)
{
	int count = 0;

	for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
		count++;
	return count;
}

static void
an_edited_ranking_rescores_in_chunks_and_tells_differences_only(void **state)
{
	World *world = ranked_world(CHEAP);
	const char *text;

	fill_items(world, 0, 200);
	world_hide(world);
	t_ranking(world, OP_UPDATE, "home", "public.item",
			  "where price < 150\nterm p weight 1 price missing skip", true, 2);
	t_commit(world);
	assert_shown(world, "");
	assert_int_equal(u_rescore_all(world, 50), 5);
	text = world_text(world);
	assert_int_equal(count_lines(text, "score"), 50);
	assert_int_equal(count_lines(text, "v2"), 50);
	assert_int_equal(count_lines(text, "remove"), 0);
	assert_int_equal(count_lines(text, "change"), 0);
	world_free(world);
}

#define USES "use shared\nterm p weight 1 price * weight_of_price missing skip"

static void
a_library_that_is_edited_rescores_the_rankings_that_use_it(void **state)
{
	World *world = world_create(10000);
	ScorerWants wants;

	t_watch(world, OP_INSERT, "public.item", "att");
	t_library(world, OP_INSERT, "shared", "const weight_of_price = 2");
	t_ranking(world, OP_INSERT, "home", "public.item", USES, true, 1);
	t_ranking(world, OP_INSERT, "other", "public.item", BY_PRICE, true, 1);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "1 score 4 (1) 10 v1"));
	world_commit(world);
	world_reopen(world);
	t_update(world, "id=1 price=6 title=~ att=~");
	t_commit(world);
	assert_shown(world,
				 "1.0 change 4 (1) update 1=6* 2='a' 3={}\n1.1 score 4 (1) 12 v1\n1.2 score 4 (1) 6 v1\n");
	/* the extension raises the version in the same transaction */
	t_library(world, OP_UPDATE, "shared", "const weight_of_price = 3");
	t_ranking(world, OP_UPDATE, "home", "public.item", USES, true, 2);
	t_commit(world);
	assert_int_equal(u_rescore_all(world, 10), 1);
	assert_shown(world, "1.1 score 4 (1) 18 v2\n");
	/* one that does not serve leaves all as it was, and is told */
	t_library(world, OP_UPDATE, "shared", "const weight_of_price = ");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "quarantine ('shared') definition: "));
	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.broken, "home");
	world_commit(world);
	world_reopen(world);
	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.broken, "home");
	t_update(world, "id=1 price=7 title=~ att=~");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "score 4 (1) 21 v2"));
	t_library(world, OP_UPDATE, "shared", "const weight_of_price = 4");
	t_commit(world);
	u_rescore_all(world, 10);
	assert_non_null(strstr(world_text(world), "score 4 (1) 28 v2"));
	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.broken, "");
	world_free(world);
}

/* A library that was not taken has no part in what is compiled after it. */
static void
a_library_that_was_not_taken_is_forgotten(void **state)
{
	World *world = world_create(10000);
	ScorerWants wants;

	t_watch(world, OP_INSERT, "public.item", "att");
	t_library(world, OP_INSERT, "shared", "const weight_of_price = 2");
	t_ranking(world, OP_INSERT, "home", "public.item", USES, true, 1);
	t_commit(world);
	t_library(world, OP_UPDATE, "shared", "const weight_of_price = ");
	t_commit(world);
	world_hide(world);
	t_ranking(world, OP_UPDATE, "home", "public.item", USES "\nround 1", true, 2);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	assert_null(strstr(world_text(world), "quarantine"));
	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.broken, "");
	world_free(world);
}

static void
a_ranking_waits_for_its_library(void **state)
{
	World *world = world_create(10000);
	ScorerWants wants;

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", USES, true, 1);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "quarantine ('home') definition: "));
	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.broken, "home");
	t_library(world, OP_INSERT, "shared", "const weight_of_price = 2");
	t_commit(world);
	u_rescore_all(world, 10);
	assert_non_null(strstr(world_text(world), "score 3 (1) 10 v1"));
	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.broken, "");
	world_free(world);
}

/* Small moves add up: what readers hold is never further off than that. */
static void
a_move_below_min_change_is_not_told(void **state)
{
	World *world = ranked_world("term p weight 1 price missing skip\nmin_change 5");

	t_insert(world, "id=1 price=10 title='a' att={}");
	t_commit(world);
	world_hide(world);
	t_update(world, "id=1 price=13 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=13* 2='a' 3={}\n");
	t_update(world, "id=1 price=14 title=~ att=~");
	t_commit(world);
	world_hide(world);
	t_update(world, "id=1 price=15 title=~ att=~");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1=15* 2='a' 3={}\n1.1 score 3 (1) 15 v1\n");
	world_free(world);
}

/* A score that moves with its age is told when it does: jumps at the very moment, drifts once in `refresh`. */
static void
time_alone_moves_a_score(void **state)
{
	World *world =
		ranked_world("term s weight 1 steps(age(att.t), [(0, 3), (10, 2), (20, 1)], below = 0) missing 0");
	char text[160];

	/* its own time, a second after the world began: PostgreSQL's 800,000,001st */
	snprintf(text, sizeof(text), "id=1 price=1 title='a' att.t=[1,'2025-05-08 06:13:21+00']");
	t_insert(world, text);
	t_commit(world);
	assert_non_null(strstr(world_text(world), "score 3 (1) 3 v1"));
	assert_int_equal(u_time(world, 10), 0);
	assert_int_equal(u_time(world, 11), 1);
	assert_shown(world, "1.1 score 3 (1) 2 v1\n");
	world_commit(world);
	world_reopen(world);
	assert_int_equal(u_time(world, 20), 0);
	assert_int_equal(u_time(world, 500), 1);
	assert_shown(world, "1.1 score 3 (1) 1 v1\n");
	assert_int_equal(u_time(world, 1000000), 0);
	t_ranking(world, OP_UPDATE, "home", "public.item",
			  "term d weight 100 half_life(age(att.t), 1h) missing 0\nrefresh 30s", true, 2);
	t_commit(world);
	u_rescore_all(world, 10);
	world_hide(world);
	/* ten minutes, once in half a minute at most */
	for (int second = 500; second <= 1100; second++)
		u_time(world, second);
	assert_in_range(count_lines(world_text(world), "score"), 19, 22);
	world_free(world);
}

/* Cancelled, the items that were not met keep what they have, and somebody may ask for all of it again. */
static void
a_rescoring_can_be_given_up_and_asked_for(void **state)
{
	World *world = ranked_world(BY_PRICE);
	ScorerTable tables[8];
	ScorerWants wants;

	fill_items(world, 0, 40);
	world_hide(world);
	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 2 price missing skip", true, 2);
	t_commit(world);
	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.rescore.relation, "public.item");
	assert_int_equal(wants.rescore.items_all, 40);
	u_rescore(world, wants.rescore.job, wants.rescore.chunk, 10);
	scorer_wants(world->scorer, &wants);
	assert_int_equal(wants.rescore.items, 10);
	u_text(world, UNIT_RESCORE, RESCORE_CANCEL "public.item");
	scorer_wants(world->scorer, &wants);
	assert_int_equal(wants.rescore.job, 0);
	assert_in_range(count_lines(world_text(world), "v2"), 9, 10); /* an item of price 0 never moves */
	world_commit(world);
	world_reopen(world);
	scorer_tables(world->scorer, tables, 8);
	assert_true(tables[SCORER_CONFIG_TABLES].stopped);
	u_text(world, UNIT_RESCORE, RESCORE_START "public.item");
	u_rescore_all(world, 10);
	/* those that have the new score are not told again */
	assert_in_range(count_lines(world_text(world), "v2"), 29, 30);
	scorer_tables(world->scorer, tables, 8);
	assert_false(tables[SCORER_CONFIG_TABLES].stopped);
	/* of a table nobody watches it means nothing */
	u_text(world, UNIT_RESCORE, RESCORE_START "public.other");
	u_text(world, UNIT_RESCORE, RESCORE_CANCEL "nonsense.");
	assert_shown(world, "");
	world_free(world);
}

static void
live_changes_between_chunks_are_not_scored_twice(void **state)
{
	World *world = ranked_world(BY_PRICE);
	ScorerWants wants;
	char text[128];

	fill_items(world, 1, 101);
	world_hide(world);
	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 2 price missing skip", true, 2);
	t_commit(world);
	scorer_wants(world->scorer, &wants);
	u_rescore(world, wants.rescore.job, 0, 10);
	world_commit(world);
	world_reopen(world);
	/* every second item changes while the job is under way; a chunk that came before does nothing */
	u_rescore(world, wants.rescore.job, 0, 10);
	assert_int_equal(count_lines(world_text(world), "score"), 10);
	for (int i = 1; i < 101; i += 2)
	{
		snprintf(text, sizeof(text), "id=%d price=%d title='live' att={}", i, i);
		t_update(world, text);
	}
	t_commit(world);
	u_rescore_all(world, 7);
	assert_int_equal(count_lines(world_text(world), "score"), 90);
	/* an edit replaces the job: what its old number asks for is nothing */
	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 3 price missing skip", true, 3);
	t_commit(world);
	scorer_wants(world->scorer, &wants);
	u_rescore(world, wants.rescore.job, 0, 10);
	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 4 price missing skip", true, 4);
	t_commit(world);
	world_hide(world);
	u_rescore(world, wants.rescore.job, 1, 10);
	assert_shown(world, "");
	u_rescore_all(world, 1000);
	assert_int_equal(count_lines(world_text(world), "v4"), 100);
	world_free(world);
}

static void
a_definition_that_does_not_work_leaves_the_old_one_in_force(void **state)
{
	World *world = ranked_world(BY_PRICE);
	const char *text;

	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 1 frobnicate(price)", true, 2);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	text = world_text(world);
	assert_non_null(strstr(text, "1.0 quarantine ('home') definition: "));
	assert_non_null(strstr(text, "2.1 score 3 (1) 5 v1\n"));
	/* disabled by the same row that broke it */
	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 1 frobnicate(title)", false, 3);
	t_commit(world);
	text = world_text(world);
	assert_non_null(strstr(text, "1.1 remove 3 ()\n"));
	world_free(world);
}

static void
a_ranking_waits_until_its_table_is_watched_and_known(void **state)
{
	World *world = world_create(10000);

	t_ranking(world, OP_INSERT, "home", "public.item", BY_PRICE, true, 1);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	assert_shown(world, "");
	t_watch(world, OP_INSERT, "public.item", NULL);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	assert_shown(world, "2.0 change 2 (1) insert 1=5* 2='a'* 3={}*\n2.1 score 2 (1) 5 v1\n");
	world_free(world);
}

static void
numbers_of_rankings_are_never_used_again(void **state)
{
	World *world = ranked_world(BY_PRICE);

	t_insert(world, "id=1 price=5 title='a' att={}");
	t_change_full(world, &world->ranking, OP_DELETE, "name='home'", NULL, 0);
	t_ranking(world, OP_INSERT, "next", "public.item", BY_PRICE, true, 1);
	t_commit(world);
	world_hide(world);
	u_rescore_all(world, 10);
	assert_shown(world, "1.2 score 3 (1) 5 v1\n");
	t_ranking(world, OP_INSERT, "home", "public.item", BY_PRICE, true, 7);
	t_commit(world);
	u_rescore_all(world, 10);
	assert_shown(world, "1.1 score 3 (1) 5 v7\n");
	world_free(world);
}

static void
another_map_binds_and_scores_anew(void **state)
{
	World *world = world_create(10000);

	t_watch(world, OP_INSERT, "public.item", NULL);
	t_ranking(world, OP_INSERT, "home", "public.item", "term k weight 1 k missing 0", true, 1);
	t_insert(world, "id=1 price=5 title='a' att.k=3");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "quarantine ('home') definition:"));
	t_watch(world, OP_UPDATE, "public.item", "att");
	t_commit(world);
	u_rescore_all(world, 10);
	assert_shown(world, "1.1 score 3 (1) 3 v1\n");
	t_watch(world, OP_UPDATE, "public.item", NULL);
	t_commit(world);
	assert_non_null(strstr(world_text(world), "1.1 remove 3 ()\n"));
	world_free(world);
}

static void
another_engine_rescores_every_ranking(void **state)
{
	char text[80];
	World *world = ranked_world(BY_PRICE);
	ScorerWants wants;

	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	snprintf(text, sizeof(text), "engine=%d\nother=x\npart_changes=3", SCORER_ENGINE);
	u_text(world, UNIT_CONFIG, text);
	scorer_wants(world->scorer, &wants);
	assert_int_equal(wants.rescore.job, 0);
	snprintf(text, sizeof(text), "engine=%d", SCORER_ENGINE + 1);
	u_text(world, UNIT_CONFIG, text);
	assert_int_equal(store_header(world->store)->engine, SCORER_ENGINE + 1);
	scorer_wants(world->scorer, &wants);
	assert_int_not_equal(wants.rescore.job, 0);
	world_hide(world);
	u_rescore_all(world, 10);
	assert_shown(world, "");
	/* the size of a piece given by the first CONFIG is in force, also after a restart */
	world_commit(world);
	world_reopen(world);
	fill_items(world, 10, 17);
	assert_int_equal(count_lines(world_text(world), "insert"), 7);
	world_free(world);
}

/* ---- versions of a table -------------------------------------------------------------------- */

static void
an_altered_table_keeps_what_its_changes_do_not_carry(void **state)
{
	static const char *const moved[] = {"*id:i", "brand:t", "title:t", "att:j", "price:i", NULL};
	static const char *const retyped[] = {"*id:i", "price:i", "title:j", "att:j", NULL};
	static const char *const rows[] = {"id=1 price=5 title='a' att.k=1", "id=2 price=6 title='b' att.k=2",
									   NULL};
	World *world = ranked_world(BY_PRICE);
	Table now = table_make(100, "public", "item", moved);
	Table other = table_make(100, "public", "item", retyped);
	ScorerTable tables[8];

	t_insert(world, "id=1 price=5 title='a' att.k=1");
	t_insert(world, "id=2 price=6 title='b' att.k=2");
	t_commit(world);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_rows(world, &world->item, world->lsn + 1, rows);
	u_backfill(world, &world->item, BACKFILL_END, 0);
	world_hide(world);
	t_change_full(world, &now, OP_UPDATE, "id=1 brand='x' title=~ att=~ price=7", NULL, 0);
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) update 1='x'* 2='a' 3.k=1 4=7*\n1.1 score 3 (1) 7 v1\n");
	/* a new column has values nobody told us: the table is to be read again */
	assert_int_equal(scorer_tables(world->scorer, tables, 8), SCORER_CONFIG_TABLES + 1);
	assert_string_equal(tables[SCORER_CONFIG_TABLES].relation, "public.item");
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 0);
	/* an edit reaches the item that still has the old version */
	t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 2 price missing skip", true, 2);
	t_commit(world);
	u_rescore_all(world, 10);
	assert_int_equal(count_lines(world_text(world), "score"), 2);
	/* what the old type's value would be now cannot be known */
	t_change_full(world, &other, OP_UPDATE, "id=1 price=8 title=~ att=~", NULL, 0);
	t_commit(world);
	assert_shown(world, "1.1 remove 3 (1)\n1.0 quarantine (1) title: incomplete\n");
	buffer_free(&now.body);
	buffer_free(&other.body);
	world_free(world);
}

static void
a_table_made_again_starts_from_nothing(void **state)
{
	World *world = ranked_world(BY_PRICE);
	Table again = table_make(200, "public", "item", item_columns);

	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	world_hide(world);
	t_change_full(world, &again, OP_INSERT, "id=1 price=5 title='a' att={}", NULL, 0);
	t_commit(world);
	assert_shown(world, "1.0 change 4 (1) insert 1=5* 2='a'* 3={}*\n1.1 remove 3 ()\n");
	u_rescore_all(world, 10);
	assert_shown(world, "1.1 score 4 (1) 5 v1\n");
	buffer_free(&again.body);
	world_free(world);
}

/* ---- dictionary ----------------------------------------------------------------------------- */

static void
the_dictionary_tells_what_the_records_so_far_announced(void **state)
{
	World *world = world_create(10000);
	Buffer told = {0};
	Buffer bytes = {0};

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", BY_PRICE, true, 1);
	t_insert(world, "id=1 price=5 title='a' att={}");
	t_commit(world);
	/* the feed asks when this record has filled a segment: the next one begins with all of it */
	scorer_dictionary(world->scorer, &bytes);
	show_record(&told, buffer_slice(&bytes), true);
	buffer_append_byte(&told, '\0');
	assert_string_equal((char *) told.data, "0.0 relation 3 map=att\n0.1 ranking 1 home of 3 version 1\n");
	/* a ranking that ended is in no later dictionary */
	t_change_full(world, &world->ranking, OP_DELETE, "name='home'", NULL, 0);
	t_commit(world);
	buffer_reset(&bytes);
	buffer_reset(&told);
	scorer_dictionary(world->scorer, &bytes);
	show_record(&told, buffer_slice(&bytes), true);
	buffer_append_byte(&told, '\0');
	assert_string_equal((char *) told.data, "0.0 relation 3 map=att\n");
	buffer_free(&told);
	buffer_free(&bytes);
	world_free(world);
}

/* ---- backfill ------------------------------------------------------------------------------- */

static void
an_unchanged_table_read_again_tells_nothing(void **state)
{
	static const char *const again[] = {"id=1 price=5 title='a' att.k=1", "id=2 price=6 title='b' att={}",
										NULL};
	World *world = ranked_world(BY_PRICE);
	ScorerWants wants;
	ScorerTable tables[8];

	t_insert(world, "id=1 price=5 title='a' att.k=1");
	t_commit(world);
	world_hide(world);
	scorer_wants(world->scorer, &wants);
	assert_true(wants.backfill);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	scorer_tables(world->scorer, tables, 8);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 1);
	u_row(world, world->lsn + 1, "id=1 price=5 title='a' att.k=1");
	assert_shown(world, "");
	u_row(world, world->lsn + 1, "id=2 price=6 title='b' att={}");
	assert_shown(world, "1.0 change 3 (2) insert 1=6* 2='b'* 3={}*\n1.1 score 3 (2) 6 v1\n");
	u_backfill(world, &world->item, BACKFILL_ABORT, 0);
	scorer_tables(world->scorer, tables, 8);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 0);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_rows(world, &world->item, world->lsn + 1, again);
	u_backfill(world, &world->item, BACKFILL_END, 0);
	assert_shown(world, "");
	scorer_tables(world->scorer, tables, 8);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 2);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].items, 2);
	/* rows of a table whose backfill is not open are nobody's */
	u_row(world, world->lsn + 1, "id=3 price=6 title='b' att={}");
	assert_shown(world, "");
	world_free(world);
}

static void
config_tables_are_backfilled_like_any_other(void **state)
{
	static const char *const watched[] = {"relation='public.item' map='att' since=1", NULL};
	static const char *const ranking[] = {"name='home' relation='public.item' definition='term p weight 1 "
										  "price missing skip' enabled=true version=1",
										  NULL};
	World *world = world_create(10000);
	ScorerTable tables[8];

	assert_int_equal(scorer_tables(world->scorer, tables, 8), SCORER_CONFIG_TABLES);
	assert_string_equal(tables[0].relation, "walrank.watched");
	u_backfill(world, &world->watched, BACKFILL_BEGIN, 0);
	u_rows(world, &world->watched, 5, watched);
	u_backfill(world, &world->watched, BACKFILL_END, 0);
	u_backfill(world, &world->ranking, BACKFILL_BEGIN, 0);
	u_rows(world, &world->ranking, 5, ranking);
	u_backfill(world, &world->ranking, BACKFILL_END, 0);
	/* the table is known by name alone: it can be asked for */
	assert_int_equal(scorer_tables(world->scorer, tables, 8), SCORER_CONFIG_TABLES + 1);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].number, 0);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 0);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_row(world, world->lsn, "id=1 price=5 title='a' att.k=1");
	u_backfill(world, &world->item, BACKFILL_END, 0);
	assert_shown(world, "1.0 change 3 (1) insert 1=5* 2='a'* 3.k=1*\n1.1 score 3 (1) 5 v1\n"
						"0.0 filled  from 0\n");
	world_free(world);
}

/* It goes into statements as it is: LOCK TABLE ONLY user.item would be none. */
static void
name_of_a_table_is_quoted_where_the_server_wants_it(void **state)
{
	static const char *const cases[][2] = {{"user.\"order\"", "\"user\".\"order\""},
										   {"\"Shop\".\"a.b\"\"c\"", "\"Shop\".\"a.b\"\"c\""},
										   {"shop.item_2", "shop.item_2"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		World *world = world_create(10000);
		ScorerTable tables[8];

		t_watch(world, OP_INSERT, cases[i][0], "att");
		t_commit(world);
		assert_int_equal(scorer_tables(world->scorer, tables, 8), SCORER_CONFIG_TABLES + 1);
		assert_string_equal(tables[SCORER_CONFIG_TABLES].relation, cases[i][1]);
		world_free(world);
	}
}

/*
 * The history of key 1 is insert, update (which leaves the title in its TOAST), delete; a row of every
 * point the snapshot can have is read at every later moment.  Whatever the order, readers end up with
 * what the table holds at that moment.
 */
static void
rows_and_live_changes_meet_in_every_order(void **state)
{
	static const char *const table_at[] = {NULL, "id=1 price=5 title='long' att.k=1",
										   "id=1 price=6 title='long' att.k=1", NULL};
	static const char *const image_at[] = {"", "1=52='long'3=1", "1=62='long'3=1", ""};
	int orders = 0;

	for (int seen = 0; seen < 4;
		 seen++) /* live changes before BEGIN: lost to us when the table was not watched */
		for (int point = seen; point < 4; point++) /* the snapshot's state */
			for (int read = point; read < 4; read++, orders++)
			{
				World *world = ranked_world(BY_PRICE);
				Held held;

				/* the table is watched only now: what was before is not in the stream */
				for (int step = seen; step <= read; step++)
				{
					if (step == seen)
						u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
					else if (step == 1)
						t_insert(world, "id=1 price=5 title='long' att.k=1");
					else if (step == 2)
						t_update(world, "id=1 price=6 title=~ att.k=1");
					else
						t_delete(world, "id=1");
					if (step > seen)
						t_commit(world);
				}
				/* steps have LSNs 0x100 apart; point p holds what committed before it */
				{
					Lsn last = world->lsn;
					Lsn c = last - (Lsn) (read - point) * 0x100 + 1;

					if (table_at[point] != NULL)
						u_row(world, c, table_at[point]);
				}
				u_backfill(world, &world->item, BACKFILL_END, 0);
				hold(world, &held);
				assert_int_equal(held.present, table_at[read] != NULL);
				assert_string_equal(held.image, image_at[read]);
				assert_string_equal(held.score, read == 1 ? "5" : read == 2 ? "6" : "");
				world_free(world);
			}
	assert_int_equal(orders, 20);
}

/* All 24 orders in which insert, update, delete and the row can stand. */
static void
all_24_orders_of_insert_update_delete_and_row(void **state)
{
	enum
	{
		INSERT,
		UPDATE,
		DELETE,
		ROW
	};
	int orders = 0;

	for (int code = 0; code < 256; code++)
	{
		int order[4] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 & 3};
		bool used[4] = {false};
		World *world;
		Held held;
		Lsn point;
		bool gone = false;
		bool distinct = true;

		for (int i = 0; i < 4; i++)
		{
			distinct = distinct && !used[order[i]];
			used[order[i]] = true;
		}
		if (!distinct)
			continue;
		orders++;
		world = ranked_world(BY_PRICE);
		u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
		/* the snapshot is older than all of them: it holds an item that was there before */
		point = world->lsn + 1;
		for (int i = 0; i < 4; i++)
		{
			if (order[i] == INSERT)
				t_insert(world, "id=1 price=7 title='new' att.k=2");
			else if (order[i] == UPDATE)
				t_update(world, "id=1 price=8 title=~ att.k=3");
			else if (order[i] == DELETE)
				t_delete(world, "id=1");
			if (order[i] == ROW)
				u_row(world, point, "id=1 price=5 title='old' att.k=1");
			else
				t_commit(world);
			if (order[i] == INSERT)
				gone = false;
			else if (order[i] == DELETE)
				gone = true;
			else if (order[i] == UPDATE && gone)
				gone = false; /* no real history; must still not bring the row back */
		}
		u_backfill(world, &world->item, BACKFILL_END, 0);
		hold(world, &held);
		for (int i = 3, row_after_delete = 0; i >= 0; i--)
			if (order[i] == DELETE && i == 3 - row_after_delete)
				assert_false(held.present);
			else if (order[i] == ROW && i == 3 - row_after_delete)
				row_after_delete++;
			else
				break;
		/* the old row's values survive nothing that came at or after the point but what was not carried */
		assert_null(strstr(held.image, "1=5"));
		if (held.present && order[3] == UPDATE && order[2] == INSERT)
			assert_string_equal(held.image, "1=82='new'3=3");
		world_free(world);
	}
	assert_int_equal(orders, 24);
}

static void
a_row_fills_only_what_live_changes_left_open(void **state)
{
	World *world = ranked_world(BY_PRICE);
	Lsn point;

	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	point = world->lsn + 1;
	t_update(world, "id=1 price=9 title=~ att.z=1");
	t_commit(world);
	assert_shown(world, ""); /* it waits for its row */
	u_row(world, point, "id=1 price=5 title='long' att.a=1 att.z=0");
	assert_shown(world, "1.0 change 3 (1) insert 1=9 2='long' 3.z=1 unknown\n1.1 score 3 (1) 9 v1\n");
	/* truncated since: every row is dropped */
	t_truncate(world, &world->item);
	t_commit(world);
	world_hide(world);
	u_row(world, point, "id=2 price=5 title='long' att={}");
	assert_shown(world, "");
	u_row(world, world->lsn + 1, "id=3 price=5 title='long' att={}");
	assert_shown(world, "1.0 change 3 (3) insert 1=5* 2='long'* 3={}*\n1.1 score 3 (3) 5 v1\n");
	world_free(world);
}

/* The snapshot of point C holds what committed below C, and not what committed at C. */
static void
what_committed_at_the_point_itself_is_later(void **state)
{
	World *world = ranked_world(BY_PRICE);

	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	t_update(world, "id=1 price=9 title=~ att={}");
	t_commit(world);
	u_row(world, world->lsn, "id=1 price=5 title='long' att={}");
	assert_shown(world, "1.0 change 3 (1) insert 1=9 2='long' 3={} unknown\n1.1 score 3 (1) 9 v1\n");
	t_delete(world, "id=1");
	t_commit(world);
	world_hide(world);
	u_row(world, world->lsn, "id=1 price=5 title='long' att={}");
	assert_shown(world, "");
	t_truncate(world, &world->item);
	t_commit(world);
	world_hide(world);
	u_row(world, world->lsn, "id=2 price=5 title='long' att={}");
	assert_shown(world, "");
	world_free(world);
}

static void
a_key_change_that_leaves_unknowns_has_the_table_read_again(void **state)
{
	World *world = ranked_world(BY_PRICE);
	ScorerTable tables[8];
	Lsn point;

	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	point = world->lsn + 1;
	t_key_change(world, "id=1", "id=2 price=9 title=~ att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n");
	/* neither the old key's row, nor an older one of the new key, may come back */
	u_row(world, point, "id=1 price=5 title='long' att={}");
	u_row(world, point, "id=2 price=5 title='else' att={}");
	assert_shown(world, "");
	u_backfill(world, &world->item, BACKFILL_END, 0);
	scorer_tables(world->scorer, tables, 8);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 0);
	world_commit(world);
	world_reopen(world);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_row(world, world->lsn + 1, "id=2 price=9 title='long' att={}");
	assert_shown(world, "1.0 change 3 (2) insert 1=9 2='long' 3={} unknown\n1.1 score 3 (2) 9 v1\n");
	u_backfill(world, &world->item, BACKFILL_END, 0);
	scorer_tables(world->scorer, tables, 8);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 2);
	world_free(world);
}

/* All its items are known: only in a first reading may a key be held by one that has not been met. */
static void
in_a_table_read_again_an_item_keeps_what_it_has_through_two_keys(void **state)
{
	World *world = ranked_world(BY_PRICE);

	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_row(world, world->lsn + 1, "id=1 price=5 title='long' att={}");
	u_backfill(world, &world->item, BACKFILL_END, 0);
	world_commit(world);
	world_reopen(world);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	world_text(world); /* the row, told */
	t_key_change(world, "id=1", "id=2 price=5 title=~ att={}");
	t_key_change(world, "id=2", "id=3 price=6 title=~ att={}");
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1) delete\n1.1 remove 3 (1)\n"
						"2.0 change 3 (2) insert 1=5* 2='long'* 3={}*\n2.1 score 3 (2) 5 v1\n"
						"3.0 change 3 (2) delete\n3.1 remove 3 (2)\n"
						"4.0 change 3 (3) insert 1=6* 2='long'* 3={}*\n4.1 score 3 (3) 6 v1\n");
	world_free(world);
}

/* ---- pieces, kills, surroundings ------------------------------------------------------------ */

static void
a_large_transaction_comes_in_pieces(void **state)
{
	World *world = ranked_world(BY_PRICE);
	RecordReader reader;
	Error err = {0};
	char text[128];
	size_t at = world->feed.len;
	const uint32_t outputs[] = {20000, 20000, 10000};

	for (int i = 0; i < 25000; i++)
	{
		Buffer entry = {0};

		if (i == 0)
			t_relation(world, &world->item);
		snprintf(text, sizeof(text), "id=%d price=%d title='t' att={}", i, i + 1);
		w_change(&entry, &world->item, OP_INSERT, text, NULL, 0);
		t_entry(world, buffer_slice(&entry));
		buffer_free(&entry);
	}
	t_commit(world);
	for (uint32_t part = 0; part < 3; part++)
	{
		uint64_t len;

		memcpy(&len, world->feed.data + at, 8);
		must(record_open(slice_make(world->feed.data + at + 8, len), &reader, &err), &err);
		at += 8 + len;
		assert_int_equal(reader.header.part, part);
		assert_int_equal(reader.header.last, part == 2);
		assert_int_equal(reader.header.outputs, outputs[part]);
	}
	assert_int_equal(at, world->feed.len);
	assert_int_equal(reader.header.total, 50000);
	assert_int_equal(store_position(world->store).seq, 2);
	assert_int_equal(store_position(world->store).part, 0);
	world_free(world);
}

static void
exactly_one_full_piece_is_the_whole_unit(void **state)
{
	World *world = world_create(4);
	RecordReader reader;
	Error err = {0};
	size_t at;

	t_watch(world, OP_INSERT, "public.item", NULL);
	t_commit(world);
	at = world->feed.len;
	fill_items(world, 0, 4);
	must(record_open(slice_make(world->feed.data + at + 8, world->feed.len - at - 8), &reader, &err), &err);
	assert_true(reader.header.last);
	assert_int_equal(reader.header.part, 0);
	assert_int_equal(reader.header.outputs, 4);
	world_free(world);
}

/* A history with something of everything, in a world of small pieces. */
static void
write_history(World *world)
{
	char text[256];
	unsigned seed = 42;

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item",
			  "term p weight 0.3 log1p(price) missing 0\nterm k weight 2 att.k missing skip", true, 1);
	t_ranking(world, OP_INSERT, "cheap", "public.item",
			  "where price < 50\nterm p weight 1 price missing skip", true, 1);
	t_commit(world);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	for (int unit = 0; unit < 60; unit++)
	{
		world->now_us += 1000000;
		for (int i = 0; i < 1 + (int) (seed % 23); i++)
		{
			int id;

			seed = seed * 1103515245 + 12345;
			id = (int) (seed >> 16) % 40;
			switch ((seed >> 8) % 7)
			{
				case 0:
				case 1:
					snprintf(text, sizeof(text), "id=%d price=%d title='a%d' att.k=%d att.old=1", id,
							 (int) (seed >> 20) % 100, unit, unit);
					t_insert(world, text);
					break;
				case 2:
				case 3:
				case 4:
					snprintf(text, sizeof(text), "id=%d price=%d title=~ att.k=%d", id,
							 (int) (seed >> 20) % 100, i);
					t_update(world, text);
					break;
				case 5:
					snprintf(text, sizeof(text), "id=%d", id);
					t_delete(world, text);
					break;
				default:
				{
					char old[32];

					snprintf(old, sizeof(old), "id=%d", id);
					snprintf(text, sizeof(text), "id=%d price=1 title=~ att=~", id + 100);
					t_key_change(world, old, text);
				}
			}
		}
		if (unit == 30)
			t_truncate(world, &world->item);
		if (unit == 35)
			t_ranking(world, OP_UPDATE, "home", "public.item", "term p weight 0.5 sqrt(price) missing 0",
					  true, 2);
		if (unit == 40)
			t_change_full(world, &world->ranking, OP_DELETE, "name='cheap'", NULL, 0);
		if (unit == 50)
			t_ranking(world, OP_INSERT, "cheap", "public.item",
					  "where price < 20\nterm p weight 1 price missing skip", true, 1);
		t_commit(world);
		if (unit % 5 == 2)
		{
			snprintf(text, sizeof(text), "id=%d price=3 title='row' att.k=1", unit % 40);
			u_row(world, world->lsn - 0x120, text);
		}
		if (unit == 25)
			u_backfill(world, &world->item, BACKFILL_END, 0);
		if (unit > 34)
		{
			ScorerWants wants;

			scorer_wants(world->scorer, &wants);
			if (wants.rescore.job != 0)
				u_rescore(world, wants.rescore.job, wants.rescore.chunk, 5);
		}
	}
}

typedef struct Replay
{
	unsigned seed;
	int commit_every;
	int kill_every; /* 0 = never */
	int records;
	size_t committed; /* feed bytes */
} Replay;

static bool
replay_hook(World *world, void *context)
{
	Replay *replay = context;

	replay->records++;
	if (replay->records % replay->commit_every == 0)
	{
		world_commit(world);
		replay->committed = world->feed.len;
	}
	replay->seed = replay->seed * 1103515245 + 12345;
	return replay->kill_every == 0 || (replay->seed >> 16) % (unsigned) replay->kill_every != 0;
}

/* The same units into an empty store; the feed afterwards. */
static void
replay(World *world, Replay *how)
{
	world_remove(world);
	world_store(world);
	buffer_reset(&world->feed);
	for (int i = 0, kills = 0; i < world->nunits;)
	{
		if (world_step(world, &world->units[i], replay_hook, how))
		{
			i++;
			continue;
		}
		assert_true(++kills < 10000);
		/* R7: the feed is cut to the store's position, the units after it come again */
		world->feed.len = how->committed;
		world_reopen(world);
		i = (int) store_position(world->store).seq;
	}
}

/* What a reader that begins at some record knows of names. */
#define NAMES_MAX 16

typedef struct Names
{
	uint64_t versions[NAMES_MAX];
	uint32_t rankings[NAMES_MAX]; /* version */
	bool relation[NAMES_MAX], ranking[NAMES_MAX];
} Names;

static void
learn_name(Names *names, const RecordEntry *entry)
{
	WireRelation relation;

	if (entry->kind == RECORD_RELATION)
	{
		assert_true(wire_relation(entry->relation_def.descriptor, &relation));
		assert_true(entry->relation_def.number < NAMES_MAX);
		names->relation[entry->relation_def.number] = true;
		names->versions[entry->relation_def.number] = relation.fingerprint;
	}
	else
	{
		assert_true(names->relation[entry->ranking_def.relation]);
		names->ranking[entry->ranking_def.number] = true;
		names->rankings[entry->ranking_def.number] = entry->ranking_def.version;
	}
}

/* Walks one record; every number it uses must be known by then. */
static void
read_names(Names *names, Slice bytes)
{
	RecordReader reader;
	RecordEntry entry;
	Error err = {0};
	bool done;

	must(record_open(bytes, &reader, &err), &err);
	for (;;)
	{
		must(record_next(&reader, &entry, &done, &err), &err);
		if (done)
			return;
		if (is_dictionary(&entry))
		{
			learn_name(names, &entry);
			continue;
		}
		assert_true(entry.relation == 0 || names->relation[entry.relation]);
		assert_true(entry.out == 0 || names->ranking[entry.out]);
		if (entry.kind == RECORD_CHANGE)
			assert_int_equal(names->versions[entry.relation], entry.row.fingerprint);
		if (entry.kind == RECORD_SCORE)
			assert_int_equal(names->rankings[entry.out], entry.score.version);
	}
}

/* Each record can be read with the dictionary taken after the one before it, and with nothing else. */
static void
check_dictionaries(const World *world)
{
	Slice dictionary = slice_make(NULL, 0);

	for (size_t at = 0; at < world->feed.len;)
	{
		uint64_t len;
		Slice record;
		Names names = {0};

		memcpy(&len, world->feed.data + at, 8);
		record = slice_make(world->feed.data + at + 8, len);
		at += 8 + len;
		if (dictionary.len > 0)
			read_names(&names, dictionary);
		read_names(&names, record);
		memcpy(&len, world->feed.data + at, 8);
		dictionary = slice_make(world->feed.data + at + 8, len);
		at += 8 + len;
	}
}

static void
the_same_units_give_the_same_bytes_whatever_happens(void **state)
{
	World *world = world_create(7);
	Buffer feed = {0};
	Replay hows[] = {{1, 1, 0, 0, 0}, {2, 13, 0, 0, 0}, {3, 1, 3, 0, 0}, {4, 2, 11, 0, 0}, {5, 9, 40, 0, 0}};

	world->dictionaries = true;
	write_history(world);
	assert_true(world->nunits > 80);
	check_dictionaries(world);
	buffer_append_slice(&feed, buffer_slice(&world->feed));
	world_hide(world);
	for (size_t i = 0; i < sizeof(hows) / sizeof(hows[0]); i++)
	{
		if (i == 1)
		{
			setenv("TZ", "Asia/Kolkata", 1);
			tzset();
			setlocale(LC_ALL, "de_DE.UTF-8");
			setlocale(LC_ALL, "C.UTF-8");
		}
		replay(world, &hows[i]);
		assert_int_equal(world->feed.len, feed.len);
		assert_memory_equal(world->feed.data, feed.data, feed.len);
	}
	setenv("TZ", "UTC", 1);
	setlocale(LC_ALL, "C");
	buffer_free(&feed);
	world_free(world);
}

/* Whatever bytes a unit holds: no error, nothing read outside of it, and records that read. */
static void
damaged_units_never_stop_the_scorer(void **state)
{
	World *world = world_create(7);
	unsigned seed = 99;
	int history;

	write_history(world);
	history = world->nunits;
	for (int round = 0; round < 3000; round++)
	{
		const KeptUnit *whole = &world->units[(unsigned) round * 7919 % (unsigned) history];
		KeptUnit copy = {.unit = whole->unit};

		copy.unit.seq = (uint64_t) history + (uint64_t) round + 1;
		for (int i = 0; i < whole->nparts; i++)
		{
			add_part(&copy, whole->parts[i].type, buffer_slice(&whole->parts[i].bytes));
			for (int flip = 0; flip < 3; flip++)
			{
				seed = seed * 1103515245 + 12345;
				copy.parts[i].bytes.data[(seed >> 8) % copy.parts[i].bytes.len] = (uint8_t) (seed >> 24);
			}
			/* an exact allocation, so that a sanitizer sees what lies behind it */
			copy.parts[i].bytes.data = xrealloc(copy.parts[i].bytes.data, copy.parts[i].bytes.len);
		}
		world_play(world, &copy);
		for (int i = 0; i < copy.nparts; i++)
			buffer_free(&copy.parts[i].bytes);
		free(copy.parts);
	}
	assert_non_null(strstr(world_text(world), "undecodable"));
	world_free(world);
}

static bool
add_golden_frame(KeptUnit *kept, const char *name)
{
	char path[256];
	uint8_t bytes[65536];
	WireFrame frame;
	size_t len;
	FILE *file;

	snprintf(path, sizeof(path), "%.*s../data/%s.bin", (int) (strrchr(__FILE__, '/') + 1 - __FILE__),
			 __FILE__, name);
	file = fopen(path, "rb");
	if (file == NULL)
		return false;
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	add_part(kept, PART_FRAME, slice_make(bytes, len));
	assert_true(wire_frame_begin(&frame, slice_make(bytes, len)));
	kept->unit.commit_lsn = frame.head.commit_lsn;
	kept->unit.end_lsn = frame.head.end_lsn;
	return true;
}

/* Frames that a server's plugin really sent: all of them are understood, and say what they should. */
static void
golden_frames_are_understood(void **state)
{
	static const char *const names[] = {
		"v1-insert",		"v1-update-full", "v1-update-default",	"v1-key-change",		 "v1-delete",
		"v1-composite-key", "v1-types-1",	  "v1-types-2",			"v1-jsonb-without-keys", "v1-oversized",
		"v1-keyless",		"v1-truncate",	  "v1-publication-lost"};
	World *world = world_create(10000);

	t_watch(world, OP_INSERT, "public.item", "att");
	t_watch(world, OP_INSERT, "public.keyless", NULL);
	t_watch(world, OP_INSERT, "public.pair", NULL);
	t_watch(world, OP_INSERT, "public.typed", NULL);
	t_commit(world);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		KeptUnit *kept = world_unit(world, UNIT_TXN);
		const char *text;

		if (!add_golden_frame(kept, names[i]))
			fail_msg("no golden frame %s", names[i]);
		world_play(world, kept);
		text = world_text(world);
		assert_null(strstr(text, "undecodable"));
		if (strcmp(names[i], "v1-key-change") == 0)
			assert_true(strstr(text, "delete") != NULL && strstr(text, "2.0 change") != NULL);
		else if (strcmp(names[i], "v1-keyless") == 0)
			assert_non_null(strstr(text, "no key"));
	}
	world_free(world);
}

/* FULL brings the old image, so the plugin says what changed; DEFAULT leaves that to the store. */
static void
both_replica_identities_tell_the_same(void **state)
{
	World *worlds[2] = {ranked_world(BY_PRICE), ranked_world(BY_PRICE)};
	char text[2][512];

	for (int w = 0; w < 2; w++)
	{
		t_insert(worlds[w], "id=1 price=5 title='a' att.a=1 att.b=2 att.c=3");
		t_update(worlds[w], w == 0 ? "id=1 price=5 title='b' att.a=1 att.c=4 att.d=5"
								   : "id=1 price=5- title='b'+ att.a=1- att.b=X+ att.c=4+ att.d=5+");
		t_update(worlds[w], w == 0 ? "id=1 price=6 title=~ att={}"
								   : "id=1 price=6+ title='b'- att={}+ att.a=X+ att.c=X+ att.d=X+");
		t_update(worlds[w], w == 0 ? "id=1 price=6 title=~ att.q=1" : "id=1 price=6- title='b'- att.q=1+");
		t_commit(worlds[w]);
		snprintf(text[w], sizeof(text[w]), "%s", world_text(worlds[w]));
	}
	assert_string_equal(text[0], text[1]);
	assert_non_null(strstr(text[0], "2.0 change 3 (1) update 1=5 2='b'* 3.a=1 3.c=4* 3.d=5* -3.b\n"));
	world_free(worlds[0]);
	world_free(worlds[1]);
}

static void
keys_of_any_shape_survive_forced_collisions(void **state)
{
	static const char *const pair_columns[] = {"*shop:i", "*sku:t", "price:i", NULL};
	World *world = world_create(10000);
	Table pair = table_make(300, "public", "pair", pair_columns);
	char text[128];

	world_remove(world);
	world->hash_mask = 3;
	world_store(world);
	t_watch(world, OP_INSERT, "public.pair", NULL);
	t_ranking(world, OP_INSERT, "home", "public.pair", BY_PRICE, true, 1);
	for (int i = 0; i < 50; i++)
	{
		snprintf(text, sizeof(text), "shop=%d sku='s%d' price=%d", i % 3, i, i + 1);
		t_change_full(world, &pair, OP_INSERT, text, NULL, 0);
	}
	t_commit(world);
	world_hide(world);
	t_change_full(world, &pair, OP_UPDATE, "shop=1 sku='s49' price=7", NULL, 0);
	t_change_full(world, &pair, OP_DELETE, "shop=0 sku='s48'", NULL, 0);
	t_commit(world);
	assert_shown(world, "1.0 change 3 (1's49') update 2=7*\n1.1 score 3 (1's49') 7 v1\n"
						"2.0 change 3 (0's48') delete\n2.1 remove 3 (0's48')\n");
	t_ranking(world, OP_UPDATE, "home", "public.pair", "term p weight 2 price missing skip", true, 2);
	t_commit(world);
	u_rescore_all(world, 9);
	assert_int_equal(count_lines(world_text(world), "v2"), 49);
	buffer_free(&pair.body);
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_of_a_table_nobody_watches_only_count),
		cmocka_unit_test(insert_update_delete_tell_change_and_score),
		cmocka_unit_test(unchanged_toast_is_completed_from_the_store),
		cmocka_unit_test(without_a_stored_image_the_plugins_word_counts),
		cmocka_unit_test(key_change_removes_the_old_and_keeps_what_it_does_not_carry),
		cmocka_unit_test(items_that_swap_keys_directly_both_survive),
		cmocka_unit_test(swap_with_an_item_that_waits_loses_neither),
		cmocka_unit_test(truncate_ends_the_wait_for_a_key),
		cmocka_unit_test(truncate_removes_all_once_per_ranking),
		cmocka_unit_test(an_incomplete_item_is_quarantined_and_completed_later),
		cmocka_unit_test(defects_are_told_once_and_lose_nothing),
		cmocka_unit_test(a_score_that_cannot_be_computed_leaves_the_ranking),
		cmocka_unit_test(malformed_bytes_become_a_gap_and_what_precedes_them_stays),
		cmocka_unit_test(empty_units_move_the_position_only),
		cmocka_unit_test(every_exit_is_told_exactly_once_even_after_a_restart),
		cmocka_unit_test(an_edited_ranking_rescores_in_chunks_and_tells_differences_only),
		cmocka_unit_test(a_library_that_is_edited_rescores_the_rankings_that_use_it),
		cmocka_unit_test(a_library_that_was_not_taken_is_forgotten),
		cmocka_unit_test(a_ranking_waits_for_its_library),
		cmocka_unit_test(a_move_below_min_change_is_not_told),
		cmocka_unit_test(time_alone_moves_a_score),
		cmocka_unit_test(a_rescoring_can_be_given_up_and_asked_for),
		cmocka_unit_test(live_changes_between_chunks_are_not_scored_twice),
		cmocka_unit_test(a_definition_that_does_not_work_leaves_the_old_one_in_force),
		cmocka_unit_test(a_ranking_waits_until_its_table_is_watched_and_known),
		cmocka_unit_test(numbers_of_rankings_are_never_used_again),
		cmocka_unit_test(another_map_binds_and_scores_anew),
		cmocka_unit_test(another_engine_rescores_every_ranking),
		cmocka_unit_test(an_altered_table_keeps_what_its_changes_do_not_carry),
		cmocka_unit_test(a_table_made_again_starts_from_nothing),
		cmocka_unit_test(the_dictionary_tells_what_the_records_so_far_announced),
		cmocka_unit_test(an_unchanged_table_read_again_tells_nothing),
		cmocka_unit_test(config_tables_are_backfilled_like_any_other),
		cmocka_unit_test(name_of_a_table_is_quoted_where_the_server_wants_it),
		cmocka_unit_test(rows_and_live_changes_meet_in_every_order),
		cmocka_unit_test(all_24_orders_of_insert_update_delete_and_row),
		cmocka_unit_test(a_row_fills_only_what_live_changes_left_open),
		cmocka_unit_test(what_committed_at_the_point_itself_is_later),
		cmocka_unit_test(a_key_change_that_leaves_unknowns_has_the_table_read_again),
		cmocka_unit_test(in_a_table_read_again_an_item_keeps_what_it_has_through_two_keys),
		cmocka_unit_test(a_large_transaction_comes_in_pieces),
		cmocka_unit_test(exactly_one_full_piece_is_the_whole_unit),
		cmocka_unit_test(the_same_units_give_the_same_bytes_whatever_happens),
		cmocka_unit_test(damaged_units_never_stop_the_scorer),
		cmocka_unit_test(golden_frames_are_understood),
		cmocka_unit_test(both_replica_identities_tell_the_same),
		cmocka_unit_test(keys_of_any_shape_survive_forced_collisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
