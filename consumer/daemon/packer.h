/*
 * packer.h -- compresses segments of journal and feed that everyone is past, when nothing better is to be done.
 *
 * One thread of the lowest priority.  Nobody waits for it, and nothing depends on it: what it has not compressed
 * is read as it is.
 */
#ifndef WALRANK_PACKER_H
#define WALRANK_PACKER_H

#include "daemon/scorer_thread.h"

typedef struct Packer Packer;

/* NULL when neither log is to be compressed. */
extern Packer *packer_start(State *state, const Config *config, ThreadFailed failed, void *context);
/* Units below these are behind every reader. */
extern void packer_passed(Packer *packer, uint64_t journal_below, uint64_t feed_below);
extern void packer_stop(Packer *packer);

#endif /* WALRANK_PACKER_H */
