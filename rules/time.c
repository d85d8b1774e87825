/*
 * time.c -- times written as text.
 *
 *   YYYY-MM-DD [ ("T" | " ") HH:MM [ :SS [ .fraction ] ] [ "Z" | (+|-)HH[[:]MM] ] ]
 *
 * Strict on purpose: what a person could read in two ways is no time.  Years 0001 to 9999, no leap
 * second, no 24:00, no words, no spaces around.  A fraction is rounded to microseconds, half up.
 */
#include "rules.h"

#define FRACTION_DIGITS_MAX 30
#define DAYS_1970_TO_2000 10957
#define ZONE_HOURS_MAX 15 /* PostgreSQL's limit is 15:59 as well */

typedef struct Reader
{
	const uint8_t *at;
	const uint8_t *end;
} Reader;

static bool
read_char(Reader *reader, char c)
{
	if (reader->at >= reader->end || *reader->at != (uint8_t) c)
		return false;
	reader->at++;
	return true;
}

/* Exactly n digits. */
static bool
read_digits(Reader *reader, int n, int *number)
{
	*number = 0;
	if (reader->end - reader->at < n)
		return false;
	for (int i = 0; i < n; i++)
	{
		uint8_t c = *reader->at++;

		if (c < '0' || c > '9')
			return false;
		*number = *number * 10 + (c - '0');
	}
	return true;
}

static int
month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

/* Days since 2000-01-01 in the proleptic Gregorian calendar; year >= 1. */
static int64_t
date_days(int year, int month, int day)
{
	/* years begin in March, so that the leap day is the last one */
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468 - DAYS_1970_TO_2000;
}

static bool
read_date(Reader *reader, int64_t *days)
{
	int year;
	int month;
	int day;

	if (!read_digits(reader, 4, &year) || !read_char(reader, '-') || !read_digits(reader, 2, &month) ||
		!read_char(reader, '-') || !read_digits(reader, 2, &day))
		return false;
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days(year, month))
		return false;
	*days = date_days(year, month, day);
	return true;
}

/* After the point: at least one digit; the seventh one rounds. */
static bool
read_fraction(Reader *reader, int64_t *us)
{
	int n = 0;

	*us = 0;
	for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++, n++)
	{
		int digit = *reader->at - '0';

		if (n < 6)
			*us = *us * 10 + digit;
		else if (n == 6)
			*us += digit >= 5;
		else if (n == FRACTION_DIGITS_MAX)
			return false;
	}
	for (int i = n; i < 6; i++)
		*us *= 10;
	return n > 0;
}

static bool
read_clock(Reader *reader, int64_t *us)
{
	int hour;
	int minute;
	int second = 0;
	int64_t fraction_us = 0;

	if (!read_digits(reader, 2, &hour) || !read_char(reader, ':') || !read_digits(reader, 2, &minute))
		return false;
	if (read_char(reader, ':'))
	{
		if (!read_digits(reader, 2, &second))
			return false;
		if (read_char(reader, '.') && !read_fraction(reader, &fraction_us))
			return false;
	}
	if (hour > 23 || minute > 59 || second > 59)
		return false;
	*us = ((hour * INT64_C(60) + minute) * 60 + second) * 1000000 + fraction_us;
	return true;
}

/* Nothing is UTC. */
static bool
read_zone(Reader *reader, int64_t *us)
{
	int hours;
	int minutes = 0;
	bool west;

	*us = 0;
	if (reader->at >= reader->end || read_char(reader, 'Z') || read_char(reader, 'z'))
		return true;
	west = *reader->at == '-';
	if (!read_char(reader, '-') && !read_char(reader, '+'))
		return false;
	if (!read_digits(reader, 2, &hours))
		return false;
	if (reader->at < reader->end)
	{
		read_char(reader, ':');
		if (!read_digits(reader, 2, &minutes))
			return false;
	}
	if (hours > ZONE_HOURS_MAX || minutes > 59)
		return false;
	*us = (hours * INT64_C(60) + minutes) * 60000000 * (west ? -1 : 1);
	return true;
}

bool
rules_parse_time(Slice text, int64_t *time_us)
{
	Reader reader = {text.data, text.data + text.len};
	int64_t days;
	int64_t clock_us = 0;
	int64_t zone_us = 0;

	if (!read_date(&reader, &days))
		return false;
	if (reader.at < reader.end)
	{
		if (!read_char(&reader, 'T') && !read_char(&reader, 't') && !read_char(&reader, ' '))
			return false;
		if (!read_clock(&reader, &clock_us) || !read_zone(&reader, &zone_us) || reader.at < reader.end)
			return false;
	}
	*time_us = days * INT64_C(86400000000) + clock_us - zone_us;
	return true;
}
