/*
 * dialect/statement.c
 *	  The statements that the dialect adds to SQL, and what reads each of them.
 *
 * They are read by recursive descent and written as calls of functions.  A new
 * statement is a row of the table here, and a function in a statement_*.c that
 * reads what follows its first words and returns the SQL.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"

#define MAX_WORDS 4

typedef struct StatementForm
{
	const char *words[MAX_WORDS + 1];	/* that it begins with */
	char	   *(*translate) (TokenReader *reader); /* of what follows; NULL: it is SQL's own after all */
	bool		returns_rows;	/* that tell something; those of calls are empty */
} StatementForm;

/* CHANGE STREAM and CHANGE STREAMS may be written with an underscore, too. */
static const StatementForm forms[] = {
	{{"CREATE", "CHANGE STREAM"}, mcs_dialect_create_stream, false},
	{{"CREATE", "OR", "REPLACE", "CHANGE STREAM"}, mcs_dialect_replace_stream, false},
	{{"ALTER", "CHANGE STREAM"}, mcs_dialect_alter_stream, false},
	{{"DROP", "CHANGE STREAM"}, mcs_dialect_drop_stream, false},
	{{"PAUSE", "CHANGE STREAM"}, mcs_dialect_pause_stream, false},
	{{"RESUME", "CHANGE STREAM"}, mcs_dialect_resume_stream, false},
	{{"SHOW", "CHANGE STREAMS"}, mcs_dialect_show_streams, true},
	{{"CREATE", "TRIGGER"}, mcs_dialect_create_trigger, false},
	{{"CREATE", "OR", "REPLACE", "TRIGGER"}, mcs_dialect_replace_trigger, false},
	{{"DROP", "TRIGGER"}, mcs_dialect_drop_trigger, false},
	{{"CREATE", "EVENT_STORE"}, mcs_dialect_create_event_store, false},
	{{"CREATE", "OR", "REPLACE", "EVENT_STORE"}, mcs_dialect_create_event_store, false},
	{{"CREATE", "MATERIALIZED", "VIEW"}, mcs_dialect_create_materialized_view, false},
};

/* Goes over the words that a statement begins with, if all of them are there. */
static bool
skip_words(TokenReader *reader, const char *const *words)
{
	int			first = reader->current;

	for (; *words; words++)
	{
		const char *blank = strchr(*words, ' ');

		if (blank ? mcs_reader_skip_pair(reader, pnstrdup(*words, blank - *words), blank + 1) : mcs_reader_skip(reader, *words))
			continue;
		reader->current = first;
		return false;
	}
	return true;
}

/* One of the dialect's own statements as plain SQL, NULL where it is none; is_call: the rows of the SQL tell nothing. */
char *
mcs_statement_translate(Oid namespace, const char *source, DialectToken *tokens, int first, int end, bool *is_call)
{
	for (int i = 0; i < lengthof(forms); i++)
	{
		TokenReader reader = {namespace, source, tokens, first, end};

		if (skip_words(&reader, forms[i].words))
		{
			*is_call = !forms[i].returns_rows;
			return forms[i].translate(&reader);
		}
	}
	return NULL;
}
