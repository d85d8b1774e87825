/*
 * clock.h -- the only place that asks what time it is.
 *
 * Intervals use the monotonic clock; the wall clock stamps receipts and is shown to people.
 */
#ifndef WALRANK_CLOCK_H
#define WALRANK_CLOCK_H

#include <stdint.h>
#include <time.h>

/* PostgreSQL's epoch, 2000-01-01, in microseconds since 1970-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)

static inline int64_t
clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static inline int64_t
clock_monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

/* Since 1970-01-01 UTC. */
static inline int64_t
clock_wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

#endif /* WALRANK_CLOCK_H */
