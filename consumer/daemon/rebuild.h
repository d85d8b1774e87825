/*
 * rebuild.h -- a new stream in the place of one whose journal, store or history cannot go on.
 *
 * Takes the slot as it is, or a new one, and begins with an empty journal, feed and store; a backfill
 * fills them.  The new identity names the streams it replaces, so that sinks may be carried over
 * (rule K9).  What was there is moved to a directory beside it, never deleted.  May be repeated after
 * a crash at any step: it goes on where it stopped.
 */
#ifndef WALRANK_REBUILD_H
#define WALRANK_REBUILD_H

#include "daemon/config.h"

typedef struct RebuildRequest
{
	bool new_slot;
	bool dry_run;
} RebuildRequest;

/* The daemon must be stopped.  *said: what was done, or would be, as lines for people. */
extern bool rebuild_stream(const Config *config, const RebuildRequest *request, Buffer *said, Error *err);

#endif /* WALRANK_REBUILD_H */
