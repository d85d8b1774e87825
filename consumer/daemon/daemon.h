/*
 * daemon.h -- the threads of walrankd, from start to the last status.
 *
 *   receiver > journal (sync thread) > scorer > feed > sinks        main: signals, status socket
 *   backfill reader and housekeeping append to the journal          store snapshots: their own thread
 *
 * TERM or INT: the stream is closed, what is journaled is scored, sinks drain within
 * shutdown_timeout, everything is synced and marked clean.  A second INT ends at once, which is as
 * safe as a kill.  HUP reads the configuration again, all of it or nothing.
 */
#ifndef WALRANK_DAEMON_H
#define WALRANK_DAEMON_H

#include "daemon/config.h"

/* How the same configuration was asked for, so that HUP can ask again. */
typedef struct ConfigRequest
{
	const char *file;
	const char *const *overrides;
	int noverrides;
	Lsn skip_to; /* a start position given by hand; 0 = none */
} ConfigRequest;

/* Runs until it is told to stop. The process's exit code. */
extern int daemon_run(Config *config, const ConfigRequest *request);
/* 1, 2, 4 or 75, by the error's class. */
extern int daemon_exit_code(const Error *err);

#endif /* WALRANK_DAEMON_H */
