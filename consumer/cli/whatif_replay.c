/*
 * whatif_replay.c -- see whatif_replay.h.
 *
 *	copy of a snapshot --> scorer, up to `from` --> twice --> prime each --> two scorers, counting
 */
#include "cli/whatif_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/whatif.h"
#include "score/item.h"
#include "score/scorer_look.h"
#include "score/store_look.h"

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
	ScorerRanking begun; /* the ranking when counting began */
	bool has_ranking;
	uint32_t relation;
	uint64_t changes;
	ReplayCounts counts;
} Side;

typedef struct Replay
{
	const Look *look;
	const Definition *definition;
	const char *name;
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

/* The ranking's row in the store, as if the definition had been in force all along. */
static bool
install(Replay *replay, const WhatIf *whatif, Error *err)
{
	Relations relations = {0};
	Rankings rankings = {0};
	RankingProgram program = {0};
	RankingBinding binding = {0};
	Slice text = buffer_slice(&replay->definition->text);
	Slice name = slice_string(replay->name);
	const WireRelation *head = &whatif->relation->current->head;
	RuleError error;
	Ranking *ranking;
	bool ok = relations_load(&relations, replay->after.store, err) &&
			  rankings_load(&rankings, replay->after.store, &relations, err);

	if (ok)
	{
		Relation *relation = relations_by_number(&relations, whatif->relation->number);

		ranking = rankings_by_name(&rankings, name);
		if (ranking == NULL)
			ranking = rankings_add(&rankings, name);
		ok = ranking_compile(text, &program, &error) &&
			 ranking_bind(program.program, relation, &binding, &error);
		if (ok)
		{
			ranking_set_definition(ranking, head->schema, head->table, text);
			ranking_set_program(ranking, program);
			ranking_set_binding(ranking, relation, binding);
			ranking->enabled = true;
			ranking->revision += ranking->revision == 0;
			ok = rankings_save(&rankings, err);
		}
		else
			definition_error(err, replay->definition->path, &error);
	}
	rankings_free(&rankings);
	relations_free(&relations);
	return ok;
}

/* What stands for the ranking in an item's list; its place if it has none yet. */
static void
set_emitted(EmittedList *list, Emitted emitted)
{
	int at = 0;

	while (at < list->count && list->list[at].ranking < emitted.ranking)
		at++;
	if (at < list->count && list->list[at].ranking == emitted.ranking)
	{
		list->list[at] = emitted;
		return;
	}
	emitted_append(list, emitted);
	memmove(&list->list[at + 1], &list->list[at], (size_t) (list->count - 1 - at) * sizeof(Emitted));
	list->list[at] = emitted;
}

static bool
prime_item(Side *side, WhatIf *whatif, const WhatIfSide *rules, Slice key, Slice value, Buffer *packed,
		   EmittedList *list, Error *err)
{
	Emitted emitted = {.ranking = side->begun.number, .revision = side->begun.revision};
	RuleResult result;
	Slice image;
	bool known;
	Item item;

	if (!whatif_image(whatif, value, &image, &known, err))
		return false;
	if (!known)
		return true;
	if (!item_open(value, &item) || !item_emitted(&item, list))
		return error_set(err, ERR_REFUSE, "unreadable item");
	result = whatif_evaluate(rules, key, image, whatif->at_us);
	emitted.status = result.outcome == RULE_SCORE		 ? EMITTED_SCORE
					 : result.outcome == RULE_QUARANTINE ? EMITTED_QUARANTINE
														 : EMITTED_NOTHING;
	emitted.score = result.score;
	set_emitted(list, emitted);
	item_pack(packed, item.fingerprint, item.whole, item.told, item.image, list);
	return store_item_put(side->store, whatif->relation->number, key, buffer_slice(packed), err) &&
		   (store_pending(side->store) < UNCOMMITTED_BYTES || store_commit(side->store, err));
}

/* Every item as if it had just been evaluated. */
static bool
prime(Side *side, WhatIf *whatif, const WhatIfSide *rules, int64_t at_us, Error *err)
{
	StoreCursor cursor = {0};
	EmittedList list = {0};
	Buffer packed = {0};
	Buffer copy = {0};
	bool done = rules->program == NULL || !side->has_ranking;
	bool ok = true;

	whatif->at_us = at_us;
	while (ok && !done)
	{
		Slice key;
		Slice value;

		ok = store_item_next(side->store, whatif->relation->number, &cursor, &key, &value, &done, err);
		if (!ok || done)
			break;
		buffer_reset(&copy); /* writing may move what was read */
		buffer_append_slice(&copy, key);
		buffer_append_slice(&copy, value);
		ok = prime_item(side, whatif, rules, slice_make(copy.data, key.len),
						slice_make(copy.data + key.len, value.len), &packed, &list, err);
	}
	free(list.list);
	buffer_free(&packed);
	buffer_free(&copy);
	return ok && store_commit(side->store, err);
}

/* A scorer looks the ranking up, so that numbers and revisions are the scorer's own. */
static bool
begin_side(Replay *replay, Side *side, bool after, int64_t at_us, Error *err)
{
	WhatIf whatif;
	bool ok = whatif_open(&whatif, side->store, replay->definition, replay->name, err);

	if (ok && after)
		ok = install(replay, &whatif, err);
	if (ok)
		side->relation = whatif.relation->number;
	ok = ok && scorer_create(side->store, PART_CHANGES, &side->scorer, err);
	if (ok)
		side->has_ranking = scorer_look_ranking(side->scorer, replay->name, &side->begun) && side->begun.live;
	ok = ok && prime(side, &whatif, after ? &whatif.after : &whatif.before, at_us, err);
	whatif_close(&whatif);
	return ok;
}

/* ---- from there on: both ----------------------------------------------------------------------- */

/* Its row was written: what follows says nothing about the two definitions. */
static bool
ranking_changed(const Replay *replay, const Side *side)
{
	ScorerRanking now;
	bool there = scorer_look_ranking(side->scorer, replay->name, &now);

	if (!side->has_ranking)
		return there && now.live;
	return !there || !now.live || now.revision != side->begun.revision || now.version != side->begun.version;
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
		if (!take_event(&replay->before, event, &unit, type, bytes, true, err) ||
			!take_event(&replay->after, event, &unit, type, bytes, true, err))
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
			  uint64_t from, WhatIfReplay *result, Error *err)
{
	Replay replay = {.look = look,
					 .definition = definition,
					 .name = name,
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
