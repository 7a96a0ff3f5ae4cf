/*
 * dialect/translate.c
 *	  The SQL functions that translate, and the way of a text.
 *
 * A text goes this way:
 *
 *	translate.c		cuts it into statements, by the tokens of lex.c; do.c also runs them
 *	statement.c		looks whether a statement is one that the dialect adds; if so,
 *	statement_*.c	read it by reader.c and write calls of functions, with conditions by
 *					event_expression.c and blocks by body.c; each of these is cut into
 *					fragments, as SQL's statements are
 *	fragment.c		begins with a fragment: tokens, and words that become what parses
 *	analyse.c		parses it, and analyses it as plain SQL; what is plain SQL stays.  Else:
 *	prepare.c		keeps nodes aside by stand_in.c, puts relations in the place of
 *					CHANGE_STREAM by relation.c, and moves windows by window.c
 *	transform.c		is called by PostgreSQL's analysis for each node kept aside, which
 *					operator.c (date_literal.c), call.c, indirection.c or itself
 *					analyses, by operand.c
 *	reference.c		is called by it for each name, which may be a path: field_path.c
 *	edit.c			has noted by then what all of these change in the text (whose
 *					range extent.c knows), and writes the result
 *
 * runtime.c is what the result calls when it runs.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_translate);
PG_FUNCTION_INFO_V1(mcs_change_stream_translate_body);
PG_FUNCTION_INFO_V1(mcs_change_stream_translate_expression);
PG_FUNCTION_INFO_V1(mcs_change_stream_translate_fields);

/* One statement, the tokens first..end of the text, as plain SQL; is_call: its rows, if any, tell nothing. */
char *
mcs_translate_statement(Oid namespace, const char *text, DialectToken *tokens, int first, int end, bool *is_call)
{
	char	   *made = mcs_statement_translate(namespace, text, tokens, first, end, is_call);

	if (made)
		return made;
	*is_call = false;
	return mcs_dialect_translate_fragment(mcs_dialect_begin_fragment(namespace, text, tokens[first].at, mcs_dialect_token_end(&tokens[end - 1]),
												  DIALECT_STATEMENT));
}

/* A text of several statements as plain SQL. */
static char *
translate_text(Oid namespace, const char *text)
{
	StringInfoData out;
	int			count;
	DialectToken *tokens = mcs_dialect_lex_text(text, &count);
	int			at = 0;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "dialect statement", ALLOCSET_DEFAULT_SIZES);

	initStringInfo(&out);
	for (int i = 0; i < count;)
	{
		int			end = mcs_dialect_statement_end(text, tokens, i);

		CHECK_FOR_INTERRUPTS();
		if (end > i)
		{
			int			to = mcs_dialect_token_end(&tokens[end - 1]);
			char	   *made;
			bool		is_call;

			MemoryContextSwitchTo(scratch);
			made = mcs_translate_statement(namespace, text, tokens, i, end, &is_call);
			MemoryContextSwitchTo(context);
			/* what stands between statements stays */
			appendBinaryStringInfo(&out, text + at, tokens[i].at - at);
			appendStringInfoString(&out, made);
			MemoryContextReset(scratch);
			at = to;
		}
		i = end + 1;
	}
	MemoryContextDelete(scratch);
	appendStringInfoString(&out, text + at);
	return out.data;
}

/* change_stream_translate(text): statements in the dialect as plain SQL */
Datum
mcs_change_stream_translate(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(translate_text(get_func_namespace(fcinfo->flinfo->fn_oid), source)));
}

/* change_stream_translate_body(text, boolean): a PL/pgSQL block with "change", or of a batch with "changes", as plain PL/pgSQL */
Datum
mcs_change_stream_translate_body(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	/* 1.0's schema has no second argument */
	bool		of_batch = PG_NARGS() > 1 && PG_GETARG_BOOL(1);

	PG_RETURN_TEXT_P(cstring_to_text(mcs_body_translate(get_func_namespace(fcinfo->flinfo->fn_oid), source, 0, strlen(source), of_batch)));
}

/* change_stream_translate_expression(text, boolean): a condition over the columns of an event as plain SQL */
Datum
mcs_change_stream_translate_expression(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		bare_names = PG_GETARG_BOOL(1);
	char	   *result = mcs_dialect_event_expression(get_func_namespace(fcinfo->flinfo->fn_oid), source, 0, strlen(source),
													  NIL, bare_names, true);

	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/* change_stream_translate_fields(text, boolean): "name = expression, ..." over the columns of an event as plain SQL */
Datum
mcs_change_stream_translate_fields(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		bare_names = PG_GETARG_BOOL(1);
	int			count;
	int			at;
	DialectToken *tokens = mcs_dialect_lex_text(source, &count);
	List	   *names = NIL;
	StringInfoData out;

	initStringInfo(&out);
	appendBinaryStringInfo(&out, source, tokens[0].at);
	/* create_change_stream says what is wrong with a list that is none */
	if (!mcs_dialect_event_fields(get_func_namespace(fcinfo->flinfo->fn_oid), source, tokens, 0, count, bare_names, &names, &out, &at))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	appendStringInfoString(&out, source + mcs_dialect_token_end(&tokens[count - 1]));
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}
