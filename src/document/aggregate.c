/*
 * document/aggregate.c
 *	  sum and avg of documents, as numeric; min and max, as document.
 *
 * The sums are kept by PostgreSQL's own state for numeric, so they are exact
 * and can be made in parallel.  Nulls do not count; a value that is no number
 * is an error, since leaving it out would make the result silently wrong.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(mcs_document_sum_transition);
PG_FUNCTION_INFO_V1(mcs_document_sum_inverse);
PG_FUNCTION_INFO_V1(mcs_document_larger);
PG_FUNCTION_INFO_V1(mcs_document_smaller);

/* Calls a function of numeric's sums with the state and the number that an argument is; null for null. */
static Datum
call_with_number(FunctionCallInfo fcinfo, PGFunction function)
{
	LOCAL_FCINFO(inner, 2);
	DocumentValue value;
	Datum		result;

	InitFunctionCallInfoData(*inner, NULL, 2, InvalidOid, fcinfo->context, NULL);
	inner->args[0] = fcinfo->args[0];
	inner->args[1].value = (Datum) 0;
	inner->args[1].isnull = true;
	if (!PG_ARGISNULL(1))
	{
		value = mcs_document_take(PG_GETARG_DOCUMENT_P(1));
		if (mcs_document_kind(value.type) == DOCUMENT_KIND_NUMBER)
		{
			inner->args[1].value = NumericGetDatum(mcs_document_number_to_numeric(&value));
			inner->args[1].isnull = false;
		}
		else if (value.type != DOCUMENT_NULL && value.type != DOCUMENT_UNDEFINED)
			ereport(ERROR,
					(errcode(ERRCODE_CANNOT_COERCE),
					 errmsg("cannot sum a document of type %s", mcs_document_type_name(value.type)),
					 errhint("Leave such values out: FILTER (WHERE document_typeof(value) IN ('int', 'long', 'double', 'decimal')).")));
	}
	result = function(inner);
	fcinfo->isnull = inner->isnull;
	return result;
}

/* document_sum_transition(internal, document): adds a number */
Datum
mcs_document_sum_transition(PG_FUNCTION_ARGS)
{
	/* even where there is nothing to add, the first call makes the state */
	return call_with_number(fcinfo, numeric_avg_accum);
}

/* document_sum_inverse(internal, document): takes a number away; null where the sum must be made anew */
Datum
mcs_document_sum_inverse(PG_FUNCTION_ARGS)
{
	return call_with_number(fcinfo, numeric_accum_inv);
}

/* The one of the arguments that the order puts first or last. */
static Datum
choose(FunctionCallInfo fcinfo, int sign)
{
	Document   *a = PG_GETARG_DOCUMENT_P(0);
	Document   *b = PG_GETARG_DOCUMENT_P(1);
	DocumentValue x = mcs_document_take(a);
	DocumentValue y = mcs_document_take(b);

	PG_RETURN_POINTER((mcs_document_compare(&x, &y) >= 0) == (sign > 0) ? a : b);
}

/* document_larger(document, document): max */
Datum
mcs_document_larger(PG_FUNCTION_ARGS)
{
	return choose(fcinfo, 1);
}

/* document_smaller(document, document): min */
Datum
mcs_document_smaller(PG_FUNCTION_ARGS)
{
	return choose(fcinfo, -1);
}
