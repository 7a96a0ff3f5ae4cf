/*
 * event/event.c
 *	  Takes a change event apart and makes the event columns of it.
 *
 * Taking apart copies nothing; the columns are copies in the current memory
 * context.  A field that is not what its column needs (another type, a name
 * that is not UTF-8) goes into extra with the fields that have no column, so
 * nothing that MongoDB sent is lost.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "event/event.h"
#include "mb/pg_wchar.h"
#include "mongo/mongo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define UNIX_EPOCH_OFFSET_US ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* cluster_time shows an ordinal as microseconds; more would reach into the next second, and time would seem to go back */
#define MAX_ORDINAL_US	(USECS_PER_SEC - 1)

/* What the fragments of one event may take */
#define MAX_FRAGMENTS_BYTES	(100 * 1024 * 1024)

/* A list of texts that grows, for changed_fields. */
typedef struct TextList
{
	Datum	   *items;
	int			count;
	int			room;
} TextList;

bool
mcs_event_text_is(const EventText *text, const char *string)
{
	size_t		length = strlen(string);

	return text->data != NULL && text->length == length && memcmp(text->data, string, length) == 0;
}

/* A string value as text to borrow; false where it is none or cannot stand in a text column. */
static bool
take_text(const DocumentValue *value, EventText *text)
{
	const char *string;
	uint32		size;

	if (!mcs_document_get_string(value, &string, &size) ||
		memchr(string, '\0', size) != NULL || !mcs_document_is_utf8(string, size))
		return false;
	text->data = string;
	text->length = size;
	return true;
}

/* { db, coll } with nothing else in it; false where anything had no place. */
static bool
take_namespace(const DocumentValue *value, EventText *database, EventText *collection)
{
	DocumentIterator it;
	bool		whole = true;

	if (value->type != DOCUMENT_OBJECT)
		return false;
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		if (it.key_size == 2 && memcmp(it.key, "db", 2) == 0)
			whole &= take_text(&it.value, database);
		else if (it.key_size == 4 && memcmp(it.key, "coll", 4) == 0)
			whole &= take_text(&it.value, collection);
		else
			whole = false;
	}
	return whole && !it.malformed;
}

/* The token as text: in place unless type bits follow. */
static bool
take_token(const DocumentValue *value, EventText *token)
{
	TokenParts	parts;
	StringInfoData text;

	if (!mcs_token_parts(value, &parts))
		return false;
	token->data = parts.data;
	token->length = parts.length;
	if (parts.bits_size > 0)
	{
		initStringInfo(&text);
		mcs_token_append(&text, &parts);
		token->data = text.data;
		token->length = text.len;
	}
	return true;
}

static bool
take_cluster_time(const DocumentValue *value, uint64 *cluster_time)
{
	uint32		seconds,
				ordinal;

	if (!mcs_document_get_timestamp(value, &seconds, &ordinal))
		return false;
	*cluster_time = (uint64) seconds << 32 | ordinal;
	return true;
}

static bool
take_wall_time(const DocumentValue *value, ChangeEvent *event)
{
	if (value->type != DOCUMENT_DATE || value->size != 8)
		return false;
	event->wall_time = mcs_document_read_int64(value->data);
	event->has_wall_time = true;
	return true;
}

/* A document column: an object, or null for none. */
static bool
take_document(const DocumentValue *value, DocumentValue *column)
{
	if (value->type == DOCUMENT_NULL)
		return true;
	if (value->type != DOCUMENT_OBJECT)
		return false;
	*column = *value;
	return true;
}

/* Puts one top-level field where it belongs; false where no column takes it. */
static bool
take_field(ChangeEvent *event, const char *key, uint32 key_size, const DocumentValue *value)
{
#define KEY_IS(literal) (memcmp(key, literal, sizeof(literal) - 1) == 0)

	switch (key_size)
	{
		case 2:
			if (KEY_IS("ns"))
				return take_namespace(value, &event->database, &event->collection);
			if (KEY_IS("to"))
				(void) take_namespace(value, &event->to_database, &event->to_collection);
			return false;
		case 3:
			return KEY_IS("_id") && take_token(value, &event->token);
		case 8:
			return KEY_IS("wallTime") && take_wall_time(value, event);
		case 10:
			return KEY_IS("splitEvent");
		case 11:
			if (KEY_IS("documentKey"))
				return take_document(value, &event->document_key);
			return KEY_IS("clusterTime") && take_cluster_time(value, &event->cluster_time);
		case 12:
			return KEY_IS("fullDocument") && take_document(value, &event->full_document);
		case 13:
			return KEY_IS("operationType") && take_text(value, &event->operation_type);
		case 17:
			return KEY_IS("updateDescription") && take_document(value, &event->update_description);
		case 18:
			return KEY_IS("disambiguatedPaths") && take_document(value, &event->disambiguated_paths);
		case 24:
			return KEY_IS("fullDocumentBeforeChange") &&
				take_document(value, &event->full_document_before_change);
		default:
			return false;
	}
#undef KEY_IS
}

/* Which fragment of a split event this is. */
EventFragment
mcs_event_fragment(const uint8 *event, uint32 size)
{
	EventFragment fragment = {0, 0};
	DocumentValue split,
				value;
	int64		number,
				of;

	if (mcs_document_find(event, size, "splitEvent", &split) && split.type == DOCUMENT_OBJECT &&
		mcs_document_find(split.data, split.size, "fragment", &value) && mcs_document_get_int64(&value, &number) &&
		mcs_document_find(split.data, split.size, "of", &value) && mcs_document_get_int64(&value, &of) &&
		number >= 1 && of >= number && of <= PG_INT32_MAX)
	{
		fragment.number = (int) number;
		fragment.of = (int) of;
	}
	return fragment;
}

/*
 * Adds a copy of one more fragment to those of an event, all of which are in a
 * context of their own.  Raises where there are more than any event has: the two
 * images and the description of a change are documents of at most 16 MB.
 */
List *
mcs_event_keep_fragment(List *fragments, const DocumentValue *fragment, MemoryContext context)
{
	MemoryContext old;
	DocumentValue *copy;
	uint8	   *data;

	if (MemoryContextMemAllocated(context, false) + fragment->size > MAX_FRAGMENTS_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a large event came in more than %d MB of fragments", MAX_FRAGMENTS_BYTES / (1024 * 1024)),
				 errdetail("%d fragments have come, and not the last one; an event of MongoDB's is made of documents of at most 16 MB.",
						   list_length(fragments)),
				 errhint("Check what the server's uri leads to: it does not behave as a MongoDB does.")));
	old = MemoryContextSwitchTo(context);
	copy = palloc(sizeof(DocumentValue));
	data = palloc(fragment->size);
	memcpy(data, fragment->data, fragment->size);
	copy->type = fragment->type;
	copy->data = data;
	copy->size = fragment->size;
	fragments = lappend(fragments, copy);
	MemoryContextSwitchTo(old);
	return fragments;
}

/*
 * disambiguatedPaths say how the paths of an update are to be read (MongoDB
 * 6.1).  They belong into its description, and are a field like any other where
 * there is none.
 */
static void
put_disambiguated_paths(ChangeEvent *event)
{
	static const char name[] = "disambiguatedPaths";
	const DocumentValue *description = &event->update_description;
	DocumentValue there;
	DocumentBuilder builder;
	DocumentIterator it;
	Document   *document;

	if (description->type != DOCUMENT_OBJECT || mcs_document_find(description->data, description->size, name, &there))
	{
		EventField *field = palloc(sizeof(EventField));

		field->key = name;
		field->value = event->disambiguated_paths;
		event->others = lappend(event->others, field);
		return;
	}
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_iterate(&it, description->data, description->size);
	while (mcs_document_next(&it))
		memcpy(mcs_document_append_raw(&builder, it.key, it.key_size, it.value.type, it.value.size),
			   it.value.data, it.value.size);
	if (it.malformed)
		mcs_document_malformed();
	mcs_document_append_value(&builder, name, &event->disambiguated_paths);
	mcs_document_end(&builder);
	document = mcs_document_finish(&builder);
	event->update_description.data = DOCUMENT_VALUE(document);
	event->update_description.size = DOCUMENT_VALUE_SIZE(document);
}

/*
 * Takes an event apart.  Its fragments are BSON objects; of a field that
 * stands in several the last one counts, as for the token.  Raises 22P03
 * where the bytes are no BSON.
 */
void
mcs_event_parse(ChangeEvent *event, const DocumentValue *fragments, int count)
{
	memset(event, 0, sizeof(*event));
	for (int i = 0; i < count; i++)
	{
		DocumentIterator it;

		mcs_document_iterate(&it, fragments[i].data, fragments[i].size);
		while (mcs_document_next(&it))
		{
			EventField *field;

			if (take_field(event, it.key, it.key_size, &it.value))
				continue;
			field = palloc(sizeof(EventField));
			field->key = it.key;
			field->value = it.value;
			event->others = lappend(event->others, field);
		}
		if (it.malformed)
			mcs_document_malformed();
	}
	if (event->disambiguated_paths.type)
		put_disambiguated_paths(event);
}

/* A field name as text; what is not UTF-8 becomes replacement characters, since text cannot hold it. */
static Datum
name_datum(const char *name, uint32 size)
{
	StringInfoData buf;

	if (likely(mcs_document_is_utf8(name, size)))
		return PointerGetDatum(cstring_to_text_with_len(name, size));

	initStringInfo(&buf);
	for (uint32 i = 0; i < size;)
	{
		int			length = pg_utf_mblen((const unsigned char *) name + i);

		if (i + length <= size && mcs_document_is_utf8(name + i, length))
		{
			appendBinaryStringInfo(&buf, name + i, length);
			i += length;
		}
		else
		{
			appendStringInfoString(&buf, "\xEF\xBF\xBD");
			i++;
		}
	}
	return PointerGetDatum(cstring_to_text_with_len(buf.data, buf.len));
}

static void
add_name(TextList *list, const char *name, uint32 size)
{
	/* a string of removedFields may hold a zero byte; a field name never does */
	const char *zero = memchr(name, '\0', size);

	if (list->count == list->room)
	{
		list->room = list->room ? list->room * 2 : 16;
		list->items = list->items ? repalloc(list->items, sizeof(Datum) * list->room)
			: palloc(sizeof(Datum) * list->room);
	}
	list->items[list->count++] = name_datum(name, zero ? (uint32) (zero - name) : size);
}

static void
add_keys(TextList *list, const DocumentValue *object)
{
	DocumentIterator it;

	if (object->type != DOCUMENT_OBJECT)
		return;
	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
		add_name(list, it.key, it.key_size);
}

/* What the event wrote: paths of an update, top-level fields of a whole document, else NULL. */
static Datum
changed_fields(const ChangeEvent *event, bool *isnull)
{
	TextList	list = {NULL, 0, 0};

	if (mcs_event_text_is(&event->operation_type, "insert") || mcs_event_text_is(&event->operation_type, "replace"))
		add_keys(&list, &event->full_document);
	else if (event->update_description.type == DOCUMENT_OBJECT)
	{
		const DocumentValue *description = &event->update_description;
		DocumentValue part,
					name;
		DocumentIterator it;
		const char *string;
		uint32		size;

		if (mcs_document_find(description->data, description->size, "updatedFields", &part))
			add_keys(&list, &part);
		if (mcs_document_find(description->data, description->size, "removedFields", &part) &&
			part.type == DOCUMENT_ARRAY)
		{
			mcs_document_iterate(&it, part.data, part.size);
			while (mcs_document_next(&it))
				if (mcs_document_get_string(&it.value, &string, &size))
					add_name(&list, string, size);
		}
		if (mcs_document_find(description->data, description->size, "truncatedArrays", &part) &&
			part.type == DOCUMENT_ARRAY)
		{
			mcs_document_iterate(&it, part.data, part.size);
			while (mcs_document_next(&it))
				if (it.value.type == DOCUMENT_OBJECT &&
					mcs_document_find(it.value.data, it.value.size, "field", &name) &&
					mcs_document_get_string(&name, &string, &size))
					add_name(&list, string, size);
		}
	}
	else
	{
		*isnull = true;
		return (Datum) 0;
	}

	*isnull = false;
	return PointerGetDatum(construct_array(list.items, list.count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Where the full document comes from, by the words of the events table. */
static const char *
full_document_source(const ChangeEvent *event, bool looks_up)
{
	if (event->too_large)
		return "too_large";
	if (event->full_document.type == 0)
		return "none";
	if (mcs_event_text_is(&event->operation_type, "insert"))
		return "insert";
	if (mcs_event_text_is(&event->operation_type, "replace"))
		return "replace";
	return looks_up ? "lookup" : "post_image";
}

/* The fields without a column, in their order; NULL where there are none. */
static Datum
extra_fields(const ChangeEvent *event, bool *isnull)
{
	DocumentBuilder builder;
	ListCell   *cell;

	*isnull = event->others == NIL;
	if (*isnull)
		return (Datum) 0;
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	foreach(cell, event->others)
	{
		EventField *field = lfirst(cell);

		mcs_document_append_value(&builder, field->key, &field->value);
	}
	mcs_document_end(&builder);
	return DocumentPGetDatum(mcs_document_finish(&builder));
}

/* A cluster time (seconds << 32 | ordinal) as cluster_time shows it. */
TimestampTz
mcs_event_timestamp(uint64 cluster_time)
{
	int64		seconds = (int64) (cluster_time >> 32);
	int64		ordinal = Min((int64) (cluster_time & 0xFFFFFFFF), MAX_ORDINAL_US);

	return seconds * USECS_PER_SEC + ordinal - UNIX_EPOCH_OFFSET_US;
}

/* The second of a cluster time, as people read it. */
TimestampTz
mcs_event_second(uint64 cluster_time)
{
	return mcs_event_timestamp(cluster_time & ~UINT64CONST(0xFFFFFFFF));
}

/* wallTime; the second of cluster_time where the server sends none, or one that no timestamptz can hold. */
static Datum
change_timestamp(const ChangeEvent *event, bool *isnull)
{
	*isnull = false;
	if (event->has_wall_time &&
		event->wall_time > PG_INT64_MIN / 1000 && event->wall_time < PG_INT64_MAX / 1000 - UNIX_EPOCH_OFFSET_US / 1000)
	{
		TimestampTz time = event->wall_time * 1000 - UNIX_EPOCH_OFFSET_US;

		if (IS_VALID_TIMESTAMP(time))
			return TimestampTzGetDatum(time);
	}
	*isnull = event->cluster_time == 0;
	return TimestampTzGetDatum(mcs_event_second(event->cluster_time));
}

static Datum
text_datum(EventText text, bool *isnull)
{
	*isnull = text.data == NULL;
	return text.data ? PointerGetDatum(cstring_to_text_with_len(text.data, text.length)) : (Datum) 0;
}

static Datum
document_datum(const DocumentValue *value, bool *isnull)
{
	*isnull = value->type == 0;
	return value->type ? DocumentPGetDatum(mcs_document_make(value->type, value->data, value->size)) : (Datum) 0;
}

/*
 * One column of an event.  looks_up: an update's full document was looked up
 * later (updateLookup), not kept as an image of its time.
 */
Datum
mcs_event_column(const ChangeEvent *event, EventColumn column, bool looks_up, bool *isnull)
{
	*isnull = false;
	switch (column)
	{
		case EVENT_OPERATION_TYPE:
			return text_datum(event->operation_type, isnull);
		case EVENT_DATABASE_NAME:
			return text_datum(event->database, isnull);
		case EVENT_COLLECTION_NAME:
			return text_datum(event->collection, isnull);
		case EVENT_DOCUMENT_KEY:
			return document_datum(&event->document_key, isnull);
		case EVENT_FULL_DOCUMENT:
			return document_datum(&event->full_document, isnull);
		case EVENT_FULL_DOCUMENT_BEFORE_CHANGE:
			return document_datum(&event->full_document_before_change, isnull);
		case EVENT_UPDATE_DESCRIPTION:
			return document_datum(&event->update_description, isnull);
		case EVENT_CHANGED_FIELDS:
			return changed_fields(event, isnull);
		case EVENT_CLUSTER_TIME:
			*isnull = event->cluster_time == 0;
			return TimestampTzGetDatum(mcs_event_timestamp(event->cluster_time));
		case EVENT_CHANGE_TIMESTAMP:
			return change_timestamp(event, isnull);
		case EVENT_RESUME_TOKEN:
			return text_datum(event->token, isnull);
		case EVENT_FULL_DOCUMENT_SOURCE:
			return CStringGetTextDatum(full_document_source(event, looks_up));
		case EVENT_EXTRA:
			return extra_fields(event, isnull);
		case EVENT_COLUMNS:
			break;
	}
	elog(ERROR, "no such event column: %d", (int) column);
}

/* All columns of an event: EVENT_COLUMNS values and null flags. */
void
mcs_event_values(const ChangeEvent *event, bool looks_up, Datum *values, bool *nulls)
{
	for (int column = 0; column < EVENT_COLUMNS; column++)
		values[column] = mcs_event_column(event, (EventColumn) column, looks_up, &nulls[column]);
}

/* ---- SQL functions ---- */

PG_FUNCTION_INFO_V1(mcs_event_cluster_timestamp);

/*
 * The exact cluster time in a resume token, as a BSON timestamp.  The column
 * cluster_time shows it as a timestamptz, whose microseconds can't hold every
 * ordinal.
 */
Datum
mcs_event_cluster_timestamp(PG_FUNCTION_ARGS)
{
	char	   *string = TextDatumGetCString(PG_GETARG_DATUM(0));
	char	   *token = mcs_token_read(string);
	DocumentBuilder builder;
	uint64		time;

	if (token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not a resume token: \"%s\"", string),
				 errdetail("A resume token is the hexadecimal text in _data of an event's _id."),
				 errhint("Take the column resume_token of an event.")));
	time = mcs_token_time(token);
	mcs_document_build(&builder);
	mcs_document_append_timestamp(&builder, NULL, (uint32) (time >> 32), (uint32) time);
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}
