/*
 * dialect/window.c
 *	  A window function inside an aggregate: avg(lead(t) OVER (ORDER BY t) - t)
 *
 * SQL computes window functions after aggregates, so cannot have it.  It is
 * computed over the rows of the group, so in a sub-select around FROM and
 * WHERE, partitioned by the keys of GROUP BY:
 *
 *		SELECT k, avg(window_1 - t)
 *		  FROM (SELECT *, lead(t) OVER (PARTITION BY k ORDER BY t) AS window_1
 *				  FROM r WHERE ...) AS r
 *		 GROUP BY k
 *
 * The tree is changed the same way, before anything in it is kept aside.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

typedef struct WindowSearch
{
	bool		in_aggregate;
	List	   *found;			/* of FuncCall */
} WindowSearch;

/* Whether a call is one of an aggregate, by its form or its name. */
static bool
is_aggregate(FuncCall *call)
{
	FuncCandidateList candidates;

	if (call->over)
		return false;
	if (call->agg_star || call->agg_distinct || call->agg_filter || call->agg_order || call->agg_within_group)
		return true;
	/* types are not known yet: one aggregate of the name is enough */
	candidates = FuncnameGetCandidates(call->funcname, list_length(call->args), NIL, false, false, false, true);
	for (; candidates; candidates = candidates->next)
		if (get_func_prokind(candidates->oid) == PROKIND_AGGREGATE)
			return true;
	return false;
}

/* Finds window functions inside aggregates of one SELECT. */
static bool
find_windows(Node *node, WindowSearch *state)
{
	/* a sub-select has aggregates of its own */
	if (node == NULL || IsA(node, SelectStmt) || IsA(node, SubLink))
		return false;
	if (IsA(node, FuncCall))
	{
		FuncCall   *call = (FuncCall *) node;
		WindowSearch inner = {state->in_aggregate || is_aggregate(call), state->found};

		/* what is inside moves with it */
		if (call->over && state->in_aggregate)
		{
			state->found = lappend(state->found, call);
			return false;
		}
		(void) raw_expression_tree_walker(node, find_windows, &inner);
		state->found = inner.found;
		return false;
	}
	return raw_expression_tree_walker(node, find_windows, state);
}

/* Says why a window function cannot be moved. */
static void
refuse(const Fragment *fragment, const FuncCall *call, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("this window function cannot be computed inside an aggregate"),
			 errdetail("%s", why),
			 errhint("Compute it in a WITH query, and aggregate its column."),
			 mcs_dialect_error_at(fragment, call->location)));
}

/* The expression of a key of GROUP BY, which may be the number or the name of an output column. */
static Node *
group_key(const Fragment *fragment, const SelectStmt *select, Node *key, const FuncCall *call)
{
	ListCell   *cell;

	if (IsA(key, GroupingSet))
		refuse(fragment, call, "GROUP BY has several sets of keys.");
	if (IsA(key, A_Const) && IsA(&((A_Const *) key)->val, Integer))
	{
		int			number = intVal(&((A_Const *) key)->val);

		/* any other number PostgreSQL complains of */
		if (number >= 1 && number <= list_length(select->targetList))
			return list_nth_node(ResTarget, select->targetList, number - 1)->val;
	}
	if (IsA(key, ColumnRef) && list_length(((ColumnRef *) key)->fields) == 1 && IsA(linitial(((ColumnRef *) key)->fields), String))
		foreach(cell, select->targetList)
		{
			ResTarget  *target = lfirst_node(ResTarget, cell);

			if (target->name && strcmp(target->name, strVal(linitial(((ColumnRef *) key)->fields))) == 0)
				return target->val;
		}
	return key;
}

/* The one relation of FROM, by the name that the statement calls it. */
static char *
relation_name(const Fragment *fragment, const SelectStmt *select, const FuncCall *call)
{
	Node	   *from = list_length(select->fromClause) == 1 ? linitial(select->fromClause) : NULL;

	if (from && IsA(from, RangeVar))
	{
		RangeVar   *relation = (RangeVar *) from;
		DialectRelation *stream;

		if (relation->alias)
			return relation->alias->aliasname;
		stream = mcs_dialect_find_placeholder(fragment, relation);
		if (stream)
			return stream->folded ? stream->folded : pstrdup("all_changes");
		return relation->relname;
	}
	if (from && IsA(from, RangeSubselect) && ((RangeSubselect *) from)->alias)
		return ((RangeSubselect *) from)->alias->aliasname;
	refuse(fragment, call, "FROM is not a single relation.");
	return NULL;
}

/* The FROM of the SELECT in whose list a call stands, and the token behind its WHERE. */
static bool
find_from(const Fragment *fragment, int i, int *first, int *last)
{
	static const char *const clauses[] = {"GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR",
	"UNION", "INTERSECT", "EXCEPT", NULL};
	int			depth = 0;

	/* out of the brackets of the aggregate, to FROM at the level of the list */
	for (*first = 0; fragment->tokens[i].type != TOKEN_END; i++)
	{
		int			type = fragment->tokens[i].type;

		if (type == '(' || type == '[')
			i = mcs_dialect_closing_bracket(fragment->tokens, i);
		else if (type == ')' || type == ']')
		{
			if (*first)
				break;
			depth++;
		}
		else if (type == ';')
			break;
		else if (!*first && mcs_dialect_word_is(fragment, i, "FROM") && !mcs_dialect_word_is(fragment, i - 1, "DISTINCT") && depth > 0 &&
				 !mcs_dialect_word_is(fragment, i - 2, "EXTRACT"))
			*first = i + 1;
		else if (*first && mcs_dialect_token_is_any(fragment->text, &fragment->tokens[i], clauses))
			break;
	}
	*last = i - 1;
	return *first > 0;
}

/* The text of PARTITION BY keys, to be put behind OVER ( */
static List *
partition_pieces(const Fragment *fragment, const List *keys, bool more)
{
	List	   *pieces = list_make1(mcs_dialect_text_piece("PARTITION BY "));
	ListCell   *cell;

	foreach(cell, keys)
	{
		int			from;
		int			to;

		if (!mcs_dialect_extent(fragment, lfirst(cell), &from, &to))
			continue;
		if (foreach_current_index(cell) > 0)
			pieces = lappend(pieces, mcs_dialect_text_piece(", "));
		pieces = lappend(pieces, mcs_dialect_range_piece(from, to));
	}
	return lappend(pieces, mcs_dialect_text_piece(more ? ", " : " "));
}

/* Adds the keys to a window, in the tree and in the text. */
static void
partition(Fragment *fragment, const FuncCall *call, const List *keys, int over)
{
	WindowDef  *window = call->over;
	int			open = over + 1;
	int			behind;
	bool		more = window->partitionClause != NIL;
	ListCell   *cell;
	List	   *partition = NIL;

	/* a named window may be shared with calls that do not move */
	if (window->name || window->refname)
		refuse(fragment, call, "Its window is defined elsewhere.");
	foreach(cell, keys)
		partition = lappend(partition, copyObject(lfirst(cell)));
	window->partitionClause = list_concat(partition, window->partitionClause);
	if (keys == NIL)
		return;
	behind = mcs_dialect_token_end(&fragment->tokens[open]);
	if (more)
	{
		/* PARTITION BY a: ours first */
		mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[open + 1].at, fragment->tokens[open + 3].at, "");
		behind = fragment->tokens[open + 3].at;
	}
	mcs_dialect_edit_pieces(fragment, EDIT_OPEN, behind, behind, partition_pieces(fragment, keys, more));
}

/* The token OVER of a call. */
static int
over_token(const Fragment *fragment, int i, int to)
{
	int			over = i;

	for (; fragment->tokens[i].at < to && fragment->tokens[i].type != TOKEN_END; i++)
	{
		if (fragment->tokens[i].type == '(')
			i = mcs_dialect_closing_bracket(fragment->tokens, i);
		else if (mcs_dialect_word_is(fragment, i, "OVER"))
			over = i;
	}
	return over;
}

/* SELECT * */
static SelectStmt *
select_star(void)
{
	SelectStmt *select = makeNode(SelectStmt);
	ResTarget  *target = makeNode(ResTarget);
	ColumnRef  *star = makeNode(ColumnRef);

	star->fields = list_make1(makeNode(A_Star));
	star->location = -1;
	target->val = (Node *) star;
	target->location = -1;
	select->targetList = list_make1(target);
	return select;
}

/* Moves a call into the sub-select, as one more column in the tree and in the pieces of its text. */
static List *
move_call(Fragment *fragment, FuncCall *call, const List *keys, SelectStmt *inner, List *pieces)
{
	FuncCall   *moved = palloc(sizeof(FuncCall));
	ResTarget  *target = makeNode(ResTarget);
	ColumnRef  *column = (ColumnRef *) call;
	char	   *name = psprintf("window_%d", ++fragment->window_count);
	int			location = call->location;
	int			from;
	int			to;

	if (!mcs_dialect_extent(fragment, (Node *) call, &from, &to))
		return pieces;
	partition(fragment, call, keys, over_token(fragment, mcs_dialect_token_at(fragment, location), to));
	memcpy(moved, call, sizeof(FuncCall));
	target->name = name;
	target->val = (Node *) moved;
	target->location = -1;
	inner->targetList = lappend(inner->targetList, target);
	pieces = lappend(pieces, mcs_dialect_text_piece(", "));
	pieces = lappend(pieces, mcs_dialect_range_piece(from, to));
	pieces = lappend(pieces, mcs_dialect_text_piece(psprintf(" AS %s", name)));
	mcs_dialect_edit(fragment, EDIT_MOVE, from, to, name);
	/* a reference to the column takes its place; it is the smaller node */
	NodeSetTag(column, T_ColumnRef);
	column->fields = list_make1(makeString(name));
	column->location = location;
	return pieces;
}

/* Moves window functions that stand inside aggregates into a sub-select. */
void
mcs_dialect_move_windows(Fragment *fragment, SelectStmt *select)
{
	WindowSearch state = {false, NIL};
	List	   *keys = NIL;
	List	   *pieces = list_make1(mcs_dialect_text_piece("(SELECT *"));
	SelectStmt *inner;
	RangeSubselect *rows;
	char	   *name;
	int			first;
	int			last;
	ListCell   *cell;

	(void) find_windows((Node *) select->targetList, &state);
	(void) find_windows(select->havingClause, &state);
	(void) find_windows((Node *) select->sortClause, &state);
	/* the most usual case by far */
	if (state.found == NIL)
		return;
	fragment->found_dialect = true;
	name = relation_name(fragment, select, linitial(state.found));
	foreach(cell, select->groupClause)
		keys = lappend(keys, copyObject(group_key(fragment, select, lfirst(cell), linitial(state.found))));
	if (!find_from(fragment, mcs_dialect_token_at(fragment, ((FuncCall *) linitial(state.found))->location), &first, &last))
		refuse(fragment, linitial(state.found), "It stands in front of no FROM.");

	inner = select_star();
	foreach(cell, state.found)
		pieces = move_call(fragment, lfirst_node(FuncCall, cell), keys, inner, pieces);

	/* around FROM and WHERE, in the text and in the tree */
	pieces = lappend(pieces, mcs_dialect_text_piece(" FROM "));
	mcs_dialect_edit_pieces(fragment, EDIT_OPEN, fragment->tokens[first].at, fragment->tokens[first].at, pieces);
	mcs_dialect_edit(fragment, EDIT_AFTER, mcs_dialect_token_end(&fragment->tokens[last]), mcs_dialect_token_end(&fragment->tokens[last]),
					 psprintf(") AS %s", quote_identifier(name)));
	inner->fromClause = select->fromClause;
	inner->whereClause = select->whereClause;
	rows = makeNode(RangeSubselect);
	rows->subquery = (Node *) inner;
	rows->alias = makeAlias(name, NIL);
	select->fromClause = list_make1(rows);
	select->whereClause = NULL;
}
