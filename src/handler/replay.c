/*
 * handler/replay.c
 *	  Running a handler again, in the session of who asks for it: on events that
 *	  it gave up, or on any that are kept.
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

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "handler/handler.h"
#include "miscadmin.h"
#include "stream/stream.h"
#include "tables/tables.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* How many events are taken at once. */
#define CHUNK	200

PG_FUNCTION_INFO_V1(mcs_retry_dead_letters);
PG_FUNCTION_INFO_V1(mcs_discard_dead_letters);
PG_FUNCTION_INFO_V1(mcs_replay_changes);

/* Code that runs in a function's session. */
typedef struct Replay
{
	Handler    *handler;
	OwnerScope	scope;
	HandlerCode *code;
	MemoryContext context;		/* the function's */
	MemoryContext event_context;
} Replay;

/* Makes ready; from here to end_replay the session is the handler's owner's. */
static void
begin_replay(Replay *replay, Handler *handler)
{
	replay->handler = handler;
	replay->context = CurrentMemoryContext;
	/* what the caller has deferred is checked as the caller, and is no event's failure */
	mcs_code_finish();
	mcs_owner_begin(&replay->scope, handler->owner, handler->settings, true);
	replay->code = mcs_code_prepare(handler, GetCurrentSubTransactionId());
	replay->event_context = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream replay", ALLOCSET_DEFAULT_SIZES);
}

static void
end_replay(Replay *replay)
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

/* One event, on which the code is to be run. */
typedef struct Run
{
	Replay	   *replay;
	HeapTuple	row;
} Run;

static void
run_code(void *arg)
{
	Run		   *run = arg;

	MemoryContextSwitchTo(run->replay->event_context);
	/* the caller's own statement_timeout is all the time there is */
	(void) mcs_code_run(run->replay->code, run->row, 0);
	mcs_code_finish();
}

/* Runs the code on one event in a subtransaction; the error where it fails, else NULL. */
static HandlerError *
run_one(Replay *replay, HeapTuple row)
{
	Run			run = {replay, row};
	ErrorData  *error = mcs_attempt(run_code, &run);
	HandlerError *failure = NULL;

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

/* ---- dead letters ---- */

/* Runs the handler on one dead letter, keeps or deletes it, and says what came of it. */
static HandlerResult
retry_one(Replay *replay, DeadLetter *letter)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(letter->event);
	TimestampTz begin = GetCurrentTimestamp();
	HeapTupleData row;
	HandlerError *failure;
	HandlerResult result;

	memset(&row, 0, sizeof(row));
	row.t_len = HeapTupleHeaderGetDatumLength(header);
	row.t_data = header;
	ItemPointerSetInvalid(&row.t_self);
	failure = run_one(replay, &row);

	memset(&result, 0, sizeof(result));
	result.event_id = letter->event_id;
	result.attempts = 1;
	result.was_ours = true;
	result.microseconds = Max(GetCurrentTimestamp() - begin, 0);
	result.outcome = failure ? OUTCOME_ERROR : OUTCOME_DONE;
	if (failure)
	{
		result.error = MemoryContextStrdup(replay->context, failure->message);
		mcs_dead_letters_failed_again(replay->handler->name, letter->event_id, failure);
	}
	else
		mcs_dead_letters_delete(replay->handler->name, letter->event_id);
	return result;
}

/* Runs the handler on all its dead letters; the results, in event_id order, and how many. */
static HandlerResult *
retry_all(Replay *replay, int *count)
{
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream dead letters", ALLOCSET_DEFAULT_SIZES);
	HandlerResult *results = palloc(sizeof(HandlerResult) * CHUNK);
	int			room = CHUNK;
	int64		after = 0;
	List	   *letters;

	*count = 0;
	do
	{
		MemoryContext old = MemoryContextSwitchTo(chunk);
		ListCell   *cell;

		letters = mcs_dead_letters_lock(replay->handler->name, after, CHUNK);
		foreach(cell, letters)
		{
			DeadLetter *letter = lfirst(cell);

			CHECK_FOR_INTERRUPTS();
			after = letter->event_id;
			if (*count == room)
				results = repalloc_huge(results, sizeof(HandlerResult) * (room *= 2));
			if (letter->event)
				results[(*count)++] = retry_one(replay, letter);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(chunk);
	} while (letters != NIL);
	return results;
}

/* The stream whose parked events are meant, NULL where a handler is. */
static char *
stream_argument(FunctionCallInfo fcinfo)
{
	bool		is_stream = PG_NARGS() > 1 && !PG_ARGISNULL(1);

	if (is_stream != PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("one of handler_name and stream_name must be given"),
				 errdetail("A handler's dead letters are events that it gave up, a stream's are events that could not be written.")));
	return is_stream ? text_to_cstring(PG_GETARG_TEXT_PP(1)) : NULL;
}

/* retry_dead_letters(text, text) -> bigint */
Datum
mcs_retry_dead_letters(PG_FUNCTION_ARGS)
{
	Replay		replay;
	HandlerResult *results;
	int			count;
	int64		succeeded = 0;
	char	   *stream;

	PreventCommandIfReadOnly("retry_dead_letters()");
	stream = stream_argument(fcinfo);
	if (stream)
		PG_RETURN_INT64(mcs_culprit_retry_parked(stream));
	begin_replay(&replay, mcs_handler_load_own(fcinfo, false));
	results = retry_all(&replay, &count);
	for (int i = 0; i < count; i++)
		succeeded += results[i].outcome == OUTCOME_DONE;
	/* when no code runs any more: see handler/rows.c */
	mcs_rows_write(replay.handler->stream, replay.handler->name, results, count);
	end_replay(&replay);
	PG_RETURN_INT64(succeeded);
}

/* discard_dead_letters(text, text) -> bigint */
Datum
mcs_discard_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *stream;

	PreventCommandIfReadOnly("discard_dead_letters()");
	stream = stream_argument(fcinfo);
	if (stream)
		PG_RETURN_INT64(mcs_parked_discard(mcs_stream_load_own(stream, false)->name));
	PG_RETURN_INT64(mcs_dead_letters_discard(mcs_handler_load_own(fcinfo, false)->name));
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

/* Runs the handler on the kept events from one to another; those that fail are put into the set. */
static void
replay_events(Replay *replay, int64 from, int64 to, ReturnSetInfo *set)
{
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream replayed", ALLOCSET_DEFAULT_SIZES);
	HandlerBatch batch;

	batch.through = from - 1;
	do
	{
		MemoryContext old = MemoryContextSwitchTo(chunk);
		int64		after = batch.through;

		mcs_rows_read(&batch, replay->handler->stream, after, to, CHUNK, 0, 1);
		for (int i = 0; i < batch.count; i++)
		{
			HandlerError *failure;

			CHECK_FOR_INTERRUPTS();
			failure = run_one(replay, batch.events[i].row);
			if (failure)
				put_failure(set, batch.events[i].event_id, failure);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(chunk);
	} while (batch.count > 0);
	MemoryContextDelete(chunk);
}

/* What a rehearsal is about. */
typedef struct Rehearsal
{
	Replay	   *replay;
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
	Replay		replay;
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
	if (!dry_run)
		(void) mcs_handlers_lock_positions(handler->name, NULL, NULL);
	begin_replay(&replay, handler);
	if (dry_run)
	{
		Rehearsal	rehearsal = {&replay, Max(from, 1), to, set};
		ErrorData  *error = mcs_attempt_undone(rehearse, &rehearsal);

		if (error)
			ReThrowError(error);
	}
	else
		replay_events(&replay, Max(from, 1), to, set);
	end_replay(&replay);
	return (Datum) 0;
}
