/*
 * worker/failure.c
 *	  What becomes of a stream when MongoDB, or the way to it, fails: which
 *	  failures are tried again, which end the worker, and what the status says.
 *	  The classes are those of mongo/classify.c.
 */
#include "mongo_change_stream.h"

#include "shared/shared.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* When a role that was refused is tried again. */
#define REFUSED_RETRY_MS	60000

/* As change_stream_stats.errors has them. */
static const char *const class_names[] = {
	[MONGO_ERROR_TRANSIENT] = "transient",
	[MONGO_ERROR_HISTORY_LOST] = "history_lost",
	[MONGO_ERROR_CONFIGURATION] = "configuration",
	[MONGO_ERROR_AUTHENTICATION] = "authentication",
	[MONGO_ERROR_TOO_LARGE] = "too_large",
	[MONGO_ERROR_NO_SNAPSHOT] = "no_snapshot",
	[MONGO_ERROR_DRIVER_ENDED] = "driver_ended",
	[MONGO_ERROR_HANGING] = "driver_hangs",
	[MONGO_ERROR_REFUSED] = "refused"
};

void
mcs_failure_count(const MongoError *failure)
{
	if (failure->class != MONGO_ERROR_NONE)
		mcs_numbers_error(class_names[failure->class]);
}

char *
mcs_failure_line(const MongoError *failure)
{
	if (failure->code == 0)
		return pstrdup(failure->message);
	return psprintf("%s (MongoDB error %d%s%s)", failure->message, failure->code,
					failure->code_name[0] ? " " : "", failure->code_name);
}

char *
mcs_failure_refusal_reason(const MongoError *failure, const char *what)
{
	const char *hint = mcs_mongo_hint_for_all(failure);

	return psprintf("%s: %s%s%s", what, mcs_failure_line(failure), hint ? "; " : "", hint ? hint : "");
}

const char *
mcs_failure_passing_reason(const MongoError *failure)
{
	if (failure->unresolved[0])
		return psprintf("MongoDB cannot be reached: the host names that it announces do not resolve here: %s",
						failure->unresolved);
	if (failure->code != 0)
		return psprintf("MongoDB %s the change stream: %s", failure->at_open ? "did not open" : "ended",
						mcs_failure_line(failure));
	return failure->at_open ? "MongoDB cannot be reached" : psprintf("the change stream was interrupted: %s", failure->message);
}

bool
mcs_failure_is_of_owner(const ErrorData *error, bool writing)
{
	return error->hint && (error->sqlerrcode == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION ||
						   (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && !writing));
}

char *
mcs_failure_owner_reason(const ErrorData *error)
{
	return error->hint ? psprintf("%s: %s", error->message, error->hint) : pstrdup(error->message);
}

/* Tries again what may pass. */
static void
retry_passing(StreamWorker *worker, const MongoError *failure)
{
	/* a session whose change stream ended may go on; one that can't open it begins anew, with the options as they are now */
	if (failure->at_open)
		mcs_worker_close_session(worker);
	mcs_worker_retry(worker, STREAM_RETRYING, mcs_failure_passing_reason(failure), mcs_failure_line(failure), mcs_worker_next_retry(worker));
}

/*
 * The role is refused.  One that may read only its collection may not watch the
 * database: a stream that needs the database watches the collection then, and
 * looks again now and then.  But one that has worked before may have been refused
 * by a whim of the server: that has to come twice.
 */
static void
handle_refused_role(StreamWorker *worker, const MongoError *failure)
{
	bool		may_retreat = failure->code == MONGO_CODE_UNAUTHORIZED && worker->stream->collection && !worker->mongo.at_collection;

	mcs_worker_close_session(worker);
	if (may_retreat && worker->mongo.opened && worker->mongo.refusals++ == 0)
	{
		retry_passing(worker, failure);
		return;
	}
	if (may_retreat && !mcs_worker_watches_collection(worker))
	{
		worker->mongo.at_collection = true;
		worker->chores.widen_ms = WIDEN_MIN_MS;
		worker->chores.widen_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), worker->chores.widen_ms);
		return;
	}
	worker->mongo.at_collection = false;
	mcs_worker_retry(worker, STREAM_ERROR, mcs_failure_refusal_reason(failure, "MongoDB refuses the connection, which is tried again each minute"),
					 mcs_failure_line(failure), TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REFUSED_RETRY_MS));
}

/* Whether there may be something else of the collection's name, whose database can be watched. */
static bool
is_no_collection(const StreamWorker *worker, const MongoError *failure)
{
	return failure->at_open && (failure->class == MONGO_ERROR_REFUSED || failure->class == MONGO_ERROR_CONFIGURATION) &&
		failure->code != MONGO_CODE_CHANGE_STREAM_FATAL_ERROR && !worker->mongo.at_collection && mcs_worker_watches_collection(worker);
}

/* Whether what the definition asks for has ever worked, so that it is not the definition's fault. */
static bool
has_worked(const StreamWorker *worker)
{
	return worker->mongo.opened || worker->stream->restarts > 0 || worker->stream->last_event_id > 0;
}

/* What the definition asks for is refused, for good. */
static void
stop_refused(StreamWorker *worker, const MongoError *failure)
{
	mcs_worker_stop(worker, STREAM_ERROR, mcs_failure_refusal_reason(failure, "MongoDB refuses the change stream as it is defined"),
					mcs_failure_line(failure), NULL);
}

/* An event is too large: the next try asks for less of it, until there is nothing left to leave out. */
static void
read_less(StreamWorker *worker, const MongoError *failure)
{
	if (worker->mongo.too_large == TOO_LARGE_KEY_ONLY)
		mcs_worker_stop(worker, STREAM_ERROR,
						"an event is too large even without its documents, perhaps by its _id or by what the pipeline makes of it",
						mcs_failure_line(failure), NULL);
	worker->mongo.too_large++;
}

void
mcs_failure_leave_driver(const MongoError *failure)
{
	bool		memory = failure->class == MONGO_ERROR_DRIVER_ENDED && failure->sqlstate == ERRCODE_OUT_OF_MEMORY;

	ereport(FATAL,
			(errcode(failure->sqlstate),
			 failure->class == MONGO_ERROR_HANGING ? errmsg("%s", failure->message)
			 : memory ? errmsg("MongoDB's driver ran out of memory")
			 : errmsg("MongoDB's driver failed: %s", failure->message)));
}

void
mcs_worker_handle_failure(StreamWorker *worker)
{
	MongoError	failure = worker->mongo.failure;
	Stream	   *stream = worker->stream;

	/* whatever it was, the next change stream may be opened at another member, or another set */
	worker->mongo.failure.class = MONGO_ERROR_NONE;
	mcs_failure_count(&failure);
	worker->history.verified = false;
	mcs_worker_close_stream(worker);
	/* texts that are made below outlive the transactions which tell of the state */
	MemoryContextSwitchTo(worker->process.definition_context);

	/* before its class, which is that of codes that nobody knows: a position of 1.0 goes on from its time */
	if (!worker->mongo.from_time && stream->resume_token && mcs_token_lacks_type_bits(stream->resume_token, &failure))
	{
		worker->mongo.from_time = true;
		return;
	}
	if (is_no_collection(worker, &failure))
	{
		worker->mongo.needs_database = true;
		return;
	}
	switch (failure.class)
	{
		case MONGO_ERROR_NONE:
			break;
		case MONGO_ERROR_TRANSIENT:
		case MONGO_ERROR_NO_SNAPSHOT:
			retry_passing(worker, &failure);
			break;
		case MONGO_ERROR_HISTORY_LOST:
			mcs_worker_stop(worker, STREAM_HISTORY_LOST,
							psprintf("MongoDB's oplog no longer holds what follows the stored position; "
									 "SELECT resume_change_stream(%s, start_at => 'earliest') goes on and leaves a gap row%s",
									 quote_literal_cstr(stream->name),
									 stream->keep_events ? ", with initial_snapshot => true followed by the documents that exist" : ""),
							mcs_failure_line(&failure), NULL);
			break;
		case MONGO_ERROR_AUTHENTICATION:
			handle_refused_role(worker, &failure);
			break;
		case MONGO_ERROR_TOO_LARGE:
			read_less(worker, &failure);
			break;
		case MONGO_ERROR_REFUSED:
			if (has_worked(worker))
				retry_passing(worker, &failure);
			else
				stop_refused(worker, &failure);
			break;
		case MONGO_ERROR_CONFIGURATION:
			/* the token is not found any more, perhaps since the pipeline was altered; its time is */
			if (!worker->mongo.from_time && stream->resume_token && failure.code == MONGO_CODE_CHANGE_STREAM_FATAL_ERROR)
				worker->mongo.from_time = true;
			else
				stop_refused(worker, &failure);
			break;
		case MONGO_ERROR_HANGING:
		case MONGO_ERROR_DRIVER_ENDED:
			mcs_failure_leave_driver(&failure);
			break;
	}
}
