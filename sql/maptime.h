/*
 * maptime.h -- when an attribute of a map was set.
 *
 * A time is kept as MAPTIME_BYTES of text, "YYYY-MM-DDTHH:MM:SS.ffffffZ", always UTC and always that
 * wide: two times compare with memcmp, and no session setting takes part in reading or writing one.
 * What cannot be written so (year 0 or 10000, infinity, noise) is no time; nothing here raises an
 * error for what a source may have sent.
 */
#ifndef WALRANK_MAPTIME_H
#define WALRANK_MAPTIME_H

#include "postgres.h"
#include "utils/numeric.h"

#define MAPTIME_BYTES 27

/* What an attribute without a time counts as: 1970-01-01. */
extern const char maptime_none[MAPTIME_BYTES + 1];

/* Whether these MAPTIME_BYTES are a time as we write it, and a day that exists. */
extern bool maptime_valid(const char *text);

/* Text of a source: RFC 3339, or PostgreSQL's ISO style; without a zone it is UTC. False: no time. */
extern bool maptime_from_text(const char *text, uint32 len, char *time);

/* Seconds since 1970, or milliseconds when beyond 1e11; the microsecond nearest. False: no time. */
extern bool maptime_from_numeric(Numeric number, char *time);

#endif /* WALRANK_MAPTIME_H */
