/*
 * dialect/transform.c
 *	  Analyses the nodes that were kept aside, each by the rules of its kind.
 *
 * This is where the hook for parameters leads.  The parts of a node are
 * analysed first, then what it becomes is decided by their types, then
 * PostgreSQL analyses it with the analysed parts in it.  What the dialect makes
 * of another kind of node is a case of transform_original, and a line in
 * prepare_expression, which keeps such nodes aside.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* CASE x WHEN 'a' THEN ... */
static Node *
transform_case(ParseState *pstate, CaseExpr *c)
{
	Fragment   *fragment = mcs_dialect_current;
	Node	   *arg;
	List	   *results = NIL;
	ListCell   *cell;

	if (c->arg)
		mcs_printable_case(pstate, c);
	arg = mcs_dialect_transform_operand(pstate, (Node **) &c->arg);
	foreach(cell, c->args)
	{
		CaseWhen   *when = lfirst_node(CaseWhen, cell);

		/* beside a document an untyped literal would be read as JSON, where a text is meant */
		if (arg && exprType(arg) == fragment->document && mcs_dialect_is_literal(fragment, (Node *) when->expr))
			mcs_dialect_type_literal(fragment, (Node *) when->expr, (Node **) &when->expr, "text");
		results = lappend(results, &when->result);
	}
	if (c->defresult)
		results = lappend(results, &c->defresult);
	mcs_dialect_unify(pstate, results);
	return transformExpr(pstate, (Node *) c, pstate->p_expr_kind);
}

/* COALESCE, GREATEST, LEAST */
static Node *
transform_alternatives(ParseState *pstate, Node *node, List *args)
{
	List	   *slots = NIL;
	ListCell   *cell;

	foreach(cell, args)
		slots = lappend(slots, &lfirst(cell));
	mcs_dialect_unify(pstate, slots);
	return transformExpr(pstate, node, pstate->p_expr_kind);
}

/* CAST(document AS text): plain text */
static Node *
transform_cast(ParseState *pstate, TypeCast *cast)
{
	Fragment   *fragment = mcs_dialect_current;
	Node	   *raw = cast->arg;
	Node	   *arg;
	Oid			type;

	/* of these the cast itself is what gives them a type */
	if (IsA(mcs_dialect_original(fragment, raw), A_ArrayExpr) || IsA(mcs_dialect_original(fragment, raw), A_Const))
		return transformExpr(pstate, (Node *) cast, pstate->p_expr_kind);
	arg = mcs_dialect_transform_operand(pstate, &cast->arg);
	if (arg && exprType(arg) == fragment->document)
	{
		type = typenameTypeId(pstate, cast->typeName);
		/* the cast of a document to text would give JSON, in quotes */
		if (type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == NAMEOID)
			cast->arg = mcs_dialect_analysed_param(fragment, mcs_dialect_cast_document(pstate, raw, arg, TEXTOID), -1);
		else if (!can_coerce_type(1, &fragment->document, &type, COERCION_EXPLICIT))
		{
			/* by way of what there is a cast to: the time of a date, an array, else text */
			Oid			by = type == TIMEOID || type == TIMETZOID ? TIMESTAMPTZOID : type_is_array(type) ? TEXTARRAYOID : TEXTOID;

			cast->arg = mcs_dialect_analysed_param(fragment, mcs_dialect_cast_document(pstate, raw, arg, by), -1);
		}
	}
	return transformExpr(pstate, (Node *) cast, pstate->p_expr_kind);
}

/* document COLLATE "C" */
static Node *
transform_collate(ParseState *pstate, CollateClause *collate)
{
	Fragment   *fragment = mcs_dialect_current;
	Node	   *raw = collate->arg;
	Node	   *arg = mcs_dialect_transform_operand(pstate, &collate->arg);

	if (arg && exprType(arg) == fragment->document)
		collate->arg = mcs_dialect_analysed_param(fragment, mcs_dialect_cast_document(pstate, raw, arg, TEXTOID), -1);
	return transformExpr(pstate, (Node *) collate, pstate->p_expr_kind);
}

/* 'x' IN (SELECT document ...), document = ANY (SELECT ...) */
static Node *
transform_sublink(ParseState *pstate, SubLink *link)
{
	Fragment   *fragment = mcs_dialect_current;

	/* the sub-select is analysed twice: here for its type only, on a copy, then by PostgreSQL */
	if (mcs_dialect_is_literal(fragment, link->testexpr))
	{
		Query	   *query = parse_sub_analyze(copyObject(link->subselect), pstate, NULL, false, true);
		TargetEntry *first = query->targetList ? linitial_node(TargetEntry, query->targetList) : NULL;

		if (first && exprType((Node *) first->expr) == fragment->document)
			mcs_dialect_type_literal(fragment, link->testexpr, &link->testexpr, "text");
	}
	return transformExpr(pstate, (Node *) link, pstate->p_expr_kind);
}

/* What the context needs of an expression, if it is a document. */
static Node *
apply_target(ParseState *pstate, DialectDeferred *deferred, Node *expression)
{
	Fragment   *fragment = mcs_dialect_current;
	Oid			type = deferred->target == TARGET_BOOLEAN ? BOOLOID : deferred->target == TARGET_ASSIGNED ? getBaseType(deferred->target_type) : InvalidOid;

	if (deferred->target == TARGET_SHOWN)
		return getBaseType(exprType(expression)) == fragment->document ? mcs_dialect_show_document(pstate, deferred->original, expression) : expression;
	if (exprType(expression) != fragment->document || type == fragment->document)
		return expression;
	/* of other types there is a cast on assignment, or none at all */
	if (deferred->target == TARGET_BOOLEAN || type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == NAMEOID ||
		type == JSONBOID || type == JSONOID || type == INTERVALOID || type == TEXTARRAYOID || type == BYTEAOID)
		return mcs_dialect_cast_document(pstate, deferred->original, expression, type);
	return expression;
}

/* A column of a UNION and its like: a document in one branch makes documents of all. */
static Node *
apply_set(ParseState *pstate, DialectDeferred *deferred, Node *expression)
{
	Fragment   *fragment = mcs_dialect_current;
	DialectSetColumns *columns = list_nth(fragment->set_columns, deferred->set - 1);
	uint64		bit = UINT64CONST(1) << deferred->column;

	if (exprType(expression) == fragment->document)
	{
		/* a branch before this one was written without knowing: all of it again */
		if (!(columns->document & bit) && (columns->other & bit))
			fragment->retry = true;
		columns->document |= bit;
		return expression;
	}
	columns->other |= bit;
	if (columns->document & bit)
		return mcs_dialect_as_document(pstate, deferred->original, expression);
	return expression;
}

/* Analyses a node that was kept aside, by its kind. */
static Node *
transform_original(ParseState *pstate, Node *node)
{
	Node	   *result;

	switch (nodeTag(node))
	{
		case T_A_Expr:
			result = mcs_printable_operator(pstate, (A_Expr *) node);
			return result ? result : mcs_dialect_transform_operator(pstate, (A_Expr *) node);
		case T_CaseExpr:
			return transform_case(pstate, (CaseExpr *) node);
		case T_CoalesceExpr:
			return transform_alternatives(pstate, node, ((CoalesceExpr *) node)->args);
		case T_MinMaxExpr:
			return transform_alternatives(pstate, node, ((MinMaxExpr *) node)->args);
		case T_FuncCall:
			return mcs_dialect_transform_call(pstate, (FuncCall *) node);
		case T_TypeCast:
			return transform_cast(pstate, (TypeCast *) node);
		case T_CollateClause:
			return transform_collate(pstate, (CollateClause *) node);
		case T_SubLink:
			return transform_sublink(pstate, (SubLink *) node);
		case T_A_Indirection:
			return mcs_dialect_transform_indirection(pstate, (A_Indirection *) node);
		default:
			return transformExpr(pstate, node, pstate->p_expr_kind);
	}
}

/* Asked for each parameter: ours are nodes kept aside, all others PostgreSQL's. */
Node *
mcs_dialect_paramref_hook(ParseState *pstate, ParamRef *ref)
{
	Fragment   *fragment = mcs_dialect_current;
	DialectDeferred *deferred;
	Node	   *expression;

	/* each level of the text is some of ours */
	check_stack_depth();
	/* beyond the users' numbers, which the scanner has checked */
	if (ref->number >= DIALECT_FIRST_ANALYSED && ref->number - DIALECT_FIRST_ANALYSED < list_length(fragment->analysed))
		return list_nth(fragment->analysed, ref->number - DIALECT_FIRST_ANALYSED);
	if (ref->number < DIALECT_FIRST_DEFERRED || ref->number - DIALECT_FIRST_DEFERRED >= list_length(fragment->deferred))
		return fragment->param_hook ? fragment->param_hook(pstate, ref) : NULL;
	deferred = list_nth(fragment->deferred, ref->number - DIALECT_FIRST_DEFERRED);
	/* a copy, since PostgreSQL analyses some nodes more than once, GROUP BY's for example */
	expression = transform_original(pstate, copyObject(deferred->original));
	if (deferred->target != TARGET_ANY)
		expression = apply_target(pstate, deferred, expression);
	if (deferred->set)
		expression = apply_set(pstate, deferred, expression);
	return expression;
}
