/*
 * store_look.h -- a snapshot of the store, for tools: looked at where it lies, or copied and used.
 *
 * A snapshot is never written once it has its name, so it is read without locks and without any trace beside
 * the daemon that owns it; if the daemon removes it meanwhile, what is open stays readable.
 */
#ifndef WALRANK_STORE_LOOK_H
#define WALRANK_STORE_LOOK_H

#include "score/store.h"

/*
 * The newest snapshot of a unit up to seq_max, for reading alone: store_commit() on it fails.
 * ERR_REFUSE: there is none, or it is of another stream or format.
 */
extern bool store_look(int dirfd, const StreamId *stream_id, uint64_t seq_max, Store **store, Error *err);
/* The same copied into an empty directory and opened there, to be written: the original is not touched. */
extern bool store_look_copy(int dirfd, const StreamId *stream_id, uint64_t seq_max, int to_dirfd,
							const StoreSettings *settings, Store **store, Error *err);
/* The file of a store that was closed clean, into another empty directory: a second one that may be opened. */
extern bool store_look_duplicate(int dirfd, int to_dirfd, Error *err);
/* The unit of the newest snapshot; 0: there is none. */
extern bool store_look_newest(int dirfd, uint64_t *seq, Error *err);

#endif /* WALRANK_STORE_LOOK_H */
