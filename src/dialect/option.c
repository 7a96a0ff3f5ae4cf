/*
 * dialect/option.c
 *	  WITH (name = value, ...), in SQL's spelling of names and in MongoDB's.
 */
#include "mongo_change_stream.h"

#include "dialect/statement.h"
#include "utils/builtins.h"

typedef enum OptionType
{
	OPTION_TEXT,
	OPTION_BOOLEAN,
	OPTION_INTEGER,
	OPTION_INTERVAL,
	OPTION_MILLISECONDS,		/* an interval; a bare number is one of milliseconds */
	OPTION_LIST,
	OPTION_DOCUMENT
} OptionType;

typedef struct OptionName
{
	const char *name;
	OptionType	type;
	const char *argument;		/* of the function, where it is not the name */
	bool		create_only;
} OptionName;

static const OptionName stream_options[] = {
	{"operations", OPTION_LIST, NULL, false},
	{"pipeline", OPTION_DOCUMENT, NULL, false},
	{"full_document", OPTION_TEXT, NULL, false},
	{"full_document_before_change", OPTION_TEXT, NULL, false},
	{"show_expanded_events", OPTION_BOOLEAN, NULL, false},
	{"max_await_time", OPTION_MILLISECONDS, NULL, false},
	{"max_await_time_ms", OPTION_MILLISECONDS, "max_await_time", false},
	{"batch_size", OPTION_INTEGER, NULL, false},
	{"resume_after", OPTION_TEXT, NULL, true},
	{"start_after", OPTION_TEXT, NULL, true},
	{"start_at", OPTION_TEXT, NULL, true},
	{"start_at_operation_time", OPTION_TEXT, "start_at", true},
	{"initial_snapshot", OPTION_BOOLEAN, NULL, true},
	{"retention", OPTION_INTERVAL, NULL, false},
	{"notify", OPTION_TEXT, NULL, false},
	{"exclude_fields", OPTION_LIST, NULL, false},
	{"mask_fields", OPTION_LIST, NULL, false},
	{"on_error", OPTION_TEXT, NULL, false},
	{"paused", OPTION_BOOLEAN, NULL, true},
	{"server", OPTION_TEXT, NULL, true},
	{NULL, OPTION_TEXT, NULL, false}
};

static const OptionName handler_options[] = {
	{"condition", OPTION_TEXT, NULL, false},
	{"start_at", OPTION_TEXT, NULL, false},
	{"retry_attempts", OPTION_INTEGER, NULL, false},
	{"retry_delay", OPTION_INTERVAL, NULL, false},
	{"max_retry_delay", OPTION_INTERVAL, NULL, false},
	{"timeout", OPTION_INTERVAL, NULL, false},
	{"on_failure", OPTION_TEXT, NULL, false},
	{"workers", OPTION_INTEGER, NULL, false},
	{"paused", OPTION_BOOLEAN, NULL, false},
	{NULL, OPTION_TEXT, NULL, false}
};

/* Fields that alter_change_stream can put back. */
static const char *const alterable[] = {"filter", "add_fields", "operations", "pipeline", "full_document",
	"full_document_before_change", "show_expanded_events", "max_await_time", "batch_size", "retention", "notify",
	"exclude_fields", "mask_fields", "on_error", NULL};

const char *const *
mcs_option_alterable(void)
{
	return alterable;
}

/* Whether alter_change_stream takes an option. */
bool
mcs_option_is_alterable(const char *name)
{
	for (int i = 0; alterable[i]; i++)
		if (strcmp(name, alterable[i]) == 0)
			return true;
	return false;
}

/* An option's name, in SQL's spelling. */
char *
mcs_statement_option_name(Statement *statement)
{
	const DialectToken *token = &statement->tokens[statement->i];

	if (statement->i >= statement->end || token->value == NULL)
		mcs_statement_error(statement, "The name of an option is expected here.");
	statement->i++;
	if (token->type == TOKEN_WORD && statement->whole[token->at] != '"')
		return mcs_dialect_snake_case(statement->whole + token->at, token->length);
	return mcs_dialect_snake_case(token->value, strlen(token->value));
}

static bool
is_upper_case(const char *text, int size)
{
	for (int i = 0; i < size; i++)
		if (text[i] >= 'a' && text[i] <= 'z')
			return false;
	return true;
}

static const OptionName *
find_option(const Statement *statement, const OptionName *options, const char *name, int token)
{
	StringInfoData valid;

	initStringInfo(&valid);
	for (; options->name; options++)
	{
		if (strcmp(options->name, name) == 0)
			return options;
		if (!options->argument)
			appendStringInfo(&valid, "%s%s", valid.len ? ", " : "", options->name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("unrecognized option \"%.*s\"", statement->tokens[token].length, statement->whole + statement->tokens[token].at),
			 errhint("Valid options: %s.", valid.data),
			 mcs_statement_position(statement, token)));
	return NULL;
}

static void
bad_value(const Statement *statement, int token, const char *name, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" takes %s", name, wanted),
			 mcs_statement_position(statement, token)));
}

/* A string or a word. */
static char *
word_value(Statement *statement)
{
	const DialectToken *token = &statement->tokens[statement->i];

	if (statement->i >= statement->end || (token->value == NULL && token->type != TOKEN_INTEGER))
		return NULL;
	statement->i++;
	if (token->value && (token->type != TOKEN_WORD || statement->whole[token->at] == '"'))
		return token->value;
	return pnstrdup(statement->whole + token->at, token->length);
}

/* ['a', 'b'], ARRAY['a', 'b'], ('a', 'b'), or one value */
static char *
list_value(Statement *statement, const char *name)
{
	int			first;
	int			close = 0;
	StringInfoData out;

	(void) mcs_statement_skip(statement, "ARRAY");
	first = statement->i;
	if (statement->i < statement->end && (statement->tokens[first].type == '[' || statement->tokens[first].type == '('))
	{
		close = statement->tokens[first].type == '[' ? ']' : ')';
		statement->i++;
	}
	initStringInfo(&out);
	appendStringInfoString(&out, "ARRAY[");
	for (int n = 0; !close || statement->tokens[statement->i].type != close; n++)
	{
		char	   *value;

		if (n > 0)
			mcs_statement_expect(statement, ",");
		value = word_value(statement);
		if (!value)
			bad_value(statement, statement->i, name, "a list such as ['insert', 'update']");
		appendStringInfo(&out, "%s%s", n ? ", " : "", quote_literal_cstr(value));
		if (!close)
			break;
	}
	if (close)
		statement->i++;
	appendStringInfoString(&out, strcmp(out.data, "ARRAY[") == 0 ? "]::text[]" : "]");
	return out.data;
}

/* A string, or JSON as it stands. */
static char *
document_value(Statement *statement, const char *name)
{
	int			first = statement->i;
	int			depth = 0;
	int			from = statement->tokens[first].at;

	if (statement->tokens[first].type == TOKEN_STRING)
		return quote_literal_cstr(word_value(statement));
	if (statement->tokens[first].type != '[' && statement->tokens[first].type != '{')
		bad_value(statement, first, name, "a list of stages such as '[{\"$match\": {\"ns.coll\": \"orders\"}}]'");
	for (; statement->i < statement->end; statement->i++)
	{
		int			type = statement->tokens[statement->i].type;

		depth += type == '[' || type == '{' ? 1 : type == ']' || type == '}' ? -1 : 0;
		if (depth == 0)
			break;
	}
	if (statement->i >= statement->end)
		mcs_statement_error(statement, "A bracket is not closed.");
	statement->i++;
	return quote_literal_cstr(pnstrdup(statement->whole + from,
									   mcs_dialect_token_end(&statement->tokens[statement->i - 1]) - from));
}

static char *
boolean_value(Statement *statement, const char *name)
{
	int			token = statement->i;
	char	   *value = word_value(statement);
	bool		truth;

	if (!value || !parse_bool(value, &truth))
		bad_value(statement, token, name, "true or false");
	return truth ? "true" : "false";
}

static char *
interval_value(Statement *statement, const char *name, bool milliseconds)
{
	int			token = statement->i;
	bool		typed = mcs_statement_skip(statement, "INTERVAL");
	bool		number = statement->tokens[statement->i].type == TOKEN_INTEGER;
	char	   *value = word_value(statement);

	if (!value || (number && (typed || !milliseconds)))
		bad_value(statement, token, name, "an interval such as '1 second'");
	return number ? psprintf("'%s milliseconds'", value) : quote_literal_cstr(value);
}

/* The value of an option, as SQL. */
static char *
option_value(Statement *statement, const OptionName *option)
{
	int			token = statement->i;
	char	   *value;

	if (mcs_statement_skip(statement, "NULL"))
		return "NULL";
	switch (option->type)
	{
		case OPTION_LIST:
			return list_value(statement, option->name);
		case OPTION_DOCUMENT:
			return document_value(statement, option->name);
		case OPTION_BOOLEAN:
			return boolean_value(statement, option->name);
		case OPTION_INTERVAL:
		case OPTION_MILLISECONDS:
			return interval_value(statement, option->name, option->type == OPTION_MILLISECONDS);
		case OPTION_INTEGER:
			value = word_value(statement);
			if (!value || strspn(value, "0123456789") != strlen(value) || !*value)
				bad_value(statement, token, option->name, "a whole number");
			return value;
		default:
			/* TIMESTAMPTZ '...' */
			if (statement->tokens[statement->i].type == TOKEN_WORD && statement->tokens[statement->i + 1].type == TOKEN_STRING)
				statement->i++;
			value = word_value(statement);
			if (!value)
				bad_value(statement, token, option->name, "a string");
			return quote_literal_cstr(value);
	}
}

/* Reads (name = value, ...). */
void
mcs_statement_options(Statement *statement, List **options, bool handler)
{
	mcs_statement_expect(statement, "(");
	if (statement->i < statement->end && statement->tokens[statement->i].type == ')')
	{
		statement->i++;
		return;
	}
	for (;;)
	{
		int			token = statement->i;
		char	   *name = mcs_statement_option_name(statement);
		const OptionName *known;
		StatementOption *option = palloc(sizeof(StatementOption));
		ListCell   *cell;

		/* BATCH_SIZE shouted is no camelCase */
		if (is_upper_case(statement->whole + statement->tokens[token].at, statement->tokens[token].length))
			name = statement->tokens[token].value;
		known = find_option(statement, handler ? handler_options : stream_options, name, token);
		option->name = known->argument ? known->argument : known->name;
		option->token = token;
		foreach(cell, *options)
			if (strcmp(((StatementOption *) lfirst(cell))->name, option->name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_SYNTAX_ERROR),
						 errmsg("option \"%s\" is given more than once", option->name),
						 mcs_statement_position(statement, token)));
		if (statement->i < statement->end && statement->tokens[statement->i].type == TOKEN_ARROW)
			statement->i++;
		else
			mcs_statement_expect(statement, "=");
		option->value = option_value(statement, known);
		*options = lappend(*options, option);
		if (statement->i < statement->end && statement->tokens[statement->i].type == ')')
			break;
		mcs_statement_expect(statement, ",");
	}
	statement->i++;
}
