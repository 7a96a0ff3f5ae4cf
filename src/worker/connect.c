/*
 * worker/connect.c
 *	  The worker's way to MongoDB: its session, and the change stream that it
 *	  opens in it at the stored position.
 *
 * A session is kept when only the change stream has to be opened again.  Both
 * live in session_context, with the replies: closing the session frees all.
 */
#include "mongo_change_stream.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "shared/shared.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* ---- sessions ---- */

void
mcs_worker_open_session(StreamWorker *worker)
{
	MongoTarget *target;
	MemoryContext old;

	if (worker->mongo.session)
		return;
	/* server and user mapping are in catalogs; the session itself connects only when it is used */
	mcs_process_begin(&worker->process);
	old = MemoryContextSwitchTo(worker->mongo.session_context);
	target = mcs_mongo_target(worker->stream->server, worker->stream->owner);
	worker->mongo.session = mcs_session_open(target, worker->process.name);
	MemoryContextSwitchTo(old);
	mcs_process_commit(&worker->process);
}

void
mcs_worker_close_session(StreamWorker *worker)
{
	/* what it has open goes before it */
	if (worker->mongo.cursor)
		mcs_worker_close_stream(worker);
	if (worker->mongo.session)
		mcs_session_close(worker->mongo.session);
	worker->mongo.session = NULL;
	mcs_documents_close(worker);
	/* the next one may lead elsewhere */
	worker->history.verified = false;
	MemoryContextReset(worker->mongo.session_context);
}

/* ---- change streams ---- */

/* What this opening asks for beside the stream's definition, to read an event that is too large. */
static void
narrow_spec(StreamWorker *worker, ChangeStreamSpec *spec)
{
	static const char *const small_fields[] = {"operationType", "clusterTime", "wallTime", "ns", "to", "documentKey",
	"collectionUUID", "txnNumber", "lsid"};
	DocumentBuilder stages;
	Document   *array;
	DocumentIterator it;

	/* alone: with another in one reply it could still be more than the server can send */
	spec->batch_size = 1;
	if (worker->mongo.too_large == TOO_LARGE_ALONE)
		return;
	mcs_document_build(&stages);
	mcs_document_begin_array(&stages, NULL);
	/* the stream's own stages first, which see the whole event */
	if (spec->stages)
	{
		mcs_document_iterate(&it, spec->stages, spec->stages_size);
		while (mcs_document_next(&it))
			mcs_document_append_value(&stages, NULL, &it.value);
	}
	mcs_document_begin_object(&stages, NULL);
	if (worker->mongo.too_large == TOO_LARGE_NO_IMAGES)
	{
		mcs_document_begin_array(&stages, "$unset");
		mcs_document_append_string(&stages, NULL, "fullDocument");
		mcs_document_append_string(&stages, NULL, "fullDocumentBeforeChange");
		mcs_document_end(&stages);
	}
	else
	{
		mcs_document_begin_object(&stages, "$project");
		for (int i = 0; i < lengthof(small_fields); i++)
			mcs_document_append_int32(&stages, small_fields[i], 1);
		mcs_document_end(&stages);
	}
	mcs_document_end(&stages);
	mcs_document_end(&stages);
	array = mcs_document_finish(&stages);
	spec->stages = DOCUMENT_VALUE(array);
	spec->stages_size = DOCUMENT_VALUE_SIZE(array);
}

/* Its reply comes later: see StreamReading. */
void
mcs_worker_open_stream(StreamWorker *worker)
{
	Stream	   *stream = worker->stream;
	ChangeStreamSpec spec;
	MemoryContext old = MemoryContextSwitchTo(worker->process.batch_context);

	memset(&spec, 0, sizeof(spec));
	mcs_stream_spec(stream, mcs_worker_watches_collection(worker), &spec);
	if (mcs_worker_plan_looks_up(worker))
		spec.full_document = NULL;
	/* of no other stream anywhere, as cursors that have it and that nobody reads are ended */
	spec.comment = psprintf("mongo_change_stream: %s (" UINT64_FORMAT "/%u)", stream->name, GetSystemIdentifier(), MyDatabaseId);
	spec.sole = true;
	spec.queue_bytes = MONGO_QUEUE_BYTES;
	spec.start = CHANGE_STREAM_NOW;
	if (stream->resume_token)
	{
		spec.start = worker->mongo.from_time ? CHANGE_STREAM_AT_TIME : CHANGE_STREAM_START_AFTER;
		spec.token = stream->resume_token;
		spec.time = mcs_token_time(stream->resume_token);
	}

	/* without images an event is too large only by a freak, such as a huge _id: it is split when it comes */
	spec.whole_events = worker->mongo.too_large == TOO_LARGE_NO &&
		spec.full_document == NULL && spec.full_document_before_change == NULL;
	/* tokens of split streams are of another version, and only those of one version can be compared */
	if (worker->mongo.from_time)
		spec.whole_events = !mcs_token_of_split_stream(spec.token);
	if (worker->mongo.too_large != TOO_LARGE_NO)
		narrow_spec(worker, &spec);
	worker->mongo.batch_size = spec.batch_size;

	MemoryContextSwitchTo(worker->mongo.session_context);
	worker->mongo.cursor = mcs_cursor_open(worker->mongo.session, &spec);
	MemoryContextSwitchTo(old);
	MemoryContextReset(worker->process.batch_context);

	mcs_worker_begin_reading(worker);
}

void
mcs_worker_begin_reading(StreamWorker *worker)
{
	const Stream *stream = worker->stream;

	resetStringInfo(&worker->read.token);
	if (stream->resume_token)
		appendStringInfoString(&worker->read.token, stream->resume_token);
	worker->read.moved = false;
	worker->read.drained = false;
	worker->read.asked_at = 0;
	worker->read.waiting = false;
	worker->read.closed = false;
	worker->mongo.failure.class = MONGO_ERROR_NONE;
	worker->read.held_since = 0;
	worker->read.held_time = 0;
	resetStringInfo(&worker->read.newest);
	worker->read.repeat_logged = false;
}

/* Says what the driver's thread was kept from asking MongoDB by, for who looks why a stream is slow. */
static void
log_times(const StreamWorker *worker)
{
	CursorTimes times = mcs_cursor_times(worker->mongo.cursor);

	ereport(DEBUG1,
			(errmsg_internal("change stream \"%s\" has read " INT64_FORMAT " replies; between them MongoDB was asked nothing for "
							 INT64_FORMAT " us, and for " INT64_FORMAT " us since too much was read and not written",
							 worker->process.name, times.replies, times.idle_us, times.full_us)));
}

void
mcs_worker_close_stream(StreamWorker *worker)
{
	/* plans are about events of replies, and replies are the cursor's to free: in this order */
	mcs_worker_plan_forget(worker);
	mcs_gather_forget(worker);
	if (worker->mongo.cursor)
	{
		log_times(worker);
		mcs_cursor_close(worker->mongo.cursor);
	}
	worker->mongo.cursor = NULL;
}
