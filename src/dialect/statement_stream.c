/*
 * dialect/statement_stream.c
 *	  Statements on change streams: CREATE, ALTER, DROP, PAUSE, RESUME, SHOW.
 *
 * Each becomes one SELECT, so that it is one statement for the client, too, and
 * is undone as one.  DROP of several streams is several.  IF EXISTS and OR
 * REPLACE are decided when the SELECT runs, not here: the text may be kept.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* reset => ARRAY[...] */
static void
reset_argument(StringInfo out, const List *names)
{
	ListCell   *cell;

	/* an empty array would be no error, but noise */
	if (names == NIL)
		return;
	appendStringInfoString(out, ",\n  reset => ARRAY[");
	foreach(cell, names)
		appendStringInfo(out, "%s%s", foreach_current_index(cell) ? ", " : "", quote_literal_cstr(lfirst(cell)));
	appendStringInfoChar(out, ']');
}

/* What a definition does not mention, to be put back when it replaces another. */
static List *
not_given(const StreamClauses *clauses)
{
	List	   *names = NIL;
	ListCell   *cell;

	for (int i = 0; i < mcs_options_stream.count; i++)
	{
		const char *name = mcs_options_stream.options[i].name;
		bool		given = (strcmp(name, "filter") == 0 && clauses->filters) ||
			(strcmp(name, "add_fields") == 0 && clauses->fields.data);

		foreach(cell, clauses->options)
			given |= strcmp(((StatementOption *) lfirst(cell))->name, name) == 0;
		if (!given && mcs_dialect_option_is_alterable(name))
			names = lappend(names, pstrdup(name));
	}
	return names;
}

/* A literal, or NULL for what was not given. */
static char *
nullable_literal(const char *text)
{
	return text ? quote_literal_cstr(text) : "NULL";
}

/* CREATE [OR REPLACE] CHANGE STREAM n ON ... */
static char *
create_stream(TokenReader *reader, bool replace)
{
	StreamClauses clauses = {0};
	char	   *name = mcs_reader_name(reader, "the change stream");
	StringInfoData out;

	/* n ON collection clauses */
	mcs_dialect_read_target(reader, &clauses);
	mcs_dialect_read_clauses(reader, &clauses, false);
	mcs_reader_expect_end(reader, DIALECT_CREATE_CLAUSES);
	initStringInfo(&out);
	appendStringInfoString(&out, "SELECT ");
	if (replace)
	{
		/* a stream keeps its position and its events; one on another collection is refused as existing */
		appendStringInfo(&out, "CASE WHEN %s(%s, %s, %s) THEN %s(%s",
						 mcs_dialect_function_name(reader->namespace, "change_stream_follows"), quote_literal_cstr(name),
						 nullable_literal(clauses.collection), nullable_literal(clauses.database),
						 mcs_dialect_function_name(reader->namespace, "alter_change_stream"), quote_literal_cstr(name));
		mcs_dialect_write_arguments(&out, &clauses, false);
		reset_argument(&out, not_given(&clauses));
		appendStringInfoString(&out, ")\n  ELSE ");
	}
	appendStringInfo(&out, "%s(%s", mcs_dialect_function_name(reader->namespace, "create_change_stream"), quote_literal_cstr(name));
	mcs_dialect_write_arguments(&out, &clauses, true);
	appendStringInfoString(&out, replace ? ") END" : ")");
	return out.data;
}

/* CREATE CHANGE STREAM n ON ... */
char *
mcs_dialect_create_stream(TokenReader *reader)
{
	return create_stream(reader, false);
}

/* CREATE OR REPLACE CHANGE STREAM n ON ... */
char *
mcs_dialect_replace_stream(TokenReader *reader)
{
	return create_stream(reader, true);
}

/* ALTER CHANGE STREAM n ... */
char *
mcs_dialect_alter_stream(TokenReader *reader)
{
	StreamClauses clauses = {0};
	char	   *name = mcs_reader_name(reader, "a change stream");
	StringInfoData out;
	ListCell   *cell;

	/* an ALTER that changes nothing is a mistake */
	if (mcs_reader_at_end(reader))
		mcs_reader_syntax_error(reader, DIALECT_ALTER_CLAUSES);
	mcs_dialect_read_clauses(reader, &clauses, true);
	mcs_reader_expect_end(reader, DIALECT_ALTER_CLAUSES);
	/* here, not by the function, so that the error points at the option */
	foreach(cell, clauses.options)
	{
		StatementOption *option = lfirst(cell);

		if (!mcs_dialect_option_is_alterable(option->name))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("option \"%s\" cannot be altered", option->name),
					 mcs_reader_error_position(reader, option->token)));
	}
	initStringInfo(&out);
	appendStringInfo(&out, "SELECT %s(%s", mcs_dialect_function_name(reader->namespace, "alter_change_stream"), quote_literal_cstr(name));
	mcs_dialect_write_arguments(&out, &clauses, false);
	reset_argument(&out, clauses.reset);
	appendStringInfoChar(&out, ')');
	return out.data;
}

/* DROP CHANGE STREAM [IF EXISTS] n [, ...] [KEEP EVENTS] */
char *
mcs_dialect_drop_stream(TokenReader *reader)
{
	bool		if_exists = mcs_reader_skip_if_exists(reader);
	List	   *names = NIL;
	ListCell   *cell;
	const char *keep = "";
	StringInfoData out;

	do
		names = lappend(names, mcs_reader_name(reader, "a change stream"));
	while (mcs_reader_skip_type(reader, ','));
	/* otherwise the events go with the stream, as the function has it */
	if (mcs_reader_skip(reader, "KEEP"))
	{
		mcs_reader_expect(reader, "EVENTS");
		keep = ", keep_events => true";
	}
	mcs_reader_expect_end(reader, "DROP CHANGE STREAM [IF EXISTS] name [, ...] [KEEP EVENTS]");
	initStringInfo(&out);
	foreach(cell, names)
	{
		char	   *name = quote_literal_cstr(lfirst(cell));

		appendStringInfo(&out, "%sSELECT %s(%s%s)", foreach_current_index(cell) ? ";\n" : "",
						 mcs_dialect_function_name(reader->namespace, "drop_change_stream"), name, keep);
		if (if_exists)
			appendStringInfo(&out, " WHERE %s(%s)", mcs_dialect_function_name(reader->namespace, "change_stream_exists"), name);
	}
	return out.data;
}

/* PAUSE CHANGE STREAM n */
char *
mcs_dialect_pause_stream(TokenReader *reader)
{
	char	   *name = mcs_reader_name(reader, "a change stream");

	mcs_reader_expect_end(reader, "PAUSE CHANGE STREAM name");
	return psprintf("SELECT %s(%s)", mcs_dialect_function_name(reader->namespace, "pause_change_stream"), quote_literal_cstr(name));
}

/* RESUME CHANGE STREAM n [FROM position] [SKIP token] [WITH SNAPSHOT] */
char *
mcs_dialect_resume_stream(TokenReader *reader)
{
	static const char *const hint = "RESUME CHANGE STREAM name [FROM 'position'] [SKIP 'token'] [WITH SNAPSHOT]";
	char	   *name = mcs_reader_name(reader, "a change stream");
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "SELECT %s(%s", mcs_dialect_function_name(reader->namespace, "resume_change_stream"), quote_literal_cstr(name));
	/* in any order; what is given twice PostgreSQL refuses, as an argument that is named twice */
	while (!mcs_reader_at_end(reader))
	{
		const char *argument = NULL;

		if (mcs_reader_skip(reader, "FROM"))
			argument = "start_at";
		else if (mcs_reader_skip(reader, "SKIP"))
			argument = "skip";
		else if (mcs_reader_skip(reader, "WITH"))
		{
			mcs_reader_expect(reader, "SNAPSHOT");
			appendStringInfoString(&out, ", initial_snapshot => true");
			continue;
		}
		/* both take a string or a word, as 'latest' and latest */
		if (!argument || mcs_reader_at_end(reader) || reader->tokens[reader->current].value == NULL)
			mcs_reader_syntax_error(reader, hint);
		appendStringInfo(&out, ", %s => %s", argument, quote_literal_cstr(reader->tokens[reader->current++].value));
	}
	appendStringInfoChar(&out, ')');
	return out.data;
}

/* SHOW CHANGE STREAMS */
char *
mcs_dialect_show_streams(TokenReader *reader)
{
	mcs_reader_expect_end(reader, "SHOW CHANGE STREAMS");
	return psprintf("SELECT * FROM %s ORDER BY stream_name",
					mcs_dialect_relation_name(get_relname_relid("change_stream_status", reader->namespace)));
}
