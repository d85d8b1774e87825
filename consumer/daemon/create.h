/*
 * create.h -- walrankd --create: a slot and everything that belongs to it, or nothing.
 *
 * Steps (1) to (4) of the protocol, each durable before the next; a crash between any two is taken
 * up again by the next call.  A slot is dropped only when it provably never streamed and is ours.
 * The first backfill (5) is the running daemon's.
 */
#ifndef WALRANK_CREATE_H
#define WALRANK_CREATE_H

#include "daemon/config.h"

extern bool create_stream(const Config *config, Error *err);

#endif /* WALRANK_CREATE_H */
