/*
 * ranking_rows.h -- walrank.ranking and the tables it ranks, as the source database has them now.
 */
#ifndef WALRANK_RANKING_ROWS_H
#define WALRANK_RANKING_ROWS_H

#include "cli/cli.h"
#include "stream/connect.h"

typedef struct RankingRow
{
	const char *name;
	const char *relation;
	const char *definition;
	bool enabled;
	int version;
} RankingRow;

typedef struct LibraryRow
{
	const char *name;
	const char *definition;
} LibraryRow;

typedef struct RankingRows
{
	RankingRow *list; /* by name */
	int count;
	LibraryRow *libraries; /* by name */
	int nlibraries;
	bool has_libraries; /* the server's walrank has a table of them */
	PGresult *results[2];
} RankingRows;

/* With the options of the command line, else the source of the configuration, else libpq's defaults. */
extern bool ranking_rows_connect(const Cli *cli, PGconn **conn, Error *err);
/* lock: until the end of the transaction nobody else changes them. */
extern bool ranking_rows_read(PGconn *conn, bool lock, RankingRows *rows, Error *err);
extern void ranking_rows_free(RankingRows *rows);
extern const RankingRow *ranking_rows_find(const RankingRows *rows, const char *name);
extern const LibraryRow *library_rows_find(const RankingRows *rows, const char *name);

/* A statement of a transaction; what the server refuses of it is ERR_CONFIG, as a definition that cannot be used. */
extern bool ranking_rows_execute(PGconn *conn, Error *err, const char *what, const char *sql, int nparams,
								 const char *const *params);

/* A watched table as definitions see it. */
typedef struct RankedTable
{
	char *name; /* as walrank.watched has it */
	char *map;	/* "" = none */
	uint8_t *bytes;
	WireRelation relation; /* points into bytes */
} RankedTable;

/* By its name, with or without its schema. ERR_CONFIG: it is not watched; the hint says which are. */
extern bool ranked_table_read(PGconn *conn, const char *name, RankedTable *table, Error *err);
extern void ranked_table_free(RankedTable *table);

#endif /* WALRANK_RANKING_ROWS_H */
