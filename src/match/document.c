/*
 * match/document.c
 *	  Comparisons of a document, or of the value at a path in one, with values
 *	  of other types.
 *
 * Both sides compare within a kind only, so MongoDB's operators are ours for
 * texts, booleans, integers and times.  NaN is equal to NaN and in no other
 * relation to a number, there as here (seen on 6.0, also $lt and $lte).  Where
 * they differ, more is let through:
 *
 *	numeric		a double counts as its shortest decimal here, as its exact
 *				value there: bounds are moved to the next double
 *	double		a Decimal128 may differ from it in a digit that only one of the
 *				two sides looks at: bounds are let in
 *
 * Numbers with few digits that a double holds exactly are exact with numeric,
 * too: between such a number and any other double there is no shortest decimal.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* Integers up to here are doubles, too. */
#define MAX_EXACT_DOUBLE	9007199254740992.0

/* How well a comparison with a value can be said. */
typedef enum ValueFit
{
	FIT_NOT,
	FIT_NEVER,					/* it is true of nothing */
	FIT_WIDER,
	FIT_EXACT
} ValueFit;

/* A numeric as a double and, if a Decimal128 can hold it, as that. */
typedef struct SplitNumeric
{
	double		number;
	bool		has_decimal;
	uint8		decimal[16];
	bool		exact;			/* the double is the numeric, and its shortest decimal, too */
} SplitNumeric;

/* Takes a numeric apart; beyond all doubles, the double is an infinity. */
static void
split_numeric(Numeric numeric, SplitNumeric *split)
{
	DocumentDecimal decimal;

	split->number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(numeric)));
	split->has_decimal = mcs_document_numeric_to_decimal(numeric, &decimal) == DECIMAL_OK;
	split->exact = false;
	if (!split->has_decimal)
		return;
	mcs_document_decimal_write(&decimal, split->decimal);
	/* the shortest decimal of a double with few digits is its exact value */
	if (isfinite(split->number))
	{
		double		quarters = split->number * 4;
		uint8		bits[8];
		int64		integer;
		DocumentValue a = {DOCUMENT_DOUBLE, bits, sizeof(bits)};
		DocumentValue b = {DOCUMENT_DECIMAL128, split->decimal, sizeof(split->decimal)};

		memcpy(&integer, &split->number, sizeof(integer));
		mcs_document_write_int64(bits, integer);
		/* an integer or a quarter; the latter has 14 digits at most, and a double tells all decimals of 15 apart */
		split->exact = mcs_document_compare_numbers(&a, &b) == 0 &&
			(split->number == floor(split->number) ? fabs(split->number) <= MAX_EXACT_DOUBLE :
			 quarters == floor(quarters) && fabs(split->number) < 1e12);
	}
}

/* Appends a number of a SplitNumeric that is exact. */
static void
append_exact(DocumentBuilder *builder, const char *key, double number)
{
	if (number == floor(number))
		mcs_document_append_int64(builder, key, (int64) number);
	else
		mcs_document_append_double(builder, key, number);
}

/* Appends what a numeric may be equal to. */
static ValueFit
append_equal_numeric(DocumentBuilder *list, const MatchDatum *datum)
{
	SplitNumeric split;

	split_numeric(DatumGetNumeric(datum->value), &split);
	if (split.exact)
	{
		append_exact(list, NULL, split.number);
		return FIT_EXACT;
	}
	/* 0.1::numeric equals the double 0.1, which for MongoDB is another number than the Decimal128 0.1 */
	/* both that may equal it; and neither proves it, so the condition is evaluated again */
	mcs_document_append_double(list, NULL, split.number);
	if (split.has_decimal)
	{
		DocumentValue value = {DOCUMENT_DECIMAL128, split.decimal, sizeof(split.decimal)};

		mcs_document_append_value(list, NULL, &value);
	}
	return FIT_WIDER;
}

/* Appends a document that something may be equal to. */
static ValueFit
append_equal_document(DocumentBuilder *list, const Document *document)
{
	DocumentValue value = mcs_document_take(document);
	DocumentIterator it;

	switch (value.type)
	{
		case DOCUMENT_STRING:
		case DOCUMENT_OBJECT_ID:
		case DOCUMENT_BOOL:
		case DOCUMENT_DATE:
		case DOCUMENT_INT32:
		case DOCUMENT_INT64:
			mcs_document_append_value(list, NULL, &value);
			return FIT_EXACT;
		case DOCUMENT_DOUBLE:
		case DOCUMENT_DECIMAL128:
		case DOCUMENT_TIMESTAMP:
			mcs_document_append_value(list, NULL, &value);
			return FIT_WIDER;
		case DOCUMENT_OBJECT:
			mcs_document_iterate(&it, value.data, value.size);
			while (mcs_document_next(&it))
				/* MongoDB would take a key with $ for an operator */
				if (it.key[0] == '$' || mcs_document_is_container(it.value.type))
					return FIT_NOT;
			mcs_document_append_value(list, NULL, &value);
			return FIT_WIDER;
		default:
			return FIT_NOT;
	}
}

/* Appends what is equal to a value to a list for $in. */
static ValueFit
append_equal(DocumentBuilder *list, const MatchDatum *datum, Oid document_type)
{
	double		number;
	TimestampTz time;

	if (!datum->known)
	{
		mcs_match_append(list, NULL, datum);
		return datum->type == INT4OID || datum->type == INT8OID || datum->type == BOOLOID ||
			datum->type == TIMESTAMPTZOID ? FIT_EXACT : FIT_WIDER;
	}
	switch (datum->type)
	{
		case TEXTOID:
			if (toast_raw_datum_size(datum->value) > MATCH_MAX_BYTES)
				return FIT_NOT;
			mcs_match_append(list, NULL, datum);
			return FIT_EXACT;
		case BOOLOID:
		case INT4OID:
		case INT8OID:
			mcs_match_append(list, NULL, datum);
			return FIT_EXACT;
		case FLOAT8OID:
			number = DatumGetFloat8(datum->value);
			mcs_match_append(list, NULL, datum);
			return number == floor(number) && fabs(number) <= MAX_EXACT_DOUBLE ? FIT_EXACT : FIT_WIDER;
		case NUMERICOID:
			return append_equal_numeric(list, datum);
		case TIMESTAMPTZOID:
			time = DatumGetTimestampTz(datum->value);
			/* no date has such a time: dates are whole milliseconds */
			if (TIMESTAMP_NOT_FINITE(time) || time % 1000 != 0)
				return FIT_NEVER;
			mcs_match_append(list, NULL, datum);
			return FIT_EXACT;
		default:
			if (datum->type != document_type || toast_raw_datum_size(datum->value) > MATCH_MAX_BYTES)
				return FIT_NOT;
			return append_equal_document(list, DatumGetDocumentP(datum->value));
	}
}

/* Appends an order beside a double, to let in what is equal, too. */
static ValueFit
append_order_double(DocumentBuilder *test, MatchOperator operator, double number)
{
	if (number == floor(number) && fabs(number) <= MAX_EXACT_DOUBLE)
	{
		mcs_document_append_double(test, mcs_match_word(operator), number);
		return FIT_EXACT;
	}
	/* NaN is equal to itself, so <= and >= have an answer */
	if (isnan(number) && (operator == MATCH_LT || operator == MATCH_GT))
		return FIT_NEVER;
	mcs_document_append_double(test, operator == MATCH_LT || operator == MATCH_LE ? "$lte" : "$gte", number);
	return FIT_WIDER;
}

/* Appends an order beside a numeric. */
static ValueFit
append_order_numeric(DocumentBuilder *test, MatchOperator operator, Numeric numeric)
{
	bool		below = operator == MATCH_LT || operator == MATCH_LE;
	SplitNumeric split;

	if (numeric_is_nan(numeric))
		return append_order_double(test, operator, NAN);
	split_numeric(numeric, &split);
	if (split.exact)
	{
		append_exact(test, mcs_match_word(operator), split.number);
		return FIT_EXACT;
	}
	/* the next double beyond, since the nearest may lie on the wrong side of the numeric */
	mcs_document_append_double(test, below ? "$lte" : "$gte", nextafter(split.number, below ? HUGE_VAL : -HUGE_VAL));
	return FIT_WIDER;
}

/* Appends an order beside a time: dates have whole milliseconds. */
static ValueFit
append_order_time(DocumentBuilder *test, MatchOperator operator, TimestampTz time)
{
	bool		below = operator == MATCH_LT || operator == MATCH_LE;
	int64		milliseconds;

	if (TIMESTAMP_NOT_FINITE(time))
	{
		/* no date is infinite: beyond the infinity is none, on this side of it are all */
		if (below == TIMESTAMP_IS_NOBEGIN(time))
			return FIT_NEVER;
		mcs_document_append_string(test, "$type", "date");
		return FIT_EXACT;
	}
	milliseconds = mcs_document_timestamptz_to_ms(time);
	/* this was rounded down: what is below the time is up to it, what is above lies beyond it */
	if (time % 1000 != 0)
		operator = below ? MATCH_LE : MATCH_GT;
	mcs_document_append_date(test, mcs_match_word(operator), milliseconds);
	return FIT_EXACT;
}

/* Appends an order beside a value: {$lt: value} and the like. */
static ValueFit
append_order(DocumentBuilder *test, MatchOperator operator, const MatchDatum *datum)
{
	switch (datum->type)
	{
		case TEXTOID:
			if (datum->known && toast_raw_datum_size(datum->value) > MATCH_MAX_BYTES)
				return FIT_NOT;
			mcs_match_append(test, mcs_match_word(operator), datum);
			return datum->known ? FIT_EXACT : FIT_WIDER;
		case BOOLOID:
		case INT4OID:
		case INT8OID:
			mcs_match_append(test, mcs_match_word(operator), datum);
			return FIT_EXACT;
		case FLOAT8OID:
			if (datum->known)
				return append_order_double(test, operator, DatumGetFloat8(datum->value));
			mcs_match_append(test, mcs_match_word(operator), datum);
			return FIT_WIDER;
		case NUMERICOID:
			if (datum->known)
				return append_order_numeric(test, operator, DatumGetNumeric(datum->value));
			mcs_match_append(test, mcs_match_word(operator), datum);
			return FIT_WIDER;
		case TIMESTAMPTZOID:
			if (datum->known)
				return append_order_time(test, operator, DatumGetTimestampTz(datum->value));
			mcs_match_append(test, mcs_match_word(operator), datum);
			return FIT_EXACT;
		default:
			return FIT_NOT;
	}
}

/* {key: {$lt: value}} or the like, {key: {$in: [values]}} for what may be equal; wider. */
MatchFilter *
mcs_match_ordered(const char *key, MatchOperator operator, const MatchDatum *datum)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	if (operator == MATCH_EQ)
	{
		mcs_document_begin_array(&builder, "$in");
		(void) append_equal(&builder, datum, InvalidOid);
		mcs_document_end(&builder);
	}
	else
		(void) append_order(&builder, operator, datum);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* Fits of several values: what holds for all of them.  One that nothing equals adds nothing to a list. */
static ValueFit
worse(ValueFit a, ValueFit b)
{
	if (a == FIT_NEVER)
		return b;
	return b == FIT_NEVER ? a : Min(a, b);
}

/* {key: {$in: [values]}} or {key: {$lt: value}}, as far as the values allow. */
static Document *
write_test(const char *key, MatchOperator operator, const MatchComparison *comparison, ValueFit *fit)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	*fit = FIT_NEVER;
	if (operator != MATCH_EQ)
		*fit = append_order(&builder, operator, comparison->items);
	else if (comparison->is_list)
	{
		mcs_match_append(&builder, "$in", comparison->items);
		*fit = FIT_WIDER;
	}
	else
	{
		mcs_document_begin_array(&builder, "$in");
		for (int i = 0; i < comparison->count; i++)
			*fit = worse(*fit, append_equal(&builder, &comparison->items[i], comparison->operand.type));
		mcs_document_end(&builder);
	}
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* {key: {$in: [value]}} as {key: {$eq: value}}. */
static Document *
simplify(Document *test)
{
	DocumentValue value = mcs_document_value(test);
	DocumentIterator it;
	DocumentIterator inner;
	DocumentValue list;
	DocumentValue first;
	DocumentValue second;
	DocumentBuilder builder;

	mcs_document_iterate(&it, value.data, value.size);
	if (!mcs_document_next(&it) || it.value.type != DOCUMENT_OBJECT)
		return test;
	mcs_document_iterate(&inner, it.value.data, it.value.size);
	if (!mcs_document_next(&inner) || strcmp(inner.key, "$in") != 0 || inner.value.type != DOCUMENT_ARRAY)
		return test;
	list = inner.value;
	if (!mcs_document_find_index(list.data, list.size, 0, &first) || mcs_document_find_index(list.data, list.size, 1, &second))
		return test;
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, it.key);
	mcs_document_append_value(&builder, "$eq", &first);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* For which events the value at a path compares so. */
static MatchFilter *
one_path(const MatchPath *path, MatchOperator operator, const MatchComparison *comparison)
{
	Document   *test;
	ValueFit	fit;

	/* a key that no dotted path says: only whether there is a value is asked */
	if (path->literal)
		return mcs_match_wider(mcs_match_one_path_null(path, false, false));
	test = write_test(mcs_match_dotted(path), operator, comparison, &fit);
	switch (fit)
	{
		case FIT_NOT:
			break;
		case FIT_NEVER:
			return mcs_match_none();
		case FIT_WIDER:
		case FIT_EXACT:
			return mcs_match_guarded(path, true, mcs_match_test(simplify(test), fit == FIT_EXACT));
	}
	return mcs_match_wider(mcs_match_one_path_null(path, false, false));
}

/* For which events the value at a path is there and does not compare so. */
static MatchFilter *
one_path_not(const MatchPath *path, MatchOperator operator, const MatchComparison *comparison)
{
	return mcs_match_and(mcs_match_one_path_null(path, false, false),
						 mcs_match_not(one_path(path, operator, comparison)));
}

/* A document, or a value in one, beside values of any type. */
MatchFilter *
mcs_match_document(const MatchComparison *comparison, bool truth)
{
	MatchOperator operator = comparison->operator;
	MatchFilter *filter = mcs_match_none();
	ListCell   *cell;

	if (operator == MATCH_NO_OPERATOR)
		return mcs_match_contain(comparison, truth);
	/* true where there is a value that = is false of: values of other kinds are unequal here, too */
	if (operator == MATCH_NE)
	{
		operator = MATCH_EQ;
		truth = !truth;
	}
	foreach(cell, comparison->operand.paths)
	{
		const MatchPath *path = lfirst(cell);

		filter = mcs_match_or(filter, truth ? one_path(path, operator, comparison) :
							  one_path_not(path, operator, comparison));
	}
	/* of several paths that have a value, document_get takes the first, and here any will do */
	return list_length(comparison->operand.paths) == 1 ? filter : mcs_match_wider(filter);
}
