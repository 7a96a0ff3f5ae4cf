/*
 * worker/documents.c
 *	  The second session, in which documents are read while the first follows
 *	  the change stream; and at which time they are read.
 *
 * What is read is to be as MongoDB had it when the stream's position was, and
 * MongoDB 5.0 and later can do that for some minutes back.  Where it cannot, as
 * the stream is farther behind, or an older MongoDB, what a majority has now is
 * read, which is not older than the position.  Who writes it notes the time of
 * that reply: when the position has passed it, all is as if it had been read in
 * time, since every event in between has been applied once more.
 *
 * The session is opened when it is first needed, as most streams never do.  Streams
 * of a group have one together: each has read what it needs, or gives it up, before
 * the next one's turn.
 */
#include "mongo_change_stream.h"

#include "common/hashfn.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/* So long what the majority has is read without a try to read at a time. */
#define AT_TIMES_AGAIN_MS	1000

/* Collections of which is remembered how documents are found in them. */
#define MAX_KINDS			256

/* How long one wait for a reply is, between which the process looks around. */
#define WAIT_STEP_MS		1000

/* Where the session is, and what is known by it. */
static StreamDocuments *
holder_of(StreamWorker *worker)
{
	return worker->inbox ? &worker->inbox->reader->documents : &worker->documents;
}

/* The session, which is opened if there is none; in no transaction. */
static MongoSession *
session_of(StreamWorker *worker)
{
	StreamDocuments *documents = holder_of(worker);
	MongoTarget *target;
	MemoryContext caller = CurrentMemoryContext;

	if (documents->session)
		return documents->session;
	if (!documents->context)
		documents->context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream documents", ALLOCSET_DEFAULT_SIZES);
	mcs_process_begin(&worker->process);
	MemoryContextSwitchTo(documents->context);
	target = mcs_mongo_target(worker->stream->server, worker->stream->owner);
	documents->session = mcs_session_open(target, worker->inbox ? worker->inbox->reader->process.name : worker->process.name);
	mcs_process_commit(&worker->process);
	/* replies are held in the caller's context, and not in one that the next commit empties */
	MemoryContextSwitchTo(caller);
	return documents->session;
}

void
mcs_documents_close(StreamWorker *worker)
{
	StreamDocuments *documents = holder_of(worker);

	/* cursors of it forget it, and are the others' to free */
	if (documents->session)
		mcs_session_close(documents->session);
	documents->session = NULL;
	documents->kinds = NIL;
	if (documents->context)
		MemoryContextReset(documents->context);
}

/* Whether reading at a time is worth a try. */
static bool
may_read_at_times(const StreamDocuments *documents)
{
	return !documents->at_times_failed ||
		mcs_shared_time_has_come(documents->at_times_again, GetCurrentTimestamp());
}

MongoCursor *
mcs_documents_find(StreamWorker *worker, FindSpec *spec, uint64 time)
{
	bool		at_time = may_read_at_times(&worker->documents) && !worker->documents.now_next;

	worker->documents.now_next = false;
	spec->at_time = at_time ? time : 0;
	spec->after_time = at_time ? 0 : time;
	spec->comment = worker->process.name;
	return mcs_find_open(session_of(worker), spec);
}

/* A collection as a number, not 0. */
static uint32
collection_number(const FindSpec *spec)
{
	return (hash_bytes((const unsigned char *) spec->database, strlen(spec->database)) ^
		hash_bytes((const unsigned char *) spec->collection, strlen(spec->collection))) | 1;
}

/* The next reply of a find, however long that takes, unless something else is to be done first. */
ReadOutcome
mcs_documents_next(StreamWorker *worker, MongoCursor *cursor, const FindSpec *spec, MongoBatch *batch, MongoError *error)
{
	StreamDocuments *documents = &worker->documents;

	for (;;)
	{
		switch (mcs_cursor_next(cursor, WAIT_STEP_MS, batch, error))
		{
			case MONGO_CURSOR_BATCH:
				if (documents->refused != 0 && documents->refused == collection_number(spec))
					documents->refused = 0;
				if (spec->at_time == 0)
					return READ_REPLY;
				/* of a collection that was dropped or renamed since, MongoDB gives nothing, as if it had not been there then */
				if (batch->read_time == 0)
				{
					mcs_cursor_free_batch(batch);
					documents->now_next = true;
					return READ_AGAIN;
				}
				documents->at_times_failed = false;
				return READ_REPLY;
			case MONGO_CURSOR_TIMEOUT:
			case MONGO_CURSOR_LATCH:
				mcs_process_check_signals();
				if (mcs_worker_has_news())
					return READ_INTERRUPTED;
				break;
			case MONGO_CURSOR_FAILED:
				if (spec->at_time != 0 && mcs_find_cannot_read_at(error))
				{
					documents->now_next = true;
					/* that a collection is younger than the time says nothing of others */
					if (error->code != MONGO_CODE_SNAPSHOT_UNAVAILABLE)
					{
						documents->at_times_failed = true;
						documents->at_times_again = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), AT_TIMES_AGAIN_MS);
					}
					return READ_AGAIN;
				}
				documents->failed = collection_number(spec);
				return READ_FAILED;
		}
	}
}

bool
mcs_documents_read_at_times(const StreamWorker *worker)
{
	return !worker->documents.at_times_failed;
}

/*
 * Whether it is the user who is refused, and not what is asked for: a password
 * that is wrong by now, a role that was taken away.  MongoDB lets nobody follow
 * what he may not read, so the stream will be refused, too: it waits with all of
 * its mirrors, which go on where they were when that is mended.  Where it is not,
 * the same comes again before anything was read, and is about this collection.
 */
static bool
is_of_user(StreamWorker *worker, const MongoError *error)
{
	StreamDocuments *documents = &worker->documents;
	bool		again = documents->refused == documents->failed;

	documents->refused = documents->failed;
	return worker->mirror_count > 0 && (error->code != MONGO_CODE_UNAUTHORIZED || !again);
}

/*
 * What can pass is left to whoever deals with failures of the change stream,
 * which begins again then; false for what is about this collection, this role
 * or this question.
 */
bool
mcs_documents_failure_passes(StreamWorker *worker, const MongoError *error)
{
	switch (error->class)
	{
		case MONGO_ERROR_AUTHENTICATION:
			if (!is_of_user(worker, error))
				return false;
			/* fall through */
		case MONGO_ERROR_TRANSIENT:
		case MONGO_ERROR_NO_SNAPSHOT:	/* of a read as of now: no fault of the question's */
		case MONGO_ERROR_DRIVER_ENDED:
		case MONGO_ERROR_HANGING:
			mcs_documents_close(worker);
			worker->mongo.failure = *error;
			worker->mongo.failure.at_open = false;
			/* the stream is asked at once whether that is so */
			if (error->code == MONGO_CODE_UNAUTHORIZED)
				worker->mongo.failure.class = MONGO_ERROR_TRANSIENT;
			return true;
		default:
			return false;
	}
}

/* What is known of a collection, while the session lasts. */
typedef struct CollectionKind
{
	bool		clustered;
	char		name[FLEXIBLE_ARRAY_MEMBER];	/* database.collection */
} CollectionKind;

/* Notes it. */
static void
note_kind(StreamDocuments *documents, const char *name, bool clustered)
{
	MemoryContext old = MemoryContextSwitchTo(documents->context);
	CollectionKind *kind = palloc(offsetof(CollectionKind, name) + strlen(name) + 1);

	/* a deployment may have any number of them, and make new ones all the time */
	if (list_length(documents->kinds) >= MAX_KINDS)
	{
		list_free_deep(documents->kinds);
		documents->kinds = NIL;
	}
	kind->clustered = clustered;
	strcpy(kind->name, name);
	documents->kinds = lappend(documents->kinds, kind);
	MemoryContextSwitchTo(old);
}

bool
mcs_documents_go_singly(StreamWorker *worker, const char *database, const char *collection)
{
	MongoSession *session = session_of(worker);
	char	   *name = psprintf("%s.%s", database, collection);
	MongoError	error;
	ListCell   *cell;
	bool		clustered;

	foreach(cell, holder_of(worker)->kinds)
	{
		const CollectionKind *kind = lfirst(cell);

		if (strcmp(kind->name, name) == 0)
			return kind->clustered;
	}
	clustered = mcs_find_is_clustered(session, database, collection, &error);
	/* what passes may be known the next time; a collection that changes its kind costs time only */
	if (error.class != MONGO_ERROR_TRANSIENT)
		note_kind(holder_of(worker), name, clustered);
	return clustered;
}

int64
mcs_documents_estimate(StreamWorker *worker, const char *database, const char *collection)
{
	MongoError	error;

	/* a figure for people: whatever keeps it from coming shows soon enough elsewhere */
	return mcs_find_estimate(session_of(worker), database, collection, &error);
}
