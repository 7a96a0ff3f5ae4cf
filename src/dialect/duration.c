/*
 * dialect/duration.c
 *	  Columns of a result that may be differences of dates.
 *
 * BSON has no interval: the difference of two dates is a number of milliseconds,
 * as MongoDB has it, and 1180000 says nothing to who reads a result.  Whether
 * dates were subtracted, or numbers, only those know who did it, when it runs.
 * So the subtractions that a column comes from are found in the analysed query,
 * by their places in its text, through sub-selects and CTEs, and at each of
 * these places is noted when it subtracts dates (document/arithmetic.c).
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"

/* A query, and those that it stands in. */
typedef struct Level
{
	const Query *query;
	const struct Level *outer;
} Level;

/* A search for the subtractions of one column. */
typedef struct Search
{
	DocumentDifferences *differences;
	uint32		found;			/* bits: numbers of subtractions in it */
	const Level *level;
} Search;

static bool search_node(Node *node, Search *search);

/* Takes note of a subtraction that a column comes from. */
static void
add(Search *search, int location)
{
	DocumentDifferences *differences = search->differences;
	int			i = 0;

	while (i < differences->count && differences->locations[i] != location)
		i++;
	if (location < 0 || i == DOCUMENT_MAX_DIFFERENCES)
		return;
	if (i == differences->count)
	{
		differences->locations[i] = location;
		differences->seen[i] = false;
		differences->count++;
	}
	search->found |= (uint32) 1 << i;
}

/* Searches a column of a query within another. */
static void
search_column(Search *search, const Query *query, const Level *outer, AttrNumber number)
{
	Level		level = {query, outer};
	Search		inner = {search->differences, 0, &level};
	TargetEntry *target = get_tle_by_resno(query->targetList, number);

	check_stack_depth();
	/* CTEs that name each other twice double what is to be searched */
	CHECK_FOR_INTERRUPTS();
	if (target)
		(void) search_node((Node *) target->expr, &inner);
	search->found |= inner.found;
}

/* Searches what a CTE's column is. */
static void
search_cte(Search *search, const RangeTblEntry *rte, AttrNumber number)
{
	const Level *level = search->level;
	ListCell   *cell;

	for (Index up = rte->ctelevelsup; level && up > 0; up--)
		level = level->outer;
	if (!level)
		return;
	foreach(cell, level->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);

		/* one that reads itself would lead round in a circle */
		if (strcmp(cte->ctename, rte->ctename) == 0 && !cte->cterecursive && IsA(cte->ctequery, Query))
			search_column(search, (Query *) cte->ctequery, level, number);
	}
}

/* Searches what a column of a relation is. */
static void
search_var(Search *search, const Var *var)
{
	RangeTblEntry *rte;

	if (var->varlevelsup > 0 || var->varattno <= 0)
		return;
	rte = rt_fetch(var->varno, search->level->query->rtable);
	switch (rte->rtekind)
	{
		case RTE_SUBQUERY:
			search_column(search, rte->subquery, search->level, var->varattno);
			break;
		case RTE_CTE:
			search_cte(search, rte, var->varattno);
			break;
		case RTE_JOIN:
			(void) search_node(list_nth(rte->joinaliasvars, var->varattno - 1), search);
			break;
#if PG_VERSION_NUM >= 180000
		case RTE_GROUP:
			(void) search_node(list_nth(rte->groupexprs, var->varattno - 1), search);
			break;
#endif
		default:
			break;
	}
}

/* Searches an expression; always false, so that all of it is walked through. */
static bool
search_node(Node *node, Search *search)
{
	PGFunction	function;

	if (node == NULL)
		return false;
	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_Var:
			search_var(search, (Var *) node);
			return false;
		case T_OpExpr:
			set_opfuncid((OpExpr *) node);
			function = mcs_extension_function(((OpExpr *) node)->opfuncid);
			if (function == mcs_document_minus || function == mcs_document_minus_timestamptz || function == mcs_timestamptz_minus_document)
				add(search, ((OpExpr *) node)->location);
			return false;
		case T_CaseExpr:
			/* not what it compares */
			(void) search_node((Node *) ((CaseExpr *) node)->args, search);
			return search_node((Node *) ((CaseExpr *) node)->defresult, search);
		case T_CaseWhen:
			return search_node((Node *) ((CaseWhen *) node)->result, search);
			/* a value of one of these is that of one of their parts */
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_Aggref:
		case T_WindowFunc:
		case T_TargetEntry:
		case T_List:
			return expression_tree_walker(node, search_node, search);
		default:
			return false;
	}
}

/* The subtractions that each column of a query comes from, as bits; NULL: none. */
uint32 *
mcs_duration_columns(const Query *query, DocumentDifferences *differences)
{
	uint32	   *columns = palloc0(sizeof(uint32) * (list_length(query->targetList) + 1));
	int			count = 0;
	ListCell   *cell;

	differences->count = 0;
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Search		search = {differences, 0, NULL};

		if (target->resjunk)
			continue;
		search_column(&search, query, NULL, target->resno);
		columns[count++] = search.found;
	}
	return differences->count > 0 ? columns : NULL;
}
