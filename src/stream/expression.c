/*
 * stream/expression.c
 *	  A stream's filter and added fields: SQL expressions over the columns of
 *	  one event.
 *
 * The text is parsed as an expression, or as the SET list of an UPDATE, and
 * what comes out must be exactly that: text that brings clauses or statements
 * of its own is refused before anything in it is looked at.  Parse analysis
 * knows one relation, the events table, of which only the event columns may
 * be used; errors point into the user's own text.
 *
 * Evaluation is that of any expression over a row: a virtual slot holds the
 * event, and memory is reset with each one.
 *
 * The expressions are the owner's code.  They are analysed, simplified and
 * evaluated only while the current user is the owner; expressions that were
 * compiled as one role are never evaluated as another, for a worker whose stream
 * has got another owner begins anew.
 */
#include "mongo_change_stream.h"

#include "stream/stream.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "event/event.h"
#include "executor/executor.h"
#include "match/match.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#define SET_LIST_PREFIX "UPDATE x SET "

typedef struct AddedField
{
	char	   *name;
	Oid			type;
	ExprState  *state;
} AddedField;

struct StreamExpressions
{
	MemoryContext context;
	MemoryContextCallback forget;	/* frees what is cached outside of context */
	List	   *cached;			/* of CachedExpression */
	EventsMap	map;			/* of the events table */
	EventsConversion *conversion;
	uint32		columns;		/* that any expression reads: bits by EventColumn */
	TupleTableSlot *slot;
	ExprContext *econtext;
	ExprState  *filter;			/* NULL: none */
	Expr	   *condition;		/* the same as an expression */
	bool		has_user_functions; /* in filter */
	uint32		filter_columns; /* bits by EventColumn */
	int			field_count;
	AddedField *fields;
};

/* The user's text that is being read, for messages. */
typedef struct ExpressionSource
{
	const char *argument;
	const char *text;
	int			prefix;			/* characters before it in what is parsed */
	const char *alias;			/* of the events table; NULL: none */
} ExpressionSource;

/* ---- parsing ---- */

/* Makes positions in errors point into the user's text. */
static void
source_error_callback(void *arg)
{
	ExpressionSource *source = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(Max(position - source->prefix, 1));
		internalerrquery(source->text);
	}
	if (geterrcode() == ERRCODE_UNDEFINED_TABLE)
		errhint("A field of a document is written as full_document['status'].");
	errcontext("%s of a change %s", source->argument, source->alias ? "handler" : "stream");
}

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

		if (target->indirection || IsA(target->val, MultiAssignRef))
			refuse_clauses(source, what);
		for (int i = 0; i < foreach_current_index(cell); i++)
			if (strcmp(list_nth_node(ResTarget, update->targetList, i)->name, target->name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("field \"%s\" is added more than once", target->name)));
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
	return function >= FirstNormalObjectId && getExtensionOfObject(ProcedureRelationId, function) != *(Oid *) context;
}

static bool
has_user_functions(Node *node, Oid *extension)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_user_function, extension) ||
		expression_tree_walker(node, has_user_functions, extension);
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

	pstate->p_sourcetext = source->prefix ? psprintf(SET_LIST_PREFIX "%s", source->text) : source->text;
	addNSItemToQuery(pstate, addRangeTableEntryForRelation(pstate, events, AccessShareLock,
																source->alias ? makeAlias(source->alias, NIL) : NULL, false, true),
					 false, true, true);
	expression = transformExpr(pstate, raw, EXPR_KIND_OTHER);
	check_kind(pstate, expression, source);
	if (is_filter)
		expression = coerce_to_boolean(pstate, expression, source->argument);
	else if (exprType(expression) == UNKNOWNOID)
		expression = coerce_to_common_type(pstate, expression, TEXTOID, source->argument);
	assign_expr_collations(pstate, expression);
	(void) check_columns(expression, &check);
	expressions->columns |= check.columns;
	if (is_filter)
	{
		Oid			extension = get_extension_oid(MCS_EXTENSION, true);

		expressions->filter_columns = check.columns;
		expressions->has_user_functions = has_user_functions(expression, &extension);
	}

	cached = GetCachedExpression(expression);
	old = MemoryContextSwitchTo(expressions->context);
	expressions->cached = lappend(expressions->cached, cached);
	MemoryContextSwitchTo(old);
	free_parsestate(pstate);
	return (Expr *) cached->expr;
}

/* ---- compiling ---- */

static void
compile_filter(StreamExpressions *expressions, Relation events, const char *argument, const char *text, const char *alias)
{
	ExpressionSource source = {argument, text, 0, alias};
	ErrorContextCallback callback = {.callback = source_error_callback,.arg = &source};
	Expr	   *expression;
	MemoryContext old;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	expression = analyse(expressions, events, parse_filter(&source), &source, true);
	old = MemoryContextSwitchTo(expressions->context);
	expressions->filter = ExecInitQual(list_make1(expression), NULL);
	expressions->condition = expression;
	MemoryContextSwitchTo(old);
	error_context_stack = callback.previous;
}

static void
compile_fields(StreamExpressions *expressions, Relation events, const char *text)
{
	ExpressionSource source = {"add_fields", text, strlen(SET_LIST_PREFIX), NULL};
	ErrorContextCallback callback = {.callback = source_error_callback,.arg = &source};
	List	   *targets;
	ListCell   *cell;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	targets = parse_fields(&source);
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

static void
forget_cached(void *arg)
{
	StreamExpressions *expressions = arg;
	ListCell   *cell;

	foreach(cell, expressions->cached)
		FreeCachedExpression(lfirst(cell));
	expressions->cached = NIL;
}

/* Everything but the expressions themselves. */
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
	MemoryContextRegisterResetCallback(context, &expressions->forget);
	mcs_events_table_map(events, &expressions->map);
	expressions->conversion = mcs_events_table_conversion(events, &expressions->map);
	expressions->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(events)), &TTSOpsVirtual);
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
		compile_filter(expressions, events, "filter", filter, NULL);
	if (add_fields)
		compile_fields(expressions, events, add_fields);
	return expressions;
}

StreamExpressions *
mcs_expression_compile_condition(Relation events, const char *condition)
{
	StreamExpressions *expressions = make_expressions(events);

	compile_filter(expressions, events, "condition", condition, "change");
	return expressions;
}

void
mcs_expression_keep(StreamExpressions *expressions, MemoryContext parent)
{
	MemoryContextSetParent(expressions->context, parent);
}

void
mcs_expression_free(StreamExpressions *expressions)
{
	MemoryContextDelete(expressions->context);
}

bool
mcs_expression_has_fields(const StreamExpressions *expressions)
{
	return expressions->field_count > 0;
}

bool
mcs_expression_filter_reads(const StreamExpressions *expressions, EventColumn column)
{
	return (expressions->filter_columns & (UINT32_C(1) << column)) != 0;
}

Document *
mcs_expression_match(const StreamExpressions *expressions, bool looks_up, bool *exact)
{
	int			natts = expressions->slot->tts_tupleDescriptor->natts;
	int8	   *columns = palloc(natts);
	MatchRelation relation = {.varno = 1,.natts = natts,.columns = columns,.images_change = looks_up};

	*exact = false;
	/* what a user's function was when the stream was made, it need not be for ever */
	if (!expressions->condition || expressions->has_user_functions)
		return NULL;
	memset(columns, -1, natts);
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		AttrNumber	attribute = expressions->map.attributes[ROW_EVENT + i];

		/* MongoDB has the value as we make it, not as the table's owner has it converted */
		if (expressions->conversion == NULL || !mcs_events_table_converts(expressions->conversion, ROW_EVENT + i))
			columns[attribute - 1] = i;
	}
	return mcs_match_constant(&relation, expressions->condition, exact);
}

static bool
has_same_columns(TupleDesc a, TupleDesc b)
{
	if (a->natts != b->natts)
		return false;
	for (int i = 0; i < a->natts; i++)
	{
		Form_pg_attribute one = TupleDescAttr(a, i);
		Form_pg_attribute other = TupleDescAttr(b, i);

		if (one->attisdropped != other->attisdropped || one->atttypid != other->atttypid ||
			one->atttypmod != other->atttypmod || strcmp(NameStr(one->attname), NameStr(other->attname)) != 0)
			return false;
	}
	return true;
}

bool
mcs_expression_valid(const StreamExpressions *expressions)
{
	ListCell   *cell;

	Relation	events;
	bool		same;

	foreach(cell, expressions->cached)
		if (!((CachedExpression *) lfirst(cell))->is_valid)
			return false;
	/* what is cached does not hear of columns */
	events = table_open(mcs_extension_events(), AccessShareLock);
	same = has_same_columns(RelationGetDescr(events), expressions->slot->tts_tupleDescriptor);
	table_close(events, NoLock);
	return same;
}

/* ---- evaluation ---- */

/* Puts an event in front of the expressions. */
static void
load_event(StreamExpressions *expressions, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = expressions->slot;

	MemoryContext old;

	ResetExprContext(expressions->econtext);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	old = MemoryContextSwitchTo(expressions->econtext->ecxt_per_tuple_memory);
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		int			at = expressions->map.attributes[ROW_EVENT + i] - 1;

		/* a value that its column can't hold is only then an expression's affair when that reads it */
		if (nulls[i] || !(expressions->columns & (UINT32_C(1) << i)))
			continue;
		slot->tts_isnull[at] = false;
		slot->tts_values[at] = mcs_events_table_convert(expressions->conversion, ROW_EVENT + i, values[i], &slot->tts_isnull[at]);
	}
	MemoryContextSwitchTo(old);
	ExecStoreVirtualTuple(slot);
}

bool
mcs_expression_filter(StreamExpressions *expressions, const Datum *values, const bool *nulls)
{
	if (!expressions->filter)
		return true;
	load_event(expressions, values, nulls);
	return ExecQual(expressions->filter, expressions->econtext);
}

bool
mcs_expression_condition_holds(StreamExpressions *expressions, HeapTuple event)
{
	TupleTableSlot *slot = expressions->slot;

	ResetExprContext(expressions->econtext);
	ExecClearTuple(slot);
	heap_deform_tuple(event, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	return ExecQual(expressions->filter, expressions->econtext);
}

/* Whether a field of this name is added, and so hides the event's own. */
static bool
is_added(const StreamExpressions *expressions, const char *key)
{
	for (int i = 0; i < expressions->field_count; i++)
		if (strcmp(expressions->fields[i].name, key) == 0)
			return true;
	return false;
}

Datum
mcs_expression_extra(StreamExpressions *expressions, const Datum *values, const bool *nulls, bool *isnull)
{
	DocumentBuilder builder;
	bool		had_extra = !nulls[EVENT_EXTRA];	/* isnull may point into nulls */

	if (expressions->field_count == 0)
	{
		*isnull = !had_extra;
		return values[EVENT_EXTRA];
	}
	load_event(expressions, values, nulls);
	*isnull = false;
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	if (had_extra)
	{
		Document   *extra = DatumGetDocumentP(values[EVENT_EXTRA]);
		DocumentIterator it;

		mcs_document_iterate(&it, DOCUMENT_VALUE(extra), DOCUMENT_VALUE_SIZE(extra));
		while (mcs_document_next(&it))
			if (!is_added(expressions, it.key))
				mcs_document_append_value(&builder, it.key, &it.value);
	}
	for (int i = 0; i < expressions->field_count; i++)
	{
		AddedField *field = &expressions->fields[i];
		bool		field_isnull;
		Datum		value = ExecEvalExprSwitchContext(field->state, expressions->econtext, &field_isnull);

		mcs_document_append_datum(&builder, field->name, value, field_isnull, field->type, mcs_extension_document());
	}
	mcs_document_end(&builder);
	return DocumentPGetDatum(mcs_document_finish(&builder));
}
