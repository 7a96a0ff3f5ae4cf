/*
 * document/cross.c
 *	  Comparing a document with a value of another SQL type.
 *
 * A document of another kind than the value's is neither equal to, nor less,
 * nor greater than it: = < <= > >= are false and <> is true, as with MongoDB's
 * query operators.  So these operators are parts of the order of documents,
 * not the whole of it, and belong to no operator family.  NaN equals NaN and
 * is in no other relation.
 *
 * With numeric, which is what SQL takes 19.99 for, a double counts as its
 * shortest decimal; with double precision and the integers numbers compare by
 * their exact value.  An interval compares with a number of milliseconds.
 *
 * The operators are leakproof: none raises an error for any value.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "datatype/timestamp.h"
#include "document/document_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

typedef enum CrossOrder
{
	CROSS_LESS = -1,
	CROSS_EQUAL = 0,
	CROSS_GREATER = 1,
	CROSS_UNORDERED = 2			/* of different kinds, or NaN with a number */
} CrossOrder;

/* The sign of an order. */
static CrossOrder
cross_order(int order)
{
	return order < 0 ? CROSS_LESS : order > 0 ? CROSS_GREATER : CROSS_EQUAL;
}

/* A document beside a text. */
static CrossOrder
cross_text(const DocumentValue *value, Datum other)
{
	text	   *string = DatumGetTextPP(other);
	uint32		size = VARSIZE_ANY_EXHDR(string);
	int			order;

	if (mcs_document_kind(value->type) != DOCUMENT_KIND_STRING)
		return CROSS_UNORDERED;
	/* by bytes, whatever the collation: MongoDB has none by default, and an index must agree */
	order = memcmp(value->data + 4, VARDATA_ANY(string), Min(value->size - 5, size));
	return cross_order(order != 0 ? order : COMPARE(value->size - 5, size));
}

/* A document beside a boolean. */
static CrossOrder
cross_boolean(const DocumentValue *value, Datum other)
{
	if (value->type != DOCUMENT_BOOL)
		return CROSS_UNORDERED;
	return cross_order((value->data[0] != 0) - DatumGetBool(other));
}

/* A document beside a number that is written as BSON. */
static CrossOrder
cross_number(const DocumentValue *value, uint8 type, const uint8 *data, uint32 size)
{
	DocumentValue number = {type, data, size};
	int			order;

	if (mcs_document_kind(value->type) != DOCUMENT_KIND_NUMBER)
		return CROSS_UNORDERED;
	order = mcs_document_compare_numbers(value, &number);
	if (order != 0 && (mcs_document_is_nan(value) || mcs_document_is_nan(&number)))
		return CROSS_UNORDERED;
	return cross_order(order);
}

/* A document beside a bigint. */
static CrossOrder
cross_bigint(const DocumentValue *value, Datum other)
{
	uint8		data[8];

	if (value->type == DOCUMENT_INT32)
		return cross_order(COMPARE((int64) mcs_document_read_int32(value->data), DatumGetInt64(other)));
	if (value->type == DOCUMENT_INT64)
		return cross_order(COMPARE(mcs_document_read_int64(value->data), DatumGetInt64(other)));
	mcs_document_write_int64(data, DatumGetInt64(other));
	return cross_number(value, DOCUMENT_INT64, data, sizeof(data));
}

/* A document beside an integer. */
static CrossOrder
cross_integer(const DocumentValue *value, Datum other)
{
	return cross_bigint(value, Int64GetDatum((int64) DatumGetInt32(other)));
}

/* A document beside a double. */
static CrossOrder
cross_double(const DocumentValue *value, Datum other)
{
	double		number = DatumGetFloat8(other);
	int64		bits;
	uint8		data[8];

	memcpy(&bits, &number, sizeof(bits));
	mcs_document_write_int64(data, bits);
	return cross_number(value, DOCUMENT_DOUBLE, data, sizeof(data));
}

/* A document beside a numeric. */
static CrossOrder
cross_numeric(const DocumentValue *value, Datum other)
{
	Numeric		theirs = DatumGetNumeric(other);
	Numeric		ours;
	int			order;
	bool		nan;

	if (mcs_document_kind(value->type) != DOCUMENT_KIND_NUMBER)
		return CROSS_UNORDERED;
	/* ours as its shortest decimal: a double 19.99 is to equal 19.99 */
	ours = mcs_document_number_to_numeric(value);
	order = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(ours), NumericGetDatum(theirs)));
	nan = numeric_is_nan(ours) || numeric_is_nan(theirs);
	pfree(ours);
	return order != 0 && nan ? CROSS_UNORDERED : cross_order(order);
}

/* A document beside a timestamptz, which may be finer than a BSON date, or infinite. */
static CrossOrder
cross_timestamptz(const DocumentValue *value, Datum other)
{
	TimestampTz time = DatumGetTimestampTz(other);
	int64		ours;
	int64		theirs;
	int			order;

	if (value->type != DOCUMENT_DATE)
		return CROSS_UNORDERED;
	if (TIMESTAMP_NOT_FINITE(time))
		return TIMESTAMP_IS_NOBEGIN(time) ? CROSS_GREATER : CROSS_LESS;
	ours = mcs_document_read_int64(value->data);
	theirs = mcs_document_timestamptz_to_ms(time);
	order = COMPARE(ours, theirs);
	/* theirs was rounded down */
	if (order == 0 && time % 1000 != 0)
		order = -1;
	return cross_order(order);
}

/* A document beside an interval: a number of milliseconds. */
static CrossOrder
cross_interval(const DocumentValue *value, Datum other)
{
	Interval   *interval = DatumGetIntervalP(other);
	int128		microseconds = mcs_document_interval_to_us(interval);
	DocumentDecimal decimal;
	uint8		data[16];

#if PG_VERSION_NUM >= 170000
	if (INTERVAL_NOT_FINITE(interval))
	{
		double		infinite = INTERVAL_IS_NOBEGIN(interval) ? -HUGE_VAL : HUGE_VAL;

		return cross_double(value, Float8GetDatum(infinite));
	}
#endif
	/* microseconds as milliseconds with three digits, which no double has exactly */
	decimal.kind = DECIMAL_FINITE;
	decimal.negative = microseconds < 0;
	decimal.coefficient = decimal.negative ? -(uint128) microseconds : (uint128) microseconds;
	decimal.exponent = -3;
	mcs_document_decimal_write(&decimal, data);
	return cross_number(value, DOCUMENT_DECIMAL128, data, sizeof(data));
}

/* A document beside a UUID: binary data of subtype 4, by its bytes, as MongoDB orders those of one length. */
static CrossOrder
cross_uuid(const DocumentValue *value, Datum other)
{
	if (value->type != DOCUMENT_BINARY || value->size != 5 + UUID_LEN || value->data[4] != 4)
		return CROSS_UNORDERED;
	return cross_order(memcmp(value->data + 5, DatumGetUUIDP(other)->data, UUID_LEN));
}

/* Calls one of the above with the document that is argument document_at and the value that is the other. */
static inline CrossOrder
cross(FunctionCallInfo fcinfo, int document_at, CrossOrder (*compare) (const DocumentValue *value, Datum other))
{
	Document   *document = PG_GETARG_DOCUMENT_P(document_at);
	DocumentValue value = mcs_document_take_any(document);
	CrossOrder	order = compare(&value, PG_GETARG_DATUM(1 - document_at));

	PG_FREE_IF_COPY(document, document_at);
	return document_at == 0 || order == CROSS_UNORDERED ? order : -order;
}

/* One operator of one pair of types. */
#define CROSS_OPERATOR(name, compare, document_at, condition) \
	PG_FUNCTION_INFO_V1(name); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		CrossOrder	order = cross(fcinfo, document_at, compare); \
 \
		PG_RETURN_BOOL(condition); \
	}

/* The six operators of a pair of types, in both directions. */
#define CROSS_OPERATORS(type) \
	CROSS_OPERATOR(mcs_document_eq_##type, cross_##type, 0, order == CROSS_EQUAL) \
	CROSS_OPERATOR(mcs_document_ne_##type, cross_##type, 0, order != CROSS_EQUAL) \
	CROSS_OPERATOR(mcs_document_lt_##type, cross_##type, 0, order == CROSS_LESS) \
	CROSS_OPERATOR(mcs_document_le_##type, cross_##type, 0, order == CROSS_LESS || order == CROSS_EQUAL) \
	CROSS_OPERATOR(mcs_document_gt_##type, cross_##type, 0, order == CROSS_GREATER) \
	CROSS_OPERATOR(mcs_document_ge_##type, cross_##type, 0, order == CROSS_GREATER || order == CROSS_EQUAL) \
	CROSS_OPERATOR(mcs_##type##_eq_document, cross_##type, 1, order == CROSS_EQUAL) \
	CROSS_OPERATOR(mcs_##type##_ne_document, cross_##type, 1, order != CROSS_EQUAL) \
	CROSS_OPERATOR(mcs_##type##_lt_document, cross_##type, 1, order == CROSS_LESS) \
	CROSS_OPERATOR(mcs_##type##_le_document, cross_##type, 1, order == CROSS_LESS || order == CROSS_EQUAL) \
	CROSS_OPERATOR(mcs_##type##_gt_document, cross_##type, 1, order == CROSS_GREATER) \
	CROSS_OPERATOR(mcs_##type##_ge_document, cross_##type, 1, order == CROSS_GREATER || order == CROSS_EQUAL)

/* The same functions in the order of btree's strategies, <> behind them. */
#define CROSS_COMPARISONS(type) \
	{mcs_document_lt_##type, mcs_document_le_##type, mcs_document_eq_##type, \
	 mcs_document_ge_##type, mcs_document_gt_##type, mcs_document_ne_##type}, \
	{mcs_##type##_lt_document, mcs_##type##_le_document, mcs_##type##_eq_document, \
	 mcs_##type##_ge_document, mcs_##type##_gt_document, mcs_##type##_ne_document},

/* The other types. */
#define CROSS_TYPES(X) \
	X(text) \
	X(boolean) \
	X(integer) \
	X(bigint) \
	X(numeric) \
	X(double) \
	X(timestamptz) \
	X(interval) \
	X(uuid)

CROSS_TYPES(CROSS_OPERATORS)

static const PGFunction comparisons[][DOCUMENT_NE_STRATEGY] = {
	{mcs_document_lt, mcs_document_le, mcs_document_eq, mcs_document_ge, mcs_document_gt, mcs_document_ne},
	CROSS_TYPES(CROSS_COMPARISONS)
};

/* What a function compares for, if it compares documents with documents or with another type; else InvalidStrategy. */
StrategyNumber
mcs_document_comparison(PGFunction function)
{
	/* none of ours, as most functions are */
	if (function == NULL)
		return InvalidStrategy;
	for (int i = 0; i < lengthof(comparisons); i++)
		for (int j = 0; j < DOCUMENT_NE_STRATEGY; j++)
			if (comparisons[i][j] == function)
				return j + 1;
	return InvalidStrategy;
}
