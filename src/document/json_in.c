/*
 * document/json_in.c
 *	  Text to values: JSON, with Extended JSON's typed values in it.
 *
 * One pass over the text writes straight into a builder.  A number without
 * point and exponent becomes an int32, else an int64, else a Decimal128: an
 * integer is never rounded.  Any other number is a double.  Duplicate keys are
 * kept, as BSON keeps them.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "miscadmin.h"

static bool parse_value(DocumentParser *parser, const char *key, uint32 key_size);

/* Reads a string value straight into the builder. */
static bool
parse_string_value(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfo	buf = &parser->builder.buf;
	int			start;

	/* the length is written when the string is; the buffer may move meanwhile */
	mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_STRING, 4);
	start = buf->len;
	if (!mcs_document_parse_string(parser, buf))
		return false;
	appendStringInfoCharMacro(buf, '\0');
	mcs_document_write_int32((uint8 *) buf->data + start - 4, buf->len - start);
	return true;
}

/* Skips digits; how many were there? */
static int
skip_digits(DocumentParser *parser)
{
	const char *start = parser->at;

	while (parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9')
		parser->at++;
	return parser->at - start;
}

/* Finds the end of a number; is it an integer? */
static bool
scan_number(DocumentParser *parser, bool *integer)
{
	const char *start = parser->at;

	*integer = true;
	/* the caller has seen this character, so it is there */
	if (*parser->at == '-')
		parser->at++;
	if (parser->at < parser->end && *parser->at == '0')
		parser->at++;
	else if (skip_digits(parser) == 0)
		return mcs_document_parse_fail(parser, start, "expected a value");
	if (parser->at < parser->end && *parser->at == '.')
	{
		*integer = false;
		parser->at++;
		if (skip_digits(parser) == 0)
			return mcs_document_parse_fail(parser, parser->at, "expected a digit after the decimal point");
	}
	if (parser->at < parser->end && (*parser->at == 'e' || *parser->at == 'E'))
	{
		*integer = false;
		parser->at++;
		if (parser->at < parser->end && (*parser->at == '+' || *parser->at == '-'))
			parser->at++;
		if (skip_digits(parser) == 0)
			return mcs_document_parse_fail(parser, parser->at, "expected a digit in the exponent");
	}
	/* 2024-05-17, 10min, 0123; a zero byte, which strchr finds, too, fails where a comma or an end is expected */
	if (parser->at < parser->end && strchr(" \t\n\r,]}", *parser->at) == NULL)
		return mcs_document_parse_fail(parser, parser->at, "a number ends with something else than a digit");
	return true;
}

/* Writes an integer in the smallest type that holds it. */
static bool
append_integer(DocumentParser *parser, const char *key, uint32 key_size, const char *digits, uint32 size)
{
	DocumentDecimal decimal;
	int64		number;

	/* -0 becomes 0, as no integer has that sign */
	if (mcs_document_parse_int64(digits, size, &number))
	{
		if (number >= PG_INT32_MIN && number <= PG_INT32_MAX)
			mcs_document_write_int32(mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_INT32, 4),
									 (int32) number);
		else
			mcs_document_write_int64(mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_INT64, 8),
									 number);
		return true;
	}
	if (mcs_document_decimal_in(digits, size, &decimal) != DECIMAL_OK)
		return mcs_document_parse_fail(parser, digits, "an integer that needs more than 34 digits");
	mcs_document_decimal_write(&decimal, mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_DECIMAL128, 16));
	return true;
}

/* Reads a number. */
static bool
parse_number(DocumentParser *parser, const char *key, uint32 key_size)
{
	const char *start = parser->at;
	bool		integer;
	double		number;
	int64		bits;

	if (!scan_number(parser, &integer))
		return false;
	if (integer)
		return append_integer(parser, key, key_size, start, parser->at - start);
	if (!mcs_document_parse_double(start, parser->at - start, &number))
		return mcs_document_parse_fail(parser, start, "a number that is too large for a double");
	memcpy(&bits, &number, sizeof(bits));
	mcs_document_write_int64(mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_DOUBLE, 8), bits);
	return true;
}

/* Reads true, false or null. */
static bool
parse_word(DocumentParser *parser, const char *key, uint32 key_size)
{
	const char *start = parser->at;
	uint32		size;

	/* with the bytes of other letters, so that no word ends within one */
	while (parser->at < parser->end && ((*parser->at >= 'a' && *parser->at <= 'z') || IS_HIGHBIT_SET(*parser->at)))
		parser->at++;
	size = parser->at - start;
	if (size == 4 && memcmp(start, "true", 4) == 0)
		mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_BOOL, 1)[0] = 1;
	else if (size == 5 && memcmp(start, "false", 5) == 0)
		mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_BOOL, 1)[0] = 0;
	else if (size == 4 && memcmp(start, "null", 4) == 0)
		mcs_document_append_raw(&parser->builder, key, key_size, DOCUMENT_NULL, 0);
	else
		return mcs_document_parse_fail(parser, start, "expected a value");
	return true;
}

/* Opens an object or an array, if that is not one level too many. */
static bool
open_level(DocumentParser *parser, const char *key, uint32 key_size, uint8 type)
{
	if (parser->depth >= DOCUMENT_MAX_DEPTH)
		return mcs_document_parse_fail(parser, parser->at, "values are nested too deeply");
	parser->depth++;
	mcs_document_open(&parser->builder, key, key_size, type);
	return true;
}

/* Closes it. */
static void
close_level(DocumentParser *parser)
{
	parser->depth--;
	mcs_document_end(&parser->builder);
}

/* Reads the elements of an array, after its bracket. */
static bool
parse_array(DocumentParser *parser, const char *key, uint32 key_size)
{
	if (!open_level(parser, key, key_size, DOCUMENT_ARRAY))
		return false;
	if (mcs_document_parse_peek(parser) == ']')
		parser->at++;
	else
	{
		for (;;)
		{
			/* a comma with nothing behind it fails here, at the bracket */
			if (!parse_value(parser, NULL, 0))
				return false;
			if (mcs_document_parse_peek(parser) != ',')
				break;
			parser->at++;
		}
		if (mcs_document_parse_peek(parser) != ']')
			return mcs_document_parse_fail(parser, parser->at, "expected \",\" or \"]\"");
		parser->at++;
	}
	close_level(parser);
	return true;
}

/* Reads a key and the colon after it. */
static bool
parse_key(DocumentParser *parser, StringInfo key)
{
	const char *start;

	resetStringInfo(key);
	mcs_document_parse_peek(parser);
	start = parser->at;
	if (!mcs_document_parse_string(parser, key))
		return false;
	/* BSON ends a key with a zero; an empty key it allows */
	if (memchr(key->data, '\0', key->len) != NULL)
		return mcs_document_parse_fail(parser, start, "a key cannot hold a zero character");
	return mcs_document_parse_token(parser, ':');
}

/* Reads the members of an object, after its brace. */
static bool
parse_object(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfoData member;
	bool		first = true;

	if (mcs_document_parse_peek(parser) == '}')
	{
		parser->at++;
		if (!open_level(parser, key, key_size, DOCUMENT_OBJECT))
			return false;
		close_level(parser);
		return true;
	}
	/* one buffer for all keys: what is built has a copy by the time of the next */
	initStringInfo(&member);
	for (;;)
	{
		if (!parse_key(parser, &member))
			return false;
		if (first && mcs_document_is_type_key(member.data, member.len))
		{
			if (!mcs_document_parse_typed(parser, key, key_size, &member))
				return false;
			break;
		}
		/* only the first key says whether this is an object or a typed value */
		if (first && !open_level(parser, key, key_size, DOCUMENT_OBJECT))
			return false;
		first = false;
		if (!parse_value(parser, member.data, member.len))
			return false;
		if (mcs_document_parse_peek(parser) == ',')
		{
			parser->at++;
			continue;
		}
		if (mcs_document_parse_peek(parser) != '}')
			return mcs_document_parse_fail(parser, parser->at, "expected \",\" or \"}\"");
		parser->at++;
		close_level(parser);
		break;
	}
	pfree(member.data);
	return true;
}

/* Reads a value into the builder. */
static bool
parse_value(DocumentParser *parser, const char *key, uint32 key_size)
{
	/* open_level bounds the depth; the stack may be small all the same */
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	switch (mcs_document_parse_peek(parser))
	{
		case '{':
			parser->at++;
			return parse_object(parser, key, key_size);
		case '[':
			parser->at++;
			return parse_array(parser, key, key_size);
		case '"':
			return parse_string_value(parser, key, key_size);
		case '-':
		case '0':
		case '1':
		case '2':
		case '3':
		case '4':
		case '5':
		case '6':
		case '7':
		case '8':
		case '9':
			return parse_number(parser, key, key_size);
		default:
			return parse_word(parser, key, key_size);
	}
}

/* Reads a whole text; NULL, with the error in escontext, only where that is an ErrorSaveContext. */
Document *
mcs_document_from_text(const char *text, uint32 size, struct Node *escontext)
{
	DocumentParser parser;

	memset(&parser, 0, sizeof(parser));
	parser.start = parser.at = text;
	parser.end = text + size;
	parser.escontext = escontext;
	parser.parse_value = parse_value;
	mcs_document_build(&parser.builder);
	/* what a failure leaves behind goes with the memory context of the call */
	if (!parse_value(&parser, NULL, 0))
		return NULL;
	/* peek says 0 for the end, but a zero byte may also be in the text */
	if (mcs_document_parse_peek(&parser) != '\0' || parser.at < parser.end)
	{
		mcs_document_parse_fail(&parser, parser.at, "something follows the value");
		return NULL;
	}
	return mcs_document_finish(&parser.builder);
}

/* Reads a text that ends with a zero, such as a literal of our own. */
Document *
mcs_document_in_text(const char *text)
{
	return mcs_document_from_text(text, strlen(text), NULL);
}
