/*
 * dialect/body_fragment.c
 *	  The expressions and SQL statements in a PL/pgSQL block: where they end,
 *	  and what they become.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "utils/memutils.h"

const char *const mcs_dialect_no_words[] = {NULL};

/* Goes to one of some words or a character, outside of brackets and CASE. */
void
mcs_dialect_body_find(Body *body, const char *const *words, int character)
{
	int			cases = 0;

	for (; !mcs_reader_at_end(&body->reader); body->reader.current++)
	{
		int			type = body->reader.tokens[body->reader.current].type;

		/* inside of CASE, too: no expression goes beyond its statement */
		if (type == ';')
			return;
		if (cases == 0 && (type == character || mcs_reader_is_any(&body->reader, words)))
			return;
		if (type == '(' || type == '[')
			body->reader.current = mcs_dialect_closing_bracket(body->reader.tokens, body->reader.current);
		/* a field may be called like a word that is looked for */
		else if (type == '.' && body->reader.tokens[body->reader.current + 1].type == TOKEN_WORD)
			mcs_reader_advance(&body->reader, 1);
		else if (mcs_reader_is(&body->reader, "CASE"))
			cases++;
		else if (cases > 0 && mcs_reader_is(&body->reader, "END"))
			cases--;
		if (mcs_reader_at_end(&body->reader))
			return;
	}
}

/* Goes behind the next semicolon. */
void
mcs_dialect_body_skip_statement(Body *body)
{
	mcs_dialect_body_find(body, mcs_dialect_no_words, ';');
	if (!mcs_reader_at_end(&body->reader))
		mcs_reader_advance(&body->reader, 1);
}

/* Puts what a range becomes into the output. */
void
mcs_dialect_body_put(Body *body, int from, int to, const char *text)
{
	appendBinaryStringInfo(&body->out, body->reader.source + body->at, from - body->at);
	appendStringInfoString(&body->out, text);
	body->at = to;
}

/* Translates the tokens from one to the current; returns what was analysed, until the next call; NULL if nothing is there. */
Fragment *
mcs_dialect_body_fragment(Body *body, int first, DialectMode mode, Oid target_type, List *into)
{
	int			from = body->reader.tokens[first].at;
	int			to;
	Fragment   *fragment;
	MemoryContext context;
	char	   *text;

	if (body->reader.current <= first)
		return NULL;
	CHECK_FOR_INTERRUPTS();
	/* what the last fragment took is not needed any more: a block may have thousands */
	MemoryContextReset(body->scratch);
	context = MemoryContextSwitchTo(body->scratch);
	to = mcs_dialect_token_end(&body->reader.tokens[body->reader.current - 1]);
	fragment = mcs_dialect_begin_fragment(body->reader.namespace, body->reader.source, from, to, mode);
	fragment->variables = body->variables;
	fragment->change_type = body->change_type;
	fragment->changes = body->changes;
	/* PL/pgSQL says what is wrong with what does not parse */
	fragment->lenient = true;
	fragment->into_types = into ? into : OidIsValid(target_type) ? list_make1_oid(target_type) : NIL;
	if (mode == DIALECT_STATEMENT)
		mcs_variable_hide_into(body, fragment);
	text = mcs_dialect_translate_fragment(fragment);
	MemoryContextSwitchTo(context);
	mcs_dialect_body_put(body, from, to, text);
	return fragment;
}

/* An expression up to one of some words, a character, or the semicolon. */
Fragment *
mcs_dialect_body_expression(Body *body, const char *const *words, int character, Oid target_type)
{
	int			first = body->reader.current;

	mcs_dialect_body_find(body, words, character);
	return mcs_dialect_body_fragment(body, first, DIALECT_EXPRESSION, target_type, NIL);
}

/* Expressions between commas. */
void
mcs_dialect_body_expressions(Body *body, const char *const *words, Oid target_type)
{
	for (;;)
	{
		(void) mcs_dialect_body_expression(body, words, ',', target_type);
		if (!mcs_reader_at(&body->reader, ','))
			return;
		mcs_reader_advance(&body->reader, 1);
	}
}

/* A query up to one of some words, or the semicolon. */
Fragment *
mcs_dialect_body_query(Body *body, const char *const *words)
{
	int			first = body->reader.current;

	mcs_dialect_body_find(body, words, ';');
	return mcs_dialect_body_fragment(body, first, DIALECT_STATEMENT, InvalidOid, NIL);
}
