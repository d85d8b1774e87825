/*
 * cancel.h -- asks a server to give up the statement it is at, and does not wait for ever that it hears.
 *
 * libpq makes a connection of its own for that, blocks until the server has closed it, and knows no limit for either:
 * a server that is stopped, or a network that swallows everything, would hold up whoever asks.
 */
#ifndef WALRANK_CANCEL_H
#define WALRANK_CANCEL_H

#include <libpq-fe.h>

/* At most two seconds.  The connection stays as it is, and may be closed at once: the request goes on without it. */
extern void cancel_statement(PGconn *conn);

#endif /* WALRANK_CANCEL_H */
