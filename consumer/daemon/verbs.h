/*
 * verbs.h -- what can be said to a running daemon through its control socket: one row each.
 */
#ifndef WALRANK_VERBS_H
#define WALRANK_VERBS_H

#include "daemon/control.h"
#include "daemon/status.h"

/* One sink that begins elsewhere than its section says. */
typedef struct SteeringAdd
{
	const char *name;
	SinkFrom from;
} SteeringAdd;

/* What the verbs work on; lives as long as the control socket. */
typedef struct Steering
{
	HousekeepingParts *parts;
	int64_t started_us; /* wall clock */
	bool (*reload)(void *context, const SteeringAdd *add_or_null, Buffer *answer, Error *err);
	void *context;
} Steering;

extern const ControlVerb steering_verbs[]; /* context: a Steering */

#endif /* WALRANK_VERBS_H */
