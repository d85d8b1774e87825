/*
 * daemon.c -- see daemon.h.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/space.h"
#include "daemon/timers.h"
#include "daemon/verbs.h"
#include "rules.h"

#define SYNC_STEP_US INT64_C(200000)
/* The journal's disk may be the server's: syncing takes at most a fifth of the time, and rests no longer than this. */
#define SYNC_REST_FACTOR 4
#define SYNC_REST_US_MAX INT64_C(10000)
#define TICK_MS 1000
#define FIRST_ANSWER_US INT64_C(15000000) /* longer than one attempt to connect takes */
#define FIRST_ANSWER_STEP_MS 10
#define EXIT_RESTART 75
#define NEXT_STEP_US                                                                                         \
	INT64_C(1000000) /* of the time for a stop, what is kept for what comes after the sinks */

typedef struct Daemon
{
	Config *config;
	const ConfigRequest *request;
	State state;
	SourceSettings settings;
	HousekeepingParts parts;
	Timers timers;
	Housekeeping *housekeeping;
	Control *control;
	Steering steering;
	pthread_t sync_thread;
	pthread_t receiver_thread;
	bool receiver_running;
	atomic_bool sync_stop;
	int signal_fd;
	int event_fd; /* a thread failed, or the receiver ended */
	pthread_mutex_t reloading;
	pthread_mutex_t lock;
	bool failed; /* under lock; the first one counts */
	Error failure;
	int64_t started_us;
	int64_t watchdog_us; /* between two signs of life; 0 = nobody waits for them */
	int64_t alive_us;
} Daemon;

int
daemon_exit_code(const Error *err)
{
	switch (err->class)
	{
		case ERR_CONFIG:
			return 2;
		case ERR_RESTART:
			return EXIT_RESTART;
		case ERR_RETRY:
			return 4;
		default:
			return 1;
	}
}

/* ---- failures ------------------------------------------------------------------------------- */

static void
wake_main(Daemon *daemon)
{
	uint64_t one = 1;
	ssize_t ignored = write(daemon->event_fd, &one, sizeof(one));

	(void) ignored;
}

static void
thread_failed(void *context, const Error *err)
{
	Daemon *daemon = context;

	pthread_mutex_lock(&daemon->lock);
	if (!daemon->failed)
	{
		daemon->failure = *err;
		daemon->failed = true;
	}
	pthread_mutex_unlock(&daemon->lock);
	wake_main(daemon);
}

static bool
has_failed(Daemon *daemon, Error *err)
{
	bool failed;

	pthread_mutex_lock(&daemon->lock);
	failed = daemon->failed;
	if (failed)
		*err = daemon->failure;
	pthread_mutex_unlock(&daemon->lock);
	return failed;
}

/* ---- threads -------------------------------------------------------------------------------- */

static void
sync_rest(int64_t took_us)
{
	int64_t rest_us = took_us * SYNC_REST_FACTOR;

	usleep((useconds_t) (rest_us < SYNC_REST_US_MAX ? rest_us : SYNC_REST_US_MAX));
}

static void *
sync_main(void *arg)
{
	Daemon *daemon = arg;
	Error err;

	pthread_setname_np(pthread_self(), "journal sync");
	while (!atomic_load(&daemon->sync_stop))
	{
		uint64_t seq;
		Lsn lsn;

		if (!journal_sync_step(daemon->state.journal, SYNC_STEP_US, &err))
		{
			thread_failed(daemon, &err);
			break;
		}
		journal_durable(daemon->state.journal, &seq, &lsn);
		if (seq > feed_durable(daemon->state.feed))
			feed_set_durable(daemon->state.feed, seq); /* R5: readers may go so far now */
		sync_rest(journal_sync_us(daemon->state.journal));
	}
	return NULL;
}

static void *
receiver_main(void *arg)
{
	Daemon *daemon = arg;
	Error err;

	pthread_setname_np(pthread_self(), "receiver");
	if (!receiver_run(daemon->parts.receiver, &err))
		thread_failed(daemon, &err);
	return NULL;
}

/* A sink that is new and cannot begin says so and stops: the others, and the stream, go on. */
static bool
start_sinks(Daemon *daemon, Error *err)
{
	Buffer said = {0};
	bool ok;

	if (!sinkset_check(daemon->parts.sinks, daemon->config, err))
		return false;
	ok = sinkset_apply(daemon->parts.sinks, daemon->config, &said, err);
	buffer_free(&said);
	if (!ok && err->class != ERR_DISK)
	{
		log_error(LOG_ERROR, err, NULL);
		ok = true;
	}
	return ok;
}

/*
 * A start that a check of the source refuses writes nothing anywhere, so the first answer comes before
 * any sink is opened.  A server that is away refuses nothing: then the sinks go on with what there is.  One
 * that cannot tell yet (the slot is another daemon's at the moment) may still refuse.
 */
static bool
await_source(Daemon *daemon, Error *err)
{
	int64_t deadline_us = clock_monotonic_us() + FIRST_ANSWER_US;
	ReceiverStatus status = {.undecided = false};

	while (status.undecided || clock_monotonic_us() < deadline_us)
	{
		struct pollfd signalled = {.fd = daemon->signal_fd, .events = POLLIN};

		receiver_status(daemon->parts.receiver, &status);
		if (has_failed(daemon, err))
			return false;
		if (status.state == RECEIVER_STREAMING || (status.state == RECEIVER_WAITING && !status.undecided) ||
			poll(&signalled, 1, FIRST_ANSWER_STEP_MS) > 0)
			break;
	}
	return true;
}

/* ---- reload -------------------------------------------------------------------------------- */

/* Each line of a list, as a member of a JSON array and in the log. */
static void
say_lines(const Buffer *lines, LogLevel level, const char *format, const char *member, Buffer *answer)
{
	const char *at = (const char *) lines->data;
	const char *end = at + lines->len;

	buffer_printf(answer, ",\"%s\":[", member);
	while (at < end)
	{
		const char *stop = memchr(at, '\n', (size_t) (end - at));
		char line[256];

		snprintf(line, sizeof(line), "%.*s", (int) (stop - at), at);
		log_line(level, format, line);
		if (at != (const char *) lines->data)
			buffer_append_byte(answer, ',');
		json_string(answer, slice_string(line));
		at = stop + 1;
	}
	buffer_printf(answer, "]");
}

/* `walrank sink add`: the section is there, the sink is not yet, and begins where the operator said. */
static bool
check_added(Daemon *daemon, Config *fresh, const SteeringAdd *add, Error *err)
{
	SinkView view = {0};
	int at = 0;

	for (int i = 0; sinkset_view(daemon->parts.sinks, i, &view); i++)
		if (strcmp(view.name, add->name) == 0)
			return error_set(err, ERR_CONFIG, "the daemon has sink \"%s\" already", add->name);
	while (at < fresh->nsinks && strcmp(fresh->sinks[at].name, add->name) != 0)
		at++;
	if (at == fresh->nsinks)
	{
		error_set(err, ERR_CONFIG, "\"%s\" has no section [sink %s]", fresh->file, add->name);
		return error_hint(err, "Write it with type and target, then run this again.");
	}
	fresh->sinks[at].start = (int) add->from;
	return true;
}

/* All of the file or nothing of it; what may not change while running is named. */
static bool
reload_all(Daemon *daemon, const SteeringAdd *add, Buffer *answer, Error *err)
{
	Config *fresh;
	Buffer restart = {0};
	Buffer sinks = {0};
	bool ok;

	if (!config_read(daemon->request->file, daemon->request->overrides, daemon->request->noverrides, &fresh,
					 err))
		return false;
	if ((add != NULL && !check_added(daemon, fresh, add, err)) ||
		!sinkset_admit(daemon->parts.sinks, fresh, err))
	{
		config_free(fresh);
		return false;
	}
	config_reload(daemon->config, fresh, &restart);
	log_init((LogLevel) daemon->config->log.level, daemon->config->log.format == 1);
	ok = sinkset_apply(daemon->parts.sinks, fresh, &sinks, err);
	config_free(fresh);
	log_line(LOG_INFO, "configuration reloaded");
	buffer_printf(answer, "{\"reloaded\":true");
	say_lines(&restart, LOG_WARNING, "\"%s\" changed in the configuration file: takes effect after a restart",
			  "after_restart", answer);
	say_lines(&sinks, LOG_INFO, "%s", "changed", answer);
	buffer_printf(answer, "}");
	buffer_free(&restart);
	buffer_free(&sinks);
	return ok;
}

static bool
reload(void *context, const SteeringAdd *add, Buffer *answer, Error *err)
{
	Daemon *daemon = context;
	bool ok;

	pthread_mutex_lock(&daemon->reloading);
	ok = reload_all(daemon, add, answer, err);
	pthread_mutex_unlock(&daemon->reloading);
	if (!ok)
		log_error(LOG_ERROR, err, "configuration not reloaded, nothing changed");
	return ok;
}

/* ---- start ---------------------------------------------------------------------------------- */

static bool
start(Daemon *daemon, Error *err)
{
	const SinkSetParts sinks = {.feed = daemon->state.feed,
								.journal = daemon->state.journal,
								.history = sink_history(journal_identity(daemon->state.journal)),
								.state_dir = daemon->config->state.directory,
								.state_dirfd = daemon->state.dirfd};
	SessionContext context;

	config_source_settings(daemon->config, &daemon->settings);
	daemon->parts = (HousekeepingParts){.state = &daemon->state,
										.config = daemon->config,
										.settings = &daemon->settings,
										.failed = thread_failed,
										.context = daemon};
	if (!sinkset_create(&sinks, &daemon->parts.sinks, err))
		return false;
	space_set_quotas(&daemon->state, daemon->config);
	pthread_create(&daemon->sync_thread, NULL, sync_main, daemon);
	daemon->parts.scorer = scorer_thread_start(&daemon->state, daemon->config, thread_failed, daemon);
	daemon->timers = (Timers){.journal = daemon->state.journal,
							  .scorer = daemon->parts.scorer,
							  .limit = (uint32_t) daemon->config->source.part_changes};
	context = (SessionContext){.settings = &daemon->settings,
							   .journal = daemon->state.journal,
							   .state_dirfd = daemon->state.dirfd,
							   .skip_to = daemon->request->skip_to,
							   .engine = SCORER_ENGINE,
							   .libm = rules_libm_fingerprint(),
							   .settle = timers_catch_up,
							   .settle_context = &daemon->timers};
	daemon->parts.receiver = receiver_create(&context);
	if (!backfills_start(daemon->state.dirfd, &daemon->settings, &daemon->config->backfill,
						 daemon->state.journal, daemon->parts.scorer, thread_failed, daemon,
						 &daemon->parts.backfills, err))
		return false;
	pthread_create(&daemon->receiver_thread, NULL, receiver_main, daemon);
	daemon->receiver_running = true;
	if (!await_source(daemon, err) || !start_sinks(daemon, err))
		return false;
	/* after the sinks: what it trims depends on where they stand */
	daemon->housekeeping = housekeeping_start(&daemon->parts);
	daemon->steering = (Steering){
		.parts = &daemon->parts, .started_us = daemon->started_us, .reload = reload, .context = daemon};
	return control_start(daemon->state.dirfd, steering_verbs, &daemon->steering, &daemon->control, err);
}

/* ---- signals -------------------------------------------------------------------------------- */

static bool
catch_signals(Daemon *daemon, Error *err)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread: all inherit it */
	daemon->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	daemon->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return (daemon->signal_fd >= 0 && daemon->event_fd >= 0) ||
		   error_errno(err, "could not prepare for signals");
}

static int
next_signal(Daemon *daemon)
{
	struct signalfd_siginfo info;

	return read(daemon->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info) ? (int) info.ssi_signo : 0;
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void
show_life(Daemon *daemon)
{
	ReceiverStatus status;
	int64_t now = clock_monotonic_us();

	if (daemon->watchdog_us > 0 && now - daemon->alive_us >= daemon->watchdog_us)
	{
		daemon->alive_us = now;
		sd_notify(0, "WATCHDOG=1");
	}
	receiver_status(daemon->parts.receiver, &status);
	sd_notifyf(0, "STATUS=%s, received " LSN_FORMAT ", acknowledged " LSN_FORMAT,
			   status.state == RECEIVER_STREAMING ? "streaming" : "waiting for the source",
			   LSN_ARGS(status.received), LSN_ARGS(status.acknowledged));
}

/* Until a signal to stop (true) or a failure (false). */
static bool
serve(Daemon *daemon, Error *err)
{
	for (;;)
	{
		struct pollfd fds[] = {{.fd = daemon->signal_fd, .events = POLLIN},
							   {.fd = daemon->event_fd, .events = POLLIN}};
		int signo;

		poll(fds, 2, TICK_MS);
		show_life(daemon);
		if (has_failed(daemon, err))
			return false;
		while ((signo = next_signal(daemon)) != 0)
		{
			if (signo != SIGHUP)
			{
				log_line(LOG_INFO, "received %s, stopping", signo == SIGTERM ? "TERM" : "INT");
				return true;
			}
			control_post(daemon->control, "reload"); /* it may wait for a sink to end: not this thread */
		}
	}
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Whoever cannot wait for the drain sends INT again: nothing is lost that a kill would not lose. */
static void *
second_signal_main(void *arg)
{
	Daemon *daemon = arg;

	pthread_setname_np(pthread_self(), "second signal");
	for (;;)
	{
		struct pollfd fd = {.fd = daemon->signal_fd, .events = POLLIN};

		poll(&fd, 1, -1);
		if (next_signal(daemon) == SIGINT)
		{
			log_line(LOG_WARNING, "stopping at once");
			_exit(1);
		}
	}
}

static int64_t
left_us(int64_t deadline)
{
	int64_t left = deadline - clock_monotonic_us();

	return left > 0 ? left : 0;
}

/* From the source to the sinks, each when nothing more comes from the one before. */
static bool
stop(Daemon *daemon, Error *err)
{
	int64_t deadline = clock_monotonic_us() + daemon->config->daemon.shutdown_timeout_ms * 1000;
	pthread_t watcher;
	Error failure;

	if (pthread_create(&watcher, NULL, second_signal_main, daemon) == 0)
		pthread_detach(watcher);
	sd_notify(0, "STOPPING=1\nSTATUS=stopping");
	receiver_stop(
		daemon->parts.receiver); /* first: inside a large transaction it keeps the others from appending */
	housekeeping_stop(daemon->housekeeping);
	backfills_stop(daemon->parts.backfills);
	pthread_join(daemon->receiver_thread, NULL);
	scorer_thread_stop(daemon->parts.scorer, left_us(deadline - 2 * NEXT_STEP_US));
	control_stop(daemon->control); /* until here it answers; then nobody changes the sinks any more */
	sinkset_stop(daemon->parts.sinks, deadline - NEXT_STEP_US);
	atomic_store(&daemon->sync_stop, true);
	journal_wake(daemon->state.journal);
	pthread_join(daemon->sync_thread, NULL);
	if (has_failed(daemon, &failure))
	{
		*err = failure;
		return false;
	}
	return state_close_clean(&daemon->state, err);
}

static bool
prepare(Daemon *daemon, Error *err)
{
	uint64_t watchdog = 0;

	pthread_mutex_init(&daemon->lock, NULL);
	pthread_mutex_init(&daemon->reloading, NULL);
	daemon->started_us = clock_wall_us();
	if (sd_watchdog_enabled(0, &watchdog) > 0)
		daemon->watchdog_us = (int64_t) watchdog / 2;
	return catch_signals(daemon, err) &&
		   state_lock(daemon->config->state.directory, false, &daemon->state, err) &&
		   state_open(&daemon->state, daemon->config, err);
}

/*
 * Writers come first where the server shares our processors: a thread of ours that wakes up does not
 * take one from a backend at work.  Every thread begun later inherits it.
 */
static void
give_way(int nice)
{
	struct sched_param none = {0};

	if (nice == 0)
		return;
	errno = 0;
	if (getpriority(PRIO_PROCESS, 0) < nice && errno == 0 && setpriority(PRIO_PROCESS, 0, nice) != 0)
		log_line(LOG_WARNING, "could not set daemon.nice: %s", strerror(errno));
	sched_setscheduler(0, SCHED_BATCH, &none);
}

int
daemon_run(Config *config, const ConfigRequest *request)
{
	static Daemon daemon; /* threads that outlive a failed start may still look at it */
	Error err;

	daemon.config = config;
	daemon.request = request;
	log_line(LOG_INFO, "walrankd " WALRANK_VERSION " starting, state in \"%s\"", config->state.directory);
	give_way((int) config->daemon.nice);
	if (!prepare(&daemon, &err) || !start(&daemon, &err))
		goto fatal;
	sd_notify(0, "READY=1\nSTATUS=started");
	if (!serve(&daemon, &err) || !stop(&daemon, &err))
		goto fatal;
	log_line(LOG_INFO, "stopped");
	return 0;
fatal:
	/* No drain and no clean mark: what is on disk is judged at the next start, as after a kill. */
	log_error(LOG_FATAL, &err, NULL);
	sd_notify(0, "STOPPING=1");
	_exit(err.class == ERR_RETRY ? 1 : daemon_exit_code(&err));
}
