/*
 * handler/rows.c
 *	  Reading events out of their table: those of one stream, in order, and of
 *	  these the ones that are a worker's.
 *
 * Rows are read below SQL, by the index of the primary key, as the stream's
 * owner: see event/events_table.c.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "event/event.h"
#include "executor/executor.h"
#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Bound of one batch, beside the number of its events. */
#define BATCH_BYTES		(8 * 1024 * 1024)

/* How many rows of other workers a batch looks at for each that it takes. */
#define LOOK_AHEAD		4

/* ---- scanning ---- */

void
mcs_rows_scan_begin(EventScan *scan, const char *stream, int64 after)
{
	ScanKeyData keys[2];

	/* the lock stays until the transaction's end, so that what was read is written by the same columns */
	scan->relation = table_open(mcs_extension_events(), AccessShareLock);
	mcs_events_table_map(scan->relation, &scan->map);
	scan->index = mcs_events_table_open_key(scan->relation);
	/* a new one: when statuses are written, the transaction's own is older than the lock that was waited for */
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->slot = table_slot_create(scan->relation, NULL);
	scan->scan = index_beginscan(scan->relation, scan->index, scan->snapshot,
#if PG_VERSION_NUM >= 180000
								 NULL,
#endif
								 2, 0);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(stream));
	/* equality is that of the index, which the owner may have made anew with another collation */
	keys[0].sk_collation = scan->index->rd_indcollation[0];
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	index_rescan(scan->scan, keys, 2, NULL, 0);
}

int64
mcs_rows_scan_next(EventScan *scan)
{
	bool		isnull;

	if (!index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot))
		return 0;
	return DatumGetInt64(slot_getattr(scan->slot, scan->map.attributes[ROW_EVENT_ID], &isnull));
}

void
mcs_rows_scan_end(EventScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->index, NoLock);
	table_close(scan->relation, NoLock);
}

int
mcs_rows_worker(EventScan *scan, int workers)
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
	/* events of no document (a collection that is dropped): the first worker takes all */
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
	mcs_rows_scan_begin(&scan, stream, after);
	while (batch->count < limit && bytes < BATCH_BYTES && looked < limit * workers * LOOK_AHEAD && (event_id = mcs_rows_scan_next(&scan)) != 0)
	{
		HandlerEvent *event;

		CHECK_FOR_INTERRUPTS();
		if (event_id > last)
		{
			/* perhaps what stood before it is gone */
			batch->through = last;
			break;
		}
		/* the position moves over events of other workers, too, or each look would begin with them */
		looked++;
		batch->through = event_id;
		if (mcs_rows_worker(&scan, workers) != worker)
			continue;
		event = &batch->events[batch->count++];
		memset(event, 0, sizeof(*event));
		event->event_id = event_id;
		/* the slot's tuple is pinned in a buffer, and goes with the next one */
		event->row = ExecCopySlotHeapTuple(scan.slot);
		bytes += event->row->t_len;
	}
	mcs_rows_scan_end(&scan);
}

int64
mcs_rows_oldest(const char *stream)
{
	EventScan	scan;
	int64		oldest;

	mcs_rows_scan_begin(&scan, stream, 0);
	oldest = mcs_rows_scan_next(&scan);
	mcs_rows_scan_end(&scan);
	return oldest;
}
