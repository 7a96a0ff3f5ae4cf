/*
 * stream/expression_compile.c
 *	  From the text of a filter, of added fields or of a handler's condition to
 *	  expressions that can be evaluated.
 *
 * The text is parsed as an expression, or as the SET list of an UPDATE, and
 * what comes out must be exactly that: text that brings clauses or statements
 * of its own is refused before anything in it is looked at.  Parse analysis
 * knows one relation, the events table, of which only the event columns may
 * be used; or, for mirrors, no relation but one column "document".  Errors point
 * into the user's own text.
 */
#include "mongo_change_stream.h"

#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "stream/stream_internal.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#define SET_LIST_PREFIX "UPDATE x SET "

/* The user's text that is being read, for messages. */
typedef struct ExpressionSource
{
	const char *argument;
	const char *text;
	int			prefix;			/* characters before it in what is parsed */
	const char *alias;			/* of the events table, in handlers; NULL: none */
	bool		of_mirror;
} ExpressionSource;

/* ---- parsing ---- */

/* Makes positions in errors point into the user's text. */
static void
source_error_callback(void *arg)
{
	ExpressionSource *source = arg;
	int			position = geterrposition();

	/* as an internal query: the client's own statement is the call of create_change_stream */
	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - source->prefix, 1));
		internalerrquery(source->text);
	}
	if (geterrcode() == ERRCODE_UNDEFINED_TABLE)
		errhint("A field of a document is written as %s['status'].",
				source->of_mirror ? "document" : "full_document");
	errcontext("%s of a change %s", source->argument, source->of_mirror ? "mirror" : source->alias ? "handler" : "stream");
}

/* Raises that a text is more than it may be. */
static void
refuse_clauses(const ExpressionSource *source, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("%s must be %s and nothing else", source->argument, what)));
}

/* Whether a raw expression is a lone "*", which analysis takes for granted not to be there. */
static bool
is_star(Node *node)
{
	return IsA(node, ColumnRef) && IsA(linitial(((ColumnRef *) node)->fields), A_Star);
}

/* The raw expression of a filter. */
static Node *
parse_filter(const ExpressionSource *source)
{
	List	   *statements = raw_parser(source->text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);
	ResTarget  *target;

	/* RAW_PARSE_PLPGSQL_EXPR takes all that may follow SELECT: whatever is not one target is refused */
	if (list_length(select->targetList) != 1 || select->distinctClause || select->fromClause || select->whereClause ||
		select->groupClause || select->havingClause || select->windowClause || select->sortClause ||
		select->limitOffset || select->limitCount || select->lockingClause)
		refuse_clauses(source, "one condition");
	target = linitial_node(ResTarget, select->targetList);
	if (target->name || target->indirection || is_star(target->val))
		refuse_clauses(source, "one condition");
	return target->val;
}

/* Whether an UPDATE has anything but its SET list. */
static bool
has_other_clauses(const UpdateStmt *update)
{
#if PG_VERSION_NUM >= 180000
	if (update->returningClause)
		return true;
#else
	if (update->returningList)
		return true;
#endif
	return update->whereClause || update->fromClause || update->withClause;
}

/* The raw assignments, ResTarget each, of added fields. */
static List *
parse_fields(const ExpressionSource *source)
{
	const char *what = "a list of \"name = expression\", separated by commas,";
	List	   *statements = raw_parser(psprintf(SET_LIST_PREFIX "%s", source->text), RAW_PARSE_DEFAULT);
	RawStmt    *statement = list_length(statements) == 1 ? linitial_node(RawStmt, statements) : NULL;
	UpdateStmt *update;
	ListCell   *cell;

	if (!statement || !IsA(statement->stmt, UpdateStmt))
		refuse_clauses(source, what);
	update = castNode(UpdateStmt, statement->stmt);
	if (has_other_clauses(update))
		refuse_clauses(source, what);
	foreach(cell, update->targetList)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);

		/* a[1] = ..., and (a, b) = (...) */
		if (target->indirection || IsA(target->val, MultiAssignRef))
			refuse_clauses(source, what);
		for (int i = 0; i < foreach_current_index(cell); i++)
			if (strcmp(list_nth_node(ResTarget, update->targetList, i)->name, target->name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 source->of_mirror ? errmsg("column \"%s\" is given more than once", target->name)
						 : errmsg("field \"%s\" is added more than once", target->name)));
	}
	return update->targetList;
}

/* ---- analysis ---- */

typedef struct ColumnCheck
{
	const StreamExpressions *expressions;
	const ExpressionSource *source;
	ParseState *pstate;
	uint32		columns;
} ColumnCheck;

/* Notes which event columns are read and refuses all others. */
static bool
check_columns(Node *node, ColumnCheck *check)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		for (int i = 0; i < EVENT_COLUMNS; i++)
		{
			if (var->varattno == check->expressions->map.attributes[ROW_EVENT + i])
			{
				check->columns |= UINT32_C(1) << i;
				return false;
			}
		}
		/* the whole row is attribute 0, and system columns are below it: neither is in the map */
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s can use the columns of an event only", check->source->argument),
				 errdetail("Columns of an event: %s.", mcs_event_column_names()),
				 parser_errposition(check->pstate, var->location)));
	}
	return expression_tree_walker(node, check_columns, check);
}

/* What SQL allows in other places, but not in an expression over one row. */
static void
check_kind(ParseState *pstate, Node *expression, const ExpressionSource *source)
{
	if (pstate->p_hasAggs)
		ereport(ERROR,
				(errcode(ERRCODE_GROUPING_ERROR),
				 errmsg("aggregate functions are not allowed in %s", source->argument)));
	if (pstate->p_hasWindowFuncs)
		ereport(ERROR,
				(errcode(ERRCODE_WINDOWING_ERROR),
				 errmsg("window functions are not allowed in %s", source->argument)));
	if (pstate->p_hasSubLinks)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("subqueries are not allowed in %s", source->argument),
				 errhint("A function can look into tables.")));
	if (expression_returns_set(expression))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-returning functions are not allowed in %s", source->argument)));
}

/* Whether a function may be defined anew by users; ours are the extension's. */
static bool
is_user_function(Oid function, void *context)
{
	/* what initdb made is PostgreSQL's own, and is what it is */
	return function >= FirstNormalObjectId && getExtensionOfObject(ProcedureRelationId, function) != *(Oid *) context;
}

/* Whether any function in an expression may be, operators' and casts' functions included. */
static bool
has_user_functions(Node *node, Oid *extension)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_user_function, extension) ||
		expression_tree_walker(node, has_user_functions, extension);
}

/* The column "document" of a mirror's expressions, which is no relation's; anything else is looked for as ever, in vain. */
static Node *
document_column(ParseState *pstate, ColumnRef *reference)
{
	Node	   *name = linitial(reference->fields);

	if (list_length(reference->fields) != 1 || !IsA(name, String) || strcmp(strVal(name), "document") != 0)
		return NULL;
	return (Node *) makeVar(1, 1, mcs_extension_document(), -1, InvalidOid, 0);
}

/* An expression that is analysed and planned, kept outside of any context of ours until it is forgotten. */
static Expr *
analyse(StreamExpressions *expressions, Relation events, Node *raw, const ExpressionSource *source, bool is_filter)
{
	ParseState *pstate = make_parsestate(NULL);
	ColumnCheck check = {expressions, source, pstate, 0};
	CachedExpression *cached;
	MemoryContext old;
	Node	   *expression;

	/* positions count from the begin of what was parsed */
	pstate->p_sourcetext = source->prefix ? psprintf(SET_LIST_PREFIX "%s", source->text) : source->text;
	/* rights on the table are not asked for: that is done where a plan starts, and here the values are of the event at hand */
	if (events)
		addNSItemToQuery(pstate,
						 addRangeTableEntryForRelation(pstate, events, AccessShareLock,
													   source->alias ? makeAlias(source->alias, NIL) : NULL, false, true),
						 false, true, true);
	else
		pstate->p_pre_columnref_hook = document_column;
	/* EXPR_KIND_OTHER refuses nothing by itself, and has no words of its own for its errors: check_kind has ours */
	expression = transformExpr(pstate, raw, EXPR_KIND_OTHER);
	check_kind(pstate, expression, source);
	if (is_filter)
		expression = coerce_to_boolean(pstate, expression, source->argument);
	/* a bare literal, as in a SELECT list */
	else if (exprType(expression) == UNKNOWNOID)
		expression = coerce_to_common_type(pstate, expression, TEXTOID, source->argument);
	/* transformExpr leaves this to the statement that an expression is part of */
	assign_expr_collations(pstate, expression);
	if (events)
		(void) check_columns(expression, &check);
	expressions->columns |= check.columns;
	if (is_filter)
	{
		Oid			extension = get_extension_oid(MCS_EXTENSION, true);

		expressions->filter_columns = check.columns;
		expressions->has_user_functions = has_user_functions(expression, &extension);
	}

	/* as PL/pgSQL's casts do: inlined functions are followed, so that a change of one makes it invalid */
	cached = GetCachedExpression(expression);
	old = MemoryContextSwitchTo(expressions->context);
	expressions->cached = lappend(expressions->cached, cached);
	MemoryContextSwitchTo(old);
	free_parsestate(pstate);
	return (Expr *) cached->expr;
}

/* ---- compiling ---- */

/* The filter, or a condition, as an ExprState: executor state is made in the context of the expressions. */
static void
compile_filter(StreamExpressions *expressions, Relation events, ExpressionSource source)
{
	ErrorContextCallback callback = {.callback = source_error_callback,.arg = &source};
	Expr	   *expression;
	MemoryContext old;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	expression = analyse(expressions, events, parse_filter(&source), &source, true);
	old = MemoryContextSwitchTo(expressions->context);
	/* this asks, once for all events, whether the current user may call the functions */
	expressions->filter = ExecInitQual(list_make1(expression), NULL);
	expressions->condition = expression;
	MemoryContextSwitchTo(old);
	error_context_stack = callback.previous;
}

/* The added fields, or columns; each may be there once. */
static void
compile_fields(StreamExpressions *expressions, Relation events, ExpressionSource source)
{
	ErrorContextCallback callback = {.callback = source_error_callback,.arg = &source};
	List	   *targets;
	ListCell   *cell;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	targets = parse_fields(&source);
	/* field_count follows: an error in between leaves as many as are whole */
	expressions->fields = MemoryContextAlloc(expressions->context, sizeof(AddedField) * list_length(targets));
	foreach(cell, targets)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);
		AddedField *field = &expressions->fields[expressions->field_count++];
		Expr	   *expression = analyse(expressions, events, target->val, &source, false);
		MemoryContext old = MemoryContextSwitchTo(expressions->context);

		field->name = pstrdup(target->name);
		field->type = exprType((Node *) expression);
		field->state = ExecInitExpr(expression, NULL);
		MemoryContextSwitchTo(old);
	}
	error_context_stack = callback.previous;
}

/* CachedExpressions live in CacheMemoryContext until they are freed. */
static void
forget_cached(void *arg)
{
	StreamExpressions *expressions = arg;
	ListCell   *cell;

	foreach(cell, expressions->cached)
		FreeCachedExpression(lfirst(cell));
	expressions->cached = NIL;
}

/* A description of the one column that a mirror's expressions see. */
static TupleDesc
document_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1);

	TupleDescInitEntry(desc, 1, "document", mcs_extension_document(), -1, 0);
	return desc;
}

/* Everything but the expressions themselves; events NULL: they are of a mirror. */
static StreamExpressions *
make_expressions(Relation events)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "change stream expressions",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	StreamExpressions *expressions = palloc0(sizeof(StreamExpressions));

	expressions->context = context;
	expressions->forget.func = forget_cached;
	expressions->forget.arg = expressions;
	/* before anything is cached: an error deletes the context with the caller's, and with it what was */
	MemoryContextRegisterResetCallback(context, &expressions->forget);
	expressions->of_events = events != NULL;
	if (events)
	{
		mcs_events_map(events, &expressions->map);
		expressions->conversion = mcs_events_map_conversion(events, &expressions->map);
	}
	/* a copy of the description, since the relation is closed before the expressions are evaluated */
	expressions->slot = MakeSingleTupleTableSlot(events ? CreateTupleDescCopy(RelationGetDescr(events)) : document_desc(),
												 &TTSOpsVirtual);
	expressions->econtext = CreateStandaloneExprContext();
	expressions->econtext->ecxt_scantuple = expressions->slot;
	MemoryContextSwitchTo(old);
	return expressions;
}

StreamExpressions *
mcs_expression_compile(Relation events, const char *filter, const char *add_fields)
{
	StreamExpressions *expressions = make_expressions(events);

	if (filter)
		compile_filter(expressions, events, (ExpressionSource) {"filter", filter, 0, NULL, false});
	if (add_fields)
		compile_fields(expressions, events,
					   (ExpressionSource) {"add_fields", add_fields, strlen(SET_LIST_PREFIX), NULL, false});
	return expressions;
}

StreamExpressions *
mcs_expression_compile_condition(Relation events, const char *condition)
{
	StreamExpressions *expressions = make_expressions(events);

	compile_filter(expressions, events, (ExpressionSource) {"condition", condition, 0, "change", false});
	return expressions;
}

StreamExpressions *
mcs_expression_compile_mirror(const char *columns, const char *filter)
{
	StreamExpressions *expressions = make_expressions(NULL);

	if (filter)
		compile_filter(expressions, NULL, (ExpressionSource) {"filter", filter, 0, NULL, true});
	if (columns)
		compile_fields(expressions, NULL,
					   (ExpressionSource) {"columns", columns, strlen(SET_LIST_PREFIX), NULL, true});
	return expressions;
}
