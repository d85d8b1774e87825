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

static inline int
two_digits(const char *at)
{
	return (at[0] - '0') * 10 + (at[1] - '0');
}

bool
maptime_day_exists(const char *text)
{
	static const int8 days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int year = two_digits(text) * 100 + two_digits(text + 2);
	int month = two_digits(text + 5);
	int day = two_digits(text + 8);

	return day >= 1 && (day <= days[month - 1] || (month == 2 && day == 29 && isleap(year)));
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

/*
 * "YYYY-MM-DD HH:MM:SS" or with T, by far the most frequent form: checked in registers, since bytes
 * read back right after they were written make the processor wait.
 */
static bool
rewrite_seconds(const char *text, char *time)
{
	uint64 date = maptime_load(text);
	uint64 middle = maptime_load(text + 8);
	uint64 clock = maptime_load(text + 11);
	uint64 separator = maptime_load("\0\0\xff\0\0\0\0\0");

	if (text[10] == ' ')
		middle = (middle & ~separator) | (maptime_load("TTTTTTTT") & separator);
	if ((maptime_misfits(date, "0000-00-", "9999-19-") | maptime_misfits(middle, "00T00:00", "39T29:59") |
		 maptime_misfits(clock, "00:00:00", "29:59:59")) != 0 ||
		!maptime_in_calendar(text))
		return false;

	memcpy(time, &date, sizeof(date));
	memcpy(time + 8, &middle, sizeof(middle));
	memcpy(time + 11, &clock, sizeof(clock));
	memcpy(time + MAPTIME_SECONDS_BYTES, ".000000Z", 8);
	return true;
}

/* The same with a fraction of 1 to 6 digits. */
static bool
rewrite_fraction(const char *text, uint32 len, char *time)
{
	memcpy(time, maptime_none, MAPTIME_BYTES);
	memcpy(time, text, len);
	if (time[10] == ' ')
		time[10] = 'T';
	return maptime_valid(time);
}

/* The forms above, with a Z or without a zone. */
static bool
rewrite_plain(const char *text, uint32 len, char *time)
{
	if (len > 0 && text[len - 1] == 'Z')
		len--;
	if (len == MAPTIME_SECONDS_BYTES)
		return rewrite_seconds(text, time);
	return len > MAPTIME_FRACTION_AT && len <= MAPTIME_FRACTION_AT + 6 && rewrite_fraction(text, len, time);
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
