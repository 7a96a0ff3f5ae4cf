/*
 * dialect/statement_option.c
 *	  WITH (name = value, ...), in SQL's spelling of names and in MongoDB's.  Which
 *	  options there are, and what they are, is the list of tables/tables.h.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "tables/tables.h"
#include "utils/builtins.h"

/* Names that MongoDB has for options of streams. */
static const struct
{
	const char *name;
	const char *option;
}			other_names[] = {
	{"max_await_time_ms", "max_await_time"},
	{"start_at_operation_time", "start_at"}
};

/* Whether alter_change_stream takes an option. */
bool
mcs_dialect_option_is_alterable(const char *name)
{
	const Option *option = mcs_options_find(&mcs_options_stream, name);

	return option && !(option->flags & OPTION_CREATE_ONLY);
}

/* An option's name, in SQL's spelling. */
char *
mcs_dialect_read_option_name(TokenReader *reader)
{
	const DialectToken *token = &reader->tokens[reader->current];

	if (mcs_reader_at_end(reader) || token->value == NULL)
		mcs_reader_syntax_error(reader, "The name of an option is expected here.");
	reader->current++;
	return mcs_dialect_snake_case(mcs_dialect_spelling(reader->source, token));
}

/* Whether a text has no small letter. */
static bool
is_upper_case(const char *text, int size)
{
	for (int i = 0; i < size; i++)
		if (text[i] >= 'a' && text[i] <= 'z')
			return false;
	return true;
}

/* Refuses an option that is new, named by a token, where the schema is 1.0's: the function that it becomes an argument of does not have it there. */
void
mcs_dialect_check_new_option(const TokenReader *reader, const char *name, int token)
{
	if (mcs_extension_is_old())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("option \"%s\" needs the extension's schema of a newer version", name),
				 errhint("ALTER EXTENSION %s UPDATE;", MCS_EXTENSION),
				 mcs_reader_error_position(reader, token)));
}

/* The option of a list that a name in WITH (...) means. */
static const Option *
find_option(const TokenReader *reader, const OptionList *list, const char *name, int token)
{
	const Option *option = mcs_options_find(list, name);

	for (int i = 0; i < lengthof(other_names) && list == &mcs_options_stream && !option; i++)
		if (strcmp(other_names[i].name, name) == 0)
			option = mcs_options_find(list, other_names[i].option);
	if (option == NULL || (option->flags & OPTION_CLAUSE))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("unrecognized option \"%.*s\"", reader->tokens[token].length, reader->source + reader->tokens[token].at),
				 errhint("Valid options: %s.", mcs_options_names(list, OPTION_CLAUSE)),
				 mcs_reader_error_position(reader, token)));
	if (option->flags & OPTION_NEW)
		mcs_dialect_check_new_option(reader, option->name, token);
	return option;
}

/* Says what an option takes. */
static void
bad_value(const TokenReader *reader, int token, const char *name, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" takes %s", name, wanted),
			 mcs_reader_error_position(reader, token)));
}

/* A string or a word. */
static char *
word_value(TokenReader *reader)
{
	const DialectToken *token = &reader->tokens[reader->current];

	if (mcs_reader_at_end(reader) || (token->value == NULL && token->type != TOKEN_INTEGER))
		return NULL;
	reader->current++;
	return token->value ? mcs_dialect_spelling(reader->source, token) : pnstrdup(reader->source + token->at, token->length);
}

/* ['a', 'b'], ARRAY['a', 'b'], ('a', 'b'), or one value */
static char *
list_value(TokenReader *reader, const char *name)
{
	int			first;
	int			close = 0;
	StringInfoData out;

	/* the brackets may be left out around one value */
	(void) mcs_reader_skip(reader, "ARRAY");
	first = reader->current;
	if (!mcs_reader_at_end(reader) && (reader->tokens[first].type == '[' || reader->tokens[first].type == '('))
	{
		close = reader->tokens[first].type == '[' ? ']' : ')';
		reader->current++;
	}
	initStringInfo(&out);
	appendStringInfoString(&out, "ARRAY[");
	/* where the bracket is not closed, the end of the statement is no value */
	for (int n = 0; !close || reader->tokens[reader->current].type != close; n++)
	{
		char	   *value;

		if (n > 0)
			mcs_reader_expect(reader, ",");
		value = word_value(reader);
		if (!value)
			bad_value(reader, reader->current, name, "a list such as ['insert', 'update']");
		appendStringInfo(&out, "%s%s", n ? ", " : "", quote_literal_cstr(value));
		if (!close)
			break;
	}
	if (close)
		reader->current++;
	/* an empty list has no element to take its type from */
	appendStringInfoString(&out, strcmp(out.data, "ARRAY[") == 0 ? "]::text[]" : "]");
	return out.data;
}

/* A string, or JSON as it stands. */
static char *
document_value(TokenReader *reader, const char *name)
{
	int			first = reader->current;
	int			depth = 0;
	int			from = reader->tokens[first].at;

	if (reader->tokens[first].type == TOKEN_STRING)
		return quote_literal_cstr(word_value(reader));
	if (reader->tokens[first].type != '[' && reader->tokens[first].type != '{')
		bad_value(reader, first, name, "a list of stages such as '[{\"$match\": {\"ns.coll\": \"orders\"}}]'");
	/* up to the bracket that closes the first; whether it is JSON is for the type to say */
	for (; !mcs_reader_at_end(reader); reader->current++)
	{
		int			type = reader->tokens[reader->current].type;

		depth += type == '[' || type == '{' ? 1 : type == ']' || type == '}' ? -1 : 0;
		if (depth == 0)
			break;
	}
	if (mcs_reader_at_end(reader))
		mcs_reader_syntax_error(reader, "A bracket is not closed.");
	reader->current++;
	return quote_literal_cstr(pnstrdup(reader->source + from,
									   mcs_dialect_token_end(&reader->tokens[reader->current - 1]) - from));
}

/* true, false, on, off and the like */
static char *
boolean_value(TokenReader *reader, const char *name)
{
	int			token = reader->current;
	char	   *value = word_value(reader);
	bool		truth;

	if (!value || !parse_bool(value, &truth))
		bad_value(reader, token, name, "true or false");
	return truth ? "true" : "false";
}

/* '1 second', INTERVAL '1 second', or a number of milliseconds where the option is one of MongoDB's in them */
static char *
interval_value(TokenReader *reader, const char *name, bool milliseconds)
{
	int			token = reader->current;
	bool		typed = mcs_reader_skip(reader, "INTERVAL");
	bool		number = reader->tokens[reader->current].type == TOKEN_INTEGER;
	char	   *value = word_value(reader);

	if (!value || (number && (typed || !milliseconds)))
		bad_value(reader, token, name, "an interval such as '1 second'");
	return number ? psprintf("'%s milliseconds'", value) : quote_literal_cstr(value);
}

/* The value of an option, which was called by some name, as SQL. */
static char *
option_value(TokenReader *reader, const Option *option, const char *name)
{
	int			token = reader->current;
	char	   *value;

	/* what the function takes for not given */
	if (mcs_reader_skip(reader, "NULL"))
		return "NULL";
	switch (option->kind)
	{
		case OPTION_TEXTS:
			return list_value(reader, name);
		case OPTION_DOCUMENT:
			return document_value(reader, name);
		case OPTION_BOOL:
			return boolean_value(reader, name);
		case OPTION_INTERVAL:
			return interval_value(reader, name, (option->flags & OPTION_MILLISECONDS) != 0);
		case OPTION_INT:
			value = word_value(reader);
			/* which numbers are allowed, the function says that takes the option */
			if (!value || strspn(value, "0123456789") != strlen(value) || !*value)
				bad_value(reader, token, name, "a whole number");
			return value;
		case OPTION_TEXT:
		case OPTION_WORD:
			break;
	}
	/* TIMESTAMPTZ '...': the argument has a type of its own, so that of the literal goes */
	if (reader->tokens[reader->current].type == TOKEN_WORD && reader->tokens[reader->current + 1].type == TOKEN_STRING)
		reader->current++;
	value = word_value(reader);
	if (!value)
		bad_value(reader, token, name, "a string");
	return quote_literal_cstr(value);
}

/* Reads name = value. */
void
mcs_dialect_read_option(TokenReader *reader, const OptionList *list, List **options)
{
	int			token = reader->current;
	char	   *name = mcs_dialect_read_option_name(reader);
	const Option *known;
	StatementOption *option = palloc(sizeof(StatementOption));
	ListCell   *cell;

	/* BATCH_SIZE shouted is no camelCase */
	if (is_upper_case(reader->source + reader->tokens[token].at, reader->tokens[token].length))
		name = reader->tokens[token].value;
	known = find_option(reader, list, name, token);
	option->name = known->name;
	option->token = token;
	foreach(cell, *options)
		if (strcmp(((StatementOption *) lfirst(cell))->name, option->name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("option \"%s\" is given more than once", option->name),
					 mcs_reader_error_position(reader, token)));
	if (!mcs_reader_skip_type(reader, TOKEN_ARROW))
		mcs_reader_expect(reader, "=");
	option->value = option_value(reader, known, name);
	*options = lappend(*options, option);
}

/* Reads (name = value, ...). */
void
mcs_dialect_read_options(TokenReader *reader, List **options, bool handler)
{
	mcs_reader_expect(reader, "(");
	if (mcs_reader_skip_type(reader, ')'))
		return;
	for (;;)
	{
		mcs_dialect_read_option(reader, handler ? &mcs_options_handler : &mcs_options_stream, options);
		if (mcs_reader_skip_type(reader, ')'))
			return;
		mcs_reader_expect(reader, ",");
	}
}
