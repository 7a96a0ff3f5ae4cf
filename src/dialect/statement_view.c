/*
 * dialect/statement_view.c
 *	  CREATE MATERIALIZED VIEW n [WITH (refresh = ..., ...)] AS ...: SQL's own
 *	  statement, and behind it a call that has the view refreshed.
 *
 * Options of projections are taken out of WITH (...), where those of PostgreSQL stay.
 * Without them, a view whose text is in the dialect is refreshed on change where it
 * shows what a change stream brings, which is seen when it is there.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "tables/tables.h"
#include "utils/builtins.h"

/* For refresh: the view is not refreshed. */
#define MANUAL "'manual'"

/* What is said of a view before its query. */
typedef struct ViewHead
{
	int			from;			/* where the statement begins in the text */
	bool		if_not_exists;
	char	   *name;			/* as it is written */
	List	   *options;		/* of StatementOption */
	int			cut_from;		/* WITH (...), or what of it is ours, as far as it lies together */
	int			cut_to;
	char	   *kept;			/* what stands there instead */
} ViewHead;

/* The view's name, maybe with its schema. */
static char *
view_name(TokenReader *reader)
{
	int			first = reader->current;

	do
		(void) mcs_reader_name(reader, "the materialized view");
	while (mcs_reader_skip_type(reader, '.'));
	return pnstrdup(reader->source + reader->tokens[first].at,
					mcs_dialect_token_end(&reader->tokens[reader->current - 1]) - reader->tokens[first].at);
}

/* Whether the current token names an option of projections. */
static bool
names_option(const TokenReader *reader)
{
	const DialectToken *token = &reader->tokens[reader->current];

	return !mcs_reader_at_end(reader) && token->value != NULL &&
		(mcs_options_find(&mcs_options_projection, token->value) ||
		 mcs_options_find(&mcs_options_projection, mcs_dialect_snake_case(mcs_dialect_spelling(reader->source, token))));
}

/* Goes over an option that is PostgreSQL's. */
static void
skip_option(TokenReader *reader)
{
	while (!mcs_reader_at_end(reader) && !mcs_reader_at(reader, ',') && !mcs_reader_at(reader, ')'))
		reader->current++;
}

/* WITH (...): reads what is ours, and notes what stays. */
static void
read_with(TokenReader *reader, ViewHead *head)
{
	int			with = reader->current - 1;
	StringInfoData kept;

	initStringInfo(&kept);
	mcs_reader_expect(reader, "(");
	for (;;)
	{
		int			first = reader->current;

		if (names_option(reader))
			mcs_dialect_read_option(reader, &mcs_options_projection, &head->options);
		else
		{
			skip_option(reader);
			if (reader->current > first)
				appendStringInfo(&kept, "%s%.*s", kept.len ? ", " : "",
								 mcs_dialect_token_end(&reader->tokens[reader->current - 1]) - reader->tokens[first].at,
								 reader->source + reader->tokens[first].at);
		}
		if (mcs_reader_skip_type(reader, ')'))
			break;
		mcs_reader_expect(reader, ",");
	}
	/* with the blanks before it, where nothing of it stays */
	head->cut_from = reader->tokens[with].at;
	head->cut_to = mcs_dialect_token_end(&reader->tokens[reader->current - 1]);
	head->kept = kept.len ? psprintf("WITH (%s)", kept.data) : "";
	if (kept.len == 0)
		head->cut_from = mcs_dialect_token_end(&reader->tokens[with - 1]);
}

/* Up to AS. */
static void
read_head(TokenReader *reader, ViewHead *head)
{
	head->from = reader->tokens[reader->current - 3].at;
	if (mcs_reader_is(reader, "IF") && mcs_reader_next_is(reader, "NOT"))
	{
		head->if_not_exists = true;
		mcs_reader_advance(reader, 3);
	}
	head->name = view_name(reader);
	while (!mcs_reader_at_end(reader) && !mcs_reader_is(reader, "AS"))
	{
		if (mcs_reader_at(reader, '('))
			reader->current = mcs_dialect_closing_bracket(reader->tokens, reader->current) + 1;
		else if (mcs_reader_is(reader, "WITH") && reader->tokens[reader->current + 1].type == '(')
		{
			reader->current++;
			read_with(reader, head);
		}
		else
			reader->current++;
	}
}

/* The statement without our options, as plain SQL. */
static char *
plain_view(const TokenReader *reader, const ViewHead *head)
{
	int			to = mcs_dialect_token_end(&reader->tokens[reader->end - 1]);
	char	   *source = pstrdup(reader->source);
	char	   *made;

	/* blank, so that everything else, and so each error, is where it was */
	if (head->options != NIL)
		memset(source + head->cut_from, ' ', head->cut_to - head->cut_from);
	made = mcs_dialect_translate_fragment(mcs_dialect_begin_fragment(reader->namespace, source, head->from, to, DIALECT_STATEMENT));
	if (head->options == NIL)
		return made;
	/* nothing before the query is in the dialect, so it stands in the result as in the source */
	return psprintf("%.*s%s%s", head->cut_from - head->from, made, head->kept,
					made + head->cut_to - head->from);
}

/* The call that makes a projection of the view. */
static char *
call(const TokenReader *reader, const ViewHead *head)
{
	StringInfoData out;
	ListCell   *cell;

	initStringInfo(&out);
	appendStringInfo(&out, "SELECT %s(%s", mcs_dialect_function_name(reader->namespace, "create_change_projection"), quote_literal_cstr(head->name));
	foreach(cell, head->options)
	{
		StatementOption *option = lfirst(cell);

		appendStringInfo(&out, ", %s => %s", option->name, option->value);
	}
	appendStringInfoChar(&out, ')');
	/* a view that was there may be one */
	if (head->if_not_exists)
		appendStringInfo(&out, " WHERE NOT %s(%s)", mcs_dialect_function_name(reader->namespace, "change_projection_exists"),
						 quote_literal_cstr(head->name));
	return out.data;
}

/* Whether the options leave refreshing to the user. */
static bool
is_manual(const ViewHead *head)
{
	ListCell   *cell;

	foreach(cell, head->options)
	{
		StatementOption *option = lfirst(cell);

		if (strcmp(option->name, "refresh") == 0)
			return pg_strcasecmp(option->value, MANUAL) == 0;
	}
	return false;
}

/* CREATE MATERIALIZED VIEW ... */
char *
mcs_dialect_create_materialized_view(TokenReader *reader)
{
	ViewHead	head = {0};
	char	   *view;

	read_head(reader, &head);
	view = plain_view(reader, &head);
	if (is_manual(&head) || mcs_extension_is_old())
		return view;
	if (head.options != NIL)
		return psprintf("%s;\n%s", view, call(reader, &head));
	/* plain SQL stays as it is */
	if (strlen(view) == mcs_dialect_token_end(&reader->tokens[reader->end - 1]) - head.from &&
		strncmp(view, reader->source + head.from, strlen(view)) == 0)
		return view;
	return psprintf("%s;\nSELECT %s(%s)", view, mcs_dialect_function_name(reader->namespace, "change_projection_follow"), quote_literal_cstr(head.name));
}
