/*
 * status.h -- what the daemon is doing, as one JSON document.
 *
 * "red" says in words why somebody should look.
 */
#ifndef WALRANK_STATUS_H
#define WALRANK_STATUS_H

#include "daemon/housekeeping.h"

typedef struct StatusInput
{
	const HousekeepingParts *parts;
	int64_t started_us; /* wall clock */
} StatusInput;

extern void status_document(const StatusInput *input, Buffer *out);
/* The array of its sinks alone: {"sinks":[..]}. */
extern void status_sinks(const StatusInput *input, Buffer *out);
/* The tables and the reading under way. */
extern void status_backfills(const StatusInput *input, Buffer *out);

#endif /* WALRANK_STATUS_H */
