/*
 * event/events_table.c
 *	  The events table below SQL: its columns, and writing its rows.
 *
 * The table is an ordinary one, and its owner may do with it what tables allow:
 * add columns with defaults, identities and generated ones, reorder and retype
 * ours, hang indexes, constraints, foreign keys and triggers on it.  So nothing
 * here knows a column by its number, and no value of ours goes into a column
 * whose type was not looked at: a row is put together from the types that the
 * extension gave its columns, and where the owner has chosen another that can
 * hold the same, each value is converted as a cast in SQL would.  Any other type
 * is an error that names the command which mends it.
 *
 * Rows are written the way COPY and logical replication do: slots, BEFORE
 * triggers, generated columns and constraints, the table's access method, index
 * entries, AFTER triggers.  The executor's state has a range table of one entry,
 * since whoever reports a constraint that failed looks into it.
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

#include "access/genam.h"
#include "access/heapam.h"
#include "access/hio.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "event/event.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Rows that are in slots at a time. */
#define INSERT_SLOTS	1000

struct EventsConversion
{
	EState	   *estate;
	ExprContext *econtext;
	ExprState  *states[ROW_COLUMNS];	/* of a CaseTestExpr that stands for our value; NULL: as it is */
};

/* Whether a look at the table's columns has begun and not ended well. */
static bool misfit = false;

/* ---- columns ---- */

static Oid
our_type(RowColumn column)
{
	return mcs_event_column_type(mcs_event_row_columns[column].type);
}

static bool
is_document(RowColumn column)
{
	return !OidIsValid(mcs_event_row_columns[column].type);
}

/* The type that a column of ours was made with, for an ALTER TABLE. */
static char *
our_declaration(RowColumn column)
{
	if (is_document(column))
		return quote_qualified_identifier(get_namespace_name(mcs_extension_schema()), "document");
	return pstrdup(mcs_event_row_columns[column].declaration);
}

static char *
table_name(Relation relation)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)), RelationGetRelationName(relation));
}

/* Whether a column of ours may have this type: the one that we gave it, or another that holds the same. */
static bool
type_fits(RowColumn column, Oid type)
{
	Oid			ours = our_type(column);

	if (type == ours)
		return true;
	if (ours == TEXTOID)
		return type == VARCHAROID;
	if (ours == mcs_extension_document())
		return type == JSONBOID || type == JSONOID || type == TEXTOID || type == VARCHAROID;
	return false;
}

static void
check_column(Relation relation, RowColumn column, Form_pg_attribute attribute)
{
	const char *name = mcs_event_row_columns[column].name;

	if (attribute->attgenerated || attribute->attidentity)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" fills itself", name,
						RelationGetRelationName(relation)),
				 errdetail("It belongs to the events, and it was made a generated or an identity column."),
				 attribute->attidentity
				 ? errhint("ALTER TABLE %s ALTER COLUMN %s DROP IDENTITY;", table_name(relation), name)
				 : errhint("ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION;", table_name(relation), name)));
	if (attribute->atttypid != our_type(column) && !type_fits(column, getBaseType(attribute->atttypid)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" has type %s, which events cannot be written into or read from",
						name, RelationGetRelationName(relation),
						format_type_with_typemod(attribute->atttypid, attribute->atttypmod)),
				 is_document(column)
				 ? errdetail("A column that holds documents may have type document, jsonb, json, text or varchar.") : 0,
				 errhint("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::text::%s;", table_name(relation),
						 name, our_declaration(column), name,
						 is_document(column) ? our_declaration(column) : format_type_be(mcs_event_row_columns[column].type))));
}

static Form_pg_attribute
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return attribute;
	}
	return NULL;
}

bool
mcs_events_table_take_misfit(void)
{
	bool		was = misfit;

	misfit = false;
	return was;
}

void
mcs_events_table_map(Relation relation, EventsMap *map)
{
	misfit = true;
	if (relation->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s\" is not an ordinary table", RelationGetRelationName(relation))));
	for (int column = 0; column < ROW_COLUMNS; column++)
	{
		const char *name = mcs_event_row_columns[column].name;
		Form_pg_attribute attribute = find_column(RelationGetDescr(relation), name);

		if (attribute == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" is missing", name,
							RelationGetRelationName(relation)),
					 errhint("ALTER TABLE %s ADD COLUMN %s %s;", table_name(relation), name,
							 our_declaration(column))));
		check_column(relation, column, attribute);
		map->attributes[column] = attribute->attnum;
		map->is_document[column] = is_document(column) &&
			(attribute->atttypid == mcs_extension_document() || getBaseType(attribute->atttypid) == mcs_extension_document());
	}
	misfit = false;
}

/* ---- conversions ---- */

/* What a cast of our value to the column's type would be; NULL for nothing. */
static ExprState *
conversion_to(EventsConversion *conversion, RowColumn column, Form_pg_attribute attribute)
{
	Oid			base = getBaseType(attribute->atttypid);
	CaseTestExpr *ours;
	Node	   *cast;

	if (attribute->atttypid == our_type(column) && attribute->atttypmod < 0)
		return NULL;
	ours = makeNode(CaseTestExpr);
	ours->typeId = our_type(column);
	ours->typeMod = -1;
	ours->collation = get_typcollation(ours->typeId);
	cast = coerce_to_target_type(NULL, (Node *) ours, ours->typeId, base, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	/* as an assignment, so that what is too long is an error and not cut */
	if (cast)
		cast = coerce_to_target_type(NULL, cast, base, attribute->atttypid, attribute->atttypmod,
									 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (cast == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("cannot cast type %s to %s", format_type_be(ours->typeId), format_type_be(attribute->atttypid))));
	assign_expr_collations(NULL, cast);
	return ExecPrepareExpr((Expr *) cast, conversion->estate);
}

EventsConversion *
mcs_events_table_conversion(Relation relation, const EventsMap *map)
{
	EventsConversion *conversion = palloc0(sizeof(EventsConversion));
	bool		any = false;

	conversion->estate = CreateExecutorState();
	conversion->econtext = GetPerTupleExprContext(conversion->estate);
	for (int column = 0; column < ROW_COLUMNS; column++)
	{
		conversion->states[column] = conversion_to(conversion, column,
												   TupleDescAttr(RelationGetDescr(relation), map->attributes[column] - 1));
		any = any || conversion->states[column] != NULL;
	}
	if (any)
		return conversion;
	FreeExecutorState(conversion->estate);
	pfree(conversion);
	return NULL;
}

bool
mcs_events_table_converts(const EventsConversion *conversion, RowColumn column)
{
	return conversion->states[column] != NULL;
}

Datum
mcs_events_table_convert(EventsConversion *conversion, RowColumn column, Datum value, bool *isnull)
{
	ExprState  *state = conversion ? conversion->states[column] : NULL;

	if (state == NULL)
		return value;
	conversion->econtext->caseValue_datum = value;
	conversion->econtext->caseValue_isNull = *isnull;
	return ExecEvalExpr(state, conversion->econtext, isnull);
}

/* ---- opening ---- */

/* The executor's range table: the one entry is what errors and indexes ask for columns that a command writes. */
static void
init_range_table(EventsTable *table, const RowColumn *updated, int updated_count)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	Bitmapset  *columns = NULL;

	for (int i = 0; i < updated_count; i++)
		columns = bms_add_member(columns, table->map.attributes[updated[i]] - FirstLowInvalidHeapAttributeNumber);
	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(table->relation);
	entry->relkind = table->relation->rd_rel->relkind;
	entry->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		List	   *permissions = NIL;

		addRTEPermissionInfo(&permissions, entry)->updatedCols = columns;
#if PG_VERSION_NUM >= 180000
		ExecInitRangeTable(table->estate, list_make1(entry), permissions, bms_make_singleton(1));
#else
		ExecInitRangeTable(table->estate, list_make1(entry), permissions);
#endif
	}
#else
	entry->updatedCols = columns;
	ExecInitRangeTable(table->estate, list_make1(entry));
#endif
}

/* What an INSERT evaluates for columns that are not named in it: all that are not ours. */
static void
prepare_defaults(EventsTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->relation);
	bool	   *ours = palloc0(sizeof(bool) * desc->natts);

	for (int column = 0; column < ROW_COLUMNS; column++)
		ours[table->map.attributes[column] - 1] = true;
	table->defaults = palloc0(sizeof(ExprState *) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Node	   *expression;

		if (ours[i] || attribute->attisdropped || attribute->attgenerated)
			continue;
		expression = build_column_default(table->relation, i + 1);
		if (expression)
			table->defaults[i] = ExecPrepareExpr((Expr *) expression, table->estate);
	}
	pfree(ours);
}

/* After a crash an unlogged table is empty, and the position, which is logged, would say that its events are there. */
static void
check_persistence(Relation relation)
{
	misfit = relation->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT;
	if (misfit)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is unlogged", RelationGetRelationName(relation)),
				 errdetail("A crash would empty it, and the streams would go on behind the events that are lost."),
				 errhint("ALTER TABLE %s SET LOGGED;", table_name(relation))));
}

EventsTable *
mcs_events_table_open(CmdType command, const RowColumn *updated, int updated_count)
{
	EventsTable *table = palloc0(sizeof(EventsTable));

	table->command = command;
	table->relation = table_open(mcs_extension_events(), RowExclusiveLock);
	mcs_events_table_map(table->relation, &table->map);
	if (command == CMD_INSERT)
		check_persistence(table->relation);
	table->estate = CreateExecutorState();
	init_range_table(table, updated, updated_count);
	table->result = makeNode(ResultRelInfo);
	InitResultRelInfo(table->result, table->relation, 1, NULL, 0);
	if (command != CMD_DELETE)
		ExecOpenIndices(table->result, false);
	/* where AFTER triggers look for it, before they open the relation once more */
	table->estate->es_opened_result_relations = list_make1(table->result);
	if (command == CMD_INSERT)
	{
		table->conversion = mcs_events_table_conversion(table->relation, &table->map);
		table->desc = CreateTupleDescCopyConstr(RelationGetDescr(table->relation));
		table->values = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream rows", ALLOCSET_DEFAULT_SIZES);
		prepare_defaults(table);
	}
	return table;
}

void
mcs_events_table_close(EventsTable *table)
{
	for (int i = 0; i < table->slot_count; i++)
		ExecDropSingleTupleTableSlot(table->slots[i]);
	ExecResetTupleTable(table->estate->es_tupleTable, false);
	ExecCloseIndices(table->result);
	FreeExecutorState(table->estate);
	table_close(table->relation, NoLock);
}

Relation
mcs_events_table_open_key(Relation relation)
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
				 errhint("ALTER TABLE %s ADD PRIMARY KEY (stream_name, event_id);", table_name(relation))));
	return index;
}

/* ---- inserting ---- */

/* Fills a slot with a row; what it allocates is left in the current context. */
static void
fill_slot(EventsTable *table, TupleTableSlot *slot, const EventRow *row)
{
	int			natts = table->desc->natts;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * natts);
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
			slot->tts_values[i] = mcs_events_table_convert(table->conversion, column, row->values[column], &slot->tts_isnull[i]);
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
	while (table->slot_count < count)
		table->slots[table->slot_count++] = MakeSingleTupleTableSlot(table->desc, table_slot_callbacks(table->relation));
	if (table->conversion)
		ResetExprContext(table->conversion->econtext);
	MemoryContextReset(table->values);
	old = MemoryContextSwitchTo(table->values);
	for (int i = 0; i < count; i++)
		fill_slot(table, table->slots[i], &rows[i]);
	MemoryContextSwitchTo(old);
	return count;
}

/* What must be right before a row goes into the table. */
static void
check_row(EventsTable *table, TupleTableSlot *slot)
{
	TupleConstr *constraints = RelationGetDescr(table->relation)->constr;

	slot->tts_tableOid = RelationGetRelid(table->relation);
	if (!constraints)
		return;
	if (constraints->has_generated_stored)
		ExecComputeStoredGenerated(table->result, table->estate, slot, CMD_INSERT);
	ExecConstraints(table->result, slot, table->estate);
}

/* What follows when a row is in the table: index entries and AFTER ROW triggers. */
static void
complete_row(EventsTable *table, TupleTableSlot *slot, TransitionCaptureState *transition)
{
	List	   *recheck = NIL;

	if (table->result->ri_NumIndices > 0)
		recheck = ExecInsertIndexTuples(table->result, slot, table->estate, false, false, NULL, NIL
#if PG_VERSION_NUM >= 160000
										,false
#endif
			);
	ExecARInsertTriggers(table->estate, table->result, slot, recheck, transition);
	list_free(recheck);
	ResetPerTupleExprContext(table->estate);
}

/* A BEFORE ROW trigger may look at the rows before, so they must be there: one by one. */
static void
insert_singly(EventsTable *table, int count, TransitionCaptureState *transition)
{
	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *slot = table->slots[i];

		CHECK_FOR_INTERRUPTS();
		if (!ExecBRInsertTriggers(table->estate, table->result, slot))
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					 errmsg("a BEFORE trigger on relation \"%s\" suppressed an event", RelationGetRelationName(table->relation)),
					 errdetail("Event numbers would have a gap."),
					 errhint("Leave events out by the stream's filter, which alter_change_stream sets.")));
		check_row(table, slot);
		table_tuple_insert(table->relation, slot, GetCurrentCommandId(true), 0, NULL);
		complete_row(table, slot, transition);
	}
}

static void
insert_together(EventsTable *table, int count, TransitionCaptureState *transition, BulkInsertState bulk)
{
	for (int i = 0; i < count; i++)
		check_row(table, table->slots[i]);
	table_multi_insert(table->relation, table->slots, count, GetCurrentCommandId(true), 0, bulk);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		complete_row(table, table->slots[i], transition);
	}
}

void
mcs_events_table_insert(EventsTable *table, const EventRow *rows, int count)
{
	TriggerDesc *triggers = table->result->ri_TrigDesc;
	BulkInsertState bulk = GetBulkInsertState();
	TransitionCaptureState *transition;

	AfterTriggerBeginQuery();
	transition = MakeTransitionCaptureState(triggers, RelationGetRelid(table->relation), CMD_INSERT);
	ExecBSInsertTriggers(table->estate, table->result);
	while (count > 0)
	{
		int			filled = fill_slots(table, rows, count);

		if (triggers && triggers->trig_insert_before_row)
			insert_singly(table, filled, transition);
		else
			insert_together(table, filled, transition, bulk);
		rows += filled;
		count -= filled;
	}
	ExecASInsertTriggers(table->estate, table->result, transition);
	AfterTriggerEndQuery(table->estate);
	FreeBulkInsertState(bulk);
}

void
mcs_events_table_check_deferred(void)
{
	ConstraintsSetStmt *immediate = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(immediate);
}

/* ---- updating and deleting ---- */

void
mcs_events_table_begin_command(EventsTable *table, Snapshot snapshot)
{
	table->estate->es_snapshot = snapshot;
	table->estate->es_output_cid = GetCurrentCommandId(true);
	AfterTriggerBeginQuery();
	if (table->command == CMD_UPDATE)
		ExecBSUpdateTriggers(table->estate, table->result);
	else
		ExecBSDeleteTriggers(table->estate, table->result);
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
mcs_events_table_update_row(EventsTable *table, TupleTableSlot *old, TupleTableSlot *new)
{
	EPQState	epq;

	init_recheck(&epq, table);
	ExecSimpleRelationUpdate(table->result, table->estate, &epq, old, new);
	ResetPerTupleExprContext(table->estate);
}

void
mcs_events_table_delete_row(EventsTable *table, TupleTableSlot *row)
{
	EPQState	epq;

	init_recheck(&epq, table);
	ExecSimpleRelationDelete(table->result, table->estate, &epq, row);
	ResetPerTupleExprContext(table->estate);
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

/* ---- errors ---- */

bool
mcs_event_is_cause(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return false;
		default:
			return error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && error->sqlerrcode != ERRCODE_DATA_CORRUPTED &&
				error->sqlerrcode != ERRCODE_INDEX_CORRUPTED;
	}
}
