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
 * Deeper values are not sent.  The server stores some thousands of levels, depending on its stack;
 * common JSON readers take 500 to 10,000, and nobody means more than a dozen.
 */
#define JSON_DEPTH_MAX 1000

/* JSON text being written as the body of a Value. */
typedef struct JsonText
{
	ValueWriter *writer;
	StringInfo out;
	EncodeMark mark;
	int limit; /* of out; all the verbs below return false when it is passed */
	int depth;
	bool invalid; /* some of it is not UTF-8 */
} JsonText;

extern JsonText json_text_begin(ValueWriter *writer, size_t guess);
extern bool json_text_end(JsonText *text);

/* A string in quotes, UTF-8 if valid is set. */
extern bool json_text_string(JsonText *text, Slice string, bool valid);

/* JSON that is text already, in the database's encoding. */
extern bool json_text_json(JsonText *text, Slice json);

extern bool json_text_root(JsonText *text, const Jsonb *jsonb);

/*
 * Write the body of a Value for one item.  Arrays of scalars become lists unless flat is set, which
 * is for items that are in a list themselves.
 */
extern bool json_write(ValueWriter *writer, const JsonItem *item, bool flat);

/*
 * The same for an item of up to JSON_SMALL_BYTES in a database in UTF-8, where there is room for JSON_SMALL_ROOM.  The
 * end, or NULL: it is none that can be written so.
 */
#define JSON_SMALL_BYTES 64
#define JSON_SMALL_ROOM (JSON_SMALL_BYTES + 16)
extern uint8 *json_put_small(uint8 *at, const JsonItem *item);

/* The same for a whole jsonb. */
extern bool json_write_root(ValueWriter *writer, const Jsonb *jsonb, bool flat);

#endif /* WALRANK_JSONB_H */
