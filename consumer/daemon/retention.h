/*
 * retention.h -- what of journal and feed nobody can need any more: a decision without I/O.
 *
 * The journal is kept back to the oldest store snapshot, the feed at least as far and to the slowest sink (R8, K6).
 * Beyond that both are kept for a minimum time, the journal only as far as its quota allows.  At the feed's quota either
 * nothing is given up, so that scoring waits, or first the minimum time and then the slowest sink gives way.  No
 * decision ever passes the oldest snapshot; what could only be had by that asks for a newer one (R4).
 */
#ifndef WALRANK_RETENTION_H
#define WALRANK_RETENTION_H

#include "journal/seglog.h"

/* The newest snapshot and what follows it have room in this part of a quota, for up to two snapshots kept. */
#define RETENTION_SNAPSHOT_PART 4

typedef struct RetentionLog
{
	const SegInfo *segments; /* as seglog_list() gives them */
	int n;
	uint64_t aged;	/* units up to this have been kept for the minimum time; UINT64_MAX: there is none */
	uint64_t quota; /* bytes; 0: none */
	bool full;		/* the quota has refused an append that still waits */
} RetentionLog;

typedef struct RetentionSink
{
	uint64_t seq;  /* of its checkpoint; 0 while that is not known */
	bool starting; /* .. and it is just being read: not a reason to give the sink up */
	bool given_up;
} RetentionSink;

typedef struct RetentionInput
{
	RetentionLog journal;
	RetentionLog feed;
	uint64_t store_seq;		  /* committed */
	uint64_t snapshot_oldest; /* 0: none, or of the empty store: nothing may go */
	uint64_t snapshot_newest;
	int snapshots; /* how many are kept */
	const RetentionSink *sinks;
	int nsinks;
	bool give_up; /* feed.at_quota */
} RetentionInput;

typedef struct RetentionPlan
{
	uint64_t journal_below; /* whole segments of units below this may go; 1: none */
	uint64_t feed_below;
	int give_up;		/* index of a sink, -1: none. Its hold on the feed ends with the next decision */
	bool want_snapshot; /* a newer snapshot would let something go */
	/* Every snapshot but the newest may go: they alone keep a full log full, and no newer one can be made as nothing can be
	 * appended. */
	bool newest_only;
} RetentionPlan;

extern RetentionPlan retention_decide(const RetentionInput *input);

#endif /* WALRANK_RETENTION_H */
