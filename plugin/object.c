/*
 * object.c -- see object.h.
 *
 * Nearly every update keeps the keys of an object, and the lengths of most of its values.  So there
 * are three ways to walk, chosen once: when only differences are wanted and the keys agree, values
 * that are described alike are compared as one run of bytes; when the keys agree, values are
 * compared in step; otherwise both sides are merged.
 */
#include "object.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

/* Keys between two looks at whether the query was cancelled. */
#define INTERRUPT_KEYS 1024

/* Bytes compared before their values are looked at: what is thrown away when a length differs. */
#define AHEAD_BYTES 1024

/* Bytes compared by one look. */
#define COMPARED_BYTES 32

/* The next key that both sides have, and whether its values are the same. */
static inline bool
both_next(ObjectWalk *walk)
{
	ObjectSide *new = &walk->new_side;

	if (new->left % INTERRUPT_KEYS == 0)
		CHECK_FOR_INTERRUPTS();
	new->left--;
	walk->key = json_next(&new->keys);
	walk->value = json_next(&new->values);
	walk->before = json_next(&walk->old_side.values);
	return json_same(&walk->value, &walk->before);
}

/* ---- values compared by runs of bytes ------------------------------------------------------- */

/* The first byte in which two words that differ do so. */
static inline uint32
differing_byte(uint64 x, uint64 y)
{
#ifdef WORDS_BIGENDIAN
	return (63 - (uint32) pg_leftmost_one_pos64(x ^ y)) / 8;
#else
	return (uint32) pg_rightmost_one_pos64(x ^ y) / 8;
#endif
}

/* The number of bytes from a and b on that agree, at most len: by blocks, then by the word in which they differ. */
static inline uint32
same_bytes(const char *a, const char *b, uint32 len)
{
	uint32 at = 0;
	uint64 x;
	uint64 y;

	while (at + COMPARED_BYTES <= len && memcmp(a + at, b + at, COMPARED_BYTES) == 0)
		at += COMPARED_BYTES;
	for (; at + sizeof(x) <= len; at += sizeof(x))
	{
		memcpy(&x, a + at, sizeof(x));
		memcpy(&y, b + at, sizeof(y));
		if (x != y)
			return at + differing_byte(x, y);
	}
	while (at < len && a[at] == b[at])
		at++;
	return at;
}

/* How much farther the next value begins on the new side. */
static inline uint32
shift(const ObjectWalk *walk)
{
	return walk->new_side.values.offset - walk->old_side.values.offset;
}

/* An entry that has an offset says the length only together with what is before it. */
static inline bool
same_entry(JEntry a, JEntry b, uint32 shift)
{
	if (likely(!JBE_HAS_OFF(a)))
		return a == b;
	return ((a ^ b) & ~JENTRY_OFFLENMASK) == 0 && JBE_OFFLENFLD(a) - JBE_OFFLENFLD(b) == shift;
}

/* The number of values to come that both sides describe alike. */
static inline uint32
count_alike(const ObjectWalk *walk)
{
	const JEntry *a = walk->new_side.values.entry;
	const JEntry *b = walk->old_side.values.entry;
	uint32 left = walk->new_side.left;
	uint32 shifted = shift(walk);
	uint32 n = 0;

	if (shifted == 0 && memcmp(a, b, left * sizeof(JEntry)) == 0)
		return left;
	while (n < left && same_entry(a[n], b[n], shifted))
		n++;
	return n;
}

/* Pass over values that are described alike, as far as their bytes agree. */
static inline void
pass_alike(ObjectWalk *walk, uint32 agreed)
{
	ObjectSide *new = &walk->new_side;
	ObjectSide *old = &walk->old_side;
	const JEntry *keys = new->keys.entry;
	const JEntry *values = new->values.entry;
	uint32 key = new->keys.offset;
	uint32 start = new->values.offset;
	uint32 end = start;
	uint32 passed;

	for (passed = 0; passed < walk->alike; passed++)
	{
		JBE_ADVANCE_OFFSET(end, values[passed]);
		if (end > agreed)
			break;
		start = end;
		JBE_ADVANCE_OFFSET(key, keys[passed]);
	}
	new->keys.entry += passed;
	new->keys.offset = key;
	new->values.entry += passed;
	new->left -= passed;
	old->values.entry += passed;
	old->values.offset += start - new->values.offset;
	new->values.offset = start;
	walk->alike -= passed;
}

/* Pass over values that are the same, as far as that is told quickly. */
static inline void
pass_over(ObjectWalk *walk)
{
	ObjectSide *new = &walk->new_side;
	const ObjectSide *old = &walk->old_side;
	const char *a = new->values.base + new->values.offset;
	const char *b = old->values.base + old->values.offset;
	uint32 new_left = walk->new_bytes - new->values.offset;
	uint32 old_left = walk->old_bytes - old->values.offset;

	if (walk->alike == 0)
		walk->alike = count_alike(walk);
	/* the fastest comparison does not say where; often that is not needed */
	if (walk->alike == new->left && new_left == old_left &&memcmp(a, b, new_left) == 0)
		new->left = 0;
	else if (walk->alike > 0)
		pass_alike(walk, new->values.offset + same_bytes(a, b, Min(Min(new_left, old_left), AHEAD_BYTES)));
}

/* The next value by itself.  How others are described alike may hold for this shift only. */
static inline bool
step_over(ObjectWalk *walk)
{
	uint32 shifted = shift(walk);
	bool same = both_next(walk);

	walk->alike = walk->alike > 0 && shift(walk) == shifted ? walk->alike - 1 : 0;
	return same;
}

/* The old side's keys are not read: they are the new side's. */
static bool
next_difference(ObjectWalk *walk)
{
	ObjectSide *new = &walk->new_side;

	while (new->left > 0)
	{
		CHECK_FOR_INTERRUPTS();
		pass_over(walk);
		if (new->left == 0)
			break;
		/* it may be the same: longer than was looked ahead, or behind other padding */
		if (!step_over(walk))
		{
			walk->step = OBJECT_CHANGED;
			return true;
		}
	}
	return false;
}

/* ---- the same keys on both sides ----------------------------------------------------------- */

static bool
next_in_step(ObjectWalk *walk)
{
	if (walk->new_side.left == 0)
		return false;
	walk->step = both_next(walk) ? OBJECT_SAME : OBJECT_CHANGED;
	return true;
}

/* ---- any keys ----------------------------------------------------------------------------- */

/* The order keys are stored in: by length, then by bytes. */
static inline int
compare_keys(const JsonItem *a, const JsonItem *b)
{
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->data, b->data, a->len);
}

static inline void
side_fetch(ObjectSide *side)
{
	if (side->has || side->left == 0)
		return;
	if (side->left % INTERRUPT_KEYS == 0)
		CHECK_FOR_INTERRUPTS();
	side->left--;
	side->key = json_next(&side->keys);
	side->value = json_next(&side->values);
	side->has = true;
}

static inline void
found(ObjectWalk *walk, ObjectStep step, const ObjectSide *named)
{
	walk->step = step;
	walk->key = named->key;
	walk->value = walk->new_side.value;
	walk->before = walk->old_side.value;
}

static bool
next_merged(ObjectWalk *walk)
{
	ObjectSide *new = &walk->new_side;
	ObjectSide *old = &walk->old_side;

	for (;;)
	{
		int order;
		bool same;

		side_fetch(new);
		side_fetch(old);
		if (!new->has && !old->has)
			return false;
		order = !new->has ? 1 : !old->has ? -1 : compare_keys(&new->key, &old->key);
		if (order <= 0)
			new->has = false;
		if (order >= 0)
			old->has = false;
		if (order != 0)
		{
			found(walk, order < 0 ? OBJECT_ADDED : OBJECT_REMOVED, order < 0 ? new : old);
			return true;
		}
		same = json_same(&new->value, &old->value);
		if (same && walk->skip_same)
			continue;
		found(walk, same ? OBJECT_SAME : OBJECT_CHANGED, new);
		return true;
	}
}

/* ---- which of them ------------------------------------------------------------------------- */

static inline void
side_begin(ObjectSide *side, const Jsonb *jsonb, uint32 count, uint32 key_bytes)
{
	const JEntry *entries = jsonb->root.children;
	const char *base = (const char *) (entries + 2 * count);

	side->keys = (JsonWalk){entries, base, 0};
	side->values = (JsonWalk){entries + count, base, key_bytes};
	side->left = count;
}

static void
side_open(ObjectSide *side, const Jsonb *jsonb)
{
	uint32 count = object_has_keys(jsonb) ? JB_ROOT_COUNT(jsonb) : 0;

	memset(side, 0, sizeof(*side));
	if (count > 0)
		side_begin(side, jsonb, count, getJsonbOffset(&jsonb->root, (int) count));
}

/* Both have keys, and the same ones: then alike is how many values are described alike, as far as that is known. */
static bool
same_keys(const Jsonb *a, const Jsonb *b, uint32 key_bytes, uint32 *alike)
{
	uint32 count = JB_ROOT_COUNT(a);
	Size entry_bytes = count * sizeof(JEntry);

	if (count != JB_ROOT_COUNT(b))
		return false;
	*alike = memcmp(a->root.children, b->root.children, 2 * entry_bytes) == 0 ? count : 0;
	return (*alike > 0 || memcmp(a->root.children, b->root.children, entry_bytes) == 0) &&
		   memcmp(a->root.children + 2 * count, b->root.children + 2 * count, key_bytes) == 0;
}

void
object_begin(ObjectWalk *walk, const Jsonb *new, const Jsonb *old, bool skip_same)
{
	uint32 key_bytes = object_has_keys(new) ? getJsonbOffset(&new->root, (int) JB_ROOT_COUNT(new)) : 0;

	walk->skip_same = skip_same;
	if (object_has_keys(new) && object_has_keys(old) && same_keys(new, old, key_bytes, &walk->alike))
	{
		walk->next = skip_same ? next_difference : next_in_step;
		side_begin(&walk->new_side, new, JB_ROOT_COUNT(new), key_bytes);
		side_begin(&walk->old_side, old, JB_ROOT_COUNT(old), key_bytes);
		walk->new_bytes = (uint32) ((const char *) new + VARSIZE(new) - walk->new_side.values.base);
		walk->old_bytes = (uint32) ((const char *) old + VARSIZE(old) - walk->old_side.values.base);
		return;
	}
	walk->next = next_merged;
	side_open(&walk->new_side, new);
	side_open(&walk->old_side, old);
}
