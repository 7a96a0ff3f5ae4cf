/*
 * dialect/error.c
 *	  Errors point into the text that the user wrote.
 *
 * A fragment is parsed as a text of its own, as long as what the user wrote
 * there, byte for byte.  So a position in it is one in the user's text but for
 * where the fragment begins.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect.h"
#include "mb/pg_wchar.h"

Dialect    *mcs_dialect_current = NULL;

/* For ereport: the error is at a byte of the fragment. */
int
mcs_dialect_error_at(const Dialect *dialect, int at)
{
	if (at < 0)
		return 0;
	return errposition(pg_mbstrlen_with_len(dialect->text, at) + 1);
}

/* Turns a position in a fragment into one in the user's whole text. */
void
mcs_dialect_error_callback(void *arg)
{
	const Dialect *dialect = arg;
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position + pg_mbstrlen_with_len(dialect->whole, dialect->base));
	internalerrquery(dialect->whole);
}

/* Raises an error again that an attempt to analyse a fragment has met, where the user's whole text has it. */
void
mcs_dialect_raise(const Dialect *dialect, ErrorData *error)
{
	if (error->cursorpos > 0)
	{
		error->internalpos = error->cursorpos + pg_mbstrlen_with_len(dialect->whole, dialect->base);
		error->internalquery = pstrdup(dialect->whole);
		error->cursorpos = 0;
	}
	ReThrowError(error);
}

/* Cuts the user's whole text into tokens, with errors that point into it. */
DialectToken *
mcs_dialect_lex_text(const char *text, int *count)
{
	Dialect		whole = {.whole = text};
	ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, &whole};
	DialectToken *tokens;

	error_context_stack = &callback;
	tokens = mcs_dialect_lex(text, count);
	error_context_stack = callback.previous;
	return tokens;
}
