/*
 * fdw_plan.c
 *	  The wrapper's handler, and planning: how many rows, at what cost, which
 *	  conditions MongoDB evaluates, which columns are needed.
 *
 * Planning never contacts MongoDB.
 */
#include "mongo_change_stream.h"

#include "access/table.h"
#include "fdw.h"
#include "foreign/fdwapi.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "access/sysattr.h"

PG_FUNCTION_INFO_V1(mcs_mongo_change_stream_handler);

/* What a table is taken to hold before anybody has analyzed it. */
#define UNKNOWN_EVENTS		100000.0

/* Opening a change stream, in units of the planner: a connection that stands, and three round trips. */
#define STARTUP_COST		50.0

/* For each event that MongoDB reads, and for each that it sends. */
#define COST_PER_EVENT_READ 0.01
#define COST_PER_EVENT_SENT 0.03

/* What planning knows of a foreign table. */
typedef struct FdwRelation
{
	FdwTable   *table;
	List	   *sent;			/* of RestrictInfo: conditions that MongoDB evaluates */
	List	   *local;			/* of RestrictInfo: those that are checked here, too or only */
} FdwRelation;

static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	FdwRelation *fdw = palloc0(sizeof(FdwRelation));
	Relation	relation = table_open(relid, NoLock);

	fdw->table = mcs_fdw_table(relation);
	table_close(relation, NoLock);
	fdw->local = baserel->baserestrictinfo;
	baserel->fdw_private = fdw;
	if (baserel->tuples <= 0)
		baserel->tuples = UNKNOWN_EVENTS;
	set_baserel_size_estimates(root, baserel);
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	double		read = baserel->tuples;
	double		sent = baserel->tuples;
	Cost		total = STARTUP_COST + read * COST_PER_EVENT_READ + sent * COST_PER_EVENT_SENT +
		baserel->rows * cpu_tuple_cost;

	add_path(baserel, (Path *)
			 create_foreignscan_path(root, baserel, NULL, baserel->rows,
#if PG_VERSION_NUM >= 180000
									 0,
#endif
									 STARTUP_COST, total, NIL, baserel->lateral_relids, NULL,
#if PG_VERSION_NUM >= 170000
									 NIL,
#endif
									 NIL));
}

/* The event columns among attribute numbers as pull_varattnos gives them. */
static Bitmapset *
event_columns(const FdwTable *table, const Bitmapset *attributes)
{
	Bitmapset  *columns = NULL;
	bool		whole = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attributes);

	for (int i = 0; i < table->natts; i++)
		if (table->columns[i] >= 0 &&
			(whole || bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, attributes)))
			columns = bms_add_member(columns, table->columns[i]);
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

static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid relid, ForeignPath *path,
		 List *tlist, List *clauses, Plan *outer_plan)
{
	FdwRelation *fdw = baserel->fdw_private;
	Bitmapset  *attributes = NULL;
	List	   *private = NIL;
	List	   *local = extract_actual_clauses(clauses, false);
	Bitmapset  *used;

	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid, &attributes);
	pull_varattnos((Node *) local, baserel->relid, &attributes);
	used = event_columns(fdw->table, attributes);

	private = lappend(private, column_list(used));
	return make_foreignscan(tlist, local, baserel->relid, NIL, private, NIL, NIL, outer_plan);
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
	PG_RETURN_POINTER(routine);
}
