/*
 * worker/worker.c
 *	  One stream's life: connect as its owner, follow, write, wait, back off,
 *	  stop.
 *
 * The worker runs in this order, each time from the top when something has
 * changed under it: read the definition; leave if the stream shall not run;
 * open a session and the change stream; follow it until the definition or the
 * server's options change, or until it ends.  An end is dealt with by the class
 * of its error: what can pass is tried again at once, then with backoff, for
 * ever; what cannot is written to the catalog as the stream's state, and the
 * worker leaves.
 * An error of our own side (a full disk, a lock timeout, a user's trigger) rolls
 * the transaction back and is tried again like a network error: the position
 * has not moved, so nothing is lost.
 *
 * No transaction is open and no snapshot held while the worker waits.
 */
#include "mongo_change_stream.h"

#include <malloc.h>

#include "miscadmin.h"
#include "shared/shared.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tables/tables.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/* A batch that failed so often by what may be an event's doing goes row by row. */
#define FAILURES_TO_CARE	2

/* What each of the process's heaps keeps when all in it is free: two buffers of the driver's, each for a reply of some MB. */
#define KEPT_MEMORY			(16 * 1024 * 1024)

/* A stream may join others that has worked for so long and is not farther behind. */
#define READY_MS			3000
#define READY_BEHIND_S		2

/* When a stream is tried again whose owner has to do something. */
#define OWNER_RETRY_MS		60000

bool
mcs_worker_load(StreamWorker *worker)
{
	Stream	   *stream = NULL;
	MemoryContext old;

	mcs_copy_forget(worker);
	mcs_worker_plan_forget(worker);
	mcs_mirroring_detach(worker);
	worker->stream = NULL;
	worker->expressions = NULL;
	worker->mask = NULL;
	worker->write.filter_error_logged = false;
	mcs_process_forget_definition(&worker->process);

	mcs_process_begin(&worker->process);
	/* DROP EXTENSION takes the tables away and tells nobody here */
	if (OidIsValid(mcs_extension_schema()))
	{
		old = MemoryContextSwitchTo(worker->process.definition_context);
		/* what is mended may need it, and it comes first, as for ALTER EXTENSION UPDATE: the one would deadlock with the other */
		if (OidIsValid(mcs_extension_events()))
			LockRelationOid(mcs_extension_events(), AccessShareLock);
		stream = mcs_streams_load(worker->process.name, false, true);
		/* a restore may have left it without its row of progress, which is made of the events that are there */
		if (stream && !stream->restored && mcs_restore_mend_stream(worker->process.name))
			stream = mcs_streams_load(worker->process.name, false, true);
		if (stream)
		{
			worker->mask = mcs_event_mask_make(stream->exclude_fields, stream->mask_fields);
			worker->documents.looks_up = mcs_pipeline_may_look_up(stream);
			mcs_copy_attach(worker);
		}
		MemoryContextSwitchTo(old);
		mcs_worker_set_events_table(mcs_extension_events());
	}
	if (stream && stream->restored && !stream->paused)
		mcs_streams_pause_restored(worker->process.name);
	/* this process ends in order: the next one need not be careful */
	if (stream && (stream->paused || stream->stopped_state || stream->restored))
		mcs_deaths_end(worker->process.name);
	mcs_process_commit(&worker->process);

	if (!stream || stream->paused || stream->stopped_state || stream->restored)
		return false;
	/* one that took the name of another, in the transaction that dropped that: what was known of its events is not true of these */
	if (worker->created_at != stream->created_at)
	{
		memset(&worker->chores.expiry, 0, sizeof(worker->chores.expiry));
		worker->chores.kept = 0;
		worker->chores.expire_at = 0;
		worker->created_at = stream->created_at;
	}
	worker->stream = stream;
	worker->write.saved_at = GetCurrentTimestamp();
	mcs_mirroring_verify(worker);
	return true;
}

bool
mcs_worker_fits_group(const StreamWorker *worker)
{
	const Stream *stream = worker->stream;
	ListCell   *cell;

	/* a copy is made, and seen to be exact, between transactions of events */
	foreach(cell, worker->copy.copies)
	{
		const CopyProgress *copy = lfirst(cell);

		if (!copy->finished || copy->exact_since == 0)
			return false;
	}
	/* what is looked up for the filter is MongoDB's to look up */
	if (strcmp(stream->full_document, "updateLookup") == 0 && !mcs_worker_plan_looks_up(worker))
		return false;
	return stream->resume_token && !stream->skip_token && !stream->pipeline && strcmp(stream->database, "*") != 0 &&
		worker->mongo.too_large == TOO_LARGE_NO && !worker->mongo.at_collection &&
		!worker->write.careful && worker->write.failures == 0 && !worker->retry.misfit &&
		worker->crash.singly == 0 && (worker->inbox || !worker->crash.after_death);
}

/* Whether a stream with a process of its own has caught up and works, so that it could be followed together with others. */
static bool
is_ready(const StreamWorker *worker)
{
	const Stream *stream = worker->stream;

	/* the time of the position, not that nothing is at hand: so also one whose events come all the time */
	return worker->process.report.state == STREAM_ACTIVE && !worker->mongo.from_time && worker->process.failures == 0 &&
		mcs_worker_fits_group(worker) &&
		(mcs_token_time(stream->resume_token) >> 32) + READY_BEHIND_S >= (worker->read.operation_time >> 32) &&
		TimestampDifferenceExceeds(worker->ready_since, GetCurrentTimestamp(), READY_MS);
}

/* Offers the stream to a group, once a second; true where it is to be left to one. */
static bool
joins_group(StreamWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		ready;

	if (!mcs_shared_time_has_come(worker->offer_at, now))
		return false;
	worker->offer_at = TimestampTzPlusMilliseconds(now, CHORE_INTERVAL_MS);
	ready = is_ready(worker);
	/* a group watches the database, which the role may be forbidden to: that is asked first, as all of the group would fail by it */
	worker->mongo.joins_if_wide = ready && !worker->mongo.was_wide && mcs_group_slot_has_others();
	return mcs_group_slot_offer(ready && worker->mongo.was_wide);
}

/* Follows until something has to be read or opened again. */
static void
follow(StreamWorker *worker)
{
	for (;;)
	{
		mcs_process_check_signals();
		AcceptInvalidationMessages();
		if (mcs_worker_has_news())
			return;
		mcs_chores_do(worker);
		/* chores may have taken the latch that told of it */
		if (mcs_worker_has_news() || worker->process.reload)
			return;
		/* with 0, but as one that does not give up its slot: a group's process takes it */
		if (joins_group(worker))
			proc_exit(0);
		if (mcs_copy_has_turn(worker))
		{
			if (!mcs_copy_step(worker))
				return;
		}
		else if (!mcs_follow_step(worker, mcs_copy_is_wanted(worker) ? 0 : mcs_chores_wait_ms(worker)))
			return;
	}
}

/* Whether the change stream may be opened at the stored position; leaves where that is of another history. */
static bool
verify_history(StreamWorker *worker)
{
	char	   *lost;

	if (worker->history.verified)
		return true;
	lost = mcs_history_verify(worker);
	if (lost)
		mcs_worker_stop(worker, STREAM_HISTORY_LOST, lost, "MongoDB's history is not the one that was followed", NULL);
	if (worker->mongo.failure.class != MONGO_ERROR_NONE)
		mcs_worker_handle_failure(worker);
	return worker->mongo.failure.class == MONGO_ERROR_NONE && worker->history.verified && !worker->process.reload;
}

/* From reading the definition to whatever makes it necessary to do so again. */
static void
run(StreamWorker *worker)
{
	TimestampTz saved_at;

	if (worker->mongo.cursor)
		mcs_worker_close_stream(worker);
	if (mcs_worker_take_connection_changed())
	{
		/* share_cursor may be among it */
		mcs_shared_look_again();
		mcs_worker_close_session(worker);
	}
	/* noted before anything that a process could die of */
	if (!worker->crash.begun)
		mcs_crash_begin(worker);
	if (!mcs_worker_load(worker))
		mcs_process_leave();
	mcs_process_check_owner(worker->stream->owner);
	mcs_worker_open_session(worker);
	if (!verify_history(worker))
		return;
	mcs_worker_open_stream(worker);
	/* moves whenever a position is saved: tells whether it got anywhere */
	saved_at = worker->write.saved_at;
	worker->ready_since = GetCurrentTimestamp();
	follow(worker);
	if (worker->write.culprit.reason)
		mcs_worker_stop(worker, STREAM_ERROR, worker->write.culprit.reason, worker->write.culprit.message, worker->write.culprit.token);
	else if (worker->mongo.failure.class != MONGO_ERROR_NONE)
		mcs_worker_handle_failure(worker);
	else if (worker->read.closed && worker->write.saved_at == saved_at)
		/* closed before it moved: opening it at once would spin */
		mcs_worker_retry(worker, STREAM_RETRYING, "MongoDB closed the change stream at once", "the cursor was closed without an error",
						 mcs_worker_next_retry(worker));
}

/* After an error: whether the batch at work, which has failed like this before, shall now go row by row. */
static bool
note_write_failure(StreamWorker *worker, const ErrorData *error)
{
	bool		was_careful = worker->write.careful;

	if (worker->write.in_progress && !worker->retry.misfit && mcs_event_is_cause(error))
		worker->write.failures++;
	worker->write.in_progress = false;
	worker->write.careful = was_careful || worker->write.failures >= FAILURES_TO_CARE;
	return worker->write.careful && !was_careful;
}

/* After an error of our own side: report it, roll back, and try again later. */
static void
recover(StreamWorker *worker)
{
	ErrorData  *error;
	char		message[512];
	char	   *reason;
	bool		careful;
	const char *retrying;
	bool		writing = worker->write.in_progress;

	/* not in the batch context: what is made of it outlives the transactions that tell of it */
	error = mcs_process_clean_up(&worker->process, worker->process.definition_context, true);
	MemoryContextSwitchTo(worker->process.definition_context);
	mcs_text_copy(message, sizeof(message), error->message ? error->message : "");
	/* before a row is blamed: the table as a whole may fit none */
	worker->retry.misfit = mcs_events_map_take_misfit();
	careful = note_write_failure(worker, error);
	mcs_numbers_error(unpack_sql_state(error->sqlerrcode));
	/* what altered the table until now has not helped */
	mcs_worker_forget_alteration();
	reason = worker->retry.misfit || mcs_failure_is_of_owner(error, writing) ? mcs_failure_owner_reason(error) : NULL;
	retrying = error->sqlerrcode == ERRCODE_PROTOCOL_VIOLATION ? "MongoDB sends what no change stream holds"
		: worker->retry.mirror[0] ? psprintf("an error in PostgreSQL interrupted change mirror \"%s\", and with it the change stream", worker->retry.mirror)
		: "an error in PostgreSQL interrupted the change stream";
	worker->retry.mirror[0] = '\0';
	FreeErrorData(error);
	MemoryContextSwitchTo(worker->process.batch_context);
	MemoryContextReset(worker->process.batch_context);

	/* without a definition there is nothing to be tried again: the launcher starts another process after a while */
	if (!worker->stream)
		ereport(FATAL,
				(errmsg("change stream \"%s\" could not be read: %s", worker->process.name, message)));
	/* what the driver was at is unknown */
	mcs_worker_close_session(worker);
	if (reason)
		mcs_worker_retry(worker, STREAM_ERROR, reason, message, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), OWNER_RETRY_MS));
	else
		mcs_worker_retry(worker, STREAM_RETRYING, retrying, message,
						 careful ? GetCurrentTimestamp() : mcs_worker_next_retry(worker));
}

StreamWorker *
mcs_worker_make(const char *name, Size batch_block)
{
	StreamWorker *worker = MemoryContextAllocZero(TopMemoryContext, sizeof(StreamWorker));
	MemoryContext old;

	mcs_process_init(&worker->process, name, batch_block);
	worker->mongo.session_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream session", ALLOCSET_DEFAULT_SIZES);
	/* full until MongoDB says otherwise */
	worker->chores.oplog_fill = 1;
	worker->read.fragment_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream fragments", ALLOCSET_DEFAULT_SIZES);
	worker->read.enough_bytes = BATCH_BYTES;
	/* buffers for as long as the process lives */
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&worker->read.token);
	initStringInfo(&worker->read.newest);
	initStringInfo(&worker->write.last_event);
	MemoryContextSwitchTo(old);
	return worker;
}

void
mcs_worker_keep_memory(void)
{
#ifdef M_TRIM_THRESHOLD
	(void) mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY);
	(void) mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
#endif
}

/* Entry of a worker. */
void
mcs_worker_main(Datum arg)
{
	char		name[NAMEDATALEN];
	StreamWorker *volatile worker;

	mcs_worker_keep_memory();
	mcs_process_connect(name);
	mcs_worker_watch_changes();
	worker = mcs_worker_make(name, 4 * 1024 * 1024);
	for (;;)
	{
		PG_TRY();
		{
			run(worker);
		}
		PG_CATCH();
		{
			recover(worker);
		}
		PG_END_TRY();
	}
}
