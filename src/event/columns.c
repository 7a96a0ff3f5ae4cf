/*
 * event/columns.c
 *	  The columns of events: the list in event/event.h as tables, and what each
 *	  shows of an event.
 *
 * The values are copies in the current memory context.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "catalog/pg_type.h"
#include "event/event.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define UNIX_EPOCH_OFFSET_US ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* cluster_time shows an ordinal as microseconds; more would reach into the next second, and time would seem to go back */
#define MAX_ORDINAL_US	(USECS_PER_SEC - 1)

/* A list of texts that grows, for changed_fields. */
typedef struct TextList
{
	Datum	   *items;
	int			count;
	int			room;
} TextList;

/* ---- the list ---- */

#define EVENT_COLUMN_INFO(symbol, column_name, column_type, declaration, of_document, mongo_path, ...) \
	[EVENT_##symbol] = {.name = #column_name, .type = column_type, .has_fields = of_document, .path = mongo_path, .fields = {__VA_ARGS__}},

const EventColumnInfo mcs_event_columns[EVENT_COLUMNS] = {
	EVENT_COLUMN_LIST(EVENT_COLUMN_LEFT_OUT, EVENT_COLUMN_INFO)
};

#define ROW_COLUMN_INFO(symbol, column_name, column_type, column_declaration, ...) \
	[ROW_##symbol] = {.name = #column_name, .type = column_type, .declaration = column_declaration},

const RowColumnInfo mcs_event_row_columns[ROW_COLUMNS] = {
	EVENT_COLUMN_LIST(ROW_COLUMN_INFO, ROW_COLUMN_INFO)
};

const char *
mcs_event_column_names(void)
{
	/* without the first separator */
	return &EVENT_COLUMN_NAMES[strlen(", ")];
}

Oid
mcs_event_column_type(Oid listed)
{
	return OidIsValid(listed) ? listed : mcs_extension_document();
}

bool
mcs_event_has_column_for(const char *field)
{
	size_t		length = strlen(field);

	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		const char *path = mcs_event_columns[i].path;

		/* ns is shown by way of ns.db and ns.coll */
		if (path && strncmp(path, field, length) == 0 && (path[length] == '\0' || path[length] == '.'))
			return true;
	}
	return false;
}

/* ---- what the columns show ---- */

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

		/* a character that is cut at the end is none either */
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

	/* what is no object has no names */
	if (object->type != DOCUMENT_OBJECT)
		return;
	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
		add_name(list, it.key, it.key_size);
}

/* Whether the event wrote a whole document. */
static bool
writes_whole(const ChangeEvent *event)
{
	return mcs_event_text_is(&event->operation_type, "insert") || mcs_event_text_is(&event->operation_type, "replace");
}

/* What the event wrote: paths of an update, top-level fields of a whole document, else NULL. */
static Datum
changed_fields(const ChangeEvent *event, bool *isnull)
{
	TextList	list = {NULL, 0, 0};

	/* the whole document was written, whatever was there before */
	if (writes_whole(event))
		add_keys(&list, &event->full_document);
	else if (event->update_description.type == DOCUMENT_OBJECT)
	{
		const DocumentValue *description = &event->update_description;
		DocumentValue part,
					name;
		DocumentIterator it;
		const char *string;
		uint32		size;

		/* set, removed, cut off at the end */
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
		/* a delete, a drop; an empty array would say that an update wrote nothing */
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
	/* first: such an event was read without its images, which says nothing of them */
	if (event->too_large)
		return "too_large";
	if (event->full_document.type == 0)
		return "none";
	if (mcs_event_text_is(&event->operation_type, "insert"))
		return "insert";
	if (mcs_event_text_is(&event->operation_type, "replace"))
		return "replace";
	/* a document that was copied, in an event of ours */
	if (mcs_event_text_is(&event->operation_type, "snapshot"))
		return "snapshot";
	/* an update, then: of its time, or of when MongoDB was asked */
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
	/* a name may come twice, as BSON allows */
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

	/* 32 bits of seconds end in 2106, far from any overflow */
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
	/* from 6.0 on; bounds first, for neither the product nor the difference below must overflow */
	if (event->has_wall_time &&
		event->wall_time > PG_INT64_MIN / 1000 + UNIX_EPOCH_OFFSET_US / 1000 && event->wall_time < PG_INT64_MAX / 1000 - UNIX_EPOCH_OFFSET_US / 1000)
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
	/* no default, so that the compiler names a column that was forgotten */
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

/* ---- all columns at once ---- */

/* A text that is most often the one of the event before. */
static Datum
repeated_text(EventRepeats *repeats, EventColumn column, EventText text, bool *isnull)
{
	Datum		before = repeats->texts[column];

	*isnull = text.data == NULL;
	if (text.data == NULL)
		return (Datum) 0;
	if (before == (Datum) 0 || VARSIZE_ANY_EXHDR(DatumGetPointer(before)) != text.length ||
		memcmp(VARDATA_ANY(DatumGetPointer(before)), text.data, text.length) != 0)
		repeats->texts[column] = PointerGetDatum(cstring_to_text_with_len(text.data, text.length));
	return repeats->texts[column];
}

/* Whether an object has the keys that were noted, in their order. */
static bool
has_noted_keys(const EventRepeats *repeats, const DocumentValue *object)
{
	const char *at = repeats->keys.data;
	const char *end = at + repeats->keys.len;
	DocumentIterator it;

	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
	{
		/* with the zero behind it, which the key has, too */
		if ((size_t) (end - at) <= it.key_size || memcmp(at, it.key, it.key_size + 1) != 0)
			return false;
		at += it.key_size + 1;
	}
	return at == end && !it.malformed;
}

/* changed_fields of a whole document, which most often has the fields of the document before. */
static Datum
repeated_fields(EventRepeats *repeats, const ChangeEvent *event, bool *isnull)
{
	const DocumentValue *object = &event->full_document;
	DocumentIterator it;

	if (object->type != DOCUMENT_OBJECT || !writes_whole(event))
		return changed_fields(event, isnull);
	*isnull = false;
	if (repeats->keys.data && has_noted_keys(repeats, object))
		return repeats->changed_fields;
	if (repeats->keys.data)
		resetStringInfo(&repeats->keys);
	else
		initStringInfo(&repeats->keys);
	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
		appendBinaryStringInfo(&repeats->keys, it.key, it.key_size + 1);
	repeats->changed_fields = changed_fields(event, isnull);
	return repeats->changed_fields;
}

/* All columns of an event: EVENT_COLUMNS values and null flags.  Values that repeat are shared between events. */
void
mcs_event_values(const ChangeEvent *event, bool looks_up, EventRepeats *repeats, Datum *values, bool *nulls)
{
	const char *source = full_document_source(event, looks_up);

	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		EventColumn column = (EventColumn) i;

		switch (column)
		{
			case EVENT_OPERATION_TYPE:
				values[i] = repeated_text(repeats, column, event->operation_type, &nulls[i]);
				break;
			case EVENT_DATABASE_NAME:
				values[i] = repeated_text(repeats, column, event->database, &nulls[i]);
				break;
			case EVENT_COLLECTION_NAME:
				values[i] = repeated_text(repeats, column, event->collection, &nulls[i]);
				break;
			case EVENT_CHANGED_FIELDS:
				values[i] = repeated_fields(repeats, event, &nulls[i]);
				break;
			case EVENT_FULL_DOCUMENT_SOURCE:
				values[i] = repeated_text(repeats, column, (EventText) {source, strlen(source)}, &nulls[i]);
				break;
			default:
				values[i] = mcs_event_column(event, column, looks_up, &nulls[i]);
				break;
		}
	}
}
