/*
 * item.h -- the store's value of one item: its image, and what was last emitted for it.
 */
#ifndef WALRANK_ITEM_H
#define WALRANK_ITEM_H

#include "base/buffer.h"

typedef enum
{
	EMITTED_NOTHING = 0, /* evaluated, and not in the ranking */
	EMITTED_SCORE = 1,
	EMITTED_QUARANTINE = 2, /* evaluated, and it had no score */
} EmittedStatus;

/* Of one ranking. */
typedef struct Emitted
{
	uint32_t ranking;  /* number */
	uint32_t revision; /* of the ranking, when the item was evaluated */
	EmittedStatus status;
	double score;
	int32_t tier;
	int32_t pin;		  /* 0: none */
	int64_t clock_us;	  /* since 1970: the score may move by its age alone; EMITTED_NEVER */
	int64_t boundary_us;  /* an intervention begins or ends for the item; EMITTED_NEVER */
	int64_t evaluated_us; /* the time it was evaluated at; 0: time has no part in it */
} Emitted;

#define EMITTED_NEVER INT64_MAX

typedef struct EmittedList
{
	Emitted *list; /* by ranking number */
	int count;
	int capacity;
} EmittedList;

/* What attributes were before they changed, of those that some ranking asks for (memory.c). */
typedef struct ItemMemory
{
	bool there;	  /* the item has changed since anybody asked */
	Slice all;	  /* Attribute fields: first those that the last change replaced, .. */
	size_t fresh; /* ..so many bytes */
} ItemMemory;

typedef struct Item
{
	uint64_t fingerprint; /* version the image was written under */
	bool whole;			  /* nothing of the image is still unknown */
	bool told;			  /* readers hold the item, perhaps as it was before something became unknown */
	Slice image;
	ItemMemory memory;
	Slice emitted;
} Item;

extern bool item_open(Slice value, Item *item);
extern bool item_emitted(const Item *item, EmittedList *list);
extern void item_pack(Buffer *value, uint64_t fingerprint, bool whole, bool told, Slice image,
					  const ItemMemory *memory, const EmittedList *list);
extern void emitted_append(EmittedList *list, Emitted emitted);

#endif /* WALRANK_ITEM_H */
