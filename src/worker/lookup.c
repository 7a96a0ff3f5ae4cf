/*
 * worker/lookup.c
 *	  How far the next transaction goes, and the documents that its updates need.
 *
 * An update's event says what it changed, not what the document is then.  Who
 * needs that, as a mirror or a stream with full_document => 'updateLookup', gets
 * it here: all updates of a transaction together, each document once, by one
 * find for each collection, as MongoDB had them at the time of the
 * transaction's last event.  That is a sixth of what MongoDB's own lookup costs
 * it, which reads one document after the other; and the promise is the same: the
 * document as it was at some time behind the update, or nothing where it is gone.
 *
 * So before a transaction begins, as no network is waited for in one, it is
 * decided here which events it will take: as many as its bounds allow, up to the
 * end of a time.  What is found is held in memory, some 64 MB of it: where it is
 * more, the transaction takes fewer events.  Only where the updates of a single
 * MongoDB transaction have more documents than that, it is parted.
 */
#include "mongo_change_stream.h"

#include "common/hashfn.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* Bound of the documents that are held for one transaction. */
#define LOOKUP_BYTES		(64 * 1024 * 1024)

/* Bounds of one find: the command is a document of at most 16 MB itself. */
#define FIND_IDS			1000
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
	int			number;			/* of its collection, in the order of finds */
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
	return a->id.type == b->id.type && a->id.size == b->id.size && memcmp(a->id.data, b->id.data, a->id.size) == 0 &&
		same_text(&a->collection, &b->collection) && same_text(&a->database, &b->database);
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
	List	   *ids;			/* of LookupEntry's keys: DocumentValue * */
} LookupCollection;

struct LookupTable
{
	lookup_hash *hash;
	List	   *collections;	/* of LookupCollection * */
	Size		bytes;			/* of what was found */
};

/* ---- events ahead ---- */

/* What of an event says whether its document is to be looked up; of one in fragments, what the last of them leaves. */
typedef struct Glance
{
	EventText	operation;
	EventText	database;
	EventText	collection;
	DocumentValue id;
	bool		has_document;
	uint64		time;
} Glance;

static void
glance_text(const DocumentValue *value, EventText *text)
{
	const char *string;
	uint32		size;

	if (mcs_document_get_string(value, &string, &size))
	{
		text->data = string;
		text->length = size;
	}
}

/* Looks at an event, or at a fragment of one. */
static void
glance(Glance *seen, const DocumentValue *event)
{
	DocumentIterator it;
	DocumentValue found;
	TokenParts	token;

	if (event->type != DOCUMENT_OBJECT)
		return;
	mcs_document_iterate(&it, event->data, event->size);
	while (mcs_document_next(&it))
	{
		if (strcmp(it.key, "_id") == 0)
		{
			if (mcs_token_parts(&it.value, &token))
				seen->time = mcs_token_time(token.data);
		}
		else if (strcmp(it.key, "operationType") == 0)
			glance_text(&it.value, &seen->operation);
		else if (strcmp(it.key, "fullDocument") == 0)
			seen->has_document = it.value.type == DOCUMENT_OBJECT;
		else if (strcmp(it.key, "ns") == 0 && it.value.type == DOCUMENT_OBJECT)
		{
			if (mcs_document_find(it.value.data, it.value.size, "db", &found))
				glance_text(&found, &seen->database);
			if (mcs_document_find(it.value.data, it.value.size, "coll", &found))
				glance_text(&found, &seen->collection);
		}
		else if (strcmp(it.key, "documentKey") == 0 && it.value.type == DOCUMENT_OBJECT)
		{
			if (!mcs_document_find(it.value.data, it.value.size, "_id", &seen->id))
				seen->id.type = 0;
		}
	}
}

/* A walk over the events of the replies at hand, from where reading is. */
typedef struct Ahead
{
	const StreamWorker *worker;
	DocumentIterator it;
	int			next;			/* of the replies that were gathered */
	Glance		seen;
	bool		begun;			/* fragments of an event that is not whole yet have been seen */
	Size		size;			/* of the event that was seen last */
} Ahead;

static void
look_ahead(Ahead *ahead, const StreamWorker *worker)
{
	memset(ahead, 0, sizeof(*ahead));
	ahead->worker = worker;
	ahead->it = worker->read.events;
	ahead->begun = worker->read.fragments != NIL;
}

/* The next event that is whole; false where there is none. */
static bool
next_ahead(Ahead *ahead)
{
	for (;;)
	{
		EventFragment fragment;
		const MongoBatch *reply;

		if (mcs_document_next(&ahead->it))
		{
			if (!ahead->begun)
				memset(&ahead->seen, 0, sizeof(Glance));
			glance(&ahead->seen, &ahead->it.value);
			ahead->size += ahead->it.value.size;
			if (ahead->it.value.type != DOCUMENT_OBJECT)
				return false;
			fragment = mcs_event_fragment(ahead->it.value.data, ahead->it.value.size);
			ahead->begun = fragment.number < fragment.of;
			if (!ahead->begun)
				return true;
			continue;
		}
		if (ahead->next >= list_length(ahead->worker->read.replies))
			return false;
		reply = list_nth(ahead->worker->read.replies, ahead->next++);
		mcs_document_iterate(&ahead->it, reply->events, reply->events_size);
	}
}

/* ---- the plan ---- */

/* Whether MongoDB is asked for no image that shows the document as of the update. */
static bool
has_no_images(const Stream *stream)
{
	return strcmp(stream->full_document, "whenAvailable") != 0 && strcmp(stream->full_document, "required") != 0;
}

bool
mcs_lookup_is_ours(const StreamWorker *worker)
{
	return !worker->documents.refused && mcs_pipeline_may_look_up(worker->stream);
}

/* Whether the document of an event is needed, which is not in it. */
static bool
is_wanted(const StreamWorker *worker, const Glance *seen)
{
	StreamMirror *first;
	bool		update;

	if (!seen->operation.data || !seen->database.data || !seen->collection.data || seen->id.type == 0)
		return false;
	update = mcs_event_text_is(&seen->operation, "update");
	/* an image in an update is of its time only where MongoDB has kept it */
	if (seen->has_document && !(update && has_no_images(worker->stream)))
		return false;
	if (update && mcs_lookup_is_ours(worker) &&
		(!worker->stream->collection || mcs_event_text_is(&seen->collection, worker->stream->collection)))
		return true;
	/* an insert that came without its document was too large with it */
	return (update || mcs_event_text_is(&seen->operation, "insert") || mcs_event_text_is(&seen->operation, "replace")) &&
		mcs_mirrors_find(worker, &seen->database, &seen->collection, &first) > 0;
}

/* Puts a document down as wanted. */
static void
want(struct LookupTable *table, const Glance *seen)
{
	LookupKey	key = {seen->database, seen->collection, seen->id};
	LookupCollection *collection = NULL;
	ListCell   *cell;
	bool		found;
	LookupEntry *entry = lookup_insert(table->hash, key, &found);
	DocumentValue *id;

	if (found)
		return;
	memset(&entry->document, 0, sizeof(DocumentValue));
	foreach(cell, table->collections)
	{
		LookupCollection *other = lfirst(cell);

		if (same_text(&other->collection, &seen->collection) && same_text(&other->database, &seen->database))
			collection = other;
	}
	if (!collection)
	{
		collection = palloc0(sizeof(LookupCollection));
		collection->database = seen->database;
		collection->collection = seen->collection;
		table->collections = lappend(table->collections, collection);
	}
	/* not the entry, which moves when the table grows */
	id = palloc(sizeof(DocumentValue));
	*id = seen->id;
	collection->ids = lappend(collection->ids, id);
}

/* Where a plan ends, beside the bounds of every transaction. */
typedef struct PlanBounds
{
	int			events;			/* at most so many, if they end at a time */
	bool		parts_times;	/* or do not */
} PlanBounds;

/* Whether the transaction ends before an event of a time; bytes: of those before it. */
static bool
ends_before(const StreamWorker *worker, uint64 time, Size bytes, const PlanBounds *bounds)
{
	const StreamPlan *plan = &worker->plan;

	if (worker->read.held_time != 0 && time >= worker->read.held_time)
		return true;
	if (plan->events == 0)
		return false;
	/* an event that processes have died of goes alone */
	if ((worker->crash.singly > 0 && worker->crash.single_time == plan->time) ||
		(bounds->parts_times && plan->events >= bounds->events))
		return true;
	if (time == plan->time)
		return false;
	return worker->crash.singly > 0 || worker->write.careful || plan->time <= plan->one_time_until ||
		plan->events >= Min(bounds->events, BATCH_EVENTS) || bytes >= BATCH_BYTES;
}

/* Decides what the transaction takes, and notes what it wants. */
static void
make_plan(StreamWorker *worker, const PlanBounds *bounds)
{
	StreamPlan *plan = &worker->plan;
	struct LookupTable *table;
	Ahead		ahead;
	Size		bytes = 0;
	MemoryContext old;

	mcs_lookup_forget(worker);
	old = MemoryContextSwitchTo(plan->context);
	table = palloc0(sizeof(struct LookupTable));
	table->hash = lookup_create(plan->context, 256, NULL);
	look_ahead(&ahead, worker);
	while (next_ahead(&ahead))
	{
		/* one without a token is refused when it is taken */
		uint64		time = ahead.seen.time ? ahead.seen.time : plan->time;

		if (ends_before(worker, time, bytes, bounds))
			break;
		plan->events++;
		plan->time = time;
		bytes = ahead.size;
		if (is_wanted(worker, &ahead.seen))
			want(table, &ahead.seen);
	}
	plan->documents = table;
	MemoryContextSwitchTo(old);
}

/* ---- finding ---- */

/* {_id: {$in: […]}} of some of a collection's documents, from *next on, which is moved. */
static Document *
ids_filter(const List *ids, int *next)
{
	DocumentBuilder filter;
	Size		bytes = 0;

	mcs_document_build(&filter);
	mcs_document_begin_object(&filter, NULL);
	mcs_document_begin_object(&filter, "_id");
	mcs_document_begin_array(&filter, "$in");
	for (int n = 0; *next < list_length(ids) && n < FIND_IDS && bytes < FIND_IDS_BYTES; n++)
	{
		const DocumentValue *id = list_nth(ids, (*next)++);

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
		table->bytes += it.value.size;
	}
	if (it.malformed)
		mcs_document_malformed();
}

/* Whether fewer events are to be taken, as their documents are too many to hold. */
static bool
is_too_much(const StreamPlan *plan)
{
	return plan->documents->bytes > LOOKUP_BYTES && plan->events > 1;
}

/* One find, repeated where it could not be as of the time; its replies stay. */
static ReadOutcome
find_some(StreamWorker *worker, const LookupCollection *collection, const Document *filter, MongoError *error)
{
	StreamPlan *plan = &worker->plan;
	FindSpec	spec = {0};
	ReadOutcome outcome;

	spec.database = pnstrdup(collection->database.data, collection->database.length);
	spec.collection = pnstrdup(collection->collection.data, collection->collection.length);
	spec.filter = filter;
	spec.queue_bytes = LOOKUP_QUEUE_BYTES;
	do
	{
		MongoCursor *cursor = mcs_documents_find(worker, &spec, plan->time);
		MongoBatch	batch;

		while ((outcome = mcs_documents_next(worker, cursor, &spec, &batch, error)) == READ_REPLY)
		{
			keep_found(plan->documents, collection, &batch);
			if (spec.at_time == 0)
				plan->inexact_until = Max(plan->inexact_until, batch.operation_time);
			if (batch.closed || is_too_much(plan))
				break;
		}
		mcs_cursor_close(cursor);
	} while (outcome == READ_AGAIN);
	return outcome;
}

/* Finds all that the plan wants, or until that is too much. */
static ReadOutcome
find_all(StreamWorker *worker, MongoError *error, const LookupCollection **failed)
{
	StreamPlan *plan = &worker->plan;
	ListCell   *cell;

	foreach(cell, plan->documents->collections)
	{
		const LookupCollection *collection = lfirst(cell);
		int			next = 0;

		while (next < list_length(collection->ids))
		{
			ReadOutcome outcome = find_some(worker, collection, ids_filter(collection->ids, &next), error);

			*failed = collection;
			if (outcome != READ_REPLY)
				return outcome;
			if (is_too_much(plan))
				return READ_REPLY;
		}
	}
	return READ_REPLY;
}

/* The role may not find, or the collection can't be read so: events are looked up by MongoDB, and mirrors stop. */
static bool
handle_refusal(StreamWorker *worker, const LookupCollection *collection, const MongoError *error)
{
	StreamMirror *mirror;
	int			count = mcs_mirrors_find(worker, &collection->database, &collection->collection, &mirror);

	if (mcs_lookup_is_ours(worker))
	{
		worker->documents.refused = true;
		ereport(LOG,
				(errmsg("change stream \"%s\" leaves the lookup of documents to MongoDB, which costs it more", worker->process.name),
				 errdetail("Its role may not read them: %s", error->message)));
	}
	for (int i = 0; i < count; i++)
		mcs_mirrors_refused(worker, &mirror[i], error);
	worker->process.reload = true;
	return false;
}

void
mcs_lookup_forget(StreamWorker *worker)
{
	StreamPlan *plan = &worker->plan;

	plan->events = 0;
	plan->time = 0;
	plan->inexact_until = 0;
	plan->documents = NULL;
	if (plan->context)
		MemoryContextReset(plan->context);
}

bool
mcs_lookup_prepare(StreamWorker *worker)
{
	StreamPlan *plan = &worker->plan;
	PlanBounds	bounds = {INT_MAX, false};
	const LookupCollection *failed = NULL;
	MongoError	error;
	MemoryContext old;
	ReadOutcome outcome;

	if (!mcs_lookup_is_ours(worker) && worker->mirror_count == 0)
		return true;
	if (!plan->context)
		plan->context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream lookups", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		make_plan(worker, &bounds);
		old = MemoryContextSwitchTo(plan->context);
		outcome = find_all(worker, &error, &failed);
		MemoryContextSwitchTo(old);
		if (outcome != READ_REPLY || !is_too_much(plan))
			break;
		/* half of it, then; where that was all of one time already, a part of that */
		bounds.parts_times |= plan->events > bounds.events;
		bounds.events = plan->events / 2;
	}
	if (outcome == READ_REPLY)
		return true;
	if (outcome == READ_FAILED && !mcs_documents_failure_passes(worker, &error))
		return handle_refusal(worker, failed, &error);
	return false;
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

bool
mcs_lookup_wants(const StreamWorker *worker, const ChangeEvent *event)
{
	return entry_of(worker, event) != NULL;
}

bool
mcs_lookup_get(const StreamWorker *worker, const ChangeEvent *event, DocumentValue *document)
{
	const LookupEntry *entry = entry_of(worker, event);

	if (!entry || entry->document.type == 0)
		return false;
	*document = entry->document;
	return true;
}
