/*
 * sinkset.c -- see sinkset.h.
 *
 * Two locks: `changing` is held by whoever changes the set, for as long as that takes; `lock` guards the
 * slots themselves and is held for a copy only.  A thread of a sink that is to end is taken out of its slot
 * first, so that nobody who looks can meet it.
 */
#include "daemon/sinkset.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#define PAUSE_BYTES_MAX 256
#define KNOWN_NAME "sinks" /* in the state directory: a sink not in it is new */
#define KNOWN_BYTES_MAX (CONFIG_SINKS_MAX * 64)

typedef struct Slot
{
	SinkConfig config;
	SinkRunner *runner; /* NULL: paused, or about to start */
	SinkStatus last;	/* while there is no runner */
} Slot;

struct SinkSet
{
	SinkSetParts parts;
	Buffer written; /* as the file KNOWN_NAME has them */
	Buffer known;	/* names of sinks that have been admitted, each ended by a newline; under `changing` */
	pthread_mutex_t changing;
	pthread_mutex_t lock; /* slots[] and nslots are written with both held */
	Slot *slots[CONFIG_SINKS_MAX];
	int nslots;
};

/* ---- the file that says "paused" ----------------------------------------------------------------- */

static void
pause_name(const char *sink, char name[96])
{
	snprintf(name, 96, "sink-%s.paused", sink);
}

/*
 * The file itself is what counts: one that says nothing readable, or where the sink stood in a stream that was replaced
 * since, holds the feed back from the start.
 */
static void
parse_pause(const char *text, SinkPosition *position)
{
	char lsn[24];
	char stream[STREAM_ID_TEXT_BYTES];

	if (sscanf(text, "seq=%" SCNu64 "\nend_lsn=%23s\nstream=%36s", &position->seq, lsn, stream) != 3 ||
		!lsn_parse(lsn, &position->end_lsn) || !stream_id_parse(stream, &position->stream_id))
		memset(position, 0, sizeof(*position));
}

static bool
read_pause(int dirfd, const char *sink, SinkPosition *position, bool *paused, Error *err)
{
	char name[96];
	char text[PAUSE_BYTES_MAX + 1];
	size_t len = 0;

	memset(position, 0, sizeof(*position));
	pause_name(sink, name);
	if (!fs_read_file(dirfd, name, PAUSE_BYTES_MAX, text, &len, paused, err))
		return false;
	text[*paused ? len : 0] = '\0';
	parse_pause(text, position);
	return true;
}

bool
sinkset_is_paused(int state_dirfd, const char *name, bool *paused, Error *err)
{
	SinkPosition ignored;

	return read_pause(state_dirfd, name, &ignored, paused, err);
}

bool
sinkset_set_paused(int state_dirfd, const char *sink, const SinkPosition *position_or_null, Error *err)
{
	char name[96];
	char stream[STREAM_ID_TEXT_BYTES];
	Buffer text = {0};
	bool ok;

	pause_name(sink, name);
	if (position_or_null == NULL)
		return fs->unlinkat(state_dirfd, name) == 0 ? fs_sync_dir(state_dirfd, err)
													: error_errno(err, "could not remove \"%s\"", name);
	stream_id_text(&position_or_null->stream_id, stream);
	buffer_printf(&text, "seq=%" PRIu64 "\nend_lsn=" LSN_FORMAT "\nstream=%s\n", position_or_null->seq,
				  LSN_ARGS(position_or_null->end_lsn), stream);
	ok = fs_replace(state_dirfd, name, buffer_slice(&text), err);
	buffer_free(&text);
	return ok;
}

/* ---- slots ------------------------------------------------------------------------------------------ */

bool
sinkset_create(const SinkSetParts *parts, SinkSet **created, Error *err)
{
	char known[KNOWN_BYTES_MAX];
	size_t len = 0;
	bool found;
	SinkSet *set;

	if (!fs_read_file(parts->state_dirfd, KNOWN_NAME, sizeof(known), known, &len, &found, err))
		return false;
	set = xcalloc(1, sizeof(*set));
	set->parts = *parts;
	buffer_append(&set->known, known, found ? len : 0);
	buffer_append(&set->written, known, found ? len : 0);
	pthread_mutex_init(&set->changing, NULL);
	pthread_mutex_init(&set->lock, NULL);
	*created = set;
	return true;
}

static Slot *
find(const SinkSet *set, const char *name)
{
	for (int i = 0; i < set->nslots; i++)
		if (strcmp(set->slots[i]->config.name, name) == 0)
			return set->slots[i];
	return NULL;
}

static Slot *
find_named(const SinkSet *set, const char *name, Error *err)
{
	Slot *slot = find(set, name);
	Buffer known = {0};

	if (slot != NULL)
		return slot;
	for (int i = 0; i < set->nslots; i++)
		buffer_printf(&known, "%s%s", i > 0 ? ", " : "", set->slots[i]->config.name);
	error_set(err, ERR_CONFIG, "there is no sink \"%.80s\"", name);
	error_hint(err, "The daemon has: %.*s.", (int) known.len, known.len > 0 ? (const char *) known.data : "");
	buffer_free(&known);
	return NULL;
}

static void
slot_status(const Slot *slot, SinkStatus *status)
{
	if (slot->runner != NULL)
		sink_runner_status(slot->runner, status);
	else
		*status = slot->last;
}

static void
slot_view(const Slot *slot, SinkView *view)
{
	*view = (SinkView){.type = slot->config.type->name, .flush_interval_ms = slot->config.flush_interval_ms};
	snprintf(view->name, sizeof(view->name), "%s", slot->config.name);
	slot_status(slot, &view->status);
}

bool
sinkset_view(SinkSet *set, int i, SinkView *view)
{
	bool found;

	pthread_mutex_lock(&set->lock);
	found = i < set->nslots;
	if (found)
		slot_view(set->slots[i], view);
	pthread_mutex_unlock(&set->lock);
	return found;
}

int
sinkset_views(SinkSet *set, SinkView views[CONFIG_SINKS_MAX])
{
	int n;

	pthread_mutex_lock(&set->lock);
	n = set->nslots;
	for (int i = 0; i < n; i++)
		slot_view(set->slots[i], &views[i]);
	pthread_mutex_unlock(&set->lock);
	return n;
}

Lsn
sinkset_lowest(SinkSet *set)
{
	Lsn lowest = UINT64_MAX;
	SinkView view;

	pthread_mutex_lock(&set->lock);
	for (int i = 0; i < set->nslots; i++)
	{
		slot_view(set->slots[i], &view);
		if (view.status.state == SINK_STARTING)
			lowest = 0;
		else if (view.status.state != SINK_GIVEN_UP && view.status.position.end_lsn < lowest)
			lowest = view.status.position.end_lsn;
	}
	pthread_mutex_unlock(&set->lock);
	return lowest;
}

static void
note(Slot *slot, SinkState state, const Error *err)
{
	slot->last.state = state;
	slot->last.reason = err != NULL ? err->class : ERR_NONE;
	snprintf(slot->last.note, sizeof(slot->last.note), "%.500s", err != NULL ? err->message : "");
}

static bool
slot_start(SinkSet *set, Slot *slot, Error *err)
{
	SinkRunner *runner;

	if (!sink_runner_start(&slot->config, set->parts.feed, &set->parts.history, set->parts.state_dir, &runner,
						   err))
	{
		error_wrap(err, "sink \"%s\"", slot->config.name);
		pthread_mutex_lock(&set->lock);
		note(slot, SINK_STOPPED, err);
		pthread_mutex_unlock(&set->lock);
		return false;
	}
	pthread_mutex_lock(&set->lock);
	slot->runner = runner;
	pthread_mutex_unlock(&set->lock);
	return true;
}

/* What is gathered is let go, as a kill would; the thread has ended when this returns. */
static void
slot_end(SinkSet *set, Slot *slot, SinkState state)
{
	SinkRunner *runner;

	pthread_mutex_lock(&set->lock);
	slot_status(slot, &slot->last);
	note(slot, state, NULL);
	runner = slot->runner;
	slot->runner = NULL;
	pthread_mutex_unlock(&set->lock);
	if (runner != NULL)
		sink_runner_destroy(runner);
}

static void
slot_free(Slot *slot)
{
	if (slot == NULL)
		return;
	config_sink_free(&slot->config);
	free(slot);
}

/* ---- sinks that are new (K1) --------------------------------------------------------------------------- */

static bool
is_known(const SinkSet *set, const char *name)
{
	const char *at = (const char *) set->known.data;
	const char *end = at + set->known.len;
	const size_t len = strlen(name);

	while (at < end)
	{
		const char *stop = memchr(at, '\n', (size_t) (end - at));

		if (stop == NULL)
			return false;
		if ((size_t) (stop - at) == len && memcmp(at, name, len) == 0)
			return true;
		at = stop + 1;
	}
	return false;
}

/*
 * The first checkpoint of a sink that was not here before.  One that was, and has none now, was emptied by
 * somebody: it may not quietly begin somewhere, K1 judges it when it is opened.
 */
static bool
admit(SinkSet *set, const SinkConfig *config, Error *err)
{
	const SinkSource source = {.feed = set->parts.feed};
	SinkPosition position;
	bool found = false;
	bool ok = true;

	if (is_known(set, config->name))
		return true;
	/* where it begins anyway: a target that is away for now can be added all the same */
	if (config->start != SINK_FROM_OLDEST || feed_first_seq(set->parts.feed) > 1)
		ok = sink_read(config, &set->parts.history, set->parts.state_dir, &position, &found, err) &&
			 (found || sink_add(config, &set->parts.history, set->parts.state_dir, source, set->parts.journal,
								(SinkFrom) config->start, err));
	if (ok)
		buffer_printf(&set->known, "%s\n", config->name);
	return ok;
}

/* Starts, unless the sink is paused or may not begin. */
static bool
slot_begin(SinkSet *set, Slot *slot, Error *err)
{
	SinkPosition position;
	bool paused;

	if (!read_pause(set->parts.state_dirfd, slot->config.name, &position, &paused, err) ||
		!admit(set, &slot->config, err))
	{
		pthread_mutex_lock(&set->lock);
		note(slot, SINK_STOPPED, err);
		pthread_mutex_unlock(&set->lock);
		return false;
	}
	if (!paused)
		return slot_start(set, slot, err);
	if (!stream_id_equal(&position.stream_id, &set->parts.history.stream_id))
		memset(&position, 0, sizeof(position));
	pthread_mutex_lock(&set->lock);
	slot->last.position = position;
	note(slot, SINK_PAUSED, NULL);
	pthread_mutex_unlock(&set->lock);
	return true;
}

/* ---- bringing it to a configuration ------------------------------------------------------------------ */

static bool
try_config(const SinkSet *set, const SinkConfig *config, Error *err)
{
	Sink *sink;

	if (!config->type->create(config->name, config->options, &set->parts.history, set->parts.state_dir, &sink,
							  err))
		return error_wrap(err, "sink \"%s\"", config->name);
	config->type->destroy(sink);
	return true;
}

bool
sinkset_check(const SinkSet *set, const Config *config, Error *err)
{
	bool ok = true;

	for (int i = 0; ok && i < config->nsinks; i++)
		ok = try_config(set, &config->sinks[i], err);
	return ok;
}

bool
sinkset_admit(SinkSet *set, const Config *config, Error *err)
{
	bool ok = true;

	if (!sinkset_check(set, config, err))
		return false;
	pthread_mutex_lock(&set->changing);
	for (int i = 0; ok && i < config->nsinks; i++)
		ok = admit(set, &config->sinks[i], err);
	pthread_mutex_unlock(&set->changing);
	return ok;
}

/* A name that is gone from the configuration is new when it comes back. */
static bool
keep_known(SinkSet *set, Error *err)
{
	Buffer names = {0};
	bool ok = true;

	for (int i = 0; i < set->nslots; i++)
		if (is_known(set, set->slots[i]->config.name))
			buffer_printf(&names, "%s\n", set->slots[i]->config.name);
	if (!slice_equal(buffer_slice(&names), buffer_slice(&set->written)))
		ok = fs_replace(set->parts.state_dirfd, KNOWN_NAME, buffer_slice(&names), err);
	buffer_reset(&set->known);
	buffer_append_slice(&set->known, buffer_slice(&names));
	buffer_reset(&set->written);
	buffer_append_slice(&set->written, buffer_slice(&names));
	buffer_free(&names);
	return ok;
}

static const SinkConfig *
find_config(const Config *config, const char *name)
{
	for (int i = 0; i < config->nsinks; i++)
		if (strcmp(config->sinks[i].name, name) == 0)
			return &config->sinks[i];
	return NULL;
}

/* Those that are gone or changed end here: their threads and then, if gone, their slots. */
static void
end_others(SinkSet *set, const Config *config, Buffer *said)
{
	for (int i = 0; i < set->nslots; i++)
	{
		Slot *slot = set->slots[i];
		const SinkConfig *wanted = find_config(config, slot->config.name);

		if (wanted != NULL && config_sink_equal(wanted, &slot->config))
			continue;
		slot_end(set, slot, SINK_STARTING);
		if (wanted == NULL)
			buffer_printf(said, "sink %s removed\n", slot->config.name);
	}
}

/* The slot for the i-th sink of the configuration, which is taken over. */
static Slot *
settle_slot(SinkSet *set, SinkConfig *config, bool *begin, Buffer *said)
{
	Slot *slot = find(set, config->name);

	*begin = slot == NULL || slot->runner == NULL;
	if (slot == NULL)
	{
		slot = xcalloc(1, sizeof(*slot));
		buffer_printf(said, "sink %s added\n", config->name);
	}
	else if (config_sink_equal(&slot->config, config))
	{
		*begin = slot->runner == NULL && slot->last.state == SINK_STOPPED; /* it could not begin before */
		config_sink_free(config);
		return slot;
	}
	else
	{
		buffer_printf(said, "sink %s changed\n", config->name);
		config_sink_free(&slot->config);
	}
	slot->config = *config;
	return slot;
}

bool
sinkset_apply(SinkSet *set, Config *config, Buffer *said, Error *err)
{
	Slot *slots[CONFIG_SINKS_MAX] = {0};
	Slot *gone[CONFIG_SINKS_MAX];
	bool begin[CONFIG_SINKS_MAX];
	const int n = config->nsinks;
	int ngone = 0;
	Error ignored;
	bool ok = true;

	pthread_mutex_lock(&set->changing);
	end_others(set, config, said);
	pthread_mutex_lock(&set->lock);
	for (int i = 0; i < set->nslots; i++)
		if (find_config(config, set->slots[i]->config.name) == NULL)
			gone[ngone++] = set->slots[i];
	for (int i = 0; i < n; i++)
		slots[i] = settle_slot(set, &config->sinks[i], &begin[i], said);
	config->nsinks = 0; /* they are ours now */
	memcpy(set->slots, slots, sizeof(Slot *) * (size_t) n);
	set->nslots = n;
	pthread_mutex_unlock(&set->lock);
	while (ngone > 0)
		slot_free(gone[--ngone]);
	for (int i = 0; i < n; i++)
	{
		Error one;

		if (!begin[i] || slot_begin(set, slots[i], &one))
			continue;
		if (ok)
			*err = one;
		ok = false;
	}
	ok = (ok ? keep_known(set, err) : keep_known(set, &ignored)) && ok;
	pthread_mutex_unlock(&set->changing);
	return ok;
}

/* ---- one of them -------------------------------------------------------------------------------------- */

static bool
pause_slot(SinkSet *set, Slot *slot, Error *err)
{
	SinkStatus status;
	bool paused;

	if (!sinkset_is_paused(set->parts.state_dirfd, slot->config.name, &paused, err))
		return false;
	if (paused)
		return error_set(err, ERR_CONFIG, "sink \"%s\" is paused already", slot->config.name);
	slot_status(slot, &status);
	/* what it reaches before its thread ends is more than the file says: holding back too much is safe */
	if (!sinkset_set_paused(set->parts.state_dirfd, slot->config.name, &status.position, err))
		return false;
	slot_end(set, slot, SINK_PAUSED);
	log_line(LOG_INFO, "sink \"%s\" paused at unit %" PRIu64, slot->config.name, slot->last.position.seq);
	return true;
}

static bool
resume_slot(SinkSet *set, Slot *slot, Error *err)
{
	SinkStatus status;
	bool paused;

	if (!sinkset_is_paused(set->parts.state_dirfd, slot->config.name, &paused, err))
		return false;
	slot_status(slot, &status);
	if (!paused && status.state != SINK_STOPPED && status.state != SINK_GIVEN_UP)
		return error_set(err, ERR_CONFIG, "sink \"%s\" is not paused", slot->config.name);
	if (paused && !sinkset_set_paused(set->parts.state_dirfd, slot->config.name, NULL, err))
		return false;
	slot_end(set, slot, SINK_STARTING);
	if (!slot_begin(set, slot, err) || !keep_known(set, err))
		return false;
	log_line(LOG_INFO, "sink \"%s\" resumed", slot->config.name);
	return true;
}

static bool
give_up_slot(SinkSet *set, Slot *slot, Error *err)
{
	Error why;
	bool paused;

	if (!sinkset_is_paused(set->parts.state_dirfd, slot->config.name, &paused, err) ||
		(paused && !sinkset_set_paused(set->parts.state_dirfd, slot->config.name, NULL, err)))
		return false;
	slot_end(set, slot, SINK_GIVEN_UP);
	error_set(&why, ERR_SPACE, "the feed's quota is used up, and this sink was the slowest, at unit %" PRIu64,
			  slot->last.position.seq);
	error_hint(&why, "It has to be filled anew.");
	log_error(LOG_ERROR, &why, slot->config.name);
	pthread_mutex_lock(&set->lock);
	note(slot, SINK_GIVEN_UP, &why);
	pthread_mutex_unlock(&set->lock);
	return true;
}

static bool
change_one(SinkSet *set, const char *name, bool (*change)(SinkSet *, Slot *, Error *), Error *err)
{
	Slot *slot;
	bool ok;

	pthread_mutex_lock(&set->changing);
	slot = find_named(set, name, err);
	ok = slot != NULL && change(set, slot, err);
	pthread_mutex_unlock(&set->changing);
	return ok;
}

bool
sinkset_pause(SinkSet *set, const char *name, Error *err)
{
	return change_one(set, name, pause_slot, err);
}

bool
sinkset_give_up(SinkSet *set, const char *name, Error *err)
{
	return change_one(set, name, give_up_slot, err);
}

bool
sinkset_resume(SinkSet *set, const char *name, Error *err)
{
	return change_one(set, name, resume_slot, err);
}

/* Until it is known where the sink stands now, it holds all there is. */
static bool
forget_position(SinkSet *set, Slot *slot, bool paused, Error *err)
{
	const SinkPosition nowhere = {0};

	pthread_mutex_lock(&set->lock);
	slot->last.position = nowhere;
	pthread_mutex_unlock(&set->lock);
	return !paused || sinkset_set_paused(set->parts.state_dirfd, slot->config.name, &nowhere, err);
}

static bool
note_position(SinkSet *set, Slot *slot, Error *err)
{
	SinkPosition position;
	bool found;

	if (!sink_read(&slot->config, &set->parts.history, set->parts.state_dir, &position, &found, err))
		return false;
	if (!found)
		return true;
	pthread_mutex_lock(&set->lock);
	slot->last.position = position;
	pthread_mutex_unlock(&set->lock);
	return sinkset_set_paused(set->parts.state_dirfd, slot->config.name, &position, err);
}

static bool
hold_slot(SinkSet *set, Slot *slot, SinkSetWork work, void *context, Error *err)
{
	Error later;
	bool paused;
	bool ok;
	bool again;

	if (!sinkset_is_paused(set->parts.state_dirfd, slot->config.name, &paused, err))
		return false;
	slot_end(set, slot, paused ? SINK_PAUSED : SINK_STARTING);
	ok = forget_position(set, slot, paused, err) && work(context, &slot->config, err);
	again = paused ? note_position(set, slot, &later) : slot_start(set, slot, &later);
	if (ok && !again)
		*err = later;
	return ok && again;
}

bool
sinkset_hold(SinkSet *set, const char *name, SinkSetWork work, void *context, Error *err)
{
	Slot *slot;
	bool ok;

	pthread_mutex_lock(&set->changing);
	slot = find_named(set, name, err);
	ok = slot != NULL && hold_slot(set, slot, work, context, err);
	pthread_mutex_unlock(&set->changing);
	return ok;
}

/* ---- the end -------------------------------------------------------------------------------------------- */

static int64_t
left_us(int64_t deadline_us)
{
	int64_t left = deadline_us - clock_monotonic_us();

	return left > 0 ? left : 0;
}

void
sinkset_stop(SinkSet *set, int64_t deadline_us)
{
	const uint64_t durable = feed_durable(set->parts.feed);

	for (int i = 0; i < set->nslots; i++)
	{
		Slot *slot = set->slots[i];
		SinkStatus status;

		if (slot->runner != NULL)
			sink_runner_drain(slot->runner, left_us(deadline_us));
		slot_status(slot, &status);
		if (status.position.seq < durable)
			log_line(LOG_WARNING, "sink \"%s\" is left at unit %" PRIu64 " of %" PRIu64, slot->config.name,
					 status.position.seq, durable);
		if (slot->runner != NULL)
			sink_runner_destroy(slot->runner);
		slot_free(slot);
	}
	pthread_mutex_destroy(&set->changing);
	pthread_mutex_destroy(&set->lock);
	buffer_free(&set->known);
	buffer_free(&set->written);
	free(set);
}
