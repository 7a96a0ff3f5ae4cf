/*
 * worker/lookups.c
 *	  Documents that events are about and do not hold, looked up for a whole
 *	  transaction at once.
 *
 * An update's event says what it changed, not what the document is then.  Who
 * needs that, as a mirror or a stream with full_document => 'updateLookup', gets
 * it here: each document once, by one find for some thousand of a collection, as
 * MongoDB had them at the time of the transaction's last event.  That is a sixth of
 * what MongoDB's own lookup costs it, which reads one document after the other; and
 * the promise is the same: the document as it was at some time behind the update,
 * or nothing where it is gone.  Its _ids are sorted, as MongoDB would sort them
 * itself; the more there are, the more of them are neighbours in its index.
 *
 * The finds are begun before their replies are waited for, so that MongoDB looks
 * for the documents of the next transaction while the last one is written.
 */
#include "mongo_change_stream.h"

#include "common/hashfn.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* Bounds of one find: the command is a document of at most 16 MB itself. */
#define FIND_IDS			BATCH_EVENTS_MOST
#define FIND_IDS_BYTES		(4 * 1024 * 1024)

#define LOOKUP_QUEUE_BYTES	(8 * 1024 * 1024)

/* ---- what is looked up: by collection and _id, compared by their bytes ---- */

typedef struct LookupKey
{
	EventText	database;
	EventText	collection;
	DocumentValue id;
} LookupKey;

typedef struct LookupEntry
{
	LookupKey	key;
	char		status;			/* simplehash's */
	uint32		hash;
	DocumentValue document;		/* type 0: MongoDB has none */
} LookupEntry;

static inline bool
same_text(const EventText *a, const EventText *b)
{
	return a->length == b->length && memcmp(a->data, b->data, a->length) == 0;
}

static inline uint32
hash_key(const LookupKey *key)
{
	return hash_bytes(key->id.data, key->id.size) ^ hash_bytes((const unsigned char *) key->collection.data, key->collection.length);
}

static inline bool
same_key(const LookupKey *a, const LookupKey *b)
{
	return mcs_document_is_same(&a->id, &b->id) && same_text(&a->collection, &b->collection) && same_text(&a->database, &b->database);
}

#define SH_PREFIX lookup
#define SH_ELEMENT_TYPE LookupEntry
#define SH_KEY_TYPE LookupKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_key(&(key))
#define SH_EQUAL(table, a, b) same_key(&(a), &(b))
#define SH_STORE_HASH
#define SH_GET_HASH(table, element) (element)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* One collection of which documents are wanted. */
typedef struct LookupCollection
{
	EventText	database;
	EventText	collection;
	DocumentValue *ids;
	int			id_count;
	int			id_room;
	bool		sorted;
} LookupCollection;

struct LookupTable
{
	MemoryContext context;		/* of all of it, and of the replies */
	lookup_hash *hash;
	List	   *collections;	/* of LookupCollection * */
	LookupCollection *last;		/* of them, that something was put down for */
	int			wanted;			/* documents of all of them */
	int			found;
	Size		bytes;			/* of what was found */
	uint64		time;			/* as of when it is read, if it can be */
	uint64		inexact_until;	/* the newest time that was read otherwise */

	/* the find at work */
	FindSpec	spec;
	MongoCursor *cursor;		/* NULL: none */
	int			collection;		/* of which it is */
	int			first_id;		/* that it asks for */
	int			next_id;		/* behind those */
};

struct LookupTable *
mcs_lookups_begin(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	struct LookupTable *table = palloc0(sizeof(struct LookupTable));

	table->context = context;
	table->hash = lookup_create(context, 256, NULL);
	MemoryContextSwitchTo(old);
	return table;
}

static inline bool
is_of(const LookupCollection *collection, const EventText *database, const EventText *name)
{
	return same_text(&collection->collection, name) && same_text(&collection->database, database);
}

/* The collection of that name, made if there is none. */
static LookupCollection *
collection_of(struct LookupTable *table, const EventText *database, const EventText *name)
{
	LookupCollection *collection;
	ListCell   *cell;

	foreach(cell, table->collections)
		if (is_of(lfirst(cell), database, name))
			return lfirst(cell);
	collection = palloc0(sizeof(LookupCollection));
	collection->database = *database;
	collection->collection = *name;
	table->collections = lappend(table->collections, collection);
	return collection;
}

/* Puts a document down as wanted; what names it must stay where it is. */
void
mcs_lookups_want(struct LookupTable *table, const EventText *database, const EventText *collection_name, const DocumentValue *id)
{
	LookupKey	key = {*database, *collection_name, *id};
	LookupCollection *collection = table->last;
	bool		found;
	LookupEntry *entry = lookup_insert(table->hash, key, &found);
	MemoryContext old;

	if (found)
		return;
	old = MemoryContextSwitchTo(table->context);
	memset(&entry->document, 0, sizeof(DocumentValue));
	if (!collection || !is_of(collection, database, collection_name))
		table->last = collection = collection_of(table, database, collection_name);
	if (collection->id_count == collection->id_room)
	{
		collection->id_room = Max(collection->id_room * 2, 16);
		collection->ids = collection->ids ? repalloc_huge(collection->ids, sizeof(DocumentValue) * collection->id_room)
			: palloc(sizeof(DocumentValue) * collection->id_room);
	}
	/* not the entry, which moves when the table grows */
	collection->ids[collection->id_count++] = *id;
	table->wanted++;
	MemoryContextSwitchTo(old);
}

/* ---- finding ---- */

static int
compare_ids(const void *a, const void *b)
{
	return mcs_document_compare(a, b);
}

/* {_id: {$in: […]}} of some of a collection's documents, from *next on, which is moved; of so many at most. */
static Document *
ids_filter(LookupCollection *collection, int *next, int most)
{
	DocumentBuilder filter;
	Size		bytes = 0;

	if (!collection->sorted)
		qsort(collection->ids, collection->id_count, sizeof(DocumentValue), compare_ids);
	collection->sorted = true;
	mcs_document_build(&filter);
	mcs_document_begin_object(&filter, NULL);
	mcs_document_begin_object(&filter, "_id");
	mcs_document_begin_array(&filter, "$in");
	for (int n = 0; *next < collection->id_count && n < most && bytes < FIND_IDS_BYTES; n++)
	{
		const DocumentValue *id = &collection->ids[(*next)++];

		mcs_document_append_value(&filter, NULL, id);
		bytes += id->size;
	}
	mcs_document_end(&filter);
	mcs_document_end(&filter);
	mcs_document_end(&filter);
	return mcs_document_finish(&filter);
}

/* Puts the documents of a reply where they are wanted. */
static void
keep_found(struct LookupTable *table, const LookupCollection *collection, const MongoBatch *batch)
{
	DocumentIterator it;

	mcs_document_iterate(&it, batch->events, batch->events_size);
	while (mcs_document_next(&it))
	{
		LookupKey	key = {.database = collection->database,.collection = collection->collection};
		LookupEntry *entry;

		if (it.value.type != DOCUMENT_OBJECT || !mcs_document_find(it.value.data, it.value.size, "_id", &key.id))
			mcs_document_malformed();
		entry = lookup_lookup(table->hash, key);
		/* where a collation makes other strings equal, MongoDB sends what was not asked for */
		if (entry)
			entry->document = it.value;
		table->found++;
		table->bytes += it.value.size;
	}
	if (it.malformed)
		mcs_document_malformed();
}

/* Opens the next find, if there is one. */
static bool
next_find(StreamWorker *worker, struct LookupTable *table)
{
	FindSpec   *spec = &table->spec;
	LookupCollection *collection;
	bool		singly;

	if (table->collection >= list_length(table->collections))
		return false;
	collection = list_nth(table->collections, table->collection);
	table->first_id = table->next_id;
	memset(spec, 0, sizeof(*spec));
	spec->database = pnstrdup(collection->database.data, collection->database.length);
	spec->collection = pnstrdup(collection->collection.data, collection->collection.length);
	/* a single document is found at once in any collection */
	singly = collection->id_count > 1 && mcs_documents_go_singly(worker, spec->database, spec->collection);
	spec->filter = ids_filter(collection, &table->next_id, singly ? 1 : FIND_IDS);
	spec->queue_bytes = LOOKUP_QUEUE_BYTES;
	table->cursor = mcs_documents_find(worker, spec, table->time);
	return true;
}

/* The find at work is at its end: goes to the documents that are asked for next. */
static void
end_find(struct LookupTable *table)
{
	LookupCollection *collection = list_nth(table->collections, table->collection);

	mcs_cursor_close(table->cursor);
	table->cursor = NULL;
	if (table->next_id < collection->id_count)
		return;
	table->collection++;
	table->next_id = 0;
}

void
mcs_lookups_start(StreamWorker *worker, struct LookupTable *table, uint64 time)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);

	table->time = time;
	(void) next_find(worker, table);
	MemoryContextSwitchTo(old);
}

/* Reads until all that is wanted was looked for, or more was found than is to be held. */
ReadOutcome
mcs_lookups_finish(StreamWorker *worker, struct LookupTable *table, Size most, MongoError *error)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);
	ReadOutcome outcome = READ_REPLY;

	while (outcome == READ_REPLY && table->bytes <= most && (table->cursor || next_find(worker, table)))
	{
		MongoBatch	batch;

		outcome = mcs_documents_next(worker, table->cursor, &table->spec, &batch, error);
		if (outcome == READ_AGAIN)
		{
			/* the same once more, as MongoDB has it now */
			mcs_cursor_close(table->cursor);
			table->cursor = NULL;
			table->next_id = table->first_id;
			outcome = READ_REPLY;
		}
		else if (outcome == READ_REPLY)
		{
			keep_found(table, list_nth(table->collections, table->collection), &batch);
			if (table->spec.at_time == 0)
				table->inexact_until = Max(table->inexact_until, batch.operation_time);
			if (batch.closed)
				end_find(table);
		}
	}
	MemoryContextSwitchTo(old);
	return outcome;
}

Size
mcs_lookups_bytes(const struct LookupTable *table)
{
	return table->bytes;
}

/* What is wanted will take, where a document has some usual size. */
Size
mcs_lookups_expected_bytes(const struct LookupTable *table, Size usual_size)
{
	return table->wanted * usual_size;
}

/* Notes how large documents are, where some were found. */
void
mcs_lookups_note_size(const struct LookupTable *table, Size *usual_size)
{
	if (table->found > 0)
		*usual_size = table->bytes / table->found;
}

uint64
mcs_lookups_inexact_until(const struct LookupTable *table)
{
	return table->inexact_until;
}

/* The collection at work, which MongoDB did not let be read. */
void
mcs_lookups_failed(const struct LookupTable *table, EventText *database, EventText *collection)
{
	const LookupCollection *failed = list_nth(table->collections, table->collection);

	*database = failed->database;
	*collection = failed->collection;
}

/* What was noted of an event's document; NULL: nothing. */
static const LookupEntry *
entry_of(const StreamWorker *worker, const ChangeEvent *event)
{
	LookupKey	key = {.database = event->database,.collection = event->collection};

	if (!worker->plan.documents || event->document_key.type != DOCUMENT_OBJECT ||
		!event->database.data || !event->collection.data ||
		!mcs_document_find(event->document_key.data, event->document_key.size, "_id", &key.id))
		return NULL;
	return lookup_lookup(worker->plan.documents->hash, key);
}

LookupAnswer
mcs_lookups_get(const StreamWorker *worker, const ChangeEvent *event, DocumentValue *document)
{
	const LookupEntry *entry = entry_of(worker, event);

	if (!entry)
		return LOOKUP_NOT_ASKED;
	if (entry->document.type == 0)
		return LOOKUP_GONE;
	*document = entry->document;
	return LOOKUP_FOUND;
}
