/*
 * object.h -- two jsonb objects, walked key by key.
 *
 * Keys come in stored order, those of both sides merged.  Two values are the same when their stored
 * bytes are; jsonb stores equal values alike, except for a number's trailing zeros, which are part of
 * what the user wrote.
 */
#ifndef WALRANK_OBJECT_H
#define WALRANK_OBJECT_H

#include "postgres.h"

#include "jsonb.h"

typedef enum ObjectStep
{
	OBJECT_SAME,
	OBJECT_CHANGED,
	OBJECT_ADDED,
	OBJECT_REMOVED,
} ObjectStep;

/* One of the objects, and how far it has been read. */
typedef struct ObjectSide
{
	JsonWalk keys;
	JsonWalk values;
	uint32 left; /* keys behind the one read last */
	bool has;	 /* merging: the key read last waits for its turn */
	JsonItem key;
	JsonItem value;
} ObjectSide;

typedef struct ObjectWalk
{
	/* what object_next found */
	ObjectStep step;
	JsonItem key;
	JsonItem value;	 /* of the new object; not for OBJECT_REMOVED */
	JsonItem before; /* of the old one; not for OBJECT_ADDED */

	/* its own */
	ObjectSide new_side;
	ObjectSide old_side;
	bool (*next)(struct ObjectWalk *walk);
	uint32 new_bytes; /* offsets where the values end */
	uint32 old_bytes;
	uint32 alike; /* entries of the next values that are the same on both sides, as far as that is known */
	bool skip_same;
} ObjectWalk;

static inline bool
object_has_keys(const Jsonb *jsonb)
{
	return jsonb != NULL && JB_ROOT_IS_OBJECT(jsonb) && JB_ROOT_COUNT(jsonb) > 0;
}

/*
 * Walk from old to new; both are readable in place for as long as the walk lasts.  One that is NULL or not an
 * object counts as one without keys.  With skip_same only differences are found.
 */
extern void object_begin(ObjectWalk *walk, const Jsonb *new, const Jsonb *old, bool skip_same);

/* False at the end. */
static inline bool
object_next(ObjectWalk *walk)
{
	return walk->next(walk);
}

#endif /* WALRANK_OBJECT_H */
