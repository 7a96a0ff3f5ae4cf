/*
 * dialect/analyse.c
 *	  One fragment of text, through PostgreSQL's parser and analysis, to plain
 *	  SQL.
 *
 * First as plain SQL: what analyses so, and has none of the dialect's words in
 * it, stays as it is.  Then with our hooks, which note edits.  An attempt may
 * find that it should have known more at its begin (a branch of a UNION turns
 * out to be a document); then there is another.  Each runs in a
 * subtransaction, since analysis leaves relations open where it fails.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "catalog/namespace.h"
#include "dialect/dialect.h"
#include "event/event.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_param.h"
#include "parser/parse_target.h"
#include "parser/parse_type.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define MAX_ATTEMPTS 80

/* Parameters: PREPARE's, then one for each name of the surroundings. */
static void
set_parameters(Dialect *dialect, List *argtypes)
{
	ListCell   *cell;
	int			count = list_length(argtypes);

	dialect->param_count = dialect->first_variable = count;
	dialect->param_types = palloc0(sizeof(Oid) * (count + list_length(dialect->variables) + 1));
	foreach(cell, argtypes)
		dialect->param_types[foreach_current_index(cell)] = LookupTypeNameOid(NULL, lfirst(cell), true);
}

/* The query inside a statement, NULL where it has none that is analysed. */
static Node *
inner_query(Dialect *dialect, Node *statement)
{
	for (;;)
	{
		switch (nodeTag(statement))
		{
			case T_SelectStmt:
			case T_InsertStmt:
			case T_UpdateStmt:
			case T_DeleteStmt:
			case T_MergeStmt:
			case T_CallStmt:
				return statement;
			case T_ViewStmt:
				statement = ((ViewStmt *) statement)->query;
				break;
			case T_CreateTableAsStmt:
				statement = ((CreateTableAsStmt *) statement)->query;
				break;
			case T_ExplainStmt:
				statement = ((ExplainStmt *) statement)->query;
				break;
			case T_DeclareCursorStmt:
				statement = ((DeclareCursorStmt *) statement)->query;
				break;
			case T_PrepareStmt:
				set_parameters(dialect, ((PrepareStmt *) statement)->argtypes);
				statement = ((PrepareStmt *) statement)->query;
				break;
			case T_CopyStmt:
				if (!((CopyStmt *) statement)->query)
					return NULL;
				statement = ((CopyStmt *) statement)->query;
				break;
			default:
				return NULL;
		}
	}
}

/* Gives an expression the columns of an event to work on. */
static void
add_event(const Dialect *dialect, SelectStmt *select)
{
	char	   *text = psprintf("SELECT %s FROM %s", mcs_event_column_names(),
								quote_qualified_identifier(get_namespace_name(dialect->namespace), "change_stream_events"));
	RangeSubselect *event = makeNode(RangeSubselect);

	event->subquery = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT))->stmt;
	event->alias = makeAlias("change_stream_events", NIL);
	select->fromClause = list_make1(event);
}

/* Parses a fragment; NULL where it holds nothing that is analysed. */
static Node *
parse(Dialect *dialect, const char *text)
{
	List	   *statements = raw_parser(text, dialect->mode == DIALECT_STATEMENT ? RAW_PARSE_DEFAULT : RAW_PARSE_PLPGSQL_EXPR);
	Node	   *statement;

	set_parameters(dialect, NIL);
	if (statements == NIL)
		return NULL;
	statement = inner_query(dialect, linitial_node(RawStmt, statements)->stmt);
	return statement;
}

static void
install_plain_hooks(ParseState *pstate, void *arg)
{
	Dialect    *dialect = arg;

	setup_parse_variable_parameters(pstate, &dialect->param_types, &dialect->param_count);
	dialect->param_hook = pstate->p_paramref_hook;
	pstate->p_pre_columnref_hook = mcs_dialect_pre_columnref_hook;
	pstate->p_post_columnref_hook = mcs_dialect_post_columnref_hook;
}

static void
install_hooks(ParseState *pstate, void *arg)
{
	Dialect    *dialect = arg;

	install_plain_hooks(pstate, arg);
	pstate->p_paramref_hook = mcs_dialect_paramref_hook;
	if (dialect->call)
	{
		pstate->p_expr_kind = EXPR_KIND_CALL_ARGUMENT;
		mcs_dialect_transform_call_arguments(pstate, dialect->call);
		pstate->p_expr_kind = EXPR_KIND_NONE;
	}
}

static void
analyse_query(Dialect *dialect, Node *query, ParserSetupHook hooks)
{
	RawStmt    *raw = makeNode(RawStmt);
	Query	   *analysed;

	raw->stmt = query;
	analysed = parse_analyze_withcb(raw, dialect->text, hooks, dialect, NULL);
	dialect->has_aggregates = analysed->hasAggs || analysed->hasWindowFuncs;
	dialect->result = analysed->commandType == CMD_SELECT ? analysed->targetList : analysed->returningList;
	if (dialect->result)
		dialect->result_type = exprType((Node *) linitial_node(TargetEntry, dialect->result)->expr);
}

/* As SQL has it, with no meaning of the dialect's. */
static void
analyse_plain(Dialect *dialect)
{
	Node	   *query = parse(dialect, dialect->parsed);

	if (query == NULL)
		return;
	dialect->plain = true;
	if (dialect->mode == DIALECT_FILTER)
		add_event(dialect, (SelectStmt *) query);
	analyse_query(dialect, query, install_plain_hooks);
}

/* What a select item without an alias is called, once it is edited. */
static char *
name_of_text(const char *item)
{
	List	   *statements = raw_parser(item, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);

	return FigureColname(linitial_node(ResTarget, select->targetList)->val);
}

/* Where a select item ends, with the brackets around what it holds. */
static int
item_end(const Dialect *dialect, int from, int to)
{
	int			depth = 0;
	int			i;

	for (i = mcs_dialect_token_at(dialect, from); dialect->tokens[i].at < to && i < dialect->token_count; i++)
	{
		int			type = dialect->tokens[i].type;

		depth += type == '(' || type == '[' ? 1 : type == ')' || type == ']' ? -1 : 0;
	}
	for (; depth > 0 && i < dialect->token_count && dialect->tokens[i].type == ')'; depth--)
		to = mcs_dialect_token_end(&dialect->tokens[i++]);
	return to;
}

/* Keeps the names of columns: ` AS name` where an edit would change it. */
static void
keep_names(Dialect *dialect)
{
	ListCell   *cell;

	foreach(cell, dialect->unnamed_targets)
	{
		DialectUnnamedTarget *item = lfirst(cell);
		int			from;
		int			to;
		char	   *text;
		Node	   *value = mcs_dialect_original(dialect, item->value);

		if (!mcs_dialect_extent(dialect, value, &from, &to))
			continue;
		to = item_end(dialect, item->from, to);
		if (!mcs_dialect_edited(dialect, item->from, to))
			continue;
		text = mcs_dialect_render(dialect, item->from, to);
		if (strcmp(item->name, "?column?") == 0 || strcmp(name_of_text(text), item->name) == 0)
			continue;
		text = NULL;
		if (item->is_reference)
		{
			/* as it was written, so that it folds as other names do */
			DialectToken *last = &dialect->tokens[mcs_dialect_token_at(dialect, to) - 1];

			while (last > dialect->tokens && last->type == ')')
				last--;
			if (last->type == TOKEN_WORD)
				text = pnstrdup(dialect->text + last->at, last->length);
		}
		mcs_dialect_edit(dialect, EDIT_AFTER, to, to, psprintf(" AS %s", text ? text : quote_identifier(item->name)));
	}
}

/* With the meanings of the dialect; makes the edits. */
static void
analyse_dialect(Dialect *dialect)
{
	Node	   *query = parse(dialect, dialect->parsed);

	dialect->plain = false;
	mcs_dialect_forget_edits(dialect);
	dialect->deferred = dialect->analysed = dialect->unnamed_targets = NIL;
	dialect->set_count = dialect->window_count = 0;
	dialect->retry = dialect->found_dialect = false;
	dialect->call = NULL;
	if (query == NULL)
		return;
	if (IsA(query, CallStmt))
	{
		dialect->call = ((CallStmt *) query)->funccall;
		mcs_dialect_prepare_call(dialect, dialect->call);
		/* the arguments are all there is to look at; CALL itself says if there is no such procedure */
		query = (Node *) makeNode(SelectStmt);
	}
	else
	{
		mcs_dialect_prepare(dialect, query);
		mcs_dialect_check_relations(dialect);
		if (dialect->mode == DIALECT_FILTER)
			add_event(dialect, (SelectStmt *) query);
	}
	analyse_query(dialect, query, install_hooks);
	keep_names(dialect);
}

/* An analysis to be run. */
typedef struct Attempt
{
	Dialect    *dialect;
	void		(*analyse) (Dialect *);
} Attempt;

static void
run_attempt(void *arg)
{
	Attempt    *attempt = arg;
	Dialect    *dialect = attempt->dialect;

	if (dialect->attempt == NULL)
		dialect->attempt = AllocSetContextCreate(GetMemoryChunkContext(dialect), "dialect attempt", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(dialect->attempt);
	MemoryContextSwitchTo(dialect->attempt);
	mcs_dialect_current = dialect;
	attempt->analyse(dialect);
}

/*
 * Runs an analysis; returns what it raised, or NULL.  Where in the user's text
 * that is counts only if it is raised again: a long text would be copied and
 * counted through for each name that is no column.
 */
static ErrorData *
attempt(Dialect *dialect, void (*analyse) (Dialect *))
{
	Attempt		run = {dialect, analyse};
	Dialect    *outer = mcs_dialect_current;
	ErrorData  *error = mcs_attempt(run_attempt, &run);

	mcs_dialect_current = outer;
	/* who cancels must not have to wait for more attempts */
	if (error && (error->sqlerrcode == ERRCODE_QUERY_CANCELED || ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
				  ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES))
		ReThrowError(error);
	return error;
}

/* Whether an error says that a name does not exist. */
static bool
is_missing_name(const ErrorData *error)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_INVALID_SCHEMA_NAME:
		case ERRCODE_UNDEFINED_PARAMETER:
			return true;
		default:
			return false;
	}
}

static void
parse_only(Dialect *dialect)
{
	(void) parse(dialect, dialect->parsed);
}

/* Raises an error again; says so where it is for want of the extension's operators. */
static void
raise_again(const Dialect *dialect, ErrorData *error)
{
	char	   *schema = get_namespace_name(dialect->namespace);
	List	   *path = fetch_search_path(false);

	if (error->sqlerrcode == ERRCODE_UNDEFINED_FUNCTION && !list_member_oid(path, dialect->namespace))
		error->hint = psprintf("Operators of documents are found on the search path only: SET search_path = %s, %s.",
							   namespace_search_path, quote_identifier(schema));
	mcs_dialect_raise(dialect, error);
}

/* Whether a fragment holds anything to analyse; raises where it does not parse. */
static bool
has_query(Dialect *dialect)
{
	ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, dialect};
	Node	   *query;

	error_context_stack = &callback;
	query = parse(dialect, dialect->parsed);
	error_context_stack = callback.previous;
	return query != NULL;
}

/* A fragment as plain SQL; the text itself where nothing needs to change. */
char *
mcs_dialect_translate_fragment(Dialect *dialect)
{
	ErrorData  *plain = NULL;
	ErrorData  *error;
	int			attempts = 0;

	/* PL/pgSQL, or create_change_stream, says what is wrong with text that is not the dialect's */
	if (dialect->lenient && !dialect->has_words && attempt(dialect, parse_only))
		return dialect->text;
	if (!has_query(dialect))
	{
		ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, dialect};

		error_context_stack = &callback;
		mcs_dialect_check_relations(dialect);
		error_context_stack = callback.previous;
		return dialect->text;
	}
	if (!dialect->has_words)
	{
		plain = attempt(dialect, analyse_plain);
		if (plain == NULL)
			return dialect->text;
	}
	do
	{
		CHECK_FOR_INTERRUPTS();
		error = attempt(dialect, analyse_dialect);
	}
	while (dialect->retry && ++attempts < MAX_ATTEMPTS);
	if (error && (dialect->has_words || dialect->found_dialect || (OidIsValid(dialect->change_type) && dialect->has_change_path)))
		raise_again(dialect, error);
	if (error || (plain && is_missing_name(plain) && !dialect->found_dialect))
		return dialect->text;
	return mcs_dialect_render(dialect, 0, dialect->size);
}
