/*
 * dialect/field_path.c
 *	  A path into a document: how a translation writes it, and its analysed
 *	  form.
 *
 * A path is written as subscripts, full_document['customer']['name'], where
 * they mean the same as the dialect's names do, else as a call of
 * document_get, which also looks for names in camelCase and for keys with dots
 * in them.  Over one document it is always the call: who evaluates such
 * expressions for millions of documents knows a path by it.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Whether paths lead into values of a type. */
static bool
has_paths(const Fragment *fragment, Oid type)
{
	return type == fragment->document || type == JSONBOID || type == JSONOID;
}

/* A node, or NULL where paths do not lead into its values. */
Node *
mcs_dialect_if_has_paths(const Fragment *fragment, Node *node)
{
	return node && has_paths(fragment, getBaseType(exprType(node))) ? node : NULL;
}

/* Whether document_get would look for a step in camelCase, too. */
bool
mcs_dialect_has_other_spelling(const char *key)
{
	for (int i = 1; key[i - 1] && key[i] && key[i + 1]; i++)
		if (key[i] == '_' && isalnum((unsigned char) key[i - 1]) && isalnum((unsigned char) key[i + 1]) &&
			!IS_HIGHBIT_SET(key[i - 1]) && !IS_HIGHBIT_SET(key[i + 1]))
			return true;
	return false;
}

/* Whether a path needs document_get; subscripts are plainer. */
static bool
needs_get(const Fragment *fragment, const FieldPath *path)
{
	ListCell   *cell;
	bool		dotted = false;
	int			behind = -1;	/* steps behind updatedFields; -1 before it */

	if (fragment->mode == DIALECT_DOCUMENT)
		return true;
	foreach(cell, path->steps)
	{
		FieldStep  *step = lfirst(cell);

		/* there a.b can be b in a, or one key with a dot in it */
		if (behind >= 0 && ++behind >= 2 && !step->bracket)
			return true;
		if (step->key && strcmp(step->key, "updatedFields") == 0)
			behind = Max(behind, 0);
		if (step->key && !step->bracket && mcs_dialect_has_other_spelling(step->key))
			return true;
		if (step->bracket && dotted && step->key && strchr(step->key, '.'))
			return true;
		dotted |= !step->bracket;
	}
	return false;
}

/* Adds a piece that is text. */
static List *
add_text(List *pieces, const char *text)
{
	return lappend(pieces, mcs_dialect_text_piece(text));
}

/* A step as an argument of type text. */
static List *
add_argument(List *pieces, const FieldStep *step)
{
	if (step->key)
		return add_text(pieces, quote_literal_cstr(step->key));
	pieces = add_text(pieces, "(");
	pieces = lappend(pieces, mcs_dialect_range_piece(step->from, step->to));
	return add_text(pieces, ")::text");
}

/* How a path into a document is written. */
static List *
document_pieces(const Fragment *fragment, const FieldPath *path)
{
	bool		get = needs_get(fragment, path);
	List	   *pieces = NIL;
	ListCell   *cell;

	/* what is kept to be evaluated elsewhere has the schema, whatever the search path is here */
	if (get)
		pieces = add_text(pieces, psprintf("%s(", fragment->mode == DIALECT_DOCUMENT ?
										   quote_qualified_identifier(get_namespace_name(fragment->namespace), "document_get") :
										   mcs_dialect_function_name(fragment->namespace, "document_get")));
	pieces = list_concat(pieces, path->base_text);
	foreach(cell, path->steps)
	{
		const FieldStep *step = lfirst(cell);

		if (get)
			pieces = add_argument(add_text(pieces, ", "), step);
		else if (step->bracket)
		{
			pieces = add_text(pieces, "[");
			pieces = lappend(pieces, mcs_dialect_range_piece(step->from, step->to));
			pieces = add_text(pieces, "]");
		}
		else
			pieces = add_text(pieces, psprintf("[%s]", quote_literal_cstr(step->key)));
	}
	return get ? add_text(pieces, ")") : pieces;
}

/* Whether a key can stand in the text of an array without quotes. */
static bool
is_simple_key(const char *key)
{
	return *key && strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$-") == strlen(key) &&
		pg_strcasecmp(key, "null") != 0;
}

/* (j #> '{a,b}')::document */
static List *
json_pieces(const Fragment *fragment, const FieldPath *path)
{
	bool		simple = true;
	List	   *pieces = list_concat(list_make1(mcs_dialect_text_piece("(")), path->base_text);
	ListCell   *cell;

	foreach(cell, path->steps)
	{
		const FieldStep *step = lfirst(cell);

		simple &= step->key && is_simple_key(step->key);
	}
	/* the plainer way of an array where all keys allow it */
	pieces = add_text(pieces, simple ? " #> '{" : " #> ARRAY[");
	foreach(cell, path->steps)
	{
		const FieldStep *step = lfirst(cell);

		if (foreach_current_index(cell) > 0)
			pieces = add_text(pieces, simple ? "," : ", ");
		pieces = simple ? add_text(pieces, step->key) : add_argument(pieces, step);
	}
	pieces = add_text(pieces, simple ? "}')::" : "])::");
	return add_text(pieces, format_type_be(fragment->document));
}

/* document_get(base, VARIADIC ARRAY[...]) */
static Node *
make_get(const Fragment *fragment, Node *base, List *steps)
{
	ArrayExpr  *array = makeNode(ArrayExpr);
	FuncExpr   *get;

	array->array_typeid = TEXTARRAYOID;
	array->array_collid = DEFAULT_COLLATION_OID;
	array->element_typeid = TEXTOID;
	array->elements = steps;
	array->location = -1;
	get = makeFuncExpr(fragment->get_function, fragment->document, list_make2(base, array), InvalidOid,
					   DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
	/* as analysis makes it of a call with many arguments */
	get->funcvariadic = true;
	return (Node *) get;
}

/* The analysed form of a path: the same for the same path, whatever way it was written. */
static Node *
path_node(ParseState *pstate, Fragment *fragment, const FieldPath *path)
{
	Node	   *base = path->base;
	List	   *args = NIL;
	ListCell   *cell;

	/* jsonb and json are cast to documents, in the text by (j #> ...)::document */
	if (getBaseType(exprType(base)) != fragment->document)
	{
		TypeCast   *cast = makeNode(TypeCast);

		cast->arg = mcs_dialect_analysed_param(fragment, base, -1);
		cast->typeName = makeTypeNameFromOid(fragment->document, -1);
		cast->location = -1;
		base = transformExpr(pstate, (Node *) cast, pstate->p_expr_kind);
	}
	foreach(cell, path->steps)
	{
		const FieldStep *step = lfirst(cell);

		if (step->key)
			args = lappend(args, makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(step->key), false, false));
		else
			args = lappend(args, coerce_to_target_type(pstate, step->node, exprType(step->node), TEXTOID, -1,
													   COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1));
	}
	return make_get(fragment, base, args);
}

/* Writes a path in the place of what named it, and returns its analysed form. */
Node *
mcs_dialect_write_path(ParseState *pstate, Fragment *fragment, FieldPath *path, int from, int to)
{
	bool		is_document = getBaseType(exprType(path->base)) == fragment->document;

	/* from now on an error of the analysis is one of the dialect's */
	fragment->found_dialect = true;
	mcs_dialect_edit_pieces(fragment, EDIT_REPLACE, from, to,
							is_document ? document_pieces(fragment, path) : json_pieces(fragment, path));
	return path_node(pstate, fragment, path);
}
