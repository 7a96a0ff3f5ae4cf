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

#include <math.h>

#include "common/int.h"
#include "document/document.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#endif

/* Is this where someone compared with a bare word, which SQL takes for input of this type? */
static bool
looks_like_a_word(const DocumentParser *parser)
{
	const char *at = parser->start;

	while (at < parser->end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
		at++;
	return at < parser->end && strchr("{[\"", *at) == NULL;
}

/* Reports what is wrong at a place of the text; always false, so that callers can return it. */
bool
mcs_document_parse_fail(DocumentParser *parser, const char *at, const char *problem)
{
	int			position = pg_mbstrlen_with_len(parser->start, at - parser->start) + 1;
	bool		word = looks_like_a_word(parser);

	if (parser->failed)
		return false;
	parser->failed = true;
#if PG_VERSION_NUM >= 160000
	errsave(parser->escontext,
#else
	ereport(ERROR,
#endif
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s", "document"),
			 at < parser->end ?
			 errdetail("At character %d: %s.", position, problem) :
			 errdetail("At the end of the input, character %d: %s.", position, problem),
			 word ? errhint("To compare with a text, write text 'shipped', '\"shipped\"', or take the field with ->>.") : 0));
	return false;
}

/* Skips white space and shows the next character; 0 at the end. */
char
mcs_document_parse_peek(DocumentParser *parser)
{
	while (parser->at < parser->end &&
		   (*parser->at == ' ' || *parser->at == '\t' || *parser->at == '\n' || *parser->at == '\r'))
		parser->at++;
	return parser->at < parser->end ? *parser->at : '\0';
}

/* Reads one punctuation character. */
bool
mcs_document_parse_token(DocumentParser *parser, char token)
{
	char		problem[] = "expected \"?\"";

	if (mcs_document_parse_peek(parser) == token && parser->at < parser->end)
	{
		parser->at++;
		return true;
	}
	problem[10] = token;
	return mcs_document_parse_fail(parser, parser->at, problem);
}

/* Reads the four digits of \uXXXX. */
static bool
parse_hex4(DocumentParser *parser, pg_wchar *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++, parser->at++)
	{
		char		c = parser->at < parser->end ? *parser->at : '\0';

		if (c >= '0' && c <= '9')
			*code = *code * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			*code = *code * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			*code = *code * 16 + (c - 'A' + 10);
		else
			return mcs_document_parse_fail(parser, parser->at, "\\u must be followed by four hexadecimal digits");
	}
	return true;
}

/* Reads what follows \u: a code point, or both halves of a surrogate pair. */
static bool
parse_unicode(DocumentParser *parser, StringInfo string)
{
	const char *escape = parser->at - 2;
	unsigned char utf8[4];
	pg_wchar	code;
	pg_wchar	low;

	if (!parse_hex4(parser, &code))
		return false;
	if (is_utf16_surrogate_second(code))
		return mcs_document_parse_fail(parser, escape, "the second half of a surrogate pair stands alone");
	if (is_utf16_surrogate_first(code))
	{
		if (parser->end - parser->at < 2 || parser->at[0] != '\\' || parser->at[1] != 'u')
			return mcs_document_parse_fail(parser, escape, "the first half of a surrogate pair stands alone");
		parser->at += 2;
		if (!parse_hex4(parser, &low))
			return false;
		if (!is_utf16_surrogate_second(low))
			return mcs_document_parse_fail(parser, escape, "the first half of a surrogate pair stands alone");
		code = surrogate_pair_to_codepoint(code, low);
	}
	unicode_to_utf8(code, utf8);
	appendBinaryStringInfo(string, (char *) utf8, pg_utf_mblen(utf8));
	return true;
}

/* Reads what follows a backslash. */
static bool
parse_escape(DocumentParser *parser, StringInfo string)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	char		c = parser->at < parser->end ? *parser->at : '\0';
	const char *found;

	if (c == 'u')
	{
		parser->at++;
		return parse_unicode(parser, string);
	}
	found = c ? strchr(from, c) : NULL;
	if (found == NULL)
		return mcs_document_parse_fail(parser, parser->at, "unknown escape in a string");
	parser->at++;
	appendStringInfoCharMacro(string, to[found - from]);
	return true;
}

/* Reads a string in quotes and appends what it says. */
bool
mcs_document_parse_string(DocumentParser *parser, StringInfo string)
{
	const char *start;

	if (mcs_document_parse_peek(parser) != '"')
		return mcs_document_parse_fail(parser, parser->at, "expected a string in double quotes");
	start = parser->at++;
	for (;;)
	{
		const char *run = parser->at;

		while (parser->at < parser->end && *parser->at != '"' && *parser->at != '\\' &&
			   (unsigned char) *parser->at >= 0x20)
			parser->at++;
		appendBinaryStringInfo(string, run, parser->at - run);
		if (parser->at >= parser->end)
			return mcs_document_parse_fail(parser, start, "a string without its closing quote");
		if (*parser->at == '"')
		{
			parser->at++;
			return true;
		}
		if (*parser->at != '\\')
			return mcs_document_parse_fail(parser, parser->at, "a control character in a string must be written as an escape");
		parser->at++;
		if (!parse_escape(parser, string))
			return false;
	}
}

/* Reads a string value straight into the builder. */
static bool
parse_string_value(DocumentParser *parser, const char *key, uint32 key_size)
{
	StringInfo	buf = &parser->builder.buf;
	int			start;

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
	/* 2024-05-17, 10min, 0123 */
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

/* Reads the digits of a double, which end where a digit could not follow. */
bool
mcs_document_parse_double(const char *digits, uint32 size, double *number)
{
	char		local[64];
	char	   *copy = size < sizeof(local) ? local : palloc(size + 1);
	char	   *end;
	bool		whole;

	memcpy(copy, digits, size);
	copy[size] = '\0';
	*number = strtod(copy, &end);
	whole = end == copy + size && size > 0 && !isinf(*number) && !isnan(*number);
	if (copy != local)
		pfree(copy);
	return whole;
}

/* Reads an integer; false where it is none or does not fit. */
bool
mcs_document_parse_int64(const char *digits, uint32 size, int64 *number)
{
	const char *end = digits + size;
	bool		negative = digits < end && *digits == '-';
	int64		result = 0;

	if (negative)
		digits++;
	if (digits == end)
		return false;
	/* counted downwards, as the smallest number has no positive counterpart */
	for (; digits < end; digits++)
	{
		if (*digits < '0' || *digits > '9' ||
			pg_mul_s64_overflow(result, 10, &result) ||
			pg_sub_s64_overflow(result, *digits - '0', &result))
			return false;
	}
	if (!negative)
	{
		if (result == PG_INT64_MIN)
			return false;
		result = -result;
	}
	*number = result;
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
			if (!mcs_document_parse_value(parser, NULL, 0))
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
		if (first && !open_level(parser, key, key_size, DOCUMENT_OBJECT))
			return false;
		first = false;
		if (!mcs_document_parse_value(parser, member.data, member.len))
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
bool
mcs_document_parse_value(DocumentParser *parser, const char *key, uint32 key_size)
{
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
	mcs_document_build(&parser.builder);
	if (!mcs_document_parse_value(&parser, NULL, 0))
		return NULL;
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
