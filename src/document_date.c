/*
 * document_date.c
 *	  BSON's dates, milliseconds since 1970, from and to ISO 8601.
 *
 * The calendar is the proleptic Gregorian one, computed in 64 bits: a BSON
 * date reaches 292 million years in both directions, further than
 * PostgreSQL's own functions do.
 */
#include "mongo_change_stream.h"

#include "document.h"

#define MS_PER_DAY	INT64CONST(86400000)

/* Days since 1970-01-01 of a day of the calendar; years count from a March, so that a leap day comes last. */
static int64
days_of(int64 year, int month, int day)
{
	int64		y = month <= 2 ? year - 1 : year;
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

/* Appends a date as ISO 8601 in UTC; true if its year has the four digits that reading back needs. */
bool
mcs_document_date_out(StringInfo out, int64 milliseconds)
{
	int64		days = milliseconds / MS_PER_DAY;
	int64		rest = milliseconds % MS_PER_DAY;
	int64		year;
	int			month;
	int			day;

	if (rest < 0)
	{
		rest += MS_PER_DAY;
		days--;
	}
	day_of(days, &year, &month, &day);
	if (year >= 0 && year <= 9999)
		appendStringInfo(out, "%04d", (int) year);
	else
		appendStringInfo(out, "%c%06lld", year < 0 ? '-' : '+', (long long) (year < 0 ? -year : year));
	appendStringInfo(out, "-%02d-%02dT%02d:%02d:%02d", month, day,
					 (int) (rest / 3600000), (int) (rest / 60000 % 60), (int) (rest / 1000 % 60));
	if (rest % 1000 != 0)
		appendStringInfo(out, ".%03d", (int) (rest % 1000));
	appendStringInfoChar(out, 'Z');
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
	if (month < 1 || month > 12 || day < 1 || day > month_days[month - 1] || hour > 23 || minute > 59 || second > 59)
		return false;
	if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0)))
		return false;
	*milliseconds = days_of(year, month, day) * MS_PER_DAY +
		((INT64CONST(60) * hour + minute - zone) * 60 + second) * 1000 + fraction;
	return true;
}
