/*
 * dialect/body.c
 *	  A PL/pgSQL block, cut into its expressions and SQL statements, each of
 *	  which is translated.
 *
 * The block is walked by its tokens, as PL/pgSQL's grammar would: what is no
 * expression and no SQL stays as it is.  "change" is a row of
 * change_stream_events; declared variables have their types, so that paths and
 * literals beside them mean the same as in SQL.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/body.h"
#include "dialect/dialect.h"
#include "miscadmin.h"
#include "utils/memutils.h"

static void statements(Body *body);

static const char *const no_words[] = {NULL};

bool
mcs_body_is(const Body *body, const char *word)
{
	return mcs_dialect_is(body->whole, &body->tokens[body->i], word);
}

static bool
is_any(const Body *body, const char *const *words)
{
	return mcs_dialect_is_any(body->whole, &body->tokens[body->i], words);
}

static bool
at_end(const Body *body)
{
	return body->tokens[body->i].type == TOKEN_END;
}

/* Goes on by some tokens, not beyond the end. */
void
mcs_body_advance(Body *body, int count)
{
	while (count-- > 0 && !at_end(body))
		body->i++;
}

/* Goes over a word if it is there. */
static bool
skip(Body *body, const char *word)
{
	if (!mcs_body_is(body, word))
		return false;
	mcs_body_advance(body, 1);
	return true;
}

/* Goes to one of some words or a character, outside of brackets and CASE. */
static void
find(Body *body, const char *const *words, int character)
{
	int			cases = 0;

	for (; !at_end(body); body->i++)
	{
		int			type = body->tokens[body->i].type;

		if (type == ';')
			return;
		if (cases == 0 && (type == character || is_any(body, words)))
			return;
		if (type == '(' || type == '[')
			body->i = mcs_dialect_matching(body->tokens, body->i);
		else if (type == '.' && body->tokens[body->i + 1].type == TOKEN_WORD)
			mcs_body_advance(body, 1);
		else if (mcs_body_is(body, "CASE"))
			cases++;
		else if (cases > 0 && mcs_body_is(body, "END"))
			cases--;
		if (at_end(body))
			return;
	}
}

/* Goes behind the next semicolon. */
static void
skip_statement(Body *body)
{
	find(body, no_words, ';');
	if (!at_end(body))
		mcs_body_advance(body, 1);
}

/* Puts what a range becomes into the output. */
static void
put(Body *body, int from, int to, const char *text)
{
	appendBinaryStringInfo(&body->out, body->whole + body->at, from - body->at);
	appendStringInfoString(&body->out, text);
	body->at = to;
}

/* Translates the tokens from one to the current; returns what was analysed, until the next call; NULL if nothing is there. */
static Dialect *
fragment(Body *body, int first, DialectMode mode, Oid wanted, List *into)
{
	int			from = body->tokens[first].at;
	int			to;
	Dialect    *dialect;
	MemoryContext context;
	char	   *text;

	if (body->i <= first)
		return NULL;
	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(body->scratch);
	context = MemoryContextSwitchTo(body->scratch);
	to = mcs_dialect_token_end(&body->tokens[body->i - 1]);
	dialect = mcs_dialect_begin(body->namespace, body->whole, from, to, mode);
	dialect->names = body->names;
	dialect->change_type = body->change_type;
	dialect->lenient = true;
	dialect->into = into ? into : OidIsValid(wanted) ? list_make1_oid(wanted) : NIL;
	if (mode == DIALECT_STATEMENT)
		mcs_body_hide_into(body, dialect);
	text = mcs_dialect_fragment(dialect);
	MemoryContextSwitchTo(context);
	put(body, from, to, text);
	return dialect;
}

/* An expression up to one of some words, a character, or the semicolon. */
static Dialect *
expression(Body *body, const char *const *words, int character, Oid wanted)
{
	int			first = body->i;

	find(body, words, character);
	return fragment(body, first, DIALECT_EXPRESSION, wanted, NIL);
}

/* Expressions between commas. */
static void
expressions(Body *body, const char *const *words, Oid wanted)
{
	for (;;)
	{
		(void) expression(body, words, ',', wanted);
		if (body->tokens[body->i].type != ',')
			return;
		mcs_body_advance(body, 1);
	}
}

static Dialect *
query(Body *body, const char *const *words)
{
	int			first = body->i;

	find(body, words, ';');
	return fragment(body, first, DIALECT_STATEMENT, InvalidOid, NIL);
}

/* Whether <<label>> begins here. */
static bool
is_label(const Body *body)
{
	const DialectToken *token = &body->tokens[body->i];

	return token->type == TOKEN_OPERATOR && token->length == 2 && strncmp(body->whole + token->at, "<<", 2) == 0 &&
		token[1].value != NULL && token[2].type == TOKEN_OPERATOR;
}

/* ---- statements ---- */

static void
if_statement(Body *body)
{
	static const char *const then[] = {"THEN", NULL};

	do
	{
		mcs_body_advance(body, 1);
		(void) expression(body, then, ';', BOOLOID);
		(void) skip(body, "THEN");
		statements(body);
	}
	while (mcs_body_is(body, "ELSIF") || mcs_body_is(body, "ELSEIF"));
	if (skip(body, "ELSE"))
		statements(body);
	skip_statement(body);
}

/* WHEN 'a', 'b': literals are text where the operand is a document */
static void
case_values(Body *body, Oid operand, Oid document)
{
	static const char *const then[] = {"THEN", NULL};

	for (;;)
	{
		int			type = body->tokens[body->i + 1].type;

		if (body->tokens[body->i].type == TOKEN_STRING && operand == document && OidIsValid(document) &&
			(type == ',' || mcs_dialect_is(body->whole, &body->tokens[body->i + 1], "THEN")))
		{
			put(body, body->tokens[body->i].at, body->tokens[body->i].at, "text ");
			mcs_body_advance(body, 1);
		}
		else
			(void) expression(body, then, ',', OidIsValid(operand) ? InvalidOid : BOOLOID);
		if (body->tokens[body->i].type != ',')
			return;
		mcs_body_advance(body, 1);
	}
}

static void
case_statement(Body *body)
{
	static const char *const when[] = {"WHEN", NULL};
	Oid			type = InvalidOid;

	mcs_body_advance(body, 1);
	if (!mcs_body_is(body, "WHEN"))
	{
		Dialect    *operand = expression(body, when, ';', InvalidOid);

		type = operand && OidIsValid(operand->result_type) ? operand->result_type : UNKNOWNOID;
	}
	while (skip(body, "WHEN"))
	{
		case_values(body, type, body->document);
		(void) skip(body, "THEN");
		statements(body);
	}
	if (skip(body, "ELSE"))
		statements(body);
	skip_statement(body);
}

/* LOOP ... END LOOP */
static void
loop_body(Body *body)
{
	if (skip(body, "LOOP"))
	{
		statements(body);
		skip_statement(body);
	}
}

/* Whether dots for a range of integers come before LOOP. */
static bool
is_range(const Body *body)
{
	for (int i = body->i; body->tokens[i].type != TOKEN_END && body->tokens[i].type != ';'; i++)
	{
		if (mcs_dialect_is(body->whole, &body->tokens[i], "LOOP"))
			return false;
		if (body->tokens[i].type == TOKEN_DOTS)
			return true;
	}
	return false;
}

static void
for_statement(Body *body)
{
	static const char *const loop[] = {"LOOP", NULL};
	static const char *const loop_or_using[] = {"LOOP", "USING", NULL};
	static const char *const loop_or_by[] = {"LOOP", "BY", NULL};
	static const char *const in[] = {"IN", NULL};
	const char *name = body->tokens[body->i + 1].value;
	Dialect    *rows;

	mcs_body_advance(body, 1);
	find(body, in, ';');
	(void) skip(body, "IN");
	(void) skip(body, "REVERSE");
	if (skip(body, "EXECUTE"))
	{
		(void) expression(body, loop_or_using, ';', TEXTOID);
		if (skip(body, "USING"))
			expressions(body, loop, InvalidOid);
	}
	else if (is_range(body))
	{
		mcs_body_declare(body, name, INT4OID, NULL);
		(void) expression(body, no_words, TOKEN_DOTS, INT4OID);
		mcs_body_advance(body, 1);
		(void) expression(body, loop_or_by, ';', INT4OID);
		if (skip(body, "BY"))
			(void) expression(body, loop, ';', INT4OID);
	}
	else if (body->tokens[body->i + 1].type == TOKEN_WORD && mcs_dialect_is(body->whole, &body->tokens[body->i + 1], "LOOP"))
		mcs_body_advance(body, 1);				/* a cursor */
	else
	{
		rows = query(body, loop);
		if (rows && rows->result)
			mcs_body_declare_record(body, name, rows->result);
	}
	loop_body(body);
}

static void
foreach_statement(Body *body)
{
	static const char *const loop[] = {"LOOP", NULL};
	static const char *const array[] = {"ARRAY", NULL};

	find(body, array, ';');
	(void) skip(body, "ARRAY");
	(void) expression(body, loop, ';', InvalidOid);
	loop_body(body);
}

/* name = expression, ... behind USING of RAISE */
static void
raise_options(Body *body)
{
	while (!at_end(body) && body->tokens[body->i].type != ';')
	{
		mcs_body_advance(body, 1);				/* the option's name */
		if (body->tokens[body->i].type == '=' || body->tokens[body->i].type == TOKEN_ASSIGN)
			mcs_body_advance(body, 1);
		(void) expression(body, no_words, ',', TEXTOID);
		if (body->tokens[body->i].type == ',')
			mcs_body_advance(body, 1);
	}
}

static void
raise_statement(Body *body)
{
	static const char *const levels[] = {"DEBUG", "LOG", "INFO", "NOTICE", "WARNING", "EXCEPTION", NULL};
	static const char *const using[] = {"USING", NULL};

	mcs_body_advance(body, 1);
	if (is_any(body, levels))
		mcs_body_advance(body, 1);
	find(body, using, ',');
	while (body->tokens[body->i].type == ',')
	{
		mcs_body_advance(body, 1);
		(void) expression(body, using, ',', TEXTOID);
	}
	if (skip(body, "USING"))
		raise_options(body);
	skip_statement(body);
}

static void
return_statement(Body *body)
{
	mcs_body_advance(body, 1);
	if (skip(body, "QUERY"))
	{
		if (!mcs_body_is(body, "EXECUTE"))
			(void) query(body, no_words);
	}
	else
	{
		(void) skip(body, "NEXT");
		(void) expression(body, no_words, ';', InvalidOid);
	}
	skip_statement(body);
}

static void
execute_statement(Body *body)
{
	static const char *const clauses[] = {"INTO", "USING", NULL};
	static const char *const into[] = {"INTO", NULL};
	static const char *const using[] = {"USING", NULL};

	mcs_body_advance(body, 1);
	(void) expression(body, clauses, ';', TEXTOID);
	while (mcs_body_is(body, "INTO") || mcs_body_is(body, "USING"))
	{
		if (skip(body, "INTO"))
			find(body, using, ';');
		else
		{
			mcs_body_advance(body, 1);
			expressions(body, into, InvalidOid);
		}
	}
	skip_statement(body);
}

static void
open_statement(Body *body)
{
	static const char *const words[] = {"FOR", NULL};

	find(body, words, ';');
	if (skip(body, "FOR") && !mcs_body_is(body, "EXECUTE"))
		(void) query(body, no_words);
	skip_statement(body);
}

/* EXIT and CONTINUE, with WHEN or without */
static void
exit_statement(Body *body)
{
	static const char *const when[] = {"WHEN", NULL};

	find(body, when, ';');
	if (skip(body, "WHEN"))
		(void) expression(body, no_words, ';', BOOLOID);
	skip_statement(body);
}

/* Where the := of an assignment stands, 0 where the statement is none. */
static int
assignment(const Body *body)
{
	int			i = body->i;

	if (body->tokens[i].value == NULL || body->tokens[i].type == TOKEN_STRING)
		return 0;
	for (i++;;)
	{
		if (body->tokens[i].type == '.' && body->tokens[i + 1].type == TOKEN_WORD)
			i += 2;
		else if (body->tokens[i].type == '[')
		{
			i = mcs_dialect_matching(body->tokens, i);
			if (body->tokens[i].type == TOKEN_END)
				return 0;
			i++;
		}
		else
			break;
	}
	return body->tokens[i].type == TOKEN_ASSIGN || body->tokens[i].type == '=' ? i : 0;
}

static void
assignment_statement(Body *body, int sign)
{
	Oid			type = mcs_body_target_type(body, body->i, sign);

	body->i = sign + 1;
	(void) expression(body, no_words, ';', type);
	skip_statement(body);
}

static void
sql_statement(Body *body)
{
	int			first = body->i;
	List	   *into = NIL;

	find(body, no_words, ';');
	into = mcs_body_into_types(body, first, body->i);
	(void) fragment(body, first, DIALECT_STATEMENT, InvalidOid, into);
	skip_statement(body);
}

/* One statement, which begins at the current token. */
static void
statement(Body *body)
{
	static const char *const left_alone[] = {"GET", "FETCH", "MOVE", "CLOSE", "NULL", "COMMIT", "ROLLBACK", NULL};
	int			sign = assignment(body);

	check_stack_depth();
	if (sign)
		assignment_statement(body, sign);
	else if (is_label(body) || mcs_body_is(body, "DECLARE") || mcs_body_is(body, "BEGIN"))
	{
		int			i = body->i;

		mcs_body_block(body);
		if (body->i == i)
			skip_statement(body);
	}
	else if (mcs_body_is(body, "IF"))
		if_statement(body);
	else if (mcs_body_is(body, "CASE"))
		case_statement(body);
	else if (mcs_body_is(body, "LOOP"))
		loop_body(body);
	else if (mcs_body_is(body, "WHILE"))
	{
		static const char *const loop[] = {"LOOP", NULL};

		mcs_body_advance(body, 1);
		(void) expression(body, loop, ';', BOOLOID);
		loop_body(body);
	}
	else if (mcs_body_is(body, "FOR"))
		for_statement(body);
	else if (mcs_body_is(body, "FOREACH"))
		foreach_statement(body);
	else if (mcs_body_is(body, "EXIT") || mcs_body_is(body, "CONTINUE"))
		exit_statement(body);
	else if (mcs_body_is(body, "RETURN"))
		return_statement(body);
	else if (mcs_body_is(body, "RAISE"))
		raise_statement(body);
	else if (mcs_body_is(body, "PERFORM"))
	{
		mcs_body_advance(body, 1);
		(void) expression(body, no_words, ';', InvalidOid);
		skip_statement(body);
	}
	else if (mcs_body_is(body, "ASSERT"))
	{
		mcs_body_advance(body, 1);
		expressions(body, no_words, InvalidOid);
		skip_statement(body);
	}
	else if (mcs_body_is(body, "EXECUTE"))
		execute_statement(body);
	else if (mcs_body_is(body, "OPEN"))
		open_statement(body);
	else if (is_any(body, left_alone))
		skip_statement(body);
	else
		sql_statement(body);
}

/* Statements up to a word that ends them. */
static void
statements(Body *body)
{
	static const char *const ends[] = {"END", "ELSE", "ELSIF", "ELSEIF", "WHEN", "EXCEPTION", NULL};

	while (!at_end(body) && !is_any(body, ends))
	{
		CHECK_FOR_INTERRUPTS();
		statement(body);
	}
}

/* [<<label>>] [DECLARE ...] BEGIN ... [EXCEPTION ...] END [label]; */
void
mcs_body_block(Body *body)
{
	static const char *const then[] = {"THEN", NULL};
	int			names = list_length(body->names);

	check_stack_depth();
	/* a label is two operators with a word between them */
	if (is_label(body))
	{
		static const char *const starts[] = {"DECLARE", "BEGIN", NULL};

		mcs_body_advance(body, 3);
		if (!is_any(body, starts))
		{
			statement(body);
			return;
		}
	}
	if (skip(body, "DECLARE"))
		mcs_body_declarations(body);
	if (!skip(body, "BEGIN"))
		return;
	statements(body);
	if (skip(body, "EXCEPTION"))
		while (skip(body, "WHEN"))
		{
			find(body, then, ';');
			(void) skip(body, "THEN");
			statements(body);
		}
	if (mcs_body_is(body, "END"))
		skip_statement(body);
	body->names = list_truncate(body->names, names);
}

/* A default of a declaration, or anything else that ends at the semicolon. */
void
mcs_body_expression(Body *body, Oid wanted)
{
	(void) expression(body, no_words, ';', wanted);
}

void
mcs_body_query(Body *body)
{
	(void) query(body, no_words);
}

void
mcs_body_skip(Body *body)
{
	skip_statement(body);
}

/* Translates a block that stands in the user's text, from..to of it. */
char *
mcs_dialect_body(Oid namespace, const char *whole, int from, int to)
{
	Body		body = {0};
	Dialect    *dialect;

	/* errors of the scanner point into the text by this */
	dialect = mcs_dialect_begin(namespace, whole, from, to, DIALECT_STATEMENT);
	body.namespace = namespace;
	body.whole = whole;
	body.tokens = dialect->tokens;
	for (int i = 0; i < dialect->token_count; i++)
		body.tokens[i].at += from;
	body.at = from;
	body.change_type = mcs_dialect_row_type(dialect->namespace, "change_stream_events");
	body.document = dialect->document;
	body.scratch = AllocSetContextCreate(CurrentMemoryContext, "dialect fragment", ALLOCSET_DEFAULT_SIZES);
	mcs_body_declare(&body, "found", BOOLOID, NULL);
	mcs_body_declare(&body, "sqlstate", TEXTOID, NULL);
	mcs_body_declare(&body, "sqlerrm", TEXTOID, NULL);
	initStringInfo(&body.out);
	while (!at_end(&body))
	{
		int			i = body.i;

		statement(&body);
		if (body.i == i)
			mcs_body_advance(&body, 1);
	}
	MemoryContextDelete(body.scratch);
	appendBinaryStringInfo(&body.out, whole + body.at, to - body.at);
	return body.out.data;
}
