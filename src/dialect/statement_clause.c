/*
 * dialect/statement_clause.c
 *	  What statements say of a stream: ON, WHERE, FILTER, PIPELINE, WITH.
 *
 * Conditions of WHERE and FILTER are joined by AND.  They run before fields are
 * added, so a field that a pipeline has added is put into a later condition as
 * the expression that it stands for.
 *
 * A new clause is a row of the table clauses, and a function that reads it.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "utils/builtins.h"

/* A collection or database, as MongoDB has it: letters are not folded. */
static char *
mongo_name(TokenReader *reader, const char *what)
{
	const DialectToken *token = &reader->tokens[reader->current];

	if (!mcs_reader_at_end(reader) && token->type == TOKEN_STRING)
	{
		reader->current++;
		return token->value;
	}
	(void) mcs_reader_name(reader, what);
	return mcs_dialect_spelling(reader->source, token);
}

/* ---- clauses ---- */

static void where_clause(TokenReader *reader, StreamClauses *clauses);
static void with_clause(TokenReader *reader, StreamClauses *clauses);
static void filter_clause(TokenReader *reader, StreamClauses *clauses);
static void pipeline_clause(TokenReader *reader, StreamClauses *clauses);
static void reset_clause(TokenReader *reader, StreamClauses *clauses);

typedef struct ClauseForm
{
	const char *word;			/* that it begins with */
	void		(*read) (TokenReader *reader, StreamClauses *clauses);	/* what follows */
	bool		brackets;		/* follow; without them the word is a name, of a column in a condition for example */
	bool		alter_only;
} ClauseForm;

static const ClauseForm forms[] = {
	{"WHERE", where_clause, false, false},
	{"WITH", with_clause, true, false},
	{"FILTER", filter_clause, true, false},
	{"PIPELINE", pipeline_clause, true, false},
	{"SET", with_clause, true, true},
	{"RESET", reset_clause, true, true},
};

/* WITH SNAPSHOT: what is called snapshot and WITH a condition would need an operator in between. */
static bool
begins_snapshot(const TokenReader *reader, int i)
{
	return i < reader->end && mcs_dialect_token_is(reader->source, &reader->tokens[i], "SNAPSHOT");
}

/* Whether a clause begins at a token, or the statement ends there. */
static bool
begins_clause(const TokenReader *reader, int i)
{
	if (i >= reader->end || mcs_dialect_token_is(reader->source, &reader->tokens[i], "AS"))
		return true;
	for (int n = 0; n < lengthof(forms); n++)
		if (mcs_dialect_token_is(reader->source, &reader->tokens[i], forms[n].word))
			return !forms[n].brackets || reader->tokens[i + 1].type == '(' ||
				(forms[n].read == with_clause && begins_snapshot(reader, i + 1));
	return false;
}

/* ON collection, ON database.collection, ON DATABASE [database] */
void
mcs_dialect_read_target(TokenReader *reader, StreamClauses *clauses)
{
	mcs_reader_expect(reader, "ON");
	/* ON database.collection: a database that is called database */
	if (mcs_reader_is(reader, "DATABASE") && reader->tokens[reader->current + 1].type != '.')
	{
		reader->current++;
		if (!begins_clause(reader, reader->current))
		{
			if (mcs_reader_skip_type(reader, '*'))
				clauses->database = "*";
			else
				clauses->database = mongo_name(reader, "a database");
		}
		return;
	}
	/* ON COLLECTION orders; alone it is the collection's name */
	if (mcs_reader_is(reader, "COLLECTION") && !begins_clause(reader, reader->current + 1))
		reader->current++;
	clauses->collection = mongo_name(reader, "a collection, or DATABASE,");
	while (mcs_reader_skip_type(reader, '.'))
	{
		/* names of collections can have dots: the first one is behind the database */
		if (clauses->database)
			clauses->collection = psprintf("%s.%s", clauses->collection, mongo_name(reader, "a collection"));
		else
		{
			clauses->database = clauses->collection;
			clauses->collection = mongo_name(reader, "a collection");
		}
	}
}

/* A condition between two tokens. */
static void
add_condition(TokenReader *reader, StreamClauses *clauses, int first, int end)
{
	if (end <= first)
		mcs_reader_syntax_error(reader, "A condition is expected here.");
	clauses->filters = lappend(clauses->filters,
							   mcs_dialect_event_expression(reader->namespace, reader->source, reader->tokens[first].at,
															mcs_dialect_token_end(&reader->tokens[end - 1]),
															clauses->added, true, true));
}

/* The bracket that closes the current one. */
static int
closing(TokenReader *reader)
{
	int			close;

	if (!mcs_reader_at(reader, '('))
		mcs_reader_syntax_error(reader, "( is expected here.");
	close = mcs_dialect_closing_bracket(reader->tokens, reader->current);
	if (close >= reader->end)
	{
		/* the error is at the end, where the bracket is missed */
		reader->current = reader->end;
		mcs_reader_syntax_error(reader, "A bracket is not closed.");
	}
	return close;
}

/* WHERE condition, up to the next clause */
static void
where_clause(TokenReader *reader, StreamClauses *clauses)
{
	int			first = reader->current;

	while (!begins_clause(reader, reader->current))
	{
		if (mcs_reader_at(reader, '('))
			/* a clause's word in brackets is a function or a column */
			reader->current = Min(mcs_dialect_closing_bracket(reader->tokens, reader->current), reader->end - 1);
		reader->current++;
	}
	add_condition(reader, clauses, first, reader->current);
}

/* FILTER (condition) */
static void
filter_clause(TokenReader *reader, StreamClauses *clauses)
{
	int			close = closing(reader);
	int			first = ++reader->current;

	if (first == close)
		mcs_reader_syntax_error(reader, "A condition is expected here.");
	add_condition(reader, clauses, first, close);
	reader->current = close + 1;
}

/* ADD_FIELDS (name = expression, ...) */
static void
fields_clause(TokenReader *reader, StreamClauses *clauses)
{
	int			close = closing(reader);
	int			first = ++reader->current;

	if (clauses->fields.data == NULL)
		initStringInfo(&clauses->fields);
	else
		appendStringInfoString(&clauses->fields, ",\n    ");
	if (!mcs_dialect_event_fields(reader->namespace, reader->source, reader->tokens, first, close, true,
							&clauses->added, &clauses->fields, &reader->current))
		mcs_reader_syntax_error(reader, "ADD_FIELDS takes a list of name = expression, separated by commas.");
	reader->current = close + 1;
}

/* PIPELINE (FILTER (...), ADD_FIELDS (...), ...) */
static void
pipeline_clause(TokenReader *reader, StreamClauses *clauses)
{
	int			close = closing(reader);

	reader->current++;
	for (;;)
	{
		if (mcs_reader_skip(reader, "FILTER"))
			filter_clause(reader, clauses);
		else if (mcs_reader_skip(reader, "ADD_FIELDS"))
			fields_clause(reader, clauses);
		else
			mcs_reader_syntax_error(reader, "The stages of a PIPELINE are FILTER (condition) and ADD_FIELDS (name = expression, ...).");
		/* a stage ends at its own bracket, so only a comma or the end is left */
		if (reader->current == close)
			break;
		mcs_reader_expect(reader, ",");
	}
	reader->current = close + 1;
}

/* WITH (name = value, ...) and SET (name = value, ...); WITH SNAPSHOT, which is initial_snapshot */
static void
with_clause(TokenReader *reader, StreamClauses *clauses)
{
	if (begins_snapshot(reader, reader->current))
	{
		StatementOption *option = palloc(sizeof(StatementOption));

		option->name = "initial_snapshot";
		option->value = "true";
		option->token = reader->current++;
		clauses->options = lappend(clauses->options, option);
		return;
	}
	/* SET WITH (...) is taken, too */
	(void) mcs_reader_skip(reader, "WITH");
	mcs_dialect_read_options(reader, &clauses->options, false);
}

/* RESET (name, ...) */
static void
reset_clause(TokenReader *reader, StreamClauses *clauses)
{
	mcs_reader_expect(reader, "(");
	for (;;)
	{
		clauses->reset = lappend(clauses->reset, mcs_dialect_read_option_name(reader));
		if (mcs_reader_skip_type(reader, ')'))
			return;
		mcs_reader_expect(reader, ",");
	}
}

/* Clauses in any order, up to the end or AS; alter: those of ALTER. */
void
mcs_dialect_read_clauses(TokenReader *reader, StreamClauses *clauses, bool alter)
{
	while (!mcs_reader_at_end(reader) && !mcs_reader_is(reader, "AS"))
	{
		const ClauseForm *form = forms;

		while (form < forms + lengthof(forms) && !((alter || !form->alter_only) && mcs_reader_skip(reader, form->word)))
			form++;
		if (form == forms + lengthof(forms))
			mcs_reader_syntax_error(reader, alter ? DIALECT_ALTER_CLAUSES : DIALECT_CREATE_CLAUSES);
		form->read(reader, clauses);
	}
}

/* ---- the arguments that they become ---- */

/* All conditions as one; NULL where there is none. */
static char *
joined_filter(const StreamClauses *clauses)
{
	StringInfoData filter;
	ListCell   *cell;

	if (clauses->filters == NIL)
		return NULL;
	if (list_length(clauses->filters) == 1)
		return linitial(clauses->filters);
	initStringInfo(&filter);
	foreach(cell, clauses->filters)
		appendStringInfo(&filter, "%s(%s)", foreach_current_index(cell) ? " AND " : "", (char *) lfirst(cell));
	return filter.data;
}

/* The arguments of create_change_stream or alter_change_stream behind the name. */
void
mcs_dialect_write_arguments(StringInfo out, const StreamClauses *clauses, bool create)
{
	char	   *filter = joined_filter(clauses);
	ListCell   *cell;

	/* a stream keeps its collection: alter_change_stream takes none */
	if (create && clauses->collection)
		appendStringInfo(out, ", collection => %s", quote_literal_cstr(clauses->collection));
	if (create && clauses->database)
		appendStringInfo(out, ", database => %s", quote_literal_cstr(clauses->database));
	if (filter)
		appendStringInfo(out, ",\n  filter => %s", mcs_dialect_dollar_quote(filter, "filter"));
	if (clauses->fields.data)
		appendStringInfo(out, ",\n  add_fields => %s", mcs_dialect_dollar_quote(clauses->fields.data, "fields"));
	foreach(cell, clauses->options)
	{
		StatementOption *option = lfirst(cell);

		/* CREATE OR REPLACE gives both functions the same clauses; ALTER has checked its own */
		if (create || mcs_dialect_option_is_alterable(option->name))
			appendStringInfo(out, ",\n  %s => %s", option->name, option->value);
	}
}
