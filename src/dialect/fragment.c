/*
 * dialect/fragment.c
 *	  A fragment of the user's text before it is parsed: its tokens, the
 *	  dialect's words in it, and where errors in it are.
 *
 * A fragment is parsed as a text of its own, as long as what the user wrote
 * there, byte for byte.  So a position in it is one in the user's text but for
 * where the fragment begins.
 *
 * The dialect's words that PostgreSQL's grammar does not know become something
 * that parses in the copy that is parsed, byte for byte as long: CONTAINS an
 * operator of eight characters, CHANGE_STREAM(orders) a name of thirteen and
 * blanks.  What they become in the end is decided by the analysis.  A new word
 * that no grammar knows is found in replace_words.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/*
 * The fragment whose analysis runs.  Hooks are given a ParseState only, and its
 * p_ref_hook_state is taken by PostgreSQL's own hook for parameters.
 */
Fragment   *mcs_dialect_current = NULL;

/* ---- where errors are ---- */

/* For ereport: the error is at a byte of the fragment. */
int
mcs_dialect_error_at(const Fragment *fragment, int at)
{
	if (at < 0)
		return 0;
	return errposition(pg_mbstrlen_with_len(fragment->text, at) + 1);
}

/* Turns a position in a fragment into one in the user's whole text. */
void
mcs_dialect_error_callback(void *arg)
{
	const Fragment *fragment = arg;
	int			position = geterrposition();

	if (position <= 0)
		return;
	/* a position would be taken for one in the statement that called us, so it becomes one in an inner query */
	errposition(0);
	internalerrposition(position + pg_mbstrlen_with_len(fragment->source, fragment->source_offset));
	internalerrquery(fragment->source);
}

/* Raises an error again that an attempt to analyse a fragment has met, where the user's whole text has it. */
void
mcs_dialect_raise(const Fragment *fragment, ErrorData *error)
{
	if (error->cursorpos > 0)
	{
		error->internalpos = error->cursorpos + pg_mbstrlen_with_len(fragment->source, fragment->source_offset);
		error->internalquery = pstrdup(fragment->source);
		error->cursorpos = 0;
	}
	ReThrowError(error);
}

/* Cuts the user's whole text into tokens, with errors that point into it. */
DialectToken *
mcs_dialect_lex_text(const char *text, int *count)
{
	Fragment	source = {.source = text};
	ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, &source};
	DialectToken *tokens;

	error_context_stack = &callback;
	tokens = mcs_dialect_lex(text, count);
	error_context_stack = callback.previous;
	return tokens;
}

/* ---- words ---- */

/* Blanks out a range of what is parsed. */
static void
blank_out(Fragment *fragment, int from, int to)
{
	memset(fragment->parsed + from, ' ', to - from);
}

/* Whether a token can be the end of an operand. */
static bool
ends_operand(const Fragment *fragment, int i)
{
	static const char *const values[] = {"END", "NULL", "TRUE", "FALSE", NULL};
	const DialectToken *token = &fragment->tokens[i];

	switch (token->type)
	{
		case ')':
		case ']':
		case TOKEN_STRING:
		case TOKEN_PARAMETER:
			return true;
		case TOKEN_WORD:
		case TOKEN_UNICODE_WORD:
			return !mcs_dialect_token_is_reserved(fragment->text, token) || mcs_dialect_token_is_any(fragment->text, token, values);
		default:
			return false;
	}
}

/* Whether a token can be the beginning of an operand. */
static bool
begins_operand(const Fragment *fragment, int i)
{
	static const char *const values[] = {"CASE", "CAST", "ARRAY", "ANY", NULL};
	const DialectToken *token = &fragment->tokens[i];

	switch (token->type)
	{
		case '(':
		case TOKEN_STRING:
		case TOKEN_UNICODE_STRING:
		case TOKEN_PARAMETER:
		case TOKEN_INTEGER:
		case TOKEN_FLOAT:
			return true;
		case TOKEN_WORD:
		case TOKEN_UNICODE_WORD:
			return !mcs_dialect_token_is_reserved(fragment->text, token) || mcs_dialect_token_is_any(fragment->text, token, values);
		default:
			return false;
	}
}

/* x CONTAINS y, x NOT CONTAINS y */
static void
contains(Fragment *fragment, int i)
{
	DialectToken *tokens = fragment->tokens;
	bool		negated = i > 0 && mcs_dialect_word_is(fragment, i - 1, "NOT");
	int			left = i - (negated ? 2 : 1);

	if (left < 0 || !ends_operand(fragment, left) || !begins_operand(fragment, i + 1))
		return;
	/* a column of this name, as in t.contains */
	if (tokens[left].type == '.' || tokens[i + 1].type == '.')
		return;
	if (negated)
		blank_out(fragment, tokens[i - 1].at, mcs_dialect_token_end(&tokens[i - 1]));
	/* which of the two it is the operator says, since NOT has gone */
	memcpy(fragment->parsed + tokens[i].at, negated ? DIALECT_NOT_CONTAINS : DIALECT_CONTAINS, tokens[i].length);
	fragment->has_words = true;
}

/* Whether a token can name a collection or database. */
static bool
is_name(const Fragment *fragment, int i)
{
	return fragment->tokens[i].value != NULL &&
		(fragment->tokens[i].type == TOKEN_STRING || !mcs_dialect_token_is_reserved(fragment->text, &fragment->tokens[i]));
}

/*
 * Makes the tokens from..to stand for a relation; name is the one whose place
 * it takes, the others go.
 */
static DialectRelation *
replace_by_placeholder(Fragment *fragment, int from, int to, int name, char *collection, char *folded, char *database)
{
	DialectRelation *relation = palloc0(sizeof(DialectRelation));
	char		placeholder[32];

	/* the number in the placeholder has six digits, and each is looked up */
	if (list_length(fragment->change_streams) >= DIALECT_MAX_STREAMS)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("a statement names more than %d change streams", DIALECT_MAX_STREAMS)));
	relation->token = from;
	relation->name = name;
	relation->collection = collection;
	relation->folded = folded;
	relation->database = database;
	snprintf(placeholder, sizeof(placeholder), DIALECT_PLACEHOLDER "%06d", list_length(fragment->change_streams));
	fragment->change_streams = lappend(fragment->change_streams, relation);
	for (int i = from; i < to; i++)
		blank_out(fragment, fragment->tokens[i].at, mcs_dialect_token_end(&fragment->tokens[i]));
	memcpy(fragment->parsed + fragment->tokens[from].at, placeholder, strlen(placeholder));
	/* the name's token alone stays, to be replaced when it is known by what */
	mcs_dialect_remove_tokens(fragment, from, name);
	if (to > name + 1)
		mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[name + 1].at, mcs_dialect_token_end(&fragment->tokens[to - 1]), "");
	fragment->has_words = true;
	return relation;
}

/* A name of a collection, maybe with its database in front; false where there is none. */
static bool
collection_name(const Fragment *fragment, int i, int *end, int *name, char **database)
{
	if (!is_name(fragment, i))
		return false;
	*name = i;
	*database = NULL;
	if (fragment->tokens[i + 1].type == '.' && is_name(fragment, i + 2))
	{
		*database = mcs_dialect_spelling(fragment->text, &fragment->tokens[i]);
		*name = i + 2;
	}
	*end = *name + 1;
	return true;
}

/* CHANGE_STREAM ON DATABASE, with a name or without */
static void
on_database(Fragment *fragment, int i)
{
	/* words that can follow a relation and are names by the letter */
	static const char *const followers[] = {"CROSS", "INNER", "LEFT", "RIGHT", "FULL", "NATURAL", "JOIN", "TABLESAMPLE", "AS", NULL};
	int			name = i + 3;

	if (is_name(fragment, name) && !mcs_dialect_token_is_any(fragment->text, &fragment->tokens[name], followers))
		replace_by_placeholder(fragment, i, name + 1, name, NULL, NULL, mcs_dialect_spelling(fragment->text, &fragment->tokens[name]));
	else
		replace_by_placeholder(fragment, i, i + 3, i + 2, NULL, NULL, NULL);
}

/*
 * The end of CHANGE_STREAM( ... ) from behind the name on: the token behind the
 * bracket, *history where 'history' stands before it.  0 where it is something
 * else, as a function or a table of the user's that has this name.
 */
static int
closing_bracket(const Fragment *fragment, int i, int word, bool *history)
{
	static const char *const before_relation[] = {"FROM", "JOIN", NULL};
	const DialectToken *tokens = fragment->tokens;

	*history = false;
	if (tokens[i].type == ')')
		return i + 1;
	if (tokens[i].type != ',' || !(tokens[i + 1].type == TOKEN_STRING || mcs_dialect_token_is_any(fragment->text, &tokens[word - 1], before_relation)))
		return 0;
	if (tokens[i + 1].type != TOKEN_STRING || !tokens[i + 1].value || strcmp(tokens[i + 1].value, "history") != 0 || tokens[i + 2].type != ')')
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("only 'history' can stand behind the name in CHANGE_STREAM"),
				 errdetail("With it MongoDB's history is read, also where a change stream keeps the events."),
				 errhint("SELECT ... FROM CHANGE_STREAM(orders, 'history');"),
				 mcs_dialect_error_at(fragment, tokens[i + 1].at)));
	*history = true;
	return i + 3;
}

/* CHANGE_STREAM in its places: a relation of FROM, and in front of a CTE's name */
static void
change_stream(Fragment *fragment, int i)
{
	static const char *const before_cte[] = {"WITH", "RECURSIVE", NULL};
	DialectToken *tokens = fragment->tokens;
	int			end;
	int			name;
	char	   *database;
	bool		history;

	/* no statement begins with a relation; PAUSE CHANGE STREAM and the like are read elsewhere */
	if (i == 0)
		return;
	if (mcs_dialect_word_is(fragment, i + 1, "ON") && mcs_dialect_word_is(fragment, i + 2, "DATABASE"))
		on_database(fragment, i);
	else if (mcs_dialect_word_is(fragment, i + 1, "ON") &&
			 collection_name(fragment, i + 2, &end, &name, &database))
		replace_by_placeholder(fragment, i, end, name, mcs_dialect_spelling(fragment->text, &fragment->tokens[name]), tokens[name].value, database);
	else if (tokens[i + 1].type == '(' && mcs_dialect_word_is(fragment, i + 2, "DATABASE") &&
			 (end = closing_bracket(fragment, i + 3, i, &history)) > 0)
		replace_by_placeholder(fragment, i, end, i + 2, NULL, NULL, NULL)->history = history;
	else if (tokens[i + 1].type == '(' && collection_name(fragment, i + 2, &end, &name, &database) &&
			 (end = closing_bracket(fragment, end, i, &history)) > 0)
		replace_by_placeholder(fragment, i, end, name, mcs_dialect_spelling(fragment->text, &fragment->tokens[name]),
							   tokens[name].value, database)->history = history;
	else if ((mcs_dialect_token_is_any(fragment->text, &tokens[i - 1], before_cte) || tokens[i - 1].type == ',') &&
			 is_name(fragment, i + 1) && (mcs_dialect_word_is(fragment, i + 2, "AS") || tokens[i + 2].type == '('))
	{
		/* a CTE that is called change_stream itself */
		if (mcs_dialect_word_is(fragment, i + 1, "AS"))
			return;
		blank_out(fragment, tokens[i].at, mcs_dialect_token_end(&tokens[i]));
		mcs_dialect_remove_tokens(fragment, i, i + 1);
		fragment->has_words = true;
	}
}

/* change.full_document.a: a path, whatever it is in */
static bool
is_change_path(const Fragment *fragment, int i)
{
	const DialectToken *tokens = fragment->tokens;

	return mcs_dialect_word_is(fragment, i, "change") && tokens[i + 1].type == '.' &&
		tokens[i + 2].type == TOKEN_WORD && tokens[i + 3].type == '.';
}

/*
 * A field of a document is often called user, and nobody who names it means the
 * role that he is.  In what is parsed it gets a name that is no word of SQL; how
 * it was written is taken from the text.
 */
static void
field_called_user(Fragment *fragment, int i)
{
	memcpy(fragment->parsed + fragment->tokens[i].at, "u$er", fragment->tokens[i].length);
	fragment->has_words = true;
}

/* Finds the dialect's words and makes the text parse. */
static void
replace_words(Fragment *fragment)
{
	DialectToken *tokens = fragment->tokens;
	MemoryContext old;

	for (int i = 0; i < fragment->token_count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (tokens[i].type != TOKEN_WORD || (i > 0 && tokens[i - 1].type == '.'))
			continue;
		if (mcs_dialect_word_is(fragment, i, "CHANGE_STREAM"))
			change_stream(fragment, i);
		else if (mcs_dialect_word_is(fragment, i, "CONTAINS"))
			contains(fragment, i);
		else if (mcs_dialect_word_is(fragment, i, "TIME_WINDOW") && tokens[i + 1].type == '(')
			fragment->has_words = true;
		else if (is_change_path(fragment, i))
			fragment->has_change_path = true;
		else if (fragment->mode == DIALECT_DOCUMENT && mcs_dialect_word_is(fragment, i, "USER"))
			field_called_user(fragment, i);
	}
	/* they are what each attempt begins with, so they must outlive the first */
	old = MemoryContextSwitchTo(GetMemoryChunkContext(fragment));
	fragment->word_edits = list_copy(fragment->edits);
	MemoryContextSwitchTo(old);
}

/* ---- its begin ---- */

/* Begins with a fragment of the user's text, from..to of it. */
Fragment *
mcs_dialect_begin_fragment(Oid namespace, const char *source, int from, int to, DialectMode mode)
{
	Fragment   *fragment = palloc0(sizeof(Fragment));
	ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, fragment};
	Oid			types[2];

	fragment->source = source;
	fragment->source_offset = from;
	fragment->text = pnstrdup(source + from, to - from);
	fragment->parsed = pnstrdup(source + from, to - from);
	fragment->size = to - from;
	fragment->mode = mode;
	fragment->bare_names = true;
	fragment->namespace = namespace;
	fragment->document = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("document"), ObjectIdGetDatum(namespace));
	/* document_get(document, VARIADIC text[]) */
	types[0] = fragment->document;
	types[1] = TEXTARRAYOID;
	fragment->get_function = mcs_dialect_function(fragment->namespace, "document_get", 2, types);
	if (!OidIsValid(fragment->document) || !OidIsValid(fragment->get_function))
		elog(ERROR, "the extension's schema has no type document");
	error_context_stack = &callback;
	/* what the scanner complains of points into the user's text */
	fragment->tokens = mcs_dialect_lex(fragment->text, &fragment->token_count);
	replace_words(fragment);
	error_context_stack = callback.previous;
	return fragment;
}

/* Raises an error again that is nobody's to keep: who cancels must not have to wait for more attempts. */
void
mcs_dialect_rethrow_urgent(ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
		ReThrowError(error);
}

/* Whether the columns of a fragment's outermost SELECT are for who asks for them, and no program's that has named them already. */
bool
mcs_dialect_is_result(const Fragment *fragment)
{
	return fragment->mode == DIALECT_STATEMENT && !fragment->one_event && !OidIsValid(fragment->change_type) &&
		!OidIsValid(fragment->changes) && !fragment->variables && !fragment->into_types;
}
