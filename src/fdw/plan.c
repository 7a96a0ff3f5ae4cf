/*
 * fdw/plan.c
 *	  The wrapper's handler, and planning: how many rows, at what cost, which
 *	  conditions MongoDB evaluates, which columns are needed.
 *
 * Planning never contacts MongoDB.  How many events there are is known from
 * ANALYZE, or guessed.  A read costs what MongoDB reads, which is everything
 * from the start of the read to its end, and what it sends, which is what the
 * conditions that are sent let through.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "fdw/fdw.h"
#include "foreign/fdwapi.h"
#include "match/match.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(mcs_mongo_change_stream_handler);

/* Opening a change stream, in units of the planner: three round trips on a connection that stands. */
#define STARTUP_COST		50.0

/* For each event that MongoDB reads, and for each that it sends. */
#define COST_PER_EVENT_READ 0.01
#define COST_PER_EVENT_SENT 0.03

/* What a table is taken to hold, and the oplog to reach back, before anybody has analyzed it. */
#define UNKNOWN_EVENTS		100000.0
#define UNKNOWN_SPAN_S		86400.0

/* A query that wants no more rows than this is better served by a small reply. */
#define SMALL_LIMIT			500

/* What planning knows of a foreign table. */
typedef struct FdwRelation
{
	FdwTable   *table;
	MatchRelation match;
	bool		kept;			/* events that a stream keeps may be read */
} FdwRelation;

/* Conditions sorted by who evaluates them; one may be in several lists. */
typedef struct FdwConditions
{
	List	   *bounds;			/* of FdwBound: where the read begins and ends */
	List	   *sent;			/* of Expr: what MongoDB evaluates */
	List	   *local;			/* of Expr: what is evaluated here */
	List	   *settled;		/* of Expr: what is not, since bounds and MongoDB say all of it */
	List	   *filtering;		/* of RestrictInfo: what beside bounds lets MongoDB send less */
	List	   *others;			/* of RestrictInfo: all that are no bounds */
} FdwConditions;

/* ---- conditions ---- */

static void
sort_condition(const FdwRelation *fdw, Index varno, RestrictInfo *info, FdwConditions *conditions)
{
	Expr	   *clause = info->clause;
	FdwBound   *bound = palloc0(sizeof(FdwBound));
	MatchResult result;
	bool		is_bound = mcs_fdw_bound(fdw->table, varno, clause, bound);

	if (is_bound)
	{
		conditions->bounds = lappend(conditions->bounds, bound);
		/* the read's ends say all of it */
		if (bound->exact)
		{
			conditions->settled = lappend(conditions->settled, clause);
			return;
		}
	}
	else
		conditions->others = lappend(conditions->others, info);
	result = mcs_match_check(&fdw->match, clause);
	/* one that is wider than the condition is sent as well: fewer events come */
	if (result != MATCH_NOT)
	{
		conditions->sent = lappend(conditions->sent, clause);
		if (!is_bound)
			conditions->filtering = lappend(conditions->filtering, info);
	}
	if (result == MATCH_EXACT)
		conditions->settled = lappend(conditions->settled, clause);
	else
		conditions->local = lappend(conditions->local, clause);
}

/* Sorts a list of RestrictInfo; what is constant is the plan's affair, above. */
static void
sort_conditions(const FdwRelation *fdw, Index varno, List *infos, FdwConditions *conditions)
{
	ListCell   *cell;

	memset(conditions, 0, sizeof(*conditions));
	foreach(cell, infos)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, cell);

		/* those stand in a Result node, which does not run the scan at all */
		if (!info->pseudoconstant)
			sort_condition(fdw, varno, info, conditions);
	}
}

/* ---- how much of the history that is ---- */

/*
 * The oplog is a window that moves on: how many events a table has in it, and
 * over which time they spread, changes little, while the times themselves do.
 * So what ANALYZE has found counts as a rate, and a condition on time is taken
 * for the part of the window before now that it leaves.  PostgreSQL's own way,
 * to look the times up in a histogram of the past, would find nothing there.
 */

/* Seconds from the first to the last event that ANALYZE has seen. */
static double
history_span(const FdwTable *table)
{
	double		span = UNKNOWN_SPAN_S;

	for (int i = 0; i < table->natts; i++)
	{
		HeapTuple	tuple;
		AttStatsSlot slot;

		/* a table may lack the column, or be without statistics of it */
		if (table->columns[i] != EVENT_CLUSTER_TIME)
			continue;
		tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(table->relid), Int16GetDatum(i + 1), BoolGetDatum(false));
		if (!HeapTupleIsValid(tuple))
			continue;
		if (get_attstatsslot(&slot, tuple, STATISTIC_KIND_HISTOGRAM, InvalidOid, ATTSTATSSLOT_VALUES))
		{
			if (slot.nvalues > 1)
				span = (DatumGetTimestampTz(slot.values[slot.nvalues - 1]) - DatumGetTimestampTz(slot.values[0])) / (double) USECS_PER_SEC;
			free_attstatsslot(&slot);
		}
		ReleaseSysCache(tuple);
	}
	return Max(span, 1.0);
}

/* The part of the table's events that lies within the bounds. */
static double
time_selectivity(PlannerInfo *root, const FdwTable *table, List *bounds)
{
	double		now = GetCurrentTimestamp() / (double) USECS_PER_SEC + UNIX_EPOCH_OFFSET_S;
	double		selectivity = 1.0;
	double		span,
				from,
				to;
	FdwRange	range;
	ListCell   *cell;

	if (bounds == NIL)
		return 1.0;
	mcs_fdw_range_all(&range);
	foreach(cell, bounds)
	{
		FdwBound   *bound = lfirst(cell);
		Node	   *value = estimate_expression_value(root, (Node *) bound->value);

		/* now() among others: planning and execution are close to each other */
		if (IsA(value, Const))
			mcs_fdw_narrow(&range, bound, ((Const *) value)->constvalue, ((Const *) value)->constisnull);
		else
			selectivity *= bound->strategy == BTEqualStrategyNumber ? DEFAULT_EQ_SEL : DEFAULT_INEQ_SEL;
	}
	if (range.empty)
		return 0.0;
	span = history_span(table);
	from = Max(now - span, (double) (range.from >> 32));
	/* a second more, so that one point in time is some */
	to = Min(now, (double) (range.to >> 32) + 1.0);
	return to <= from ? 0.0 : selectivity * Min((to - from) / span, 1.0);
}

/* ---- sizes and paths ---- */

/* Takes the mark of CHANGE_STREAM out of the conditions: true for each row, it would only spoil estimates. */
static bool
take_mark(RelOptInfo *baserel)
{
	bool		found = false;
	ListCell   *cell;

	foreach(cell, baserel->baserestrictinfo)
	{
		if (!mcs_fdw_kept_is_mark((Node *) lfirst_node(RestrictInfo, cell)->clause))
			continue;
		baserel->baserestrictinfo = foreach_delete_current(baserel->baserestrictinfo, cell);
		found = true;
	}
	return found;
}

static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	FdwRelation *fdw = palloc0(sizeof(FdwRelation));
	Relation	relation = table_open(relid, NoLock);
	FdwConditions conditions;

	fdw->table = mcs_fdw_table(relation);
	table_close(relation, NoLock);
	fdw->match.varno = baserel->relid;
	fdw->match.natts = fdw->table->natts;
	fdw->match.columns = fdw->table->columns;
	fdw->match.images_change = mcs_fdw_looks_up(fdw->table);
	fdw->kept = take_mark(baserel);
	baserel->fdw_private = fdw;
	/* 0 or less: never analyzed */
	if (baserel->tuples <= 0)
		baserel->tuples = UNKNOWN_EVENTS;
	/* by statistics, as for any table; the conditions on time are put right below */
	set_baserel_size_estimates(root, baserel);

	/* conditions on time are better known than by statistics of the past */
	sort_conditions(fdw, baserel->relid, baserel->baserestrictinfo, &conditions);
	if (conditions.bounds != NIL)
		baserel->rows = clamp_row_est(baserel->tuples *
									  time_selectivity(root, fdw->table, conditions.bounds) *
									  clauselist_selectivity(root, conditions.others, baserel->relid, JOIN_INNER, NULL));
}

/* Adds a path; outer: relations whose values it needs, pathkeys: the order that is known. */
static void
add_foreign_path(PlannerInfo *root, RelOptInfo *baserel, List *infos, double rows, List *pathkeys, Relids outer)
{
	FdwRelation *fdw = baserel->fdw_private;
	FdwConditions conditions;
	QualCost	local;
	double		read,
				sent;
	Cost		startup,
				total;

	sort_conditions(fdw, baserel->relid, infos, &conditions);
	/* MongoDB reads all from the start on, and sends what passes */
	read = baserel->tuples * time_selectivity(root, fdw->table, conditions.bounds);
	sent = read * clauselist_selectivity(root, conditions.filtering, baserel->relid, JOIN_INNER, NULL);
	cost_qual_eval(&local, conditions.local, root);
	startup = STARTUP_COST + local.startup + baserel->reltarget->cost.startup;
	total = startup + read * COST_PER_EVENT_READ + sent * (COST_PER_EVENT_SENT + local.per_tuple) +
		rows * (cpu_tuple_cost + baserel->reltarget->cost.per_tuple);
	add_path(baserel, (Path *)
			 create_foreignscan_path(root, baserel, NULL, rows,
#if PG_VERSION_NUM >= 180000
									 0,
#endif
									 startup, total, pathkeys, outer, NULL,
#if PG_VERSION_NUM >= 170000
									 NIL,
#endif
									 NIL));
}

/* Events come in the order of cluster_time: the query's order, if that begins so. */
static List *
known_order(PlannerInfo *root, RelOptInfo *baserel)
{
	FdwRelation *fdw = baserel->fdw_private;
	Oid			family = lookup_type_cache(TIMESTAMPTZOID, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	PathKey    *key;

	/* a pipeline that sets clusterTime would show another order */
	if (root->query_pathkeys == NIL || !fdw->table->keeps_times)
		return NIL;
	key = linitial_node(PathKey, root->query_pathkeys);
	if (key->pk_opfamily != family || key->pk_nulls_first || key->pk_eclass->ec_has_volatile ||
#if PG_VERSION_NUM >= 180000
		key->pk_cmptype != COMPARE_LT
#else
		key->pk_strategy != BTLessStrategyNumber
#endif
		)
		return NIL;
	for (int i = 0; i < fdw->table->natts; i++)
	{
		ListCell   *cell;

		if (fdw->table->columns[i] != EVENT_CLUSTER_TIME)
			continue;
		foreach(cell, key->pk_eclass->ec_members)
		{
			EquivalenceMember *member = lfirst_node(EquivalenceMember, cell);
			Var		   *var = (Var *) member->em_expr;

			if (IsA(var, Var) && var->varno == baserel->relid && var->varattno == i + 1)
				return list_make1(key);
		}
	}
	return NIL;
}

/* Paths that take the bounds of the read from the rows of other relations. */
static void
add_parameterized_paths(PlannerInfo *root, RelOptInfo *baserel)
{
	FdwRelation *fdw = baserel->fdw_private;
	List	   *parameters = NIL;
	ListCell   *cell;

	foreach(cell, baserel->joininfo)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, cell);
		FdwBound	bound;
		Relids		outer;

		/* only bounds are worth a read for each outer row */
		if (!join_clause_is_movable_to(info, baserel) ||
			!mcs_fdw_bound(fdw->table, baserel->relid, info->clause, &bound))
			continue;
		outer = bms_union(info->clause_relids, baserel->lateral_relids);
		outer = bms_del_member(outer, baserel->relid);
		if (!bms_is_empty(outer))
			parameters = list_append_unique_ptr(parameters, get_baserel_parampathinfo(root, baserel, outer));
	}
	foreach(cell, parameters)
	{
		ParamPathInfo *info = lfirst_node(ParamPathInfo, cell);

		add_foreign_path(root, baserel, list_concat_copy(info->ppi_clauses, baserel->baserestrictinfo),
						 info->ppi_rows, NIL, info->ppi_req_outer);
	}
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	add_foreign_path(root, baserel, baserel->baserestrictinfo, baserel->rows,
					 known_order(root, baserel), baserel->lateral_relids);
	add_parameterized_paths(root, baserel);
}

/* ---- the plan ---- */

/* Adds the event columns that expressions read. */
static Bitmapset *
add_columns(Bitmapset *columns, const FdwRelation *fdw, Node *expressions)
{
	Bitmapset  *attributes = NULL;
	bool		whole;

	pull_varattnos(expressions, fdw->match.varno, &attributes);
	/* a whole-row reference needs every column */
	whole = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attributes);
	for (int i = 0; i < fdw->table->natts; i++)
		if (fdw->table->columns[i] >= 0 &&
			(whole || bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, attributes)))
			columns = bms_add_member(columns, fdw->table->columns[i]);
	return columns;
}

/* A set of columns for a plan, which can hold lists. */
static List *
column_list(const Bitmapset *columns)
{
	List	   *list = NIL;
	int			column = -1;

	while ((column = bms_next_member(columns, column)) >= 0)
		list = lappend_int(list, column);
	return list;
}

/* Bounds for a plan: their values go to *values. */
static List *
bound_lists(List *bounds, List **values)
{
	List	   *lists = NIL;
	ListCell   *cell;

	foreach(cell, bounds)
	{
		FdwBound   *bound = lfirst(cell);

		lists = lappend(lists, mcs_fdw_bound_numbers(bound));
		*values = lappend(*values, bound->value);
	}
	return lists;
}

/* How many rows the query wants of this scan, if they are few and all that the scan returns are wanted; else 0. */
static int
small_limit(PlannerInfo *root, RelOptInfo *baserel, const FdwConditions *conditions)
{
	Query	   *query = root->parse;

	/* anything between the scan and the LIMIT may need more rows than it returns */
	if (root->limit_tuples < 1 || root->limit_tuples > SMALL_LIMIT || conditions->local != NIL ||
		!bms_equal(root->all_baserels, baserel->relids) ||
		query->groupClause || query->groupingSets || query->hasAggs || query->hasWindowFuncs ||
		query->distinctClause || query->sortClause || query->hasTargetSRFs || query->setOperations)
		return 0;
	return (int) root->limit_tuples;
}

static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid relid, ForeignPath *path,
		 List *tlist, List *clauses, Plan *outer_plan)
{
	FdwRelation *fdw = baserel->fdw_private;
	FdwConditions conditions;
	Bitmapset  *used;
	Bitmapset  *asked;
	Bitmapset  *kept;
	List	   *values = NIL;
	List	   *bounds;
	List	   *sent_values;
	List	   *private = NIL;

	sort_conditions(fdw, baserel->relid, clauses, &conditions);
	/* MongoDB sends these; conditions that it evaluates itself need none to be sent */
	used = add_columns(NULL, fdw, (Node *) baserel->reltarget->exprs);
	used = add_columns(used, fdw, (Node *) conditions.local);
	asked = add_columns(bms_copy(used), fdw, (Node *) conditions.sent);
	/* of what is kept, all conditions are evaluated here; the operation's column stands for the mark where there is none */
	kept = add_columns(bms_add_member(bms_copy(asked), EVENT_OPERATION_TYPE), fdw, (Node *) conditions.settled);
	bounds = bound_lists(conditions.bounds, &values);
	sent_values = mcs_match_values(&fdw->match, conditions.sent);

	/* in the order of FdwPrivate */
	private = lappend(private, column_list(used));
	private = lappend(private, column_list(asked));
	private = lappend(private, bounds);
	private = lappend(private, fdw->kept ? column_list(kept) : NIL);
	private = lappend(private, list_make2_int(baserel->relid, small_limit(root, baserel, &conditions)));
	private = lappend(private, conditions.sent);
	private = lappend(private, sent_values);
	return make_foreignscan(tlist, conditions.local, baserel->relid, list_concat_copy(values, sent_values),
							private, NIL, conditions.settled, outer_plan);
}

Datum
mcs_mongo_change_stream_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->BeginForeignScan = mcs_fdw_begin;
	routine->IterateForeignScan = mcs_fdw_iterate;
	routine->ReScanForeignScan = mcs_fdw_rescan;
	routine->EndForeignScan = mcs_fdw_end;
	routine->ExplainForeignScan = mcs_fdw_explain;
	routine->AnalyzeForeignTable = mcs_fdw_analyze;
	routine->ImportForeignSchema = mcs_fdw_import;
	PG_RETURN_POINTER(routine);
}
