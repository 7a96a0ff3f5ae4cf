/*
 * dialect/printable.c
 *	  Comparisons of documents in places where PostgreSQL writes no operator.
 *
 * CASE x WHEN y, NULLIF, IS DISTINCT FROM hold the operator that was found when
 * they were analysed, but a view prints them without it.  pg_dump and pg_upgrade
 * read that with nothing but pg_catalog on the search path, where documents have
 * no "=".  So they become forms in which it is printed, OPERATOR(schema.=):
 *
 *	CASE x WHEN y THEN ...		CASE WHEN x = y THEN ...
 *	NULLIF(x, y)				CASE WHEN x = y THEN NULL ELSE x END
 *	x IS DISTINCT FROM y		(NOT COALESCE(x = y, x IS NULL AND y IS NULL))
 *
 * IN and BETWEEN are printed as operators; they have no place for a schema in the
 * text only, so they are written out where the session does not find the
 * extension's operators.
 *
 * An operand that is repeated is one that may be: it is short, has no such form
 * in it, since the text would double with each, and gives the same value again.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_expr.h"
#include "parser/parse_oper.h"
#include "parser/parser.h"
#include "utils/syscache.h"

/* So long may an operand be that is repeated. */
#define MAX_REPEATED 500

/* An operand, and where its text stands. */
typedef struct Repeated
{
	Node	   *raw;
	Node	   *analysed;		/* a stand-in for it in the tree */
	Oid			type;
	int			from;
	int			to;
} Repeated;

/* Whether a node has one of the forms in it whose operands are repeated. */
static bool
has_form(Node *node, void *fragment)
{
	if (node == NULL)
		return false;
	node = mcs_dialect_original(fragment, node);
	switch (nodeTag(node))
	{
		case T_SubLink:
		case T_CaseExpr:
			return true;
		case T_A_Expr:
			if (((A_Expr *) node)->kind != AEXPR_OP)
				return true;
			break;
		default:
			break;
	}
	return raw_expression_tree_walker(node, has_form, fragment);
}

/* Analyses an operand; false where it cannot be repeated. */
static bool
take_operand(ParseState *pstate, Node **slot, Repeated *operand)
{
	Fragment   *fragment = mcs_dialect_current;
	Node	   *expression;

	operand->raw = *slot;
	expression = mcs_dialect_transform_operand(pstate, slot);
	operand->analysed = *slot;
	operand->type = expression ? exprType(expression) : InvalidOid;
	return expression && !contain_volatile_functions(expression) &&
		mcs_dialect_extent(fragment, operand->raw, &operand->from, &operand->to) &&
		operand->to - operand->from <= MAX_REPEATED && !has_form(operand->raw, fragment);
}

/* Whether an expression needs brackets beside an operator. */
static bool
is_loose(Node *raw)
{
	switch (nodeTag(mcs_dialect_original(mcs_dialect_current, raw)))
	{
		case T_A_Expr:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CollateClause:
			return true;
		default:
			return false;
	}
}

/* The constant that an operand is; NULL: another expression. */
static A_Const *
constant(Node *raw)
{
	Node	   *original = mcs_dialect_original(mcs_dialect_current, raw);

	return IsA(original, A_Const) ? (A_Const *) original : NULL;
}

/* Whether an operand is NULL, written so. */
static bool
is_null(Node *raw)
{
	return constant(raw) && constant(raw)->isnull;
}

/* Appends the text of an operand to the pieces of an edit; brackets that bracket() has put around it are part of it. */
static List *
append_operand(List *pieces, const Repeated *operand)
{
	return lappend(pieces, mcs_dialect_range_piece(operand->from, operand->to));
}

/* Puts brackets around an operand where it stands. */
static void
bracket(const Repeated *operand)
{
	if (is_loose(operand->raw))
		mcs_dialect_wrap(mcs_dialect_current, operand->from, operand->to, "(", ")");
}

/* An expression without a place of its own in the text. */
static Node *
boolean(BoolExprType type, Node *left, Node *right)
{
	return (Node *) makeBoolExpr(type, right ? list_make2(left, right) : list_make1(left), -1);
}

static Node *
null_test(Node *argument)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) argument;
	test->nulltesttype = IS_NULL;
	test->location = -1;
	return (Node *) test;
}

/* ---- CASE x WHEN y ---- */

/* CASE x WHEN y THEN ... of documents as CASE WHEN x = y THEN ...; the node is changed, unless it stays as it is. */
void
mcs_printable_case(ParseState *pstate, CaseExpr *c)
{
	Fragment   *fragment = mcs_dialect_current;
	Repeated	argument;
	int			next;
	ListCell   *cell;

	/* what is no document may be made one by text around it, which would not go with it */
	if (!take_operand(pstate, (Node **) &c->arg, &argument) || argument.type != fragment->document)
		return;
	foreach(cell, c->args)
	{
		CaseWhen   *when = lfirst_node(CaseWhen, cell);
		Repeated	value = {.raw = (Node *) when->expr};
		A_Expr	   *equal = makeSimpleA_Expr(AEXPR_OP, "=", (Node *) c->arg, (Node *) when->expr, -1);
		const char *name = mcs_dialect_fit_comparison(pstate, equal, argument.raw);
		bool		loose = is_loose(argument.raw);
		List	   *pieces = list_make1(mcs_dialect_text_piece(loose ? "(" : ""));

		if (!mcs_dialect_extent(fragment, value.raw, &value.from, &value.to))
			continue;
		bracket(&value);
		pieces = lappend(append_operand(pieces, &argument), mcs_dialect_text_piece(psprintf(loose ? ") %s " : " %s ", name)));
		mcs_dialect_edit_pieces(fragment, EDIT_OPEN, value.from, value.from, pieces);
		when->expr = (Expr *) equal;
	}
	/* and where it was, it is no more, nor the blank behind it */
	for (next = argument.to; next < fragment->size && isspace((unsigned char) fragment->text[next]); next++)
		;
	if (fragment->tokens[mcs_dialect_token_at(fragment, argument.to)].at != next)
		next = argument.to;
	mcs_dialect_edit_pieces(fragment, EDIT_MOVE, argument.from, next, NIL);
	c->arg = NULL;
}

/* ---- NULLIF ---- */

/* NULLIF(x, y) as CASE WHEN x = y THEN NULL ELSE x END; NULL where it stays. */
static Node *
null_if(ParseState *pstate, A_Expr *e, Repeated *left, Repeated *right, const char *name)
{
	Fragment   *fragment = mcs_dialect_current;
	int			first = mcs_dialect_token_at(fragment, e->location);
	int			close = mcs_dialect_closing_bracket(fragment->tokens, first + 1);
	int			comma = mcs_dialect_token_at(fragment, right->from) - 1;
	CaseExpr   *c = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);
	A_Const    *null = makeNode(A_Const);

	while (comma > first && fragment->tokens[comma].type == '(')
		comma--;
	if (fragment->tokens[comma].type != ',' || fragment->tokens[close].type != ')')
		return NULL;
	bracket(left);
	bracket(right);
	mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[first].at, mcs_dialect_token_end(&fragment->tokens[first + 1]), "CASE WHEN ");
	mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[comma].at, mcs_dialect_token_end(&fragment->tokens[comma]),
					 psprintf(" %s", name));
	mcs_dialect_edit_pieces(fragment, EDIT_REPLACE, fragment->tokens[close].at, mcs_dialect_token_end(&fragment->tokens[close]),
							lappend(append_operand(list_make1(mcs_dialect_text_piece(" THEN NULL ELSE ")), left), mcs_dialect_text_piece(" END")));
	null->isnull = true;
	null->location = -1;
	when->expr = (Expr *) e;
	when->result = (Expr *) null;
	when->location = -1;
	c->args = list_make1(when);
	c->defresult = (Expr *) e->lexpr;
	c->location = -1;
	return (Node *) c;
}

/* ---- IS DISTINCT FROM ---- */

/* x IS [NOT] DISTINCT FROM y by way of COALESCE; NULL where it stays. */
static Node *
is_distinct(ParseState *pstate, A_Expr *e, bool negated, Repeated *left, Repeated *right, const char *name)
{
	Fragment   *fragment = mcs_dialect_current;
	int			first = mcs_dialect_token_at(fragment, e->location);
	int			behind = first + (negated ? 4 : 3);
	CoalesceExpr *coalesce = makeNode(CoalesceExpr);
	List	   *pieces = list_make1(mcs_dialect_text_piece(", "));
	bool		never_null = constant(left->raw) || constant(right->raw);
	int			from;
	int			end;

	if (!mcs_dialect_operator_extent(fragment, left->raw, right->raw, first - 1, behind, &from, &end))
		return NULL;
	bracket(left);
	bracket(right);
	mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[first].at, mcs_dialect_token_end(&fragment->tokens[behind - 1]), name);
	/* what is written there is not null */
	if (never_null)
		pieces = lappend(pieces, mcs_dialect_text_piece("false"));
	else
	{
		pieces = lappend(append_operand(pieces, left), mcs_dialect_text_piece(" IS NULL AND "));
		pieces = lappend(append_operand(pieces, right), mcs_dialect_text_piece(" IS NULL"));
	}
	pieces = lappend(pieces, mcs_dialect_text_piece(negated ? ")" : "))"));
	mcs_dialect_edit_pieces(fragment, EDIT_CLOSE, end, end, pieces);
	/* younger than the pieces, so it is around them and not in them */
	mcs_dialect_edit(fragment, EDIT_OPEN, from, from, negated ? "COALESCE(" : "(NOT COALESCE(");
	coalesce->args = list_make2(e, boolean(AND_EXPR, null_test(e->lexpr), null_test(e->rexpr)));
	coalesce->location = -1;
	return negated ? (Node *) coalesce : boolean(NOT_EXPR, (Node *) coalesce, NULL);
}

/* NULLIF and IS DISTINCT FROM of documents; NULL where nothing is to be changed. */
static Node *
comparison(ParseState *pstate, A_Expr *e)
{
	A_Expr	   *equal = makeSimpleA_Expr(AEXPR_OP, "=", e->lexpr, e->rexpr, e->location);
	Repeated	left;
	Repeated	right;
	bool		repeatable = take_operand(pstate, &equal->lexpr, &left);
	const char *name;
	Node	   *result;

	/* x IS DISTINCT FROM NULL needs no operator */
	if (!take_operand(pstate, &equal->rexpr, &right) || !repeatable || is_null(left.raw) || is_null(right.raw) ||
		(left.type != mcs_dialect_current->document && right.type != mcs_dialect_current->document))
		return NULL;
	equal->lexpr = left.raw;
	equal->rexpr = right.raw;
	equal->location = -1;
	name = mcs_dialect_fit_comparison(pstate, equal, left.raw);
	equal->location = e->location;
	if (e->kind == AEXPR_NULLIF)
		result = null_if(pstate, equal, &left, &right, name);
	else
		result = is_distinct(pstate, equal, e->kind == AEXPR_NOT_DISTINCT, &left, &right, name);
	if (!result)
		return NULL;
	equal->location = -1;
	return transformExpr(pstate, result, pstate->p_expr_kind);
}

/* ---- IN and BETWEEN ---- */

/* The token in front of an operand, and of the brackets around it. */
static DialectToken *
token_before(const Repeated *operand)
{
	Fragment   *fragment = mcs_dialect_current;
	int			i = mcs_dialect_token_at(fragment, operand->from) - 1;

	while (i > 0 && fragment->tokens[i].type == '(')
		i--;
	return &fragment->tokens[Max(i, 0)];
}

/* One comparison of a list, added to those before it; its text begins behind a token, or several. */
static Node *
compare_with(ParseState *pstate, const Repeated *left, Node *element, const char *operator, Node *before, bool all,
			 DialectToken *first, DialectToken *last)
{
	Fragment   *fragment = mcs_dialect_current;
	A_Expr	   *e = makeSimpleA_Expr(AEXPR_OP, pstrdup(operator), (Node *) left->analysed, element, -1);
	const char *name = mcs_dialect_fit_comparison(pstate, e, left->raw);
	List	   *pieces = NIL;

	if (before)
	{
		bool		blank = isspace((unsigned char) fragment->text[first->at - 1]);

		pieces = list_make2(mcs_dialect_text_piece(blank ? "" : " "), mcs_dialect_text_piece(all ? "AND " : "OR "));
		pieces = append_operand(pieces, left);
		pieces = lappend(pieces, mcs_dialect_text_piece(" "));
	}
	pieces = lappend(pieces, mcs_dialect_text_piece(name));
	/* x IN (1: no blank stands there */
	if (!isspace((unsigned char) fragment->text[mcs_dialect_token_end(last)]))
		pieces = lappend(pieces, mcs_dialect_text_piece(" "));
	mcs_dialect_edit_pieces(fragment, EDIT_REPLACE, first->at, mcs_dialect_token_end(last), pieces);
	return before ? boolean(all ? AND_EXPR : OR_EXPR, before, (Node *) e) : (Node *) e;
}

/* x IN (a, b) and x BETWEEN a AND b with an operator for each comparison; NULL where it stays. */
static Node *
list(ParseState *pstate, A_Expr *e)
{
	Fragment   *fragment = mcs_dialect_current;
	DialectToken *first = &fragment->tokens[mcs_dialect_token_at(fragment, e->location)];
	bool		is_in = e->kind == AEXPR_IN;
	bool		negated = is_in ? strcmp(strVal(llast(e->name)), "<>") == 0 : e->kind == AEXPR_NOT_BETWEEN;
	/* [NOT] IN (, [NOT] BETWEEN */
	DialectToken *last = first + (negated ? 1 : 0) + (is_in ? 1 : 0);
	Node	   *slot = e->lexpr;
	Repeated	left;
	Node	   *result = NULL;
	int			from;
	int			to;
	ListCell   *cell;

	if (!take_operand(pstate, &slot, &left) || left.type != fragment->document || !mcs_dialect_extent(fragment, (Node *) e, &from, &to))
		return NULL;
	bracket(&left);
	foreach(cell, (List *) e->rexpr)
	{
		Repeated	element = {.raw = lfirst(cell)};
		int			i = foreach_current_index(cell);
		const char *operator = is_in ? (negated ? "<>" : "=") : i == 0 ? (negated ? "<" : ">=") : (negated ? ">" : "<=");

		if (!mcs_dialect_extent(fragment, element.raw, &element.from, &element.to))
			return NULL;
		bracket(&element);
		/* all of what is not to be in a list, both ends of what is between them */
		result = compare_with(pstate, &left, lfirst(cell), operator, result, is_in == negated,
							  i == 0 ? first : token_before(&element), i == 0 ? last : token_before(&element));
	}
	mcs_dialect_edit(fragment, EDIT_OPEN, from, from, "(");
	/* the list's own bracket closes it */
	if (!is_in)
		mcs_dialect_edit(fragment, EDIT_CLOSE, to, to, ")");
	return transformExpr(pstate, result, pstate->p_expr_kind);
}

/* Whether the session finds the operators of documents without their schema. */
static bool
finds_operators(ParseState *pstate)
{
	Oid			document = mcs_dialect_current->document;
	Operator	equal = oper(pstate, list_make1(makeString("=")), document, document, true, -1);

	if (equal)
		ReleaseSysCache(equal);
	return equal != NULL;
}

/* Analyses an operator of documents that becomes other forms; NULL where it is as any other. */
Node *
mcs_printable_operator(ParseState *pstate, A_Expr *e)
{
	switch (e->kind)
	{
		case AEXPR_NULLIF:
		case AEXPR_DISTINCT:
		case AEXPR_NOT_DISTINCT:
			return IsA(e->lexpr, RowExpr) || IsA(e->rexpr, RowExpr) ? NULL : comparison(pstate, e);
		case AEXPR_IN:
		case AEXPR_BETWEEN:
		case AEXPR_NOT_BETWEEN:
			return IsA(e->lexpr, RowExpr) || finds_operators(pstate) ? NULL : list(pstate, e);
		default:
			return NULL;
	}
}
