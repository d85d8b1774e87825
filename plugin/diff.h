/*
 * diff.h -- the images of a row become one Change.
 *
 * Attributes come in column order; a jsonb object is one attribute per top-level key, in stored
 * order.  With a full old image each attribute says whether it changed, and keys that are gone are
 * listed.
 */
#ifndef WALRANK_DIFF_H
#define WALRANK_DIFF_H

#include "postgres.h"

#include "access/htup.h"

#include "relmeta.h"
#include "value.h"

/*
 * Append the body of a Change.  Either tuple may be NULL.  Allocates in the current context, which
 * the caller resets.  False, with out to be rewound: the update provably changed nothing.
 */
extern bool change_write(ValueWriter *writer, RelMeta *meta, WireOp op, HeapTuple new_tuple,
						 HeapTuple old_tuple);

#endif /* WALRANK_DIFF_H */
