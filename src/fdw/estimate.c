/*
 * fdw/estimate.c
 *	  How much of a table's history a read is likely to see.
 *
 * The oplog is a window that moves on: how many events a table has in it, and
 * over which time they spread, changes little, while the times themselves do.
 * So what ANALYZE has found counts as a rate, and a condition on time is taken
 * for the part of the window before now that it leaves.  PostgreSQL's own way,
 * to look the times up in a histogram of the past, would find nothing there.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_statistic.h"
#include "fdw/fdw.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* What a table is taken to hold, and the oplog to reach back, before anybody has analyzed it. */
#define UNKNOWN_EVENTS		100000.0
#define UNKNOWN_SPAN_S		86400.0

#define UNIX_EPOCH_OFFSET_S ((double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* How many events the table has. */
double
mcs_fdw_events(double analyzed)
{
	return analyzed > 0 ? analyzed : UNKNOWN_EVENTS;
}

/* Seconds from the first to the last event that ANALYZE has seen. */
static double
history_span(const FdwTable *table)
{
	double		span = UNKNOWN_SPAN_S;

	for (int i = 0; i < table->natts; i++)
	{
		HeapTuple	tuple;
		AttStatsSlot slot;

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
double
mcs_fdw_time_selectivity(PlannerInfo *root, const FdwTable *table, List *bounds)
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
