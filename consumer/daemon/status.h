/*
 * status.h -- what the daemon is doing, as one JSON document per connection to its Unix socket.
 *
 * <state>/walrankd.sock: connect, read to the end.  "red" says in words why somebody should look.
 */
#ifndef WALRANK_STATUS_H
#define WALRANK_STATUS_H

#include "daemon/housekeeping.h"

#define STATUS_SOCKET "walrankd.sock"

typedef struct StatusInput
{
	const HousekeepingParts *parts;
	int64_t started_us; /* wall clock */
} StatusInput;

extern void status_document(const StatusInput *input, Buffer *out);
/* The listening socket; the directory is only known by its descriptor, so its path may be long. */
extern bool status_listen(int state_dirfd, int *fd, Error *err);
/* One waiting connection, if there is one; a slow reader is dropped. */
extern void status_serve(int fd, const StatusInput *input);

#endif /* WALRANK_STATUS_H */
