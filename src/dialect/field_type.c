/*
 * dialect/field_type.c
 *	  The type that a mirror says a field of a document has.
 *
 * A mirror whose column is filled by a path says that what stands there is of the
 * column's type; a value that is not would not be in the mirror.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

/* A field whose type is looked for. */
typedef struct Field
{
	const DocumentOrigin *origin;
	List	   *steps;			/* of char * */
	Oid			type;
} Field;

/* Adds a step of a path that is a text; false where it is anything else. */
static bool
add_step(Node *node, List **steps)
{
	Const	   *constant = (Const *) node;

	if (!node || !IsA(node, Const) || constant->constisnull || constant->consttype != TEXTOID)
		return false;
	*steps = lappend(*steps, TextDatumGetCString(constant->constvalue));
	return true;
}

/* The column and the steps of a path as analysis has it; NULL: it is no path. */
static Var *
path_parts(Node *node, List **steps)
{
	List	   *args = NIL;
	Node	   *base;
	ListCell   *cell;

	if (IsA(node, FuncExpr) && mcs_extension_function(((FuncExpr *) node)->funcid) == mcs_document_get)
	{
		base = linitial(((FuncExpr *) node)->args);
		if (list_length(((FuncExpr *) node)->args) != 2 || !IsA(lsecond(((FuncExpr *) node)->args), ArrayExpr))
			return NULL;
		args = lsecond_node(ArrayExpr, ((FuncExpr *) node)->args)->elements;
	}
	else if (IsA(node, SubscriptingRef) && !((SubscriptingRef *) node)->reflowerindexpr)
	{
		base = (Node *) ((SubscriptingRef *) node)->refexpr;
		args = ((SubscriptingRef *) node)->refupperindexpr;
	}
	else
		return NULL;
	foreach(cell, args)
		if (!add_step(lfirst(cell), steps))
			return NULL;
	return IsA(base, Var) ? (Var *) base : NULL;
}

/* Whether a mirror's expression is the path: document_get(document, 'a', ...). */
static bool
is_path(const char *expression, const List *steps)
{
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, raw_parser(expression, RAW_PARSE_PLPGSQL_EXPR))->stmt);
	FuncCall   *get = (FuncCall *) linitial_node(ResTarget, select->targetList)->val;
	ListCell   *cell;

	if (!IsA(get, FuncCall) || strcmp(strVal(llast(get->funcname)), "document_get") != 0 ||
		list_length(get->args) != list_length(steps) + 1 || !IsA(linitial(get->args), ColumnRef))
		return false;
	for_each_from(cell, get->args, 1)
	{
		A_Const    *step = lfirst(cell);

		if (!IsA(step, A_Const) || !IsA(&step->val, String) || strcmp(strVal(&step->val), list_nth(steps, foreach_current_index(cell) - 1)) != 0)
			return false;
	}
	return true;
}

/* In a subtransaction, as reading the tables may fail. */
static void
find_type(void *arg)
{
	Field	   *field = arg;
	ListCell   *cell;

	foreach(cell, mcs_star_mirrors(field->origin))
	{
		MirrorFields *mirror = lfirst(cell);
		Oid			table = RangeVarGetRelid(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(mirror->table))), NoLock, true);
		int			count;
		DialectToken *tokens = mcs_dialect_lex_text(mirror->columns, &count);

		/* name = expression */
		for (int i = 0, end; OidIsValid(table) && i < count; i = end + 1)
		{
			AttrNumber	number = tokens[i].value ? get_attnum(table, tokens[i].value) : InvalidAttrNumber;

			CHECK_FOR_INTERRUPTS();
			end = mcs_dialect_find_token(tokens, i, count, ',');
			if (end - i < 3 || number == InvalidAttrNumber ||
				!is_path(pnstrdup(mirror->columns + tokens[i + 2].at, mcs_dialect_token_end(&tokens[end - 1]) - tokens[i + 2].at), field->steps))
				continue;
			field->type = getBaseType(get_atttype(table, number));
			return;
		}
	}
}

Oid
mcs_field_type(const Query *query, Node *path)
{
	DocumentOrigin origin;
	Field		field = {&origin, NIL, InvalidOid};
	Var		   *column = path_parts(path, &field.steps);
	ErrorData  *error;

	if (!column || mcs_extension_is_old() || !mcs_dialect_origin_in(query, column, &origin))
		return InvalidOid;
	error = mcs_attempt(find_type, &field);
	if (error)
		mcs_dialect_rethrow_urgent(error);
	return error ? InvalidOid : field.type;
}
