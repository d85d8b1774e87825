/*
 * test_intake_answers.c -- the receiver without its socket: messages in, journal and status updates out.
 *
 * Whatever is said to the server is compared, at that moment, with what the journal has durable: J1 in every test.
 */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "journal/journal.h"
#include "memory_fs.h"
#include "stream/intake.h"
#include "txn_frames.h"

#define H0 0x2000

static const StreamId our_stream = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
#define SECOND INT64_C(1000000)
#define RECEIPT (INT64_C(1700000000) * SECOND)

static Journal *journal;
static Intake *intake;
static Error err;
static int64_t now; /* monotonic */
static Lsn said[64];
static int nsaid;
static bool mute; /* the connection is gone */
static int syncs;
static FsOps ops;

static bool
hear(void *context, Lsn lsn, Error *error)
{
	uint64_t seq;
	Lsn durable;

	if (mute)
		return error_set(error, ERR_RETRY, "the connection was lost");
	journal_durable(journal, &seq, &durable);
	assert_true(lsn <= durable);
	assert_true(nsaid == 0 || lsn >= said[nsaid - 1]);
	assert_true(nsaid < 64);
	said[nsaid++] = lsn;
	return true;
}

static int
count_sync(int fd)
{
	syncs++;
	return 0;
}

static void
connect_at(AckConfirm confirm, Lsn start)
{
	nsaid = 0;
	intake_begin(intake, confirm, start, start, start, 10 * SECOND, now);
}

static int
setup(void **state)
{
	JournalIdentity identity = {
		.stream_id = our_stream, .slot = "walrank", .start_lsn = H0, .complete = true};
	JournalSettings settings = {.segment_bytes = 1 << 20};
	IntakeOutput output = {hear, NULL};

	memory_clear();
	ops = memory_fs;
	ops.fsync = ops.fdatasync = count_sync;
	fs = &ops;
	now = 1000 * SECOND;
	mute = false;
	assert_true(journal_identity_write(MEMORY_DIR, &identity, &err));
	assert_true(journal_create(MEMORY_DIR, &settings, &identity, &journal, &err));
	intake = intake_create(journal, &output);
	connect_at(ACK_JOURNAL, H0);
	syncs = 0;
	return 0;
}

static int
teardown(void **state)
{
	intake_destroy(intake);
	journal_close(journal);
	memory_clear();
	fs = &fs_system;
	return 0;
}

/* ---- the server's part ------------------------------------------------------------------------ */

static bool
give_at(const Buffer *frame, Lsn start, Lsn end, int64_t receipt_us)
{
	Buffer message = {0};
	uint64_t head[3] = {htobe64(start), htobe64(end), 0};
	bool ok;

	buffer_append_byte(&message, 'w');
	buffer_append(&message, head, sizeof(head));
	buffer_append_slice(&message, buffer_slice(frame));
	ok = intake_message(intake, buffer_slice(&message), now, receipt_us, &err);
	buffer_free(&message);
	return ok;
}

static bool
give(const Txn *txn, uint32_t frame)
{
	return give_at(&txn->frame[frame], txn->commit, txn->commit, RECEIPT);
}

static bool
keepalive(Lsn wal_end, bool reply)
{
	uint8_t message[18] = {'k'};
	uint64_t be = htobe64(wal_end);

	memcpy(message + 1, &be, 8);
	message[17] = reply;
	return intake_message(intake, slice_make(message, sizeof(message)), now, RECEIPT, &err);
}

static JournalHead
head(void)
{
	JournalHead head;

	journal_appended(journal, &head);
	return head;
}

static void
sync_journal(void)
{
	assert_true(intake_flush(intake, now, &err));
	assert_true(journal_sync_step(journal, 0, &err));
	assert_true(intake_feedback(intake, now, &err));
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void
what_is_appended_is_said_when_it_is_synced_and_not_by_us(void **state)
{
	Txn txn = one_frame(0x3000);

	assert_true(give(&txn, 0));
	assert_true(intake_flush(intake, now, &err));
	assert_true(intake_feedback(intake, now, &err));
	assert_int_equal(head().seq, 1);
	assert_true(keepalive(txn.end, true)); /* that unit reaches it: its sync is the answer */
	assert_int_equal(nsaid, 0);
	/* a slow disk: the connection is kept alive with what was said before, and nobody here waits for it */
	now += 10 * SECOND;
	assert_true(intake_feedback(intake, now, &err));
	assert_int_equal(nsaid, 1);
	assert_int_equal(said[0], H0);
	assert_int_equal(syncs, 0);
	sync_journal();
	assert_int_equal(nsaid, 2);
	assert_int_equal(said[1], txn.end);
	assert_int_equal(intake_figures(intake)->acknowledged, txn.end);
	txn_free(&txn);
}

static void
a_data_messages_start_says_nothing(void **state)
{
	Txn txn = one_frame(0x3000);

	assert_true(give_at(&txn.frame[0], 0x7fffffff, txn.commit, RECEIPT));
	sync_journal();
	assert_true(keepalive(txn.end, true));
	assert_int_equal(said[nsaid - 1], txn.end);
	now += 10 * SECOND;
	assert_true(intake_feedback(intake, now, &err));
	assert_int_equal(said[nsaid - 1], txn.end);
	txn_free(&txn);
}

static void
now_is_the_commit_time_within_reason(void **state)
{
	Txn later = one_frame(0x3000);
	Txn forged;
	Txn older;

	assert_true(give(&later, 0));
	assert_int_equal(head().now_us, RECEIPT);
	/* with an origin the commit time is whatever somebody set */
	forged = (Txn){.commit = 0x4000, .end = 0x4030, .commit_time_us = RECEIPT + 365 * 86400 * SECOND};
	frame_begin(&forged);
	frame_end(&forged, true);
	assert_true(give_at(&forged.frame[0], 0, 0x4000, RECEIPT + 5 * SECOND));
	assert_int_equal(head().now_us, RECEIPT + 65 * SECOND);
	assert_int_equal(head().commit_time_us, forged.commit_time_us); /* kept beside it, for people and C6 */
	older = (Txn){.commit = 0x5000, .end = 0x5030, .commit_time_us = RECEIPT - 86400 * SECOND};
	frame_begin(&older);
	frame_end(&older, true);
	assert_true(give_at(&older.frame[0], 0, 0x5000, RECEIPT + 6 * SECOND));
	assert_int_equal(head().now_us, RECEIPT + 65 * SECOND);
	txn_free(&later);
	txn_free(&forged);
	txn_free(&older);
}

static void
a_requested_position_is_journaled_synced_and_given(void **state)
{
	assert_true(keepalive(0x5000, true));
	assert_int_equal(head().seq, 1);
	assert_int_equal(head().end_lsn, 0x5000);
	assert_int_equal(nsaid, 0);
	assert_true(journal_sync_step(journal, 0, &err));
	assert_true(intake_feedback(intake, now, &err));
	assert_int_equal(said[nsaid - 1], 0x5000);
	assert_int_equal(intake_figures(intake)->received, 0x5000);
}

static void
half_a_transaction_is_neither_said_nor_overtaken_nor_kept(void **state)
{
	Txn txn = three_frames(0x3000);
	Txn next = one_frame(0x4000);

	assert_true(give(&txn, 0) && give(&txn, 1));
	assert_true(keepalive(txn.commit, true));
	assert_int_equal(nsaid, 1);
	assert_int_equal(said[0], H0);
	assert_int_equal(head().seq, 0);
	sync_journal();
	/* the connection is lost, and the next one begins with the transaction's start */
	intake_abandon(intake);
	connect_at(ACK_JOURNAL, H0);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(give(&txn, i));
	/* and once more, as a server may that has not heard of it */
	for (uint32_t i = 0; i < 3; i++)
		assert_true(give(&txn, i));
	assert_true(give(&next, 0));
	sync_journal();
	assert_int_equal(head().seq, 2);
	assert_int_equal(intake_figures(intake)->transactions, 2);
	assert_int_equal(intake_figures(intake)->changes, 6);
	assert_int_equal(intake_figures(intake)->dropped, 1);
	txn_free(&txn);
	txn_free(&next);
}

static void
without_room_statuses_go_on_and_nothing_is_lost(void **state)
{
	Txn first = one_frame(0x3000);
	Txn second = one_frame(0x4000);
	Txn third = one_frame(0x5000);
	int before;

	assert_true(give(&first, 0));
	sync_journal();
	seglog_set_quota(journal_log(journal), 1);
	assert_true(give(&second, 0)); /* kept */
	assert_false(intake_full(intake));
	assert_true(intake_no_space(intake)[0] != '\0');
	before = nsaid;
	assert_true(keepalive(0x6000, true)); /* heard, and answered at once with what there is */
	assert_int_equal(nsaid, before + 1);
	assert_int_equal(said[before], first.end);
	assert_true(give(&third, 0));
	assert_true(intake_full(intake));
	assert_true(intake_next_us(intake) <= now + SECOND);
	now += SECOND;
	assert_true(intake_flush(intake, now, &err)); /* in vain */
	assert_true(intake_full(intake));
	assert_int_equal(head().seq, 1);
	seglog_set_quota(journal_log(journal), 0);
	now += SECOND;
	assert_true(intake_flush(intake, now, &err));
	assert_false(intake_full(intake));
	assert_string_equal(intake_no_space(intake), "");
	sync_journal();
	assert_int_equal(head().seq, 3);
	assert_true(keepalive(third.end, true));
	assert_int_equal(said[nsaid - 1], third.end);
	txn_free(&first);
	txn_free(&second);
	txn_free(&third);
}

static void
without_room_for_long_the_connection_is_given_up(void **state)
{
	Txn txn = one_frame(0x3000);
	bool open = true;

	seglog_set_quota(journal_log(journal), 1);
	assert_true(give(&txn, 0));
	for (int i = 0; open && i < 100; i++)
	{
		now += SECOND;
		open = intake_flush(intake, now, &err) && intake_feedback(intake, now, &err);
	}
	assert_false(open);
	assert_int_equal(err.class, ERR_SPACE);
	assert_true(intake_may_retry(intake, &err));
	assert_in_range(now, 1029 * SECOND, 1032 * SECOND);
	assert_true(nsaid >= 2 && said[nsaid - 1] == H0); /* kept alive until then */
	intake_abandon(intake);
	assert_int_equal(head().seq, 0);
	txn_free(&txn);
}

static void
bad_bytes_are_fetched_again_once(void **state)
{
	Txn txn = one_frame(0x3000);

	txn.frame[0].data[txn.frame[0].len - 1] ^= 1; /* of the checksum */
	assert_false(give(&txn, 0));
	assert_true(intake_may_retry(intake, &err));
	intake_abandon(intake);
	connect_at(ACK_JOURNAL, H0);
	assert_false(give(&txn, 0));
	assert_false(intake_may_retry(intake, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	assert_int_equal(head().seq, 0);
	intake_abandon(intake);
	txn_free(&txn);
}

static void
messages_nobody_knows_end_the_connection(void **state)
{
	assert_false(intake_message(intake, slice_string("x"), now, RECEIPT, &err));
	assert_true(intake_may_retry(intake, &err));
	assert_false(intake_message(intake, slice_string("k short"), now, RECEIPT, &err));
	assert_false(intake_message(intake, slice_make(NULL, 0), now, RECEIPT, &err));
	assert_false(intake_message(intake, slice_make("w", INTAKE_MESSAGE_BYTES_MAX + 1), now, RECEIPT, &err));
	assert_int_equal(err.class, ERR_DATA);
	assert_false(intake_may_retry(intake, &err));
}

static void
a_lost_connection_is_an_error_wherever_it_shows(void **state)
{
	Txn txn = one_frame(0x3000);

	assert_true(give(&txn, 0));
	sync_journal();
	mute = true;
	assert_false(keepalive(txn.end, true));
	assert_int_equal(err.class, ERR_RETRY);
	assert_false(intake_goodbye(intake, now, &err));
	now += 10 * SECOND;
	assert_false(intake_feedback(intake, now, &err));
	txn_free(&txn);
}

static void
the_last_word_is_what_was_synced(void **state)
{
	Txn txn = one_frame(0x3000);

	assert_true(give(&txn, 0));
	assert_true(intake_flush(intake, now, &err));
	assert_true(journal_sync_step(journal, 0, &err));
	assert_true(intake_goodbye(intake, now, &err));
	assert_int_equal(said[nsaid - 1], txn.end);
	txn_free(&txn);
}

static void
sinks_that_confirm_are_waited_for(void **state)
{
	Txn txn = one_frame(0x3000);

	connect_at(ACK_SINKS, H0);
	assert_true(give(&txn, 0));
	sync_journal();
	assert_true(keepalive(txn.end, true));
	assert_int_equal(said[nsaid - 1], H0);
	assert_true(intake_sinks(intake, txn.end, now, &err));
	now += 10 * SECOND;
	assert_true(intake_feedback(intake, now, &err));
	assert_int_equal(said[nsaid - 1], txn.end);
	txn_free(&txn);
}

static void
a_beat_is_noticed(void **state)
{
	Txn txn = {.commit = 0x3000, .end = 0x3030};

	frame_begin(&txn);
	put_control(&txn, put_relation(&txn, "walrank", "control", control_columns), &our_stream, 7, 123);
	put_entry(&txn, ENTRY_PUBLICATION_LOST, &(Buffer){0});
	frame_end(&txn, true);
	now += SECOND;
	assert_true(give(&txn, 0));
	assert_int_equal(intake_figures(intake)->beat, 123);
	assert_int_equal(intake_figures(intake)->beat_us, now);
	assert_int_equal(head().beat, 123);
	assert_int_equal(head().owner_epoch, 7);
	txn_free(&txn);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_appended_is_said_when_it_is_synced_and_not_by_us),
		TEST(a_data_messages_start_says_nothing),
		TEST(now_is_the_commit_time_within_reason),
		TEST(a_requested_position_is_journaled_synced_and_given),
		TEST(half_a_transaction_is_neither_said_nor_overtaken_nor_kept),
		TEST(without_room_statuses_go_on_and_nothing_is_lost),
		TEST(without_room_for_long_the_connection_is_given_up),
		TEST(bad_bytes_are_fetched_again_once),
		TEST(messages_nobody_knows_end_the_connection),
		TEST(a_lost_connection_is_an_error_wherever_it_shows),
		TEST(the_last_word_is_what_was_synced),
		TEST(sinks_that_confirm_are_waited_for),
		TEST(a_beat_is_noticed),
	};

	log_init(LOG_FATAL, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
