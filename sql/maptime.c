/*
 * maptime.c -- see maptime.h.
 *
 * The usual forms are checked and rewritten as text, eight bytes at a time; only the others are
 * turned into a number and back.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "maptime.h"
#include "rules.h"

const char maptime_none[MAPTIME_BYTES + 1] = "1970-01-01T00:00:00.000000Z";

/* A number beyond this is milliseconds: as seconds it would be the year 5138. */
#define MAPTIME_SECONDS_MAX INT64CONST(100000000000)
/* Milliseconds of the year 9999 end below this; it also bounds what arithmetic is asked to do. */
#define MAPTIME_NUMBER_MAX INT64CONST(1000000000000000)

#define MAPTIME_SECONDS_BYTES 19 /* "YYYY-MM-DDTHH:MM:SS" */
#define MAPTIME_FRACTION_AT 20

static inline uint64
load8(const char *at)
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
misfits(const char *at, const char *zero, const char *pattern)
{
	uint64 excess = load8(at) ^ load8(zero);
	uint64 max = load8(pattern) ^ load8(zero);

	return ((excess + (UINT64CONST(0x7f7f7f7f7f7f7f7f) - max)) | excess) & UINT64CONST(0x8080808080808080);
}

static inline int
two_digits(const char *at)
{
	return (at[0] - '0') * 10 + (at[1] - '0');
}

static bool
day_exists(int year, int month, int day)
{
	static const int8 days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return day <= days[month - 1] || (month == 2 && day == 29 && isleap(year));
}

bool
maptime_valid(const char *text)
{
	int month, day;

	/* the last word overlaps the third: 27 = 8 + 8 + 8 + 8 - 5 */
	if ((misfits(text, "0000-00-", "9999-19-") | misfits(text + 8, "00T00:00", "39T29:59") |
		 misfits(text + 16, ":00.0000", ":59.9999") | misfits(text + 19, ".000000Z", ".999999Z")) != 0)
		return false;

	month = two_digits(text + 5);
	day = two_digits(text + 8);
	if (month < 1 || month > 12 || day < 1 || two_digits(text + 11) > 23)
		return false;
	if (memcmp(text, "0000", 4) == 0) /* there is no year 0 */
		return false;
	return day <= 28 || day_exists(two_digits(text) * 100 + two_digits(text + 2), month, day);
}

static void
digits_put(char *at, int width, int value)
{
	for (int i = width - 1; i >= 0; i--, value /= 10)
		at[i] = '0' + value % 10;
}

/* From microseconds since 2000-01-01 UTC; false outside the years 1 to 9999. */
static bool
format(int64 time_us, char *time)
{
	int64 day = time_us / USECS_PER_DAY;
	int64 us = time_us % USECS_PER_DAY;
	int year, month, mday;

	if (us < 0)
	{
		us += USECS_PER_DAY;
		day--;
	}
	if (day < -730119 || day > 2921939) /* 0001-01-01 and 9999-12-31, counted from 2000-01-01 */
		return false;

	j2date((int) day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	memcpy(time, maptime_none, MAPTIME_BYTES);
	digits_put(time, 4, year);
	digits_put(time + 5, 2, month);
	digits_put(time + 8, 2, mday);
	digits_put(time + 11, 2, (int) (us / USECS_PER_HOUR));
	digits_put(time + 14, 2, (int) (us / USECS_PER_MINUTE % MINS_PER_HOUR));
	digits_put(time + 17, 2, (int) (us / USECS_PER_SEC % SECS_PER_MINUTE));
	digits_put(time + MAPTIME_FRACTION_AT, 6, (int) (us % USECS_PER_SEC));
	return true;
}

/* "YYYY-MM-DD HH:MM:SS", with T for the blank, a fraction of 1 to 6 digits, a Z, or none of them. */
static bool
rewrite_plain(const char *text, uint32 len, char *time)
{
	uint32 fraction;

	if (len > 0 && text[len - 1] == 'Z')
		len--;
	if (len < MAPTIME_SECONDS_BYTES || len > MAPTIME_FRACTION_AT + 6 || len == MAPTIME_FRACTION_AT)
		return false;

	memcpy(time, text, MAPTIME_SECONDS_BYTES);
	if (time[10] == ' ')
		time[10] = 'T';
	memcpy(time + MAPTIME_SECONDS_BYTES, maptime_none + MAPTIME_SECONDS_BYTES,
		   MAPTIME_BYTES - MAPTIME_SECONDS_BYTES);
	if (len > MAPTIME_SECONDS_BYTES)
	{
		fraction = len - MAPTIME_SECONDS_BYTES; /* with its point */
		memcpy(time + MAPTIME_SECONDS_BYTES, text + MAPTIME_SECONDS_BYTES, fraction);
	}
	return maptime_valid(time);
}

bool
maptime_from_text(const char *text, uint32 len, char *time)
{
	int64_t time_us;

	if (rewrite_plain(text, len, time))
		return true;
	return rules_parse_time((Slice){(const uint8_t *) text, len}, &time_us) && format(time_us, time);
}

static Datum
numeric_from(int64 value)
{
	return NumericGetDatum(int64_to_numeric(value));
}

bool
maptime_from_numeric(Numeric number, char *time)
{
	Datum value = NumericGetDatum(number);
	Datum size = DirectFunctionCall1(numeric_abs, value);
	int64 scale = USECS_PER_SEC;
	int64 epoch_us;

	if (DatumGetBool(DirectFunctionCall2(numeric_gt, size, numeric_from(MAPTIME_NUMBER_MAX))))
		return false;
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, size, numeric_from(MAPTIME_SECONDS_MAX))))
		scale = USECS_PER_SEC / 1000;

	/* the cast rounds to the nearest microsecond; at most 1e18, so it cannot overflow */
	value = DirectFunctionCall2(numeric_mul, value, numeric_from(scale));
	epoch_us = DatumGetInt64(DirectFunctionCall1(numeric_int8, value));
	return format(epoch_us - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY, time);
}
