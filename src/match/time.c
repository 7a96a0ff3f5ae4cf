/*
 * match/time.c
 *	  Conditions on cluster_time and change_timestamp.
 *
 * cluster_time is clusterTime with its ordinal as microseconds, at most 999999,
 * so its conditions are exact: what lies beyond that microsecond begins with
 * the next second.  change_timestamp is wallTime or, where there is none that
 * a timestamptz can hold, the second of clusterTime; then the event comes
 * through.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "utils/timestamp.h"

#define UNIX_EPOCH_US ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define LAST_US (USECS_PER_SEC - 1)

/* {key: {word: timestamp}} */
static MatchFilter *
cluster_test(const char *word, int64 seconds, uint32 ordinal)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "clusterTime");
	mcs_document_append_timestamp(&builder, word, (uint32) seconds, ordinal);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}

/* Events with a cluster time. */
static MatchFilter *
cluster_exists(bool exists)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "clusterTime");
	mcs_document_append_bool(&builder, "$exists", exists);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}

/* Events whose cluster_time is at least a time (or, with after, later than it). */
static MatchFilter *
cluster_from(TimestampTz time, bool after)
{
	int64		seconds;
	int64		ordinal;

	if (TIMESTAMP_IS_NOEND(time))
		return mcs_match_none();
	if (TIMESTAMP_IS_NOBEGIN(time) || time < -UNIX_EPOCH_US)
		return cluster_exists(true);
	seconds = (time + UNIX_EPOCH_US) / USECS_PER_SEC;
	ordinal = (time + UNIX_EPOCH_US) % USECS_PER_SEC;
	/* ordinals beyond the last microsecond show as that one, so what is later begins with the next second */
	if (after && ordinal == LAST_US)
	{
		seconds++;
		ordinal = 0;
		after = false;
	}
	/* no timestamp of BSON is that late */
	if (seconds > PG_UINT32_MAX)
		return mcs_match_none();
	return cluster_test(after ? "$gt" : "$gte", seconds, (uint32) ordinal);
}

/* cluster_time beside one time that is known. */
static MatchFilter *
cluster_filter(MatchOperator operator, TimestampTz time)
{
	switch (operator)
	{
		case MATCH_GE:
			return cluster_from(time, false);
		case MATCH_GT:
			return cluster_from(time, true);
		case MATCH_LT:
			return mcs_match_and(cluster_exists(true), mcs_match_not(cluster_from(time, false)));
		case MATCH_LE:
			return mcs_match_and(cluster_exists(true), mcs_match_not(cluster_from(time, true)));
		case MATCH_EQ:
			return mcs_match_and(cluster_from(time, false), mcs_match_not(cluster_from(time, true)));
		case MATCH_NE:
			return mcs_match_and(cluster_exists(true),
								 mcs_match_not(mcs_match_and(cluster_from(time, false),
															 mcs_match_not(cluster_from(time, true)))));
		case MATCH_NO_OPERATOR:
			break;
	}
	return mcs_match_unknown();
}

/* {wallTime: {word: date}}, and where wallTime is no date */
static MatchFilter *
wall_filter(MatchOperator operator, TimestampTz time)
{
	bool		below = operator == MATCH_LT || operator == MATCH_LE;
	int64		milliseconds;
	DocumentBuilder builder;
	MatchFilter *filter;

	if (operator == MATCH_NE || operator == MATCH_NO_OPERATOR || TIMESTAMP_NOT_FINITE(time))
		return mcs_match_unknown();
	milliseconds = mcs_document_timestamptz_to_ms(time);
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "wallTime");
	if (operator == MATCH_EQ)
		mcs_document_append_date(&builder, "$eq", milliseconds);
	/* wallTime has milliseconds, and this was rounded down to one */
	else if (time % 1000 != 0)
		mcs_document_append_date(&builder, below ? "$lte" : "$gt", milliseconds);
	else
		mcs_document_append_date(&builder, mcs_match_word(operator), milliseconds);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	filter = mcs_match_test(mcs_document_finish(&builder), false);

	/* the first and the last dates are none of PostgreSQL's */
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "wallTime");
	mcs_document_begin_object(&builder, "$not");
	mcs_document_append_date(&builder, "$gte", PG_INT64_MIN / 1000000);
	mcs_document_append_date(&builder, "$lt", PG_INT64_MAX / 1000000);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_or(filter, mcs_match_test(mcs_document_finish(&builder), false));
}

/* A time that is not known yet. */
static MatchFilter *
placeholder(const MatchComparison *comparison, MatchOperator operator)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, mcs_event_columns[comparison->operand.column].path);
	mcs_match_append(&builder, mcs_match_word(operator), comparison->items);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), comparison->operand.column == EVENT_CLUSTER_TIME);
}

/* A column of times beside times. */
MatchFilter *
mcs_match_time_column(const MatchComparison *comparison, bool truth)
{
	MatchOperator operator = truth ? comparison->operator : mcs_match_negate(comparison->operator);
	bool		all_of = operator == MATCH_NE;
	MatchFilter *filter = all_of ? mcs_match_all() : mcs_match_none();

	if (operator == MATCH_NO_OPERATOR || comparison->items[0].type != TIMESTAMPTZOID || comparison->is_list ||
		comparison->count > 100)
		return mcs_match_unknown();
	for (int i = 0; i < comparison->count; i++)
	{
		TimestampTz time = DatumGetTimestampTz(comparison->items[i].value);
		MatchFilter *part = !comparison->items[i].known ? placeholder(comparison, operator) :
			comparison->operand.column == EVENT_CLUSTER_TIME ? cluster_filter(operator, time) :
			wall_filter(operator, time);

		filter = all_of ? mcs_match_and(filter, part) : mcs_match_or(filter, part);
	}
	return filter;
}

/* A column of times IS NULL, IS NOT NULL. */
MatchFilter *
mcs_match_time_null(const MatchOperand *operand, bool isnull)
{
	return operand->column == EVENT_CLUSTER_TIME ? cluster_exists(!isnull) : mcs_match_unknown();
}
