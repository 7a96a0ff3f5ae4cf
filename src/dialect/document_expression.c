/*
 * dialect/document_expression.c
 *	  Filters and columns of a mirror: expressions over the fields of one
 *	  document.
 *
 * A bare name is a field, whatever it is called; the whole document is
 * "document".  Columns come as "name type = expression, ...", in which the type
 * may be left out and comments may stand anywhere.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* What is told of each column: name, type (null: not said), expression. */
#define COLUMN_PARTS 3

PG_FUNCTION_INFO_V1(mcs_change_mirror_translate_filter);
PG_FUNCTION_INFO_V1(mcs_change_mirror_translate_columns);

/* Raises a syntax error at a token of the user's text. */
static void
syntax_error(const char *source, const DialectToken *token, const char *message, const char *hint)
{
	Fragment	fragment = {.source = source,.text = unconstify(char *, source)};
	ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, &fragment};

	error_context_stack = &callback;
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("%s", message),
			 hint ? errhint("%s", hint) : 0,
			 mcs_dialect_error_at(&fragment, token->at)));
}

/* Whether the raw statement of an expression has more than one value to it. */
static bool
has_clauses(const SelectStmt *select)
{
	ResTarget  *target;

	if (list_length(select->targetList) != 1 || select->distinctClause || select->fromClause || select->whereClause ||
		select->groupClause || select->havingClause || select->windowClause || select->sortClause ||
		select->limitOffset || select->limitCount || select->lockingClause || select->op != SETOP_NONE)
		return true;
	target = linitial_node(ResTarget, select->targetList);
	return target->name || target->indirection || mcs_dialect_has_star(target->val);
}

/* Adds to what a word of SQL is complained of, that may have been meant as a field. */
static void
hint_at_words(void *arg)
{
	if (geterrcode() == ERRCODE_SYNTAX_ERROR)
		errhint("A field whose name is a word of SQL stands in double quotes, as \"order\"; one with other characters as document['a-b'].");
}

/* Refuses text that brings clauses of its own: PL/pgSQL's expressions, as which it is parsed, may have them. */
static void
check_expression(const Fragment *fragment)
{
	ErrorContextCallback position = {error_context_stack, mcs_dialect_error_callback, unconstify(Fragment *, fragment)};
	ErrorContextCallback hint = {&position, hint_at_words, NULL};
	List	   *statements;

	error_context_stack = &hint;
	statements = raw_parser(fragment->parsed, RAW_PARSE_PLPGSQL_EXPR);
	error_context_stack = &position;
	if (has_clauses(castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt)))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("one expression is expected, and nothing else"),
				 mcs_dialect_error_at(fragment, 0)));
	error_context_stack = position.previous;
}

/* One expression, from..to of the user's text, as plain SQL over the column "document". */
char *
mcs_dialect_document_expression(Oid namespace, const char *source, int from, int to, bool condition)
{
	Fragment   *fragment = mcs_dialect_begin_fragment(namespace, source, from, to, DIALECT_DOCUMENT);

	check_expression(fragment);
	fragment->is_condition = condition;
	return mcs_dialect_translate_fragment(fragment);
}

/* change_mirror_translate_filter(text): a condition over the fields of a document as plain SQL */
Datum
mcs_change_mirror_translate_filter(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *result = mcs_dialect_document_expression(get_func_namespace(fcinfo->flinfo->fn_oid), source, 0, strlen(source), true);

	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/* ---- columns ---- */

static Datum
text_between(const char *source, const DialectToken *first, const DialectToken *last)
{
	return PointerGetDatum(cstring_to_text_with_len(source + first->at, mcs_dialect_token_end(last) - first->at));
}

/* Reads one column, the tokens first..end; its expression is translated in memory that is reset by the caller. */
static void
read_column(Oid namespace, const char *source, const DialectToken *tokens, int first, int end, MemoryContext context,
			Datum *parts, bool *nulls)
{
	static const char *const form = "A column is written as status text = status, where a type such as numeric(10,2) may be left out if the table has the column.";
	int			equals = mcs_dialect_find_token(tokens, first, end, '=');
	MemoryContext scratch;
	char	   *expression;

	/* U&"..." is a name, too, but what it spells the scanner leaves to the parser */
	if (tokens[first].type != TOKEN_WORD)
		syntax_error(source, &tokens[first], "a column's name is expected in columns", form);
	if (equals == end)
		syntax_error(source, &tokens[first], psprintf("column \"%s\" is given no value in columns", tokens[first].value), form);
	if (equals + 1 == end)
		syntax_error(source, &tokens[equals], psprintf("an expression is expected for column \"%s\"", tokens[first].value), form);
	scratch = MemoryContextSwitchTo(context);
	parts[0] = CStringGetTextDatum(tokens[first].value);
	nulls[1] = equals == first + 1;
	if (!nulls[1])
		parts[1] = text_between(source, &tokens[first + 1], &tokens[equals - 1]);
	MemoryContextSwitchTo(scratch);
	expression = mcs_dialect_document_expression(namespace, source, tokens[equals + 1].at,
												 mcs_dialect_token_end(&tokens[end - 1]), false);
	MemoryContextSwitchTo(context);
	parts[2] = CStringGetTextDatum(expression);
	MemoryContextSwitchTo(scratch);
}

/*
 * change_mirror_translate_columns(text): "name type = expression, ..." over the
 * fields of a document, as an array of name, type as it was written or null, and
 * expression in plain SQL, for each column
 */
Datum
mcs_change_mirror_translate_columns(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			namespace = get_func_namespace(fcinfo->flinfo->fn_oid);
	int			count;
	DialectToken *tokens = mcs_dialect_lex_text(source, &count);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "dialect column", ALLOCSET_DEFAULT_SIZES);
	Datum	   *parts = palloc(sizeof(Datum) * COLUMN_PARTS * (count + 1));
	bool	   *nulls = palloc0(sizeof(bool) * COLUMN_PARTS * (count + 1));
	int			columns = 0;
	int			dims[2];
	int			bounds[2] = {1, 1};

	/* the last may have a comma behind it, as where a line of the text was taken out */
	for (int i = 0; i < count; columns++)
	{
		int			end = mcs_dialect_find_token(tokens, i, count, ',');

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		MemoryContextSwitchTo(scratch);
		read_column(namespace, source, tokens, i, end, context, &parts[COLUMN_PARTS * columns], &nulls[COLUMN_PARTS * columns]);
		MemoryContextSwitchTo(context);
		i = end + 1;
	}
	MemoryContextDelete(scratch);
	if (columns == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));
	dims[0] = columns;
	dims[1] = COLUMN_PARTS;
	PG_RETURN_ARRAYTYPE_P(construct_md_array(parts, nulls, 2, dims, bounds, TEXTOID, -1, false, TYPALIGN_INT));
}
