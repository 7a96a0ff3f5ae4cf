/*
 * document/json_scan.c
 *	  The smallest parts of JSON: punctuation, strings and the digits of numbers;
 *	  and the error that says where in the text something is wrong.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "common/int.h"
#include "document/document_internal.h"
#include "mb/pg_wchar.h"
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

/* Whether the text is an ObjectId's hexadecimal digits, or a UUID. */
static bool
looks_like_an_id(DocumentParser *parser)
{
	size_t		size = parser->end - parser->start;
	int			digits = 0;

	for (const char *at = parser->start; at < parser->end; at++)
		digits += isxdigit((unsigned char) *at) ? 1 : 0;
	return (size == 24 && digits == 24) || (size == 36 && digits == 32);
}

/* Reports what is wrong at a place of the text; always false, so that callers can return it. */
bool
mcs_document_parse_fail(DocumentParser *parser, const char *at, const char *problem)
{
	int			position = pg_mbstrlen_with_len(parser->start, at - parser->start) + 1;
	bool		word = looks_like_a_word(parser);

	/* the first error is the one that tells; with an ErrorSaveContext we come back here */
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
			 looks_like_an_id(parser) ? errhint("To compare with an ObjectId or a UUID, write document_id('...').") :
			 word ? errhint("To compare with a text, write text 'shipped', '\"shipped\"', or take the field with ->>.") : 0));
	return false;
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
	/* in place of the question mark */
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
	/* a zero is a character like others here: BSON's strings may hold it, and keys are checked by who reads them */
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
	/* strchr would find the zero that ends the list */
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
		/* whole runs without escapes; the server has checked the encoding */
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

/* Reads the digits of a double, which end where a digit could not follow. */
bool
mcs_document_parse_double(const char *digits, uint32 size, double *number)
{
	char		local[64];
	char	   *copy = size < sizeof(local) ? local : palloc(size + 1);
	char	   *end;
	bool		whole;

	/* strtod wants an end, and the text goes on behind the number */
	memcpy(copy, digits, size);
	copy[size] = '\0';
	/* every backend keeps LC_NUMERIC at C, so a point is a point; what is too small becomes 0, where float8in raises an error */
	*number = strtod(copy, &end);
	/* a number that is too large gives an infinity, and strtod takes the word for one */
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
