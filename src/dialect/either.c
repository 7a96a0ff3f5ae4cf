/*
 * dialect/either.c
 *	  A document beside a value that may be meant as another kind.
 *
 * MongoDB's documents hold dates as BSON's dates or as texts, and an ObjectId or
 * a UUID as such or as its text; a literal does not say which.  So both are
 * compared, and the one of the other kind is not true.  A parameter of type text
 * may hold an ObjectId or a UUID, too, which is seen only when it runs.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* So deep may comparisons stand in each other. */
#define MAX_NESTED 8

/* Whether a text is as a form says: 0 a digit, h a hexadecimal one, any other character itself. */
static bool
begins_with(const char *text, const char *form)
{
	for (; *form; form++, text++)
		if (*form == '0' ? !isdigit((unsigned char) *text) : *form == 'h' ? !isxdigit((unsigned char) *text) : *text != *form)
			return false;
	return true;
}

/* Whether a text is a date, or a date and a time: 2024-05-01, 2024-05-01T12:00:00Z */
static bool
is_date(const char *text)
{
	static const char form[] = "0000-00-00";

	if (!begins_with(text, form))
		return false;
	/* what no calendar has would raise an error when it is cast; as a text it is just not found */
	if (atoi(text + 5) < 1 || atoi(text + 5) > 12 || atoi(text + 8) < 1 || atoi(text + 8) > 31)
		return false;
	text += strlen(form);
	return *text == '\0' ||
		((*text == ' ' || *text == 'T') && isdigit((unsigned char) text[1]) && strspn(text + 1, "0123456789:.+-Z ") == strlen(text + 1));
}

/* The key of Extended JSON for a text that is an ObjectId or a UUID; NULL: neither. */
static const char *
id_key(const char *text)
{
	static const char object_id[] = "hhhhhhhhhhhhhhhhhhhhhhhh";
	static const char uuid[] = "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh";

	if (strlen(text) == strlen(object_id) && begins_with(text, object_id))
		return "$oid";
	return strlen(text) == strlen(uuid) && begins_with(text, uuid) ? "$uuid" : NULL;
}

/* The text of a literal without a type; NULL for all else. */
static const char *
literal_text(const Fragment *fragment, Node *raw)
{
	if (!raw || !mcs_dialect_is_literal(fragment, raw))
		return NULL;
	return strVal(&((A_Const *) mcs_dialect_original(fragment, raw))->val);
}

/* Whether a raw node is a literal that is a date. */
bool
mcs_either_is_date(const Fragment *fragment, Node *raw)
{
	const char *text = literal_text(fragment, raw);

	return text && is_date(text);
}

/* Whether a raw node is a parameter that a text is given for: $1::text, or $1 of PREPARE p(text). */
static bool
is_text_parameter(const Fragment *fragment, Node *raw, Oid type)
{
	if (type != TEXTOID && type != VARCHAROID)
		return false;
	raw = mcs_dialect_original(fragment, raw);
	if (raw && IsA(raw, TypeCast))
		raw = mcs_dialect_original(fragment, ((TypeCast *) raw)->arg);
	return raw && IsA(raw, ParamRef);
}

/* Whether an operand, which is of a type, may be meant as another kind than text. */
bool
mcs_either_is_meant(const Fragment *fragment, Node *raw, Oid type)
{
	const char *text = literal_text(fragment, raw);

	return text ? is_date(text) || id_key(text) : is_text_parameter(fragment, raw, type);
}

/* How deep comparisons of this kind stand in an expression. */
typedef struct Depth
{
	const Fragment *fragment;
	int			here;			/* around the node */
	int			most;
} Depth;

static bool
measure(Node *node, Depth *depth)
{
	Depth		inner = *depth;
	A_Expr	   *e;

	if (node == NULL)
		return false;
	node = mcs_dialect_original(depth->fragment, node);
	e = (A_Expr *) node;
	if (IsA(node, A_Expr) && (literal_text(depth->fragment, e->lexpr) || literal_text(depth->fragment, e->rexpr) || e->kind == AEXPR_BETWEEN))
		inner.here++;
	inner.most = Max(inner.most, inner.here);
	/* behind the bound it does not matter how far */
	if (inner.most <= MAX_NESTED)
		(void) raw_expression_tree_walker(node, measure, &inner);
	depth->most = Max(depth->most, inner.most);
	return false;
}

/*
 * Refuses comparisons within each other, of which each repeats the one within: text
 * and tree are twice as large with each level, and PostgreSQL walks through a tree
 * without a look at who cancels.
 */
static void
check_depth(const Fragment *fragment, Node *document)
{
	Depth		depth = {fragment, 0, 0};

	(void) measure(document, &depth);
	if (depth.most > MAX_NESTED)
		mcs_dialect_too_long();
}

/* A cast of a text, in the tree. */
static Node *
cast_text(const char *text, TypeName *type)
{
	A_Const    *value = makeNode(A_Const);
	TypeCast   *cast = makeNode(TypeCast);

	value->val.sval.type = T_String;
	value->val.sval.sval = pstrdup(text);
	value->location = -1;
	cast->arg = (Node *) value;
	cast->typeName = type;
	cast->location = -1;
	return (Node *) cast;
}

/* Adds an operand as the other kind to the pieces of the text, and puts it into the tree. */
static List *
as_other(List *pieces, Node *raw, Node **slot)
{
	Fragment   *fragment = mcs_dialect_current;
	const char *text = literal_text(fragment, raw);
	DialectToken *token;
	char	   *json;
	int			from;
	int			to;

	if (!text)
	{
		/* what it is, the function sees when it runs */
		*slot = (Node *) makeFuncCall(list_make2(makeString(get_namespace_name(fragment->namespace)), makeString("document_id")),
									  list_make1(*slot), COERCE_EXPLICIT_CALL, -1);
		if (!mcs_dialect_extent(fragment, raw, &from, &to))
			return pieces;
		pieces = lappend(pieces, mcs_dialect_text_piece(psprintf("%s(", mcs_dialect_function_name(fragment->namespace, "document_id"))));
		pieces = lappend(pieces, mcs_dialect_range_piece(from, to));
		return lappend(pieces, mcs_dialect_text_piece(")"));
	}
	if (is_date(text))
	{
		token = &fragment->tokens[mcs_dialect_token_at(fragment, ((A_Const *) mcs_dialect_original(fragment, raw))->location)];
		*slot = cast_text(text, SystemTypeName("timestamptz"));
		return lappend(pieces, mcs_dialect_text_piece(psprintf("timestamptz %.*s", token->length, fragment->text + token->at)));
	}
	/* hexadecimal digits and hyphens, which need no escapes */
	json = psprintf("{\"%s\": \"%s\"}", id_key(text), text);
	*slot = cast_text(json, makeTypeNameFromOid(fragment->document, -1));
	return lappend(pieces, mcs_dialect_text_piece(psprintf("%s '%s'", TypeIsVisible(fragment->document) ? "document" :
														   quote_qualified_identifier(get_namespace_name(fragment->namespace), "document"), json)));
}

/* x IN ('65f0...'): the literal as the other kind, behind it in the list; NULL where it is none. */
Node *
mcs_either_in_list(Node *raw)
{
	Fragment   *fragment = mcs_dialect_current;
	List	   *pieces = list_make1(mcs_dialect_text_piece(", "));
	Node	   *other = raw;
	int			from;
	int			to;

	if (!literal_text(fragment, raw) || !mcs_either_is_meant(fragment, raw, InvalidOid) || !mcs_dialect_extent(fragment, raw, &from, &to))
		return NULL;
	pieces = as_other(pieces, raw, &other);
	mcs_dialect_edit_pieces(fragment, EDIT_CLOSE, to, to, pieces);
	return other;
}

/*
 * A comparison of which one operand is a document, the other one that may be meant
 * as another kind; NULL where the text does not show where the operands end.
 */
Node *
mcs_either_compare(ParseState *pstate, A_Expr *e, Node *left, Node *right, bool document_left)
{
	Fragment   *fragment = mcs_dialect_current;
	bool		both = strcmp(strVal(llast(e->name)), "<>") == 0;
	int			i = mcs_dialect_token_at(fragment, e->location);
	DialectToken *token = &fragment->tokens[i];
	A_Expr	   *other = copyObject(e);
	List	   *pieces = list_make1(mcs_dialect_text_piece(both ? " AND " : " OR "));
	int			from;
	int			to;
	int			end;
	int			first;

	/* (d > '2024-05-01' OR d > timestamptz '2024-05-01'), with the document's text as it becomes */
	if (!mcs_dialect_operator_extent(fragment, left, right, i - 1, i + 1, &from, &end))
		return NULL;
	first = document_left ? from : mcs_dialect_token_end(token);
	to = document_left ? fragment->tokens[i].at : end;
	if (document_left)
	{
		pieces = lappend(pieces, mcs_dialect_range_piece(first, to));
		pieces = lappend(pieces, mcs_dialect_text_piece(psprintf("%.*s ", token->length, fragment->text + token->at)));
		pieces = as_other(pieces, right, &other->rexpr);
	}
	else
	{
		pieces = as_other(pieces, left, &other->lexpr);
		pieces = lappend(pieces, mcs_dialect_text_piece(psprintf(" %.*s", token->length, fragment->text + token->at)));
		pieces = lappend(pieces, mcs_dialect_range_piece(first, to));
	}
	check_depth(fragment, document_left ? left : right);
	pieces = lappend(pieces, mcs_dialect_text_piece(")"));
	mcs_dialect_edit_pieces(fragment, EDIT_CLOSE, end, end, pieces);
	mcs_dialect_edit(fragment, EDIT_OPEN, from, from, "(");
	/* unequal is what is unequal as either */
	return transformExpr(pstate, (Node *) makeBoolExpr(both ? AND_EXPR : OR_EXPR, list_make2(e, other), -1), pstate->p_expr_kind);
}

/* d BETWEEN '2024-05-01' AND '2024-05-31': as text, or as times */
Node *
mcs_either_between_dates(ParseState *pstate, A_Expr *e)
{
	Fragment   *fragment = mcs_dialect_current;
	A_Expr	   *time = copyObject(e);
	List	   *ends = (List *) e->rexpr;
	List	   *times = (List *) time->rexpr;
	List	   *pieces;
	A_Const    *low = (A_Const *) mcs_dialect_original(fragment, linitial(ends));
	A_Const    *high = (A_Const *) mcs_dialect_original(fragment, lsecond(ends));
	int			dates = 0;
	int			from;
	int			to;

	/* (d BETWEEN text '...' AND text '...' OR d BETWEEN timestamptz '...' AND timestamptz '...') */
	if (!mcs_dialect_extent(fragment, (Node *) e, &from, &to))
		return NULL;
	/* its operand is analysed, so what is in it is seen in the text; two dates each */
	for (int i = mcs_dialect_token_at(fragment, from); fragment->tokens[i].at < low->location; i++)
		dates += fragment->tokens[i].type == TOKEN_STRING && is_date(fragment->tokens[i].value);
	if (dates > 2 * MAX_NESTED)
		mcs_dialect_too_long();
	/* up to the first date: d BETWEEN */
	pieces = list_make2(mcs_dialect_text_piece(" OR "), mcs_dialect_range_piece(from, low->location));
	pieces = as_other(pieces, (Node *) low, (Node **) &linitial(times));
	pieces = lappend(pieces, mcs_dialect_text_piece(" AND "));
	pieces = as_other(pieces, (Node *) high, (Node **) &lsecond(times));
	pieces = lappend(pieces, mcs_dialect_text_piece(")"));
	mcs_dialect_type_literal(fragment, (Node *) low, (Node **) &linitial(ends), "text");
	mcs_dialect_type_literal(fragment, (Node *) high, (Node **) &lsecond(ends), "text");
	mcs_dialect_edit_pieces(fragment, EDIT_CLOSE, to, to, pieces);
	mcs_dialect_edit(fragment, EDIT_OPEN, from, from, "(");
	return transformExpr(pstate, (Node *) makeBoolExpr(OR_EXPR, list_make2(e, time), -1), pstate->p_expr_kind);
}
