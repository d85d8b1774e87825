/*
 * state.c -- see state.h.
 */
#include "daemon/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "rules.h"
#include "score/recovery.h"
#include "stream/session.h"

#define LOCK_WAIT_US INT64_C(3000000) /* a killed daemon is torn down by then */
#define LOCK_STEP_US 20000

static bool
open_below(const char *directory, const char *name, bool create, int *fd, Error *err)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int) sizeof(path))
		return error_set(err, ERR_CONFIG, "state directory's path is too long");
	if (fs_open_dir(path, create, fd, err))
		return true;
	if (!create && access(path, F_OK) != 0)
	{
		err->class = ERR_REFUSE;
		return error_hint(
			err, "Put it back if it was moved. It cannot be made anew alone; to start over: "
				 "\"walrank rebuild\" makes a new stream and fills it from the tables; sinks go along.");
	}
	return false;
}

/* Killed and started again at once, the process before us may still hold it. */
static bool
wait_lock(State *state, const char *directory, Error *err)
{
	int64_t deadline = clock_monotonic_us() + LOCK_WAIT_US;
	bool said = false;

	while (!fs_lock(state->dirfd, "lock", &state->lockfd, err))
	{
		if (err->class != ERR_REFUSE || clock_monotonic_us() >= deadline)
			return false;
		if (!said)
			log_line(LOG_INFO, "\"%s\" is locked by another process, waiting up to %d s", directory,
					 (int) (LOCK_WAIT_US / 1000000));
		said = true;
		usleep(LOCK_STEP_US);
	}
	return true;
}

bool
state_lock(const char *directory, bool create, State *state, Error *err)
{
	*state = (State){-1, -1, -1, -1, -1, NULL, NULL, NULL, NULL};
	if (!fs_open_dir(directory, create, &state->dirfd, err))
	{
		if (!create && access(directory, F_OK) != 0)
			error_hint(err, "Run \"walrankd --create\" once: it makes the slot and the state directory.");
		return error_wrap(err, "state directory");
	}
	if (!wait_lock(state, directory, err))
	{
		error_hint(err, "Another walrankd works on \"%s\".", directory);
		return error_wrap(err, "state directory \"%s\"", directory);
	}
	return open_below(directory, "journal", create, &state->journal_dirfd, err) &&
		   open_below(directory, "store", create, &state->store_dirfd, err) &&
		   open_below(directory, "feed", create, &state->feed_dirfd, err);
}

/* Plain files only: nobody else has business in there, and what is no file of ours stays. */
static bool
empty_directory(int dirfd, const char *keep, Error *err)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	bool ok = true;

	if (dir == NULL)
		return error_errno(err, "could not list a directory of the state");
	while (ok && (entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, keep) == 0)
			continue;
		if (fs->unlinkat(dirfd, entry->d_name) != 0)
			ok = error_errno(err, "could not remove \"%s\"", entry->d_name);
	}
	closedir(dir);
	return ok;
}

static void
dictionary(void *context, Buffer *out)
{
	scorer_dictionary(context, out);
}

static FeedSettings
feed_settings(const State *state, const Config *config, const StreamId *stream_id)
{
	return (FeedSettings){.segment_bytes = (uint64_t) config->feed.segment_bytes,
						  .stream_id = *stream_id,
						  .dictionary = dictionary,
						  .context = state->scorer};
}

static StoreSettings
store_settings(const Config *config)
{
	return (StoreSettings){.map_bytes_initial = (uint64_t) config->store.map_bytes,
						   .map_bytes_max = (uint64_t) config->store.map_bytes_max,
						   .snapshots = (int) config->store.snapshots,
						   .snapshot_bytes_per_s = (uint64_t) config->store.snapshot_rate,
						   .hash_mask = UINT64_MAX};
}

static bool
make_store_and_feed(State *state, const Config *config, const StreamId *stream_id, Error *err)
{
	StoreSettings settings = store_settings(config);
	StoreHeader header = {.stream_id = *stream_id,
						  .format = STORE_FORMAT,
						  .engine = SCORER_ENGINE,
						  .libm = rules_libm_fingerprint()};
	FeedSettings feed;
	uint64_t seq;
	bool ok;

	ok = store_create(state->store_dirfd, &settings, &header, &state->store, err) &&
		 scorer_create(state->store, (uint32_t) config->source.part_changes, &state->scorer, err);
	if (!ok)
		return false;
	feed = feed_settings(state, config, stream_id);
	return feed_create(state->feed_dirfd, &feed, &state->feed, err) && feed_sync(state->feed, err) &&
		   store_commit(state->store, err) && store_snapshot(state->store, &seq, err);
}

bool
state_make(State *state, const Config *config, const JournalIdentity *identity, Error *err)
{
	JournalSettings journal = {.segment_bytes = (uint64_t) config->journal.segment_bytes};

	if (!empty_directory(state->journal_dirfd, "identity", err) ||
		!empty_directory(state->store_dirfd, "", err) || !empty_directory(state->feed_dirfd, "", err))
		return false;
	if (!make_store_and_feed(state, config, &identity->stream_id, err) ||
		!journal_create(state->journal_dirfd, &journal, identity, &state->journal, err))
		return error_wrap(err, "could not make the state");
	if (!state_close_clean(state, err) || !fs_sync_dir(state->dirfd, err))
		return false;
	/* last: only a complete state has a complete identity */
	return journal_identity_write(state->journal_dirfd, identity, err);
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool
read_identity(State *state, JournalIdentity *identity, Error *err)
{
	bool found;

	if (!journal_identity_read(state->journal_dirfd, identity, &found, err))
		return false;
	if (found && identity->complete)
		return true;
	error_set(err, ERR_REFUSE,
			  found ? "the creation of this state directory was not finished"
					: "the state directory holds no journal");
	return error_hint(err,
					  found ? "Run \"walrankd --create\" again: it goes on where it stopped."
							: "Run \"walrankd --create\" once: it makes the slot and the state directory.");
}

static bool
sync_journal(State *state, Error *err)
{
	JournalHead head;
	uint64_t durable;
	Lsn lsn;

	if (!journal_flush(state->journal, err))
		return false;
	journal_appended(state->journal, &head);
	/* the sync thread is gone, or not there yet: its step is ours */
	for (int i = 0; i < 10; i++)
	{
		journal_durable(state->journal, &durable, &lsn);
		if (durable >= head.seq)
			return true;
		if (!journal_sync_step(state->journal, 0, err))
			return false;
	}
	return error_set(err, ERR_RETRY, "the journal could not be synced to its end");
}

/* Whether the unit is a CONFIG that names our engine. */
static bool
names_engine(Journal *journal, uint64_t seq, bool *names, Error *err)
{
	JournalReader *reader;
	JournalEvent event = JOURNAL_NOTHING;
	Unit unit = {0};
	PartType type;
	Slice bytes;
	Buffer lines = {0};

	*names = false;
	if (!journal_reader_open(journal, seq, &reader, err))
		return false;
	buffer_append_byte(&lines, '\n');
	source_config_engine(SCORER_ENGINE, rules_libm_fingerprint(), &lines);
	do
	{
		event = journal_reader_next(reader, &unit, &type, &bytes, err);
		if (event == JOURNAL_PART && unit.kind == UNIT_CONFIG && type == PART_DETAIL)
			*names = memmem(bytes.data, bytes.len, lines.data, lines.len) != NULL;
	} while (event == JOURNAL_RELATION || event == JOURNAL_UNIT || event == JOURNAL_PART);
	buffer_free(&lines);
	journal_reader_close(reader);
	return event != JOURNAL_ERROR;
}

/*
 * R6: scores of two engines do not mix silently.  Another one takes over at a CONFIG unit that names it, and
 * there alone; *announce: that unit has yet to be appended.  The store's header is the scorer's to change,
 * when it comes to that unit.
 */
static bool
check_engine(State *state, uint64_t last_seq, bool *announce, Error *err)
{
	const StoreHeader *header = store_header(state->store);
	StorePosition position = store_position(state->store);
	RecoveryEngine engine =
		recovery_engine(header, position, last_seq, SCORER_ENGINE, rules_libm_fingerprint());
	bool named = false;

	*announce = engine == ENGINE_ANNOUNCE;
	if (engine == ENGINE_LOOK && !names_engine(state->journal, position.seq + 1, &named, err))
		return false;
	return engine == ENGINE_OURS || *announce || named || recovery_engine_refuse(header, err);
}

static bool
feed_failed(State *state, const Error *err)
{
	if (err->class == ERR_DISK)
		store_mark_torn(state->store);
	return false;
}

bool
state_sync_feed(State *state, Error *err)
{
	return feed_sync(state->feed, err) || feed_failed(state, err);
}

/* Of the store as the old engine left it a copy is made first: a torn store must not go back beyond the CONFIG. */
static bool
announce_engine(State *state, const Config *config, Error *err)
{
	SourceSettings settings;
	Unit unit = {.kind = UNIT_CONFIG};
	Buffer text = {0};
	uint64_t seq;
	bool ok;

	log_line(LOG_WARNING, "the scoring engine changed: every item will be scored again");
	config_source_settings(config, &settings);
	source_config_text(&settings, SCORER_ENGINE, rules_libm_fingerprint(), &text);
	ok = sync_journal(state, err) && state_sync_feed(state, err) && store_snapshot(state->store, &seq, err) &&
		 journal_append(state->journal, &unit, PART_DETAIL, buffer_slice(&text), false, err) &&
		 sync_journal(state, err) && fs_replace(state->dirfd, SESSION_CONFIG_FILE, buffer_slice(&text), err);
	buffer_free(&text);
	return ok || error_wrap(err, "could not record the change of the scoring engine");
}

typedef struct Reach
{
	int feed_dirfd;
	FeedSettings feed;
} Reach;

static bool
feed_reaches_store(void *arg, uint64_t seq, uint32_t part, Error *err)
{
	const Reach *reach = arg;

	return feed_reaches(reach->feed_dirfd, &reach->feed, seq, part, err);
}

static bool
open_store_and_feed(State *state, const Config *config, const StreamId *stream_id, Error *err)
{
	StoreSettings settings = store_settings(config);
	FeedSettings feed;
	JournalHead head;
	StorePosition position;
	uint64_t durable;
	Lsn lsn;
	bool announce;
	Reach reach = {state->feed_dirfd, feed_settings(state, config, stream_id)};

	settings.reaches = feed_reaches_store;
	settings.reaches_arg = &reach;
	journal_appended(state->journal, &head);
	journal_durable(state->journal, &durable, &lsn);
	if (!store_open(state->store_dirfd, &settings, stream_id, head.seq, durable, &state->store, err))
		return error_wrap(err, "store");
	if (!recovery_reaches(store_position(state->store), journal_first_seq(state->journal), head.seq, err) ||
		!check_engine(state, head.seq, &announce, err) ||
		!scorer_create(state->store, (uint32_t) config->source.part_changes, &state->scorer, err))
		return false;
	position = store_position(state->store);
	feed = feed_settings(state, config, stream_id);
	if (!feed_open(state->feed_dirfd, &feed, position.seq, position.part, &state->feed, err))
		return feed_failed(state, err) || error_wrap(err, "feed");
	if (announce && !announce_engine(state, config, err))
		return false;
	journal_durable(state->journal, &durable, &lsn);
	feed_set_durable(state->feed, durable);
	log_line(LOG_INFO,
			 "journal at unit %" PRIu64 ", " LSN_FORMAT "; store at unit %" PRIu64 ", %" PRIu64 " items",
			 durable, LSN_ARGS(lsn), position.seq, store_items(state->store));
	return true;
}

static bool
refuse_journal(Error *err)
{
	char hint[sizeof(err->hint)];

	snprintf(hint, sizeof(hint), "%s", err->hint);
	if (err->class == ERR_REFUSE)
		error_hint(
			err,
			"%.500s%sPut back what was exchanged or damaged, if you can. To start over: \"walrank rebuild\" "
			"makes a new stream and fills it from the tables; sinks go along.",
			hint, hint[0] != '\0' ? " " : "");
	return error_wrap(err, "journal");
}

bool
state_open(State *state, const Config *config, Error *err)
{
	JournalSettings settings = {.segment_bytes = (uint64_t) config->journal.segment_bytes};
	JournalIdentity identity;

	if (!read_identity(state, &identity, err))
		return error_wrap(err, "\"%s\"", config->state.directory);
	if (strcmp(identity.slot, config->source.slot) != 0)
		return error_set(err, ERR_CONFIG, "source.slot is \"%s\", but \"%s\" belongs to slot \"%s\"",
						 config->source.slot, config->state.directory, identity.slot);
	if (!journal_open(state->journal_dirfd, &settings, &state->journal, err))
		return refuse_journal(err);
	return open_store_and_feed(state, config, &identity.stream_id, err);
}

/* ---- closing -------------------------------------------------------------------------------- */

static void
close_logs(State *state)
{
	if (state->feed != NULL)
		feed_close(state->feed);
	if (state->scorer != NULL)
		scorer_destroy(state->scorer);
	if (state->journal != NULL)
		journal_close(state->journal);
	state->feed = NULL;
	state->scorer = NULL;
	state->journal = NULL;
}

bool
state_close_clean(State *state, Error *err)
{
	bool ok = sync_journal(state, err) && feed_flush(state->feed, err) && state_sync_feed(state, err) &&
			  store_commit(state->store, err);

	/* the mark says clean at s: journal and feed are synced through s by now (R3) */
	if (ok)
		ok = store_close_clean(state->store, err);
	else
		store_abort(state->store);
	state->store = NULL;
	close_logs(state);
	return ok;
}

void
state_abandon(State *state)
{
	/* the lock goes last: nobody may come in while we still hold a file */
	int *fds[] = {&state->journal_dirfd, &state->store_dirfd, &state->feed_dirfd, &state->dirfd,
				  &state->lockfd};

	if (state->store != NULL)
		store_abort(state->store);
	state->store = NULL;
	close_logs(state);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
	{
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
