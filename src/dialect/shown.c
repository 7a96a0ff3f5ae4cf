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
 * A difference of dates is shown as the interval that it is (dialect/shown_difference.c).
 *
 * What has no text in PostgreSQL (U+0000) is shown by U+FFFD: no row is lost for it.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/nodeFuncs.h"
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

/* Wraps the analysed SELECT of a fragment, where its rows go to the client and have documents. */
void
mcs_shown_wrap(Fragment *fragment, const Query *query)
{
	DocumentDifferences differences;
	uint32	   *durations;
	StringInfoData columns;
	StringInfoData names;
	bool		is_cursor;
	int			first = query_token(fragment, &is_cursor);
	int			count = 0;
	bool		found = false;
	ListCell   *cell;

	if (first < 0 || query->commandType != CMD_SELECT || query->hasModifyingCTE)
		return;
	/* a row of the cursor is for WHERE CURRENT OF, which looks for the table right below */
	if (is_cursor && query->rowMarks)
		return;
	durations = mcs_duration_columns(query, &differences);
	initStringInfo(&columns);
	initStringInfo(&names);
	foreach(cell, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, cell);
		bool		is_document = getBaseType(exprType((Node *) entry->expr)) == fragment->document && !list_member_ptr(fragment->intervals, entry);
		bool		is_duration = is_document && durations && durations[count];

		if (entry->resjunk)
			continue;
		found |= is_document;
		if (count > 0)
		{
			appendStringInfoString(&names, ", ");
			appendStringInfoString(&columns, ", ");
		}
		/* numbered, as two columns may be called the same */
		appendStringInfo(&names, "c%d", count);
		if (is_document)
			appendStringInfo(&columns, "%s(c%d%s)", mcs_dialect_function_name(fragment->namespace, is_duration ? "change_stream_shown" : DIALECT_SHOWN_TEXT), count,
							 is_duration ? ", '{}'" : "");
		else
			appendStringInfo(&columns, "c%d", count);
		appendStringInfo(&columns, " AS %s", quote_identifier(entry->resname));
		count++;
	}
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
