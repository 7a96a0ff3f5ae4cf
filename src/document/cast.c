/*
 * document/cast.c
 *	  Casts of documents to SQL types.
 *
 * Each takes the BSON types that say the same and refuses the others with an
 * error; null and undefined become SQL NULL.  Strings are no numbers and no
 * dates here: who stored them as such converts the text.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(mcs_document_to_boolean);
PG_FUNCTION_INFO_V1(mcs_document_to_smallint);
PG_FUNCTION_INFO_V1(mcs_document_to_integer);
PG_FUNCTION_INFO_V1(mcs_document_to_bigint);
PG_FUNCTION_INFO_V1(mcs_document_to_numeric);
PG_FUNCTION_INFO_V1(mcs_document_to_real);
PG_FUNCTION_INFO_V1(mcs_document_to_double);
PG_FUNCTION_INFO_V1(mcs_document_to_timestamptz);
PG_FUNCTION_INFO_V1(mcs_document_to_timestamp);
PG_FUNCTION_INFO_V1(mcs_document_to_date);
PG_FUNCTION_INFO_V1(mcs_document_to_uuid);
PG_FUNCTION_INFO_V1(mcs_document_to_bytea);
PG_FUNCTION_INFO_V1(mcs_document_to_text_array);
PG_FUNCTION_INFO_V1(mcs_document_to_interval);
PG_FUNCTION_INFO_V1(mcs_document_to_text);
PG_FUNCTION_INFO_V1(mcs_document_to_varchar);
PG_FUNCTION_INFO_V1(mcs_document_to_bpchar);
PG_FUNCTION_INFO_V1(mcs_document_date_part);

/* Raises the error for a document of another type than the cast takes. */
static void pg_attribute_noreturn()
reject(const DocumentValue *value, const char *target)
{
	bool		is_string = mcs_document_kind(value->type) == DOCUMENT_KIND_STRING;

	/* the name is never NULL: mcs_document_take refuses types that are none */
	ereport(ERROR,
			(errcode(ERRCODE_CANNOT_COERCE),
			 errmsg("cannot cast document of type %s to %s", mcs_document_type_name(value->type), target),
			 is_string ? errhint("To convert the string, take it as text: document_text(value)::%s.", target) : 0));
}

/* Is this value to be SQL NULL? */
static bool
is_null(const DocumentValue *value)
{
	return value->type == DOCUMENT_NULL || value->type == DOCUMENT_UNDEFINED;
}

/* Checks that a value is a number. */
static void
check_number(const DocumentValue *value, const char *target)
{
	if (mcs_document_kind(value->type) != DOCUMENT_KIND_NUMBER)
		reject(value, target);
}

/* A number as an integer between bounds, rounded as numeric rounds. */
static int64
to_integer(const DocumentValue *value, const char *target, int64 lowest, int64 highest)
{
	int64		number = 0;
	bool		fits = true;

	check_number(value, target);
	/* what is left: fractions, Decimal128, and doubles beyond int64 */
	if (!mcs_document_get_int64(value, &number))
	{
		Numeric		numeric = mcs_document_number_to_numeric(value);
		Datum		rounded;

		fits = !numeric_is_nan(numeric) && !numeric_is_inf(numeric);
		if (fits)
		{
			rounded = DirectFunctionCall2(numeric_round, NumericGetDatum(numeric), Int32GetDatum(0));
			fits = mcs_document_numeric_to_int64(DatumGetNumeric(rounded), &number);
		}
	}
	if (!fits || number < lowest || number > highest)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s out of range", target)));
	return number;
}

/* document to boolean */
Datum
mcs_document_to_boolean(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	if (value.type != DOCUMENT_BOOL)
		reject(&value, "boolean");
	PG_RETURN_BOOL(value.data[0] != 0);
}

/* document to smallint */
Datum
mcs_document_to_smallint(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	PG_RETURN_INT16((int16) to_integer(&value, "smallint", PG_INT16_MIN, PG_INT16_MAX));
}

/* document to integer */
Datum
mcs_document_to_integer(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) to_integer(&value, "integer", PG_INT32_MIN, PG_INT32_MAX));
}

/* document to bigint */
Datum
mcs_document_to_bigint(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	PG_RETURN_INT64(to_integer(&value, "bigint", PG_INT64_MIN, PG_INT64_MAX));
}

/* document to numeric */
Datum
mcs_document_to_numeric(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	check_number(&value, "numeric");
	PG_RETURN_NUMERIC(mcs_document_number_to_numeric(&value));
}

/* A number as a double; a Decimal128 that no double comes near is out of range. */
static double
to_double(const DocumentValue *value, const char *target)
{
	double		number;

	check_number(value, target);
	number = mcs_document_number_to_double(value);
	/* a double is infinite where the document says so, which a finite decimal does not */
	if (isinf(number) && value->type == DOCUMENT_DECIMAL128)
	{
		DocumentDecimal decimal;

		mcs_document_decimal_read(value->data, &decimal);
		if (decimal.kind == DECIMAL_FINITE)
			float_overflow_error();
	}
	return number;
}

/* document to real */
Datum
mcs_document_to_real(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	/* dtof raises the error where a real overflows, as a cast of a double does */
	return DirectFunctionCall1(dtof, Float8GetDatum(to_double(&value, "real")));
}

/* document to double precision */
Datum
mcs_document_to_double(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(to_double(&value, "double precision"));
}

/* A date, or the second of a timestamp. */
static TimestampTz
to_time(const DocumentValue *value, const char *target)
{
	uint32		seconds;
	uint32		ordinal;

	if (value->type == DOCUMENT_DATE)
		return mcs_document_date_to_timestamptz(mcs_document_read_int64(value->data));
	if (!mcs_document_get_timestamp(value, &seconds, &ordinal))
		reject(value, target);
	return mcs_document_date_to_timestamptz((int64) seconds * 1000);
}

/* document to timestamptz */
Datum
mcs_document_to_timestamptz(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(to_time(&value, "timestamp with time zone"));
}

/* document to timestamp, in the session's time zone */
Datum
mcs_document_to_timestamp(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	return DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(to_time(&value, "timestamp")));
}

/* document to date, in the session's time zone */
Datum
mcs_document_to_date(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	return DirectFunctionCall1(timestamptz_date, TimestampTzGetDatum(to_time(&value, "date")));
}

/* document to uuid: binary of subtype 4; the old subtype 3 has its bytes in an order that only its driver knows */
Datum
mcs_document_to_uuid(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	pg_uuid_t  *uuid;

	if (is_null(&value))
		PG_RETURN_NULL();
	if (value.type != DOCUMENT_BINARY)
		reject(&value, "uuid");
	if (value.data[4] != 4 || value.size != 5 + UUID_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("cannot cast binary data of subtype %d and %u bytes to uuid", value.data[4], value.size - 5),
				 errdetail("A UUID is binary data of subtype 4 and 16 bytes."),
				 value.data[4] == 3 ?
				 errhint("The order of the bytes of subtype 3 depends on the driver that wrote them; encode(value::bytea, 'hex') shows them.") : 0));
	uuid = palloc(sizeof(pg_uuid_t));
	memcpy(uuid->data, value.data + 5, UUID_LEN);
	PG_RETURN_UUID_P(uuid);
}

/* document to bytea: the bytes of binary data */
Datum
mcs_document_to_bytea(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	uint32		skip = 5;
	bytea	   *bytes;

	if (is_null(&value))
		PG_RETURN_NULL();
	if (value.type != DOCUMENT_BINARY)
		reject(&value, "bytea");
	/* the second length of subtype 2 is none of the data */
	if (value.data[4] == 2 && value.size >= 9)
		skip = 9;
	bytes = palloc(VARHDRSZ + value.size - skip);
	SET_VARSIZE(bytes, VARHDRSZ + value.size - skip);
	memcpy(VARDATA(bytes), value.data + skip, value.size - skip);
	PG_RETURN_BYTEA_P(bytes);
}

/* document to text[]: each element as plain text */
Datum
mcs_document_to_text_array(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	DocumentIterator it;

	if (is_null(&value))
		PG_RETURN_NULL();
	if (value.type != DOCUMENT_ARRAY)
		reject(&value, "text[]");
	mcs_document_iterate(&it, value.data, value.size);
	while (mcs_document_next(&it))
	{
		DocumentStep step = {it.key, it.key_size};
		text	   *element = mcs_document_plain_text(&it.value, &step, 1);

		CHECK_FOR_INTERRUPTS();
		state = accumArrayResult(state, PointerGetDatum(element), element == NULL, TEXTOID, CurrentMemoryContext);
	}
	if (it.malformed)
		mcs_document_malformed();
	PG_RETURN_DATUM(makeArrayResult(state, CurrentMemoryContext));
}

/* A number of milliseconds as an interval. */
static Interval *
to_interval(const DocumentValue *value)
{
	int64		number;

	check_number(value, "interval");
	/* whole milliseconds are the common case; fractions of one go by numeric */
	if (!mcs_document_get_int64(value, &number) || pg_mul_s64_overflow(number, 1000, &number))
	{
		Numeric		microseconds = mcs_document_number_to_numeric(value);

		if (!numeric_is_nan(microseconds) && !numeric_is_inf(microseconds))
			microseconds = DatumGetNumeric(DirectFunctionCall2(numeric_round,
															   DirectFunctionCall2(numeric_mul, NumericGetDatum(microseconds),
																				   NumericGetDatum(int64_to_numeric(1000))),
															   Int32GetDatum(0)));
		/* NaN and the infinities fail here, too; after an overflow above, number was garbage */
		if (!mcs_document_numeric_to_int64(microseconds, &number))
			ereport(ERROR,
					(errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
					 errmsg("interval out of range")));
	}
	return mcs_document_interval_from_us(number);
}

/* document to interval */
Datum
mcs_document_to_interval(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	if (is_null(&value))
		PG_RETURN_NULL();
	PG_RETURN_INTERVAL_P(to_interval(&value));
}

/* date_part(text, document): of a date as timestamptz, of a number as an interval of milliseconds */
Datum
mcs_document_date_part(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, 2);
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(1));
	PGFunction	function;
	Datum		time;

	if (is_null(&value))
		PG_RETURN_NULL();
	/* a number is a length of time here, as in casts to interval */
	if (mcs_document_kind(value.type) == DOCUMENT_KIND_NUMBER)
	{
		function = extract_interval;
		time = IntervalPGetDatum(to_interval(&value));
	}
	else
	{
		function = extract_timestamptz;
		time = TimestampTzGetDatum(to_time(&value, "timestamp with time zone"));
	}
	/* a field of an infinite time may be null, which DirectFunctionCall would refuse; a constant in our own arguments is there for all rows */
	InitFunctionCallInfoData(*call, NULL, 2, fcinfo->fncollation, NULL, NULL);
	call->args[0] = fcinfo->args[0];
	call->args[1].value = time;
	call->args[1].isnull = false;
	time = function(call);
	fcinfo->isnull = call->isnull;
	return time;
}

/*
 * A cast to text or its like.  PostgreSQL tells such a function whether the cast
 * was written, and then it is Extended JSON, from which a document reads back, as
 * with jsonb.  Where a value is put into a column or a variable, nobody has asked
 * for quotes: plain text, as ->> gives it.  NULL for null.
 */
static text *
to_text(FunctionCallInfo fcinfo)
{
	Document   *document = PG_GETARG_DOCUMENT_P(0);
	DocumentValue value;

	if (PG_GETARG_BOOL(2))
		return cstring_to_text(mcs_document_out_text(document));
	value = mcs_document_take(document);
	return mcs_document_plain_text(&value, NULL, 0);
}

/* document to text */
Datum
mcs_document_to_text(PG_FUNCTION_ARGS)
{
	text	   *result = to_text(fcinfo);

	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/* document to varchar, as long as the type modifier says */
Datum
mcs_document_to_varchar(PG_FUNCTION_ARGS)
{
	text	   *result = to_text(fcinfo);

	if (result == NULL)
		PG_RETURN_NULL();
	return DirectFunctionCall3(varchar, PointerGetDatum(result), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2));
}

/* document to char(n) */
Datum
mcs_document_to_bpchar(PG_FUNCTION_ARGS)
{
	text	   *result = to_text(fcinfo);

	if (result == NULL)
		PG_RETURN_NULL();
	/* what no type has, only who calls this by itself; PostgreSQL's own function allocates what it says */
	if (PG_GETARG_INT32(1) > MaxAttrSize + VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("length for type char cannot exceed %d", MaxAttrSize)));
	return DirectFunctionCall3(bpchar, PointerGetDatum(result), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2));
}
