/*
 * item.c -- see item.h.
 *
 * Value: fingerprint (8 bytes), 1 = whole, 2 = not, but readers hold the item, + 16 = there is a memory (1 byte), image
 * with its length, the memory's fresh bytes (number) and all of it with its length if there is one, then per ranking:
 *
 *   offset  bytes
 *        0      4  ranking
 *        4      4  revision
 *        8      8  score
 *       16      1  status, and what follows
 *       17      8  tier and pin, if one is not 0
 *               8  when it is to be evaluated again for its age, if ever
 *               8  .. for an intervention that begins or ends, if ever
 *               8  when it was evaluated, if that matters
 */
#include "score/item.h"

#include "score/pack.h"

#define EMITTED_BYTES 17
#define EMITTED_BYTES_MAX (EMITTED_BYTES + 32)

enum
{
	HAS_STATUS = 3, /* an EmittedStatus */
	HAS_PLACE = 4,
	HAS_CLOCK = 8,
	HAS_BOUNDARY = 16,
	HAS_EVALUATED = 32,
	HAS_ALL = 63,
};

enum
{
	ITEM_WAITING = 0,
	ITEM_WHOLE = 1,
	ITEM_TOLD = 2,
	ITEM_STATE = 3,
	ITEM_REMEMBERS = 16,
	ITEM_ALL = 19,
};

static bool
take_memory(WireCursor *cursor, ItemMemory *memory)
{
	uint64_t fresh;

	if (!unpack_number(cursor, &fresh) || !unpack_bytes(cursor, &memory->all) || fresh > memory->all.len)
		return false;
	memory->there = true;
	memory->fresh = fresh;
	return true;
}

bool
item_open(Slice value, Item *item)
{
	WireCursor cursor = wire_cursor(value);
	uint32_t state;

	item->memory = (ItemMemory){0};
	if (!unpack_u64(&cursor, &item->fingerprint) || !unpack_small(&cursor, ITEM_ALL, &state) ||
		(state & ITEM_STATE) > ITEM_TOLD || !unpack_bytes(&cursor, &item->image) ||
		((state & ITEM_REMEMBERS) && !take_memory(&cursor, &item->memory)))
		return false;
	item->whole = (state & ITEM_STATE) == ITEM_WHOLE;
	item->told = (state & ITEM_STATE) != ITEM_WAITING;
	item->emitted = slice_make(cursor.at, (size_t) (cursor.end - cursor.at));
	return true;
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

/* Eight bytes that are there or not. */
static bool
take_optional(WireCursor *cursor, bool there, int64_t *number)
{
	uint64_t bits;

	if (!there)
		return true;
	if (!unpack_u64(cursor, &bits))
		return false;
	*number = (int64_t) bits;
	return true;
}

static bool
take_emitted(WireCursor *cursor, Emitted *one)
{
	uint64_t numbers;
	uint64_t score;
	int64_t place = 0;
	uint32_t has;

	if (!unpack_u64(cursor, &numbers) || !unpack_u64(cursor, &score) ||
		!unpack_small(cursor, HAS_ALL, &has) || (has & HAS_STATUS) > EMITTED_QUARANTINE)
		return false;
	*one = (Emitted){.ranking = (uint32_t) numbers,
					 .revision = (uint32_t) (numbers >> 32),
					 .status = (EmittedStatus) (has & HAS_STATUS),
					 .clock_us = EMITTED_NEVER,
					 .boundary_us = EMITTED_NEVER};
	memcpy(&one->score, &score, sizeof(score));
	if (!take_optional(cursor, has & HAS_PLACE, &place) ||
		!take_optional(cursor, has & HAS_CLOCK, &one->clock_us) ||
		!take_optional(cursor, has & HAS_BOUNDARY, &one->boundary_us) ||
		!take_optional(cursor, has & HAS_EVALUATED, &one->evaluated_us))
		return false;
	one->tier = (int32_t) (uint64_t) place;
	one->pin = (int32_t) ((uint64_t) place >> 32);
	return true;
}

bool
item_emitted(const Item *item, EmittedList *list)
{
	WireCursor cursor = wire_cursor(item->emitted);

	list->count = 0;
	while (!wire_done(&cursor))
	{
		Emitted one;

		if (!take_emitted(&cursor, &one))
			return false;
		emitted_append(list, one);
	}
	return true;
}

static uint8_t *
put_eight(uint8_t *at, uint64_t number)
{
	memcpy(at, &number, sizeof(number));
	return at + sizeof(number);
}

static void
put_emitted(Buffer *value, const Emitted *one)
{
	uint8_t *start = buffer_reserve(value, EMITTED_BYTES_MAX);
	uint8_t *at = start + EMITTED_BYTES;
	uint8_t has = (uint8_t) one->status;

	memcpy(start, &one->ranking, 4);
	memcpy(start + 4, &one->revision, 4);
	memcpy(start + 8, &one->score, 8);
	if (one->tier != 0 || one->pin != 0)
	{
		has |= HAS_PLACE;
		at = put_eight(at, (uint32_t) one->tier | (uint64_t) (uint32_t) one->pin << 32);
	}
	if (one->clock_us != EMITTED_NEVER)
	{
		has |= HAS_CLOCK;
		at = put_eight(at, (uint64_t) one->clock_us);
	}
	if (one->boundary_us != EMITTED_NEVER)
	{
		has |= HAS_BOUNDARY;
		at = put_eight(at, (uint64_t) one->boundary_us);
	}
	if (one->evaluated_us != 0)
	{
		has |= HAS_EVALUATED;
		at = put_eight(at, (uint64_t) one->evaluated_us);
	}
	start[16] = has;
	value->len += (size_t) (at - start);
}

void
item_pack(Buffer *value, uint64_t fingerprint, bool whole, bool told, Slice image, const ItemMemory *memory,
		  const EmittedList *list)
{
	const uint8_t state = whole ? ITEM_WHOLE : told ? ITEM_TOLD : ITEM_WAITING;

	buffer_reset(value);
	buffer_append_u64(value, fingerprint);
	buffer_append_byte(value, state | (memory->there ? ITEM_REMEMBERS : 0));
	pack_bytes(value, image);
	if (memory->there)
	{
		pack_number(value, memory->fresh);
		pack_bytes(value, memory->all);
	}
	for (int i = 0; i < list->count; i++)
		put_emitted(value, &list->list[i]);
}
