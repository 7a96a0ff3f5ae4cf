/*
 * event/event.c
 *	  Takes a change event apart, into what its columns are made of.
 *
 * Nothing is copied by that.  A field that is not what its column needs (another
 * type, a name that is not UTF-8) goes into extra with the fields that have no
 * column, so nothing that MongoDB sent is lost.
 */
#include "mongo_change_stream.h"

#include "event/event.h"
#include "mongo/mongo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What the fragments of one event may take */
#define MAX_FRAGMENTS_BYTES	(100 * 1024 * 1024)

bool
mcs_event_text_is(const EventText *text, const char *string)
{
	size_t		length = strlen(string);

	return text->data != NULL && text->length == length && memcmp(text->data, string, length) == 0;
}

void
mcs_event_borrow_text(const DocumentValue *value, EventText *text)
{
	const char *string;
	uint32		size;

	if (mcs_document_get_string(value, &string, &size))
	{
		text->data = string;
		text->length = size;
	}
}

/* A string value as text to borrow; false where it is none or cannot stand in a text column. */
static bool
take_text(const DocumentValue *value, EventText *text)
{
	const char *string;
	uint32		size;

	/* a text holds no zero byte, and nothing that is not UTF-8 */
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
	/* what has no place leaves the columns filled, and shows in extra as well */
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
	/* most have none: see mongo/token.c */
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
	/* any date of BSON's; whether a timestamptz can hold it is asked when it is shown */
	event->wall_time = mcs_document_read_int64(value->data);
	event->has_wall_time = true;
	return true;
}

/* A document column: an object, or null for none. */
static bool
take_document(const DocumentValue *value, DocumentValue *column)
{
	/* what MongoDB sends for a document that is gone, or an image that was not kept */
	if (value->type == DOCUMENT_NULL)
		return true;
	if (value->type != DOCUMENT_OBJECT)
		return false;
	*column = *value;
	return true;
}

/* What a splitEvent says; what is malformed counts as whole, and is refused or shown as it came. */
static EventFragment
read_fragment(const DocumentValue *split)
{
	EventFragment fragment = {0, 0};
	DocumentValue value;
	int64		number,
				of;

	if (split->type == DOCUMENT_OBJECT &&
		mcs_document_find(split->data, split->size, "fragment", &value) && mcs_document_get_int64(&value, &number) &&
		mcs_document_find(split->data, split->size, "of", &value) && mcs_document_get_int64(&value, &of) &&
		number >= 1 && of >= number && of <= PG_INT32_MAX)
	{
		fragment.number = (int) number;
		fragment.of = (int) of;
	}
	return fragment;
}

/* A fragment's number, of use only until the event is whole. */
static bool
take_fragment(const DocumentValue *value, ChangeEvent *event)
{
	if (!event->has_fragment)
		event->fragment = read_fragment(value);
	event->has_fragment = true;
	return true;
}

/* Puts one top-level field where it belongs; false where no column takes it. */
static bool
take_field(ChangeEvent *event, const char *key, uint32 key_size, const DocumentValue *value)
{
#define KEY_IS(literal) (memcmp(key, literal, sizeof(literal) - 1) == 0)

	/* by length first, as this runs for each field of each event */
	switch (key_size)
	{
		case 2:
			if (KEY_IS("ns"))
				return take_namespace(value, &event->database, &event->collection);
			/* a rename's new name: used here, and shown in extra */
			if (KEY_IS("to"))
				(void) take_namespace(value, &event->to_database, &event->to_collection);
			return false;
		case 3:
			return KEY_IS("_id") && take_token(value, &event->token);
		case 8:
			return KEY_IS("wallTime") && take_wall_time(value, event);
		case 10:
			return KEY_IS("splitEvent") && take_fragment(value, event);
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
	DocumentValue split;

	if (mcs_document_find(event, size, "splitEvent", &split))
		return read_fragment(&split);
	return (EventFragment) {0, 0};
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

	/* a server that never sends the last one must not fill the memory */
	if (MemoryContextMemAllocated(context, false) + fragment->size > MAX_FRAGMENTS_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a large event came in more than %d MB of fragments", MAX_FRAGMENTS_BYTES / (1024 * 1024)),
				 errdetail("%d fragments have come, and not the last one; an event of MongoDB's is made of documents of at most 16 MB.",
						   list_length(fragments)),
				 errhint("Check what the server's uri leads to: it does not behave as a MongoDB does.")));
	/* the list grows in there, too */
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
	/* raw copies: values need not be understood to be moved */
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

			/* fields are looked at as they come: one pass over an event of many megabytes */
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
	/* last, since it may come before the description */
	if (event->disambiguated_paths.type)
		put_disambiguated_paths(event);
}

bool
mcs_event_is_cause(const ErrorData *error)
{
	/* by class: newer servers add codes to them */
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return false;
		default:
			return error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && error->sqlerrcode != ERRCODE_DATA_CORRUPTED &&
				error->sqlerrcode != ERRCODE_INDEX_CORRUPTED;
	}
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
