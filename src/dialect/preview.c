/*
 * dialect/preview.c
 *	  What a statement makes is there for the translation of those behind it.
 *
 * A text makes a table or a view and then reads it by paths, which mean nothing
 * before its columns are known.  So while such a text is translated, what it
 * makes is made, in a subtransaction that is rolled back in the end (see
 * translate_text in translate.c).
 *
 * It is made by the caller's own rights.  Run is only what defines something and
 * leaves nothing behind when it is undone: tables, views, types, functions of
 * SQL and PL/pgSQL, DROP of relations, SET search_path.  No query runs, and so
 * no function, no sequence moves on, no row is written, MongoDB is not asked, no
 * event trigger is called.  Of a table are made its columns and keys: PostgreSQL
 * evaluates functions in expressions of its partitions, generated columns and
 * indexes already as it makes them, and foreign keys lock other tables.  Locks are kept until the rollback, and waited for no
 * longer than a second.  What fails is as if it were not there: the statement
 * says what is wrong when it runs.
 */
#include "mongo_change_stream.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/base.h"
#include "commands/defrem.h"
#include "commands/event_trigger.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"

#define MAX_WAIT "1s"
#define MAX_WAIT_MS 1000

/* Whether anything may be made here and now. */
bool
mcs_preview_allowed(void)
{
	return !XactReadOnly && !RecoveryInProgress() && !IsInParallelMode() && !InSecurityRestrictedOperation();
}

/* Whether a function is in a language that only reads it when it is made. */
static bool
is_plain_function(const CreateFunctionStmt *create)
{
	ListCell   *cell;

	foreach(cell, create->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "language") == 0)
			return strcmp(strVal(option->arg), "sql") == 0 || strcmp(strVal(option->arg), "plpgsql") == 0;
	}
	/* BEGIN ATOMIC is SQL */
	return true;
}

/* Leaves out the constraints that no analysis asks for. */
static List *
needed_constraints(List *constraints)
{
	List	   *needed = NIL;
	ListCell   *cell;

	foreach(cell, constraints)
	{
		switch (lfirst_node(Constraint, cell)->contype)
		{
			case CONSTR_NULL:
			case CONSTR_NOTNULL:
			case CONSTR_DEFAULT:
			case CONSTR_IDENTITY:
			case CONSTR_PRIMARY:
			case CONSTR_UNIQUE:
				needed = lappend(needed, lfirst(cell));
				break;
			default:
				break;
		}
	}
	return needed;
}

/* Takes from a table what is not columns and keys. */
static void
simplify_table(CreateStmt *create)
{
	List	   *elements = NIL;
	ListCell   *cell;

	create->partspec = NULL;
	foreach(cell, create->tableElts)
	{
		Node	   *element = lfirst(cell);

		if (IsA(element, Constraint) && needed_constraints(list_make1(element)) == NIL)
			continue;
		if (IsA(element, ColumnDef))
			((ColumnDef *) element)->constraints = needed_constraints(((ColumnDef *) element)->constraints);
		else if (IsA(element, TableLikeClause))
			((TableLikeClause *) element)->options = 0;
		elements = lappend(elements, element);
	}
	create->tableElts = elements;
}

/* Whether a statement is one to be run here; what would run a query is told to do without. */
static bool
defines(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_ViewStmt:
		case T_CompositeTypeStmt:
		case T_CreateEnumStmt:
		case T_CreateDomainStmt:
			return true;
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			/* a foreign table begins with what a table is */
			simplify_table((CreateStmt *) statement);
			/* bounds of a partition are computed, and its parent is locked */
			return ((CreateStmt *) statement)->partbound == NULL;
		case T_CreateSchemaStmt:
			return ((CreateSchemaStmt *) statement)->schemaElts == NIL;
		case T_CreateFunctionStmt:
			return is_plain_function((CreateFunctionStmt *) statement);
		case T_CreateTableAsStmt:
			((CreateTableAsStmt *) statement)->into->skipData = true;
			return IsA(((CreateTableAsStmt *) statement)->query, SelectStmt);
		case T_DropStmt:
			return ((DropStmt *) statement)->removeType == OBJECT_TABLE || ((DropStmt *) statement)->removeType == OBJECT_VIEW ||
				((DropStmt *) statement)->removeType == OBJECT_MATVIEW || ((DropStmt *) statement)->removeType == OBJECT_FOREIGN_TABLE;
		case T_VariableSetStmt:
			return ((VariableSetStmt *) statement)->name && strcmp(((VariableSetStmt *) statement)->name, "search_path") == 0;
		default:
			return false;
	}
}

/* Sets a setting until the innermost level of settings ends. */
static void
set_here(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Runs one statement that defines something. */
static void
run(RawStmt *raw, const char *sql)
{
	List	   *planned = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, NULL), sql, 0, NULL);
	ListCell   *cell;
	bool		collects = EventTriggerBeginCompleteQuery();

	PG_TRY();
	{
		/* not as a statement of the user's, so event triggers are left out; those of a statement around get to know nothing of it, either */
		foreach(cell, planned)
			ProcessUtility(lfirst_node(PlannedStmt, cell), sql, false, PROCESS_UTILITY_SUBCOMMAND, NULL, NULL, None_Receiver, NULL);
	}
	PG_FINALLY();
	{
		if (collects)
			EventTriggerEndCompleteQuery();
	}
	PG_END_TRY();
	CommandCounterIncrement();
}

/* Inside of a subtransaction: the statements of a text that define something. */
static void
run_all(void *arg)
{
	const char *sql = arg;
	ListCell   *cell;

	foreach(cell, raw_parser(sql, RAW_PARSE_DEFAULT))
	{
		RawStmt    *raw = lfirst_node(RawStmt, cell);
		int			level;

		if (!defines(raw->stmt))
			continue;
		/* this one is to last */
		if (IsA(raw->stmt, VariableSetStmt))
		{
			run(raw, sql);
			continue;
		}
		level = NewGUCNestLevel();
		if (LockTimeout == 0 || LockTimeout > MAX_WAIT_MS)
			set_here("lock_timeout", MAX_WAIT);
		/* the statement itself says it again */
		set_here("client_min_messages", "error");
		run(raw, sql);
		AtEOXact_GUC(true, level);
	}
}

/* Makes what a translated statement makes; the caller's subtransaction takes it back. */
void
mcs_preview_statement(const char *sql)
{
	ErrorData  *error = mcs_attempt(run_all, unconstify(char *, sql));

	if (error)
	{
		mcs_dialect_rethrow_urgent(error);
		FreeErrorData(error);
	}
}
