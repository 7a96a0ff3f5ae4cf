/*
 * worker/worker.h
 *	  The running side: the launcher, what every background process of ours does
 *	  alike, and the process that follows one stream.  Uses base, document,
 *	  mongo, event, shared, tables and stream; handler uses it.
 */
#ifndef MCS_WORKER_H
#define MCS_WORKER_H

#include "stream/stream.h"

/* ---- launcher.c ---- */
extern void mcs_launcher_init(void);

/* ---- process.c: what the processes of streams and of handlers do alike ---- */

/* How often a process looks at what is to be done beside its work. */
#define CHORE_INTERVAL_MS	1000

/* What both have; a part of StreamWorker and HandlerWorker. */
typedef struct WorkerProcess
{
	char		name[NAMEDATALEN];	/* of the stream, or of the handler */
	MemoryContext definition_context;	/* of what was read from our tables, until it is read again */
	MemoryContext batch_context;	/* of a transaction's work; reset at its commit */
	bool		reload;			/* definition or position are to be read again */
	StreamReport report;		/* as the slot has it */
	int			failures;		/* in a row */

	/* events a second, smoothed, and what it is made of */
	double		rate;
	int64		rate_events;
	TimestampTz rate_since;

	NumbersDone done;			/* since it was last added to the slot's numbers */
	int64		began_us;		/* the transaction at work: by the clock, and of the processor's time */
	int64		began_cpu_us;
} WorkerProcess;

/* Also for a process that is none of these. */
extern void mcs_process_pin_settings(void);

/*
 * First of all in a process: takes its slot, of which it returns the stream's
 * name, and connects as the owner; ends it where the slot is not there any more.
 */
extern void mcs_process_connect(char *stream);

/* Makes the contexts; batch_block: what an ordinary batch takes. */
extern void mcs_process_init(WorkerProcess *process, const char *name, Size batch_block);

/* Before the definition is read (again). */
extern void mcs_process_forget_definition(WorkerProcess *process);

/* Ends the process where the stream has got another owner. */
extern void mcs_process_check_owner(Oid owner);

/* Leaves for good, as the stream or handler shall not run. */
extern void mcs_process_leave(void) pg_attribute_noreturn();

/* A transaction whose palloc'ed memory is the batch's, which its commit resets. */
extern void mcs_process_begin(WorkerProcess *process);
extern void mcs_process_commit(WorkerProcess *process);

/* The transaction at work may commit without waiting for the disk, or a standby. */
extern void mcs_process_commit_lazily(void);

/* Ends it without a trace instead: what it was about has changed, and is to be read again. */
extern void mcs_process_roll_back(WorkerProcess *process);

/*
 * After an error: rolls back and returns it in a memory context; log: with a
 * line in the log.  What is in the batch context stays.
 */
extern ErrorData *mcs_process_clean_up(WorkerProcess *process, MemoryContext context, bool log);

/* What a process does again and again, and after an error; of each the first argument is its worker. */
typedef struct ProcessSteps
{
	void		(*run) (void *worker);
	ErrorData  *(*clean_up) (void *worker, bool log);
	void		(*recover) (void *worker, ErrorData *error);
	void		(*back_off) (void *worker, const char *message);
} ProcessSteps;

/* Does so for as long as the process lives. */
extern void mcs_process_run(const ProcessSteps *steps, void *worker) pg_attribute_noreturn();

/* When to try again, after so many failures: doubles from first_ms up to a minute. */
extern TimestampTz mcs_process_backoff(int failures, long first_ms);

/* Answers to signals: the end, a cancel, or other settings. */
extern void mcs_process_check_signals(void);

/* Waits for the latch or a time, for longest_ms at most. */
extern void mcs_process_sleep(TimestampTz now, TimestampTz until, long longest_ms);

/* Publishes a state; error may be NULL. */
extern void mcs_process_report(WorkerProcess *process, StreamState state, const char *reason, const char *error,
							   TimestampTz next_retry_at);

/* Takes what was counted in rate_events into the rate, each CHORE_INTERVAL_MS. */
extern void mcs_process_measure(WorkerProcess *process, TimestampTz now);

/* ---- worker.c ---- */
PGDLLEXPORT extern void mcs_worker_main(Datum arg);

/* ---- on_error.c ---- */

/* Writes the parked events of a stream, which the caller may do, in place of their gap rows; returns how many. */
extern int64 mcs_on_error_retry_parked(const char *stream);

#endif							/* MCS_WORKER_H */
