/*
 * base/insert.c
 *	  Rows into a table below SQL, the way COPY and logical replication write
 *	  them: slots, defaults, generated columns and constraints, the table's access
 *	  method, index entries, AFTER triggers.
 *
 * The executor's state has a range table of one entry, since whoever reports a
 * constraint that failed looks into it.  All of it runs as the current user, whom
 * nobody asks for rights here; nor is row-level security looked at, nor rules, nor
 * of which partition a row is.  That is the caller's to know.
 */
#include "mongo_change_stream.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "base/base.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"

/* The range table: its one entry is what errors and indexes ask for columns that a command writes. */
static void
init_range_table(EState *estate, Relation relation, Bitmapset *updated)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(relation);
	entry->relkind = relation->rd_rel->relkind;
	entry->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		List	   *permissions = NIL;

		addRTEPermissionInfo(&permissions, entry)->updatedCols = updated;
#if PG_VERSION_NUM >= 180000
		ExecInitRangeTable(estate, list_make1(entry), permissions, bms_make_singleton(1));
#else
		ExecInitRangeTable(estate, list_make1(entry), permissions);
#endif
	}
#else
	entry->updatedCols = updated;
	ExecInitRangeTable(estate, list_make1(entry));
#endif
}

EState *
mcs_insert_state(Relation relation, Bitmapset *updated, bool indexes, ResultRelInfo **result)
{
	EState	   *estate = CreateExecutorState();

	init_range_table(estate, relation, updated);
	*result = makeNode(ResultRelInfo);
	InitResultRelInfo(*result, relation, 1, NULL, 0);
	if (indexes)
		ExecOpenIndices(*result, false);
	/* where AFTER triggers look for it, before they open the relation once more */
	estate->es_opened_result_relations = list_make1(*result);
	return estate;
}

void
mcs_insert_free_state(EState *estate, ResultRelInfo *result)
{
	/* slots that triggers have made, which may pin buffers */
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseIndices(result);
	FreeExecutorState(estate);
}

ExprState **
mcs_insert_defaults(Relation relation, EState *estate, const bool *given)
{
	TupleDesc	desc = RelationGetDescr(relation);
	ExprState **defaults = palloc0(sizeof(ExprState *) * desc->natts);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Node	   *expression;

		/* generated columns are computed when the row is complete, in mcs_insert_check */
		if (given[i] || attribute->attisdropped || attribute->attgenerated)
			continue;
		/* of a domain, the type has the default; an identity has nextval */
		expression = build_column_default(relation, i + 1);
		if (expression)
			defaults[i] = ExecPrepareExpr((Expr *) expression, estate);
	}
	return defaults;
}

/*
 * Virtual ones, as the apply worker of logical replication has them: those of the
 * table's own kind would hold the row as a tuple behind the insert, and index
 * entries be made of what is taken out of it again.
 */
TupleTableSlot *
mcs_insert_slot(TupleDesc desc)
{
	return MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
}

void
mcs_insert_check(EState *estate, ResultRelInfo *result, TupleTableSlot *slot)
{
	Relation	relation = result->ri_RelationDesc;
	TupleConstr *constraints = RelationGetDescr(relation)->constr;

	/* constraints may read it, and the access method sets it only later */
	slot->tts_tableOid = RelationGetRelid(relation);
	if (!constraints)
		return;
	/* before the constraints, which may be about them */
	if (constraints->has_generated_stored)
		ExecComputeStoredGenerated(result, estate, slot, CMD_INSERT);
	ExecConstraints(result, slot, estate);
}

void
mcs_insert_complete(EState *estate, ResultRelInfo *result, TupleTableSlot *slot, TransitionCaptureState *transition)
{
	List	   *recheck = NIL;

	/* recheck: what has to be looked at again when a deferred unique constraint is checked */
	if (result->ri_NumIndices > 0)
		recheck = ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL
#if PG_VERSION_NUM >= 160000
										,false
#endif
			);
	ExecARInsertTriggers(estate, result, slot, recheck, transition);
	list_free(recheck);
	/* index expressions and trigger conditions were evaluated in it */
	ResetPerTupleExprContext(estate);
}

void
mcs_insert_together(EState *estate, ResultRelInfo *result, TupleTableSlot **slots, int count,
					TransitionCaptureState *transition, struct BulkInsertStateData *bulk, MemoryContext tuples)
{
	MemoryContext old;

	/* all are checked before the first goes in; none of them can see another */
	for (int i = 0; i < count; i++)
		mcs_insert_check(estate, result, slots[i]);
	/* the access method makes tuples of the slots, and leaves them there */
	old = MemoryContextSwitchTo(tuples);
	table_multi_insert(result->ri_RelationDesc, slots, count, GetCurrentCommandId(true), 0, bulk);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		mcs_insert_complete(estate, result, slots[i], transition);
	}
}
