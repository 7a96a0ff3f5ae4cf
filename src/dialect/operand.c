/*
 * dialect/operand.c
 *	  Operands whose types are known, and what they are made into: text
 *	  literals, documents, values of another type.
 *
 * An operand is analysed once.  What came out is held, and a ParamRef stands
 * for it in the raw node that contains it.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* What a document is cast to where an operator or a function takes none, the likelier first. */
const Oid	mcs_dialect_cast_types[] = {TEXTOID, NUMERICOID, TIMESTAMPTZOID, FLOAT8OID, INT8OID, INT4OID, BOOLOID, INTERVALOID,
	DATEOID, TIMESTAMPOID, INT2OID, FLOAT4OID, JSONBOID, JSONOID, TEXTARRAYOID, UUIDOID, BYTEAOID, InvalidOid};

/* Analyses an operand and holds it; a row or a name that is given stays raw and has no type. */
Node *
mcs_dialect_transform_operand(ParseState *pstate, Node **slot)
{
	Node	   *expression;

	if (*slot == NULL)
		return NULL;
	/* what has meaning only together with what is around it */
	switch (nodeTag(*slot))
	{
		case T_RowExpr:
		case T_SetToDefault:
		case T_List:
		case T_MultiAssignRef:
			return NULL;
		case T_SubLink:
			if (((SubLink *) *slot)->subLinkType != EXPR_SUBLINK && ((SubLink *) *slot)->subLinkType != ARRAY_SUBLINK)
				return NULL;
			break;
		case T_ColumnRef:
			if (IsA(llast(((ColumnRef *) *slot)->fields), A_Star))
				return NULL;
			break;
		default:
			break;
	}
	/* a copy, since analysis may overwrite parts of what it is given */
	expression = transformExpr(pstate, copyObject(*slot), pstate->p_expr_kind);
	*slot = mcs_dialect_analysed_param(mcs_dialect_current, expression, exprLocation(*slot));
	return expression;
}

/* Whether a raw node is a string literal without a type. */
bool
mcs_dialect_is_literal(const Fragment *fragment, Node *node)
{
	node = mcs_dialect_original(fragment, node);
	return node && IsA(node, A_Const) && !((A_Const *) node)->isnull && IsA(&((A_Const *) node)->val, String);
}

/* Gives a literal a type: text 'shipped'. */
void
mcs_dialect_type_literal(Fragment *fragment, Node *raw, Node **slot, const char *type)
{
	A_Const    *literal = (A_Const *) mcs_dialect_original(fragment, raw);
	TypeCast   *cast = makeNode(TypeCast);

	/* a type in front, not a cast behind: text 'a' is a constant for the planner, and reads well */
	mcs_dialect_edit(fragment, EDIT_OPEN, literal->location, literal->location, psprintf("%s ", type));
	cast->arg = copyObject((Node *) literal);
	cast->typeName = SystemTypeName(pstrdup(type));
	cast->location = -1;
	*slot = (Node *) cast;
}

/* Puts text in front of and behind an expression. */
static void
wrap(Fragment *fragment, Node *raw, const char *before, const char *behind)
{
	int			from;
	int			to;

	if (mcs_dialect_extent(fragment, raw, &from, &to))
		mcs_dialect_wrap(fragment, from, to, before, behind);
}

/* Calls a function of the extension, in the text and in the tree. */
static Node *
call(ParseState *pstate, Node *raw, Node *expression, const char *function, const char *behind)
{
	Fragment   *fragment = mcs_dialect_current;
	FuncCall   *call = makeFuncCall(list_make2(makeString(get_namespace_name(fragment->namespace)), makeString(pstrdup(function))),
									list_make1(mcs_dialect_analysed_param(fragment, expression, -1)), COERCE_EXPLICIT_CALL, -1);

	wrap(fragment, raw, psprintf("%s(", mcs_dialect_function_name(fragment->namespace, function)), behind);
	return transformExpr(pstate, (Node *) call, pstate->p_expr_kind);
}

/* A value as a document, so that it is of one type with documents beside it. */
Node *
mcs_dialect_as_document(ParseState *pstate, Node *raw, Node *expression)
{
	Fragment   *fragment = mcs_dialect_current;

	if (exprType(expression) == fragment->document)
		return expression;
	if (exprType(expression) == UNKNOWNOID)
	{
		Node	   *literal = NULL;

		/* NULL and parameters take the type of what is beside them */
		if (!mcs_dialect_is_literal(fragment, raw))
			return expression;
		mcs_dialect_type_literal(fragment, raw, &literal, "text");
		expression = transformExpr(pstate, literal, pstate->p_expr_kind);
	}
	return call(pstate, raw, expression, "to_document", ")");
}

/* Whether text can follow an expression as :: does, without brackets around it. */
static bool
is_primary(const Fragment *fragment, Node *raw)
{
	int			i;

	raw = mcs_dialect_original(fragment, raw);
	switch (nodeTag(raw))
	{
		case T_ColumnRef:
		case T_A_Indirection:
		case T_CaseExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
			return true;
		case T_FuncCall:
			/* x AT TIME ZONE y is a call, too, and stands at AT; so do operators that the grammar makes calls of */
			i = mcs_dialect_token_at(fragment, ((FuncCall *) raw)->location);
			return fragment->tokens[i].type == TOKEN_WORD && !mcs_dialect_word_is(fragment, i, "AT");
		default:
			return false;
	}
}

/* A document as a value of another type; as text it is plain, without quotes. */
Node *
mcs_dialect_cast_document(ParseState *pstate, Node *raw, Node *expression, Oid type)
{
	Fragment   *fragment = mcs_dialect_current;
	bool		is_text = type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == NAMEOID;
	const char *name;
	Node	   *result;

	/* a cast to text would give JSON, in quotes */
	if (is_text)
		return call(pstate, raw, expression, "document_text", ")");
	/* NULL where there is no such cast; what is around says what is wrong */
	result = coerce_to_target_type(pstate, expression, exprType(expression), type, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	if (result == NULL)
		return expression;
	/* as people write it */
	name = type == TIMESTAMPTZOID ? "timestamptz" : format_type_be(type);
	if (is_primary(fragment, raw))
		wrap(fragment, raw, "", psprintf("::%s", name));
	else
		wrap(fragment, raw, "(", psprintf(")::%s", name));
	return result;
}

/* A document as text that is shown: plain, whatever is in it. */
Node *
mcs_dialect_show_document(ParseState *pstate, Node *raw, Node *expression)
{
	return call(pstate, raw, expression, DIALECT_SHOWN_TEXT, ")");
}

/* Makes documents of all branches of a CASE, COALESCE and their like, if one is a document. */
void
mcs_dialect_unify(ParseState *pstate, List *slots)
{
	Fragment   *fragment = mcs_dialect_current;
	List	   *raws = NIL;
	List	   *expressions = NIL;
	bool		found = false;
	bool		others = false;
	ListCell   *cell;

	foreach(cell, slots)
	{
		Node	  **slot = lfirst(cell);
		Node	   *raw = *slot;
		Node	   *expression = mcs_dialect_transform_operand(pstate, slot);

		raws = lappend(raws, raw);
		expressions = lappend(expressions, expression);
		if (expression && exprType(expression) == fragment->document)
			found = true;
		else
			others = true;
	}
	/* all are documents, or none is: nothing to do */
	if (!found || !others)
		return;
	foreach(cell, slots)
	{
		int			i = foreach_current_index(cell);
		Node	  **slot = lfirst(cell);
		Node	   *expression = list_nth(expressions, i);

		if (expression && exprType(expression) != fragment->document)
			*slot = mcs_dialect_analysed_param(fragment, mcs_dialect_as_document(pstate, list_nth(raws, i), expression), -1);
	}
}
