/*
 * document/jsonb.c
 *	  Documents to jsonb and json: the JSON that a person would expect.
 *
 * Numbers become numbers, an ObjectId its hex, a date its ISO 8601 text,
 * binary data base64 or a UUID; what JSON has no natural form for (regular
 * expressions, timestamps, code with scope, min key ...) its Extended JSON.
 * What jsonb cannot hold is an error that names the field: a zero character,
 * text that is not UTF-8, NaN and the infinities.
 *
 * The lenient conversion has a result for every document, so that no event can
 * stop who reads them: U+FFFD in place of what no text holds, Extended JSON for
 * NaN and the infinities.  A document that is damaged, or nested deeper than
 * MongoDB's are, becomes {"$bson": "<hex>"} as a whole, and one that is too
 * large for jsonb {"$tooLarge": <bytes>}; MongoDB makes none of these.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(mcs_document_to_jsonb);
PG_FUNCTION_INFO_V1(mcs_document_to_json);
PG_FUNCTION_INFO_V1(mcs_document_to_jsonb_lenient);

/*
 * What a jsonb can hold, and memory can while it is built, with a little to
 * spare.  jsonb counts to 2^28 - 1 bytes; and pushJsonbValue doubles its array of
 * pairs, of which one allocation has room for 2^23 but not for twice as many.
 */
#define MAX_JSONB_BYTES		250000000
#define MAX_JSONB_ITEMS		8000000

/* Below this size a document is never too large: twelve bytes of jsonb for one of BSON are the worst. */
#define SURELY_SMALL_BYTES	(MAX_JSONB_BYTES / 12)

/* How a document is converted. */
typedef struct Conversion
{
	bool		lenient;
} Conversion;

static const Conversion strict = {false};
static const Conversion lenient = {true};

static void write_value(StringInfo out, const DocumentValue *value, const DocumentPlace *path);
static JsonbValue *push_value(const Conversion *how, JsonbParseState **state, JsonbIteratorToken token, const DocumentValue *value,
							  const DocumentPlace *path);

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
make_string(const Conversion *how, JsonbValue *result, const char *string, uint32 size, const DocumentPlace *path)
{
	if (how->lenient)
		string = mcs_document_mend_text(string, &size);
	else if (memchr(string, '\0', size) != NULL)
		reject(path, ERRCODE_UNTRANSLATABLE_CHARACTER, "holds a zero character",
			   "Read the field with -> and keep it as a document.");
	else if (!mcs_document_is_utf8(string, size))
		reject(path, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "holds a string that is not valid UTF-8",
			   "Read the field with -> and keep it as a document.");
	/* the bytes are not copied: they must be there until the jsonb is made */
	result->type = jbvString;
	result->val.string.val = unconstify(char *, string);
	result->val.string.len = size;
}

/* Makes a number of jsonb; false for one that it has none for. */
static bool
make_number(const Conversion *how, JsonbValue *result, const DocumentValue *value, const DocumentPlace *path)
{
	Numeric		numeric = mcs_document_number_to_numeric(value);
	bool		finite = !numeric_is_nan(numeric) && !numeric_is_inf(numeric);

	if (!finite && !how->lenient)
		reject(path, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "is NaN or infinite, which JSON has no number for",
			   "Convert the fields one by one, or read this one with ->>.");
	/* -0 has become 0, as numeric has no other */
	result->type = jbvNumeric;
	result->val.numeric = numeric;
	return finite;
}

/* Pushes the elements of an object or array. */
static JsonbValue *
push_container(const Conversion *how, JsonbParseState **state, const DocumentValue *value, const DocumentPlace *path)
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

			make_string(how, &key, it.key, it.key_size, &frame);
			/* of keys that are equal jsonb keeps the last, where -> finds the first */
			pushJsonbValue(state, WJB_KEY, &key);
		}
		push_value(how, state, object ? WJB_VALUE : WJB_ELEM, &it.value, &frame);
	}
	if (it.malformed)
		mcs_document_malformed();
	return pushJsonbValue(state, object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
}

/* Makes escapes of zero characters in JSON those of U+FFFD; a backslash is followed by what it escapes. */
static void
mend_escapes(char *json)
{
	for (char *at = strchr(json, '\\'); at != NULL; at = strchr(at + 2, '\\'))
		if (strncmp(at, "\\u0000", 6) == 0)
			memcpy(at, "\\ufffd", 6);
}

/* The Extended JSON of a value as jsonb. */
static Jsonb *
make_extended(const Conversion *how, const DocumentValue *value)
{
	StringInfoData out;

	initStringInfo(&out);
	mcs_document_write_json(&out, value);
	if (how->lenient)
		mend_escapes(out.data);
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/* Pushes the Extended JSON of a value. */
static JsonbValue *
push_extended(const Conversion *how, JsonbParseState **state, JsonbIteratorToken token, const DocumentValue *value)
{
	JsonbValue	binary;
	Jsonb	   *jsonb = make_extended(how, value);

	binary.type = jbvBinary;
	binary.val.binary.data = &jsonb->root;
	binary.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	/* which takes the object apart, as it does with any jbvBinary */
	return pushJsonbValue(state, token, &binary);
}

/* Makes a scalar of jsonb; false for a type that has none. */
static bool
make_scalar(const Conversion *how, JsonbValue *result, const DocumentValue *value, const DocumentPlace *path)
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
			return make_number(how, result, value, path);
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
		case DOCUMENT_CODE:
			if (!mcs_document_get_string(value, &string, &size))
				mcs_document_malformed();
			make_string(how, result, string, size, path);
			return true;
		case DOCUMENT_OBJECT_ID:
		case DOCUMENT_DATE:
		case DOCUMENT_BINARY:
			initStringInfo(&out);
			(void) mcs_document_write_plain(&out, value, &bad_text);
			make_string(how, result, out.data, out.len, path);
			return true;
		default:
			return false;
	}
}

/* Pushes any value into an object or array. */
static JsonbValue *
push_value(const Conversion *how, JsonbParseState **state, JsonbIteratorToken token, const DocumentValue *value,
		   const DocumentPlace *path)
{
	JsonbValue	scalar;

	check_stack_depth();
	if (mcs_document_is_container(value->type))
		return push_container(how, state, value, path);
	if (make_scalar(how, &scalar, value, path))
		return pushJsonbValue(state, token, &scalar);
	return push_extended(how, state, token, value);
}

/* A document as jsonb. */
static Jsonb *
convert(const Conversion *how, const DocumentValue *value)
{
	JsonbParseState *state = NULL;
	JsonbValue	scalar;

	if (mcs_document_is_container(value->type))
		return JsonbValueToJsonb(push_container(how, &state, value, NULL));
	if (make_scalar(how, &scalar, value, NULL))
		return JsonbValueToJsonb(&scalar);
	return make_extended(how, value);
}

/* The cast of a document to jsonb. */
Datum
mcs_document_to_jsonb(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	PG_RETURN_JSONB_P(convert(&strict, &value));
}

/* Adds what a value needs as jsonb, at most; its nesting is bounded. */
static void
add_need(const DocumentValue *value, uint64 *bytes, uint64 *items)
{
	DocumentIterator it;

	/* one byte may become the three of U+FFFD */
	*bytes += 16 + (mcs_document_is_container(value->type) ? 0 : 120 + 3 * (uint64) value->size);
	if (!mcs_document_is_container(value->type))
		return;
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		(*items)++;
		*bytes += 3 * (uint64) it.key_size;
		add_need(&it.value, bytes, items);
	}
}

/* Can a well-formed value be made a jsonb? */
static bool
fits_jsonb(const DocumentValue *value)
{
	uint64		bytes = 0;
	uint64		items = 0;

	if (value->size <= SURELY_SMALL_BYTES)
		return true;
	add_need(value, &bytes, &items);
	return bytes <= MAX_JSONB_BYTES && items <= MAX_JSONB_ITEMS;
}

/* document_to_jsonb_lenient(document): jsonb of any document */
Datum
mcs_document_to_jsonb_lenient(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));
	DocumentFault fault;
	StringInfoData out;

	if (mcs_document_validate(&value, false, 0, &fault) && fits_jsonb(&value))
		PG_RETURN_JSONB_P(convert(&lenient, &value));
	initStringInfo(&out);
	mcs_document_write_whole(&out, &value, MAX_JSONB_BYTES);
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
			/* for its checks alone */
			make_string(&strict, &key, it.key, it.key_size, &frame);
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
	else if (!make_scalar(&strict, &scalar, value, path))
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
