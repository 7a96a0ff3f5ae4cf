/*
 * event/events_scan.c
 *	  Reading the rows of one stream in the order of its events, below SQL.
 *
 * The scan goes by the primary key and sees what is committed when it begins:
 * with a snapshot of its own, since the transaction's may be older than the lock
 * that the caller has waited for.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "base/base.h"
#include "event/event.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Opens all that a scan takes, the table's lock first. */
static void
open_scan(EventsScan *scan, const EventsTable *table, Snapshot snapshot, const char *stream, int64 after)
{
	/* opened once more where a command has it open, so that the two can end in any order */
	scan->relation = table_open(mcs_extension_events(), AccessShareLock);
	if (table)
		scan->map = table->map;
	else
		mcs_events_map(scan->relation, &scan->map);
	scan->index = mcs_events_map_open_key(scan->relation);
	scan->snapshot = RegisterSnapshot(snapshot ? snapshot : GetLatestSnapshot());
	scan->slot = table_slot_create(scan->relation, NULL);
	scan->stream = CStringGetTextDatum(stream);
	scan->context = CurrentMemoryContext;
	scan->scan = index_beginscan(scan->relation, scan->index, scan->snapshot,
#if PG_VERSION_NUM >= 180000
								 NULL,
#endif
								 2, 0);
	mcs_events_scan_seek(scan, after);
}

void
mcs_events_scan_begin(EventsScan *scan, const EventsTable *table, const char *stream, int64 after)
{
	open_scan(scan, table, NULL, stream, after);
}

void
mcs_events_scan_begin_snapshot(EventsScan *scan, Snapshot snapshot, const char *stream, int64 after)
{
	open_scan(scan, NULL, snapshot, stream, after);
}

void
mcs_events_scan_seek(EventsScan *scan, int64 after)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, scan->stream);
	/* equality is that of the index, which the owner may have made anew with another collation */
	keys[0].sk_collation = scan->index->rd_indcollation[0];
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	index_rescan(scan->scan, keys, 2, NULL, 0);
}

int64
mcs_events_scan_next(EventsScan *scan)
{
	/* what the index keeps of a scan at its first rows lives as long as the scan */
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	bool		found = index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
	bool		isnull;

	MemoryContextSwitchTo(old);
	if (!found)
		return 0;
	return DatumGetInt64(mcs_events_scan_get(scan, ROW_EVENT_ID, &isnull));
}

Datum
mcs_events_scan_get(const EventsScan *scan, RowColumn column, bool *isnull)
{
	return slot_getattr(scan->slot, scan->map.attributes[column], isnull);
}

void
mcs_events_scan_end(EventsScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	/* the locks are kept until the transaction's end, as after any statement */
	index_close(scan->index, NoLock);
	table_close(scan->relation, NoLock);
}
