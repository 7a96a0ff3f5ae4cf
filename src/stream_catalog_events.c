/*
 * stream_catalog_events.c
 *	  Deleting events.
 *
 * The owner of the events table may hang triggers on it, and they run as the
 * stream's owner, whoever deletes: so rows are found and deleted here, below
 * SQL, and not by a statement of the tables' owner.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "stream_catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* A deletion while it runs: what the executor needs for triggers, and the scan in event_id order. */
typedef struct EventDeletion
{
	Relation	relation;
	Relation	index;
	EState	   *estate;
	ResultRelInfo *result;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* what the scan found */
	TupleTableSlot *locked;		/* its newest version */
	Snapshot	snapshot;
} EventDeletion;

/* Opens the primary key of the events table, (stream_name, event_id), unless the table's owner has made it another. */
Relation
mcs_events_open_key(Relation relation)
{
	Relation	index = NULL;

	list_free(RelationGetIndexList(relation));
	if (OidIsValid(relation->rd_pkindex))
		index = index_open(relation->rd_pkindex, AccessShareLock);
	if (!index || IndexRelationGetNumberOfKeyAttributes(index) < 2 ||
		index->rd_index->indkey.values[0] != get_attnum(RelationGetRelid(relation), "stream_name") ||
		index->rd_index->indkey.values[1] != get_attnum(RelationGetRelid(relation), "event_id"))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" has lost its primary key", RelationGetRelationName(relation)),
				 errhint("ALTER TABLE %s ADD PRIMARY KEY (stream_name, event_id);",
						 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
													RelationGetRelationName(relation)))));
	return index;
}

static void
begin_deletion(EventDeletion *deletion, const char *stream)
{
	ScanKeyData key;

	deletion->relation = table_open(mcs_events_relation(), RowExclusiveLock);
	deletion->index = mcs_events_open_key(deletion->relation);
	deletion->estate = CreateExecutorState();
	deletion->result = makeNode(ResultRelInfo);
	InitResultRelInfo(deletion->result, deletion->relation, 1, NULL, 0);
	deletion->estate->es_opened_result_relations = list_make1(deletion->result);
	deletion->estate->es_output_cid = GetCurrentCommandId(true);
	deletion->snapshot = RegisterSnapshot(GetLatestSnapshot());
	PushActiveSnapshot(deletion->snapshot);
	deletion->estate->es_snapshot = deletion->snapshot;
	AfterTriggerBeginQuery();
	ExecBSDeleteTriggers(deletion->estate, deletion->result);

	deletion->slot = table_slot_create(deletion->relation, NULL);
	deletion->locked = table_slot_create(deletion->relation, NULL);
	deletion->scan = index_beginscan(deletion->relation, deletion->index, deletion->snapshot,
#if PG_VERSION_NUM >= 180000
									 NULL,
#endif
									 1, 0);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(stream));
	key.sk_collation = deletion->index->rd_indcollation[0];
	index_rescan(deletion->scan, &key, 1, NULL, 0);
}

/*
 * Deletes the row that the scan found, in its newest version: somebody may be
 * writing how its processing went.  False where the lock is not to be had
 * without waiting and wait is not allowed.
 */
static bool
delete_row(EventDeletion *deletion, bool wait)
{
	EPQState	epq;
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(deletion->relation, &deletion->slot->tts_tid, deletion->snapshot, deletion->locked,
							  GetCurrentCommandId(false), LockTupleExclusive, wait ? LockWaitBlock : LockWaitSkip,
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (result == TM_WouldBlock)
		return false;
	if (result != TM_Ok)
		return true;			/* somebody else has deleted it */
	EvalPlanQualInit(&epq, deletion->estate, NULL, NIL, -1
#if PG_VERSION_NUM >= 160000
					 ,NIL
#endif
		);
	ExecSimpleRelationDelete(deletion->result, deletion->estate, &epq, deletion->locked);
	ResetPerTupleExprContext(deletion->estate);
	return true;
}

static void
end_deletion(EventDeletion *deletion)
{
	index_endscan(deletion->scan);
	ExecASDeleteTriggers(deletion->estate, deletion->result, NULL);
	AfterTriggerEndQuery(deletion->estate);
	ExecDropSingleTupleTableSlot(deletion->slot);
	ExecDropSingleTupleTableSlot(deletion->locked);
	ExecResetTupleTable(deletion->estate->es_tupleTable, false);
	FreeExecutorState(deletion->estate);
	PopActiveSnapshot();
	UnregisterSnapshot(deletion->snapshot);
	index_close(deletion->index, NoLock);
	table_close(deletion->relation, NoLock);
	CommandCounterIncrement();
}

/* The last event that every handler of a stream has seen, whether it runs or not. */
static int64
handled_event(const char *stream)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT min(p.last_event_id) FROM @.change_handlers h JOIN @.change_handler_progress p USING (handler_name) "
		"WHERE h.stream_name = $1", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	Datum		least;
	bool		isnull;

	mcs_catalog_begin(&scope);
	(void) mcs_catalog_execute(&find, values, NULL);
	least = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	mcs_catalog_end(&scope);
	return isnull ? PG_INT64_MAX : DatumGetInt64(least);
}

int64
mcs_events_expire(const char *stream, const Interval *retention, int limit)
{
	EventDeletion deletion;
	TimestampTz before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
																 TimestampTzGetDatum(GetCurrentTimestamp()),
																 IntervalPGetDatum(retention)));
	Stream	   *current = mcs_stream_load(stream, false, true);
	int64		last;
	AttrNumber	received_at;
	AttrNumber	event_id;
	int64		deleted = 0;

	if (current == NULL)
		return 0;
	last = Min(current->last_event_id - 1, handled_event(stream));
	begin_deletion(&deletion, stream);
	received_at = get_attnum(RelationGetRelid(deletion.relation), "received_at");
	event_id = get_attnum(RelationGetRelid(deletion.relation), "event_id");
	while (deleted < limit && index_getnext_slot(deletion.scan, ForwardScanDirection, deletion.slot))
	{
		bool		isnull;
		Datum		value = slot_getattr(deletion.slot, received_at, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (isnull || DatumGetTimestampTz(value) >= before)
			break;
		value = slot_getattr(deletion.slot, event_id, &isnull);
		if (isnull || DatumGetInt64(value) > last)
			break;
		if (!delete_row(&deletion, false))
			break;
		deleted++;
	}
	end_deletion(&deletion);
	return deleted;
}

void
mcs_events_delete_all(const char *stream, Oid owner)
{
	EventDeletion deletion;
	Oid			save_userid;
	int			save_sec_context;

	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(owner, save_sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	begin_deletion(&deletion, stream);
	while (index_getnext_slot(deletion.scan, ForwardScanDirection, deletion.slot))
	{
		CHECK_FOR_INTERRUPTS();
		(void) delete_row(&deletion, true);
	}
	end_deletion(&deletion);
	SetUserIdAndSecContext(save_userid, save_sec_context);
}
