/*
 * stopped.c -- see stopped.h.
 */
#include "cli/stopped.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fs.h"
#include "cli/ask.h"

static const State closed = {
	.dirfd = -1, .lockfd = -1, .journal_dirfd = -1, .store_dirfd = -1, .feed_dirfd = -1};

static bool
read_identity(const Config *config, StoppedState *stopped, Error *err)
{
	bool found;

	if (!journal_identity_read(stopped->state.journal_dirfd, &stopped->identity, &found, err))
		return false;
	if (!found)
		return error_set(err, ERR_CONFIG, "\"%s\" holds no journal", config->state.directory);
	stopped->history = sink_history(&stopped->identity);
	return true;
}

bool
stopped_open(const Config *config, StoppedState *stopped, Error *err)
{
	stopped->state = closed;
	stopped->first_seq = stopped->last_seq = 0;
	if (!state_lock(config->state.directory, false, &stopped->state, err))
		return false;
	if (read_identity(config, stopped, err))
		return true;
	stopped_close(stopped);
	return false;
}

static bool
open_below(int dirfd, const char *name, int *fd, Error *err)
{
	*fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *fd >= 0 || error_errno(err, "could not open directory \"%s\" of the state", name);
}

/* A running daemon says what of its feed may be read (R5). */
static bool
ask_extent(const Config *config, StoppedState *stopped, Error *err)
{
	json_t *status;

	stopped->first_seq = stopped->last_seq = 0;
	if (!cli_ask(config, "status", &status, err))
		return err->class == ERR_RETRY;
	stopped->first_seq =
		(uint64_t) json_integer_value(json_object_get(json_object_get(status, "feed"), "first_seq"));
	stopped->last_seq =
		(uint64_t) json_integer_value(json_object_get(json_object_get(status, "journal"), "durable_seq"));
	json_decref(status);
	return true;
}

bool
stopped_look(const Config *config, StoppedState *stopped, Error *err)
{
	stopped->state = closed;
	if (!fs_open_dir(config->state.directory, false, &stopped->state.dirfd, err))
		return false;
	if (open_below(stopped->state.dirfd, "journal", &stopped->state.journal_dirfd, err) &&
		open_below(stopped->state.dirfd, "feed", &stopped->state.feed_dirfd, err) &&
		read_identity(config, stopped, err) && ask_extent(config, stopped, err))
		return true;
	stopped_close(stopped);
	return false;
}

SinkSource
stopped_source(const StoppedState *stopped)
{
	return (SinkSource){
		.dirfd = stopped->state.feed_dirfd, .first_seq = stopped->first_seq, .last_seq = stopped->last_seq};
}

void
stopped_close(StoppedState *stopped)
{
	state_abandon(&stopped->state);
}

const SinkConfig *
cli_find_sink(const Config *config, const char *name, Error *err)
{
	Buffer known = {0};

	for (int i = 0; i < config->nsinks; i++)
	{
		if (strcmp(config->sinks[i].name, name) == 0)
			return &config->sinks[i];
		buffer_printf(&known, "%s%s", known.len > 0 ? ", " : "", config->sinks[i].name);
	}
	error_set(err, ERR_CONFIG, "there is no sink \"%.80s\"", name);
	error_hint(err, "The configuration has: %.*s.", (int) known.len,
			   known.len > 0 ? (char *) known.data : "");
	buffer_free(&known);
	return NULL;
}
