/*
 * stopped.h -- the daemon's files for a tool: looked at beside a running daemon, or held under its lock.
 */
#ifndef WALRANK_STOPPED_H
#define WALRANK_STOPPED_H

#include "cli/cli.h"
#include "daemon/state.h"

typedef struct StoppedState
{
	State state;
	JournalIdentity identity;
	SinkHistory history;
	uint64_t first_seq, last_seq; /* of the feed beside a running daemon; 0: none runs */
} StoppedState;

/* Under the lock: no daemon runs, and none can start meanwhile. */
extern bool stopped_open(const Config *config, StoppedState *stopped, Error *err);
/* Reading alone: a daemon may run. */
extern bool stopped_look(const Config *config, StoppedState *stopped, Error *err);
extern SinkSource stopped_source(const StoppedState *stopped);
extern void stopped_close(StoppedState *stopped);

/* The section of the configuration; ERR_CONFIG with those there are. */
extern const SinkConfig *cli_find_sink(const Config *config, const char *name, Error *err);

#endif /* WALRANK_STOPPED_H */
