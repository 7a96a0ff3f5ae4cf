/*
 * worker/plan.c
 *	  How far a transaction goes whose events need documents that are looked up.
 *
 * No network is waited for in a transaction.  So before it begins it is decided
 * which of the events at hand it takes: as many as its bounds allow, up to the end
 * of a time.  What they want is looked up as of that time (lookups.c).  And where
 * more events are at hand already, those of the transaction behind it are planned,
 * too, and their lookups begun, before the first one is written.
 *
 * What is found is held in memory, some 64 MB of it: where it is more, the
 * transaction takes fewer events.  Only where the updates of a single MongoDB
 * transaction have more documents than that, it is parted.
 *
 * A plan is about events that lie behind one another from where reading is.  It
 * names documents by bytes of replies, which therefore stay until its events are
 * written.
 */
#include "mongo_change_stream.h"

#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* Bound of the documents that are held for one transaction; and what a large one is to have of them. */
#define LOOKUP_BYTES		(64 * 1024 * 1024)
#define LOOKUP_BYTES_USUAL	(8 * 1024 * 1024)

/* ---- events ahead ---- */

/* What of an event says whether its document is to be looked up; of one in fragments, what the last of them leaves. */
typedef struct Glance
{
	EventText	operation;
	EventText	database;
	EventText	collection;
	DocumentValue id;
	bool		has_document;
	bool		is_fragment;
	uint64		time;
} Glance;

/* Whether an element has a key, by its length first, as this runs for each field of each event. */
#define key_is(it, literal) \
	((it)->key_size == sizeof(literal) - 1 && memcmp((it)->key, literal, sizeof(literal) - 1) == 0)

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
		if (key_is(&it, "_id"))
		{
			if (mcs_token_parts(&it.value, &token))
				seen->time = mcs_token_time(token.data);
		}
		else if (key_is(&it, "operationType"))
			mcs_event_borrow_text(&it.value, &seen->operation);
		else if (key_is(&it, "fullDocument"))
			seen->has_document = it.value.type == DOCUMENT_OBJECT;
		else if (key_is(&it, "splitEvent"))
			seen->is_fragment = true;
		else if (key_is(&it, "ns") && it.value.type == DOCUMENT_OBJECT)
		{
			if (mcs_document_find(it.value.data, it.value.size, "db", &found))
				mcs_event_borrow_text(&found, &seen->database);
			if (mcs_document_find(it.value.data, it.value.size, "coll", &found))
				mcs_event_borrow_text(&found, &seen->collection);
		}
		else if (key_is(&it, "documentKey") && it.value.type == DOCUMENT_OBJECT)
		{
			if (!mcs_document_find(it.value.data, it.value.size, "_id", &seen->id))
				seen->id.type = 0;
		}
	}
}

/* A walk over the events of the replies at hand. */
typedef struct Ahead
{
	const StreamWorker *worker;
	DocumentIterator it;
	const uint8 *reply;			/* in which that is, by its events */
	int			next;			/* of the replies that were gathered */
	Glance		seen;
	bool		begun;			/* fragments of an event that is not whole yet have been seen */
	Size		size;			/* of the event that was seen last */
} Ahead;

/* Begins one where reading is, or where a plan ends that begins there. */
static void
look_ahead(Ahead *ahead, const StreamWorker *worker, const StreamPlan *behind)
{
	ListCell   *cell;

	memset(ahead, 0, sizeof(*ahead));
	ahead->worker = worker;
	if (behind)
	{
		ahead->it = behind->end;
		ahead->reply = behind->end_reply;
		foreach(cell, worker->read.replies)
			if (((const MongoBatch *) lfirst(cell))->events == behind->end_reply)
				ahead->next = foreach_current_index(cell) + 1;
		return;
	}
	ahead->it = worker->read.events;
	ahead->reply = worker->read.batch.events;
	ahead->begun = worker->read.fragments != NIL;
	foreach(cell, worker->read.fragments)
		glance(&ahead->seen, lfirst(cell));
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
			ahead->begun = false;
			if (ahead->seen.is_fragment)
			{
				fragment = mcs_event_fragment(ahead->it.value.data, ahead->it.value.size);
				ahead->begun = fragment.number < fragment.of;
			}
			if (!ahead->begun)
				return true;
			continue;
		}
		if (ahead->next >= list_length(ahead->worker->read.replies))
			return false;
		reply = list_nth(ahead->worker->read.replies, ahead->next++);
		mcs_document_iterate(&ahead->it, reply->events, reply->events_size);
		ahead->reply = reply->events;
	}
}

/* ---- what is wanted ---- */

/* Whether MongoDB is asked for no image that shows the document as of the update. */
static bool
has_no_images(const Stream *stream)
{
	return strcmp(stream->full_document, "whenAvailable") != 0 && strcmp(stream->full_document, "required") != 0;
}

bool
mcs_worker_plan_looks_up(const StreamWorker *worker)
{
	return worker->documents.looks_up && !worker->documents.leaves_lookups;
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
	if (update && mcs_worker_plan_looks_up(worker) &&
		(!worker->stream->collection || mcs_event_text_is(&seen->collection, worker->stream->collection)))
		return true;
	/* an insert that came without its document was too large with it */
	return (update || mcs_event_text_is(&seen->operation, "insert") || mcs_event_text_is(&seen->operation, "replace")) &&
		mcs_mirroring_find(worker, &seen->database, &seen->collection, &first) > 0;
}

/* ---- plans ---- */

/* Where a plan ends, beside the bounds of every transaction. */
typedef struct PlanBounds
{
	int			events;			/* at most so many, if they end at a time */
	bool		parts_times;	/* or do not */
	uint64		before;			/* of times that are complete; 0: all are */
} PlanBounds;

/* Whether the transaction ends before an event of a time; bytes: of those before it. */
static bool
ends_before(const StreamWorker *worker, const StreamPlan *plan, uint64 time, Size bytes, const PlanBounds *bounds)
{
	if ((worker->read.held_time != 0 && time >= worker->read.held_time) ||
		(bounds->before != 0 && time >= bounds->before))
		return true;
	if (plan->events == 0)
		return false;
	/* an event that processes have died of goes alone */
	if ((worker->crash.singly > 0 && worker->crash.single_time == plan->time) ||
		(bounds->parts_times && plan->events >= bounds->events))
		return true;
	if (time == plan->time)
		return false;
	if (worker->crash.singly > 0 || worker->write.careful || plan->time <= worker->one_time_until ||
		plan->events >= Min(bounds->events, mcs_gather_most_events(worker)) || bytes >= BATCH_BYTES)
		return true;
	/* more than the usual number are for small documents, which cost less in large finds; larger ones gain nothing */
	return plan->events >= BATCH_EVENTS && mcs_lookups_expected_bytes(plan->documents, worker->documents.usual_size) >= LOOKUP_BYTES_USUAL;
}

static void
forget(StreamPlan *plan)
{
	plan->events = 0;
	plan->time = 0;
	plan->parts_time = false;
	plan->documents = NULL;
	/* the cursor, too, if one is open */
	if (plan->context)
		MemoryContextReset(plan->context);
	else
		plan->context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream plan", ALLOCSET_DEFAULT_SIZES);
}

/* Copies what a glance has found to where a plan's lookups are. */
static void
keep_glance(Glance *seen, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	seen->database.data = pnstrdup(seen->database.data, seen->database.length);
	seen->collection.data = pnstrdup(seen->collection.data, seen->collection.length);
	seen->id.data = memcpy(palloc(Max(seen->id.size, 1)), seen->id.data, seen->id.size);
	MemoryContextSwitchTo(old);
}

/* Decides what a transaction takes, the next one or that behind a plan, and notes what that wants. */
static void
make_plan(StreamWorker *worker, StreamPlan *plan, const StreamPlan *behind, const PlanBounds *bounds)
{
	Ahead		ahead;
	Size		before = 0;

	forget(plan);
	plan->documents = mcs_lookups_begin(plan->context);
	look_ahead(&ahead, worker, behind);
	plan->parts_time = mcs_gather_is_open(worker);
	while (next_ahead(&ahead))
	{
		/* one without a token is refused when it is taken */
		uint64		time = ahead.seen.time ? ahead.seen.time : plan->time;

		if (ends_before(worker, plan, time, before, bounds))
		{
			plan->parts_time = time == plan->time;
			break;
		}
		plan->events++;
		plan->time = time;
		plan->end = ahead.it;
		plan->end_reply = ahead.reply;
		before = ahead.size;
		if (!is_wanted(worker, &ahead.seen))
			continue;
		/* the parts of an event go, each with its reply, when the event is whole */
		if (ahead.seen.is_fragment)
			keep_glance(&ahead.seen, plan->context);
		mcs_lookups_want(plan->documents, &ahead.seen.database, &ahead.seen.collection, &ahead.seen.id);
	}
	mcs_lookups_start(worker, plan->documents, plan->time);
}

/* Whether fewer events are to be taken, as their documents are too many to hold. */
static bool
is_too_much(const StreamPlan *plan)
{
	return plan->events > 1 && mcs_lookups_bytes(plan->documents) > LOOKUP_BYTES;
}

/*
 * The role may not find, or the collection can't be read so: events are looked up
 * by MongoDB, and mirrors stop.
 */
static void
handle_refusal(StreamWorker *worker, const MongoError *error)
{
	EventText	database;
	EventText	collection;
	StreamMirror *mirror;
	int			count;

	mcs_lookups_failed(worker->plan.documents, &database, &collection);
	count = mcs_mirroring_find(worker, &database, &collection, &mirror);
	if (mcs_worker_plan_looks_up(worker))
	{
		worker->documents.leaves_lookups = true;
		ereport(LOG,
				(errmsg("change stream \"%s\" leaves the lookup of documents to MongoDB, which costs it more", worker->process.name),
				 errdetail("Its role may not read them: %s", error->message)));
	}
	for (int i = 0; i < count; i++)
		mcs_mirroring_refused(worker, &mirror[i], error);
	worker->process.reload = true;
}

/* Plans the transaction behind the one that is ready, and begins its lookups. */
static void
plan_ahead(StreamWorker *worker)
{
	PlanBounds	bounds = {.events = INT_MAX};

	/* the next transaction may be another one where something is wrong with this */
	if (worker->crash.singly > 0 || worker->write.careful || worker->plan.time <= worker->one_time_until ||
		worker->mongo.too_large != TOO_LARGE_NO || worker->read.held_time != 0)
		return;
	if (!mcs_gather_ahead(worker, &bounds.before))
		return;
	make_plan(worker, &worker->next_plan, worker->plan.events > 0 ? &worker->plan : NULL, &bounds);
}

bool
mcs_worker_plan_prepare(StreamWorker *worker)
{
	PlanBounds	bounds = {.events = INT_MAX};
	StreamPlan *plan = &worker->plan;
	MongoError	error;
	ReadOutcome outcome;

	if (!mcs_worker_plan_looks_up(worker) && worker->mirror_count == 0)
		return true;
	/* or it was made while the last one was written */
	if (plan->events == 0)
		make_plan(worker, plan, NULL, &bounds);
	for (;;)
	{
		outcome = mcs_lookups_finish(worker, plan->documents, plan->events > 1 ? LOOKUP_BYTES : SIZE_MAX, &error);
		if (outcome != READ_REPLY || !is_too_much(plan))
			break;
		/* half of it, then; where that was all of one time already, a part of that */
		bounds.parts_times |= plan->events > bounds.events;
		bounds.events = plan->events / 2;
		make_plan(worker, plan, NULL, &bounds);
	}
	if (outcome == READ_REPLY)
	{
		mcs_lookups_note_size(plan->documents, &worker->documents.usual_size);
		plan_ahead(worker);
		return true;
	}
	if (outcome == READ_FAILED && !mcs_documents_failure_passes(worker, &error))
		handle_refusal(worker, &error);
	return false;
}

void
mcs_worker_plan_done(StreamWorker *worker, int taken)
{
	StreamPlan	next = worker->next_plan;
	bool		as_planned = worker->plan.events == taken && next.events > 0;

	if (worker->plan.events == 0)
		return;
	forget(&worker->plan);
	if (as_planned)
	{
		worker->next_plan = worker->plan;
		worker->plan = next;
	}
	else
		forget(&worker->next_plan);
}

void
mcs_worker_plan_forget(StreamWorker *worker)
{
	if (worker->plan.context)
		forget(&worker->plan);
	if (worker->next_plan.context)
		forget(&worker->next_plan);
}
