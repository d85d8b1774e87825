/*
 * backfill_private.h -- one run of a backfill, as its two rooms see it (private to this directory): backfill.c has chunks,
 * snapshots and locks, backfill_rows.c reads what a snapshot shows.
 */
#ifndef WALRANK_BACKFILL_PRIVATE_H
#define WALRANK_BACKFILL_PRIVATE_H

#include "journal/journal.h"
#include "stream/backfill.h"
#include "stream/table_key.h"

#define BACKFILL_STEP_US 20000 /* who waits for a moment to pass looks this often whether to stop */

/*
 * The detail of BEGIN and END: whose keys these are, and the last one read; without a key, the beginning.
 *
 *   offset  bytes
 *        0      8  fingerprint of the table's version
 *        8      4  checksum of what decides the order of its keys
 *       12     ..  key, as in a Change
 */
#define BACKFILL_DETAIL_BYTES 12

typedef struct Backfill
{
	const BackfillContext *context;
	const char *relation;
	PGconn *reader;	  /* holds the snapshot and the lock */
	PGconn *exporter; /* walsender with the temporary slot */
	PGconn *observer; /* ordinary snapshots, beats, blockers */
	uint64_t id;	  /* 0: none begun */
	uint32_t chunk;
	bool round;	  /* of the listed keys */
	Buffer first; /* key the chunk begins after; empty: the beginning */
	Buffer last;  /* detail of the last END, or of the next */
	uint32_t oid;
	char filenode[24];
	TableKey key;
	Buffer describe; /* Entry message with the Relation */
	uint64_t fingerprint;
	char snapshot[64];
	Lsn point; /* C */
	int64_t exported_us;
	int64_t reading_us;
	bool begun; /* .. and neither ended nor aborted */
	bool header_seen;
	bool cut;		/* the chunk ends before the table does */
	bool rewritten; /* .. or it cannot be read: the table is not what the snapshot shows */
	Buffer rows;
	uint32_t nrows;
	size_t last_row;	 /* where in rows */
	uint64_t chunk_rows; /* of this chunk, appended */
	uint64_t left_out;	 /* .. and those that row filters leave out */
	uint64_t limit;		 /* of one COPY; 0 = none */
	BackfillProgress progress;
} Backfill;

extern void backfill_report(Backfill *backfill, const char *phase);
/* True, with ERR_RETRY, when the reading is to end. */
extern bool backfill_stopped(const Backfill *backfill, Error *err);
/* The unit for a step of this chunk. */
extern void backfill_unit(const Backfill *backfill, Unit *unit, BackfillStep step);
extern void backfill_set_key(Backfill *backfill, Slice key);
extern Slice backfill_last_key(const Backfill *backfill);

/* B5: the rows of the chunk, from `first` or those of `keys`, into the journal; sets `cut` and `last`. */
extern bool backfill_read_rows(Backfill *backfill, const Buffer *keys, Error *err);

#endif /* WALRANK_BACKFILL_PRIVATE_H */
