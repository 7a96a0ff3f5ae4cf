/*
 * document_jsonb.c
 *	  Documents to jsonb and json: the JSON that a person would expect.
 *
 * Numbers become numbers, an ObjectId its hex, a date its ISO 8601 text,
 * binary data base64 or a UUID; what JSON has no natural form for (regular
 * expressions, timestamps, code with scope, min key ...) its Extended JSON.
 * What jsonb cannot hold is an error that names the field: a zero character,
 * text that is not UTF-8, NaN and the infinities.
 */
#include "mongo_change_stream.h"

#include "document.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(mcs_document_to_jsonb);
PG_FUNCTION_INFO_V1(mcs_document_to_json);

static void write_value(StringInfo out, const DocumentValue *value, const DocumentPlace *path);
static JsonbValue *push_value(JsonbParseState **state, JsonbIteratorToken token, const DocumentValue *value, const DocumentPlace *path);

/* Raises the error for a value that jsonb cannot hold. */
static void pg_attribute_noreturn()
reject(const DocumentPlace *path, int sqlstate, const char *problem, const char *hint)
{
	StringInfoData name;

	initStringInfo(&name);
	if (path != NULL)
		mcs_document_write_place(&name, path);
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("document cannot become JSON"),
			 path != NULL ?
			 errdetail("The field \"%s\" %s.", name.data, problem) :
			 errdetail("The value %s.", problem),
			 errhint("%s", hint)));
}

/* Makes a string of jsonb. */
static void
make_string(JsonbValue *result, const char *string, uint32 size, const DocumentPlace *path)
{
	if (memchr(string, '\0', size) != NULL)
		reject(path, ERRCODE_UNTRANSLATABLE_CHARACTER, "holds a zero character",
			   "Read the field with -> and keep it as a document.");
	if (!mcs_document_is_utf8(string, size))
		reject(path, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "holds a string that is not valid UTF-8",
			   "Read the field with -> and keep it as a document.");
	result->type = jbvString;
	result->val.string.val = unconstify(char *, string);
	result->val.string.len = size;
}

/* Makes a number of jsonb. */
static void
make_number(JsonbValue *result, const DocumentValue *value, const DocumentPlace *path)
{
	Numeric		numeric = mcs_document_number_to_numeric(value);

	if (numeric_is_nan(numeric) || numeric_is_inf(numeric))
		reject(path, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "is NaN or infinite, which JSON has no number for",
			   "Convert the fields one by one, or read this one with ->>.");
	result->type = jbvNumeric;
	result->val.numeric = numeric;
}

/* Pushes the elements of an object or array. */
static JsonbValue *
push_container(JsonbParseState **state, const DocumentValue *value, const DocumentPlace *path)
{
	bool		object = value->type == DOCUMENT_OBJECT;
	DocumentIterator it;

	pushJsonbValue(state, object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY, NULL);
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		DocumentPlace	frame = {path, it.key, it.key_size};

		CHECK_FOR_INTERRUPTS();
		if (object)
		{
			JsonbValue	key;

			make_string(&key, it.key, it.key_size, &frame);
			pushJsonbValue(state, WJB_KEY, &key);
		}
		push_value(state, object ? WJB_VALUE : WJB_ELEM, &it.value, &frame);
	}
	if (it.malformed)
		mcs_document_malformed();
	return pushJsonbValue(state, object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
}

/* Makes the Extended JSON of a value a jsonb of its own and pushes that. */
static JsonbValue *
push_extended(JsonbParseState **state, JsonbIteratorToken token, const DocumentValue *value)
{
	StringInfoData out;
	JsonbValue	binary;
	Jsonb	   *jsonb;

	initStringInfo(&out);
	mcs_document_write_json(&out, value);
	jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
	binary.type = jbvBinary;
	binary.val.binary.data = &jsonb->root;
	binary.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	return pushJsonbValue(state, token, &binary);
}

/* Makes a scalar of jsonb; false for a type that has none. */
static bool
make_scalar(JsonbValue *result, const DocumentValue *value, const DocumentPlace *path)
{
	const char *string;
	uint32		size;
	StringInfoData out;
	bool		bad_text;

	switch (value->type)
	{
		case DOCUMENT_NULL:
		case DOCUMENT_UNDEFINED:
			result->type = jbvNull;
			return true;
		case DOCUMENT_BOOL:
			result->type = jbvBool;
			result->val.boolean = value->data[0] != 0;
			return true;
		case DOCUMENT_INT32:
		case DOCUMENT_INT64:
		case DOCUMENT_DOUBLE:
		case DOCUMENT_DECIMAL128:
			make_number(result, value, path);
			return true;
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
		case DOCUMENT_CODE:
			if (!mcs_document_get_string(value, &string, &size))
				mcs_document_malformed();
			make_string(result, string, size, path);
			return true;
		case DOCUMENT_OBJECT_ID:
		case DOCUMENT_DATE:
		case DOCUMENT_BINARY:
			initStringInfo(&out);
			(void) mcs_document_write_plain(&out, value, &bad_text);
			make_string(result, out.data, out.len, path);
			return true;
		default:
			return false;
	}
}

/* Pushes any value into an object or array. */
static JsonbValue *
push_value(JsonbParseState **state, JsonbIteratorToken token, const DocumentValue *value, const DocumentPlace *path)
{
	JsonbValue	scalar;

	check_stack_depth();
	if (mcs_document_is_container(value->type))
		return push_container(state, value, path);
	if (make_scalar(&scalar, value, path))
		return pushJsonbValue(state, token, &scalar);
	return push_extended(state, token, value);
}

/* The cast of a document to jsonb. */
Datum
mcs_document_to_jsonb(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	JsonbParseState *state = NULL;
	JsonbValue	scalar;
	StringInfoData out;

	if (mcs_document_is_container(value.type))
		PG_RETURN_JSONB_P(JsonbValueToJsonb(push_container(&state, &value, NULL)));
	if (make_scalar(&scalar, &value, NULL))
		PG_RETURN_JSONB_P(JsonbValueToJsonb(&scalar));
	initStringInfo(&out);
	mcs_document_write_json(&out, &value);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data));
}

/* Appends an object or an array as JSON, with the order and the duplicates that it has. */
static void
write_container(StringInfo out, const DocumentValue *value, const DocumentPlace *path)
{
	bool		object = value->type == DOCUMENT_OBJECT;
	bool		first = true;
	DocumentIterator it;

	appendStringInfoCharMacro(out, object ? '{' : '[');
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		DocumentPlace	frame = {path, it.key, it.key_size};
		JsonbValue	key;

		CHECK_FOR_INTERRUPTS();
		if (!first)
			appendBinaryStringInfo(out, ", ", 2);
		first = false;
		if (object)
		{
			make_string(&key, it.key, it.key_size, &frame);
			mcs_document_write_quoted(out, it.key, it.key_size);
			appendBinaryStringInfo(out, ": ", 2);
		}
		write_value(out, &it.value, &frame);
	}
	if (it.malformed)
		mcs_document_malformed();
	appendStringInfoCharMacro(out, object ? '}' : ']');
}

/* Appends any value as JSON. */
static void
write_value(StringInfo out, const DocumentValue *value, const DocumentPlace *path)
{
	JsonbValue	scalar;

	check_stack_depth();
	if (mcs_document_is_container(value->type))
		write_container(out, value, path);
	else if (!make_scalar(&scalar, value, path))
		mcs_document_write_json(out, value);
	else if (scalar.type == jbvNull)
		appendStringInfoString(out, "null");
	else if (scalar.type == jbvBool)
		appendStringInfoString(out, scalar.val.boolean ? "true" : "false");
	else if (scalar.type == jbvString)
		mcs_document_write_quoted(out, scalar.val.string.val, scalar.val.string.len);
	else
		appendStringInfoString(out, DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(scalar.val.numeric))));
}

/* The cast of a document to json. */
Datum
mcs_document_to_json(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	StringInfoData out;

	initStringInfo(&out);
	write_value(&out, &value, NULL);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
