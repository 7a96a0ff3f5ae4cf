/*
 * dialect/hint.c
 *	  A hint for who sends the dialect to PostgreSQL as it stands.
 *
 * PostgreSQL's parser has no hook, and refuses such a text with a syntax error
 * or with a name that does not exist.  Before the error is sent, its text is
 * looked at; where that shows words of the dialect, and nobody has given another
 * hint, one says how to run it.  Only errors come this way, so that nothing else
 * costs anything, and nothing is looked up: the transaction has failed.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/memutils.h"

/* So much of a text is looked at. */
#define MAX_BYTES 100000

static emit_log_hook_type previous_emit_log = NULL;

/* Whether a text has a word, in any case of letters, at a place; a blank in it is any white space. */
static bool
word_at(const char *text, const char *word)
{
	for (; *word; word++)
	{
		if (*word == ' ')
		{
			if (!isspace((unsigned char) *text))
				return false;
			while (isspace((unsigned char) *text))
				text++;
		}
		else if (pg_tolower((unsigned char) *text++) != *word)
			return false;
	}
	return true;
}

/* Whether one of some words stands in a text. */
static bool
has_word(const char *text, const char *const *words)
{
	for (int at = 0; text[at] && at < MAX_BYTES; at++)
	{
		/* where a word can begin, the letters that those here begin with */
		if (!strchr("cdefntuCDEFNTU", text[at]) || (at > 0 && (isalnum((unsigned char) text[at - 1]) || text[at - 1] == '_')))
			continue;
		for (int i = 0; words[i]; i++)
			if (word_at(text + at, words[i]))
				return true;
	}
	return false;
}

/* Whether a text has words of the dialect, none of which is common elsewhere. */
static bool
has_dialect_words(const char *text)
{
	static const char *const words[] = {
		"change_stream(", "change_stream ", "change stream", "contains '", "event_store ", "time_window(", "document_key.",
		"full_document.", "full_document_before_change.", "update_description.", "fulldocument.", "ns.coll", NULL
	};

	return has_word(text, words);
}

/* Whether a text may be in the dialect: what is not so is plain SQL, or has paths into JSON only. */
bool
mcs_dialect_is_likely(const char *text)
{
	static const char *const words[] = {"document", NULL};

	return has_dialect_words(text) || has_word(text, words);
}

/* Whether an error is what PostgreSQL says of text in the dialect. */
static bool
is_refusal(const ErrorData *error)
{
	/* an error of the client's own text, not of a function that runs in it */
	if (error->elevel != ERROR || error->hint || error->internalquery || error->context)
		return false;
	switch (error->sqlerrcode)
	{
		case ERRCODE_SYNTAX_ERROR:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_INVALID_SCHEMA_NAME:
		case ERRCODE_UNDEFINED_OBJECT:
			return true;
			/* a.b.c.d: "cross-database references are not implemented", "improper qualified name" */
		case ERRCODE_FEATURE_NOT_SUPPORTED:
			return error->cursorpos > 0;
		default:
			return false;
	}
}

/* The hint for an error that a text has met; NULL: none. */
static const char *
hint_for(const ErrorData *error, const char *text)
{
	static const char *const query[] = {"change_stream_query(", NULL};

	if (!is_refusal(error))
		return NULL;
	/* PostgreSQL tells functions apart by their arguments, not by what the caller lists behind them */
	if (error->sqlerrcode == ERRCODE_SYNTAX_ERROR && has_word(text, query))
		return "With a list of columns behind it, the function is change_stream_query_as(...).";
	if (has_dialect_words(text))
		return "If this is SQL of change streams, which PostgreSQL's parser does not know, run it as "
			"DO LANGUAGE change_stream $do$ ... $do$, or what change_stream_translate($do$ ... $do$) gives.";
	return NULL;
}

/* Looks at an error on its way to the client and the log. */
static void
add_hint(ErrorData *error)
{
	const char *hint = debug_query_string ? hint_for(error, debug_query_string) : NULL;

	if (hint)
		error->hint = MemoryContextStrdup(error->assoc_context, hint);
	if (previous_emit_log)
		previous_emit_log(error);
}

void
mcs_dialect_init(void)
{
	previous_emit_log = emit_log_hook;
	emit_log_hook = add_hint;
	mcs_shown_init();
}
