/*
 * fdw/scan.c
 *	  The executor's part: a foreign scan as one bounded read after the other.
 *
 * All reads of one server within one execution of a statement end at the time
 * at which the first did, so a scan that is repeated shows the same again, and
 * tables that are joined show the same history.  Everything lives in the executor's
 * memory, so an error, a cancel or the end of a portal ends the read as well.
 *
 * Where the plan allows it, events that a stream keeps are shown first, and the
 * read begins behind them (fdw/kept_read.c).  Of them all conditions are evaluated
 * here, those too that a read leaves to MongoDB.
 */
#include "mongo_change_stream.h"

#include "executor/executor.h"
#include "fdw/fdw.h"
#include "lib/ilist.h"
#include "match/match.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "tables/tables.h"
#include "utils/memutils.h"

/* How far one execution sees the history of one server. */
typedef struct FdwHorizon
{
	dlist_node	node;
	EState	   *state;
	Oid			serverid;
	uint64		until;
	List	   *told;			/* of char *: what the user was told of its tables */
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
static FdwHorizon *
find_horizon(EState *state, Oid serverid)
{
	FdwHorizon *horizon;
	dlist_iter	iter;

	/* few: one for each server of each statement at work */
	dlist_foreach(iter, &horizons)
	{
		horizon = dlist_container(FdwHorizon, node, iter.cur);
		if (horizon->state == state && horizon->serverid == serverid)
			return horizon;
	}
	/* in the execution's memory: it ends with that, by whichever way */
	horizon = MemoryContextAllocZero(state->es_query_cxt, sizeof(FdwHorizon));
	horizon->state = state;
	horizon->serverid = serverid;
	horizon->callback.func = forget_horizon;
	horizon->callback.arg = horizon;
	dlist_push_head(&horizons, &horizon->node);
	MemoryContextRegisterResetCallback(state->es_query_cxt, &horizon->callback);
	return horizon;
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
	scan->lessons.until = &find_horizon(node->ss.ps.state, scan->table->serverid)->until;
	scan->user = scan_user(node);
	/* EXPLAIN alone asks for no user mapping, and works without one */
	if (!(flags & EXEC_FLAG_EXPLAIN_ONLY))
		scan->target = mcs_mongo_target_of_table(scan->table->serverid, scan->user);
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

/* ---- what is kept ---- */

bool
mcs_fdw_wants_kept(const ForeignScanState *node)
{
	return mcs_kept_enabled && list_nth(castNode(ForeignScan, node->ss.ps.plan)->fdw_private, FDW_KEPT) != NIL;
}

/* Looks for streams, once for a scan. */
void
mcs_fdw_look_for_kept(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;
	MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);
	FdwKeptRequest request = {.table = scan->table,.target = scan->target,.user = scan->user,.snapshot = node->ss.ps.state->es_snapshot};

	if (scan->kept == NULL)
	{
		request.asked = column_set(list_nth(castNode(ForeignScan, node->ss.ps.plan)->fdw_private, FDW_KEPT));
		if (request.target == NULL)
			request.target = mcs_mongo_target_of_table(scan->table->serverid, scan->user);
		scan->kept = mcs_fdw_kept_begin(&request);
	}
	MemoryContextSwitchTo(old);
}

/* Tells what is read, once in an execution. */
static void
tell_choice(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;
	FdwHorizon *horizon = find_horizon(node->ss.ps.state, scan->table->serverid);
	const FdwKeptChoice *choice = &scan->choice;
	char	   *message = choice->kept
		? psprintf("foreign table \"%s\" shows kept events of %s, then MongoDB's history", scan->table->name, choice->text)
		: psprintf("foreign table \"%s\" shows MongoDB's history, as %s", scan->table->name, choice->text);
	ListCell   *cell;

	/* a table that is named twice is told of once */
	foreach(cell, horizon->told)
		if (strcmp(lfirst(cell), message) == 0)
			return;
	horizon->told = lappend(horizon->told, message);
	ereport(NOTICE,
			(errmsg_internal("%s", message),
			 choice->hint ? errhint("%s", choice->hint) : 0));
}

/* ---- rows ---- */

/* Begins a read, after a token or (NULL) where range and table say. */
static void
begin_read(ForeignScanState *node, const char *after)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	FdwScan    *scan = node->fdw_state;
	FdwRequest	request = {0};

	request.table = scan->table;
	request.target = scan->target;
	request.range = scan->range;
	request.used = scan->used;
	request.asked = scan->asked;
	request.match = scan->match;
	request.batch_size = lsecond_int((List *) list_nth(plan->fdw_private, FDW_NUMBERS));
	request.after = after;
	scan->read = mcs_read_begin(&request, &scan->lessons);
}

/* Begins with what is kept, or with a read. */
static void
begin(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;
	MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);

	scan->begun = true;
	/* only now: parameters of a nested loop have their values since the rescan */
	mcs_fdw_evaluate(node, false);
	if (mcs_fdw_wants_kept(node) && !scan->range.empty)
	{
		mcs_fdw_look_for_kept(node);
		mcs_fdw_kept_choose(scan->kept, &scan->range, true, &scan->choice);
		scan->reads_kept = scan->choice.kept;
		/* of a scan that is repeated only for the first time */
		if (!scan->told)
			tell_choice(node);
		scan->told = true;
	}
	if (!scan->reads_kept)
		begin_read(node, NULL);
	MemoryContextSwitchTo(old);
}

/* Ends the read, if there is one. */
static void
end_read(FdwScan *scan)
{
	scan->begun = false;
	scan->reads_kept = false;
	if (scan->read == NULL)
		return;
	mcs_read_statistics(scan->read, &scan->statistics);
	mcs_read_end(scan->read);
	scan->read = NULL;
}

/* Puts the next row of what is kept into the slot; false where there is none, and reads_kept tells whether a read follows. */
static bool
next_kept(ForeignScanState *node, TupleTableSlot *slot)
{
	FdwScan    *scan = node->fdw_state;
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	FdwKeptNext next;

	while ((next = mcs_fdw_kept_next(scan->kept, *scan->lessons.until)) == KEPT_ROW)
	{
		ExecClearTuple(slot);
		mcs_fdw_kept_row(scan->kept, slot);
		ExecStoreVirtualTuple(slot);
		/* what a read leaves to MongoDB and to where it begins and ends; the executor has the rest */
		econtext->ecxt_scantuple = slot;
		if (ExecQual(node->fdw_recheck_quals, econtext))
		{
			scan->kept_rows++;
			return true;
		}
		/* which the executor resets only between rows that it gets */
		ResetExprContext(econtext);
	}
	ExecClearTuple(slot);
	scan->reads_kept = next == KEPT_HISTORY;
	return false;
}

TupleTableSlot *
mcs_fdw_iterate(ForeignScanState *node)
{
	FdwScan    *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	const FdwTable *table = scan->table;
	ChangeEvent event;

	/* at the first row, not at the start: a node may never be asked for one */
	if (!scan->begun)
		begin(node);
	if (scan->reads_kept)
	{
		MemoryContext old;

		if (next_kept(node, slot))
			return slot;
		if (scan->reads_kept)
		{
			old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);
			begin_read(node, mcs_fdw_kept_position(scan->kept));
			MemoryContextSwitchTo(old);
			scan->reads_kept = false;
		}
	}
	ExecClearTuple(slot);
	if (scan->read == NULL || !mcs_read_next(scan->read))
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
	if (scan == NULL)
		return;
	end_read(scan);
	if (scan->kept)
		mcs_fdw_kept_end(scan->kept);
	scan->kept = NULL;
}
