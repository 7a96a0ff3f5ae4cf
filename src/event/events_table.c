/*
 * event/events_table.c
 *	  Writing the rows of the events table below SQL.
 *
 * The table is an ordinary one, and its owner may do with it what tables allow:
 * add columns with defaults, identities and generated ones, reorder and retype
 * ours (see event/events_map.c), hang indexes, constraints, foreign keys and
 * triggers on it.
 *
 * Rows are written the way COPY and logical replication do (base/insert.c).
 *
 * All of it runs as the current user, who is the stream's owner: triggers,
 * defaults, index expressions and domains are the table owner's code (see
 * README).  In the worker the session is his; in a function of somebody else it
 * is restricted as for maintenance commands, where a trigger that is deferred
 * to the caller's commit is an error.  The table's rights are not asked: nobody
 * has them, and the caller has checked whose stream it is.  Row-level security is
 * below that, too.
 */
#include "mongo_change_stream.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "event/event.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/rel.h"

/* Rows that are in slots at a time: what is made of so many is still in the processor's cache when it is needed next. */
#define INSERT_SLOTS	128

/* What most rows need of memory, as tuples. */
#define ROW_ROOM		2048

/* ---- opening ---- */

/* What an UPDATE sets: triggers UPDATE OF, the strength of row locks and hints to indexes go by it. */
static Bitmapset *
updated_columns(const EventsTable *table)
{
	Bitmapset  *columns = NULL;

	for (int i = 0; i < table->updated_count; i++)
		columns = bms_add_member(columns, table->map.attributes[table->updated[i]] - FirstLowInvalidHeapAttributeNumber);
	return columns;
}

/* What an INSERT evaluates for columns that are not named in it: all that are not ours. */
static void
prepare_defaults(EventsTable *table)
{
	bool	   *ours = palloc0(sizeof(bool) * RelationGetDescr(table->relation)->natts);

	for (int column = 0; column < ROW_COLUMNS; column++)
		ours[table->map.attributes[column] - 1] = true;
	table->defaults = mcs_insert_defaults(table->relation, table->estate, ours);
	pfree(ours);
}

EventsTable *
mcs_events_table_open(CmdType command, const RowColumn *updated, int updated_count)
{
	EventsTable *table = palloc0(sizeof(EventsTable));

	table->command = command;
	table->updated = updated;
	table->updated_count = updated_count;
	table->relation = table_open(mcs_extension_events(), RowExclusiveLock);
	/* before anything is opened by the columns: an ALTER TABLE may have come since the last time */
	mcs_events_map(table->relation, &table->map);
	if (command == CMD_INSERT)
		mcs_events_map_check_logged(table->relation);
	/* a delete leaves index entries to VACUUM */
	table->estate = mcs_insert_state(table->relation, updated_columns(table), command != CMD_DELETE, &table->result);
	if (command != CMD_DELETE)
		table->conversion = mcs_events_map_conversion(table->relation, &table->map);
	if (command == CMD_UPDATE)
		table->new_row = MakeSingleTupleTableSlot(RelationGetDescr(table->relation), &TTSOpsHeapTuple);
	if (command == CMD_DELETE)
		table->newest = table_slot_create(table->relation, NULL);
	if (command == CMD_INSERT)
	{
		table->desc = CreateTupleDescCopyConstr(RelationGetDescr(table->relation));
		/* its first block stays from round to round */
		table->values = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream rows",
											  0, INSERT_SLOTS * ROW_ROOM, ALLOCSET_DEFAULT_MAXSIZE);
		prepare_defaults(table);
	}
	return table;
}

void
mcs_events_table_close(EventsTable *table)
{
	for (int i = 0; i < table->slot_count; i++)
		ExecDropSingleTupleTableSlot(table->slots[i]);
	if (table->new_row)
		ExecDropSingleTupleTableSlot(table->new_row);
	if (table->newest)
		ExecDropSingleTupleTableSlot(table->newest);
	mcs_insert_free_state(table->estate, table->result);
	/* the lock stays until the commit, as for any statement */
	table_close(table->relation, NoLock);
}

/* ---- inserting ---- */

/* Fills a slot with a row; what it allocates is left in the current context. */
static void
fill_slot(EventsTable *table, TupleTableSlot *slot, const EventRow *row)
{
	int			natts = table->desc->natts;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * natts);
	/* first the columns that are not ours, in their order, as an INSERT has it */
	for (int i = 0; i < natts; i++)
		if (table->defaults[i])
			slot->tts_values[i] = ExecEvalExpr(table->defaults[i], GetPerTupleExprContext(table->estate),
											   &slot->tts_isnull[i]);
	for (int column = 0; column < ROW_COLUMNS; column++)
	{
		int			i = table->map.attributes[column] - 1;

		slot->tts_isnull[i] = row->nulls[column];
		/* of a null, too: a domain may not take it */
		if (!row->nulls[column] || table->conversion)
			slot->tts_values[i] = mcs_events_map_convert(table->conversion, column, row->values[column], &slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
}

/* Puts the next rows into slots; how many. */
static int
fill_slots(EventsTable *table, const EventRow *rows, int count)
{
	MemoryContext old;

	count = Min(count, INSERT_SLOTS);
	if (table->slots == NULL)
		table->slots = palloc(sizeof(TupleTableSlot *) * INSERT_SLOTS);
	/* they are kept for the next round, as COPY does */
	while (table->slot_count < count)
		table->slots[table->slot_count++] = mcs_insert_slot(table->desc);
	mcs_events_map_reset_conversion(table->conversion);
	/* of the round before, whose rows are in the table */
	MemoryContextReset(table->values);
	old = MemoryContextSwitchTo(table->values);
	for (int i = 0; i < count; i++)
		fill_slot(table, table->slots[i], &rows[i]);
	MemoryContextSwitchTo(old);
	return count;
}

/* A BEFORE ROW trigger may look at the rows before, so they must be there: one by one. */
static void
insert_singly(EventsTable *table, int count, TransitionCaptureState *transition)
{
	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *slot = table->slots[i];

		CHECK_FOR_INTERRUPTS();
		/* in a BEFORE trigger RETURN NULL leaves a row out, and here it must not be */
		if (!ExecBRInsertTriggers(table->estate, table->result, slot))
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					 errmsg("a BEFORE trigger on relation \"%s\" suppressed an event", RelationGetRelationName(table->relation)),
					 errdetail("Event numbers would have a gap."),
					 errhint("Leave events out by the stream's filter, which alter_change_stream sets.")));
		/* after the trigger, which may have changed the row */
		mcs_insert_check(table->estate, table->result, slot);
		table_tuple_insert(table->relation, slot, GetCurrentCommandId(true), 0, NULL);
		mcs_insert_complete(table->estate, table->result, slot, transition);
	}
}

void
mcs_events_table_insert(EventsTable *table, const EventRow *rows, int count)
{
	TriggerDesc *triggers = table->result->ri_TrigDesc;
	BulkInsertState bulk = GetBulkInsertState();
	TransitionCaptureState *transition;

	/* events of AFTER triggers are gathered until the end of the query, as of a statement */
	AfterTriggerBeginQuery();
	transition = MakeTransitionCaptureState(triggers, RelationGetRelid(table->relation), CMD_INSERT);
	ExecBSInsertTriggers(table->estate, table->result);
	while (count > 0)
	{
		int			filled = fill_slots(table, rows, count);

		if (triggers && triggers->trig_insert_before_row)
			insert_singly(table, filled, transition);
		else
			mcs_insert_together(table->estate, table->result, table->slots, filled, transition, bulk, table->values);
		rows += filled;
		count -= filled;
	}
	/* transition tables are complete here: a statement trigger fires once for all rounds */
	ExecASInsertTriggers(table->estate, table->result, transition);
	AfterTriggerEndQuery(table->estate);
	/* it keeps the last page pinned */
	FreeBulkInsertState(bulk);
}

void
mcs_events_table_check_deferred(void)
{
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	/* SET CONSTRAINTS ALL IMMEDIATE: what is waiting fires here, where the caller catches what it raises */
	AfterTriggerSetState(immediate);
}

/* ---- updating and deleting ---- */

void
mcs_events_table_begin_command(EventsTable *table, Snapshot snapshot)
{
	table->estate->es_snapshot = snapshot;
	/* marks the rows as this command's, so that the scan behind does not meet them again */
	table->estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
	if (table->command == CMD_UPDATE)
		ExecBSUpdateTriggers(table->estate, table->result);
	else
	{
		/* a published table without an identity for its rows: asked once, and not with each row */
		CheckCmdReplicaIdentity(table->relation, CMD_DELETE);
		ExecBSDeleteTriggers(table->estate, table->result);
	}
}

/* The state in which triggers look for newer versions of a row; there are none, since the caller has locked it. */
static void
init_recheck(EPQState *epq, EventsTable *table)
{
	EvalPlanQualInit(epq, table->estate, NULL, NIL, -1
#if PG_VERSION_NUM >= 160000
					 ,NIL
#endif
		);
}

void
mcs_events_table_update_row(EventsTable *table, TupleTableSlot *old, Datum *values, bool *nulls)
{
	int		   *attributes = palloc(sizeof(int) * table->updated_count);
	bool		shouldfree;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(old, false, &shouldfree);
	EPQState	epq;

	for (int i = 0; i < table->updated_count; i++)
	{
		RowColumn	column = table->updated[i];

		attributes[i] = table->map.attributes[column];
		values[i] = mcs_events_map_convert(table->conversion, column, values[i], &nulls[i]);
	}
	tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(table->relation), table->updated_count, attributes, values, nulls);
	ExecForceStoreHeapTuple(tuple, table->new_row, false);
	table->new_row->tts_tableOid = RelationGetRelid(table->relation);
	init_recheck(&epq, table);
	ExecSimpleRelationUpdate(table->result, table->estate, &epq, old, table->new_row);
	/* the row is in the caller's memory, which ends sooner than the slot */
	ExecClearTuple(table->new_row);
	ResetPerTupleExprContext(table->estate);
}

/* Locks the newest version of a row, and deletes that: where there is a newer one, and for triggers, which have to see it. */
static bool
delete_newest(EventsTable *table, ItemPointer place, bool wait)
{
	TM_FailureData failure;
	TM_Result	result;
	EPQState	epq;

	result = table_tuple_lock(table->relation, place, table->estate->es_snapshot, table->newest, table->estate->es_output_cid,
							  LockTupleExclusive, wait ? LockWaitBlock : LockWaitSkip, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (result == TM_WouldBlock)
		return false;
	/* else somebody else has deleted it */
	if (result == TM_Ok)
	{
		init_recheck(&epq, table);
		ExecSimpleRelationDelete(table->result, table->estate, &epq, table->newest);
	}
	return true;
}

bool
mcs_events_table_delete_row(EventsTable *table, ItemPointer place, bool wait)
{
	TriggerDesc *triggers = table->result->ri_TrigDesc;
	TM_Result	result = TM_Updated;
	TM_FailureData failure;
	bool		done = true;

	/* without a lock before, which would be a record in WAL of its own, as large as that of the delete */
	if (!triggers || !triggers->trig_delete_before_row)
		result = table_tuple_delete(table->relation, place, table->estate->es_output_cid, table->estate->es_snapshot, InvalidSnapshot,
									wait, &failure, false);
	if (result == TM_Ok)
		ExecARDeleteTriggers(table->estate, table->result, place, NULL, NULL, false);
	else if (result == TM_Updated)
		done = delete_newest(table, place, wait);
	else
		done = result != TM_BeingModified;
	ResetPerTupleExprContext(table->estate);
	return done;
}

void
mcs_events_table_end_command(EventsTable *table)
{
	if (table->command == CMD_UPDATE)
		ExecASUpdateTriggers(table->estate, table->result, NULL);
	else
		ExecASDeleteTriggers(table->estate, table->result, NULL);
	AfterTriggerEndQuery(table->estate);
}
