/*
 * handler/rows.c
 *	  Reading events out of their table: those of one stream, in order, and of
 *	  these the ones that are a worker's.
 *
 * Rows are read below SQL, by the index of the primary key, as the stream's
 * owner: see event/events_scan.c.
 */
#include "mongo_change_stream.h"

#include "access/detoast.h"
#include "event/event.h"
#include "executor/executor.h"
#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* Bound of one batch, beside the number of its events. */
#define BATCH_BYTES		(8 * 1024 * 1024)

/* How many rows of other workers a batch looks at for each that it takes. */
#define LOOK_AHEAD		4

int
mcs_rows_worker(const EventsScan *scan, const char *handler, int workers)
{
	bool		isnull;
	Datum		value;
	Document   *key;
	DocumentValue whole;

	if (workers <= 1)
		return 0;
	/* of another type it would be divided otherwise, and events between the workers' positions would be lost */
	if (!scan->map.is_document[ROW_DOCUMENT_KEY])
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a handler with several workers needs column \"document_key\" to be of type document"),
				 errdetail("Its events are divided among them by the key."),
				 errhint("SELECT alter_change_handler(%s, workers => 1);", quote_literal_cstr(handler))));
	value = mcs_events_scan_get(scan, ROW_DOCUMENT_KEY, &isnull);
	/* events of no document (a collection that is dropped): the first worker takes all */
	if (isnull)
		return 0;
	key = DatumGetDocumentP(value);
	whole = mcs_document_value(key);
	return (int) (mcs_document_hash_value(&whole, 0) % (uint64) workers);
}

/* What a row takes in memory; whole: with what is stored out of line or compressed, when all of it is read. */
static Size
row_size(EventsScan *scan, HeapTuple row, bool whole)
{
	TupleDesc	desc = scan->slot->tts_tupleDescriptor;
	Size		size = row->t_len;

	for (int i = 0; whole && i < desc->natts; i++)
	{
		bool		isnull;
		Datum		value;

		if (TupleDescAttr(desc, i)->attlen != -1)
			continue;
		value = slot_getattr(scan->slot, i + 1, &isnull);
		if (!isnull && VARATT_IS_EXTENDED(DatumGetPointer(value)))
			size += toast_raw_datum_size(value);
	}
	return size;
}

/* When the row that a scan stands on was received; 0 where it does not say. */
static TimestampTz
received_at(const EventsScan *scan)
{
	bool		isnull;
	Datum		value = mcs_events_scan_get(scan, ROW_RECEIVED_AT, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

void
mcs_rows_read(HandlerBatch *batch, const Handler *handler, int64 after, int64 last, int limit, int worker, int workers)
{
	EventsScan	scan;
	Size		bytes = 0;
	int			looked = 0;
	int64		event_id;

	batch->count = 0;
	batch->events = palloc(sizeof(HandlerEvent) * limit);
	batch->through = after;
	mcs_events_scan_begin(&scan, NULL, handler->stream, after);
	while (batch->count < limit && bytes < BATCH_BYTES && looked < limit * workers * LOOK_AHEAD && (event_id = mcs_events_scan_next(&scan)) != 0)
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
		if (mcs_rows_worker(&scan, handler->name, workers) != worker)
			continue;
		event = &batch->events[batch->count++];
		memset(event, 0, sizeof(*event));
		event->event_id = event_id;
		event->received_at = received_at(&scan);
		/* the slot's tuple is pinned in a buffer, and goes with the next one */
		event->row = ExecCopySlotHeapTuple(scan.slot);
		bytes += row_size(&scan, event->row, handler->each == HANDLER_EACH_BATCH);
	}
	mcs_events_scan_end(&scan);
}

int64
mcs_rows_oldest(const char *stream)
{
	EventsScan	scan;
	int64		oldest;

	mcs_events_scan_begin(&scan, NULL, stream, 0);
	oldest = mcs_events_scan_next(&scan);
	mcs_events_scan_end(&scan);
	return oldest;
}
