/*
 * jsonmap.c -- see jsonmap.h.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "jsonmap.h"

void
jsonmap_open(JsonMap *map, const Jsonb *jsonb)
{
	*map = (JsonMap){0};
	if (jsonb == NULL || !JB_ROOT_IS_OBJECT(jsonb))
		return;
	map->count = JB_ROOT_COUNT(jsonb);
	map->entries = jsonb->root.children;
	map->data = (const char *) (map->entries + 2 * (Size) map->count);
	/* walks back to the nearest offset, at most JB_OFFSET_STRIDE entries */
	map->values_start = getJsonbOffset(&jsonb->root, map->count);
}

bool
jsonnode_equal(const JsonNode *a, const JsonNode *b)
{
	if (a->type != b->type)
		return false;
	if (a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0)
		return true;
	if (a->type == JENTRY_ISNUMERIC)
		return DatumGetBool(
			DirectFunctionCall2(numeric_eq, PointerGetDatum(a->data), PointerGetDatum(b->data)));
	/* different bytes may still be equal: {"a": 1.0} and {"a": 1.00} */
	if (a->type == JENTRY_ISCONTAINER)
		return compareJsonbContainers((JsonbContainer *) a->data, (JsonbContainer *) b->data) == 0;
	return false;
}

void
jsonout_begin(JsonOut *out, uint64 pairs, Size bytes)
{
	uint64 pairs_max = Min(MaxAllocSize / sizeof(JsonbPair), JB_CMASK);

	if (pairs > pairs_max)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("number of jsonb object pairs exceeds the maximum allowed (%zu)", (Size) pairs_max));

	out->pairs = (uint32) pairs;
	out->next = 0;
	out->data_start = offsetof(Jsonb, root.children) + 2 * pairs * sizeof(JEntry);
	out->data_end = 0;
	out->capacity = out->data_start + bytes;
	out->buffer = palloc(out->capacity);
	((Jsonb *) out->buffer)->root.header = out->pairs | JB_FOBJECT;
}

void
jsonout_reserve(JsonOut *out, Size bytes)
{
	Size need = out->data_start + out->data_end + bytes;

	if (out->data_end + bytes > JENTRY_OFFLENMASK)
		ereport(
			ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			errmsg("total size of jsonb object elements exceeds the maximum of %u bytes", JENTRY_OFFLENMASK));
	if (need <= out->capacity)
		return;
	out->capacity = Min(Max(need, 2 * out->capacity), MaxAllocSize);
	out->capacity = Max(need, out->capacity); /* beyond MaxAllocSize repalloc raises the error */
	out->buffer = repalloc(out->buffer, out->capacity);
}

/* Every JB_OFFSET_STRIDE'th JEntry says where the node ends, the others how long it is. */
static inline void
entry_put(JsonOut *out, uint32 type, Size start, Size end)
{
	JEntry *entries = ((Jsonb *) out->buffer)->root.children;
	uint32 at = out->next++;

	entries[at] =
		type | (at % JB_OFFSET_STRIDE == 0 ? (uint32) end | JENTRY_HAS_OFF : (uint32) (end - start));
}

void
jsonout_close(JsonOut *out, uint32 type, Size start)
{
	entry_put(out, type, start, out->data_end);
}

void
jsonout_align(JsonOut *out)
{
	Size padding = INTALIGN(out->data_end) - out->data_end;

	memset(jsonout_tail(out), 0, padding);
	out->data_end += padding;
}

void
jsonout_keys(JsonOut *out, JsonWalk *walk, uint32 until)
{
	uint32 from = walk->key_start;
	Size to = out->data_end;

	if (walk->index >= until)
		return;
	for (; walk->index < until; jsonwalk_next(walk))
		entry_put(out, JENTRY_ISSTRING, to + walk->key_start - from, to + walk->key_end - from);
	jsonout_reserve(out, walk->key_start - from);
	jsonout_append(out, walk->map->data + from, walk->key_start - from);
}

/*
 * Only the first one's padding changes: it then stands on a multiple of four as it did before, and
 * so does everything behind it.
 */
void
jsonout_containers(JsonOut *out, JsonWalk *walk, uint32 until)
{
	uint32 from = INTALIGN(walk->value_start);
	Size start = out->data_end;
	Size to;

	if (walk->index >= until)
		return;
	jsonout_reserve(out, 3);
	jsonout_align(out);
	to = out->data_end;
	for (; walk->index < until; jsonwalk_next(walk))
	{
		Size end = to + walk->value_end - from;

		entry_put(out, JENTRY_ISCONTAINER, start, end);
		start = end;
	}
	jsonout_reserve(out, walk->value_start - from);
	jsonout_append(out, walk->map->data + from, walk->value_start - from);
}

Jsonb *
jsonout_end(JsonOut *out)
{
	Assert(out->next == 2 * out->pairs);
	SET_VARSIZE(out->buffer, out->data_start + out->data_end);
	return (Jsonb *) out->buffer;
}
