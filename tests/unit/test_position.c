/*
 * test_position.c -- where a sink goes on, and what it refuses: every rule by its name (K1, K2, K3, K8, K9).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "sinks/position.h"

static const StreamId replaced[2] = {{{0x01}}, {{0x02}}};
static const SinkHistory history = {.stream_id = {{0xaa}}, .replaced = replaced, .nreplaced = 2};
static const StreamId foreign = {{0xff}};

static Error err;
static SinkPosition start;

static SinkStand
no_checkpoint(bool empty)
{
	SinkStand stand = {.empty = empty, .position = {.owner_epoch = 1}};

	if (!empty)
		error_set(&stand.why, ERR_REFUSE, "there is something (rule K1)");
	return stand;
}

static SinkStand
standing_at(StreamId stream_id, uint64_t seq)
{
	return (SinkStand){.found = true,
					   .position = {.stream_id = stream_id,
									.owner_epoch = 7,
									.seq = seq,
									.part = 3,
									.end_lsn = 0x100,
									.applied = 5,
									.total_start = 2,
									.phase = SINK_REBUILDING}};
}

static PositionChoice
judge(const SinkStand *stand, SinkOffer offer)
{
	memset(&start, 0xee, sizeof(start));
	memset(&err, 0, sizeof(err));
	return position_judge("lines", &history, stand, &offer, &start, &err);
}

static void
refuses(const SinkStand *stand, SinkOffer offer, const char *rule, const char *cure)
{
	assert_int_equal(judge(stand, offer), POSITION_REFUSE);
	assert_int_equal(err.class, ERR_REFUSE);
	if (strstr(err.message, rule) == NULL)
		fail_msg("%s", err.message);
	if (strstr(err.hint, cure) == NULL)
		fail_msg("%s: %s", err.message, err.hint);
}

/* A target that holds nothing yet. */
static void
begins(const SinkStand *stand, SinkOffer offer, uint64_t seq, uint64_t total, SinkPhase phase)
{
	if (judge(stand, offer) != POSITION_BEGIN)
		fail_msg("%s", err.message);
	assert_true(stream_id_equal(&start.stream_id, &history.stream_id));
	assert_int_equal(start.owner_epoch, stand->position.owner_epoch);
	assert_int_equal(start.seq, seq);
	assert_int_equal(start.part, 0);
	assert_int_equal(start.end_lsn, 0);
	assert_int_equal(start.total_start, total);
	assert_int_equal(start.phase, phase);
	assert_int_equal(position_counted(&start), 0);
}

static void
streams_are_ours_replaced_or_foreign(void **state)
{
	const SinkHistory young = {.stream_id = {{0xaa}}};

	assert_int_equal(position_stream(&history, &history.stream_id), STREAM_OURS);
	assert_int_equal(position_stream(&history, &replaced[0]), STREAM_REPLACED);
	assert_int_equal(position_stream(&history, &replaced[1]), STREAM_REPLACED);
	assert_int_equal(position_stream(&history, &foreign), STREAM_FOREIGN);
	assert_int_equal(position_stream(&young, &replaced[0]), STREAM_FOREIGN);
}

static void
K1_without_a_checkpoint_only_an_empty_sink_begins_where_all_is_to_be_had(void **state)
{
	const SinkStand empty = no_checkpoint(true);
	const SinkStand full = no_checkpoint(false);

	begins(&empty, (SinkOffer){.first_seq = 1, .durable_seq = 9}, 0, 0, SINK_WHOLE);
	begins(&empty, (SinkOffer){.first_seq = 1, .durable_seq = 0}, 0, 0, SINK_WHOLE);
	refuses(&empty, (SinkOffer){.first_seq = 2, .durable_seq = 9}, "rule K1", "walrank sink fill lines");
	refuses(&full, (SinkOffer){.first_seq = 1, .durable_seq = 9}, "rule K1", "walrank sink fill lines");
}

static void
K1_a_fill_is_where_a_new_sink_begins_whatever_it_holds(void **state)
{
	const SinkStand empty = no_checkpoint(true);
	const SinkStand full = no_checkpoint(false);

	begins(&empty, (SinkOffer){1, 9, 5, 40}, 4, 40, SINK_FILLING);
	begins(&empty, (SinkOffer){5, 9, 5, 40}, 4, 40, SINK_FILLING);
	begins(&full, (SinkOffer){3, 9, 9, 40}, 8, 40, SINK_FILLING);
	/* one the feed no longer holds the beginning of, or that may not be read yet, is none */
	refuses(&empty, (SinkOffer){6, 9, 5, 40}, "rule K1", "walrank sink fill lines");
	refuses(&full, (SinkOffer){1, 9, 10, 40}, "rule K1", "walrank sink fill lines");
}

static void
K2_the_feed_must_go_on_where_the_sink_stands(void **state)
{
	const SinkStand stand = standing_at(history.stream_id, 8);

	assert_int_equal(judge(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 20}), POSITION_GO_ON);
	assert_memory_equal(&start, &stand.position, sizeof(start));
	assert_int_equal(judge(&stand, (SinkOffer){.first_seq = 9, .durable_seq = 20}), POSITION_GO_ON);
	assert_int_equal(judge(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 8}), POSITION_GO_ON);
	refuses(&stand, (SinkOffer){.first_seq = 10, .durable_seq = 20}, "rule K2", "walrank sink fill lines");
	refuses(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 7}, "rule K2", "walrank rebuild");
	/* a sink that goes on meets its fill where it comes */
	assert_int_equal(judge(&stand, (SinkOffer){1, 20, 15, 3}), POSITION_GO_ON);
}

static void
K2_a_later_fill_cures_what_fell_behind_but_not_what_is_ahead(void **state)
{
	const SinkStand stand = standing_at(history.stream_id, 8);

	begins(&stand, (SinkOffer){10, 20, 10, 40}, 9, 40, SINK_FILLING);
	begins(&stand, (SinkOffer){10, 20, 20, 40}, 19, 40, SINK_FILLING);
	refuses(&stand, (SinkOffer){1, 7, 7, 40}, "rule K2", "walrank rebuild");
}

static void
what_is_damaged_goes_on_nowhere_but_with_a_fill_that_came_later(void **state)
{
	SinkStand stand = standing_at(history.stream_id, 8);

	stand.damaged = true;
	error_set(&stand.why, ERR_REFUSE, "it was changed");
	refuses(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 20}, "it was changed",
			"walrank sink fill lines");
	refuses(&stand, (SinkOffer){1, 20, 8, 40}, "it was changed", "walrank sink fill lines");
	begins(&stand, (SinkOffer){1, 20, 9, 40}, 8, 40, SINK_FILLING);
	/* its own words, if it has some */
	error_hint(&stand.why, "Put it back.");
	refuses(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 20}, "it was changed", "Put it back");
}

static void
K9_a_replaced_stream_gives_way_to_a_target_beside_it(void **state)
{
	const SinkStand stand = standing_at(replaced[1], 500);

	begins(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 20}, 0, 0, SINK_REBUILDING);
	begins(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 0}, 0, 0, SINK_REBUILDING);
	begins(&stand, (SinkOffer){3, 20, 4, 11}, 3, 11, SINK_FILLING);
	refuses(&stand, (SinkOffer){.first_seq = 3, .durable_seq = 20}, "rule K9", "walrank sink fill lines");
}

static void
K9_a_foreign_stream_is_never_touched(void **state)
{
	const SinkStand stand = standing_at(foreign, 8);

	refuses(&stand, (SinkOffer){.first_seq = 1, .durable_seq = 20}, "rule K9", "a target of its own");
	refuses(&stand, (SinkOffer){1, 20, 9, 40}, "rule K9", "a target of its own");
}

/* ---- records --------------------------------------------------------------------------------- */

static void
K3_records_come_in_order_or_not_at_all(void **state)
{
	static const struct
	{
		uint64_t seq;
		uint32_t part;
		Lsn end_lsn;
		PositionOrder order;
	} cases[] = {
		{7, 0, 0x90, ORDER_APPLIED},  {8, 0, 0x100, ORDER_APPLIED}, {8, 9, 0x100, ORDER_APPLIED},
		{9, 0, 0x100, ORDER_APPLIED}, {9, 2, 0x100, ORDER_APPLIED}, {9, 3, 0x100, ORDER_NEXT},
		{9, 3, 0x101, ORDER_NEXT},	  {9, 4, 0x100, ORDER_GAP},		{10, 0, 0x100, ORDER_GAP},
		{10, 3, 0x100, ORDER_GAP},	  {9, 3, 0xff, ORDER_GAP},
	};
	const SinkPosition position = {.seq = 8, .part = 3, .end_lsn = 0x100};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const RecordHeader header = {.seq = cases[i].seq, .part = cases[i].part, .end_lsn = cases[i].end_lsn};

		memset(&err, 0, sizeof(err));
		if (position_order(&position, &header, &err) != cases[i].order)
			fail_msg("case %zu", i);
		assert_int_equal(err.class, cases[i].order == ORDER_GAP ? ERR_REFUSE : ERR_NONE);
		if (cases[i].order == ORDER_GAP)
			assert_non_null(strstr(err.message, "rule K3"));
	}
}

static void
K8_every_output_is_counted_once_and_the_totals_meet(void **state)
{
	SinkPosition p = {.seq = 4, .end_lsn = 0x100, .total_start = 100, .applied = 10};
	RecordHeader header = {
		.seq = 5, .end_lsn = 0x200, .kind = UNIT_TXN, .commit_time_us = 99, .total = 114, .outputs = 4};

	position_count(&p, SINK_APPLIED);
	position_count(&p, SINK_FILTERED);
	position_count(&p, SINK_PARKED);
	position_count(&p, SINK_QUARANTINED);
	assert_int_equal(p.applied, 11);
	assert_int_equal(p.filtered, 1);
	assert_int_equal(p.parked, 1);
	assert_int_equal(p.quarantined, 1);
	/* a piece */
	assert_true(position_advance(&p, &header, 4, &err));
	assert_int_equal(p.seq, 4);
	assert_int_equal(p.part, 1);
	assert_int_equal(p.end_lsn, 0x100);
	/* one counted that the feed does not know, or the other way round */
	header.part = 1;
	header.last = true;
	header.outputs = 1;
	header.total = 115;
	assert_false(position_advance(&p, &header, 1, &err));
	assert_non_null(strstr(err.message, "rule K8"));
	position_count(&p, SINK_APPLIED);
	assert_false(position_advance(&p, &header, 0, &err));
	assert_int_equal(p.part, 1);
	assert_true(position_advance(&p, &header, 1, &err));
	assert_int_equal(p.seq, 5);
	assert_int_equal(p.part, 0);
	assert_int_equal(p.end_lsn, 0x200);
	assert_int_equal(p.commit_time_us, 99);
	/* what is no transaction has no commit time */
	header = (RecordHeader){.seq = 6, .end_lsn = 0x200, .kind = UNIT_RESCORE, .last = true, .total = 115};
	assert_true(position_advance(&p, &header, 0, &err));
	assert_int_equal(p.seq, 6);
	assert_int_equal(p.commit_time_us, 99);
}

static void
a_fill_begins_just_before_its_first_unit_and_only_once(void **state)
{
	const RecordHeader header = {.seq = 9, .total = 44, .outputs = 4, .last = true};
	SinkPosition p = standing_at(history.stream_id, 8).position;

	p.phase = SINK_FILLING;
	p.part = 0;
	assert_false(position_begun(&p, &header)); /* it holds something */
	p.commit_time_us = 77;
	position_begin(&p, &header, SINK_FILLING);
	assert_int_equal(p.seq, 8);
	assert_int_equal(p.owner_epoch, 7);
	assert_true(stream_id_equal(&p.stream_id, &history.stream_id));
	assert_int_equal(p.end_lsn, 0x100);
	assert_int_equal(p.commit_time_us, 77);
	assert_int_equal(p.total_start, 40);
	assert_int_equal(position_counted(&p), 0);
	assert_int_equal(p.phase, SINK_FILLING);
	assert_true(position_begun(&p, &header));
	p.phase = SINK_WHOLE;
	assert_false(position_begun(&p, &header));
	p.phase = SINK_FILLING;
	p.total_start--;
	assert_false(position_begun(&p, &header));
	p.total_start++;
	p.part = 1;
	assert_false(position_begun(&p, &header));
	p.part = 0;
	p.seq--;
	assert_false(position_begun(&p, &header));
}

static void
only_what_a_target_waits_for_makes_it_whole(void **state)
{
	static const struct
	{
		SinkPhase before;
		const char *filled;
		SinkPhase after;
	} cases[] = {
		{SINK_FILLING, "lines", SINK_WHOLE},	{SINK_FILLING, "other", SINK_FILLING},
		{SINK_FILLING, "", SINK_FILLING},		{SINK_REBUILDING, "", SINK_WHOLE},
		{SINK_REBUILDING, "lines", SINK_WHOLE}, {SINK_REBUILDING, "other", SINK_REBUILDING},
		{SINK_WHOLE, "lines", SINK_WHOLE},		{SINK_WHOLE, "", SINK_WHOLE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		SinkPosition p = {.phase = cases[i].before};

		position_filled(&p, "lines", slice_string(cases[i].filled));
		assert_int_equal(p.phase, cases[i].after);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_are_ours_replaced_or_foreign),
		cmocka_unit_test(K1_without_a_checkpoint_only_an_empty_sink_begins_where_all_is_to_be_had),
		cmocka_unit_test(K1_a_fill_is_where_a_new_sink_begins_whatever_it_holds),
		cmocka_unit_test(K2_the_feed_must_go_on_where_the_sink_stands),
		cmocka_unit_test(K2_a_later_fill_cures_what_fell_behind_but_not_what_is_ahead),
		cmocka_unit_test(what_is_damaged_goes_on_nowhere_but_with_a_fill_that_came_later),
		cmocka_unit_test(K9_a_replaced_stream_gives_way_to_a_target_beside_it),
		cmocka_unit_test(K9_a_foreign_stream_is_never_touched),
		cmocka_unit_test(K3_records_come_in_order_or_not_at_all),
		cmocka_unit_test(K8_every_output_is_counted_once_and_the_totals_meet),
		cmocka_unit_test(a_fill_begins_just_before_its_first_unit_and_only_once),
		cmocka_unit_test(only_what_a_target_waits_for_makes_it_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
