/*
 * dialect/body.c
 *	  A PL/pgSQL block, cut into its expressions and SQL statements, each of
 *	  which is translated.
 *
 * The block is gone over by its tokens, as PL/pgSQL's grammar would: what is no
 * expression and no SQL stays as it is.  "change" is a row of
 * change_stream_events, or "changes" a relation of such rows; declared variables
 * have their types, so that paths and literals beside them mean the same as in
 * SQL.
 *
 * Nothing here complains: a block that PL/pgSQL will not take goes on to it as
 * it is, and PL/pgSQL says what is wrong.  So words are gone over where they
 * are there, and each function ends further on than it began.  A statement
 * that PL/pgSQL learns is a row of the table forms.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "utils/memutils.h"

static void statements(Body *body);
static void block(Body *body);

/* Whether <<label>> begins here. */
static bool
is_label(const Body *body)
{
	const DialectToken *token = &body->reader.tokens[body->reader.current];

	return token->type == TOKEN_OPERATOR && token->length == 2 && strncmp(body->reader.source + token->at, "<<", 2) == 0 &&
		token[1].value != NULL && token[2].type == TOKEN_OPERATOR;
}

/* ---- declarations ---- */

/* name [CONSTANT] type [COLLATE c] [NOT NULL] [:= expression]; */
static void
declaration(Body *body)
{
	static const char *const ends[] = {"COLLATE", "NOT", "DEFAULT", NULL};
	const char *name = body->reader.tokens[body->reader.current].value;
	int			first;
	Oid			type;

	mcs_reader_advance(&body->reader, 1);
	if (mcs_reader_is(&body->reader, "CONSTANT"))
		mcs_reader_advance(&body->reader, 1);
	first = body->reader.current;
	while (!mcs_reader_at_end(&body->reader) && !mcs_reader_at(&body->reader, ';') &&
		   !mcs_reader_at(&body->reader, TOKEN_ASSIGN) && !mcs_reader_at(&body->reader, '=') &&
		   !mcs_reader_is_any(&body->reader, ends) &&
		   !mcs_reader_is(&body->reader, "CURSOR") && !mcs_reader_is(&body->reader, "ALIAS"))
		mcs_reader_advance(&body->reader, 1);
	/* name [NO SCROLL] CURSOR [(arguments)] FOR query */
	if (mcs_reader_is(&body->reader, "CURSOR"))
	{
		while (!mcs_reader_at_end(&body->reader) && !mcs_reader_at(&body->reader, ';') &&
			   !mcs_reader_is(&body->reader, "FOR") && !mcs_reader_is(&body->reader, "IS"))
			mcs_reader_advance(&body->reader, 1);
		if (mcs_reader_at(&body->reader, TOKEN_WORD))
		{
			mcs_reader_advance(&body->reader, 1);
			(void) mcs_dialect_body_query(body, mcs_dialect_no_words);
		}
	}
	/* an alias of a parameter has no type that is known here */
	else if (!mcs_reader_is(&body->reader, "ALIAS"))
	{
		/* up to where the type's name ends; what follows decides nothing about it */
		type = mcs_variable_named_type(body, first, body->reader.current);
		while (!mcs_reader_at_end(&body->reader) && !mcs_reader_at(&body->reader, ';') &&
			   !mcs_reader_at(&body->reader, TOKEN_ASSIGN) && !mcs_reader_at(&body->reader, '=') && !mcs_reader_is(&body->reader, "DEFAULT"))
			mcs_reader_advance(&body->reader, 1);
		if (!mcs_reader_at(&body->reader, ';') && !mcs_reader_at_end(&body->reader))
		{
			mcs_reader_advance(&body->reader, 1);
			(void) mcs_dialect_body_expression(body, mcs_dialect_no_words, ';', type);
		}
		/* behind its default, which does not see it */
		mcs_variable_declare(body, name, type, NULL);
	}
	mcs_dialect_body_skip_statement(body);
}

/* Declarations up to BEGIN. */
static void
declarations(Body *body)
{
	while (!mcs_reader_at_end(&body->reader) && !mcs_reader_is(&body->reader, "BEGIN"))
	{
		CHECK_FOR_INTERRUPTS();
		if (mcs_reader_is(&body->reader, "DECLARE"))
			mcs_reader_advance(&body->reader, 1);
		else
			declaration(body);
	}
}

/* ---- statements ---- */

/* IF condition THEN ... [ELSIF condition THEN ...] [ELSE ...] END IF; */
static void
if_statement(Body *body)
{
	static const char *const then[] = {"THEN", NULL};

	do
	{
		mcs_reader_advance(&body->reader, 1);
		(void) mcs_dialect_body_expression(body, then, ';', BOOLOID);
		(void) mcs_reader_skip(&body->reader, "THEN");
		statements(body);
	}
	while (mcs_reader_is(&body->reader, "ELSIF") || mcs_reader_is(&body->reader, "ELSEIF"));
	if (mcs_reader_skip(&body->reader, "ELSE"))
		statements(body);
	mcs_dialect_body_skip_statement(body);
}

/* WHEN 'a', 'b': literals are text where the operand is a document */
static void
case_values(Body *body, Oid operand, Oid document)
{
	static const char *const then[] = {"THEN", NULL};

	for (;;)
	{
		int			type = body->reader.tokens[body->reader.current + 1].type;

		if (mcs_reader_at(&body->reader, TOKEN_STRING) && operand == document && OidIsValid(document) &&
			(type == ',' || mcs_reader_next_is(&body->reader, "THEN")))
		{
			/* PL/pgSQL makes it operand = 'a', in which the literal would be JSON */
			mcs_dialect_body_put(body, body->reader.tokens[body->reader.current].at, body->reader.tokens[body->reader.current].at, "text ");
			mcs_reader_advance(&body->reader, 1);
		}
		else
			/* without an operand each WHEN is a condition */
			(void) mcs_dialect_body_expression(body, then, ',', OidIsValid(operand) ? InvalidOid : BOOLOID);
		if (!mcs_reader_at(&body->reader, ','))
			return;
		mcs_reader_advance(&body->reader, 1);
	}
}

/* CASE [operand] WHEN ... THEN ... [ELSE ...] END CASE; */
static void
case_statement(Body *body)
{
	static const char *const when[] = {"WHEN", NULL};
	Oid			type = InvalidOid;

	mcs_reader_advance(&body->reader, 1);
	if (!mcs_reader_is(&body->reader, "WHEN"))
	{
		Fragment   *operand = mcs_dialect_body_expression(body, when, ';', InvalidOid);

		/* what cannot be analysed is an operand all the same */
		type = operand && OidIsValid(operand->result_type) ? operand->result_type : UNKNOWNOID;
	}
	while (mcs_reader_skip(&body->reader, "WHEN"))
	{
		case_values(body, type, body->document);
		(void) mcs_reader_skip(&body->reader, "THEN");
		statements(body);
	}
	if (mcs_reader_skip(&body->reader, "ELSE"))
		statements(body);
	mcs_dialect_body_skip_statement(body);
}

/* LOOP ... END LOOP */
static void
loop_body(Body *body)
{
	if (mcs_reader_skip(&body->reader, "LOOP"))
	{
		statements(body);
		mcs_dialect_body_skip_statement(body);
	}
}

/* Whether dots for a range of integers come before LOOP. */
static bool
is_range(const Body *body)
{
	for (int i = body->reader.current; body->reader.tokens[i].type != TOKEN_END && body->reader.tokens[i].type != ';'; i++)
	{
		if (mcs_dialect_token_is(body->reader.source, &body->reader.tokens[i], "LOOP"))
			return false;
		if (body->reader.tokens[i].type == TOKEN_DOTS)
			return true;
	}
	return false;
}

/* FOR name IN EXECUTE text | first .. last | cursor | query LOOP ... END LOOP; */
static void
for_statement(Body *body)
{
	static const char *const loop[] = {"LOOP", NULL};
	static const char *const loop_or_using[] = {"LOOP", "USING", NULL};
	static const char *const loop_or_by[] = {"LOOP", "BY", NULL};
	static const char *const in[] = {"IN", NULL};
	const char *name = body->reader.tokens[body->reader.current + 1].value;
	Fragment   *rows;

	mcs_reader_advance(&body->reader, 1);
	mcs_dialect_body_find(body, in, ';');
	(void) mcs_reader_skip(&body->reader, "IN");
	(void) mcs_reader_skip(&body->reader, "REVERSE");
	if (mcs_reader_skip(&body->reader, "EXECUTE"))
	{
		(void) mcs_dialect_body_expression(body, loop_or_using, ';', TEXTOID);
		if (mcs_reader_skip(&body->reader, "USING"))
			mcs_dialect_body_expressions(body, loop, InvalidOid);
	}
	else if (is_range(body))
	{
		/* it stays known behind the loop, where PL/pgSQL would say that it is not */
		mcs_variable_declare(body, name, INT4OID, NULL);
		(void) mcs_dialect_body_expression(body, mcs_dialect_no_words, TOKEN_DOTS, INT4OID);
		mcs_reader_advance(&body->reader, 1);
		(void) mcs_dialect_body_expression(body, loop_or_by, ';', INT4OID);
		if (mcs_reader_skip(&body->reader, "BY"))
			(void) mcs_dialect_body_expression(body, loop, ';', INT4OID);
	}
	else if (body->reader.tokens[body->reader.current + 1].type == TOKEN_WORD && mcs_reader_next_is(&body->reader, "LOOP"))
		mcs_reader_advance(&body->reader, 1);				/* a cursor */
	else
	{
		/* the loop's variable is a record, or is declared and keeps its type */
		rows = mcs_dialect_body_query(body, loop);
		if (rows && rows->result)
			mcs_variable_declare_record(body, name, rows->result);
	}
	loop_body(body);
}

/* FOREACH name [SLICE n] IN ARRAY expression LOOP ... END LOOP; */
static void
foreach_statement(Body *body)
{
	static const char *const loop[] = {"LOOP", NULL};
	static const char *const array[] = {"ARRAY", NULL};

	mcs_dialect_body_find(body, array, ';');
	(void) mcs_reader_skip(&body->reader, "ARRAY");
	(void) mcs_dialect_body_expression(body, loop, ';', InvalidOid);
	loop_body(body);
}

/* name = expression, ... behind USING of RAISE */
static void
raise_options(Body *body)
{
	while (!mcs_reader_at_end(&body->reader) && !mcs_reader_at(&body->reader, ';'))
	{
		mcs_reader_advance(&body->reader, 1);				/* the option's name */
		if (mcs_reader_at(&body->reader, '=') || mcs_reader_at(&body->reader, TOKEN_ASSIGN))
			mcs_reader_advance(&body->reader, 1);
		(void) mcs_dialect_body_expression(body, mcs_dialect_no_words, ',', TEXTOID);
		if (mcs_reader_at(&body->reader, ','))
			mcs_reader_advance(&body->reader, 1);
	}
}

/* RAISE [level] [format | condition] [, expression ...] [USING option = expression, ...]; */
static void
raise_statement(Body *body)
{
	static const char *const levels[] = {"DEBUG", "LOG", "INFO", "NOTICE", "WARNING", "EXCEPTION", NULL};
	static const char *const using[] = {"USING", NULL};

	mcs_reader_advance(&body->reader, 1);
	if (mcs_reader_is_any(&body->reader, levels))
		mcs_reader_advance(&body->reader, 1);
	mcs_dialect_body_find(body, using, ',');
	while (mcs_reader_at(&body->reader, ','))
	{
		mcs_reader_advance(&body->reader, 1);
		(void) mcs_dialect_body_expression(body, using, ',', TEXTOID);
	}
	if (mcs_reader_skip(&body->reader, "USING"))
		raise_options(body);
	mcs_dialect_body_skip_statement(body);
}

/* RETURN [NEXT] expression; RETURN QUERY query; */
static void
return_statement(Body *body)
{
	mcs_reader_advance(&body->reader, 1);
	if (mcs_reader_skip(&body->reader, "QUERY"))
	{
		/* what is put together at run time is not seen here */
		if (!mcs_reader_is(&body->reader, "EXECUTE"))
			(void) mcs_dialect_body_query(body, mcs_dialect_no_words);
	}
	else
	{
		(void) mcs_reader_skip(&body->reader, "NEXT");
		(void) mcs_dialect_body_expression(body, mcs_dialect_no_words, ';', InvalidOid);
	}
	mcs_dialect_body_skip_statement(body);
}

/* EXECUTE text [INTO targets] [USING expressions]; */
static void
execute_statement(Body *body)
{
	static const char *const clauses[] = {"INTO", "USING", NULL};
	static const char *const into[] = {"INTO", NULL};
	static const char *const using[] = {"USING", NULL};

	mcs_reader_advance(&body->reader, 1);
	(void) mcs_dialect_body_expression(body, clauses, ';', TEXTOID);
	while (mcs_reader_is(&body->reader, "INTO") || mcs_reader_is(&body->reader, "USING"))
	{
		if (mcs_reader_skip(&body->reader, "INTO"))
			mcs_dialect_body_find(body, using, ';');
		else
		{
			mcs_reader_advance(&body->reader, 1);
			mcs_dialect_body_expressions(body, into, InvalidOid);
		}
	}
	mcs_dialect_body_skip_statement(body);
}

/* OPEN cursor FOR query; */
static void
open_statement(Body *body)
{
	static const char *const words[] = {"FOR", NULL};

	mcs_dialect_body_find(body, words, ';');
	if (mcs_reader_skip(&body->reader, "FOR") && !mcs_reader_is(&body->reader, "EXECUTE"))
		(void) mcs_dialect_body_query(body, mcs_dialect_no_words);
	mcs_dialect_body_skip_statement(body);
}

/* EXIT and CONTINUE, with WHEN or without */
static void
exit_statement(Body *body)
{
	static const char *const when[] = {"WHEN", NULL};

	mcs_dialect_body_find(body, when, ';');
	if (mcs_reader_skip(&body->reader, "WHEN"))
		(void) mcs_dialect_body_expression(body, mcs_dialect_no_words, ';', BOOLOID);
	mcs_dialect_body_skip_statement(body);
}

/* Where the := of an assignment stands, 0 where the statement is none. */
static int
assignment(const Body *body)
{
	int			i = body->reader.current;

	if (body->reader.tokens[i].value == NULL || body->reader.tokens[i].type == TOKEN_STRING)
		return 0;
	/* name.field[i]... */
	for (i++;;)
	{
		if (body->reader.tokens[i].type == '.' && body->reader.tokens[i + 1].type == TOKEN_WORD)
			i += 2;
		else if (body->reader.tokens[i].type == '[')
		{
			i = mcs_dialect_closing_bracket(body->reader.tokens, i);
			if (body->reader.tokens[i].type == TOKEN_END)
				return 0;
			i++;
		}
		else
			break;
	}
	return body->reader.tokens[i].type == TOKEN_ASSIGN || body->reader.tokens[i].type == '=' ? i : 0;
}

/* target := expression; the token of := is given. */
static void
assignment_statement(Body *body, int sign)
{
	Oid			type = mcs_variable_target_type(body, body->reader.current, sign);

	body->reader.current = sign + 1;
	(void) mcs_dialect_body_expression(body, mcs_dialect_no_words, ';', type);
	mcs_dialect_body_skip_statement(body);
}

/* Anything else: a statement of SQL, maybe with INTO. */
static void
sql_statement(Body *body)
{
	int			first = body->reader.current;
	List	   *into = NIL;

	mcs_dialect_body_find(body, mcs_dialect_no_words, ';');
	/* columns that go into variables are of the variables' types */
	into = mcs_variable_into_types(body, first, body->reader.current);
	(void) mcs_dialect_body_fragment(body, first, DIALECT_STATEMENT, InvalidOid, into);
	mcs_dialect_body_skip_statement(body);
}

/* A block inside the block */
static void
nested_block(Body *body)
{
	int			first = body->reader.current;

	block(body);
	/* what only looks like one must not be looked at for ever */
	if (body->reader.current == first)
		mcs_dialect_body_skip_statement(body);
}

/* WHILE condition LOOP ... */
static void
while_statement(Body *body)
{
	static const char *const loop[] = {"LOOP", NULL};

	mcs_reader_advance(&body->reader, 1);
	(void) mcs_dialect_body_expression(body, loop, ';', BOOLOID);
	loop_body(body);
}

/* PERFORM, which is a SELECT whose word is another */
static void
perform_statement(Body *body)
{
	mcs_reader_advance(&body->reader, 1);
	(void) mcs_dialect_body_expression(body, mcs_dialect_no_words, ';', InvalidOid);
	mcs_dialect_body_skip_statement(body);
}

/* ASSERT condition [, message] */
static void
assert_statement(Body *body)
{
	mcs_reader_advance(&body->reader, 1);
	mcs_dialect_body_expressions(body, mcs_dialect_no_words, InvalidOid);
	mcs_dialect_body_skip_statement(body);
}

/* The first words of PL/pgSQL's statements; all others are SQL. */
static const struct
{
	const char *word;
	void		(*translate) (Body *body);
}			forms[] = {
	{"DECLARE", nested_block},
	{"BEGIN", nested_block},
	{"IF", if_statement},
	{"CASE", case_statement},
	{"LOOP", loop_body},
	{"WHILE", while_statement},
	{"FOR", for_statement},
	{"FOREACH", foreach_statement},
	{"EXIT", exit_statement},
	{"CONTINUE", exit_statement},
	{"RETURN", return_statement},
	{"RAISE", raise_statement},
	{"PERFORM", perform_statement},
	{"ASSERT", assert_statement},
	{"EXECUTE", execute_statement},
	{"OPEN", open_statement},
	/* these hold nothing to translate */
	{"GET", mcs_dialect_body_skip_statement},
	{"FETCH", mcs_dialect_body_skip_statement},
	{"MOVE", mcs_dialect_body_skip_statement},
	{"CLOSE", mcs_dialect_body_skip_statement},
	{"NULL", mcs_dialect_body_skip_statement},
	{"COMMIT", mcs_dialect_body_skip_statement},
	{"ROLLBACK", mcs_dialect_body_skip_statement},
};

/* One statement, which begins at the current token. */
static void
statement(Body *body)
{
	int			sign = assignment(body);

	check_stack_depth();
	/* first, as a variable may be named like a statement's word */
	if (sign)
	{
		assignment_statement(body, sign);
		return;
	}
	if (is_label(body))
	{
		nested_block(body);
		return;
	}
	for (int i = 0; i < lengthof(forms); i++)
		if (mcs_reader_is(&body->reader, forms[i].word))
		{
			forms[i].translate(body);
			return;
		}
	sql_statement(body);
}

/* Statements up to a word that ends them. */
static void
statements(Body *body)
{
	static const char *const ends[] = {"END", "ELSE", "ELSIF", "ELSEIF", "WHEN", "EXCEPTION", NULL};

	while (!mcs_reader_at_end(&body->reader) && !mcs_reader_is_any(&body->reader, ends))
	{
		CHECK_FOR_INTERRUPTS();
		statement(body);
	}
}

/* [<<label>>] [DECLARE ...] BEGIN ... [EXCEPTION ...] END [label]; */
static void
block(Body *body)
{
	static const char *const then[] = {"THEN", NULL};
	int			names = list_length(body->variables);

	check_stack_depth();
	/* a label is two operators with a word between them */
	if (is_label(body))
	{
		static const char *const starts[] = {"DECLARE", "BEGIN", NULL};

		/* WHILE and the other loops may have a label, too */
		mcs_reader_advance(&body->reader, 3);
		if (!mcs_reader_is_any(&body->reader, starts))
		{
			statement(body);
			return;
		}
	}
	if (mcs_reader_skip(&body->reader, "DECLARE"))
		declarations(body);
	if (!mcs_reader_skip(&body->reader, "BEGIN"))
		return;
	statements(body);
	if (mcs_reader_skip(&body->reader, "EXCEPTION"))
		while (mcs_reader_skip(&body->reader, "WHEN"))
		{
			mcs_dialect_body_find(body, then, ';');
			(void) mcs_reader_skip(&body->reader, "THEN");
			statements(body);
		}
	if (mcs_reader_is(&body->reader, "END"))
		mcs_dialect_body_skip_statement(body);
	/* what was declared in the block is not seen behind it */
	body->variables = list_truncate(body->variables, names);
}

/* Translates a block that stands in the user's text, from..to of it; of_batch: it runs on a set of events. */
char *
mcs_body_translate(Oid namespace, const char *source, int from, int to, bool of_batch)
{
	Body		body = {0};
	Fragment   *fragment;

	/* errors of the scanner point into the text by this */
	fragment = mcs_dialect_begin_fragment(namespace, source, from, to, DIALECT_STATEMENT);
	body.reader.namespace = namespace;
	body.reader.source = source;
	body.reader.tokens = fragment->tokens;
	body.reader.end = fragment->token_count;
	for (int i = 0; i < fragment->token_count; i++)
		body.reader.tokens[i].at += from;
	body.at = from;
	if (of_batch)
		body.changes = mcs_extension_events();
	else
		body.change_type = mcs_dialect_row_type(fragment->namespace, "change_stream_events");
	body.document = fragment->document;
	body.scratch = AllocSetContextCreate(CurrentMemoryContext, "dialect fragment", ALLOCSET_DEFAULT_SIZES);
	/* PL/pgSQL's own variables */
	mcs_variable_declare(&body, "found", BOOLOID, NULL);
	mcs_variable_declare(&body, "sqlstate", TEXTOID, NULL);
	mcs_variable_declare(&body, "sqlerrm", TEXTOID, NULL);
	initStringInfo(&body.out);
	while (!mcs_reader_at_end(&body.reader))
	{
		int			i = body.reader.current;

		statement(&body);
		/* END, ELSE and the like without a beginning */
		if (body.reader.current == i)
			mcs_reader_advance(&body.reader, 1);
	}
	MemoryContextDelete(body.scratch);
	/* what follows the last fragment */
	appendBinaryStringInfo(&body.out, source + body.at, to - body.at);
	return body.out.data;
}
