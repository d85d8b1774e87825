/*
 * from.h -- what an operator means by --from: a unit's number, or an LSN.
 *
 * An LSN means the first unit whose end_lsn is greater.  A unit that the feed does not hold any more is
 * refused with the first one it does hold, never silently replaced by it.
 */
#ifndef WALRANK_FROM_H
#define WALRANK_FROM_H

#include "sinks/sink.h"

extern bool from_unit(SinkSource source, const char *text, uint64_t *seq, Error *err);

#endif /* WALRANK_FROM_H */
