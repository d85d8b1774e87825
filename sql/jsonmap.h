/*
 * jsonmap.h -- a jsonb object read and written where it lies.
 *
 * The keys of an object come in stored order (length, then bytes) with the bytes of their values,
 * and an object is assembled from such bytes: nothing is parsed, sorted or turned into a tree.  What
 * is assembled is byte for byte what the server would have built (utils/adt/jsonb_util.c), so it is
 * valid, and equal to and hashed like any other jsonb.
 *
 * jsonb aligns numbers and containers to four bytes and counts the padding to the node behind it.
 * The node itself never depends on where it stands, so nodes are copied without their padding and
 * get the padding of their new place.
 */
#ifndef WALRANK_JSONMAP_H
#define WALRANK_JSONMAP_H

#include "postgres.h"
#include "utils/jsonb.h"

/* An object, or the empty one when there is none: borrowed bytes. */
typedef struct JsonMap
{
	uint32 count;
	uint32 values_start;   /* offset of the first value in data */
	const JEntry *entries; /* of the keys, then of the values */
	const char *data;
} JsonMap;

/*
 * One pair. Offsets are into data; the value's start is that of its padding.  The map is here by value:
 * through a pointer it would be read again after every byte that is written somewhere.
 */
typedef struct JsonWalk
{
	JsonMap map;
	uint32 index; /* == map.count: at the end, and the offsets are where a next pair would start */
	uint32 key_start, key_end;
	uint32 value_start, value_end;
} JsonWalk;

/* A value without its padding. type is JENTRY_ISxxx. */
typedef struct JsonNode
{
	uint32 type;
	uint32 bytes;
	const char *data;
} JsonNode;

/* An object being written: first all keys in order, then all values in the same order. */
typedef struct JsonOut
{
	char *buffer;
	Size capacity;
	Size data_start; /* of the key and value bytes, in buffer */
	Size data_end;	 /* relative to data_start */
	uint32 pairs;
	uint32 next; /* JEntry to be written */
} JsonOut;

/* jsonb may be NULL; anything but an object is read as the empty object. */
extern void jsonmap_open(JsonMap *map, const Jsonb *jsonb);

static inline uint32
jsonwalk_end(JEntry entry, uint32 start)
{
	return JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) : start + JBE_OFFLENFLD(entry);
}

static inline void
jsonwalk_look(JsonWalk *walk)
{
	const JEntry *entry = walk->map.entries + walk->index;

	if (walk->index >= walk->map.count)
		return;
	walk->key_end = jsonwalk_end(entry[0], walk->key_start);
	walk->value_end = jsonwalk_end(entry[walk->map.count], walk->value_start);
}

static inline JsonWalk
jsonwalk_begin(const JsonMap *map)
{
	JsonWalk walk = {.map = *map, .value_start = map->values_start, .value_end = map->values_start};

	jsonwalk_look(&walk);
	return walk;
}

static inline bool
jsonwalk_done(const JsonWalk *walk)
{
	return walk->index >= walk->map.count;
}

static inline void
jsonwalk_next(JsonWalk *walk)
{
	walk->index++;
	walk->key_start = walk->key_end;
	walk->value_start = walk->value_end;
	jsonwalk_look(walk);
}

/* Order of keys: length first, as jsonb stores them. */
static inline int
jsonwalk_compare(const JsonWalk *a, const JsonWalk *b)
{
	uint32 len = a->key_end - a->key_start;
	uint32 len_b = b->key_end - b->key_start;

	if (len != len_b)
		return len < len_b ? -1 : 1;
	return memcmp(a->map.data + a->key_start, b->map.data + b->key_start, len);
}

static inline bool
jsonnode_aligned(uint32 type)
{
	return type == JENTRY_ISNUMERIC || type == JENTRY_ISCONTAINER;
}

/* The node whose bytes, padding included, are data[start .. end). */
static inline JsonNode
jsonnode_at(const char *data, JEntry entry, uint32 start, uint32 end)
{
	uint32 type = entry & JENTRY_TYPEMASK;
	uint32 from = jsonnode_aligned(type) ? INTALIGN(start) : start;

	return (JsonNode){type, end - from, data + from};
}

static inline JsonNode
jsonwalk_value(const JsonWalk *walk)
{
	const JsonMap *map = &walk->map;

	return jsonnode_at(map->data, map->entries[map->count + walk->index], walk->value_start, walk->value_end);
}

/* As SQL's = for jsonb: numbers by value, 1.0 = 1.00. */
extern bool jsonnode_equal(const JsonNode *a, const JsonNode *b);

/* bytes: what the caller expects to write; more is found when needed. */
extern void jsonout_begin(JsonOut *out, uint64 pairs, Size bytes);

/* More room, and an error while it is still a jsonb error when it gets too large. */
extern void jsonout_grow(JsonOut *out, Size bytes);

/* Room for so many bytes more. */
static inline void
jsonout_reserve(JsonOut *out, Size bytes)
{
	if (unlikely(out->data_start + out->data_end + bytes > out->capacity ||
				 out->data_end + bytes > JENTRY_OFFLENMASK))
		jsonout_grow(out, bytes);
}

static inline char *
jsonout_tail(JsonOut *out)
{
	return out->buffer + out->data_start + out->data_end;
}

/* After jsonout_reserve() only. */
static inline void
jsonout_append(JsonOut *out, const void *bytes, Size len)
{
	memcpy(jsonout_tail(out), bytes, len);
	out->data_end += len;
}

/* Every JB_OFFSET_STRIDE'th JEntry says where the node ends, the others how long it is. */
static inline JEntry
jsonout_entry(uint32 at, uint32 type, Size start, Size end)
{
	return type | (at % JB_OFFSET_STRIDE == 0 ? (uint32) end | JENTRY_HAS_OFF : (uint32) (end - start));
}

static inline JEntry *
jsonout_entries(const JsonOut *out)
{
	return ((Jsonb *) out->buffer)->root.children;
}

/* A node that started at data_end == start ends here. */
static inline void
jsonout_close(JsonOut *out, uint32 type, Size start)
{
	jsonout_entries(out)[out->next] = jsonout_entry(out->next, type, start, out->data_end);
	out->next++;
}

/* What jsonout_align() may write. */
#define JSONOUT_ALIGN_BYTES 4

/* Zeros up to the next multiple of four; without a branch, so it may write more than it counts. */
static inline void
jsonout_align(JsonOut *out)
{
	memset(jsonout_tail(out), 0, JSONOUT_ALIGN_BYTES);
	out->data_end = INTALIGN(out->data_end);
}

extern void jsonout_key(JsonOut *out, const char *key, uint32 bytes);

/* Copy the keys that the walk stands at and those after it, as far as pair `until`. */
extern void jsonout_keys(JsonOut *out, JsonWalk *walk, uint32 until);

/* The same from the first key to the last, into an object that has just been begun. */
extern void jsonout_keys_all(JsonOut *out, const JsonMap *map);

/*
 * A run of neighbouring container values on their way from a map: the JEntry of each is written as
 * it is taken, the bytes of all at the end.  Only the first one's padding changes: it then stands
 * on a multiple of four as it did before, and so does everything behind it.
 */
typedef struct JsonRun
{
	const char *data;
	uint32 from;	 /* offset of the first container in data */
	Size to;		 /* its offset in out */
	Size taken;		 /* end in out of what has been taken */
	JEntry *entries; /* of out, and the next to be written */
	uint32 next;
} JsonRun;

static inline JsonRun
jsonrun_begin(const JsonOut *out, const JsonWalk *walk)
{
	return (JsonRun){
		.data = walk->map.data,
		.from = INTALIGN(walk->value_start),
		.to = INTALIGN(out->data_end),
		.taken = out->data_end,
		.entries = jsonout_entries(out),
		.next = out->next,
	};
}

static inline void
jsonrun_take(JsonRun *run, const JsonWalk *walk)
{
	Size end = run->to + walk->value_end - run->from;

	run->entries[run->next] = jsonout_entry(run->next, JENTRY_ISCONTAINER, run->taken, end);
	run->next++;
	run->taken = end;
}

extern void jsonrun_end(JsonRun run, JsonOut *out);

extern Jsonb *jsonout_end(JsonOut *out);

#endif /* WALRANK_JSONMAP_H */
