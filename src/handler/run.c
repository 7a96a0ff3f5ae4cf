/*
 * handler/run.c
 *	  One transaction of a handler: events, what the code makes of them, the
 *	  position, and the events' status.
 *
 * Exactly once
 * ------------
 * The stored position of a worker says which of its events are done.  A
 * transaction reads the events behind it, runs the code on each in event_id
 * order, and moves the position behind the last of them, on the condition that
 * it is where it was and the definition is the one that ran.  Either all of that
 * is there or nothing: after any crash the worker goes on from what is stored, and
 * events never change their numbers.  A function that pauses, alters or drops the
 * handler changes the positions' definition_version, so a transaction that saves
 * its position after it does not find it, and is rolled back; the slot's flag is
 * only there to end a wait.
 *
 * Failures
 * --------
 * While all goes well a transaction takes many events, without a subtransaction
 * for each: they would cost more than most handlers do.  When the code fails
 * on an event the whole transaction is rolled back, the failure is noted in
 * another one, and the events before it, of which each has succeeded once, are
 * run again by themselves.  Then the event that failed is first, and alone; and
 * from there on transactions grow again, from one event on.  So what a
 * transaction can't take back (a command sent to MongoDB, a number of a
 * sequence) may happen once more for the events of a transaction in which a
 * later one failed, as it may after a crash.
 *
 * Code for each batch runs once on the events of a transaction.  Where it fails, none
 * of them is to blame more than the others: it runs again on the first half, and on
 * half of what is left of those that have failed, until an event fails alone.  That
 * one is a failure as above; the events before it have succeeded by then.
 *
 * An event that has failed as often as it may becomes a dead letter, in the
 * transaction that moves the position behind it; or the handler stops before it.
 *
 * An event on which the process dies (a library that crashes, the system that
 * kills it) can't note its failure.  So when the process before this one has not
 * ended in order, the next events are run one by one, each being noted before in
 * a transaction of its own; and one on which several processes in a row have
 * died is given up.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "shared/shared.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker.h"

/* The longest that one transaction shall run code. */
#define BATCH_MICROSECONDS	(USECS_PER_SEC / 2)

/*
 * How many processes may die while they run an event.  Some may do so by no fault
 * of the event: a process that dies takes all others with it.
 */
#define MAX_CRASHES		3

/* Longest texts that are kept of an error. */
#define ERROR_BYTES		8192

/* ---- what runs ---- */

/* The last event that the next transaction may take. */
static int64
last_event(const HandlerWorker *worker)
{
	const HandlerPosition *position = &worker->position;

	/* up to the event that failed, which is then the first of a transaction */
	if (position->failed_event > position->last_event_id + 1)
		return position->failed_event - 1;
	return worker->run.suspect_until > position->last_event_id ? worker->run.suspect_until : PG_INT64_MAX;
}

/* Runs the code on one event of the batch after the other until it has taken long enough, or another waits for the process; how many. */
static int
run_one_by_one(HandlerWorker *worker)
{
	HandlerBatch *batch = &worker->run.batch;
	TimestampTz begin = worker->run.began;
	int			done = 0;

	worker->run.blame.together = 1;
	while (done < batch->count && worker->run.began - begin < BATCH_MICROSECONDS && !(done > 0 && mcs_handler_slot_gives_way()))
	{
		HandlerEvent *event = &batch->events[done];
		TimestampTz end;

		CHECK_FOR_INTERRUPTS();
		/* from here on an error is this event's */
		worker->run.blame.at = done;
		mcs_handler_slot_running(event->event_id, worker->run.began);
		mcs_code_run(worker->code, event, 1, worker->timeout_ms, &worker->run.blame);
		end = GetCurrentTimestamp();
		event->microseconds = Max(end - worker->run.began, 0);
		worker->run.began = end;
		MemoryContextReset(worker->run.event_context);
		done++;
	}
	return done;
}

/* Runs the code on all events of the batch at once; how many there are. */
static int
run_together(HandlerWorker *worker)
{
	HandlerBatch *batch = &worker->run.batch;
	int64		microseconds;

	if (batch->count == 0)
		return 0;
	mcs_handler_slot_running(batch->events[0].event_id, worker->run.began);
	mcs_code_run(worker->code, batch->events, batch->count, worker->timeout_ms, &worker->run.blame);
	MemoryContextReset(worker->run.event_context);
	/* each has its part of the time */
	microseconds = Max(GetCurrentTimestamp() - worker->run.began, 0) / worker->run.blame.together;
	for (int i = 0; i < batch->count; i++)
		batch->events[i].microseconds = microseconds;
	return batch->count;
}

/* Runs the code on events of the batch; on how many, from the first on. */
static int
run_events(HandlerWorker *worker)
{
	int			level = mcs_owner_begin_settings(worker->handler->settings);
	MemoryContext old = MemoryContextSwitchTo(worker->run.event_context);
	int			done;

	worker->run.began = GetCurrentTimestamp();
	done = worker->handler->each == HANDLER_EACH_BATCH ? run_together(worker) : run_one_by_one(worker);
	/*
	 * An error of what is deferred counts as the last event's, or as the batch's.
	 * Where it is another's, it comes again when the events before that one are run.
	 */
	if (done > 0)
		mcs_code_finish();
	mcs_handler_slot_running(0, 0);
	worker->run.blame.at = -1;
	MemoryContextSwitchTo(old);
	mcs_owner_end_settings(level);
	return done;
}

/* Writes into the events' rows that they are done. */
static void
write_results(HandlerWorker *worker, int count)
{
	HandlerResult *results = palloc0(sizeof(HandlerResult) * Max(count, 1));

	for (int i = 0; i < count; i++)
	{
		HandlerEvent *event = &worker->run.batch.events[i];

		results[i].event_id = event->event_id;
		results[i].outcome = OUTCOME_DONE;
		results[i].was_ours = event->event_id == worker->position.failed_event;
		results[i].attempts = event->ran ? 1 : 0;
		results[i].microseconds = event->ran ? event->microseconds : 0;
		results[i].of_batch = worker->handler->each == HANDLER_EACH_BATCH;
	}
	mcs_processing_write(worker->handler->stream, worker->process.name, results, count);
}

/* Whether the handler's own code has altered, paused or dropped it, or dropped its stream, in this transaction. */
static bool
changed_itself(const HandlerWorker *worker)
{
	return mcs_wake_is_due(worker->stream, worker->process.name);
}

/* After a commit: memory follows the table. */
static void
moved(HandlerWorker *worker, int64 to, int events)
{
	HandlerPosition *position = &worker->position;

	position->last_event_id = to;
	if (position->failed_event && position->failed_event <= to)
	{
		position->failed_event = 0;
		position->attempts = 0;
		position->next_retry_at = 0;
	}
	worker->process.rate_events += events;
	worker->process.done.events = events;
	mcs_numbers_add(&worker->process.done);
	worker->process.failures = 0;
	mcs_slot_trusted();
	mcs_handler_slot_moved(worker->process.rate);
}

/* Counts the events of a batch that were run, before their memory goes. */
static void
count_events(HandlerWorker *worker, int done)
{
	const HandlerEvent *events = worker->run.batch.events;
	int64		epoch_ms = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400000);

	if (done == 0)
		return;
	worker->process.done.counters[NUMBER_BATCHES]++;
	for (int i = 0; i < done; i++)
		worker->process.done.counters[NUMBER_RUN] += events[i].microseconds;
	if (events[0].received_at != 0 && events[done - 1].received_at != 0)
	{
		worker->process.done.first_ms = events[0].received_at / 1000 + epoch_ms;
		worker->process.done.last_ms = events[done - 1].received_at / 1000 + epoch_ms;
	}
}

/* Ends the transaction of a batch of which so many events were run. */
static void
finish_batch(HandlerWorker *worker, int done)
{
	int64		to = done < worker->run.batch.count ? worker->run.batch.events[done - 1].event_id : worker->run.batch.through;
	bool		itself = changed_itself(worker);
	bool		saved = mcs_handlers_save(worker->process.name, worker->number, &worker->position, to, done);

	/* code that alters, pauses or drops its own handler has changed the position, and is to have its way */
	if ((!saved && !itself) || mcs_slot_is_changed())
	{
		mcs_process_roll_back(&worker->process);
		return;
	}
	/* last of all, since the lock on the statuses is held from here on */
	if (saved)
		write_results(worker, done);
	count_events(worker, done);
	mcs_process_commit(&worker->process);
	moved(worker, to, done);
	worker->process.reload = itself;
}

/* ---- giving up ---- */

void
mcs_handler_alert_of_stop(const HandlerWorker *worker, const char *reason)
{
	Alert		alert = {.of_handler = true,.name = worker->process.name,.from = mcs_shared_state_name(worker->process.report.state),
	.to = mcs_shared_state_name(STREAM_ERROR),.reason = reason};

	alert.hint = psprintf("SELECT resume_change_handler(%s);", quote_literal_cstr(worker->process.name));
	mcs_alert(&alert);
}

/* Whether the first event of the batch has failed as often as it may. */
static bool
is_given_up(const HandlerWorker *worker)
{
	return worker->position.failed_event != 0 && worker->position.attempts > worker->handler->retry_attempts;
}

/* Stops the handler before the event that it gives up; false where its definition was changed meanwhile. */
static bool
stop_before_event(HandlerWorker *worker)
{
	Handler    *handler = worker->handler;
	HandlerPosition *position = &worker->position;
	const HandlerPosition *stored;

	/* from here on nobody changes the definition */
	(void) mcs_handlers_load(handler->name, true, true);
	stored = mcs_handlers_position(worker->process.name, worker->number);
	if (stored == NULL || stored->definition_version != position->definition_version)
		return false;
	mcs_handlers_stop(handler->name, psprintf("event " INT64_FORMAT " failed %d times: %s", position->failed_event,
											  position->attempts, position->error.message));
	/* not the message, which may hold values of the event */
	mcs_handler_alert_of_stop(worker, psprintf("event " INT64_FORMAT " failed %d times, at last with SQLSTATE %s",
											   position->failed_event, position->attempts, position->error.sqlstate));
	/* none of the handler's other workers moves its position while it stops */
	(void) mcs_handlers_lock_positions(handler->name, NULL, NULL);
	mcs_wake_handlers_at_commit(handler->stream, handler->name);
	return true;
}

/* Makes the event that the handler gives up a dead letter, and moves behind it; false as above. */
static bool
make_dead_letter(HandlerWorker *worker)
{
	HandlerPosition *position = &worker->position;

	if (!mcs_handlers_save(worker->process.name, worker->number, position, position->failed_event, 1))
		return false;
	mcs_dead_letters_insert(worker->handler, position->failed_event, &position->error, position->attempts);
	return true;
}

/* Gives up the first event of the batch. */
static void
give_up(HandlerWorker *worker)
{
	Handler    *handler = worker->handler;
	HandlerPosition *position = &worker->position;
	int64		event_id = position->failed_event;
	bool		stops = handler->on_failure == HANDLER_ON_FAILURE_STOP;
	HandlerResult result;

	memset(&result, 0, sizeof(result));
	result.event_id = event_id;
	result.outcome = OUTCOME_ERROR;
	result.error = position->error.message;
	if (!(stops ? stop_before_event(worker) : make_dead_letter(worker)) || mcs_slot_is_changed())
	{
		mcs_process_roll_back(&worker->process);
		return;
	}
	mcs_processing_write(handler->stream, handler->name, &result, 1);
	mcs_process_commit(&worker->process);
	ereport(LOG,
			(errmsg("change handler \"%s\" gave up event " INT64_FORMAT " of change stream \"%s\" after %d attempts",
					handler->name, event_id, handler->stream, position->attempts),
			 errdetail("%s: %s", position->error.sqlstate, position->error.message)));
	/* loading finds that it has stopped, and leaves */
	if (stops)
		worker->process.reload = true;
	else
	{
		mcs_handler_slot_add_dead_letter(event_id);
		moved(worker, event_id, 1);
	}
}

/* ---- processes that die ---- */

/* When this process begins: whether the one before it has died, and on what. */
void
mcs_handler_begin_process(HandlerWorker *worker)
{
	int64		running_event;
	int			repeats;
	int			starts;
	bool		disorderly;

	if (worker->crash.begun)
		return;
	worker->crash.begun = true;
	disorderly = mcs_handlers_begin(worker->process.name, worker->number, mcs_slot_is_first(), &running_event, &repeats, &starts);
	/* before anything of the users' is touched that the process may die of */
	mcs_process_commit(&worker->process);
	mcs_process_begin(&worker->process);
	if (!disorderly)
		return;
	worker->crash.unready = starts;
	worker->crash.careful_until = worker->position.last_event_id + worker->handler->batch_size;
	if (repeats >= MAX_CRASHES - 1 && running_event > worker->position.last_event_id)
		worker->crash.died_on = running_event;
}

/* The code is ready to run: whatever processes died of before they had come to an event, it is not that. */
void
mcs_handler_is_ready(HandlerWorker *worker)
{
	if (worker->crash.unready == 0)
		return;
	mcs_handlers_ready(worker->process.name, worker->number);
	worker->crash.unready = 0;
}

/* Notes the event that is run next, and begins a new transaction for it. */
static void
announce(HandlerWorker *worker, int64 event_id)
{
	mcs_handlers_announce(worker->process.name, worker->number, event_id);
	mcs_process_commit(&worker->process);
	mcs_process_begin(&worker->process);
	/* the commit has freed the batch */
	mcs_rows_read(&worker->run.batch, worker->handler, worker->position.last_event_id, event_id, 1,
					worker->number, worker->handler->workers);
}

/* The first event of the batch has killed processes: it fails for the last time, without being run. */
static void
take_death(HandlerWorker *worker)
{
	HandlerPosition *position = &worker->position;

	position->failed_event = worker->crash.died_on;
	position->attempts = Max(worker->handler->retry_attempts, position->attempts) + 1;
	position->error.sqlstate = "57P02"; /* crash_shutdown, as its other sessions have got it */
	position->error.message = "the process died while it handled this event";
	position->error.detail = "Several processes in a row have.";
	position->error.context = NULL;
	worker->crash.died_on = 0;
}

/* ---- one step ---- */

/* All went well: from one event on back to many, or on to half of what is left of those that have failed together. */
static void
grow(HandlerWorker *worker)
{
	HandlerRun *run = &worker->run;

	if (run->suspect_until > worker->position.last_event_id)
		run->limit = Max(run->limit / 2, 1);
	else
	{
		run->suspect_until = 0;
		run->limit = Min(run->limit * 2, worker->handler->batch_size);
	}
}

HandlerStep
mcs_handler_step(HandlerWorker *worker)
{
	HandlerPosition *position = &worker->position;
	int			done;

	mcs_process_begin(&worker->process);
	worker->run.blame.at = -1;
	/* a function was replaced, or a type altered: what runs is the newest */
	if (!mcs_code_valid(worker->code))
	{
		mcs_process_commit(&worker->process);
		worker->process.reload = true;
		return STEP_DONE;
	}
	mcs_rows_read(&worker->run.batch, worker->handler, position->last_event_id, last_event(worker),
					worker->run.limit, worker->number, worker->handler->workers);
	/* not even an event of another worker, over which the position would move */
	if (worker->run.batch.through == position->last_event_id)
	{
		mcs_process_commit(&worker->process);
		return STEP_EMPTY;
	}
	if (worker->run.batch.count > 0 && worker->run.batch.events[0].event_id == worker->crash.died_on)
		take_death(worker);
	if (worker->run.batch.count > 0 && worker->run.batch.events[0].event_id == position->failed_event)
	{
		if (is_given_up(worker))
		{
			give_up(worker);
			return STEP_DONE;
		}
		if (position->next_retry_at > GetCurrentTimestamp())
		{
			mcs_process_commit(&worker->process);
			return STEP_WAIT;
		}
		/* alone: what comes behind it has not succeeded yet */
		worker->run.batch.count = 1;
		worker->run.batch.through = position->failed_event;
		worker->run.limit = 1;
	}
	if (worker->crash.careful_until > position->last_event_id && worker->run.batch.count > 0)
		announce(worker, worker->run.batch.events[0].event_id);
	done = run_events(worker);
	finish_batch(worker, done);
	if (!worker->process.reload)
		grow(worker);
	return STEP_DONE;
}

/* ---- failures ---- */

/* A copy of an error's text, of bounded length, that lives until the next error. */
static char *
keep_text(HandlerWorker *worker, const char *source)
{
	Size		size;
	char	   *copy;

	if (source == NULL)
		return NULL;
	size = Min(strlen(source), ERROR_BYTES) + 1;
	copy = MemoryContextAlloc(worker->error_context, size);
	mcs_text_copy(copy, size, source);
	return copy;
}

HandlerError
mcs_handler_error(const ErrorData *error)
{
	HandlerError kept;

	kept.sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	kept.message = pstrdup(error->message ? error->message : "");
	kept.detail = error->detail ? pstrdup(error->detail) : NULL;
	kept.context = error->context ? pstrdup(error->context) : NULL;
	return kept;
}

/* When to try again after that many failures of one event. */
static TimestampTz
next_retry(const Handler *handler, int attempts)
{
	double		delay = (double) mcs_convert_interval(handler->retry_delay) * pow(2, Min(attempts - 1, 40));

	delay = Min(delay, (double) mcs_convert_interval(handler->max_retry_delay));
	return GetCurrentTimestamp() + (int64) delay;
}

/* Takes an error into the position: one more attempt has failed. */
static void
take_error(HandlerWorker *worker, const ErrorData *error, int64 event_id)
{
	HandlerPosition *position = &worker->position;
	bool		obstructs = mcs_handler_slot_take_obstructs();
	/* a cancel does not say whose it is: it is the timeout's where that has run out */
	bool		timed_out = error->sqlerrcode == ERRCODE_QUERY_CANCELED && !obstructs &&
		GetCurrentTimestamp() - worker->run.began >= (int64) worker->timeout_ms * 1000;

	MemoryContextReset(worker->error_context);
	position->attempts = position->failed_event == event_id ? position->attempts + 1 : 1;
	position->failed_event = event_id;
	position->next_retry_at = next_retry(worker->handler, position->attempts);
	position->error.sqlstate = keep_text(worker, unpack_sql_state(obstructs ? ERRCODE_LOCK_NOT_AVAILABLE : error->sqlerrcode));
	position->error.message = keep_text(worker, obstructs
										? "the handler was cancelled because its change stream waited for a lock that it held"
										: timed_out ? "the handler was cancelled because it ran longer than its timeout"
										: error->message);
	position->error.detail = keep_text(worker, timed_out ? "The handler ran longer than its timeout." : error->detail);
	position->error.context = keep_text(worker, error->context);
}

/* The code has failed on several events together: it is run on half of them, and so on, until the one that is to blame is alone. */
static void
halve(HandlerWorker *worker)
{
	const HandlerBatch *batch = &worker->run.batch;

	(void) mcs_handler_slot_take_obstructs();
	worker->run.suspect_until = batch->events[batch->count - 1].event_id;
	worker->run.limit = Max(batch->count / 2, 1);
}

void
mcs_handler_failed(HandlerWorker *worker, const ErrorData *error)
{
	HandlerPosition *position = &worker->position;
	int			at = worker->run.blame.at;
	int64		event_id = worker->run.batch.events[at].event_id;
	int64		microseconds = Max(GetCurrentTimestamp() - worker->run.began, 0);
	HandlerResult result;

	worker->run.blame.at = -1;
	/* the time that runs out is that of all of them */
	if (worker->handler->each == HANDLER_EACH_BATCH && worker->run.batch.count > 1 &&
		(worker->run.blame.together > 1 || error->sqlerrcode == ERRCODE_QUERY_CANCELED))
	{
		halve(worker);
		return;
	}
	worker->run.suspect_until = 0;
	take_error(worker, error, event_id);
	memset(&result, 0, sizeof(result));
	result.event_id = event_id;
	result.outcome = OUTCOME_RETRY;
	result.attempts = 1;
	result.microseconds = microseconds;
	result.error = position->error.message;

	mcs_process_begin(&worker->process);
	if (!mcs_handlers_save_failure(worker->process.name, worker->number, position) || mcs_slot_is_changed())
	{
		mcs_process_roll_back(&worker->process);
		return;
	}
	mcs_processing_write(worker->handler->stream, worker->process.name, &result, 1);
	mcs_process_commit(&worker->process);
	/* the events before it, which have succeeded once, and then slowly more */
	worker->run.limit = Max(at, 1);
	mcs_handler_slot_moved(worker->process.rate);
}
