/*
 * journal.c -- units on a segmented log; see journal.h, and journal_private.h for the records.
 *
 * Two locks.  `unit_lock` is held from begin to end or abandon of a unit and around everything that moves bytes to the
 * kernel: one unit's records stand together.  `state_lock` guards head and relations, for a moment each.
 */
#include "journal/journal.h"

#undef NDEBUG /* these assertions guard the promise to the server */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "journal/journal_private.h"

struct Journal
{
	SegLog *log;
	JournalIdentity identity;
	Buffer identity_text;
	int durable_fd;
	uint64_t sync_wakes; /* the sync thread's */
	int64_t sync_us;

	pthread_mutex_t unit_lock; /* recursive: its holder may flush */
	/* under unit_lock */
	bool open;
	bool header_written;
	Unit unit;
	JournalHead before; /* head before the last unit, for revoke */

	pthread_mutex_t state_lock;
	/* under state_lock */
	JournalHead head;
	Kept *kept;

	/* while opening */
	bool staged_valid;
	Unit staged;
	bool broken;
	Error why;
};

/* ---- life ------------------------------------------------------------------------------------- */

static Journal *
journal_alloc(const JournalIdentity *identity)
{
	Journal *journal = xcalloc(1, sizeof(*journal));
	pthread_mutexattr_t attr;

	journal->identity = *identity;
	journal->head.end_lsn = identity->start_lsn;
	journal->kept = kept_create();
	journal->durable_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	journal_identity_text(identity, &journal->identity_text);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&journal->unit_lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_mutex_init(&journal->state_lock, NULL);
	return journal;
}

void
journal_close(Journal *journal)
{
	if (journal == NULL)
		return;
	seglog_close(journal->log);
	kept_destroy(journal->kept);
	buffer_free(&journal->identity_text);
	pthread_mutex_destroy(&journal->unit_lock);
	pthread_mutex_destroy(&journal->state_lock);
	if (journal->durable_fd >= 0)
		close(journal->durable_fd);
	free(journal);
}

/* SNAPSHOT: called when a segment is full, by the thread that ends the unit. */
static void
put_snapshot(void *context, Buffer *out)
{
	Journal *journal = context;

	pthread_mutex_lock(&journal->state_lock);
	snapshot_put(out, &journal->head, journal->kept);
	pthread_mutex_unlock(&journal->state_lock);
}

static SegSettings
log_settings(Journal *journal, const JournalSettings *settings)
{
	return (SegSettings){.what = JOURNAL_WHAT,
						 .magic = JOURNAL_MAGIC,
						 .segment_bytes = settings->segment_bytes,
						 .stream_id = journal->identity.stream_id,
						 .header = buffer_slice(&journal->identity_text),
						 .preamble = put_snapshot,
						 .context = journal};
}

bool
journal_create(int dirfd, const JournalSettings *settings, const JournalIdentity *identity, Journal **result,
			   Error *err)
{
	Journal *journal = journal_alloc(identity);
	SegSettings log = log_settings(journal, settings);

	*result = NULL;
	assert(identity->complete && identity->start_lsn != 0);
	if (!seglog_create(dirfd, &log, &journal->log, err))
	{
		journal_close(journal);
		return false;
	}
	seglog_set_tag(journal->log, identity->start_lsn);
	*result = journal;
	return true;
}

/* ---- recovery --------------------------------------------------------------------------------- */

static void
breaks(Journal *journal, ErrorClass class, const char *why, uint64_t seq)
{
	if (journal->broken)
		return;
	journal->broken = true;
	error_set(&journal->why, class, "journal, near unit %llu: %s", (unsigned long long) seq, why);
}

static void
snapshot_seen(void *context, Slice payload)
{
	Journal *journal = context;
	uint32_t relations;
	Slice entry;
	Slice rest;
	Error err;

	kept_clear(journal->kept);
	if (!snapshot_get(payload, &journal->head, &relations, &rest, &err))
	{
		breaks(journal, ERR_REFUSE, err.message, 0);
		return;
	}
	for (uint32_t i = 0; i < relations; i++)
	{
		if (!snapshot_relation(&rest, &entry, &err))
		{
			breaks(journal, ERR_REFUSE, err.message, journal->head.seq);
			return;
		}
		kept_add(journal->kept, entry, KEPT_WRITTEN);
	}
}

static void
head_advance(JournalHead *head, const Unit *unit)
{
	head->seq = unit->seq;
	head->end_lsn = unit->end_lsn;
	head->now_us = unit->now_us;
	head->timeline = unit->timeline;
	head->owner_epoch = unit->owner_epoch;
	head->beat = unit->beat;
	if (unit->kind == UNIT_TXN)
	{
		head->xid = unit->xid;
		head->commit_time_us = unit->commit_time_us;
	}
}

static void
unit_recovered(Journal *journal, uint64_t seq)
{
	const Unit *unit = &journal->staged;

	if (!journal->staged_valid || unit->seq != seq || seq != journal->head.seq + 1)
		breaks(journal, ERR_REFUSE, "a unit does not follow the one before it", seq);
	else if (unit->end_lsn < journal->head.end_lsn || unit->now_us < journal->head.now_us)
		breaks(journal, ERR_REFUSE, "a unit goes backwards", seq);
	else
		head_advance(&journal->head, unit);
	kept_settle(journal->kept, KEPT_WRITTEN);
	journal->staged_valid = false;
}

/* A group may turn out unfinished: it counts with its last record. */
static void
record_seen(void *context, SegPosition at, uint8_t type, bool first, bool last, Slice payload)
{
	Journal *journal = context;
	Error err;

	if (first)
		journal->staged_valid = false;
	if (type == JOURNAL_KEPT)
		kept_add(journal->kept, payload, KEPT_WRITING);
	else if (type & JOURNAL_HEADER)
	{
		journal->staged_valid = unit_decode(payload, &journal->staged, &err);
		if (!journal->staged_valid)
			breaks(journal, ERR_REFUSE, err.message, at.seq);
	}
	if (last)
		unit_recovered(journal, at.seq);
}

bool
journal_open(int dirfd, const JournalSettings *settings, Journal **result, Error *err)
{
	SegScan scan = {.preamble_seen = snapshot_seen, .record_seen = record_seen};
	JournalIdentity identity;
	SegSettings log;
	Journal *journal;
	bool found;

	*result = NULL;
	if (!journal_identity_read(dirfd, &identity, &found, err))
		return false;
	if (!found || !identity.complete)
		return error_set(err, ERR_REFUSE, found ? "the journal was never completed" : "there is no journal");
	journal = journal_alloc(&identity);
	scan.context = journal;
	log = log_settings(journal, settings);
	if (!seglog_open(dirfd, &log, &scan, &journal->log, err))
		goto fail;
	kept_settle(journal->kept, KEPT_NEW);
	if (seglog_last(journal->log).seq != journal->head.seq)
		breaks(journal, ERR_REFUSE, "a SNAPSHOT does not fit its segment", journal->head.seq);
	if (journal->broken)
	{
		*err = journal->why;
		goto fail;
	}
	seglog_set_tag(journal->log, journal->head.end_lsn);
	*result = journal;
	return true;
fail:
	journal_close(journal);
	return false;
}

const JournalIdentity *
journal_identity(const Journal *journal)
{
	return &journal->identity;
}

/* ---- units ------------------------------------------------------------------------------------ */

/* What the rules of exactly-once.md, section 1, leave no choice about. */
static void
fill_header(const JournalHead *head, Unit *unit)
{
	bool own_lsn = unit->kind == UNIT_TXN || unit->kind == UNIT_PROGRESS ||
				   (unit->kind == UNIT_GAP && unit->end_lsn != 0);
	bool own_now = unit->kind == UNIT_TXN || unit->kind == UNIT_TIMER;

	unit->seq = head->seq + 1;
	if (!own_lsn)
		unit->end_lsn = head->end_lsn;
	if (!own_now || unit->now_us < head->now_us)
		unit->now_us = head->now_us;
	if (unit->timeline == 0)
		unit->timeline = head->timeline;
	if (unit->owner_epoch == 0)
		unit->owner_epoch = head->owner_epoch;
	if (unit->beat == 0)
		unit->beat = head->beat;
	assert(unit->kind > UNIT_NONE && unit->kind <= UNIT_CONFIG);
	assert((unit->step != BACKFILL_NONE) == (unit->kind == UNIT_BACKFILL));
	assert(unit->end_lsn >= head->end_lsn);
}

/* Relations that stand in no record of their own yet go before the unit. */
static bool
write_kept(Journal *journal, Error *err)
{
	Slice entry;
	bool ok = true;

	pthread_mutex_lock(&journal->state_lock);
	while (ok && kept_take_new(journal->kept, &entry))
		ok = seglog_append(journal->log, JOURNAL_KEPT, false, &entry, 1, err);
	pthread_mutex_unlock(&journal->state_lock);
	return ok;
}

static void
settle_kept(Journal *journal, KeptState state)
{
	pthread_mutex_lock(&journal->state_lock);
	kept_settle(journal->kept, state);
	pthread_mutex_unlock(&journal->state_lock);
}

bool
journal_begin(Journal *journal, Unit *unit, Error *err)
{
	JournalHead head;

	pthread_mutex_lock(&journal->unit_lock);
	assert(!journal->open);
	journal_appended(journal, &head);
	fill_header(&head, unit);
	if (!seglog_begin(journal->log, (SegPosition){unit->seq, 0}, err))
	{
		pthread_mutex_unlock(&journal->unit_lock);
		return false;
	}
	journal->open = true;
	journal->header_written = false;
	journal->unit = *unit;
	if (write_kept(journal, err))
		return true;
	journal_abandon(journal, &(Error){.class = ERR_NONE});
	return false;
}

static bool
append_record(Journal *journal, uint8_t type, Slice bytes, Error *err)
{
	uint8_t header[UNIT_BYTES];
	Slice slices[2] = {slice_make(header, UNIT_BYTES), bytes};
	bool first = !journal->header_written;

	if (first)
		unit_encode(&journal->unit, header);
	if (!seglog_append(journal->log, first ? type | JOURNAL_HEADER : type, false, first ? slices : slices + 1,
					   first ? 2 : 1, err))
		return false;
	journal->header_written = true;
	return true;
}

bool
journal_part(Journal *journal, PartType type, Slice bytes, Error *err)
{
	assert(journal->open);
	assert(type >= PART_FRAME && type <= PART_DETAIL);
	return append_record(journal, (uint8_t) type, bytes, err);
}

bool
journal_end(Journal *journal, Error *err)
{
	assert(journal->open);
	if (!journal->header_written && !append_record(journal, 0, slice_make(NULL, 0), err))
		return false;
	settle_kept(journal, KEPT_WRITTEN);
	pthread_mutex_lock(&journal->state_lock);
	assert(journal->unit.seq == journal->head.seq + 1 && journal->unit.end_lsn >= journal->head.end_lsn);
	journal->before = journal->head;
	head_advance(&journal->head, &journal->unit);
	pthread_mutex_unlock(&journal->state_lock);
	seglog_commit(journal->log, journal->unit.end_lsn);
	journal->open = false;
	pthread_mutex_unlock(&journal->unit_lock);
	return true;
}

bool
journal_abandon(Journal *journal, Error *err)
{
	bool ok;

	assert(journal->open);
	ok = seglog_abandon(journal->log, err);
	settle_kept(journal, KEPT_NEW);
	journal->open = false;
	pthread_mutex_unlock(&journal->unit_lock);
	return ok;
}

/* No room for the unit just ended: take it back, so that "failed" means "not appended". False: it is out and stays. */
static bool
take_back(Journal *journal)
{
	if (!seglog_revoke(journal->log))
		return false;
	pthread_mutex_lock(&journal->state_lock);
	journal->head = journal->before;
	kept_forget_written(journal->kept);
	pthread_mutex_unlock(&journal->state_lock);
	return true;
}

static bool
append_locked(Journal *journal, Unit *unit, PartType type, Slice bytes, Error *err)
{
	Error ignored;

	assert(!journal->open);
	if (!seglog_flush(journal->log, err) || !journal_begin(journal, unit, err))
		return false;
	if ((bytes.len > 0 && !journal_part(journal, type, bytes, err)) || !journal_end(journal, err))
	{
		journal_abandon(journal, &ignored);
		return false;
	}
	if (seglog_flush(journal->log, err))
		return true;
	return err->class == ERR_SPACE && !take_back(journal);
}

bool
journal_append(Journal *journal, Unit *unit, PartType type, Slice bytes, bool wait_durable, Error *err)
{
	uint64_t seq;
	bool ok;

	pthread_mutex_lock(&journal->unit_lock);
	ok = append_locked(journal, unit, type, bytes, err);
	seq = unit->seq;
	pthread_mutex_unlock(&journal->unit_lock);
	while (ok && wait_durable && !journal_wait_durable(journal, seq, 1000000))
		ok = seglog_healthy(journal->log, err);
	return ok;
}

bool
journal_try_append(Journal *journal, Unit *unit, PartType type, Slice bytes, int64_t timeout_us, Error *err)
{
	const int64_t until_us = clock_monotonic_us() + timeout_us;
	const struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
	bool ok;

	if (pthread_mutex_clocklock(&journal->unit_lock, CLOCK_MONOTONIC, &until) != 0)
		return error_set(err, ERR_RETRY, "a large transaction is being written to the journal");
	ok = append_locked(journal, unit, type, bytes, err);
	pthread_mutex_unlock(&journal->unit_lock);
	return ok;
}

/* ---- relations -------------------------------------------------------------------------------- */

void
journal_keep_relation(Journal *journal, uint64_t fingerprint, Slice entry)
{
	pthread_mutex_lock(&journal->state_lock);
	kept_add(journal->kept, entry, KEPT_NEW);
	pthread_mutex_unlock(&journal->state_lock);
}

bool
journal_relation_known(Journal *journal, uint64_t fingerprint)
{
	bool known;

	pthread_mutex_lock(&journal->state_lock);
	known = kept_known(journal->kept, fingerprint);
	pthread_mutex_unlock(&journal->state_lock);
	return known;
}

/* ---- durability ------------------------------------------------------------------------------- */

bool
journal_flush(Journal *journal, Error *err)
{
	bool ok;

	pthread_mutex_lock(&journal->unit_lock);
	ok = seglog_flush(journal->log, err);
	pthread_mutex_unlock(&journal->unit_lock);
	return ok;
}

bool
journal_sync_step(Journal *journal, int64_t timeout_us, Error *err)
{
	uint64_t one = 1;
	int64_t began_us;
	ssize_t ignored;

	journal->sync_us = 0;
	if (!seglog_wait_unsynced(journal->log, &journal->sync_wakes, timeout_us))
		return true;
	began_us = clock_monotonic_us();
	if (!seglog_sync(journal->log, err))
		return false;
	journal->sync_us = clock_monotonic_us() - began_us;
	ignored = write(journal->durable_fd, &one, sizeof(one));
	(void) ignored; /* full means readable, which is all it says */
	return true;
}

int64_t
journal_sync_us(const Journal *journal)
{
	return journal->sync_us;
}

bool
journal_wait_durable(Journal *journal, uint64_t seq, int64_t timeout_us)
{
	return seglog_wait_durable(journal->log, (SegPosition){seq, 0}, timeout_us);
}

void
journal_wake(Journal *journal)
{
	seglog_wake(journal->log);
}

int
journal_durable_fd(Journal *journal)
{
	return journal->durable_fd;
}

void
journal_appended(Journal *journal, JournalHead *head)
{
	pthread_mutex_lock(&journal->state_lock);
	*head = journal->head;
	pthread_mutex_unlock(&journal->state_lock);
}

void
journal_durable(Journal *journal, uint64_t *seq, Lsn *lsn)
{
	*seq = seglog_durable_tag(journal->log, lsn).seq;
}

uint64_t
journal_first_seq(Journal *journal)
{
	return seglog_first(journal->log).seq;
}

bool
journal_trim(Journal *journal, uint64_t below_seq, Error *err)
{
	return seglog_trim(journal->log, (SegPosition){below_seq, 0}, err);
}

uint64_t
journal_bytes(Journal *journal)
{
	return seglog_bytes(journal->log);
}

SegLog *
journal_log(Journal *journal)
{
	return journal->log;
}
