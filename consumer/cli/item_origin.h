/*
 * item_origin.h -- where an item's attributes and scores come from: the unit that last changed each, as the feed tells.
 */
#ifndef WALRANK_ITEM_ORIGIN_H
#define WALRANK_ITEM_ORIGIN_H

#include "cli/item_pass.h"

typedef struct Origin
{
	char pos[48]; /* SEQ.CHANGE.OUT */
	Lsn lsn;
	char time[48]; /* ISO 8601: commit of the transaction, else the unit's now */
	uint64_t xid;  /* 0: no transaction */
	UnitKind unit;
} Origin;

typedef struct ItemOrigins ItemOrigins;

/* What the feed tells of the item, up to a unit (0: all). False: it cannot be read. */
extern bool item_origins_read(ItemName *name, const StoppedState *stopped, uint64_t until_seq,
							  ItemOrigins **origins, Error *err);
extern void item_origins_free(ItemOrigins *origins);

/* The item's table and key; empty when the feed does not have it. */
extern const char *item_origins_table(const ItemOrigins *origins); /* as `walrank status` lists it */
extern Slice item_origins_key(const ItemOrigins *origins);

/*
 * Of an attribute as a definition names it: "price", "att.stock".  NULL: it was last changed before what the feed holds,
 * or the item never had it.
 */
extern const Origin *item_origin(const ItemOrigins *origins, const char *attribute);
/* Its value, as the feed wrote it; empty: there is none. */
extern Slice item_origin_value(const ItemOrigins *origins, const char *attribute);
/* What was last told of a ranking: a score, or a removal. NULL: nothing. */
extern const Origin *item_origin_told(const ItemOrigins *origins, const char *ranking, bool *shown,
									  double *score);
/* Whether the feed reaches back to the item's beginning. */
extern bool item_origins_complete(const ItemOrigins *origins);

#endif /* WALRANK_ITEM_ORIGIN_H */
