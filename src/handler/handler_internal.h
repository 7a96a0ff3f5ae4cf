/*
 * handler/handler_internal.h
 *	  What the files of handlers share: the options' meaning, the code, events
 *	  and their status, and the process that brings these together.
 */
#ifndef MCS_HANDLER_INTERNAL_H
#define MCS_HANDLER_INTERNAL_H

#ifndef MCS_INSIDE_handler
#error "handler/handler_internal.h is for the files of its folder only"
#endif

#include "access/genam.h"
#include "access/htup.h"
#include "event/event.h"
#include "executor/tuptable.h"
#include "handler/handler.h"
#include "shared/shared.h"
#include "worker/worker.h"

/* ---- handler/definition.c: what the arguments may be ---- */

/* Puts what a call says of options into a definition. */
extern void mcs_handler_change_options(Handler *handler, const OptionChanges *changes);
extern void mcs_handler_check_name(const char *name);

/* Checks what depends on more than one field, compiles, and fills the translations. */
extern void mcs_handler_check(Handler *handler);

/* Says it where a body reads the full document of events that may come without. */
extern void mcs_handler_tell_of_absent_documents(const Handler *handler, const Stream *stream);

/* ---- look.c: NOTICEs of what the code names and is not there ---- */

/* Tables that the body writes to; with the settings that it runs under in force. */
extern void mcs_look_for_tables(const Handler *handler);

/* Fields of documents. */
extern void mcs_look_for_fields(const Handler *handler, const Stream *stream);

/* ---- definition.c, continued ---- */

/* The position before the first event that the handler shall run on; the stream's position is locked. */
extern int64 mcs_handler_start(const Handler *handler, const Stream *stream);

/* ---- handler/command.c ---- */
extern Handler *mcs_handler_load_own(FunctionCallInfo fcinfo, bool for_update);

/* ---- handler/batch.c: events as code for each batch gets them ---- */

typedef struct HandlerEvent
{
	int64		event_id;
	HeapTuple	row;
	TimestampTz received_at;	/* 0: not known */
	bool		ran;
	int64		microseconds;
} HandlerEvent;

extern Datum mcs_batch_array(Oid event_type, const HandlerEvent *events, int count, int ran);
extern void mcs_batch_run_body(FmgrInfo *function, const HandlerEvent *events, int count);

/* ---- handler/code.c: what a handler runs ---- */

typedef struct HandlerCode HandlerCode;

/*
 * Makes a handler's code ready to run, in a memory context of its own below
 * the current one.  As the owner, under the handler's settings.  replay: the
 * subtransaction that mcs_code_remove ends it in, so that code which has itself
 * run again makes another; none in a worker.
 */
extern HandlerCode *mcs_code_prepare(const Handler *handler, SubTransactionId replay);
extern void mcs_code_validate(const Handler *handler);

/* Whether a condition can be analysed as it is. */
extern bool mcs_code_condition_is_plain(const char *condition);

/* False when something that it depends on has changed: prepare it again. */
extern bool mcs_code_valid(const HandlerCode *code);
extern void mcs_code_remove(HandlerCode *code);

/* Which events an error of the code is of. */
typedef struct HandlerBlame
{
	int			at;				/* the event; -1: none, it is not the code's */
	int			together;		/* the code ran on so many at once, of which at is the first; 1: it is that one's */
} HandlerBlame;

/*
 * Runs the code on events and notes on which it did: not on those that the
 * condition leaves out.  Code for each event gets one, which the caller has put the
 * blame on; that for each batch says whose an error is.  What it allocates is left
 * in the current context.
 */
extern void mcs_code_run(HandlerCode *code, HandlerEvent *events, int count, int timeout_ms, HandlerBlame *blame);

/* Checks what the code has deferred to the end of the transaction. */
extern void mcs_code_finish(void);

/* ---- handler/rows.c: events as rows ---- */

typedef struct HandlerBatch
{
	int			count;
	HandlerEvent *events;
	int64		through;		/* everything up to here was looked at; the position before where nothing was */
} HandlerBatch;

/* Which of a handler's workers the event in a scan belongs to: all of one document to the same. */
extern int	mcs_rows_worker(const EventsScan *scan, const char *handler, int workers);

/* Reads the events behind a position that are a worker's, up to some number and size and to one event. */
extern void mcs_rows_read(HandlerBatch *batch, const Handler *handler, int64 after, int64 last, int limit, int worker, int workers);

/* The oldest kept event, 0 where there is none. */
extern int64 mcs_rows_oldest(const char *stream);

/* ---- handler/processing.c: what became of events ---- */

typedef enum HandlerOutcome
{
	OUTCOME_DONE,
	OUTCOME_RETRY,
	OUTCOME_ERROR
} HandlerOutcome;

/* What became of an event, to be written into its row. */
typedef struct HandlerResult
{
	int64		event_id;
	HandlerOutcome outcome;
	bool		was_ours;		/* the status that it has is this handler's doing */
	int			attempts;		/* to be added */
	int64		microseconds;	/* to be added */
	bool		of_batch;		/* these two alone are not worth another version of the row */
	const char *error;
} HandlerResult;

/* Writes results, in event_id order; see the top of handler/processing.c for when. */
extern void mcs_processing_write(const char *stream, const char *handler, const HandlerResult *results, int count);

/* For a handler that goes: events that wait for it alone are processed; returns the last that there is. */
extern int64 mcs_processing_release(const char *stream, const char *handler, int64 after);

/* ---- handler/replay.c: running it in somebody's session ---- */

/* Code that runs in a function's session. */
typedef struct HandlerReplay
{
	Handler    *handler;
	OwnerScope	scope;
	HandlerCode *code;
	MemoryContext context;		/* the function's */
	MemoryContext event_context;	/* reset after each event */
} HandlerReplay;

/* Makes ready; from here to mcs_replay_end the session is the handler's owner's. */
extern void mcs_replay_begin(HandlerReplay *replay, Handler *handler);
extern void mcs_replay_end(HandlerReplay *replay);

/* Runs the code on events, as mcs_code_run, in a subtransaction; the error where it fails, else NULL. */
extern HandlerError *mcs_replay_run(HandlerReplay *replay, HandlerEvent *events, int count);

/* ---- handler/worker.c, handler/run.c ---- */

/* The transaction at work: run.c. */
typedef struct HandlerRun
{
	HandlerBatch batch;			/* in process.batch_context */
	HandlerBlame blame;
	TimestampTz began;			/* the event at work, or the events where it is all at once */
	MemoryContext event_context;	/* reset after each event */
	int			limit;			/* events of the next transaction */
	int64		suspect_until;	/* events up to this one have failed together, and are run by halves; 0: none */
} HandlerRun;

/* After processes that have died: run.c. */
typedef struct HandlerCrash
{
	bool		begun;			/* noted that this process works */
	int			unready;		/* processes in a row that died before they had come to an event */
	int64		careful_until;	/* up to this event each is announced, and alone; 0: none */
	int64		died_on;		/* the event on which processes died too often; 0: none */
} HandlerCrash;

/* A worker: one handler, or one part of its events. */
typedef struct HandlerWorker
{
	WorkerProcess process;
	char		stream[NAMEDATALEN];
	int			number;			/* among the handler's workers */

	/* all in process.definition_context */
	Handler    *handler;
	int			timeout_ms;		/* of the code on one event */
	HandlerPosition position;
	MemoryContext error_context;	/* of the position's error */
	HandlerCode *code;
	bool		loading;		/* the code is made ready: it is to blame for an error */

	HandlerRun	run;
	HandlerCrash crash;

	/* what a wait is for: worker.c */
	int64		newest;			/* the slot's when the table was looked into */
	TimestampTz idle_since;		/* 0: something to do */
	TimestampTz tell_at;		/* when dead letters are to be told of; 0: there are none */
} HandlerWorker;


/* Tells of the handler's stop, in its transaction: what the reason names, and nothing of documents. */
extern void mcs_handler_alert_of_stop(const HandlerWorker *worker, const char *reason);

/* How a step ended. */
typedef enum HandlerStep
{
	STEP_DONE,					/* there may be more */
	STEP_EMPTY,					/* no event waits */
	STEP_WAIT					/* the next event is to be retried later */
} HandlerStep;

extern void mcs_handler_begin_process(HandlerWorker *worker);
extern void mcs_handler_is_ready(HandlerWorker *worker);
extern HandlerStep mcs_handler_step(HandlerWorker *worker);

/* After an error in code on an event, the transaction being rolled back. */
extern void mcs_handler_failed(HandlerWorker *worker, const ErrorData *error);
extern HandlerError mcs_handler_error(const ErrorData *error);

#endif							/* MCS_HANDLER_INTERNAL_H */
