/*
 * fdw/start.c
 *	  Where a read begins: where the query says, else where the table says, else
 *	  at the start of the oplog.
 */
#include "mongo_change_stream.h"

#include "fdw/fdw.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A time before any that MongoDB has; 0 would not do as one. */
#define BEFORE_EVERYTHING	(UINT64CONST(1) << 32)

#define UNIX_EPOCH_OFFSET_S ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* The cluster time of a point in time, to the microsecond as cluster_time shows it. */
static uint64
time_of_timestamp(TimestampTz time)
{
	int64		seconds = time / USECS_PER_SEC - (time % USECS_PER_SEC < 0 ? 1 : 0);
	int64		ordinal = time - seconds * USECS_PER_SEC;

	seconds += UNIX_EPOCH_OFFSET_S;
	if (TIMESTAMP_IS_NOBEGIN(time) || seconds < 1)
		return BEFORE_EVERYTHING;
	if (TIMESTAMP_IS_NOEND(time) || seconds > PG_UINT32_MAX)
		return PG_UINT64_MAX;
	return (uint64) seconds << 32 | (uint64) ordinal;
}

static void
start_after(FdwStart *start, const char *token)
{
	start->kind = CHANGE_STREAM_START_AFTER;
	start->token = token;
	start->time = mcs_token_time(token);
}

/* Reads start_at: a word, a token or a time. */
static void
parse_start(FdwStart *start, const char *text)
{
	char	   *token;

	start->asked = strcmp(text, "earliest") != 0;
	if (!start->asked)
		return;
	if (strcmp(text, "now") == 0)
		start->kind = CHANGE_STREAM_NOW;
	else if ((token = mcs_token_read(text)) != NULL)
		start_after(start, token);
	else
		start->time = time_of_timestamp(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
																				ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

/* The start of a read of a table, whose conditions leave a range; allocates in the current memory context. */
void
mcs_fdw_start(const FdwTable *table, const FdwRange *range, FdwStart *start)
{
	start->kind = CHANGE_STREAM_AT_TIME;
	start->token = NULL;
	start->time = BEFORE_EVERYTHING;
	start->asked = true;
	if (range->from > 0)
		start->time = range->from;
	else if (table->resume_after)
		start_after(start, table->resume_after);
	else if (table->start_at)
		parse_start(start, table->start_at);
	else
		start->asked = false;
}
