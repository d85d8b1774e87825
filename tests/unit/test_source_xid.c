/*
 * test_source_xid.c -- what a server says of a transaction (rule C6), asked of a real one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg_temp.h"

#include "stream/source.h"

static int
start_server(void **state)
{
	return pg_start("-c track_commit_timestamp=on") ? 0 : -1;
}

static int
stop_server(void **state)
{
	pg_stop();
	return 0;
}

static uint64_t
number(PGconn *conn, const char *sql)
{
	return strtoull(pg_sql_on(conn, sql), NULL, 10);
}

static SourceXid
asked(uint64_t xid)
{
	SourceXid said;
	Error err;

	if (!source_xid(pg_conn, xid, &said, &err))
		fail_msg("%s", err.message);
	return said;
}

static void
a_transaction_is_what_became_of_it(void **state)
{
	PGconn *other = PQconnectdb(pg_conninfo);
	uint64_t committed = number(pg_conn, "SELECT pg_current_xact_id()");
	uint64_t aborted;
	uint64_t running;

	pg_sql_on(other, "BEGIN");
	aborted = number(other, "SELECT pg_current_xact_id()");
	pg_sql_on(other, "ROLLBACK");
	pg_sql_on(other, "BEGIN");
	running = number(other, "SELECT pg_current_xact_id()");
	assert_true(committed > 0 && aborted > committed && running > aborted);
	assert_int_equal(asked(committed).status, XID_COMMITTED);
	assert_int_equal(asked(aborted).status, XID_ABORTED);
	assert_int_equal(asked(running).status, XID_IN_PROGRESS);
	assert_int_equal(asked(0).status, XID_NONE);
	pg_sql_on(other, "COMMIT");
	assert_int_equal(asked(running).status, XID_COMMITTED);
	PQfinish(other);
}

static void
the_commit_time_comes_where_it_is_tracked(void **state)
{
	uint64_t xid = number(pg_conn, "SELECT pg_current_xact_id()");
	char sql[160];
	SourceXid said = asked(xid);

	assert_true(said.timed);
	snprintf(sql, sizeof(sql),
			 "SELECT (extract(epoch FROM pg_xact_commit_timestamp('%llu'::xid)) * 1000000)::bigint",
			 (unsigned long long) xid);
	assert_int_equal(said.commit_time_us, number(pg_conn, sql));
}

/* A server that was set back has never given it out. */
static void
a_transaction_of_the_future_is_not_one_too_old(void **state)
{
	uint64_t xid = number(pg_conn, "SELECT pg_current_xact_id()");

	assert_int_equal(asked(xid + 1000000).status, XID_FUTURE);
}

/* The same 32 bits, one epoch later. */
static void
all_64_bits_are_asked_for(void **state)
{
	uint64_t xid = number(pg_conn, "SELECT pg_current_xact_id()");

	assert_int_equal(asked(xid).status, XID_COMMITTED);
	assert_int_equal(asked(xid + (UINT64_C(1) << 32)).status, XID_FUTURE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_transaction_is_what_became_of_it),
		cmocka_unit_test(the_commit_time_comes_where_it_is_tracked),
		cmocka_unit_test(a_transaction_of_the_future_is_not_one_too_old),
		cmocka_unit_test(all_64_bits_are_asked_for),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
