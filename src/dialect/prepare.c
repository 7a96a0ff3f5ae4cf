/*
 * dialect/prepare.c
 *	  Makes a parsed query ready for analysis with our hooks.
 *
 * What an operator, a CASE or a function call becomes depends on the types of
 * its parts, which are known only in the middle of analysis.  So each such
 * node is kept aside and overwritten by a ParamRef with a number of ours: when
 * analysis comes there, the hook for parameters analyses the original.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_target.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

typedef struct PrepareState
{
	Fragment   *fragment;
	SelectStmt *select;			/* the innermost one around */
} PrepareState;

static bool prepare_node(Node *node, PrepareState *state);

/* Notes that a node stands where a boolean is needed. */
static void
set_boolean_target(PrepareState *state, Node *node)
{
	mcs_dialect_set_target(state->fragment, node, TARGET_BOOLEAN, InvalidOid);
}

/* ---- items of a select list ---- */

/* Fixes the names of columns before the nodes that they come from are overwritten. */
static void
name_targets(Fragment *fragment, List *targets)
{
	ListCell   *cell;

	foreach(cell, targets)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);
		DialectUnnamedTarget *item;

		if (target->name || !target->val || mcs_dialect_has_star(target->val) || target->location < 0)
			continue;
		item = palloc0(sizeof(DialectUnnamedTarget));
		item->from = target->location;
		item->value = target->val;
		item->name = FigureColname(target->val);
		item->is_reference = IsA(target->val, ColumnRef) || IsA(target->val, A_Indirection);
		fragment->unnamed_targets = lappend(fragment->unnamed_targets, item);
		/* a reference may still become d.a.b, whose name PostgreSQL finds itself */
		if (!IsA(target->val, ColumnRef))
			target->name = item->name;
	}
}

/* ---- columns that are assigned to ---- */

/* The type of a relation's column, InvalidOid where it has none of the name. */
static Oid
column_type(Oid relid, const char *name)
{
	AttrNumber	number = get_attnum(relid, name);

	return number == InvalidAttrNumber ? InvalidOid : get_atttype(relid, number);
}

/* The types of the columns an INSERT fills, in its order. */
static List *
insert_types(Oid relid, List *columns)
{
	List	   *types = NIL;
	ListCell   *cell;

	/* INSERT INTO t VALUES (...): all of its columns */
	if (columns == NIL)
	{
		for (AttrNumber number = 1;; number++)
		{
			char	   *name = get_attname(relid, number, true);

			if (name == NULL)
				return types;
			/* one that was dropped has a place, and no type */
			if (OidIsValid(get_atttype(relid, number)))
				types = lappend_oid(types, get_atttype(relid, number));
		}
	}
	foreach(cell, columns)
	{
		ResTarget  *column = lfirst_node(ResTarget, cell);

		types = lappend_oid(types, column->indirection ? InvalidOid : column_type(relid, column->name));
	}
	return types;
}

/* Notes the types that a row of expressions is assigned to. */
static void
set_row_targets(Fragment *fragment, List *values, List *types)
{
	ListCell   *cell;
	ListCell   *type;

	forboth(cell, values, type, types)
	{
		Node	   *value = lfirst(cell);

		if (IsA(value, ResTarget))
			value = ((ResTarget *) value)->val;
		/* how many columns it makes is not known yet, so neither is which ones the next belong to */
		if (mcs_dialect_has_star(value))
			break;
		mcs_dialect_set_target(fragment, value, TARGET_ASSIGNED, lfirst_oid(type));
	}
}

/* Notes the types that the columns of a query are assigned to. */
static void
set_column_targets(Fragment *fragment, SelectStmt *select, List *types)
{
	ListCell   *cell;

	if (select->op != SETOP_NONE)
	{
		set_column_targets(fragment, select->larg, types);
		set_column_targets(fragment, select->rarg, types);
		return;
	}
	/* VALUES (...), (...), or a SELECT */
	foreach(cell, select->valuesLists)
		set_row_targets(fragment, lfirst(cell), types);
	set_row_targets(fragment, select->targetList, types);
}

/* Notes the types that assignments of an UPDATE need. */
static void
set_assignment_targets(Fragment *fragment, Oid relid, List *targets)
{
	ListCell   *cell;

	foreach(cell, targets)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);

		/* a[1] = x, a.b = x: what is assigned has the type of a part of the column */
		if (target->indirection || !target->val)
			continue;
		/* UPDATE ... SET (a, b) = (x, y) */
		if (IsA(target->val, MultiAssignRef))
		{
			MultiAssignRef *multi = (MultiAssignRef *) target->val;

			if (IsA(multi->source, RowExpr) && multi->colno <= list_length(((RowExpr *) multi->source)->args))
				mcs_dialect_set_target(fragment, list_nth(((RowExpr *) multi->source)->args, multi->colno - 1),
								 TARGET_ASSIGNED, column_type(relid, target->name));
			continue;
		}
		mcs_dialect_set_target(fragment, target->val, TARGET_ASSIGNED, column_type(relid, target->name));
	}
}

/* The table that a statement writes to; no lock, as only the types of its columns are asked for. */
static Oid
target_relation(RangeVar *relation)
{
	return RangeVarGetRelid(relation, NoLock, true);
}

/* ---- set operations ---- */

/* Numbers the columns of all branches, so that one knows what the others are. */
static void
number_columns(Fragment *fragment, SelectStmt *select, int set)
{
	ListCell   *cell;

	if (select->op != SETOP_NONE)
	{
		number_columns(fragment, select->larg, set);
		number_columns(fragment, select->rarg, set);
		return;
	}
	foreach(cell, select->targetList)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);
		DialectDeferred *deferred;

		/* as in set_row_targets */
		if (mcs_dialect_has_star(target->val))
			break;
		/* there are so many bits; who has more columns writes the casts */
		if (foreach_current_index(cell) >= 64)
			break;
		if (!target->name && IsA(target->val, ColumnRef))
			target->name = FigureColname(target->val);
		/* kept aside even where it is a plain column, so that we are asked for it */
		deferred = mcs_dialect_defer(fragment, target->val);
		if (!deferred)
			continue;
		deferred->set = set;
		deferred->column = foreach_current_index(cell);
	}
}

/* Gives a set operation its number; the same in each attempt, as the tree is walked in the same order. */
static void
prepare_set(Fragment *fragment, SelectStmt *select)
{
	fragment->set_count++;
	/* the first attempt makes it, later ones find in it what earlier ones have seen */
	if (list_length(fragment->set_columns) < fragment->set_count)
	{
		/* other attempts need it, too */
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(fragment));

		fragment->set_columns = lappend(fragment->set_columns, palloc0(sizeof(DialectSetColumns)));
		MemoryContextSwitchTo(old);
	}
	number_columns(fragment, select, fragment->set_count);
}

/* ---- nodes ---- */

/* A SELECT: its own names, and the conditions it has. */
static bool
prepare_select(SelectStmt *select, PrepareState *state, bool is_branch)
{
	Fragment   *fragment = state->fragment;
	PrepareState inner = {fragment, select};

	if (select->op != SETOP_NONE)
	{
		/* ORDER BY and the like of the whole */
		SelectStmt *left = select->larg;
		SelectStmt *right = select->rarg;

		/* the branches have their own names, and are walked below */
		select->larg = select->rarg = NULL;
		(void) raw_expression_tree_walker((Node *) select, prepare_node, &inner);
		select->larg = left;
		select->rarg = right;
		(void) prepare_select(left, state, true);
		(void) prepare_select(right, state, true);
		if (!is_branch)
			prepare_set(fragment, select);
		return false;
	}
	/* before anything is overwritten, as it looks for calls */
	mcs_dialect_move_windows(fragment, select);
	/* an expression by itself makes no column */
	if (fragment->mode == DIALECT_STATEMENT || state->select)
		name_targets(fragment, select->targetList);
	(void) raw_expression_tree_walker((Node *) select, prepare_node, &inner);
	/* after the walk: a node is overwritten when all in it is done */
	set_boolean_target(state, select->whereClause);
	set_boolean_target(state, select->havingClause);
	return false;
}

/* INSERT: its values have the types of the columns that they go to. */
static bool
prepare_insert(InsertStmt *insert, PrepareState *state)
{
	Fragment   *fragment = state->fragment;
	Oid			relid = target_relation(insert->relation);

	name_targets(fragment, mcs_dialect_returning_list(insert));
	/* targets are set behind the walk, as in prepare_select */
	(void) raw_expression_tree_walker((Node *) insert, prepare_node, state);
	if (OidIsValid(relid))
	{
		if (insert->selectStmt)
			set_column_targets(fragment, (SelectStmt *) insert->selectStmt, insert_types(relid, insert->cols));
		if (insert->onConflictClause)
			set_assignment_targets(fragment, relid, insert->onConflictClause->targetList);
	}
	if (insert->onConflictClause)
		set_boolean_target(state, insert->onConflictClause->whereClause);
	return false;
}

/* UPDATE: like INSERT. */
static bool
prepare_update(UpdateStmt *update, PrepareState *state)
{
	Oid			relid = target_relation(update->relation);

	name_targets(state->fragment, mcs_dialect_returning_list(update));
	(void) raw_expression_tree_walker((Node *) update, prepare_node, state);
	if (OidIsValid(relid))
		set_assignment_targets(state->fragment, relid, update->targetList);
	set_boolean_target(state, update->whereClause);
	return false;
}

/* MERGE: its actions are like INSERT and UPDATE. */
static bool
prepare_merge(MergeStmt *merge, PrepareState *state)
{
	Oid			relid = target_relation(merge->relation);
	ListCell   *cell;

	(void) raw_expression_tree_walker((Node *) merge, prepare_node, state);
	set_boolean_target(state, merge->joinCondition);
	foreach(cell, merge->mergeWhenClauses)
	{
		MergeWhenClause *when = lfirst_node(MergeWhenClause, cell);

		set_boolean_target(state, when->condition);
		if (!OidIsValid(relid))
			continue;
		if (when->commandType == CMD_UPDATE)
			set_assignment_targets(state->fragment, relid, when->targetList);
		else if (when->commandType == CMD_INSERT)
			set_row_targets(state->fragment, when->values, insert_types(relid, when->targetList));
	}
	return false;
}

/* A function in FROM keeps its column's name though it is overwritten. */
static bool
prepare_range_function(RangeFunction *range, PrepareState *state)
{
	ListCell   *cell;

	/* each is a list: the function, and the columns that AS (...) defines within ROWS FROM */
	foreach(cell, range->functions)
	{
		FuncCall   *call = linitial(lfirst(cell));

		(void) prepare_node((Node *) ((List *) lsecond(lfirst(cell))), state);
		if (!IsA(call, FuncCall) || range->is_rowsfrom || range->coldeflist || range->ordinality || lsecond(lfirst(cell)))
		{
			(void) raw_expression_tree_walker((Node *) call, prepare_node, state);
			continue;
		}
		/* unnest(a, b) is a join of rows that PostgreSQL makes itself */
		if (list_length(call->args) > 1 && strcmp(strVal(llast(call->funcname)), "unnest") == 0)
		{
			(void) raw_expression_tree_walker((Node *) call, prepare_node, state);
			continue;
		}
		/* its column is called by the function, which we overwrite */
		if (!range->alias)
			range->alias = makeAlias(strVal(llast(call->funcname)), NIL);
		(void) prepare_node((Node *) call, state);
	}
	return false;
}

/* Where a boolean is needed, and nodes to be kept aside. */
static void
prepare_expression(Node *node, PrepareState *state)
{
	ListCell   *cell;

	switch (nodeTag(node))
	{
		case T_BoolExpr:
			foreach(cell, ((BoolExpr *) node)->args)
				set_boolean_target(state, lfirst(cell));
			break;
		case T_BooleanTest:
			set_boolean_target(state, (Node *) ((BooleanTest *) node)->arg);
			(void) mcs_dialect_defer(state->fragment, node);
			break;
		case T_JoinExpr:
			set_boolean_target(state, ((JoinExpr *) node)->quals);
			break;
		case T_FuncCall:
			set_boolean_target(state, ((FuncCall *) node)->agg_filter);
			(void) mcs_dialect_defer(state->fragment, node);
			break;
		case T_CaseExpr:
			if (!((CaseExpr *) node)->arg)
				foreach(cell, ((CaseExpr *) node)->args)
					set_boolean_target(state, (Node *) lfirst_node(CaseWhen, cell)->expr);
			(void) mcs_dialect_defer(state->fragment, node);
			break;
			/* analysis overwrites what is in these, and we may need it again */
		case T_SubLink:
		case T_NullTest:
		case T_A_Expr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_TypeCast:
		case T_CollateClause:
		case T_A_Indirection:
			(void) mcs_dialect_defer(state->fragment, node);
			break;
		default:
			break;
	}
}

/* One node, after all in it. */
static bool
prepare_node(Node *node, PrepareState *state)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SelectStmt:
			return prepare_select((SelectStmt *) node, state, false);
		case T_InsertStmt:
			return prepare_insert((InsertStmt *) node, state);
		case T_UpdateStmt:
			return prepare_update((UpdateStmt *) node, state);
		case T_DeleteStmt:
			name_targets(state->fragment, mcs_dialect_returning_list((DeleteStmt *) node));
			(void) raw_expression_tree_walker(node, prepare_node, state);
			set_boolean_target(state, ((DeleteStmt *) node)->whereClause);
			return false;
		case T_MergeStmt:
			return prepare_merge((MergeStmt *) node, state);
		case T_MultiAssignRef:
			/* analysis looks at the kind of the source */
			(void) raw_expression_tree_walker(((MultiAssignRef *) node)->source, prepare_node, state);
			return false;
		case T_RangeFunction:
			return prepare_range_function((RangeFunction *) node, state);
		case T_RangeVar:
			if (mcs_dialect_find_placeholder(state->fragment, (RangeVar *) node))
			{
				Node	   *relation = mcs_dialect_transform_relation(state->fragment, (RangeVar *) node);

				/* in its place, as we are not told what points to it; a RangeVar is the larger of the two */
				memcpy(node, relation, IsA(relation, RangeVar) ? sizeof(RangeVar) : sizeof(RangeSubselect));
			}
			return false;
		case T_ColumnRef:
			/* which SELECT it stands in, for output columns that it may mean */
			if (((ColumnRef *) node)->location >= 0 && state->select)
			{
				DialectOffset *offset = mcs_dialect_offset(state->fragment, ((ColumnRef *) node)->location);

				if (offset->select == NULL)
					offset->select = state->select;
			}
			return false;
		default:
			(void) raw_expression_tree_walker(node, prepare_node, state);
			prepare_expression(node, state);
			return false;
	}
}

/* Has documents that RETURNING gives to the client made plain text; of what a star stands for nothing is known yet. */
static void
show_returning(Fragment *fragment, List *returning)
{
	ListCell   *cell;

	foreach(cell, returning)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);

		if (!mcs_dialect_has_star(target->val))
			mcs_dialect_set_target(fragment, target->val, TARGET_SHOWN, InvalidOid);
	}
}

/* The RETURNING list of a query; NIL where it has none. */
static List *
returning_list(Node *query)
{
	switch (nodeTag(query))
	{
		case T_InsertStmt:
			return mcs_dialect_returning_list((InsertStmt *) query);
		case T_UpdateStmt:
			return mcs_dialect_returning_list((UpdateStmt *) query);
		case T_DeleteStmt:
			return mcs_dialect_returning_list((DeleteStmt *) query);
#if PG_VERSION_NUM >= 170000
		case T_MergeStmt:
			return mcs_dialect_returning_list((MergeStmt *) query);
#endif
		default:
			return NIL;
	}
}

/* Makes a query ready for analysis. */
void
mcs_dialect_prepare(Fragment *fragment, Node *query)
{
	PrepareState state = {fragment, NULL};

	/* the inner nodes first, then what stands around the whole */
	(void) prepare_node(query, &state);
	if (fragment->shown)
		show_returning(fragment, returning_list(query));
	if (IsA(query, SelectStmt))
	{
		/* SELECT ... INTO variables of a block */
		if (fragment->into_types)
			set_column_targets(fragment, (SelectStmt *) query, fragment->into_types);
		if (fragment->is_condition && ((SelectStmt *) query)->targetList)
			mcs_dialect_set_target(fragment, linitial_node(ResTarget, ((SelectStmt *) query)->targetList)->val, TARGET_BOOLEAN, InvalidOid);
	}
}

/* Makes the arguments of CALL ready for analysis. */
void
mcs_dialect_prepare_call(Fragment *fragment, FuncCall *call)
{
	PrepareState state = {fragment, NULL};

	(void) raw_expression_tree_walker((Node *) call, prepare_node, &state);
}
