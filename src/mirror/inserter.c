/*
 * mirror/inserter.c
 *	  New rows of a mirror's table, written the way COPY writes them (base/insert.c):
 *	  what a plain INSERT of them does, for less.
 *
 * It does no more than that, so it takes tables only of which an INSERT would do
 * nothing else: no rules, no partitions, no BEFORE ROW triggers, which look at the
 * rows before, no defaults that may do so, and rights that nobody has taken from
 * the owner.  And the INSERT's plan says whether it is PostgreSQL that writes the
 * rows, into this very table and past no policy: not so where the rows of the
 * table lie on other servers.  All others get the statement.
 */
#include "mongo_change_stream.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "access/table.h"
#include "access/tableam.h"
#include "base/base.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "mirror/mirror_internal.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/plancache.h"
#include "utils/rel.h"

/* ---- which tables ---- */

/* Whether a default does nothing but to count. */
static bool
is_plain_default(Relation relation, int attribute)
{
	Node	   *expression = build_column_default(relation, attribute);

	return expression == NULL || !contain_volatile_functions_not_nextval(expression);
}

/* Whether values are of the very type that a column has, as an INSERT would make them. */
static bool
is_as_stored(const TableColumn *column)
{
	return !column->as_text && column->type == column->base && (column->typmod < 0 || column->conversion);
}

/* As far as the table tells, which is as it was when it was opened. */
bool
mcs_mirror_may_insert(const MirrorTable *table, Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);
	TriggerDesc *triggers = relation->trigdesc;

	if (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rel->relispartition || relation->rd_rules ||
		(triggers && triggers->trig_insert_before_row))
		return false;
	for (int i = 0; i < table->column_count; i++)
		if (!is_as_stored(&table->columns[i]))
			return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && !attribute->attgenerated && !is_plain_default(relation, i + 1))
			return false;
	}
	return true;
}

/* Whether a plan writes rows into the table, and all that it does is that. */
static bool
is_plain_insert(const PlannedStmt *statement, Oid relation)
{
	const ModifyTable *plan = (const ModifyTable *) statement->planTree;

	return statement->commandType == CMD_INSERT && IsA(plan, ModifyTable) && plan->operation == CMD_INSERT &&
		list_length(plan->resultRelations) == 1 && plan->withCheckOptionLists == NIL && plan->returningLists == NIL &&
		rt_fetch(linitial_int(plan->resultRelations), statement->rtable)->relid == relation;
}

bool
mcs_mirror_inserts(MirrorTable *table)
{
	CachedPlan *cached;
	bool		result;

	if (!table->may_insert || pg_class_aclcheck(table->relation, GetUserId(), ACL_INSERT) != ACLCHECK_OK)
		return false;
	cached = SPI_plan_get_cached_plan(mcs_mirror_plan(table, STATEMENT_INSERT));
	if (cached == NULL)
		return false;
	result = list_length(cached->stmt_list) == 1 && is_plain_insert(linitial(cached->stmt_list), table->relation);
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	return result;
}

/* ---- writing ---- */

struct MirrorInserter
{
	MirrorTable *table;
	Relation	relation;
	TupleDesc	desc;			/* a copy, not counted */
	EState	   *estate;
	ResultRelInfo *result;
	ExprState **defaults;		/* of columns that the mirror does not fill; NULL: there are none */
	TransitionCaptureState *transition;
	BulkInsertState bulk;
	MemoryContext values;		/* of defaults, and the tuples that are made of rows */
	TupleTableSlot *slots[MIRROR_INSERT_ROWS];
	int			slot_count;
};

/* Compiles the defaults, if there are any. */
static void
prepare_defaults(MirrorInserter *inserter)
{
	const MirrorTable *table = inserter->table;
	bool	   *given = palloc0(sizeof(bool) * inserter->desc->natts);
	bool		any = false;

	for (int i = 0; i < table->column_count; i++)
		given[table->columns[i].attribute - 1] = true;
	inserter->defaults = mcs_insert_defaults(inserter->relation, inserter->estate, given);
	for (int i = 0; i < inserter->desc->natts; i++)
		any = any || inserter->defaults[i];
	if (!any)
		inserter->defaults = NULL;
}

MirrorInserter *
mcs_mirror_insert_begin(MirrorTable *table)
{
	MirrorInserter *inserter = palloc0(sizeof(MirrorInserter));

	inserter->table = table;
	inserter->relation = table_open(table->relation, NoLock);
	inserter->desc = CreateTupleDescCopyConstr(RelationGetDescr(inserter->relation));
	inserter->estate = mcs_insert_state(inserter->relation, NULL, true, &inserter->result);
	/* its first block stays from rows to rows */
	inserter->values = AllocSetContextCreate(CurrentMemoryContext, "mirror tuples", 0, MIRROR_INSERT_BYTES * 4, ALLOCSET_DEFAULT_MAXSIZE);
	inserter->bulk = GetBulkInsertState();
	prepare_defaults(inserter);
	/* events of AFTER triggers are gathered until the end of the query, as of a statement */
	AfterTriggerBeginQuery();
	inserter->transition = MakeTransitionCaptureState(inserter->result->ri_TrigDesc, table->relation, CMD_INSERT);
	ExecBSInsertTriggers(inserter->estate, inserter->result);
	return inserter;
}

/* The values of columns that have defaults. */
static void
fill_defaults(MirrorInserter *inserter, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(inserter->values);

	for (int i = 0; i < inserter->desc->natts; i++)
		if (inserter->defaults[i])
			slot->tts_values[i] = ExecEvalExpr(inserter->defaults[i], GetPerTupleExprContext(inserter->estate),
											   &slot->tts_isnull[i]);
	MemoryContextSwitchTo(old);
}

void
mcs_mirror_insert(MirrorInserter *inserter, Datum **values, bool **nulls, int count)
{
	const MirrorTable *table = inserter->table;

	/* of the rows before, which are in the table */
	MemoryContextReset(inserter->values);
	for (int row = 0; row < count; row++)
	{
		TupleTableSlot *slot = inserter->slots[row];

		if (row == inserter->slot_count)
		{
			MemoryContext old = MemoryContextSwitchTo(inserter->estate->es_query_cxt);

			slot = inserter->slots[inserter->slot_count++] = mcs_insert_slot(inserter->desc);
			MemoryContextSwitchTo(old);
		}
		ExecClearTuple(slot);
		memset(slot->tts_isnull, true, sizeof(bool) * inserter->desc->natts);
		if (inserter->defaults)
			fill_defaults(inserter, slot);
		for (int i = 0; i < table->column_count; i++)
		{
			int			at = table->columns[i].attribute - 1;

			slot->tts_values[at] = values[i][row];
			slot->tts_isnull[at] = nulls[i][row];
		}
		ExecStoreVirtualTuple(slot);
	}
	mcs_insert_together(inserter->estate, inserter->result, inserter->slots, count, inserter->transition, inserter->bulk,
						inserter->values);
}

void
mcs_mirror_insert_end(MirrorInserter *inserter)
{
	/* transition tables are complete here */
	ExecASInsertTriggers(inserter->estate, inserter->result, inserter->transition);
	AfterTriggerEndQuery(inserter->estate);
	/* it keeps the last page pinned */
	FreeBulkInsertState(inserter->bulk);
	for (int i = 0; i < inserter->slot_count; i++)
		ExecDropSingleTupleTableSlot(inserter->slots[i]);
	mcs_insert_free_state(inserter->estate, inserter->result);
	/* the lock stays until the commit, as for any statement */
	table_close(inserter->relation, NoLock);
	/* what follows in the transaction is to see the rows */
	CommandCounterIncrement();
}
