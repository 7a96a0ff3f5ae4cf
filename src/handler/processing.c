/*
 * handler/processing.c
 *	  What became of events: the columns processing_* of their rows.
 *
 * What they say follows from three things, each written
 * only by the handler that it is about: a handler's positions (everything up to
 * there is done, or was there before the handler), the event that it failed on
 * and has not done yet, and its dead letters.  An event is
 *
 *	error		if a handler has given it up (a dead letter, or stopped at it),
 *	retry		else, if a handler has failed on it and will try again,
 *	pending		else, if a handler's position is still before it,
 *	processed	else.
 *
 * Handlers run the users' code at the same time, each in its own transaction,
 * and none sees what another has not committed.  So a transaction ends like
 * this: no code runs any more; the handler's position is saved; a lock on the
 * stream's statuses is taken, which is kept until the commit; then, with a new
 * snapshot, the rows are written in event_id order.  Whoever has the lock sees
 * all of those who had it before, so the last one to finish an event is the one
 * that finds all others past it.  No lock on rows, nor on the statuses, is
 * held while code runs, and two handlers can't deadlock over rows.
 *
 * processing_attempts and processing_time_ms are sums over the handlers: a row
 * is written when one of them has run on it, or when its status changes.  A
 * handler whose code runs for each batch writes it in the second case only: what
 * it saves by running on many at once is less than a version of each row costs.
 *
 * Rows are written below SQL, as the stream's owner: see
 * event/events_table.c.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "event/event.h"
#include "executor/executor.h"
#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* ---- rows while they are written ---- */

typedef enum OutcomeColumn
{
	OUTCOME_STATUS,
	OUTCOME_TIME_MS,
	OUTCOME_ATTEMPTS,
	OUTCOME_MESSAGE,
	OUTCOME_COLUMNS
} OutcomeColumn;

static const RowColumn status_columns[OUTCOME_COLUMNS] = {
	ROW_PROCESSING_STATUS, ROW_PROCESSING_TIME_MS, ROW_PROCESSING_ATTEMPTS, ROW_PROCESSING_ERROR
};

/* Rows while they are written. */
typedef struct EventUpdate
{
	EventsScan	scan;
	const char *stream;
	const char *handler;
	List	   *others;			/* HandlerReached of the stream's other handlers */
	EventsTable *table;
	MemoryContext row_context;
} EventUpdate;

/*
 * Nobody else writes statuses of this stream from now on until the end of the
 * transaction.  The lock is of the kind that DDL takes on objects that have no
 * row of their own; two streams whose names collide wait for each other.
 */
static void
lock_statuses(const char *stream)
{
	LockDatabaseObject(mcs_extension_events(), hash_bytes((const unsigned char *) stream, strlen(stream)), 0, ExclusiveLock);
}

static void
begin_update(EventUpdate *update, const char *stream, const char *handler, int64 after)
{
	memset(update, 0, sizeof(*update));
	/* what the caller has written, a dead letter for example, is to be seen */
	CommandCounterIncrement();
	lock_statuses(stream);
	update->stream = stream;
	update->handler = handler;
	/* after the lock: what those committed who had it before is to be seen */
	PushActiveSnapshot(GetLatestSnapshot());
	update->others = mcs_handlers_reached(stream, handler);
	update->table = mcs_events_table_open(CMD_UPDATE, status_columns, OUTCOME_COLUMNS);
	mcs_events_scan_begin(&update->scan, update->table, stream, after);
	update->row_context = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream event status", ALLOCSET_DEFAULT_SIZES);
	mcs_events_table_begin_command(update->table, update->scan.snapshot);
}

static void
end_update(EventUpdate *update)
{
	mcs_events_table_end_command(update->table);
	mcs_events_scan_end(&update->scan);
	mcs_events_table_close(update->table);
	PopActiveSnapshot();
	MemoryContextDelete(update->row_context);
	/* triggers on the table may have fired, of which one of ours gathers what it writes */
	CommandCounterIncrement();
	mcs_token_table_flush();
}

/* What the other handlers make of the row in the scan; this one is done with it. */
static const char *
status_among_others(EventUpdate *update, int64 event_id)
{
	const char *status = "processed";
	ListCell   *cell;

	foreach(cell, update->others)
	{
		HandlerReached *other = lfirst(cell);

		/* done with it, or it is another worker's of that handler */
		if (other->last_event_id >= event_id || mcs_rows_worker(&update->scan, other->handler, other->workers) != other->worker)
			continue;
		if (other->failed_event == event_id)
			return other->gave_up ? "error" : "retry";
		status = "pending";
	}
	return status;
}

/* The status that the row in the scan shall have, given the one that it has. */
static const char *
new_status(EventUpdate *update, const HandlerResult *result, const char *current)
{
	bool		given_up = strcmp(current, "error") == 0;

	if (given_up && result->was_ours)
		given_up = mcs_dead_letters_exist(update->stream, result->event_id, update->handler);
	if (given_up || result->outcome == OUTCOME_ERROR)
		return "error";
	if (result->outcome == OUTCOME_RETRY)
	{
		const char *others = status_among_others(update, result->event_id);

		return strcmp(others, "error") == 0 ? others : "retry";
	}
	return status_among_others(update, result->event_id);
}

static Datum
milliseconds(int64 microseconds)
{
	return NumericGetDatum(int64_div_fast_to_numeric(microseconds, 3));
}

/* Writes one result into the row that the scan stands on, if that changes anything. */
static void
write_result(EventUpdate *update, const HandlerResult *result)
{
	Datum		values[OUTCOME_COLUMNS];
	bool		nulls[OUTCOME_COLUMNS];
	const char *current;
	const char *status;
	int			attempts;

	for (int i = 0; i < OUTCOME_COLUMNS; i++)
		values[i] = mcs_events_scan_get(&update->scan, status_columns[i], &nulls[i]);
	current = nulls[OUTCOME_STATUS] ? "" : TextDatumGetCString(values[OUTCOME_STATUS]);
	status = new_status(update, result, current);
	/* each update is another version of a wide row: not without need */
	if (strcmp(status, current) == 0 && (result->of_batch || (result->attempts == 0 && result->microseconds == 0)))
		return;

	attempts = nulls[OUTCOME_ATTEMPTS] ? 0 : DatumGetInt32(values[OUTCOME_ATTEMPTS]);
	/* before the first attempt the time is from another source: from the event's receipt to its row */
	values[OUTCOME_TIME_MS] = attempts == 0 || nulls[OUTCOME_TIME_MS] ? milliseconds(result->microseconds)
		: DirectFunctionCall2(numeric_add, values[OUTCOME_TIME_MS], milliseconds(result->microseconds));
	nulls[OUTCOME_TIME_MS] = false;
	values[OUTCOME_ATTEMPTS] = Int32GetDatum(attempts + result->attempts);
	nulls[OUTCOME_ATTEMPTS] = false;
	values[OUTCOME_STATUS] = CStringGetTextDatum(status);
	nulls[OUTCOME_STATUS] = false;
	if (result->outcome != OUTCOME_DONE)
	{
		nulls[OUTCOME_MESSAGE] = result->error == NULL;
		values[OUTCOME_MESSAGE] = result->error ? CStringGetTextDatum(result->error) : (Datum) 0;
	}
	/* the error of another handler stays as long as the status is its doing */
	else if (strcmp(status, "processed") == 0 || strcmp(status, "pending") == 0)
		nulls[OUTCOME_MESSAGE] = true;
	mcs_events_table_update_row(update->table, update->scan.slot, values, nulls);
}

void
mcs_processing_write(const char *stream, const char *handler, const HandlerResult *results, int count)
{
	EventUpdate update;
	int64		event_id;
	int			at = 0;

	if (count == 0)
		return;
	begin_update(&update, stream, handler, results[0].event_id - 1);
	while (at < count && (event_id = mcs_events_scan_next(&update.scan)) != 0)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		while (at < count && results[at].event_id < event_id)
			at++;				/* its row is gone */
		if (at == count || results[at].event_id != event_id)
			continue;
		old = MemoryContextSwitchTo(update.row_context);
		write_result(&update, &results[at++]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(update.row_context);
	}
	end_update(&update);
}

int64
mcs_processing_release(const char *stream, const char *handler, int64 after)
{
	EventUpdate update;
	HandlerResult result;
	int64		last = after;

	memset(&result, 0, sizeof(result));
	begin_update(&update, stream, handler, after);
	while ((result.event_id = mcs_events_scan_next(&update.scan)) != 0)
	{
		MemoryContext old = MemoryContextSwitchTo(update.row_context);

		CHECK_FOR_INTERRUPTS();
		last = result.event_id;
		write_result(&update, &result);
		MemoryContextSwitchTo(old);
		MemoryContextReset(update.row_context);
	}
	end_update(&update);
	return last;
}
