/*
 * dialect/shown.c
 *	  Documents in rows that a client is sent: plain text, as people read it.
 *
 * A document's own text is Extended JSON, with quotes around "paid".  In DO it is
 * the receiver that makes plain text of it; where the gateway sends a translated
 * statement, the statement itself does.  The rows of a SELECT are made so outside
 * of it, since within it the documents still sort, group and join as documents;
 * those of RETURNING in place.  What is kept somewhere (a table, a view, COPY) and
 * what is plain SQL keeps its documents: whoever copies them gets what was there.
 *
 * A difference of documents is one of dates or of numbers; where it is a column by
 * itself, the SELECT within says which, row by row, and dates' is shown as the
 * interval that it is.
 *
 * What has no text in PostgreSQL (U+0000) is shown by U+FFFD: no row is lost for it.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

static const struct config_enum_entry kinds[] = {
	{"text", true, false},
	{"document", false, false},
	{NULL, 0, false}
};

static int	gateway_documents = true;

/* Whether the gateway's session wants plain text. */
bool
mcs_shown_wanted(void)
{
	return gateway_documents;
}

/* The token where the query begins whose rows the client gets; -1: it gets none. */
static int
query_token(const Fragment *fragment, bool *is_cursor)
{
	static const char *const queries[] = {"SELECT", "WITH", "VALUES", "TABLE", NULL};
	const char *before;

	*is_cursor = false;
	if (fragment->token_count == 0)
		return -1;
	if (fragment->tokens[0].type == '(' || mcs_dialect_token_is_any(fragment->text, &fragment->tokens[0], queries))
		return 0;
	*is_cursor = mcs_dialect_word_is(fragment, 0, "DECLARE");
	if (!*is_cursor && !mcs_dialect_word_is(fragment, 0, "PREPARE"))
		return -1;
	/* both words are reserved: no name before them is one */
	before = *is_cursor ? "FOR" : "AS";
	for (int i = 1; i < fragment->token_count - 1; i++)
		if (mcs_dialect_word_is(fragment, i, before))
			return mcs_dialect_token_is_any(fragment->text, &fragment->tokens[i + 1], queries) || fragment->tokens[i + 1].type == '(' ? i + 1 : -1;
	return -1;
}

/* The place behind the select list that begins at the token behind SELECT; -1 where it is not seen. */
static int
list_end(const Fragment *fragment, int first)
{
	static const char *const behind[] = {"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR", NULL};
	const DialectToken *tokens = fragment->tokens;

	for (int i = first; i < fragment->token_count; i++)
	{
		bool		is_name = tokens[i - 1].type == '.' || mcs_dialect_word_is(fragment, i - 1, "AS");

		if (tokens[i].type == '(' || tokens[i].type == '[')
			i = mcs_dialect_closing_bracket(tokens, i);
		/* IS DISTINCT FROM, WITHIN GROUP */
		else if (!is_name && mcs_dialect_token_is_any(fragment->text, &tokens[i], behind) &&
				 !mcs_dialect_word_is(fragment, i - 1, "DISTINCT") && !mcs_dialect_word_is(fragment, i - 1, "WITHIN"))
			return mcs_dialect_token_end(&tokens[i - 1]);
	}
	return -1;
}

/* What a column subtracts from, if that is something that a column more can be made of; NULL: it is nothing such. */
static Node *
difference_of(const Fragment *fragment, const Query *query, const TargetEntry *column)
{
	ListCell   *cell;

	if (query->distinctClause || query->groupClause || query->groupingSets || query->hasAggs || query->setOperations ||
	/* what is evaluated twice is to give the same, and do nothing */
		contain_volatile_functions((Node *) column->expr))
		return NULL;
	foreach(cell, fragment->maybe_durations)
		if (((DialectDifference *) lfirst(cell))->column == column)
			return ((DialectDifference *) lfirst(cell))->left;
	return NULL;
}

/*
 * Has the inner SELECT give one column more, whether a difference is one of dates;
 * false where its select list is not seen.
 */
static bool
add_is_date(Fragment *fragment, int first, Node *left)
{
	int			end;
	int			from;
	int			to;
	List	   *pieces;

	/* behind CTEs */
	for (; first < fragment->token_count && !mcs_dialect_word_is(fragment, first, "SELECT"); first++)
		if (fragment->tokens[first].type == '(')
			first = mcs_dialect_closing_bracket(fragment->tokens, first);
	end = list_end(fragment, first + 1);
	if (end < 0 || !mcs_dialect_extent(fragment, left, &from, &to))
		return false;
	pieces = list_make1(mcs_dialect_text_piece(psprintf(", %s(", mcs_dialect_function_name(fragment->namespace, "document_typeof"))));
	pieces = lappend(pieces, mcs_dialect_range_piece(from, to));
	pieces = lappend(pieces, mcs_dialect_text_piece(") = 'date'"));
	mcs_dialect_edit_pieces(fragment, EDIT_AFTER, end, end, pieces);
	return true;
}

/* Wraps the analysed SELECT of a fragment, where its rows go to the client and have documents. */
void
mcs_shown_wrap(Fragment *fragment, const Query *query)
{
	StringInfoData columns;
	StringInfoData names;
	bool		is_cursor;
	int			first = query_token(fragment, &is_cursor);
	int			count = 0;
	int			total = list_length(query->targetList);
	int			more = 0;
	bool		found = false;
	ListCell   *cell;

	if (first < 0 || query->commandType != CMD_SELECT || query->hasModifyingCTE)
		return;
	/* a row of the cursor is for WHERE CURRENT OF, which looks for the table right below */
	if (is_cursor && query->rowMarks)
		return;
	initStringInfo(&columns);
	initStringInfo(&names);
	/* behind the columns those that tell of differences */
	foreach(cell, query->targetList)
		total -= lfirst_node(TargetEntry, cell)->resjunk ? 1 : 0;
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		const char *text = mcs_dialect_function_name(fragment->namespace, DIALECT_SHOWN_TEXT);
		Node	   *left = difference_of(fragment, query, entry);
		bool		is_document = getBaseType(exprType((Node *) entry->expr)) == fragment->document && !list_member_ptr(fragment->intervals, entry);

		if (entry->resjunk)
			continue;
		found |= is_document;
		/* numbered, as two columns may be called the same */
		appendStringInfo(&names, "%sc%d", count ? ", " : "", count);
		if (left && add_is_date(fragment, first, left))
			appendStringInfo(&columns, "%sCASE WHEN c%d THEN c%d::interval::text ELSE %s(c%d) END AS %s", count ? ", " : "", total + more++, count,
							 text, count, quote_identifier(entry->resname));
		else
			appendStringInfo(&columns, is_document ? "%s%s(c%d) AS %s" : "%s%sc%d AS %s", count ? ", " : "", is_document ? text : "", count,
							 quote_identifier(entry->resname));
		count++;
	}
	for (int i = 0; i < more; i++)
		appendStringInfo(&names, ", c%d", total + i);
	if (found)
		mcs_dialect_wrap(fragment, fragment->tokens[first].at, fragment->size,
						 psprintf("SELECT %s FROM (", columns.data), psprintf(") AS result(%s)", names.data));
}

/* At load: the setting. */
void
mcs_shown_init(void)
{
	DefineCustomEnumVariable("mongo_change_stream.gateway_documents",
							 "Sets how documents come in rows of statements in the dialect that are sent through the gateway.",
							 "As plain text, or as what they are.",
							 &gateway_documents, true, kinds,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}
