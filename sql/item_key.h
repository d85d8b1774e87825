/*
 * item_key.h -- an item named in SQL: its table, and its key as jsonb.
 *
 * A key is a scalar where the primary key is one column, an object of the key's columns otherwise.
 * The bytes made of it are those of Change.key in the stream, so daemon and SQL find an item by
 * comparing bytes.
 */
#ifndef WALRANK_ITEM_KEY_H
#define WALRANK_ITEM_KEY_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/jsonb.h"

/* The table of a name as in walrank.watched; InvalidOid when there is none.  Needs no rights. */
extern Oid item_relation(const char *relation);

typedef struct ItemKey
{
	bytea *bytes;	  /* as the stream encodes it */
	Jsonb *canonical; /* as the server writes the same key, whatever the caller's settings */
} ItemKey;

/*
 * relation is the table's name, for messages.  Errors when the key lacks a column, has another one, or a value that its
 * column does not take.  Values may be equal and not the same (1.5 and 1.50, citext): where the caller can see the
 * item, the key is as the item has it.  Allocated in the current memory context.
 */
extern ItemKey item_key(Oid relid, const char *relation, Jsonb *key);

/* The item, read with the caller's rights; NULL: there is none. Errors alike. */
extern HeapTupleHeader item_row(Oid relid, const char *relation, Jsonb *key);

#endif /* WALRANK_ITEM_KEY_H */
