/*
 * table_key.h -- a table's primary key as SQL: its order, what comes after a key, rows of given keys.
 *
 * Keys are Value fields, as in a Change.  What is written here compares with the operators of the primary
 * key's own operator classes, under its own collations and types, whatever schemas they live in; so the
 * index gives the order and no row between two keys is passed over.  (A primary key has the default operator class
 * and the column's collation, ascending: ORDER BY alone means its order.)
 */
#ifndef WALRANK_TABLE_KEY_H
#define WALRANK_TABLE_KEY_H

#include "stream/source.h"

typedef struct KeyColumn
{
	char *name; /* quoted */
	char *type;
	char *equal; /* OPERATOR(schema.=) .. */
	char *at_least;
	char *greater;
	uint32_t base_oid; /* of the type, below its domains */
	int place;		   /* in a Change's key: there columns stand in the table's order */
} KeyColumn;

typedef struct TableKey
{
	KeyColumn *columns; /* in the index's order */
	int ncolumns;		/* 0: the table has no primary key */
	bool same_greater;	/* one operator serves all of them */
	bool usable;		/* we may use the schemas that its types and operators live in */
	uint32_t order;		/* checksum of all that decides the order of keys */
} TableKey;

extern bool table_key_read(TableKey *key, PGconn *conn, uint32_t oid, Error *err);
extern void table_key_free(TableKey *key);

/* " ORDER BY .." of a table with the alias t; nothing without a primary key. */
extern void table_key_order_by(const TableKey *key, Buffer *sql);
/* A condition that holds for the rows after `values`. False: these values cannot be written in SQL. */
extern bool table_key_after(const TableKey *key, PGconn *conn, Slice values, Buffer *sql);
/*
 * " JOIN .. ON .." that leaves the rows with the keys of a list (varint length and values, each).
 * False: one of them cannot be written.
 */
extern bool table_key_among(const TableKey *key, PGconn *conn, Slice list, Buffer *sql);

#endif /* WALRANK_TABLE_KEY_H */
