/*
 * dialect/statement_trigger.c
 *	  CREATE TRIGGER n ON CHANGE STREAM s FOR EACH CHANGE AS BEGIN ... END, or
 *	  FOR EACH BATCH, and its DROP.
 *
 * SQL has triggers, too: what is not ON CHANGE STREAM is left to it, by NULL.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "utils/builtins.h"

/* WHEN (condition), over the columns of the event, which may be called change. */
static char *
when_clause(TokenReader *reader)
{
	int			close;
	Fragment   *fragment;
	int			first;

	mcs_reader_expect(reader, "(");
	first = reader->current;
	close = mcs_dialect_closing_bracket(reader->tokens, first - 1);
	/* the bracket is not closed in this statement, or nothing is in it */
	if (close >= reader->end || close == first)
		mcs_reader_syntax_error(reader, "A condition is expected here.");
	reader->current = close + 1;
	fragment = mcs_dialect_begin_fragment(reader->namespace, reader->source, reader->tokens[first].at,
								mcs_dialect_token_end(&reader->tokens[close - 1]), DIALECT_FILTER);
	fragment->change_is_row = true;
	fragment->is_condition = true;
	return mcs_dialect_translate_fragment(fragment);
}

/* EXECUTE FUNCTION f, EXECUTE PROCEDURE s.f() */
static char *
procedure_name(TokenReader *reader)
{
	int			from;
	int			to;

	if (!mcs_reader_skip(reader, "FUNCTION"))
		mcs_reader_expect(reader, "PROCEDURE");
	from = reader->tokens[reader->current].at;
	do
		(void) mcs_reader_name(reader, "a function or procedure");
	while (mcs_reader_skip_type(reader, '.'));
	to = mcs_dialect_token_end(&reader->tokens[reader->current - 1]);
	/* EXECUTE FUNCTION f() as SQL has it; handlers' procedures take the event */
	if (reader->current + 1 < reader->end && reader->tokens[reader->current].type == '(' &&
		reader->tokens[reader->current + 1].type == ')')
		reader->current += 2;
	return pnstrdup(reader->source + from, to - from);
}

/* The block: as it stands, or in quotes. */
static char *
block(TokenReader *reader, bool of_batch)
{
	const DialectToken *first = &reader->tokens[reader->current];
	int			to;

	if (mcs_reader_at_end(reader))
		mcs_reader_syntax_error(reader, "BEGIN ... END is expected here.");
	/* a literal is another text, whose errors cannot point into this one */
	if (first->type == TOKEN_STRING)
	{
		reader->current++;
		if (mcs_reader_skip(reader, "LANGUAGE"))
			mcs_reader_expect(reader, "plpgsql");
		return mcs_body_translate(reader->namespace, first->value, 0, strlen(first->value), of_batch);
	}
	/* a label, <<name>>, begins with an operator */
	if (!mcs_reader_is(reader, "BEGIN") && !mcs_reader_is(reader, "DECLARE") && first->type != TOKEN_OPERATOR)
		mcs_reader_syntax_error(reader, "BEGIN ... END is expected here.");
	/* the rest of the statement, so nothing can follow a block that is not in quotes */
	to = mcs_dialect_token_end(&reader->tokens[reader->end - 1]);
	reader->current = reader->end;
	return mcs_body_translate(reader->namespace, reader->source, first->at, to, of_batch);
}

/* [FOR EACH {CHANGE | EVENT | BATCH}]; whether it is a batch, and not one event after the other. */
static bool
for_each_clause(TokenReader *reader)
{
	if (!mcs_reader_skip(reader, "FOR"))
		return false;
	mcs_reader_expect(reader, "EACH");
	if (mcs_reader_skip(reader, "BATCH"))
	{
		mcs_dialect_check_new_option(reader, "each", reader->current - 1);
		return true;
	}
	if (!mcs_reader_skip(reader, "EVENT"))
		mcs_reader_expect(reader, "CHANGE");
	return false;
}

/* CREATE TRIGGER n ON CHANGE STREAM s ...; NULL where it is SQL's own. */
static char *
create_trigger(TokenReader *reader, bool replace)
{
	char	   *name;
	char	   *stream;
	char	   *condition = NULL;
	bool		of_batch;
	List	   *options = NIL;
	StringInfoData out;
	ListCell   *cell;

	/* SQL has BEFORE, AFTER or INSTEAD OF there, and complains itself of what is wrong before it */
	if (!mcs_reader_next_is(reader, "ON"))
		return NULL;
	name = mcs_reader_name(reader, "the trigger");
	/* n ON CHANGE STREAM s */
	mcs_reader_expect(reader, "ON");
	if (!mcs_reader_skip_pair(reader, "CHANGE", "STREAM"))
		return NULL;
	stream = mcs_reader_name(reader, "a change stream");
	of_batch = for_each_clause(reader);
	/* WHEN and WITH in any order */
	for (;;)
	{
		if (mcs_reader_skip(reader, "WHEN"))
			condition = when_clause(reader);
		else if (mcs_reader_skip(reader, "WITH"))
			mcs_dialect_read_options(reader, &options, true);
		else
			break;
	}
	/* no function replaces a handler: it is dropped, where it exists, and made anew */
	initStringInfo(&out);
	if (replace)
		appendStringInfo(&out, "SELECT %s(%s) WHERE %s(%s);\n", mcs_dialect_function_name(reader->namespace, "drop_change_handler"),
						 quote_literal_cstr(name), mcs_dialect_function_name(reader->namespace, "change_handler_exists"), quote_literal_cstr(name));
	appendStringInfo(&out, "SELECT %s(%s, %s", mcs_dialect_function_name(reader->namespace, "create_change_handler"),
					 quote_literal_cstr(name), quote_literal_cstr(stream));
	if (mcs_reader_skip(reader, "EXECUTE"))
		appendStringInfo(&out, ", procedure => %s", quote_literal_cstr(procedure_name(reader)));
	else
	{
		mcs_reader_expect(reader, "AS");
		appendStringInfo(&out, ", body => %s", mcs_dialect_dollar_quote(block(reader, of_batch), "body"));
	}
	mcs_reader_expect_end(reader, NULL);
	if (of_batch)
		appendStringInfoString(&out, ", each => 'batch'");
	if (condition)
		appendStringInfo(&out, ", condition => %s", mcs_dialect_dollar_quote(condition, "condition"));
	foreach(cell, options)
	{
		StatementOption *option = lfirst(cell);

		appendStringInfo(&out, ", %s => %s", option->name, option->value);
	}
	appendStringInfoChar(&out, ')');
	return out.data;
}

/* CREATE TRIGGER n ON CHANGE STREAM s ... */
char *
mcs_dialect_create_trigger(TokenReader *reader)
{
	return create_trigger(reader, false);
}

/* CREATE OR REPLACE TRIGGER n ON CHANGE STREAM s ... */
char *
mcs_dialect_replace_trigger(TokenReader *reader)
{
	return create_trigger(reader, true);
}

/* DROP TRIGGER [IF EXISTS] n ON CHANGE STREAM s; NULL where it is SQL's own. */
char *
mcs_dialect_drop_trigger(TokenReader *reader)
{
	bool		if_exists = false;
	char	   *name;

	/* not mcs_reader_skip_if_exists, which complains where this may still be SQL's */
	if (mcs_reader_is(reader, "IF") && mcs_reader_next_is(reader, "EXISTS"))
	{
		if_exists = true;
		reader->current += 2;
	}
	if (!mcs_reader_next_is(reader, "ON"))
		return NULL;
	/* not mcs_reader_name, for the same reason */
	name = reader->tokens[reader->current].value;
	reader->current += 2;
	/* DROP TRIGGER n ON t, which is SQL's */
	if (!name || !mcs_reader_skip_pair(reader, "CHANGE", "STREAM") || mcs_reader_at_end(reader))
		return NULL;
	(void) mcs_reader_name(reader, "a change stream");
	mcs_reader_expect_end(reader, "DROP TRIGGER [IF EXISTS] name ON CHANGE STREAM stream");
	if (if_exists)
		return psprintf("SELECT %s(%s) WHERE %s(%s)", mcs_dialect_function_name(reader->namespace, "drop_change_handler"), quote_literal_cstr(name),
						mcs_dialect_function_name(reader->namespace, "change_handler_exists"), quote_literal_cstr(name));
	return psprintf("SELECT %s(%s)", mcs_dialect_function_name(reader->namespace, "drop_change_handler"), quote_literal_cstr(name));
}
