/*
 * document/numeric.c
 *	  BSON's numbers from and to numeric.
 *
 * A double counts as its shortest decimal, which is what people wrote when
 * they stored it: 19.99 and not 19.989999999999998436805981327779591083526611328125.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "document/document_internal.h"
#include "utils/builtins.h"
#include "utils/float.h"

/* Reads a numeric from text of our own. */
static Numeric
numeric_from_text(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* A double as numeric. */
Numeric
mcs_document_double_to_numeric(double number)
{
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(number))
		return numeric_from_text("NaN");
	if (isinf(number))
		return numeric_from_text(number < 0 ? "-Infinity" : "Infinity");
	/* integers need no text; up to here the shortest decimal of a double is the integer itself */
	if (number == floor(number) && fabs(number) < 1e15)
		return int64_to_numeric((int64) number);
	double_to_shortest_decimal_buf(number, text);
	return numeric_from_text(text);
}

/* A value that is a number as numeric, exactly. */
Numeric
mcs_document_number_to_numeric(const DocumentValue *value)
{
	DocumentDecimal decimal;
	char		text[DECIMAL_TEXT_SIZE];

	switch (value->type)
	{
		case DOCUMENT_INT32:
			return int64_to_numeric(mcs_document_read_int32(value->data));
		case DOCUMENT_INT64:
			return int64_to_numeric(mcs_document_read_int64(value->data));
		case DOCUMENT_DOUBLE:
			return mcs_document_double_to_numeric(mcs_document_read_double(value->data));
		default:
			mcs_document_decimal_read(value->data, &decimal);
			mcs_document_decimal_out(&decimal, text);
			return numeric_from_text(text);
	}
}

/* A numeric as an int64, if it is one. */
bool
mcs_document_numeric_to_int64(Numeric numeric, int64 *number)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(numeric)));
	bool		fits = mcs_document_parse_int64(text, strlen(text), number);

	pfree(text);
	return fits;
}

/* A numeric as a Decimal128, if one can hold it exactly. */
DecimalResult
mcs_document_numeric_to_decimal(Numeric numeric, DocumentDecimal *decimal)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(numeric)));
	DecimalResult result = mcs_document_decimal_in(text, strlen(text), decimal);

	pfree(text);
	return result;
}

/* The same; raises where none can. */
void
mcs_document_decimal_from_numeric(Numeric numeric, DocumentDecimal *decimal)
{
	DecimalResult result = mcs_document_numeric_to_decimal(numeric, decimal);

	if (result != DECIMAL_OK)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("numeric does not fit into a Decimal128"),
				 result == DECIMAL_INEXACT ?
				 errdetail("It has more than 34 significant digits.") :
				 errdetail("Its exponent is out of range."),
				 errhint("Round it, for example with round(value, 10), or store it as text.")));
}

/* Raises the error for a result beyond the range of Decimal128. */
static void pg_attribute_noreturn()
out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("Decimal128 out of range")));
}

/*
 * Rounds digits times 10^exponent to 34 digits, half to even.  If rest is true,
 * the number is a little further from zero than its digits say.
 */
static void
round_digits(const char *digits, int exponent, bool negative, bool rest, DocumentDecimal *decimal)
{
	int			count;
	int			keep;
	int			next;

	while (*digits == '0')
		digits++;
	count = strlen(digits);
	/* what would come below the least exponent is rounded away, too */
	keep = Min(Min(count, 34), Max(count + exponent - DECIMAL_MIN_EXPONENT, 0));
	if (count + exponent < DECIMAL_MIN_EXPONENT)
	{
		/* smaller than half of the least number */
		next = 0;
		rest = true;
	}
	else
		next = keep < count ? digits[keep] - '0' : 0;

	memset(decimal, 0, sizeof(*decimal));
	decimal->negative = negative;
	decimal->exponent = exponent + count - keep;
	for (int i = 0; i < keep; i++)
		decimal->coefficient = decimal->coefficient * 10 + (digits[i] - '0');
	for (int i = keep + 1; i < count && !rest; i++)
		rest = digits[i] != '0';
	if (next > 5 || (next == 5 && (rest || decimal->coefficient % 2 == 1)))
		decimal->coefficient++;
	/* rounding up may have given a 35th digit, which is then a zero */
	if (keep == 34 && mcs_document_decimal_fit(decimal) == DECIMAL_INEXACT)
	{
		decimal->coefficient /= 10;
		decimal->exponent++;
	}
	if (mcs_document_decimal_fit(decimal) != DECIMAL_OK)
		out_of_range();
}

/* A numeric as a Decimal128, rounded to 34 digits, half to even. */
void
mcs_document_decimal_round(Numeric numeric, DocumentDecimal *decimal)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(numeric)));
	char	   *digits = text;
	char	   *point;
	int			exponent = 0;
	bool		negative = *text == '-';

	if (numeric_is_nan(numeric) || numeric_is_inf(numeric))
	{
		(void) mcs_document_decimal_in(text, strlen(text), decimal);
		return;
	}
	if (negative)
		digits++;
	point = strchr(digits, '.');
	if (point != NULL)
	{
		exponent = -(int) strlen(point + 1);
		memmove(point, point + 1, strlen(point + 1) + 1);
	}
	round_digits(digits, exponent, negative, false, decimal);
	pfree(text);
}

/* A coefficient as numeric. */
static Datum
coefficient_to_numeric(uint128 coefficient)
{
	char		digits[40];

	mcs_document_decimal_digits(coefficient, digits);
	return NumericGetDatum(numeric_from_text(digits));
}

/* Divides two finite decimals, the second of which is not zero. */
static void
divide_finite(const DocumentDecimal *a, const DocumentDecimal *b, DocumentDecimal *result)
{
	/* 10^70: the quotient has at least 36 digits before its point then, two more than are kept */
	Datum		scale = NumericGetDatum(numeric_from_text("1e70"));
	Datum		dividend = DirectFunctionCall2(numeric_mul, coefficient_to_numeric(a->coefficient), scale);
	Datum		divisor = coefficient_to_numeric(b->coefficient);
	Datum		quotient = DirectFunctionCall2(numeric_div_trunc, dividend, divisor);
	Datum		back = DirectFunctionCall2(numeric_mul, quotient, divisor);
	bool		rest = DatumGetBool(DirectFunctionCall2(numeric_ne, back, dividend));
	int			exponent = a->exponent - b->exponent;
	bool		negative = a->negative != b->negative;

	if (a->coefficient == 0)
	{
		memset(result, 0, sizeof(*result));
		result->negative = negative;
		result->exponent = exponent;
		(void) mcs_document_decimal_fit(result);
		return;
	}
	round_digits(DatumGetCString(DirectFunctionCall1(numeric_out, quotient)), exponent - 70, negative, rest, result);
	/* 10 / 4 is 2.5 and not 2.500000000000000000000000000000000 */
	while (!rest && result->exponent < exponent && result->coefficient % 10 == 0)
	{
		result->coefficient /= 10;
		result->exponent++;
	}
}

/* Divides two numbers as Decimal128s. */
void
mcs_document_decimal_divide(Numeric a, Numeric b, DocumentDecimal *result)
{
	DocumentDecimal x;
	DocumentDecimal y;

	mcs_document_decimal_from_numeric(a, &x);
	mcs_document_decimal_from_numeric(b, &y);
	if (y.kind == DECIMAL_FINITE && y.coefficient == 0 && x.kind != DECIMAL_NAN)
		float_zero_divide_error();
	if (x.kind == DECIMAL_FINITE && y.kind == DECIMAL_FINITE)
		divide_finite(&x, &y, result);
	else
		mcs_document_decimal_round(DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(a), NumericGetDatum(b))), result);
}
