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
#include "dialect/dialect_internal.h"
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

/* Each new attempt is for columns of set operations that turned out to be documents, of which there are 64 in each. */
#define MAX_ATTEMPTS 80

/* Parameters: PREPARE's, then one for each name of the surroundings. */
static void
set_parameters(Fragment *fragment, List *argtypes)
{
	ListCell   *cell;
	int			count = list_length(argtypes);

	fragment->param_count = fragment->first_variable = count;
	fragment->param_types = palloc0(sizeof(Oid) * (count + list_length(fragment->variables) + 1));
	/* a type that there is not stays unknown here; PREPARE itself complains of it */
	foreach(cell, argtypes)
		fragment->param_types[foreach_current_index(cell)] = LookupTypeNameOid(NULL, lfirst(cell), true);
}

/* The condition of SQL's own trigger as a query over the rows that it sees, by their names. */
static Node *
trigger_condition(CreateTrigStmt *trigger)
{
	SelectStmt *select = makeNode(SelectStmt);
	ResTarget  *target = makeNode(ResTarget);
	RangeVar   *old = copyObject(trigger->relation);
	RangeVar   *new = copyObject(trigger->relation);

	/* a name, so that none is looked for */
	target->name = "when";
	target->val = trigger->whenClause;
	target->location = -1;
	old->alias = makeAlias("old", NIL);
	new->alias = makeAlias("new", NIL);
	select->targetList = list_make1(target);
	select->fromClause = list_make2(old, new);
	return (Node *) select;
}

/* The query inside a statement, NULL where it has none that is analysed. */
static Node *
inner_query(Fragment *fragment, Node *statement)
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
				fragment->makes_columns = fragment->is_view = true;
				statement = ((ViewStmt *) statement)->query;
				break;
			case T_CreateTableAsStmt:
				fragment->makes_columns = true;
				fragment->is_view = ((CreateTableAsStmt *) statement)->objtype == OBJECT_MATVIEW;
				statement = ((CreateTableAsStmt *) statement)->query;
				break;
			case T_ExplainStmt:
				statement = ((ExplainStmt *) statement)->query;
				break;
			case T_DeclareCursorStmt:
				statement = ((DeclareCursorStmt *) statement)->query;
				break;
			case T_PrepareStmt:
				set_parameters(fragment, ((PrepareStmt *) statement)->argtypes);
				statement = ((PrepareStmt *) statement)->query;
				break;
			case T_CreateTrigStmt:
				if (!((CreateTrigStmt *) statement)->whenClause)
					return NULL;
				fragment->is_condition = true;
				return trigger_condition((CreateTrigStmt *) statement);
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

/* Gives an expression what it works on: the columns of an event, or the column "document". */
static void
add_row(const Fragment *fragment, SelectStmt *select)
{
	const char *schema = get_namespace_name(fragment->namespace);
	bool		is_event = fragment->mode == DIALECT_FILTER;
	RangeSubselect *row = makeNode(RangeSubselect);
	char	   *text;

	if (is_event)
		text = psprintf("SELECT %s FROM %s", mcs_event_column_names(), quote_qualified_identifier(schema, "change_stream_events"));
	else
		text = psprintf("SELECT NULL::%s AS document", quote_qualified_identifier(schema, "document"));
	row->subquery = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT))->stmt;
	/* a document's fields have whatever names: that of the relation shall not be one */
	row->alias = makeAlias(is_event ? "change_stream_events" : "a document of MongoDB", NIL);
	select->fromClause = list_make1(row);
}

/* Whether a fragment is an expression over a row that add_row adds. */
static bool
needs_row(const Fragment *fragment)
{
	return fragment->mode == DIALECT_FILTER || fragment->mode == DIALECT_DOCUMENT;
}

/* Parses a fragment; NULL where it holds nothing that is analysed. */
static Node *
parse(Fragment *fragment, const char *text)
{
	List	   *statements = raw_parser(text, fragment->mode == DIALECT_STATEMENT ? RAW_PARSE_DEFAULT : RAW_PARSE_PLPGSQL_EXPR);
	Node	   *statement;

	/* none of PREPARE's, unless inner_query comes by one */
	set_parameters(fragment, NIL);
	if (statements == NIL)
		return NULL;
	statement = inner_query(fragment, linitial_node(RawStmt, statements)->stmt);
	return statement;
}

/* Called when an analysis begins: the hooks for names that SQL knows from the surroundings. */
static void
install_plain_hooks(ParseState *pstate, void *arg)
{
	Fragment   *fragment = arg;

	/* PostgreSQL's own hook, which takes numbers it does not know; ours is put in front of it */
	setup_parse_variable_parameters(pstate, &fragment->param_types, &fragment->param_count);
	fragment->param_hook = pstate->p_paramref_hook;
	pstate->p_pre_columnref_hook = mcs_dialect_pre_columnref_hook;
	pstate->p_post_columnref_hook = mcs_dialect_post_columnref_hook;
}

/* Called when an analysis begins: all hooks. */
static void
install_hooks(ParseState *pstate, void *arg)
{
	Fragment   *fragment = arg;

	install_plain_hooks(pstate, arg);
	pstate->p_paramref_hook = mcs_dialect_paramref_hook;
	if (fragment->call)
	{
		/* here, since there is a ParseState now and the query itself is empty */
		pstate->p_expr_kind = EXPR_KIND_CALL_ARGUMENT;
		mcs_dialect_transform_call_arguments(pstate, fragment->call);
		pstate->p_expr_kind = EXPR_KIND_NONE;
	}
}

/* What a block that runs on a set of events has beside tables: a relation of them, "changes". */
static QueryEnvironment *
relations_of_body(const Fragment *fragment)
{
	EphemeralNamedRelation changes;
	QueryEnvironment *environment;

	if (!OidIsValid(fragment->changes))
		return NULL;
	changes = palloc0(sizeof(EphemeralNamedRelationData));
	changes->md.name = "changes";
	changes->md.reliddesc = fragment->changes;
	changes->md.enrtype = ENR_NAMED_TUPLESTORE;
	environment = create_queryEnv();
	register_ENR(environment, changes);
	return environment;
}

/* PostgreSQL's analysis, and what is kept of its result. */
static Query *
analyse_query(Fragment *fragment, Node *query, ParserSetupHook hooks)
{
	RawStmt    *raw = makeNode(RawStmt);
	Query	   *analysed;

	raw->stmt = query;
	/* no rewriting: views stay names */
	analysed = parse_analyze_withcb(raw, fragment->text, hooks, fragment, relations_of_body(fragment));
	fragment->has_aggregates = analysed->hasAggs || analysed->hasWindowFuncs;
	fragment->result = analysed->commandType == CMD_SELECT ? analysed->targetList : analysed->returningList;
	if (fragment->result)
		fragment->result_type = exprType((Node *) linitial_node(TargetEntry, fragment->result)->expr);
	return analysed;
}

/* As SQL has it, with no meaning of the dialect's. */
static void
analyse_plain(Fragment *fragment)
{
	Node	   *query = parse(fragment, fragment->parsed);
	Query	   *analysed;

	if (query == NULL)
		return;
	fragment->plain = true;
	if (needs_row(fragment))
		add_row(fragment, (SelectStmt *) query);
	analysed = analyse_query(fragment, query, install_plain_hooks);
	mcs_join_write(fragment, analysed);
	mcs_unprintable_find(fragment, analysed);
}

/* What a select item without an alias is called, once it is edited. */
static char *
name_of_text(const char *item)
{
	List	   *statements = raw_parser(item, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);

	return FigureColname(linitial_node(ResTarget, select->targetList)->val);
}

/* Keeps the names of columns: ` AS name` where an edit would change it. */
static void
keep_names(Fragment *fragment)
{
	ListCell   *cell;

	foreach(cell, fragment->unnamed_targets)
	{
		DialectUnnamedTarget *item = lfirst(cell);
		int			from;
		int			to;
		char	   *text;
		Node	   *value = mcs_dialect_original(fragment, item->value);

		if (!mcs_dialect_extent(fragment, value, &from, &to))
			continue;
		to = mcs_dialect_item_end(fragment, item->from, to);
		if (!mcs_dialect_edited(fragment, item->from, to))
			continue;
		text = mcs_dialect_render(fragment, item->from, to);
		if (strcmp(item->name, "?column?") == 0 || strcmp(name_of_text(text), item->name) == 0)
			continue;
		text = NULL;
		if (item->is_reference)
		{
			/* as it was written, so that it folds as other names do */
			DialectToken *last = &fragment->tokens[mcs_dialect_token_at(fragment, to) - 1];

			while (last > fragment->tokens && last->type == ')')
				last--;
			if (last->type == TOKEN_WORD)
				text = pnstrdup(fragment->text + last->at, last->length);
		}
		mcs_dialect_edit(fragment, EDIT_AFTER, to, to, psprintf(" AS %s", text ? text : quote_identifier(item->name)));
	}
}

/* With the meanings of the dialect; makes the edits. */
static void
analyse_dialect(Fragment *fragment)
{
	Node	   *query = parse(fragment, fragment->parsed);
	Query	   *analysed;

	fragment->plain = false;
	mcs_dialect_forget_edits(fragment);
	fragment->deferred = fragment->analysed = fragment->unnamed_targets = fragment->number_literals = fragment->maybe_durations = fragment->intervals = fragment->written_joins = NIL;
	fragment->set_count = fragment->window_count = fragment->outputs_used = 0;
	fragment->retry = fragment->found_dialect = false;
	fragment->call = NULL;
	if (query == NULL)
		return;
	if (IsA(query, CallStmt))
	{
		fragment->call = ((CallStmt *) query)->funccall;
		mcs_dialect_prepare_call(fragment, fragment->call);
		/* the arguments are all there is to look at; CALL itself says if there is no such procedure */
		query = (Node *) makeNode(SelectStmt);
	}
	else
	{
		mcs_dialect_prepare(fragment, query);
		mcs_dialect_check_relations(fragment);
		/* behind prepare: places in it are those of another text */
		if (needs_row(fragment))
			add_row(fragment, (SelectStmt *) query);
	}
	analysed = analyse_query(fragment, query, install_hooks);
	if (mcs_dialect_is_result(fragment) && IsA(query, SelectStmt) && fragment->call == NULL)
		mcs_interval_column_cast(fragment, (SelectStmt *) query, analysed);
	mcs_join_write(fragment, analysed);
	mcs_unprintable_find(fragment, analysed);
	keep_names(fragment);
	if (fragment->shown)
		mcs_shown_wrap(fragment, analysed);
}

/* An analysis to be run. */
typedef struct Attempt
{
	Fragment   *fragment;
	void		(*analyse) (Fragment *);
} Attempt;

/* Inside the subtransaction: an analysis, in memory that the next attempt takes back. */
static void
run_attempt(void *arg)
{
	Attempt    *attempt = arg;
	Fragment   *fragment = attempt->fragment;

	if (fragment->attempt == NULL)
		fragment->attempt = AllocSetContextCreate(GetMemoryChunkContext(fragment), "dialect attempt", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(fragment->attempt);
	MemoryContextSwitchTo(fragment->attempt);
	mcs_dialect_current = fragment;
	attempt->analyse(fragment);
}

/*
 * Runs an analysis; returns what it raised, or NULL.  Where in the user's text
 * that is counts only if it is raised again: a long text would be copied and
 * counted through for each name that is no column.
 */
static ErrorData *
attempt(Fragment *fragment, void (*analyse) (Fragment *))
{
	Attempt		run = {fragment, analyse};
	Fragment   *outer = mcs_dialect_current;
	ErrorData  *error = mcs_attempt(run_attempt, &run);

	mcs_dialect_current = outer;
	if (error)
		mcs_dialect_rethrow_urgent(error);
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

/* For text whose complaints are somebody else's. */
static void
parse_only(Fragment *fragment)
{
	(void) parse(fragment, fragment->parsed);
}

/* Raises an error again; says so where it is for want of the extension's operators. */
static void
raise_again(const Fragment *fragment, ErrorData *error)
{
	char	   *schema = get_namespace_name(fragment->namespace);
	List	   *path = fetch_search_path(false);

	if (error->sqlerrcode == ERRCODE_UNDEFINED_FUNCTION && !list_member_oid(path, fragment->namespace))
		error->hint = psprintf("Operators of documents are found on the search path only: SET search_path = %s, %s.",
							   namespace_search_path, quote_identifier(schema));
	mcs_dialect_raise(fragment, error);
}

/* Whether a fragment holds anything to analyse; raises where it does not parse. */
static bool
has_query(Fragment *fragment)
{
	ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, fragment};
	Node	   *query;

	/* no subtransaction: what does not parse ends the translation, and nothing was opened yet */
	error_context_stack = &callback;
	query = parse(fragment, fragment->parsed);
	error_context_stack = callback.previous;
	return query != NULL;
}

/* Says it where a number in quotes is compared with a document, which finds none of the numbers. */
static void
tell_of_numbers(const Fragment *fragment)
{
	ListCell   *cell;

	foreach(cell, fragment->number_literals)
		ereport(NOTICE,
				(errmsg("'%s' is compared as text", strVal(lfirst(cell))),
				 errdetail("In a document, the number %s is not equal to it.", strVal(lfirst(cell))),
				 errhint("If the number is meant, write it without quotes.")));
}

/* A fragment as plain SQL; the text itself where nothing needs to change. */
char *
mcs_dialect_translate_fragment(Fragment *fragment)
{
	ErrorData  *plain = NULL;
	ErrorData  *error;
	int			attempts = 0;

	/* PL/pgSQL, or create_change_stream, says what is wrong with text that is not the dialect's */
	if (fragment->lenient && !fragment->has_words && attempt(fragment, parse_only))
		return fragment->text;
	if (!has_query(fragment))
	{
		ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, fragment};

		error_context_stack = &callback;
		mcs_dialect_check_relations(fragment);
		error_context_stack = callback.previous;
		return fragment->text;
	}
	/* as plain SQL first: most statements are, and keep their meaning */
	if (!fragment->has_words)
	{
		plain = attempt(fragment, analyse_plain);
		if (plain == NULL)
		{
			mcs_unprintable_tell(fragment);
			return fragment->written_joins ? mcs_dialect_render(fragment, 0, fragment->size) : fragment->text;
		}
	}
	do
	{
		CHECK_FOR_INTERRUPTS();
		error = attempt(fragment, analyse_dialect);
	}
	while (fragment->retry && ++attempts < MAX_ATTEMPTS);
	/* a text that shows nothing of the dialect is left to PostgreSQL, with what is wrong with it */
	if (error && (fragment->has_words || fragment->found_dialect || (OidIsValid(fragment->change_type) && fragment->has_change_path)))
		raise_again(fragment, error);
	if (error || (plain && is_missing_name(plain) && !fragment->found_dialect))
		return fragment->text;
	tell_of_numbers(fragment);
	mcs_interval_column_tell(fragment);
	mcs_unprintable_tell(fragment);
	return mcs_dialect_render(fragment, 0, fragment->size);
}
