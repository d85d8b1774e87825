/*
 * filter.h -- row filters of publications.
 *
 * A filter is a user's expression run inside the walsender.  One that fails, at whatever row, never raises an
 * error: its change is reported as failed.  Only tables that have a filter pay for this.
 */
#ifndef WALRANK_FILTER_H
#define WALRANK_FILTER_H

#include "postgres.h"

#include "access/htup.h"

#include "relmeta.h"

/*
 * A filter for a table, in the current context.
 *   conditions  per PublishedKind, as in PublishedTable
 *   descriptor  of the table that the conditions are about
 *   source      per attribute of that table: its index in the tuples, -1 for none
 */
extern RowFilter *filter_make(List *const conditions[PUBLISHED_KINDS], TupleDesc descriptor,
							  const int *source);

typedef enum FilterFate
{
	FILTER_SEND,
	FILTER_SKIP,
	FILTER_FAILED, /* nobody knows */
} FilterFate;

/*
 * Judge a change.  An update that moves its row into or out of the filter becomes an insert or a delete: then
 * *op and the tuples are replaced; new ones are allocated in the current context.
 */
extern FilterFate filter_change(RelMeta *meta, WireOp *op, HeapTuple *new_tuple, HeapTuple *old_tuple);

/* Judge a row that is read, not changed. */
extern FilterFate filter_row(RelMeta *meta, HeapTuple tuple);

#endif /* WALRANK_FILTER_H */
