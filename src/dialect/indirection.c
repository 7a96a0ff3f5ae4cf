/*
 * dialect/indirection.c
 *	  Steps in brackets, and behind brackets: d.a['b'].c, (d).a, d['a'].b
 *
 * What is subscripts of SQL only, as d['a'][0], stays as it is written.  As soon
 * as one step has a dot, the whole is a path of the dialect.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_expr.h"

/* A step in brackets: a key, a position, or an expression. */
static FieldStep *
bracket_step(ParseState *pstate, Fragment *fragment, A_Indices *indices, int open, int close)
{
	FieldStep  *step = palloc0(sizeof(FieldStep));
	A_Const    *constant = (A_Const *) mcs_dialect_original(fragment, indices->uidx);

	if (indices->is_slice)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a path cannot take a slice of an array"),
				 mcs_dialect_error_at(fragment, fragment->tokens[open].at)));
	step->bracket = true;
	/* the text in the brackets may hold forms of the dialect: it is put in as what it becomes */
	step->from = mcs_dialect_token_end(&fragment->tokens[open]);
	step->to = fragment->tokens[close].at;
	if (IsA(constant, A_Const) && !constant->isnull && IsA(&constant->val, String))
		step->key = strVal(&constant->val);
	else if (IsA(constant, A_Const) && !constant->isnull && IsA(&constant->val, Integer))
	{
		step->key = psprintf("%d", intVal(&constant->val));
		step->number = true;
	}
	else
		step->node = transformExpr(pstate, copyObject(indices->uidx), pstate->p_expr_kind);
	return step;
}

/* The steps of an indirection; i is the token behind which they stand.  False where one is a star. */
static bool
add_steps(ParseState *pstate, Fragment *fragment, List *indirection, int *i, FieldPath *path)
{
	ListCell   *cell;

	foreach(cell, indirection)
	{
		FieldStep  *step;

		if (IsA(lfirst(cell), A_Indices))
		{
			int			close = mcs_dialect_closing_bracket(fragment->tokens, *i + 1);

			step = bracket_step(pstate, fragment, lfirst(cell), *i + 1, close);
			*i = close;
		}
		else if (IsA(lfirst(cell), String))
		{
			DialectToken *token = &fragment->tokens[*i + 2];

			step = palloc0(sizeof(FieldStep));
			step->key = token->type == TOKEN_WORD && fragment->text[token->at] != '"' ?
				pnstrdup(fragment->text + token->at, token->length) : pstrdup(strVal(lfirst(cell)));
			*i += 2;
		}
		else
			return false;
		path->steps = lappend(path->steps, step);
	}
	return true;
}

/* Whether a step has a dot in front. */
static bool
has_dotted_step(List *indirection)
{
	ListCell   *cell;

	foreach(cell, indirection)
		if (IsA(lfirst(cell), String))
			return true;
	return false;
}

/* PostgreSQL's own reading of an indirection, over what is analysed already. */
static Node *
plain_indirection(ParseState *pstate, Fragment *fragment, A_Indirection *node, Node *base)
{
	A_Indirection *plain = copyObject(node);

	plain->arg = mcs_dialect_analysed_param(fragment, base, exprLocation(base));
	return transformExpr(pstate, (Node *) plain, pstate->p_expr_kind);
}

/* The base of an indirection that is a reference; *held is what it is if it is no path. */
static bool
indirection_base(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path, Node **analysed)
{
	int			edits = list_length(fragment->edits);

	/* analysed as a name first: it may be a column of an array, or a row */
	*analysed = transformExpr(pstate, copyObject((Node *) ref), pstate->p_expr_kind);
	if (!mcs_dialect_if_has_paths(fragment, *analysed))
		return false;
	/* a plain column, as analysis has left the text alone */
	if (list_length(fragment->edits) == edits && !mcs_dialect_edited(fragment, ref->location, mcs_dialect_reference_end(fragment, ref)))
	{
		path->base = *analysed;
		path->base_text = list_make1(mcs_dialect_text_piece(pnstrdup(fragment->text + ref->location,
																 mcs_dialect_reference_end(fragment, ref) - ref->location)));
		return true;
	}
	return mcs_dialect_resolve(pstate, fragment, ref, path);
}

/* d.a['b'].c, (d).a, d['a'].b, and the subscripts of SQL, which stay */
Node *
mcs_dialect_transform_indirection(ParseState *pstate, A_Indirection *node)
{
	Fragment   *fragment = mcs_dialect_current;
	FieldPath	path = {NULL, NIL, NIL};
	Node	   *original = mcs_dialect_original(fragment, node->arg);
	Node	   *analysed = NULL;
	bool		is_path;
	int			from;
	int			to;
	int			i;

	/* a node of ours, which stands nowhere in the text */
	if (!mcs_dialect_extent(fragment, (Node *) node, &from, &to))
		return transformExpr(pstate, (Node *) node, pstate->p_expr_kind);
	if (IsA(original, ColumnRef))
	{
		is_path = indirection_base(pstate, fragment, (ColumnRef *) original, &path, &analysed);
		i = mcs_dialect_token_at(fragment, mcs_dialect_reference_end(fragment, (ColumnRef *) original)) - 1;
		while (fragment->tokens[i + 1].type == ')')
			i++;
	}
	else
	{
		int			inner_from;
		int			inner_to;

		analysed = transformExpr(pstate, copyObject(node->arg), pstate->p_expr_kind);
		is_path = mcs_dialect_if_has_paths(fragment, analysed) && mcs_dialect_extent(fragment, original, &inner_from, &inner_to);
		if (is_path)
		{
			i = mcs_dialect_token_at(fragment, inner_to) - 1;
			while (fragment->tokens[i + 1].type == ')')
				i++;
			path.base = analysed;
			path.base_text = list_make1(mcs_dialect_range_piece(from, mcs_dialect_token_end(&fragment->tokens[i])));
		}
	}
	/* arrays, rows, and subscripts of documents */
	if (!is_path || (!has_dotted_step(node->indirection) && path.steps == NIL && !mcs_dialect_edited(fragment, from, from + 1)))
		return plain_indirection(pstate, fragment, node, analysed);
	/* (d).a: the brackets belong to the base */
	if (IsA(original, ColumnRef) && fragment->text[from] == '(')
		path.base_text = lcons(mcs_dialect_text_piece("("), lappend(path.base_text, mcs_dialect_text_piece(")")));
	/* (d).*: rows of PostgreSQL have a star, paths have none */
	if (!add_steps(pstate, fragment, node->indirection, &i, &path))
		return plain_indirection(pstate, fragment, node, analysed);
	return mcs_dialect_write_path(pstate, fragment, &path, from, to);
}
