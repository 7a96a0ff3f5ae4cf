/*
 * fdw/scan.c
 *	  The executor's part: a foreign scan as one bounded read after the other.
 *
 * All reads of one server within one execution of a statement end at the time
 * at which the first did, so a scan that is repeated shows the same again, and
 * tables that are joined show the same history.  Everything lives in the executor's
 * memory, so an error, a cancel or the end of a portal ends the read as well.
 */
#include "mongo_change_stream.h"

#include "executor/executor.h"
#include "fdw/fdw.h"
#include "lib/ilist.h"
#include "match/match.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/memutils.h"

/* How far one execution sees the history of one server. */
typedef struct FdwHorizon
{
	dlist_node	node;
	EState	   *state;
	Oid			serverid;
	uint64		until;
	MemoryContextCallback callback;
} FdwHorizon;

static dlist_head horizons = DLIST_STATIC_INIT(horizons);

/* Forgets a horizon, when the execution's memory goes. */
static void
forget_horizon(void *arg)
{
	dlist_delete(&((FdwHorizon *) arg)->node);
}

/* The horizon of an execution and a server. */
static uint64 *
find_horizon(EState *state, Oid serverid)
{
	FdwHorizon *horizon;
	dlist_iter	iter;

	/* few: one for each server of each statement at work */
	dlist_foreach(iter, &horizons)
	{
		horizon = dlist_container(FdwHorizon, node, iter.cur);
		if (horizon->state == state && horizon->serverid == serverid)
			return &horizon->until;
	}
	/* in the execution's memory: it ends with that, by whichever way */
	horizon = MemoryContextAllocZero(state->es_query_cxt, sizeof(FdwHorizon));
	horizon->state = state;
	horizon->serverid = serverid;
	horizon->callback.func = forget_horizon;
	horizon->callback.arg = horizon;
	dlist_push_head(&horizons, &horizon->node);
	MemoryContextRegisterResetCallback(state->es_query_cxt, &horizon->callback);
	return &horizon->until;
}

/* As whom the table is read: the owner of the view that names it, or the user. */
static Oid
scan_user(ForeignScanState *node)
{
	Oid			user;

	/* the check of rights was made for this role, so the user mapping is this one's, too */
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
	/* options count as they are when the plan runs */
	scan->table = mcs_fdw_table(node->ss.ss_currentRelation);
	scan->used = column_set(list_nth(plan->fdw_private, FDW_USED));
	scan->asked = column_set(list_nth(plan->fdw_private, FDW_ASKED));
	scan->values = ExecInitExprList(plan->fdw_exprs, (PlanState *) node);
	scan->value_context = AllocSetContextCreate(CurrentMemoryContext, "values of a foreign scan", ALLOCSET_SMALL_SIZES);
	scan->lessons.until = find_horizon(node->ss.ps.state, scan->table->serverid);
	/* EXPLAIN alone asks for no user mapping, and works without one */
	if (!(flags & EXEC_FLAG_EXPLAIN_ONLY))
		scan->target = mcs_mongo_target_of_table(scan->table->serverid, scan_user(node));
}

/* ---- values ---- */

/* Whether an expression has a value only when the plan runs. */
static bool
needs_execution(Node *node, EState *state)
{
	if (node == NULL)
		return false;
	/* a parameter of the statement has its value before the plan runs; others come from other nodes */
	if (IsA(node, Param))
		return ((Param *) node)->paramkind != PARAM_EXTERN || state->es_param_list_info == NULL;
	return expression_tree_walker(node, needs_execution, state);
}

/* The value at a place of fdw_exprs; not known: in EXPLAIN alone it may not be evaluated. */
static MatchValue
value_at(ForeignScanState *node, int place, bool explain)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	FdwScan    *scan = node->fdw_state;
	MatchValue	value = {0};

	value.known = !explain || !needs_execution(list_nth(plan->fdw_exprs, place), node->ss.ps.state);
	if (value.known)
		value.value = ExecEvalExpr((ExprState *) list_nth(scan->values, place), node->ss.ps.ps_ExprContext, &value.isnull);
	return value;
}

/* Narrows the range by a bound of the plan. */
static void
narrow(FdwScan *scan, const List *numbers, const MatchValue *value)
{
	FdwBound	bound;

	mcs_fdw_bound_of_numbers(&bound, numbers);
	if (value->known)
		mcs_fdw_narrow(&scan->range, &bound, value->value, value->isnull);
	else
		scan->range_known = false;
}

/* Evaluates what the plan left open: range and match.  explain: as far as that goes without execution. */
void
mcs_fdw_evaluate(ForeignScanState *node, bool explain)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	FdwScan    *scan = node->fdw_state;
	FdwTable   *table = scan->table;
	MatchRelation relation = {.natts = table->natts,.columns = table->columns,.images_change = mcs_fdw_looks_up(table)};
	MemoryContext old;
	List	   *values = NIL;
	ListCell   *cell;
	int			place = 0;

	MemoryContextReset(scan->value_context);
	old = MemoryContextSwitchTo(scan->value_context);
	mcs_fdw_range_all(&scan->range);
	scan->range_known = true;
	/* the values stand in fdw_exprs in this order: those of bounds, then those that are sent */
	foreach(cell, (List *) list_nth(plan->fdw_private, FDW_BOUNDS))
	{
		MatchValue	value = value_at(node, place++, explain);

		narrow(scan, lfirst(cell), &value);
	}
	foreach(cell, (List *) list_nth(plan->fdw_private, FDW_SENT_VALUES))
	{
		MatchValue *value = palloc(sizeof(MatchValue));

		*value = value_at(node, place++, explain);
		value->expr = lfirst(cell);
		values = lappend(values, value);
	}
	relation.varno = linitial_int((List *) list_nth(plan->fdw_private, FDW_NUMBERS));
	scan->match = mcs_match_write(&relation, list_nth(plan->fdw_private, FDW_SENT), values);
	MemoryContextSwitchTo(old);
}

/* ---- rows ---- */

/* Begins a read. */
static void
begin_read(ForeignScanState *node)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	FdwScan    *scan = node->fdw_state;
	MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);
	FdwRequest	request = {0};

	/* only now: parameters of a nested loop have their values since the rescan */
	mcs_fdw_evaluate(node, false);
	request.table = scan->table;
	request.target = scan->target;
	request.range = scan->range;
	request.used = scan->used;
	request.asked = scan->asked;
	request.match = scan->match;
	request.batch_size = lsecond_int((List *) list_nth(plan->fdw_private, FDW_NUMBERS));
	scan->read = mcs_read_begin(&request, &scan->lessons);
	MemoryContextSwitchTo(old);
}

/* Ends the read, if there is one. */
static void
end_read(FdwScan *scan)
{
	if (scan->read == NULL)
		return;
	mcs_read_statistics(scan->read, &scan->statistics);
	mcs_read_end(scan->read);
	scan->read = NULL;
}

TupleTableSlot *
mcs_fdw_iterate(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	const FdwTable *table = scan->table;
	ChangeEvent event;

	/* at the first row, not at the start: a node may never be asked for one */
	if (scan->read == NULL)
		begin_read(node);
	ExecClearTuple(slot);
	if (!mcs_read_next(scan->read))
		return slot;

	memset(slot->tts_isnull, true, sizeof(bool) * table->natts);
	/* count(*) needs no column, and no event taken apart */
	if (!bms_is_empty(scan->used))
	{
		bool		looks_up = mcs_fdw_looks_up(table);

		mcs_read_event(scan->read, &event);
		for (int i = 0; i < table->natts; i++)
			/* the context is that of the tuple, which the executor resets for each row */
			if (table->columns[i] >= 0 && bms_is_member(table->columns[i], scan->used))
				slot->tts_values[i] = mcs_event_column(&event, (EventColumn) table->columns[i], looks_up, &slot->tts_isnull[i]);
	}
	return ExecStoreVirtualTuple(slot);
}

void
mcs_fdw_rescan(ForeignScanState *node)
{
	/* what it saw may differ by its parameters, so it is read again; the horizon stays */
	end_read(node->fdw_state);
}

void
mcs_fdw_end(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;

	/* NULL where the scan was never begun */
	if (scan)
		end_read(scan);
}
