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
#include "value.h"

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
	int index; /* into the tuple descriptor */
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
	TupleDesc descriptor;
	RelIdentity identity;
	int ncolumns;
	RelColumn *columns; /* dropped and virtual columns left out */
	int nkeys;
	bool reads_settings; /* some column's output function depends on settings */
	RelRow new_row;
	RelRow old_row;
	const char *bytes; /* the body of its Relation */
	int nbytes;
	uint64 fingerprint;

	int change_bytes; /* of the last change of the table: the next one is likely to be as long */

	/* state of the connection, kept across rebuilds */
	bool announced;
	uint64 announced_fingerprint;
	uint32 publication_generation; /* 0: operations not known */
	uint32 operations;
} RelMeta;

typedef struct RelCache RelCache;

/* A cache that lives as long as context, as attributes has to; NULL: all attributes are chosen. */
extern RelCache *relmeta_cache(MemoryContext context, const Patterns *attributes);

/* Borrowed until the next call.  The relation is open, its lock held or not needed. */
extern RelMeta *relmeta_get(RelCache *cache, Relation relation);

/* An entry that is up to date, or NULL: the relation must then be opened for relmeta_get. */
extern RelMeta *relmeta_peek(RelCache *cache, Oid relid);

/* Forget stale entries when there are many: tables come and go, a connection stays. */
extern void relmeta_trim(RelCache *cache);

#endif /* WALRANK_RELMETA_H */
