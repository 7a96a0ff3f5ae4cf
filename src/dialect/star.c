/*
 * dialect/star.c
 *	  full_document.* as columns.
 *
 * A document's fields are not known when a statement is translated; but a mirror
 * of the collection says which there are, what they are called, and of which
 * types.  In the outermost select list, that of a result, a view or CREATE TABLE
 * AS, full_document.* is the mirror's columns, each an expression over the
 * document as the mirror has it.  As any *, it is what it is when it is written.
 *
 * A mirror's expressions are its owner's, and would run by the rights of who runs
 * the statement.  So those of somebody else count only if nothing in them is able
 * to do anything: functions of the extension, and immutable ones of PostgreSQL.
 */
#include "mongo_change_stream.h"

#include "access/transam.h"
#include "base/base.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

/* What a mirror's expressions call the document. */
#define DOCUMENT_NAME "document"

/* A star that is being made into columns. */
typedef struct Star
{
	ParseState *pstate;
	Fragment   *fragment;
	const DocumentOrigin *origin;
	Var		   *document;
	const char *text;			/* how the statement calls the document */
	List	   *columns;		/* of DialectStarColumn; NIL: no mirror says them */
} Star;

/* ---- expressions over a document ---- */

/* What replaces the document's name in an expression. */
typedef struct Replacement
{
	Star	   *star;
	const char *text;			/* the expression */
	List	   *places;			/* of the name in the text, from its begin */
	bool		refused;
} Replacement;

static int
compare_places(const ListCell *a, const ListCell *b)
{
	return lfirst_int(a) - lfirst_int(b);
}

/* Puts the analysed document in the place of each name; sets refused where there is anything that cannot be. */
static bool
replace(Node *node, Replacement *replacement)
{
	Star	   *star = replacement->star;

	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		replacement->refused = true;
	if (IsA(node, ColumnRef))
	{
		ColumnRef  *reference = (ColumnRef *) node;
		int			place = reference->location;
		Node	   *document;

		if (list_length(reference->fields) != 1 || !IsA(linitial(reference->fields), String) ||
			strcmp(strVal(linitial(reference->fields)), DOCUMENT_NAME) != 0 ||
		/* in quotes it has another length, which may be any with U&"" */
			pg_strncasecmp(replacement->text + place, DOCUMENT_NAME, strlen(DOCUMENT_NAME)) != 0)
			replacement->refused = true;
		document = mcs_dialect_analysed_param(star->fragment, copyObject((Node *) star->document), -1);
		/* in its place, as we are not told what points to it; a ParamRef is the smaller one */
		memcpy(node, document, sizeof(ParamRef));
		replacement->places = lappend_int(replacement->places, place);
		return false;
	}
	return replacement->refused || raw_expression_tree_walker(node, replace, replacement);
}

/* The raw form of an expression. */
static Node *
parse(const char *text)
{
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, raw_parser(text, RAW_PARSE_PLPGSQL_EXPR))->stmt);

	return linitial_node(ResTarget, select->targetList)->val;
}

/* The analysed form of an expression over the document, and as the statement writes it; NULL where it cannot stand there. */
static Node *
analyse(Star *star, const char *text, char **written)
{
	Replacement replacement = {star, text, NIL, false};
	Node	   *raw = parse(text);
	StringInfoData result;
	int			at = 0;
	ListCell   *cell;

	(void) replace(raw, &replacement);
	if (replacement.refused)
		return NULL;
	list_sort(replacement.places, compare_places);
	initStringInfo(&result);
	foreach(cell, replacement.places)
	{
		appendBinaryStringInfo(&result, text + at, lfirst_int(cell) - at);
		appendStringInfoString(&result, star->text);
		at = lfirst_int(cell) + strlen(DOCUMENT_NAME);
	}
	appendStringInfoString(&result, text + at);
	*written = result.data;
	return transformExpr(star->pstate, raw, EXPR_KIND_SELECT_TARGET);
}

/* document_get(document, 'a', ...) as a statement writes it; else the text itself. */
static const char *
plainer(const Star *star, const char *text, bool *primary)
{
	FuncCall   *get = (FuncCall *) parse(text);
	StringInfoData result;
	ListCell   *cell;

	*primary = false;
	if (!IsA(get, FuncCall) || strcmp(strVal(llast(get->funcname)), "document_get") != 0 || list_length(get->args) < 2 ||
		!IsA(linitial(get->args), ColumnRef))
		return text;
	for_each_from(cell, get->args, 1)
		if (!IsA(lfirst(cell), A_Const) || !IsA(&lfirst_node(A_Const, cell)->val, String))
			return text;
	*primary = true;
	/* with one step, a subscript means the same where no other spelling is tried */
	if (list_length(get->args) == 2 && !mcs_dialect_has_other_spelling(strVal(&lsecond_node(A_Const, get->args)->val)))
		return psprintf("%s[%s]", DOCUMENT_NAME, quote_literal_cstr(strVal(&lsecond_node(A_Const, get->args)->val)));
	initStringInfo(&result);
	appendStringInfo(&result, "%s(%s", mcs_dialect_function_name(star->fragment->namespace, "document_get"), DOCUMENT_NAME);
	for_each_from(cell, get->args, 1)
		appendStringInfo(&result, ", %s", quote_literal_cstr(strVal(&lfirst_node(A_Const, cell)->val)));
	appendStringInfoChar(&result, ')');
	return result.data;
}

/* An expression of a type as one of another, as the mirror's table has it. */
static char *
as_type(const Star *star, const char *text, bool primary, Oid from, Oid to, int32 typmod)
{
	Oid			document = star->fragment->document;
	const char *name = to == TIMESTAMPTZOID && typmod < 0 ? "timestamptz" : format_type_with_typemod(to, typmod);

	if (from == to && typmod < 0)
		return pstrdup(text);
	if (getBaseType(from) != document)
		return psprintf("(%s)::%s", text, name);
	/* a cast of a document to text would give JSON, in quotes */
	if (TypeCategory(getBaseType(to)) == TYPCATEGORY_STRING || !can_coerce_type(1, &document, &to, COERCION_EXPLICIT))
	{
		if (type_is_array(to))
			return psprintf(primary ? "%s::text[]::%s" : "(%s)::text[]::%s", text, name);
		text = psprintf("%s(%s)", mcs_dialect_function_name(star->fragment->namespace, "document_text"), text);
		return to == TEXTOID ? pstrdup(text) : psprintf("%s::%s", text, name);
	}
	return psprintf(primary ? "%s::%s" : "(%s)::%s", text, name);
}

/* ---- what may be taken from somebody else ---- */

static bool
is_unsafe_function(Oid function, void *context)
{
	char		volatility = func_volatile(function);

	if (mcs_extension_function(function) != NULL)
		return volatility == PROVOLATILE_VOLATILE;
	return function >= FirstNormalObjectId || volatility != PROVOLATILE_IMMUTABLE;
}

/* Whether an expression is able to run what somebody else has made. */
static bool
is_unsafe(Node *node, Star *star)
{
	Oid			type;

	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_unsafe_function, NULL))
		return true;
	/* a domain checks what it is given */
	if (!IsA(node, List))
	{
		type = exprType(node);
		if (type >= FirstNormalObjectId && type != star->fragment->document && get_element_type(type) != star->fragment->document)
			return true;
	}
	return expression_tree_walker(node, is_unsafe, star);
}

/* ---- columns ---- */

/* Takes a column; false where the mirror's table has none of its name, or its expression cannot stand here. */
static bool
take_column(Star *star, const MirrorFields *mirror, Oid table, const char *name, const char *expression)
{
	DialectStarColumn *column = palloc(sizeof(DialectStarColumn));
	AttrNumber	number = get_attnum(table, name);
	Oid			type;
	int32		typmod;
	Oid			collation;
	bool		primary;
	const char *text = plainer(star, expression, &primary);
	char	   *written;
	Node	   *value = analyse(star, text, &written);

	if (number == InvalidAttrNumber || !value)
		return false;
	get_atttypetypmodcoll(table, number, &type, &typmod, &collation);
	value = analyse(star, as_type(star, text, primary, exprType(value), type, typmod), &written);
	if (!value || exprType(value) != type || (!mirror->own && is_unsafe(value, star)))
		return false;
	column->name = pstrdup(name);
	column->text = written;
	column->value = value;
	star->columns = lappend(star->columns, column);
	return true;
}

/* Takes the columns of a mirror; false where one of them cannot be taken, and so none is. */
static bool
take_columns(Star *star, const MirrorFields *mirror)
{
	int			count;
	DialectToken *tokens = mcs_dialect_lex_text(mirror->columns, &count);
	Oid			table = RangeVarGetRelid(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(mirror->table))), NoLock, true);

	star->columns = NIL;
	if (!OidIsValid(table))
		return false;
	/* name = expression */
	for (int i = 0, end; i < count; i = end + 1)
	{
		end = mcs_dialect_find_token(tokens, i, count, ',');
		CHECK_FOR_INTERRUPTS();
		if (end - i < 3 || !tokens[i].value ||
			!take_column(star, mirror, table, tokens[i].value,
						 pnstrdup(mirror->columns + tokens[i + 2].at, mcs_dialect_token_end(&tokens[end - 1]) - tokens[i + 2].at)))
			return false;
	}
	return star->columns != NIL;
}

/* The mirrors that say which fields the documents of an origin have: List of MirrorFields, the likeliest first. */
List *
mcs_star_mirrors(const DocumentOrigin *origin)
{
	char	   *table = NULL;

	if (OidIsValid(origin->table))
		table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(origin->table)), get_rel_name(origin->table));
	return mcs_mirror_fields_seen(origin->stream, origin->server, origin->database, origin->collection, table);
}

/* In a subtransaction, as expressions of other surroundings may not be possible in these. */
static void
find_columns(void *arg)
{
	Star	   *star = arg;
	ListCell   *cell;

	foreach(cell, mcs_star_mirrors(star->origin))
		if (take_columns(star, lfirst(cell)))
			return;
	star->columns = NIL;
}

/* Whether a star stands where what it becomes is the result, and nothing names it as the document. */
static bool
is_outermost(const ParseState *pstate, const Fragment *fragment, const SelectStmt *select)
{
	/* an item of a list is not yet within an expression; lists of RETURNING have no SELECT */
	return pstate->parentParseState == NULL && pstate->p_expr_kind == EXPR_KIND_NONE && select && mcs_dialect_is_result(fragment);
}

/* The columns that document.* is, a List of DialectStarColumn; NIL where it is the document alone. */
List *
mcs_dialect_star_columns(ParseState *pstate, Fragment *fragment, const SelectStmt *select, Node *document, const char *text)
{
	DocumentOrigin origin;
	Star		star = {pstate, fragment, &origin, (Var *) document, text, NIL};
	ErrorData  *error;

	if (!is_outermost(pstate, fragment, select) || !IsA(document, Var) || exprType(document) != fragment->document || mcs_extension_is_old() ||
		!mcs_dialect_origin(pstate, fragment, select, star.document, &origin))
		return NIL;
	error = mcs_attempt(find_columns, &star);
	if (error)
		mcs_dialect_rethrow_urgent(error);
	return error ? NIL : star.columns;
}
