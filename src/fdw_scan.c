/*
 * fdw_scan.c
 *	  The executor's part: a foreign scan as one bounded read after the other.
 *
 * A scan that is repeated reads again up to the time at which its first read
 * ended, so one execution sees one history.  Everything lives in the executor's
 * memory, so an error, a cancel or the end of a portal ends the read as well.
 */
#include "mongo_change_stream.h"

#include "executor/executor.h"
#include "fdw.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "utils/memutils.h"

/* A scan at work. */
typedef struct FdwScan
{
	FdwTable   *table;
	MongoTarget *target;		/* NULL in EXPLAIN alone */
	Bitmapset  *used;			/* event columns that rows need */
	FdwRead    *read;			/* NULL: not begun */
	uint64		until;			/* where the first read ended; 0: none has */
	FdwReadStatistics statistics;
} FdwScan;

/* As whom the table is read: the owner of the view that names it, or the user. */
static Oid
scan_user(ForeignScanState *node)
{
	Oid			user;

#if PG_VERSION_NUM >= 160000
	user = castNode(ForeignScan, node->ss.ps.plan)->checkAsUser;
#else
	user = exec_rt_fetch(castNode(ForeignScan, node->ss.ps.plan)->scan.scanrelid, node->ss.ps.state)->checkAsUser;
#endif
	return OidIsValid(user) ? user : GetUserId();
}

/* A set of columns out of a plan. */
static Bitmapset *
column_set(const List *list)
{
	Bitmapset  *columns = NULL;
	ListCell   *cell;

	foreach(cell, list)
		columns = bms_add_member(columns, lfirst_int(cell));
	return columns;
}

void
mcs_fdw_begin(ForeignScanState *node, int flags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	FdwScan    *scan = palloc0(sizeof(FdwScan));

	node->fdw_state = scan;
	scan->table = mcs_fdw_table(node->ss.ss_currentRelation);
	scan->used = column_set(linitial(plan->fdw_private));
	if (!(flags & EXEC_FLAG_EXPLAIN_ONLY))
		scan->target = mcs_mongo_target_of_table(scan->table->serverid, scan_user(node));
}

/* Begins a read. */
static void
begin_read(ForeignScanState *node, FdwScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);
	FdwRequest	request = {0};

	request.table = scan->table;
	request.target = scan->target;
	request.range.to = PG_UINT64_MAX;
	request.used = scan->used;
	request.asked = scan->used;
	scan->read = mcs_read_begin(&request, scan->until);
	MemoryContextSwitchTo(old);
}

/* Ends the read, if there is one. */
static void
end_read(FdwScan *scan)
{
	if (scan->read == NULL)
		return;
	scan->until = mcs_read_until(scan->read);
	mcs_read_end(scan->read, &scan->statistics);
	scan->read = NULL;
}

TupleTableSlot *
mcs_fdw_iterate(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	const FdwTable *table = scan->table;
	ChangeEvent event;
	bool		looks_up;

	if (scan->read == NULL)
		begin_read(node, scan);
	ExecClearTuple(slot);
	if (!mcs_read_next(scan->read))
		return slot;

	memset(slot->tts_isnull, true, sizeof(bool) * table->natts);
	if (!bms_is_empty(scan->used))
	{
		mcs_read_event(scan->read, &event);
		looks_up = mcs_read_looks_up(scan->read);
		for (int i = 0; i < table->natts; i++)
			if (table->columns[i] >= 0 && bms_is_member(table->columns[i], scan->used))
				slot->tts_values[i] = mcs_event_column(&event, (EventColumn) table->columns[i], looks_up, &slot->tts_isnull[i]);
	}
	return ExecStoreVirtualTuple(slot);
}

void
mcs_fdw_rescan(ForeignScanState *node)
{
	end_read(node->fdw_state);
}

void
mcs_fdw_end(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;

	if (scan)
		end_read(scan);
}

/* ---- EXPLAIN ---- */

/* $changeStream as it is sent, but for the start. */
static void
append_change_stream(DocumentBuilder *builder, const FdwScan *scan)
{
	const char *mode;

	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, "$changeStream");
	mode = mcs_fdw_full_document(scan->table, scan->used, true);
	if (mode)
		mcs_document_append_string(builder, "fullDocument", mode);
	mode = mcs_fdw_before_change(scan->table, scan->used, true);
	if (mode)
		mcs_document_append_string(builder, "fullDocumentBeforeChange", mode);
	if (scan->table->show_expanded_events)
		mcs_document_append_bool(builder, "showExpandedEvents", true);
	if (scan->table->database == NULL)
		mcs_document_append_bool(builder, "allChangesForCluster", true);
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* The pipeline that is sent. */
static char *
pipeline_text(const FdwScan *scan)
{
	Document   *stages = mcs_fdw_stages(scan->table, NULL, scan->used);
	DocumentBuilder builder;
	DocumentIterator it;

	mcs_document_build(&builder);
	mcs_document_begin_array(&builder, NULL);
	append_change_stream(&builder, scan);
	mcs_document_iterate(&it, DOCUMENT_VALUE(stages), DOCUMENT_VALUE_SIZE(stages));
	while (mcs_document_next(&it))
		mcs_document_append_value(&builder, NULL, &it.value);
	mcs_document_end(&builder);
	return mcs_document_out_text(mcs_document_finish(&builder));
}

void
mcs_fdw_explain(ForeignScanState *node, ExplainState *es)
{
	FdwScan    *scan = node->fdw_state;

	ExplainPropertyText("MongoDB Pipeline", pipeline_text(scan), es);
}
