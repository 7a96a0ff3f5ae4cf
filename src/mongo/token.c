/*
 * mongo/token.c
 *	  Resume tokens as text: what can be said of one without asking MongoDB.
 *
 * A token of MongoDB's is {_data, _typeBits}.  _data is a KeyString in hex: a
 * type byte 82 (timestamp), four bytes of seconds, four of ordinal, then what
 * tells events of one time apart.  A KeyString has all numeric types in one
 * order, and _typeBits, which is there only where it says anything, tells which
 * they were: without it MongoDB can't read the key of some numbers back.
 *
 * As text a token is _data, and where there is _typeBits a dot and its bytes in
 * hex.  So tokens sort as text: a dot sorts before every digit, no _data begins
 * another one, and two tokens of one event differ at most behind the dot.  The
 * token made here, which ends with the fields of a high-water mark, sorts before
 * those of all events of its time.
 *
 * What follows the time in _data (see mcs_token_same_event) are the fields
 *
 *		version			2B02 or 2B04 (1, 2)
 *		kind			29 a high-water mark, 2C0100 an event
 *		index			of the operation in its transaction
 *		invalidate		6E or 6F
 *		collection		5A, length 10, subtype 04, sixteen bytes; or none
 *		key				46: the document key; in version 2 an object of
 *						operationType and documentKey
 *
 * and, of a fragment of a large event in version 2, which one it is.
 */
#include "mongo/mongo.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#define TIMESTAMP_TYPE		"82"
#define TIME_DIGITS			16	/* seconds and ordinal, eight digits each */
#define TIME_OFFSET			2
#define HEAD_DIGITS			(TIME_OFFSET + TIME_DIGITS)
#define HIGH_WATER_MARK		"2B0229296E04"
#define VERSION_2			"2B04"
#define HIGH_WATER_MARK_2	"2B0429296E1404"
#define TOKEN_MAX			(16 * 1024 * 1024)	/* no document of MongoDB's is longer */
#define TYPE_BITS_SEPARATOR '.'

/* A hex digit's value, or -1. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Whether all bytes of a text are hex digits as MongoDB writes them, in upper case. */
static bool
is_upper_hex(const char *text, size_t length)
{
	/* without a branch for each digit: this runs for every event */
	static const bool is_digit[256] = {['0' ... '9'] = true,['A' ... 'F'] = true};
	bool		all = true;

	for (size_t i = 0; i < length; i++)
		all &= is_digit[(uint8) text[i]];
	return all;
}

/* How many bytes of a text are hex digits, from its begin. */
static size_t
hex_digits(const char *text, size_t length)
{
	size_t		digits = 0;

	while (digits < length && hex_value(text[digits]) >= 0)
		digits++;
	return digits;
}

/* Whether a text can be _data, but for its digits. */
static bool
begins_as_data(const char *text, size_t length)
{
	return length >= HEAD_DIGITS && length <= TOKEN_MAX && length % 2 == 0 &&
		strncmp(text, TIMESTAMP_TYPE, TIME_OFFSET) == 0;
}

/* How long the part of a token is that says which event it is of. */
static size_t
data_length(const char *token, size_t length)
{
	const char *dot = memchr(token, TYPE_BITS_SEPARATOR, length);

	return dot ? (size_t) (dot - token) : length;
}

/* Whether a text is a resume token in the form of this extension, in either case. */
bool
mcs_token_valid(const char *token)
{
	size_t		length = strlen(token);
	size_t		data = data_length(token, length);
	size_t		bits = length - data;

	/* behind the dot whole bytes, at least one */
	if (!begins_as_data(token, data) || hex_digits(token, data) != data)
		return false;
	return bits == 0 ||
		(bits >= 3 && bits % 2 == 1 && length <= TOKEN_MAX && hex_digits(token + data + 1, bits - 1) == bits - 1);
}

/* ---- MongoDB's form ---- */

/*
 * A token as MongoDB sends it, in place; false where it is none.  Its digits
 * are upper case, or they would not sort as text.
 */
bool
mcs_token_parts(const DocumentValue *token, TokenParts *parts)
{
	DocumentValue value;

	memset(parts, 0, sizeof(*parts));
	if (token->type != DOCUMENT_OBJECT || !mcs_document_find(token->data, token->size, "_data", &value) ||
		!mcs_document_get_string(&value, &parts->data, &parts->length) || !begins_as_data(parts->data, parts->length) ||
		!is_upper_hex(parts->data, parts->length))
		return false;
	if (mcs_document_find(token->data, token->size, "_typeBits", &value))
	{
		/* a length, a subtype, the bytes */
		if (value.type != DOCUMENT_BINARY || value.size < 5)
			return false;
		parts->bits = value.data + 5;
		parts->bits_size = value.size - 5;
	}
	return parts->length + parts->bits_size * 2 < TOKEN_MAX;
}

/* Appends a token in the form of this extension. */
void
mcs_token_append(StringInfo text, const TokenParts *parts)
{
	static const char digits[] = "0123456789ABCDEF";

	appendBinaryStringInfo(text, parts->data, parts->length);
	if (parts->bits_size > 0)
		appendStringInfoChar(text, TYPE_BITS_SEPARATOR);
	for (uint32 i = 0; i < parts->bits_size; i++)
	{
		appendStringInfoChar(text, digits[parts->bits[i] >> 4]);
		appendStringInfoChar(text, digits[parts->bits[i] & 0xF]);
	}
}

/* The type bits of a valid token, into bytes that the caller has for them; returns how many there are. */
static uint32
read_bits(const char *token, size_t length, uint8 *bytes)
{
	size_t		data = data_length(token, length);
	uint32		size = 0;

	for (size_t i = data + 1; i + 1 < length; i += 2)
		bytes[size++] = (uint8) (hex_value(token[i]) << 4 | hex_value(token[i + 1]));
	return size;
}

/* The text of a token as MongoDB's document. */
char *
mcs_token_document(const char *token)
{
	size_t		length = strlen(token);
	size_t		data = data_length(token, length);
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string_sized(&builder, "_data", token, data);
	if (data < length)
	{
		uint8	   *bits = palloc(length - data);

		mcs_document_append_binary(&builder, "_typeBits", 0, bits, read_bits(token, length, bits));
	}
	mcs_document_end(&builder);
	return mcs_document_out_text(mcs_document_finish(&builder));
}

/* ---- what users write ---- */

/* A token that is written as a document: {"_data": …, "_typeBits": …}; type bits may be hex, too. */
static char *
read_document(const char *text)
{
	Document   *document = mcs_document_in_text(text);
	DocumentValue token = {DOCUMENT_TYPE(document), DOCUMENT_VALUE(document), DOCUMENT_VALUE_SIZE(document)};
	DocumentValue value;
	StringInfoData result;
	const char *string;
	uint32		size;

	if (token.type != DOCUMENT_OBJECT || !mcs_document_find(token.data, token.size, "_data", &value) ||
		!mcs_document_get_string(&value, &string, &size) || memchr(string, TYPE_BITS_SEPARATOR, size))
		return NULL;
	initStringInfo(&result);
	appendBinaryStringInfo(&result, string, size);
	if (mcs_document_find(token.data, token.size, "_typeBits", &value))
	{
		TokenParts	bits = {"", 0, NULL, 0};

		if (mcs_document_get_string(&value, &string, &size))
			appendStringInfo(&result, "%c%.*s", TYPE_BITS_SEPARATOR, (int) size, string);
		else if (value.type == DOCUMENT_BINARY && value.size >= 5)
		{
			bits.bits = value.data + 5;
			bits.bits_size = value.size - 5;
			mcs_token_append(&result, &bits);
		}
		else
			return NULL;
	}
	/* a zero byte would hide what follows it */
	return strlen(result.data) == result.len ? result.data : NULL;
}

/*
 * A resume token as users may write it, in the form of this extension; NULL
 * where the text is none.  Raises where it is no document though it begins as one.
 */
char *
mcs_token_read(const char *text)
{
	char	   *token = NULL;

	/* _data alone, or the document that MongoDB's shell shows */
	if (text[strspn(text, " \t\r\n")] == '{')
		token = read_document(text);
	else
		token = pstrdup(text);
	if (token == NULL || !mcs_token_valid(token))
		return NULL;
	/* tokens are compared as text */
	for (char *c = token; *c; c++)
		*c = pg_ascii_toupper((unsigned char) *c);
	return token;
}

/* ---- what a token says ---- */

/* The cluster time in a valid token: seconds << 32 | ordinal. */
uint64
mcs_token_time(const char *token)
{
	uint64		time = 0;

	for (int i = TIME_OFFSET; i < HEAD_DIGITS; i++)
	{
		int			value = hex_value(token[i]);

		if (value < 0)
			return 0;
		time = time << 4 | (uint64) value;
	}
	return time;
}

/* The order of two tokens of one version; those of one event are equal, with and without type bits. */
int
mcs_token_compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t		a_data = data_length(a, a_length);
	size_t		b_data = data_length(b, b_length);
	int			compared = memcmp(a, b, Min(a_data, b_data));

	return compared ? compared : a_data < b_data ? -1 : a_data > b_data ? 1 : 0;
}

/* Whether two tokens are of one version, so that they have an order. */
bool
mcs_token_is_of_version(const char *token, const char *other)
{
	return strncmp(token + HEAD_DIGITS, other + HEAD_DIGITS, strlen(VERSION_2)) == 0;
}

/* Whether MongoDB gives tokens of a token's version only with its stage that splits large events. */
bool
mcs_token_of_split_stream(const char *token)
{
	return strlen(token) > HEAD_DIGITS && strncmp(token + HEAD_DIGITS, VERSION_2, strlen(VERSION_2)) == 0;
}

/*
 * Whether the _data of an event's token says that it is not the first operation
 * of its transaction, so that others have its time.
 */
bool
mcs_token_within_transaction(const char *data, size_t length)
{
	static const char event_kind[] = "2C0100";
	static const char first_index[] = "29";
	size_t		at = HEAD_DIGITS + strlen(VERSION_2);

	return length > at + strlen(event_kind) + strlen(first_index) &&
		strncmp(data + at, event_kind, strlen(event_kind)) == 0 &&
		strncmp(data + at + strlen(event_kind), first_index, strlen(first_index)) != 0;
}

/* The token that sorts before every event of a time (a high-water mark). */
char *
mcs_token_from_time(uint64 time)
{
	return psprintf(TIMESTAMP_TYPE "%08X%08X" HIGH_WATER_MARK, (uint32) (time >> 32), (uint32) time);
}

/*
 * The same for the time of a token, in either version.  A change stream that begins
 * at a token gives tokens of that version.
 */
char *
mcs_token_before_time(const char *token, bool version_2)
{
	uint64		time = mcs_token_time(token);

	if (!version_2)
		return mcs_token_from_time(time);
	return psprintf(TIMESTAMP_TYPE "%08X%08X" HIGH_WATER_MARK_2, (uint32) (time >> 32), (uint32) time);
}

/* ---- which event a token is of ---- */

/* What of a token tells events apart, whatever its version: parts of its text. */
typedef struct TokenIdentity
{
	const char *index;			/* in the transaction, with the kind and whether it invalidates */
	size_t		index_length;
	const char *collection;
	size_t		collection_length;
	const char *key;			/* the document's, without what brackets it; NULL where it is not understood */
	size_t		key_length;
} TokenIdentity;

#define EVENT_KIND		"2C0100"
#define COLLECTION_HEAD "5A1004"	/* binary of sixteen bytes, subtype UUID */
#define COLLECTION_DIGITS (6 + 32)
#define OBJECT			"46"
#define END				"04"
#define VERSION_2_KEY	"46646F63756D656E744B657900"	/* an object, documentKey */

/* Whether what stands between text and end begins with something. */
static bool
begins_with(const char *text, const char *end, const char *prefix)
{
	size_t		length = strlen(prefix);

	return (size_t) (end - text) >= length && memcmp(text, prefix, length) == 0;
}

/* The digits of an integer: its type byte says how many bytes follow; 0 where it is none. */
static size_t
integer_digits(const char *text, const char *end)
{
	int			type = end - text >= 2 ? hex_value(text[0]) << 4 | hex_value(text[1]) : -1;

	/* zero; positive integers of one to eight bytes */
	if (type == 0x29)
		return 2;
	if (type >= 0x2B && type <= 0x32 && end - text >= (type - 0x2A + 1) * 2)
		return (type - 0x2A + 1) * 2;
	return 0;
}

/* Takes an event's token apart; false where it is no token of an event, or of a version that is not known. */
static bool
read_identity(const char *token, TokenIdentity *identity)
{
	const char *end = token + data_length(token, strlen(token));
	const char *at = token + HEAD_DIGITS;
	bool		version_2 = begins_with(at, end, VERSION_2);
	size_t		length;

	memset(identity, 0, sizeof(*identity));
	length = integer_digits(at, end);
	at += length;
	if (length == 0 || !begins_with(at, end, EVENT_KIND))
		return false;
	at += strlen(EVENT_KIND);

	/* the index, and the byte that says whether it invalidates */
	length = integer_digits(at, end);
	if (length == 0 || end - at < (ptrdiff_t) length + 2)
		return false;
	identity->index = at;
	identity->index_length = length + 2;
	at += length + 2;
	if (begins_with(at, end, COLLECTION_HEAD) && end - at >= COLLECTION_DIGITS)
	{
		identity->collection = at;
		identity->collection_length = COLLECTION_DIGITS;
		at += COLLECTION_DIGITS;
	}
	if (version_2)
	{
		/* behind operationType, whose value has no zero byte in it */
		at = strstr(at, VERSION_2_KEY);
		if (at)
			at += strlen(VERSION_2_KEY);
	}
	if (at && at < end && begins_with(at, end, OBJECT))
	{
		identity->key = at;
		identity->key_length = end - at;
	}
	return true;
}

/* Whether a token is of an event, and not only of a time. */
bool
mcs_token_of_event(const char *token)
{
	TokenIdentity identity;

	return read_identity(token, &identity);
}

/* Whether two parts of tokens are equal. */
static bool
same_part(const char *a, size_t a_length, const char *b, size_t b_length)
{
	return a_length == b_length && memcmp(a, b, a_length) == 0;
}

/* Whether two tokens are of events of one time in one collection. */
bool
mcs_token_same_collection(const char *a, const char *b)
{
	TokenIdentity x,
				y;

	return mcs_token_time(a) == mcs_token_time(b) && read_identity(a, &x) && read_identity(b, &y) &&
		same_part(x.collection, x.collection_length, y.collection, y.collection_length);
}

/*
 * Whether two tokens are of the same event, though streams with another form of
 * tokens gave them: MongoDB has two versions, and one puts the document key into
 * more brackets than the other, so that only its begin can be compared.
 */
bool
mcs_token_same_event(const char *a, const char *b)
{
	TokenIdentity x,
				y;
	size_t		common;

	if (mcs_token_compare(a, strlen(a), b, strlen(b)) == 0)
		return true;
	if (mcs_token_time(a) != mcs_token_time(b) || !read_identity(a, &x) || !read_identity(b, &y) ||
		mcs_token_of_split_stream(a) == mcs_token_of_split_stream(b) ||
		!same_part(x.index, x.index_length, y.index, y.index_length) ||
		!same_part(x.collection, x.collection_length, y.collection, y.collection_length))
		return false;
	/* of no document, such as a drop, or not understood: time, index and collection are all there is */
	if (x.key == NULL || y.key == NULL)
		return true;
	/* the last bytes of the shorter one close its brackets */
	common = Min(x.key_length, y.key_length);
	return common > strlen(END) && memcmp(x.key, y.key, common - strlen(END)) == 0;
}

/*
 * Whether MongoDB could not read a token for want of its type bits, which 1.0
 * did not keep.
 */
bool
mcs_token_lacks_type_bits(const char *token, const MongoError *error)
{
	return token != NULL && error->at_open && error->code != 0 && strchr(token, TYPE_BITS_SEPARATOR) == NULL &&
		mcs_token_time(token) != 0 && strstr(error->message, "KeyString format error") != NULL;
}
