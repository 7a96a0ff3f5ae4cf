/*
 * document/json_typed.c
 *	  The typed values of Extended JSON v2: {"$oid": ...} and its kin.
 *
 * An object is a typed value if its first key is one of the table below; then
 * it must be exactly that, with no further key.  Operators of MongoDB's query
 * language ($regex, $type, $gt ...) are none of them, so queries and pipelines
 * read as the documents that they are.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "document/document_internal.h"
#include "utils/builtins.h"

typedef bool (*TypedReader) (DocumentParser *parser, const char *key, uint32 key_size);

/* Adds an element whose bytes are known. */
static uint8 *
add(DocumentParser *parser, const char *key, uint32 key_size, uint8 type, uint32 size)
{
	return mcs_document_append_raw(&parser->builder, key, key_size, type, size);
}

/* Reads a string; start is where its opening quote stands. */
static bool
read_string(DocumentParser *parser, StringInfo string, const char **start)
{
	/* none of these buffers is freed: they go with the memory context of the call, also after a soft error */
	initStringInfo(string);
	mcs_document_parse_peek(parser);
	*start = parser->at;
	return mcs_document_parse_string(parser, string);
}

/* Reads a member's key, which must be one of a few; returns which, or -1. */
static int
read_member(DocumentParser *parser, const char *const *names, int count, const char *problem)
{
	StringInfoData name;
	const char *start;

	if (!read_string(parser, &name, &start))
		return -1;
	for (int i = 0; i < count; i++)
	{
		/* both, as the key may go on behind a zero character, which JSON can write */
		if (strcmp(names[i], name.data) == 0 && strlen(names[i]) == name.len)
			return mcs_document_parse_token(parser, ':') ? i : -1;
	}
	mcs_document_parse_fail(parser, start, problem);
	return -1;
}

/* Reads an object of exactly two members, in either order; each is read by read_one. */
static bool
read_pair(DocumentParser *parser, const char *const *names, const char *problem,
		  bool (*read_one) (DocumentParser *parser, int which, void *into), void *into)
{
	int			first;
	int			second;

	if (!mcs_document_parse_token(parser, '{'))
		return false;
	first = read_member(parser, names, 2, problem);
	if (first < 0 || !read_one(parser, first, into) || !mcs_document_parse_token(parser, ','))
		return false;
	/* only the name that is left, so that none comes twice */
	second = read_member(parser, &names[1 - first], 1, problem);
	if (second < 0 || !read_one(parser, 1 - first, into))
		return false;
	return mcs_document_parse_token(parser, '}');
}

/* Reads the bytes of an ObjectId from a string of 24 hexadecimal digits. */
static bool
read_oid_bytes(DocumentParser *parser, uint8 *oid)
{
	StringInfoData text;
	const char *start;

	if (!read_string(parser, &text, &start))
		return false;
	if (text.len != 24 || !mcs_document_read_hex(text.data, 24, oid))
		return mcs_document_parse_fail(parser, start, "$oid wants a string of 24 hexadecimal digits");
	return true;
}

/* {"$oid": "24 hex digits"} */
static bool
read_oid(DocumentParser *parser, const char *key, uint32 key_size)
{
	uint8		oid[12];

	if (!read_oid_bytes(parser, oid))
		return false;
	memcpy(add(parser, key, key_size, DOCUMENT_OBJECT_ID, 12), oid, 12);
	return true;
}

/* Appends a symbol or code without a scope. */
static bool
append_text(DocumentParser *parser, const char *key, uint32 key_size, uint8 type, StringInfo text)
{
	uint8	   *space = add(parser, key, key_size, type, text->len + 5);

	mcs_document_write_int32(space, text->len + 1);
	memcpy(space + 4, text->data, text->len + 1);
	return true;
}

/* {"$symbol": "text"} */
static bool
read_symbol(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfoData text;
	const char *start;

	return read_string(parser, &text, &start) &&
		append_text(parser, key, key_size, DOCUMENT_SYMBOL, &text);
}

/* {"$numberInt": "digits"} */
static bool
read_number_int(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfoData text;
	const char *start;
	int64		number;

	if (!read_string(parser, &text, &start))
		return false;
	if (!mcs_document_parse_int64(text.data, text.len, &number) || number < PG_INT32_MIN || number > PG_INT32_MAX)
		return mcs_document_parse_fail(parser, start, "$numberInt wants a string of digits within 32 bits");
	mcs_document_write_int32(add(parser, key, key_size, DOCUMENT_INT32, 4), (int32) number);
	return true;
}

/* Reads a string that says an int64. */
static bool
read_long(DocumentParser *parser, int64 *number)
{
	StringInfoData text;
	const char *start;

	if (!read_string(parser, &text, &start))
		return false;
	if (!mcs_document_parse_int64(text.data, text.len, number))
		return mcs_document_parse_fail(parser, start, "$numberLong wants a string of digits within 64 bits");
	return true;
}

/* {"$numberLong": "digits"} */
static bool
read_number_long(DocumentParser *parser, const char *key, uint32 key_size)
{
	int64		number;

	if (!read_long(parser, &number))
		return false;
	mcs_document_write_int64(add(parser, key, key_size, DOCUMENT_INT64, 8), number);
	return true;
}

/* {"$numberDouble": "digits, NaN or an infinity"} */
static bool
read_number_double(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfoData text;
	const char *start;
	double		number;
	int64		bits;

	if (!read_string(parser, &text, &start))
		return false;
	/* a zero character would hide what stands behind it */
	if (memchr(text.data, '\0', text.len) != NULL)
		return mcs_document_parse_fail(parser, start, "a number cannot hold a zero character");
	/* these bits and not strtod's: they are the only NaN that output writes so */
	if (strcmp(text.data, "NaN") == 0)
		bits = INT64CONST(0x7FF8000000000000);
	else
	{
		if (strcmp(text.data, "Infinity") == 0)
			number = HUGE_VAL;
		else if (strcmp(text.data, "-Infinity") == 0)
			number = -HUGE_VAL;
		/* strtod would also take blanks, hexadecimal digits, inf and nan(...) */
		else if (strspn(text.data, "+-.0123456789eE") != text.len ||
				 !mcs_document_parse_double(text.data, text.len, &number))
			return mcs_document_parse_fail(parser, start, "$numberDouble wants a string with a number, NaN, Infinity or -Infinity");
		memcpy(&bits, &number, sizeof(bits));
	}
	mcs_document_write_int64(add(parser, key, key_size, DOCUMENT_DOUBLE, 8), bits);
	return true;
}

/* {"$numberDecimal": "digits, NaN or an infinity"} */
static bool
read_number_decimal(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfoData text;
	const char *start;
	DocumentDecimal decimal;

	if (!read_string(parser, &text, &start))
		return false;
	switch (mcs_document_decimal_in(text.data, text.len, &decimal))
	{
		case DECIMAL_OK:
			break;
		case DECIMAL_SYNTAX:
			return mcs_document_parse_fail(parser, start, "$numberDecimal wants a string with a number, NaN, Infinity or -Infinity");
		case DECIMAL_INEXACT:
			return mcs_document_parse_fail(parser, start, "a Decimal128 has no more than 34 digits");
		case DECIMAL_OUT_OF_RANGE:
			return mcs_document_parse_fail(parser, start, "the exponent is out of the range of a Decimal128");
	}
	mcs_document_decimal_write(&decimal, add(parser, key, key_size, DOCUMENT_DECIMAL128, 16));
	return true;
}

/* {"$date": "ISO 8601"} or {"$date": {"$numberLong": "milliseconds"}} */
static bool
read_date(DocumentParser *parser, const char *key, uint32 key_size)
{
	static const char *const names[] = {"$numberLong"};
	StringInfoData text;
	const char *start;
	int64		milliseconds;

	if (mcs_document_parse_peek(parser) == '{')
	{
		parser->at++;
		if (read_member(parser, names, 1, "$date wants a string or $numberLong") < 0 ||
			!read_long(parser, &milliseconds) ||
			!mcs_document_parse_token(parser, '}'))
			return false;
	}
	else
	{
		if (!read_string(parser, &text, &start))
			return false;
		if (!mcs_document_date_in(text.data, text.len, &milliseconds))
			return mcs_document_parse_fail(parser, start, "$date wants a date such as 2024-05-17T08:30:00.125Z");
	}
	mcs_document_write_int64(add(parser, key, key_size, DOCUMENT_DATE, 8), milliseconds);
	return true;
}

/* Reads a member of $timestamp: an unsigned number of 32 bits. */
static bool
read_timestamp_part(DocumentParser *parser, int which, void *into)
{
	int64		number;
	const char *start;

	mcs_document_parse_peek(parser);
	start = parser->at;
	/* digits only, so the number is not negative */
	while (parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9')
		parser->at++;
	if (!mcs_document_parse_int64(start, parser->at - start, &number) || number > PG_UINT32_MAX)
		return mcs_document_parse_fail(parser, start, "expected a number from 0 to 4294967295");
	((uint32 *) into)[which] = (uint32) number;
	return true;
}

/* {"$timestamp": {"t": seconds, "i": ordinal}} */
static bool
read_timestamp(DocumentParser *parser, const char *key, uint32 key_size)
{
	/* in the order of the bytes: the ordinal is the lower half */
	static const char *const names[] = {"i", "t"};
	uint32		parts[2];
	uint8	   *space;

	if (!read_pair(parser, names, "$timestamp wants the members t and i", read_timestamp_part, parts))
		return false;
	space = add(parser, key, key_size, DOCUMENT_TIMESTAMP, 8);
	mcs_document_write_int32(space, (int32) parts[0]);
	mcs_document_write_int32(space + 4, (int32) parts[1]);
	return true;
}

/* Two strings, which $binary and $regularExpression have. */
typedef struct TwoStrings
{
	StringInfoData string[2];
	const char *start[2];
} TwoStrings;

/* Reads one of two strings. */
static bool
read_string_part(DocumentParser *parser, int which, void *into)
{
	TwoStrings *both = into;

	return read_string(parser, &both->string[which], &both->start[which]);
}

/* {"$binary": {"base64": "bytes", "subType": "hex"}} */
static bool
read_binary(DocumentParser *parser, const char *key, uint32 key_size)
{
	static const char *const names[] = {"base64", "subType"};
	TwoStrings	both;
	StringInfo	bytes = &both.string[0];
	StringInfo	subtype_text = &both.string[1];
	uint8		subtype;
	uint32		extra;
	uint8	   *space;

	if (!read_pair(parser, names, "$binary wants the members base64 and subType", read_string_part, &both))
		return false;
	if (!mcs_document_decode_base64(bytes))
		return mcs_document_parse_fail(parser, both.start[0], "expected base64");
	/* Extended JSON allows one digit, though drivers write two */
	if (subtype_text->len == 1)
	{
		subtype_text->data[1] = subtype_text->data[0];
		subtype_text->data[0] = '0';
		subtype_text->len = 2;
	}
	if (subtype_text->len != 2 || !mcs_document_read_hex(subtype_text->data, 2, &subtype))
		return mcs_document_parse_fail(parser, both.start[1], "expected one or two hexadecimal digits");
	/* the old subtype 2 has its length twice */
	extra = subtype == 2 ? 4 : 0;
	space = add(parser, key, key_size, DOCUMENT_BINARY, 5 + extra + bytes->len);
	mcs_document_write_int32(space, bytes->len + extra);
	space[4] = subtype;
	if (extra)
		mcs_document_write_int32(space + 5, bytes->len);
	memcpy(space + 5 + extra, bytes->data, bytes->len);
	return true;
}

/* {"$uuid": "text of a UUID"} */
static bool
read_uuid(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfoData text;
	const char *start;
	uint8		uuid[16];
	uint8	   *space;
	bool		good;

	if (!read_string(parser, &text, &start))
		return false;
	/* by hand, as uuid_in takes braces and other spellings, too */
	good = text.len == 36;
	for (int i = 0, byte = 0; good && i < 36;)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
			good = text.data[i++] == '-';
		else
		{
			good = mcs_document_read_hex(text.data + i, 2, &uuid[byte++]);
			i += 2;
		}
	}
	if (!good)
		return mcs_document_parse_fail(parser, start, "$uuid wants a UUID with hyphens");
	space = add(parser, key, key_size, DOCUMENT_BINARY, 5 + 16);
	mcs_document_write_int32(space, 16);
	space[4] = 4;
	memcpy(space + 5, uuid, 16);
	return true;
}

/* Orders the options of a regular expression, of which there are a handful at most. */
static void
sort_options(StringInfo options)
{
	for (int i = 1; i < options->len; i++)
	{
		for (int j = i; j > 0 && (unsigned char) options->data[j - 1] > (unsigned char) options->data[j]; j--)
		{
			char		c = options->data[j];

			options->data[j] = options->data[j - 1];
			options->data[j - 1] = c;
		}
	}
}

/* {"$regularExpression": {"pattern": "text", "options": "letters"}} */
static bool
read_regex(DocumentParser *parser, const char *key, uint32 key_size)
{
	static const char *const names[] = {"pattern", "options"};
	TwoStrings	both;
	uint8	   *space;

	if (!read_pair(parser, names, "$regularExpression wants the members pattern and options", read_string_part, &both))
		return false;
	for (int i = 0; i < 2; i++)
	{
		if (memchr(both.string[i].data, '\0', both.string[i].len) != NULL)
			return mcs_document_parse_fail(parser, both.start[i], "a regular expression cannot hold a zero character");
	}
	/* few enough to be sorted by insertion */
	for (int i = 0; i < both.string[1].len; i++)
	{
		if (IS_HIGHBIT_SET(both.string[1].data[i]) || i >= REGEX_MAX_OPTIONS)
			return mcs_document_parse_fail(parser, both.start[1], "options are a few letters");
	}
	/* BSON wants them in alphabetic order, and equality of bytes relies on it */
	sort_options(&both.string[1]);
	space = add(parser, key, key_size, DOCUMENT_REGEX, both.string[0].len + both.string[1].len + 2);
	memcpy(space, both.string[0].data, both.string[0].len + 1);
	memcpy(space + both.string[0].len + 1, both.string[1].data, both.string[1].len + 1);
	return true;
}

/* The parts of a $dbPointer. */
typedef struct DbPointer
{
	StringInfoData name;
	uint8		oid[12];
} DbPointer;

/* Reads a member of $dbPointer: the namespace or the id. */
static bool
read_db_pointer_part(DocumentParser *parser, int which, void *into)
{
	static const char *const oid_names[] = {"$oid"};
	DbPointer  *pointer = into;
	const char *start;

	if (which == 0)
		return read_string(parser, &pointer->name, &start);
	return mcs_document_parse_token(parser, '{') &&
		read_member(parser, oid_names, 1, "expected $oid") >= 0 &&
		read_oid_bytes(parser, pointer->oid) &&
		mcs_document_parse_token(parser, '}');
}

/* {"$dbPointer": {"$ref": "namespace", "$id": {"$oid": "hex"}}} */
static bool
read_db_pointer(DocumentParser *parser, const char *key, uint32 key_size)
{
	static const char *const names[] = {"$ref", "$id"};
	DbPointer	pointer;
	uint8	   *space;

	if (!read_pair(parser, names, "$dbPointer wants the members $ref and $id", read_db_pointer_part, &pointer))
		return false;
	space = add(parser, key, key_size, DOCUMENT_DB_POINTER, 4 + pointer.name.len + 1 + 12);
	mcs_document_write_int32(space, pointer.name.len + 1);
	memcpy(space + 4, pointer.name.data, pointer.name.len + 1);
	memcpy(space + 4 + pointer.name.len + 1, pointer.oid, 12);
	return true;
}

/* Reads the object of a scope on its own, as it has neither type nor key where it goes. */
static Document *
read_scope(DocumentParser *parser)
{
	DocumentBuilder outer = parser->builder;
	const char *start;
	Document   *scope;

	if (mcs_document_parse_peek(parser) != '{')
	{
		mcs_document_parse_fail(parser, parser->at, "$scope wants an object");
		return NULL;
	}
	start = parser->at;
	/* a builder of its own in place of the outer one, as the size of the whole is to be written before it */
	mcs_document_build(&parser->builder);
	parser->depth++;
	/* after a failure nobody looks at the builder again, so the inner one may stay */
	if (!parser->parse_value(parser, NULL, 0))
		return NULL;
	parser->depth--;
	scope = mcs_document_finish(&parser->builder);
	parser->builder = outer;
	/* a typed value begins with a brace, too */
	if (DOCUMENT_TYPE(scope) != DOCUMENT_OBJECT)
	{
		mcs_document_parse_fail(parser, start, "$scope wants an object");
		return NULL;
	}
	return scope;
}

/* {"$code": "text"} and {"$code": "text", "$scope": {...}} */
static bool
read_code(DocumentParser *parser, const char *key, uint32 key_size)
{
	static const char *const names[] = {"$scope"};
	StringInfoData text;
	const char *start;
	Document   *scope;
	uint32		size;
	uint8	   *space;

	if (!read_string(parser, &text, &start))
		return false;
	if (mcs_document_parse_peek(parser) != ',')
		return append_text(parser, key, key_size, DOCUMENT_CODE, &text);
	parser->at++;
	if (read_member(parser, names, 1, "$code may only be followed by $scope") < 0)
		return false;
	scope = read_scope(parser);
	if (scope == NULL)
		return false;
	/* neither part reaches 1 GB, so the sum fits; the builder refuses what is too large as a whole */
	size = 4 + 4 + text.len + 1 + DOCUMENT_VALUE_SIZE(scope);
	space = add(parser, key, key_size, DOCUMENT_CODE_W_SCOPE, size);
	mcs_document_write_int32(space, size);
	mcs_document_write_int32(space + 4, text.len + 1);
	memcpy(space + 8, text.data, text.len + 1);
	memcpy(space + 8 + text.len + 1, DOCUMENT_VALUE(scope), DOCUMENT_VALUE_SIZE(scope));
	pfree(scope);
	return true;
}

/* {"$undefined": true} */
static bool
read_undefined(DocumentParser *parser, const char *key, uint32 key_size)
{
	mcs_document_parse_peek(parser);
	if (parser->end - parser->at < 4 || memcmp(parser->at, "true", 4) != 0)
		return mcs_document_parse_fail(parser, parser->at, "$undefined wants true");
	parser->at += 4;
	add(parser, key, key_size, DOCUMENT_UNDEFINED, 0);
	return true;
}

/* Reads the 1 of $minKey and $maxKey. */
static bool
read_end_key(DocumentParser *parser, const char *key, uint32 key_size, uint8 type)
{
	if (mcs_document_parse_peek(parser) != '1')
		return mcs_document_parse_fail(parser, parser->at, "expected 1");
	/* a number that goes on fails at the closing brace */
	parser->at++;
	add(parser, key, key_size, type, 0);
	return true;
}

/* {"$minKey": 1} */
static bool
read_min_key(DocumentParser *parser, const char *key, uint32 key_size)
{
	return read_end_key(parser, key, key_size, DOCUMENT_MIN_KEY);
}

/* {"$maxKey": 1} */
static bool
read_max_key(DocumentParser *parser, const char *key, uint32 key_size)
{
	return read_end_key(parser, key, key_size, DOCUMENT_MAX_KEY);
}

/* {"$bson": "hex of a type byte and a value"}: ours, for what the others cannot say */
static bool
read_bson(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfoData text;
	const char *start;
	DocumentValue value;
	DocumentFault fault;
	uint8	   *data;

	if (!read_string(parser, &text, &start))
		return false;
	/* decoded in place: a byte is written where both of its digits have been read */
	data = (uint8 *) text.data;
	if (text.len < 2 || !mcs_document_read_hex(text.data, text.len, data))
		return mcs_document_parse_fail(parser, start, "$bson wants a string of pairs of hexadecimal digits");
	value.type = data[0];
	value.data = data + 1;
	value.size = text.len / 2 - 1;
	/* not strict: it is there for values that a server sent and a dump must bring back */
	if (!mcs_document_validate(&value, false, parser->depth, &fault))
		return mcs_document_parse_fail(parser, start, psprintf("$bson holds no BSON value: %s", fault.problem));
	if (value.size > 0)
		memcpy(add(parser, key, key_size, value.type, value.size), value.data, value.size);
	else
		add(parser, key, key_size, value.type, 0);
	return true;
}

static const struct
{
	const char *key;
	TypedReader reader;
}			typed_values[] =
{
	{"$oid", read_oid},
	{"$date", read_date},
	{"$numberLong", read_number_long},
	{"$numberInt", read_number_int},
	{"$numberDouble", read_number_double},
	{"$numberDecimal", read_number_decimal},
	{"$binary", read_binary},
	{"$uuid", read_uuid},
	{"$timestamp", read_timestamp},
	{"$regularExpression", read_regex},
	{"$code", read_code},
	{"$symbol", read_symbol},
	{"$dbPointer", read_db_pointer},
	{"$undefined", read_undefined},
	{"$minKey", read_min_key},
	{"$maxKey", read_max_key},
	{"$bson", read_bson}
};

/* Which typed value does this key begin? -1: none. */
static int
find_type_key(const char *key, uint32 key_size)
{
	/* the shortest is $oid; most keys of documents end here */
	if (key_size < 4 || key[0] != '$')
		return -1;
	for (int i = 0; i < lengthof(typed_values); i++)
	{
		if (strlen(typed_values[i].key) == key_size && memcmp(typed_values[i].key, key, key_size) == 0)
			return i;
	}
	return -1;
}

/* Is an object whose first key is this one a typed value? */
bool
mcs_document_is_type_key(const char *key, uint32 key_size)
{
	return find_type_key(key, key_size) >= 0;
}

/* Reads a typed value, whose key and colon are read, up to its closing brace. */
bool
mcs_document_parse_typed(DocumentParser *parser, const char *key, uint32 key_size, StringInfo type_key)
{
	int			which = find_type_key(type_key->data, type_key->len);

	/* who calls has asked mcs_document_is_type_key, so there is one */
	if (!typed_values[which].reader(parser, key, key_size))
		return false;
	if (mcs_document_parse_peek(parser) != '}')
		return mcs_document_parse_fail(parser, parser->at, "a typed value takes no further member");
	parser->at++;
	return true;
}
