/*
 * turns.c -- what the daemon's threads do, one turn at a time, in the order in which the daemon does it.
 *
 * A turn that fails for good leaves its error in daemon.fatal, and the process ends with it.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "daemon/retention.h"
#include "world.h"

#define INTERVAL_US INT64_C(10000000)

typedef unsigned long long ull;

/* ---- connecting -------------------------------------------------------------------------------- */

static bool
check(const JournalHead *head, SourceIdentity *identity, SourceSlot *slot, Error *err)
{
	const JournalIdentity *ours = journal_identity(world.daemon.journal);
	SourceControl control = {.found = true,
							 .slot = SERVER_SLOT,
							 .state = "ready",
							 .owner_epoch = world.server->epoch,
							 .beat = world.server->beat};
	History history = {.ours = ours, .head = head, .server = identity, .slot = slot, .control = &control};
	uint32_t timeline = history_timeline_ours(ours, head);

	server_identity(world.server, identity);
	server_slot(world.server, slot);
	server_xid(world.server, head->xid, &history.xid);
	if (timeline < SERVER_ANCESTORS_MAX)
		history.timeline = world.server->ancestors[timeline];
	if (world.broken == BREAK_HISTORY_UNCHECKED)
		return true;
	return history_check_server(ours, identity, err) && history_check(&history, err);
}

static bool
append_connect(const JournalHead *head, const SourceIdentity *identity, Error *err)
{
	Unit unit = {.kind = UNIT_CONNECT, .timeline = identity->timeline};

	if (world.server->epoch < head->owner_epoch)
		broken("C5", "the control row fell back");
	unit.owner_epoch = ++world.server->epoch;
	server_commit_control(world.server, wall_now());
	return journal_append(world.daemon.journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, err) &&
		   daemon_settle_journal(err);
}

/* session.c's order: what is appended is synced, the rules, CONFIG, the epoch, CONNECT, START at H, C3 again. */
bool
daemon_connect(Error *err)
{
	Daemon *daemon = &world.daemon;
	SourceIdentity identity;
	SourceSlot slot;
	JournalHead head;
	uint64_t seq;
	Lsn start;

	if (!daemon_settle_journal(err))
		return false;
	journal_appended(daemon->journal, &head);
	if (!check(&head, &identity, &slot, err))
		return false;
	if (daemon->config_wanted && !daemon_append_config(0, err))
		return false;
	daemon->config_wanted = false;
	if (!append_connect(&head, &identity, err))
		return false;
	journal_durable(daemon->journal, &seq, &start);
	server_identity(world.server, &identity);
	server_start(world.server, world.broken == BREAK_START_PAST_H ? start + 1 : start);
	server_slot(world.server, &slot);
	if (!history_check_started(journal_identity(daemon->journal), &slot, start, err))
		return false;
	queue_clear(&world.to_daemon);
	queue_clear(&world.to_server);
	intake_begin(daemon->intake, world.confirm, start, slot.confirmed_flush, identity.flushed, INTERVAL_US,
				 world.now_us);
	daemon->connected = true;
	tally(CONNECT);
	if (world.confirm == ACK_SINKS)
		tally(CONFIRM_SINKS);
	trace("daemon: streams at " LSN_FORMAT, LSN_ARGS(start));
	return true;
}

/* ---- receiver ---------------------------------------------------------------------------------- */

static void
end_connection(Error *err)
{
	Daemon *daemon = &world.daemon;

	trace("daemon: the connection ends: %s", err->message);
	intake_abandon(daemon->intake);
	daemon->connected = false;
	server_disconnect(world.server);
	queue_clear(&world.to_daemon);
	tallies[TALLY_STATUS_LOST] += (uint64_t) world.to_server.n;
	queue_clear(&world.to_server);
	daemon->retry_us = world.now_us + (int64_t) random_below(&world.random, 300000);
	if (!intake_may_retry(daemon->intake, err))
		daemon_fatal(err);
}

/* Under `confirm = sinks`: as far as every sink has come. */
static bool
tell_sinks(Error *err)
{
	Lsn lowest = UINT64_MAX;

	if (world.confirm != ACK_SINKS)
		return true;
	for (int i = 0; i < SINKS; i++)
		if (world.fars[i].now.position.end_lsn < lowest)
			lowest = world.fars[i].now.position.end_lsn;
	if (lowest > world.sinks_reached)
		world.sinks_reached = lowest;
	return intake_sinks(world.daemon.intake, lowest, world.now_us, err);
}

static bool
take_messages(Error *err)
{
	Daemon *daemon = &world.daemon;
	Buffer bytes = {0};
	bool ok = true;

	for (int n = (int) random_between(&world.random, 1, 8); ok && n > 0; n--)
		if (!intake_full(daemon->intake) && queue_take(&world.to_daemon, world.now_us, &bytes))
			ok = intake_message(daemon->intake, buffer_slice(&bytes), world.now_us, wall_now(), err);
	if (*intake_no_space(daemon->intake) != '\0')
		tally(HELD);
	buffer_free(&bytes);
	return ok;
}

void
daemon_receive(void)
{
	Daemon *daemon = &world.daemon;
	Error err = {.class = ERR_NONE};

	if (daemon->connected &&
		(!tell_sinks(&err) || !take_messages(&err) || !intake_flush(daemon->intake, world.now_us, &err) ||
		 !intake_feedback(daemon->intake, world.now_us, &err)))
		end_connection(&err);
}

/* ---- the other threads ------------------------------------------------------------------------- */

void
daemon_sync(void)
{
	Daemon *daemon = &world.daemon;
	SegLog *log = journal_log(daemon->journal);
	uint64_t durable;
	Error err;
	Lsn lsn;

	if (seglog_flushed(log).seq == seglog_durable(log).seq)
		return; /* its wait, even of no time, costs more than all else here */
	if (!journal_sync_step(daemon->journal, 0, &err))
	{
		daemon_fatal(&err);
		return;
	}
	journal_durable(daemon->journal, &durable, &lsn);
	if (disk_dead() != DISK_LIVES)
		return;
	oracle_look();
	feed_set_durable(daemon->feed, world.broken == BREAK_FEED_PAST_DURABLE ? UINT64_MAX : durable);
}

static bool
failed(Error *err)
{
	if (err->class != ERR_SPACE)
		daemon_fatal(err);
	return false;
}

static bool
append_record(void)
{
	Daemon *daemon = &world.daemon;
	Error err;

	daemon->append_wanted = !feed_append(daemon->feed, &daemon->header, buffer_slice(&daemon->record), &err);
	if (daemon->append_wanted)
		return failed(&err);
	daemon->uncommitted = daemon->unflushed = true;
	if (daemon->header.last)
		daemon->in_unit = false;
	return true;
}

static bool
next_unit(void)
{
	Daemon *daemon = &world.daemon;
	Error err;
	JournalEvent event = model_read(daemon->reader, &daemon->known, &daemon->unit, &err);

	if (event == JOURNAL_ERROR)
		daemon_fatal(&err);
	daemon->in_unit = event == JOURNAL_UNIT;
	if (daemon->in_unit && model_pieces(&daemon->unit) > 1)
		tally(PIECES);
	return daemon->in_unit;
}

static bool
flush_feed(void)
{
	Daemon *daemon = &world.daemon;
	Error err;

	if (daemon->unflushed && !feed_flush(daemon->feed, &err))
		return failed(&err);
	daemon->unflushed = false;
	return true;
}

void
daemon_score(void)
{
	Daemon *daemon = &world.daemon;

	if (daemon->append_wanted && !append_record())
		return;
	for (int n = (int) random_between(&world.random, 1, 6); n > 0; n--)
	{
		if (!daemon->in_unit && !next_unit())
		{
			flush_feed();
			return;
		}
		model_step(&daemon->store.state, &daemon->unit, world.engine, &daemon->record, &daemon->header);
		if (!append_record())
			return;
	}
	if (random_chance(&world.random, 1, 2))
		flush_feed();
}

/* R3 */
void
daemon_commit(void)
{
	Daemon *daemon = &world.daemon;
	Error err;

	if (!daemon->uncommitted || daemon->append_wanted)
		return;
	if (world.broken != BREAK_STORE_BEFORE_FEED && !flush_feed())
		return;
	if (!store_model_commit(&daemon->store, &err))
		failed(&err);
	else
		daemon->uncommitted = false;
}

void
daemon_snapshot(void)
{
	Daemon *daemon = &world.daemon;
	ModelStore *store = &daemon->store;
	uint64_t durable;
	Error err;
	Lsn lsn;

	if (store->step == SNAPSHOT_BARRIER && world.broken != BREAK_SNAPSHOT_BEFORE_SYNC)
	{
		journal_durable(daemon->journal, &durable, &lsn);
		if (durable < store->copied.seq + (store->copied.part > 0))
			return; /* the sync thread will come to it */
		if (!daemon_sync_feed(&err))
		{
			failed(&err);
			return;
		}
	}
	if (store_model_snapshot(store, &err) || disk_dead() != DISK_LIVES)
		return;
	store->step = SNAPSHOT_NONE;
	failed(&err);
}

/* Others that append: housekeeping because the scorer asks, a backfill. They wait while a unit is open. */
void
daemon_append(void)
{
	Daemon *daemon = &world.daemon;
	ModelState *state = &daemon->store.state;
	bool rows = random_chance(&world.random, 1, 4) && world.faults;
	uint64_t noise = random_next(&world.random);
	Unit unit = {.kind = UNIT_RESCORE, .id = state->job, .chunk = (uint32_t) state->chunk, .limit = 4};
	Error err;

	if (intake_open(daemon->intake) || (!rows && (state->job == 0 || state->seq < daemon->asked_seq)))
		return;
	if (rows)
		unit = (Unit){.kind = UNIT_BACKFILL, .step = BACKFILL_ROWS, .id = 1, .oid = 4711};
	if (!journal_append(daemon->journal, &unit, rows ? PART_ROWS : PART_DETAIL,
						slice_make(&noise, rows ? sizeof(noise) : 0), false, &err))
	{
		failed(&err);
		return;
	}
	if (rows)
		tally(BACKFILL);
	else
	{
		tally(RESCORE);
		daemon->asked_seq = unit.seq;
	}
}

static RetentionPlan
decide(void)
{
	Daemon *daemon = &world.daemon;
	uint64_t durable = feed_durable(daemon->feed);
	RetentionSink sinks[SINKS];
	RetentionInput input = {.store_seq = daemon->store.committed.seq,
							.snapshot_oldest = daemon->store.oldest,
							.snapshot_newest = daemon->store.newest,
							.snapshots = 2,
							.sinks = sinks,
							.nsinks = SINKS};
	SegInfo *journal;
	SegInfo *feed;
	RetentionPlan plan;

	for (int i = 0; i < SINKS; i++)
		sinks[i] = (RetentionSink){.seq = world.fars[i].now.position.seq};
	input.journal.n = seglog_list(journal_log(daemon->journal), &journal);
	input.journal.segments = journal;
	input.journal.aged = UINT64_MAX;
	input.feed.n = seglog_list(feed_log(daemon->feed), &feed);
	input.feed.segments = feed;
	input.feed.aged = durable > 4 ? durable - 4 : 0; /* the minimum time, in units */
	plan = retention_decide(&input);
	free(journal);
	free(feed);
	return plan;
}

/* R8, K6 */
void
daemon_trim(void)
{
	Daemon *daemon = &world.daemon;
	RetentionPlan plan = decide();
	uint64_t before_feed = feed_first_seq(daemon->feed);
	uint64_t before_journal = journal_first_seq(daemon->journal);
	Error err;

	if (world.broken == BREAK_TRIM_PAST_SNAPSHOT)
		plan.journal_below = daemon->store.state.seq + 1;
	if (!feed_trim(daemon->feed, plan.feed_below, &err) ||
		!journal_trim(daemon->journal, plan.journal_below, &err))
		failed(&err);
	if (feed_first_seq(daemon->feed) > before_feed)
		tally(FEED_TRIM);
	if (journal_first_seq(daemon->journal) > before_journal)
		tally(JOURNAL_TRIM);
}

/* Compresses one segment that its readers have left, in a thread of its own. */
void
daemon_pack(void)
{
	static const atomic_bool stop = false;
	Daemon *daemon = &world.daemon;
	uint64_t below = daemon->store.committed.seq;
	bool journal = random_chance(&world.random, 1, 2);
	bool packed;
	Error err;

	for (int i = 0; !journal && i < SINKS; i++)
		if (world.fars[i].now.position.seq < below)
			below = world.fars[i].now.position.seq;
	if (seglog_pack(journal ? journal_log(daemon->journal) : feed_log(daemon->feed),
					(SegPosition){below + 1, 0}, &stop, &packed, &err))
		tallies[TALLY_PACKED] += packed;
	else if (err.class != ERR_RETRY)
		failed(&err);
}

/* ---- stop -------------------------------------------------------------------------------------- */

static bool
say_goodbye(Error *err)
{
	Daemon *daemon = &world.daemon;

	intake_abandon(daemon->intake);
	if (!daemon_settle_journal(err))
		return false;
	oracle_look();
	return !daemon->connected || intake_goodbye(daemon->intake, world.now_us, err);
}

/* Everything scored and synced, then the mark. */
bool
daemon_stop_clean(Error *err)
{
	Daemon *daemon = &world.daemon;

	if (!say_goodbye(err))
		return false;
	for (int i = 0; i < 2000 && (daemon->in_unit || next_unit()); i++)
	{
		if (!daemon->append_wanted)
			model_step(&daemon->store.state, &daemon->unit, world.engine, &daemon->record, &daemon->header);
		if (!append_record())
			return error_set(err, ERR_SPACE, "no space for the feed");
	}
	if (!feed_flush(daemon->feed, err) ||
		(world.broken != BREAK_CLEAN_BEFORE_SYNC && !daemon_sync_feed(err)) ||
		!store_model_close_clean(&daemon->store, err))
		return false;
	tally(DAEMON_STOP);
	trace("daemon: stopped at unit %llu", (ull) daemon->store.state.seq);
	return true;
}
