/*
 * tables/streams.c
 *	  Reading streams from the catalog tables.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

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

	stream->name = MemoryContextStrdup(row->target, name);
	stream->owner = mcs_catalog_get_oid(row, COLUMN_OWNER);
	stream->server = mcs_catalog_get_text(row, COLUMN_SERVER);
	stream->database = mcs_catalog_get_text(row, COLUMN_DATABASE);
	stream->collection = mcs_catalog_get_text(row, COLUMN_COLLECTION);
	stream->filter = mcs_catalog_get_text(row, COLUMN_FILTER);
	stream->add_fields = mcs_catalog_get_text(row, COLUMN_ADD_FIELDS);
	stream->operations = mcs_catalog_get_texts(row, COLUMN_OPERATIONS);
	stream->pipeline = mcs_catalog_get_document(row, COLUMN_PIPELINE);
	stream->full_document = mcs_catalog_get_text(row, COLUMN_FULL_DOCUMENT);
	stream->full_document_before_change = mcs_catalog_get_text(row, COLUMN_BEFORE_CHANGE);
	stream->show_expanded_events = mcs_catalog_get_bool(row, COLUMN_EXPANDED);
	stream->max_await_time = mcs_catalog_get_interval(row, COLUMN_MAX_AWAIT);
	stream->max_await_ms = (int) (mcs_convert_interval(stream->max_await_time) / 1000);
	stream->batch_size = mcs_catalog_get_int32(row, COLUMN_BATCH_SIZE);
	stream->retention = mcs_catalog_get_interval(row, COLUMN_RETENTION);
	stream->notify = notify_from_text(mcs_catalog_get_text(row, COLUMN_NOTIFY));
	stream->paused = mcs_catalog_get_bool(row, COLUMN_PAUSED);
	stream->stopped_state = mcs_catalog_get_text(row, COLUMN_STOPPED);
	stream->skip_token = mcs_catalog_get_text(row, COLUMN_SKIP);
	stream->on_error = on_error_from_text(mcs_catalog_get_text(row, COLUMN_ON_ERROR));
	stream->stopped_token = mcs_catalog_get_text(row, COLUMN_STOPPED_TOKEN);
	stream->restored = mcs_catalog_get_int64(row, COLUMN_SYSTEM) != (int64) GetSystemIdentifier() ||
		mcs_catalog_get_oid(row, COLUMN_DATABASE_OID) != MyDatabaseId;
	stream->pushed_filter = mcs_catalog_get_document(row, COLUMN_PUSHED_FILTER);
	stream->local_filter = mcs_catalog_get_text(row, COLUMN_LOCAL_FILTER);
	stream->settings = mcs_catalog_get_texts(row, COLUMN_SETTINGS);
	stream->resume_token = mcs_catalog_get_text(row, COLUMN_TOKEN);
	stream->last_event_id = mcs_catalog_get_int64(row, COLUMN_LAST_EVENT);
	stream->events_processed = mcs_catalog_get_int64(row, COLUMN_EVENTS);
	stream->restarts = mcs_catalog_get_int32(row, COLUMN_RESTARTS);
	stream->consecutive_errors = mcs_catalog_get_int32(row, COLUMN_ERRORS);
	stream->has_handlers = mcs_catalog_get_bool(row, COLUMN_HAS_HANDLERS);
	stream->exclude_fields = mcs_catalog_get_texts(row, COLUMN_EXCLUDE_FIELDS);
	stream->mask_fields = mcs_catalog_get_texts(row, COLUMN_MASK_FIELDS);
	stream->definition_version = mcs_catalog_get_int32(row, COLUMN_DEFINITION_VERSION);
	stream->keeps_history = !mcs_extension_is_old();
	stream->last_event_token = mcs_catalog_get_text(row, COLUMN_LAST_EVENT_TOKEN);
	stream->deployment = mcs_catalog_get_document(row, COLUMN_DEPLOYMENT);
	return stream;
}

Stream *
mcs_streams_load(const char *name, bool for_update, bool missing_ok)
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
		(void) mcs_restore_mend_progress(name);
		found = mcs_catalog_execute(&load_locked, values, NULL) > 0;
	}
	if (found)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

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
mcs_streams_list(void)
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
		CatalogRow	row = mcs_catalog_row(&scope, i);
		StreamListed *listed = MemoryContextAlloc(scope.caller, sizeof(StreamListed));
		MemoryContext old;

		listed->name = mcs_catalog_get_text(&row, 1);
		listed->owner = mcs_catalog_get_oid(&row, 2);
		listed->runnable = mcs_catalog_get_bool(&row, 3);
		listed->handler = mcs_catalog_get_text(&row, 4);
		listed->worker = mcs_catalog_get_int32(&row, 5);
		listed->work = mcs_catalog_get_bool(&row, 6);
		listed->deaths = mcs_catalog_get_int32(&row, 7);
		old = MemoryContextSwitchTo(scope.caller);
		streams = lappend(streams, listed);
		MemoryContextSwitchTo(old);
	}
	mcs_catalog_end(&scope);
	return streams;
}
