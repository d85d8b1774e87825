/*
 * look.c -- see look.h.
 */
#include "cli/look.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "cli/ask.h"
#include "score/store_look.h"

#define FRESH_TIMEOUT_US INT64_C(120000000)
#define FRESH_ASK_US INT64_C(2000000) /* a snapshot begun before the last commit is followed by another */
#define FRESH_LOOK_US 50000

static bool
open_store(const Config *config, int *dirfd, Error *err)
{
	int state;

	if (!fs_open_dir(config->state.directory, false, &state, err))
		return false;
	*dirfd = openat(state, "store", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(state);
	return *dirfd >= 0 || error_errno(err, "could not open directory \"%s/store\"", config->state.directory);
}

bool
look_open(const Config *config, Look *look, Error *err)
{
	*look = (Look){.store_dirfd = -1};
	if (!stopped_look(config, &look->stopped, err))
		return false;
	if (open_store(config, &look->store_dirfd, err) &&
		store_look(look->store_dirfd, &look->stopped.identity.stream_id, UINT64_MAX, &look->store, err))
	{
		look->position = store_position(look->store);
		return true;
	}
	look_close(look);
	return false;
}

void
look_close(Look *look)
{
	store_abort(look->store);
	if (look->store_dirfd >= 0)
		close(look->store_dirfd);
	stopped_close(&look->stopped);
}

/* ---- a fresh one ------------------------------------------------------------------------------ */

static bool
durable_seq(const Config *config, uint64_t *seq, Error *err)
{
	json_t *status;

	if (!cli_ask(config, "status", &status, err))
		return false;
	*seq = (uint64_t) json_integer_value(json_object_get(json_object_get(status, "journal"), "durable_seq"));
	json_decref(status);
	return true;
}

static bool
ask_snapshot(const Config *config, Error *err)
{
	json_t *answer;

	if (!cli_ask(config, "snapshot", &answer, err))
		return false;
	json_decref(answer);
	return true;
}

bool
look_refresh(const Config *config, Error *err)
{
	int64_t begun_us = clock_monotonic_us();
	int64_t asked_us = begun_us - FRESH_ASK_US;
	uint64_t wanted;
	uint64_t newest = 0;
	int dirfd;
	bool ok;

	if (!durable_seq(config, &wanted, err) || !open_store(config, &dirfd, err))
		return false;
	while ((ok = store_look_newest(dirfd, &newest, err)) && newest < wanted)
	{
		int64_t now_us = clock_monotonic_us();

		if (now_us - begun_us > FRESH_TIMEOUT_US)
		{
			ok = error_set(err, ERR_RETRY, "walrankd made no snapshot of unit %" PRIu64 " in time", wanted);
			error_hint(err, "The newest one is of unit %" PRIu64 "; its log says what keeps it.", newest);
		}
		else if (now_us - asked_us >= FRESH_ASK_US)
		{
			ok = ask_snapshot(config, err);
			asked_us = now_us;
		}
		if (!ok)
			break;
		usleep(FRESH_LOOK_US);
	}
	close(dirfd);
	return ok;
}

/* ---- its time --------------------------------------------------------------------------------- */

/* Of the first unit from seq on that the journal still has. */
static bool
time_in_journal(const Look *look, uint64_t seq, int64_t *now_us, bool *found, Error *err)
{
	JournalReader *reader;
	JournalEvent event;
	PartType type;
	Slice bytes;
	Unit unit;

	*found = false;
	if (!journal_reader_open_dir(look->stopped.state.journal_dirfd, seq, &reader, err))
		return err->class == ERR_REFUSE; /* it begins later */
	do
		event = journal_reader_next(reader, &unit, &type, &bytes, err);
	while (event == JOURNAL_RELATION);
	if (event == JOURNAL_UNIT)
	{
		*found = true;
		*now_us = unit.now_us;
	}
	journal_reader_close(reader);
	return event != JOURNAL_ERROR;
}

static bool
time_in_feed(const Look *look, uint64_t seq, int64_t *now_us, bool *found, Error *err)
{
	FeedReader *reader;
	RecordReader record;
	FeedEvent event;

	*found = false;
	if (!feed_reader_open_dir(look->stopped.state.feed_dirfd, seq, &reader, err))
		return err->class == ERR_REFUSE;
	event = feed_reader_next(reader, &record, err);
	if (event == FEED_RECORD)
	{
		*found = true;
		*now_us = record.header.now_us;
	}
	feed_reader_close(reader);
	return event != FEED_ERROR;
}

bool
look_time(const Look *look, uint64_t seq, int64_t *now_us, Error *err)
{
	bool found;

	/* the log that holds the unit itself first: the journal may begin with the one after it */
	if (seq > 0 && (!time_in_journal(look, seq, now_us, &found, err) ||
					(!found && !time_in_feed(look, seq, now_us, &found, err))))
		return false;
	if (seq > 0 && found)
		return true;
	if (!time_in_journal(look, seq + 1, now_us, &found, err))
		return false;
	if (found)
		return true;
	error_set(err, ERR_REFUSE,
			  "neither journal nor feed holds unit %" PRIu64 " any more, so its time is not known", seq);
	return error_hint(err, "Say when: --at 2026-11-20T14:46:29Z.");
}
