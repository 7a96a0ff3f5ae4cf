/*
 * stream/sync.c
 *	  Waiting until a stream has what MongoDB had at the call.
 *
 * MongoDB's operationTime T, asked for now, is not before any write that was
 * acknowledged to anybody before the call.  The stream has all of those when
 * the position that its worker has saved is past T: after an event with a later
 * time, or after a token of at least T that came with nothing left to read.  An
 * idle stream's token moves with MongoDB's clock, so this needs no event.
 *
 * A stream that starts in the future has a position past T from the beginning,
 * and none of those writes: T is asked again until it has come there.
 *
 * Its handlers have seen all of that when their positions, as committed, have
 * reached the stream's last event as of then.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "stream/stream_internal.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

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

/*
 * Waits until MongoDB's time has reached the second in which the stream starts;
 * false where that is not in time.  The position was read before *time was asked
 * for, so only a start in the future is past it.
 */
static bool
wait_for_start(const Stream *stream, uint64 *time, TimestampTz until)
{
	int64		starts = stream->resume_token ? (int64) (mcs_token_time(stream->resume_token) >> 32) : 0;
	bool		reached = true;

	mcs_slot_begin_wait();
	while (reached && starts > (int64) (*time >> 32))
	{
		TimestampTz now = GetCurrentTimestamp();

		/* no use in waiting for what cannot be in time */
		if (starts - (int64) (*time >> 32) > (until - now) / USECS_PER_SEC)
			reached = false;
		else
		{
			mcs_slot_wait(Min(until, now + USECS_PER_SEC));
			*time = operation_time_now(stream);
		}
	}
	mcs_slot_end_wait();
	return reached;
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
	uint64		time;
	bool		synced;

	if (PG_ARGISNULL(1) || (timeout = mcs_convert_interval(PG_GETARG_INTERVAL_P(1))) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be null or negative")));
	/* rights first: who has none learns nothing of the stream's state */
	stream = mcs_stream_load_own(name, false);
	check_isolation();
	check_runs(stream);
	/* no sum beyond the end of timestamps */
	until = begin + Min(timeout, USECS_PER_DAY * 365);
	time = operation_time_now(stream);
	synced = wait_for_start(stream, &time, until) && mcs_slot_wait_synced(name, time, mcs_session_clock(), until);
	if (synced && !PG_ARGISNULL(2) && PG_GETARG_BOOL(2))
		synced = wait_for_handlers(name, until);
	PG_RETURN_BOOL(synced);
}
