/*
 * comparison.h -- two orders of the same items: what comes, goes and moves from one to the other.
 *
 * Pure: items and their two scores go in, figures come out; the same items in the same order give the same
 * figures to the bit.  An order is that of every reader: pinned ones first, by position, then by tier descending,
 * score descending, key ascending.  Per item that is in either of the two: 64 bytes and its key.
 */
#ifndef WALRANK_COMPARISON_H
#define WALRANK_COMPARISON_H

#include "base/arena.h"

#define COMPARISON_TOPS 3 /* 10, 100, 1000 */

extern const size_t comparison_tops[COMPARISON_TOPS];

/* Where an item stands in one of them. */
typedef struct Standing
{
	double score;
	int32_t tier;
	int32_t pin; /* 0: none */
} Standing;

typedef struct ComparedItem
{
	Slice key; /* Value fields, as on the wire */
	Standing before, after;
	uint32_t place_before, place_after; /* from 1; 0: it is not there. After comparison_finish() */
	uint32_t rank_before, rank_after;	/* the same, but one for all that differ by their keys alone */
} ComparedItem;

typedef struct Comparison
{
	ComparedItem *items;
	size_t count;
	size_t capacity;
	Arena *keys;
	/* after comparison_finish() */
	size_t before, after;			   /* how many there are */
	size_t entered, left, moved, same; /* moved: there before and after, and score, tier or pin are others */
	double tau;						 /* Kendall's tau-b of those in both; NaN: undefined, for all are tied */
	size_t overlap[COMPARISON_TOPS]; /* how many of the first so many are the same items .. */
	size_t top[COMPARISON_TOPS];	 /* .. of how many: there may be fewer than asked for */
} Comparison;

extern void comparison_begin(Comparison *comparison);
/* NULL: it is not in that order. Scores are finite. The key is copied. False: there are too many (2^32). */
extern bool comparison_add(Comparison *comparison, Slice key, const Standing *before, const Standing *after);
extern void comparison_finish(Comparison *comparison);
extern void comparison_free(Comparison *comparison);
/*
 * Those that move by the most places, at most `max` of them, the furthest first.  One that enters or leaves
 * moves from or to just behind the last place.  What keeps its place is none.
 */
extern size_t comparison_movers(const Comparison *comparison, const ComparedItem **movers, size_t max);

/*
 * Kendall's tau-b of n pairs: (C - D) / sqrt((C + D + X) (C + D + Y)), where of all pairs of pairs C are in
 * the same order in x and y, D in opposite ones, X tied in x alone and Y in y alone.  NaN when either is
 * constant.  O(n log n), after Knight (1966).
 */
extern double kendall_tau_b(const double *x, const double *y, size_t n);

/* Keys by their values: numbers as numbers, texts by their bytes. <0, 0, >0. */
extern int comparison_key(Slice a, Slice b);

#endif /* WALRANK_COMPARISON_H */
