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

/* A row of the control table in a transaction of its own: what is read of it. */
static uint64_t
beat_of(WireOp op, Slice key, Slice beat, int state)
{
	Assembler *assembler = fresh(0);
	Txn txn = {.commit = 1000, .end = 1048};
	Buffer attribute = {0};
	Buffer body = {0};
	TxnStep step;
	uint64_t seen;

	frame_begin(&txn);
	put_fixed64(&body, CHANGE_RELATION, put_relation(&txn, "walrank", "control", control_columns));
	put_number(&body, CHANGE_OP, op);
	if (key.len > 0)
		put_bytes(&body, CHANGE_KEY, key);
	put_number(&attribute, ATTRIBUTE_COLUMN, 4);
	if (state != STATE_SET)
		put_number(&attribute, ATTRIBUTE_STATE, (uint64_t) state);
	else
		put_bytes(&attribute, ATTRIBUTE_VALUE, beat);
	put_bytes(&body, CHANGE_ATTRIBUTES, buffer_slice(&attribute));
	put_entry(&txn, ENTRY_CHANGE, &body);
	txn.changes++;
	frame_end(&txn, true);
	assert_true(give(assembler, &txn.frame[0], &step));
	seen = assembler_beat(assembler);
	buffer_free(&attribute);
	buffer_free(&body);
	assembler_destroy(assembler);
	txn_free(&txn);
	return seen;
}

static void
a_beat_is_a_number_in_our_row_however_the_key_is_written(void **state)
{
	char text[STREAM_ID_TEXT_BYTES];
	Buffer ours = {0};
	Buffer raw = {0};
	Buffer odd = {0};
	Buffer number = {0};
	Buffer word = {0};
	Slice beat = value_int(&number, 123);

	stream_id_text(&our_stream, text);
	value_text(&ours, text);
	value_bytes(&raw, VALUE_BYTES, slice_make(our_stream.bytes, sizeof(our_stream.bytes)));
	assert_int_equal(beat_of(OP_UPDATE, buffer_slice(&ours), beat, STATE_SET), 123);
	assert_int_equal(beat_of(OP_UPDATE, buffer_slice(&raw), beat, STATE_SET), 123);
	assert_int_equal(beat_of(OP_DELETE, buffer_slice(&ours), beat, STATE_SET), 0);
	assert_int_equal(beat_of(OP_UPDATE, buffer_slice(&ours), beat, STATE_REMOVED), 0);
	assert_int_equal(beat_of(OP_UPDATE, buffer_slice(&ours), value_text(&word, "123"), STATE_SET), 0);
	assert_int_equal(beat_of(OP_UPDATE, value_int(&odd, 7), beat, STATE_SET), 0);
	assert_int_equal(beat_of(OP_UPDATE, slice_make(NULL, 0), beat, STATE_SET), 0);
	assert_int_equal(beat_of(OP_UPDATE, value_text(&odd, "short"), beat, STATE_SET), 0);
	text[0] = 'x'; /* as long as one, and none */
	assert_int_equal(beat_of(OP_UPDATE, value_text(&odd, text), beat, STATE_SET), 0);
	assert_int_equal(beat_of(OP_UPDATE, buffer_slice(&ours), value_int(&number, -5), STATE_SET), 0);
	buffer_free(&ours);
	buffer_free(&raw);
	buffer_free(&odd);
	buffer_free(&number);
	buffer_free(&word);
}

static void
entries_that_are_none_end_it(void **state)
{
	static const uint32_t kinds[] = {ENTRY_RELATION, ENTRY_CHANGE, ENTRY_TRUNCATE};
	static const char *const why[] = {"malformed relation entry", "malformed change entry",
									  "malformed truncate entry"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (int shape = 0; shape < 2; shape++)
		{
			Assembler *assembler = fresh(0);
			Txn txn = {.commit = 1000, .end = 1048};
			Buffer body = {0};

			if (shape == 1)
				put_number(&body, 1, 5); /* a number where bytes or a fixed one belong */
			else if (kinds[i] == ENTRY_TRUNCATE)
				put_bytes(&body, TRUNCATE_RELATIONS, slice_string("not eight"));
			frame_begin(&txn);
			put_entry(&txn, kinds[i], &body);
			frame_end(&txn, true);
			expect_error(assembler, &txn.frame[0], why[i]);
			buffer_free(&body);
			assembler_destroy(assembler);
			txn_free(&txn);
		}
}

static void
a_truncate_of_what_is_known_is_a_change(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = {.commit = 1000, .end = 1048};
	Buffer body = {0};
	uint64_t fingerprint;
	TxnStep step;

	frame_begin(&txn);
	fingerprint = put_relation(&txn, "public", "item", item_columns);
	put_bytes(&body, TRUNCATE_RELATIONS, slice_make(&fingerprint, 8));
	put_entry(&txn, ENTRY_TRUNCATE, &body);
	txn.changes++;
	frame_end(&txn, true);
	assert_true(give(assembler, &txn.frame[0], &step));
	assert_true(step.last);
	assert_int_equal(step.changes, 1);
	assembler_progress(assembler, 500); /* behind us: means nothing */
	txn_free(&txn);
	txn = one_frame(1048);
	assert_true(give(assembler, &txn.frame[0], &step) && !step.drop);
	buffer_free(&body);
	assembler_destroy(assembler);
	assembler_destroy(NULL);
	txn_free(&txn);
}

static void
many_lost_publications_are_told_up_to_a_limit(void **state)
{
	Assembler *assembler = fresh(0);
	Txn txn = {.commit = 1000, .end = 1048};
	TxnStep step;

	frame_begin(&txn);
	for (int i = 0; i < 300; i++)
	{
		Buffer entry = {0};

		put_text(&entry, ENTRY_PUBLICATION_LOST, "a publication of some length");
		put_bytes(&txn.frame[0], FRAME_ENTRIES, buffer_slice(&entry));
		buffer_free(&entry);
	}
	frame_end(&txn, true);
	assert_true(give(assembler, &txn.frame[0], &step));
	assert_in_range(step.lost.len, 4000, 4096);
	assert_non_null(memmem(step.lost.data, step.lost.len, "length\na pub", 12));
	assembler_destroy(assembler);
	txn_free(&txn);
}

static void
a_commit_without_extent_ends_it(void **state)
{
	static const Lsn ends[][2] = {{0, 48}, {1000, 1000}, {1000, 999}};

	for (size_t i = 0; i < 3; i++)
	{
		Assembler *assembler = fresh(0);
		Txn txn = {.commit = ends[i][0], .end = ends[i][1]};

		frame_begin(&txn);
		frame_end(&txn, true);
		expect_error(assembler, &txn.frame[0], "but was committed at");
		assembler_destroy(assembler);
		txn_free(&txn);
	}
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
		cmocka_unit_test(a_beat_is_a_number_in_our_row_however_the_key_is_written),
		cmocka_unit_test(entries_that_are_none_end_it),
		cmocka_unit_test(a_truncate_of_what_is_known_is_a_change),
		cmocka_unit_test(many_lost_publications_are_told_up_to_a_limit),
		cmocka_unit_test(a_commit_without_extent_ends_it),
		cmocka_unit_test(a_lost_publication_is_told_with_the_last_frame),
		cmocka_unit_test(no_mutation_passes_for_the_transaction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
