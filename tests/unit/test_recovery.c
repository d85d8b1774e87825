/*
 * test_recovery.c -- which store a start may use (rules R6 and R7), decided from what was found, without a disk.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "score/recovery.h"

static const StreamId ours = {{1}};
static const StreamId theirs = {{2}};

static RecoveryFile
file_at(uint64_t seq, uint32_t part)
{
	return (RecoveryFile){.name = "x",
						  .sound = true,
						  .header = {.stream_id = ours, .format = STORE_FORMAT, .engine = 3, .libm = 4},
						  .position = {.seq = seq, .part = part}};
}

static Recovery
begun(uint64_t last, uint64_t durable)
{
	const RecoveryMark mark = {true, true, MARK_OPEN, true, true};
	Recovery recovery;

	assert_int_equal(recovery_begin(&recovery, &ours, last, durable, &mark), RECOVERY_LIVE);
	return recovery;
}

/* All 48 of them: clean, or open on this boot and in this file. */
static void
only_a_clean_store_or_our_own_open_one_is_looked_into(void **state)
{
	for (unsigned bits = 0; bits < 16; bits++)
		for (int mark_state = MARK_OPEN; mark_state <= MARK_TORN; mark_state++)
		{
			RecoveryMark mark = {bits & 1, bits & 2, (MarkState) mark_state, bits & 4, bits & 8};
			bool there = mark.file && mark.marked;
			bool usable = there && (mark_state == MARK_CLEAN ||
									(mark_state == MARK_OPEN && mark.same_boot && mark.same_file));
			Recovery recovery;

			assert_int_equal(recovery_begin(&recovery, &ours, 9, 9, &mark),
							 usable ? RECOVERY_LIVE : RECOVERY_LIST);
			assert_true((recovery.reason == NULL) == usable);
		}
}

static void
a_store_beyond_the_journal_or_damaged_gives_way(void **state)
{
	Recovery recovery = begun(5, 4);
	RecoveryFile live = file_at(5, 0);
	Error err;

	assert_int_equal(recovery_live(&recovery, &live, "", &err), RECOVERY_USE);
	live = file_at(4, 7);
	assert_int_equal(recovery_live(&recovery, &live, "", &err), RECOVERY_USE);
	live = file_at(5, 1);
	assert_int_equal(recovery_live(&recovery, &live, "", &err), RECOVERY_LIST);
	recovery = begun(5, 4);
	live = file_at(6, 0);
	assert_int_equal(recovery_live(&recovery, &live, "", &err), RECOVERY_LIST);
	recovery = begun(5, 4);
	live.sound = false;
	assert_int_equal(recovery_live(&recovery, &live, "broken", &err), RECOVERY_LIST);
	assert_string_equal(recovery.reason, "broken");
}

static void
another_stream_or_format_is_refused_by_rule(void **state)
{
	Recovery recovery = begun(5, 5);
	RecoveryFile file = file_at(3, 0);
	Error err;

	file.header.stream_id = theirs;
	assert_int_equal(recovery_live(&recovery, &file, "", &err), RECOVERY_REFUSE);
	assert_non_null(strstr(err.message, "rule R6"));
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_REFUSE);
	file = file_at(3, 0);
	file.header.format++;
	assert_int_equal(recovery_live(&recovery, &file, "", &err), RECOVERY_REFUSE);
	assert_int_equal(err.class, ERR_REFUSE);
}

static void
the_newest_sound_snapshot_that_is_durable_is_taken(void **state)
{
	const uint64_t seqs[] = {2, 4, 6, 8};
	Recovery recovery = begun(9, 6);
	RecoveryFile file = file_at(6, 1); /* a piece of unit 7 is in it, which is not durable */
	Error err;

	recovery.reason = "test";
	assert_int_equal(recovery_list(&recovery, seqs, 4, &err), RECOVERY_LOOK);
	assert_int_equal(recovery.snapshot, 6);
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_LOOK);
	assert_int_equal(recovery.snapshot, 4);
	file = file_at(4, 0);
	file.sound = false;
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_LOOK);
	assert_int_equal(recovery.snapshot, 2);
	file = file_at(2, 0);
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_RESTORE);
	file.sound = false;
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_REFUSE);
	assert_int_equal(err.class, ERR_REFUSE);
	assert_non_null(strstr(err.message, "rule R6"));
}

static void
a_store_that_the_feed_no_longer_reaches_gives_way_to_a_snapshot_it_does(void **state)
{
	const uint64_t seqs[] = {2, 4};
	Recovery recovery = begun(9, 9);
	RecoveryFile file = file_at(7, 0);
	Error err;

	file.unreached = "the feed ends at 3.0";
	assert_int_equal(recovery_live(&recovery, &file, "", &err), RECOVERY_LIST);
	assert_string_equal(recovery.reason, "rule R7: the feed ends at 3.0");
	assert_int_equal(recovery_list(&recovery, seqs, 2, &err), RECOVERY_LOOK);
	file = file_at(4, 0);
	file.unreached = "the feed ends at 3.0";
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_LOOK);
	file = file_at(2, 0);
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_RESTORE);
	file.unreached = "there is no feed";
	assert_int_equal(recovery_look(&recovery, &file, &err), RECOVERY_REFUSE);
	assert_non_null(strstr(err.message, "rule R7"));
}

static void
the_journal_has_to_reach_the_store(void **state)
{
	Error err;

	assert_true(recovery_reaches((StorePosition){.seq = 4}, 5, 9, &err));
	assert_true(recovery_reaches((StorePosition){.seq = 9}, 5, 9, &err));
	assert_true(recovery_reaches((StorePosition){.seq = 0}, 0, 0, &err));
	assert_false(recovery_reaches((StorePosition){.seq = 3}, 5, 9, &err));
	assert_false(recovery_reaches((StorePosition){.seq = 10}, 5, 9, &err));
	assert_non_null(strstr(err.message, "rule R7"));
}

static void
another_engine_takes_over_at_its_config_alone(void **state)
{
	RecoveryFile file = file_at(5, 0);

	assert_int_equal(recovery_engine(&file.header, file.position, 7, 3, 4), ENGINE_OURS);
	assert_int_equal(recovery_engine(&file.header, file.position, 5, 3, 5), ENGINE_ANNOUNCE);
	assert_int_equal(recovery_engine(&file.header, file.position, 5, 4, 4), ENGINE_ANNOUNCE);
	assert_int_equal(recovery_engine(&file.header, file.position, 7, 4, 4), ENGINE_LOOK);
	file = file_at(5, 2);
	assert_int_equal(recovery_engine(&file.header, file.position, 6, 4, 4), ENGINE_OTHER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_clean_store_or_our_own_open_one_is_looked_into),
		cmocka_unit_test(a_store_beyond_the_journal_or_damaged_gives_way),
		cmocka_unit_test(another_stream_or_format_is_refused_by_rule),
		cmocka_unit_test(the_newest_sound_snapshot_that_is_durable_is_taken),
		cmocka_unit_test(a_store_that_the_feed_no_longer_reaches_gives_way_to_a_snapshot_it_does),
		cmocka_unit_test(the_journal_has_to_reach_the_store),
		cmocka_unit_test(another_engine_takes_over_at_its_config_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
