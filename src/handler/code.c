/*
 * handler/code.c
 *	  What a handler runs: its body or procedure, and its condition.
 *
 * A body becomes a PL/pgSQL function of one argument, so that its plans are
 * kept from one event to the next.  The function lives in the session's own
 * temporary schema for as long as the session works for the handler: nothing
 * of it is dumped, and the text in change_handlers is all there is to keep.  It
 * is nobody's in particular (the bootstrap superuser is its owner, but it runs
 * with the rights of who calls it), and it depends on nothing but that schema, so
 * that what a killed session leaves behind keeps nobody from dropping a role or
 * the extension; whoever gets that temporary schema next removes it.
 *
 * Code is called below SQL, by the function manager, which makes COMMIT and
 * ROLLBACK in it errors.  Whatever it sets is put back after each event.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/proclang.h"
#include "commands/trigger.h"
#include "event/event.h"
#include "funcapi.h"
#include "handler/handler_internal.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "parser/scansup.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/expandedrecord.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/varlena.h"

struct HandlerCode
{
	MemoryContext context;
	Oid			event_type;
	bool		of_batch;		/* it runs on a set of events */
	FmgrInfo	function;
	bool		temporary;		/* made for this session */
	StreamExpressions *condition;	/* NULL: none */

	/* of a function that is not the session's own, and so may change while the code is kept */
	dlist_node	watch;			/* in the list of those; not linked otherwise */
	uint32		function_hash;	/* in the cache of functions */
	bool		function_changed;
	MemoryContextCallback unwatch;
};

/* A handler's code may replay another handler, so a session can have several at work. */
static dlist_head watched = DLIST_STATIC_INIT(watched);

static void
function_callback(Datum arg, int cache, uint32 hash)
{
	dlist_iter	iter;

	dlist_foreach(iter, &watched)
	{
		HandlerCode *code = dlist_container(HandlerCode, watch, iter.cur);

		/* 0 means all of them; and another function may have the same hash, which costs no more than a look */
		if (hash == 0 || hash == code->function_hash)
			code->function_changed = true;
	}
}

static void
unwatch(void *arg)
{
	dlist_delete(&((HandlerCode *) arg)->watch);
}

/* Notes changes of a function that others can replace, for as long as the code lives. */
static void
watch_function(HandlerCode *code, Oid function)
{
	static bool registered = false;

	/* callbacks can't be taken back, and there is room for few of them: one for all */
	if (!registered)
		CacheRegisterSyscacheCallback(PROCOID, function_callback, (Datum) 0);
	registered = true;
	code->function_hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function));
	dlist_push_tail(&watched, &code->watch);
	code->unwatch.func = unwatch;
	code->unwatch.arg = code;
	MemoryContextRegisterResetCallback(code->context, &code->unwatch);
}

/* The row type of the events table. */
static Oid
event_type(void)
{
	return get_rel_type_id(mcs_extension_events());
}

/* The type of the argument of what a handler calls; InvalidOid: it has none. */
static Oid
argument_type(const Handler *handler)
{
	if (handler->each == HANDLER_EACH_EVENT)
		return event_type();
	return handler->body ? InvalidOid : get_array_type(event_type());
}

/* ---- bodies ---- */

/* Skips a comment, a string or a dollar-quoted string; NULL where none begins here. */
static const char *
skip_quoted(const char *at)
{
	static const char in_tag[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
	const char *end;

	if (at[0] == '-' && at[1] == '-')
		return at + strcspn(at, "\r\n");
	if (at[0] == '/' && at[1] == '*')
	{
		int			depth = 0;

		do
		{
			if (at[0] == '/' && at[1] == '*')
				depth++, at += 2;
			else if (at[0] == '*' && at[1] == '/')
				depth--, at += 2;
			else
				at++;
		} while (depth > 0 && *at);
		return at;
	}
	if (at[0] == '\'' || at[0] == '"')
	{
		end = strchr(at + 1, at[0]);
		return end ? end + 1 : at + strlen(at);
	}
	if (at[0] == '$' && (end = strchr(at + 1, '$')) != NULL && strspn(at + 1, in_tag) == end - at - 1)
	{
		char	   *tag = pnstrdup(at, end - at + 1);

		at = strstr(end + 1, tag);
		return at ? at + strlen(tag) : end + strlen(end);
	}
	return NULL;
}

/*
 * Makes a block of a body that is bare statements.  A body that begins as a
 * block does, with a label or an option, is one.
 */
static char *
body_as_block(const char *body)
{
	static const char *const beginnings[] = {"begin", "declare", "<<", "#"};
	const char *begin = NULL;
	char		last = '\0';

	/* looks for the first word behind comments, and for the last character that is in none */
	for (const char *at = body; *at;)
	{
		const char *next = scanner_isspace(*at) || *at == '-' || *at == '/' ? skip_quoted(at) : NULL;

		if (!begin && !next && !scanner_isspace(*at))
			begin = at;
		if (!next)
			next = skip_quoted(at);
		if (!next)
			next = at + 1;
		if (!scanner_isspace(*at) && !(at[0] == '-' && at[1] == '-') && !(at[0] == '/' && at[1] == '*'))
			last = next[-1];
		at = next;
	}
	if (!begin)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("body must not be empty")));
	for (int i = 0; i < lengthof(beginnings); i++)
		if (pg_strncasecmp(begin, beginnings[i], strlen(beginnings[i])) == 0)
			return pstrdup(body);
	/* on a line of its own: the body may end in a comment that goes to the line's end */
	return psprintf("BEGIN %s\n%sEND", body, last == ';' ? "" : ";");
}

/* Says in errors which text it is about. */
static void
body_context(void *arg)
{
	errcontext("body of change handler \"%s\"", ((const Handler *) arg)->name);
}

/* The temporary schema, which the owner may be denied for temporary tables. */
static Oid
temporary_schema(void)
{
	Oid			userid;
	int			sec_context;
	Oid			schema;

	/* an error in between leaves the user to the end of the (sub)transaction, which puts it back */
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, sec_context | SECURITY_LOCAL_USERID_CHANGE);
	schema = LookupCreationNamespace("pg_temp");
	SetUserIdAndSecContext(userid, sec_context);
	return schema;
}

/* Gives a function the usual rights, and no dependency on roles, whatever default privileges have made of them. */
static void
forget_rights(Oid function)
{
	Relation	procedures = table_open(ProcedureRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(PROCOID, ObjectIdGetDatum(function));
	int			column = Anum_pg_proc_proacl;
	Datum		value = (Datum) 0;
	bool		isnull = true;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	if (!heap_attisnull(tuple, Anum_pg_proc_proacl, RelationGetDescr(procedures)))
	{
		/* null is what CREATE FUNCTION leaves where there are no default privileges */
		tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(procedures), 1, &column, &value, &isnull);
		CatalogTupleUpdate(procedures, &tuple->t_self, tuple);
		deleteSharedDependencyRecordsFor(ProcedureRelationId, function, 0);
		CommandCounterIncrement();
	}
	table_close(procedures, RowExclusiveLock);
}

/* Makes a function of a body; with validate, PL/pgSQL looks at it now. */
static Oid
make_function(const Handler *handler, SubTransactionId replay, bool validate)
{
	const char *body = handler->translated_body ? handler->translated_body : handler->body;
	Oid			language = get_language_oid("plpgsql", false);
	Oid			validator = InvalidOid;
	Oid			argument = argument_type(handler);
	int			arguments = OidIsValid(argument) ? 1 : 0;
	Datum		name = CStringGetTextDatum("change");
	ArrayType  *names = arguments ? construct_array(&name, 1, TEXTOID, -1, false, TYPALIGN_INT) : NULL;
	char		function[NAMEDATALEN];
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = body_context,.arg = unconstify(Handler *, handler)};
	ObjectAddress made,
				schema;

	if (validate)
	{
		HeapTuple	tuple = SearchSysCache1(LANGOID, ObjectIdGetDatum(language));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for language %u", language);
		validator = ((Form_pg_language) GETSTRUCT(tuple))->lanvalidator;
		ReleaseSysCache(tuple);
	}
	/* a worker replaces its own when it makes the code anew; of replays, one may run inside of another */
	if (replay == InvalidSubTransactionId)
		mcs_text_format(function, sizeof(function), "change_handler_%s", handler->name);
	else
		mcs_text_format(function, sizeof(function), "change_replay_%u_%s", replay, handler->name);
	error_context_stack = &callback;
	made = ProcedureCreate(function, temporary_schema(), true, false, VOIDOID, BOOTSTRAP_SUPERUSERID, language, InvalidOid,
						   body_as_block(body), NULL, NULL, PROKIND_FUNCTION, false, false, false, PROVOLATILE_VOLATILE,
						   PROPARALLEL_UNSAFE, buildoidvector(&argument, arguments), PointerGetDatum(NULL), PointerGetDatum(NULL),
						   PointerGetDatum(names), NIL,
						   PointerGetDatum(NULL),
#if PG_VERSION_NUM >= 180000
						   NIL,
#endif
						   PointerGetDatum(NULL), InvalidOid, 1, 0);
	CommandCounterIncrement();
	/* on the extension's type and language, for example: see the top of the file */
	(void) deleteDependencyRecordsFor(ProcedureRelationId, made.objectId, false);
	ObjectAddressSet(schema, NamespaceRelationId, temporary_schema());
	recordDependencyOn(&made, &schema, DEPENDENCY_NORMAL);
	forget_rights(made.objectId);
	/* ProcedureCreate was given none, as it would ask it before the dependencies are right */
	if (OidIsValid(validator))
		(void) OidFunctionCall1(validator, ObjectIdGetDatum(made.objectId));
	error_context_stack = callback.previous;
	CommandCounterIncrement();
	return made.objectId;
}

/* ---- procedures ---- */

/* The function or procedure that a name means, with or without its argument's type. */
static Oid
find_procedure(const char *name, Oid argument)
{
	ObjectWithArgs object;
	TypeName   *type = makeTypeNameFromOid(argument, -1);

	/* as regprocedure has it */
	if (strchr(name, '('))
		return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	memset(&object, 0, sizeof(object));
	object.type = T_ObjectWithArgs;
#if PG_VERSION_NUM >= 160000
	object.objname = stringToQualifiedNameList(name, NULL);
#else
	object.objname = stringToQualifiedNameList(name);
#endif
	object.objargs = list_make1(type);
	return LookupFuncWithArgs(OBJECT_ROUTINE, &object, false);
}

/* Checks that a function is of the one kind that a handler calls and that the owner may. */
static void
check_procedure(Oid function, const char *name, Oid argument)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		fits;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	fits = (form->prokind == PROKIND_FUNCTION || form->prokind == PROKIND_PROCEDURE) && !form->proretset &&
		form->pronargs == 1 && form->proargtypes.values[0] == argument && form->prorettype != TRIGGEROID;
	ReleaseSysCache(tuple);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a procedure or function that a handler can call", name),
				 errdetail("It must have one argument of type %s and return no set.",
						   argument == event_type() ? "change_stream_events" : "change_stream_events[]")));
#if PG_VERSION_NUM >= 160000
	if (object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
#else
	if (pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
#endif
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_ROUTINE, name);
}

/* ---- preparing ---- */

/* The function that a handler calls for each event, or each batch. */
static Oid
find_code(const Handler *handler, SubTransactionId replay, bool validate)
{
	Oid			function;

	if (handler->body)
		return make_function(handler, replay, validate);
	function = find_procedure(handler->procedure, argument_type(handler));
	check_procedure(function, handler->procedure, argument_type(handler));
	return function;
}

static StreamExpressions *
compile_condition(const char *condition)
{
	Relation	events;
	StreamExpressions *expressions;

	if (!condition)
		return NULL;
	events = table_open(mcs_extension_events(), AccessShareLock);
	expressions = mcs_expression_compile_condition(events, condition);
	table_close(events, NoLock);
	return expressions;
}

HandlerCode *
mcs_code_prepare(const Handler *handler, SubTransactionId replay)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream handler code", ALLOCSET_DEFAULT_SIZES);
	HandlerCode *code = MemoryContextAllocZero(context, sizeof(HandlerCode));
	Oid			function;

	code->context = context;
	code->event_type = event_type();
	code->of_batch = handler->each == HANDLER_EACH_BATCH;
	code->temporary = handler->body != NULL;
	function = find_code(handler, replay, false);
	if (handler->procedure)
		watch_function(code, function);
	fmgr_info_cxt(function, &code->function, context);
	code->condition = compile_condition(handler->translated_condition ? handler->translated_condition : handler->condition);
	/* all of it in one context, so that it goes with the code */
	if (code->condition)
		mcs_expression_keep(code->condition, context);
	return code;
}

static void
attempt_condition(void *condition)
{
	(void) compile_condition(condition);
}

bool
mcs_code_condition_is_plain(const char *condition)
{
	ErrorData  *error = mcs_attempt_undone(attempt_condition, unconstify(char *, condition));
	int			category = error ? ERRCODE_TO_CATEGORY(error->sqlerrcode) : 0;

	/* a cancel, for example, says nothing about it */
	if (error && category != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION && category != ERRCODE_FEATURE_NOT_SUPPORTED &&
		category != ERRCODE_DATA_EXCEPTION)
		ReThrowError(error);
	return error == NULL;
}

static void
attempt_code(void *arg)
{
	const Handler *handler = arg;

	(void) find_code(handler, InvalidSubTransactionId, true);
	(void) compile_condition(handler->translated_condition ? handler->translated_condition : handler->condition);
}

/* Raises what is wrong with a handler's code, and leaves nothing behind. */
void
mcs_code_validate(const Handler *handler)
{
	int			level = NewGUCNestLevel();
	ErrorData  *error;

	(void) set_config_option("check_function_bodies", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	/* what it makes to see whether it can be made, a function, goes again */
	error = mcs_attempt_undone(attempt_code, unconstify(Handler *, handler));
	if (error)
		ReThrowError(error);
	AtEOXact_GUC(false, level);
}

bool
mcs_code_valid(const HandlerCode *code)
{
	/* a process that takes no lock meanwhile would not hear of changes */
	AcceptInvalidationMessages();
	return !code->function_changed &&
		(!code->condition || mcs_expression_valid(code->condition)) &&
		code->event_type == event_type();
}

/* Ends code in a session that goes on without it. */
void
mcs_code_remove(HandlerCode *code)
{
	if (code->temporary)
	{
		ObjectAddress function;

		ObjectAddressSet(function, ProcedureRelationId, code->function.fn_oid);
		performDeletion(&function, DROP_RESTRICT, PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY);
	}
	MemoryContextDelete(code->context);
}

/* ---- running ---- */

/* Calls the function with its argument. */
static void
call_function(HandlerCode *code, Datum argument)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &code->function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = argument;
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
}

/* With an event as a record that PL/pgSQL takes over as it is. */
static void
run_on_event(HandlerCode *code, HeapTuple event)
{
	ExpandedRecordHeader *record = make_expanded_record_from_typeid(code->event_type, -1, CurrentMemoryContext);

	/* what is stored out of line stays there until the code looks at it */
	expanded_record_set_tuple(record, event, true, false);
	call_function(code, ExpandedRecordGetDatum(record));
}

/* Again and again, so that code which catches the first cancel is cancelled once more. */
static void
start_timeout(int timeout_ms)
{
	enable_timeout_every(STATEMENT_TIMEOUT, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms), timeout_ms);
}

/* Whether the condition leaves an event in. */
static bool
condition_holds(HandlerCode *code, HeapTuple event)
{
	return !code->condition || mcs_expression_condition_holds(code->condition, event);
}

/* Notes on which events the code runs; returns how many there are, of which the first, or all, are to blame for what comes. */
static int
choose_events(HandlerCode *code, HandlerEvent *events, int count, HandlerBlame *blame)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream condition", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			ran = 0;
	int			first = 0;

	blame->together = 1;
	for (int i = 0; i < count; i++)
	{
		blame->at = i;
		events[i].ran = condition_holds(code, events[i].row);
		if (events[i].ran && ran++ == 0)
			first = i;
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	blame->at = first;
	blame->together = Max(ran, 1);
	return ran;
}

/* Runs code for each batch on some events. */
static void
run_on_batch(HandlerCode *code, HandlerEvent *events, int count, HandlerBlame *blame)
{
	int			ran = choose_events(code, events, count, blame);

	if (ran == 0)
		return;
	if (code->temporary)
		mcs_batch_run_body(&code->function, events, count);
	else
		call_function(code, mcs_batch_array(code->event_type, events, count, ran));
}

/*
 * An error leaves the timeout running: transactions that are rolled back
 * disable it, and who catches errors otherwise does so himself.
 */
void
mcs_code_run(HandlerCode *code, HandlerEvent *events, int count, int timeout_ms, HandlerBlame *blame)
{
	int			level = NewGUCNestLevel();

	if (timeout_ms > 0)
		start_timeout(timeout_ms);
	if (code->of_batch)
		run_on_batch(code, events, count, blame);
	else if ((events->ran = condition_holds(code, events->row)))
		run_on_event(code, events->row);
	if (timeout_ms > 0)
		disable_timeout(STATEMENT_TIMEOUT, false);
	/* settings that the code has made are its own event's only */
	AtEOXact_GUC(false, level);
	/* a cancel that came too late for the code is still this event's */
	CHECK_FOR_INTERRUPTS();
}

void
mcs_code_finish(void)
{
	/* deferred constraints and triggers are code, too: an error of theirs must not come at the commit */
	mcs_events_table_check_deferred();
}
