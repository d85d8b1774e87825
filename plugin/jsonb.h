/*
 * jsonb.h -- jsonb read where it lies, without iterators.
 *
 * An object's keys and values are runs of JEntry words before the data; walking both runs with an
 * offset each costs a few instructions per key.
 */
#ifndef WALRANK_JSONB_H
#define WALRANK_JSONB_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "value.h"

/* One child of a container: its type bits and its bytes without alignment padding. */
typedef struct JsonItem
{
	uint32 type; /* JENTRY_ISxxx */
	const char *data;
	uint32 len;
} JsonItem;

/* The children from some index on. */
typedef struct JsonWalk
{
	const JEntry *entry;
	const char *base;
	uint32 offset;
} JsonWalk;

static inline JsonWalk
json_walk(const JsonbContainer *container, uint32 children, uint32 first)
{
	return (JsonWalk){container->children + first, (const char *) (container->children + children),
					  first == 0 ? 0 : getJsonbOffset(container, (int) first)};
}

static inline JsonItem
json_next(JsonWalk *walk)
{
	JEntry entry = *walk->entry++;
	uint32 start = walk->offset;
	JsonItem item;

	JBE_ADVANCE_OFFSET(walk->offset, entry);
	item.type = entry & JENTRY_TYPEMASK;
	/* numbers and containers are aligned, and the padding belongs to the entry */
	if (item.type == JENTRY_ISNUMERIC || item.type == JENTRY_ISCONTAINER)
		start = INTALIGN(start);
	item.data = walk->base + start;
	item.len = walk->offset - start;
	return item;
}

static inline bool
json_same(const JsonItem *a, const JsonItem *b)
{
	return a->type == b->type && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/*
 * Write the body of a Value for one item.  Arrays of scalars become lists unless flat is set, which
 * is for items that are in a list themselves.
 */
extern bool json_write(ValueWriter *writer, const JsonItem *item, bool flat);

/* The same for a whole jsonb. */
extern bool json_write_root(ValueWriter *writer, const Jsonb *jsonb, bool flat);

#endif /* WALRANK_JSONB_H */
