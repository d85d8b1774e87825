/*
 * watch.h -- what walrank.watched says: which tables are followed, and which column is their map.
 *
 * A watch may name a table no unit has used yet; it is linked to a relation as soon as one does.
 */
#ifndef WALRANK_WATCH_H
#define WALRANK_WATCH_H

#include "score/relation.h"

#define WATCH_TEXT_MAX 300 /* two identifiers of 63 bytes, each doubled and quoted, and a point */

typedef struct Watch
{
	char *text; /* quote_ident'ed schema.table, as the row has it */
	char *schema;
	char *table;
	char *map; /* "" = none */
	Relation *relation;
} Watch;

typedef struct Watches
{
	Store *store;
	Watch **list; /* ordered by text */
	int count;
} Watches;

extern bool watches_load(Watches *watches, Store *store, const Relations *relations, Error *err);
extern void watches_free(Watches *watches);
extern Watch *watches_by_text(const Watches *watches, Slice text);
extern Watch *watches_by_name(const Watches *watches, Slice schema, Slice table);
extern Watch *watches_by_relation(const Watches *watches, const Relation *relation);
/* Adds one, or sets the map of the one there; NULL when the text is no table's name. */
extern Watch *watches_set(Watches *watches, Slice text, Slice map);
extern bool watch_save(Watches *watches, const Watch *watch, Error *err);
extern bool watches_remove(Watches *watches, Watch *watch, Error *err);

/* "schema.table", each possibly quoted, into names of at most 63 bytes. */
#define IDENTIFIER_BYTES 64
extern bool watch_parse(Slice text, char schema[IDENTIFIER_BYTES], char table[IDENTIFIER_BYTES]);

#endif /* WALRANK_WATCH_H */
