/*
 * stream/status.c
 *	  What runs, as change_stream_workers(), change_handler_workers() and
 *	  change_projection_workers() show it: the slots in shared memory, corrected by
 *	  what is known better here.
 *
 * They are executable by everybody, so each row is shown only to who may see the
 * stream by the rule of the tables (tables/grants.c).
 */
#include "mongo_change_stream.h"

#include "funcapi.h"
#include "stream/stream_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A process that has said nothing for so long may wait for the disk. */
#define DISK_WAIT_MS		1000

PG_FUNCTION_INFO_V1(mcs_change_stream_workers);
PG_FUNCTION_INFO_V1(mcs_change_handler_workers);
PG_FUNCTION_INFO_V1(mcs_change_projection_workers);

Datum
mcs_status_interval(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return IntervalPGetDatum(interval);
}

/*
 * Microseconds from the saved position to MongoDB's time now, which is the
 * newest that was heard of and what has passed since; -1: not known.  While
 * MongoDB has been asked for more than there is, its silence says that nothing
 * happens, for as long as it was told to be silent.
 */
static int64
slot_lag(const SlotView *slot)
{
	int64		lag;
	int64		silence;

	if (slot->operation_time == 0 || slot->saved_time == 0)
		return -1;
	lag = ((int64) (slot->operation_time >> 32) - (int64) (slot->saved_time >> 32)) * USECS_PER_SEC;
	silence = GetCurrentTimestamp() - slot->heard_at;
	if (slot->report.state == STREAM_ACTIVE)
		silence -= slot->await_ms * INT64CONST(1000);
	return Max(lag, 0) + Max(silence, 0);
}

/* What a stream does that follows from a position which MongoDB's time has not reached; NULL for any other. */
static char *
future_start(const SlotView *slot)
{
	if (slot->report.state != STREAM_ACTIVE || slot->operation_time == 0 || slot->saved_time >> 32 <= slot->operation_time >> 32)
		return NULL;
	return psprintf("waits until %s, when it is to start", timestamptz_to_str(mcs_event_second(slot->saved_time)));
}

/* Adds something that is beside the state to its reason. */
static void
add_to_reason(SlotView *slot, const char *more)
{
	char	   *said = pstrdup(slot->report.reason);

	mcs_text_format(slot->report.reason, sizeof(slot->report.reason), "%s; %s", said, more);
}

/*
 * Corrects what a slot says about its state by what is known better here: what
 * keeps a process from being there, what the one that is there waits for.
 */
static void
correct(SlotView *slot)
{
	char	   *reason = NULL;

	if (!mcs_shared_enabled)
	{
		slot->report.state = STREAM_PAUSED;
		reason = MCS_REASON_DISABLED;
	}
	/* an idle handler needs no process, so nothing keeps one away */
	else if (slot->pid == 0)
		reason = slot->report.state == STREAM_IDLE ? NULL : mcs_reason_of_owner(slot->owner);
	/* a handler's own code may wait for whatever it likes */
	else if (slot->handler[0] == '\0')
		reason = mcs_reason_of_wait(slot->pid, slot->wait_event,
									TimestampDifferenceExceeds(slot->replied_at, GetCurrentTimestamp(), DISK_WAIT_MS));
	if (reason == NULL)
		reason = future_start(slot);
	if (reason)
		mcs_text_copy(slot->report.reason, sizeof(slot->report.reason), reason);
	if (slot->suppressed_at != 0 && !TimestampDifferenceExceeds(slot->suppressed_at, GetCurrentTimestamp(), SLOT_SUPPRESSED_MS))
		add_to_reason(slot, "notifications are left out, since PostgreSQL's queue of them is more than half full");
	if (slot->handler[0] == '\0' && slot->report.state == STREAM_ACTIVE && slot->alone_until > GetCurrentTimestamp())
		add_to_reason(slot, psprintf("it is followed alone until %s, since it failed or held others up while it shared a cursor with them",
									 timestamptz_to_str(slot->alone_until)));
	if (mcs_extension_is_old())
		add_to_reason(slot, "the extension's schema is still that of 1.0: ALTER EXTENSION mongo_change_stream UPDATE");
}

static void
put_stream(ReturnSetInfo *result, SlotView *slot)
{
	Datum		values[10];
	bool		nulls[10] = {0};
	int64		lag = slot_lag(slot);

	correct(slot);
	/* as mcs_alert_of_oplogs() tells of it, but for this moment */
	if (lag > OPLOG_BEHIND_MIN_S * USECS_PER_SEC && slot->oplog_holds > 0 && lag >= slot->oplog_holds / 2)
		add_to_reason(slot, psprintf("%d %% of MongoDB's oplog lies behind the position. %s",
									 (int) Min(lag * 100 / slot->oplog_holds, 999), MCS_OPLOG_HINT));

	values[0] = CStringGetTextDatum(slot->stream);
	values[1] = CStringGetTextDatum(mcs_shared_state_name(slot->report.state));
	values[2] = CStringGetTextDatum(slot->report.reason);
	values[3] = TimestampTzGetDatum(slot->state_since);
	values[4] = Int32GetDatum(slot->pid);
	nulls[4] = slot->pid == 0;
	values[5] = Float8GetDatum(slot->events_per_second);
	nulls[6] = lag < 0;
	values[6] = mcs_status_interval(lag);
	nulls[7] = slot->oplog_window < 0;
	values[7] = mcs_status_interval(slot->oplog_window);
	nulls[8] = slot->report.last_error[0] == '\0';
	values[8] = CStringGetTextDatum(slot->report.last_error);
	/* when that has come it is being tried, now */
	nulls[9] = slot->report.next_retry_at == 0;
	values[9] = TimestampTzGetDatum(Max(slot->report.next_retry_at, GetCurrentTimestamp()));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_handler(ReturnSetInfo *result, SlotView *slot)
{
	Datum		values[8];
	bool		nulls[8] = {0};
	int64		running = slot->running_event;
	/* states are published when they change, not for each event, which would cost a lock: that code runs is seen by its event */
	bool		active = running != 0 && slot->report.state != STREAM_RETRYING;

	correct(slot);
	values[0] = CStringGetTextDatum(slot->handler);
	values[1] = Int32GetDatum(slot->worker);
	values[2] = CStringGetTextDatum(mcs_shared_state_name(active ? STREAM_ACTIVE : slot->report.state));
	values[3] = CStringGetTextDatum(active ? "running" : slot->report.reason);
	values[4] = Int32GetDatum(slot->pid);
	nulls[4] = slot->pid == 0;
	values[5] = Float8GetDatum(slot->events_per_second);
	values[6] = Int64GetDatum(running);
	nulls[6] = running == 0;
	values[7] = TimestampTzGetDatum(slot->running_since);
	nulls[7] = running == 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_projections(ReturnSetInfo *result, SlotView *slot)
{
	Datum		values[4];
	bool		nulls[4] = {0};

	correct(slot);
	values[0] = ObjectIdGetDatum(slot->owner);
	values[1] = CStringGetTextDatum(mcs_shared_state_name(slot->report.state));
	values[2] = CStringGetTextDatum(slot->report.reason);
	values[3] = Int32GetDatum(slot->pid);
	nulls[3] = slot->pid == 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* A row for each slot of this database that the caller may see. */
static void
show_slots(FunctionCallInfo fcinfo, bool of_handlers, bool of_streams, void (*put) (ReturnSetInfo *result, SlotView *slot))
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StreamsSeen seen;
	SlotView   *views;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	views = mcs_slot_views(of_handlers, &count);
	if (count == 0)
		return;
	seen = mcs_grants_load();
	for (int i = 0; i < count; i++)
		if ((views[i].stream[0] != '\0') == of_streams && mcs_grants_allow(&seen, views[i].stream, views[i].owner))
			put(result, &views[i]);
}

/*
 * change_stream_workers() -> setof record: the slots of this database's streams
 * that the caller may see.
 */
Datum
mcs_change_stream_workers(PG_FUNCTION_ARGS)
{
	show_slots(fcinfo, false, true, put_stream);
	return (Datum) 0;
}

/*
 * change_handler_workers() -> setof record: the slots of this database's
 * handlers whose streams the caller may see.
 */
Datum
mcs_change_handler_workers(PG_FUNCTION_ARGS)
{
	show_slots(fcinfo, true, true, put_handler);
	return (Datum) 0;
}

/* change_projection_workers() -> setof record: the slots of projections of this database whose owners' streams the caller may see. */
Datum
mcs_change_projection_workers(PG_FUNCTION_ARGS)
{
	show_slots(fcinfo, true, false, put_projections);
	return (Datum) 0;
}
