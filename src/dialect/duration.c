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
 *
 * Beside a timestamptz it can only be dates: a column that is nothing else is made
 * an interval when it is translated, so that a view has one, too.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

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
	bool		of_dates;		/* there is one that is no other's */
	bool		of_documents;	/* there is one whose kind is not known */
	bool		other;			/* there is anything else */
	bool		ask;			/* mirrors, of what types fields are */
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
	Search		inner = {.differences = search->differences,.ask = search->ask,.level = &level};
	TargetEntry *target = get_tle_by_resno(query->targetList, number);

	check_stack_depth();
	/* CTEs that name each other twice double what is to be searched */
	CHECK_FOR_INTERRUPTS();
	if (target)
		(void) search_node((Node *) target->expr, &inner);
	search->found |= inner.found;
	search->of_dates |= inner.of_dates;
	search->of_documents |= inner.of_documents;
	/* other branches of a UNION may be anything */
	search->other |= inner.other || query->setOperations || !target;
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
	{
		search->other = true;
		return;
	}
	foreach(cell, level->query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);

		/* one that reads itself would lead round in a circle */
		if (strcmp(cte->ctename, rte->ctename) == 0 && !cte->cterecursive && IsA(cte->ctequery, Query))
			search_column(search, (Query *) cte->ctequery, level, number);
		else if (strcmp(cte->ctename, rte->ctename) == 0)
			search->other = true;
	}
}

/* Searches what a column of a relation is. */
static void
search_var(Search *search, const Var *var)
{
	RangeTblEntry *rte;

	if (var->varlevelsup > 0 || var->varattno <= 0)
	{
		search->other = true;
		return;
	}
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
			search->other = true;
			break;
	}
}

/* Searches the arguments of a function that gives one of those that are documents; of what it gives, else. */
static void
search_call(Search *search, Oid function, Oid type, List *args)
{
	static const char *const names[] = {"min", "max", "lag", "lead", "first_value", "last_value", "nth_value"};
	char	   *name = get_func_name(function);
	bool		gives_one = false;
	ListCell   *cell;

	for (int i = 0; name && i < lengthof(names); i++)
		gives_one |= strcmp(name, names[i]) == 0;
	search->other |= !gives_one || type != mcs_extension_document();
	foreach(cell, args)
	{
		Node	   *argument = lfirst(cell);

		if (IsA(argument, TargetEntry))
			argument = (Node *) ((TargetEntry *) argument)->expr;
		if (exprType(argument) == mcs_extension_document())
			(void) search_node(argument, search);
	}
}

/* Whether an operand of a subtraction is a number for certain: what is multiplied or divided. */
static bool
is_number(Node *node)
{
	char	   *name = IsA(node, OpExpr) ? get_opname(((OpExpr *) node)->opno) : NULL;

	return name && (strcmp(name, "*") == 0 || strcmp(name, "/") == 0);
}

/* Whether a field is a date by a mirror's word; known is set where there is such a word. */
static bool
is_date(const Search *search, Node *field, bool *known)
{
	Oid			type = search->ask ? mcs_field_type(search->level->query, field) : InvalidOid;

	*known = OidIsValid(type) && type != mcs_extension_document();
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
}

/* Searches a subtraction of documents. */
static void
search_documents(Search *search, List *operands)
{
	bool		left_known;
	bool		right_known;
	bool		left = is_date(search, linitial(operands), &left_known);
	bool		right = is_date(search, lsecond(operands), &right_known);

	if (left && right)
		search->of_dates = true;
	else if (is_number(linitial(operands)) || is_number(lsecond(operands)) || (left_known && !left) || (right_known && !right))
		search->other = true;
	else
		search->of_documents = true;
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
			search->of_dates |= function == mcs_document_minus_timestamptz || function == mcs_timestamptz_minus_document;
			if (function == mcs_document_minus)
				search_documents(search, ((OpExpr *) node)->args);
			if (function == mcs_document_minus || function == mcs_document_minus_timestamptz || function == mcs_timestamptz_minus_document)
				add(search, ((OpExpr *) node)->location);
			else
				search->other = true;
			return false;
		case T_CaseExpr:
			/* not what it compares */
			(void) search_node((Node *) ((CaseExpr *) node)->args, search);
			return search_node((Node *) ((CaseExpr *) node)->defresult, search);
		case T_CaseWhen:
			return search_node((Node *) ((CaseWhen *) node)->result, search);
			/* a value of one of these is that of one of their parts */
		case T_Aggref:
			search_call(search, ((Aggref *) node)->aggfnoid, ((Aggref *) node)->aggtype, ((Aggref *) node)->args);
			return false;
		case T_WindowFunc:
			search_call(search, ((WindowFunc *) node)->winfnoid, ((WindowFunc *) node)->wintype, ((WindowFunc *) node)->args);
			return false;
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_PlaceHolderVar:
		case T_TargetEntry:
		case T_List:
			return expression_tree_walker(node, search_node, search);
		default:
			/* null is of any kind */
			search->other |= !IsA(node, Const) || !((Const *) node)->constisnull;
			return false;
	}
}

/* The subtractions that an expression of a query's comes from, while that is planned. */
void
mcs_duration_places(const Query *query, Node *expression, DocumentDifferences *differences)
{
	Level		level = {query, NULL};
	Search		search = {.differences = differences,.level = &level};

	differences->count = 0;
	(void) search_node(expression, &search);
}

/* A number of milliseconds as the text of its interval. */
char *
mcs_duration_text(Datum milliseconds)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, DirectFunctionCall1(mcs_document_to_interval, milliseconds)));
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
		Search		search = {.differences = differences};

		if (target->resjunk)
			continue;
		search_column(&search, query, NULL, target->resno);
		columns[count++] = search.found;
	}
	return differences->count > 0 ? columns : NULL;
}

DurationKind
mcs_duration_kind(const Query *query, const TargetEntry *target)
{
	DocumentDifferences differences = {0};
	Search		search = {.differences = &differences,.ask = true};

	if (exprType((Node *) target->expr) != mcs_extension_document())
		return DURATION_NONE;
	search_column(&search, query, NULL, target->resno);
	if (search.other)
		return DURATION_NONE;
	if (search.of_documents)
		return DURATION_MAYBE;
	return search.of_dates ? DURATION_SURE : DURATION_NONE;
}
