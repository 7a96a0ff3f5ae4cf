/*
 * match/cast.c
 *	  Conditions on a value of a document, or its text, cast to a number, a
 *	  time or a boolean.
 *
 * Numbers are let through by their value, by a little more than it where the
 * cast may round.  A cast of a text may read a string as a number, so whatever
 * is not of the right type comes through; a cast of a document takes nothing
 * else and raises an error, so it does not.  Unlike the operators of documents,
 * numeric and double precision have NaN above all numbers.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "match/match_internal.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* A time without a zone, or a day, is that far from the time it is made of at most. */
#define ZONE_MARGIN		(3 * USECS_PER_DAY)

typedef enum CastClass
{
	CAST_NUMBER,
	CAST_TIME,
	CAST_BOOLEAN,
	CAST_OTHER
} CastClass;

static CastClass
class_of(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return CAST_NUMBER;
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
		case DATEOID:
			return CAST_TIME;
		case BOOLOID:
			return CAST_BOOLEAN;
		default:
			return CAST_OTHER;
	}
}

/* Whether conditions on values of a type can be sent. */
bool
mcs_match_can_cast(Oid type)
{
	return class_of(type) != CAST_OTHER;
}

/* Whether a cast between two such types keeps a value nearly as it is. */
bool
mcs_match_can_recast(Oid from, Oid to)
{
	return class_of(from) == class_of(to) && (class_of(to) == CAST_NUMBER || class_of(to) == CAST_TIME);
}

/* A number as a double; false where it is no number. */
static bool
number_of(const MatchDatum *datum, double *number)
{
	switch (datum->type)
	{
		case INT2OID:
			*number = DatumGetInt16(datum->value);
			return true;
		case INT4OID:
			*number = DatumGetInt32(datum->value);
			return true;
		case INT8OID:
			*number = (double) DatumGetInt64(datum->value);
			return true;
		case FLOAT4OID:
			*number = DatumGetFloat4(datum->value);
			return true;
		case FLOAT8OID:
			*number = DatumGetFloat8(datum->value);
			return true;
		case NUMERICOID:
			/* what is beyond all doubles becomes an infinity, where numeric_float8 would raise an error */
			*number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, datum->value));
			return true;
		default:
			return false;
	}
}

/* A time in microseconds; false where it is none, or infinite. */
static bool
time_of(const MatchDatum *datum, int64 *time)
{
	switch (datum->type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			*time = DatumGetTimestampTz(datum->value);
			return !TIMESTAMP_NOT_FINITE(*time);
		case DATEOID:
			if (DATE_NOT_FINITE(DatumGetDateADT(datum->value)))
				return false;
			/* there are dates of millions of years, which no timestamp reaches */
			return !pg_mul_s64_overflow(DatumGetDateADT(datum->value), USECS_PER_DAY, time);
		default:
			return false;
	}
}

/* {key: {$gte: low, $lte: high}}, of which either may be left out */
static MatchFilter *
range_test(const char *key, const Document *low, const Document *high)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	if (low)
		mcs_document_append_document(&builder, "$gte", low);
	if (high)
		mcs_document_append_document(&builder, "$lte", high);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

static Document *
double_document(double number)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_append_double(&builder, NULL, number);
	return mcs_document_finish(&builder);
}

static Document *
date_document(int64 microseconds)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_append_date(&builder, NULL, mcs_document_timestamptz_to_ms(microseconds));
	return mcs_document_finish(&builder);
}

/* Numbers in the relation; those that a cast may round into it as well. */
static MatchFilter *
number_test(const char *key, MatchOperator operator, const MatchComparison *comparison)
{
	const MatchDatum *datum = &comparison->items[0];
	bool		may_be_nan = comparison->operand.type == NUMERICOID || comparison->operand.type == FLOAT4OID ||
		comparison->operand.type == FLOAT8OID;
	double		number;
	double		margin;
	MatchFilter *filter;

	/* beside an infinity every margin is infinite; the caller lets all through that is there */
	if (!number_of(datum, &number) || !isfinite(number))
		return NULL;
	if (comparison->operand.type == NUMERICOID && datum->type == NUMERICOID && !comparison->operand.rounds)
		filter = mcs_match_ordered(key, operator, datum);
	else
	{
		/* more than a real or a rounding to an integer moves a number by */
		margin = 1 + fabs(number) * 1e-6;
		filter = range_test(key, operator == MATCH_LT || operator == MATCH_LE ? NULL : double_document(number - margin),
							operator == MATCH_GT || operator == MATCH_GE ? NULL : double_document(number + margin));
	}
	/* NaN is above all numbers in SQL, and for MongoDB in no order with them: {$gte: NaN} finds NaN alone */
	if (may_be_nan && (operator == MATCH_GT || operator == MATCH_GE))
		filter = mcs_match_or(filter, range_test(key, double_document(get_float8_nan()), NULL));
	return filter;
}

/* Dates in the relation, with what a zone or a rounding may make of them; timestamps all. */
static MatchFilter *
time_test(const char *key, MatchOperator operator, const MatchComparison *comparison)
{
	static const char *const timestamp[] = {"timestamp", NULL};
	const MatchDatum *datum = &comparison->items[0];
	int64		margin = USECS_PER_SEC; /* more than what is cut off to make milliseconds */
	int64		time;
	int64		low;
	int64		high;

	if (!time_of(datum, &time))
		return NULL;
	/* the zone is that of the session, which MongoDB does not know */
	if (comparison->operand.type != TIMESTAMPTZOID || datum->type != TIMESTAMPTZOID || comparison->operand.rounds)
		margin = ZONE_MARGIN;
	if (pg_sub_s64_overflow(time, margin, &low) || pg_add_s64_overflow(time, margin, &high) ||
		!IS_VALID_TIMESTAMP(low) || !IS_VALID_TIMESTAMP(high))
		return NULL;
	return mcs_match_or(range_test(key, operator == MATCH_LT || operator == MATCH_LE ? NULL : date_document(low),
								   operator == MATCH_GT || operator == MATCH_GE ? NULL : date_document(high)),
						mcs_match_types(key, timestamp));
}

/* {key: value}, or {key: {$exists: true, $ne: the other}} where the value may be read from a text */
static MatchFilter *
boolean_test(const char *key, bool value, bool of_text)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	/* 'yes' and 'on' are booleans, too: only the other boolean is sure not to be this one */
	if (of_text)
	{
		mcs_document_begin_object(&builder, key);
		mcs_document_append_bool(&builder, "$exists", true);
		mcs_document_append_bool(&builder, "$ne", !value);
		mcs_document_end(&builder);
	}
	else
		mcs_document_append_bool(&builder, key, value);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* The value that is not known yet; for EXPLAIN, and for who asks what could be sent. */
static MatchFilter *
placeholder_test(const char *key, MatchOperator operator, const MatchDatum *datum)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_match_append(&builder, mcs_match_word(operator), datum);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* Values at one path, beside one value. */
static MatchFilter *
one_value(const MatchPath *path, MatchOperator operator, const MatchComparison *comparison)
{
	char	   *key = mcs_match_dotted(path);
	CastClass	class = class_of(comparison->operand.type);
	MatchFilter *filter = NULL;

	if (!comparison->items[0].known)
		filter = placeholder_test(key, operator, &comparison->items[0]);
	else if (class == CAST_NUMBER)
		filter = number_test(key, operator, comparison);
	else if (class == CAST_TIME)
		filter = time_test(key, operator, comparison);
	if (!filter)
		return mcs_match_wider(mcs_match_one_path_null(path, true, false));
	/* a string such as '12' stands in no order with numbers, but its cast does */
	if (comparison->operand.of_text)
		filter = mcs_match_or(filter, mcs_match_other_types(path, class == CAST_TIME ? "date" : "number"));
	return mcs_match_wider(filter);
}

/* Values at one path that are one of the values, or in relation to one. */
static MatchFilter *
one_path(const MatchPath *path, MatchOperator operator, const MatchComparison *comparison)
{
	MatchFilter *filter = mcs_match_none();
	MatchComparison one = *comparison;

	/* what cannot be said, or is of too many values to be worth it: <> would be the contrary of a range that is too wide */
	if (operator == MATCH_NO_OPERATOR || operator == MATCH_NE || path->literal || comparison->is_list ||
		comparison->count > 20 || class_of(comparison->operand.type) == CAST_BOOLEAN)
		return mcs_match_wider(mcs_match_one_path_null(path, true, false));
	one.count = 1;
	for (int i = 0; i < comparison->count; i++)
	{
		one.items = &comparison->items[i];
		filter = mcs_match_or(filter, one_value(path, operator, &one));
	}
	return filter;
}

/* A cast value beside others. */
MatchFilter *
mcs_match_cast(const MatchComparison *comparison, bool truth)
{
	MatchOperator operator = truth ? comparison->operator : mcs_match_negate(comparison->operator);
	MatchFilter *filter = mcs_match_none();
	ListCell   *cell;

	foreach(cell, comparison->operand.paths)
		filter = mcs_match_or(filter, one_path(lfirst(cell), operator, comparison));
	return mcs_match_wider(filter);
}

/* A value cast to boolean that is a condition by itself. */
MatchFilter *
mcs_match_boolean(const MatchOperand *operand, bool truth)
{
	MatchFilter *filter = mcs_match_none();
	ListCell   *cell;

	if (operand->kind != OPERAND_CAST || operand->type != BOOLOID)
		return mcs_match_unknown();
	foreach(cell, operand->paths)
	{
		MatchPath  *path = lfirst(cell);

		/* $ne fails where any value that MongoDB finds is the other, and a position may find several */
		filter = mcs_match_or(filter, path->literal || (operand->of_text && path->has_index) ?
							  mcs_match_wider(mcs_match_one_path_null(path, true, false)) :
							  boolean_test(mcs_match_dotted(path), truth, operand->of_text));
	}
	return mcs_match_wider(filter);
}
