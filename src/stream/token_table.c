/*
 * stream/token_table.c
 *	  The trigger function update_stream_resume_token(), which keeps a table of
 *	  the user's own, change_stream_resume_tokens, in step with the events table.
 *
 * The trigger fires for each row, but a row costs only a few words in memory:
 * what a transaction's rows mean for each stream is gathered, and one upsert a
 * stream is written at the end (stream/token_statement.c).  Who writes a batch asks
 * for that behind its rows (mcs_token_table_flush); in any other session it happens
 * just before the commit.
 *
 * Whose work it is
 * ----------------
 * Writing the table runs code of whoever made it: triggers, defaults, indexes.
 * It happens later than what caused it, perhaps when the session has become
 * somebody else: a row may come from an index function that a superuser's
 * ANALYZE has called as the table's owner, and be flushed by the superuser's
 * commit.  So the user of the moment at which the trigger fires is kept with
 * what is gathered, rows of different users are never put together, and the
 * flush becomes that user, restricted as for maintenance commands and with
 * names looked up in pg_catalog.  It is never done as who happens to commit.
 *
 * The function reads columns by their place in memory, so it works on the events
 * table alone and only while that table's columns have the types it expects.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define TOKEN_TABLE "change_stream_resume_tokens"

/* Of the transaction at work; in TopTransactionContext. */
static List *updates = NIL;

PG_FUNCTION_INFO_V1(mcs_update_stream_resume_token);

/* ---- finding the table ---- */

/*
 * Whether a table that was found by its name only is one to write for a role.
 * The table's triggers run with the rights of the role, so the owner must be one
 * that could use those anyway: the role itself, the owner of the events table or
 * a superuser.  Else whoever makes a table of this name and grants it to others
 * would act for them.
 */
static bool
may_write(Oid table, Oid role)
{
	Oid			owner = mcs_base_relation_owner(table);

	return OidIsValid(owner) &&
		(owner == role || owner == mcs_base_relation_owner(mcs_extension_events()) || superuser_arg(owner)) &&
		pg_class_aclcheck(table, role, ACL_INSERT) == ACLCHECK_OK &&
		pg_class_aclcheck(table, role, ACL_UPDATE) == ACLCHECK_OK &&
		pg_class_aclcheck(table, role, ACL_SELECT) == ACLCHECK_OK;
}

/* The only table of that name in any schema that the role may write; InvalidOid for none or several. */
static Oid
only_writable_table(Oid role)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			found = InvalidOid;
	int			count = 0;

	ScanKeyInit(&key, Anum_pg_class_relname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(TOKEN_TABLE));
	scan = systable_beginscan(classes, ClassNameNspIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if ((form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE) &&
			form->relpersistence != RELPERSISTENCE_TEMP && may_write(form->oid, role))
		{
			found = form->oid;
			count++;
		}
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return count == 1 ? found : InvalidOid;
}

/* The user's table: the trigger's argument, else by name; InvalidOid where there is none. */
static Oid
find_table(const Trigger *trigger, Oid role)
{
	Oid			table;

	if (trigger->tgnargs > 0)
	{
		LOCAL_FCINFO(fcinfo, 1);
		Datum		result;

		/* its NULL for "no such relation" needs a call frame of its own */
		InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
		fcinfo->args[0].value = CStringGetTextDatum(trigger->tgargs[0]);
		fcinfo->args[0].isnull = false;
		result = to_regclass(fcinfo);
		return fcinfo->isnull ? InvalidOid : DatumGetObjectId(result);
	}
	/* beside the events first, then wherever there is but one */
	table = get_relname_relid(TOKEN_TABLE, mcs_extension_schema());
	if (OidIsValid(table) && may_write(table, role))
		return table;
	return only_writable_table(role);
}

/* The update_stream_resume_token() trigger that fires on inserts into the events table, or NULL. */
static const Trigger *
attached_trigger(Relation events)
{
	TriggerDesc *triggers = events->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];
		FmgrInfo	function;

		if (trigger->tgenabled == TRIGGER_DISABLED || trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA ||
			!TRIGGER_FOR_INSERT(trigger->tgtype))
			continue;
		/* by its C function: the SQL function may have been given another name or schema */
		fmgr_info(trigger->tgfoid, &function);
		if (function.fn_addr == mcs_update_stream_resume_token)
			return trigger;
	}
	return NULL;
}

/* ---- gathering ---- */

/* The current user's update of a stream in this transaction, made where there is none. */
static TokenUpdate *
update_of(const char *stream)
{
	TokenUpdate *update;
	ListCell   *cell;
	MemoryContext old;

	foreach(cell, updates)
	{
		update = lfirst(cell);
		if (update->user == GetUserId() && update->subtransaction == GetCurrentSubTransactionId() &&
			strcmp(update->stream, stream) == 0)
			return update;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	update = palloc0(sizeof(TokenUpdate));
	update->stream = pstrdup(stream);
	update->user = GetUserId();
	update->subtransaction = GetCurrentSubTransactionId();
	updates = lappend(updates, update);
	MemoryContextSwitchTo(old);
	return update;
}

/* A column of the events table, whose owner may have given it another type. */
static Datum
row_value(HeapTuple row, TupleDesc desc, const char *column, Oid type, bool *isnull)
{
	int			number = SPI_fnumber(desc, column);

	if (number <= 0 || SPI_gettypeid(desc, number) != type)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("update_stream_resume_token() needs column \"%s\" of type %s", column, format_type_be(type)),
				 errhint("ALTER TABLE %s %s COLUMN %s %s%s;", quote_identifier(get_rel_name(mcs_extension_events())),
						 number <= 0 ? "ADD" : "ALTER", quote_identifier(column), number <= 0 ? "" : "TYPE ",
						 format_type_be(type))));
	return heap_getattr(row, number, desc, isnull);
}

/* Takes from a row what the stream's row in the user's table will say. */
static void
gather(TokenUpdate *update, HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	Datum		value;

	update->events++;
	value = row_value(row, desc, "resume_token", TEXTOID, &isnull);
	if (!isnull)
	{
		char	   *token = TextDatumGetCString(value);

		/* tokens sort as strings */
		if (!update->token || strcmp(token, update->token) > 0)
		{
			/* one at a time, as a transaction may have any number of rows */
			if (update->token)
				pfree(update->token);
			update->token = MemoryContextStrdup(TopTransactionContext, token);
		}
		pfree(token);
	}
	value = row_value(row, desc, "change_timestamp", TIMESTAMPTZOID, &isnull);
	if (!isnull)
		update->time = DatumGetTimestampTz(value);
}

/* Raises what is wrong with the trigger that calls the function. */
static void
check_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("update_stream_resume_token() was not called by an AFTER INSERT OR UPDATE trigger for each row"),
				 errhint("CREATE TRIGGER keep_tokens AFTER INSERT OR UPDATE ON %s.change_stream_events FOR EACH ROW EXECUTE FUNCTION %s.update_stream_resume_token();",
						 quote_identifier(get_namespace_name(mcs_extension_schema())), quote_identifier(get_namespace_name(mcs_extension_schema())))));
	if (RelationGetRelid(data->tg_relation) != mcs_extension_events())
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("update_stream_resume_token() is no trigger function for relation \"%s\"",
						RelationGetRelationName(data->tg_relation)),
				 errdetail("It reads the events of change streams."),
				 errhint("Attach the trigger to change_stream_events.")));
}

/*
 * update_stream_resume_token() -> trigger: AFTER INSERT OR UPDATE FOR EACH ROW
 * on change_stream_events; an optional argument names the table.  An UPDATE
 * changes nothing that it keeps.  Without a table it does nothing but say so
 * once in the log.
 */
Datum
mcs_update_stream_resume_token(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	static bool missing_logged = false;
	TupleDesc	desc;
	TokenUpdate *update;
	char	   *stream;
	bool		isnull;
	Datum		value;

	check_trigger(fcinfo);
	/* what handlers note in a row says nothing of the position */
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event))
		return PointerGetDatum(NULL);

	desc = RelationGetDescr(data->tg_relation);
	value = row_value(data->tg_trigtuple, desc, "stream_name", TEXTOID, &isnull);
	if (isnull)
		return PointerGetDatum(NULL);
	stream = TextDatumGetCString(value);
	/* the table is looked for at the first row, which costs more than all that is done for the others */
	update = update_of(stream);
	if (update->events == 0)
		update->table = find_table(data->tg_trigger, GetUserId());
	if (!OidIsValid(update->table) && !missing_logged)
	{
		ereport(LOG,
				(errmsg("trigger \"%s\" found no table to keep resume tokens in", data->tg_trigger->tgname),
				 errhint("Create a table %s with a primary key stream_name in the schema of change_stream_events, or name one as the trigger's argument.", TOKEN_TABLE)));
		missing_logged = true;
	}
	gather(update, data->tg_trigtuple, desc);
	pfree(stream);
	return PointerGetDatum(NULL);
}

/* ---- writing ---- */

/* Executes the update with what its errors are about in front of them. */
static void
execute_explained(const TokenUpdate *update, Relation table)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		mcs_token_statement_execute(update, table);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->message = psprintf("update_stream_resume_token() could not write table \"%s\": %s",
								  RelationGetRelationName(table), error->message);
		ReThrowError(error);
	}
	PG_END_TRY();
}

/*
 * Writes one stream's update as the user that it belongs to; the table may have
 * gone meanwhile.  Its shape is the user's, so errors say first that this is
 * what they are about: a stream's status shows no more of them than the message.
 */
static void
write_update(const TokenUpdate *update)
{
	Relation	table = try_relation_open(update->table, RowExclusiveLock);
	OwnerScope	scope;

	if (!table)
		return;
	mcs_owner_begin(&scope, update->user, list_make1("search_path=pg_catalog, pg_temp"), false);
	execute_explained(update, table);
	mcs_owner_end(&scope);
	relation_close(table, NoLock);	/* locked until the commit, like any table that is written */
}

/* Writes what this transaction's rows mean for the user's table. */
void
mcs_token_table_flush(void)
{
	List	   *todo = updates;
	ListCell   *cell;

	/* taken away first: a trigger of the user's table may write events itself, which are for the next flush */
	updates = NIL;
	foreach(cell, todo)
	{
		TokenUpdate *update = lfirst(cell);

		if (!OidIsValid(update->table))
			continue;
		update->state = mcs_shared_state_name(STREAM_ACTIVE);
		write_update(update);
	}
}

/* Writes a state and an error into the user's table, where the trigger is attached. */
void
mcs_token_table_state(const Stream *stream, StreamState state, const char *error)
{
	Relation	events = table_open(mcs_extension_events(), AccessShareLock);
	const Trigger *trigger = attached_trigger(events);

	if (trigger)
	{
		TokenUpdate update;

		memset(&update, 0, sizeof(update));
		update.stream = stream->name;
		update.user = GetUserId();
		update.table = find_table(trigger, update.user);
		update.state = mcs_shared_state_name(state);
		update.error = error;
		if (OidIsValid(update.table))
			write_update(&update);
	}
	table_close(events, AccessShareLock);
}

/* In a session that is no worker, nobody asks for the flush: do it before the commit, as whose rows they are. */
static void
before_commit(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* no statement is at work any more, whose snapshot could be used */
			if (updates != NIL)
			{
				PushActiveSnapshot(GetTransactionSnapshot());
				mcs_token_table_flush();
				PopActiveSnapshot();
			}
			break;
		case XACT_EVENT_ABORT:
			updates = NIL;
			break;
		default:
			break;
	}
}

/* Rows of a subtransaction that is rolled back, and of those inside it, which have greater numbers, were never there. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(cell, updates)
		if (((TokenUpdate *) lfirst(cell))->subtransaction >= mine)
			updates = foreach_delete_current(updates, cell);
}

/* The callbacks are needed in every session, preloaded or not: anybody's INSERT fires the trigger. */
void
mcs_token_table_init(void)
{
	RegisterXactCallback(before_commit, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
