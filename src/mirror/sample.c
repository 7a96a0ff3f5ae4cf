/*
 * mirror/sample.c
 *	  What the documents of a collection hold, by a sample of them: which fields
 *	  there are, in objects within objects, too, and of which types.
 *
 * Fields are kept as a tree, in the order in which they were first seen.  What
 * is in documents is anybody's: an object with a key for each customer is not a
 * set of fields, so beyond some number of keys it counts as one value.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "mirror/mirror_internal.h"
#include "miscadmin.h"

/* More keys than these make no columns. */
#define MAX_FIELDS		1000
#define MAX_INNER_FIELDS	64
#define MAX_ALL_FIELDS		10000

/* Nor do those of which a key is longer: somebody keeps values there. */
#define MAX_KEY_BYTES		1000

/* How deep objects are looked into; what lies deeper is a value of its object's. */
#define MAX_DEPTH		3

/* A double holds whole numbers up to here. */
#define MAX_EXACT_IN_DOUBLE (INT64CONST(1) << 53)

/* The milliseconds of BSON's dates that timestamptz has, too: 4713 BC to 294276 AD. */
#define MIN_DATE	INT64CONST(-210866803200000)
#define MAX_DATE	INT64CONST(9224318015999999)

/* ---- values ---- */

static bool
is_text(const DocumentValue *value)
{
	const char *string;
	uint32		size;

	return mcs_document_get_string(value, &string, &size) && mcs_document_is_utf8(string, size) && memchr(string, '\0', size) == NULL;
}

/* Whether a value can be jsonb: all of its texts are, and all numbers are finite. */
static bool
is_json(const DocumentValue *value)
{
	DocumentIterator it;

	check_stack_depth();
	switch (value->type)
	{
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
			return is_text(value);
		case DOCUMENT_DOUBLE:
			return isfinite(mcs_document_read_double(value->data));
		case DOCUMENT_OBJECT:
		case DOCUMENT_ARRAY:
			mcs_document_iterate(&it, value->data, value->size);
			while (mcs_document_next(&it))
				if (!mcs_document_is_utf8(it.key, it.key_size) || !is_json(&it.value))
					return false;
			return !it.malformed;
		default:
			return true;
	}
}

/* Which kind of SQL value it can be; 0 for null and its like. */
static uint32
kind_of(const DocumentValue *value)
{
	int64		number;

	switch (value->type)
	{
		case DOCUMENT_NULL:
		case DOCUMENT_UNDEFINED:
			return 0;
		case DOCUMENT_INT32:
			return FIELD_INT32;
		case DOCUMENT_INT64:
			number = mcs_document_read_int64(value->data);
			return number > MAX_EXACT_IN_DOUBLE || number < -MAX_EXACT_IN_DOUBLE ? FIELD_INT64 | FIELD_LARGE : FIELD_INT64;
		case DOCUMENT_DOUBLE:
			return FIELD_DOUBLE;
		case DOCUMENT_DECIMAL128:
			return FIELD_DECIMAL;
		case DOCUMENT_BOOL:
			return FIELD_BOOL;
		case DOCUMENT_DATE:
			number = mcs_document_read_int64(value->data);
			return number >= MIN_DATE && number <= MAX_DATE ? FIELD_DATE : FIELD_OTHER;
		case DOCUMENT_TIMESTAMP:
			return FIELD_DATE;
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
			return is_text(value) ? FIELD_TEXT : FIELD_OTHER;
		case DOCUMENT_OBJECT_ID:
			return FIELD_OBJECT_ID;
		case DOCUMENT_BINARY:
			/* size, then the subtype */
			return value->size == 4 + 1 + 16 && value->data[4] == 4 ? FIELD_UUID : FIELD_BINARY;
		case DOCUMENT_OBJECT:
			return is_json(value) ? FIELD_OBJECT : FIELD_OTHER;
		case DOCUMENT_ARRAY:
			return is_json(value) ? FIELD_ARRAY : FIELD_OTHER;
		default:
			return FIELD_OTHER;
	}
}

/* ---- the tree ---- */

/* A field of an object; NULL where there are too many.  *at: where the last one was, as documents have them in one order. */
static SampledField *
find_field(Sample *sample, SampledField *parent, const char *key, uint32 key_size, int *at)
{
	int			count = list_length(parent->fields);
	SampledField *field;

	for (int i = 0; i < count; i++)
	{
		int			number = (*at + i) % count;

		field = list_nth(parent->fields, number);
		if (strlen(field->key) == key_size && memcmp(field->key, key, key_size) == 0)
		{
			*at = number + 1;
			return field;
		}
	}
	if (count >= (parent->depth == 0 ? MAX_FIELDS : MAX_INNER_FIELDS) || sample->fields >= MAX_ALL_FIELDS || key_size > MAX_KEY_BYTES)
	{
		parent->many = true;
		return NULL;
	}
	field = palloc0(sizeof(SampledField));
	field->parent = parent;
	field->depth = parent->depth + 1;
	field->key = pnstrdup(key, key_size);
	parent->fields = lappend(parent->fields, field);
	sample->fields++;
	*at = count + 1;
	return field;
}

static void
take_object(Sample *sample, SampledField *parent, const DocumentValue *object)
{
	DocumentIterator it;
	int			at = 0;

	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
	{
		SampledField *field;
		uint32		kind;

		/* every row has it */
		if (parent->depth == 0 && strcmp(it.key, MIRROR_ID) == 0)
			continue;
		/* a key that is no text cannot be named */
		if (!mcs_document_is_utf8(it.key, it.key_size))
			continue;
		field = find_field(sample, parent, it.key, it.key_size, &at);
		if (field == NULL)
			continue;
		kind = kind_of(&it.value);
		field->kinds |= kind;
		if (kind != 0)
			field->seen++;
		if (kind == FIELD_OBJECT && field->depth < MAX_DEPTH && !field->many)
			take_object(sample, field, &it.value);
	}
}

/* ---- reading ---- */

/* The command that takes a sample, or (cursor not 0) its next documents. */
static Document *
command(const char *collection, int sample, int64 cursor)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	if (cursor != 0)
	{
		mcs_document_append_int64(&builder, "getMore", cursor);
		mcs_document_append_string(&builder, "collection", collection);
	}
	else
	{
		mcs_document_append_string(&builder, "aggregate", collection);
		mcs_document_begin_array(&builder, "pipeline");
		mcs_document_begin_object(&builder, NULL);
		mcs_document_begin_object(&builder, "$sample");
		mcs_document_append_int32(&builder, "size", sample);
		mcs_document_end(&builder);
		mcs_document_end(&builder);
		mcs_document_end(&builder);
		/* a large sample is sorted by MongoDB */
		mcs_document_append_bool(&builder, "allowDiskUse", true);
		mcs_document_begin_object(&builder, "cursor");
		mcs_document_end(&builder);
	}
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* Takes what a reply holds; the cursor's id, 0 at the end. */
static int64
take_reply(Sample *sample, const MongoReply *reply)
{
	DocumentValue documents;
	DocumentIterator it;
	int64		id;

	if (!mcs_session_reply_batch(reply, &documents, &id))
		return 0;
	mcs_document_iterate(&it, documents.data, documents.size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (it.value.type != DOCUMENT_OBJECT)
			continue;
		sample->documents++;
		take_object(sample, &sample->root, &it.value);
	}
	return id;
}

Sample *
mcs_mirror_sample(const MongoTarget *target, const char *database, const char *collection, int documents)
{
	MongoSession *session = mcs_cache_session(target);
	Sample	   *sample = palloc0(sizeof(Sample));
	char	   *action = psprintf("read a sample of collection \"%s.%s\"", database, collection);
	int64		cursor = 0;

	do
	{
		Document   *question = command(collection, documents, cursor);
		MongoReply *reply = mcs_session_command(session, database, DOCUMENT_VALUE(question), DOCUMENT_VALUE_SIZE(question),
												action, NULL);

		cursor = take_reply(sample, reply);
		mcs_session_free_reply(reply);
	}
	while (cursor != 0 && sample->documents < documents);
	return sample;
}
