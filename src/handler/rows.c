/*
 * handler/rows.c
 *	  Events as rows: reading those that a handler has still to see, and writing
 *	  into their rows what became of them.
 *
 * What the columns processing_* say follows from three things, each written
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
 * is written when one of them has run on it, or when its status changes.
 *
 * Rows are read and written below SQL, as the stream's owner: see
 * event/events_table.c.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "event/event.h"
#include "executor/executor.h"
#include "handler/handler.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "worker/worker.h"

/* Bound of one batch, beside the number of its events. */
#define BATCH_BYTES		(8 * 1024 * 1024)

/* How many rows of other workers a batch looks at for each that it takes. */
#define LOOK_AHEAD		4

/* ---- scanning ---- */

/* The rows of a stream behind an event, in order. */
typedef struct EventScan
{
	Relation	relation;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	Snapshot	snapshot;
	EventsMap	map;
} EventScan;

static void
begin_scan(EventScan *scan, const char *stream, int64 after)
{
	ScanKeyData keys[2];

	scan->relation = table_open(mcs_extension_events(), AccessShareLock);
	mcs_events_table_map(scan->relation, &scan->map);
	scan->index = mcs_events_table_open_key(scan->relation);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->slot = table_slot_create(scan->relation, NULL);
	scan->scan = index_beginscan(scan->relation, scan->index, scan->snapshot,
#if PG_VERSION_NUM >= 180000
								 NULL,
#endif
								 2, 0);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(stream));
	keys[0].sk_collation = scan->index->rd_indcollation[0];
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	index_rescan(scan->scan, keys, 2, NULL, 0);
}

/* The next row's event_id, 0 at the end. */
static int64
next_row(EventScan *scan)
{
	bool		isnull;

	if (!index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot))
		return 0;
	return DatumGetInt64(slot_getattr(scan->slot, scan->map.attributes[ROW_EVENT_ID], &isnull));
}

static void
end_scan(EventScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, NoLock);
	table_close(scan->relation, NoLock);
}

/* Which of a handler's workers an event belongs to: all of one document to the same. */
static int
worker_of(EventScan *scan, int workers)
{
	bool		isnull;
	Datum		value;
	Document   *key;
	DocumentValue whole;

	if (workers <= 1)
		return 0;
	/* of another type it would be divided otherwise, and events between the workers' positions would be lost */
	if (!scan->map.is_document[ROW_EVENT + EVENT_DOCUMENT_KEY])
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a handler with several workers needs column \"document_key\" to be of type document"),
				 errdetail("Its events are divided among them by the key."),
				 errhint("SELECT alter_change_handler(..., workers => 1);")));
	value = slot_getattr(scan->slot, scan->map.attributes[ROW_EVENT + EVENT_DOCUMENT_KEY], &isnull);
	if (isnull)
		return 0;
	key = DatumGetDocumentP(value);
	whole = mcs_document_value(key);
	return (int) (mcs_document_hash_value(&whole, 0) % (uint64) workers);
}

/* ---- reading ---- */

void
mcs_rows_read(HandlerBatch *batch, const char *stream, int64 after, int64 last, int limit, int worker, int workers)
{
	EventScan	scan;
	Size		bytes = 0;
	int			looked = 0;
	int64		event_id;

	batch->count = 0;
	batch->events = palloc(sizeof(HandlerEvent) * limit);
	batch->through = after;
	begin_scan(&scan, stream, after);
	while (batch->count < limit && bytes < BATCH_BYTES && looked < limit * workers * LOOK_AHEAD && (event_id = next_row(&scan)) != 0)
	{
		HandlerEvent *event;

		CHECK_FOR_INTERRUPTS();
		if (event_id > last)
		{
			/* perhaps what stood before it is gone */
			batch->through = last;
			break;
		}
		looked++;
		batch->through = event_id;
		if (worker_of(&scan, workers) != worker)
			continue;
		event = &batch->events[batch->count++];
		memset(event, 0, sizeof(*event));
		event->event_id = event_id;
		event->row = ExecCopySlotHeapTuple(scan.slot);
		bytes += event->row->t_len;
	}
	end_scan(&scan);
}

int64
mcs_rows_oldest(const char *stream)
{
	EventScan	scan;
	int64		oldest;

	begin_scan(&scan, stream, 0);
	oldest = next_row(&scan);
	end_scan(&scan);
	return oldest;
}

/* ---- writing ---- */

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
	EventScan	scan;
	const char *stream;
	const char *handler;
	List	   *standings;		/* of the stream's other handlers */
	EventsTable *table;
	EventsConversion *conversion;
	TupleTableSlot *new_slot;
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
	CommandCounterIncrement();
	lock_statuses(stream);
	update->stream = stream;
	update->handler = handler;
	PushActiveSnapshot(GetLatestSnapshot());
	update->standings = mcs_handlers_reached(stream, handler);
	update->table = mcs_events_table_open(CMD_UPDATE, status_columns, OUTCOME_COLUMNS);
	update->conversion = mcs_events_table_conversion(update->table->relation, &update->table->map);
	begin_scan(&update->scan, stream, after);
	update->new_slot = MakeSingleTupleTableSlot(RelationGetDescr(update->table->relation), &TTSOpsHeapTuple);
	update->row_context = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream event status", ALLOCSET_DEFAULT_SIZES);
	mcs_events_table_begin_command(update->table, update->scan.snapshot);
}

static void
end_update(EventUpdate *update)
{
	mcs_events_table_end_command(update->table);
	ExecDropSingleTupleTableSlot(update->new_slot);
	end_scan(&update->scan);
	mcs_events_table_close(update->table);
	PopActiveSnapshot();
	MemoryContextDelete(update->row_context);
	CommandCounterIncrement();
	mcs_token_table_flush();
}

/* What the other handlers make of the row in the scan; this one is done with it. */
static const char *
status_among_others(EventUpdate *update, int64 event_id)
{
	const char *status = "processed";
	ListCell   *cell;

	foreach(cell, update->standings)
	{
		HandlerReached *other = lfirst(cell);

		if (other->last_event_id >= event_id || worker_of(&update->scan, other->workers) != other->worker)
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

/* Writes a row again with other values in the columns of its status. */
static void
update_row(EventUpdate *update, Datum *values, bool *nulls)
{
	TupleDesc	desc = RelationGetDescr(update->scan.relation);
	bool		shouldfree;
	HeapTuple	old = ExecFetchSlotHeapTuple(update->scan.slot, false, &shouldfree);
	HeapTuple	new;
	int			attributes[OUTCOME_COLUMNS];

	for (int i = 0; i < OUTCOME_COLUMNS; i++)
	{
		attributes[i] = update->table->map.attributes[status_columns[i]];
		values[i] = mcs_events_table_convert(update->conversion, status_columns[i], values[i], &nulls[i]);
	}
	new = heap_modify_tuple_by_cols(old, desc, OUTCOME_COLUMNS, attributes, values, nulls);
	ExecForceStoreHeapTuple(new, update->new_slot, false);
	update->new_slot->tts_tableOid = RelationGetRelid(update->scan.relation);
	mcs_events_table_update_row(update->table, update->scan.slot, update->new_slot);
	ExecClearTuple(update->new_slot);
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
	TupleTableSlot *slot = update->scan.slot;
	Datum		values[OUTCOME_COLUMNS];
	bool		nulls[OUTCOME_COLUMNS];
	const char *current;
	const char *status;
	int			attempts;

	for (int i = 0; i < OUTCOME_COLUMNS; i++)
		values[i] = slot_getattr(slot, update->table->map.attributes[status_columns[i]], &nulls[i]);
	current = nulls[OUTCOME_STATUS] ? "" : TextDatumGetCString(values[OUTCOME_STATUS]);
	status = new_status(update, result, current);
	if (strcmp(status, current) == 0 && result->attempts == 0 && result->microseconds == 0)
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
	else if (strcmp(status, "processed") == 0 || strcmp(status, "pending") == 0)
		nulls[OUTCOME_MESSAGE] = true;
	update_row(update, values, nulls);
}

void
mcs_rows_write(const char *stream, const char *handler, const HandlerResult *results, int count)
{
	EventUpdate update;
	int64		event_id;
	int			at = 0;

	if (count == 0)
		return;
	begin_update(&update, stream, handler, results[0].event_id - 1);
	while (at < count && (event_id = next_row(&update.scan)) != 0)
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
mcs_rows_release(const char *stream, const char *handler, int64 after)
{
	EventUpdate update;
	HandlerResult result;
	int64		last = after;

	memset(&result, 0, sizeof(result));
	begin_update(&update, stream, handler, after);
	while ((result.event_id = next_row(&update.scan)) != 0)
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
