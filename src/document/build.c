/*
 * document/build.c
 *	  Writing BSON values, append only, into memory of the current context.
 *
 * The buffer begins with room for the varlena header, so finishing costs no
 * copy.  The value at the top is written without a key: its type byte stands
 * right after the header, which is also where an element's would stand.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Starts a value. */
void
mcs_document_build(DocumentBuilder *builder)
{
	initStringInfo(&builder->buf);
	appendStringInfoSpaces(&builder->buf, VARHDRSZ);
	builder->depth = 0;
	/* most documents nest less */
	builder->max_depth = 8;
	builder->levels = palloc(sizeof(DocumentLevel) * builder->max_depth);
}

/* Ends the value: the builder's memory becomes the document. */
Document *
mcs_document_finish(DocumentBuilder *builder)
{
	if (builder->depth != 0 || builder->buf.len <= VARHDRSZ)
		elog(ERROR, "document builder finished with %d open levels and %d bytes", builder->depth, builder->buf.len);
	SET_VARSIZE(builder->buf.data, builder->buf.len);
	pfree(builder->levels);
	return (Document *) builder->buf.data;
}

/* Appends a space for the type, and the key; returns where the type goes.  For callers that learn the type later. */
static int
begin_value(DocumentBuilder *builder, const char *key, uint32 key_size)
{
	StringInfo	buf = &builder->buf;
	int			type_at = buf->len;
	char		index[12];

	/* the type may be known only later; the caller of begin_value overwrites this */
	appendStringInfoCharMacro(buf, '\0');
	if (builder->depth == 0)
	{
		if (type_at != VARHDRSZ)
			elog(ERROR, "document builder got a second value at its top");
		return type_at;
	}
	/* an array's keys are its positions in decimal, which BSON wants written out */
	if (builder->levels[builder->depth - 1].next_index >= 0)
	{
		key = index;
		key_size = pg_ltoa(builder->levels[builder->depth - 1].next_index++, index);
	}
	appendBinaryStringInfo(buf, key, key_size);
	appendStringInfoCharMacro(buf, '\0');
	return type_at;
}

/* Refuses sizes with which sums could overflow; the buffer itself refuses the others. */
static void
check_size(uint32 size)
{
	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("document is too large")));
}

/* Appends an element with space for its value, and returns that space, which the next append may move. */
uint8 *
mcs_document_append_raw(DocumentBuilder *builder, const char *key, uint32 key_size, uint8 type, uint32 size)
{
	StringInfo	buf = &builder->buf;
	int			type_at = begin_value(builder, key, key_size);
	uint8	   *space;

	check_size(size);
	enlargeStringInfo(buf, size);
	buf->data[type_at] = (char) type;
	space = (uint8 *) buf->data + buf->len;
	/* the caller fills the space in; a StringInfo keeps a zero behind its end */
	buf->len += size;
	buf->data[buf->len] = '\0';
	return space;
}

/* The same with a key that ends with a zero, or none. */
static uint8 *
append(DocumentBuilder *builder, const char *key, uint8 type, uint32 size)
{
	return mcs_document_append_raw(builder, key, key ? strlen(key) : 0, type, size);
}

/* Opens an object or an array. */
void
mcs_document_open(DocumentBuilder *builder, const char *key, uint32 key_size, uint8 type)
{
	DocumentLevel *level;

	/* what is deeper has no text form, and could not be restored from a dump */
	if (builder->depth >= DOCUMENT_MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("document is nested too deeply"),
				 errdetail("It can have %d levels of objects and arrays.", DOCUMENT_MAX_DEPTH)));
	/* room for the length, which mcs_document_end knows */
	mcs_document_append_raw(builder, key, key_size, type, 4);
	if (builder->depth == builder->max_depth)
	{
		builder->max_depth *= 2;
		builder->levels = repalloc(builder->levels, sizeof(DocumentLevel) * builder->max_depth);
	}
	level = &builder->levels[builder->depth++];
	level->start = builder->buf.len - 4;
	level->next_index = type == DOCUMENT_ARRAY ? 0 : -1;
}

/* Opens an object. */
void
mcs_document_begin_object(DocumentBuilder *builder, const char *key)
{
	mcs_document_open(builder, key, key ? strlen(key) : 0, DOCUMENT_OBJECT);
}

/* Opens an array; what is appended to it needs no key. */
void
mcs_document_begin_array(DocumentBuilder *builder, const char *key)
{
	mcs_document_open(builder, key, key ? strlen(key) : 0, DOCUMENT_ARRAY);
}

/* Closes the object or array that was opened last. */
void
mcs_document_end(DocumentBuilder *builder)
{
	StringInfo	buf = &builder->buf;
	int			start;

	Assert(builder->depth > 0);
	start = builder->levels[--builder->depth].start;
	appendStringInfoCharMacro(buf, '\0');
	mcs_document_write_int32((uint8 *) buf->data + start, buf->len - start);
}

/* Appends null. */
void
mcs_document_append_null(DocumentBuilder *builder, const char *key)
{
	append(builder, key, DOCUMENT_NULL, 0);
}

/* Appends a boolean. */
void
mcs_document_append_bool(DocumentBuilder *builder, const char *key, bool value)
{
	append(builder, key, DOCUMENT_BOOL, 1)[0] = value ? 1 : 0;
}

/* Appends an int32. */
void
mcs_document_append_int32(DocumentBuilder *builder, const char *key, int32 value)
{
	mcs_document_write_int32(append(builder, key, DOCUMENT_INT32, 4), value);
}

/* Appends an int64. */
void
mcs_document_append_int64(DocumentBuilder *builder, const char *key, int64 value)
{
	mcs_document_write_int64(append(builder, key, DOCUMENT_INT64, 8), value);
}

/* Appends a double. */
void
mcs_document_append_double(DocumentBuilder *builder, const char *key, double value)
{
	int64		bits;

	memcpy(&bits, &value, sizeof(bits));
	mcs_document_write_int64(append(builder, key, DOCUMENT_DOUBLE, 8), bits);
}

/* Appends a string that ends with a zero. */
void
mcs_document_append_string(DocumentBuilder *builder, const char *key, const char *value)
{
	mcs_document_append_string_sized(builder, key, value, strlen(value));
}

/* Appends a string of so many bytes. */
void
mcs_document_append_string_sized(DocumentBuilder *builder, const char *key, const char *value, uint32 size)
{
	uint8	   *space;

	check_size(size);
	space = append(builder, key, DOCUMENT_STRING, size + 5);
	mcs_document_write_int32(space, size + 1);
	memcpy(space + 4, value, size);
	space[4 + size] = 0;
}

/* Appends a date, in milliseconds since 1970. */
void
mcs_document_append_date(DocumentBuilder *builder, const char *key, int64 milliseconds)
{
	mcs_document_write_int64(append(builder, key, DOCUMENT_DATE, 8), milliseconds);
}

/* Appends a BSON timestamp. */
void
mcs_document_append_timestamp(DocumentBuilder *builder, const char *key, uint32 seconds, uint32 ordinal)
{
	uint8	   *space = append(builder, key, DOCUMENT_TIMESTAMP, 8);

	/* a little endian uint64 of both: the seconds are the upper half */
	mcs_document_write_int32(space, (int32) ordinal);
	mcs_document_write_int32(space + 4, (int32) seconds);
}

/* Appends binary data of a subtype other than the old 2, which has a second length. */
void
mcs_document_append_binary(DocumentBuilder *builder, const char *key, uint8 subtype, const void *data, uint32 size)
{
	uint8	   *space;

	check_size(size);
	space = append(builder, key, DOCUMENT_BINARY, size + 5);
	mcs_document_write_int32(space, size);
	space[4] = subtype;
	memcpy(space + 5, data, size);
}

/* Appends a whole document, whatever its type. */
void
mcs_document_append_document(DocumentBuilder *builder, const char *key, const Document *document)
{
	DocumentValue value = mcs_document_value(document);

	mcs_document_append_value(builder, key, &value);
}

/* Appends a value as it is. */
void
mcs_document_append_value(DocumentBuilder *builder, const char *key, const DocumentValue *value)
{
	uint8	   *space = append(builder, key, value->type, value->size);

	if (value->size > 0)
		memcpy(space, value->data, value->size);
}
