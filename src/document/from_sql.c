/*
 * document/from_sql.c
 *	  SQL values to documents: to_document, document_build_object and its kin,
 *	  and the casts from SQL types.
 *
 * Each type becomes the BSON type that says the same: integers int32 or int64,
 * numeric Decimal128, timestamptz a date, uuid binary of subtype 4, bytea
 * binary, a row an object, an array an array, jsonb what it holds.  A type with
 * no counterpart becomes its text.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "document/document_internal.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(mcs_to_document);
PG_FUNCTION_INFO_V1(mcs_document_id);
PG_FUNCTION_INFO_V1(mcs_document_from_text_array);
PG_FUNCTION_INFO_V1(mcs_document_build_object);
PG_FUNCTION_INFO_V1(mcs_document_build_object_empty);
PG_FUNCTION_INFO_V1(mcs_document_build_array);
PG_FUNCTION_INFO_V1(mcs_document_build_array_empty);
PG_FUNCTION_INFO_V1(mcs_document_agg_transition);
PG_FUNCTION_INFO_V1(mcs_document_agg_final);

/* Appends a row as an object. */
static void
append_row(DocumentBuilder *builder, const char *key, Datum datum, Oid document_type)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(datum);
	/* the row says its own type: a RECORD has it nowhere else */
	TupleDesc	tupdesc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;

	mcs_document_begin_object(builder, key);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(tupdesc, i);
		bool		isnull;
		Datum		column;

		if (attribute->attisdropped)
			continue;
		/* it may be compressed or have a short header; who appends it by its type takes care of that */
		column = heap_getattr(&tuple, i + 1, tupdesc, &isnull);
		mcs_document_append_datum(builder, NameStr(attribute->attname), column, isnull, attribute->atttypid, document_type);
	}
	mcs_document_end(builder);
	ReleaseTupleDesc(tupdesc);
}

/* Appends one dimension of an array; next counts the elements that are used up. */
static void
append_dimension(DocumentBuilder *builder, const char *key, ArrayType *array, int dimension, const Datum *elements,
				 const bool *nulls, int *next, Oid document_type)
{
	/* elements lie row by row, so this walk meets them in turn; lower bounds are lost, as BSON counts from 0 */
	mcs_document_begin_array(builder, key);
	for (int i = 0; i < ARR_DIMS(array)[dimension]; i++)
	{
		if (dimension + 1 < ARR_NDIM(array))
			append_dimension(builder, NULL, array, dimension + 1, elements, nulls, next, document_type);
		else
		{
			mcs_document_append_datum(builder, NULL, elements[*next], nulls[*next], ARR_ELEMTYPE(array), document_type);
			(*next)++;
		}
	}
	mcs_document_end(builder);
}

/* Appends an array. */
static void
append_array(DocumentBuilder *builder, const char *key, Datum datum, Oid document_type)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	int16		length;
	bool		by_value;
	char		align;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			next = 0;

	/* an empty array has no dimension to walk */
	if (ARR_NDIM(array) == 0)
	{
		mcs_document_begin_array(builder, key);
		mcs_document_end(builder);
		return;
	}
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &by_value, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), length, by_value, align, &elements, &nulls, &count);
	append_dimension(builder, key, array, 0, elements, nulls, &next, document_type);
}

/* Appends a text or what is stored like one. */
static void
append_text(DocumentBuilder *builder, const char *key, Datum datum)
{
	text	   *string = DatumGetTextPP(datum);

	mcs_document_append_string_sized(builder, key, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

/* Appends a numeric, with its scale. */
static void
append_numeric(DocumentBuilder *builder, const char *key, Datum datum)
{
	DocumentDecimal decimal;
	DocumentValue value;
	uint8		data[16];

	mcs_document_decimal_from_numeric(DatumGetNumeric(datum), &decimal);
	mcs_document_decimal_write(&decimal, data);
	value.type = DOCUMENT_DECIMAL128;
	value.data = data;
	value.size = sizeof(data);
	mcs_document_append_value(builder, key, &value);
}

/* Appends a value of a type that has no counterpart: its text. */
static void
append_by_output(DocumentBuilder *builder, const char *key, Datum datum, Oid type)
{
	Oid			output;
	bool		is_varlena;

	getTypeOutputInfo(type, &output, &is_varlena);
	mcs_document_append_string(builder, key, OidOutputFunctionCall(output, datum));
}

/* Appends a timestamptz as a date. */
static void
append_time(DocumentBuilder *builder, const char *key, Datum timestamptz)
{
	mcs_document_append_date(builder, key, mcs_document_date_from_timestamptz(DatumGetTimestampTz(timestamptz)));
}

/* Appends bytes. */
static void
append_bytes(DocumentBuilder *builder, const char *key, Datum datum)
{
	bytea	   *bytes = DatumGetByteaPP(datum);

	mcs_document_append_binary(builder, key, 0, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

/* Appends JSON. */
static void
append_json(DocumentBuilder *builder, const char *key, Datum datum)
{
	text	   *json = DatumGetTextPP(datum);

	/* its own text and no jsonb of it, so order and duplicate keys stay; without an escontext errors are raised */
	mcs_document_append_document(builder, key, mcs_document_from_text(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json), NULL));
}

/* Appends a value of a type that is none of the built-in ones below. */
static void
append_other(DocumentBuilder *builder, const char *key, Datum datum, Oid type, Oid document_type)
{
	/* its OID is not known at compile time, else this would be a case below */
	if (type == document_type)
		mcs_document_append_document(builder, key, DatumGetDocumentP(datum));
	else if (OidIsValid(get_element_type(type)))
		append_array(builder, key, datum, document_type);
	else if (type == RECORDOID || get_typtype(type) == TYPTYPE_COMPOSITE)
		append_row(builder, key, datum, document_type);
	else
		append_by_output(builder, key, datum, type);
}

/* Appends a value of any SQL type. */
void
mcs_document_append_datum(DocumentBuilder *builder, const char *key, Datum datum, bool isnull, Oid type, Oid document_type)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (isnull)
	{
		mcs_document_append_null(builder, key);
		return;
	}
	/* a domain is stored as its base type is */
	type = getBaseType(type);
	switch (type)
	{
		case BOOLOID:
			mcs_document_append_bool(builder, key, DatumGetBool(datum));
			break;
		case INT2OID:
			mcs_document_append_int32(builder, key, DatumGetInt16(datum));
			break;
		case INT4OID:
			mcs_document_append_int32(builder, key, DatumGetInt32(datum));
			break;
		case INT8OID:
			/* never an int32: the type decides and not the value, so that a column has one type */
			mcs_document_append_int64(builder, key, DatumGetInt64(datum));
			break;
		case OIDOID:
			/* an OID is unsigned and may be beyond int32 */
			mcs_document_append_int64(builder, key, DatumGetObjectId(datum));
			break;
		case FLOAT4OID:
			/* as the cast to float8 does, so 0.1::real shows digits that it never had */
			mcs_document_append_double(builder, key, DatumGetFloat4(datum));
			break;
		case FLOAT8OID:
			mcs_document_append_double(builder, key, DatumGetFloat8(datum));
			break;
		case NUMERICOID:
			append_numeric(builder, key, datum);
			break;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			append_text(builder, key, datum);
			break;
		case TIMESTAMPTZOID:
			append_time(builder, key, datum);
			break;
		case TIMESTAMPOID:
			/* by the session's time zone, as for dates below; so to_document is no more than STABLE */
			append_time(builder, key, DirectFunctionCall1(timestamp_timestamptz, datum));
			break;
		case DATEOID:
			append_time(builder, key, DirectFunctionCall1(date_timestamptz, datum));
			break;
		case INTERVALOID:
			mcs_document_append_int64(builder, key, mcs_document_interval_to_ms(DatumGetIntervalP(datum)));
			break;
		case UUIDOID:
			mcs_document_append_binary(builder, key, 4, DatumGetUUIDP(datum)->data, UUID_LEN);
			break;
		case BYTEAOID:
			append_bytes(builder, key, datum);
			break;
		case JSONOID:
			append_json(builder, key, datum);
			break;
		case JSONBOID:
			mcs_document_append_jsonb(builder, key, &DatumGetJsonbP(datum)->root);
			break;
		default:
			append_other(builder, key, datum, type, document_type);
			break;
	}
}

/* The type document, which is what the running function returns. */
static Oid
returned_type(FunctionCallInfo fcinfo)
{
	return get_func_rettype(fcinfo->flinfo->fn_oid);
}

/* The type of an argument: as it was called, else as it is declared. */
static Oid
argument_type(FunctionCallInfo fcinfo, int argument)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, argument);
	Oid		   *declared;
	int			count;

	/* unknown where the function is called without an expression, by its OID */
	if (OidIsValid(type))
		return type;
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &declared, &count);
	if (argument >= count || IsPolymorphicType(declared[argument]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("could not determine input data type")));
	return declared[argument];
}

/* to_document(anyelement), and the casts from SQL types */
Datum
mcs_to_document(PG_FUNCTION_ARGS)
{
	Oid			type = argument_type(fcinfo, 0);
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_append_datum(&builder, NULL, PG_GETARG_DATUM(0), false, type, returned_type(fcinfo));
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}

/* Reads a UUID of 32 hexadecimal digits with hyphens at their places. */
static bool
read_uuid(const char *text, uint32 size, uint8 *uuid)
{
	static const int groups[] = {8, 4, 4, 4, 12};

	if (size != 36)
		return false;
	for (int i = 0; i < lengthof(groups); i++)
	{
		if ((i > 0 && *text++ != '-') || !mcs_document_read_hex(text, groups[i], uuid))
			return false;
		text += groups[i];
		uuid += groups[i] / 2;
	}
	return true;
}

/* document_id(text): the ObjectId or the UUID that a text is, else the text as a string */
Datum
mcs_document_id(PG_FUNCTION_ARGS)
{
	text	   *source = PG_GETARG_TEXT_PP(0);
	const char *data = VARDATA_ANY(source);
	uint32		size = VARSIZE_ANY_EXHDR(source);
	uint8		bytes[16];
	DocumentBuilder builder;

	if (size == 24 && mcs_document_read_hex(data, size, bytes))
		PG_RETURN_POINTER(mcs_document_make(DOCUMENT_OBJECT_ID, bytes, 12));
	mcs_document_build(&builder);
	if (read_uuid(data, size, bytes))
		mcs_document_append_binary(&builder, NULL, 4, bytes, sizeof(bytes));
	else
		mcs_document_append_string_sized(&builder, NULL, data, size);
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}

/*
 * document_from_text_array(text[]): the cast.  It raises no error for any array,
 * as an index on it must serve under row-level security: what no document is
 * large enough for, hundreds of megabytes, is null.
 */
Datum
mcs_document_from_text_array(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	uint64		count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	/* an element's type, key, length and zero; and at worst an array of its own in each dimension */
	uint64		bytes = ARR_SIZE(array) + count * 24 * Max(ARR_NDIM(array), 1);
	DocumentBuilder builder;

	if (bytes >= MaxAllocSize)
		PG_RETURN_NULL();
	mcs_document_build(&builder);
	append_array(&builder, NULL, PointerGetDatum(array), InvalidOid);
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}

/* The text of a key that was given as a value of any type. */
static char *
key_text(Datum datum, bool isnull, Oid type, int argument)
{
	Oid			output;
	bool		is_varlena;

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument %d cannot be null", argument),
				 errhint("Object keys should be text.")));
	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, datum);
}

/* document_build_object(VARIADIC "any"): keys and values in turn */
Datum
mcs_document_build_object(PG_FUNCTION_ARGS)
{
	Oid			document_type = returned_type(fcinfo);
	Datum	   *arguments;
	Oid		   *types;
	bool	   *nulls;
	int			count = extract_variadic_args(fcinfo, 0, true, &arguments, &types, &nulls);
	DocumentBuilder builder;

	/* VARIADIC NULL */
	if (count < 0)
		PG_RETURN_NULL();
	if (count % 2 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument list must have even number of elements"),
				 errhint("The arguments of %s must consist of alternating keys and values.", "document_build_object()")));
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	for (int i = 0; i < count; i += 2)
		mcs_document_append_datum(&builder, key_text(arguments[i], nulls[i], types[i], i + 1),
								  arguments[i + 1], nulls[i + 1], types[i + 1], document_type);
	mcs_document_end(&builder);
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}

/* document_build_array(VARIADIC "any") */
Datum
mcs_document_build_array(PG_FUNCTION_ARGS)
{
	Oid			document_type = returned_type(fcinfo);
	Datum	   *arguments;
	Oid		   *types;
	bool	   *nulls;
	int			count = extract_variadic_args(fcinfo, 0, true, &arguments, &types, &nulls);
	DocumentBuilder builder;

	/* VARIADIC NULL */
	if (count < 0)
		PG_RETURN_NULL();
	mcs_document_build(&builder);
	mcs_document_begin_array(&builder, NULL);
	for (int i = 0; i < count; i++)
		mcs_document_append_datum(&builder, NULL, arguments[i], nulls[i], types[i], document_type);
	mcs_document_end(&builder);
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}

/* document_build_object() without arguments */
Datum
mcs_document_build_object_empty(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(mcs_document_in_text("{}"));
}

/* document_build_array() without arguments */
Datum
mcs_document_build_array_empty(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(mcs_document_in_text("[]"));
}

/* The state of document_agg: an array that is still open. */
typedef struct AggregateState
{
	DocumentBuilder builder;
	Oid			type;			/* of the values */
	Oid			document_type;
} AggregateState;

/* The type document, for a function that does not return it: it lives in the same schema. */
static Oid
type_beside(Oid function)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("document"),
						   ObjectIdGetDatum(get_func_namespace(function)));
}

/* document_agg's transition: appends a value */
Datum
mcs_document_agg_transition(PG_FUNCTION_ARGS)
{
	MemoryContext aggregate;
	MemoryContext caller;
	AggregateState *state;

	if (!AggCheckCallContext(fcinfo, &aggregate))
		elog(ERROR, "document_agg_transition called in non-aggregate context");
	caller = MemoryContextSwitchTo(aggregate);
	if (PG_ARGISNULL(0))
	{
		state = palloc(sizeof(AggregateState));
		state->type = argument_type(fcinfo, 1);
		state->document_type = type_beside(fcinfo->flinfo->fn_oid);
		mcs_document_build(&state->builder);
		mcs_document_begin_array(&state->builder, NULL);
	}
	else
		state = (AggregateState *) PG_GETARG_POINTER(0);
	/* what conversion leaves behind belongs to the caller's context; only the builder's buffer grows here */
	MemoryContextSwitchTo(caller);
	mcs_document_append_datum(&state->builder, NULL, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1),
							  state->type, state->document_type);
	PG_RETURN_POINTER(state);
}

/* document_agg's result; may be called again after more values, so the state stays as it is */
Datum
mcs_document_agg_final(PG_FUNCTION_ARGS)
{
	AggregateState *state;
	StringInfo	buf;
	Document   *document;
	Size		size;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (AggregateState *) PG_GETARG_POINTER(0);
	buf = &state->builder.buf;
	size = buf->len - VARHDRSZ;	/* type byte, length word, elements */
	document = palloc(VARHDRSZ + size + 1);
	SET_VARSIZE(document, VARHDRSZ + size + 1);
	memcpy(VARDATA(document), buf->data + VARHDRSZ, size);
	((char *) VARDATA(document))[size] = '\0';
	/* size again: the length counts the final zero, but not the type byte */
	mcs_document_write_int32((uint8 *) VARDATA(document) + 1, size);
	PG_RETURN_POINTER(document);
}
