/*
 * test_memory.c -- what attributes were before they changed, as rankings ask for it.
 */
#include "score_world.h"

static World *
asking_world(const char *definition)
{
	World *world = world_create(10000);

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", definition, true, 1);
	t_commit(world);
	t_insert(world, "id=1 price=10 title='a' att.views=[5,'2026-01-01 00:00:00']");
	t_commit(world);
	world_hide(world);
	return world;
}

static void
update(World *world, const char *text)
{
	t_update(world, text);
	t_commit(world);
}

/* The last score that was told; "" when none was. */
static const char *
told(World *world)
{
	static char score[64];
	const char *text = world_text(world);
	const char *line = strstr(text, " score ");

	score[0] = '\0';
	if (line != NULL)
		sscanf(line, " score 3 (1) %63s", score);
	return score;
}

static void
old_and_delta_keep_until_the_attribute_changes_again(void **state)
{
	World *world = asking_world("term d weight 1 delta(price) missing -1");

	update(world, "id=1 price=14 title=~ att=~");
	assert_string_equal(told(world), "4");
	/* another attribute: what price was is still known */
	update(world, "id=1 price=14 title='b' att=~");
	assert_string_equal(told(world), "");
	world_commit(world);
	world_reopen(world);
	t_ranking(world, OP_UPDATE, "home", "public.item", "term d weight 1 old(price) missing -1", true, 2);
	t_commit(world);
	u_rescore_all(world, 10);
	assert_string_equal(told(world), "10");
	update(world, "id=1 price=15 title=~ att=~");
	assert_string_equal(told(world), "14");
	world_free(world);
}

static void
changed_is_about_the_last_change_alone(void **state)
{
	World *world =
		asking_world("term one weight 1 1\nboost 10 when changed(price)\nboost 100 when changed(title)");

	assert_string_equal(told(world), "");
	update(world, "id=1 price=11 title=~ att=~");
	assert_string_equal(told(world), "11");
	update(world, "id=1 price=11 title='x' att=~");
	assert_string_equal(told(world), "101");
	/* no change at all is no change */
	update(world, "id=1 price=11 title='x' att=~");
	assert_string_equal(told(world), "");
	update(world, "id=1 price=12 title='y' att=~");
	assert_string_equal(told(world), "111");
	update(world, "id=1 price=12 title='y' att.views=[6,'2026-01-02 00:00:00']");
	assert_string_equal(told(world), "1");
	world_free(world);
}

static void
last_known_is_what_a_removed_attribute_was(void **state)
{
	World *world = asking_world("term v weight 1 views missing last known");

	update(world, "id=1 price=10 title='a' att.views=[7,'2026-01-01 00:00:10']");
	assert_string_equal(told(world), "7");
	update(world, "id=1 price=10 title='a' att={}");
	assert_string_equal(told(world), "");
	update(world, "id=1 price=11 title='a' att={}");
	assert_string_equal(told(world), "");
	update(world, "id=1 price=11 title='a' att.views=[9,'2026-01-01 00:00:20']");
	assert_string_equal(told(world), "9");
	world_free(world);
}

/* Ten more in twenty seconds are thirty a minute. */
static void
a_rate_is_over_the_values_own_times(void **state)
{
	World *world = asking_world("term r weight 1 rate(views, 1min) missing -1");

	update(world, "id=1 price=10 title='a' att.views=[15,'2026-01-01 00:00:20']");
	assert_string_equal(told(world), "30");
	world_free(world);
}

/* An insert, and a new key, begin without a memory. */
static void
a_new_item_remembers_nothing(void **state)
{
	World *world = asking_world("term d weight 1 delta(price) missing -1");

	update(world, "id=1 price=14 title=~ att=~");
	world_hide(world);
	t_key_change(world, "id=1", "id=2 price=15 title=~ att=~");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "score 3 (2) -1 v1"));
	t_delete(world, "id=2");
	t_insert(world, "id=1 price=3 title='a' att={}");
	t_commit(world);
	assert_non_null(strstr(world_text(world), "score 3 (1) -1 v1"));
	world_free(world);
}

static void
nothing_is_kept_that_nobody_asks_for(void **state)
{
	World *world = asking_world("term p weight 1 price missing skip");

	update(world, "id=1 price=14 title=~ att=~");
	world_hide(world);
	t_ranking(world, OP_UPDATE, "home", "public.item", "term d weight 1 old(price) missing -1", true, 2);
	t_commit(world);
	u_rescore_all(world, 10);
	assert_string_equal(told(world), "-1");
	update(world, "id=1 price=15 title=~ att=~");
	assert_string_equal(told(world), "14");
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_and_delta_keep_until_the_attribute_changes_again),
		cmocka_unit_test(changed_is_about_the_last_change_alone),
		cmocka_unit_test(last_known_is_what_a_removed_attribute_was),
		cmocka_unit_test(a_rate_is_over_the_values_own_times),
		cmocka_unit_test(a_new_item_remembers_nothing),
		cmocka_unit_test(nothing_is_kept_that_nobody_asks_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
