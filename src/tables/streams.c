/*
 * tables/streams.c
 *	  The rows of streams: what shall run, and what was asked for.
 */
#include "mongo_change_stream.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/* ---- reading ---- */

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

/* ---- what functions of users write: who may call them has been asked before ---- */

/* A value by its address; NULL for null. */
static void
add_pointer(CatalogValues *values, const void *pointer)
{
	mcs_catalog_add_value(values, PointerGetDatum(pointer), pointer == NULL);
}

static const char *
notify_text(StreamNotify notify)
{
	switch (notify)
	{
		case STREAM_NOTIFY_OFF:
			return "off";
		case STREAM_NOTIFY_IDS:
			return "ids";
		case STREAM_NOTIFY_HEADS:
			return "heads";
	}
	return NULL;
}

static const char *
on_error_text(StreamOnError on_error)
{
	switch (on_error)
	{
		case STREAM_ON_ERROR_STOP:
			return "stop";
		case STREAM_ON_ERROR_SKIP:
			return "skip";
		case STREAM_ON_ERROR_PARK:
			return "park";
	}
	return NULL;
}

/* What alter_change_stream may change, in the order of insert_stream and update_definition. */
static void
add_definition(CatalogValues *values, const Stream *stream)
{
	mcs_catalog_add_text(values, stream->filter);
	mcs_catalog_add_text(values, stream->add_fields);
	mcs_catalog_add_texts(values, stream->operations, true);
	add_pointer(values, stream->pipeline);
	mcs_catalog_add_text(values, stream->full_document);
	mcs_catalog_add_text(values, stream->full_document_before_change);
	mcs_catalog_add_value(values, BoolGetDatum(stream->show_expanded_events), false);
	add_pointer(values, stream->max_await_time);
	mcs_catalog_add_value(values, Int32GetDatum(stream->batch_size), stream->batch_size == 0);
	add_pointer(values, stream->retention);
	mcs_catalog_add_text(values, notify_text(stream->notify));
	add_pointer(values, stream->pushed_filter);
	mcs_catalog_add_text(values, stream->local_filter);
	mcs_catalog_add_text(values, on_error_text(stream->on_error));
}

#define DEFINITION_COLUMNS \
	"filter, add_fields, operations, pipeline, full_document, full_document_before_change, show_expanded_events, " \
	"max_await_time, batch_size, retention, notify, pushed_filter, local_filter{, on_error|}"
#define DEFINITION_VALUES \
	"$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13{, $14|}"
#define DEFINITION_TYPES \
	TEXTOID, TEXTOID, TEXTARRAYOID, InvalidOid, TEXTOID, TEXTOID, BOOLOID, \
	INTERVALOID, INT4OID, INTERVALOID, TEXTOID, InvalidOid, TEXTOID, TEXTOID

/* Whose the events are that a dropped stream of this name left; false where there are none. */
bool
mcs_streams_kept_events(const char *stream, Oid *owner, int64 *last_event_id)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT owner::pg_catalog.oid, last_event_id FROM @.change_stream_kept_events WHERE stream_name = $1 FOR UPDATE",
		TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	bool		found;
	bool		isnull;

	mcs_catalog_begin(&scope);
	found = mcs_catalog_execute(&find, values, NULL) > 0;
	if (found)
	{
		*owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		*last_event_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	mcs_catalog_end(&scope);
	return found;
}

void
mcs_streams_forget_kept_events(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_kept_events WHERE stream_name = $1",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&forget, values, NULL);
}

/* The row of change_streams; false where there is one of that name already. */
static bool
insert_stream(const Stream *stream, const StreamOrigin *origin)
{
	static CatalogStatement insert = CATALOG_STATEMENT(
		"INSERT INTO @.change_streams (" DEFINITION_COLUMNS ", stream_name, owner, server, database_name, "
		"collection_name, resume_after, start_after, start_at, initial_snapshot, paused, settings, system_identifier, "
		"database_oid, changed_at_event{, exclude_fields, mask_fields|}) "
		"VALUES (" DEFINITION_VALUES ", $15, $16::pg_catalog.regrole, $17, $18, "
		"$19, $20, $21, $22, false, $23, $24, $25, $26, $27{, $28, $29|}) ON CONFLICT DO NOTHING",
		DEFINITION_TYPES, TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID,
		TEXTARRAYOID, INT8OID, OIDOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID);
	CatalogValues values = {0};

	add_definition(&values, stream);
	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(stream->owner), false);
	mcs_catalog_add_text(&values, stream->server);
	mcs_catalog_add_text(&values, stream->database);
	mcs_catalog_add_text(&values, stream->collection);
	mcs_catalog_add_text(&values, origin->resume_after);
	mcs_catalog_add_text(&values, origin->start_after);
	mcs_catalog_add_text(&values, origin->start_at);
	mcs_catalog_add_value(&values, BoolGetDatum(stream->paused), false);
	mcs_catalog_add_texts(&values, stream->settings, false);
	mcs_catalog_add_value(&values, Int64GetDatum((int64) GetSystemIdentifier()), false);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(MyDatabaseId), false);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	mcs_catalog_add_texts(&values, stream->exclude_fields, true);
	mcs_catalog_add_texts(&values, stream->mask_fields, true);
	return mcs_catalog_run(&insert, values.values, values.nulls) == 1;
}

/* The rows of a new stream; false where there is one of that name already. */
bool
mcs_streams_insert(const Stream *stream, const StreamOrigin *origin)
{
	static CatalogStatement insert_progress = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_progress (stream_name, resume_token, last_event_id) VALUES ($1, $2, $3) "
		"ON CONFLICT (stream_name) DO UPDATE SET resume_token = excluded.resume_token, last_event_id = excluded.last_event_id",
		TEXTOID, TEXTOID, INT8OID);
	static CatalogStatement insert_metrics = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_metrics (stream_name) VALUES ($1) ON CONFLICT DO NOTHING",
		TEXTOID);
	CatalogValues values = {0};

	if (!insert_stream(stream, origin))
		return false;
	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_text(&values, stream->resume_token);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	(void) mcs_catalog_run(&insert_progress, values.values, values.nulls);
	(void) mcs_catalog_run(&insert_metrics, values.values, NULL);
	return true;
}

/* Writes an altered definition; it holds for the events after last_event_id. */
void
mcs_streams_update(const Stream *stream)
{
	static CatalogStatement update = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET (" DEFINITION_COLUMNS ", changed_at_event{, exclude_fields, mask_fields|}) = "
		"(" DEFINITION_VALUES ", $15{, $17, $18|}) WHERE stream_name = $16",
		DEFINITION_TYPES, INT8OID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID);
	CatalogValues values = {0};

	add_definition(&values, stream);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_texts(&values, stream->exclude_fields, true);
	mcs_catalog_add_texts(&values, stream->mask_fields, true);
	(void) mcs_catalog_run(&update, values.values, values.nulls);
	mcs_progress_redefine(stream->name);
}

void
mcs_streams_pause(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = true, paused_reason = NULL, state_since = now() "
		"WHERE stream_name = $1 AND NOT paused",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&pause, values, NULL);
	mcs_progress_redefine(stream);
}

/* The stream shall run, here; skip_token NULL leaves the one that is there. */
void
mcs_streams_resume(const char *stream, const char *skip_token)
{
	static CatalogStatement resume = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = false, paused_reason = NULL, stopped_state = NULL, stopped_reason = NULL, "
		"{stopped_token = NULL, |}"
		"state_since = CASE WHEN paused OR stopped_state IS NOT NULL THEN now() ELSE state_since END, "
		"skip_token = coalesce($2, skip_token), system_identifier = $3, database_oid = $4 WHERE stream_name = $1",
		TEXTOID, TEXTOID, INT8OID, OIDOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, skip_token);
	mcs_catalog_add_value(&values, Int64GetDatum((int64) GetSystemIdentifier()), false);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(MyDatabaseId), false);
	(void) mcs_catalog_run(&resume, values.values, values.nulls);
	mcs_progress_redefine(stream);
}

/* A stream that stopped at an event shall run again, unless it is paused. */
void
mcs_streams_forget_stop(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET stopped_state = NULL, stopped_reason = NULL, {stopped_token = NULL, |}state_since = now() "
		"WHERE stream_name = $1",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&forget, values, NULL);
}

/* Everything of a stream but its events, of which a note is left where they are kept; its rows and its handlers' are locked. */
void
mcs_streams_delete(const Stream *stream, bool keep_events)
{
	static CatalogStatement delete[] = {
		CATALOG_STATEMENT("DELETE FROM @.change_handler_dead_letters WHERE handler_name IN "
						  "(SELECT h.handler_name FROM @.change_handlers h WHERE h.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handler_progress WHERE handler_name IN "
						  "(SELECT h.handler_name FROM @.change_handlers h WHERE h.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handlers WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_metrics WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_progress WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_streams WHERE stream_name = $1", TEXTOID)
	};
	static CatalogStatement delete_new[] = {	/* of tables that 1.0's schema has not */
		CATALOG_STATEMENT("DELETE FROM @.change_stream_grants WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_parked_events WHERE stream_name = $1", TEXTOID)
	};
	static CatalogStatement keep = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_kept_events (stream_name, owner, last_event_id) "
		"VALUES ($1, $2::pg_catalog.regrole, $3)",
		TEXTOID, OIDOID, INT8OID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(stream->owner), false);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	for (int i = 0; i < lengthof(delete); i++)
		(void) mcs_catalog_run(&delete[i], values.values, NULL);
	for (int i = 0; i < lengthof(delete_new) && !mcs_extension_is_old(); i++)
		(void) mcs_catalog_run(&delete_new[i], values.values, NULL);
	mcs_wake_handlers_at_commit(stream->name, NULL);
	if (keep_events)
		(void) mcs_catalog_run(&keep, values.values, NULL);
}

/* Whether this transaction itself made or changed the stream, so that nobody else sees that yet. */
bool
mcs_streams_is_uncommitted(const char *stream)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT xmin FROM @.change_streams WHERE stream_name = $1",
		TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	bool		own = false;
	bool		isnull;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
		own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
	mcs_catalog_end(&scope);
	return own;
}

/* ---- what workers write ---- */

/*
 * Ends a stream until it is resumed; token is of the event that it stops at, or
 * NULL.  Locks the row of change_streams, so a
 * transaction that calls mcs_progress_error, too, calls this first: functions
 * lock in that order.
 */
void
mcs_streams_stop(const char *stream, StreamState state, const char *reason, const char *token)
{
	static CatalogStatement stop = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET stopped_state = $2, stopped_reason = $3, {stopped_token = $4, |}"
		"state_since = clock_timestamp() WHERE stream_name = $1",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	Datum		values[4] = {CStringGetTextDatum(stream)};
	char		nulls[4] = {' ', ' ', ' ', token ? ' ' : 'n'};

	Assert(state == STREAM_HISTORY_LOST || state == STREAM_ERROR);
	values[1] = CStringGetTextDatum(state == STREAM_HISTORY_LOST ? "history_lost" : "error");
	values[2] = CStringGetTextDatum(reason);
	values[3] = token ? CStringGetTextDatum(token) : (Datum) 0;
	(void) mcs_catalog_run(&stop, values, nulls);
}

/* Pauses a stream that was made in another cluster or database, unless it is paused, or was resumed here a moment ago. */
void
mcs_streams_pause_restored(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = true, paused_reason = 'restored', state_since = clock_timestamp() "
		"WHERE stream_name = $1 AND paused_reason IS DISTINCT FROM 'restored' AND (system_identifier <> $2 OR database_oid <> $3)",
		TEXTOID, INT8OID, OIDOID);
	Datum		values[3] = {CStringGetTextDatum(stream), Int64GetDatum((int64) GetSystemIdentifier()),
		ObjectIdGetDatum(MyDatabaseId)};

	(void) mcs_catalog_run(&pause, values, NULL);
}

/* Forgets the event that a stream was to leave out, once it has. */
void
mcs_streams_forget_skip(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET skip_token = NULL WHERE stream_name = $1 AND skip_token IS NOT NULL",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&forget, values, NULL);
}
