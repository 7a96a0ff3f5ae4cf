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

#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "handler/handler.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared/shared.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "worker/worker.h"

#define REST_AFTER_MS		60000
#define CHORE_INTERVAL_MS	1000
#define RETRY_MIN_MS		100
#define RETRY_MAX_MS		60000

/* Megabytes that the process of a handler may allocate; 0: any number. */
static int	handler_memory = 1024;

/* How often in a row a failure may be blamed on others, before it counts. */
#define MAX_BLAMELESS		20

/* Processes that may die in a row before they come to an event. */
#define MAX_STARTS			3

/* Where the worker is, for what an error means. */
static bool loading = false;

/* Publishes a state. */
static void
set_state(HandlerWorker *worker, StreamState state, const char *reason, TimestampTz next_retry_at)
{
	if (worker->report.state == state && strcmp(worker->report.reason, reason) == 0 &&
		worker->report.next_retry_at == next_retry_at)
		return;
	worker->report.state = state;
	mcs_text_copy(worker->report.reason, sizeof(worker->report.reason), reason);
	worker->report.next_retry_at = next_retry_at;
	mcs_slot_report(&worker->report);
}

/* ---- definition ---- */

/* Leaves for good: the handler shall not run. */
static void
leave(void)
{
	mcs_slot_release();
	proc_exit(0);
}

/* Takes over what was read, in the definition's memory. */
static void
prepare(HandlerWorker *worker)
{
	OwnerScope	scope;
	MemoryContext old = MemoryContextSwitchTo(worker->definition_context);

	mcs_owner_begin(&scope, worker->handler->owner, worker->handler->settings, true);
	worker->code = mcs_code_prepare(worker->handler, InvalidSubTransactionId);
	mcs_owner_end(&scope);
	MemoryContextSwitchTo(old);
}

void
mcs_handler_alert_of_stop(const HandlerWorker *worker, const char *reason)
{
	Alert		alert = {.of_handler = true,.name = worker->name,.from = mcs_shared_state_name(worker->report.state),
	.to = mcs_shared_state_name(STREAM_ERROR),.reason = reason};

	alert.hint = psprintf("SELECT resume_change_handler(%s);", quote_literal_cstr(worker->name));
	mcs_alert(&alert);
}

/* Tells of events that were given up, if it is time to. */
static void
tell_of_letters(HandlerWorker *worker, bool at_once)
{
	int64		last;
	int64		count = mcs_handler_slot_take_dead_letters(at_once, &last, &worker->tell_at);
	Alert		alert = {.of_handler = true,.name = worker->name,.to = "dead_letter",.count = count};

	if (count == 0)
		return;
	mcs_handler_transaction_begin(worker);
	alert.reason = psprintf(INT64_FORMAT " %s of change stream \"%s\" became %s, the last of them event " INT64_FORMAT, count,
							count == 1 ? "event" : "events", worker->stream, count == 1 ? "a dead letter" : "dead letters", last);
	alert.hint = psprintf("change_stream_dead_letters shows them, SELECT retry_dead_letters(%s) tries them again",
						  quote_literal_cstr(worker->name));
	mcs_alert(&alert);
	mcs_handler_transaction_commit(worker);
}

/* The handler can't run as it is: it stops until somebody resumes it; in a transaction, which is committed. */
static void
stop(HandlerWorker *worker, const char *reason)
{
	mcs_handler_alert_of_stop(worker, reason);
	set_state(worker, STREAM_ERROR, reason, 0);
	mcs_handlers_stop(worker->name, reason);
	mcs_handlers_end(worker->name, worker->number);
	mcs_handler_transaction_commit(worker);
	leave();
}

/* Reads definition, position and code; leaves where the handler shall not run. */
static void
load(HandlerWorker *worker)
{
	HandlerPosition *position = NULL;
	MemoryContext old;

	(void) mcs_slot_take_changed();
	worker->reload = false;
	worker->handler = NULL;
	worker->code = NULL;
	MemoryContextReset(worker->definition_context);
	mcs_handler_transaction_begin(worker);
	if (OidIsValid(mcs_extension_schema()))
	{
		old = MemoryContextSwitchTo(worker->definition_context);
		/* in this order: with the position comes the version that the definition has, or one before it */
		position = mcs_handlers_position(worker->name, worker->number);
		worker->handler = mcs_handlers_load(worker->name, false, true);
		MemoryContextSwitchTo(old);
	}
	if (!position || !worker->handler || worker->handler->paused || worker->handler->stopped_reason || worker->handler->restored)
	{
		if (position)
			mcs_handlers_end(worker->name, worker->number);
		mcs_handler_transaction_commit(worker);
		if (worker->handler)
			tell_of_letters(worker, true);
		leave();
	}
	if (worker->handler->owner != GetSessionUserId())
		proc_exit(1);			/* the launcher starts another as the new owner */
	worker->position = *position;
	mcs_handler_begin_process(worker);
	worker->error_context = AllocSetContextCreate(worker->definition_context, "mongo_change_stream handler error", ALLOCSET_SMALL_SIZES);
	worker->timeout_ms = (int) (mcs_convert_interval(worker->handler->timeout) / 1000);
	if (worker->unready >= MAX_STARTS)
		stop(worker, psprintf("%d processes in a row died before they had come to an event; "
							  "the server's log says which signal they died of", worker->unready));
	loading = true;
	prepare(worker);
	loading = false;
	mcs_handler_is_ready(worker);
	mcs_handler_transaction_commit(worker);
	worker->limit = position->failed_event ? 1 : HANDLER_BATCH_EVENTS;
}

/* ---- waiting ---- */

/* What a long wait may be about: the batch of a second's events. */
static void
measure(HandlerWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	double		span = (double) (now - worker->rate_since) / USECS_PER_SEC;

	if (span * 1000 < CHORE_INTERVAL_MS)
		return;
	worker->rate = (worker->rate + worker->rate_events / span) / 2;
	if (worker->rate_events == 0 && worker->rate < 0.1)
		worker->rate = 0;
	worker->rate_events = 0;
	worker->rate_since = now;
}

/* That time, or an earlier one at which dead letters are to be told of. */
static TimestampTz
or_tell_at(const HandlerWorker *worker, TimestampTz until)
{
	return worker->tell_at != 0 ? Min(worker->tell_at, until) : until;
}

/* Waits for events, a change or a time. */
static void
wait_for_news(HandlerWorker *worker, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();

	if (until <= now || mcs_handler_slot_has_news(worker->newest))
		return;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(TimestampDifferenceMilliseconds(now, until) + 1, REST_AFTER_MS), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* The same where only a change or the time matters: new events have to wait, too. */
static void
wait_for_retry_time(HandlerWorker *worker, TimestampTz until)
{
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
		mcs_slot_trusted();
	}
	set_state(worker, STREAM_IDLE, "waiting for events", 0);
	if (TimestampDifferenceExceeds(worker->idle_since, now, REST_AFTER_MS))
	{
		set_state(worker, STREAM_IDLE, "no events for a while; a worker starts with the next one", 0);
		if (mcs_handler_slot_rest(worker->newest))
		{
			mcs_handler_transaction_begin(worker);
			mcs_handlers_end(worker->name, worker->number);
			mcs_handler_transaction_commit(worker);
			proc_exit(0);
		}
		worker->idle_since = 0;
		return;
	}
	if (worker->rate > 0)
	{
		measure(worker);
		mcs_handler_slot_moved(worker->rate);
	}
	wait_for_news(worker, or_tell_at(worker, TimestampTzPlusMilliseconds(now, worker->rate > 0 ? CHORE_INTERVAL_MS
																		  : REST_AFTER_MS / 2)));
}

/* The next event is one that has failed: says so and waits for its time. */
static void
wait_for_retry(HandlerWorker *worker)
{
	HandlerPosition *position = &worker->position;
	char		reason[sizeof(worker->report.reason)];

	mcs_text_format(reason, sizeof(reason), "event " INT64_FORMAT " failed %d times and is tried again: %s", position->failed_event,
					position->attempts, position->error.message ? position->error.message : "");
	set_state(worker, STREAM_RETRYING, reason, position->next_retry_at);
	wait_for_retry_time(worker, or_tell_at(worker, position->next_retry_at));
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
back_off(HandlerWorker *worker, const char *message)
{
	double		delay = Min(RETRY_MIN_MS * pow(2, Min(worker->failures, 12)), RETRY_MAX_MS);
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													(int64) (delay * (0.5 + pg_prng_double(&pg_global_prng_state) / 2)));
	char		reason[sizeof(worker->report.reason)];

	worker->failures++;
	worker->reload = true;
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
clean_up(HandlerWorker *worker)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	disable_timeout(STATEMENT_TIMEOUT, false);
	mcs_handler_slot_running(0, 0);
	QueryCancelPending = false;
	/* the events of the batch are there, and are still needed */
	MemoryContextSwitchTo(worker->batch_context);
	error = CopyErrorData();
	AbortOutOfAnyTransaction();
	FlushErrorState();
	MemoryContextSwitchTo(worker->batch_context);
	MemoryContextReset(worker->event_context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	RESUME_INTERRUPTS();
	return error;
}

/* Decides what an error means that step or load raised. */
static void
recover(HandlerWorker *worker, ErrorData *error)
{
	int			at = worker->at;
	char		message[512];

	mcs_text_copy(message, sizeof(message), error->message ? error->message : "");
	if (mcs_slot_is_changed())
		worker->reload = true;
	else if (loading)
	{
		loading = false;
		if (!is_blameless(error->sqlerrcode) && error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		{
			char	   *reason = psprintf("its code could not be made ready: %s", message);

			mcs_handler_transaction_begin(worker);
			stop(worker, reason);
		}
		back_off(worker, message);
	}
	else if (at >= 0 && (!is_blameless(error->sqlerrcode) || worker->failures >= MAX_BLAMELESS))
		mcs_handler_failed(worker, error);
	else
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("change handler \"%s\" was interrupted: %s", worker->name, message),
				 error->detail ? errdetail("%s", error->detail) : 0));
		back_off(worker, message);
	}
	worker->at = -1;
}

/* ---- main loop ---- */

/* From one look at what is to be done to the next. */
static void
run(HandlerWorker *worker)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (worker->reload || mcs_slot_is_changed())
		load(worker);
	tell_of_letters(worker, false);
	worker->newest = mcs_handler_slot_newest();
	switch (mcs_handler_step(worker))
	{
		case STEP_DONE:
			worker->idle_since = 0;
			set_state(worker, STREAM_ACTIVE, "running", 0);
			measure(worker);
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
	if (fscanf(statm, "%*u %*u %*u %*u %*u %lu", &data) == 1 && getrlimit(RLIMIT_DATA, &limit) == 0)
	{
		rlim_t		wanted = (rlim_t) data * sysconf(_SC_PAGESIZE) + (rlim_t) handler_memory * 1024 * 1024;

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

	strlcpy(worker->stream, stream, NAMEDATALEN);
	(void) mcs_handler_slot_attach(worker->name, &worker->number);
	worker->definition_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream handler", ALLOCSET_DEFAULT_SIZES);
	/* the first block is kept over resets: an ordinary batch allocates nothing from the system */
	worker->batch_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream handler batch",
												  0, 1024 * 1024, 8 * 1024 * 1024);
	worker->event_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream handler event", ALLOCSET_DEFAULT_SIZES);
	worker->rate_since = GetCurrentTimestamp();
	worker->at = -1;
	worker->reload = true;
	return worker;
}

/* Entry of a handler's worker. */
void
mcs_handler_main(Datum arg)
{
	SlotTicket	ticket;
	char		stream[NAMEDATALEN];
	Oid			database,
				owner;
	HandlerWorker *volatile worker;
	uint32		flags = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	if (!mcs_slot_attach(ticket, stream, &database, &owner))
		proc_exit(0);
#if PG_VERSION_NUM >= 170000
	flags = BGWORKER_BYPASS_ROLELOGINCHECK;
#endif
	BackgroundWorkerInitializeConnectionByOid(database, owner, flags);
	mcs_worker_pin_settings();
	limit_memory();
	worker = make_worker(stream);
	for (;;)
	{
		ErrorData  *volatile error = NULL;

		PG_TRY();
		{
			run(worker);
		}
		PG_CATCH();
		{
			error = clean_up(worker);
		}
		PG_END_TRY();
		if (!error)
			continue;
		PG_TRY();
		{
			recover(worker, error);
		}
		PG_CATCH();
		{
			EmitErrorReport();
			error = clean_up(worker);
			mcs_slot_forget_error();
			back_off(worker, error->message);
		}
		PG_END_TRY();
	}
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
