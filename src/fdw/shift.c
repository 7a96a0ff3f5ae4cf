/*
 * fdw/shift.c
 *	  Expressions over a time that stay near it: its date, what its clock shows
 *	  in some time zone, its hour, its seconds since 1970.
 *
 * That is how tools write conditions on time.  Such an expression bounds a read
 * if it is known how far its value can lie from the time: a FdwShift says how
 * many hours later (up), how many hours earlier (down), and how often a time
 * zone comes in between.  A bound is moved by that much, and the condition is
 * evaluated as well, so a shift may be too wide but never too narrow.
 *
 * Time zones differ from UTC by less than 16 hours where they are somebody's,
 * by 14 at most where they are abbreviations.  But PostgreSQL takes zones that
 * are spelled out, too, such as XYZ-167, with up to 167 hours; summer time is an
 * hour more.  Only where the session has set such a one when the read begins is
 * so much left for it; all others may be set while a cursor is open.
 *
 * An argument that is an error (a unit or a zone that there is not) bounds
 * nothing, so that PostgreSQL meets the rows that it complains of.
 */
#include "mongo_change_stream.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "fdw/fdw.h"
#include "parser/scansup.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

/* How far a clock can be from UTC, in hours: anywhere on earth, and in a zone that is spelled out. */
#define ZONE_HOURS			26
#define ODD_ZONE_HOURS		170

/* Functions within functions that are followed; each rounds by a second at most, and doubles by less. */
#define MAX_STEPS			8
#define ROUNDING_S			10

/* Whether a zone is spelled out with more than 24 hours; rules of summer time may be taken for such. */
static bool
is_odd_zone(const char *name)
{
	const char *at = name;

	while (*at)
	{
		bool		minutes = at - name >= 2 && at[-1] == ':' && isdigit((unsigned char) at[-2]);
		char	   *end;

		if (!isdigit((unsigned char) *at))
		{
			at++;
			continue;
		}
		if (strtoul(at, &end, 10) > 24 && !minutes)
			return true;
		at = end;
	}
	return false;
}

static void
shift_both(FdwShift *shift, int hours)
{
	shift->up += hours;
	shift->down += hours;
}

/* The text that an argument is, or NULL. */
static char *
text_of(Node *node)
{
	Const	   *constant = (Const *) node;

	if (!IsA(node, Const) || constant->constisnull || constant->consttype != TEXTOID)
		return NULL;
	return TextDatumGetCString(constant->constvalue);
}

/*
 * A clock in a zone that is named; abbreviations that are no zone's name are
 * not followed.  What else stands before the names may be the session's: since
 * PostgreSQL 18 XYZ is XYZ-167 where that is set.
 */
static bool
shift_by_zone(FdwShift *shift, Node *zone)
{
	char	   *name = text_of(zone);

	if (name == NULL || strlen(name) > TZ_STRLEN_MAX || pg_tzset(name) == NULL)
		return false;
	if (is_odd_zone(name))
		shift_both(shift, ODD_ZONE_HOURS);
	else
		shift->zones++;
	return true;
}

/* A clock that is so much ahead. */
static bool
shift_by_interval(FdwShift *shift, Node *node)
{
	Const	   *constant = (Const *) node;
	Interval   *zone;

	if (!IsA(node, Const) || constant->constisnull)
		return false;
	zone = DatumGetIntervalP(constant->constvalue);
	if (zone->month != 0 || zone->day != 0 ||
		zone->time > ODD_ZONE_HOURS * USECS_PER_HOUR || zone->time < -ODD_ZONE_HOURS * USECS_PER_HOUR)
		return false;
	shift_both(shift, (int) ((zone->time < 0 ? -zone->time : zone->time) / USECS_PER_HOUR) + 1);
	return true;
}

/* The hours of a unit of date_trunc at most; 0: it is none. */
static int
unit_hours(const char *name)
{
	char	   *lower = downcase_truncate_identifier(name, (int) strlen(name), false);
	int			unit;

	if (DecodeUnits(0, lower, &unit) != UNITS)
		return 0;
	switch (unit)
	{
		case DTK_MICROSEC:
		case DTK_MILLISEC:
		case DTK_SECOND:
		case DTK_MINUTE:
		case DTK_HOUR:
			return 1;
		case DTK_DAY:
			return HOURS_PER_DAY;
		case DTK_WEEK:
			return 7 * HOURS_PER_DAY;
		case DTK_MONTH:
			return 31 * HOURS_PER_DAY;
		case DTK_QUARTER:
			return 92 * HOURS_PER_DAY;
		case DTK_YEAR:
			return 366 * HOURS_PER_DAY;
		case DTK_DECADE:
			return 3660 * HOURS_PER_DAY;
		case DTK_CENTURY:
			return 36600 * HOURS_PER_DAY;
		case DTK_MILLENNIUM:
			return 366000 * HOURS_PER_DAY;
		default:
			return 0;
	}
}

/*
 * The beginning of a unit: up to a whole unit earlier.  From days on the
 * clock may have been put forward or back since; midnight can even come twice.
 */
static bool
shift_by_trunc(FdwShift *shift, const FuncExpr *function)
{
	char	   *unit = text_of(linitial(function->args));
	int			hours = unit ? unit_hours(unit) : 0;

	if (hours == 0)
		return false;
	shift->down += hours;
	if (function->funcid == F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT)
		return shift_by_zone(shift, lthird(function->args));
	if (function->funcid == F_DATE_TRUNC_TEXT_TIMESTAMPTZ && hours > 1)
		shift->zones++;
	return true;
}

/* Seconds since 1970. */
static bool
is_epoch(Node *field)
{
	char	   *name = text_of(field);

	return name && pg_strcasecmp(name, "epoch") == 0;
}

/* Takes off one function; returns its argument, or NULL where it leads away from the time. */
static Node *
take_off(FdwShift *shift, const FuncExpr *function)
{
	switch (function->funcid)
	{
			/* a date, or a clock in the session's time zone, and back */
		case F_DATE_TIMESTAMPTZ:
			shift->down += HOURS_PER_DAY;
			shift->zones++;
			return linitial(function->args);
		case F_TIMESTAMP_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_TIMESTAMP:
		case F_TIMESTAMPTZ_DATE:
#ifdef F_TIMEZONE_TIMESTAMPTZ
		case F_TIMEZONE_TIMESTAMPTZ:
		case F_TIMEZONE_TIMESTAMP:
#endif
			shift->zones++;
			return linitial(function->args);
		case F_DATE_TIMESTAMP:
			shift->down += HOURS_PER_DAY;
			return linitial(function->args);

			/* AT TIME ZONE */
		case F_TIMEZONE_TEXT_TIMESTAMPTZ:
		case F_TIMEZONE_TEXT_TIMESTAMP:
			return shift_by_zone(shift, linitial(function->args)) ? lsecond(function->args) : NULL;
		case F_TIMEZONE_INTERVAL_TIMESTAMPTZ:
		case F_TIMEZONE_INTERVAL_TIMESTAMP:
			return shift_by_interval(shift, linitial(function->args)) ? lsecond(function->args) : NULL;

		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
		case F_DATE_TRUNC_TEXT_TIMESTAMP:
			return shift_by_trunc(shift, function) ? lsecond(function->args) : NULL;

			/* extract(epoch from …), date_part('epoch', …) */
		case F_EXTRACT_TEXT_TIMESTAMPTZ:
		case F_EXTRACT_TEXT_TIMESTAMP:
		case F_EXTRACT_TEXT_DATE:
		case F_DATE_PART_TEXT_TIMESTAMPTZ:
		case F_DATE_PART_TEXT_TIMESTAMP:
			return is_epoch(linitial(function->args)) ? lsecond(function->args) : NULL;

			/* what changes the type, or rounds to a second at most */
		case F_TIMESTAMP_DATE:
		case F_TIMESTAMP_TIMESTAMP_INT4:
		case F_TIMESTAMPTZ_TIMESTAMPTZ_INT4:
		case F_FLOAT8_NUMERIC:
		case F_NUMERIC_FLOAT8:
		case F_INT8_NUMERIC:
		case F_INT8_FLOAT8:
		case F_INT8_INT4:
		case F_INT4_NUMERIC:
		case F_INT4_FLOAT8:
		case F_INT4_INT8:
		case F_NUMERIC_INT8:
		case F_NUMERIC_INT4:
		case F_FLOAT8_INT8:
		case F_FLOAT8_INT4:
		case F_FLOOR_NUMERIC:
		case F_FLOOR_FLOAT8:
		case F_CEIL_NUMERIC:
		case F_CEIL_FLOAT8:
		case F_CEILING_NUMERIC:
		case F_CEILING_FLOAT8:
		case F_ROUND_NUMERIC:
		case F_ROUND_FLOAT8:
		case F_TRUNC_NUMERIC:
		case F_TRUNC_FLOAT8:
			return linitial(function->args);
		default:
			return NULL;
	}
}

/* What an expression shifts; NULL: it is none that stays near a time.  *shift says by how much. */
Node *
mcs_fdw_unshift(Node *node, FdwShift *shift)
{
	memset(shift, 0, sizeof(*shift));
	for (int step = 0; node != NULL && IsA(node, FuncExpr); step++)
	{
		if (step == MAX_STEPS)
			return NULL;
		node = take_off(shift, (FuncExpr *) node);
		shift->shifted = true;
	}
	return node;
}

/* The values on both sides of a comparison are of these types, so one may be taken to the other's. */
bool
mcs_fdw_shift_compares(FdwShift *shift, Oid expression, Oid value)
{
	bool		is_time = value == TIMESTAMPTZOID || value == TIMESTAMPOID || value == DATEOID;

	if (expression == TIMESTAMPTZOID || expression == TIMESTAMPOID || expression == DATEOID)
	{
		if ((expression == TIMESTAMPTZOID) != (value == TIMESTAMPTZOID))
			shift->zones++;
		return is_time;
	}
	return value == NUMERICOID || value == FLOAT8OID || value == INT8OID || value == INT4OID;
}

/* Seconds since 1970 as a time; what is beyond all times, NaN among it, is infinite. */
static Timestamp
epoch_to_timestamp(double seconds)
{
	const double limit = 1e12;

	if (isnan(seconds) || seconds > limit)
		return DT_NOEND;
	if (seconds < -limit)
		return DT_NOBEGIN;
	return ((int64) seconds - UNIX_EPOCH_OFFSET_S) * USECS_PER_SEC;
}

/* A value that a shifted time is compared with, as what a clock in UTC shows. */
Timestamp
mcs_fdw_shift_value(Oid type, Datum value)
{
	int			overflow;

	switch (type)
	{
		case DATEOID:
			return date2timestamp_opt_overflow(DatumGetDateADT(value), &overflow);
		case NUMERICOID:
			return epoch_to_timestamp(DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value)));
		case FLOAT8OID:
			return epoch_to_timestamp(DatumGetFloat8(value));
		case INT8OID:
			return epoch_to_timestamp((double) DatumGetInt64(value));
		case INT4OID:
			return epoch_to_timestamp(DatumGetInt32(value));
		default:
			return DatumGetTimestamp(value);
	}
}

/* How many seconds time zones may add. */
static int64
zone_seconds(const FdwShift *shift)
{
	bool		odd = is_odd_zone(pg_get_timezone_name(session_timezone));

	return (int64) shift->zones * (odd ? ODD_ZONE_HOURS : ZONE_HOURS) * SECS_PER_HOUR;
}

/* How many seconds an expression may lie after the time, and before it. */
int64
mcs_fdw_shift_up(const FdwShift *shift)
{
	return (int64) shift->up * SECS_PER_HOUR + zone_seconds(shift) + ROUNDING_S;
}

int64
mcs_fdw_shift_down(const FdwShift *shift)
{
	return (int64) shift->down * SECS_PER_HOUR + zone_seconds(shift) + ROUNDING_S;
}
