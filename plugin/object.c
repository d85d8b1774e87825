/*
 * object.c -- see object.h.
 *
 * Nearly every update keeps the keys of an object, and most keep the lengths of its values as well.
 * So there are three ways to walk, chosen once: when all offsets agree, the values are one run of
 * bytes each, of which the first difference is sought and its key found; when only the keys agree,
 * values are compared in step; otherwise both sides are merged.
 */
#include "object.h"

#include "miscadmin.h"

/* Keys between two looks at whether the query was cancelled. */
#define INTERRUPT_KEYS 1024

static inline void
side_next(ObjectSide *side)
{
	if (side->left % INTERRUPT_KEYS == 0)
		CHECK_FOR_INTERRUPTS();
	side->key = json_next(&side->keys);
	side->value = json_next(&side->values);
	side->left--;
}

static inline void
found(ObjectWalk *walk, ObjectStep step, const ObjectSide *named)
{
	walk->step = step;
	walk->key = named->key;
	walk->value = walk->new_side.value;
	walk->before = walk->old_side.value;
}

/* ---- the same offsets on both sides ------------------------------------------------------- */

/* The offset of the first byte from at on in which a and b differ; end if none does. */
static uint32
first_difference(const char *a, const char *b, uint32 at, uint32 end)
{
	uint64 x;
	uint64 y;

	for (; at + sizeof(x) <= end; at += sizeof(x))
	{
		memcpy(&x, a + at, sizeof(x));
		memcpy(&y, b + at, sizeof(y));
		if (x != y)
			break;
	}
	while (at < end && a[at] == b[at])
		at++;
	return at;
}

/* The old side's keys are not read: they are the new side's. */
static bool
next_by_bytes(ObjectWalk *walk)
{
	ObjectSide *new = &walk->new_side;
	ObjectSide *old = &walk->old_side;

	while (new->left > 0)
	{
		uint32 at =
			first_difference(new->values.base, old->values.base, new->values.offset, walk->values_bytes);

		if (at == walk->values_bytes)
			break;
		do
			side_next(new);
		while (new->values.offset <= at &&new->left > 0);
		old->value = (JsonItem){new->value.type, old->values.base + (new->value.data - new->values.base),
								new->value.len};
		/* not so if it was the padding before a value that differed */
		if (memcmp(new->value.data, old->value.data, new->value.len) == 0)
			continue;
		found(walk, OBJECT_CHANGED, new);
		return true;
	}
	return false;
}

/* ---- the same keys on both sides ----------------------------------------------------------- */

static bool
next_in_step(ObjectWalk *walk)
{
	ObjectSide *new = &walk->new_side;
	ObjectSide *old = &walk->old_side;

	while (new->left > 0)
	{
		bool same;

		side_next(new);
		old->value = json_next(&old->values);
		same = json_same(&new->value, &old->value);
		if (same && walk->skip_same)
			continue;
		found(walk, same ? OBJECT_SAME : OBJECT_CHANGED, new);
		return true;
	}
	return false;
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
	side_next(side);
	side->has = true;
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

static ObjectSide
side_of(const Jsonb *jsonb)
{
	ObjectSide side = {0};

	if (!object_has_keys(jsonb))
		return side;
	side.left = JB_ROOT_COUNT(jsonb);
	side.keys = json_walk(&jsonb->root, 2 * side.left, 0);
	side.values = json_walk(&jsonb->root, 2 * side.left, side.left);
	return side;
}

static bool
same_keys(const Jsonb *a, const Jsonb *b, uint32 key_bytes)
{
	uint32 count = JB_ROOT_COUNT(a);

	return count == JB_ROOT_COUNT(b) &&
		   memcmp(a->root.children, b->root.children, count * sizeof(JEntry)) == 0 &&
		   memcmp(a->root.children + 2 * count, b->root.children + 2 * count, key_bytes) == 0;
}

static bool
same_lengths(const Jsonb *a, const Jsonb *b)
{
	uint32 count = JB_ROOT_COUNT(a);

	return VARSIZE(a) == VARSIZE(b) &&
		   memcmp(a->root.children + count, b->root.children + count, count * sizeof(JEntry)) == 0;
}

void
object_begin(ObjectWalk *walk, const Jsonb *new, const Jsonb *old, bool skip_same)
{
	walk->new_side = side_of(new);
	walk->old_side = side_of(old);
	walk->skip_same = skip_same;
	walk->next = next_merged;
	if (walk->new_side.left == 0 || walk->old_side.left == 0 ||
		!same_keys(new, old, walk->new_side.values.offset))
		return;
	walk->next = next_in_step;
	if (!skip_same || !same_lengths(new, old))
		return;
	walk->next = next_by_bytes;
	walk->values_bytes = (uint32) ((const char *) new + VARSIZE(new) - walk->new_side.values.base);
}
