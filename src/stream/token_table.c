/*
 * stream/token_table.c
 *	  The trigger function update_stream_resume_token(), which keeps a table of
 *	  the user's own, change_stream_resume_tokens, in step with the events table.
 *
 * The trigger fires for each row, but a row costs only a few words in memory:
 * what a transaction's rows mean for each stream is gathered, and one upsert a
 * stream is written at the end.  The worker asks for that before it saves its
 * position (mcs_token_table_flush); in any other session it happens just before
 * the commit.
 *
 * The table's shape is the user's: columns are filled by name, those that are
 * not there are skipped, and a value is cast to the column's type.
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

#include "stream/stream.h"

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
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"


#define TOKEN_TABLE "change_stream_resume_tokens"

/* What the rows of one transaction, or a change of state, mean for one stream. */
typedef struct TokenUpdate
{
	char	   *stream;
	Oid			user;			/* who wrote the rows, and writes this */
	SubTransactionId subtransaction;	/* that the rows are of */
	Oid			table;			/* InvalidOid: none found */
	int64		events;			/* inserted */
	char	   *token;			/* of the latest of them */
	TimestampTz time;			/* its change_timestamp, 0 without */
	const char *state;			/* NULL: not known here */
	const char *error;
} TokenUpdate;

/* The statement for one table, kept as long as it comes out the same. */
typedef struct TokenPlan
{
	char	   *statement;
	SPIPlanPtr	plan;
} TokenPlan;

/* Parameters of the statement; those that no column uses are declared all the same. */
typedef enum TokenParameter
{
	PARAM_STREAM,
	PARAM_TOKEN,				/* hex */
	PARAM_TOKEN_DOCUMENT,		/* {"_data": hex} */
	PARAM_TIME,
	PARAM_EVENTS,
	PARAM_STATE,
	PARAM_ERROR,
	PARAM_ERRORS,
	PARAM_RESTARTS,
	PARAM_COLLECTION,
	PARAM_DATABASE,
	PARAM_DEFINITION,
	PARAM_COUNT
} TokenParameter;

static const Oid parameter_types[PARAM_COUNT] = {
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, INT4OID, INT4OID, TEXTOID, TEXTOID, TEXTOID
};

/*
 * What each column that we know gets: %1$s is the parameter cast to the
 * column's type, t the row that is there.  keep: an unknown value leaves what
 * is there.
 */
typedef struct TokenColumn
{
	const char *name;
	TokenParameter parameter;
	enum
	{
		SET_VALUE,				/* the value, always */
		SET_KNOWN,				/* the value unless it is NULL */
		SET_SUM,				/* the value added to what is there */
		SET_TOKEN,				/* the value unless what is there is greater */
		SET_NOW,				/* the time */
		SET_ERROR_TIME,			/* the time, if there is an error */
		SET_LATENCY				/* mean of processing_time_ms */
	}			kind;
} TokenColumn;

static const TokenColumn token_columns[] = {
	{"resume_token", PARAM_TOKEN, SET_TOKEN},
	{"last_updated", PARAM_STREAM, SET_NOW},
	{"last_event_timestamp", PARAM_TIME, SET_KNOWN},
	{"last_event_time", PARAM_TIME, SET_KNOWN},
	{"events_processed", PARAM_EVENTS, SET_SUM},
	{"stream_status", PARAM_STATE, SET_KNOWN},
	{"consecutive_errors", PARAM_ERRORS, SET_VALUE},
	{"error_count", PARAM_ERRORS, SET_VALUE},
	{"restart_count", PARAM_RESTARTS, SET_VALUE},
	{"last_error_message", PARAM_ERROR, SET_KNOWN},
	{"last_error_timestamp", PARAM_ERROR, SET_ERROR_TIME},
	{"avg_processing_latency_ms", PARAM_STREAM, SET_LATENCY},
	{"collection_name", PARAM_COLLECTION, SET_VALUE},
	{"database_name", PARAM_DATABASE, SET_VALUE},
	{"filter_pipeline", PARAM_DEFINITION, SET_VALUE},
	{"stream_config", PARAM_DEFINITION, SET_VALUE},
};

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
				 errhint("CREATE TRIGGER ... AFTER INSERT OR UPDATE ON change_stream_events FOR EACH ROW EXECUTE FUNCTION update_stream_resume_token();")));
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
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event))
		return PointerGetDatum(NULL);

	desc = RelationGetDescr(data->tg_relation);
	value = row_value(data->tg_trigtuple, desc, "stream_name", TEXTOID, &isnull);
	if (isnull)
		return PointerGetDatum(NULL);
	stream = TextDatumGetCString(value);
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

static const TokenColumn *
known_column(const char *name)
{
	for (int i = 0; i < lengthof(token_columns); i++)
		if (strcmp(token_columns[i].name, name) == 0)
			return &token_columns[i];
	return NULL;
}

/* The value of a column for a new row, as SQL. */
static char *
value_expression(const TokenColumn *column, Form_pg_attribute attribute)
{
	const char *type = format_type_with_typemod(attribute->atttypid, attribute->atttypmod);
	int			parameter = column->parameter;

	switch (column->kind)
	{
		case SET_NOW:
			return psprintf("CAST(pg_catalog.clock_timestamp() AS %s)", type);
		case SET_ERROR_TIME:
			return psprintf("CASE WHEN $%d IS NOT NULL THEN CAST(pg_catalog.clock_timestamp() AS %s) END", parameter + 1, type);
		case SET_LATENCY:
			return psprintf("CAST((SELECT pg_catalog.avg(l.processing_time_ms) FROM (SELECT e.processing_time_ms FROM %s e "
							"WHERE e.stream_name OPERATOR(pg_catalog.=) $1 ORDER BY e.event_id DESC LIMIT 100) l) AS %s)",
							quote_qualified_identifier(get_namespace_name(mcs_extension_schema()),
													   get_rel_name(mcs_extension_events())), type);
		case SET_TOKEN:
			if (attribute->atttypid == mcs_extension_document())
				parameter = PARAM_TOKEN_DOCUMENT;
			break;
		default:
			break;
	}
	return psprintf("CAST($%d AS %s)", parameter + 1, type);
}

/* The value of a column for the row that is there, given the one for a new row. */
static char *
update_expression(const TokenColumn *column, Form_pg_attribute attribute, const char *value)
{
	const char *name = quote_identifier(NameStr(attribute->attname));

	switch (column->kind)
	{
		case SET_VALUE:
		case SET_NOW:
			break;
		case SET_KNOWN:
		case SET_ERROR_TIME:
		case SET_LATENCY:
			return psprintf("coalesce(%s, t.%s)", value, name);
		case SET_SUM:
			return psprintf("coalesce(t.%s, 0) OPERATOR(pg_catalog.+) %s", name, value);
		case SET_TOKEN:
			/* never back: tokens sort as text, and so do documents that differ in the token only */
			return psprintf("CASE WHEN $%d IS NULL OR CAST(t.%s AS pg_catalog.text) COLLATE \"C\" OPERATOR(pg_catalog.>) "
							"CAST(%s AS pg_catalog.text) THEN t.%s ELSE %s END",
							PARAM_TOKEN + 1, name, value, name, value);
	}
	return pstrdup(value);
}

/* The upsert, or without events the update, for a table. */
static char *
build_statement(Relation table, bool upsert)
{
	TupleDesc	desc = RelationGetDescr(table);
	StringInfoData names,
				values,
				sets;
	char	   *relation = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
													  RelationGetRelationName(table));

	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&sets);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const TokenColumn *column;
		char	   *value;

		if (attribute->attisdropped || attribute->attgenerated ||
			(column = known_column(NameStr(attribute->attname))) == NULL)
			continue;
		value = value_expression(column, attribute);
		appendStringInfo(&names, ", %s", quote_identifier(NameStr(attribute->attname)));
		appendStringInfo(&values, ", %s", value);
		appendStringInfo(&sets, "%s%s = %s", sets.len ? ", " : "", quote_identifier(NameStr(attribute->attname)),
						 update_expression(column, attribute, value));
	}
	if (sets.len == 0)
		return NULL;
	if (upsert)
		return psprintf("INSERT INTO %s AS t (stream_name%s) VALUES ($1%s) ON CONFLICT (stream_name) DO UPDATE SET %s",
						relation, names.data, values.data, sets.data);
	return psprintf("UPDATE %s AS t SET %s WHERE t.stream_name OPERATOR(pg_catalog.=) $1", relation, sets.data);
}

static SPIPlanPtr
plan_for(const char *statement, bool upsert)
{
	static TokenPlan plans[2];
	TokenPlan  *kept = &plans[upsert];

	if (kept->statement && strcmp(kept->statement, statement) == 0)
		return kept->plan;
	if (kept->plan)
	{
		SPIPlanPtr	old = kept->plan;

		kept->plan = NULL;
		pfree(kept->statement);
		kept->statement = NULL;
		SPI_freeplan(old);
	}
	kept->plan = SPI_prepare(statement, PARAM_COUNT, (Oid *) parameter_types);
	if (!kept->plan)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(kept->plan);
	kept->statement = MemoryContextStrdup(TopMemoryContext, statement);
	return kept->plan;
}

/* A stream's definition as JSON text. */
static char *
definition_text(const Stream *stream)
{
	DocumentBuilder builder;
	ListCell   *cell;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, "server", stream->server);
	mcs_document_append_string(&builder, "database", stream->database);
	if (stream->collection)
		mcs_document_append_string(&builder, "collection", stream->collection);
	if (stream->filter)
		mcs_document_append_string(&builder, "filter", stream->filter);
	if (stream->add_fields)
		mcs_document_append_string(&builder, "add_fields", stream->add_fields);
	if (stream->operations)
	{
		mcs_document_begin_array(&builder, "operations");
		foreach(cell, stream->operations)
			mcs_document_append_string(&builder, NULL, lfirst(cell));
		mcs_document_end(&builder);
	}
	if (stream->pipeline)
		mcs_document_append_document(&builder, "pipeline", stream->pipeline);
	mcs_document_append_string(&builder, "full_document", stream->full_document);
	mcs_document_append_string(&builder, "full_document_before_change", stream->full_document_before_change);
	mcs_document_append_bool(&builder, "show_expanded_events", stream->show_expanded_events);
	mcs_document_end(&builder);
	return mcs_document_out_text(mcs_document_finish(&builder));
}

static void
fill_parameters(const TokenUpdate *update, const Stream *stream, Datum *values, char *nulls)
{
	const char *texts[PARAM_COUNT] = {NULL};

	texts[PARAM_STREAM] = update->stream;
	texts[PARAM_TOKEN] = update->token;
	texts[PARAM_TOKEN_DOCUMENT] = update->token ? mcs_token_document(update->token) : NULL;
	texts[PARAM_STATE] = update->state;
	texts[PARAM_ERROR] = update->error;
	texts[PARAM_COLLECTION] = stream ? stream->collection : NULL;
	texts[PARAM_DATABASE] = stream ? stream->database : NULL;
	texts[PARAM_DEFINITION] = stream ? definition_text(stream) : NULL;
	for (int i = 0; i < PARAM_COUNT; i++)
	{
		nulls[i] = texts[i] ? ' ' : 'n';
		values[i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	if (update->time)
	{
		values[PARAM_TIME] = TimestampTzGetDatum(update->time);
		nulls[PARAM_TIME] = ' ';
	}
	values[PARAM_EVENTS] = Int64GetDatum(update->events);
	nulls[PARAM_EVENTS] = ' ';
	/* an event that came ends a row of errors */
	values[PARAM_ERRORS] = Int32GetDatum(stream && update->events == 0 ? stream->consecutive_errors : 0);
	nulls[PARAM_ERRORS] = ' ';
	values[PARAM_RESTARTS] = Int32GetDatum(stream ? stream->restarts : 0);
	nulls[PARAM_RESTARTS] = ' ';
}

/* Runs the statement for one stream's update. */
static void
execute_update(const TokenUpdate *update, Relation table)
{
	Stream	   *stream;
	Datum		values[PARAM_COUNT];
	char		nulls[PARAM_COUNT];
	char	   *statement;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	stream = mcs_streams_load(update->stream, false, true);
	/* the tables' owner may insert any name: it opens no view on a stream of somebody else */
	if (stream && !has_privs_of_role(GetUserId(), stream->owner))
		stream = NULL;
	statement = build_statement(table, update->events > 0);
	if (statement)
	{
		fill_parameters(update, stream, values, nulls);
		result = SPI_execute_plan(plan_for(statement, update->events > 0), values, nulls, false, 0);
		if (result < 0)
			elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	}
	SPI_finish();
}

/* Executes the update with what its errors are about in front of them. */
static void
execute_explained(const TokenUpdate *update, Relation table)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		execute_update(update, table);
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
	Oid			save_userid;
	int			save_sec_context;
	int			level;

	if (!table)
		return;
	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(update->user, save_sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	execute_explained(update, table);
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(save_userid, save_sec_context);
	relation_close(table, NoLock);
}

/* Writes what this transaction's rows mean for the user's table. */
void
mcs_token_table_flush(void)
{
	List	   *todo = updates;
	ListCell   *cell;

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

void
mcs_token_table_init(void)
{
	RegisterXactCallback(before_commit, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}
