/*
 * item_pass.h -- one pass over the feed for one item: everything it says of the item, in order.
 *
 * The item is named as a person names it: a table, with its schema or without, and a key.  Beside a running daemon the
 * pass ends where the journal is durable (R5).  What fills repeat for one sink is left out.
 */
#ifndef WALRANK_ITEM_PASS_H
#define WALRANK_ITEM_PASS_H

#include "cli/history_key.h"
#include "cli/stopped.h"
#include "feed/feed.h"
#include "score/watch.h"

/* Which item: the key as given, and the spellings a line may have of it. */
typedef struct ItemName
{
	char schema[IDENTIFIER_BYTES]; /* "" = any */
	char table[IDENTIFIER_BYTES];
	HistoryKey key;
	uint64_t fingerprint; /* of the version of the table they are spelled for */
	Buffer spellings[2];
	Buffer rendered;
	bool known; /* the feed has named the table */
} ItemName;

/* False: no name of a table.  key is borrowed. */
extern bool item_name_parse(ItemName *name, const char *table, const char *key);
extern void item_name_free(ItemName *name);

typedef struct ItemPass
{
	void *context;
	uint64_t until_seq;												 /* nothing later; 0: all there is */
	FeedReader *reader;												 /* the pass's own */
	const RecordHeader *unit;										 /* of the entry at hand */
	bool (*begin)(struct ItemPass *pass, const RecordHeader *first); /* before anything else; NULL */
	/* Changes, scores, removals, truncates, quarantines of the item or of all of its table; gaps, with relation NULL. */
	bool (*entry)(struct ItemPass *pass, const RecordEntry *entry, const FeedRelation *relation, Error *err);
} ItemPass;

extern bool item_pass(ItemPass *pass, ItemName *name, const StoppedState *stopped, Error *err);

/* The commit of a transaction, else the unit's now. */
extern int64_t item_unit_time(const RecordHeader *unit);

#endif /* WALRANK_ITEM_PASS_H */
