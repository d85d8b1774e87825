/*
 * publication.h -- which changes of which tables are sent, and what of them.
 *
 * Everything is as the publications say at the moment of the change, read as pgoutput reads them.  A
 * publication that is gone never stops the stream: it counts as lost, once, and adds nothing.
 */
#ifndef WALRANK_PUBLICATION_H
#define WALRANK_PUBLICATION_H

#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

enum
{
	PUBLISH_INSERT = 1,
	PUBLISH_UPDATE = 2,
	PUBLISH_DELETE = 4,
	PUBLISH_ROWS = 7,
	PUBLISH_TRUNCATE = 8,
	PUBLISH_ALL = 15,
};

/* What a row filter may be asked about; 1 << kind is the PUBLISH_xxx of an operation. */
typedef enum PublishedKind
{
	PUBLISHED_INSERT,
	PUBLISHED_UPDATE,
	PUBLISHED_DELETE,
	PUBLISHED_COPY, /* a row that is read: some publication would have sent it */
	PUBLISHED_KINDS,
} PublishedKind;

typedef struct PublishedTable
{
	uint32 operations; /* PUBLISH_xxx; 0: nothing is sent */
	Oid relid;		   /* the table itself, or the ancestor whose changes its changes are */
	List *ancestors;   /* of a partition: what this depends on besides the table */
	bool all_columns;  /* .. that are not generated */
	bool generated_columns;
	Bitmapset *listed;				/* attribute numbers of relid, also sent */
	List *filters[PUBLISHED_KINDS]; /* of char *: stored expressions over relid, ORed; NIL: every row */
} PublishedTable;

typedef struct Publications Publications;

/* names: list of char *; NIL publishes all tables.  Allocated in the current context, for good. */
extern Publications *publications_open(List *names);

/*
 * Error unless every publication exists; for the start of a stream.  With missing_ok those that do not
 * are passed over, and are not lost until they have existed.  Runs a transaction if there is none.
 */
extern void publications_check(Publications *publications, bool missing_ok);

/* Re-read the publications if they may have changed; the generation rises when they were re-read. */
extern uint32 publications_refresh(Publications *publications);

/* The next name that was lost and not yet reported, or NULL. */
extern const char *publications_lost(Publications *publications);

/*
 * What is sent of a table; NULL for publications: all of it, whatever it is.  Allocates in the current context.
 * The row filters and column lists are those of the publications that send the table as relid: with
 * publish_via_partition_root the topmost published ancestor counts, as in pgoutput.
 */
extern void publications_table(const Publications *publications, Relation relation,
							   PublishedTable *published);

/* Whether a column of published->relid is sent. */
extern bool published_column(const PublishedTable *published, Form_pg_attribute attribute);

#endif /* WALRANK_PUBLICATION_H */
