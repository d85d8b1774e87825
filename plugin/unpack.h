/*
 * unpack.h -- stored values made readable.
 */
#ifndef WALRANK_UNPACK_H
#define WALRANK_UNPACK_H

#include "postgres.h"

/*
 * What detoast_attr says, in memory of its own for a value that is packed, out of line or has a short header, behind a
 * header of four bytes; allocated in the current context.
 */
extern struct varlena *unpack_value(struct varlena *stored);

#endif /* WALRANK_UNPACK_H */
