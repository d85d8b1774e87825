/*
 * timer.c -- when an item has to be evaluated again though nothing about it changes.
 *
 * A timer is a row of the store: kind, time, item.  Three kinds, in this order:
 *
 *   at once    an intervention about the item came, changed or went; no time
 *   boundary   an intervention begins or ends: one unit per moment, so that each is told at its own
 *   clock      the item's score moves with its age; those that are due go together
 *
 * An item has one timer of each of the last two kinds at most: the earliest of what its rankings wait
 * for, which stands in its own value, so a timer is found again when it moves.  One whose item is gone
 * or waits for its row finds nothing to do.
 *
 *   offset  bytes
 *        0      1  kind
 *        1      8  time, us since 1970, big-endian
 *        9      4  number of the relation, big-endian
 *       13         key of the item, or of a long one its first bytes and a hash; the value is the whole key
 */
#include "score/step.h"

#include <xxhash.h>

#define TIMER_HEAD_BYTES 13
#define TIMER_PLAIN_BYTES 400 /* keys up to this stand in the row's key: it may have 500 bytes */
#define TIMER_KEY_BYTES_MAX (TIMER_HEAD_BYTES + TIMER_PLAIN_BYTES + 16)

static void
put_big_endian(uint8_t *out, uint64_t number, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8_t) (number >> (8 * (bytes - 1 - i)));
}

static uint64_t
get_big_endian(const uint8_t *in, int bytes)
{
	uint64_t number = 0;

	for (int i = 0; i < bytes; i++)
		number = number << 8 | in[i];
	return number;
}

static Slice
timer_key(uint8_t out[TIMER_KEY_BYTES_MAX], TimerKind kind, int64_t time_us, uint32_t relation, Slice key)
{
	size_t len = key.len <= TIMER_PLAIN_BYTES ? key.len : TIMER_PLAIN_BYTES;

	out[0] = (uint8_t) kind;
	put_big_endian(out + 1, (uint64_t) time_us, 8);
	put_big_endian(out + 9, relation, 4);
	memcpy(out + TIMER_HEAD_BYTES, key.data, len);
	if (key.len <= TIMER_PLAIN_BYTES)
		return slice_make(out, TIMER_HEAD_BYTES + len);
	{
		XXH128_canonical_t hash;

		XXH128_canonicalFromHash(&hash, XXH3_128bits(key.data, key.len));
		memcpy(out + TIMER_HEAD_BYTES + len, hash.digest, sizeof(hash.digest));
		return slice_make(out, TIMER_HEAD_BYTES + len + sizeof(hash.digest));
	}
}

/* ---- setting ------------------------------------------------------------------------------- */

static bool
timer_put(Scorer *scorer, TimerKind kind, int64_t time_us, uint32_t relation, Slice key, Error *err)
{
	uint8_t bytes[TIMER_KEY_BYTES_MAX];
	Slice row = timer_key(bytes, kind, time_us < 0 ? 0 : time_us, relation, key);

	scorer->timers_known[kind] = false;
	return store_put(scorer->store, STORE_TIMER, row, key, err) || error_wrap(err, "timer");
}

static bool
timer_drop(Scorer *scorer, TimerKind kind, int64_t time_us, uint32_t relation, Slice key, Error *err)
{
	uint8_t bytes[TIMER_KEY_BYTES_MAX];
	Slice row = timer_key(bytes, kind, time_us < 0 ? 0 : time_us, relation, key);
	bool found;

	scorer->timers_known[kind] = false;
	return store_delete(scorer->store, STORE_TIMER, row, &found, err) || error_wrap(err, "timer");
}

bool
timer_at_once(Scorer *scorer, const Relation *relation, Slice key, Error *err)
{
	return timer_put(scorer, TIMER_AT_ONCE, 0, relation->number, key, err);
}

static int64_t
earliest(const EmittedList *list, TimerKind kind)
{
	int64_t time_us = EMITTED_NEVER;

	for (int i = 0; i < list->count; i++)
	{
		const Emitted *one = &list->list[i];
		int64_t own = kind == TIMER_BOUNDARY ? one->boundary_us : one->clock_us;

		if (own < time_us)
			time_us = own;
	}
	return time_us;
}

static bool
timer_move(Scorer *scorer, TimerKind kind, uint32_t relation, Slice key, int64_t before_us, int64_t now_us,
		   Error *err)
{
	if (before_us == now_us)
		return true;
	return (before_us == EMITTED_NEVER || timer_drop(scorer, kind, before_us, relation, key, err)) &&
		   (now_us == EMITTED_NEVER || timer_put(scorer, kind, now_us, relation, key, err));
}

bool
timer_settle(Scorer *scorer, const Relation *relation, Slice key, const EmittedList *before,
			 const EmittedList *now, Error *err)
{
	for (TimerKind kind = TIMER_BOUNDARY; kind <= TIMER_CLOCK; kind++)
		if (!timer_move(scorer, kind, relation->number, key, earliest(before, kind), earliest(now, kind),
						err))
			return false;
	return true;
}

/* ---- a unit --------------------------------------------------------------------------------- */

/* The first timer of a kind, at its row's key in `row`. */
static bool
timer_first(Scorer *scorer, TimerKind kind, Buffer *row, Slice *key, int64_t *time_us, bool *found,
			Error *err)
{
	const uint8_t from = (uint8_t) kind;
	Slice at;

	if (!store_seek(scorer->store, STORE_TIMER, slice_make(&from, 1), false, &at, key, found, err))
		return error_wrap(err, "timers");
	if (!*found)
		return true;
	if (at.len <= TIMER_HEAD_BYTES)
		return error_set(err, ERR_REFUSE, "unreadable store row of a timer");
	*found = at.data[0] == kind;
	*time_us = (int64_t) get_big_endian(at.data + 1, 8);
	buffer_reset(row);
	buffer_append_slice(row, at);
	return true;
}

/* An item that is not there, or not known whole, is evaluated when it comes. */
static bool
timer_fire(Scorer *scorer, uint32_t number, Slice key, Error *err)
{
	Relation *relation = relations_by_number(&scorer->relations, number);
	Slice image;

	if (relation == NULL || relation->current == NULL || !relation_stored(relation) ||
		relation->role != ROLE_ITEMS)
		return true;
	scorer->change++;
	if (!show_load(scorer, relation, key, &image, err))
		return false;
	if (!scorer->had || !scorer->had_whole || (!scorer->same_version && image_unknown(image) >= 0))
		return true;
	scorer->counters.fired++;
	return show_again(scorer, relation, key, image, err);
}

/* Up to *left that are due by then. */
static bool
fire_kind(Scorer *scorer, TimerKind kind, int64_t until_us, uint32_t *left, Error *err)
{
	Buffer row = {0};
	Buffer key = {0};
	bool ok = true;

	while (ok && *left > 0)
	{
		int64_t time_us = 0;
		Slice item;
		bool found;

		ok = timer_first(scorer, kind, &row, &item, &time_us, &found, err);
		if (!ok || !found || time_us > until_us)
			break;
		(*left)--;
		buffer_reset(&key);
		buffer_append_slice(&key, item);
		scorer->timers_known[kind] = false;
		ok = store_delete(scorer->store, STORE_TIMER, buffer_slice(&row), &found, err) &&
			 timer_fire(scorer, (uint32_t) get_big_endian(row.data + 9, 4), buffer_slice(&key), err);
	}
	buffer_free(&row);
	buffer_free(&key);
	return ok;
}

/* What is left over when the limit is reached is still due: another unit goes on. */
bool
timer_chunk(Scorer *scorer, Error *err)
{
	const int64_t time_us = (int64_t) scorer->unit.id;
	uint32_t left = scorer->unit.limit > 0 ? scorer->unit.limit : scorer->part_changes;

	return fire_kind(scorer, TIMER_AT_ONCE, 0, &left, err) &&
		   fire_kind(scorer, TIMER_BOUNDARY, time_us, &left, err) &&
		   fire_kind(scorer, TIMER_CLOCK, time_us, &left, err);
}

/* ---- what others ask ------------------------------------------------------------------------- */

bool
timer_next(Scorer *scorer, TimerKind kind, int64_t *time_us, Error *err)
{
	Buffer row = {0};
	Slice key;
	bool found;
	bool ok = true;

	if (!scorer->timers_known[kind])
	{
		ok = timer_first(scorer, kind, &row, &key, &scorer->timers_next[kind], &found, err);
		if (ok && !found)
			scorer->timers_next[kind] = EMITTED_NEVER;
		scorer->timers_known[kind] = ok;
	}
	*time_us = scorer->timers_next[kind];
	buffer_free(&row);
	return ok;
}

/* ---- a relation that is cleared --------------------------------------------------------------- */

/* Timers are few beside the items that go with them. */
bool
timer_forget(Scorer *scorer, const Relation *relation, Error *err)
{
	Buffer from = {0};
	bool ok = true;

	for (;;)
	{
		Slice row;
		Slice key;
		bool found;

		ok = store_seek(scorer->store, STORE_TIMER, buffer_slice(&from), from.len > 0, &row, &key, &found,
						err);
		if (!ok || !found)
			break;
		buffer_reset(&from);
		buffer_append_slice(&from, row);
		if (row.len > TIMER_HEAD_BYTES && get_big_endian(row.data + 9, 4) == relation->number)
			ok = store_delete(scorer->store, STORE_TIMER, buffer_slice(&from), &found, err);
		if (!ok)
			break;
	}
	memset(scorer->timers_known, 0, sizeof(scorer->timers_known));
	buffer_free(&from);
	return ok || error_wrap(err, "timers");
}
