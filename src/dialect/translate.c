/*
 * dialect/translate.c
 *	  The SQL functions that translate, and the way of a text.
 *
 * A text goes this way:
 *
 *	script.c		cuts it into statements, by the tokens of lex.c; translate.c puts them
 *					together again, with what preview.c makes for them; do.c runs them,
 *					and result.c says where their rows go
 *	statement.c		looks whether a statement is one that the dialect adds; if so,
 *	statement_*.c	read it by reader.c and write calls of functions, with conditions by
 *					event_expression.c and blocks by body.c; each of these is cut into
 *					fragments, as SQL's statements are
 *	fragment.c		begins with a fragment: tokens, and words that become what parses
 *	analyse.c		parses it, and analyses it as plain SQL; what is plain SQL stays.  Else:
 *	prepare.c		keeps nodes aside by stand_in.c, puts relations in the place of
 *					CHANGE_STREAM by relation.c, and moves windows by window.c
 *	transform.c		is called by PostgreSQL's analysis for each node kept aside, which
 *					printable.c, operator.c (either.c), call.c, indirection.c or
 *					itself analyses, by operand.c
 *	reference.c		is called by it for each name, which may be a path: field_path.c; or a
 *					star that stands for columns: star.c, origin.c
 *	edit.c			has noted by then what all of these change in the text (whose
 *					range extent.c knows), and writes the result
 *
 * shown.c makes plain text of documents in rows that go to a client of the
 * gateway.  runtime.c is what the result calls when it runs.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "dialect/dialect_internal.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_translate);
PG_FUNCTION_INFO_V1(mcs_change_stream_translate_for_gateway);
PG_FUNCTION_INFO_V1(mcs_change_stream_translate_body);
PG_FUNCTION_INFO_V1(mcs_change_stream_translate_expression);
PG_FUNCTION_INFO_V1(mcs_change_stream_translate_fields);

/* A text that is being translated. */
typedef struct Translation
{
	Script		script;
	bool		preview;		/* what a statement makes is made, for those behind it */
	StringInfoData out;
} Translation;

/* Translates the statements of a text. */
static void
translate_script(void *arg)
{
	static const char *const makers[] = {"CREATE", "DROP", "SET", NULL};
	Translation *translation = arg;
	Script	   *script = &translation->script;
	int			at = 0;

	while (mcs_script_next(script))
	{
		bool		is_call;
		char	   *made = mcs_script_translate(script, &is_call);

		if (translation->preview && !mcs_script_is_last(script) &&
			mcs_dialect_token_is_any(script->statement, script->statement_tokens, makers))
			mcs_preview_statement(made);
		/* what stands between statements stays */
		appendBinaryStringInfo(&translation->out, script->text + at, script->from - at);
		appendStringInfoString(&translation->out, made);
		at = script->to;
	}
	appendStringInfoString(&translation->out, script->text + at);
}

/* A text of several statements as plain SQL; shown: documents in rows that the client gets become plain text. */
static char *
translate_text(Oid namespace, const char *text, bool shown)
{
	Translation translation;
	ErrorData  *error = NULL;

	mcs_script_begin(&translation.script, namespace, text);
	translation.script.shown = shown;
	initStringInfo(&translation.out);
	translation.preview = translation.script.statements > 1 && mcs_dialect_is_likely(text) && mcs_preview_allowed();
	if (translation.preview)
		error = mcs_attempt_undone(translate_script, &translation);
	else
		translate_script(&translation);
	if (error)
		ReThrowError(error);
	mcs_script_end(&translation.script);
	return translation.out.data;
}

/* change_stream_translate(text): statements in the dialect as plain SQL */
Datum
mcs_change_stream_translate(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(translate_text(get_func_namespace(fcinfo->flinfo->fn_oid), source, false)));
}

/* change_stream_translate_for_gateway(text): the same, with rows as the session has set that its client gets them */
Datum
mcs_change_stream_translate_for_gateway(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(translate_text(get_func_namespace(fcinfo->flinfo->fn_oid), source, mcs_shown_wanted())));
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
