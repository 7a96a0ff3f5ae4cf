/*
 * stream/hook.c
 *	  Statements of others that concern streams: those that need a database
 *	  without our processes, and those that would take away what a stream needs.
 *
 * A worker is a session like any other, so DROP DATABASE, ALTER DATABASE ...
 * RENAME or SET TABLESPACE, CREATE DATABASE ... TEMPLATE would refuse to run
 * beside it, and DROP EXTENSION would wait for it.  Before them our processes
 * are asked to leave and kept out until the transaction ends.  Nobody can do
 * that with a database or an extension that is not his.
 *
 * Rights are asked here, before the statement, as the user of that moment; what
 * is left to the transaction's end only lets our processes in again.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_inherits.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "stream/stream_internal.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define BLOCK_TIMEOUT_MS	3000

/* A database that this transaction keeps our processes out of. */
typedef struct BlockedDatabase
{
	Oid			database;
	bool		dropped;		/* gone if the transaction commits */
} BlockedDatabase;

static List *blocked = NIL;		/* in TopMemoryContext, for it must outlive an aborted transaction's memory */
static ProcessUtility_hook_type previous_process_utility = NULL;
static object_access_hook_type previous_object_access = NULL;
static bool view_dropped = false;	/* a materialized view, since a statement has last been looked at */

/* Whether the user owns a database, an extension or a foreign server: an object of one of these catalogs. */
static bool
owns(Oid catalog, Oid object)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(catalog, object, GetUserId());
#else
	switch (catalog)
	{
		case DatabaseRelationId:
			return pg_database_ownercheck(object, GetUserId());
		case ExtensionRelationId:
			return pg_extension_ownercheck(object, GetUserId());
		case ForeignServerRelationId:
			return pg_foreign_server_ownercheck(object, GetUserId());
	}
	elog(ERROR, "no catalog of owned objects: %u", catalog);
	return false;				/* not reached */
#endif
}

/* Whether the user may make databases at all, as CREATE DATABASE asks for it. */
static bool
may_create_databases(void)
{
	HeapTuple	role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		may = superuser();

	if (HeapTupleIsValid(role))
	{
		may |= ((Form_pg_authid) GETSTRUCT(role))->rolcreatedb;
		ReleaseSysCache(role);
	}
	return may;
}

/*
 * Lets our processes in again: after the commit, when what they look at is as the
 * statement has made it.  Of a transaction that is prepared the locks go on to
 * keep them waiting, as they do everybody.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	ListCell   *cell;

	if (blocked == NIL || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	foreach(cell, blocked)
	{
		BlockedDatabase *entry = lfirst(cell);

		mcs_shared_unblock_database(entry->database, entry->dropped && event == XACT_EVENT_COMMIT);
	}
	list_free_deep(blocked);
	blocked = NIL;
}

/* Keeps our processes out of a database until the transaction ends; dropped: and for good if it commits. */
static void
block(Oid database, bool dropped)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	BlockedDatabase *entry = palloc(sizeof(BlockedDatabase));

	entry->database = database;
	entry->dropped = dropped;
	/* before it is done: an error or a cancel while it waits must find it in the list */
	blocked = lappend(blocked, entry);
	MemoryContextSwitchTo(old);
	mcs_shared_block_database(database, BLOCK_TIMEOUT_MS);
}

/* The database called name, if the user owns it and is not in it; else the statement fails by itself. */
static Oid
own_other_database(const char *name)
{
	Oid			database = name ? get_database_oid(name, true) : InvalidOid;

	return OidIsValid(database) && database != MyDatabaseId && owns(DatabaseRelationId, database) ? database : InvalidOid;
}

/* A string option of CREATE or ALTER DATABASE, or NULL. */
static const char *
option_string(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, name) == 0)
			return option->arg ? defGetString(option) : NULL;
	}
	return NULL;
}

/* Whether the user may copy a database that he does not own. */
static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return result;
}

/* CREATE DATABASE copies a template, by default template1. */
static void
block_template(const CreatedbStmt *statement)
{
	const char *name = option_string(statement->options, "template");
	Oid			database = get_database_oid(name ? name : "template1", true);

	if (OidIsValid(database) && may_create_databases() && (is_template(database) || owns(DatabaseRelationId, database)))
		block(database, false);
}

/*
 * Raises 2BP01 where streams still depend on what shall be dropped.  Of streams
 * that the user may not see it tells no more than how many there are.
 */
static void
refuse_if_needed(List *streams, int others, const char *what, const char *name)
{
	StringInfoData names;
	ListCell   *cell;

	if (streams == NIL && others == 0)
		return;
	initStringInfo(&names);
	foreach(cell, streams)
		appendStringInfo(&names, "%s%s", names.len ? ", " : "", (char *) lfirst(cell));
	if (others > 0)
		appendStringInfo(&names, "%s%d of %s", names.len ? ", and " : "", others,
						 strcmp(what, "role") == 0 ? "the role" : "other roles");
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("%s \"%s\" cannot be dropped because change streams need it", what, name),
			 errdetail("Change streams: %s.", names.data),
			 streams != NIL ?
			 errhint("Drop each of them first: SELECT drop_change_stream(%s);", quote_literal_cstr(linitial(streams))) :
			 errhint("Have their owner or a superuser drop them first.")));
}

/* Whether the user may drop a role at all; else that is what he is told, and nothing of its streams. */
static bool
may_drop_role(Oid role)
{
	if (superuser())
		return true;
#if PG_VERSION_NUM >= 160000
	if (!is_admin_of_role(GetUserId(), role))
		return false;
#endif
	return has_createrole_privilege(GetUserId()) && !superuser_arg(role);
}

/* Refuses to drop a role that has streams, here or, running, in another database. */
static void
refuse_role_if_needed(Oid role, const char *name, List *streams)
{
	bool		visible = has_privs_of_role(GetUserId(), role);

	refuse_if_needed(visible ? streams : NIL, visible ? 0 : list_length(streams), "role", name);
}

/* DROP SERVER and DROP EXTENSION; other kinds of objects, whose names are no single string, are passed over. */
static void
before_drop(const DropStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->objects)
	{
		Node	   *object = lfirst(cell);
		const char *name;
		Oid			extension;
		int			others;

		if (!IsA(object, String))
			continue;
		name = strVal(object);
		if (statement->removeType == OBJECT_FOREIGN_SERVER)
		{
			Oid			server = get_foreign_server_oid(name, true);

			/*
			 * Who may not drop it learns no names of streams.  A script of
			 * pg_dump --clean drops the server on the way to the extension
			 * and all streams; such a script is known by this setting.
			 */
			if (check_function_bodies && OidIsValid(server) && owns(ForeignServerRelationId, server))
			{
				List	   *streams = mcs_roles_streams_of_server(name, &others);

				refuse_if_needed(streams, others, "server", name);
			}
		}
		else if (strcmp(name, MCS_EXTENSION) == 0 &&
				 OidIsValid(extension = get_extension_oid(name, true)) && owns(ExtensionRelationId, extension))
			block(MyDatabaseId, false);
	}
}

/* DROP ROLE: in this database by the tables, in others by what runs there, as their tables cannot be read from here. */
static void
before_drop_role(const DropRoleStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->roles)
	{
		RoleSpec   *spec = lfirst(cell);
		Oid			role = spec->roletype == ROLESPEC_CSTRING ? get_role_oid(spec->rolename, true) : InvalidOid;

		/* refused by itself, or not there */
		if (!OidIsValid(role) || !may_drop_role(role))
			continue;
		if (OidIsValid(mcs_extension_schema()))
			refuse_role_if_needed(role, spec->rolename, mcs_roles_streams(role));
		refuse_role_if_needed(role, spec->rolename, mcs_slot_streams_of_role(role));
	}
}

/* What has to happen before a statement. */
static void
before_statement(Node *statement)
{
	Oid			database = InvalidOid;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			if (OidIsValid(database = own_other_database(((DropdbStmt *) statement)->dbname)))
				block(database, true);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE &&
				OidIsValid(database = own_other_database(((RenameStmt *) statement)->subname)))
				block(database, false);
			break;
		case T_AlterDatabaseStmt:
			if (option_string(((AlterDatabaseStmt *) statement)->options, "tablespace") &&
				OidIsValid(database = own_other_database(((AlterDatabaseStmt *) statement)->dbname)))
				block(database, false);
			break;
		case T_CreatedbStmt:
			block_template((CreatedbStmt *) statement);
			break;
		case T_DropStmt:
			if ((((DropStmt *) statement)->removeType == OBJECT_FOREIGN_SERVER ||
				 ((DropStmt *) statement)->removeType == OBJECT_EXTENSION) &&
				OidIsValid(mcs_extension_schema()))
				before_drop((DropStmt *) statement);
			break;
		case T_DropRoleStmt:
			before_drop_role((DropRoleStmt *) statement);
			break;
		default:
			break;
	}
}

/* What is known before a statement and not behind it. */
typedef struct StatementBefore
{
	List	   *roles;			/* that it drops, by OID, as afterwards their names lead nowhere */
	Oid			table;			/* whose name it changes; InvalidOid: none */
	char	   *schema;			/* and what that is */
	char	   *name;
	List	   *columns;		/* of ALTER TABLE, one a command: the number of the column that it adds, which is there already; else 0 */
} StatementBefore;

/* The roles that a statement drops. */
static List *
roles_to_drop(Node *statement)
{
	List	   *roles = NIL;
	ListCell   *cell;

	if (!IsA(statement, DropRoleStmt))
		return NIL;
	foreach(cell, ((DropRoleStmt *) statement)->roles)
	{
		RoleSpec   *spec = lfirst(cell);
		Oid			role = spec->roletype == ROLESPEC_CSTRING ? get_role_oid(spec->rolename, true) : InvalidOid;

		if (OidIsValid(role))
			roles = lappend_oid(roles, role);
	}
	return roles;
}

/* Notes the name of the table that a statement is about to rename, or to move into another schema; it may be called an index or a view there. */
static void
note_table(StatementBefore *before, Node *statement)
{
	RangeVar   *relation = NULL;

	if (IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType != OBJECT_COLUMN)
		relation = ((RenameStmt *) statement)->relation;
	else if (IsA(statement, AlterObjectSchemaStmt))
		relation = ((AlterObjectSchemaStmt *) statement)->relation;
	if (relation == NULL)
		return;
	/* not locked: the statement does that, and waits for who makes a mirror of it */
	before->table = RangeVarGetRelid(relation, NoLock, true);
	if (!OidIsValid(before->table))
		return;
	before->schema = get_namespace_name(get_rel_namespace(before->table));
	before->name = get_rel_name(before->table);
	/* dropped this very moment */
	if (before->schema == NULL || before->name == NULL)
		before->table = InvalidOid;
}

/* Mirrors follow a table, or all tables of a schema, with another name. */
static void
follow_names(const StatementBefore *before, Node *statement)
{
	char	   *schema;
	char	   *name;

	if (!OidIsValid(before->table))
	{
		mcs_mirrors_rename_table(((RenameStmt *) statement)->subname, NULL, InvalidOid, ((RenameStmt *) statement)->newname, NULL);
		mcs_projections_rename_view(((RenameStmt *) statement)->subname, NULL, ((RenameStmt *) statement)->newname, NULL);
		return;
	}
	schema = get_namespace_name(get_rel_namespace(before->table));
	name = get_rel_name(before->table);
	if (schema && name && (strcmp(schema, before->schema) != 0 || strcmp(name, before->name) != 0))
	{
		mcs_mirrors_rename_table(before->schema, before->name, mcs_base_relation_owner(before->table), schema, name);
		if (get_rel_relkind(before->table) == RELKIND_MATVIEW)
			mcs_projections_rename_view(before->schema, before->name, schema, name);
	}
}

/* ALTER SCHEMA ... RENAME TO */
static bool
renames_schema(Node *statement)
{
	return IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType == OBJECT_SCHEMA;
}

/* ALTER SERVER ... RENAME TO */
static bool
renames_server(Node *statement)
{
	return IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType == OBJECT_FOREIGN_SERVER;
}

/* ---- rows of mirrors that a statement takes away ---- */

/* Copies a mirror again whose table has lost what was copied. */
static void
copy_mirror_again(const Mirror *mirror, const char *why)
{
	/* the stream's rows first, as whoever changes a mirror does it behind the table */
	mcs_progress_redefine(mirror->stream);
	mcs_snapshots_begin_mirror(mirror, true);
	if (has_privs_of_role(GetUserId(), mirror->owner))
		ereport(NOTICE,
				(errmsg("change mirror \"%s\" copies its collection again", mirror->name),
				 errdetail("%s", why)));
}

/* The column that a command of ALTER TABLE adds; NULL: it is about something else. */
static const char *
added_column(const AlterTableCmd *command)
{
	return command->subtype == AT_AddColumn && IsA(command->def, ColumnDef) ? ((ColumnDef *) command->def)->colname : NULL;
}

/* The number of that column in the table as it is now; 0: it is not there. */
static int
added_number(Node *statement, const AlterTableCmd *command)
{
	const char *column = added_column(command);
	Oid			table = column ? RangeVarGetRelid(((AlterTableStmt *) statement)->relation, NoLock, true) : InvalidOid;

	return OidIsValid(table) ? get_attnum(table, column) : 0;
}

static void
note_columns(StatementBefore *before, Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, AlterTableStmt))
		return;
	foreach(cell, ((AlterTableStmt *) statement)->cmds)
		before->columns = lappend_int(before->columns, added_number(statement, lfirst(cell)));
}

/* The mirrors of a table, or of a column of it. */
static void
copy_mirrors_again(Oid table, const char *column, const char *why)
{
	char	   *schema = get_namespace_name(get_rel_namespace(table));
	char	   *name = get_rel_name(table);
	ListCell   *cell;

	if (schema == NULL || name == NULL)
		return;
	foreach(cell, mcs_mirrors_at_table(schema, name, mcs_base_relation_owner(table), column))
		copy_mirror_again(lfirst(cell), why);
}

/* The tables that a TRUNCATE has emptied, those by CASCADE among them, and the partitioned ones that have a part in that. */
static List *
truncated_tables(const TruncateStmt *statement)
{
	List	   *tables = NIL;
	List	   *others;
	List	   *parents = NIL;
	ListCell   *cell;

	foreach(cell, statement->relations)
	{
		RangeVar   *relation = lfirst(cell);
		Oid			table = RangeVarGetRelid(relation, NoLock, true);

		if (OidIsValid(table))
			tables = list_concat_unique_oid(tables, relation->inh ? find_all_inheritors(table, NoLock, NULL) : list_make1_oid(table));
	}
	while (statement->behavior == DROP_CASCADE && (others = heap_truncate_find_FKs(tables)) != NIL)
		tables = list_concat_unique_oid(tables, others);
	foreach(cell, tables)
		if (get_rel_relispartition(lfirst_oid(cell)))
			parents = list_concat_unique_oid(parents, get_partition_ancestors(lfirst_oid(cell)));
	return list_concat_unique_oid(tables, parents);
}

/*
 * TRUNCATE, and ADD COLUMN of one that was dropped, leave a mirror without what
 * its copy has brought, which nobody would see but who compares it.
 */
static void
mend_mirrors(Node *statement, const StatementBefore *before)
{
	ListCell   *cell;
	ListCell   *number;

	if (IsA(statement, TruncateStmt))
	{
		foreach(cell, truncated_tables((TruncateStmt *) statement))
			copy_mirrors_again(lfirst_oid(cell), NULL, "Its table was truncated.");
		return;
	}
	forboth(cell, ((AlterTableStmt *) statement)->cmds, number, before->columns)
	{
		AlterTableCmd *command = lfirst(cell);

		/* IF NOT EXISTS has left alone what was there */
		if (added_column(command) && added_number(statement, command) != lfirst_int(number))
			copy_mirrors_again(RangeVarGetRelid(((AlterTableStmt *) statement)->relation, NoLock, true),
							   added_column(command), "A column that it fills was added to its table.");
	}
}

/*
 * Whether a statement may be such.  What triggers do to a mirror in the process of
 * a stream, or of several, is its owner's doing, and would begin copies for ever; in
 * the script of an extension our own tables may not be there yet; and what
 * pg_restore truncates it fills again, of the same dump as our tables.
 */
static bool
empties_mirrors(Node *statement)
{
	return (IsA(statement, TruncateStmt) || IsA(statement, AlterTableStmt)) && !creating_extension && check_function_bodies &&
		!(MyBgworkerEntry && (strcmp(MyBgworkerEntry->bgw_function_name, "mcs_worker_main") == 0 ||
							  strcmp(MyBgworkerEntry->bgw_function_name, "mcs_group_main") == 0));
}

/* Notes that a materialized view is dropped, by whatever statement: DROP ... CASCADE does it, ALTER TABLE, ALTER TYPE, DROP OWNED ... */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int part, void *arg)
{
	if (previous_object_access)
		previous_object_access(access, class, object, part, arg);
	if (access == OAT_DROP && class == RelationRelationId && part == 0 && get_rel_relkind(object) == RELKIND_MATVIEW)
		view_dropped = true;
}

/* Whether a statement gives relations to others: projections are their views' owners', each of whom has a process. */
static bool
changes_owners(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, AlterTableStmt))
		return IsA(statement, ReassignOwnedStmt);
	foreach(cell, ((AlterTableStmt *) statement)->cmds)
		if (((AlterTableCmd *) lfirst(cell))->subtype == AT_ChangeOwner)
			return true;
	return false;
}

/* ---- behind a statement ---- */

/*
 * DROP OWNED takes the streams of a role, REASSIGN OWNED gives them to another;
 * what dropped roles were granted ends; streams follow a server that is renamed,
 * mirrors a table, which they fill again where it was emptied.
 */
static void
after_statement(Node *statement, const StatementBefore *before)
{
	ListCell   *cell;
	bool		dropped = view_dropped && !creating_extension;

	view_dropped = false;
	/* which streams can be followed together shows in the new schema only */
	if (IsA(statement, AlterExtensionStmt) && strcmp(((AlterExtensionStmt *) statement)->extname, MCS_EXTENSION) == 0)
		mcs_wake_at_commit("");
	if (!IsA(statement, DropOwnedStmt) && !IsA(statement, ReassignOwnedStmt) && before->roles == NIL && !renames_server(statement) &&
		!OidIsValid(before->table) && !renames_schema(statement) && !empties_mirrors(statement) && !dropped)
		return;
	if (!OidIsValid(mcs_extension_schema()))
		return;
	/* what the statement has done is to be seen by what follows from it */
	CommandCounterIncrement();
	if (dropped)
		mcs_projections_forget_missing();
	if (changes_owners(statement))
		mcs_wake_projections_at_commit();
	if (before->roles != NIL)
	{
		foreach(cell, before->roles)
			mcs_grants_forget_role(lfirst_oid(cell));
	}
	else if (OidIsValid(before->table) || renames_schema(statement))
		follow_names(before, statement);
	else if (empties_mirrors(statement))
		mend_mirrors(statement, before);
	else if (IsA(statement, RenameStmt))
		mcs_roles_rename_server(strVal(((RenameStmt *) statement)->object), ((RenameStmt *) statement)->newname);
	else if (IsA(statement, DropOwnedStmt))
	{
		foreach(cell, ((DropOwnedStmt *) statement)->roles)
			mcs_roles_drop_streams(get_rolespec_oid(lfirst(cell), false));
	}
	else if (IsA(statement, ReassignOwnedStmt))
	{
		ReassignOwnedStmt *reassign = (ReassignOwnedStmt *) statement;

		foreach(cell, reassign->roles)
			mcs_roles_reassign(get_rolespec_oid(lfirst(cell), false), get_rolespec_oid(reassign->newrole, false));
	}
}

/*
 * The hook.  Statements on a standby, without preloading, or outside of a
 * transaction (as in a replication session) have nothing to do with streams.
 */
static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = previous_process_utility ? previous_process_utility : standard_ProcessUtility;
	bool		ours = mcs_shared_ready() && !RecoveryInProgress() && IsTransactionState();
	StatementBefore before = {0};

	if (ours)
	{
		before_statement(pstmt->utilityStmt);
		before.roles = roles_to_drop(pstmt->utilityStmt);
		note_table(&before, pstmt->utilityStmt);
		note_columns(&before, pstmt->utilityStmt);
	}
	next(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	/* a procedure or DROP DATABASE may have ended the transaction */
	if (ours && IsTransactionState())
		after_statement(pstmt->utilityStmt, &before);
}

/* Installs the hook; only in the postmaster, so that every session has it. */
void
mcs_stream_hook_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_object_access = object_access_hook;
	object_access_hook = object_access;
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	RegisterXactCallback(at_transaction_end, NULL);
}
