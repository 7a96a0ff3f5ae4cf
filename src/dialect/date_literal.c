/*
 * dialect/date_literal.c
 *	  A document beside a literal that is a date.
 *
 * MongoDB's documents hold dates as BSON's dates or as texts, and the literal
 * does not say which.  So both are compared, and the one of the other kind is
 * not true.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"

/* Whether a literal is a date, or a date and a time: 2024-05-01, 2024-05-01T12:00:00Z */
bool
mcs_dialect_is_date(const Fragment *fragment, Node *raw)
{
	static const char form[] = "0000-00-00";
	A_Const    *literal = (A_Const *) mcs_dialect_original(fragment, raw);
	const char *text;

	if (!mcs_dialect_is_literal(fragment, raw))
		return false;
	text = strVal(&literal->val);
	for (int i = 0; form[i]; i++)
		if (form[i] == '0' ? !isdigit((unsigned char) text[i]) : text[i] != form[i])
			return false;
	/* what no calendar has would raise an error when it is cast; as a text it is just not found */
	if (atoi(text + 5) < 1 || atoi(text + 5) > 12 || atoi(text + 8) < 1 || atoi(text + 8) > 31)
		return false;
	text += strlen(form);
	return *text == '\0' ||
		((*text == ' ' || *text == 'T') && isdigit((unsigned char) text[1]) && strspn(text + 1, "0123456789:.+-Z ") == strlen(text + 1));
}

/* Adds a literal as a time to the pieces of the text, and puts it into the tree. */
static List *
as_time(List *pieces, Node *raw, Node **slot)
{
	Fragment   *fragment = mcs_dialect_current;
	A_Const    *literal = (A_Const *) mcs_dialect_original(fragment, raw);
	DialectToken *token = &fragment->tokens[mcs_dialect_token_at(fragment, literal->location)];
	TypeCast   *cast = makeNode(TypeCast);

	cast->arg = copyObject((Node *) literal);
	cast->typeName = SystemTypeName("timestamptz");
	cast->location = -1;
	*slot = (Node *) cast;
	return lappend(pieces, mcs_dialect_text_piece(psprintf("timestamptz %.*s", token->length, fragment->text + token->at)));
}

/*
 * A comparison of which one operand is a document, the other a date; NULL where
 * the text does not show where the operands end.
 */
Node *
mcs_dialect_compare_as_date(ParseState *pstate, A_Expr *e, Node *left, Node *right)
{
	Fragment   *fragment = mcs_dialect_current;
	bool		both = strcmp(strVal(llast(e->name)), "<>") == 0;
	int			i = mcs_dialect_token_at(fragment, e->location);
	DialectToken *token = &fragment->tokens[i];
	A_Expr	   *time = copyObject(e);
	List	   *pieces = list_make1(mcs_dialect_text_piece(both ? " AND " : " OR "));
	Node	   *document = mcs_dialect_is_date(fragment, left) ? right : left;
	int			from;
	int			to;
	int			end;
	int			first;

	/* (d > '2024-05-01' OR d > timestamptz '2024-05-01'), with the document's text as it becomes */
	if (!mcs_dialect_operator_extent(fragment, left, right, i - 1, i + 1, &from, &end))
		return NULL;
	first = document == left ? from : mcs_dialect_token_end(token);
	to = document == left ? fragment->tokens[i].at : end;
	if (document == left)
	{
		pieces = lappend(pieces, mcs_dialect_range_piece(first, to));
		pieces = lappend(pieces, mcs_dialect_text_piece(psprintf("%.*s ", token->length, fragment->text + token->at)));
		pieces = as_time(pieces, right, &time->rexpr);
	}
	else
	{
		pieces = as_time(pieces, left, &time->lexpr);
		pieces = lappend(pieces, mcs_dialect_text_piece(psprintf(" %.*s", token->length, fragment->text + token->at)));
		pieces = lappend(pieces, mcs_dialect_range_piece(first, to));
	}
	pieces = lappend(pieces, mcs_dialect_text_piece(")"));
	mcs_dialect_edit_pieces(fragment, EDIT_CLOSE, end, end, pieces);
	mcs_dialect_edit(fragment, EDIT_OPEN, from, from, "(");
	/* unequal is what is unequal as either */
	return transformExpr(pstate, (Node *) makeBoolExpr(both ? AND_EXPR : OR_EXPR, list_make2(e, time), -1), pstate->p_expr_kind);
}

/* d BETWEEN '2024-05-01' AND '2024-05-31': as text, or as times */
Node *
mcs_dialect_between_dates(ParseState *pstate, A_Expr *e)
{
	Fragment   *fragment = mcs_dialect_current;
	A_Expr	   *time = copyObject(e);
	List	   *ends = (List *) e->rexpr;
	List	   *times = (List *) time->rexpr;
	List	   *pieces;
	A_Const    *low = (A_Const *) mcs_dialect_original(fragment, linitial(ends));
	A_Const    *high = (A_Const *) mcs_dialect_original(fragment, lsecond(ends));
	int			from;
	int			to;

	/* (d BETWEEN text '...' AND text '...' OR d BETWEEN timestamptz '...' AND timestamptz '...') */
	if (!mcs_dialect_extent(fragment, (Node *) e, &from, &to))
		return NULL;
	/* up to the first date: d BETWEEN */
	pieces = list_make2(mcs_dialect_text_piece(" OR "), mcs_dialect_range_piece(from, low->location));
	pieces = as_time(pieces, (Node *) low, (Node **) &linitial(times));
	pieces = lappend(pieces, mcs_dialect_text_piece(" AND "));
	pieces = as_time(pieces, (Node *) high, (Node **) &lsecond(times));
	pieces = lappend(pieces, mcs_dialect_text_piece(")"));
	mcs_dialect_type_literal(fragment, (Node *) low, (Node **) &linitial(ends), "text");
	mcs_dialect_type_literal(fragment, (Node *) high, (Node **) &lsecond(ends), "text");
	mcs_dialect_edit_pieces(fragment, EDIT_CLOSE, to, to, pieces);
	mcs_dialect_edit(fragment, EDIT_OPEN, from, from, "(");
	return transformExpr(pstate, (Node *) makeBoolExpr(OR_EXPR, list_make2(e, time), -1), pstate->p_expr_kind);
}
