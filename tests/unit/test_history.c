/*
 * test_history.c -- rules C1 to C6, row by row: what fits, what has to wait, what is refused and by which name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "stream/history.h"

#define START UINT64_C(0x1000)
#define H UINT64_C(0x2000000000)
#define FLUSHED (H + 0x1000)
#define LAST_XID ((UINT64_C(3) << 32) + 700)
#define COMMIT_US INT64_C(1790000000000001)
#define NO_TIME_US INT64_C(946684800000000) /* 2000-01-01, what decoding reports for none */

typedef struct World
{
	JournalIdentity ours;
	JournalHead head;
	SourceIdentity server;
	SourceSlot slot;
	SourceControl control;
	History history;
	Error err;
} World;

/* A journal and a server that fit. */
static void
world_begin(World *world)
{
	memset(world, 0, sizeof(*world));
	world->ours = (JournalIdentity){.stream_id = {{1, 2, 3}},
									.system_identifier = 77,
									.database_oid = 5,
									.database = "shop",
									.slot = "walrank",
									.plugin = "walrank",
									.server_lsn = START,
									.start_lsn = START,
									.complete = true};
	world->head = (JournalHead){.seq = 90,
								.end_lsn = H,
								.xid = LAST_XID,
								.commit_time_us = COMMIT_US,
								.timeline = 2,
								.owner_epoch = 12,
								.beat = 4000};
	world->server = (SourceIdentity){
		.system_identifier = 77, .timeline = 2, .flushed = FLUSHED, .database = "shop", .database_oid = 5};
	world->slot = (SourceSlot){.found = true,
							   .logical = true,
							   .plugin = "walrank",
							   .database = "shop",
							   .confirmed_flush = H - 1,
							   .restart_lsn = START,
							   .wal_status = "reserved"};
	world->control =
		(SourceControl){.found = true, .slot = "walrank", .state = "ready", .owner_epoch = 12, .beat = 4000};
	world->history = (History){.ours = &world->ours,
							   .head = &world->head,
							   .server = &world->server,
							   .slot = &world->slot,
							   .control = &world->control,
							   .xid = {.status = XID_COMMITTED}};
}

static void
fits(World *world)
{
	if (!history_check(&world->history, &world->err))
		fail_msg("refused: %s", world->err.message);
}

static void
judged(World *world, bool ok, ErrorClass class, const char *beginning)
{
	assert_false(ok);
	if (world->err.class != class || strncmp(world->err.message, beginning, strlen(beginning)) != 0)
		fail_msg("class %d instead of %d, \"%s\" instead of \"%s\"", world->err.class, class,
				 world->err.message, beginning);
	assert_true(strlen(world->err.hint) > 10);
}

static void
refused(World *world, const char *beginning)
{
	judged(world, history_check(&world->history, &world->err), ERR_REFUSE, beginning);
}

static void
waits(World *world, const char *beginning)
{
	judged(world, history_check(&world->history, &world->err), ERR_RETRY, beginning);
}

#define WORLD                                                                                                \
	World world;                                                                                             \
	world_begin(&world)

/* ---- C1 --------------------------------------------------------------------------------------- */

static void
what_fits_goes_on(void **state)
{
	WORLD;
	fits(&world);
}

static void
another_server_is_c1(void **state)
{
	WORLD;
	world.server.system_identifier++;
	refused(&world, "rule C1: the server's system identifier is 78");
	assert_false(history_check_server(&world.ours, &world.server, &world.err));
}

static void
another_database_is_c1(void **state)
{
	WORLD;
	world.server.database_oid++;
	refused(&world, "rule C1: database \"shop\" has OID 6");
}

static void
a_slot_of_another_plugin_or_database_is_c1(void **state)
{
	WORLD;
	snprintf(world.slot.plugin, sizeof(world.slot.plugin), "pgoutput");
	refused(&world, "rule C1: slot \"walrank\" uses plugin \"pgoutput\"");
	world_begin(&world);
	world.slot.logical = false;
	refused(&world, "rule C1: slot \"walrank\" uses plugin \"(physical)\"");
	world_begin(&world);
	snprintf(world.slot.database, sizeof(world.slot.database), "other");
	refused(&world, "rule C1: slot \"walrank\" belongs to database \"other\"");
}

static void
a_control_row_that_is_not_ours_is_c1(void **state)
{
	WORLD;
	world.control.found = false;
	refused(&world, "rule C1: walrank.control has no row");
	world_begin(&world);
	snprintf(world.control.slot, sizeof(world.control.slot), "other");
	refused(&world, "rule C1: walrank.control names slot \"other\"");
	world_begin(&world);
	snprintf(world.control.state, sizeof(world.control.state), "creating");
	refused(&world, "rule C1: the control row of stream");
	world_begin(&world);
	snprintf(world.control.state, sizeof(world.control.state), "replaced");
	refused(&world, "rule C1: stream 01020300-0000-0000-0000-000000000000 was replaced");
}

/* ---- C2 --------------------------------------------------------------------------------------- */

static void
a_slot_that_is_gone_is_c2(void **state)
{
	WORLD;
	world.slot = (SourceSlot){0};
	refused(&world, "rule C2: replication slot \"walrank\" does not exist");
}

static void
a_lost_slot_is_c2_whichever_column_says_so(void **state)
{
	WORLD;
	snprintf(world.slot.wal_status, sizeof(world.slot.wal_status), "lost");
	refused(&world, "rule C2: slot \"walrank\" is lost");
	world_begin(&world);
	snprintf(world.slot.invalidation, sizeof(world.slot.invalidation), "rows_removed");
	refused(&world,
			"rule C2: slot \"walrank\" is lost: the server removed WAL it needed, reason rows_removed");
	world_begin(&world);
	world.slot.restart_lsn = 0;
	refused(&world, "rule C2: slot \"walrank\" is lost");
}

static void
an_unreserved_slot_still_has_its_wal(void **state)
{
	WORLD;
	snprintf(world.slot.wal_status, sizeof(world.slot.wal_status), "unreserved");
	fits(&world);
}

static void
a_standbys_copy_of_the_slot_waits_for_its_promotion(void **state)
{
	WORLD;
	world.slot.synced = true;
	fits(&world); /* promoted: it stays so */
	world.server.standby = true;
	waits(&world, "rule C2: slot \"walrank\" is a standby's copy");
}

static void
a_slot_in_use_is_waited_for_unless_histories_differ(void **state)
{
	WORLD;
	world.slot.active = true;
	waits(&world, "rule C2: slot \"walrank\" is in use");
	world.slot.confirmed_flush = H + 1;
	refused(&world, "rule C3:");
}

/* ---- C3 --------------------------------------------------------------------------------------- */

static void
a_slot_confirmed_beyond_the_journal_is_c3(void **state)
{
	WORLD;
	world.slot.confirmed_flush = H;
	fits(&world);
	world.slot.confirmed_flush = H + 1;
	refused(&world, "rule C3: slot \"walrank\" is confirmed up to 20/1, the journal ends at 20/0");
}

static void
a_server_whose_wal_ends_before_the_journal_is_c3(void **state)
{
	WORLD;
	world.server.flushed = H;
	fits(&world);
	world.server.flushed = H - 1;
	refused(&world, "rule C3: the journal ends at 20/0, the server's WAL at 1F/FFFFFFFF");
}

static void
the_slot_is_compared_again_after_the_start(void **state)
{
	WORLD;
	world.slot.confirmed_flush = H;
	assert_true(history_check_started(&world.ours, &world.slot, H, &world.err));
	world.slot.confirmed_flush = H + 1;
	judged(&world, history_check_started(&world.ours, &world.slot, H, &world.err), ERR_REFUSE,
		   "rule C3: slot \"walrank\" moved to");
	world.slot = (SourceSlot){0};
	judged(&world, history_check_started(&world.ours, &world.slot, H, &world.err), ERR_REFUSE,
		   "rule C3: slot \"walrank\" went away");
}

/* ---- C4 --------------------------------------------------------------------------------------- */

static void
a_newer_timeline_that_left_ours_at_or_after_h_fits(void **state)
{
	WORLD;
	world.server.timeline = 4;
	world.history.timeline = (SourceTimeline){true, H};
	fits(&world);
	world.history.timeline.left = H - 1;
	refused(&world, "rule C4: the server left timeline 2 at 1F/FFFFFFFF, the journal ends at 20/0 of it");
}

static void
a_timeline_that_is_no_child_of_ours_is_c4(void **state)
{
	WORLD;
	world.server.timeline = 3;
	refused(&world, "rule C4: the server's timeline 3 does not descend from the journal's, 2");
}

static void
an_older_timeline_is_c4(void **state)
{
	WORLD;
	world.server.timeline = 1;
	world.history.timeline = (SourceTimeline){true, FLUSHED};
	refused(&world, "rule C4: the server is on timeline 1, the journal already on 2");
}

static void
c4_is_named_where_the_new_timeline_is_shorter_too(void **state)
{
	WORLD;
	world.server.timeline = 3;
	world.server.flushed = H - 1;
	world.history.timeline = (SourceTimeline){true, H - 2};
	refused(&world, "rule C4:");
}

static void
the_identity_knows_the_timeline_before_the_first_connection(void **state)
{
	WORLD;
	world.head.timeline = 0;
	world.server.timeline = 3;
	fits(&world); /* an identity of before it was noted */
	world.ours.timeline = 2;
	assert_int_equal(history_timeline_ours(&world.ours, &world.head), 2);
	refused(&world, "rule C4:");
	world.head.timeline = 3;
	fits(&world);
}

static bool
parse(const char *text, uint32_t server, uint32_t ours, SourceTimeline *out)
{
	Error err;

	return history_timeline(slice_string(text), server, ours, out, &err);
}

static void
timeline_histories_are_read_as_the_server_writes_them(void **state)
{
	static const char text[] =
		"1\t0/3000148\tno recovery target specified\n\n2\t5/0A000000\tbefore 2026-01-01 "
		"\t tabs\n# a comment\n  4\tFFFFFFFF/FFFFFFFF\treason";
	SourceTimeline out;

	assert_true(parse(text, 5, 1, &out));
	assert_true(out.found && out.left == 0x3000148);
	assert_true(parse(text, 5, 2, &out));
	assert_true(out.found && out.left == UINT64_C(0x50A000000));
	assert_true(parse(text, 5, 4, &out));
	assert_true(out.found && out.left == UINT64_MAX);
	assert_true(parse(text, 5, 3, &out));
	assert_false(out.found);
	assert_true(parse("", 2, 1, &out));
	assert_false(out.found);
}

static void
what_is_no_timeline_history_is_refused(void **state)
{
	static const char *const bad[] = {"1\n",
									  "one\t0/1\tx\n",
									  "1\t0/1x\n",
									  "1\t0/\tx\n",
									  "-1\t0/1\tx\n",
									  "0\t0/1\tx\n",
									  "4294967297\t0/1\tx\n",
									  "1 0 1\n",
									  "2\t0/1\tx\n1\t0/2\tx\n", /* not in order */
									  "1\t0/1\tx\n1\t0/2\tx\n",
									  "1\t0/2\tx\n2\t0/1\tx\n", /* left before it was begun */
									  "5\t0/1\tx\n"};			/* the server's own */
	SourceTimeline out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(bad[i], 5, 1, &out))
			fail_msg("read: %s", bad[i]);
}

/* ---- C5 --------------------------------------------------------------------------------------- */

static void
a_control_row_that_fell_back_is_c5(void **state)
{
	WORLD;
	world.control.owner_epoch = 13;
	world.control.beat = 9999;
	fits(&world);
	world.control.owner_epoch = 11;
	refused(&world, "rule C5: walrank.control is at owner epoch 11 and beat 9999");
	world_begin(&world);
	world.control.beat = 3999;
	refused(&world, "rule C5: walrank.control is at owner epoch 12 and beat 3999");
}

static void
a_control_row_that_is_being_written_is_waited_for(void **state)
{
	WORLD;
	world.control.updating = true;
	fits(&world);
	world.control.beat = 3999;
	waits(&world, "rule C5:");
}

/* ---- C6 --------------------------------------------------------------------------------------- */

static void
no_transaction_or_one_too_old_says_nothing(void **state)
{
	WORLD;
	world.history.xid.status = XID_NONE;
	fits(&world);
	world.history.xid.status = XID_FORGOTTEN;
	fits(&world);
}

static void
a_transaction_in_progress_is_waited_for(void **state)
{
	WORLD;
	world.history.xid.status = XID_IN_PROGRESS;
	waits(&world, "rule C6: transaction 12884902588, the journal's last, is still in progress");
}

static void
an_aborted_transaction_is_c6(void **state)
{
	WORLD;
	world.history.xid.status = XID_ABORTED;
	refused(&world, "rule C6: transaction 12884902588, the journal's last, is aborted");
}

static void
a_transaction_in_the_future_is_c6_and_not_too_old(void **state)
{
	WORLD;
	world.history.xid.status = XID_FUTURE;
	refused(&world, "rule C6: transaction 12884902588, the journal's last, lies in the future");
}

static void
another_commit_time_is_c6(void **state)
{
	WORLD;
	world.history.xid = (SourceXid){XID_COMMITTED, true, COMMIT_US, false};
	fits(&world);
	world.history.xid.commit_time_us++;
	refused(&world, "rule C6: transaction 12884902588, the journal's last, was committed at another time");
	world.history.xid.timed = false;
	fits(&world);
}

static void
only_a_replayed_transaction_may_lack_its_time(void **state)
{
	WORLD;
	world.history.xid = (SourceXid){XID_COMMITTED, true, COMMIT_US + 1, true};
	refused(&world, "rule C6:"); /* both sides take the other node's time */
	world.head.commit_time_us = NO_TIME_US;
	fits(&world);
	world.history.xid.foreign = false;
	refused(&world, "rule C6:");
}

/* ---- creation, adoption, skipping ------------------------------------------------------------- */

static void
leftover(World *world)
{
	world_begin(world);
	world->ours.complete = false;
	snprintf(world->control.state, sizeof(world->control.state), "creating");
	world->slot.confirmed_flush = START;
}

static bool
may_drop(World *world)
{
	return history_check_leftover(&world->ours, &world->server, &world->slot, &world->control, &world->err);
}

static void
only_a_slot_that_is_ours_and_never_streamed_is_dropped(void **state)
{
	World world;

	leftover(&world);
	assert_true(may_drop(&world));
	for (int i = 0; i < 8; i++)
	{
		leftover(&world);
		if (i == 0)
			world.control.found = false;
		else if (i == 1)
			snprintf(world.control.state, sizeof(world.control.state), "ready");
		else if (i == 2)
			snprintf(world.control.slot, sizeof(world.control.slot), "other");
		else if (i == 3)
			world.slot.logical = false;
		else if (i == 4)
			snprintf(world.slot.plugin, sizeof(world.slot.plugin), "pgoutput");
		else if (i == 5)
			snprintf(world.slot.database, sizeof(world.slot.database), "other");
		else if (i == 6)
			world.slot.confirmed_flush = START - 1; /* older than the creation: it may have streamed */
		else
			world.slot.active = true;
		judged(&world, may_drop(&world), ERR_REFUSE,
			   "replication slot \"walrank\" exists and is not the one");
	}
}

static bool
adoptable(World *world, bool owned)
{
	return history_check_adoptable("walrank", &world->server, &world->slot, owned, &world->err);
}

static void
only_a_sound_slot_of_nobody_is_adopted(void **state)
{
	WORLD;
	assert_true(adoptable(&world, false));
	judged(&world, adoptable(&world, true), ERR_REFUSE, "replication slot \"walrank\" cannot be taken over");
	for (int i = 0; i < 8; i++)
	{
		world_begin(&world);
		if (i == 0)
			world.slot = (SourceSlot){0};
		else if (i == 7)
			world.slot.confirmed_flush = 0;
		else if (i == 1)
			world.slot.logical = false;
		else if (i == 2)
			snprintf(world.slot.plugin, sizeof(world.slot.plugin), "pgoutput");
		else if (i == 3)
			snprintf(world.slot.database, sizeof(world.slot.database), "other");
		else if (i == 4)
			world.slot.temporary = true;
		else if (i == 5)
			snprintf(world.slot.wal_status, sizeof(world.slot.wal_status), "lost");
		else
			world.slot.synced = world.server.standby = true;
		judged(&world, adoptable(&world, false), ERR_REFUSE,
			   "replication slot \"walrank\" cannot be taken over");
	}
	world_begin(&world);
	world.slot.active = true;
	judged(&world, adoptable(&world, false), ERR_RETRY, "replication slot \"walrank\" is in use");
}

static void
one_skips_forward_and_never_beyond_the_servers_wal(void **state)
{
	WORLD;
	assert_true(history_check_skip(H, H + 1, &world.server, &world.err));
	assert_true(history_check_skip(H, FLUSHED, &world.server, &world.err));
	judged(&world, history_check_skip(H, H - 1, &world.server, &world.err), ERR_REFUSE,
		   "rule C3: cannot skip to");
	judged(&world, history_check_skip(H, FLUSHED + 1, &world.server, &world.err), ERR_REFUSE,
		   "rule C3: cannot skip to");
}

/* ---- replaced streams ------------------------------------------------------------------------- */

static void
replaced_streams_are_remembered_newest_first(void **state)
{
	JournalIdentity identity = {.stream_id = {{200}}};
	StreamId id = {{0}};

	journal_identity_replace(&identity, &identity.stream_id); /* never itself */
	assert_int_equal(identity.nreplaced, 0);
	for (int i = 1; i <= JOURNAL_REPLACED_MAX + 1; i++)
	{
		id.bytes[0] = (uint8_t) i;
		journal_identity_replace(&identity, &id);
		journal_identity_replace(&identity, &id);
		assert_true(journal_identity_replaces(&identity, &id));
	}
	assert_int_equal(identity.nreplaced, JOURNAL_REPLACED_MAX);
	id.bytes[0] = 1; /* the oldest */
	assert_false(journal_identity_replaces(&identity, &id));
	id.bytes[0] = 2;
	assert_true(journal_identity_replaces(&identity, &id));
	id.bytes[0] = 200;
	assert_false(journal_identity_replaces(&identity, &id));
}

static void
identities_are_read_as_they_were_written(void **state)
{
	char path[] = "/tmp/walrank_history.XXXXXX";
	JournalIdentity wrote = {.stream_id = {{200}},
							 .system_identifier = UINT64_MAX,
							 .database_oid = 5,
							 .database = "sh%op",
							 .slot = "walrank",
							 .plugin = "walrank",
							 .server_lsn = START,
							 .start_lsn = H,
							 .complete = true};
	JournalIdentity read;
	bool found;
	Error err;
	int fd;

	assert_non_null(mkdtemp(path));
	fd = open(path, O_RDONLY | O_DIRECTORY);
	for (int round = 0; round < 2; round++)
	{
		assert_true(journal_identity_write(fd, &wrote, &err));
		memset(&read, 0xff, sizeof(read));
		assert_true(journal_identity_read(fd, &read, &found, &err));
		assert_true(found);
		assert_true(stream_id_equal(&read.stream_id, &wrote.stream_id));
		assert_true(read.system_identifier == wrote.system_identifier && read.start_lsn == H &&
					read.complete);
		assert_string_equal(read.database, wrote.database);
		assert_int_equal(read.adopted, round == 1);
		assert_int_equal(read.timeline, round == 1 ? 7 : 0);
		assert_int_equal(read.nreplaced, round == 1 ? JOURNAL_REPLACED_MAX : 0);
		assert_memory_equal(read.replaced, wrote.replaced, read.nreplaced * sizeof(StreamId));
		/* as long as it can become */
		wrote.adopted = true;
		wrote.timeline = 7;
		memset(wrote.database, '\x01', 63);
		memset(wrote.slot, '\x01', 63);
		memset(wrote.plugin, '\x01', 63);
		for (int i = 1; i <= JOURNAL_REPLACED_MAX; i++)
			journal_identity_replace(&wrote, &(StreamId){{(uint8_t) i}});
	}
	unlinkat(fd, "identity", 0);
	close(fd);
	rmdir(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits_goes_on),
		cmocka_unit_test(another_server_is_c1),
		cmocka_unit_test(another_database_is_c1),
		cmocka_unit_test(a_slot_of_another_plugin_or_database_is_c1),
		cmocka_unit_test(a_control_row_that_is_not_ours_is_c1),
		cmocka_unit_test(a_slot_that_is_gone_is_c2),
		cmocka_unit_test(a_lost_slot_is_c2_whichever_column_says_so),
		cmocka_unit_test(an_unreserved_slot_still_has_its_wal),
		cmocka_unit_test(a_standbys_copy_of_the_slot_waits_for_its_promotion),
		cmocka_unit_test(a_slot_in_use_is_waited_for_unless_histories_differ),
		cmocka_unit_test(a_slot_confirmed_beyond_the_journal_is_c3),
		cmocka_unit_test(a_server_whose_wal_ends_before_the_journal_is_c3),
		cmocka_unit_test(the_slot_is_compared_again_after_the_start),
		cmocka_unit_test(a_newer_timeline_that_left_ours_at_or_after_h_fits),
		cmocka_unit_test(a_timeline_that_is_no_child_of_ours_is_c4),
		cmocka_unit_test(an_older_timeline_is_c4),
		cmocka_unit_test(c4_is_named_where_the_new_timeline_is_shorter_too),
		cmocka_unit_test(the_identity_knows_the_timeline_before_the_first_connection),
		cmocka_unit_test(timeline_histories_are_read_as_the_server_writes_them),
		cmocka_unit_test(what_is_no_timeline_history_is_refused),
		cmocka_unit_test(a_control_row_that_fell_back_is_c5),
		cmocka_unit_test(a_control_row_that_is_being_written_is_waited_for),
		cmocka_unit_test(no_transaction_or_one_too_old_says_nothing),
		cmocka_unit_test(a_transaction_in_progress_is_waited_for),
		cmocka_unit_test(an_aborted_transaction_is_c6),
		cmocka_unit_test(a_transaction_in_the_future_is_c6_and_not_too_old),
		cmocka_unit_test(another_commit_time_is_c6),
		cmocka_unit_test(only_a_replayed_transaction_may_lack_its_time),
		cmocka_unit_test(only_a_slot_that_is_ours_and_never_streamed_is_dropped),
		cmocka_unit_test(only_a_sound_slot_of_nobody_is_adopted),
		cmocka_unit_test(one_skips_forward_and_never_beyond_the_servers_wal),
		cmocka_unit_test(replaced_streams_are_remembered_newest_first),
		cmocka_unit_test(identities_are_read_as_they_were_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
