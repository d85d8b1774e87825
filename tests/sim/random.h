/*
 * random.h -- all chance of a run comes from one seed: the same seed is the same run.
 */
#ifndef WALRANK_SIM_RANDOM_H
#define WALRANK_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Random
{
	uint64_t state;
} Random;

/* splitmix64 */
static inline uint64_t
random_next(Random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 .. n - 1 */
static inline uint64_t
random_below(Random *random, uint64_t n)
{
	return random_next(random) % n;
}

/* low .. high */
static inline uint64_t
random_between(Random *random, uint64_t low, uint64_t high)
{
	return low + random_below(random, high - low + 1);
}

/* n times out of `of` */
static inline bool
random_chance(Random *random, uint64_t n, uint64_t of)
{
	return random_below(random, of) < n;
}

static inline uint64_t
mix(uint64_t a, uint64_t b)
{
	Random random = {a ^ b * UINT64_C(0xff51afd7ed558ccd)};

	return random_next(&random);
}

#endif /* WALRANK_SIM_RANDOM_H */
