/*
 * whatif_replay.c -- see whatif_replay.h.
 *
 *	copy of a snapshot --> scorer, up to `from` --> twice --> all items anew --> two scorers, counting
 *
 * Units of our own (rescoring, timers) take the next number and give it back: the journal's follow each other.
 */
#include "cli/whatif_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/timers.h"
#include "score/store_look.h"

#define TIMERS_TOGETHER_US INT64_C(1000000)
#define PART_CHANGES 10000			  /* where the store does not know better */
#define UNCOMMITTED_BYTES (64U << 20) /* of a copy: then it is committed, to bound memory */

/* ---- directories without names ----------------------------------------------------------------- */

typedef struct Scratch
{
	char path[256];
	int dirfd;
} Scratch;

static bool
scratch_make(Scratch *scratch, Error *err)
{
	const char *tmp = getenv("TMPDIR");

	scratch->dirfd = -1;
	if ((size_t) snprintf(scratch->path, sizeof(scratch->path), "%s/walrank-XXXXXX",
						  tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp") >= sizeof(scratch->path))
		return error_set(err, ERR_CONFIG, "TMPDIR is too long");
	if (mkdtemp(scratch->path) == NULL)
		return error_errno(err, "could not create a directory in \"%s\"", tmp != NULL ? tmp : "/tmp");
	scratch->dirfd = open(scratch->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (scratch->dirfd >= 0)
		return true;
	error_errno(err, "could not open \"%s\"", scratch->path);
	rmdir(scratch->path);
	return false;
}

/* What is open stays; nobody has to tidy up after a kill. */
static void
scratch_forget(Scratch *scratch)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "mark"};

	if (scratch->dirfd < 0)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(scratch->dirfd, names[i], 0);
	rmdir(scratch->path);
	close(scratch->dirfd);
	scratch->dirfd = -1;
}

/* ---- the two runs ----------------------------------------------------------------------------- */

typedef struct Side
{
	Scratch scratch;
	Store *store;
	Scorer *scorer;
	TrialRanking begun; /* the ranking when counting began */
	bool has_ranking;
	uint32_t relation; /* its number */
	int64_t now_us;	   /* of the last unit */
	uint64_t changes;
	ReplayCounts counts;
} Side;

typedef struct Replay
{
	const Look *look;
	const Definition *definition;
	const char *name;
	const TrialInfo *table;
	uint64_t last; /* durable unit; 0: all the journal has */
	StoreSettings settings;
	Side before, after;
	JournalReader *reader;
	WhatIfReplay *result;
} Replay;

static void
side_close(Side *side)
{
	scorer_destroy(side->scorer);
	store_abort(side->store);
	scratch_forget(&side->scratch);
	side->scorer = NULL;
	side->store = NULL;
}

/* The newest snapshot that holds nothing of unit `from`, not even a piece. */
static bool
copy_snapshot(Replay *replay, uint64_t from, Error *err)
{
	const Look *look = replay->look;
	Side *side = &replay->before;
	uint64_t seq_max = from - 1;

	for (;;)
	{
		StorePosition position;

		if (!scratch_make(&side->scratch, err) ||
			!store_look_copy(look->store_dirfd, &look->stopped.identity.stream_id, seq_max,
							 side->scratch.dirfd, &replay->settings, &side->store, err))
			return false;
		position = store_position(side->store);
		replay->result->snapshot = position.seq;
		if (position.seq + 1 < from || position.part == 0)
			return true;
		side_close(side);
		if (position.seq == 0)
			return error_set(err, ERR_REFUSE, "no snapshot was made before unit %" PRIu64, from);
		seq_max = position.seq - 1;
	}
}

/* ---- records ---------------------------------------------------------------------------------- */

/* What a rule edit, a new sink or another engine causes is not traffic. */
static bool
is_traffic(UnitKind kind)
{
	return kind == UNIT_TXN || kind == UNIT_BACKFILL || kind == UNIT_TIMER;
}

static bool
count_record(Side *side, bool counting, Error *err)
{
	RecordHeader header;
	RecordReader reader;
	RecordEntry entry;
	bool done = false;

	if (!counting)
		return true;
	if (!record_open(scorer_record(side->scorer, &header), &reader, err))
		return false;
	if (!is_traffic(header.kind))
		return true;
	while (record_next(&reader, &entry, &done, err) && !done)
	{
		side->changes += entry.kind == RECORD_CHANGE && entry.relation == side->relation;
		if (!side->has_ranking || entry.out != side->begun.number)
			continue;
		side->counts.scores += entry.kind == RECORD_SCORE;
		side->counts.removals += entry.kind == RECORD_REMOVE;
	}
	return done;
}

static bool
take_part(Side *side, PartType type, Slice bytes, bool counting, Error *err)
{
	bool ready;
	bool consumed;

	do
		if (!scorer_part(side->scorer, type, bytes, &ready, &consumed, err) ||
			(ready && !count_record(side, counting, err)))
			return false;
	while (!consumed);
	return true;
}

static bool
end_unit(Side *side, bool counting, Error *err)
{
	if (!scorer_end(side->scorer, err) || !count_record(side, counting, err))
		return false;
	return store_pending(side->store) < UNCOMMITTED_BYTES || store_commit(side->store, err);
}

/* One event for one side. */
static bool
take_event(Side *side, JournalEvent event, const Unit *unit, PartType type, Slice bytes, bool counting,
		   Error *err)
{
	switch (event)
	{
		case JOURNAL_UNIT:
			return scorer_begin(side->scorer, unit, err);
		case JOURNAL_PART:
			return take_part(side, type, bytes, counting, err);
		case JOURNAL_UNIT_END:
			return end_unit(side, counting, err);
		case JOURNAL_RELATION:
			return scorer_relation(side->scorer, bytes, err);
		default:
			return true;
	}
}

/* ---- until `from`: one scorer ------------------------------------------------------------------ */

static bool
bring_to(Replay *replay, uint64_t from, Error *err)
{
	Side *side = &replay->before;
	uint64_t seq = store_position(side->store).seq + 1;
	Unit unit = {0};
	PartType type = PART_FRAME;
	Slice bytes;

	if (!journal_reader_open_dir(replay->look->stopped.state.journal_dirfd, seq, &replay->reader, err) ||
		!scorer_create(side->store, PART_CHANGES, &side->scorer, err))
		return false;
	while (store_position(side->store).seq + 1 < from)
	{
		JournalEvent event = journal_reader_next(replay->reader, &unit, &type, &bytes, err);

		if (event == JOURNAL_ERROR)
			return false;
		if (event == JOURNAL_NOTHING)
			return error_set(err, ERR_CONFIG, "the journal ends before unit %" PRIu64, from);
		replay->result->from_us = unit.now_us;
		if (!take_event(side, event, &unit, type, bytes, false, err))
			return error_wrap(err, "unit %" PRIu64, unit.seq);
	}
	scorer_destroy(side->scorer);
	side->scorer = NULL;
	return true;
}

/* ---- at `from`: twice, each evaluated anew ------------------------------------------------------ */

/* The copy's store closed, its file copied, both opened again. */
static bool
duplicate(Replay *replay, Error *err)
{
	const StreamId *stream_id = &replay->look->stopped.identity.stream_id;
	Side *before = &replay->before;
	Side *after = &replay->after;
	bool ok;

	if (!scratch_make(&after->scratch, err))
		return false;
	ok = store_close_clean(before->store, err);
	before->store = NULL;
	return ok && store_look_duplicate(before->scratch.dirfd, after->scratch.dirfd, err) &&
		   store_open(before->scratch.dirfd, &replay->settings, stream_id, UINT64_MAX, UINT64_MAX,
					  &before->store, err) &&
		   store_open(after->scratch.dirfd, &replay->settings, stream_id, UINT64_MAX, UINT64_MAX,
					  &after->store, err);
}

/* A unit that stands in no journal. */
static bool
extra_unit(Side *side, Unit unit, const Buffer *detail, bool counting, Error *err)
{
	const StorePosition before = store_position(side->store);
	StorePosition position;
	bool ready;
	bool consumed;

	unit.seq = before.seq + 1;
	unit.now_us = unit.now_us > side->now_us ? unit.now_us : side->now_us;
	side->now_us = unit.now_us;
	if (!scorer_begin(side->scorer, &unit, err) ||
		(detail != NULL &&
		 !scorer_part(side->scorer, PART_DETAIL, buffer_slice(detail), &ready, &consumed, err)) ||
		!end_unit(side, counting, err))
		return false;
	position = store_position(side->store);
	position.seq = before.seq;
	position.part = before.part;
	store_set_position(side->store, position);
	return true;
}

/* Every item of the table is evaluated anew, as of now. */
static bool
evaluate_all(Side *side, const char *table, Error *err)
{
	Buffer detail = {0};
	ScorerWants wants;
	bool ok;

	buffer_printf(&detail, RESCORE_START "%s", table);
	ok = extra_unit(side, (Unit){.kind = UNIT_RESCORE}, &detail, false, err);
	buffer_free(&detail);
	for (;;) /* ends: a job comes to the end of its table */
	{
		if (!ok)
			return false;
		scorer_wants(side->scorer, &wants);
		if (wants.rescore.job == 0 || strcmp(wants.rescore.relation, table) != 0)
			return true;
		ok = extra_unit(side,
						(Unit){.kind = UNIT_RESCORE, .id = wants.rescore.job, .chunk = wants.rescore.chunk},
						NULL, false, err);
	}
}

static bool
begin_side(Replay *replay, Side *side, bool after, int64_t at_us, Error *err)
{
	const Definition *definition = replay->definition;
	RuleError error;

	if (!trial_install(side->store, replay->name, definition->relation,
					   after ? buffer_slice(&definition->text) : slice_make(NULL, 0), &error, err))
		return error.line > 0 || error.message[0] != '\0' ? definition_error(err, definition->path, &error)
														  : false;
	if (!store_commit(side->store, err) || !scorer_create(side->store, PART_CHANGES, &side->scorer, err))
		return false;
	side->relation = replay->table->number;
	side->now_us = at_us;
	if (!evaluate_all(side, replay->table->table, err))
		return false;
	side->has_ranking = trial_ranking(side->scorer, replay->name, &side->begun) && side->begun.live;
	return store_commit(side->store, err);
}

/* ---- from there on: both ----------------------------------------------------------------------- */

/* Its row was written: what follows says nothing about the two definitions. */
static bool
ranking_changed(const Replay *replay, const Side *side)
{
	TrialRanking now;
	bool there = trial_ranking(side->scorer, replay->name, &now);

	if (!side->has_ranking)
		return there && now.live;
	return !there || !now.live || now.revision != side->begun.revision || now.version != side->begun.version;
}

/* What has fallen due by then, each at its time; what moves by the clock goes together within a second. */
static bool
fire_timers(Side *side, int64_t until_us, Error *err)
{
	for (;;) /* ends: each unit fires what is due, and sets what comes later */
	{
		ScorerWants wants;
		Unit unit;
		int64_t due_us;

		scorer_wants(side->scorer, &wants);
		due_us =
			wants.timer_boundary_us < wants.timer_clock_us ? wants.timer_boundary_us : wants.timer_clock_us;
		due_us = due_us < until_us - TIMERS_TOGETHER_US ? due_us + TIMERS_TOGETHER_US : until_us;
		if (!timers_unit(&wants, due_us, PART_CHANGES, &unit))
			return true;
		if (!extra_unit(side, unit, NULL, true, err))
			return false;
	}
}

/* The daemon's own timers are none of ours. */
static void
pass_over(Side *side, uint64_t seq)
{
	StorePosition position = store_position(side->store);

	position.seq = seq;
	store_set_position(side->store, position);
}

static bool
take_for_both(Replay *replay, JournalEvent event, const Unit *unit, PartType type, Slice bytes, Error *err)
{
	Side *sides[] = {&replay->before, &replay->after};

	for (int i = 0; i < 2; i++)
	{
		if (unit->kind == UNIT_TIMER && event != JOURNAL_RELATION)
		{
			if (event == JOURNAL_UNIT_END)
				pass_over(sides[i], unit->seq);
			continue;
		}
		if (event == JOURNAL_UNIT && !fire_timers(sides[i], unit->now_us, err))
			return false;
		if (!take_event(sides[i], event, unit, type, bytes, true, err))
			return false;
		sides[i]->now_us = unit->now_us;
	}
	return true;
}

static bool
run_both(Replay *replay, Error *err)
{
	WhatIfReplay *result = replay->result;
	Unit unit = {0};
	PartType type = PART_FRAME;
	Slice bytes;

	for (;;)
	{
		JournalEvent event = journal_reader_next(replay->reader, &unit, &type, &bytes, err);

		if (event == JOURNAL_ERROR)
			return false;
		if (event == JOURNAL_NOTHING ||
			(event == JOURNAL_UNIT && replay->last != 0 && unit.seq > replay->last))
			return true;
		if (!take_for_both(replay, event, &unit, type, bytes, err))
			return error_wrap(err, "unit %" PRIu64, unit.seq);
		if (event != JOURNAL_UNIT_END)
			continue;
		if (ranking_changed(replay, &replay->before) || ranking_changed(replay, &replay->after))
		{
			result->changed_in = unit.seq;
			return true;
		}
		result->to = unit.seq;
		result->to_us = unit.now_us;
		result->changes = replay->before.changes;
		result->before = replay->before.counts;
		result->after = replay->after.counts;
	}
}

bool
whatif_replay(const Config *config, const Look *look, const Definition *definition, const char *name,
			  const TrialInfo *table, uint64_t from, WhatIfReplay *result, Error *err)
{
	Replay replay = {.look = look,
					 .definition = definition,
					 .name = name,
					 .table = table,
					 .last = look->stopped.last_seq,
					 .settings = {.map_bytes_initial = (uint64_t) config->store.map_bytes,
								  .map_bytes_max = (uint64_t) config->store.map_bytes_max,
								  .snapshots = 1,
								  .hash_mask = UINT64_MAX},
					 .before = {.scratch.dirfd = -1},
					 .after = {.scratch.dirfd = -1},
					 .result = result};
	bool ok;

	*result = (WhatIfReplay){.from = from, .to = from - 1};
	log_init(LOG_ERROR, false); /* that a copy may not outlive the machine is no news */
	ok = copy_snapshot(&replay, from, err) && look_time(look, from - 1, &result->from_us, err) &&
		 bring_to(&replay, from, err) && duplicate(&replay, err) &&
		 begin_side(&replay, &replay.before, false, result->from_us, err) &&
		 begin_side(&replay, &replay.after, true, result->from_us, err);
	scratch_forget(&replay.before.scratch);
	scratch_forget(&replay.after.scratch);
	result->to_us = result->from_us;
	ok = ok && run_both(&replay, err);
	journal_reader_close(replay.reader);
	side_close(&replay.before);
	side_close(&replay.after);
	return ok || error_wrap(err, "replay from unit %" PRIu64, from);
}
