/*
 * test_ack.c -- what may be told to the server, tried event by event and a million at random.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "stream/ack.h"

#define MS INT64_C(1000)
#define S INT64_C(1000000)
#define START UINT64_C(1000)

static Ack
begun(void)
{
	Ack ack;

	ack_begin(&ack, ACK_JOURNAL, START, START, 5000, 10 * S, 0);
	return ack;
}

static void
nothing(AckActions a)
{
	assert_false(a.progress || a.status || a.close);
}

static void
only_status(AckActions a, Lsn lsn)
{
	assert_true(a.status);
	assert_false(a.progress || a.close);
	assert_int_equal(a.status_lsn, lsn);
}

static void
only_progress(AckActions a, Lsn lsn)
{
	assert_true(a.progress);
	assert_false(a.status || a.close);
	assert_int_equal(a.progress_lsn, lsn);
}

static void
a_requested_reply_makes_the_position_durable_before_it_is_given(void **state)
{
	Ack ack = begun();

	only_progress(ack_keepalive(&ack, 2000, true, 1 * S), 2000);
	ack_appended(&ack, 2000);
	nothing(ack_timer(&ack, 1 * S + 1)); /* not before the fsync */
	only_status(ack_durable(&ack, 2000, 1 * S + 500), 2000);
	nothing(ack_timer(&ack, 1 * S + 600));
}

static void
never_one_byte_more_than_the_server_named(void **state)
{
	Ack ack = begun();
	AckActions a;

	ack_keepalive(&ack, 7000, true, 1 * S);
	ack_appended(&ack, 7000);
	a = ack_durable(&ack, 7000, 2 * S);
	assert_int_equal(a.status_lsn, 7000);
	assert_int_not_equal(a.status_lsn, 7001);
}

static void
a_reply_is_never_withheld_when_nothing_moved(void **state)
{
	Ack ack = begun();

	only_status(ack_keepalive(&ack, START, true, 1), START);
	only_status(ack_keepalive(&ack, START, true, 2), START);
	only_status(ack_keepalive(&ack, 1, true, 3), START); /* positions may go backwards */
}

static void
with_a_transaction_half_in_no_progress_is_made(void **state)
{
	Ack ack = begun();

	ack_data(&ack, 6000, true);
	only_status(ack_keepalive(&ack, 6000, true, 1 * S), START);
	nothing(ack_keepalive(&ack, 6000 + (64u << 20), false, 60 * S - 1));
	ack_appended(&ack, 6100);
	ack_data(&ack, 6100, false);
	nothing(ack_durable(&ack, 6100, 2 * S)); /* unasked: with the next timer */
	only_status(ack_timer(&ack, 11 * S), 6100);
}

static void
a_begun_transaction_cancels_a_deferred_progress(void **state)
{
	Ack ack = begun();

	only_progress(ack_keepalive(&ack, 2000, true, 1 * S), 2000);
	ack_appended(&ack, 2000);
	only_status(ack_durable(&ack, 2000, 1 * S + 1), 2000);
	nothing(ack_keepalive(&ack, 2100, true, 1 * S + 10 * MS));
	ack_data(&ack, 2200, true);
	only_status(ack_timer(&ack, 1 * S + 20 * MS), 2000);
	nothing(ack_timer(&ack, 1 * S + 200 * MS));
}

static void
requested_progress_comes_at_most_every_100_ms_and_then_is_answered(void **state)
{
	Ack ack = begun();

	only_progress(ack_keepalive(&ack, 2000, true, 1 * S), 2000);
	ack_appended(&ack, 2000);
	only_status(ack_durable(&ack, 2000, 1 * S + 1), 2000);
	nothing(ack_keepalive(&ack, 2100, true, 1 * S + 50 * MS));
	assert_true(ack_next_us(&ack) <= 1 * S + 100 * MS);
	only_progress(ack_timer(&ack, 1 * S + 100 * MS), 2100);
	ack_appended(&ack, 2100);
	only_status(ack_durable(&ack, 2100, 1 * S + 101 * MS), 2100);
}

static void
a_unit_that_reaches_the_position_already_is_not_doubled(void **state)
{
	Ack ack = begun();

	ack_data(&ack, 3000, false);
	ack_appended(&ack, 3000);
	nothing(ack_keepalive(&ack, 3000, true, 1 * S)); /* its fsync is the answer */
	only_status(ack_durable(&ack, 3000, 2 * S), 3000);
}

static void
an_idle_keepalive_moves_the_slot_every_10_s_or_16_MiB(void **state)
{
	Ack ack = begun();

	nothing(ack_keepalive(&ack, 2000, false, 9 * S));
	only_progress(ack_keepalive(&ack, 2000, false, 10 * S), 2000);
	ack_appended(&ack, 2000);
	nothing(ack_keepalive(&ack, 3000, false, 11 * S));
	only_progress(ack_keepalive(&ack, 2000 + (16u << 20), false, 11 * S), 2000 + (16u << 20));
}

static void
the_first_keepalive_repeats_the_slots_position_and_means_nothing(void **state)
{
	Ack ack = begun();

	nothing(ack_keepalive(&ack, 10, false, 20 * S));
	only_status(ack_keepalive(&ack, 10, true, 20 * S), START);
}

static void
a_slow_fsync_does_not_silence_the_connection(void **state)
{
	Ack ack = begun();
	int statuses = 0;

	only_progress(ack_keepalive(&ack, 2000, true, 0), 2000);
	ack_appended(&ack, 2000);
	for (int64_t now = 0; now <= 90 * S; now += 100 * MS)
	{
		AckActions a = ack_timer(&ack, now);

		assert_false(a.close || a.progress);
		if (a.status)
			assert_int_equal(a.status_lsn, START);
		statuses += a.status;
	}
	assert_int_equal(statuses, 9);
}

static void
without_space_the_position_stands_still_and_the_connection_ends_in_time(void **state)
{
	Ack ack = begun();
	AckActions a = {0};
	int64_t now;

	ack_space(&ack, true, 0);
	only_status(ack_keepalive(&ack, 9000, true, 1), START);
	for (now = 100 * MS; now < 7 * S && !a.close; now += 100 * MS)
		a = ack_keepalive(&ack, 9000, true, now);
	assert_true(a.close); /* the server waits for us to stop */
	assert_in_range(now, 5 * S, 5 * S + 300 * MS);

	ack = begun();
	ack_space(&ack, true, 0);
	assert_false(ack_timer(&ack, 29 * S).close);
	assert_true(ack_timer(&ack, 30 * S).close);

	ack = begun();
	ack_space(&ack, true, 0);
	ack_space(&ack, false, 20 * S);
	assert_false(ack_timer(&ack, 31 * S).close);
}

static void
a_frame_that_waits_for_space_does_not_hide_a_server_that_stops(void **state)
{
	Ack ack = begun();
	AckActions a = {0};
	int64_t now;

	ack_data(&ack, 6000, true);
	ack_space(&ack, true, 0);
	for (now = 0; now < 7 * S && !a.close; now += 100 * MS)
	{
		a = ack_keepalive(&ack, 9000, true, now);
		assert_false(a.progress); /* it would overtake the frame */
		assert_true(a.status && a.status_lsn == START);
	}
	assert_in_range(now, 5 * S, 5 * S + 300 * MS);
}

static void
a_progress_is_the_trial_whether_there_is_space_again(void **state)
{
	Ack ack = begun();
	AckActions a;
	int trials = 0;

	only_progress(ack_keepalive(&ack, 2000, true, 1 * S), 2000);
	ack_space(&ack, true, 1 * S);				/* it did not fit */
	only_status(ack_timer(&ack, 1 * S), START); /* and the request is not left open */
	for (int64_t now = 1 * S; now < 5 * S; now += 50 * MS)
	{
		a = ack_keepalive(&ack, 2000, true, now);
		assert_true(a.status && a.status_lsn == START);
		trials += a.progress;
	}
	assert_in_range(trials, 3, 4);
	ack_appended(&ack, 2000);
	ack_space(&ack, false, 5 * S);
	ack_durable(&ack, 2000, 5 * S);
	only_status(ack_keepalive(&ack, 2000, true, 6 * S), 2000);
}

/* ---- confirm = sinks --------------------------------------------------------------------------- */

static Ack
begun_with_sinks(Lsn confirmed)
{
	Ack ack;

	ack_begin(&ack, ACK_SINKS, START, confirmed, 50000, 10 * S, 0);
	return ack;
}

static Lsn
told(Ack *ack, int64_t now)
{
	AckActions a = ack_timer(ack, now);

	assert_true(a.status);
	return a.status_lsn;
}

static void
with_sinks_the_slowest_checkpoint_holds_the_position(void **state)
{
	Ack ack = begun_with_sinks(400);

	assert_int_equal(told(&ack, 10 * S), 400); /* no sink has said where it is */
	ack_sinks(&ack, 700, 11 * S);
	assert_int_equal(told(&ack, 20 * S), 700);
	ack_sinks(&ack, 3000, 21 * S);
	assert_int_equal(told(&ack, 30 * S), START); /* nor beyond the journal */
	ack_durable(&ack, 2000, 31 * S);
	assert_int_equal(told(&ack, 40 * S), 2000);
	ack_durable(&ack, 9000, 41 * S);
	assert_int_equal(told(&ack, 50 * S), 3000);
	ack_sinks(&ack, ACK_NO_SINK, 51 * S);
	assert_int_equal(told(&ack, 60 * S), 9000);
}

static void
a_sink_that_falls_back_does_not_pull_the_position_back(void **state)
{
	Ack ack = begun_with_sinks(400);

	ack_sinks(&ack, 900, 1 * S);
	assert_int_equal(told(&ack, 10 * S), 900);
	ack_sinks(&ack, 100, 11 * S);
	assert_int_equal(told(&ack, 20 * S), 900);
	ack_sinks(&ack, 0, 21 * S);
	assert_int_equal(told(&ack, 30 * S), 900);
}

static void
with_sinks_a_request_is_answered_at_once_and_the_position_sent_after_them(void **state)
{
	Ack ack = begun_with_sinks(START);
	AckActions a;

	ack_sinks(&ack, START, 0);
	a = ack_keepalive(&ack, 2000, true, 1 * S);
	assert_true(a.status && a.status_lsn == START);
	assert_true(a.progress && a.progress_lsn == 2000); /* without it no sink would ever reach it */
	ack_appended(&ack, 2000);
	ack_durable(&ack, 2000, 1 * S + 100 * MS);
	only_status(ack_keepalive(&ack, 2000, true, 1 * S + 200 * MS), START);
	ack_sinks(&ack, 2000, 1 * S + 300 * MS);
	only_status(ack_keepalive(&ack, 2000, true, 1 * S + 400 * MS), 2000);
}

static void
with_sinks_a_server_that_stops_waits_5_s_for_them_at_most(void **state)
{
	Ack ack = begun_with_sinks(START);
	AckActions a = {0};
	int64_t now;

	for (now = 0; now < 7 * S && !a.close; now += 20 * MS)
	{
		ack_sinks(&ack, START + (Lsn) (now / S), now); /* they move, but do not arrive */
		a = ack_keepalive(&ack, 2000, true, now);
		if (a.progress)
			ack_appended(&ack, a.progress_lsn);
	}
	assert_in_range(now, 5 * S, 5 * S + 100 * MS);

	/* single requests, and those during a large transaction, are no such run */
	ack = begun_with_sinks(START);
	for (now = 0; now < 60 * S; now += 2 * S)
		assert_false(ack_keepalive(&ack, 2000, true, now).close);
	ack = begun_with_sinks(START);
	ack_data(&ack, 3000, true);
	for (now = 0; now < 60 * S; now += 500 * MS)
		assert_false(ack_keepalive(&ack, 3000, true, now).close);
}

static void
the_interval_is_a_third_of_the_servers_timeout(void **state)
{
	assert_int_equal(ack_interval_us(60000, 10000), 10 * S);
	assert_int_equal(ack_interval_us(3000, 10000), 1 * S);
	assert_int_equal(ack_interval_us(0, 10000), 10 * S);
	assert_int_equal(ack_interval_us(0, 500), 500 * MS);
	assert_true(ack_interval_us(1, 10000) > 0);
}

/* Runs it in a child: does it die of an assertion? */
static void
dies(void (*what)(Ack *))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
	{
		Ack ack = begun();

		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		what(&ack);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void
durable_decreases(Ack *ack)
{
	ack_durable(ack, START - 1, 1);
}

static void
beyond_what_was_named(Ack *ack)
{
	ack_durable(ack, 1 << 30, 1); /* far future: the server would believe it and forget everything */
	ack_end(ack, 2);
}

static void
begins_ahead_of_the_server(Ack *ack)
{
	ack_begin(ack, ACK_JOURNAL, 6000, 5000, 5000, S, 0);
}

static void
slot_confirmed_what_the_journal_lacks(Ack *ack)
{
	ack_begin(ack, ACK_JOURNAL, 4000, 4001, 5000, S, 0);
}

static void
shifted_position(Ack *ack)
{
	ack->durable <<= 8;
	ack_end(ack, 2);
}

static void
assertions_are_on_in_this_very_build(void **state)
{
	dies(durable_decreases);
	dies(beyond_what_was_named);
	dies(begins_ahead_of_the_server);
	dies(slot_confirmed_what_the_journal_lacks);
	dies(shifted_position);
}

/*
 * A server and a journal played at random.  The oracle knows only the promise: what is given out never
 * passes what an fsync covered nor what was named, never decreases, and every request is answered.
 */
typedef struct World
{
	Ack ack;
	int64_t now;
	Lsn wal; /* the server's end */
	Lsn named;
	Lsn appended;
	Lsn synced;
	Lsn given;
	Lsn sinks;
	bool with_sinks;
	bool partial;
	int64_t asked; /* 0: nothing open */
	int64_t last_status;
	uint64_t statuses;
} World;

static void
check(World *w, AckActions a)
{
	if (a.progress)
	{
		assert_false(w->partial);
		assert_true(a.progress_lsn > w->appended && a.progress_lsn <= w->named);
		w->appended = a.progress_lsn;
		ack_appended(&w->ack, w->appended);
	}
	if (a.status)
	{
		assert_true(a.status_lsn <= w->synced);
		assert_true(a.status_lsn <= w->named);
		assert_true(a.status_lsn >= w->given);
		if (w->with_sinks && a.status_lsn > w->given)
			assert_true(a.status_lsn <= w->sinks);
		w->given = a.status_lsn;
		w->last_status = w->now;
		w->asked = 0;
		w->statuses++;
	}
	if (!w->with_sinks)
		assert_false(a.close);
}

static void
random_step(World *w)
{
	w->now += rand() % 20000;
	w->wal += (uint64_t) (rand() % 5000);
	switch (rand() % 7)
	{
		case 6: /* the sinks: mostly forward, sometimes one falls back */
			w->sinks = rand() % 5 == 0 ? w->sinks / 2 : w->synced;
			check(w, ack_sinks(&w->ack, w->sinks, w->now));
			break;
		case 0: /* a frame */
			w->wal += 100;
			w->named = w->wal > w->named ? w->wal : w->named;
			w->partial = rand() % 3 == 0;
			ack_data(&w->ack, w->wal, w->partial);
			if (!w->partial)
				ack_appended(&w->ack, w->appended = w->wal);
			break;
		case 1: /* keepalive; sometimes an old position */
		case 2:
		{
			bool reply = rand() % 2 == 0;
			Lsn at = rand() % 5 == 0 ? w->wal / 2 : w->wal;

			w->named = at > w->named ? at : w->named;
			if (reply && w->asked == 0)
				w->asked = w->now;
			check(w, ack_keepalive(&w->ack, at, reply, w->now));
			break;
		}
		case 3: /* an fsync ends */
			w->synced = w->appended;
			check(w, ack_durable(&w->ack, w->synced, w->now));
			break;
		default:
			check(w, ack_timer(&w->ack, w->now));
	}
}

static void
a_million_random_events_never_break_the_promise(void **state)
{
	srand(20261120);
	for (int run = 0; run < 200; run++)
	{
		World w = {.wal = START, .named = START, .appended = START, .synced = START};

		w.with_sinks = run % 2 == 1;
		w.given = START - (Lsn) (rand() % 500);
		ack_begin(&w.ack, w.with_sinks ? ACK_SINKS : ACK_JOURNAL, START, w.given, START, 10 * S, 0);
		for (int i = 0; i < 5000; i++)
		{
			random_step(&w);
			assert_true(w.asked == 0 || w.now - w.asked < 11 * S);
		}
		assert_true(w.statuses > 10);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_requested_reply_makes_the_position_durable_before_it_is_given),
		cmocka_unit_test(never_one_byte_more_than_the_server_named),
		cmocka_unit_test(a_reply_is_never_withheld_when_nothing_moved),
		cmocka_unit_test(with_a_transaction_half_in_no_progress_is_made),
		cmocka_unit_test(a_begun_transaction_cancels_a_deferred_progress),
		cmocka_unit_test(requested_progress_comes_at_most_every_100_ms_and_then_is_answered),
		cmocka_unit_test(a_unit_that_reaches_the_position_already_is_not_doubled),
		cmocka_unit_test(an_idle_keepalive_moves_the_slot_every_10_s_or_16_MiB),
		cmocka_unit_test(the_first_keepalive_repeats_the_slots_position_and_means_nothing),
		cmocka_unit_test(a_slow_fsync_does_not_silence_the_connection),
		cmocka_unit_test(without_space_the_position_stands_still_and_the_connection_ends_in_time),
		cmocka_unit_test(a_frame_that_waits_for_space_does_not_hide_a_server_that_stops),
		cmocka_unit_test(a_progress_is_the_trial_whether_there_is_space_again),
		cmocka_unit_test(with_sinks_the_slowest_checkpoint_holds_the_position),
		cmocka_unit_test(a_sink_that_falls_back_does_not_pull_the_position_back),
		cmocka_unit_test(with_sinks_a_request_is_answered_at_once_and_the_position_sent_after_them),
		cmocka_unit_test(with_sinks_a_server_that_stops_waits_5_s_for_them_at_most),
		cmocka_unit_test(the_interval_is_a_third_of_the_servers_timeout),
		cmocka_unit_test(assertions_are_on_in_this_very_build),
		cmocka_unit_test(a_million_random_events_never_break_the_promise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
