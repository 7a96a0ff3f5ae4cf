/*
 * dialect/stand_in.c
 *	  ParamRefs of ours that stand in a raw tree for other nodes.
 *
 * PostgreSQL's analysis asks a hook for each parameter, and that is the one
 * place where an expression can be given to it in the middle of its work.  So
 * there are two ranges of numbers beyond those that users can write: one for
 * raw nodes whose analysis waits until it comes to them, and one for
 * expressions that are analysed already.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/nodeFuncs.h"

/* What stood where a ParamRef of ours does; any other node is itself. */
Node *
mcs_dialect_original(const Fragment *fragment, Node *node)
{
	while (node && IsA(node, ParamRef))
	{
		int			number = ((ParamRef *) node)->number;

		if (number < DIALECT_FIRST_DEFERRED || number >= DIALECT_FIRST_ANALYSED)
			break;
		node = ((DialectDeferred *) list_nth(fragment->deferred, number - DIALECT_FIRST_DEFERRED))->original;
	}
	return node;
}

/* The size of a node that can be kept aside, 0 for all others. */
static size_t
deferrable_size(Node *node)
{
	switch (nodeTag(node))
	{
		case T_A_Expr:
			return sizeof(A_Expr);
		case T_CaseExpr:
			return sizeof(CaseExpr);
		case T_CoalesceExpr:
			return sizeof(CoalesceExpr);
		case T_MinMaxExpr:
			return sizeof(MinMaxExpr);
		case T_FuncCall:
			return sizeof(FuncCall);
		case T_TypeCast:
			return sizeof(TypeCast);
		case T_A_Indirection:
			return sizeof(A_Indirection);
		case T_SubLink:
			return sizeof(SubLink);
		case T_ColumnRef:
			return sizeof(ColumnRef);
		case T_A_Const:
			return sizeof(A_Const);
		case T_CollateClause:
			return sizeof(CollateClause);
		case T_NullTest:
			return sizeof(NullTest);
		case T_BooleanTest:
			return sizeof(BooleanTest);
		default:
			return 0;
	}
}

/* Whether a node is t.* or (t).*, which analysis makes several columns of. */
bool
mcs_dialect_has_star(Node *node)
{
	if (IsA(node, ColumnRef))
		return IsA(llast(((ColumnRef *) node)->fields), A_Star);
	if (IsA(node, A_Indirection))
		return IsA(llast(((A_Indirection *) node)->indirection), A_Star);
	return false;
}

/* Keeps a node aside; NULL where it cannot be. */
DialectDeferred *
mcs_dialect_defer(Fragment *fragment, Node *node)
{
	size_t		size;
	DialectDeferred *deferred;
	ParamRef   *stand_in = (ParamRef *) node;

	if (IsA(node, ParamRef))
	{
		if (stand_in->number < DIALECT_FIRST_DEFERRED || stand_in->number >= DIALECT_FIRST_ANALYSED)
			return NULL;
		return list_nth(fragment->deferred, stand_in->number - DIALECT_FIRST_DEFERRED);
	}
	/* all of these are larger than a ParamRef, which is put in their place */
	size = deferrable_size(node);
	if (size == 0 || mcs_dialect_has_star(node))
		return NULL;
	deferred = palloc0(sizeof(DialectDeferred));
	deferred->original = palloc(size);
	memcpy(deferred->original, node, size);
	/* in its place: what points to the node need not be known */
	NodeSetTag(node, T_ParamRef);
	stand_in->number = DIALECT_FIRST_DEFERRED + list_length(fragment->deferred);
	stand_in->location = exprLocation(deferred->original);
	fragment->deferred = lappend(fragment->deferred, deferred);
	return deferred;
}

/* Notes what the context of a node needs it to be. */
void
mcs_dialect_set_target(Fragment *fragment, Node *node, DialectTarget target, Oid type)
{
	DialectDeferred *deferred;

	/* a constant takes the type that is needed by itself */
	if (node == NULL || IsA(node, A_Const) || (target == TARGET_ASSIGNED && !OidIsValid(type)))
		return;
	deferred = mcs_dialect_defer(fragment, node);
	if (!deferred)
		return;
	deferred->target = target;
	deferred->target_type = type;
}

/* A ParamRef for an analysed expression. */
Node *
mcs_dialect_analysed_param(Fragment *fragment, Node *expression, int location)
{
	ParamRef   *ref = makeNode(ParamRef);

	ref->number = DIALECT_FIRST_ANALYSED + list_length(fragment->analysed);
	ref->location = location;
	fragment->analysed = lappend(fragment->analysed, expression);
	return (Node *) ref;
}
