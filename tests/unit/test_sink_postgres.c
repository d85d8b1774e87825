/*
 * test_sink_postgres.c -- scores and checkpoint move together, on a real server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "base/clock.h"
#include "pg_temp.h"
#include "sink_drive.h"

static const FixtureColumn item_columns[] = {
	{"id", "bigint", true}, {"title", "text", false}, {NULL, NULL, false}};

static FeedFixture f;
static char *options = pg_conninfo; /* PgOptions: one string */
static Buffer key;
static Buffer value;

static int
setup(void **state)
{
	fixture_open(&f);
	pg_sql("DROP SCHEMA IF EXISTS walrank_out CASCADE");
	fixture_begin(&f, UNIT_TXN);
	fixture_relation(&f, 1, "public", "item", "", item_columns);
	fixture_ranking(&f, 1, 1, "home");
	fixture_ranking(&f, 2, 1, "new");
	return 0;
}

static int
teardown(void **state)
{
	pg_sql("ALTER SYSTEM RESET synchronous_standby_names");
	pg_sql("SELECT pg_reload_conf()");
	fixture_close(&f);
	buffer_free(&key);
	buffer_free(&value);
	key = value = (Buffer){0};
	return 0;
}

static void
opened(Drive *d)
{
	drive_create(d, &sink_postgres, "scores", &options, &f);
	if (!drive_open(d))
		fail_msg("%s", d->err.message);
}

static void
applied(Drive *d)
{
	if (!drive_all(d, &f))
		fail_msg("%s", d->err.message);
}

/* Opens, applies all that is there, closes. */
static void
run_once(void)
{
	Drive d;

	opened(&d);
	applied(&d);
	drive_destroy(&d);
}

static void
unit(int64_t id, double score)
{
	fixture_begin(&f, UNIT_TXN);
	fixture_score(&f, 1, 1, 1, key_int(id), score);
	fixture_end(&f, true);
}

#define ROWS "SELECT id, ranking, score, seq FROM walrank_out.score_item ORDER BY 1, 2"

static void
scores_and_checkpoint_are_written_together(void **state)
{
	RecordEntry pinned = {.kind = RECORD_SCORE, .change = 2, .out = 2, .relation = 1};
	Drive d;

	fixture_score(&f, 1, 1, 1, key_int(17), 0.73125);
	pinned.key = key_int(-5);
	pinned.score.score = 1e300;
	pinned.score.tier = -2;
	pinned.score.pin = 7;
	pinned.score.blocked = true;
	pinned.score.version = 9;
	fixture_entry(&f, &pinned);
	fixture_entry(&f, &(RecordEntry){.kind = RECORD_GAP, .change = 1});
	fixture_end(&f, true);
	opened(&d);
	assert_false(d.found);
	applied(&d);
	assert_string_equal(pg_sql("SELECT id, ranking, tier, pin, score, blocked, version, seq, commit_lsn, "
							   "evaluated_at AT TIME ZONE 'UTC' FROM walrank_out.score_item ORDER BY 1"),
						"-5|new|-2|7|1e+300|t|9|1|0/1000100|2026-11-20 14:46:30.000001\n"
						"17|home|0||0.73125|f|4|1|0/1000100|2026-11-20 14:46:30.000001");
	assert_string_equal(
		pg_sql("SELECT sink_id, stream_id, owner_epoch, seq, part, end_lsn, applied, filtered, parked, "
			   "quarantined, total_start, commit_time AT TIME ZONE 'UTC' FROM walrank_out.checkpoint"),
		"scores|5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a|1|1|0|0/1000180|2|1|0|0|0|"
		"2026-11-20 14:46:29.174216");
	assert_string_equal(
		pg_sql("SELECT reloptions FROM pg_class WHERE oid = 'walrank_out.score_item'::regclass"),
		"{fillfactor=70}");
	assert_string_equal(
		pg_sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'score_item' ORDER BY 1"),
		"CREATE INDEX score_item_seq_idx ON walrank_out.score_item USING btree (seq)\n"
		"CREATE UNIQUE INDEX score_item_pkey ON walrank_out.score_item USING btree (id, ranking)");
	drive_destroy(&d);
	opened(&d);
	assert_true(d.found);
	assert_int_equal(d.position.owner_epoch, 2);
	assert_int_equal(d.position.seq, 1);
	assert_int_equal(d.position.end_lsn, 0x1000180);
	assert_int_equal(d.position.applied, 2);
	assert_int_equal(d.position.filtered, 1);
	assert_int_equal(d.position.commit_time_us, INT64_C(1795185989174216));
	drive_destroy(&d);
}

static void
in_a_batch_the_last_result_wins(void **state)
{
	fixture_score(&f, 1, 1, 1, key_int(1), 1); /* replaced */
	fixture_score(&f, 2, 1, 1, key_int(1), 2); /* removed */
	fixture_remove(&f, 3, 1, 1, key_int(1));
	fixture_score(&f, 4, 1, 2, key_int(1), 3); /* another ranking: stays */
	fixture_remove(&f, 5, 1, 1, key_int(2));   /* then written */
	fixture_score(&f, 6, 1, 1, key_int(2), 4);
	fixture_score(&f, 7, 1, 1, key_int(3), 5);
	fixture_end(&f, true);
	unit(3, 6);
	run_once();
	assert_string_equal(pg_sql(ROWS), "1|new|3|1\n2|home|4|1\n3|home|6|2");
	assert_string_equal(pg_sql("SELECT seq, applied FROM walrank_out.checkpoint"), "2|8");
	fixture_begin(&f, UNIT_TXN);
	fixture_remove(&f, 1, 1, 1, key_int(3));
	fixture_remove(&f, 2, 1, 1, key_int(99)); /* not there */
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql(ROWS), "1|new|3|1\n2|home|4|1");
}

static void
all_items_at_once_are_removed_in_their_place(void **state)
{
	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_score(&f, 2, 1, 2, key_int(1), 2);
	fixture_score(&f, 3, 1, 2, key_int(2), 2);
	fixture_end(&f, true);
	run_once();
	fixture_begin(&f, UNIT_TXN);
	fixture_score(&f, 1, 1, 2, key_int(3), 3); /* before: goes */
	fixture_remove(&f, 2, 1, 2, (Slice){0});
	fixture_score(&f, 3, 1, 2, key_int(2), 4); /* after: stays */
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql(ROWS), "1|home|1|1\n2|new|4|2");
	fixture_begin(&f, UNIT_TXN);
	fixture_score(&f, 1, 1, 1, key_int(8), 1);
	fixture_truncate(&f, 2, 1);
	fixture_score(&f, 3, 1, 1, key_int(8), 2);
	fixture_remove(&f, 4, 1, 1, key_int(8));
	fixture_score(&f, 5, 1, 1, key_int(9), 5);
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql(ROWS), "9|home|5|3");
	assert_string_equal(pg_sql("SELECT applied FROM walrank_out.checkpoint"), "11");
}

static void
add_key_value(WireKind kind, uint64_t v)
{
	Buffer body = {0};

	key_add(&key, value_number(&body, kind, v));
	buffer_free(&body);
}

static void
keys_of_every_type_arrive_typed(void **state)
{
	static const FixtureColumn uuid_columns[] = {{"id", "uuid", true}, {NULL, NULL, false}};
	static const FixtureColumn text_columns[] = {{"sku", "text", true}, {NULL, NULL, false}};
	static const FixtureColumn many[] = {
		{"shop", "int4", true},		 {"s\"ku", "varchar", true},  {"seq", "numeric", true},
		{"day", "date", true},		 {"at", "timestamptz", true}, {"local", "timestamp", true},
		{"ok", "bool", true},		 {"raw", "bytea", true},	  {"tags", "text[]", true},
		{"kind", "shop.kind", true}, {"code", "bpchar", true},	  {"w", "float8", true},
		{NULL, NULL, false}};
	Buffer list = {0};

	fixture_relation(&f, 2, "public", "by_uuid", "", uuid_columns);
	fixture_relation(&f, 3, "public", "by_text", "", text_columns);
	fixture_relation(&f, 4, "Shop", "Many", "", many);
	fixture_score(&f, 1, 2, 1, key_text("0190b3c0-5a5a-7000-8000-000000000001"), 1);
	fixture_score(&f, 2, 3, 1, key_text("it's \"quoted\", {braced} and gr\xc3\xbc\xc3\x9f \\"), 2);
	fixture_score(&f, 3, 3, 1, key_text(""), 3);
	key_add(&key, value_int(&value, 4));
	key_add(&key, value_text(&value, "a,b"));
	key_add(&key, value_decimal(&value, "150", -2, true));
	add_key_value(VALUE_DATE, wire_zigzag(-746000));
	add_key_value(VALUE_TIMESTAMPTZ, wire_zigzag(INT64_C(848501189174215)));
	add_key_value(VALUE_TIMESTAMP, wire_zigzag(INT64_C(9223371331199999999)));
	add_key_value(VALUE_BOOL, 1);
	key_add(&key, value_bytes(&value, VALUE_BYTES, slice_make("\x00\xff\\", 3)));
	list_add(&list, value_text(&value, "x\"\\,"));
	add_key_value(VALUE_NULL, 1);
	key.len -= 4; /* a null belongs into the list */
	{
		Buffer null = {0};

		list_add(&list, value_number(&null, VALUE_NULL, 1));
		buffer_free(&null);
	}
	key_add(&key, value_bytes(&value, VALUE_LIST, buffer_slice(&list)));
	key_add(&key, value_text(&value, "big"));
	key_add(&key, value_text(&value, "ab"));
	key_add(&key, value_double(&value, -0.1));
	fixture_score(&f, 4, 4, 1, buffer_slice(&key), 4);
	fixture_score(&f, 5, 4, 2, buffer_slice(&key), 5);
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql("SELECT id, pg_typeof(id), score FROM walrank_out.score_by_uuid"),
						"0190b3c0-5a5a-7000-8000-000000000001|uuid|1");
	assert_string_equal(pg_sql("SELECT sku, score FROM walrank_out.score_by_text ORDER BY 2"),
						"it's \"quoted\", {braced} and gr\xc3\xbc\xc3\x9f \\|2\n|3");
	assert_string_equal(
		pg_sql(
			"SELECT shop, \"s\"\"ku\", key_seq, day, at AT TIME ZONE 'UTC', local, ok, raw, tags, kind, "
			"pg_typeof(kind), code, w, ranking, score FROM walrank_out.\"score_Shop_Many\" ORDER BY score"),
		"4|a,b|-1.50|0044-07-10 BC|2026-11-20 14:46:29.174215|294276-12-31 23:59:59.999999|t|"
		"\\x00ff5c|{\"x\\\"\\\\,\",NULL}|big|text|ab|-0.1|home|4\n"
		"4|a,b|-1.50|0044-07-10 BC|2026-11-20 14:46:29.174215|294276-12-31 23:59:59.999999|t|"
		"\\x00ff5c|{\"x\\\"\\\\,\",NULL}|big|text|ab|-0.1|new|5");
	fixture_begin(&f, UNIT_TXN);
	fixture_remove(&f, 1, 4, 1, buffer_slice(&key));
	fixture_remove(&f, 2, 2, 1, key_text("0190b3c0-5a5a-7000-8000-000000000001"));
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql("SELECT ranking FROM walrank_out.\"score_Shop_Many\""), "new");
	assert_string_equal(pg_sql("SELECT count(*) FROM walrank_out.score_by_uuid"), "0");
	buffer_free(&list);
}

static void
tables_never_share_a_name(void **state)
{
	static const FixtureColumn columns[] = {{"id", "bigint", true}, {NULL, NULL, false}};
	static const char umlauts[] =
		"x\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
		"\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
		"\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc";

	fixture_relation(&f, 2, "public", "a_b", "", columns);
	fixture_relation(&f, 3, "a", "b", "", columns);
	fixture_relation(&f, 4, "public", umlauts, "", columns);
	for (uint32_t i = 2; i <= 4; i++)
		fixture_score(&f, i, i, 1, key_int(i), i);
	fixture_end(&f, true);
	run_once();
	run_once(); /* they are found again */
	assert_string_equal(pg_sql("SELECT id FROM walrank_out.score_a_b"), "2");
	assert_string_equal(
		pg_sql("SELECT count(*), min(octet_length(relname)), max(octet_length(relname)) FROM pg_class "
			   "WHERE relkind = 'r' AND relname LIKE 'score\\_%'"),
		"3|9|62");
	assert_string_equal(
		pg_sql("SELECT obj_description(oid) FROM pg_class WHERE relkind = 'r' AND relname LIKE "
			   "'score\\_a\\_b%' ORDER BY relname"),
		"walrank: scores of public.a_b\nwalrank: scores of a.b");
}

static void
a_row_that_is_refused_goes_to_quarantine_in_the_same_step(void **state)
{
	static const FixtureColumn columns[] = {{"id", "uuid", true}, {NULL, NULL, false}};
	Drive d;

	fixture_relation(&f, 2, "public", "by_uuid", "", columns);
	for (uint32_t i = 1; i <= 300; i++)
	{
		char text[64];

		snprintf(text, sizeof(text),
				 i % 100 == 50 ? "no uuid gr\xc3\xbc\xc3\x9f %u" : "00000000-0000-0000-0000-%012u", i);
		fixture_score(&f, i, 2, 1, key_text(text), i);
		fixture_score(&f, i, 1, 1, key_int(i), i);
	}
	fixture_remove(&f, 301, 2, 1, key_text("nor this"));
	fixture_end(&f, true);
	opened(&d);
	applied(&d);
	assert_int_equal(d.position.applied, 597);
	assert_int_equal(d.position.quarantined, 4);
	drive_destroy(&d);
	assert_string_equal(
		pg_sql(
			"SELECT (SELECT count(*) FROM walrank_out.score_by_uuid), count(*) FROM walrank_out.score_item"),
		"297|300");
	assert_string_equal(pg_sql("SELECT seq, applied, quarantined FROM walrank_out.checkpoint"), "1|597|4");
	assert_string_equal(
		pg_sql("SELECT sink_id, seq, change, out, record FROM walrank_out.quarantine ORDER BY change"),
		"scores|1|50|1|{\"kind\":\"score\",\"relation\":\"public.by_uuid\",\"ranking\":\"home\",\"key\":{"
		"\"id\":"
		"\"no uuid gr\\u00fc\\u00df "
		"50\"},\"score\":50,\"tier\":0,\"pin\":0,\"blocked\":false,\"version\":4}\n"
		"scores|1|150|1|{\"kind\":\"score\",\"relation\":\"public.by_uuid\",\"ranking\":\"home\",\"key\":{"
		"\"id\":"
		"\"no uuid gr\\u00fc\\u00df "
		"150\"},\"score\":150,\"tier\":0,\"pin\":0,\"blocked\":false,\"version\":4}\n"
		"scores|1|250|1|{\"kind\":\"score\",\"relation\":\"public.by_uuid\",\"ranking\":\"home\",\"key\":{"
		"\"id\":"
		"\"no uuid gr\\u00fc\\u00df "
		"250\"},\"score\":250,\"tier\":0,\"pin\":0,\"blocked\":false,\"version\":4}\n"
		"scores|1|301|1|{\"kind\":\"remove\",\"relation\":\"public.by_uuid\",\"ranking\":\"home\",\"key\":{"
		"\"id\":"
		"\"nor this\"}}");
	assert_non_null(
		strstr(pg_sql("SELECT reason FROM walrank_out.quarantine WHERE change = 50"), "SQLSTATE 22P02"));
	/* and the sink goes on */
	unit(1, 7);
	run_once();
	assert_string_equal(pg_sql("SELECT seq, applied, quarantined FROM walrank_out.checkpoint"), "2|598|4");
}

static void
a_batch_of_nothing_but_poison_still_moves(void **state)
{
	static const FixtureColumn columns[] = {{"id", "uuid", true}, {NULL, NULL, false}};

	fixture_relation(&f, 2, "public", "by_uuid", "", columns);
	for (uint32_t i = 1; i <= 40; i++)
	{
		char text[16];

		snprintf(text, sizeof(text), "%u", i);
		fixture_score(&f, i, 2, 1, key_text(text), i);
	}
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql("SELECT seq, applied, quarantined FROM walrank_out.checkpoint"), "1|0|40");
}

static void
keys_that_are_one_key_to_the_server_end_as_one(void **state)
{
	static const FixtureColumn columns[] = {{"id", "numeric", true}, {NULL, NULL, false}};
	Buffer second = {0};

	fixture_relation(&f, 2, "public", "by_number", "", columns);
	key_add(&key, value_decimal(&value, "10", -1, false));
	key_add(&second, value_decimal(&value, "100", -2, false));
	fixture_score(&f, 1, 2, 1, buffer_slice(&key), 1); /* 1.0 */
	fixture_remove(&f, 2, 2, 1, buffer_slice(&key));   /* becomes 1.00 */
	fixture_score(&f, 3, 2, 1, buffer_slice(&second), 2);
	fixture_end(&f, true);
	run_once();
	fixture_begin(&f, UNIT_TXN);
	fixture_remove(&f, 1, 2, 1, buffer_slice(&second)); /* and back */
	fixture_score(&f, 2, 2, 1, buffer_slice(&key), 3);
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql("SELECT score FROM walrank_out.score_by_number"), "3");
	buffer_free(&second);
}

static void
a_writer_that_was_overtaken_writes_nothing(void **state)
{
	Drive old;
	Drive new;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	run_once();
	opened(&old);
	opened(&new);
	unit(2, 2);
	assert_false(drive_all(&old, &f));
	assert_int_equal(old.err.class, ERR_REFUSE);
	assert_non_null(strstr(old.err.message, "another writer"));
	applied(&new);
	assert_string_equal(pg_sql(ROWS), "1|home|1|1\n2|home|2|2");
	assert_string_equal(pg_sql("SELECT seq, applied FROM walrank_out.checkpoint"), "2|2");
	drive_destroy(&old);
	drive_destroy(&new);
}

static void
two_writers_that_begin_at_once_leave_one(void **state)
{
	Drive a;
	Drive b;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	drive_create(&a, &sink_postgres, "scores", &options, &f);
	drive_create(&b, &sink_postgres, "scores", &options, &f);
	assert_true(a.type->open(a.sink, &a.stand, &a.err) && !a.stand.found);
	assert_true(b.type->open(b.sink, &b.stand, &b.err) && !b.stand.found);
	a.position = a.stand.position;
	a.position.stream_id = f.stream;
	b.position = a.position;
	assert_true(a.type->begin(a.sink, &a.position, &a.err));
	assert_false(b.type->begin(b.sink, &b.position, &b.err));
	assert_int_equal(b.err.class, ERR_RETRY);
	applied(&a);
	assert_string_equal(pg_sql("SELECT seq, applied FROM walrank_out.checkpoint"), "1|1");
	drive_destroy(&a);
	drive_destroy(&b);
}

static void
a_checkpoint_that_fell_back_is_noticed(void **state)
{
	Drive d;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	opened(&d);
	applied(&d);
	unit(2, 2);
	pg_sql("UPDATE walrank_out.checkpoint SET seq = 0, applied = 0"); /* as after a failover */
	assert_false(drive_all(&d, &f));
	assert_int_equal(d.err.class, ERR_RETRY);
	d.type->close(d.sink);
	assert_true(drive_open(&d));
	assert_int_equal(d.position.seq, 0);
	applied(&d);
	assert_string_equal(pg_sql(ROWS), "1|home|1|1\n2|home|2|2");
	drive_destroy(&d);
}

/* ---- COMMIT whose outcome the client does not learn ---------------------------------------------- */

static Drive *victim;

static void
wait_for(PGconn *conn, const char *sql, const char *want)
{
	for (int i = 0; i < 6000; i++)
	{
		if (strcmp(pg_sql_on(conn, sql), want) == 0)
			return;
		usleep(10000);
	}
	fprintf(stderr, "gave up waiting for %s\n", sql); /* the caller's assertions fail then */
}

#define WAITING "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

/* The transaction is committed on disk; the backend that would say so dies. */
static void *
terminate_waiting(void *unused)
{
	PGconn *conn = PQconnectdb(pg_conninfo);

	wait_for(conn, WAITING, "1");
	pg_sql_on(conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
	PQfinish(conn);
	return NULL;
}

/* The network goes while the backend still waits: a zombie that commits later. */
static void *
cut_then_release(void *unused)
{
	PGconn *conn = PQconnectdb(pg_conninfo);

	wait_for(conn, WAITING, "1");
	sink_postgres.interrupt(victim->sink);
	usleep(700000);
	/* this session must not wait for the standby itself */
	pg_sql_on(conn, "SET synchronous_commit = local");
	pg_sql_on(conn, "ALTER SYSTEM RESET synchronous_standby_names");
	pg_sql_on(conn, "SELECT pg_reload_conf()");
	PQfinish(conn);
	return NULL;
}

/* Until commits really wait: the checkpointer tells them so, some time after the reload. */
static void
wait_until_held(void)
{
	char waiting[128];

	for (int i = 0; i < 100; i++)
	{
		PGconn *probe = PQconnectdb(pg_conninfo);
		bool held = false;

		snprintf(waiting, sizeof(waiting),
				 "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %d", PQbackendPID(probe));
		PQsendQuery(probe, "SELECT pg_logical_emit_message(true, 'probe', 'x')");
		for (int n = 0; n < 20 && !held; n++)
		{
			usleep(5000);
			held = strcmp(pg_sql(waiting), "t") == 0;
		}
		if (held)
		{
			snprintf(waiting, sizeof(waiting), "SELECT pg_terminate_backend(%d, 5000)", PQbackendPID(probe));
			pg_sql(waiting);
		}
		PQfinish(probe);
		if (held)
			return;
	}
}

static void
hold_commits(bool hold)
{
	pg_sql("SET synchronous_commit = local");
	pg_sql(hold ? "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
				: "ALTER SYSTEM RESET synchronous_standby_names");
	pg_sql("SELECT pg_reload_conf()");
	if (hold)
		wait_until_held();
}

static void
a_commit_whose_reply_is_lost_is_found_done(void **state)
{
	pthread_t helper;
	Drive d;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	opened(&d);
	applied(&d);
	unit(2, 2);
	assert_true(drive_apply(&d, &f));
	hold_commits(true);
	assert_int_equal(pthread_create(&helper, NULL, terminate_waiting, NULL), 0);
	assert_false(drive_commit(&d));
	assert_int_equal(d.err.class, ERR_RETRY);
	pthread_join(helper, NULL);
	hold_commits(false);
	d.type->close(d.sink);
	assert_true(drive_open(&d));
	assert_int_equal(d.position.seq, 2); /* not to be done again */
	assert_int_equal(d.position.applied, 2);
	drive_destroy(&d);
}

static void
a_zombie_that_commits_late_is_waited_for(void **state)
{
	pthread_t helper;
	Drive d;
	Drive next;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	opened(&d);
	applied(&d);
	unit(2, 2);
	assert_true(drive_apply(&d, &f));
	hold_commits(true);
	victim = &d;
	assert_int_equal(pthread_create(&helper, NULL, cut_then_release, NULL), 0);
	assert_false(drive_commit(&d));
	assert_int_equal(d.err.class, ERR_RETRY);
	/* still undecided: a plain SELECT says seq 1 here */
	assert_string_equal(pg_sql("SELECT seq FROM walrank_out.checkpoint"), "1");
	drive_create(&next, &sink_postgres, "scores", &options, &f);
	if (!drive_open(&next))
		fail_msg("%s", next.err.message);
	assert_int_equal(next.position.seq, 2);
	pthread_join(helper, NULL);
	assert_false(drive_open(&d)); /* what was interrupted stays so */
	drive_destroy(&d);
	drive_destroy(&next);
}

static void
a_commit_that_failed_is_found_undone(void **state)
{
	Drive d;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	run_once();
	pg_sql("CREATE FUNCTION walrank_out.die() RETURNS trigger LANGUAGE plpgsql AS "
		   "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'");
	pg_sql(
		"CREATE CONSTRAINT TRIGGER die AFTER INSERT ON walrank_out.score_item DEFERRABLE INITIALLY DEFERRED "
		"FOR EACH ROW EXECUTE FUNCTION walrank_out.die()");
	unit(2, 2);
	opened(&d);
	assert_false(drive_all(&d, &f));
	assert_int_equal(d.err.class, ERR_RETRY);
	pg_sql("DROP FUNCTION walrank_out.die CASCADE");
	d.type->close(d.sink);
	assert_true(drive_open(&d));
	assert_int_equal(d.position.seq, 1);
	applied(&d);
	assert_string_equal(pg_sql(ROWS), "1|home|1|1\n2|home|2|2");
	assert_string_equal(pg_sql("SELECT applied FROM walrank_out.checkpoint"), "2");
	drive_destroy(&d);
}

/* ---- classes of errors ----------------------------------------------------------------------------- */

static void
each_sqlstate_has_its_consequence(void **state)
{
	static const struct
	{
		const char *sqlstate;
		ErrorClass class; /* ERR_NONE: quarantined */
	} cases[] = {{"40001", ERR_RETRY}, {"40P01", ERR_RETRY}, {"55P03", ERR_RETRY},	{"57P01", ERR_RETRY},
				 {"25006", ERR_RETRY}, {"53100", ERR_RETRY}, {"42501", ERR_CONFIG}, {"23514", ERR_NONE},
				 {"22003", ERR_NONE},  {"P0001", ERR_NONE},	 {"54000", ERR_NONE}};

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	run_once();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char sql[512];
		char before[128];
		Drive d;
		bool ok;

		snprintf(sql, sizeof(sql),
				 "CREATE OR REPLACE FUNCTION walrank_out.fail() RETURNS trigger LANGUAGE plpgsql AS "
				 "$$BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '%s'; END$$;"
				 "CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON walrank_out.score_item FOR EACH ROW "
				 "EXECUTE FUNCTION walrank_out.fail()",
				 cases[i].sqlstate);
		pg_sql(sql);
		unit(100 + (int64_t) i, 1);
		pg_copy(before, sizeof(before), "SELECT seq, applied, quarantined FROM walrank_out.checkpoint");
		opened(&d);
		ok = drive_all(&d, &f);
		assert_int_equal(ok, cases[i].class == ERR_NONE);
		if (!ok)
		{
			assert_int_equal(d.err.class, cases[i].class);
			assert_non_null(strstr(d.err.message, "planted"));
			assert_string_equal(pg_sql("SELECT seq, applied, quarantined FROM walrank_out.checkpoint"),
								before);
			assert_true(cases[i].class != ERR_CONFIG || d.err.hint[0] != '\0');
		}
		drive_destroy(&d);
		pg_sql("DROP FUNCTION walrank_out.fail() CASCADE");
		run_once();
	}
	assert_string_equal(pg_sql("SELECT count(*) FROM walrank_out.score_item"), "8");
	assert_string_equal(pg_sql("SELECT applied, quarantined FROM walrank_out.checkpoint"), "8|4");
}

static void
a_server_without_the_right_to_create_says_which(void **state)
{
	char conninfo[320];
	char *given = conninfo;
	Drive d;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	pg_sql("DROP ROLE IF EXISTS poor");
	pg_sql("CREATE ROLE poor LOGIN");
	snprintf(conninfo, sizeof(conninfo), "host=%s user=poor dbname=postgres", pg_dir);
	drive_create(&d, &sink_postgres, "scores", &given, &f);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_CONFIG);
	assert_non_null(strstr(d.err.message, "42501"));
	assert_non_null(strstr(d.err.hint, "CREATE"));
	drive_destroy(&d);
	pg_sql("CREATE SCHEMA walrank_out"); /* made by somebody who may: the rest is ours to create */
	pg_sql("GRANT CREATE, USAGE ON SCHEMA walrank_out TO poor");
	drive_create(&d, &sink_postgres, "scores", &given, &f);
	if (!drive_open(&d) || !drive_all(&d, &f))
		fail_msg("%s", d.err.message);
	drive_destroy(&d);
	pg_sql("DROP SCHEMA walrank_out CASCADE");
	pg_sql("DROP OWNED BY poor");
	snprintf(conninfo, sizeof(conninfo), "host=%s/nowhere dbname=postgres", pg_dir);
	drive_create(&d, &sink_postgres, "scores", &given, &f);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_RETRY);
	drive_destroy(&d);
	snprintf(conninfo, sizeof(conninfo), "hots=x");
	assert_false(sink_postgres.create("scores", &given, &(SinkHistory){.stream_id = f.stream}, f.dir, &d.sink,
									  &d.err));
	assert_int_equal(d.err.class, ERR_CONFIG);
}

/* As the first version left it: without what came later, and without table owner. */
static void
a_checkpoint_of_the_first_format_is_read_and_goes_on(void **state)
{
	SinkConfig config = {.name = (char[]){"scores"}, .type = &sink_postgres, .options = &options};
	SinkPosition position;
	Error err = {0};
	bool found;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	run_once();
	pg_sql("ALTER TABLE walrank_out.checkpoint DROP phase, DROP beside, DROP base; DROP TABLE "
		   "walrank_out.owner");
	MUST(sink_read(&config, &(SinkHistory){.stream_id = f.stream}, f.dir, &position, &found, &err));
	assert_true(found);
	assert_int_equal(position.seq, 1);
	assert_int_equal(position.applied, 1);
	assert_int_equal(position.phase, SINK_WHOLE);
	fixture_begin(&f, UNIT_TXN);
	fixture_score(&f, 1, 1, 1, key_int(2), 2);
	fixture_end(&f, true);
	run_once();
	assert_string_equal(pg_sql("SELECT count(*), max(seq) FROM walrank_out.score_item"), "2|2");
	assert_string_equal(pg_sql("SELECT seq, applied, phase, beside FROM walrank_out.checkpoint"), "2|2|0|f");
	assert_string_equal(pg_sql("SELECT table_name FROM walrank_out.owner"), "score_item");
}

static void
tables_with_rows_but_no_checkpoint_are_refused(void **state)
{
	Drive d;
	FeedFixture other = f;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	run_once();
	other.stream.bytes[3] ^= 1;
	drive_create(&d, &sink_postgres, "scores", &options, &other);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_REFUSE);
	assert_non_null(strstr(d.err.message, "K9"));
	assert_string_equal(pg_sql("SELECT owner_epoch FROM walrank_out.checkpoint"), "1");
	drive_destroy(&d);
	pg_sql("DELETE FROM walrank_out.checkpoint");
	drive_create(&d, &sink_postgres, "scores", &options, &f);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_REFUSE);
	assert_non_null(strstr(d.err.message, "K1"));
	assert_non_null(strstr(d.err.hint, "walrank sink fill scores"));
	drive_destroy(&d);
	pg_sql("DELETE FROM walrank_out.score_item");
	run_once();
	assert_string_equal(pg_sql(ROWS), "1|home|1|1");
}

static void
two_sinks_in_one_schema_have_tables_of_their_own(void **state)
{
	Drive d;

	fixture_end(&f, true);
	unit(1, 1);
	run_once();
	drive_create(&d, &sink_postgres, "another", &options, &f);
	if (!drive_open(&d))
		fail_msg("%s", d.err.message);
	applied(&d);
	drive_destroy(&d);
	assert_string_equal(pg_sql("SELECT sink_id, relation, table_name LIKE 'score\\_item\\_________' FROM "
							   "walrank_out.owner ORDER BY 1"),
						"another|public.item|t\nscores|public.item|f");
	pg_sql("UPDATE walrank_out.score_item SET score = 9"); /* none of the other's business */
	unit(2, 2);
	drive_create(&d, &sink_postgres, "another", &options, &f);
	assert_true(drive_open(&d));
	applied(&d);
	drive_destroy(&d);
	assert_string_equal(pg_sql(ROWS), "1|home|9|2");
	run_once();
	assert_string_equal(pg_sql(ROWS), "1|home|9|2\n2|home|2|3");
}

static void
a_table_that_was_altered_or_dropped_stops_the_sink_with_the_cure(void **state)
{
	static const FixtureColumn other_key[] = {{"sku", "text", true}, {NULL, NULL, false}};
	Drive d;

	fixture_score(&f, 1, 1, 1, key_int(1), 1);
	fixture_end(&f, true);
	opened(&d);
	applied(&d);
	pg_sql("DROP TABLE walrank_out.score_item");
	unit(2, 1);
	assert_false(drive_all(&d, &f));
	assert_int_equal(d.err.class, ERR_CONFIG);
	drive_destroy(&d);
	drive_create(&d, &sink_postgres, "scores", &options, &f);
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_REFUSE);
	assert_non_null(strstr(d.err.message, "score_item is gone"));
	assert_non_null(strstr(d.err.hint, "walrank sink fill scores"));
	drive_destroy(&d);
	pg_sql("DELETE FROM walrank_out.checkpoint");
	run_once();
	assert_string_equal(pg_sql("SELECT id FROM walrank_out.score_item ORDER BY 1"), "1\n2");
	fixture_begin(&f, UNIT_TXN);
	fixture_relation(&f, 1, "public", "item", "", other_key);
	fixture_score(&f, 1, 1, 1, key_text("x"), 1);
	fixture_end(&f, true);
	opened(&d);
	assert_false(drive_all(&d, &f));
	assert_int_equal(d.err.class, ERR_CONFIG);
	assert_non_null(strstr(d.err.hint, "\"sku\" text"));
	drive_destroy(&d);
}

static void
replay_goes_back_and_ends_in_the_same_state(void **state)
{
	SinkConfig config = {.name = (char[]){"scores"}, .type = &sink_postgres, .options = &options};
	SinkPosition position;
	bool found = true;
	char want[4096];
	Error err = {0};
	Drive stale;

	fixture_end(&f, true);
	assert_true(sink_read(&config, &(SinkHistory){.stream_id = f.stream}, f.dir, &position, &found, &err));
	assert_false(found);
	for (int i = 2; i < 40; i++)
	{
		fixture_begin(&f, UNIT_TXN);
		fixture_score(&f, 1, 1, 1, key_int(i % 7), i);
		if (i % 5 == 0)
			fixture_remove(&f, 2, 1, 1, key_int((i + 3) % 7));
		fixture_end(&f, true);
	}
	run_once();
	pg_copy(want, sizeof(want), ROWS);
	opened(&stale);
	if (!sink_replay(&config, &(SinkHistory){.stream_id = f.stream}, f.dir,
					 (SinkSource){.feed = f.feed, .dirfd = -1}, 10, &err))
		fail_msg("%s", err.message);
	assert_true(sink_read(&config, &(SinkHistory){.stream_id = f.stream}, f.dir, &position, &found, &err));
	assert_true(found);
	assert_int_equal(position.seq, 9);
	assert_int_equal(position.applied, 0);
	assert_int_equal(position.total_start, 9);
	assert_int_equal(position.owner_epoch, 3);
	unit(3, 99);
	assert_false(drive_all(&stale, &f)); /* replay takes a new epoch */
	drive_destroy(&stale);
	run_once();
	pg_sql("DELETE FROM walrank_out.score_item WHERE seq = 40");
	{
		char got[4096];

		pg_copy(got, sizeof(got), ROWS);
		assert_non_null(strstr(want, "0|home|35|"));
		assert_non_null(strstr(got, "0|home|35|"));
	}
	assert_string_equal(pg_sql("SELECT seq, total_start, applied FROM walrank_out.checkpoint"), "40|9|37");
}

/* ---- targets beside, other schemas, comparing ------------------------------------------------------ */

/* A fill of an opened sink starts: everything in the feed, once more. */
static void
begin_fill(Drive *d)
{
	d->position =
		(SinkPosition){.stream_id = f.stream, .owner_epoch = d->position.owner_epoch, .phase = SINK_FILLING};
	if (!d->type->begin(d->sink, &d->position, &d->err))
		fail_msg("%s", d->err.message);
}

static void
committed(Drive *d, SinkPhase phase)
{
	d->position.phase = phase;
	if (!drive_commit(d))
		fail_msg("%s", d->err.message);
}

#define BESIDE                                                                                               \
	"SELECT count(*) FROM pg_class WHERE relname LIKE 'fill%' AND relkind = 'r' AND relnamespace = "         \
	"'walrank_out'::regnamespace"

static void
a_fill_is_not_seen_before_its_end_and_then_as_a_whole(void **state)
{
	Drive d;
	PGconn *reader = PQconnectdb(pg_conninfo);
	PGresult *seen;

	fixture_end(&f, true);
	for (int i = 1; i <= 5; i++)
		unit(i, i);
	run_once();
	pg_sql("CREATE VIEW best AS SELECT * FROM walrank_out.score_item WHERE score > 1");
	pg_sql("DROP ROLE IF EXISTS reader");
	pg_sql("CREATE ROLE reader");
	pg_sql("GRANT SELECT ON walrank_out.score_item TO reader");
	pg_sql("CREATE INDEX by_score ON walrank_out.score_item (score)");
	pg_sql("ALTER TABLE walrank_out.score_item ADD note text");
	pg_sql("UPDATE walrank_out.score_item SET score = 77, note = 'kept' WHERE id = 3");
	pg_sql("INSERT INTO walrank_out.score_item SELECT 99, ranking, tier, pin, score, blocked, version, seq "
		   "FROM (SELECT * "
		   "FROM walrank_out.score_item LIMIT 0) x");
	pg_sql("INSERT INTO walrank_out.score_item SELECT 99, ranking, tier, pin, 99, blocked, version, seq, "
		   "commit_lsn, "
		   "evaluated_at FROM walrank_out.score_item WHERE id = 1");
	pg_sql("DELETE FROM walrank_out.score_item WHERE id = 2");
	opened(&d);
	begin_fill(&d);
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_FILLING);
	assert_string_equal(pg_sql("SELECT id, score FROM walrank_out.score_item ORDER BY 1"),
						"1|1\n3|77\n4|4\n5|5\n99|99");
	assert_string_equal(pg_sql("SELECT seq, phase, beside FROM walrank_out.checkpoint"), "6|1|t");
	assert_string_equal(pg_sql(BESIDE), "1");
	/* a reader in a snapshot of before keeps it; the others see all of the new content at once */
	PQclear(
		PQexec(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM walrank_out.score_item"));
	unit(6, 6);
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_WHOLE);
	seen = PQexec(reader, "SELECT sum(score) FROM walrank_out.score_item");
	assert_string_equal(PQgetvalue(seen, 0, 0), "186");
	PQclear(seen);
	PQfinish(reader);
	assert_string_equal(pg_sql("SELECT id, score FROM walrank_out.score_item ORDER BY 1"),
						"1|1\n2|2\n3|3\n4|4\n5|5\n6|6");
	assert_string_equal(pg_sql("SELECT count(*) FROM best"), "5");
	assert_string_equal(pg_sql("SELECT has_table_privilege('reader', 'walrank_out.score_item', 'SELECT')"),
						"t");
	assert_string_equal(pg_sql("SELECT count(*) FROM pg_indexes WHERE indexname = 'by_score'"), "1");
	assert_string_equal(pg_sql("SELECT note FROM walrank_out.score_item WHERE id = 3"), "kept");
	assert_string_equal(pg_sql("SELECT seq, phase, beside FROM walrank_out.checkpoint"), "7|0|f");
	assert_string_equal(pg_sql(BESIDE), "0");
	unit(7, 7); /* and the sink goes on in what is shown */
	applied(&d);
	assert_string_equal(pg_sql("SELECT max(id) FROM best"), "7");
	drive_destroy(&d);
	pg_sql("DROP VIEW best");
}

static void
a_fill_goes_on_after_a_crash_and_gives_way_to_a_newer_one(void **state)
{
	Drive d;

	fixture_end(&f, true);
	for (int i = 1; i <= 4; i++)
		unit(i, i);
	run_once();
	opened(&d);
	begin_fill(&d);
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_FILLING);
	drive_destroy(&d); /* the crash */
	unit(5, 5);
	opened(&d);
	assert_int_equal(d.position.phase, SINK_FILLING);
	assert_int_equal(d.position.seq, 5);
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_FILLING);
	assert_string_equal(pg_sql("SELECT max(id) FROM walrank_out.score_item"), "4");
	begin_fill(&d); /* what was filled so far is nothing */
	assert_string_equal(pg_sql(BESIDE), "0");
	d.position.seq = 5;
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_WHOLE);
	assert_string_equal(pg_sql("SELECT id FROM walrank_out.score_item"), "5");
	drive_destroy(&d);
}

static void
an_empty_target_is_filled_in_place(void **state)
{
	Drive d;

	fixture_end(&f, true);
	unit(1, 1);
	opened(&d);
	begin_fill(&d);
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_FILLING);
	assert_string_equal(pg_sql(ROWS), "1|home|1|2");
	committed(&d, SINK_WHOLE);
	assert_string_equal(pg_sql(ROWS), "1|home|1|2");
	drive_destroy(&d);
}

static void
a_table_that_the_fill_does_not_name_is_empty_in_the_end(void **state)
{
	Drive d;

	fixture_relation(&f, 2, "public", "other", "", item_columns);
	fixture_ranking(&f, 3, 2, "third");
	fixture_score(&f, 1, 2, 3, key_int(1), 1);
	fixture_end(&f, true);
	unit(2, 2);
	run_once();
	assert_string_equal(pg_sql("SELECT count(*) FROM walrank_out.score_other"), "1");
	opened(&d);
	begin_fill(&d);
	d.position.seq = 1; /* all but the first unit */
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_WHOLE);
	drive_destroy(&d);
	assert_string_equal(pg_sql("SELECT count(*) FROM walrank_out.score_other"), "0");
	assert_string_equal(pg_sql(ROWS), "2|home|2|2");
}

static void
what_a_replaced_stream_wrote_stays_until_all_is_there_anew(void **state)
{
	FeedFixture ours = f;
	Drive d;

	fixture_end(&f, true);
	unit(1, 1);
	unit(2, 2);
	run_once();
	ours.stream.bytes[3] ^= 1;
	drive_create(&d, &sink_postgres, "scores", &options, &ours);
	d.history.replaced = &f.stream;
	d.history.nreplaced = 1;
	if (!drive_open(&d))
		fail_msg("%s", d.err.message);
	assert_int_equal(d.position.phase, SINK_REBUILDING);
	assert_int_equal(d.position.seq, 0);
	assert_int_equal(d.position.owner_epoch, 2);
	unit(3, 3);
	pg_sql("UPDATE walrank_out.score_item SET score = 50");
	assert_true(drive_apply(&d, &f));
	committed(&d, SINK_REBUILDING);
	assert_string_equal(pg_sql("SELECT id, score FROM walrank_out.score_item ORDER BY 1"), "1|50\n2|50");
	committed(&d, SINK_WHOLE);
	assert_string_equal(pg_sql("SELECT id, score FROM walrank_out.score_item ORDER BY 1"), "1|1\n2|2\n3|3");
	drive_destroy(&d);
	drive_create(&d, &sink_postgres, "scores", &options, &f); /* the old stream's daemon, come back */
	assert_false(drive_open(&d));
	assert_int_equal(d.err.class, ERR_REFUSE);
	drive_destroy(&d);
}

static void
a_writer_that_opened_meanwhile_keeps_a_replacement_out(void **state)
{
	FeedFixture ours = f;
	SinkStand stand;
	Drive d;
	Drive old;

	fixture_end(&f, true);
	unit(1, 1);
	run_once();
	ours.stream.bytes[3] ^= 1;
	drive_create(&d, &sink_postgres, "scores", &options, &ours);
	d.history.replaced = &f.stream;
	d.history.nreplaced = 1;
	assert_true(d.type->open(d.sink, &stand, &d.err));
	opened(&old); /* of the replaced stream, still alive */
	d.position = (SinkPosition){
		.stream_id = ours.stream, .owner_epoch = stand.position.owner_epoch, .phase = SINK_REBUILDING};
	assert_false(d.type->begin(d.sink, &d.position, &d.err));
	assert_int_equal(d.err.class, ERR_RETRY);
	drive_destroy(&d);
	unit(2, 2);
	applied(&old);
	drive_destroy(&old);
	assert_string_equal(pg_sql(ROWS), "1|home|1|2\n2|home|2|3");
}

static void
another_schema_receives_the_same_and_the_sink_is_not_touched(void **state)
{
	SinkConfig config = {.name = (char[]){"scores"}, .type = &sink_postgres, .options = &options};
	const SinkHistory history = {.stream_id = f.stream};
	const SinkSource source = {.feed = f.feed, .dirfd = -1};
	static const char *const wrong[] = {"", "pg_mine", "walrank_out", "walrank"};
	SinkPosition reached;
	Error err = {0};

	fixture_end(&f, true);
	pg_sql("DROP SCHEMA IF EXISTS \"Once more\" CASCADE");
	for (int i = 1; i <= 4; i++)
		unit(i, i);
	run_once();
	if (!sink_replay_into(&config, &history, f.dir, source, 1, "Once more", &reached, &err))
		fail_msg("%s", err.message);
	assert_int_equal(reached.seq, 5);
	assert_string_equal(
		pg_sql("SELECT count(*) FROM (TABLE \"Once more\".score_item EXCEPT TABLE walrank_out.score_item) "
			   "x"),
		"0");
	assert_string_equal(pg_sql("SELECT count(*) FROM \"Once more\".score_item"), "4");
	assert_string_equal(pg_sql("SELECT owner_epoch, seq FROM walrank_out.checkpoint"), "1|5");
	assert_false(sink_replay_into(&config, &history, f.dir, source, 1, "Once more", &reached, &err));
	assert_non_null(strstr(err.message, "has a checkpoint already"));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		assert_false(sink_replay_into(&config, &history, f.dir, source, 1, wrong[i], &reached, &err));
		assert_int_equal(err.class, ERR_CONFIG);
	}
	pg_sql("DROP SCHEMA \"Once more\" CASCADE");
}

static void
verified(uint64_t compared, uint64_t different, const char *first)
{
	SinkConfig config = {.name = (char[]){"scores"}, .type = &sink_postgres, .options = &options};
	const SinkHistory history = {.stream_id = f.stream};
	const SinkSource source = {.feed = f.feed, .dirfd = -1};
	SinkVerify report;
	Error err = {0};

	if (!sink_verify(&config, &history, f.dir, source, &report, &err))
		fail_msg("%s", err.message);
	assert_true(report.from_seq <= report.to_seq);
	assert_int_equal(report.compared, compared);
	assert_int_equal(report.different, different);
	if (strstr(report.first, first) == NULL)
		fail_msg("\"%s\" does not tell of %s", report.first, first);
}

static void
verify_finds_every_row_that_was_changed_by_hand(void **state)
{
	static const struct
	{
		const char *sql;
		uint64_t compared;
		uint64_t different;
		const char *first;
	} cases[] = {
		{"UPDATE walrank_out.score_item SET score = 1e-9 + score WHERE id = 2", 5, 1, "instead of"},
		{"UPDATE walrank_out.score_item SET pin = 3 WHERE id > 3", 5, 2, "instead of"},
		{"UPDATE walrank_out.score_item SET seq = seq + 1 WHERE id = 1", 5, 1, "instead of"},
		{"DELETE FROM walrank_out.score_item WHERE id = 5", 5, 1, "lacks"},
		{"UPDATE walrank_out.score_item SET id = 50 WHERE id = 5", 6, 2, "score_item"},
		{"TRUNCATE walrank_out.score_item", 5, 5, "lacks"},
	};

	fixture_end(&f, true);
	for (int i = 1; i <= 6; i++)
		unit(i, i);
	fixture_begin(&f, UNIT_TXN);
	fixture_remove(&f, 1, 1, 1, key_int(6));
	fixture_end(&f, true);
	run_once();
	verified(5, 0, "");
	pg_sql("CREATE TABLE kept AS TABLE walrank_out.score_item");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		pg_sql(cases[i].sql);
		verified(cases[i].compared, cases[i].different, cases[i].first);
		pg_sql("TRUNCATE walrank_out.score_item");
		pg_sql("INSERT INTO walrank_out.score_item TABLE kept");
		verified(5, 0, "");
	}
	pg_sql("DROP TABLE kept");
	pg_sql("DROP TABLE walrank_out.score_item");
	verified(5, 5, "no such table");
}

static void
verify_knows_where_the_content_begins(void **state)
{
	SinkConfig config = {.name = (char[]){"scores"}, .type = &sink_postgres, .options = &options};
	const SinkHistory history = {.stream_id = f.stream};
	const SinkSource source = {.feed = f.feed, .dirfd = -1};
	Error err = {0};

	fixture_end(&f, true);
	for (int i = 1; i <= 4; i++)
		unit(i, i);
	if (!sink_add(&config, &history, f.dir, source, NULL, SINK_FROM_NOW, &err))
		fail_msg("%s", err.message);
	unit(5, 5);
	run_once();
	assert_string_equal(pg_sql("SELECT id FROM walrank_out.score_item"), "5");
	verified(1, 0, "");
	if (!sink_replay(&config, &history, f.dir, source, 4, &err))
		fail_msg("%s", err.message);
	run_once();
	assert_string_equal(pg_sql("SELECT id FROM walrank_out.score_item ORDER BY 1"), "3\n4\n5");
	verified(3, 0, "");
	pg_sql("DELETE FROM walrank_out.score_item WHERE id = 3");
	verified(3, 1, "lacks");
}

/* Not a limit: what a batch costs is printed, and that a large one passes. */
static void
batches_are_applied_in_columns(void **state)
{
	Drive d;
	int64_t start;

	fixture_end(&f, true);
	opened(&d);
	applied(&d);
	for (int round = 0; round < 3; round++)
	{
		fixture_begin(&f, UNIT_TXN);
		for (uint32_t i = 1; i <= 10000; i++)
			fixture_score(&f, i, 1, 1, key_int(i * 7 % 30000), i);
		fixture_end(&f, true);
		start = clock_monotonic_us();
		applied(&d);
		print_message("10000 rows in %.1f ms\n", (double) (clock_monotonic_us() - start) / 1000);
	}
	start = clock_monotonic_us();
	for (int i = 0; i < 200; i++)
	{
		unit(i, i);
		applied(&d);
	}
	print_message("one row in %.3f ms\n", (double) (clock_monotonic_us() - start) / 200000);
	assert_string_equal(pg_sql("SELECT applied FROM walrank_out.checkpoint"), "30200");
	drive_destroy(&d);
}

static int
start_server(void **state)
{
	return pg_start("-c max_wal_senders=2 -c synchronous_commit=on") ? 0 : -1;
}

static int
stop_server(void **state)
{
	pg_stop();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(scores_and_checkpoint_are_written_together, setup, teardown),
		cmocka_unit_test_setup_teardown(in_a_batch_the_last_result_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(all_items_at_once_are_removed_in_their_place, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_of_every_type_arrive_typed, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_never_share_a_name, setup, teardown),
		cmocka_unit_test_setup_teardown(a_row_that_is_refused_goes_to_quarantine_in_the_same_step, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_batch_of_nothing_but_poison_still_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_that_are_one_key_to_the_server_end_as_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_writer_that_was_overtaken_writes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(two_writers_that_begin_at_once_leave_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_checkpoint_that_fell_back_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_commit_whose_reply_is_lost_is_found_done, setup, teardown),
		cmocka_unit_test_setup_teardown(a_zombie_that_commits_late_is_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_commit_that_failed_is_found_undone, setup, teardown),
		cmocka_unit_test_setup_teardown(each_sqlstate_has_its_consequence, setup, teardown),
		cmocka_unit_test_setup_teardown(a_server_without_the_right_to_create_says_which, setup, teardown),
		cmocka_unit_test_setup_teardown(a_checkpoint_of_the_first_format_is_read_and_goes_on, setup,
										teardown),
		cmocka_unit_test_setup_teardown(tables_with_rows_but_no_checkpoint_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_table_that_was_altered_or_dropped_stops_the_sink_with_the_cure,
										setup, teardown),
		cmocka_unit_test_setup_teardown(replay_goes_back_and_ends_in_the_same_state, setup, teardown),
		cmocka_unit_test_setup_teardown(two_sinks_in_one_schema_have_tables_of_their_own, setup, teardown),
		cmocka_unit_test_setup_teardown(a_fill_is_not_seen_before_its_end_and_then_as_a_whole, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_fill_goes_on_after_a_crash_and_gives_way_to_a_newer_one, setup,
										teardown),
		cmocka_unit_test_setup_teardown(an_empty_target_is_filled_in_place, setup, teardown),
		cmocka_unit_test_setup_teardown(a_table_that_the_fill_does_not_name_is_empty_in_the_end, setup,
										teardown),
		cmocka_unit_test_setup_teardown(what_a_replaced_stream_wrote_stays_until_all_is_there_anew, setup,
										teardown),
		cmocka_unit_test_setup_teardown(a_writer_that_opened_meanwhile_keeps_a_replacement_out, setup,
										teardown),
		cmocka_unit_test_setup_teardown(another_schema_receives_the_same_and_the_sink_is_not_touched, setup,
										teardown),
		cmocka_unit_test_setup_teardown(verify_finds_every_row_that_was_changed_by_hand, setup, teardown),
		cmocka_unit_test_setup_teardown(verify_knows_where_the_content_begins, setup, teardown),
		cmocka_unit_test_setup_teardown(batches_are_applied_in_columns, setup, teardown),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
