/*
 * wrong.c -- histories that do not fit, one at a time: each is refused by the rule that says so, with nothing
 * written, and when the wrong thing is put right everything goes on.
 *
 * The daemon is stopped, in whatever way; disk and server are kept aside; one of them is changed; the daemon
 * starts and asks whether it may stream, or opens a sink.  Then all is put back.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "world.h"

typedef unsigned long long ull;

/* ---- keeping aside ----------------------------------------------------------------------------- */

static Server *right_server;
static DiskImage *right_disk;

static void
keep_aside(void)
{
	daemon_drop();
	disk_kill();
	disk_eio_at(0);
	disk_space(UINT64_MAX);
	world.space_until_us = world.start_us = 0;
	right_disk = disk_save();
	right_server = world.server;
	world.server = server_copy(right_server, random_next(&world.random));
}

static void
put_back(void)
{
	daemon_drop();
	disk_kill();
	disk_restore(right_disk);
	disk_image_free(right_disk);
	server_destroy(world.server);
	world.server = right_server;
}

/* ---- servers that are not the right one --------------------------------------------------------- */

typedef struct Case
{
	const char *what;
	const char *rule;
	bool (*make)(Lsn h); /* changes world.server; false: there is nothing wrong with it now */
	Tally tally;
} Case;

static bool
make_advanced(Lsn h)
{
	Server *server = world.server;

	server->flushed = server->flushed > h ? server->flushed : h;
	server->flushed += 8;
	server->confirmed = h + random_between(&world.random, 1, server->flushed - h);
	return true;
}

/* With the same name, after something was written. */
static bool
make_recreated(Lsn h)
{
	server_commit(world.server, 2, wall_now());
	world.server->confirmed = world.server->confirmed_saved = world.server->flushed;
	return world.server->confirmed > h;
}

static bool
make_dropped(Lsn h)
{
	world.server->slot_found = false;
	return true;
}

static bool
make_lost(Lsn h)
{
	world.server->slot_lost = true;
	return true;
}

static bool
make_cluster(Lsn h)
{
	world.server->system_identifier++;
	return true;
}

/* A standby that had not received all we have takes over. */
static bool
make_promoted(Lsn h)
{
	Server *server = world.server;
	JournalHead head;

	journal_appended(world.daemon.journal, &head);
	if (h <= SERVER_START || server->timeline + 1 >= SERVER_ANCESTORS_MAX)
		return false;
	server->ancestors[history_timeline_ours(journal_identity(world.daemon.journal), &head)] =
		(SourceTimeline){true, h - random_between(&world.random, 1, 64)};
	server->timeline++;
	server_commit(server, 1, wall_now());
	return true;
}

/* Is the last transaction of the journal one that the server has, as far as anybody can tell? */
static bool
looks_right(const JournalHead *head)
{
	const Server *server = world.server;
	SourceXid xid;

	server_xid(server, head->xid, &xid);
	if (xid.status == XID_IN_PROGRESS)
		return true; /* not yet to be told: the daemon asks again */
	return server->flushed >= head->end_lsn && server->confirmed <= head->end_lsn &&
		   server->epoch >= head->owner_epoch && server->beat >= head->beat &&
		   (head->xid == 0 ||
			(xid.status == XID_COMMITTED && (!xid.timed || xid.commit_time_us == head->commit_time_us)));
}

/* The data directory of an earlier day, and then none, few or many new transactions. */
static bool
make_restored(Lsn h)
{
	uint64_t more = random_below(&world.random, 3);
	JournalHead head;

	if (world.backup == NULL || world.backup->ntxns >= world.oracle.next)
		return false; /* it has all that we have */
	server_destroy(world.server);
	world.server = server_copy(world.backup, random_next(&world.random));
	for (uint64_t i = more * more * 20; i > 0; i--)
		server_work(world.server, wall_now());
	journal_appended(world.daemon.journal, &head);
	return !looks_right(&head); /* the one hole there is: exactly-once.md, 7 */
}

static const Case cases[] = {
	{"the slot was advanced", "rule C3", make_advanced, TALLY_HISTORY_ADVANCED},
	{"the slot was recreated", "rule C3", make_recreated, TALLY_HISTORY_RECREATED},
	{"the slot is gone", "rule C2", make_dropped, TALLY_HISTORY_DROPPED},
	{"the slot lost its WAL", "rule C2", make_lost, TALLY_HISTORY_LOST},
	{"another cluster", "rule C1", make_cluster, TALLY_HISTORY_CLUSTER},
	{"a standby behind us was promoted", "rule C4", make_promoted, TALLY_HISTORY_PROMOTED},
	{"an old data directory", "rule C", make_restored, TALLY_HISTORY_RESTORED},
};

/* The question is asked; the answer has to be no, and leave no trace. */
static void
expect_no(const Case *wrong)
{
	uint64_t changes = disk_changes();
	uint64_t epoch = world.server->epoch;
	int txns = world.server->ntxns;
	JournalHead before;
	JournalHead after;
	Error err = {.class = ERR_NONE};

	journal_appended(world.daemon.journal, &before);
	if (daemon_connect(&err))
		broken("wrong history", "%s, and the daemon streams", wrong->what);
	if (err.class != ERR_REFUSE || strstr(err.message, wrong->rule) == NULL || err.hint[0] == '\0')
		broken("wrong history", "%s: expected %s, got \"%s\" (class %d)", wrong->what, wrong->rule,
			   err.message, err.class);
	journal_appended(world.daemon.journal, &after);
	if (after.seq != before.seq || disk_changes() != changes || world.server->epoch != epoch ||
		world.server->ntxns != txns)
		broken("wrong history", "%s is refused, but something was written", wrong->what);
	tallies[wrong->tally]++;
	trace("wrong: %s: %s", wrong->what, err.message);
}

static void
wrong_server(void)
{
	const Case *wrong = &cases[random_below(&world.random, sizeof(cases) / sizeof(cases[0]))];
	uint64_t seq;
	Error err;
	Lsn h;

	keep_aside();
	if (daemon_start(&err))
	{
		journal_durable(world.daemon.journal, &seq, &h);
		if (wrong->make(h))
			expect_no(wrong);
	}
	put_back();
}

/* ---- state directories that are not the right one ------------------------------------------------ */

static void
wrong_yesterday(void)
{
	Case wrong = {"yesterday's state directory", "rule C3", NULL, TALLY_HISTORY_YESTERDAY};
	uint64_t seq;
	Error err;
	Lsn h;

	if (world.yesterday == NULL)
		return;
	keep_aside();
	disk_restore(world.yesterday);
	if (daemon_start(&err))
	{
		journal_durable(world.daemon.journal, &seq, &h);
		if (h < world.server->confirmed)
			expect_no(&wrong);
	}
	else if (strstr(err.message, "rule R6: the store was made by") == NULL)
		broken("refused", "yesterday's state directory cannot even be opened: %s", err.message);
	put_back();
}

/* One bit of what is durable: found at the start, or by who reads there, or it was the very tail. */
static void
wrong_bit(bool journal)
{
	bool plain = random_chance(&world.random, 1, 2);
	bool hit;
	bool found;
	Error err = {.class = ERR_NONE};
	JournalVerify report;
	SegVerify feed;

	if (journal && world.server->confirmed < world.oracle.end_lsn)
		return; /* a tail that the server still has may go */
	keep_aside();
	hit = disk_flip(journal ? DIR_JOURNAL : DIR_FEED, plain ? ".seg" : ".zst");
	found = journal ? !journal_verify(disk_dirfd(DIR_JOURNAL), &report, &err) || report.torn_tail ||
						  report.last_seq < world.oracle.seq
					: !feed_verify(disk_dirfd(DIR_FEED), &feed, &err) || feed.torn_tail;
	/* a compressed frame has bits that mean nothing; each record has a checksum of its own */
	if (hit && plain && !found)
		broken("damage", "a flipped bit in the %s is not seen", journal ? "journal" : "feed");
	if (hit && journal && daemon_start(&err))
	{
		JournalHead head;

		/* a torn tail, for all that anybody can tell here; the server knows better */
		journal_appended(world.daemon.journal, &head);
		if (head.end_lsn < world.server->confirmed && daemon_connect(&err))
			broken("damage", "the journal lost what was confirmed, and the daemon streams");
	}
	else if (hit && journal && err.class != ERR_REFUSE)
		broken("damage", "a flipped bit in the journal: %s (class %d)", err.message, err.class);
	if (hit && journal)
		tally(HISTORY_FLIP);
	else if (hit)
		tally(HISTORY_FEED_FLIP);
	put_back();
}

static void
wrong_second_daemon(void)
{
	Error err;
	int fd;

	if (!world.daemon.running)
		return;
	if (fs_lock(disk_dirfd(DIR_STATE), "lock", &fd, &err) || err.class != ERR_REFUSE)
		broken("wrong history", "a second daemon gets the state directory");
	tally(HISTORY_SECOND);
}

/* ---- sinks that are not the right one ----------------------------------------------------------- */

static void
wrong_sink(void)
{
	int i = (int) random_below(&world.random, SINKS);
	uint64_t kind = random_below(&world.random, 4);
	Runner *runner = &world.daemon.runners[i];
	Far *far = &world.fars[i];
	FarState right = far->now;
	const char *rule = "rule K2";
	Tally which = TALLY_SINK_AHEAD;
	Error err = {.class = ERR_NONE};
	FarState wrong;

	if (!world.daemon.running || world.daemon.fatal.class != ERR_NONE || !right.found)
		return;
	runner_close(runner);
	if (feed_first_seq(world.daemon.feed) > 1 && random_chance(&world.random, 3, 4))
		kind = 2 + kind % 2; /* not often possible */
	if (kind == 0)
		far->now.position.seq = feed_durable(world.daemon.feed) + random_between(&world.random, 1, 5);
	else if (kind == 1)
	{
		far->now.position.stream_id.bytes[3] ^= 1;
		rule = "rule K9";
		which = TALLY_SINK_FOREIGN;
	}
	else
	{
		/* the feed must no longer reach back as far */
		if (feed_first_seq(world.daemon.feed) <= 1)
			return;
		far->now.position.seq = feed_first_seq(world.daemon.feed) - 2;
		far->now.position.part = 0;
		which = TALLY_SINK_BEHIND;
		if (kind == 3)
		{
			far->now = (FarState){.found = false};
			rule = "rule K1";
			which = TALLY_SINK_EMPTIED;
		}
	}
	wrong = far->now;
	if (runner_open(runner, &err))
		broken("wrong sink", "sink %s: %s is not refused", far->name, rule);
	if (err.class != ERR_REFUSE || strstr(err.message, rule) == NULL)
		broken("wrong sink", "expected %s, got \"%s\"", rule, err.message);
	if (far->now.found != wrong.found || far->now.position.seq != wrong.position.seq ||
		far->now.chain != wrong.chain)
		broken("wrong sink", "a refused sink was written to");
	tallies[which]++;
	trace("wrong: sink %s: %s", far->name, err.message);
	runner_close(runner);
	far->now = right;
}

/* K3: what is in is skipped, what would leave a gap is refused. */
static void
wrong_record(void)
{
	Far *far = &world.fars[random_below(&world.random, SINKS)];
	const SinkPosition *position = &far->now.position;
	bool gap = random_chance(&world.random, 1, 2);
	uint64_t seq = gap ? position->seq + 2 : position->seq;
	PositionOrder order = ORDER_NEXT;
	FeedReader *reader;
	RecordReader record;
	Error err;

	if (!world.daemon.running || !far->now.found || seq < feed_first_seq(world.daemon.feed) || seq == 0 ||
		!feed_reader_open(world.daemon.feed, seq, &reader, &err))
		return;
	if (feed_reader_next(reader, &record, &err) == FEED_RECORD)
	{
		order = position_order(position, &record.header, &err);
		if (order != (gap ? ORDER_GAP : ORDER_APPLIED))
			broken("K3", "a sink at unit %llu takes unit %llu", (ull) position->seq, (ull) seq);
		tallies[gap ? TALLY_RECORD_GAP : TALLY_RECORD_AGAIN]++;
	}
	feed_reader_close(reader);
}

void
wrong_history(void)
{
	switch (random_below(&world.random, 9))
	{
		case 0:
		case 1:
		case 2:
			wrong_server();
			break;
		case 3:
			wrong_yesterday();
			break;
		case 4:
			wrong_bit(random_chance(&world.random, 2, 3));
			break;
		case 5:
			wrong_second_daemon();
			break;
		case 6:
			wrong_record();
			break;
		default:
			wrong_sink();
			break;
	}
}
