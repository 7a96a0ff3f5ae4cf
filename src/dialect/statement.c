/*
 * dialect/statement.c
 *	  The statements that the dialect adds to SQL, read by recursive descent and
 *	  written as calls of functions.
 *
 *	  CREATE [OR REPLACE] CHANGE STREAM n ON ...		create_change_stream
 *	  ALTER | DROP | PAUSE | RESUME CHANGE STREAM n	alter_..., drop_..., pause_..., resume_change_stream
 *	  SHOW CHANGE STREAMS							change_stream_status
 *	  CREATE | DROP TRIGGER n ON CHANGE STREAM s	create_change_handler, drop_change_handler
 *	  CREATE EVENT_STORE n AS SELECT ...			a table, a stream and a handler
 *
 * CHANGE STREAM is written as two words or as CHANGE_STREAM.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "dialect/statement.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

bool
mcs_statement_is(const Statement *statement, const char *word)
{
	return statement->i < statement->end && mcs_dialect_is(statement->whole, &statement->tokens[statement->i], word);
}

/* Goes over a word if it is there. */
bool
mcs_statement_skip(Statement *statement, const char *word)
{
	if (!mcs_statement_is(statement, word))
		return false;
	statement->i++;
	return true;
}

/* For ereport: where in the user's text a token stands. */
int
mcs_statement_position(const Statement *statement, int token)
{
	internalerrposition(pg_mbstrlen_with_len(statement->whole, statement->tokens[token].at) + 1);
	internalerrquery(statement->whole);
	return 0;
}

/* Says that the current token cannot stand there. */
void
mcs_statement_error(const Statement *statement, const char *hint)
{
	const DialectToken *token = &statement->tokens[statement->i];

	if (statement->i >= statement->end)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("syntax error at end of statement"),
				 hint ? errhint("%s", hint) : 0,
				 mcs_statement_position(statement, statement->i)));
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("syntax error at or near \"%.*s\"", token->length, statement->whole + token->at),
			 hint ? errhint("%s", hint) : 0,
			 mcs_statement_position(statement, statement->i)));
}

/* Goes over a word, or a character, that must be there. */
void
mcs_statement_expect(Statement *statement, const char *word)
{
	bool		there = word[1] == '\0' && !isalpha((unsigned char) *word) ?
		statement->i < statement->end && statement->tokens[statement->i].type == *word : mcs_statement_is(statement, word);

	if (!there)
		mcs_statement_error(statement, psprintf("%s is expected here.", word));
	statement->i++;
}

/* Goes over CHANGE STREAM or CHANGE_STREAM. */
bool
mcs_statement_skip_stream(Statement *statement)
{
	if (mcs_statement_skip(statement, "CHANGE_STREAM"))
		return true;
	if (!mcs_statement_is(statement, "CHANGE") ||
		!mcs_dialect_is(statement->whole, &statement->tokens[statement->i + 1], "STREAM"))
		return false;
	statement->i += 2;
	return true;
}

/* A name of SQL: folded unless it is quoted. */
char *
mcs_statement_name(Statement *statement, const char *what)
{
	const DialectToken *token = &statement->tokens[statement->i];

	if (statement->i >= statement->end || token->value == NULL || token->type == TOKEN_STRING ||
		mcs_dialect_is_reserved(statement->whole, token))
		mcs_statement_error(statement, psprintf("The name of %s is expected here.", what));
	statement->i++;
	return token->value;
}

/* A text in dollar quotes, which leave it as it is. */
char *
mcs_statement_quote(const char *text, const char *tag)
{
	char	   *mark = psprintf("$%s", tag);

	if (*text && text[strlen(text) - 1] == '$')
		return quote_literal_cstr(text);
	/* without its last dollar, which could be the first of the mark behind the text */
	for (int n = 1; strstr(text, mark) != NULL; n++)
	{
		if (n > 1000)
			return quote_literal_cstr(text);
		mark = psprintf("$%s_%d", tag, n);
	}
	return psprintf("%s$%s%s$", mark, text, mark);
}

/* A function, view or type of the extension as the session calls it. */
char *
mcs_statement_qualified(const Statement *statement, const char *name)
{
	Oid			relid = get_relname_relid(name, statement->namespace);
	Dialect		dialect = {.namespace = statement->namespace};

	if (!OidIsValid(relid))
		return mcs_dialect_qualified(&dialect, name);
	if (RelationIsVisible(relid))
		return pstrdup(quote_identifier(name));
	return quote_qualified_identifier(get_namespace_name(statement->namespace), name);
}

/* ---- the small statements ---- */

static void
expect_end(Statement *statement, const char *hint)
{
	if (statement->i < statement->end)
		mcs_statement_error(statement, hint);
}

static bool
skip_if_exists(Statement *statement)
{
	if (!mcs_statement_skip(statement, "IF"))
		return false;
	mcs_statement_expect(statement, "EXISTS");
	return true;
}

/* DROP CHANGE STREAM [IF EXISTS] n [, ...] [KEEP EVENTS] */
static char *
drop_stream(Statement *statement)
{
	bool		if_exists = skip_if_exists(statement);
	List	   *names = NIL;
	ListCell   *cell;
	const char *keep = "";
	StringInfoData out;

	do
		names = lappend(names, mcs_statement_name(statement, "a change stream"));
	while (statement->i < statement->end && statement->tokens[statement->i].type == ',' && ++statement->i);
	if (mcs_statement_skip(statement, "KEEP"))
	{
		mcs_statement_expect(statement, "EVENTS");
		keep = ", keep_events => true";
	}
	expect_end(statement, "DROP CHANGE STREAM [IF EXISTS] name [, ...] [KEEP EVENTS]");
	initStringInfo(&out);
	foreach(cell, names)
	{
		char	   *name = quote_literal_cstr(lfirst(cell));

		appendStringInfo(&out, "%sSELECT %s(%s%s)", foreach_current_index(cell) ? ";\n" : "",
						 mcs_statement_qualified(statement, "drop_change_stream"), name, keep);
		if (if_exists)
			appendStringInfo(&out, " WHERE %s(%s)", mcs_statement_qualified(statement, "change_stream_exists"), name);
	}
	return out.data;
}

static char *
pause_stream(Statement *statement)
{
	char	   *name = mcs_statement_name(statement, "a change stream");

	expect_end(statement, "PAUSE CHANGE STREAM name");
	return psprintf("SELECT %s(%s)", mcs_statement_qualified(statement, "pause_change_stream"), quote_literal_cstr(name));
}

/* RESUME CHANGE STREAM n [FROM position] [SKIP token] [WITH SNAPSHOT] */
static char *
resume_stream(Statement *statement)
{
	static const char *const hint = "RESUME CHANGE STREAM name [FROM 'position'] [SKIP 'token'] [WITH SNAPSHOT]";
	char	   *name = mcs_statement_name(statement, "a change stream");
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "SELECT %s(%s", mcs_statement_qualified(statement, "resume_change_stream"), quote_literal_cstr(name));
	while (statement->i < statement->end)
	{
		const char *argument = NULL;

		if (mcs_statement_skip(statement, "FROM"))
			argument = "start_at";
		else if (mcs_statement_skip(statement, "SKIP"))
			argument = "skip";
		else if (mcs_statement_skip(statement, "WITH"))
		{
			mcs_statement_expect(statement, "SNAPSHOT");
			appendStringInfoString(&out, ", initial_snapshot => true");
			continue;
		}
		if (!argument || statement->i >= statement->end || statement->tokens[statement->i].value == NULL)
			mcs_statement_error(statement, hint);
		appendStringInfo(&out, ", %s => %s", argument, quote_literal_cstr(statement->tokens[statement->i++].value));
	}
	appendStringInfoChar(&out, ')');
	return out.data;
}

static char *
show_streams(Statement *statement)
{
	expect_end(statement, "SHOW CHANGE STREAMS");
	return psprintf("SELECT * FROM %s ORDER BY stream_name", mcs_statement_qualified(statement, "change_stream_status"));
}

/* ---- which statement it is ---- */

static char *
create_something(Statement *statement)
{
	bool		replace = false;

	if (mcs_statement_is(statement, "OR") && mcs_dialect_is(statement->whole, &statement->tokens[statement->i + 1], "REPLACE"))
	{
		replace = true;
		statement->i += 2;
	}
	if (mcs_statement_skip_stream(statement))
		return mcs_create_stream(statement, replace);
	if (mcs_statement_skip(statement, "EVENT_STORE"))
		return mcs_create_store(statement);
	if (mcs_statement_is(statement, "TRIGGER") &&
		mcs_dialect_is(statement->whole, &statement->tokens[statement->i + 2], "ON"))
	{
		statement->i++;
		return mcs_create_trigger(statement, replace);
	}
	return NULL;
}

/* DROP CHANGE STREAM, or DROP TRIGGER ... ON CHANGE STREAM */
static char *
drop_something(Statement *statement)
{
	if (mcs_statement_skip_stream(statement))
		return drop_stream(statement);
	if (mcs_statement_skip(statement, "TRIGGER"))
		return mcs_drop_trigger(statement);
	return NULL;
}

/* One of the dialect's own statements as plain SQL, NULL where it is none. */
char *
mcs_dialect_new_statement(Oid namespace, const char *whole, DialectToken *tokens, int first, int end)
{
	Statement	statement = {namespace, whole, tokens, first, end};

	if (mcs_statement_skip(&statement, "CREATE"))
		return create_something(&statement);
	if (mcs_statement_skip(&statement, "DROP"))
		return drop_something(&statement);
	if (mcs_statement_skip(&statement, "ALTER"))
		return mcs_statement_skip_stream(&statement) ? mcs_alter_stream(&statement) : NULL;
	if (mcs_statement_skip(&statement, "PAUSE"))
		return mcs_statement_skip_stream(&statement) ? pause_stream(&statement) : NULL;
	if (mcs_statement_skip(&statement, "RESUME"))
		return mcs_statement_skip_stream(&statement) ? resume_stream(&statement) : NULL;
	if (mcs_statement_skip(&statement, "SHOW"))
	{
		if (mcs_statement_skip(&statement, "CHANGE_STREAMS"))
			return show_streams(&statement);
		if (mcs_statement_skip(&statement, "CHANGE") && mcs_statement_skip(&statement, "STREAMS"))
			return show_streams(&statement);
	}
	return NULL;
}
