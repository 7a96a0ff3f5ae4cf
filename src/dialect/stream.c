/*
 * dialect/stream.c
 *	  CREATE CHANGE STREAM and ALTER CHANGE STREAM.
 *
 * Conditions of WHERE and FILTER are joined by AND.  They run before fields are
 * added, so a field that a pipeline has added is put into a later condition as
 * the expression that it stands for.
 */
#include "mongo_change_stream.h"

#include "dialect/statement.h"
#include "utils/builtins.h"

/* A collection or database, as MongoDB has it: letters are not folded. */
static char *
mongo_name(Statement *statement, const char *what)
{
	const DialectToken *token = &statement->tokens[statement->i];

	if (statement->i < statement->end && token->type == TOKEN_STRING)
	{
		statement->i++;
		return token->value;
	}
	(void) mcs_statement_name(statement, what);
	if (token->type == TOKEN_WORD && statement->whole[token->at] != '"')
		return pnstrdup(statement->whole + token->at, token->length);
	return token->value;
}

/* Whether a clause begins at a token. */
static bool
begins_clause(const Statement *statement, int i)
{
	static const char *const words[] = {"WITH", "FILTER", "PIPELINE", "RESET", "SET", NULL};
	static const char *const alone[] = {"WHERE", "AS", NULL};

	if (i >= statement->end)
		return true;
	return mcs_dialect_is_any(statement->whole, &statement->tokens[i], alone) ||
		(mcs_dialect_is_any(statement->whole, &statement->tokens[i], words) && statement->tokens[i + 1].type == '(');
}

/* ON collection, ON database.collection, ON DATABASE [database] */
void
mcs_stream_target(Statement *statement, StreamClauses *clauses)
{
	mcs_statement_expect(statement, "ON");
	if (mcs_statement_is(statement, "DATABASE") && statement->tokens[statement->i + 1].type != '.')
	{
		statement->i++;
		if (!begins_clause(statement, statement->i))
		{
			if (statement->tokens[statement->i].type == '*')
			{
				statement->i++;
				clauses->database = "*";
			}
			else
				clauses->database = mongo_name(statement, "a database");
		}
		return;
	}
	if (mcs_statement_is(statement, "COLLECTION") && !begins_clause(statement, statement->i + 1))
		statement->i++;
	clauses->collection = mongo_name(statement, "a collection, or DATABASE,");
	while (statement->i < statement->end && statement->tokens[statement->i].type == '.')
	{
		statement->i++;
		/* names of collections can have dots */
		if (clauses->database)
			clauses->collection = psprintf("%s.%s", clauses->collection, mongo_name(statement, "a collection"));
		else
		{
			clauses->database = clauses->collection;
			clauses->collection = mongo_name(statement, "a collection");
		}
	}
}

/* A condition between two tokens. */
static void
add_condition(Statement *statement, StreamClauses *clauses, int first, int end)
{
	if (end <= first)
		mcs_statement_error(statement, "A condition is expected here.");
	clauses->filters = lappend(clauses->filters,
							   mcs_dialect_event_expression(statement->namespace, statement->whole, statement->tokens[first].at,
															mcs_dialect_token_end(&statement->tokens[end - 1]),
															clauses->added, true, true));
}

/* The bracket that closes the current one. */
static int
closing(Statement *statement)
{
	int			close;

	if (statement->i >= statement->end || statement->tokens[statement->i].type != '(')
		mcs_statement_error(statement, "( is expected here.");
	close = mcs_dialect_matching(statement->tokens, statement->i);
	if (close >= statement->end)
	{
		statement->i = statement->end;
		mcs_statement_error(statement, "A bracket is not closed.");
	}
	return close;
}

static void
where_clause(Statement *statement, StreamClauses *clauses)
{
	int			first = statement->i;

	while (!begins_clause(statement, statement->i))
	{
		if (statement->tokens[statement->i].type == '(')
			statement->i = Min(mcs_dialect_matching(statement->tokens, statement->i), statement->end - 1);
		statement->i++;
	}
	add_condition(statement, clauses, first, statement->i);
}

static void
filter_clause(Statement *statement, StreamClauses *clauses)
{
	int			close = closing(statement);
	int			first = ++statement->i;

	if (first == close)
		mcs_statement_error(statement, "A condition is expected here.");
	add_condition(statement, clauses, first, close);
	statement->i = close + 1;
}

/* ADD_FIELDS (name = expression, ...) */
static void
fields_clause(Statement *statement, StreamClauses *clauses)
{
	int			close = closing(statement);
	int			first = ++statement->i;

	if (clauses->fields.data == NULL)
		initStringInfo(&clauses->fields);
	else
		appendStringInfoString(&clauses->fields, ",\n    ");
	if (!mcs_dialect_fields(statement->namespace, statement->whole, statement->tokens, first, close, true,
							&clauses->added, &clauses->fields, &statement->i))
		mcs_statement_error(statement, "ADD_FIELDS takes a list of name = expression, separated by commas.");
	statement->i = close + 1;
}

/* PIPELINE (FILTER (...), ADD_FIELDS (...), ...) */
static void
pipeline_clause(Statement *statement, StreamClauses *clauses)
{
	int			close = closing(statement);

	statement->i++;
	for (;;)
	{
		if (mcs_statement_skip(statement, "FILTER"))
			filter_clause(statement, clauses);
		else if (mcs_statement_skip(statement, "ADD_FIELDS"))
			fields_clause(statement, clauses);
		else
			mcs_statement_error(statement, "The stages of a PIPELINE are FILTER (condition) and ADD_FIELDS (name = expression, ...).");
		if (statement->i == close)
			break;
		mcs_statement_expect(statement, ",");
	}
	statement->i = close + 1;
}

static void
reset_clause(Statement *statement, StreamClauses *clauses)
{
	mcs_statement_expect(statement, "(");
	for (;;)
	{
		clauses->reset = lappend(clauses->reset, mcs_statement_option_name(statement));
		if (statement->i < statement->end && statement->tokens[statement->i].type == ')')
			break;
		mcs_statement_expect(statement, ",");
	}
	statement->i++;
}

/* WHERE, WITH, FILTER, PIPELINE in any order, up to the end or AS. */
void
mcs_stream_clauses(Statement *statement, StreamClauses *clauses, bool may_reset)
{
	while (statement->i < statement->end && !mcs_statement_is(statement, "AS"))
	{
		if (mcs_statement_skip(statement, "WHERE"))
			where_clause(statement, clauses);
		else if (mcs_statement_skip(statement, "WITH") || (may_reset && mcs_statement_skip(statement, "SET")))
		{
			if (mcs_statement_is(statement, "WITH"))
				statement->i++;
			mcs_statement_options(statement, &clauses->options, false);
		}
		else if (mcs_statement_skip(statement, "FILTER"))
			filter_clause(statement, clauses);
		else if (mcs_statement_skip(statement, "PIPELINE"))
			pipeline_clause(statement, clauses);
		else if (may_reset && mcs_statement_skip(statement, "RESET"))
			reset_clause(statement, clauses);
		else
			mcs_statement_error(statement, may_reset ? "The clauses are WHERE, FILTER, PIPELINE, SET and RESET." :
								"The clauses are WHERE, WITH, FILTER and PIPELINE.");
	}
}

/* All conditions as one; NULL where there is none. */
char *
mcs_stream_filter(const StreamClauses *clauses)
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
mcs_stream_arguments(StringInfo out, const StreamClauses *clauses, bool create)
{
	char	   *filter = mcs_stream_filter(clauses);
	ListCell   *cell;

	if (create && clauses->collection)
		appendStringInfo(out, ", collection => %s", quote_literal_cstr(clauses->collection));
	if (create && clauses->database)
		appendStringInfo(out, ", database => %s", quote_literal_cstr(clauses->database));
	if (filter)
		appendStringInfo(out, ",\n  filter => %s", mcs_statement_quote(filter, "filter"));
	if (clauses->fields.data)
		appendStringInfo(out, ",\n  add_fields => %s", mcs_statement_quote(clauses->fields.data, "fields"));
	foreach(cell, clauses->options)
	{
		StatementOption *option = lfirst(cell);

		if (create || mcs_option_is_alterable(option->name))
			appendStringInfo(out, ",\n  %s => %s", option->name, option->value);
	}
}

/* reset => ARRAY[...] */
static void
reset_argument(StringInfo out, const List *names)
{
	ListCell   *cell;

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

	for (const char *const *name = mcs_option_alterable(); *name; name++)
	{
		bool		given = (strcmp(*name, "filter") == 0 && clauses->filters) ||
			(strcmp(*name, "add_fields") == 0 && clauses->fields.data);

		foreach(cell, clauses->options)
			given |= strcmp(((StatementOption *) lfirst(cell))->name, *name) == 0;
		if (!given)
			names = lappend(names, pstrdup(*name));
	}
	return names;
}

static char *
nullable_literal(const char *text)
{
	return text ? quote_literal_cstr(text) : "NULL";
}

/* CREATE [OR REPLACE] CHANGE STREAM n ON ... */
char *
mcs_create_stream(Statement *statement, bool replace)
{
	StreamClauses clauses = {0};
	char	   *name = mcs_statement_name(statement, "the change stream");
	StringInfoData out;

	mcs_stream_target(statement, &clauses);
	mcs_stream_clauses(statement, &clauses, false);
	if (statement->i < statement->end)
		mcs_statement_error(statement, "The clauses are WHERE, WITH, FILTER and PIPELINE.");
	initStringInfo(&out);
	appendStringInfoString(&out, "SELECT ");
	if (replace)
	{
		/* a stream keeps its position and its events; one on another collection is refused as existing */
		appendStringInfo(&out, "CASE WHEN %s(%s, %s, %s) THEN %s(%s",
						 mcs_statement_qualified(statement, "change_stream_follows"), quote_literal_cstr(name),
						 nullable_literal(clauses.collection), nullable_literal(clauses.database),
						 mcs_statement_qualified(statement, "alter_change_stream"), quote_literal_cstr(name));
		mcs_stream_arguments(&out, &clauses, false);
		reset_argument(&out, not_given(&clauses));
		appendStringInfoString(&out, ")\n  ELSE ");
	}
	appendStringInfo(&out, "%s(%s", mcs_statement_qualified(statement, "create_change_stream"), quote_literal_cstr(name));
	mcs_stream_arguments(&out, &clauses, true);
	appendStringInfoString(&out, replace ? ") END" : ")");
	return out.data;
}

/* ALTER CHANGE STREAM n ... */
char *
mcs_alter_stream(Statement *statement)
{
	StreamClauses clauses = {0};
	char	   *name = mcs_statement_name(statement, "a change stream");
	StringInfoData out;
	ListCell   *cell;

	if (statement->i >= statement->end)
		mcs_statement_error(statement, "The clauses are WHERE, FILTER, PIPELINE, SET and RESET.");
	mcs_stream_clauses(statement, &clauses, true);
	if (statement->i < statement->end)
		mcs_statement_error(statement, "The clauses are WHERE, FILTER, PIPELINE, SET and RESET.");
	foreach(cell, clauses.options)
	{
		StatementOption *option = lfirst(cell);

		if (!mcs_option_is_alterable(option->name))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("option \"%s\" cannot be altered", option->name),
					 mcs_statement_position(statement, option->token)));
	}
	initStringInfo(&out);
	appendStringInfo(&out, "SELECT %s(%s", mcs_statement_qualified(statement, "alter_change_stream"), quote_literal_cstr(name));
	mcs_stream_arguments(&out, &clauses, false);
	reset_argument(&out, clauses.reset);
	appendStringInfoChar(&out, ')');
	return out.data;
}
