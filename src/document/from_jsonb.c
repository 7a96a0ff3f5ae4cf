/*
 * document/from_jsonb.c
 *	  jsonb to documents.
 *
 * An object whose first key says so is a typed value of Extended JSON, as in
 * the text form; so what the cast to jsonb wrote as such comes back.  Numbers
 * keep their value: an integer becomes int32, int64 or Decimal128, another
 * number a double if that is exactly it (0.1 is the double that prints as 0.1),
 * else a Decimal128.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

static void append_container(DocumentBuilder *builder, const char *key, JsonbContainer *container, const DocumentPlace *path);

/* Adds the field to an error of the parser of typed values. */
static void
typed_value_context(void *arg)
{
	const DocumentPlace *path = arg;
	StringInfoData name;

	if (path == NULL)
		return;
	initStringInfo(&name);
	mcs_document_write_place(&name, path);
	errcontext("typed value in the field \"%s\" of a jsonb", name.data);
}

/* Raises the error for a number that no type of BSON holds. */
static void pg_attribute_noreturn()
reject_number(const char *digits, const DocumentPlace *path)
{
	StringInfoData name;

	initStringInfo(&name);
	if (path != NULL)
		mcs_document_write_place(&name, path);
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("jsonb cannot become a document"),
			 path != NULL ?
			 errdetail("The field \"%s\" holds a number of more digits than a Decimal128 has: %.60s.", name.data, digits) :
			 errdetail("It is a number of more digits than a Decimal128 has: %.60s.", digits),
			 errhint("Round it, or store it as a string.")));
}

/* Is this double exactly the decimal that these digits say? */
static bool
double_is_exact(Numeric numeric, const char *digits, double *number)
{
	Numeric		back;

	if (!mcs_document_parse_double(digits, strlen(digits), number))
		return false;
	back = mcs_document_double_to_numeric(*number);
	/* equal but for zeros at the end: 1.50 becomes a double, which has no scale */
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(back), NumericGetDatum(numeric)));
}

/* Appends a number. */
static void
append_number(DocumentBuilder *builder, const char *key, Numeric numeric, const DocumentPlace *path)
{
	char	   *digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(numeric)));
	int64		integer;
	double		number;
	DocumentDecimal decimal;
	DocumentValue value;
	uint8		data[16];

	/* numeric_out writes no exponent, so a point is what tells other numbers from integers; jsonb has no NaN */
	if (mcs_document_parse_int64(digits, strlen(digits), &integer))
	{
		if (integer >= PG_INT32_MIN && integer <= PG_INT32_MAX)
			mcs_document_append_int32(builder, key, (int32) integer);
		else
			mcs_document_append_int64(builder, key, integer);
	}
	else if (strchr(digits, '.') != NULL && double_is_exact(numeric, digits, &number))
		mcs_document_append_double(builder, key, number);
	else
	{
		if (mcs_document_decimal_in(digits, strlen(digits), &decimal) != DECIMAL_OK)
			reject_number(digits, path);
		mcs_document_decimal_write(&decimal, data);
		value.type = DOCUMENT_DECIMAL128;
		value.data = data;
		value.size = sizeof(data);
		mcs_document_append_value(builder, key, &value);
	}
	pfree(digits);
}

/* Appends a scalar. */
static void
append_scalar(DocumentBuilder *builder, const char *key, const JsonbValue *scalar, const DocumentPlace *path)
{
	switch (scalar->type)
	{
		case jbvNull:
			mcs_document_append_null(builder, key);
			break;
		case jbvBool:
			mcs_document_append_bool(builder, key, scalar->val.boolean);
			break;
		case jbvNumeric:
			append_number(builder, key, scalar->val.numeric, path);
			break;
		case jbvString:
			mcs_document_append_string_sized(builder, key, scalar->val.string.val, scalar->val.string.len);
			break;
		case jbvBinary:
			append_container(builder, key, scalar->val.binary.data, path);
			break;
		default:
			elog(ERROR, "unexpected jsonb value type %d", (int) scalar->type);
	}
}

/* Appends a typed value of Extended JSON; false where the object is none. */
static bool
append_typed(DocumentBuilder *builder, const char *key, JsonbContainer *container, const DocumentPlace *path)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbValue	first;
	ErrorContextCallback context;
	char	   *text;

	/*
	 * jsonb orders keys by their length, so this is not the key that was written
	 * first: $code still comes before $scope, and a shorter key beside a type's
	 * makes the object a plain one.
	 */
	if (JsonbIteratorNext(&it, &first, true) != WJB_BEGIN_OBJECT ||
		JsonbIteratorNext(&it, &first, true) != WJB_KEY ||
		!mcs_document_is_type_key(first.val.string.val, first.val.string.len))
		return false;
	text = JsonbToCString(NULL, container, 64);
	context.callback = typed_value_context;
	context.arg = unconstify(DocumentPlace *, path);
	context.previous = error_context_stack;
	error_context_stack = &context;
	mcs_document_append_document(builder, key, mcs_document_in_text(text));
	error_context_stack = context.previous;
	pfree(text);
	return true;
}

/* Appends the members of an object. */
static void
append_members(DocumentBuilder *builder, JsonbIterator *it, const DocumentPlace *path)
{
	StringInfoData name;
	JsonbValue	item;
	JsonbIteratorToken token;

	initStringInfo(&name);
	/* containers are skipped, not entered: recursion is ours, where check_stack_depth sees it */
	while ((token = JsonbIteratorNext(&it, &item, true)) == WJB_KEY)
	{
		DocumentPlace	frame = {path, NULL, item.val.string.len};

		CHECK_FOR_INTERRUPTS();
		/* the builder wants a zero behind the key, which jsonb has not; an empty key is empty, not NULL */
		resetStringInfo(&name);
		appendBinaryStringInfo(&name, item.val.string.val, item.val.string.len);
		frame.key = item.val.string.val;
		(void) JsonbIteratorNext(&it, &item, true);
		append_scalar(builder, name.data, &item, &frame);
	}
	pfree(name.data);
}

/* Appends the elements of an array. */
static void
append_elements(DocumentBuilder *builder, JsonbIterator *it, const DocumentPlace *path)
{
	JsonbValue	item;
	char		digits[12];
	int			index = 0;

	while (JsonbIteratorNext(&it, &item, true) == WJB_ELEM)
	{
		DocumentPlace	frame = {path, digits, pg_ltoa(index++, digits)};

		CHECK_FOR_INTERRUPTS();
		append_scalar(builder, NULL, &item, &frame);
	}
}

/* Appends an object, an array, or a scalar alone. */
static void
append_container(DocumentBuilder *builder, const char *key, JsonbContainer *container, const DocumentPlace *path)
{
	JsonbIterator *it;
	JsonbValue	item;

	check_stack_depth();
	if (JsonContainerIsObject(container) && append_typed(builder, key, container, path))
		return;
	it = JsonbIteratorInit(container);
	if (JsonbIteratorNext(&it, &item, true) == WJB_BEGIN_OBJECT)
	{
		mcs_document_begin_object(builder, key);
		append_members(builder, it, path);
		mcs_document_end(builder);
	}
	/* jsonb stores a scalar alone as an array of one, with a mark */
	else if (item.val.array.rawScalar)
	{
		(void) JsonbIteratorNext(&it, &item, true);
		append_scalar(builder, key, &item, path);
	}
	else
	{
		mcs_document_begin_array(builder, key);
		append_elements(builder, it, path);
		mcs_document_end(builder);
	}
}

/* Appends what a jsonb holds. */
void
mcs_document_append_jsonb(DocumentBuilder *builder, const char *key, struct JsonbContainer *container)
{
	append_container(builder, key, container, NULL);
}
