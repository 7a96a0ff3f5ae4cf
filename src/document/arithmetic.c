/*
 * document/arithmetic.c
 *	  Arithmetic on documents, with MongoDB's result types.
 *
 * Two integers give an int32 while it fits and both are int32, then an int64,
 * then a Decimal128: an integer never becomes a rounded double.  A double
 * makes the result a double, a Decimal128 makes it a Decimal128, to 34 digits.
 * Integers divide into a double.  A date plus or minus milliseconds is a date,
 * a date minus a date milliseconds.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "common/int.h"
#include "document/document_internal.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(mcs_document_minus_timestamptz);
PG_FUNCTION_INFO_V1(mcs_timestamptz_minus_document);
PG_FUNCTION_INFO_V1(mcs_document_plus_interval);
PG_FUNCTION_INFO_V1(mcs_document_minus_interval);

/* Makes an int32. */
static Document *
make_int32(int32 number)
{
	uint8		data[4];

	mcs_document_write_int32(data, number);
	return mcs_document_make(DOCUMENT_INT32, data, sizeof(data));
}

/* Makes an int64, or what is stored like one. */
static Document *
make_int64(uint8 type, int64 number)
{
	uint8		data[8];

	mcs_document_write_int64(data, number);
	return mcs_document_make(type, data, sizeof(data));
}

/* Makes a double. */
static Document *
make_double(double number)
{
	int64		bits;

	memcpy(&bits, &number, sizeof(bits));
	return make_int64(DOCUMENT_DOUBLE, bits);
}

/* Makes a Decimal128. */
static Document *
make_decimal(const DocumentDecimal *decimal)
{
	uint8		data[16];

	mcs_document_decimal_write(decimal, data);
	return mcs_document_make(DOCUMENT_DECIMAL128, data, sizeof(data));
}

/* Raises the error for a result beyond its type. */
static void pg_attribute_noreturn()
out_of_range(const char *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("%s out of range", type)));
}

/* Raises the error for operands that have no result. */
static void pg_attribute_noreturn()
reject(const DocumentValue *a, char operation, const DocumentValue *b)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("operator does not exist for documents of these types: %s %c %s",
					mcs_document_type_name(a->type), operation, mcs_document_type_name(b->type))));
}

/* An integer of either type. */
static int64
integer_of(const DocumentValue *value)
{
	return value->type == DOCUMENT_INT32 ? mcs_document_read_int32(value->data) : mcs_document_read_int64(value->data);
}

/* Adds, subtracts, multiplies or divides doubles. */
static Document *
double_result(double a, char operation, double b)
{
	double		result = 0;

	switch (operation)
	{
		case '+':
			result = a + b;
			break;
		case '-':
			result = a - b;
			break;
		case '*':
			result = a * b;
			break;
		case '/':
			/* an error as in MongoDB's $divide */
			if (b == 0)
				float_zero_divide_error();
			result = a / b;
			break;
	}
	/* as float8 does, where MongoDB would give an infinity; underflow is no error, unlike float8's */
	if (isinf(result) && !isinf(a) && !isinf(b))
		float_overflow_error();
	return make_double(result);
}

/* Adds, subtracts, multiplies or divides Decimal128s; a finite result is exact to 34 digits, rounded half to even. */
static Document *
decimal_result(const DocumentValue *a, char operation, const DocumentValue *b)
{
	Datum		x = NumericGetDatum(mcs_document_number_to_numeric(a));
	Datum		y = NumericGetDatum(mcs_document_number_to_numeric(b));
	DocumentDecimal decimal;
	Datum		result;

	if (operation == '/')
		mcs_document_decimal_divide(DatumGetNumeric(x), DatumGetNumeric(y), &decimal);
	else
	{
		result = DirectFunctionCall2(operation == '+' ? numeric_add : operation == '-' ? numeric_sub : numeric_mul, x, y);
		mcs_document_decimal_round(DatumGetNumeric(result), &decimal);
	}
	return make_decimal(&decimal);
}

/* Adds, subtracts or multiplies integers. */
static Document *
integer_result(const DocumentValue *a, char operation, const DocumentValue *b)
{
	int64		x = integer_of(a);
	int64		y = integer_of(b);
	int64		result;
	bool		overflow;

	if (operation == '+')
		overflow = pg_add_s64_overflow(x, y, &result);
	else if (operation == '-')
		overflow = pg_sub_s64_overflow(x, y, &result);
	else
		overflow = pg_mul_s64_overflow(x, y, &result);
	/* MongoDB would go on with a rounded double */
	if (overflow)
		return decimal_result(a, operation, b);
	if (a->type == DOCUMENT_INT32 && b->type == DOCUMENT_INT32 && result >= PG_INT32_MIN && result <= PG_INT32_MAX)
		return make_int32((int32) result);
	return make_int64(DOCUMENT_INT64, result);
}

/* Adds two numbers, subtracts, multiplies or divides them. */
static Document *
number_result(const DocumentValue *a, char operation, const DocumentValue *b)
{
	/* a double beside a Decimal128 counts as its shortest decimal */
	if (a->type == DOCUMENT_DECIMAL128 || b->type == DOCUMENT_DECIMAL128)
		return decimal_result(a, operation, b);
	if (a->type == DOCUMENT_DOUBLE || b->type == DOCUMENT_DOUBLE || operation == '/')
		return double_result(mcs_document_number_to_double(a), operation, mcs_document_number_to_double(b));
	return integer_result(a, operation, b);
}

/* A date and a number of milliseconds, added or subtracted. */
static Document *
date_and_number(int64 date, char operation, const DocumentValue *number)
{
	int64		milliseconds;
	int64		result;

	if (!mcs_document_get_int64(number, &milliseconds))
	{
		Numeric		numeric = mcs_document_number_to_numeric(number);

		if (numeric_is_nan(numeric) || numeric_is_inf(numeric) ||
			!mcs_document_numeric_to_int64(DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(numeric), Int32GetDatum(0))),
										&milliseconds))
			out_of_range("date");
	}
	if (operation == '+' ? pg_add_s64_overflow(date, milliseconds, &result) :
		pg_sub_s64_overflow(date, milliseconds, &result))
		out_of_range("date");
	return make_int64(DOCUMENT_DATE, result);
}

/* Milliseconds between two dates. */
static Document *
date_difference(int64 a, int64 b)
{
	int64		result;

	if (pg_sub_s64_overflow(a, b, &result))
		out_of_range("difference of dates");
	return make_int64(DOCUMENT_INT64, result);
}

/* Computes with two values; NULL where one of them is null. */
static Document *
compute(const DocumentValue *a, char operation, const DocumentValue *b)
{
	bool		a_number = mcs_document_kind(a->type) == DOCUMENT_KIND_NUMBER;
	bool		b_number = mcs_document_kind(b->type) == DOCUMENT_KIND_NUMBER;

	/* before the types are looked at: null beside anything gives null, as in SQL */
	if (a->type == DOCUMENT_NULL || a->type == DOCUMENT_UNDEFINED ||
		b->type == DOCUMENT_NULL || b->type == DOCUMENT_UNDEFINED)
		return NULL;
	if (a_number && b_number)
		return number_result(a, operation, b);
	if (a->type == DOCUMENT_DATE && b_number && (operation == '+' || operation == '-'))
		return date_and_number(mcs_document_read_int64(a->data), operation, b);
	if (a_number && b->type == DOCUMENT_DATE && operation == '+')
		return date_and_number(mcs_document_read_int64(b->data), operation, a);
	if (a->type == DOCUMENT_DATE && b->type == DOCUMENT_DATE && operation == '-')
		return date_difference(mcs_document_read_int64(a->data), mcs_document_read_int64(b->data));
	reject(a, operation, b);
}

/* An operand: a document, or a number of SQL that counts as one.  The value may point into data, so none is copied. */
typedef struct Operand
{
	DocumentValue value;
	uint8		data[16];
} Operand;

/* A document as operand. */
static void
operand_document(Operand *operand, Datum datum)
{
	operand->value = mcs_document_take(DatumGetDocumentP(datum));
}

/* An integer as operand. */
static void
operand_integer(Operand *operand, Datum datum)
{
	operand->value.type = DOCUMENT_INT32;
	operand->value.data = operand->data;
	operand->value.size = 4;
	mcs_document_write_int32(operand->data, DatumGetInt32(datum));
}

/* A bigint as operand. */
static void
operand_bigint(Operand *operand, Datum datum)
{
	operand->value.type = DOCUMENT_INT64;
	operand->value.data = operand->data;
	operand->value.size = 8;
	mcs_document_write_int64(operand->data, DatumGetInt64(datum));
}

/* A double as operand. */
static void
operand_double(Operand *operand, Datum datum)
{
	double		number = DatumGetFloat8(datum);
	int64		bits;

	memcpy(&bits, &number, sizeof(bits));
	operand->value.type = DOCUMENT_DOUBLE;
	operand->value.data = operand->data;
	operand->value.size = 8;
	mcs_document_write_int64(operand->data, bits);
}

/* A numeric as operand, which must fit into a Decimal128. */
static void
operand_numeric(Operand *operand, Datum datum)
{
	DocumentDecimal decimal;

	mcs_document_decimal_from_numeric(DatumGetNumeric(datum), &decimal);
	operand->value.type = DOCUMENT_DECIMAL128;
	operand->value.data = operand->data;
	operand->value.size = 16;
	mcs_document_decimal_write(&decimal, operand->data);
}

static DocumentDifferences *watched = NULL;

DocumentDifferences *
mcs_document_watch(DocumentDifferences *differences)
{
	DocumentDifferences *before = watched;

	watched = differences;
	return before;
}

void		(*mcs_document_on_difference) (int location) = NULL;

/* A subtraction of dates: noted where somebody watches it. */
static void
note_difference(FunctionCallInfo fcinfo)
{
	Node	   *call = fcinfo->flinfo ? fcinfo->flinfo->fn_expr : NULL;

	if ((!watched && !mcs_document_on_difference) || !call || !IsA(call, OpExpr))
		return;
	for (int i = 0; watched && i < watched->count; i++)
		if (watched->locations[i] == ((OpExpr *) call)->location)
			watched->seen[i] = true;
	if (mcs_document_on_difference && ((OpExpr *) call)->location >= 0)
		mcs_document_on_difference(((OpExpr *) call)->location);
}

/* Computes with the two arguments of a function. */
static inline Datum
arithmetic(FunctionCallInfo fcinfo, void (*left) (Operand *, Datum), char operation, void (*right) (Operand *, Datum))
{
	Operand		a;
	Operand		b;
	Document   *result;

	left(&a, PG_GETARG_DATUM(0));
	right(&b, PG_GETARG_DATUM(1));
	result = compute(&a.value, operation, &b.value);
	if (result == NULL)
		PG_RETURN_NULL();
	if (operation == '-' && a.value.type == DOCUMENT_DATE && b.value.type == DOCUMENT_DATE)
		note_difference(fcinfo);
	PG_RETURN_POINTER(result);
}

/* One operator. */
#define ARITHMETIC(name, left, operation, right) \
	PG_FUNCTION_INFO_V1(name); \
	Datum \
	name(PG_FUNCTION_ARGS) \
	{ \
		return arithmetic(fcinfo, left, operation, right); \
	}

/* The four operators of a pair of types, in both directions. */
#define ARITHMETIC_WITH(type, operand) \
	ARITHMETIC(mcs_document_plus_##type, operand_document, '+', operand) \
	ARITHMETIC(mcs_document_minus_##type, operand_document, '-', operand) \
	ARITHMETIC(mcs_document_times_##type, operand_document, '*', operand) \
	ARITHMETIC(mcs_document_divided_##type, operand_document, '/', operand) \
	ARITHMETIC(mcs_##type##_plus_document, operand, '+', operand_document) \
	ARITHMETIC(mcs_##type##_minus_document, operand, '-', operand_document) \
	ARITHMETIC(mcs_##type##_times_document, operand, '*', operand_document) \
	ARITHMETIC(mcs_##type##_divided_document, operand, '/', operand_document)

ARITHMETIC(mcs_document_plus, operand_document, '+', operand_document)
ARITHMETIC(mcs_document_minus, operand_document, '-', operand_document)
ARITHMETIC(mcs_document_times, operand_document, '*', operand_document)
ARITHMETIC(mcs_document_divided, operand_document, '/', operand_document)
ARITHMETIC_WITH(integer, operand_integer)
ARITHMETIC_WITH(bigint, operand_bigint)
ARITHMETIC_WITH(numeric, operand_numeric)
ARITHMETIC_WITH(double, operand_double)

/* A date beside a timestamptz or an interval; false for null, other types are an error. */
static bool
take_date(const DocumentValue *value, const char *operation, int64 *milliseconds)
{
	if (value->type == DOCUMENT_NULL || value->type == DOCUMENT_UNDEFINED)
		return false;
	if (value->type != DOCUMENT_DATE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("operator does not exist for a document of type %s: %s", mcs_document_type_name(value->type), operation),
				 errdetail("It takes a date.")));
	*milliseconds = mcs_document_read_int64(value->data);
	return true;
}

/* document - timestamptz: milliseconds */
Datum
mcs_document_minus_timestamptz(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	int64		date;

	if (!take_date(&value, "document - timestamp with time zone", &date))
		PG_RETURN_NULL();
	note_difference(fcinfo);
	PG_RETURN_POINTER(date_difference(date, mcs_document_date_from_timestamptz(PG_GETARG_TIMESTAMPTZ(1))));
}

/* timestamptz - document: milliseconds */
Datum
mcs_timestamptz_minus_document(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(1));
	int64		date;

	if (!take_date(&value, "timestamp with time zone - document", &date))
		PG_RETURN_NULL();
	note_difference(fcinfo);
	PG_RETURN_POINTER(date_difference(mcs_document_date_from_timestamptz(PG_GETARG_TIMESTAMPTZ(0)), date));
}

/* A date before or after an interval, by the calendar of the session's time zone. */
static Datum
shift_date(FunctionCallInfo fcinfo, PGFunction function, const char *operation)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	int64		date;
	Datum		shifted;

	if (!take_date(&value, operation, &date))
		PG_RETURN_NULL();
	shifted = DirectFunctionCall2(function, TimestampTzGetDatum(mcs_document_date_to_timestamptz(date)), PG_GETARG_DATUM(1));
	PG_RETURN_POINTER(make_int64(DOCUMENT_DATE, mcs_document_date_from_timestamptz(DatumGetTimestampTz(shifted))));
}

/* document + interval */
Datum
mcs_document_plus_interval(PG_FUNCTION_ARGS)
{
	return shift_date(fcinfo, timestamptz_pl_interval, "document + interval");
}

/* document - interval */
Datum
mcs_document_minus_interval(PG_FUNCTION_ARGS)
{
	return shift_date(fcinfo, timestamptz_mi_interval, "document - interval");
}
