/*
 * test_intake.c -- messages into the journal when it has no room: nothing is lost, doubled or overtaken, and the server
 * is answered all the while.
 */
#include "test_disk_support.h"

#include <endian.h>

#include "base/log.h"
#include "journal/journal.h"
#include "stream/intake.h"
#include "txn_frames.h"

#define START 0x1000
#define S INT64_C(1000000)

static const JournalIdentity identity = {.stream_id = {{1}}, .start_lsn = START, .complete = true};
static const JournalSettings settings = {.segment_bytes = 1 << 20};

static Journal *journal;
static Intake *intake;
static Lsn told[1000];
static int ntold;
static Error error;

static bool
tell(void *context, Lsn lsn, Error *err)
{
	assert_true(ntold < 1000);
	told[ntold++] = lsn;
	return true;
}

static int
setup(void **state)
{
	IntakeOutput output = {tell, NULL};

	disk_clear();
	ntold = 0;
	assert_true(journal_create(disk_dir, &settings, &identity, &journal, &error));
	intake = intake_create(journal, &output);
	intake_begin(intake, ACK_JOURNAL, START, START, START, 10 * S, 0);
	return 0;
}

static int
teardown(void **state)
{
	fs = &fs_system;
	intake_abandon(intake);
	intake_destroy(intake);
	journal_close(journal);
	return 0;
}

static bool
keepalive(Lsn lsn, int64_t now)
{
	uint8_t message[18] = "k";
	uint64_t position = htobe64(lsn);

	memcpy(message + 1, &position, 8);
	message[17] = 1;
	return intake_message(intake, slice_make(message, sizeof(message)), now, 0, &error);
}

/* The caller's bytes are overwritten afterwards: nobody may still look at them. */
static bool
data(const Txn *txn, int frame, int64_t now)
{
	Buffer message = {0};
	uint64_t position = htobe64(txn->commit);
	bool ok;

	buffer_append_byte(&message, 'w');
	for (int i = 0; i < 3; i++)
		buffer_append(&message, &position, 8);
	buffer_append_slice(&message, buffer_slice(&txn->frame[frame]));
	ok = intake_message(intake, buffer_slice(&message), now, 0, &error);
	memset(message.data, 0xee, message.len);
	buffer_free(&message);
	return ok;
}

static void
room(uint64_t bytes)
{
	seglog_set_quota(journal_log(journal), bytes == 0 ? 0 : journal_bytes(journal) + bytes);
}

static void
sync_all(int64_t now)
{
	assert_true(journal_flush(journal, &error));
	assert_true(journal_sync_step(journal, 0, &error));
	assert_true(intake_feedback(intake, now, &error));
}

/* The journal's transactions, by commit, and PROGRESS units as 0. */
static void
journal_holds(const Lsn *expected, int n)
{
	JournalReader *reader;
	JournalEvent event;
	PartType type;
	Slice bytes;
	Unit unit;
	int i = 0;

	assert_true(journal_reader_open(journal, 1, &reader, &error));
	while ((event = journal_reader_next(reader, &unit, &type, &bytes, &error)) != JOURNAL_NOTHING)
	{
		assert_int_not_equal(event, JOURNAL_ERROR);
		if (event != JOURNAL_UNIT)
			continue;
		assert_true(i < n);
		assert_int_equal(unit.kind == UNIT_TXN ? unit.commit_lsn : 0, expected[i++]);
	}
	assert_int_equal(i, n);
	journal_reader_close(reader);
}

static void
a_message_without_room_is_kept_and_keepalives_behind_it_are_answered(void **state)
{
	Txn a = one_frame(0x2000);
	Txn b = one_frame(0x3000);

	room(40);
	assert_true(data(&a, 0, 0));
	assert_string_not_equal(intake_no_space(intake), "");
	assert_false(intake_full(intake));
	assert_true(keepalive(0x2500, 1000));
	assert_int_equal(ntold, 1);
	assert_int_equal(told[0], START);
	assert_true(data(&b, 0, 2000));
	assert_true(intake_full(intake));
	for (int64_t now = 3000; now < 29 * S; now += 100000)
	{
		assert_true(intake_flush(intake, now, &error));
		assert_true(intake_feedback(intake, now, &error));
	}
	assert_in_range(ntold, 3, 4); /* every 10 s, unasked */
	assert_int_equal(told[ntold - 1], START);
	room(0);
	assert_true(intake_flush(intake, 29 * S + 600000, &error));
	assert_false(intake_full(intake));
	assert_string_equal(intake_no_space(intake), "");
	sync_all(29 * S);
	journal_holds((Lsn[]){0x2000, 0x3000}, 2);
	assert_true(keepalive(0x3100, 30 * S));
	sync_all(30 * S);
	assert_int_equal(told[ntold - 1], 0x3100);
	txn_free(&a);
	txn_free(&b);
}

static void
no_progress_overtakes_a_message_that_waits(void **state)
{
	Txn a = one_frame(0x2000);

	room(40);
	assert_true(data(&a, 0, 0));
	for (int64_t now = 0; now < 4 * S; now += 10000)
	{
		assert_true(keepalive(0x9000, now));
		assert_true(intake_flush(intake, now, &error)); /* tried again now and then, in vain */
	}
	room(0); /* the next keepalive comes before the next trial */
	assert_true(keepalive(0x9000, 4 * S));
	sync_all(4 * S);
	assert_int_equal(told[ntold - 1], START);
	journal_holds(NULL, 0);
	assert_true(intake_flush(intake, 5 * S, &error));
	sync_all(5 * S);
	journal_holds((Lsn[]){0x2000}, 1);
	txn_free(&a);
}

static void
in_the_middle_of_a_transaction_the_rest_waits(void **state)
{
	Txn a = three_frames(0x2000);

	assert_true(data(&a, 0, 0));
	assert_true(intake_flush(intake, 0, &error));
	room(10);
	assert_true(data(&a, 1, 1000));
	assert_true(data(&a, 2, 2000));
	assert_true(intake_full(intake));
	assert_true(intake_flush(intake, 2 * S, &error));
	assert_true(intake_full(intake));
	room(0);
	assert_true(intake_flush(intake, 3 * S, &error));
	sync_all(3 * S);
	journal_holds((Lsn[]){0x2000}, 1);
	assert_int_equal(intake_figures(intake)->frames, 3);
	txn_free(&a);
}

static void
the_connection_is_given_up_after_30_s_or_when_the_server_stops(void **state)
{
	Txn a = one_frame(0x2000);
	int64_t now;

	room(40);
	assert_true(data(&a, 0, 0));
	for (now = 0; now < 60 * S && intake_feedback(intake, now, &error); now += 100000)
		;
	assert_in_range(now, 30 * S, 31 * S);
	assert_int_equal(error.class, ERR_SPACE);
	assert_non_null(strstr(error.message, "quota"));
	assert_true(intake_may_retry(intake, &error));

	intake_abandon(intake);
	intake_begin(intake, ACK_JOURNAL, START, START, START, 10 * S, 0);
	assert_true(data(&a, 0, 0));
	for (now = 0; now < 60 * S && keepalive(0x9000, now); now += 100000)
		;
	assert_in_range(now, 5 * S, 6 * S);

	/* and it is all sent again */
	intake_abandon(intake);
	room(0);
	intake_begin(intake, ACK_JOURNAL, START, START, START, 10 * S, 0);
	assert_true(data(&a, 0, 0));
	sync_all(0);
	journal_holds((Lsn[]){0x2000}, 1);
	txn_free(&a);
}

static void
a_full_disk_is_met_at_the_flush_and_waited_for(void **state)
{
	Txn a = one_frame(0x2000);
	Txn b = one_frame(0x3000);

	disk_faulty(DISK_PWRITE, 1, ENOSPC, 3);
	assert_true(data(&a, 0, 0));
	assert_true(intake_flush(intake, 1000, &error));
	assert_string_not_equal(intake_no_space(intake), "");
	assert_true(data(&b, 0, 2000)); /* kept, not appended behind what waits */
	assert_true(keepalive(0x9000, 3000));
	assert_int_equal(told[ntold - 1], START);
	for (int64_t now = S; now < 5 * S; now += S)
		assert_true(intake_flush(intake, now, &error));
	assert_string_equal(intake_no_space(intake), "");
	sync_all(5 * S);
	journal_holds((Lsn[]){0x2000, 0x3000}, 2);
	disk_heal();
	txn_free(&a);
	txn_free(&b);
}

static void
a_progress_that_does_not_fit_is_tried_again(void **state)
{
	room(40);
	assert_true(keepalive(0x2000, 0));
	assert_string_not_equal(intake_no_space(intake), "");
	assert_true(intake_feedback(intake, 0, &error));
	assert_int_equal(told[ntold - 1], START); /* the request is not left open */
	room(0);
	assert_true(keepalive(0x2000, 1 * S));
	sync_all(1 * S);
	assert_true(keepalive(0x2000, 1 * S));
	assert_int_equal(told[ntold - 1], 0x2000);
	journal_holds((Lsn[]){0}, 1);
	assert_string_equal(intake_no_space(intake), "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_message_without_room_is_kept_and_keepalives_behind_it_are_answered,
										setup, teardown),
		cmocka_unit_test_setup_teardown(no_progress_overtakes_a_message_that_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(in_the_middle_of_a_transaction_the_rest_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(the_connection_is_given_up_after_30_s_or_when_the_server_stops, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_is_met_at_the_flush_and_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_progress_that_does_not_fit_is_tried_again, setup, teardown),
	};
	int failed;

	log_init(LOG_FATAL, false);
	disk_open();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	disk_close();
	return failed;
}
