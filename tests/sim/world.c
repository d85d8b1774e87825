/*
 * world.c -- time, faults, and whose turn it is.
 *
 * One step is one turn of one thread somewhere, chosen by chance; the clock moves on by chance as well.  After
 * each step and each start the oracles look.  In the end all faults stop, and everything has to arrive.
 */
#include "world.h"

#include <stdlib.h>

#include "base/fs.h"

#define END_STEPS_MAX 20000

typedef unsigned long long ull;

World world;

/* ---- the network ------------------------------------------------------------------------------- */

/* A frame changed on the way: never one that was garbled before, which would be a matter of a person. */
static void
garble(Buffer *message)
{
	static uint64_t last_seed;
	size_t at;

	if (!world.faults || message->data[0] != 'w' || message->len < 60 || seed_now == last_seed ||
		!random_chance(&world.random, 1, 200))
		return;
	last_seed = seed_now;
	at = random_between(&world.random, 25, message->len - 1);
	message->data[at] ^= (uint8_t) (1 << random_below(&world.random, 8));
	tally(FRAME_GARBLED);
	trace("network: a frame is garbled");
}

static void
network(void)
{
	Buffer bytes = {0};
	Lsn lsn;

	for (int n = (int) random_between(&world.random, 1, 6); n > 0; n--)
	{
		buffer_reset(&bytes);
		if (world.to_daemon.n < 24 && server_send(world.server, world.now_us, &bytes))
		{
			garble(&bytes);
			queue_put(&world.to_daemon, &bytes, world.now_us + (int64_t) random_below(&world.random, 5000));
		}
	}
	while (queue_take(&world.to_server, world.now_us, &bytes))
	{
		memcpy(&lsn, bytes.data, sizeof(lsn));
		server_status(world.server, lsn);
	}
	buffer_free(&bytes);
}

static void
lose_connection(void)
{
	Error err;

	if (!world.daemon.connected)
		return;
	tally(CONNECTION_LOST);
	trace("network: the connection is lost");
	/* what had arrived before may still be read */
	if (random_chance(&world.random, 1, 2))
	{
		daemon_receive();
		network();
	}
	if (!world.daemon.connected)
		return;
	intake_abandon(world.daemon.intake);
	error_set(&err, ERR_RETRY, "lost");
	intake_may_retry(world.daemon.intake, &err);
	world.daemon.connected = false;
	world.daemon.retry_us = world.now_us + (int64_t) random_below(&world.random, 300000);
	server_disconnect(world.server);
	queue_clear(&world.to_daemon);
	tallies[TALLY_STATUS_LOST] += (uint64_t) world.to_server.n;
	queue_clear(&world.to_server);
}

/* ---- whose turn -------------------------------------------------------------------------------- */

static bool
alive(void)
{
	return world.daemon.running && world.daemon.fatal.class == ERR_NONE && disk_dead() == DISK_LIVES;
}

/* Others, while a sync takes its time. */
static void
during_sync(void *context)
{
	for (int n = (int) random_below(&world.random, 4); n > 0 && alive(); n--)
	{
		tally(DURING_SYNC);
		switch (random_below(&world.random, 6))
		{
			case 0:
				network();
				break;
			case 1:
			case 2:
				daemon_receive();
				break;
			case 3:
				daemon_score();
				break;
			case 4:
				daemon_append();
				break;
			default:
				runner_step(&world.daemon.runners[random_below(&world.random, SINKS)]);
				break;
		}
	}
}

static void
sync_turn(void (*turn)(void))
{
	disk_during_sync(during_sync, NULL);
	turn();
	disk_during_sync(NULL, NULL);
}

static void
connect_turn(void)
{
	Error err = {.class = ERR_NONE};

	if (world.daemon.connected || world.now_us < world.daemon.retry_us || !world.server->up ||
		world.server->stopping)
		return;
	if (daemon_connect(&err) || disk_dead() != DISK_LIVES)
		return;
	if (err.class == ERR_REFUSE)
		broken("refused", "the server is refused without a reason: %s", err.message);
	if (err.class == ERR_DISK)
		daemon_fatal(&err);
	world.daemon.retry_us = world.now_us + 100000;
}

static void
daemon_turn(void)
{
	switch (random_below(&world.random, 16))
	{
		case 0:
		case 1:
		case 2:
		case 3:
			daemon_receive();
			break;
		case 4:
		case 5:
		case 6:
			sync_turn(daemon_sync);
			break;
		case 7:
		case 8:
			daemon_score();
			break;
		case 9:
			daemon_commit();
			break;
		case 10:
			if (world.daemon.store.step != SNAPSHOT_NONE || random_chance(&world.random, 1, 3))
				sync_turn(daemon_snapshot);
			break;
		case 11:
			daemon_append();
			break;
		case 12:
			if (random_chance(&world.random, 1, 2))
				daemon_trim();
			else
				sync_turn(daemon_pack);
			break;
		case 13:
			connect_turn();
			break;
		default:
			runner_step(&world.daemon.runners[random_below(&world.random, SINKS)]);
			break;
	}
}

/* ---- dying and starting ------------------------------------------------------------------------ */

static void
power_cut(void)
{
	tally(POWER_CUT);
	trace("power cut");
	daemon_drop();
	disk_power_cut();
	world.boot++;
}

static void
die(DiskDeath how)
{
	if (how == DISK_POWER)
	{
		power_cut();
		return;
	}
	tally(DAEMON_KILL);
	trace("kill");
	daemon_drop();
	disk_kill();
}

/* The process died before it could mark the store, and the feed lacks something: a person does it. */
static void
remove_mark(void)
{
	tally(FEED_DAMAGED);
	trace("operator: removes the store's mark");
	die(DISK_KILL);
	disk_remove(DIR_STORE, "mark");
	world.unmarked = world.mark_in_doubt = false;
}

static bool
engine_refused(const Error *err)
{
	return strstr(err->message, "rule R6: the store was made by scoring engine") != NULL &&
		   world.engine > world.daemon.store.state.engine;
}

static bool
start_turn(void)
{
	Error err = {.class = ERR_NONE};

	if (world.now_us < world.start_us)
		return false;
	if (world.faults && random_chance(&world.random, 1, 6))
		disk_die_at((int) random_between(&world.random, 1, 24),
					random_chance(&world.random, 1, 2) ? DISK_KILL : DISK_POWER);
	if (daemon_start(&err))
	{
		oracle_attach();
		if (!oracle_walk_feed())
		{
			remove_mark();
			return false;
		}
		for (int i = 0; i < SINKS; i++)
			oracle_sink(&world.fars[i]);
		return true;
	}
	if (disk_dead() != DISK_LIVES)
		tally(CUT_AT_START);
	else if (engine_refused(&err))
	{
		/* the power went before the new version had made its snapshot: the hint is followed */
		tally(ENGINE_REFUSED);
		world.engine--;
	}
	else if (err.class != ERR_DISK && err.class != ERR_SPACE)
		broken("refused", "the daemon cannot start: %s", err.message);
	if (disk_dead() == DISK_LIVES)
	{
		world.start_us = err.class == ERR_SPACE ? world.now_us + 1000000 : 0;
		die(DISK_KILL);
	}
	return false;
}

/* What the last call did to the process. */
static void
bury(void)
{
	DiskDeath how = disk_dead();

	if (how == DISK_KILL)
		tally(KILL_IN_CALL);
	else if (how == DISK_POWER)
		tally(CUT_IN_CALL);
	if (how != DISK_LIVES)
		die(how);
	else if (world.daemon.fatal.class != ERR_NONE)
	{
		trace("daemon: exits: %s", world.daemon.fatal.message);
		if (world.mark_in_doubt)
			remove_mark();
		else
			die(DISK_KILL);
	}
}

static void
stop_clean(void)
{
	Error err = {.class = ERR_NONE};
	bool ok = daemon_stop_clean(&err);

	if (disk_dead() != DISK_LIVES)
		return;
	if (!ok && err.class != ERR_DISK && err.class != ERR_SPACE)
		broken("stop", "no clean stop: %s", err.message);
	if (random_chance(&world.random, 1, 2))
		network();
	daemon_drop();
	disk_kill();
	if (random_chance(&world.random, 1, 3)) /* off at once */
		power_cut();
	if (ok && random_chance(&world.random, 1, 4))
		world.engine++; /* an upgrade */
}

/* ---- the server's fate ------------------------------------------------------------------------- */

/* It waits until all it sent is said to be flushed. */
static void
server_turn(void)
{
	Server *server = world.server;

	if (!server->up)
	{
		if (world.now_us > server->stopping_us + 200000)
			server->up = true;
		return;
	}
	if (!server->stopping)
		return;
	if (server->sender.streaming &&
		(server->sender.next < server->ntxns || server->sender.flush < server->flushed))
		return;
	tally(SERVER_SHUTDOWN);
	trace("server: down after %.3f s", (double) (world.now_us - server->stopping_us) / 1e6);
	server->up = server->stopping = false;
	server->stopping_us = world.now_us;
	server->confirmed_saved = server->confirmed;
	server->nopen = 0;
	lose_connection();
}

static void
server_stop(void)
{
	world.server->stopping = true;
	world.server->stopping_us = world.now_us;
	trace("server: fast shutdown");
}

/* A standby that had everything takes over. */
static void
promote(void)
{
	Server *server = world.server;

	if (server->timeline + 1 >= SERVER_ANCESTORS_MAX)
		return;
	for (uint32_t i = 1; i < server->timeline; i++)
		if (!server->ancestors[i].found)
			return;
	server->ancestors[server->timeline] = (SourceTimeline){true, server->flushed};
	server->timeline++;
	lose_connection();
	server->confirmed = server->confirmed_saved;
	server->nopen = 0;
	tally(PROMOTION);
	trace("server: a standby is promoted to timeline %u", server->timeline);
}

/* ---- faults ------------------------------------------------------------------------------------ */

static void
fault(void)
{
	Random *random = &world.random;

	switch (random_below(random, 20))
	{
		case 0:
			die(DISK_KILL);
			break;
		case 1:
			die(DISK_POWER);
			break;
		case 2:
			disk_die_at((int) random_between(random, 1, 30), DISK_KILL);
			break;
		case 3:
		case 4:
			disk_die_at((int) random_between(random, 1, 30), DISK_POWER);
			break;
		case 5:
			disk_eio_at((int) random_between(random, 1, 20));
			break;
		case 6:
			disk_space(random_below(random, 600));
			world.space_until_us = world.now_us + (int64_t) random_below(random, 40000000);
			trace("disk: full");
			break;
		case 7:
		case 8:
			lose_connection();
			break;
		case 9:
			lose_connection();
			server_crash(world.server);
			break;
		case 10:
			if (world.server->up)
				server_stop();
			break;
		case 11:
			if (alive())
				stop_clean();
			break;
		case 12:
			far_fall_back(&world.fars[random_below(random, SINKS)]);
			break;
		case 13:
			promote();
			break;
		case 14:
			server_destroy(world.backup);
			world.backup = server_copy(world.server, random_next(random));
			break;
		case 15:
			if (disk_dead() == DISK_LIVES && world.daemon.running)
			{
				disk_image_free(world.yesterday);
				world.yesterday = disk_save();
			}
			break;
		case 16:
			world.daemon.config_wanted = world.daemon.running;
			break;
		default:
			if (disk_dead() == DISK_LIVES)
				wrong_history();
			break;
	}
}

static void
pass_time(void)
{
	Random *random = &world.random;

	world.now_us += (int64_t) random_below(random, random_chance(random, 1, 8) ? 200000 : 4000);
	if (random_chance(random, 1, 60))
		world.now_us += (int64_t) random_below(random, 12000000);
	if (world.space_until_us != 0 && world.now_us > world.space_until_us)
	{
		disk_space(UINT64_MAX);
		world.space_until_us = world.start_us = 0;
		trace("disk: there is space again");
	}
}

static void
step(void)
{
	Random *random = &world.random;

	tally(STEPS);
	pass_time();
	bury();
	server_turn();
	if (world.faults && random_chance(random, 1, 30))
		fault();
	else if (world.faults && random_chance(random, 1, 4))
		server_work(world.server, wall_now());
	else if (random_chance(random, 1, 4))
		network();
	else if (random_chance(random, 1, 12))
		disk_writeback();
	else if (random_chance(random, 1, 40))
		far_late(&world.fars[random_below(random, SINKS)]);
	else if (!world.daemon.running)
		start_turn();
	else
		daemon_turn();
}

/* ---- one seed ---------------------------------------------------------------------------------- */

static bool
all_arrived(void)
{
	const Oracle *oracle = &world.oracle;
	const Daemon *daemon = &world.daemon;

	if (!alive() || !daemon->connected || oracle->next < world.server->ntxns ||
		daemon->store.state.seq < oracle->seq || daemon->store.state.job != 0)
		return false;
	for (int i = 0; i < SINKS; i++)
		if (!world.fars[i].now.found || world.fars[i].now.position.seq < oracle->seq)
			return false;
	return true;
}

static void
say_what_is_missing(void)
{
	const Oracle *oracle = &world.oracle;

	broken("livelock",
		   "%d steps after the last fault not everything has arrived: daemon %s, %s; %d of %d transactions, "
		   "store at %llu of %llu, job %llu, sinks at %llu and %llu",
		   END_STEPS_MAX, world.daemon.running ? "running" : "down",
		   world.daemon.connected ? "connected" : "not connected", oracle->next, world.server->ntxns,
		   (ull) world.daemon.store.state.seq, (ull) oracle->seq, (ull) world.daemon.store.state.job,
		   (ull) world.fars[0].now.position.seq, (ull) world.fars[1].now.position.seq);
}

static void
stop_faults(void)
{
	trace("no more faults");
	bury();
	world.faults = false;
	disk_die_at(0, DISK_KILL);
	disk_eio_at(0);
	disk_space(UINT64_MAX);
	world.space_until_us = world.start_us = 0;
}

/* A server that stops has to come to its end, and soon. */
static void
end_server(void)
{
	int64_t begun = world.now_us;

	server_stop();
	for (int i = 0; world.server->up; i++)
	{
		if (i > 4000)
			broken(
				"shutdown", "the server waits for ever: %s, flush " LSN_FORMAT " of " LSN_FORMAT ", %.3f s",
				world.daemon.connected ? "connected" : "not connected", LSN_ARGS(world.server->sender.flush),
				LSN_ARGS(world.server->flushed), (double) (world.now_us - begun) / 1e6);
		step();
	}
	if (world.server->confirmed > world.oracle.end_lsn)
		broken("lost", "J1: confirmed_flush is " LSN_FORMAT ", the journal ends at " LSN_FORMAT,
			   LSN_ARGS(world.server->confirmed), LSN_ARGS(world.oracle.end_lsn));
}

static void
final_looks(void)
{
	Error err;

	oracle_look();
	oracle_walk_journal();
	if (!oracle_walk_feed())
		broken("R1", "the feed cannot be read in the end");
	for (int i = 0; i < SINKS; i++)
		oracle_sink(&world.fars[i]);
	if (!daemon_stop_clean(&err))
		broken("stop", "no clean stop: %s", err.message);
	daemon_drop();
	power_cut(); /* which must not matter any more */
	if (!start_turn())
		broken("refused", "no start after a clean stop");
	if (world.daemon.store.state.hash != world.oracle.state.hash ||
		world.daemon.store.state.total != world.oracle.state.total)
		broken("R1", "the store at the end is not what the journal gives");
	daemon_drop();
}

static void
world_create(uint64_t seed, Break rule)
{
	Random *random = &world.random;

	memset(&world, 0, sizeof(world));
	seed_now = seed;
	random->state = mix(seed, 1);
	trace_clock = &world.now_us;
	world.broken = rule;
	world.faults = true;
	world.boot = 1;
	world.confirm = random_chance(random, 1, 4) ? ACK_SINKS : ACK_JOURNAL;
	world.engine = 1;
	world.now_us = INT64_C(1000000000);
	world.wall_base_us = INT64_C(1790000000000000);
	world.journal_segment_bytes = random_between(random, 400, 4000);
	world.feed_segment_bytes = random_between(random, 300, 1800);
	for (int i = 0; i < 16; i++)
		world.stream_id.bytes[i] = (uint8_t) random_next(random);
	world.daemon.store.fd = -1;
	disk_create(random_next(random));
	disk_ignore_syncs(rule == BREAK_NO_DIRECTORY_FSYNC, false);
	world.server = server_create(random_next(random), &world.stream_id);
	far_create(&world.fars[0], "one");
	far_create(&world.fars[1], "two");
	world.oracle.end_lsn = SERVER_START;
	world.oracle.state.engine = 1;
}

static void
world_destroy(void)
{
	disk_image_free(world.yesterday);
	server_destroy(world.server);
	server_destroy(world.backup);
	free(world.to_daemon.at);
	free(world.to_server.at);
	for (int i = 0; i < SINKS; i++)
		far_destroy(&world.fars[i]);
	oracle_destroy();
	disk_destroy();
}

void
world_run(uint64_t seed, Break rule, int steps)
{
	world_create(seed, rule);
	daemon_create_state();
	for (int i = 0; i < steps; i++)
		step();
	stop_faults();
	for (int i = 0; !all_arrived(); i++)
	{
		if (i > END_STEPS_MAX)
			say_what_is_missing();
		step();
	}
	end_server();
	final_looks();
	world_destroy();
}
