/*
 * tables/stream.c
 *	  Where the catalog tables are, how statements on them run, and reading
 *	  streams from them.
 *
 * Statements run as the tables' owner, below the rights and the row-level
 * security of the caller, who was asked for his rights before.  While that
 * lasts, names are looked up in pg_catalog only and the session is restricted
 * as for maintenance commands.  No code of users runs there: the tables'
 * owner alone can hang triggers on them.  Events, on whose table the owner is
 * invited to hang triggers, are deleted by other means (tables/events.c).
 *
 * Plans are kept for the session.  They are bound to the schema's name, so they
 * are made again when the cache of names says that something moved.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* The tables that statements write, beside change_streams. */
static const char *const other_tables[] = {
	"change_stream_progress", "change_stream_kept_events", "change_stream_metrics", "change_stream_grants",
	"change_stream_parked_events",
	"change_handlers", "change_handler_progress", "change_handler_dead_letters"
};

#define OTHER_TABLES lengthof(other_tables)

/* Names and OIDs of the extension in the current database. */
typedef struct CatalogNames
{
	Oid			schema;
	char		schema_name[NAMEDATALEN];
	Oid			streams;
	Oid			events;
	Oid			others[OTHER_TABLES];
	Oid			document;
	Oid			owner;			/* of the tables; InvalidOid where they are not all of one */
	bool		old;			/* the schema is version 1.0's still: ALTER EXTENSION UPDATE has not been run */
} CatalogNames;

static CatalogNames names;
static bool names_valid = false;
static uint64 names_moved = 0;	/* counts invalidations */
static uint64 names_version = 0;	/* counts changes of what the plans depend on */

/* ---- the arguments of a statement ---- */

void
mcs_values_add(CatalogValues *values, Datum value, bool isnull)
{
	Assert(values->count < CATALOG_MAX_ARGS);
	values->values[values->count] = value;
	values->nulls[values->count++] = isnull ? 'n' : ' ';
}

void
mcs_values_add_text(CatalogValues *values, const char *text)
{
	mcs_values_add(values, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

/* A list of strings as text[]; NIL as null, or as an empty array. */
void
mcs_values_add_texts(CatalogValues *values, List *texts, bool empty_is_null)
{
	Datum	   *elements;
	int			count = 0;
	ListCell   *cell;

	if (texts == NIL && empty_is_null)
	{
		mcs_values_add(values, (Datum) 0, true);
		return;
	}
	elements = palloc(sizeof(Datum) * Max(list_length(texts), 1));
	foreach(cell, texts)
		elements[count++] = CStringGetTextDatum(lfirst(cell));
	mcs_values_add(values, PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT)), false);
}

/* ---- where the tables are ---- */

static bool
is_other_table(Oid relation)
{
	for (int i = 0; i < OTHER_TABLES; i++)
		if (names.others[i] == relation)
			return true;
	return false;
}

static void
forget_relation(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == names.streams || relation == names.events || is_other_table(relation))
	{
		names_valid = false;
		names_moved++;
	}
}

static void
forget_schema(Datum arg, int cache, uint32 hash)
{
	names_valid = false;
	names_moved++;
}

/* The extension's schema by its row in pg_extension, and whether its version is 1.0. */
static Oid
find_schema(bool *old)
{
	Oid			extension = get_extension_oid(MCS_EXTENSION, true);
	Oid			schema = InvalidOid;
	Relation	relation;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(extension))
		return InvalidOid;
	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(relation, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(relation), &isnull);

		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
		*old = !isnull && strcmp(TextDatumGetCString(version), "1.0") == 0;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return schema;
}

static Oid
relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Fills the cache of names, unless it is valid.  Without the extension it stays invalid. */
static void
find_names(void)
{
	static bool registered = false;
	CatalogNames found;
	uint64		moved;
	char	   *schema_name;

	if (names_valid)
		return;
	memset(&found, 0, sizeof(found));
	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_schema, (Datum) 0);
		registered = true;
	}
	moved = names_moved;
	found.schema = find_schema(&found.old);
	schema_name = OidIsValid(found.schema) ? get_namespace_name(found.schema) : NULL;
	if (schema_name)
	{
		strlcpy(found.schema_name, schema_name, NAMEDATALEN);
		found.streams = get_relname_relid("change_streams", found.schema);
		found.events = get_relname_relid("change_stream_events", found.schema);
		found.document = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("document"),
										 ObjectIdGetDatum(found.schema));
		found.owner = relation_owner(found.streams);
		for (int i = 0; i < OTHER_TABLES; i++)
		{
			found.others[i] = get_relname_relid(other_tables[i], found.schema);
			/* statements would run triggers of one of them with the rights of another's owner */
			if (OidIsValid(found.others[i]) && relation_owner(found.others[i]) != found.owner)
				found.owner = InvalidOid;
		}
		/* that of the events only reads there, and PostgreSQL computes constants in index expressions for who reads */
		if (OidIsValid(found.events) && relation_owner(found.events) != found.owner)
			found.owner = InvalidOid;
	}
	if (memcmp(&found, &names, sizeof(found)) != 0)
		names_version++;
	names = found;
	names_valid = OidIsValid(found.events) && moved == names_moved;
}

Oid
mcs_extension_schema(void)
{
	find_names();
	return names.schema;
}

Oid
mcs_events_relation(void)
{
	find_names();
	if (!OidIsValid(names.events))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table change_stream_events of the extension is missing"),
				 errhint("CREATE EXTENSION %s;", MCS_EXTENSION)));
	return names.events;
}

Oid
mcs_document_type(void)
{
	find_names();
	return names.document;
}

/* Whose the catalog tables are. */
Oid
mcs_catalog_owner(void)
{
	find_names();
	return names.owner;
}

/* Whether the installed schema is 1.0's, beside which this library runs until ALTER EXTENSION UPDATE. */
bool
mcs_schema_is_old(void)
{
	find_names();
	return names.old;
}

/* ---- how statements run ---- */

void
mcs_catalog_begin(CatalogScope *scope)
{
	find_names();
	if (OidIsValid(names.streams) && !OidIsValid(names.owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the tables of the extension have different owners"),
				 errdetail("Statements on them run as their owner, and with them triggers and index expressions."),
				 errhint("ALTER TABLE ... OWNER TO one role, for each of %s.change_stream* and %s.change_handler*.",
						 quote_identifier(names.schema_name), quote_identifier(names.schema_name))));
	if (!OidIsValid(names.owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the tables of the extension are missing from this database"),
				 errhint("CREATE EXTENSION %s;", MCS_EXTENSION)));
	scope->caller = CurrentMemoryContext;
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(names.owner,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
mcs_catalog_end(CatalogScope *scope)
{
	SPI_finish();
	/* not as at a commit: what a trigger of the tables' owner has set is not for the caller's session */
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/* The statement's text for the schema that is installed: "@" is its name, "{new|old}" what its version knows. */
static char *
statement_text(const char *sql)
{
	const char *schema = quote_identifier(names.schema_name);
	StringInfoData text;

	initStringInfo(&text);
	while (*sql)
	{
		if (*sql == '{')
		{
			const char *bar = strchr(sql, '|');
			const char *end = strchr(sql, '}');
			const char *chosen = names.old ? bar + 1 : sql + 1;

			Assert(bar && end && bar < end);
			while (chosen < (names.old ? end : bar))
			{
				if (*chosen == '@')
					appendStringInfoString(&text, schema);
				else
					appendStringInfoChar(&text, *chosen);
				chosen++;
			}
			sql = end;
		}
		else if (*sql == '@')
			appendStringInfoString(&text, schema);
		else
			appendStringInfoChar(&text, *sql);
		sql++;
	}
	return text.data;
}

static void
prepare(CatalogStatement *statement)
{
	Oid			types[CATALOG_MAX_ARGS];
	SPIPlanPtr	plan;

	if (statement->plan)
	{
		SPI_freeplan(statement->plan);
		statement->plan = NULL;
	}
	for (int i = 0; i < statement->nargs; i++)
		types[i] = OidIsValid(statement->types[i]) ? statement->types[i] : names.document;
	plan = SPI_prepare(statement_text(statement->sql), statement->nargs, types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql, SPI_result_code_string(SPI_result));
	statement->plan = plan;
	statement->planned_for = names_version;
}

/* Runs a plan; snapshot NULL: as the transaction's isolation has it. */
static uint64
execute(CatalogStatement *statement, const Datum *values, const char *nulls, Snapshot snapshot)
{
	int			result;

	if (statement->plan == NULL || statement->planned_for != names_version)
		prepare(statement);
	if (snapshot)
		result = SPI_execute_snapshot(statement->plan, unconstify(Datum *, values), nulls, snapshot, InvalidSnapshot, true, false, 0);
	else
		result = SPI_execute_plan(statement->plan, unconstify(Datum *, values), nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql, SPI_result_code_string(result));
	return SPI_processed;
}

uint64
mcs_catalog_execute(CatalogStatement *statement, const Datum *values, const char *nulls)
{
	return execute(statement, values, nulls, NULL);
}

uint64
mcs_catalog_execute_latest(CatalogStatement *statement)
{
	return execute(statement, NULL, NULL, GetLatestSnapshot());
}

uint64
mcs_catalog_run(CatalogStatement *statement, const Datum *values, const char *nulls)
{
	CatalogScope scope;
	uint64		rows;

	mcs_catalog_begin(&scope);
	rows = mcs_catalog_execute(statement, values, nulls);
	mcs_catalog_end(&scope);
	return rows;
}

/* ---- reading streams ---- */

#define STREAM_COLUMNS \
	"s.owner::pg_catalog.oid, s.server, s.database_name, s.collection_name, s.filter, s.add_fields, s.operations, " \
	"s.pipeline, s.full_document, s.full_document_before_change, s.show_expanded_events, s.max_await_time, " \
	"s.batch_size, s.retention, s.notify, s.paused, s.stopped_state, s.skip_token, s.system_identifier, " \
	"s.database_oid, s.pushed_filter, s.local_filter, s.settings, {s.on_error|'stop'::text}, {s.stopped_token|NULL::text}, " \
	"p.resume_token, p.last_event_id, p.events_processed, p.restarts, p.consecutive_errors, " \
	"EXISTS (SELECT FROM @.change_handlers h WHERE h.stream_name = s.stream_name), " \
	"{s.exclude_fields, s.mask_fields|NULL::pg_catalog.text[], NULL::pg_catalog.text[]}, " \
	"{p.definition_version|0}, " \
	"{p.last_event_token, p.deployment|NULL::pg_catalog.text, NULL::@.document} "

/* The columns of STREAM_COLUMNS, as SPI counts them. */
typedef enum StreamColumn
{
	COLUMN_OWNER = 1,
	COLUMN_SERVER,
	COLUMN_DATABASE,
	COLUMN_COLLECTION,
	COLUMN_FILTER,
	COLUMN_ADD_FIELDS,
	COLUMN_OPERATIONS,
	COLUMN_PIPELINE,
	COLUMN_FULL_DOCUMENT,
	COLUMN_BEFORE_CHANGE,
	COLUMN_EXPANDED,
	COLUMN_MAX_AWAIT,
	COLUMN_BATCH_SIZE,
	COLUMN_RETENTION,
	COLUMN_NOTIFY,
	COLUMN_PAUSED,
	COLUMN_STOPPED,
	COLUMN_SKIP,
	COLUMN_SYSTEM,
	COLUMN_DATABASE_OID,
	COLUMN_PUSHED_FILTER,
	COLUMN_LOCAL_FILTER,
	COLUMN_SETTINGS,
	COLUMN_ON_ERROR,
	COLUMN_STOPPED_TOKEN,
	COLUMN_TOKEN,
	COLUMN_LAST_EVENT,
	COLUMN_EVENTS,
	COLUMN_RESTARTS,
	COLUMN_ERRORS,
	COLUMN_HAS_HANDLERS,
	COLUMN_EXCLUDE_FIELDS,
	COLUMN_MASK_FIELDS,
	COLUMN_DEFINITION_VERSION,
	COLUMN_LAST_EVENT_TOKEN,
	COLUMN_DEPLOYMENT
} StreamColumn;

/* A row that SPI returned, and where its values shall go. */
typedef struct CatalogRow
{
	HeapTuple	tuple;
	TupleDesc	desc;
	MemoryContext target;
} CatalogRow;

static Datum
row_datum(const CatalogRow *row, StreamColumn column, bool *isnull)
{
	return SPI_getbinval(row->tuple, row->desc, column, isnull);
}

static char *
row_text(const CatalogRow *row, StreamColumn column)
{
	bool		isnull;
	Datum		value = row_datum(row, column, &isnull);

	return isnull ? NULL : MemoryContextStrdup(row->target, TextDatumGetCString(value));
}

static int64
row_int64(const CatalogRow *row, StreamColumn column)
{
	bool		isnull;
	Datum		value = row_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static int32
row_int32(const CatalogRow *row, StreamColumn column)
{
	bool		isnull;
	Datum		value = row_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static bool
row_bool(const CatalogRow *row, StreamColumn column)
{
	bool		isnull;
	Datum		value = row_datum(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

static Interval *
row_interval(const CatalogRow *row, StreamColumn column)
{
	bool		isnull;
	Datum		value = row_datum(row, column, &isnull);
	Interval   *interval;

	if (isnull)
		return NULL;
	interval = MemoryContextAlloc(row->target, sizeof(Interval));
	*interval = *DatumGetIntervalP(value);
	return interval;
}

static Document *
row_document(const CatalogRow *row, StreamColumn column)
{
	bool		isnull;
	Datum		value = row_datum(row, column, &isnull);
	MemoryContext old;
	Document   *document;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(row->target);
	document = (Document *) PG_DETOAST_DATUM_COPY(value);
	MemoryContextSwitchTo(old);
	return document;
}

static List *
row_texts(const CatalogRow *row, StreamColumn column)
{
	bool		isnull;
	Datum		value = row_datum(row, column, &isnull);
	MemoryContext old;
	List	   *texts;

	if (isnull)
		return NIL;
	old = MemoryContextSwitchTo(row->target);
	texts = mcs_texts_from_array(DatumGetArrayTypeP(value));
	MemoryContextSwitchTo(old);
	return texts;
}

static StreamNotify
notify_from_text(const char *text)
{
	if (strcmp(text, "off") == 0)
		return STREAM_NOTIFY_OFF;
	return strcmp(text, "heads") == 0 ? STREAM_NOTIFY_HEADS : STREAM_NOTIFY_IDS;
}

static StreamOnError
on_error_from_text(const char *text)
{
	if (strcmp(text, "park") == 0)
		return STREAM_ON_ERROR_PARK;
	return strcmp(text, "skip") == 0 ? STREAM_ON_ERROR_SKIP : STREAM_ON_ERROR_STOP;
}

/* A stream from its row; everything in the row's target context. */
static Stream *
stream_from_row(const CatalogRow *row, const char *name)
{
	Stream	   *stream = MemoryContextAllocZero(row->target, sizeof(Stream));
	bool		isnull;

	stream->name = MemoryContextStrdup(row->target, name);
	stream->owner = DatumGetObjectId(row_datum(row, COLUMN_OWNER, &isnull));
	stream->server = row_text(row, COLUMN_SERVER);
	stream->database = row_text(row, COLUMN_DATABASE);
	stream->collection = row_text(row, COLUMN_COLLECTION);
	stream->filter = row_text(row, COLUMN_FILTER);
	stream->add_fields = row_text(row, COLUMN_ADD_FIELDS);
	stream->operations = row_texts(row, COLUMN_OPERATIONS);
	stream->pipeline = row_document(row, COLUMN_PIPELINE);
	stream->full_document = row_text(row, COLUMN_FULL_DOCUMENT);
	stream->full_document_before_change = row_text(row, COLUMN_BEFORE_CHANGE);
	stream->show_expanded_events = row_bool(row, COLUMN_EXPANDED);
	stream->max_await_time = row_interval(row, COLUMN_MAX_AWAIT);
	stream->max_await_ms = (int) (mcs_interval_microseconds(stream->max_await_time) / 1000);
	stream->batch_size = row_int32(row, COLUMN_BATCH_SIZE);
	stream->retention = row_interval(row, COLUMN_RETENTION);
	stream->notify = notify_from_text(row_text(row, COLUMN_NOTIFY));
	stream->paused = row_bool(row, COLUMN_PAUSED);
	stream->stopped_state = row_text(row, COLUMN_STOPPED);
	stream->skip_token = row_text(row, COLUMN_SKIP);
	stream->on_error = on_error_from_text(row_text(row, COLUMN_ON_ERROR));
	stream->stopped_token = row_text(row, COLUMN_STOPPED_TOKEN);
	stream->restored = row_int64(row, COLUMN_SYSTEM) != (int64) GetSystemIdentifier() ||
		DatumGetObjectId(row_datum(row, COLUMN_DATABASE_OID, &isnull)) != MyDatabaseId;
	stream->pushed_filter = row_document(row, COLUMN_PUSHED_FILTER);
	stream->local_filter = row_text(row, COLUMN_LOCAL_FILTER);
	stream->settings = row_texts(row, COLUMN_SETTINGS);
	stream->resume_token = row_text(row, COLUMN_TOKEN);
	stream->last_event_id = row_int64(row, COLUMN_LAST_EVENT);
	stream->events_processed = row_int64(row, COLUMN_EVENTS);
	stream->restarts = row_int32(row, COLUMN_RESTARTS);
	stream->consecutive_errors = row_int32(row, COLUMN_ERRORS);
	stream->has_handlers = row_bool(row, COLUMN_HAS_HANDLERS);
	stream->exclude_fields = row_texts(row, COLUMN_EXCLUDE_FIELDS);
	stream->mask_fields = row_texts(row, COLUMN_MASK_FIELDS);
	stream->definition_version = row_int32(row, COLUMN_DEFINITION_VERSION);
	stream->keeps_history = !names.old;
	stream->last_event_token = row_text(row, COLUMN_LAST_EVENT_TOKEN);
	stream->deployment = row_document(row, COLUMN_DEPLOYMENT);
	return stream;
}

Stream *
mcs_stream_load(const char *name, bool for_update, bool missing_ok)
{
	static CatalogStatement load = CATALOG_STATEMENT(
		"SELECT " STREAM_COLUMNS "FROM @.change_streams s LEFT JOIN @.change_stream_progress p USING (stream_name) "
		"WHERE s.stream_name = $1",
		TEXTOID);
	static CatalogStatement load_locked = CATALOG_STATEMENT(
		"SELECT " STREAM_COLUMNS "FROM @.change_streams s JOIN @.change_stream_progress p USING (stream_name) "
		"WHERE s.stream_name = $1 FOR UPDATE OF s, p",
		TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(name)};
	Stream	   *stream = NULL;
	bool		found;

	mcs_catalog_begin(&scope);
	found = mcs_catalog_execute(for_update ? &load_locked : &load, values, NULL) > 0;
	if (!found && for_update)
	{
		/* a position that a restore has not brought is made when somebody is about to change the stream, perhaps by another */
		(void) mcs_progress_mend(name);
		found = mcs_catalog_execute(&load_locked, values, NULL) > 0;
	}
	if (found)
	{
		CatalogRow	row = {SPI_tuptable->vals[0], SPI_tuptable->tupdesc, scope.caller};

		stream = stream_from_row(&row, name);
	}
	mcs_catalog_end(&scope);
	if (stream == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("change stream \"%s\" does not exist", name)));
	return stream;
}

List *
mcs_stream_list(void)
{
	static CatalogStatement list = CATALOG_STATEMENT(
		"SELECT stream_name, owner::pg_catalog.oid, "
		"NOT paused AND stopped_state IS NULL AND system_identifier = $1 AND database_oid = $2, NULL, 0, false, "
		"{coalesce((SELECT 1 + greatest(p.crashes, p.starts) FROM @.change_stream_progress p WHERE p.stream_name = s.stream_name AND p.alive), 0)|0} "
		"FROM @.change_streams s "
		"UNION ALL SELECT s.stream_name, s.owner::pg_catalog.oid, "
		"NOT h.paused AND h.stopped_reason IS NULL AND s.system_identifier = $1 AND s.database_oid = $2, "
		"h.handler_name, hp.worker, hp.last_event_id < sp.last_event_id, "
		"CASE WHEN hp.alive THEN 1 + {greatest(hp.crashes, hp.starts)|hp.crashes} ELSE 0 END "
		"FROM @.change_streams s JOIN @.change_stream_progress sp USING (stream_name) "
		"JOIN @.change_handlers h USING (stream_name) JOIN @.change_handler_progress hp USING (handler_name) ORDER BY 1, 4, 5",
		INT8OID, OIDOID);
	CatalogScope scope;
	Datum		values[2] = {Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)};
	List	   *streams = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = {SPI_tuptable->vals[i], SPI_tuptable->tupdesc, scope.caller};
		StreamListed *listed = MemoryContextAlloc(scope.caller, sizeof(StreamListed));
		MemoryContext old;
		bool		isnull;

		listed->name = row_text(&row, 1);
		listed->owner = DatumGetObjectId(row_datum(&row, 2, &isnull));
		listed->runnable = row_bool(&row, 3);
		listed->handler = row_text(&row, 4);
		listed->worker = row_int32(&row, 5);
		listed->work = row_bool(&row, 6);
		listed->deaths = row_int32(&row, 7);
		old = MemoryContextSwitchTo(scope.caller);
		streams = lappend(streams, listed);
		MemoryContextSwitchTo(old);
	}
	mcs_catalog_end(&scope);
	return streams;
}
