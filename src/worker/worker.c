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

#include "worker/worker_internal.h"
#include <math.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared/shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tables/tables.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define RETRY_MIN_MS		1000
#define RETRY_MAX_MS		60000
#define RETRY_ALONE_MS		5000	/* a failure so long after the one before is not its consequence */
#define CHORE_INTERVAL_MS	1000

/* A batch that failed so often by what may be an event's doing goes row by row. */
#define FAILURES_TO_CARE	2

#define EXPIRE_INTERVAL_MS	10000
#define EXPIRE_AGAIN_MS		60000
#define WINDOW_INTERVAL_MS	60000
#define WINDOW_TIMEOUT_MS	10000
#define WINDOW_BUSY_MS		2000	/* while events wait */
#define ALERT_RETRYING_MS	60000

/* A stream that had to retreat to its collection looks whether the database may be watched again: at most so seldom, and for so long. */
#define WIDEN_MAX_MS		3600000
#define WIDEN_TIMEOUT_MS	5000

/* Server, mapping or role changed: the session may no longer be the right one. */
static volatile bool connection_changed = false;

/* The events table, and whether it was altered since this was last false. */
static Oid	events_relation = InvalidOid;
static volatile bool events_altered = false;

/*
 * Settings that a role or database may have changed, and that would change what
 * a worker does: pinned over them.
 */
void
mcs_worker_pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"row_security", "on"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

void
mcs_worker_step_begin(const char *activity, MemoryContext batch)
{
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(batch);
}

void
mcs_worker_step_commit(MemoryContext batch)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(batch);
	MemoryContextReset(batch);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
mcs_worker_begin(StreamWorker *worker)
{
	mcs_worker_step_begin(worker->name, worker->batch_context);
}

void
mcs_worker_commit(StreamWorker *worker)
{
	mcs_worker_step_commit(worker->batch_context);
}

/* After a failure of what is written about the state: forgets it. */
static void
drop_failure(StreamWorker *worker)
{
	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(worker->batch_context);
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
	bool		of_event = worker->culprit.reason && hint;

	PG_TRY();
	{
		mcs_worker_begin(worker);
		mcs_alert_of_stream(worker->name, mcs_shared_state_name(from), mcs_shared_state_name(worker->report.state),
							of_event ? "an event cannot be written" : worker->report.reason,
							of_event ? "change_stream_status says why, and what helps, to those who may see the stream" : hint);
		mcs_worker_commit(worker);
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
	StreamState state = worker->report.state;
	TimestampTz now = GetCurrentTimestamp();
	bool		needed = state == STREAM_ERROR || state == STREAM_HISTORY_LOST;

	if (state != STREAM_RETRYING)
		worker->retrying_since = 0;
	else if (worker->retrying_since == 0)
		worker->retrying_since = now;
	else
		needed = TimestampDifferenceExceeds(worker->retrying_since, now, ALERT_RETRYING_MS);
	if (needed && !worker->alerted)
		send_alert(worker, from, worker->report.last_error[0] ? worker->report.last_error : NULL);
	else if (worker->alerted && state == STREAM_ACTIVE)
		send_alert(worker, from, NULL);
	worker->alerted = needed || (worker->alerted && state != STREAM_ACTIVE);
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
		mcs_worker_begin(worker);
		if (users_table)
			mcs_token_table_state(worker->stream, worker->report.state, error);
		else
			mcs_progress_error(worker->name, error);
		mcs_worker_commit(worker);
	}
	PG_CATCH();
	{
		drop_failure(worker);
	}
	PG_END_TRY();
}

/*
 * Publishes a state, with the error that led to it or NULL; a change of state
 * is one line in the log and shows in the user's own table.
 */
void
mcs_worker_set_state(StreamWorker *worker, StreamState state, const char *reason, const char *error, TimestampTz next_retry_at)
{
	StreamState from = worker->report.state;
	bool		changed = from != state;

	worker->report.state = state;
	mcs_text_copy(worker->report.reason, sizeof(worker->report.reason), reason);
	mcs_text_copy(worker->report.last_error, sizeof(worker->report.last_error), error ? error : "");
	worker->report.next_retry_at = next_retry_at;
	mcs_slot_report(&worker->report);
	if (changed)
		ereport(LOG,
				(errmsg("change stream \"%s\" is %s: %s", worker->name, mcs_shared_state_name(state), reason),
				 error ? errdetail("%s", error) : 0));
	if (error)
		write_state(worker, false, error);
	if (changed)
		write_state(worker, true, error);
	alert_if_needed(worker, from);
}

/* Publishes that all is well, with what is to be said beside. */
static void
show_active(StreamWorker *worker)
{
	const char *following = worker->at_collection ? "following the collection, as the role may not watch the database"
		: "following the change stream";
	char		reason[sizeof(worker->report.reason)];

	if (worker->kept)
		mcs_text_format(reason, sizeof(reason), "%s; events past their retention are kept (" INT64_FORMAT "): %s",
						following, worker->kept, worker->kept_reason);
	else
		mcs_text_copy(reason, sizeof(reason), following);
	mcs_worker_set_state(worker, STREAM_ACTIVE, reason, NULL, 0);
}

/* The change stream is open: counts it where it was open before. */
void
mcs_worker_opened(StreamWorker *worker)
{
	if (!worker->opened || worker->report.state != STREAM_ACTIVE)
	{
		mcs_worker_begin(worker);
		mcs_progress_restart(worker->name);
		mcs_worker_commit(worker);
	}
	worker->opened = true;
	worker->was_wide |= !worker->at_collection;
	worker->refusals = 0;
	show_active(worker);
}

/* Leaves for good: the stream shall not run. */
void
mcs_worker_leave(void)
{
	mcs_slot_release();
	proc_exit(0);
}

/* Reads definition and position; leaves where the stream is gone, paused or stopped. */
static void
load_stream(StreamWorker *worker)
{
	Stream	   *stream = NULL;
	MemoryContext old;

	(void) mcs_slot_take_changed();
	worker->reload = false;
	worker->expressions = NULL;
	worker->filter_error_logged = false;
	worker->read_token = NULL;
	worker->stream = NULL;
	MemoryContextReset(worker->stream_context);

	mcs_worker_begin(worker);
	worker->mask = NULL;
	if (OidIsValid(mcs_extension_schema()))
	{
		old = MemoryContextSwitchTo(worker->stream_context);
		stream = mcs_streams_load(worker->name, false, true);
		if (stream && !stream->restored && mcs_restore_mend_stream(worker->name))
			stream = mcs_streams_load(worker->name, false, true);
		if (stream)
			worker->mask = mcs_event_mask_make(stream->exclude_fields, stream->mask_fields);
		MemoryContextSwitchTo(old);
		events_relation = mcs_extension_events();
	}
	if (stream && stream->restored && !stream->paused)
		mcs_streams_pause_restored(worker->name);
	if (stream && (stream->paused || stream->stopped_state || stream->restored))
		mcs_deaths_end(worker->name);
	mcs_worker_commit(worker);

	if (!stream || stream->paused || stream->stopped_state || stream->restored)
		mcs_worker_leave();
	if (stream->owner != GetSessionUserId())
		proc_exit(1);			/* the launcher starts another as the new owner */
	worker->stream = stream;
	worker->read_token = stream->resume_token;
	worker->saved_at = GetCurrentTimestamp();
}

void
mcs_worker_close_session(StreamWorker *worker)
{
	if (worker->cursor)
		mcs_follow_close(worker);
	if (worker->session)
		mcs_session_close(worker->session);
	worker->session = NULL;
	worker->verified = false;
	MemoryContextReset(worker->session_context);
}

/* Opens a session with the options as they are now, unless there is one. */
static void
open_session(StreamWorker *worker)
{
	MongoTarget *target;
	MemoryContext old;

	if (worker->session)
		return;
	mcs_worker_begin(worker);
	old = MemoryContextSwitchTo(worker->session_context);
	target = mcs_mongo_target(worker->stream->server, worker->stream->owner);
	worker->session = mcs_session_open(target, worker->name);
	MemoryContextSwitchTo(old);
	mcs_worker_commit(worker);
}

/* Waits for a time, or until something changes that is worth a try before. */
static void
wait_until(StreamWorker *worker, TimestampTz until)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();

		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
		if (mcs_time_has_come(until, now) || mcs_slot_is_changed() || connection_changed || (worker->misfit && events_altered))
			return;
		/* nothing sets the latch when the table is altered */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(TimestampDifferenceMilliseconds(now, until) + 1, worker->misfit ? 500 : 10000), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/*
 * When to try again after the worker's latest failure: at once where it comes
 * alone, else after a time that doubles from one second to a minute, with jitter.
 */
TimestampTz
mcs_worker_next_retry(StreamWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		alone = TimestampDifferenceExceeds(worker->failed_at, now, RETRY_ALONE_MS);
	double		delay;

	if (TimestampDifferenceExceeds(worker->failed_at, now, RETRY_MAX_MS))
		worker->failures = 0;
	worker->failed_at = now;
	if (worker->failures == 0 && alone)
	{
		worker->failures = 1;
		return now;
	}
	delay = Min(RETRY_MIN_MS * pow(2, Min(Max(worker->failures - 1, 0), 10)), RETRY_MAX_MS);
	worker->failures++;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   (int64) (delay * (0.5 + pg_prng_double(&pg_global_prng_state) / 2)));
}

/* Writes a state that only a person can end, and leaves. */
static void
stop_at(StreamWorker *worker, StreamState state, const char *reason, const char *error, const char *token)
{
	/* it may be in the batch context, which the commit empties */
	reason = MemoryContextStrdup(worker->stream_context, reason);
	mcs_worker_begin(worker);
	mcs_streams_stop(worker->name, state, reason, token);
	mcs_deaths_end(worker->name);
	mcs_worker_commit(worker);
	mcs_worker_set_state(worker, state, reason, error, 0);
	mcs_worker_leave();
}

void
mcs_worker_stop(StreamWorker *worker, StreamState state, const char *reason, const char *error)
{
	stop_at(worker, state, reason, error, NULL);
}

/* Tries again later. */
void
mcs_worker_retry(StreamWorker *worker, StreamState state, const char *reason, const char *error, TimestampTz at)
{
	mcs_worker_set_state(worker, state, reason, error, at);
	/* it lives, and waits for others: what may kill it comes with the next try */
	mcs_slot_trusted();
	wait_until(worker, at);
}

/* A round of deletions is over: what could not be deleted shows in the status, and is not tried again all the time. */
static void
end_expiry(StreamWorker *worker, TimestampTz now)
{
	EventExpiry *expiry = &worker->expiry;

	if (expiry->kept != worker->kept)
	{
		worker->kept = expiry->kept;
		mcs_text_copy(worker->kept_reason, sizeof(worker->kept_reason), expiry->reason);
		if (worker->report.state == STREAM_ACTIVE)
			show_active(worker);
	}
	if (expiry->kept)
		worker->expire_at = TimestampTzPlusMilliseconds(now, EXPIRE_AGAIN_MS);
	expiry->kept = 0;
}

/* Deletes a chunk of old events when it is time. */
static void
expire_events(StreamWorker *worker, TimestampTz now)
{
	EventExpiry *expiry = &worker->expiry;

	if (!worker->stream->retention || now < worker->expire_at)
		return;
	/* before anything can fail: a deletion that always fails must leave time to follow */
	worker->expire_at = TimestampTzPlusMilliseconds(now, EXPIRE_INTERVAL_MS);
	mcs_worker_begin(worker);
	mcs_events_expire(worker->name, worker->stream->retention, expiry);
	mcs_worker_commit(worker);
	if (expiry->after != 0)
		worker->expire_at = now;
	else
		end_expiry(worker, now);
}

/* Whether something waits for the worker that is more than a chore. */
static bool
has_news(void)
{
	return connection_changed || mcs_slot_is_changed();
}

/*
 * A session for a question that the stream's own, busy with the change stream,
 * can't ask; made in *context, which becomes current and is to be left to
 * close_question.
 */
static MongoSession *
open_question(StreamWorker *worker, long timeout_ms, MemoryContext *context)
{
	MongoTarget *target;
	MongoSession *session;
	MemoryContext old;

	*context = AllocSetContextCreate(worker->session_context, "mongo_change_stream question", ALLOCSET_SMALL_SIZES);
	mcs_worker_begin(worker);
	old = MemoryContextSwitchTo(*context);
	target = mcs_mongo_target(worker->stream->server, worker->stream->owner);
	MemoryContextSwitchTo(old);
	mcs_worker_commit(worker);

	MemoryContextSwitchTo(*context);
	session = mcs_session_open(target, worker->name);
	mcs_session_limit(session, timeout_ms, has_news);
	return session;
}

static void
close_question(StreamWorker *worker, MongoSession *session, MemoryContext context)
{
	mcs_session_close(session);
	MemoryContextSwitchTo(worker->batch_context);
	MemoryContextDelete(context);
}

/*
 * Publishes how far the oplog reaches back, when the stream has nothing else to
 * do; a failure says nothing about the stream and is dropped.
 */
static void
look_at_oplog(StreamWorker *worker, TimestampTz now)
{
	Stream	   *stream = worker->stream;
	MongoSession *session;
	MongoError	error;
	MemoryContext context;
	uint64		oldest = 0;
	int64		window = -1;
	int64		took;
	bool		busy = worker->asked_at == 0 || worker->have_batch;

	/* a stream that has much to do looks, too: it is the one that may be outrun */
	if (now < worker->window_at || worker->report.state != STREAM_ACTIVE)
		return;
	worker->window_at = TimestampTzPlusMilliseconds(now, WINDOW_INTERVAL_MS);
	session = open_question(worker, busy ? WINDOW_BUSY_MS : WINDOW_TIMEOUT_MS, &context);
	if (mcs_mongo_oplog_oldest(session, strcmp(stream->database, "*") == 0 ? NULL : stream->database,
							   worker->at_collection ? stream->collection : NULL, &oldest, &error) && oldest != 0)
		window = Max((int64) (worker->operation_time >> 32) - (int64) (oldest >> 32), 0) * USECS_PER_SEC;
	close_question(worker, session, context);
	if (window >= 0)
	{
		mcs_slot_oplog_window(window);
		mcs_worker_begin(worker);
		mcs_oplog_keep_window(worker->name, window);
		mcs_worker_commit(worker);
	}

	/* without the right to read the oplog its begin has to be searched: less often then */
	took = (GetCurrentTimestamp() - now) / 1000;
	worker->window_at = TimestampTzPlusMilliseconds(now, Max(WINDOW_INTERVAL_MS, took * 1000));
}

/* A stream that watches only its collection: sees whether the database may be watched by now. */
static void
look_at_database(StreamWorker *worker, TimestampTz now)
{
	ChangeStreamSpec spec;
	MongoSession *session;
	MongoError	error;
	MemoryContext context;

	if (!worker->at_collection || now < worker->widen_at || worker->report.state != STREAM_ACTIVE || worker->have_batch)
		return;
	worker->widen_ms = Min(worker->widen_ms * 2, WIDEN_MAX_MS);
	worker->widen_at = TimestampTzPlusMilliseconds(now, worker->widen_ms);
	session = open_question(worker, WIDEN_TIMEOUT_MS, &context);
	memset(&spec, 0, sizeof(spec));
	mcs_stream_spec(worker->stream, false, &spec);
	spec.comment = worker->name;
	if (mcs_mongo_try_stream(session, &spec, NULL, NULL, NULL, &error))
	{
		worker->at_collection = false;
		worker->reload = true;
	}
	close_question(worker, session, context);
}

/* What is to be done now and then beside following. */
static void
do_chores(StreamWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	double		seconds = (double) (now - worker->rate_since) / USECS_PER_SEC;

	if (seconds * 1000 >= CHORE_INTERVAL_MS)
	{
		double		rate = worker->rate_events / seconds;

		/* half of it is the last second's */
		worker->rate = rate < 0.001 && worker->rate < 0.1 ? 0 : (worker->rate + rate) / 2;
		worker->rate_events = 0;
		worker->rate_since = now;
	}
	mcs_life_go_on(worker, now);
	expire_events(worker, now);
	look_at_oplog(worker, now);
	look_at_database(worker, now);
}

/* Follows until something has to be read or opened again. */
static void
follow(StreamWorker *worker)
{
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		AcceptInvalidationMessages();
		if (has_news())
			return;
		do_chores(worker);
		/* chores may have taken the latch that told of it */
		if (has_news() || worker->reload)
			return;
		if (!mcs_follow_step(worker, CHORE_INTERVAL_MS))
			return;
	}
}

/* Whether the change stream may be opened at the stored position; leaves where that is of another history. */
static bool
verify_history(StreamWorker *worker)
{
	char	   *lost;

	if (worker->verified)
		return true;
	lost = mcs_history_verify(worker);
	if (lost)
		mcs_worker_stop(worker, STREAM_HISTORY_LOST, lost, "MongoDB's history is not the one that was followed");
	if (worker->failure.class != MONGO_ERROR_NONE)
		mcs_worker_handle_failure(worker);
	return worker->failure.class == MONGO_ERROR_NONE && worker->verified && !worker->reload;
}

/* From reading the definition to whatever makes it necessary to do so again. */
static void
run(StreamWorker *worker)
{
	TimestampTz saved_at;

	if (worker->cursor)
		mcs_follow_close(worker);
	if (connection_changed)
	{
		connection_changed = false;
		mcs_worker_close_session(worker);
	}
	if (!worker->begun)
		mcs_life_begin(worker);
	load_stream(worker);
	open_session(worker);
	if (!verify_history(worker))
		return;
	mcs_follow_open(worker);
	saved_at = worker->saved_at;
	follow(worker);
	if (worker->culprit.reason)
		stop_at(worker, STREAM_ERROR, worker->culprit.reason, worker->culprit.message, worker->culprit.token);
	else if (worker->failure.class != MONGO_ERROR_NONE)
		mcs_worker_handle_failure(worker);
	else if (worker->closed && worker->saved_at == saved_at)
		/* closed before it moved: opening it at once would spin */
		mcs_worker_retry(worker, STREAM_RETRYING, "MongoDB closed the change stream at once", "the cursor was closed without an error",
			  mcs_worker_next_retry(worker));
}

/* After an error: whether the batch at work, which has failed like this before, shall now go row by row. */
static bool
note_write_failure(StreamWorker *worker, const ErrorData *error)
{
	bool		was_careful = worker->careful;

	if (worker->writing && !worker->misfit && mcs_event_is_cause(error))
		worker->write_failures++;
	worker->writing = false;
	worker->careful = was_careful || worker->write_failures >= FAILURES_TO_CARE;
	return worker->careful && !was_careful;
}

/* After an error of our own side: report it, roll back, and try again later. */
static void
recover(StreamWorker *worker)
{
	ErrorData  *error;
	char		message[512];
	char	   *reason = NULL;
	bool		careful;
	bool		violation;
	bool		writing = worker->writing;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(worker->stream_context);
	error = CopyErrorData();
	EmitErrorReport();
	AbortOutOfAnyTransaction();
	FlushErrorState();
	mcs_slot_forget_error();
	RESUME_INTERRUPTS();
	mcs_text_copy(message, sizeof(message), error->message ? error->message : "");
	/* only its owner can make the table fit again: what is wrong and the command that helps */
	worker->misfit = mcs_events_table_take_misfit();
	careful = note_write_failure(worker, error);
	events_altered = false;
	if (worker->misfit)
		reason = error->hint ? psprintf("%s: %s", error->message, error->hint) : pstrdup(error->message);
	/* the owner may not connect so, or not use the server: as when MongoDB refuses the role */
	else if (error->hint && (error->sqlerrcode == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION ||
							 (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && !writing)))
		reason = psprintf("%s: %s", error->message, error->hint);
	violation = error->sqlerrcode == ERRCODE_PROTOCOL_VIOLATION;
	FreeErrorData(error);
	MemoryContextSwitchTo(worker->batch_context);
	MemoryContextReset(worker->batch_context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);

	if (!worker->stream)
		ereport(FATAL,
				(errmsg("change stream \"%s\" could not be read: %s", worker->name, message)));
	mcs_worker_close_session(worker);
	if (reason)
		mcs_worker_retry(worker, STREAM_ERROR, reason, message, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MAX_MS));
	else
		mcs_worker_retry(worker, STREAM_RETRYING, violation ? "MongoDB sends what no change stream holds"
						 : "an error in PostgreSQL interrupted the change stream", message,
						 careful ? GetCurrentTimestamp() : mcs_worker_next_retry(worker));
}

static void
relation_callback(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == events_relation)
		events_altered = true;
}

static void
connection_callback(Datum arg, int cache, uint32 hash)
{
	connection_changed = true;
}

static StreamWorker *
make_worker(const char *name)
{
	StreamWorker *worker = MemoryContextAllocZero(TopMemoryContext, sizeof(StreamWorker));

	strlcpy(worker->name, name, NAMEDATALEN);
	worker->stream_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream definition", ALLOCSET_DEFAULT_SIZES);
	worker->session_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream session", ALLOCSET_DEFAULT_SIZES);
	worker->fragment_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream fragments", ALLOCSET_DEFAULT_SIZES);
	/* the first block is kept over resets: an ordinary batch allocates nothing from the system */
	worker->batch_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream batch",
												  0, 4 * 1024 * 1024, 8 * 1024 * 1024);
	worker->event_token = makeStringInfo();
	worker->rate_since = GetCurrentTimestamp();
	return worker;
}

/* Entry of a worker. */
void
mcs_worker_main(Datum arg)
{
	SlotTicket	ticket;
	char		name[NAMEDATALEN];
	Oid			database,
				owner;
	StreamWorker *volatile worker;
	uint32		flags = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	if (!mcs_slot_attach(ticket, name, &database, &owner))
		proc_exit(0);
#if PG_VERSION_NUM >= 170000
	flags = BGWORKER_BYPASS_ROLELOGINCHECK;
#endif
	BackgroundWorkerInitializeConnectionByOid(database, owner, flags);
	mcs_worker_pin_settings();
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, connection_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, connection_callback, (Datum) 0);
	CacheRegisterRelcacheCallback(relation_callback, (Datum) 0);

	worker = make_worker(name);
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
