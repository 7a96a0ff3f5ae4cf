/*
 * dialect/origin.c
 *	  Which collection the documents of a column come from.
 *
 * A column of the analysed FROM is followed through views, sub-selects, CTEs and
 * joins to the relation that it is of.  A foreign table says by its options which
 * collection that is; the kept events, and a foreign table of a whole database,
 * hold many, and conditions on the way say which are meant: stream_name = 'orders',
 * collection_name = 'orders'.
 */
#include "mongo_change_stream.h"

#include "access/table.h"
#include "base/base.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "dialect/dialect_internal.h"
#include "event/event.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* A query on the way, and those that it stands in; the outermost is still being analysed. */
typedef struct Level
{
	ParseState *pstate;
	const Query *query;			/* NULL: the outermost */
	const struct Level *outer;
} Level;

/* A column that a condition says the value of. */
typedef struct KnownColumn
{
	AttrNumber	number;
	const char *value;
} KnownColumn;

/* A column of a relation in FROM that is followed, and what is known of the relation's other ones. */
typedef struct Followed
{
	Level	   *level;
	Index		varno;			/* in the level's query */
	AttrNumber	column;
	List	   *known;			/* of KnownColumn */
} Followed;

static bool follow(const Followed *followed, DocumentOrigin *origin);

static List *
add_known(List *known, AttrNumber number, const char *value)
{
	KnownColumn *column = palloc(sizeof(KnownColumn));

	column->number = number;
	column->value = value;
	return lappend(known, column);
}

/* ---- conditions ---- */

/* A condition of an analysed query: column = 'text'. */
static List *
add_condition(List *known, Node *condition, Index varno)
{
	OpExpr	   *operator = (OpExpr *) condition;
	Node	   *left;
	Node	   *right;

	if (!IsA(condition, OpExpr) || operator->opno != TextEqualOperator)
		return known;
	left = linitial(operator->args);
	right = lsecond(operator->args);
	if (IsA(left, Const))
	{
		left = right;
		right = linitial(operator->args);
	}
	if (!IsA(left, Var) || ((Var *) left)->varno != varno || ((Var *) left)->varlevelsup != 0 ||
		!IsA(right, Const) || ((Const *) right)->constisnull || ((Const *) right)->consttype != TEXTOID)
		return known;
	return add_known(known, ((Var *) left)->varattno, TextDatumGetCString(((Const *) right)->constvalue));
}

/* The conditions that all rows of an analysed query meet. */
static List *
add_conditions(List *known, Node *condition, Index varno)
{
	ListCell   *cell;

	if (condition && is_andclause(condition))
		foreach(cell, ((BoolExpr *) condition)->args)
			known = add_conditions(known, lfirst(cell), varno);
	else if (condition)
		known = add_condition(known, condition, varno);
	return known;
}

/* The column of a relation that a reference means, as far as its names tell. */
static AttrNumber
referenced_column(const RangeTblEntry *rte, Node *node)
{
	List	   *fields;
	ListCell   *cell;

	if (!IsA(node, ColumnRef))
		return InvalidAttrNumber;
	fields = ((ColumnRef *) node)->fields;
	if (!IsA(llast(fields), String) || list_length(fields) > 2 ||
		(list_length(fields) == 2 && strcmp(strVal(linitial(fields)), rte->eref->aliasname) != 0))
		return InvalidAttrNumber;
	foreach(cell, rte->eref->colnames)
		if (strcmp(strVal(lfirst(cell)), strVal(llast(fields))) == 0)
			return foreach_current_index(cell) + 1;
	return InvalidAttrNumber;
}

/* The same for the query that is being analysed, whose WHERE comes behind its columns. */
static List *
add_raw_conditions(List *known, const Fragment *fragment, Node *condition, const RangeTblEntry *rte)
{
	ListCell   *cell;

	condition = condition ? mcs_dialect_original(fragment, condition) : NULL;
	if (!condition)
		return known;
	if (IsA(condition, BoolExpr) && ((BoolExpr *) condition)->boolop == AND_EXPR)
	{
		foreach(cell, ((BoolExpr *) condition)->args)
			known = add_raw_conditions(known, fragment, lfirst(cell), rte);
		return known;
	}
	if (IsA(condition, A_Expr) && ((A_Expr *) condition)->kind == AEXPR_OP && ((A_Expr *) condition)->lexpr &&
		strcmp(strVal(llast(((A_Expr *) condition)->name)), "=") == 0)
	{
		Node	   *left = mcs_dialect_original(fragment, ((A_Expr *) condition)->lexpr);
		Node	   *right = mcs_dialect_original(fragment, ((A_Expr *) condition)->rexpr);
		Node	   *column = IsA(left, ColumnRef) ? left : right;
		Node	   *value = column == left ? right : left;
		AttrNumber	number = referenced_column(rte, column);

		if (number != InvalidAttrNumber && mcs_dialect_is_literal(fragment, value))
			known = add_known(known, number, strVal(&((A_Const *) value)->val));
	}
	return known;
}

/* ---- relations ---- */

static const char *
option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, name) == 0)
			return defGetString(lfirst_node(DefElem, cell));
	return NULL;
}

/* What a condition says of a relation's column; NULL: nothing. */
static const char *
known_value(const List *known, Oid relid, EventColumn column)
{
	AttrNumber	number = get_attnum(relid, mcs_event_columns[column].name);
	ListCell   *cell;

	foreach(cell, known)
		if (((KnownColumn *) lfirst(cell))->number == number)
			return ((KnownColumn *) lfirst(cell))->value;
	return NULL;
}

/* A foreign table: the table's options count before the server's. */
static bool
foreign_table(Oid relid, const List *known, DocumentOrigin *origin)
{
	ForeignTable *table = GetForeignTable(relid);
	ForeignServer *server = GetForeignServer(table->serverid);
	const char *known_database = known_value(known, relid, EVENT_DATABASE_NAME);

	origin->server = server->servername;
	origin->database = option(table->options, "database");
	if (!origin->database)
		origin->database = option(server->options, "database");
	if (!origin->database || strcmp(origin->database, "*") == 0)
		origin->database = known_database;
	origin->collection = option(table->options, "collection");
	if (!origin->collection)
		origin->collection = known_value(known, relid, EVENT_COLLECTION_NAME);
	/* of another database there are no rows */
	if (origin->database && known_database && strcmp(origin->database, known_database) != 0)
		return false;
	return origin->database && origin->collection;
}

/* Kept events: of one stream. */
static bool
kept_events(Oid relid, const List *known, DocumentOrigin *origin)
{
	AttrNumber	number = get_attnum(relid, "stream_name");
	ListCell   *cell;

	foreach(cell, known)
		if (((KnownColumn *) lfirst(cell))->number == number)
			origin->stream = ((KnownColumn *) lfirst(cell))->value;
	origin->database = known_value(known, relid, EVENT_DATABASE_NAME);
	origin->collection = known_value(known, relid, EVENT_COLLECTION_NAME);
	return origin->stream != NULL;
}

/* ---- the way ---- */

/* The column of FROM that a column of a query is; NULL where it is anything else. */
static Var *
plain_column(TargetEntry *target)
{
	Expr	   *value = target ? target->expr : NULL;

	/* what analysis makes of d.* that the dialect has made a row of */
	if (value && IsA(value, FieldSelect) && IsA(((FieldSelect *) value)->arg, RowExpr))
		value = list_nth(((RowExpr *) ((FieldSelect *) value)->arg)->args, ((FieldSelect *) value)->fieldnum - 1);
	return value && IsA(value, Var) && ((Var *) value)->varlevelsup == 0 ? (Var *) value : NULL;
}

/* Follows a column of a query within another one. */
static bool
follow_into(const Followed *followed, const Query *query, const Level *outer, DocumentOrigin *origin)
{
	Level		level = {NULL, query, outer};
	Followed	inner = {&level, 0, 0, NIL};
	Var		   *column = plain_column(get_tle_by_resno(query->targetList, followed->column));
	ListCell   *cell;

	/* what a UNION and its like gives comes from more than one place */
	if (!column || query->setOperations)
		return false;
	inner.varno = column->varno;
	inner.column = column->varattno;
	foreach(cell, followed->known)
	{
		KnownColumn *known = lfirst(cell);
		Var		   *other = plain_column(get_tle_by_resno(query->targetList, known->number));

		if (other && other->varno == inner.varno)
			inner.known = add_known(inner.known, other->varattno, known->value);
	}
	inner.known = add_conditions(inner.known, query->jointree->quals, inner.varno);
	return follow(&inner, origin);
}

/* Follows a column of a CTE. */
static bool
follow_cte(const Followed *followed, const RangeTblEntry *rte, DocumentOrigin *origin)
{
	const Level *level = followed->level;
	CommonTableExpr *cte = NULL;
	Index		up = rte->ctelevelsup;
	ListCell   *cell;

	for (; level && level->query && up > 0; up--)
		level = level->outer;
	if (!level)
		return false;
	if (!level->query)
		cte = GetCTEForRTE(level->pstate, (RangeTblEntry *) rte, (int) up - (int) rte->ctelevelsup);
	else
		foreach(cell, level->query->cteList)
			if (strcmp(lfirst_node(CommonTableExpr, cell)->ctename, rte->ctename) == 0)
				cte = lfirst_node(CommonTableExpr, cell);
	/* one that reads itself would lead round in a circle */
	if (!cte || cte->cterecursive || !IsA(cte->ctequery, Query))
		return false;
	return follow_into(followed, (Query *) cte->ctequery, level, origin);
}

/* Follows a column that is another one of the same query: of a join, or grouped by. */
static bool
follow_alias(const Followed *followed, List *columns, DocumentOrigin *origin)
{
	Followed	inner = {followed->level, 0, 0, NIL};
	Var		   *column = list_nth(columns, followed->column - 1);
	ListCell   *cell;

	if (!column || !IsA(column, Var))
		return false;
	inner.varno = column->varno;
	inner.column = column->varattno;
	foreach(cell, followed->known)
	{
		KnownColumn *known = lfirst(cell);
		Var		   *other = known->number > 0 && known->number <= list_length(columns) ? list_nth(columns, known->number - 1) : NULL;

		if (other && IsA(other, Var) && other->varno == column->varno)
			inner.known = add_known(inner.known, other->varattno, known->value);
	}
	return follow(&inner, origin);
}

/* Follows a column of a relation. */
static bool
follow_relation(const Followed *followed, const RangeTblEntry *rte, DocumentOrigin *origin)
{
	Relation	relation;
	bool		found;

	if (rte->relid == mcs_extension_objects()->events)
		return kept_events(rte->relid, followed->known, origin);
	if (rte->relkind == RELKIND_FOREIGN_TABLE)
		return foreign_table(rte->relid, followed->known, origin);
	if (rte->relkind != RELKIND_VIEW)
	{
		origin->table = rte->relid;
		return true;
	}
	/* that of a view in a view is locked by nobody yet */
	relation = table_open(rte->relid, AccessShareLock);
	found = follow_into(followed, get_view_query(relation), NULL, origin);
	table_close(relation, AccessShareLock);
	return found;
}

/* Follows a column to where it comes from; false where that is not one place. */
static bool
follow(const Followed *followed, DocumentOrigin *origin)
{
	List	   *rtable = followed->level->query ? followed->level->query->rtable : followed->level->pstate->p_rtable;
	RangeTblEntry *rte = rt_fetch(followed->varno, rtable);

	check_stack_depth();
	/* a whole row */
	if (followed->column <= 0)
		return false;
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			return follow_relation(followed, rte, origin);
		case RTE_SUBQUERY:
			return follow_into(followed, rte->subquery, followed->level, origin);
		case RTE_CTE:
			return follow_cte(followed, rte, origin);
		case RTE_JOIN:
			return follow_alias(followed, rte->joinaliasvars, origin);
#if PG_VERSION_NUM >= 180000
		case RTE_GROUP:
			return follow_alias(followed, rte->groupexprs, origin);
#endif
		default:
			return false;
	}
}

/*
 * Where a column of the query that is being analysed comes from; select is that
 * query as it was parsed.  False where that is not known.
 */
bool
mcs_dialect_origin(ParseState *pstate, const Fragment *fragment, const SelectStmt *select, const Var *column, DocumentOrigin *origin)
{
	Level		level = {pstate, NULL, NULL};
	Followed	followed = {&level, column->varno, column->varattno, NIL};

	memset(origin, 0, sizeof(*origin));
	if (column->varlevelsup != 0)
		return false;
	followed.known = add_raw_conditions(NIL, fragment, select->whereClause, rt_fetch(column->varno, pstate->p_rtable));
	return follow(&followed, origin);
}

/* The same of a query that is analysed, and that stands in no other one. */
bool
mcs_dialect_origin_in(const Query *query, const Var *column, DocumentOrigin *origin)
{
	Level		level = {NULL, query, NULL};
	Followed	followed = {&level, column->varno, column->varattno, NIL};

	memset(origin, 0, sizeof(*origin));
	if (column->varlevelsup != 0)
		return false;
	followed.known = add_conditions(NIL, query->jointree->quals, column->varno);
	return follow(&followed, origin);
}
