/*
 * document/number.c
 *	  Comparing and hashing numbers of BSON's four types by value, exactly.
 *
 * int32, int64, double and Decimal128 form one line of numbers.  A double is
 * m * 2^e and a Decimal128 is c * 10^q; converting one to the other's type
 * would round, and an order that rounds is none (a < b < c = a).  So where
 * nothing cheaper decides, both sides are multiplied up to integers of a few
 * thousand bits and those are compared.  NaN is below all and equal to itself.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "common/hashfn.h"
#include "document/document_internal.h"

/* 2^63, which a double can hold */
#define TWO_TO_63	9223372036854775808.0

/* A number taken from a value: one of three forms. */
typedef enum NumberForm
{
	NUMBER_INTEGER,
	NUMBER_DOUBLE,				/* finite, and no integer of 64 bits */
	NUMBER_DECIMAL,				/* finite */
	NUMBER_NAN,
	NUMBER_INFINITE
} NumberForm;

typedef struct Number
{
	NumberForm	form;
	bool		negative;		/* of a decimal or an infinity */
	int64		integer;
	double		floating;
	DocumentDecimal decimal;
} Number;

/* An integer of up to 2,560 bits: a double or a Decimal128 that was multiplied up. */
#define BIG_WORDS 80

typedef struct BigInteger
{
	int			size;			/* words in use */
	uint32		words[BIG_WORDS];	/* the lowest first */
} BigInteger;

static const uint64 powers_of_ten[] = {
	UINT64CONST(1), UINT64CONST(10), UINT64CONST(100), UINT64CONST(1000), UINT64CONST(10000),
	UINT64CONST(100000), UINT64CONST(1000000), UINT64CONST(10000000), UINT64CONST(100000000),
	UINT64CONST(1000000000), UINT64CONST(10000000000), UINT64CONST(100000000000),
	UINT64CONST(1000000000000), UINT64CONST(10000000000000), UINT64CONST(100000000000000),
	UINT64CONST(1000000000000000), UINT64CONST(10000000000000000), UINT64CONST(100000000000000000),
	UINT64CONST(1000000000000000000), UINT64CONST(10000000000000000000)
};

/* -1, 0 or 1. */
#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

/* 10^n for n up to 38. */
static uint128
power_of_ten(int n)
{
	return n < lengthof(powers_of_ten) ? (uint128) powers_of_ten[n] : (uint128) powers_of_ten[19] * powers_of_ten[n - 19];
}

/* How many decimal digits has a number?  0 has none. */
static int
count_digits(uint128 number)
{
	int			count = 0;
	uint64		rest;

	if (number >= (uint128) powers_of_ten[19])
	{
		count = 19;
		number /= powers_of_ten[19];
	}
	/* at most 20 digits are left */
	rest = (uint64) number;
	for (int i = 0; i < lengthof(powers_of_ten) && rest >= powers_of_ten[i]; i++)
		count++;
	return count;
}

/* Takes a number apart; the value's type must be a number. */
static void
read_number(const DocumentValue *value, Number *number)
{
	switch (value->type)
	{
		case DOCUMENT_INT32:
			number->form = NUMBER_INTEGER;
			number->integer = mcs_document_read_int32(value->data);
			break;
		case DOCUMENT_INT64:
			number->form = NUMBER_INTEGER;
			number->integer = mcs_document_read_int64(value->data);
			break;
		case DOCUMENT_DOUBLE:
			number->floating = mcs_document_read_double(value->data);
			number->negative = number->floating < 0;
			if (isnan(number->floating))
				number->form = NUMBER_NAN;
			else if (isinf(number->floating))
				number->form = NUMBER_INFINITE;
			/* the range first, as the cast is undefined beyond it; -0 becomes 0 */
			else if (number->floating >= -TWO_TO_63 && number->floating < TWO_TO_63 &&
					 number->floating == (double) (int64) number->floating)
			{
				number->form = NUMBER_INTEGER;
				number->integer = (int64) number->floating;
			}
			else
				number->form = NUMBER_DOUBLE;
			break;
		default:
			mcs_document_decimal_read(value->data, &number->decimal);
			number->negative = number->decimal.negative;
			number->form = number->decimal.kind == DECIMAL_NAN ? NUMBER_NAN :
				number->decimal.kind == DECIMAL_INFINITE ? NUMBER_INFINITE : NUMBER_DECIMAL;
			break;
	}
}

/* An integer as a decimal. */
static void
integer_to_decimal(int64 integer, DocumentDecimal *decimal)
{
	decimal->kind = DECIMAL_FINITE;
	decimal->negative = integer < 0;
	decimal->exponent = 0;
	/* negated as unsigned, since the smallest has no positive counterpart */
	decimal->coefficient = integer < 0 ? -(uint64) integer : (uint64) integer;
}

/* Compares an integer with a double that is none. */
static int
compare_integer_double(int64 integer, double floating)
{
	int64		whole;

	if (floating >= TWO_TO_63)
		return -1;
	if (floating < -TWO_TO_63)
		return 1;
	whole = (int64) floating;
	if (integer != whole)
		return COMPARE(integer, whole);
	/* the part behind the point decides; the difference is exact, as only doubles below 2^53 have such a part */
	return COMPARE(0, floating - (double) whole);
}

/* Compares two finite decimals. */
static int
compare_decimals(const DocumentDecimal *a, const DocumentDecimal *b)
{
	int			sign = a->negative ? -1 : 1;
	uint128		x = a->coefficient;
	uint128		y = b->coefficient;
	int			x_point;
	int			y_point;

	if (x == 0 || y == 0)
		return x == 0 && y == 0 ? 0 : x == 0 ? (b->negative ? 1 : -1) : sign;
	if (a->negative != b->negative)
		return sign;
	/* where the first digit stands */
	x_point = count_digits(x) + a->exponent;
	y_point = count_digits(y) + b->exponent;
	if (x_point != y_point)
		return x_point > y_point ? sign : -sign;
	/* then the one with fewer digits can take the zeros that it lacks */
	if (a->exponent > b->exponent)
		x *= power_of_ten(a->exponent - b->exponent);
	else
		y *= power_of_ten(b->exponent - a->exponent);
	return sign * COMPARE(x, y);
}

/* Multiplies a big integer. */
static void
big_multiply(BigInteger *big, uint32 factor)
{
	uint64		carry = 0;

	for (int i = 0; i < big->size; i++)
	{
		carry += (uint64) big->words[i] * factor;
		big->words[i] = (uint32) carry;
		carry >>= 32;
	}
	if (carry != 0)
		big->words[big->size++] = (uint32) carry;
}

/* Makes number * 5^fives * 2^twos; the callers bound the exponents so that it fits. */
static void
big_make(BigInteger *big, uint128 number, int fives, int twos)
{
	int			words = twos / 32;

	big->size = 0;
	while (number != 0)
	{
		big->words[big->size++] = (uint32) number;
		number >>= 32;
	}
	for (; fives >= 13; fives -= 13)
		big_multiply(big, 1220703125);	/* 5^13 */
	for (; fives > 0; fives--)
		big_multiply(big, 5);
	big_multiply(big, (uint32) 1 << (twos % 32));
	Assert(big->size + words <= BIG_WORDS);
	memmove(big->words + words, big->words, big->size * sizeof(uint32));
	memset(big->words, 0, words * sizeof(uint32));
	big->size += words;
}

/* Compares two big integers without leading zero words. */
static int
big_compare(const BigInteger *a, const BigInteger *b)
{
	if (a->size != b->size)
		return COMPARE(a->size, b->size);
	for (int i = a->size - 1; i >= 0; i--)
	{
		if (a->words[i] != b->words[i])
			return COMPARE(a->words[i], b->words[i]);
	}
	return 0;
}

/* Compares a finite double with a finite decimal. */
static int
compare_double_decimal(double floating, const DocumentDecimal *decimal)
{
	int			sign = floating < 0 ? -1 : 1;
	int			two;
	int			ten = decimal->exponent;
	int			point;
	uint64		mantissa;
	BigInteger	x;
	BigInteger	y;

	if (floating == 0 || decimal->coefficient == 0)
		return floating == 0 && decimal->coefficient == 0 ? 0 :
			floating == 0 ? (decimal->negative ? 1 : -1) : sign;
	if ((floating < 0) != decimal->negative)
		return sign;
	/* a double has its first digit between the 308th place and the -323rd */
	point = count_digits(decimal->coefficient) + ten;
	if (point > 310)
		return -sign;
	if (point < -330)
		return sign;
	/* all 53 bits as an integer; below the normal range there are fewer, which changes nothing */
	mantissa = (uint64) ldexp(frexp(fabs(floating), &two), 53);
	two -= 53;
	/* both sides times 10 and 2 as often as makes them integers: below 2,240 bits by the bounds above */
	big_make(&x, mantissa, Max(-ten, 0), Max(two, 0) + Max(-ten, 0));
	big_make(&y, decimal->coefficient, Max(ten, 0), Max(-two, 0) + Max(ten, 0));
	return sign * big_compare(&x, &y);
}

/* Compares two finite numbers. */
static int
compare_finite(Number *a, Number *b)
{
	if (a->form == b->form)
	{
		if (a->form == NUMBER_INTEGER)
			return COMPARE(a->integer, b->integer);
		if (a->form == NUMBER_DOUBLE)
			return COMPARE(a->floating, b->floating);
		return compare_decimals(&a->decimal, &b->decimal);
	}
	/* half of the pairs are the other half turned round */
	if (a->form > b->form)
		return -compare_finite(b, a);
	if (a->form == NUMBER_INTEGER && b->form == NUMBER_DOUBLE)
		return compare_integer_double(a->integer, b->floating);
	if (a->form == NUMBER_INTEGER)
	{
		integer_to_decimal(a->integer, &a->decimal);
		return compare_decimals(&a->decimal, &b->decimal);
	}
	return compare_double_decimal(a->floating, &b->decimal);
}

/* Where a number stands among NaN, the infinities and all others. */
static int
number_rank(const Number *number)
{
	if (number->form == NUMBER_NAN)
		return -2;
	if (number->form == NUMBER_INFINITE)
		return number->negative ? -1 : 1;
	return 0;
}

/* Compares two values that are numbers. */
int
mcs_document_compare_numbers(const DocumentValue *a, const DocumentValue *b)
{
	Number		x;
	Number		y;
	int			x_rank;
	int			y_rank;

	read_number(a, &x);
	read_number(b, &y);
	x_rank = number_rank(&x);
	y_rank = number_rank(&y);
	if (x_rank != 0 || y_rank != 0)
		return COMPARE(x_rank, y_rank);
	return compare_finite(&x, &y);
}

/* Is this value a NaN, of either type? */
bool
mcs_document_is_nan(const DocumentValue *value)
{
	Number		number;

	if (value->type != DOCUMENT_DOUBLE && value->type != DOCUMENT_DECIMAL128)
		return false;
	read_number(value, &number);
	return number.form == NUMBER_NAN;
}

/* The double next to a finite decimal; an infinity where it is beyond all doubles. */
static double
decimal_to_double(const DocumentDecimal *decimal)
{
	char		text[DECIMAL_TEXT_SIZE];

	mcs_document_decimal_out(decimal, text);
	return strtod(text, NULL);
}

/* The double next to a number; keeps the order, but may make unequal numbers equal. */
double
mcs_document_number_to_double(const DocumentValue *value)
{
	Number		number;

	read_number(value, &number);
	switch (number.form)
	{
		case NUMBER_INTEGER:
			return (double) number.integer;
		case NUMBER_DOUBLE:
			return number.floating;
		case NUMBER_DECIMAL:
			return decimal_to_double(&number.decimal);
		case NUMBER_NAN:
			return NAN;
		case NUMBER_INFINITE:
			return number.negative ? -HUGE_VAL : HUGE_VAL;
	}
	return 0;
}

/* Hashes a decimal so that it agrees with an integer or a double of the same value. */
static uint64
hash_decimal(DocumentDecimal *decimal, uint64 seed)
{
	double		floating;
	struct
	{
		/* no padding between them, whose bytes would be hashed, too */
		uint64		low;
		uint64		high;
		int64		exponent;
	}			parts;

	if (decimal->coefficient == 0)
		decimal->exponent = 0;
	/* 1.0 and 1.00 are equal and so must hash alike: no zeros at the end */
	while (decimal->coefficient != 0 && decimal->coefficient % 10 == 0)
	{
		decimal->coefficient /= 10;
		decimal->exponent++;
	}
	if (decimal->exponent >= 0 && decimal->exponent <= 19 &&
		decimal->coefficient <= (uint128) 1 << 63)
	{
		/* at most 2^63 * 10^19, which 128 bits hold */
		uint128		magnitude = decimal->coefficient * power_of_ten(decimal->exponent);

		if (magnitude <= (uint128) PG_INT64_MAX || (magnitude == (uint128) 1 << 63 && decimal->negative))
		{
			uint64		integer = decimal->negative ? -(uint64) magnitude : (uint64) magnitude;

			return hash_bytes_extended((unsigned char *) &integer, sizeof(integer), seed);
		}
	}
	/* is there a double of just this value?  Then that one hashes so */
	floating = decimal_to_double(decimal);
	if (isfinite(floating) && compare_double_decimal(floating, decimal) == 0)
		return hash_bytes_extended((unsigned char *) &floating, sizeof(floating), seed);
	parts.low = (uint64) decimal->coefficient;
	parts.high = (uint64) (decimal->coefficient >> 64);
	parts.exponent = decimal->negative ? ~(int64) decimal->exponent : decimal->exponent;
	return hash_bytes_extended((unsigned char *) &parts, sizeof(parts), seed);
}

/* Hashes a number; numbers that are equal hash alike, whatever their types. */
uint64
mcs_document_hash_number(const DocumentValue *value, uint64 seed)
{
	Number		number;
	unsigned char special;

	read_number(value, &number);
	switch (number.form)
	{
		case NUMBER_INTEGER:
			return hash_bytes_extended((unsigned char *) &number.integer, sizeof(number.integer), seed);
		case NUMBER_DOUBLE:
			return hash_bytes_extended((unsigned char *) &number.floating, sizeof(number.floating), seed);
		case NUMBER_DECIMAL:
			return hash_decimal(&number.decimal, seed);
		default:
			special = number.form == NUMBER_NAN ? 0 : number.negative ? 1 : 2;
			return hash_bytes_extended(&special, 1, seed);
	}
}
