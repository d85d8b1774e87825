/*
 * daemon.c -- the daemon of the world: the product's journal, feed, intake and decisions, made, opened and put
 * together as daemon/state.c does it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "world.h"

#define LIBM 4242

typedef unsigned long long ull;

void
daemon_fatal(const Error *err)
{
	if (world.daemon.fatal.class == ERR_NONE)
		world.daemon.fatal = *err;
	if (err->class != ERR_DISK && err->class != ERR_SPACE && disk_dead() == DISK_LIVES)
		broken("stopped", "the daemon stops: %s", err->message);
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

bool
daemon_settle_journal(Error *err)
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

bool
daemon_append_config(uint32_t engine, Error *err)
{
	Unit unit = {.kind = UNIT_CONFIG, .chunk = engine};

	if (!journal_append(world.daemon.journal, &unit, PART_DETAIL, slice_string("a=b"), false, err))
		return false;
	tally(CONFIG);
	return daemon_settle_journal(err);
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
	if (err->class == ERR_DISK && random_chance(&world.random, 1, 3))
	{
		disk_die_at(1, DISK_KILL);
		world.unmarked = true;
	}
	if (err->class == ERR_DISK)
		store_model_mark_torn(&world.daemon.store);
	return false;
}

bool
daemon_sync_feed(Error *err)
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
		if (!daemon_settle_journal(err) || !daemon_sync_feed(err) || !snapshot_now(err) ||
			!daemon_append_config((uint32_t) world.engine, err))
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

/* ---- end ---------------------------------------------------------------------------------- */

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
