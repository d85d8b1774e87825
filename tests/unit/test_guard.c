/*
 * test_guard.c -- rule B3: no reading with a snapshot that is ahead of the commit log.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stream/guard.h"

static bool
agrees(const char *exported, const char *ordinary)
{
	GuardSnapshot a;
	GuardSnapshot b;
	bool agreed;

	assert_true(guard_parse(exported, &a));
	assert_true(guard_parse(ordinary, &b));
	agreed = guard_agrees(&a, &b);
	guard_free(&a);
	guard_free(&b);
	return agreed;
}

static void
a_commit_that_an_ordinary_snapshot_still_counts_as_running_is_waited_for(void **state)
{
	assert_false(agrees("10:20:12", "15:20:15"));
	assert_false(agrees("10:20:12", "12:25:12,15,21"));
	assert_true(agrees("10:20:12", "16:20:"));
	assert_true(agrees("10:20:12", "12:20:12"));
	assert_true(agrees("10:20:12", "22:25:23"));
}

static void
what_the_exported_one_does_not_count_as_finished_is_nobodys_business(void **state)
{
	assert_true(agrees("10:20:12,15", "12:20:12,15"));
	assert_true(agrees("10:20:", "20:30:20,25"));
}

static void
the_edges_are_xmin_and_xmax(void **state)
{
	assert_false(agrees("10:20:", "10:20:10"));
	assert_false(agrees("10:20:", "19:20:19"));
	assert_true(agrees("10:20:", "20:21:20"));
	/* below xmin all are finished for the exported one */
	assert_false(agrees("10:20:", "9:20:9"));
	/* an ordinary snapshot that has not come as far says nothing of the last ones */
	assert_false(agrees("10:20:", "19:19:"));
}

static void
large_numbers_keep_all_their_bits(void **state)
{
	assert_false(agrees("8589934602:8589934612:8589934603", "8589934607:8589934612:8589934607"));
	assert_true(agrees("8589934602:8589934612:8589934607", "8589934607:8589934612:8589934607"));
	assert_false(agrees("4294967306:4294967316:11", "4294967307:4294967316:4294967307"));
}

static void
text_that_is_no_snapshot_is_refused(void **state)
{
	static const char *const bad[] = {"",		"1",		"1:",	 "1:2",	   ":2:",	  "1:2:3,",
									  "1:2:,3", "1:2:3 ,4", "1:2:x", "-1:2:3", "1:2:3;4", " 1:2:"};
	GuardSnapshot snapshot;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(guard_parse(bad[i], &snapshot));
	assert_true(guard_parse("3:9:3,5,8", &snapshot));
	assert_int_equal(snapshot.nxip, 3);
	assert_int_equal(snapshot.xip[2], 8);
	guard_free(&snapshot);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_commit_that_an_ordinary_snapshot_still_counts_as_running_is_waited_for),
		cmocka_unit_test(what_the_exported_one_does_not_count_as_finished_is_nobodys_business),
		cmocka_unit_test(the_edges_are_xmin_and_xmax),
		cmocka_unit_test(large_numbers_keep_all_their_bits),
		cmocka_unit_test(text_that_is_no_snapshot_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
