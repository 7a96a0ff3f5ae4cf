/*
 * document/date.c
 *	  BSON's dates, milliseconds since 1970, from and to ISO 8601, timestamptz
 *	  and interval.
 *
 * The calendar is the proleptic Gregorian one, computed in 64 bits: a BSON
 * date reaches 292 million years in both directions, further than
 * PostgreSQL's own functions do.
 */
#include "mongo_change_stream.h"

#include "common/int.h"
#include "document/document_internal.h"
#include "utils/timestamp.h"

#define MS_PER_DAY	INT64CONST(86400000)

/* From 1970, where BSON counts from, to 2000, where PostgreSQL does. */
#define EPOCH_MS	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * MS_PER_DAY)

/*
 * Days since 1970-01-01 of a day of the calendar; years count from a March, so
 * that a leap day comes last.  An era is 400 years, which have 146,097 days, and
 * 719,468 days lie between 0000-03-01 and 1970-01-01.
 */
static int64
days_of(int64 year, int month, int day)
{
	int64		y = month <= 2 ? year - 1 : year;
	/* C rounds to zero, which would give the years before 0 to the wrong era */
	int64		era = (y >= 0 ? y : y - 399) / 400;
	int64		year_of_era = y - era * 400;
	int64		day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/* The day of the calendar of days since 1970-01-01. */
static void
day_of(int64 days, int64 *year, int *month, int *day)
{
	int64		shifted = days + 719468;
	int64		era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	int64		day_of_era = shifted - era * 146097;
	int64		year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64		day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int			m = (int) ((5 * day_of_year + 2) / 153);

	*day = (int) (day_of_year - (153 * m + 2) / 5 + 1);
	*month = m < 10 ? m + 3 : m - 9;
	*year = year_of_era + era * 400 + (*month <= 2 ? 1 : 0);
}

/* Writes a number with so many digits; returns the end. */
static char *
put_digits(char *to, int number, int count)
{
	for (int i = count - 1; i >= 0; i--, number /= 10)
		to[i] = '0' + number % 10;
	return to + count;
}

/* Appends a date as ISO 8601 in UTC; true if its year has the four digits that reading back needs. */
bool
mcs_document_date_out(StringInfo out, int64 milliseconds)
{
	int64		days = milliseconds / MS_PER_DAY;
	int64		rest = milliseconds % MS_PER_DAY;
	int64		year;
	int			month;
	int			day;
	char		text[40];
	char	   *at = text;

	/* C rounds to zero; a moment before 1970 belongs to the day below */
	if (rest < 0)
	{
		rest += MS_PER_DAY;
		days--;
	}
	day_of(days, &year, &month, &day);
	/* else as ISO 8601 extends years: a sign and at least six digits */
	if (year >= 0 && year <= 9999)
		at = put_digits(at, (int) year, 4);
	else
		at += sprintf(at, "%c%06lld", year < 0 ? '-' : '+', (long long) (year < 0 ? -year : year));
	*at++ = '-';
	at = put_digits(at, month, 2);
	*at++ = '-';
	at = put_digits(at, day, 2);
	*at++ = 'T';
	at = put_digits(at, (int) (rest / 3600000), 2);
	*at++ = ':';
	at = put_digits(at, (int) (rest / 60000 % 60), 2);
	*at++ = ':';
	at = put_digits(at, (int) (rest / 1000 % 60), 2);
	if (rest % 1000 != 0)
	{
		*at++ = '.';
		at = put_digits(at, (int) (rest % 1000), 3);
	}
	*at++ = 'Z';
	appendBinaryStringInfo(out, text, at - text);
	return year >= 0 && year <= 9999;
}

/* Reads exactly so many digits. */
static bool
read_digits(const char **at, const char *end, int count, int *number)
{
	*number = 0;
	if (end - *at < count)
		return false;
	for (int i = 0; i < count; i++, (*at)++)
	{
		if (**at < '0' || **at > '9')
			return false;
		*number = *number * 10 + (**at - '0');
	}
	return true;
}

/* Reads one character. */
static bool
read_char(const char **at, const char *end, char wanted)
{
	if (*at >= end || **at != wanted)
		return false;
	(*at)++;
	return true;
}

/* Reads Z or an offset such as +02:00, +0200 or +02, in minutes. */
static bool
read_zone(const char **at, const char *end, int *minutes)
{
	int			hour;
	int			minute = 0;
	bool		west;

	*minutes = 0;
	if (read_char(at, end, 'Z'))
		return true;
	west = *at < end && **at == '-';
	if (!west && (*at >= end || **at != '+'))
		return false;
	(*at)++;
	if (!read_digits(at, end, 2, &hour))
		return false;
	if (*at < end)
	{
		(void) read_char(at, end, ':');
		if (!read_digits(at, end, 2, &minute))
			return false;
	}
	if (hour > 23 || minute > 59)
		return false;
	*minutes = (hour * 60 + minute) * (west ? -1 : 1);
	return true;
}

/* Reads the digits after a second's point; what is finer than a millisecond is cut off. */
static bool
read_fraction(const char **at, const char *end, int *milliseconds)
{
	int			count = 0;

	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++, count++)
		if (count < 3)
			*milliseconds = *milliseconds * 10 + (**at - '0');
	for (int i = count; i < 3; i++)
		*milliseconds *= 10;
	return count > 0;
}

/* Reads a date such as 2024-05-17T08:30:00.125Z. */
bool
mcs_document_date_in(const char *text, uint32 size, int64 *milliseconds)
{
	static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	const char *at = text;
	const char *end = text + size;
	int			year,
				month,
				day,
				hour,
				minute,
				second = 0,
				fraction = 0,
				zone;

	if (!read_digits(&at, end, 4, &year) || !read_char(&at, end, '-') ||
		!read_digits(&at, end, 2, &month) || !read_char(&at, end, '-') ||
		!read_digits(&at, end, 2, &day) || !read_char(&at, end, 'T') ||
		!read_digits(&at, end, 2, &hour) || !read_char(&at, end, ':') ||
		!read_digits(&at, end, 2, &minute))
		return false;
	if (read_char(&at, end, ':'))
	{
		if (!read_digits(&at, end, 2, &second))
			return false;
		if (read_char(&at, end, '.') && !read_fraction(&at, end, &fraction))
			return false;
	}
	if (!read_zone(&at, end, &zone) || at != end)
		return false;
	/* no second 60: milliseconds since 1970 do not count leap seconds */
	if (month < 1 || month > 12 || day < 1 || day > month_days[month - 1] || hour > 23 || minute > 59 || second > 59)
		return false;
	if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0)))
		return false;
	*milliseconds = days_of(year, month, day) * MS_PER_DAY +
		((INT64CONST(60) * hour + minute - zone) * 60 + second) * 1000 + fraction;
	return true;
}

/* A finite timestamptz in milliseconds since 1970, rounded down. */
int64
mcs_document_timestamptz_to_ms(TimestampTz time)
{
	int64		milliseconds = time / 1000;

	/* C rounds to zero, which would be a millisecond late before 2000 */
	if (time % 1000 < 0)
		milliseconds--;
	return milliseconds + EPOCH_MS;
}

/* A BSON date from a timestamptz; one that is infinite has none. */
int64
mcs_document_date_from_timestamptz(TimestampTz time)
{
	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("an infinite timestamp cannot be a date of a document")));
	return mcs_document_timestamptz_to_ms(time);
}

/* A BSON date as timestamptz, which reaches less far. */
TimestampTz
mcs_document_date_to_timestamptz(int64 milliseconds)
{
	int64		time;

	/* the last check also keeps it from the values that stand for the infinities */
	if (pg_sub_s64_overflow(milliseconds, EPOCH_MS, &time) ||
		pg_mul_s64_overflow(time, 1000, &time) ||
		!IS_VALID_TIMESTAMP(time))
	{
		StringInfoData text;

		initStringInfo(&text);
		mcs_document_date_out(&text, milliseconds);
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range"),
				 errdetail("The date %s is outside the range of timestamp with time zone.", text.data)));
	}
	return time;
}

/* An interval in microseconds, with months of 30 days and days of 24 hours, as intervals compare. */
int128
mcs_document_interval_to_us(const Interval *interval)
{
	/* the months alone may be beyond 64 bits */
	return (int128) interval->time +
		((int128) interval->month * DAYS_PER_MONTH + interval->day) * USECS_PER_DAY;
}

/* An interval in milliseconds, rounded down. */
int64
mcs_document_interval_to_ms(const Interval *interval)
{
	int128		microseconds = mcs_document_interval_to_us(interval);
	int128		milliseconds = microseconds / 1000;

#if PG_VERSION_NUM >= 170000
	if (INTERVAL_NOT_FINITE(interval))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("an infinite interval cannot be a number of milliseconds")));
#endif
	if (microseconds % 1000 < 0)
		milliseconds--;
	/* the longest interval has 5.6 * 10^18 milliseconds */
	return (int64) milliseconds;
}

/* An interval of so many microseconds. */
Interval *
mcs_document_interval_from_us(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return interval;
}
