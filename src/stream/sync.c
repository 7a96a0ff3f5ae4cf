/*
 * stream/sync.c
 *	  Waiting until a stream has what MongoDB had at the call, or at a time.
 *
 * MongoDB's operationTime T, asked for now, is not before any write that was
 * acknowledged to anybody before the call.  Or T is given: the operationTime that
 * came with a write of the caller's own.  The stream has all of those when
 * the position that its worker has saved is past T: after an event with a later
 * time, or after a token of at least T that came with nothing left to read.  An
 * idle stream's token moves with MongoDB's clock, so this needs no event.
 *
 * A stream that starts in the future has a position past T from the beginning,
 * and none of those writes: MongoDB's time is asked again until it has come there.
 * So it is with a T that MongoDB has not reached yet.
 *
 * On a standby no worker tells anything: the position is looked at as it is
 * replayed, and is enough where all changes of T lie before it.
 *
 * Its handlers have seen all of that when their positions, as committed, have
 * reached the stream's last event as of then.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "stream/stream_internal.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* How often a standby looks at what it has replayed. */
#define REPLAY_LOOK_MS	20

PG_FUNCTION_INFO_V1(mcs_sync_change_stream);

/* What comes meanwhile would not be seen by a transaction that keeps to one snapshot. */
static void
check_isolation(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("sync_change_stream() cannot be used in a transaction with isolation level %s",
						XactIsoLevel == XACT_SERIALIZABLE ? "SERIALIZABLE" : "REPEATABLE READ"),
				 errdetail("The transaction would not see the events that have been waited for."),
				 errhint("Call it before the transaction, with isolation level READ COMMITTED.")));
}

/* A stream that does not run would be waited for in vain. */
static void
check_runs(const Stream *stream)
{
	const char *why = stream->restored ? "It was made in another database cluster or database." :
		stream->stopped_state ? "It has stopped; change_stream_status says why." :
		stream->paused ? "It is paused." : NULL;

	if (why)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change stream \"%s\" does not run", stream->name),
				 errdetail("%s", why),
				 errhint("SELECT resume_change_stream(%s);", quote_literal_cstr(stream->name))));
	if (!mcs_shared_ready())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change stream \"%s\" does not run", stream->name),
				 errdetail("Its worker needs the library to be loaded when the server starts."),
				 errhint("Add '%s' to shared_preload_libraries and restart the server.", MCS_EXTENSION)));
	if (mcs_streams_is_uncommitted(stream->name))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change stream \"%s\" was made or changed in this transaction", stream->name),
				 errdetail("Its worker sees that when the transaction is committed."),
				 errhint("Call sync_change_stream in a transaction of its own.")));
}

/* MongoDB's time now. */
static uint64
operation_time_now(const Stream *stream)
{
	uint64		time = mcs_mongo_time_now(mcs_mongo_target(stream->server, stream->owner),
										  psprintf("ask the server of change stream \"%s\" for its time", stream->name));

	if (time == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("MongoDB of server \"%s\" tells no time", stream->server),
				 errdetail("It is not part of a replica set, and has no change streams.")));
	return time;
}

/* Waits until MongoDB's time has reached another, asking each second; false where that is not in time. */
static bool
wait_for_time(const Stream *stream, uint64 *time, uint64 wanted, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz asked = now;

	mcs_slot_begin_wait();
	while (*time < wanted && now < until)
	{
		/* any stream that moves on ends the sleep */
		mcs_slot_wait(Min(until, asked + USECS_PER_SEC));
		now = GetCurrentTimestamp();
		if (now >= asked + USECS_PER_SEC)
		{
			*time = operation_time_now(stream);
			asked = now;
		}
	}
	mcs_slot_end_wait();
	return *time >= wanted;
}

/*
 * Waits until MongoDB's time has reached the second in which the stream starts;
 * false where that is not in time.  The position was read before *time was asked
 * for, so only a start in the future is past it.
 */
static bool
wait_for_start(const Stream *stream, uint64 *time, TimestampTz until)
{
	int64		starts = stream->resume_token ? (int64) (mcs_token_time(stream->resume_token) >> 32) : 0;

	/* no use in waiting for what cannot be in time */
	if (starts - (int64) (*time >> 32) > (until - GetCurrentTimestamp()) / USECS_PER_SEC)
		return false;
	return wait_for_time(stream, time, (uint64) starts << 32, until);
}

/* The argument operation_time, as seconds << 32 | ordinal; 0 where none was given. */
static uint64
time_argument(FunctionCallInfo fcinfo)
{
	DocumentValue value;
	uint32		seconds;
	uint32		ordinal;

	/* 1.0 has no such argument */
	if (PG_NARGS() < 4 || PG_ARGISNULL(3))
		return 0;
	value = mcs_document_take(PG_GETARG_DOCUMENT_P(3));
	if (!mcs_document_get_timestamp(&value, &seconds, &ordinal))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operation_time must be a timestamp of MongoDB"),
				 errdetail("It is a document of type %s.", mcs_document_type_name(value.type)),
				 errhint("Give the operationTime of MongoDB's reply or session, for example '{\"$timestamp\": {\"t\": 1700000000, \"i\": 1}}'.")));
	return (uint64) seconds << 32 | ordinal;
}

/* Waits, on a standby, until a position behind all changes of a time has been replayed; false where it is not in time. */
static bool
wait_for_replay(const char *name, uint64 time, TimestampTz until)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream replay", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	bool		there = false;

	mcs_slot_begin_wait();
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		Stream	   *stream;

		PushActiveSnapshot(GetLatestSnapshot());
		stream = mcs_streams_load(name, false, true);
		PopActiveSnapshot();
		there = stream && stream->resume_token && mcs_progress_time(stream->resume_token) >= time;
		if (there || !stream || now >= until)
			break;
		MemoryContextReset(context);
		mcs_slot_wait(Min(until, now + REPLAY_LOOK_MS * INT64CONST(1000)));
	}
	mcs_slot_end_wait();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return there;
}

/* Waits until the handlers that run are past what the stream holds now; false where they are not in time. */
static bool
wait_for_handlers(const char *name, TimestampTz until)
{
	Stream	   *stream;
	bool		behind;

	/* the statement's own snapshot is from before the wait for the stream */
	PushActiveSnapshot(GetLatestSnapshot());
	stream = mcs_streams_load(name, false, true);
	PopActiveSnapshot();
	if (!stream)
		return false;
	mcs_slot_begin_wait();
	for (;;)
	{
		/* a new one each time: the positions are committed by others meanwhile */
		PushActiveSnapshot(GetLatestSnapshot());
		behind = mcs_handlers_are_behind(name, stream->last_event_id);
		PopActiveSnapshot();
		if (!behind || GetCurrentTimestamp() >= until)
			break;
		mcs_slot_wait(until);
	}
	mcs_slot_end_wait();
	return !behind;
}

Datum
mcs_sync_change_stream(PG_FUNCTION_ARGS)
{
	char	   *name = mcs_stream_name_argument(fcinfo);
	TimestampTz begin = GetCurrentTimestamp();
	int64		timeout;
	TimestampTz until;
	Stream	   *stream;
	uint64		now;
	uint64		time;
	bool		synced;

	if (PG_ARGISNULL(1) || (timeout = mcs_convert_interval(PG_GETARG_INTERVAL_P(1))) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be null or negative")));
	time = time_argument(fcinfo);
	/* rights first: who has none learns nothing of the stream's state */
	stream = mcs_stream_load_own(name, false);
	check_isolation();
	check_runs(stream);
	/* no sum beyond the end of timestamps */
	until = begin + Min(timeout, USECS_PER_DAY * 365);
	now = operation_time_now(stream);
	synced = wait_for_start(stream, &now, until);
	if (time == 0)
		time = now;
	/* the clock is read when MongoDB has come to the time: an answer to an earlier question proves nothing of it */
	synced = synced && wait_for_time(stream, &now, time, until) &&
		(RecoveryInProgress() ? wait_for_replay(name, time, until) :
		 mcs_slot_wait_synced(name, time, mcs_session_clock(), until));
	if (synced && !PG_ARGISNULL(2) && PG_GETARG_BOOL(2))
		synced = wait_for_handlers(name, until);
	PG_RETURN_BOOL(synced);
}
