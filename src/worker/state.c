/*
 * worker/state.c
 *	  What a stream is, as others see it: in shared memory, in the log, in the
 *	  tables, and by an alert to who has asked for one.
 *
 * Shared memory comes first, as it cannot fail.  What is written into tables
 * about a state is written in transactions of its own, each of which may fail
 * without harm: the state is often that of a failure whose cause is still there.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "shared/shared.h"
#include "tables/tables.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/* A stream that has not followed for so long needs a person, perhaps. */
#define ALERT_RETRYING_MS	60000

/* After a failure of what is written about the state: forgets it. */
static void
drop_failure(StreamWorker *worker)
{
	HOLD_INTERRUPTS();
	/* not the transaction's memory, which goes with it */
	MemoryContextSwitchTo(worker->process.batch_context);
	AbortOutOfAnyTransaction();
	FlushErrorState();
	RESUME_INTERRUPTS();
}

/*
 * Tells of the state that was just published, in a transaction of its own; a
 * failure of that is dropped.  Why an event could not be written may be said in
 * words of its own: that is for those who may see the stream.
 */
static void
send_alert(StreamWorker *worker, StreamState from, const char *hint)
{
	bool		of_event = worker->write.culprit.reason && hint;

	PG_TRY();
	{
		mcs_process_begin(&worker->process);
		mcs_alert_of_stream(worker->process.name, mcs_shared_state_name(from), mcs_shared_state_name(worker->process.report.state),
							of_event ? "an event cannot be written" : worker->process.report.reason,
							of_event ? "change_stream_status says why, and what helps, to those who may see the stream" : hint);
		mcs_process_commit(&worker->process);
	}
	PG_CATCH();
	{
		drop_failure(worker);
	}
	PG_END_TRY();
}

/*
 * Tells somebody where the state needs a person: one that does not end by
 * itself, or has lasted for a minute; and when it is over.
 */
static void
alert_if_needed(StreamWorker *worker, StreamState from)
{
	StreamState state = worker->process.report.state;
	TimestampTz now = GetCurrentTimestamp();
	bool		needed = state == STREAM_ERROR || state == STREAM_HISTORY_LOST;

	if (state != STREAM_RETRYING)
		worker->retry.since = 0;
	else if (worker->retry.since == 0)
		worker->retry.since = now;
	else
		needed = TimestampDifferenceExceeds(worker->retry.since, now, ALERT_RETRYING_MS);
	/* once for each time of trouble, and once more when it is over */
	if (needed && !worker->retry.alerted)
		send_alert(worker, from, worker->process.report.last_error[0] ? worker->process.report.last_error : NULL);
	else if (worker->retry.alerted && mcs_worker_is_following(worker))
		send_alert(worker, from, NULL);
	worker->retry.alerted = needed || (worker->retry.alerted && !mcs_worker_is_following(worker));
}

/*
 * Writes an error into the catalog, or the state with it into the user's table,
 * in a transaction of its own.  A failure to do so must not hide what it is
 * about: it is dropped.
 */
static void
write_state(StreamWorker *worker, bool users_table, const char *error)
{
	PG_TRY();
	{
		mcs_process_begin(&worker->process);
		if (users_table)
			mcs_token_table_state(worker->stream, worker->process.report.state, error);
		else
			mcs_progress_error(worker->process.name, error);
		mcs_process_commit(&worker->process);
	}
	PG_CATCH();
	{
		drop_failure(worker);
	}
	PG_END_TRY();
}

void
mcs_worker_set_state(StreamWorker *worker, StreamState state, const char *reason, const char *error, TimestampTz next_retry_at)
{
	StreamState from = worker->process.report.state;
	bool		changed = from != state;

	mcs_process_report(&worker->process, state, reason, error, next_retry_at);
	if (changed)
		ereport(LOG,
				(errmsg("change stream \"%s\" is %s: %s", worker->process.name, mcs_shared_state_name(state), reason),
				 error ? errdetail("%s", error) : 0));
	if (error)
		write_state(worker, false, error);
	if (changed)
		write_state(worker, true, error);
	alert_if_needed(worker, from);
}

void
mcs_worker_show_active(StreamWorker *worker)
{
	const char *following = worker->mongo.at_collection ? "following the collection, as the role may not watch the database"
		: worker->inbox ? "following the change stream, by a cursor that it shares with others"
		: "following the change stream";
	char		reason[sizeof(worker->process.report.reason)];
	const StreamCopy *copy = &worker->copy;

	if (copy->words[0] && copy->of_stream)
	{
		mcs_worker_set_state(worker, STREAM_SNAPSHOT, copy->words, NULL, 0);
		return;
	}
	if (copy->words[0])
		mcs_text_format(reason, sizeof(reason), "%s; %s", following, copy->words);
	else if (worker->chores.kept)
		mcs_text_format(reason, sizeof(reason), "%s; events past their retention are kept (" INT64_FORMAT "): %s",
						following, worker->chores.kept, worker->chores.kept_reason);
	else
		mcs_text_copy(reason, sizeof(reason), following);
	mcs_worker_set_state(worker, STREAM_ACTIVE, reason, NULL, 0);
}

bool
mcs_worker_watches_collection(const StreamWorker *worker)
{
	return worker->mongo.at_collection || (mcs_stream_fits_collection(worker->stream) && !worker->mongo.needs_database);
}

void
mcs_worker_opened(StreamWorker *worker)
{
	/* one that was closed in passing, as after a change of the definition, has not failed */
	if (!worker->mongo.opened || !mcs_worker_is_following(worker))
	{
		mcs_process_begin(&worker->process);
		mcs_progress_restart(worker->process.name);
		mcs_process_commit(&worker->process);
	}
	worker->mongo.opened = true;
	worker->mongo.was_wide |= !mcs_worker_watches_collection(worker);
	worker->mongo.refusals = 0;
	mcs_worker_show_active(worker);
}

void
mcs_worker_stop(StreamWorker *worker, StreamState state, const char *reason, const char *error, const char *token)
{
	/* it may be in the batch context, which the commit empties */
	reason = MemoryContextStrdup(worker->process.definition_context, reason);
	mcs_process_begin(&worker->process);
	/* the catalog before all others: it is what keeps the launcher from starting another process */
	mcs_streams_stop(worker->process.name, state, reason, token);
	mcs_deaths_end(worker->process.name);
	mcs_process_commit(&worker->process);
	mcs_worker_set_state(worker, state, reason, error, 0);
	mcs_process_leave();
}
