/*
 * document/json_out.c
 *	  Values as text: Extended JSON, and plain text.
 *
 * The text must read back to the same bytes.  So a value is printed in the
 * relaxed form of Extended JSON v2 only where that gives the same type and
 * value, in the canonical form otherwise, and where that cannot carry it
 * either, as {"$bson": "<hex of its type byte and its bytes>"}:
 *
 *		an object whose first key is one that input takes for a typed value
 *		an array whose keys are not 0, 1, 2 ...
 *		text that is not UTF-8
 *		numbers, booleans, binary and regular expressions whose bytes are not
 *		those that input would make (NaNs with a payload, a true that is 2,
 *		options out of order ...)
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define DOUBLE_NAN_BITS		UINT64CONST(0x7FF8000000000000)

static void write_value(StringInfo out, const DocumentValue *value);

/* Appends a string in quotes, with JSON's escapes. */
void
mcs_document_write_quoted(StringInfo out, const char *string, uint32 size)
{
	const char *end = string + size;
	const char *run = string;

	enlargeStringInfo(out, size + 2);
	appendStringInfoCharMacro(out, '"');
	for (const char *at = string; at < end; at++)
	{
		unsigned char c = (unsigned char) *at;

		/* all else goes as it is: it is UTF-8, whose bytes beyond ASCII are none of these */
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(out, run, at - run);
		run = at + 1;
		switch (c)
		{
			case '"':
				appendStringInfoString(out, "\\\"");
				break;
			case '\\':
				appendStringInfoString(out, "\\\\");
				break;
			case '\b':
				appendStringInfoString(out, "\\b");
				break;
			case '\f':
				appendStringInfoString(out, "\\f");
				break;
			case '\n':
				appendStringInfoString(out, "\\n");
				break;
			case '\r':
				appendStringInfoString(out, "\\r");
				break;
			case '\t':
				appendStringInfoString(out, "\\t");
				break;
			default:
				appendStringInfo(out, "\\u%04x", c);
				break;
		}
	}
	appendBinaryStringInfo(out, run, end - run);
	appendStringInfoCharMacro(out, '"');
}

/* Appends a value in the form that carries any. */
static void
write_escape(StringInfo out, const DocumentValue *value)
{
	appendStringInfoString(out, "{\"$bson\": \"");
	mcs_document_write_hex(out, &value->type, 1);
	mcs_document_write_hex(out, value->data, value->size);
	appendStringInfoString(out, "\"}");
}

/*
 * Appends a value whose inside cannot be shown in the form that carries any, or
 * only its size where even that would be too long.  A damaged value has its
 * type among its bytes.
 */
void
mcs_document_write_whole(StringInfo out, const DocumentValue *value, uint32 limit)
{
	/* two digits a byte, and what stands around them */
	if (value->size >= limit / 2 - 100)
		appendStringInfo(out, "{\"$tooLarge\": %u}", value->size);
	else if (value->type == DOCUMENT_DAMAGED)
	{
		appendStringInfoString(out, "{\"$bson\": \"");
		mcs_document_write_hex(out, value->data, value->size);
		appendStringInfoString(out, "\"}");
	}
	else
		write_escape(out, value);
}

/* Would input read this object as an object, with the same keys? */
static bool
object_is_plain(const DocumentValue *value)
{
	DocumentIterator it;
	bool		first = true;

	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		/* an operator such as $gt is none: input reads it as a key */
		if (first && mcs_document_is_type_key(it.key, it.key_size))
			return false;
		if (!mcs_document_is_utf8(it.key, it.key_size))
			return false;
		first = false;
	}
	if (it.malformed)
		mcs_document_malformed();
	return true;
}

/* Would input give the elements of this array the same keys? */
static bool
array_is_plain(const DocumentValue *value)
{
	DocumentIterator it;
	int			index = 0;
	char		key[12];

	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		int			key_size = pg_ltoa(index++, key);

		CHECK_FOR_INTERRUPTS();
		if (it.key_size != key_size || memcmp(it.key, key, key_size) != 0)
			return false;
	}
	if (it.malformed)
		mcs_document_malformed();
	return true;
}

/* Appends an object or an array. */
static void
write_container(StringInfo out, const DocumentValue *value)
{
	bool		object = value->type == DOCUMENT_OBJECT;
	bool		first = true;
	DocumentIterator it;

	if (!(object ? object_is_plain(value) : array_is_plain(value)))
	{
		write_escape(out, value);
		return;
	}
	appendStringInfoCharMacro(out, object ? '{' : '[');
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (!first)
			appendBinaryStringInfo(out, ", ", 2);
		first = false;
		if (object)
		{
			mcs_document_write_quoted(out, it.key, it.key_size);
			appendBinaryStringInfo(out, ": ", 2);
		}
		write_value(out, &it.value);
	}
	/* the check above has walked to the end, so this walk has not ended early */
	appendStringInfoCharMacro(out, object ? '}' : ']');
}

/* Appends a double: the shortest digits that give it back. */
static void
write_double(StringInfo out, const DocumentValue *value)
{
	double		number = mcs_document_read_double(value->data);
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(number))
	{
		if ((uint64) mcs_document_read_int64(value->data) == DOUBLE_NAN_BITS)
			appendStringInfoString(out, "{\"$numberDouble\": \"NaN\"}");
		else
			write_escape(out, value);
	}
	else if (isinf(number))
		appendStringInfo(out, "{\"$numberDouble\": \"%sInfinity\"}", number < 0 ? "-" : "");
	else
	{
		/* -0 becomes -0 here and -0.0 below, which reads back with its sign */
		double_to_shortest_decimal_buf(number, text);
		appendStringInfoString(out, text);
		/* without a point it would read back as an integer */
		if (strpbrk(text, ".e") == NULL)
			appendBinaryStringInfo(out, ".0", 2);
	}
}

/* Appends an int32. */
static void
write_int32(StringInfo out, const DocumentValue *value)
{
	enlargeStringInfo(out, 12);
	out->len += pg_ltoa(mcs_document_read_int32(value->data), out->data + out->len);
}

/* Appends an int64; one that an int32 could hold would read back as such. */
static void
write_int64(StringInfo out, const DocumentValue *value)
{
	int64		number = mcs_document_read_int64(value->data);
	char		text[32];

	pg_lltoa(number, text);
	if (number >= PG_INT32_MIN && number <= PG_INT32_MAX)
		appendStringInfo(out, "{\"$numberLong\": \"%s\"}", text);
	else
		appendStringInfoString(out, text);
}

/* Appends a Decimal128. */
static void
write_decimal(StringInfo out, const DocumentValue *value)
{
	DocumentDecimal decimal;
	uint8		canonical[16];
	char		text[DECIMAL_TEXT_SIZE];

	mcs_document_decimal_read(value->data, &decimal);
	mcs_document_decimal_write(&decimal, canonical);
	/* the text has no sign for a NaN */
	if (memcmp(canonical, value->data, sizeof(canonical)) != 0 ||
		(decimal.kind == DECIMAL_NAN && decimal.negative))
	{
		write_escape(out, value);
		return;
	}
	mcs_document_decimal_out(&decimal, text);
	appendStringInfo(out, "{\"$numberDecimal\": \"%s\"}", text);
}

/* Appends a date: ISO 8601 where its year has four digits, which is what input reads, else milliseconds. */
static void
write_date(StringInfo out, const DocumentValue *value)
{
	int64		milliseconds = mcs_document_read_int64(value->data);
	int			start = out->len;

	appendStringInfoString(out, "{\"$date\": \"");
	if (mcs_document_date_out(out, milliseconds))
		appendStringInfoString(out, "\"}");
	else
	{
		out->len = start;
		appendStringInfo(out, "{\"$date\": {\"$numberLong\": \"" INT64_FORMAT "\"}}", milliseconds);
	}
}

/* Appends binary data; the second length of subtype 2 is not part of its text. */
static void
write_binary(StringInfo out, const DocumentValue *value)
{
	uint8		subtype = value->data[4];
	const uint8 *data = value->data + 5;
	uint32		size = value->size - 5;

	if (subtype == 2)
	{
		/* in 64 bits, as the inner length may be anything */
		if (size < 4 || (int64) mcs_document_read_int32(data) != (int64) size - 4)
		{
			write_escape(out, value);
			return;
		}
		data += 4;
		size -= 4;
	}
	appendStringInfoString(out, "{\"$binary\": {\"base64\": \"");
	mcs_document_write_base64(out, data, size);
	appendStringInfo(out, "\", \"subType\": \"%02x\"}}", subtype);
}

/* Appends a regular expression; input sorts the options, and takes a handful. */
static void
write_regex(StringInfo out, const DocumentValue *value)
{
	const char *pattern = (const char *) value->data;
	const char *options = pattern + strlen(pattern) + 1;
	bool		sorted = true;

	for (const char *at = options; *at && sorted; at++)
		sorted = at[1] == '\0' || (unsigned char) at[0] <= (unsigned char) at[1];
	if (strlen(options) > REGEX_MAX_OPTIONS)
		sorted = false;
	/* a letter of several bytes never counts as sorted, since its first byte is the highest; both strings at once are checked */
	if (!sorted || !mcs_document_is_utf8(pattern, value->size))
	{
		write_escape(out, value);
		return;
	}
	appendStringInfoString(out, "{\"$regularExpression\": {\"pattern\": ");
	mcs_document_write_quoted(out, pattern, strlen(pattern));
	appendStringInfoString(out, ", \"options\": ");
	mcs_document_write_quoted(out, options, strlen(options));
	appendStringInfoString(out, "}}");
}

/* Appends a value that begins with a string, between what comes before and after it. */
static void
write_string(StringInfo out, const char *before, const DocumentValue *value, const char *after)
{
	/* who calls, or the walk that led here, has checked the length */
	uint32		size = (uint32) mcs_document_read_int32(value->data) - 1;

	if (!mcs_document_is_utf8((const char *) value->data + 4, size))
	{
		write_escape(out, value);
		return;
	}
	appendStringInfoString(out, before);
	mcs_document_write_quoted(out, (const char *) value->data + 4, size);
	appendStringInfoString(out, after);
}

/* Appends a pointer into a collection, which only old data has. */
static void
write_db_pointer(StringInfo out, const DocumentValue *value)
{
	uint32		string_size = value->size - 12;

	/* looked at here, as behind write_string's own escape the id would follow */
	if (!mcs_document_is_utf8((const char *) value->data + 4, string_size - 5))
	{
		write_escape(out, value);
		return;
	}
	write_string(out, "{\"$dbPointer\": {\"$ref\": ", value, ", \"$id\": {\"$oid\": \"");
	mcs_document_write_hex(out, value->data + string_size, 12);
	appendStringInfoString(out, "\"}}}");
}

/* Appends code with its scope. */
static void
write_code_w_scope(StringInfo out, const DocumentValue *value)
{
	DocumentValue code;
	DocumentValue scope;
	uint32		size;

	code.type = DOCUMENT_CODE;
	code.data = value->data + 4;
	scope.type = DOCUMENT_OBJECT;
	if (!mcs_document_value_size(DOCUMENT_CODE, code.data, value->size - 4, &code.size))
		mcs_document_malformed();
	scope.data = code.data + code.size;
	scope.size = value->size - 4 - code.size;
	if (!mcs_document_value_size(DOCUMENT_OBJECT, scope.data, scope.size, &size) || size != scope.size)
		mcs_document_malformed();
	/* input wants an object for the scope, so one that would need the escape takes all with it */
	if (!mcs_document_is_utf8((const char *) code.data + 4, code.size - 5) || !object_is_plain(&scope))
	{
		write_escape(out, value);
		return;
	}
	write_string(out, "{\"$code\": ", &code, ", \"$scope\": ");
	write_value(out, &scope);
	appendStringInfoCharMacro(out, '}');
}

/* Appends a boolean. */
static void
write_bool(StringInfo out, const DocumentValue *value)
{
	if (value->data[0] > 1)
		write_escape(out, value);
	else
		appendStringInfoString(out, value->data[0] ? "true" : "false");
}

/* Appends any value. */
static void
write_value(StringInfo out, const DocumentValue *value)
{
	check_stack_depth();
	switch (value->type)
	{
		case DOCUMENT_DOUBLE:
			write_double(out, value);
			break;
		case DOCUMENT_STRING:
			write_string(out, "", value, "");
			break;
		case DOCUMENT_OBJECT:
		case DOCUMENT_ARRAY:
			write_container(out, value);
			break;
		case DOCUMENT_BINARY:
			write_binary(out, value);
			break;
		case DOCUMENT_UNDEFINED:
			appendStringInfoString(out, "{\"$undefined\": true}");
			break;
		case DOCUMENT_OBJECT_ID:
			appendStringInfoString(out, "{\"$oid\": \"");
			mcs_document_write_hex(out, value->data, 12);
			appendStringInfoString(out, "\"}");
			break;
		case DOCUMENT_BOOL:
			write_bool(out, value);
			break;
		case DOCUMENT_DATE:
			write_date(out, value);
			break;
		case DOCUMENT_NULL:
			appendStringInfoString(out, "null");
			break;
		case DOCUMENT_REGEX:
			write_regex(out, value);
			break;
		case DOCUMENT_DB_POINTER:
			write_db_pointer(out, value);
			break;
		case DOCUMENT_CODE:
			write_string(out, "{\"$code\": ", value, "}");
			break;
		case DOCUMENT_SYMBOL:
			write_string(out, "{\"$symbol\": ", value, "}");
			break;
		case DOCUMENT_CODE_W_SCOPE:
			write_code_w_scope(out, value);
			break;
		case DOCUMENT_INT32:
			write_int32(out, value);
			break;
		case DOCUMENT_TIMESTAMP:
			appendStringInfo(out, "{\"$timestamp\": {\"t\": %u, \"i\": %u}}",
							 (uint32) mcs_document_read_int32(value->data + 4),
							 (uint32) mcs_document_read_int32(value->data));
			break;
		case DOCUMENT_INT64:
			write_int64(out, value);
			break;
		case DOCUMENT_DECIMAL128:
			write_decimal(out, value);
			break;
		case DOCUMENT_MIN_KEY:
			appendStringInfoString(out, "{\"$minKey\": 1}");
			break;
		case DOCUMENT_MAX_KEY:
			appendStringInfoString(out, "{\"$maxKey\": 1}");
			break;
		default:
			mcs_document_malformed();
	}
}

/* Appends a value as the text of type document. */
void
mcs_document_write_json(StringInfo out, const DocumentValue *value)
{
	uint32		size;

	/* elements are checked as the walk comes to them */
	if (!mcs_document_value_size(value->type, value->data, value->size, &size) || size != value->size)
		mcs_document_malformed();
	write_value(out, value);
}

/* Appends a number as people write it. */
static void
write_plain_number(StringInfo out, const DocumentValue *value)
{
	DocumentDecimal decimal;
	double		number;
	char		text[Max(DECIMAL_TEXT_SIZE, DOUBLE_SHORTEST_DECIMAL_LEN)];

	switch (value->type)
	{
		case DOCUMENT_INT32:
			appendStringInfo(out, "%d", mcs_document_read_int32(value->data));
			break;
		case DOCUMENT_INT64:
			appendStringInfo(out, INT64_FORMAT, mcs_document_read_int64(value->data));
			break;
		case DOCUMENT_DOUBLE:
			number = mcs_document_read_double(value->data);
			if (isnan(number))
				strcpy(text, "NaN");
			else if (isinf(number))
				strcpy(text, number < 0 ? "-Infinity" : "Infinity");
			else
				double_to_shortest_decimal_buf(number, text);
			appendStringInfoString(out, text);
			break;
		default:
			mcs_document_decimal_read(value->data, &decimal);
			mcs_document_decimal_out(&decimal, text);
			appendStringInfoString(out, text);
			break;
	}
}

/* Appends binary data as people write it: a UUID as such, else base64. */
static void
write_plain_binary(StringInfo out, const DocumentValue *value)
{
	const uint8 *data = value->data + 5;
	uint32		size = value->size - 5;

	if (value->data[4] != 4 || size != 16)
	{
		mcs_document_write_base64(out, data, size);
		return;
	}
	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			appendStringInfoCharMacro(out, '-');
		mcs_document_write_hex(out, data + i, 1);
	}
}

/*
 * Appends a value as plain text, which is what ->> shows: strings without
 * quotes, numbers in digits, an ObjectId's hex, a date in ISO 8601; what has no
 * such form as Extended JSON.  False, with nothing appended, for null and
 * undefined, and for text that is not UTF-8 (then *bad_text).
 */
bool
mcs_document_write_plain(StringInfo out, const DocumentValue *value, bool *bad_text)
{
	const char *string;
	uint32		size;

	*bad_text = false;
	if (!mcs_document_value_size(value->type, value->data, value->size, &size) || size != value->size)
		mcs_document_malformed();
	switch (value->type)
	{
		case DOCUMENT_NULL:
		case DOCUMENT_UNDEFINED:
			return false;
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
		case DOCUMENT_CODE:
			(void) mcs_document_get_string(value, &string, &size);
			/* a text cannot hold a zero either */
			if (memchr(string, '\0', size) != NULL || !mcs_document_is_utf8(string, size))
			{
				*bad_text = true;
				return false;
			}
			appendBinaryStringInfo(out, string, size);
			return true;
		case DOCUMENT_INT32:
		case DOCUMENT_INT64:
		case DOCUMENT_DOUBLE:
		case DOCUMENT_DECIMAL128:
			write_plain_number(out, value);
			return true;
		case DOCUMENT_BOOL:
			appendStringInfoString(out, value->data[0] ? "true" : "false");
			return true;
		case DOCUMENT_OBJECT_ID:
			mcs_document_write_hex(out, value->data, 12);
			return true;
		case DOCUMENT_DATE:
			/* a year of more than four digits may show here, as nobody reads this back */
			(void) mcs_document_date_out(out, mcs_document_read_int64(value->data));
			return true;
		case DOCUMENT_BINARY:
			write_plain_binary(out, value);
			return true;
		default:
			write_value(out, value);
			return true;
	}
}
