/*
 * mongo/bson.c
 *	  Whether bytes are BSON as deep as they go, without recursion.  Runs in the
 *	  driver's thread only.
 *
 * Of values, what has a length of its own, or an end, is checked; what a value
 * says is not: a string need not be UTF-8, a boolean not 0 or 1.
 *
 * The type document has a check of its own (document/validate.c); this one runs
 * where nothing of PostgreSQL may be called.
 */
#include "mongo/mongo.h"

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define SHORT_NAME			8
#define MAX_DEPTH			300 /* MongoDB itself allows 250 at most, beside its envelope */

/* A length as BSON and messages have it, wherever it stands. */
uint32
mcs_bson_uint32(const uint8 *place)
{
	uint32		value;

	memcpy(&value, place, sizeof(value));
	return BSON_UINT32_FROM_LE(value);
}

/* The size of a document that begins at data, 0 where it does not fit. */
static inline uint32
document_size(const uint8 *data, uint32 room)
{
	uint32		size;

	if (room < MIN_DOCUMENT)
		return 0;
	size = mcs_bson_uint32(data);
	return size >= MIN_DOCUMENT && size <= room && data[size - 1] == 0 ? size : 0;
}

/* The size of a string with its length in front, 0 where it does not fit. */
static inline uint32
string_size(const uint8 *data, uint32 room)
{
	uint32		length;

	if (room < 5)
		return 0;
	length = mcs_bson_uint32(data);
	return length >= 1 && length <= room - 4 && data[4 + length - 1] == 0 ? 4 + length : 0;
}

/* The size of a zero-terminated string with its zero, 0 where it does not fit. */
static inline uint32
cstring_size(const uint8 *data, uint32 room)
{
	const uint8 *zero;

	/* most are names of a few bytes, for which a call costs more than a look */
	for (uint32 i = 0; i < Min(room, SHORT_NAME); i++)
		if (data[i] == 0)
			return i + 1;
	zero = room <= SHORT_NAME ? NULL : memchr(data + SHORT_NAME, 0, room - SHORT_NAME);
	return zero == NULL ? 0 : (uint32) (zero - data) + 1;
}

/* The size of a value that is no document; false where it does not fit, or there is no such type. */
static inline bool
scalar_size(uint8 type, const uint8 *data, uint32 room, uint32 *size)
{
	uint32		first;

	switch (type)
	{
		case BSON_TYPE_UNDEFINED:
		case BSON_TYPE_NULL:
		case BSON_TYPE_MAXKEY:
		case BSON_TYPE_MINKEY:
			*size = 0;
			return true;
		case BSON_TYPE_BOOL:
			*size = 1;
			break;
		case BSON_TYPE_INT32:
			*size = 4;
			break;
		case BSON_TYPE_DOUBLE:
		case BSON_TYPE_DATE_TIME:
		case BSON_TYPE_TIMESTAMP:
		case BSON_TYPE_INT64:
			*size = 8;
			break;
		case BSON_TYPE_OID:
			*size = 12;
			break;
		case BSON_TYPE_DECIMAL128:
			*size = 16;
			break;
		case BSON_TYPE_UTF8:
		case BSON_TYPE_CODE:
		case BSON_TYPE_SYMBOL:
			*size = string_size(data, room);
			break;
		case BSON_TYPE_DBPOINTER:
			*size = string_size(data, room);
			if (*size != 0)
				*size += 12;
			break;
		case BSON_TYPE_BINARY:
			if (room < 5 || mcs_bson_uint32(data) > room - 5)
				return false;
			*size = 5 + mcs_bson_uint32(data);
			break;
		case BSON_TYPE_REGEX:
			first = cstring_size(data, room);
			*size = first == 0 ? 0 : cstring_size(data + first, room - first);
			if (*size != 0)
				*size += first;
			break;
		default:
			return false;
	}
	return *size != 0 && *size <= room;
}

/* Whether bytes are one BSON document, with all that is in it. */
bool
mcs_bson_valid(const uint8 *data, uint32 size)
{
	uint32		ends[MAX_DEPTH];	/* of the documents that we are in: a stack in place of recursion */
	int			depth = 0;
	uint32		at = 4;

	if (document_size(data, size) != size)
		return false;
	ends[depth++] = size;
	while (depth > 0)
	{
		uint32		end = ends[depth - 1] - 1;	/* of the elements */
		uint32		part;
		uint8		type;

		if (at == end)
		{
			/* over the final zero, and on in the document around it */
			at++;
			depth--;
			continue;
		}
		/* an element: its type, its name, its value */
		type = data[at++];
		part = cstring_size(data + at, end - at);
		if (part == 0)
			return false;
		at += part;
		if (type == BSON_TYPE_CODEWSCOPE)
		{
			/* a length, a string, a document; the length must be that of both */
			uint32		whole = end - at < 4 ? 0 : mcs_bson_uint32(data + at);
			uint32		code = whole < 4 || whole > end - at ? 0 : string_size(data + at + 4, whole - 4);

			/* the scope is all that is left of it */
			if (code == 0 || document_size(data + at + 4 + code, whole - 4 - code) != whole - 4 - code)
				return false;
			at += 4 + code;
			type = BSON_TYPE_DOCUMENT;
		}
		if (type == BSON_TYPE_DOCUMENT || type == BSON_TYPE_ARRAY)
		{
			part = document_size(data + at, end - at);
			if (part == 0 || depth == MAX_DEPTH)
				return false;
			/* its elements are looked at next */
			ends[depth++] = at + part;
			at += 4;
		}
		else if (scalar_size(type, data + at, end - at, &part))
			at += part;
		else
			return false;
	}
	return true;
}
