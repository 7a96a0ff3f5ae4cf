/*
 * dialect/event_expression.c
 *	  Conditions and added fields of a stream: expressions over the columns of
 *	  an event, in which a bare name can be a field of the document, or one that
 *	  was added before.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* How long the expression of an added field may become. */
#define MAX_FIELD_BYTES	100000

/* One expression, from..to of the user's text; names are those that were added before. */
char *
mcs_dialect_event_expression(Oid namespace, const char *source, int from, int to, List *names, bool bare_names, bool condition)
{
	Fragment   *fragment = mcs_dialect_begin_fragment(namespace, source, from, to, DIALECT_FILTER);

	fragment->variables = names;
	fragment->bare_names = bare_names;
	/*
	 * with bare names it is the dialect's own statement, else a text for
	 * create_change_stream, which says what is wrong
	 */
	fragment->lenient = !bare_names;
	fragment->is_condition = condition;
	return mcs_dialect_translate_fragment(fragment);
}

/* The token of the comma behind an expression, or the one at the end. */
static int
expression_end(const DialectToken *tokens, int i, int end)
{
	for (; i < end && tokens[i].type != ','; i++)
		if (tokens[i].type == '(' || tokens[i].type == '[')
			i = mcs_dialect_closing_bracket(tokens, i);
	return Min(i, end);
}

/* Adds a field to the names that later expressions know; one of the same name before it is hidden. */
static List *
add_name(List *names, const char *name, const char *expression)
{
	DialectVariable *added = palloc0(sizeof(DialectVariable));

	/* who adds each field to itself would double the text with each */
	if (strlen(expression) > MAX_FIELD_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("the expression of the added field \"%s\" becomes too long", name),
				 errdetail("It has %zu bytes with the added fields that it uses; %d are the limit.", strlen(expression), MAX_FIELD_BYTES)));
	added->name = name;
	added->text = psprintf("(%s)", expression);
	return lappend(names, added);
}

/*
 * Translates "name = expression, ..." between two tokens of the user's text.
 * Returns false, at the token that is wrong, where it is no such list.
 */
bool
mcs_dialect_event_fields(Oid namespace, const char *source, const DialectToken *tokens, int first, int end, bool bare_names,
				   List **names, StringInfo out, int *at)
{
	int			copied = tokens[first].at;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "dialect field", ALLOCSET_DEFAULT_SIZES);

	for (*at = first; *at < end;)
	{
		const DialectToken *name = &tokens[*at];
		int			last;
		char	   *expression;

		CHECK_FOR_INTERRUPTS();
		if (name->value == NULL || name->type == TOKEN_STRING)
			return false;
		(*at)++;
		if (tokens[*at].type != '=' || *at + 1 >= end)
			return false;
		(*at)++;
		last = expression_end(tokens, *at, end);
		if (last == *at)
			return false;
		MemoryContextReset(scratch);
		MemoryContextSwitchTo(scratch);
		expression = mcs_dialect_event_expression(namespace, source, tokens[*at].at, mcs_dialect_token_end(&tokens[last - 1]),
												  *names, bare_names, false);
		MemoryContextSwitchTo(context);
		appendBinaryStringInfo(out, source + copied, tokens[*at].at - copied);
		appendStringInfoString(out, expression);
		copied = mcs_dialect_token_end(&tokens[last - 1]);
		/* SQL's add_fields has no names for later ones */
		if (bare_names)
			*names = add_name(*names, name->value, expression);
		*at = last;
		/* over the comma; a list does not end with one */
		if (*at < end && ++(*at) == end)
			return false;
	}
	return *at > first;
}
