/*
 * guard.h -- may a snapshot be read with? (rule B3, without I/O)
 *
 * Servers with an old defect export a snapshot that holds a commit which is not in the commit log yet.
 * A reader misses its rows, and its hint bits damage the source table for good.  So every transaction
 * that the exported snapshot counts as finished must first be finished for an ordinary one.
 */
#ifndef WALRANK_GUARD_H
#define WALRANK_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GuardSnapshot
{
	uint64_t xmin; /* all below are finished */
	uint64_t xmax; /* none from here on is */
	uint64_t *xip; /* owned: those between that are not */
	size_t nxip;
} GuardSnapshot;

/* "xmin:xmax:xip,xip,..", as pg_snapshot is written. False: it is not. */
extern bool guard_parse(const char *text, GuardSnapshot *snapshot);
extern void guard_free(GuardSnapshot *snapshot);

/* Every xid that `exported` counts as finished is finished for `ordinary`, taken later, too. */
extern bool guard_agrees(const GuardSnapshot *exported, const GuardSnapshot *ordinary);

#endif /* WALRANK_GUARD_H */
