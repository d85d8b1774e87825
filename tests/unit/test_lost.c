/*
 * test_lost.c -- a lost publication is told and leaves its tables in doubt, across kills, until they are read again.
 */
#include "score_world.h"

#define BY_PRICE "term p weight 1 price missing skip"

static void
read_again(World *world, const Table *table, const char *const *rows)
{
	u_backfill(world, table, BACKFILL_BEGIN, 0);
	u_rows(world, table, world->lsn + 1, rows);
	u_backfill(world, table, BACKFILL_END, 0);
}

static World *
filled_world(void)
{
	static const char *const items[] = {"id=1 price=5 title='a' att={}", "id=2 price=6 title='b' att={}",
										"id=3 price=7 title='c' att={}", NULL};
	static const char *const watched[] = {"relation='public.item' map=null since=1", NULL};
	static const char *const rankings[] = {
		"name='r' relation='public.item' definition='" BY_PRICE "' enabled=true version=1", NULL};
	World *world = world_create(1000);

	read_again(world, &world->watched, watched);
	read_again(world, &world->ranking, rankings);
	read_again(world, &world->item, items);
	world_hide(world);
	return world;
}

static void
lose(World *world, const char *name)
{
	Buffer entry = {0};

	w_bytes(&entry, ENTRY_PUBLICATION_LOST, slice_string(name));
	t_entry(world, buffer_slice(&entry));
	t_commit(world);
	buffer_free(&entry);
}

static int
in_doubt(World *world)
{
	ScorerTable tables[8];
	int n = scorer_tables(world->scorer, tables, 8);
	int lost = 0;

	for (int i = 0; i < n; i++)
		lost += tables[i].lost;
	return lost;
}

static ScorerGap
wanted(World *world)
{
	ScorerWants wants;

	scorer_wants(world->scorer, &wants);
	return wants.gap;
}

static void
tell(World *world, uint64_t id, const char *text)
{
	KeptUnit *kept = world_unit(world, UNIT_GAP);

	kept->unit.id = id;
	add_part(kept, PART_DETAIL, slice_string(text));
	world_play(world, kept);
}

static void
kill_and_reopen(World *world)
{
	world_commit(world);
	world_reopen(world);
}

static void
the_gap_is_wanted_until_it_is_told_whatever_is_killed(void **state)
{
	World *world = filled_world();
	ScorerGap first;

	assert_int_equal(wanted(world).seq, 0);
	lose(world, "walrank");
	kill_and_reopen(world);
	first = wanted(world);
	assert_int_equal(first.seq, world->nunits);
	assert_int_equal(first.point, world->lsn);
	assert_string_equal(first.text, "walrank");
	/* a gap of other making, or one appended before the last loss, leaves it wanted */
	tell(world, 0, "by hand");
	lose(world, "other");
	tell(world, first.seq, "walrank");
	kill_and_reopen(world);
	assert_string_equal(wanted(world).text, "walrank, other");
	tell(world, wanted(world).seq, "walrank, other");
	kill_and_reopen(world);
	assert_int_equal(wanted(world).seq, 0);
	assert_int_equal(in_doubt(world), 3);
	world_free(world);
}

static void
tables_are_in_doubt_until_a_reading_begun_later_has_ended(void **state)
{
	static const char *const items[] = {"id=1 price=5 title='a' att={}", "id=2 price=6 title='b' att={}",
										"id=3 price=7 title='c' att={}", NULL};
	static const char *const watched[] = {"relation='public.item' map=null since=1", NULL};
	World *world = filled_world();

	assert_int_equal(in_doubt(world), 0);
	/* lost while the table is read: that reading began too early */
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	lose(world, "walrank");
	u_backfill(world, &world->item, BACKFILL_END, 0);
	kill_and_reopen(world);
	assert_int_equal(in_doubt(world), 3);
	/* begun later, but given up */
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_backfill(world, &world->item, BACKFILL_ABORT, 0);
	kill_and_reopen(world);
	assert_int_equal(in_doubt(world), 3);
	read_again(world, &world->item, items);
	assert_int_equal(in_doubt(world), 2);
	read_again(world, &world->watched, watched);
	kill_and_reopen(world);
	assert_int_equal(in_doubt(world), 1);
	world_free(world);
}

static void
a_gap_that_nobody_asked_for_puts_its_tables_in_doubt(void **state)
{
	static const char *const items[] = {"id=1 price=5 title='a' att={}", "id=2 price=6 title='b' att={}",
										NULL};
	World *world = filled_world();
	char text[200];
	ScorerTable tables[8];
	int n;

	/* the tables it names */
	snprintf(text, sizeof(text), "newly published\ntable 4000000000 public.other\ntable %u public.item\n",
			 world->item.oid);
	tell(world, 0, text);
	kill_and_reopen(world);
	assert_int_equal(in_doubt(world), 1);
	n = scorer_tables(world->scorer, tables, 8);
	for (int i = 0; i < n; i++)
		assert_int_equal(tables[i].lost, strcmp(tables[i].relation, "public.item") == 0);
	assert_int_equal(wanted(world).seq, 0);
	/* of a table that is not stored nothing is in doubt */
	tell(world, 0, "newly published\ntable 4000000000 public.other");
	assert_int_equal(in_doubt(world), 1);
	/* all, when it names none */
	tell(world, 0, "skipped by hand: 0/1 to 0/2");
	kill_and_reopen(world);
	assert_int_equal(in_doubt(world), 3);
	/* what was skipped: item 3 has gone */
	read_again(world, &world->item, items);
	kill_and_reopen(world);
	assert_int_equal(in_doubt(world), 2);
	world_free(world);
}

static void
items_that_went_in_the_gap_are_removed_at_its_end(void **state)
{
	static const char *const items[] = {"id=1 price=5 title='a' att={}", NULL};
	World *world = filled_world();

	/* a touch from before the loss must not keep its item */
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	t_update(world, "id=3 price=8 title='c' att={}");
	t_commit(world);
	lose(world, "walrank");
	world_hide(world);
	/* row 1 is there, 2 only comes live, 3 has gone unseen; 4 is inserted while the table is read */
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	u_rows(world, &world->item, world->lsn + 1, items);
	kill_and_reopen(world);
	t_update(world, "id=2 price=6 title='b' att={}");
	t_insert(world, "id=4 price=9 title='d' att={}");
	t_commit(world);
	world_hide(world);
	u_backfill(world, &world->item, BACKFILL_END, 0);
	assert_shown(world, "1.0 change 3 (3) delete\n1.1 remove 3 (3)\n");
	assert_int_equal(in_doubt(world), 2);
	world_free(world);
}

static void
a_ranking_row_that_went_in_the_gap_ends_its_ranking(void **state)
{
	static const char *const none[] = {NULL};
	World *world = filled_world();

	lose(world, "walrank_config");
	world_hide(world);
	read_again(world, &world->ranking, none);
	assert_shown(world, "1.1 remove 3 ()\n");
	assert_int_equal(in_doubt(world), 2);
	world_free(world);
}

/* Whatever it was that hid it from us: also where nothing is known to be lost. */
static void
any_reading_removes_what_it_did_not_find(void **state)
{
	static const char *const items[] = {"id=1 price=5 title='a' att={}", NULL};
	World *world = filled_world();

	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	t_update(world, "id=3 price=7 title='c' att={}");
	t_commit(world);
	u_rows(world, &world->item, world->lsn + 1, items);
	world_hide(world);
	kill_and_reopen(world);
	u_backfill(world, &world->item, BACKFILL_END, 0);
	assert_shown(world, "1.0 change 3 (2) delete\n1.1 remove 3 (2)\n");
	/* and each of its ranges counts, the first as well as the last */
	u_chunk(world, &world->item, BACKFILL_BEGIN, 0, false, 0, NULL);
	u_rows(world, &world->item, world->lsn + 1, items);
	u_chunk(world, &world->item, BACKFILL_END, 0, false, 0, "one");
	kill_and_reopen(world);
	u_chunk(world, &world->item, BACKFILL_BEGIN, 1, false, 0, "one");
	assert_shown(world, "");
	u_chunk(world, &world->item, BACKFILL_END, 1, true, 0, "end");
	assert_shown(world, "1.0 change 3 (3) delete\n1.1 remove 3 (3)\n");
	world_free(world);
}

/* A loss in the middle: ranges read before it prove nothing, so nothing is removed and the doubt stays. */
static void
a_loss_between_two_ranges_leaves_the_table_in_doubt(void **state)
{
	static const char *const items[] = {"id=1 price=5 title='a' att={}", NULL};
	World *world = filled_world();
	ScorerFill fill = {0};
	Error err = {0};

	u_chunk(world, &world->item, BACKFILL_BEGIN, 0, false, 0, NULL);
	u_rows(world, &world->item, world->lsn + 1, items);
	u_chunk(world, &world->item, BACKFILL_END, 0, false, 0, "one");
	lose(world, "walrank");
	must(scorer_fill(world->scorer, world->item.oid, 10, &fill, &err), &err);
	assert_int_equal(fill.id, 0);
	world_hide(world);
	/* whoever reads did not know of it yet */
	u_chunk(world, &world->item, BACKFILL_BEGIN, 1, false, 0, "one");
	u_chunk(world, &world->item, BACKFILL_END, 1, true, 0, "end");
	assert_shown(world, "");
	assert_int_equal(in_doubt(world), 3);
	scorer_fill_free(&fill);
	world_free(world);
}

static int
removals(World *world)
{
	int n = 0;

	for (const char *at = world_text(world); (at = strstr(at, "delete")) != NULL; at++)
		n++;
	return n;
}

/* 40 items, of which the reading finds the even ones; pieces of 8: END and four more units. */
static void
a_large_table_is_cleared_by_a_job_in_pieces_and_live_changes_go_on_naming(void **state)
{
	World *world = world_create(8);
	char text[64];
	ScorerTable tables[8];
	ScorerWants wants;
	int removed;
	int chunks = 0;

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "r", "public.item", BY_PRICE, true, 1);
	for (int i = 0; i < 40; i++)
	{
		snprintf(text, sizeof(text), "id=%d price=5 title='a' att={}", i);
		t_insert(world, text);
	}
	t_commit(world);
	u_backfill(world, &world->item, BACKFILL_BEGIN, 0);
	for (int i = 0; i < 40; i += 2)
	{
		snprintf(text, sizeof(text), "id=%d price=5 title='a' att={}", i);
		u_row(world, world->lsn + 1, text);
	}
	world_hide(world);
	u_backfill(world, &world->item, BACKFILL_END, 0);
	removed = removals(world);
	assert_in_range(removed, 1, 8);
	/* one that comes now is no item of before */
	for (int i = 100; i < 140; i++)
	{
		snprintf(text, sizeof(text), "id=%d price=5 title='a' att={}", i);
		t_insert(world, text);
	}
	t_update(world, "id=200 price=~ title=~ att={}");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "quarantine (200)"));
	world_hide(world);
	for (;; chunks++)
	{
		kill_and_reopen(world);
		scorer_tables(world->scorer, tables, 8);
		scorer_wants(world->scorer, &wants);
		assert_int_equal(tables[SCORER_CONFIG_TABLES].clearing, wants.rescore.job != 0);
		if (wants.rescore.job == 0)
			break;
		u_rescore(world, wants.rescore.job, wants.rescore.chunk, 8);
		/* the same once more does nothing */
		u_rescore(world, wants.rescore.job, wants.rescore.chunk, 8);
		removed += removals(world);
		world_hide(world);
	}
	assert_in_range(chunks, 4, 12);
	assert_int_equal(removed, 20);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].items, 61);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].state, 2);
	/* nothing is left of it */
	t_update(world, "id=0 price=6 title='a' att={}");
	t_commit(world);
	world_free(world);
}

/* Of a table that is but its key: nothing to tell an item by, and yet it is the one that was put aside. */
static void
two_items_that_change_places_while_a_job_clears_are_both_there(void **state)
{
	static const char *const columns[] = {"*id:i", NULL};
	World *world = world_create(8);
	Table tag = table_make(101, "public", "tag", columns);
	char text[64];
	ScorerTable tables[8];
	ScorerWants wants;

	t_watch(world, OP_INSERT, "public.tag", "");
	for (int i = 0; i < 40; i++)
	{
		snprintf(text, sizeof(text), "id=%d", i);
		t_change_full(world, &tag, OP_INSERT, text, NULL, 0);
	}
	t_commit(world);
	u_backfill(world, &tag, BACKFILL_BEGIN, 0);
	u_backfill(world, &tag, BACKFILL_END, 0);
	scorer_wants(world->scorer, &wants);
	assert_true(wants.rescore.job != 0);
	t_change_full(world, &tag, OP_UPDATE, "id=31", "id=30", 0);
	t_change_full(world, &tag, OP_UPDATE, "id=30", "id=31", 0);
	t_commit(world);
	for (; wants.rescore.job != 0; scorer_wants(world->scorer, &wants))
		u_rescore(world, wants.rescore.job, wants.rescore.chunk, 8);
	assert_int_equal(scorer_tables(world->scorer, tables, 8), SCORER_CONFIG_TABLES + 1);
	assert_int_equal(tables[SCORER_CONFIG_TABLES].items, 2);
	buffer_free(&tag.body);
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_gap_is_wanted_until_it_is_told_whatever_is_killed),
		cmocka_unit_test(tables_are_in_doubt_until_a_reading_begun_later_has_ended),
		cmocka_unit_test(a_gap_that_nobody_asked_for_puts_its_tables_in_doubt),
		cmocka_unit_test(items_that_went_in_the_gap_are_removed_at_its_end),
		cmocka_unit_test(a_ranking_row_that_went_in_the_gap_ends_its_ranking),
		cmocka_unit_test(any_reading_removes_what_it_did_not_find),
		cmocka_unit_test(a_loss_between_two_ranges_leaves_the_table_in_doubt),
		cmocka_unit_test(a_large_table_is_cleared_by_a_job_in_pieces_and_live_changes_go_on_naming),
		cmocka_unit_test(two_items_that_change_places_while_a_job_clears_are_both_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
