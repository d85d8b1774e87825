/*
 * scorer.h -- one unit in, one record out: a deterministic state machine over the journal.
 *
 * What it makes of unit n depends on unit n, the store at n-1 and the engine, on nothing else (R1):
 * no wall clock, no locale, no hash order, no batch size.  It does no I/O but through the store, which it
 * never commits: between two records the caller does, when store_pending() or its clock says so (R3).
 *
 * Errors are the store's (and ERR_REFUSE for a unit out of turn).  Bytes that cannot be decoded are
 * none: what precedes them stays, then come a quarantine entry and a gap.
 */
#ifndef WALRANK_SCORER_H
#define WALRANK_SCORER_H

#include "journal/unit.h"
#include "score/record.h"
#include "score/store.h"

#define SCORER_ENGINE 2 /* bump when the same unit would give other bytes */

/* Changes of one piece of a large transaction, at most. */
#define SCORER_PART_CHANGES_MAX 1000000

typedef struct Scorer Scorer;

/* Loads relations, rankings, jobs from the store. part_changes: size of a piece (a setting that stands in CONFIG). */
extern bool scorer_create(Store *store, uint32_t part_changes, Scorer **scorer, Error *err);
extern void scorer_destroy(Scorer *scorer);

/*
 * A unit: begin, its parts in order, end.  Whenever a record is complete (a piece of a large
 * transaction, or the unit), *ready is set and the record can be taken with scorer_record(), which is valid until the next
 * call; the store's position has then been moved (not committed).  scorer_part must be called again with the same
 * part while *ready comes back true and *consumed is false.
 */
extern bool scorer_begin(Scorer *scorer, const Unit *unit, Error *err);
extern bool scorer_part(Scorer *scorer, PartType type, Slice bytes, bool *ready, bool *consumed, Error *err);
extern bool scorer_end(Scorer *scorer, Error *err); /* a record is always ready after it */
extern Slice scorer_record(Scorer *scorer, RecordHeader *header);
/* Relation Entries that stand outside units (SNAPSHOT at the head of a segment). */
extern bool scorer_relation(Scorer *scorer, Slice entry, Error *err);

/* Dictionary of all live relations and rankings, as a feed segment begins with: RECORD_RELATION and RECORD_RANKING entries. */
extern void scorer_dictionary(Scorer *scorer, Buffer *out);

/* Details of a RESCORE unit of no job, before the name of a watched table: all of it anew; no more of that. */
#define RESCORE_START "rescore relation="
#define RESCORE_CANCEL "cancel relation="

/* A job whose next chunk has to be appended. */
typedef struct ScorerRescore
{
	uint64_t job;		/* 0 = none */
	uint32_t chunk;		/* from 0 */
	char relation[264]; /* whose items are evaluated anew, quoted; empty: the job is of another kind */
	uint64_t items;		/* so many of them have been.. */
	uint64_t items_all; /* ..of so many */
} ScorerRescore;

/* What the daemon has to append next (looked at by another thread through the daemon's own lock). */
typedef struct ScorerWants
{
	ScorerRescore rescore;
	char broken[256]; /* rankings whose newest definition does not compile here, as a list; empty = none */
	/* tables whose backfill has to start: watched rows that arrived, not yet begun */
	bool backfill;
	/* timers: us since 1970, INT64_MAX none */
	bool timers_at_once;	   /* some are due whatever the time */
	int64_t timer_boundary_us; /* a TIMER unit each */
	int64_t timer_clock_us;	   /* those that are due may go in one */
	struct ScorerGap
	{
		uint64_t seq; /* id of the GAP unit: the last unit that named a lost publication; 0 = none wanted */
		Lsn point;	  /* commit of the first one */
		char text[256];
	} gap;
} ScorerWants;
typedef struct ScorerGap ScorerGap;
extern void scorer_wants(Scorer *scorer, ScorerWants *wants);

/*
 * The tables that are backfilled: our own with configuration, then the watched ones in the order of their names, known
 * or not, filled or not.  Returns how many were written, at most max.
 */
#define SCORER_CONFIG_TABLES 4 /* watched, rule_library, ranking, intervention */
typedef struct ScorerTable
{
	char relation[264]; /* quote_ident'ed "schema.table" */
	uint32_t number;	/* 0: no unit has used it yet, and oid is 0 too */
	uint32_t oid;
	uint64_t backfill; /* id of its last BEGIN */
	int state;		   /* 0 pending, 1 open, 2 filled */
	bool clearing;	   /* filled, and what the reading did not find is being removed */
	bool lost;		   /* changes may be missing: to be read again once its publications are usable */
	bool stopped;	   /* a rescoring was cancelled: some items have scores of older rules */
	uint64_t items;
} ScorerTable;
extern int scorer_tables(Scorer *scorer, ScorerTable *tables, int max);

/* How far the backfill of a table has come: what a reader needs to go on with it. */
typedef struct ScorerFill
{
	uint64_t id;	 /* of the backfill to go on with; 0: a new one */
	uint32_t chunk;	 /* of that: the next one */
	Buffer resume;	 /* of that: the detail of its last END */
	bool scanned;	 /* of that: all ranges are read, only listed keys are not */
	uint64_t listed; /* keys whose items need a row of a later point */
	Buffer keys;	 /* these, when scanned and not more than asked for: length and key, each */
	bool open;		 /* a chunk was begun and neither ended nor aborted, or the next one not begun */
	uint64_t open_id;
	uint32_t open_chunk;
} ScorerFill;
/* fill's buffers are used again. */
extern bool scorer_fill(Scorer *scorer, uint32_t oid, uint64_t keys_max, ScorerFill *fill, Error *err);
extern void scorer_fill_free(ScorerFill *fill);

/*
 * Why an item stands where it stands, as JSON: every ranking of the table (or one), every statement with what it came to,
 * the interventions.  Evaluated at the time readers' score was, so that it is that score to the bit.  key: Value fields.
 * Between two units.  now_us: of somebody who asks, since 1970; it matters to what time has no part in but bounds of
 * interventions.  ranking: empty for all.  ERR_CONFIG: there is no such table or ranking.
 */
extern bool scorer_explain(Scorer *scorer, const char *relation, Slice key, const char *ranking,
						   int64_t now_us, Buffer *json, Error *err);

typedef struct ScorerCounters
{
	uint64_t units, changes, rescored, fired, scores, removals, quarantined, incomplete, items;
} ScorerCounters;
extern void scorer_counters(Scorer *scorer, ScorerCounters *counters);

#endif /* WALRANK_SCORER_H */
