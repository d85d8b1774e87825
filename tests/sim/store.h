/*
 * store.h -- the scorer's store on the model disk: fast, whole after a kill, anything after a power cut.
 *
 * Which file is used at a start is decided by the product (score/recovery.h).  A commit overwrites the file
 * in place and is never synced, so a power cut mixes states without a trace; snapshots and mark are as R3, R4
 * and R6 want them.
 */
#ifndef WALRANK_SIM_STORE_H
#define WALRANK_SIM_STORE_H

#include "model.h"
#include "score/recovery.h"

typedef enum
{
	SNAPSHOT_NONE,
	SNAPSHOT_BARRIER, /* copied; journal and feed have to be synced */
	SNAPSHOT_SYNC,	  /* the live store, then the copy */
	SNAPSHOT_NAME,	  /* it counts with its name */
	SNAPSHOT_EXPIRE,
} SnapshotStep;

typedef struct ModelStore
{
	int fd;
	StreamId stream_id;
	uint64_t boot;
	ModelState state; /* with what is not committed */
	ModelState committed;
	SnapshotStep step;
	ModelState copied;
	uint64_t oldest;
	uint64_t newest;
} ModelStore;

/* An empty one with its first snapshot; clean. */
extern bool store_model_create(ModelStore *store, const StreamId *stream_id, uint64_t boot, uint64_t engine,
							   Error *err);
extern bool store_model_open(ModelStore *store, const StreamId *stream_id, uint64_t boot,
							 uint64_t journal_last, uint64_t durable, const StoreSettings *settings,
							 Error *err);
extern bool store_model_commit(ModelStore *store, Error *err);
/* One step of a snapshot; at SNAPSHOT_BARRIER the caller syncs journal and feed through store->copied first. */
extern bool store_model_snapshot(ModelStore *store, Error *err);
extern bool store_model_close_clean(ModelStore *store, Error *err);
extern void store_model_mark_torn(ModelStore *store);
extern void store_model_abort(ModelStore *store);

#endif /* WALRANK_SIM_STORE_H */
