/*
 * document/validate.c
 *	  Is this a value of BSON, all the way down?
 *
 * A strict check also refuses what a server or a driver would not write but
 * what can be told from the rest of the bytes and so does no harm: strings
 * that are not UTF-8, booleans other than 0 and 1, binary of the old subtype 2
 * whose two lengths differ.  The $bson escape of the text form takes those,
 * because a stored value may have them and must survive a dump.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "document/document_internal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

static bool validate(const DocumentValue *value, bool strict, int depth, DocumentFault *fault);

/* Notes what is wrong; always false, so that callers can return it. */
static bool
fail(DocumentFault *fault, int sqlstate, const char *problem)
{
	fault->problem = problem;
	fault->sqlstate = sqlstate;
	fault->path[0] = '\0';
	return false;
}

/* Puts a key in front of the path of a fault; what does not fit is cut at the end. */
static void
prepend_key(DocumentFault *fault, const char *key, uint32 key_size)
{
	char		rest[sizeof(fault->path)];

	mcs_text_copy(rest, sizeof(rest), fault->path);
	/* the key may be what is not UTF-8, and nothing of that may reach a message */
	if (mcs_document_is_utf8(key, key_size))
	{
		int			clip = pg_encoding_mbcliplen(PG_UTF8, key, key_size, 60);

		mcs_text_format(fault->path, sizeof(fault->path), "%.*s%s%s", clip, key, rest[0] ? "." : "", rest);
	}
	else
		mcs_text_format(fault->path, sizeof(fault->path), "?%s%s", rest[0] ? "." : "", rest);
}

/* Is this text in UTF-8?  Zero bytes may be in it. */
bool
mcs_document_is_utf8(const char *string, uint32 size)
{
	uint32		done = 0;

	while (done < size)
	{
		done += pg_encoding_verifymbstr(PG_UTF8, string + done, size - done);
		/* the verifier stops at a zero, which BSON allows, and at what is not UTF-8 */
		if (done < size && string[done] != '\0')
			return false;
		if (done < size)
			done++;
	}
	return true;
}

/* A string of an object as text, palloc'ed; NULL where there is none, or it is no text: a zero byte is in it, or it is not UTF-8. */
char *
mcs_document_find_text(const DocumentValue *object, const char *key)
{
	DocumentValue value;
	const char *string;
	uint32		size;

	if (object->type != DOCUMENT_OBJECT || !mcs_document_find(object->data, object->size, key, &value) ||
		!mcs_document_get_string(&value, &string, &size) || !mcs_document_is_utf8(string, size) ||
		memchr(string, '\0', size) != NULL)
		return NULL;
	return pnstrdup(string, size);
}

/* A text that PostgreSQL can hold: U+FFFD stands for zero characters and for bytes that are not UTF-8. */
const char *
mcs_document_mend_text(const char *string, uint32 *size)
{
	static const char replacement[] = "\xEF\xBF\xBD";
	const char *end = string + *size;
	StringInfoData out;

	if (memchr(string, '\0', *size) == NULL && mcs_document_is_utf8(string, *size))
		return string;
	initStringInfo(&out);
	while (string < end)
	{
		/* the verifier stops at a zero, too */
		int			valid = pg_encoding_verifymbstr(PG_UTF8, string, end - string);

		CHECK_FOR_INTERRUPTS();
		/* what would not fit anyhow is cut off */
		if (out.len + valid + 3 >= MaxAllocSize - VARHDRSZ)
			break;
		appendBinaryStringInfo(&out, string, valid);
		string += valid;
		if (string < end)
		{
			appendBinaryStringInfo(&out, replacement, 3);
			string++;
		}
	}
	*size = out.len;
	return out.data;
}

/* Checks each element of an object or an array. */
static bool
validate_elements(const DocumentValue *value, bool strict, int depth, DocumentFault *fault)
{
	DocumentIterator it;

	if (depth >= DOCUMENT_MAX_DEPTH)
		return fail(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "it is nested too deeply");
	mcs_document_iterate(&it, value->data, value->size);
	/* keys that come twice are well-formed; so are an array's that do not count up, for which the text form has its escape */
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (strict && !mcs_document_is_utf8(it.key, it.key_size))
		{
			fail(fault, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "a key is not valid UTF-8");
			prepend_key(fault, it.key, it.key_size);
			return false;
		}
		if (!validate(&it.value, strict, depth + 1, fault))
		{
			prepend_key(fault, it.key, it.key_size);
			return false;
		}
	}
	if (it.malformed)
	{
		fail(fault, ERRCODE_INVALID_BINARY_REPRESENTATION, "an element does not end where its container does, or has a type that BSON does not know");
		return false;
	}
	return true;
}

/* Checks code with scope: a length, a string and an object that fill each other exactly. */
static bool
validate_code_w_scope(const DocumentValue *value, bool strict, int depth, DocumentFault *fault)
{
	DocumentValue part;

	part.type = DOCUMENT_CODE;
	part.data = value->data + 4;
	if (!mcs_document_value_size(part.type, part.data, value->size - 4, &part.size))
		return fail(fault, ERRCODE_INVALID_BINARY_REPRESENTATION, "the string of a code with scope has a wrong length");
	if (!validate(&part, strict, depth, fault))
		return false;
	part.type = DOCUMENT_OBJECT;
	part.data += part.size;
	part.size = value->size - 4 - part.size;
	/* what is left must be the object, to the last byte */
	return validate(&part, strict, depth + 1, fault);
}

/* Checks what only a strict reader minds. */
static bool
validate_strictly(const DocumentValue *value, DocumentFault *fault)
{
	const uint8 *data = value->data;

	switch (value->type)
	{
		case DOCUMENT_STRING:
		case DOCUMENT_CODE:
		case DOCUMENT_SYMBOL:
			if (!mcs_document_is_utf8((const char *) data + 4, value->size - 5))
				return fail(fault, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "a string is not valid UTF-8");
			break;
		case DOCUMENT_DB_POINTER:
			if (!mcs_document_is_utf8((const char *) data + 4, value->size - 5 - 12))
				return fail(fault, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "a string is not valid UTF-8");
			break;
		case DOCUMENT_REGEX:
			/* both strings at once: the zeros that end them do not matter here */
			if (!mcs_document_is_utf8((const char *) data, value->size))
				return fail(fault, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, "a regular expression is not valid UTF-8");
			break;
		case DOCUMENT_BOOL:
			if (data[0] > 1)
				return fail(fault, ERRCODE_INVALID_BINARY_REPRESENTATION, "a boolean is neither 0 nor 1");
			break;
		case DOCUMENT_BINARY:
			if (data[4] == 2 && (value->size < 9 || (int64) mcs_document_read_int32(data + 5) != (int64) value->size - 9))
				return fail(fault, ERRCODE_INVALID_BINARY_REPRESENTATION, "the two lengths of a binary of subtype 2 differ");
			break;
	}
	return true;
}

/* Checks one value, which must fill its bytes exactly. */
static bool
validate(const DocumentValue *value, bool strict, int depth, DocumentFault *fault)
{
	uint32		size;

	check_stack_depth();
	if (!mcs_document_value_size(value->type, value->data, value->size, &size) || size != value->size)
		return fail(fault, ERRCODE_INVALID_BINARY_REPRESENTATION,
					mcs_document_type_name(value->type) == NULL ?
					"it has a type that BSON does not know" :
					"its length or its terminating zero is wrong");
	if (strict && !validate_strictly(value, fault))
		return false;
	if (mcs_document_is_container(value->type))
		return validate_elements(value, strict, depth, fault);
	if (value->type == DOCUMENT_CODE_W_SCOPE)
		return validate_code_w_scope(value, strict, depth, fault);
	return true;
}

/* Checks a value that stands inside depth others; where it returns false, fault says what is wrong and where. */
bool
mcs_document_validate(const DocumentValue *value, bool strict, int depth, DocumentFault *fault)
{
	return validate(value, strict, depth, fault);
}

/* Raises the error for a stored value that is no BSON. */
void
mcs_document_malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("document holds bytes that are no BSON"),
			 errhint("document_to_bson shows them; the server that sent them may have stored them damaged.")));
}
