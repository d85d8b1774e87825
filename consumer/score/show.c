/*
 * show.c -- an item's image becomes output: the change, then a score or removal per ranking.
 *
 * Nothing is emitted that equals what was last emitted; that is kept in the item's value.  A ranking
 * is evaluated only when something it reads changed, it reads the clock, or it has not been evaluated
 * for the item under its present revision.
 *
 * An item without a score (quarantined outcome) leaves the ranking: a stale score would be a lie.
 */
#include "score/step.h"

/* ---- what is stored ----------------------------------------------------------------------- */

bool
show_load(Scorer *scorer, Relation *relation, Slice key, Slice *image, Error *err)
{
	Slice value;
	Item item;
	Version *from;

	scorer->emitted.count = 0;
	scorer->had_whole = scorer->had_told = false;
	scorer->same_version = true;
	*image = scorer->stored = slice_make(NULL, 0);
	scorer->memory = (ItemMemory){0};
	if (!store_item_get(scorer->store, relation->number, key, &value, &scorer->had, err))
		return error_wrap(err, "item of relation %u", relation->number);
	if (!scorer->had)
		return true;
	if (!item_open(value, &item) || !item_emitted(&item, &scorer->emitted))
		return error_set(err, ERR_REFUSE, "unreadable item of relation %u", relation->number);
	*image = item.image;
	scorer->memory = item.memory;
	scorer->had_whole = item.whole;
	scorer->had_told = item.told;
	if (item.fingerprint != relation->current->fingerprint)
	{
		scorer->same_version = false;
		buffer_reset(&scorer->remapped);
		buffer_append_slice(&scorer->remapped, item.image);
		if (!relations_version(&scorer->relations, item.fingerprint, &from, err))
			return false;
		if (from == NULL)
			return error_set(err, ERR_REFUSE, "the store lacks the descriptor of an item of relation %u",
							 relation->number);
		if (!image_remap(&scorer->spliced, buffer_slice(&scorer->remapped), from, relation->current))
			return error_set(err, ERR_REFUSE, "unreadable item of relation %u", relation->number);
		buffer_reset(&scorer->remapped);
		buffer_append_slice(&scorer->remapped, buffer_slice(&scorer->spliced));
		*image = buffer_slice(&scorer->remapped);
	}
	scorer->stored = *image;
	scorer->had_bytes = image->len;
	return true;
}

bool
show_put(Scorer *scorer, Relation *relation, Slice key, Slice image, bool whole, const EmittedList *list,
		 Error *err)
{
	item_pack(&scorer->value, relation->current->fingerprint, whole, scorer->had_told, image, &scorer->memory,
			  list);
	/* packed first: what was loaded is gone with the first write */
	if (!timer_settle(scorer, relation, key, &scorer->emitted, list, err))
		return false;
	if (!store_item_put(scorer->store, relation->number, key, buffer_slice(&scorer->value), err))
		return error_wrap(err, "item of relation %u", relation->number);
	if (!scorer->had)
	{
		relation->items++;
		relation->dirty = true;
	}
	return true;
}

/* ---- rankings ----------------------------------------------------------------------------- */

static bool
run_touches(const Ranking *ranking, Slice run)
{
	WireCursor cursor = wire_cursor(run);
	WireAttribute a;

	while (!wire_done(&cursor) && image_next(&cursor, &a))
		if (rules_reads(ranking->binding, a.column, a.has_key, a.key))
			return true;
	return false;
}

/* Whether the change at hand touches what the ranking reads. */
static bool
reads_changed(const Scorer *scorer, const Ranking *ranking)
{
	const Image *image = &scorer->image;

	if (!image->bits_known)
		return true;
	for (uint32_t i = 0; i < image->nchanged; i++)
	{
		WireCursor cursor = {image->bytes.data + image->changed[i], image->bytes.data + image->bytes.len};
		WireAttribute a;

		if (!image_next(&cursor, &a) || rules_reads(ranking->binding, a.column, a.has_key, a.key))
			return true;
	}
	return image->removed.len > 0 && run_touches(ranking, buffer_slice(&image->removed));
}

/* Whether readers hold a score of this item. */
static bool
is_shown(const Ranking *ranking, const Emitted *stood)
{
	return stood != NULL && stood->status == EMITTED_SCORE && stood->revision >= ranking->void_before;
}

/* What a ranking and the interventions make of the item at hand. */
typedef struct Judgement
{
	RuleStanding standing;
	bool still;			   /* what readers hold is as good */
	const char *statement; /* not NULL: there is no score, because.. */
	const char *reason;	   /* ..of this */
} Judgement;

static int64_t
later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When the score has to be looked at again because of its age; stands: what it has come to. */
static int64_t
next_by_clock(const Scorer *scorer, const Ranking *ranking, const RuleInput *input, const RuleResult *stands)
{
	int64_t next_us;

	if (!ranking->clock)
		return EMITTED_NEVER;
	next_us = rules_next_change(ranking->program, input, stands, ranking->min_change);
	if (next_us > EMITTED_NEVER - PG_EPOCH_US)
		return EMITTED_NEVER;
	return later(next_us + PG_EPOCH_US, scorer->unit.now_us + ranking->refresh_us);
}

/* What attributes were, where the ranking reads it. */
static void
remember(Scorer *scorer, const Ranking *ranking, RuleInput *input)
{
	const ItemMemory *memory = &scorer->memory;

	if (!ranking->remembers || !memory->there ||
		!rules_fill_previous(ranking->binding, slice_make(memory->all.data, memory->fresh), memory->all,
							 scorer->previous, scorer->changes))
		return;
	input->previous = scorer->previous;
	input->changes = scorer->changes;
}

void
show_input(Scorer *scorer, const Ranking *ranking, RuleInput *input)
{
	*input = (RuleInput){.values = scorer->values,
						 .now_us = scorer->unit.now_us - PG_EPOCH_US,
						 .allowed = rules_allowed(scorer->steering.active, scorer->steering.nactive)};
	remember(scorer, ranking, input);
}

/* What readers hold is as good as what the item has come to. */
static bool
stands_still(const Ranking *ranking, const Emitted *shown, const RuleStanding *standing)
{
	const RuleResult now = {.outcome = RULE_SCORE, .score = standing->score};
	RuleResult stood = now;

	if (shown == NULL || shown->tier != standing->tier || shown->pin != standing->pin)
		return false;
	stood.score = shown->score;
	return !rules_differ(&stood, &now, ranking->min_change);
}

static void
judge(Scorer *scorer, const Ranking *ranking, Slice key, const Emitted *shown, Judgement *judgement,
	  Emitted *will)
{
	const ItemSteering *steering = &scorer->steering;
	RuleInput input;
	RuleResult organic = {.outcome = RULE_QUARANTINE, .statement = "", .reason = "undecodable"};
	bool filled;

	*judgement = (Judgement){0};
	steer_apply(scorer, ranking, &will->boundary_us);
	will->clock_us = steering->clock_us;
	filled = rules_fill(ranking->binding, key, scorer->show, scorer->values);
	if (filled)
	{
		show_input(scorer, ranking, &input);
		rules_evaluate(ranking->program, &input, &organic);
	}
	if (!rules_intervene(ranking->program, steering->active, steering->nactive, &organic,
						 &judgement->standing, &judgement->reason))
		judgement->statement = "intervention";
	else if (organic.outcome == RULE_QUARANTINE && !judgement->standing.shown && !judgement->standing.blocked)
	{
		judgement->statement = organic.statement;
		judgement->reason = organic.reason;
	}
	else
		judgement->still = judgement->standing.shown && stands_still(ranking, shown, &judgement->standing);
	if (!filled)
		return;
	/* small moves add up from what readers hold */
	if (judgement->still && steering->nactive == 0)
		organic.score = shown->score;
	will->clock_us = earlier(will->clock_us, next_by_clock(scorer, ranking, &input, &organic));
}

/* One ranking, evaluated: what is told, and what will stand. */
static Emitted
show_result(Scorer *scorer, Ranking *ranking, Slice key, const Emitted *stood, bool news)
{
	Emitted will = {.ranking = ranking->number,
					.revision = ranking->revision,
					.evaluated_us = ranking->clock ? scorer->unit.now_us : 0};
	const Emitted *shown = is_shown(ranking, stood) ? stood : NULL;
	Judgement judgement;

	judge(scorer, ranking, key, shown, &judgement, &will);
	if (judgement.statement == NULL && judgement.standing.shown)
	{
		will.status = EMITTED_SCORE;
		will.score = judgement.still ? shown->score : judgement.standing.score;
		will.tier = judgement.standing.tier;
		will.pin = judgement.standing.pin;
		if (!judgement.still)
			emit_score(scorer, ranking, key, &will);
		return will;
	}
	if (judgement.statement != NULL)
	{
		will.status = EMITTED_QUARANTINE;
		if (news || stood == NULL || stood->status != EMITTED_QUARANTINE)
			emit_quarantine(scorer, ranking->relation, key, slice_string(judgement.statement),
							slice_string(judgement.reason), scorer->show);
	}
	if (shown != NULL)
		emit_remove(scorer, ranking, key);
	return will;
}

static bool
emitted_equal(const Emitted *stood, const Emitted *will)
{
	return stood != NULL && stood->revision == will->revision && stood->status == will->status &&
		   stood->score == will->score && stood->tier == will->tier && stood->pin == will->pin &&
		   stood->clock_us == will->clock_us && stood->boundary_us == will->boundary_us &&
		   stood->evaluated_us == will->evaluated_us;
}

static const Emitted *
find_emitted(const EmittedList *list, int *at, uint32_t ranking)
{
	while (*at < list->count && list->list[*at].ranking < ranking)
		(*at)++;
	return *at < list->count && list->list[*at].ranking == ranking ? &list->list[*at] : NULL;
}

/* Why rankings are evaluated. */
typedef enum
{
	BECAUSE_CHANGED, /* the item has */
	BECAUSE_STALE,	 /* those not evaluated under their present revision */
	BECAUSE_TIME,	 /* all of them */
} Because;

/*
 * Every live ranking of the relation, in the order of numbers.  *modified: what stands is no longer what
 * stood.  False: malformed.
 */
static bool
show_rankings(Scorer *scorer, Relation *relation, Slice key, Slice image, Because because, bool *modified)
{
	/* conditions of interventions read what they like */
	const bool all =
		because == BECAUSE_TIME || (because == BECAUSE_CHANGED && relation->conditions.count > 0);
	int at = 0;

	scorer->show = image;
	scorer->next.count = 0;
	*modified = false;
	if (!steer_collect(scorer, relation, key, image))
		return malformed(scorer);
	for (int i = 0; i < relation->nrankings; i++)
	{
		Ranking *ranking = relation->rankings[i];
		const Emitted *stood = find_emitted(&scorer->emitted, &at, ranking->number);
		bool fresh = stood != NULL && stood->revision == ranking->revision;
		/* which change was the last one is news to those that ask */
		bool news =
			!fresh || (because == BECAUSE_CHANGED && (ranking->remembers || reads_changed(scorer, ranking)));
		Emitted will;

		if (scorer->rankings.ending > 0)
			emit_endings(scorer, ranking->number);
		if (ranking->binding == NULL)
			continue;
		/* this change has told its end elsewhere: its number is taken, the item's turn comes in a job */
		if (ranking->ending)
		{
			scorer->postponed = true;
			continue;
		}
		if (!news && !all && (because == BECAUSE_STALE || !ranking->clock))
		{
			emitted_append(&scorer->next, *stood);
			continue;
		}
		will = show_result(scorer, ranking, key, stood, news);
		*modified |= !emitted_equal(stood, &will);
		emitted_append(&scorer->next, will);
	}
	*modified |= scorer->next.count != scorer->emitted.count;
	return true;
}

bool
show_fresh(const Scorer *scorer, const Relation *relation)
{
	int at = 0;

	for (int i = 0; i < relation->nrankings; i++)
	{
		const Ranking *ranking = relation->rankings[i];
		const Emitted *stood = find_emitted(&scorer->emitted, &at, ranking->number);

		if (stood == NULL || stood->revision != ranking->revision)
			return false;
	}
	return true;
}

bool
show_stale(Scorer *scorer, Relation *relation, Slice key, Slice image, bool *modified, Error *err)
{
	if (!show_rankings(scorer, relation, key, image, BECAUSE_STALE, modified))
		return false;
	return !*modified || show_put(scorer, relation, key, image, true, &scorer->next, err);
}

bool
show_again(Scorer *scorer, Relation *relation, Slice key, Slice image, Error *err)
{
	bool modified;

	if (!show_rankings(scorer, relation, key, image, BECAUSE_TIME, &modified))
		return false;
	return !modified || show_put(scorer, relation, key, image, true, &scorer->next, err);
}

/* ---- attributes that are not what they should be ------------------------------------------- */

/* Why a value in the map column is none as we write them; NULL when it is fine. */
static const char *
map_problem(const WireAttribute *a)
{
	WireValue value;
	Slice time;
	int64_t time_us;
	bool empty;

	if (a->has_key)
		return rules_map_time(a->value, &time) && !rules_parse_time(time, &time_us) ? "time does not parse"
																					: NULL;
	if (!wire_value(a->value, &value))
		return NULL;
	empty = value.kind == VALUE_JSON && slice_equal(value.bytes, slice_string("{}"));
	return value.kind == VALUE_NULL || empty ? NULL : "map is not an object";
}

static void
quarantine_attribute(Scorer *scorer, Relation *relation, Slice key, const WireAttribute *a, int map)
{
	const WireColumn *column = &relation->current->columns[a->column];
	const char *reason = NULL;

	if (a->state == STATE_OVERSIZED)
		reason = "oversized";
	else if ((int) a->column == map)
		reason = map_problem(a);
	if (reason != NULL)
		emit_quarantine(scorer, relation, key, a->has_key ? a->key : column->name, slice_string(reason),
						a->value);
}

/* Only what changed: a lasting defect is told once. */
static void
quarantine_attributes(Scorer *scorer, Relation *relation, Slice key)
{
	const Image *image = &scorer->image;
	int map = relation->map[0] != '\0' ? version_column(relation->current, slice_string(relation->map)) : -1;

	for (uint32_t i = 0; i < image->nchanged; i++)
	{
		WireCursor cursor = {image->bytes.data + image->changed[i], image->bytes.data + image->bytes.len};
		WireAttribute a;

		if (image_next(&cursor, &a))
			quarantine_attribute(scorer, relation, key, &a, map);
	}
}

/* ---- the item ----------------------------------------------------------------------------- */

/* Takes back what readers hold of the item at hand. */
static void
withdraw(Scorer *scorer, Relation *relation, Slice key)
{
	int at = 0;

	for (int i = 0; i < relation->nrankings; i++)
	{
		Ranking *ranking = relation->rankings[i];
		const Emitted *stood = find_emitted(&scorer->emitted, &at, ranking->number);

		if (scorer->rankings.ending > 0)
			emit_endings(scorer, ranking->number);
		if (is_shown(ranking, stood))
			emit_remove(scorer, ranking, key);
	}
}

void
show_repeat(Scorer *scorer, Relation *relation, Slice key, Slice image)
{
	int at = 0;

	emit_repeat(scorer, relation, key, image);
	for (int i = 0; i < relation->nrankings; i++)
	{
		Ranking *ranking = relation->rankings[i];
		const Emitted *stood = find_emitted(&scorer->emitted, &at, ranking->number);

		if (is_shown(ranking, stood))
			emit_score(scorer, ranking, key, stood);
	}
}

/* Not all of it is known: it waits for its row, or is quarantined when none is coming. */
static bool
wait_item(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	const EmittedList nothing = {0};
	Slice image = buffer_slice(&scorer->image.bytes);

	withdraw(scorer, relation, key);
	if (!relation->touching || relation->fill == FILL_DONE)
	{
		emit_quarantine(scorer, relation, key, relation->current->columns[scorer->image.unknown].name,
						slice_string("incomplete"), image);
		scorer->counters.incomplete++;
	}
	return show_put(scorer, relation, key, image, false, &nothing, err);
}

static bool
image_same(const Scorer *scorer)
{
	const Image *image = &scorer->image;

	return scorer->had_whole && scorer->same_version && image->bits_known && image->nchanged == 0 &&
		   image->removed.len == 0 && image->bytes.len == scorer->had_bytes;
}

bool
show_item(Scorer *scorer, Relation *relation, Slice key, WireOp op, Error *err)
{
	Slice image = buffer_slice(&scorer->image.bytes);
	bool same = image_same(scorer);
	bool modified;

	if (scorer->image.unknown >= 0)
		return wait_item(scorer, relation, key, err);
	if (relation->role != ROLE_ITEMS)
	{
		const EmittedList nothing = {0};

		if (same)
			return true;
		return config_row(scorer, relation, key, err) &&
			   show_put(scorer, relation, key, image, true, &nothing, err);
	}
	emit_change(scorer, relation, key, op);
	quarantine_attributes(scorer, relation, key);
	scorer->postponed = false;
	if (!memory_make(scorer, relation, op == OP_UPDATE))
		return malformed(scorer);
	if (!show_rankings(scorer, relation, key, image, BECAUSE_CHANGED, &modified))
		return false;
	if ((!same || modified) && !show_put(scorer, relation, key, image, true, &scorer->next, err))
		return false;
	return !scorer->postponed || rescore_want(scorer, relation, err);
}

bool
show_delete(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	const EmittedList nothing = {0};
	bool found;

	if (relation->role == ROLE_ITEMS)
		emit_change(scorer, relation, key, OP_DELETE);
	else if (scorer->had_whole && !config_row_gone(scorer, relation, key, err))
		return false;
	withdraw(scorer, relation, key);
	if (!timer_settle(scorer, relation, key, &scorer->emitted, &nothing, err))
		return false;
	if (!store_item_delete(scorer->store, relation->number, key, &found, err))
		return error_wrap(err, "item of relation %u", relation->number);
	if (found)
	{
		relation->items--;
		relation->dirty = true;
	}
	return true;
}
