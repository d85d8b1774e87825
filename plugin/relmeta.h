/*
 * relmeta.h -- what the plugin knows of a table, built once per version of it.
 *
 * An entry is rebuilt on first use after the server said that the table, one of its types or its
 * schema may have changed.  In logical decoding the catalogs are those of the moment of the change,
 * so entry and tuples belong together, in the middle of a transaction with DDL as well.
 */
#ifndef WALRANK_RELMETA_H
#define WALRANK_RELMETA_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "utils/relcache.h"

#include "patterns.h"
#include "publication.h"
#include "value.h"

typedef struct RowFilter RowFilter;

/* What the WAL holds of a row's old image. */
typedef enum RelIdentity
{
	IDENTITY_NONE, /* nothing, or columns that do not cover the primary key */
	IDENTITY_KEY,  /* the key, when it changed */
	IDENTITY_FULL, /* all of it */
} RelIdentity;

/* What of a column is among the attributes that were asked for. */
typedef enum ColumnChoice
{
	CHOICE_ALL,
	CHOICE_KEYS, /* some keys of its objects */
	CHOICE_NONE,
} ColumnChoice;

typedef struct RelColumn
{
	int index; /* into the descriptor of the tuples */
	bool key;
	ColumnChoice choice;
	ValueType type;
} RelColumn;

/* A tuple taken apart. */
typedef struct RelRow
{
	Datum *values;
	bool *nulls;
} RelRow;

typedef struct RelMeta
{
	Oid relid; /* hash key */
	bool built;
	bool stale;
	MemoryContext context; /* everything below */
	uint32 operations;	   /* PUBLISH_xxx; 0: nothing more is known */
	RowFilter *filter;	   /* NULL: every row is sent */
	TupleDesc descriptor;
	RelIdentity identity;
	int ncolumns;
	RelColumn *columns;	 /* what is sent, in the order of the table that it is sent as */
	int nkeys;			 /* 0 also when a column list leaves some of the key out */
	bool reads_settings; /* some column's output function depends on settings */
	RelRow new_row;
	RelRow old_row;
	const char *bytes; /* the body of its Relation */
	int nbytes;
	uint64 fingerprint;
	List *ancestors; /* oids */

	int change_bytes;			   /* of the last change of the table: the next one is likely to be as long */
	uint32 publication_generation; /* that this was built for */
	struct RelMeta *as;			   /* itself, or the entry of the ancestor that it is sent as */
	int partitions;				   /* entries that depend on this one */

	/* state of the connection, kept across rebuilds; of a table that is sent as another: the other's */
	bool announced;
	uint64 announced_fingerprint;
} RelMeta;

typedef struct RelCache RelCache;

/*
 * A cache that lives as long as context; publications, NULL for all there is, and attributes, NULL when all are
 * chosen, must live as long.
 */
extern RelCache *relmeta_cache(MemoryContext context, Publications *publications, const Patterns *attributes);

/* Borrowed until the next call.  The relation is open, its lock held or not needed. */
extern RelMeta *relmeta_get(RelCache *cache, Relation relation);

/* An entry that is up to date, or NULL: the relation must then be opened for relmeta_get. */
extern RelMeta *relmeta_peek(RelCache *cache, Oid relid);

/* Give back the memory of stale entries when there are many: tables come and go, a connection stays. */
extern void relmeta_trim(RelCache *cache);

#endif /* WALRANK_RELMETA_H */
