/*
 * handler/replay.c
 *	  Running a handler again, in the session of who asks for it: on any events
 *	  that are kept, or for dead_letter.c on those that it gave up.
 *
 * Each event has a subtransaction, so that one which fails costs nothing but
 * itself.  What the others did commits or not with the caller's transaction.
 * The handler's own worker can't commit meanwhile: its positions are locked.
 *
 * Nothing of the code is left for later: what it defers is done before its
 * subtransaction ends (mcs_code_finish), and where that leaves something again to
 * a commit that may be somebody else's, it fails (mcs_owner_begin).
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "funcapi.h"
#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* How many events are taken at once. */
#define CHUNK	200

PG_FUNCTION_INFO_V1(mcs_replay_changes);

void
mcs_replay_begin(HandlerReplay *replay, Handler *handler)
{
	replay->handler = handler;
	replay->context = CurrentMemoryContext;
	/* what the caller has deferred is checked as the caller, and is no event's failure */
	mcs_code_finish();
	mcs_owner_begin(&replay->scope, handler->owner, handler->settings, true);
	/* code may replay in turn: by the subtransaction each has a function of its own */
	replay->code = mcs_code_prepare(handler, GetCurrentSubTransactionId());
	replay->event_context = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream replay", ALLOCSET_DEFAULT_SIZES);
}

void
mcs_replay_end(HandlerReplay *replay)
{
	mcs_code_remove(replay->code);
	MemoryContextDelete(replay->event_context);
	mcs_owner_end(&replay->scope);
}

/* A failure that is the caller's affair and not the event's. */
static bool
is_callers(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK;
}

/* Events, on which the code is to be run. */
typedef struct Run
{
	HandlerReplay *replay;
	HandlerEvent *events;
	int			count;
} Run;

static void
run_code(void *arg)
{
	Run		   *run = arg;
	HandlerBlame blame;

	MemoryContextSwitchTo(run->replay->event_context);
	/* the caller's own statement_timeout is all the time there is */
	mcs_code_run(run->replay->code, run->events, run->count, 0, &blame);
	mcs_code_finish();
}

HandlerError *
mcs_replay_run(HandlerReplay *replay, HandlerEvent *events, int count)
{
	Run			run = {replay, events, count};
	ErrorData  *error = mcs_attempt(run_code, &run);
	HandlerError *failure = NULL;

	/* the subtransaction is rolled back, and the caller's goes the same way */
	if (error && is_callers(error))
		ReThrowError(error);
	if (error)
	{
		failure = palloc(sizeof(HandlerError));
		*failure = mcs_handler_error(error);
	}
	MemoryContextReset(replay->event_context);
	return failure;
}

/* ---- replay ---- */

static Datum
text_or_null(const char *string, bool *isnull)
{
	*isnull = string == NULL;
	return string ? CStringGetTextDatum(string) : (Datum) 0;
}

static void
put_failure(ReturnSetInfo *set, int64 event_id, const HandlerError *failure)
{
	Datum		values[5];
	bool		nulls[5] = {0};

	values[0] = Int64GetDatum(event_id);
	values[1] = text_or_null(failure->sqlstate, &nulls[1]);
	values[2] = text_or_null(failure->message, &nulls[2]);
	values[3] = text_or_null(failure->detail, &nulls[3]);
	values[4] = text_or_null(failure->context, &nulls[4]);
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

/* Runs the handler on events; where it fails on several together, on each half, so that those which fail alone are put into the set. */
static void
replay_together(HandlerReplay *replay, HandlerEvent *events, int count, ReturnSetInfo *set)
{
	HandlerError *failure;

	CHECK_FOR_INTERRUPTS();
	failure = mcs_replay_run(replay, events, count);
	if (!failure)
		return;
	if (count == 1)
		put_failure(set, events[0].event_id, failure);
	else
	{
		replay_together(replay, events, count / 2, set);
		replay_together(replay, events + count / 2, count - count / 2, set);
	}
}

/* Runs the handler on the kept events from one to another; those that fail are put into the set. */
static void
replay_events(HandlerReplay *replay, int64 from, int64 to, ReturnSetInfo *set)
{
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream replayed", ALLOCSET_DEFAULT_SIZES);
	bool		of_batch = replay->handler->each == HANDLER_EACH_BATCH;
	int			limit = of_batch ? replay->handler->batch_size : CHUNK;
	HandlerBatch batch;

	/* no position is read or moved: all of the handler's events, whichever worker has had them */
	batch.through = from - 1;
	do
	{
		MemoryContext old = MemoryContextSwitchTo(chunk);
		int64		after = batch.through;

		mcs_rows_read(&batch, replay->handler, after, to, limit, 0, 1);
		if (of_batch && batch.count > 0)
			replay_together(replay, batch.events, batch.count, set);
		for (int i = 0; i < batch.count && !of_batch; i++)
			replay_together(replay, &batch.events[i], 1, set);
		MemoryContextSwitchTo(old);
		MemoryContextReset(chunk);
	} while (batch.count > 0);
	MemoryContextDelete(chunk);
}

/* What a rehearsal is about. */
typedef struct Rehearsal
{
	HandlerReplay *replay;
	int64		from;
	int64		to;
	ReturnSetInfo *set;
} Rehearsal;

static void
rehearse(void *arg)
{
	Rehearsal  *rehearsal = arg;

	replay_events(rehearsal->replay, rehearsal->from, rehearsal->to, rehearsal->set);
}

/* replay_changes(text, bigint, bigint, boolean) -> setof record */
Datum
mcs_replay_changes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		dry_run = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	Handler    *handler;
	HandlerReplay		replay;
	int64		from,
				to;

	PreventCommandIfReadOnly("replay_changes()");
	handler = mcs_handler_load_own(fcinfo, false);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("from_event and to_event must not be null")));
	from = PG_GETARG_INT64(1);
	to = PG_GETARG_INT64(2);
	InitMaterializedSRF(fcinfo, 0);
	/* the handler's own workers wait until this commits; a rehearsal commits nothing and need not hold them up */
	if (!dry_run)
		(void) mcs_handlers_lock_positions(handler->name, NULL, NULL);
	mcs_replay_begin(&replay, handler);
	if (dry_run)
	{
		Rehearsal	rehearsal = {&replay, Max(from, 1), to, set};
		ErrorData  *error = mcs_attempt_undone(rehearse, &rehearsal);

		if (error)
			ReThrowError(error);
	}
	else
		replay_events(&replay, Max(from, 1), to, set);
	mcs_replay_end(&replay);
	return (Datum) 0;
}
