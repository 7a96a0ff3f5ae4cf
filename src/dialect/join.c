/*
 * dialect/join.c
 *	  USING and NATURAL over documents, in views.
 *
 * PostgreSQL prints USING without the operator that it compares by, and reads a
 * dump where documents have none.  So a view's joins by columns that are documents
 * become ON, which prints it:
 *
 *	a JOIN b USING (x)			a JOIN b ON a.x = b.x
 *	x							a.x; of a RIGHT JOIN b.x, of a FULL JOIN (COALESCE(a.x, b.x))
 *	*							the columns, one by one
 *
 * The analysed query says what is joined by what; where that stands in the text is
 * seen by the name that the joined relation has.  A join of which either is not
 * clear stays as it is, which printable.c tells of.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* The columns of one query in its text. */
typedef struct Naming
{
	const Fragment *fragment;
	List	   *rtable;
} Naming;

/* A join that becomes one by ON. */
typedef struct Rewritten
{
	int			from;			/* of USING, up to its closing bracket, or of NATURAL */
	int			to;
	int			at;				/* where ON is written */
	char	   *condition;
} Rewritten;

/* ---- columns ---- */

/* Whether no other relation of the query is called the same. */
static bool
is_only_one(const Naming *naming, const RangeTblEntry *rte)
{
	ListCell   *cell;

	foreach(cell, naming->rtable)
	{
		RangeTblEntry *other = lfirst_node(RangeTblEntry, cell);

		if (other != rte && other->rtekind != RTE_JOIN && strcmp(other->eref->aliasname, rte->eref->aliasname) == 0)
			return false;
	}
	return true;
}

/* A column as the text can name it without USING; NULL where it cannot.  merged: it has no name of its own. */
static char *
column_text(const Naming *naming, Index varno, AttrNumber number, bool *merged)
{
	RangeTblEntry *rte = rt_fetch(varno, naming->rtable);
	Node	   *value;
	CoalesceExpr *either;
	char	   *left;
	char	   *right;

	if (number <= 0)
		return NULL;
	if (rte->rtekind != RTE_JOIN)
	{
		/* a sub-select without a name has one that no text can use */
		if (!is_only_one(naming, rte) || (!rte->alias && rte->rtekind != RTE_RELATION && rte->rtekind != RTE_CTE))
			return NULL;
		return psprintf("%s.%s", quote_identifier(rte->eref->aliasname), quote_identifier(strVal(list_nth(rte->eref->colnames, number - 1))));
	}
	/* the name of a join hides those of the joined ones */
	if (rte->alias)
		return NULL;
	value = list_nth(rte->joinaliasvars, number - 1);
	if (IsA(value, Var))
		return column_text(naming, ((Var *) value)->varno, ((Var *) value)->varattno, merged);
	if (!IsA(value, CoalesceExpr))
		return NULL;
	*merged = true;
	either = (CoalesceExpr *) value;
	if (!IsA(linitial(either->args), Var) || !IsA(lsecond(either->args), Var))
		return NULL;
	left = column_text(naming, linitial_node(Var, either->args)->varno, linitial_node(Var, either->args)->varattno, merged);
	right = column_text(naming, lsecond_node(Var, either->args)->varno, lsecond_node(Var, either->args)->varattno, merged);
	return left && right ? psprintf("(COALESCE(%s, %s))", left, right) : NULL;
}

/* The type of a column of what is joined. */
static Oid
column_type(const Naming *naming, Index varno, AttrNumber number)
{
	RangeTblEntry *rte = rt_fetch(varno, naming->rtable);

	if (rte->rtekind == RTE_JOIN)
		return exprType(list_nth(rte->joinaliasvars, number - 1));
	if (rte->rtekind == RTE_RELATION)
		return get_atttype(rte->relid, number);
	if (rte->rtekind == RTE_SUBQUERY)
		return exprType((Node *) get_tle_by_resno(rte->subquery->targetList, number)->expr);
	/* of CTEs, VALUES and functions that say their columns; else it is not known */
	return number <= list_length(rte->coltypes) ? list_nth_oid(rte->coltypes, number - 1) : InvalidOid;
}

/* Whether a join compares documents by USING or NATURAL. */
bool
mcs_join_is_of_documents(const Fragment *fragment, const RangeTblEntry *rte)
{
	ListCell   *cell;

	if (rte->rtekind != RTE_JOIN)
		return false;
	foreach(cell, rte->joinaliasvars)
		if (foreach_current_index(cell) < rte->joinmergedcols && exprType(lfirst(cell)) == fragment->document)
			return true;
	return false;
}

/* ---- places ---- */

/* Whether a relation of a name ends at a token. */
static bool
ends_with_name(const Fragment *fragment, int i, const char *name)
{
	const DialectToken *tokens = fragment->tokens;
	int			open = i;

	if (i < 0)
		return false;
	if (tokens[i].type == ')')
	{
		for (int depth = 0; open >= 0; open--)
		{
			depth += tokens[open].type == ')' ? 1 : tokens[open].type == '(' ? -1 : 0;
			if (depth == 0)
				break;
		}
		/* CHANGE_STREAM(name), else the names of its columns */
		i = open > 0 && mcs_dialect_word_is(fragment, open - 1, "CHANGE_STREAM") ? i - 1 : open - 1;
	}
	return i >= 0 && tokens[i].value && strcmp(tokens[i].value, name) == 0;
}

/* Whether the brackets behind USING hold a join's columns. */
static bool
has_columns(const Fragment *fragment, int open, const RangeTblEntry *rte)
{
	int			close = mcs_dialect_closing_bracket(fragment->tokens, open);

	if (close - open != 2 * rte->joinmergedcols)
		return false;
	for (int i = 0; i < rte->joinmergedcols; i++)
	{
		const char *value = fragment->tokens[open + 1 + 2 * i].value;

		if (!value || strcmp(value, strVal(list_nth(rte->eref->colnames, i))) != 0)
			return false;
	}
	return true;
}

/* The last token of the relation behind JOIN, if it has a name; -1: not seen. */
static int
joined_end(const Fragment *fragment, int i, const char *name)
{
	const DialectToken *tokens = fragment->tokens;

	if (tokens[i].type == '(')
		i = mcs_dialect_closing_bracket(tokens, i);
	else if (mcs_dialect_word_is(fragment, i, "CHANGE_STREAM") && tokens[i + 1].type == '(')
		i = mcs_dialect_closing_bracket(tokens, i + 1);
	else
		while (tokens[i + 1].type == '.' && tokens[i + 2].type != TOKEN_END)
			i += 2;
	if (mcs_dialect_word_is(fragment, i + 1, "AS"))
		i += 2;
	else if (tokens[i + 1].value && !mcs_dialect_token_is_reserved(fragment->text, &tokens[i + 1]))
		i++;
	if (tokens[i + 1].type == '(')
		i = mcs_dialect_closing_bracket(tokens, i + 1);
	return i < fragment->token_count && ends_with_name(fragment, i, name) ? i : -1;
}

/* Looks for where a join stands; false where that is not one place. */
static bool
find_place(const Fragment *fragment, const JoinExpr *join, const RangeTblEntry *rte, const char *name, Rewritten *rewritten)
{
	static const char *const kinds[] = {"LEFT", "RIGHT", "FULL", "INNER", "OUTER", NULL};
	int			found = 0;

	for (int i = 0; i < fragment->token_count; i++)
	{
		const DialectToken *token = &fragment->tokens[i];
		int			end;

		if (!join->isNatural && mcs_dialect_word_is(fragment, i, "USING") && fragment->tokens[i + 1].type == '(' &&
			has_columns(fragment, i + 1, rte) && ends_with_name(fragment, i - 1, name))
		{
			rewritten->from = rewritten->at = token->at;
			rewritten->to = mcs_dialect_token_end(&fragment->tokens[mcs_dialect_closing_bracket(fragment->tokens, i + 1)]);
			found++;
		}
		if (!join->isNatural || !mcs_dialect_word_is(fragment, i, "NATURAL"))
			continue;
		for (end = i + 1; mcs_dialect_token_is_any(fragment->text, &fragment->tokens[end], kinds);)
			end++;
		end = mcs_dialect_word_is(fragment, end, "JOIN") ? joined_end(fragment, end + 1, name) : -1;
		if (end < 0)
			continue;
		rewritten->from = token->at;
		rewritten->to = fragment->tokens[i + 1].at;
		rewritten->at = mcs_dialect_token_end(&fragment->tokens[end]);
		found++;
	}
	return found == 1;
}

/* ---- joins ---- */

/* What a join becomes; false where it stays as it is. */
static bool
rewrite(const Naming *naming, const JoinExpr *join, Rewritten *rewritten)
{
	const Fragment *fragment = naming->fragment;
	RangeTblEntry *rte = rt_fetch(join->rtindex, naming->rtable);
	StringInfoData condition;
	Index		left;
	Index		right;

	if (join->alias || join->join_using_alias || !(IsA(join->larg, RangeTblRef) || IsA(join->larg, JoinExpr)) || !IsA(join->rarg, RangeTblRef))
		return false;
	/* in plain SQL nobody keeps the names of columns, which COALESCE has none for */
	if (fragment->plain && join->jointype == JOIN_FULL)
		return false;
	left = IsA(join->larg, JoinExpr) ? ((JoinExpr *) join->larg)->rtindex : ((RangeTblRef *) join->larg)->rtindex;
	right = ((RangeTblRef *) join->rarg)->rtindex;
	initStringInfo(&condition);
	for (int i = 0; i < rte->joinmergedcols; i++)
	{
		AttrNumber	left_number = list_nth_int(rte->joinleftcols, i);
		AttrNumber	right_number = list_nth_int(rte->joinrightcols, i);
		bool		merged = false;
		char	   *left_text = column_text(naming, left, left_number, &merged);
		char	   *right_text = column_text(naming, right, right_number, &merged);

		/* of two types the merged column is of a third one, maybe */
		if (!left_text || !right_text || column_type(naming, left, left_number) != column_type(naming, right, right_number) ||
			!OidIsValid(column_type(naming, left, left_number)))
			return false;
		appendStringInfo(&condition, "%s%s = %s", i ? " AND " : "ON ", left_text, right_text);
	}
	rewritten->condition = condition.data;
	return find_place(fragment, join, rte, rt_fetch(right, naming->rtable)->eref->aliasname, rewritten);
}

/* How a column that a name alone means is written; NULL: by its name. */
char *
mcs_join_column(ParseState *pstate, const Fragment *fragment, const Node *column, const char *name)
{
	const Var  *var = (const Var *) column;
	Naming		naming = {fragment, NIL};
	Rewritten	rewritten;
	bool		merged = false;

	/* of plain SQL it does not count unless a join is written so */
	if (!fragment->is_view || !(fragment->plain || fragment->document_joins) || !column || !IsA(column, Var))
		return NULL;
	for (Index up = var->varlevelsup; pstate && up > 0; up--)
		pstate = pstate->parentParseState;
	if (!pstate)
		return NULL;
	naming.rtable = pstate->p_rtable;
	/* the outer one of two joins by the same column comes later */
	for (int i = list_length(pstate->p_joinexprs); i > 0; i--)
	{
		JoinExpr   *join = list_nth(pstate->p_joinexprs, i - 1);
		RangeTblEntry *rte;
		Node	   *value;

		if (!join || !join->usingClause)
			continue;
		rte = rt_fetch(join->rtindex, naming.rtable);
		for (int j = 0; j < rte->joinmergedcols; j++)
		{
			value = list_nth(rte->joinaliasvars, j);
			if (strcmp(strVal(list_nth(rte->eref->colnames, j)), name) != 0 ||
				!((var->varno == join->rtindex && var->varattno == j + 1) ||
				  (IsA(value, Var) && ((Var *) value)->varno == var->varno && ((Var *) value)->varattno == var->varattno)))
				continue;
			return rewrite(&naming, join, &rewritten) ? column_text(&naming, join->rtindex, j + 1, &merged) : NULL;
		}
	}
	return NULL;
}

/* ---- stars ---- */

/* Writes the columns that a star is, or looks whether they can be written. */
static bool
write_stars(Fragment *fragment, const Naming *naming, const Query *query, bool write)
{
	StringInfoData text;
	int			at = -1;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Var		   *var = (Var *) target->expr;
		bool		merged = false;
		int			i;
		char	   *column;

		if (target->resjunk || !IsA(var, Var) || var->location < 0 || var->location >= fragment->size || var->varlevelsup != 0)
			continue;
		i = mcs_dialect_token_at(fragment, var->location);
		/* t.* begins with t */
		if (fragment->tokens[i].at != var->location || fragment->tokens[i].type != '*')
			continue;
		column = column_text(naming, var->varno, var->varattno, &merged);
		if (!column)
			return false;
		if (at >= 0 && at != var->location && write)
			mcs_dialect_edit(fragment, EDIT_REPLACE, at, at + 1, text.data);
		if (at != var->location)
			resetStringInfo(&text);
		at = var->location;
		appendStringInfo(&text, "%s%s", text.len ? ", " : "", column);
		if (merged)
			appendStringInfo(&text, " AS %s", quote_identifier(target->resname));
	}
	if (at >= 0 && write)
		mcs_dialect_edit(fragment, EDIT_REPLACE, at, at + 1, text.data);
	return true;
}

/* ---- queries ---- */

/* The joins of one item of FROM. */
typedef struct Joins
{
	List	   *rewritten;		/* of Rewritten */
	List	   *entries;		/* of RangeTblEntry, theirs */
	bool		of_documents;
	bool		stays;			/* one cannot be written by ON, and so no other: it would find a column twice */
} Joins;

static void
add_joins(const Naming *naming, Node *node, Joins *joins)
{
	JoinExpr   *join = (JoinExpr *) node;
	Rewritten  *rewritten = palloc(sizeof(Rewritten));
	RangeTblEntry *rte;

	if (!IsA(node, JoinExpr))
		return;
	add_joins(naming, join->larg, joins);
	add_joins(naming, join->rarg, joins);
	if (!join->usingClause)
		return;
	rte = rt_fetch(join->rtindex, naming->rtable);
	joins->of_documents |= mcs_join_is_of_documents(naming->fragment, rte);
	joins->stays |= !rewrite(naming, join, rewritten);
	joins->rewritten = lappend(joins->rewritten, rewritten);
	joins->entries = lappend(joins->entries, rte);
}

/* Writes the joins of one item of FROM. */
static void
write_joins(Fragment *fragment, const Joins *joins)
{
	ListCell   *cell;

	foreach(cell, joins->rewritten)
	{
		Rewritten  *rewritten = lfirst(cell);
		bool		natural = rewritten->at != rewritten->from;

		mcs_dialect_edit(fragment, EDIT_REPLACE, rewritten->from, rewritten->to, natural ? "" : rewritten->condition);
		if (natural)
			mcs_dialect_edit(fragment, EDIT_AFTER, rewritten->at, rewritten->at, psprintf(" %s", rewritten->condition));
	}
	fragment->written_joins = list_concat(fragment->written_joins, joins->entries);
	fragment->found_dialect = true;
}

/* Writes the joins of a query, and of those in it. */
static bool
write_query(Node *node, Fragment *fragment)
{
	Query	   *query = (Query *) node;
	Naming		naming = {fragment, NIL};
	bool		written = false;
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, write_query, fragment);
	naming.rtable = query->rtable;
	foreach(cell, query->jointree->fromlist)
	{
		Joins		joins = {0};

		add_joins(&naming, lfirst(cell), &joins);
		/* names that were analysed before it was known are to be written, too */
		fragment->retry |= joins.of_documents && !fragment->plain && !fragment->document_joins;
		fragment->document_joins |= joins.of_documents;
		if (!joins.of_documents || joins.stays || !write_stars(fragment, &naming, query, false))
			continue;
		write_joins(fragment, &joins);
		written = true;
	}
	if (written)
		(void) write_stars(fragment, &naming, query, true);
	return query_tree_walker(query, write_query, fragment, 0);
}

void
mcs_join_write(Fragment *fragment, Query *query)
{
	/* SELECT INTO is none, which PostgreSQL says */
	if (fragment->is_view && query->commandType != CMD_UTILITY)
		(void) write_query((Node *) query, fragment);
}
