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

#include "patterns.h"
#include "relmeta.h"
#include "value.h"

/* What of a row is sent.  All zero: everything, without old values. */
typedef struct ChangeStyle
{
	bool delta;		 /* what is known to be unchanged is left out */
	bool old_values; /* beside what changed, as far as the log has them; and what a deleted row held */
	const Patterns *attributes; /* names of columns, or column.key; NULL: all */
} ChangeStyle;

/*
 * Append the body of a Change.  Either tuple may be NULL.  Allocates in the current context, which
 * the caller resets.  False, with out to be rewound: the update changed none of the chosen attributes,
 * provably, and not the key.
 */
extern bool change_write(ValueWriter *writer, RelMeta *meta, const ChangeStyle *style, WireOp op,
						 HeapTuple new_tuple, HeapTuple old_tuple);

/* Append the body of a Change that has only its key, as far as it is known, with a flag beside what that takes. */
extern void change_write_key(ValueWriter *writer, RelMeta *meta, WireOp op, HeapTuple new_tuple,
							 HeapTuple old_tuple, uint32 flag);

#endif /* WALRANK_DIFF_H */
