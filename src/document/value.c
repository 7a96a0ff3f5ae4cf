/*
 * document/value.c
 *	  Walking the bytes of BSON values.
 *
 * Every length that is read is checked against the bytes that are there before
 * it is used, because values that MongoDB sent are stored unchecked.  Nothing
 * here allocates memory or raises an error, except mcs_document_make; a walk
 * that meets bytes that are no BSON ends and says so.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

/*
 * Size of the values that always have the same; -1 for the others and for bytes
 * that are no type.  A byte that is left out would have the size 0, which is one.
 */
static const int8 fixed_size[256] = {
	[0] = -1,
	[DOCUMENT_DOUBLE] = 8,
	[DOCUMENT_STRING] = -1,
	[DOCUMENT_OBJECT] = -1,
	[DOCUMENT_ARRAY] = -1,
	[DOCUMENT_BINARY] = -1,
	[DOCUMENT_UNDEFINED] = 0,
	[DOCUMENT_OBJECT_ID] = 12,
	[DOCUMENT_BOOL] = 1,
	[DOCUMENT_DATE] = 8,
	[DOCUMENT_NULL] = 0,
	[DOCUMENT_REGEX] = -1,
	[DOCUMENT_DB_POINTER] = -1,
	[DOCUMENT_CODE] = -1,
	[DOCUMENT_SYMBOL] = -1,
	[DOCUMENT_CODE_W_SCOPE] = -1,
	[DOCUMENT_INT32] = 4,
	[DOCUMENT_TIMESTAMP] = 8,
	[DOCUMENT_INT64] = 8,
	[DOCUMENT_DECIMAL128] = 16,
	[0x14 ... 0x7E] = -1,
	[DOCUMENT_MAX_KEY] = 0,
	[0x80 ... 0xFE] = -1,
	[DOCUMENT_MIN_KEY] = 0,
};

/* Makes a document of one value. */
Document *
mcs_document_make(uint8 type, const void *value, Size size)
{
	Document   *document;
	char	   *payload;

	if (size > MaxAllocSize - VARHDRSZ - 1)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("document is too large"),
				 errdetail("It would have %zu bytes.", size)));
	document = (Document *) palloc(VARHDRSZ + 1 + size);
	SET_VARSIZE(document, VARHDRSZ + 1 + size);
	payload = VARDATA(document);
	payload[0] = (char) type;
	/* a value without bytes may come without an address, which memcpy must not get even for none */
	if (size > 0)
		memcpy(payload + 1, value, size);
	return document;
}

/* Reads the length of a length-prefixed string and checks that it is there and ends with a zero. */
static bool
string_size(const uint8 *data, uint32 available, uint32 *size)
{
	int32		length;

	if (available < 5)
		return false;
	length = mcs_document_read_int32(data);
	/* available is 5 or more, so this cannot wrap; BSON allows zeros inside, so only the last byte counts */
	if (length < 1 || (uint32) length > available - 4 || data[4 + (uint32) length - 1] != 0)
		return false;
	*size = 4 + (uint32) length;
	return true;
}

/* Finds the end of two zero-terminated strings, which is how BSON has a regular expression. */
static bool
regex_size(const uint8 *data, uint32 available, uint32 *size)
{
	const uint8 *pattern_end = memchr(data, 0, available);
	const uint8 *options_end;

	if (pattern_end == NULL)
		return false;
	options_end = memchr(pattern_end + 1, 0, available - (pattern_end + 1 - data));
	if (options_end == NULL)
		return false;
	*size = options_end + 1 - data;
	return true;
}

/* Finds the size of a value that begins at data; false where it would pass the end or is no BSON. */
bool
mcs_document_value_size(uint8 type, const uint8 *data, uint32 available, uint32 *size)
{
	int			fixed = fixed_size[type];
	int32		length;

	if (fixed >= 0)
	{
		*size = fixed;
		return *size <= available;
	}
	switch (type)
	{
		case DOCUMENT_STRING:
		case DOCUMENT_CODE:
		case DOCUMENT_SYMBOL:
			return string_size(data, available, size);
		case DOCUMENT_OBJECT:
		case DOCUMENT_ARRAY:
			if (available < 5)
				return false;
			length = mcs_document_read_int32(data);
			/* 4 of the length and the final zero; compared as unsigned once it is not negative */
			if (length < 5 || (uint32) length > available || data[(uint32) length - 1] != 0)
				return false;
			/* that its elements fill it is seen by the walk over them */
			*size = length;
			return true;
		case DOCUMENT_BINARY:
			if (available < 5)
				return false;
			length = mcs_document_read_int32(data);
			/* 4 of the length and 1 of the subtype, neither of which it counts */
			if (length < 0 || (uint32) length > available - 5)
				return false;
			*size = 5 + (uint32) length;
			return true;
		case DOCUMENT_REGEX:
			return regex_size(data, available, size);
		case DOCUMENT_DB_POINTER:
			if (!string_size(data, available, size) || available - *size < 12)
				return false;
			/* the ObjectId, which has no length of its own */
			*size += 12;
			return true;
		case DOCUMENT_CODE_W_SCOPE:
			if (available < 14)
				return false;
			length = mcs_document_read_int32(data);
			/* 4 of its own length, 5 of the shortest string, 5 of the shortest object; who takes it apart checks those */
			if (length < 14 || (uint32) length > available)
				return false;
			*size = length;
			return true;
		default:
			return false;
	}
}

/* Starts a walk over the elements of an object or an array of at most size bytes. */
void
mcs_document_iterate(DocumentIterator *it, const uint8 *object, uint32 size)
{
	uint32		length;

	memset(it, 0, sizeof(*it));
	if (!mcs_document_value_size(DOCUMENT_OBJECT, object, size, &length))
	{
		it->malformed = true;
		it->at = it->end = object;
		return;
	}
	it->at = object + 4;
	it->end = object + length - 1;
}

/* The first zero byte at or after a place; there is one at or before the end, which is inside the buffer. */
static inline const uint8 *
find_zero(const uint8 *at, const uint8 *end)
{
	/* keys are short: eight bytes at a time beat a call of memchr */
	while (end - at >= 8)
	{
		uint64		word;
		uint64		zeros;

		memcpy(&word, at, sizeof(word));
		/* marks the zeros, and perhaps bytes above the first, to which the borrow carries: only the lowest mark is sure */
		zeros = (word - UINT64CONST(0x0101010101010101)) & ~word & UINT64CONST(0x8080808080808080);
		if (zeros != 0)
		{
#ifdef WORDS_BIGENDIAN
			/* here the first byte in memory is the highest, whose mark is not sure: look byte by byte */
			break;
#else
			return at + pg_rightmost_one_pos64(zeros) / 8;
#endif
		}
		at += 8;
	}
	while (*at != 0)
		at++;
	return at;
}

/* Goes to the next element; false at the end, and where the bytes are no BSON (then it->malformed). */
bool
mcs_document_next(DocumentIterator *it)
{
	const uint8 *key = it->at + 1;
	const uint8 *key_end;
	const uint8 *data;
	uint32		size;

	if (it->at >= it->end)
		return false;
	key_end = find_zero(key, it->end);
	/* the zero that was found is the object's own, so the key has none; an empty key is fine */
	if (key_end >= it->end)
	{
		it->malformed = true;
		it->at = it->end;
		return false;
	}
	data = key_end + 1;
	if (!mcs_document_value_size(*it->at, data, it->end - data, &size))
	{
		it->malformed = true;
		it->at = it->end;
		return false;
	}
	it->key = (const char *) key;
	it->key_size = key_end - key;
	it->value.type = *it->at;
	it->value.data = data;
	it->value.size = size;
	it->at = data + size;
	return true;
}

/*
 * How to skip a value: a number of bytes, plus its length word where mask lets
 * that through; mask 0 and no bytes but a mark for what takes more than that.
 * A table and no branches, since the types of neighbours are hard to predict.
 */
#define SKIP_OTHER	255

static const struct
{
	uint32		mask;
	uint32		bytes;
}			skips[256] = {
	[0] = {0, SKIP_OTHER},
	[DOCUMENT_DOUBLE] = {0, 8},
	[DOCUMENT_STRING] = {~0U, 4},
	[DOCUMENT_OBJECT] = {~0U, 0},
	[DOCUMENT_ARRAY] = {~0U, 0},
	[DOCUMENT_BINARY] = {~0U, 5},
	[DOCUMENT_OBJECT_ID] = {0, 12},
	[DOCUMENT_BOOL] = {0, 1},
	[DOCUMENT_DATE] = {0, 8},
	[DOCUMENT_REGEX] = {0, SKIP_OTHER},
	[DOCUMENT_DB_POINTER] = {~0U, 16},
	[DOCUMENT_CODE] = {~0U, 4},
	[DOCUMENT_SYMBOL] = {~0U, 4},
	[DOCUMENT_CODE_W_SCOPE] = {~0U, 0},
	[DOCUMENT_INT32] = {0, 4},
	[DOCUMENT_TIMESTAMP] = {0, 8},
	[DOCUMENT_INT64] = {0, 8},
	[DOCUMENT_DECIMAL128] = {0, 16},
	[0x14 ... 0x7E] = {0, SKIP_OTHER},
	[0x80 ... 0xFE] = {0, SKIP_OTHER}
};

/*
 * How many bytes to skip for a value that is not wanted: never past the end,
 * but without a look at the value's own end, which the cache may not have.
 * False where the length makes no sense.
 */
static inline bool
skip_size(uint8 type, const uint8 *data, uint32 available, uint32 *size)
{
	uint64		bytes = skips[type].bytes;

	/* the word below is read even where the mask drops it, so its four bytes must be there */
	if (bytes == SKIP_OTHER || available < 4)
		return mcs_document_value_size(type, data, available, size);
	/* in 64 bits: a negative length becomes one that is past any end, and the sum cannot wrap */
	bytes += (uint32) mcs_document_read_int32(data) & skips[type].mask;
	*size = (uint32) bytes;
	return bytes <= available;
}

/* Finds the first element of an object with this key; false where there is none or the bytes before it are no BSON. */
bool
mcs_document_find_sized(const uint8 *object, uint32 size, const char *key, uint32 key_size, DocumentValue *found)
{
	const uint8 *at = object + 4;
	const uint8 *end;
	uint32		length;

	if (!mcs_document_value_size(DOCUMENT_OBJECT, object, size, &length))
		return false;
	end = object + length - 1;
	while (at < end)
	{
		uint8		type = *at++;
		/* the zero first, which most other keys do not have there; a key that is asked for has none inside */
		bool		match = (uint32) (end - at) > key_size && at[key_size] == 0 && memcmp(at, key, key_size) == 0;

		at = match ? at + key_size : find_zero(at, end);
		if (at >= end)
			return false;
		at++;
		if (match)
		{
			found->type = type;
			found->data = at;
			return mcs_document_value_size(type, at, end - at, &found->size);
		}
		if (!skip_size(type, at, end - at, &length))
			return false;
		/* a length that lies short leads to bytes that are no element, yet always forward: type and key lie behind us */
		at += length;
	}
	return false;
}

/* As mcs_document_find_sized, for a key that ends with a zero. */
bool
mcs_document_find(const uint8 *object, uint32 size, const char *key, DocumentValue *found)
{
	return mcs_document_find_sized(object, size, key, strlen(key), found);
}

/* Finds an element of an array by its position; a negative one counts from the end. */
bool
mcs_document_find_index(const uint8 *array, uint32 size, int64 index, DocumentValue *found)
{
	DocumentIterator it;

	/* counted, and not by key: those of a stored array need not be 0, 1, 2; nor does an array say how many it has */
	if (index < 0)
	{
		mcs_document_iterate(&it, array, size);
		while (mcs_document_next(&it))
			index++;
		if (index < 0)
			return false;
	}
	mcs_document_iterate(&it, array, size);
	while (mcs_document_next(&it))
	{
		if (index-- == 0)
		{
			*found = it.value;
			return true;
		}
	}
	return false;
}

/* Reads a string (or a symbol, or code) in place; it ends with a zero that size does not count. */
bool
mcs_document_get_string(const DocumentValue *value, const char **string, uint32 *size)
{
	uint32		whole;

	if (value->type != DOCUMENT_STRING && value->type != DOCUMENT_SYMBOL && value->type != DOCUMENT_CODE)
		return false;
	if (!mcs_document_value_size(value->type, value->data, value->size, &whole))
		return false;
	*string = (const char *) value->data + 4;
	*size = whole - 5;
	return true;
}

/* Reads a number of any type that is an integer an int64 can hold (not Decimal128). */
bool
mcs_document_get_int64(const DocumentValue *value, int64 *number)
{
	double		floating;

	if (value->type == DOCUMENT_INT32 && value->size >= 4)
		*number = mcs_document_read_int32(value->data);
	else if (value->type == DOCUMENT_INT64 && value->size >= 8)
		*number = mcs_document_read_int64(value->data);
	else if (value->type == DOCUMENT_DOUBLE && value->size >= 8)
	{
		floating = mcs_document_read_double(value->data);
		/* written so that NaN fails; 2^63 is exact as a double, the largest int64 is not */
		if (!(floating >= -9223372036854775808.0 && floating < 9223372036854775808.0))
			return false;
		*number = (int64) floating;
		return (double) *number == floating;
	}
	else
		return false;
	return true;
}

/* Reads a boolean, or a number as MongoDB's commands do in a reply's ok: zero is false. */
bool
mcs_document_get_bool(const DocumentValue *value, bool *truth)
{
	if (value->type == DOCUMENT_BOOL && value->size >= 1)
		*truth = value->data[0] != 0;
	else if (value->type == DOCUMENT_INT32 && value->size >= 4)
		*truth = mcs_document_read_int32(value->data) != 0;
	else if (value->type == DOCUMENT_INT64 && value->size >= 8)
		*truth = mcs_document_read_int64(value->data) != 0;
	else if (value->type == DOCUMENT_DOUBLE && value->size >= 8)
		*truth = mcs_document_read_double(value->data) != 0;
	else
		return false;
	return true;
}

/* Reads a BSON timestamp: seconds, and the ordinal within the second. */
bool
mcs_document_get_timestamp(const DocumentValue *value, uint32 *seconds, uint32 *ordinal)
{
	if (value->type != DOCUMENT_TIMESTAMP || value->size < 8)
		return false;
	*ordinal = (uint32) mcs_document_read_int32(value->data);
	*seconds = (uint32) mcs_document_read_int32(value->data + 4);
	return true;
}

/* The name that MongoDB's $type gives a type; NULL for a byte that is none. */
const char *
mcs_document_type_name(uint8 type)
{
	static const char *const names[] = {
		[DOCUMENT_DOUBLE] = "double",
		[DOCUMENT_STRING] = "string",
		[DOCUMENT_OBJECT] = "object",
		[DOCUMENT_ARRAY] = "array",
		[DOCUMENT_BINARY] = "binData",
		[DOCUMENT_UNDEFINED] = "undefined",
		[DOCUMENT_OBJECT_ID] = "objectId",
		[DOCUMENT_BOOL] = "bool",
		[DOCUMENT_DATE] = "date",
		[DOCUMENT_NULL] = "null",
		[DOCUMENT_REGEX] = "regex",
		[DOCUMENT_DB_POINTER] = "dbPointer",
		[DOCUMENT_CODE] = "javascript",
		[DOCUMENT_SYMBOL] = "symbol",
		[DOCUMENT_CODE_W_SCOPE] = "javascriptWithScope",
		[DOCUMENT_INT32] = "int",
		[DOCUMENT_TIMESTAMP] = "timestamp",
		[DOCUMENT_INT64] = "long",
		[DOCUMENT_DECIMAL128] = "decimal",
	};

	if (type == DOCUMENT_MIN_KEY)
		return "minKey";
	if (type == DOCUMENT_MAX_KEY)
		return "maxKey";
	return type < lengthof(names) ? names[type] : NULL;
}
