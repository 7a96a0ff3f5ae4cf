/*
 * projection/definition.c
 *	  The definition of a projection: what each of its options may be.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "projection/projection_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define ON_CHANGE			"on change"
#define MAX_TIMEOUT			(USECS_PER_DAY * 7)
#define MAX_INTERVAL		(USECS_PER_DAY * 366)

/* bounds says in words what low and high are. */
static Datum
bounded_interval(const char *name, Datum value, int64 low, int64 high, const char *bounds)
{
	int64		length = mcs_convert_interval(DatumGetIntervalP(value));

	if (length < low || length > high)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be %s", name, bounds)));
	return value;
}

/* An interval, as text; raises where it is none. */
static Datum
interval_of(const char *text)
{
	return DirectFunctionCall3(interval_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static void
parse_interval(void *arg)
{
	const char **text = arg;

	(void) interval_of(*text);
}

/* on change, also with an underscore; else what can be read as an interval */
static Datum
check_refresh(const Option *option, Datum value)
{
	char	   *given = TextDatumGetCString(value);

	if (pg_strcasecmp(given, ON_CHANGE) == 0 || pg_strcasecmp(given, "on_change") == 0)
		return CStringGetTextDatum(ON_CHANGE);
	if (mcs_attempt_undone(parse_interval, &given) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for %s", given, option->name),
				 errhint("Valid values: on change, or an interval such as 5 minutes.")));
	(void) bounded_interval(option->name, interval_of(given), USECS_PER_SEC, MAX_INTERVAL, "on change, or an interval between 1 second and 366 days");
	return value;
}

static Datum
check_min_interval(const Option *option, Datum value)
{
	return bounded_interval(option->name, value, 0, USECS_PER_DAY, "between 0 and 1 day");
}

static Datum
check_timeout(const Option *option, Datum value)
{
	return bounded_interval(option->name, value, 1000, MAX_TIMEOUT, "between 1 millisecond and 7 days");
}

/* Months are of no fixed length, so they cannot be aligned. */
static Datum
check_window_length(const Option *option, Datum value)
{
	if (DatumGetIntervalP(value)->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must have no months or years", option->name)));
	return bounded_interval(option->name, value, USECS_PER_SEC, MAX_INTERVAL, "between 1 second and 366 days");
}

/* Streams that the caller sees: where they are is told in the status. */
static Datum
check_streams(const Option *option, Datum value)
{
	StreamsSeen seen = mcs_grants_load();
	ListCell   *cell;

	foreach(cell, mcs_convert_text_array(DatumGetArrayTypeP(value)))
	{
		const char *name = lfirst(cell);
		Stream	   *stream = mcs_streams_load(name, false, true);

		if (!stream || !mcs_grants_allow(&seen, name, stream->owner))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("change stream \"%s\" does not exist", name)));
	}
	return value;
}

void
mcs_projection_change_options(ChangeProjection *projection, const OptionChanges *changes)
{
#define CHECK_OF(name, kind, words, fallback, flags, check) check,
	static const OptionCheck checks[] = {PROJECTION_OPTION_LIST(CHECK_OF)};

	mcs_argument_apply(changes, checks, projection);
	projection->every = strcmp(projection->refresh, ON_CHANGE) == 0 ? NULL : DatumGetIntervalP(interval_of(projection->refresh));
}
