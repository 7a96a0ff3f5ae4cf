/*
 * worker/commit.c
 *	  The end of a transaction that has moved the stream's position, or written
 *	  what belongs at it.
 */
#include "mongo_change_stream.h"

#include "shared/shared.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

void
mcs_worker_published(StreamWorker *worker, const StreamProgress *progress)
{
	Stream	   *stream = worker->stream;
	/* no position is known before the first whole event or empty reply: fragments alone have none */
	bool		moved = worker->read.token.len > 0 &&
		(!stream->resume_token || strcmp(stream->resume_token, worker->read.token.data) != 0);

	/*
	 * Of a large transaction all events have the time that was started at: more
	 * of them that are written may come.  And fragments alone are no progress,
	 * nor is the position of the reply that opens a change stream.
	 */
	if (progress->events > 0 || (worker->read.moved && moved))
		worker->process.failures = 0;
	if (moved)
	{
		worker->mongo.from_time = false;
		if (stream->resume_token)
			pfree(stream->resume_token);
		stream->resume_token = MemoryContextStrdup(worker->process.definition_context, worker->read.token.data);
	}
	stream->last_event_id = progress->last_event_id;
	stream->events_processed += progress->events;
	worker->process.rate_events += progress->events;
	worker->process.done.events = progress->events;
	worker->process.done.counters[NUMBER_FILTER_ERRORS] += progress->filter_errors;
	mcs_numbers_add(&worker->process.done);
	/* the row has forgotten it in the same transaction */
	if (worker->write.skipped)
		stream->skip_token = NULL;
	/* an event was written that no process died of */
	if (worker->crash.after_death && progress->events > 0)
	{
		worker->crash.starts = 0;
		mcs_slot_trusted();
	}
	worker->write.failures = 0;
	worker->write.saved_at = GetCurrentTimestamp();
	mcs_slot_saved(stream->resume_token ? mcs_token_time(stream->resume_token) : 0, worker->read.drained, worker->read.asked_at, worker->process.rate);
	/* also where there are none: projections show events, too */
	if (progress->events > 0)
		mcs_slot_wake_handlers(stream->last_event_id);
}

/*
 * Commits, or rolls back where another session has moved the position or
 * changed the definition meanwhile: then both are to be read again.
 */
void
mcs_worker_commit(StreamWorker *worker, const StreamProgress *progress, bool saved)
{
	/* the condition under which it was saved decides; the flag only says it earlier */
	if (saved && !mcs_slot_is_changed())
	{
		mcs_process_commit(&worker->process);
		mcs_worker_published(worker, progress);
	}
	else
		mcs_process_roll_back(&worker->process);
}
