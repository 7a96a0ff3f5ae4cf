/*
 * handler/worker.c
 *	  A handler's life: connect as the stream's owner, run the code on what has
 *	  come, wait for more, back off, rest.
 *
 * The worker reads its definition, position and code, then takes one step
 * (handler/run.c) after the other until nothing waits.  It reads everything
 * again when its slot says that something has changed.  Where an error comes
 * from decides what it means: from the code on an event, it is that event's and
 * counts as an attempt, unless the event is not to blame (a deadlock, a full
 * disk); from reading the definition or making the code ready, the handler
 * stops until somebody resumes it; from anything else, it is tried again like
 * an error of the stream's worker.
 *
 * No transaction is open while the worker waits.
 */
#include "mongo_change_stream.h"

#include <sys/resource.h>
#include <unistd.h>

#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "shared/shared.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "worker/worker.h"

/* A process without events ends after so long, which leaves its place to others. */
#define REST_AFTER_MS		60000

#define RETRY_FIRST_MS		100

/* Megabytes that the process of a handler may allocate; 0: any number. */
static int	handler_memory = 1024;

/* How often in a row a failure may be blamed on others, before it counts. */
#define MAX_BLAMELESS		20

/* Processes that may die in a row before they come to an event. */
#define MAX_STARTS			3

/* Publishes a state, if it is another: each event would take the lock of all slots. */
static void
set_state(HandlerWorker *worker, StreamState state, const char *reason, TimestampTz next_retry_at)
{
	if (worker->process.report.state == state && strcmp(worker->process.report.reason, reason) == 0 &&
		worker->process.report.next_retry_at == next_retry_at)
		return;
	mcs_process_report(&worker->process, state, reason, NULL, next_retry_at);
}

/* ---- definition ---- */

/*
 * Makes the code ready, in the definition's memory: as the owner, without the
 * restrictions of a session that is somebody else's.
 */
static void
prepare(HandlerWorker *worker)
{
	OwnerScope	scope;
	MemoryContext old = MemoryContextSwitchTo(worker->process.definition_context);

	mcs_owner_begin(&scope, worker->handler->owner, worker->handler->settings, true);
	worker->code = mcs_code_prepare(worker->handler, InvalidSubTransactionId);
	mcs_owner_end(&scope);
	MemoryContextSwitchTo(old);
}

/* Tells of events that were given up, if it is time to. */
static void
tell_of_dead_letters(HandlerWorker *worker, bool at_once)
{
	int64		last;
	int64		count = mcs_handler_slot_take_dead_letters(at_once, &last, &worker->tell_at);
	Alert		alert = {.of_handler = true,.name = worker->process.name,.to = "dead_letter",.count = count};

	if (count == 0)
		return;
	mcs_process_begin(&worker->process);
	alert.reason = psprintf(INT64_FORMAT " %s of change stream \"%s\" became %s, the last of them event " INT64_FORMAT, count,
							count == 1 ? "event" : "events", worker->stream, count == 1 ? "a dead letter" : "dead letters", last);
	alert.hint = psprintf("change_stream_dead_letter_list shows them, change_stream_dead_letter(" INT64_FORMAT ", %s) all of that one; "
						  "SELECT retry_dead_letters(%s) tries them again",
						  last, quote_literal_cstr(worker->process.name), quote_literal_cstr(worker->process.name));
	mcs_alert(&alert);
	mcs_process_commit(&worker->process);
}

/* The handler can't run as it is: it stops until somebody resumes it; in a transaction, which is committed. */
static void
stop(HandlerWorker *worker, const char *reason)
{
	mcs_handler_alert_of_stop(worker, reason);
	set_state(worker, STREAM_ERROR, reason, 0);
	mcs_handlers_stop(worker->process.name, reason);
	mcs_handlers_end(worker->process.name, worker->number);
	mcs_process_commit(&worker->process);
	mcs_process_leave();
}

/* Reads definition, position and code; leaves where the handler shall not run. */
static void
load(HandlerWorker *worker)
{
	HandlerPosition *position = NULL;
	MemoryContext old;

	worker->handler = NULL;
	worker->code = NULL;
	mcs_process_forget_definition(&worker->process);
	mcs_process_begin(&worker->process);
	if (OidIsValid(mcs_extension_schema()))
	{
		old = MemoryContextSwitchTo(worker->process.definition_context);
		/* in this order: with the position comes the version that the definition has, or one before it */
		position = mcs_handlers_position(worker->process.name, worker->number);
		worker->handler = mcs_handlers_load(worker->process.name, false, true);
		MemoryContextSwitchTo(old);
	}
	/* dropped, and made again on another stream: that one has a slot of its own, and maybe a process already, whose row this is */
	if (position && worker->handler && strcmp(worker->handler->stream, worker->stream) != 0)
	{
		mcs_process_commit(&worker->process);
		mcs_process_leave();
	}
	if (!position || !worker->handler || worker->handler->paused || worker->handler->stopped_reason || worker->handler->restored)
	{
		if (position)
			mcs_handlers_end(worker->process.name, worker->number);
		mcs_process_commit(&worker->process);
		/* how many there are is in the slot, which is given up */
		if (worker->handler)
			tell_of_dead_letters(worker, true);
		mcs_process_leave();
	}
	mcs_process_check_owner(worker->handler->owner);
	worker->position = *position;
	mcs_handler_begin_process(worker);
	worker->error_context = AllocSetContextCreate(worker->process.definition_context, "mongo_change_stream handler error",
												  ALLOCSET_SMALL_SIZES);
	worker->timeout_ms = (int) (mcs_convert_interval(worker->handler->timeout) / 1000);
	if (worker->crash.unready >= MAX_STARTS)
		stop(worker, psprintf("%d processes in a row died before they had come to an event; "
							  "the server's log says which signal they died of", worker->crash.unready));
	/* the code is the users': from here to the end of it an error is theirs, and would come back with each try */
	worker->loading = true;
	prepare(worker);
	worker->loading = false;
	mcs_handler_is_ready(worker);
	mcs_process_commit(&worker->process);
	/* what failed before may fail again, and would undo what ran with it */
	worker->run.limit = position->failed_event ? 1 : worker->handler->batch_size;
	worker->run.suspect_until = 0;
}

/* ---- waiting ---- */

/* That time, or an earlier one at which dead letters are to be told of. */
static TimestampTz
wake_at(const HandlerWorker *worker, TimestampTz until)
{
	return worker->tell_at != 0 ? Min(worker->tell_at, until) : until;
}

/* Ends the process in order: it comes again when the launcher sees fit. */
static void
end(HandlerWorker *worker)
{
	mcs_process_begin(&worker->process);
	mcs_handlers_end(worker->process.name, worker->number);
	mcs_process_commit(&worker->process);
	proc_exit(0);
}

/* Leaves the process to another that waits for one, to come again when its turn comes, and not before some time. */
static void
give_way(HandlerWorker *worker, TimestampTz again_at)
{
	/* one that looks for what its predecessors died of goes on looking: the next would not */
	if (worker->crash.careful_until > worker->position.last_event_id)
		return;
	if (mcs_handler_slot_gives_way() && mcs_handler_slot_leave(worker->position.last_event_id, again_at, worker->tell_at))
		end(worker);
}

/* Waits for events, a change or a time. */
static void
wait_for_news(HandlerWorker *worker, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();

	if (until <= now || mcs_handler_slot_has_news(worker->newest))
		return;
	mcs_process_sleep(now, until, REST_AFTER_MS);
}

/* The same where only a change or the time matters: new events have to wait, too. */
static void
wait_for_retry_time(HandlerWorker *worker, TimestampTz until)
{
	/* what has come by now does not count as news then */
	worker->newest = mcs_handler_slot_newest();
	wait_for_news(worker, until);
}

/* Nothing waits: waits for something, and ends after a while without. */
static void
idle(HandlerWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!worker->idle_since)
	{
		worker->idle_since = now;
		/* whatever its predecessors died of, there is none of it left */
		mcs_slot_trusted();
	}
	set_state(worker, STREAM_IDLE, "waiting for events", 0);
	if (mcs_handler_slot_gives_way() || TimestampDifferenceExceeds(worker->idle_since, now, REST_AFTER_MS))
	{
		set_state(worker, STREAM_IDLE, "no events for a while; a worker starts with the next one", 0);
		/* an event that came since the table was looked into keeps it here */
		if (mcs_handler_slot_rest(worker->newest, worker->tell_at))
			end(worker);
		worker->idle_since = 0;
		return;
	}
	/* so that the rate which others see falls, too */
	if (worker->process.rate > 0)
	{
		mcs_process_measure(&worker->process, GetCurrentTimestamp());
		mcs_handler_slot_moved(worker->process.rate);
	}
	wait_for_news(worker, wake_at(worker, TimestampTzPlusMilliseconds(now, worker->process.rate > 0 ? CHORE_INTERVAL_MS
																		  : REST_AFTER_MS / 2)));
}

/* The next event is one that has failed: says so and waits for its time. */
static void
wait_for_retry(HandlerWorker *worker)
{
	HandlerPosition *position = &worker->position;
	char		reason[sizeof(worker->process.report.reason)];

	mcs_text_format(reason, sizeof(reason), "event " INT64_FORMAT " failed %d times and is tried again: %s", position->failed_event,
					position->attempts, position->error.message ? position->error.message : "");
	set_state(worker, STREAM_RETRYING, reason, position->next_retry_at);
	give_way(worker, wake_at(worker, position->next_retry_at));
	wait_for_retry_time(worker, wake_at(worker, position->next_retry_at));
}

/* ---- errors ---- */

/* Whether an error is none of the event's doing. */
static bool
is_blameless(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_SYSTEM_ERROR ||
		sqlerrcode == ERRCODE_DISK_FULL || sqlerrcode == ERRCODE_TOO_MANY_CONNECTIONS;
}

/* Tries again later what failed on our own side. */
static void
back_off(void *arg, const char *message)
{
	HandlerWorker *worker = arg;
	TimestampTz until = mcs_process_backoff(worker->process.failures++, RETRY_FIRST_MS);
	char		reason[sizeof(worker->process.report.reason)];

	worker->process.reload = true;
	mcs_text_format(reason, sizeof(reason), "an error in PostgreSQL interrupted the handler: %s", message);
	set_state(worker, STREAM_RETRYING, reason, until);
	while (GetCurrentTimestamp() < until && !mcs_slot_is_changed())
	{
		CHECK_FOR_INTERRUPTS();
		wait_for_retry_time(worker, until);
	}
}

/* Rolls back and returns the error, which lives in the batch's memory. */
static ErrorData *
clean_up(void *arg, bool log)
{
	HandlerWorker *worker = arg;
	ErrorData  *error;

	HOLD_INTERRUPTS();
	/* nobody cancels from here on what has ended already: the timeout, the launcher; then what came meanwhile */
	disable_timeout(STATEMENT_TIMEOUT, false);
	mcs_handler_slot_running(0, 0);
	QueryCancelPending = false;
	/* the events of the batch are there, too, and are still needed */
	error = mcs_process_clean_up(&worker->process, worker->process.batch_context, log);
	MemoryContextReset(worker->run.event_context);
	RESUME_INTERRUPTS();
	return error;
}

/* Decides what an error means that step or load raised. */
static void
recover(void *arg, ErrorData *error)
{
	HandlerWorker *worker = arg;
	int			at = worker->run.blame.at;
	char		message[512];

	mcs_text_copy(message, sizeof(message), error->message ? error->message : "");
	mcs_numbers_error(unpack_sql_state(error->sqlerrcode));
	/* what failed may be what was changed: whoever changed it is not to find a stop, or an attempt, of the old one */
	if (mcs_slot_is_changed())
		worker->process.reload = true;
	else if (worker->loading)
	{
		worker->loading = false;
		if (!is_blameless(error->sqlerrcode) && error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		{
			char	   *reason = psprintf("its code could not be made ready: %s", message);

			mcs_process_begin(&worker->process);
			stop(worker, reason);
		}
		back_off(worker, message);
	}
	else if (at >= 0 && (!is_blameless(error->sqlerrcode) || worker->process.failures >= MAX_BLAMELESS))
		mcs_handler_failed(worker, error);
	else
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("change handler \"%s\" was interrupted: %s", worker->process.name, message),
				 error->detail ? errdetail("%s", error->detail) : 0));
		back_off(worker, message);
	}
	worker->run.blame.at = -1;
}

/* ---- main loop ---- */

/* From one look at what is to be done to the next. */
static void
run(void *arg)
{
	HandlerWorker *worker = arg;

	mcs_process_check_signals();
	if (worker->process.reload || mcs_slot_is_changed())
		load(worker);
	tell_of_dead_letters(worker, false);
	/* before the table is looked into: an event that comes after that is news */
	worker->newest = mcs_handler_slot_newest();
	switch (mcs_handler_step(worker))
	{
		case STEP_DONE:
			worker->idle_since = 0;
			set_state(worker, STREAM_ACTIVE, "running", 0);
			mcs_process_measure(&worker->process, GetCurrentTimestamp());
			if (!worker->process.reload)
				give_way(worker, 0);
			break;
		case STEP_EMPTY:
			idle(worker);
			break;
		case STEP_WAIT:
			wait_for_retry(worker);
			break;
	}
}

/*
 * Bounds the process's memory, so that code without measure gets an error
 * before the system kills some process, which would restart all of them.
 */
static void
limit_memory(void)
{
#if defined(RLIMIT_DATA) && defined(__linux__)
	FILE	   *statm = handler_memory > 0 ? AllocateFile("/proc/self/statm", "r") : NULL;
	unsigned long data;
	struct rlimit limit;

	if (!statm)
		return;
	/* the limit counts all data of the process, also what it has by now */
	if (fscanf(statm, "%*u %*u %*u %*u %*u %lu", &data) == 1 && getrlimit(RLIMIT_DATA, &limit) == 0)
	{
		rlim_t		wanted = (rlim_t) data * sysconf(_SC_PAGESIZE) + (rlim_t) handler_memory * 1024 * 1024;

		/* lower than what the administrator has set, or not at all; where that fails there is no limit, as elsewhere */
		if (limit.rlim_cur == RLIM_INFINITY || wanted < limit.rlim_cur)
			limit.rlim_cur = wanted;
		(void) setrlimit(RLIMIT_DATA, &limit);
	}
	FreeFile(statm);
#endif
}

static HandlerWorker *
make_worker(const char *stream)
{
	HandlerWorker *worker = MemoryContextAllocZero(TopMemoryContext, sizeof(HandlerWorker));
	char		name[NAMEDATALEN];

	strlcpy(worker->stream, stream, NAMEDATALEN);
	(void) mcs_handler_slot_attach(name, &worker->number);
	mcs_process_init(&worker->process, name, 2 * 1024 * 1024);
	/* the first block is kept over resets: it holds an ordinary batch, too */
	worker->run.event_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream handler event",
													  0, 2 * 1024 * 1024, 8 * 1024 * 1024);
	worker->run.blame.at = -1;
	worker->process.reload = true;
	return worker;
}

/* Entry of a handler's worker. */
void
mcs_handler_main(Datum arg)
{
	static const ProcessSteps steps = {run, clean_up, recover, back_off};
	char		stream[NAMEDATALEN];
	HandlerWorker *worker;

	mcs_process_connect(stream);
	/* what PostgreSQL itself has allocated by now is not counted */
	limit_memory();
	worker = make_worker(stream);
	mcs_process_run(&steps, worker);
}

/* Registers settings. */
void
mcs_handler_init(void)
{
	DefineCustomIntVariable("mongo_change_stream.handler_memory",
							"Sets how much memory the code of a handler can allocate before it gets an error.",
							"0 sets no limit. Takes effect for processes that start afterwards.",
							&handler_memory, 1024, 0, MAX_KILOBYTES / 1024,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
}
