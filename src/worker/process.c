/*
 * worker/process.c
 *	  What the process of a stream and that of a handler do alike: begin, load,
 *	  make transactions, fail, back off, tell how they are, leave.
 *
 * Both connect as the stream's owner, since what they run (triggers, filters,
 * handlers) is the owner's code and is to have no more rights than he has.
 *
 * How a process ends tells the launcher what to do: with 0 it left on purpose,
 * its slot being given up before where the stream or handler shall not run; with
 * anything else, or an error nobody catches, another one is started after a
 * while.
 *
 * Each transaction here is short, and none is open while a process waits: an old
 * snapshot would keep VACUUM from its work in the whole database.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker/worker.h"

/* The longest wait between two tries. */
#define BACKOFF_MAX_MS		60000

/* ---- begin and end ---- */

/*
 * Settings that a role or database may have changed, and that would change what
 * a worker does: pinned over them.
 */
void
mcs_process_pin_settings(void)
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
mcs_process_connect(char *stream)
{
	SlotTicket	ticket;
	Oid			database,
				owner;
	uint32		flags = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	mcs_end_watch();
	BackgroundWorkerUnblockSignals();

	/*
	 * Before the process connects, so that a database which is to be dropped
	 * finds it.  The slot may have gone to another since the launcher asked for
	 * this process: nothing is wrong then.
	 */
	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	if (!mcs_slot_attach(ticket, stream, &database, &owner))
		proc_exit(0);
#if PG_VERSION_NUM >= 170000
	/* an owner is a role that may have no right to log in, and needs none here */
	flags = BGWORKER_BYPASS_ROLELOGINCHECK;
#endif
	BackgroundWorkerInitializeConnectionByOid(database, owner, flags);
	mcs_process_pin_settings();
}

void
mcs_process_init(WorkerProcess *process, const char *name, Size batch_block)
{
	strlcpy(process->name, name, NAMEDATALEN);
	process->definition_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream definition", ALLOCSET_DEFAULT_SIZES);
	/* the first block is kept over resets: an ordinary batch allocates nothing from the system */
	process->batch_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream batch",
												   0, batch_block, 8 * 1024 * 1024);
	process->rate_since = GetCurrentTimestamp();
}

void
mcs_process_forget_definition(WorkerProcess *process)
{
	/* first of all: what changes from here on is read, or is told of again */
	(void) mcs_slot_take_changed();
	process->reload = false;
	MemoryContextReset(process->definition_context);
}

void
mcs_process_check_owner(Oid owner)
{
	/* a session can't change whose it is: the launcher starts another as the new owner */
	if (owner != GetSessionUserId())
		proc_exit(1);
}

void
mcs_process_leave(void)
{
	mcs_slot_release();
	proc_exit(0);
}

/* ---- transactions ---- */

/* The time that a processor was this thread's, in microseconds. */
static int64
cpu_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * INT64CONST(1000000) + now.tv_nsec / 1000;
}

void
mcs_process_begin(WorkerProcess *process)
{
	SetCurrentStatementStartTimestamp();
	mcs_end_forget();
	pgstat_report_activity(STATE_RUNNING, process->name);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	/* StartTransactionCommand has made the transaction's memory current, which its end would free */
	MemoryContextSwitchTo(process->batch_context);
	process->began_us = mcs_session_clock();
	process->began_cpu_us = cpu_clock();
}

void
mcs_process_commit_lazily(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

void
mcs_process_commit(WorkerProcess *process)
{
	int64		ended_us = mcs_session_clock();
	int64		waited_us = (ended_us - process->began_us) - (cpu_clock() - process->began_cpu_us);

	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(process->batch_context);
	MemoryContextReset(process->batch_context);
	process->done.counters[NUMBER_TRANSACTIONS]++;
	process->done.counters[NUMBER_WAIT_WRITE] += Max(waited_us, 0);
	process->done.counters[NUMBER_WAIT_COMMIT] += mcs_session_clock() - ended_us;
	/* statistics are flushed outside of transactions only, and no more than once a second */
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
mcs_process_roll_back(WorkerProcess *process)
{
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(process->batch_context);
	MemoryContextReset(process->batch_context);
	pgstat_report_activity(STATE_IDLE, NULL);
	process->reload = true;
}

/* ---- errors ---- */

ErrorData *
mcs_process_clean_up(WorkerProcess *process, MemoryContext context, bool log)
{
	ErrorData  *error;

	/* nothing may raise an error while there is still the first one */
	HOLD_INTERRUPTS();
	/* out of ErrorContext, which the flush empties, into memory that the rollback does not free */
	MemoryContextSwitchTo(context);
	error = mcs_end_copy_error();
	if (log)
	{
		EmitErrorReport();
		mcs_slot_forget_error();
	}
	AbortOutOfAnyTransaction();
	FlushErrorState();
	MemoryContextSwitchTo(process->batch_context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	RESUME_INTERRUPTS();
	return error;
}

void
mcs_process_run(const ProcessSteps *steps, void *worker)
{
	for (;;)
	{
		ErrorData  *volatile error = NULL;

		PG_TRY();
		{
			steps->run(worker);
		}
		PG_CATCH();
		{
			error = steps->clean_up(worker, false);
		}
		PG_END_TRY();
		if (!error)
			continue;
		/* what is done about it makes transactions of its own, and may fail in turn */
		PG_TRY();
		{
			steps->recover(worker, error);
		}
		PG_CATCH();
		{
			error = steps->clean_up(worker, true);
			steps->back_off(worker, error->message);
		}
		PG_END_TRY();
	}
}

TimestampTz
mcs_process_backoff(int failures, long first_ms)
{
	double		delay = Min(first_ms * pow(2, Min(failures, 12)), BACKOFF_MAX_MS);

	/* jitter: what failed together shall not come back together */
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   (int64) (delay * (0.5 + pg_prng_double(&pg_global_prng_state) / 2)));
}

/* ---- waiting ---- */

void
mcs_process_check_signals(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void
mcs_process_sleep(TimestampTz now, TimestampTz until, long longest_ms)
{
	/* one millisecond more: what is left of one is cut off, and the time would not have come yet */
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(TimestampDifferenceMilliseconds(now, until) + 1, longest_ms), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* ---- how it is ---- */

void
mcs_process_report(WorkerProcess *process, StreamState state, const char *reason, const char *error, TimestampTz next_retry_at)
{
	StreamReport *report = &process->report;

	report->state = state;
	mcs_text_copy(report->reason, sizeof(report->reason), reason);
	mcs_text_copy(report->last_error, sizeof(report->last_error), error ? error : "");
	report->next_retry_at = next_retry_at;
	mcs_slot_report(report);
}

void
mcs_process_measure(WorkerProcess *process, TimestampTz now)
{
	double		seconds = (double) (now - process->rate_since) / USECS_PER_SEC;
	double		rate;

	if (seconds * 1000 < CHORE_INTERVAL_MS)
		return;
	/* half of it is the last second's; what is left of it in a quiet time becomes nothing at some point */
	rate = process->rate_events / seconds;
	process->rate = rate < 0.001 && process->rate < 0.1 ? 0 : (process->rate + rate) / 2;
	process->rate_events = 0;
	process->rate_since = now;
}
