/*
 * pgbatch.h -- what a batch of output records comes to: one row per item and ranking, the last.
 *
 * All of an earlier result that a later one replaces is gone before anything is sent.  "All items"
 * (truncate, end of a ranking) drops the rows gathered before it and stays as a clearing, so all
 * clearings come first, then the rows, in the order of the records they come from.  No libpq here.
 */
#ifndef WALRANK_PGBATCH_H
#define WALRANK_PGBATCH_H

#include "base/arena.h"
#include "feed/feed.h"

#define PG_NAME_BYTES 64 /* NAMEDATALEN */

typedef struct PgKeyColumn
{
	char *source;					 /* name in the source */
	char column[PG_NAME_BYTES + 8];	 /* name in the score table: key_.. where ours would clash */
	char type[PG_NAME_BYTES];		 /* a built-in type's name, or text */
	char source_type[PG_NAME_BYTES]; /* type, before this server was asked whether it has it */
} PgKeyColumn;

/* The score table of one relation. */
typedef struct PgTarget
{
	uint32_t relation;
	uint64_t fingerprint; /* newest version seen with this key */
	char *qualified;	  /* the relation, for people */
	char *schema;
	char *relname;
	char table[PG_NAME_BYTES]; /* in walrank_out; set when the table is known */
	int nkeys;
	PgKeyColumn *keys;
	bool ready;	   /* exists and is prepared on this connection */
	bool prepared; /* under other types: the statements have to go first */
} PgTarget;

typedef struct PgRow
{
	PgTarget *target;
	Slice key; /* Value fields */
	Slice ranking_name;
	uint32_t ranking;
	uint32_t change;
	uint64_t seq;
	Lsn commit_lsn; /* 0 = none */
	int64_t now_us;
	double score;
	int32_t tier;
	int32_t pin;
	uint32_t version;
	bool remove;
	bool blocked;
	bool superseded;
} PgRow;

/* All items of a relation, or of one ranking of it. */
typedef struct PgClearing
{
	PgTarget *target;
	uint32_t ranking; /* 0 = all */
	Slice ranking_name;
} PgClearing;

typedef struct PgBatch
{
	Arena *arena;
	PgTarget **targets; /* owned; live as long as the batch object */
	int ntargets;
	PgRow *rows;
	uint32_t nrows;
	uint32_t rows_capacity;
	PgClearing *clearings;
	uint32_t nclearings;
	uint32_t clearings_capacity;
	uint32_t *slots; /* row number + 1 by hash of (target, ranking, key) */
	uint32_t nslots;
	/* the change whose scores follow: their key is that of its version of the relation */
	uint64_t row_seq;
	uint32_t row_part;
	uint32_t row_change;
	uint32_t row_relation;
	uint64_t row_fingerprint;
} PgBatch;

extern void pgbatch_init(PgBatch *batch);
extern void pgbatch_free(PgBatch *batch);
extern void pgbatch_reset(PgBatch *batch); /* drops rows, keeps targets */
/* A RECORD_CHANGE adds no row; the scores that follow it have the key of its version of the relation. */
extern void pgbatch_change(PgBatch *batch, const RecordHeader *header, const RecordEntry *entry);
/* One RECORD_SCORE, RECORD_REMOVE or RECORD_TRUNCATE. ERR_DATA when the dictionary lacks what it names. */
extern bool pgbatch_add(PgBatch *batch, const FeedReader *reader, const RecordHeader *header,
						const RecordEntry *entry, Error *err);

/* The text PostgreSQL's input functions read, of the i-th key column. */
extern bool pgbatch_key_text(Buffer *out, const PgRow *row, int i);
/* The row as JSON in ASCII alone, at most 64 KiB: any server can store it. */
extern void pgbatch_describe(Buffer *out, const PgRow *row);
/* "score_item", or with a hash where that is too long, or already taken (salt not NULL: what goes into the hash). */
extern void pgbatch_table_name(const PgTarget *target, const char *salt_or_null, char name[PG_NAME_BYTES]);
/* Any UTF-8 as ASCII: \uXXXX. */
extern void pgbatch_ascii(Buffer *out, Slice text);

#endif /* WALRANK_PGBATCH_H */
