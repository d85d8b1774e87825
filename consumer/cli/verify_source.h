/*
 * verify_source.h -- where SQL puts the source's items, in one snapshot of it: the other side of `walrank verify`.
 *
 * walrank.standing() computes what the daemon does from rows as they are.  Rankings that cannot be computed from a row
 * are known by VerifyRanking.why.
 */
#ifndef WALRANK_VERIFY_SOURCE_H
#define WALRANK_VERIFY_SOURCE_H

#include "base/arena.h"
#include "cli/cli.h"
#include "base/lsn.h"
#include "stream/connect.h"

typedef struct VerifyRanking
{
	char *name;
	char *relation;		  /* as SQL names it */
	const char *from;	  /* "ONLY public.item AS t" */
	const char *key;	  /* jsonb_build_object('id', t.id) */
	const char *same_key; /* t.id = k.id */
	char why[320];		  /* it is not compared; empty: it is */
	double min_change;	  /* the sink's score may be off by less */
	bool drifts;		  /* its score holds only as of when it was told */
	uint64_t compared;	  /* places the sink shows */
	uint64_t different;
	uint64_t superfluous;
	uint64_t missing;
	uint64_t shown; /* places SQL has */
} VerifyRanking;

typedef struct VerifySource
{
	PGconn *conn; /* in a transaction that sees one state of the source */
	Lsn lsn;	  /* all that state has was committed before */
	int64_t at_us;
	char at[48]; /* the moment items are judged at, as text */
	Arena *arena;
	PGresult *libraries; /* name, definition */
	VerifyRanking *rankings;
	int nrankings;
	bool drifts; /* some that is compared does */
} VerifySource;

/* A place as the sink has it, and what SQL says about its item. */
typedef struct VerifyPlace
{
	Slice key;
	Slice at;
	double score;
	int32_t tier;
	int32_t pin;
	bool shown; /* SQL's.. */
	double expected;
	int32_t expected_tier;
	int32_t expected_pin;
	uint64_t key_hash; /* of the key as the server writes it */
} VerifyPlace;

/* Begins the transaction. */
extern bool verify_source_open(const char *conninfo, VerifySource *source, Error *err);
/* The moment items are judged at: it must not be before the snapshot. */
extern void verify_source_at(VerifySource *source, int64_t at_us);
/* The rankings that are in force, and why some cannot be compared; broken: the daemon's list of those it cannot use. */
extern bool verify_source_rankings(VerifySource *source, const char *publications, const char *broken,
								   Error *err);
extern VerifyRanking *verify_source_ranking(const VerifySource *source, Slice name);
/* Fills in what SQL says of n places of a ranking, a thousand or so: as of the moment, or of a later one the sink was told at. */
extern bool verify_source_ask(VerifySource *source, const VerifyRanking *ranking, VerifyPlace *places, int n,
							  Error *err);
extern bool verify_place_agrees(const VerifyRanking *ranking, const VerifyPlace *place);
/* How many places SQL has in a ranking. */
extern bool verify_source_count(VerifySource *source, VerifyRanking *ranking, Error *err);

/* Keys of the items SQL shows in a ranking, as text. */
typedef bool (*VerifyKey)(void *context, VerifyRanking *ranking, Slice key, uint64_t hash, Error *err);
extern bool verify_source_keys(VerifySource *source, VerifyRanking *ranking, VerifyKey visit, void *context,
							   Error *err);
extern void verify_source_close(VerifySource *source);

#endif /* WALRANK_VERIFY_SOURCE_H */
