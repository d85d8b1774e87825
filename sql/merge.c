/*
 * merge.c -- walrank.merge(stored, incoming): per attribute, the newest value stays.
 *
 * Both sides are maps {"key": [value, "time"], ...}.  For every key of either side the result holds
 * the pair whose time is newer; on equal times the incoming one.  A side that lacks a key never
 * wins it, so nothing is lost by not being mentioned.
 *
 * - A pair is an array of two whose second element is a text, a number or null; anything else is a
 *   value without a time.  A missing or unreadable time counts as 1970-01-01: such a value is
 *   replaced by any dated one, and by a later undated one.
 * - [null, time] is a value like any other (a tombstone); null is that without a time.
 * - A side that is not an object has no attributes.
 * - What merge assembles is in stored form throughout, [value, "YYYY-MM-DDTHH:MM:SS.ffffffZ"].
 *   When no incoming pair wins, the stored datum itself is returned, out of line if it was: an
 *   UPDATE then does not write its TOAST again.
 * - An equal value (as jsonb's =, so 1.0 equals 1.00) with a newer time takes over the time: else a
 *   late value from between the two times would win, and the result would depend on the order of
 *   arrival.  At an equal time it changes nothing.  So on distinct times merge is commutative,
 *   and always associative and idempotent.
 *
 * would_change() asks whether any attribute's VALUE would change.  It is the predicate for
 * ON CONFLICT ... DO UPDATE ... WHERE: confirmations of what is known are then not written, at the
 * price of not remembering their time.
 *
 * One pass over the two JEntry arrays; untouched pairs are copied in runs.
 */
#include "export.h"

#include "postgres.h"

#include "fmgr.h"

#include "jsonmap.h"
#include "maptime.h"

EXPORT_FUNCTION(walrank_merge);
EXPORT_FUNCTION(walrank_would_change);

#define PAIR_HEADER (JB_FARRAY | 2)
/* header and two JEntry: where the value of a pair starts */
#define PAIR_VALUE_START (sizeof(uint32) + 2 * sizeof(JEntry))
/* The most that a value grows by when it becomes a pair: header, time, padding. */
#define PAIR_GROWTH (PAIR_VALUE_START + MAPTIME_BYTES + JSONOUT_ALIGN_BYTES)

/* An attribute as it takes part: its value, and its time in stored form. */
typedef struct MapPair
{
	JsonNode value;
	JsonNode whole;	  /* the array, when it already is in stored form; else data is NULL */
	const char *time; /* MAPTIME_BYTES, in the array or in `rewritten` */
	char rewritten[MAPTIME_BYTES];
} MapPair;

/* An incoming attribute that goes into the result. Not to be copied: pair.time may point inside. */
typedef struct Winner
{
	const char *key;
	uint32 key_bytes;
	uint32 at;	   /* index of the stored attribute it replaces, or before which it is inserted */
	bool replaces; /* false: the key is new */
	MapPair pair;
} Winner;

typedef enum
{
	PAIR_STAYS,
	PAIR_IS_CONFIRMED, /* the same value with a newer time */
	PAIR_CHANGES,
} PairVerdict;

/* ---- pairs ------------------------------------------------------------------------------- */

/* In stored form the time is the node's last bytes, whatever the value is. */
static inline bool
pair_stored_form(const JsonNode *node)
{
	const JsonbContainer *array = (const JsonbContainer *) node->data;

	return node->type == JENTRY_ISCONTAINER && array->header == PAIR_HEADER &&
		   array->children[1] == (JENTRY_ISSTRING | MAPTIME_BYTES) &&
		   maptime_valid(node->data + node->bytes - MAPTIME_BYTES);
}

/* The second element as time; false when the array is no pair at all. */
static bool
pair_read_time(const JsonNode *second, MapPair *pair)
{
	bool known = false;

	if (second->type == JENTRY_ISSTRING)
		known = maptime_from_text(second->data, second->bytes, pair->rewritten);
	else if (second->type == JENTRY_ISNUMERIC)
		known = maptime_from_numeric((Numeric) second->data, pair->rewritten);
	else if (second->type != JENTRY_ISNULL)
		return false;

	pair->time = known ? pair->rewritten : maptime_none;
	return true;
}

static inline void
pair_read(const JsonNode *node, MapPair *pair)
{
	const JsonbContainer *array = (const JsonbContainer *) node->data;

	pair->whole.data = NULL;
	if (node->type == JENTRY_ISCONTAINER && array->header == PAIR_HEADER)
	{
		const char *data = node->data + PAIR_VALUE_START;
		uint32 first_end = jsonwalk_end(array->children[0], 0);
		uint32 second_end = jsonwalk_end(array->children[1], first_end);
		JsonNode second = jsonnode_at(data, array->children[1], first_end, second_end);

		pair->value = jsonnode_at(data, array->children[0], 0, first_end);
		if (pair_stored_form(node))
		{
			pair->whole = *node;
			pair->time = second.data;
			return;
		}
		if (pair_read_time(&second, pair))
			return;
	}
	pair->value = *node;
	pair->time = maptime_none;
}

static PairVerdict
pair_compare(const MapPair *stored, const MapPair *incoming)
{
	int newer = memcmp(incoming->time, stored->time, MAPTIME_BYTES);

	if (newer < 0)
		return PAIR_STAYS;
	if (!jsonnode_equal(&stored->value, &incoming->value))
		return PAIR_CHANGES;
	return newer > 0 ? PAIR_IS_CONFIRMED : PAIR_STAYS;
}

/* Byte for byte what the server builds for [value, "time"]. */
static void
pair_write(JsonOut *out, const MapPair *pair)
{
	Size start = out->data_end;
	uint32 head[3] = {PAIR_HEADER, pair->value.type | pair->value.bytes | JENTRY_HAS_OFF,
					  JENTRY_ISSTRING | MAPTIME_BYTES};

	if (pair->whole.data != NULL)
	{
		jsonout_reserve(out, pair->whole.bytes + JSONOUT_ALIGN_BYTES);
		jsonout_align(out);
		jsonout_append(out, pair->whole.data, pair->whole.bytes);
	}
	else
	{
		jsonout_reserve(out, pair->value.bytes + PAIR_GROWTH);
		jsonout_align(out);
		jsonout_append(out, head, sizeof(head));
		jsonout_append(out, pair->value.data, pair->value.bytes);
		jsonout_append(out, pair->time, MAPTIME_BYTES);
	}
	jsonout_close(out, JENTRY_ISCONTAINER, start);
}

/* ---- two maps ---------------------------------------------------------------------------- */

/* Move on to the first stored key that is not before the incoming one; true when it is the same. */
static inline bool
find_key(JsonWalk *stored, const JsonWalk *incoming)
{
	while (!jsonwalk_done(stored))
	{
		int order = jsonwalk_compare(stored, incoming);

		if (order >= 0)
			return order == 0;
		jsonwalk_next(stored);
	}
	return false;
}

static PairVerdict
verdict(const JsonWalk *stored, const MapPair *incoming)
{
	JsonNode node = jsonwalk_value(stored);
	MapPair pair;

	pair_read(&node, &pair);
	return pair_compare(&pair, incoming);
}

/* winners: room for every incoming attribute. Returns how many win. */
static uint32
find_winners(const JsonMap *stored, const JsonMap *incoming, Winner *winners)
{
	JsonWalk at = jsonwalk_begin(stored);
	Winner *winner = winners;

	for (JsonWalk walk = jsonwalk_begin(incoming); !jsonwalk_done(&walk); jsonwalk_next(&walk))
	{
		JsonNode node = jsonwalk_value(&walk);

		pair_read(&node, &winner->pair);
		winner->replaces = find_key(&at, &walk);
		if (winner->replaces && verdict(&at, &winner->pair) == PAIR_STAYS)
			continue;
		winner->key = walk.map.data + walk.key_start;
		winner->key_bytes = walk.key_end - walk.key_start;
		winner->at = at.index;
		winner++;
	}
	return winner - winners;
}

static void
write_keys(JsonOut *out, const JsonMap *stored, const Winner *winners, uint32 count)
{
	JsonWalk walk;

	if (out->pairs == stored->count) /* no new key */
	{
		jsonout_keys_all(out, stored);
		return;
	}
	walk = jsonwalk_begin(stored);
	for (uint32 i = 0; i < count; i++)
	{
		if (winners[i].replaces)
			continue;
		jsonout_keys(out, &walk, winners[i].at);
		jsonout_key(out, winners[i].key, winners[i].key_bytes);
	}
	jsonout_keys(out, &walk, stored->count);
}

/*
 * Stored attributes as far as `until`: runs in stored form are copied, the others brought into it.
 * Inlined so that the walk stays in registers, and without its keys, which nobody reads here.
 */
static pg_attribute_always_inline void
write_stored(JsonOut *out, JsonWalk *walk, uint32 until)
{
	while (walk->index < until)
	{
		JsonRun run = jsonrun_begin(out, walk);
		JsonNode node;

		for (; walk->index < until; jsonwalk_next(walk))
		{
			node = jsonwalk_value(walk);
			if (!pair_stored_form(&node))
				break;
			jsonrun_take(&run, walk);
		}
		jsonrun_end(run, out);
		if (walk->index < until)
		{
			MapPair pair;

			pair_read(&node, &pair);
			pair_write(out, &pair);
			jsonwalk_next(walk);
		}
	}
}

static void
write_values(JsonOut *out, const JsonMap *stored, const Winner *winners, uint32 count)
{
	JsonWalk walk = jsonwalk_begin(stored);

	for (uint32 i = 0; i < count; i++)
	{
		write_stored(out, &walk, winners[i].at);
		pair_write(out, &winners[i].pair);
		if (winners[i].replaces)
			jsonwalk_next(&walk);
	}
	write_stored(out, &walk, stored->count);
}

/* NULL when no incoming attribute wins and there is a stored map to stay as it is. */
static Jsonb *
merge(const Jsonb *stored_jsonb, const Jsonb *incoming_jsonb)
{
	Winner few[32];
	Winner *winners = few;
	JsonMap stored, incoming;
	JsonOut out;
	uint64 pairs;
	uint32 count;

	jsonmap_open(&stored, stored_jsonb);
	jsonmap_open(&incoming, incoming_jsonb);
	if (incoming.count > lengthof(few))
		winners = MemoryContextAllocHuge(CurrentMemoryContext, (Size) incoming.count * sizeof(Winner));

	count = find_winners(&stored, &incoming, winners);
	if (count == 0 && stored_jsonb != NULL)
		return NULL;

	pairs = stored.count;
	for (uint32 i = 0; i < count; i++)
		pairs += winners[i].replaces ? 0 : 1;

	jsonout_begin(&out, pairs,
				  (stored_jsonb ? VARSIZE(stored_jsonb) : 0) + VARSIZE(incoming_jsonb) +
					  PAIR_GROWTH * (Size) count);
	write_keys(&out, &stored, winners, count);
	write_values(&out, &stored, winners, count);
	if (winners != few)
		pfree(winners);
	return jsonout_end(&out);
}

/* Room for a jsonb that is kept with a one-byte header and so unaligned. */
typedef union ShortJsonb
{
	Jsonb jsonb;
	char bytes[VARATT_SHORT_MAX + VARHDRSZ];
} ShortJsonb;

/* As PG_GETARG_JSONB_P, but a short one costs no allocation. */
static const Jsonb *
unpack(Datum datum, ShortJsonb *room)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);

	if (!VARATT_IS_SHORT(value))
		return (const Jsonb *) value;
	memcpy(VARDATA(room), VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	SET_VARSIZE(room, VARSIZE_ANY_EXHDR(value) + VARHDRSZ);
	return &room->jsonb;
}

Datum
walrank_merge(PG_FUNCTION_ARGS)
{
	ShortJsonb stored_room, incoming_room;
	Jsonb *result;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	result = merge(PG_ARGISNULL(0) ? NULL : unpack(PG_GETARG_DATUM(0), &stored_room),
				   unpack(PG_GETARG_DATUM(1), &incoming_room));
	if (result == NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	PG_RETURN_JSONB_P(result);
}

Datum
walrank_would_change(PG_FUNCTION_ARGS)
{
	ShortJsonb stored_room, incoming_room;
	JsonMap stored, incoming;
	JsonWalk at;

	if (PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	jsonmap_open(&stored, PG_ARGISNULL(0) ? NULL : unpack(PG_GETARG_DATUM(0), &stored_room));
	jsonmap_open(&incoming, unpack(PG_GETARG_DATUM(1), &incoming_room));

	at = jsonwalk_begin(&stored);
	for (JsonWalk walk = jsonwalk_begin(&incoming); !jsonwalk_done(&walk); jsonwalk_next(&walk))
	{
		JsonNode node = jsonwalk_value(&walk);
		MapPair pair;

		if (!find_key(&at, &walk))
			PG_RETURN_BOOL(true);
		pair_read(&node, &pair);
		if (verdict(&at, &pair) == PAIR_CHANGES)
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}
