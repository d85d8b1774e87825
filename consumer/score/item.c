/*
 * item.c -- see item.h.
 *
 * Value: fingerprint (8 bytes), 1 = whole, 2 = not, but readers hold the item (1 byte), image with its length, then 17 bytes per ranking:
 *
 *   offset  bytes
 *        0      4  ranking
 *        4      4  revision
 *        8      8  score
 *       16      1  status
 */
#include "score/item.h"

#include "score/pack.h"

#define EMITTED_BYTES 17

enum
{
	ITEM_WAITING = 0,
	ITEM_WHOLE = 1,
	ITEM_TOLD = 2,
};

bool
item_open(Slice value, Item *item)
{
	WireCursor cursor = wire_cursor(value);
	uint32_t state;

	if (!unpack_u64(&cursor, &item->fingerprint) || !unpack_small(&cursor, ITEM_TOLD, &state) ||
		!unpack_bytes(&cursor, &item->image))
		return false;
	item->whole = state == ITEM_WHOLE;
	item->told = state != ITEM_WAITING;
	item->emitted = slice_make(cursor.at, (size_t) (cursor.end - cursor.at));
	return item->emitted.len % EMITTED_BYTES == 0;
}

void
emitted_append(EmittedList *list, Emitted emitted)
{
	if (list->count == list->capacity)
	{
		list->capacity = list->capacity * 2 + 16;
		list->list = xrealloc(list->list, (size_t) list->capacity * sizeof(Emitted));
	}
	list->list[list->count++] = emitted;
}

bool
item_emitted(const Item *item, EmittedList *list)
{
	list->count = 0;
	for (size_t i = 0; i < item->emitted.len; i += EMITTED_BYTES)
	{
		const uint8_t *at = item->emitted.data + i;
		Emitted one;

		memcpy(&one.ranking, at, 4);
		memcpy(&one.revision, at + 4, 4);
		memcpy(&one.score, at + 8, 8);
		if (at[16] > EMITTED_QUARANTINE)
			return false;
		one.status = (EmittedStatus) at[16];
		emitted_append(list, one);
	}
	return true;
}

void
item_pack(Buffer *value, uint64_t fingerprint, bool whole, bool told, Slice image, const EmittedList *list)
{
	buffer_reset(value);
	buffer_append_u64(value, fingerprint);
	buffer_append_byte(value, whole ? ITEM_WHOLE : told ? ITEM_TOLD : ITEM_WAITING);
	pack_bytes(value, image);
	for (int i = 0; i < list->count; i++)
	{
		const Emitted *one = &list->list[i];
		uint8_t *at = buffer_reserve(value, EMITTED_BYTES);

		memcpy(at, &one->ranking, 4);
		memcpy(at + 4, &one->revision, 4);
		memcpy(at + 8, &one->score, 8);
		at[16] = (uint8_t) one->status;
		value->len += EMITTED_BYTES;
	}
}
