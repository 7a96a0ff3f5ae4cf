/*
 * dialect/script.c
 *	  A text of several statements, one after the other.
 *
 * Each statement is a text of its own from here on, so an error in it shows the
 * statement that it is about and not the hundreds of lines around it; where in
 * the text that stands, its context says.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Says which statement an error is about, where there are several. */
static void
error_callback(void *arg)
{
	const Script *script = arg;

	if (script->statements > 1)
		errcontext("statement %d of %d, which begins at line %d", script->number, script->statements, script->line);
}

/* Begins with a text; what is raised until the end has the statement in its context. */
void
mcs_script_begin(Script *script, Oid namespace, const char *text)
{
	memset(script, 0, sizeof(Script));
	script->namespace = namespace;
	script->text = text;
	script->tokens = mcs_dialect_lex_text(text, &script->count);
	script->line = 1;
	for (int i = 0; i < script->count;)
	{
		int			end = mcs_dialect_statement_end(text, script->tokens, i);

		CHECK_FOR_INTERRUPTS();
		/* two semicolons have nothing between them */
		if (end > i)
			script->statements++;
		i = end + 1;
	}
	script->scratch = AllocSetContextCreate(CurrentMemoryContext, "dialect statement", ALLOCSET_DEFAULT_SIZES);
	script->callback.previous = error_context_stack;
	script->callback.callback = error_callback;
	script->callback.arg = script;
}

/* Goes to the next statement; false where there is none. */
bool
mcs_script_next(Script *script)
{
	int			first = script->next;
	int			end = first;
	MemoryContext old;

	CHECK_FOR_INTERRUPTS();
	error_context_stack = script->callback.previous;
	while (first < script->count && (end = mcs_dialect_statement_end(script->text, script->tokens, first)) == first)
		first++;
	if (first >= script->count)
		return false;
	for (int at = script->from; at < script->tokens[first].at; at++)
		if (script->text[at] == '\n')
			script->line++;
	script->from = script->tokens[first].at;
	script->to = mcs_dialect_token_end(&script->tokens[end - 1]);
	script->next = end + 1;
	script->number++;
	MemoryContextReset(script->scratch);
	old = MemoryContextSwitchTo(script->scratch);
	script->statement = pnstrdup(script->text + script->from, script->to - script->from);
	script->statement_tokens = mcs_dialect_slice(script->tokens, first, end);
	script->statement_count = end - first;
	MemoryContextSwitchTo(old);
	error_context_stack = &script->callback;
	return true;
}

/* Whether no statement comes behind this one. */
bool
mcs_script_is_last(const Script *script)
{
	return script->number == script->statements;
}

/* The statement as plain SQL, in memory that the next one takes back; is_call: its rows, if any, tell nothing. */
char *
mcs_script_translate(Script *script, bool *is_call)
{
	MemoryContext old = MemoryContextSwitchTo(script->scratch);
	char	   *made = mcs_statement_translate(script->namespace, script->statement, script->statement_tokens, 0,
											   script->statement_count, is_call);

	if (!made)
	{
		Fragment   *fragment = mcs_dialect_begin_fragment(script->namespace, script->statement, 0, script->to - script->from, DIALECT_STATEMENT);

		*is_call = false;
		fragment->shown = script->shown;
		made = mcs_dialect_translate_fragment(fragment);
	}
	MemoryContextSwitchTo(old);
	return made;
}

/* Behind the last statement. */
void
mcs_script_end(Script *script)
{
	error_context_stack = script->callback.previous;
	MemoryContextDelete(script->scratch);
}
