/*
 * test_rescore_crash.c -- edits of rules, and the process killed at every step of what they begin.
 *
 * A script of edits, chunks and live changes is played; then again for every pair of steps, killed before the one with the
 * store as it was after the other, with the last chunk appended once more or not (a kill hides from the daemon whether it
 * was).  What readers were given must be the same each time, and right.
 */
#include "score_world.h"

#include "score/item.h"
#include "score/step.h"

#define ITEMS 10
#define LIMIT 3 /* items of a chunk */

/* ---- the script ------------------------------------------------------------------------------ */

static void
edit(World *world, const char *definition, int version)
{
	t_ranking(world, OP_UPDATE, "home", "public.item", definition, true, version);
	t_commit(world);
}

static void
twice(World *world)
{
	edit(world, "term p weight 2 price", 2);
}

static void
thrice(World *world)
{
	edit(world, "term p weight 3 price", 3);
}

/* As a walrank of another version would have let it through. */
static void
broken(World *world)
{
	edit(world, "term p weight", 4);
}

/* Mended, and the same scores: nothing is to be told, but every item has to be asked. */
static void
mended(World *world)
{
	edit(world, "term p weight 3 price missing 0", 5);
}

/* What the daemon appends when it is asked to; what is not asked for is no unit. */
static void
chunk(World *world)
{
	ScorerWants wants;

	scorer_wants(world->scorer, &wants);
	if (wants.rescore.job != 0)
		u_rescore(world, wants.rescore.job, wants.rescore.chunk, LIMIT);
}

static void
all_chunks(World *world)
{
	u_rescore_all(world, LIMIT);
}

static void
cancel(World *world)
{
	u_text(world, UNIT_RESCORE, RESCORE_CANCEL "public.item");
}

static void
start(World *world)
{
	u_text(world, UNIT_RESCORE, RESCORE_START "public.item");
}

static void
change(World *world, const char *item)
{
	t_update(world, item);
	t_commit(world);
}

static void
change_last(World *world)
{
	change(world, "id=10 price=1010 title='a' att={}");
}

static void
change_first(World *world)
{
	change(world, "id=1 price=1001 title='a' att={}");
}

static void
change_all_alike(World *world)
{
	for (int id = 2; id <= 4; id++)
	{
		char text[80];

		snprintf(text, sizeof(text), "id=%d price=%d title='b' att={}", id, id); /* no score moves */
		t_update(world, text);
	}
	t_commit(world);
}

static void
come_and_go(World *world)
{
	t_insert(world, "id=11 price=11 title='a' att={}");
	t_delete(world, "id=5");
	t_commit(world);
}

typedef void (*Step)(World *world);

static const Step script[] = {
	twice,	chunk, change_last, chunk,	change_first, come_and_go, chunk,
	thrice, chunk, broken,		chunk,	cancel,		  chunk,	   change_all_alike,
	start,	chunk, chunk,		mended, chunk,		  all_chunks,
};
#define STEPS ((int) (sizeof(script) / sizeof(script[0])))

/* Items 1 to 10, whose prices are their ids. */
static World *
begin(void)
{
	World *world = world_create(10000);

	t_watch(world, OP_INSERT, "public.item", "att");
	t_ranking(world, OP_INSERT, "home", "public.item", "term p weight 1 price", true, 1);
	t_commit(world);
	for (int id = 1; id <= ITEMS; id++)
	{
		char text[80];

		snprintf(text, sizeof(text), "id=%d price=%d title='a' att={}", id, id);
		t_insert(world, text);
	}
	t_commit(world);
	world_hide(world);
	return world;
}

/* ---- what was told --------------------------------------------------------------------------- */

#define TOLD_MAX 16

typedef struct Told
{
	double score[TOLD_MAX];
	uint32_t version[TOLD_MAX];
	int n;
	bool gone; /* in the end */
} Told;

static int
id_of(Slice key)
{
	Buffer text = {0};
	int id;

	show_key(&text, key);
	buffer_append_byte(&text, '\0');
	assert_int_equal(sscanf((const char *) text.data, " (%d)", &id), 1);
	buffer_free(&text);
	return id;
}

static void
take_entry(const RecordEntry *entry, Told told[ITEMS + 2])
{
	Told *item;

	if (entry->kind != RECORD_SCORE && entry->kind != RECORD_REMOVE)
		return;
	item = &told[id_of(entry->key)];
	item->gone = entry->kind == RECORD_REMOVE;
	if (entry->kind == RECORD_REMOVE)
		return;
	assert_true(item->n < TOLD_MAX);
	item->score[item->n] = entry->score.score;
	item->version[item->n++] = entry->score.version;
}

static void
collect(const World *world, Told told[ITEMS + 2])
{
	memset(told, 0, (ITEMS + 2) * sizeof(*told));
	for (size_t at = 0; at < world->feed.len;)
	{
		RecordReader reader;
		RecordEntry entry;
		Error err = {0};
		uint64_t len;
		bool done = false;

		memcpy(&len, world->feed.data + at, 8);
		must(record_open(slice_make(world->feed.data + at + 8, len), &reader, &err), &err);
		while (record_next(&reader, &entry, &done, &err) && !done)
			take_entry(&entry, told);
		assert_true(done);
		at += 8 + len;
	}
}

/* The store says of every item that it was evaluated under the present revision. */
static int
count_evaluated(World *world)
{
	const Ranking *ranking = rankings_by_name(&world->scorer->rankings, slice_string("home"));
	StoreCursor cursor = {0};
	EmittedList list = {0};
	Error err = {0};
	int n = 0;

	for (;;)
	{
		Slice key;
		Slice value;
		Item item;
		bool end;

		must(store_item_next(world->store, ranking->relation->number, &cursor, &key, &value, &end, &err),
			 &err);
		if (end)
			break;
		assert_true(item_open(value, &item) && item_emitted(&item, &list));
		assert_int_equal(list.count, 1);
		assert_int_equal(list.list[0].revision, ranking->revision);
		n++;
	}
	free(list.list);
	return n;
}

static double
price_of(int id)
{
	return id == 1 ? 1001 : id == 10 ? 1010 : id;
}

static void
check_end(World *world)
{
	Told told[ITEMS + 2];
	ScorerWants wants;

	scorer_wants(world->scorer, &wants);
	assert_int_equal(wants.rescore.job, 0);
	assert_string_equal(wants.broken, "");
	collect(world, told);
	for (int id = 1; id <= ITEMS + 1; id++)
	{
		const Told *item = &told[id];
		int newest = 0;

		assert_true(item->n > 0);
		assert_int_equal(item->gone, id == 5);
		for (int i = 1; i < item->n; i++)
			assert_true(item->score[i] != item->score[i - 1]);
		for (int i = 0; i < item->n; i++)
			newest += item->version[i] >= 3;
		if (id == 5)
			continue;
		/* what moved with the last edit that moves scores was told once, with it */
		assert_int_equal(newest, 1);
		assert_true(item->version[item->n - 1] >= 3);
		assert_true(item->score[item->n - 1] == 3 * price_of(id));
	}
	assert_int_equal(count_evaluated(world), ITEMS);
}

/* ---- kills ------------------------------------------------------------------------------------ */

/* The store falls back to its last commit, the feed is cut to it, units come again. */
static void
kill_and_replay(World *world, size_t committed_feed)
{
	world->feed.len = committed_feed;
	world_reopen(world);
	for (int i = (int) store_position(world->store).seq; i < world->nunits; i++)
		world_play(world, &world->units[i]);
}

/* The last unit once more, if it was a chunk of a job: it says nothing. */
static void
append_again(World *world)
{
	const Unit last = world->units[world->nunits - 1].unit;

	if (last.kind != UNIT_RESCORE || last.id == 0)
		return;
	world_hide(world);
	u_rescore(world, last.id, last.chunk, last.limit);
	assert_shown(world, "");
}

/* All that readers are given by the script, as text. */
static char *
play(int commit_after, int kill_before, bool again)
{
	World *world = begin();
	size_t committed_feed;
	const size_t begun = world->feed.len;
	char *text;

	world_commit(world);
	committed_feed = world->feed.len;
	for (int i = 0; i < STEPS; i++)
	{
		if (i == kill_before)
		{
			kill_and_replay(world, committed_feed);
			if (again)
				append_again(world);
		}
		script[i](world);
		if (i == commit_after)
		{
			world_commit(world);
			committed_feed = world->feed.len;
		}
	}
	check_end(world);
	world->shown = begun;
	text = strdup(world_text(world));
	world_free(world);
	return text;
}

static void
a_kill_at_any_step_changes_nothing_that_is_told(void **state)
{
	char *expected = play(-1, -1, false);
	int kills = 0;

	assert_non_null(strstr(expected, "quarantine"));
	for (int kill_before = 1; kill_before < STEPS; kill_before++)
		for (int commit_after = -1; commit_after < kill_before; commit_after++)
			for (int again = 0; again < 2; again++)
			{
				char *told = play(commit_after, kill_before, again != 0);

				if (strcmp(told, expected) != 0)
					fail_msg("killed before step %d, store of step %d, again %d:\n%s\nexpected:\n%s",
							 kill_before, commit_after, again, told, expected);
				free(told);
				kills++;
			}
	print_message("%d kills\n", kills);
	free(expected);
}

/* ---- a definition that does not compile here ----------------------------------------------------- */

static void
assert_broken(World *world, const char *list)
{
	ScorerWants wants;

	scorer_wants(world->scorer, &wants);
	assert_string_equal(wants.broken, list);
	assert_int_equal(wants.rescore.job, 0);
}

static void
what_does_not_compile_is_told_and_the_old_one_stays(void **state)
{
	World *world = begin();

	twice(world);
	all_chunks(world);
	world_hide(world);
	broken(world);
	assert_non_null(strstr(world_text(world), "quarantine"));
	assert_broken(world, "home");
	world_commit(world);
	world_reopen(world); /* also after a restart */
	assert_broken(world, "home");
	change_first(world);
	assert_shown(world, "1.0 change 3 (1) update 1=1001* 2='a' 3={}\n1.1 score 3 (1) 2002 v2\n");
	start(world);
	all_chunks(world);
	assert_shown(world, ""); /* all of it anew, by the old one */
	mended(world);
	all_chunks(world);
	assert_broken(world, "");
	world_free(world);
}

/* ---- the daemon's part ----------------------------------------------------------------------------- */

/* Chunks are appended ahead: those of a job that was replaced meanwhile are nobody's. */
static void
chunks_of_a_replaced_job_do_nothing(void **state)
{
	World *world = begin();
	ScorerWants wants;
	uint64_t old;

	twice(world);
	scorer_wants(world->scorer, &wants);
	old = wants.rescore.job;
	u_rescore(world, old, 0, LIMIT);
	thrice(world);
	world_hide(world);
	for (uint32_t n = 1; n < 4; n++)
		u_rescore(world, old, n, LIMIT);
	assert_shown(world, "");
	scorer_wants(world->scorer, &wants);
	assert_true(wants.rescore.job > old && wants.rescore.chunk == 0);
	cancel(world);
	scorer_wants(world->scorer, &wants);
	assert_int_equal(wants.rescore.job, 0);
	u_rescore(world, old + 1, 0, LIMIT); /* neither are those of one that was cancelled */
	assert_shown(world, "");
	start(world);
	scorer_wants(world->scorer, &wants);
	assert_true(wants.rescore.job > old + 1);
	all_chunks(world);
	assert_int_equal(count_evaluated(world), ITEMS);
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kill_at_any_step_changes_nothing_that_is_told),
		cmocka_unit_test(what_does_not_compile_is_told_and_the_old_one_stays),
		cmocka_unit_test(chunks_of_a_replaced_job_do_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
