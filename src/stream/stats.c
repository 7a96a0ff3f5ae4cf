/*
 * stream/stats.c
 *	  What streams and handlers have done and waited for, as the views
 *	  change_stream_stats and change_handler_stats show it: the numbers of
 *	  shared/numbers.c.
 *
 * The functions are executable by everybody, so each row is shown only to who may
 * see the stream by the rule of the tables (tables/grants.c).
 */
#include "mongo_change_stream.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_numbers);
PG_FUNCTION_INFO_V1(mcs_change_handler_numbers);
PG_FUNCTION_INFO_V1(mcs_reset_change_stream_stats);

#define STATS_COLUMNS	14

/* {"transient": 3, "23505": 1}; the kinds are ours, or SQLSTATEs. */
static Datum
errors_of(const Numbers *numbers)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < NUMBERS_ERRORS && numbers->errors[i].count > 0; i++)
		appendStringInfo(&json, "%s\"%s\": " INT64_FORMAT, i > 0 ? ", " : "", numbers->errors[i].kind, numbers->errors[i].count);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* The columns after those that differ: errors, latencies, since. */
static void
put_rest(ReturnSetInfo *result, const Numbers *numbers, int at, Datum *values, bool *nulls)
{
	int64		half = mcs_numbers_latency(numbers, 0.5);
	int64		most = mcs_numbers_latency(numbers, 0.99);

	values[at] = errors_of(numbers);
	nulls[at + 1] = half < 0;
	values[at + 1] = mcs_status_interval(half);
	nulls[at + 2] = most < 0;
	values[at + 2] = mcs_status_interval(most);
	values[at + 3] = TimestampTzGetDatum(numbers->since);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_stream(ReturnSetInfo *result, const NumbersView *view)
{
	const int64 *counters = view->numbers.counters;
	Datum		values[STATS_COLUMNS];
	bool		nulls[STATS_COLUMNS] = {0};

	values[0] = CStringGetTextDatum(view->stream);
	values[1] = Int64GetDatum(counters[NUMBER_EVENTS]);
	values[2] = Int64GetDatum(counters[NUMBER_BYTES]);
	values[3] = Int64GetDatum(counters[NUMBER_BATCHES]);
	values[4] = Int64GetDatum(counters[NUMBER_TRANSACTIONS]);
	values[5] = mcs_status_interval(counters[NUMBER_WAIT_MONGODB]);
	values[6] = mcs_status_interval(counters[NUMBER_WAIT_COMMIT]);
	values[7] = mcs_status_interval(counters[NUMBER_WAIT_WRITE]);
	values[8] = Int64GetDatum(counters[NUMBER_FILTER_ERRORS]);
	values[9] = Int64GetDatum(counters[NUMBER_COLUMN_ERRORS]);
	put_rest(result, &view->numbers, 10, values, nulls);
}

static void
put_handler(ReturnSetInfo *result, const NumbersView *view)
{
	const int64 *counters = view->numbers.counters;
	Datum		values[STATS_COLUMNS];
	bool		nulls[STATS_COLUMNS] = {0};

	values[0] = CStringGetTextDatum(view->handler);
	values[1] = CStringGetTextDatum(view->stream);
	values[2] = Int64GetDatum(counters[NUMBER_EVENTS]);
	values[3] = Int64GetDatum(counters[NUMBER_BATCHES]);
	values[4] = Int64GetDatum(counters[NUMBER_TRANSACTIONS]);
	values[5] = mcs_status_interval(counters[NUMBER_RUN]);
	values[6] = mcs_status_interval(counters[NUMBER_WAIT_COMMIT]);
	values[7] = mcs_status_interval(counters[NUMBER_WAIT_WRITE]);
	put_rest(result, &view->numbers, 8, values, nulls);
}

/* Makes one view of those of a handler's workers, which lie anywhere behind the first; they are marked as taken. */
static void
merge_workers(NumbersView *views, int count, int first)
{
	for (int i = first + 1; i < count; i++)
		if (strcmp(views[i].handler, views[first].handler) == 0 && strcmp(views[i].stream, views[first].stream) == 0)
		{
			mcs_numbers_merge(&views[first].numbers, &views[i].numbers);
			views[i].handler[0] = '\0';
		}
}

static void
show_numbers(FunctionCallInfo fcinfo, bool of_handlers, void (*put) (ReturnSetInfo *result, const NumbersView *view))
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StreamsSeen seen;
	NumbersView *views;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	views = mcs_numbers_views(of_handlers, &count);
	if (count == 0)
		return;
	seen = mcs_grants_load();
	for (int i = 0; i < count; i++)
	{
		if ((of_handlers && views[i].handler[0] == '\0') || !mcs_grants_allow(&seen, views[i].stream, views[i].owner))
			continue;
		if (of_handlers)
			merge_workers(views, count, i);
		put(result, &views[i]);
	}
}

/* change_stream_numbers() -> setof record */
Datum
mcs_change_stream_numbers(PG_FUNCTION_ARGS)
{
	show_numbers(fcinfo, false, put_stream);
	return (Datum) 0;
}

/* change_handler_numbers() -> setof record */
Datum
mcs_change_handler_numbers(PG_FUNCTION_ARGS)
{
	show_numbers(fcinfo, true, put_handler);
	return (Datum) 0;
}

/* reset_change_stream_stats(stream_name text): of one stream, or (NULL) of all that the caller owns. */
Datum
mcs_reset_change_stream_stats(PG_FUNCTION_ARGS)
{
	char	   *name = mcs_convert_text_argument(fcinfo, 0);
	NumbersView *views;
	int			count;

	if (name)
	{
		(void) mcs_stream_load_own(name, false);
		mcs_numbers_reset(name);
		PG_RETURN_VOID();
	}
	views = mcs_numbers_views(false, &count);
	for (int i = 0; i < count; i++)
		if (has_privs_of_role(GetUserId(), views[i].owner))
			mcs_numbers_reset(views[i].stream);
	PG_RETURN_VOID();
}
