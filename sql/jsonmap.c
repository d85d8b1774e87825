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
jsonout_grow(JsonOut *out, Size bytes)
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

void
jsonout_key(JsonOut *out, const char *key, uint32 bytes)
{
	Size start = out->data_end;

	jsonout_reserve(out, bytes);
	jsonout_append(out, key, bytes);
	jsonout_close(out, JENTRY_ISSTRING, start);
}

void
jsonout_keys(JsonOut *out, JsonWalk *walk, uint32 until)
{
	JEntry *entries = jsonout_entries(out);
	uint32 from = walk->key_start;
	Size to = out->data_end;

	if (walk->index >= until)
		return;
	for (; walk->index < until; jsonwalk_next(walk), out->next++)
		entries[out->next] =
			jsonout_entry(out->next, JENTRY_ISSTRING, to + walk->key_start - from, to + walk->key_end - from);
	jsonout_reserve(out, walk->key_start - from);
	jsonout_append(out, walk->map.data + from, walk->key_start - from);
}

/* Same place, same bytes: also the JEntries stay what they are. */
void
jsonout_keys_all(JsonOut *out, const JsonMap *map)
{
	Assert(out->next == 0 && out->pairs == map->count);
	memcpy(jsonout_entries(out), map->entries, map->count * sizeof(JEntry));
	out->next = map->count;
	jsonout_reserve(out, map->values_start);
	jsonout_append(out, map->data, map->values_start);
}

void
jsonrun_end(JsonRun run, JsonOut *out)
{
	if (run.next == out->next)
		return; /* nothing was taken */
	jsonout_reserve(out, run.taken - out->data_end + JSONOUT_ALIGN_BYTES);
	jsonout_align(out);
	jsonout_append(out, run.data + run.from, run.taken - run.to);
	out->next = run.next;
}

Jsonb *
jsonout_end(JsonOut *out)
{
	Assert(out->next == 2 * out->pairs);
	SET_VARSIZE(out->buffer, out->data_start + out->data_end);
	return (Jsonb *) out->buffer;
}
