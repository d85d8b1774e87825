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

/* Of the last days of a month, when the rest is as it should be: whether the month has that day. */
extern bool maptime_day_exists(const char *text);

static inline uint64
maptime_load(const char *at)
{
	uint64 word;

	memcpy(&word, at, sizeof(word));
	return word;
}

/*
 * Nonzero unless each of eight bytes is one that may stand there: punctuation as in `pattern`, a
 * digit from 0 up to the one in `pattern` elsewhere.  `zero` is the pattern with its digits zero.
 * Digits xor '0' are 0..9 and every other byte is larger; adding 0x7f - max sets the top bit of a
 * byte that is too large, and a byte already above 0x7f has it set.
 */
static inline uint64
maptime_misfits(uint64 word, const char *zero, const char *pattern)
{
	uint64 excess = word ^ maptime_load(zero);
	uint64 max = maptime_load(pattern) ^ maptime_load(zero);

	return ((excess + (UINT64CONST(0x7f7f7f7f7f7f7f7f) - max)) | excess) & UINT64CONST(0x8080808080808080);
}

/* Two digits as a number that orders as they do: MAPTIME_TWO("12"). */
#define MAPTIME_TWO(at) ((uint32) (uint8) (at)[0] << 8 | (uint8) (at)[1])

/* Of digits in their places: a month "01" to "12", a day that it has, an hour up to "23", no year 0. */
static inline bool
maptime_in_calendar(const char *text)
{
	if (MAPTIME_TWO(text + 5) - MAPTIME_TWO("01") > MAPTIME_TWO("12") - MAPTIME_TWO("01") ||
		MAPTIME_TWO(text + 11) > MAPTIME_TWO("23") || memcmp(text, "0000", 4) == 0)
		return false;
	return MAPTIME_TWO(text + 8) - MAPTIME_TWO("01") <= MAPTIME_TWO("28") - MAPTIME_TWO("01") ||
		   maptime_day_exists(text);
}

/* Sixteen bytes at a time; GCC and clang make vector instructions of it where there are any. */
typedef uint8 MapTimeLane __attribute__((vector_size(16)));

static inline MapTimeLane
maptime_lane(const char *at)
{
	MapTimeLane lane;

	memcpy(&lane, at, sizeof(lane));
	return lane;
}

/* Whether these MAPTIME_BYTES are a time as we write it, and a day that exists. */
static inline bool
maptime_valid(const char *text)
{
	/* as maptime_misfits(); the second lane overlaps the first: 27 = 16 + 16 - 5 */
	const MapTimeLane zero = maptime_lane("0000-00-00T00:00");
	const MapTimeLane zero_end = maptime_lane("00:00:00.000000Z");
	const MapTimeLane max = maptime_lane("9999-19-39T29:59") ^ zero;
	const MapTimeLane max_end = maptime_lane("29:59:59.999999Z") ^ zero_end;
	MapTimeLane misfits = (MapTimeLane) (((maptime_lane(text) ^ zero) > max) |
										 ((maptime_lane(text + 11) ^ zero_end) > max_end));
	uint64 halves[2];

	memcpy(halves, &misfits, sizeof(halves));
	return (halves[0] | halves[1]) == 0 && maptime_in_calendar(text);
}

/* Text of a source: RFC 3339, or PostgreSQL's ISO style; without a zone it is UTC. False: no time. */
extern bool maptime_from_text(const char *text, uint32 len, char *time);

/* Seconds since 1970, or milliseconds when beyond 1e11; the microsecond nearest. False: no time. */
extern bool maptime_from_numeric(Numeric number, char *time);

#endif /* WALRANK_MAPTIME_H */
