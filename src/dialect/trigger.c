/*
 * dialect/trigger.c
 *	  CREATE TRIGGER n ON CHANGE STREAM s FOR EACH CHANGE AS BEGIN ... END, and
 *	  its DROP.
 */
#include "mongo_change_stream.h"

#include "dialect/statement.h"
#include "utils/builtins.h"

/* WHEN (condition), over the columns of the event, which may be called change. */
static char *
when_clause(Statement *statement)
{
	int			close;
	Dialect    *dialect;
	int			first;

	mcs_statement_expect(statement, "(");
	first = statement->i;
	close = mcs_dialect_matching(statement->tokens, first - 1);
	if (close >= statement->end || close == first)
		mcs_statement_error(statement, "A condition is expected here.");
	statement->i = close + 1;
	dialect = mcs_dialect_begin(statement->namespace, statement->whole, statement->tokens[first].at,
								mcs_dialect_token_end(&statement->tokens[close - 1]), DIALECT_FILTER);
	dialect->change_is_row = true;
	dialect->want_boolean = true;
	return mcs_dialect_fragment(dialect);
}

/* EXECUTE FUNCTION f, EXECUTE PROCEDURE s.f() */
static char *
procedure_name(Statement *statement)
{
	int			first;
	int			from;

	if (!mcs_statement_skip(statement, "FUNCTION"))
		mcs_statement_expect(statement, "PROCEDURE");
	first = statement->i;
	(void) mcs_statement_name(statement, "a function or procedure");
	while (statement->i < statement->end && statement->tokens[statement->i].type == '.')
	{
		statement->i++;
		(void) mcs_statement_name(statement, "a function or procedure");
	}
	from = statement->tokens[first].at;
	first = mcs_dialect_token_end(&statement->tokens[statement->i - 1]);
	if (statement->i + 1 < statement->end && statement->tokens[statement->i].type == '(' &&
		statement->tokens[statement->i + 1].type == ')')
		statement->i += 2;
	return pnstrdup(statement->whole + from, first - from);
}

/* The block: as it stands, or in quotes. */
static char *
block(Statement *statement)
{
	const DialectToken *first = &statement->tokens[statement->i];
	int			to;

	if (statement->i >= statement->end)
		mcs_statement_error(statement, "BEGIN ... END is expected here.");
	if (first->type == TOKEN_STRING)
	{
		statement->i++;
		if (mcs_statement_skip(statement, "LANGUAGE"))
			mcs_statement_expect(statement, "plpgsql");
		return mcs_dialect_body(statement->namespace, first->value, 0, strlen(first->value));
	}
	if (!mcs_statement_is(statement, "BEGIN") && !mcs_statement_is(statement, "DECLARE") && first->type != TOKEN_OPERATOR)
		mcs_statement_error(statement, "BEGIN ... END is expected here.");
	to = mcs_dialect_token_end(&statement->tokens[statement->end - 1]);
	statement->i = statement->end;
	return mcs_dialect_body(statement->namespace, statement->whole, first->at, to);
}

/* CREATE TRIGGER n ON CHANGE STREAM s ...; NULL where it is SQL's own. */
char *
mcs_create_trigger(Statement *statement, bool replace)
{
	char	   *name = mcs_statement_name(statement, "the trigger");
	char	   *stream;
	char	   *condition = NULL;
	List	   *options = NIL;
	StringInfoData out;
	ListCell   *cell;

	mcs_statement_expect(statement, "ON");
	if (!mcs_statement_skip_stream(statement))
		return NULL;
	stream = mcs_statement_name(statement, "a change stream");
	if (mcs_statement_skip(statement, "FOR"))
	{
		mcs_statement_expect(statement, "EACH");
		if (!mcs_statement_skip(statement, "EVENT"))
			mcs_statement_expect(statement, "CHANGE");
	}
	for (;;)
	{
		if (mcs_statement_skip(statement, "WHEN"))
			condition = when_clause(statement);
		else if (mcs_statement_skip(statement, "WITH"))
			mcs_statement_options(statement, &options, true);
		else
			break;
	}
	initStringInfo(&out);
	if (replace)
		appendStringInfo(&out, "SELECT %s(%s) WHERE %s(%s);\n", mcs_statement_qualified(statement, "drop_change_handler"),
						 quote_literal_cstr(name), mcs_statement_qualified(statement, "change_handler_exists"), quote_literal_cstr(name));
	appendStringInfo(&out, "SELECT %s(%s, %s", mcs_statement_qualified(statement, "create_change_handler"),
					 quote_literal_cstr(name), quote_literal_cstr(stream));
	if (mcs_statement_skip(statement, "EXECUTE"))
		appendStringInfo(&out, ", procedure => %s", quote_literal_cstr(procedure_name(statement)));
	else
	{
		mcs_statement_expect(statement, "AS");
		appendStringInfo(&out, ", body => %s", mcs_statement_quote(block(statement), "body"));
	}
	if (statement->i < statement->end)
		mcs_statement_error(statement, NULL);
	if (condition)
		appendStringInfo(&out, ", condition => %s", mcs_statement_quote(condition, "condition"));
	foreach(cell, options)
	{
		StatementOption *option = lfirst(cell);

		appendStringInfo(&out, ", %s => %s", option->name, option->value);
	}
	appendStringInfoChar(&out, ')');
	return out.data;
}

/* DROP TRIGGER [IF EXISTS] n ON CHANGE STREAM s; NULL where it is SQL's own. */
char *
mcs_drop_trigger(Statement *statement)
{
	bool		if_exists = false;
	char	   *name;

	if (mcs_statement_is(statement, "IF") && mcs_dialect_is(statement->whole, &statement->tokens[statement->i + 1], "EXISTS"))
	{
		if_exists = true;
		statement->i += 2;
	}
	if (!mcs_dialect_is(statement->whole, &statement->tokens[statement->i + 1], "ON"))
		return NULL;
	name = statement->tokens[statement->i].value;
	statement->i += 2;
	if (!name || !mcs_statement_skip_stream(statement) || statement->i >= statement->end)
		return NULL;
	(void) mcs_statement_name(statement, "a change stream");
	if (statement->i < statement->end)
		mcs_statement_error(statement, "DROP TRIGGER [IF EXISTS] name ON CHANGE STREAM stream");
	if (if_exists)
		return psprintf("SELECT %s(%s) WHERE %s(%s)", mcs_statement_qualified(statement, "drop_change_handler"), quote_literal_cstr(name),
						mcs_statement_qualified(statement, "change_handler_exists"), quote_literal_cstr(name));
	return psprintf("SELECT %s(%s)", mcs_statement_qualified(statement, "drop_change_handler"), quote_literal_cstr(name));
}
