/*
 * worker/follow.c
 *	  Following an open change stream: one transaction after the other, each
 *	  with the rows and the position behind them.
 *
 * The position that reading has reached (read.token) runs ahead of the stored
 * one only within a transaction: after each commit they are equal, after a
 * rollback the cursor is opened again at the stored one.  In the middle of a
 * reply the position is the token of the last whole event, at its end the
 * reply's post-batch token, unless fragments of an event that is not whole
 * yet have come: then it stays before the first of them.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "shared/shared.h"
#include "tables/tables.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* How often a position is saved that moves without events. */
#define SAVE_INTERVAL_MS	1000

/* What an answer may take beyond the time that MongoDB was told to hold it back for. */
#define AWAIT_MARGIN_MS		1000

/* Publishes that everything at hand is written, and that MongoDB holds its answer back until there is something. */
static void
begin_waiting(StreamWorker *worker)
{
	if (!worker->read.waiting)
		mcs_slot_waiting(worker->stream->max_await_ms + AWAIT_MARGIN_MS);
	worker->read.waiting = true;
}

/*
 * Whether the transaction at work may commit without waiting for the disk.
 * Under a backlog that wait is a quarter of the time; and of streams that are
 * followed together, which write one behind the other, each would wait for the
 * disk for all behind it, where the last one's wait is for all of them.  If that
 * one does not come to it, the WAL writer flushes in less than a second.
 *
 * A crash may then take the last transactions away as a whole, rows and position,
 * and the same events are read again: with the same numbers and content, unless
 * what they are depends on when they are read.  What follows from them in this
 * database is never durable before they are, since WAL is flushed in order.  Who
 * was told of them by a notification may be told again, of the same numbers.
 */
static bool
may_commit_lazily(const StreamWorker *worker, const StreamWriter *writer)
{
	const Stream *stream = worker->stream;

	return (mcs_writer_count(writer) >= BATCH_EVENTS || (worker->inbox && worker->inbox->goes_on)) &&
		!stream->local_filter && !stream->add_fields && strcmp(stream->full_document, "updateLookup") != 0;
}

/* What the events mean for the stream's mirrors; false where all is to be rolled back and tried again. */
static bool
finish_mirrors(StreamWorker *worker, const StreamProgress *progress)
{
	if (worker->mirror_count > 0 && !mcs_mirroring_write(worker))
		return false;
	return mcs_mirroring_reached(worker, progress->token);
}

/*
 * Writes a batch that failed twice row by row.  As long as culprits are found
 * the next one goes the same way.
 */
static void
write_carefully(StreamWorker *worker, StreamWriter *writer, StreamProgress *progress)
{
	StreamCulprit culprit;
	bool		saved = mcs_on_error_write(writer, progress, &culprit);

	if (saved && culprit.reason)
	{
		culprit.reason = MemoryContextStrdup(worker->process.definition_context, culprit.reason);
		culprit.message = MemoryContextStrdup(worker->process.definition_context, culprit.message);
		culprit.token = MemoryContextStrdup(worker->process.definition_context, culprit.token);
	}
	if (saved && culprit.reason && worker->mirror_count > 0)
	{
		/* a mirror is never as in the midst of a time: of this one, which is alone here, nothing is kept */
		mcs_process_roll_back(&worker->process);
		worker->process.reload = false;
		worker->write.culprit = culprit;
		return;
	}
	if (saved && culprit.reason)
	{
		/* it stops right before the event, and has not caught up; the position is the writer's copy, not in the buffer that is set */
		Assert(progress->token != worker->read.token.data);
		set_token(&worker->read.token, progress->token, strlen(progress->token));
		worker->read.drained = false;
		worker->read.asked_at = 0;
	}
	if (saved)
		saved = finish_mirrors(worker, progress);
	mcs_worker_commit(worker, progress, saved);
	worker->write.culprit = culprit;
	if (worker->process.reload)
		worker->write.culprit.reason = NULL;
	worker->write.careful = culprit.count > 0;
}

/* One transaction: everything at hand up to its bounds, with the position. */
static void
write_transaction(StreamWorker *worker)
{
	Stream	   *stream = worker->stream;
	StreamWriter *writer;
	StreamProgress progress;
	bool		saved;

	/* what was read for a copy is older than what is written now */
	mcs_copy_interrupt(worker);
	if (!mcs_worker_plan_prepare(worker))
		return;
	/* before this transaction, since what kills the process takes all of it away */
	if (worker->crash.singly > 0)
		mcs_crash_announce_next(worker, worker->read.events);
	mcs_process_begin(&worker->process);
	writer = mcs_writer_begin(stream);
	if (worker->write.careful)
		mcs_writer_be_careful(writer);
	worker->write.filter_errors = 0;
	worker->write.skipped = false;
	resetStringInfo(&worker->write.last_event);
	mcs_take_events(worker, writer);
	if (worker->write.skipped)
		mcs_streams_forget_skip(stream->name);
	if (may_commit_lazily(worker, writer))
		mcs_process_commit_lazily();

	memset(&progress, 0, sizeof(progress));
	progress.token = get_token(&worker->read.token);
	progress.last_event_at = mcs_writer_count(writer) > 0 ? worker->read.received_at : 0;
	progress.filter_errors = worker->write.filter_errors;
	progress.event_token = get_token(&worker->write.last_event);
	/* from here on an error may be a row's: see note_write_failure */
	worker->write.in_progress = true;
	if (worker->write.careful)
		write_carefully(worker, writer, &progress);
	else
	{
		saved = mcs_writer_finish(writer, &progress) && finish_mirrors(worker, &progress);
		mcs_worker_commit(worker, &progress, saved);
	}
	worker->write.in_progress = false;
	mcs_worker_plan_done(worker, worker->read.taken);
	mcs_gather_free_spent(worker);
	if (mcs_mirroring_begin_copies(worker))
		worker->process.reload = true;
}

/* An empty reply: the position moved without events, and is saved now and then. */
static void
take_empty_batch(StreamWorker *worker)
{
	Stream	   *stream = worker->stream;
	StreamProgress progress;
	TimestampTz now;
	bool		saved;

	mcs_take_end_reply(worker);
	if (worker->read.token.len == 0)
		return;
	if (stream->resume_token && strcmp(worker->read.token.data, stream->resume_token) == 0)
	{
		mcs_slot_saved(mcs_token_time(stream->resume_token), worker->read.drained, worker->read.asked_at, worker->process.rate);
		return;
	}
	/* each save is a transaction: one a second, unless somebody waits for it or the cursor is at its end */
	now = GetCurrentTimestamp();
	if (stream->resume_token && !worker->read.closed && !mcs_slot_sync_wanted() &&
		now >= worker->write.saved_at && !TimestampDifferenceExceeds(worker->write.saved_at, now, SAVE_INTERVAL_MS))
		return;
	memset(&progress, 0, sizeof(progress));
	progress.token = worker->read.token.data;
	progress.last_event_id = stream->last_event_id;
	mcs_process_begin(&worker->process);
	saved = mcs_progress_save(stream, stream->last_event_id, stream->resume_token, &progress);
	if (saved)
		saved = mcs_mirroring_reached(worker, progress.token);
	mcs_worker_commit(worker, &progress, saved);
}

/* Nothing is at hand: waits until something comes; false where nothing did. */
static bool
wait_for_events(StreamWorker *worker, long timeout_ms)
{
	int64		began_us = mcs_session_clock();
	bool		came;

	begin_waiting(worker);
	came = mcs_gather_first(worker, timeout_ms);
	worker->process.done.counters[NUMBER_WAIT_MONGODB] += mcs_session_clock() - began_us;
	return came;
}

bool
mcs_follow_step(StreamWorker *worker, long timeout_ms)
{
	/* without waiting first: only when nothing is at hand does the stream say that it waits */
	if (!worker->read.have_batch && !mcs_gather_first(worker, 0))
	{
		if (worker->mongo.failure.class != MONGO_ERROR_NONE)
			return false;
		if (!wait_for_events(worker, timeout_ms))
			return worker->mongo.failure.class == MONGO_ERROR_NONE;
	}
	if (worker->read.batch.opened)
		mcs_worker_opened(worker);
	/* events go when the rest of their time is there */
	if (worker->read.batch.event_count > 0 && !mcs_gather(worker))
		return worker->mongo.failure.class == MONGO_ERROR_NONE;
	if (worker->read.batch.event_count == 0)
		take_empty_batch(worker);
	else
		write_transaction(worker);
	if (worker->mongo.too_large == TOO_LARGE_ALONE && worker->read.drained)
	{
		/* the large one did not come again */
		worker->mongo.too_large = TOO_LARGE_NO;
		worker->process.reload = true;
	}
	return worker->mongo.failure.class == MONGO_ERROR_NONE && !worker->read.closed && !worker->process.reload && !worker->write.culprit.reason;
}
