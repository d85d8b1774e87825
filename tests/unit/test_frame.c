/*
 * test_frame.c -- transactions put together from frames: cut, doubled, reordered, garbled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "stream/txn.h"
#include "txn_frames.h"

static const StreamId our_stream = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

/* ---- the assembler under test ---------------------------------------------------------------- */

static int relations_seen;

static void
count_relation(void *context, uint64_t fingerprint, Slice entry)
{
	WireEntry one;
	WireRelation relation;

	/* what is handed over is a whole Entry that can be read alone */
	assert_true(wire_entry(entry, &one) && one.kind == ENTRY_RELATION);
	assert_true(wire_relation(one.body, &relation) && relation.fingerprint == fingerprint);
	relations_seen++;
}

static Assembler *
fresh(Lsn end_lsn)
{
	AssemblerEvents events = {count_relation, NULL};
	Assembler *assembler = assembler_create(&our_stream, &events);

	relations_seen = 0;
	assembler_begin(assembler, end_lsn);
	return assembler;
}

static bool
give(Assembler *assembler, const Buffer *frame, TxnStep *step)
{
	Error err;

	return assembler_frame(assembler, buffer_slice(frame), step, &err);
}

static void
expect_error(Assembler *assembler, const Buffer *frame, const char *text)
{
	TxnStep step;
	Error err = {0};

	assert_false(assembler_frame(assembler, buffer_slice(frame), &step, &err));
	assert_int_equal(err.class, ERR_DATA);
	if (strstr(err.message, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.message, text);
	assert_false(assembler_open(assembler));
}

static void
a_transaction_of_three_frames_is_one(void **state)
{
	Assembler *assembler = fresh(500);
	Txn txn = three_frames(1000);
	TxnStep step;

	assert_true(give(assembler, &txn.frame[0], &step));
	assert_true(step.first && !step.last && !step.drop);
	assert_int_equal(step.head.end_lsn, 1048);
	assert_true(assembler_open(assembler));
	assert_true(give(assembler, &txn.frame[1], &step));
	assert_true(!step.first && !step.last);
	assert_true(give(assembler, &txn.frame[2], &step));
	assert_true(!step.first && step.last && !step.drop);
	assert_int_equal(step.changes, 5);
	assert_int_equal(relations_seen, 1);
	assert_false(assembler_open(assembler));
	assert_int_equal(assembler_dropped(assembler), 0);
	assembler_destroy(assembler);
	txn_free(&txn);
}

static void
what_the_journal_has_is_dropped_but_its_relations_are_kept(void **state)
{
	Txn txn = three_frames(1000);
	Txn next = {.commit = 1048, .end = 1100};
	TxnStep step;
	Assembler *assembler = fresh(txn.end); /* equal: it is in */

	for (uint32_t i = 0; i < txn.frames; i++)
	{
		assert_true(give(assembler, &txn.frame[i], &step));
		assert_true(step.drop);
	}
	assert_int_equal(assembler_dropped(assembler), 1);
	assert_int_equal(relations_seen, 1);
	/* the next begins at the very byte where that one ended, and uses a relation only the dropped one brought */
	frame_begin(&next);
	put_change(&next, put_relation(NULL, "public", "item", item_columns), 9);
	frame_end(&next, true);
	assert_true(give(assembler, &next.frame[0], &step));
	assert_true(step.first && step.last && !step.drop);
	assembler_destroy(assembler);
	txn_free(&txn);
	txn_free(&next);
}

static void
a_transaction_given_twice_counts_once(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = three_frames(1000);
	TxnStep step;
	int applied = 0;

	for (int round = 0; round < 2; round++)
		for (uint32_t i = 0; i < txn.frames; i++)
		{
			assert_true(give(assembler, &txn.frame[i], &step));
			applied += step.last && !step.drop;
		}
	assert_int_equal(applied, 1);
	assembler_destroy(assembler);
	txn_free(&txn);
}

static void
progress_moves_the_boundary(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = three_frames(1000);
	TxnStep step;

	assembler_progress(assembler, 1000); /* commit_lsn of what comes: that is not in it */
	assert_true(give(assembler, &txn.frame[0], &step));
	assert_false(step.drop);
	assembler_begin(assembler, 0);
	assembler_progress(assembler, 1020); /* inside a commit record no position can be */
	expect_error(assembler, &txn.frame[0], "overlaps");
	assembler_destroy(assembler);
	txn_free(&txn);
}

static void
a_missing_doubled_or_foreign_frame_ends_it(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = three_frames(1000);
	Txn other = three_frames(2000);
	TxnStep step;

	expect_error(assembler, &txn.frame[1], "begins with frame 1");
	assert_true(give(assembler, &txn.frame[0], &step));
	expect_error(assembler, &txn.frame[2], "comes after 1 frames");
	assert_int_equal(assembler_failed(assembler), 1000);
	assert_true(give(assembler, &txn.frame[0], &step));
	expect_error(assembler, &txn.frame[0], "comes after 1 frames");
	assert_true(give(assembler, &txn.frame[0], &step));
	expect_error(assembler, &other.frame[1], "comes after 1 frames");
	assembler_destroy(assembler);
	txn_free(&txn);
	txn_free(&other);
}

static void
counts_and_checksum_are_compared(void **state)
{
	for (int what = 0; what < 3; what++)
	{
		static const char *const says[] = {"frames came", "changes came", "checksum"};
		Assembler *assembler = fresh(0);
		Txn txn = {.commit = 1000, .end = 1048};
		Buffer *frame = &txn.frame[0];

		frame_begin(&txn);
		put_change(&txn, put_relation(&txn, "public", "item", item_columns), 1);
		frame_end(&txn, true);
		/* Tail: tag, length, then three times tag and 4 bytes */
		frame->data[frame->len - 15 + 1 + (size_t) what * 5] ^= 1;
		expect_error(assembler, frame, says[what]);
		assembler_destroy(assembler);
		txn_free(&txn);
	}
}

static void
an_unknown_relation_ends_it_and_a_new_connection_knows_none(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = three_frames(1000);
	Txn later = {.commit = 2000, .end = 2048};
	TxnStep step;

	for (uint32_t i = 0; i < txn.frames; i++)
		assert_true(give(assembler, &txn.frame[i], &step));
	frame_begin(&later);
	put_change(&later, put_relation(NULL, "public", "item", item_columns), 1);
	frame_end(&later, true);
	assert_true(give(assembler, &later.frame[0], &step));
	assembler_begin(assembler, 1500);
	expect_error(assembler, &later.frame[0], "not sent on this connection");
	assembler_destroy(assembler);
	txn_free(&txn);
	txn_free(&later);
}

static void
a_truncate_of_an_unknown_relation_ends_it(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = {.commit = 1000, .end = 1048};
	Buffer body = {0};
	uint64_t fingerprint = 42;

	frame_begin(&txn);
	put_bytes(&body, TRUNCATE_RELATIONS, slice_make(&fingerprint, 8));
	put_entry(&txn, ENTRY_TRUNCATE, &body);
	txn.changes++;
	frame_end(&txn, true);
	expect_error(assembler, &txn.frame[0], "not sent on this connection");
	buffer_free(&body);
	assembler_destroy(assembler);
	txn_free(&txn);
}

/* No Change may be read by the columns of another version. */
static void
a_fingerprint_with_other_contents_ends_it(void **state)
{
	static const char *const other_columns[] = {"id", "title", NULL};
	Assembler *assembler = fresh(0);
	Txn txn = {.commit = 1000, .end = 1048};
	Txn forged = {.commit = 2000, .end = 2048};
	uint64_t fingerprint = put_relation(NULL, "public", "item", item_columns);
	uint64_t other = put_relation(NULL, "public", "item", other_columns);
	TxnStep step;
	uint8_t *at;

	frame_begin(&txn);
	put_relation(&txn, "public", "item", item_columns);
	put_relation(&txn, "public", "item", item_columns); /* said twice the same is no harm */
	put_change(&txn, fingerprint, 1);
	frame_end(&txn, true);
	assert_true(give(assembler, &txn.frame[0], &step));
	frame_begin(&forged);
	put_relation(&forged, "public", "item", other_columns);
	at = memmem(forged.frame[0].data, forged.frame[0].len, &other, sizeof(other));
	assert_non_null(at);
	memcpy(at, &fingerprint, sizeof(fingerprint));
	put_change(&forged, fingerprint, 1);
	frame_end(&forged, true);
	expect_error(assembler, &forged.frame[0], "malformed relation entry");
	assembler_destroy(assembler);
	txn_free(&txn);
	txn_free(&forged);
}

static void
beat_and_epoch_are_read_from_our_own_control_row_only(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = {.commit = 1000, .end = 1048};
	StreamId other = our_stream;
	uint64_t control;
	TxnStep step;

	other.bytes[15] ^= 1;
	frame_begin(&txn);
	control = put_relation(&txn, "walrank", "control", control_columns);
	put_control(&txn, control, &our_stream, 7, 123);
	put_control(&txn, control, &other, 99, 999);
	frame_end(&txn, true);
	assert_true(give(assembler, &txn.frame[0], &step));
	assert_int_equal(assembler_beat(assembler), 123);
	assert_int_equal(assembler_owner_epoch(assembler), 7);
	assembler_destroy(assembler);
	txn_free(&txn);
}

static void
a_lost_publication_is_told_with_the_last_frame(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = {.commit = 1000, .end = 1048};
	Buffer entry = {0};
	TxnStep step;

	frame_begin(&txn);
	put_text(&entry, ENTRY_PUBLICATION_LOST, "walrank");
	put_bytes(&txn.frame[0], FRAME_ENTRIES, buffer_slice(&entry));
	frame_end(&txn, false);
	frame_begin(&txn);
	frame_end(&txn, true);
	assert_true(give(assembler, &txn.frame[0], &step));
	assert_int_equal(step.lost.len, 0);
	assert_true(give(assembler, &txn.frame[1], &step));
	assert_true(slice_equal(step.lost, slice_string("walrank")));
	buffer_free(&entry);
	assembler_destroy(assembler);
	txn_free(&txn);
}

/* Whatever happens to the bytes: never accepted as whole unless they are the bytes that were sent. */
static void
no_mutation_passes_for_the_transaction(void **state)
{
	Txn txn = three_frames(1000);
	uint64_t passed = 0;

	srand(4);
	for (int run = 0; run < 60000; run++)
	{
		Assembler *assembler = fresh(0);
		int victim = rand() % 3;
		Buffer copy = {0};
		bool same;
		bool whole = true;
		TxnStep step = {0};

		buffer_append_slice(&copy, buffer_slice(&txn.frame[victim]));
		if (rand() % 3 == 0)
			copy.len = (size_t) rand() % copy.len;
		else
			for (int n = 1 + rand() % 3; n > 0; n--)
				copy.data[(size_t) rand() % copy.len] ^= (uint8_t) (1 << rand() % 8);
		same = slice_equal(buffer_slice(&copy), buffer_slice(&txn.frame[victim]));
		for (int i = 0; i < 3 && whole; i++)
			whole = give(assembler, i == victim ? &copy : &txn.frame[i], &step);
		whole = whole && step.last;
		if (whole && !same)
			passed++;
		buffer_free(&copy);
		assembler_destroy(assembler);
	}
	assert_int_equal(passed, 0);
	txn_free(&txn);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_transaction_of_three_frames_is_one),
		cmocka_unit_test(what_the_journal_has_is_dropped_but_its_relations_are_kept),
		cmocka_unit_test(a_transaction_given_twice_counts_once),
		cmocka_unit_test(progress_moves_the_boundary),
		cmocka_unit_test(a_missing_doubled_or_foreign_frame_ends_it),
		cmocka_unit_test(counts_and_checksum_are_compared),
		cmocka_unit_test(an_unknown_relation_ends_it_and_a_new_connection_knows_none),
		cmocka_unit_test(a_truncate_of_an_unknown_relation_ends_it),
		cmocka_unit_test(a_fingerprint_with_other_contents_ends_it),
		cmocka_unit_test(beat_and_epoch_are_read_from_our_own_control_row_only),
		cmocka_unit_test(a_lost_publication_is_told_with_the_last_frame),
		cmocka_unit_test(no_mutation_passes_for_the_transaction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
