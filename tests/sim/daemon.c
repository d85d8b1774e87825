/*
 * daemon.c -- the daemon of the world: the product's journal, feed, intake and decisions, called in the order in
 * which the daemon's threads call them.
 *
 * Each function is one turn of one thread.  A turn that fails for good leaves its error in daemon.fatal, and the
 * process ends with it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "daemon/retention.h"
#include "world.h"

#define LIBM 4242
#define INTERVAL_US INT64_C(10000000)

typedef unsigned long long ull;

void
daemon_fatal(const Error *err)
{
	if (world.daemon.fatal.class == ERR_NONE)
		world.daemon.fatal = *err;
	if (err->class != ERR_DISK && err->class != ERR_SPACE && disk_dead() == DISK_LIVES)
		broken("stopped", "the daemon stops: %s", err->message);
}

/* ---- queues: the network ----------------------------------------------------------------------- */

void
queue_clear(Queue *queue)
{
	for (int i = 0; i < queue->n; i++)
		buffer_free(&queue->at[i].bytes);
	queue->n = 0;
}

void
queue_put(Queue *queue, const Buffer *bytes, int64_t ready_us)
{
	Message *message;

	if (queue->n == queue->capacity)
	{
		queue->capacity = queue->capacity > 0 ? 2 * queue->capacity : 32;
		queue->at = xrealloc(queue->at, (size_t) queue->capacity * sizeof(Message));
	}
	message = &queue->at[queue->n++];
	*message = (Message){.ready_us = ready_us};
	if (queue->n > 1 && message[-1].ready_us > ready_us)
		message->ready_us = message[-1].ready_us;
	buffer_append_slice(&message->bytes, buffer_slice(bytes));
}

bool
queue_take(Queue *queue, int64_t now_us, Buffer *bytes)
{
	if (queue->n == 0 || queue->at[0].ready_us > now_us)
		return false;
	buffer_free(bytes);
	*bytes = queue->at[0].bytes;
	memmove(queue->at, queue->at + 1, (size_t) --queue->n * sizeof(Message));
	return true;
}

/* ---- settings ---------------------------------------------------------------------------------- */

static void
dictionary(void *context, Buffer *out)
{
	model_dictionary(&world.daemon.store.state, out);
}

static FeedSettings
feed_settings(void)
{
	return (FeedSettings){
		.segment_bytes = world.feed_segment_bytes, .stream_id = world.stream_id, .dictionary = dictionary};
}

static JournalSettings
journal_settings(void)
{
	return (JournalSettings){.segment_bytes = world.journal_segment_bytes};
}

/* ---- creation ---------------------------------------------------------------------------------- */

typedef struct Names
{
	char names[64][64];
	int n;
} Names;

static void
name_seen(void *context, const char *name)
{
	Names *names = context;

	if (names->n < 64)
		snprintf(names->names[names->n++], 64, "%s", name);
}

static bool
empty_directory(DiskDir dir, Error *err)
{
	Names names = {.n = 0};

	if (!fs_list(disk_dirfd(dir), name_seen, &names, err))
		return false;
	for (int i = 0; i < names.n; i++)
		if (strcmp(names.names[i], "identity") != 0 && fs->unlinkat(disk_dirfd(dir), names.names[i]) != 0)
			return error_errno(err, "could not remove \"%s\"", names.names[i]);
	return true;
}

/* As state_make() does it: the identity comes last. */
static bool
create_once(Error *err)
{
	Daemon *daemon = &world.daemon;
	JournalSettings journal = journal_settings();
	FeedSettings feed = feed_settings();
	JournalIdentity identity = {.stream_id = world.stream_id,
								.system_identifier = world.server->system_identifier,
								.database_oid = SERVER_DATABASE_OID,
								.database = SERVER_DATABASE,
								.slot = SERVER_SLOT,
								.plugin = SOURCE_PLUGIN,
								.server_lsn = SERVER_START,
								.start_lsn = SERVER_START,
								.timeline = 1,
								.complete = true};
	bool found;

	/* complete by the word of one that was killed, perhaps before that word was durable */
	if (journal_identity_read(disk_dirfd(DIR_JOURNAL), &identity, &found, err) && found)
		return fs_sync_dir(disk_dirfd(DIR_JOURNAL), err);
	identity.complete = true;
	return empty_directory(DIR_JOURNAL, err) && empty_directory(DIR_STORE, err) &&
		   empty_directory(DIR_FEED, err) &&
		   store_model_create(&daemon->store, &world.stream_id, world.boot, world.engine, err) &&
		   feed_create(disk_dirfd(DIR_FEED), &feed, &daemon->feed, err) && feed_sync(daemon->feed, err) &&
		   journal_create(disk_dirfd(DIR_JOURNAL), &journal, &identity, &daemon->journal, err) &&
		   store_model_close_clean(&daemon->store, err) && fs_sync_dir(disk_dirfd(DIR_STATE), err) &&
		   journal_identity_write(disk_dirfd(DIR_JOURNAL), &identity, err);
}

void
daemon_create_state(void)
{
	Error err;

	for (int tries = 0;; tries++)
	{
		DiskDeath death;

		if (tries < 3 && random_chance(&world.random, 1, 4))
			disk_die_at((int) random_between(&world.random, 1, 40),
						random_chance(&world.random, 1, 2) ? DISK_KILL : DISK_POWER);
		if (create_once(&err) && disk_dead() == DISK_LIVES)
			break;
		death = disk_dead();
		if (death == DISK_LIVES)
			broken("create", "the state cannot be made: %s", err.message);
		tally(CREATE_AGAIN);
		daemon_drop();
		if (death == DISK_POWER)
		{
			disk_power_cut();
			world.boot++;
		}
		disk_kill();
	}
	disk_die_at(0, DISK_KILL);
	daemon_drop();
	disk_kill();
}

/* ---- start ------------------------------------------------------------------------------------- */

/* The sync thread's work, for those who wait for it. */
static bool
settle_journal(Error *err)
{
	Journal *journal = world.daemon.journal;
	JournalHead head;
	uint64_t durable;
	Lsn lsn;

	if (!journal_flush(journal, err))
		return false;
	journal_appended(journal, &head);
	journal_durable(journal, &durable, &lsn);
	for (int i = 0; durable < head.seq && i < 10; i++)
	{
		if (!journal_sync_step(journal, 0, err))
			return false;
		journal_durable(journal, &durable, &lsn);
	}
	oracle_look();
	if (world.daemon.feed != NULL)
		feed_set_durable(world.daemon.feed, durable);
	return durable >= head.seq || error_set(err, ERR_RETRY, "the journal was not synced in time");
}

static bool
append_config(uint32_t engine, Error *err)
{
	Unit unit = {.kind = UNIT_CONFIG, .chunk = engine};

	if (!journal_append(world.daemon.journal, &unit, PART_DETAIL, slice_string("a=b"), false, err))
		return false;
	tally(CONFIG);
	return settle_journal(err);
}

static bool
names_engine(uint64_t seq, bool *names, Error *err)
{
	ModelRelations known = {.n = 0};
	JournalReader *reader;
	ModelUnit unit;

	*names = false;
	if (!journal_reader_open(world.daemon.journal, seq, &reader, err))
		return false;
	if (model_read(reader, &known, &unit, err) == JOURNAL_UNIT)
		*names = unit.unit.kind == UNIT_CONFIG && unit.unit.chunk == world.engine;
	journal_reader_close(reader);
	return true;
}

/* As state.c does. */
static bool
feed_failed(const Error *err)
{
	if (err->class == ERR_DISK)
		store_model_mark_torn(&world.daemon.store);
	return false;
}

static bool
sync_feed(Error *err)
{
	return feed_sync(world.daemon.feed, err) || feed_failed(err);
}

/* R6, as state.c's check_engine(). */
static bool
check_engine(StorePosition position, uint64_t last, bool *announce, Error *err)
{
	StoreHeader header = {.engine = (uint32_t) world.daemon.store.state.engine, .libm = LIBM};
	RecoveryEngine engine = recovery_engine(&header, position, last, (uint32_t) world.engine, LIBM);
	bool named = false;

	*announce = engine == ENGINE_ANNOUNCE;
	if (engine == ENGINE_LOOK && !names_engine(position.seq + 1, &named, err))
		return false;
	return engine == ENGINE_OURS || *announce || named || recovery_engine_refuse(&header, err);
}

static bool
snapshot_now(Error *err)
{
	ModelStore *store = &world.daemon.store;

	store->step = SNAPSHOT_NONE;
	do
		if (!store_model_snapshot(store, err))
			return false;
	while (store->step != SNAPSHOT_NONE);
	return true;
}

static bool
feed_reaches_store(void *arg, uint64_t seq, uint32_t part, Error *err)
{
	return feed_reaches(disk_dirfd(DIR_FEED), arg, seq, part, err);
}

static bool
open_store_and_feed(Error *err)
{
	Daemon *daemon = &world.daemon;
	FeedSettings settings = feed_settings();
	StorePosition position;
	JournalHead head;
	uint64_t durable;
	bool announce;
	Lsn lsn;
	StoreSettings asks = {.reaches = feed_reaches_store, .reaches_arg = &settings};

	journal_appended(daemon->journal, &head);
	journal_durable(daemon->journal, &durable, &lsn);
	if (!store_model_open(&daemon->store, &world.stream_id,
						  world.broken == BREAK_BOOT_NOT_COMPARED ? 1 : world.boot, head.seq, durable, &asks,
						  err))
		return false;
	if (world.broken == BREAK_STORE_EMPTY && random_chance(&world.random, 1, 8))
		daemon->store.state = daemon->store.committed = (ModelState){.engine = world.engine};
	position = (StorePosition){.seq = daemon->store.state.seq,
							   .part = (uint32_t) daemon->store.state.part,
							   .total = daemon->store.state.total};
	if (!recovery_reaches(position, journal_first_seq(daemon->journal), head.seq, err) ||
		!check_engine(position, head.seq, &announce, err))
		return false;
	if (position.part > 0)
		tally(STORE_PART);
	if (position.seq < head.seq)
		tally(FEED_CUT);
	if (!feed_open(disk_dirfd(DIR_FEED), &settings, position.seq, position.part, &daemon->feed, err))
		return feed_failed(err);
	if (announce)
	{
		tally(ENGINE_CHANGED);
		if (!settle_journal(err) || !sync_feed(err) || !snapshot_now(err) ||
			!append_config((uint32_t) world.engine, err))
			return false;
	}
	journal_durable(daemon->journal, &durable, &lsn);
	feed_set_durable(daemon->feed, durable);
	return journal_reader_open(daemon->journal, position.seq + 1, &daemon->reader, err);
}

static bool
send_status(void *context, Lsn lsn, Error *err)
{
	Buffer bytes = {0};
	JournalHead head;

	journal_appended(world.daemon.journal, &head);
	if (world.broken == BREAK_ACK_PLUS_ONE)
		lsn++;
	else if (world.broken == BREAK_ACK_BEFORE_FSYNC)
		lsn = head.end_lsn;
	tally(STATUS);
	trace("daemon: acknowledges " LSN_FORMAT, LSN_ARGS(lsn));
	if (world.broken != BREAK_ACK_BEFORE_FSYNC) /* that one shows at the next power cut */
		oracle_status(lsn);
	buffer_append_u64(&bytes, lsn);
	queue_put(&world.to_server, &bytes, world.now_us + (int64_t) random_below(&world.random, 20000));
	buffer_free(&bytes);
	return true;
}

static bool
open_all(Error *err)
{
	Daemon *daemon = &world.daemon;
	JournalSettings settings = journal_settings();
	IntakeOutput output = {.status = send_status};
	JournalHead head;

	if (!fs_lock(disk_dirfd(DIR_STATE), "lock", &daemon->lock_fd, err) ||
		!journal_open(disk_dirfd(DIR_JOURNAL), &settings, &daemon->journal, err) || !open_store_and_feed(err))
		return false;
	daemon->intake = intake_create(daemon->journal, &output);
	journal_appended(daemon->journal, &head);
	daemon->asked_seq = head.seq;
	for (int i = 0; i < SINKS; i++)
		daemon->runners[i] = (Runner){.far = &world.fars[i]};
	return true;
}

bool
daemon_start(Error *err)
{
	Daemon *daemon = &world.daemon;
	JournalHead head;

	*daemon = (Daemon){.store = {.fd = -1}};
	daemon->lock_fd = -1;
	if (!open_all(err))
		return false;
	daemon->running = true;
	journal_appended(daemon->journal, &head);
	if (head.seq < world.appended_seq)
		tally(JOURNAL_CUT);
	daemon->retry_us = world.now_us;
	trace("daemon: started, journal at unit %llu, store at %llu.%llu", (ull) daemon->asked_seq,
		  (ull) daemon->store.state.seq, (ull) daemon->store.state.part);
	return true;
}

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
		   settle_journal(err);
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

	if (!settle_journal(err))
		return false;
	journal_appended(daemon->journal, &head);
	if (!check(&head, &identity, &slot, err))
		return false;
	if (daemon->config_wanted && !append_config(0, err))
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
	intake_begin(daemon->intake, ACK_JOURNAL, start, slot.confirmed_flush, identity.flushed, INTERVAL_US,
				 world.now_us);
	daemon->connected = true;
	tally(CONNECT);
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

	if (daemon->connected && (!take_messages(&err) || !intake_flush(daemon->intake, world.now_us, &err) ||
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
		model_step(&daemon->store.state, &daemon->unit, &daemon->record, &daemon->header);
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
		if (!sync_feed(&err))
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

static RetentionSegment *
segments(SegLog *log, int *n)
{
	SegInfo *list;
	RetentionSegment *out;

	*n = seglog_list(log, &list);
	out = xcalloc((size_t) *n, sizeof(*out));
	for (int i = 0; i < *n; i++)
		out[i] = (RetentionSegment){list[i].before.seq, list[i].bytes};
	free(list);
	return out;
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
	RetentionSegment *journal = segments(journal_log(daemon->journal), &input.journal.n);
	RetentionSegment *feed = segments(feed_log(daemon->feed), &input.feed.n);
	RetentionPlan plan;

	for (int i = 0; i < SINKS; i++)
		sinks[i] = (RetentionSink){.seq = world.fars[i].now.position.seq};
	input.journal.segments = journal;
	input.journal.aged = UINT64_MAX;
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

/* ---- stop -------------------------------------------------------------------------------------- */

static bool
say_goodbye(Error *err)
{
	Daemon *daemon = &world.daemon;

	intake_abandon(daemon->intake);
	if (!settle_journal(err))
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
			model_step(&daemon->store.state, &daemon->unit, &daemon->record, &daemon->header);
		if (!append_record())
			return error_set(err, ERR_SPACE, "no space for the feed");
	}
	if (!feed_flush(daemon->feed, err) || (world.broken != BREAK_CLEAN_BEFORE_SYNC && !sync_feed(err)) ||
		!store_model_close_clean(&daemon->store, err))
		return false;
	tally(DAEMON_STOP);
	trace("daemon: stopped at unit %llu", (ull) daemon->store.state.seq);
	return true;
}

void
daemon_drop(void)
{
	Daemon *daemon = &world.daemon;
	JournalHead head;

	if (daemon->running)
	{
		journal_appended(daemon->journal, &head);
		world.appended_seq = head.seq;
	}
	oracle_detach();
	for (int i = 0; i < SINKS; i++)
		runner_close(&daemon->runners[i]);
	journal_reader_close(daemon->reader);
	intake_destroy(daemon->intake);
	feed_close(daemon->feed);
	journal_close(daemon->journal);
	store_model_abort(&daemon->store);
	buffer_free(&daemon->record);
	if (daemon->lock_fd > 0)
		fs_close(daemon->lock_fd);
	server_disconnect(world.server);
	queue_clear(&world.to_daemon);
	tallies[TALLY_STATUS_LOST] += (uint64_t) world.to_server.n;
	queue_clear(&world.to_server);
	*daemon = (Daemon){.store = {.fd = -1}};
}
