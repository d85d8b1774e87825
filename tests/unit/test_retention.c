/*
 * test_retention.c -- what may go, what must stay, and who gives way when there is no room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/retention.h"

#define FOR_EVER UINT64_MAX

#define SEGMENT(after, size)                                                                                 \
	{                                                                                                        \
		.before = {.seq = (after)}, .bytes = (size)                                                          \
	}

/* Eight segments of 100 units and 1000 bytes each: units 1..800, the last segment open. */
static const SegInfo eight[] = {SEGMENT(0, 1000),	SEGMENT(100, 1000), SEGMENT(200, 1000),
								SEGMENT(300, 1000), SEGMENT(400, 1000), SEGMENT(500, 1000),
								SEGMENT(600, 1000), SEGMENT(700, 1000)};

static RetentionInput
input(void)
{
	static const RetentionSink sinks[] = {{.seq = 790}, {.seq = 795}};
	RetentionLog log = {.segments = eight, .n = 8, .aged = FOR_EVER};

	return (RetentionInput){.journal = log,
							.feed = log,
							.store_seq = 800,
							.snapshot_oldest = 450,
							.snapshot_newest = 650,
							.snapshots = 2,
							.sinks = sinks,
							.nsinks = 2};
}

static void
nothing_goes_past_the_oldest_snapshot(void **state)
{
	RetentionInput in = input();
	RetentionPlan plan = retention_decide(&in);

	assert_int_equal(plan.journal_below, 451);
	assert_int_equal(plan.feed_below, 451);
	assert_false(plan.want_snapshot || plan.newest_only);
	assert_int_equal(plan.give_up, -1);

	in.snapshot_oldest = in.snapshot_newest = 0; /* the empty store's, or none */
	plan = retention_decide(&in);
	assert_int_equal(plan.journal_below, 1);
	assert_int_equal(plan.feed_below, 1);

	/* not even for want of room */
	in = input();
	in.journal.quota = in.feed.quota = 1000;
	in.journal.full = in.feed.full = true;
	in.give_up = true;
	plan = retention_decide(&in);
	assert_true(plan.journal_below <= 451 && plan.feed_below <= 451);
}

static void
the_feed_waits_for_the_slowest_sink_the_journal_does_not(void **state)
{
	RetentionSink sinks[] = {{.seq = 790}, {.seq = 120}};
	RetentionInput in = input();
	RetentionPlan plan;

	in.sinks = sinks;
	plan = retention_decide(&in);
	assert_int_equal(plan.feed_below, 121);
	assert_int_equal(plan.journal_below, 451);
	sinks[1].seq = 0; /* not known */
	assert_int_equal(retention_decide(&in).feed_below, 1);
	sinks[1].given_up = true;
	assert_int_equal(retention_decide(&in).feed_below, 451);
	in.nsinks = 0;
	assert_int_equal(retention_decide(&in).feed_below, 451);
}

static void
the_minimum_time_holds_both(void **state)
{
	RetentionInput in = input();
	RetentionPlan plan;

	in.journal.aged = 210;
	in.feed.aged = 330;
	plan = retention_decide(&in);
	assert_int_equal(plan.journal_below, 211);
	assert_int_equal(plan.feed_below, 331);
	in.journal.aged = in.feed.aged = 0;
	plan = retention_decide(&in);
	assert_int_equal(plan.journal_below, 1);
	assert_int_equal(plan.feed_below, 1);
}

static void
the_journals_minimum_time_gives_way_to_its_quota_and_no_more_than_needed(void **state)
{
	RetentionInput in = input();

	in.journal.aged = 0;
	in.journal.quota = 8000; /* 7000 may be used: one segment has to go */
	assert_int_equal(retention_decide(&in).journal_below, 101);
	in.journal.quota = 7000; /* 6125: two */
	assert_int_equal(retention_decide(&in).journal_below, 201);
	in.journal.quota = 1000; /* all that no snapshot needs */
	assert_int_equal(retention_decide(&in).journal_below, 401);
	in.journal.quota = 100000;
	assert_int_equal(retention_decide(&in).journal_below, 1);
}

static void
the_feeds_minimum_time_gives_way_only_where_giving_up_is_allowed(void **state)
{
	RetentionInput in = input();

	in.feed.aged = 0;
	in.feed.quota = 8000;
	in.feed.full = true;
	assert_int_equal(retention_decide(&in).feed_below, 1);
	in.give_up = true;
	assert_int_equal(retention_decide(&in).feed_below, 401); /* full: all there is */
	assert_int_equal(retention_decide(&in).give_up, -1);	 /* time first */
	in.feed.full = false;
	assert_int_equal(retention_decide(&in).feed_below, 101);
}

static void
the_slowest_sink_is_given_up_alone_and_only_at_a_full_feed(void **state)
{
	RetentionSink sinks[] = {{.seq = 790}, {.seq = 70}, {.seq = 60}, {.seq = 80, .given_up = true}};
	RetentionInput in = input();

	in.sinks = sinks;
	in.nsinks = 4;
	in.feed.quota = 8000;
	in.give_up = true;
	assert_int_equal(retention_decide(&in).give_up, -1); /* crowded, not full */
	in.feed.full = true;
	assert_int_equal(retention_decide(&in).give_up, 2);
	sinks[2].given_up = true;
	assert_int_equal(retention_decide(&in).give_up, 1);
	sinks[1].given_up = true;
	assert_int_equal(retention_decide(&in).give_up, -1);
	assert_int_equal(retention_decide(&in).feed_below, 451);

	sinks[1].given_up = sinks[2].given_up = false;
	in.give_up = false; /* at_quota = wait */
	assert_int_equal(retention_decide(&in).give_up, -1);
	in.give_up = true;
	in.nsinks = 0;
	assert_int_equal(retention_decide(&in).give_up, -1);
}

static void
no_sink_is_given_up_for_what_a_snapshot_holds_or_while_it_starts(void **state)
{
	RetentionSink sinks[] = {{.seq = 60}};
	RetentionInput in = input();

	in.sinks = sinks;
	in.nsinks = 1;
	in.feed.quota = 8000;
	in.feed.full = in.give_up = true;
	in.snapshot_oldest = 90; /* giving the sink up would free nothing */
	assert_int_equal(retention_decide(&in).give_up, -1);
	assert_true(retention_decide(&in).want_snapshot);
	in.snapshot_oldest = 450;
	sinks[0] = (RetentionSink){.seq = 0, .starting = true};
	assert_int_equal(retention_decide(&in).give_up, -1);
	sinks[0].starting = false; /* away since the start */
	assert_int_equal(retention_decide(&in).give_up, 0);
	sinks[0].seq = 150; /* a segment can go as it is */
	assert_int_equal(retention_decide(&in).give_up, -1);
}

static void
a_snapshot_is_asked_for_at_a_quarter_of_either_quota(void **state)
{
	RetentionInput in = input();

	in.snapshot_newest = 500; /* segments after it: 3 */
	assert_false(retention_decide(&in).want_snapshot);
	in.journal.quota = 12004;
	assert_false(retention_decide(&in).want_snapshot);
	in.journal.quota = 12000;
	assert_true(retention_decide(&in).want_snapshot);
	in.journal.quota = 0;
	in.feed.quota = 12000;
	assert_true(retention_decide(&in).want_snapshot);
	in.store_seq = 500; /* it would be the same again */
	assert_false(retention_decide(&in).want_snapshot);
	in.store_seq = 800;
	in.feed.quota = 24000;
	assert_false(retention_decide(&in).want_snapshot);
	in.snapshots = 6; /* several of them have to fit */
	assert_true(retention_decide(&in).want_snapshot);
}

static void
a_full_log_asks_at_once(void **state)
{
	RetentionInput in = input();

	in.snapshot_newest = 790;
	in.journal.quota = 8000;
	assert_false(retention_decide(&in).want_snapshot);
	in.journal.full = true;
	assert_true(retention_decide(&in).want_snapshot);
}

static void
older_snapshots_give_way_when_nothing_else_can_ever_move(void **state)
{
	RetentionInput in = input();

	in.snapshot_oldest = 50;
	in.snapshot_newest = in.store_seq = 800;
	in.journal.quota = 8000;
	assert_false(retention_decide(&in).newest_only); /* not full */
	in.journal.full = true;
	assert_true(retention_decide(&in).newest_only);
	in.store_seq = 801; /* a newer one can be made */
	assert_false(retention_decide(&in).newest_only);
	in.store_seq = 800;
	in.snapshot_oldest = 100; /* a segment can go as it is */
	assert_false(retention_decide(&in).newest_only);
	in.snapshot_oldest = 50;
	in.snapshot_newest = in.store_seq = 60; /* it would not help */
	assert_false(retention_decide(&in).newest_only);

	/* the feed as well, unless it is a sink that holds it */
	in.snapshot_newest = in.store_seq = 800;
	in.journal.full = false;
	in.feed.quota = 8000;
	in.feed.full = true;
	assert_true(retention_decide(&in).newest_only);
	in.sinks = &(RetentionSink){.seq = 60};
	in.nsinks = 1;
	assert_false(retention_decide(&in).newest_only);
}

static void
a_log_of_one_segment_keeps_it(void **state)
{
	RetentionInput in = input();

	in.journal.n = in.feed.n = 1;
	in.journal.full = in.feed.full = in.give_up = true;
	in.journal.quota = in.feed.quota = 500;
	in.snapshot_newest = 800;
	assert_false(retention_decide(&in).newest_only);
	assert_int_equal(retention_decide(&in).give_up, -1);
}

/* Whatever comes in: nothing that a snapshot or a sink that counts needs may go. */
static void
random_inputs_never_lose_what_is_needed(void **state)
{
	srand(4711);
	for (int round = 0; round < 200000; round++)
	{
		SegInfo segments[2][10];
		RetentionSink sinks[3];
		RetentionInput in = {.sinks = sinks, .nsinks = rand() % 4, .give_up = rand() % 2};
		RetentionLog *logs[2] = {&in.journal, &in.feed};
		RetentionPlan plan;
		uint64_t hold;

		for (int l = 0; l < 2; l++)
		{
			uint64_t at = (uint64_t) (rand() % 50);

			logs[l]->segments = segments[l];
			logs[l]->n = 1 + rand() % 10;
			for (int i = 0; i < logs[l]->n; i++, at += (uint64_t) (rand() % 100))
				segments[l][i] = (SegInfo) SEGMENT(at, (uint64_t) (rand() % 2000));
			logs[l]->quota = rand() % 3 == 0 ? 0 : (uint64_t) (rand() % 10000);
			logs[l]->full = rand() % 2;
			logs[l]->aged = rand() % 3 == 0 ? FOR_EVER : (uint64_t) (rand() % 900);
		}
		in.snapshot_oldest = (uint64_t) (rand() % 600);
		in.snapshot_newest = in.snapshot_oldest + (uint64_t) (rand() % 200);
		in.store_seq = in.snapshot_newest + (uint64_t) (rand() % 2 * 50);
		in.snapshots = 1 + rand() % 5;
		hold = in.snapshot_oldest;
		for (int i = 0; i < in.nsinks; i++)
		{
			sinks[i] = (RetentionSink){(uint64_t) (rand() % 900), rand() % 4 == 0, rand() % 4 == 0};
			if (!sinks[i].given_up && sinks[i].seq < hold)
				hold = sinks[i].seq;
		}
		plan = retention_decide(&in);
		assert_true(plan.journal_below <= in.snapshot_oldest + 1);
		assert_true(plan.feed_below <= hold + 1);
		assert_true(plan.journal_below >= 1 && plan.feed_below >= 1);
		assert_true(plan.give_up < in.nsinks);
		if (plan.give_up >= 0)
			assert_true(in.give_up && in.feed.full && !sinks[plan.give_up].given_up);
		if (plan.newest_only)
			assert_true(in.journal.full || in.feed.full);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_goes_past_the_oldest_snapshot),
		cmocka_unit_test(the_feed_waits_for_the_slowest_sink_the_journal_does_not),
		cmocka_unit_test(the_minimum_time_holds_both),
		cmocka_unit_test(the_journals_minimum_time_gives_way_to_its_quota_and_no_more_than_needed),
		cmocka_unit_test(the_feeds_minimum_time_gives_way_only_where_giving_up_is_allowed),
		cmocka_unit_test(the_slowest_sink_is_given_up_alone_and_only_at_a_full_feed),
		cmocka_unit_test(no_sink_is_given_up_for_what_a_snapshot_holds_or_while_it_starts),
		cmocka_unit_test(a_snapshot_is_asked_for_at_a_quarter_of_either_quota),
		cmocka_unit_test(a_full_log_asks_at_once),
		cmocka_unit_test(older_snapshots_give_way_when_nothing_else_can_ever_move),
		cmocka_unit_test(a_log_of_one_segment_keeps_it),
		cmocka_unit_test(random_inputs_never_lose_what_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
