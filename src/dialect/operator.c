/*
 * dialect/operator.c
 *	  Operators over documents, read as a person would: a literal beside a
 *	  document is text, LIKE and || see plain text, and what has no operator
 *	  for documents takes the value as the type it has one for.
 *
 * patch_operator decides by the operator's name; IN, BETWEEN, ANY and CONTAINS
 * have functions of their own, which mcs_dialect_transform_operator chooses.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_oper.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* An operand, and what is known of it. */
typedef struct Operand
{
	Node	  **slot;
	Node	   *raw;
	Node	   *expression;		/* NULL: stays raw */
	Oid			type;
	bool		document;
	bool		literal;
} Operand;

/* Analyses an operand, and notes what it was and is. */
static Operand
analyse_operand(ParseState *pstate, Node **slot)
{
	Fragment   *fragment = mcs_dialect_current;
	Operand		operand = {slot, *slot, NULL, InvalidOid, false, false};

	operand.literal = mcs_dialect_is_literal(fragment, *slot);
	operand.expression = mcs_dialect_transform_operand(pstate, slot);
	operand.type = operand.expression ? exprType(operand.expression) : InvalidOid;
	operand.document = operand.type == fragment->document;
	return operand;
}

/* Puts another expression in the place of an operand. */
static void
replace_operand(Operand *operand, Node *expression)
{
	operand->expression = expression;
	operand->type = exprType(expression);
	operand->document = operand->type == mcs_dialect_current->document;
	operand->literal = false;
	*operand->slot = mcs_dialect_analysed_param(mcs_dialect_current, expression, -1);
}

/* Gives an operand that is an untyped literal a type. */
static void
type_literal(ParseState *pstate, Operand *operand, const char *type)
{
	Node	   *literal = NULL;

	mcs_dialect_type_literal(mcs_dialect_current, operand->raw, &literal, type);
	replace_operand(operand, transformExpr(pstate, literal, pstate->p_expr_kind));
}

/* Casts an operand that is a document, in the text and in the tree. */
static void
cast_operand(ParseState *pstate, Operand *operand, Oid type)
{
	replace_operand(operand, mcs_dialect_cast_document(pstate, operand->raw, operand->expression, type));
}

/*
 * Whether the session finds an operator for two types; left is invalid for prefix
 * operators.  By PostgreSQL's own rules, so one counts whose operands are cast
 * implicitly, as it would in the text that is made.
 */
static bool
operator_exists(ParseState *pstate, List *name, Oid left, Oid right)
{
	Operator	found;

	found = OidIsValid(left) ? oper(pstate, name, left, right, true, -1) : left_oper(pstate, name, right, true, -1);
	if (!found)
		return false;
	ReleaseSysCache(found);
	return true;
}

/* Whether a name is one of some; the list ends with NULL. */
static bool
is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

/* Whether an operator compares. */
static bool
is_comparison(const char *name)
{
	static const char *const names[] = {"=", "<>", "<", "<=", ">", ">=", NULL};

	return is_one_of(name, names);
}

/* Where the session does not find the operator, but the extension has it: OPERATOR(schema.=). */
static bool
qualify(ParseState *pstate, A_Expr *e, Oid left, Oid right)
{
	Fragment   *fragment = mcs_dialect_current;
	char	   *schema = get_namespace_name(fragment->namespace);
	List	   *name = list_make2(makeString(schema), llast(e->name));
	DialectToken *token = &fragment->tokens[mcs_dialect_token_at(fragment, e->location)];

	/* LIKE, IN and the like have no place where a schema could stand */
	if (list_length(e->name) != 1 || (e->kind != AEXPR_OP && e->kind != AEXPR_OP_ANY && e->kind != AEXPR_OP_ALL) || !operator_exists(pstate, name, left, right))
		return false;
	/* one without a place is written by who has made it */
	if (e->location >= 0)
		mcs_dialect_edit(fragment, EDIT_REPLACE, token->at, mcs_dialect_token_end(token),
						 psprintf("OPERATOR(%s.%s)", quote_identifier(schema), strVal(llast(e->name))));
	e->name = name;
	return true;
}

/* Whether there is an operator for two types, maybe by naming the extension's schema. */
static bool
find_operator(ParseState *pstate, A_Expr *e, Oid left, Oid right)
{
	return operator_exists(pstate, e->name, left, right) || qualify(pstate, e, left, right);
}

/* Whether a literal could be a number. */
static bool
is_number(const char *text)
{
	while (isspace((unsigned char) *text))
		text++;
	return *text && strspn(text, "0123456789+-.eE \t\n") == strlen(text);
}

/* Gives a literal that is compared with a document its type, and notes it if a number may be meant. */
static void
compared_literal(ParseState *pstate, Operand *operand)
{
	Fragment   *fragment = mcs_dialect_current;
	const char *text = strVal(&((A_Const *) mcs_dialect_original(fragment, operand->raw))->val);

	/* one with a digit, that is neither a date nor an ObjectId */
	if (is_number(text) && strpbrk(text, "0123456789") && !mcs_either_is_meant(fragment, operand->raw, InvalidOid))
		fragment->number_literals = list_append_unique(fragment->number_literals, makeString(pstrdup(text)));
	type_literal(pstate, operand, "text");
}

/* Compares a document with anything. */
static void
comparison(ParseState *pstate, A_Expr *e, Operand *left, Operand *right)
{
	Operand	   *other = left->document ? right : left;

	if (left->document && right->document)
		other = NULL;
	/* d = 'shipped': a text, not JSON */
	else if (other->literal)
		compared_literal(pstate, other);
	if (!left->expression || !right->expression || find_operator(pstate, e, left->type, right->type) || !other)
		return;
	/* no operator for the two types: both as documents, which have all comparisons */
	replace_operand(other, mcs_dialect_as_document(pstate, other->raw, other->expression));
	/* for its schema; whether it is there, the analysis of the whole says */
	(void) find_operator(pstate, e, left->type, right->type);
}

/* a || b with plain text of documents, unless the other side is of a kind that has its own || */
static void
concatenation(ParseState *pstate, Operand *left, Operand *right)
{
	Operand	   *other = left->document ? right : left;
	Oid			type = TEXTOID;

	/* jsonb || jsonb joins objects; a document beside it is meant as one */
	if (!other->document && other->type == JSONBOID)
		type = JSONBOID;
	if (left->document)
		cast_operand(pstate, left, type);
	if (right->document)
		cast_operand(pstate, right, type);
}

/* d + '1 day' */
static void
arithmetic_literal(ParseState *pstate, const char *name, Operand *operand)
{
	A_Const    *literal = (A_Const *) mcs_dialect_original(mcs_dialect_current, operand->raw);

	/* what looks like a number stays untyped, so that the operator may choose */
	if (!is_number(strVal(&literal->val)) && (strcmp(name, "+") == 0 || strcmp(name, "-") == 0))
		type_literal(pstate, operand, "interval");
}

/* Casts the documents of an operator that has none for documents to what it has one for. */
static void
cast_to_fit(ParseState *pstate, A_Expr *e, Operand *left, Operand *right)
{
	for (const Oid *type = mcs_dialect_cast_types; OidIsValid(*type); type++)
	{
		Oid			l = left ? (left->document ? *type : left->type) : InvalidOid;
		Oid			r = right->document ? *type : right->type;

		/* these types are PostgreSQL's, whose operators need no schema in front */
		if (!operator_exists(pstate, e->name, l, r))
			continue;
		if (left && left->document)
			cast_operand(pstate, left, *type);
		if (right->document)
			cast_operand(pstate, right, *type);
		return;
	}
}

/* LIKE, regular expressions */
static bool
is_text_operator(const char *name)
{
	static const char *const names[] = {"~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*", "^@", NULL};

	return is_one_of(name, names);
}

/* Makes the operands fit their operator, if one of them is a document. */
static void
patch_operator(ParseState *pstate, A_Expr *e, Operand *left, Operand *right)
{
	static const char *const arithmetic[] = {"+", "-", "*", "/", NULL};
	const char *name = strVal(llast(e->name));

	if (!left->document && !right->document)
		return;
	if (is_comparison(name))
		comparison(pstate, e, left, right);
	else if (strcmp(name, "||") == 0)
		concatenation(pstate, left, right);
	else if (is_text_operator(name))
	{
		if (left->document)
			cast_operand(pstate, left, TEXTOID);
		if (right->document)
			cast_operand(pstate, right, TEXTOID);
	}
	else
	{
		if (is_one_of(name, arithmetic) && (left->literal || right->literal))
			arithmetic_literal(pstate, name, left->literal ? left : right);
		if (left->expression && right->expression && !find_operator(pstate, e, left->type, right->type))
			cast_to_fit(pstate, e, left, right);
	}
}

/*
 * Makes the operands of a comparison fit that is not in the text; returns how its
 * operator is to be written there.  The left operand is analysed already.
 */
const char *
mcs_dialect_fit_comparison(ParseState *pstate, A_Expr *e, Node *left_raw)
{
	Operand		left = analyse_operand(pstate, &e->lexpr);
	Operand		right = analyse_operand(pstate, &e->rexpr);

	left.raw = left_raw;
	left.literal = mcs_dialect_is_literal(mcs_dialect_current, left_raw);
	patch_operator(pstate, e, &left, &right);
	if (list_length(e->name) == 1)
		return strVal(linitial(e->name));
	return psprintf("OPERATOR(%s.%s)", quote_identifier(strVal(linitial(e->name))), strVal(llast(e->name)));
}

/* Two rows are compared field by field. */
static void
unify_rows(ParseState *pstate, A_Expr *e, RowExpr *left, RowExpr *right)
{
	ListCell   *l;
	ListCell   *r;

	forboth(l, left->args, r, right->args)
	{
		Operand		a = analyse_operand(pstate, (Node **) &lfirst(l));
		Operand		b = analyse_operand(pstate, (Node **) &lfirst(r));

		/* the fields of rows are compared by one operator class */
		if (a.document && b.expression && !b.document)
			replace_operand(&b, mcs_dialect_as_document(pstate, b.raw, b.expression));
		else if (b.document && a.expression && !a.document)
			replace_operand(&a, mcs_dialect_as_document(pstate, a.raw, a.expression));
		/* for its schema; it is one operator for all of them */
		if (a.document && b.document)
			(void) find_operator(pstate, e, a.type, b.type);
	}
}

/* x IN (a, b), x BETWEEN a AND b: like comparisons with each; not NULL where it is analysed already. */
static Node *
transform_list(ParseState *pstate, A_Expr *e)
{
	Operand		left;
	bool		any = false;
	List	   *operands = NIL;
	List	   *others = NIL;
	ListCell   *cell;

	/* (a, b) IN ((1, 2), ...) */
	if (e->lexpr && IsA(e->lexpr, RowExpr))
	{
		foreach(cell, (List *) e->rexpr)
			if (IsA(lfirst(cell), RowExpr))
				unify_rows(pstate, e, (RowExpr *) e->lexpr, lfirst(cell));
		return NULL;
	}
	left = analyse_operand(pstate, &e->lexpr);
	/* before the ends are analysed, which would leave ParamRefs where the literals are */
	if (left.document && e->kind != AEXPR_IN && mcs_either_is_date(mcs_dialect_current, linitial((List *) e->rexpr)) &&
		mcs_either_is_date(mcs_dialect_current, lsecond((List *) e->rexpr)))
		return mcs_either_between_dates(pstate, e);
	foreach(cell, (List *) e->rexpr)
	{
		Operand	   *operand = palloc(sizeof(Operand));

		*operand = analyse_operand(pstate, (Node **) &lfirst(cell));
		any |= operand->document;
		operands = lappend(operands, operand);
	}
	/* d IN ('65f0...') */
	if (left.document && e->kind == AEXPR_IN)
		foreach(cell, operands)
			others = lappend(others, mcs_either_in_list(((Operand *) lfirst(cell))->raw));
	/* 'x' IN (d.a, d.b) */
	if (any && left.literal)
		type_literal(pstate, &left, "text");
	foreach(cell, operands)
	{
		Operand	   *operand = lfirst(cell);

		if (left.document && operand->literal)
			compared_literal(pstate, operand);
		if (!operand->expression || !left.expression || left.document == operand->document || operand->type == UNKNOWNOID)
			continue;
		if (left.document && !operator_exists(pstate, list_make1(makeString("=")), left.type, operand->type))
			replace_operand(operand, mcs_dialect_as_document(pstate, operand->raw, operand->expression));
	}
	foreach(cell, others)
		if (lfirst(cell))
			e->rexpr = (Node *) lappend((List *) e->rexpr, lfirst(cell));
	return NULL;
}

/* x = ANY (array): a document may be the element, or the array */
static void
transform_array(ParseState *pstate, A_Expr *e)
{
	Operand		left = analyse_operand(pstate, &e->lexpr);
	Operand		right = analyse_operand(pstate, &e->rexpr);
	int			from;
	int			to;
	Fragment   *fragment = mcs_dialect_current;

	/* d = ANY ('{a,b}'): an array of texts */
	if (left.document && right.literal && mcs_dialect_extent(fragment, right.raw, &from, &to))
	{
		mcs_dialect_edit(fragment, EDIT_CLOSE, to, to, "::text[]");
		replace_operand(&right, coerce_to_target_type(pstate, right.expression, UNKNOWNOID, TEXTARRAYOID, -1, COERCION_EXPLICIT,
												   COERCE_EXPLICIT_CAST, -1));
	}
	if (left.document && is_text_operator(strVal(llast(e->name))))
		cast_operand(pstate, &left, TEXTOID);
	if (!right.document || !mcs_dialect_extent(fragment, right.raw, &from, &to))
	{
		if (left.document && right.expression && OidIsValid(get_element_type(right.type)))
			(void) find_operator(pstate, e, left.type, get_element_type(right.type));
		return;
	}
	if (left.literal)
		type_literal(pstate, &left, "text");
	mcs_dialect_wrap(fragment, from, to, psprintf("ARRAY(SELECT %s(", mcs_dialect_function_name(fragment->namespace, "document_elements")), "))");
	/* for the analysis an array of documents is enough, whatever is in it */
	replace_operand(&right, (Node *) makeNullConst(get_array_type(fragment->document), -1, InvalidOid));
	if (left.expression)
		(void) find_operator(pstate, e, left.type, fragment->document);
}

/* Whether nothing but blanks stands between a token and the next. */
static bool
only_blanks(const Fragment *fragment, int i)
{
	for (int at = mcs_dialect_token_end(&fragment->tokens[i]); at < fragment->tokens[i + 1].at; at++)
		if (!isspace((unsigned char) fragment->text[at]))
			return false;
	return true;
}

/* changed_fields CONTAINS 'a.b', document CONTAINS value */
static Node *
contains(ParseState *pstate, A_Expr *e, bool negated)
{
	Fragment   *fragment = mcs_dialect_current;
	int			i = mcs_dialect_token_at(fragment, e->location);
	Operand		left = analyse_operand(pstate, &e->lexpr);
	Operand		right = analyse_operand(pstate, &e->rexpr);
	DialectToken *word = &fragment->tokens[i];
	int			before = i - (negated ? 2 : 1);
	int			from;
	int			end;
	const char *function = "change_stream_wrote";
	FuncCall   *call;

	if (left.document)
	{
		function = "document_contains";
		replace_operand(&right, mcs_dialect_as_document(pstate, right.raw, right.expression));
	}
	else if (left.type != TEXTARRAYOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("CONTAINS needs changed_fields or a document on its left, not a value of type %s",
						left.expression ? format_type_be(left.type) : "record"),
				 mcs_dialect_error_at(fragment, word->at)));
	else if (right.document)
		cast_operand(pstate, &right, TEXTOID);
	/* a CONTAINS b becomes f(a, b) */
	if (!mcs_dialect_operator_extent(fragment, left.raw, right.raw, before, i + 1, &from, &end))
		elog(ERROR, "an operand of CONTAINS has no place");
	mcs_dialect_wrap(fragment, from, end, psprintf("%s%s(", negated ? "(NOT " : "", mcs_dialect_function_name(fragment->namespace, function)),
					 negated ? "))" : ")");
	if (negated)
		mcs_dialect_remove_tokens(fragment, i - 1, i);
	/* the blank in front goes, the one behind stays: changed_fields, 'status' */
	mcs_dialect_edit(fragment, EDIT_REPLACE, only_blanks(fragment, before) ? mcs_dialect_token_end(&fragment->tokens[before]) : word->at,
					 mcs_dialect_token_end(word), ",");
	call = makeFuncCall(list_make2(makeString(get_namespace_name(fragment->namespace)), makeString(pstrdup(function))),
						list_make2(*left.slot, *right.slot), COERCE_EXPLICIT_CALL, -1);
	if (negated)
		return transformExpr(pstate, (Node *) makeBoolExpr(NOT_EXPR, list_make1(call), -1), pstate->p_expr_kind);
	return transformExpr(pstate, (Node *) call, pstate->p_expr_kind);
}

/* Analyses an operator whose operands may be documents. */
Node *
mcs_dialect_transform_operator(ParseState *pstate, A_Expr *e)
{
	const char *name = e->name ? strVal(llast(e->name)) : "";
	Operand		left = {0};
	Operand		right = {0};
	bool		either;
	bool		document_left;
	Node	   *result;

	if (e->kind == AEXPR_OP && (strcmp(name, DIALECT_CONTAINS) == 0 || strcmp(name, DIALECT_NOT_CONTAINS) == 0))
		return contains(pstate, e, strcmp(name, DIALECT_NOT_CONTAINS) == 0);
	switch (e->kind)
	{
		case AEXPR_IN:
		case AEXPR_BETWEEN:
		case AEXPR_NOT_BETWEEN:
		case AEXPR_BETWEEN_SYM:
		case AEXPR_NOT_BETWEEN_SYM:
			result = transform_list(pstate, e);
			if (result)
				return result;
			break;
		case AEXPR_OP_ANY:
		case AEXPR_OP_ALL:
			transform_array(pstate, e);
			break;
		default:
			if (e->lexpr && e->rexpr && IsA(e->lexpr, RowExpr) && IsA(e->rexpr, RowExpr))
			{
				unify_rows(pstate, e, (RowExpr *) e->lexpr, (RowExpr *) e->rexpr);
				break;
			}
			/* a postfix operator, which PostgreSQL itself refuses */
			if (!e->rexpr)
				break;
			if (e->lexpr && IsA(e->lexpr, RowExpr) && IsA(mcs_dialect_original(mcs_dialect_current, e->rexpr), SubLink))
			{
				/* (a, b) = (SELECT ...): analysis looks for this pair */
				e->rexpr = copyObject(mcs_dialect_original(mcs_dialect_current, e->rexpr));
				break;
			}
			if (!e->lexpr)
			{
				right = analyse_operand(pstate, &e->rexpr);
				if (right.document && !operator_exists(pstate, e->name, InvalidOid, right.type))
					cast_to_fit(pstate, e, NULL, &right);
				break;
			}
			left = analyse_operand(pstate, &e->lexpr);
			right = analyse_operand(pstate, &e->rexpr);
			/* to be known before the literal is given a type */
			either = e->kind == AEXPR_OP && list_length(e->name) == 1 && is_comparison(name) && left.document != right.document &&
				mcs_either_is_meant(mcs_dialect_current, left.document ? right.raw : left.raw, left.document ? right.type : left.type);
			document_left = left.document;
			patch_operator(pstate, e, &left, &right);
			if (either && list_length(e->name) == 1 && (result = mcs_either_compare(pstate, e, left.raw, right.raw, document_left)) != NULL)
				return result;
	}
	/* in place of the operands are ParamRefs now, for which the hook gives back what they were analysed to */
	return transformExpr(pstate, (Node *) e, pstate->p_expr_kind);
}
