/*
 * document/decimal.c
 *	  Decimal128 between its bits, its digits and its text.
 *
 * A Decimal128 is a coefficient of at most 34 digits times a power of ten; the
 * same number has several forms (1.0 and 1.00), and the form is kept.  The bits
 * can also hold coefficients of more than 34 digits, which count as zero, and
 * infinities and NaNs with bits to spare: what the text cannot say.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"

#define DECIMAL_BIAS	6176

/* 10^34 - 1 */
#define DECIMAL_MAX_COEFFICIENT \
	((((uint128) UINT64CONST(0x0001ED09BEAD87C0)) << 64) | UINT64CONST(0x378D8E63FFFFFFFF))

/* Takes the 16 bytes of a Decimal128 apart. */
void
mcs_document_decimal_read(const uint8 *data, DocumentDecimal *decimal)
{
	uint64		low = (uint64) mcs_document_read_int64(data);
	uint64		high = (uint64) mcs_document_read_int64(data + 8);

	memset(decimal, 0, sizeof(*decimal));
	decimal->negative = (high >> 63) != 0;
	if (((high >> 59) & 0xF) == 0xF)
		decimal->kind = ((high >> 58) & 1) ? DECIMAL_NAN : DECIMAL_INFINITE;
	/* the form whose coefficient begins with binary 100 and so is beyond 2^113, more than 34 digits: a zero */
	else if (((high >> 61) & 3) == 3)
		decimal->exponent = (int) ((high >> 47) & 0x3FFF) - DECIMAL_BIAS;
	else
	{
		decimal->exponent = (int) ((high >> 49) & 0x3FFF) - DECIMAL_BIAS;
		decimal->coefficient = (((uint128) (high & UINT64CONST(0x1FFFFFFFFFFFF))) << 64) | low;
		if (decimal->coefficient > DECIMAL_MAX_COEFFICIENT)
			decimal->coefficient = 0;
	}
}

/* Puts a Decimal128 into 16 bytes. */
void
mcs_document_decimal_write(const DocumentDecimal *decimal, uint8 *data)
{
	uint64		low = 0;
	uint64		high;

	if (decimal->kind == DECIMAL_NAN)
		high = UINT64CONST(0x7C00000000000000);
	else if (decimal->kind == DECIMAL_INFINITE)
		high = UINT64CONST(0x7800000000000000);
	else
	{
		/* the caller has brought both into range, else they would run into each other and into the sign */
		low = (uint64) decimal->coefficient;
		high = (uint64) (decimal->coefficient >> 64);
		high |= ((uint64) (decimal->exponent + DECIMAL_BIAS)) << 49;
	}
	if (decimal->negative)
		high |= UINT64CONST(1) << 63;
	mcs_document_write_int64(data, (int64) low);
	mcs_document_write_int64(data + 8, (int64) high);
}

/* Writes the coefficient in decimal, with a zero at the end; returns the number of digits. */
int
mcs_document_decimal_digits(uint128 coefficient, char *digits)
{
	char		reversed[40];
	int			n = 0;

	do
	{
		reversed[n++] = '0' + (int) (coefficient % 10);
		coefficient /= 10;
	} while (coefficient != 0);
	for (int i = 0; i < n; i++)
		digits[i] = reversed[n - 1 - i];
	digits[n] = '\0';
	return n;
}

/* Writes a Decimal128 as text into a buffer of DECIMAL_TEXT_SIZE; reading the text gives the same number and form. */
void
mcs_document_decimal_out(const DocumentDecimal *decimal, char *text)
{
	char		digits[40];
	int			n;
	int			scientific;
	int			point;

	if (decimal->kind == DECIMAL_NAN)
	{
		/* a sign is lost here; who must keep it compares the bits first, as write_decimal does */
		strcpy(text, "NaN");
		return;
	}
	if (decimal->negative)
		*text++ = '-';
	if (decimal->kind == DECIMAL_INFINITE)
	{
		strcpy(text, "Infinity");
		return;
	}
	n = mcs_document_decimal_digits(decimal->coefficient, digits);
	scientific = decimal->exponent + n - 1;
	/* when to write an exponent is laid down by the specification of Decimal128, for all drivers alike */
	if (decimal->exponent > 0 || scientific < -6)
	{
		*text++ = digits[0];
		if (n > 1)
			text += sprintf(text, ".%s", digits + 1);
		sprintf(text, "E%+d", scientific);
		return;
	}
	point = n + decimal->exponent;	/* digits in front of the point */
	if (decimal->exponent == 0)
		strcpy(text, digits);
	else if (point > 0)
		sprintf(text, "%.*s.%s", point, digits, digits + point);
	else
		/* five zeros at most, or the exponent would have been written */
		sprintf(text, "0.%.*s%s", -point, "000000", digits);
}

/* Brings coefficient and exponent into range without changing the number, if that can be. */
DecimalResult
mcs_document_decimal_fit(DocumentDecimal *decimal)
{
	if (decimal->coefficient > DECIMAL_MAX_COEFFICIENT)
		return DECIMAL_INEXACT;
	if (decimal->coefficient == 0)
	{
		/* a zero is one with any exponent, so the nearest that there is will do */
		decimal->exponent = Min(Max(decimal->exponent, DECIMAL_MIN_EXPONENT), DECIMAL_MAX_EXPONENT);
		return DECIMAL_OK;
	}
	while (decimal->exponent > DECIMAL_MAX_EXPONENT && decimal->coefficient <= DECIMAL_MAX_COEFFICIENT / 10)
	{
		decimal->coefficient *= 10;
		decimal->exponent--;
	}
	while (decimal->exponent < DECIMAL_MIN_EXPONENT && decimal->coefficient % 10 == 0)
	{
		decimal->coefficient /= 10;
		decimal->exponent++;
	}
	if (decimal->exponent > DECIMAL_MAX_EXPONENT || decimal->exponent < DECIMAL_MIN_EXPONENT)
		return DECIMAL_OUT_OF_RANGE;
	return DECIMAL_OK;
}

/* Reads what follows the sign where it is no digit: NaN or an infinity. */
static DecimalResult
read_special(const char *text, uint32 size, DocumentDecimal *decimal)
{
	if (size == 3 && pg_strncasecmp(text, "nan", 3) == 0)
	{
		decimal->kind = DECIMAL_NAN;
		decimal->negative = false;
	}
	else if ((size == 3 && pg_strncasecmp(text, "inf", 3) == 0) ||
			 (size == 8 && pg_strncasecmp(text, "infinity", 8) == 0))
		decimal->kind = DECIMAL_INFINITE;
	else
		return DECIMAL_SYNTAX;
	return DECIMAL_OK;
}

/* Reads digits with at most one point; returns where they end, NULL where there is no digit. */
static const char *
read_coefficient(const char *at, const char *end, DocumentDecimal *decimal, bool *inexact)
{
	bool		any = false;
	bool		fraction = false;

	*inexact = false;
	for (; at < end; at++)
	{
		if (*at == '.' && !fraction)
			fraction = true;
		else if (*at >= '0' && *at <= '9')
		{
			any = true;
			/* up to here another digit keeps it within 34; zeros in front take no room */
			if (decimal->coefficient <= DECIMAL_MAX_COEFFICIENT / 10)
			{
				decimal->coefficient = decimal->coefficient * 10 + (*at - '0');
				if (fraction)
					decimal->exponent--;
			}
			else
			{
				/* a digit without room: only a zero changes nothing */
				if (*at != '0')
					*inexact = true;
				/* behind the point it goes without a trace; the exponent cannot overflow, as no text has so many digits */
				if (!fraction)
					decimal->exponent++;
			}
		}
		else
			break;
	}
	return any ? at : NULL;
}

/* Reads a Decimal128 from text; a number that it cannot hold exactly is refused. */
DecimalResult
mcs_document_decimal_in(const char *text, uint32 size, DocumentDecimal *decimal)
{
	const char *at = text;
	const char *end = text + size;
	bool		inexact;

	memset(decimal, 0, sizeof(*decimal));
	if (at < end && (*at == '-' || *at == '+'))
		decimal->negative = *at++ == '-';
	if (at < end && ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z')))
		return read_special(at, end - at, decimal);
	at = read_coefficient(at, end, decimal, &inexact);
	if (at == NULL)
		return DECIMAL_SYNTAX;
	if (at < end && (*at == 'e' || *at == 'E'))
	{
		bool		down = false;
		int			exponent = 0;

		at++;
		if (at < end && (*at == '-' || *at == '+'))
			down = *at++ == '-';
		if (at == end)
			return DECIMAL_SYNTAX;
		for (; at < end && *at >= '0' && *at <= '9'; at++)
			/* far beyond any range; more digits could only overflow */
			exponent = Min(exponent * 10 + (*at - '0'), 1000000);
		decimal->exponent += down ? -exponent : exponent;
	}
	if (at != end)
		return DECIMAL_SYNTAX;
	if (inexact)
		return DECIMAL_INEXACT;
	return mcs_document_decimal_fit(decimal);
}
